//! A raw disk that comes through a pipe: front to back, each block once.
//!
//! ```text
//!  pipe ──▶ [head: block 0, kept] 1 2 3 4 5 …           one cursor, under a lock
//!                                   │ └─ asked for: goes to the reader's buffer
//!                                   └─ passed on the way: kept until its reader comes
//! ```
//!
//! Threads that take the blocks in ascending order, one or two at a time each, ask for them in
//! almost that order: when one asks for block 5, the blocks before it that have not been read are
//! those of other threads. So at most two blocks are kept for each other reader, and no reader
//! waits for anything but the writer of the pipe.
//!
//! The last byte is handed out only when the pipe has ended behind it. A disk that is shorter or
//! longer than was said is never read whole, and so nothing made of it is complete.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::details::Details;
use crate::driver::Driver;
use crate::error::{Error, ErrorKind, Result};
use crate::extent::{Extent, ExtentKind, check_range, clip_extent};
use crate::format::Format;
use crate::hint::Hint;
use crate::image::DiskImage;
use crate::limits::MAX_VIRTUAL_SIZE;
use crate::probe::Probe;
use crate::select::recognise;
use crate::text::{other_than, with_free_outputs};
use crate::units::{GuestOffset, MIB, SECTOR, human, round_up};

/// Unit in which a disk on a pipe is read, in bytes.
pub const BLOCK_BYTES: u64 = 2 * MIB;
/// [`BLOCK_BYTES`] as the length of a buffer.
const BLOCK_LEN: usize = 2 << 20;
const _: () = assert!(BLOCK_LEN as u64 == BLOCK_BYTES);

/// How long a wait for the pipe may last before it is asked again whether to stop.
const PATIENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// How to read a disk from a pipe.
#[derive(Clone)]
pub struct PipeOptions {
    /// What the pipe is called in messages.
    pub name: PathBuf,
    /// Exact number of bytes that will come. `None`: such a disk is refused, after other reasons to
    /// refuse it.
    pub size: Option<u64>,
    /// The format, when the user named it. `None`: what is recognised is refused.
    pub format: Option<Format>,
    /// Most threads that read at the same time.
    pub readers: usize,
    /// Asked at least ten times a second while the pipe is silent: whether to stop.
    pub stop: Arc<dyn Fn() -> bool + Send + Sync>,
}

/// A raw disk on a pipe. A length that is not a multiple of 512 is padded with zeros to one.
///
/// The first block can be read in any way, any number of times; behind it each block of
/// [`BLOCK_BYTES`] can be read once, as a whole.
pub struct PipeImage {
    options: PipeOptions,
    /// Bytes that come.
    size: u64,
    virtual_size: u64,
    /// The first block.
    head: Vec<u8>,
    /// What distinguishes formats, unless the user named one.
    drivers: Option<Arc<[Driver]>>,
    state: Mutex<State>,
}

struct State {
    pipe: Pipe,
    /// First block that has not come out of the pipe.
    next: u64,
    /// Blocks that came out before their reader asked for them.
    kept: BTreeMap<u64, Vec<u8>>,
}

impl PipeImage {
    /// [`crate::open_pipe`], where formats of `drivers` are recognised.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn open(pipe: File, options: PipeOptions, drivers: Arc<[Driver]>) -> Result<Self> {
        let name = options.name.clone();
        Self::begin(pipe, options, drivers).map_err(|error| error.in_file(&name))
    }

    fn begin(pipe: File, options: PipeOptions, drivers: Arc<[Driver]>) -> Result<Self> {
        let drivers = match options.format {
            Some(Format::Raw) => None,
            Some(format) => return Err(not_on_a_pipe(format)),
            None => Some(drivers),
        };
        if let Some(size) = options.size {
            check_size(size)?;
        }
        let mut pipe = Pipe {
            file: pipe,
            position: 0,
            stop: Arc::clone(&options.stop),
            broken: None,
        };
        let wanted = match options.size {
            Some(size) => size.min(BLOCK_BYTES),
            // Enough to say what it is.
            None => Probe::HEAD_BYTES,
        };
        let mut head = vec![0; usize::try_from(wanted).unwrap_or(BLOCK_LEN)];
        let got = pipe.fill(&mut head)?;
        // What it is explains more than how long it is.
        if let (Some(drivers), 1..) = (&drivers, got) {
            refuse_recognised(
                &Probe::of(head.get(..got).unwrap_or_default(), &[]),
                drivers,
            )?;
        }
        if got == 0 {
            return Err(Error::new(ErrorKind::Truncated, "nothing came out of it"));
        }
        let Some(size) = options.size else {
            return Err(size_is_missing());
        };
        let virtual_size = round_up(size, SECTOR).unwrap_or(size);
        if got < head.len() {
            return Err(Broken::Ended.error(pipe.position, size));
        }
        let image = Self {
            options,
            size,
            virtual_size,
            head,
            drivers,
            state: Mutex::new(State {
                pipe,
                next: 1,
                kept: BTreeMap::new(),
            }),
        };
        if size <= BLOCK_BYTES {
            let mut state = image.state.lock();
            image.expect_end(&mut state.pipe, &image.head)?;
        }
        Ok(image)
    }

    /// Fills `block` with the next one, and with zeros what lies past the disk's bytes. Behind the
    /// last one the pipe must end.
    fn next_block(&self, pipe: &mut Pipe, block: &mut [u8]) -> Result<()> {
        if let Some(broken) = pipe.broken {
            return Err(broken.error(pipe.position, self.size));
        }
        let left = self.size.saturating_sub(pipe.position);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
        let (stored, padding) = block.split_at_mut(len);
        padding.fill(0);
        if pipe.fill(stored)? < len {
            pipe.broken = Some(Broken::Ended);
            return Err(Broken::Ended.error(pipe.position, self.size));
        }
        if pipe.position == self.size {
            self.expect_end(pipe, stored)?;
        }
        Ok(())
    }

    /// Refuses a pipe that continues, and a disk whose last bytes, in `last`, are a footer of
    /// another format.
    fn expect_end(&self, pipe: &mut Pipe, last: &[u8]) -> Result<()> {
        if pipe.fill(&mut [0])? > 0 {
            pipe.broken = Some(Broken::Longer);
            return Err(Broken::Longer.error(pipe.position, self.size));
        }
        match &self.drivers {
            Some(drivers) => refuse_recognised(&Probe::of(&self.head, last), drivers),
            None => Ok(()),
        }
    }

    fn read(&self, at: GuestOffset, buf: &mut [u8]) -> Result<()> {
        let len = buf.len() as u64;
        check_range(at, len, self.virtual_size)?;
        let end = at.0.saturating_add(len);
        if end <= BLOCK_BYTES.min(self.virtual_size) {
            self.read_head(at, buf);
            return Ok(());
        }
        let block_end = at.0.saturating_add(BLOCK_BYTES).min(self.virtual_size);
        if !at.0.is_multiple_of(BLOCK_BYTES) || end != block_end {
            return Err(Error::unsupported(format!(
                "{len} bytes at guest offset {at} cannot be read ahead: the disk comes \
                 through a pipe"
            )));
        }
        let number = at.0 / BLOCK_BYTES;
        let mut guard = self.state.lock();
        let State { pipe, next, kept } = &mut *guard;
        if let Some(block) = kept.remove(&number) {
            buf.copy_from_slice(block.get(..buf.len()).unwrap_or_default());
            return Ok(());
        }
        let passed = number.checked_sub(*next).ok_or_else(|| out_of_order(at))?;
        if passed.saturating_add(kept.len() as u64) > Self::most_kept(self.options.readers) {
            return Err(out_of_order(at));
        }
        while *next < number {
            let mut block = vec![0; BLOCK_LEN];
            self.next_block(pipe, &mut block)?;
            kept.insert(*next, block);
            *next += 1;
        }
        self.next_block(pipe, buf)?;
        *next += 1;
        Ok(())
    }

    /// Most blocks that are kept for `readers` threads.
    fn most_kept(readers: usize) -> u64 {
        (readers as u64).saturating_mul(2)
    }

    fn read_head(&self, at: GuestOffset, buf: &mut [u8]) {
        let start = usize::try_from(at.0).unwrap_or(usize::MAX);
        let stored = self.head.get(start..).unwrap_or_default();
        let len = stored.len().min(buf.len());
        let (front, padding) = buf.split_at_mut(len);
        front.copy_from_slice(stored.get(..len).unwrap_or_default());
        padding.fill(0);
    }
}

impl DiskImage for PipeImage {
    fn virtual_size(&self) -> u64 {
        self.virtual_size
    }

    /// Nothing is known of what has not come: all of it may be data.
    fn extent_at(&self, at: GuestOffset, limit: u64) -> Result<Extent> {
        let len = clip_extent(at, limit, self.virtual_size)?;
        Ok(Extent {
            start: at,
            len,
            kind: ExtentKind::Data,
        })
    }

    fn read_at(&self, at: GuestOffset, buf: &mut [u8]) -> Result<()> {
        self.read(at, buf)
            .map_err(|error| error.in_file(&self.options.name))
    }

    fn details(&self) -> Details {
        let mut details = Details::new(Format::Raw);
        if self.size != self.virtual_size {
            details.warnings.push(format!(
                "the disk's length of {} bytes is not a multiple of 512; it is padded with zeros \
                 to {} bytes",
                self.size, self.virtual_size
            ));
        }
        details
    }

    /// The first block, and those that are kept.
    fn memory_bound(&self, readers: usize) -> u64 {
        BLOCK_BYTES.saturating_mul(Self::most_kept(readers).saturating_add(1))
    }
}

/// The end that bytes come out of.
struct Pipe {
    file: File,
    /// Bytes that came.
    position: u64,
    stop: Arc<dyn Fn() -> bool + Send + Sync>,
    /// Once it has failed it fails for everybody in the same way: bytes may be lost.
    broken: Option<Broken>,
}

/// Why a pipe can be read no further.
#[derive(Clone, Copy, Debug)]
enum Broken {
    Stopped,
    Ended,
    Longer,
    Io(i32),
}

impl Broken {
    /// The error, after `position` of `size` bytes.
    fn error(self, position: u64, size: u64) -> Error {
        match self {
            Self::Stopped => Error::new(ErrorKind::Cancelled, "stopped on request"),
            Self::Ended => Error::new(
                ErrorKind::Truncated,
                format!("it ended after {position} bytes, {size} were announced"),
            )
            .with_hint(Hint::EndedAt(position)),
            Self::Longer => Error::new(
                ErrorKind::Corrupt,
                format!("it continues after the {size} bytes that were announced"),
            )
            .with_hint(Hint::CorrectSize),
            Self::Io(code) => Error::io(
                format!("reading failed after {position} bytes"),
                io::Error::from_raw_os_error(code),
            ),
        }
    }
}

impl Pipe {
    /// Fills `buf`; with less only when the pipe ends.
    fn fill(&mut self, buf: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buf.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.read(rest) {
                Ok(0) => break,
                Ok(len) => {
                    filled += len;
                    self.position = self.position.saturating_add(len as u64);
                }
                Err(broken) => {
                    self.broken = Some(broken);
                    return Err(broken.error(self.position, self.position));
                }
            }
        }
        Ok(filled)
    }

    /// Reads what is there; waits until something is, the pipe ends, or somebody asks to stop.
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, Broken> {
        loop {
            if (self.stop)() {
                return Err(Broken::Stopped);
            }
            // The descriptor is shared with other programs, so it is not made non-blocking.
            let mut waiting = [PollFd::new(&self.file, PollFlags::IN)];
            match poll(&mut waiting, Some(&PATIENCE)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => continue,
                Ok(_) => {}
                Err(error) => return Err(Broken::Io(error.raw_os_error())),
            }
            match self.file.read(buf) {
                Ok(len) => return Ok(len),
                Err(error) => match error.kind() {
                    // Another reader was faster.
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => {}
                    _ => return Err(Broken::Io(error.raw_os_error().unwrap_or_default())),
                },
            }
        }
    }
}

fn check_size(size: u64) -> Result<()> {
    if size == 0 {
        return Err(Error::unsupported("a disk of 0 bytes was announced"));
    }
    if size > MAX_VIRTUAL_SIZE {
        return Err(Error::new(
            ErrorKind::Limit,
            format!(
                "a disk of {size} bytes ({}) was announced, at most {} are read",
                human(size),
                human(MAX_VIRTUAL_SIZE)
            ),
        ));
    }
    Ok(())
}

/// Refuses what is no raw disk, by name.
fn refuse_recognised(probe: &Probe, drivers: &[Driver]) -> Result<()> {
    let found = recognise(probe, drivers).map_err(|error| match error.hint().cloned() {
        // What can be typed needs a file, and a pipe has none.
        Some(mut hint) => {
            if let Some(advice) = hint.advice_mut() {
                *advice = with_free_outputs(&advice.replace("IMAGE", "FILE"), Path::new("-"));
            }
            error.with_hint(hint)
        }
        None => error,
    })?;
    match found.format {
        Format::Raw => Ok(()),
        format => Err(not_on_a_pipe(format)),
    }
}

fn not_on_a_pipe(format: Format) -> Error {
    let name = other_than(Path::new("-"), &format!("disk.{format}"));
    Error::unsupported(format!(
        "{format} cannot be read from a pipe: it is not stored front to back"
    ))
    .with_hint(format!(
        "save it to a file first (cat > {name}), and name that; a file may also be redirected: - \
         < {name}"
    ))
}

fn size_is_missing() -> Error {
    Error::unsupported(
        "the size of a disk on a pipe must be known before it is read, because ZVHD2 begins with \
         it",
    )
    .with_hint(Hint::GiveSize)
}

fn out_of_order(at: GuestOffset) -> Error {
    Error::new(
        ErrorKind::OutOfRange,
        format!("a pipe is read front to back and once; guest offset {at} is not what comes next"),
    )
}
