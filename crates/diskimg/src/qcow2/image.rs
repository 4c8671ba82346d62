//! A qcow2 image: its tables, opened, and what is read by them.

use std::ops::Range;
use std::sync::Arc;

use super::header::Header;
use super::mapping::{Packed, Walk};
use super::tables::Tables;
use super::{bitmaps, files, snapshots};
use crate::chain::{Context, Shared};
use crate::changes::Changes;
use crate::details::{BitmapInfo, Details, Reference, SnapshotInfo};
use crate::error::{Error, ErrorKind, Result};
use crate::extent::check_range;
use crate::format::Format;
use crate::layer::{Layer, Mapped, Piece, Run, Unpack, read_at};
use crate::limits::MAX_HEADER_BYTES;
use crate::source::ReadAt;
use crate::stored::StoredMap;
use crate::units::GuestOffset;
use crate::unpack::{Packing, Unpacker};

/// A qcow2 image.
pub struct Qcow2Image {
    /// The image file, in which compressed clusters are. Others may be in an external data file.
    source: Arc<dyn ReadAt>,
    data_file: Option<Reference>,
    layer: Layer,
    header: Header,
    tables: Tables,
    packing: Packing,
    /// What it shares with the other files of its chain.
    shared: Arc<Shared>,
    /// Whether it accounts for what they share.
    first: bool,
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

    /// [`Self::open`] with options: the internal snapshot whose id, or else whose name, they give
    /// is read as its disk was then, instead of the active disk.
    ///
    /// # Errors
    /// `OutOfRange` when there is no such snapshot, and those of [`Self::open`].
    pub fn open_with(source: Arc<dyn ReadAt>, context: &Context) -> Result<Self> {
        let mut header = Header::read(source.as_ref())?;
        if !context.metadata_only() {
            header.refuse_corrupt()?;
            header.refuse_encryption()?;
        }
        let mut notes = Vec::new();
        // They are not shown for a file below another one.
        let snapshots = if context.is_first() {
            snapshots::list(source.as_ref(), &header, &mut notes)
        } else {
            Vec::new()
        };
        let bitmaps = if context.is_first() {
            bitmaps::list(
                source.as_ref(),
                &header,
                context.metadata_only(),
                &mut notes,
            )
        } else {
            Vec::new()
        };
        let snapshot = match context.snapshot() {
            None => {
                if header.snapshot_count > 0 {
                    notes.push(format!(
                        "the image holds {} internal snapshot{}, and the active disk is read; \
                         --snapshot NAME reads one",
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
        header.warn_of_corruption();
        header.warn_of_encryption();
        header.warn_of_padding();
        header.warnings.append(&mut notes);
        let (data, data_file) = match &header.data_file {
            None => (Arc::clone(&source), None),
            Some(name) => {
                let (data, wanted) =
                    files::open_data(name.as_deref(), context, &mut header.warnings)?;
                (data, Some(wanted.reference()))
            }
        };
        let below = files::open_backing(header.backing.as_ref(), context, &mut header.warnings)?;
        let holes = Arc::new(StoredMap::new(&source, context));
        let stored = match data_file {
            None => Arc::clone(&holes),
            Some(_) => Arc::new(StoredMap::new(&data, context)),
        };
        let tables = Tables::load(source.as_ref(), &header, holes, context)?;
        let shared = Arc::clone(context.shared());
        let packing =
            shared
                .unpackers
                .join(header.compression, 1 << header.cluster_bits, source.len());
        let sizes = (header.declared_size, header.virtual_size);
        Ok(Self {
            source,
            data_file,
            layer: Layer::new(sizes, data, stored, below, context),
            header,
            tables,
            packing,
            shared,
            first: context.is_first(),
            snapshots,
            bitmaps,
            snapshot,
        })
    }

    fn walk(&self, at: u64, end: u64) -> Walk<'_> {
        Walk::new(
            &self.tables,
            self.source.as_ref(),
            self.layer.data.as_ref(),
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
}

impl Mapped for Qcow2Image {
    type Packed = Packed;

    fn layer(&self) -> &Layer {
        &self.layer
    }

    fn runs(&self, at: u64, end: u64) -> impl Iterator<Item = Result<Run<Packed>>> {
        self.walk(at, end)
    }

    fn pieces(&self, at: u64, end: u64, unit: u64) -> impl Iterator<Item = Result<Piece<Packed>>> {
        self.walk(at, end).in_sums(unit)
    }

    fn read(&self, at: GuestOffset, buf: &mut [u8]) -> Result<()> {
        if self.header.encryption.is_some() {
            check_range(at, buf.len() as u64, self.header.virtual_size)?;
            return self.header.refuse_encryption();
        }
        let mut unpacking = Unpacking {
            image: self,
            unpacker: None,
        };
        read_at(self, at, buf, &mut unpacking)
    }

    fn changes_since(&self, bitmap: &str, unit: u64) -> Result<Changes> {
        if self.snapshot.is_some() {
            return Err(Error::new(
                ErrorKind::OutOfRange,
                "bitmaps tell of the active disk, and a snapshot of it is read",
            ));
        }
        bitmaps::changes(self.source.as_ref(), &self.header, bitmap, unit)
    }

    fn describe(&self) -> Details {
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
        if self.data_file.is_some() {
            details.refers_to.extend(self.data_file.clone());
            details.warnings.extend(self.layer.data.note());
        }
        details
    }

    fn memory(&self, readers: u64) -> u64 {
        let (kept, working) = self.tables.memory_bound(readers);
        // The first file accounts for what all of them share.
        let working = match self.first {
            true => working
                .saturating_add(self.shared.unpackers.memory_bound(readers))
                // The header's cluster is read before anything else is allocated.
                .max(self.layer.opening_bytes())
                .max(MAX_HEADER_BYTES),
            false => working,
        };
        let data_file = match self.data_file {
            None => 0,
            Some(_) => self.layer.stored.memory(),
        };
        kept.saturating_add(working)
            .saturating_add(data_file)
            .saturating_add(self.listed_bytes())
    }
}

/// Unpacks for one read.
struct Unpacking<'a> {
    image: &'a Qcow2Image,
    unpacker: Option<Unpacker>,
}

impl Unpack<Packed> for Unpacking<'_> {
    fn unpack(&mut self, buf: &mut [u8], packed: Packed, target: Range<usize>) -> Result<()> {
        let image = self.image;
        let unpacker = self
            .unpacker
            .get_or_insert_with(|| image.shared.unpackers.take(image.packing));
        let Packed { stored, skip } = packed;
        unpacker.push(image.source.as_ref(), buf, stored, None, skip, target)
    }

    fn finish(&mut self, buf: &mut [u8]) -> Result<()> {
        if let Some(mut unpacker) = self.unpacker.take() {
            unpacker.flush(self.image.source.as_ref(), buf)?;
            self.image.shared.unpackers.put(unpacker);
        }
        Ok(())
    }
}
