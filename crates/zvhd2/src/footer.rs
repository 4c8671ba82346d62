//! Footers as plain values, and how they are written: the checksum, the VHD geometry.

use diskimg::units::{GIB, SECTOR};
use serde::Serialize;
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U32, U64};

use crate::layout::{BITMAP_SEGMENT, COOKIE_V2, INDEX_SEGMENT, PAGE_LEN, WireFooter};

/// Always 2: the bit that VHD reserves and wants set.
pub(crate) const FEATURES: u32 = 2;
/// VHD file format version 1.0.
pub(crate) const FF_VERSION: u32 = 0x0001_0000;
/// No next structure.
pub(crate) const DATA_OFFSET: u64 = u64::MAX;
/// Program and version that the vendor's driver writes.
pub(crate) const CREATOR: (&[u8; 4], u32, u32) = (b"tap\0", 0x0001_0004, 0);
/// The only disk type seen.
pub(crate) const DISK_TYPE: u32 = 4;
/// Version 2 of the format has 1 here.
pub(crate) const ZVHD2_VERSION: u8 = 1;

/// The two fields in which two encodings of the same content may differ. The caller supplies them,
/// so that an output can be made again, or resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Random bytes that tell files apart.
    pub uuid: [u8; 16],
    /// Seconds since 2000-01-01 00:00 UTC.
    pub timestamp: u32,
}

/// How the payloads of a file are compressed. Reading knows both, writing is always zstd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// A zlib stream per block, sync-flushed and not finished.
    Zlib,
    /// A zstd frame per block.
    Zstd,
}

impl Compression {
    /// The name people know it by.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Zlib => "zlib",
            Self::Zstd => "zstd",
        }
    }

    /// The value of `compress_method`.
    const fn wire(self) -> u8 {
        match self {
            Self::Zlib => 0,
            Self::Zstd => 1,
        }
    }

    pub(crate) const fn from_wire(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::Zlib),
            1 => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// Where index and bitmap stand, and how long they are, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tables {
    pub(crate) index_lba: u64,
    pub(crate) index_size: u32,
    pub(crate) bitmap_lba: u64,
    pub(crate) bitmap_size: u32,
}

/// A footer's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) identity: Identity,
    /// Guest size in bytes.
    pub(crate) virtual_size: u64,
    pub(crate) block_size: u32,
    /// Blocks of the guest disk.
    pub(crate) max_blocks: u32,
    pub(crate) compression: Compression,
    /// Whether the index has entries for stored blocks only.
    pub(crate) dense_index: bool,
    /// Zero in the first footer.
    pub(crate) stored_blocks: u32,
    /// Only in the last footer.
    pub(crate) tables: Option<Tables>,
}

impl Footer {
    /// The footer with its checksum, filled up to a page.
    pub(crate) fn to_page(self) -> Vec<u8> {
        let tables = self.tables.unwrap_or(Tables {
            index_lba: 0,
            index_size: 0,
            bitmap_lba: 0,
            bitmap_size: 0,
        });
        let segment_size = |size: u32| U32::new(if self.tables.is_some() { size } else { 0 });
        let mut cookie = [0; 8];
        for (to, from) in cookie.iter_mut().zip(COOKIE_V2) {
            *to = *from;
        }
        let mut wire = WireFooter {
            cookie,
            features: U32::new(FEATURES),
            ff_version: U32::new(FF_VERSION),
            data_offset: U64::new(DATA_OFFSET),
            timestamp: U32::new(self.identity.timestamp),
            crtr_app: *CREATOR.0,
            crtr_ver: U32::new(CREATOR.1),
            crtr_os: U32::new(CREATOR.2),
            orig_size: U64::new(self.virtual_size),
            curr_size: U64::new(rounded_size(self.virtual_size)),
            geometry: U32::new(geometry(self.virtual_size)),
            disk_type: U32::new(DISK_TYPE),
            checksum: U32::new(0),
            uuid: self.identity.uuid,
            saved: 0,
            hidden: 0,
            align_64: 0,
            zvhd2_version: ZVHD2_VERSION,
            block_size: U32::new(self.block_size),
            max_blk_num: U32::new(self.max_blocks),
            index_lba: U64::new(tables.index_lba),
            bitmap_lba: U64::new(tables.bitmap_lba),
            index_size: U32::new(tables.index_size),
            bitmap_size: U32::new(tables.bitmap_size),
            index_seg_size: segment_size(INDEX_SEGMENT),
            bitmap_seg_size: segment_size(BITMAP_SEGMENT),
            index_seg_num: U32::new(tables.index_size / INDEX_SEGMENT),
            bitmap_seg_num: U32::new(tables.bitmap_size / BITMAP_SEGMENT),
            non_zero_blk_num: U32::new(self.stored_blocks),
            index_contains_zero_blk: u8::from(!self.dense_index),
            compress_method: self.compression.wire(),
            reserved: [0; 370],
        };
        wire.checksum = U32::new(checksum(&wire));
        let mut page = wire.as_bytes().to_vec();
        page.resize(PAGE_LEN, 0);
        page
    }
}

/// What the checksum field must hold.
pub(crate) fn checksum(footer: &WireFooter) -> u32 {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    // 512 bytes sum up to far less than 2^32; the field itself counts as zero.
    !(sum(footer.as_bytes()) - sum(footer.checksum.as_bytes()))
}

/// The guest size as the vendor's tools show it: in whole GiB.
pub(crate) const fn rounded_size(virtual_size: u64) -> u64 {
    virtual_size.div_ceil(GIB).saturating_mul(GIB)
}

/// The geometry that the VHD specification's appendix computes for a disk: cylinders << 16 |
/// heads << 8 | sectors per track.
pub(crate) fn geometry(virtual_size: u64) -> u32 {
    let total = (virtual_size / SECTOR).min(65535 * 16 * 255);
    let (cylinders_times_heads, heads, sectors) = if total >= 65535 * 16 * 63 {
        (total / 255, 16, 255)
    } else {
        let tracks = total / 17;
        let heads = tracks.div_ceil(1024).max(4);
        if heads <= 16 && tracks < heads * 1024 {
            (tracks, heads, 17)
        } else if total / 31 < 16 * 1024 {
            (total / 31, 16, 31)
        } else {
            (total / 63, 16, 63)
        }
    };
    let packed = (cylinders_times_heads / heads) << 16 | heads << 8 | sectors;
    // At most 65535 cylinders, 16 heads, 255 sectors: always 32 bits.
    u32::try_from(packed).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of the algorithm in the VHD specification, worked out from its text; the first two
    /// are also in the vendor's files.
    #[test]
    fn geometry_is_that_of_the_vhd_specification() {
        let packed =
            |cylinders: u32, heads: u32, sectors: u32| cylinders << 16 | heads << 8 | sectors;
        for (sectors, expected) in [
            (10_243, packed(150, 4, 17)),
            (2_097_152, packed(2080, 16, 63)),
            (1, packed(0, 4, 17)),
            // 17 sectors a track, heads grow with the disk: 16 heads hold 16384 tracks.
            (17 * 16_383, packed(1023, 16, 17)),
            (17 * 16_384, packed(561, 16, 31)),
            (31 * 16_384, packed(503, 16, 63)),
            (65535 * 16 * 63 - 1, packed(65_534, 16, 63)),
            (65535 * 16 * 63, packed(16_191, 16, 255)),
            (65535 * 16 * 255, packed(65_535, 16, 255)),
            (1 << 37, packed(65_535, 16, 255)),
        ] {
            assert_eq!(geometry(sectors * SECTOR), expected, "{sectors} sectors");
        }
    }
}
