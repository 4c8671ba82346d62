//! The disk in blocks: which of them hold data, reading them without touching their holes, and
//! their hashes. Workers take blocks by two, because two hashes at once cost less than one after
//! the other.

use diskimg::image::check_answer;
use diskimg::zero::is_zero;
use diskimg::{DiskImage, DiskImageExt, Extent, ExtentKind, GuestOffset};
use sha2::block_api::compress256;
use sha2::{Digest, Sha256};

use crate::cancel::CancelToken;
use crate::error;

/// Size of a block in bytes: the unit of work, of the content digest, and of ZVHD2.
pub(crate) const BLOCK_BYTES: u64 = 2 << 20;
/// [`BLOCK_BYTES`] as the length of a buffer.
pub(crate) const BLOCK_LEN: usize = zvhd2::BLOCK_SIZE;
const _: () = assert!(BLOCK_LEN as u64 == BLOCK_BYTES);

/// SHA-256 of one block.
pub(crate) type BlockHash = [u8; 32];

/// Which guest bytes block `number` covers on a disk of `virtual_size` bytes.
pub(crate) fn range_of(number: u64, virtual_size: u64) -> std::ops::Range<u64> {
    let start = number.saturating_mul(BLOCK_BYTES).min(virtual_size);
    start..start.saturating_add(BLOCK_BYTES).min(virtual_size)
}

/// Walks the extents lazily and yields the numbers of the blocks that hold at least one byte of
/// `Data`, ascending. Metadata only.
pub(crate) struct DataBlocks<'a> {
    image: &'a dyn DiskImage,
    cancel: &'a CancelToken,
    virtual_size: u64,
    /// First byte that has not been dealt with.
    at: u64,
    /// End of the stretch of data that `at` is known to lie in, if it lies before this.
    data_end: u64,
}

impl<'a> DataBlocks<'a> {
    pub(crate) fn new(image: &'a dyn DiskImage, cancel: &'a CancelToken) -> Self {
        Self {
            image,
            cancel,
            virtual_size: image.virtual_size(),
            at: 0,
            data_end: 0,
        }
    }

    /// Begins with the first block behind `known` bytes, which end with a block.
    pub(crate) fn behind(mut self, known: u64) -> Self {
        self.at = known;
        self
    }

    /// The next block that holds data; `None` for ever once the disk's end is reached.
    ///
    /// # Errors
    /// Those of the metadata; `Cancelled`.
    pub(crate) fn next(&mut self) -> error::Result<Option<u64>> {
        while self.at < self.virtual_size {
            if self.at < self.data_end {
                let number = self.at / BLOCK_BYTES;
                self.at = range_of(number, self.virtual_size).end;
                return Ok(Some(number));
            }
            // A fragmented disk can have millions of extents between two blocks.
            if self.cancel.is_cancelled() {
                return Err(error::Error::Cancelled);
            }
            let extent = extent_at(self.image, self.at, self.virtual_size)?;
            match extent.kind {
                // Reading what is elsewhere fails, and says why.
                ExtentKind::Data | ExtentKind::Elsewhere => self.data_end = extent.end().0,
                ExtentKind::Zero | ExtentKind::Hole => self.at = extent.end().0,
            }
        }
        Ok(None)
    }
}

/// One or two blocks, ascending: what a worker takes at a time.
pub(crate) type Pair = (u64, Option<u64>);

impl DataBlocks<'_> {
    /// The next two blocks that hold data, or the last one.
    ///
    /// # Errors
    /// Those of [`DataBlocks::next`].
    pub(crate) fn next_pair(&mut self) -> error::Result<Option<Pair>> {
        match self.next()? {
            Some(first) => Ok(Some((first, self.next()?))),
            None => Ok(None),
        }
    }
}

/// The extent at `at`, held against what [`DiskImage::extent_at`] promises: a walk must get on.
pub(crate) fn extent_at(
    image: &dyn DiskImage,
    at: u64,
    virtual_size: u64,
) -> diskimg::Result<Extent> {
    let limit = virtual_size.saturating_sub(at);
    let extent = image.extent_at(GuestOffset(at), limit)?;
    check_answer(&extent, GuestOffset(at), limit)?;
    Ok(extent)
}

/// Fills `block`, of [`BLOCK_LEN`] bytes, with block `number`: data is read, holes and what lies
/// past the disk's end become zeros. Returns the number of bytes read.
///
/// # Errors
/// Those of the image.
pub(crate) fn read_block(
    image: &dyn DiskImage,
    number: u64,
    block: &mut [u8],
) -> diskimg::Result<u64> {
    let range = range_of(number, image.virtual_size());
    let mut rest = block;
    let mut read = 0;
    for extent in image.extents(GuestOffset(range.start)..GuestOffset(range.end)) {
        let extent = extent?;
        let len = usize::try_from(extent.len)
            .unwrap_or(usize::MAX)
            .min(rest.len());
        let (part, behind) = rest.split_at_mut(len);
        rest = behind;
        match extent.kind {
            ExtentKind::Data | ExtentKind::Elsewhere => {
                image.read_at(extent.start, part)?;
                read += extent.len;
            }
            ExtentKind::Zero | ExtentKind::Hole => part.fill(0),
        }
    }
    rest.fill(0);
    Ok(read)
}

/// A block that was read.
#[derive(Clone, Copy)]
pub(crate) struct Hashed {
    pub(crate) number: u64,
    /// Bytes that were read of it.
    pub(crate) read: u64,
    /// `None` when it is all zero.
    pub(crate) hash: Option<BlockHash>,
}

/// Buffers for a [`Pair`].
pub(crate) struct PairBuffer {
    first: Vec<u8>,
    second: Vec<u8>,
}

impl PairBuffer {
    pub(crate) fn new() -> Self {
        Self {
            first: buffer(),
            second: buffer(),
        }
    }

    /// Reads and hashes the blocks of `pair`. The parts of the answer are a block and its content.
    ///
    /// # Errors
    /// Those of the image.
    pub(crate) fn read(
        &mut self,
        image: &dyn DiskImage,
        pair: Pair,
    ) -> diskimg::Result<impl Iterator<Item = (Hashed, &[u8])>> {
        let (first, second) = pair;
        let mut read = [read_block(image, first, &mut self.first)?, 0];
        if let Some(second) = second {
            read[1] = read_block(image, second, &mut self.second)?;
        }
        let (a, b) = (self.first.as_slice(), self.second.as_slice());
        let holds = [!is_zero(a), second.is_some() && !is_zero(b)];
        let hashes = match holds {
            [true, true] => {
                let (a, b) = hash_both(a, b);
                [Some(a), Some(b)]
            }
            [first, second] => [first.then(|| hash(a)), second.then(|| hash(b))],
        };
        let blocks = [(Some(first), a), (second, b)];
        let found = blocks.into_iter().zip(read).zip(hashes);
        Ok(found.filter_map(|(((number, content), read), hash)| {
            let number = number?;
            Some((Hashed { number, read, hash }, content))
        }))
    }
}

/// SHA-256 of `block`.
pub(crate) fn hash(block: &[u8]) -> BlockHash {
    Sha256::digest(block).into()
}

/// State of SHA-256 before the first byte (FIPS 180-4, section 5.3.3).
const SHA256_START: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// SHA-256 of `a` and of `b`, which are as long as each other and a multiple of 64 bytes long.
///
/// Each round of SHA-256 waits for the one before, so a processor's SHA unit idles half of the time.
/// With two hashes taking turns every 64 bytes, the rounds of one run in the waits of the other.
fn hash_both(a: &[u8], b: &[u8]) -> (BlockHash, BlockHash) {
    let ((chunks_a, rest_a), (chunks_b, rest_b)) = (a.as_chunks::<64>(), b.as_chunks::<64>());
    if a.len() != b.len() || !rest_a.is_empty() || !rest_b.is_empty() {
        return (hash(a), hash(b));
    }
    let (mut sum_a, mut sum_b) = (SHA256_START, SHA256_START);
    for (a, b) in chunks_a.iter().zip(chunks_b) {
        compress256(&mut sum_a, std::slice::from_ref(a));
        compress256(&mut sum_b, std::slice::from_ref(b));
    }
    // Padding of whole chunks: a bit, zeros, and the length in bits.
    let mut last = [0; 64];
    last[0] = 0x80;
    last[56..].copy_from_slice(&(a.len() as u64 * 8).to_be_bytes());
    compress256(&mut sum_a, &[last]);
    compress256(&mut sum_b, &[last]);
    (to_bytes(sum_a), to_bytes(sum_b))
}

fn to_bytes(sum: [u32; 8]) -> BlockHash {
    let mut hash = [0; 32];
    for (to, word) in hash.as_chunks_mut::<4>().0.iter_mut().zip(sum) {
        *to = word.to_be_bytes();
    }
    hash
}

/// A buffer for one block.
pub(crate) fn buffer() -> Vec<u8> {
    vec![0; BLOCK_LEN]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_hashes_at_once_are_those_of_sha256() {
        for len in [0, 64, 128, 4096, BLOCK_LEN] {
            let a: Vec<u8> = (0..=250).cycle().take(len).collect();
            let b: Vec<u8> = (0..=240).rev().cycle().take(len).collect();
            assert_eq!(hash_both(&a, &b), (hash(&a), hash(&b)), "{len}");
        }
        let (a, b) = ([1; 100], [2; 64]);
        assert_eq!(hash_both(&a, &b), (hash(&a), hash(&b)));
    }
}
