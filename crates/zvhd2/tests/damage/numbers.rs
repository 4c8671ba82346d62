//! Numbers that are meant to harm, with right checksums.

use std::sync::Arc;
use std::time::Duration;

use diskimg::{DiskImage, ErrorKind, GuestOffset, MAX_LISTED, ReadAt, Severity};
use testkit::measure::cpu_time;
use zvhd2::{BLOCK_SIZE, Zvhd2Image};

use crate::common::{Crafted, check, noise, open, read_all, seal, small, zlib};
use crate::support::{PAGE, block_at, parts};

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
            .findings
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
            report.findings.iter().any(|v| v.rule == rule),
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
        let started = cpu_time();
        let vast = Vast { first, last };
        let report = zvhd2::check(&vast, &|| false).unwrap();
        assert!(!report.is_sound());
        assert!(report.findings.len() <= 2 * MAX_LISTED);
        let error = Zvhd2Image::open(Arc::new(vast)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(cpu_time() - started < Duration::from_secs(10));
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
            (report.errors, report.findings.last().unwrap().rule),
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
