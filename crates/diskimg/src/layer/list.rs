//! What lies where, extent by extent.

use std::ops::Range;

use super::map::{Mapped, Place, Run};
use crate::error::Result;
use crate::extent::{Extent, ExtentKind, clip_extent};
use crate::units::GuestOffset;

/// [`crate::DiskImage::extent_at`] of a mapped disk.
pub(crate) fn extent_at<M: Mapped>(disk: &M, at: GuestOffset, limit: u64) -> Result<Extent> {
    let limit = clip_extent(at, limit, disk.layer().virtual_size)?;
    let below = &disk.layer().below;
    let end = (at.0 + limit.min(below.step())).min(disk.layer().declared_size);
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
    // What is not known ends the extent; a call for it gets the error.
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
    let range = clipped(disk, at, end)?;
    let list = List::new(disk, at, most, found);
    let runs = disk.runs(at.0, range.end.min(disk.layer().declared_size));
    list.fill(range, runs, |list, run| list.add(&run))
}

/// What may be asked for of the bytes from `at` to `end`.
///
/// # Errors
/// `OutOfRange` when nothing is left.
pub(super) fn clipped<M: Mapped>(
    disk: &M,
    at: GuestOffset,
    end: GuestOffset,
) -> Result<Range<u64>> {
    let limit = end.0.saturating_sub(at.0);
    Ok(at.0..at.0 + clip_extent(at, limit, disk.layer().virtual_size)?)
}

/// Most pieces that are examined for one list: bounds the time until a caller can stop.
const MAX_PIECES: u64 = 4096;

/// What runs are, piece by piece. Charges a step for each when it is dropped.
pub(super) struct Kinds<'a, M: Mapped> {
    pub(super) disk: &'a M,
    /// A stretch of the file with data: the last answer of [`StoredMap`], without its lock.
    known: Range<u64>,
    pub(super) pieces: u64,
}

impl<'a, M: Mapped> Kinds<'a, M> {
    pub(super) fn new(disk: &'a M) -> Self {
        Self {
            disk,
            known: 0..0,
            pieces: 0,
        }
    }

    /// What `run` is from guest offset `at` on, and for how many bytes.
    #[expect(
        clippy::inline_always,
        reason = "called for each run; a call costs as much as it does"
    )]
    #[inline(always)]
    pub(super) fn of(&mut self, run: &Run<M::Packed>, at: u64) -> Result<(ExtentKind, u64)> {
        self.pieces += 1;
        let passed = at - run.start;
        let rest = run.len - passed;
        match run.place {
            Place::Stored(host) => self.stored(host.0 + passed, rest),
            Place::Below => self.disk.layer().below.kind(at, rest),
            Place::Zeros => Ok((ExtentKind::Zero, rest)),
            Place::Elsewhere => Ok((ExtentKind::Elsewhere, rest)),
            Place::Packed(_) => Ok((ExtentKind::Data, rest)),
        }
    }

    #[inline]
    fn stored(&mut self, host: u64, len: u64) -> Result<(ExtentKind, u64)> {
        match self.known.contains(&host) {
            true => Ok((ExtentKind::Data, len.min(self.known.end - host))),
            false => self.looked_up(host, len),
        }
    }

    /// Once for each stretch of the file: kept apart, so that what runs for each run of the disk is
    /// short.
    #[cold]
    fn looked_up(&mut self, host: u64, len: u64) -> Result<(ExtentKind, u64)> {
        let (kind, end) = self.disk.layer().stored.stretch(host)?;
        if kind == ExtentKind::Data {
            self.known = host..end;
        }
        Ok((kind, len.min(end.saturating_sub(host).max(1))))
    }

    /// Whether one call has examined enough.
    #[inline]
    pub(super) fn is_enough(&self) -> bool {
        self.pieces >= MAX_PIECES
    }
}

impl<M: Mapped> Drop for Kinds<'_, M> {
    fn drop(&mut self) {
        self.disk.layer().steps.take(self.pieces);
    }
}

/// An entry of a [`List`].
pub(super) trait Entry {
    /// `len` bytes of one kind from `start` on.
    fn of(start: GuestOffset, len: u64, kind: ExtentKind) -> Self;

    fn len(&self) -> u64;

    /// Takes in `next`, which follows it, when both are of one kind; says whether it did.
    fn join(&mut self, next: &Self) -> bool;
}

impl Entry for Extent {
    #[inline]
    fn of(start: GuestOffset, len: u64, kind: ExtentKind) -> Self {
        Self { start, len, kind }
    }

    #[inline]
    fn len(&self) -> u64 {
        self.len
    }

    #[inline]
    fn join(&mut self, next: &Self) -> bool {
        let alike = self.kind == next.kind;
        if alike {
            self.len += next.len;
        }
        alike
    }
}

/// Extents or tallies that are being put together.
pub(super) struct List<'a, M: Mapped, E> {
    pub(super) kinds: Kinds<'a, M>,
    found: &'a mut Vec<E>,
    /// Length of `found` before the first one.
    first: usize,
    /// Guest offset up to which they reach.
    pub(super) at: u64,
    most: usize,
}

impl<'a, M: Mapped, E: Entry> List<'a, M, E> {
    pub(super) fn new(disk: &'a M, at: GuestOffset, most: usize, found: &'a mut Vec<E>) -> Self {
        Self {
            kinds: Kinds::new(disk),
            first: found.len(),
            found,
            at: at.0,
            most,
        }
    }

    /// Lists `range`: what `steps` yields for the part of it that is in the declared size, until
    /// `add` answers `false`, and the rest.
    ///
    /// # Errors
    /// Those of the first entry.
    #[inline]
    pub(super) fn fill<S>(
        mut self,
        range: Range<u64>,
        steps: impl Iterator<Item = Result<S>>,
        mut add: impl FnMut(&mut Self, S) -> Result<bool>,
    ) -> Result<()> {
        for step in steps {
            match step.and_then(|step| add(&mut self, step)) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                // It is reported when a walk begins there.
                Err(_) if self.found.len() > self.first => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        // Past the declared size there is only the rest of the last sector, in which the walk may
        // begin.
        let declared = range.end.min(self.kinds.disk.layer().declared_size);
        if (declared..range.end).contains(&self.at) {
            let rest = range.end - self.at;
            self.push_kind(ExtentKind::Hole, rest);
        }
        Ok(())
    }

    /// Adds what `run` is; `false` when there are enough.
    #[inline]
    fn add(&mut self, run: &Run<M::Packed>) -> Result<bool> {
        let end = run.start + run.len;
        while self.at < end {
            let (kind, len) = self.kinds.of(run, self.at)?;
            if !self.push_kind(kind, len) || self.kinds.is_enough() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// [`Self::push`] of `len` bytes of `kind`.
    #[inline]
    pub(super) fn push_kind(&mut self, kind: ExtentKind, len: u64) -> bool {
        self.push(E::of(GuestOffset(self.at), len, kind))
    }

    /// Adds an entry, to the one before it where both are of one kind; `false` when that would be
    /// one too many.
    #[inline]
    pub(super) fn push(&mut self, entry: E) -> bool {
        let len = entry.len();
        let listed = self.found.len() - self.first;
        let last = self.found.last_mut().filter(|_| listed > 0);
        if !last.is_some_and(|last| last.join(&entry)) {
            if listed >= self.most {
                return false;
            }
            self.found.push(entry);
        }
        self.at += len;
        true
    }
}
