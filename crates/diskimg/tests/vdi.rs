//! What the VDI reader promises, against images made by QEMU, by other hands, by this one, and by
//! chance.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests"
)]

#[path = "vdi_support/checking.rs"]
mod checking;
#[path = "vdi_support/craft.rs"]
mod craft;
#[path = "vdi_support/damage.rs"]
mod damage;
#[path = "vdi_support/matrix.rs"]
mod matrix;
#[path = "vdi_support/reading.rs"]
mod reading;
#[path = "vdi_support/refusals.rs"]
mod refusals;
#[path = "vdi_support/seeds.rs"]
mod seeds;
#[path = "vdi_support/vectors.rs"]
mod vectors;

use std::sync::Arc;

use diskimg::{
    DiskImage, DiskImageExt, Error, ErrorKind, Extent, Format, GuestOffset, MemorySource,
    OpenOptions, Opened, Result, VdiImage, open_source,
};

/// Opens bytes in memory as VDI.
fn open(bytes: &[u8]) -> Result<VdiImage> {
    VdiImage::open(Arc::new(MemorySource(bytes.to_vec())))
}

/// Opens bytes in memory as what they claim to be, or as `format`.
fn open_any(bytes: &[u8], format: Option<Format>) -> Result<Opened> {
    let source = Arc::new(MemorySource(bytes.to_vec()));
    open_source(source, &OpenOptions::of(format), &[])
}

/// Asserts that `bytes` are refused for `kind`, with all of `words` in the message.
#[track_caller]
fn refused(bytes: &[u8], kind: ErrorKind, words: &[&str]) -> Error {
    let error = open(bytes).err().expect("this was accepted");
    assert_eq!(error.kind(), kind, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "{error} lacks {word:?}");
    }
    error
}

/// The whole disk, read in pieces of `piece` bytes into a buffer that is not zero before.
fn read_all(image: &dyn DiskImage, piece: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0xa5; usize::try_from(image.virtual_size()).unwrap()];
    for (index, target) in bytes.chunks_mut(piece).enumerate() {
        image.read_at(GuestOffset((index * piece) as u64), target)?;
    }
    Ok(bytes)
}

/// Kind, begin and length of all extents, joined.
fn extents(image: &dyn DiskImage) -> Result<Vec<Extent>> {
    image.all_extents().collect()
}
