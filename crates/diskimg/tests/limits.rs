//! Damage takes at most 2 seconds of processor time and 256 MiB, in every format: each word of the
//! seeds' metadata set to 0, 1, all ones, one more, one less, and past the end of the file. A process
//! of its own and one test, because memory is the whole process's.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::path::Path;

use diskimg::{Format, ReadAt};
use testkit::hostile::{Sparse, hold, sealed};
use testkit::measure::{address_space, peak_address_space};

/// Most memory that damage may take, in bytes.
const MEMORY: u64 = 256 << 20;

/// Bytes of a word: fields are 4 or 8 bytes and lie at multiples of 4.
const WORD: usize = 4;

#[test]
fn damage_takes_little_time_and_memory_in_every_format() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
    let mut cases = 0;
    // What the process has before the first image is not the images'.
    let before = address_space();
    for format in [Format::Qcow2, Format::Vhd, Format::Vhdx] {
        for entry in std::fs::read_dir(seeds.join(format.name())).unwrap() {
            let seed = std::fs::read(entry.unwrap().path()).unwrap();
            cases += damage(format, &seed);
            let taken = peak_address_space().saturating_sub(before);
            assert!(taken < MEMORY, "{format}: {taken} bytes");
        }
    }
    assert!(cases > 5000, "{cases} cases");
}

/// Damages every word that is not zero, and its neighbours; returns how often.
fn damage(format: Format, seed: &[u8]) -> usize {
    let file = Sparse::parse(&seed[1..]);
    let end = u32::try_from(file.len()).unwrap();
    let mut cases = 0;
    for (start, len) in file.stretches() {
        let page = file.bytes(start, usize::try_from(len).unwrap());
        for at in (0..page.len()).step_by(WORD) {
            let near = &page[at.saturating_sub(WORD)..(at + 2 * WORD).min(page.len())];
            if near.iter().all(|byte| *byte == 0) {
                continue;
            }
            let stored: [u8; WORD] = page[at..at + WORD].try_into().unwrap();
            let (little, big) = (u32::from_le_bytes(stored), u32::from_be_bytes(stored));
            let values = if format == Format::Vhdx {
                [little.wrapping_add(1), little.wrapping_sub(1), end].map(u32::to_le_bytes)
            } else {
                [big.wrapping_add(1), big.wrapping_sub(1), end].map(u32::to_be_bytes)
            };
            for value in [[0; WORD], [0xff; WORD]].into_iter().chain(values) {
                let mut damaged = file.clone();
                damaged.write(start + at as u64, &value);
                // Asserts time, and everything else that must hold.
                hold(format, sealed(format, damaged), &[]);
                cases += 1;
            }
        }
    }
    cases
}
