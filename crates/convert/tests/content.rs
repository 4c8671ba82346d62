//! What comes out is what went in: digests, ZVHD2, raw, comparing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests"
)]

mod common;
#[allow(unused_imports, reason = "shared with the tests of ZVHD2")]
#[path = "../../zvhd2/tests/common/mod.rs"]
mod writers;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::Ordering;

use common::{BLOCK, Fill, MIB, TestDisk, any_disk, digest, digest_by_definition, plan, zvhd2};
use convert::monitor::CountingMonitor;
use convert::{
    CancelToken, Comparison, Counter, OutputFile, Overwrite, Report, Target, VoidMonitor,
};
use diskimg::{Details, DiskImage, Extent, ExtentKind, Format, GuestOffset};
use proptest::prelude::*;

fn to_raw(image: &dyn DiskImage, threads: usize, path: &Path) -> Report {
    let plan = plan(image, Target::Raw, threads);
    let out = OutputFile::create(path, Overwrite::Refuse).unwrap();
    let report = convert::to_raw(image, &plan, &out, &VoidMonitor, &CancelToken::new()).unwrap();
    out.commit().unwrap();
    report
}

fn compare(a: &dyn DiskImage, b: &dyn DiskImage) -> Comparison {
    convert::compare(a, b, 2, &VoidMonitor, &CancelToken::new()).unwrap()
}

/// Everything the guest sees, through the reader of the given format.
fn read_back(path: &Path, format: Format) -> Vec<u8> {
    let opened = convert::open(path, Some(format)).unwrap();
    let mut content = vec![0xaa; opened.image.virtual_size() as usize];
    opened.image.read_at(GuestOffset(0), &mut content).unwrap();
    content
}

const TINY: &str = "v1:409097c79f0b289de4a3d60a0de1cec8670c1d750fe86caf550113e674b179b0";
/// Digests of the guest content behind the vendor's files.
const GOLDEN: [(&str, &str); 5] = [
    ("tiny", TINY),
    ("tiny-zlib", TINY),
    ("tiny-v1", TINY),
    (
        "empty",
        "v1:b1d1eb5e438cc99a066a4e917a844248b00ad4b5bc3f02824682f7fc69889bf7",
    ),
    (
        "sparse-130g",
        "v1:0bc60325c0838d569da5906162721f572ba1fca8f8611e38bbb1840c9d3b3ce4",
    ),
];

/// The guest content as it is described, without any file.
struct Described(testkit::vectors::Vector);

impl DiskImage for Described {
    fn virtual_size(&self) -> u64 {
        self.0.virtual_size
    }

    fn extent_at(&self, at: GuestOffset, limit: u64) -> diskimg::Result<Extent> {
        let limit = diskimg::clip_extent(at, limit, self.0.virtual_size)?;
        let next = self.0.extents.iter().find(|e| e.offset + e.length > at.0);
        let (kind, end) = match next {
            Some(next) if next.offset <= at.0 => (ExtentKind::Data, next.offset + next.length),
            Some(next) => (ExtentKind::Hole, next.offset),
            None => (ExtentKind::Hole, self.0.virtual_size),
        };
        let len = (end - at.0).min(limit);
        Ok(Extent {
            start: at,
            len,
            kind,
        })
    }

    fn read_at(&self, at: GuestOffset, buf: &mut [u8]) -> diskimg::Result<()> {
        self.0.read_at(at.0, buf);
        Ok(())
    }

    fn details(&self) -> Details {
        Details::new(Format::Raw)
    }
}

#[test]
fn described_content_has_its_golden_digest() {
    for (name, expected) in GOLDEN {
        let disk = Described(testkit::vectors::vector(name).unwrap());
        assert_eq!(digest(&disk).to_string(), expected, "{name}");
    }
}

#[test]
fn the_vendors_files_have_the_golden_digests() {
    for (name, expected) in GOLDEN {
        let vector = testkit::vectors::vector(name).unwrap();
        let opened = convert::open(&vector.path(), None).unwrap();
        for threads in [1, 3] {
            let found = convert::digest(
                opened.image.as_ref(),
                threads,
                &VoidMonitor,
                &CancelToken::new(),
            )
            .unwrap();
            assert_eq!(found.to_string(), expected, "{name}");
        }
    }
}

#[test]
fn zvhd2_of_other_writers_is_a_source_of_conversions() {
    let directory = tempfile::tempdir().unwrap();
    // Exports may have blocks of any size, zlib, and an entry for every block, stored or not.
    for (number, block_size) in [(0, 1 << 20), (1, 2 << 20), (2, 8 << 20)] {
        let full_index = number != 1;
        // The last block is cut, the first one is not stored.
        let virtual_size = 3 * block_size as u64 + 1536;
        let mut guest = vec![0; virtual_size as usize];
        let mut payloads = Vec::new();
        for block in [1, 3] {
            let start = block * block_size;
            let end = (start + block_size).min(guest.len());
            let held = writers::noise(block as u64, 70_000);
            let len = held.len().min(end - start);
            guest[start..start + len].copy_from_slice(&held[..len]);
            let mut content = guest[start..end].to_vec();
            content.resize(block_size, 0);
            payloads.push((block as u32, writers::zlib(&content, false)));
        }
        let file = writers::Crafted {
            block_size: block_size as u32,
            virtual_size,
            zstd: false,
            full_index,
            payloads,
            padding: 0x5a,
        };
        let source = directory.path().join(format!("{number}.zvhd2"));
        fs::write(&source, file.build()).unwrap();
        let opened = convert::open(&source, None).unwrap();
        assert_eq!(opened.format, Format::Zvhd2);
        let image = opened.image.as_ref();

        let raw = directory.path().join(format!("{number}.raw"));
        let report = to_raw(image, 2, &raw);
        assert!(fs::read(&raw).unwrap() == guest, "blocks of {block_size}");
        let (file, again) = zvhd2(image, &plan(image, Target::Zvhd2, 2));
        assert_eq!(again.digest, report.digest);
        let made = directory.path().join(format!("{number}-again.zvhd2"));
        fs::write(&made, file).unwrap();
        assert!(read_back(&made, Format::Zvhd2) == guest);
        let opened = convert::open(&made, None).unwrap();
        assert_eq!(digest(opened.image.as_ref()), report.digest);
    }
}

#[test]
fn the_real_disk_keeps_its_digest_through_qcow2_zvhd2_and_raw() {
    let directory = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/debian-tree.qcow2");
    let source = convert::open(&source, None).unwrap();
    assert_eq!(source.format, Format::Qcow2);
    let image = source.image.as_ref();
    let original = digest(image);

    let (file, report) = zvhd2(image, &plan(image, Target::Zvhd2, 2));
    assert_eq!(report.digest, original);
    let zvhd2_path = directory.path().join("disk.zvhd2");
    fs::write(&zvhd2_path, file).unwrap();
    let through_zvhd2 = convert::open(&zvhd2_path, None).unwrap();
    assert_eq!(through_zvhd2.format, Format::Zvhd2);
    assert_eq!(digest(through_zvhd2.image.as_ref()), original);

    let raw_path = directory.path().join("disk.raw");
    assert_eq!(to_raw(image, 2, &raw_path).digest, original);
    let through_raw = convert::open(&raw_path, None).unwrap();
    assert_eq!(through_raw.format, Format::Raw);
    assert_eq!(digest(through_raw.image.as_ref()), original);

    let found = compare(through_zvhd2.image.as_ref(), through_raw.image.as_ref());
    assert!(found.equal && found.first_difference.is_none());
}

#[test]
fn the_raw_file_is_the_one_that_qemu_makes() {
    let directory = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/debian-tree.qcow2");
    let theirs = directory.path().join("theirs.raw");
    if testkit::missing("qemu-img") {
        return;
    }
    let status = std::process::Command::new("qemu-img")
        .args(["convert", "-O", "raw"])
        .args([&source, &theirs])
        .status();
    assert!(status.unwrap().success());
    let ours = directory.path().join("ours.raw");
    let image = convert::open(&source, None).unwrap().image;
    to_raw(image.as_ref(), 2, &ours);
    // As disks, because their gigabytes of holes are not worth reading.
    let [ours, theirs] = [&ours, &theirs].map(|path| convert::open(path, None).unwrap());
    assert_eq!(ours.file_len, theirs.file_len);
    let found = compare(ours.image.as_ref(), theirs.image.as_ref());
    assert!(found.equal, "{found:?}");
}

proptest! {
    #![proptest_config(common::cases(48))]

    #[test]
    fn any_disk_survives_zvhd2_and_raw(parts in any_disk(), threads in 1..4_usize) {
        let disk = TestDisk::new(&parts);
        let content = disk.all();
        let expected = digest_by_definition(&content);
        prop_assert_eq!(digest(&disk).to_string(), &expected[..]);
        let directory = tempfile::tempdir().unwrap();

        let path = directory.path().join("disk.zvhd2");
        let (file, report) = zvhd2(&disk, &plan(&disk, Target::Zvhd2, threads));
        fs::write(&path, &file).unwrap();
        prop_assert_eq!(report.digest.to_string(), &expected[..]);
        prop_assert_eq!(report.written_bytes, file.len() as u64);
        prop_assert_eq!(report.read_bytes, disk.stored());
        prop_assert!(read_back(&path, Format::Zvhd2) == content, "ZVHD2 holds another disk");

        let path = directory.path().join("disk.raw");
        let report = to_raw(&disk, threads, &path);
        prop_assert_eq!(report.digest.to_string(), &expected[..]);
        prop_assert!(fs::read(&path).unwrap() == content, "raw holds another disk");
    }

    #[test]
    fn comparing_finds_the_first_difference(
        parts in any_disk(),
        at in any::<prop::sample::Index>(),
        seed in any::<u8>(),
    ) {
        let disk = TestDisk::new(&parts);
        // The same stretches but one, which becomes something else.
        let mut other = parts;
        let at = at.index(other.len());
        other[at].1 = Fill::Random(seed);
        let other = TestDisk::new(&other);
        let (a, b) = (disk.all(), other.all());

        let found = compare(&disk, &other);
        prop_assert_eq!(found.digest_a.to_string(), digest_by_definition(&a));
        prop_assert_eq!(found.digest_b.to_string(), digest_by_definition(&b));
        prop_assert_eq!(found.equal, a == b);
        let first = a.iter().zip(&b).position(|(a, b)| a != b);
        prop_assert_eq!(found.first_difference.map(|d| d.offset), first.map(|at| at as u64));
        if let (Some(difference), Some(first)) = (found.first_difference, first) {
            let block_end = (first + 1).next_multiple_of(BLOCK as usize).min(a.len());
            let last = (first..block_end).rfind(|at| a[*at] != b[*at]).unwrap();
            prop_assert_eq!(difference.block, first as u64 / BLOCK);
            prop_assert_eq!(difference.length, (last - first + 1) as u64);
        }
        let differing = a.chunks(BLOCK as usize).zip(b.chunks(BLOCK as usize)).filter(|(a, b)| a != b);
        prop_assert_eq!(found.differing_blocks, differing.count() as u64);
    }
}

#[test]
fn disks_that_differ_in_size_only_are_not_equal() {
    let short = TestDisk::new(&[(MIB, Fill::Text)]);
    let long = TestDisk::new(&[(MIB, Fill::Text), (5 * MIB, Fill::Hole)]);
    let found = compare(&short, &long);
    assert!(!found.equal);
    assert_eq!((found.size_a, found.size_b), (MIB, 6 * MIB));
    assert_eq!(found.first_difference, None);

    let longer = TestDisk::new(&[(MIB, Fill::Text), (3 * MIB, Fill::Hole), (1, Fill::Text)]);
    let difference = compare(&short, &longer).first_difference.unwrap();
    assert_eq!((difference.block, difference.offset), (2, 4 * MIB));
}

#[test]
fn every_number_of_threads_and_window_gives_the_same_bytes() {
    let disk = TestDisk::new(&[
        (3 * MIB, Fill::Text),
        (5 * MIB, Fill::Hole),
        (7 * MIB + 77, Fill::Random(1)),
        (4 * MIB, Fill::Zeros),
        (9 * MIB, Fill::Text),
        (100, Fill::Random(2)),
    ]);
    let mut plan = plan(&disk, Target::Zvhd2, 1);
    let (expected, _) = zvhd2(&disk, &plan);
    for threads in 1..=8 {
        for (window, group) in [(1, 1), (2, 4), (threads + 1, 1), (32, 2), (32, 4)] {
            (plan.threads, plan.window, plan.group) = (threads, window, group);
            let (file, _) = zvhd2(&disk, &plan);
            assert!(
                file == expected,
                "{threads} threads, window {window}, groups of {group}"
            );
        }
    }
}

#[test]
fn holes_are_never_read() {
    // Blocks that are half hole, holes at both ends, and a disk far larger than any memory.
    let disk = TestDisk::new(&[
        (64 * MIB + 5, Fill::Hole),
        (3000, Fill::Text),
        (BLOCK, Fill::Zero),
        (512, Fill::Zeros),
        (1 << 42, Fill::Hole),
        (4 * MIB, Fill::Random(9)),
        (1 << 40, Fill::Zero),
    ]);
    let data = 3000 + 512 + 4 * MIB;
    let monitor = CountingMonitor::default();
    let cancel = CancelToken::new();
    // The disk answers a read of a hole with an error.
    convert::digest(&disk, 3, &monitor, &cancel).unwrap();
    assert_eq!(disk.bytes_read.swap(0, Ordering::Relaxed), data);
    assert_eq!(monitor.get(Counter::GuestBytes), disk.virtual_size());
    assert_eq!(monitor.get(Counter::ReadBytes), data);
    assert_eq!(
        monitor.get(Counter::SkippedBytes),
        disk.virtual_size() - data
    );

    let (_, report) = zvhd2(&disk, &plan(&disk, Target::Zvhd2, 3));
    assert_eq!(disk.bytes_read.swap(0, Ordering::Relaxed), data);
    assert_eq!(
        (report.read_bytes, report.skipped_bytes),
        (data, disk.virtual_size() - data)
    );

    convert::compare(&disk, &disk, 3, &VoidMonitor, &cancel).unwrap();
    assert_eq!(disk.bytes_read.swap(0, Ordering::Relaxed), 2 * data);
}

#[test]
fn zero_blocks_are_read_and_not_stored() {
    let disk = TestDisk::new(&[(10 * MIB, Fill::Zeros), (BLOCK, Fill::Text)]);
    let plan = plan(&disk, Target::Zvhd2, 2);
    let monitor = CountingMonitor::default();
    let mut file = Vec::new();
    let report = convert::to_zvhd2(
        &disk,
        &plan,
        common::IDENTITY,
        &mut file,
        &monitor,
        &CancelToken::new(),
    )
    .unwrap();
    assert_eq!((report.zero_bytes, report.stored_blocks), (10 * MIB, 1));
    assert_eq!(monitor.get(Counter::ZeroBytes), 10 * MIB);
    assert_eq!(monitor.get(Counter::DataBlocks), 1);
    assert_eq!(monitor.get(Counter::WrittenBytes), file.len() as u64);
    assert_eq!(monitor.get(Counter::GuestBytes), disk.virtual_size());
}

#[test]
fn a_raw_file_is_sparse_down_to_pages_and_of_exact_length() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.raw");
    // 1 GiB of holes, zeros that were written, and single pages between zeros.
    let disk = TestDisk::new(&[
        (4096, Fill::Text),
        (4096 * 15, Fill::Zeros),
        (4096, Fill::Text),
        (40 * MIB, Fill::Zeros),
        (1 << 30, Fill::Hole),
        (700, Fill::Text),
    ]);
    let report = to_raw(&disk, 2, &path);
    assert_eq!(report.written_bytes, 2 * 4096 + 1024);
    assert_eq!(report.stored_blocks, 2);
    let found = fs::metadata(&path).unwrap();
    assert_eq!(found.len(), disk.virtual_size());
    assert!(
        found.blocks() * 512 <= 64 << 10,
        "{} sectors",
        found.blocks()
    );
}

#[test]
fn a_plan_for_another_disk_is_refused() {
    let plan = plan(&TestDisk::random(1), Target::Zvhd2, 1);
    let other = TestDisk::random(2);
    let error = convert::to_zvhd2(
        &other,
        &plan,
        common::IDENTITY,
        &mut Vec::new(),
        &VoidMonitor,
        &CancelToken::new(),
    )
    .unwrap_err();
    assert!(matches!(error, convert::Error::Refused { .. }), "{error}");
}
