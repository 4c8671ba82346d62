//! Bytes by chance, read as an initramfs: archives and packed archives.

#![no_main]

use guest::survey::initramfs;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let _ = initramfs(input.to_vec());
});
