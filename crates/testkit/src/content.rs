//! Guest content that is the same in every run: data of several kinds, written zeros and holes.

#![allow(
    clippy::indexing_slicing,
    reason = "test helper: a wrong call fails the test"
)]

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What a stretch of reference content is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Bytes that do not compress.
    Random,
    /// Words and numbers, which compress well.
    Text,
    /// Zeros that are written out.
    WrittenZeros,
    /// Zeros that are not written at all.
    Hole,
}

/// A stretch of reference content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// First byte.
    pub start: u64,
    /// Length in bytes.
    pub len: u64,
    /// What it is made of.
    pub kind: Kind,
}

/// Reference content: the bytes, and where what lies.
#[derive(Clone, Debug)]
pub struct Content {
    /// Every byte of the disk.
    pub bytes: Vec<u8>,
    /// What lies where, in order and without gaps.
    pub stretches: Vec<Stretch>,
}

impl Content {
    /// `len` bytes that depend on `seed` alone, in stretches of 1 to `longest` bytes that begin at
    /// multiples of `unit`. Zero bytes at both ends of a stretch are possible, as on real disks.
    ///
    /// # Panics
    /// When `unit` is 0 or more than `longest`.
    #[must_use]
    pub fn new(seed: u64, len: usize, unit: usize, longest: usize) -> Self {
        assert!(unit > 0 && unit <= longest, "{unit} is no unit");
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut bytes = vec![0; len];
        let mut stretches = Vec::new();
        let mut at = 0;
        while at < len {
            let size = (rng.usize(1..=longest / unit) * unit).min(len - at);
            let kind = [Kind::Random, Kind::Text, Kind::WrittenZeros, Kind::Hole][rng.usize(..4)];
            let target = &mut bytes[at..at + size];
            match kind {
                Kind::Random => rng.fill(target),
                Kind::Text => text(&mut rng, target),
                Kind::WrittenZeros | Kind::Hole => {}
            }
            stretches.push(Stretch {
                start: at as u64,
                len: size as u64,
                kind,
            });
            at += size;
        }
        Self { bytes, stretches }
    }

    /// Writes the content to a new file at `path`, whose holes are holes.
    ///
    /// # Errors
    /// Those of writing.
    pub fn write_sparse(&self, path: &Path) -> io::Result<()> {
        let file = File::create(path)?;
        file.set_len(self.bytes.len() as u64)?;
        for stretch in &self.stretches {
            if stretch.kind != Kind::Hole {
                let start = usize::try_from(stretch.start).map_err(io::Error::other)?;
                let len = usize::try_from(stretch.len).map_err(io::Error::other)?;
                file.write_all_at(&self.bytes[start..start + len], stretch.start)?;
            }
        }
        Ok(())
    }
}

fn text(rng: &mut fastrand::Rng, mut target: &mut [u8]) {
    while !target.is_empty() {
        let line = format!("{:5} the quick brown fox {}\n", rng.u16(..), rng.u8(..));
        // Into a slice, writing stops at its end.
        let _ = target.write(line.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_content_and_every_kind_occurs() {
        let content = Content::new(1, 1 << 20, 512, 32 << 10);
        assert_eq!(content.bytes, Content::new(1, 1 << 20, 512, 32 << 10).bytes);
        assert_ne!(content.bytes, Content::new(2, 1 << 20, 512, 32 << 10).bytes);
        for kind in [Kind::Random, Kind::Text, Kind::WrittenZeros, Kind::Hole] {
            assert!(content.stretches.iter().any(|s| s.kind == kind), "{kind:?}");
        }
        let end = content.stretches.iter().fold(0, |at, stretch| {
            assert_eq!(stretch.start, at);
            at + stretch.len
        });
        assert_eq!(end, 1 << 20);
    }
}
