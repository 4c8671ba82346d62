//! Every mapped disk is a disk image.

use super::list;
use super::map::Mapped;
use super::sums;
use crate::changes::Changes;
use crate::details::Details;
use crate::error::Result;
use crate::extent::{Extent, Tally};
use crate::image::DiskImage;
use crate::units::GuestOffset;
use crate::work::Work;

impl<M: Mapped> DiskImage for M {
    fn virtual_size(&self) -> u64 {
        self.layer().virtual_size
    }

    fn extent_at(&self, at: GuestOffset, limit: u64) -> Result<Extent> {
        list::extent_at(self, at, limit)
    }

    fn extents_from(
        &self,
        at: GuestOffset,
        end: GuestOffset,
        most: usize,
        found: &mut Vec<Extent>,
    ) -> Result<()> {
        list::extents_from(self, at, end, most, found)
    }

    fn tallies_from(
        &self,
        at: GuestOffset,
        end: GuestOffset,
        unit: u64,
        most: usize,
        found: &mut Vec<Tally>,
    ) -> Result<()> {
        sums::tallies_from(self, at, end, unit, most, found)
    }

    fn work(&self) -> Work {
        self.layer().steps.work()
    }

    fn read_at(&self, at: GuestOffset, buf: &mut [u8]) -> Result<()> {
        self.read(at, buf)
    }

    fn details(&self) -> Details {
        let mut details = self.describe();
        self.layer().below.describe(&mut details);
        details
    }

    fn changes(&self, bitmap: &str, unit: u64) -> Result<Changes> {
        self.changes_since(bitmap, unit)
    }

    fn audit(&self, cancelled: &dyn Fn() -> bool) -> Result<()> {
        self.audit_layer(cancelled)?;
        self.layer().below.audit(cancelled)
    }

    fn memory_bound(&self, readers: usize) -> u64 {
        let layer = self.layer();
        self.memory(readers as u64)
            .saturating_add(layer.below.memory_bound(readers))
    }
}
