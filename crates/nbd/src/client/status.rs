//! What is allocated on the disk: answers of the server, and the last one of them, which walks ask
//! again and again.

use std::ops::Range;

use diskimg::SourceExtent;

use super::handshake::Contexts;
use super::reply::{Body, ErrorReply, Head};
use super::trouble::{Trouble, violation};
use crate::limits::{FIRST_STATUS_BYTES, KEPT_EXTENTS, MAX_STATUS_BYTES};
use crate::proto::{STATE_DIRTY, STATE_ZERO, skip, take_u32};
use crate::wire::Stream;

type Result<T, E = Trouble> = std::result::Result<T, E>;

/// What is asked about each block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// Whether zeros are read there.
    Allocation,
    /// Whether it has changed.
    Changes,
}

impl Question {
    /// The flag that says yes.
    const fn flag(self) -> u32 {
        match self {
            Self::Allocation => STATE_ZERO,
            Self::Changes => STATE_DIRTY,
        }
    }
}

/// What lies where from some place on.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Status {
    start: u64,
    /// Where each extent ends, and whether what was asked is so there: zeros are read, or it has
    /// changed. Neighbours differ.
    extents: Vec<(u64, bool)>,
}

impl Status {
    /// Where the last extent ends.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.extents.last().map_or(self.start, |(end, _)| *end)
    }

    /// The extents for which what was asked is so.
    pub(crate) fn affirmed(&self) -> impl Iterator<Item = Range<u64>> {
        let starts = self.extents.iter().map(|(end, _)| *end);
        let starts = std::iter::once(self.start).chain(starts);
        let extents = starts.zip(&self.extents).filter(|(_, (_, yes))| *yes);
        extents.map(|(start, (end, _))| start..*end)
    }

    /// What is at `at`, for at most `limit` bytes, if this knows it.
    #[must_use]
    pub fn extent_at(&self, at: u64, limit: u64) -> Option<SourceExtent> {
        if at < self.start {
            return None;
        }
        let index = self.extents.partition_point(|(end, _)| *end <= at);
        let (end, is_zero) = *self.extents.get(index)?;
        let len = (end - at).min(limit);
        Some(match is_zero {
            true => SourceExtent::Hole(len),
            false => SourceExtent::Data(len),
        })
    }

    /// Adds an extent at the end; `false` when there is no room.
    fn push(&mut self, end: u64, is_zero: bool) -> bool {
        if let Some((last, kind)) = self.extents.last_mut()
            && *kind == is_zero
        {
            *last = end;
            return true;
        }
        let room = self.extents.len() < KEPT_EXTENTS;
        if room {
            self.extents.push((end, is_zero));
        }
        room
    }
}

/// The answer to one question, while it comes.
pub(crate) struct StatusReply {
    status: Status,
    end: u64,
    question: Question,
    /// Of what was asked.
    context: Option<u32>,
    /// The other one, which every answer speaks of too, until it has.
    other: Option<u32>,
    failed: Option<ErrorReply>,
}

impl StatusReply {
    pub(crate) fn new(at: u64, len: u64, question: Question, agreed: Contexts) -> Self {
        let (context, other) = match question {
            Question::Allocation => (agreed.allocation, agreed.changes),
            Question::Changes => (agreed.changes, agreed.allocation),
        };
        Self {
            status: Status {
                start: at,
                extents: Vec::new(),
            },
            end: at.saturating_add(len),
            question,
            context,
            other,
            failed: None,
        }
    }

    /// Takes in what follows `head`; whether the answer is over.
    pub(crate) fn take_in(&mut self, stream: &mut impl Stream, head: &Head) -> Result<bool> {
        let start = self.status.start;
        let done = match head {
            Head::Simple { error: 0, .. } => {
                return Err(violation("a question for allocation has a simple reply"));
            }
            Head::Simple { error, .. } => {
                self.failed = Some(ErrorReply::new(*error, String::new(), start));
                return Ok(true);
            }
            Head::Chunk { done, .. } => *done,
        };
        match Body::read(stream, head, start)? {
            Body::None => {}
            Body::Error(error) if self.failed.is_none() => self.failed = Some(error),
            Body::Status {
                context,
                descriptors,
            } if self.other == Some(context) => {
                self.other = None;
                skip(stream, descriptors.saturating_mul(8))?;
            }
            Body::Status {
                context,
                descriptors,
            } if self.status.extents.is_empty() => {
                self.descriptors(stream, context, descriptors)?
            }
            other => {
                return Err(violation(format!(
                    "a question for allocation is answered with {}",
                    match other {
                        Body::Error(_) => "two errors",
                        Body::Status { .. } => "two lists of blocks",
                        _ => "data",
                    }
                )));
            }
        }
        Ok(done)
    }

    fn descriptors(&mut self, stream: &mut impl Stream, context: u32, count: u64) -> Result<()> {
        if self.context != Some(context) {
            return Err(violation(format!(
                "blocks are described in context {context}, which was not agreed on or comes twice"
            )));
        }
        let mut at = self.status.start;
        for left in (0..count).rev() {
            let (len, flags) = (take_u32(stream)?, take_u32(stream)?);
            if len == 0 {
                return Err(violation("a block of 0 bytes is described"));
            }
            if at >= self.end {
                return Err(violation("blocks are described that were not asked for"));
            }
            // The last one may be longer than what was asked for.
            at = at.saturating_add(len.into()).min(self.end);
            if !self.status.push(at, flags & self.question.flag() != 0) {
                skip(stream, left * 8)?;
                break;
            }
        }
        Ok(())
    }

    pub(crate) fn done(self) -> Result<Status> {
        match self.failed {
            Some(error) => Err(error.into_trouble()),
            None if self.status.extents.is_empty() => Err(violation(
                "a question for allocation is answered with nothing",
            )),
            None => Ok(self.status),
        }
    }
}

/// The last answer, and how much to ask for next.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) status: Status,
    ask: u64,
}

impl Default for Known {
    fn default() -> Self {
        Self {
            status: Status::default(),
            ask: FIRST_STATUS_BYTES,
        }
    }
}

impl Known {
    /// The range to ask for about `at`, on a disk of `size` bytes in blocks of `block`.
    pub(crate) fn question(&self, at: u64, size: u64, block: u64) -> (u64, u64) {
        let start = at - at % block;
        (start, self.ask.min(size.saturating_sub(start)))
    }

    /// Keeps the answer to a question for `asked` bytes.
    pub(crate) fn keep(&mut self, status: Status, asked: u64) {
        let whole = status.end() - status.start >= asked;
        if whole && status.extents.len() < KEPT_EXTENTS / 16 {
            self.ask = self.ask.saturating_mul(2).min(MAX_STATUS_BYTES);
        }
        self.status = status;
    }
}
