//! The safety checks that OpenStack's image format inspector (oslo.utils) makes, one test each and
//! named after it, and the attacks that they were written for. What differs, and why, is in
//! `docs/threat-model.md`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests"
)]

#[allow(dead_code, reason = "shared with the tests of VHDX")]
#[path = "vhdx_support/craft.rs"]
mod craft;
#[allow(dead_code, reason = "shared with the tests of VDI")]
#[path = "vdi_support/craft.rs"]
mod vdi_craft;

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use diskimg::open_source;
use diskimg::{
    Error, ErrorKind, Format, Hint, MemorySource, OpenOptions, Opened, Result, partitions,
};

use crate::craft::{Craft, FULLY_PRESENT, METADATA, REGIONS, items, put32, seal_regions};

fn open(bytes: &[u8]) -> Result<Opened> {
    let source = Arc::new(MemorySource(bytes.to_vec()));
    open_source(source, &OpenOptions::default(), &[])
}

#[track_caller]
fn refused(bytes: &[u8], kind: ErrorKind, words: &[&str]) -> Error {
    let error = match open(bytes) {
        Ok(opened) => panic!("this was accepted as {}", opened.format),
        Err(error) => error,
    };
    assert_eq!(error.kind(), kind, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "{error} lacks {word:?}");
    }
    error
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// An empty qcow2 of 64 KiB with clusters of 64 KiB.
fn qcow2(version: u32) -> Vec<u8> {
    let mut bytes = vec![0; 4 << 16];
    put(&mut bytes, 0, b"QFI\xfb");
    put(&mut bytes, 4, &version.to_be_bytes());
    put(&mut bytes, 20, &16_u32.to_be_bytes());
    put(&mut bytes, 24, &(1_u64 << 16).to_be_bytes());
    put(&mut bytes, 36, &1_u32.to_be_bytes());
    put(&mut bytes, 40, &(1_u64 << 16).to_be_bytes());
    if version >= 3 {
        put(&mut bytes, 96, &4_u32.to_be_bytes());
        put(&mut bytes, 100, &104_u32.to_be_bytes());
    }
    bytes
}

fn with_backing(name: &[u8]) -> Vec<u8> {
    let mut bytes = qcow2(3);
    put(&mut bytes, 8, &0x1000_u64.to_be_bytes());
    put(&mut bytes, 16, &(name.len() as u32).to_be_bytes());
    put(&mut bytes, 0x1000, name);
    bytes
}

/// A qcow2 whose guest data is in the file `name`.
fn with_data_file(name: &[u8]) -> Vec<u8> {
    let mut bytes = qcow2(3);
    put(&mut bytes, 72, &(1_u64 << 2).to_be_bytes());
    put(&mut bytes, 104, &0x4441_5441_u32.to_be_bytes());
    put(&mut bytes, 108, &(name.len() as u32).to_be_bytes());
    put(&mut bytes, 112, name);
    bytes
}

#[test]
fn qcow2_clean() {
    for version in [2, 3] {
        assert_eq!(open(&qcow2(version)).unwrap().format, Format::Qcow2);
    }
}

#[test]
fn qcow2_backing_file() {
    for name in [&b"base.qcow2"[..], b"/etc/passwd", b"../../secret.raw"] {
        let shown = String::from_utf8_lossy(name).into_owned();
        let error = refused(
            &with_backing(name),
            ErrorKind::Unsupported,
            &["backing file", &shown],
        );
        assert!(error.hint().is_some());
    }
    // An offset alone is a backing file, whatever the length says; in either version.
    for version in [2, 3] {
        let mut bytes = qcow2(version);
        put(&mut bytes, 8, &0x1000_u64.to_be_bytes());
        refused(&bytes, ErrorKind::Unsupported, &["backing file"]);
    }
}

#[test]
fn qcow2_data_file() {
    refused(
        &with_data_file(b"data.raw"),
        ErrorKind::Unsupported,
        &["external data file"],
    );
    // The bit alone, without a name.
    let mut bytes = qcow2(3);
    put(&mut bytes, 72, &(1_u64 << 2).to_be_bytes());
    refused(&bytes, ErrorKind::Unsupported, &["external data file"]);
    // Version 2 has no data files: what stands there means nothing, and nothing else is opened.
    let mut bytes = qcow2(2);
    put(&mut bytes, 72, &(1_u64 << 2).to_be_bytes());
    let opened = open(&bytes).unwrap();
    assert!(opened.image.details().refers_to.is_empty());
}

#[test]
fn qcow2_unknown_features() {
    for bit in 5..64 {
        let mut bytes = qcow2(3);
        put(&mut bytes, 72, &(1_u64 << bit).to_be_bytes());
        let named = format!("(bit {bit})");
        refused(&bytes, ErrorKind::Unsupported, &["feature", &named]);
    }
    // Known ones: dirty is a warning, corrupt is refused, subclusters are read.
    let with = |bit: u32| {
        let mut bytes = qcow2(3);
        put(&mut bytes, 72, &(1_u64 << bit).to_be_bytes());
        bytes
    };
    let dirty = open(&with(0)).unwrap().image.details();
    assert!(dirty.dirty == Some(true) && !dirty.warnings.is_empty());
    refused(&with(1), ErrorKind::Corrupt, &["marked as corrupt"]);
    assert_eq!(open(&with(4)).unwrap().format, Format::Qcow2);
    // Version 2 has no features: what stands there means nothing.
    let mut bytes = qcow2(2);
    put(&mut bytes, 72, &u64::MAX.to_be_bytes());
    assert_eq!(open(&bytes).unwrap().format, Format::Qcow2);
}

#[test]
fn qcow2_version() {
    for version in [0_u32, 4, u32::MAX] {
        let mut bytes = qcow2(3);
        put(&mut bytes, 4, &version.to_be_bytes());
        let named = format!("version {version}");
        refused(&bytes, ErrorKind::Unsupported, &[&named]);
    }
    let mut bytes = qcow2(2);
    put(&mut bytes, 4, &1_u32.to_be_bytes());
    refused(&bytes, ErrorKind::Unsupported, &["QCOW version 1"]);
}

#[test]
fn qed_banned() {
    let mut bytes = vec![0; 64 << 10];
    put(&mut bytes, 0, b"QED\0");
    refused(&bytes, ErrorKind::Unsupported, &["QED"]);
}

/// An empty VDI of 4 blocks of 4 KiB.
fn vdi() -> Vec<u8> {
    vdi_craft::Craft::new(4096, &[vdi_craft::Block::Absent; 4])
        .make()
        .bytes
}

#[test]
fn vdi_clean() {
    let opened = open(&vdi()).unwrap();
    assert_eq!(opened.format, Format::Vdi);
    assert_eq!(opened.image.virtual_size(), 16 << 10);
}

#[test]
fn vdi_format_match() {
    // The signature decides, and the text in front of it nothing.
    let mut bytes = vdi();
    bytes[..64].fill(0);
    assert_eq!(open(&bytes).unwrap().format, Format::Vdi);
    let mut text = vec![0; 64 << 10];
    put(&mut text, 0, b"<<< Oracle VM VirtualBox Disk Image >>>\n");
    assert_eq!(open(&text).unwrap().format, Format::Raw);
    put(&mut text, 0x40, &[0x7f, 0x10, 0xda, 0xbe]);
    refused(&text, ErrorKind::Unsupported, &["VDI version 0.0"]);
}

#[test]
fn vdi_incomplete() {
    // The inspector needs 512 bytes; we need all that the header promises.
    let bytes = vdi();
    for len in [0x44, 0x1c7, 0x200] {
        refused(&bytes[..len], ErrorKind::Truncated, &["VDI"]);
    }
}

/// A file of `testdata/vmdk`, unpacked.
fn vmdk(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/vmdk");
    let packed = std::fs::read(path.join(name)).unwrap();
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(&packed[..])
        .read_to_end(&mut bytes)
        .unwrap();
    bytes
}

/// A sound VMDK with another descriptor, of one sector.
fn vmdk_of(descriptor: &str) -> Vec<u8> {
    let mut bytes = vmdk("hand-sparse.vmdk.gz");
    bytes[512..1024].fill(0);
    put(&mut bytes, 512, descriptor.as_bytes());
    bytes
}

#[test]
fn vmdk_descriptor() {
    let sparse = "createType=\"monolithicSparse\"\n";
    let line = "RW 6149 SPARSE \"d.vmdk\"\n";
    // The name in a descriptor inside its disk means nothing, and leads nowhere.
    for sound in [
        format!("# a comment\n{sparse}\n \nsomeUnknownThing=foo\nddb whatever\n{line}"),
        format!("{sparse}RW 6149 SPARSE \"/etc/hosts\"\n"),
    ] {
        assert_eq!(open(&vmdk_of(&sound)).unwrap().format, Format::Vmdk);
    }
    for (descriptor, kind, word) in [
        // What it is.
        (line.to_owned(), ErrorKind::Corrupt, "type"),
        (
            format!("createType monolithicFlat\n{line}"),
            ErrorKind::Corrupt,
            "type",
        ),
        (
            format!("createType=\"monolithicFlat\"\n{line}"),
            ErrorKind::Unsupported,
            "monolithicFlat",
        ),
        (
            format!("createType=\"someunknownformat\"\n{line}"),
            ErrorKind::Unsupported,
            "someunknownformat",
        ),
        (
            format!("{sparse}RW 6149 FLAT \"/etc/passwd\" 0\n"),
            ErrorKind::Unsupported,
            "SPARSE",
        ),
        (
            format!("{sparse}{line}{line}"),
            ErrorKind::Unsupported,
            "2 extents",
        ),
        // Whether there is a disk.
        (sparse.to_owned(), ErrorKind::Corrupt, "no extents"),
        (
            format!("{sparse}wronly 6149 SPARSE \"d.vmdk\"\n"),
            ErrorKind::Corrupt,
            "no extents",
        ),
        (
            format!("{sparse}RW 6149 SPARSE d.vmdk\n"),
            ErrorKind::Corrupt,
            "quotes",
        ),
        (
            format!("{sparse}RW 6148 SPARSE \"d.vmdk\"\nRW"),
            ErrorKind::Corrupt,
            "RW",
        ),
        (
            format!("{sparse}RW 6150 SPARSE \"d.vmdk\"\n"),
            ErrorKind::Corrupt,
            "6150",
        ),
        (
            String::new(),
            ErrorKind::Unsupported,
            "only a part of a VMDK",
        ),
    ] {
        refused(&vmdk_of(&descriptor), kind, &[word]);
    }
}

#[test]
fn vmdk_header() {
    let sound = vmdk("hand-sparse.vmdk.gz");
    for (at, value, kind, word) in [
        (4, 0, ErrorKind::Unsupported, "version 0"),
        (4, 4, ErrorKind::Unsupported, "version 4"),
        (8, 1 << 20, ErrorKind::Unsupported, "flags 0x100000"),
        // Where the descriptor is, and how long it is.
        (28, 0, ErrorKind::Unsupported, "only a part of a VMDK"),
        (28, 2, ErrorKind::Corrupt, "createType"),
        (28, 4096, ErrorKind::Truncated, "descriptor"),
        (36, 4096, ErrorKind::Truncated, "descriptor"),
    ] {
        let mut bytes = sound.clone();
        put32le(&mut bytes, at, value);
        refused(&bytes, kind, &[word]);
    }
    // Another signature is no VMDK's.
    let mut bytes = sound.clone();
    put32le(&mut bytes, 0, 0x5858_5858);
    assert_eq!(open(&bytes).unwrap().format, Format::Raw);
    // A descriptor that is longer than any is not read.
    let mut bytes = sound;
    bytes.resize(4 << 20, 0);
    put32le(&mut bytes, 36, (2 << 20) / 512);
    refused(&bytes, ErrorKind::Limit, &["descriptor"]);
}

fn put32le(bytes: &mut [u8], at: usize, value: u32) {
    put(bytes, at, &value.to_le_bytes());
}

#[test]
fn vmdk_footer() {
    let sound = vmdk("hand-stream-footer.vmdk.gz");
    let end = sound.len();
    let (marker, footer, eos) = (end - 1536, end - 1024, end - 512);
    assert_eq!(open(&sound).unwrap().format, Format::Vmdk);
    let (corrupt, truncated) = (ErrorKind::Corrupt, ErrorKind::Truncated);
    for (what, at, value, kind, word) in [
        ("signature", footer, 0x6b61_656c, truncated, "truncated"),
        ("version", footer + 4, 2, corrupt, "version"),
        ("flags", footer + 8, 1, corrupt, "flags"),
        ("capacity", footer + 12, 1, corrupt, "capacity"),
        ("longer descriptor", footer + 36, 2, corrupt, "descriptor"),
        ("moved descriptor", footer + 28, 3, corrupt, "descriptor"),
        ("type of the marker", marker + 12, 7, corrupt, "marker"),
        ("size in the marker", marker + 8, 1, corrupt, "marker"),
        ("padding of the marker", marker + 16, 1, corrupt, "marker"),
        ("type of the end", eos + 12, 7, truncated, "truncated"),
        ("padding of the end", eos + 16, 1, truncated, "truncated"),
    ] {
        let mut bytes = sound.clone();
        put32le(&mut bytes, at, value);
        let error = match open(&bytes) {
            Ok(_) => panic!("{what}: this was accepted"),
            Err(error) => error,
        };
        assert_eq!(error.kind(), kind, "{what}: {error}");
        assert!(error.to_string().contains(word), "{what}: {error}");
    }
    // A footer that says that there is another one, and none at all.
    let mut bytes = sound.clone();
    put(&mut bytes, footer + 56, &u64::MAX.to_le_bytes());
    refused(&bytes, ErrorKind::Corrupt, &["footer", "does not say"]);
    let mut bytes = sound;
    bytes[marker..].fill(0);
    refused(&bytes, ErrorKind::Truncated, &["footer"]);
}

#[test]
fn iso_named() {
    for mark in [b"CD001", b"NSR02", b"NSR03", b"BEA01"] {
        let mut bytes = vec![0; 64 << 10];
        put(&mut bytes, 0x8001, mark);
        refused(&bytes, ErrorKind::Unsupported, &["CD or DVD"]);
    }
}

#[test]
fn luks_version() {
    // The disk inside cannot be told from noise, whichever version encrypted it.
    for version in [1_u8, 2, 3] {
        let mut bytes = vec![0; 64 << 10];
        put(&mut bytes, 0, b"LUKS\xba\xbe\0");
        bytes[7] = version;
        refused(&bytes, ErrorKind::Unsupported, &["LUKS"]);
    }
}

/// A raw disk with one partition of `kind` from sector `start`.
fn mbr(kind: u8, start: u32) -> Vec<u8> {
    let mut bytes = vec![0; 64 << 10];
    let mut entry = [0, 0, 2, 0, kind, 0xff, 0xff, 0xff, 0, 0, 0, 0, 64, 0, 0, 0];
    entry[8..12].copy_from_slice(&start.to_le_bytes());
    put(&mut bytes, 446, &entry);
    put(&mut bytes, 510, &[0x55, 0xaa]);
    bytes
}

/// A raw disk that is said to have a GPT, and has the beginning of one.
fn gpt() -> Vec<u8> {
    let mut bytes = mbr(0xee, 1);
    put(&mut bytes, 512, b"EFI PART");
    bytes
}

/// What is said of the partition table of `bytes`, which is a raw disk and read as one whatever it
/// says.
fn said_of_partitions(bytes: &[u8]) -> String {
    let opened = open(bytes).unwrap();
    assert_eq!(opened.format, Format::Raw);
    let mut found = vec![0; bytes.len()];
    let image = opened.image.as_ref();
    image.read_at(diskimg::GuestOffset(0), &mut found).unwrap();
    assert!(found == bytes);
    let table = partitions::read(image).unwrap();
    format!("{}: {}", table.scheme.name(), table.warnings.join("; "))
}

#[test]
fn gpt_format_match() {
    // Partition tables are what disks begin with: raw stays raw.
    assert_eq!(said_of_partitions(&mbr(0x83, 2)), "MBR: ");
    assert!(said_of_partitions(&gpt()).starts_with("GPT: "));
    // A FAT file system without partitions begins with the same two bytes.
    let mut fat = vec![0; 64 << 10];
    put(&mut fat, 0, b"\xeb\x3c\x90mkfs.fat");
    fat[0x10] = 2;
    fat[0x15] = 0xf8;
    put(&mut fat, 510, &[0x55, 0xaa]);
    assert!(!said_of_partitions(&fat).starts_with("MBR"));
}

#[test]
fn gpt_mbr_boot_flag() {
    let mut bytes = mbr(0x83, 2);
    bytes[446] = 0x0a;
    assert_eq!(said_of_partitions(&bytes), "none: ");
}

#[test]
fn gpt_mbr_start_chs() {
    // Geometry: nobody uses it, and programs differ in what they write.
    let mut bytes = gpt();
    bytes[447] = 1;
    assert_eq!(said_of_partitions(&bytes), said_of_partitions(&gpt()));
}

#[test]
fn gpt_mbr_start_lba() {
    let bytes = whole_gpt();
    assert_eq!(said_of_partitions(&bytes), "GPT: ");
    let mut moved = bytes.clone();
    moved[446 + 8] = 2;
    let said = said_of_partitions(&moved);
    assert!(said.contains("begins at sector 2, expected 1"), "{said}");
}

#[test]
fn gpt_mbr_extra_partitions() {
    let mut bytes = whole_gpt();
    let mut entry = [0, 0, 2, 0, 0x83, 0, 0, 0, 9, 0, 0, 0, 64, 0, 0, 0];
    put(&mut bytes, 462, &entry);
    let said = said_of_partitions(&bytes);
    assert!(said.contains("hybrid MBR"), "{said}");
    entry[4] = 0xee;
    put(&mut bytes, 462, &entry);
    assert!(said_of_partitions(&bytes).starts_with("GPT: "));
}

#[test]
fn gpt_mbr_no_partitions() {
    let mut bytes = mbr(0, 0);
    assert_eq!(said_of_partitions(&bytes), "none: ");
    bytes[446..462].fill(0);
    assert_eq!(said_of_partitions(&bytes), "none: ");
}

/// A raw disk with a GPT and its backup, and no partition.
fn whole_gpt() -> Vec<u8> {
    let mut bytes = mbr(0xee, 1);
    let last = (bytes.len() / 512 - 1) as u64;
    let header = |here: u64, other: u64, entries: u64| {
        let mut header = [0; 92];
        put(&mut header, 0, b"EFI PART\0\0\x01\0\x5c\0\0\0");
        let fields = [here, other, 34, last - 33];
        for (index, field) in fields.into_iter().enumerate() {
            put(&mut header, 24 + index * 8, &field.to_le_bytes());
        }
        put(&mut header, 72, &entries.to_le_bytes());
        put(&mut header, 84, &128_u32.to_le_bytes());
        let crc = libdeflater::crc32(&header);
        put(&mut header, 16, &crc.to_le_bytes());
        header
    };
    put(&mut bytes, 512, &header(1, last, 2));
    put(&mut bytes, last as usize * 512, &header(last, 1, last - 32));
    bytes
}

fn vhdx() -> Vec<u8> {
    Craft::new(&[FULLY_PRESENT]).make().bytes
}

#[test]
fn vhdx_clean() {
    assert_eq!(open(&vhdx()).unwrap().format, Format::Vhdx);
}

/// A VHDX both of whose region tables are changed, with right checksums.
fn with_regions(change: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut bytes = vhdx();
    for (index, at) in REGIONS.into_iter().enumerate() {
        change(&mut bytes[at..at + (64 << 10)]);
        seal_regions(&mut bytes, index);
    }
    bytes
}

#[test]
fn vhdx_region_signature() {
    let bytes = with_regions(|table| table[..4].copy_from_slice(b"rego"));
    refused(&bytes, ErrorKind::Corrupt, &["region table"]);
}

#[test]
fn vhdx_region_count() {
    for count in [2048, u32::MAX] {
        let bytes = with_regions(|table| put32(table, 8, count));
        refused(&bytes, ErrorKind::Corrupt, &["region table"]);
    }
}

#[test]
fn vhdx_region_missing() {
    let bytes = with_regions(|table| put32(table, 8, 1));
    refused(&bytes, ErrorKind::Corrupt, &["region"]);
}

#[test]
fn vhdx_metadata_signature() {
    let mut bytes = vhdx();
    bytes[METADATA] ^= 1;
    refused(&bytes, ErrorKind::Corrupt, &["metadata"]);
}

#[test]
fn vhdx_metadata_count() {
    for count in [2048_u16, u16::MAX] {
        let mut bytes = vhdx();
        put(&mut bytes, METADATA + 10, &count.to_le_bytes());
        refused(&bytes, ErrorKind::Corrupt, &["metadata"]);
    }
}

#[test]
fn vhdx_virtual_disk_size_missing() {
    let mut bytes = vhdx();
    let size = items()[1];
    let mut entries = (METADATA + 32..).step_by(32).take(5);
    let at = entries.find(|at| bytes[*at..at + 16] == size).unwrap();
    // Another item, that nobody has to know.
    bytes[at] ^= 1;
    put32(&mut bytes, at + 24, 2);
    refused(&bytes, ErrorKind::Corrupt, &["virtual disk size"]);
}

#[test]
fn vhdx_metadata_item_length() {
    // The item is 8 bytes long; another length is neither cut nor read.
    let size = items()[1];
    let clean = vhdx();
    let mut entries = (METADATA + 32..).step_by(32).take(5);
    let at = entries.find(|at| clean[*at..at + 16] == size).unwrap();
    for len in [0, 7, 16, 33 * 2048, (1 << 20) + 1, u32::MAX] {
        let mut bytes = clean.clone();
        put32(&mut bytes, at + 20, len);
        refused(&bytes, ErrorKind::Corrupt, &["virtual disk size"]);
    }
}

#[test]
fn incomplete_file() {
    // What ends before everything could be looked at is refused, and never taken for a raw disk.
    let qcow2 = qcow2(3);
    for len in [4, 8, 71, 100, 104, 511, 512] {
        let error = open(&qcow2[..len]).expect_err("it ends in the header or before its table");
        assert!(
            matches!(error.kind(), ErrorKind::Truncated | ErrorKind::Corrupt),
            "{len}: {error}"
        );
    }
    let vhdx = vhdx();
    for len in [8, 512, 64 << 10, 200 << 10, 300 << 10, 1 << 20] {
        let error = open(&vhdx[..len]).expect_err("it ends before its metadata");
        assert!(
            matches!(error.kind(), ErrorKind::Truncated | ErrorKind::Corrupt),
            "{len}: {error}"
        );
    }
    let error = open(b"conectix").expect_err("there is no more of the footer");
    assert!(
        matches!(error.kind(), ErrorKind::Truncated | ErrorKind::Corrupt),
        "{error}"
    );
    refused(b"", ErrorKind::Truncated, &["empty"]);
}

#[test]
fn expected_format() {
    // Who names a format gets that one or an error, whatever else the content may be.
    let (qcow2, vhdx) = (qcow2(3), vhdx());
    for (bytes, format) in [
        (&qcow2, Format::Vhdx),
        (&qcow2, Format::Vhd),
        (&vhdx, Format::Qcow2),
        (&vec![0; 1 << 20], Format::Qcow2),
        (&mbr(0x83, 2), Format::Vhdx),
    ] {
        let source = Arc::new(MemorySource(bytes.clone()));
        let error = open_source(source, &OpenOptions::of(Some(format)), &[]).err();
        assert_eq!(error.map(|e| e.kind()), Some(ErrorKind::Corrupt));
    }
}

#[test]
fn invalid_data() {
    // The inspector takes a source file for a raw disk; we ask.
    let text = include_bytes!("format_inspector.rs");
    let error = refused(text, ErrorKind::Ambiguous, &["text"]);
    assert!(
        error
            .hint()
            .is_some_and(|hint| matches!(hint, Hint::NameFormat(_) | Hint::OpenAsRaw))
    );
}

#[test]
fn bad_iso_qcow2() {
    // A qcow2 header in the system area of a CD.
    let mut iso = vec![0; 1 << 20];
    put(&mut iso, 0, &qcow2(3)[..32 << 10]);
    put(&mut iso, 0x8001, b"CD001");
    refused(&iso, ErrorKind::Ambiguous, &["qcow2 and ISO 9660"]);
}

#[test]
fn multiple_formats_with_a_partition_table() {
    // Who takes it for a raw disk checks what no program boots, or boots what nobody checked.
    let mut bytes = qcow2(3);
    let mbr = mbr(0x83, 2);
    put(&mut bytes, 446, &mbr[446..512]);
    refused(
        &bytes,
        ErrorKind::Ambiguous,
        &["qcow2 and a disk with a boot sector"],
    );
    let mut bytes = vhdx();
    put(&mut bytes, 510, &[0x55, 0xaa]);
    refused(
        &bytes,
        ErrorKind::Ambiguous,
        &["vhdx and a disk with a boot sector"],
    );
    // Named, it is read as what it is said to be.
    let source = Arc::new(MemorySource(bytes));
    let opened = open_source(source, &OpenOptions::of(Some(Format::Vhdx)), &[]);
    assert_eq!(opened.unwrap().format, Format::Vhdx);
}

#[test]
fn multiple_formats() {
    let mut iso = qcow2(3);
    put(&mut iso, 0x8001, b"CD001");
    let mut two = qcow2(3);
    let end = two.len();
    put(&mut two, end - 512, b"conectix");
    let mut vdi = qcow2(3);
    put(&mut vdi, 0x40, &[0x7f, 0x10, 0xda, 0xbe]);
    for bytes in [&iso, &two, &vdi] {
        let error = refused(bytes, ErrorKind::Ambiguous, &["more than one format"]);
        assert!(
            error
                .hint()
                .is_some_and(|hint| matches!(hint, Hint::NameFormat(_) | Hint::OpenAsRaw))
        );
    }
}

#[test]
fn cve_2024_32498_qcow2_data_file() {
    // The data file is one of the host's; reading it would make it the disk's content.
    for name in [
        &b"/etc/passwd"[..],
        br#"json:{"driver":"file","filename":"/etc/passwd"}"#,
        b"/dev/sda",
    ] {
        let bytes = with_data_file(name);
        refused(&bytes, ErrorKind::Unsupported, &["external data file"]);
        // Said to be raw it is raw: the header's bytes, and not what it points to.
        let source = Arc::new(MemorySource(bytes.clone()));
        let raw = open_source(source, &OpenOptions::of(Some(Format::Raw)), &[]).unwrap();
        let mut found = vec![0; bytes.len()];
        raw.image
            .read_at(diskimg::GuestOffset(0), &mut found)
            .unwrap();
        assert!(found == bytes);
    }
}

#[test]
fn cve_2022_47951_vmdk_flat_descriptor() {
    for text in [
        "# Disk DescriptorFile\nversion=1\ncreateType=\"monolithicFlat\"\nRW 2048 FLAT \"/etc/passwd\" 0\n",
        // Without its first line, which QEMU does not need, it is text.
        "version=1\ncreateType=\"monolithicFlat\"\nRW 2048 FLAT \"/etc/passwd\" 0\n",
        "\n\n# comment\nVERSION=1\nRW 2048 FLAT \"/etc/passwd\" 0\n",
    ] {
        let mut padded = text.as_bytes().to_vec();
        padded.resize(512, b' ');
        not_read(text.as_bytes());
        not_read(&padded);
        // What follows may look like a disk; QEMU reads the lines.
        for byte in [0, 1, 0xff] {
            let mut disk = text.as_bytes().to_vec();
            disk.resize(1 << 20, byte);
            not_read(&disk);
        }
    }
    // The type of disk is enough, wherever it stands in the text.
    let mut disk =
        b"KEY=1\ncreatetype=\"monolithicFlat\"\nRW 2048 FLAT \"/etc/passwd\" 0\n".to_vec();
    disk.resize(1 << 20, 0);
    not_read(&disk);
    // In front of a disk's worth of zeros it is still no disk.
    let mut disk = b"# Disk DescriptorFile\nversion=1\nRW 2048 FLAT \"/etc/passwd\" 0\n".to_vec();
    disk.resize(1 << 20, 0);
    not_read(&disk);
    // Inside a sparse extent of no size.
    let mut disk = vmdk_of("createType=\"monolithicFlat\"\nRW 2048 FLAT \"/etc/passwd\" 0\n");
    put(&mut disk, 12, &0_u64.to_le_bytes());
    refused(&disk, ErrorKind::Unsupported, &["monolithicFlat"]);
}

/// A descriptor that names a file of the host is refused, and never taken for a disk.
#[track_caller]
fn not_read(bytes: &[u8]) {
    let error = match open(bytes) {
        Ok(opened) => panic!("this was accepted as {}", opened.format),
        Err(error) => error,
    };
    let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    match error.kind() {
        ErrorKind::Unsupported | ErrorKind::Ambiguous => {}
        // It starts as a descriptor does, and lacks the type.
        ErrorKind::Corrupt if !text.contains("createtype") => {}
        kind => panic!("{kind:?}: {error}"),
    }
    let told = error.to_string();
    let named = told.contains("not opened") || told.contains("createType");
    assert!(named, "{error}");
    let hint = error.hint().map(ToString::to_string).unwrap_or_default();
    assert!(
        !hint.contains("raw") && !hint.contains("qemu-img"),
        "{hint}"
    );
}

#[test]
fn backing_files_that_are_no_files_are_refused_like_others() {
    for name in [
        &br#"json:{"driver":"qcow2","file":{"driver":"file","filename":"/etc/shadow"}}"#[..],
        b"nbd://127.0.0.1/export",
        b"http://169.254.169.254/latest/meta-data",
        b"fat:/etc",
    ] {
        refused(&with_backing(name), ErrorKind::Unsupported, &["backing"]);
    }
}
