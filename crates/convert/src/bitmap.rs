//! The bitmap file of a raw image: one bit for each stretch of the disk, set where it holds data.
//!
//! What the bytes mean is a [`Layout`], which is data: name, granule, order of bits, padding. The
//! one that is known, [`ZVHD2_SECTION`], is the bitmap of the ZVHD2 format standing alone. Bytes of
//! a file are checked against [`MAX_FILE_BYTES`] before anything is allocated for them.

use std::ops::Range;

use bitvec::order::Lsb0;
use bitvec::vec::BitVec;
use diskimg::units::{KIB, MIB, human};
use diskimg::zero::is_zero;
use serde::{Serialize, Serializer};

use crate::error::{Error, Result};

/// Longest bitmap file, in bytes. Ours: [`ZVHD2_SECTION`] needs 4 MiB for the largest disk that is
/// opened, the rest is room for a layout with a finer granule.
pub const MAX_FILE_BYTES: u64 = 64 * MIB;

/// Which bit of a byte comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BitOrder {
    /// Bit 0, of value 1, stands for the first granule of the byte.
    LeastSignificantFirst,
    /// Bit 7, of value 128, does.
    MostSignificantFirst,
}

/// How a bitmap file is laid out. There is no header: the file is segments only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// What users and reports call it.
    pub name: &'static str,
    /// Bytes of the disk for which one bit stands: a power of two, at least
    /// [`Layout::LEAST_GRANULE`].
    pub granule: u64,
    /// Order of the bits in a byte. Bytes ascend.
    pub bit_order: BitOrder,
    /// The file's length is a multiple of this, in bytes; what the disk does not reach is zero.
    pub segment: u64,
    /// Segments that a file has at least.
    pub least_segments: u64,
}

/// The bitmap section of ZVHD2, the one sparse bitmap layout that the vendor has published: a bit
/// for each block of 2 MiB, bit 0 of byte 0 is block 0, segments of 4096 bytes (64 GiB of disk
/// each).
pub const ZVHD2_SECTION: Layout = Layout {
    name: "zvhd2-section",
    granule: 2 * MIB,
    bit_order: BitOrder::LeastSignificantFirst,
    segment: 4 * KIB,
    least_segments: 1,
};

const _: () = assert!(ZVHD2_SECTION.is_possible());

impl Layout {
    /// Smallest [`Layout::granule`], in bytes. Ours: a page, below which no image is sparse.
    pub const LEAST_GRANULE: u64 = 4 * KIB;

    /// Whether the fields keep their own rules.
    #[must_use]
    pub const fn is_possible(&self) -> bool {
        self.granule.is_power_of_two() && self.granule >= Self::LEAST_GRANULE && self.segment > 0
    }

    /// Granules of a disk of `virtual_size` bytes; the last may reach past its end.
    #[must_use]
    pub const fn granules(&self, virtual_size: u64) -> u64 {
        virtual_size.div_ceil(self.granule)
    }

    /// Length in bytes of the file for a disk of `virtual_size` bytes.
    #[must_use]
    pub fn file_len(&self, virtual_size: u64) -> u64 {
        let bytes = self.granules(virtual_size).div_ceil(8);
        let segments = bytes.div_ceil(self.segment).max(self.least_segments);
        segments.saturating_mul(self.segment)
    }

    /// The granules in which `bytes`, which lie at guest offset `start`, hold something other than
    /// zero, ascending.
    pub(crate) fn granules_with_data(&self, start: u64, bytes: &[u8]) -> Vec<u64> {
        let mut granules = Vec::new();
        let mut at = start;
        let mut rest = bytes;
        while !rest.is_empty() {
            let granule = at / self.granule;
            let left = (granule + 1)
                .saturating_mul(self.granule)
                .saturating_sub(at);
            let len = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
            let (here, behind) = rest.split_at(len);
            if !is_zero(here) {
                granules.push(granule);
            }
            at = at.saturating_add(left);
            rest = behind;
        }
        granules
    }
}

/// By its name: reports say which layout was written, not what it is made of.
impl Serialize for Layout {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name)
    }
}

/// A bitmap in memory: the bits of all segments, those past the disk's end included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bitmap {
    layout: Layout,
    bits: BitVec<u8, Lsb0>,
}

impl Bitmap {
    /// A bitmap for a disk of `virtual_size` bytes, with no bit set.
    ///
    /// # Errors
    /// `Refused` when its file would be longer than [`MAX_FILE_BYTES`], or the layout is none.
    pub fn new(layout: Layout, virtual_size: u64) -> Result<Self> {
        if !layout.is_possible() {
            return Err(Error::refused(format!(
                "bitmap layout {} has a granule of {} bytes, expected a power of two from {}",
                layout.name,
                layout.granule,
                Layout::LEAST_GRANULE
            )));
        }
        let len = layout.file_len(virtual_size);
        check_len(len)?;
        Ok(Self {
            layout,
            bits: BitVec::from_vec(vec![0; to_len(len)]),
        })
    }

    /// Reads the bytes of a bitmap file.
    ///
    /// # Errors
    /// `Refused` when their number is not one that the layout has.
    pub fn parse(layout: Layout, mut bytes: Vec<u8>) -> Result<Self> {
        let len = bytes.len() as u64;
        check_len(len)?;
        let least = layout.least_segments.saturating_mul(layout.segment);
        if !len.is_multiple_of(layout.segment) || len < least {
            return Err(Error::refused(format!(
                "{len} bytes are no bitmap of layout {}, expected a multiple of {}, at least \
                 {least}",
                layout.name, layout.segment
            ))
            .with_hint(
                "only this layout is known; what other tools write is passed on unread by \
                import --bitmap",
            ));
        }
        reorder(layout, &mut bytes);
        Ok(Self {
            layout,
            bits: BitVec::from_vec(bytes),
        })
    }

    /// The bytes of the file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.bits.clone().into_vec();
        reorder(self.layout, &mut bytes);
        bytes
    }

    /// The layout.
    #[must_use]
    pub const fn layout(&self) -> Layout {
        self.layout
    }

    /// Whether `granule` is marked; false past the end.
    #[must_use]
    pub fn get(&self, granule: u64) -> bool {
        let bit = usize::try_from(granule).ok();
        bit.and_then(|bit| self.bits.get(bit).map(|bit| *bit))
            .unwrap_or(false)
    }

    /// Marks `granule`.
    pub(crate) fn mark(&mut self, granule: u64) {
        if let Some(mut bit) = usize::try_from(granule)
            .ok()
            .and_then(|bit| self.bits.get_mut(bit))
        {
            *bit = true;
        }
    }

    /// What the bitmap says, in figures.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let bytes = self.bits.len() as u64 / 8;
        let start = |granule: usize| (granule as u64).saturating_mul(self.layout.granule);
        let last = self.bits.last_one();
        Figures {
            layout: self.layout,
            granule: self.layout.granule,
            bytes,
            segments: bytes / self.layout.segment,
            covers: (self.bits.len() as u64).saturating_mul(self.layout.granule),
            marked: self.bits.count_ones() as u64,
            runs: self.runs(),
            first: self.bits.first_one().map(start),
            end: last.map(|last| start(last.saturating_add(1))),
        }
    }

    /// Stretches of neighbours that are marked.
    fn runs(&self) -> u64 {
        let mut runs = 0;
        let mut before = None;
        for granule in self.bits.iter_ones() {
            if granule
                .checked_sub(1)
                .is_none_or(|previous| before != Some(previous))
            {
                runs += 1;
            }
            before = Some(granule);
        }
        runs
    }

    /// Compares this bitmap, of a file, with the one that the disk has.
    #[must_use]
    pub fn compare(&self, expected: &Self) -> BitmapComparison {
        let mut found = BitmapComparison {
            bytes: self.bits.len() as u64 / 8,
            expected_bytes: expected.bits.len() as u64 / 8,
            ..BitmapComparison::default()
        };
        let granule = self.layout.granule;
        let most = self.bits.len().max(expected.bits.len()) as u64;
        for number in 0..most {
            let list = match (self.get(number), expected.get(number)) {
                (false, true) => &mut found.missing,
                (true, false) => &mut found.extra,
                _ => continue,
            };
            let start = number.saturating_mul(granule);
            list.first
                .get_or_insert(start..start.saturating_add(granule));
            list.count += 1;
        }
        found
    }
}

/// Refuses lengths that no bitmap has.
fn check_len(len: u64) -> Result<()> {
    if len <= MAX_FILE_BYTES {
        return Ok(());
    }
    Err(Error::refused(format!(
        "the bitmap has {len} bytes, expected at most {MAX_FILE_BYTES} ({})",
        human(MAX_FILE_BYTES)
    )))
}

/// From the order in memory to that of the file, or back.
fn reorder(layout: Layout, bytes: &mut [u8]) {
    if layout.bit_order == BitOrder::MostSignificantFirst {
        for byte in bytes {
            *byte = byte.reverse_bits();
        }
    }
}

/// A length that [`MAX_FILE_BYTES`] holds far below what any address space takes.
fn to_len(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

/// A bitmap in figures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Figures {
    /// The layout's name.
    pub layout: Layout,
    /// Bytes of the disk for which a bit stands.
    pub granule: u64,
    /// Length of the file in bytes.
    pub bytes: u64,
    /// Segments of the file.
    pub segments: u64,
    /// Bytes of the disk for which the file has bits.
    pub covers: u64,
    /// Granules that are marked.
    pub marked: u64,
    /// Stretches of neighbours that are marked.
    pub runs: u64,
    /// Guest offset of the first marked granule.
    pub first: Option<u64>,
    /// Guest offset of the end of the last marked granule.
    pub end: Option<u64>,
}

impl Figures {
    /// Bytes of the disk in marked granules; the last one may reach past the disk's end.
    #[must_use]
    pub const fn marked_bytes(&self) -> u64 {
        self.marked.saturating_mul(self.granule)
    }
}

/// What a bitmap file says otherwise than the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BitmapComparison {
    /// Length of the file in bytes.
    pub bytes: u64,
    /// Length that the disk's own bitmap has.
    pub expected_bytes: u64,
    /// Granules that hold data and are not marked: trusting the bitmap loses them.
    pub missing: Differing,
    /// Granules that are marked and hold nothing, or lie past the disk's end.
    pub extra: Differing,
}

/// Granules of one kind of difference.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Differing {
    /// How many.
    pub count: u64,
    /// Guest offsets of the first one.
    pub first: Option<Range<u64>>,
}

impl BitmapComparison {
    /// Whether the file is, bit for bit, the disk's bitmap.
    #[must_use]
    pub const fn is_exact(&self) -> bool {
        self.bytes == self.expected_bytes && self.missing.count == 0 && self.extra.count == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    /// Nothing like the known one, to see that a layout is data.
    const OTHER: Layout = Layout {
        name: "other",
        granule: 64 * KIB,
        bit_order: BitOrder::MostSignificantFirst,
        segment: 512,
        least_segments: 2,
    };

    #[test]
    fn a_file_has_whole_segments_and_at_least_one() {
        let len = |size| ZVHD2_SECTION.file_len(size);
        assert_eq!(len(0), 4096);
        assert_eq!(len(512), 4096);
        assert_eq!(len(64 * GIB), 4096);
        assert_eq!(len(64 * GIB + 512), 8192);
        assert_eq!(len(1024 * GIB), 16 * 4096);
    }

    #[test]
    fn the_first_block_is_bit_0_of_byte_0() {
        let mut bitmap = Bitmap::new(ZVHD2_SECTION, 64 * GIB).unwrap();
        for block in [0, 9, 32767] {
            bitmap.mark(block);
        }
        let bytes = bitmap.to_bytes();
        assert_eq!(
            (bytes.len(), bytes[0], bytes[1], bytes[4095]),
            (4096, 1, 2, 0x80)
        );
        assert_eq!(bitmap.figures().runs, 3);
    }

    #[test]
    fn another_layout_is_another_value() {
        let mut bitmap = Bitmap::new(OTHER, 64 * KIB * 20).unwrap();
        bitmap.mark(0);
        bitmap.mark(10);
        let bytes = bitmap.to_bytes();
        assert_eq!((bytes.len(), bytes[0], bytes[1]), (1024, 0x80, 0x20));
        assert_eq!(Bitmap::parse(OTHER, bytes).unwrap(), bitmap);
        let mut block = vec![0; 2 << 20];
        block[70_000] = 1;
        assert_eq!(OTHER.granules_with_data(2 << 20, &block), [33]);
    }

    #[test]
    fn a_length_that_the_layout_does_not_have_is_refused() {
        for len in [0, 1, 4095, 4097, 6144] {
            assert!(Bitmap::parse(ZVHD2_SECTION, vec![0; len]).is_err(), "{len}");
        }
        let error = Bitmap::new(OTHER, 1 << 62).unwrap_err();
        assert!(error.to_string().contains("expected at most"), "{error}");
    }

    #[test]
    fn differences_are_told_apart_and_the_first_is_named() {
        let mut disk = Bitmap::new(ZVHD2_SECTION, GIB).unwrap();
        let mut file = disk.clone();
        disk.mark(3);
        disk.mark(5);
        file.mark(5);
        file.mark(600);
        let found = file.compare(&disk);
        assert_eq!(found.missing.count, 1);
        assert_eq!(found.missing.first, Some(3 * (2 << 20)..4 * (2 << 20)));
        assert_eq!(found.extra.count, 1);
        assert!(!found.is_exact());
        assert!(disk.compare(&disk).is_exact());
        let longer = Bitmap::new(ZVHD2_SECTION, 65 * GIB).unwrap();
        assert!(
            !longer
                .compare(&Bitmap::new(ZVHD2_SECTION, GIB).unwrap())
                .is_exact()
        );
    }
}
