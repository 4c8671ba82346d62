//! VMDK on disk: constants and little-endian structures. The hosted form is that of VMware's
//! "Virtual Disk Format 5.0"; ESX's two forms are those that QEMU and dissect read.
//!
//! ```text
//! hosted:   header, descriptor, [copy of the directory and its tables,] directory, tables, grains
//! stream:   header, descriptor, grains with markers, tables, directory, footer
//! COWD:     header, directory, tables, grains
//! seSparse: header, volatile header, journal, directory, tables, grains
//! ```
//!
//! Positions and lengths are in sectors. Nothing here is checked.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// First bytes of a sparse extent of VMware's hosted products.
pub(super) const HOSTED_MAGIC: [u8; 4] = *b"KDMV";
/// First bytes of an ESX sparse extent.
pub(super) const COWD_MAGIC: [u8; 4] = *b"COWD";
/// First bytes of a seSparse extent.
pub(super) const SESPARSE_MAGIC: [u8; 8] = 0xcafe_babe_u64.to_le_bytes();

/// The header of a hosted sparse extent. The footer of a stream has the same form.
#[derive(Clone, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct HostedHeader {
    /// [`HOSTED_MAGIC`].
    pub(super) magic: [u8; 4],
    /// 1, 2 or 3.
    pub(super) version: U32,
    /// See [`flag`].
    pub(super) flags: U32,
    /// Size of the extent in sectors.
    pub(super) capacity: U64,
    /// Sectors in a grain, a power of two.
    pub(super) grain_size: U64,
    /// Where the descriptor is; 0: there is none.
    pub(super) descriptor_offset: U64,
    /// Sectors of the descriptor.
    pub(super) descriptor_size: U64,
    /// Entries of a grain table.
    pub(super) table_entries: U32,
    /// Where the copy of the grain directory is.
    pub(super) copy_offset: U64,
    /// Where the grain directory is, or [`AT_END`].
    pub(super) directory_offset: U64,
    /// First sector that may hold data.
    pub(super) overhead: U64,
    /// 1: nobody closed the file.
    pub(super) unclean: u8,
    /// [`NEWLINES`].
    pub(super) newlines: [u8; 4],
    /// See [`DEFLATE`].
    pub(super) compression: U16,
    /// Zeros.
    pub(super) padding: [u8; 433],
}

/// Bits of [`HostedHeader::flags`].
pub(super) mod flag {
    /// [`super::HostedHeader::newlines`] is filled in.
    pub(crate) const NEWLINES: u32 = 1 << 0;
    /// There is a copy of the grain directory, with tables of its own.
    pub(crate) const COPY: u32 = 1 << 1;
    /// A table entry of 1 is a grain of zeros.
    pub(crate) const ZERO_GRAINS: u32 = 1 << 2;
    /// Grains are compressed.
    pub(crate) const COMPRESSED: u32 = 1 << 16;
    /// Grains and tables have markers.
    pub(crate) const MARKERS: u32 = 1 << 17;
    /// Bits that a reader must know.
    pub(crate) const INCOMPATIBLE: u32 = 0xffff_0000;
}

/// [`HostedHeader::newlines`] as it is unless the file was transferred as text.
pub(super) const NEWLINES: [u8; 4] = *b"\n \r\n";
/// [`HostedHeader::directory_offset`] when only the footer knows it.
pub(super) const AT_END: u64 = u64::MAX;
/// [`HostedHeader::compression`]: zlib streams.
pub(super) const DEFLATE: u16 = 1;

/// Starts a sector that is not followed by a grain.
#[derive(Clone, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Marker {
    /// Sectors that follow.
    pub(super) value: U64,
    /// 0; of a grain, its length in bytes.
    pub(super) size: U32,
    /// What follows; 3: the footer.
    pub(super) kind: U32,
}

/// [`Marker::kind`] of the footer.
pub(super) const FOOTER_MARKER: u32 = 3;

/// Entry of a hosted table: zeros, with [`flag::ZERO_GRAINS`].
pub(super) const ZERO_GRAIN: u32 = 1;

/// Length of the header of a COWD extent in bytes.
pub(super) const COWD_HEADER_LEN: u64 = 2048;

/// The beginning of a COWD header.
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct CowdHeader {
    /// [`COWD_MAGIC`].
    pub(super) magic: [u8; 4],
    /// 1.
    pub(super) version: U32,
    /// 3.
    pub(super) flags: U32,
    /// Size of the extent in sectors.
    pub(super) capacity: U32,
    /// Sectors in a grain, a power of two.
    pub(super) grain_size: U32,
    /// Where the grain directory is.
    pub(super) directory_offset: U32,
    /// Its entries.
    pub(super) directory_entries: U32,
    /// First sector that is not in use.
    pub(super) free_sector: U32,
}

/// Offset in bytes of the byte of a COWD header that says that nobody closed the file.
pub(super) const COWD_UNCLEAN: u64 = 1648;

/// log2 of the entries of a table of COWD and seSparse.
pub(super) const ESX_TABLE_BITS: u32 = 12;

/// The constant header of a seSparse extent.
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct SeHeader {
    /// [`SESPARSE_MAGIC`].
    pub(super) magic: [u8; 8],
    /// [`SE_VERSION`].
    pub(super) version: U64,
    /// Size of the extent in sectors.
    pub(super) capacity: U64,
    /// 8.
    pub(super) grain_size: U64,
    /// Sectors of a grain table, 64.
    pub(super) table_size: U64,
    /// 0.
    pub(super) flags: U64,
    /// Zeros.
    pub(super) reserved: [U64; 4],
    /// Where the volatile header is.
    pub(super) volatile_offset: U64,
    /// Its sectors, 1.
    pub(super) volatile_size: U64,
    /// Places of the journal and its header. Not needed for reading.
    pub(super) journal: [U64; 4],
    /// Where the grain directory is.
    pub(super) directory_offset: U64,
    /// Its sectors.
    pub(super) directory_size: U64,
    /// Where the grain tables are.
    pub(super) tables_offset: U64,
    /// Their sectors.
    pub(super) tables_size: U64,
    /// Places of the free bitmap and the back map. Not needed for reading.
    pub(super) maps: [U64; 4],
    /// Where the grains are.
    pub(super) grains_offset: U64,
    /// Their sectors.
    pub(super) grains_size: U64,
    /// Zeros.
    pub(super) padding: [u8; 304],
}

/// [`SeHeader::version`].
pub(super) const SE_VERSION: u64 = 0x2_0000_0001;
/// Sectors of a seSparse grain.
pub(super) const SE_GRAIN_SIZE: u64 = 8;
/// Sectors of a seSparse table.
pub(super) const SE_TABLE_SIZE: u64 = 64;

/// The volatile header of a seSparse extent.
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct SeVolatile {
    /// [`SE_VOLATILE_MAGIC`].
    pub(super) magic: U64,
    /// The next table that is free.
    pub(super) free_table: U64,
    /// Number of the next transaction.
    pub(super) transaction: U64,
    /// Not 0: the journal holds changes that are not in the tables.
    pub(super) replay: U64,
}

/// [`SeVolatile::magic`].
pub(super) const SE_VOLATILE_MAGIC: u64 = 0xcafe_cafe;
/// Upper half of an entry of a seSparse directory that names a table.
pub(super) const SE_TABLE: u64 = 0x1000_0000;

const _: () = {
    assert!(size_of::<HostedHeader>() == 512);
    assert!(size_of::<Marker>() == 16);
    assert!(size_of::<CowdHeader>() == 32);
    assert!(size_of::<SeHeader>() == 512);
    assert!(size_of::<SeVolatile>() == 32);
};
