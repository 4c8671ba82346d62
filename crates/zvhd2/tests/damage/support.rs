//! What is damaged, and what becomes of it.

use std::sync::Arc;

use diskimg::{DiskImage, Error, GuestOffset, ReadAt};
use zvhd2::{BLOCK_SIZE, Zvhd1Image, Zvhd2Image};

use crate::common::Patched;

pub(crate) const PAGE: usize = 4096;

/// Offsets of the parts of a file with a dense index of one segment and a bitmap of one.
pub(crate) struct Parts {
    pub(crate) copy: usize,
    pub(crate) index: usize,
    pub(crate) bitmap: usize,
    pub(crate) last: usize,
}

pub(crate) fn parts(file: &[u8]) -> Parts {
    let last = file.len() - PAGE;
    let bitmap = last - PAGE;
    let index = bitmap - 524_288;
    Parts {
        copy: index - PAGE,
        index,
        bitmap,
        last,
    }
}

/// File offset of block `entry` of the index.
pub(crate) fn block_at(file: &[u8], entry: usize) -> usize {
    let at = parts(file).index + entry * 16;
    u64::from_le_bytes(file[at..at + 8].try_into().unwrap()) as usize
}

/// What a reader makes of a damaged file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Refused,
    Harmless,
    Wrong,
}

/// Opens and reads everything that is stored, and the hole.
pub(crate) fn outcome(
    image: Result<impl DiskImage, Error>,
    guest: &[u8],
    buf: &mut Vec<u8>,
) -> Outcome {
    let Ok(image) = image else {
        return Outcome::Refused;
    };
    if image.virtual_size() != guest.len() as u64 {
        return Outcome::Wrong;
    }
    buf.resize(guest.len(), 0xaa);
    for number in 0..guest.len().div_ceil(BLOCK_SIZE) {
        let start = number * BLOCK_SIZE;
        let end = guest.len().min(start + BLOCK_SIZE);
        let read = image.read_at(GuestOffset(start as u64), &mut buf[start..end]);
        if read.is_err() {
            return Outcome::Refused;
        }
        if buf[start..end] != guest[start..end] {
            return Outcome::Wrong;
        }
    }
    Outcome::Harmless
}

/// Tries values at every one of `places`, on two threads; returns how many were refused and
/// harmless.
pub(crate) fn corrupt(
    file: &[u8],
    guest: &[u8],
    places: impl Iterator<Item = usize>,
    values: &(dyn Fn(u8) -> Vec<u8> + Sync),
    v1: bool,
) -> (usize, usize) {
    let file = Arc::new(file.to_vec());
    let places: Vec<_> = places.collect();
    let half = |first: usize| {
        let (mut refused, mut harmless) = (0, 0);
        let mut buf = Vec::new();
        for at in places.iter().skip(first).step_by(2) {
            for value in values(file[*at]) {
                if value == file[*at] {
                    continue;
                }
                let source: Arc<dyn ReadAt> = Arc::new(Patched {
                    file: Arc::clone(&file),
                    at: *at,
                    bytes: vec![value],
                });
                let outcome = if v1 {
                    outcome(Zvhd1Image::open(source), guest, &mut buf)
                } else {
                    outcome(Zvhd2Image::open(source), guest, &mut buf)
                };
                match outcome {
                    Outcome::Refused => refused += 1,
                    Outcome::Harmless => harmless += 1,
                    Outcome::Wrong => panic!("byte {at:#x} = {value:#x} gives wrong data"),
                }
            }
        }
        (refused, harmless)
    };
    std::thread::scope(|scope| {
        let second = scope.spawn(|| half(1));
        let first = half(0);
        let second = second.join().unwrap();
        (first.0 + second.0, first.1 + second.1)
    })
}

pub(crate) fn several(byte: u8) -> Vec<u8> {
    vec![byte ^ 1, byte ^ 0x80, !byte, 0, byte.wrapping_add(1)]
}

pub(crate) fn one(byte: u8) -> Vec<u8> {
    vec![byte ^ 0x10]
}
