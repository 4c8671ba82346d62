//! What is encoded can be read back, and passes the checker.
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

use std::collections::BTreeMap;
use std::sync::Arc;

use common::{
    BLOCK, Crafted, IDENTITY, check, digest, encode, footer_checksum, noise, open, read_all, small,
    zlib,
};
use diskimg::{DiskImage, DiskImageExt, ExtentKind, GuestOffset, MemorySource};
use proptest::prelude::*;
use zvhd2::{BLOCK_SIZE, Compression, DEFAULT_LEVEL, Zvhd2Image};

/// Guest bytes cut into blocks, zero blocks left out.
fn blocks_of(guest: &[u8]) -> BTreeMap<u32, Vec<u8>> {
    (0..)
        .zip(guest.chunks(BLOCK_SIZE))
        .filter(|(_, block)| !diskimg::zero::is_zero(block))
        .map(|(number, block)| {
            let mut block = block.to_vec();
            block.resize(BLOCK_SIZE, 0);
            (number, block)
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_sparse_content_survives_and_passes_the_checker(
        sectors in 1_usize..30_000,
        stretches in prop::collection::vec((0.0..1.0_f64, 1_usize..400_000, any::<u64>(), any::<bool>()), 0..6),
        level in prop::sample::select(vec![-7, -1, 1, 3]),
        step in 1_usize..5_000_000,
    ) {
        let mut guest = vec![0_u8; sectors * 512];
        for (place, len, seed, random) in stretches {
            let start = (place * guest.len() as f64) as usize;
            let end = (start + len).min(guest.len());
            let fill = if random { noise(seed, end - start) } else { vec![seed as u8; end - start] };
            guest[start..end].copy_from_slice(&fill);
        }
        let blocks = blocks_of(&guest);
        let file = encode(guest.len() as u64, &blocks, level);
        prop_assert!(file == encode(guest.len() as u64, &blocks, level), "the same input must give the same bytes");
        let report = check(file.clone());
        prop_assert!(report.findings.is_empty() && report.is_sound(), "{report:#?}");
        let image = open(file).unwrap();
        let stored: u64 = image
            .all_extents()
            .map(Result::unwrap)
            .filter(|extent| extent.kind == ExtentKind::Data)
            .map(|extent| extent.len)
            .sum();
        prop_assert_eq!(stored.div_ceil(BLOCK_SIZE as u64), blocks.len() as u64);
        prop_assert!(read_all(&image, step.max(4096)).unwrap() == guest);
        for extent in image.all_extents() {
            let extent = extent.unwrap();
            for number in extent.start.0 / BLOCK..extent.end().0.div_ceil(BLOCK) {
                let stored = blocks.contains_key(&(number as u32));
                prop_assert_eq!(stored, extent.kind == ExtentKind::Data);
            }
        }
    }
}

#[test]
fn disks_at_the_borders_of_segments_are_whole() {
    const SEGMENT: u64 = 64 << 30;
    let sizes =
        [512, BLOCK - 512, BLOCK, BLOCK + 512]
            .into_iter()
            .chain([1, 2].into_iter().flat_map(|segments| {
                let border = segments * SEGMENT;
                [
                    border - BLOCK,
                    border - 512,
                    border,
                    border + 512,
                    border + BLOCK,
                ]
            }));
    for size in sizes {
        let last = ((size - 1) / BLOCK) as u32;
        let numbers = [
            0,
            32_766,
            32_767,
            32_768,
            65_535,
            65_536,
            last.saturating_sub(1),
            last,
        ];
        let blocks: BTreeMap<_, _> = numbers
            .into_iter()
            .filter(|number| *number <= last)
            .map(|number| {
                let start = u64::from(number) * BLOCK;
                let len = (size - start).min(100) as usize;
                let mut content = noise(number.into(), len);
                content.resize(BLOCK_SIZE, 0);
                (number, content)
            })
            .collect();
        let file = encode(size, &blocks, DEFAULT_LEVEL);
        let report = check(file.clone());
        assert!(report.findings.is_empty(), "{size}: {report:#?}");
        let image = open(file).unwrap();
        assert_eq!(image.virtual_size(), size);
        let mut covered = 0;
        for extent in image.all_extents() {
            let extent = extent.unwrap();
            assert_eq!(extent.start.0, covered);
            covered = extent.end().0;
        }
        assert_eq!(covered, size);
        for (number, content) in &blocks {
            let start = u64::from(*number) * BLOCK;
            let mut found = vec![0xaa; (size - start).min(BLOCK) as usize];
            image.read_at(GuestOffset(start), &mut found).unwrap();
            assert!(found == content[..found.len()], "{size}: block {number}");
        }
    }
}

#[test]
fn identity_is_all_that_tells_two_encodings_apart() {
    let (file, _) = small();
    let last = file.len() - 4096;
    for footer in [&file[..512], &file[last..last + 512]] {
        assert_eq!(footer[68..84], IDENTITY.uuid);
        assert_eq!(footer[24..28], IDENTITY.timestamp.to_le_bytes());
        assert_eq!(footer[64..68], footer_checksum(footer).to_le_bytes());
    }
}

#[test]
fn many_readers_at_once_see_the_same_disk() {
    let guest: Vec<u8> = (0..7_u64)
        .flat_map(|number| match number {
            2 | 5 => vec![0; BLOCK_SIZE],
            _ => {
                let mut block = noise(number, 300_000);
                block.resize(BLOCK_SIZE, number as u8);
                block
            }
        })
        .collect();
    let image = open(encode(guest.len() as u64, &blocks_of(&guest), 1)).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let (image, guest) = (&image, &guest);
            scope.spawn(move || {
                let mut random = noise(thread + 100, 16 * 60).into_iter();
                for _ in 0..60 {
                    let mut draw = |below: usize| {
                        let bytes: Vec<u8> = random.by_ref().take(8).collect();
                        u64::from_le_bytes(bytes.try_into().unwrap()) as usize % below
                    };
                    let at = draw(guest.len());
                    let len = draw(200_000).min(guest.len() - at);
                    let mut found = vec![0xaa; len];
                    image.read_at(GuestOffset(at as u64), &mut found).unwrap();
                    assert!(found == guest[at..at + len], "{len} bytes at {at}");
                }
            });
        }
    });
}

/// Blocks of every size that readers accept, with an index of either kind, zlib of either ending.
#[test]
fn what_other_writers_may_do_is_read() {
    let mut tested = 0;
    for block_size in [1_u32 << 20, 2 << 20, 4 << 20, 32 << 20] {
        for (full_index, zstd, finish) in [
            (false, true, false),
            (true, true, false),
            (false, false, false),
            (true, false, true),
        ] {
            let virtual_size = 2 * u64::from(block_size) + 512;
            let mut guest = vec![0; virtual_size as usize];
            guest[5..50_000].copy_from_slice(&noise(9, 49_995));
            let last = 2 * block_size as usize;
            guest[last..].copy_from_slice(&noise(10, 512));
            let mut partial = guest[last..].to_vec();
            partial.resize(block_size as usize, 0);
            let payload = |content: &[u8]| {
                if zstd {
                    zstd::bulk::compress(content, 1).unwrap()
                } else {
                    zlib(content, finish)
                }
            };
            let file = Crafted {
                block_size,
                virtual_size,
                zstd,
                full_index,
                payloads: vec![
                    (0, payload(&guest[..block_size as usize])),
                    (2, payload(&partial)),
                ],
                padding: 0x5a,
            }
            .build();
            let name = format!("{block_size} full {full_index} zstd {zstd} finish {finish}");
            let report = check(file.clone());
            assert!(report.is_sound(), "{name}: {report:#?}");
            assert!(report.findings.iter().any(|v| v.rule == "block-padding"));
            let image = open(file).unwrap();
            let compression = if zstd {
                Compression::Zstd
            } else {
                Compression::Zlib
            };
            assert_eq!(image.compression(), compression);
            for step in [BLOCK_SIZE, 700_001] {
                assert!(read_all(&image, step).unwrap() == guest, "{name} {step}");
            }
            let kinds: Vec<_> = image.all_extents().map(|e| e.unwrap().kind).collect();
            let expected = [ExtentKind::Data, ExtentKind::Hole, ExtentKind::Data];
            assert_eq!(kinds, expected, "{name}");
            tested += 1;
        }
    }
    assert_eq!(tested, 16);
}

#[test]
fn same_content_has_the_same_digest_whatever_the_block_size() {
    let mut guest = vec![0; 5 << 20];
    guest[..10].fill(1);
    guest[(4 << 20) + 9..(4 << 20) + 12].fill(2);
    let crafted = |block_size: u32| {
        let payloads = (0..)
            .zip(guest.chunks(block_size as usize))
            .map(|(number, block)| {
                let mut block = block.to_vec();
                block.resize(block_size as usize, 0);
                (number, zstd::bulk::compress(&block, 1).unwrap())
            })
            .collect();
        Crafted {
            block_size,
            virtual_size: guest.len() as u64,
            zstd: true,
            full_index: false,
            payloads,
            padding: 0,
        }
        .build()
    };
    let ours = digest(&open(encode(guest.len() as u64, &blocks_of(&guest), 1)).unwrap());
    for block_size in [1 << 20, 2 << 20, 8 << 20] {
        assert_eq!(digest(&open(crafted(block_size)).unwrap()), ours);
    }
}

#[test]
fn reads_past_the_end_and_empty_reads_are_answered_rightly() {
    let (file, guest) = small();
    let image = Zvhd2Image::open(Arc::new(MemorySource(file))).unwrap();
    let end = guest.len() as u64;
    image.read_at(GuestOffset(end), &mut []).unwrap();
    for (at, len) in [(end, 1), (end - 1, 2), (u64::MAX, 1), (0, guest.len() + 1)] {
        let error = image
            .read_at(GuestOffset(at), &mut vec![0; len])
            .unwrap_err();
        assert_eq!(error.kind(), diskimg::ErrorKind::OutOfRange);
    }
    assert!(image.extent_at(GuestOffset(end), 1).is_err());
    assert!(image.extent_at(GuestOffset(0), 0).is_err());
    let extent = image.extent_at(GuestOffset(BLOCK + 7), u64::MAX).unwrap();
    assert_eq!((extent.kind, extent.len), (ExtentKind::Hole, BLOCK - 7));
}
