//! The trees of free extents: one sorted by place, one by length.

use guest::field::{be16, be32, be64};

use super::superblock::{Superblock, sealed};
use crate::volume::Volume;

/// Deepest tree.
const MOST_LEVELS: u32 = 9;
/// Bytes of the header of a block, without checksums and with them.
const HEADER: (usize, usize) = (16, 56);
/// Bytes of a record and a key, and of a pointer.
const RECORD: usize = 8;
const POINTER: usize = 4;

/// How a tree is sorted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Place,
    Length,
}

/// Takes an extent: its first block and its blocks.
pub(super) type Visit<'v> = dyn FnMut(u32, u32) -> Result<(), String> + 'v;

/// Where trees of one group are.
pub(super) struct Tree<'a> {
    pub(super) volume: Volume<'a>,
    pub(super) superblock: &'a Superblock,
    pub(super) group: u32,
    /// Blocks of the group.
    pub(super) length: u32,
}

/// A block of a tree that was read.
struct Node {
    bytes: Vec<u8>,
    header: usize,
    records: usize,
}

/// What a walk remembers.
struct Walk<'w, 'v> {
    order: Order,
    visit: &'w mut Visit<'v>,
    /// The last extent, as it sorts.
    last: Option<(u32, u32)>,
    blocks: Vec<u32>,
}

impl Tree<'_> {
    /// Visits all extents of the tree with this root and so many levels, in its order. Returns the
    /// blocks of the tree.
    pub(super) fn walk(
        &self,
        (root, levels): (u32, u32),
        order: Order,
        visit: &mut Visit<'_>,
    ) -> Result<Vec<u32>, String> {
        if !(1..=MOST_LEVELS).contains(&levels) {
            return Err(self.damaged("has no sensible height"));
        }
        let mut walk = Walk {
            order,
            visit,
            last: None,
            blocks: Vec::new(),
        };
        self.descend(root, levels - 1, &mut walk)?;
        Ok(walk.blocks)
    }

    /// Each level is one lower than the one above, and extents ascend, so that nothing is visited
    /// twice.
    fn descend(&self, block: u32, level: u32, walk: &mut Walk<'_, '_>) -> Result<(), String> {
        let node = self.node(block, level, walk.order)?;
        walk.blocks.push(block);
        if level > 0 {
            let most = node.bytes.len().saturating_sub(node.header) / (RECORD + POINTER);
            if node.records == 0 || node.records > most {
                return Err(self.damaged("has a block that is empty or too full"));
            }
            let pointers = node.header + most * RECORD;
            for index in 0..node.records {
                let below = be32(&node.bytes, pointers + index * POINTER);
                self.descend(below, level - 1, walk)?;
            }
            return Ok(());
        }
        if node.records > node.bytes.len().saturating_sub(node.header) / RECORD {
            return Err(self.damaged("has a block that is too full"));
        }
        for index in 0..node.records {
            let at = node.header + index * RECORD;
            let (start, count) = (be32(&node.bytes, at), be32(&node.bytes, at + 4));
            let end = start.checked_add(count).filter(|end| *end <= self.length);
            let (sorts, behind) = match walk.order {
                Order::Place => ((start, 0), (start.saturating_add(count), 0)),
                Order::Length => ((count, start), (count, start.saturating_add(1))),
            };
            let ascends = walk.last.is_none_or(|last| sorts >= last);
            if count == 0 || end.is_none() || !ascends {
                return Err(self.damaged("has extents that are nowhere or in no order"));
            }
            walk.last = Some(behind);
            (walk.visit)(start, count)?;
        }
        Ok(())
    }

    fn node(&self, block: u32, level: u32, order: Order) -> Result<Node, String> {
        if block >= self.length {
            return Err(self.damaged("points out of its group"));
        }
        let size = self.superblock.block;
        let at = self
            .superblock
            .base(self.group)
            .saturating_add(u64::from(block).saturating_mul(size));
        let bytes = self.volume.read(at, size)?;
        let (magic, header): (&[u8; 4], usize) = match (order, self.superblock.checked) {
            (Order::Place, None) => (b"ABTB", HEADER.0),
            (Order::Length, None) => (b"ABTC", HEADER.0),
            (Order::Place, Some(_)) => (b"AB3B", HEADER.1),
            (Order::Length, Some(_)) => (b"AB3C", HEADER.1),
        };
        let own = self.superblock.checked.is_none_or(|uuid| {
            sealed(&bytes, 52)
                && be64(&bytes, 16) == at / 512
                && bytes.get(32..48) == Some(&uuid)
                && be32(&bytes, 48) == self.group
        });
        if !bytes.starts_with(magic) || u32::from(be16(&bytes, 4)) != level || !own {
            return Err(self.damaged("has a block that is damaged"));
        }
        let records = be16(&bytes, 6).into();
        Ok(Node {
            bytes,
            header,
            records,
        })
    }

    fn damaged(&self, how: &str) -> String {
        format!("a tree of free extents of group {} {how}", self.group)
    }
}
