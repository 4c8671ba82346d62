//! Checking VHD files: every damage is found, with its place, and whole files are clean.

use std::sync::Arc;

use diskimg::check_source;
use diskimg::{CheckReport, Format, MemorySource, OpenOptions, ReadAt};
use testkit::qemu;

use crate::craft::{
    BAT, Block, Craft, HEADER, Image, mixed, noise, put32, seal_footer, seal_header,
};

fn check(bytes: &[u8]) -> CheckReport {
    let source: Arc<dyn ReadAt> = Arc::new(MemorySource(bytes.to_vec()));
    check_source(&source, &OpenOptions::of(Some(Format::Vhd)), &[], &|| false).unwrap()
}

/// Rule and offset of each finding.
fn found(bytes: &[u8]) -> Vec<(&'static str, u64)> {
    check(bytes)
        .findings
        .iter()
        .map(|finding| (finding.rule, finding.offset.unwrap()))
        .collect()
}

/// A disk with nothing in sectors that were never written.
fn image() -> Image {
    let mut blocks = mixed(4096, 13);
    for block in &mut blocks {
        if let Block::Partial(data, written) = block {
            written[0] = true;
            let sectors = data.chunks_mut(512).zip(written);
            sectors
                .filter(|(_, written)| !**written)
                .for_each(|(sector, _)| sector.fill(0));
        }
    }
    Craft::new(4096, blocks).dynamic()
}

#[test]
fn bytes_that_the_sector_bitmaps_leave_out_are_warnings() {
    let mut written = vec![true; 8];
    written[3] = false;
    let craft = |blocks| Craft::new(4096, blocks).dynamic();
    let left_out = craft(vec![Block::Partial(noise(1, 4096), written)]);
    let sector = left_out.data(0, 4096).start + 3 * 512;
    assert_eq!(found(&left_out.bytes), [("never-written", sector)]);
    assert_eq!(check(&left_out.bytes).errors, 0);
    let forgotten = craft(vec![Block::Partial(noise(1, 4096), vec![false; 8])]);
    let block = forgotten.places[0].unwrap() as u64;
    assert_eq!(found(&forgotten.bytes), [("never-written", block)]);
}

#[test]
fn whole_files_are_clean() {
    assert_eq!(found(&image().bytes), []);
    let craft = Craft::new(4096, mixed(4096, 13));
    assert_eq!(found(&craft.fixed(&[1; 13 * 4096])), []);
    if qemu::missing() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for subformat in ["dynamic", "fixed"] {
        let path = dir.path().join("disk.vhd");
        let options = format!("subformat={subformat},force_size=on");
        qemu::img([
            "create",
            "-q",
            "-f",
            "vpc",
            "-o",
            &options,
            path.to_str().unwrap(),
            "20M",
        ]);
        qemu::io(&path, "vpc", &["write -P 1 0 64k", "write -P 2 9M 3M"]);
        assert_eq!(found(&std::fs::read(&path).unwrap()), [], "{subformat}");
    }
}

#[test]
fn the_size_that_counts_is_the_one_by_which_the_disk_opens() {
    // By its creator the geometry counts: more than the file has, and than the table has entries
    // for.
    let craft = Craft {
        creator: *b"qemu",
        geometry: (8192, 4, 17),
        ..Craft::new(4096, mixed(4096, 13))
    };
    assert_eq!(found(&craft.fixed(&[1; 13 * 4096])), [("past-end", 0)]);
    let rules: Vec<_> = found(&craft.dynamic().bytes).iter().map(|f| f.0).collect();
    assert!(rules.contains(&"table-size"), "{rules:?}");
}

#[test]
fn footer_and_copy_are_held_against_each_other() {
    let whole = image();
    let footer = whole.footer() as u64;
    let mut bytes = whole.bytes.clone();
    bytes[100] ^= 1;
    assert_eq!(found(&bytes), [("copy", 0)]);
    assert_eq!(check(&bytes).errors, 0);

    let mut bytes = whole.bytes.clone();
    bytes[whole.footer() + 100] ^= 1;
    assert_eq!(found(&bytes), [("checksum", footer)]);

    // Both intact, and of two minds about the size.
    let mut bytes = whole.bytes.clone();
    bytes[48 + 7] ^= 16;
    seal_footer(&mut bytes, 0);
    assert_eq!(found(&bytes), [("copy", 0)]);
    assert_eq!(check(&bytes).errors, 1);

    let cut = &whole.bytes[..whole.footer()];
    assert_eq!(found(cut)[0], ("footer", footer));
}

#[test]
fn every_broken_entry_of_the_bat_is_listed_with_its_offset() {
    let whole = image();
    let mut bytes = whole.bytes.clone();
    // Blocks 0, 1, 4, 5 and so on are stored.
    let place = |index: usize| (whole.places[index].unwrap() / 512) as u32;
    put32(&mut bytes, BAT, place(4));
    put32(&mut bytes, BAT + 4, 0xffff_0000);
    put32(&mut bytes, BAT + 8, 1);
    put32(&mut bytes, BAT + 12, (whole.footer() / 512) as u32 - 2);
    assert!(crate::open(&bytes).is_err());
    let mut found = found(&bytes);
    found.sort_unstable();
    let at = |index: u64| BAT as u64 + index * 4;
    assert_eq!(
        found,
        [
            // Block 2 lies on the dynamic header and on the BAT; blocks 0 and 4 have one place.
            ("overlap", at(2)),
            ("overlap", at(2)),
            ("overlap", at(4)),
            ("past-end", at(1)),
            ("past-end", at(3)),
        ]
    );
}

#[test]
fn a_damaged_dynamic_header_is_an_error_and_the_rest_is_looked_at() {
    let whole = image();
    let mut bytes = whole.bytes.clone();
    bytes[HEADER + 700] ^= 1;
    put32(&mut bytes, BAT + 4, 0xffff_0000);
    assert_eq!(
        found(&bytes),
        [("checksum", HEADER as u64), ("past-end", BAT as u64 + 4)]
    );

    let mut bytes = whole.bytes.clone();
    put32(&mut bytes, HEADER + 28, 3);
    seal_header(&mut bytes);
    assert_eq!(found(&bytes), [("table-size", HEADER as u64)]);
}

#[test]
fn no_damage_makes_a_check_of_a_vhd_fail() {
    let whole = image();
    let mut rng = fastrand::Rng::with_seed(5);
    for _ in 0..2000 {
        let mut bytes = whole.bytes.clone();
        for _ in 0..rng.usize(1..5) {
            let at = rng.usize(..BAT + 64);
            bytes[at] = *rng.choice(&[0, 1, 0x7f, 0x80, 0xff]).unwrap();
        }
        seal_footer(&mut bytes, 0);
        seal_header(&mut bytes);
        if rng.bool() {
            let len = bytes.len();
            bytes.truncate(rng.usize(..len));
        }
        let _ = check(&bytes);
    }
}
