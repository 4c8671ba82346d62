//! What lies where, in sums.

use super::list::{Entry, List, clipped};
use super::map::{Mapped, Mix, Piece, Place, Run};
use crate::error::Result;
use crate::extent::{ExtentKind, Tally};
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
    let range = clipped(disk, at, end)?;
    let sums = List::new(disk, at, most, found);
    let pieces = disk.pieces(at.0, range.end.min(disk.layer().declared_size), unit);
    sums.fill(range, pieces, |sums, piece| match piece {
        Piece::Run(run) => sums.sum(&run, unit),
        Piece::Mix(mix) => sums.mix(&mix, unit),
    })
}

impl Entry for Tally {
    fn of(start: GuestOffset, len: u64, kind: ExtentKind) -> Self {
        let mut tally = Self::new(start);
        tally.add(kind, len);
        tally
    }

    fn len(&self) -> u64 {
        Self::len(self)
    }

    fn join(&mut self, next: &Self) -> bool {
        match next.kind() {
            Some(kind) if self.kind() == Some(kind) => {
                self.add(kind, next.len());
                true
            }
            _ => false,
        }
    }
}

impl<M: Mapped> List<'_, M, Tally> {
    /// Adds what `run` is; `false` when there are enough.
    fn sum(&mut self, run: &Run<M::Packed>, unit: u64) -> Result<bool> {
        let end = run.start + run.len;
        while self.at < end {
            let (kind, len) = self.kinds.of(run, self.at)?;
            let rest = end - self.at;
            let in_unit = rest.min(unit - self.at % unit);
            let pushed = match run.place {
                // The file has holes in it: they are added up, however many there are.
                Place::Stored(host) if len < in_unit => {
                    let host = host.0 + (self.at - run.start);
                    match self
                        .kinds
                        .disk
                        .layer()
                        .stored
                        .data_bytes(host..host + in_unit)?
                    {
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
    fn mix(&mut self, mix: &Mix, unit: u64) -> Result<bool> {
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
            if !self.sum(&run?, unit)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
