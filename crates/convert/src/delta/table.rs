//! The table of an object's blocks, kept next to it: what a later import needs to take blocks from
//! the object.
//!
//! ```text
//!  "imgferry-blocks-v1\n"
//!  length of the head (u32), the head (JSON)
//!  zstd: for each block  number (u32)  length (u32)  level (i8)  SHA-256 of its guest bytes (32)
//!  SHA-256 of everything before (32)
//! ```
//!
//! Integers are little-endian. Offsets are not stored: blocks of ZVHD2 follow one another, and those
//! of a raw object are where they are on the disk.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::blocks::{BLOCK_BYTES, range_of};
use crate::digest::{ContentDigest, DigestBuilder};
use crate::error::{Error, Result};
use crate::hashes::BlockHash;
use crate::resume::BlockRecord;

/// [`BlockTable::encoder`] of raw objects.
pub const RAW: &str = "raw";

const MAGIC: &[u8] = b"imgferry-blocks-v1\n";
const MAX_HEAD: usize = 64 << 10;
/// Bytes of a block in the table.
const ENTRY: usize = 41;
/// Most blocks of a table. Ours: 2 TiB of data, twice what the service imports.
const MAX_BLOCKS: usize = 1 << 20;
/// Longest table, in bytes: hashes do not shrink.
pub const MAX_TABLE_BYTES: u64 = (MAX_BLOCKS * ENTRY + (1 << 20)) as u64;
const SUM: usize = 32;

/// The blocks of an object that are not all zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockTable {
    /// Length of the object in bytes.
    pub object_size: u64,
    /// The object's ETag, without quotes.
    pub object_etag: String,
    /// What made the object's bytes from the blocks: another encoder may make others.
    pub encoder: String,
    /// Size the guest sees, in bytes.
    pub virtual_size: u64,
    /// The blocks, ascending, each with its level; 0 where nothing is compressed.
    pub blocks: Vec<BlockRecord>,
}

#[derive(Serialize, Deserialize)]
struct Head {
    object_size: u64,
    object_etag: String,
    encoder: String,
    virtual_size: u64,
    content_digest: String,
    blocks: u64,
}

/// Gathers the blocks of a stream while it is made, 41 bytes for each.
#[derive(Clone, Debug, Default)]
pub struct TableEntries {
    bytes: Vec<u8>,
    /// Why there will be no table.
    refused: Option<String>,
}

/// Bytes of memory that each block takes in [`TableEntries`].
pub const ENTRY_BYTES: u64 = ENTRY as u64;

/// What a table is of.
#[derive(Clone, Debug)]
pub struct Described {
    /// Length of the object in bytes.
    pub object_size: u64,
    /// The object's ETag, without quotes.
    pub object_etag: String,
    /// What made the object's bytes from the blocks.
    pub encoder: String,
    /// Size the guest sees, in bytes.
    pub virtual_size: u64,
    /// Digest of the disk's content.
    pub digest: ContentDigest,
}

/// Most bytes of memory that the table of a raw object of a disk of `virtual_size` bytes takes while
/// it is made, and that of an earlier one, if there is one. A list that grows has room for twice
/// what it holds.
#[must_use]
pub const fn memory_of_raw(virtual_size: u64, based: bool) -> u64 {
    let made = 2 * ENTRY_BYTES;
    let read = if based {
        size_of::<BlockRecord>() as u64
    } else {
        0
    };
    (made + read).saturating_mul(virtual_size.div_ceil(BLOCK_BYTES))
}

impl TableEntries {
    /// Adds the next block of the stream. One that has no level of its own has `level`.
    pub fn push(&mut self, block: &BlockRecord, level: Option<i32>) {
        let level = block.level.or(level);
        let Some(level) = level.and_then(|level| i8::try_from(level).ok()) else {
            self.refused = Some(format!("block {} has no level", block.number));
            return;
        };
        if self.bytes.len() >= MAX_BLOCKS.saturating_mul(ENTRY) {
            self.refused = Some(format!("the object has more than {MAX_BLOCKS} blocks"));
            return;
        }
        self.bytes.extend(block.number.to_le_bytes());
        self.bytes.extend(block.len.to_le_bytes());
        self.bytes.extend(level.to_le_bytes());
        self.bytes.extend(block.hash);
    }

    /// Adds the next block of a raw object of a disk of `virtual_size` bytes.
    pub(crate) fn push_raw(&mut self, number: u64, virtual_size: u64, hash: &BlockHash) {
        let range = range_of(number, virtual_size);
        let len = u32::try_from(range.end - range.start);
        let (Ok(number), Ok(len)) = (u32::try_from(number), len) else {
            self.refused = Some(format!("block {number} has too large a number"));
            return;
        };
        let block = BlockRecord {
            number,
            offset: range.start,
            len,
            crc: 0,
            hash: *hash,
            level: Some(0),
        };
        self.push(&block, None);
    }

    /// The table's bytes.
    ///
    /// # Errors
    /// `Refused` above 2 TiB of data, and when a block has no level.
    pub fn encode(self, of: &Described) -> Result<Vec<u8>> {
        let failed = |error: &dyn std::fmt::Display| {
            Error::refused(format!("the table of blocks cannot be written: {error}"))
        };
        if let Some(refused) = self.refused {
            return Err(failed(&refused));
        }
        let head = Head {
            object_size: of.object_size,
            object_etag: of.object_etag.clone(),
            encoder: of.encoder.clone(),
            virtual_size: of.virtual_size,
            content_digest: of.digest.to_string(),
            blocks: (self.bytes.len() / ENTRY) as u64,
        };
        let head = serde_json::to_vec(&head).map_err(|error| failed(&error))?;
        let entries = zstd::bulk::compress(&self.bytes, 1).map_err(|error| failed(&error))?;
        drop(self.bytes);
        let head_len = u32::try_from(head.len()).map_err(|error| failed(&error))?;
        let mut bytes = [MAGIC, &head_len.to_le_bytes(), &head, &entries].concat();
        let sum = Sha256::digest(&bytes);
        bytes.extend(sum);
        Ok(bytes)
    }
}

impl BlockTable {
    /// The content digest of the disk that the blocks are of.
    #[must_use]
    pub fn digest(&self) -> ContentDigest {
        let mut sum = DigestBuilder::new(self.virtual_size);
        for block in &self.blocks {
            sum.block(u64::from(block.number), &block.hash);
        }
        sum.finish()
    }

    /// The blocks with these numbers.
    pub(crate) fn between(&self, numbers: Range<u64>) -> &[BlockRecord] {
        let place = |number: u64| {
            let is_before = |block: &BlockRecord| u64::from(block.number) < number;
            self.blocks.partition_point(is_before)
        };
        let indices = place(numbers.start)..place(numbers.end);
        self.blocks.get(indices).unwrap_or_default()
    }

    /// The block with this number.
    pub(super) fn find(&self, number: u32) -> Option<usize> {
        let found = self.blocks.binary_search_by_key(&number, |b| b.number);
        found.ok()
    }

    /// The table that `bytes` hold, checked: its sum, its digest, and whether its blocks fill the
    /// object exactly. That it is of this object is for the caller to check.
    ///
    /// # Errors
    /// `Refused`, with what is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        parse(bytes).map_err(|wrong| Error::refused(format!("the table of blocks {wrong}")))
    }
}

fn parse(bytes: &[u8]) -> Result<BlockTable, String> {
    let cut = || "is cut off".to_owned();
    if bytes.len() as u64 > MAX_TABLE_BYTES {
        return Err(format!("is longer than {MAX_TABLE_BYTES} bytes"));
    }
    let rest = bytes
        .strip_prefix(MAGIC)
        .ok_or("is none of this version: expected it to begin with imgferry-blocks-v1")?;
    let (_, sum) = bytes.split_last_chunk::<SUM>().ok_or_else(cut)?;
    let (rest, _) = rest.split_last_chunk::<SUM>().ok_or_else(cut)?;
    let body = bytes.len().saturating_sub(SUM);
    if Sha256::digest(bytes.get(..body).unwrap_or_default()).as_slice() != sum {
        return Err("is damaged: its SHA-256 does not match".into());
    }
    let (len, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
    let len = usize::try_from(u32::from_le_bytes(*len)).unwrap_or(usize::MAX);
    let (head, entries) = rest
        .split_at_checked(len)
        .filter(|_| len <= MAX_HEAD)
        .ok_or_else(cut)?;
    let head: Head =
        serde_json::from_slice(head).map_err(|error| format!("has a damaged head: {error}"))?;
    let count = usize::try_from(head.blocks).unwrap_or(usize::MAX);
    if count > MAX_BLOCKS {
        return Err(format!("has {count} blocks, expected at most {MAX_BLOCKS}"));
    }
    // Decoding to a capacity refuses what is longer.
    let entries = zstd::bulk::decompress(entries, count.saturating_mul(ENTRY))
        .map_err(|error| format!("cannot be unpacked: {error}"))?;
    let (entries, extra) = entries.as_chunks::<ENTRY>();
    if entries.len() != count || !extra.is_empty() {
        return Err(format!(
            "has {} blocks, its head says {count}",
            entries.len()
        ));
    }
    let table = BlockTable {
        blocks: records(&head, entries)?,
        object_size: head.object_size,
        object_etag: head.object_etag,
        encoder: head.encoder,
        virtual_size: head.virtual_size,
    };
    let digest = table.digest().to_string();
    if digest != head.content_digest {
        return Err(format!(
            "has blocks with the content digest {digest}, its head says {}",
            head.content_digest
        ));
    }
    Ok(table)
}

fn records(head: &Head, entries: &[[u8; ENTRY]]) -> Result<Vec<BlockRecord>, String> {
    match head.encoder == RAW {
        true => raw_records(head, entries),
        false => encoded_records(head, entries),
    }
}

/// The blocks of a raw object: each is where it is on the disk.
fn raw_records(head: &Head, entries: &[[u8; ENTRY]]) -> Result<Vec<BlockRecord>, String> {
    if head.object_size != head.virtual_size {
        return Err(format!(
            "is of a raw object of {} bytes, its disk has {}",
            head.object_size, head.virtual_size
        ));
    }
    let mut blocks: Vec<BlockRecord> = Vec::with_capacity(entries.len());
    for entry in entries {
        let (number, len, level, hash) = split(entry);
        let range = range_of(number.into(), head.virtual_size);
        if u64::from(len) != range.end.saturating_sub(range.start) || range.is_empty() {
            return Err(format!("says that block {number} has {len} bytes"));
        }
        if level != 0 {
            return Err(format!("says that block {number} has level {level}"));
        }
        if let Some(last) = blocks.last().filter(|last| last.number >= number) {
            return Err(format!("has block {number} after block {}", last.number));
        }
        blocks.push(BlockRecord {
            number,
            offset: range.start,
            len,
            crc: 0,
            hash,
            level: Some(level),
        });
    }
    Ok(blocks)
}

/// The blocks, placed one behind the other as the encoder places them.
fn encoded_records(head: &Head, entries: &[[u8; ENTRY]]) -> Result<Vec<BlockRecord>, String> {
    let nobody = zvhd2::Identity {
        uuid: [0; 16],
        timestamp: 0,
    };
    let mut encoder = zvhd2::Encoder::new(head.virtual_size, nobody).map_err(|e| e.to_string())?;
    let mut blocks = Vec::with_capacity(entries.len());
    for entry in entries {
        let (number, len, level, hash) = split(entry);
        let offset = encoder
            .push(number, usize::try_from(len).unwrap_or(usize::MAX))
            .map_err(|error| format!("holds an impossible block: {error}"))?;
        if !(zvhd2::MIN_LEVEL..=zvhd2::MAX_LEVEL).contains(&level) {
            return Err(format!("says that block {number} has level {level}"));
        }
        blocks.push(BlockRecord {
            number,
            offset,
            len,
            crc: 0,
            hash,
            level: Some(level),
        });
    }
    let tail = encoder.tail().map(|part| part.len() as u64);
    let expected = tail.fold(encoder.position(), u64::saturating_add);
    if expected != head.object_size {
        return Err(format!(
            "is of an object of {expected} bytes, its head says {}",
            head.object_size
        ));
    }
    Ok(blocks)
}

fn split(entry: &[u8; ENTRY]) -> (u32, u32, i32, [u8; 32]) {
    let [n0, n1, n2, n3, l0, l1, l2, l3, level, hash @ ..] = *entry;
    (
        u32::from_le_bytes([n0, n1, n2, n3]),
        u32::from_le_bytes([l0, l1, l2, l3]),
        i32::from(i8::from_le_bytes([level])),
        hash,
    )
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;

    fn table() -> BlockTable {
        let head = Head {
            object_size: 0,
            object_etag: String::new(),
            encoder: String::new(),
            virtual_size: 100 << 21,
            content_digest: String::new(),
            blocks: 0,
        };
        let entries: Vec<[u8; ENTRY]> = [(0_u32, 8192_u32), (5, 4096), (99, 1 << 20)]
            .into_iter()
            .map(|(number, len)| {
                let mut entry = [u8::try_from(number).unwrap(); ENTRY];
                entry[..4].copy_from_slice(&number.to_le_bytes());
                entry[4..8].copy_from_slice(&len.to_le_bytes());
                entry[8] = 3;
                entry
            })
            .collect();
        let size = 4096 + 8192 + 4096 + (1 << 20) + 4096 + (512 << 10) + 4096 + 4096;
        let head = Head {
            object_size: size,
            ..head
        };
        BlockTable {
            object_size: size,
            object_etag: "abc-2".into(),
            encoder: "zstd 1.5.7".into(),
            virtual_size: head.virtual_size,
            blocks: records(&head, &entries).unwrap(),
        }
    }

    fn encode(table: &BlockTable) -> Vec<u8> {
        let mut entries = TableEntries::default();
        for block in &table.blocks {
            entries.push(block, None);
        }
        let of = Described {
            object_size: table.object_size,
            object_etag: table.object_etag.clone(),
            encoder: table.encoder.clone(),
            virtual_size: table.virtual_size,
            digest: table.digest(),
        };
        entries.encode(&of).unwrap()
    }

    /// The bytes of `table` after `change`, with a sum that is right again.
    fn changed(change: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut bytes = encode(&table());
        bytes.truncate(bytes.len() - SUM);
        change(&mut bytes);
        let sum = Sha256::digest(&bytes);
        bytes.extend(sum);
        BlockTable::decode(&bytes).unwrap_err().to_string()
    }

    fn replaced(from: &str, to: &str) -> String {
        assert_eq!(from.len(), to.len());
        changed(|bytes| {
            let at = bytes
                .windows(from.len())
                .position(|window| window == from.as_bytes())
                .unwrap();
            bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
        })
    }

    #[test]
    fn a_table_reads_back_as_it_was_written() {
        let table = table();
        let bytes = encode(&table);
        let read = BlockTable::decode(&bytes).unwrap();
        assert_eq!(read, table);
        assert_eq!(read.blocks[2].offset, 4096 + 8192 + 4096);
        assert_eq!(read.find(5), Some(1));
        assert_eq!(read.find(6), None);
    }

    #[test]
    fn a_table_without_levels_is_not_written() {
        let table = table();
        let block = BlockRecord {
            level: None,
            ..table.blocks[0]
        };
        let of = Described {
            object_size: table.object_size,
            object_etag: String::new(),
            encoder: String::new(),
            virtual_size: table.virtual_size,
            digest: table.digest(),
        };
        let mut entries = TableEntries::default();
        entries.push(&block, None);
        entries.encode(&of).unwrap_err();
        let mut entries = TableEntries::default();
        entries.push(&block, Some(1));
        entries.encode(&of).unwrap();
    }

    #[test]
    fn a_damaged_table_is_refused() {
        let bytes = encode(&table());
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert!(BlockTable::decode(&flipped).is_err(), "byte {at}");
            assert!(BlockTable::decode(&bytes[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_table_that_lies_is_refused() {
        let size = table().object_size.to_string();
        let other = (table().object_size - 1).to_string();
        let said = replaced(&size, &other);
        assert!(said.contains("its head says"), "{said}");
        let said = replaced("\"blocks\":3", "\"blocks\":4");
        assert!(said.contains("has 3 blocks"), "{said}");
        let said = replaced("\"blocks\":3", "\"blocks\":2");
        assert!(said.contains("unpacked"), "{said}");
        let digest = table().digest().to_string();
        let said = replaced(&digest, &digest.replace(['a', 'b', 'c'], "0"));
        assert!(said.contains("content digest"), "{said}");
    }

    #[test]
    fn blocks_of_a_raw_object_are_where_they_are_on_the_disk() {
        let size = 10 * (2 << 20) - 512;
        let encode = |change: fn(&mut TableEntries)| {
            let mut entries = TableEntries::default();
            let mut sum = DigestBuilder::new(size);
            for number in [0_u8, 4, 9] {
                let hash = [number + 1; 32];
                entries.push_raw(number.into(), size, &hash);
                sum.block(number.into(), &hash);
            }
            change(&mut entries);
            let of = Described {
                object_size: size,
                object_etag: "abc-2".into(),
                encoder: RAW.into(),
                virtual_size: size,
                digest: sum.finish(),
            };
            BlockTable::decode(&entries.encode(&of).unwrap())
        };
        let table = encode(|_| ()).unwrap();
        let places = table.blocks.iter().map(|block| (block.offset, block.len));
        let block = 2_u32 << 20;
        let last = u64::from(9 * block);
        let expected = [
            (0, block),
            (u64::from(4 * block), block),
            (last, block - 512),
        ];
        assert!(places.eq(expected));
        assert_eq!(table.between(1..9), &table.blocks[1..2]);
        assert_eq!(table.between(5..9), []);
        let refused = |change| encode(change).unwrap_err().to_string();
        // The fields of the second entry: number, length, level.
        let said = refused(|entries| entries.bytes[ENTRY] = 0);
        assert!(said.contains("block 0 after block 0"), "{said}");
        let said = refused(|entries| entries.bytes[ENTRY] = 10);
        assert!(said.contains("block 10 has"), "{said}");
        let said = refused(|entries| entries.bytes[ENTRY + 4] = 1);
        assert!(said.contains("block 4 has 2097153 bytes"), "{said}");
        let said = refused(|entries| entries.bytes[ENTRY + 8] = 1);
        assert!(said.contains("level 1"), "{said}");
    }

    #[test]
    fn a_table_of_impossible_blocks_is_refused() {
        let refused = |change: fn(&mut BlockTable)| {
            let mut table = table();
            change(&mut table);
            let bytes = encode(&table);
            BlockTable::decode(&bytes).unwrap_err().to_string()
        };
        let said = refused(|table| table.blocks.swap(0, 1));
        assert!(said.contains("comes after"), "{said}");
        let said = refused(|table| table.blocks[0].len = 5);
        assert!(said.contains("5 bytes long"), "{said}");
        let said = refused(|table| table.blocks[2].number = 100);
        assert!(said.contains("not on a disk"), "{said}");
        let said = refused(|table| table.blocks[0].level = Some(100));
        assert!(said.contains("level 100"), "{said}");
        let said = refused(|table| table.virtual_size = 0);
        assert!(said.contains("virtual size"), "{said}");
    }
}
