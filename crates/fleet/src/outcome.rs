//! How an import ended, as batches and their reports tell it.

use std::path::Path;

use batch::{Item, ItemOutcome, ItemState, Readiness};
use cloud::{Class, Failure, Hint, ImportHint};
use diskimg::text::shell_path;
use import::{Completion, DataImage};
use serde_json::Value;

use crate::observe::Observer;

/// Longest text of an outcome that is written down, in bytes: a frame of the journal has an end.
const LONGEST: usize = 4000;
/// Longest texts that are taken from another worker's marker, in characters.
const LONGEST_WORKER: usize = 64;
const LONGEST_ID: usize = 128;

/// The outcome of an item of which nothing is known yet.
pub(crate) fn blank(item: &Item, worker: Option<&str>) -> ItemOutcome {
    ItemOutcome {
        id: item.id.clone(),
        group: item.group.clone(),
        name: item.name.clone(),
        source: import::public_name(&item.source).display().to_string(),
        bucket: item.bucket.clone(),
        key: item.object_key(),
        worker: worker.map(str::to_owned),
        ..ItemOutcome::default()
    }
}

/// The outcome of an item that another worker has done, by what its `marker` in the bucket says.
/// Whoever may write to the bucket may have written that: it decides nothing about the item.
pub(crate) fn elsewhere(item: &Item, marker: Option<&ItemOutcome>) -> ItemOutcome {
    let of = |part: fn(&ItemOutcome) -> Option<&String>, most: usize| -> Option<String> {
        let text: String = marker.and_then(part)?.chars().take(most).collect();
        (!text.is_empty()).then_some(text)
    };
    let worker = of(|marker| marker.worker.as_ref(), LONGEST_WORKER);
    let by = worker.as_deref().unwrap_or("another worker");
    ItemOutcome {
        state: ItemState::Skipped,
        cause: Some(format!("done by {by}")),
        format: of(|marker| marker.format.as_ref(), LONGEST_ID),
        virtual_size: marker.and_then(|marker| marker.virtual_size),
        image_id: of(|marker| marker.image_id.as_ref(), LONGEST_ID),
        job_id: of(|marker| marker.job_id.as_ref(), LONGEST_ID),
        digest: of(|marker| marker.digest.as_ref(), LONGEST_ID),
        ..blank(item, worker.as_deref())
    }
}

/// What an import came to that did not fail.
pub(crate) fn of(mut outcome: ItemOutcome, ended: &import::Outcome) -> ItemOutcome {
    let (content, uploaded) = (ended.content.as_ref(), ended.uploaded.as_ref());
    outcome.image_id.clone_from(&ended.image_id);
    let data = || ended.data_images.iter();
    outcome.data_image_ids = data().filter_map(|data| data.image_id.clone()).collect();
    let all = |own: u64, of: fn(&DataImage) -> u64| data().map(of).fold(own, u64::saturating_add);
    outcome.job_id.clone_from(&ended.job_id);
    outcome.digest = content
        .map(|content| content.digest.to_string())
        .or_else(|| ended.image_digest.clone());
    outcome.virtual_size = content
        .map(|content| content.virtual_size)
        .or(outcome.virtual_size);
    let read = content.map_or(0, |content| content.read_bytes);
    let sent = uploaded.map_or(0, |uploaded| uploaded.sent_bytes);
    let kept = uploaded.map_or(0, |uploaded| uploaded.kept_bytes);
    outcome.read_bytes = all(read, |data| data.read_bytes);
    outcome.sent_bytes = all(sent, |data| data.sent_bytes);
    outcome.kept_bytes = all(kept, |data| data.kept_bytes);
    outcome.retries = uploaded.map_or(0, |uploaded| uploaded.retries);
    outcome.key.clone_from(&ended.key);
    outcome.state = match ended.result {
        Completion::AlreadyImported | Completion::Skipped => ItemState::Skipped,
        Completion::Stored => ItemState::Uploaded,
        _ if ended.reused => ItemState::Adopted,
        Completion::Imported | Completion::Started => ItemState::Active,
    };
    let generation = ended.generation();
    let generation = generation.map(|number| format!("generation {number} uploaded"));
    outcome.cause = ended.nothing_done().or(generation);
    outcome.warnings.extend(ended.warnings.iter().cloned());
    outcome
}

/// What became of an item that failed.
pub(crate) fn failed(
    mut outcome: ItemOutcome,
    failure: &Failure,
    observer: &dyn Observer,
) -> ItemOutcome {
    outcome.state = match failure.class() {
        Class::Refused => ItemState::Refused,
        Class::Interrupted => ItemState::Cancelled,
        Class::Cloud | Class::Io | Class::Mismatch => ItemState::Failed,
    };
    outcome.exit = failure.class().code();
    outcome.cause = Some(cause(failure));
    outcome.hint = hint(failure, (&outcome.id, &outcome.source), observer);
    outcome.guest = outcome.guest.or_else(|| guest(failure));
    let (format, virtual_size) = disk(failure);
    outcome.format = outcome.format.or(format);
    outcome.virtual_size = outcome.virtual_size.or(virtual_size);
    outcome.warnings.extend(notes(failure));
    outcome
}

/// Why it failed, in one line: each of several problems. Of the system on the disk only the names
/// of the rules that it breaks; [`notes`] has the rest.
pub(crate) fn cause(failure: &Failure) -> String {
    let problems = failure.problems().iter();
    let others = problems.filter(|problem| problem.hint.as_ref().and_then(rule).is_none());
    let others: Vec<&str> = others.map(|problem| problem.message.as_str()).collect();
    let rules = broken_rules(failure);
    let system = format!("the system on the disk breaks {}", rules.join(", "));
    match (rules.is_empty(), others.is_empty()) {
        (true, true) => failure.line(),
        (true, false) => format!("{}: {}", failure.line(), others.join("; ")),
        (false, true) => system,
        (false, false) => format!("{system}; {}", others.join("; ")),
    }
}

/// What else there is to say of a failure: how the system on the disk breaks the rules.
pub(crate) fn notes(failure: &Failure) -> Vec<String> {
    let problems = failure.problems().iter();
    let told = problems.filter(|problem| problem.hint.as_ref().and_then(rule).is_some());
    let mut notes: Vec<String> = told.map(|problem| problem.message.clone()).collect();
    if failure.hints().iter().any(|hint| rule(hint).is_some()) {
        notes.push(failure.message().to_owned());
    }
    notes.extend(failure.notes().iter().cloned());
    notes
}

/// The rule that the system on the disk breaks, if a hint is about that.
fn rule(hint: &Hint) -> Option<&'static str> {
    match hint {
        Hint::Import(ImportHint::MendGuest { rule, .. }) => Some(rule),
        _ => None,
    }
}

/// All hints of a failure, with those of its problems.
fn hints(failure: &Failure) -> impl Iterator<Item = &Hint> {
    let problems = failure.problems().iter();
    let hints = problems.filter_map(|problem| problem.hint.as_ref());
    hints.chain(failure.hints())
}

/// The rules for which the system on the disk was refused.
fn broken_rules(failure: &Failure) -> Vec<&'static str> {
    hints(failure).filter_map(rule).collect()
}

/// What was found of the system on a disk that was refused.
pub(crate) fn guest(failure: &Failure) -> Option<Readiness> {
    Readiness::read(failure.known().get("guest")?)
}

/// Format and size of a disk that was refused, when it was opened.
pub(crate) fn disk(failure: &Failure) -> (Option<String>, Option<u64>) {
    let known = failure.known();
    let format = known.get("format").and_then(Value::as_str);
    let size = known.get("virtual_size").and_then(Value::as_u64);
    (format.map(str::to_owned), size)
}

/// What the user can do about the disk with this id in this file, in one line: about each of several
/// problems.
pub(crate) fn hint(
    failure: &Failure,
    (id, file): (&str, &str),
    observer: &dyn Observer,
) -> Option<String> {
    let of = |hint: &Hint| {
        let restart = |replace| Hint::RestartDisk {
            id: id.to_owned(),
            replace,
        };
        match hint {
            Hint::Import(ImportHint::Restart) | Hint::Convert(convert::Hint::StartOver) => {
                observer.hint(&restart(false))
            }
            Hint::Import(ImportHint::RestartAndReplace) => observer.hint(&restart(true)),
            hint => observer.hint(hint),
        }
    };
    let others = hints(failure).filter(|hint| rule(hint).is_none());
    let mut told: Vec<String> = others.map(of).collect();
    let rules = broken_rules(failure);
    if !rules.is_empty() {
        let disk = shell_path(Path::new(file));
        told.push(of(&ImportHint::InspectGuest { disk, rules }.into()));
    }
    (!told.is_empty()).then(|| told.join("; "))
}

/// The outcome as it is written down: whole, but for texts without end.
pub(crate) fn short(outcome: &ItemOutcome) -> ItemOutcome {
    let cut = |text: &String| -> String { text.chars().take(LONGEST / 4).collect() };
    ItemOutcome {
        cause: outcome.cause.as_ref().map(cut),
        hint: outcome.hint.as_ref().map(cut),
        warnings: outcome.warnings.iter().take(5).map(cut).collect(),
        ..outcome.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Silent;

    #[test]
    fn the_cause_of_several_problems_is_each_of_them() {
        let failure = cloud::rejected(["no bucket".to_owned(), "no name".to_owned()]);
        let failed = failed(ItemOutcome::default(), &failure, &Silent);
        let cause = failed.cause.unwrap();
        assert_eq!(cause, "2 problems found: no bucket; no name");
        assert!(failed.warnings.is_empty(), "{:?}", failed.warnings);
    }

    #[test]
    fn what_is_wrong_with_a_system_is_told_once_and_not_in_the_cause() {
        let broken = |rule| cloud::Problem {
            message: format!("it will not boot ({rule}, will not boot)"),
            hint: Some(Hint::from(ImportHint::MendGuest {
                commands: vec!["dracut -f".to_owned()],
                rule,
            })),
        };
        let of = |problems: Vec<cloud::Problem>| {
            let blank = ItemOutcome {
                source: "a b.qcow2".to_owned(),
                ..ItemOutcome::default()
            };
            failed(blank, &cloud::rejected(problems), &Silent)
        };
        let one = of(vec![broken("a-rule")]);
        assert_eq!(
            one.cause.as_deref(),
            Some("the system on the disk breaks a-rule")
        );
        assert_eq!(one.warnings, ["it will not boot (a-rule, will not boot)"]);
        let all = of(vec![
            broken("a-rule"),
            "no bucket".to_owned().into(),
            broken("other"),
        ]);
        assert_eq!(
            all.cause.as_deref(),
            Some("the system on the disk breaks a-rule, other; no bucket")
        );
        assert_eq!(all.warnings.len(), 2);
        let hint = all.hint.unwrap();
        assert_eq!(hint, "look into 'a b.qcow2', or allow a-rule, other");
    }

    #[test]
    fn starting_over_is_said_with_the_id_of_the_disk() {
        for (hint, expected) in [
            (
                Hint::from(ImportHint::Restart),
                "start over with disk web01",
            ),
            (
                Hint::Convert(convert::Hint::StartOver),
                "start over with disk web01",
            ),
            (
                Hint::from(ImportHint::RestartAndReplace),
                "start over with disk web01, and replace its object",
            ),
        ] {
            let failure = Failure::new(Class::Refused, "of no use").hint(hint);
            let outcome = ItemOutcome {
                id: "web01".to_owned(),
                ..ItemOutcome::default()
            };
            let failed = failed(outcome, &failure, &Silent);
            assert_eq!(failed.hint.as_deref(), Some(expected));
        }
    }

    #[test]
    fn what_is_written_down_fits_a_frame() {
        // More rules than there are, each broken and undecided.
        let rule = serde_json::json!({
            "id": "r".repeat(40),
            "severity": "will-not-boot",
            "why": "w".repeat(1000),
            "fix": vec!["f".repeat(1000); 10],
        });
        let rules = vec![rule; 150];
        let broken = serde_json::json!({"os": null, "findings": rules, "unknown": rules});
        let outcome = ItemOutcome {
            cause: Some("ä".repeat(100_000)),
            warnings: vec!["w".repeat(100_000); 100],
            guest: Readiness::read(&broken),
            ..ItemOutcome::default()
        };
        let bytes = serde_json::to_vec(&short(&outcome)).unwrap();
        assert!(bytes.len() < 32 << 10, "{}", bytes.len());
    }
}
