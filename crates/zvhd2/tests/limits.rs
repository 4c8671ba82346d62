//! Damage of ZVHD and ZVHD2 files takes at most 2 seconds of processor time and 256 MiB. A process
//! of its own and one test, because memory is the whole process's.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::ops::Range;
use std::path::Path;

use diskimg::Format;
use testkit::damage::words;
use testkit::measure::{address_space, peak_address_space};
use zvhd2::DRIVERS;

/// Most memory that damage may take, in bytes.
const MEMORY: u64 = 256 << 20;

/// Fields of footers and block headers, index entries; of a payload nothing: other tests damage it.
fn metadata(page: &[u8]) -> Range<usize> {
    let footer = page.starts_with(b"z2strm") || page.starts_with(b"stream\0\0");
    if footer {
        0..144
    } else if page.starts_with(b"hwstream bg") {
        0..20
    } else if page.starts_with(&4096_u64.to_le_bytes()) {
        0..page.len()
    } else {
        0..0
    }
}

#[test]
fn damage_of_zvhd_and_zvhd2_takes_little_time_and_memory() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
    let mut cases = 0;
    // What the process has before the first image is not the images'.
    let before = address_space();
    for (format, name) in [
        (Format::Zvhd2, "zstd"),
        (Format::Zvhd2, "empty"),
        (Format::Zvhd, "tiny"),
    ] {
        let seed = std::fs::read(seeds.join(format.name()).join(name)).unwrap();
        cases += words(format, &seed, &DRIVERS, metadata);
        let taken = peak_address_space().saturating_sub(before);
        assert!(taken < MEMORY, "{format}: {taken} bytes");
    }
    assert!(cases > 1000, "{cases} cases");
}
