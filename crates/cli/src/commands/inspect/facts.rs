//! What is known of an image: collected once, shown as text, JSON or a picture.

use std::path::Path;

use ::convert::CancelToken;
use diskimg::partitions::{self, PartitionTable};
use diskimg::printable;
use diskimg::{Details, DiskImageExt, DiskMap, ExtentKind, Opened};
use serde::Serialize;

use super::eligibility::{self, CommonImport, QuickImport};
use crate::commands::typed;
use cloud::{Failure, Result};

/// The result of `inspect`, as it is in JSON. All sizes are bytes unless they say otherwise.
#[derive(Debug, Serialize)]
pub(super) struct Inspection {
    /// As people read it: bytes that are no text are replaced.
    pub(super) path: String,
    /// Its `warnings` have those about partitions too.
    #[serde(flatten)]
    pub(super) details: Details,
    pub(super) virtual_size: u64,
    /// GiB, for `--min-disk`.
    pub(super) min_disk: u64,
    pub(super) file_size: u64,
    pub(super) bytes_on_disk: u64,
    /// What the metadata says holds data.
    pub(super) data_bytes: u64,
    /// What the metadata says is zero.
    pub(super) zero_bytes: u64,
    /// What is not stored anywhere.
    pub(super) hole_bytes: u64,
    /// What other files hold, or nothing does: they were not opened.
    pub(super) elsewhere_bytes: u64,
    /// `None` when the disk cannot be read, of which there is a warning.
    pub(super) partitions: Option<PartitionTable>,
    pub(super) quick_import: QuickImport,
    pub(super) common_import: CommonImport,
    /// The installed system, when it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) guest: Option<::guest::Report>,
}

/// Walks the image's extents and reads its partition table.
pub(super) fn inspect(
    path: &Path,
    opened: &Opened,
    cancel: &CancelToken,
) -> Result<(Inspection, DiskMap)> {
    let image = opened.image.as_ref();
    let virtual_size = image.virtual_size();
    let mut map = DiskMap::new(virtual_size);
    for tally in image.tallies(map.cell()) {
        if cancel.is_cancelled() {
            return Err(::convert::Error::Cancelled.into());
        }
        map.add(&tally.map_err(|error| damaged(error, path))?);
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
    let inspection = Inspection {
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
        details,
    };
    Ok((inspection, map))
}

/// The failure of walking a damaged image, which says how to see all of the damage.
fn damaged(error: diskimg::Error, path: &Path) -> Failure {
    use diskimg::ErrorKind::{Corrupt, Truncated};
    let kind = error.kind();
    let failure = Failure::from(error);
    match kind {
        Corrupt | Truncated => failure.hint(format!(
            "list everything that is wrong with it: imgferry inspect --check {}",
            typed(path, "IMAGE")
        )),
        _ => failure,
    }
}
