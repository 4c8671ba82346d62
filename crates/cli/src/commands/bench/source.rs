//! What is measured with, and whether there is room for it.

use std::fs::File;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::convert::CancelToken;
use ::convert::sample::{Content, fill_block};
use diskimg::text::shown;
use diskimg::units::human;
use diskimg::{Format, Opened};
use rustix::fs::{Advice, fadvise, statvfs};
use serde::Serialize;
use std::os::unix::fs::FileExt as _;

use super::view::{BLOCK, View};
use super::work::stop;
use crate::args::BenchArgs;
use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome, is_wrong_path};
use ::import::{Watch, open_named};

/// Seed of the generated disk: figures of different versions can be compared as long as it stays.
const SEED: u64 = 8;

/// What is measured with, for reports.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Source {
    /// The image; `None` for the generated disk.
    pub(super) path: Option<String>,
    pub(super) format: Format,
    pub(super) virtual_size_bytes: u64,
    /// Bytes of the 2 MiB blocks that hold data.
    pub(super) data_bytes: u64,
    /// Bytes of those of them that are measured with.
    pub(super) measured_bytes: u64,
    /// Whether these are all of them.
    pub(super) whole: bool,
    /// Whether most of the file was in the page cache, so that reading it says nothing about its
    /// disk.
    pub(super) in_page_cache: bool,
}

/// An opened source.
pub(super) struct Input {
    pub(super) path: PathBuf,
    pub(super) view: Arc<View>,
    pub(super) source: Source,
    /// The image's files as they were before; empty for a generated disk.
    pub(super) watch: Watch,
}

/// Opens the image, or generates one in `dir`.
pub(super) fn open(
    args: &BenchArgs,
    dir: &Path,
    console: Console,
    cancel: &CancelToken,
) -> Outcome<Input> {
    let path = match &args.image {
        Some(path) => path.clone(),
        None => generate(dir, args.size, cancel)?,
    };
    let in_page_cache = diskimg::source::is_in_page_cache(&path).unwrap_or(false);
    let opened = open_named(&path, &args.source.options(), &console, cancel)?;
    let watch = match &args.image {
        Some(path) => Watch::begin(path, &opened, args.source.share.force_share)?,
        None => Watch::default(),
    };
    let Opened { format, image, .. } = opened;
    let view = View::new(image, args.size, cancel)?;
    if view.blocks().is_empty() {
        return Err(Failure::new(
            Exit::Refused,
            format!(
                "{} holds no data: there is nothing to measure with",
                shown(&path)
            ),
        )
        .hint("leave the image out: a disk is generated then"));
    }
    let source = Source {
        path: args.image.as_ref().map(|path| path.display().to_string()),
        format,
        virtual_size_bytes: diskimg::DiskImage::virtual_size(&view),
        data_bytes: view.data_bytes(),
        measured_bytes: (view.blocks().len() as u64 * BLOCK).min(view.data_bytes()),
        whole: view.is_whole(),
        in_page_cache,
    };
    Ok(Input {
        path,
        view: Arc::new(view),
        source,
        watch,
    })
}

/// Writes the generated disk into `dir`, as a sparse raw file that is not in the page cache.
fn generate(dir: &Path, size: u64, cancel: &CancelToken) -> Outcome<PathBuf> {
    let path = dir.join("disk.raw");
    let failed = |e: std::io::Error| {
        Failure::from_error(Exit::Io, &e).context("the generated disk cannot be written")
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
        // On its way at once, so that the flush below is short.
        let _ = fadvise(&file, at, NonZeroU64::new(BLOCK), Advice::DontNeed);
    }
    file.sync_all().map_err(failed)?;
    let _ = fadvise(&file, 0, None, Advice::DontNeed);
    Ok(path)
}

/// Refuses when `dir` has no room for `needed` bytes.
pub(super) fn require_space(dir: &Path, needed: u64) -> Outcome {
    let stat = statvfs(dir).map_err(|e| unusable(dir, &e.into()))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    // Some file systems do not say how full they are.
    if stat.f_blocks == 0 || needed <= free {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Refused,
        format!(
            "{}: {} are needed for a while, {} are free",
            shown(&dir),
            human(needed),
            human(free)
        ),
    )
    .hint("pass a smaller --size, or --dir on another disk"))
}

/// A directory of its own in `dir`, removed when it is dropped.
pub(super) fn temporary(dir: &Path) -> Outcome<tempfile::TempDir> {
    tempfile::Builder::new()
        .prefix(".imgferry-bench-")
        .tempdir_in(dir)
        .map_err(|e| unusable(dir, &e))
}

fn unusable(dir: &Path, error: &std::io::Error) -> Failure {
    let exit = match is_wrong_path(error) {
        true => Exit::Refused,
        false => Exit::Io,
    };
    Failure::from_error(exit, error)
        .context(format!("nothing can be written in {}", shown(&dir)))
        .hint("name a directory for output with --dir")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_is_free_is_refused_before_anything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        require_space(dir.path(), 1).unwrap();
        let failure = require_space(dir.path(), u64::MAX).unwrap_err();
        assert_eq!(failure.class(), Exit::Refused);
        assert!(crate::hints::text(&failure.hints()[0]).contains("--size"));
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
            Exit::Interrupted
        );
    }
}
