//! Writes VDI files that no program writes.

/// Offsets of fields of the header.
pub(crate) mod field {
    pub(crate) const SIGNATURE: usize = 0x40;
    pub(crate) const VERSION: usize = 0x44;
    pub(crate) const HEADER_SIZE: usize = 0x48;
    pub(crate) const KIND: usize = 0x4c;
    pub(crate) const MAP: usize = 0x154;
    pub(crate) const DATA: usize = 0x158;
    pub(crate) const SECTOR_SIZE: usize = 0x168;
    pub(crate) const DISK_SIZE: usize = 0x170;
    pub(crate) const BLOCK_SIZE: usize = 0x178;
    pub(crate) const EXTRA: usize = 0x17c;
    pub(crate) const BLOCKS: usize = 0x180;
    pub(crate) const ALLOCATED: usize = 0x184;
    pub(crate) const UUID: usize = 0x188;
    pub(crate) const PARENT: usize = 0x1a8;
    pub(crate) const PARENT_STATE: usize = 0x1b8;
}

pub(crate) const DYNAMIC: u32 = 1;
pub(crate) const FIXED: u32 = 2;
pub(crate) const DIFFERENCING: u32 = 4;

/// Where the block map is.
pub(crate) const MAP: usize = 0x200;

/// A block of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Block {
    /// Not stored.
    Absent,
    /// Marked as zeros.
    Zeros,
    /// Stored.
    Noise,
}

/// What to write.
#[derive(Clone)]
pub(crate) struct Craft {
    pub(crate) kind: u32,
    pub(crate) disk_size: u64,
    pub(crate) block_size: usize,
    /// Bytes in front of each block.
    pub(crate) extra: usize,
    pub(crate) blocks: Vec<Block>,
    /// Stored back to front, so that file order is not guest order.
    pub(crate) backwards: bool,
    /// What map and data are aligned to.
    pub(crate) alignment: usize,
    /// Of a differencing disk.
    pub(crate) parent: [u8; 16],
}

/// A file, and what the guest must read from it.
pub(crate) struct Made {
    pub(crate) bytes: Vec<u8>,
    pub(crate) guest: Vec<u8>,
    /// File offset of the first block.
    pub(crate) data: usize,
}

impl Craft {
    pub(crate) fn new(block_size: usize, blocks: &[Block]) -> Self {
        Self {
            kind: DYNAMIC,
            disk_size: (block_size * blocks.len()) as u64,
            block_size,
            extra: 0,
            blocks: blocks.to_vec(),
            backwards: false,
            alignment: 512,
            parent: [0; 16],
        }
    }

    pub(crate) fn make(&self) -> Made {
        let mut order: Vec<usize> = (0..self.blocks.len()).collect();
        order.retain(|index| self.blocks[*index] == Block::Noise);
        if self.backwards {
            order.reverse();
        }
        let map = MAP.next_multiple_of(self.alignment);
        let data = (map + 4 * self.blocks.len()).next_multiple_of(self.alignment);
        let stride = self.block_size + self.extra;
        let mut bytes = vec![0; data + order.len() * stride];
        self.header(&mut bytes, map, data, order.len());
        let mut guest = vec![0; self.blocks.len() * self.block_size];
        for (index, block) in self.blocks.iter().enumerate() {
            let entry = match block {
                Block::Absent => u32::MAX,
                Block::Zeros => u32::MAX - 1,
                Block::Noise => order.iter().position(|stored| *stored == index).unwrap() as u32,
            };
            put32(&mut bytes, map + 4 * index, entry);
            if *block != Block::Noise {
                continue;
            }
            let at = data + entry as usize * stride;
            bytes[at..at + self.extra].fill(0xee);
            let stored = noise(index as u64, self.block_size);
            bytes[at + self.extra..at + stride].copy_from_slice(&stored);
            guest[index * self.block_size..][..self.block_size].copy_from_slice(&stored);
        }
        guest.truncate(self.disk_size as usize / 512 * 512);
        Made { bytes, guest, data }
    }

    fn header(&self, bytes: &mut [u8], map: usize, data: usize, stored: usize) {
        let text = b"<<< Oracle VM VirtualBox Disk Image >>>\n";
        bytes[..text.len()].copy_from_slice(text);
        put32(bytes, field::SIGNATURE, 0xbeda_107f);
        put32(bytes, field::VERSION, 0x0001_0001);
        put32(bytes, field::HEADER_SIZE, 400);
        put32(bytes, field::KIND, self.kind);
        put32(bytes, field::MAP, map as u32);
        put32(bytes, field::DATA, data as u32);
        put32(bytes, field::SECTOR_SIZE, 512);
        put64(bytes, field::DISK_SIZE, self.disk_size);
        put32(bytes, field::BLOCK_SIZE, self.block_size as u32);
        put32(bytes, field::EXTRA, self.extra as u32);
        put32(bytes, field::BLOCKS, self.blocks.len() as u32);
        put32(bytes, field::ALLOCATED, stored as u32);
        bytes[field::UUID..field::UUID + 32].fill(0x11);
        bytes[field::PARENT..field::PARENT + 16].copy_from_slice(&self.parent);
        bytes[field::PARENT_STATE..field::PARENT_STATE + 16].copy_from_slice(&self.parent);
    }
}

pub(crate) fn put32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

pub(crate) fn put64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

/// Bytes that depend on `seed` alone, without runs of zeros.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed + 1);
    let mut bytes = vec![0; len];
    rng.fill(&mut bytes);
    bytes
}
