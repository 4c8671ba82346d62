//! A compressed file, for readers that want bytes at places.
//!
//! There is no seeking in a compressed stream. What came out last is kept, so that a reader that
//! goes from front to back with its threads finds its bytes; whoever goes further back makes the
//! decoder begin again.

use std::path::Path;
use std::sync::Arc;
use std::thread::available_parallelism;

use parking_lot::Mutex;

use super::container::Container;
use super::errors::{ended, longer};
use super::inside::{agreed_size, refuse_other_than_raw};
use super::kept::Kept;
use super::stream::{Says, Stream, packing_of, stopped};
use super::tar::Stretch;
use crate::driver::Driver;
use crate::error::{Error, ErrorKind, Result};
use crate::hint::Hint;
use crate::limits::{MAX_COUNTED_BYTES, MAX_DECODINGS};
use crate::options::{OpenOptions, Stop};
use crate::probe::Probe;
use crate::source::{FileId, ReadAt, SourceExtent};
use crate::units::{FileOffset, fits, human};

/// Bytes that are decoded and kept together.
const BLOCK: usize = 1 << 20;
/// Blocks that are kept of an image: more than the grains of one table of a streamOptimized VMDK,
/// whose table lies behind them.
const KEPT: usize = if cfg!(test) { 8 } else { 96 };
/// Blocks that are kept of a raw disk for each thread that reads it: what it takes at a time.
const KEPT_BY_THREAD: usize = 8;
/// Most of them. Where there are more threads, each takes less at a time.
const MOST_KEPT: usize = 64;
/// Bytes of both ends that are looked at.
const FRONT: usize = 36 << 10;
const _: () = assert!(FRONT as u64 == Probe::HEAD_BYTES);

/// When all of a stream is decoded before it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    /// When nothing else tells the size.
    WhereNeeded,
    Always,
}

/// The raw disk that `source` holds compressed; `None` when it is not compressed, or the user named
/// the format that it has.
///
/// # Errors
/// `Unsupported` when something else than a raw disk is inside; those of [`Decoded::open`].
pub(crate) fn unpacked(
    source: &Arc<dyn ReadAt>,
    options: &OpenOptions,
    drivers: &Arc<[Driver]>,
    counted: Counted,
) -> Result<Option<Decoded>> {
    // What was decoded already is not decoded again.
    let packing = match (options.format, source.packing()) {
        (None, None) => packing_of(source.as_ref())?,
        _ => None,
    };
    let Some(packing) = packing else {
        return Ok(None);
    };
    let threads = available_parallelism().map_or(1, usize::from);
    let way = Way {
        stop: options.stop.clone(),
        limit: MAX_COUNTED_BYTES,
        kept: threads
            .saturating_add(1)
            .saturating_mul(KEPT_BY_THREAD)
            .min(MOST_KEPT),
        // In which order a raw disk is read is not for the disk to say.
        decodings: u32::MAX,
        raw: Some(Arc::clone(drivers)),
    };
    Decoded::begin(
        Arc::clone(source),
        packing,
        way,
        options.packed_size,
        counted,
    )
    .map(Some)
}

/// How a stream is decoded.
struct Way {
    stop: Stop,
    /// Most bytes that are counted.
    limit: u64,
    /// Blocks that are kept.
    kept: usize,
    /// How often it may begin.
    decodings: u32,
    /// The formats that are recognised and refused where nothing but a raw disk is read.
    raw: Option<Arc<[Driver]>>,
}

/// What a compressed source decodes to.
pub struct Decoded {
    source: Arc<dyn ReadAt>,
    packing: Container,
    way: Way,
    len: u64,
    /// What of it is stored, when an archive says so.
    stretches: Option<Arc<[Stretch]>>,
    /// The first block: headers are read again and again.
    head: Vec<u8>,
    state: Mutex<State>,
}

impl Decoded {
    /// Decodes `source` once, to learn its length and whether it is whole: at most `limit` bytes
    /// may come out. `None` when it is not compressed.
    ///
    /// # Errors
    /// `Corrupt` when the stream is damaged, `Truncated` when it ends early, `Limit` when it does
    /// not end, `Io`, `Cancelled`.
    pub fn open(source: Arc<dyn ReadAt>, limit: u64, stop: &Stop) -> Result<Option<Self>> {
        let Some(packing) = packing_of(source.as_ref())? else {
            return Ok(None);
        };
        let way = Way {
            stop: stop.clone(),
            limit: limit.min(MAX_COUNTED_BYTES),
            kept: KEPT,
            decodings: MAX_DECODINGS,
            raw: None,
        };
        Self::begin(source, packing, way, None, Counted::Always).map(Some)
    }

    /// Begins to decode a disk of the size that was `told`.
    fn begin(
        source: Arc<dyn ReadAt>,
        packing: Container,
        way: Way,
        told: Option<u64>,
        counted: Counted,
    ) -> Result<Self> {
        let (state, says) = State::begin(&source, packing, &way)?;
        let found = says.size.filter(|_| says.exact || told.is_none());
        let size = agreed_size(told, found)?;
        let mut decoded = Self {
            source,
            packing,
            way,
            len: size.unwrap_or(u64::MAX),
            stretches: says.stretches,
            head: Vec::new(),
            state: Mutex::new(state),
        };
        let mut state = decoded.state.lock();
        let mut ends = decoded.next(&mut state, true)?;
        let head = state.kept.tail(BLOCK);
        if head.is_empty() {
            return Err(Error::new(
                ErrorKind::Truncated,
                format!("nothing came out of the {} stream", packing.name()),
            ));
        }
        let counts = size.is_none() || counted == Counted::Always;
        while counts && !ends {
            ends = decoded.next(&mut state, true)?;
            decoded.refuse_bomb(state.at)?;
        }
        let came = state.at;
        drop(state);
        decoded.head = head;
        decoded.len = size.unwrap_or(came);
        Ok(decoded)
    }

    /// Decodes one more block and keeps it; whether it is the last one. Behind that the stream must
    /// end, and what came must be what was announced.
    /// Nobody waits for what is only counted.
    fn next(&self, state: &mut State, counts: bool) -> Result<bool> {
        if self.way.stop.asked() {
            return Err(stopped());
        }
        let (number, left) = (state.at / BLOCK as u64, self.len.saturating_sub(state.at));
        let wanted = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
        let mut block = state.kept.room();
        block.reserve_exact(wanted);
        let read = state.stream.read_on(&mut block, wanted);
        state.at += block.len() as u64;
        read.map_err(|error| state.stream.failed(state.at, &error))?;
        let is_short = block.len() < wanted;
        if is_short && self.len != u64::MAX {
            return Err(ended(state.at, self.len));
        }
        if state.at == self.len {
            let more = state.stream.read_on(&mut Vec::new(), 1);
            if more.map_err(|error| state.stream.failed(state.at, &error))? > 0 {
                return Err(longer(self.len));
            }
        }
        let ends = is_short || state.at == self.len;
        self.look(state, number, &block, ends)?;
        state.kept.push(number, block, counts);
        Ok(ends)
    }

    /// Refuses what is recognised where nothing but a raw disk is read: by what the first block
    /// begins with, and the last one ends with.
    fn look(&self, state: &mut State, number: u64, block: &[u8], ends: bool) -> Result<()> {
        let Some(drivers) = self.way.raw.as_ref().filter(|_| !block.is_empty() || ends) else {
            return Ok(());
        };
        if number == 0 && state.front.is_empty() {
            let front = block.get(..FRONT).unwrap_or(block);
            state.front = front.to_vec();
            if !front.is_empty() {
                refuse_other_than_raw(&Probe::of(front, &[]), drivers, self.packing)?;
            }
        }
        if !ends || state.front.is_empty() {
            return Ok(());
        }
        let mut tail = state.kept.tail(FRONT);
        tail.extend_from_slice(block);
        refuse_other_than_raw(&Probe::of(&state.front, &tail), drivers, self.packing)
    }

    /// Refuses a stream that does not end after as many bytes as are counted.
    fn refuse_bomb(&self, came: u64) -> Result<()> {
        let limit = self.way.limit;
        if came <= limit {
            return Ok(());
        }
        let packing = self.packing.name();
        let message = format!(
            "the {packing} stream unpacks to more than {limit} bytes ({})",
            human(limit)
        );
        Err(Error::new(ErrorKind::Limit, message).with_hint(Hint::GiveSize))
    }

    /// Copies what is at `at` to the beginning of `buf`: as much as one block has of it.
    fn copy(&self, state: &mut State, at: u64, buf: &mut [u8]) -> Result<usize> {
        let number = at / BLOCK as u64;
        let skip = usize::try_from(at % BLOCK as u64).unwrap_or_default();
        loop {
            let end = skip.saturating_add(buf.len()) as u64;
            if let Some(block) = state.kept.get(number, end) {
                let here = block.get(skip..).unwrap_or_default();
                let len = here.len().min(buf.len());
                let (from, to) = (here.get(..len), buf.get_mut(..len));
                to.unwrap_or_default()
                    .copy_from_slice(from.unwrap_or_default());
                return Ok(len);
            }
            if number < state.at.div_ceil(BLOCK as u64) {
                self.begin_again(state)?;
            }
            self.next(state, false)?;
        }
    }

    fn begin_again(&self, state: &mut State) -> Result<()> {
        let begun = state.begun.saturating_add(1);
        if begun > self.way.decodings {
            return Err(Error::new(
                ErrorKind::Limit,
                format!(
                    "the {} stream was decoded {MAX_DECODINGS} times, because its reader goes \
                     back and forth",
                    self.packing.name()
                ),
            ));
        }
        let (again, _) = State::begin(&self.source, self.packing, &self.way)?;
        *state = State { begun, ..again };
        Ok(())
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
        let mut copied = 0;
        while let Some(rest) = buf.get_mut(copied..).filter(|rest| !rest.is_empty()) {
            copied += self.copy(&mut state, at.0.saturating_add(copied as u64), rest)?;
        }
        Ok(())
    }

    fn extent_at(&self, at: FileOffset, limit: u64) -> Result<SourceExtent> {
        let Some(stretches) = &self.stretches else {
            return Ok(SourceExtent::Data(limit));
        };
        let next = stretches.partition_point(|stretch| stretch.end() <= at.0);
        let up_to = |end: u64| end.saturating_sub(at.0).min(limit);
        Ok(match stretches.get(next) {
            Some(next) if next.start <= at.0 => SourceExtent::Data(up_to(next.end())),
            Some(next) => SourceExtent::Hole(up_to(next.start)),
            None => SourceExtent::Hole(limit),
        })
    }

    fn path(&self) -> Option<&Path> {
        self.source.path()
    }

    fn id(&self) -> Option<FileId> {
        self.source.id()
    }

    fn memory(&self) -> u64 {
        let kept = (self.way.kept.saturating_add(1) * BLOCK) as u64;
        let stretches = self
            .stretches
            .as_ref()
            .map_or(0, |them| size_of_val(&**them));
        let own = self.len.min(kept).saturating_add(stretches as u64);
        own.saturating_add(self.packing.memory())
            .saturating_add(self.source.memory())
    }

    fn note(&self) -> Option<String> {
        self.source.note()
    }

    fn packing(&self) -> Option<Container> {
        Some(self.packing)
    }
}

/// How far a source is decoded.
struct State {
    stream: Stream,
    /// Offset of the next byte that comes out.
    at: u64,
    kept: Kept,
    /// What it begins with, where that is looked at.
    front: Vec<u8>,
    /// How often the decoder has begun.
    begun: u32,
}

impl State {
    fn begin(source: &Arc<dyn ReadAt>, packing: Container, way: &Way) -> Result<(Self, Says)> {
        let (stream, says) = Stream::begin(source, packing, &way.stop)?;
        let state = Self {
            stream,
            at: 0,
            kept: Kept::new(way.kept),
            front: Vec::new(),
            begun: 1,
        };
        Ok((state, says))
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
        let decoded = Decoded::open(packed(&content), u64::MAX, &Stop::never())
            .unwrap()
            .unwrap();
        assert_eq!(decoded.len(), content.len() as u64);
        let last = content.len() - 100;
        for (at, len) in [
            (last, 100),
            (5, 10),
            (BLOCK - 3, 6),
            (2 * BLOCK, 6 * BLOCK),
            (last, 9),
        ] {
            let mut read = vec![0; len];
            decoded
                .read_exact_at(FileOffset(at as u64), &mut read)
                .unwrap();
            assert!(read == content[at..at + len], "{len} bytes at {at}");
        }
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
        let decoded = Decoded::open(packed(&content), u64::MAX, &Stop::never())
            .unwrap()
            .unwrap();
        let mut read = [0; 1];
        let far = FileOffset(content.len() as u64 - 1);
        let failed = (0..=MAX_DECODINGS).find_map(|_| {
            let mut at = |at: FileOffset| decoded.read_exact_at(at, &mut read);
            at(far).unwrap();
            let near = at(FileOffset(7 * BLOCK as u64));
            near.and_then(|()| at(FileOffset(BLOCK as u64))).err()
        });
        assert_eq!(failed.unwrap().kind(), ErrorKind::Limit);
    }

    #[test]
    fn a_stream_that_is_damaged_cut_or_too_long_is_refused() {
        let content = content(3 * BLOCK);
        let whole = packed(&content);
        let mut bytes = vec![0; whole.len() as usize];
        whole.read_exact_at(FileOffset(0), &mut bytes).unwrap();
        let open = |bytes: Vec<u8>, limit| {
            Decoded::open(Arc::new(MemorySource(bytes)), limit, &Stop::never())
        };
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
