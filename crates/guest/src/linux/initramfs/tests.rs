use std::cell::Cell;
use std::io::Write;

pub(crate) use testkit::guest::archive::archive;

use super::*;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn lz4(bytes: &[u8]) -> Vec<u8> {
    let mut out = b"\x02\x21\x4c\x18".to_vec();
    for block in bytes.chunks(8 << 20) {
        let packed = lz4_flex::block::compress(block);
        out.extend(u32::try_from(packed.len()).unwrap().to_le_bytes());
        out.extend(packed);
    }
    out
}

/// As lzop stores what does not get shorter.
fn lzop(bytes: &[u8]) -> Vec<u8> {
    let mut out = b"\x89LZO\0\r\n\x1a\n".to_vec();
    out.extend(b"\x10\x30\x20\xa0\x09\x40\x03\x09");
    // Checksums of what is unpacked; the mode, the time, no name, the checksum.
    out.extend(b"\0\0\0\x01");
    out.extend([0; 12 + 1 + 4]);
    for block in bytes.chunks(256 << 10) {
        let length = u32::try_from(block.len()).unwrap().to_be_bytes();
        out.extend([length, length, [0; 4]].concat());
        out.extend(block);
    }
    out.extend([0; 4]);
    out
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ::bzip2::write::BzEncoder::new(Vec::new(), ::bzip2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn unpack(bytes: &[u8]) -> Known<Initramfs> {
    let mut found = Initramfs::default();
    super::unpack(&mut found, bytes, &Allowance::default())?;
    Ok(found)
}

const V: &str = "6.1.0";

fn with_module() -> Vec<u8> {
    archive(&[(
        "usr/lib/modules/6.1.0/kernel/drivers/block/virtio-blk.ko.xz",
        "x",
    )])
}

#[test]
fn every_packing_is_unpacked_and_what_follows_is_read_too() {
    let early = archive(&[("kernel/x86/microcode/GenuineIntel.bin", "code")]);
    let last = archive(&[
        ("sbin/lvm", "x"),
        ("./etc/udev/rules.d/70-persistent-net.rules", "r"),
    ]);
    for pack in [
        <[u8]>::to_vec as fn(&[u8]) -> Vec<u8>,
        gzip,
        lz4,
        lzop,
        bzip2,
        |bytes| zstd::encode_all(bytes, 1).unwrap(),
    ] {
        for behind in [<[u8]>::to_vec as fn(&[u8]) -> Vec<u8>, gzip, lz4] {
            // Only zeros tell the end of an lz4 frame from the length of a block.
            let zeros = vec![0; 4];
            let bytes = [early.clone(), pack(&with_module()), zeros, behind(&last)].concat();
            let found = unpack(&bytes).unwrap();
            assert_eq!(found.unread, None);
            assert_eq!(found.module(V, "virtio_blk"), Ok(true));
            assert_eq!(found.module("6.1.1", "virtio_blk"), Ok(false));
            assert_eq!(found.module(V, "virtio_net"), Ok(false));
            assert_eq!(found.program(&["lvm"]), Ok(true));
            let rules = &found.files[b"etc/udev/rules.d/70-persistent-net.rules".as_slice()];
            assert_eq!(rules, b"r");
        }
    }
}

#[test]
fn a_damaged_end_leaves_what_came_before_and_makes_the_rest_unknown() {
    let mut bytes = with_module();
    bytes.extend(b"garbage");
    let found = unpack(&bytes).unwrap();
    assert_eq!(found.module(V, "virtio_blk"), Ok(true));
    let reason = found.module(V, "virtio_net").unwrap_err();
    assert!(reason.contains("67 61 72 62 61 67"), "{reason}");
    assert!(unpack(b"garbage").is_err());
    assert!(unpack(&gzip(b"garbage")).is_err());
    let packed = gzip(&with_module());
    assert!(unpack(&packed[..packed.len() / 2]).is_err());
    // The cut stands behind the module.
    let whole = with_module();
    let found = unpack(&whole[..300]).unwrap();
    assert!(found.unread.is_some());
}

#[test]
fn modules_that_lie_in_no_versions_directory_count_for_every_kernel() {
    let found = unpack(&gzip(&archive(&[("lib/virtio_pci.ko", "")]))).unwrap();
    assert_eq!(found.module("2.6.18-398.el5", "virtio_pci"), Ok(true));
}

#[test]
fn lengths_in_headers_are_not_believed() {
    let good = with_module();
    for (field, value) in [
        (6, "FFFFFFFF"),
        (11, "FFFFFFFF"),
        (11, "00000000"),
        (6, "+0000001"),
    ] {
        let mut bytes = good.clone();
        // The header of the module, behind that of its directory.
        let at = 116 + 6 + field * 8;
        bytes[at..at + 8].copy_from_slice(value.as_bytes());
        let reason = match unpack(&bytes) {
            Ok(found) => found.unread.unwrap_or_else(|| panic!("{field} {value}")),
            Err(reason) => reason,
        };
        assert!(!reason.is_empty());
    }
}

#[test]
fn what_unpacks_to_more_than_is_allowed_is_given_up() {
    let zeros = vec![0; 1 << 20];
    let allowance = Allowance(Cell::new(64 << 10));
    let mut found = Initramfs::default();
    let bytes = gzip(&zeros);
    let reason = super::unpack(&mut found, bytes.as_slice(), &allowance).unwrap_err();
    assert!(reason.contains("more than is allowed"), "{reason}");
}

/// Changes a few bytes of `bytes`, by `random`.
pub(crate) fn damaged(bytes: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..random.usize(1..6) {
        let at = random.usize(..bytes.len());
        bytes[at] = match random.u8(..4) {
            0 => 0,
            1 => 0xff,
            _ => random.u8(..),
        };
    }
    bytes.truncate(random.usize(bytes.len() / 2..=bytes.len()));
    bytes
}

#[test]
fn no_damage_stops_the_reader() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let plain = [
        with_module(),
        archive(&[("etc/lvm/lvm.conf", "x"), ("sbin/lvm", "")]),
    ]
    .concat();
    let zstd = zstd::encode_all(plain.as_slice(), 1).unwrap();
    let all = [
        plain.clone(),
        gzip(&plain),
        lz4(&plain),
        lzop(&plain),
        bzip2(&plain),
        zstd,
    ];
    for _ in 0..400 {
        for bytes in &all {
            let bytes = damaged(bytes, &mut random);
            let read = std::panic::catch_unwind(|| drop(unpack(&bytes)));
            assert!(read.is_ok(), "seed {seed}");
        }
    }
}
