//! Checksums made right, so that damage behind them is looked at.

#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test helper"
)]

use diskimg::Format;

use super::{array, lvm};
use crate::hostile::{Sparse, sealed};

/// Bytes in front of a volume in which LVM's and an array's metadata are.
const HEAD: usize = 64 << 10;

/// Makes right what the readers check: GPT, LVM, arrays, XFS of version 5, Btrfs. What ext has is
/// left as it is.
#[must_use]
pub fn repaired(file: Sparse) -> Sparse {
    let mut file = sealed(Format::Raw, file);
    let mut head = file.bytes(0, HEAD);
    if head[512..].starts_with(b"LABELONE") {
        lvm::seal(&mut head);
        file.write(0, &head);
    } else if head[4096..].starts_with(&array::MAGIC.to_le_bytes()) {
        array::seal(&mut head);
        file.write(4096, &head[4096..8192]);
    } else if head.starts_with(b"XFSB") {
        xfs(&mut file);
    } else if file.bytes(BTRFS + 64, 8) == b"_BHRfS_M" {
        btrfs(&mut file);
    }
    file
}

/// Inodes, and the heads of allocation groups.
fn xfs(file: &mut Sparse) {
    const SECTOR: usize = 512;
    let pages: Vec<(u64, u64)> = file.stretches().collect();
    for (start, len) in pages {
        for at in (start..start + len).step_by(SECTOR) {
            let mut sector = file.bytes(at, SECTOR);
            let sum = match &sector[..4] {
                [b'I', b'N', ..] => 100,
                b"XFSB" => 224,
                b"XAGF" => 216,
                b"XAGI" => 312,
                b"XAFL" => 32,
                _ => continue,
            };
            sector[sum..sum + 4].fill(0);
            let crc = crc32c::crc32c(&sector);
            file.write(at + sum as u64, &crc.to_le_bytes());
        }
    }
}

/// Where the superblock of a Btrfs is.
const BTRFS: u64 = 64 << 10;

/// The superblock and the nodes of trees.
fn btrfs(file: &mut Sparse) {
    let superblock = file.bytes(BTRFS, 4096);
    let (id, size) = (&superblock[32..48], &superblock[148..152]);
    let size = u64::from(u32::from_le_bytes([size[0], size[1], size[2], size[3]]));
    let size = if (4096..=65_536).contains(&size) && size.is_power_of_two() {
        size
    } else {
        4096
    };
    file.write(BTRFS, &crc32c::crc32c(&superblock[32..]).to_le_bytes());
    let mut nodes: Vec<u64> = file.stretches().map(|(at, _)| at / size * size).collect();
    nodes.dedup();
    for at in nodes {
        let node = file.bytes(at, size as usize);
        if at != BTRFS && &node[32..48] == id {
            file.write(at, &crc32c::crc32c(&node[32..]).to_le_bytes());
        }
    }
}
