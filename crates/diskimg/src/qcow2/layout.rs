//! qcow2 on disk: constants and big-endian structures, as QEMU's `docs/interop/qcow2.txt` gives
//! them.
//!
//! ```text
//! cluster 0: header, header extensions, backing file name
//! anywhere:  L1 table ──▶ L2 tables (one cluster each) ──▶ data clusters, compressed clusters
//! ```
//!
//! All integers are big-endian. Nothing here is checked; [`super::header`] and [`super::tables`]
//! do.

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// `QFI\xfb`, the first four bytes of every version.
pub(super) const MAGIC: [u8; 4] = *b"QFI\xfb";

/// Smallest and largest log2 of the cluster size: 512 bytes (the format's) to 2 MiB (QEMU's).
pub(super) const CLUSTER_BITS: std::ops::RangeInclusive<u32> = 9..=21;

/// Size of an L1 or a standard L2 entry in bytes.
pub(super) const ENTRY_SIZE: u64 = 8;

/// Size of an extended L2 entry in bytes: a standard entry and a subcluster bitmap.
pub(super) const EXTENDED_ENTRY_SIZE: u64 = 16;

/// log2 of the number of subclusters of a cluster whose L2 entry is extended.
pub(super) const SUBCLUSTERS_BITS: u32 = 5;

/// The header of versions 2 and 3, at offset 0.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct HeaderV2 {
    /// [`MAGIC`].
    pub(super) magic: [u8; 4],
    /// 2 or 3; version 1 is another format.
    pub(super) version: U32,
    /// File offset of the backing file's name in bytes; 0: there is no backing file.
    pub(super) backing_file_offset: U64,
    /// Length of that name in bytes, at most [`MAX_BACKING_NAME`]; undefined without a backing
    /// file.
    pub(super) backing_file_size: U32,
    /// log2 of the cluster size; see [`CLUSTER_BITS`].
    pub(super) cluster_bits: U32,
    /// Virtual size in bytes.
    pub(super) size: U64,
    /// 0 none, 1 AES, 2 LUKS.
    pub(super) crypt_method: U32,
    /// Number of entries of the active L1 table.
    pub(super) l1_size: U32,
    /// File offset of the active L1 table in bytes; a multiple of the cluster size.
    pub(super) l1_table_offset: U64,
    /// File offset of the refcount table in bytes. Not needed for reading.
    pub(super) refcount_table_offset: U64,
    /// Length of the refcount table in clusters. Not needed for reading.
    pub(super) refcount_table_clusters: U32,
    /// Number of internal snapshots.
    pub(super) nb_snapshots: U32,
    /// File offset of the snapshot table in bytes; a multiple of the cluster size. Not needed for
    /// reading the active disk.
    pub(super) snapshots_offset: U64,
}

/// What version 3 adds behind [`HeaderV2`].
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct HeaderV3 {
    /// Features that a reader must know: [`incompatible`].
    pub(super) incompatible_features: U64,
    /// Features that a reader may ignore.
    pub(super) compatible_features: U64,
    /// Features that a writer must clear when it does not know them.
    pub(super) autoclear_features: U64,
    /// log2 of the width of a reference count in bits, at most [`MAX_REFCOUNT_ORDER`].
    pub(super) refcount_order: U32,
    /// Length of the header in bytes: a multiple of 8, at least 104; extensions follow it.
    pub(super) header_length: U32,
}

/// Length of the version 2 header in bytes.
pub(super) const V2_HEADER_LENGTH: u64 = 72;
/// Least length of the version 3 header in bytes.
pub(super) const V3_HEADER_LENGTH: u64 = 104;
/// Offset of the compression type byte; there only when the header is longer than this.
pub(super) const COMPRESSION_TYPE_OFFSET: u64 = 104;

const _: () = {
    assert!(size_of::<HeaderV2>() as u64 == V2_HEADER_LENGTH);
    assert!((size_of::<HeaderV2>() + size_of::<HeaderV3>()) as u64 == V3_HEADER_LENGTH);
    assert!(size_of::<ExtensionHeader>() == 8);
    assert!(size_of::<FeatureName>() == 48);
    assert!(size_of::<SnapshotHead>() == 40);
    assert!(size_of::<BitmapsExtension>() == 24);
    assert!(size_of::<BitmapHead>() == 24);
};

/// Largest `refcount_order`: 64 bits.
pub(super) const MAX_REFCOUNT_ORDER: u32 = 6;

/// [`HeaderV2::crypt_method`]: LUKS.
pub(super) const LUKS: u32 = 2;

/// Longest name of a backing file in bytes.
pub(super) const MAX_BACKING_NAME: u32 = 1023;

/// Bits of `incompatible_features`.
pub(super) mod incompatible {
    /// Reference counts may be wrong.
    pub(crate) const DIRTY: u64 = 1 << 0;
    /// Somebody found the image to be corrupt.
    pub(crate) const CORRUPT: u64 = 1 << 1;
    /// Guest data is in another file.
    pub(crate) const EXTERNAL_DATA: u64 = 1 << 2;
    /// The compression type byte names something other than zlib.
    pub(crate) const COMPRESSION: u64 = 1 << 3;
    /// L2 entries are 16 bytes long and map subclusters.
    pub(crate) const EXTENDED_L2: u64 = 1 << 4;
    /// All of them that are read.
    pub(crate) const READ: u64 = DIRTY | CORRUPT | EXTERNAL_DATA | COMPRESSION | EXTENDED_L2;
}

/// Bits of `autoclear_features`.
pub(super) mod autoclear {
    /// The bitmaps extension is up to date: no program that does not know it wrote to the image.
    pub(crate) const BITMAPS: u64 = 1 << 0;
}

/// Values of the compression type byte.
pub(super) mod compression {
    /// Raw deflate.
    pub(crate) const ZLIB: u8 = 0;
    /// zstd frames.
    pub(crate) const ZSTD: u8 = 1;
}

/// Starts every header extension; its data follows, padded to a multiple of 8 bytes.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct ExtensionHeader {
    /// What it is; see [`extension`]. Unknown ones are skipped.
    pub(super) kind: U32,
    /// Length of its data in bytes, without padding.
    pub(super) len: U32,
}

/// Types of header extensions that matter here.
pub(super) mod extension {
    /// Ends the list.
    pub(crate) const END: u32 = 0;
    /// Table of [`super::FeatureName`].
    pub(crate) const FEATURE_NAMES: u32 = 0x6803_f857;
    /// Name of the backing file's format.
    pub(crate) const BACKING_FORMAT: u32 = 0xe279_2aca;
    /// Name of the external data file.
    pub(crate) const DATA_FILE: u32 = 0x4441_5441;
    /// [`super::BitmapsExtension`].
    pub(crate) const BITMAPS: u32 = 0x2385_2875;
    /// Offset and length of the LUKS header of an encrypted disk, in bytes.
    pub(crate) const CRYPTO: u32 = 0x0537_be77;
}

/// An entry of the feature name table.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct FeatureName {
    /// Which set of bits: 0 is `incompatible_features`.
    pub(super) kind: u8,
    /// Number of the bit, 0 to 63.
    pub(super) bit: u8,
    /// Name, padded with NUL bytes.
    pub(super) name: [u8; 46],
}

/// [`FeatureName::kind`] of incompatible features.
pub(super) const FEATURE_INCOMPATIBLE: u8 = 0;

/// Where the bitmap directory is: the data of the bitmaps extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct BitmapsExtension {
    /// Number of bitmaps, at least 1.
    pub(super) count: U32,
    /// Must be 0.
    pub(super) reserved: U32,
    /// Length of the directory in bytes.
    pub(super) directory_size: U64,
    /// File offset of the directory in bytes; a multiple of the cluster size.
    pub(super) directory_offset: U64,
}

/// Starts an entry of the bitmap directory. Extra data and the name follow it, padded to a multiple
/// of 8 bytes.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct BitmapHead {
    /// File offset of the bitmap's table in bytes.
    pub(super) table_offset: U64,
    /// Number of entries of that table.
    pub(super) table_size: U32,
    /// See [`bitmap`].
    pub(super) flags: U32,
    /// See [`BITMAP_OF_CHANGES`].
    pub(super) kind: u8,
    /// log2 of the bytes of disk that one bit stands for; see [`BITMAP_GRANULARITY`].
    pub(super) granularity_bits: u8,
    /// Length of the name in bytes.
    pub(super) name_size: U16,
    /// Length of the extra data in bytes.
    pub(super) extra_size: U32,
}

/// Bits of an entry of a bitmap's table that hold the cluster's offset.
pub(super) const BITMAP_OFFSET: u64 = 0x00ff_ffff_ffff_fe00;

/// An entry of a bitmap's table without a cluster: all its bits are 1. Otherwise they are 0.
pub(super) const BITMAP_ALL_ONES: u64 = 1 << 0;

/// Bits of [`BitmapHead::flags`].
pub(super) mod bitmap {
    /// The bitmap was not saved and does not say what changed.
    pub(crate) const IN_USE: u32 = 1 << 0;
    /// Every program that writes to the image notes that in the bitmap.
    pub(crate) const AUTO: u32 = 1 << 1;
    /// Extra data that are not known can be ignored.
    pub(crate) const EXTRA_COMPATIBLE: u32 = 1 << 2;
    /// All of them.
    pub(crate) const KNOWN: u32 = IN_USE | AUTO | EXTRA_COMPATIBLE;
}

/// [`BitmapHead::kind`] of a bitmap of changes.
pub(super) const BITMAP_OF_CHANGES: u8 = 1;

/// Smallest and largest log2 of the bytes that a bit of a bitmap stands for.
pub(super) const BITMAP_GRANULARITY: std::ops::RangeInclusive<u8> = 9..=31;

/// Starts an entry of the snapshot table. Extra data, id and name follow it, padded to a multiple
/// of 8 bytes.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct SnapshotHead {
    /// File offset of the snapshot's L1 table in bytes; a multiple of the cluster size.
    pub(super) l1_table_offset: U64,
    /// Number of entries of that table.
    pub(super) l1_size: U32,
    /// Length of the id in bytes.
    pub(super) id_size: U16,
    /// Length of the name in bytes.
    pub(super) name_size: U16,
    /// When it was made, in seconds since 1970.
    pub(super) date_sec: U32,
    /// The rest of that time in nanoseconds.
    pub(super) date_nsec: U32,
    /// How long the guest had been running, in nanoseconds.
    pub(super) vm_clock_nsec: U64,
    /// Size of the saved machine state in bytes, unless the extra data gives it.
    pub(super) vm_state_size: U32,
    /// Length of the extra data in bytes: machine state size (8), virtual disk size (8), and more.
    pub(super) extra_size: U32,
}

/// Bits of an L1 entry.
pub(super) mod l1 {
    /// File offset of the L2 table in bytes; 0: nothing is allocated.
    pub(crate) const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
    /// The reference count is exactly one.
    pub(crate) const COPIED: u64 = 1 << 63;
    /// Must be 0.
    pub(crate) const RESERVED: u64 = !(OFFSET | COPIED);
}

/// Bits of a standard L2 entry.
pub(super) mod l2 {
    /// The cluster is compressed; all other bits but [`COPIED`] have another meaning then.
    pub(crate) const COMPRESSED: u64 = 1 << 62;
    /// The reference count is exactly one.
    pub(crate) const COPIED: u64 = 1 << 63;
    /// The cluster reads as zeros, whatever its offset says. Version 3 only, and not in extended
    /// entries.
    pub(crate) const ZERO: u64 = 1 << 0;
    /// File offset of the cluster in bytes; 0: unallocated.
    pub(crate) const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
    /// Must be 0; in version 2 and in extended entries so must [`ZERO`].
    pub(crate) const RESERVED: u64 = !(OFFSET | COPIED | COMPRESSED | ZERO);
    /// In the second half of an extended entry, bit x: subcluster x is allocated. Bit x + 32:
    /// subcluster x reads as zeros.
    pub(crate) const SUBCLUSTERS: u64 = 0xffff_ffff;
}
