//! The seeds of the fuzz targets, and every input with which these once found something.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::path::{Path, PathBuf};

use diskimg::Format;
use testkit::hostile::replay;

#[track_caller]
fn hold(format: Format, at_least: usize) {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let directories = ["seeds", "regressions"].map(|part| fuzz.join(part).join(format.name()));
    let count = replay(format, &directories.each_ref().map(PathBuf::as_path), &[]);
    assert!(count >= at_least, "{count} files");
}

#[test]
fn seeds_and_what_fuzzing_found_hold_for_raw() {
    hold(Format::Raw, 5);
}

#[test]
fn seeds_and_what_fuzzing_found_hold_for_qcow2() {
    hold(Format::Qcow2, 5);
}

#[test]
fn seeds_and_what_fuzzing_found_hold_for_vhd() {
    hold(Format::Vhd, 3);
}

#[test]
fn seeds_and_what_fuzzing_found_hold_for_vhdx() {
    hold(Format::Vhdx, 3);
}

#[test]
fn seeds_and_what_fuzzing_found_hold_for_vdi() {
    hold(Format::Vdi, 3);
}

#[test]
fn seeds_and_what_fuzzing_found_hold_for_vmdk() {
    hold(Format::Vmdk, 5);
}
