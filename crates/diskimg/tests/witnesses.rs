//! Independent readers of VHD and VHDX, which share no code with ours, read the same from files of
//! which they understand everything: written by QEMU, and by hand.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests"
)]

#[allow(dead_code, reason = "shared with the tests of VHD")]
#[path = "vhd/craft.rs"]
mod vhd_craft;
#[allow(dead_code, reason = "shared with the tests of VHDX")]
#[path = "vhdx_support/craft.rs"]
mod vhdx_craft;

use std::io::Read;
use std::path::Path;

use diskimg::{GuestOffset, OpenOptions};
use tempfile::TempDir;
use testkit::content::Content;
use testkit::qemu;

use crate::vhdx_craft::{FULLY_PRESENT, NOT_PRESENT, ZERO};

fn ours(path: &Path) -> Vec<u8> {
    let opened = diskimg::open(path, &OpenOptions::default(), &[]).unwrap();
    let mut bytes = vec![0xa5; opened.image.virtual_size() as usize];
    opened.image.read_at(GuestOffset(0), &mut bytes).unwrap();
    bytes
}

/// All that `reader` gives, which says that it is `size` bytes.
fn theirs(mut reader: impl Read, size: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, size);
    bytes
}

#[track_caller]
fn assert_vhdx_alike(path: &Path, what: &str) {
    let reader = vhdx::VhdxReader::open(path).unwrap();
    let size = reader.virtual_disk_size();
    assert!(theirs(reader, size) == ours(path), "{what}");
}

#[track_caller]
fn assert_vhd_alike(path: &Path, what: &str) {
    let reader = vhd::VhdReader::open(path).unwrap();
    let size = reader.virtual_disk_size();
    assert!(theirs(reader, size) == ours(path), "{what}");
}

#[test]
fn vhdx_core_reads_the_same_from_clean_vhdx_files() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("disk.vhdx");
    for backwards in [false, true] {
        let craft = vhdx_craft::Craft {
            backwards,
            ..vhdx_craft::Craft::new(&[FULLY_PRESENT, NOT_PRESENT, FULLY_PRESENT, ZERO])
        };
        std::fs::write(&path, craft.make().bytes).unwrap();
        assert_vhdx_alike(&path, "by hand");
    }
    if qemu::missing() {
        return;
    }
    let raw = dir.path().join("disk.raw");
    let content = Content::new(21, 9 << 20, 512, 1 << 20);
    content.write_sparse(&raw).unwrap();
    for options in [
        "subformat=fixed",
        "subformat=dynamic,block_size=1M",
        "subformat=dynamic,block_size=32M",
    ] {
        let paths = [raw.to_str().unwrap(), path.to_str().unwrap()];
        let args = ["convert", "-f", "raw", "-O", "vhdx", "-o", options];
        qemu::img(args.iter().chain(&paths));
        assert_vhdx_alike(&path, options);
    }
}

#[test]
fn vhd_core_reads_the_same_from_clean_vhd_files() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("disk.vhd");
    let blocks = vhd_craft::plain(2 << 20, 5);
    let image = vhd_craft::Craft::new(2 << 20, blocks).dynamic();
    std::fs::write(&path, &image.bytes).unwrap();
    assert_vhd_alike(&path, "by hand");
    if qemu::missing() {
        return;
    }
    let raw = dir.path().join("disk.raw");
    let content = Content::new(22, 9 << 20, 512, 1 << 20);
    content.write_sparse(&raw).unwrap();
    for subformat in ["fixed", "dynamic"] {
        let options = format!("subformat={subformat},force_size=on");
        let paths = [raw.to_str().unwrap(), path.to_str().unwrap()];
        let args = ["convert", "-f", "raw", "-O", "vpc", "-o", &options];
        qemu::img(args.iter().chain(&paths));
        assert_vhd_alike(&path, &options);
    }
}
