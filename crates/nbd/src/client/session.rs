//! One connection to an export: requests in flight, and what comes back.

use std::collections::VecDeque;
use std::time::Duration;

use super::cover::Cover;
use super::handshake::{Agreed, Export, Wanted, negotiate};
use super::reply::{Body, ErrorReply, Head};
use super::status::{Question, Status, StatusReply};
use super::trouble::{Trouble, violation};
use crate::limits::{IN_FLIGHT, MAX_CHUNKS};
use crate::proto::{CMD_BLOCK_STATUS, CMD_DISC, CMD_READ, Message, REQUEST_MAGIC, wire_len};
use crate::wire::Stream;

type Result<T, E = Trouble> = std::result::Result<T, E>;

/// A part of a read, for one request.
pub struct Piece<'a> {
    /// Where on the disk: a multiple of the smallest block.
    pub at: u64,
    /// For the bytes: as long as a request may be.
    pub buf: &'a mut [u8],
    /// Whether they have come.
    pub done: bool,
}

/// One connection to an export, on any stream.
pub struct Session<S> {
    stream: S,
    agreed: Agreed,
    /// The cookie of the next request.
    cookie: u64,
    /// How long the answer to a request may take.
    patience: Duration,
}

/// A read request that waits for its answer.
struct InFlight {
    cookie: u64,
    /// Of the piece.
    index: usize,
    cover: Cover,
    chunks: usize,
    failed: Option<ErrorReply>,
}

impl<S: Stream> Session<S> {
    /// Begins with a stream on which the greetings were exchanged, for an export and the changes in
    /// a bitmap of its server, by their names. Each answer may take `patience`.
    ///
    /// # Errors
    /// Those of the server, and of its answers. That there is no such bitmap is none.
    pub fn begin(mut stream: S, wanted: Wanted<'_>, patience: Duration) -> Result<Self> {
        let agreed = negotiate(&mut stream, wanted)?;
        Ok(Self {
            stream,
            agreed,
            cookie: 1,
            patience,
        })
    }

    /// [`Self::begin`] on a stream on which nothing has passed yet.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub fn begin_plain(mut stream: S, wanted: Wanted<'_>, patience: Duration) -> Result<Self> {
        super::handshake::greet(&mut stream)?;
        Self::begin(stream, wanted, patience)
    }

    /// What the server says of the export.
    #[must_use]
    pub fn export(&self) -> &Export {
        &self.agreed.export
    }

    /// Reads all pieces that are not done.
    ///
    /// # Errors
    /// The first error; pieces that came are done all the same.
    pub fn read(&mut self, pieces: &mut [Piece<'_>]) -> Result<()> {
        let wanted = pieces.iter().enumerate().filter(|(_, piece)| !piece.done);
        let mut waiting: VecDeque<usize> = wanted.map(|(index, _)| index).collect();
        let mut flying: Vec<InFlight> = Vec::with_capacity(IN_FLIGHT);
        let mut failed = None;
        self.stream.allow(self.patience);
        loop {
            while flying.len() < IN_FLIGHT
                && let Some(index) = waiting.pop_front()
                && let Some(piece) = pieces.get(index)
            {
                let cookie = self.send(CMD_READ, piece.at, piece.buf.len())?;
                flying.push(InFlight::new(cookie, index));
            }
            if flying.is_empty() {
                return failed.map_or(Ok(()), |error: ErrorReply| Err(error.into_trouble()));
            }
            let Some(over) = self.receive(&mut flying, pieces)? else {
                continue;
            };
            self.stream.allow(self.patience);
            match over.failed {
                Some(error) => failed = failed.or(Some(error)),
                None => pieces
                    .iter_mut()
                    .skip(over.index)
                    .take(1)
                    .for_each(|it| it.done = true),
            }
        }
    }

    /// Takes in one reply or chunk; the request that it ends.
    fn receive(
        &mut self,
        flying: &mut Vec<InFlight>,
        pieces: &mut [Piece<'_>],
    ) -> Result<Option<InFlight>> {
        let head = Head::read(&mut self.stream)?;
        let position = flying.iter().position(|it| it.cookie == head.cookie());
        let Some(position) = position else {
            return Err(violation(format!(
                "a reply has the cookie {:#x}, which no request in flight has",
                head.cookie()
            )));
        };
        let structured = self.agreed.export.structured;
        let done = match (flying.get_mut(position), &head) {
            (Some(request), head) => match pieces.get_mut(request.index) {
                Some(piece) => request.take_in(&mut self.stream, head, structured, piece)?,
                None => false,
            },
            (None, _) => false,
        };
        Ok(done.then(|| flying.swap_remove(position)))
    }

    /// What is allocated from `at` on, for at most `len` bytes; both are multiples of the smallest
    /// block.
    ///
    /// # Errors
    /// Those of the server, and of its answers.
    pub fn status(&mut self, at: u64, len: u64) -> Result<Status> {
        self.ask(at, len, Question::Allocation)
    }

    /// What has changed from `at` on, for at most `len` bytes; both are multiples of the smallest
    /// block. For exports with a bitmap.
    ///
    /// # Errors
    /// Those of the server, and of its answers.
    pub fn changes(&mut self, at: u64, len: u64) -> Result<Status> {
        self.ask(at, len, Question::Changes)
    }

    fn ask(&mut self, at: u64, len: u64, question: Question) -> Result<Status> {
        self.stream.allow(self.patience);
        let bytes = usize::try_from(len).unwrap_or(usize::MAX);
        let cookie = self.send(CMD_BLOCK_STATUS, at, bytes)?;
        let mut reply = StatusReply::new(at, len, question, self.agreed.contexts);
        loop {
            let head = Head::read(&mut self.stream)?;
            if head.cookie() != cookie {
                return Err(violation(format!(
                    "a reply has the cookie {:#x}, the request has {cookie:#x}",
                    head.cookie()
                )));
            }
            if reply.take_in(&mut self.stream, &head)? {
                return reply.done();
            }
        }
    }

    /// Says farewell, so that the server need not think that the connection broke.
    pub(crate) fn leave(&mut self) {
        self.stream.allow(Duration::from_millis(500));
        let _ = self.send(CMD_DISC, 0, 0);
    }

    fn send(&mut self, command: u16, at: u64, len: usize) -> Result<u64> {
        let cookie = self.cookie;
        self.cookie = self.cookie.wrapping_add(1);
        let request = Message::default()
            .u32(REQUEST_MAGIC)
            .u16(0)
            .u16(command)
            .u64(cookie)
            .u64(at)
            .u32(wire_len(len))
            .done();
        self.stream.write_all(&request)?;
        self.stream.flush()?;
        Ok(cookie)
    }
}

impl InFlight {
    fn new(cookie: u64, index: usize) -> Self {
        Self {
            cookie,
            index,
            cover: Cover::default(),
            chunks: 0,
            failed: None,
        }
    }

    /// Takes in what follows `head`; whether the request is over.
    fn take_in(
        &mut self,
        stream: &mut impl Stream,
        head: &Head,
        structured: bool,
        piece: &mut Piece<'_>,
    ) -> Result<bool> {
        let (start, len) = (piece.at, piece.buf.len() as u64);
        match head {
            Head::Simple { error: 0, .. } if structured => Err(violation(
                "a read is answered with a simple reply after structured replies were agreed on",
            )),
            Head::Simple { error: 0, .. } => {
                stream.read_exact(piece.buf)?;
                self.cover.add(start, start.saturating_add(len));
                Ok(true)
            }
            Head::Simple { error, .. } => {
                self.failed = Some(ErrorReply::new(*error, String::new(), start));
                Ok(true)
            }
            Head::Chunk { .. } if !structured => Err(violation(
                "a read is answered with a structured reply that was not agreed on",
            )),
            Head::Chunk { done, .. } => {
                self.chunks += 1;
                if self.chunks > MAX_CHUNKS {
                    return Err(violation(format!(
                        "the reply to a read of {len} bytes has more than {MAX_CHUNKS} chunks"
                    )));
                }
                self.chunk(stream, head, piece)?;
                let whole = self.cover.is_whole(start, start.saturating_add(len));
                if *done && self.failed.is_none() && !whole {
                    return Err(violation(format!(
                        "the reply to a read of {len} bytes at {start:#x} ends without all of them"
                    )));
                }
                Ok(*done)
            }
        }
    }

    fn chunk(
        &mut self,
        stream: &mut impl Stream,
        head: &Head,
        piece: &mut Piece<'_>,
    ) -> Result<()> {
        match Body::read(stream, head, piece.at)? {
            Body::None => Ok(()),
            Body::Error(error) => {
                self.failed.get_or_insert(error);
                Ok(())
            }
            Body::Data { at, len } => {
                let part = self.part(piece, at, len)?;
                stream.read_exact(part)?;
                Ok(())
            }
            Body::Hole { at, len } => {
                self.part(piece, at, len)?.fill(0);
                Ok(())
            }
            Body::Status { .. } => Err(violation("a read is answered with the state of blocks")),
        }
    }

    /// The bytes that a chunk is for.
    fn part<'b>(&mut self, piece: &'b mut Piece<'_>, at: u64, len: u64) -> Result<&'b mut [u8]> {
        let (start, all) = (piece.at, piece.buf.len());
        let range = at.checked_sub(start).and_then(|from| {
            let from = usize::try_from(from).ok()?;
            let until = from.checked_add(usize::try_from(len).ok()?)?;
            Some(from..until)
        });
        let part = range
            .and_then(|range| piece.buf.get_mut(range))
            .ok_or_else(|| {
                violation(format!(
                    "a chunk has {len} bytes at {at:#x}, {all} bytes at {start:#x} were asked for"
                ))
            })?;
        if !self.cover.add(at, at.saturating_add(len)) {
            return Err(violation(format!(
                "a chunk of {len} bytes at {at:#x} is empty or overlaps another one"
            )));
        }
        Ok(part)
    }
}
