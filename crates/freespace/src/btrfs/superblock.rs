//! The superblock: features, roots, the device.

use guest::field::{le16, le32, le64};

use crate::volume::Volume;

/// First byte, and bytes.
const PLACE: u64 = 64 << 10;
const LENGTH: u64 = 4096;
/// mixed_backref, default_subvol, mixed_groups, compress_lzo, compress_zstd, big_metadata,
/// extended_iref, skinny_metadata, no_holes, metadata_uuid, simple_quota. Not: RAID, zones, the
/// second extent tree, the stripe tree.
const INCOMPATIBLE: u64 =
    0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x20 | 0x40 | 0x100 | 0x200 | METADATA_UUID | 0x1_0000;
const METADATA_UUID: u64 = 0x400;
/// free_space_tree, its validity, verity, block_group_tree.
const READ_ONLY: u64 = 0x1 | 0x2 | 0x4 | BLOCK_GROUP_TREE;
const BLOCK_GROUP_TREE: u64 = 0x8;
/// The one flag of a superblock that says nothing bad.
const WRITTEN: u64 = 1;
/// Bytes of the chunks that the superblock holds itself, at most.
const MOST_SYSTEM: usize = 2048;

/// Where a tree begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Root {
    /// A logical address.
    pub(super) place: u64,
    pub(super) level: u8,
    pub(super) generation: u64,
}

/// What of the superblock matters here.
pub(super) struct Superblock {
    pub(super) root: Root,
    pub(super) chunks: Root,
    /// Bytes of a block of a tree.
    pub(super) node: u64,
    /// Bytes that extents take.
    pub(super) used: u64,
    pub(super) device: u64,
    pub(super) device_bytes: u64,
    /// Bytes of the device that chunks take.
    pub(super) device_used: u64,
    /// The UUID in the headers of blocks.
    pub(super) uuid: [u8; 16],
    /// Whether block groups have a tree of their own.
    pub(super) group_tree: bool,
    /// Chunks that are needed to find all others.
    pub(super) system: Vec<u8>,
}

impl Superblock {
    pub(super) fn read(volume: Volume<'_>) -> Result<Self, String> {
        let bytes = volume.read(PLACE, LENGTH)?;
        let long = |at| le64(&bytes, at);
        if bytes.get(64..72) != Some(b"_BHRfS_M") || long(48) != PLACE {
            return Err("it has no superblock".into());
        }
        check(&bytes)?;
        let byte = |at: usize| bytes.get(at).copied().unwrap_or_default();
        let uuid = match long(188) & METADATA_UUID {
            0 => 32,
            _ => 571,
        };
        let uuid = bytes.get(uuid..).and_then(|rest| rest.first_chunk());
        let length = usize::try_from(le32(&bytes, 160)).unwrap_or(usize::MAX);
        let system = bytes.get(811..).and_then(|rest| rest.get(..length));
        let this = Self {
            root: Root {
                place: long(80),
                level: byte(198),
                generation: long(72),
            },
            chunks: Root {
                place: long(88),
                level: byte(199),
                generation: long(164),
            },
            node: le32(&bytes, 148).into(),
            used: long(120),
            device: long(201),
            device_bytes: long(209),
            device_used: long(217),
            uuid: uuid.copied().unwrap_or_default(),
            group_tree: long(180) & BLOCK_GROUP_TREE != 0,
            system: system
                .filter(|_| length <= MOST_SYSTEM)
                .ok_or("its system chunks make no sense")?
                .to_vec(),
        };
        let node = this.node.is_power_of_two() && (4096..=65_536).contains(&this.node);
        if !node || this.device_bytes > volume.size() {
            return Err("its geometry makes no sense, or it is longer than its volume".into());
        }
        Ok(this)
    }
}

/// Refuses what is not known, and what is not to be relied on.
fn check(bytes: &[u8]) -> Result<(), String> {
    let long = |at| le64(bytes, at);
    if le16(bytes, 196) != 0 {
        return Err("its checksums are none of CRC-32C, and are not read".into());
    }
    if crc32c::crc32c(bytes.get(32..).unwrap_or_default()) != le32(bytes, 0) {
        return Err("the checksum of its superblock is wrong".into());
    }
    // Compatible features are none that anybody knows.
    for (found, known, kind) in [
        (long(172), 0, "compatible"),
        (long(180), READ_ONLY, "read-only compatible"),
        (long(188), INCOMPATIBLE, "incompatible"),
        (long(56), WRITTEN, "flags or"),
    ] {
        let unknown = found & !known;
        if unknown != 0 {
            return Err(format!(
                "it has {kind} features that are not known: {unknown:#x}"
            ));
        }
    }
    match (long(136), long(96)) {
        (1, 0) => Ok(()),
        (1, _) => Err("its log holds changes that are not in place yet".into()),
        (devices, _) => Err(format!("it lies on {devices} devices")),
    }
}
