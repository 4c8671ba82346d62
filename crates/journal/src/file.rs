//! The file: locked, appended to, cut where it cannot be believed.
//!
//! What is appended is handed to the system at once, so a killed process loses nothing that it
//! had written. Against power failures, stages are synced as they happen, and parts at most
//! a second later: losing the record of a part costs making it again.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufReader};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use diskimg::source::{open_regular, open_regular_with};

use crate::error::{Error, Result};
use crate::frame::{Ending, MAGIC, Reader, Writer};
use crate::record::{Begun, Block, MAX_BLOCKS, Part, Record};
use crate::state::State;

/// Longest time that the record of a part waits for its sync.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// How often a lock is tried, and the pause between: whoever lists journals holds them for a
/// moment.
const LOCK_TRIES: u32 = 10;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// What was in a journal when it was opened.
#[derive(Debug)]
pub enum Found {
    /// Nothing: it is new.
    Nothing,
    /// It cannot even be said what it is about.
    Unreadable {
        /// Offset of the damage.
        at: u64,
    },
    /// An import that has come this far.
    Import(Box<State>, Ending),
}

/// A journal that is in use. No other process can open it.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    writer: Writer,
    /// Bytes that are believed; what the file has behind them is cut off before the next record.
    end: u64,
    cut: bool,
    waiting: Vec<Block>,
    synced: Instant,
    dirty: bool,
}

impl Journal {
    /// Opens the journal at `path`, or makes an empty one, and locks it.
    ///
    /// # Errors
    /// [`Error::InUse`] when another process has it; `Io`.
    pub fn open(path: &Path) -> Result<(Self, Found)> {
        let failed = |doing| move |source| Error::io(path, doing, source);
        for try_number in 1..=LOCK_TRIES {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).mode(0o600);
            let file = open_regular_with(path, &mut options).map_err(failed("opening"))?;
            match file.try_lock() {
                // Whoever had it may have removed the file: then the lock is one on nothing.
                Ok(()) if is_at(&file, path) => return Self::read(path, file),
                Ok(()) => {}
                Err(TryLockError::WouldBlock) if try_number == LOCK_TRIES => break,
                Err(TryLockError::WouldBlock) => thread::sleep(LOCK_PAUSE),
                Err(TryLockError::Error(source)) => return Err(failed("locking")(source)),
            }
        }
        Err(Error::InUse { path: path.into() })
    }

    fn read(path: &Path, file: File) -> Result<(Self, Found)> {
        let (found, end, writer) =
            scan(&file).map_err(|source| Error::io(path, "reading", source))?;
        let journal = Self {
            path: path.into(),
            file,
            writer,
            end,
            cut: false,
            waiting: Vec::new(),
            synced: Instant::now(),
            dirty: false,
        };
        Ok((journal, found))
    }

    /// What the journal at `path` says, without locking it: for listings. Its blocks are not kept.
    ///
    /// # Errors
    /// `Io`.
    pub fn peek(path: &Path) -> Result<Found> {
        let failed = |source| Error::io(path, "reading", source);
        let file = open_regular(path).map_err(failed)?;
        Ok(scan(&file).map_err(failed)?.0)
    }

    /// Whether a process has the journal at `path` open.
    #[must_use]
    pub fn in_use(path: &Path) -> bool {
        open_regular(path)
            .is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Forgets what the journal says, and begins with `begun`.
    ///
    /// # Errors
    /// `Io`; the journal is then empty, or as it was.
    pub fn begin(&mut self, begun: Begun) -> Result<()> {
        self.write_begun(begun).inspect_err(|_| {
            // Half a record is nothing to resume. What cannot be emptied is cut off later.
            let _ = self.discard();
        })
    }

    fn write_begun(&mut self, begun: Begun) -> Result<()> {
        self.waiting.clear();
        self.file
            .set_len(0)
            .map_err(|source| Error::io(&self.path, "emptying", source))?;
        self.writer = Writer::default();
        self.end = 0;
        self.cut = true;
        self.append(MAGIC)?;
        self.record(&Record::Begun(Box::new(begun)))?;
        // The name of a new file is synced with its directory.
        self.path
            .parent()
            .map_or(Ok(()), |dir| File::open(dir)?.sync_all())
            .map_err(|source| Error::io(&self.path, "syncing the directory", source))
    }

    /// Forgets what the journal says: there is nothing to go on with. The file goes with this
    /// journal.
    ///
    /// # Errors
    /// `Io`.
    pub fn discard(&mut self) -> Result<()> {
        self.waiting.clear();
        self.file
            .set_len(0)
            .map_err(|source| Error::io(&self.path, "emptying", source))?;
        self.writer = Writer::default();
        self.end = 0;
        Ok(())
    }

    /// What is kept of an import that had the journal at `path` and is done.
    #[must_use]
    pub fn kept(path: &Path) -> Option<Box<State>> {
        match Self::peek(&path.with_extension("done")).ok()? {
            Found::Import(state, _) => Some(state),
            Found::Nothing | Found::Unreadable { .. } => None,
        }
    }

    /// Notes a block of the stream. It is written with the next part, or when some have gathered.
    ///
    /// # Errors
    /// `Io`.
    pub fn block(&mut self, block: Block) -> Result<()> {
        self.waiting.push(block);
        if self.waiting.len() >= MAX_BLOCKS {
            return self.flush();
        }
        Ok(())
    }

    /// Writes that a part is stored, behind all blocks that were noted before it.
    ///
    /// # Errors
    /// `Io`.
    pub fn part(&mut self, part: Part) -> Result<()> {
        self.flush()?;
        self.push(&Record::Part(part))?;
        if self.synced.elapsed() >= SYNC_EVERY {
            return self.sync();
        }
        Ok(())
    }

    /// Writes a record and syncs it: it is there after a power failure.
    ///
    /// # Errors
    /// `Io`.
    pub fn record(&mut self, record: &Record) -> Result<()> {
        self.flush()?;
        self.push(record)?;
        self.sync()
    }

    /// Writes and syncs everything that was noted.
    ///
    /// # Errors
    /// `Io`.
    pub fn sync(&mut self) -> Result<()> {
        self.flush()?;
        if self.dirty {
            self.file
                .sync_data()
                .map_err(|source| Error::io(&self.path, "syncing", source))?;
            self.dirty = false;
        }
        self.synced = Instant::now();
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        while !self.waiting.is_empty() {
            let rest = self.waiting.split_off(self.waiting.len().min(MAX_BLOCKS));
            let record = Record::Blocks(std::mem::replace(&mut self.waiting, rest));
            if let Err(error) = self.push(&record) {
                // Blocks that are written later must not follow a gap.
                if let Record::Blocks(mut blocks) = record {
                    blocks.append(&mut self.waiting);
                    self.waiting = blocks;
                }
                return Err(error);
            }
        }
        Ok(())
    }

    fn push(&mut self, record: &Record) -> Result<()> {
        // What comes late belongs to an import that was discarded.
        if self.end == 0 {
            return Ok(());
        }
        let mut bytes = Vec::new();
        let mut writer = self.writer;
        let fits = record
            .encode()
            .is_some_and(|(kind, payload)| writer.push(kind, &payload, &mut bytes));
        if !fits {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "a record is too long");
            return Err(Error::io(&self.path, "writing", source));
        }
        self.append(&bytes)?;
        self.writer = writer;
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.prepare().and_then(|()| {
            self.file
                .write_all_at(bytes, self.end)
                .inspect_err(|_| self.cut = false)
        });
        written.map_err(|source| Error::io(&self.path, "writing", source))?;
        self.end += bytes.len() as u64;
        self.dirty = true;
        Ok(())
    }

    /// Cuts off what cannot be believed, or half a record of a write that failed.
    fn prepare(&mut self) -> io::Result<()> {
        if !self.cut {
            self.file.set_len(self.end)?;
            self.cut = true;
        }
        Ok(())
    }

    /// Gives every block that the journal holds to `take`, in the order of the stream, until it
    /// returns `false`.
    ///
    /// # Errors
    /// `Io`.
    pub fn blocks(&mut self, mut take: impl FnMut(&Block) -> bool) -> Result<()> {
        self.flush()?;
        let failed = |source| Error::io(&self.path, "reading", source);
        let end = self.end;
        let mut reader = Reader::new(from_start(&self.file)).map_err(failed)?;
        while reader.good() < end {
            let Some((kind, payload)) = reader.frame().map_err(failed)? else {
                break;
            };
            let Some(Record::Blocks(blocks)) = Record::decode(kind, payload) else {
                continue;
            };
            if !blocks.iter().all(&mut take) {
                break;
            }
        }
        Ok(())
    }

    /// Ends the journal of an import that is done: what it came to is kept beside it, as NAME.done,
    /// and the journal is removed.
    ///
    /// # Errors
    /// `Io`; the journal then stays, and says itself that the import is done.
    pub fn finish(&mut self) -> Result<()> {
        self.sync()?;
        let done = self.path.with_extension("done");
        let temporary = self.path.with_extension("done.tmp");
        let write = || -> io::Result<()> {
            let mut reader = Reader::new(from_start(&self.file))?;
            let mut bytes = MAGIC.to_vec();
            let mut writer = Writer::default();
            while let Some((kind, payload)) = reader.frame()? {
                let bulk = matches!(
                    Record::decode(kind, payload),
                    None | Some(Record::Blocks(_) | Record::Part(_))
                );
                if !bulk {
                    // Its length has passed the same test before.
                    let _ = writer.push(kind, payload, &mut bytes);
                }
            }
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            let file = open_regular_with(&temporary, &mut options)?;
            file.write_all_at(&bytes, 0)?;
            file.sync_all()?;
            fs::rename(&temporary, &done)?;
            fs::remove_file(&self.path)
        };
        write().map_err(|source| {
            // Best effort: it is in nobody's way.
            let _ = fs::remove_file(&temporary);
            Error::io(&self.path, "ending it", source)
        })
    }
}

impl Drop for Journal {
    /// A journal in which nothing was noted is in nobody's way.
    fn drop(&mut self) {
        let unused = self.end == 0 && self.file.metadata().is_ok_and(|file| file.len() == 0);
        if unused && is_at(&self.file, &self.path) {
            // Best effort. Whoever opened it meanwhile finds that the name is gone, and opens
            // another one.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Reads a whole journal.
fn scan(file: &File) -> io::Result<(Found, u64, Writer)> {
    let mut reader = Reader::new(from_start(file))?;
    let mut state: Option<State> = None;
    let (mut good, mut writer) = (reader.good(), reader.writer());
    let mut damaged = false;
    while let Some((kind, payload)) = reader.frame()? {
        let applied = match (&mut state, Record::decode(kind, payload)) {
            (None, Some(Record::Begun(begun))) => {
                state = Some(State::new(*begun));
                true
            }
            (Some(state), Some(record)) => state.apply(&record),
            _ => false,
        };
        if !applied {
            damaged = true;
            break;
        }
        (good, writer) = (reader.good(), reader.writer());
    }
    let ending = if damaged {
        Ending::Damaged { at: good }
    } else {
        reader.ending()
    };
    let found = match (state, ending) {
        (Some(state), ending) => Found::Import(Box::new(state), ending),
        (None, Ending::Clean) => Found::Nothing,
        // Nothing was sent before its first record was synced.
        (None, Ending::Torn { .. }) => Found::Nothing,
        (None, Ending::Damaged { at }) => Found::Unreadable { at },
    };
    Ok((found, good, writer))
}

/// Whether `file` is what has the name `path`.
fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(open), Ok(named)) = (file.metadata(), fs::symlink_metadata(path)) else {
        return false;
    };
    (open.dev(), open.ino()) == (named.dev(), named.ino())
}

/// Reads a file from its beginning, whatever its cursor says.
fn from_start(file: &File) -> BufReader<Cursor<'_>> {
    BufReader::new(Cursor { file, at: 0 })
}

struct Cursor<'a> {
    file: &'a File,
    at: u64,
}

impl io::Read for Cursor<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}
