//! Bytes by chance, read as a registry hive.

#![no_main]

use guest::survey::hive;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let _ = hive(input.to_vec(), 2000);
});
