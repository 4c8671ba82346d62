//! Extents of physical volumes that are in no logical volume.

use std::ops::Range;

use super::group::{Group, Layout, Physical};
use super::label::PhysicalVolume;

impl Group {
    /// Why free space of the group, or in its volumes, may be needed all the same.
    ///
    /// Only volumes that consist of plain extents qualify: of a snapshot, a thin volume, a cache or
    /// a RAID one block stands for others as well.
    pub(crate) fn obstacle(&self, found: &[PhysicalVolume]) -> Option<String> {
        let here = |physical: &&Physical| !found.iter().any(|it| it.uuid == physical.uuid);
        if let Some(missing) = self.physical.iter().find(here) {
            return Some(format!("{} of its group is on another disk", missing.name));
        }
        self.logical.iter().find_map(|volume| {
            let why = match &volume.segments {
                Err(reason) => reason.clone(),
                Ok(segments) => segments.iter().find_map(|segment| match &segment.kind {
                    Layout::Stripes { .. } => None,
                    Layout::Mirror(_) => Some("it is a mirror".to_owned()),
                    Layout::Zero => Some("a part of it is nowhere".to_owned()),
                    Layout::Other(kind) => Some(format!("it is of type {kind}")),
                })?,
            };
            Some(format!("its group has the volume {}: {why}", volume.name))
        })
    }

    /// Places on the disk of the extents that are in no volume, in ascending order. To be asked of
    /// a group without an [obstacle](Self::obstacle).
    ///
    /// # Errors
    /// The metadata contradicts itself.
    pub(crate) fn free(&self, found: &[PhysicalVolume]) -> Result<Vec<Range<u64>>, String> {
        let mut free = Vec::new();
        for physical in &self.physical {
            let Some(volume) = found.iter().find(|it| it.uuid == physical.uuid) else {
                continue;
            };
            let mut used = self.used(physical)?;
            used.sort_unstable_by_key(|extents| extents.start);
            let mut next = 0;
            let end = physical.extents..physical.extents;
            for extents in used.into_iter().chain([end]) {
                if extents.start < next || extents.end > physical.extents {
                    return Err(format!(
                        "two volumes claim extent {} of {}, which has {}",
                        extents.start, physical.name, physical.extents
                    ));
                }
                if extents.start > next {
                    free.push(self.place(physical, volume, next..extents.start)?);
                }
                next = extents.end;
            }
        }
        free.sort_unstable_by_key(|range| range.start);
        Ok(free)
    }

    /// The extents of `physical` that volumes use.
    fn used(&self, physical: &Physical) -> Result<Vec<Range<u64>>, String> {
        let mut used = Vec::new();
        let segments = self
            .logical
            .iter()
            .filter_map(|it| it.segments.as_ref().ok());
        for segment in segments.flatten() {
            let Layout::Stripes { places, .. } = &segment.kind else {
                continue;
            };
            let count = places.len() as u64;
            let each = segment.count.checked_div(count).unwrap_or_default();
            if each.checked_mul(count) != Some(segment.count) || each == 0 {
                return Err("a segment has no whole number of extents in each stripe".into());
            }
            for (_, first) in places.iter().filter(|(name, _)| *name == physical.name) {
                let end = first.checked_add(each).ok_or("a segment has no end")?;
                used.push(*first..end);
            }
        }
        Ok(used)
    }

    fn place(
        &self,
        physical: &Physical,
        volume: &PhysicalVolume,
        extents: Range<u64>,
    ) -> Result<Range<u64>, String> {
        let at = |extent: u64| {
            let offset = physical
                .start
                .checked_add(extent.checked_mul(self.extent)?)?;
            Some(offset).filter(|offset| *offset <= volume.size)
        };
        let start = at(extents.start).and_then(|at| volume.base.checked_add(at));
        let end = at(extents.end).and_then(|at| volume.base.checked_add(at));
        match (start, end) {
            (Some(start), Some(end)) => Ok(start..end),
            _ => Err(format!("{} is shorter than its extents", physical.name)),
        }
    }
}
