//! What the VHDX reader promises, against images made by QEMU, by hand, and by chance.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests"
)]

#[path = "vhdx_support/checking.rs"]
mod checking;
#[path = "vhdx_support/craft.rs"]
mod craft;
#[path = "vhdx_support/damage.rs"]
mod damage;
#[path = "vhdx_support/headers.rs"]
mod headers;
#[path = "vhdx_support/logs.rs"]
mod logs;
#[path = "vhdx_support/matrix.rs"]
mod matrix;
#[path = "vhdx_support/parents.rs"]
mod parents;
#[path = "vhdx_support/reading.rs"]
mod reading;
#[path = "vhdx_support/refusals.rs"]
mod refusals;
#[path = "vhdx_support/seeds.rs"]
mod seeds;

use std::path::Path;
use std::sync::Arc;

use diskimg::VhdxImage;
use diskimg::open_source;
use diskimg::{
    DiskImage, DiskImageExt, Error, Extent, ExtentKind, Format, GuestOffset, MemorySource,
    OpenOptions, Opened, Result,
};
use testkit::qemu;

/// Opens bytes in memory as VHDX.
fn open(bytes: &[u8]) -> Result<VhdxImage> {
    VhdxImage::open(Arc::new(MemorySource(bytes.to_vec())))
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

/// Asserts that the disk at `path` is the sparse raw disk at `raw`, comparing only what either of
/// them stores.
#[track_caller]
fn assert_same_sparse(path: &Path, raw: &Path, what: &str) {
    let open = |path, format| {
        let format = Some(format);
        diskimg::open(path, &OpenOptions::of(format), &[])
            .unwrap()
            .image
    };
    let (found, expected) = (open(path, Format::Vhdx), open(raw, Format::Raw));
    assert_eq!(
        found.virtual_size(),
        expected.virtual_size(),
        "{what}: size"
    );
    let (mut a, mut b) = (vec![1; 1 << 20], vec![2; 1 << 20]);
    for extent in extents(found.as_ref())
        .unwrap()
        .into_iter()
        .chain(extents(expected.as_ref()).unwrap())
        .filter(|extent| extent.kind == ExtentKind::Data)
    {
        let mut at = extent.start.0;
        while at < extent.end().0 {
            let len = ((extent.end().0 - at) as usize).min(a.len());
            found.read_at(GuestOffset(at), &mut a[..len]).unwrap();
            expected.read_at(GuestOffset(at), &mut b[..len]).unwrap();
            assert_same(&a[..len], &b[..len], &format!("{what} at {at:#x}"));
            at += len as u64;
        }
    }
}

/// Makes a sparse raw disk at `raw` of the VHDX at `path` by QEMU.
fn qemu_raw(path: &Path, raw: &Path) {
    let (path, raw) = (path.to_str().unwrap(), raw.to_str().unwrap());
    qemu::img(["convert", "-f", "vhdx", "-O", "raw", path, raw]);
}
