//! The requests of a client, one after the other.

use std::io;
use std::time::Duration;

use diskimg::units::fits;
use diskimg::{DiskImage, DiskImageExt as _, ExtentKind, GuestOffset};

use super::event::{Event, violation};
use super::options::{CONTEXT, Negotiated, is_gone};
use crate::limits::{MAX_SERVED_REQUEST, SERVED_EXTENTS, SERVED_PIECE, TICK};
use crate::proto::{
    CHUNK_BLOCK_STATUS, CHUNK_DONE, CHUNK_ERROR, CHUNK_NONE, CHUNK_OFFSET_DATA, CHUNK_OFFSET_HOLE,
    CMD_BLOCK_STATUS, CMD_DISC, CMD_FLAG_DF, CMD_FLAG_REQ_ONE, CMD_READ, CMD_TRIM, CMD_WRITE,
    CMD_WRITE_ZEROES, EINVAL, EIO, EOVERFLOW, EPERM, Message, REQUEST_MAGIC, SIMPLE_REPLY_MAGIC,
    STATE_HOLE, STATE_ZERO, STRUCTURED_REPLY_MAGIC, skip, take, take_u16, take_u32, take_u64,
    wire_len,
};
use crate::wire::{Stop, Stream};

/// The disk that is served.
pub(crate) struct Disk<'a> {
    image: &'a dyn DiskImage,
    tell: &'a (dyn Fn(Event) + Sync),
}

struct Request {
    flags: u16,
    command: u16,
    cookie: u64,
    at: u64,
    len: u32,
}

impl Request {
    /// The next one; `None` when the client has left, or the server is to stop. Clients may wait as
    /// long as they like between requests.
    fn read(stream: &mut impl Stream, stall: Duration, stop: &Stop) -> io::Result<Option<Self>> {
        let first = loop {
            if stop() {
                return Ok(None);
            }
            stream.allow(TICK);
            match take::<1>(stream) {
                Ok([first]) => break first,
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
                Err(error) if is_gone(&error) => return Ok(None),
                Err(error) => return Err(error),
            }
        };
        stream.allow(stall);
        let [second, third, fourth] = take(stream)?;
        let magic = u32::from_be_bytes([first, second, third, fourth]);
        if magic != REQUEST_MAGIC {
            return Err(violation(format!("a request begins with {magic:#010x}")));
        }
        Ok(Some(Self {
            flags: take_u16(stream)?,
            command: take_u16(stream)?,
            cookie: take_u64(stream)?,
            at: take_u64(stream)?,
            len: take_u32(stream)?,
        }))
    }
}

impl<'a> Disk<'a> {
    pub(crate) fn new(image: &'a dyn DiskImage, tell: &'a (dyn Fn(Event) + Sync)) -> Self {
        Self { image, tell }
    }

    pub(crate) fn size(&self) -> u64 {
        self.image.virtual_size()
    }

    /// Answers until the client leaves, or `stop` says so.
    pub(crate) fn answer(
        &self,
        stream: &mut impl Stream,
        agreed: Negotiated,
        stall: Duration,
        stop: &Stop,
    ) -> io::Result<()> {
        let mut answers = Answers {
            disk: self,
            stream,
            agreed,
            stall,
            buffer: Vec::new(),
        };
        while let Some(request) = Request::read(answers.stream, stall, stop)? {
            match request.command {
                CMD_DISC => break,
                CMD_READ => answers.read(&request)?,
                CMD_BLOCK_STATUS if agreed.allocation => answers.status(&request)?,
                CMD_WRITE => {
                    if request.len > MAX_SERVED_REQUEST {
                        return Err(violation(format!("it writes {} bytes", request.len)));
                    }
                    skip(answers.stream, request.len.into())?;
                    answers.refuse(&request, EPERM)?;
                }
                CMD_TRIM | CMD_WRITE_ZEROES => answers.refuse(&request, EPERM)?,
                _ => answers.refuse(&request, EINVAL)?,
            }
        }
        Ok(())
    }
}

/// What goes to one client.
struct Answers<'a, S> {
    disk: &'a Disk<'a>,
    stream: &'a mut S,
    agreed: Negotiated,
    stall: Duration,
    buffer: Vec<u8>,
}

impl<S: Stream> Answers<'_, S> {
    fn read(&mut self, request: &Request) -> io::Result<()> {
        let len = u64::from(request.len);
        if len == 0 || !fits(request.at, len, self.disk.size()) {
            return self.refuse(request, EINVAL);
        }
        if request.len > MAX_SERVED_REQUEST {
            return self.refuse(request, EOVERFLOW);
        }
        if !self.agreed.structured {
            return self.read_simple(request);
        }
        if request.flags & CMD_FLAG_DF != 0 {
            if len > SERVED_PIECE as u64 {
                return self.refuse(request, EOVERFLOW);
            }
            if let Err(error) = self.load(request.at, len) {
                return self.unreadable(request, error);
            }
            return self.data(request, request.at, CHUNK_DONE);
        }
        self.read_chunks(request)
    }

    /// Data and holes, as they lie on the disk.
    fn read_chunks(&mut self, request: &Request) -> io::Result<()> {
        let end = request.at.saturating_add(request.len.into());
        for extent in self
            .disk
            .image
            .extents(GuestOffset(request.at)..GuestOffset(end))
        {
            let extent = match extent {
                Ok(extent) => extent,
                Err(error) => return self.unreadable(request, error),
            };
            if matches!(extent.kind, ExtentKind::Zero | ExtentKind::Hole) {
                let hole = Message::default()
                    .u64(extent.start.0)
                    .u32(u32::try_from(extent.len).unwrap_or(u32::MAX))
                    .done();
                self.chunk(request, 0, CHUNK_OFFSET_HOLE, &hole)?;
                continue;
            }
            let mut at = extent.start.0;
            while at < extent.end().0 {
                let len = (extent.end().0 - at).min(SERVED_PIECE as u64);
                if let Err(error) = self.load(at, len) {
                    return self.unreadable(request, error);
                }
                self.data(request, at, 0)?;
                at += len;
            }
        }
        self.chunk(request, CHUNK_DONE, CHUNK_NONE, &[])
    }

    /// For old clients: nothing but the bytes. An error that comes late ends the connection.
    fn read_simple(&mut self, request: &Request) -> io::Result<()> {
        let end = request.at.saturating_add(request.len.into());
        let mut at = request.at;
        while at < end {
            let len = (end - at).min(SERVED_PIECE as u64);
            match self.load(at, len) {
                Err(error) if at == request.at => return self.unreadable(request, error),
                Err(error) => {
                    (self.disk.tell)(Event::Unreadable(error));
                    return Err(io::Error::other("the rest of a reply cannot be read"));
                }
                Ok(()) => {}
            }
            if at == request.at {
                self.simple(request, 0)?;
            }
            self.stream.allow(self.stall);
            self.stream.write_all(&self.buffer)?;
            at += len;
        }
        Ok(())
    }

    fn status(&mut self, request: &Request) -> io::Result<()> {
        let len = u64::from(request.len);
        if len == 0 || !fits(request.at, len, self.disk.size()) {
            return self.refuse(request, EINVAL);
        }
        let most = match request.flags & CMD_FLAG_REQ_ONE {
            0 => SERVED_EXTENTS,
            _ => 1,
        };
        let range = GuestOffset(request.at)..GuestOffset(request.at.saturating_add(len));
        let mut blocks = Message::default().u32(CONTEXT);
        for extent in self.disk.image.extents(range).take(most) {
            let extent = match extent {
                Ok(extent) => extent,
                Err(error) => return self.unreadable(request, error),
            };
            let state = match extent.kind {
                ExtentKind::Hole => STATE_HOLE | STATE_ZERO,
                ExtentKind::Zero => STATE_ZERO,
                ExtentKind::Data | ExtentKind::Elsewhere => 0,
            };
            let len = u32::try_from(extent.len).unwrap_or(u32::MAX);
            blocks = blocks.u32(len).u32(state);
        }
        self.chunk(request, CHUNK_DONE, CHUNK_BLOCK_STATUS, &blocks.done())
    }

    /// Reads bytes of the disk into the buffer.
    fn load(&mut self, at: u64, len: u64) -> diskimg::Result<()> {
        self.buffer
            .resize(usize::try_from(len).unwrap_or_default(), 0);
        self.disk.image.read_at(GuestOffset(at), &mut self.buffer)
    }

    /// Sends what is in the buffer, which lies at `at`.
    fn data(&mut self, request: &Request, at: u64, flags: u16) -> io::Result<()> {
        let len = self.buffer.len() + size_of::<u64>();
        let head = head(request, flags, CHUNK_OFFSET_DATA, len).u64(at).done();
        self.stream.allow(self.stall);
        self.stream.write_all(&head)?;
        self.stream.write_all(&self.buffer)
    }

    fn chunk(&mut self, request: &Request, flags: u16, kind: u16, body: &[u8]) -> io::Result<()> {
        let message = head(request, flags, kind, body.len()).bytes(body).done();
        self.stream.allow(self.stall);
        self.stream.write_all(&message)
    }

    fn simple(&mut self, request: &Request, error: u32) -> io::Result<()> {
        let reply = Message::default()
            .u32(SIMPLE_REPLY_MAGIC)
            .u32(error)
            .u64(request.cookie)
            .done();
        self.stream.allow(self.stall);
        self.stream.write_all(&reply)
    }

    fn refuse(&mut self, request: &Request, code: u32) -> io::Result<()> {
        if !self.agreed.structured {
            return self.simple(request, code);
        }
        let error = Message::default().u32(code).u16(0).done();
        self.chunk(request, CHUNK_DONE, CHUNK_ERROR, &error)
    }

    /// The client learns that it failed, and whoever runs the server learns why.
    fn unreadable(&mut self, request: &Request, error: diskimg::Error) -> io::Result<()> {
        (self.disk.tell)(Event::Unreadable(error));
        self.refuse(request, EIO)
    }
}

fn head(request: &Request, flags: u16, kind: u16, len: usize) -> Message {
    Message::default()
        .u32(STRUCTURED_REPLY_MAGIC)
        .u16(flags)
        .u16(kind)
        .u64(request.cookie)
        .u32(wire_len(len))
}
