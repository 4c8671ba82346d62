//! Internal snapshots: earlier disks in the same file, each with an L1 table of its own.
//!
//! The table is read entry by entry and nothing is kept of entries that are not asked for, so that
//! a long table costs time in proportion to its length and no memory.

use zerocopy::FromBytes;

use super::header::Header;
use super::layout::SnapshotHead;
use crate::details::SnapshotInfo;
use crate::error::{Error, ErrorKind, Result};
use crate::hints::CHECK_QCOW2;
use crate::limits::{MAX_LISTED, MAX_SNAPSHOT_EXTRA, MAX_SNAPSHOT_TABLE_BYTES, MAX_SNAPSHOTS};
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
    /// What the user is told of it.
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
    for snapshot in Table::new(source, header).take(MAX_LISTED) {
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
/// `OutOfRange` when there is none, otherwise what the table deserves.
pub(super) fn find(
    source: &dyn ReadAt,
    header: &Header,
    wanted: &str,
    warnings: &mut Vec<String>,
) -> Result<Snapshot> {
    let mut by_id = None;
    let mut by_name: Option<Snapshot> = None;
    let mut more = 0;
    for snapshot in Table::new(source, header) {
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
    let mut names: Vec<_> = Table::new(source, header)
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

/// Iterator over the entries of the table. Each step goes at least 40 bytes on inside the file, and
/// the table's length has a cap: so it ends.
struct Table<'a> {
    source: &'a dyn ReadAt,
    header: &'a Header,
    at: u64,
    left: u32,
}

impl<'a> Table<'a> {
    fn new(source: &'a dyn ReadAt, header: &'a Header) -> Self {
        Self {
            source,
            header,
            at: header.snapshots_offset.0,
            left: header.snapshot_count,
        }
    }

    fn check_place(&self) -> Result<()> {
        let (count, start) = (self.header.snapshot_count, self.header.snapshots_offset.0);
        if count > MAX_SNAPSHOTS {
            return Err(Error::new(
                ErrorKind::Limit,
                format!("it has {count} entries, at most {MAX_SNAPSHOTS} are read"),
            )
            .at(TABLE, start));
        }
        let cluster_size = 1_u64 << self.header.cluster_bits;
        if start == 0 || !start.is_multiple_of(cluster_size) {
            return Err(Error::corrupt(
                TABLE,
                start,
                format!(
                    "its offset is {start:#x}, expected a multiple of {cluster_size:#x} that is not 0"
                ),
            ));
        }
        Ok(())
    }

    /// `len` bytes of the entry that begins at `entry`, from `at` on.
    fn read(&self, entry: u64, at: u64, len: u64) -> Result<Vec<u8>> {
        let file_len = self.source.len();
        let start = self.header.snapshots_offset.0;
        if !fits(at, len, start.saturating_add(MAX_SNAPSHOT_TABLE_BYTES)) {
            return Err(Error::new(
                ErrorKind::Limit,
                format!(
                    "it is longer than {}, the most that is read",
                    human(MAX_SNAPSHOT_TABLE_BYTES)
                ),
            )
            .at(TABLE, start));
        }
        if !fits(at, len, file_len) {
            return Err(Error::truncated(
                TABLE,
                entry,
                format!("{len} bytes were expected at {at:#x}, the file ends at {file_len:#x}"),
            ));
        }
        let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
        self.source.read_exact_at(FileOffset(at), &mut bytes)?;
        Ok(bytes)
    }

    fn step(&mut self) -> Result<Snapshot> {
        const HEAD: u64 = size_of::<SnapshotHead>() as u64;
        if self.left == self.header.snapshot_count {
            self.check_place()?;
        }
        let entry = self.at;
        let short = || Error::corrupt(TABLE, entry, "its entry is cut off");
        let head = self.read(entry, entry, HEAD)?;
        let head = SnapshotHead::read_from_bytes(&head).map_err(|_| short())?;
        let extra_size = head.extra_size.get();
        if extra_size > MAX_SNAPSHOT_EXTRA {
            return Err(Error::new(
                ErrorKind::Limit,
                format!(
                    "an entry has {extra_size} bytes of extra data, at most {MAX_SNAPSHOT_EXTRA} are read"
                ),
            )
            .at(TABLE, entry)
            .with_hint(CHECK_QCOW2));
        }
        let (id_size, name_size) = (head.id_size.get(), head.name_size.get());
        let rest = u64::from(extra_size) + u64::from(id_size) + u64::from(name_size);
        let bytes = self.read(entry, entry + HEAD, rest)?;
        self.at = round_up(entry + HEAD + rest, 8).ok_or_else(short)?;
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
        Ok(Snapshot {
            id: id.to_vec(),
            name: name.to_vec(),
            l1_offset: FileOffset(head.l1_table_offset.get()),
            l1_entries: head.l1_size.get(),
            created: u64::from(head.date_sec.get()),
            vm_state_bytes: field(0).unwrap_or_else(|| u64::from(head.vm_state_size.get())),
            virtual_size: field(1),
        })
    }
}

impl Iterator for Table<'_> {
    type Item = Result<Snapshot>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let snapshot = self.step();
        if snapshot.is_err() {
            self.left = 0;
        }
        Some(snapshot)
    }
}
