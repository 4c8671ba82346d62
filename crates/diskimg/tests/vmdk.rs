//! What the VMDK reader promises, against files of other programs, by hand, and by chance.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests"
)]

#[path = "vmdk_support/checking.rs"]
mod checking;
#[path = "vmdk_support/damage.rs"]
mod damage;
#[path = "vmdk_support/matrix.rs"]
mod matrix;
#[path = "vmdk_support/parents.rs"]
mod parents;
#[path = "vmdk_support/policy.rs"]
mod policy;
#[path = "vmdk_support/reading.rs"]
mod reading;
#[path = "vmdk_support/seeds.rs"]
mod seeds;
#[path = "vmdk_support/vectors.rs"]
mod vectors;

use std::error::Error as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use diskimg::{
    BackingPolicy, DiskImage, Error, GuestOffset, MemorySource, OpenOptions, Opened, Result,
    VmdkImage,
};

/// Opens bytes in memory as VMDK.
fn open(bytes: &[u8]) -> Result<VmdkImage> {
    VmdkImage::open(Arc::new(MemorySource(bytes.to_vec())))
}

/// Opens the file at `path`, and others by `backing`.
fn open_with(path: &Path, backing: BackingPolicy) -> Result<Opened> {
    let options = OpenOptions {
        backing,
        ..OpenOptions::default()
    };
    diskimg::open(path, &options, &[])
}

fn read_all(image: &dyn DiskImage) -> Result<Vec<u8>> {
    let mut bytes = vec![0xa5; image.virtual_size() as usize];
    image.read_at(GuestOffset(0), &mut bytes)?;
    Ok(bytes)
}

/// The error of something that must fail, as a user sees it.
#[track_caller]
fn refused<T>(result: Result<T>) -> String {
    match result {
        Ok(_) => panic!("this was accepted"),
        Err(error) => told(&error),
    }
}

/// All that a user sees of an error.
fn told(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

/// A disk of `sectors` whose sectors are all different, but for a stretch of zeros.
fn disk(sectors: usize, seed: u64) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut bytes = Vec::new();
    for sector in 0..sectors {
        if sector * 4 / sectors == 1 {
            bytes.extend([0; 512]);
        } else {
            bytes.extend((0..512).map(|at| {
                if at < 200 {
                    rng.u8(..)
                } else {
                    sector as u8 | 1
                }
            }));
        }
    }
    bytes
}

/// Files in a directory of their own.
struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.at(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    fn inside(&self) -> BackingPolicy {
        BackingPolicy::Inside(self.0.path().to_owned())
    }
}
