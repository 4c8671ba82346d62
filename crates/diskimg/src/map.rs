//! What lies where on the disk, summed up in a bounded number of cells.

use crate::extent::{ExtentKind, Tally};

/// Cells in a row.
const COLUMNS: u64 = 64;
/// Most rows.
const MAX_ROWS: u64 = 32;
/// Least bytes in a cell.
const MIN_CELL: u64 = 64 << 10;

/// Bytes of each kind in a cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Bytes that are stored.
    pub data: u64,
    /// Bytes that are known to be zero.
    pub zero: u64,
    /// Bytes that were never written.
    pub hole: u64,
    /// Bytes in files that were not opened.
    pub elsewhere: u64,
}

impl Share {
    fn add(&mut self, kind: ExtentKind, len: u64) {
        let sum = match kind {
            ExtentKind::Data => &mut self.data,
            ExtentKind::Zero => &mut self.zero,
            ExtentKind::Hole => &mut self.hole,
            ExtentKind::Elsewhere => &mut self.elsewhere,
        };
        *sum = sum.saturating_add(len);
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.data
            .saturating_add(self.zero)
            .saturating_add(self.hole)
            .saturating_add(self.elsewhere)
    }
}

/// The disk in cells of one size, of which the last may be shorter.
#[derive(Debug)]
pub struct DiskMap {
    virtual_size: u64,
    /// Bytes in a cell: a power of two.
    cell: u64,
    /// log2 of it.
    cell_bits: u32,
    cells: Vec<Share>,
}

impl DiskMap {
    /// Cells in a row of a picture.
    pub const COLUMNS: u64 = COLUMNS;

    /// A map of a disk that nothing is known of yet.
    #[must_use]
    pub fn new(virtual_size: u64) -> Self {
        let cell = virtual_size
            .div_ceil(COLUMNS * MAX_ROWS)
            .checked_next_power_of_two()
            .unwrap_or(1 << 63)
            .max(MIN_CELL);
        // At most COLUMNS * MAX_ROWS.
        let cells = usize::try_from(virtual_size.div_ceil(cell)).unwrap_or_default();
        Self {
            virtual_size,
            cell,
            cell_bits: cell.trailing_zeros(),
            cells: vec![Share::default(); cells],
        }
    }

    /// Adds a stretch of the disk, which is of one kind or lies inside one cell.
    pub fn add(&mut self, tally: &Tally) {
        let (mut at, end) = (tally.start.0, tally.end().0);
        let Some(kind) = tally.kind() else {
            let cell = usize::try_from(at >> self.cell_bits).unwrap_or(usize::MAX);
            if let Some(cell) = self.cells.get_mut(cell) {
                cell.add(ExtentKind::Data, tally.data);
                cell.add(ExtentKind::Zero, tally.zero);
                cell.add(ExtentKind::Hole, tally.hole);
                cell.add(ExtentKind::Elsewhere, tally.elsewhere);
            }
            return;
        };
        let first = usize::try_from(at >> self.cell_bits).unwrap_or(usize::MAX);
        for cell in self.cells.iter_mut().skip(first) {
            if at >= end {
                break;
            }
            let next = ((at >> self.cell_bits) + 1)
                .saturating_mul(self.cell)
                .min(end);
            cell.add(kind, next - at);
            at = next;
        }
    }

    /// Bytes of one kind on the whole disk.
    #[must_use]
    pub fn total(&self, kind: ExtentKind) -> u64 {
        let of = |share: &Share| match kind {
            ExtentKind::Data => share.data,
            ExtentKind::Zero => share.zero,
            ExtentKind::Hole => share.hole,
            ExtentKind::Elsewhere => share.elsewhere,
        };
        self.cells.iter().map(of).sum()
    }

    /// Bytes of the disk.
    #[must_use]
    pub fn virtual_size(&self) -> u64 {
        self.virtual_size
    }

    /// Bytes in a cell.
    #[must_use]
    pub fn cell(&self) -> u64 {
        self.cell
    }

    /// The cells, in the disk's order.
    #[must_use]
    pub fn cells(&self) -> &[Share] {
        &self.cells
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::GuestOffset;

    #[test]
    fn every_byte_of_an_extent_is_counted_in_the_cells_it_lies_in() {
        let mut map = DiskMap::new(200 << 10);
        assert_eq!((map.cell(), map.cells().len()), (64 << 10, 4));
        let mut add = |start: u64, len, kind| {
            let mut tally = Tally::new(GuestOffset(start));
            tally.add(kind, len);
            map.add(&tally);
        };
        add(0, 1, ExtentKind::Data);
        add(1, 130 << 10, ExtentKind::Zero);
        add((130 << 10) + 1, (70 << 10) - 1, ExtentKind::Hole);
        let shares: Vec<_> = map
            .cells()
            .iter()
            .map(|share| (share.data, share.zero, share.hole))
            .collect();
        assert_eq!(
            shares,
            [(1, 65535, 0), (0, 65536, 0), (0, 2049, 63487), (0, 0, 8192)]
        );
        assert_eq!(map.total(ExtentKind::Zero), 130 << 10);
    }

    #[test]
    fn the_number_of_cells_is_bounded_whatever_the_disk() {
        for size in [512, 1 << 20, 3 << 30, 1 << 46, u64::MAX] {
            let map = DiskMap::new(size);
            assert!(map.cells().len() as u64 <= COLUMNS * MAX_ROWS, "{size}");
            assert!(map.cells().len() as u128 * u128::from(map.cell()) >= u128::from(size));
        }
    }
}
