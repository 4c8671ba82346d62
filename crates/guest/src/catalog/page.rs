//! The page of the manual about guests: an introduction, and every rule from the tables.

use std::fmt::Write as _;

use super::constraints::{CONSTRAINTS, Constraint};
use super::rules;
use crate::{Rule, Source};

/// Columns of a line.
const WIDTH: usize = 100;

/// Titles of the page's parts, and the beginnings of the names of their rules.
const PARTS: &[(&str, &[&str])] = &[
    (
        "Disk",
        &["inspect-", "disk-", "fs-", "btrfs-", "md-", "lvm-"],
    ),
    ("Boot", &["boot-", "arch-", "cpu-"]),
    ("Linux", &["linux-"]),
    ("Windows", &["windows-"]),
    ("Cloud", &["cloud-"]),
];

/// The Markdown of `docs/guest.md`.
pub fn rules_page() -> String {
    let mut page = include_str!("intro.md").to_owned();
    constraints(&mut page);
    for (title, beginnings) in PARTS {
        let _ = write!(page, "\n## {title}\n");
        for rule in rules() {
            if beginnings
                .iter()
                .any(|beginning| rule.id.starts_with(beginning))
            {
                section(&mut page, rule);
            }
        }
    }
    page
}

/// What the documents ask for, and what stands for it.
fn constraints(page: &mut String) {
    page.push_str(include_str!("constraints.md"));
    for (title, part) in CONSTRAINTS {
        let _ = write!(
            page,
            "\n### {title}\n\n| asked for | by | rules | tests |\n|---|---|---|---|\n"
        );
        for one in *part {
            let Constraint { text, by, .. } = one;
            let rules = one.rules.iter().map(|id| format!("[`{id}`](#{id})"));
            let note = (!one.note.is_empty()).then(|| one.note.to_owned());
            let rules: Vec<String> = rules.chain(note).collect();
            let tests: Vec<String> = one.tests.iter().map(|name| format!("`{name}`")).collect();
            let _ = writeln!(
                page,
                "| {text} | {by} | {} | {} |",
                rules.join(", "),
                tests.join(", ")
            );
        }
    }
}

fn section(page: &mut String, rule: &Rule) {
    let by = match rule.source {
        Source::Vendor => "the cloud's documents",
        Source::Peer => "other tools",
        Source::Own => "imgferry",
    };
    let cite = match rule.cite {
        "" => String::new(),
        cite => format!(" ({cite})"),
    };
    let asked = format!(
        "**{}**, asked for by {by}{cite}.",
        capital(rule.severity.name())
    );
    let _ = write!(
        page,
        "\n### `{}`\n\n{}\n\n{}\n",
        rule.id,
        wrapped(&asked),
        wrapped(rule.text)
    );
    let remedy = &rule.remedy;
    let own = [
        ("Red Hat and what is built like it", remedy.red_hat),
        ("Red Hat up to release 6", remedy.old_red_hat),
        ("Debian, Ubuntu", remedy.debian),
        ("SUSE", remedy.suse),
        ("SUSE up to release 11", remedy.old_suse),
    ];
    let mut blocks: Vec<(&str, &[&str])> = own.to_vec();
    blocks.retain(|(_, commands)| !commands.is_empty());
    for others in [remedy.linux, remedy.windows] {
        if !others.is_empty() {
            blocks.push((if blocks.is_empty() { "" } else { "Others" }, others));
        }
    }
    for (name, commands) in blocks {
        if !name.is_empty() {
            let _ = write!(page, "\n{name}:\n");
        }
        let _ = write!(page, "\n```text\n{}\n```\n", commands.join("\n"));
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}

/// `text` in lines of at most [`WIDTH`] columns.
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last().map_or(0, |line| line.chars().count());
        if line > 0 && line + 1 + word.chars().count() > WIDTH {
            lines.push(word.to_owned());
        } else if let Some(last) = lines.last_mut() {
            if line > 0 {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_a_place_on_the_page() {
        let page = rules_page();
        for rule in rules() {
            let heading = format!("### `{}`\n", rule.id);
            assert_eq!(page.matches(&heading).count(), 1, "{}", rule.id);
        }
    }

    #[test]
    fn prose_on_the_page_is_wrapped_and_commands_are_not() {
        let mut commands = false;
        for line in rules_page().lines() {
            commands ^= line.starts_with("```");
            assert!(
                commands || line.chars().count() <= WIDTH || line.starts_with('|'),
                "{line}"
            );
        }
    }
}
