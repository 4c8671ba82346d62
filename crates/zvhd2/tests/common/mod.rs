//! What the tests share: making files, reading all of them, the content digest.
#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::BTreeMap;
use std::sync::Arc;

use diskimg::{DiskImage, DiskImageExt, ExtentKind, GuestOffset, MemorySource, Result};
use sha2::{Digest, Sha256};
use zvhd2::{BLOCK_SIZE, BlockEncoder, CheckReport, Encoder, Identity, Zvhd1Image, Zvhd2Image};

pub(crate) const IDENTITY: Identity = Identity {
    uuid: *b"0123456789abcdef",
    timestamp: 848_627_102,
};

pub(crate) const BLOCK: u64 = BLOCK_SIZE as u64;

/// Bytes that no compressor shrinks.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed | 1 << 63;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    })
    .take(len)
    .collect()
}

/// A ZVHD2 file of a disk of `virtual_size` bytes that holds `blocks`.
pub(crate) fn encode(virtual_size: u64, blocks: &BTreeMap<u32, Vec<u8>>, level: i32) -> Vec<u8> {
    let mut encoder = Encoder::new(virtual_size, IDENTITY).unwrap();
    let mut block_encoder = BlockEncoder::new(level).unwrap();
    let mut file = encoder.head();
    let mut out = Vec::new();
    for (number, content) in blocks {
        block_encoder.encode(*number, content, &mut out).unwrap();
        assert_eq!(encoder.push(*number, out.len()).unwrap(), file.len() as u64);
        file.extend_from_slice(&out);
        assert_eq!(encoder.position(), file.len() as u64);
    }
    for chunk in encoder.tail() {
        file.extend_from_slice(&chunk);
    }
    assert_eq!(encoder.finished_len(), file.len() as u64);
    file
}

/// The small file that the damage tests work on: three blocks of which two are stored, the last
/// one partial. Also its guest content.
pub(crate) fn small() -> (Vec<u8>, Vec<u8>) {
    let virtual_size = 2 * BLOCK + 1024;
    let mut guest = vec![0; virtual_size as usize];
    guest[..3000].copy_from_slice(&noise(1, 3000));
    guest[2 * BLOCK_SIZE..2 * BLOCK_SIZE + 1024].copy_from_slice(&noise(2, 1024));
    let mut last = guest[2 * BLOCK_SIZE..].to_vec();
    last.resize(BLOCK_SIZE, 0);
    let blocks = BTreeMap::from([(0, guest[..BLOCK_SIZE].to_vec()), (2, last)]);
    (encode(virtual_size, &blocks, 3), guest)
}

pub(crate) fn open(file: Vec<u8>) -> Result<Zvhd2Image> {
    Zvhd2Image::open(Arc::new(MemorySource(file)))
}

pub(crate) fn open_v1(file: Vec<u8>) -> Result<Zvhd1Image> {
    Zvhd1Image::open(Arc::new(MemorySource(file)))
}

pub(crate) fn check(file: Vec<u8>) -> CheckReport {
    zvhd2::check(&MemorySource(file), &|| false).unwrap()
}

/// All guest bytes, read in pieces of `step`.
pub(crate) fn read_all(image: &dyn DiskImage, step: usize) -> Result<Vec<u8>> {
    let mut guest = vec![0xaa; image.virtual_size() as usize];
    let mut at = 0;
    for piece in guest.chunks_mut(step) {
        image.read_at(GuestOffset(at), piece)?;
        at += piece.len() as u64;
    }
    Ok(guest)
}

/// The content digest, version 1: the domain, the virtual size, and number and SHA-256 of every
/// 2 MiB block that is not zero.
pub(crate) fn digest(image: &dyn DiskImage) -> String {
    let size = image.virtual_size();
    let mut hash = Sha256::new();
    hash.update(b"imgferry-content-v1\n");
    hash.update(size.to_le_bytes());
    let mut numbers = std::collections::BTreeSet::new();
    for extent in image.all_extents() {
        let extent = extent.unwrap();
        if extent.kind == ExtentKind::Data {
            numbers.extend(extent.start.0 / BLOCK..extent.end().0.div_ceil(BLOCK));
        }
    }
    let mut block = vec![0; BLOCK_SIZE];
    for number in numbers {
        block.fill(0);
        let start = number * BLOCK;
        let len = (size - start).min(BLOCK) as usize;
        image
            .read_at(GuestOffset(start), &mut block[..len])
            .unwrap();
        if !diskimg::zero::is_zero(&block) {
            hash.update(number.to_le_bytes());
            hash.update(Sha256::digest(&block));
        }
    }
    format!("v1:{}", hex::encode(hash.finalize()))
}
