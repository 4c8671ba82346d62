//! What the VHD reader promises, against images made by QEMU, by hand, and by chance.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests"
)]

mod checking;
mod craft;
mod damage;
mod footers;
mod matrix;
mod parents;
mod reading;
mod refusals;
mod seeds;

use std::sync::Arc;

use diskimg::VhdImage;
use diskimg::open_source;
use diskimg::{
    DiskImage, DiskImageExt, Error, Extent, ExtentKind, Format, GuestOffset, MemorySource,
    OpenOptions, Opened, Result,
};

/// Opens bytes in memory as VHD.
fn open(bytes: &[u8]) -> Result<VhdImage> {
    VhdImage::open(Arc::new(MemorySource(bytes.to_vec())))
}

/// Opens bytes in memory as what they claim to be, or as `format`.
fn open_any(bytes: &[u8], format: Option<Format>) -> Result<Opened> {
    let source = Arc::new(MemorySource(bytes.to_vec()));
    open_source(source, &OpenOptions::of(format), &[])
}

/// The error of something that must fail.
#[track_caller]
fn refused<T>(result: Result<T>) -> Error {
    match result {
        Ok(_) => panic!("this was accepted"),
        Err(error) => error,
    }
}

/// The whole disk, read in pieces of `piece` bytes into a buffer that is not zero before.
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

/// Asserts that extents that are not data are zeros in `content`.
#[track_caller]
fn assert_gaps_are_zero(extents: &[Extent], content: &[u8]) {
    for extent in extents.iter().filter(|e| e.kind != ExtentKind::Data) {
        let range = extent.start.0 as usize..extent.end().0 as usize;
        assert!(
            diskimg::zero::is_zero(&content[range]),
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
