//! What is not read is refused by name, with a hint, and never misread.

use std::sync::Arc;

use diskimg::{DiskImage, DiskImageExt, ErrorKind, GuestOffset, MemorySource, OpenOptions};
use tempfile::TempDir;
use testkit::qemu;

use crate::craft::{Crafted, mixed};
use crate::{open_bytes, refused};

fn plain() -> Crafted {
    mixed(3, 12, false)
}

/// Sets an incompatible feature bit.
fn with_feature(image: &Crafted, bit: u32) -> Vec<u8> {
    let features = u64::from_be_bytes(image.bytes[72..80].try_into().unwrap());
    image.with(72, &(features | 1 << bit).to_be_bytes())
}

#[track_caller]
fn assert_refused(bytes: &[u8], kind: ErrorKind, words: &[&str]) -> diskimg::Error {
    let error = refused(open_bytes(bytes));
    assert_eq!(error.kind(), kind, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "{error:?} lacks {word:?}");
    }
    error
}

#[test]
fn a_backing_file_is_named_and_not_opened() {
    let name = b"/etc/\x1b[31mpasswd";
    let mut bytes = plain().with(0x800, name);
    bytes[8..16].copy_from_slice(&0x800_u64.to_be_bytes());
    bytes[16..20].copy_from_slice(&(name.len() as u32).to_be_bytes());
    let error = assert_refused(
        &bytes,
        ErrorKind::Unsupported,
        &["backing file", r#""/etc/\u{1b}[31mpasswd""#],
    );
    let hint = error.hint().unwrap().to_string();
    assert!(
        hint.contains("files in the directory that it is in"),
        "{hint}"
    );
    assert!(
        hint.contains("qemu-img convert -O qcow2 IMAGE flat.qcow2"),
        "{hint}"
    );
}

#[test]
fn a_long_backing_file_name_is_shortened_in_the_message() {
    let mut bytes = plain().with(0x800, &[b'x'; 1023]);
    bytes[8..16].copy_from_slice(&0x800_u64.to_be_bytes());
    bytes[16..20].copy_from_slice(&1023_u32.to_be_bytes());
    let error = assert_refused(&bytes, ErrorKind::Unsupported, &["xxx…"]);
    assert!(error.to_string().len() < 400);
    // Longer than the format allows, and outside the first cluster.
    bytes[16..20].copy_from_slice(&1024_u32.to_be_bytes());
    assert_refused(&bytes, ErrorKind::Corrupt, &["1024 bytes"]);
    bytes[8..16].copy_from_slice(&0xfff_u64.to_be_bytes());
    bytes[16..20].copy_from_slice(&2_u32.to_be_bytes());
    assert_refused(&bytes, ErrorKind::Corrupt, &["first cluster"]);
}

#[test]
fn encryption_is_refused_by_method() {
    for (method, name) in [(1_u32, "AES"), (2, "LUKS"), (3, "method 3")] {
        for version in [2, 3] {
            let bytes = mixed(version, 12, false).with(32, &method.to_be_bytes());
            let error = assert_refused(&bytes, ErrorKind::Unsupported, &["encrypted", name]);
            assert!(error.hint().is_some());
        }
    }
}

#[test]
fn an_encrypted_image_is_described_and_not_read_when_only_metadata_are_wanted() {
    let plain = mixed(3, 12, false);
    let bytes = plain.with(32, &2_u32.to_be_bytes());
    let options = OpenOptions {
        metadata_only: true,
        ..OpenOptions::default()
    };
    let open = |bytes: Vec<u8>| {
        let opened = diskimg::open_source(Arc::new(MemorySource(bytes)), &options, &[]);
        opened.unwrap().image
    };
    let (image, same) = (open(bytes), open(plain.bytes));
    let details = image.details();
    assert_eq!(details.encryption.as_deref(), Some("LUKS"));
    assert_eq!(details.cluster_size, Some(4096));
    assert!(details.warnings[0].contains("qemu-img convert"));
    assert_eq!(same.details().encryption, None);
    let extents = |image: &dyn DiskImage| -> Vec<_> { image.all_extents().flatten().collect() };
    assert_eq!(extents(image.as_ref()), extents(same.as_ref()));
    // Zeros are not read either: whoever reads wants a disk.
    for extent in extents(image.as_ref()) {
        let error = refused(image.read_at(extent.start, &mut [0; 512]));
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("encrypted (LUKS)"), "{error}");
    }
    let past = refused(image.read_at(GuestOffset(image.virtual_size()), &mut [0; 1]));
    assert_eq!(past.kind(), ErrorKind::OutOfRange);
}

#[test]
fn features_that_are_not_read_are_refused_by_name() {
    for (bit, name) in [
        (2, "external data file"),
        (5, "unknown incompatible feature (bit 5)"),
    ] {
        let bytes = with_feature(&plain(), bit);
        let error = assert_refused(&bytes, ErrorKind::Unsupported, &[name]);
        assert!(
            error
                .hint()
                .is_some_and(|hint| hint.to_string().contains("flat.qcow2"))
        );
    }
    let error = assert_refused(
        &with_feature(&plain(), 1),
        ErrorKind::Corrupt,
        &["marked as corrupt"],
    );
    assert!(
        error
            .hint()
            .is_some_and(|hint| hint.to_string().contains("qemu-img check -r all"))
    );
}

#[test]
fn an_image_that_is_marked_as_corrupt_is_described_and_not_read() {
    let bytes = with_feature(&plain(), 1);
    let options = OpenOptions {
        metadata_only: true,
        ..OpenOptions::default()
    };
    let source = Arc::new(MemorySource(bytes));
    let opened = diskimg::open_source(source, &options, &[]).unwrap();
    let warnings = opened.image.details().warnings;
    assert!(warnings[0].contains("corrupt bit"), "{warnings:?}");
}

#[test]
fn an_unknown_feature_is_named_by_the_images_own_table() {
    let mut table = Vec::new();
    for (kind, bit, name) in [
        (1_u8, 9_u8, "some compatible feature"),
        (0, 9, "holographic clusters"),
    ] {
        table.extend([kind, bit]);
        table.extend(name.bytes().chain(std::iter::repeat(0)).take(46));
    }
    let mut area = Vec::new();
    // An extension of 5 bytes first: it is padded to 8.
    area.extend([0xe2, 0x79, 0x2a, 0xca, 0, 0, 0, 5]);
    area.extend(*b"qcow2\0\0\0");
    area.extend(0x6803_f857_u32.to_be_bytes());
    area.extend((table.len() as u32).to_be_bytes());
    area.extend(table);
    let named = Crafted {
        bytes: plain().with(112, &area),
        ..plain()
    };
    open_bytes(&named.bytes).expect("a table alone does no harm");
    assert_refused(
        &with_feature(&named, 9),
        ErrorKind::Unsupported,
        &[r#"incompatible feature "holographic clusters" (bit 9)"#],
    );
    assert_refused(
        &with_feature(&named, 63),
        ErrorKind::Unsupported,
        &["unknown incompatible feature (bit 63)"],
    );
}

#[test]
fn header_extensions_stay_inside_the_first_cluster() {
    let too_long = [0x12, 0x34, 0x56, 0x78, 0xff, 0xff, 0xff, 0xff];
    assert_refused(
        &plain().with(112, &too_long),
        ErrorKind::Corrupt,
        &["header extension", "0x12345678", "4294967295 bytes"],
    );
    let just_fits = (4096_u32 - 120).to_be_bytes();
    let mut bytes = plain().with(112, &[0x12, 0x34, 0x56, 0x78]);
    bytes[116..120].copy_from_slice(&just_fits);
    open_bytes(&bytes).unwrap();
    bytes[116..120].copy_from_slice(&(4096_u32 - 119).to_be_bytes());
    assert_refused(&bytes, ErrorKind::Corrupt, &["header extension"]);
}

#[test]
fn the_compression_type_must_agree_with_its_feature_bit() {
    let refused = |bytes: &[u8], kind, words: &[&str]| assert_refused(bytes, kind, words);
    refused(&plain().with(104, &[1]), ErrorKind::Corrupt, &["not set"]);
    refused(
        &with_feature(&plain(), 3),
        ErrorKind::Corrupt,
        &["0 (zlib)"],
    );
    let zstd = mixed(3, 12, true);
    refused(
        &zstd.with(104, &[2]),
        ErrorKind::Unsupported,
        &["type is 2"],
    );
    // Without room for the byte, what stands there is not the type.
    let short = Crafted {
        bytes: plain().with(100, &104_u32.to_be_bytes()),
        ..plain()
    };
    open_bytes(&short.bytes).unwrap();
    refused(&with_feature(&short, 3), ErrorKind::Corrupt, &["104 bytes"]);
}

#[test]
fn later_versions_are_refused_by_number_and_not_taken_for_raw() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("disk.qcow2");
    for version in [0_u32, 4, u32::MAX] {
        std::fs::write(&path, plain().with(4, &version.to_be_bytes())).unwrap();
        let error = refused(diskimg::open(&path, &OpenOptions::default(), &[]));
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains(&format!("version {version};")));
        assert!(error.to_string().contains("disk.qcow2"));
    }
}

#[test]
fn sizes_are_held_against_our_caps_before_anything_is_derived() {
    let size = |size: u64| plain().with(24, &size.to_be_bytes());
    assert_refused(&size(0), ErrorKind::Unsupported, &["empty"]);
    assert_refused(&size(u64::MAX), ErrorKind::Limit, &["64 TiB"]);
    assert_refused(&size((64 << 40) + 1), ErrorKind::Limit, &["64 TiB"]);
    assert_refused(&size(64 << 40), ErrorKind::Corrupt, &["L1 table", "needs"]);
    let many = plain().with(36, &u32::MAX.to_be_bytes());
    assert_refused(&many, ErrorKind::Limit, &["L1 table", "32 MiB"]);
}

#[test]
fn the_l1_table_must_lie_in_the_file() {
    let at = |offset: u64| plain().with(40, &offset.to_be_bytes());
    assert_refused(&at(0), ErrorKind::Corrupt, &["L1 table"]);
    assert_refused(&at(0x1008), ErrorKind::Corrupt, &["multiple of 0x1000"]);
    assert_refused(&at(1 << 40), ErrorKind::Truncated, &["L1 table"]);
    assert_refused(&at(!0xfff), ErrorKind::Truncated, &["L1 table"]);
}

#[test]
fn reserved_bits_and_misaligned_offsets_are_corrupt() {
    let image = plain();
    let entry = image.l2_entries[0].unwrap();
    for bit in (1..12).chain(56..62) {
        let l1 = u64::from_be_bytes(image.bytes[image.l1..image.l1 + 8].try_into().unwrap());
        let bytes = image.with(image.l1, &(l1 ^ 1 << bit).to_be_bytes());
        assert_refused(&bytes, ErrorKind::Corrupt, &["L1 entry"]);

        let l2 = u64::from_be_bytes(image.bytes[entry..entry + 8].try_into().unwrap());
        let bytes = image.with(entry, &(l2 ^ 1 << bit).to_be_bytes());
        let opened = open_bytes(&bytes).unwrap();
        let error = refused(crate::read(&opened, 0, 512));
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains("L2 entry"), "{error}");
        assert_eq!(error.offset(), Some(entry as u64));
        // The other clusters are as good as before.
        assert_eq!(
            crate::read(&opened, 4096, 512).unwrap(),
            image.guest[4096..4608]
        );
        refused(opened.extent_at(diskimg::GuestOffset(0), 512));
    }
}

#[test]
fn in_version_2_the_zero_flag_is_a_reserved_bit() {
    let image = mixed(2, 12, false);
    let entry = image.l2_entries[0].unwrap();
    let l2 = u64::from_be_bytes(image.bytes[entry..entry + 8].try_into().unwrap());
    let opened = open_bytes(&image.with(entry, &(l2 | 1).to_be_bytes())).unwrap();
    let error = refused(crate::read(&opened, 0, 512));
    assert!(error.to_string().contains("reserved bits 0x1"), "{error}");
}

#[test]
fn images_that_qemu_makes_with_such_features_are_refused() {
    if qemu::missing() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let base = dir.path().join("base.qcow2");
    let data = format!("data_file={}", dir.path().join("data.raw").display());
    let backing = format!("backing_file={},backing_fmt=qcow2", base.display());
    let base = base.to_str().unwrap();
    qemu::img(["create", "-f", "qcow2", base, "1M"]);
    let secret = ["--object", "secret,id=s,data=abc"];
    for (args, word) in [
        (vec!["-o", &backing], "base.qcow2"),
        (vec!["-o", &data], "external data file"),
        (
            [
                &secret[..],
                &[
                    "-o",
                    "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10",
                ],
            ]
            .concat(),
            "LUKS",
        ),
        (
            [
                &secret[..],
                &["-o", "encrypt.format=aes,encrypt.key-secret=s"],
            ]
            .concat(),
            "AES",
        ),
    ] {
        if word == "LUKS" && !qemu::makes_luks() {
            continue;
        }
        let path = dir.path().join("disk.qcow2");
        let mut create = vec!["create", "-f", "qcow2"];
        create.extend(args);
        create.extend([path.to_str().unwrap(), "1M"]);
        qemu::img(create);
        let error = refused(diskimg::open(&path, &OpenOptions::default(), &[]));
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains(word), "{error}");
        assert!(error.hint().is_some());
        std::fs::remove_file(path).unwrap();
    }
}
