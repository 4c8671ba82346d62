//! L1 and L2 tables: every entry is checked, and what it refers to is counted.

use std::mem::take;

use zerocopy::IntoBytes;

use super::pieces;
use super::refcounts::Refcounts;
use crate::error::Result;
use crate::limits::MAX_CHECKED_TABLE_BYTES;
use crate::qcow2::entries::{Cluster, Entries, Entry, L1_ENTRY, L2_ENTRY, broken};
use crate::qcow2::layout::{ENTRY_SIZE, l1, l2};
use crate::qcow2::place::{L1Place, place};
use crate::report::{CheckReport, Report as _};
use crate::source::ReadAt;
use crate::stored::StoredMap;
use crate::units::{FileOffset, SECTOR};
use crate::unpack::Compressed;

/// Walks tables and counts what they refer to.
pub(super) struct Walker<'a> {
    pub(super) source: &'a dyn ReadAt,
    holes: &'a StoredMap,
    /// How the entries are written.
    pub(super) disk: Entries,
    pub(super) counts: &'a mut Refcounts,
    pub(super) report: &'a mut CheckReport,
    cancelled: &'a dyn Fn() -> bool,
    /// Bytes of tables that may still be read.
    budget: u64,
    /// L2 tables that were found and not walked yet: how often each is referred to, by its cluster.
    found: Vec<u16>,
    /// Which of them the active L1 table refers to, a bit for each cluster.
    active: Vec<u64>,
    /// How often what an entry refers to is used: as often as its table is.
    uses: u16,
    /// Whether everything that refers to clusters was walked, so that counts can be compared.
    pub(super) complete: bool,
}

impl<'a> Walker<'a> {
    pub(super) fn new(
        source: &'a dyn ReadAt,
        holes: &'a StoredMap,
        disk: Entries,
        counts: &'a mut Refcounts,
        report: &'a mut CheckReport,
        cancelled: &'a dyn Fn() -> bool,
    ) -> Self {
        let clusters = counts.clusters();
        Self {
            source,
            holes,
            disk,
            counts,
            report,
            cancelled,
            budget: MAX_CHECKED_TABLE_BYTES,
            found: vec![0; clusters],
            active: vec![0; clusters.div_ceil(64)],
            uses: 1,
            complete: true,
        }
    }

    /// Whether to read another `len` bytes of tables.
    pub(super) fn spend(&mut self, len: u64) -> bool {
        if (self.cancelled)() {
            self.report.cancelled = true;
            return false;
        }
        if let Some(left) = self.budget.checked_sub(len) {
            self.budget = left;
            return true;
        }
        if self.complete {
            self.complete = false;
            self.report.skipped.push(format!(
                "the tables have more than {MAX_CHECKED_TABLE_BYTES} bytes; the rest was not \
                 examined, and uses of clusters were not compared"
            ));
        }
        false
    }

    /// Reads `len` bytes at `offset`, a multiple of eight, as big-endian numbers.
    pub(super) fn numbers(&self, offset: u64, len: u64) -> Result<Vec<u64>> {
        let mut numbers = vec![0; usize::try_from(len / ENTRY_SIZE).unwrap_or_default()];
        self.source
            .read_exact_at(FileOffset(offset), numbers.as_mut_bytes())?;
        numbers
            .iter_mut()
            .for_each(|number| *number = u64::from_be(*number));
        Ok(numbers)
    }

    /// Gives `each` the entries of the table of `len` bytes at `offset`, which lies in the file,
    /// piece by piece, with the place of the first one. Entries in holes of the file are zero and
    /// are left out. `false` when not all of it could be read.
    pub(super) fn entries(
        &mut self,
        offset: u64,
        len: u64,
        mut each: impl FnMut(&mut Self, u64, &[u64]) -> Result<()>,
    ) -> Result<bool> {
        let mut rest = offset..offset + len;
        while let Some(piece) = pieces::first_stored(self.holes, rest.clone())? {
            let len = piece.end - piece.start;
            if !self.spend(len) {
                return Ok(false);
            }
            let numbers = self.numbers(piece.start, len)?;
            each(self, piece.start, &numbers)?;
            rest.start = piece.end;
        }
        Ok(true)
    }

    /// Takes the `len` bytes of a table at `offset`, which lie in the file, for it alone. `false`
    /// when something else is there already: tables that lie on each other are walked once, or a
    /// small file could make a check endless.
    pub(super) fn claim(&mut self, structure: &'static str, offset: u64, len: u64) -> bool {
        let free = self.counts.is_free(offset, len);
        if !free {
            self.report.error(
                "overlap",
                structure,
                offset,
                format_args!("its {len} bytes lie on another table"),
            );
            // Tables that lie apart can cover the file once; these could cover it again and again.
            if !self.spend(len) {
                return false;
            }
        }
        self.counts.mark(offset, len);
        free
    }

    /// Whether `len` bytes of `structure` can be at `offset`; says why not.
    pub(super) fn place(&mut self, structure: &'static str, offset: u64, len: u64) -> Result<bool> {
        let cluster_size = self.disk.cluster_size();
        let file_len = self.source.len();
        place(
            structure,
            (offset, len),
            cluster_size,
            file_len,
            self.report,
        )
    }

    /// Walks the L1 table at `table`; its L2 tables wait for [`Self::l2_tables`]. The flags for
    /// counts of one are right in the active table only.
    pub(super) fn table(&mut self, table: &L1Place, active: bool) -> Result<()> {
        if !table.check(&self.disk, self.source.len(), self.report)? {
            self.complete = false;
            return Ok(());
        }
        let (offset, len) = (table.offset, table.entries * ENTRY_SIZE);
        if len == 0 {
            return Ok(());
        }
        if !self.claim(table.structure, offset, len) && !active {
            self.complete = false;
            return Ok(());
        }
        self.entries(offset, len, |walker, first, entries| {
            places(first, entries)
                .filter(|(_, entry)| **entry != 0)
                .try_for_each(|(at, entry)| walker.l1_entry(at, *entry, active))
        })?;
        Ok(())
    }

    /// Walks every L2 table that was found, each once, however many snapshots share it.
    pub(super) fn l2_tables(&mut self) -> Result<()> {
        let (found, active) = (take(&mut self.found), take(&mut self.active));
        let tables = (0_u64..).zip(&found);
        for (cluster, uses) in tables.filter(|(_, uses)| **uses != 0) {
            let offset = cluster * self.disk.cluster_size();
            self.uses = *uses;
            let word = usize::try_from(cluster / 64).unwrap_or(usize::MAX);
            let active = active
                .get(word)
                .is_some_and(|word| word >> (cluster % 64) & 1 == 1);
            if !self.l2_table(offset, active)? {
                break;
            }
        }
        Ok(())
    }

    /// Walks the L2 table at `offset`. `false` when not all of it could be read.
    fn l2_table(&mut self, offset: u64, active: bool) -> Result<bool> {
        let extended = self.disk.extended;
        self.entries(
            offset,
            self.disk.cluster_size(),
            |walker, first, entries| {
                if extended {
                    places(first, entries.as_chunks::<2>().0).try_for_each(
                        |(at, [entry, bitmap])| walker.l2_entry(at, *entry, Some(*bitmap), active),
                    )
                } else {
                    places(first, entries)
                        .filter(|(_, entry)| **entry != 0)
                        .try_for_each(|(at, entry)| walker.l2_entry(at, *entry, None, active))
                }
            },
        )
    }

    fn l1_entry(&mut self, at: u64, entry: u64, active: bool) -> Result<()> {
        let found = self.disk.l1(at, entry, self.source.len(), self.report)?;
        let Some(offset) = found.filter(|offset| *offset != 0) else {
            return Ok(());
        };
        let cluster_size = self.disk.cluster_size();
        self.counts.mark(offset, cluster_size);
        if active {
            self.flag(L1_ENTRY, at, entry, offset);
        }
        // It lies in the file, whose clusters are counted.
        let cluster = usize::try_from(offset / cluster_size).unwrap_or(usize::MAX);
        if let Some(uses) = self.found.get_mut(cluster) {
            *uses = uses.saturating_add(1);
        }
        if active && let Some(word) = self.active.get_mut(cluster / 64) {
            let bit = 1 << (cluster % 64);
            if *word & bit != 0 {
                self.report.broken("overlap", &|| {
                    broken(L1_ENTRY, at, entry, "another entry has the same L2 table")
                })?;
            }
            *word |= bit;
        }
        Ok(())
    }

    fn l2_entry(&mut self, at: u64, entry: u64, bitmap: Option<u64>, active: bool) -> Result<()> {
        let Some(found) = self.disk.l2(at, entry, bitmap, self.report)? else {
            return Ok(());
        };
        if let Entry::Whole(Cluster::Compressed(stored)) = found {
            return self.compressed(at, entry, stored);
        }
        if self.disk.external {
            // What it refers to is in the other file.
            return Ok(());
        }
        let offset = entry & l2::OFFSET;
        if offset == 0 {
            // Of clusters that are not zeros the flag was checked.
            if entry & l2::ZERO != 0 && entry & l2::COPIED != 0 {
                self.report.broken("copied-flag", &|| {
                    broken(
                        L2_ENTRY,
                        at,
                        entry,
                        "it is marked as used once, but has no offset",
                    )
                })?;
            }
            return Ok(());
        }
        if offset >= self.source.len() {
            return self.report.broken("past-end", &|| {
                broken(L2_ENTRY, at, entry, "the file ends before it")
            });
        }
        self.counts
            .mark_times(offset, self.disk.cluster_size(), self.uses);
        if active {
            self.flag(L2_ENTRY, at, entry, offset);
        }
        Ok(())
    }

    fn compressed(&mut self, at: u64, entry: u64, stored: Compressed) -> Result<()> {
        if entry & l2::COPIED != 0 {
            self.report.broken("copied-flag", &|| {
                broken(
                    L2_ENTRY,
                    at,
                    entry,
                    "a compressed cluster is marked as used once",
                )
            })?;
        }
        let (offset, len) = (stored.at.0, stored.len);
        // Writers count whole sectors and do not fill up the last one.
        let whole = self.source.len().next_multiple_of(SECTOR);
        if offset >= self.source.len() || offset.saturating_add(len) > whole {
            self.report.broken("past-end", &|| {
                let ends = "the file ends before the end of the compressed cluster";
                broken(L2_ENTRY, at, entry, ends)
            })?;
        }
        self.counts.mark_times(offset, len, self.uses);
        Ok(())
    }

    /// Compares the flag for a count of one with the file's count of what the entry refers to, at
    /// `offset`.
    fn flag(&mut self, structure: &'static str, at: u64, entry: u64, offset: u64) {
        let flagged = entry & l1::COPIED != 0;
        let Some(stored) = self.counts.stored(offset) else {
            return;
        };
        if flagged != (stored == 1) {
            let flag = if flagged { "" } else { "not " };
            self.report.error(
                "copied-flag",
                structure,
                at,
                format_args!(
                    "found {entry:#018x}: it is {flag}marked as used once, \
                     and the file counts {stored}"
                ),
            );
        }
    }
}

/// Each of `entries` with its place; the first one is at `first`.
pub(super) fn places<T>(first: u64, entries: &[T]) -> impl Iterator<Item = (u64, &T)> {
    (first..).step_by(size_of::<T>()).zip(entries)
}
