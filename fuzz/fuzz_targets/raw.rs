//! Bytes by chance, read as what they claim to be, or as raw.

#![no_main]

use diskimg::Format;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| testkit::hostile::fuzz(Format::Raw, input, &zvhd2::DRIVERS));
