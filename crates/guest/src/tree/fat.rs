//! FAT12, FAT16 and FAT32: EFI system partitions, mostly.

use std::cell::RefCell;
use std::rc::Rc;

use super::{Entry, Kind, Result, Stat, Tree, TreeError};
use crate::budget::{MAX_ENTRIES_SEEN, MAX_LISTED};
use crate::media::{Slice, le16, le32};

/// Bytes of an entry in a directory.
const ENTRY: usize = 32;
/// Bytes of the largest directory.
const MAX_DIRECTORY: u64 = (MAX_ENTRIES_SEEN * ENTRY) as u64;
/// Clusters of one file that are followed: 4 GiB in clusters of 4 KiB.
const MAX_CLUSTERS: usize = 1 << 20;
const DIRECTORY: u8 = 0x10;
const LABEL: u8 = 0x08;
/// Attributes of a part of a long name.
const LONG: u8 = 0x0f;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Width {
    Bits12,
    Bits16,
    Bits32,
}

/// Clusters that are looked up again each time.
const SHORT: usize = 16;

/// A FAT file system.
pub(crate) struct Fat {
    slice: Slice,
    width: Width,
    /// Bytes.
    cluster: u64,
    clusters: u32,
    /// First byte of the first table, of a fixed root directory, and of cluster 2.
    table: u64,
    root: u64,
    data: u64,
    /// Bytes of the fixed root directory, or none and its first cluster.
    root_length: u64,
    root_cluster: u32,
    /// The file whose clusters were looked up last.
    chain: RefCell<Option<(u32, Rc<[u32]>)>>,
}

/// A file or directory.
#[derive(Clone)]
struct Node {
    name: String,
    short: String,
    directory: bool,
    cluster: u32,
    size: u32,
}

impl Fat {
    /// Opens the file system on `slice`.
    ///
    /// # Errors
    /// Its boot sector makes no sense.
    pub(crate) fn open(slice: &Slice) -> std::result::Result<Self, String> {
        let head = slice.head(0, 512)?;
        let byte = |at: usize| u64::from(head.get(at).copied().unwrap_or_default());
        let sector = u64::from(le16(&head, 11));
        let tables = match le16(&head, 22) {
            0 => u64::from(le32(&head, 36)),
            few => u64::from(few),
        } * byte(16);
        let sectors = match le16(&head, 19) {
            0 => u64::from(le32(&head, 32)),
            few => u64::from(few),
        };
        let first = u64::from(le16(&head, 14));
        let root_length = u64::from(le16(&head, 17)) * ENTRY as u64;
        let root = first + tables;
        let data = root + root_length.checked_div(sector).unwrap_or_default();
        let cluster = sector * byte(13);
        let clusters = sectors.saturating_sub(data).checked_div(byte(13));
        let clusters = clusters.and_then(|count| u32::try_from(count).ok());
        let Some(clusters) = clusters.filter(|count| *count > 0 && sector >= 512) else {
            return Err("the FAT's boot sector makes no sense".into());
        };
        Ok(Self {
            slice: slice.clone(),
            width: match clusters {
                _ if le16(&head, 22) == 0 => Width::Bits32,
                0..4085 => Width::Bits12,
                _ => Width::Bits16,
            },
            cluster,
            clusters,
            table: first * sector,
            root: root * sector,
            data: data * sector,
            root_length,
            root_cluster: le32(&head, 44),
            chain: RefCell::new(None),
        })
    }

    /// The cluster after `cluster`, if there is one.
    fn next(&self, cluster: u32) -> std::result::Result<Option<u32>, String> {
        let at = u64::from(cluster);
        let read = |offset: u64, length: usize| {
            let mut entry = [0; 4];
            let (bytes, _) = entry.split_at_mut(length.min(4));
            self.slice.read_at(self.table + offset, bytes)?;
            Ok::<u32, String>(u32::from_le_bytes(entry))
        };
        let (next, end) = match self.width {
            Width::Bits12 => {
                let pair = read(at + at / 2, 2)?;
                let next = if cluster.is_multiple_of(2) {
                    pair
                } else {
                    pair >> 4
                };
                (next & 0xfff, 0xff8)
            }
            Width::Bits16 => (read(at * 2, 2)?, 0xfff8),
            Width::Bits32 => (read(at * 4, 4)? & 0x0fff_ffff, 0x0fff_fff8),
        };
        Ok((next < end).then_some(next))
    }

    /// The clusters from `first`, at most as many as `bytes` need.
    fn clusters_of(&self, first: u32, bytes: u64) -> std::result::Result<Rc<[u32]>, String> {
        if let Some((known, chain)) = &*self.chain.borrow()
            && *known == first
        {
            return Ok(Rc::clone(chain));
        }
        let most = usize::try_from(bytes.div_ceil(self.cluster)).unwrap_or(usize::MAX);
        let all = usize::try_from(self.clusters).unwrap_or(usize::MAX);
        let most = most.min(MAX_CLUSTERS);
        let mut chain = Vec::new();
        let mut next = Some(first).filter(|first| *first != 0);
        while let Some(cluster) = next.filter(|_| chain.len() < most) {
            if cluster < 2 || cluster - 2 >= self.clusters {
                return Err(format!("cluster {cluster} is not in the file system"));
            }
            if chain.len() >= all {
                return Err("the clusters of a file come back to themselves".into());
            }
            chain.push(cluster);
            next = self.next(cluster)?;
        }
        let chain: Rc<[u32]> = chain.into();
        // The directories on the way must not take the place of a large file that is being read.
        if chain.len() > SHORT {
            self.chain.replace(Some((first, Rc::clone(&chain))));
        }
        Ok(chain)
    }

    /// Fills `buf` from byte `at` of the clusters `chain`; how far they go.
    fn read_chain(
        &self,
        chain: &[u32],
        at: u64,
        buf: &mut [u8],
    ) -> std::result::Result<usize, String> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let place = at + done as u64;
            let index = usize::try_from(place / self.cluster).unwrap_or(usize::MAX);
            let Some(cluster) = chain.get(index) else {
                break;
            };
            let within = place % self.cluster;
            let length = usize::try_from(self.cluster - within).unwrap_or(usize::MAX);
            let (piece, _) = rest.split_at_mut(length.min(rest.len()));
            let first = self.data + u64::from(cluster - 2) * self.cluster;
            self.slice.read_at(first + within, piece)?;
            done += piece.len();
        }
        Ok(done)
    }

    /// What is in a directory, or in the root.
    fn nodes(&self, directory: Option<&Node>) -> std::result::Result<Vec<Node>, String> {
        let cluster = match directory {
            None if self.width != Width::Bits32 => {
                let length = usize::try_from(self.root_length).unwrap_or_default();
                return Ok(nodes(&self.slice.head(self.root, length)?));
            }
            None => self.root_cluster,
            // The parent of a first-level directory is written as 0.
            Some(node) => node.cluster,
        };
        let chain = self.clusters_of(cluster, MAX_DIRECTORY)?;
        let mut bytes = Vec::new();
        for cluster in chain.iter() {
            let first = self.data + u64::from(cluster - 2) * self.cluster;
            let piece = self
                .slice
                .head(first, usize::try_from(self.cluster).unwrap_or(0))?;
            let ended = piece
                .chunks_exact(ENTRY)
                .any(|entry| entry.first() == Some(&0));
            bytes.extend(piece);
            if ended {
                break;
            }
        }
        Ok(nodes(&bytes))
    }

    /// What is at `path`; the outer `None` when nothing is there, the inner one for the root.
    fn find(&self, path: &[u8]) -> Result<Option<Option<Node>>> {
        let mut here: Option<Node> = None;
        for name in path
            .split(|byte| *byte == b'/')
            .filter(|name| !name.is_empty())
        {
            if here.as_ref().is_some_and(|node| !node.directory) {
                return Ok(None);
            }
            let nodes = self
                .nodes(here.as_ref())
                .map_err(|error| super::failed(path, &error))?;
            let is = |known: &String| known.as_bytes().eq_ignore_ascii_case(name);
            match nodes
                .into_iter()
                .find(|node| is(&node.name) || is(&node.short))
            {
                Some(node) => here = Some(node),
                None => return Ok(None),
            }
        }
        Ok(Some(here))
    }
}

impl Tree for Fat {
    fn stat(&self, path: &[u8]) -> Result<Option<Stat>> {
        Ok(self.find(path)?.map(|node| match node {
            Some(node) if !node.directory => Stat {
                kind: Kind::File,
                size: node.size.into(),
                mode: 0,
            },
            _ => Stat {
                kind: Kind::Directory,
                size: 0,
                mode: 0,
            },
        }))
    }

    fn read_at(&self, path: &[u8], at: u64, buf: &mut [u8]) -> Result<usize> {
        let node = self.find(path)?.flatten().filter(|node| !node.directory);
        let node = node.ok_or_else(|| super::absent(path))?;
        let size = u64::from(node.size);
        let left = usize::try_from(size.saturating_sub(at)).unwrap_or(usize::MAX);
        let (buf, _) = buf.split_at_mut(left.min(buf.len()));
        let mut read = || {
            let chain = self.clusters_of(node.cluster, size)?;
            let read = self.read_chain(&chain, at, buf)?;
            if read < buf.len() {
                return Err("the file has fewer clusters than its size needs".to_owned());
            }
            Ok(read)
        };
        read().map_err(|error| super::failed(path, &error))
    }

    fn list(&self, path: &[u8]) -> Result<Vec<Entry>> {
        let node = self.find(path)?.ok_or_else(|| super::absent(path))?;
        if node.as_ref().is_some_and(|node| !node.directory) {
            return Err(super::absent(path));
        }
        let nodes = self
            .nodes(node.as_ref())
            .map_err(|error| super::failed(path, &error))?;
        Ok(nodes
            .into_iter()
            .take(MAX_LISTED)
            .map(|node| Entry {
                name: node.name.into_bytes(),
                kind: if node.directory {
                    Kind::Directory
                } else {
                    Kind::File
                },
            })
            .collect())
    }

    fn read_link(&self, path: &[u8]) -> Result<Vec<u8>> {
        Err(TreeError(format!(
            "{}: FAT has no links",
            crate::text::printable(path)
        )))
    }

    fn ignores_case(&self) -> bool {
        true
    }
}

/// The files and directories in the bytes of a directory.
fn nodes(bytes: &[u8]) -> Vec<Node> {
    let mut nodes = Vec::new();
    let mut long = LongName::default();
    for entry in bytes.chunks_exact(ENTRY) {
        let (first, attributes) = match entry {
            [0, ..] => break,
            [first, ..] => (*first, entry.get(11).copied().unwrap_or_default()),
            [] => break,
        };
        if first == 0xe5 {
            long = LongName::default();
        } else if attributes & 0x3f == LONG {
            long.add(entry);
        } else if attributes & LABEL != 0 || first == b'.' {
            long = LongName::default();
        } else {
            let short = short_name(entry);
            let name = std::mem::take(&mut long).name(entry);
            let high = u32::from(le16(entry, 20)) << 16;
            nodes.push(Node {
                name: name.unwrap_or_else(|| short.clone()),
                short,
                directory: attributes & DIRECTORY != 0,
                cluster: high | u32::from(le16(entry, 26)),
                size: le32(entry, 28),
            });
        }
    }
    nodes
}

fn short_name(entry: &[u8]) -> String {
    let case = entry.get(12).copied().unwrap_or_default();
    let part = |from: usize, to: usize, lower: u8| {
        let mut part = entry.get(from..to).unwrap_or_default().to_vec();
        // 0xE5 marks a deleted entry; a name that begins with it has 5 instead.
        if let Some(first) = part.first_mut().filter(|first| **first == 5) {
            *first = 0xe5;
        }
        let text = String::from_utf8_lossy(part.trim_ascii_end()).into_owned();
        if case & lower != 0 {
            text.to_ascii_lowercase()
        } else {
            text
        }
    };
    let (base, extension) = (part(0, 8, 0x08), part(8, 11, 0x10));
    match extension.as_str() {
        "" => base,
        extension => format!("{base}.{extension}"),
    }
}

/// The parts of a long name, which stand in front of their entry, the last one first.
#[derive(Default)]
struct LongName {
    units: Vec<u16>,
    /// Number of the part that must come next.
    next: u8,
    checksum: u8,
}

impl LongName {
    fn add(&mut self, entry: &[u8]) {
        const LAST: u8 = 0x40;
        const PLACES: [usize; 13] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];
        let number = entry.first().copied().unwrap_or_default();
        let checksum = entry.get(13).copied().unwrap_or_default();
        if number & LAST != 0 {
            *self = Self {
                units: Vec::new(),
                next: number & !LAST,
                checksum,
            };
        }
        if self.next == 0 || number & !LAST != self.next || checksum != self.checksum {
            *self = Self::default();
            return;
        }
        self.next -= 1;
        let mut units: Vec<u16> = PLACES.iter().map(|at| le16(entry, *at)).collect();
        units.append(&mut self.units);
        self.units = units;
    }

    /// The name, when all of it was there and belongs to `entry`.
    fn name(self, entry: &[u8]) -> Option<String> {
        let sum = entry
            .iter()
            .take(11)
            .fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
        if self.next != 0 || self.units.is_empty() || sum != self.checksum {
            return None;
        }
        let units = self.units.into_iter().take_while(|unit| *unit != 0);
        let name: String = char::decode_utf16(units)
            .map(|char| char.unwrap_or(char::REPLACEMENT_CHARACTER))
            .collect();
        (!name.is_empty()).then_some(name)
    }
}

#[cfg(test)]
mod tests;
