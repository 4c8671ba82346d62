//! The grain directory of a sparse extent: where its tables are. Held in memory, checked.

use std::ops::Range;

use zerocopy::IntoBytes;
use zerocopy::little_endian::{U32, U64};

use super::entries::Form;
use super::layout::SE_TABLE;
use super::shape::{Place, Shape};
use crate::chain::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::MAX_VMDK_TABLES;
use crate::report::Report;
use crate::source::ReadAt;
use crate::stored::StoredMap;
use crate::units::{FileOffset, SECTOR, fits};

pub(super) const DIRECTORY: &str = "grain directory";
pub(super) const COPY: &str = "copy of the grain directory";

/// Entries of a seSparse directory that are read at once.
const PIECE: usize = 1 << 15;
/// Directory entries that are looked at in a step.
const ENTRIES_PER_STEP: u64 = 16;

/// A sparse extent: its sizes, and where its tables are.
pub(super) struct Sparse {
    pub(super) shape: Shape,
    /// For each table its sector, or of seSparse its number and 1; 0: there is none.
    directory: Vec<U32>,
    /// The same of the copy; empty when there is none.
    copy: Vec<U32>,
    /// What is in [`Self::directory`], in order.
    tables: Vec<u32>,
    pub(super) file_len: u64,
}

impl Sparse {
    /// Reads the directory that `shape` describes, and its copy, of a file with room for
    /// `se_tables` tables when that is counted. `left` is how many tables the disk may have.
    ///
    /// # Errors
    /// Those of `report` and of reading.
    pub(super) fn load(
        source: &dyn ReadAt,
        mut shape: Shape,
        se_tables: u64,
        left: &mut u64,
        context: &Context,
        report: &mut dyn Report,
    ) -> Result<Option<Self>> {
        let count = shape.tables();
        let at = shape.directory.0.unwrap_or(u64::MAX);
        if count > *left {
            report.broken("limit", &|| {
                Error::new(
                    ErrorKind::Limit,
                    format!("the disk has more than {MAX_VMDK_TABLES} grain tables"),
                )
                .at(DIRECTORY, at)
            })?;
            return Ok(None);
        }
        *left -= count;
        let Some(place) = locate(shape.directory, &shape, source.len(), DIRECTORY, report)? else {
            return Ok(None);
        };
        shape.reserved.push(("the grain directory", place.clone()));
        let copy = match shape.copy {
            Some(copy) => locate(copy, &shape, source.len(), COPY, report)?,
            None => None,
        };
        shape.reserved.extend(
            copy.clone()
                .map(|copy| ("the copy of the grain directory", copy)),
        );
        let kept = count * size_of::<U32>() as u64;
        // Each table is in the directory, and in the list of tables in order.
        context.keep(
            DIRECTORY,
            place.start,
            (2 + u64::from(copy.is_some())) * kept,
        )?;
        let mut found = Self {
            directory: Vec::new(),
            copy: Vec::new(),
            tables: Vec::new(),
            file_len: source.len(),
            shape,
        };
        found.directory = found.read(source, &place, se_tables, report)?;
        found.check_places(&place, DIRECTORY, report)?;
        if let Some(copy) = copy {
            let mut whole = std::mem::take(&mut found.directory);
            found.directory = found.read(source, &copy, se_tables, report)?;
            found.check_places(&copy, COPY, report)?;
            std::mem::swap(&mut whole, &mut found.directory);
            found.copy = whole;
        }
        found.sort(&place, report)?;
        Ok(Some(found))
    }

    /// The entries at `place`.
    fn read(
        &self,
        source: &dyn ReadAt,
        place: &Range<u64>,
        se_tables: u64,
        report: &mut dyn Report,
    ) -> Result<Vec<U32>> {
        let count = usize::try_from(self.shape.tables()).unwrap_or_default();
        if self.shape.form.entry_size() == size_of::<U32>() as u64 {
            let mut entries = vec![U32::ZERO; count];
            source.read_exact_at(FileOffset(place.start), entries.as_mut_bytes())?;
            return Ok(entries);
        }
        let mut entries = Vec::with_capacity(count);
        let mut piece = vec![U64::ZERO; count.min(PIECE)];
        let mut at = place.start;
        while entries.len() < count {
            let len = (count - entries.len()).min(PIECE);
            let piece = piece.get_mut(..len).unwrap_or_default();
            source.read_exact_at(FileOffset(at), piece.as_mut_bytes())?;
            for entry in piece {
                entries.push(se_table(entry.get(), se_tables, at, report)?);
                at += size_of::<U64>() as u64;
            }
        }
        Ok(entries)
    }

    /// Checks that each table of `self.directory`, which was read at `place`, lies in the file and
    /// on nothing in front. Those that do not are left out from here on.
    fn check_places(
        &mut self,
        place: &Range<u64>,
        structure: &'static str,
        report: &mut dyn Report,
    ) -> Result<()> {
        let (len, size) = (self.shape.table_len(), self.shape.form.entry_size());
        let mut wrong = Vec::new();
        for (index, entry) in self.directory.iter().enumerate() {
            let Some(table) = self.table_at(*entry) else {
                continue;
            };
            let at = place.start + index as u64 * size;
            if !fits(table, len, self.file_len) {
                report.broken("past-end", &|| {
                    Error::truncated(
                        structure,
                        at,
                        format!(
                            "grain table {index} at {table:#x} lies past the end of the file at \
                             {:#x}",
                            self.file_len
                        ),
                    )
                })?;
                wrong.push(index);
            } else if let Some(other) = self.in_front(&(table..table + len)) {
                report.broken("overlap", &|| {
                    Error::corrupt(
                        structure,
                        at,
                        format!("grain table {index} at {table:#x} overlaps {other}"),
                    )
                })?;
                wrong.push(index);
            }
        }
        for index in wrong {
            if let Some(entry) = self.directory.get_mut(index) {
                *entry = U32::ZERO;
            }
        }
        Ok(())
    }

    /// Puts the tables in order, and checks that they lie apart: else a small file could make a
    /// disk of any size.
    fn sort(&mut self, place: &Range<u64>, report: &mut dyn Report) -> Result<()> {
        let stored = || self.directory.iter().filter(|entry| entry.get() != 0);
        let mut tables = Vec::with_capacity(stored().count());
        tables.extend(stored().map(|entry| entry.get()));
        tables.sort_unstable();
        let apart = match self.shape.form {
            Form::SeSparse { .. } => 1,
            _ => self.shape.table_len() / SECTOR,
        };
        for pair in tables.windows(2) {
            if let [first, second] = *pair
                && u64::from(second - first) < apart
            {
                let at = self.table_at(U32::new(second)).unwrap_or_default();
                report.broken("overlap", &|| {
                    Error::corrupt(
                        DIRECTORY,
                        place.start,
                        match first == second {
                            true => format!("the grain table at {at:#x} is used twice"),
                            false => format!("the grain table at {at:#x} overlaps another one"),
                        },
                    )
                })?;
            }
        }
        self.tables = tables;
        Ok(())
    }

    /// Where the table of a directory entry is.
    fn table_at(&self, entry: U32) -> Option<u64> {
        let entry = u64::from(entry.get());
        match self.shape.form {
            _ if entry == 0 => None,
            // The number of a table of seSparse was held against its room in the file.
            Form::SeSparse { tables, .. } => {
                Some(tables.saturating_add((entry - 1) * self.shape.table_len()))
            }
            _ => Some(entry * SECTOR),
        }
    }

    /// Number of tables, there or not.
    pub(super) fn count(&self) -> usize {
        self.directory.len()
    }

    /// Number of tables that are stored.
    pub(super) fn stored_tables(&self) -> u64 {
        self.tables.len() as u64 * (1 + u64::from(self.has_copy()))
    }

    /// Where table `index` is.
    pub(super) fn table(&self, index: usize) -> Option<u64> {
        self.table_at(*self.directory.get(index)?)
    }

    /// Where the copy of table `index` is.
    pub(super) fn copy(&self, index: usize) -> Option<u64> {
        self.table_at(*self.copy.get(index)?)
    }

    /// Whether there are copies.
    pub(super) fn has_copy(&self) -> bool {
        !self.copy.is_empty()
    }

    /// What in front of the grains lies in `range`.
    fn in_front(&self, range: &Range<u64>) -> Option<&'static str> {
        let overlaps = |other: &Range<u64>| range.start < other.end && other.start < range.end;
        self.shape
            .reserved
            .iter()
            .find(|(_, other)| overlaps(other))
            .map(|(name, _)| *name)
    }

    /// What else lies in `range`, where a grain should be.
    pub(super) fn in_the_way(&self, range: &Range<u64>) -> Option<&'static str> {
        let end = |entry: &u32| self.table_at(U32::new(*entry)).unwrap_or_default();
        // The last table that begins before the range's end.
        let behind = self.tables.partition_point(|entry| end(entry) < range.end);
        let table = behind.checked_sub(1).and_then(|last| self.tables.get(last));
        match table {
            Some(table) if end(table).saturating_add(self.shape.table_len()) > range.start => {
                Some("a grain table")
            }
            _ => self.in_front(range),
        }
    }

    /// Bytes of the directories.
    pub(super) fn memory(&self) -> u64 {
        (self.directory.len() + self.copy.len() + self.tables.len()) as u64
            * size_of::<U32>() as u64
    }

    /// Number of tables from `index` on that map nothing: they are not there, or lie in a hole of
    /// the file, whose bytes begin at `base` of what `stored` knows. One look at each, whatever a
    /// table covers; `most` is how many are looked at. Returns the steps as well.
    pub(super) fn unmapped(
        &self,
        index: usize,
        most: u64,
        base: u64,
        stored: &StoredMap,
    ) -> Result<(u64, u64)> {
        let len = self.shape.table_len();
        let mut hole = 0..0;
        let mut is_empty = |table: Option<u64>| {
            let Some(start) = table.map(|table| base.saturating_add(table)) else {
                return Ok(true);
            };
            if !hole.contains(&start) {
                hole = start..stored.hole(start)?.unwrap_or(start);
            }
            Ok::<_, Error>(start.saturating_add(len) <= hole.end)
        };
        let mut found = 0;
        for at in index..self.count() {
            if found >= most || !(is_empty(self.table(at))? && is_empty(self.copy(at))?) {
                break;
            }
            found += 1;
        }
        Ok((found, found / ENTRIES_PER_STEP))
    }
}

/// An entry of a seSparse directory, as [`Sparse`] keeps it: the number of a table and 1.
fn se_table(entry: u64, room: u64, at: u64, report: &mut dyn Report) -> Result<U32> {
    let (kind, number) = (entry >> 32, entry & u64::from(u32::MAX));
    let kept = u32::try_from(number + 1).ok().filter(|_| number < room);
    match (entry, kept) {
        (0, _) => Ok(U32::ZERO),
        (_, Some(kept)) if kind == SE_TABLE => Ok(U32::new(kept)),
        _ => {
            report.broken("directory-entry", &|| {
                Error::corrupt(
                    DIRECTORY,
                    at,
                    format!("found {entry:#018x}, expected one of the {room} grain tables"),
                )
            })?;
            Ok(U32::ZERO)
        }
    }
}

/// Where the directory that begins at `start` is, if that is in the file of `file_len` bytes.
fn locate(
    start: Place,
    shape: &Shape,
    file_len: u64,
    structure: &'static str,
    report: &mut dyn Report,
) -> Result<Option<Range<u64>>> {
    let len = shape.tables() * shape.form.entry_size();
    let start = start.0.unwrap_or(u64::MAX);
    if !fits(start, len, file_len) {
        report.broken("past-end", &|| {
            Error::truncated(
                structure,
                start,
                format!("expected {len} bytes here, the file ends at {file_len:#x}"),
            )
        })?;
        return Ok(None);
    }
    let place = start..start + len;
    for (name, other) in &shape.reserved {
        if place.start < other.end && other.start < place.end {
            report.broken("overlap", &|| {
                Error::corrupt(structure, start, format!("it overlaps {name}"))
            })?;
            return Ok(None);
        }
    }
    Ok(Some(place))
}
