//! VHD on disk: constants and big-endian structures, as Microsoft's Virtual Hard Disk Image Format
//! Specification, version 1.0, gives them.
//!
//! ```text
//! fixed:    the disk's bytes as they are, footer
//! dynamic:  copy of the footer, dynamic header, BAT ──▶ blocks (sector bitmap, data), footer
//! ```
//!
//! All integers are big-endian. Nothing here is checked; [`super::footer`] and [`super::dynamic`]
//! do.

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// First eight bytes of the footer and of its copy.
pub(super) const FOOTER_COOKIE: [u8; 8] = *b"conectix";
/// First eight bytes of the dynamic header.
pub(super) const DYNAMIC_COOKIE: [u8; 8] = *b"cxsparse";

/// Length of the footer in bytes.
pub(super) const FOOTER_LEN: u64 = 512;
/// Length of the footer that programs before Virtual PC 2004 wrote; its last byte is not there.
pub(super) const OLD_FOOTER_LEN: u64 = 511;
/// Length of the dynamic header in bytes.
pub(super) const DYNAMIC_HEADER_LEN: u64 = 1024;

/// Upper half of the only version of footer and header that there is, 1.0.
pub(super) const MAJOR_VERSION: u32 = 1;

/// The footer: the last bytes of every file; a dynamic disk has a copy of it at offset 0.
#[derive(Clone, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Footer {
    /// [`FOOTER_COOKIE`].
    pub(super) cookie: [u8; 8],
    /// Bit 0: the disk is temporary. Bit 1 is always set.
    pub(super) features: U32,
    /// Version of the format, major in the upper half.
    pub(super) version: U32,
    /// File offset of the dynamic header in bytes; all ones in a fixed disk.
    pub(super) data_offset: U64,
    /// Seconds since the beginning of 2000, UTC.
    pub(super) timestamp: U32,
    /// Which program wrote the file.
    pub(super) creator_app: [u8; 4],
    /// Version of that program.
    pub(super) creator_version: U32,
    /// System on which it ran.
    pub(super) creator_os: [u8; 4],
    /// Size of the disk in bytes when it was made.
    pub(super) original_size: U64,
    /// Size of the disk in bytes.
    pub(super) current_size: U64,
    /// Geometry: cylinders.
    pub(super) cylinders: U16,
    /// Geometry: heads.
    pub(super) heads: u8,
    /// Geometry: sectors in a track.
    pub(super) sectors: u8,
    /// See [`disk_type`].
    pub(super) disk_type: U32,
    /// Ones' complement of the sum of all other bytes.
    pub(super) checksum: U32,
    /// Identifies the disk to its differencing disks.
    pub(super) unique_id: [u8; 16],
    /// 1: the machine was saved, not shut down.
    pub(super) saved_state: u8,
    /// Zeros.
    pub(super) reserved: [u8; 427],
}

/// Values of [`Footer::disk_type`].
pub(super) mod disk_type {
    /// All sectors are stored.
    pub(crate) const FIXED: u32 = 2;
    /// Blocks are stored when they have been written.
    pub(crate) const DYNAMIC: u32 = 3;
    /// Only what differs from a parent is stored.
    pub(crate) const DIFFERENCING: u32 = 4;
}

/// The geometry's largest values: 127.5 GiB. It says nothing about disks beyond that.
pub(super) const MAX_GEOMETRY_SECTORS: u64 = 65535 * 16 * 255;

/// What a dynamic or a differencing disk adds to the footer.
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct DynamicHeader {
    /// [`DYNAMIC_COOKIE`].
    pub(super) cookie: [u8; 8],
    /// Not used; all ones.
    pub(super) data_offset: U64,
    /// File offset of the block allocation table (BAT) in bytes.
    pub(super) table_offset: U64,
    /// Version of the header, major in the upper half.
    pub(super) version: U32,
    /// Number of entries of the BAT.
    pub(super) max_table_entries: U32,
    /// Bytes of the disk in a block, without its sector bitmap; a power of two.
    pub(super) block_size: U32,
    /// Ones' complement of the sum of all other bytes.
    pub(super) checksum: U32,
    /// [`Footer::unique_id`] of the parent.
    pub(super) parent_unique_id: [u8; 16],
    /// Seconds since the beginning of 2000, UTC.
    pub(super) parent_timestamp: U32,
    /// Zeros.
    pub(super) reserved: [u8; 4],
    /// Name of the parent in UTF-16, padded with zeros.
    pub(super) parent_name: [U16; 256],
    /// Where paths of the parent are stored.
    pub(super) parent_locators: [ParentLocator; 8],
    /// Zeros.
    pub(super) reserved_end: [u8; 256],
}

/// Where a path of the parent is stored.
#[derive(Clone, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct ParentLocator {
    /// What kind of path it is, see [`locator`].
    pub(super) code: [u8; 4],
    /// Room for it; some programs count in sectors, some in bytes.
    pub(super) data_space: U32,
    /// Length of the path in bytes.
    pub(super) data_length: U32,
    /// Zeros.
    pub(super) reserved: U32,
    /// File offset of the path in bytes.
    pub(super) data_offset: U64,
}

/// Values of [`ParentLocator::code`]; zeros: unused.
pub(super) mod locator {
    /// A path of Windows that is relative to the differencing disk, in UTF-16.
    pub(crate) const WINDOWS_RELATIVE: [u8; 4] = *b"W2ru";
    /// A path of Windows, in UTF-16.
    pub(crate) const WINDOWS_ABSOLUTE: [u8; 4] = *b"W2ku";
    /// Before [`WINDOWS_RELATIVE`]: one byte a character.
    pub(crate) const OLD_WINDOWS_RELATIVE: [u8; 4] = *b"Wi2r";
    /// Before [`WINDOWS_ABSOLUTE`]: one byte a character.
    pub(crate) const OLD_WINDOWS_ABSOLUTE: [u8; 4] = *b"Wi2k";
    /// A `file:` URL.
    pub(crate) const URL: [u8; 4] = *b"MacX";
}

const _: () = {
    assert!(size_of::<ParentLocator>() == 24);
    assert!(size_of::<Footer>() as u64 == FOOTER_LEN);
    assert!(size_of::<DynamicHeader>() as u64 == DYNAMIC_HEADER_LEN);
};

/// Size of an entry of the BAT in bytes.
pub(super) const ENTRY_SIZE: u64 = 4;
/// An entry of the BAT whose block is not stored. Others are the block's offset in sectors.
pub(super) const UNALLOCATED: u32 = 0xffff_ffff;

/// The checksum of `structure`, whose own checksum field holds `stored`.
pub(super) fn checksum(structure: &[u8], stored: U32) -> u32 {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    // At most 1024 bytes: no overflow.
    !(sum(structure) - sum(stored.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_leaves_its_own_field_out() {
        assert_eq!(checksum(&[1, 2, 3, 0, 0, 0, 9], U32::new(9)), !6);
        assert_eq!(checksum(&[0; 512], U32::ZERO), u32::MAX);
    }
}
