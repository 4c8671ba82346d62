//! VHDX, the format of Hyper-V since 2012: fixed, dynamic and differencing disks.
//!
//! ```text
//! headers ──▶ log, replayed in memory ──▶ regions ──▶ metadata ──▶ BAT by slices ──▶ runs
//!                                                                                     │
//!            extent_at: what is where ◀───────────────────────────────────────────────┤
//!            read_at: stored runs read, the rest filled with zeros ◀──────────────────┘
//! ```
//!
//! What a differencing disk does not hold comes from its parent, which is opened by the policy in
//! the [`Context`] and held against the GUID that the disk was made on. Refused by name: regions
//! and metadata items that the file needs and that are not known. What the file promises past its
//! end is an error, not zeros. The source is never written, so a log that has to be replayed is
//! replayed over it, not into it.

mod bat;
mod check;
mod header;
mod layout;
mod log;
mod metadata;
mod overlay;
mod parent;
mod places;
mod region;

use std::convert::Infallible;
use std::sync::Arc;

use self::bat::BlockTable;
use self::header::Header;
use self::layout::Guid;
use self::metadata::Metadata;
use self::region::Regions;
use crate::chain::{Below, Context, Opening};
use crate::error::Result;
use crate::image::{Details, DiskImage, Extent};
use crate::layer::{self, Mapped, Piece, Run};
use crate::open::Driver;
use crate::probe::Format;
use crate::source::ReadAt;
use crate::stored::StoredMap;
use crate::survey::Tally;
use crate::units::GuestOffset;
use crate::work::{Steps, Work};

/// VHDX, whatever its version: other versions are refused by number.
pub const DRIVER: Driver = Driver {
    format: Format::Vhdx,
    claims: |probe| probe.starts_with(0, &layout::FILE_SIGNATURE),
    open: |source, context| Ok(Box::new(VhdxImage::open_with(source, context)?)),
    check: check::check,
};

/// A VHDX image.
pub struct VhdxImage {
    /// The file, with its log replayed.
    source: Arc<dyn ReadAt>,
    table: BlockTable,
    metadata: Metadata,
    creator: Option<String>,
    warnings: Vec<String>,
    /// Bytes that the replayed log holds.
    overlay_bytes: u64,
    /// What of the file is a hole.
    stored: Arc<StoredMap>,
    steps: Steps,
    data_write_guid: Guid,
    /// The parent of a differencing disk.
    below: Below,
    opening: Opening,
}

impl VhdxImage {
    /// Opens `source` as VHDX: reads headers, log, region tables and metadata.
    ///
    /// # Errors
    /// `Unsupported` for differencing disks and other things that are refused by name, `Limit`,
    /// `Corrupt`, `Truncated` or `Io` by cause.
    pub fn open(source: Arc<dyn ReadAt>) -> Result<Self> {
        Self::open_with(source, &Context::default())
    }

    /// [`Self::open`] with options.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(source: Arc<dyn ReadAt>, context: &Context) -> Result<Self> {
        let header = Header::read(source.as_ref())?;
        let mut warnings = header.warnings.clone();
        let (source, overlay_bytes): (Arc<dyn ReadAt>, u64) = match log::replay(
            &source, &header, context,
        )? {
            None => (source, 0),
            Some((overlay, entries)) => {
                warnings.push(format!(
                    "the disk was not shut down cleanly: its log is replayed in memory ({entries} entries); the file is not changed"
                ));
                let bytes = overlay.memory();
                (Arc::new(overlay), bytes)
            }
        };
        let regions = Regions::read(source.as_ref(), &header.log, &mut warnings)?;
        let metadata = Metadata::read(source.as_ref(), &regions.metadata)?;
        let below = if metadata.differencing {
            parent::open(source.as_ref(), &metadata, context)?
        } else {
            Below::Nothing
        };
        let stored = Arc::new(StoredMap::new(&source, context));
        let table = BlockTable::new(
            source.as_ref(),
            regions,
            &metadata,
            Arc::clone(&stored),
            context,
        )?;
        Ok(Self {
            source,
            table,
            metadata,
            creator: header.creator,
            warnings,
            overlay_bytes,
            stored,
            steps: context.steps().clone(),
            data_write_guid: header.data_write_guid,
            below,
            opening: Opening::of(context),
        })
    }
}

impl Mapped for VhdxImage {
    type Packed = Infallible;

    fn declared_size(&self) -> u64 {
        self.metadata.disk_size
    }

    fn virtual_size(&self) -> u64 {
        self.metadata.disk_size
    }

    fn data(&self) -> &dyn ReadAt {
        self.source.as_ref()
    }

    fn stored(&self) -> &StoredMap {
        &self.stored
    }

    fn steps(&self) -> &Steps {
        &self.steps
    }

    fn below(&self) -> &Below {
        &self.below
    }

    fn runs(&self, at: u64, end: u64) -> impl Iterator<Item = Result<Run>> {
        self.table.walk(self.source.as_ref(), at, end)
    }

    fn pieces(&self, at: u64, end: u64, unit: u64) -> impl Iterator<Item = Result<Piece>> {
        self.table.walk(self.source.as_ref(), at, end).in_sums(unit)
    }
}

impl DiskImage for VhdxImage {
    fn virtual_size(&self) -> u64 {
        self.metadata.disk_size
    }

    fn extent_at(&self, at: GuestOffset, limit: u64) -> Result<Extent> {
        layer::extent_at(self, at, limit)
    }

    fn extents_from(
        &self,
        at: GuestOffset,
        end: GuestOffset,
        most: usize,
        found: &mut Vec<Extent>,
    ) -> Result<()> {
        layer::extents_from(self, at, end, most, found)
    }

    fn tallies_from(
        &self,
        at: GuestOffset,
        end: GuestOffset,
        unit: u64,
        most: usize,
        found: &mut Vec<Tally>,
    ) -> Result<()> {
        layer::tallies_from(self, at, end, unit, most, found)
    }

    fn work(&self) -> Work {
        self.steps.work()
    }

    fn read_at(&self, at: GuestOffset, buf: &mut [u8]) -> Result<()> {
        layer::read_plain(self, at, buf)
    }

    fn details(&self) -> Details {
        let variant = match (self.metadata.differencing, self.metadata.fixed) {
            (true, _) => "differencing",
            (false, true) => "fixed",
            (false, false) => "dynamic",
        };
        let mut details = Details {
            variant: Some(variant.to_owned()),
            creator: self.creator.clone(),
            cluster_size: Some(self.metadata.block_size),
            dirty: Some(self.overlay_bytes > 0),
            warnings: self.warnings.clone(),
            ..Details::new(Format::Vhdx)
        };
        self.below.describe(&mut details);
        details
    }

    fn memory_bound(&self, readers: usize) -> u64 {
        self.table
            .memory_bound(readers as u64)
            .max(self.opening.bytes())
            .saturating_add(self.overlay_bytes)
            .saturating_add(self.stored.memory())
            .saturating_add(self.below.memory_bound(readers))
    }
}
