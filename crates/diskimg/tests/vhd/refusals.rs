//! Every rule of header and BAT, broken one at a time under right checksums.

use diskimg::{Error, ErrorKind};

use crate::craft::{
    BAT, Block, Craft, HEADER, Image, noise, plain, put32, seal_footer, seal_header,
};
use crate::{open, refused};

fn image() -> Image {
    Craft::new(64 << 10, plain(64 << 10, 5)).dynamic()
}

/// The refusal of [`image`] after `change`, with checksums made right.
#[track_caller]
fn refusal(change: impl FnOnce(&mut Vec<u8>)) -> Error {
    let mut image = image();
    change(&mut image.bytes);
    seal_header(&mut image.bytes);
    let footer = image.footer();
    let start = image.bytes[..512].to_vec();
    image.bytes[footer..].copy_from_slice(&start);
    for at in [0, footer] {
        seal_footer(&mut image.bytes, at);
    }
    refused(open(&image.bytes))
}

#[track_caller]
fn assert_refusal(error: &Error, kind: ErrorKind, parts: &[&str]) {
    assert_eq!(error.kind(), kind, "{error}");
    for part in parts {
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn block_sizes_are_powers_of_two_from_eight_sectors_to_the_cap() {
    for size in [0_u32, 1, 256, 511, 513, 3 << 20, u32::MAX] {
        let error = refusal(|bytes| put32(bytes, HEADER + 32, size));
        assert_refusal(
            &error,
            ErrorKind::Corrupt,
            &[&size.to_string(), "power of two"],
        );
    }
    // Programs do not agree on whether a bitmap of less than a byte takes a sector or nothing.
    for size in [512, 1024, 2048] {
        let error = refusal(|bytes| put32(bytes, HEADER + 32, size));
        assert_refusal(&error, ErrorKind::Unsupported, &["block size", "4096"]);
    }
    for size in [512_u32 << 20, 1 << 31] {
        let error = refusal(|bytes| put32(bytes, HEADER + 32, size));
        assert_refusal(&error, ErrorKind::Limit, &["256 MiB"]);
    }
}

#[test]
fn the_table_has_an_entry_for_every_block_and_lies_in_the_file() {
    for entries in [0, 1, 4] {
        let error = refusal(|bytes| put32(bytes, HEADER + 28, entries));
        assert_refusal(
            &error,
            ErrorKind::Corrupt,
            &["max_table_entries", "5 blocks"],
        );
    }
    let len = image().bytes.len() as u64;
    for at in [len - 512 - 19, len - 1, len, u64::MAX - 3, u64::MAX] {
        let error = refusal(|bytes| {
            bytes[HEADER + 16..HEADER + 24].copy_from_slice(&at.to_be_bytes());
        });
        assert_refusal(&error, ErrorKind::Truncated, &["BAT"]);
    }
    for at in [0, 493, 512, BAT as u64 - 1] {
        let error = refusal(|bytes| {
            bytes[HEADER + 16..HEADER + 24].copy_from_slice(&at.to_be_bytes());
        });
        assert_refusal(&error, ErrorKind::Corrupt, &["overlaps"]);
    }
}

#[test]
fn a_table_beyond_the_cap_is_refused_before_it_is_allocated() {
    let error = refusal(|bytes| {
        put32(bytes, HEADER + 32, 4096);
        put32(bytes, HEADER + 28, u32::MAX);
        bytes[48..56].copy_from_slice(&(2_u64 << 40).to_be_bytes());
    });
    assert_refusal(&error, ErrorKind::Limit, &["2 GiB", "16 MiB"]);
    let error = refusal(|bytes| {
        put32(bytes, HEADER + 32, 4096);
        put32(bytes, HEADER + 28, u32::MAX);
        bytes[48..56].copy_from_slice(&(16_u64 << 30).to_be_bytes());
    });
    assert_refusal(&error, ErrorKind::Truncated, &["BAT"]);
}

#[test]
fn sizes_are_held_against_the_cap() {
    let error = refusal(|bytes| bytes[48..56].fill(0));
    assert_refusal(&error, ErrorKind::Unsupported, &["empty"]);
    for size in [u64::MAX, u64::MAX - 511, (64 << 40) + 1] {
        let error = refusal(|bytes| bytes[48..56].copy_from_slice(&size.to_be_bytes()));
        assert_refusal(&error, ErrorKind::Limit, &["64 TiB"]);
    }
}

#[test]
fn a_fixed_disk_larger_than_its_file_is_truncated() {
    let craft = Craft {
        size: 8193,
        ..Craft::new(512, Vec::new())
    };
    let error = refused(open(&craft.fixed(&noise(1, 8192))));
    assert_refusal(&error, ErrorKind::Truncated, &["8193", "8192"]);
}

#[test]
fn headers_that_are_no_headers_are_refused() {
    let len = image().bytes.len() as u64;
    for (at, kind) in [
        (0, ErrorKind::Corrupt),
        (511, ErrorKind::Corrupt),
        (513, ErrorKind::Corrupt),
        (len - 512 - 1023, ErrorKind::Truncated),
        (len, ErrorKind::Truncated),
        (u64::MAX, ErrorKind::Truncated),
    ] {
        let error = refusal(|bytes| bytes[16..24].copy_from_slice(&at.to_be_bytes()));
        assert_refusal(&error, kind, &["dynamic header"]);
    }
    let mut bytes = image().bytes;
    bytes[HEADER + 1000] = 1;
    assert_refusal(
        &refused(open(&bytes)),
        ErrorKind::Corrupt,
        &["dynamic header", "checksum"],
    );
}

#[test]
fn other_versions_and_disk_types_are_refused_by_number() {
    for version in [0, 1, 0x2_0000, u32::MAX] {
        let error = refusal(|bytes| put32(bytes, 12, version));
        assert_refusal(&error, ErrorKind::Unsupported, &["VHD version"]);
        let error = refusal(|bytes| put32(bytes, HEADER + 24, version));
        assert_refusal(&error, ErrorKind::Unsupported, &["header's version"]);
    }
    for kind in [0, 1, 5, 6, u32::MAX] {
        let error = refusal(|bytes| put32(bytes, 60, kind));
        assert_refusal(
            &error,
            ErrorKind::Unsupported,
            &[&format!("type is {kind}")],
        );
    }
}

#[test]
fn blocks_that_overlap_anything_are_refused_and_name_the_block() {
    let image = image();
    let sector = |index: usize| (image.places[index].unwrap() / 512) as u32;
    for (entry, part) in [
        (0, "the copy of the footer"),
        (1, "the dynamic header"),
        (3, "the BAT"),
    ] {
        let error = refusal(|bytes| put32(bytes, BAT + 4, entry));
        assert_refusal(&error, ErrorKind::Corrupt, &["block 1 ", part, "BAT entry"]);
        assert_eq!(error.offset(), Some(BAT as u64 + 4));
    }
    for entry in [
        sector(0),
        sector(0) + 1,
        sector(0) - 1,
        sector(3) + 128,
        sector(3),
    ] {
        // One before the first block is the BAT; all others are blocks.
        let error = refusal(|bytes| put32(bytes, BAT + 4, entry));
        assert_refusal(&error, ErrorKind::Corrupt, &["overlaps"]);
    }
    // A writer that forgot the bitmap's sector: what is lost is told, and what reads the rest.
    let error = refusal(|bytes| put32(bytes, BAT + 4, sector(0) + 128));
    let part = "overlaps block 1 at 0x10800 by 512 bytes";
    assert_refusal(&error, ErrorKind::Corrupt, &["block 0 at 0x800", part]);
    let hint = error.hint().unwrap().to_string();
    assert!(hint.contains("qemu-img convert -f vpc"), "{hint}");
    let end = (image.footer() / 512) as u32;
    let error = refusal(|bytes| put32(bytes, BAT + 4, end - 128));
    assert_refusal(&error, ErrorKind::Corrupt, &["block 1 ", "footer"]);
    for entry in [end - 127, end, end + 1, u32::MAX - 1, 1 << 31] {
        let error = refusal(|bytes| put32(bytes, BAT + 4, entry));
        assert_refusal(&error, ErrorKind::Truncated, &["block 1 "]);
    }
}

#[test]
fn neighbours_without_any_gap_do_not_overlap() {
    for backwards in [false, true] {
        let craft = Craft {
            backwards,
            ..Craft::new(4096, (0..50).map(|i| Block::Full(noise(i, 4096))).collect())
        };
        open(&craft.dynamic().bytes).unwrap();
    }
}
