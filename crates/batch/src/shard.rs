//! Which items are whose when workers share a batch without talking: worker `i` of `n`.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use crate::item::Item;

/// Worker `index` (from 1) of `count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Its number, from 1.
    pub index: usize,
    /// How many there are.
    pub count: usize,
}

impl Shard {
    /// The items of this worker, in the manifest's order.
    ///
    /// What belongs together (a group, or an item without one) goes to the workers in turn, in the
    /// order in which it is first named. So every worker that reads the same manifest gets the same
    /// answer, each item has exactly one worker, and the disks of one server stay with one worker.
    #[must_use]
    pub fn select(self, items: &[Item]) -> Vec<&Item> {
        let mut units: HashMap<&str, usize> = HashMap::new();
        let mut next = 0_usize;
        let mut chosen = Vec::new();
        for item in items {
            let number = match item.group.as_deref() {
                Some(group) => *units.entry(group).or_insert_with(|| advance(&mut next)),
                None => advance(&mut next),
            };
            let worker = number.checked_rem(self.count);
            if worker.is_some_and(|worker| worker.checked_add(1) == Some(self.index)) {
                chosen.push(item);
            }
        }
        chosen
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Schedulers count from 0 and have no arithmetic: 2+1/8 is 3/8.
        let index = |text: &str| -> Option<usize> {
            text.split('+')
                .map(|number| number.parse::<usize>().ok())
                .try_fold(0_usize, |sum, number| sum.checked_add(number?))
        };
        let parsed = text
            .split_once('/')
            .and_then(|(left, count)| Some((index(left)?, count.parse().ok()?)));
        match parsed {
            Some((index, count)) if (1..=count).contains(&index) => Ok(Self { index, count }),
            Some((index, count)) => Err(format!(
                "worker {index} of {count} cannot be; workers are counted from 1, as in 1/{count}"
            )),
            None => Err("expected I/N, such as 3/8".into()),
        }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

fn advance(next: &mut usize) -> usize {
    let number = *next;
    *next = next.saturating_add(1);
    number
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::item;

    fn items(groups: &[Option<u8>]) -> Vec<Item> {
        let mut items = Vec::new();
        for (index, group) in groups.iter().enumerate() {
            let mut item = item(&format!("disk{index}"));
            item.group = group.map(|group| format!("server{group}"));
            items.push(item);
        }
        items
    }

    proptest! {
        #[test]
        fn each_item_has_one_worker_and_a_server_stays_together(
            groups in prop::collection::vec(prop::option::of(0_u8..6), 0..40),
            count in 1_usize..9,
        ) {
            let items = items(&groups);
            let mut worker = HashMap::new();
            let mut seen = 0;
            for index in 1..=count {
                for item in (Shard { index, count }).select(&items) {
                    seen += 1;
                    if let Some(group) = &item.group {
                        prop_assert_eq!(*worker.entry(group.clone()).or_insert(index), index);
                    }
                }
            }
            prop_assert_eq!(seen, items.len());
        }
    }

    #[test]
    fn items_without_a_group_are_dealt_out_evenly() {
        let items = items(&[None; 10]);
        let of = |index, count| Shard { index, count }.select(&items).len();
        let counts: Vec<_> = (1..=4).map(|index| of(index, 4)).collect();
        assert_eq!(counts, [3, 3, 2, 2]);
        assert_eq!((of(1, 0), of(5, 4)), (0, 0));
    }

    #[test]
    fn shards_are_counted_from_one() {
        assert_eq!("3/8".parse(), Ok(Shard { index: 3, count: 8 }));
        assert_eq!("2+1/8".parse(), Ok(Shard { index: 3, count: 8 }));
        assert!("2+/8".parse::<Shard>().is_err());
        assert!("0/8".parse::<Shard>().is_err());
        assert!("9/8".parse::<Shard>().is_err());
        assert!("3".parse::<Shard>().is_err());
    }
}
