//! Whether two images hold the same disk, and where they first differ.

use diskimg::DiskImage;
use diskimg::zero::is_zero;
use serde::Serialize;

use crate::blocks::{BLOCK_BYTES, DataBlocks, buffer, range_of, read_block};
use crate::cancel::CancelToken;
use crate::digest::{ContentDigest, DigestBuilder};
use crate::error::Result;
use crate::hashes::{BlockHash, hash};
use crate::monitor::{Counter, Monitor};
use crate::ordered::{self, Width};
use crate::tally::Tally;

/// What comparing two images found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Comparison {
    /// Whether size and content are the same.
    pub equal: bool,
    /// Content digest of the first image.
    pub digest_a: ContentDigest,
    /// Content digest of the second image.
    pub digest_b: ContentDigest,
    /// Virtual size of the first image, in bytes.
    pub size_a: u64,
    /// Virtual size of the second image, in bytes.
    pub size_b: u64,
    /// Where the content first differs. A disk that ends counts as zeros from there on, so images
    /// that differ only in zeros at the end have another size and no such place.
    pub first_difference: Option<Difference>,
    /// Blocks of 2 MiB whose content differs.
    pub differing_blocks: u64,
}

/// A place where two images differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Number of the block of 2 MiB.
    pub block: u64,
    /// Guest offset of the first byte that differs.
    pub offset: u64,
    /// Bytes from there to the last one that differs in this block, at least 1; those between them
    /// need not all differ.
    pub length: u64,
}

/// Compares the content of `a` and `b` with `threads` threads, whatever their formats.
///
/// Both are read to the end, because both digests are wanted. Holds 4 MiB for each thread, besides
/// what the images hold. `monitor` counts the bytes of the larger disk once; reads are those of
/// both.
///
/// # Errors
/// Those of either image; `Cancelled`; `WorkerPanicked`.
pub fn compare(
    a: &dyn DiskImage,
    b: &dyn DiskImage,
    threads: usize,
    monitor: &dyn Monitor,
    cancel: &CancelToken,
) -> Result<Comparison> {
    let (size_a, size_b) = (a.virtual_size(), b.virtual_size());
    let size = size_a.max(size_b);
    let mut blocks = EitherBlocks {
        a: Ahead::new(DataBlocks::new(a, cancel))?,
        b: Ahead::new(DataBlocks::new(b, cancel))?,
    };
    let (mut sum_a, mut sum_b) = (DigestBuilder::new(size_a), DigestBuilder::new(size_b));
    let mut tally = Tally::new(size, monitor);
    let mut first_difference = None;
    let mut differing_blocks = 0;
    ordered::run(
        Width::for_hashes(threads),
        cancel,
        || blocks.next(),
        || Ok((buffer(), buffer())),
        |(block_a, block_b), number| {
            let read_a = read_block(a, number, block_a)?;
            let read_b = read_block(b, number, block_b)?;
            Ok(Compared::new(number, read_a, read_b, block_a, block_b))
        },
        |found| {
            tally.block(range_of(found.number, size), found.read);
            if let Some(hash) = &found.hash_a {
                sum_a.block(found.number, hash);
            }
            if let Some(hash) = &found.hash_b {
                sum_b.block(found.number, hash);
            }
            if found.hash_a.is_some() || found.hash_b.is_some() {
                monitor.count(Counter::DataBlocks, 1);
            } else {
                tally.zero(found.read);
            }
            if let Some(difference) = found.difference {
                first_difference.get_or_insert(difference);
                differing_blocks += 1;
            }
            Ok(())
        },
    )?;
    tally.finish();
    let (digest_a, digest_b) = (sum_a.finish(), sum_b.finish());
    Ok(Comparison {
        equal: digest_a == digest_b,
        digest_a,
        digest_b,
        size_a,
        size_b,
        first_difference,
        differing_blocks,
    })
}

/// What a worker found out about one block.
struct Compared {
    number: u64,
    read: u64,
    hash_a: Option<BlockHash>,
    hash_b: Option<BlockHash>,
    difference: Option<Difference>,
}

impl Compared {
    fn new(number: u64, read_a: u64, read_b: u64, a: &[u8], b: &[u8]) -> Self {
        let of = |block| (!is_zero(block)).then(|| hash(block));
        let hash_a = of(a);
        let same = a == b;
        Self {
            number,
            read: read_a.saturating_add(read_b),
            hash_a,
            hash_b: if same { hash_a } else { of(b) },
            difference: if same { None } else { difference(number, a, b) },
        }
    }
}

fn difference(number: u64, a: &[u8], b: &[u8]) -> Option<Difference> {
    let differs = |(a, b): (&u8, &u8)| a != b;
    let first = a.iter().zip(b).position(differs)? as u64;
    let last = a.iter().zip(b).rposition(differs)? as u64;
    Some(Difference {
        block: number,
        offset: number * BLOCK_BYTES + first,
        length: last - first + 1,
    })
}

/// The blocks in which at least one of two images holds data, ascending.
struct EitherBlocks<'a> {
    a: Ahead<'a>,
    b: Ahead<'a>,
}

impl EitherBlocks<'_> {
    fn next(&mut self) -> Result<Option<u64>> {
        let next = match (self.a.next, self.b.next) {
            (Some(a), Some(b)) => a.min(b),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => return Ok(None),
        };
        self.a.pass(next)?;
        self.b.pass(next)?;
        Ok(Some(next))
    }
}

/// The blocks of one image, with the next one known.
struct Ahead<'a> {
    blocks: DataBlocks<'a>,
    next: Option<u64>,
}

impl<'a> Ahead<'a> {
    fn new(mut blocks: DataBlocks<'a>) -> Result<Self> {
        let next = blocks.next()?;
        Ok(Self { blocks, next })
    }

    fn pass(&mut self, number: u64) -> Result<()> {
        if self.next == Some(number) {
            self.next = self.blocks.next()?;
        }
        Ok(())
    }
}
