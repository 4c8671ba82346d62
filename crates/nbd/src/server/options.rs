//! What a client wants: fixed newstyle negotiation, from the server's side.

use std::io;

use super::event::violation;
use crate::limits::{MAX_OPTION, MAX_OPTIONS, MAX_SERVED_REQUEST};
use crate::proto::{
    ALLOCATION, FLAG_FIXED_NEWSTYLE, FLAG_NO_ZEROES, IHAVEOPT, INFO_BLOCK_SIZE, INFO_EXPORT,
    Message, NBDMAGIC, OPT_ABORT, OPT_EXPORT_NAME, OPT_GO, OPT_INFO, OPT_LIST,
    OPT_LIST_META_CONTEXT, OPT_SET_META_CONTEXT, OPT_STRUCTURED_REPLY, OPTION_REPLY_MAGIC, REP_ACK,
    REP_ERR_INVALID, REP_ERR_TOO_BIG, REP_ERR_UNKNOWN, REP_ERR_UNSUP, REP_INFO, REP_META_CONTEXT,
    REP_SERVER, TRANSMIT_HAS_FLAGS, TRANSMIT_MULTI_CONN, TRANSMIT_READ_ONLY, TRANSMIT_SEND_DF,
    skip, take_u16, take_u32, take_u64, take_vec, wire_len,
};
use crate::wire::Stream;

/// Number of the one context.
pub(crate) const CONTEXT: u32 = 1;

/// Longest option that is skipped to be refused.
const MAX_SKIPPED: u32 = 1 << 20;

/// What was agreed on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Negotiated {
    /// Whether replies are structured.
    pub(crate) structured: bool,
    /// Whether the client may ask what is allocated.
    pub(crate) allocation: bool,
}

/// The export as options see it.
struct Offer<'a, S> {
    stream: &'a mut S,
    size: u64,
    name: &'a str,
    agreed: Negotiated,
    no_zeroes: bool,
}

/// Negotiates with a client; `None` when it leaves.
pub(crate) fn negotiate(
    stream: &mut impl Stream,
    size: u64,
    name: &str,
) -> io::Result<Option<Negotiated>> {
    let greeting = Message::default()
        .u64(NBDMAGIC)
        .u64(IHAVEOPT)
        .u16(FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES)
        .done();
    stream.write_all(&greeting)?;
    // Who looks whether anybody listens here leaves at once.
    let flags = match take_u32(stream) {
        Ok(flags) => flags,
        Err(error) if is_gone(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let known = u32::from(FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES);
    if flags & !known != 0 {
        return Err(violation(format!("it sends unknown flags ({flags:#x})")));
    }
    let mut offer = Offer {
        stream,
        size,
        name,
        agreed: Negotiated::default(),
        no_zeroes: flags & u32::from(FLAG_NO_ZEROES) != 0,
    };
    for _ in 0..MAX_OPTIONS {
        let magic = match take_u64(offer.stream) {
            Ok(magic) => magic,
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        if magic != IHAVEOPT {
            return Err(violation(format!("an option begins with {magic:#018x}")));
        }
        match offer.option()? {
            Next::Option => {}
            Next::Requests => return Ok(Some(offer.agreed)),
            Next::Nothing => return Ok(None),
        }
    }
    Err(violation(format!(
        "it sends more than {MAX_OPTIONS} options"
    )))
}

/// Whether the client has gone without a word, as many do.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

/// What comes after an option.
enum Next {
    Option,
    Requests,
    Nothing,
}

impl<S: Stream> Offer<'_, S> {
    fn option(&mut self) -> io::Result<Next> {
        let option = take_u32(self.stream)?;
        let len = take_u32(self.stream)?;
        if len > wire_len(MAX_OPTION) {
            if len > MAX_SKIPPED || option == OPT_EXPORT_NAME {
                return Err(violation(format!("option {option} has {len} bytes")));
            }
            skip(self.stream, len.into())?;
            self.reply(option, REP_ERR_TOO_BIG, b"")?;
            return Ok(Next::Option);
        }
        let data = take_vec(self.stream, usize::try_from(len).unwrap_or_default())?;
        match option {
            OPT_EXPORT_NAME => return self.export_name(&data),
            OPT_ABORT => {
                // Some clients are gone before the answer comes.
                let _ = self.reply(option, REP_ACK, b"");
                return Ok(Next::Nothing);
            }
            OPT_LIST if data.is_empty() => {
                let name = Message::default().string(self.name.as_bytes()).done();
                self.reply(option, REP_SERVER, &name)?;
                self.reply(option, REP_ACK, b"")?;
            }
            OPT_STRUCTURED_REPLY if data.is_empty() => {
                self.agreed.structured = true;
                self.reply(option, REP_ACK, b"")?;
            }
            OPT_LIST | OPT_STRUCTURED_REPLY => self.reply(option, REP_ERR_INVALID, b"")?,
            OPT_INFO | OPT_GO => return self.info(option, &data),
            OPT_LIST_META_CONTEXT | OPT_SET_META_CONTEXT => self.contexts(option, &data)?,
            _ => self.reply(option, REP_ERR_UNSUP, b"this option is not supported")?,
        }
        Ok(Next::Option)
    }

    /// The option of old clients: it has no reply.
    fn export_name(&mut self, name: &[u8]) -> io::Result<Next> {
        if !self.has(name) {
            return Err(violation("it asks for an export that does not exist"));
        }
        let mut message = Message::default().u64(self.size).u16(self.flags());
        if !self.no_zeroes {
            message = message.bytes(&[0; 124]);
        }
        self.stream.write_all(&message.done())?;
        Ok(Next::Requests)
    }

    fn info(&mut self, option: u32, data: &[u8]) -> io::Result<Next> {
        let Some((name, rest)) = split_string(data) else {
            self.reply(option, REP_ERR_INVALID, b"")?;
            return Ok(Next::Option);
        };
        let mut rest = rest;
        let count = take_u16(&mut rest).map(usize::from);
        if !count.is_ok_and(|count| rest.len() == count * 2) {
            self.reply(option, REP_ERR_INVALID, b"")?;
            return Ok(Next::Option);
        }
        if !self.has(name) {
            self.reply(option, REP_ERR_UNKNOWN, b"there is no export of this name")?;
            return Ok(Next::Option);
        }
        let export = Message::default()
            .u16(INFO_EXPORT)
            .u64(self.size)
            .u16(self.flags())
            .done();
        let blocks = Message::default()
            .u16(INFO_BLOCK_SIZE)
            .u32(1)
            .u32(64 << 10)
            .u32(MAX_SERVED_REQUEST)
            .done();
        self.reply(option, REP_INFO, &export)?;
        self.reply(option, REP_INFO, &blocks)?;
        self.reply(option, REP_ACK, b"")?;
        Ok(match option {
            OPT_GO => Next::Requests,
            _ => Next::Option,
        })
    }

    fn contexts(&mut self, option: u32, data: &[u8]) -> io::Result<()> {
        if !self.agreed.structured {
            return self.reply(option, REP_ERR_INVALID, b"structured replies come first");
        }
        let Some((name, queries)) = split_string(data).and_then(|(name, rest)| {
            let (count, mut rest) = rest.split_first_chunk::<4>()?;
            let mut queries = Vec::new();
            // Each is at least as long as its length.
            for _ in 0..u32::from_be_bytes(*count) {
                let (query, after) = split_string(rest)?;
                queries.push(query);
                rest = after;
            }
            rest.is_empty().then_some((name, queries))
        }) else {
            return self.reply(option, REP_ERR_INVALID, b"");
        };
        if !self.has(name) {
            return self.reply(option, REP_ERR_UNKNOWN, b"there is no export of this name");
        }
        let lists = option == OPT_LIST_META_CONTEXT;
        let wanted = match queries.is_empty() {
            true => lists,
            false => queries
                .iter()
                .any(|query| *query == ALLOCATION.as_bytes() || (lists && *query == b"base:")),
        };
        if !lists {
            self.agreed.allocation = wanted;
        }
        if wanted {
            let context = Message::default()
                .u32(CONTEXT)
                .bytes(ALLOCATION.as_bytes())
                .done();
            self.reply(option, REP_META_CONTEXT, &context)?;
        }
        self.reply(option, REP_ACK, b"")
    }

    fn has(&self, name: &[u8]) -> bool {
        name.is_empty() || name == self.name.as_bytes()
    }

    fn flags(&self) -> u16 {
        let flags = TRANSMIT_HAS_FLAGS | TRANSMIT_READ_ONLY | TRANSMIT_MULTI_CONN;
        match self.agreed.structured {
            true => flags | TRANSMIT_SEND_DF,
            false => flags,
        }
    }

    fn reply(&mut self, option: u32, kind: u32, data: &[u8]) -> io::Result<()> {
        let message = Message::default()
            .u64(OPTION_REPLY_MAGIC)
            .u32(option)
            .u32(kind)
            .string(data)
            .done();
        self.stream.write_all(&message)
    }
}

/// A string that has its length before it, and what follows.
fn split_string(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = data.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*len)).ok()?)
}
