//! How a run fails: what went wrong, its causes, what to do, and the class that decides the exit
//! code.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use diskimg::ErrorKind;
use ims::ErrorKind as Ims;
use net::credentials::KeyError;
use net::retry::{Retryable as _, Verdict};
use obs::ErrorKind as Obs;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::hint::{Hint, Problem};

/// What went wrong, for programs that decide by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Wrong usage, or input that is rejected.
    Refused,
    /// The cloud rejected the request or failed.
    Cloud,
    /// I/O or network failure, after retries.
    Io,
    /// Content differs from what it must be.
    Mismatch,
    /// Stopped on request.
    Interrupted,
}

impl Class {
    /// The number that stands for it in journals and reports; programs end with it. 0 is success.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Refused => 2,
            Self::Cloud => 3,
            Self::Io => 4,
            Self::Mismatch => 5,
            Self::Interrupted => 130,
        }
    }
}

/// An error on its way to the user.
#[derive(Clone, Debug)]
pub struct Failure(Box<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    class: Class,
    message: String,
    causes: Vec<String>,
    hints: Vec<Hint>,
    notes: Vec<String>,
    problems: Vec<Problem>,
    data: Map<String, Value>,
    is_told: bool,
}

/// What this crate and those above it return.
pub type Result<T = (), E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// An error without a deeper cause.
    #[must_use]
    pub fn new(class: Class, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            class,
            message: message.into(),
            causes: Vec::new(),
            hints: Vec::new(),
            notes: Vec::new(),
            problems: Vec::new(),
            data: Map::new(),
            is_told: false,
        }))
    }

    /// `error` with its chain of causes.
    #[must_use]
    pub fn from_error(class: Class, error: &(dyn StdError + 'static)) -> Self {
        let mut failure = Self::new(class, error.to_string());
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
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Hint>) -> Self {
        self.0.hints.push(hint.into());
        self
    }

    /// Adds what the user can do, if anything.
    #[must_use]
    pub fn maybe_hint(self, hint: Option<impl Into<Hint>>) -> Self {
        match hint {
            Some(hint) => self.hint(hint),
            None => self,
        }
    }

    /// Replaces everything that the user could do.
    #[must_use]
    pub fn only_hint(mut self, hint: impl Into<Hint>) -> Self {
        self.0.hints.clear();
        self.hint(hint)
    }

    /// Adds something that happened afterwards, such as a clean-up that failed as well.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.0.notes.push(note.into());
        self
    }

    /// Puts what was being done in front; the message so far becomes the first cause.
    #[must_use]
    pub fn context(mut self, doing: impl Into<String>) -> Self {
        let message = std::mem::replace(&mut self.0.message, doing.into());
        self.0.causes.insert(0, message);
        self
    }

    /// Adds a result that is known all the same, for programs that read the failure.
    #[must_use]
    pub fn data(mut self, name: &str, data: &impl Serialize) -> Self {
        if let Ok(value) = serde_json::to_value(data) {
            self.0.data.insert(name.to_owned(), value);
        }
        self
    }

    /// Marks a failure that the result of the command reports already.
    #[must_use]
    pub fn told(mut self) -> Self {
        self.0.is_told = true;
        self
    }

    /// Whether the command's own result reports this failure.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.0.is_told
    }

    /// The problems that it stands for, when there are several.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.0.problems
    }

    /// What happened afterwards.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.0.notes
    }

    /// What the user can do.
    #[must_use]
    pub fn hints(&self) -> &[Hint] {
        &self.0.hints
    }

    /// Message and causes in one line.
    #[must_use]
    pub fn line(&self) -> String {
        self.to_string()
    }

    /// The error itself, without causes, hints and notes.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The causes, the nearest first.
    #[must_use]
    pub fn causes(&self) -> &[String] {
        &self.0.causes
    }

    /// The results that are known all the same, by name.
    #[must_use]
    pub fn known(&self) -> &Map<String, Value> {
        &self.0.data
    }

    /// What went wrong.
    #[must_use]
    pub fn class(&self) -> Class {
        self.0.class
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        self.0
            .causes
            .iter()
            .try_for_each(|cause| write!(f, ": {cause}"))
    }
}

impl StdError for Failure {}

/// One failure for all problems together, so that they can be fixed together.
#[must_use]
pub fn rejected<P: Into<Problem>>(problems: impl IntoIterator<Item = P>) -> Failure {
    let mut problems: Vec<Problem> = problems.into_iter().map(Into::into).collect();
    if problems.len() == 1
        && let Some(Problem { message, hint }) = problems.pop()
    {
        return Failure::new(Class::Refused, message).maybe_hint(hint);
    }
    let message = format!("{} problems found", problems.len());
    let mut failure = Failure::new(Class::Refused, message);
    failure.0.problems = problems;
    failure
}

impl From<diskimg::Error> for Failure {
    fn from(error: diskimg::Error) -> Self {
        if let Some(storage) = storage_cause(&error) {
            let inner = from_obs(storage).0;
            let mut failure =
                Self::from_error(inner.class, &error).maybe_hint(error.hint().cloned());
            failure.0.hints.extend(inner.hints);
            failure.0.notes.extend(inner.notes);
            return failure;
        }
        let cause = error
            .source()
            .and_then(|source| source.downcast_ref::<io::Error>());
        let class = match error.kind() {
            ErrorKind::Cancelled => Class::Interrupted,
            ErrorKind::Mismatch => Class::Mismatch,
            ErrorKind::Io if !cause.is_some_and(is_wrong_path) => Class::Io,
            _ => Class::Refused,
        };
        Self::from_error(class, &error).maybe_hint(error.hint().cloned())
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
#[must_use]
pub fn is_wrong_path(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::ReadOnlyFilesystem
    )
}

impl From<convert::Error> for Failure {
    fn from(error: convert::Error) -> Self {
        let class = match error {
            convert::Error::Source(error) => return error.into(),
            convert::Error::Sink(source) => {
                return if let Some(error) = source.downcast_ref::<obs::Error>() {
                    from_obs(error)
                } else if let Some(error) = source.downcast_ref::<journal::Error>() {
                    from_journal(error)
                } else {
                    Self::from_error(Class::Io, source.as_ref())
                };
            }
            convert::Error::Cancelled => Class::Interrupted,
            // A path that cannot be written is input, like one that cannot be read.
            convert::Error::Output {
                doing: "creating the file",
                ref source,
                ..
            } if is_wrong_path(source) => Class::Refused,
            convert::Error::Refused { .. } => Class::Refused,
            _ => Class::Io,
        };
        Self::from_error(class, &error).maybe_hint(error.hint())
    }
}

impl From<obs::Error> for Failure {
    fn from(error: obs::Error) -> Self {
        from_obs(&error)
    }
}

impl From<ims::Error> for Failure {
    fn from(error: ims::Error) -> Self {
        from_ims(&error)
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        let cause = error.source().and_then(|cause| cause.downcast_ref());
        if let Some(error) = cause {
            return from_ims(error);
        }
        let class = match error.verdict() {
            Verdict::Fatal => Class::Cloud,
            _ => Class::Io,
        };
        Self::from_error(class, &error).maybe_hint(error.hint().map(str::to_owned))
    }
}

impl From<journal::Error> for Failure {
    fn from(error: journal::Error) -> Self {
        from_journal(&error)
    }
}

/// An error of the object storage.
#[must_use]
pub fn from_obs(error: &obs::Error) -> Failure {
    if let Some(journal) = error
        .local_error()
        .and_then(|e| (e as &dyn StdError).downcast_ref())
    {
        return from_journal(journal);
    }
    let class = match error.kind() {
        Obs::Network | Obs::Local => Class::Io,
        Obs::Integrity => Class::Mismatch,
        Obs::Refused => Class::Refused,
        _ => Class::Cloud,
    };
    let hint = match (error.hint(), error.kind()) {
        (Some(hint), _) => Some(hint.clone().into()),
        (None, Obs::Network) => Some(Hint::CheckStorageAddress),
        // Answers without a body give no reason.
        (None, Obs::AccessDenied) => Some(Hint::CheckKeys),
        (None, _) => None,
    };
    let mut failure = Failure::from_error(class, error).maybe_hint(hint);
    for note in error.notes() {
        failure = failure.note(note);
    }
    failure
}

/// An error of the journal.
#[must_use]
pub fn from_journal(error: &journal::Error) -> Failure {
    let class = match error {
        journal::Error::Io { source, .. } if !is_wrong_path(source) => Class::Io,
        _ => Class::Refused,
    };
    Failure::from_error(class, error).maybe_hint(error.hint())
}

/// An error of the image or identity service.
#[must_use]
pub fn from_ims(error: &ims::Error) -> Failure {
    let class = match error.kind() {
        Ims::Network | Ims::Foreign => Class::Io,
        Ims::Ambiguous if error.is_foreign() => Class::Io,
        Ims::Invalid => Class::Refused,
        Ims::Cancelled => Class::Interrupted,
        _ => Class::Cloud,
    };
    let failure = Failure::from_error(class, error);
    match (error.hints(), error.kind()) {
        ([], Ims::Network) => failure.hint(Hint::CheckServiceAddresses),
        (hints, _) => hints.iter().cloned().fold(failure, Failure::hint),
    }
}
