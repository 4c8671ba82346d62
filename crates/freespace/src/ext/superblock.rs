//! The superblock: geometry, features, and the state that the file system was left in.

use guest::field::{le16, le32};

use crate::volume::Volume;

const MAGIC: u16 = 0xef53;
/// Compatible features that change nothing about what is free, by bits: preallocation, imagic,
/// journal, attributes, resize_inode, dir_index, lazy_bg, sparse_super2, fast_commit,
/// stable_inodes, orphan_file.
const COMPATIBLE: u32 = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x20 | 0x40 | 0x200 | 0x400 | 0x800 | 0x1000;
/// filetype, meta_bg, extents, 64bit, mmp, flex_bg, ea_inode, csum_seed, largedir, inline_data,
/// encrypt, casefold. Not: compression, a journal to replay, a journal device, dirdata.
const INCOMPATIBLE: u32 = 0x2
    | META_BG
    | 0x40
    | IS_64_BIT
    | 0x100
    | 0x200
    | 0x400
    | CSUM_SEED
    | 0x4000
    | 0x8000
    | 0x1_0000
    | 0x2_0000;
/// sparse_super, large_file, btree_dir, huge_file, gdt_csum, dir_nlink, extra_isize, quota,
/// bigalloc, metadata_csum, readonly, project, verity. Not: snapshots, replicas, shared blocks,
/// orphans to be cleaned up.
const READ_ONLY: u32 = SPARSE
    | 0x2
    | 0x4
    | 0x8
    | GDT_CSUM
    | 0x20
    | 0x40
    | 0x100
    | BIGALLOC
    | METADATA_CSUM
    | 0x1000
    | 0x2000
    | 0x8000;
const HAS_JOURNAL: u32 = 0x4;
const SPARSE_2: u32 = 0x200;
const NEEDS_RECOVERY: u32 = 0x4;
const META_BG: u32 = 0x10;
const IS_64_BIT: u32 = 0x80;
const CSUM_SEED: u32 = 0x2000;
const SPARSE: u32 = 0x1;
const GDT_CSUM: u32 = 0x10;
const BIGALLOC: u32 = 0x200;
const METADATA_CSUM: u32 = 0x400;
/// Most groups: 64 TiB in groups of 128 MiB.
const MOST_GROUPS: u64 = 512 << 10;

/// What of the superblock matters here.
pub(super) struct Superblock {
    /// Bytes of a block.
    pub(super) block: u64,
    /// Blocks.
    pub(super) blocks: u64,
    /// Blocks that are free.
    pub(super) free: u64,
    /// The block in which the first group begins.
    pub(super) first: u64,
    /// Blocks of a cluster, which a bit stands for.
    pub(super) ratio: u64,
    pub(super) blocks_per_group: u64,
    pub(super) clusters_per_group: u64,
    pub(super) groups: u64,
    pub(super) inodes_per_group: u64,
    pub(super) inode_size: u64,
    /// Bytes of a group's descriptor.
    pub(super) descriptor: u64,
    /// Blocks kept for more descriptors, behind each copy of them.
    pub(super) reserved: u64,
    /// The first block of descriptors that lies in its own group.
    pub(super) first_meta: Option<u64>,
    /// Groups with a copy of the superblock, if not those of `sparse_super`.
    pub(super) backups: Option<[u64; 2]>,
    pub(super) sparse: bool,
    /// Number of the inode of the journal.
    pub(super) journal: Option<u64>,
    pub(super) sums: Sums,
    pub(super) uuid: [u8; 16],
}

/// How descriptors and bitmaps are protected.
#[derive(Clone, Copy)]
pub(super) enum Sums {
    None,
    /// Descriptors, by a CRC-16.
    Descriptors,
    /// Everything, by a CRC-32C that begins with this.
    All(u32),
}

impl Superblock {
    pub(super) fn read(volume: Volume<'_>) -> Result<Self, String> {
        let bytes = volume.read(1024, 1024)?;
        if le16(&bytes, 56) != MAGIC {
            return Err("it has no superblock".into());
        }
        let [compatible, incompatible, read_only] = [92, 96, 100].map(|at| le32(&bytes, at));
        check_state(&bytes, incompatible)?;
        for (found, known, kind) in [
            (compatible, COMPATIBLE, "compatible"),
            (incompatible, INCOMPATIBLE, "incompatible"),
            (read_only, READ_ONLY, "read-only compatible"),
        ] {
            let unknown = found & !known;
            if unknown != 0 {
                return Err(format!(
                    "it has {kind} features that are not known: {unknown:#x}"
                ));
            }
        }
        let uuid: [u8; 16] = bytes
            .get(104..)
            .and_then(|rest| rest.first_chunk())
            .copied()
            .unwrap_or_default();
        let sums = sums(&bytes, incompatible, read_only, &uuid)?;
        let this = Self::geometry(&bytes, (compatible, incompatible, read_only), (sums, uuid))?;
        let size = this.blocks.checked_mul(this.block);
        if size.is_none_or(|size| size > volume.size()) {
            return Err("it is longer than its volume".into());
        }
        Ok(this)
    }

    fn geometry(
        bytes: &[u8],
        (compatible, incompatible, read_only): (u32, u32, u32),
        (sums, uuid): (Sums, [u8; 16]),
    ) -> Result<Self, String> {
        let wide = incompatible & IS_64_BIT != 0;
        let long = |low: usize, high: usize| {
            let high = if wide { le32(bytes, high) } else { 0 };
            u64::from(high) << 32 | u64::from(le32(bytes, low))
        };
        let number = |at| u64::from(le32(bytes, at));
        let (log, cluster_log) = (le32(bytes, 24), le32(bytes, 28));
        let ratio_log = match read_only & BIGALLOC {
            0 => 0,
            _ => cluster_log.checked_sub(log).unwrap_or(u32::MAX),
        };
        if log > 6 || ratio_log > 20 {
            return Err("its blocks or clusters have no sensible size".into());
        }
        let block = 1024 << log;
        let old = le32(bytes, 76) == 0;
        let this = Self {
            block,
            blocks: long(4, 0x150),
            free: long(12, 0x158),
            first: number(20),
            ratio: 1 << ratio_log,
            blocks_per_group: number(32),
            clusters_per_group: match read_only & BIGALLOC {
                0 => number(32),
                _ => number(36),
            },
            groups: 0,
            inodes_per_group: number(40),
            inode_size: if old { 128 } else { le16(bytes, 88).into() },
            descriptor: if wide { le16(bytes, 0xfe).into() } else { 32 },
            reserved: le16(bytes, 0xce).into(),
            first_meta: (incompatible & META_BG != 0).then(|| number(0x104)),
            backups: (compatible & SPARSE_2 != 0).then(|| [number(0x24c), number(0x250)]),
            sparse: read_only & SPARSE != 0,
            journal: (compatible & HAS_JOURNAL != 0).then(|| number(0xe0)),
            sums,
            uuid,
        };
        this.counted()
    }

    /// Counts the groups, after everything that is divided by was checked.
    fn counted(mut self) -> Result<Self, String> {
        let bits = self.block * 8;
        let sensible = (1..=bits).contains(&self.clusters_per_group)
            && self.clusters_per_group.is_multiple_of(8)
            && self.clusters_per_group.checked_mul(self.ratio) == Some(self.blocks_per_group)
            && (1..=bits).contains(&self.inodes_per_group)
            && (128..=self.block).contains(&self.inode_size)
            && self.inode_size.is_power_of_two()
            && (32..=1024).contains(&self.descriptor)
            && self.descriptor.is_power_of_two()
            && self.reserved <= self.block / 4
            && self.first == u64::from(self.block == 1024 && self.ratio == 1)
            && self.first < self.blocks;
        if !sensible {
            return Err("its geometry makes no sense".into());
        }
        self.groups = (self.blocks - self.first).div_ceil(self.blocks_per_group);
        if self.groups > MOST_GROUPS {
            return Err(format!(
                "it has {} groups; at most {MOST_GROUPS} are read",
                self.groups
            ));
        }
        Ok(self)
    }

    /// The first block of a group.
    pub(super) fn first_of(&self, group: u64) -> u64 {
        let blocks = group.saturating_mul(self.blocks_per_group);
        self.first.saturating_add(blocks)
    }

    /// The first block behind a group.
    pub(super) fn end_of(&self, group: u64) -> u64 {
        self.first_of(group.saturating_add(1)).min(self.blocks)
    }

    /// Blocks of all descriptors.
    pub(super) fn descriptor_blocks(&self) -> u64 {
        self.groups.div_ceil(self.block / self.descriptor)
    }

    /// Whether a group begins with a copy of the superblock.
    pub(super) fn has_copy(&self, group: u64) -> bool {
        let power_of = |base: u64| {
            let mut power = base;
            while power < group {
                power = power.saturating_mul(base);
            }
            power == group
        };
        match self.backups {
            _ if group == 0 => true,
            Some(backups) => backups.contains(&group),
            None if !self.sparse || group == 1 => true,
            None => [3, 5, 7].into_iter().any(power_of),
        }
    }
}

/// Refuses what was not left clean.
fn check_state(bytes: &[u8], incompatible: u32) -> Result<(), String> {
    let state = le16(bytes, 58);
    Err(if incompatible & NEEDS_RECOVERY != 0 {
        "its journal holds changes that are not in place yet".to_owned()
    } else if state & 1 == 0 {
        "it was not unmounted".to_owned()
    } else if state & !1 != 0 {
        "it is marked as having errors, or orphans".to_owned()
    } else if le32(bytes, 0x194) != 0 {
        format!("its error count is {}", le32(bytes, 0x194))
    } else if le32(bytes, 0xe8) != 0 {
        "it has files to be deleted at the next mount".to_owned()
    } else if le32(bytes, 76) > 1 {
        "its revision is not known".to_owned()
    } else {
        return Ok(());
    })
}

fn sums(bytes: &[u8], incompatible: u32, read_only: u32, uuid: &[u8; 16]) -> Result<Sums, String> {
    if read_only & METADATA_CSUM == 0 {
        return Ok(match read_only & GDT_CSUM {
            0 => Sums::None,
            _ => Sums::Descriptors,
        });
    }
    let stored = le32(bytes, 0x3fc);
    let found = crc32c_raw(!0, bytes.get(..0x3fc).unwrap_or_default());
    // The one kind of checksum that there is.
    if bytes.get(0x175) != Some(&1) || stored != found {
        return Err("the checksum of its superblock is wrong".into());
    }
    Ok(Sums::All(match incompatible & CSUM_SEED {
        0 => crc32c_raw(!0, uuid),
        _ => le32(bytes, 0x270),
    }))
}

/// The CRC-32C of `bytes` from the register `seed`, without the inversions before and after, as ext
/// has it.
pub(super) fn crc32c_raw(seed: u32, bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(!seed, bytes)
}
