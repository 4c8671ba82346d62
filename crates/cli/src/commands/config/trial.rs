//! Trying a storage out, and telling what it does.

use cloud::{Result, Session, StopToken, from_obs};
use obs::{Found, Step, Trial};

use super::step::{Check, State};

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

/// A step as it is told.
fn check(step: Step) -> Check {
    match step.found {
        Found::AsExpected(detail) => Check::new(step.name, State::Ok, detail),
        Found::Different(detail) => Check::new(step.name, State::Warning, detail),
        Found::Failed(error) => Check::of(step.name, Err(from_obs(&error))),
        Found::Skipped(needed) => Check::skipped(step.name, &format!("{needed} has failed")),
    }
}
