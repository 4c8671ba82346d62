//! A generated disk that compresses like an operating system's, in memory, so that benches measure
//! work and not the machine's disk.
#![allow(dead_code, reason = "each bench uses a part of it")]

use std::sync::Arc;

use diskimg::raw::RawImage;
use diskimg::{DiskImage, FileOffset, ReadAt, Result, SourceExtent};

/// Bytes of a block.
pub(crate) const BLOCK: usize = 2 << 20;

/// Fills `bytes` with what looks like programs and texts: phrases met before, new bytes, and short
/// runs of zeros. The same seed gives the same bytes.
pub(crate) fn fill(bytes: &mut [u8], seed: u64) {
    let mut state = seed | 1;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut phrases = Vec::with_capacity(PHRASES);
    while phrases.len() < PHRASES {
        // Six bits of each byte vary, as in code and in text.
        phrases.extend_from_slice(&(random() & 0x3f3f_3f3f_3f3f_3f3f).to_le_bytes());
    }
    let mut at = 0;
    while at < bytes.len() {
        let r = random();
        let wanted = match r % 16 {
            0 => 16 + (r >> 8) % 48,
            1..=7 => 2 + (r >> 8) % 8,
            _ => 6 + (r >> 8) % 40,
        };
        let len = (wanted as usize).min(bytes.len() - at);
        let to = &mut bytes[at..at + len];
        match r % 16 {
            0 => to.fill(0),
            1..=7 => to.copy_from_slice(&random().to_le_bytes().repeat(2)[..len]),
            _ => {
                let from = (r >> 16) as usize % (PHRASES - 64);
                to.copy_from_slice(&phrases[from..from + len]);
            }
        }
        at += len;
    }
}

/// Bytes that phrases are taken from.
const PHRASES: usize = 16 << 10;

/// Stretches of one block each: of four, two hold data, one holds zeros, one is a hole.
struct Memory {
    data: Vec<u8>,
    blocks: usize,
}

impl Memory {
    fn is_hole(block: usize) -> bool {
        block % 4 == 3
    }
}

impl ReadAt for Memory {
    fn len(&self) -> u64 {
        (self.blocks * BLOCK) as u64
    }

    fn read_exact_at(&self, at: FileOffset, buf: &mut [u8]) -> Result<()> {
        let mut at = at.0 as usize;
        for part in buf.chunks_mut(BLOCK - at % BLOCK) {
            let block = at / BLOCK;
            if block % 4 < 2 {
                let start = (block / 4 * 2 + block % 4) * BLOCK + at % BLOCK;
                part.copy_from_slice(&self.data[start..start + part.len()]);
            } else {
                part.fill(0);
            }
            at += part.len();
        }
        Ok(())
    }

    fn extent_at(&self, at: FileOffset, limit: u64) -> Result<SourceExtent> {
        let block = at.0 as usize / BLOCK;
        let mut end = block + 1;
        while end < self.blocks && Self::is_hole(end) == Self::is_hole(block) {
            end += 1;
        }
        let len = ((end * BLOCK) as u64 - at.0).min(limit);
        Ok(match Self::is_hole(block) {
            true => SourceExtent::Hole(len),
            false => SourceExtent::Data(len),
        })
    }
}

/// A raw disk of `blocks` blocks: half of it data, a quarter written zeros, a quarter holes.
pub(crate) fn raw_disk(blocks: usize) -> Box<dyn DiskImage> {
    let blocks = blocks.next_multiple_of(4);
    let mut data = vec![0; blocks / 2 * BLOCK];
    for (number, block) in data.chunks_mut(BLOCK).enumerate() {
        fill(block, number as u64 + 1);
    }
    let source = Memory { data, blocks };
    Box::new(RawImage::open(Arc::new(source)).unwrap())
}
