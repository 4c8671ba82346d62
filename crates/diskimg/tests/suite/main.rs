//! What `diskimg` promises, against images made by QEMU, by hand, and by chance.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests"
)]

mod craft;
mod sources;
mod vast;
mod witness;

mod concurrency;
mod conformance;
mod damage;
mod faults;
mod opening;
mod pipes;
mod qcow2_bitmaps;
mod qcow2_compressed;
mod qcow2_matrix;
mod qcow2_reading;
mod qcow2_refusals;
mod qcow2_snapshots;
mod qcow2_subclusters;
mod raw;
mod seeds;

use std::sync::Arc;

use diskimg::Qcow2Image;
use diskimg::{
    DiskImage, DiskImageExt, Error, Extent, ExtentKind, GuestOffset, MemorySource, ReadAt, Result,
};

/// Opens bytes in memory as qcow2.
fn open_bytes(bytes: &[u8]) -> Result<Qcow2Image> {
    open_source(MemorySource(bytes.to_vec()))
}

/// Opens any source as qcow2.
fn open_source(source: impl ReadAt + 'static) -> Result<Qcow2Image> {
    Qcow2Image::open(Arc::new(source))
}

/// The error of something that must fail.
#[track_caller]
fn refused<T>(result: Result<T>) -> Error {
    match result {
        Ok(_) => panic!("this was accepted"),
        Err(error) => error,
    }
}

/// Bytes `at` to `at + len`, into a buffer that is not zero before.
fn read(image: &dyn DiskImage, at: u64, len: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0xa5; len];
    image.read_at(GuestOffset(at), &mut bytes)?;
    Ok(bytes)
}

/// The whole disk, read in pieces of `piece` bytes.
fn read_all(image: &dyn DiskImage, piece: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0xa5; usize::try_from(image.virtual_size()).unwrap()];
    for (index, target) in bytes.chunks_mut(piece).enumerate() {
        image.read_at(GuestOffset((index * piece) as u64), target)?;
    }
    Ok(bytes)
}

/// All extents, joined, after checking that they follow one another and cover the disk.
fn extents(image: &dyn DiskImage) -> Result<Vec<Extent>> {
    let extents = image.all_extents().collect::<Result<Vec<_>>>()?;
    let mut at = 0;
    for extent in &extents {
        assert_eq!(extent.start.0, at);
        assert!(extent.len > 0);
        at += extent.len;
    }
    assert_eq!(at, image.virtual_size());
    Ok(extents)
}

/// Total length of the extents of `kind`.
fn total(extents: &[Extent], kind: ExtentKind) -> u64 {
    extents
        .iter()
        .filter(|extent| extent.kind == kind)
        .map(|extent| extent.len)
        .sum()
}

/// Asserts that extents that are not data are zeros in `content`.
#[track_caller]
fn assert_gaps_are_zero(extents: &[Extent], content: &[u8]) {
    for extent in extents.iter().filter(|e| e.kind != ExtentKind::Data) {
        let end = (extent.end().0 as usize).min(content.len());
        let start = (extent.start.0 as usize).min(end);
        assert!(
            diskimg::zero::is_zero(&content[start..end]),
            "{extent:?} holds data"
        );
    }
}

/// Asserts equality without printing megabytes.
#[track_caller]
fn assert_same(found: &[u8], expected: &[u8], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}: length");
    if let Some(at) = found.iter().zip(expected).position(|(a, b)| a != b) {
        panic!(
            "{what}: byte {at:#x} is {:#04x}, expected {:#04x}",
            found[at], expected[at]
        );
    }
}
