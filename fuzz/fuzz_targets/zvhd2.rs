//! Bytes by chance, read as zvhd2.

#![no_main]

use diskimg::Format;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| testkit::hostile::fuzz(Format::Zvhd2, input, &zvhd2::DRIVERS));
