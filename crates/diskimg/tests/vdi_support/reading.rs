//! What is read, from files that are made by hand.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use diskimg::{
    BackingPolicy, DiskImage, ExtentKind, Format, GuestOffset, MemorySource, OpenOptions,
    open_source,
};
use testkit::conformance;

use crate::craft::{Block, Craft, DIFFERENCING, FIXED, MAP, field, put32};
use crate::{extents, open, open_any};

const BLOCKS: [Block; 7] = [
    Block::Noise,
    Block::Absent,
    Block::Noise,
    Block::Noise,
    Block::Zeros,
    Block::Zeros,
    Block::Noise,
];

#[test]
fn vdi_images_conform() {
    for block_size in [4096, 64 << 10, 1 << 20] {
        for (backwards, extra) in [(false, 0), (true, 0), (false, 512), (true, 4096)] {
            let craft = Craft {
                backwards,
                extra,
                disk_size: (BLOCKS.len() * block_size) as u64 - 1536,
                alignment: 4096,
                ..Craft::new(block_size, &BLOCKS)
            };
            let made = craft.make();
            conformance(&open(&made.bytes).unwrap(), &made.guest);
        }
    }
}

#[test]
fn extents_tell_what_is_stored_marked_and_neither() {
    let image = open(&Craft::new(4096, &BLOCKS).make().bytes).unwrap();
    let found: Vec<_> = extents(&image)
        .unwrap()
        .iter()
        .map(|extent| (extent.kind, extent.len / 4096))
        .collect();
    use ExtentKind::{Data, Hole, Zero};
    assert_eq!(
        found,
        [(Data, 1), (Hole, 1), (Data, 2), (Zero, 2), (Data, 1)]
    );
}

#[test]
fn a_hole_of_the_file_inside_a_stored_block_is_a_hole_of_the_disk() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let made = Craft {
        alignment: 64 << 10,
        ..Craft::new(1 << 20, &[Block::Noise; 2])
    }
    .make();
    let disk = File::create(file.path()).unwrap();
    disk.set_len(made.bytes.len() as u64).unwrap();
    disk.write_all_at(&made.bytes[..made.data], 0).unwrap();
    let at = made.data + (1 << 20);
    disk.write_all_at(&made.bytes[at..], at as u64).unwrap();
    let opened = diskimg::open(file.path(), &OpenOptions::default(), &[]).unwrap();
    let data: u64 = extents(opened.image.as_ref())
        .unwrap()
        .iter()
        .filter(|extent| extent.kind == ExtentKind::Data)
        .map(|extent| extent.len)
        .sum();
    assert!(
        ((1 << 20)..(1 << 20) + (128 << 10)).contains(&data),
        "{data}"
    );
}

#[test]
fn a_size_that_is_no_multiple_of_512_is_rounded_down_with_a_warning() {
    // The last block holds nothing but what is cut off, and need not be in the file.
    for (more, blocks) in [(100, 3), (4096 - 1, 3)] {
        let craft = Craft {
            disk_size: 2 * 4096 + more,
            ..Craft::new(4096, &vec![Block::Noise; blocks])
        };
        let made = craft.make();
        let kept = made.guest.len();
        assert_eq!(kept as u64, (2 * 4096 + more) / 512 * 512);
        let cut = made.data + kept;
        let image = open(&made.bytes[..cut]).unwrap();
        conformance(&image, &made.guest);
        let warnings = image.details().warnings;
        assert!(warnings[0].contains("no multiple of 512"), "{warnings:?}");
        open(&made.bytes[..cut - 1]).err().expect("it is too short");
    }
}

#[test]
fn fixed_disks_are_read_by_their_map() {
    let craft = Craft {
        kind: FIXED,
        backwards: true,
        ..Craft::new(4096, &[Block::Noise; 5])
    };
    let made = craft.make();
    let image = open(&made.bytes).unwrap();
    conformance(&image, &made.guest);
    assert_eq!(image.details().variant.as_deref(), Some("fixed"));
}

#[test]
fn the_text_decides_nothing_and_the_signature_everything() {
    for text in ["<<< QEMU VM Virtual Disk Image >>>\n", "CloneVDI", ""] {
        let mut made = Craft::new(4096, &BLOCKS).make();
        made.bytes[..64].fill(0);
        made.bytes[..text.len()].copy_from_slice(text.as_bytes());
        let opened = open_any(&made.bytes, None).unwrap();
        assert_eq!(opened.format, Format::Vdi, "{text}");
        let creator = opened.image.details().creator.unwrap_or_default();
        assert!(text.contains(&creator), "{creator:?}");
        made.bytes[field::SIGNATURE] ^= 1;
        assert!(!matches!(open_any(&made.bytes, None), Ok(opened) if opened.format == Format::Vdi));
    }
}

#[test]
fn what_others_leave_odd_is_read() {
    let made = Craft::new(4096, &BLOCKS).make();
    // QEMU's header, a sector size of 0, and a map that is longer than the disk needs.
    for (at, value) in [
        (field::HEADER_SIZE, 384),
        (field::SECTOR_SIZE, 0),
        (field::BLOCKS, 8),
    ] {
        let mut bytes = made.bytes.clone();
        put32(&mut bytes, at, value);
        conformance(&open(&bytes).unwrap(), &made.guest);
    }
    // The header counts fewer blocks than there are.
    let mut bytes = made.bytes.clone();
    put32(&mut bytes, field::ALLOCATED, 2);
    let image = open(&bytes).unwrap();
    conformance(&image, &made.guest);
    let warnings = image.details().warnings;
    assert!(warnings[0].contains("4 blocks are stored"), "{warnings:?}");
    assert!(warnings[0].contains("counts 2"), "{warnings:?}");
}

#[test]
fn a_differencing_disk_is_described_and_never_read_without_its_parent() {
    let craft = Craft {
        kind: DIFFERENCING,
        parent: *b"\x66\x77\xc2\x2d\x23\xf6\x00\x42\x9d\x64\x11\x5e\x9b\xfd\x4a\x08",
        ..Craft::new(4096, &BLOCKS)
    };
    let made = craft.make();
    let options = OpenOptions {
        backing: BackingPolicy::Describe,
        ..OpenOptions::default()
    };
    let source = Arc::new(MemorySource(made.bytes));
    let opened = open_source(source, &options, &[]).unwrap();
    let details = opened.image.details();
    assert_eq!(details.variant.as_deref(), Some("differencing"));
    assert_eq!(
        details.refers_to[0].name,
        "2dc27766-f623-4200-9d64-115e9bfd4a08"
    );
    let kinds: Vec<_> = extents(opened.image.as_ref()).unwrap();
    assert_eq!(kinds[1].kind, ExtentKind::Elsewhere);
    // A block that is marked as zeros hides the parent's.
    assert_eq!(kinds[3].kind, ExtentKind::Zero);
    let mut block = [1; 4096];
    let image = opened.image.as_ref();
    image.read_at(GuestOffset(4 * 4096), &mut block).unwrap();
    assert!(diskimg::zero::is_zero(&block));
    let read = image.read_at(GuestOffset(4096), &mut block);
    assert!(read.unwrap_err().to_string().contains("parent"));
}

#[test]
fn the_map_is_read_in_pieces_and_never_held_whole() {
    // 8 MiB of map: two million blocks, of which one is stored.
    let blocks = 2 << 20;
    let mut states = vec![Block::Absent; blocks];
    states[blocks - 2] = Block::Noise;
    let made = Craft::new(4096, &states).make();
    assert_eq!(made.data - MAP, 4 * blocks);
    let image = open(&made.bytes).unwrap();
    assert!(image.memory_bound(2) < 6 << 20, "{}", image.memory_bound(2));
    let found = extents(&image).unwrap();
    let data: Vec<_> = found
        .iter()
        .filter(|extent| extent.kind == ExtentKind::Data)
        .map(|extent| (extent.start.0, extent.len))
        .collect();
    assert_eq!(data, [((blocks as u64 - 2) * 4096, 4096)]);
}
