//! The superblock: geometry and features.

use guest::field::{be16, be32, be64, le32};

use crate::volume::Volume;

/// Bits of the version that are known: attributes, link counts, quotas, alignment, stripes, log
/// version 2, sectors, flags of extents, directories version 2, case-folding, more bits. Not:
/// shared file systems.
const VERSION: u16 =
    0x10 | 0x20 | 0x40 | 0x80 | 0x100 | 0x400 | 0x800 | 0x1000 | 0x2000 | 0x4000 | MORE;
const MORE: u16 = 0x8000;
/// More bits: lazy counters, attributes version 2, parents, project identifiers, checksums, types.
const FEATURES: u32 = LAZY | 0x8 | 0x10 | 0x80 | 0x100 | 0x200;
const LAZY: u32 = 0x2;
/// Read-only compatible: finobt, rmapbt, reflink, inobtcount.
const READ_ONLY: u32 = 0xf;
/// Types, sparse inodes, another UUID, times, extent counts, exchanges, parents. Not: a repair that
/// is needed, a directory of metadata, zones.
const INCOMPATIBLE: u32 = 0x1 | 0x2 | META_UUID | 0x8 | 0x20 | 0x40 | 0x80;
const META_UUID: u32 = 0x4;
/// Most groups, and most blocks of one.
const MOST_GROUPS: u32 = 1 << 20;

/// What of the superblock matters here.
pub(super) struct Superblock {
    /// Bytes of a block.
    pub(super) block: u64,
    /// Bytes of a sector.
    pub(super) sector: u64,
    /// Blocks.
    pub(super) blocks: u64,
    /// Blocks of each group but the last one.
    pub(super) group_blocks: u32,
    pub(super) groups: u32,
    /// Blocks that are free, by the superblock.
    pub(super) free: u64,
    /// The group of the log, and its blocks in there.
    pub(super) log: (u32, std::ops::Range<u64>),
    /// The UUID in headers, when there are checksums.
    pub(super) checked: Option<[u8; 16]>,
}

impl Superblock {
    pub(super) fn read(volume: Volume<'_>) -> Result<Self, String> {
        let head = volume.read(0, 512)?;
        let sector = u64::from(be16(&head, 102));
        if !head.starts_with(b"XFSB") || !(512..=32_768).contains(&sector) {
            return Err("it has no superblock".into());
        }
        let bytes = volume.read(0, sector)?;
        let checked = features(&bytes)?;
        if checked.is_some() && !sealed(&bytes, 224) {
            return Err("the checksum of its superblock is wrong".into());
        }
        let this = Self {
            block: be32(&bytes, 4).into(),
            sector,
            blocks: be64(&bytes, 8),
            group_blocks: be32(&bytes, 84),
            groups: be32(&bytes, 88),
            free: be64(&bytes, 144),
            log: log(&bytes)?,
            checked,
        };
        let sensible = this.block.is_power_of_two()
            && (sector..=65_536).contains(&this.block)
            && sector.is_power_of_two()
            && this.group_blocks >= 64
            && this.groups <= MOST_GROUPS
            && this.blocks.div_ceil(this.group_blocks.into()) == u64::from(this.groups)
            && this.log.0 < this.groups
            && this.log.1.end <= this.length(this.log.0).into();
        if !sensible {
            return Err("its geometry makes no sense".into());
        }
        let size = this.blocks.checked_mul(this.block);
        if size.is_none_or(|size| size > volume.size()) {
            return Err("it is longer than its volume".into());
        }
        Ok(this)
    }

    /// Blocks of a group.
    pub(super) fn length(&self, group: u32) -> u32 {
        let before = u64::from(group).saturating_mul(self.group_blocks.into());
        let left = self.blocks.saturating_sub(before);
        u32::try_from(left)
            .unwrap_or(u32::MAX)
            .min(self.group_blocks)
    }

    /// The first byte of a group.
    pub(super) fn base(&self, group: u32) -> u64 {
        let blocks = u64::from(group).saturating_mul(self.group_blocks.into());
        blocks.saturating_mul(self.block)
    }
}

/// Whether a structure has the CRC-32C at `at` that its bytes have with zeros in that place.
pub(super) fn sealed(bytes: &[u8], at: usize) -> bool {
    let before = bytes.get(..at).unwrap_or_default();
    let behind = bytes.get(at.saturating_add(4)..).unwrap_or_default();
    let sum = crc32c::crc32c(before);
    let sum = crc32c::crc32c_append(sum, &[0; 4]);
    crc32c::crc32c_append(sum, behind) == le32(bytes, at)
}

/// Refuses features that are not known; the UUID of headers, when they have one.
fn features(bytes: &[u8]) -> Result<Option<[u8; 16]>, String> {
    let unknown = |kind: &str, bits: u32| {
        Err(format!(
            "it has {kind} features that are not known: {bits:#x}"
        ))
    };
    let version = be16(bytes, 100);
    let bits = version & 0xfff0;
    if bits & !VERSION != 0 {
        return unknown("version", (bits & !VERSION).into());
    }
    let more = match version & MORE {
        0 => 0,
        _ => be32(bytes, 200),
    };
    if more & !FEATURES != 0 {
        return unknown("more", more & !FEATURES);
    }
    if bytes.get(126) != Some(&0) {
        return Err("it is marked as being made".into());
    }
    if be64(bytes, 16) != 0 {
        return Err("it has a part for real time, on another device".into());
    }
    let [compatible, read_only, incompatible, log] = [208, 212, 216, 220].map(|at| be32(bytes, at));
    let uuid = |at: usize| bytes.get(at..).and_then(|rest| rest.first_chunk()).copied();
    match version & 0xf {
        4 if more & LAZY == 0 => Err("it has no lazy counters".into()),
        4 => Ok(None),
        5 if compatible != 0 => unknown("compatible", compatible),
        5 if read_only & !READ_ONLY != 0 => unknown("read-only compatible", read_only & !READ_ONLY),
        5 if incompatible & !INCOMPATIBLE != 0 => {
            unknown("incompatible", incompatible & !INCOMPATIBLE)
        }
        5 if log != 0 => unknown("log", log),
        5 if incompatible & META_UUID != 0 => Ok(uuid(248)),
        5 => Ok(uuid(32)),
        other => Err(format!("its version is {other}")),
    }
}

/// Where the log is. One on another device cannot be asked whether it is empty; one in here was,
/// when the volume was recognised.
fn log(bytes: &[u8]) -> Result<(u32, std::ops::Range<u64>), String> {
    let start = be64(bytes, 48);
    let bits = u32::from(bytes.get(124).copied().unwrap_or_default());
    if start == 0 {
        return Err("its log is on another device".into());
    }
    let group = start
        .checked_shr(bits)
        .and_then(|it| u32::try_from(it).ok());
    let within = 1_u64
        .checked_shl(bits)
        .map(|size| start & size.saturating_sub(1));
    match (group, within) {
        (Some(group), Some(within)) if bits <= 31 => {
            let end = within.saturating_add(be32(bytes, 96).into());
            Ok((group, within..end))
        }
        _ => Err("its log is nowhere".into()),
    }
}
