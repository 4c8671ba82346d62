//! From the clouds' errors to what the user sees and the exit code.

use std::error::Error as StdError;

use ims::ErrorKind as Ims;
use obs::ErrorKind as Obs;

use crate::exit::{Exit, Failure, is_wrong_path};

/// An error of the object storage.
pub(crate) fn from_obs(error: &obs::Error) -> Failure {
    if let Some(journal) = error
        .local_error()
        .and_then(|e| (e as &dyn StdError).downcast_ref())
    {
        return from_journal(journal);
    }
    let exit = match error.kind() {
        Obs::Network | Obs::Local => Exit::Io,
        Obs::Integrity => Exit::Mismatch,
        Obs::Refused => Exit::Refused,
        _ => Exit::Cloud,
    };
    let hint = error.hint().or(match error.kind() {
        Obs::Network => Some("check --obs-endpoint, --region and HTTPS_PROXY"),
        // Answers without a body give no reason.
        Obs::AccessDenied => {
            Some("check the keys with 'imgferry config check', and what they may do in the bucket")
        }
        _ => None,
    });
    let mut failure = Failure::from_error(exit, error).maybe_hint(hint);
    for note in error.notes() {
        failure = failure.note(note);
    }
    failure
}

/// An error of the journal.
pub(crate) fn from_journal(error: &journal::Error) -> Failure {
    let exit = match error {
        journal::Error::Io { source, .. } if !is_wrong_path(source) => Exit::Io,
        _ => Exit::Refused,
    };
    Failure::from_error(exit, error).maybe_hint(error.hint())
}

/// An error of the image or identity service.
pub(crate) fn from_ims(error: &ims::Error) -> Failure {
    let exit = match error.kind() {
        Ims::Network | Ims::Foreign => Exit::Io,
        Ims::Ambiguous if error.is_foreign() => Exit::Io,
        Ims::Invalid => Exit::Refused,
        Ims::Cancelled => Exit::Interrupted,
        _ => Exit::Cloud,
    };
    let hint = error.hint().or(match error.kind() {
        Ims::Network => Some("check --iam-endpoint, --ims-endpoint, --region and HTTPS_PROXY"),
        _ => None,
    });
    Failure::from_error(exit, error).maybe_hint(hint)
}
