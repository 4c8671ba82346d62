//! Stores, copies and deletes tiny objects, to see what the storage does.

use obs::{Found, Step, Trial};

use super::step::{Check, CheckState};
use crate::error::{Result, from_obs};
use crate::session::Session;
use crate::stop::StopToken;

/// Stores, copies, reads and deletes two tiny objects in `bucket`.
pub(super) async fn run(session: &Session, bucket: &str, stop: &StopToken) -> Result<Vec<Check>> {
    let storage = session.storage().await?;
    let key = format!(".imgferry-check-{}", uuid::Uuid::new_v4());
    let mut trial = Trial::new(&storage, bucket, key);
    let tried = stop.unless_asked(trial.run()).await;
    // Nothing may stay, however that ended.
    let cleaned = check(trial.clean_up().await);
    match tried {
        Ok(steps) => Ok(steps.into_iter().map(check).chain([cleaned]).collect()),
        Err(stopped) => Err(stopped.note(format!("{}: {}", cleaned.name, cleaned.detail))),
    }
}

/// A step of the trial as one of the check.
fn check(step: Step) -> Check {
    match step.found {
        Found::AsExpected(detail) => Check::new(step.name, CheckState::Ok, detail),
        Found::Different(detail) => Check::new(step.name, CheckState::Warning, detail),
        Found::Failed(error) => Check::of(step.name, Err(from_obs(&error))),
        Found::Skipped(needed) => Check::skipped(step.name, &format!("{needed} has failed")),
    }
}
