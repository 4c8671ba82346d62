//! A VHD image: its footer and its map, opened, and what is read by them.

use std::convert::Infallible;
use std::sync::Arc;

use super::footer::{Footer, Kind};
use super::mapping::Map;
use super::parent::Named;
use super::table::BlockTable;
use crate::chain::{Below, Context, Referred};
use crate::details::Details;
use crate::error::Result;
use crate::format::Format;
use crate::layer::{Layer, Mapped, Piece, Run, read_plain};
use crate::report::FirstError;
use crate::source::ReadAt;
use crate::stored::StoredMap;
use crate::units::{FileOffset, GuestOffset};

/// A VHD image.
pub struct VhdImage {
    layer: Layer,
    map: Map,
    creator: String,
    warnings: Vec<String>,
    unique_id: [u8; 16],
}

impl VhdImage {
    /// Opens `source` as VHD: reads and checks the footer, and of a dynamic disk header and BAT.
    ///
    /// # Errors
    /// `Unsupported` for differencing disks and other things that are refused by name, `Ambiguous`
    /// when footer and copy contradict each other, `Limit`, `Corrupt`, `Truncated` or `Io` by
    /// cause.
    pub fn open(source: Arc<dyn ReadAt>) -> Result<Self> {
        Self::open_with(source, &Context::default())
    }

    /// [`Self::open`] with options.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(source: Arc<dyn ReadAt>, context: &Context) -> Result<Self> {
        let mut footer = Footer::read(source.as_ref())?;
        let below = match footer.kind {
            Kind::Differencing => Self::open_parent(source.as_ref(), &footer, context)?,
            Kind::Fixed | Kind::Dynamic => Below::Nothing,
        };
        let sizes = footer.size()?;
        let (declared_size, _) = sizes;
        let stored = Arc::new(StoredMap::new(&source, context));
        let map = if footer.kind == Kind::Fixed {
            footer.check_fixed(&mut FirstError)?;
            Map::Fixed
        } else {
            let table = BlockTable::load(source.as_ref(), &footer, declared_size, context)?;
            context
                .steps()
                .allow_for(source.as_ref(), table.metadata_bytes());
            let differencing = footer.kind == Kind::Differencing;
            Map::blocks(table, differencing, Arc::clone(&stored), context)
        };
        Ok(Self {
            layer: Layer::new(sizes, source, stored, below, context),
            map,
            creator: footer.creator,
            warnings: footer.warnings,
            unique_id: footer.unique_id,
        })
    }

    /// What lies below a differencing disk: its parent, if it may be opened.
    fn open_parent(source: &dyn ReadAt, footer: &Footer, context: &Context) -> Result<Below> {
        let named = Named::read(source, footer, context)?;
        let found = match context.refer(&named.wanted)? {
            Referred::Unopened => return Ok(Below::Unopened(named.wanted.reference())),
            Referred::Found(found) => found,
        };
        let parent = Self::open_with(Arc::clone(&found.source), &found.context)
            .map_err(|error| named.wanted.unopenable(error.in_file(&found.path())))?;
        named.check(&parent.unique_id, &found.path())?;
        Ok(found.below(&named.wanted, Box::new(parent)))
    }

    /// What the sector bitmaps leave in doubt, as far as they were examined, and where that begins
    /// in the file.
    pub(super) fn doubts(&self) -> Vec<(FileOffset, String)> {
        self.map.doubts()
    }
}

impl Mapped for VhdImage {
    type Packed = Infallible;

    fn layer(&self) -> &Layer {
        &self.layer
    }

    fn runs(&self, at: u64, end: u64) -> impl Iterator<Item = Result<Run>> {
        self.map.walk(self.layer.data.as_ref(), at, end)
    }

    fn pieces(&self, at: u64, end: u64, unit: u64) -> impl Iterator<Item = Result<Piece>> {
        self.map
            .walk_in_sums(self.layer.data.as_ref(), at, end, unit)
    }

    fn read(&self, at: GuestOffset, buf: &mut [u8]) -> Result<()> {
        read_plain(self, at, buf)
    }

    fn describe(&self) -> Details {
        let block_size = self.map.block_size();
        let variant = match (block_size, &self.layer.below) {
            (None, _) => "fixed",
            (Some(_), Below::Nothing) => "dynamic",
            (Some(_), _) => "differencing",
        };
        let mut details = Details {
            variant: Some(variant.to_owned()),
            creator: Some(self.creator.clone()),
            cluster_size: block_size,
            warnings: self.warnings.clone(),
            ..Details::new(Format::Vhd)
        };
        let doubts = self.map.doubts().into_iter();
        details.warnings.extend(doubts.map(|(_, text)| text));
        details
    }

    fn audit_layer(&self, cancelled: &dyn Fn() -> bool) -> Result<()> {
        let Layer {
            data,
            stored,
            declared_size,
            ..
        } = &self.layer;
        self.map
            .audit(data.as_ref(), stored, *declared_size, cancelled)
    }

    fn memory(&self, readers: u64) -> u64 {
        let (kept, working) = self.map.memory_bound(readers);
        kept.saturating_add(working.max(self.layer.opening_bytes()))
            .saturating_add(self.layer.stored.memory())
    }
}
