//! The sizes and places of a sparse extent, whatever form it has.

use std::ops::Range;

use super::entries::Form;
use crate::units::SECTOR;

/// The sizes and places of a sparse extent, as its header gives them.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) form: Form,
    /// Size of the extent in bytes.
    pub(super) capacity: u64,
    /// log2 of the bytes of a grain.
    pub(super) grain_bits: u32,
    /// log2 of the entries of a table.
    pub(super) table_bits: u32,
    pub(super) directory: Place,
    /// The copy of the directory.
    pub(super) copy: Option<Place>,
    /// What lies in front of everything else.
    pub(super) reserved: Vec<(&'static str, Range<u64>)>,
}

/// Where a structure begins, in bytes; `None` when no file can be so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(pub(super) Option<u64>);

impl Place {
    pub(super) fn of_sector(sector: u64) -> Self {
        Self(sector.checked_mul(SECTOR))
    }
}

impl Shape {
    /// Bytes of a grain.
    pub(super) fn grain_size(&self) -> u64 {
        1 << self.grain_bits
    }

    /// Bytes of a table.
    pub(super) fn table_len(&self) -> u64 {
        self.form.entry_size() << self.table_bits
    }

    /// log2 of the bytes that a table covers.
    pub(super) fn coverage_bits(&self) -> u32 {
        self.grain_bits + self.table_bits
    }

    /// Entries of the directory.
    pub(super) fn tables(&self) -> u64 {
        self.capacity.div_ceil(1 << self.coverage_bits())
    }
}
