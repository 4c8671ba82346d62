//! Where what a guest mounts is: on this disk, on another one, or under a name that changes.

use crate::Facts;
use crate::linux::fstab::Entry;
use crate::volume::{self, Content, Device, Stack, Volume};

/// Where what an entry of fstab names is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// On this disk, or nowhere because it is no device.
    Here,
    /// By a name that depends on the machine.
    ByName,
    /// `/dev/vda`: right on the machines that most flavors have.
    VirtioName,
    Elsewhere,
    /// Perhaps inside of a volume that could not be opened.
    Hidden,
}

pub(super) fn place(entry: &Entry, facts: &Facts) -> Place {
    if mapping(&entry.spec).is_some_and(|name| is_mapping(name, facts)) {
        return Place::Here;
    }
    let device = Device::parse(&entry.spec);
    match &device {
        Device::None => Place::Here,
        Device::Hardware => Place::ByName,
        Device::Name { disk: 1.., .. } => Place::Elsewhere,
        Device::Name { driver, .. } if driver == "vd" => Place::VirtioName,
        Device::Name { .. } => Place::ByName,
        Device::Other if entry.spec.starts_with(b"/dev/md") => {
            let is_array = |volume: &Volume| matches!(volume.stack, Stack::Array { .. });
            if facts.volumes.iter().any(is_array) {
                Place::Here
            } else {
                missing(facts)
            }
        }
        Device::Other => Place::Here,
        _ if volume::find(&device, &facts.volumes).is_some() => Place::Here,
        Device::Uuid(uuid) if is_serial(uuid) && has_common_serial(entry, facts) => Place::Hidden,
        _ => missing(facts),
    }
}

/// Whether this is how the serial number of a FAT is written.
fn is_serial(uuid: &str) -> bool {
    let is = |half: &str| half.len() == 4 && half.bytes().all(|byte| byte.is_ascii_hexdigit());
    uuid.split_once('-')
        .is_some_and(|(high, low)| is(high) && is(low))
}

/// Whether `entry` may mean a FAT that has the serial number which `mkfs.fat --invariant` gives to
/// all: it tells no volume from another.
fn has_common_serial(entry: &Entry, facts: &Facts) -> bool {
    let fat = [b"vfat".as_slice(), b"msdos", b"auto"].contains(&entry.kind.as_slice());
    let is = |volume: &Volume| volume.uuid.as_deref() == Some("1234-ABCD");
    fat && facts.volumes.iter().any(is)
}

/// What is not among the volumes is on another disk, if all of this disk's are known.
fn missing(facts: &Facts) -> Place {
    let arrays = facts
        .volumes
        .iter()
        .any(|volume| matches!(volume.stack, Stack::Array { .. }) && volume.closed.is_none());
    let hides = |volume: &Volume| match volume.content {
        Content::ArrayMember => !arrays,
        _ => volume.hides_names().is_some(),
    };
    if facts.volumes.iter().any(hides) {
        Place::Hidden
    } else {
        Place::Elsewhere
    }
}

/// The name below `/dev/mapper`.
pub(super) fn mapping(spec: &[u8]) -> Option<&[u8]> {
    spec.strip_prefix(b"/dev/mapper/")
}

/// Whether the mapping `name` is an encrypted volume or multipath: other rules are about these.
fn is_mapping(name: &[u8], facts: &Facts) -> bool {
    let crypttab = facts
        .configured()
        .and_then(|config| config.storage.crypttab.as_ref().ok());
    is_multipath(name)
        || crypttab.is_some_and(|entries| entries.iter().any(|entry| entry.name == name))
}

pub(super) fn is_multipath(name: &[u8]) -> bool {
    name.starts_with(b"mpath") || name.starts_with(b"3600")
}
