//! Reading ZVHD version 1: blocks without an index, and one zlib stream through all payloads.
//!
//! The block headers are not compressed, so what is stored is known without inflating anything.
//! Content can only be inflated front to back. Reads are therefore served behind one lock, with the
//! blocks inflated last kept at hand: workers that arrive a little out of order find what they
//! need. A read of a block that has left this window starts again from the first block, so reading
//! a file backwards costs the square of its length. Read it in order.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use diskimg::units::FileOffset;
use diskimg::{Details, DiskImage, Extent, check_range, clip_extent};
use diskimg::{Error, ErrorKind, Format, GuestOffset, ReadAt, Result};
use flate2::Decompress;
use zerocopy::{FromZeros, IntoBytes};

use crate::decode::{CODEC_BYTES, Stream, inflate_exact, read_raw, unpack};
use crate::finding::{Broken, FirstError};
use crate::footer_rules::parse_common;
use crate::layout::{BLOCK_SIZE, COOKIE_V1, PAGE, WRITTEN_BLOCK_SIZE, WireFooter, max_padded_len};
use crate::reader::extent_len;
use crate::scan::{Next, Scan};
use crate::tables::StoredBlock;

/// Blocks inflated last that are kept: more than workers usually are ahead of each other.
const RECENT_BLOCKS: usize = 32;

/// Guest bytes in one block; the version 1 footer has no field for it.
const BLOCK: u64 = BLOCK_SIZE as u64;

/// A ZVHD version 1 disk, opened.
pub struct Zvhd1Image {
    source: Arc<dyn ReadAt>,
    virtual_size: u64,
    /// Ascending by number.
    blocks: Vec<StoredBlock>,
    /// Longest data block in the file, in bytes.
    longest: u64,
    front: Mutex<Front>,
}

impl std::fmt::Debug for Zvhd1Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Zvhd1Image")
            .field("virtual_size", &self.virtual_size)
            .field("stored_blocks", &self.blocks.len())
            .finish_non_exhaustive()
    }
}

/// How far the stream is inflated.
struct Front {
    inflate: Decompress,
    /// Position in the list of blocks of the one that is inflated next; `None` after an error.
    next: Option<usize>,
    /// Positions and contents of the blocks inflated last; latest last.
    recent: VecDeque<(usize, Vec<u8>)>,
    raw: Vec<u8>,
}

impl Zvhd1Image {
    /// Opens a file by walking its block headers from the first footer to the last.
    ///
    /// # Errors
    /// `Truncated` when the end is missing (the message says how many blocks are whole), `Limit`,
    /// otherwise `Corrupt`, each with the rule that is broken; `Io`.
    pub fn open(source: Arc<dyn ReadAt>) -> Result<Self> {
        let virtual_size = read_footer(source.as_ref(), 0, "first footer")?;
        let mut blocks = Vec::new();
        let mut scan = Scan::new(source.as_ref());
        let end = loop {
            match scan.next()? {
                Next::Block(block) => {
                    check_block(&block, virtual_size)?;
                    blocks.push(block);
                }
                Next::Other => break scan.at,
                Next::Broken(finding) if finding.kind == ErrorKind::Truncated => {
                    let message = format!(
                        "{}; the file is truncated: {} data blocks are whole, up to offset {:#x}",
                        finding.message, scan.count, scan.at
                    );
                    return Err(Broken { message, ..finding }.into());
                }
                Next::Broken(finding) => return Err(finding.into()),
            }
        };
        let last_size = read_footer(source.as_ref(), end, "last footer")?;
        let broken = |rule, message| Err(Broken::corrupt(rule, "last footer", end, message).into());
        if last_size != virtual_size {
            return broken(
                "footers-agree",
                format!("orig_size is {last_size}, the first footer has {virtual_size}"),
            );
        }
        let len = source.len();
        match end.saturating_add(PAGE).cmp(&len) {
            Ordering::Equal => {}
            Ordering::Less => {
                return broken(
                    "file-end",
                    format!("the file continues after it, to {len:#x}"),
                );
            }
            Ordering::Greater => {
                let message = format!("it takes {PAGE} bytes, the file ends at {len:#x}");
                let finding = Broken::corrupt("file-end", "last footer", end, message);
                return Err(finding.of_kind(ErrorKind::Truncated).into());
            }
        }
        blocks.shrink_to_fit();
        let longest = blocks.iter().map(|block| block.len).max();
        Ok(Self {
            source,
            virtual_size,
            longest: longest.unwrap_or_default().into(),
            blocks,
            front: Mutex::new(Front {
                inflate: Decompress::new(true),
                next: Some(0),
                recent: VecDeque::new(),
                raw: Vec::new(),
            }),
        })
    }

    /// Copies a part of the block at `position` in the list, from byte `skip` on.
    fn copy(&self, position: usize, skip: usize, buf: &mut [u8]) -> Result<()> {
        let mut front = self.front.lock();
        let content = front.content(self.source.as_ref(), &self.blocks, position)?;
        let part = content.get(skip..).and_then(|rest| rest.get(..buf.len()));
        let Some(part) = part else {
            return Err(Error::new(
                ErrorKind::OutOfRange,
                format!(
                    "{} bytes from byte {skip} on pass the end of a block",
                    buf.len()
                ),
            ));
        };
        buf.copy_from_slice(part);
        Ok(())
    }
}

impl Front {
    /// The content of the block at `wanted` in `blocks`.
    fn content(
        &mut self,
        source: &dyn ReadAt,
        blocks: &[StoredBlock],
        wanted: usize,
    ) -> Result<&[u8]> {
        let known = self.recent.iter().position(|(cached, _)| *cached == wanted);
        let index = match known {
            Some(index) => index,
            None => {
                let mut at = self.next.filter(|next| *next <= wanted).unwrap_or_else(|| {
                    self.inflate.reset(true);
                    0
                });
                // Whatever goes wrong on the way leaves the stream in the middle of a block.
                self.next = None;
                while at <= wanted {
                    self.inflate_next(source, blocks, at)?;
                    at += 1;
                }
                self.next = Some(at);
                self.recent.len().saturating_sub(1)
            }
        };
        let content = self
            .recent
            .get(index)
            .map(|(_, content)| content.as_slice());
        Ok(content.unwrap_or_default())
    }

    /// Inflates the block at `position`, to which the stream has come.
    fn inflate_next(
        &mut self,
        source: &dyn ReadAt,
        blocks: &[StoredBlock],
        position: usize,
    ) -> Result<()> {
        let Some(block) = blocks.get(position) else {
            return Err(Error::new(
                ErrorKind::OutOfRange,
                format!("block {position} of {} is not stored", blocks.len()),
            ));
        };
        // Starting again comes by blocks that are still here.
        self.recent.retain(|(cached, _)| *cached != position);
        let mut content = if self.recent.len() >= RECENT_BLOCKS {
            self.recent.pop_front().map(|(_, content)| content)
        } else {
            None
        }
        .unwrap_or_else(|| vec![0; BLOCK_SIZE]);
        read_raw(&mut self.raw, source, block)?;
        let payload = unpack(&self.raw, block)?.payload;
        let damaged = |message: String| {
            let message = format!("block {}: {message}", block.number);
            Broken::corrupt("payload", "data block", block.offset, message)
        };
        let stream = inflate_exact(&mut self.inflate, payload, &mut content).map_err(damaged)?;
        if stream == Stream::Finished && position + 1 < blocks.len() {
            return Err(damaged("the zlib stream ends before the last block".to_owned()).into());
        }
        self.recent.push_back((position, content));
        Ok(())
    }
}

impl DiskImage for Zvhd1Image {
    fn virtual_size(&self) -> u64 {
        self.virtual_size
    }

    fn extent_at(&self, at: GuestOffset, limit: u64) -> Result<Extent> {
        let limit = clip_extent(at, limit, self.virtual_size)?;
        let before = self.before(at.0 / BLOCK);
        let stored = self.blocks.get(before..).unwrap_or_default();
        let (kind, len) = extent_len(stored, at.0, BLOCK, limit);
        Ok(Extent {
            start: at,
            len,
            kind,
        })
    }

    fn read_at(&self, at: GuestOffset, buf: &mut [u8]) -> Result<()> {
        check_range(at, buf.len() as u64, self.virtual_size)?;
        let mut position = self.before(at.0 / BLOCK);
        let mut at = at.0;
        let mut rest = buf;
        while !rest.is_empty() {
            let (number, skip) = (at / BLOCK, at % BLOCK);
            let len = (BLOCK - skip).min(rest.len() as u64);
            let (part, after) = rest.split_at_mut(usize::try_from(len).unwrap_or(usize::MAX));
            match self.blocks.get(position) {
                Some(block) if u64::from(block.number) == number => {
                    self.copy(position, usize::try_from(skip).unwrap_or(usize::MAX), part)?;
                    position += 1;
                }
                _ => part.fill(0),
            }
            at += len;
            rest = after;
        }
        Ok(())
    }

    fn details(&self) -> Details {
        Details {
            variant: Some("version 1".to_owned()),
            cluster_size: Some(BLOCK),
            compression: Some("zlib".to_owned()),
            warnings: vec![
                "this file can only be decompressed front to back, by one thread".to_owned(),
            ],
            ..Details::new(Format::Zvhd)
        }
    }

    fn memory_bound(&self, _readers: usize) -> u64 {
        let blocks = self
            .blocks
            .capacity()
            .saturating_mul(size_of::<StoredBlock>());
        (blocks as u64)
            .saturating_add(BLOCK.saturating_mul(RECENT_BLOCKS as u64))
            .saturating_add(self.longest)
            .saturating_add(CODEC_BYTES)
    }
}

impl Zvhd1Image {
    /// How many stored blocks come before guest block `number`.
    fn before(&self, number: u64) -> usize {
        self.blocks
            .partition_point(|block| u64::from(block.number) < number)
    }
}

/// The guest size by the footer at file offset `at`.
fn read_footer(source: &dyn ReadAt, at: u64, structure: &'static str) -> Result<u64> {
    let mut wire = WireFooter::new_zeroed();
    source.read_exact_at(FileOffset(at), wire.as_mut_bytes())?;
    let broken = |rule, message: String| Broken::corrupt(rule, structure, at, message);
    if !wire.cookie.starts_with(COOKIE_V1) {
        let found = wire.cookie.escape_ascii().to_string();
        let message = format!("cookie is {found:?}, expected \"stream\"");
        return Err(broken("cookie", message).into());
    }
    if wire.zvhd2_version != 0 {
        let message = format!("zvhd2_version is {}, expected 0", wire.zvhd2_version);
        let finding = broken("version", message).of_kind(ErrorKind::Unsupported);
        return Err(finding.into());
    }
    parse_common(&wire, at, structure, &mut FirstError)?
        .ok_or_else(|| Error::corrupt(structure, at, "fields are not right"))
}

/// Checks a block against the disk.
fn check_block(block: &StoredBlock, virtual_size: u64) -> Result<()> {
    let broken =
        |rule, message| Err(Broken::corrupt(rule, "data block", block.offset, message).into());
    let max_blocks = virtual_size.div_ceil(BLOCK);
    if u64::from(block.number) >= max_blocks {
        return broken(
            "block-number",
            format!(
                "block number is {}, the disk has {max_blocks} blocks",
                block.number
            ),
        );
    }
    let longest = max_padded_len(WRITTEN_BLOCK_SIZE);
    if u64::from(block.len) > longest {
        return broken(
            "block-size",
            format!(
                "block {} has {} bytes, at most {longest} are read",
                block.number, block.len
            ),
        );
    }
    Ok(())
}
