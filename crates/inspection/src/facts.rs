//! The facts, and how they are collected.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use convert::CancelToken;
use diskimg::partitions::{self, PartitionTable};
use diskimg::printable;
use diskimg::{Details, DiskImageExt, DiskMap, ExtentKind, Opened};
use serde::Serialize;

use crate::eligibility::{self, CommonImport, QuickImport};

/// The result of `inspect`, as it is in JSON. All sizes are bytes unless they say otherwise.
#[derive(Debug, Serialize)]
pub struct Inspection {
    /// As people read it: bytes that are no text are replaced.
    pub path: String,
    /// Its `warnings` have those about partitions too.
    #[serde(flatten)]
    pub details: Details,
    /// Size that the guest sees.
    pub virtual_size: u64,
    /// GiB, for `--min-disk`.
    pub min_disk: u64,
    /// Length of the file.
    pub file_size: u64,
    /// What the file system has allocated for it.
    pub bytes_on_disk: u64,
    /// What the metadata says holds data.
    pub data_bytes: u64,
    /// What the metadata says is zero.
    pub zero_bytes: u64,
    /// What is not stored anywhere.
    pub hole_bytes: u64,
    /// What other files hold, or nothing does: they were not opened.
    pub elsewhere_bytes: u64,
    /// `None` when the disk cannot be read, of which there is a warning.
    pub partitions: Option<PartitionTable>,
    /// Whether a quick import takes it.
    pub quick_import: QuickImport,
    /// Whether a common import takes it.
    pub common_import: CommonImport,
    /// The installed system, when it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guest: Option<guest::Report>,
    /// What its file systems call free, when it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free_space: Option<freespace::FreeSpace>,
    /// Where on the disk what is.
    #[serde(skip)]
    pub(crate) map: DiskMap,
}

impl Inspection {
    /// Walks the extents of the image at `path` and reads its partition table.
    ///
    /// # Errors
    /// When the image's metadata is damaged, or it was cancelled.
    pub fn of(path: &Path, opened: &Opened, cancel: &CancelToken) -> convert::Result<Self> {
        let image = opened.image.as_ref();
        let virtual_size = image.virtual_size();
        let mut map = DiskMap::new(virtual_size);
        for tally in image.tallies(map.cell()) {
            if cancel.is_cancelled() {
                return Err(convert::Error::Cancelled);
            }
            map.add(&tally?);
        }
        let mut details = image.details();
        let table = match details.streamed {
            true => partitions::read_front(image),
            false => partitions::read(image),
        };
        let partitions = match table {
            // There is a warning already.
            Err(_) if details.encryption.is_some() => None,
            Ok(mut table) => {
                details.warnings.append(&mut table.warnings);
                details.warnings.extend(table.sector_problem());
                details.warnings.extend(table.size_problem(virtual_size));
                Some(table)
            }
            Err(error) => {
                details
                    .warnings
                    .push(format!("the partition table cannot be read: {error}"));
                None
            }
        };
        let disk = eligibility::Disk {
            details: &details,
            virtual_size,
            file_size: opened.file_len,
        };
        Ok(Self {
            path: printable(&path.to_string_lossy()),
            virtual_size,
            min_disk: ims::min_disk_gib(virtual_size),
            file_size: opened.file_len,
            bytes_on_disk: opened.bytes_on_disk,
            data_bytes: map.total(ExtentKind::Data),
            zero_bytes: map.total(ExtentKind::Zero),
            hole_bytes: map.total(ExtentKind::Hole),
            elsewhere_bytes: map.total(ExtentKind::Elsewhere),
            partitions,
            quick_import: disk.quick_import(),
            common_import: disk.common_import(),
            guest: None,
            free_space: None,
            details,
            map,
        })
    }

    /// Looks for free space in what is on the disk.
    pub fn look_for_free_space(&mut self, opened: &Opened, cancel: &CancelToken) {
        let options = freespace::Options::default();
        let cancelled = || cancel.is_cancelled();
        self.free_space = Some(freespace::find(opened.image.as_ref(), options, &cancelled));
    }

    /// Looks into the system on the disk, for whatever it is to become.
    pub fn look_into_guest(&mut self, opened: &Opened, budget: &guest::Budget) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let wanted = guest::Wanted {
            now: now.map_or(0, |now| now.as_secs()),
            ..guest::Wanted::default()
        };
        self.guest = Some(guest::inspect(opened.image.as_ref(), wanted, budget));
    }
}
