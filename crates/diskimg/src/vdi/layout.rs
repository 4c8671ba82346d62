//! What a VDI file is made of, as stored: all integers are little-endian, sizes and offsets count
//! bytes. Nothing here is checked.

use std::fmt;

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A UUID as stored: three little-endian integers and eight bytes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
)]
#[repr(C)]
pub(super) struct Uuid {
    a: U32,
    b: U16,
    c: U16,
    d: [u8; 8],
}

impl Uuid {
    /// Whether there is none.
    pub(super) fn is_zero(self) -> bool {
        self.as_bytes().iter().all(|byte| *byte == 0)
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [d0, d1, rest @ ..] = self.d;
        let (a, b, c) = (self.a.get(), self.b.get(), self.c.get());
        write!(f, "{a:08x}-{b:04x}-{c:04x}-{d0:02x}{d1:02x}-")?;
        rest.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// File offset of [`Header::signature`].
pub(super) const SIGNATURE_OFFSET: usize = std::mem::offset_of!(Header, signature);
/// What tells a VDI.
pub(super) const SIGNATURE: [u8; 4] = [0x7f, 0x10, 0xda, 0xbe];
/// The version of all files since 2006: 1.1.
pub(super) const VERSION: u32 = 0x0001_0001;

/// The header at the beginning of the file.
#[derive(Clone, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Header {
    /// The name of the program, usually between `<<<` and `>>>`, filled up with zeros.
    pub(super) text: [u8; 64],
    /// [`SIGNATURE`].
    pub(super) signature: [u8; 4],
    /// Major version in the upper half, minor one in the lower.
    pub(super) version: U32,
    /// Length of the header from this field on.
    pub(super) header_size: U32,
    /// See [`disk_type`].
    pub(super) disk_type: U32,
    /// Hints for the program that writes.
    pub(super) flags: U32,
    /// A text of the user's.
    pub(super) comment: [u8; 256],
    /// File offset of the block map.
    pub(super) map_offset: U32,
    /// File offset of the first block.
    pub(super) data_offset: U32,
    /// A geometry that old guests see: cylinders, heads and sectors.
    pub(super) geometry: [U32; 3],
    pub(super) sector_size: U32,
    /// Nothing.
    pub(super) unused: U32,
    /// Size of the disk; may be no multiple of 512.
    pub(super) disk_size: U64,
    /// Bytes of the disk in a block.
    pub(super) block_size: U32,
    /// Bytes in front of each block that are not on the disk.
    pub(super) block_extra: U32,
    /// Number of blocks of the disk.
    pub(super) blocks: U32,
    /// Number of blocks that are stored.
    pub(super) allocated: U32,
    pub(super) uuid: Uuid,
    /// Changes when the content does.
    pub(super) modification_uuid: Uuid,
    /// [`Self::uuid`] of the parent.
    pub(super) parent_uuid: Uuid,
    /// [`Self::modification_uuid`] of the parent.
    pub(super) parent_modification_uuid: Uuid,
}

const _: () = {
    assert!(SIGNATURE_OFFSET == 0x40);
    assert!(std::mem::offset_of!(Header, map_offset) == 0x154);
    assert!(std::mem::offset_of!(Header, disk_size) == 0x170);
    assert!(std::mem::offset_of!(Header, uuid) == 0x188);
    assert!(size_of::<Header>() == 0x1c8);
};

/// File offset from which [`Header::header_size`] counts.
pub(super) const HEADER_START: u64 = std::mem::offset_of!(Header, header_size) as u64;
/// Values of [`Header::header_size`]: QEMU and old versions of VirtualBox write the least one, new
/// versions 400. The most is ours.
pub(super) const HEADER_SIZES: std::ops::RangeInclusive<u32> = 384..=4096;

/// Values of [`Header::disk_type`].
pub(super) mod disk_type {
    /// Blocks are stored when they are written.
    pub(crate) const DYNAMIC: u32 = 1;
    /// All blocks are stored.
    pub(crate) const FIXED: u32 = 2;
    /// Nobody writes it.
    pub(crate) const UNDO: u32 = 3;
    /// What is not stored is a parent's.
    pub(crate) const DIFFERENCING: u32 = 4;
}

/// Sizes of a block in bytes. VirtualBox and QEMU write 1 MiB.
pub(super) const BLOCK_SIZES: std::ops::RangeInclusive<u64> = 4096..=64 << 20;

/// Size of an entry of the block map in bytes.
pub(super) const ENTRY_SIZE: u64 = 4;
/// An entry of the block map whose block is not stored. Others are the block's number in the file.
pub(super) const UNALLOCATED: u32 = 0xffff_ffff;
/// An entry whose block reads as zeros, whatever a parent holds.
pub(super) const ZEROS: u32 = 0xffff_fffe;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_shown_as_virtualbox_writes_them() {
        let stored = *b"\x66\x77\xc2\x2d\x23\xf6\x00\x42\x9d\x64\x11\x5e\x9b\xfd\x4a\x08";
        let uuid = Uuid::read_from_bytes(&stored).unwrap();
        assert_eq!(uuid.to_string(), "2dc27766-f623-4200-9d64-115e9bfd4a08");
        assert!(!uuid.is_zero());
    }
}
