//! The disk to measure with, and whether there is room for it.

use std::fs::File;
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cloud::{Class, Failure, Hint, Result, is_wrong_path};
use convert::CancelToken;
use convert::sample::{Content, fill_block};
use diskimg::text::shown;
use diskimg::units::human;
use diskimg::{DiskImage as _, Format, Opened};
use rustix::fs::{Advice, fadvise, statvfs};
use serde::Serialize;

use crate::view::{BLOCK, View};
use crate::work::stop;

/// Seed of the generated disk: figures of different versions can be compared as long as it stays.
const SEED: u64 = 8;

/// The disk to measure with, for reports.
#[derive(Clone, Debug, Serialize)]
pub struct Source {
    /// The image; `None` for the generated disk.
    pub path: Option<String>,
    /// Format of the image.
    pub format: Format,
    /// Size of the disk.
    pub virtual_size_bytes: u64,
    /// Bytes of the 2 MiB blocks that hold data.
    pub data_bytes: u64,
    /// Bytes of those of them that are measured with.
    pub measured_bytes: u64,
    /// Whether these are all of them.
    pub whole: bool,
    /// Whether most of the file was in the page cache, so that reading it says nothing about its
    /// disk.
    pub in_page_cache: bool,
}

/// The disk, ready to be measured with.
pub(crate) struct Input {
    pub(crate) path: PathBuf,
    pub(crate) view: Arc<View>,
    pub(crate) source: Source,
}

impl Input {
    /// At most `limit` bytes of the image at `path`, which was generated here or is `given`.
    pub(crate) fn new(
        path: PathBuf,
        opened: Opened,
        (limit, given, in_page_cache): (u64, bool, bool),
        cancel: &CancelToken,
    ) -> Result<Self> {
        let view = View::new(opened.image, limit, cancel)?;
        if view.blocks().is_empty() {
            let message = format!("{} holds no data: nothing to measure with", shown(&path));
            return Err(Failure::new(Class::Refused, message).hint(Hint::GenerateDisk));
        }
        let source = Source {
            path: given.then(|| path.display().to_string()),
            format: opened.format,
            virtual_size_bytes: view.virtual_size(),
            data_bytes: view.data_bytes(),
            measured_bytes: (view.blocks().len() as u64 * BLOCK).min(view.data_bytes()),
            whole: view.is_whole(),
            in_page_cache,
        };
        Ok(Self {
            path,
            view: Arc::new(view),
            source,
        })
    }
}

/// Writes the generated disk into `dir`, as a sparse raw file that is not in the page cache.
pub(crate) fn generate(dir: &Path, size: u64, cancel: &CancelToken) -> Result<PathBuf> {
    let path = dir.join("disk.raw");
    let failed = |e: std::io::Error| {
        Failure::from_error(Class::Io, &e).context("writing the generated disk failed")
    };
    let file = File::create(&path).map_err(failed)?;
    file.set_len(size).map_err(failed)?;
    let mut block = vec![0; zvhd2::BLOCK_SIZE];
    for number in 0..size.div_ceil(BLOCK) {
        stop(cancel)?;
        if Content::OsLike.is_hole(number) {
            continue;
        }
        fill_block(Content::OsLike, SEED, number, &mut block);
        let at = number * BLOCK;
        let len = usize::try_from(size - at)
            .unwrap_or(usize::MAX)
            .min(block.len());
        file.write_all_at(block.get(..len).unwrap_or_default(), at)
            .map_err(failed)?;
        // Starts writing at once, so that the flush below is short.
        let _ = fadvise(&file, at, NonZeroU64::new(BLOCK), Advice::DontNeed);
    }
    file.sync_all().map_err(failed)?;
    let _ = fadvise(&file, 0, None, Advice::DontNeed);
    Ok(path)
}

/// Fails unless `dir` has room for `needed` bytes.
pub(crate) fn require_space(dir: &Path, needed: u64) -> Result {
    let stat = statvfs(dir).map_err(|e| unusable(dir, &e.into()))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    // Some file systems do not report how full they are.
    if stat.f_blocks == 0 || needed <= free {
        return Ok(());
    }
    let message = format!(
        "{}: not enough space: {} needed temporarily, {} free",
        shown(&dir),
        human(needed),
        human(free)
    );
    Err(Failure::new(Class::Refused, message).hint(Hint::MeasureLess))
}

/// A directory of its own in `dir`, removed when it is dropped.
pub(crate) fn temporary(dir: &Path) -> Result<tempfile::TempDir> {
    tempfile::Builder::new()
        .prefix(".imgferry-bench-")
        .tempdir_in(dir)
        .map_err(|e| unusable(dir, &e))
}

fn unusable(dir: &Path, error: &std::io::Error) -> Failure {
    let class = match is_wrong_path(error) {
        true => Class::Refused,
        false => Class::Io,
    };
    Failure::from_error(class, error)
        .context(format!("cannot write to {}", shown(&dir)))
        .hint(Hint::NameOutputDir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_is_free_is_refused_before_anything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        require_space(dir.path(), 1).unwrap();
        let failure = require_space(dir.path(), u64::MAX).unwrap_err();
        assert_eq!(failure.class(), Class::Refused);
        assert_eq!(failure.hints(), [Hint::MeasureLess]);
        assert!(require_space(&dir.path().join("missing"), 1).is_err());
    }

    #[test]
    fn the_generated_disk_is_sparse_and_the_same_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let cancel = CancelToken::new();
        let size = 16 * BLOCK + 512;
        let read = || {
            let path = generate(dir.path(), size, &cancel).unwrap();
            std::fs::read(path).unwrap()
        };
        let first = read();
        assert_eq!(first.len() as u64, size);
        assert!(first == read());
        cancel.cancel();
        assert_eq!(
            generate(dir.path(), size, &cancel).unwrap_err().class(),
            Class::Interrupted
        );
    }
}
