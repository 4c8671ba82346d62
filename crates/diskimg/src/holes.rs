//! Where a file stores bytes and where it has holes, as its file system answers.
//!
//! Some file systems answer nonsense: the place that was asked, whatever is there (older FUSE
//! libraries); no `ENXIO` in the last hole (OpenZFS 2.1.0); places before the one that was asked.
//! Such an answer is no reason to fail, and none to believe the next one: the rest of the file
//! counts as data.

use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

/// The two questions about holes, so that tests can answer them.
pub trait SeekHoles {
    /// First byte at or behind `at` that is stored.
    ///
    /// # Errors
    /// `ENXIO` when there is none.
    fn seek_data(&self, at: u64) -> Result<u64, Errno>;

    /// First byte at or behind `at` that is in a hole; the file's end counts as one.
    ///
    /// # Errors
    /// `ENXIO` when `at` is not in the file.
    fn seek_hole(&self, at: u64) -> Result<u64, Errno>;
}

impl SeekHoles for File {
    fn seek_data(&self, at: u64) -> Result<u64, Errno> {
        seek(self, SeekFrom::Data(at))
    }

    fn seek_hole(&self, at: u64) -> Result<u64, Errno> {
        seek(self, SeekFrom::Hole(at))
    }
}

/// What begins at a place of a file. Ends lie behind the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stretch {
    /// Stored bytes up to here.
    Data(u64),
    /// A hole up to here; there are stored bytes behind it.
    Hole(u64),
    /// A hole up to the file's end, wherever that is by now.
    HoleToTheEnd,
    /// The file system does not know, or what it says makes no sense.
    Unknown,
}

/// What a file system says of one file, as long as it makes sense.
#[derive(Debug, Default)]
pub struct Holes {
    senseless: AtomicBool,
}

impl Holes {
    /// What begins at `at` in a file of `len` bytes, which is more than `at`.
    ///
    /// # Errors
    /// Those of the file system, except that it does not know holes.
    pub fn at(&self, file: &impl SeekHoles, at: u64, len: u64) -> Result<Stretch, Errno> {
        if self.senseless() {
            return Ok(Stretch::Unknown);
        }
        let data = match file.seek_data(at) {
            Ok(data) => data,
            Err(Errno::NXIO) => return Ok(Stretch::HoleToTheEnd),
            Err(error) => return unknown(error),
        };
        if data > at && data < len {
            return Ok(Stretch::Hole(data));
        }
        if data != at {
            return Ok(self.distrust());
        }
        match file.seek_hole(at) {
            Ok(hole) if hole > at => Ok(Stretch::Data(hole)),
            Ok(_) => Ok(self.distrust()),
            // The file became shorter; a read there reports it.
            Err(Errno::NXIO) => Ok(Stretch::Unknown),
            Err(error) => unknown(error),
        }
    }

    /// Whether an answer made no sense.
    pub fn senseless(&self) -> bool {
        self.senseless.load(Ordering::Relaxed)
    }

    fn distrust(&self) -> Stretch {
        self.senseless.store(true, Ordering::Relaxed);
        Stretch::Unknown
    }
}

/// `Unknown` for a file system that has no such question.
fn unknown(error: Errno) -> Result<Stretch, Errno> {
    match error {
        Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS | Errno::NOTTY => Ok(Stretch::Unknown),
        error => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const LEN: u64 = 1 << 20;
    const DATA: std::ops::Range<u64> = 4096..8192;

    /// A file of [`LEN`] bytes that stores [`DATA`]; `twist` changes the answers.
    struct Twisted<F> {
        twist: F,
        asked: Cell<u32>,
    }

    #[derive(Clone, Copy)]
    enum Asked {
        Data,
        Hole,
    }

    impl<F: Fn(Asked, u64, Result<u64, Errno>) -> Result<u64, Errno>> Twisted<F> {
        fn new(twist: F) -> Self {
            let asked = Cell::new(0);
            Self { twist, asked }
        }

        fn answer(&self, asked: Asked, at: u64, honest: Result<u64, Errno>) -> Result<u64, Errno> {
            self.asked.set(self.asked.get() + 1);
            (self.twist)(asked, at, honest)
        }

        /// All stretches, with what is not known as data.
        fn walk(&self) -> (Vec<(bool, u64)>, bool) {
            let holes = Holes::default();
            let (mut at, mut found) = (0, Vec::new());
            while at < LEN {
                let (data, end) = match holes.at(self, at, LEN).unwrap() {
                    Stretch::Data(end) => (true, end.min(LEN)),
                    Stretch::Hole(end) => (false, end),
                    Stretch::HoleToTheEnd => (false, LEN),
                    Stretch::Unknown => (true, LEN),
                };
                assert!(end > at && end <= LEN);
                found.push((data, end));
                at = end;
            }
            assert!(self.asked.get() < 10, "{} questions", self.asked.get());
            (found, holes.senseless())
        }
    }

    impl<F: Fn(Asked, u64, Result<u64, Errno>) -> Result<u64, Errno>> SeekHoles for Twisted<F> {
        fn seek_data(&self, at: u64) -> Result<u64, Errno> {
            let honest = match at {
                at if at < DATA.end => Ok(at.max(DATA.start)),
                _ => Err(Errno::NXIO),
            };
            self.answer(Asked::Data, at, honest)
        }

        fn seek_hole(&self, at: u64) -> Result<u64, Errno> {
            let honest = match at {
                at if DATA.contains(&at) => Ok(DATA.end),
                at if at < LEN => Ok(at),
                _ => Err(Errno::NXIO),
            };
            self.answer(Asked::Hole, at, honest)
        }
    }

    #[test]
    fn answers_that_make_sense_are_believed() {
        let honest = Twisted::new(|_, _, honest| honest);
        let stretches = vec![(false, 4096), (true, 8192), (false, LEN)];
        assert_eq!(honest.walk(), (stretches, false));
        for error in [Errno::INVAL, Errno::OPNOTSUPP, Errno::NOSYS] {
            let ignorant = Twisted::new(|_, _, _| Err(error));
            assert_eq!(ignorant.walk(), (vec![(true, LEN)], false));
        }
        let broken = Twisted::new(|_, _, _| Err(Errno::IO));
        assert_eq!(Holes::default().at(&broken, 0, LEN), Err(Errno::IO));
    }

    #[test]
    fn from_the_first_answer_that_makes_no_sense_the_rest_is_data() {
        let here = Twisted::new(|_, at, _| Ok(at));
        assert_eq!(here.walk(), (vec![(true, LEN)], true));

        // The last hole is never reported.
        let no_end = Twisted::new(|asked, at, honest| match (asked, honest) {
            (Asked::Data, Err(_)) => Ok(at),
            (_, honest) => honest,
        });
        let stretches = vec![(false, 4096), (true, 8192), (true, LEN)];
        assert_eq!(no_end.walk(), (stretches.clone(), true));
        let at_the_end = Twisted::new(|_, _, honest| honest.or(Ok(LEN)));
        assert_eq!(at_the_end.walk(), (stretches.clone(), true));
        let behind_the_end = Twisted::new(|_, _, honest| honest.or(Ok(u64::MAX)));
        assert_eq!(behind_the_end.walk(), (stretches, true));

        let backwards = Twisted::new(|_, at, honest| match at {
            0 => honest,
            at => Ok(at - 1),
        });
        assert_eq!(backwards.walk(), (vec![(false, 4096), (true, LEN)], true));
        let no_hole = Twisted::new(|asked, at, honest| match asked {
            Asked::Data => honest,
            Asked::Hole => Ok(at - 1),
        });
        assert_eq!(no_hole.walk(), (vec![(false, 4096), (true, LEN)], true));
    }
}
