//! The two levels of tables that say where each cluster is.
//!
//! The L1 table is loaded whole and checked at open. L2 tables are read in slices, as they are
//! asked for, and the slices most recently used are kept, for all threads together.

use std::num::NonZeroUsize;
use std::sync::Arc;

use parking_lot::Mutex;

use lru::LruCache;
use zerocopy::IntoBytes;
use zerocopy::big_endian::U64;

use super::entries::{Entries, Entry, L2_ENTRY};
use super::header::Header;
use super::layout::{ENTRY_SIZE, l1};
use crate::chain::Context;
use crate::error::{Error, Result};
use crate::hint::CHECK_QCOW2;
use crate::limits::L2_CACHE_BYTES;
use crate::report::{FirstError, first_error};
use crate::source::ReadAt;
use crate::stored::StoredMap;
use crate::units::FileOffset;
use crate::work::{READ_BYTES_PER_STEP, Steps};

/// Longest slice of an L2 table in bytes. Short enough to stay below the reads that
/// [`crate::FileSource`] drops from the page cache; maps 256 MiB at 64 KiB clusters.
const SLICE_BYTES: u64 = 32 << 10;

/// What a cached slice costs beside its entries, in bytes: nodes of list and map, the `Arc`,
/// allocators' headers. Counted generously, because the slices of small clusters are small.
const SLICE_OVERHEAD: u64 = 256;

/// L1 entries that are read in a step.
const L1_ENTRIES_PER_STEP: u64 = 16;

/// Entries of an L2 table as they are in the file, and the file offset of the first one.
#[derive(Clone, Debug)]
pub(super) struct Slice {
    words: Arc<[U64]>,
    /// Words that make an entry: 1, or 2 if entries are extended.
    entry_words: usize,
    entries: usize,
    offset: FileOffset,
}

impl Slice {
    /// Whether the slice has an entry `index`.
    pub(super) fn has(&self, index: usize) -> bool {
        index < self.entries
    }

    /// The words of entry `index`.
    fn entry(&self, index: usize) -> Option<&[U64]> {
        let first = index.checked_mul(self.entry_words)?;
        self.words.get(first..first.checked_add(self.entry_words)?)
    }
}

/// The tables of the active disk.
pub(super) struct Tables {
    l1: Vec<U64>,
    entries: Entries,
    slice_bytes: u64,
    cache_bytes: u64,
    /// Keyed by file offset. Locked to look up and to insert, never while reading.
    cache: Mutex<LruCache<FileOffset, Slice>>,
    /// What of the image file is a hole: tables there map nothing, and are not read.
    holes: Arc<StoredMap>,
    steps: Steps,
}

impl Tables {
    /// Loads and checks the L1 table that `header` describes.
    ///
    /// # Errors
    /// `Limit` when the files of the chain that `context` is of keep too much, `Corrupt`,
    /// `Truncated` and `Io` by cause.
    pub(super) fn load(
        source: &dyn ReadAt,
        header: &Header,
        holes: Arc<StoredMap>,
        context: &Context,
    ) -> Result<Self> {
        let bytes = header.l1_entries.saturating_mul(ENTRY_SIZE);
        context.keep("L1 table", header.l1_offset.0, bytes)?;
        // The offsets are sorted in a copy.
        context.takes_for_a_moment(bytes);
        let entries = header.entries();
        let cluster_size = entries.cluster_size();
        let len = usize::try_from(header.l1_entries).map_err(|_| {
            Error::corrupt(
                "L1 table",
                header.l1_offset.0,
                format!("it has {} entries", header.l1_entries),
            )
        })?;
        let mut l1 = vec![U64::ZERO; len];
        source.read_exact_at(header.l1_offset, l1.as_mut_bytes())?;
        for (at, entry) in (header.l1_offset.0..).step_by(size_of::<U64>()).zip(&l1) {
            entries.l1(at, entry.get(), source.len(), &mut FirstError)?;
        }
        check_shared(&l1, header.l1_offset.0)?;
        let tables = l1.iter().filter(|entry| entry.get() & l1::OFFSET != 0);
        let table_bytes = (tables.count() as u64).saturating_mul(cluster_size);
        context.steps().allow_for(source, table_bytes);
        let slice_bytes = cluster_size.min(context.slice(SLICE_BYTES));
        let cache_bytes = context.cache(L2_CACHE_BYTES);
        let slices = usize::try_from(cache_bytes / (slice_bytes + SLICE_OVERHEAD))
            .ok()
            .and_then(NonZeroUsize::new)
            .unwrap_or(NonZeroUsize::MIN);
        Ok(Self {
            l1,
            entries,
            slice_bytes,
            cache_bytes,
            cache: Mutex::new(LruCache::new(slices)),
            holes,
            steps: context.steps().clone(),
        })
    }

    /// How the entries are written.
    #[inline]
    pub(super) fn entries(&self) -> &Entries {
        &self.entries
    }

    /// Number of guest bytes from `at` on, at most `limit`, that nothing stored maps: they have no
    /// L2 table, or it lies in a hole of the file. 0 when their entry is stored. One step per L1
    /// entry, however large the disk is.
    ///
    /// # Errors
    /// Those of asking the file.
    pub(super) fn unmapped(&self, at: u64, limit: u64) -> Result<u64> {
        let coverage = self.entries.l2_coverage();
        let cluster_size = self.entries.cluster_size();
        let first = usize::try_from(at / coverage).unwrap_or(usize::MAX);
        // Where the last hole ends that was asked for.
        let mut hole = 0..0;
        let (mut len, mut looked) = (0, 0_u64);
        // Guest bytes of this entry that come before `at`.
        let mut within = at % coverage;
        for entry in self.l1.get(first..).unwrap_or_default() {
            if len >= limit {
                break;
            }
            looked += 1;
            let table = entry.get() & l1::OFFSET;
            if table == 0 {
                len += coverage - within;
            } else {
                // It lies in the file.
                let byte = table + (within >> self.entries.cluster_bits) * self.entries.size();
                if !hole.contains(&byte) {
                    hole = byte..self.holes.hole(byte)?.unwrap_or(byte);
                }
                let end = hole.end.min(table + cluster_size);
                let entries = end.saturating_sub(byte) / self.entries.size();
                if entries == 0 {
                    break;
                }
                len += (entries << self.entries.cluster_bits) - within % cluster_size;
                if end < table + cluster_size {
                    break;
                }
            }
            within = 0;
        }
        self.steps.take(looked / L1_ENTRIES_PER_STEP);
        Ok(len.min(limit))
    }

    /// The slice of the L2 table that maps guest offset `at`, and the index of its entry there.
    /// `None` when there is no L2 table, or that entry lies in a hole of the file.
    ///
    /// # Errors
    /// Those of reading.
    pub(super) fn slice(&self, source: &dyn ReadAt, at: u64) -> Result<Option<(Slice, usize)>> {
        let Some(entry) = usize::try_from(at / self.entries.l2_coverage())
            .ok()
            .and_then(|index| self.l1.get(index))
        else {
            return Ok(None);
        };
        let table = entry.get() & l1::OFFSET;
        if table == 0 {
            return Ok(None);
        }
        let byte =
            ((at % self.entries.l2_coverage()) >> self.entries.cluster_bits) * self.entries.size();
        let within = byte % self.slice_bytes;
        // The L1 entry was checked against the file's length: this does not overflow.
        let offset = FileOffset(table + byte - within);
        let index = usize::try_from(within / self.entries.size()).unwrap_or(usize::MAX);
        if let Some(slice) = self.cache.lock().get(&offset) {
            return Ok(Some((slice.clone(), index)));
        }
        let hole = self.holes.hole(table + byte)?;
        if hole.is_some_and(|end| end >= table + byte + self.entries.size()) {
            return Ok(None);
        }
        let slice = self.read_slice(source, offset)?;
        // Another thread may have done the same meanwhile; both read the same bytes.
        self.cache.lock().put(offset, slice.clone());
        Ok(Some((slice, index)))
    }

    fn read_slice(&self, source: &dyn ReadAt, offset: FileOffset) -> Result<Slice> {
        let len = usize::try_from(self.slice_bytes / ENTRY_SIZE).unwrap_or_default();
        let mut words = vec![U64::ZERO; len];
        source.read_exact_at(offset, words.as_mut_bytes())?;
        self.steps.take(self.slice_bytes / READ_BYTES_PER_STEP);
        let entry_words = if self.entries.extended { 2 } else { 1 };
        Ok(Slice {
            words: words.into(),
            entry_words,
            entries: len / entry_words,
            offset,
        })
    }

    /// What the entry `index` of `slice` says.
    ///
    /// # Errors
    /// `Corrupt` when it breaks the format's rules, or the slice has no such entry.
    #[inline]
    pub(super) fn entry(&self, slice: &Slice, index: usize) -> Result<Entry> {
        // A fragmented disk has millions of these, and nothing is wrong with them.
        if !self.entries.extended
            && let Some(word) = slice.words.get(index)
            && let Some(cluster) = self.entries.usual(word.get())
        {
            return Ok(Entry::Whole(cluster));
        }
        self.any_entry(slice, index)
    }

    fn any_entry(&self, slice: &Slice, index: usize) -> Result<Entry> {
        let at = slice.offset.0 + index as u64 * self.entries.size();
        let (entry, bitmap) = match slice.entry(index) {
            Some([entry]) => (entry.get(), None),
            Some([entry, bitmap]) => (entry.get(), Some(bitmap.get())),
            _ => {
                return Err(Error::corrupt(
                    L2_ENTRY,
                    at,
                    "it is past the end of its slice",
                ));
            }
        };
        first_error(|report| self.entries.l2(at, entry, bitmap, report))
    }

    /// Bytes of the L1 table, and most bytes of L2 tables that are held with `readers` threads.
    pub(super) fn memory_bound(&self, readers: u64) -> (u64, u64) {
        // A reader holds one slice that may have left the cache, and reads the next one, which is
        // copied once when it becomes shared.
        let held = readers.saturating_mul(3 * (self.slice_bytes + SLICE_OVERHEAD));
        (
            self.l1.len() as u64 * ENTRY_SIZE,
            self.cache_bytes
                .saturating_add(held)
                .saturating_add(self.holes.memory()),
        )
    }
}

/// Refuses L1 entries with the same L2 table: no program writes such, and a file of a few clusters
/// could make a disk of many tebibytes that takes hours to walk.
fn check_shared(l1: &[U64], table: u64) -> Result<()> {
    let mut offsets = Vec::with_capacity(l1.len());
    offsets.extend(l1.iter().map(|entry| entry.get() & l1::OFFSET));
    offsets.sort_unstable();
    for pair in offsets.windows(2) {
        if let [first, second] = pair
            && first == second
            && *first != 0
        {
            return Err(Error::corrupt(
                "L1 table",
                table,
                format!("more than one entry has the L2 table at {first:#x}"),
            )
            .with_hint(CHECK_QCOW2));
        }
    }
    Ok(())
}
