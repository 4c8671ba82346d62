//! From the clouds' errors to what the user sees and the exit code.

use obs::ErrorKind as Obs;

use crate::exit::{Exit, Failure};

/// An error of the object storage.
pub(crate) fn from_obs(error: &obs::Error) -> Failure {
    let exit = match error.kind() {
        Obs::Network => Exit::Io,
        Obs::Integrity => Exit::Mismatch,
        Obs::Refused => Exit::Refused,
        _ => Exit::Cloud,
    };
    let mut failure = Failure::from_error(exit, error).maybe_hint(error.hint());
    for note in error.notes() {
        failure = failure.note(note);
    }
    failure
}
