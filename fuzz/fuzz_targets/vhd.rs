//! Bytes by chance, read as vhd.

#![no_main]

use diskimg::Format;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| testkit::hostile::fuzz(Format::Vhd, input, &zvhd2::DRIVERS));
