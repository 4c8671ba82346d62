//! Reading a source on a thread that may wait for it, apart from converting and uploading.

use cloud::{Class, Failure, Result, StopToken, stopped};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use ::convert::CancelToken;
use diskimg::source::open_regular;
use diskimg::text::shown;
use md5::{Digest as _, Md5};

/// Bytes of a file that are read at a time.
const PIECE: usize = 1 << 20;

/// Runs `reading` on a thread that may wait for a disk.
pub(super) async fn on_thread<T: Send + 'static>(
    stop: &StopToken,
    reading: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::select! {
        biased;
        () = stop.asked() => Err(stopped()),
        read = tokio::task::spawn_blocking(reading) => read.unwrap_or_else(|e| {
            Err(Failure::from_error(Class::Io, &e).context("reading the source crashed"))
        }),
    }
}

/// A file that is read part by part, to hash them.
pub(super) struct PartReader {
    path: PathBuf,
    file: File,
    piece: Vec<u8>,
    cancel: CancelToken,
}

impl PartReader {
    pub(super) fn open(path: &Path, cancel: CancelToken) -> Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            file: open_regular(path).map_err(|e| failed(path, &e))?,
            piece: vec![0; PIECE],
            cancel,
        })
    }

    /// MD5 of the `size` bytes from `start`, or of those that the file has of them.
    pub(super) fn md5(&mut self, start: u64, size: u64) -> Result<[u8; 16]> {
        let mut hash = Md5::new();
        let (mut at, end) = (start, start.saturating_add(size));
        while at < end {
            if self.cancel.is_cancelled() {
                return Err(stopped());
            }
            let most = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
            let piece = self.piece.get_mut(..most).unwrap_or_default();
            let read = self.file.read_at(piece, at);
            let read = read.map_err(|e| failed(&self.path, &e))?;
            if read == 0 {
                break;
            }
            hash.update(piece.get(..read).unwrap_or_default());
            at = at.saturating_add(read as u64);
        }
        Ok(hash.finalize().into())
    }
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::from_error(Class::Io, error).context(format!("{} cannot be read again", shown(&path)))
}
