//! Named caps on what a file may make us allocate or walk. Each says whose limit it is.

use crate::units::{GIB, KIB, MIB, TIB};

/// Largest virtual disk that is opened, in bytes. Ours: the VHDX format's own limit, and 64 times
/// what the service imports; beyond it a size field is damaged or hostile.
pub const MAX_VIRTUAL_SIZE: u64 = 64 * TIB;

/// Most files that may build on each other: an image, its backing file, the backing file of that,
/// and so on. Ours: a chain grows by one with each snapshot; each file costs its own tables and a
/// share of the caches.
pub const MAX_CHAIN_FILES: usize = 32;

/// Most of what files below another one hold whole (a qcow2 L1 table, a VHD's BAT, a VHDX's
/// replayed log), all files of a chain together, in bytes. Ours: the L1 tables of 64 disks of 64
/// TiB at clusters of 64 KiB, or the BATs of 16 VHDs of 2 TiB.
pub const MAX_CHAINED_BYTES: u64 = 64 * MIB;

/// Share of a cache that each file below another one has: the caches of all of them together take
/// less than that of the first one. Conversion goes front to back, and needs a few entries of each.
pub(crate) const CHAINED_CACHE_SHARE: u64 = 32;

/// Longest piece of a table that is read and cached of a file below another one, in bytes: each
/// thread holds one of each file.
pub(crate) const MAX_CHAINED_SLICE_BYTES: u64 = 4 * KIB;

/// Steps that a walk over a disk may take, whatever its files store. A step is about the work for
/// one extent, 40 ns. Ours: less than 2 seconds of processor time.
pub const SURVEY_STEPS: u64 = 24 << 20;

/// Bytes of tables for which a walk may take one more step. Ours: the worst table of a real disk
/// has an extent for each entry of 8 bytes.
pub const TABLE_BYTES_PER_STEP: u64 = 8;

/// Bytes that a file stores for which a walk may take one more step. Ours: a file system keeps
/// pieces of 4 KiB, and each of them may be data between two holes, which are asked for.
pub const STORED_BYTES_PER_STEP: u64 = 128;

/// Most that is kept of where an image file has holes, in bytes. Ours: 16,384 stretches of data.
pub const KNOWN_STRETCH_BYTES: u64 = 384 * KIB;

/// Largest qcow2 L1 table, in bytes. QEMU's limit (`QCOW_MAX_L1_SIZE`).
pub const MAX_L1_BYTES: u64 = 32 * MIB;

/// Most of a qcow2 image's L2 tables that are held in memory, in bytes. Ours: 32 MiB map 256 GiB
/// of guest disk at 64 KiB clusters, and conversion goes front to back.
pub const L2_CACHE_BYTES: u64 = 32 * MIB;

/// Longest qcow2 header, with all its extensions, in bytes. Ours: the format only says that the
/// header and the backing file's name lie in the first cluster, which is at most this.
pub const MAX_HEADER_BYTES: u64 = 2 * MIB;

/// Largest block size of a dynamic VHD, in bytes. Ours: hypervisors write 512 KiB and 2 MiB.
pub const MAX_VHD_BLOCK_SIZE: u64 = 256 * MIB;

/// Largest block allocation table (BAT) of a dynamic VHD, in bytes. Ours: maps the 2 TiB that the
/// format can address at 512 KiB a block, the smallest that hypervisors write.
pub const MAX_VHD_BAT_BYTES: u64 = 16 * MIB;

/// Most of a dynamic VHD's sector bitmaps that are held in memory, in bytes. Ours: they give the
/// state of more than 10 GiB of the disk, and conversion goes front to back.
pub const VHD_BITMAP_CACHE_BYTES: u64 = 4 * MIB;

/// Longest VHDX log that is replayed, in bytes. Ours: Hyper-V and QEMU write 1 MiB. A log that is
/// empty may have any length.
pub const MAX_VHDX_LOG_BYTES: u64 = 32 * MIB;

/// Most of a differencing VHDX's sector bitmaps that are held in memory, in bytes. Ours: as for a
/// VHD.
pub const VHDX_BITMAP_CACHE_BYTES: u64 = 4 * MIB;

/// Most of a VHDX's block allocation table (BAT) that is held in memory, in bytes. Ours: it maps
/// 1 TiB of the disk at 1 MiB a block, and conversion goes front to back.
pub const VHDX_BAT_CACHE_BYTES: u64 = 8 * MIB;

/// Longest descriptor of a VMDK, in bytes. QEMU's limit.
pub const MAX_VMDK_DESCRIPTOR_BYTES: u64 = MIB;

/// Most extents of a VMDK. Ours: 2 TiB in files of 2 GiB.
pub const MAX_VMDK_EXTENTS: usize = 1024;

/// Most grain tables of a VMDK, all its extents together. Ours: directories of 64 MiB, which map
/// 512 TiB at grains of 64 KiB.
pub const MAX_VMDK_TABLES: u64 = 1 << 24;

/// Most of a VMDK's grain tables that are held in memory, in bytes. Ours: they map 1 TiB of the
/// disk at grains of 64 KiB, and conversion goes front to back.
pub const VMDK_TABLE_CACHE_BYTES: u64 = 64 * MIB;

/// Most files with parts of disks that are open at once, all files of a chain together. Ours: a
/// process may open 1024 files, and a part of a disk is read front to back.
pub const MAX_OPEN_EXTENTS: usize = 64;

/// Most blocks of a VDI, and places for blocks in its file, whose uses are tracked. Ours: 64 TiB at
/// 512 KiB a block, half the size that VirtualBox and QEMU write, and 16 MiB of memory.
pub const MAX_VDI_BLOCKS: u64 = 1 << 27;

/// Most of a VDI's block map that is held in memory, in bytes. Ours: it maps 1 TiB of the disk at
/// 1 MiB a block, and conversion goes front to back.
pub const VDI_MAP_CACHE_BYTES: u64 = 4 * MIB;

/// Most memory for decoding an xz stream, in KiB. Ours: a dictionary of 64 MiB, that of `xz -9`, and
/// what is beside it.
pub const MAX_XZ_MEMORY_KIB: u32 = (64 << 10) + 1024;

/// log2 of the largest window of a zstd stream, in bytes. That of the program `zstd`, which takes
/// more only on request: 128 MiB.
pub const MAX_ZSTD_WINDOW_LOG: u32 = 27;

/// Most pieces in which a tar archive stores a disk. Ours: 1 TiB, a hole in each MiB; 16 MiB of
/// memory.
pub const MAX_TAR_STRETCHES: usize = 1 << 20;

/// Most bytes of a disk that are counted because nothing says how many there are. Ours: as much as
/// the service imports.
pub const MAX_COUNTED_BYTES: u64 = TIB;

/// Most times that a compressed file inside a package is decoded from its beginning. Ours: an
/// import goes over its disk less than ten times.
pub const MAX_DECODINGS: u32 = 64;

/// Most internal snapshots of a qcow2 image. QEMU's limit (`QCOW_MAX_SNAPSHOTS`).
pub const MAX_SNAPSHOTS: u32 = 65_536;

/// Longest table of snapshots of a qcow2 image, in bytes. QEMU's limit (`QCOW_MAX_SNAPSHOTS_SIZE`).
pub const MAX_SNAPSHOT_TABLE_BYTES: u64 = 64 * MIB;

/// Most extra data of one snapshot of a qcow2 image, in bytes. QEMU's limit
/// (`QCOW_MAX_SNAPSHOT_EXTRA_DATA`).
pub const MAX_SNAPSHOT_EXTRA: u32 = 1024;

/// Longest directory of bitmaps of a qcow2 image, in bytes. QEMU's limit
/// (`QCOW2_MAX_BITMAP_DIRECTORY_SIZE`).
pub const MAX_BITMAP_DIRECTORY_BYTES: u64 = 64 * MIB;

/// Most bitmaps of a qcow2 image. QEMU's limit (`QCOW2_MAX_BITMAPS`).
pub const MAX_BITMAPS: u32 = 65_535;

/// Most bits of bitmaps that are counted to list them, in bytes. Ours: 256 bitmaps of disks of 128
/// GiB at 64 KiB a bit.
pub const MAX_COUNTED_BITMAP_BYTES: u64 = 64 * MIB;

/// Most snapshots and most bitmaps that are listed of one image. Ours: enough for people, and texts
/// from a hostile table stay below a few MiB.
pub const MAX_LISTED: usize = 256;

/// Most clusters of a qcow2 file, or blocks of another one, whose uses a check counts. Ours: 2 TiB
/// of file at 64 KiB a cluster, and 200 MiB of counts.
pub const MAX_CHECKED_CLUSTERS: u64 = 32 << 20;

/// Most bytes of qcow2's L1 and L2 tables that a check walks; L2 tables that snapshots share are
/// walked once. Ours: they map 64 TiB of disk at 64 KiB a cluster.
pub const MAX_CHECKED_TABLE_BYTES: u64 = 8 * GIB;

/// Longest refcount table of a qcow2 image, in bytes. QEMU's limit (`QCOW_MAX_REFTABLE_SIZE`).
pub const MAX_REFCOUNT_TABLE_BYTES: u64 = 8 * MIB;
