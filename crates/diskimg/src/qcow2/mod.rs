//! qcow2, versions 2 and 3: the active disk of a self-contained image, or one of its snapshots.
//!
//! ```text
//! header ──▶ Header (checked) ──▶ Tables: L1 whole, L2 by slices ──▶ Walk: runs of guest bytes
//!                                                                     │
//!            extent_at: what is where ◀───────────────────────────────┤
//!            read_at: plain runs joined, compressed clusters unpacked ◀┘
//! ```
//!
//! Refused by name: backing files (their names are shown, never opened), external data files,
//! encryption, and incompatible features that are not known. What the file promises past its end is
//! an error, not zeros.

mod bitmaps;
mod check;
mod compressed;
mod features;
mod header;
mod layout;
mod mapping;
mod snapshots;
mod tables;

use std::ops::Range;
use std::sync::Arc;

use self::compressed::{Pool, Unpacker};
use self::header::Header;
use self::mapping::{Place, Walk};
use self::tables::Tables;
use crate::chain::Context;
use crate::error::Result;
use crate::image::{
    BitmapInfo, Details, DiskImage, Extent, ExtentKind, SnapshotInfo, check_range, clip_extent,
};
use crate::limits::MAX_HEADER_BYTES;
use crate::open::Driver;
use crate::probe::Format;
use crate::source::ReadAt;
use crate::stored::StoredStretch;
use crate::units::{FileOffset, GuestOffset};

/// qcow2. Claims every version but 1, which is another format, so that later ones are refused by
/// number instead of being taken for raw.
pub const DRIVER: Driver = Driver {
    format: Format::Qcow2,
    claims: |probe| {
        probe.starts_with(0, &layout::MAGIC) && !probe.starts_with(4, &1_u32.to_be_bytes())
    },
    open: |source, context| Ok(Box::new(Qcow2Image::open_with(source, context)?)),
    check: check::check,
};

/// Most runs that one call of `extent_at` joins: bounds the tables it reads.
const MAX_JOINED_RUNS: usize = 64;

/// A qcow2 image.
pub struct Qcow2Image {
    source: Arc<dyn ReadAt>,
    header: Header,
    tables: Tables,
    unpackers: Pool,
    stored: StoredStretch,
    snapshots: Vec<SnapshotInfo>,
    bitmaps: Vec<BitmapInfo>,
    /// The snapshot that is read; `None`: the active disk.
    snapshot: Option<SnapshotInfo>,
}

impl Qcow2Image {
    /// Opens `source` as qcow2: reads and checks the header and the L1 table.
    ///
    /// # Errors
    /// `Unsupported` for features that are refused by name, `Limit`, `Corrupt`, `Truncated` or `Io`
    /// by cause.
    pub fn open(source: Arc<dyn ReadAt>) -> Result<Self> {
        Self::open_with(source, &Context::default())
    }

    /// [`Self::open`] with options: the internal snapshot whose id, or else whose name, they give is
    /// read as its disk was then, instead of the active disk.
    ///
    /// # Errors
    /// `OutOfRange` when there is no such snapshot, and those of [`Self::open`].
    pub fn open_with(source: Arc<dyn ReadAt>, context: &Context) -> Result<Self> {
        let mut header = Header::read(source.as_ref())?;
        let mut notes = Vec::new();
        let snapshots = snapshots::list(source.as_ref(), &header, &mut notes);
        let bitmaps = match &header.bitmaps {
            Some(place) => bitmaps::list(source.as_ref(), place, &mut notes),
            None => Vec::new(),
        };
        let snapshot = match context.snapshot() {
            None => {
                if header.snapshot_count > 0 {
                    notes.push(format!(
                        "the image holds {} internal snapshot{}, and the active disk is read; --snapshot NAME reads one",
                        header.snapshot_count,
                        if header.snapshot_count == 1 { "" } else { "s" }
                    ));
                }
                None
            }
            Some(wanted) => {
                let found = snapshots::find(source.as_ref(), &header, wanted, &mut notes)?;
                header.turn_to(
                    found.virtual_size.unwrap_or(header.declared_size),
                    found.l1_offset,
                    found.l1_entries,
                    source.len(),
                )?;
                Some(found.info())
            }
        };
        header.warn_of_padding();
        header.warnings.append(&mut notes);
        let tables = Tables::load(source.as_ref(), &header)?;
        let unpackers = Pool::new(header.compression, 1 << header.cluster_bits, source.len());
        Ok(Self {
            source,
            header,
            tables,
            unpackers,
            stored: StoredStretch::default(),
            snapshots,
            bitmaps,
            snapshot,
        })
    }

    /// The runs from `at` to `end`, both inside the declared size.
    fn walk(&self, at: u64, end: u64) -> Walk<'_> {
        Walk::new(
            &self.tables,
            self.source.as_ref(),
            self.header.cluster_bits,
            at,
            end,
        )
    }

    fn variant(&self) -> String {
        let mut variant = format!("version {}", self.header.version);
        if self.header.extended_l2 {
            variant.push_str(", subclusters");
        }
        if let Some(snapshot) = &self.snapshot {
            variant.push_str(&format!(
                ", snapshot {:?} (id {:?})",
                snapshot.name, snapshot.id
            ));
        }
        variant
    }

    /// Bytes of the texts that are kept for [`DiskImage::details`].
    fn listed_bytes(&self) -> u64 {
        let snapshots = self
            .snapshots
            .iter()
            .map(|snapshot| size_of_val(snapshot) + snapshot.id.len() + snapshot.name.len());
        let bitmaps = self
            .bitmaps
            .iter()
            .map(|bitmap| size_of_val(bitmap) + bitmap.name.len());
        // Texts and lists that grew may have twice the room they need.
        2 * snapshots.chain(bitmaps).sum::<usize>() as u64
    }

    /// What a run of `len` bytes at `place` is, and for how many bytes.
    fn kind(&self, place: Place, len: u64) -> Result<(ExtentKind, u64)> {
        match place {
            Place::Nowhere => Ok((ExtentKind::Hole, len)),
            Place::Zeros => Ok((ExtentKind::Zero, len)),
            Place::Compressed { .. } => Ok((ExtentKind::Data, len)),
            Place::Plain(host) => self.stored.kind(self.source.as_ref(), host, len),
        }
    }

    /// Fills `buf` from `at`, which lies with all of `buf` inside the declared size.
    fn read_declared(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        let end = at + buf.len() as u64;
        let mut plain = PlainRead::default();
        let mut unpacker: Option<Unpacker> = None;
        for run in self.walk(at, end) {
            let run = run?;
            let target = index(run.start - at)..index(run.start - at + run.len);
            match run.place {
                Place::Nowhere | Place::Zeros => {
                    if let Some(target) = buf.get_mut(target) {
                        target.fill(0);
                    }
                }
                Place::Plain(host) => {
                    if !plain.join(host, &target) {
                        plain.finish(self.source.as_ref(), buf)?;
                        plain = PlainRead { host, target };
                    }
                }
                Place::Compressed { stored, skip } => {
                    let unpacker = match &mut unpacker {
                        Some(unpacker) => unpacker,
                        none => none.insert(self.unpackers.take()?),
                    };
                    unpacker.push(self.source.as_ref(), buf, stored, skip, target)?;
                }
            }
        }
        plain.finish(self.source.as_ref(), buf)?;
        if let Some(mut unpacker) = unpacker {
            unpacker.flush(self.source.as_ref(), buf)?;
            self.unpackers.put(unpacker);
        }
        Ok(())
    }
}

/// A positioned read that is still growing.
#[derive(Default)]
struct PlainRead {
    host: FileOffset,
    target: Range<usize>,
}

impl PlainRead {
    /// Takes in what follows it both in the file and in the buffer.
    fn join(&mut self, host: FileOffset, target: &Range<usize>) -> bool {
        let follows = self.target.end == target.start
            && self.host.checked_add(self.target.len() as u64) == Some(host);
        if follows {
            self.target.end = target.end;
        }
        follows
    }

    fn finish(&self, source: &dyn ReadAt, buf: &mut [u8]) -> Result<()> {
        match buf.get_mut(self.target.clone()) {
            Some(target) if !target.is_empty() => source.read_exact_at(self.host, target),
            _ => Ok(()),
        }
    }
}

/// An offset inside a buffer, which is less than `usize::MAX`.
fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

impl DiskImage for Qcow2Image {
    fn virtual_size(&self) -> u64 {
        self.header.virtual_size
    }

    fn extent_at(&self, at: GuestOffset, limit: u64) -> Result<Extent> {
        let limit = clip_extent(at, limit, self.header.virtual_size)?;
        let end = (at.0 + limit).min(self.header.declared_size);
        let mut runs = self.walk(at.0, end).take(MAX_JOINED_RUNS);
        // Past the declared size there is only the rest of the last sector.
        let Some(first) = runs.next() else {
            return Ok(Extent {
                start: at,
                len: limit,
                kind: ExtentKind::Hole,
            });
        };
        let first = first?;
        let (kind, mut len) = self.kind(first.place, first.len)?;
        let mut joined = first.start + first.len;
        // What cannot be told ends the extent; whoever asks for it gets the error.
        while at.0 + len == joined
            && let Some(Ok(run)) = runs.next()
            && let Ok((next, more)) = self.kind(run.place, run.len)
            && next == kind
        {
            len += more;
            joined += run.len;
        }
        Ok(Extent {
            start: at,
            len,
            kind,
        })
    }

    fn read_at(&self, at: GuestOffset, buf: &mut [u8]) -> Result<()> {
        check_range(at, buf.len() as u64, self.header.virtual_size)?;
        let declared = self.header.declared_size.saturating_sub(at.0);
        let declared = index(declared).min(buf.len());
        let (buf, padding) = buf.split_at_mut(declared);
        padding.fill(0);
        self.read_declared(at.0, buf)
    }

    fn details(&self) -> Details {
        Details {
            variant: Some(self.variant()),
            cluster_size: Some(1 << self.header.cluster_bits),
            compression: Some(self.header.compression.name().to_owned()),
            dirty: Some(self.header.dirty),
            snapshots: self.snapshots.clone(),
            bitmaps: self.bitmaps.clone(),
            warnings: self.header.warnings.clone(),
            ..Details::new(Format::Qcow2)
        }
    }

    fn memory_bound(&self, readers: usize) -> u64 {
        let readers = readers as u64;
        // The header's cluster is read once, before anything else is allocated.
        let tables = self.tables.memory_bound(readers);
        MAX_HEADER_BYTES
            .max(tables.saturating_add(self.unpackers.memory_bound(readers)))
            .saturating_add(self.listed_bytes())
    }
}
