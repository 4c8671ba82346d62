//! Differencing disks over their parents. No program that runs here makes them; the files are
//! written by hand.

use std::path::Path;

use diskimg::{BackingPolicy, ErrorKind, OpenOptions, Opened, Result};
use tempfile::TempDir;

use crate::craft::{
    self, BAT, Craft, FULLY_PRESENT, MIB, NOT_PRESENT, PARTIALLY_PRESENT, PAYLOAD, UNDEFINED,
    UNMAPPED, ZERO, noise, put32, put64,
};
use crate::refusals::{locator, with_parent};
use crate::{extents, refused};

/// What [`Craft`] puts into the headers as data write GUID, as the locator writes it.
pub(crate) const LINKAGE: &str = "{61746164-7720-6972-7465-20677569642e}";

fn open_inside(path: &Path, dir: &Path) -> Result<Opened> {
    let options = OpenOptions {
        backing: BackingPolicy::Inside(dir.to_owned()),
        ..OpenOptions::default()
    };
    diskimg::open(path, &options, &[])
}

/// A differencing disk with blocks of these states over `below`: the file, and what the guest sees.
/// Sectors of partially present blocks come in turns of different lengths.
pub(crate) fn differencing(
    craft: &Craft,
    pairs: &[(&str, &str)],
    below: &[u8],
) -> (Vec<u8>, Vec<u8>) {
    let (size, sector) = (craft.block_size, craft.sector_size as usize);
    let bitmap_at = PAYLOAD + craft.states.len() * size;
    let mut bytes = craft.frame(bitmap_at + MIB);
    with_parent(&mut bytes, &locator(pairs));
    let mut guest = below.to_vec();
    guest.resize(craft.disk_size as usize, 0);
    let mut rng = fastrand::Rng::with_seed(5);
    for (block, state) in craft.states.iter().enumerate() {
        let at = PAYLOAD + block * size;
        let stored = matches!(*state, FULLY_PRESENT | PARTIALLY_PRESENT);
        let entry = if stored { at as u64 | state } else { *state };
        put64(&mut bytes, craft.bat_entry(block as u64), entry);
        let content = noise(100 + block as u64, size);
        let range = block * size..((block + 1) * size).min(guest.len());
        match *state {
            FULLY_PRESENT => guest[range.clone()].copy_from_slice(&content[..range.len()]),
            ZERO | UNMAPPED | UNDEFINED => guest[range].fill(0),
            PARTIALLY_PRESENT => {
                let (mut here, mut left) = (rng.bool(), 0);
                for index in 0..size / sector {
                    if left == 0 {
                        (here, left) = (!here, rng.usize(1..2 * size / sector / 3));
                    }
                    left -= 1;
                    if !here {
                        continue;
                    }
                    let bit = block * size / sector + index;
                    bytes[bitmap_at + bit / 8] |= 1 << (bit % 8);
                    let at = block * size + index * sector;
                    if at < guest.len() {
                        guest[at..at + sector]
                            .copy_from_slice(&content[index * sector..(index + 1) * sector]);
                    }
                }
            }
            _ => {}
        }
        bytes[at..at + size].copy_from_slice(&content);
    }
    put64(
        &mut bytes,
        bitmap_entry(craft),
        bitmap_at as u64 | FULLY_PRESENT,
    );
    (bytes, guest)
}

/// File offset of the BAT entry of the first sector bitmap.
fn bitmap_entry(craft: &Craft) -> usize {
    BAT + craft.chunk_ratio() as usize * 8
}

pub(crate) fn craft(sector_size: u32, states: &[u64]) -> Craft {
    Craft {
        sector_size,
        // The entry of the sector bitmap has to lie in the BAT's 1 MiB; the last block is cut off.
        disk_size: (states.len() * MIB - MIB / 2) as u64,
        ..Craft::new(states)
    }
}

pub(crate) const STATES: [u64; 8] = [
    NOT_PRESENT,
    PARTIALLY_PRESENT,
    FULLY_PRESENT,
    ZERO,
    UNMAPPED,
    UNDEFINED,
    NOT_PRESENT,
    PARTIALLY_PRESENT,
];

#[test]
fn what_a_differencing_disk_does_not_hold_is_the_parents() {
    for sector_size in [512, 4096] {
        let dir = TempDir::new().unwrap();
        let base = craft(sector_size, &[FULLY_PRESENT; 7]).make();
        std::fs::write(dir.path().join("base.vhdx"), &base.bytes).unwrap();
        let pairs = [
            ("parent_linkage", LINKAGE),
            ("relative_path", r".\base.vhdx"),
        ];
        let (bytes, guest) = differencing(&craft(sector_size, &STATES), &pairs, &base.guest);
        let path = dir.path().join("child.avhdx");
        std::fs::write(&path, &bytes).unwrap();
        let report = diskimg::check(&path, &OpenOptions::default(), &[], &|| false).unwrap();
        assert!(report.is_sound(), "{report:?}");
        let opened = open_inside(&path, dir.path()).unwrap();
        testkit::conformance(opened.image.as_ref(), &guest);
        extents(opened.image.as_ref()).unwrap();
        let details = opened.image.details();
        assert_eq!(details.variant.as_deref(), Some("differencing"));
        assert_eq!(details.refers_to[0].name, r".\base.vhdx");

        // And one more on top, which shows the same where it holds nothing.
        let pairs = [
            ("parent_linkage", LINKAGE),
            ("relative_path", "child.avhdx"),
        ];
        let states = [NOT_PRESENT, PARTIALLY_PRESENT, NOT_PRESENT, NOT_PRESENT];
        let top = craft(sector_size, &states);
        let mut below = guest;
        below.truncate(top.disk_size as usize);
        let (bytes, guest) = differencing(&top, &pairs, &below);
        let path = dir.path().join("top.avhdx");
        std::fs::write(&path, &bytes).unwrap();
        let opened = open_inside(&path, dir.path()).unwrap();
        testkit::conformance(opened.image.as_ref(), &guest);
    }
}

#[test]
fn paths_are_tried_in_the_order_of_the_format_and_windows_paths_by_their_end() {
    let dir = TempDir::new().unwrap();
    std::fs::create_dir(dir.path().join("sub")).unwrap();
    let base = Craft::new(&[FULLY_PRESENT]).make();
    std::fs::write(dir.path().join("sub/base.vhdx"), &base.bytes).unwrap();
    let path = dir.path().join("child.avhdx");
    for (key, value) in [
        ("relative_path", r"sub\base.vhdx"),
        (
            "volume_path",
            r"\\?\Volume{26A21BDA-A627-11D7-9931-806E6F6E6963}\VMs\sub\base.vhdx",
        ),
        ("absolute_win32_path", r"\\?\d:\VMs\sub\base.vhdx"),
    ] {
        let pairs = [
            ("parent_linkage", "{00000000-0000-0000-0000-000000000000}"),
            ("parent_linkage2", &LINKAGE.to_uppercase()),
            (key, value),
        ];
        let (bytes, guest) = differencing(&Craft::new(&[NOT_PRESENT]), &pairs, &base.guest);
        std::fs::write(&path, &bytes).unwrap();
        let opened = open_inside(&path, dir.path()).unwrap();
        testkit::conformance(opened.image.as_ref(), &guest);
    }
}

#[test]
fn a_parent_that_was_written_to_since_is_refused() {
    let dir = TempDir::new().unwrap();
    let base = Craft::new(&[FULLY_PRESENT]).make();
    let base_path = dir.path().join("base.vhdx");
    std::fs::write(&base_path, &base.bytes).unwrap();
    let child = Craft::new(&[NOT_PRESENT]);
    let other = "{00000000-0000-0000-0000-000000000001}";
    let path = dir.path().join("child.avhdx");
    for (pairs, says) in [
        (
            vec![("parent_linkage", other), ("relative_path", "base.vhdx")],
            other,
        ),
        (vec![("relative_path", "base.vhdx")], "no parent_linkage"),
        (vec![("parent_linkage", LINKAGE)], "no path"),
    ] {
        let (bytes, _) = differencing(&child, &pairs, &base.guest);
        std::fs::write(&path, &bytes).unwrap();
        let error = refused(open_inside(&path, dir.path()));
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
    // Sectors of another size.
    let mut bytes = base.bytes.clone();
    put32(&mut bytes, craft::item_at(3), 4096);
    std::fs::write(&base_path, &bytes).unwrap();
    let pairs = [("parent_linkage", LINKAGE), ("relative_path", "base.vhdx")];
    let (bytes, _) = differencing(&child, &pairs, &base.guest);
    std::fs::write(&path, &bytes).unwrap();
    let error = refused(open_inside(&path, dir.path()));
    assert!(error.to_string().contains("4096"), "{error}");
}

#[test]
fn a_sector_bitmap_that_is_missing_or_misplaced_is_an_error_and_not_the_parents_data() {
    let dir = TempDir::new().unwrap();
    let base = Craft::new(&[FULLY_PRESENT]).make();
    std::fs::write(dir.path().join("base.vhdx"), &base.bytes).unwrap();
    let child = Craft::new(&[PARTIALLY_PRESENT]);
    let pairs = [("parent_linkage", LINKAGE), ("relative_path", "base.vhdx")];
    let (whole, _) = differencing(&child, &pairs, &base.guest);
    let path = dir.path().join("child.avhdx");
    let end = whole.len() as u64;
    for (entry, kind) in [
        (0, ErrorKind::Corrupt),
        (7, ErrorKind::Corrupt),
        (6 | 1 << 19, ErrorKind::Corrupt),
        (6, ErrorKind::Corrupt),
        (6 | BAT as u64, ErrorKind::Corrupt),
        (6 | end, ErrorKind::Truncated),
        (6 | 1 << 60, ErrorKind::Truncated),
    ] {
        let mut bytes = whole.clone();
        put64(&mut bytes, bitmap_entry(&child), entry);
        std::fs::write(&path, &bytes).unwrap();
        let image = open_inside(&path, dir.path()).unwrap().image;
        let error = refused(crate::read_all(image.as_ref(), MIB));
        assert_eq!(error.kind(), kind, "{entry:#x}: {error}");
        refused(extents(image.as_ref()));
    }
}
