//! A whole disk: the pipeline with its threads and window against a plain loop, in bytes of the
//! virtual disk per second.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "benches"
)]

mod disk;

use convert::{CancelToken, PlanOptions, Sink, SinkError, Target, VoidMonitor};
use disk::{BLOCK, Kind};
use diskimg::zero::is_zero;
use diskimg::{DiskImage, GuestOffset};
use divan::Bencher;
use divan::counter::BytesCount;
use sha2::{Digest, Sha256};

/// Blocks of the disk: 256 MiB.
const BLOCKS: u64 = 128;
const IDENTITY: zvhd2::Identity = zvhd2::Identity {
    uuid: [7; 16],
    timestamp: 0,
};

fn main() {
    divan::main();
}

/// Forgets what it takes.
struct Nowhere;

impl Sink for Nowhere {
    fn write(&mut self, _: &[u8]) -> Result<(), SinkError> {
        Ok(())
    }
}

fn bytes_of(disk: &dyn DiskImage) -> BytesCount {
    BytesCount::new(disk.virtual_size() as usize)
}

/// The work of the pipeline without it: each block after the other, holes and all.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn raw_to_zvhd2_in_a_plain_loop(bencher: Bencher) {
    let disk = disk::raw_disk(Kind::OsLike, BLOCKS);
    bencher.counter(bytes_of(disk.as_ref())).bench_local(|| {
        let mut file = zvhd2::Encoder::new(disk.virtual_size(), IDENTITY).unwrap();
        let mut encoder = zvhd2::BlockEncoder::new(zvhd2::DEFAULT_LEVEL).unwrap();
        let (mut block, mut out) = (vec![0; BLOCK], Vec::new());
        let mut sum = Sha256::new();
        for number in 0..BLOCKS as u32 {
            let at = GuestOffset(u64::from(number) * BLOCK as u64);
            disk.read_at(at, &mut block).unwrap();
            if is_zero(&block) {
                continue;
            }
            sum.update(Sha256::digest(&block));
            encoder.encode(number, &block, &mut out).unwrap();
            file.push(number, out.len()).unwrap();
            Nowhere.write(&out).unwrap();
        }
        for part in file.tail() {
            Nowhere.write(&part).unwrap();
        }
        sum.finalize()
    });
}

#[divan::bench(args = [1, 2, 4], sample_count = 5, sample_size = 1)]
fn raw_to_zvhd2(bencher: Bencher, threads: usize) {
    to_zvhd2(bencher, Kind::OsLike, Some(threads));
}

/// With as many threads as by default.
#[divan::bench(args = [Kind::OsLike, Kind::Mixed, Kind::Random, Kind::Zero], sample_count = 5, sample_size = 1)]
fn raw_to_zvhd2_of(bencher: Bencher, kind: Kind) {
    to_zvhd2(bencher, kind, None);
}

fn to_zvhd2(bencher: Bencher, kind: Kind, threads: Option<usize>) {
    let disk = disk::raw_disk(kind, BLOCKS);
    let options = PlanOptions {
        threads,
        ..PlanOptions::default()
    };
    let plan = convert::plan(disk.as_ref(), Target::Zvhd2, &options).unwrap();
    let cancel = CancelToken::new();
    bencher.counter(bytes_of(disk.as_ref())).bench_local(|| {
        let image = disk.as_ref();
        convert::to_zvhd2(image, &plan, IDENTITY, &mut Nowhere, &VoidMonitor, &cancel).unwrap()
    });
}

#[divan::bench(args = [1, 2, 4], sample_count = 5, sample_size = 1)]
fn digest(bencher: Bencher, threads: usize) {
    let disk = disk::raw_disk(Kind::OsLike, BLOCKS);
    let cancel = CancelToken::new();
    bencher
        .counter(bytes_of(disk.as_ref()))
        .bench_local(|| convert::digest(disk.as_ref(), threads, &VoidMonitor, &cancel).unwrap());
}
