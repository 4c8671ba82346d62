//! A raw disk that comes through a pipe: front to back, each block once.
//!
//! ```text
//!  pipe ──▶ [head: block 0, kept] 1 2 3 4 5 …           one cursor, under a lock
//!                                   │ └─ asked for: goes to the reader's buffer
//!                                   └─ passed on the way: kept until its reader comes
//! ```
//!
//! Threads that take the blocks in ascending order, a few at a time each, ask for them in almost
//! that order: when one asks for block 5, the blocks before it that have not been read are those of
//! other threads. So at most [`BLOCKS_AT_A_TIME`] are kept for each reader, and no reader waits for
//! anything but the writer of the pipe.
//!
//! The last byte is handed out only when the pipe has ended behind it. A disk that is shorter or
//! longer than was said is never read whole, and so nothing made of it is complete.
//!
//! A compressed disk is decoded on its way out of the pipe.

mod end;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use self::end::{Broken, Pipe};
use crate::details::Details;
use crate::driver::Driver;
use crate::error::{Error, ErrorKind, Result};
use crate::extent::{Extent, ExtentKind, check_range, clip_extent};
use crate::format::Format;
use crate::hint::Hint;
use crate::image::DiskImage;
use crate::options::Stop;
use crate::packed::{Container, agreed_size, refuse_other_than_raw};
use crate::probe::Probe;
use crate::select::recognise;
use crate::text::{other_than, with_free_outputs};
use crate::units::{GuestOffset, MIB, SECTOR, round_up};

/// Unit in which a disk on a pipe is read, in bytes.
pub const BLOCK_BYTES: u64 = 2 * MIB;
/// Most blocks that a reader may take at a time.
pub const BLOCKS_AT_A_TIME: usize = 4;
/// [`BLOCK_BYTES`] as the length of a buffer.
const BLOCK_LEN: usize = 2 << 20;
const _: () = assert!(BLOCK_LEN as u64 == BLOCK_BYTES);

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
    pub stop: Stop,
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
    packing: Option<Container>,
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
        // Before anything is waited for.
        agreed_size(options.size, None)?;
        let stop = options.stop.clone();
        let mut pipe = match drivers {
            Some(_) => Pipe::unpacked(pipe, stop)?,
            None => Pipe::new(pipe, stop),
        };
        let found = pipe.size.filter(|_| pipe.exact || options.size.is_none());
        let size = agreed_size(options.size, found)?;
        let wanted = match size {
            Some(size) => size.min(BLOCK_BYTES),
            // Enough to say what it is.
            None => Probe::HEAD_BYTES,
        };
        let mut head = vec![0; usize::try_from(wanted).unwrap_or(BLOCK_LEN)];
        let got = pipe.fill(&mut head)?;
        // What it is explains more than how long it is.
        if let (Some(drivers), 1..) = (&drivers, got) {
            let probe = Probe::of(head.get(..got).unwrap_or_default(), &[]);
            refuse_recognised(&probe, drivers, pipe.packing)?;
        }
        if got == 0 {
            return Err(Error::new(ErrorKind::Truncated, "nothing came out of it"));
        }
        let Some(size) = size else {
            return Err(size_is_missing());
        };
        let virtual_size = round_up(size, SECTOR).unwrap_or(size);
        if got < head.len() {
            return Err(pipe.error(&Broken::Ended, size));
        }
        let image = Self {
            options,
            size,
            virtual_size,
            head,
            drivers,
            packing: pipe.packing,
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
        if let Some(broken) = &pipe.broken {
            return Err(pipe.error(broken, self.size));
        }
        let left = self.size.saturating_sub(pipe.position);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
        let (stored, padding) = block.split_at_mut(len);
        padding.fill(0);
        if pipe.fill(stored)? < len {
            return Err(pipe.fail(Broken::Ended, self.size));
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
            return Err(pipe.fail(Broken::Longer, self.size));
        }
        match &self.drivers {
            Some(drivers) => refuse_recognised(&Probe::of(&self.head, last), drivers, pipe.packing),
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

    /// Most blocks that are kept for `readers` threads: each may be as far ahead of the slowest one
    /// as the blocks that it takes at a time.
    fn most_kept(readers: usize) -> u64 {
        (readers as u64).saturating_mul(BLOCKS_AT_A_TIME as u64)
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
        let mut details = Details {
            compression: self.packing.map(|packing| packing.name().to_owned()),
            streamed: true,
            ..Details::new(Format::Raw)
        };
        if self.size != self.virtual_size {
            details.warnings.push(format!(
                "the disk's length of {} bytes is not a multiple of 512; it is padded with zeros \
                 to {} bytes",
                self.size, self.virtual_size
            ));
        }
        details
    }

    /// The first block, those that are kept, and what decodes them.
    fn memory_bound(&self, readers: usize) -> u64 {
        let decoder = self.packing.map_or(0, Container::memory);
        let blocks = Self::most_kept(readers).saturating_add(1);
        BLOCK_BYTES.saturating_mul(blocks).saturating_add(decoder)
    }
}

/// Refuses what is no raw disk, by name. It was decoded from a stream of `packing`, if any.
fn refuse_recognised(probe: &Probe, drivers: &[Driver], packing: Option<Container>) -> Result<()> {
    if let Some(packing) = packing {
        return refuse_other_than_raw(probe, drivers, packing);
    }
    let found = recognise(probe, drivers);
    let found = found.map_err(|error| match error.hint().cloned() {
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
