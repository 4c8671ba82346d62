//! Walks the guest's address range and says, run by run, where its bytes are.

use super::entries::Grain;
use super::parts::{Content, Part, Parts};
use super::tables::{Table, Tables, differs};
use crate::error::{Error, Result};
use crate::layer::Place;
use crate::stored::StoredMap;
use crate::units::{FileOffset, SECTOR, fits};
use crate::unpack::{Compressed, Frame};

const ENTRY: &str = "grain table entry";

/// Bytes of a grain's marker.
const MARKER: u64 = 12;

/// Where the bytes of a run are when they are not stored as they are: inside a compressed grain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packed {
    /// Number of the extent.
    pub(super) part: usize,
    pub(super) stored: Compressed,
    pub(super) frame: Frame,
    /// Bytes of its content that come before them.
    pub(super) skip: u64,
}

type Run = crate::layer::Run<Packed>;

/// Iterator over the runs of a guest range, in order and without gaps. Every step goes at least one
/// byte on or fails, and a failed walk is over: so it ends, whatever the tables say.
pub(super) struct Walk<'a> {
    parts: &'a Parts,
    tables: &'a Tables,
    holes: &'a StoredMap,
    at: u64,
    end: u64,
    /// The table that was used last, with the numbers of its extent and its own.
    held: Option<(usize, usize, Table)>,
}

impl<'a> Walk<'a> {
    /// Walks from `at` to `end`, both inside the disk.
    pub(super) fn new(
        parts: &'a Parts,
        tables: &'a Tables,
        holes: &'a StoredMap,
        at: u64,
        end: u64,
    ) -> Self {
        Self {
            parts,
            tables,
            holes,
            at,
            end,
            held: None,
        }
    }

    /// The run at `self.at`, which is before `self.end`.
    fn step(&mut self) -> Result<Run> {
        let start = self.at;
        let (index, part) = self.parts.at(start)?;
        let within = start - part.start;
        let wanted = (self.end - start).min(part.len - within);
        let (len, place) = match &part.content {
            Content::Zeros => (wanted, Place::Zeros),
            Content::Elsewhere => (wanted, Place::Elsewhere),
            Content::Flat { offset } => (
                wanted,
                Place::Stored(FileOffset(part.base + offset + within)),
            ),
            Content::Sparse(_) => self.grains(index, part, within, wanted)?,
        };
        Ok(Run { start, len, place })
    }

    /// What lies `within` bytes into `part`, which is sparse, and for how many bytes.
    fn grains(
        &mut self,
        index: usize,
        part: &Part,
        within: u64,
        wanted: u64,
    ) -> Result<(u64, Place<Packed>)> {
        let Content::Sparse(sparse) = &part.content else {
            return Ok((wanted, Place::Below));
        };
        let shape = &sparse.shape;
        let coverage = shape.coverage_bits();
        let number = to_index(within >> coverage);
        let table = match self.held.take() {
            Some(held) if (held.0, held.1) == (index, number) => held.2,
            _ => {
                let most = ((within + wanted - 1) >> coverage) - (within >> coverage) + 1;
                let (empty, steps) = sparse.unmapped(number, most, part.base, self.holes)?;
                self.tables.take(steps);
                if empty > 0 {
                    let end = ((within >> coverage) + empty) << coverage;
                    return Ok(((end - within).min(wanted), Place::Below));
                }
                let table = self
                    .tables
                    .get(index, sparse, part.source.as_ref(), number)
                    .map_err(|error| part.name(error))?;
                part.refuse_differing(&table, number)?;
                table
            }
        };
        let grain_size = shape.grain_size();
        let first = to_index((within >> shape.grain_bits) & ((1 << shape.table_bits) - 1));
        let skip = within & (grain_size - 1);
        let grain = part.grain(&table, first, within - skip)?;
        let mut len = grain_size - skip;
        let mut next = first + 1;
        // An entry that is broken ends the run; it is reported when the walk gets there.
        while len < wanted
            && let Ok(Some(entry)) = part.grain_if_there(&table, next, within + len)
            && follows(grain, entry, skip + len)
        {
            len += grain_size;
            next += 1;
        }
        let place = match grain {
            Grain::Below => Place::Below,
            Grain::Zeros => Place::Zeros,
            Grain::Stored(offset) => Place::Stored(FileOffset(part.base + offset + skip)),
            Grain::Packed(offset) => {
                let start = within - skip;
                Place::Packed(Packed {
                    part: index,
                    stored: Compressed {
                        at: FileOffset(offset),
                        len: room(&table, first, offset, grain_size),
                    },
                    frame: Frame {
                        lba: start / SECTOR,
                        least: shape.capacity.saturating_sub(start).min(grain_size),
                    },
                    skip,
                })
            }
        };
        self.held = Some((index, number, table));
        Ok((len.min(wanted), place))
    }
}

/// Most bytes that the compressed grain of entry `index`, which begins at `offset`, takes: up to
/// the next one, when that lies behind it.
fn room(table: &Table, index: usize, offset: u64, grain_size: u64) -> u64 {
    let most = MARKER + 2 * grain_size + SECTOR;
    let next = (index + 1..)
        .map_while(|next| table.entry(next))
        .find(|entry| *entry > 1);
    match next.and_then(|entry| (entry * SECTOR).checked_sub(offset)) {
        Some(distance) if distance > 0 => distance.min(most),
        _ => most,
    }
}

impl Part {
    /// Refuses `table`, number `number` of the extent, when it is not what its copy is.
    ///
    /// # Errors
    /// What is wrong with the entry that differs, or else that it does.
    fn refuse_differing(&self, table: &Table, number: usize) -> Result<()> {
        let (Content::Sparse(sparse), Some(entry)) = (&self.content, table.differs) else {
            return Ok(());
        };
        let shape = &sparse.shape;
        let start = (number as u64) << shape.coverage_bits();
        self.grain(table, entry, start + ((entry as u64) << shape.grain_bits))?;
        Err(self.name(differs(sparse, number)))
    }

    /// Entry `index` of `table`, whose grain begins `start` bytes into the extent.
    ///
    /// # Errors
    /// `Corrupt` or `Truncated` when the grain cannot be there.
    #[inline]
    pub(super) fn grain(&self, table: &Table, index: usize, start: u64) -> Result<Grain> {
        self.grain_if_there(table, index, start)?
            .ok_or_else(|| self.broken(table, index, "it is past the end of its table".to_owned()))
    }

    /// [`Self::grain`]; `None` when the table has no such entry.
    fn grain_if_there(&self, table: &Table, index: usize, start: u64) -> Result<Option<Grain>> {
        let (Content::Sparse(sparse), Some(entry)) = (&self.content, table.entry(index)) else {
            return Ok(None);
        };
        let grain = sparse
            .shape
            .form
            .grain(entry)
            .map_err(|problem| self.broken(table, index, problem))?;
        let (offset, least) = match grain {
            Grain::Below | Grain::Zeros => return Ok(Some(grain)),
            // What lies behind the end of the disk may be missing.
            Grain::Stored(offset) => {
                let left = self.len.saturating_sub(start);
                (offset, left.min(sparse.shape.grain_size()))
            }
            Grain::Packed(offset) => (offset, MARKER),
        };
        if !fits(offset, least, sparse.file_len) {
            return Err(self.name(Error::truncated(
                ENTRY,
                self.entry_at(table, index),
                format!(
                    "the grain at {offset:#x} lies past the end of the file at {:#x}",
                    sparse.file_len
                ),
            )));
        }
        match sparse.in_the_way(&(offset..offset + least)) {
            None => Ok(Some(grain)),
            Some(other) => Err(self.broken(
                table,
                index,
                format!("the grain at {offset:#x} overlaps {other}"),
            )),
        }
    }

    /// File offset of entry `index`.
    pub(super) fn entry_at(&self, table: &Table, index: usize) -> u64 {
        let size = match &self.content {
            Content::Sparse(sparse) => sparse.shape.form.entry_size(),
            _ => 0,
        };
        table.offset + index as u64 * size
    }

    fn broken(&self, table: &Table, index: usize, problem: String) -> Error {
        self.name(Error::corrupt(ENTRY, self.entry_at(table, index), problem))
    }
}

/// Whether `next`, whose content begins `distance` bytes after that of `first`, continues it.
fn follows(first: Grain, next: Grain, distance: u64) -> bool {
    match (first, next) {
        (Grain::Stored(first), Grain::Stored(next)) => first.checked_add(distance) == Some(next),
        (Grain::Below, Grain::Below) | (Grain::Zeros, Grain::Zeros) => true,
        _ => false,
    }
}

/// An index, which is less than `usize::MAX`.
fn to_index(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
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
