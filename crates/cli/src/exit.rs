//! How a failure ends the program: its text and JSON, and the exit code by its class.

use std::process::ExitCode;

use serde_json::{Value, json};

use cloud::Failure;

use crate::hints;

/// The exit code of a command that failed, as documented in the README.
pub(crate) fn of(failure: &Failure) -> ExitCode {
    failure.class().code().into()
}

/// For people, in several lines.
pub(crate) fn text(failure: &Failure) -> String {
    // A text of several lines is indented, so that no name in it passes for a line of its own.
    let inside = |text: &str| text.replace('\n', "\n    ");
    let mut text = format!("error: {}", inside(failure.message()));
    for cause in failure.causes() {
        text.push_str(&format!("\n  caused by: {}", inside(cause)));
    }
    for problem in failure.problems() {
        text.push_str(&format!("\nnote: {}", inside(&hints::problem(problem))));
    }
    for note in failure.notes() {
        text.push_str(&format!("\nnote: {}", inside(note)));
    }
    for hint in failure.hints() {
        text.push_str(&format!("\nhint: {}", inside(&hints::text(hint))));
    }
    text
}

/// For `--json`: the object that stands on standard output instead of a result.
pub(crate) fn json(failure: &Failure) -> Value {
    let mut object = failure.known().clone();
    let problems = || failure.problems().iter();
    let hints = failure.hints().iter();
    let hints = hints.chain(problems().filter_map(|problem| problem.hint.as_ref()));
    let hints: Vec<String> = hints.map(hints::text).collect();
    let notes = problems().map(|problem| &problem.message);
    let notes: Vec<&String> = notes.chain(failure.notes()).collect();
    object.insert(
        "error".to_owned(),
        json!({
            "message": failure.message(),
            "causes": failure.causes(),
            "hints": hints,
            "notes": notes,
            "exit_code": failure.class().code(),
        }),
    );
    Value::Object(object)
}
