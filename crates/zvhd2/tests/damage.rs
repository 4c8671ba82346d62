//! Damaged and hostile files: refused, or read rightly; never a panic, never wrong data.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    missing_docs,
    reason = "tests"
)]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{BLOCK, Crafted, Patched, check, noise, open, open_v1, read_all, seal, small, zlib};
use diskimg::{DiskImage, Error, ErrorKind, GuestOffset, MemorySource, ReadAt};
use proptest::prelude::*;
use testkit::vectors::vector;
use zvhd2::{BLOCK_SIZE, DRIVERS, MAX_LISTED, Severity, Zvhd1Image, Zvhd2Image};

const PAGE: usize = 4096;

/// Offsets of the parts of a file with a dense index of one segment and a bitmap of one.
struct Parts {
    copy: usize,
    index: usize,
    bitmap: usize,
    last: usize,
}

fn parts(file: &[u8]) -> Parts {
    let last = file.len() - PAGE;
    let bitmap = last - PAGE;
    let index = bitmap - 524_288;
    Parts {
        copy: index - PAGE,
        index,
        bitmap,
        last,
    }
}

/// File offset of block `entry` of the index.
fn block_at(file: &[u8], entry: usize) -> usize {
    let at = parts(file).index + entry * 16;
    u64::from_le_bytes(file[at..at + 8].try_into().unwrap()) as usize
}

/// What a reader makes of a damaged file.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Refused,
    Harmless,
    Wrong,
}

/// Opens and reads everything that is stored, and the hole.
fn outcome(image: Result<impl DiskImage, Error>, guest: &[u8], buf: &mut Vec<u8>) -> Outcome {
    let Ok(image) = image else {
        return Outcome::Refused;
    };
    if image.virtual_size() != guest.len() as u64 {
        return Outcome::Wrong;
    }
    buf.resize(guest.len(), 0xaa);
    for number in 0..guest.len().div_ceil(BLOCK_SIZE) {
        let start = number * BLOCK_SIZE;
        let end = guest.len().min(start + BLOCK_SIZE);
        let read = image.read_at(GuestOffset(start as u64), &mut buf[start..end]);
        if read.is_err() {
            return Outcome::Refused;
        }
        if buf[start..end] != guest[start..end] {
            return Outcome::Wrong;
        }
    }
    Outcome::Harmless
}

/// Tries values at every one of `places`, on two threads; returns how many were refused and harmless.
fn corrupt(
    file: &[u8],
    guest: &[u8],
    places: impl Iterator<Item = usize>,
    values: &(dyn Fn(u8) -> Vec<u8> + Sync),
    v1: bool,
) -> (usize, usize) {
    let file = Arc::new(file.to_vec());
    let places: Vec<_> = places.collect();
    let half = |first: usize| {
        let (mut refused, mut harmless) = (0, 0);
        let mut buf = Vec::new();
        for at in places.iter().skip(first).step_by(2) {
            for value in values(file[*at]) {
                if value == file[*at] {
                    continue;
                }
                let source: Arc<dyn ReadAt> = Arc::new(Patched {
                    file: Arc::clone(&file),
                    at: *at,
                    bytes: vec![value],
                });
                let outcome = if v1 {
                    outcome(Zvhd1Image::open(source), guest, &mut buf)
                } else {
                    outcome(Zvhd2Image::open(source), guest, &mut buf)
                };
                match outcome {
                    Outcome::Refused => refused += 1,
                    Outcome::Harmless => harmless += 1,
                    Outcome::Wrong => panic!("byte {at:#x} = {value:#x} gives wrong data"),
                }
            }
        }
        (refused, harmless)
    };
    std::thread::scope(|scope| {
        let second = scope.spawn(|| half(1));
        let first = half(0);
        let second = second.join().unwrap();
        (first.0 + second.0, first.1 + second.1)
    })
}

fn several(byte: u8) -> Vec<u8> {
    vec![byte ^ 1, byte ^ 0x80, !byte, 0, byte.wrapping_add(1)]
}

fn one(byte: u8) -> Vec<u8> {
    vec![byte ^ 0x10]
}

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
    assert_eq!((report.errors, report.violations[0].rule), (1, "payload"));
    assert_eq!(report.violations[0].offset, start as u64);
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
        let error = diskimg::open::open_source(source, &options, &DRIVERS).unwrap_err();
        assert_ne!(error.kind(), ErrorKind::Ambiguous, "{error}");
    }
    let text = b"streams are read front to back\n".repeat(20);
    let source = Arc::new(MemorySource(text));
    let error = diskimg::open::open_source(source, &diskimg::OpenOptions::default(), &DRIVERS);
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

/// The small file with one field of its last footer changed, and the checksum made right.
fn with_footer_field(at: usize, bytes: &[u8]) -> Vec<u8> {
    let (mut file, _) = small();
    let last = parts(&file).last;
    file[last + at..last + at + bytes.len()].copy_from_slice(bytes);
    seal(&mut file, last);
    file
}

#[test]
fn hostile_numbers_in_the_footer_are_refused_by_their_rule() {
    let u32s = |value: u32| value.to_le_bytes().to_vec();
    let u64s = |value: u64| value.to_le_bytes().to_vec();
    let cases: Vec<(usize, Vec<u8>, &str)> = vec![
        (40, u64s(0), "virtual-size"),
        (40, u64s(513), "virtual-size"),
        (40, u64s(u64::MAX - 511), "virtual-size"),
        (40, u64s(1 << 47), "virtual-size"),
        (40, u64s(1 << 40), "block-count"),
        (87, vec![0], "version"),
        (87, vec![2], "version"),
        (88, u32s(0), "block-size"),
        (88, u32s(3 << 20), "block-size"),
        (88, u32s(512 << 10), "block-size"),
        (88, u32s(64 << 20), "block-size"),
        (88, u32s(1 << 31), "block-size"),
        (88, u32s(u32::MAX), "block-size"),
        (92, u32s(0), "block-count"),
        (92, u32s(u32::MAX), "block-count"),
        (96, u64s(0), "table-place"),
        (96, u64s(4096), "table-place"),
        (96, u64s(u64::MAX), "table-place"),
        (96, u64s(u64::MAX - 4095), "table-place"),
        (96, u64s(1), "table-place"),
        (104, u64s(0), "table-place"),
        (104, u64s(u64::MAX - 4095), "table-place"),
        (112, u32s(0), "table-size"),
        (112, u32s(u32::MAX), "table-size"),
        (112, u32s(524_288 * 2), "table-size"),
        (116, u32s(0), "table-size"),
        (116, u32s(u32::MAX - 4095), "table-size"),
        (120, u32s(0), "table-size"),
        (124, u32s(0), "table-size"),
        (128, u32s(u32::MAX), "table-size"),
        (132, u32s(0), "table-size"),
        (136, u32s(0), "table-size"),
        (136, u32s(3), "index-"),
        (136, u32s(1), "bitmap"),
        (136, u32s(4), "stored-count"),
        (136, u32s(u32::MAX), "stored-count"),
        (140, vec![2], "index-kind"),
        (141, vec![2], "compression"),
        (68, vec![0xee], "footers-agree"),
    ];
    for (at, bytes, rule) in cases {
        let file = with_footer_field(at, &bytes);
        let error = open(file.clone()).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&format!("rule {rule}")), "{at}: {text}");
        assert!(error.offset().is_some(), "{text}");
        let report = check(file);
        let found = report
            .violations
            .iter()
            .any(|v| v.severity == Severity::Error && v.rule.starts_with(rule));
        assert!(found && !report.is_sound(), "{at}: {report:#?}");
    }
}

#[test]
fn hostile_index_entries_are_refused_by_their_rule() {
    let (file, _) = small();
    let parts = parts(&file);
    let (first, second) = (block_at(&file, 0) as u64, block_at(&file, 1) as u64);
    let end = parts.copy as u64;
    // Entry, offset, number, length.
    for (entry, offset, number, len, rule) in [
        (0, 0, 0, 4096, "index-place"),
        (0, first + 1, 0, 4096, "index-place"),
        (0, u64::MAX, 0, 4096, "index-place"),
        (0, u64::MAX - 4095, 0, 4096, "index-place"),
        (1, end, 2, 4096, "index-place"),
        (1, end - 4096, 2, 8192, "index-place"),
        (1, file.len() as u64, 2, 4096, "index-place"),
        (1, first, 2, 4096, "index-overlap"),
        (1, second - 4096, 2, 4096, "index-overlap"),
        (1, second, 0, 4096, "index-order"),
        (1, second, 3, 4096, "index-number"),
        (1, second, u32::MAX, 4096, "index-number"),
        (0, first, 1, (second - first) as u32, "bitmap"),
        (1, second, 1, (end - second) as u32, "bitmap"),
        (1, second, 2, 0, "index-len"),
        (1, second, 2, 4095, "index-len"),
        (1, second, 2, u32::MAX, "index-len"),
        (1, second, 2, 1 << 31, "index-len"),
    ] {
        let mut hostile = file.clone();
        let at = parts.index + entry * 16;
        hostile[at..at + 8].copy_from_slice(&offset.to_le_bytes());
        hostile[at + 8..at + 12].copy_from_slice(&u32::to_le_bytes(number));
        hostile[at + 12..at + 16].copy_from_slice(&u32::to_le_bytes(len));
        let error = open(hostile.clone()).unwrap_err().to_string();
        assert!(
            error.contains(&format!("rule {rule}")),
            "{entry} {offset:#x}: {error}"
        );
        let report = check(hostile);
        assert!(
            report.violations.iter().any(|v| v.rule == rule),
            "{report:#?}"
        );
    }
}

/// A file of 1 TiB that holds nothing but two footers, and counts what is read of it.
struct Vast {
    first: Vec<u8>,
    last: Vec<u8>,
}

const VAST: u64 = 1 << 40;

impl ReadAt for Vast {
    fn len(&self) -> u64 {
        VAST
    }

    fn read_exact_at(&self, at: diskimg::FileOffset, buf: &mut [u8]) -> diskimg::Result<()> {
        assert!(
            buf.len() <= 1 << 20,
            "{} bytes at once for metadata",
            buf.len()
        );
        buf.fill(0);
        let page = match at.0 {
            0 => &self.first,
            at if at == VAST - PAGE as u64 => &self.last,
            _ => return Ok(()),
        };
        let len = buf.len();
        buf.copy_from_slice(&page[..len]);
        Ok(())
    }
}

#[test]
fn vast_tables_of_nothing_are_refused_fast() {
    for full_index in [false, true] {
        let virtual_size = 64_u64 << 40;
        let max_blocks = 32_u32 << 20;
        let stored = 4_u32 << 20;
        let mut first = Crafted {
            block_size: 2 << 20,
            virtual_size,
            zstd: true,
            full_index: false,
            payloads: Vec::new(),
            padding: 0,
        }
        .build();
        first.truncate(PAGE);
        first[140] = u8::from(full_index);
        seal(&mut first, 0);
        let mut last = first.clone();
        let entries = if full_index { max_blocks } else { stored };
        let (index, bitmap) = (entries / 32768, max_blocks / 32768);
        let lba = 1_u64 << 30;
        last[96..104].copy_from_slice(&lba.to_le_bytes());
        let bitmap_lba = lba + u64::from(index) * 524_288;
        last[104..112].copy_from_slice(&bitmap_lba.to_le_bytes());
        for (at, value) in [
            (112, index * 524_288),
            (116, bitmap * 4096),
            (120, 524_288),
            (124, 4096),
            (128, index),
            (132, bitmap),
            (136, stored),
        ] {
            last[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        seal(&mut last, 0);
        let started = Instant::now();
        let vast = Vast { first, last };
        let report = zvhd2::check(&vast, &|| false).unwrap();
        assert!(!report.is_sound());
        assert!(report.violations.len() <= 2 * MAX_LISTED);
        let error = Zvhd2Image::open(Arc::new(vast)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(started.elapsed() < Duration::from_secs(10));
    }
}

#[test]
fn payloads_of_the_wrong_length_are_refused() {
    let block = 1_u32 << 20;
    let content = |len: usize| noise(5, len);
    let full = content(block as usize);
    let crafted = |zstd: bool, payload: Vec<u8>| {
        Crafted {
            block_size: block,
            virtual_size: block.into(),
            zstd,
            full_index: false,
            payloads: vec![(0, payload)],
            padding: 0,
        }
        .build()
    };
    let pack = |content: &[u8]| zstd::bulk::compress(content, 1).unwrap();
    let bomb = vec![0; 64 << 20];
    let mut left_over = zlib(&full, true);
    left_over.push(0);
    let mut no_end = zlib(&full, false);
    no_end.truncate(no_end.len() / 2);
    let cases = [
        (true, pack(&content(block as usize - 1))),
        (true, pack(&content(block as usize + 1))),
        (true, pack(&bomb)),
        (true, pack(&[])),
        (true, b"no frame".to_vec()),
        (true, [pack(&full), vec![0; 3]].concat()),
        (false, zlib(&content(block as usize - 1), false)),
        (false, zlib(&content(block as usize + 1), false)),
        (false, zlib(&content(block as usize - 1), true)),
        (false, zlib(&bomb, true)),
        (false, left_over),
        (false, no_end),
        (false, b"no zlib".to_vec()),
    ];
    for (number, (zstd, payload)) in cases.into_iter().enumerate() {
        let file = crafted(zstd, payload);
        let report = check(file.clone());
        assert_eq!(
            (report.errors, report.violations.last().unwrap().rule),
            (1, "payload"),
            "case {number}: {report:#?}"
        );
        let image = open(file).unwrap();
        assert!(read_all(&image, BLOCK_SIZE).is_err(), "case {number}");
        // A block that failed once fails again.
        assert!(image.read_at(GuestOffset(0), &mut [0; 1]).is_err());
    }
    for (zstd, payload) in [
        (true, pack(&full)),
        (false, zlib(&full, false)),
        (false, zlib(&full, true)),
    ] {
        let image = open(crafted(zstd, payload)).unwrap();
        assert!(read_all(&image, BLOCK_SIZE).unwrap() == full);
    }
}

#[test]
fn finished_zlib_stream_with_a_wrong_checksum_is_refused() {
    let content = noise(3, 1 << 20);
    let mut payload = zlib(&content, true);
    let end = payload.len();
    payload[end - 1] ^= 1;
    let file = Crafted {
        block_size: 1 << 20,
        virtual_size: 1 << 20,
        zstd: false,
        full_index: false,
        payloads: vec![(0, payload)],
        padding: 0,
    };
    assert!(read_all(&open(file.build()).unwrap(), BLOCK_SIZE).is_err());
}

#[test]
fn checker_names_what_readers_forgive() {
    let (file, guest) = small();
    let parts = parts(&file);
    let start = block_at(&file, 0);
    let mut forgiven: Vec<(&str, Vec<u8>)> = Vec::new();
    let mut add = |rule, change: &dyn Fn(&mut Vec<u8>)| {
        let mut file = file.clone();
        change(&mut file);
        forgiven.push((rule, file));
    };
    add("footer-copy-checksum", &|file| file[parts.copy + 64] ^= 1);
    add("footer-copy-totals", &|file| {
        file[parts.copy + 136] ^= 1;
        seal(file, parts.copy);
    });
    add("footer-copy-fields", &|file| {
        file[parts.copy + 30] ^= 1;
        seal(file, parts.copy);
    });
    add("first-footer-totals", &|file| {
        file[136] = 2;
        seal(file, 0);
    });
    add("block-padding", &|file| file[start + 48 + 3300] = 1);
    add("block-reserved", &|file| file[start + 20] = 1);
    add("index-padding", &|file| file[parts.index + 32] = 1);
    add("reserved", &|file| file[parts.last + 600] = 1);
    add("footer-field", &|file| {
        file[parts.last + 56] ^= 1;
        seal(file, parts.last);
    });
    add("footers-agree", &|file| {
        file[parts.last + 24] ^= 1;
        seal(file, parts.last);
    });
    for (rule, file) in forgiven {
        let report = check(file.clone());
        assert!(report.is_sound(), "{rule}: {report:#?}");
        assert!(
            report.violations.iter().any(|v| v.rule == rule),
            "{rule}: {report:#?}"
        );
        assert!(
            read_all(&open(file).unwrap(), BLOCK_SIZE).unwrap() == guest,
            "{rule}"
        );
    }
}

#[test]
fn checker_names_blocks_that_should_not_be_there() {
    let pack = |content: &[u8]| zstd::bulk::compress(content, 1).unwrap();
    let mut beyond = vec![0; BLOCK_SIZE];
    beyond[..600].fill(1);
    let mut two_frames = pack(&vec![1; BLOCK_SIZE / 2]);
    two_frames.extend(pack(&vec![1; BLOCK_SIZE / 2]));
    let file = Crafted {
        block_size: 2 << 20,
        virtual_size: 2 * BLOCK + 512,
        zstd: true,
        full_index: false,
        payloads: vec![
            (0, pack(&vec![0; BLOCK_SIZE])),
            (1, two_frames),
            (2, pack(&beyond)),
        ],
        padding: 0,
    };
    let report = check(file.build());
    assert!(report.is_sound());
    for (rule, offset) in [
        ("zero-block", 4096),
        ("one-frame", 8192),
        ("beyond-end", 12288),
    ] {
        let found = report.violations.iter().find(|v| v.rule == rule).unwrap();
        assert_eq!(found.offset, offset, "{rule}");
    }
}

#[test]
fn gaps_between_blocks_are_warnings() {
    let (file, guest) = small();
    let parts = parts(&file);
    // A page of nothing between the last block and the copy; everything after it moves.
    let mut gap = file[..parts.copy].to_vec();
    gap.resize(parts.copy + PAGE, 0);
    gap.extend_from_slice(&file[parts.copy..]);
    let last = gap.len() - PAGE;
    for at in [96, 104] {
        let lba = u64::from_le_bytes(gap[last + at..last + at + 8].try_into().unwrap());
        gap[last + at..last + at + 8].copy_from_slice(&(lba + PAGE as u64).to_le_bytes());
    }
    seal(&mut gap, last);
    let report = check(gap.clone());
    assert!(report.is_sound(), "{report:#?}");
    assert_eq!(report.violations[0].rule, "block-gap");
    assert!(read_all(&open(gap).unwrap(), BLOCK_SIZE).unwrap() == guest);
}

#[test]
fn check_stops_when_asked_and_says_so() {
    let (file, _) = small();
    let asked = std::cell::Cell::new(0);
    let report = zvhd2::check(&MemorySource(file), &|| {
        asked.set(asked.get() + 1);
        asked.get() == 2
    })
    .unwrap();
    assert!(report.cancelled && !report.is_sound());
    assert_eq!(asked.get(), 2);
}

#[test]
fn report_lists_a_bounded_number_and_counts_all() {
    let payload = zstd::bulk::compress(&vec![1; 1 << 20], 1).unwrap();
    let file = Crafted {
        block_size: 1 << 20,
        virtual_size: 700 << 20,
        zstd: true,
        full_index: false,
        payloads: (0..700).map(|number| (number, payload.clone())).collect(),
        padding: 0,
    };
    let mut file = file.build();
    // An error after all those warnings is still listed.
    let last_block = 4096 + 699 * 4096;
    file[last_block + 60] ^= 0xff;
    let report = check(file);
    assert!(report.warnings >= 699 && report.cut);
    assert_eq!(report.violations.len(), MAX_LISTED + 1);
    assert_eq!(report.errors, 1);
    assert_eq!(report.violations.last().unwrap().severity, Severity::Error);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["violations"][0]["severity"], "warning");
    assert_eq!(json["cancelled"], false);
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

#[test]
fn every_corrupt_byte_of_version_1_metadata_is_refused_or_harmless() {
    let vector = vector("tiny-v1").unwrap();
    let file = std::fs::read(vector.path()).unwrap();
    let mut guest = vec![0; vector.virtual_size as usize];
    vector.read_at(0, &mut guest);
    let last = file.len() - PAGE;
    for at in [0, last] {
        let (_, harmless) = corrupt(&file, &guest, at..at + 512, &several, true);
        assert_eq!(harmless, 0);
    }
    for at in [0x1000, 0x5000, 0x8000] {
        let (refused, _) = corrupt(&file, &guest, at..at + 16, &several, true);
        assert!(refused > 16 * 3);
        // Not the block's number: another one moves the block on the disk, and nothing in a file
        // of version 1 contradicts that, unless it breaks the order or leaves the disk.
        let (_, harmless) = corrupt(&file, &guest, at + 20..at + 48, &one, true);
        assert_eq!(harmless, 28);
    }
    for end in [0x5000, 0x8000, last] {
        let (_, harmless) = corrupt(&file, &guest, end - 4..end, &several, true);
        assert_eq!(harmless, 0);
    }
}

#[test]
fn truncated_version_1_says_how_many_blocks_are_whole() {
    let file = std::fs::read(vector("tiny-v1").unwrap().path()).unwrap();
    let ends = [0x5000, 0x8000, 0xb000];
    for len in (0..file.len()).step_by(512) {
        let result = open_v1(file[..len].to_vec());
        let error = match result {
            Err(error) => error,
            Ok(_) => panic!("{len} bytes were enough"),
        };
        assert_eq!(error.kind(), ErrorKind::Truncated, "{len}: {error}");
        let whole = ends.iter().filter(|end| **end <= len).count();
        if (PAGE..0xb000).contains(&len) {
            let expected = format!("{whole} data blocks are whole");
            assert!(error.to_string().contains(&expected), "{len}: {error}");
        }
    }
}

#[test]
fn version_1_stream_that_ends_or_breaks_early_is_an_error_every_time() {
    let mut file = std::fs::read(vector("tiny-v1").unwrap().path()).unwrap();
    file[0x5000 + 48 + 20] ^= 0xff;
    let image = open_v1(file).unwrap();
    let mut block = vec![0; BLOCK_SIZE];
    image.read_at(GuestOffset(0), &mut block).unwrap();
    for _ in 0..2 {
        let damaged = image.read_at(GuestOffset(BLOCK), &mut block).is_err();
        let after = image.read_at(GuestOffset(2 * BLOCK), &mut [0; 1]).is_err();
        assert!(damaged && after, "what follows damage cannot be right");
        image.read_at(GuestOffset(0), &mut block).unwrap();
    }
}
