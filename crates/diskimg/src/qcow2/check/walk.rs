//! L1 and L2 tables: every entry is held against the rules, and what it refers to is counted.

use std::mem::take;

use zerocopy::IntoBytes;

use super::refcounts::Refcounts;
use super::{Base, pieces, placed};
use crate::error::Result;
use crate::limits::{MAX_CHECKED_TABLE_BYTES, MAX_L1_BYTES};
use crate::qcow2::layout::{ENTRY_SIZE, incompatible, l1, l2};
use crate::report::CheckReport;
use crate::source::ReadAt;
use crate::stored::StoredMap;
use crate::units::{FileOffset, SECTOR};

const L1_ENTRY: &str = "L1 entry";
const L2_ENTRY: &str = "L2 entry";

/// Walks tables and counts what they refer to.
pub(super) struct Walker<'a> {
    pub(super) source: &'a dyn ReadAt,
    holes: &'a StoredMap,
    pub(super) base: &'a Base,
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
        base: &'a Base,
        counts: &'a mut Refcounts,
        report: &'a mut CheckReport,
        cancelled: &'a dyn Fn() -> bool,
    ) -> Self {
        let clusters = counts.clusters();
        Self {
            source,
            holes,
            base,
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

    /// Whether to go on reading `len` bytes of tables.
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
                "the tables have more than {MAX_CHECKED_TABLE_BYTES} bytes; the rest was not looked at, and uses of clusters were not compared"
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
        mut each: impl FnMut(&mut Self, u64, &[u64]),
    ) -> Result<bool> {
        let mut rest = offset..offset + len;
        while let Some(piece) = pieces::first_stored(self.holes, rest.clone())? {
            let len = piece.end - piece.start;
            if !self.spend(len) {
                return Ok(false);
            }
            let numbers = self.numbers(piece.start, len)?;
            each(self, piece.start, &numbers);
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

    /// Walks the L1 table of `entries` entries at `offset`; its L2 tables wait for
    /// [`Self::l2_tables`]. The flags for counts of one are right in the active table only.
    pub(super) fn table(
        &mut self,
        structure: &'static str,
        offset: u64,
        entries: u64,
        active: bool,
    ) -> Result<()> {
        let len = entries.saturating_mul(ENTRY_SIZE);
        if len > MAX_L1_BYTES {
            self.complete = false;
            self.report.error(
                "limit",
                structure,
                offset,
                format_args!("it is {len} bytes long, at most {MAX_L1_BYTES} are read"),
            );
            return Ok(());
        }
        if active {
            self.check_coverage(entries);
        }
        if entries == 0 {
            return Ok(());
        }
        if !placed(
            self.source,
            self.base,
            self.report,
            structure,
            (offset, len),
        ) {
            self.complete = false;
            return Ok(());
        }
        if !self.claim(structure, offset, len) && !active {
            self.complete = false;
            return Ok(());
        }
        self.entries(offset, len, |walker, first, entries| {
            for (at, entry) in places(first, entries) {
                if *entry != 0 {
                    walker.l1_entry(at, *entry, active);
                }
            }
        })?;
        Ok(())
    }

    /// Walks every L2 table that was found, each once, however many snapshots share it.
    pub(super) fn l2_tables(&mut self) -> Result<()> {
        let (found, active) = (take(&mut self.found), take(&mut self.active));
        let tables = (0_u64..).zip(&found);
        for (cluster, uses) in tables.filter(|(_, uses)| **uses != 0) {
            let offset = cluster * self.base.cluster_size;
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
        let extended = self.extended();
        self.entries(offset, self.base.cluster_size, |walker, first, entries| {
            if extended {
                for (at, [entry, bitmap]) in places(first, entries.as_chunks::<2>().0) {
                    walker.subclusters(at, *entry, *bitmap);
                    walker.l2_entry(at, *entry, active);
                }
            } else {
                for (at, entry) in places(first, entries) {
                    walker.l2_entry(at, *entry, active);
                }
            }
        })
    }

    /// Holds the number of L1 entries against the disk's size.
    fn check_coverage(&mut self, entries: u64) {
        let per_table = self.base.cluster_size / self.entry_len();
        let needed = self.base.size.div_ceil(self.base.cluster_size * per_table);
        if entries < needed {
            self.report.error(
                "l1-size",
                "L1 table",
                self.base.l1_offset,
                format_args!(
                    "found {entries} entries, a disk of {} bytes needs {needed}",
                    self.base.size
                ),
            );
        }
    }

    /// Length of an L2 entry in bytes.
    fn entry_len(&self) -> u64 {
        if self.extended() {
            2 * ENTRY_SIZE
        } else {
            ENTRY_SIZE
        }
    }

    fn extended(&self) -> bool {
        self.base.incompatible & incompatible::EXTENDED_L2 != 0
    }

    fn l1_entry(&mut self, at: u64, entry: u64, active: bool) {
        let offset = entry & l1::OFFSET;
        if entry & l1::RESERVED != 0 {
            self.broken("reserved", L1_ENTRY, at, entry, "reserved bits are set");
        }
        if offset == 0 {
            self.flag(L1_ENTRY, at, entry, None);
            return;
        }
        let table = (offset, self.base.cluster_size);
        if !placed(self.source, self.base, self.report, "L2 table", table) {
            return;
        }
        self.counts.mark(offset, self.base.cluster_size);
        if active {
            self.flag(L1_ENTRY, at, entry, Some(offset));
        }
        // It lies in the file, whose clusters are counted.
        let cluster = usize::try_from(offset / self.base.cluster_size).unwrap_or(usize::MAX);
        if let Some(uses) = self.found.get_mut(cluster) {
            *uses = uses.saturating_add(1);
        }
        let mut again = false;
        if active && let Some(word) = self.active.get_mut(cluster / 64) {
            let bit = 1 << (cluster % 64);
            again = *word & bit != 0;
            *word |= bit;
        }
        if again {
            self.broken(
                "overlap",
                L1_ENTRY,
                at,
                entry,
                "another entry has the same L2 table",
            );
        }
    }

    fn l2_entry(&mut self, at: u64, entry: u64, active: bool) {
        if entry == 0 {
            return;
        }
        if entry & l2::COMPRESSED != 0 {
            self.compressed(at, entry);
            return;
        }
        let no_zero_flag = self.base.version == 2 || self.extended();
        let reserved = l2::RESERVED | if no_zero_flag { l2::ZERO } else { 0 };
        if entry & reserved != 0 {
            self.broken("reserved", L2_ENTRY, at, entry, "reserved bits are set");
        }
        let offset = entry & l2::OFFSET;
        let external = self.base.incompatible & incompatible::EXTERNAL_DATA != 0;
        if external {
            // What it refers to is in the other file.
            return;
        }
        if offset == 0 {
            self.flag(L2_ENTRY, at, entry, None);
            return;
        }
        if !offset.is_multiple_of(self.base.cluster_size) {
            self.broken(
                "alignment",
                L2_ENTRY,
                at,
                entry,
                "its offset is no multiple of the cluster size",
            );
            return;
        }
        if offset >= self.source.len() {
            self.broken("past-end", L2_ENTRY, at, entry, "the file ends before it");
            return;
        }
        self.counts
            .mark_times(offset, self.base.cluster_size, self.uses);
        if active {
            self.flag(L2_ENTRY, at, entry, Some(offset));
        }
    }

    /// Bits 0 to x-1 are the offset, bits x to 61 the number of sectors beyond the first one, where
    /// x = 62 - (`cluster_bits` - 8).
    fn compressed(&mut self, at: u64, entry: u64) {
        let bits = 70 - self.base.cluster_size.trailing_zeros();
        let offset = entry & ((1 << bits) - 1);
        let sectors = (entry & !(l2::COPIED | l2::COMPRESSED)) >> bits;
        let len = (sectors + 1) * SECTOR - offset % SECTOR;
        if entry & l2::COPIED != 0 {
            self.broken(
                "copied-flag",
                L2_ENTRY,
                at,
                entry,
                "a compressed cluster is marked as used once",
            );
        }
        // Writers count whole sectors and do not fill up the last one.
        let whole = self.source.len().next_multiple_of(SECTOR);
        if offset >= self.source.len() || offset.saturating_add(len) > whole {
            self.broken(
                "past-end",
                L2_ENTRY,
                at,
                entry,
                "the file ends before the end of the compressed cluster",
            );
        }
        self.counts.mark_times(offset, len, self.uses);
    }

    fn subclusters(&mut self, at: u64, entry: u64, bitmap: u64) {
        let (allocated, zero) = (bitmap & l2::SUBCLUSTERS, bitmap >> 32);
        let broken = if entry & l2::COMPRESSED != 0 {
            (bitmap != 0).then_some("a compressed cluster has subclusters")
        } else if allocated & zero != 0 {
            Some("subclusters are both allocated and zero")
        } else if allocated != 0 && entry & l2::OFFSET == 0 {
            Some("subclusters are allocated, but the cluster has no offset")
        } else {
            None
        };
        if let Some(broken) = broken {
            self.report.error(
                "subclusters",
                L2_ENTRY,
                at,
                format_args!("found {entry:#018x} and {bitmap:#018x}: {broken}"),
            );
        }
    }

    /// Holds the flag for a count of one against the file's count of what the entry refers to.
    fn flag(&mut self, structure: &'static str, at: u64, entry: u64, target: Option<u64>) {
        let flagged = entry & l1::COPIED != 0;
        let Some(offset) = target else {
            if flagged {
                self.broken(
                    "copied-flag",
                    structure,
                    at,
                    entry,
                    "it is marked as used once, but has no offset",
                );
            }
            return;
        };
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
                    "found {entry:#018x}: it is {flag}marked as used once, and the file counts {stored}"
                ),
            );
        }
    }

    fn broken(
        &mut self,
        rule: &'static str,
        structure: &'static str,
        at: u64,
        entry: u64,
        broken: &str,
    ) {
        self.report.error(
            rule,
            structure,
            at,
            format_args!("found {entry:#018x}: {broken}"),
        );
    }
}

/// Each of `entries` with its place; the first one is at `first`.
pub(super) fn places<T>(first: u64, entries: &[T]) -> impl Iterator<Item = (u64, &T)> {
    (first..).step_by(size_of::<T>()).zip(entries)
}
