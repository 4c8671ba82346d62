//! What is done to one block of 2 MiB: zero check, hash, compression.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "benches"
)]

mod disk;

use disk::BLOCK;
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use sha2::{Digest, Sha256};

fn main() {
    divan::main();
}

fn data() -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    disk::fill(&mut block, 1);
    block
}

#[divan::bench]
fn zero_check_of_zeros(bencher: Bencher) {
    let block = vec![0_u8; BLOCK];
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
    let block = data();
    bencher
        .counter(BytesCount::new(BLOCK))
        .bench(|| Sha256::digest(black_box(&block)));
}

#[divan::bench(args = [-7, -5, -1, 1, 2, 3, 6, 9], sample_count = 20)]
fn encode(bencher: Bencher, level: i32) {
    let block = data();
    let mut encoder = zvhd2::BlockEncoder::new(level).unwrap();
    let mut out = Vec::with_capacity(zvhd2::MAX_ENCODED_BLOCK);
    bencher
        .counter(BytesCount::new(BLOCK))
        .bench_local(|| encoder.encode(0, black_box(&block), &mut out).unwrap());
}

#[divan::bench(sample_count = 20)]
fn encode_with_a_new_context_each_time(bencher: Bencher) {
    let block = data();
    bencher.counter(BytesCount::new(BLOCK)).bench_local(|| {
        let mut out = Vec::new();
        let mut encoder = zvhd2::BlockEncoder::new(zvhd2::DEFAULT_LEVEL).unwrap();
        encoder.encode(0, black_box(&block), &mut out).unwrap();
        out
    });
}
