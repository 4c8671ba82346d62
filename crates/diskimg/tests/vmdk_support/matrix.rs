//! What qemu-img writes reads as the disk that it was given.

use diskimg::{BackingPolicy, GuestOffset};
use testkit::{conformance, qemu};

use crate::{Dir, disk, open_with};

const SUBFORMATS: [&str; 5] = [
    "monolithicSparse",
    "monolithicFlat",
    "twoGbMaxExtentSparse",
    "twoGbMaxExtentFlat",
    "streamOptimized",
];

#[test]
fn every_subformat_of_qemu_reads_as_its_disk() {
    if qemu::missing() {
        return;
    }
    let dir = Dir::new();
    // Whole grains of zeros, and an end inside a grain.
    let mut content = disk(6149, 1);
    content[1 << 20..2 << 20].fill(0);
    let raw = dir.write("disk.raw", &content);
    for subformat in SUBFORMATS {
        for more in ["adapter_type=lsilogic", "hwversion=6"] {
            let path = dir.at(&format!("{subformat}.vmdk"));
            let options = format!("subformat={subformat},{more}");
            let from = ["convert", "-f", "raw", "-O", "vmdk", "-o", &options];
            let files = [raw.to_str().unwrap(), path.to_str().unwrap()];
            qemu::img(from.into_iter().chain(files));
            let opened = open_with(&path, BackingPolicy::Refuse).unwrap();
            assert_eq!(opened.image.details().variant.as_deref(), Some(subformat));
            conformance(opened.image.as_ref(), &content);
        }
    }
}

#[test]
fn zero_grains_of_qemu_are_zeros() {
    if qemu::missing() {
        return;
    }
    let dir = Dir::new();
    let path = dir.at("disk.vmdk");
    let name = path.to_str().unwrap();
    let options = "subformat=monolithicSparse,zeroed_grain=on";
    qemu::img(["create", "-f", "vmdk", "-o", options, name, "4M"]);
    qemu::io(&path, "vmdk", &["write -P 7 0 1M", "write -z 256k 128k"]);
    let mut expected = vec![0; 4 << 20];
    expected[..1 << 20].fill(7);
    expected[256 << 10..384 << 10].fill(0);
    let opened = open_with(&path, BackingPolicy::Refuse).unwrap();
    conformance(opened.image.as_ref(), &expected);
}

#[test]
fn sets_of_several_extents_read_across_their_border() {
    if qemu::missing() {
        return;
    }
    // QEMU begins another file at 2 GiB.
    let border = 2_u64 << 30;
    for subformat in ["twoGbMaxExtentSparse", "twoGbMaxExtentFlat"] {
        let dir = Dir::new();
        let path = dir.at("disk.vmdk");
        let name = path.to_str().unwrap();
        let options = format!("subformat={subformat}");
        qemu::img(["create", "-f", "vmdk", "-o", &options, name, "4100M"]);
        let writes = ["write -P 5 2047M 2M", "write -P 6 4099M 1M"];
        qemu::io(&path, "vmdk", &writes);
        let opened = open_with(&path, BackingPolicy::Refuse).unwrap();
        assert_eq!(opened.files.len(), 3, "{subformat}");
        let mut found = vec![0xa5; 4 << 20];
        opened
            .image
            .read_at(GuestOffset(border - (2 << 20)), &mut found)
            .unwrap();
        let mut expected = vec![0; 4 << 20];
        expected[1 << 20..3 << 20].fill(5);
        assert!(found == expected, "{subformat}");
        let mut end = vec![0; 2 << 20];
        opened
            .image
            .read_at(GuestOffset(4098 << 20), &mut end)
            .unwrap();
        assert!(end[..1 << 20].iter().all(|byte| *byte == 0), "{subformat}");
        assert!(end[1 << 20..].iter().all(|byte| *byte == 6), "{subformat}");
    }
}

#[test]
fn a_snapshot_of_qemu_reads_over_its_parent() {
    if qemu::missing() {
        return;
    }
    let dir = Dir::new();
    let (base, top) = (dir.at("base.vmdk"), dir.at("top.vmdk"));
    qemu::img(["create", "-f", "vmdk", base.to_str().unwrap(), "4M"]);
    qemu::io(&base, "vmdk", &["write -P 1 0 2M"]);
    let parent = base.to_str().unwrap();
    qemu::img([
        "create",
        "-f",
        "vmdk",
        "-F",
        "vmdk",
        "-b",
        parent,
        top.to_str().unwrap(),
    ]);
    qemu::io(&top, "vmdk", &["write -P 2 1M 2M"]);
    let mut expected = vec![0; 4 << 20];
    expected[..1 << 20].fill(1);
    expected[1 << 20..3 << 20].fill(2);
    let opened = open_with(&top, dir.inside()).unwrap();
    conformance(opened.image.as_ref(), &expected);
}
