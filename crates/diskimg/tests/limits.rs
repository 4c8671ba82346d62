//! Damage takes at most 2 seconds of processor time and 256 MiB, in every format: each word of the
//! seeds' metadata set to 0, 1, all ones, one more, one less, and past the end of the file. A process
//! of its own and one test, because memory is the whole process's.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::path::Path;

use diskimg::Format;
use testkit::damage::{whole, words};
use testkit::measure::{address_space, peak_address_space};

/// Most memory that damage may take, in bytes.
const MEMORY: u64 = 256 << 20;

#[test]
fn damage_takes_little_time_and_memory_in_every_format() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
    let mut cases = 0;
    // What the process has before the first image is not the images'.
    let before = address_space();
    for format in [Format::Raw, Format::Qcow2, Format::Vhd, Format::Vhdx] {
        for entry in std::fs::read_dir(seeds.join(format.name())).unwrap() {
            let seed = std::fs::read(entry.unwrap().path()).unwrap();
            cases += words(format, &seed, &[], whole);
            let taken = peak_address_space().saturating_sub(before);
            assert!(taken < MEMORY, "{format}: {taken} bytes");
        }
    }
    assert!(cases > 7000, "{cases} cases");
}
