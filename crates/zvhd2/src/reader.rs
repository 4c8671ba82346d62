//! Reading a ZVHD2 file at random: the index says where each block is.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use diskimg::units::MIB;
use diskimg::{Details, DiskImage, Extent, ExtentKind, check_range, clip_extent};
use diskimg::{Error, ErrorKind, Format, GuestOffset, ReadAt, Result};

use crate::decode::{BlockDecoder, CODEC_BYTES};
use crate::finding::FirstError;
use crate::footer::{Compression, Footer};
use crate::structure::{Structure, WALK_BYTES, walk};
use crate::tables::StoredBlock;

/// Decoded blocks that are kept for reads smaller than a block, in bytes; at least one block is.
const CACHE_BYTES: u64 = 8 * MIB;

/// A block's place in the cache: empty until one reader has decoded it, while others wait.
type Slot = Mutex<Option<Vec<u8>>>;

/// A ZVHD2 disk, opened.
///
/// Reads of whole blocks decode straight into the caller's buffer, each thread on its own. Smaller
/// reads go through a small cache of decoded blocks, so that reading on costs one decoding.
pub struct Zvhd2Image {
    source: Arc<dyn ReadAt>,
    footer: Footer,
    /// Ascending by number.
    blocks: Vec<StoredBlock>,
    /// Longest data block in the file, in bytes.
    longest: u64,
    /// Latest last.
    cache: Mutex<VecDeque<(u32, Arc<Slot>)>>,
    /// Buffers of blocks that left the cache. Used again, because allocators keep what is freed by
    /// one thread from the others.
    spare: Mutex<Vec<Vec<u8>>>,
    /// Decoders that are idle: as many as there were readers at once.
    idle: Mutex<Vec<BlockDecoder>>,
}

impl std::fmt::Debug for Zvhd2Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Zvhd2Image")
            .field("footer", &self.footer)
            .field("stored_blocks", &self.blocks.len())
            .finish_non_exhaustive()
    }
}

impl Zvhd2Image {
    /// Opens a file by its last footer, and checks all of its metadata.
    /// Payloads are checked when they are read.
    ///
    /// # Errors
    /// `Truncated` when the end is missing (the message says how many blocks are whole),
    /// `Unsupported` for other versions and compressions, `Limit`, otherwise `Corrupt`, each with
    /// the first rule that is broken; `Io`.
    pub fn open(source: Arc<dyn ReadAt>) -> Result<Self> {
        let walked = walk(source.as_ref(), &mut FirstError)?;
        let Structure { footer, blocks } = walked
            .ok_or_else(|| Error::corrupt("last footer", source.len(), "metadata is incomplete"))?;
        let longest = blocks.iter().map(|block| block.len).max();
        Ok(Self {
            source,
            footer,
            blocks,
            longest: longest.unwrap_or_default().into(),
            cache: Mutex::default(),
            spare: Mutex::default(),
            idle: Mutex::default(),
        })
    }

    /// How the payloads are compressed.
    #[must_use]
    pub fn compression(&self) -> Compression {
        self.footer.compression
    }

    /// Blocks the file holds.
    #[must_use]
    pub fn stored_blocks(&self) -> u64 {
        self.blocks.len() as u64
    }

    fn block_size(&self) -> u64 {
        self.footer.block_size.into()
    }

    /// Blocks that the cache keeps.
    fn cached_blocks(&self) -> u64 {
        (CACHE_BYTES / self.block_size()).max(1)
    }

    /// The stored blocks from guest block `number` on.
    fn stored_from(&self, number: u64) -> &[StoredBlock] {
        let before = self
            .blocks
            .partition_point(|block| u64::from(block.number) < number);
        self.blocks.get(before..).unwrap_or_default()
    }

    /// Decodes `block` into `out`, a whole block long.
    fn decode(&self, block: &StoredBlock, out: &mut [u8]) -> Result<()> {
        let idle = self.idle.lock().pop();
        let mut decoder = match idle {
            Some(decoder) => decoder,
            None => BlockDecoder::new()?,
        };
        decoder.read(self.source.as_ref(), block)?;
        let decoded = decoder.decode(block, self.footer.compression, out);
        self.idle.lock().push(decoder);
        Ok(decoded?)
    }

    /// Copies a part of `block`, from byte `skip` on, out of the cache.
    fn copy(&self, block: &StoredBlock, skip: u64, buf: &mut [u8]) -> Result<()> {
        let slot = self.slot(block.number);
        let copied = self.copy_from(&slot, block, skip, buf);
        self.recycle(slot);
        copied
    }

    fn copy_from(&self, slot: &Slot, block: &StoredBlock, skip: u64, buf: &mut [u8]) -> Result<()> {
        let mut content = slot.lock();
        if content.is_none() {
            let mut decoded = self.spare.lock().pop().unwrap_or_default();
            decoded.resize(usize::try_from(self.block_size()).unwrap_or_default(), 0);
            self.decode(block, &mut decoded)?;
            *content = Some(decoded);
        }
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let part = content
            .as_ref()
            .and_then(|content| content.get(skip..)?.get(..buf.len()));
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

    /// The cache's slot for guest block `number`; the one unused for longest makes room.
    fn slot(&self, number: u32) -> Arc<Slot> {
        let mut cache = self.cache.lock();
        let known = cache.iter().position(|(cached, _)| *cached == number);
        let entry = known
            .and_then(|position| cache.remove(position))
            .unwrap_or_else(|| (number, Arc::default()));
        while cache.len() as u64 >= self.cached_blocks() {
            if let Some((_, evicted)) = cache.pop_front() {
                self.recycle(evicted);
            }
        }
        let slot = Arc::clone(&entry.1);
        cache.push_back(entry);
        slot
    }

    /// Keeps the buffer of a slot that is no longer shared.
    fn recycle(&self, slot: Arc<Slot>) {
        let content = Arc::into_inner(slot).and_then(Slot::into_inner);
        if let Some(content) = content {
            self.spare.lock().push(content);
        }
    }
}

impl DiskImage for Zvhd2Image {
    fn virtual_size(&self) -> u64 {
        self.footer.virtual_size
    }

    fn extent_at(&self, at: GuestOffset, limit: u64) -> Result<Extent> {
        let limit = clip_extent(at, limit, self.virtual_size())?;
        let stored = self.stored_from(at.0 / self.block_size());
        let (kind, len) = extent_len(stored, at.0, self.block_size(), limit);
        Ok(Extent {
            start: at,
            len,
            kind,
        })
    }

    fn read_at(&self, at: GuestOffset, buf: &mut [u8]) -> Result<()> {
        check_range(at, buf.len() as u64, self.virtual_size())?;
        let block_size = self.block_size();
        let mut stored = self.stored_from(at.0 / block_size).iter().peekable();
        let mut at = at.0;
        let mut rest = buf;
        while !rest.is_empty() {
            let (number, skip) = (at / block_size, at % block_size);
            let len = (block_size - skip).min(rest.len() as u64);
            let (part, after) = rest.split_at_mut(usize::try_from(len).unwrap_or(usize::MAX));
            match stored.next_if(|block| u64::from(block.number) == number) {
                None => part.fill(0),
                Some(block) if len == block_size => self.decode(block, part)?,
                Some(block) => self.copy(block, skip, part)?,
            }
            at += len;
            rest = after;
        }
        Ok(())
    }

    fn details(&self) -> Details {
        Details {
            variant: Some("version 2".to_owned()),
            cluster_size: Some(self.block_size()),
            compression: Some(self.footer.compression.name().to_owned()),
            ..Details::new(Format::Zvhd2)
        }
    }

    fn memory_bound(&self, readers: usize) -> u64 {
        let readers = readers as u64;
        let index = (self.blocks.capacity() as u64).saturating_mul(size_of::<StoredBlock>() as u64);
        // A reader holds a data block and a decoder, and may hold a slot that has left the cache.
        let reader = self.longest + CODEC_BYTES + self.block_size();
        readers
            .saturating_mul(reader)
            .saturating_add(index)
            .saturating_add(self.cached_blocks() * self.block_size())
            .saturating_add(WALK_BYTES)
    }
}

/// What begins at guest offset `at`, and how long it lasts, at most `limit` bytes. `stored` begins
/// with the first stored block that ends after `at`.
pub(crate) fn extent_len(
    stored: &[StoredBlock],
    at: u64,
    block_size: u64,
    limit: u64,
) -> (ExtentKind, u64) {
    let number = |position: usize| stored.get(position).map(|block| u64::from(block.number));
    let until = |block: u64| {
        block
            .saturating_mul(block_size)
            .saturating_sub(at)
            .min(limit)
    };
    match number(0) {
        None => (ExtentKind::Hole, limit),
        Some(first) if first > at / block_size => (ExtentKind::Hole, until(first)),
        Some(first) => {
            // Numbers ascend, so that they are consecutive up to one place and nowhere after it.
            let (mut run, mut beyond) = (0, stored.len());
            while beyond - run > 1 {
                let middle = run + (beyond - run) / 2;
                if number(middle) == Some(first + middle as u64) {
                    run = middle;
                } else {
                    beyond = middle;
                }
            }
            (ExtentKind::Data, until(first + beyond as u64))
        }
    }
}
