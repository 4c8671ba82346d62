//! The end of a pipe that bytes come out of: waits for them, decodes them, and remembers why it can
//! be read no further.

use std::fs::File;
use std::io::{self, Read};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::error::{Error, ErrorKind, Result};
use crate::options::Stop;
use crate::packed::{Container, HEAD_BYTES, Packed, Undecodable, ended, longer};

/// How long a wait for the pipe may last before it is asked again whether to stop.
const PATIENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// The end that bytes come out of.
pub(super) struct Pipe {
    bytes: Box<dyn Read + Send>,
    /// How they were compressed.
    pub(super) packing: Option<Container>,
    /// Number of bytes, when what they are packed in says so, and whether it is exact.
    pub(super) size: Option<u64>,
    pub(super) exact: bool,
    /// Bytes that came.
    pub(super) position: u64,
    stop: Stop,
    /// Once it has failed it fails for everybody in the same way: bytes may be lost.
    pub(super) broken: Option<Broken>,
}

/// Why a pipe can be read no further.
#[derive(Debug)]
pub(super) enum Broken {
    Stopped,
    Ended,
    Longer,
    Io(i32),
    /// What is compressed cannot be decoded.
    Undecodable(Undecodable),
}

impl Broken {
    fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(code) => Self::Io(code),
            None => Self::Undecodable(Undecodable::of(error)),
        }
    }
}

impl Pipe {
    /// Bytes as they come out of `file`.
    pub(super) fn new(file: File, stop: Stop) -> Self {
        let waiting = Waiting {
            file,
            stop: stop.clone(),
        };
        Self {
            bytes: Box::new(waiting),
            packing: None,
            size: None,
            exact: false,
            position: 0,
            stop,
            broken: None,
        }
    }

    /// Bytes that come out of `file`, decoded if they are compressed.
    ///
    /// # Errors
    /// Those of reading and decoding.
    pub(super) fn unpacked(file: File, stop: Stop) -> Result<Self> {
        let mut pipe = Self::new(file, stop);
        let mut head = [0; HEAD_BYTES];
        let got = pipe.fill(&mut head)?;
        let head = head.get(..got).unwrap_or_default();
        pipe.position = 0;
        pipe.bytes = Box::new(io::Cursor::new(head.to_vec()).chain(pipe.bytes));
        pipe.packing = Container::of(head);
        let Some(packing) = pipe.packing else {
            return Ok(pipe);
        };
        match Packed::begin(packing, head, pipe.bytes) {
            Ok(packed) => Ok(Self {
                bytes: packed.bytes,
                size: packed.size,
                exact: packed.exact,
                ..pipe
            }),
            Err(error) => {
                pipe.bytes = Box::new(io::empty());
                Err(pipe.failed(&error))
            }
        }
    }

    /// Fails for `broken`, of a disk of `size` bytes, from now on.
    pub(super) fn fail(&mut self, broken: Broken, size: u64) -> Error {
        let error = self.error(&broken, size);
        self.broken = Some(broken);
        error
    }

    /// The error of `broken`, of a disk of `size` bytes.
    pub(super) fn error(&self, broken: &Broken, size: u64) -> Error {
        let position = self.position;
        match broken {
            Broken::Stopped => Error::new(ErrorKind::Cancelled, "stopped on request"),
            Broken::Ended => ended(position, size),
            Broken::Longer => longer(size),
            Broken::Undecodable(why) => match self.packing {
                Some(packing) => why.error(packing, position),
                None => Error::new(
                    ErrorKind::Io,
                    format!("reading failed after {position} bytes"),
                ),
            },
            Broken::Io(code) => Error::io(
                format!("reading failed after {position} bytes"),
                io::Error::from_raw_os_error(*code),
            ),
        }
    }

    /// Fills `buf`; with less only when the pipe ends.
    pub(super) fn fill(&mut self, buf: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buf.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            if self.stop.asked() {
                return Err(self.fail(Broken::Stopped, self.position));
            }
            match self.bytes.read(rest) {
                Ok(0) => break,
                Ok(len) => {
                    filled += len;
                    self.position = self.position.saturating_add(len as u64);
                }
                Err(error) => return Err(self.failed(&error)),
            }
        }
        Ok(filled)
    }

    /// The error of a read that failed with `error`, now and from now on.
    fn failed(&mut self, error: &io::Error) -> Error {
        // Decoders pass on that somebody asked to stop, in words of their own.
        let broken = match self.stop.asked() {
            true => Broken::Stopped,
            false => Broken::of(error),
        };
        self.fail(broken, self.position)
    }
}

/// A file from which nothing may come for a while.
struct Waiting {
    file: File,
    stop: Stop,
}

impl Read for Waiting {
    /// Reads what is there; waits until something is, the pipe ends, or somebody asks to stop.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.stop.asked() {
                return Err(io::Error::other("stopped on request"));
            }
            // The descriptor is shared with other programs, so it is not made non-blocking.
            let mut waiting = [PollFd::new(&self.file, PollFlags::IN)];
            match poll(&mut waiting, Some(&PATIENCE)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => continue,
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
            match self.file.read(buf) {
                Ok(len) => return Ok(len),
                Err(error) => match error.kind() {
                    // Another reader was faster.
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => {}
                    _ => return Err(error),
                },
            }
        }
    }
}
