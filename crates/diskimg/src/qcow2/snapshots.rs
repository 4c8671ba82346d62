//! Internal snapshots: earlier disks in the same file, each with an L1 table of its own.
//!
//! The table is read entry by entry and nothing is kept of entries that are not asked for, so that
//! a long table costs time in proportion to its length and no memory.

use std::ops::Range;

use zerocopy::FromBytes;

use super::header::Header;
use super::layout::SnapshotHead;
use super::place::place;
use crate::details::SnapshotInfo;
use crate::error::{Error, ErrorKind, Result};
use crate::hint::CHECK_QCOW2;
use crate::limits::{MAX_LISTED, MAX_SNAPSHOT_EXTRA, MAX_SNAPSHOT_TABLE_BYTES, MAX_SNAPSHOTS};
use crate::report::{Report, first_error};
use crate::source::ReadAt;
use crate::text::printable;
use crate::units::{FileOffset, fits, human, round_up};

const TABLE: &str = "snapshot table";

/// An entry of the table, as it is in the file. Its L1 table is not checked.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    id: Vec<u8>,
    name: Vec<u8>,
    /// File offset of its L1 table.
    pub(super) l1_offset: FileOffset,
    /// Number of entries of its L1 table.
    pub(super) l1_entries: u32,
    created: u64,
    vm_state_bytes: u64,
    /// Size of the disk in bytes, unless it is that of the active disk.
    pub(super) virtual_size: Option<u64>,
}

impl Snapshot {
    /// What the user sees of it.
    pub(super) fn info(&self) -> SnapshotInfo {
        SnapshotInfo {
            id: printable(&String::from_utf8_lossy(&self.id)),
            name: printable(&String::from_utf8_lossy(&self.name)),
            created: self.created,
            vm_state_bytes: self.vm_state_bytes,
            virtual_size: self.virtual_size,
        }
    }
}

/// The first [`MAX_LISTED`] snapshots. The active disk does not need their table: what is wrong
/// with it becomes a warning.
pub(super) fn list(
    source: &dyn ReadAt,
    header: &Header,
    warnings: &mut Vec<String>,
) -> Vec<SnapshotInfo> {
    let mut listed = Vec::new();
    for snapshot in Table::of(source, header).take(MAX_LISTED) {
        match snapshot {
            Ok(snapshot) => listed.push(snapshot.info()),
            Err(error) => {
                warnings.push(format!("not all snapshots can be listed: {error}"));
                return listed;
            }
        }
    }
    if header.snapshot_count as usize > MAX_LISTED {
        warnings.push(format!(
            "{MAX_LISTED} of {} snapshots are listed",
            header.snapshot_count
        ));
    }
    listed
}

/// The snapshot whose id is `wanted`, or else the first whose name is: the order in which QEMU
/// looks.
///
/// # Errors
/// `OutOfRange` when there is none, otherwise the errors of the table.
pub(super) fn find(
    source: &dyn ReadAt,
    header: &Header,
    wanted: &str,
    warnings: &mut Vec<String>,
) -> Result<Snapshot> {
    let mut by_id = None;
    let mut by_name: Option<Snapshot> = None;
    let mut more = 0;
    for snapshot in Table::of(source, header) {
        let snapshot = snapshot?;
        if by_id.is_none() && snapshot.id == wanted.as_bytes() {
            by_id = Some(snapshot);
        } else if by_name.is_none() && snapshot.name == wanted.as_bytes() {
            by_name = Some(snapshot);
        } else if snapshot.name == wanted.as_bytes() {
            more += 1;
        }
    }
    more += usize::from(by_id.is_some() && by_name.is_some());
    let Some(found) = by_id.or(by_name) else {
        return Err(missing(source, header, wanted));
    };
    if more > 0 {
        warnings.push(format!(
            "{more} more snapshots are called {wanted:?}; the one with id {:?} is read",
            found.info().id
        ));
    }
    Ok(found)
}

fn missing(source: &dyn ReadAt, header: &Header, wanted: &str) -> Error {
    const NAMED: usize = 10;
    let error = Error::new(
        ErrorKind::OutOfRange,
        format!("the image has no snapshot {wanted:?}"),
    );
    let mut names: Vec<_> = Table::of(source, header)
        .take(NAMED)
        .filter_map(Result::ok)
        .map(|snapshot| {
            let info = snapshot.info();
            format!("{:?} (id {:?})", info.name, info.id)
        })
        .collect();
    if header.snapshot_count as usize > NAMED {
        names.push("…".to_owned());
    }
    error.with_hint(if names.is_empty() {
        "it has no snapshots at all".to_owned()
    } else {
        format!("it has {}", names.join(", "))
    })
}

/// The table of snapshots, entry by entry. Each step goes at least 40 bytes on inside the file, and
/// the table's length has a cap: so it ends.
pub(super) struct Table<'a> {
    source: &'a dyn ReadAt,
    cluster_bits: u32,
    start: u64,
    /// Where the next entry begins.
    at: u64,
    /// Where the last entry ended, without the padding behind it.
    end: u64,
    count: u32,
    left: u32,
}

impl<'a> Table<'a> {
    /// The table of `count` entries at `start`.
    pub(super) fn new(source: &'a dyn ReadAt, cluster_bits: u32, start: u64, count: u32) -> Self {
        Self {
            source,
            cluster_bits,
            start,
            at: start,
            end: start,
            count,
            left: count,
        }
    }

    fn of(source: &'a dyn ReadAt, header: &Header) -> Self {
        Self::new(
            source,
            header.cluster_bits,
            header.snapshots_offset.0,
            header.snapshot_count,
        )
    }

    /// What it takes of the file, as far as it was read.
    pub(super) fn taken(&self) -> Range<u64> {
        self.start..self.end
    }

    /// Whether there are more entries.
    pub(super) fn has_more(&self) -> bool {
        self.left > 0
    }

    fn check_place(&self, report: &mut impl Report) -> Result<bool> {
        const HEAD: u64 = size_of::<SnapshotHead>() as u64;
        if self.count > MAX_SNAPSHOTS {
            report.broken("limit", &|| {
                let count = self.count;
                self.limit(format!(
                    "it has {count} entries, at most {MAX_SNAPSHOTS} are read"
                ))
            })?;
            return Ok(false);
        }
        place(
            TABLE,
            (self.start, HEAD),
            1 << self.cluster_bits,
            self.source.len(),
            report,
        )
    }

    fn limit(&self, message: String) -> Error {
        Error::new(ErrorKind::Limit, message).at(TABLE, self.start)
    }

    /// `len` bytes of the entry that begins at `entry`, from `at` on; `None` when they are not
    /// there.
    fn read(
        &self,
        entry: u64,
        (at, len): (u64, u64),
        report: &mut impl Report,
    ) -> Result<Option<Vec<u8>>> {
        let file_len = self.source.len();
        if !fits(at, len, self.start.saturating_add(MAX_SNAPSHOT_TABLE_BYTES)) {
            report.broken("limit", &|| {
                self.limit(format!(
                    "it is longer than {}, the most that is read",
                    human(MAX_SNAPSHOT_TABLE_BYTES)
                ))
            })?;
            return Ok(None);
        }
        if !fits(at, len, file_len) {
            report.broken("past-end", &|| {
                Error::truncated(
                    TABLE,
                    entry,
                    format!("expected {len} bytes at {at:#x}, the file ends at {file_len:#x}"),
                )
            })?;
            return Ok(None);
        }
        let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
        self.source.read_exact_at(FileOffset(at), &mut bytes)?;
        Ok(Some(bytes))
    }

    /// The next entry, of which there is one; `None` when it cannot be read, nor what follows it.
    ///
    /// # Errors
    /// Those of reading and of `report`.
    pub(super) fn step(&mut self, report: &mut impl Report) -> Result<Option<Snapshot>> {
        const HEAD: u64 = size_of::<SnapshotHead>() as u64;
        if self.left == self.count && !self.check_place(report)? {
            return Ok(None);
        }
        let entry = self.at;
        let Some(head) = self.read(entry, (entry, HEAD), report)? else {
            return Ok(None);
        };
        let short = || Error::corrupt(TABLE, entry, "its entry is cut off");
        let head = SnapshotHead::read_from_bytes(&head).map_err(|_| short())?;
        let extra_size = head.extra_size.get();
        if extra_size > MAX_SNAPSHOT_EXTRA {
            report.broken("limit", &|| {
                Error::new(
                    ErrorKind::Limit,
                    format!(
                        "an entry has {extra_size} bytes of extra data, \
                         at most {MAX_SNAPSHOT_EXTRA} are read"
                    ),
                )
                .at(TABLE, entry)
                .with_hint(CHECK_QCOW2)
            })?;
            return Ok(None);
        }
        let (id_size, name_size) = (head.id_size.get(), head.name_size.get());
        let rest = u64::from(extra_size) + u64::from(id_size) + u64::from(name_size);
        let Some(bytes) = self.read(entry, (entry + HEAD, rest), report)? else {
            return Ok(None);
        };
        self.end = entry + HEAD + rest;
        self.at = round_up(self.end, 8).ok_or_else(short)?;
        self.left -= 1;
        let (extra, texts) = usize::try_from(extra_size)
            .ok()
            .and_then(|size| bytes.split_at_checked(size))
            .ok_or_else(short)?;
        let (id, name) = texts
            .split_at_checked(usize::from(id_size))
            .ok_or_else(short)?;
        let (fields, _) = extra.as_chunks::<8>();
        let field = |index: usize| fields.get(index).map(|bytes| u64::from_be_bytes(*bytes));
        Ok(Some(Snapshot {
            id: id.to_vec(),
            name: name.to_vec(),
            l1_offset: FileOffset(head.l1_table_offset.get()),
            l1_entries: head.l1_size.get(),
            created: u64::from(head.date_sec.get()),
            vm_state_bytes: field(0).unwrap_or_else(|| u64::from(head.vm_state_size.get())),
            virtual_size: field(1),
        }))
    }
}

/// Ends at the first entry that cannot be read.
impl Iterator for Table<'_> {
    type Item = Result<Snapshot>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let snapshot = first_error(|report| self.step(report));
        if snapshot.is_err() {
            self.left = 0;
        }
        Some(snapshot)
    }
}
