//! Where the volumes of a disk lie, and what is on them, without opening any file system.

use std::ops::Range;
use std::rc::Rc;

use diskimg::DiskImage;
use diskimg::partitions::{self, PartitionTable, Scheme};

use crate::Budget;
use crate::asking::ask;
use crate::media::{
    Media, PhysicalVolume, Slice, groups, member, other_mark, physical_volume, recognise,
};
use crate::volume::{Content, Health, Stack, Volume};

/// Partitions that are looked at.
const MAX_PARTITIONS: usize = 128;
/// Types of partitions that hold others.
const EXTENDED: [&str; 3] = ["0x05", "0x0f", "0x85"];

/// A volume: a partition, a logical volume, or the whole disk.
#[derive(Clone, Debug)]
pub struct Laid {
    /// As reports name it.
    pub name: String,
    /// Number of the partition that it is.
    pub partition: Option<u32>,
    /// What it holds.
    pub content: Content,
    /// Where its bytes lie on the disk, in their order.
    pub pieces: Vec<Range<u64>>,
    /// Why what it says of itself cannot be relied on: it was not unmounted, has errors, is cut
    /// off, or is part of something larger.
    pub doubt: Option<String>,
}

/// The volumes of a disk.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Its partition table.
    pub table: PartitionTable,
    /// Its volumes.
    pub volumes: Vec<Laid>,
    /// Extents in no logical volume: the group's name, and their places in ascending order.
    pub free_extents: Vec<(String, Vec<Range<u64>>)>,
    /// What the disk as a whole is marked as, although it has partitions.
    pub whole: Option<Content>,
    /// What lies behind the first partition and in no partition. What an extended partition spans
    /// belongs to it.
    pub gaps: Vec<Laid>,
}

/// Finds the volumes of `image`.
///
/// # Errors
/// In words: what could not be read.
pub fn layout(image: &dyn DiskImage, budget: &Budget) -> Result<Layout, String> {
    let table = partitions::read(image).map_err(|error| error.to_string())?;
    let cap = budget.clone();
    ask(image, budget.time, move |source, size| {
        survey(&Rc::new(Media::new(source, size, &cap)), table)
    })?
}

/// What a slice is said to hold.
struct Seen {
    content: Content,
    doubt: Option<String>,
}

fn survey(media: &Rc<Media>, table: PartitionTable) -> Result<Layout, String> {
    let disk = Slice::new(media, 0, media.size());
    let divided = matches!(table.scheme, Scheme::Mbr | Scheme::Gpt);
    let mut found = Layout {
        volumes: Vec::new(),
        free_extents: Vec::new(),
        whole: divided.then(|| whole(&disk)).transpose()?.flatten(),
        gaps: Vec::new(),
        table,
    };
    let mut physical = Vec::new();
    if divided {
        for partition in found.table.entries.iter().take(MAX_PARTITIONS) {
            if EXTENDED.contains(&partition.type_id.as_str()) {
                continue;
            }
            let volume = Volume::new(Some(partition.number), Stack::Plain);
            let slice = Slice::new(media, partition.start, partition.size);
            let cut = (slice.size() < partition.size).then(|| "the disk ends in it".to_owned());
            let (mut laid, group) = plain(&slice, &volume)?;
            laid.doubt = cut.or(laid.doubt);
            found.volumes.push(laid);
            physical.extend(group);
        }
        found.gaps = gaps(media, &found.table)?;
    } else {
        let (laid, group) = plain(&disk, &Volume::new(None, Stack::Plain))?;
        found.volumes.push(laid);
        physical.extend(group);
    }
    add_groups(media, &physical, &mut found)?;
    Ok(found)
}

/// The mark of the disk as a whole, beside those of its partitions.
fn whole(disk: &Slice) -> Result<Option<Content>, String> {
    let Seen { content, .. } = match (physical_volume(disk)?, member(disk)?) {
        (Some(_), _) => return Ok(Some(Content::PhysicalVolume(None))),
        (None, Some(_)) => return Ok(Some(Content::ArrayMember)),
        (None, None) => look(disk)?,
    };
    Ok(Some(content).filter(|content| !matches!(content, Content::Empty | Content::Unknown)))
}

fn plain(slice: &Slice, volume: &Volume) -> Result<(Laid, Option<PhysicalVolume>), String> {
    let physical = physical_volume(slice)?;
    let Seen { content, doubt } = if physical.is_some() {
        Seen {
            content: Content::PhysicalVolume(None),
            doubt: None,
        }
    } else if member(slice)?.is_some() {
        Seen {
            content: Content::ArrayMember,
            doubt: Some("it is a member of an array".into()),
        }
    } else {
        look(slice)?
    };
    let laid = Laid {
        name: volume.name(),
        partition: volume.partition,
        content,
        pieces: slice.pieces().unwrap_or_default(),
        doubt,
    };
    Ok((laid, physical))
}

/// The stretches behind the first partition that are in none.
fn gaps(media: &Rc<Media>, table: &PartitionTable) -> Result<Vec<Laid>, String> {
    let mut gaps = Vec::new();
    let mut taken: Vec<(Range<u64>, u32)> = table
        .entries
        .iter()
        .map(|it| (it.start..it.start.saturating_add(it.size), it.number))
        .collect();
    taken.sort_unstable_by_key(|(range, _)| range.start);
    let mut before: Option<(u64, u32)> = None;
    let end = (media.size()..media.size(), 0);
    for (range, number) in taken.into_iter().chain([end]) {
        if let Some((end, last)) = before
            && end < range.start
        {
            let slice = Slice::new(media, end, range.start - end);
            let (laid, _) = plain(&slice, &Volume::new(None, Stack::Plain))?;
            gaps.push(Laid {
                name: format!("space behind partition {last}"),
                ..laid
            });
        }
        if before.is_none_or(|(end, _)| end < range.end) {
            before = Some((range.end, number));
        }
    }
    Ok(gaps)
}

fn look(slice: &Slice) -> Result<Seen, String> {
    let found = recognise(slice)?;
    let other = match found.content {
        Content::FileSystem(_) | Content::Swap { .. } => other_mark(slice)?,
        _ => None,
    };
    let doubt = other.map(|other| format!("it is marked as {other} too"));
    Ok(Seen {
        doubt: doubt.or_else(|| doubt_of(&found.health)),
        content: found.content,
    })
}

fn doubt_of(health: &Health) -> Option<String> {
    if let Some(longer) = health.longer {
        return Some(format!(
            "it claims {longer} bytes, more than its volume has"
        ));
    }
    if let Some(devices) = health.devices {
        return Some(format!("it lies on {devices} devices"));
    }
    health.errors.clone().or_else(|| health.dirty.clone())
}

/// Adds the logical volumes of all groups, and what is free in the groups.
fn add_groups(
    media: &Rc<Media>,
    physical: &[PhysicalVolume],
    found: &mut Layout,
) -> Result<(), String> {
    for group in groups(media, physical) {
        let (group, volumes) = group?;
        let obstacle = group.obstacle(physical);
        for logical in volumes {
            let stack = Stack::Logical {
                group: group.name.clone(),
                name: logical.name.clone(),
                missing: logical.missing.clone(),
            };
            let name = Volume::new(None, stack).name();
            let mut laid = match &logical.slice {
                Ok(slice) => plain_logical(slice, name)?,
                Err(reason) => closed(name, reason.clone()),
            };
            laid.doubt = obstacle.clone().or(laid.doubt);
            found.volumes.push(laid);
        }
        if obstacle.is_none() {
            let free = group.free(physical)?;
            found.free_extents.push((group.name.clone(), free));
        }
    }
    Ok(())
}

fn plain_logical(slice: &Slice, name: String) -> Result<Laid, String> {
    let Some(pieces) = slice.pieces() else {
        return Ok(closed(name, "it is striped, or not all here".into()));
    };
    let nested = physical_volume(slice)?.is_some() || member(slice)?.is_some();
    let Seen { content, doubt } = look(slice)?;
    Ok(Laid {
        name,
        partition: None,
        content,
        pieces,
        doubt: nested
            .then(|| "other volumes are in it".to_owned())
            .or(doubt),
    })
}

fn closed(name: String, reason: String) -> Laid {
    Laid {
        name,
        partition: None,
        content: Content::Unknown,
        pieces: Vec::new(),
        doubt: Some(reason),
    }
}
