//! Whether a file is in the page cache.

use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io::IoSliceMut;

use rustix::fs::{Advice, fadvise};
use rustix::io::{ReadWriteFlags, preadv2};

use crate::holes::SeekHoles as _;

/// Places of a file that are sampled to tell whether it is in the page cache.
const CACHE_SAMPLES: u64 = 64;

/// Whether most of `file` is in the page cache: samples of it are read only as far as that takes no
/// waiting for the disk. A system that cannot read that way answers no.
///
/// A sample that is not in the cache makes the kernel fetch its page, so each call takes others:
/// the same ones would be found the next time, and a cold file be taken for a cached one.
pub(super) fn is_cached(file: &File, len: u64) -> bool {
    // Otherwise the kernel would begin to read ahead at each place.
    let _ = fadvise(file, 0, None, Advice::Random);
    let step = (len / CACHE_SAMPLES).max(1);
    let samples = RandomState::new();
    let (mut asked, mut found) = (0, 0);
    let mut start = 0;
    while asked < CACHE_SAMPLES && start < len {
        // A hole is never in the cache, and does not count.
        start = match file.seek_data(start) {
            Ok(data) if data >= start && data < len => data,
            Err(rustix::io::Errno::NXIO) => break,
            _ => start,
        };
        let next = start.saturating_add(step);
        let end = match file.seek_hole(start) {
            Ok(hole) if hole > start => hole.min(next).min(len),
            _ => next.min(len),
        };
        let at = start + samples.hash_one(asked) % (end - start);
        let mut byte = [0];
        let mut bufs = [IoSliceMut::new(&mut byte)];
        asked += 1;
        found += u64::from(preadv2(file, &mut bufs, at, ReadWriteFlags::NOWAIT) == Ok(1));
        start = next;
    }
    asked > 0 && found * 10 >= asked * 9
}
