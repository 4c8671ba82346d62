//! Everything that is refused, and what the refusal says.

use diskimg::{DiskImage, ErrorKind, Format, GuestOffset};

use crate::craft::{
    self, BAT, Craft, FULLY_PRESENT, HEADERS, LOG, METADATA, MIB, NOT_PRESENT, PARTIALLY_PRESENT,
    PAYLOAD, REGIONS, put32, put64, seal_header, seal_regions,
};
use crate::{open, open_any, refused};

/// Asserts that a file that `change` has been made to is refused, at open or at the first byte.
#[track_caller]
fn refuses(kind: ErrorKind, says: &str, change: impl FnOnce(&mut Vec<u8>)) -> diskimg::Error {
    let mut bytes = Craft::new(&[FULLY_PRESENT, NOT_PRESENT]).make().bytes;
    change(&mut bytes);
    for index in [0, 1] {
        seal_header(&mut bytes, index);
        seal_regions(&mut bytes, index);
    }
    let opened = open(&bytes);
    let error = refused(opened.and_then(|image| {
        let read = refused(image.read_at(GuestOffset(0), &mut [0; 512]));
        let extent = refused(image.extent_at(GuestOffset(0), 512));
        assert_eq!(read.kind(), extent.kind());
        Err::<(), _>(read)
    }));
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(says), "{error}");
    error
}

fn both(bytes: &mut [u8], places: [usize; 2], change: impl Fn(&mut [u8])) {
    for at in places {
        change(&mut bytes[at..]);
    }
}

#[test]
fn what_is_no_vhdx_is_refused_as_one() {
    let error = refused(open_any(&[7; 2 << 20], Some(Format::Vhdx)));
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("vhdxfile"), "{error}");
    for len in [0, 7, 519, 64 << 10, (1 << 20) - 1] {
        let mut bytes = Craft::new(&[FULLY_PRESENT]).make().bytes;
        bytes.truncate(len);
        let error = refused(open_any(&bytes, Some(Format::Vhdx)));
        assert_eq!(error.kind(), ErrorKind::Truncated, "{error}");
    }
}

#[test]
fn versions_that_are_not_known_are_refused_by_number() {
    use ErrorKind::Unsupported;
    refuses(Unsupported, "VHDX version 3", |b| {
        both(b, HEADERS, |h| h[66] = 3)
    });
    refuses(Unsupported, "log of version 9", |b| {
        both(b, HEADERS, |h| {
            h[64] = 9;
            h[48] = 1;
        });
    });
}

#[test]
fn a_log_version_does_not_matter_while_the_log_is_empty() {
    let mut bytes = Craft::new(&[FULLY_PRESENT]).make().bytes;
    both(&mut bytes, HEADERS, |header| header[64] = 9);
    seal_header(&mut bytes, 0);
    seal_header(&mut bytes, 1);
    assert!(open(&bytes).is_ok());
}

#[test]
fn a_log_out_of_place_is_refused() {
    use ErrorKind::{Corrupt, Truncated};
    refuses(Corrupt, "multiples of 1 MiB", |b| {
        both(b, HEADERS, |h| put32(h, 68, 4096))
    });
    refuses(Corrupt, "multiples of 1 MiB", |b| {
        both(b, HEADERS, |h| put64(h, 72, 4096))
    });
    refuses(Corrupt, "header section", |b| {
        both(b, HEADERS, |h| put64(h, 72, 0))
    });
    refuses(Truncated, "the file ends", |b| {
        both(b, HEADERS, |h| put64(h, 72, 99 << 20))
    });
    refuses(Corrupt, "overlaps", |b| {
        both(b, HEADERS, |h| put64(h, 72, BAT as u64))
    });
}

#[test]
fn regions_out_of_place_are_refused() {
    use ErrorKind::{Corrupt, Truncated, Unsupported};
    let entry = |index: usize| 16 + index * 32;
    let regions = |change: fn(&mut [u8])| move |b: &mut Vec<u8>| both(b, REGIONS, change);
    refuses(
        Corrupt,
        "found 2048 entries",
        regions(|r| put32(r, 8, 2048)),
    );
    refuses(Corrupt, "is missing", regions(|r| put32(r, 8, 1)));
    refuses(
        Corrupt,
        "is there twice",
        regions(|r| {
            let (first, second) = r[16..].split_at_mut(32);
            second[..16].copy_from_slice(&first[..16]);
        }),
    );
    refuses(
        Unsupported,
        "needs region 6e612031",
        regions(|r| {
            put32(r, 8, 3);
            r[16 + 64..32 + 64].copy_from_slice(b"1 an unknown one");
            put64(r, 32 + 64, 90 << 20);
            put32(r, 40 + 64, 1 << 20);
            put32(r, 44 + 64, 1);
        }),
    );
    for index in [0, 1] {
        let at = entry(index);
        refuses(Corrupt, "multiples of 1 MiB", |b| {
            both(b, REGIONS, |r| put64(r, at + 16, 4096))
        });
        refuses(Corrupt, "multiples of 1 MiB", |b| {
            both(b, REGIONS, |r| put32(r, at + 24, 4096))
        });
        refuses(Corrupt, "header section", |b| {
            both(b, REGIONS, |r| put64(r, at + 16, 0))
        });
        refuses(Corrupt, "is empty", |b| {
            both(b, REGIONS, |r| put32(r, at + 24, 0))
        });
        refuses(Truncated, "the file ends", |b| {
            both(b, REGIONS, |r| put64(r, at + 16, 90 << 20));
        });
        refuses(Corrupt, "past 2^64", |b| {
            both(b, REGIONS, |r| put64(r, at + 16, !0 << 20));
        });
        refuses(Corrupt, "overlaps", |b| {
            both(b, REGIONS, |r| put64(r, at + 16, LOG as u64));
        });
    }
}

#[test]
fn metadata_that_breaks_a_rule_is_refused() {
    use ErrorKind::{Corrupt, Unsupported};
    let entry = |index: usize| METADATA + 32 + index * 32;
    refuses(Corrupt, "expected \"metadata\"", |b| b[METADATA] = 0);
    refuses(Corrupt, "2048 entries", |b| {
        b[METADATA + 10..METADATA + 12].copy_from_slice(&[0, 8])
    });
    for (index, name) in [
        "file parameters",
        "virtual disk size",
        "virtual disk ID",
        "logical sector size",
        "physical sector size",
    ]
    .into_iter()
    .enumerate()
    {
        let at = entry(index);
        let missing = format!("the item {name} is missing");
        refuses(Corrupt, &missing, |b| {
            b[at..at + 16].copy_from_slice(b"an optional item");
            b[at + 24] = 0;
        });
        // An item of the user's with the same GUID is not the format's.
        refuses(Corrupt, &missing, |b| b[at + 24] = 1);
        refuses(Unsupported, "needs metadata item 6f206e61", |b| {
            b[at..at + 16].copy_from_slice(b"an one unknown..");
        });
        let item = format!("the item {name}");
        refuses(Corrupt, &item, |b| put32(b, at + 16, 4096));
        refuses(Corrupt, &item, |b| put32(b, at + 16, 1 << 20));
        refuses(Corrupt, &item, |b| put32(b, at + 16, u32::MAX));
        refuses(Corrupt, &item, |b| put32(b, at + 20, 3));
        refuses(Corrupt, &item, |b| put32(b, at + 20, 0));
        refuses(Corrupt, &item, |b| put32(b, at + 20, u32::MAX));
        refuses(Corrupt, "is there twice", |b| {
            let copy = b[at..at + 32].to_vec();
            b[entry(5)..entry(6)].copy_from_slice(&copy);
            b[METADATA + 10] = 6;
        });
    }
}

#[test]
fn numbers_that_no_disk_has_are_refused() {
    use ErrorKind::{Corrupt, Limit, Unsupported};
    for size in [0, 1, 512 << 10, 3 << 20, 512 << 20, u32::MAX] {
        refuses(Corrupt, "block size", |b| put32(b, craft::item_at(0), size));
    }
    refuses(Unsupported, "flags 0x4", |b| b[craft::item_at(0) + 4] = 4);
    for size in [0, 1, 513] {
        refuses(Corrupt, "multiple of 512", |b| {
            put64(b, craft::item_at(1), size)
        });
    }
    for size in [(64 << 40) + 512, u64::MAX] {
        refuses(Limit, "64 TiB at most", |b| {
            put64(b, craft::item_at(1), size)
        });
    }
    refuses(Corrupt, "needs 537001976", |b| {
        put64(b, craft::item_at(1), 64 << 40)
    });
    for item in [3, 4] {
        for size in [0, 1, 1024, u32::MAX] {
            refuses(Corrupt, "expected 512 or 4096", |b| {
                put32(b, craft::item_at(item), size)
            });
        }
    }
}

#[test]
fn bat_entries_that_break_a_rule_are_refused() {
    use ErrorKind::{Corrupt, Truncated};
    refuses(Corrupt, "a parent's", |b| {
        put64(b, BAT, PAYLOAD as u64 | PARTIALLY_PRESENT)
    });
    for state in [4, 5] {
        refuses(Corrupt, &format!("no state {state}"), |b| {
            put64(b, BAT, state)
        });
    }
    refuses(Corrupt, "reserved bits 0x8 ", |b| b[BAT] |= 8);
    refuses(Corrupt, "reserved bits 0x80000 ", |b| b[BAT + 2] |= 8);
    refuses(Corrupt, "header section", |b| put64(b, BAT, FULLY_PRESENT));
    for place in [LOG, METADATA, BAT] {
        refuses(Corrupt, "overlaps", |b| {
            put64(b, BAT, place as u64 | FULLY_PRESENT)
        });
    }
    for place in [PAYLOAD + MIB, 1 << 40, !0xfffff] {
        refuses(Truncated, "the file ends", |b| {
            put64(b, BAT, place as u64 | FULLY_PRESENT)
        });
    }
}

#[test]
fn a_block_that_is_cut_off_is_an_error_not_zeros() {
    let mut made = Craft::new(&[FULLY_PRESENT]).make();
    made.bytes.truncate(PAYLOAD + 5000);
    let image = open(&made.bytes).unwrap();
    let mut found = vec![0; 5000];
    image.read_at(GuestOffset(0), &mut found).unwrap();
    assert_eq!(found, made.guest[..5000]);
    for (at, len) in [(0, 5001), (4999, 2), (5000, 1), (MIB as u64 - 1, 1)] {
        let error = refused(image.read_at(GuestOffset(at), &mut vec![0; len]));
        assert_eq!(error.kind(), ErrorKind::Truncated);
    }
}

/// A parent locator with `pairs`.
pub(crate) fn locator(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = craft::guid("b04aefb7-d19e-4a81-b789-25b8e9445913").to_vec();
    bytes.extend_from_slice(&[0, 0, pairs.len() as u8, 0]);
    let mut texts = Vec::new();
    let start = 20 + pairs.len() * 12;
    for (key, value) in pairs {
        let mut lengths = Vec::new();
        for text in [key, value] {
            let at = (start + texts.len()) as u32;
            let stored: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
            texts.extend_from_slice(&stored);
            bytes.extend_from_slice(&at.to_le_bytes());
            lengths.extend_from_slice(&(stored.len() as u16).to_le_bytes());
        }
        bytes.extend_from_slice(&lengths);
    }
    bytes.extend_from_slice(&texts);
    bytes
}

pub(crate) fn with_parent(bytes: &mut [u8], locator: &[u8]) {
    bytes[craft::item_at(0) + 4] = 2;
    let entry = METADATA + 32 + 5 * 32;
    bytes[METADATA + 10] = 6;
    bytes[entry..entry + 16].copy_from_slice(&craft::items()[5]);
    put32(bytes, entry + 16, 128 << 10);
    put32(bytes, entry + 20, locator.len() as u32);
    bytes[entry + 24] = 4;
    let at = METADATA + (128 << 10);
    bytes[at..at + locator.len()].copy_from_slice(locator);
}

#[test]
fn a_differencing_disk_is_refused_with_its_parents_path_escaped_and_cut() {
    let long = "x".repeat(5000);
    for (path, shown) in [
        (
            "C:\\evil\u{1b}[2J\n\"quoted\"",
            r#"C:\evil\u{1b}[2J\n"quoted""#,
        ),
        (&long, "xxx…"),
    ] {
        let locator = locator(&[("parent_linkage", "{}"), ("volume_path", path)]);
        let error = refuses(ErrorKind::Unsupported, "this is a differencing disk", |b| {
            with_parent(b, &locator);
        });
        let text = error.to_string();
        assert!(text.contains(shown), "{text}");
        assert!(!text.contains('\u{1b}') && !text.contains('\n'));
        assert!(text.len() < 400, "{text}");
    }
    let locator = locator(&[
        ("parent_linkage", "{83ed0ec3-24c8-49a6-a959-5e4bd1288015}"),
        ("relative_path", r"..\base.vhdx"),
        ("absolute_win32_path", "C:\\evil\u{1b}[2J\n\"quoted\""),
        ("volume_path", &long),
    ]);
    let error = refuses(ErrorKind::Unsupported, "this is a differencing disk", |b| {
        with_parent(b, &locator);
    });
    let text = error.to_string();
    assert!(text.contains(r#"a parent, "..\base.vhdx""#), "{text}");
    assert!(!text.contains('\u{1b}') && !text.contains('\n'));
    assert!(!text.contains("linkage"), "{text}");
    assert!(text.len() < 1000, "{text}");
    assert!(error.hint().unwrap().to_string().contains("merge"));
}

#[test]
fn a_differencing_disk_with_a_damaged_locator_is_refused_all_the_same() {
    let whole = locator(&[("relative_path", "base.vhdx")]);
    for at in 0..whole.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut locator = whole.clone();
            locator[at] = value;
            let mut bytes = Craft::new(&[NOT_PRESENT]).make().bytes;
            with_parent(&mut bytes, &locator);
            let error = refused(open(&bytes));
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        }
    }
    let says = "a parent, which it does not name";
    refuses(ErrorKind::Unsupported, says, |b| {
        b[craft::item_at(0) + 4] = 2
    });
    refuses(ErrorKind::Unsupported, says, |b| with_parent(b, &[]));
}
