//! A bitmap of clusters, of which a set bit is in use.

use std::ops::Range;

/// The bits of one group.
pub(crate) struct Bits {
    bytes: Vec<u8>,
    /// Bits that stand for clusters.
    count: u64,
}

impl Bits {
    /// The first `count` bits of `bytes`; what is missing counts as used.
    pub(crate) fn new(mut bytes: Vec<u8>, count: u64) -> Self {
        let whole = usize::try_from(count.div_ceil(64).saturating_mul(8)).unwrap_or_default();
        bytes.resize(whole, 0xff);
        let mut this = Self { bytes, count };
        // Behind the last cluster nothing is free.
        for bit in count..count.next_multiple_of(64) {
            this.set(bit);
        }
        this
    }

    fn byte(bit: u64) -> usize {
        usize::try_from(bit / 8).unwrap_or(usize::MAX)
    }

    /// Marks a cluster as used.
    pub(crate) fn set(&mut self, bit: u64) {
        if let Some(byte) = self.bytes.get_mut(Self::byte(bit)) {
            *byte |= 1 << (bit % 8);
        }
    }

    /// Whether a cluster is used.
    pub(crate) fn is_set(&self, bit: u64) -> bool {
        let byte = self.bytes.get(Self::byte(bit));
        bit >= self.count || byte.is_none_or(|byte| byte >> (bit % 8) & 1 == 1)
    }

    fn words(&self) -> impl Iterator<Item = u64> {
        let word = |bytes: &[u8]| bytes.first_chunk().copied().map(u64::from_le_bytes);
        self.bytes.chunks_exact(8).filter_map(word)
    }

    /// How many clusters are free.
    pub(crate) fn count(&self) -> u64 {
        self.words().map(|word| u64::from(word.count_zeros())).sum()
    }

    /// The runs of free clusters.
    pub(crate) fn runs(&self) -> Vec<Range<u64>> {
        let mut runs: Vec<Range<u64>> = Vec::new();
        let mut add = |run: Range<u64>| match runs.last_mut() {
            Some(last) if last.end == run.start => last.end = run.end,
            _ => runs.push(run),
        };
        for (at, word) in (0..).step_by(64).zip(self.words()) {
            let mut bit = 0;
            while bit < 64 {
                let rest = word >> bit;
                let used = u64::from(rest.trailing_ones());
                if bit + used >= 64 {
                    break;
                }
                bit += used;
                let free = u64::from((word >> bit).trailing_zeros()).min(64 - bit);
                add(at + bit..at + bit + free);
                bit += free;
            }
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_those_of_each_bit_alone() {
        let mut random = fastrand::Rng::with_seed(21);
        for round in 0..300 {
            let count = random.u64(1..500);
            let density = random.u8(..);
            let mut bytes = vec![0; 63];
            for byte in &mut bytes {
                *byte = match random.u8(..) < density {
                    true => random.u8(..),
                    false => [0, 0xff][usize::from(random.bool())],
                };
            }
            let bits = Bits::new(bytes.clone(), count);
            let mut expected = Vec::new();
            for bit in 0..count {
                let free = bytes[(bit / 8) as usize] >> (bit % 8) & 1 == 0;
                assert_eq!(bits.is_set(bit), !free);
                if free {
                    expected.push(bit);
                }
            }
            assert_eq!(bits.count(), expected.len() as u64, "{round}");
            let runs = bits.runs();
            assert!(runs.windows(2).all(|pair| pair[0].end < pair[1].start));
            let found: Vec<u64> = runs.into_iter().flatten().collect();
            assert_eq!(found, expected, "{round}");
            assert!(bits.is_set(count));
        }
    }
}
