//! Resuming an interrupted stream: what of it is known, and what must be made again.
//!
//! ```text
//!  stream   │ head │ block 0 │ block 1 │ block 7 │ block 8 │ …not made yet
//!  stored   ██████████████████          ██████████
//!  again                      └ block 1 ┘ └ block 7 ┘ read and encoded again, and compared with its CRC
//! ```
//!
//! The stream depends on the image's content, the level of each block and the identity only, so
//! what is made again is what it was before. A block whose bytes are all stored is neither read nor
//! encoded.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::blocks::range_of;
use crate::digest::DigestBuilder;
use crate::error::{Error, Result};
use crate::hint::Hint;
use crate::level::{Level, Levels};
use crate::sink::SinkError;

/// Blocks that are made again because a part of them is missing, at most. Ours: parts in flight are
/// a few hundred blocks. If more of them are missing, the rest of what is known counts as not made,
/// unless its levels are its own: without them the same bytes cannot be made.
const MAX_AGAIN: usize = 16_384;

/// A block of a ZVHD2 stream, with what is needed to resume later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRecord {
    /// Number of the guest block.
    pub number: u32,
    /// Where it stands in the stream.
    pub offset: u64,
    /// Its encoded length in bytes.
    pub len: u32,
    /// CRC-32 (IEEE) of its encoded bytes; 0 unless [`Recorder::wants_crc`].
    pub crc: u32,
    /// SHA-256 of its guest bytes, of which the content digest is made.
    pub hash: [u8; 32],
    /// The level that it was encoded at, where the plan leaves that open ([`Level::Auto`]).
    pub level: Option<i32>,
}

/// Receives every new block of a stream, before the block goes into the sink.
pub trait Recorder: Send {
    /// Notes `block`. Called in the order of the stream, from the thread that feeds the sink.
    ///
    /// # Errors
    /// When it cannot be noted: the run ends with this error.
    fn block(&mut self, block: &BlockRecord) -> Result<(), SinkError>;

    /// Whether [`BlockRecord::crc`] is to be computed: resuming later needs it.
    fn wants_crc(&self) -> bool {
        true
    }
}

/// Notes nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct VoidRecorder;

impl Recorder for VoidRecorder {
    fn block(&mut self, _: &BlockRecord) -> Result<(), SinkError> {
        Ok(())
    }

    fn wants_crc(&self) -> bool {
        false
    }
}

/// A block that is made again, and what it must become.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Again {
    pub(crate) number: u32,
    pub(crate) len: u32,
    pub(crate) crc: u32,
    pub(crate) offset: u64,
    pub(crate) level: Option<i32>,
}

/// Bytes of an [`Again`].
pub(crate) const AGAIN_BYTES: u64 = size_of::<Again>() as u64;

impl Again {
    /// Refuses a block that is not what it was. `made` is CRC and length of its encoded bytes, or
    /// `None` when it is all zero now.
    pub(crate) fn check(&self, made: Option<(u32, usize)>) -> Result<()> {
        match made {
            Some((crc, len)) if crc == self.crc && len as u64 == u64::from(self.len) => Ok(()),
            _ => Err(Error::refused(format!(
                "block {} is not what it was when the interrupted run read it",
                self.number
            ))
            .with_hint(Hint::StartOver)),
        }
    }
}

/// Where a ZVHD2 stream stands: the blocks that were made, and the bytes that are missing.
pub struct Checkpoint {
    pub(crate) virtual_size: u64,
    pub(crate) encoder: zvhd2::Encoder,
    pub(crate) sum: DigestBuilder,
    pub(crate) again: Vec<Again>,
    missing: Vec<Range<u64>>,
    /// The first of `missing` that may touch the next block.
    next: usize,
    /// End of the last known block, in guest bytes.
    pub(crate) known: u64,
    /// Whether the first footer is stored.
    pub(crate) has_head: bool,
    full: bool,
    /// Blocks by the level that was noted.
    levels: BTreeMap<Option<i32>, u64>,
}

impl std::fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checkpoint")
            .field("virtual_size", &self.virtual_size)
            .field("blocks", &self.encoder.stored_blocks())
            .field("again", &self.again.len())
            .field("known", &self.known)
            .finish_non_exhaustive()
    }
}

impl Checkpoint {
    /// A stream of which nothing was made.
    ///
    /// # Errors
    /// Those of [`zvhd2::Encoder::new`].
    pub fn start(virtual_size: u64, identity: zvhd2::Identity) -> Result<Self> {
        Self::new(
            virtual_size,
            identity,
            std::iter::once(0..u64::MAX).collect(),
        )
    }

    /// A stream of which everything is stored but `missing`: ranges of the stream, ascending. What
    /// was made of it is added by [`Checkpoint::block`], from the first block on.
    ///
    /// # Errors
    /// Those of [`zvhd2::Encoder::new`].
    pub fn new(
        virtual_size: u64,
        identity: zvhd2::Identity,
        missing: Vec<Range<u64>>,
    ) -> Result<Self> {
        let encoder = zvhd2::Encoder::new(virtual_size, identity)?;
        let head = 0..encoder.position();
        let mut this = Self {
            virtual_size,
            encoder,
            sum: DigestBuilder::new(virtual_size),
            again: Vec::new(),
            missing,
            next: 0,
            known: 0,
            has_head: false,
            full: false,
            levels: BTreeMap::new(),
        };
        this.has_head = !this.touches(head);
        Ok(this)
    }

    /// Adds the next block that was made. Returns whether more are of use.
    ///
    /// # Errors
    /// `Refused` when the block cannot stand there: what was noted is not of this stream.
    pub fn block(&mut self, block: &BlockRecord) -> Result<bool> {
        let expected = self.encoder.position();
        if block.offset != expected {
            return Err(Error::refused(format!(
                "block {} was noted at offset {}, expected {expected}",
                block.number, block.offset
            )));
        }
        let len = usize::try_from(block.len).unwrap_or(usize::MAX);
        let end = block.offset.saturating_add(u64::from(block.len));
        let again = self.touches(block.offset..end);
        if again && self.again.len() >= MAX_AGAIN && block.level.is_none() {
            self.full = true;
        }
        if self.full {
            return Ok(false);
        }
        self.encoder.push(block.number, len)?;
        self.sum.block(u64::from(block.number), &block.hash);
        if again {
            self.again.push(Again {
                number: block.number,
                len: block.len,
                crc: block.crc,
                offset: block.offset,
                level: block.level,
            });
        }
        let blocks = self.levels.entry(block.level).or_default();
        *blocks = blocks.saturating_add(1);
        self.known = range_of(u64::from(block.number), self.virtual_size).end;
        Ok(true)
    }

    /// Says that no blocks follow those that were added.
    pub fn complete(&mut self) {
        if !self.full {
            self.known = self.virtual_size;
        }
    }

    /// The levels of the known blocks, which belong to a stream of `level`.
    pub(crate) fn levels(&self, level: Level) -> Result<Levels> {
        let mut levels = Levels::default();
        for (noted, blocks) in &self.levels {
            let found = match (*noted, level) {
                (None, Level::Fixed(level)) => Some(level),
                // No other fits into the memory that was planned.
                (Some(noted), Level::Auto) => level.choices().contains(&noted).then_some(noted),
                _ => None,
            };
            let Some(found) = found else {
                let noted = noted.map_or_else(|| "none".to_owned(), |noted| noted.to_string());
                return Err(Error::refused(format!(
                    "the level of {blocks} blocks was noted as {noted}, and the stream's is {level}"
                )));
            };
            levels.add(found, *blocks);
        }
        Ok(levels)
    }

    /// Whether a byte of `range` is missing. Asked for ascending ranges.
    fn touches(&mut self, range: Range<u64>) -> bool {
        while let Some(missing) = self.missing.get(self.next) {
            if missing.end > range.start {
                return missing.start < range.end;
            }
            self.next += 1;
        }
        false
    }
}
