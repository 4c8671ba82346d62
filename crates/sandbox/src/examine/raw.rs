//! Raw objects: the bitmap must say exactly what the disk holds.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use convert::bitmap::{BitmapComparison, MAX_FILE_BYTES, ZVHD2_SECTION};
use convert::{Bitmap, CancelToken, VoidMonitor};
use diskimg::{DiskImage as _, RawImage, ReadAt};

use super::{chain, check_size, failure};
use crate::images::{Examined, JobFailure};

/// Reads the raw disk `source`, and holds it against the bitmap in the file `bitmap`.
pub(super) fn read(
    source: Arc<dyn ReadAt>,
    bitmap: &Path,
    min_disk: u64,
    cancel: &CancelToken,
) -> Result<Examined, JobFailure> {
    let image = RawImage::open(source).map_err(|error| failure("IMG.0057", chain(&error)))?;
    let virtual_size = image.virtual_size();
    check_size(virtual_size, min_disk)?;
    let claimed = read_bitmap(bitmap)?;
    let threads = crate::memory::job_threads();
    let found = convert::scan(&image, ZVHD2_SECTION, threads, &VoidMonitor, cancel)
        .map_err(|error| failure("IMG.1075", chain(&error)))?;
    let comparison = claimed.compare(&found.bitmap);
    if !comparison.is_exact() {
        return Err(failure("IMG.0158", differences(&comparison)));
    }
    Ok(Examined {
        virtual_size,
        content_digest: found.digest.to_string(),
        // Quick import takes a disk as it is.
        system: None,
    })
}

fn read_bitmap(path: &Path) -> Result<Bitmap, JobFailure> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| {
            file.take(MAX_FILE_BYTES.saturating_add(1))
                .read_to_end(&mut bytes)
        })
        .map_err(|error| {
            failure(
                "IMG.0158",
                format!("the bitmap file cannot be read: {error}"),
            )
        })?;
    Bitmap::parse(ZVHD2_SECTION, bytes).map_err(|error| {
        failure(
            "IMG.0158",
            format!(
                "the bitmap file: {}; the sandbox knows this layout only",
                chain(&error)
            ),
        )
    })
}

fn differences(found: &BitmapComparison) -> String {
    let mut text = "the bitmap file does not match the image file".to_owned();
    if found.bytes != found.expected_bytes {
        text.push_str(&format!(
            ": it has {} bytes, expected {}",
            found.bytes, found.expected_bytes
        ));
    }
    for (differing, what) in [
        (&found.missing, "not marked and hold data"),
        (&found.extra, "marked and hold none"),
    ] {
        if let Some(first) = &differing.first {
            text.push_str(&format!(
                "; blocks {what}: {}, the first at byte {}",
                differing.count, first.start
            ));
        }
    }
    text
}
