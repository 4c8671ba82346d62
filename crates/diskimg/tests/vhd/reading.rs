//! Hand-made dynamic disks: bitmaps, block sizes, cut blocks, threads.

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::thread;

use diskimg::VhdImage;
use diskimg::{
    Context, DiskImage, ErrorKind, ExtentKind, FileOffset, GuestOffset, MemorySource, OpenOptions,
    ReadAt, Result,
};

use crate::craft::{BAT, Block, Craft, FOOTER, mixed, noise, plain};
use crate::{assert_gaps_are_zero, assert_same, extents, open, read_all, refused};
use testkit::measure::cpu_time;

/// Remembers every read.
#[derive(Default)]
struct Recorded {
    inner: MemorySource,
    reads: Mutex<Vec<Range<u64>>>,
}

impl ReadAt for Recorded {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn read_exact_at(&self, at: FileOffset, buf: &mut [u8]) -> Result<()> {
        let range = at.0..at.0 + buf.len() as u64;
        self.reads.lock().unwrap().push(range);
        self.inner.read_exact_at(at, buf)
    }
}

#[test]
fn every_block_size_and_every_bitmap_reads_back() {
    for bits in 12..=23 {
        let block_size = 1 << bits;
        for backwards in [false, true] {
            let craft = Craft {
                backwards,
                ..Craft::new(block_size, mixed(block_size, 6))
            };
            let image = craft.dynamic();
            let opened = open(&image.bytes).unwrap();
            assert_eq!(opened.details().cluster_size, Some(block_size as u64));
            assert_eq!(opened.details().warnings, [""; 0]);
            let what = format!("block size {block_size}");
            for piece in [block_size * 3 / 2 + 7, 1 << 20] {
                assert_same(&read_all(&opened, piece).unwrap(), &image.guest, &what);
            }
            let found = extents(&opened).unwrap();
            assert_gaps_are_zero(&found, &image.guest);
            // The noise has no zero byte, so data is exactly what is not zero.
            let data: u64 = found
                .iter()
                .filter(|extent| extent.kind == ExtentKind::Data)
                .map(|extent| extent.len)
                .sum();
            let expected = image.guest.iter().filter(|byte| **byte != 0).count();
            assert_eq!(data, expected as u64, "{what}");
        }
    }
}

#[test]
fn a_sector_that_was_never_written_reads_as_zeros_whatever_is_stored_there() {
    let block_size = 2 << 20;
    let mut written = vec![false; 4096];
    written[7] = true;
    written[4095] = true;
    let blocks = vec![Block::Partial(noise(1, block_size), written)];
    let image = Craft::new(block_size, blocks).dynamic();
    let opened = open(&image.bytes).unwrap();
    let found = read_all(&opened, 1 << 20).unwrap();
    assert_same(&found, &image.guest, "guest");
    assert_eq!(found.iter().filter(|byte| **byte != 0).count(), 1024);
    let kinds: Vec<_> = extents(&opened)
        .unwrap()
        .iter()
        .map(|extent| (extent.start.0 / 512, extent.len / 512, extent.kind))
        .collect();
    use ExtentKind::{Data, Zero};
    assert_eq!(
        kinds,
        [(0, 7, Zero), (7, 1, Data), (8, 4087, Zero), (4095, 1, Data)]
    );
}

/// Opens `bytes` so that sector bitmaps mean nothing.
fn open_whole(bytes: &[u8]) -> VhdImage {
    let options = OpenOptions {
        ignore_vhd_bitmaps: true,
        ..OpenOptions::default()
    };
    let source = Arc::new(MemorySource(bytes.to_vec()));
    VhdImage::open_with(source, &Context::new(&options)).unwrap()
}

#[test]
fn sectors_that_hold_bytes_and_were_never_written_are_counted_and_can_be_read() {
    for block_size in [4096, 64 << 10, 2 << 20, 8 << 20] {
        let sectors = block_size / 512;
        let mut written = vec![true; sectors];
        written[1..4].fill(false);
        let mut data = noise(1, block_size);
        // Of three sectors that were never written one holds nothing.
        data[1024..1536].fill(0);
        let mut stored = data.clone();
        let blocks = vec![
            Block::Full(noise(2, block_size)),
            Block::Partial(data, written),
        ];
        let image = Craft::new(block_size, blocks).dynamic();
        let opened = open(&image.bytes).unwrap();
        assert_eq!(
            opened.details().warnings,
            [""; 0],
            "before they are looked at"
        );
        for _ in 0..2 {
            opened.audit(&|| false).unwrap();
            let warnings = opened.details().warnings;
            assert_eq!(warnings.len(), 1, "{warnings:?}");
            assert!(warnings[0].starts_with("2 stored sectors"), "{warnings:?}");
            assert!(
                warnings[0].contains("unless the bitmaps are ignored"),
                "{warnings:?}"
            );
        }
        assert_same(&read_all(&opened, 1 << 20).unwrap(), &image.guest, "honor");

        let whole = open_whole(&image.bytes);
        whole.audit(&|| false).unwrap();
        assert_eq!(whole.details().warnings, [""; 0]);
        stored.splice(0..0, noise(2, block_size));
        assert_same(&read_all(&whole, 1 << 20).unwrap(), &stored, "ignore");
        assert_eq!(extents(&whole).unwrap().len(), 1);
    }
}

#[test]
fn a_block_in_whose_bitmap_nothing_is_set_is_read_whole() {
    for block_size in [4096, 64 << 10, 2 << 20, 8 << 20] {
        let nothing = vec![false; block_size / 512];
        let mut last = nothing.clone();
        last[block_size / 512 - 1] = true;
        let blocks = vec![
            Block::Partial(noise(1, block_size), nothing),
            Block::Hole,
            Block::Partial(noise(2, block_size), last),
        ];
        let image = Craft::new(block_size, blocks).dynamic();
        let opened = open(&image.bytes).unwrap();
        assert_same(&read_all(&opened, 99_999).unwrap(), &image.guest, "guest");
        assert_gaps_are_zero(&extents(&opened).unwrap(), &image.guest);
        let found = image.guest.iter().filter(|byte| **byte != 0).count();
        assert_eq!(found, block_size + 512);
        // The metadata say it; no content was looked at.
        let warnings = open(&image.bytes).unwrap();
        extents(&warnings).unwrap();
        let warnings = warnings.details().warnings;
        assert!(
            warnings[0].starts_with("1 stored block has"),
            "{warnings:?}"
        );
        assert_eq!(warnings.len(), 1, "{warnings:?}");
    }
}

#[test]
fn an_audit_reads_only_what_is_on_no_disk_and_ends_when_it_is_told_to() {
    let block_size = 64 << 10;
    let mut written = vec![true; 128];
    written[10..20].fill(false);
    let blocks = vec![
        Block::Full(noise(1, block_size)),
        Block::Partial(noise(2, block_size), written),
    ];
    let image = Craft::new(block_size, blocks).dynamic();
    let source = Arc::new(Recorded {
        inner: MemorySource(image.bytes.clone()),
        ..Recorded::default()
    });
    let opened = VhdImage::open(Arc::clone(&source) as Arc<dyn ReadAt>).unwrap();
    source.reads.lock().unwrap().clear();
    opened.audit(&|| true).unwrap();
    assert_eq!(opened.details().warnings, [""; 0]);
    opened.audit(&|| false).unwrap();
    let sectors = image.data(1, block_size).start + 10 * 512;
    let reads = source.reads.lock().unwrap();
    let content: Vec<_> = reads
        .iter()
        .filter(|read| read.end - read.start > 512)
        .collect();
    assert_eq!(content, [&(sectors..sectors + 10 * 512)]);
}

#[test]
fn nothing_but_written_sectors_is_read_from_the_file() {
    let block_size = 64 << 10;
    let mut written = vec![false; 128];
    written[10..20].fill(true);
    let image = Craft::new(
        block_size,
        vec![
            Block::Hole,
            Block::Partial(noise(1, block_size), written),
            Block::Hole,
            Block::Full(noise(2, block_size)),
        ],
    )
    .dynamic();
    let source = Arc::new(Recorded {
        inner: MemorySource(image.bytes.clone()),
        ..Recorded::default()
    });
    let opened = VhdImage::open(Arc::clone(&source) as Arc<dyn ReadAt>).unwrap();
    source.reads.lock().unwrap().clear();
    let bitmap = |index: usize| {
        let at = image.places[index].unwrap() as u64;
        at..at + 512
    };
    extents(&opened).unwrap();
    let asked = std::mem::take(&mut *source.reads.lock().unwrap());
    assert_eq!(asked, [bitmap(1), bitmap(3)], "metadata only");

    let found = read_all(&opened, image.guest.len()).unwrap();
    assert_same(&found, &image.guest, "guest");
    let asked = std::mem::take(&mut *source.reads.lock().unwrap());
    let partial = image.data(1, block_size);
    let written = partial.start + 10 * 512..partial.start + 20 * 512;
    assert_eq!(asked, [written, image.data(3, block_size)]);
}

#[test]
fn extents_are_exact_at_every_offset_and_limit() {
    let image = Craft::new(4096, mixed(4096, 40)).dynamic();
    let opened = open(&image.bytes).unwrap();
    let mut rng = fastrand::Rng::with_seed(5);
    for _ in 0..3000 {
        let at = rng.usize(..image.guest.len());
        let limit = rng.usize(1..=20_000);
        let extent = opened
            .extent_at(GuestOffset(at as u64), limit as u64)
            .unwrap();
        let end = extent.end().0 as usize;
        assert!(extent.start.0 == at as u64 && end > at && end <= image.guest.len());
        assert!(extent.len <= limit as u64);
        let stored = image.guest[at..end].iter().all(|byte| *byte != 0);
        let zero = image.guest[at..end].iter().all(|byte| *byte == 0);
        assert!(if extent.kind == ExtentKind::Data {
            stored
        } else {
            zero
        });
    }
    let end = image.guest.len() as u64;
    for (at, limit) in [(end, 1), (0, 0), (u64::MAX, u64::MAX)] {
        let error = refused(opened.extent_at(GuestOffset(at), limit));
        assert_eq!(error.kind(), ErrorKind::OutOfRange);
    }
    let error = refused(opened.read_at(GuestOffset(end - 1), &mut [0; 2]));
    assert_eq!(error.kind(), ErrorKind::OutOfRange);
}

#[test]
fn a_last_block_that_is_cut_behind_the_end_of_the_disk_is_read() {
    let block_size = 64 << 10;
    for size in [5 * block_size - 512, 4 * block_size + 512] {
        let craft = Craft {
            size: size as u64,
            ..Craft::new(block_size, plain(block_size, 5))
        };
        let whole = craft.dynamic();
        assert_same(
            &read_all(&open(&whole.bytes).unwrap(), 1 << 20).unwrap(),
            &whole.guest,
            "whole",
        );
        let cut = whole.data(4, block_size).start as usize + size % block_size;
        // With the footer right behind it, and without any footer at the end.
        let footer = &whole.bytes[whole.footer()..];
        for end in [footer, &[]] {
            let bytes = [&whole.bytes[..cut], end].concat();
            let opened = open(&bytes).unwrap();
            assert_same(&read_all(&opened, 1 << 20).unwrap(), &whole.guest, "cut");
        }
        let shorter = &whole.bytes[..cut - 1];
        assert_eq!(refused(open(shorter)).kind(), ErrorKind::Truncated);
        let error = refused(open(&[shorter, footer].concat()));
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains("block 4"), "{error}");
    }
}

#[test]
fn a_size_that_is_no_multiple_of_512_is_filled_up_with_zeros() {
    let craft = Craft {
        size: 4096 * 5 - 100,
        ..Craft::new(4096, plain(4096, 5))
    };
    let image = craft.dynamic();
    assert_eq!(image.guest.len(), 4096 * 5);
    let opened = open(&image.bytes).unwrap();
    assert_same(&read_all(&opened, 1000).unwrap(), &image.guest, "dynamic");
    extents(&opened).unwrap();
    let tail = opened.extent_at(GuestOffset(4096 * 5 - 100), 512).unwrap();
    assert_eq!((tail.len, tail.kind), (100, ExtentKind::Hole));
    assert!(opened.details().warnings[0].contains("20380 bytes"));

    let fixed = craft.fixed(&image.guest);
    let opened = open(&fixed).unwrap();
    assert_same(&read_all(&opened, 1000).unwrap(), &image.guest, "fixed");
}

#[test]
fn blocks_beyond_the_end_of_the_disk_are_not_looked_at() {
    let mut craft = Craft::new(4096, plain(4096, 5));
    craft.size = 4096 * 3;
    let mut image = craft.dynamic();
    // What QEMU leaves there when a disk shrinks would be allocated; here it is nonsense.
    image.bytes[BAT + 12..BAT + 20].fill(0);
    let opened = open(&image.bytes).unwrap();
    assert_same(
        &read_all(&opened, 5000).unwrap(),
        &image.guest,
        "first blocks",
    );
}

#[test]
fn eight_threads_read_what_one_reads() {
    for block_size in [4096, 32 << 10, 4 << 20] {
        let count = (6 << 20) / block_size + 3;
        let image = Craft::new(block_size, mixed(block_size, count)).dynamic();
        let (opened, guest) = (&open(&image.bytes).unwrap(), &image.guest);
        thread::scope(|scope| {
            for seed in 0..8 {
                scope.spawn(move || {
                    let mut rng = fastrand::Rng::with_seed(seed);
                    let mut buf = vec![0; 100_000];
                    for _ in 0..100 {
                        let at = rng.usize(..guest.len());
                        let len = rng.usize(1..=(guest.len() - at).min(buf.len()));
                        let buf = &mut buf[..len];
                        opened.read_at(GuestOffset(at as u64), buf).unwrap();
                        assert_same(buf, &guest[at..at + len], "random range");
                        let extent = opened.extent_at(GuestOffset(at as u64), 10_000).unwrap();
                        assert!(extent.start.0 == at as u64 && extent.len > 0);
                    }
                });
            }
        });
    }
}

#[test]
fn a_disk_of_two_terabytes_without_data_is_known_at_once() {
    let started = cpu_time();
    let mut craft = Craft::new(512 << 10, vec![Block::Hole; 4 << 20]);
    craft.size = 2 << 40;
    // The writer would lay the guest out in memory.
    let blocks = std::mem::take(&mut craft.blocks);
    let mut bytes = craft.dynamic().bytes;
    bytes.truncate(BAT);
    bytes.resize(BAT + blocks.len() * 4, 0xff);
    bytes[512 + 28..512 + 32].copy_from_slice(&(blocks.len() as u32).to_be_bytes());
    crate::craft::seal_header(&mut bytes);
    let footer: Vec<u8> = bytes[..FOOTER].to_vec();
    bytes.extend(footer);
    let opened = open(&bytes).unwrap();
    let found = extents(&opened).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].len, found[0].kind), (2 << 40, ExtentKind::Hole));
    assert!(opened.memory_bound(8) < 64 << 20);
    assert!((cpu_time() - started).as_secs() < 2);
}

#[test]
fn vhd_disks_conform() {
    for block_size in [4096, 64 << 10, 2 << 20] {
        for backwards in [false, true] {
            let blocks = mixed(block_size, 7.min((12 << 20) / block_size));
            let size = (block_size * blocks.len()) as u64 - 1536;
            let craft = Craft {
                backwards,
                size,
                ..Craft::new(block_size, blocks)
            };
            let image = craft.dynamic();
            testkit::conformance(&open(&image.bytes).unwrap(), &image.guest);
        }
    }
    let content = noise(3, 1 << 20);
    let fixed = Craft {
        size: content.len() as u64,
        ..Craft::new(4096, Vec::new())
    }
    .fixed(&content);
    testkit::conformance(&open(&fixed).unwrap(), &content);
}
