//! What is refused, by name, with what was found and what was expected.

use diskimg::ErrorKind::{Ambiguous, Corrupt, Limit, Truncated, Unsupported};
use diskimg::{Format, OpenOptions};

use crate::craft::{Block, Craft, DIFFERENCING, MAP, field, put32, put64};
use crate::{open, open_any, refused};

fn whole() -> Vec<u8> {
    let blocks = [Block::Noise, Block::Absent, Block::Zeros, Block::Noise];
    Craft::new(4096, &blocks).make().bytes
}

fn with32(at: usize, value: u32) -> Vec<u8> {
    let mut bytes = whole();
    put32(&mut bytes, at, value);
    bytes
}

#[test]
fn other_versions_and_kinds_are_refused_by_number() {
    refused(
        &with32(field::VERSION, 2),
        Unsupported,
        &["version 0.2", "1.1"],
    );
    refused(
        &with32(field::VERSION, 0x20001),
        Unsupported,
        &["version 2.1"],
    );
    refused(
        &with32(field::KIND, 3),
        Unsupported,
        &["3 (undo)", "dynamic (1)"],
    );
    refused(&with32(field::KIND, 9), Unsupported, &["type is 9"]);
}

#[test]
fn a_differencing_disk_is_refused_with_its_parents_uuid_and_the_command_that_merges_it() {
    let craft = Craft {
        kind: DIFFERENCING,
        parent: *b"\x66\x77\xc2\x2d\x23\xf6\x00\x42\x9d\x64\x11\x5e\x9b\xfd\x4a\x08",
        ..Craft::new(4096, &[Block::Noise, Block::Absent])
    };
    let made = craft.make();
    let uuid = "2dc27766-f623-4200-9d64-115e9bfd4a08";
    refused(&made.bytes, Unsupported, &["differencing", "parent", uuid]);
    // Wherever files may be opened, none is looked for.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("child.vdi");
    std::fs::write(&path, &made.bytes).unwrap();
    let options = OpenOptions {
        backing: diskimg::BackingPolicy::Inside(dir.path().to_owned()),
        ..OpenOptions::default()
    };
    let error = diskimg::open(&path, &options, &[]).unwrap_err();
    let hint = error.hint().unwrap();
    let command = format!("VBoxManage clonemedium disk {} whole.vdi", path.display());
    assert!(hint.to_string().contains(&command), "{hint}");
}

#[test]
fn a_parent_belongs_to_differencing_disks_alone() {
    for at in [field::PARENT, field::PARENT_STATE] {
        refused(&with32(at, 1), Corrupt, &["is dynamic, but names a parent"]);
    }
    refused(
        &with32(field::KIND, DIFFERENCING),
        Corrupt,
        &["names no parent"],
    );
}

#[test]
fn sizes_that_make_no_sense_are_refused() {
    for (at, value, kind, words) in [
        (
            field::HEADER_SIZE,
            383,
            Corrupt,
            ["383 bytes", "384 to 4096"],
        ),
        (field::HEADER_SIZE, 4097, Corrupt, ["4097", "384 to 4096"]),
        (field::SECTOR_SIZE, 4096, Unsupported, ["4096 bytes", "512"]),
        (field::DISK_SIZE, 0, Unsupported, ["empty", "size 0"]),
        (field::DISK_SIZE, 511, Unsupported, ["empty", "511"]),
        (
            field::DISK_SIZE + 4,
            1 << 16,
            Limit,
            ["virtual size", "64 TiB"],
        ),
        (
            field::DISK_SIZE + 4,
            1 << 10,
            Limit,
            ["blocks of 4096", "at most"],
        ),
        (
            field::DISK_SIZE,
            1 << 20,
            Corrupt,
            ["has 4 entries", "needs 256"],
        ),
        (field::BLOCK_SIZE, 0, Corrupt, ["block size is 0", "4096"]),
        (
            field::BLOCK_SIZE,
            2048,
            Corrupt,
            ["block size is 2048", "4096"],
        ),
        (
            field::BLOCK_SIZE,
            12_288,
            Corrupt,
            ["12288", "power of two"],
        ),
        (
            field::BLOCK_SIZE,
            1 << 27,
            Corrupt,
            ["134217728", "67108864"],
        ),
        (field::EXTRA, 8192, Corrupt, ["8192 bytes", "up to 4096"]),
        (field::EXTRA, 100, Corrupt, ["100 bytes", "power of two"]),
        (field::BLOCKS, 3, Corrupt, ["has 3 entries", "needs 4"]),
        (field::ALLOCATED, 5, Corrupt, ["5 blocks", "of 4"]),
        (field::MAP, 0x1d7, Corrupt, ["block map", "ends at 0x1d8"]),
        (field::DATA, 0x20c, Corrupt, ["16 bytes", "begin at 0x20c"]),
    ] {
        refused(&with32(at, value), kind, &words);
    }
    let mut bytes = with32(field::DATA, u32::MAX);
    put32(&mut bytes, field::MAP, 0x10_0000);
    refused(&bytes, Truncated, &["block map", "the file ends at"]);
    let mut bytes = whole();
    put64(&mut bytes, field::DISK_SIZE, u64::MAX);
    refused(&bytes, Limit, &["at most 64 TiB"]);
    bytes.truncate(0x1c7);
    refused(&bytes, Truncated, &["455 bytes", "takes 456"]);
}

#[test]
fn blocks_past_the_end_and_blocks_at_one_place_are_refused() {
    let words = ["block 0", "number 2", "past the end"];
    refused(&with32(MAP, 2), Truncated, &words);
    refused(&with32(MAP, u32::MAX - 2), Truncated, &["past the end"]);
    refused(
        &with32(MAP, 1),
        Corrupt,
        &["block 3", "number 1", "another"],
    );
    let mut bytes = whole();
    bytes.pop();
    refused(&bytes, Truncated, &["block 3", "past the end"]);
}

#[test]
fn what_is_no_vdi_is_refused_when_it_is_called_one() {
    let error = open_any(&vec![1; 1 << 20], Some(Format::Vdi)).unwrap_err();
    assert_eq!(error.kind(), Corrupt);
    assert!(error.to_string().contains("expected 7f10dabe"), "{error}");
}

#[test]
fn a_boot_sector_in_front_is_ambiguous() {
    let mut bytes = whole();
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    let error = open_any(&bytes, None).unwrap_err();
    assert_eq!(error.kind(), Ambiguous);
    assert!(error.to_string().contains("vdi and a disk"), "{error}");
    open(&bytes).unwrap();
}
