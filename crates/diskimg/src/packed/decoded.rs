//! A compressed file inside a package, for readers that want bytes at places.
//!
//! There is no seeking in a compressed stream. What came out last is kept, so that a reader that
//! goes from front to back with its threads finds its bytes; whoever goes further back makes the
//! decoder begin again.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::container::{Container, HEAD_BYTES};
use super::members::Unpacked;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{MAX_COUNTED_BYTES, MAX_DECODINGS};
use crate::source::ReadAt;
use crate::units::{FileOffset, fits};

/// Bytes that are decoded and kept together.
const BLOCK: usize = 1 << 20;
/// Blocks that are kept: more than the grains of one table of a streamOptimized VMDK, whose table
/// lies behind them.
const KEPT: usize = if cfg!(test) { 4 } else { 96 };

/// What a compressed source decodes to.
pub struct Decoded {
    source: Arc<dyn ReadAt>,
    packing: Container,
    len: u64,
    path: Option<PathBuf>,
    /// The first block: headers are read again and again.
    head: Vec<u8>,
    state: Mutex<State>,
}

struct State {
    stream: Unpacked,
    /// Number of the first block that is kept.
    first: u64,
    kept: VecDeque<Vec<u8>>,
    /// How often the decoder has begun.
    begun: u32,
}

impl Decoded {
    /// Decodes `source` once, to learn its length and whether it is whole: at most `limit` bytes
    /// may come out. `None` when it is not compressed.
    ///
    /// # Errors
    /// `Corrupt` when the stream is damaged or ends early, `Limit` when it does not end, `Io`.
    pub fn open(source: Arc<dyn ReadAt>, limit: u64) -> Result<Option<Self>> {
        let mut head = vec![0; HEAD_BYTES.min(usize::try_from(source.len()).unwrap_or(HEAD_BYTES))];
        source.read_exact_at(FileOffset(0), &mut head)?;
        let Some(packing) = Container::of(&head) else {
            return Ok(None);
        };
        let limit = limit.min(MAX_COUNTED_BYTES);
        let path = source.path().map(Into::into);
        let mut state = State::begin(&source, packing);
        let (mut len, mut head) = (0, Vec::new());
        loop {
            let block = state.next().map_err(|error| broken(packing, len, &error))?;
            len += block as u64;
            if len > limit {
                return Err(Error::new(
                    ErrorKind::Limit,
                    format!(
                        "the {} stream unpacks to more than {limit} bytes",
                        packing.name()
                    ),
                ));
            }
            if head.is_empty() {
                head = state.kept.front().cloned().unwrap_or_default();
            }
            if block < BLOCK {
                break;
            }
        }
        Ok(Some(Self {
            source,
            packing,
            len,
            path,
            head,
            state: Mutex::new(state),
        }))
    }
}

impl State {
    fn begin(source: &Arc<dyn ReadAt>, packing: Container) -> Self {
        let bytes = Box::new(FrontToBack {
            source: Arc::clone(source),
            at: 0,
        });
        Self {
            stream: Unpacked::new(packing, bytes),
            first: 0,
            kept: VecDeque::new(),
            begun: 1,
        }
    }

    /// Decodes one more block and keeps it; its length, which is short at the end.
    fn next(&mut self) -> io::Result<usize> {
        let mut block = match self.kept.len() {
            KEPT.. => {
                self.first += 1;
                self.kept.pop_front().unwrap_or_default()
            }
            _ => Vec::new(),
        };
        block.clear();
        let read = (&mut self.stream)
            .take(BLOCK as u64)
            .read_to_end(&mut block)?;
        self.kept.push_back(block);
        Ok(read)
    }
}

impl ReadAt for Decoded {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, at: FileOffset, buf: &mut [u8]) -> Result<()> {
        if !fits(at.0, buf.len() as u64, self.len) {
            return Err(Error::truncated(
                "file",
                at.0,
                format!(
                    "{} bytes expected here, it unpacks to {:#x}",
                    buf.len(),
                    self.len
                ),
            ));
        }
        let start = usize::try_from(at.0).unwrap_or(usize::MAX);
        if let Some(known) = start
            .checked_add(buf.len())
            .and_then(|end| self.head.get(start..end))
        {
            buf.copy_from_slice(known);
            return Ok(());
        }
        let mut state = self.state.lock();
        let (mut at, mut rest) = (at.0, buf);
        while !rest.is_empty() {
            let block = self.block(&mut state, at / BLOCK as u64)?;
            let skip = usize::try_from(at % BLOCK as u64).unwrap_or_default();
            let here = block.get(skip..).unwrap_or_default();
            let len = here.len().min(rest.len());
            if len == 0 {
                return Err(broken(self.packing, at, &super::errors::ended_early()));
            }
            let (now, later) = rest.split_at_mut(len);
            now.copy_from_slice(here.get(..len).unwrap_or_default());
            at += len as u64;
            rest = later;
        }
        Ok(())
    }

    fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    fn memory(&self) -> u64 {
        let kept = self.len.min(((KEPT + 1) * BLOCK) as u64);
        kept.saturating_add(self.packing.memory())
    }

    fn note(&self) -> Option<String> {
        self.source.note()
    }
}

impl Decoded {
    /// Block `number`, decoded if it is not kept.
    fn block<'a>(&self, state: &'a mut State, number: u64) -> Result<&'a [u8]> {
        if number < state.first {
            let begun = state.begun + 1;
            if begun > MAX_DECODINGS {
                return Err(Error::new(
                    ErrorKind::Limit,
                    format!(
                        "the {} stream was decoded {MAX_DECODINGS} times, because its reader goes \
                         back and forth",
                        self.packing.name()
                    ),
                ));
            }
            *state = State {
                begun,
                ..State::begin(&self.source, self.packing)
            };
        }
        while number >= state.first + state.kept.len() as u64 {
            let at = (state.first + state.kept.len() as u64).saturating_mul(BLOCK as u64);
            if at >= self.len {
                return Err(broken(self.packing, at, &super::errors::ended_early()));
            }
            state
                .next()
                .map_err(|error| broken(self.packing, at, &error))?;
        }
        let index = usize::try_from(number - state.first).unwrap_or(usize::MAX);
        Ok(state.kept.get(index).map(Vec::as_slice).unwrap_or_default())
    }
}

/// The error of a stream of which `at` bytes came out.
fn broken(packing: Container, at: u64, error: &io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::UnexpectedEof => ErrorKind::Truncated,
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => ErrorKind::Corrupt,
        _ => ErrorKind::Io,
    };
    Error::new(
        kind,
        format!(
            "the {} stream cannot be read after {at} unpacked bytes: {error}",
            packing.name()
        ),
    )
}

/// A source as a stream.
struct FrontToBack {
    source: Arc<dyn ReadAt>,
    at: u64,
}

impl Read for FrontToBack {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.source.len().saturating_sub(self.at);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        let Some(buf) = buf.get_mut(..len).filter(|buf| !buf.is_empty()) else {
            return Ok(0);
        };
        self.source
            .read_exact_at(FileOffset(self.at), buf)
            .map_err(io::Error::other)?;
        self.at += len as u64;
        Ok(len)
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "tests")]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::source::MemorySource;

    fn content(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at / 4099 + at % 251) as u8).collect()
    }

    fn packed(content: &[u8]) -> Arc<dyn ReadAt> {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        writer.write_all(content).unwrap();
        Arc::new(MemorySource(writer.finish().unwrap()))
    }

    #[test]
    fn places_are_read_in_any_order_also_when_they_are_no_longer_kept() {
        let content = content((KEPT + 3) * BLOCK + 77);
        let decoded = Decoded::open(packed(&content), u64::MAX).unwrap().unwrap();
        assert_eq!(decoded.len(), content.len() as u64);
        let last = content.len() - 100;
        for (at, len) in [
            (last, 100),
            (5, 10),
            (BLOCK - 3, 6),
            (2 * BLOCK, 3 * BLOCK),
            (last, 9),
        ] {
            let mut read = vec![0; len];
            decoded
                .read_exact_at(FileOffset(at as u64), &mut read)
                .unwrap();
            assert!(read == content[at..at + len], "{len} bytes at {at}");
        }
        assert!(decoded.state.lock().kept.len() <= KEPT);
        let kept = ((KEPT + 1) * BLOCK) as u64;
        assert_eq!(decoded.memory(), kept + Container::Gzip.memory());
        assert_eq!(decoded.state.lock().begun, 2);
        let mut past = [0; 101];
        assert!(
            decoded
                .read_exact_at(FileOffset(last as u64), &mut past)
                .is_err()
        );
    }

    #[test]
    fn a_reader_that_goes_back_and_forth_is_stopped() {
        let content = content((KEPT + 3) * BLOCK);
        let decoded = Decoded::open(packed(&content), u64::MAX).unwrap().unwrap();
        let mut read = [0; 1];
        let far = FileOffset(content.len() as u64 - 1);
        let failed = (0..=MAX_DECODINGS).find_map(|_| {
            decoded.read_exact_at(far, &mut read).unwrap();
            decoded
                .read_exact_at(FileOffset(BLOCK as u64), &mut read)
                .err()
        });
        assert_eq!(failed.unwrap().kind(), ErrorKind::Limit);
    }

    #[test]
    fn a_stream_that_is_damaged_cut_or_too_long_is_refused() {
        let content = content(3 * BLOCK);
        let whole = packed(&content);
        let mut bytes = vec![0; whole.len() as usize];
        whole.read_exact_at(FileOffset(0), &mut bytes).unwrap();
        let open = |bytes: Vec<u8>, limit| Decoded::open(Arc::new(MemorySource(bytes)), limit);
        let kind = |result: Result<Option<Decoded>>| result.err().unwrap().kind();
        let cut = bytes[..bytes.len() - 9].to_vec();
        assert_eq!(kind(open(cut, u64::MAX)), ErrorKind::Truncated);
        let mut flipped = bytes.clone();
        *flipped.iter_mut().rev().nth(6).unwrap() ^= 1;
        assert_eq!(kind(open(flipped, u64::MAX)), ErrorKind::Corrupt);
        let limit = content.len() as u64 - 1;
        assert_eq!(kind(open(bytes.clone(), limit)), ErrorKind::Limit);
        assert!(open(bytes, limit + 1).unwrap().is_some());
        assert!(open(b"no stream".to_vec(), 99).unwrap().is_none());
        assert!(open(Vec::new(), 99).unwrap().is_none());
    }
}
