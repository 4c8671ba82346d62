//! Extents, and what lies between them.

use std::ops::Range;

use guest::field::le64;

use super::chunks::Chunk;
use super::superblock::Superblock;
use super::tree::{Key, Trees};

/// Types of items.
const EXTENT: u8 = 168;
const METADATA: u8 = 169;
const BLOCK_GROUP: u8 = 192;
/// Numbers of trees.
const EXTENT_TREE: u64 = 2;
const BLOCK_GROUP_TREE: u64 = 11;
/// Most stretches between extents.
const MOST: usize = 1 << 20;

/// What no extent takes in all chunks, as places on the device, in no order.
pub(super) fn free(trees: &Trees<'_>, superblock: &Superblock) -> Result<Vec<Range<u64>>, String> {
    let root = trees.find(superblock.root, EXTENT_TREE)?;
    let mut gaps = Gaps::new(trees);
    let mut groups = Vec::new();
    trees.walk(root, &mut |key, item| match key.kind {
        EXTENT => gaps.extent(key.object, key.offset),
        METADATA => gaps.extent(key.object, trees.node_bytes()),
        BLOCK_GROUP => group(key, item, &mut groups),
        _ => Ok(()),
    })?;
    if superblock.group_tree {
        let root = trees.find(superblock.root, BLOCK_GROUP_TREE)?;
        trees.walk(root, &mut |key, item| match key.kind {
            BLOCK_GROUP => group(key, item, &mut groups),
            _ => Ok(()),
        })?;
    }
    gaps.finish(&groups, superblock.used)
}

/// A block group: its first address, its length, the bytes in use.
type Group = (u64, u64, u64);

fn group(key: Key, item: &[u8], groups: &mut Vec<Group>) -> Result<(), String> {
    groups.push((key.object, key.offset, le64(item, 0)));
    Ok(())
}

/// Takes extents in ascending order and finds what lies between them.
struct Gaps<'a> {
    chunks: &'a [Chunk],
    /// The chunk that is being filled.
    current: usize,
    /// Up to where it was looked at.
    at: u64,
    /// Bytes in use of each chunk so far.
    used: Vec<u64>,
    free: Vec<Range<u64>>,
}

impl<'a> Gaps<'a> {
    fn new(trees: &'a Trees<'_>) -> Self {
        let chunks = trees.chunks().all();
        Self {
            chunks,
            current: 0,
            at: chunks.first().map_or(0, |chunk| chunk.start),
            used: vec![0; chunks.len()],
            free: Vec::new(),
        }
    }

    fn extent(&mut self, start: u64, length: u64) -> Result<(), String> {
        let end = start.checked_add(length).ok_or("an extent has no end")?;
        while let Some(chunk) = self.chunks.get(self.current)
            && start >= chunk.start + chunk.length
        {
            self.leave()?;
        }
        let chunk = self.chunks.get(self.current);
        let inside = chunk.is_some_and(|chunk| end <= chunk.start + chunk.length);
        if start < self.at || !inside {
            return Err(format!(
                "the extent at {start:#x} overlaps another one, or its chunk"
            ));
        }
        self.gap(start)?;
        self.at = end;
        if let Some(used) = self.used.get_mut(self.current) {
            *used = used.saturating_add(length);
        }
        Ok(())
    }

    /// Goes on with the next chunk.
    fn leave(&mut self) -> Result<(), String> {
        if let Some(chunk) = self.chunks.get(self.current) {
            self.gap(chunk.start + chunk.length)?;
        }
        self.current += 1;
        if let Some(next) = self.chunks.get(self.current) {
            self.at = next.start;
        }
        Ok(())
    }

    /// Nothing is in use up to `end`.
    fn gap(&mut self, end: u64) -> Result<(), String> {
        let Some(chunk) = self.chunks.get(self.current) else {
            return Ok(());
        };
        let (from, to) = (self.at - chunk.start, end - chunk.start);
        if from < to {
            let copies = chunk.places.iter();
            self.free
                .extend(copies.map(|place| place + from..place + to));
        }
        match self.free.len() > MOST {
            true => Err("its free space is in too many pieces".into()),
            false => Ok(()),
        }
    }

    /// All that is free, when block groups and superblock agree.
    fn finish(mut self, groups: &[Group], used: u64) -> Result<Vec<Range<u64>>, String> {
        while self.current < self.chunks.len() {
            self.leave()?;
        }
        let listed = self.chunks.iter().zip(&self.used);
        let listed: Vec<Group> = listed
            .map(|(chunk, used)| (chunk.start, chunk.length, *used))
            .collect();
        if groups != listed {
            return Err("its block groups and its extents disagree".into());
        }
        let total = self
            .used
            .iter()
            .fold(0, |sum: u64, used| sum.saturating_add(*used));
        match total == used {
            true => Ok(self.free),
            false => Err(format!(
                "its extents take {total} bytes, its superblock says {used}"
            )),
        }
    }
}
