//! Opens what is on the disk: partitions, arrays and logical volumes, and their file systems.

use std::rc::Rc;

use diskimg::partitions::{Partition, PartitionTable, Scheme};

use crate::media::{
    Found, LogicalVolume, Media, Member, PhysicalVolume, Slice, arrays, groups, member,
    physical_volume, recognise,
};
use crate::tree::Tree;
use crate::tree::btrfs::Btrfs;
use crate::tree::ext::Ext;
use crate::tree::fat::Fat;
use crate::tree::guarded::{Guarded, guarded};
use crate::tree::ntfs::Ntfs;
use crate::tree::xfs::Xfs;
use crate::volume::{Content, FileSystem, Health, Stack, Volume};

/// Partitions that are looked at.
const MAX_PARTITIONS: usize = 128;
/// Types of partitions that hold others.
const EXTENDED: [&str; 3] = ["0x05", "0x0f", "0x85"];
/// Where Flatcar keeps a partition's priority among its attributes: the first bit, and the mask.
const PRIORITY: (u32, u64) = (48, 0xf);
/// MD's number for mirrors.
const MIRROR: i32 = 1;

/// The volumes of a disk, each with its file system if it could be opened.
#[derive(Default)]
pub(crate) struct Mounted {
    pub(crate) volumes: Vec<Volume>,
    pub(crate) trees: Vec<Option<Rc<dyn Tree>>>,
}

/// Opens everything on the disk that `table` divides.
pub(crate) fn mount(media: &Rc<Media>, table: &PartitionTable) -> Mounted {
    let mut mounter = Mounter {
        media,
        mounted: Mounted::default(),
        members: Vec::new(),
        physical: Vec::new(),
    };
    match table.scheme {
        Scheme::Mbr | Scheme::Gpt => {
            for partition in table.entries.iter().take(MAX_PARTITIONS) {
                if !EXTENDED.contains(&partition.type_id.as_str()) {
                    let slice = Slice::new(media, partition.start, partition.size);
                    mounter.add(&slice, of_partition(partition));
                }
            }
        }
        Scheme::Superfloppy | Scheme::None => {
            mounter.add(
                &Slice::new(media, 0, media.size()),
                Volume::new(None, Stack::Plain),
            );
        }
    }
    mounter.add_arrays();
    mounter.add_logical();
    mounter.mounted
}

struct Mounter<'a> {
    media: &'a Rc<Media>,
    mounted: Mounted,
    /// Members of arrays, with their slices and the volumes they are.
    members: Vec<(Member, Slice, usize)>,
    /// Physical volumes, and the volumes they are.
    physical: Vec<(PhysicalVolume, usize)>,
}

impl Mounter<'_> {
    /// Adds the volume on `slice`, whose place on the disk `volume` says.
    fn add(&mut self, slice: &Slice, mut volume: Volume) {
        volume.size = slice.size();
        let index = self.mounted.volumes.len();
        let opened = guarded(|| self.open(slice, &mut volume, index));
        let tree = opened.unwrap_or_else(|reason| {
            volume.closed = Some(reason);
            None
        });
        self.mounted.volumes.push(volume);
        self.mounted.trees.push(tree);
    }

    /// Finds out what is on `slice`, and opens it if it is a file system.
    fn open(
        &mut self,
        slice: &Slice,
        volume: &mut Volume,
        index: usize,
    ) -> Result<Option<Rc<dyn Tree>>, String> {
        if let Some(found) = physical_volume(slice)? {
            volume.content = Content::PhysicalVolume(None);
            volume.uuid = Some(dashed(&found.uuid));
            volume.closed.clone_from(&found.broken);
            self.physical.push((found, index));
            return Ok(None);
        }
        if let Some(found) = member(slice)? {
            volume.content = Content::ArrayMember;
            self.members.push((found, slice.clone(), index));
            return Ok(None);
        }
        let found = recognise(slice)?;
        volume.content = found.content.clone();
        volume.uuid.clone_from(&found.uuid);
        volume.label.clone_from(&found.label);
        volume.health = found.health.clone();
        match found.content {
            Content::FileSystem(kind) => open(slice, kind, &found, &mut volume.health).map(Some),
            _ => Ok(None),
        }
    }

    fn add_arrays(&mut self) {
        let members: Vec<Member> = self
            .members
            .iter()
            .map(|(member, ..)| member.clone())
            .collect();
        for array in arrays(&members) {
            let first = array
                .members
                .first()
                .and_then(|index| self.members.get(*index));
            let Some((member, slice, index)) = first else {
                continue;
            };
            let partition = self
                .mounted
                .volumes
                .get(*index)
                .and_then(|volume| volume.partition);
            let stack = Stack::Array {
                uuid: array.uuid.clone(),
                level: array.level,
                missing: array.missing,
            };
            let mut volume = Volume::new(partition, stack);
            volume.size = member.size;
            let base = slice.base().and_then(|base| base.checked_add(member.data));
            match base {
                Some(base) if array.level == MIRROR || member.disks == 1 => {
                    let slice = Slice::new(self.media, base, member.size);
                    self.add(&slice, volume);
                }
                _ => {
                    volume.closed = Some(format!("arrays of level {} are not read", array.level));
                    self.push_closed(volume);
                }
            }
        }
    }

    fn add_logical(&mut self) {
        let found: Vec<PhysicalVolume> = self
            .physical
            .iter()
            .map(|(volume, _)| volume.clone())
            .collect();
        let groups = guarded(|| Ok::<_, String>(groups(self.media, &found))).unwrap_or_default();
        for group in groups {
            let (group, volumes) = match group {
                Ok(group) => group,
                Err(reason) => {
                    self.close_physical(&reason);
                    continue;
                }
            };
            for (physical, index) in &self.physical {
                if group.has(&physical.uuid)
                    && let Some(volume) = self.mounted.volumes.get_mut(*index)
                {
                    volume.content = Content::PhysicalVolume(Some(group.name.clone()));
                    volume.closed = None;
                }
            }
            for logical in volumes {
                self.add_one_logical(&group.name, logical);
            }
        }
    }

    fn add_one_logical(&mut self, group: &str, logical: LogicalVolume) {
        let on = logical.on.and_then(|index| self.physical.get(index));
        let on = on.and_then(|(_, index)| self.mounted.volumes.get(*index));
        let stack = Stack::Logical {
            group: group.to_owned(),
            name: logical.name,
            missing: logical.missing,
        };
        let mut volume = Volume::new(on.and_then(|volume| volume.partition), stack);
        match logical.slice {
            Ok(slice) => self.add(&slice, volume),
            Err(reason) => {
                volume.size = logical.size;
                volume.closed = Some(reason);
                self.push_closed(volume);
            }
        }
    }

    /// A group's metadata makes no sense: says so at every physical volume without a group.
    fn close_physical(&mut self, reason: &str) {
        for (_, index) in &self.physical {
            if let Some(volume) = self.mounted.volumes.get_mut(*index)
                && volume.content == Content::PhysicalVolume(None)
            {
                volume.closed.get_or_insert_with(|| reason.to_owned());
            }
        }
    }

    fn push_closed(&mut self, volume: Volume) {
        self.mounted.volumes.push(volume);
        self.mounted.trees.push(None);
    }
}

fn open(
    slice: &Slice,
    kind: FileSystem,
    found: &Found,
    health: &mut Health,
) -> Result<Rc<dyn Tree>, String> {
    let free = found.free;
    let (tree, applied): (Rc<dyn Tree>, bool) = match kind {
        FileSystem::Ext => {
            let (tree, without_journal) = Ext::open(slice, free, health.journal.is_some())?;
            (Rc::new(tree), !without_journal)
        }
        FileSystem::Xfs => (Rc::new(Xfs::open(slice, free)?), true),
        FileSystem::Btrfs => match (Btrfs::open(slice, free), health.devices) {
            (Ok(tree), _) => (Rc::new(tree), false),
            (Err(_), Some(devices)) => {
                return Err(format!(
                    "the Btrfs lies on {devices} devices, which are not joined"
                ));
            }
            (Err(reason), None) => return Err(reason),
        },
        FileSystem::Ntfs => (Rc::new(Ntfs::open(slice)?), false),
        FileSystem::Fat => (Rc::new(Fat::open(slice)?), false),
    };
    health.journal = health.journal.map(|_| applied);
    Ok(Rc::new(Guarded(tree)))
}

fn of_partition(partition: &Partition) -> Volume {
    Volume {
        partuuid: partition.uuid.clone(),
        partlabel: partition.label.clone(),
        part_type: Some(partition.type_id.clone()),
        priority: u8::try_from(partition.attributes >> PRIORITY.0 & PRIORITY.1).unwrap_or(0),
        ..Volume::new(Some(partition.number), Stack::Plain)
    }
}

/// The UUID of a physical volume as LVM shows it: 6-4-4-4-4-4-6.
fn dashed(uuid: &str) -> String {
    let mut text = String::with_capacity(38);
    for (position, letter) in uuid.chars().enumerate() {
        if matches!(position, 6 | 10 | 14 | 18 | 22 | 26) {
            text.push('-');
        }
        text.push(letter);
    }
    text
}

#[cfg(test)]
mod tests {
    use diskimg::partitions::BootMode;

    use super::*;
    use crate::Budget;

    /// The volumes of a disk with these bytes and no partitions.
    fn volumes(bytes: Vec<u8>) -> Vec<Volume> {
        let size = bytes.len() as u64;
        let source = move |at: u64, buf: &mut [u8]| {
            let at = usize::try_from(at).unwrap();
            buf.copy_from_slice(&bytes[at..at + buf.len()]);
            Ok(())
        };
        let media = Rc::new(Media::new(Box::new(source), size, &Budget::default()));
        let table = PartitionTable {
            scheme: Scheme::None,
            sector_size: 512,
            id: None,
            entries: Vec::new(),
            content: None,
            boot: BootMode::Unknown,
            boot_reason: String::new(),
            warnings: Vec::new(),
            least_size: 0,
            boot_code: false,
        };
        mount(&media, &table).volumes
    }

    /// A member of an array of two disks, with swap in it.
    fn member(level: i32) -> Vec<u8> {
        let mut bytes = vec![0; 128 << 10];
        let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
        put(4096, &0xa92b_4efc_u32.to_le_bytes());
        put(4096 + 4, &1_u32.to_le_bytes());
        put(4096 + 72, &level.to_le_bytes());
        put(4096 + 92, &2_u32.to_le_bytes());
        put(4096 + 128, &16_u64.to_le_bytes());
        put(4096 + 136, &128_u64.to_le_bytes());
        put(4096 + 144, &8_u64.to_le_bytes());
        put(8192 + 4086, b"SWAPSPACE2");
        bytes
    }

    #[test]
    fn half_of_a_mirror_is_read_and_named_as_such() {
        let [member, array] = &volumes(member(1))[..] else {
            panic!("a member and an array")
        };
        assert_eq!(member.content, Content::ArrayMember);
        assert_eq!(array.content, Content::Swap { hibernated: false });
        assert_eq!(array.size, 64 << 10);
        assert!(matches!(array.stack, Stack::Array { missing: 1, .. }));
    }

    #[test]
    fn half_of_a_striped_array_is_named_and_not_read() {
        let volumes = volumes(member(0));
        assert_eq!(volumes[1].content, Content::Unknown);
        assert!(volumes[1].closed.as_ref().unwrap().contains("level 0"));
    }

    #[test]
    fn the_uuid_of_a_physical_volume_has_dashes() {
        let uuid = "kqmJ2a10011001100110011001abcdef";
        assert_eq!(dashed(uuid), "kqmJ2a-1001-1001-1001-1001-1001-abcdef");
    }
}
