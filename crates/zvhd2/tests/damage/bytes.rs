//! Every byte of a file, every end of it.

use std::sync::Arc;

use diskimg::{DiskImage, ErrorKind, GuestOffset, MemorySource};
use proptest::prelude::*;
use zvhd2::{BLOCK_SIZE, DRIVERS};

use crate::common::{BLOCK, check, open, seal, small};
use crate::support::{PAGE, block_at, corrupt, one, parts, several};

#[test]
fn every_corrupt_byte_of_a_footer_is_refused_or_harmless() {
    let (file, guest) = small();
    let parts = parts(&file);
    for at in [0, parts.last] {
        let (refused, harmless) = corrupt(&file, &guest, at..at + 512, &several, false);
        assert!(refused > 512 * 3, "{refused}");
        assert_eq!(
            harmless, 0,
            "the checksum covers every byte of the footer at {at:#x}"
        );
        // The rest of the page has no checksum and no meaning.
        let rest = (at + 512..at + PAGE).step_by(7);
        let (refused, _) = corrupt(&file, &guest, rest, &one, false);
        assert_eq!(refused, 0);
    }
    let copy = parts.copy;
    let (refused, _) = corrupt(&file, &guest, copy..copy + 512, &several, false);
    assert!(
        refused >= 6 * 4,
        "a copy without cookie ends no data: {refused}"
    );
}

#[test]
fn every_corrupt_byte_of_the_index_is_refused_or_harmless() {
    let (file, guest) = small();
    let index = parts(&file).index;
    let (refused, harmless) = corrupt(&file, &guest, index..index + 32, &several, false);
    assert_eq!(harmless, 0);
    assert!(refused > 32 * 3);
    // Entries past the last one are not used.
    let unused = (index + 32..index + 100).chain((index + 100..index + 524_288).step_by(9973));
    corrupt(&file, &guest, unused, &several, false);
}

#[test]
fn every_corrupt_byte_of_the_bitmap_is_refused() {
    let (file, guest) = small();
    let bitmap = parts(&file).bitmap;
    let (refused, harmless) = corrupt(&file, &guest, bitmap..bitmap + PAGE, &several, false);
    assert_eq!(harmless, 0);
    assert!(refused > PAGE * 3);
}

#[test]
fn every_corrupt_byte_of_block_framing_is_refused_or_harmless() {
    let (file, guest) = small();
    for entry in 0..2 {
        let start = block_at(&file, entry);
        let (refused, _) = corrupt(&file, &guest, start..start + 20, &several, false);
        assert!(refused >= 20 * 3, "{refused}");
        let (refused, _) = corrupt(&file, &guest, start + 20..start + 48, &several, false);
        assert_eq!(refused, 0, "no reader looks at these bytes");
        let end = if entry == 0 {
            block_at(&file, 1)
        } else {
            parts(&file).copy
        };
        let (_, harmless) = corrupt(&file, &guest, end - 4..end, &several, false);
        assert_eq!(harmless, 0);
    }
}

#[test]
fn every_corrupt_byte_of_a_payload_is_caught_by_the_content_checksum() {
    let (file, guest) = small();
    let start = block_at(&file, 0);
    let size = u32::from_le_bytes(file[start + 12..start + 16].try_into().unwrap()) as usize;
    let payload = start + 48..start + 48 + size;
    let two = |byte: u8| vec![byte ^ 1, !byte];
    let (refused, harmless) = corrupt(&file, &guest, payload.clone(), &two, false);
    // One bit of a zstd frame's header is unused; a few others say the same in another way.
    assert!(
        harmless <= 8 && refused + harmless == 2 * size,
        "{harmless} of {refused}"
    );
    // The checksum itself, the last four bytes.
    let (_, harmless) = corrupt(&file, &guest, payload.end - 4..payload.end, &several, false);
    assert_eq!(harmless, 0);
    let mut damaged = file;
    damaged[payload.start + size / 2] ^= 4;
    let report = check(damaged.clone());
    assert_eq!((report.errors, report.findings[0].rule), (1, "payload"));
    assert_eq!(report.findings[0].offset, Some(start as u64));
    let error = open(damaged)
        .unwrap()
        .read_at(GuestOffset(0), &mut [0; 9])
        .unwrap_err();
    assert!(error.to_string().contains("checksum"), "{error}");
    assert_eq!(error.offset(), Some(start as u64));
}

#[test]
fn truncated_anywhere_is_refused_and_says_how_many_blocks_are_whole() {
    let (file, _) = small();
    let ends = [block_at(&file, 1), parts(&file).copy];
    for len in (0..file.len()).step_by(512) {
        let error = open(file[..len].to_vec()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Truncated, "{len}: {error}");
        if len >= PAGE {
            let whole = ends.iter().filter(|end| **end <= len).count();
            let expected = format!("{whole} data blocks are whole");
            assert!(error.to_string().contains(&expected), "{len}: {error}");
        }
        assert!(!check(file[..len].to_vec()).is_sound());
    }
}

#[test]
fn damaged_beginning_or_end_does_not_pass_for_a_raw_disk() {
    let (file, _) = small();
    for at in [0, parts(&file).last] {
        let mut damaged = file.clone();
        damaged[at..at + 8].fill(0);
        let source = Arc::new(MemorySource(damaged));
        let options = diskimg::OpenOptions::default();
        let error = diskimg::open_source(source, &options, &DRIVERS).unwrap_err();
        assert_ne!(error.kind(), ErrorKind::Ambiguous, "{error}");
    }
    // A boot sector in front: whoever is root in a guest can write the end of its disk.
    let mut booted = file.clone();
    booted[..512].fill(0);
    booted[510..512].copy_from_slice(&[0x55, 0xaa]);
    let source = Arc::new(MemorySource(booted));
    let options = diskimg::OpenOptions::default();
    let error = diskimg::open_source(source, &options, &DRIVERS).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Ambiguous, "{error}");
    // Version 1 is claimed by either end, too, and whatever version it says to have.
    for (at, version) in [(0, 0), (0, 5), (8192 - 4096, 0)] {
        let mut bytes: Vec<u8> = (0..=250).cycle().take(8192).collect();
        bytes[at..at + 512].fill(0);
        bytes[at..at + 6].copy_from_slice(b"stream");
        bytes[at + 87] = version;
        let source = Arc::new(MemorySource(bytes));
        let error = diskimg::open_source(source, &options, &DRIVERS).unwrap_err();
        assert_ne!(error.kind(), ErrorKind::Ambiguous, "{error}");
    }
    let text = b"streams are read front to back\n".repeat(20);
    let source = Arc::new(MemorySource(text));
    let error = diskimg::open_source(source, &diskimg::OpenOptions::default(), &DRIVERS);
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Ambiguous);
}

#[test]
fn bytes_after_the_last_footer_are_refused() {
    let (file, _) = small();
    for extra in [1, 512, PAGE, 1 << 20] {
        let mut longer = file.clone();
        longer.resize(file.len() + extra, 0);
        assert!(open(longer).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Several places at once, with checksums made right again: what the checker calls sound can
    /// be read, and nothing else can.
    #[test]
    fn checker_and_reader_agree_on_what_is_sound(
        changes in prop::collection::vec((0..6_usize, 0.0..1.0_f64, any::<u8>()), 1..5),
    ) {
        let (mut file, _) = small();
        let parts = parts(&file);
        let (first, second) = (block_at(&file, 0), block_at(&file, 1));
        for (area, place, value) in changes {
            let area = [
                0..150,
                parts.last..parts.last + 150,
                parts.copy..parts.copy + 150,
                parts.index..parts.index + 34,
                first..first + 100,
                second..second + 100,
            ][area].clone();
            let len = area.len() as f64;
            file[area.start + (place * len) as usize] = value;
        }
        seal(&mut file, 0);
        seal(&mut file, parts.last);
        let sound = check(file.clone()).is_sound();
        let read = open(file).and_then(|image| {
            let mut buf = vec![0; BLOCK_SIZE];
            for number in 0..image.virtual_size().div_ceil(BLOCK).min(8) {
                let start = number * BLOCK;
                let len = (image.virtual_size() - start).min(BLOCK) as usize;
                image.read_at(GuestOffset(start), &mut buf[..len])?;
            }
            Ok(())
        });
        prop_assert_eq!(read.is_ok(), sound, "{:?}", read);
    }
}
