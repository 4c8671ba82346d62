//! Checking a VMDK: the structures are the reader's, which reports into the check. What only a
//! check looks at is here: every table, its copy, and the marker of every grain.

use std::fmt::Write as _;
use std::sync::Arc;

use super::descriptor::DESCRIPTOR;
use super::directory::Sparse;
use super::disk::Disk;
use super::entries::Grain;
use super::parts::{Content, Part, Parts};
use super::tables::{TABLE, Table, differs};
use crate::chain::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::MAX_CHECKED_CLUSTERS;
use crate::report::CheckReport;
use crate::source::ReadAt;
use crate::stored::StoredMap;
use crate::units::{FileOffset, SECTOR};

const GRAIN: &str = "grain";

/// Checks `source`, and the files beside it that need no permission.
///
/// # Errors
/// Those of the device. Broken rules are in `report`.
pub(super) fn check(
    source: &Arc<dyn ReadAt>,
    report: &mut CheckReport,
    cancelled: &dyn Fn() -> bool,
) -> Result<()> {
    let context = Context::describing(source.as_ref());
    let found = Disk::read(source.as_ref(), report).and_then(|disk| match disk {
        Some(mut disk) => {
            for warning in &disk.descriptor.warnings {
                report.warning("line", DESCRIPTOR, 0, warning);
            }
            disk.parts(source, &context, report)
        }
        None => Ok(None),
    });
    let parts = match found {
        Ok(Some(parts)) => parts,
        Ok(None) => return Ok(()),
        Err(error) => return report.refused(error),
    };
    let holes = StoredMap::new(&parts.data, &context);
    for (_, part, sparse) in parts.sparse() {
        let mut grains = Grains {
            part,
            sparse,
            places: Vec::new(),
            report,
            cancelled,
        };
        if !grains.check(&holes)? {
            report.cancelled = true;
            return Ok(());
        }
    }
    not_opened(&parts, report);
    Ok(())
}

/// Notes which files were not examined.
fn not_opened(parts: &Parts, report: &mut CheckReport) {
    let elsewhere = |part: &&Part| matches!(part.content, Content::Elsewhere);
    let count = parts.list.iter().filter(elsewhere).count();
    if count > 0 {
        report.skipped.push(format!(
            "{count} of {} extents are in files that were not opened, and were not examined",
            parts.list.len()
        ));
    }
}

/// The grains of a sparse extent.
struct Grains<'a> {
    part: &'a Part,
    sparse: &'a Sparse,
    /// Where they are, in units of their own.
    places: Vec<u32>,
    report: &'a mut CheckReport,
    cancelled: &'a dyn Fn() -> bool,
}

impl Grains<'_> {
    /// Checks all tables; `false` when that was cancelled.
    fn check(&mut self, holes: &StoredMap) -> Result<bool> {
        let mut index = 0;
        while index < self.sparse.count() {
            if (self.cancelled)() {
                return Ok(false);
            }
            let most = (self.sparse.count() - index) as u64;
            let (empty, _) = self.sparse.unmapped(index, most, self.part.base, holes)?;
            if empty > 0 {
                index += usize::try_from(empty).unwrap_or(usize::MAX);
                continue;
            }
            self.table(index)?;
            index += 1;
        }
        self.apart();
        Ok(true)
    }

    fn table(&mut self, index: usize) -> Result<()> {
        let source = self.part.source.as_ref();
        let table = Table::read_both(self.sparse, source, index)?;
        if table.differs.is_some() {
            self.copy(index, &table)?;
        }
        for (entry, at) in self.entries(index) {
            match self.part.grain(&table, entry, at) {
                Ok(Grain::Below | Grain::Zeros) => {}
                Ok(Grain::Stored(offset)) => self.note(offset),
                Ok(Grain::Packed(offset)) => {
                    self.note(offset);
                    self.marker(offset, at)?;
                }
                Err(error) => {
                    let rule = match error.kind() {
                        ErrorKind::Truncated => "past-end",
                        _ => "entry",
                    };
                    self.broken(rule, &error);
                }
            }
        }
        Ok(())
    }

    /// The entries of table `index`, and where their grains begin in the extent.
    fn entries(&self, index: usize) -> impl Iterator<Item = (usize, u64)> + use<> {
        let (shape, len) = (&self.sparse.shape, self.part.len);
        let (grain_bits, start) = (shape.grain_bits, (index as u64) << shape.coverage_bits());
        let entries = (0..1_usize << shape.table_bits)
            .map(move |entry| (entry, start + ((entry as u64) << grain_bits)));
        entries.take_while(move |(_, at)| *at < len)
    }

    /// Reports how the copy of table `index`, which is `table`, differs from it; checks the grains
    /// that it alone has.
    fn copy(&mut self, index: usize, table: &Table) -> Result<()> {
        let source = self.part.source.as_ref();
        let copy = Table::read(self.sparse, source, self.sparse.copy(index))?;
        let (mut differing, mut alone, mut first) = (0_u64, 0_u64, None);
        for (entry, at) in self.entries(index) {
            if table.entry(entry) == copy.entry(entry) {
                continue;
            }
            differing += 1;
            let is_below = matches!(self.part.grain(table, entry, at), Ok(Grain::Below));
            match self.part.grain(&copy, entry, at) {
                Ok(Grain::Stored(offset) | Grain::Packed(offset)) if is_below => {
                    alone += 1;
                    first.get_or_insert(at / SECTOR);
                    self.note(offset);
                }
                Ok(_) => {}
                Err(error) => self.broken("copy", &error),
            }
        }
        let error = differs(self.sparse, index);
        let mut message = format!("{}; entries that differ: {differing}", error.message());
        if let Some(first) = first {
            let _ = write!(
                message,
                "; grains that the copy alone has: {alone}, the first of sector {first}"
            );
        }
        let place = error.offset().unwrap_or_default();
        self.broken("copy", &Error::corrupt(TABLE, place, message));
        Ok(())
    }

    /// Checks the marker of the grain at `offset`, whose content begins at `at` of the extent.
    fn marker(&mut self, offset: u64, at: u64) -> Result<()> {
        let mut marker = [0; 12];
        self.part
            .source
            .read_exact_at(FileOffset(offset), &mut marker)?;
        let [lba @ .., a, b, c, d] = marker;
        let (lba, len) = (u64::from_le_bytes(lba), u32::from_le_bytes([a, b, c, d]));
        let end = offset + marker.len() as u64 + u64::from(len);
        let most = self.most_packed();
        let problem = if lba != at / SECTOR {
            format!(
                "its marker has the LBA {lba}, the grain table leads to it for {}",
                at / SECTOR
            )
        } else if len == 0 || u64::from(len) > most || end > self.sparse.file_len {
            format!("its marker gives it {len} bytes, expected 1 to {most}, inside the file")
        } else {
            return Ok(());
        };
        self.broken("marker", &Error::corrupt(GRAIN, offset, problem));
        Ok(())
    }

    fn note(&mut self, offset: u64) {
        let most = usize::try_from(MAX_CHECKED_CLUSTERS).unwrap_or(usize::MAX);
        if let Ok(place) = u32::try_from(offset / SECTOR)
            && self.places.len() < most
        {
            self.places.push(place);
        } else if self.report.skipped.is_empty() {
            self.report.skipped.push(format!(
                "whether grains are apart was examined for the first {} of them",
                self.places.len()
            ));
        }
    }

    /// Most bytes that the stream of a compressed grain has: as many as are read of it.
    fn most_packed(&self) -> u64 {
        2 * self.sparse.shape.grain_size() + SECTOR
    }

    /// Checks that no two entries have the same grain, nor grains that overlap.
    fn apart(&mut self) {
        let mut places = std::mem::take(&mut self.places);
        places.sort_unstable();
        // How long a compressed grain is says its marker.
        let sectors = match self.part.packing {
            Some(_) => 1,
            None => self.sparse.shape.grain_size() / SECTOR,
        };
        for pair in places.windows(2) {
            let [first, second] = pair else { continue };
            let apart = u64::from(second - first);
            if apart >= sectors {
                continue;
            }
            let offset = u64::from(*second) * SECTOR;
            let message = match apart {
                0 => "more than one entry of the grain tables leads to it".to_owned(),
                _ => format!("it begins {apart} sectors behind another grain, expected {sectors}"),
            };
            self.broken("overlap", &Error::corrupt(GRAIN, offset, message));
        }
    }

    fn broken(&mut self, rule: &'static str, error: &Error) {
        let structure = error.structure().unwrap_or(GRAIN);
        let offset = error.offset().unwrap_or_default();
        match self.part.file_name() {
            Some(name) => self.report.error(
                rule,
                structure,
                offset,
                format_args!("{name}: {}", error.message()),
            ),
            None => self.report.error(rule, structure, offset, error.message()),
        }
    }
}
