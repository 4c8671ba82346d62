//! Free space of FAT16 and FAT32, by the file allocation table.
//!
//! Source: "Microsoft Extensible Firmware Initiative FAT32 File System Specification", 1.03. The
//! table is believed when its copies are equal, when it says that the volume was unmounted without
//! errors, and when no chain leads to a free cluster or out of the volume. FAT12 has no such mark.

use guest::field::{le16, le32};

use crate::map::Collector;
use crate::volume::{Free, Volume};

/// Clusters from which on a volume is FAT16, and FAT32.
const FAT16: u64 = 4085;
const FAT32: u64 = 65_525;
/// Most clusters, whose bitmap takes 8 MiB.
const MOST: u64 = 64 << 20;
/// Bytes of the table that are read at a time.
const PIECE: u64 = 64 << 10;

/// What of the first sector matters here.
struct Fat {
    /// First byte, bytes, and number of the tables.
    table: u64,
    length: u64,
    copies: u64,
    /// First byte of cluster 2.
    data: u64,
    cluster: u64,
    clusters: u64,
    sectors: u64,
    sector: u64,
    root: u32,
}

impl Fat {
    fn read(volume: Volume<'_>) -> Result<Self, String> {
        let head = volume.read(0, 512)?;
        let byte = |at: usize| u64::from(head.get(at).copied().unwrap_or_default());
        let (sector, reserved) = (u64::from(le16(&head, 11)), u64::from(le16(&head, 14)));
        let or_wide = |short: usize, wide: usize| match le16(&head, short) {
            0 => u64::from(le32(&head, wide)),
            short => short.into(),
        };
        let (sectors, table) = (or_wide(19, 32), or_wide(22, 36));
        let root = (u64::from(le16(&head, 17)) * 32).div_ceil(sector.max(1));
        let (copies, per_cluster) = (byte(16), byte(13));
        let sensible = (512..=4096).contains(&sector)
            && sector.is_power_of_two()
            && per_cluster.is_power_of_two()
            && (1..=2).contains(&copies)
            && reserved > 0
            && table > 0;
        let data = reserved + copies * table + root;
        let clusters = sectors.saturating_sub(data).checked_div(per_cluster);
        let (Some(clusters), true) = (clusters, sensible) else {
            return Err("its geometry makes no sense".into());
        };
        if clusters < FAT16 {
            return Err("FAT12 does not say whether it was unmounted".into());
        }
        let this = Self {
            table: reserved * sector,
            length: table * sector,
            copies,
            data: data * sector,
            cluster: per_cluster * sector,
            clusters,
            sectors,
            sector,
            root: le32(&head, 44),
        };
        let (state, version) = match this.is_32() {
            true => (byte(65), le16(&head, 42)),
            false => (byte(37), 0),
        };
        if state & 3 != 0 {
            return Err("it was not unmounted, or has errors".into());
        }
        // Bit 7 of the flags says that only one of the tables is kept up to date.
        if this.is_32() && (version != 0 || le16(&head, 40) & 0x80 != 0) {
            return Err("its tables are not mirrored, or of an unknown version".into());
        }
        if this.sectors.saturating_mul(sector) > volume.size() || clusters > MOST {
            return Err("it is longer than its volume, or too long".into());
        }
        if this.entry_bytes().saturating_mul(clusters + 2) > this.length {
            return Err("its table is shorter than its clusters".into());
        }
        Ok(this)
    }

    fn is_32(&self) -> bool {
        self.clusters >= FAT32
    }

    fn entry_bytes(&self) -> u64 {
        if self.is_32() { 4 } else { 2 }
    }

    /// All entries, the first two too.
    fn entries(
        &self,
        volume: Volume<'_>,
        copy: u64,
        visit: &mut dyn FnMut(u64, u32) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut number = 0;
        let mut at = 0;
        let end = self.entry_bytes() * (self.clusters + 2);
        while at < end {
            let length = PIECE.min(end - at);
            let piece = volume.read(self.table + copy * self.length + at, length)?;
            for entry in piece.chunks_exact(if self.is_32() { 4 } else { 2 }) {
                let entry = match self.is_32() {
                    // The highest four bits are no part of it.
                    true => le32(entry, 0) & 0x0fff_ffff,
                    false => le16(entry, 0).into(),
                };
                visit(number, entry)?;
                number += 1;
            }
            at += length;
        }
        Ok(())
    }

    /// Bits of clusters that are free.
    fn free(&self, volume: Volume<'_>) -> Result<Vec<u64>, String> {
        let mut free = vec![0_u64; usize::try_from(self.clusters / 64 + 1).unwrap_or_default()];
        let clean = match self.is_32() {
            true => 0x0c00_0000,
            false => 0xc000,
        };
        self.entries(volume, 0, &mut |number, entry| {
            match (number, entry) {
                (0, _) => {}
                (1, entry) if entry & clean != clean => {
                    return Err("it was not unmounted, or has errors".into());
                }
                (1, _) => {}
                (number, 0) => {
                    let word = usize::try_from((number - 2) / 64).unwrap_or(usize::MAX);
                    if let Some(word) = free.get_mut(word) {
                        *word |= 1 << ((number - 2) % 64);
                    }
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok(free)
    }

    /// Whether the cluster with this number in the table exists and is not free.
    fn is_used(&self, free: &[u64], number: u32) -> bool {
        let Some(index) = u64::from(number).checked_sub(2) else {
            return false;
        };
        let word = usize::try_from(index / 64).ok().and_then(|it| free.get(it));
        index < self.clusters && word.is_some_and(|word| word >> (index % 64) & 1 == 0)
    }

    /// Refuses chains that lead to a free cluster, or nowhere.
    fn check_chains(&self, volume: Volume<'_>, free: &[u64]) -> Result<(), String> {
        // Bad clusters and the ends of chains are from here on.
        let special = match self.is_32() {
            true => 0x0fff_fff7,
            false => 0xfff7,
        };
        self.entries(volume, 0, &mut |number, entry| match number < 2
            || entry == 0
            || entry >= special
            || self.is_used(free, entry)
        {
            true => Ok(()),
            false => Err(format!("a chain leads from cluster {number} to {entry}")),
        })?;
        match self.is_32() && !self.is_used(free, self.root) {
            true => Err("its root directory is free".into()),
            false => Ok(()),
        }
    }

    fn check_copies(&self, volume: Volume<'_>) -> Result<(), String> {
        if self.copies < 2 {
            return Ok(());
        }
        let mut at = 0;
        while at < self.length {
            let length = PIECE.min(self.length - at);
            let copy = |number| volume.read(self.table + number * self.length + at, length);
            if copy(0)? != copy(1)? {
                return Err("its two tables differ".into());
            }
            at += length;
        }
        Ok(())
    }
}

/// What is free on `volume`.
///
/// # Errors
/// Why it is not known.
pub(crate) fn free(volume: Volume<'_>) -> Result<Free, String> {
    let fat = Fat::read(volume)?;
    fat.check_copies(volume)?;
    let free = fat.free(volume)?;
    fat.check_chains(volume, &free)?;
    let mut all = Collector::new();
    let end = fat.clusters;
    for (first, word) in (0..).step_by(64).zip(&free) {
        for bit in (0..64).filter(|bit| word >> bit & 1 == 1 && first + bit < end) {
            let at = fat.data + (first + bit) * fat.cluster;
            all.add(at..at + fat.cluster)?;
        }
    }
    Ok(Free {
        size: fat.sectors * fat.sector,
        free: all.free,
        ranges: all.finish(),
    })
}
