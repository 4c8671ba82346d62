//! An image whose errors name its file.

use std::sync::Arc;

use crate::changes::Changes;
use crate::details::Details;
use crate::disguise::Disguise;
use crate::error::Result;
use crate::extent::{Extent, Tally};
use crate::image::DiskImage;
use crate::source::ReadAt;
use crate::units::GuestOffset;
use crate::work::Work;

/// An image whose errors name the file it was opened from.
pub(crate) struct Named {
    pub(crate) image: Box<dyn DiskImage>,
    pub(crate) source: Arc<dyn ReadAt>,
    pub(crate) disguise: Option<Disguise>,
    /// What its name gets wrong.
    pub(crate) warning: Option<String>,
}

impl Named {
    /// `image`, which was opened from the file in `source`.
    pub(crate) fn new(image: Box<dyn DiskImage>, source: &Arc<dyn ReadAt>) -> Self {
        Self {
            image,
            source: Arc::clone(source),
            disguise: None,
            warning: None,
        }
    }

    fn name<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| match self.source.path() {
            Some(path) => error.in_file(path),
            None => error,
        })
    }
}

// A method that is added to the trait must not be answered by its default here.
#[deny(clippy::missing_trait_methods)]
impl DiskImage for Named {
    fn virtual_size(&self) -> u64 {
        self.image.virtual_size()
    }

    fn extent_at(&self, at: GuestOffset, limit: u64) -> Result<Extent> {
        self.name(self.image.extent_at(at, limit))
    }

    fn extents_from(
        &self,
        at: GuestOffset,
        end: GuestOffset,
        most: usize,
        found: &mut Vec<Extent>,
    ) -> Result<()> {
        self.name(self.image.extents_from(at, end, most, found))
    }

    fn tallies_from(
        &self,
        at: GuestOffset,
        end: GuestOffset,
        unit: u64,
        most: usize,
        found: &mut Vec<Tally>,
    ) -> Result<()> {
        self.name(self.image.tallies_from(at, end, unit, most, found))
    }

    fn work(&self) -> Work {
        self.image.work()
    }

    fn read_at(&self, at: GuestOffset, buf: &mut [u8]) -> Result<()> {
        self.name(self.image.read_at(at, buf))
    }

    fn details(&self) -> Details {
        let mut details = self.image.details();
        if let Some(packing) = self.source.packing() {
            details.compression = Some(packing.name().to_owned());
            details.streamed = true;
        }
        let warnings = self.disguise.as_ref().map(Disguise::warning);
        details.warnings.extend(warnings);
        details.warnings.extend(self.source.note());
        details.warnings.extend(self.warning.clone());
        details
    }

    fn changes(&self, bitmap: &str, unit: u64) -> Result<Changes> {
        self.name(self.image.changes(bitmap, unit))
    }

    fn memory_bound(&self, readers: usize) -> u64 {
        let image = self.image.memory_bound(readers);
        image.saturating_add(self.source.memory())
    }

    fn audit(&self, cancelled: &dyn Fn() -> bool) -> Result<()> {
        self.name(self.image.audit(cancelled))
    }
}
