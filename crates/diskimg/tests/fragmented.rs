//! The most fragmented disks that the formats allow: what it costs to learn what lies where, in
//! processor time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    missing_docs,
    reason = "tests"
)]

#[allow(dead_code, reason = "shared with the tests of VHDX")]
#[path = "vhdx_support/craft.rs"]
mod craft;
#[allow(dead_code, reason = "shared with the tests of VDI")]
#[path = "vdi_support/craft.rs"]
mod vdi_craft;

use std::sync::Arc;
use std::time::Duration;

use diskimg::open_source;
use diskimg::{
    BackingPolicy, DiskImage, DiskImageExt, Error, ErrorKind, ExtentKind, FileOffset, OpenOptions,
    ReadAt, Result, SourceExtent,
};
use testkit::measure::cpu_time;

use crate::craft::{
    Craft, FULLY_PRESENT, METADATA, PARTIALLY_PRESENT, REGIONS, ZERO, item_at, put32, put64,
    seal_regions,
};

/// A file that is written nowhere: a head, and words that follow a rule.
struct Ruled<F> {
    head: Vec<u8>,
    len: u64,
    /// Eight bytes, by the file offset of the first one, a multiple of 8.
    word: F,
    /// From here on the file is a hole.
    stored: u64,
}

/// A file without holes.
const ALL: u64 = u64::MAX;

impl<F: Fn(u64) -> [u8; 8] + Send + Sync> ReadAt for Ruled<F> {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, at: FileOffset, buf: &mut [u8]) -> Result<()> {
        if at.0 + buf.len() as u64 > self.len {
            return Err(Error::new(ErrorKind::Truncated, "it ends before"));
        }
        let (mut at, mut rest) = (at.0, buf);
        if at < self.head.len() as u64 {
            let head = &self.head[at as usize..];
            let len = head.len().min(rest.len());
            let (here, behind) = rest.split_at_mut(len);
            here.copy_from_slice(&head[..len]);
            (at, rest) = (at + len as u64, behind);
        }
        for (index, word) in rest.chunks_mut(8).enumerate() {
            let len = word.len();
            word.copy_from_slice(&(self.word)(at + index as u64 * 8)[..len]);
        }
        Ok(())
    }

    fn extent_at(&self, at: FileOffset, limit: u64) -> Result<SourceExtent> {
        Ok(match self.stored.checked_sub(at.0) {
            None | Some(0) => SourceExtent::Hole(limit),
            Some(stored) => SourceExtent::Data(stored.min(limit)),
        })
    }

    fn stored_len(&self) -> u64 {
        self.len.min(self.stored)
    }
}

fn open(source: impl ReadAt + 'static) -> Result<Box<dyn DiskImage>> {
    let options = OpenOptions {
        backing: BackingPolicy::Describe,
        ..OpenOptions::default()
    };
    open_source(Arc::new(source), &options, &[]).map(|opened| opened.image)
}

/// The number of extents of `image`, half of which is data; what it takes to find them is at most
/// `limit`.
#[track_caller]
fn count(what: &str, image: &dyn DiskImage, limit: Duration) -> u64 {
    let mut quickest = Duration::MAX;
    for _ in 0..WALKS {
        let before = image.work().done;
        let (extents, data, took) = walk(image);
        let work = image.work();
        println!("{what}: {extents} extents in {took:?}, {work:?}");
        // A real disk is far from the limit, however fragmented it is.
        assert!(
            work.done - before < work.allowed * 9 / 10,
            "{what}: {work:?}"
        );
        assert_eq!(data * 2, image.virtual_size(), "{what}");
        quickest = quickest.min(took);
        if quickest < limit {
            return extents;
        }
    }
    panic!("{what}: the quickest of {WALKS} walks took {quickest:?}, {limit:?} were allowed");
}

/// Walks over all extents of `image`: their number, the bytes of data, and processor time.
fn walk(image: &dyn DiskImage) -> (u64, u64, Duration) {
    let started = cpu_time();
    let (mut extents, mut data) = (0, 0);
    for extent in image.all_extents() {
        let extent = extent.unwrap();
        extents += 1;
        if extent.kind == ExtentKind::Data {
            data += extent.len;
        }
    }
    (extents, data, cpu_time() - started)
}

/// Most processor time for a disk. Several times what it takes on an idle machine.
const PATIENCE: Duration = Duration::from_secs(4);

/// Walks over one disk, of which the quickest counts: a busy machine slows one down, not all.
const WALKS: usize = 3;

const TIB: u64 = 1 << 40;
const BAT: u64 = 8 << 20;

/// A VHDX of 64 TiB with blocks of `block_size` bytes: the file up to its BAT, and the place of the
/// first block.
fn vast_vhdx(block_size: u64, differencing: bool) -> (Vec<u8>, u64) {
    let craft = Craft {
        block_size: block_size as usize,
        disk_size: 64 * TIB,
        ..Craft::new(&[])
    };
    let mut head = craft.frame(BAT as usize);
    let blocks = 64 * TIB / block_size;
    let entries = blocks + blocks.div_ceil(craft.chunk_ratio());
    let bat_len = (entries * 8).next_multiple_of(1 << 20);
    for (index, at) in REGIONS.into_iter().enumerate() {
        put64(&mut head, at + 16 + 16, BAT);
        put32(&mut head, at + 16 + 24, bat_len as u32);
        seal_regions(&mut head, index);
    }
    if differencing {
        put32(&mut head, item_at(0) + 4, 2);
        let locator = locator();
        let at = METADATA + 32 + 5 * 32;
        head[METADATA + 10] = 6;
        head[at..at + 16].copy_from_slice(&craft::items()[5]);
        let place = METADATA + (128 << 10);
        put32(&mut head, at + 16, (place - METADATA) as u32);
        put32(&mut head, at + 20, locator.len() as u32);
        put32(&mut head, at + 24, 4);
        head[place..place + locator.len()].copy_from_slice(&locator);
    }
    (head, BAT + bat_len)
}

/// A parent locator with a path and a linkage.
fn locator() -> Vec<u8> {
    let texts = [
        "relative_path",
        "base.vhdx",
        "parent_linkage",
        "{61746164-7720-6972-7465-20677569642e}",
    ]
    .map(|text| {
        text.encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect::<Vec<_>>()
    });
    let mut bytes = craft::guid("b04aefb7-d19e-4a81-b789-25b8e9445913").to_vec();
    bytes.extend([0, 0, 2, 0]);
    let mut at = 20 + 2 * 12;
    for pair in texts.chunks(2) {
        bytes.extend((at as u32).to_le_bytes());
        bytes.extend(((at + pair[0].len()) as u32).to_le_bytes());
        bytes.extend((pair[0].len() as u16).to_le_bytes());
        bytes.extend((pair[1].len() as u16).to_le_bytes());
        at += pair[0].len() + pair[1].len();
    }
    bytes.extend(texts.concat());
    bytes
}

#[test]
fn a_vhdx_of_64_tib_whose_blocks_take_turns_takes_seconds() {
    let (head, payload) = vast_vhdx(1 << 20, false);
    let image = open(Ruled {
        head,
        len: payload + 32 * TIB,
        stored: ALL,
        word: move |at| {
            let index = (at - BAT) / 8;
            // An entry for a sector bitmap stands behind every 4096 others.
            let block = index - index / 4097;
            let entry = match block % 2 {
                0 => (payload + ((block / 2) << 20)) | FULLY_PRESENT,
                _ => ZERO,
            };
            entry.to_le_bytes()
        },
    });
    let extents = count("VHDX, blocks", image.unwrap().as_ref(), PATIENCE);
    assert_eq!(extents, 64 << 20);
}

/// A VDI of 64 TiB with blocks of 1 MiB: the file up to its block map, and the place of the first
/// block.
fn vast_vdi() -> (Vec<u8>, u64) {
    use vdi_craft::{Block, Craft, field};
    const BLOCKS: u64 = 64 << 20;
    let mut head = Craft::new(1 << 20, &[Block::Absent]).make().bytes;
    head.truncate(vdi_craft::MAP);
    let payload = vdi_craft::MAP as u64 + 4 * BLOCKS;
    put64(&mut head, field::DISK_SIZE, 64 * TIB);
    put32(&mut head, field::DATA, payload as u32);
    put32(&mut head, field::BLOCKS, BLOCKS as u32);
    put32(&mut head, field::ALLOCATED, BLOCKS as u32 / 2);
    (head, payload)
}

#[test]
fn a_vdi_of_64_tib_whose_blocks_take_turns_takes_seconds() {
    let (head, payload) = vast_vdi();
    let image = open(Ruled {
        head,
        len: payload + 32 * TIB,
        stored: ALL,
        word: |at: u64| {
            // Two entries: a block, and none.
            let index = (at - vdi_craft::MAP as u64) / 8;
            (index | 0xffff_ffff << 32).to_le_bytes()
        },
    });
    let extents = count("VDI, blocks", image.unwrap().as_ref(), PATIENCE);
    assert_eq!(extents, 64 << 20);
}

#[test]
fn a_vdi_whose_map_is_a_hole_or_names_one_block_is_refused_when_it_is_opened() {
    for (stored, word, said) in [
        (
            0x200,
            0_u64,
            "blocks 0 to 67108863 are all stored as number 0",
        ),
        (ALL, 0, "block 1 is stored as number 0"),
        (ALL, 7 << 32 | 7, "block 1 is stored as number 7"),
    ] {
        let (head, payload) = vast_vdi();
        let error = open(Ruled {
            head,
            len: payload + 65 * TIB,
            stored,
            word: move |_| word.to_le_bytes(),
        });
        let error = error.err().expect("its blocks overlap");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[test]
fn sector_bitmaps_that_chunks_share_are_refused() {
    // Four MiB of file would be a disk of 2^37 extents.
    let (head, payload) = vast_vhdx(256 << 20, true);
    let blocks = payload + 16384 * (1 << 20);
    let with = |own: bool| Ruled {
        head: head.clone(),
        len: blocks + 64 * TIB,
        stored: ALL,
        word: move |at| {
            let index = (at - BAT) / 8;
            if at >= payload {
                return [0x55; 8];
            }
            let entry = match index % 17 {
                16 if own => (payload + index / 17 * (1 << 20)) | FULLY_PRESENT,
                16 => payload | FULLY_PRESENT,
                _ => (blocks + (index - index / 17) * (256 << 20)) | PARTIALLY_PRESENT,
            };
            entry.to_le_bytes()
        },
    };
    let error = open(with(false)).err().expect("its bitmaps are shared");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    let message = error.to_string();
    assert!(
        message.contains("the sector bitmap of chunk 1:"),
        "{message}"
    );
    // With bitmaps of its own a disk costs what its bitmaps do: each byte is 8 extents.
    let image = open(with(true)).unwrap();
    let started = cpu_time();
    let part = image.extents(diskimg::GuestOffset(0)..diskimg::GuestOffset(4 << 30));
    assert_eq!(part.count(), 8 << 20);
    let took = cpu_time() - started;
    println!("VHDX, sectors: {} extents in {took:?}", 8 << 20);
    assert!(took < PATIENCE, "{took:?}");
}

#[test]
fn sector_bitmaps_in_a_hole_are_not_read() {
    // 64 TiB, all of whose blocks are partially present, and no sector of which is.
    let (head, payload) = vast_vhdx(256 << 20, true);
    let blocks = payload + 16384 * (1 << 20);
    let image = open(Ruled {
        head,
        len: blocks + 64 * TIB,
        stored: payload,
        word: move |at| {
            assert!(
                !(payload..blocks).contains(&at),
                "the bitmap at {at:#x} was read"
            );
            if at >= payload {
                return [0; 8];
            }
            let index = (at - BAT) / 8;
            let entry: u64 = match index % 17 {
                16 => (payload + index / 17 * (1 << 20)) | FULLY_PRESENT,
                _ => (blocks + (index - index / 17) * (256 << 20)) | PARTIALLY_PRESENT,
            };
            entry.to_le_bytes()
        },
    });
    let image = image.unwrap();
    let extents: Vec<_> = image.all_extents().map(Result::unwrap).collect();
    assert_eq!(extents.len(), 1);
    assert_eq!(extents[0].kind, ExtentKind::Elsewhere);
    let sum: u64 = image
        .tallies(2 << 20)
        .map(|tally| tally.unwrap().elsewhere)
        .sum();
    assert_eq!(sum, 64 * TIB);
    let work = image.work();
    assert!(work.done < 2 << 20, "{work:?}");
}

#[test]
fn vhdx_blocks_at_one_place_are_refused_when_the_file_is_opened() {
    let (head, payload) = vast_vhdx(256 << 20, false);
    let with = |distance: u64| Ruled {
        head: head.clone(),
        len: payload + 65 * TIB,
        stored: ALL,
        word: move |at| {
            let index = (at - BAT) / 8;
            let block: u64 = index - index / 17;
            let entry: u64 = payload.wrapping_add(block.wrapping_mul(distance)) | FULLY_PRESENT;
            entry.to_le_bytes()
        },
    };
    // One place for all of them, and blocks of which each lies on half of the one before.
    for distance in [0, 128 << 20] {
        let error = open(with(distance)).err().expect("its blocks overlap");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        let message = error.to_string();
        assert!(message.contains("block 1:"), "{message}");
        assert!(message.contains("shares its place"), "{message}");
    }
    open(with(256 << 20)).unwrap();
}

/// A qcow2 of `size` bytes whose clusters take turns, data and nothing, and whose L2 tables are all
/// there.
fn qcow2(cluster_bits: u32, size: u64) -> impl ReadAt {
    let cluster = 1_u64 << cluster_bits;
    let tables = size / (cluster * cluster / 8);
    let first = 2 * cluster + (tables * 8).next_multiple_of(cluster);
    let data = first + tables * cluster;
    let mut head = vec![0; 512];
    let mut put = |at: usize, bytes: &[u8]| head[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"QFI\xfb\0\0\0\x03");
    put(20, &cluster_bits.to_be_bytes());
    put(24, &size.to_be_bytes());
    put(36, &(tables as u32).to_be_bytes());
    put(40, &(2 * cluster).to_be_bytes());
    put(96, &4_u32.to_be_bytes());
    put(100, &104_u32.to_be_bytes());
    Ruled {
        head,
        len: data + cluster,
        stored: ALL,
        word: move |at| {
            let entry = if at < 2 * cluster {
                0
            } else if at < first {
                (first + (at - 2 * cluster) / 8 * cluster) | 1 << 63
            } else {
                match (at - first) / 8 % 2 {
                    0 => data | 1 << 63,
                    _ => 0,
                }
            };
            entry.to_be_bytes()
        },
    }
}

#[test]
fn qcow2_clusters_that_take_turns_cost_little_each() {
    // 64 TiB at the largest clusters; 1 TiB, which has 128 MiB of tables, at the usual ones.
    for (cluster_bits, size) in [(21, 64 * TIB), (16, TIB)] {
        let image = open(qcow2(cluster_bits, size)).unwrap();
        let what = format!("qcow2, clusters of {} KiB", 1 << (cluster_bits - 10));
        let extents = count(&what, image.as_ref(), PATIENCE);
        assert_eq!(extents, size >> cluster_bits);
    }
}

#[test]
fn a_vhd_of_2_tib_whose_blocks_take_turns_takes_seconds() {
    const BLOCK: u64 = 512 << 10;
    let blocks = 2 * TIB / BLOCK - 2;
    let size = blocks * BLOCK;
    let (bat, first) = (2048, 2048 + (blocks * 4).next_multiple_of(512));
    let seal = |structure: &mut [u8], at: usize| {
        let sum: u32 = structure.iter().map(|byte| u32::from(*byte)).sum();
        structure[at..at + 4].copy_from_slice(&(!sum).to_be_bytes());
    };
    let mut footer = vec![0; 512];
    let put = |bytes: &mut [u8], at: usize, value: &[u8]| {
        bytes[at..at + value.len()].copy_from_slice(value);
    };
    put(&mut footer, 0, b"conectix\0\0\0\x02\0\x01\0\0");
    put(&mut footer, 16, &512_u64.to_be_bytes());
    put(&mut footer, 28, b"win \0\x0a\0\0Wi2k");
    put(&mut footer, 40, &size.to_be_bytes());
    put(&mut footer, 48, &size.to_be_bytes());
    put(&mut footer, 56, &[0xff, 0xff, 16, 255, 0, 0, 0, 3]);
    seal(&mut footer, 64);
    let mut header = vec![0; 1024];
    put(&mut header, 0, b"cxsparse");
    put(&mut header, 8, &u64::MAX.to_be_bytes());
    put(&mut header, 16, &(bat as u64).to_be_bytes());
    put(&mut header, 24, &[0, 1, 0, 0]);
    put(&mut header, 28, &(blocks as u32).to_be_bytes());
    put(&mut header, 32, &(BLOCK as u32).to_be_bytes());
    seal(&mut header, 36);
    let mut head = [footer.clone(), header].concat();
    head.resize(bat, 0);
    for block in 0..blocks {
        let sector = match block % 2 {
            0 => (first + block / 2 * (512 + BLOCK)) / 512,
            _ => u64::from(u32::MAX),
        };
        head.extend((sector as u32).to_be_bytes());
    }
    head.resize(first as usize, 0);
    let end = first + blocks / 2 * (512 + BLOCK);
    let image = open(Ruled {
        head,
        len: end + 512,
        // Sector bitmaps, of which all bits are set; and the footer.
        stored: ALL,
        word: move |at: u64| match at.checked_sub(end) {
            None => [0xff; 8],
            Some(within) => footer[within as usize..within as usize + 8]
                .try_into()
                .unwrap(),
        },
    });
    let extents = count("VHD, blocks", image.unwrap().as_ref(), PATIENCE);
    assert_eq!(extents, blocks);
}
