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
    let hints: Vec<String> = failure.hints().iter().map(hints::text).collect();
    object.insert(
        "error".to_owned(),
        json!({
            "message": failure.message(),
            "causes": failure.causes(),
            "hints": hints,
            "notes": failure.notes(),
            "exit_code": failure.class().code(),
        }),
    );
    Value::Object(object)
}
