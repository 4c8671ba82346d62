//! Walks the guest's address range and says, run by run, where its bytes are.

use super::entries::{Cluster, Entry};
use super::files::check_place;
use super::tables::{Slice, Tables};
use crate::error::{Error, Result};
use crate::layer::{Mix, Piece, Place};
use crate::source::ReadAt;
use crate::units::{FileOffset, fits};
use crate::unpack::Compressed;

/// Where the bytes of a run are when they are not stored as they are: inside a compressed cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packed {
    pub(super) stored: Compressed,
    /// Bytes of its content that come before them.
    pub(super) skip: u64,
}

type Run = crate::layer::Run<Packed>;

/// Iterator over the runs of a guest range, in order and without gaps. Every step goes at least one
/// byte on or fails, and a failed walk is over: so it ends, whatever the tables say.
///
/// A run never leaves its slice of an L2 table, except that the guest ranges without any L2 table
/// are one run, however long.
pub(super) struct Walk<'a> {
    tables: &'a Tables,
    source: &'a dyn ReadAt,
    /// Where clusters are that are not compressed.
    data: &'a dyn ReadAt,
    cluster_bits: u32,
    at: u64,
    end: u64,
    slice: Option<Slice>,
    /// Where the entry for `at` is in it, or would be if it were longer.
    index: usize,
    /// What the entry for `at` says, when it was decoded.
    ahead: Option<Entry>,
}

/// A [`Walk`] in sums.
pub(super) struct Sums<'a> {
    walk: Walk<'a>,
    unit: u64,
}

impl<'a> Walk<'a> {
    /// Walks from `at` to `end`, both inside the declared size.
    pub(super) fn new(
        tables: &'a Tables,
        source: &'a dyn ReadAt,
        data: &'a dyn ReadAt,
        cluster_bits: u32,
        at: u64,
        end: u64,
    ) -> Self {
        Self {
            tables,
            source,
            data,
            cluster_bits,
            at,
            end,
            slice: None,
            index: 0,
            ahead: None,
        }
    }

    /// The same walk in sums: a cluster whose subclusters differ is one piece when it lies inside
    /// one unit of `unit` bytes.
    pub(super) fn in_sums(self, unit: u64) -> Sums<'a> {
        Sums { walk: self, unit }
    }

    /// The sum of the cluster at `self.at`, whose subclusters differ; `None` when it has to be
    /// walked.
    fn mix(&mut self, unit: u64) -> Option<Mix> {
        let cluster_size = 1_u64 << self.cluster_bits;
        let start = self.at;
        let whole = start & (cluster_size - 1) == 0 && cluster_size <= self.end - start;
        if !whole || cluster_size > unit || !self.tables.entries().extended {
            return None;
        }
        let slice = self.slice.as_ref().filter(|slice| slice.has(self.index))?;
        let entry = match self.ahead {
            Some(entry) => entry,
            None => self.tables.entry(slice, self.index).ok()?,
        };
        self.ahead = Some(entry);
        let Entry::Mixed(subclusters) = entry else {
            return None;
        };
        let (host, stored, zeros) = subclusters.sum();
        let elsewhere = self.tables.entries().external && host.0 != start;
        if stored > 0 && (elsewhere || !fits(host.0, cluster_size, self.data.len())) {
            return None;
        }
        self.ahead = None;
        self.index += 1;
        self.at += cluster_size;
        Some(Mix {
            start,
            len: cluster_size,
            stored,
            host,
            zeros,
        })
    }

    /// The run at `self.at`, which is before `self.end`.
    fn step(&mut self) -> Result<Run> {
        let (start, wanted) = (self.at, self.end - self.at);
        if !self
            .slice
            .as_ref()
            .is_some_and(|slice| slice.has(self.index))
        {
            let found = self.tables.slice(self.source, start)?;
            (self.slice, self.index) =
                found.map_or((None, 0), |(slice, index)| (Some(slice), index));
        }
        let Some(slice) = &self.slice else {
            return Ok(Run {
                start,
                len: self.tables.unmapped(start, wanted)?,
                place: Place::Below,
            });
        };
        let index = self.index;
        let cluster_size = 1_u64 << self.cluster_bits;
        let skip = start & (cluster_size - 1);
        let entry = match self.ahead.take() {
            Some(entry) => entry,
            None => self.tables.entry(slice, index)?,
        };
        let (first, mut len) = match entry {
            Entry::Mixed(subclusters) => subclusters.part(skip),
            Entry::Whole(cluster) => (cluster, cluster_size - skip),
        };
        let mut next = index + 1;
        // An entry that is broken ends the run; it is reported when the walk gets there. So does
        // one whose subclusters differ.
        while len < wanted && (skip + len) & (cluster_size - 1) == 0 && slice.has(next) {
            let Ok(entry) = self.tables.entry(slice, next) else {
                break;
            };
            if !follows(first, entry, skip + len) {
                self.ahead = Some(entry);
                break;
            }
            len += cluster_size;
            next += 1;
        }
        let alike = len;
        let place = match first {
            Cluster::Unallocated => Place::Below,
            Cluster::Zero => Place::Zeros,
            Cluster::Compressed(stored) => Place::Packed(Packed { stored, skip }),
            // An offset has at most 56 bits: no overflow.
            Cluster::Plain(host) => {
                if self.tables.entries().external {
                    check_place(start - skip, host.0)?;
                }
                Place::Stored(FileOffset(host.0 + skip))
            }
        };
        let len = match place {
            Place::Stored(host) => self.stored(start, host)?.min(len),
            _ => len,
        }
        .min(wanted);
        if len < alike {
            self.ahead = None;
        }
        // Guest clusters and entries advance in step, so this stays true past the slice's end.
        let passed = ((start + len) >> self.cluster_bits) - (start >> self.cluster_bits);
        self.index = usize::try_from(passed)
            .ok()
            .and_then(|passed| index.checked_add(passed))
            .unwrap_or(usize::MAX);
        Ok(Run { start, len, place })
    }

    /// Number of bytes that the file with the data has from `host` on, where guest offset `start`
    /// is stored.
    fn stored(&self, start: u64, host: FileOffset) -> Result<u64> {
        let file_len = self.data.len();
        match file_len.checked_sub(host.0) {
            Some(stored) if stored > 0 => Ok(stored),
            _ => Err(Error::truncated(
                "data cluster",
                host.0,
                format!("guest offset {start:#x} is stored here, the file ends at {file_len:#x}"),
            )),
        }
    }
}

/// Whether `next`, whose content begins `distance` bytes after that of `first`, continues it.
fn follows(first: Cluster, next: Entry, distance: u64) -> bool {
    let Entry::Whole(next) = next else {
        return false;
    };
    match (first, next) {
        (Cluster::Plain(first), Cluster::Plain(next)) => first.checked_add(distance) == Some(next),
        (Cluster::Unallocated, Cluster::Unallocated) | (Cluster::Zero, Cluster::Zero) => true,
        _ => false,
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Run>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.end {
            return None;
        }
        let run = self.step();
        self.at = match &run {
            Ok(run) => self.at + run.len,
            Err(_) => self.end,
        };
        Some(run)
    }
}

impl Iterator for Sums<'_> {
    type Item = Result<Piece<Packed>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.walk.at < self.walk.end
            && let Some(mix) = self.walk.mix(self.unit)
        {
            return Some(Ok(Piece::Mix(mix)));
        }
        self.walk.next().map(|run| run.map(Piece::Run))
    }
}
