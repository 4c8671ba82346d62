//! The groups: their descriptors, their bitmaps, and the metadata that lies in them.

use std::ops::Range;

use guest::field::{le16, le32};

use super::superblock::{Sums, Superblock, crc32c_raw};
use crate::bits::Bits;
use crate::volume::Volume;

/// Flag: the bitmap was never written, and only metadata is in the group.
const UNINITIALISED: u16 = 2;

/// What of a group's descriptor matters here.
struct Group {
    bitmap: u64,
    /// The first block of its inodes.
    inodes: u64,
    /// Clusters that are free.
    free: u32,
    /// Checksum of the bitmap.
    sum: u32,
    uninitialised: bool,
}

/// All groups.
pub(super) struct Groups {
    groups: Vec<Group>,
    /// Blocks of metadata, sorted, apart from each other.
    metadata: Vec<Range<u64>>,
    /// Bits of a bitmap's checksum that descriptors hold.
    sum_mask: u32,
}

impl Groups {
    pub(super) fn read(volume: Volume<'_>, superblock: &Superblock) -> Result<Self, String> {
        let per_block = superblock.block / superblock.descriptor;
        let mut groups = Vec::new();
        let mut metadata = Vec::new();
        for number in 0..superblock.descriptor_blocks() {
            let place = descriptor_block(superblock, number).checked_mul(superblock.block);
            let place = place.ok_or("its descriptors are nowhere")?;
            let block = volume.read(place, superblock.block)?;
            let size = usize::try_from(superblock.descriptor).unwrap_or(usize::MAX);
            let first = number * per_block;
            for (group, bytes) in (first..superblock.groups).zip(block.chunks_exact(size)) {
                check_sum(superblock, group, bytes)?;
                groups.push(read_group(superblock, group, bytes, &mut metadata)?);
            }
        }
        for group in 0..superblock.groups {
            metadata.extend(copies(superblock, group));
        }
        Ok(Self {
            groups,
            metadata: merged(metadata),
            sum_mask: match superblock.descriptor {
                64.. => u32::MAX,
                _ => 0xffff,
            },
        })
    }

    /// The first block of the table in which the inodes of `group` are.
    pub(super) fn inodes(&self, group: u64) -> Option<u64> {
        self.get(group).map(|group| group.inodes)
    }

    fn get(&self, number: u64) -> Option<&Group> {
        self.groups.get(usize::try_from(number).ok()?)
    }

    /// The bitmap of a group, after it was checked.
    pub(super) fn bitmap(
        &self,
        volume: Volume<'_>,
        superblock: &Superblock,
        number: u64,
    ) -> Result<Bits, String> {
        let group = self.get(number).ok_or("a group has no descriptor")?;
        let blocks = superblock.end_of(number) - superblock.first_of(number);
        let count = blocks.div_ceil(superblock.ratio);
        let length = superblock.clusters_per_group / 8;
        let mut bits = if group.uninitialised {
            Bits::new(vec![0; usize::try_from(length).unwrap_or_default()], count)
        } else {
            let place = group.bitmap.checked_mul(superblock.block);
            let bytes = volume.read(place.ok_or("a bitmap is nowhere")?, length)?;
            if let Sums::All(seed) = superblock.sums
                && crc32c_raw(seed, &bytes) & self.sum_mask != group.sum
            {
                return Err(format!(
                    "the checksum of the bitmap of group {number} is wrong"
                ));
            }
            Bits::new(bytes, count)
        };
        self.check_metadata(superblock, number, group, &mut bits)?;
        if bits.count() != u64::from(group.free) {
            return Err(format!(
                "group {number} says that {} clusters are free, its bitmap says {}",
                group.free,
                bits.count()
            ));
        }
        Ok(bits)
    }

    /// Refuses a bitmap by which metadata is free; sets its bits in one that was never written.
    fn check_metadata(
        &self,
        superblock: &Superblock,
        number: u64,
        group: &Group,
        bits: &mut Bits,
    ) -> Result<(), String> {
        let (first, end) = (superblock.first_of(number), superblock.end_of(number));
        let from = self.metadata.partition_point(|range| range.end <= first);
        let here = self.metadata.get(from..).unwrap_or_default();
        for range in here.iter().take_while(|range| range.start < end) {
            let start = range.start.max(first) - first;
            let behind = range.end.min(end) - first;
            for cluster in start / superblock.ratio..behind.div_ceil(superblock.ratio) {
                if group.uninitialised {
                    bits.set(cluster);
                } else if !bits.is_set(cluster) {
                    return Err(format!(
                        "metadata is free by the bitmap of group {number}, at block {}",
                        first + cluster * superblock.ratio
                    ));
                }
            }
        }
        Ok(())
    }
}

/// The block in which block `number` of the descriptors is.
fn descriptor_block(superblock: &Superblock, number: u64) -> u64 {
    match superblock.first_meta {
        Some(first) if number >= first => {
            let group = number.saturating_mul(superblock.block / superblock.descriptor);
            let copy = superblock.has_copy(group).into();
            superblock.first_of(group).saturating_add(copy)
        }
        // Right behind the superblock, which stands in the second KiB.
        _ => 1024 / superblock.block + 1 + number,
    }
}

/// The copies of the superblock and of descriptors at the beginning of a group.
fn copies(superblock: &Superblock, group: u64) -> impl Iterator<Item = Range<u64>> {
    let first = match group {
        // The superblock itself stands in the second KiB.
        0 => 1024 / superblock.block,
        _ => superblock.first_of(group),
    };
    let copy = superblock.has_copy(group);
    let all = superblock.descriptor_blocks();
    let per_block = superblock.block / superblock.descriptor;
    let meta = superblock.first_meta.unwrap_or(u64::MAX).min(all);
    // Descriptors of groups from here on lie in these groups: the first two and the last one of
    // those whose descriptors are in one block.
    let in_meta = superblock.first_meta.is_some() && group >= meta.saturating_mul(per_block);
    let blocks = match (in_meta, copy) {
        (false, true) => 1 + meta + superblock.reserved,
        (false, false) => 0,
        (true, copy) => {
            let place = group % per_block;
            u64::from(copy) + u64::from([0, 1, per_block - 1].contains(&place))
        }
    };
    (blocks > 0)
        .then(|| first..first.saturating_add(blocks))
        .into_iter()
}

fn read_group(
    superblock: &Superblock,
    number: u64,
    bytes: &[u8],
    metadata: &mut Vec<Range<u64>>,
) -> Result<Group, String> {
    let wide = superblock.descriptor >= 64;
    let block = |low: usize, high: usize| {
        let high = if wide { le32(bytes, high) } else { 0 };
        u64::from(high) << 32 | u64::from(le32(bytes, low))
    };
    let pair = |low: usize, high: usize| {
        let high = if wide { le16(bytes, high) } else { 0 };
        u32::from(high) << 16 | u32::from(le16(bytes, low))
    };
    let table = superblock.inodes_per_group * superblock.inode_size;
    let places = [
        (block(0, 0x20), 1),
        (block(4, 0x24), 1),
        (block(8, 0x28), table.div_ceil(superblock.block)),
    ];
    for (start, length) in places {
        let end = start.checked_add(length);
        let end = end.filter(|end| start >= superblock.first && *end <= superblock.blocks);
        let end = end.ok_or_else(|| format!("metadata of group {number} is not in it"))?;
        metadata.push(start..end);
    }
    let protected = !matches!(superblock.sums, Sums::None);
    Ok(Group {
        bitmap: block(0, 0x20),
        inodes: block(8, 0x28),
        free: pair(0xc, 0x2c),
        sum: pair(0x18, 0x38),
        uninitialised: protected && le16(bytes, 0x12) & UNINITIALISED != 0,
    })
}

/// Refuses a descriptor whose checksum is wrong.
fn check_sum(superblock: &Superblock, number: u64, bytes: &[u8]) -> Result<(), String> {
    const PLACE: usize = 0x1e;
    let number_bytes = u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes();
    let before = bytes.get(..PLACE).unwrap_or_default();
    let behind = bytes.get(PLACE + 2..).unwrap_or_default();
    let found = match superblock.sums {
        Sums::None => return Ok(()),
        Sums::Descriptors => [&superblock.uuid, number_bytes.as_slice(), before, behind]
            .into_iter()
            .fold(0xffff, crc16),
        Sums::All(seed) => {
            let parts = [number_bytes.as_slice(), before, &[0, 0], behind];
            let sum = parts.into_iter().fold(seed, crc32c_raw);
            u16::try_from(sum & 0xffff).unwrap_or_default()
        }
    };
    match found == le16(bytes, PLACE) {
        true => Ok(()),
        false => Err(format!(
            "the checksum of the descriptor of group {number} is wrong"
        )),
    }
}

/// CRC-16 as ext has it: the polynomial 0x8005, reflected.
fn crc16(seed: u16, bytes: &[u8]) -> u16 {
    bytes.iter().fold(seed, |sum, byte| {
        (0..8).fold(sum ^ u16::from(*byte), |sum, _| {
            sum >> 1 ^ if sum & 1 == 1 { 0xa001 } else { 0 }
        })
    })
}

/// Ranges sorted, and joined where they touch or overlap.
fn merged(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_unstable_by_key(|range| range.start);
    ranges.dedup_by(|next, last| {
        let joins = next.start <= last.end;
        if joins {
            last.end = last.end.max(next.end);
        }
        joins
    });
    ranges
}
