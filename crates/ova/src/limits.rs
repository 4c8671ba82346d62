//! Named caps on what a package may make us read, hold or walk. All are ours.

/// Most members of an archive. Packages have a handful.
pub const MAX_MEMBERS: usize = 10_000;

/// Most headers of an archive: each member may have extended ones before its own.
pub const MAX_HEADERS: u32 = 40_000;

/// Most bytes of all names of an archive. Ours: 800 for each of the members that it may have.
pub const MAX_NAME_BYTES: usize = 8 << 20;

/// Longest record of extended header data, in bytes.
pub const MAX_PAX_BYTES: u64 = 64 << 10;

/// Longest name that a GNU header gives, in bytes.
pub const MAX_LONG_NAME_BYTES: u64 = 4096;

/// Most blocks of a GNU sparse map, which are walked to find the next member.
pub const MAX_SPARSE_BLOCKS: u32 = 100_000;

/// Longest descriptor, in bytes.
pub const MAX_DESCRIPTOR_BYTES: u64 = 4 << 20;

/// Deepest nesting of a descriptor's elements.
pub const MAX_DEPTH: usize = 64;

/// Most elements of a descriptor.
pub const MAX_ELEMENTS: u32 = 100_000;

/// Most attributes of one element.
pub const MAX_ATTRIBUTES: usize = 64;

/// Most namespace declarations of a descriptor.
pub const MAX_NAMESPACES: u32 = 256;

/// Most warnings that one package gives.
pub const MAX_WARNINGS: usize = 100;

/// Most disks of a machine.
pub const MAX_DISKS: usize = 256;

/// Longest manifest, in bytes.
pub const MAX_MANIFEST_BYTES: u64 = 1 << 20;

/// Most chunks of a file that is split.
pub const MAX_CHUNKS: u64 = 10_000;
