//! The trees: sorted items, in blocks that know where they are.

use guest::field::{le32, le64};

use super::chunks::Chunks;
use super::superblock::{Root, Superblock};
use crate::volume::Volume;

/// Bytes of a header, of an item's entry, of a pointer.
const HEADER: usize = 101;
const ENTRY: usize = 25;
const POINTER: usize = 33;
/// Highest level.
const MOST_LEVEL: u8 = 7;
/// Type of the items of roots.
const ROOT: u8 = 132;

/// By which items are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) object: u64,
    pub(super) kind: u8,
    pub(super) offset: u64,
}

impl Key {
    fn read(bytes: &[u8]) -> Self {
        Self {
            object: le64(bytes, 0),
            kind: bytes.get(8).copied().unwrap_or_default(),
            offset: le64(bytes, 9),
        }
    }
}

/// Takes an item.
pub(super) type Visit<'v> = dyn FnMut(Key, &[u8]) -> Result<(), String> + 'v;

/// The trees of a file system.
pub(super) struct Trees<'a> {
    volume: Volume<'a>,
    chunks: Chunks,
    node: u64,
    uuid: [u8; 16],
    /// No block is younger.
    generation: u64,
}

impl<'a> Trees<'a> {
    pub(super) fn new(volume: Volume<'a>, superblock: &Superblock, chunks: Chunks) -> Self {
        Self {
            volume,
            chunks,
            node: superblock.node,
            uuid: superblock.uuid,
            generation: superblock.root.generation,
        }
    }

    pub(super) fn chunks(&self) -> &Chunks {
        &self.chunks
    }

    /// Bytes of a block.
    pub(super) fn node_bytes(&self) -> u64 {
        self.node
    }

    /// The root of the tree with this number, as the tree of roots has it.
    pub(super) fn find(&self, roots: Root, tree: u64) -> Result<Root, String> {
        let mut found = None;
        self.walk(roots, &mut |key, item| {
            if (key.object, key.kind) == (tree, ROOT) {
                found = Some(Root {
                    place: le64(item, 176),
                    level: item.get(238).copied().unwrap_or_default(),
                    generation: le64(item, 160),
                });
            }
            Ok(())
        })?;
        found.ok_or_else(|| format!("it has no tree {tree}"))
    }

    /// Visits all items of a tree in their order.
    pub(super) fn walk(&self, root: Root, visit: &mut Visit<'_>) -> Result<(), String> {
        if root.level > MOST_LEVEL || root.generation > self.generation {
            return Err("a tree has no sensible root".into());
        }
        self.descend(root, true, &mut None, visit)
    }

    /// Each level is one lower than the one above, and keys ascend, so that nothing is visited
    /// twice.
    fn descend(
        &self,
        root: Root,
        top: bool,
        last: &mut Option<Key>,
        visit: &mut Visit<'_>,
    ) -> Result<(), String> {
        let bytes = self.block(root)?;
        let count = usize::try_from(le32(&bytes, 96)).unwrap_or(usize::MAX);
        let body = bytes.get(HEADER..).unwrap_or_default();
        let size = if root.level == 0 { ENTRY } else { POINTER };
        if count > body.len() / size || (count == 0 && !top) {
            return Err("a tree has a block that is empty or too full".into());
        }
        for entry in body.chunks_exact(size).take(count) {
            let key = Key::read(entry);
            if root.level > 0 {
                if last.is_some_and(|last| key <= last) {
                    return Err("a tree is in no order".into());
                }
                let below = Root {
                    place: le64(entry, 17),
                    level: root.level - 1,
                    generation: le64(entry, 25),
                };
                self.descend(below, false, last, visit)?;
                continue;
            }
            if last.replace(key).is_some_and(|last| key <= last) {
                return Err("a tree is in no order".into());
            }
            let [offset, length] =
                [17, 21].map(|at| usize::try_from(le32(entry, at)).unwrap_or(usize::MAX));
            let item = body.get(offset..).and_then(|rest| rest.get(..length));
            visit(key, item.ok_or("a tree has an item that leaves its block")?)?;
        }
        Ok(())
    }

    fn block(&self, root: Root) -> Result<Vec<u8>, String> {
        let chunk = self.chunks.at(root.place);
        let offset = chunk.map(|chunk| root.place - chunk.start);
        let place = chunk
            .and_then(|chunk| chunk.places.first())
            .zip(offset)
            .and_then(|(place, offset)| place.checked_add(offset))
            .ok_or("a tree has a block in no chunk")?;
        let bytes = self.volume.read(place, self.node)?;
        let sound = crc32c::crc32c(bytes.get(32..).unwrap_or_default()) == le32(&bytes, 0)
            && bytes.get(32..48) == Some(&self.uuid)
            && le64(&bytes, 48) == root.place
            && le64(&bytes, 80) == root.generation
            && bytes.get(100) == Some(&root.level);
        match sound {
            true => Ok(bytes),
            false => Err(format!(
                "the block of a tree at {:#x} is damaged",
                root.place
            )),
        }
    }
}
