//! What lies where, in sums.

use super::extents::Kinds;
use super::{Mapped, Mix, Piece, Place, Run};
use crate::error::Result;
use crate::image::{ExtentKind, clip_extent};
use crate::survey::Tally;
use crate::units::GuestOffset;

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
    // Past the declared size there is only the rest of the last sector, in which the walk may
    // begin.
    if (declared..end).contains(&walk.at) {
        let rest = end - walk.at;
        walk.push_kind(ExtentKind::Hole, rest);
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
        let before = self.kinds.pieces;
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
            self.kinds.pieces = before + 1;
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

    /// Adds a tally, to the one before it where both are of one kind; `false` when that would be
    /// one too many.
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
