//! Partition tables.

#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test helper: the disks of tests are small"
)]

const SECTOR: usize = 512;
const ENTRIES: usize = 128;
const ENTRY: usize = 128;
/// Sectors of the list of entries.
const LIST: u64 = (ENTRIES * ENTRY / SECTOR) as u64;

/// A partition.
#[derive(Clone, Copy, Debug)]
pub struct Partition {
    /// GUID of the type, or the type of an MBR in its first byte.
    pub kind: [u8; 16],
    /// First sector.
    pub start: u64,
    /// Sectors.
    pub sectors: u64,
}

/// An EFI system partition, as stored.
pub const ESP: [u8; 16] = [
    0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b,
];
/// A file system of Linux.
pub const LINUX: [u8; 16] = [
    0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4,
];
/// Room for a boot loader that a BIOS starts.
pub const BIOS_BOOT: [u8; 16] = *b"Hah!IdontNeedEFI";
/// Physical volumes of LVM.
pub const LVM: [u8; 16] = [
    0x79, 0xd3, 0xd6, 0xe6, 0x07, 0xf5, 0xc2, 0x44, 0xa2, 0x3c, 0x23, 0x8f, 0x2a, 0x3d, 0xf9, 0x28,
];

/// Writes a GPT of `partitions` to both ends of `disk`, with a protective MBR.
pub fn gpt(disk: &mut [u8], partitions: &[Partition]) {
    let last = disk.len() as u64 / SECTOR as u64 - 1;
    let whole = Partition {
        kind: [0xee; 16],
        start: 1,
        sectors: last,
    };
    mbr(disk, 0, None, &[whole]);
    let mut list = vec![0; ENTRIES * ENTRY];
    for (number, (entry, partition)) in (1..).zip(list.chunks_mut(ENTRY).zip(partitions)) {
        entry[..16].copy_from_slice(&partition.kind);
        entry[16..32].copy_from_slice(&[number; 16]);
        entry[32..40].copy_from_slice(&partition.start.to_le_bytes());
        let end = partition.start + partition.sectors - 1;
        entry[40..48].copy_from_slice(&end.to_le_bytes());
    }
    for (at, other, entries) in [(1, last, 2), (last, 1, last - LIST)] {
        let place = entries as usize * SECTOR;
        disk[place..place + list.len()].copy_from_slice(&list);
        let mut header = [0; SECTOR];
        header[..8].copy_from_slice(b"EFI PART");
        header[8..12].copy_from_slice(&0x1_0000_u32.to_le_bytes());
        header[12..16].copy_from_slice(&92_u32.to_le_bytes());
        for (field, number) in [
            (24, at),
            (32, other),
            (40, 2 + LIST),
            (48, last - LIST - 1),
            (72, entries),
        ] {
            header[field..field + 8].copy_from_slice(&number.to_le_bytes());
        }
        header[56..72].copy_from_slice(&[0xd1; 16]);
        header[80..84].copy_from_slice(&(ENTRIES as u32).to_le_bytes());
        header[84..88].copy_from_slice(&(ENTRY as u32).to_le_bytes());
        let place = at as usize * SECTOR;
        disk[place..place + SECTOR].copy_from_slice(&header);
        seal(disk, at);
    }
}

/// Makes the checksums of the GPT whose header is in sector `at` right.
pub fn seal(disk: &mut [u8], at: u64) {
    let place = at as usize * SECTOR;
    let Some(header) = disk.get(place..place + SECTOR) else {
        return;
    };
    if !header.starts_with(b"EFI PART") {
        return;
    }
    let word = |at: usize| {
        let bytes = header[at..at + 4].try_into().unwrap_or_default();
        u32::from_le_bytes(bytes) as usize
    };
    let (list, length, covered) = (word(72), word(80).saturating_mul(word(84)), word(12));
    let list = list.saturating_mul(SECTOR);
    let entries = disk.get(list..list.saturating_add(length));
    if let Some(sum) = entries.map(crc32fast::hash) {
        disk[place + 88..place + 92].copy_from_slice(&sum.to_le_bytes());
    }
    disk[place + 16..place + 20].fill(0);
    let sum = crc32fast::hash(&disk[place..place + covered.min(SECTOR)]);
    disk[place + 16..place + 20].copy_from_slice(&sum.to_le_bytes());
}

/// Writes an MBR with the disk's signature `id` and up to four `partitions`, of which that with
/// index `active` is marked so.
pub fn mbr(disk: &mut [u8], id: u32, active: Option<usize>, partitions: &[Partition]) {
    disk[440..444].copy_from_slice(&id.to_le_bytes());
    for (index, partition) in partitions.iter().take(4).enumerate() {
        let entry = &mut disk[446 + index * 16..462 + index * 16];
        entry.fill(0);
        if active == Some(index) {
            entry[0] = 0x80;
        }
        entry[4] = partition.kind[0];
        entry[8..12].copy_from_slice(&(partition.start as u32).to_le_bytes());
        entry[12..16].copy_from_slice(&(partition.sectors as u32).to_le_bytes());
    }
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
}

/// Boot code that looks like GRUB's, which goes on in sector `core`.
pub fn grub(disk: &mut [u8], core: u64) {
    disk[..3].copy_from_slice(b"\xeb\x63\x90");
    disk[0x5a..0x5c].copy_from_slice(&[0, 0x80]);
    disk[0x5c..0x64].copy_from_slice(&core.to_le_bytes());
    disk[0x180..0x18f].copy_from_slice(b"GRUB \0Geom\0Hard");
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    let place = core as usize * SECTOR;
    disk[place..place + 4].copy_from_slice(b"\x52\xe8\x28\x01");
}
