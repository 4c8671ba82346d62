//! What lies where, extent by extent.

use std::ops::Range;

use super::{Mapped, Place, Run};
use crate::error::Result;
use crate::image::{Extent, ExtentKind, clip_extent};
use crate::units::GuestOffset;

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

/// Most pieces that are looked at for one [`extents_from`]: bounds the time between two looks of a
/// caller whether to go on.
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
    // Past the declared size there is only the rest of the last sector, in which the walk may
    // begin.
    if (declared..end).contains(&walk.at) {
        let rest = end - walk.at;
        walk.push(ExtentKind::Hole, rest);
    }
    Ok(())
}

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
    #[inline]
    pub(super) fn of(&mut self, run: &Run<M::Packed>, at: u64) -> Result<(ExtentKind, u64)> {
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
    #[inline]
    pub(super) fn is_enough(&self) -> bool {
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
    #[inline]
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
    #[inline]
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
