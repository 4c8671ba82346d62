//! The sizes that a footer gives: one by its own field, one by the geometry.

use super::layout::{self, MAX_GEOMETRY_SECTORS};
use crate::units::SECTOR;

/// Programs that write a size into the footer and show the guest another one, that of the geometry.
/// QEMU's list (`block/vpc.c`, since 10.0): Virtual PC, and QEMU itself unless it was asked to
/// `force_size`, when it writes `qem2`. All others show the current size.
const GEOMETRY_CREATORS: [[u8; 4]; 2] = [*b"vpc ", *b"qemu"];

/// The sizes that a footer gives, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    /// By the field for it.
    pub(super) current: u64,
    /// By the geometry; `None` when it has its largest values, which say nothing about the size.
    pub(super) geometry: Option<u64>,
    /// Whether the program that wrote the footer shows the guest a disk of the geometry's size.
    by_geometry: bool,
}

impl Sizes {
    pub(super) fn of(footer: &layout::Footer) -> Self {
        let cylinders = u64::from(footer.cylinders.get());
        let sectors = cylinders * u64::from(footer.heads) * u64::from(footer.sectors);
        Self {
            current: footer.current_size.get(),
            geometry: (sectors != MAX_GEOMETRY_SECTORS).then_some(sectors * SECTOR),
            by_geometry: GEOMETRY_CREATORS.contains(&footer.creator_app),
        }
    }

    /// The size by which the disk is read.
    pub(super) fn declared(self) -> u64 {
        match self.geometry {
            // A geometry of nothing is one that was never filled in.
            Some(geometry) if self.by_geometry && geometry != 0 => geometry,
            _ => self.current,
        }
    }

    /// What to know when the two sizes differ. The geometry cannot express most sizes, so a smaller
    /// one is as it should be where it is what the format's own calculation gives and no program
    /// reads the disk by it.
    pub(super) fn warning(self, creator: &str) -> Option<String> {
        let (current, geometry) = (self.current, self.geometry?);
        let by_current = self.declared() == current;
        let used = match by_current {
            true => "the current size",
            false => "the geometry",
        };
        let silent = geometry == current || by_current && geometry == calculated_geometry(current);
        (!silent).then(|| {
            format!(
                "the footer gives two sizes: current size {current} bytes, geometry {geometry} \
                 bytes; {used} is used, as disks written by \"{creator}\" are read"
            )
        })
    }
}

/// The size in bytes of the geometry that the format's appendix "CHS Calculation" gives for a disk
/// of `size` bytes.
fn calculated_geometry(size: u64) -> u64 {
    let sectors = (size / SECTOR).min(MAX_GEOMETRY_SECTORS);
    let (heads, per_track) = if sectors >= 65535 * 16 * 63 {
        (16, 255)
    } else {
        let tracks = sectors / 17;
        let heads = tracks.div_ceil(1024).max(4);
        if heads <= 16 && tracks < heads * 1024 {
            (heads, 17)
        } else if sectors / 31 < 16 * 1024 {
            (16, 31)
        } else {
            (16, 63)
        }
    };
    sectors / per_track / heads * heads * per_track * SECTOR
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_geometry_is_calculated_as_the_format_says() {
        // By the format's appendix: cylinders, heads, sectors in a track.
        for (mib, [cylinders, heads, sectors]) in [
            (8, [240, 4, 17]),
            (16, [481, 4, 17]),
            (48, [963, 6, 17]),
            (504, [1024, 16, 63]),
            (1024, [2080, 16, 63]),
            (40 << 10, [20_560, 16, 255]),
            (127 << 10, [65_278, 16, 255]),
        ] {
            let size = cylinders * heads * sectors * SECTOR;
            assert_eq!(calculated_geometry(mib << 20), size, "{mib} MiB");
        }
        assert_eq!(calculated_geometry(1 << 41), MAX_GEOMETRY_SECTORS * SECTOR);
        assert_eq!(calculated_geometry(0), 0);
    }
}
