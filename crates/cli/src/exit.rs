//! How a command ends: the error that the user sees, its hints, and the exit code by cause.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::process::ExitCode;

use diskimg::ErrorKind;
use serde::Serialize;

use crate::commands::import::from_obs;
use serde_json::{Value, json};

/// Exit codes, as documented in the README. 0 is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Wrong usage, or input that is refused.
    Refused = 2,
    /// The cloud refused or failed.
    Cloud = 3,
    /// I/O or network failure, after retries.
    Io = 4,
    /// Content differs from what it must be.
    Mismatch = 5,
    /// Interrupted by a signal.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error on its way to the user.
#[derive(Debug)]
pub(crate) struct Failure(Box<Inner>);

#[derive(Debug)]
struct Inner {
    exit: Exit,
    message: String,
    causes: Vec<String>,
    hints: Vec<String>,
    notes: Vec<String>,
    data: serde_json::Map<String, Value>,
    /// Whether standard output has it already.
    is_told: bool,
}

/// What commands return.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// An error without a deeper cause.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            exit,
            message: message.into(),
            causes: Vec::new(),
            hints: Vec::new(),
            notes: Vec::new(),
            data: serde_json::Map::new(),
            is_told: false,
        }))
    }

    /// `error` with its chain of causes.
    pub(crate) fn from_error(exit: Exit, error: &(dyn StdError + 'static)) -> Self {
        let mut failure = Self::new(exit, error.to_string());
        let mut cause = error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // Wrappers that pass their source's text on would print it twice.
            if failure.0.causes.last().unwrap_or(&failure.0.message) != &text {
                failure.0.causes.push(text);
            }
            cause = error.source();
        }
        failure
    }

    /// Adds what the user can do.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hints.push(hint.into());
        self
    }

    /// Adds what the user can do, if anything.
    pub(crate) fn maybe_hint(self, hint: Option<&str>) -> Self {
        match hint {
            Some(hint) => self.hint(hint),
            None => self,
        }
    }

    /// Adds something that happened afterwards, such as a clean-up that failed as well.
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.0.notes.push(note.into());
        self
    }

    /// Puts what was being done in front; what was the message becomes the first cause.
    pub(crate) fn context(mut self, doing: impl Into<String>) -> Self {
        let message = std::mem::replace(&mut self.0.message, doing.into());
        self.0.causes.insert(0, message);
        self
    }

    /// Adds what is known all the same, for `--json`.
    pub(crate) fn data(mut self, name: &str, data: &impl Serialize) -> Self {
        if let Ok(value) = serde_json::to_value(data) {
            self.0.data.insert(name.to_owned(), value);
        }
        self
    }

    /// Says that the result on standard output tells of it: with `--json` it is the only one.
    pub(crate) fn told(mut self) -> Self {
        self.0.is_told = true;
        self
    }

    pub(crate) fn is_told(&self) -> bool {
        self.0.is_told
    }

    pub(crate) fn notes(&self) -> &[String] {
        &self.0.notes
    }

    pub(crate) fn hints(&self) -> &[String] {
        &self.0.hints
    }

    /// Message and causes in one line.
    pub(crate) fn line(&self) -> String {
        let mut line = self.0.message.clone();
        for cause in &self.0.causes {
            line.push_str(": ");
            line.push_str(cause);
        }
        line
    }

    /// The error itself, without causes, hints and notes.
    pub(crate) fn message(&self) -> &str {
        &self.0.message
    }

    pub(crate) fn exit(&self) -> Exit {
        self.0.exit
    }

    /// For `--json`: the object that stands on standard output instead of a result.
    pub(crate) fn json(&self) -> Value {
        let mut object = self.0.data.clone();
        object.insert(
            "error".to_owned(),
            json!({
                "message": self.0.message,
                "causes": self.0.causes,
                "hints": self.0.hints,
                "notes": self.0.notes,
                "exit_code": self.0.exit as u8,
            }),
        );
        Value::Object(object)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A text of several lines is indented, so that no name in it passes for a line of its own.
        let inside = |text: &str| text.replace('\n', "\n    ");
        write!(f, "error: {}", inside(&self.0.message))?;
        for cause in &self.0.causes {
            write!(f, "\n  caused by: {}", inside(cause))?;
        }
        for note in &self.0.notes {
            write!(f, "\nnote: {}", inside(note))?;
        }
        for hint in &self.0.hints {
            write!(f, "\nhint: {}", inside(hint))?;
        }
        Ok(())
    }
}

impl From<diskimg::Error> for Failure {
    fn from(error: diskimg::Error) -> Self {
        if let Some(storage) = storage_cause(&error) {
            let told = from_obs(storage);
            let hint = error.hint().map(str::to_owned);
            let failure = Self::from_error(told.exit(), &error).maybe_hint(hint.as_deref());
            let failure = told.hints().iter().fold(failure, Self::hint);
            return storage.notes().iter().fold(failure, Self::note);
        }
        let cause = error
            .source()
            .and_then(|source| source.downcast_ref::<io::Error>());
        let exit = match error.kind() {
            ErrorKind::Cancelled => Exit::Interrupted,
            ErrorKind::Io if !cause.is_some_and(is_wrong_path) => Exit::Io,
            _ => Exit::Refused,
        };
        Self::from_error(exit, &error).maybe_hint(error.hint())
    }
}

/// The object storage's error, when that is what an image could not be read for.
fn storage_cause(error: &diskimg::Error) -> Option<&obs::Error> {
    let mut cause = error.source();
    while let Some(error) = cause {
        let inner = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        if let Some(storage) = inner.and_then(|inner| inner.downcast_ref()) {
            return Some(storage);
        }
        cause = error.source();
    }
    None
}

/// Whether the system refused because the path is wrong, rather than because a device failed.
pub(crate) fn is_wrong_path(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::ReadOnlyFilesystem
    )
}
