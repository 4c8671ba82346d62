//! What the readers of mapped formats have in common: runs of guest bytes become extents and reads.
//!
//! A format says, run by run, where the bytes of its disk are. Here neighbours are joined, and what
//! the file does not hold is asked of the layer below.

use std::convert::Infallible;
use std::ops::Range;

use crate::chain::Below;
use crate::error::Result;
use crate::image::{Extent, ExtentKind, check_range, clip_extent};
use crate::source::ReadAt;
use crate::stored::StoredMap;
use crate::survey::Tally;
use crate::units::{FileOffset, GuestOffset};
use crate::work::Steps;

/// Where the bytes of a run are. `P` is what a format has beside that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place<P = Infallible> {
    /// Not in this file: in the layer below, or nowhere.
    Below,
    /// Nowhere: the image says that these are zeros, whatever lies below.
    Zeros,
    /// Stored as they are, from this offset; all of them are there.
    Stored(FileOffset),
    /// Stored in a form of the format's own.
    Packed(P),
}

/// A run of guest bytes: one place, at least one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run<P = Infallible> {
    /// Guest offset of the first byte.
    pub(crate) start: u64,
    /// Length in bytes.
    pub(crate) len: u64,
    pub(crate) place: Place<P>,
}

/// A stretch that holds more than one run, summed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mix {
    /// Guest offset of the first byte.
    pub(crate) start: u64,
    /// Length in bytes.
    pub(crate) len: u64,
    /// Bytes of it that are stored, all of them somewhere in the `len` bytes from `host` on.
    pub(crate) stored: u64,
    pub(crate) host: FileOffset,
    /// Bytes that are zeros whatever lies below. The rest is below.
    pub(crate) zeros: u64,
}

impl Mix {
    fn below(&self) -> u64 {
        self.len.saturating_sub(self.stored.saturating_add(self.zeros))
    }
}

/// What a walk in sums comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece<P = Infallible> {
    Run(Run<P>),
    /// Inside one unit of the walk.
    Mix(Mix),
}

impl<P> Piece<P> {
    /// Guest offset of the first byte after it.
    pub(crate) fn end(&self) -> u64 {
        match self {
            Self::Run(run) => run.start + run.len,
            Self::Mix(mix) => mix.start + mix.len,
        }
    }
}

/// A disk whose metadata map guest bytes to places.
pub(crate) trait Mapped {
    /// What [`Place::Packed`] holds.
    type Packed: Copy;

    /// Size in bytes as the image gives it.
    fn declared_size(&self) -> u64;

    /// That in whole sectors; zeros fill up the last one.
    fn virtual_size(&self) -> u64;

    /// Where [`Place::Stored`] bytes are.
    fn data(&self) -> &dyn ReadAt;

    /// What is known of the holes of [`Self::data`].
    fn stored(&self) -> &StoredMap;

    fn below(&self) -> &Below;

    /// Counts the work of the files of the chain.
    fn steps(&self) -> &Steps;

    /// The runs from `at` to `end`, both inside the declared size, in order and without gaps. Every
    /// step goes at least one byte on or fails, and a failed walk is over.
    fn runs(&self, at: u64, end: u64) -> impl Iterator<Item = Result<Run<Self::Packed>>>;

    /// [`Self::runs`], where runs that lie inside one unit of `unit` bytes, a power of two, may come as their
    /// sum.
    fn pieces(
        &self,
        at: u64,
        end: u64,
        unit: u64,
    ) -> impl Iterator<Item = Result<Piece<Self::Packed>>>;
}

/// [`crate::DiskImage::extent_at`] of a mapped disk.
pub(crate) fn extent_at<M: Mapped>(disk: &M, at: GuestOffset, limit: u64) -> Result<Extent> {
    let limit = clip_extent(at, limit, disk.virtual_size())?;
    let below = disk.below();
    let end = (at.0 + limit.min(below.step())).min(disk.declared_size());
    let mut kinds = Kinds::new(disk);
    let mut runs = disk.runs(at.0, end).take(below.most_joined());
    // Past the declared size there is only the rest of the last sector.
    let Some(first) = runs.next() else {
        return Ok(Extent {
            start: at,
            len: limit,
            kind: ExtentKind::Hole,
        });
    };
    let first = first?;
    let (kind, mut len) = kinds.of(&first, at.0)?;
    let mut joined = first.start + first.len;
    // What cannot be told ends the extent; whoever asks for it gets the error.
    while at.0 + len == joined
        && let Some(Ok(run)) = runs.next()
        && let Ok((next, more)) = kinds.of(&run, run.start)
        && next == kind
    {
        len += more;
        joined += run.len;
    }
    Ok(Extent {
        start: at,
        len,
        kind,
    })
}

/// Most pieces that are looked at for one [`extents_from`]: bounds the time between two looks of a caller
/// whether to go on.
const MAX_PIECES: u64 = 4096;

/// [`crate::DiskImage::extents_from`] of a mapped disk: one walk for all of them.
pub(crate) fn extents_from<M: Mapped>(
    disk: &M,
    at: GuestOffset,
    end: GuestOffset,
    most: usize,
    found: &mut Vec<Extent>,
) -> Result<()> {
    let limit = end.0.saturating_sub(at.0);
    if most < 2 {
        found.push(extent_at(disk, at, limit)?);
        return Ok(());
    }
    let end = at.0 + clip_extent(at, limit, disk.virtual_size())?;
    let declared = end.min(disk.declared_size());
    let mut walk = Listing {
        kinds: Kinds::new(disk),
        first: found.len(),
        found,
        at: at.0,
        most,
    };
    for run in disk.runs(at.0, declared) {
        match run.and_then(|run| walk.add(&run)) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            // It is reported when a walk begins there.
            Err(_) if walk.found.len() > walk.first => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    // Past the declared size there is only the rest of the last sector, in which the walk may begin.
    if (declared..end).contains(&walk.at) {
        let rest = end - walk.at;
        walk.push(ExtentKind::Hole, rest);
    }
    Ok(())
}

/// What runs are, piece by piece. Charges a step for each when it is dropped.
struct Kinds<'a, M: Mapped> {
    disk: &'a M,
    /// A stretch of the file with data: the last answer of [`StoredMap`], without its lock.
    known: Range<u64>,
    pieces: u64,
}

impl<'a, M: Mapped> Kinds<'a, M> {
    fn new(disk: &'a M) -> Self {
        Self {
            disk,
            known: 0..0,
            pieces: 0,
        }
    }

    /// What `run` is from guest offset `at` on, and for how many bytes.
    fn of(&mut self, run: &Run<M::Packed>, at: u64) -> Result<(ExtentKind, u64)> {
        self.pieces += 1;
        let passed = at - run.start;
        let rest = run.len - passed;
        match run.place {
            Place::Stored(host) => self.stored(host.0 + passed, rest),
            Place::Below => self.disk.below().kind(at, rest),
            Place::Zeros => Ok((ExtentKind::Zero, rest)),
            Place::Packed(_) => Ok((ExtentKind::Data, rest)),
        }
    }

    fn stored(&mut self, host: u64, len: u64) -> Result<(ExtentKind, u64)> {
        if self.known.contains(&host) {
            return Ok((ExtentKind::Data, len.min(self.known.end - host)));
        }
        let (kind, end) = self.disk.stored().stretch(host)?;
        if kind == ExtentKind::Data {
            self.known = host..end;
        }
        Ok((kind, len.min(end.saturating_sub(host).max(1))))
    }

    /// Whether enough was looked at for one question.
    fn is_enough(&self) -> bool {
        self.pieces >= MAX_PIECES
    }
}

impl<M: Mapped> Drop for Kinds<'_, M> {
    fn drop(&mut self) {
        self.disk.steps().take(self.pieces);
    }
}

/// Extents that are being put together.
struct Listing<'a, M: Mapped> {
    kinds: Kinds<'a, M>,
    found: &'a mut Vec<Extent>,
    /// Length of `found` before the first one.
    first: usize,
    /// Guest offset up to which they reach.
    at: u64,
    most: usize,
}

impl<M: Mapped> Listing<'_, M> {
    /// Adds what `run` is; `false` when there are enough.
    fn add(&mut self, run: &Run<M::Packed>) -> Result<bool> {
        let end = run.start + run.len;
        while self.at < end {
            let (kind, len) = self.kinds.of(run, self.at)?;
            if !self.push(kind, len) || self.kinds.is_enough() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Adds `len` bytes of `kind`; `false` when that would be one extent too many.
    fn push(&mut self, kind: ExtentKind, len: u64) -> bool {
        let start = GuestOffset(self.at);
        let enough = self.found.len() - self.first >= self.most;
        match self.found.get_mut(self.first..).and_then(<[_]>::last_mut) {
            Some(last) if last.kind == kind => last.len += len,
            _ if enough => return false,
            _ => self.found.push(Extent { start, len, kind }),
        }
        self.at += len;
        true
    }
}

/// [`crate::DiskImage::tallies_from`] of a mapped disk.
pub(crate) fn tallies_from<M: Mapped>(
    disk: &M,
    at: GuestOffset,
    end: GuestOffset,
    unit: u64,
    most: usize,
    found: &mut Vec<Tally>,
) -> Result<()> {
    let limit = end.0.saturating_sub(at.0);
    let end = at.0 + clip_extent(at, limit, disk.virtual_size())?;
    let declared = end.min(disk.declared_size());
    let mut walk = Sums {
        kinds: Kinds::new(disk),
        first: found.len(),
        found,
        at: at.0,
        most,
        unit,
    };
    for piece in disk.pieces(at.0, declared, unit) {
        let added = piece.and_then(|piece| match piece {
            Piece::Run(run) => walk.add(&run),
            Piece::Mix(mix) => walk.mix(&mix),
        });
        match added {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            // It is reported when a walk begins there.
            Err(_) if walk.found.len() > walk.first => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    // Past the declared size there is only the rest of the last sector.
    if walk.at == declared && declared < end {
        walk.push_kind(ExtentKind::Hole, end - declared);
    }
    Ok(())
}

/// Tallies that are being put together.
struct Sums<'a, M: Mapped> {
    kinds: Kinds<'a, M>,
    found: &'a mut Vec<Tally>,
    /// Length of `found` before the first one.
    first: usize,
    /// Guest offset up to which they reach.
    at: u64,
    most: usize,
    unit: u64,
}

impl<M: Mapped> Sums<'_, M> {
    /// Adds what `run` is; `false` when there are enough.
    fn add(&mut self, run: &Run<M::Packed>) -> Result<bool> {
        let end = run.start + run.len;
        while self.at < end {
            let (kind, len) = self.kinds.of(run, self.at)?;
            let rest = end - self.at;
            let in_unit = rest.min(self.unit - self.at % self.unit);
            let pushed = match run.place {
                // The file has holes in it: they are added up, however many there are.
                Place::Stored(host) if len < in_unit => {
                    let host = host.0 + (self.at - run.start);
                    match self.kinds.disk.stored().data_bytes(host..host + in_unit)? {
                        Some(data) => self.push(Tally {
                            data,
                            hole: in_unit - data,
                            ..Tally::new(GuestOffset(self.at))
                        }),
                        None => self.push_kind(kind, len),
                    }
                }
                _ => self.push_kind(kind, len),
            };
            if !pushed || self.kinds.is_enough() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Adds a sum, or its runs one by one where their kinds differ.
    fn mix(&mut self, mix: &Mix) -> Result<bool> {
        let mut tally = Tally {
            zero: mix.zeros,
            ..Tally::new(GuestOffset(mix.start))
        };
        self.kinds.pieces += 1;
        let parts = [
            (mix.stored, Place::Stored(mix.host)),
            (mix.below(), Place::Below),
        ];
        let summed = parts.into_iter().all(|(bytes, place)| {
            let (start, len) = (mix.start, mix.len);
            if bytes == 0 {
                return true;
            }
            // An error may be about bytes that are not of this part; the runs tell.
            let answer = self.kinds.of(&Run { start, len, place }, start);
            let Ok((kind, alike)) = answer else {
                return false;
            };
            tally.add(kind, bytes);
            alike >= len
        });
        if summed {
            return Ok(self.push(tally) && !self.kinds.is_enough());
        }
        for run in self.kinds.disk.runs(mix.start, mix.start + mix.len) {
            if !self.add(&run?)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn push_kind(&mut self, kind: ExtentKind, len: u64) -> bool {
        let mut tally = Tally::new(GuestOffset(self.at));
        tally.add(kind, len);
        self.push(tally)
    }

    /// Adds a tally, to the one before it where both are of one kind; `false` when that would be one too many.
    fn push(&mut self, tally: Tally) -> bool {
        let len = tally.len();
        let enough = self.found.len() - self.first >= self.most;
        let kind = tally.kind();
        match self.found.get_mut(self.first..).and_then(<[_]>::last_mut) {
            Some(last) if kind.is_some() && last.kind() == kind => {
                if let Some(kind) = kind {
                    last.add(kind, len);
                }
            }
            _ if enough => return false,
            _ => self.found.push(tally),
        }
        self.at += len;
        true
    }
}

/// What fills in runs that are stored in a form of the format's own.
pub(crate) trait Unpack<P> {
    /// Fills `target`, a part of the whole buffer, from `packed`, now or later.
    ///
    /// # Errors
    /// Those of the format.
    fn unpack(&mut self, buf: &mut [u8], packed: P, target: Range<usize>) -> Result<()>;

    /// Fills in what is left to do, and gives back what the files of a chain share: the next bytes come from the
    /// image below, or there are no more.
    ///
    /// # Errors
    /// Those of the format.
    fn finish(&mut self, buf: &mut [u8]) -> Result<()>;
}

/// For formats that have no form of their own.
struct Plain;

impl Unpack<Infallible> for Plain {
    fn unpack(&mut self, _: &mut [u8], never: Infallible, _: Range<usize>) -> Result<()> {
        match never {}
    }

    fn finish(&mut self, _: &mut [u8]) -> Result<()> {
        Ok(())
    }
}

/// [`crate::DiskImage::read_at`] of a mapped disk.
pub(crate) fn read_at<M: Mapped>(
    disk: &M,
    at: GuestOffset,
    buf: &mut [u8],
    unpack: &mut impl Unpack<M::Packed>,
) -> Result<()> {
    check_range(at, buf.len() as u64, disk.virtual_size())?;
    let declared = disk.declared_size().saturating_sub(at.0);
    let (buf, padding) = buf.split_at_mut(index(declared).min(buf.len()));
    padding.fill(0);
    let end = at.0 + buf.len() as u64;
    let mut plain = PlainRead::default();
    for run in disk.runs(at.0, end) {
        let run = run?;
        let target = index(run.start - at.0)..index(run.start - at.0 + run.len);
        match run.place {
            Place::Below => {
                if disk.below().is_image() {
                    unpack.finish(buf)?;
                }
                if let Some(target) = buf.get_mut(target) {
                    disk.below().read(run.start, target)?;
                }
            }
            Place::Zeros => {
                if let Some(target) = buf.get_mut(target) {
                    target.fill(0);
                }
            }
            Place::Stored(host) => {
                if !plain.join(host, &target) {
                    plain.finish(disk.data(), buf)?;
                    plain = PlainRead { host, target };
                }
            }
            Place::Packed(packed) => unpack.unpack(buf, packed, target)?,
        }
    }
    unpack.finish(buf)?;
    plain.finish(disk.data(), buf)
}

/// [`read_at`] for formats that have no form of their own.
pub(crate) fn read_plain<M: Mapped<Packed = Infallible>>(
    disk: &M,
    at: GuestOffset,
    buf: &mut [u8],
) -> Result<()> {
    read_at(disk, at, buf, &mut Plain)
}

/// A positioned read that is still growing.
#[derive(Default)]
struct PlainRead {
    host: FileOffset,
    target: Range<usize>,
}

impl PlainRead {
    /// Takes in what follows it both in the file and in the buffer.
    fn join(&mut self, host: FileOffset, target: &Range<usize>) -> bool {
        let follows = self.target.end == target.start
            && self.host.checked_add(self.target.len() as u64) == Some(host);
        if follows {
            self.target.end = target.end;
        }
        follows
    }

    fn finish(&self, source: &dyn ReadAt, buf: &mut [u8]) -> Result<()> {
        match buf.get_mut(self.target.clone()) {
            Some(target) if !target.is_empty() => source.read_exact_at(self.host, target),
            _ => Ok(()),
        }
    }
}

/// An offset inside a buffer, which is less than `usize::MAX`.
fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}
