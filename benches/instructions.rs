//! Hot functions for `benches/instructions.sh`, which counts their instructions under callgrind:
//! unlike seconds these hardly depend on what else a machine does, so that a change of a few
//! percent is seen.
//!
//! Every case is a function of its own that is never inlined; what it needs is made outside it.
//! SHA-256 and MD5 are left out: valgrind hides the processor's SHA instructions, so that other
//! code would be counted.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    missing_docs,
    reason = "benches"
)]

use std::hint::black_box;
use std::sync::Arc;

use convert::sample::{Content, fill_block};
use diskimg::zero::is_zero;
use diskimg::{
    DiskImage, DiskImageExt as _, FileOffset, GuestOffset, MemorySource, ReadAt, Result,
    SourceExtent,
};

const BLOCK: usize = zvhd2::BLOCK_SIZE;
const IDENTITY: zvhd2::Identity = zvhd2::Identity {
    uuid: [7; 16],
    timestamp: 0,
};

fn main() {
    let mut block = vec![0; BLOCK];
    case_zero_detect(&block);
    fill_block(Content::OsData, 1, 1, &mut block);
    let mut encoder = zvhd2::BlockEncoder::new(1).unwrap();
    let mut encoded = Vec::with_capacity(zvhd2::MAX_ENCODED_BLOCK);
    case_block_encode(&mut encoder, &block, &mut encoded);
    case_crc32(&encoded);

    let file = zvhd2_file(&block, &encoded);
    let image = convert::open_source(Arc::new(MemorySource(file)), None)
        .unwrap()
        .image;
    case_block_decode(image.as_ref(), &mut block);
    case_index(&mut zvhd2::Encoder::new(INDEXED * BLOCK as u64, IDENTITY).unwrap());

    let image = convert::open_source(Arc::new(Qcow2::new()), None)
        .unwrap()
        .image;
    case_qcow2_extents(image.as_ref());
    case_qcow2_read(image.as_ref(), &mut block);
    case_journal(&mut journal::frame::Writer::default(), &mut Vec::new());
}

/// 2 MiB of zeros.
#[inline(never)]
fn case_zero_detect(block: &[u8]) {
    assert!(is_zero(black_box(block)));
}

/// A block as conversions encode it, at level 1.
#[inline(never)]
fn case_block_encode(encoder: &mut zvhd2::BlockEncoder, block: &[u8], out: &mut Vec<u8>) {
    encoder.encode(0, black_box(block), out).unwrap();
}

/// The checksum of an encoded block in the journal.
#[inline(never)]
fn case_crc32(encoded: &[u8]) {
    black_box(crc32fast::hash(black_box(encoded)));
}

/// A block of a ZVHD2 file.
#[inline(never)]
fn case_block_decode(image: &dyn DiskImage, block: &mut [u8]) {
    image.read_at(GuestOffset(0), black_box(block)).unwrap();
}

/// Blocks of the index that is built.
const INDEXED: u64 = 50_000;

/// Index, bitmap and footers of a file of 50,000 blocks.
#[inline(never)]
fn case_index(encoder: &mut zvhd2::Encoder) {
    for number in 0..INDEXED as u32 {
        encoder
            .push(number, 4096 * (number as usize % 256 + 1))
            .unwrap();
    }
    for part in encoder.tail() {
        black_box(part);
    }
}

/// The extents of a fragmented image with 65,536 clusters.
#[inline(never)]
fn case_qcow2_extents(image: &dyn DiskImage) {
    assert!(black_box(image).all_extents().count() > 1000);
}

/// Reads of a block each from plain clusters, all over the image.
#[inline(never)]
fn case_qcow2_read(image: &dyn DiskImage, block: &mut [u8]) {
    let step = image.virtual_size() / 16;
    for index in 0..16 {
        image
            .read_at(GuestOffset(index * step), black_box(block))
            .unwrap();
    }
}

/// A part and a group of blocks, 100 times.
#[inline(never)]
fn case_journal(writer: &mut journal::frame::Writer, out: &mut Vec<u8>) {
    for number in 1..=100 {
        let part = journal::Record::Part(journal::Part {
            number,
            size: 8 << 20,
            md5: [3; 16],
            etag: None,
        });
        let block = journal::Block {
            number,
            offset: u64::from(number) << 20,
            len: 1 << 19,
            crc: number,
            hash: [5; 32],
            level: None,
        };
        for record in [part, journal::Record::Blocks(vec![block; 64])] {
            let (kind, payload) = black_box(record).encode().unwrap();
            assert!(writer.push(kind, &payload, out));
        }
    }
}

/// A file with one block, which is encoded already.
fn zvhd2_file(block: &[u8], encoded: &[u8]) -> Vec<u8> {
    let mut layout = zvhd2::Encoder::new(block.len() as u64, IDENTITY).unwrap();
    let mut file = layout.head();
    layout.push(0, encoded.len()).unwrap();
    file.extend(encoded);
    for part in layout.tail() {
        file.extend(part);
    }
    file
}

const CLUSTER: u64 = 64 << 10;
/// Entries of an L2 table.
const ENTRIES: u64 = CLUSTER / 8;
const TABLES: u64 = 8;
/// Header, L1 table, and the L2 tables.
const FIRST_DATA: u64 = 2 + TABLES;

/// A qcow2 image of 4 GiB whose tables are real and whose clusters hold zeros. Of four clusters two
/// hold data, one is zero and one is a hole.
struct Qcow2(Vec<u8>);

impl Qcow2 {
    fn new() -> Self {
        let mut meta = vec![0; (FIRST_DATA * CLUSTER) as usize];
        let mut put = |at: u64, bytes: &[u8]| {
            meta[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
        };
        put(0, b"QFI\xfb\0\0\0\x03");
        put(20, &16_u32.to_be_bytes());
        put(24, &(TABLES * ENTRIES * CLUSTER).to_be_bytes());
        put(36, &(TABLES as u32).to_be_bytes());
        put(40, &CLUSTER.to_be_bytes());
        put(96, &4_u32.to_be_bytes());
        put(100, &104_u32.to_be_bytes());
        for table in 0..TABLES {
            let at = (2 + table) * CLUSTER;
            put(CLUSTER + table * 8, &(at | 1 << 63).to_be_bytes());
            for entry in 0..ENTRIES {
                let cluster = FIRST_DATA + table * ENTRIES + entry;
                let mapped = match entry % 4 {
                    0 | 1 => (cluster * CLUSTER) | 1 << 63,
                    2 => 1,
                    _ => 0,
                };
                put(at + entry * 8, &mapped.to_be_bytes());
            }
        }
        Self(meta)
    }
}

impl ReadAt for Qcow2 {
    fn len(&self) -> u64 {
        (FIRST_DATA + TABLES * ENTRIES) * CLUSTER
    }

    fn read_exact_at(&self, at: FileOffset, buf: &mut [u8]) -> Result<()> {
        let meta = self.0.get(at.0 as usize..).unwrap_or_default();
        let len = meta.len().min(buf.len());
        buf[..len].copy_from_slice(&meta[..len]);
        // What callgrind counts for filling is the C library's; reading a file has no such cost.
        buf[len..].fill(0);
        Ok(())
    }

    fn extent_at(&self, _: FileOffset, limit: u64) -> Result<SourceExtent> {
        Ok(SourceExtent::Data(limit))
    }
}
