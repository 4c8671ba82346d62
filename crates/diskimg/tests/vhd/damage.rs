//! Damage: every field, every length, and by chance. Refused, or the right data; never a panic, and
//! never slow.

use std::time::Duration;

use diskimg::{DiskImage, ExtentKind, GuestOffset};
use proptest::prelude::*;

use crate::craft::{
    BAT, Block, Craft, HEADER, Image, mixed, noise, put32, seal_footer, seal_header,
};
use crate::{assert_same, extents, open};
use testkit::measure::cpu_time;

/// Longest time in which damage may be dealt with.
const LIMIT: Duration = Duration::from_secs(2);

fn image() -> Image {
    Craft::new(4096, mixed(4096, 13)).dynamic()
}

/// The disk as far as it is in `bytes`: at most 1 MiB from its start, and a piece at its end.
/// `None`: it was refused, at open or at a read.
fn look(bytes: &[u8]) -> Option<Vec<u8>> {
    let started = cpu_time();
    let image = open(bytes).ok()?;
    let size = image.virtual_size();
    assert!(size > 0 && size.is_multiple_of(512));
    // The end of a large disk, of which nothing but holes can be there.
    let mut end = [0xa5; 512];
    let _ = image.read_at(GuestOffset(size - 512), &mut end);
    let mut found = vec![0xa5; size.min(1 << 20) as usize];
    image.read_at(GuestOffset(0), &mut found).ok()?;
    let mut again = vec![0x5a; found.len()];
    for (index, piece) in again.chunks_mut(7000).enumerate() {
        image
            .read_at(GuestOffset(index as u64 * 7000), piece)
            .ok()?;
    }
    assert_same(&again, &found, "read again");
    for extent in extents(&image).ok()? {
        let start = extent.start.0.min(found.len() as u64) as usize;
        let end = extent.end().0.min(found.len() as u64) as usize;
        let zero = diskimg::zero::is_zero(&found[start..end]);
        assert!(zero || extent.kind == ExtentKind::Data, "{extent:?}");
    }
    assert!((cpu_time() - started) < LIMIT, "slow");
    Some(found)
}

/// Name, offset in its structure, length of a field.
type Field = (&'static str, usize, usize);

const FOOTER_FIELDS: &[Field] = &[
    ("cookie", 0, 8),
    ("features", 8, 4),
    ("version", 12, 4),
    ("data offset", 16, 8),
    ("time", 24, 4),
    ("creator", 28, 4),
    ("creator version", 32, 4),
    ("creator system", 36, 4),
    ("original size", 40, 8),
    ("current size", 48, 8),
    ("cylinders", 56, 2),
    ("heads", 58, 1),
    ("sectors", 59, 1),
    ("disk type", 60, 4),
    ("checksum", 64, 4),
    ("id", 68, 8),
    ("saved", 84, 1),
    ("reserved", 85, 8),
];

const HEADER_FIELDS: &[Field] = &[
    ("cookie", 0, 8),
    ("data offset", 8, 8),
    ("table offset", 16, 8),
    ("version", 24, 4),
    ("entries", 28, 4),
    ("block size", 32, 4),
    ("checksum", 36, 4),
    ("parent id", 40, 8),
    ("parent time", 56, 4),
    ("parent name", 64, 8),
    ("locator", 576, 8),
];

/// 0, 1, the largest value, one more, one less, a power of two off, past the end of the file.
fn values(bytes: &[u8], at: usize, len: usize) -> Vec<u64> {
    let mut stored = [0; 8];
    stored[8 - len..].copy_from_slice(&bytes[at..at + len]);
    let stored = u64::from_be_bytes(stored);
    let end = bytes.len() as u64;
    let mask = u64::MAX >> (64 - 8 * len);
    let values = [
        0,
        1,
        mask,
        mask >> 1,
        stored.wrapping_add(1),
        stored.wrapping_sub(1),
        stored << 1,
        stored >> 1,
        end,
        end / 512,
    ];
    values
        .into_iter()
        .map(|value| value & mask)
        .filter(|value| *value != stored)
        .collect()
}

fn put(bytes: &mut [u8], at: usize, len: usize, value: u64) {
    bytes[at..at + len].copy_from_slice(&value.to_be_bytes()[8 - len..]);
}

/// Asserts that `bytes` are refused or read as `guest`, of which the first `declared` bytes may be
/// all there is.
#[track_caller]
fn assert_right(bytes: &[u8], guest: &[u8], declared: Option<u64>, what: &str) -> bool {
    let Some(found) = look(bytes) else {
        return false;
    };
    // The intact footer may have been used.
    if found == guest {
        return true;
    }
    let limit = declared.map_or(usize::MAX, |declared| declared.min(1 << 20) as usize);
    let len = found.len().min(guest.len()).min(limit);
    assert_same(&found[..len], &guest[..len], what);
    assert!(
        diskimg::zero::is_zero(&found[len..]),
        "{what}: after the end"
    );
    true
}

#[test]
fn a_bitmap_that_changes_with_every_sector_is_walked_in_time() {
    let block_size = 16 << 20;
    let written: Vec<bool> = (0..block_size / 512)
        .map(|sector| sector % 2 == 0)
        .collect();
    let block = Block::Partial(noise(1, block_size), written);
    let image = Craft::new(block_size, vec![block; 4]).dynamic();
    let opened = open(&image.bytes).unwrap();
    let started = cpu_time();
    assert_eq!(extents(&opened).unwrap().len(), image.guest.len() / 512);
    let mut found = vec![0xa5; image.guest.len()];
    opened.read_at(GuestOffset(0), &mut found).unwrap();
    assert!(
        (cpu_time() - started) < LIMIT,
        "{:?}",
        (cpu_time() - started)
    );
    assert_same(&found, &image.guest, "guest");
}

#[test]
fn every_footer_field_at_every_wrong_value_is_refused_or_harmless() {
    let image = image();
    let last = image.footer();
    let mut opened = 0;
    for creator in [*b"win ", *b"vpc "] {
        let mut good = image.bytes.clone();
        for at in [0, last] {
            good[at + 28..at + 32].copy_from_slice(&creator);
            seal_footer(&mut good, at);
        }
        for places in [&[last][..], &[0], &[0, last]] {
            for sealed in [false, true] {
                for (name, at, len) in FOOTER_FIELDS {
                    for value in values(&good, last + at, *len) {
                        let mut bytes = good.clone();
                        for place in places {
                            put(&mut bytes, place + at, *len, value);
                            if sealed {
                                seal_footer(&mut bytes, *place);
                            }
                        }
                        let declared = (*name == "current size").then_some(value);
                        let what = format!("{name} {value:#x} at {places:?} sealed {sealed}");
                        opened += u32::from(assert_right(&bytes, &image.guest, declared, &what));
                    }
                }
            }
        }
    }
    assert!(
        opened > 500,
        "{opened} were opened: one intact footer is enough"
    );
}

#[test]
fn every_header_field_at_every_wrong_value_is_refused_or_harmless() {
    let image = image();
    for sealed in [false, true] {
        for (name, at, len) in HEADER_FIELDS {
            for value in values(&image.bytes, HEADER + at, *len) {
                let mut bytes = image.bytes.clone();
                put(&mut bytes, HEADER + at, *len, value);
                if sealed {
                    seal_header(&mut bytes);
                }
                let what = format!("{name} {value:#x} sealed {sealed}");
                let opened = assert_right(&bytes, &image.guest, None, &what);
                assert!(sealed || !opened, "{what}: the checksum is wrong");
            }
        }
    }
}

#[test]
fn every_bat_entry_at_every_wrong_value_is_refused_or_a_hole() {
    let image = image();
    for (index, place) in image.places.iter().enumerate() {
        for value in values(&image.bytes, BAT + index * 4, 4) {
            let mut bytes = image.bytes.clone();
            put32(&mut bytes, BAT + index * 4, value as u32);
            let found = look(&bytes);
            if value as u32 == u32::MAX {
                let mut guest = image.guest.clone();
                guest[index * 4096..(index + 1) * 4096].fill(0);
                assert_same(&found.unwrap(), &guest, "a hole");
            } else {
                assert!(found.is_none(), "entry {index} {place:?} {value:#x}");
            }
        }
    }
}

#[test]
fn a_file_cut_off_anywhere_is_refused_unless_all_of_the_disk_is_left() {
    let image = image();
    let complete = image.footer();
    for len in (0..image.bytes.len())
        .step_by(61)
        .chain(complete - 2..image.bytes.len())
    {
        let found = look(&image.bytes[..len]);
        assert_eq!(
            found.is_some(),
            len >= complete,
            "{len} of {}",
            image.bytes.len()
        );
        if let Some(found) = found {
            assert_same(&found, &image.guest, "all is left");
        }
    }
    let fixed = Craft {
        size: 8192,
        ..Craft::new(512, Vec::new())
    }
    .fixed(&noise(1, 8192));
    for len in (0..fixed.len() - 1).step_by(61).chain([fixed.len() - 2]) {
        assert!(look(&fixed[..len]).is_none(), "{len}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1500) })]

    #[test]
    fn mutants_neither_panic_nor_hang_nor_read_differently_twice(
        changes in prop::collection::vec((0_usize..2600, any::<u8>()), 1..6),
        tail in prop::collection::vec((1_usize..=512, any::<u8>()), 0..3),
        sealed in prop::bool::weighted(0.8),
        cut in prop::option::weighted(0.2, 0_usize..30_000),
    ) {
        let image = image();
        let mut bytes = image.bytes.clone();
        for (at, value) in changes {
            bytes[at] = value;
        }
        let end = bytes.len();
        for (from_end, value) in tail {
            bytes[end - from_end] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(end.saturating_sub(cut));
        }
        if sealed && bytes.len() > 4096 {
            seal_header(&mut bytes);
            seal_footer(&mut bytes, 0);
            let last = bytes.len() - 512;
            seal_footer(&mut bytes, last);
        }
        look(&bytes);
    }
}
