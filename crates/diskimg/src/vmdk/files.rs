//! The files that hold a disk, and which extents use them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::descriptor::DESCRIPTOR;
use super::lines::{Line, Storage};
use crate::error::{Error, Result};
use crate::source::{FileId, ReadAt};
use crate::text::shown;
use crate::units::{MIB, SECTOR};

/// How much longer than its extents a file may be without a word: VMware rounds up.
const MAX_EXCESS: u64 = MIB;

/// The files that are in use, end to end.
#[derive(Default)]
pub(super) struct Files {
    pub(super) list: Vec<Arc<dyn ReadAt>>,
    len: u64,
    used: HashMap<Option<FileId>, Used>,
}

/// A file that is in use.
struct Used {
    /// Where it begins.
    base: u64,
    flat: bool,
    /// Where the last extent in it ends.
    end: u64,
    number: usize,
}

impl Files {
    /// Where `file` begins; it is added the first time. Extents may share a file when all of them
    /// are stored as they are.
    pub(super) fn place(
        &mut self,
        file: &Arc<dyn ReadAt>,
        line: &Line,
        storage: Storage,
    ) -> Result<u64> {
        let flat = matches!(storage, Storage::Flat | Storage::Vmfs);
        let end = line
            .offset
            .saturating_add(line.sectors)
            .saturating_mul(SECTOR);
        if let Some(known) = self.used.get_mut(&file.id()) {
            if !(known.flat && flat) {
                let message = "another extent is in the same file";
                return Err(Error::corrupt(DESCRIPTOR, 0, message));
            }
            known.end = known.end.max(end);
            return Ok(known.base);
        }
        let base = self.len;
        self.len = base.saturating_add(file.len());
        let used = Used {
            base,
            flat,
            end,
            number: self.list.len(),
        };
        self.used.insert(file.id(), used);
        self.list.push(Arc::clone(file));
        Ok(base)
    }

    /// A warning for each file that is much longer than what the disk has of it.
    pub(super) fn excesses(&self) -> Vec<String> {
        let mut found: Vec<_> = self.used.values().filter(|used| used.flat).collect();
        found.sort_unstable_by_key(|used| used.number);
        let files = found
            .into_iter()
            .filter_map(|used| Some((self.list.get(used.number)?, used.end)));
        files
            .filter(|(file, end)| file.len().saturating_sub(*end) > MAX_EXCESS)
            .map(|(file, end)| {
                format!(
                    "{} has {} bytes, and the disk ends at {end:#x} of it",
                    shown(file.path().unwrap_or(Path::new("an extent"))),
                    file.len()
                )
            })
            .collect()
    }
}
