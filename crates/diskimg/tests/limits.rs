//! Damage takes at most 2 seconds of processor time, 256 MiB and a number of steps and reads, in
//! every format: each word of the seeds' metadata set to 0, 1, all ones, one more, one less, and
//! past the end of the file; table entries that name one place, or a hole; the head of one image on
//! the tail of another. A process of its own and one test, because memory is the whole process's.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::path::Path;

use diskimg::Format;
use testkit::damage::{spliced, tables, whole, words};
use testkit::measure::{address_space, peak_address_space};

/// Most memory that damage may take, in bytes.
const MEMORY: u64 = 256 << 20;

#[test]
fn damage_takes_little_time_and_memory_in_every_format() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
    let (mut cases, mut aliased, mut all) = (0, 0, Vec::new());
    // What the process has before the first image is not the images'.
    let before = address_space();
    for format in [
        Format::Raw,
        Format::Qcow2,
        Format::Vhd,
        Format::Vhdx,
        Format::Vdi,
        Format::Vmdk,
    ] {
        for entry in std::fs::read_dir(seeds.join(format.name())).unwrap() {
            let seed = std::fs::read(entry.unwrap().path()).unwrap();
            cases += words(format, &seed, &[], whole);
            if format != Format::Raw {
                aliased += tables(format, &seed, &[]);
                all.push((format, seed));
            }
            let taken = peak_address_space().saturating_sub(before);
            assert!(taken < MEMORY, "{format}: {taken} bytes");
        }
    }
    for (format, head) in &all {
        for (_, tail) in &all {
            spliced(*format, head, tail, &[]);
        }
    }
    let taken = peak_address_space().saturating_sub(before);
    assert!(taken < MEMORY, "{taken} bytes");
    assert!(cases > 7000, "{cases} cases");
    assert!(
        aliased > 500 && all.len() > 10,
        "{aliased} of {}",
        all.len()
    );
}
