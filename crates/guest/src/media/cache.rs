//! Reads of the disk, cached and held to a budget.

use std::cell::{Cell, RefCell};
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::time::Instant;

use lru::LruCache;

use crate::budget::Budget;

/// Bytes of a cached block.
const BLOCK: u64 = 64 << 10;
/// Cached blocks, 16 MiB in all.
const BLOCKS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(255);

/// Fills a buffer with the disk's bytes from an offset.
pub(crate) type Source = Box<dyn Fn(u64, &mut [u8]) -> Result<(), String>>;

/// The disk, read through a cache. Once the budget is used up, every read fails that needs the
/// disk.
pub(crate) struct Media {
    source: Source,
    size: u64,
    cache: RefCell<LruCache<u64, Rc<[u8]>>>,
    budget: Budget,
    deadline: Instant,
    /// Only file systems are being opened yet, which the smaller cap is for.
    opening: Cell<bool>,
    read: Cell<u64>,
    exhausted: RefCell<Option<String>>,
}

impl Media {
    pub(crate) fn new(source: Source, size: u64, budget: &Budget) -> Self {
        Self {
            source,
            size,
            cache: RefCell::new(LruCache::new(BLOCKS)),
            budget: budget.clone(),
            deadline: Instant::now() + budget.time,
            opening: Cell::new(true),
            read: Cell::new(0),
            exhausted: RefCell::new(None),
        }
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The file systems are open; from here on the whole budget counts.
    pub(crate) fn opened(&self) {
        self.opening.set(false);
    }

    /// Bytes read so far.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.read.get()
    }

    /// Which part of the budget was used up, if any.
    pub(crate) fn exhausted(&self) -> Option<String> {
        self.exhausted.borrow().clone()
    }

    /// Fills `buf` with the disk's bytes from `at`.
    ///
    /// # Errors
    /// The range leaves the disk, the image cannot be read there, or the budget is used up.
    pub(crate) fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<(), String> {
        let end = at.checked_add(buf.len() as u64);
        if end.is_none_or(|end| end > self.size) {
            return Err(format!(
                "the disk ends at {:#x}, before the end of {} bytes at {at:#x}",
                self.size,
                buf.len()
            ));
        }
        let (mut at, mut rest) = (at, buf);
        while !rest.is_empty() {
            let block = self.block(at / BLOCK)?;
            let from = usize::try_from(at % BLOCK).unwrap_or(usize::MAX);
            let found = block.get(from..).unwrap_or_default();
            let length = found.len().min(rest.len());
            let (filled, after) = rest.split_at_mut(length);
            if length == 0 {
                return Err(format!("nothing is stored at {at:#x}"));
            }
            filled.copy_from_slice(found.get(..length).unwrap_or_default());
            (at, rest) = (at + length as u64, after);
        }
        Ok(())
    }

    fn block(&self, number: u64) -> Result<Rc<[u8]>, String> {
        self.check_budget()?;
        if let Some(block) = self.cache.borrow_mut().get(&number) {
            return Ok(Rc::clone(block));
        }
        let at = number * BLOCK;
        let length = BLOCK.min(self.size.saturating_sub(at));
        let mut block = vec![0; usize::try_from(length).unwrap_or_default()];
        (self.source)(at, &mut block)?;
        self.read.set(self.read.get().saturating_add(length));
        let block: Rc<[u8]> = block.into();
        self.cache.borrow_mut().put(number, Rc::clone(&block));
        Ok(block)
    }

    fn check_budget(&self) -> Result<(), String> {
        let bytes = match self.opening.get() {
            true => self.budget.metadata.min(self.budget.read),
            false => self.budget.read,
        };
        let reason = if self.read.get() >= bytes {
            format!("{bytes} bytes were read, which is the limit")
        } else if Instant::now() >= self.deadline {
            let seconds = self.budget.time.as_secs_f32();
            format!("the inspection took {seconds} seconds, which is the limit")
        } else {
            return Ok(());
        };
        Err(self.exhausted.borrow_mut().get_or_insert(reason).clone())
    }
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::cast_possible_truncation,
        reason = "test data are far smaller than any of these types"
    )]

    use std::time::Duration;

    use super::*;

    fn media(size: u64, budget: &Budget) -> Media {
        let source = |at: u64, buf: &mut [u8]| {
            for (byte, at) in buf.iter_mut().zip(at..) {
                *byte = (at % 251) as u8;
            }
            Ok(())
        };
        Media::new(Box::new(source), size, budget)
    }

    #[test]
    fn blocks_are_read_once_and_joined() {
        let media = media(3 * BLOCK + 100, &Budget::default());
        let mut buf = vec![0; 2 * BLOCK as usize];
        for at in [0, 7, BLOCK - 1] {
            media.read_at(at, &mut buf).unwrap();
            assert!(
                buf.iter()
                    .zip(at..)
                    .all(|(byte, at)| *byte == (at % 251) as u8)
            );
        }
        assert_eq!(media.bytes_read(), 3 * BLOCK);
        media.read_at(3 * BLOCK + 99, &mut [0]).unwrap();
        assert_eq!(media.bytes_read(), 3 * BLOCK + 100);
        assert!(media.read_at(3 * BLOCK + 99, &mut [0; 2]).is_err());
        assert!(media.read_at(u64::MAX, &mut [0; 2]).is_err());
    }

    #[test]
    fn a_budget_that_is_used_up_ends_every_read() {
        let budget = Budget {
            read: 3 * BLOCK,
            metadata: 2 * BLOCK,
            ..Budget::default()
        };
        let media = media(9 * BLOCK, &budget);
        let read = |block| media.read_at(block * BLOCK, &mut [0]);
        assert!(read(0).is_ok() && read(1).is_ok() && read(2).is_err());
        assert!(media.exhausted().unwrap().contains("131072 bytes"));
        media.opened();
        assert!(read(2).is_ok() && read(3).is_err() && read(0).is_err());
    }

    #[test]
    fn time_that_is_used_up_ends_every_read() {
        let budget = Budget {
            time: Duration::ZERO,
            ..Budget::default()
        };
        let media = media(BLOCK, &budget);
        assert!(media.read_at(0, &mut [0]).is_err());
        assert!(media.exhausted().unwrap().contains("seconds"));
    }
}
