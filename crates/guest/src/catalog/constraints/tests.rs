use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::super::rules;
use super::*;
use crate::Source;

fn all() -> impl Iterator<Item = &'static Constraint> {
    CONSTRAINTS.iter().flat_map(|(_, part)| *part)
}

#[test]
fn every_rule_of_the_table_exists_and_every_rule_of_the_documents_is_in_it() {
    let named: BTreeSet<&str> = all().flat_map(|one| one.rules).copied().collect();
    let known: BTreeSet<&str> = rules().map(|rule| rule.id).collect();
    assert_eq!(named.difference(&known).collect::<Vec<_>>(), [&""; 0]);
    for rule in rules().filter(|rule| rule.source == Source::Vendor) {
        assert!(named.contains(rule.id), "{} is not in the table", rule.id);
    }
}

#[test]
fn every_constraint_has_a_test_and_a_rule_or_a_reason() {
    for one in all() {
        assert!(!one.tests.is_empty(), "{}", one.text);
        assert!(
            !one.rules.is_empty() || !one.note.is_empty(),
            "{}",
            one.text
        );
    }
}

/// The names of tests in the file or directory at `path`.
fn tests_below(path: PathBuf, found: &mut BTreeSet<String>) {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            tests_below(entry.unwrap().path(), found);
        }
    } else if path.extension().is_some_and(|end| end == "rs") {
        let text = std::fs::read_to_string(path).unwrap();
        let mut marked = false;
        for line in text.lines().map(str::trim_start) {
            marked |= line.starts_with("#[test") || line.starts_with("#[tokio::test");
            let name = line
                .split("fn ")
                .nth(1)
                .and_then(|rest| rest.split('(').next());
            if let Some(name) = name.filter(|_| marked) {
                found.insert(name.to_owned());
                marked = false;
            }
        }
    }
}

#[test]
fn every_test_of_the_table_exists() {
    let mut found = BTreeSet::new();
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for name in ["guest", "import", "obs", "cli"] {
        for part in ["src", "tests"] {
            tests_below(crates.join(name).join(part), &mut found);
        }
    }
    for one in all() {
        for test in one.tests {
            assert!(
                found.contains(*test),
                "{}: there is no test {test}",
                one.text
            );
        }
    }
}
