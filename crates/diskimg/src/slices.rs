//! Tables of entries of one size, read slice by slice and cached.

use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

use crate::chain::Context;
use crate::error::{Error, Result};
use crate::source::ReadAt;
use crate::units::FileOffset;
use crate::work::{READ_BYTES_PER_STEP, Steps};

/// Bytes of a table that are read and held at once, of a file that stands alone.
const SLICE_BYTES: u64 = 64 << 10;
/// What a cached slice costs beside its entries, in bytes. Counted generously.
const SLICE_OVERHEAD: u64 = 256;

/// A table of a file.
pub(crate) struct Table {
    /// What it is called.
    pub(crate) name: &'static str,
    /// File offset of the first entry.
    pub(crate) offset: u64,
    /// How many entries there are; all of them lie in the file.
    pub(crate) count: u64,
}

/// A part of a table.
#[derive(Clone)]
pub(crate) struct Slice<E> {
    /// Index of the first entry.
    first: u64,
    entries: Arc<[E]>,
}

impl<E: Copy> Slice<E> {
    /// Entry `index` of the table, when it is in the slice.
    #[inline]
    pub(crate) fn get(&self, index: u64) -> Option<E> {
        let within = index.checked_sub(self.first)?;
        self.entries.get(usize::try_from(within).ok()?).copied()
    }
}

/// The slices of a table.
pub(crate) struct Slices<E> {
    table: Table,
    slice_bytes: u64,
    cache_bytes: u64,
    /// Keyed by number. Locked to look up and to insert, never while reading.
    cache: Mutex<LruCache<u64, Slice<E>>>,
    steps: Steps,
}

impl<E: Copy + FromBytes + FromZeros + IntoBytes + Immutable> Slices<E> {
    /// Size of an entry in bytes.
    const ENTRY: u64 = size_of::<E>() as u64;

    /// The slices of `table`, of which at most `cache_bytes` are kept in memory.
    pub(crate) fn new(table: Table, cache_bytes: u64, context: &Context) -> Self {
        let slice_bytes = context.slice(SLICE_BYTES);
        let cache_bytes = context.cache(cache_bytes);
        let slices = usize::try_from(cache_bytes / (slice_bytes + SLICE_OVERHEAD))
            .ok()
            .and_then(NonZeroUsize::new)
            .unwrap_or(NonZeroUsize::MIN);
        Self {
            table,
            slice_bytes,
            cache_bytes,
            cache: Mutex::new(LruCache::new(slices)),
            steps: context.steps().clone(),
        }
    }

    /// The slice with entry `index`, when it is in memory.
    pub(crate) fn cached(&self, index: u64) -> Option<Slice<E>> {
        self.cache.lock().get(&self.number(index)).cloned()
    }

    /// The slice with entry `index`.
    ///
    /// # Errors
    /// Those of reading.
    pub(crate) fn load(&self, source: &dyn ReadAt, index: u64) -> Result<Slice<E>> {
        if let Some(slice) = self.cached(index) {
            return Ok(slice);
        }
        let number = self.number(index);
        let slice = self.read(source, number)?;
        // Another thread may have done the same meanwhile; both read the same bytes.
        self.cache.lock().put(number, slice.clone());
        Ok(slice)
    }

    /// The error about entry `index`, which is not in the table.
    pub(crate) fn past_end(&self, index: u64) -> Error {
        let message = format!("entry {index} is past the table's end");
        Error::corrupt(self.table.name, self.table.offset, message)
    }

    /// Most bytes that are ever held with `readers` threads.
    pub(crate) fn memory_bound(&self, readers: u64) -> u64 {
        // A reader holds one slice that may have left the cache, and reads the next one, which is
        // copied once when it becomes shared.
        readers
            .saturating_mul(3 * (self.slice_bytes + SLICE_OVERHEAD))
            .saturating_add(self.cache_bytes)
    }

    /// Number of the slice with entry `index`.
    fn number(&self, index: u64) -> u64 {
        index / (self.slice_bytes / Self::ENTRY)
    }

    fn read(&self, source: &dyn ReadAt, number: u64) -> Result<Slice<E>> {
        let most = self.slice_bytes / Self::ENTRY;
        let first = number * most;
        let count = self.table.count.saturating_sub(first).min(most);
        let mut entries = vec![E::new_zeroed(); usize::try_from(count).unwrap_or_default()];
        let at = self.table.offset.saturating_add(first * Self::ENTRY);
        source.read_exact_at(FileOffset(at), entries.as_mut_bytes())?;
        self.steps.take(count * Self::ENTRY / READ_BYTES_PER_STEP);
        Ok(Slice {
            first,
            entries: entries.into(),
        })
    }
}
