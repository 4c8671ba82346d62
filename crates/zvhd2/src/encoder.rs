//! What comes in file order: the encoder without I/O.

use diskimg::limits::MAX_VIRTUAL_SIZE;
use diskimg::units::{SECTOR, human};
use diskimg::{Error, ErrorKind, Result};

use crate::block::MAX_ENCODED_BLOCK;
use crate::footer::{Compression, Footer, Identity, Tables};
use crate::layout::{
    BITMAP_SEGMENT, BLOCK_SIZE, DATA_START, INDEX_SEGMENT, MAX_STORED_BLOCKS, PAGE,
    WRITTEN_BLOCK_SIZE,
};
use crate::tables::{StoredBlock, bitmap_segments, index_segments, segments};

/// Longest chunk of [`Tail`], in bytes: two index segments, or 256 bitmap segments.
const TAIL_CHUNK: u64 = 1 << 20;
const INDEX_SEGMENTS_PER_CHUNK: u64 = TAIL_CHUNK / INDEX_SEGMENT as u64;
const BITMAP_SEGMENTS_PER_CHUNK: u64 = TAIL_CHUNK / BITMAP_SEGMENT as u64;

/// Knows what a ZVHD2 file is made of and where each part stands; does no I/O and no compression.
///
/// The file is [`Encoder::head`], then every block in the order of [`Encoder::push`], then the
/// chunks of [`Encoder::tail`]. Holds 16 bytes of memory per stored block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoder {
    virtual_size: u64,
    max_blocks: u32,
    identity: Identity,
    blocks: Vec<StoredBlock>,
    position: u64,
}

impl Encoder {
    /// An encoder for a disk of `virtual_size` bytes.
    ///
    /// # Errors
    /// `OutOfRange` for 0 and for sizes that are not a multiple of 512, `Limit` above
    /// [`MAX_VIRTUAL_SIZE`].
    pub fn new(virtual_size: u64, identity: Identity) -> Result<Self> {
        if virtual_size == 0 || !virtual_size.is_multiple_of(SECTOR) {
            return Err(Error::new(
                ErrorKind::OutOfRange,
                format!(
                    "virtual size is {virtual_size} bytes, expected a multiple of {SECTOR} above 0"
                ),
            ));
        }
        let too_large = || {
            Error::new(
                ErrorKind::Limit,
                format!(
                    "virtual size is {virtual_size} bytes ({}), at most {} are written",
                    human(virtual_size),
                    human(MAX_VIRTUAL_SIZE)
                ),
            )
        };
        if virtual_size > MAX_VIRTUAL_SIZE {
            return Err(too_large());
        }
        let max_blocks =
            u32::try_from(virtual_size.div_ceil(BLOCK_SIZE as u64)).map_err(|_| too_large())?;
        Ok(Self {
            virtual_size,
            max_blocks,
            identity,
            blocks: Vec::new(),
            position: DATA_START,
        })
    }

    /// The first footer, 4096 bytes: it needs nothing that is known only later.
    #[must_use]
    pub fn head(&self) -> Vec<u8> {
        self.footer(0, None).to_page()
    }

    /// Records that encoded block `number`, `len` bytes long, comes next in the file. Returns its
    /// offset.
    ///
    /// # Errors
    /// `OutOfRange` when blocks do not ascend, the number is not on the disk, or `len` is no length
    /// of an encoded block; `Limit` above [`MAX_STORED_BLOCKS`]. A refused block is not recorded.
    pub fn push(&mut self, number: u32, len: usize) -> Result<u64> {
        let refused = |message| Err(Error::new(ErrorKind::OutOfRange, message));
        if number >= self.max_blocks {
            return refused(format!(
                "block {number} is not on a disk of {} blocks",
                self.max_blocks
            ));
        }
        if let Some(last) = self.blocks.last().filter(|last| last.number >= number) {
            return refused(format!("block {number} comes after block {}", last.number));
        }
        let wire_len = match u32::try_from(len) {
            Ok(wire) if wire > 0 && len.is_multiple_of(4096) && len <= MAX_ENCODED_BLOCK => wire,
            _ => {
                return refused(format!(
                    "block {number} is {len} bytes long, expected a multiple of 4096 up to \
                     {MAX_ENCODED_BLOCK}"
                ));
            }
        };
        if self.stored_blocks() >= MAX_STORED_BLOCKS {
            return Err(Error::new(
                ErrorKind::Limit,
                format!("block {number} is one more than the {MAX_STORED_BLOCKS} blocks that fit"),
            ));
        }
        let offset = self.position;
        self.blocks.push(StoredBlock {
            offset,
            number,
            len: wire_len,
        });
        // At most 4 Mi blocks of a little over 2 MiB: far below 2^64.
        self.position += u64::from(wire_len);
        Ok(offset)
    }

    /// Bytes of the file up to here: the head and the blocks pushed so far.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Blocks pushed so far.
    #[must_use]
    pub fn stored_blocks(&self) -> u64 {
        self.blocks.len() as u64
    }

    /// What follows the last block, in chunks of at most 1 MiB: footer copy, index, bitmap, last
    /// footer.
    #[must_use]
    pub fn tail(&self) -> Tail<'_> {
        Tail {
            encoder: self,
            next: Part::Copy,
        }
    }

    fn footer(&self, stored_blocks: u64, tables: Option<Tables>) -> Footer {
        Footer {
            identity: self.identity,
            virtual_size: self.virtual_size,
            block_size: WRITTEN_BLOCK_SIZE,
            max_blocks: self.max_blocks,
            compression: Compression::Zstd,
            dense_index: true,
            // At most MAX_STORED_BLOCKS.
            stored_blocks: u32::try_from(stored_blocks).unwrap_or(u32::MAX),
            tables,
        }
    }

    fn last_footer(&self) -> Vec<u8> {
        let index_lba = self.position + PAGE;
        let index_size = segments(self.stored_blocks()) * u64::from(INDEX_SEGMENT);
        let bitmap_size = segments(u64::from(self.max_blocks)) * u64::from(BITMAP_SEGMENT);
        // Both fit by the caps on stored blocks (64 MiB) and on the virtual size (4 MiB).
        let wire = |size: u64| u32::try_from(size).unwrap_or(u32::MAX);
        let tables = Tables {
            index_lba,
            index_size: wire(index_size),
            bitmap_lba: index_lba + index_size,
            bitmap_size: wire(bitmap_size),
        };
        self.footer(self.stored_blocks(), Some(tables)).to_page()
    }
}

/// Length of everything after the last block.
fn tail_len(stored_blocks: u64, max_blocks: u64) -> u64 {
    let index = segments(stored_blocks).saturating_mul(u64::from(INDEX_SEGMENT));
    let bitmap = segments(max_blocks).saturating_mul(u64::from(BITMAP_SEGMENT));
    (2 * PAGE).saturating_add(index).saturating_add(bitmap)
}

/// Longest file that a disk of `virtual_size` bytes with `data_blocks` blocks of data can become,
/// if nothing can be compressed; in bytes.
#[must_use]
pub fn worst_case_len(virtual_size: u64, data_blocks: u64) -> u64 {
    let max_blocks = virtual_size.div_ceil(BLOCK_SIZE as u64);
    data_blocks
        .saturating_mul(MAX_ENCODED_BLOCK as u64)
        .saturating_add(PAGE)
        .saturating_add(tail_len(data_blocks, max_blocks))
}

/// Which part of the tail comes next; counts are segments already given.
#[derive(Clone, Copy, Debug)]
enum Part {
    Copy,
    Index(u64),
    Bitmap(u64),
    Last,
    Done,
}

/// The chunks of [`Encoder::tail`], made one at a time.
#[derive(Clone, Debug)]
pub struct Tail<'a> {
    encoder: &'a Encoder,
    next: Part,
}

impl Iterator for Tail<'_> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let encoder = self.encoder;
        let index_count = segments(encoder.stored_blocks());
        let bitmap_count = segments(u64::from(encoder.max_blocks));
        loop {
            match self.next {
                Part::Copy => {
                    self.next = Part::Index(0);
                    return Some(encoder.footer(encoder.stored_blocks(), None).to_page());
                }
                Part::Index(done) if done == index_count => self.next = Part::Bitmap(0),
                Part::Index(done) => {
                    let count = (index_count - done).min(INDEX_SEGMENTS_PER_CHUNK);
                    self.next = Part::Index(done + count);
                    return Some(index_segments(&encoder.blocks, done, count));
                }
                Part::Bitmap(done) if done == bitmap_count => self.next = Part::Last,
                Part::Bitmap(done) => {
                    let count = (bitmap_count - done).min(BITMAP_SEGMENTS_PER_CHUNK);
                    self.next = Part::Bitmap(done + count);
                    return Some(bitmap_segments(&encoder.blocks, done, count));
                }
                Part::Last => {
                    self.next = Part::Done;
                    return Some(encoder.last_footer());
                }
                Part::Done => return None,
            }
        }
    }
}
