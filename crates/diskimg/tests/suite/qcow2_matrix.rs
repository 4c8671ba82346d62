//! Images that QEMU makes, read by us, by QEMU, by imago and by qcow2-rs: all must agree.

use std::path::Path;
use std::sync::OnceLock;

use diskimg::{ExtentKind, Format, OpenOptions, Opened};
use tempfile::TempDir;
use testkit::content::Content;
use testkit::qemu;

use crate::witness::{Imago, qcow2_rs};
use crate::{assert_gaps_are_zero, assert_same, extents, open_bytes, read_all, total};

/// Which other readers can read an image.
#[derive(Clone, Copy, PartialEq)]
enum Witnesses {
    /// imago and qcow2-rs.
    Both,
    /// Not qcow2-rs: it hangs on clusters below 4 KiB.
    Imago,
    /// Neither: zstd, dirty bit.
    None,
}

/// What QEMU says lies where.
struct Mapped {
    start: usize,
    len: usize,
    /// Bytes are stored and not known to be zero.
    data: bool,
}

fn qemu_map(path: &Path) -> Vec<Mapped> {
    let map = qemu::img(["map", "--output=json", path.to_str().unwrap()]);
    let map: serde_json::Value = serde_json::from_str(&map).unwrap();
    map.as_array()
        .unwrap()
        .iter()
        .map(|entry| Mapped {
            start: entry["start"].as_u64().unwrap() as usize,
            len: entry["length"].as_u64().unwrap() as usize,
            data: entry["data"].as_bool().unwrap() && !entry["zero"].as_bool().unwrap(),
        })
        .collect()
}

/// Opens `path` by content and holds every byte and every extent against QEMU and the witnesses.
#[track_caller]
fn agree(path: &Path, witnesses: Witnesses, what: &str) -> Opened {
    let opened = diskimg::open(path, &OpenOptions::default(), &[]).unwrap();
    assert_eq!(opened.format, Format::Qcow2);
    let image = opened.image.as_ref();
    let expected = qemu::content(path);
    assert_same(
        &read_all(image, 2 << 20).unwrap(),
        &expected,
        &format!("{what}: 2 MiB reads"),
    );
    assert_same(
        &read_all(image, 24_064).unwrap(),
        &expected,
        &format!("{what}: odd reads"),
    );

    let found = extents(image).unwrap();
    assert_gaps_are_zero(&found, &expected);
    // From memory, so that holes of the file system do not matter, the metadata must say the same.
    let bytes = std::fs::read(path).unwrap();
    let by_metadata = extents(&open_bytes(&bytes).unwrap()).unwrap();
    let map = qemu_map(path);
    let data = map
        .iter()
        .filter(|m| m.data)
        .map(|m| m.len as u64)
        .sum::<u64>();
    assert!(total(&by_metadata, ExtentKind::Data) >= data);
    assert!(total(&found, ExtentKind::Data) <= total(&by_metadata, ExtentKind::Data));
    let preallocated = total(&found, ExtentKind::Data) < total(&by_metadata, ExtentKind::Data);
    if !preallocated {
        assert_eq!(
            total(&by_metadata, ExtentKind::Data),
            data,
            "{what}: data in total"
        );
    }
    for known in map.iter().filter(|m| !m.data) {
        let zero = &expected[known.start..known.start + known.len];
        assert!(diskimg::zero::is_zero(zero));
    }

    if witnesses != Witnesses::None {
        let imago = Imago::open(path).expect("imago opens the image");
        assert_eq!(imago.size(), image.virtual_size());
        let read = imago.read(0, expected.len()).unwrap();
        assert_same(&read, &expected, &format!("{what}: imago"));
    }
    if witnesses == Witnesses::Both {
        let read = qcow2_rs(path, expected.len());
        assert_same(&read, &expected, &format!("{what}: qcow2-rs"));
    }
    opened
}

/// A raw disk of a bit more than 5 MiB with data of every kind, and its content.
fn reference() -> &'static (TempDir, Content) {
    static REFERENCE: OnceLock<(TempDir, Content)> = OnceLock::new();
    REFERENCE.get_or_init(|| {
        let dir = TempDir::new().unwrap();
        let content = Content::new(7, (5 << 20) + 3 * 512, 512, 300 << 10);
        content.write_sparse(&dir.path().join("disk.raw")).unwrap();
        (dir, content)
    })
}

/// Makes a qcow2 of the reference disk with `qemu-img convert`, and checks it.
#[track_caller]
fn convert_and_agree(flags: &[&str], options: &str, witnesses: Witnesses) {
    let (dir, content) = reference();
    let target = TempDir::new().unwrap();
    let (raw, qcow2) = (
        dir.path().join("disk.raw"),
        target.path().join("disk.qcow2"),
    );
    let mut args = vec!["convert", "-f", "raw", "-O", "qcow2", "-o", options];
    args.extend(flags);
    args.extend([raw.to_str().unwrap(), qcow2.to_str().unwrap()]);
    qemu::img(args);
    let opened = agree(&qcow2, witnesses, &format!("{options} {flags:?}"));
    let read = read_all(opened.image.as_ref(), 1 << 20).unwrap();
    assert_same(&read, &content.bytes, "what was converted");
    assert_eq!(opened.image.details().warnings, [""; 0]);
}

const CLUSTER_SIZES: std::ops::RangeInclusive<u32> = 9..=21;

fn witnesses(cluster_bits: u32) -> Witnesses {
    if cluster_bits >= 12 {
        Witnesses::Both
    } else {
        Witnesses::Imago
    }
}

#[test]
fn version_2_of_every_cluster_size_reads_as_qemu_reads_it() {
    if qemu::missing() {
        return;
    }
    for bits in CLUSTER_SIZES {
        let options = format!("compat=0.10,cluster_size={}", 1 << bits);
        // qcow2-rs reads version 3 fields from version 2 headers.
        convert_and_agree(&[], &options, Witnesses::Imago);
        convert_and_agree(&["-c"], &options, Witnesses::Imago);
    }
}

#[test]
fn version_3_of_every_cluster_size_reads_as_qemu_reads_it() {
    if qemu::missing() {
        return;
    }
    for bits in CLUSTER_SIZES {
        let options = format!("compat=1.1,cluster_size={}", 1 << bits);
        convert_and_agree(&[], &options, witnesses(bits));
        convert_and_agree(&["-c"], &options, witnesses(bits));
    }
}

#[test]
fn zstd_clusters_of_every_size_read_as_qemu_reads_them() {
    if qemu::missing() {
        return;
    }
    for bits in CLUSTER_SIZES {
        let options = format!("compression_type=zstd,cluster_size={}", 1 << bits);
        convert_and_agree(&["-c"], &options, Witnesses::None);
    }
}

#[test]
fn compressed_clusters_written_out_of_order_read_as_qemu_reads_them() {
    if qemu::missing() {
        return;
    }
    convert_and_agree(
        &["-c", "-W", "-m", "8"],
        "cluster_size=16k",
        Witnesses::Both,
    );
}

#[test]
fn every_width_of_reference_counts_reads_alike() {
    if qemu::missing() {
        return;
    }
    for bits in [1, 2, 4, 8, 16, 32, 64] {
        let options = format!("refcount_bits={bits}");
        convert_and_agree(&[], &options, Witnesses::Imago);
    }
}

/// Creates a qcow2 of 8 MiB with `options`, runs `commands` on it, and returns where it is.
fn make(options: &str, commands: &[&str]) -> (TempDir, std::path::PathBuf) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("disk.qcow2");
    let name = path.to_str().unwrap();
    let mut args = vec!["create", "-f", "qcow2"];
    if !options.is_empty() {
        args.extend(["-o", options]);
    }
    args.extend([name, "8M"]);
    qemu::img(args);
    if !commands.is_empty() {
        qemu::io(&path, "qcow2", commands);
    }
    (dir, path)
}

#[test]
fn preallocated_images_report_what_was_never_written_as_holes() {
    if qemu::missing() {
        return;
    }
    for compat in ["0.10", "1.1"] {
        let options = format!("preallocation=metadata,compat={compat}");
        let (_dir, path) = make(&options, &[]);
        let opened = agree(&path, Witnesses::Imago, &options);
        if opened.bytes_on_disk == opened.file_len {
            println!("skipped: the file system has no holes");
            return;
        }
        let empty = extents(opened.image.as_ref()).unwrap();
        assert_eq!(total(&empty, ExtentKind::Data), 0, "{options}");

        qemu::io(&path, "qcow2", &["write -P 0x5a 1M 128k"]);
        let written = extents(agree(&path, Witnesses::Imago, &options).image.as_ref()).unwrap();
        assert_eq!(total(&written, ExtentKind::Data), 128 << 10, "{options}");
    }
}

#[test]
fn images_with_all_clusters_allocated_read_as_qemu_reads_them() {
    if qemu::missing() {
        return;
    }
    // Whether the file system still tells what was never written depends on what was read since.
    for mode in ["falloc", "full"] {
        let options = format!("preallocation={mode}");
        let (_dir, path) = make(&options, &["write -P 0x5a 1M 128k"]);
        agree(&path, Witnesses::Both, &options);
    }
}

#[test]
fn zero_clusters_and_discarded_clusters_read_as_zeros() {
    if qemu::missing() {
        return;
    }
    for options in ["compat=1.1", "compat=1.1,cluster_size=4k", "compat=0.10"] {
        let (_dir, path) = make(
            options,
            &[
                "write -P 0x11 0 4M",
                "write -z 64k 64k",
                "write -z -u 256k 1M",
                "discard 2M 64k",
                "write -z 6M 1M",
                "write -P 0x22 6200k 3k",
            ],
        );
        let opened = agree(&path, Witnesses::Imago, options);
        if options.contains("1.1") {
            let found = extents(opened.image.as_ref()).unwrap();
            assert!(total(&found, ExtentKind::Zero) >= 64 << 10, "{found:?}");
        }
    }
}

#[test]
fn a_dirty_image_is_read_and_warned_about() {
    if qemu::missing() {
        return;
    }
    let (_dir, path) = make("lazy_refcounts=on", &["write -P 0x33 1M 1M"]);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[79] |= 1;
    std::fs::write(&path, bytes).unwrap();
    let warnings = agree(&path, Witnesses::None, "dirty")
        .image
        .details()
        .warnings;
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("dirty bit"), "{warnings:?}");
}

#[test]
fn of_an_image_with_snapshots_the_active_disk_is_read() {
    if qemu::missing() {
        return;
    }
    let (_dir, path) = make("", &["write -P 0x44 0 2M"]);
    for (name, command) in [("one", "write -P 0x55 1M 2M"), ("two", "write -z 0 64k")] {
        qemu::img(["snapshot", "-c", name, path.to_str().unwrap()]);
        qemu::io(&path, "qcow2", &[command]);
    }
    let opened = agree(&path, Witnesses::Both, "snapshots");
    assert_eq!(
        crate::read(opened.image.as_ref(), 1 << 20, 1).unwrap(),
        [0x55]
    );
    let warnings = opened.image.details().warnings;
    assert!(warnings[0].contains("2 internal snapshots"), "{warnings:?}");
}

#[test]
fn bitmaps_and_other_extensions_do_not_disturb() {
    if qemu::missing() {
        return;
    }
    let (_dir, path) = make("", &["write -P 0x66 512k 3M"]);
    qemu::img(["bitmap", "--add", path.to_str().unwrap(), "b0"]);
    agree(&path, Witnesses::Imago, "bitmaps");
}

#[test]
fn sizes_that_are_no_multiple_of_the_cluster_size_are_kept() {
    if qemu::missing() {
        return;
    }
    for size in [512, 1000, 65_536 + 512, (2 << 20) - 512] {
        let dir = TempDir::new().unwrap();
        let (raw, path) = (dir.path().join("d.raw"), dir.path().join("d.qcow2"));
        let content = Content::new(3, size, 1, size);
        content.write_sparse(&raw).unwrap();
        for compress in [&[][..], &["-c"]] {
            let mut args = vec!["convert", "-f", "raw", "-O", "qcow2"];
            args.extend(compress);
            args.extend([raw.to_str().unwrap(), path.to_str().unwrap()]);
            qemu::img(args);
            let what = format!("{size} bytes {compress:?}");
            let opened = agree(&path, Witnesses::Imago, &what);
            assert_eq!(
                opened.image.virtual_size() as usize,
                size.next_multiple_of(512)
            );
        }
    }
}
