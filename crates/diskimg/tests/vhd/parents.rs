//! Differencing disks over their parents. No program that runs here makes them; the files are
//! written by hand.

use std::path::Path;

use diskimg::{BackingPolicy, ErrorKind, ExtentKind, GuestOffset, OpenOptions, Opened, Result};
use tempfile::TempDir;

use crate::craft::{Block, Craft, HEADER, Image, mixed, noise, put32, seal_footer, seal_header};
use crate::{extents, refused};

const BLOCK: usize = 64 << 10;

/// Makes `image` a differencing disk over the disk with identifier `parent`, which `locators` name:
/// code, and the bytes of the path.
pub(crate) fn differencing(
    image: &Image,
    parent: [u8; 16],
    locators: &[(&[u8; 4], Vec<u8>)],
) -> Vec<u8> {
    let footer = image.footer();
    let mut bytes = image.bytes[..footer].to_vec();
    bytes[HEADER + 40..HEADER + 56].copy_from_slice(&parent);
    for (index, (code, path)) in locators.iter().enumerate() {
        let entry = HEADER + 576 + index * 24;
        bytes[entry..entry + 4].copy_from_slice(*code);
        put32(&mut bytes, entry + 4, 512);
        put32(&mut bytes, entry + 8, path.len() as u32);
        let at = bytes.len() as u64;
        bytes[entry + 16..entry + 24].copy_from_slice(&at.to_be_bytes());
        bytes.extend(path);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    seal_header(&mut bytes);
    put32(&mut bytes, 60, 4);
    seal_footer(&mut bytes, 0);
    let footer = bytes[..512].to_vec();
    bytes.extend(footer);
    bytes
}

pub(crate) fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn big_utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

fn open_inside(path: &Path, dir: &Path) -> Result<Opened> {
    let options = OpenOptions {
        backing: BackingPolicy::Inside(dir.to_owned()),
        ..OpenOptions::default()
    };
    diskimg::open(path, &options, &[])
}

/// The identifier that the craft gives every disk.
pub(crate) const ID: [u8; 16] = [0x77; 16];

/// What the guest sees of `child` over `parent`, which it sees as `below`.
fn merged(child: &Craft, image: &Image, below: &[u8]) -> Vec<u8> {
    let mut guest = below.to_vec();
    guest.resize(image.guest.len(), 0);
    for (index, block) in child.blocks.iter().enumerate() {
        let sectors = child.block_size / 512;
        let written = match block {
            Block::Hole => continue,
            Block::Full(_) => vec![true; sectors],
            Block::Partial(_, written) => written.clone(),
        };
        for (sector, _) in written.iter().enumerate().filter(|(_, written)| **written) {
            let at = index * child.block_size + sector * 512;
            if at < guest.len() {
                guest[at..at + 512].copy_from_slice(&image.guest[at..at + 512]);
            }
        }
    }
    guest
}

#[test]
fn sectors_that_were_not_written_are_the_parents() {
    let dir = TempDir::new().unwrap();
    let base = Craft::new(4096, mixed(4096, 80)).dynamic();
    std::fs::write(dir.path().join("base.vhd"), &base.bytes).unwrap();
    let mut blocks = mixed(BLOCK, 5);
    blocks.reverse();
    let child = Craft::new(BLOCK, blocks);
    let image = child.dynamic();
    let bytes = differencing(&image, ID, &[(b"W2ru", utf16(".\\base.vhd"))]);
    let path = dir.path().join("child.vhd");
    std::fs::write(&path, &bytes).unwrap();
    let opened = open_inside(&path, dir.path()).unwrap();
    let expected = merged(&child, &image, &base.guest);
    testkit::conformance(opened.image.as_ref(), &expected);
    let details = opened.image.details();
    assert_eq!(details.variant.as_deref(), Some("differencing"));
    assert_eq!(details.refers_to[0].role, "parent");
    let kinds: Vec<_> = extents(opened.image.as_ref())
        .unwrap()
        .iter()
        .map(|extent| extent.kind)
        .collect();
    // The parent's own sectors that were never written are zeros, and what is in neither is a hole.
    for kind in [ExtentKind::Data, ExtentKind::Zero, ExtentKind::Hole] {
        assert!(kinds.contains(&kind), "{kinds:?}");
    }

    // A grandchild, smaller than its parent and with a fixed disk's block boundaries nowhere.
    let top = Craft {
        size: 3 * BLOCK as u64 - 1024,
        ..Craft::new(BLOCK, mixed(BLOCK, 3))
    };
    let top_image = top.dynamic();
    let bytes = differencing(&top_image, ID, &[(b"W2ru", utf16("child.vhd"))]);
    let path = dir.path().join("top.vhd");
    std::fs::write(&path, bytes).unwrap();
    let opened = open_inside(&path, dir.path()).unwrap();
    let mut expected = expected;
    expected.truncate(top_image.guest.len());
    let expected = merged(&top, &top_image, &expected);
    testkit::conformance(opened.image.as_ref(), &expected);
}

#[test]
fn every_kind_of_locator_finds_the_parent() {
    let dir = TempDir::new().unwrap();
    let allowed = dir.path().join("my disks");
    std::fs::create_dir_all(allowed.join("base")).unwrap();
    let guest = noise(1, BLOCK);
    let parent = Craft::new(BLOCK, vec![Block::Hole]).fixed(&guest);
    std::fs::write(allowed.join("base/pär ent.vhd"), parent).unwrap();
    let child = Craft::new(BLOCK, vec![Block::Hole]).dynamic();
    let found: [(&[u8; 4], Vec<u8>); 8] = [
        (b"W2ru", utf16(r".\base\pär ent.vhd")),
        (b"W2ru", big_utf16(r"base\pär ent.vhd")),
        (b"W2ku", utf16(r"C:\VMs\base\pär ent.vhd")),
        (b"W2ku", utf16(r"\\server\share\base\pär ent.vhd")),
        (b"Wi2r", "base\\pär ent.vhd".into()),
        (b"Wi2k", "D:\\base\\pär ent.vhd".into()),
        (b"MacX", "file://./base/p%C3%A4r%20ent.vhd".into()),
        (
            b"MacX",
            "file://localhost/Volumes/x/base/pär ent.vhd".into(),
        ),
    ];
    let path = allowed.join("child.vhd");
    for locator in found {
        let name = String::from_utf8_lossy(&locator.1).into_owned();
        std::fs::write(&path, differencing(&child, ID, &[locator])).unwrap();
        let opened = open_inside(&path, &allowed).unwrap_or_else(|e| panic!("{name}: {e}"));
        testkit::conformance(opened.image.as_ref(), &guest);
    }
    // One that leads nowhere, and a second one.
    let two = [
        (b"W2ru", utf16("gone.vhd")),
        (b"W2ku", utf16(r"C:\base\pär ent.vhd")),
    ];
    std::fs::write(&path, differencing(&child, ID, &two)).unwrap();
    open_inside(&path, &allowed).unwrap();
    // Never by leaving the directory.
    for name in [r"..\outside.vhd", r"C:\..\outside.vhd"] {
        std::fs::copy(
            allowed.join("base/pär ent.vhd"),
            dir.path().join("outside.vhd"),
        )
        .unwrap();
        let code = if name.starts_with('C') {
            b"W2ku"
        } else {
            b"W2ru"
        };
        std::fs::write(&path, differencing(&child, ID, &[(code, utf16(name))])).unwrap();
        refused(open_inside(&path, &allowed));
    }
}

#[test]
fn a_parent_that_is_another_disk_is_refused() {
    let dir = TempDir::new().unwrap();
    let base = Craft::new(BLOCK, vec![Block::Full(noise(2, BLOCK))]).dynamic();
    std::fs::write(dir.path().join("base.vhd"), &base.bytes).unwrap();
    let child = Craft::new(BLOCK, vec![Block::Hole]).dynamic();
    let path = dir.path().join("child.vhd");
    let locators = [(b"W2ru", utf16("base.vhd"))];
    std::fs::write(&path, differencing(&child, [0x78; 16], &locators)).unwrap();
    let error = refused(open_inside(&path, dir.path()));
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let text = error.to_string();
    assert!(
        text.contains(&"78".repeat(16)) && text.contains(&"77".repeat(16)),
        "{text}"
    );

    // Locators that lie outside the file, or are longer than any path, name nothing.
    let mut bytes = differencing(&child, ID, &locators);
    for (at, value) in [(16, u64::MAX), (16, 1 << 40), (8, u64::MAX)] {
        let entry = HEADER + 576;
        bytes[entry + at..entry + at + 8].copy_from_slice(&value.to_be_bytes());
        seal_header(&mut bytes);
        std::fs::write(&path, &bytes).unwrap();
        let error = refused(open_inside(&path, dir.path()));
        assert_eq!(error.kind(), ErrorKind::Io, "{error}");
    }
}

#[test]
fn a_described_differencing_disk_reads_its_own_sectors_only() {
    let dir = TempDir::new().unwrap();
    let blocks = vec![Block::Full(noise(3, BLOCK)), Block::Hole];
    let image = Craft::new(BLOCK, blocks).dynamic();
    let bytes = differencing(&image, ID, &[(b"W2ru", utf16("base.vhd"))]);
    let path = dir.path().join("child.vhd");
    std::fs::write(&path, bytes).unwrap();
    let options = OpenOptions {
        backing: BackingPolicy::Describe,
        ..OpenOptions::default()
    };
    let image = diskimg::open(&path, &options, &[]).unwrap().image;
    assert_eq!(image.details().refers_to[0].name, "base.vhd");
    image.read_at(GuestOffset(0), &mut [0; BLOCK]).unwrap();
    let error = refused(image.read_at(GuestOffset(BLOCK as u64), &mut [0; 1]));
    assert!(error.to_string().contains("base.vhd"), "{error}");
}
