//! Telling formats apart, and refusing what is no disk.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use diskimg::open_source;
use diskimg::{ErrorKind, Format, Hint, MemorySource, OpenOptions};
use tempfile::TempDir;
use testkit::qemu;

use crate::craft::mixed;
use crate::refused;

fn open(bytes: Vec<u8>, format: Option<Format>) -> diskimg::Result<diskimg::Opened> {
    open_source(Arc::new(MemorySource(bytes)), &OpenOptions::of(format), &[])
}

/// Bytes that nothing claims, with `mark` at `at`.
fn marked(at: usize, mark: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..=250).cycle().take(64 << 10).collect();
    bytes[at..at + mark.len()].copy_from_slice(mark);
    bytes
}

const END: usize = (64 << 10) - 512;

/// Marks of formats that are not read here, from their own documents.
const FOREIGN: &[(&str, usize, &[u8])] = &[
    ("QED", 0, b"QED\0"),
    ("QCOW version 1", 0, b"QFI\xfb\0\0\0\x01"),
    ("Parallels", 0, b"WithoutFreeSpace"),
    ("Parallels", 0, b"WithouFreSpacExt"),
    ("DMG", END, b"koly"),
    ("Bochs", 0, b"Bochs Virtual HD Image"),
    ("EWF", 0, b"EVF\x09\x0d\x0a\xff\0"),
    ("LUKS", 0, b"LUKS\xba\xbe"),
    ("ISO 9660", 0x8001, b"CD001"),
    ("UDF", 0x8001, b"NSR02"),
    ("UDF", 0x8001, b"BEA01"),
    ("zip", 0, b"PK\x03\x04"),
    ("7z", 0, b"7z\xbc\xaf\x27\x1c"),
    ("RAR", 0, b"Rar!\x1a\x07"),
    ("tar", 257, b"ustar"),
];

/// Compressed streams, of which nothing follows their mark here.
const STREAMS: &[(&str, &[u8])] = &[
    ("gzip", b"\x1f\x8b"),
    ("xz", b"\xfd7zXZ\0"),
    ("bzip2", b"BZh"),
    ("zstd", b"\x28\xb5\x2f\xfd"),
    ("lz4", b"\x04\x22\x4d\x18"),
];

#[test]
fn a_stream_that_cannot_be_decoded_is_named_and_is_a_disk_only_if_somebody_says_so() {
    for &(name, mark) in STREAMS {
        let error = refused(open(marked(0, mark), None));
        assert!(
            matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Truncated),
            "{error}"
        );
        assert!(error.to_string().contains(name), "{error} is not {name}");
        let opened = open(marked(0, mark), Some(Format::Raw)).unwrap();
        assert_eq!(opened.format, Format::Raw);
        assert_eq!(opened.image.virtual_size(), 64 << 10);
    }
}

#[test]
fn foreign_formats_are_refused_by_name_when_raw_is_only_guessed() {
    assert_eq!(open(marked(0, b""), None).unwrap().format, Format::Raw);
    for &(name, at, mark) in FOREIGN {
        let error = refused(open(marked(at, mark), None));
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.to_string().contains(name), "{error} is not {name}");
        assert!(error.hint().is_some());
        // Whoever says that it is a disk, gets it.
        let opened = open(marked(at, mark), Some(Format::Raw)).unwrap();
        assert_eq!(opened.format, Format::Raw);
        assert_eq!(opened.image.virtual_size(), 64 << 10);
    }
}

#[test]
fn images_that_qemu_makes_in_other_formats_are_refused_by_name() {
    if qemu::missing() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("disk");
    for (format, options, name) in [
        ("qed", "cluster_size=64k", "QED"),
        ("qcow", "encryption=off", "QCOW version 1"),
        ("parallels", "cluster_size=1M", "Parallels"),
    ] {
        qemu::img([
            "create",
            "-f",
            format,
            "-o",
            options,
            path.to_str().unwrap(),
            "4M",
        ]);
        let error = refused(diskimg::open(&path, &OpenOptions::default(), &[]));
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(
            error.to_string().contains(&format!("this is {name}")),
            "{error}"
        );
        std::fs::remove_file(&path).unwrap();
    }
}

/// What the refusal of a foreign file tells the user to type.
fn command_in(hint: &str) -> &str {
    hint.rsplit_once(": ").map_or("", |(_, command)| command)
}

#[test]
fn the_command_in_a_refusal_makes_a_disk_of_the_file() {
    let dir = TempDir::new().unwrap();
    let disk: Vec<u8> = (0..=250_u8).cycle().take(64 << 10).collect();
    let plain = dir.path().join("disk.img");
    let sh = |line: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-c", line]).current_dir(dir.path());
        shell.stderr(std::process::Stdio::null()).status().unwrap()
    };
    // Names that a shell would take apart.
    for (packed, pack) in [
        ("a disk.gz", "gzip -c disk.img > 'a disk.gz'"),
        ("it's.xz", r#"xz -c disk.img > "it's.xz""#),
        ("disk.bz2", "bzip2 -c disk.img > disk.bz2"),
        ("disk.zst", "zstd -qc disk.img > disk.zst"),
        ("disk.lz4", "lz4 -qc disk.img > disk.lz4"),
        ("$HOME;.zip", "zip -q '$HOME;.zip' disk.img"),
        ("disk.tar", "tar -cf disk.tar disk.img"),
    ] {
        std::fs::write(&plain, &disk).unwrap();
        if !sh(pack).success() {
            eprintln!("skipped: {pack}");
            continue;
        }
        std::fs::remove_file(&plain).unwrap();
        let path = dir.path().join(packed);
        let hint = match diskimg::open(&path, &OpenOptions::default(), &[]) {
            // It needs no command.
            Ok(opened) => {
                let read = crate::read_all(opened.image.as_ref(), 1 << 16);
                assert!(read.unwrap() == disk, "{packed}");
                continue;
            }
            Err(error) => error.hint().unwrap().to_string(),
        };
        assert!(
            packed.ends_with("zip") || packed.ends_with("tar"),
            "{packed}"
        );
        assert!(sh(command_in(&hint)).success(), "{packed}: {hint}");
        let opened = diskimg::open(&plain, &OpenOptions::default(), &[]).unwrap();
        assert!(
            crate::read_all(opened.image.as_ref(), 1 << 16).unwrap() == disk,
            "{hint}"
        );
    }
    if qemu::missing() {
        return;
    }
    std::fs::write(&plain, &disk).unwrap();
    for format in ["qed", "qcow", "parallels"] {
        let path = dir.path().join(format!("a disk.{format}"));
        let from = ["convert", "-f", "raw", "-O", format].map(Path::new);
        qemu::img(from.into_iter().chain([plain.as_path(), &path]));
        let error = refused(diskimg::open(&path, &OpenOptions::default(), &[]));
        let hint = error.hint().unwrap().to_string();
        assert!(sh(command_in(&hint)).success(), "{format}: {hint}");
        let made = dir.path().join("disk.qcow2");
        let opened = diskimg::open(&made, &OpenOptions::default(), &[]).unwrap();
        let found = crate::read_all(opened.image.as_ref(), 1 << 16).unwrap();
        // Some of them hold whole clusters only.
        assert!(found[..disk.len()] == disk, "{hint}");
    }
}

#[test]
fn every_refusal_of_a_foreign_format_says_what_to_type() {
    for (name, at, mark) in FOREIGN {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, marked(*at, mark)).unwrap();
        let error = refused(diskimg::open(&path, &OpenOptions::default(), &[]));
        let hint = error.hint().unwrap().to_string();
        assert!(hint.contains(path.to_str().unwrap()), "{name}: {hint}");
    }
}

#[test]
fn text_is_never_taken_for_a_disk_silently() {
    for text in [
        b"#!/bin/sh\necho this is a script\n".to_vec(),
        "naïve — UTF-8\n".repeat(10_000).into_bytes(),
        b"caf\xe9 in Latin-1\r\n".repeat(500),
        b"\xff\xfeU\0T\0F\0-\x001\x006\0\r\0\n\0".to_vec(),
    ] {
        let error = refused(open(text.clone(), None));
        assert_eq!(error.kind(), ErrorKind::Ambiguous);
        assert!(error.hint().is_some_and(|hint| *hint == Hint::OpenAsRaw));
        assert_eq!(open(text, Some(Format::Raw)).unwrap().format, Format::Raw);
    }
}

#[test]
fn a_file_that_two_formats_claim_is_refused_unless_the_user_decides() {
    let mut bytes = mixed(3, 12, false).bytes;
    let end = bytes.len().next_multiple_of(512);
    bytes.resize(end, 0);
    bytes.extend(b"conectix".iter().chain(&[0; 504]));
    let error = refused(open(bytes.clone(), None));
    assert_eq!(error.kind(), ErrorKind::Ambiguous);
    assert!(error.to_string().contains("qcow2 and vhd"), "{error}");
    assert!(
        error
            .hint()
            .is_some_and(|hint| matches!(hint, Hint::NameFormat(_) | Hint::OpenAsRaw))
    );
    for format in [Format::Qcow2, Format::Raw] {
        assert_eq!(open(bytes.clone(), Some(format)).unwrap().format, format);
    }
}

#[test]
fn an_image_with_the_beginning_of_a_disk_is_refused_unless_the_user_decides() {
    let image = mixed(3, 12, false);
    for (at, mark, name) in [
        (510, &b"\x55\xaa"[..], "a disk with a boot sector"),
        (512, b"EFI PART", "a disk with a GPT"),
    ] {
        let bytes = image.with(at, mark);
        let error = refused(open(bytes.clone(), None));
        assert_eq!(error.kind(), ErrorKind::Ambiguous);
        assert!(error.to_string().contains(name), "{error}");
        assert!(error.to_string().contains("qcow2"), "{error}");
        let hint = error.hint().unwrap().to_string();
        assert!(hint.ends_with("raw or qcow2"), "{hint}");
    }
}

#[test]
fn a_mark_in_the_last_sector_makes_no_other_format_of_a_disk() {
    // Also of a format that is only refused: what its hint converts would be another disk.
    for (at, mark) in [
        (510, &b"\x55\xaa"[..]),
        (4096, b"EFI PART"),
        (512, b"LABELONE\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0LVM2 001"),
        (0, b"XFSB"),
    ] {
        let mut bytes = marked(at, mark);
        bytes[END..END + 4].copy_from_slice(b"koly");
        let error = refused(open(bytes.clone(), None));
        assert_eq!(error.kind(), ErrorKind::Ambiguous, "{error}");
        assert!(error.to_string().contains("DMG"), "{error}");
        assert!(
            error
                .hint()
                .is_some_and(|hint| *hint == Hint::NameFormat(vec![Format::Raw]))
        );
        assert_eq!(open(bytes, Some(Format::Raw)).unwrap().format, Format::Raw);
    }
}

#[test]
fn an_image_that_is_called_like_a_raw_disk_opens_with_a_warning() {
    let dir = TempDir::new().unwrap();
    let image = mixed(3, 12, false);
    for (name, warns) in [
        ("a.raw", true),
        ("a.IMG", true),
        ("a.dd", true),
        ("a.qcow2", false),
        ("a", false),
    ] {
        let path = dir.path().join(name);
        std::fs::write(&path, &image.bytes).unwrap();
        let warnings = |format| {
            let opened = diskimg::open(&path, &OpenOptions::of(format), &[]).unwrap();
            opened.image.details().warnings
        };
        let found = warnings(None);
        let told = found
            .iter()
            .any(|text| text.contains("the content is qcow2"));
        assert_eq!(told, warns, "{name}: {found:?}");
        assert_eq!(warnings(Some(Format::Qcow2)), [""; 0]);
        let checked = diskimg::check(&path, &OpenOptions::default(), &[], &|| false).unwrap();
        let told = checked.findings.iter().any(|found| found.rule == "name");
        assert_eq!(told, warns, "{name}");
    }
}

#[test]
fn qcow2_is_told_by_content_and_a_wrong_format_is_refused() {
    let bytes = mixed(2, 9, false).bytes;
    let opened = open(bytes.clone(), None).unwrap();
    assert_eq!(opened.format, Format::Qcow2);
    let details = opened.image.details();
    assert_eq!(details.variant.as_deref(), Some("version 2"));
    assert_eq!(details.cluster_size, Some(512));
    assert_eq!(details.compression.as_deref(), Some("zlib"));

    let error = refused(open(marked(0, b""), Some(Format::Qcow2)));
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let error = refused(open(bytes, Some(Format::Zvhd2)));
    assert_eq!(
        error.kind(),
        ErrorKind::Unsupported,
        "its driver was not passed"
    );
}

#[test]
fn what_is_no_file_is_refused_without_waiting_for_it() {
    let dir = TempDir::new().unwrap();
    let fifo = dir.path().join("pipe");
    let made = Command::new("mkfifo").arg(&fifo).status();
    assert!(made.is_ok_and(|status| status.success()));
    for (path, word) in [
        (dir.path(), "a directory"),
        (fifo.as_path(), "a pipe"),
        (Path::new("/dev/zero"), "a character device"),
    ] {
        for format in [None, Some(Format::Raw)] {
            let error = refused(diskimg::open(path, &OpenOptions::of(format), &[]));
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.to_string().contains(word), "{error}");
            assert!(error.to_string().starts_with(path.to_str().unwrap()));
            let hint = "save it to a file first, or give - where the command takes it".into();
            assert_eq!(error.hint(), (path == fifo).then_some(&hint));
        }
    }
    let missing = dir.path().join("missing");
    let error = refused(diskimg::open(&missing, &OpenOptions::default(), &[]));
    assert_eq!(error.kind(), ErrorKind::Io);
}

#[test]
fn a_block_device_is_read_whole_in_any_format() {
    let dir = TempDir::new().unwrap();
    let image = mixed(3, 16, false);
    let mut raw: Vec<u8> = (0..=250_u8).cycle().take(1 << 20).collect();
    raw[..8].fill(0);
    for (bytes, format) in [(raw, Format::Raw), (image.bytes, Format::Qcow2)] {
        let path = dir.path().join("disk");
        let mut file = bytes.clone();
        file.resize(file.len().next_multiple_of(4096), 0);
        std::fs::write(&path, &file).unwrap();
        let made = Command::new("losetup")
            .args(["--find", "--show", "--read-only"])
            .arg(&path)
            .output();
        let Some(made) = made.ok().filter(|made| made.status.success()) else {
            eprintln!("skipped: no loop device can be made");
            return;
        };
        let device = String::from_utf8(made.stdout).unwrap();
        let device = Path::new(device.trim_end());
        let opened = diskimg::open(device, &OpenOptions::default(), &[]);
        let read = opened.and_then(|opened| {
            let sizes = (opened.file_len, opened.bytes_on_disk);
            let content = crate::read_all(opened.image.as_ref(), 1 << 16)?;
            Ok((opened.format, sizes, content))
        });
        let freed = Command::new("losetup").arg("--detach").arg(device).status();
        assert!(freed.unwrap().success());
        let (found, sizes, content) = read.unwrap();
        assert_eq!(found, format);
        assert_eq!(sizes, (file.len() as u64, file.len() as u64));
        let opened = diskimg::open(&path, &OpenOptions::of(Some(format)), &[]).unwrap();
        let expected = crate::read_all(opened.image.as_ref(), 1 << 16).unwrap();
        assert!(content == expected, "{format}");
    }
}

#[test]
fn errors_while_reading_name_the_file() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("cut.qcow2");
    let image = mixed(3, 12, false);
    std::fs::write(&path, &image.bytes[..image.stored[6].unwrap()]).unwrap();
    let opened = diskimg::open(&path, &OpenOptions::default(), &[]).unwrap();
    let error = refused(crate::read(opened.image.as_ref(), 6 * 4096, 512));
    assert_eq!(error.kind(), ErrorKind::Truncated);
    assert!(error.to_string().contains("cut.qcow2"), "{error}");
    assert!(
        error.to_string().contains("data cluster at offset"),
        "{error}"
    );
}
