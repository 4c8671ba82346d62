//! Frames: how records lie in the file, and how far a file can be believed.
//!
//! A file is [`MAGIC`] and then frames: CRC-32 (IEEE) as u32, length of the payload as u32, kind as
//! u8, payload; little-endian. The CRC covers the CRC of the frame before it, length, kind and
//! payload, so that a frame that is missing, moved or from another file is noticed too.

use std::io::{self, Read};

use crc32fast::Hasher;

/// What a journal begins with.
pub const MAGIC: &[u8; 19] = b"imgferry-journal-1\n";

/// Longest payload that is written or read, in bytes. Ours: it bounds what a damaged length can ask
/// for.
pub const MAX_PAYLOAD: u32 = 64 << 10;

/// Bytes before the payload.
const HEADER: usize = 9;

/// The CRC that the first frame's CRC covers.
const SEED: u32 = 0;

/// How the readable part of a journal ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With the file.
    Clean,
    /// The file ends inside the last record: it was being written when the machine stopped.
    Torn {
        /// Offset of that record.
        at: u64,
    },
    /// A record's checksum or content is wrong.
    Damaged {
        /// Offset of that record.
        at: u64,
    },
}

/// Appends frames to a buffer, each covering the one before it.
#[derive(Clone, Copy, Debug)]
pub struct Writer {
    chain: u32,
}

impl Default for Writer {
    fn default() -> Self {
        Self { chain: SEED }
    }
}

impl Writer {
    /// Appends a frame to `out`. `false` when the payload is longer than [`MAX_PAYLOAD`]; nothing
    /// is appended then.
    #[must_use]
    pub fn push(&mut self, kind: u8, payload: &[u8], out: &mut Vec<u8>) -> bool {
        let len = match u32::try_from(payload.len()) {
            Ok(len) if len <= MAX_PAYLOAD => len,
            _ => return false,
        };
        self.chain = checksum(self.chain, kind, len, payload);
        out.extend(self.chain.to_le_bytes());
        out.extend(len.to_le_bytes());
        out.push(kind);
        out.extend(payload);
        true
    }
}

fn checksum(before: u32, kind: u8, len: u32, payload: &[u8]) -> u32 {
    let mut crc = Hasher::new();
    crc.update(&before.to_le_bytes());
    crc.update(&len.to_le_bytes());
    crc.update(&[kind]);
    crc.update(payload);
    crc.finalize()
}

/// Reads frames as far as they can be believed.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    chain: u32,
    good: u64,
    ending: Option<Ending>,
    payload: Vec<u8>,
}

impl<R: Read> Reader<R> {
    /// A reader of a file from its first byte. A file that does not begin with [`MAGIC`] has no
    /// frames.
    ///
    /// # Errors
    /// Those of `input`.
    pub fn new(mut input: R) -> io::Result<Self> {
        let mut magic = [0; MAGIC.len()];
        let ending = match fill(&mut input, &mut magic)? {
            0 => Some(Ending::Clean),
            n if n == MAGIC.len() && &magic == MAGIC => None,
            n if n < MAGIC.len() && MAGIC.starts_with(magic.get(..n).unwrap_or(&magic)) => {
                Some(Ending::Torn { at: 0 })
            }
            _ => Some(Ending::Damaged { at: 0 }),
        };
        let good = if ending.is_none() {
            MAGIC.len() as u64
        } else {
            0
        };
        Ok(Self {
            input,
            chain: SEED,
            good,
            ending,
            payload: Vec::new(),
        })
    }

    /// Kind and payload of the next frame; `None` once the readable part has ended.
    ///
    /// # Errors
    /// Those of the input. A wrong frame is no error, it is an [`Ending`].
    pub fn frame(&mut self) -> io::Result<Option<(u8, &[u8])>> {
        if self.ending.is_some() {
            return Ok(None);
        }
        let mut header = [0; HEADER];
        match fill(&mut self.input, &mut header)? {
            0 => return self.end(Ending::Clean),
            HEADER => {}
            _ => return self.end(Ending::Torn { at: self.good }),
        }
        let [c0, c1, c2, c3, l0, l1, l2, l3, kind] = header;
        let crc = u32::from_le_bytes([c0, c1, c2, c3]);
        let len = u32::from_le_bytes([l0, l1, l2, l3]);
        if len > MAX_PAYLOAD {
            return self.end(Ending::Damaged { at: self.good });
        }
        // At most MAX_PAYLOAD.
        self.payload
            .resize(usize::try_from(len).unwrap_or_default(), 0);
        if fill(&mut self.input, &mut self.payload)? < self.payload.len() {
            return self.end(Ending::Torn { at: self.good });
        }
        if checksum(self.chain, kind, len, &self.payload) != crc {
            return self.end(Ending::Damaged { at: self.good });
        }
        self.chain = crc;
        self.good += HEADER as u64 + u64::from(len);
        Ok(Some((kind, &self.payload)))
    }

    fn end<T>(&mut self, ending: Ending) -> io::Result<Option<T>> {
        self.ending = Some(ending);
        Ok(None)
    }

    /// Bytes of the file that were read and believed.
    #[must_use]
    pub fn good(&self) -> u64 {
        self.good
    }

    /// How the readable part ends, once [`Reader::frame`] has said that it does.
    #[must_use]
    pub fn ending(&self) -> Ending {
        self.ending.unwrap_or(Ending::Clean)
    }

    /// A writer that goes on behind what was read.
    #[must_use]
    pub fn writer(&self) -> Writer {
        Writer { chain: self.chain }
    }
}

/// Reads until `buffer` is full or the input ends; the number of bytes read.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match input.read(rest) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
