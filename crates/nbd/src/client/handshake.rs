//! From a fresh connection to an export that can be read: fixed newstyle negotiation.

use diskimg::{Error, printable};

use super::trouble::{Trouble, violation};
use crate::limits::{MAX_MIN_BLOCK, MAX_OPTION_REPLIES, MAX_OPTION_REPLY};
use crate::proto::{
    ALLOCATION, DIRTY_BITMAP, FLAG_FIXED_NEWSTYLE, FLAG_NO_ZEROES, IHAVEOPT, INFO_BLOCK_SIZE,
    INFO_EXPORT, Message, NBDMAGIC, OPT_GO, OPT_LIST_META_CONTEXT, OPT_SET_META_CONTEXT,
    OPT_STARTTLS, OPT_STRUCTURED_REPLY, OPTION_REPLY_MAGIC, REP_ACK, REP_ERR, REP_ERR_POLICY,
    REP_ERR_SHUTDOWN, REP_ERR_TLS_REQD, REP_ERR_UNKNOWN, REP_ERR_UNSUP, REP_INFO, REP_META_CONTEXT,
    TRANSMIT_HAS_FLAGS, TRANSMIT_MULTI_CONN, take_u16, take_u32, take_u64, take_vec, wire_len,
};
use crate::wire::Stream;

type Result<T, E = Trouble> = std::result::Result<T, E>;

/// What the server says of an export. The same after each new connection, or it is another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// Bytes of the disk.
    pub size: u64,
    /// Transmission flags.
    pub flags: u16,
    /// Requests begin and end at multiples of it.
    pub min_block: u64,
    /// Longest request.
    pub max_block: u64,
    /// Whether replies are structured.
    pub structured: bool,
    /// Whether the server says what is allocated.
    pub allocation: bool,
    /// Whether the server says what has changed, by the bitmap that was asked for.
    pub changes: bool,
    /// Names of the bitmaps that the server has instead of that one.
    pub other_bitmaps: Vec<String>,
}

impl Export {
    /// Whether several connections see one disk.
    #[must_use]
    pub fn multi_conn(&self) -> bool {
        self.flags & TRANSMIT_MULTI_CONN != 0
    }
}

/// Reads the server's greeting and answers it.
pub(crate) fn greet(stream: &mut impl Stream) -> Result<()> {
    let magic = take_u64(stream)?;
    if magic != NBDMAGIC {
        return Err(violation(format!(
            "the greeting begins with {magic:#018x}, expected {NBDMAGIC:#018x} (NBDMAGIC)"
        )));
    }
    let style = take_u64(stream)?;
    if style != IHAVEOPT {
        return Err(Trouble::Final(Error::unsupported(format!(
            "the server negotiates in the old style ({style:#018x}), fixed newstyle is expected"
        ))));
    }
    let flags = take_u16(stream)?;
    if flags & FLAG_FIXED_NEWSTYLE == 0 {
        return Err(Trouble::Final(Error::unsupported(format!(
            "the server does not offer fixed newstyle negotiation (flags {flags:#06x})"
        ))));
    }
    let ours = u32::from(FLAG_FIXED_NEWSTYLE | (flags & FLAG_NO_ZEROES));
    stream.write_all(&ours.to_be_bytes())?;
    stream.flush()?;
    Ok(())
}

/// Asks for TLS; after this the client must speak it. Nothing else of an export that needs TLS is
/// sent before.
pub(crate) fn start_tls(stream: &mut impl Stream) -> Result<()> {
    send_option(stream, OPT_STARTTLS, &[])?;
    let reply = reply_to(stream, OPT_STARTTLS)?;
    match reply.kind {
        REP_ACK if reply.data.is_empty() => Ok(()),
        kind if kind & REP_ERR != 0 => Err(Trouble::Final(
            Error::unsupported(format!(
                "the server refuses to encrypt the connection: {}",
                reply.error()
            ))
            .with_hint("set up TLS on the server, or read without it (nbd:// instead of nbds://)"),
        )),
        kind => Err(violation(format!("STARTTLS is answered with reply {kind}"))),
    }
}

/// Names of an export, and of a bitmap of its server.
pub type Wanted<'a> = (&'a str, Option<&'a str>);

/// What was agreed on.
pub(crate) struct Agreed {
    pub(crate) export: Export,
    pub(crate) contexts: Contexts,
}

/// Numbers of the contexts that were agreed on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Contexts {
    /// Says what is allocated.
    pub(crate) allocation: Option<u32>,
    /// Says what has changed.
    pub(crate) changes: Option<u32>,
}

/// Asks for structured replies, for what is allocated and has changed, and for the export.
pub(crate) fn negotiate(stream: &mut impl Stream, (name, bitmap): Wanted<'_>) -> Result<Agreed> {
    let structured = ask_structured(stream)?;
    let bitmap = bitmap.map(|bitmap| format!("{DIRTY_BITMAP}{bitmap}"));
    let mut contexts = Contexts::default();
    let mut other_bitmaps = Vec::new();
    if structured {
        contexts = ask_contexts(stream, name, bitmap.as_deref())?;
        if bitmap.is_some() && contexts.changes.is_none() {
            other_bitmaps = list_bitmaps(stream, name)?;
        }
    }
    let export = go(stream, name)?;
    Ok(Agreed {
        export: Export {
            structured,
            allocation: contexts.allocation.is_some(),
            changes: contexts.changes.is_some(),
            other_bitmaps,
            ..export
        },
        contexts,
    })
}

fn ask_structured(stream: &mut impl Stream) -> Result<bool> {
    send_option(stream, OPT_STRUCTURED_REPLY, &[])?;
    let reply = reply_to(stream, OPT_STRUCTURED_REPLY)?;
    match reply.kind {
        REP_ACK if reply.data.is_empty() => Ok(true),
        // Without them everything is read.
        kind if is_not_offered(kind) => Ok(false),
        kind if kind & REP_ERR != 0 => Err(refused(&reply)),
        kind => Err(violation(format!(
            "STRUCTURED_REPLY is answered with reply {kind}"
        ))),
    }
}

/// Asks for the contexts of what is allocated, and of what has changed by `bitmap`.
fn ask_contexts(stream: &mut impl Stream, name: &str, bitmap: Option<&str>) -> Result<Contexts> {
    let mut contexts = Contexts::default();
    let queries: Vec<_> = [ALLOCATION].into_iter().chain(bitmap).collect();
    each_context(
        stream,
        (OPT_SET_META_CONTEXT, name, &queries),
        |number, called| {
            let place = match called {
                called if called == ALLOCATION.as_bytes() => &mut contexts.allocation,
                called if Some(called) == bitmap.map(str::as_bytes) => &mut contexts.changes,
                called => {
                    return Err(violation(format!(
                        "the contexts {queries:?} were asked for, the reply is for {:?}",
                        printable(&String::from_utf8_lossy(called))
                    )));
                }
            };
            if place.replace(number).is_some() {
                return Err(violation(format!(
                    "the context {} is given twice",
                    printable(&String::from_utf8_lossy(called))
                )));
            }
            Ok(())
        },
    )?;
    if contexts.allocation.is_some() && contexts.allocation == contexts.changes {
        return Err(violation("two contexts have the same number"));
    }
    Ok(contexts)
}

/// Names of all bitmaps that the server has of the export.
fn list_bitmaps(stream: &mut impl Stream, name: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    each_context(
        stream,
        (OPT_LIST_META_CONTEXT, name, &[DIRTY_BITMAP]),
        |_, called| {
            let called = String::from_utf8_lossy(called);
            names.extend(called.strip_prefix(DIRTY_BITMAP).map(printable));
            Ok(())
        },
    )?;
    Ok(names)
}

/// Tells each context that `option` is answered with, by number and name.
fn each_context(
    stream: &mut impl Stream,
    (option, name, queries): (u32, &str, &[&str]),
    mut tell: impl FnMut(u32, &[u8]) -> Result<()>,
) -> Result<()> {
    let message = Message::default()
        .string(name.as_bytes())
        .u32(wire_len(queries.len()));
    let message = queries
        .iter()
        .fold(message, |message, query| message.string(query.as_bytes()));
    send_option(stream, option, &message.done())?;
    for _ in 0..MAX_OPTION_REPLIES {
        let reply = reply_to(stream, option)?;
        match reply.kind {
            REP_ACK => return Ok(()),
            REP_META_CONTEXT => {
                let (number, called) = reply
                    .data
                    .split_first_chunk::<4>()
                    .unwrap_or((&[0; 4], &[]));
                tell(u32::from_be_bytes(*number), called)?;
            }
            kind if is_not_offered(kind) => return Ok(()),
            kind if kind & REP_ERR != 0 => return Err(refused(&reply)),
            kind => {
                return Err(violation(format!(
                    "contexts are answered with reply {kind}"
                )));
            }
        }
    }
    Err(endless())
}

fn go(stream: &mut impl Stream, name: &str) -> Result<Export> {
    let request = Message::default()
        .string(name.as_bytes())
        .u16(1)
        .u16(INFO_BLOCK_SIZE)
        .done();
    send_option(stream, OPT_GO, &request)?;
    let (mut size, mut blocks) = (None, None);
    for _ in 0..MAX_OPTION_REPLIES {
        let reply = reply_to(stream, OPT_GO)?;
        match reply.kind {
            REP_INFO => reply.info(&mut size, &mut blocks)?,
            REP_ACK => return export(size, blocks),
            kind if kind & REP_ERR != 0 => return Err(refused(&reply)),
            kind => return Err(violation(format!("GO is answered with reply {kind}"))),
        }
    }
    Err(endless())
}

/// Puts together what the server said of the export.
fn export(size: Option<(u64, u16)>, blocks: Option<[u32; 3]>) -> Result<Export> {
    let (size, flags) =
        size.ok_or_else(|| violation("GO is acknowledged, and the size was not told"))?;
    if flags & TRANSMIT_HAS_FLAGS == 0 {
        return Err(violation(format!(
            "the transmission flags {flags:#06x} lack bit 0"
        )));
    }
    // The protocol's defaults for servers that do not tell.
    let smallest = if size.is_multiple_of(512) { 512 } else { 1 };
    let [min, _, max] = blocks.unwrap_or([smallest, 4096, 32 << 20]).map(u64::from);
    if !min.is_power_of_two() || min > MAX_MIN_BLOCK {
        return Err(violation(format!(
            "the smallest block has {min} bytes, expected a power of two up to {MAX_MIN_BLOCK}"
        )));
    }
    if max < min {
        return Err(violation(format!(
            "the longest request of {max} bytes is shorter than the smallest block of {min}"
        )));
    }
    if !size.is_multiple_of(min) {
        return Err(violation(format!(
            "the export has {size} bytes, no multiple of its smallest block of {min}"
        )));
    }
    Ok(Export {
        size,
        flags,
        min_block: min,
        max_block: max - max % min,
        structured: false,
        allocation: false,
        changes: false,
        other_bitmaps: Vec::new(),
    })
}

/// A reply to an option.
struct Reply {
    kind: u32,
    data: Vec<u8>,
}

impl Reply {
    /// Takes in a piece of information about the export.
    fn info(&self, size: &mut Option<(u64, u16)>, blocks: &mut Option<[u32; 3]>) -> Result<()> {
        let wrong = || violation(format!("INFO has {} bytes", self.data.len()));
        let mut data = self.data.as_slice();
        match take_u16(&mut data).map_err(|_| wrong())? {
            INFO_EXPORT if data.len() == 10 => {
                *size = Some((take_u64(&mut data)?, take_u16(&mut data)?))
            }
            INFO_BLOCK_SIZE if data.len() == 12 => {
                *blocks = Some([
                    take_u32(&mut data)?,
                    take_u32(&mut data)?,
                    take_u32(&mut data)?,
                ]);
            }
            INFO_EXPORT | INFO_BLOCK_SIZE => return Err(wrong()),
            // Names and descriptions are for people.
            _ => {}
        }
        Ok(())
    }

    /// The error that it is.
    fn error(&self) -> String {
        let name = match self.kind {
            REP_ERR_UNSUP => "not supported",
            REP_ERR_POLICY => "not allowed by the server's policy",
            REP_ERR_TLS_REQD => "the server requires TLS",
            REP_ERR_UNKNOWN => "there is no export of this name",
            REP_ERR_SHUTDOWN => "the server is shutting down",
            kind => return format!("error {kind:#010x}"),
        };
        match printable(&String::from_utf8_lossy(&self.data)).as_str() {
            "" => name.to_owned(),
            said => format!("{name} (\"{said}\")"),
        }
    }
}

fn is_not_offered(kind: u32) -> bool {
    matches!(kind, REP_ERR_UNSUP | REP_ERR_POLICY)
}

fn refused(reply: &Reply) -> Trouble {
    let error = Error::unsupported(format!("the server refuses the export: {}", reply.error()));
    Trouble::Final(match reply.kind {
        REP_ERR_TLS_REQD => error.with_hint("connect with TLS: nbds:// instead of nbd://"),
        REP_ERR_UNKNOWN => error.with_hint("nbdinfo --list URI lists the exports of a server"),
        REP_ERR_SHUTDOWN => return Trouble::Broken(error),
        _ => error,
    })
}

fn endless() -> Trouble {
    violation(format!(
        "an option has more than {MAX_OPTION_REPLIES} replies"
    ))
}

fn send_option(stream: &mut impl Stream, option: u32, data: &[u8]) -> Result<()> {
    let message = Message::default()
        .u64(IHAVEOPT)
        .u32(option)
        .string(data)
        .done();
    stream.write_all(&message)?;
    stream.flush()?;
    Ok(())
}

fn reply_to(stream: &mut impl Stream, asked: u32) -> Result<Reply> {
    let magic = take_u64(stream)?;
    if magic != OPTION_REPLY_MAGIC {
        return Err(violation(format!(
            "the reply to an option begins with {magic:#018x}, expected {OPTION_REPLY_MAGIC:#018x}"
        )));
    }
    let option = take_u32(stream)?;
    if option != asked {
        return Err(violation(format!(
            "option {asked} was sent, the reply is to option {option}"
        )));
    }
    let kind = take_u32(stream)?;
    let len = take_u32(stream)?;
    if len > wire_len(MAX_OPTION_REPLY) {
        return Err(violation(format!(
            "the reply to an option has {len} bytes, at most {MAX_OPTION_REPLY} are allowed"
        )));
    }
    let data = take_vec(stream, usize::try_from(len).unwrap_or_default())?;
    Ok(Reply { kind, data })
}
