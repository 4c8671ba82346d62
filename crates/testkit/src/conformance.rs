//! What every reader of disk images promises, whatever the format: called by each format's tests
//! with an opened image and the bytes that are on its disk.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "test helper: a failed assertion fails the test"
)]

use std::thread;

use diskimg::{DiskImage, DiskImageExt, ErrorKind, ExtentKind, GuestOffset};

/// Threads that read at once.
const READERS: u64 = 4;
/// Random reads of each thread.
const READS: usize = 60;
/// Longest random read in bytes.
const LONGEST: usize = 3 << 20;

/// Holds `image` against `expected`, every byte of its disk:
///
/// - the size is that of the disk, and whole sectors;
/// - reads of every alignment and length give those bytes, also from many threads at once, and also
///   what is read twice;
/// - extents follow one another, cover the disk exactly, begin where they were asked for, end where
///   they were told to, and never say zero or hole where there is data;
/// - what leaves the disk is refused and not cut.
///
/// # Panics
/// When one of these does not hold.
pub fn conformance(image: &dyn DiskImage, expected: &[u8]) {
    assert_eq!(image.virtual_size(), expected.len() as u64, "size");
    assert!(image.virtual_size().is_multiple_of(512), "whole sectors");
    assert!(!expected.is_empty(), "an empty disk shows nothing");
    let gaps = extents_cover_the_disk(image, expected);
    front_to_back(image, expected);
    thread::scope(|scope| {
        for seed in 0..READERS {
            let gaps = &gaps;
            scope.spawn(move || random_reads(image, expected, gaps, seed));
        }
    });
    refuses_what_leaves_the_disk(image);
}

/// Checks the extents of the whole disk and of random pieces; where the kind changes.
fn extents_cover_the_disk(image: &dyn DiskImage, expected: &[u8]) -> Vec<usize> {
    let mut edges = Vec::new();
    let mut at = 0;
    for extent in image.all_extents() {
        let extent = extent.unwrap_or_else(|e| panic!("extents of the whole disk: {e}"));
        assert_eq!(extent.start.0, at, "extents follow one another");
        assert!(extent.len > 0, "an extent is not empty");
        at += extent.len;
        assert!(at <= expected.len() as u64, "extents end with the disk");
        let range = extent.start.0 as usize..at as usize;
        assert!(
            extent.kind == ExtentKind::Data || diskimg::zero::is_zero(&expected[range]),
            "{extent:?} holds data"
        );
        edges.push(at as usize);
    }
    assert_eq!(at, expected.len() as u64, "extents cover the disk");

    let mut rng = fastrand::Rng::with_seed(1);
    for _ in 0..200 {
        let start = rng.usize(..expected.len());
        let limit = rng.usize(1..=(expected.len() - start).min(LONGEST));
        let asked = format!("{limit} bytes at {start:#x}");
        let extent = image
            .extent_at(GuestOffset(start as u64), limit as u64)
            .unwrap_or_else(|e| panic!("the extent of {asked}: {e}"));
        assert_eq!(extent.start.0, start as u64, "{asked}");
        assert!((1..=limit as u64).contains(&extent.len), "{asked}");
        let range = start..start + extent.len as usize;
        assert!(
            extent.kind == ExtentKind::Data || diskimg::zero::is_zero(&expected[range]),
            "{asked}: {extent:?} holds data"
        );
    }
    in_the_last_sector(image);
    edges
}

/// A walk may begin at any byte, also where the last sector is filled up.
fn in_the_last_sector(image: &dyn DiskImage) {
    let size = image.virtual_size();
    for at in (size - 512..size).step_by(37).chain([size - 1]) {
        for most in [1, 2, 8] {
            let mut found = Vec::new();
            image
                .extents_from(GuestOffset(at), GuestOffset(size), most, &mut found)
                .unwrap_or_else(|e| panic!("a walk from {at:#x}: {e}"));
            assert!((1..=most).contains(&found.len()), "{at:#x}: {found:?}");
            assert_eq!(found[0].start.0, at, "{found:?}");
        }
    }
}

fn front_to_back(image: &dyn DiskImage, expected: &[u8]) {
    // An odd length, so that pieces begin and end everywhere.
    const PIECE: usize = (1 << 20) + 7 * 512 + 3;
    for (index, piece) in expected.chunks(PIECE).enumerate() {
        check(image, index * PIECE, piece);
    }
}

fn random_reads(image: &dyn DiskImage, expected: &[u8], edges: &[usize], seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    for round in 0..READS {
        let at = match round % 4 {
            // Where one kind of extent ends and another one begins.
            0 => {
                let edge = edges[rng.usize(..edges.len())];
                edge.saturating_sub(rng.usize(..=1024))
                    .min(expected.len() - 1)
            }
            1 => rng.usize(..expected.len()) / 512 * 512,
            2 => rng.usize(..expected.len()) / 4096 * 4096,
            _ => rng.usize(..expected.len()),
        };
        let longest = 1_usize << rng.u32(..=22);
        let len = rng.usize(..=longest.min(LONGEST).min(expected.len() - at));
        check(image, at, &expected[at..at + len]);
        if round % 8 == 0 {
            check(image, at, &expected[at..at + len]);
        }
    }
}

/// Reads what should be `expected` at `at`, into a buffer that is not zero before.
fn check(image: &dyn DiskImage, at: usize, expected: &[u8]) {
    let mut found = vec![0xa5; expected.len()];
    image
        .read_at(GuestOffset(at as u64), &mut found)
        .unwrap_or_else(|e| panic!("reading {} bytes at {at:#x}: {e}", expected.len()));
    // All at once first: byte by byte is slow where tests are not optimised.
    if found != expected
        && let Some(wrong) = found.iter().zip(expected).position(|(a, b)| a != b)
    {
        panic!(
            "reading {} bytes at {at:#x}: byte {:#x} is {:#04x}, expected {:#04x}",
            expected.len(),
            at + wrong,
            found[wrong],
            expected[wrong]
        );
    }
}

fn refuses_what_leaves_the_disk(image: &dyn DiskImage) {
    let size = image.virtual_size();
    for (at, len) in [
        (size, 1),
        (size - 1, 2),
        (size - 512, 513),
        (0, size as usize + 1),
        (u64::MAX, 1),
        (u64::MAX - 511, 512),
    ] {
        let what = format!("{len} bytes at {at:#x} of a disk of {size}");
        match image.read_at(GuestOffset(at), &mut vec![0; len]) {
            Err(error) => assert_eq!(error.kind(), ErrorKind::OutOfRange, "{what}: {error}"),
            Ok(()) => panic!("{what} were read"),
        }
    }
    for (at, limit) in [(size, 1), (u64::MAX, 1), (0, 0)] {
        match image.extent_at(GuestOffset(at), limit) {
            Err(error) => assert_eq!(error.kind(), ErrorKind::OutOfRange, "{error}"),
            Ok(extent) => panic!("{limit} bytes at {at:#x}: {extent:?}"),
        }
    }
    // A question that begins on the disk is answered for what is on it.
    let extent = image
        .extent_at(GuestOffset(size - 1), u64::MAX)
        .unwrap_or_else(|e| panic!("the last byte: {e}"));
    assert_eq!((extent.start.0, extent.len), (size - 1, 1));
    image
        .read_at(GuestOffset(size), &mut [])
        .unwrap_or_else(|e| panic!("nothing at the end: {e}"));
}
