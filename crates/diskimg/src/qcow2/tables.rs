//! The two levels of tables that say where each cluster is.
//!
//! The L1 table is loaded whole and checked at open. L2 tables are read in slices, as they are
//! asked for, and the slices most recently used are kept, for all threads together.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;
use zerocopy::IntoBytes;
use zerocopy::big_endian::U64;

use super::header::Header;
use super::layout::{ENTRY_SIZE, EXTENDED_ENTRY_SIZE, SUBCLUSTERS_BITS, l1, l2};
use crate::chain::Context;
use crate::error::{Error, Result};
use crate::hints::CHECK_QCOW2;
use crate::limits::L2_CACHE_BYTES;
use crate::source::ReadAt;
use crate::stored::StoredMap;
use crate::units::{FileOffset, SECTOR, fits};
use crate::unpack::Compressed;
use crate::work::{READ_BYTES_PER_STEP, Steps};

/// Longest slice of an L2 table in bytes. Short enough to stay below the reads that
/// [`crate::FileSource`] drops from the page cache; maps 256 MiB at 64 KiB clusters.
const SLICE_BYTES: u64 = 32 << 10;

/// What a cached slice costs beside its entries, in bytes: nodes of list and map, the `Arc`,
/// allocators' headers. Counted generously, because the slices of small clusters are small.
const SLICE_OVERHEAD: u64 = 256;

/// L1 entries that are looked at in a step.
const L1_ENTRIES_PER_STEP: u64 = 16;

const L1_ENTRY: &str = "L1 entry";
const L2_ENTRY: &str = "L2 entry";

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

/// Where a cluster, or a part of one, is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cluster {
    /// Nothing is stored.
    Unallocated,
    /// It reads as zeros.
    Zero,
    /// It is stored as it is, from this offset; a multiple of the cluster size.
    Plain(FileOffset),
    /// It is stored compressed.
    Compressed(Compressed),
}

/// What an L2 entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// The same for the whole cluster.
    Whole(Cluster),
    /// The cluster's subclusters differ.
    Mixed(Subclusters),
}

/// The subclusters of a cluster, none of which is both allocated and zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subclusters {
    /// Where the cluster is; 0 when none is allocated.
    host: FileOffset,
    /// Bit x: subcluster x is stored.
    stored: u64,
    /// Bit x: subcluster x reads as zeros.
    zero: u64,
    /// log2 of the size of a subcluster in bytes.
    bits: u32,
}

impl Subclusters {
    /// Where the cluster is, and how many bytes of it are stored there and are zeros.
    pub(super) fn sum(self) -> (FileOffset, u64, u64) {
        let bytes = |bits: u64| u64::from(bits.count_ones()) << self.bits;
        (self.host, bytes(self.stored), bytes(self.zero))
    }

    /// What lies `skip` bytes into the cluster, as if the whole cluster were that; and how many
    /// bytes of it there are from there on, at least 1. `skip` is less than the cluster size.
    pub(super) fn part(self, skip: u64) -> (Cluster, u64) {
        let first = skip >> self.bits;
        let (stored, zero) = (self.stored >> first, self.zero >> first);
        let (what, run) = if stored & 1 != 0 {
            (Cluster::Plain(self.host), stored.trailing_ones())
        } else if zero & 1 != 0 {
            (Cluster::Zero, zero.trailing_ones())
        } else {
            (Cluster::Unallocated, (stored | zero).trailing_zeros())
        };
        let last = (first + u64::from(run)).min(1 << SUBCLUSTERS_BITS);
        (what, (last << self.bits) - skip)
    }
}

/// The tables of the active disk.
pub(super) struct Tables {
    l1: Vec<U64>,
    cluster_bits: u32,
    /// Whether L2 entries are extended.
    extended: bool,
    /// Whether bit 0 of an L2 entry is the zero flag; it is reserved in version 2, and where
    /// subclusters have a flag each.
    zero_flag: bool,
    /// Whether clusters are in another file, each where the guest sees it.
    external: bool,
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
        let cluster_size = 1_u64 << header.cluster_bits;
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
            check_l1_entry(entry.get(), at, cluster_size, source.len())?;
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
            cluster_bits: header.cluster_bits,
            extended: header.extended_l2,
            zero_flag: header.version >= 3 && !header.extended_l2,
            external: header.data_file.is_some(),
            slice_bytes,
            cache_bytes,
            cache: Mutex::new(LruCache::new(slices)),
            holes,
            steps: context.steps().clone(),
        })
    }

    /// Whether clusters are in another file, each where the guest sees it.
    pub(super) fn external(&self) -> bool {
        self.external
    }

    /// Whether clusters have subclusters.
    pub(super) fn extended(&self) -> bool {
        self.extended
    }

    /// Guest bytes that one L1 entry maps.
    fn l2_coverage(&self) -> u64 {
        // A table fills a cluster; at most 2^39.
        1 << (2 * self.cluster_bits - self.entry_size().trailing_zeros())
    }

    /// Size of an L2 entry in bytes.
    fn entry_size(&self) -> u64 {
        if self.extended {
            EXTENDED_ENTRY_SIZE
        } else {
            ENTRY_SIZE
        }
    }

    /// Number of guest bytes from `at` on, at most `limit`, that nothing stored maps: they have no
    /// L2 table, or it lies in a hole of the file. 0 when their entry is stored. One step per L1
    /// entry, however large the disk is.
    ///
    /// # Errors
    /// Those of asking the file.
    pub(super) fn unmapped(&self, at: u64, limit: u64) -> Result<u64> {
        let coverage = self.l2_coverage();
        let cluster_size = 1_u64 << self.cluster_bits;
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
                let byte = table + (within >> self.cluster_bits) * self.entry_size();
                if !hole.contains(&byte) {
                    hole = byte..self.holes.hole(byte)?.unwrap_or(byte);
                }
                let end = hole.end.min(table + cluster_size);
                let entries = end.saturating_sub(byte) / self.entry_size();
                if entries == 0 {
                    break;
                }
                len += (entries << self.cluster_bits) - within % cluster_size;
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
        let Some(entry) = usize::try_from(at / self.l2_coverage())
            .ok()
            .and_then(|index| self.l1.get(index))
        else {
            return Ok(None);
        };
        let table = entry.get() & l1::OFFSET;
        if table == 0 {
            return Ok(None);
        }
        let byte = ((at % self.l2_coverage()) >> self.cluster_bits) * self.entry_size();
        let within = byte % self.slice_bytes;
        // The L1 entry was held against the file's length: this does not overflow.
        let offset = FileOffset(table + byte - within);
        let index = usize::try_from(within / self.entry_size()).unwrap_or(usize::MAX);
        if let Some(slice) = self.lock().get(&offset) {
            return Ok(Some((slice.clone(), index)));
        }
        let hole = self.holes.hole(table + byte)?;
        if hole.is_some_and(|end| end >= table + byte + self.entry_size()) {
            return Ok(None);
        }
        let slice = self.read_slice(source, offset)?;
        // Another thread may have done the same meanwhile; both read the same bytes.
        self.lock().put(offset, slice.clone());
        Ok(Some((slice, index)))
    }

    fn read_slice(&self, source: &dyn ReadAt, offset: FileOffset) -> Result<Slice> {
        let len = usize::try_from(self.slice_bytes / ENTRY_SIZE).unwrap_or_default();
        let mut words = vec![U64::ZERO; len];
        source.read_exact_at(offset, words.as_mut_bytes())?;
        self.steps.take(self.slice_bytes / READ_BYTES_PER_STEP);
        let entry_words = if self.extended { 2 } else { 1 };
        Ok(Slice {
            words: words.into(),
            entry_words,
            entries: len / entry_words,
            offset,
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, LruCache<FileOffset, Slice>> {
        // A cache of immutable slices is whole whatever panicked.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the entry `index` of `slice` says.
    ///
    /// # Errors
    /// `Corrupt` when it breaks the format's rules, or the slice has no such entry.
    #[inline]
    pub(super) fn entry(&self, slice: &Slice, index: usize) -> Result<Entry> {
        // A fragmented disk has millions of these, and nothing is wrong with them.
        if !self.extended
            && let Some(word) = slice.words.get(index)
            && let Some(cluster) = self.usual(word.get())
        {
            return Ok(Entry::Whole(cluster));
        }
        self.any_entry(slice, index)
    }

    /// What most entries say: nothing is stored, or a cluster as it is.
    #[inline]
    fn usual(&self, entry: u64) -> Option<Cluster> {
        let offset = entry & l2::OFFSET;
        let aligned = offset & ((1 << self.cluster_bits) - 1) == 0;
        match entry {
            0 => Some(Cluster::Unallocated),
            _ if offset != 0 && aligned && entry & !(l2::OFFSET | l2::COPIED) == 0 => {
                Some(Cluster::Plain(FileOffset(offset)))
            }
            _ => None,
        }
    }

    fn any_entry(&self, slice: &Slice, index: usize) -> Result<Entry> {
        let at = slice.offset.0 + index as u64 * self.entry_size();
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
        let decoded = match bitmap {
            None => self.decode(entry).map(Entry::Whole),
            Some(bitmap) => self.decode_extended(entry, bitmap),
        };
        decoded.map_err(|broken| entry_error(L2_ENTRY, at, entry, &broken))
    }

    /// An extended entry: what holds for the whole cluster, then the bitmap of its subclusters.
    fn decode_extended(&self, entry: u64, bitmap: u64) -> Result<Entry, String> {
        let (stored, zero) = (bitmap & l2::SUBCLUSTERS, bitmap >> 32);
        let host = match self.decode(entry)? {
            Cluster::Plain(host) => host,
            Cluster::Unallocated if stored != 0 => {
                return Err(format!(
                    "subclusters {stored:#010x} are allocated, but the cluster has no offset"
                ));
            }
            Cluster::Compressed(_) if bitmap != 0 => {
                return Err(format!(
                    "the cluster is compressed, but its subclusters are {bitmap:#018x}, expected 0"
                ));
            }
            Cluster::Unallocated => FileOffset(0),
            whole => return Ok(Entry::Whole(whole)),
        };
        if stored & zero != 0 {
            return Err(format!(
                "subclusters {:#010x} are both allocated and zero",
                stored & zero
            ));
        }
        Ok(match (stored, zero) {
            (l2::SUBCLUSTERS, _) => Entry::Whole(Cluster::Plain(host)),
            (_, l2::SUBCLUSTERS) => Entry::Whole(Cluster::Zero),
            (0, 0) => Entry::Whole(Cluster::Unallocated),
            _ => Entry::Mixed(Subclusters {
                host,
                stored,
                zero,
                bits: self.cluster_bits - SUBCLUSTERS_BITS,
            }),
        })
    }

    fn decode(&self, entry: u64) -> Result<Cluster, String> {
        if entry & l2::COMPRESSED != 0 && self.external {
            return Err(
                "it is compressed, which clusters in an external data file are not".to_owned(),
            );
        }
        if entry & l2::COMPRESSED != 0 {
            return Ok(Cluster::Compressed(self.decode_compressed(entry)));
        }
        let zero = entry & l2::ZERO != 0;
        let reserved = entry & l2::RESERVED | if self.zero_flag { 0 } else { entry & l2::ZERO };
        if reserved != 0 {
            return Err(format!("reserved bits {reserved:#x} are set"));
        }
        let offset = entry & l2::OFFSET;
        if !offset.is_multiple_of(1 << self.cluster_bits) {
            return Err(format!(
                "offset {offset:#x} is no multiple of the cluster size {:#x}",
                1_u64 << self.cluster_bits
            ));
        }
        match (zero, offset) {
            (true, _) => Ok(Cluster::Zero),
            (false, 0) if entry & l2::COPIED != 0 && self.external => {
                Ok(Cluster::Plain(FileOffset(0)))
            }
            (false, 0) if entry & l2::COPIED != 0 => {
                Err("it is marked as in use, but has no offset".to_owned())
            }
            (false, 0) => Ok(Cluster::Unallocated),
            (false, offset) => Ok(Cluster::Plain(FileOffset(offset))),
        }
    }

    /// A compressed cluster's entry: bits 0 to x-1 the offset, bits x to 61 the number of sectors
    /// beyond the one in which it begins, where x = 62 - (`cluster_bits` - 8).
    fn decode_compressed(&self, entry: u64) -> Compressed {
        let offset_bits = 70 - self.cluster_bits;
        let offset = entry & ((1 << offset_bits) - 1);
        let sectors = (entry & !(l2::COPIED | l2::COMPRESSED)) >> offset_bits;
        Compressed {
            at: FileOffset(offset),
            // At most twice the cluster size.
            len: (sectors + 1) * SECTOR - offset % SECTOR,
        }
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

/// Checks one L1 entry, so that its L2 table is known to lie in the file.
fn check_l1_entry(entry: u64, at: u64, cluster_size: u64, file_len: u64) -> Result<()> {
    let offset = entry & l1::OFFSET;
    let broken = if entry & l1::RESERVED != 0 {
        format!("reserved bits {:#x} are set", entry & l1::RESERVED)
    } else if !offset.is_multiple_of(cluster_size) {
        format!("offset {offset:#x} is no multiple of the cluster size {cluster_size:#x}")
    } else if offset == 0 && entry & l1::COPIED != 0 {
        "it is marked as in use, but has no offset".to_owned()
    } else if offset != 0 && !fits(offset, cluster_size, file_len) {
        return Err(Error::truncated(
            "L2 table",
            offset,
            format!("{cluster_size} bytes were expected here, the file ends at {file_len:#x}"),
        ));
    } else {
        return Ok(());
    };
    Err(entry_error(L1_ENTRY, at, entry, &broken))
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

fn entry_error(structure: &'static str, at: u64, entry: u64, broken: &str) -> Error {
    Error::corrupt(structure, at, format!("found {entry:#018x}: {broken}")).with_hint(CHECK_QCOW2)
}
