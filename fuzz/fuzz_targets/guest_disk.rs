//! Bytes by chance, read as a disk with partitions, volumes and file systems. Each file system has
//! a target of its own, for a corpus of its own; the seeds are what makes the difference.

#![no_main]

use std::sync::{Arc, Once};

use diskimg::RawImage;
use guest::Budget;
use guest::survey::look;
use libfuzzer_sys::fuzz_target;
use testkit::guest::repaired;
use testkit::hostile::{PATIENCE, Sparse};
use testkit::measure::cpu_time;

/// Nodes of a file system that are looked at.
const NODES: usize = 12;
/// ext4-view panics at some damage, which is caught; libFuzzer would end the program there.
const PANICS: bool = matches!(env!("CARGO_BIN_NAME").as_bytes(), b"guest-ext");
static QUIET: Once = Once::new();

fuzz_target!(|input: &[u8]| {
    let Some((flags, rest)) = input.split_first() else {
        return;
    };
    let mut disk = Sparse::parse(rest);
    if flags & 1 == 1 {
        disk = repaired(disk);
    }
    let Ok(image) = RawImage::open(Arc::new(disk)) else {
        return;
    };
    if PANICS {
        QUIET.call_once(|| std::panic::set_hook(Box::new(|_| {})));
    }
    let started = cpu_time();
    let found = look(Arc::new(image), &Budget::default(), NODES);
    let took = cpu_time() - started;
    assert!(PANICS || found.panics == 0, "{found:?}");
    assert!(took < PATIENCE, "{took:?}");
});
