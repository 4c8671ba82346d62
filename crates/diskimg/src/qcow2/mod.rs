//! qcow2, versions 2 and 3: the active disk of a self-contained image, or one of its snapshots.
//!
//! ```text
//! header ──▶ Header (checked) ──▶ Tables: L1 whole, L2 by slices ──▶ Walk: runs of guest bytes
//!                                                                     │
//!            extent_at: what is where ◀───────────────────────────────┤
//!            read_at: plain runs joined, compressed clusters unpacked ◀┘
//! ```
//!
//! Backing files and external data files are opened by the policy in the [`Context`], and refused
//! without one. Refused by name: encryption, unless only metadata are wanted, and incompatible features that are not known. What the
//! file promises past its end is an error, not zeros.

mod bitmaps;
mod check;
mod compressed;
mod features;
mod files;
mod header;
mod layout;
mod mapping;
mod snapshots;
mod tables;

use std::sync::Arc;

use self::compressed::{Pool, Unpacker};
use self::header::Header;
use self::mapping::{Packed, Walk};
use self::tables::Tables;
use crate::chain::{Below, Context};
use crate::error::Result;
use crate::image::{BitmapInfo, Details, DiskImage, Extent, Reference, SnapshotInfo, check_range};
use crate::layer::{self, Mapped, Run};
use crate::limits::{L2_CACHE_BYTES, MAX_HEADER_BYTES};
use crate::open::Driver;
use crate::probe::Format;
use crate::source::ReadAt;
use crate::stored::StoredStretch;
use crate::units::GuestOffset;

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

/// A qcow2 image.
pub struct Qcow2Image {
    source: Arc<dyn ReadAt>,
    /// Where clusters are that are not compressed: the image itself, or its external data file.
    data: Arc<dyn ReadAt>,
    data_file: Option<Reference>,
    below: Below,
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
        if !context.metadata_only() {
            header.refuse_encryption()?;
        }
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
        header.warn_of_encryption();
        header.warn_of_padding();
        header.warnings.append(&mut notes);
        let (data, data_file) = match &header.data_file {
            None => (Arc::clone(&source), None),
            Some(name) => {
                let (data, wanted) = files::open_data(name.as_deref(), context)?;
                (data, Some(wanted.reference()))
            }
        };
        let below = files::open_backing(header.backing.as_ref(), context)?;
        let table = header.l1_entries.saturating_mul(layout::ENTRY_SIZE);
        context.check_table("L1 table", header.l1_offset.0, table)?;
        let cache = context.cache(L2_CACHE_BYTES);
        let tables = Tables::load(source.as_ref(), &header, cache)?;
        let unpackers = Pool::new(header.compression, 1 << header.cluster_bits, source.len());
        Ok(Self {
            source,
            data,
            data_file,
            below,
            header,
            tables,
            unpackers,
            stored: StoredStretch::default(),
            snapshots,
            bitmaps,
            snapshot,
        })
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
}

impl Mapped for Qcow2Image {
    type Packed = Packed;

    fn declared_size(&self) -> u64 {
        self.header.declared_size
    }

    fn virtual_size(&self) -> u64 {
        self.header.virtual_size
    }

    fn data(&self) -> &dyn ReadAt {
        self.data.as_ref()
    }

    fn stored(&self) -> &StoredStretch {
        &self.stored
    }

    fn below(&self) -> &Below {
        &self.below
    }

    fn runs(&self, at: u64, end: u64) -> impl Iterator<Item = Result<Run<Packed>>> {
        Walk::new(
            &self.tables,
            self.source.as_ref(),
            self.data.as_ref(),
            self.header.cluster_bits,
            at,
            end,
        )
    }
}

impl DiskImage for Qcow2Image {
    fn virtual_size(&self) -> u64 {
        self.header.virtual_size
    }

    fn extent_at(&self, at: GuestOffset, limit: u64) -> Result<Extent> {
        layer::extent_at(self, at, limit)
    }

    fn read_at(&self, at: GuestOffset, buf: &mut [u8]) -> Result<()> {
        if self.header.encryption.is_some() {
            check_range(at, buf.len() as u64, self.header.virtual_size)?;
            return self.header.refuse_encryption();
        }
        let mut unpacker: Option<Unpacker> = None;
        layer::read_at(self, at, buf, |buf, packed, target| {
            let unpacker = match &mut unpacker {
                Some(unpacker) => unpacker,
                none => none.insert(self.unpackers.take()?),
            };
            let Packed { stored, skip } = packed;
            unpacker.push(self.source.as_ref(), buf, stored, skip, target)
        })?;
        if let Some(mut unpacker) = unpacker {
            unpacker.flush(self.source.as_ref(), buf)?;
            self.unpackers.put(unpacker);
        }
        Ok(())
    }

    fn details(&self) -> Details {
        let mut details = Details {
            variant: Some(self.variant()),
            cluster_size: Some(1 << self.header.cluster_bits),
            compression: Some(self.header.compression.name().to_owned()),
            encryption: self.header.encryption.clone(),
            dirty: Some(self.header.dirty),
            snapshots: self.snapshots.clone(),
            bitmaps: self.bitmaps.clone(),
            warnings: self.header.warnings.clone(),
            ..Details::new(Format::Qcow2)
        };
        details.refers_to.extend(self.data_file.clone());
        self.below.describe(&mut details);
        details
    }

    fn memory_bound(&self, readers: usize) -> u64 {
        let threads = readers as u64;
        // The header's cluster is read once, before anything else is allocated.
        let tables = self.tables.memory_bound(threads);
        MAX_HEADER_BYTES
            .max(tables.saturating_add(self.unpackers.memory_bound(threads)))
            .saturating_add(self.listed_bytes())
            .saturating_add(self.below.memory_bound(readers))
    }
}
