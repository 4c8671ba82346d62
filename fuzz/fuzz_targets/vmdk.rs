//! Bytes by chance, read as vmdk.

#![no_main]

use diskimg::Format;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| testkit::hostile::fuzz(Format::Vmdk, input, &zvhd2::DRIVERS));
