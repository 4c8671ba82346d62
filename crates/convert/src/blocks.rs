//! The disk in blocks: which of them hold data, reading them without touching their holes, and
//! their hashes. Workers take some blocks at a time, because hashes cost less together than one
//! after the other.

use diskimg::check_answer;
use diskimg::zero::is_zero;
use diskimg::{DiskImage, DiskImageExt, Extent, ExtentKind, GuestOffset};

use crate::cancel::CancelToken;
use crate::error;
use crate::hashes::{AT_ONCE, BlockHash, hash_all};

/// Size of a block in bytes: the unit of work, of the content digest, and of ZVHD2.
pub(crate) const BLOCK_BYTES: u64 = 2 << 20;
/// [`BLOCK_BYTES`] as the length of a buffer.
pub(crate) const BLOCK_LEN: usize = zvhd2::BLOCK_SIZE;
const _: () = assert!(BLOCK_LEN as u64 == BLOCK_BYTES);

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

/// Most blocks that a worker takes at a time: as many as are hashed at the same time.
pub(crate) const MOST_GROUPED: usize = AT_ONCE;
const _: () = assert!(MOST_GROUPED <= diskimg::pipe::BLOCKS_AT_A_TIME);

/// Blocks that each of `threads` workers takes at a time where nothing else plans memory: with few
/// of them as many as pay, so that all together hold 64 MiB, or 2 MiB each.
#[must_use]
pub fn group_of(threads: usize) -> usize {
    (32 / threads.max(1)).clamp(1, MOST_GROUPED)
}

/// Blocks that hold data, ascending: what a worker takes at a time. At least one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    numbers: [u64; MOST_GROUPED],
    len: usize,
}

impl Group {
    /// One block.
    pub(crate) fn of(number: u64) -> Self {
        let mut numbers = [0; MOST_GROUPED];
        numbers[0] = number;
        Self { numbers, len: 1 }
    }

    /// Up to `most` blocks that `next` yields, ascending; `None` when it yields none.
    ///
    /// # Errors
    /// Those of `next`.
    pub(crate) fn gather(
        most: usize,
        mut next: impl FnMut() -> error::Result<Option<u64>>,
    ) -> error::Result<Option<Self>> {
        let Some(first) = next()? else {
            return Ok(None);
        };
        let mut group = Self::of(first);
        for place in group.numbers.iter_mut().take(most).skip(1) {
            let Some(number) = next()? else { break };
            *place = number;
            group.len += 1;
        }
        Ok(Some(group))
    }

    fn iter(&self) -> impl Iterator<Item = u64> {
        self.numbers.into_iter().take(self.len)
    }
}

impl DataBlocks<'_> {
    /// The next `most` blocks that hold data, or what is left of them.
    ///
    /// # Errors
    /// Those of [`DataBlocks::next`].
    pub(crate) fn next_group(&mut self, most: usize) -> error::Result<Option<Group>> {
        Group::gather(most, || self.next())
    }
}

/// The extent at `at`, checked against what [`DiskImage::extent_at`] promises: a walk must make
/// progress.
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

/// Buffers for a [`Group`].
pub(crate) struct GroupBuffer {
    blocks: Vec<Vec<u8>>,
}

impl GroupBuffer {
    /// Room for groups of up to `most` blocks.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            blocks: (0..most.clamp(1, MOST_GROUPED)).map(|_| buffer()).collect(),
        }
    }

    /// Reads and hashes the blocks of `group`. The parts of the answer are a block and its content.
    ///
    /// # Errors
    /// Those of the image.
    pub(crate) fn read(
        &mut self,
        image: &dyn DiskImage,
        group: Group,
    ) -> diskimg::Result<impl Iterator<Item = (Hashed, &[u8])>> {
        let mut found = Vec::with_capacity(group.len);
        for (number, block) in group.iter().zip(&mut self.blocks) {
            let read = read_block(image, number, block)?;
            let hash = None;
            found.push((Hashed { number, read, hash }, block.as_slice()));
        }
        let holds = found.iter().map(|(_, content)| *content);
        let hashes = hash_all(holds.map(|content| (!is_zero(content)).then_some(content)));
        for ((block, _), hash) in found.iter_mut().zip(hashes) {
            block.hash = hash;
        }
        Ok(found.into_iter())
    }
}

/// A buffer for one block.
pub(crate) fn buffer() -> Vec<u8> {
    vec![0; BLOCK_LEN]
}
