//! Bitmaps against a slow implementation that shares nothing with the real one.
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

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;

use common::{BLOCK, Fill, MIB, TestDisk, any_disk, cases, plan};
use convert::bitmap::ZVHD2_SECTION;
use convert::{
    Bitmap, CancelToken, OutputFile, Overwrite, ReadHoles, Scan, Target, VoidMonitor,
    to_raw_with_bitmap,
};
use diskimg::{Details, DiskImage, Extent, ExtentKind, Format, GuestOffset};
use proptest::prelude::*;

const SEGMENT_COVERS: u64 = 64 << 30;

/// The bitmap file by its definition: byte for byte of the disk, a bit for every byte that is not
/// 0.
fn by_definition(parts: &[(u64, Fill)]) -> Vec<u8> {
    let size: u64 = parts.iter().map(|part| part.0).sum();
    let mut segments = size / SEGMENT_COVERS;
    if !size.is_multiple_of(SEGMENT_COVERS) || segments == 0 {
        segments += 1;
    }
    let mut file = vec![0_u8; (segments * 4096) as usize];
    let mut at = 0;
    for (len, fill) in parts {
        if !matches!(fill, Fill::Hole | Fill::Zero) {
            for byte in at..at + len {
                if fill.byte(byte) != 0 {
                    let block = byte / 2_097_152;
                    file[(block / 8) as usize] |= 1 << (block % 8);
                }
            }
        }
        at += len;
    }
    file
}

fn scan(image: &dyn DiskImage) -> Scan {
    convert::scan(image, ZVHD2_SECTION, 2, &VoidMonitor, &CancelToken::new()).unwrap()
}

/// Disks whose size lies at the border of a segment, with data at both ends and around the middle.
fn border_disk() -> impl Strategy<Value = Vec<(u64, Fill)>> {
    let around = prop_oneof![
        Just(-BLOCK.cast_signed()),
        Just(-512),
        Just(0),
        Just(512),
        Just(BLOCK.cast_signed()),
        -3000_i64..3000,
    ];
    (any_disk(), any_disk(), 1..3_u64, around).prop_map(|(mut parts, behind, segments, around)| {
        let used: u64 = parts.iter().chain(&behind).map(|part| part.0).sum();
        let size = (segments * SEGMENT_COVERS)
            .checked_add_signed(around)
            .unwrap();
        parts.push((size - used, Fill::Hole));
        parts.extend(behind);
        parts
    })
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn a_bitmap_is_what_its_definition_says(parts in any_disk()) {
        let disk = TestDisk::new(&parts);
        let scan = scan(&disk);
        prop_assert!(scan.bitmap.to_bytes() == by_definition(&parts));
        prop_assert_eq!(scan.digest, common::digest(&disk));
        let read_back = Bitmap::parse(ZVHD2_SECTION, scan.bitmap.to_bytes()).unwrap();
        prop_assert!(read_back.compare(&scan.bitmap).is_exact());
    }

    #[test]
    fn disks_that_end_at_the_border_of_a_segment_have_the_bitmap_of_the_definition(parts in border_disk()) {
        let disk = TestDisk::new(&parts);
        prop_assert!(scan(&disk).bitmap.to_bytes() == by_definition(&parts));
    }

    #[test]
    fn converting_makes_the_same_bitmap_in_its_pass(parts in any_disk(), threads in 1..4_usize) {
        let disk = TestDisk::new(&parts);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk.raw");
        let out = OutputFile::create(&path, Overwrite::Refuse).unwrap();
        let plan = plan(&disk, Target::Raw, threads);
        let (report, bitmap) = to_raw_with_bitmap(
            &disk, &plan, &out, ZVHD2_SECTION, &VoidMonitor, &CancelToken::new(),
        ).unwrap();
        out.commit().unwrap();
        prop_assert!(bitmap.to_bytes() == by_definition(&parts));
        prop_assert_eq!(report.digest, common::digest(&disk));
        prop_assert!(fs::read(&path).unwrap() == disk.all());
    }
}

#[test]
fn a_raw_file_of_a_sparse_disk_is_sparse_and_exactly_as_long() {
    let parts = [
        (MIB, Fill::Random(1)),
        (SEGMENT_COVERS + BLOCK - 2 * MIB - 512, Fill::Hole),
        (MIB + 512, Fill::Random(2)),
    ];
    let disk = TestDisk::new(&parts);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.raw");
    let out = OutputFile::create(&path, Overwrite::Refuse).unwrap();
    let plan = plan(&disk, Target::Raw, 2);
    let cancel = CancelToken::new();
    let (_, bitmap) =
        to_raw_with_bitmap(&disk, &plan, &out, ZVHD2_SECTION, &VoidMonitor, &cancel).unwrap();
    out.commit().unwrap();
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!(metadata.len(), SEGMENT_COVERS + BLOCK);
    assert!(
        metadata.blocks() * 512 < 4 * MIB,
        "{} on disk",
        metadata.blocks() * 512
    );
    let mut last = vec![0; 512];
    let mut file = fs::File::open(&path).unwrap();
    file.seek(SeekFrom::End(-512)).unwrap();
    file.read_exact(&mut last).unwrap();
    assert!(last == disk.content(metadata.len() - 512..metadata.len()));
    // The file found on disk has the same bitmap: 32768 blocks, and one in a second segment.
    let found = scan(
        convert::open(&path, Some(Format::Raw))
            .unwrap()
            .image
            .as_ref(),
    );
    assert!(found.bitmap.compare(&bitmap).is_exact());
    assert_eq!(found.bitmap.figures().segments, 2);
    assert!(found.bitmap.get(32768) && found.bitmap.get(0) && !found.bitmap.get(1));
    assert!(found.read_bytes < 4 * MIB);
}

/// A disk whose metadata says "hole" where there is data, as broken file systems have.
struct Liar;

impl DiskImage for Liar {
    fn virtual_size(&self) -> u64 {
        8 * BLOCK
    }

    fn extent_at(&self, at: GuestOffset, limit: u64) -> diskimg::Result<Extent> {
        let len = diskimg::clip_extent(at, limit, self.virtual_size())?;
        Ok(Extent {
            start: at,
            len,
            kind: ExtentKind::Hole,
        })
    }

    fn read_at(&self, at: GuestOffset, buf: &mut [u8]) -> diskimg::Result<()> {
        for (offset, byte) in buf.iter_mut().enumerate() {
            *byte = u8::from(at.0 + offset as u64 == 5 * BLOCK + 77);
        }
        Ok(())
    }

    fn details(&self) -> Details {
        Details::new(Format::Raw)
    }
}

#[test]
fn reading_holes_finds_what_a_file_system_reported_wrongly_and_says_so() {
    assert_eq!(scan(&Liar).bitmap.figures().marked, 0);
    let (honest, misreported) = ReadHoles::new(Box::new(Liar));
    let found = scan(&honest);
    assert!(found.bitmap.get(5));
    assert_eq!(found.bitmap.figures().marked, 1);
    assert_eq!(found.read_bytes, 8 * BLOCK);
    assert!(misreported.bytes() > 0);
}
