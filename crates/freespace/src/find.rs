//! Looks for free space in everything that is on a disk.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use diskimg::{DiskImage, DiskImageExt as _, ExtentKind, Format, GuestOffset};
use guest::{Budget, Content, FileSystem, Laid, Layout, layout};

use crate::map::join;
use crate::report::{FreeSpace, VolumeSpace};
use crate::volume::{Disk, Free, Volume};
use crate::{btrfs, ext, fat, gaps, ntfs, swap, xfs};

/// Bytes of the smallest volume with unknown content that is reported.
const LEAST_NAMED: u64 = 32 << 20;

/// What counts as free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Swap space too, but for its header.
    pub swap: bool,
}

/// The free space of `image`. Asks `cancelled` at each read, and finds nothing more when the answer
/// is yes.
pub fn find(image: &dyn DiskImage, options: Options, cancelled: &dyn Fn() -> bool) -> FreeSpace {
    let details = image.details();
    if details.streamed || details.format == Format::Zvhd {
        return FreeSpace::undone("the image can be read front to back only");
    }
    let layout = match layout(image, &Budget::default()) {
        Ok(layout) => layout,
        Err(reason) => return FreeSpace::undone(reason),
    };
    if let Some(reason) = obstacle(&layout) {
        return FreeSpace::undone(reason);
    }
    let disk = Disk::new(image, cancelled);
    if let Some(reason) = asleep(&disk, &layout) {
        return FreeSpace::undone(reason);
    }
    let mut search = Search {
        disk: &disk,
        options,
        layout: &layout,
        ranges: Vec::new(),
        volumes: Vec::new(),
    };
    for volume in &layout.volumes {
        search.volume(volume);
    }
    search.free_extents();
    search.gaps();
    let Search {
        ranges, volumes, ..
    } = search;
    let map = join(ranges);
    FreeSpace {
        map_sha256: map.hash(),
        free_bytes: map.bytes(),
        stored_bytes: volumes.iter().map(|volume| volume.stored).sum(),
        map: Arc::new(map),
        volumes,
        undone: None,
        bytes_read: disk.bytes_read(),
    }
}

/// Why nothing on the disk can be relied on.
fn obstacle(layout: &Layout) -> Option<String> {
    if let Some(content) = &layout.whole {
        let what = kind(content).unwrap_or("something");
        return Some(format!(
            "the disk has partitions, and is marked as {what} as a whole"
        ));
    }
    let asleep = |it: &&Laid| it.content == Content::Swap { hibernated: true };
    layout
        .volumes
        .iter()
        .find(asleep)
        .map(|swap| format!("a system sleeps in the swap space of {}", swap.name))
}

/// What a volume holds, in a word; `None` for what has no free space.
fn kind(content: &Content) -> Option<&'static str> {
    Some(match content {
        Content::FileSystem(FileSystem::Ext) => "ext",
        Content::FileSystem(FileSystem::Xfs) => "XFS",
        Content::FileSystem(FileSystem::Btrfs) => "Btrfs",
        Content::FileSystem(FileSystem::Ntfs) => "NTFS",
        Content::FileSystem(FileSystem::Fat) => "FAT",
        Content::Swap { .. } => "swap",
        Content::ArrayMember => "a member of an array",
        Content::Encrypted(method) => method,
        Content::Other(name) => name,
        Content::PhysicalVolume(_) => "LVM",
        Content::Unknown => "unknown content",
        Content::Empty => return None,
    })
}

/// Which Windows sleeps on the disk, if one does: it has all of its volumes in use.
fn asleep(disk: &Disk<'_>, layout: &Layout) -> Option<String> {
    let ntfs = |laid: &&Laid| laid.content == Content::FileSystem(FileSystem::Ntfs);
    layout.volumes.iter().filter(ntfs).find_map(|laid| {
        let volume = Volume::new(disk, &laid.pieces);
        match guarded(|| ntfs::is_asleep(volume)) {
            Ok(false) => None,
            Ok(true) => Some(format!("a Windows sleeps on {}", laid.name)),
            Err(reason) => Some(format!("a Windows may sleep on {}: {reason}", laid.name)),
        }
    })
}

struct Search<'a> {
    disk: &'a Disk<'a>,
    options: Options,
    layout: &'a Layout,
    /// Free ranges of the disk.
    ranges: Vec<Range<u64>>,
    volumes: Vec<VolumeSpace>,
}

impl Search<'_> {
    /// Adds what is free of a volume.
    fn volume(&mut self, laid: &Laid) {
        let volume = Volume::new(self.disk, &laid.pieces);
        let nothing = match laid.content {
            // What is in a group shows by its volumes.
            Content::PhysicalVolume(_) => true,
            // Room for boot loaders.
            Content::Unknown => laid.doubt.is_none() && volume.size() < LEAST_NAMED,
            _ => false,
        };
        let Some(kind) = kind(&laid.content).filter(|_| !nothing) else {
            return;
        };
        let kind = match laid.content {
            Content::FileSystem(FileSystem::Ext) => ext::kind(volume).unwrap_or(kind),
            _ => kind,
        };
        let free = self
            .doubt(laid)
            .map_or_else(|| guarded(|| self.free_of(&laid.content, volume)), Err);
        let space = VolumeSpace {
            name: laid.name.clone(),
            kind,
            size: volume.size(),
            free: 0,
            discardable: 0,
            stored: 0,
            kept: None,
        };
        let free = free.map(|free| {
            let places = |range: &Range<u64>| volume.places(range.clone()).collect::<Vec<_>>();
            let ranges = free.ranges.iter().flat_map(places).collect();
            (free.size, free.free, ranges)
        });
        self.add(space, free);
    }

    /// Adds what was found, or why nothing was.
    fn add(&mut self, space: VolumeSpace, found: Result<(u64, u64, Vec<Range<u64>>), String>) {
        let space = match found {
            Ok((size, free, ranges)) => {
                let space = VolumeSpace {
                    size,
                    free,
                    discardable: ranges.iter().map(|it| it.end - it.start).sum(),
                    stored: self.disk.stored(&ranges),
                    ..space
                };
                self.ranges.extend(ranges);
                space
            }
            Err(reason) => VolumeSpace {
                kept: Some(reason),
                ..space
            },
        };
        self.volumes.push(space);
    }

    /// Why a volume is copied whole before anybody looks into it.
    fn doubt(&self, laid: &Laid) -> Option<String> {
        if laid.doubt.is_some() {
            return laid.doubt.clone();
        }
        let entries = &self.layout.table.entries;
        let number = laid.partition?;
        let own = entries.iter().find(|entry| entry.number == number)?;
        if gaps::is_foreign(&own.type_id) {
            return Some(format!("its partition is of type {}", own.type_id));
        }
        let end = own.start.saturating_add(own.size);
        let overlaps = |other: &&diskimg::partitions::Partition| {
            other.number != number
                && !matches!(other.type_id.as_str(), "0x05" | "0x0f" | "0x85")
                && other.start < end
                && own.start < other.start.saturating_add(other.size)
        };
        let other = entries.iter().find(overlaps)?;
        Some(format!("partition {} overlaps it", other.number))
    }

    fn free_of(&self, content: &Content, volume: Volume<'_>) -> Result<Free, String> {
        match content {
            Content::FileSystem(FileSystem::Ext) => ext::free(volume),
            Content::FileSystem(FileSystem::Xfs) => xfs::free(volume),
            Content::FileSystem(FileSystem::Btrfs) => btrfs::free(volume),
            Content::FileSystem(FileSystem::Ntfs) => ntfs::free(volume),
            Content::FileSystem(FileSystem::Fat) => fat::free(volume),
            Content::Swap { .. } if self.options.swap => swap::free(volume),
            Content::Swap { .. } => Err("swap space was not asked for".into()),
            Content::Encrypted(_) => Err("it is encrypted".into()),
            _ => Err("its free space is not known here".into()),
        }
    }

    /// Adds the extents of volume groups that are in no logical volume.
    fn free_extents(&mut self) {
        for (name, ranges) in &self.layout.free_extents {
            let size = ranges.iter().map(|it| it.end - it.start).sum();
            let space = VolumeSpace {
                name: format!("group {}", diskimg::printable(name)),
                kind: "LVM",
                size,
                free: 0,
                discardable: 0,
                stored: 0,
                kept: None,
            };
            self.add(space, Ok((size, size, ranges.clone())));
        }
    }

    /// Adds what is in no partition.
    fn gaps(&mut self) {
        let obstacle = gaps::obstacle(self.disk, self.layout).unwrap_or_else(Some);
        for gap in &self.layout.gaps {
            let free = match &obstacle {
                Some(reason) => Err(reason.clone()),
                None => gaps::free(self.disk, gap),
            };
            let size = gap.pieces.iter().map(|it| it.end - it.start).sum();
            let space = VolumeSpace {
                name: gap.name.clone(),
                kind: "nothing",
                size,
                free: 0,
                discardable: 0,
                stored: 0,
                kept: None,
            };
            self.add(space, free.map(|ranges| (size, size, ranges)));
        }
    }
}

/// Runs `find`; a panic is a reason like others.
fn guarded<T>(find: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(find))
        .unwrap_or_else(|_| Err("its reader stopped at an error of its own".into()))
}

impl Disk<'_> {
    /// Bytes in `ranges` that the image stores. Unknown extents count as nothing.
    fn stored(&self, ranges: &[Range<u64>]) -> u64 {
        let image = self.image();
        let begun = image.work();
        let mut stored = 0_u64;
        for range in ranges {
            let range = GuestOffset(range.start)..GuestOffset(range.end);
            for extent in image.extents(range).map_while(Result::ok) {
                if matches!(extent.kind, ExtentKind::Data | ExtentKind::Elsewhere) {
                    stored = stored.saturating_add(extent.len);
                }
            }
            if image.work().done.saturating_sub(begun.done) > begun.allowed {
                break;
            }
        }
        stored
    }
}
