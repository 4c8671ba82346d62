//! All rules, in the order in which they are judged and documented.

mod constraints;
mod page;

pub use self::page::rules_page;
use crate::Rule;

/// The tables of the areas: one line each.
const TABLES: &[&[Rule]] = &[
    crate::disk::RULES,
    crate::start::firmware::RULES,
    crate::start::bios::RULES,
    crate::start::efi::rules::RULES,
    crate::linux::rules::RULES,
    crate::linux::boot::rules::RULES,
    crate::linux::kernel::rules::RULES,
    crate::linux::storage::mounts::RULES,
    crate::linux::storage::mapping::RULES,
    crate::linux::network::reach::RULES,
    crate::linux::network::binding::RULES,
    crate::linux::network::lease::RULES,
    crate::linux::login::passwords::RULES,
    crate::linux::login::metadata::RULES,
    crate::linux::login::access::RULES,
    crate::linux::leftovers::rules::RULES,
    crate::windows::virtio::RULES,
    crate::windows::filters::RULES,
    crate::windows::boot::RULES,
    crate::windows::settings::RULES,
    crate::windows::pagefile::RULES,
    crate::windows::leftovers::RULES,
    crate::names::RULES,
];

/// Every rule that a disk is held against.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    TABLES.iter().copied().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_rules_share_a_name_and_every_text_is_a_sentence() {
        let mut names: Vec<&str> = rules().map(|rule| rule.id).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
        for rule in rules() {
            assert!(rule.text.ends_with('.'), "{}", rule.id);
            assert!(!rule.text.contains("  "), "{}", rule.id);
        }
    }
}
