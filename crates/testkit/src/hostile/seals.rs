//! Checksums made right, so that damage behind them is looked at.

#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test helper"
)]

use super::sparse::{PAGE, Sparse};

/// The GPT in the second sector: its entries, then its header.
pub(super) fn gpt(file: &mut Sparse) {
    const HEADER: u64 = 512;
    let header = file.bytes(HEADER, 512);
    if !header.starts_with(b"EFI PART") {
        return;
    }
    let word = |at: usize| {
        let bytes = header[at..at + 4].try_into().unwrap_or_default();
        u64::from(u32::from_le_bytes(bytes))
    };
    let entries = word(80) * word(84);
    // What is longer is not read; the upper half of the place is for disks beyond 2 TiB.
    if entries <= 1 << 20 {
        let crc = crc32fast::hash(&file.bytes(word(72) * 512, entries as usize));
        file.write(HEADER + 88, &crc.to_le_bytes());
    }
    let mut covered = file.bytes(HEADER, (word(12) as usize).min(512));
    if let Some(own) = covered.get_mut(16..20) {
        own.fill(0);
    }
    let crc = crc32fast::hash(&covered);
    file.write(HEADER + 16, &crc.to_le_bytes());
}

pub(super) fn vhdx(file: &mut Sparse) {
    for header in [64_u64 << 10, 128 << 10] {
        let at = file.bytes(header + 72, 8);
        let at = u64::from_le_bytes(at.try_into().unwrap_or_default());
        log(file, at);
        file.seal(header, 4096);
    }
    for region in [192_u64 << 10, 256 << 10] {
        file.seal(region, 64 << 10);
    }
}

/// Seals log entries that follow one another from `at` on.
fn log(file: &mut Sparse, mut at: u64) {
    for _ in 0..8 {
        if at >= file.len || file.bytes(at, 4) != b"loge" {
            return;
        }
        let len = file.bytes(at + 8, 4);
        let len = u32::from_le_bytes(len.try_into().unwrap_or_default());
        if !(8..=1 << 20).contains(&len) {
            return;
        }
        file.seal(at, len as usize);
        at += u64::from(len);
    }
}

/// The footer, its copy and the dynamic header: the complement of the sum of all bytes.
pub(super) fn vhd(file: &mut Sparse) {
    let Some(footer) = file.len.checked_sub(512) else {
        return;
    };
    for (at, len, sum) in [(footer, 512, 64), (0, 512, 64), (512, 1024, 36)] {
        let mut structure = file.bytes(at, len);
        structure[sum..sum + 4].fill(0);
        let total: u32 = structure.iter().map(|byte| u32::from(*byte)).sum();
        file.write(at + sum as u64, &(!total).to_be_bytes());
    }
}

/// The footers, which stand at multiples of 4096: the complement of the sum of their first 512
/// bytes.
pub(super) fn zvhd(file: &mut Sparse) {
    let footers: Vec<u64> = file
        .pages
        .iter()
        .filter(|(_, page)| page.starts_with(b"z2strm") || page.starts_with(b"stream\0\0"))
        .map(|(page, _)| page * PAGE)
        .collect();
    for at in footers {
        let mut footer = file.bytes(at, 512);
        footer[64..68].fill(0);
        let total: u32 = footer.iter().map(|byte| u32::from(*byte)).sum();
        file.write(at + 64, &(!total).to_le_bytes());
    }
}
