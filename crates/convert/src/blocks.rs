//! The disk in blocks: which of them hold data, and reading one without touching its holes.

use diskimg::{DiskImage, DiskImageExt, Error, ErrorKind, Extent, ExtentKind, GuestOffset};
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

/// The extent at `at`, held against what [`DiskImage::extent_at`] promises: a walk must get on.
pub(crate) fn extent_at(
    image: &dyn DiskImage,
    at: u64,
    virtual_size: u64,
) -> diskimg::Result<Extent> {
    let limit = virtual_size.saturating_sub(at);
    let extent = image.extent_at(GuestOffset(at), limit)?;
    if extent.start.0 == at && (1..=limit).contains(&extent.len) {
        return Ok(extent);
    }
    Err(Error::new(
        ErrorKind::Corrupt,
        format!(
            "an extent at guest offset {at:#x} with at most {limit} bytes was asked for, the answer is {} bytes at {}",
            extent.len, extent.start
        ),
    ))
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

/// SHA-256 of `block`.
pub(crate) fn hash(block: &[u8]) -> BlockHash {
    Sha256::digest(block).into()
}

/// A buffer for one block.
pub(crate) fn buffer() -> Vec<u8> {
    vec![0; BLOCK_LEN]
}
