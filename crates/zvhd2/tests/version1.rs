//! Version 1 files longer than the vendor-made one: order of reading, many threads.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests"
)]

mod common;

use common::{BLOCK, noise, open_v1, seal};
use diskimg::{DiskImage, DiskImageExt, ExtentKind, GuestOffset};
use flate2::{Compress, FlushCompress};
use zvhd2::BLOCK_SIZE;

/// A version 1 file of `count` blocks, every fourth of them zero, with all payloads in one zlib
/// stream; and its guest content.
fn long(count: u32, finish: bool) -> (Vec<u8>, Vec<u8>) {
    let mut footer = vec![0_u8; 4096];
    let size = u64::from(count) * BLOCK;
    let mut put = |at: usize, bytes: &[u8]| footer[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"stream");
    put(8, &2_u32.to_le_bytes());
    put(40, &size.to_le_bytes());
    seal(&mut footer, 0);
    let mut file = footer.clone();
    let mut guest = Vec::new();
    let mut stream = Compress::new(flate2::Compression::fast(), true);
    let last = (0..count).rfind(|number| number % 4 != 3).unwrap();
    for number in 0..count {
        let mut content = vec![0; BLOCK_SIZE];
        if number % 4 != 3 {
            content[..5000].copy_from_slice(&noise(number.into(), 5000));
            let flush = if finish && number == last {
                FlushCompress::Finish
            } else {
                FlushCompress::Sync
            };
            let mut payload = Vec::with_capacity(1 << 20);
            stream.compress_vec(&content, &mut payload, flush).unwrap();
            assert!(payload.len() < payload.capacity());
            file.extend_from_slice(b"hwstream bg\0");
            file.extend_from_slice(&(payload.len() as u32).to_le_bytes());
            file.extend_from_slice(&number.to_le_bytes());
            file.extend_from_slice(&[0; 28]);
            file.extend_from_slice(&payload);
            file.resize((file.len() + 4).next_multiple_of(4096) - 4, 0x77);
            file.extend_from_slice(b"end\0");
        }
        guest.extend_from_slice(&content);
    }
    file.extend_from_slice(&footer);
    (file, guest)
}

#[test]
fn zvhd_disks_conform() {
    let (file, guest) = long(6, true);
    testkit::conformance(&open_v1(file).unwrap(), &guest);
}

#[test]
fn forward_backward_and_unaligned_reads_agree() {
    for finish in [false, true] {
        let (file, guest) = long(40, finish);
        let image = open_v1(file).unwrap();
        let read = |at: usize, len: usize| {
            let mut found = vec![0xaa; len];
            image.read_at(GuestOffset(at as u64), &mut found).unwrap();
            assert!(found == guest[at..at + len], "{len} bytes at {at}");
        };
        for at in (0..guest.len()).step_by(3 << 19) {
            read(at, (3 << 19).min(guest.len() - at));
        }
        // Inside the window of recent blocks, and out of it.
        read(35 * BLOCK_SIZE, BLOCK_SIZE);
        read(0, 10_000);
        read(39 * BLOCK_SIZE, BLOCK_SIZE);
        read(17 * BLOCK_SIZE, 2 * BLOCK_SIZE);
        let kinds: Vec<_> = image.all_extents().map(|extent| extent.unwrap()).collect();
        assert_eq!(kinds.len(), 20);
        assert_eq!((kinds[0].kind, kinds[0].len), (ExtentKind::Data, 3 * BLOCK));
        assert_eq!((kinds[1].kind, kinds[1].len), (ExtentKind::Hole, BLOCK));
    }
}

#[test]
fn workers_that_take_turns_see_the_whole_disk() {
    let (file, guest) = long(40, false);
    let image = open_v1(file).unwrap();
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut found = vec![0xaa; BLOCK_SIZE];
                loop {
                    let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let start = number * BLOCK_SIZE;
                    if start >= guest.len() {
                        break;
                    }
                    image
                        .read_at(GuestOffset(start as u64), &mut found)
                        .unwrap();
                    assert!(found == guest[start..start + BLOCK_SIZE], "block {number}");
                }
            });
        }
    });
}

#[test]
fn stream_that_is_finished_before_the_last_block_is_refused_there() {
    // The second file's stream begins anew after one block, so that the first stream is finished.
    let (one, _) = long(1, true);
    let (mut file, _) = long(2, false);
    let first_len = one.len() - 2 * 4096;
    let second = &long(2, false).0;
    let (head, rest) = second.split_at(4096);
    // Replace block 0, which has the same padded length in both.
    file.clear();
    file.extend_from_slice(head);
    file.extend_from_slice(&one[4096..4096 + first_len]);
    file.extend_from_slice(&rest[first_len..]);
    let image = open_v1(file).unwrap();
    let error = image.read_at(GuestOffset(0), &mut [0; 1]).unwrap_err();
    assert!(
        error.to_string().contains("ends before the last block"),
        "{error}"
    );
}
