//! How a stream of unknown length is cut into parts.
//!
//! Sizes follow a fixed schedule: they depend on the part's number only. So small objects stay in
//! small parts, an object of any length that this program can make fits in 10,000 parts, and the
//! same stream is always cut the same way.

const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

/// Parts that one object may have: a limit of the S3 protocol, and of OBS.
pub const MAX_PARTS: u32 = 10_000;
/// Smallest size of a part that is not the last one (the stricter of OBS's two manuals).
pub const MIN_PART_SIZE: u64 = 5 * MIB;
/// Smallest size of such a part on OBS, by its other manual. S3 and most other servers refuse it.
pub const OBS_MIN_PART_SIZE: u64 = 100 << 10;

/// A run of parts that have the same size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tier {
    /// How many parts.
    pub parts: u32,
    /// Bytes of each.
    pub size: u64,
}

/// The schedule of every upload. Two of the parts of a disk of less than 64 GiB take at most a
/// quarter of the memory that an import has by default; beyond that, parts are as small as 10,000
/// of them allow.
pub const STANDARD: Schedule = Schedule::new(&[
    Tier {
        parts: 1024,
        size: 8 * MIB,
    },
    Tier {
        parts: 1536,
        size: 16 * MIB,
    },
    Tier {
        parts: 1088,
        size: 32 * MIB,
    },
    Tier {
        parts: MAX_PARTS - 3648,
        size: 160 * MIB,
    },
]);

/// Upper bound of a ZVHD2 file that holds 1 TiB of data nobody can compress: each block of 2 MiB
/// with two pages of 4 KiB for header and alignment, and 1 GiB for index, bitmap and footers (the
/// index takes 16 bytes a block, 8 MiB in all).
pub const LARGEST_IMAGE: u64 = TIB / (2 * MIB) * (2 * MIB + 8192) + 1024 * MIB;

const _: () = assert!(STANDARD.capacity() >= LARGEST_IMAGE);
const _: () = assert!(STANDARD.parts() <= MAX_PARTS);

/// Part sizes by part number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    tiers: Tiers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tiers {
    Fixed(&'static [Tier]),
    Uniform(Tier),
}

impl Schedule {
    /// A schedule of `tiers`, in this order.
    #[must_use]
    pub const fn new(tiers: &'static [Tier]) -> Self {
        Self {
            tiers: Tiers::Fixed(tiers),
        }
    }

    /// A schedule of parts that all have the same size.
    #[must_use]
    pub const fn uniform(tier: Tier) -> Self {
        Self {
            tiers: Tiers::Uniform(tier),
        }
    }

    const fn tiers(&self) -> &[Tier] {
        match &self.tiers {
            Tiers::Fixed(tiers) => tiers,
            Tiers::Uniform(tier) => std::slice::from_ref(tier),
        }
    }

    /// Bytes of part `number` (from 1) when it is not the last; `None` past the last part.
    #[must_use]
    pub fn size(&self, number: u32) -> Option<u64> {
        let mut before = number.checked_sub(1)?;
        for tier in self.tiers() {
            match before.checked_sub(tier.parts) {
                Some(rest) => before = rest,
                None => return Some(tier.size),
            }
        }
        None
    }

    /// Where part `number` (from 1) begins; `None` past the end of the last part.
    #[must_use]
    pub fn start(&self, number: u32) -> Option<u64> {
        let (mut before, mut start) = (number.checked_sub(1)?, 0_u64);
        for tier in self.tiers() {
            let here = before.min(tier.parts);
            start = start.saturating_add(u64::from(here).saturating_mul(tier.size));
            before -= here;
        }
        (before == 0).then_some(start)
    }

    /// Bytes that all parts hold together.
    #[must_use]
    pub const fn capacity(&self) -> u64 {
        let mut sum = 0_u64;
        let mut rest = self.tiers();
        while let [tier, tail @ ..] = rest {
            sum = sum.saturating_add((tier.parts as u64).saturating_mul(tier.size));
            rest = tail;
        }
        sum
    }

    /// How many parts there are.
    #[must_use]
    pub const fn parts(&self) -> u32 {
        let mut sum = 0_u32;
        let mut rest = self.tiers();
        while let [tier, tail @ ..] = rest {
            sum = sum.saturating_add(tier.parts);
            rest = tail;
        }
        sum
    }

    /// Bytes of memory that a stream of up to `len` bytes needs: one part is filled while the one
    /// before it is being sent, so this is the largest sum of two neighbours.
    #[must_use]
    pub fn memory(&self, len: u64) -> u64 {
        let mut rest = len;
        let mut before = 0_u64;
        let mut most = 0_u64;
        for number in 1..=self.parts() {
            let Some(size) = self.size(number) else { break };
            let size = size.min(rest);
            most = before.saturating_add(size).max(most);
            before = size;
            rest = rest.saturating_sub(size);
            if rest == 0 {
                break;
            }
        }
        most
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn sizes_change_where_the_documentation_says() {
        let size = |number| STANDARD.size(number).map(|size| size / MIB);
        assert_eq!(size(0), None);
        assert_eq!(size(1), Some(8));
        assert_eq!(size(1024), Some(8));
        assert_eq!(size(1025), Some(16));
        assert_eq!(size(2560), Some(16));
        assert_eq!(size(2561), Some(32));
        assert_eq!(size(3648), Some(32));
        assert_eq!(size(3649), Some(160));
        assert_eq!(size(10_000), Some(160));
        assert_eq!(size(10_001), None);
    }

    #[test]
    fn capacity_is_the_sum_of_all_parts() {
        let sum: u64 = (1..=MAX_PARTS).map(|n| STANDARD.size(n).unwrap()).sum();
        assert_eq!(sum, STANDARD.capacity());
        assert!(sum > LARGEST_IMAGE);
    }

    #[test]
    fn every_part_is_large_enough_for_the_server() {
        for number in 1..=MAX_PARTS {
            assert!(STANDARD.size(number).unwrap() >= MIN_PART_SIZE);
        }
    }

    #[test]
    fn small_streams_need_little_memory() {
        assert_eq!(STANDARD.memory(0), 0);
        assert_eq!(STANDARD.memory(MIB), MIB);
        assert_eq!(STANDARD.memory(8 * MIB + 1), 8 * MIB + 1);
        assert_eq!(STANDARD.memory(1024 * MIB), 16 * MIB);
        assert_eq!(STANDARD.memory(8 * GIB + 8 * MIB), 16 * MIB);
        assert_eq!(STANDARD.memory(32 * GIB), 32 * MIB);
        assert_eq!(STANDARD.memory(66 * GIB), 64 * MIB);
        assert_eq!(STANDARD.memory(LARGEST_IMAGE), 320 * MIB);
    }

    proptest! {
        #[test]
        fn memory_covers_any_two_neighbours(len in 0..=STANDARD.capacity(), number in 1..MAX_PARTS) {
            let start: u64 = (1..number).map(|n| STANDARD.size(n).unwrap()).sum();
            let here = STANDARD.size(number).unwrap().min(len.saturating_sub(start));
            let next = STANDARD.size(number + 1).unwrap().min(len.saturating_sub(start + here));
            prop_assert!(STANDARD.memory(len) >= here + next);
            prop_assert!(STANDARD.memory(len) <= len);
        }

        #[test]
        fn a_longer_stream_never_needs_less(a in 0..=STANDARD.capacity(), b in 0..=STANDARD.capacity()) {
            prop_assert!(STANDARD.memory(a.min(b)) <= STANDARD.memory(a.max(b)));
        }
    }
}
