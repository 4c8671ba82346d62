//! Replies to requests: their heads, and the bodies of chunks. Lengths are held against what was
//! asked for before anything is read.

use diskimg::printable;

use super::trouble::{Trouble, violation};
use crate::limits::{MAX_DESCRIPTORS, MAX_STRING};
use crate::proto::{
    CHUNK_BLOCK_STATUS, CHUNK_DONE, CHUNK_ERROR_BIT, CHUNK_NONE, CHUNK_OFFSET_DATA,
    CHUNK_OFFSET_HOLE, SIMPLE_REPLY_MAGIC, STRUCTURED_REPLY_MAGIC, take_u16, take_u32, take_u64,
    take_vec,
};
use crate::wire::Stream;

type Result<T, E = Trouble> = std::result::Result<T, E>;

/// The beginning of a reply, or of a chunk of one.
#[derive(Debug)]
pub(crate) enum Head {
    Simple {
        error: u32,
        cookie: u64,
    },
    Chunk {
        done: bool,
        kind: u16,
        cookie: u64,
        len: u32,
    },
}

impl Head {
    pub(crate) fn read(stream: &mut impl Stream) -> Result<Self> {
        match take_u32(stream)? {
            SIMPLE_REPLY_MAGIC => Ok(Self::Simple {
                error: take_u32(stream)?,
                cookie: take_u64(stream)?,
            }),
            STRUCTURED_REPLY_MAGIC => Ok(Self::Chunk {
                done: take_u16(stream)? & CHUNK_DONE != 0,
                kind: take_u16(stream)?,
                cookie: take_u64(stream)?,
                len: take_u32(stream)?,
            }),
            magic => Err(violation(format!(
                "a reply begins with {magic:#010x}, expected {SIMPLE_REPLY_MAGIC:#010x} or \
                 {STRUCTURED_REPLY_MAGIC:#010x}"
            ))),
        }
    }

    pub(crate) fn cookie(&self) -> u64 {
        match self {
            Self::Simple { cookie, .. } | Self::Chunk { cookie, .. } => *cookie,
        }
    }
}

/// An error that the server reports for a request.
#[derive(Debug)]
pub(crate) struct ErrorReply {
    code: u32,
    message: String,
    at: u64,
}

impl ErrorReply {
    pub(crate) fn new(code: u32, message: String, at: u64) -> Self {
        Self { code, message, at }
    }

    pub(crate) fn into_trouble(self) -> Trouble {
        Trouble::Refused {
            code: self.code,
            message: self.message,
            at: self.at,
        }
    }
}

/// What a chunk says.
#[derive(Debug)]
pub(crate) enum Body {
    None,
    /// Data, which follow.
    Data {
        at: u64,
        len: u64,
    },
    Hole {
        at: u64,
        len: u64,
    },
    /// Descriptors, which follow.
    Status {
        context: u32,
        descriptors: u64,
    },
    Error(ErrorReply),
}

impl Body {
    /// Reads what follows `head`, up to data and descriptors. The request was for `asked`.
    pub(crate) fn read(stream: &mut impl Stream, head: &Head, asked: u64) -> Result<Self> {
        let Head::Chunk {
            done, kind, len, ..
        } = head
        else {
            return Ok(Self::None);
        };
        let len = u64::from(*len);
        let wrong = || violation(format!("a chunk of type {kind:#06x} has {len} bytes"));
        match *kind {
            CHUNK_NONE if len == 0 && *done => Ok(Self::None),
            CHUNK_OFFSET_DATA if len > 8 => Ok(Self::Data {
                at: take_u64(stream)?,
                len: len - 8,
            }),
            CHUNK_OFFSET_HOLE if len == 12 => Ok(Self::Hole {
                at: take_u64(stream)?,
                len: take_u32(stream)?.into(),
            }),
            CHUNK_BLOCK_STATUS if len >= 12 && (len - 4).is_multiple_of(8) => {
                let descriptors = (len - 4) / 8;
                if descriptors > MAX_DESCRIPTORS {
                    return Err(violation(format!(
                        "a reply describes {descriptors} blocks, at most {MAX_DESCRIPTORS} are read"
                    )));
                }
                Ok(Self::Status {
                    context: take_u32(stream)?,
                    descriptors,
                })
            }
            kind if kind & CHUNK_ERROR_BIT != 0 => error(stream, len, asked, wrong),
            CHUNK_NONE | CHUNK_OFFSET_DATA | CHUNK_OFFSET_HOLE | CHUNK_BLOCK_STATUS => Err(wrong()),
            kind => Err(violation(format!(
                "a chunk has the unknown type {kind:#06x}"
            ))),
        }
    }
}

/// A chunk that reports an error: a number, a message, and for some a place.
fn error(
    stream: &mut impl Stream,
    len: u64,
    asked: u64,
    wrong: impl Fn() -> Trouble,
) -> Result<Body> {
    if !(6..=6 + MAX_STRING as u64 + 8).contains(&len) {
        return Err(wrong());
    }
    let code = take_u32(stream)?;
    let text = u64::from(take_u16(stream)?);
    let rest = len - 6;
    if text > rest || code == 0 {
        return Err(wrong());
    }
    let rest = take_vec(stream, usize::try_from(rest).unwrap_or_default())?;
    let (text, place) = rest
        .split_at_checked(usize::try_from(text).unwrap_or_default())
        .ok_or_else(wrong)?;
    let at = <[u8; 8]>::try_from(place).map_or(asked, u64::from_be_bytes);
    let message = printable(&String::from_utf8_lossy(text));
    Ok(Body::Error(ErrorReply::new(code, message, at)))
}
