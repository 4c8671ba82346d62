//! What the bytes are: constants, wire structures, and the caps on numbers from a file.
//!
//! Facts come from the vendor's published QEMU driver and from files that it wrote; all integers
//! are little-endian, all sizes in bytes.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Guest bytes in one block, as written. Readers take it from the footer.
pub const BLOCK_SIZE: usize = WRITTEN_BLOCK_SIZE as usize;
/// [`BLOCK_SIZE`] as the footer holds it.
pub(crate) const WRITTEN_BLOCK_SIZE: u32 = 2 << 20;

/// Fastest zstd level offered.
pub const MIN_LEVEL: i32 = -7;
/// Slowest zstd level offered. Above it the match finder takes more memory than the blocks can use.
pub const MAX_LEVEL: i32 = 19;
/// The level that is used unless the user asks for another: markedly faster than zstd's own
/// default of 3, for little more output.
pub const DEFAULT_LEVEL: i32 = 1;

/// Most stored blocks in one file. Ours: 8 TiB of data in 2 MiB blocks, eight times what the
/// service imports; the list of blocks then takes 64 MiB of memory.
pub const MAX_STORED_BLOCKS: u64 = 4 << 20;

/// Everything in the file starts on a multiple of this, and a footer takes this much.
pub(crate) const PAGE: u64 = 4096;
/// [`PAGE`] as a length in memory.
pub(crate) const PAGE_LEN: usize = 4096;
/// Where the first data block starts.
pub(crate) const DATA_START: u64 = PAGE;

/// First bytes of a version 2 footer. Readers compare these six; two zero bytes follow.
pub(crate) const COOKIE_V2: &[u8; 6] = b"z2strm";
/// First bytes of a version 1 footer.
pub(crate) const COOKIE_V1: &[u8; 6] = b"stream";

/// Smallest block size a reader accepts.
pub(crate) const MIN_BLOCK_SIZE: u32 = 1 << 20;
/// Largest block size a reader accepts.
pub(crate) const MAX_BLOCK_SIZE: u32 = 32 << 20;

/// Length of one segment of the index.
pub(crate) const INDEX_SEGMENT: u32 = 512 << 10;
/// Length of one segment of the bitmap.
pub(crate) const BITMAP_SEGMENT: u32 = 4096;
/// Index entries in one segment, and blocks for which one bitmap segment has bits.
pub(crate) const BLOCKS_PER_SEGMENT: u64 = 32768;

const _: () = {
    assert!(INDEX_SEGMENT as u64 == BLOCKS_PER_SEGMENT * size_of::<WireIndexEntry>() as u64);
    assert!(BITMAP_SEGMENT as u64 * 8 == BLOCKS_PER_SEGMENT);
};

/// First bytes of a data block's header.
pub(crate) const BLOCK_MAGIC: &[u8; 12] = b"hwstream bg\0";
/// Last bytes of a padded data block.
pub(crate) const BLOCK_TRAILER: &[u8; 4] = b"end\0";
/// Length of a data block's header.
pub(crate) const BLOCK_HEADER: usize = size_of::<WireBlockHeader>();

/// Length in the file of a data block with a payload of `size` bytes.
pub(crate) const fn padded_len(size: u32) -> u64 {
    let used = BLOCK_HEADER as u64 + size as u64 + BLOCK_TRAILER.len() as u64;
    used.next_multiple_of(PAGE)
}

/// Longest data block in a file that is read, for a block size. Ours: a compressor that cannot
/// shrink adds far less than the eighth allowed here.
pub(crate) const fn max_padded_len(block_size: u32) -> u64 {
    padded_len(block_size + block_size / 8)
}

/// A footer; the rest of its [`PAGE`] is zero. The same in both versions up to `align_64`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct WireFooter {
    /// [`COOKIE_V2`] or [`COOKIE_V1`] and two zero bytes.
    pub(crate) cookie: [u8; 8],
    /// VHD: bit 1 is reserved and always set. Always 2.
    pub(crate) features: U32,
    /// VHD file format version, always 1.0.
    pub(crate) ff_version: U32,
    /// VHD: offset of the next structure; here always all ones.
    pub(crate) data_offset: U64,
    /// Seconds since 2000-01-01 00:00 UTC.
    pub(crate) timestamp: U32,
    /// Program that made the file, always `tap` and a zero byte.
    pub(crate) crtr_app: [u8; 4],
    /// Its version.
    pub(crate) crtr_ver: U32,
    /// Its operating system.
    pub(crate) crtr_os: U32,
    /// Guest size, a multiple of 512.
    pub(crate) orig_size: U64,
    /// Guest size rounded up to a whole GiB; the vendor's tools show this one.
    pub(crate) curr_size: U64,
    /// VHD geometry: cylinders << 16 | heads << 8 | sectors per track.
    pub(crate) geometry: U32,
    /// VHD disk type, always 4.
    pub(crate) disk_type: U32,
    /// Ones' complement of the sum of the footer's 512 bytes, this field taken as zero.
    pub(crate) checksum: U32,
    /// Random.
    pub(crate) uuid: [u8; 16],
    /// VHD: set while the guest is suspended.
    pub(crate) saved: u8,
    /// VHD.
    pub(crate) hidden: u8,
    /// Not used.
    pub(crate) align_64: u8,
    /// 1 in version 2; in version 1 this byte and all that follow are zero.
    pub(crate) zvhd2_version: u8,
    /// Guest bytes in one block.
    pub(crate) block_size: U32,
    /// Blocks of the guest disk, the last one perhaps partial.
    pub(crate) max_blk_num: U32,
    /// File offset of the index. Zero in the first footer and its copy, as all up to
    /// `bitmap_seg_num`.
    pub(crate) index_lba: U64,
    /// File offset of the bitmap.
    pub(crate) bitmap_lba: U64,
    /// Length of the index.
    pub(crate) index_size: U32,
    /// Length of the bitmap.
    pub(crate) bitmap_size: U32,
    /// [`INDEX_SEGMENT`].
    pub(crate) index_seg_size: U32,
    /// [`BITMAP_SEGMENT`].
    pub(crate) bitmap_seg_size: U32,
    /// Segments of the index.
    pub(crate) index_seg_num: U32,
    /// Segments of the bitmap.
    pub(crate) bitmap_seg_num: U32,
    /// Stored blocks. Zero in the first footer.
    pub(crate) non_zero_blk_num: U32,
    /// 0: one index entry per stored block. 1: one per guest block, offset 0 meaning zeros.
    pub(crate) index_contains_zero_blk: u8,
    /// 0 zlib, 1 zstd.
    pub(crate) compress_method: u8,
    /// Zero.
    pub(crate) reserved: [u8; 370],
}

const _: () = assert!(size_of::<WireFooter>() == 512);

/// Starts a data block.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct WireBlockHeader {
    /// [`BLOCK_MAGIC`].
    pub(crate) magic: [u8; 12],
    /// Length of the payload, never 0.
    pub(crate) size: U32,
    /// Number of the guest block.
    pub(crate) number: U32,
    /// Zero; no known reader reads it.
    pub(crate) reserved: [u8; 28],
}

const _: () = assert!(size_of::<WireBlockHeader>() == 48);

/// One entry of the index.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct WireIndexEntry {
    /// File offset of the data block.
    pub(crate) offset: U64,
    /// Number of the guest block.
    pub(crate) number: U32,
    /// Length of the data block in the file, padding included.
    pub(crate) len: U32,
}

const _: () = assert!(size_of::<WireIndexEntry>() == 16);
