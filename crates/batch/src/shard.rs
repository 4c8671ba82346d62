//! Which items are whose when workers share a batch without talking: worker `i` of `n`.

use std::collections::HashMap;

use crate::item::Item;

/// The items of worker `index` (from 0) of `count`, in the manifest's order.
///
/// What belongs together (a group, or an item without one) goes to the workers in turn, in the
/// order in which it is first named. So every worker that reads the same manifest gets the same
/// answer, each item has exactly one worker, and the disks of one server stay with one worker.
#[must_use]
pub fn select(items: &[Item], index: usize, count: usize) -> Vec<&Item> {
    let mut units: HashMap<&str, usize> = HashMap::new();
    let mut next = 0_usize;
    let mut chosen = Vec::new();
    for item in items {
        let number = match item.group.as_deref() {
            Some(group) => *units.entry(group).or_insert_with(|| advance(&mut next)),
            None => advance(&mut next),
        };
        if number.checked_rem(count) == Some(index) {
            chosen.push(item);
        }
    }
    chosen
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
            for index in 0..count {
                for item in select(&items, index, count) {
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
        let counts: Vec<_> = (0..4).map(|index| select(&items, index, 4).len()).collect();
        assert_eq!(counts, [3, 3, 2, 2]);
        assert!(select(&items, 0, 0).is_empty());
        assert!(select(&items, 4, 4).is_empty());
    }
}
