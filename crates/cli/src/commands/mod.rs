//! One module per command.

pub(crate) mod batch;
pub(crate) mod bench;
pub(crate) mod bitmap;
pub(crate) mod config;
pub(crate) mod convert;
pub(crate) mod digest;
pub(crate) mod export;
pub(crate) mod image;
pub(crate) mod import;
mod input;
pub(crate) mod inspect;
pub(crate) mod job;
pub(crate) mod lists;
mod markup;
pub(crate) mod sandbox;
pub(crate) mod session;
pub(crate) mod status;
mod storage;
pub(crate) mod upload;
pub(crate) mod uploads;
pub(crate) mod verify;

use ::convert::Error;

use crate::exit::{Exit, Failure, is_wrong_path};

/// The identity of a new ZVHD2 file: a random UUID, and the time in the format's own epoch.
pub(crate) fn identity() -> zvhd2::Identity {
    /// 2000-01-01 00:00 UTC in seconds since 1970.
    const EPOCH: i64 = 946_684_800;
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    zvhd2::Identity {
        uuid: uuid::Uuid::new_v4().into_bytes(),
        timestamp: u32::try_from(now.saturating_sub(EPOCH)).unwrap_or_default(),
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match error {
            Error::Source(error) => return error.into(),
            Error::Sink(source) => {
                return if let Some(error) = source.downcast_ref::<obs::Error>() {
                    import::from_obs(error)
                } else if let Some(error) = source.downcast_ref::<journal::Error>() {
                    import::from_journal(error)
                } else {
                    Self::from_error(Exit::Io, source.as_ref())
                };
            }
            Error::Cancelled => Exit::Interrupted,
            // A path that cannot be written is input, like one that cannot be read.
            Error::Output {
                doing: "creating the file",
                ref source,
                ..
            } if is_wrong_path(source) => Exit::Refused,
            Error::Refused { .. } => Exit::Refused,
            _ => Exit::Io,
        };
        Self::from_error(exit, &error).maybe_hint(error.hint())
    }
}
