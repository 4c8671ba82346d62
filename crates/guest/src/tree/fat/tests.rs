#![expect(
    clippy::cast_possible_truncation,
    reason = "test data are far smaller than any of these types"
)]

use std::collections::BTreeMap;
use std::rc::Rc;

use super::*;
use crate::Budget;
use crate::media::Media;
use crate::view::View;

const SECTOR: usize = 512;

/// A file system under construction: one table, clusters of one sector.
struct Maker {
    width: Width,
    clusters: usize,
    bytes: Vec<u8>,
    data: usize,
    next: u32,
}

impl Maker {
    fn new(width: Width) -> Self {
        let (clusters, root): (usize, u16) = match width {
            Width::Bits12 => (100, 16),
            Width::Bits16 => (5000, 16),
            Width::Bits32 => (70_000, 0),
        };
        let table = (clusters + 2) * 4 / SECTOR + 1;
        let data = (1 + table) * SECTOR + usize::from(root) * ENTRY;
        let mut bytes = vec![0; data + clusters * SECTOR];
        let mut put = |at: usize, data: &[u8]| bytes[at..at + data.len()].copy_from_slice(data);
        put(11, &512_u16.to_le_bytes());
        put(13, &[1]);
        put(14, &1_u16.to_le_bytes());
        put(16, &[1]);
        put(17, &root.to_le_bytes());
        let total = (data / SECTOR + clusters) as u32;
        put(32, &total.to_le_bytes());
        match width {
            Width::Bits32 => put(36, &(table as u32).to_le_bytes()),
            _ => put(22, &(table as u16).to_le_bytes()),
        }
        put(44, &2_u32.to_le_bytes());
        put(510, &[0x55, 0xaa]);
        Self {
            width,
            clusters,
            bytes,
            data,
            next: if width == Width::Bits32 { 3 } else { 2 },
        }
    }

    /// Says that `next` comes after `cluster`.
    fn link(&mut self, cluster: u32, next: u32) {
        let at = cluster as usize;
        match self.width {
            Width::Bits12 => {
                let place = SECTOR + at + at / 2;
                let pair = u16::from_le_bytes([self.bytes[place], self.bytes[place + 1]]);
                let next = next as u16 & 0xfff;
                let pair = match at % 2 {
                    0 => pair & 0xf000 | next,
                    _ => pair & 0xf | next << 4,
                };
                self.bytes[place..place + 2].copy_from_slice(&pair.to_le_bytes());
            }
            Width::Bits16 => {
                let place = SECTOR + at * 2;
                self.bytes[place..place + 2].copy_from_slice(&(next as u16).to_le_bytes());
            }
            Width::Bits32 => {
                let place = SECTOR + at * 4;
                self.bytes[place..place + 4].copy_from_slice(&next.to_le_bytes());
            }
        }
    }

    /// Stores `content` in every second cluster; the first one.
    fn store(&mut self, content: &[u8]) -> u32 {
        let first = self.next;
        let count = content.len().div_ceil(SECTOR).max(1) as u32;
        for (index, piece) in (0..count).zip(content.chunks(SECTOR)) {
            let cluster = first + index * 2;
            let at = self.data + (cluster as usize - 2) * SECTOR;
            self.bytes[at..at + piece.len()].copy_from_slice(piece);
            let last = index + 1 == count;
            self.link(cluster, if last { 0x0fff_ffff } else { cluster + 2 });
        }
        self.next = first + count * 2;
        assert!(self.next as usize <= self.clusters);
        first
    }

    fn done(mut self, root: &[u8]) -> Fat {
        match self.width {
            Width::Bits32 => {
                let at = self.data;
                self.bytes[at..at + root.len()].copy_from_slice(root);
                self.link(2, 0x0fff_ffff);
            }
            _ => {
                let at = self.data - 16 * ENTRY;
                self.bytes[at..at + root.len()].copy_from_slice(root);
            }
        }
        let size = self.bytes.len() as u64;
        let bytes = self.bytes;
        let source = move |at: u64, buf: &mut [u8]| {
            buf.copy_from_slice(&bytes[at as usize..][..buf.len()]);
            Ok(())
        };
        let media = Rc::new(Media::new(Box::new(source), size, &Budget::default()));
        Fat::open(&Slice::new(&media, 0, size)).unwrap()
    }
}

/// An entry with a short name of 11 characters.
fn short(name: &str, attributes: u8, cluster: u32, size: u32) -> Vec<u8> {
    let mut entry = vec![0; ENTRY];
    entry[..11].copy_from_slice(name.as_bytes());
    entry[11] = attributes;
    entry[20..22].copy_from_slice(&((cluster >> 16) as u16).to_le_bytes());
    entry[26..28].copy_from_slice(&(cluster as u16).to_le_bytes());
    entry[28..32].copy_from_slice(&size.to_le_bytes());
    entry
}

/// An entry with a long name of up to 26 characters in front of it.
fn long(name: &str, entry: &[u8]) -> Vec<u8> {
    let sum = entry[..11]
        .iter()
        .fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
    let mut units: Vec<u16> = name.encode_utf16().chain([0]).collect();
    units.resize(26, 0xffff);
    let mut entries = Vec::new();
    for (number, units) in [(0x42, &units[13..]), (1, &units[..13])] {
        let mut part = vec![0; ENTRY];
        part[0] = number;
        part[11] = LONG;
        part[13] = sum;
        let places = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];
        for (at, unit) in places.into_iter().zip(units) {
            part[at..at + 2].copy_from_slice(&unit.to_le_bytes());
        }
        entries.extend(part);
    }
    entries.extend(entry);
    entries
}

fn made(width: Width) -> Fat {
    let mut maker = Maker::new(width);
    let content: Vec<u8> = (0..1300_u32).map(|at| at as u8).collect();
    let file = maker.store(&content);
    let name = "a-longer-name.efi";
    let entry = short("ALONGE~1EFI", 0x20, file, 1300);
    let inner = maker.store(&[short("SHORT   TXT", 0x20, 0, 0), long(name, &entry)].concat());
    let root = [
        short("MYLABEL    ", LABEL, 0, 0),
        deleted(),
        short("EFI        ", DIRECTORY, inner, 0),
    ]
    .concat();
    maker.done(&root)
}

#[test]
fn files_are_found_by_long_and_short_names_without_case() {
    for width in [Width::Bits12, Width::Bits16, Width::Bits32] {
        let view = View::new(Rc::new(made(width)), 0);
        for path in [
            "/EFI/a-longer-name.efi",
            "/efi/A-Longer-NAME.EFI",
            "/efi/alonge~1.efi",
        ] {
            let read = view.read(path, 2000).unwrap().unwrap();
            assert_eq!(read.len(), 1300, "{path}");
            assert!(
                read.iter()
                    .zip(0..1300_u32)
                    .all(|(byte, at)| *byte == at as u8)
            );
        }
        assert!(!view.exists("/EFI/other").unwrap());
        assert!(!view.exists("/EFI/SHORT.TXT/x").unwrap());
        assert_eq!(view.read("/efi/short.txt", 9).unwrap().unwrap(), b"");
        let names: BTreeMap<String, Kind> = view
            .list("/EFI")
            .unwrap()
            .into_iter()
            .map(|entry| (String::from_utf8(entry.name).unwrap(), entry.kind))
            .collect();
        let names: Vec<_> = names.keys().map(String::as_str).collect();
        assert_eq!(names, ["SHORT.TXT", "a-longer-name.efi"]);
    }
}

#[test]
fn a_chain_that_comes_back_or_leaves_the_file_system_ends() {
    for width in [Width::Bits12, Width::Bits16, Width::Bits32] {
        for to in [4, 3, 1, 0] {
            let mut maker = Maker::new(width);
            let first = maker.store(&[1; SECTOR]);
            maker.link(first, if to == 4 { first } else { to });
            let loops = short("LOOPS   BIN", 0x20, first, u32::MAX);
            let directory = short("DIR        ", DIRECTORY, first, 0);
            let fat = maker.done(&[loops, directory].concat());
            let mut buf = vec![0; 4096];
            // Either an error, or as many bytes as were asked for.
            if let Ok(read) = fat.read_at(b"/LOOPS.BIN", 0, &mut buf) {
                assert_eq!(read, buf.len());
            }
            let _ = fat.list(b"/DIR");
        }
    }
}

#[test]
fn a_long_name_that_does_not_belong_to_its_entry_is_ignored() {
    let mut entries = long("other.txt", &short("NAME    TXT", 0x20, 0, 0));
    entries[13] ^= 1;
    let nodes = nodes(&entries);
    assert_eq!(nodes[0].name, "NAME.TXT");
}

fn deleted() -> Vec<u8> {
    let mut entry = short("OLD     TXT", 0x20, 9, 9);
    entry[0] = 0xe5;
    entry
}
