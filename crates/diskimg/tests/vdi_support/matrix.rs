//! Images that QEMU makes, read by us and by QEMU: both must agree.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use diskimg::{ExtentKind, Format, GuestOffset, OpenOptions};
use tempfile::TempDir;
use testkit::content::Content;
use testkit::measure::cpu_time;
use testkit::{conformance, qemu};

use crate::craft::{Block, Craft};
use crate::{extents, open};

#[test]
fn every_image_that_qemu_makes_reads_as_qemu_reads_it() {
    if qemu::missing() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let (raw, vdi) = (dir.path().join("raw"), dir.path().join("disk.vdi"));
    for (seed, size) in [512, 70_656, 1 << 20, (5 << 20) + 70_656, 12 << 20]
        .into_iter()
        .enumerate()
    {
        let content = Content::new(seed as u64, size, 512, 3 << 20);
        content.write_sparse(&raw).unwrap();
        for (options, variant) in [("static=off", "dynamic"), ("static=on", "fixed")] {
            let args = ["convert", "-f", "raw", "-O", "vdi", "-o", options];
            let paths = [raw.to_str().unwrap(), vdi.to_str().unwrap()];
            qemu::img(args.iter().chain(&paths));
            let opened = diskimg::open(&vdi, &OpenOptions::default(), &[]).unwrap();
            assert_eq!(opened.format, Format::Vdi);
            let image = opened.image.as_ref();
            let details = image.details();
            assert_eq!(details.variant.as_deref(), Some(variant));
            assert_eq!(details.cluster_size, Some(1 << 20));
            assert_eq!(details.warnings, [""; 0], "{size} {options}");
            let expected = qemu::content(&vdi);
            assert!(expected[..size] == content.bytes, "{size} {options}");
            conformance(image, &expected);
        }
    }
}

#[test]
fn disks_that_grew_by_random_writes_read_as_qemu_reads_them() {
    if qemu::missing() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let vdi = dir.path().join("disk.vdi");
    for seed in 0..4 {
        let path = vdi.to_str().unwrap();
        qemu::img(["create", "-q", "-f", "vdi", path, "40M"]);
        let mut rng = fastrand::Rng::with_seed(seed);
        let commands: Vec<_> = (1..20)
            .map(|round| {
                let at = rng.u32(..75_000) * 512;
                let len = rng.u32(1..6000) * 512;
                format!("write -P {round} {at} {len}")
            })
            .collect();
        let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
        qemu::io(&vdi, "vdi", &commands);
        let opened = diskimg::open(&vdi, &OpenOptions::default(), &[]).unwrap();
        conformance(opened.image.as_ref(), &qemu::content(&vdi));
    }
}

#[test]
fn files_that_are_made_by_hand_read_as_qemu_reads_them() {
    if qemu::missing() {
        return;
    }
    let blocks = [
        Block::Noise,
        Block::Zeros,
        Block::Noise,
        Block::Absent,
        Block::Noise,
    ];
    for (backwards, alignment) in [(false, 512), (true, 1 << 20)] {
        let craft = Craft {
            backwards,
            alignment,
            disk_size: (5 << 20) - 512,
            ..Craft::new(1 << 20, &blocks)
        };
        let made = craft.make();
        let file = tempfile::Builder::new().suffix(".vdi").tempfile().unwrap();
        std::fs::write(file.path(), &made.bytes).unwrap();
        assert!(qemu::content(file.path()) == made.guest);
        conformance(&open(&made.bytes).unwrap(), &made.guest);
    }
}

#[test]
fn a_disk_of_32_tib_that_is_nearly_empty_is_walked_in_no_time() {
    if qemu::missing() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let vdi = dir.path().join("disk.vdi");
    qemu::img(["create", "-q", "-f", "vdi", vdi.to_str().unwrap(), "32T"]);
    qemu::io(&vdi, "vdi", &["write -P 5 20T 4k"]);
    let started = cpu_time();
    let opened = diskimg::open(&vdi, &OpenOptions::default(), &[]).unwrap();
    let image = opened.image.as_ref();
    assert_eq!(image.virtual_size(), 32 << 40);
    let found = extents(image).unwrap();
    let data: Vec<_> = found
        .iter()
        .filter(|extent| extent.kind == ExtentKind::Data)
        .collect();
    assert_eq!(data[0].start.0, 20 << 40);
    assert!(data.iter().map(|extent| extent.len).sum::<u64>() <= 1 << 20);
    let took = cpu_time() - started;
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert!(image.memory_bound(2) < 16 << 20);
}

#[test]
fn files_beyond_4_gib_are_read_where_their_blocks_are() {
    // The block map is 32 bits wide, and counts blocks.
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut craft = Craft::new(1 << 20, &vec![Block::Absent; 6000]);
    craft.blocks[5999] = Block::Noise;
    let made = craft.make();
    let disk = File::create(file.path()).unwrap();
    disk.write_all_at(&made.bytes[..made.data], 0).unwrap();
    let number = 5998_u64;
    let at = made.data as u64 + (number << 20);
    disk.write_all_at(&made.bytes[made.data..], at).unwrap();
    let entry = crate::craft::MAP as u64 + 4 * 5999;
    disk.write_all_at(&(number as u32).to_le_bytes(), entry)
        .unwrap();
    let opened = diskimg::open(file.path(), &OpenOptions::default(), &[]).unwrap();
    let mut found = vec![1; 1 << 20];
    let image = opened.image.as_ref();
    image.read_at(GuestOffset(5999 << 20), &mut found).unwrap();
    assert!(found == crate::craft::noise(5999, 1 << 20));
}
