//! A log that several processes write and anybody reads: records of JSON in frames, each appended
//! whole.
//!
//! What is appended is synced before the call returns. A record that a power failure or a kill has
//! torn is cut off by the next writer; what stands before it counts.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use diskimg::source::{open_regular, open_regular_with};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::frame::{Ending, MAGIC, Reader, Writer};

/// Kind of the frames of a log. Journals of imports use other kinds, so neither is taken for the
/// other.
const KIND: u8 = 0x40;

/// How often a lock is tried, and the pause between.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(20);

/// A log that is written to.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    file: File,
    /// Where the last record ends that this writer knows, and how to go on from there.
    end: u64,
    writer: Writer,
}

impl Log {
    /// Opens the log at `path`, or makes an empty one, with its directory (mode 0700).
    ///
    /// # Errors
    /// `Io`.
    pub fn open(path: &Path) -> Result<Self> {
        if let Some(dir) = path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(dir)
                .map_err(|source| Error::io(dir, "making its directory", source))?;
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).mode(0o600);
        let file = open_regular_with(path, &mut options)
            .map_err(|source| Error::io(path, "opening", source))?;
        let log = Self {
            path: path.to_owned(),
            file,
            end: 0,
            writer: Writer::default(),
        };
        // The name of a new file is synced with its directory.
        path.parent()
            .map_or(Ok(()), |dir| File::open(dir)?.sync_all())
            .map_err(|source| Error::io(path, "syncing the directory", source))?;
        Ok(log)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a record, to stay. Other processes append theirs before or after it.
    ///
    /// # Errors
    /// `Io`; also when the record is longer than a frame can be.
    pub fn append<T: Serialize>(&mut self, record: &T) -> Result<()> {
        let failed = |source| Error::io(&self.path, "writing", source);
        let payload = serde_json::to_vec(record).map_err(|e| failed(e.into()))?;
        self.file.lock().map_err(failed)?;
        let appended = append(&mut self.file, &mut self.end, &mut self.writer, &payload);
        let unlocked = self.file.unlock();
        appended
            .and(unlocked)
            .map_err(|source| Error::io(&self.path, "writing", source))
    }
}

fn append(file: &mut File, end: &mut u64, writer: &mut Writer, payload: &[u8]) -> io::Result<()> {
    let len = file.metadata()?.len();
    if len != *end {
        // Others have written meanwhile, or it is the first time.
        file.seek(SeekFrom::Start(0))?;
        let mut reader = Reader::new(BufReader::new(&*file))?;
        while reader.frame()?.is_some() {}
        *end = reader.good();
        *writer = reader.writer();
        if len > *end {
            file.set_len(*end)?;
        }
    }
    let mut bytes = Vec::new();
    if *end == 0 {
        bytes.extend_from_slice(MAGIC);
        *writer = Writer::default();
    }
    let mut next = *writer;
    if !next.push(KIND, payload, &mut bytes) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a record is too long",
        ));
    }
    file.seek(SeekFrom::Start(*end))?;
    file.write_all(&bytes)?;
    file.sync_data()?;
    *end = end.saturating_add(bytes.len() as u64);
    *writer = next;
    Ok(())
}

/// What a log says, as far as it can be believed. Records that this version does not know are left
/// out. A log that is not there says nothing.
///
/// # Errors
/// `Io`.
pub fn read_log<T: DeserializeOwned>(path: &Path) -> Result<(Vec<T>, Ending)> {
    let failed = |source| Error::io(path, "reading", source);
    let file = match open_regular(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok((Vec::new(), Ending::Clean));
        }
        Err(error) => return Err(failed(error)),
    };
    let mut reader = Reader::new(BufReader::new(file)).map_err(failed)?;
    let mut records = Vec::new();
    while let Some((kind, payload)) = reader.frame().map_err(failed)? {
        if kind == KIND
            && let Ok(record) = serde_json::from_slice(payload)
        {
            records.push(record);
        }
    }
    Ok((records, reader.ending()))
}

/// A lock that says that a process is at work; the system frees it with the process.
#[derive(Debug)]
pub struct RunLock {
    /// Locked until it is closed.
    _file: File,
}

impl RunLock {
    /// Locks `path`, which is made when it is missing: alone, or together with others that do not
    /// ask to be alone. `None` when others have it.
    ///
    /// # Errors
    /// `Io`.
    pub fn try_take(path: &Path, alone: bool) -> Result<Option<Self>> {
        let failed = |source| Error::io(path, "locking", source);
        if let Some(dir) = path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(dir)
                .map_err(failed)?;
        }
        let mut options = OpenOptions::new();
        options.write(true).create(true).mode(0o600);
        let file = open_regular_with(path, &mut options).map_err(failed)?;
        for _ in 0..TRIES {
            let locked = match alone {
                true => file.try_lock(),
                false => file.try_lock_shared(),
            };
            match locked {
                Ok(()) => return Ok(Some(Self { _file: file })),
                // Whoever looks whether it is taken has it for a moment.
                Err(fs::TryLockError::WouldBlock) => thread::sleep(PAUSE),
                Err(fs::TryLockError::Error(source)) => return Err(failed(source)),
            }
        }
        Ok(None)
    }

    /// Whether somebody has the lock. A file that is not there nobody has.
    #[must_use]
    pub fn is_taken(path: &Path) -> bool {
        open_regular(path).is_ok_and(|file| {
            file.metadata().is_ok_and(|metadata| metadata.nlink() > 0)
                && matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_writers_take_turns_and_a_torn_record_is_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("batches").join("a.batch");
        let (mut a, mut b) = (Log::open(&path).unwrap(), Log::open(&path).unwrap());
        a.append(&1).unwrap();
        b.append(&2).unwrap();
        a.append(&3).unwrap();
        let whole = fs::read(&path).unwrap();
        fs::write(&path, [&whole[..], &whole[whole.len() - 5..]].concat()).unwrap();
        let (records, ending) = read_log::<u32>(&path).unwrap();
        assert_eq!(records, [1, 2, 3]);
        assert!(matches!(ending, Ending::Torn { .. }));
        b.append(&4).unwrap();
        let (records, ending) = read_log::<u32>(&path).unwrap();
        assert_eq!((records, ending), (vec![1, 2, 3, 4], Ending::Clean));
    }

    #[test]
    fn a_record_that_cannot_be_held_leaves_the_log_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.batch");
        let mut log = Log::open(&path).unwrap();
        log.append(&"short").unwrap();
        assert!(log.append(&"x".repeat(100_000)).is_err());
        log.append(&"after").unwrap();
        let (records, _) = read_log::<String>(&path).unwrap();
        assert_eq!(records, ["short", "after"]);
        assert!(
            read_log::<u32>(&dir.path().join("none"))
                .unwrap()
                .0
                .is_empty()
        );
    }

    #[test]
    fn a_lock_is_held_alone_or_together() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.lock");
        assert!(!RunLock::is_taken(&path));
        let first = RunLock::try_take(&path, false).unwrap().unwrap();
        let second = RunLock::try_take(&path, false).unwrap().unwrap();
        assert!(RunLock::is_taken(&path));
        assert!(RunLock::try_take(&path, true).unwrap().is_none());
        drop((first, second));
        assert!(!RunLock::is_taken(&path));
        let alone = RunLock::try_take(&path, true).unwrap().unwrap();
        assert!(RunLock::try_take(&path, false).unwrap().is_none());
        drop(alone);
    }
}
