//! Images that QEMU makes, read by us and by QEMU: both must agree.

use std::time::Duration;

use diskimg::{DiskImage, ExtentKind, Format, GuestOffset, OpenOptions};
use tempfile::TempDir;
use testkit::content::Content;
use testkit::qemu;

use crate::craft::{self, Craft, FULLY_PRESENT, MIB, NOT_PRESENT, UNDEFINED, UNMAPPED, ZERO};
use crate::{
    assert_gaps_are_zero, assert_same, assert_same_sparse, extents, open, qemu_raw, read_all,
};
use testkit::measure::cpu_time;

#[test]
fn every_image_that_qemu_makes_reads_as_qemu_reads_it() {
    if qemu::missing() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let (raw, vhdx, back) = (
        dir.path().join("raw"),
        dir.path().join("vhdx"),
        dir.path().join("back"),
    );
    for (seed, size) in [512, MIB - 512, 5 * MIB + 70_656, 20 * MIB]
        .into_iter()
        .enumerate()
    {
        let content = Content::new(seed as u64, size, 512, 3 << 20);
        content.write_sparse(&raw).unwrap();
        for subformat in ["fixed", "dynamic"] {
            for options in [
                "block_size=1M,log_size=1M",
                "block_size=2M,log_size=4M,block_state_zero=off",
                "block_size=16M",
                "block_size=256M",
            ] {
                let what = format!("{size} {subformat} {options}");
                let options = format!("subformat={subformat},{options}");
                let args = ["convert", "-f", "raw", "-O", "vhdx", "-o", &options];
                let paths = [raw.to_str().unwrap(), vhdx.to_str().unwrap()];
                qemu::img(args.iter().chain(&paths));
                let opened = diskimg::open(&vhdx, &OpenOptions::default(), &[]).unwrap();
                assert_eq!(opened.format, Format::Vhdx);
                let image = opened.image.as_ref();
                let details = image.details();
                assert_eq!(details.variant.as_deref(), Some(subformat));
                assert_eq!(details.warnings, [""; 0], "{what}");
                assert!(details.creator.unwrap().starts_with("QEMU"));
                qemu_raw(&vhdx, &back);
                let expected = std::fs::read(&back).unwrap();
                assert_same(&expected[..size], &content.bytes, &what);
                assert_same(&read_all(image, 1 << 20).unwrap(), &expected, &what);
                assert_same(&read_all(image, 24_067).unwrap(), &expected, &what);
                assert_gaps_are_zero(&extents(image).unwrap(), &expected);
            }
        }
    }
}

#[test]
fn disks_that_grew_by_random_writes_above_4_gib_read_as_qemu_reads_them() {
    if qemu::missing() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let (vhdx, raw) = (dir.path().join("vhdx"), dir.path().join("raw"));
    for (seed, size, options) in [
        (1, "9G", "subformat=dynamic,block_size=1M"),
        (2, "13G", "subformat=dynamic,block_size=32M"),
        (3, "40G", "subformat=dynamic,block_size=256M"),
        (4, "9G", "subformat=fixed,block_size=1M"),
    ] {
        let path = vhdx.to_str().unwrap();
        qemu::img(["create", "-f", "vhdx", "-o", options, path, size]);
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut commands = vec![
            // Across the place where the first entry for a sector bitmap stands.
            "write -P 201 4293918720 2M".to_owned(),
            "write -P 202 8588886016 1M".to_owned(),
        ];
        for round in 1..8 {
            let at = rng.u32(..18_000_000) as u64 * 512;
            let len = rng.u32(1..4000) * 512;
            commands.push(format!("write -P {round} {at} {len}"));
        }
        commands.push("write -z 4294000000 64k".to_owned());
        let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
        qemu::io(&vhdx, "vhdx", &commands);
        qemu_raw(&vhdx, &raw);
        assert_same_sparse(&vhdx, &raw, options);
        std::fs::remove_file(&vhdx).unwrap();
        std::fs::remove_file(&raw).unwrap();
    }
}

#[test]
fn hand_made_block_and_sector_sizes_read_as_qemu_reads_them() {
    if qemu::missing() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let (vhdx, raw) = (dir.path().join("vhdx"), dir.path().join("raw"));
    let states = [
        FULLY_PRESENT,
        NOT_PRESENT,
        FULLY_PRESENT,
        ZERO,
        FULLY_PRESENT,
        UNMAPPED,
        UNDEFINED,
    ];
    for block_size in [MIB, 2 * MIB, 4 * MIB] {
        for sector_size in [512, 4096] {
            for backwards in [false, true] {
                let craft = Craft {
                    block_size,
                    sector_size,
                    disk_size: (states.len() * block_size) as u64 - 8192,
                    backwards,
                    ..Craft::new(&states)
                };
                let made = craft.make();
                let what = format!("{block_size} {sector_size} {backwards}");
                assert_same(
                    &read_all(&open(&made.bytes).unwrap(), MIB).unwrap(),
                    &made.guest,
                    &what,
                );
                // QEMU refuses sectors of 4096 bytes.
                if sector_size == 512 {
                    std::fs::write(&vhdx, &made.bytes).unwrap();
                    qemu_raw(&vhdx, &raw);
                    assert_same(&std::fs::read(&raw).unwrap(), &made.guest, &what);
                }
            }
        }
    }
}

#[test]
fn sectors_of_4096_bytes_put_the_bitmap_entries_eight_times_as_far_apart() {
    const SIZE: u64 = 40 << 30;
    let craft = Craft {
        sector_size: 4096,
        disk_size: SIZE,
        ..Craft::new(&[])
    };
    assert_eq!(craft.chunk_ratio(), 32 << 10);
    let blocks = [0_u64, 4096, 32_767, 32_768, 40_959];
    let mut bytes = craft.frame(craft::PAYLOAD + blocks.len() * MIB);
    for (place, block) in blocks.into_iter().enumerate() {
        let at = craft::PAYLOAD + place * MIB;
        craft::put64(
            &mut bytes,
            craft.bat_entry(block),
            at as u64 | FULLY_PRESENT,
        );
        bytes[at..at + MIB].copy_from_slice(&craft::noise(block, MIB));
    }
    // The entry for the bitmap is not looked at: QEMU before 8.1 left garbage there.
    craft::put64(&mut bytes, craft::BAT + 32_768 * 8, u64::MAX);
    let image = open(&bytes).unwrap();
    let found = extents(&image).unwrap();
    let data = found.iter().filter(|e| e.kind == ExtentKind::Data);
    let data: Vec<_> = data.map(|e| (e.start.0 >> 20, e.len >> 20)).collect();
    assert_eq!(data, [(0, 1), (4096, 1), (32_767, 2), (40_959, 1)]);
    for block in blocks {
        let mut found = vec![1; MIB];
        image
            .read_at(GuestOffset(block * MIB as u64), &mut found)
            .unwrap();
        assert_same(&found, &craft::noise(block, MIB), &format!("block {block}"));
    }
}

#[test]
fn an_empty_disk_of_64_tib_is_walked_in_no_time() {
    if qemu::missing() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let vhdx = dir.path().join("vhdx");
    let options = "subformat=dynamic,block_size=1M";
    let path = vhdx.to_str().unwrap();
    qemu::img(["create", "-f", "vhdx", "-o", options, path, "64T"]);
    qemu::io(&vhdx, "vhdx", &["write -P 5 40T 4k"]);
    let started = cpu_time();
    let opened = diskimg::open(&vhdx, &OpenOptions::default(), &[]).unwrap();
    let image = opened.image.as_ref();
    assert_eq!(image.virtual_size(), 64 << 40);
    let data: Vec<_> = extents(image)
        .unwrap()
        .into_iter()
        .filter(|extent| extent.kind == ExtentKind::Data)
        .collect();
    assert_eq!(data[0].start.0, 40 << 40);
    assert!(data.iter().map(|extent| extent.len).sum::<u64>() <= 1 << 20);
    assert!((cpu_time() - started) < Duration::from_secs(2));
    assert!(image.memory_bound(2) < 32 << 20);
}
