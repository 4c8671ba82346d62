//! The footer, its copy, and what happens when one of them is damaged or says something else.

use diskimg::{DiskImage, ErrorKind, Format, Hint};

use crate::craft::{Craft, FOOTER, HEADER, mixed, noise, plain, put32, seal_footer};
use crate::{assert_same, open, open_any, read_all, refused};

fn fixed(guest: &[u8]) -> Vec<u8> {
    let craft = Craft {
        size: guest.len() as u64,
        ..Craft::new(512, Vec::new())
    };
    craft.fixed(guest)
}

#[test]
fn a_fixed_disk_is_told_from_raw_by_its_footer_alone() {
    let guest = noise(1, 70 << 10);
    let bytes = fixed(&guest);
    let opened = open_any(&bytes, None).unwrap();
    assert_eq!(opened.format, Format::Vhd);
    let details = opened.image.details();
    assert_eq!(details.variant.as_deref(), Some("fixed"));
    assert_eq!(details.creator.as_deref(), Some("win"));
    assert_eq!(details.cluster_size, None);
    assert_eq!(details.warnings, [""; 0]);
    assert_same(
        &read_all(opened.image.as_ref(), 999).unwrap(),
        &guest,
        "fixed",
    );

    assert_eq!(open_any(&guest, None).unwrap().format, Format::Raw);
    let raw = open_any(&bytes, Some(Format::Raw)).unwrap();
    assert_eq!(raw.image.virtual_size(), bytes.len() as u64);
    assert_eq!(
        refused(open_any(&guest, Some(Format::Vhd))).kind(),
        ErrorKind::Corrupt
    );
}

#[test]
fn a_footer_of_511_bytes_is_read() {
    let guest = noise(1, 70 << 10);
    let mut bytes = fixed(&guest);
    bytes.pop();
    let opened = open_any(&bytes, None).unwrap();
    assert_eq!(opened.format, Format::Vhd);
    assert_same(
        &read_all(opened.image.as_ref(), 999).unwrap(),
        &guest,
        "fixed",
    );

    let craft = Craft {
        footer_len: 511,
        ..Craft::new(4096, mixed(4096, 9))
    };
    let image = craft.dynamic();
    let opened = open(&image.bytes).unwrap();
    assert_eq!(opened.details().warnings, [""; 0]);
    assert_same(&read_all(&opened, 999).unwrap(), &image.guest, "dynamic");
    // All of a file that starts with such a disk and goes on is not that disk.
    bytes.extend([0; 2]);
    assert_eq!(open_any(&bytes, None).unwrap().format, Format::Raw);
}

#[test]
fn the_copy_serves_when_the_footer_is_damaged_or_missing_and_the_user_is_told() {
    let image = Craft::new(4096, mixed(4096, 9)).dynamic();
    let damaged = |at: usize| {
        let mut bytes = image.bytes.clone();
        bytes[at] ^= 1;
        bytes
    };
    let last = image.footer();
    for (bytes, part) in [
        (damaged(last), "the footer at the file's end is missing"),
        (
            damaged(last + 45),
            "the footer at the file's end is damaged",
        ),
        (
            damaged(last + 500),
            "the footer at the file's end is damaged",
        ),
        (
            image.bytes[..last].to_vec(),
            "the footer at the file's end is missing",
        ),
        (
            damaged(0),
            "the copy of the footer at the file's start is missing",
        ),
        (
            damaged(66),
            "the copy of the footer at the file's start is damaged",
        ),
    ] {
        let opened = open_any(&bytes, None).unwrap();
        assert_eq!(opened.format, Format::Vhd);
        let warnings = opened.image.details().warnings;
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].contains(part), "{warnings:?}");
        assert_same(
            &read_all(opened.image.as_ref(), 999).unwrap(),
            &image.guest,
            part,
        );
    }
    let mut bytes = damaged(66);
    bytes[last + 45] ^= 1;
    let error = refused(open_any(&bytes, None));
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(error.offset(), Some(last as u64));
    assert!(error.to_string().contains("checksum is"), "{error}");
}

#[test]
fn a_damaged_fixed_disk_is_not_taken_for_raw_silently() {
    let mut bytes = fixed(&noise(1, 8192));
    bytes[8192 + 45] ^= 1;
    let error = refused(open_any(&bytes, None));
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.hint().is_some_and(|hint| *hint == Hint::OpenAsRaw));
    // A fixed disk has no copy that could stand in: what begins as one is something else.
    let footer = &fixed(&[])[..];
    let bytes = [footer, &noise(1, 8192)].concat();
    let error = refused(open_any(&bytes, None));
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("the disk is fixed"), "{error}");
}

#[test]
fn a_file_that_is_one_disk_at_its_start_and_another_at_its_end_is_refused() {
    let inner = Craft::new(4096, plain(4096, 5)).dynamic();
    // A dynamic disk as the content of a fixed one: QEMU opens the inner disk, Hyper-V the outer.
    let error = refused(open_any(&fixed(&inner.bytes), None));
    assert_eq!(error.kind(), ErrorKind::Ambiguous);
    assert!(error.to_string().contains("disk type 2"), "{error}");

    // Two headers.
    let mut bytes = inner.bytes.clone();
    let last = inner.footer();
    bytes[last + 16..last + 24].copy_from_slice(&4096_u64.to_be_bytes());
    seal_footer(&mut bytes, last);
    assert_eq!(refused(open(&bytes)).kind(), ErrorKind::Ambiguous);
}

#[test]
fn a_copy_by_which_the_disk_has_another_size_makes_the_file_ambiguous() {
    let set_size = |bytes: &mut [u8]| bytes[48..56].copy_from_slice(&4096_u64.to_be_bytes());
    let set_geometry = |bytes: &mut [u8]| bytes[56..60].copy_from_slice(&[0, 40, 4, 17]);
    let set_creator = |bytes: &mut [u8]| bytes[28..32].copy_from_slice(b"win ");
    for (creator, change, sizes) in [
        (*b"win ", &set_size as &dyn Fn(&mut [u8]), ["36864", "4096"]),
        (*b"qemu", &set_geometry, ["34816", "1392640"]),
        (*b"qemu", &set_creator, ["34816", "36864"]),
    ] {
        let craft = Craft {
            creator,
            geometry: (1, 4, 17),
            ..Craft::new(4096, plain(4096, 9))
        };
        let mut bytes = craft.dynamic().bytes;
        assert!(open(&bytes).is_ok());
        change(&mut bytes);
        seal_footer(&mut bytes, 0);
        let error = refused(open(&bytes));
        assert_eq!(error.kind(), ErrorKind::Ambiguous);
        for size in sizes {
            assert!(error.to_string().contains(size), "{error}");
        }
    }
    // A geometry that nobody reads the disk by is worth a warning.
    let image = Craft::new(4096, plain(4096, 9)).dynamic();
    let mut bytes = image.bytes.clone();
    set_geometry(&mut bytes);
    seal_footer(&mut bytes, 0);
    let opened = open(&bytes).unwrap();
    assert_same(&read_all(&opened, 999).unwrap(), &image.guest, "guest");
    let warnings = opened.details().warnings;
    assert!(
        warnings[0].contains("no geometry") && warnings[0].contains("geometry 1392640 bytes"),
        "{warnings:?}"
    );
}

#[test]
fn the_geometry_of_the_formats_own_calculation_is_no_reason_to_warn() {
    let warnings = |creator: &[u8; 4], geometry| {
        let craft = Craft {
            creator: *creator,
            geometry,
            size: 8 << 20,
            ..Craft::new(512, Vec::new())
        };
        let opened = open(&craft.fixed(&vec![1; 8 << 20])).unwrap();
        opened.details().warnings.len()
    };
    assert_eq!(warnings(b"win ", (240, 4, 17)), 0);
    assert_eq!(warnings(b"d2v ", (240, 4, 17)), 0);
    // One cylinder more or less is another geometry; and Virtual PC reads the disk by it.
    assert_eq!(warnings(b"win ", (239, 4, 17)), 1);
    assert_eq!(warnings(b"win ", (241, 4, 17)), 1);
    assert_eq!(warnings(b"vpc ", (240, 4, 17)), 1);
}

/// Puts a boot sector where the copy of the footer is.
fn with_boot_sector(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[..FOOTER].fill(0);
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    bytes
}

#[test]
fn a_disk_whose_last_sector_makes_it_another_disk_is_refused_until_the_user_says_what_it_is() {
    let image = Craft::new(4096, mixed(4096, 9)).dynamic();
    let booted = with_boot_sector(&image.bytes);
    let mut differencing = booted.clone();
    put32(&mut differencing, image.footer() + 60, 4);
    seal_footer(&mut differencing, image.footer());
    let mut old_footer = booted.clone();
    old_footer.pop();
    let mut volume = image.bytes.clone();
    volume[..FOOTER].fill(0);
    volume[1024 + 56..1024 + 58].copy_from_slice(&[0x53, 0xef]);
    crate::craft::seal_header(&mut volume);
    for (bytes, part) in [
        (&booted, "vhd and a disk with a boot sector"),
        (&differencing, "vhd and a disk with a boot sector"),
        (&old_footer, "vhd and a disk with a boot sector"),
        (&volume, "vhd and ext2"),
    ] {
        let error = refused(open_any(bytes, None));
        assert_eq!(error.kind(), ErrorKind::Ambiguous, "{part}");
        assert!(error.to_string().contains(part), "{error}");
        let hint = error.hint().unwrap().to_string();
        assert!(hint.ends_with("raw or vhd"), "{hint}");
        let opened = open_any(bytes, Some(Format::Raw)).unwrap();
        assert_eq!(opened.format, Format::Raw);
    }
    let opened = open_any(&booted, Some(Format::Vhd)).unwrap();
    let found = read_all(opened.image.as_ref(), 999).unwrap();
    assert_same(&found, &image.guest, "as vhd");
    assert!(opened.image.details().warnings[0].contains("is missing"));
}

#[test]
fn a_fixed_disk_begins_with_the_disk_and_may_begin_with_a_boot_sector() {
    let mut guest = noise(1, 8192);
    guest[510..512].copy_from_slice(&[0x55, 0xaa]);
    let mut bytes = fixed(&guest);
    for _ in 0..2 {
        let opened = open_any(&bytes, None).unwrap();
        assert_eq!(opened.format, Format::Vhd);
        let found = read_all(opened.image.as_ref(), 999).unwrap();
        assert_same(&found, &guest, "fixed");
        // The second time with a footer of 511 bytes.
        bytes.pop();
    }
}

#[test]
fn a_geometry_of_nothing_does_not_make_the_disk_empty() {
    let craft = Craft {
        creator: *b"vpc ",
        geometry: (0, 0, 0),
        // One cylinder at least: of smaller disks a geometry of nothing is the right one.
        ..Craft::new(4096, plain(4096, 9))
    };
    let image = craft.dynamic();
    let opened = open(&image.bytes).unwrap();
    assert_same(&read_all(&opened, 999).unwrap(), &image.guest, "guest");
    assert_eq!(opened.details().warnings.len(), 1);
}

#[test]
fn a_creator_is_shown_without_padding_and_without_control_characters() {
    for (creator, shown) in [
        (*b"tap\0", "tap"),
        (*b"\0\0\0\0", ""),
        (*b"\x1b[2J", r"\u{1b}[2J"),
        (*b"\xffab\"", "\u{fffd}ab\\\""),
    ] {
        let craft = Craft {
            creator,
            ..Craft::new(4096, plain(4096, 5))
        };
        let details = open(&craft.dynamic().bytes).unwrap().details();
        assert_eq!(details.creator.as_deref(), Some(shown));
    }
}

#[test]
fn a_saved_machine_and_bytes_behind_the_disk_are_reported() {
    let guest = noise(1, 8192);
    let craft = Craft {
        size: 8192 - 512,
        ..Craft::new(512, Vec::new())
    };
    let mut bytes = craft.fixed(&guest);
    bytes[8192 + 84] = 1;
    seal_footer(&mut bytes, 8192);
    let opened = open(&bytes).unwrap();
    assert_same(&read_all(&opened, 999).unwrap(), &guest[..7680], "guest");
    let warnings = opened.details().warnings;
    assert!(warnings[0].contains("saved"), "{warnings:?}");
    assert!(warnings[1].contains("512 bytes"), "{warnings:?}");
}

/// A differencing disk whose header names `parent`.
fn differencing(parent: &str) -> Vec<u8> {
    let image = Craft::new(4096, plain(4096, 5)).dynamic();
    let mut bytes = image.bytes.clone();
    for (at, unit) in (HEADER + 64..HEADER + 64 + 512)
        .step_by(2)
        .zip(parent.encode_utf16())
    {
        bytes[at..at + 2].copy_from_slice(&unit.to_be_bytes());
    }
    crate::craft::seal_header(&mut bytes);
    for at in [0, image.footer()] {
        put32(&mut bytes, at + 60, 4);
        seal_footer(&mut bytes, at);
    }
    bytes
}

#[test]
fn a_differencing_disk_is_refused_with_its_parents_name_which_is_not_opened() {
    let dir = tempfile::TempDir::new().unwrap();
    let parent = dir.path().join("base\u{1b}[31m\n.vhd");
    // Whoever opens a pipe to read waits for a writer: this test would not end.
    let status = std::process::Command::new("mkfifo").arg(&parent).status();
    assert!(status.unwrap().success());
    let error = refused(open_any(&differencing(parent.to_str().unwrap()), None));
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let text = error.to_string();
    assert!(text.contains("differencing disk"), "{text}");
    assert!(text.contains(r"base\u{1b}[31m\n.vhd"), "{text}");
    assert!(!text.contains(char::is_control), "{text:?}");
    assert!(
        error
            .hint()
            .is_some_and(|hint| hint.to_string().contains("Convert-VHD -Path DISK "))
    );

    let error = refused(open(&differencing(&"é".repeat(256))));
    let text = error.to_string();
    assert!(text.contains(&format!("{}…", "é".repeat(200))), "{text}");
    assert!(!text.contains(&"é".repeat(201)), "{text}");

    // Unpaired surrogates, and a header that is damaged.
    let mut bytes = differencing("x");
    bytes[HEADER + 64..HEADER + 66].copy_from_slice(&[0xd8, 0]);
    crate::craft::seal_header(&mut bytes);
    assert!(refused(open(&bytes)).to_string().contains('\u{fffd}'));
    bytes[HEADER] = 0;
    let error = refused(open(&bytes));
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("does not name"), "{error}");
}

#[test]
fn a_file_shorter_than_a_footer_is_truncated() {
    for len in [1, 100, 510] {
        let mut bytes = vec![7; len];
        bytes[..8.min(len)].copy_from_slice(&b"conectix"[..8.min(len)]);
        assert_eq!(refused(open(&bytes)).kind(), ErrorKind::Truncated);
    }
    assert_eq!(refused(open(&[7; FOOTER])).kind(), ErrorKind::Corrupt);
}
