//! Two headers and two region tables: one of each may be damaged.

use diskimg::{DiskImage, ErrorKind, Format};

use crate::craft::{
    self, Craft, FULLY_PRESENT, HEADERS, NOT_PRESENT, REGIONS, seal_header, seal_regions,
};
use crate::{assert_same, open, open_any, read_all, refused};

#[test]
fn a_file_is_told_by_its_first_bytes_and_says_what_it_is() {
    let made = Craft::new(&[FULLY_PRESENT, NOT_PRESENT]).make();
    let opened = open_any(&made.bytes, None).unwrap();
    assert_eq!(opened.format, Format::Vhdx);
    let details = opened.image.details();
    assert_eq!(details.variant.as_deref(), Some("dynamic"));
    assert_eq!(details.creator.as_deref(), Some(r#"by hand \"\u{1b}"#));
    assert_eq!(details.cluster_size, Some(1 << 20));
    assert_eq!(details.warnings, [""; 0]);
    let fixed = Craft {
        fixed: true,
        ..Craft::new(&[FULLY_PRESENT])
    };
    let details = open(&fixed.make().bytes).unwrap().details();
    assert_eq!(details.variant.as_deref(), Some("fixed"));
}

#[test]
fn one_damaged_header_is_replaced_by_the_other_with_a_warning() {
    let made = Craft::new(&[FULLY_PRESENT]).make();
    for (index, at) in HEADERS.into_iter().enumerate() {
        for byte in [0, 4, 8, 70, 4095] {
            let mut bytes = made.bytes.clone();
            bytes[at + byte] ^= 1;
            let image = open(&bytes).unwrap();
            assert_same(&read_all(&image, 1 << 20).unwrap(), &made.guest, "header");
            let warnings = image.details().warnings;
            assert_eq!(warnings.len(), 1, "{index} {byte}");
            assert!(warnings[0].contains(&format!("{at:#x}")), "{warnings:?}");
        }
    }
}

#[test]
fn two_damaged_headers_are_an_error_that_names_both() {
    let mut bytes = Craft::new(&[FULLY_PRESENT]).make().bytes;
    for at in HEADERS {
        bytes[at + 100] ^= 1;
    }
    let error = refused(open(&bytes));
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(
        error.to_string().matches("found checksum").count(),
        2,
        "{error}"
    );
    assert!(
        error
            .hint()
            .unwrap()
            .to_string()
            .contains("qemu-img check -r all")
    );
}

#[test]
fn the_header_with_the_higher_sequence_number_counts() {
    let made = Craft::new(&[FULLY_PRESENT]).make();
    // Only the header that counts is looked at for its version.
    for (numbers, older) in [
        ([7, 8], 0),
        ([8, 7], 1),
        ([0, u64::MAX], 0),
        ([u64::MAX, 0], 1),
    ] {
        for damaged in [0, 1] {
            let mut bytes = made.bytes.clone();
            for index in [0, 1] {
                craft::put64(&mut bytes, HEADERS[index] + 8, numbers[index]);
            }
            bytes[HEADERS[damaged] + 66] = 2;
            seal_header(&mut bytes, 0);
            seal_header(&mut bytes, 1);
            let opened = open(&bytes);
            if damaged == older {
                let found = read_all(&opened.unwrap(), 1 << 20).unwrap();
                assert_same(&found, &made.guest, "older header");
            } else {
                let error = refused(opened);
                assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
                assert!(error.to_string().contains("version 2"), "{error}");
            }
        }
    }
}

#[test]
fn headers_with_the_same_sequence_number_must_be_the_same() {
    let made = Craft::new(&[FULLY_PRESENT]).make();
    let mut bytes = made.bytes.clone();
    let first: Vec<u8> = bytes[HEADERS[0]..HEADERS[0] + 4096].to_vec();
    bytes[HEADERS[1]..HEADERS[1] + 4096].copy_from_slice(&first);
    assert!(open(&bytes).is_ok());
    bytes[HEADERS[1] + 20] ^= 1;
    seal_header(&mut bytes, 1);
    let error = refused(open(&bytes));
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("they differ"), "{error}");
}

#[test]
fn one_damaged_region_table_is_replaced_by_the_other_with_a_warning() {
    let made = Craft::new(&[FULLY_PRESENT]).make();
    for at in REGIONS {
        for byte in [0, 4, 8, 16, 65_535] {
            let mut bytes = made.bytes.clone();
            bytes[at + byte] ^= 1;
            let image = open(&bytes).unwrap();
            assert_same(&read_all(&image, 1 << 20).unwrap(), &made.guest, "table");
            let warnings = image.details().warnings;
            assert_eq!(warnings.len(), 1);
            assert!(warnings[0].contains(&format!("{at:#x}")), "{warnings:?}");
        }
    }
    let mut bytes = made.bytes.clone();
    for at in REGIONS {
        bytes[at + 9] ^= 1;
    }
    let error = refused(open(&bytes));
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("the copy"), "{error}");
}

#[test]
fn regions_that_are_optional_and_not_known_are_passed_over() {
    let made = Craft::new(&[FULLY_PRESENT]).make();
    let mut bytes = made.bytes.clone();
    let at = REGIONS[0] + 16 + 2 * 32;
    bytes[REGIONS[0] + 8] = 3;
    bytes[at..at + 16].copy_from_slice(b"another region..");
    craft::put64(&mut bytes, at + 16, 900 << 20);
    craft::put32(&mut bytes, at + 24, 1 << 20);
    seal_regions(&mut bytes, 0);
    let image = open(&bytes).unwrap();
    assert_same(&read_all(&image, 1 << 20).unwrap(), &made.guest, "region");
}
