//! Where things are: building the index of a ZVHD2 file, and the extents of a fragmented qcow2
//! image.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "benches"
)]

mod qcow2;

use diskimg::{DiskImageExt, GuestOffset};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};

const IDENTITY: zvhd2::Identity = zvhd2::Identity {
    uuid: [7; 16],
    timestamp: 0,
};

fn main() {
    divan::main();
}

/// Index, bitmap and footers, as they are written behind the blocks; 500,000 blocks are 1 TiB.
#[divan::bench(args = [5_000, 50_000, 500_000], sample_count = 20)]
fn zvhd2_index(bencher: Bencher, blocks: u32) {
    bencher.counter(ItemsCount::new(blocks)).bench_local(|| {
        let size = u64::from(blocks) * zvhd2::BLOCK_SIZE as u64;
        let mut encoder = zvhd2::Encoder::new(size, IDENTITY).unwrap();
        for number in 0..blocks {
            encoder
                .push(number, 4096 * (number as usize % 256 + 1))
                .unwrap();
        }
        encoder.tail().map(|part| part.len()).sum::<usize>()
    });
}

/// All extents of images of 4, 64 and 512 GiB, in clusters.
#[divan::bench(args = [8, 128, 1024], sample_count = 20)]
fn qcow2_extents(bencher: Bencher, tables: u64) {
    let image = qcow2::fragmented(tables);
    bencher
        .counter(ItemsCount::new(tables * 8192))
        .bench_local(|| black_box(image.as_ref()).all_extents().count());
}

/// The extents of one block of 2 MiB, as workers ask for them, all over an image of 64 GiB.
#[divan::bench(sample_count = 20)]
fn qcow2_extents_of_a_block(bencher: Bencher) {
    let image = qcow2::fragmented(128);
    let blocks = image.virtual_size() >> 21;
    let mut next = 0;
    bencher.counter(ItemsCount::new(32_u32)).bench_local(|| {
        next = (next + 4099) % blocks;
        let (start, end) = (GuestOffset(next << 21), GuestOffset((next + 1) << 21));
        image.extents(start..end).count()
    });
}
