//! Damage word by word: what a reader is held against, whichever field it hits.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "test helper: a failed assertion fails the test"
)]

use std::ops::Range;

use diskimg::{Driver, Format, ReadAt};

use crate::hostile::{Effort, Sparse, hold, sealed};

/// Bytes of a word: fields are 4 or 8 bytes and lie at multiples of 4.
const WORD: usize = 4;

/// Bytes of an entry of a table that names places in the file.
const ENTRY: usize = 8;

/// Gives each pair of neighbouring entries of a table in the file that `seed` describes the same
/// content, lets each entry name a hole of the file, makes checksums right, and holds the reader of
/// `format` against the result. Returns the number of cases.
///
/// # Panics
/// When something does not hold, the work that it takes included.
pub fn tables(format: Format, seed: &[u8], more: &[Driver]) -> usize {
    let file = Sparse::parse(&seed[1..]);
    let size = match format {
        Format::Vhd | Format::Vdi | Format::Vmdk => WORD,
        _ => ENTRY,
    };
    // A hole behind everything, as long as the file may be.
    let hole = file.len().next_multiple_of(2 << 20);
    let named: Vec<u8> = match format {
        Format::Vhd => u32::try_from(hole / 512).unwrap().to_be_bytes().to_vec(),
        // The number of a block of 1 MiB, behind header and map.
        Format::Vdi => u32::try_from((hole >> 20) - 1)
            .unwrap()
            .to_le_bytes()
            .to_vec(),
        Format::Vmdk => u32::try_from(hole / 512).unwrap().to_le_bytes().to_vec(),
        Format::Qcow2 => (hole | 1 << 63).to_be_bytes().to_vec(),
        _ => (hole | 6).to_le_bytes().to_vec(),
    };
    let mut cases = 0;
    for (start, len) in file.stretches() {
        let page = file.bytes(start, len as usize);
        for at in (0..page.len() - size).step_by(size) {
            let (entry, next) = (&page[at..at + size], &page[at + size..at + 2 * size]);
            if entry.iter().all(|byte| *byte == 0) {
                continue;
            }
            let mut shared = file.clone();
            shared.write(start + (at + size) as u64, entry);
            let mut sparse = file.grown(hole + (64 << 20));
            if format == Format::Vhd {
                // Its footer stands at the end.
                sparse.write(sparse.len() - 512, &file.bytes(file.len() - 512, 512));
            }
            sparse.write(start + at as u64, &named);
            for (damaged, differs) in [(shared, entry != next), (sparse, true)] {
                if differs {
                    hold(format, sealed(format, damaged), more, Effort::QUICK);
                    cases += 1;
                }
            }
        }
    }
    cases
}

/// Puts the first half of what `head` describes before the rest of what `tail` does, makes
/// checksums right for `format`, and holds its reader against the result.
///
/// # Panics
/// When something does not hold, the work that it takes included.
pub fn spliced(format: Format, head: &[u8], tail: &[u8], more: &[Driver]) {
    let (head, mut file) = (Sparse::parse(&head[1..]), Sparse::parse(&tail[1..]));
    let stretches: Vec<_> = head.stretches().collect();
    for (start, len) in &stretches[..stretches.len().div_ceil(2)] {
        file.write(*start, &head.bytes(*start, *len as usize));
    }
    hold(format, sealed(format, file), more, Effort::QUICK);
}

/// Sets each word of the file that `seed` describes, unless it and its neighbours are zeros, to 0,
/// 1, all ones, one more, one less, and past the end of the file, and each pair of words to all
/// ones; makes checksums right, and holds the reader of `format` against the result. Of a page that
/// `metadata` is given, it says which bytes are looked at. Returns the number of cases.
///
/// # Panics
/// When something does not hold, the time that it takes included.
pub fn words(
    format: Format,
    seed: &[u8],
    more: &[Driver],
    metadata: impl Fn(&[u8]) -> Range<usize>,
) -> usize {
    let file = Sparse::parse(&seed[1..]);
    let end = u32::try_from(file.len()).unwrap();
    let big_endian = matches!(format, Format::Qcow2 | Format::Vhd);
    let mut cases = 0;
    for (start, len) in file.stretches() {
        let page = file.bytes(start, len as usize);
        for at in metadata(&page).step_by(WORD) {
            let near = &page[at.saturating_sub(WORD)..(at + 2 * WORD).min(page.len())];
            if near.iter().all(|byte| *byte == 0) {
                continue;
            }
            let stored: [u8; WORD] = page[at..at + WORD].try_into().unwrap();
            let value = if big_endian {
                u32::from_be_bytes(stored)
            } else {
                u32::from_le_bytes(stored)
            };
            let numbers = [
                0,
                1,
                u32::MAX,
                value.wrapping_add(1),
                value.wrapping_sub(1),
                end,
            ];
            let values = numbers.map(|number| {
                if big_endian {
                    number.to_be_bytes()
                } else {
                    number.to_le_bytes()
                }
                .to_vec()
            });
            for value in values.into_iter().chain([vec![0xff; 2 * WORD]]) {
                let mut damaged = file.clone();
                damaged.write(start + at as u64, &value);
                // Asserts time, and everything else that must hold.
                hold(format, sealed(format, damaged), more, Effort::THOROUGH);
                cases += 1;
            }
        }
    }
    cases
}

/// All of a page, for formats whose seeds are nothing but metadata.
#[must_use]
pub fn whole(page: &[u8]) -> Range<usize> {
    0..page.len()
}
