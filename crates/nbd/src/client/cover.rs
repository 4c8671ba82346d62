//! Which bytes of a request were answered: each once, and in the end all.

/// Stretches that were answered, in order, none touching another.
#[derive(Debug, Default)]
pub(crate) struct Cover {
    stretches: Vec<(u64, u64)>,
}

impl Cover {
    /// Adds `start..end`; `false` when it is empty or some of it was there before.
    pub(crate) fn add(&mut self, start: u64, end: u64) -> bool {
        if start >= end {
            return false;
        }
        let at = self.stretches.partition_point(|(_, last)| *last < start);
        // The first that ends at `start` or after it.
        let joins_left = self
            .stretches
            .get(at)
            .is_some_and(|(_, last)| *last == start);
        let next = if joins_left { at + 1 } else { at };
        let joins_right = match self.stretches.get(next) {
            Some((first, _)) if *first < end => return false,
            Some((first, _)) => *first == end,
            None => false,
        };
        let merged = (
            if joins_left {
                self.stretches.get(at).map_or(start, |left| left.0)
            } else {
                start
            },
            if joins_right {
                self.stretches.get(next).map_or(end, |right| right.1)
            } else {
                end
            },
        );
        let until = if joins_right { next + 1 } else { next };
        self.stretches.splice(at..until, [merged]);
        true
    }

    /// Whether all of `start..end` is there.
    pub(crate) fn is_whole(&self, start: u64, end: u64) -> bool {
        start == end || self.stretches == [(start, end)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_agrees_with_a_list_of_bytes() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..2000 {
            let mut cover = Cover::default();
            let mut bytes = [false; 24];
            for _ in 0..12 {
                let start = random.usize(0..24);
                let end = random.usize(0..=24);
                let fresh = start < end && bytes[start..end].iter().all(|byte| !byte);
                assert_eq!(cover.add(start as u64, end as u64), fresh, "{start}..{end}");
                if fresh {
                    bytes[start..end].fill(true);
                }
            }
            let whole = bytes.iter().all(|byte| *byte);
            assert_eq!(cover.is_whole(0, 24), whole, "{cover:?}");
        }
    }
}
