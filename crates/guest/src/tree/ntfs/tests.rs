#![expect(
    clippy::cast_possible_truncation,
    reason = "test data are far smaller than any of these types"
)]

use std::rc::Rc;

use super::*;
use crate::Budget;
use crate::media::Media;
use crate::view::View;

/// Bytes of a record, of a cluster, and of the whole volume.
const RECORD: usize = 1024;
const CLUSTER: usize = 512;
const SIZE: usize = 256 << 10;
/// First cluster of the file table.
const TABLE: u64 = 8;
/// The file and its records.
const FILE: u64 = 20;
const DIRECTORY: u64 = 24;

/// A volume in the making.
struct Maker {
    bytes: Vec<u8>,
}

/// Bytes with these at these offsets.
fn laid_out(length: usize, parts: &[(usize, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; length];
    for (at, part) in parts {
        bytes[*at..at + part.len()].copy_from_slice(part);
    }
    bytes
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn resident(kind: u32, name: &str, content: &[u8]) -> Vec<u8> {
    let name = utf16(name);
    let start = 24 + name.len().next_multiple_of(8);
    let length = (start + content.len()).next_multiple_of(8);
    laid_out(
        length,
        &[
            (0, &kind.to_le_bytes()),
            (4, &(length as u32).to_le_bytes()),
            (9, &[name.len() as u8 / 2]),
            (10, &24_u16.to_le_bytes()),
            (16, &(content.len() as u32).to_le_bytes()),
            (20, &(start as u16).to_le_bytes()),
            (24, &name),
            (start, content),
        ],
    )
}

/// A piece that begins at cluster `first` of `size` bytes, in one run of `count` clusters.
fn piece(kind: u32, name: &str, first: u64, size: u64, run: (u8, u16)) -> Vec<u8> {
    let name = utf16(name);
    let start = 64 + name.len().next_multiple_of(8);
    let length = start + 8;
    let (count, place) = run;
    let place = place.to_le_bytes();
    laid_out(
        length,
        &[
            (0, &kind.to_le_bytes()),
            (4, &(length as u32).to_le_bytes()),
            (8, &[1, name.len() as u8 / 2]),
            (10, &64_u16.to_le_bytes()),
            (16, &first.to_le_bytes()),
            (24, &(first + u64::from(count) - 1).to_le_bytes()),
            (32, &(start as u16).to_le_bytes()),
            (48, &size.to_le_bytes()),
            (56, &size.to_le_bytes()),
            (64, &name),
            (start, &[0x21, count, place[0], place[1], 0]),
        ],
    )
}

/// A list of attributes: kind, name and record of each.
fn list(entries: &[(u32, &str, u64)]) -> Vec<u8> {
    let entry = |(index, (kind, name, record)): (usize, &(u32, &str, u64))| {
        let name = utf16(name);
        let length = (26 + name.len()).next_multiple_of(8);
        laid_out(
            length,
            &[
                (0, &kind.to_le_bytes()),
                (4, &(length as u16).to_le_bytes()),
                (6, &[name.len() as u8 / 2, 26]),
                (8, &(index as u64).to_le_bytes()),
                (16, &record.to_le_bytes()),
                (26, &name),
            ],
        )
    };
    entries.iter().enumerate().flat_map(entry).collect()
}

/// An entry of an index; none is the last one.
fn entry(named: Option<(&str, u64, u32)>) -> Vec<u8> {
    let Some((name, record, flags)) = named else {
        return laid_out(16, &[(8, &16_u16.to_le_bytes()), (12, &[2])]);
    };
    let name = utf16(name);
    let stream = 66 + name.len();
    let length = (16 + stream).next_multiple_of(8);
    laid_out(
        length,
        &[
            (0, &record.to_le_bytes()),
            (8, &(length as u16).to_le_bytes()),
            (10, &(stream as u16).to_le_bytes()),
            (16 + 56, &flags.to_le_bytes()),
            (16 + 64, &[name.len() as u8 / 2, 1]),
            (16 + 66, &name),
        ],
    )
}

fn index_root(entries: &[Vec<u8>], large: bool) -> Vec<u8> {
    let entries = entries.concat();
    let total = (16 + entries.len()) as u32;
    laid_out(
        32 + entries.len(),
        &[
            (0, &0x30_u32.to_le_bytes()),
            (16, &16_u32.to_le_bytes()),
            (20, &total.to_le_bytes()),
            (28, &[u8::from(large)]),
            (32, &entries),
        ],
    )
}

/// Puts the last bytes of every sector into the list at `list`.
fn sealed(mut bytes: Vec<u8>, list: usize) -> Vec<u8> {
    bytes[list..list + 2].copy_from_slice(&[7, 0]);
    for sector in 0..bytes.len() / 512 {
        let end = sector * 512 + 510;
        let kept = [bytes[end], bytes[end + 1]];
        bytes[list + 2 + sector * 2..][..2].copy_from_slice(&kept);
        bytes[end..end + 2].copy_from_slice(&[7, 0]);
    }
    bytes
}

impl Maker {
    fn new() -> Self {
        let boot = [
            (3, b"NTFS    ".as_slice()),
            (11, &512_u16.to_le_bytes()),
            (13, &[1]),
            (40, &(SIZE as u64 / 512).to_le_bytes()),
            (48, &TABLE.to_le_bytes()),
            (56, &TABLE.to_le_bytes()),
            (64, &[0xf6]),
            (68, &[0xf4]),
            (510, &[0x55, 0xaa]),
        ];
        let mut maker = Self {
            bytes: laid_out(SIZE, &boot),
        };
        let run = (64, TABLE as u16);
        maker.record(0, &[piece(DATA, "", 0, 32 << 10, run)]);
        maker
    }

    fn record(&mut self, number: u64, attributes: &[Vec<u8>]) {
        let attributes = [attributes.concat(), u32::MAX.to_le_bytes().to_vec()].concat();
        let record = laid_out(
            RECORD,
            &[
                (0, b"FILE"),
                (4, &48_u16.to_le_bytes()),
                (6, &3_u16.to_le_bytes()),
                (20, &56_u16.to_le_bytes()),
                (22, &1_u16.to_le_bytes()),
                (56, &attributes),
            ],
        );
        self.put(
            TABLE as usize * CLUSTER + number as usize * RECORD,
            &sealed(record, 48),
        );
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn done(self) -> View {
        let bytes = self.bytes;
        let source = move |at: u64, buf: &mut [u8]| {
            buf.copy_from_slice(&bytes[at as usize..][..buf.len()]);
            Ok(())
        };
        let media = Rc::new(Media::new(
            Box::new(source),
            SIZE as u64,
            &Budget::default(),
        ));
        let ntfs = Ntfs::open(&Slice::new(&media, 0, SIZE as u64)).unwrap();
        View::new(Rc::new(ntfs), 0)
    }
}

/// A file in two pieces and a directory whose index is, each piece in a record of its own.
fn made() -> Maker {
    let mut maker = Maker::new();
    let root = [
        entry(Some(("Directory", DIRECTORY, 0x1000_0000))),
        entry(Some(("File.bin", FILE, 0))),
        entry(None),
    ];
    maker.record(
        ROOT,
        &[resident(INDEX_ROOT, "$I30", &index_root(&root, false))],
    );
    maker.record(
        FILE,
        &[resident(
            ATTRIBUTE_LIST,
            "",
            &list(&[(DATA, "", FILE + 1), (DATA, "", FILE + 2)]),
        )],
    );
    // 1,400 bytes: two clusters here, and one far away.
    maker.record(FILE + 1, &[piece(DATA, "", 0, 1400, (2, 100))]);
    maker.record(FILE + 2, &[piece(DATA, "", 2, 0, (1, 300))]);
    maker.put(100 * CLUSTER, &[1; 2 * CLUSTER]);
    maker.put(300 * CLUSTER, &[2; CLUSTER]);
    maker.record(
        DIRECTORY,
        &[
            resident(
                ATTRIBUTE_LIST,
                "",
                &list(&[
                    (INDEX_ROOT, "$I30", DIRECTORY),
                    (INDEX_ALLOCATION, "$I30", DIRECTORY + 1),
                    (INDEX_ALLOCATION, "$I30", DIRECTORY + 2),
                ]),
            ),
            resident(INDEX_ROOT, "$I30", &index_root(&[entry(None)], true)),
        ],
    );
    let name = "$I30";
    maker.record(
        DIRECTORY + 1,
        &[piece(INDEX_ALLOCATION, name, 0, 4096, (3, 200))],
    );
    maker.record(
        DIRECTORY + 2,
        &[piece(INDEX_ALLOCATION, name, 3, 0, (5, 400))],
    );
    let entries = [
        entry(Some(("inner file.bin", FILE, 0))),
        entry(Some(("Ünder.txt", FILE, 0))),
        entry(Some(("Junction", ROOT, 0x1000_0400))),
        entry(None),
    ]
    .concat();
    let block = laid_out(
        4096,
        &[
            (0, b"INDX"),
            (4, &40_u16.to_le_bytes()),
            (6, &9_u16.to_le_bytes()),
            (24, &40_u32.to_le_bytes()),
            (28, &(40 + entries.len() as u32).to_le_bytes()),
            (64, &entries),
        ],
    );
    let block = sealed(block, 40);
    maker.put(200 * CLUSTER, &block[..3 * CLUSTER]);
    maker.put(400 * CLUSTER, &block[3 * CLUSTER..]);
    maker
}

#[test]
fn pieces_in_several_records_are_put_together() {
    let view = made().done();
    for path in [
        "/File.bin",
        "/file.BIN",
        "/directory/Inner File.bin",
        "/Directory/üNDER.TXT",
    ] {
        let read = view.read(path, 2000).unwrap().unwrap();
        assert_eq!(read.len(), 1400, "{path}");
        assert!(read[..1024].iter().all(|byte| *byte == 1));
        assert!(read[1024..].iter().all(|byte| *byte == 2));
    }
    assert!(!view.exists("/file.bin/x").unwrap());
    assert!(!view.exists("/directory/junction/file.bin").unwrap());
    let names: Vec<_> = view.list("/").unwrap();
    let names: Vec<&[u8]> = names.iter().map(|entry| entry.name.as_slice()).collect();
    assert_eq!(names, [b"Directory".as_slice(), b"File.bin"]);
}

#[test]
fn a_file_whose_beginning_is_missing_is_an_error() {
    let mut maker = made();
    maker.record(FILE + 1, &[]);
    assert!(maker.done().read("/File.bin", 2000).is_err());
}

#[test]
fn compressed_content_is_refused_and_not_read_as_it_is() {
    let mut maker = made();
    let mut compressed = piece(DATA, "", 0, 1024, (2, 100));
    compressed[12] = 1;
    maker.record(FILE, &[compressed]);
    let view = maker.done();
    assert_eq!(view.stat("/File.bin").unwrap().unwrap().size, 1024);
    assert!(view.read("/File.bin", 2000).is_err());

    let mut maker = made();
    let overlay = resident(REPARSE_POINT, "", &WOF.to_le_bytes());
    maker.record(FILE, &[piece(DATA, "", 0, 1024, (2, 100)), overlay]);
    let error = maker.done().read("/File.bin", 2000).unwrap_err();
    assert!(error.0.contains("CompactOS"), "{error:?}");
}
