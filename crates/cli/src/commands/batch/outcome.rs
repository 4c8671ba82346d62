//! How an import ended, as batches and their reports tell it.

use ::batch::{Item, ItemOutcome, ItemState};
use serde_json::Value;

use crate::commands::import::Ended;
use crate::exit::{Exit, Failure, code};
use crate::hints;

/// Longest text of an outcome that is written down, in bytes: a frame of the journal has an end.
const LONGEST: usize = 4000;

/// The outcome of an item of which nothing is known yet.
pub(super) fn blank(item: &Item, worker: Option<&str>) -> ItemOutcome {
    ItemOutcome {
        id: item.id.clone(),
        group: item.group.clone(),
        name: item.name.clone(),
        source: item.source.display().to_string(),
        bucket: item.bucket.clone(),
        key: item.object_key(),
        worker: worker.map(str::to_owned),
        ..ItemOutcome::default()
    }
}

/// What an import came to that did not fail.
pub(super) fn of(mut outcome: ItemOutcome, ended: &Ended) -> ItemOutcome {
    let json = ended.json();
    let text = |name: &str| json.get(name).and_then(Value::as_str).map(str::to_owned);
    let uploaded = |name: &str| {
        let value = json.get("uploaded").and_then(|uploaded| uploaded.get(name));
        value.and_then(Value::as_u64).unwrap_or_default()
    };
    let number = |name: &str| json.get(name).and_then(Value::as_u64);
    outcome.image_id = text("image_id");
    outcome.job_id = text("job_id");
    outcome.digest = text("digest").or_else(|| text("image_digest"));
    outcome.virtual_size = number("virtual_size").or(outcome.virtual_size);
    outcome.read_bytes = number("read_bytes").unwrap_or_default();
    outcome.sent_bytes = uploaded("sent_bytes");
    outcome.kept_bytes = uploaded("kept_bytes");
    outcome.retries = uploaded("retries");
    if let Some(key) = text("key") {
        outcome.key = key;
    }
    let reused = json.get("reused").and_then(Value::as_bool) == Some(true);
    outcome.state = match &outcome.image_id {
        _ if json.get("register").and_then(Value::as_str) == Some("none") => ItemState::Uploaded,
        _ if reused => ItemState::Adopted,
        _ => ItemState::Active,
    };
    let warnings = json.get("warnings").and_then(Value::as_array);
    let warnings = warnings.into_iter().flatten().filter_map(Value::as_str);
    outcome.warnings.extend(warnings.map(str::to_owned));
    outcome
}

/// What became of an item that failed.
pub(super) fn failed(mut outcome: ItemOutcome, failure: &Failure) -> ItemOutcome {
    outcome.state = match failure.class() {
        Exit::Refused => ItemState::Refused,
        Exit::Interrupted => ItemState::Cancelled,
        Exit::Cloud | Exit::Io | Exit::Mismatch => ItemState::Failed,
    };
    outcome.exit = code(failure.class());
    outcome.cause = Some(failure.line());
    outcome.hint = match failure.hints() {
        [] => None,
        advice => Some({
            let words: Vec<String> = advice.iter().map(hints::text).collect();
            words.join("; ")
        }),
    };
    outcome.warnings.extend(failure.notes().iter().cloned());
    outcome
}

/// The outcome as it is written down: whole, but for texts without end.
pub(super) fn short(outcome: &ItemOutcome) -> ItemOutcome {
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

    #[test]
    fn what_is_written_down_fits_a_frame() {
        let outcome = ItemOutcome {
            cause: Some("ä".repeat(100_000)),
            warnings: vec!["w".repeat(100_000); 100],
            ..ItemOutcome::default()
        };
        let bytes = serde_json::to_vec(&short(&outcome)).unwrap();
        assert!(bytes.len() < 32 << 10, "{}", bytes.len());
    }
}
