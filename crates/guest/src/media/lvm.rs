//! LVM2: which logical volumes are on the disk, and where their bytes are.
//!
//! ```text
//! label ─▶ PV header ─▶ metadata areas ─▶ text ─▶ groups ─▶ logical volumes as slices
//! ```

mod free;
mod group;
mod label;
mod map;
mod text;

use std::rc::Rc;

pub(crate) use group::Group;
pub(crate) use label::{PhysicalVolume, physical_volume};
pub(crate) use map::LogicalVolume;

use super::cache::Media;

/// The volume groups that `found` belong to, each with its visible logical volumes.
///
/// # Errors
/// The metadata of one group cannot be understood. Of a group only the newest copy is looked at.
pub(crate) fn groups(
    media: &Rc<Media>,
    found: &[PhysicalVolume],
) -> Vec<Result<(Group, Vec<LogicalVolume>), String>> {
    let mut newest: Vec<Group> = Vec::new();
    let mut failed = Vec::new();
    for text in found.iter().filter_map(|volume| volume.text.as_deref()) {
        match Group::parse(text) {
            Err(reason) => failed.push(Err(reason)),
            Ok(group) => match newest.iter_mut().find(|known| known.uuid == group.uuid) {
                Some(known) if known.seqno < group.seqno => *known = group,
                Some(_) => {}
                None => newest.push(group),
            },
        }
    }
    let mapped = newest.into_iter().map(|group| {
        let volumes = map::logical_volumes(media, &group, found);
        Ok((group, volumes))
    });
    mapped.chain(failed).collect()
}
