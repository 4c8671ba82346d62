//! VHDX on disk: constants and little-endian structures, as Microsoft's \[MS-VHDX\] gives them.
//!
//! ```text
//! 0        64 KiB    128 KiB   192 KiB         256 KiB         320 KiB  1 MiB
//! │ file   │ header  │ header  │ region table  │ region table  │ zeros  │ log, BAT, metadata and
//! │ ident. │ 1       │ 2       │ 1             │ 2             │        │ blocks, in any order
//! ```
//!
//! All integers are little-endian; regions and blocks begin at multiples of 1 MiB. Checksums are
//! CRC-32C over a structure whose checksum field is taken as zero. Nothing here is checked.

use std::fmt;

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::units::{KIB, MIB, TIB};

/// A GUID as stored: three little-endian integers and eight bytes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
)]
#[repr(C)]
pub(super) struct Guid {
    a: U32,
    b: U16,
    c: U16,
    d: [u8; 8],
}

impl Guid {
    /// No GUID: of a log, that it is empty.
    pub(super) const ZERO: Self = Self::new(0, 0, 0, [0; 8]);

    const fn new(a: u32, b: u16, c: u16, d: [u8; 8]) -> Self {
        Self {
            a: U32::new(a),
            b: U16::new(b),
            c: U16::new(c),
            d,
        }
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [d0, d1, rest @ ..] = self.d;
        let (a, b, c) = (self.a.get(), self.b.get(), self.c.get());
        write!(f, "{a:08x}-{b:04x}-{c:04x}-{d0:02x}{d1:02x}-")?;
        rest.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What regions and blocks are aligned to, in bytes.
pub(super) const ALIGNMENT: u64 = MIB;
/// First byte after identifier, headers and region tables.
pub(super) const HEADER_SECTION_LEN: u64 = MIB;

/// First eight bytes of the file.
pub(super) const FILE_SIGNATURE: [u8; 8] = *b"vhdxfile";

/// The first structure of the file.
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct FileIdentifier {
    /// [`FILE_SIGNATURE`].
    pub(super) signature: [u8; 8],
    /// The program that wrote the file, in UTF-16, padded with zeros.
    pub(super) creator: [U16; 256],
}

/// File offsets of the two headers.
pub(super) const HEADER_OFFSETS: [u64; 2] = [64 * KIB, 128 * KIB];
/// First four bytes of a header.
pub(super) const HEADER_SIGNATURE: [u8; 4] = *b"head";
/// The only version of the format that there is.
pub(super) const VERSION: u16 = 1;
/// The only version of the log that there is.
pub(super) const LOG_VERSION: u16 = 0;

/// A header; the one with the higher sequence number counts.
#[derive(Clone, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Header {
    /// [`HEADER_SIGNATURE`].
    pub(super) signature: [u8; 4],
    /// CRC-32C of all 4096 bytes.
    pub(super) checksum: U32,
    /// Goes up with each change of a header.
    pub(super) sequence_number: U64,
    /// Changes when anything in the file changes.
    pub(super) file_write_guid: Guid,
    /// Changes when the disk's content changes.
    pub(super) data_write_guid: Guid,
    /// Whose log entries count; zero when none has to be replayed.
    pub(super) log_guid: Guid,
    /// [`LOG_VERSION`].
    pub(super) log_version: U16,
    /// [`VERSION`].
    pub(super) version: U16,
    /// Length of the log in bytes.
    pub(super) log_length: U32,
    /// File offset of the log.
    pub(super) log_offset: U64,
    /// Zeros.
    pub(super) reserved: [u8; 4016],
}

/// File offsets of the two region tables; the second is a copy.
pub(super) const REGION_TABLE_OFFSETS: [u64; 2] = [192 * KIB, 256 * KIB];
/// Length of a region table in bytes.
pub(super) const REGION_TABLE_LEN: u64 = 64 * KIB;
/// First four bytes of a region table.
pub(super) const REGION_SIGNATURE: [u8; 4] = *b"regi";
/// Most entries of a region table and of a metadata table.
pub(super) const MAX_TABLE_ENTRIES: u32 = 2047;

/// Before the entries of a region table.
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct RegionTableHeader {
    /// [`REGION_SIGNATURE`].
    pub(super) signature: [u8; 4],
    /// CRC-32C of all 64 KiB.
    pub(super) checksum: U32,
    /// Number of entries, at most [`MAX_TABLE_ENTRIES`].
    pub(super) entry_count: U32,
    /// Zeros.
    pub(super) reserved: U32,
}

/// Where a region is.
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct RegionEntry {
    /// What it is, see [`region`].
    pub(super) guid: Guid,
    /// File offset.
    pub(super) offset: U64,
    /// Length in bytes.
    pub(super) length: U32,
    /// Bit 0: a reader that does not know the region must not open the file.
    pub(super) flags: U32,
}

/// [`RegionEntry::flags`]: the region is required.
pub(super) const REGION_REQUIRED: u32 = 1;

/// Values of [`RegionEntry::guid`].
pub(super) mod region {
    use super::Guid;

    /// Block allocation table (BAT).
    pub(crate) const BAT: Guid = Guid::new(
        0x2dc2_7766,
        0xf623,
        0x4200,
        [0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08],
    );
    /// Metadata.
    pub(crate) const METADATA: Guid = Guid::new(
        0x8b7c_a206,
        0x4790,
        0x4b9a,
        [0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e],
    );
}

/// First eight bytes of the metadata region.
pub(super) const METADATA_SIGNATURE: [u8; 8] = *b"metadata";
/// Length of the metadata table in bytes; the items stand behind it.
pub(super) const METADATA_TABLE_LEN: u64 = 64 * KIB;
/// Longest metadata item, in bytes.
pub(super) const MAX_METADATA_ITEM_LEN: u64 = MIB;

/// Before the entries of the metadata table.
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct MetadataTableHeader {
    /// [`METADATA_SIGNATURE`].
    pub(super) signature: [u8; 8],
    /// Zeros.
    pub(super) reserved: [u8; 2],
    /// Number of entries, at most [`MAX_TABLE_ENTRIES`].
    pub(super) entry_count: U16,
    /// Zeros.
    pub(super) reserved_end: [u8; 20],
}

/// Where a metadata item is.
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct MetadataEntry {
    /// What it is, see [`item`].
    pub(super) item: Guid,
    /// Offset in bytes from the beginning of the metadata region.
    pub(super) offset: U32,
    /// Length in bytes.
    pub(super) length: U32,
    /// See [`metadata_flags`].
    pub(super) flags: U32,
    /// Zeros.
    pub(super) reserved: U32,
}

/// Bits of [`MetadataEntry::flags`].
pub(super) mod metadata_flags {
    /// The item belongs to the user, not to the format.
    pub(crate) const USER: u32 = 1;
    /// A reader that does not know the item must not open the file.
    pub(crate) const REQUIRED: u32 = 4;
}

/// Values of [`MetadataEntry::item`].
pub(super) mod item {
    use super::Guid;

    /// Block size and flags: [`super::FileParameters`].
    pub(crate) const FILE_PARAMETERS: Guid = Guid::new(
        0xcaa1_6737,
        0xfa36,
        0x4d43,
        [0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b],
    );
    /// Size of the disk in bytes.
    pub(crate) const DISK_SIZE: Guid = Guid::new(
        0x2fa5_4224,
        0xcd1b,
        0x4876,
        [0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8],
    );
    /// Identity of the disk.
    pub(crate) const DISK_ID: Guid = Guid::new(
        0xbeca_12ab,
        0xb2e6,
        0x4523,
        [0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7, 0x46],
    );
    /// Sector size that the guest sees, in bytes.
    pub(crate) const LOGICAL_SECTOR_SIZE: Guid = Guid::new(
        0x8141_bf1d,
        0xa96f,
        0x4709,
        [0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f],
    );
    /// Sector size of the device, in bytes.
    pub(crate) const PHYSICAL_SECTOR_SIZE: Guid = Guid::new(
        0xcda3_48c7,
        0x445d,
        0x4471,
        [0x9c, 0xc9, 0xe9, 0x88, 0x52, 0x51, 0xc5, 0x56],
    );
    /// Where the parent of a differencing disk is.
    pub(crate) const PARENT_LOCATOR: Guid = Guid::new(
        0xa8d3_5f2d,
        0xb30b,
        0x454d,
        [0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c],
    );
}

/// The item [`item::FILE_PARAMETERS`].
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct FileParameters {
    /// Bytes of the disk in a block: a power of two from 1 MiB to 256 MiB.
    pub(super) block_size: U32,
    /// See [`file_flags`].
    pub(super) flags: U32,
}

/// Bits of [`FileParameters::flags`].
pub(super) mod file_flags {
    /// All blocks are stored and stay stored: a fixed disk.
    pub(crate) const LEAVE_ALLOCATED: u32 = 1;
    /// Only what differs from a parent is stored.
    pub(crate) const HAS_PARENT: u32 = 2;
}

/// Smallest and largest block, in bytes.
pub(super) const BLOCK_SIZES: std::ops::RangeInclusive<u64> = MIB..=256 * MIB;
/// Largest disk, in bytes.
pub(super) const MAX_DISK_SIZE: u64 = 64 * TIB;
/// Length of a block of sector bitmap in bytes.
pub(super) const SECTOR_BITMAP_LEN: u64 = MIB;
/// Sectors whose state a block of sector bitmap gives.
pub(super) const SECTORS_PER_CHUNK: u64 = 1 << 23;

/// [`ParentLocatorHeader::kind`] of a parent that is a VHDX file.
pub(super) const VHDX_PARENT_LOCATOR: Guid = Guid::new(
    0xb04a_efb7,
    0xd19e,
    0x4a81,
    [0xb7, 0x89, 0x25, 0xb8, 0xe9, 0x44, 0x59, 0x13],
);

/// Before the entries of a parent locator.
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct ParentLocatorHeader {
    /// What kind of parent it is.
    pub(super) kind: Guid,
    /// Zeros.
    pub(super) reserved: U16,
    /// Number of entries.
    pub(super) count: U16,
}

/// A key and its value, both in UTF-16. Offsets count from the beginning of the locator.
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct ParentLocatorEntry {
    pub(super) key_offset: U32,
    pub(super) value_offset: U32,
    pub(super) key_length: U16,
    pub(super) value_length: U16,
}

/// Size of an entry of the BAT in bytes.
pub(super) const BAT_ENTRY_SIZE: u64 = 8;

/// Bits of an entry of the BAT.
pub(super) mod bat {
    /// State of the block, see [`super::state`].
    pub(crate) const STATE: u64 = 7;
    /// Zeros.
    pub(crate) const RESERVED: u64 = 0xffff8;
    /// File offset of the block; a multiple of 1 MiB as it stands.
    pub(crate) const OFFSET: u64 = !0xfffff;
}

/// States of a payload block, and of a block of sector bitmap, which is either not present or
/// fully.
pub(super) mod state {
    /// Never written: zeros where there is no parent.
    pub(crate) const NOT_PRESENT: u64 = 0;
    /// Content is not defined.
    pub(crate) const UNDEFINED: u64 = 1;
    /// Zeros.
    pub(crate) const ZERO: u64 = 2;
    /// Discarded by the guest.
    pub(crate) const UNMAPPED: u64 = 3;
    /// All of it is stored.
    pub(crate) const FULLY_PRESENT: u64 = 6;
    /// A sector bitmap says what is stored, the rest is the parent's.
    pub(crate) const PARTIALLY_PRESENT: u64 = 7;
}

/// Unit of the log, and of what it writes, in bytes.
pub(super) const LOG_SECTOR: usize = 4096;
/// First four bytes of a log entry.
pub(super) const LOG_ENTRY_SIGNATURE: [u8; 4] = *b"loge";
/// First four bytes of a descriptor that stores a sector.
pub(super) const DATA_DESCRIPTOR: [u8; 4] = *b"desc";
/// First four bytes of a descriptor that stores zeros.
pub(super) const ZERO_DESCRIPTOR: [u8; 4] = *b"zero";
/// First four bytes of a data sector.
pub(super) const DATA_SECTOR: [u8; 4] = *b"data";

/// At the beginning of a log entry. Descriptors follow, then, from the next sector on, data
/// sectors.
#[derive(Clone, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct LogEntryHeader {
    /// [`LOG_ENTRY_SIGNATURE`].
    pub(super) signature: [u8; 4],
    /// CRC-32C of the whole entry.
    pub(super) checksum: U32,
    /// Length of the entry in bytes.
    pub(super) entry_length: U32,
    /// Offset in the log of the first entry that has to be replayed together with this one.
    pub(super) tail: U32,
    /// One more than that of the entry before.
    pub(super) sequence_number: U64,
    /// Number of descriptors.
    pub(super) descriptor_count: U32,
    /// Zeros.
    pub(super) reserved: U32,
    /// [`Header::log_guid`] when the entry was written.
    pub(super) log_guid: Guid,
    /// Length that the file has at least, in bytes.
    pub(super) flushed_file_offset: U64,
    /// Length that the file has to have after replay at least, in bytes.
    pub(super) last_file_offset: U64,
}

/// A descriptor of either kind.
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct LogDescriptor {
    /// [`DATA_DESCRIPTOR`] or [`ZERO_DESCRIPTOR`].
    pub(super) signature: [u8; 4],
    /// Data: the last four bytes of the sector. Zeros: unused.
    pub(super) trailing: [u8; 4],
    /// Data: the first eight bytes of the sector. Zeros: their number in bytes.
    pub(super) leading: [u8; 8],
    /// Where in the file it belongs.
    pub(super) file_offset: U64,
    /// That of the entry.
    pub(super) sequence_number: U64,
}

/// A stored sector without its first eight and last four bytes.
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct LogDataSector {
    /// [`DATA_SECTOR`].
    pub(super) signature: [u8; 4],
    /// Upper half of the entry's sequence number.
    pub(super) sequence_high: U32,
    pub(super) data: [u8; 4084],
    /// Lower half of the entry's sequence number.
    pub(super) sequence_low: U32,
}

const _: () = {
    assert!(size_of::<FileIdentifier>() == 520);
    assert!(size_of::<Header>() == 4096);
    assert!(size_of::<RegionTableHeader>() == 16);
    assert!(size_of::<RegionEntry>() == 32);
    assert!(size_of::<MetadataTableHeader>() == 32);
    assert!(size_of::<MetadataEntry>() == 32);
    assert!(size_of::<FileParameters>() == 8);
    assert!(size_of::<ParentLocatorHeader>() == 20);
    assert!(size_of::<ParentLocatorEntry>() == 12);
    assert!(size_of::<LogEntryHeader>() == 64);
    assert!(size_of::<LogDescriptor>() == 32);
    assert!(size_of::<LogDataSector>() == LOG_SECTOR);
};

/// CRC-32C of `structure`, whose bytes 4 to 8 hold the checksum itself.
pub(super) fn checksum(structure: &[u8]) -> u32 {
    let (start, rest) = structure.split_at_checked(4).unwrap_or_default();
    let rest = rest.get(4..).unwrap_or_default();
    crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(start), &[0; 4]), rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guids_are_stored_and_shown_as_the_specification_writes_them() {
        assert_eq!(
            region::BAT.to_string(),
            "2dc27766-f623-4200-9d64-115e9bfd4a08"
        );
        assert_eq!(
            region::BAT.as_bytes(),
            b"\x66\x77\xc2\x2d\x23\xf6\x00\x42\x9d\x64\x11\x5e\x9b\xfd\x4a\x08"
        );
    }

    #[test]
    fn checksum_takes_its_own_field_as_zero() {
        assert_eq!(checksum(b"1234xxxx9"), crc32c::crc32c(b"1234\0\0\0\09"));
        // The check value of CRC-32C.
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
    }
}
