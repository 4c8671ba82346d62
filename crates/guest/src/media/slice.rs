//! Stretches of the disk that look like disks of their own: partitions, logical volumes, arrays.

use std::ops::Range;
use std::rc::Rc;

use super::cache::Media;

/// Where the bytes of a run are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On the disk from this offset.
    At(u64),
    /// In turns of `stripe` bytes on the disk from these offsets.
    Striped { bases: Vec<u64>, stripe: u64 },
    /// Nowhere; they are zero.
    Zero,
    /// On another disk.
    Elsewhere(String),
}

/// Consecutive bytes of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// First byte in the slice.
    pub(crate) start: u64,
    pub(crate) length: u64,
    pub(crate) place: Place,
}

/// A stretch of bytes that is read like a disk.
#[derive(Clone)]
pub(crate) struct Slice {
    media: Rc<Media>,
    /// Ascending, without gaps.
    runs: Rc<[Run]>,
    size: u64,
    /// Bits that read as zero: an offset and a mask of bits to keep.
    masked: Option<(u64, u8)>,
}

impl Slice {
    /// `length` bytes of the disk from `base`, as far as it has them.
    pub(crate) fn new(media: &Rc<Media>, base: u64, length: u64) -> Self {
        let length = length.min(media.size().saturating_sub(base));
        let place = Place::At(base);
        let run = Run {
            start: 0,
            length,
            place,
        };
        Self::of_runs(media, vec![run])
    }

    /// The bytes of `runs`, which follow each other.
    pub(crate) fn of_runs(media: &Rc<Media>, runs: Vec<Run>) -> Self {
        let size = runs
            .last()
            .map_or(0, |run| run.start.saturating_add(run.length));
        Self {
            media: Rc::clone(media),
            runs: runs.into(),
            size,
            masked: None,
        }
    }

    /// The same bytes, but of the one at `at` only the bits of `keep`.
    pub(crate) fn masked(&self, at: u64, keep: u8) -> Self {
        Self {
            masked: Some((at, keep)),
            ..self.clone()
        }
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Where it begins on the disk, if it lies there in one piece.
    pub(crate) fn base(&self) -> Option<u64> {
        match &*self.runs {
            [
                Run {
                    place: Place::At(base),
                    ..
                },
            ] => Some(*base),
            _ => None,
        }
    }

    /// Where its bytes lie on the disk, in their order, when each of them has a place of its own
    /// there.
    pub(crate) fn pieces(&self) -> Option<Vec<Range<u64>>> {
        let piece = |run: &Run| match run.place {
            Place::At(base) => Some(base..base.checked_add(run.length)?),
            _ => None,
        };
        self.runs.iter().map(piece).collect()
    }

    /// Fills `buf` with the bytes from `at`.
    ///
    /// # Errors
    /// The range leaves the slice, or part of it is on another disk or cannot be read.
    pub(crate) fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<(), String> {
        let end = at.checked_add(buf.len() as u64);
        if end.is_none_or(|end| end > self.size) {
            return Err(format!(
                "the volume has {} bytes, {} were asked for at {at:#x}",
                self.size,
                buf.len()
            ));
        }
        let (mut place, mut rest) = (at, &mut *buf);
        while !rest.is_empty() {
            let length = self.read_piece(place, rest)?;
            (place, rest) = (place + length as u64, rest.split_at_mut(length).1);
        }
        if let Some((masked, keep)) = self.masked
            && let Some(offset) = masked.checked_sub(at)
            && let Ok(offset) = usize::try_from(offset)
            && let Some(byte) = buf.get_mut(offset)
        {
            *byte &= keep;
        }
        Ok(())
    }

    /// Fills the beginning of `buf`, as far as one run and one stripe go; the length.
    fn read_piece(&self, at: u64, buf: &mut [u8]) -> Result<usize, String> {
        let after = self.runs.partition_point(|run| run.start <= at);
        let run = after
            .checked_sub(1)
            .and_then(|index| self.runs.get(index))
            .ok_or("the volume has no bytes there")?;
        let offset = at - run.start;
        let mut length = run.length.saturating_sub(offset);
        let base = match &run.place {
            Place::At(base) => base.checked_add(offset),
            Place::Striped { bases, stripe } => {
                let count = bases.len() as u64;
                let chunk = offset.checked_div(*stripe).unwrap_or_default();
                let within = offset.checked_rem(*stripe).unwrap_or_default();
                length = length.min(stripe - within);
                let turn = chunk.checked_rem(count).unwrap_or_default();
                let row = chunk.checked_div(count).unwrap_or_default();
                let base = usize::try_from(turn).ok().and_then(|turn| bases.get(turn));
                base.and_then(|base| base.checked_add(row.checked_mul(*stripe)?))
                    .and_then(|base| base.checked_add(within))
            }
            Place::Zero => None,
            Place::Elsewhere(name) => return Err(format!("{name} is on another disk")),
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX).min(buf.len());
        let (piece, _) = buf.split_at_mut(length);
        if piece.is_empty() {
            return Err(format!("the volume has no bytes at {at:#x}"));
        }
        match base {
            Some(base) => self.media.read_at(base, piece)?,
            None if run.place == Place::Zero => piece.fill(0),
            None => return Err(format!("the bytes at {at:#x} are on no disk")),
        }
        Ok(length)
    }

    /// The `length` bytes from `at`, as far as the slice has them; short at its end.
    ///
    /// # Errors
    /// Those of [`Self::read_at`].
    pub(crate) fn head(&self, at: u64, length: usize) -> Result<Vec<u8>, String> {
        let left = usize::try_from(self.size.saturating_sub(at)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length.min(left)];
        if !bytes.is_empty() {
            self.read_at(at, &mut bytes)?;
        }
        Ok(bytes)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![expect(
        clippy::cast_possible_truncation,
        reason = "test data are far smaller than any of these types"
    )]

    use super::*;
    use crate::budget::Budget;

    /// A disk with these bytes.
    pub(crate) fn disk(bytes: Vec<u8>) -> Rc<Media> {
        let size = bytes.len() as u64;
        let source = move |at: u64, buf: &mut [u8]| {
            let at = at as usize;
            buf.copy_from_slice(&bytes[at..at + buf.len()]);
            Ok(())
        };
        Rc::new(Media::new(Box::new(source), size, &Budget::default()))
    }

    #[test]
    fn runs_and_stripes_are_put_together() {
        let media = disk((0..100).collect());
        let run = |start, length, place| Run {
            start,
            length,
            place,
        };
        let striped = Place::Striped {
            bases: vec![40, 60],
            stripe: 2,
        };
        let slice = Slice::of_runs(
            &media,
            vec![
                run(0, 3, Place::At(90)),
                run(3, 2, Place::Zero),
                run(5, 8, striped),
                run(13, 4, Place::Elsewhere("pv1".into())),
            ],
        );
        let mut buf = [0; 13];
        slice.read_at(0, &mut buf).unwrap();
        assert_eq!(buf, [90, 91, 92, 0, 0, 40, 41, 60, 61, 42, 43, 62, 63]);
        let mut buf = [0; 3];
        slice.read_at(8, &mut buf).unwrap();
        assert_eq!(buf, [61, 42, 43]);
        let error = slice.read_at(12, &mut [0; 2]).unwrap_err();
        assert!(error.contains("pv1"), "{error}");
        assert!(slice.read_at(17, &mut [0]).is_err());
    }

    #[test]
    fn a_slice_ends_where_the_disk_ends() {
        let media = disk(vec![7; 100]);
        let slice = Slice::new(&media, 90, 50);
        assert_eq!(slice.size(), 10);
        assert_eq!(slice.head(5, 50).unwrap(), [7; 5]);
        assert_eq!(Slice::new(&media, 200, 50).size(), 0);
    }

    #[test]
    fn masked_bits_are_hidden_wherever_a_read_begins() {
        let media = disk(vec![0xff; 100]);
        let slice = Slice::new(&media, 10, 50).masked(4, !0x4);
        assert_eq!(slice.head(3, 3).unwrap(), [0xff, 0xfb, 0xff]);
        assert_eq!(slice.head(4, 1).unwrap(), [0xfb]);
        assert_eq!(slice.head(5, 1).unwrap(), [0xff]);
    }
}
