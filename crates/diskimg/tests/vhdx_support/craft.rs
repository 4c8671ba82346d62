//! Writes VHDX files by hand, from the specification's offsets and not from the reader's
//! structures: what QEMU does not make, and what nobody should.

use std::ops::Range;

/// File offsets of the structures, as this writer lays them out.
pub(crate) const HEADERS: [usize; 2] = [64 << 10, 128 << 10];
pub(crate) const REGIONS: [usize; 2] = [192 << 10, 256 << 10];
pub(crate) const LOG: usize = 1 << 20;
pub(crate) const METADATA: usize = 3 << 20;
pub(crate) const BAT: usize = 4 << 20;
pub(crate) const PAYLOAD: usize = 5 << 20;
pub(crate) const LOG_LEN: usize = 1 << 20;
pub(crate) const MIB: usize = 1 << 20;

pub(crate) const NOT_PRESENT: u64 = 0;
pub(crate) const UNDEFINED: u64 = 1;
pub(crate) const ZERO: u64 = 2;
pub(crate) const UNMAPPED: u64 = 3;
pub(crate) const FULLY_PRESENT: u64 = 6;
pub(crate) const PARTIALLY_PRESENT: u64 = 7;

pub(crate) const LOG_GUID: [u8; 16] = *b"the log's guid 1";

/// GUIDs as their text, in the order of the stored bytes.
pub(crate) fn guid(text: &str) -> [u8; 16] {
    let bytes = hex::decode(text.replace('-', "")).unwrap();
    let order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    order.map(|at| bytes[at])
}

pub(crate) fn bat_region() -> [u8; 16] {
    guid("2dc27766-f623-4200-9d64-115e9bfd4a08")
}

pub(crate) fn metadata_region() -> [u8; 16] {
    guid("8b7ca206-4790-4b9a-b8fe-575f050f886e")
}

/// GUIDs of the metadata items, in the order in which they stand in the table.
pub(crate) fn items() -> [[u8; 16]; 6] {
    [
        "caa16737-fa36-4d43-b3b6-33f0aa44e76b",
        "2fa54224-cd1b-4876-b211-5dbed83bf4b8",
        "beca12ab-b2e6-4523-93ef-c309e000c746",
        "8141bf1d-a96f-4709-ba47-f233a8faab5f",
        "cda348c7-445d-4471-9cc9-e9885251c556",
        "a8d35f2d-b30b-454d-abf7-d3d84834ab0c",
    ]
    .map(guid)
}

/// File offset of the content of metadata item `index`.
pub(crate) fn item_at(index: usize) -> usize {
    METADATA + (64 << 10) + index * 16
}

pub(crate) fn put32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

pub(crate) fn put64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

/// Computes the checksum of the structure in `range`, whose bytes 4 to 8 hold it.
pub(crate) fn seal(bytes: &mut [u8], range: Range<usize>) {
    put32(bytes, range.start + 4, 0);
    let crc = crc32c::crc32c(&bytes[range.clone()]);
    put32(bytes, range.start + 4, crc);
}

pub(crate) fn seal_header(bytes: &mut [u8], index: usize) {
    seal(bytes, HEADERS[index]..HEADERS[index] + 4096);
}

pub(crate) fn seal_regions(bytes: &mut [u8], index: usize) {
    seal(bytes, REGIONS[index]..REGIONS[index] + (64 << 10));
}

/// Bytes that do not compress, none of which says what it is.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    bytes
}

/// How a file is to be made.
pub(crate) struct Craft {
    pub(crate) block_size: usize,
    pub(crate) sector_size: u32,
    pub(crate) disk_size: u64,
    pub(crate) fixed: bool,
    /// State of each block; blocks past the end are not present.
    pub(crate) states: Vec<u64>,
    /// Blocks are stored in the opposite order.
    pub(crate) backwards: bool,
}

/// A file, and what the guest sees.
pub(crate) struct Made {
    pub(crate) bytes: Vec<u8>,
    pub(crate) guest: Vec<u8>,
}

impl Craft {
    /// A dynamic disk of `states` blocks of 1 MiB.
    pub(crate) fn new(states: &[u64]) -> Self {
        Self {
            block_size: MIB,
            sector_size: 512,
            disk_size: (states.len() * MIB) as u64,
            fixed: false,
            states: states.to_vec(),
            backwards: false,
        }
    }

    pub(crate) fn chunk_ratio(&self) -> u64 {
        (1_u64 << 23) * u64::from(self.sector_size) / self.block_size as u64
    }

    /// File offset of the BAT entry of `block`.
    pub(crate) fn bat_entry(&self, block: u64) -> usize {
        BAT + (block + block / self.chunk_ratio()) as usize * 8
    }

    pub(crate) fn make(&self) -> Made {
        let stored: Vec<usize> = (0..self.states.len())
            .filter(|block| self.states[*block] == FULLY_PRESENT)
            .collect();
        let mut bytes = self.frame(PAYLOAD + stored.len() * self.block_size);
        let mut guest = vec![0; self.disk_size as usize];
        for (block, state) in self.states.iter().enumerate() {
            put64(&mut bytes, self.bat_entry(block as u64), *state);
        }
        for (place, block) in stored.iter().enumerate() {
            let place = if self.backwards {
                stored.len() - 1 - place
            } else {
                place
            };
            let at = PAYLOAD + place * self.block_size;
            let content = noise(*block as u64, self.block_size);
            bytes[at..at + self.block_size].copy_from_slice(&content);
            let entry = at as u64 | FULLY_PRESENT;
            put64(&mut bytes, self.bat_entry(*block as u64), entry);
            let start = block * self.block_size;
            let end = (start + self.block_size).min(guest.len());
            guest[start..end].copy_from_slice(&content[..end - start]);
        }
        Made { bytes, guest }
    }

    /// A file of `len` bytes with everything but BAT entries and payload.
    pub(crate) fn frame(&self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        bytes[..8].copy_from_slice(b"vhdxfile");
        for (at, unit) in "by hand \"\u{1b}".encode_utf16().enumerate() {
            bytes[8 + at * 2..10 + at * 2].copy_from_slice(&unit.to_le_bytes());
        }
        for (index, at) in HEADERS.into_iter().enumerate() {
            bytes[at..at + 4].copy_from_slice(b"head");
            put64(&mut bytes, at + 8, 7 + index as u64);
            bytes[at + 16..at + 32].copy_from_slice(b"file write guid.");
            bytes[at + 32..at + 48].copy_from_slice(b"data write guid.");
            bytes[at + 66] = 1;
            put32(&mut bytes, at + 68, LOG_LEN as u32);
            put64(&mut bytes, at + 72, LOG as u64);
            seal_header(&mut bytes, index);
        }
        for (index, at) in REGIONS.into_iter().enumerate() {
            bytes[at..at + 4].copy_from_slice(b"regi");
            put32(&mut bytes, at + 8, 2);
            for (entry, guid, region) in [(0, bat_region(), BAT), (1, metadata_region(), METADATA)]
            {
                let at = at + 16 + entry * 32;
                bytes[at..at + 16].copy_from_slice(&guid);
                put64(&mut bytes, at + 16, region as u64);
                put32(&mut bytes, at + 24, 1 << 20);
                put32(&mut bytes, at + 28, 1);
            }
            seal_regions(&mut bytes, index);
        }
        bytes[METADATA..METADATA + 8].copy_from_slice(b"metadata");
        bytes[METADATA + 10] = 5;
        for (index, (guid, len)) in items().into_iter().zip([8, 8, 16, 4, 4]).enumerate() {
            let at = METADATA + 32 + index * 32;
            bytes[at..at + 16].copy_from_slice(&guid);
            put32(&mut bytes, at + 16, (item_at(index) - METADATA) as u32);
            put32(&mut bytes, at + 20, len);
            // File parameters do not belong to the disk; all are required.
            put32(&mut bytes, at + 24, if index == 0 { 4 } else { 6 });
        }
        put32(&mut bytes, item_at(0), self.block_size as u32);
        put32(&mut bytes, item_at(0) + 4, u32::from(self.fixed));
        put64(&mut bytes, item_at(1), self.disk_size);
        bytes[item_at(2)..item_at(2) + 16].copy_from_slice(b"the disk's guid.");
        put32(&mut bytes, item_at(3), self.sector_size);
        put32(&mut bytes, item_at(4), 4096);
        bytes
    }
}

/// What a log entry does.
pub(crate) enum Write {
    /// A sector at a file offset.
    Data(u64, Vec<u8>),
    /// Zeros at a file offset, and their number.
    Zeros(u64, u64),
}

/// A log entry.
pub(crate) struct Entry {
    pub(crate) guid: [u8; 16],
    pub(crate) number: u64,
    /// Offset in the log.
    pub(crate) tail: u32,
    pub(crate) flushed: u64,
    pub(crate) last: u64,
    pub(crate) writes: Vec<Write>,
}

impl Entry {
    pub(crate) fn new(number: u64, tail: u32, file_len: usize, writes: Vec<Write>) -> Self {
        Self {
            guid: LOG_GUID,
            number,
            tail,
            flushed: file_len as u64,
            last: file_len as u64,
            writes,
        }
    }

    /// The entry's bytes: whole sectors.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let described = (64 + 32 * self.writes.len()).next_multiple_of(4096);
        let mut bytes = vec![0; described];
        bytes[..4].copy_from_slice(b"loge");
        put32(&mut bytes, 12, self.tail);
        put64(&mut bytes, 16, self.number);
        put32(&mut bytes, 24, self.writes.len() as u32);
        bytes[32..48].copy_from_slice(&self.guid);
        put64(&mut bytes, 48, self.flushed);
        put64(&mut bytes, 56, self.last);
        for (index, write) in self.writes.iter().enumerate() {
            let at = 64 + index * 32;
            put64(&mut bytes, at + 24, self.number);
            match write {
                Write::Zeros(to, len) => {
                    bytes[at..at + 4].copy_from_slice(b"zero");
                    put64(&mut bytes, at + 8, *len);
                    put64(&mut bytes, at + 16, *to);
                }
                Write::Data(to, sector) => {
                    assert_eq!(sector.len(), 4096);
                    bytes[at..at + 4].copy_from_slice(b"desc");
                    bytes[at + 4..at + 8].copy_from_slice(&sector[4092..]);
                    bytes[at + 8..at + 16].copy_from_slice(&sector[..8]);
                    put64(&mut bytes, at + 16, *to);
                    bytes.extend_from_slice(b"data");
                    bytes.extend_from_slice(&((self.number >> 32) as u32).to_le_bytes());
                    bytes.extend_from_slice(&sector[8..4092]);
                    bytes.extend_from_slice(&(self.number as u32).to_le_bytes());
                }
            }
        }
        let len = bytes.len();
        put32(&mut bytes, 8, len as u32);
        seal(&mut bytes, 0..len);
        bytes
    }
}

/// Puts `entry` into the log at offset `at`, round its end if need be; the offset after it.
pub(crate) fn log(file: &mut [u8], at: usize, entry: &[u8]) -> usize {
    for (index, byte) in entry.iter().enumerate() {
        file[LOG + (at + index) % LOG_LEN] = *byte;
    }
    (at + entry.len()) % LOG_LEN
}

/// Says in the newer header that entries with `guid` have to be replayed.
pub(crate) fn mark_dirty(file: &mut [u8], guid: [u8; 16]) {
    file[HEADERS[1] + 48..HEADERS[1] + 64].copy_from_slice(&guid);
    seal_header(file, 1);
}

/// Applies `writes` as a replay does.
pub(crate) fn apply(file: &mut [u8], writes: &[Write]) {
    for write in writes {
        match write {
            Write::Data(at, sector) => {
                file[*at as usize..*at as usize + 4096].copy_from_slice(sector);
            }
            Write::Zeros(at, len) => file[*at as usize..(*at + *len) as usize].fill(0),
        }
    }
}
