//! One allocation group: its header, and what its trees list.

use std::ops::Range;

use guest::field::be32;

use super::superblock::{Superblock, sealed};
use super::tree::{Order, Tree};
use crate::volume::Volume;

/// Most free extents of one group, 16 MiB of them.
const MOST_EXTENTS: usize = 2 << 20;
/// Bytes of the header of the free list, where it has one.
const LIST_HEADER: usize = 36;

/// What of the header of a group's free space matters here.
pub(super) struct Group {
    number: u32,
    length: u32,
    by_place: (u32, u32),
    by_length: (u32, u32),
    /// First entry of the free list, and how many there are.
    list: (u32, u32),
    free: u32,
    longest: u32,
    tree_blocks: u32,
}

impl Group {
    pub(super) fn read(
        volume: Volume<'_>,
        superblock: &Superblock,
        number: u32,
    ) -> Result<Self, String> {
        // In the second sector.
        let at = superblock.base(number).saturating_add(superblock.sector);
        let bytes = volume.read(at, superblock.sector)?;
        let word = |at| be32(&bytes, at);
        let own = superblock
            .checked
            .is_none_or(|uuid| sealed(&bytes, 216) && bytes.get(64..80) == Some(&uuid));
        let sound = bytes.starts_with(b"XAGF")
            && word(4) == 1
            && word(8) == number
            && word(12) == superblock.length(number)
            && own;
        if !sound {
            return Err(format!("the header of group {number} is damaged"));
        }
        Ok(Self {
            number,
            length: word(12),
            by_place: (word(16), word(28)),
            by_length: (word(20), word(32)),
            list: (word(40), word(48)),
            free: word(52),
            longest: word(56),
            tree_blocks: word(60),
        })
    }

    /// Blocks that the superblock counts as free of this group: those kept for its trees, and those
    /// of its trees, are among them.
    pub(super) fn counted(&self) -> u64 {
        [self.free, self.list.1, self.tree_blocks]
            .into_iter()
            .map(u64::from)
            .sum()
    }

    /// The free extents by place: first block and blocks.
    pub(super) fn free(
        &self,
        volume: Volume<'_>,
        superblock: &Superblock,
    ) -> Result<Vec<(u32, u32)>, String> {
        let tree = Tree {
            volume,
            superblock,
            group: self.number,
            length: self.length,
        };
        let mut extents: Vec<(u32, u32)> = Vec::new();
        let mut sums = Sums::default();
        let mut blocks = tree.walk(self.by_place, Order::Place, &mut |start, count| {
            if extents.len() >= MOST_EXTENTS {
                return Err(format!("group {} has too many free extents", self.number));
            }
            sums.add(start, count);
            extents.push((start, count));
            Ok(())
        })?;
        let mut others = Sums::default();
        blocks.extend(
            tree.walk(self.by_length, Order::Length, &mut |start, count| {
                others.add(start, count);
                Ok(())
            })?,
        );
        let known = (u64::from(self.free), self.longest);
        if sums != others || (sums.blocks, sums.longest) != known {
            return Err(format!(
                "the two trees of free extents of group {} and its header disagree",
                self.number
            ));
        }
        self.check(
            superblock,
            &extents,
            &blocks,
            &self.list(volume, superblock)?,
        )?;
        Ok(extents)
    }

    /// The blocks that are kept for the trees, as a ring in the fourth sector.
    fn list(&self, volume: Volume<'_>, superblock: &Superblock) -> Result<Vec<u32>, String> {
        let at = superblock
            .base(self.number)
            .saturating_add(superblock.sector * 3);
        let bytes = volume.read(at, superblock.sector)?;
        let header = match superblock.checked {
            Some(_) => LIST_HEADER,
            None => 0,
        };
        let entries = bytes.get(header..).unwrap_or_default();
        let size = u32::try_from(entries.len() / 4).unwrap_or(1).max(1);
        let (first, count) = self.list;
        if first >= size || count > size {
            return Err(format!(
                "the free list of group {} makes no sense",
                self.number
            ));
        }
        let entry = |index: u32| {
            let index = usize::try_from((first + index) % size).unwrap_or_default();
            be32(entries, index * 4)
        };
        Ok((0..count).map(entry).collect())
    }

    /// Refuses free extents in which metadata lies.
    fn check(
        &self,
        superblock: &Superblock,
        extents: &[(u32, u32)],
        tree_blocks: &[u32],
        list: &[u32],
    ) -> Result<(), String> {
        let is_free = |range: Range<u64>| {
            let end = |(start, count): &(u32, u32)| u64::from(*start) + u64::from(*count);
            let index = extents.partition_point(|extent| end(extent) <= range.start);
            let next = extents.get(index);
            next.is_some_and(|(start, _)| u64::from(*start) < range.end)
        };
        let headers = 0..(superblock.sector * 4).div_ceil(superblock.block);
        let (log_group, log) = &superblock.log;
        let log = (*log_group == self.number).then(|| log.clone());
        let singles = tree_blocks.iter().chain(list).map(|block| {
            let block = u64::from(*block);
            block..block + 1
        });
        match singles
            .chain([headers])
            .chain(log)
            .find(|range| is_free(range.clone()))
        {
            None => Ok(()),
            Some(range) => Err(format!(
                "metadata is free in group {}, at block {}",
                self.number, range.start
            )),
        }
    }
}

/// What two lists of the same extents have in common, whatever their order.
#[derive(Default, PartialEq, Eq)]
struct Sums {
    extents: u64,
    blocks: u64,
    longest: u32,
    mixed: u64,
}

impl Sums {
    fn add(&mut self, start: u32, count: u32) {
        self.extents += 1;
        self.blocks += u64::from(count);
        self.longest = self.longest.max(count);
        // A number of the extent that others are not likely to add up to.
        let both = u64::from(start) << 32 | u64::from(count);
        let mixed = (both ^ both >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        self.mixed = self.mixed.wrapping_add(mixed ^ mixed >> 32);
    }
}
