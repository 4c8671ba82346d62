//! A VHDX image: its tables, opened, and what is read by them.

use std::convert::Infallible;
use std::sync::Arc;

use super::bat::BlockTable;
use super::header::Header;
use super::layout::Guid;
use super::log;
use super::metadata::Metadata;
use super::parent::Locator;
use super::region::Regions;
use crate::chain::{Below, Context, Referred};
use crate::details::Details;
use crate::error::Result;
use crate::format::Format;
use crate::layer::{Layer, Mapped, Piece, Run, read_plain};
use crate::source::ReadAt;
use crate::stored::StoredMap;
use crate::units::GuestOffset;

/// A VHDX image.
pub struct VhdxImage {
    /// On the file with its log replayed.
    layer: Layer,
    table: BlockTable,
    metadata: Metadata,
    creator: Option<String>,
    warnings: Vec<String>,
    /// Bytes that the replayed log holds.
    overlay_bytes: u64,
    data_write_guid: Guid,
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
        let (source, overlay_bytes): (Arc<dyn ReadAt>, u64) =
            match log::replay(&source, &header, context)? {
                None => (source, 0),
                Some((overlay, entries)) => {
                    warnings.push(format!(
                    "the disk was not shut down cleanly: its log is replayed in memory ({entries} \
                     entries); the file is not changed"
                ));
                    let bytes = overlay.memory();
                    (Arc::new(overlay), bytes)
                }
            };
        let regions = Regions::read(source.as_ref(), &header.log, &mut warnings)?;
        let metadata = Metadata::read(source.as_ref(), &regions.metadata)?;
        let below = if metadata.differencing {
            Self::open_parent(source.as_ref(), &metadata, context)?
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
        let sizes = (metadata.disk_size, metadata.disk_size);
        Ok(Self {
            layer: Layer::new(sizes, source, stored, below, context),
            table,
            metadata,
            creator: header.creator,
            warnings,
            overlay_bytes,
            data_write_guid: header.data_write_guid,
        })
    }

    /// What lies below a differencing disk: its parent, if it may be opened.
    fn open_parent(source: &dyn ReadAt, metadata: &Metadata, context: &Context) -> Result<Below> {
        let locator = Locator::read(source, metadata, context)?;
        let wanted = locator.wanted();
        let found = match context.refer(&wanted)? {
            Referred::Unopened => return Ok(Below::Unopened(wanted.reference())),
            Referred::Found(found) => found,
        };
        let parent = Self::open_with(Arc::clone(&found.source), &found.context)
            .map_err(|error| wanted.unopenable(error.in_file(&found.path())))?;
        locator.check(
            metadata,
            parent.data_write_guid,
            &parent.metadata,
            &found.path(),
        )?;
        Ok(found.below(&wanted, Box::new(parent)))
    }
}

impl Mapped for VhdxImage {
    type Packed = Infallible;

    fn layer(&self) -> &Layer {
        &self.layer
    }

    fn runs(&self, at: u64, end: u64) -> impl Iterator<Item = Result<Run>> {
        self.table.walk(self.layer.data.as_ref(), at, end)
    }

    fn pieces(&self, at: u64, end: u64, unit: u64) -> impl Iterator<Item = Result<Piece>> {
        self.table
            .walk(self.layer.data.as_ref(), at, end)
            .in_sums(unit)
    }

    fn read(&self, at: GuestOffset, buf: &mut [u8]) -> Result<()> {
        read_plain(self, at, buf)
    }

    fn describe(&self) -> Details {
        let variant = match (self.metadata.differencing, self.metadata.fixed) {
            (true, _) => "differencing",
            (false, true) => "fixed",
            (false, false) => "dynamic",
        };
        Details {
            variant: Some(variant.to_owned()),
            creator: self.creator.clone(),
            cluster_size: Some(self.metadata.block_size),
            dirty: Some(self.overlay_bytes > 0),
            warnings: self.warnings.clone(),
            ..Details::new(Format::Vhdx)
        }
    }

    fn memory(&self, readers: u64) -> u64 {
        self.table
            .memory_bound(readers)
            .max(self.layer.opening_bytes())
            .saturating_add(self.overlay_bytes)
            .saturating_add(self.layer.stored.memory())
    }
}
