//! Writes VHD files that no program writes.

use std::ops::Range;

/// Length of the footer in bytes.
pub(crate) const FOOTER: usize = 512;
/// Where the dynamic header is.
pub(crate) const HEADER: usize = 512;
/// Where the BAT is.
pub(crate) const BAT: usize = 1536;
/// The largest geometry, which says nothing about the size.
pub(crate) const NO_GEOMETRY: (u16, u8, u8) = (65535, 16, 255);

/// A block of a dynamic disk.
#[derive(Clone)]
pub(crate) enum Block {
    /// Not stored.
    Hole,
    /// Stored, all sectors written.
    Full(Vec<u8>),
    /// Stored; only the sectors for which the second part is true were written.
    Partial(Vec<u8>, Vec<bool>),
}

/// What to write.
#[derive(Clone)]
pub(crate) struct Craft {
    pub(crate) creator: [u8; 4],
    pub(crate) size: u64,
    pub(crate) geometry: (u16, u8, u8),
    pub(crate) block_size: usize,
    pub(crate) blocks: Vec<Block>,
    /// Stored back to front, so that file order is not guest order.
    pub(crate) backwards: bool,
    pub(crate) footer_len: usize,
}

/// A file, and what the guest must read from it.
pub(crate) struct Image {
    pub(crate) bytes: Vec<u8>,
    pub(crate) guest: Vec<u8>,
    /// Where each block begins in the file, with its bitmap.
    pub(crate) places: Vec<Option<usize>>,
    /// Length of a block's bitmap.
    pub(crate) bitmap: usize,
}

impl Image {
    /// Where the footer is.
    pub(crate) fn footer(&self) -> usize {
        self.bytes.len() - FOOTER
    }

    /// The file range of the data of block `index`, which is stored whole.
    pub(crate) fn data(&self, index: usize, block_size: usize) -> Range<u64> {
        let start = self.places[index].unwrap() + self.bitmap;
        start as u64..(start + block_size) as u64
    }
}

impl Craft {
    pub(crate) fn new(block_size: usize, blocks: Vec<Block>) -> Self {
        Self {
            creator: *b"win ",
            size: (block_size * blocks.len()) as u64,
            geometry: NO_GEOMETRY,
            block_size,
            blocks,
            backwards: false,
            footer_len: FOOTER,
        }
    }

    pub(crate) fn dynamic(&self) -> Image {
        let entries = self.blocks.len();
        let footer = footer(self, 3, HEADER as u64);
        let mut bytes = footer.to_vec();
        bytes.extend(header(self.block_size as u32, entries as u32));
        bytes.resize((BAT + entries * 4).next_multiple_of(512), 0xff);
        let bitmap = (self.block_size / 4096).max(1).next_multiple_of(512);
        let mut places = vec![None; entries];
        let mut guest = vec![0; entries * self.block_size];
        let mut order: Vec<usize> = (0..entries).collect();
        if self.backwards {
            order.reverse();
        }
        for index in order {
            let (data, written) = match &self.blocks[index] {
                Block::Hole => continue,
                Block::Full(data) => (data, vec![true; self.block_size / 512]),
                Block::Partial(data, written) => (data, written.clone()),
            };
            let place = bytes.len();
            places[index] = Some(place);
            put32(&mut bytes, BAT + index * 4, (place / 512) as u32);
            bytes.resize(place + bitmap, 0);
            // A block that is there although nothing was written to it: its bitmap was forgotten.
            let forgotten = !written.contains(&true);
            for sector in (0..written.len()).filter(|sector| written[*sector] || forgotten) {
                if written[sector] {
                    bytes[place + sector / 8] |= 0x80 >> (sector % 8);
                }
                let from = sector * 512;
                guest[index * self.block_size + from..][..512]
                    .copy_from_slice(&data[from..from + 512]);
            }
            bytes.extend(data);
        }
        bytes.extend(&footer[..self.footer_len]);
        guest.truncate(self.size as usize);
        guest.resize(guest.len().next_multiple_of(512), 0);
        Image {
            bytes,
            guest,
            places,
            bitmap,
        }
    }

    /// A fixed disk with `guest` on it.
    pub(crate) fn fixed(&self, guest: &[u8]) -> Vec<u8> {
        let footer = footer(self, 2, u64::MAX);
        [guest, &footer[..self.footer_len]].concat()
    }
}

fn footer(craft: &Craft, kind: u32, data_offset: u64) -> [u8; FOOTER] {
    let mut footer = [0; FOOTER];
    footer[..8].copy_from_slice(b"conectix");
    put32(&mut footer, 8, 2);
    put32(&mut footer, 12, 0x1_0000);
    footer[16..24].copy_from_slice(&data_offset.to_be_bytes());
    footer[28..32].copy_from_slice(&craft.creator);
    put32(&mut footer, 32, 0x5_0003);
    footer[36..40].copy_from_slice(b"Wi2k");
    footer[40..48].copy_from_slice(&craft.size.to_be_bytes());
    footer[48..56].copy_from_slice(&craft.size.to_be_bytes());
    footer[56..58].copy_from_slice(&craft.geometry.0.to_be_bytes());
    footer[58] = craft.geometry.1;
    footer[59] = craft.geometry.2;
    put32(&mut footer, 60, kind);
    footer[68..84].fill(0x77);
    seal_footer(&mut footer, 0);
    footer
}

fn header(block_size: u32, entries: u32) -> [u8; 1024] {
    let mut header = [0; 1024];
    header[..8].copy_from_slice(b"cxsparse");
    header[8..16].fill(0xff);
    header[16..24].copy_from_slice(&(BAT as u64).to_be_bytes());
    put32(&mut header, 24, 0x1_0000);
    put32(&mut header, 28, entries);
    put32(&mut header, 32, block_size);
    seal(&mut header, 36);
    header
}

pub(crate) fn put32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

/// Makes the checksum of the footer at `at` right.
pub(crate) fn seal_footer(bytes: &mut [u8], at: usize) {
    let end = bytes.len().min(at + FOOTER);
    seal(&mut bytes[at..end], 64);
}

/// Makes the checksum of the dynamic header right.
pub(crate) fn seal_header(bytes: &mut [u8]) {
    seal(&mut bytes[HEADER..HEADER + 1024], 36);
}

fn seal(structure: &mut [u8], at: usize) {
    put32(structure, at, 0);
    let sum: u32 = structure.iter().map(|byte| u32::from(*byte)).sum();
    put32(structure, at, !sum);
}

/// Bytes that are nowhere zero and differ everywhere.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed);
    (0..len).map(|_| rng.u8(1..)).collect()
}

/// Blocks of all three kinds.
pub(crate) fn mixed(block_size: usize, count: usize) -> Vec<Block> {
    let mut rng = fastrand::Rng::with_seed(block_size as u64);
    (0..count)
        .map(|index| match index % 4 {
            0 => Block::Full(noise(index as u64, block_size)),
            1 => {
                let longest = 1 + block_size / 512 / 4;
                let mut written = Vec::new();
                while written.len() < block_size / 512 {
                    let value = rng.bool();
                    written.extend(std::iter::repeat_n(value, rng.usize(1..=longest)));
                }
                written.truncate(block_size / 512);
                Block::Partial(noise(index as u64, block_size), written)
            }
            _ => Block::Hole,
        })
        .collect()
}

/// Blocks that are either full or not there; the first and the fifth are full, the second is a
/// hole.
pub(crate) fn plain(block_size: usize, count: usize) -> Vec<Block> {
    (0..count)
        .map(|index| match index % 4 {
            1 | 2 => Block::Hole,
            _ => Block::Full(noise(index as u64, block_size)),
        })
        .collect()
}
