//! What is done to one block of 2 MiB: zero check, hash, compression, and back.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "benches"
)]

mod disk;
mod qcow2;

use std::sync::Arc;

use disk::BLOCK;
use diskimg::{DiskImage, GuestOffset, MemorySource};
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use sha2::{Digest, Sha256};

fn main() {
    divan::main();
}

#[divan::bench]
fn zero_check_of_zeros(bencher: Bencher) {
    let block = vec![0_u8; BLOCK];
    bencher
        .counter(BytesCount::new(BLOCK))
        .bench(|| diskimg::zero::is_zero(black_box(&block)));
}

/// All zeros but for the last byte: nothing ends it early.
#[divan::bench]
fn zero_check_of_almost_zeros(bencher: Bencher) {
    let mut block = vec![0_u8; BLOCK];
    block[BLOCK - 1] = 1;
    bencher
        .counter(BytesCount::new(BLOCK))
        .bench(|| diskimg::zero::is_zero(black_box(&block)));
}

/// Data, which the check leaves at once.
#[divan::bench]
fn zero_check_of_data(bencher: Bencher) {
    let block = disk::block();
    bencher
        .counter(BytesCount::new(BLOCK))
        .bench(|| diskimg::zero::is_zero(black_box(&block)));
}

#[divan::bench]
fn zero_check_byte_by_byte(bencher: Bencher) {
    let block = vec![0_u8; BLOCK];
    bencher
        .counter(BytesCount::new(BLOCK))
        .bench(|| black_box(&block).iter().all(|byte| *byte == 0));
}

#[divan::bench]
fn sha256(bencher: Bencher) {
    let block = disk::block();
    bencher
        .counter(BytesCount::new(BLOCK))
        .bench(|| Sha256::digest(black_box(&block)));
}

#[divan::bench(args = [-7, -5, -1, 1, 2, 3, 6, 9], sample_count = 20)]
fn encode(bencher: Bencher, level: i32) {
    let block = disk::block();
    let mut encoder = zvhd2::BlockEncoder::new(level).unwrap();
    let mut out = Vec::with_capacity(zvhd2::MAX_ENCODED_BLOCK);
    bencher
        .counter(BytesCount::new(BLOCK))
        .bench_local(|| encoder.encode(0, black_box(&block), &mut out).unwrap());
}

#[divan::bench(sample_count = 20)]
fn encode_with_a_new_context_each_time(bencher: Bencher) {
    let block = disk::block();
    bencher.counter(BytesCount::new(BLOCK)).bench_local(|| {
        let mut out = Vec::new();
        let mut encoder = zvhd2::BlockEncoder::new(zvhd2::DEFAULT_LEVEL).unwrap();
        encoder.encode(0, black_box(&block), &mut out).unwrap();
        out
    });
}

/// A ZVHD2 file with one block, encoded at `level`.
fn zvhd2_file(block: &[u8], level: i32) -> Box<dyn DiskImage> {
    let identity = zvhd2::Identity {
        uuid: [7; 16],
        timestamp: 0,
    };
    let mut layout = zvhd2::Encoder::new(BLOCK as u64, identity).unwrap();
    let mut encoded = Vec::new();
    let mut encoder = zvhd2::BlockEncoder::new(level).unwrap();
    encoder.encode(0, block, &mut encoded).unwrap();
    let mut file = layout.head();
    layout.push(0, encoded.len()).unwrap();
    file.extend(encoded);
    for part in layout.tail() {
        file.extend(part);
    }
    let source = Arc::new(MemorySource(file));
    convert::open_source(source, None).unwrap().image
}

fn read_block(bencher: Bencher, image: &dyn DiskImage) {
    let mut block = vec![0; BLOCK];
    bencher.counter(BytesCount::new(BLOCK)).bench_local(|| {
        image
            .read_at(GuestOffset(0), black_box(&mut block))
            .unwrap()
    });
}

#[divan::bench(args = [-5, 1, 3], sample_count = 50)]
fn decode_zvhd2(bencher: Bencher, level: i32) {
    read_block(bencher, zvhd2_file(&disk::block(), level).as_ref());
}

/// The 32 clusters of 64 KiB that a block takes.
#[divan::bench(sample_count = 50)]
fn decode_qcow2_zlib(bencher: Bencher) {
    read_block(bencher, qcow2::compressed(&disk::block(), false).as_ref());
}

#[divan::bench(sample_count = 50)]
fn decode_qcow2_zstd(bencher: Bencher) {
    read_block(bencher, qcow2::compressed(&disk::block(), true).as_ref());
}
