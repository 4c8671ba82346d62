//! Images that QEMU makes, and hand-made ones, read by us and by QEMU: both must agree.

use std::os::unix::fs::FileExt;
use std::path::Path;

use diskimg::{ExtentKind, Format, OpenOptions};
use tempfile::TempDir;
use testkit::content::Content;
use testkit::qemu;

use crate::craft::{Craft, NO_GEOMETRY, noise, plain};
use crate::{assert_gaps_are_zero, assert_same, extents, open, read_all};

/// The disk in the VHD at `path` by QEMU, which does not recognise fixed ones itself.
fn qemu_content(path: &Path) -> Vec<u8> {
    let raw = tempfile::NamedTempFile::new().unwrap();
    let raw = raw.path();
    let args = ["convert", "-f", "vpc", "-O", "raw"];
    let paths = [path.to_str().unwrap(), raw.to_str().unwrap()];
    qemu::img(args.iter().chain(&paths));
    std::fs::read(raw).unwrap()
}

/// Byte ranges that QEMU calls data that is stored.
fn qemu_data(path: &Path) -> Vec<(u64, u64)> {
    let args = ["map", "-f", "vpc", "--output=json", path.to_str().unwrap()];
    let map: serde_json::Value = serde_json::from_str(&qemu::img(args)).unwrap();
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for entry in map.as_array().unwrap() {
        if entry["data"] == true && entry["zero"] == false {
            let start = entry["start"].as_u64().unwrap();
            let end = start + entry["length"].as_u64().unwrap();
            match ranges.last_mut() {
                Some(last) if last.1 == start => last.1 = end,
                _ => ranges.push((start, end)),
            }
        }
    }
    ranges
}

fn qemu_size(path: &Path) -> u64 {
    let args = ["info", "-f", "vpc", "--output=json", path.to_str().unwrap()];
    let info: serde_json::Value = serde_json::from_str(&qemu::img(args)).unwrap();
    info["virtual-size"].as_u64().unwrap()
}

#[test]
fn every_image_that_qemu_makes_reads_as_qemu_reads_it() {
    if qemu::missing() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let (raw, vhd) = (dir.path().join("raw"), dir.path().join("vhd"));
    for (seed, size) in [512, 70_656, 1 << 20, 6_291_968, (4 << 20) - 512, 12 << 20]
        .into_iter()
        .enumerate()
    {
        for sparse in [false, true] {
            let content = if sparse {
                Content::new(seed as u64, size, 512, 3 << 20).bytes
            } else {
                noise(seed as u64, size)
            };
            std::fs::write(&raw, &content).unwrap();
            for subformat in ["fixed", "dynamic"] {
                for force_size in ["on", "off"] {
                    let what = format!("{size} {sparse} {subformat} {force_size}");
                    let options = format!("subformat={subformat},force_size={force_size}");
                    let args = ["convert", "-f", "raw", "-O", "vpc", "-o", &options];
                    let paths = [raw.to_str().unwrap(), vhd.to_str().unwrap()];
                    qemu::img(args.iter().chain(&paths));
                    let opened = diskimg::open(&vhd, &OpenOptions::default(), &[]).unwrap();
                    assert_eq!(opened.format, Format::Vhd);
                    let image = opened.image.as_ref();
                    assert_eq!(image.details().variant.as_deref(), Some(subformat));
                    let expected = qemu_content(&vhd);
                    assert_same(&expected[..size], &content, &what);
                    assert_same(&read_all(image, 1 << 20).unwrap(), &expected, &what);
                    assert_same(&read_all(image, 24_064).unwrap(), &expected, &what);
                    let found = extents(image).unwrap();
                    assert_gaps_are_zero(&found, &expected);
                    // QEMU asks the file system about holes in fixed files only.
                    let found = match subformat {
                        "dynamic" => extents(&open(&std::fs::read(&vhd).unwrap()).unwrap()),
                        _ => Ok(found),
                    };
                    let found: Vec<_> = found
                        .unwrap()
                        .iter()
                        .filter(|extent| extent.kind == ExtentKind::Data)
                        .map(|extent| (extent.start.0, extent.end().0))
                        .collect();
                    assert_eq!(found, qemu_data(&vhd), "{what}");
                }
            }
        }
    }
}

#[test]
fn dynamic_disks_that_grew_by_random_writes_read_as_qemu_reads_them() {
    if qemu::missing() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let vhd = dir.path().join("vhd");
    let options = "subformat=dynamic,force_size=on";
    qemu::img([
        "create",
        "-f",
        "vpc",
        "-o",
        options,
        vhd.to_str().unwrap(),
        "64M",
    ]);
    let mut rng = fastrand::Rng::with_seed(4);
    for round in 1..8 {
        let at = rng.u32(..100_000) * 512;
        let len = rng.u32(1..4000) * 512;
        qemu::io(&vhd, "vpc", &[&format!("write -P {round} {at} {len}")]);
        let opened = diskimg::open(&vhd, &OpenOptions::default(), &[]).unwrap();
        let expected = qemu_content(&vhd);
        let found = read_all(opened.image.as_ref(), 1 << 20).unwrap();
        assert_same(&found, &expected, "after a write");
        assert_gaps_are_zero(&extents(opened.image.as_ref()).unwrap(), &expected);
    }
}

#[test]
fn hand_made_block_sizes_read_as_qemu_reads_them() {
    if qemu::missing() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let vhd = dir.path().join("vhd");
    for bits in 12..=23 {
        let block_size = 1 << bits;
        let craft = Craft {
            backwards: true,
            ..Craft::new(block_size, plain(block_size, 5))
        };
        let image = craft.dynamic();
        std::fs::write(&vhd, &image.bytes).unwrap();
        let expected = qemu_content(&vhd);
        assert_same(&expected, &image.guest, "the writer of this test");
        let found = read_all(&open(&image.bytes).unwrap(), 1 << 20).unwrap();
        assert_same(&found, &expected, &format!("block size {block_size}"));
    }
}

#[test]
fn the_creator_decides_which_size_counts_as_in_qemu() {
    if qemu::missing() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let vhd = dir.path().join("vhd");
    let guest = noise(1, 1 << 20);
    for creator in [
        b"vpc ", b"qemu", b"qem2", b"win ", b"d2v ", b"tap\0", b"wa\0\0", b"vbox", b"CTXS",
    ] {
        // Until 10.0 QEMU knew some of those whose current size counts, and went by the geometry of
        // all others.
        let known_longer = [
            b"vpc ", b"qemu", b"qem2", b"win ", b"d2v ", b"tap\0", b"CTXS",
        ];
        let name = creator.escape_ascii();
        if !known_longer.contains(&creator)
            && qemu::older_than((10, 0), &format!("disks of creator \"{name}\""))
        {
            continue;
        }
        for geometry in [(10, 4, 17), (16, 8, 16), NO_GEOMETRY] {
            let craft = Craft {
                creator: *creator,
                geometry,
                size: 1 << 20,
                ..Craft::new(512, Vec::new())
            };
            let bytes = craft.fixed(&guest);
            std::fs::write(&vhd, &bytes).unwrap();
            let opened = diskimg::open(&vhd, &OpenOptions::default(), &[]).unwrap();
            let size = opened.image.virtual_size();
            let what = format!("{} {geometry:?}", creator.escape_ascii());
            assert_eq!(size, qemu_size(&vhd), "{what}");
            let found = read_all(opened.image.as_ref(), 1 << 20).unwrap();
            assert_same(&found, &guest[..size as usize], &what);
            let warnings = opened.image.details().warnings;
            if geometry == (10, 4, 17) {
                assert_eq!(warnings.len(), 1, "{what}");
                for part in [
                    "1048576",
                    "348160",
                    if size == 348_160 {
                        "the geometry is"
                    } else {
                        "the current size is"
                    },
                ] {
                    assert!(warnings[0].contains(part), "{what}: {warnings:?}");
                }
            } else {
                assert_eq!(warnings, [""; 0], "{what}");
            }
        }
    }
}

#[test]
fn holes_of_a_sparse_fixed_file_are_holes_of_the_disk() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("vhd");
    let mut guest = vec![0; 16 << 20];
    guest[5 << 20..6 << 20].copy_from_slice(&noise(1, 1 << 20));
    let craft = Craft {
        size: 16 << 20,
        ..Craft::new(512, Vec::new())
    };
    let bytes = craft.fixed(&guest);
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    for range in [5 << 20..6 << 20, 16 << 20..bytes.len()] {
        file.write_all_at(&bytes[range.clone()], range.start as u64)
            .unwrap();
    }
    let opened = diskimg::open(&path, &OpenOptions::default(), &[]).unwrap();
    let found = extents(opened.image.as_ref()).unwrap();
    assert_gaps_are_zero(&found, &guest);
    let data: u64 = found
        .iter()
        .filter(|extent| extent.kind == ExtentKind::Data)
        .map(|extent| extent.len)
        .sum();
    // Where the file system knows no holes, all of it is data.
    assert!(data == 1 << 20 || data == 16 << 20, "{found:?}");
    assert_same(
        &read_all(opened.image.as_ref(), 1 << 20).unwrap(),
        &guest,
        "sparse",
    );
}
