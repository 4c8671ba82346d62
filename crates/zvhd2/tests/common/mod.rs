//! What the tests share: making files, reading all of them, the content digest.
#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::BTreeMap;
use std::sync::Arc;

use diskimg::{
    DiskImage, DiskImageExt, ExtentKind, FileOffset, GuestOffset, MemorySource, ReadAt, Result,
};
use flate2::{Compress, FlushCompress};
use sha2::{Digest, Sha256};
use zvhd2::{BLOCK_SIZE, BlockEncoder, Encoder, Identity, Zvhd1Image, Zvhd2Image};

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

pub(crate) fn check(file: Vec<u8>) -> diskimg::CheckReport {
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

/// A file whose bytes from `at` on are replaced; nothing is copied.
pub(crate) struct Patched {
    pub(crate) file: Arc<Vec<u8>>,
    pub(crate) at: usize,
    pub(crate) bytes: Vec<u8>,
}

impl ReadAt for Patched {
    fn len(&self) -> u64 {
        self.file.len() as u64
    }

    fn read_exact_at(&self, at: FileOffset, buf: &mut [u8]) -> Result<()> {
        let start = at.0 as usize;
        let Some(stored) = self.file.get(start..start + buf.len()) else {
            return Err(diskimg::Error::truncated("file", at.0, "past the end"));
        };
        buf.copy_from_slice(stored);
        for (number, byte) in self.bytes.iter().enumerate() {
            if let Some(place) = (self.at + number).checked_sub(start)
                && let Some(place) = buf.get_mut(place)
            {
                *place = *byte;
            }
        }
        Ok(())
    }
}

/// The checksum that a footer's 512 bytes should have.
pub(crate) fn footer_checksum(footer: &[u8]) -> u32 {
    let sum: u32 = footer[..64]
        .iter()
        .chain(&footer[68..512])
        .map(|b| u32::from(*b))
        .sum();
    !sum
}

/// Writes the checksum of the footer at `at`.
pub(crate) fn seal(file: &mut [u8], at: usize) {
    let checksum = footer_checksum(&file[at..at + 512]);
    file[at + 64..at + 68].copy_from_slice(&checksum.to_le_bytes());
}

/// A file put together by hand, apart from the crate's own encoder: what other writers may do.
pub(crate) struct Crafted {
    pub(crate) block_size: u32,
    pub(crate) virtual_size: u64,
    pub(crate) zstd: bool,
    /// One index entry per guest block.
    pub(crate) full_index: bool,
    /// Numbers and payloads.
    pub(crate) payloads: Vec<(u32, Vec<u8>)>,
    /// What stands between payload and trailer.
    pub(crate) padding: u8,
}

impl Crafted {
    pub(crate) fn build(&self) -> Vec<u8> {
        let max_blocks = self.virtual_size.div_ceil(self.block_size.into()) as u32;
        let mut footer = vec![0_u8; 4096];
        let mut put = |at: usize, bytes: &[u8]| footer[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"z2strm");
        put(8, &2_u32.to_le_bytes());
        put(12, &0x1_0000_u32.to_le_bytes());
        put(16, &u64::MAX.to_le_bytes());
        put(28, b"tap\0");
        put(32, &0x1_0004_u32.to_le_bytes());
        put(40, &self.virtual_size.to_le_bytes());
        put(
            48,
            &(self.virtual_size.div_ceil(1 << 30) << 30).to_le_bytes(),
        );
        put(60, &4_u32.to_le_bytes());
        put(87, &[1]);
        put(88, &self.block_size.to_le_bytes());
        put(92, &max_blocks.to_le_bytes());
        put(140, &[u8::from(self.full_index), u8::from(self.zstd)]);
        seal(&mut footer, 0);
        let mut file = footer.clone();
        let mut entries: Vec<(u64, u32, u32)> = Vec::new();
        if self.full_index {
            entries.resize(max_blocks as usize, (0, 0, 0));
        }
        let mut bitmap = vec![0_u8; (max_blocks.div_ceil(32768) * 4096) as usize];
        for (number, payload) in &self.payloads {
            let offset = file.len() as u64;
            file.extend_from_slice(b"hwstream bg\0");
            file.extend_from_slice(&(payload.len() as u32).to_le_bytes());
            file.extend_from_slice(&number.to_le_bytes());
            file.extend_from_slice(&[0; 28]);
            file.extend_from_slice(payload);
            let end = (file.len() + 4).next_multiple_of(4096);
            file.resize(end - 4, self.padding);
            file.extend_from_slice(b"end\0");
            let entry = (offset, *number, (end as u64 - offset) as u32);
            if self.full_index {
                entries[*number as usize] = entry;
            } else {
                entries.push(entry);
            }
            bitmap[*number as usize / 8] |= 1 << (number % 8);
        }
        footer[136..140].copy_from_slice(&(self.payloads.len() as u32).to_le_bytes());
        seal(&mut footer, 0);
        file.extend_from_slice(&footer);
        let index_lba = file.len() as u64;
        let segments = entries.len().div_ceil(32768);
        for (offset, number, len) in entries {
            file.extend_from_slice(&offset.to_le_bytes());
            file.extend_from_slice(&number.to_le_bytes());
            file.extend_from_slice(&len.to_le_bytes());
        }
        file.resize(index_lba as usize + segments * 524_288, 0);
        let bitmap_lba = file.len() as u64;
        file.extend_from_slice(&bitmap);
        let mut put = |at: usize, bytes: &[u8]| footer[at..at + bytes.len()].copy_from_slice(bytes);
        put(96, &index_lba.to_le_bytes());
        put(104, &bitmap_lba.to_le_bytes());
        for (at, value) in [
            (112, segments as u32 * 524_288),
            (116, bitmap.len() as u32),
            (120, 524_288),
            (124, 4096),
            (128, segments as u32),
            (132, bitmap.len() as u32 / 4096),
        ] {
            put(at, &value.to_le_bytes());
        }
        seal(&mut footer, 0);
        file.extend_from_slice(&footer);
        file
    }
}

/// A zlib stream of `content`, ended by a sync flush, or finished.
pub(crate) fn zlib(content: &[u8], finish: bool) -> Vec<u8> {
    let flush = if finish {
        FlushCompress::Finish
    } else {
        FlushCompress::Sync
    };
    let mut state = Compress::new(flate2::Compression::fast(), true);
    // Some implementations make noise up to an eighth longer.
    let mut out = Vec::with_capacity(content.len() * 5 / 4 + (1 << 16));
    state.compress_vec(content, &mut out, flush).unwrap();
    assert_eq!(state.total_in(), content.len() as u64);
    assert!(out.len() < out.capacity());
    out
}
