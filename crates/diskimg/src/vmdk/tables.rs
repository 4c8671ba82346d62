//! The grain tables of a disk, read whole as they are asked for. Those used last are kept, for all
//! of its extents and all threads together.

use std::num::NonZeroUsize;
use std::sync::Arc;

use parking_lot::Mutex;

use lru::LruCache;
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U32, U64};

use super::directory::Sparse;
use crate::chain::Context;
use crate::error::{Error, Result};
use crate::limits::VMDK_TABLE_CACHE_BYTES;
use crate::source::ReadAt;
use crate::units::FileOffset;
use crate::work::{READ_BYTES_PER_STEP, Steps};

/// What a cached table costs beside its entries, in bytes: nodes of list and map, the `Arc`,
/// allocators' headers. Counted generously.
const TABLE_OVERHEAD: u64 = 256;

pub(super) const TABLE: &str = "grain table";

/// The entries of a table, and where the first one is in its file.
#[derive(Clone, Debug)]
pub(super) struct Table {
    words: Words,
    pub(super) offset: u64,
    /// The first entry that is another one in the copy.
    pub(super) differs: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Words {
    Short(Arc<[U32]>),
    Long(Arc<[U64]>),
}

impl Table {
    /// Entry `index`; `None` past the end.
    #[inline]
    pub(super) fn entry(&self, index: usize) -> Option<u64> {
        match &self.words {
            Words::Short(words) => words.get(index).map(|word| word.get().into()),
            Words::Long(words) => words.get(index).map(|word| word.get()),
        }
    }

    /// Reads a table of `sparse` from `offset` of `source`; of one that is not there all entries
    /// are 0.
    ///
    /// # Errors
    /// Those of reading.
    pub(super) fn read(sparse: &Sparse, source: &dyn ReadAt, offset: Option<u64>) -> Result<Self> {
        let shape = &sparse.shape;
        let entries = 1_usize << shape.table_bits;
        let place = offset.map(FileOffset);
        let words = if shape.form.entry_size() == size_of::<U32>() as u64 {
            let mut words = vec![U32::ZERO; entries];
            if let Some(place) = place {
                source.read_exact_at(place, words.as_mut_bytes())?;
            }
            Words::Short(words.into())
        } else {
            let mut words = vec![U64::ZERO; entries];
            if let Some(place) = place {
                source.read_exact_at(place, words.as_mut_bytes())?;
            }
            Words::Long(words.into())
        };
        Ok(Self {
            words,
            offset: offset.unwrap_or_default(),
            differs: None,
        })
    }

    /// Reads table `index` of `sparse` and holds its copy against it.
    ///
    /// # Errors
    /// Those of reading.
    pub(super) fn read_both(sparse: &Sparse, source: &dyn ReadAt, index: usize) -> Result<Self> {
        let mut table = Self::read(sparse, source, sparse.table(index))?;
        if sparse.has_copy() {
            let copy = Self::read(sparse, source, sparse.copy(index))?;
            if copy.words != table.words {
                let mut entries = 0..1_usize << sparse.shape.table_bits;
                table.differs = entries.find(|entry| table.entry(*entry) != copy.entry(*entry));
            }
        }
        Ok(table)
    }
}

/// The error of table `index` of `sparse`, which is not what its copy is.
pub(super) fn differs(sparse: &Sparse, index: usize) -> Error {
    let at = |offset: Option<u64>| match offset {
        Some(offset) => format!("at {offset:#x}"),
        None => "which is missing".to_owned(),
    };
    let (table, copy) = (sparse.table(index), sparse.copy(index));
    Error::corrupt(
        TABLE,
        table.or(copy).unwrap_or_default(),
        format!(
            "grain table {index}, {}, and its copy, {}, differ: programs differ in which one they \
             read",
            at(table),
            at(copy)
        ),
    )
    .with_hint("repair a copy of the disk: vmware-vdiskmanager -R COPY.vmdk")
}

/// The tables of all extents.
pub(super) struct Tables {
    /// Keyed by extent and table. Locked to look up and to insert, never while reading.
    cache: Mutex<LruCache<(usize, usize), Table>>,
    largest: u64,
    most: u64,
    steps: Steps,
}

impl Tables {
    /// For extents whose tables have at most `largest` bytes, `count` of them.
    pub(super) fn new(largest: u64, count: u64, context: &Context) -> Self {
        let bytes = context.cache(VMDK_TABLE_CACHE_BYTES);
        let most = (bytes / (largest + TABLE_OVERHEAD)).min(count).max(1);
        let room = usize::try_from(most).ok().and_then(NonZeroUsize::new);
        Self {
            cache: Mutex::new(LruCache::new(room.unwrap_or(NonZeroUsize::MIN))),
            largest,
            most,
            steps: context.steps().clone(),
        }
    }

    /// Table `index` of extent `part`, which is `sparse` in `source`.
    ///
    /// # Errors
    /// Those of reading.
    pub(super) fn get(
        &self,
        part: usize,
        sparse: &Sparse,
        source: &dyn ReadAt,
        index: usize,
    ) -> Result<Table> {
        if let Some(table) = self.cache.lock().get(&(part, index)) {
            return Ok(table.clone());
        }
        let copies = 1 + u64::from(sparse.has_copy());
        self.steps
            .take(copies * sparse.shape.table_len() / READ_BYTES_PER_STEP);
        let table = Table::read_both(sparse, source, index)?;
        // Another thread may have done the same meanwhile; both read the same bytes.
        self.cache.lock().put((part, index), table.clone());
        Ok(table)
    }

    /// Counts steps that are not those of reading a table.
    pub(super) fn take(&self, steps: u64) {
        self.steps.take(steps);
    }

    /// Most bytes of tables that are held with `readers` threads.
    pub(super) fn memory_bound(&self, readers: u64) -> u64 {
        // A reader holds one table that may have left the cache, and reads the next one and its
        // copy, each of which is copied once when it becomes shared.
        self.most
            .saturating_add(readers.saturating_mul(5))
            .saturating_mul(self.largest + TABLE_OVERHEAD)
    }
}
