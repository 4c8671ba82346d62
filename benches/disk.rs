//! Generated disks in memory, so that benches measure work and not the machine's disk. The bytes
//! are those of `convert::sample`, the same everywhere.
#![allow(dead_code, reason = "each bench uses a part of it")]

use std::sync::Arc;

use convert::sample::{Content, fill_block};
use diskimg::RawImage;
use diskimg::{DiskImage, FileOffset, ReadAt, Result, SourceExtent};

/// Bytes of a block.
pub(crate) const BLOCK: usize = zvhd2::BLOCK_SIZE;

/// A block of what operating systems hold.
pub(crate) fn block() -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    fill_block(Content::OsData, 1, 1, &mut block);
    block
}

/// What a disk is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// Of 16 blocks ten hold data, three hold zeros, three are holes.
    OsLike,
    /// Bytes that do not compress.
    Random,
    /// Zeros that are written, so that they have to be read.
    Zero,
    /// Data, bytes that do not compress, zeros and a hole, in turns.
    Mixed,
}

impl Kind {
    /// What block `number` holds; `None`: it is a hole.
    fn content(self, number: u64) -> Option<Content> {
        match (self, number % 4) {
            (Self::OsLike, _) if Content::OsLike.is_hole(number) => None,
            (Self::OsLike, _) => Some(Content::OsLike),
            (Self::Random, _) | (Self::Mixed, 1) => Some(Content::Random),
            (Self::Zero, _) | (Self::Mixed, 2) => Some(Content::Zero),
            (Self::Mixed, 3) => None,
            (Self::Mixed, _) => Some(Content::OsData),
        }
    }
}

/// The blocks of a disk; those that are zero take no memory.
struct Memory(Vec<Stretch>);

enum Stretch {
    Data(Vec<u8>),
    Zeros,
    Hole,
}

impl Memory {
    fn is_hole(&self, block: usize) -> bool {
        matches!(self.0[block], Stretch::Hole)
    }
}

impl ReadAt for Memory {
    fn len(&self) -> u64 {
        (self.0.len() * BLOCK) as u64
    }

    fn read_exact_at(&self, at: FileOffset, buf: &mut [u8]) -> Result<()> {
        let (mut at, mut rest) = (at.0 as usize, buf);
        while !rest.is_empty() {
            let skip = at % BLOCK;
            let (part, behind) = rest.split_at_mut((BLOCK - skip).min(rest.len()));
            match &self.0[at / BLOCK] {
                Stretch::Data(data) => part.copy_from_slice(&data[skip..skip + part.len()]),
                Stretch::Zeros | Stretch::Hole => part.fill(0),
            }
            at += part.len();
            rest = behind;
        }
        Ok(())
    }

    fn extent_at(&self, at: FileOffset, limit: u64) -> Result<SourceExtent> {
        let block = at.0 as usize / BLOCK;
        let hole = self.is_hole(block);
        let alike = (block..self.0.len()).take_while(|block| self.is_hole(*block) == hole);
        let end = ((block + alike.count()) * BLOCK) as u64;
        let len = (end - at.0).min(limit);
        Ok(match hole {
            true => SourceExtent::Hole(len),
            false => SourceExtent::Data(len),
        })
    }
}

/// A raw disk of `blocks` blocks.
pub(crate) fn raw_disk(kind: Kind, blocks: u64) -> Box<dyn DiskImage> {
    let stretch = |number| match kind.content(number) {
        None => Stretch::Hole,
        Some(content) if content.is_zero(number) => Stretch::Zeros,
        Some(content) => {
            let mut data = vec![0; BLOCK];
            fill_block(content, 1, number, &mut data);
            Stretch::Data(data)
        }
    };
    let source = Memory((0..blocks).map(stretch).collect());
    Box::new(RawImage::open(Arc::new(source)).unwrap())
}
