//! Checks every disk of a batch before anything is started.

use batch::{Item, ItemOutcome, ItemState};
use futures::{StreamExt as _, stream};
use journal::{Sameness, SourceIdentity};

use crate::budget::Budget;
use crate::observe::Event;
use crate::setup::Setup;
use crate::state::Known;
use cloud::{Class, Failure, Hint, Result, StopToken};
use import::{Action, Before, ImportSpec, Observer, Planned, Silent, finds_by_manifest};

/// Disks that are checked at the same time, so that the waits for the cloud overlap.
const CHECKS_AT_ONCE: usize = 8;

/// One disk and the result of its check.
pub(crate) struct Checked {
    pub(crate) item: Item,
    pub(crate) verdict: Verdict,
}

pub(crate) enum Verdict {
    /// It can be imported.
    Ready(Box<Ready>),
    /// An earlier run has done it.
    Done(Box<ItemOutcome>),
    Refused(Failure),
}

/// What an import of the disk begins with.
pub(crate) struct Ready {
    pub(crate) spec: ImportSpec,
    /// `None` when the worker that claims the disk checks it later.
    pub(crate) planned: Option<Planned>,
    pub(crate) before: Before,
    /// Whether an earlier run may have left an upload that no journal records.
    pub(crate) begun: bool,
}

impl Ready {
    /// Whether the disk is not imported, because of what exists.
    pub(crate) fn skips(&self) -> bool {
        let planned = self.planned.as_ref();
        planned.is_some_and(|planned| planned.action == Action::Skip)
    }
}

/// A disk that is done stays done, unless its source is another one now: that is for the user to
/// decide.
fn done_before(item: &Item, done: &ItemOutcome, source: Option<&SourceIdentity>) -> Verdict {
    let image = done.image_id.as_deref().unwrap_or("none");
    let sameness = match (source, SourceIdentity::of(&item.source)) {
        (Some(then), Ok(now)) => then.compare(&now),
        _ if import::is_export(&item.source) => {
            Sameness::Unproven("a server does not tell when the disk that it exports was written")
        }
        // A finished disk no longer needs its source.
        _ => Sameness::Same,
    };
    let mut cause = "done by an earlier run".to_owned();
    if let Some(problem) = &item.unreadable {
        cause.push_str(&format!("; {}", problem.what));
    }
    if let Sameness::Unproven(why) = sameness {
        cause.push_str(&format!(
            "; cannot tell whether its source has changed: {why}"
        ));
    }
    match sameness {
        Sameness::Changed(difference) => Verdict::Refused(
            Failure::new(
                Class::Refused,
                format!(
                    "already imported (image {image}), but its source has changed since: {difference}"
                ),
            )
            .hint(Hint::RedoDisk(item.id.clone())),
        ),
        Sameness::Same | Sameness::Unproven(_) => Verdict::Done(Box::new(ItemOutcome {
            state: ItemState::Skipped,
            cause: Some(cause),
            hint: None,
            read_bytes: 0,
            sent_bytes: 0,
            kept_bytes: 0,
            retries: 0,
            timeline: Vec::new(),
            ..done.clone()
        })),
    }
}

/// What only the batch's own journal knows.
pub(crate) fn before(item: &Item, known: &Known, spec: &ImportSpec) -> Before {
    let begun = known.has_begun(item);
    Before {
        // An import finds its object in its own journal, or by the manifest beside it. The one may
        // have ended, and not all have the other.
        uploaded: begun && !finds_by_manifest(spec),
        // Its journal may have ended, and this one not: a kill in between.
        registered: begun && known.registering,
    }
}

impl Setup {
    /// What is known of a disk without the cloud: that it is done, or what is to be checked.
    fn known(&self, item: &Item) -> Result<(ImportSpec, Known), Verdict> {
        let known = self.state.of_item(&item.id);
        if !self.spec.redo.contains(&item.id)
            && let Some(done) = known.done(item)
        {
            return Err(done_before(item, done, known.source.as_ref()));
        }
        match self.spec.import(item, self.width.threads) {
            Ok(mut spec) => {
                spec.restart = self.spec.redo.contains(&item.id);
                Ok((spec, known))
            }
            Err(problems) => Err(Verdict::Refused(cloud::rejected(problems))),
        }
    }

    /// What is known of every disk without the cloud.
    pub(crate) fn all_known(&self) -> Vec<Checked> {
        let items = self.items.iter();
        let checked = items.map(|item| {
            let verdict = match self.known(item) {
                Err(verdict) => verdict,
                Ok((spec, known)) => {
                    let before = before(item, &known, &spec);
                    Verdict::Ready(Box::new(Ready {
                        spec,
                        planned: None,
                        before,
                        begun: known.has_begun(item),
                    }))
                }
            };
            Checked {
                item: item.clone(),
                verdict,
            }
        });
        checked.collect()
    }

    /// Checks one disk.
    pub(crate) async fn plan(
        &self,
        spec: &ImportSpec,
        before: Before,
        observer: &dyn Observer,
        stop: &StopToken,
    ) -> Result<Planned> {
        let cx = import::Context {
            session: &self.cx.session,
            storage: Some(&self.storage),
            observer,
            stop,
            before,
        };
        let budgets = self.budget.tries();
        let budgets: Vec<_> = budgets
            .map(|bytes| Budget::options(bytes, &spec.work))
            .collect();
        import::plan(spec, cx, &budgets).await
    }

    /// Checks every disk. Warnings about a disk are in its plan.
    pub(crate) async fn check(&self) -> Result<Vec<Checked>> {
        let stop = &self.cx.stop;
        let checking = Event::Checking(self.items.len());
        self.cx.observer.event(checking);
        let checks = stream::iter(&self.items)
            .map(|item| async move {
                let verdict = match self.known(item) {
                    Err(verdict) => verdict,
                    Ok((spec, known)) => {
                        let before = before(item, &known, &spec);
                        match self.plan(&spec, before, &Silent, stop).await {
                            Ok(planned) => Verdict::Ready(Box::new(Ready {
                                spec,
                                planned: Some(planned),
                                before,
                                begun: known.has_begun(item),
                            })),
                            Err(failure) => Verdict::Refused(failure),
                        }
                    }
                };
                Checked {
                    item: item.clone(),
                    verdict,
                }
            })
            .buffered(CHECKS_AT_ONCE);
        let mut checked: Vec<Checked> = checks.collect().await;
        if stop.is_asked() {
            return Err(cloud::stopped());
        }
        // Without these nothing can be said of any disk: one error, not one for each.
        if let Some(fatal) = same_for_all(&mut checked) {
            return Err(fatal);
        }
        self.quota(&mut checked).await?;
        Ok(checked)
    }

    /// Refuses what is more than the account may have, in the manifest's order.
    async fn quota(&self, checked: &mut [Checked]) -> Result {
        if !registers_any(checked) {
            return Ok(());
        }
        let quotas = match self.cx.session.images().quotas().await {
            Ok(quotas) => quotas,
            // The check of each disk has reported it.
            Err(_) => return Ok(()),
        };
        for quota in quotas.iter().filter(|quota| quota.kind == "image") {
            let (Some(used), Some(most)) = (quota.used, quota.quota) else {
                continue;
            };
            let mut left = most.saturating_sub(used);
            for checked in checked.iter_mut() {
                let Verdict::Ready(ready) = &checked.verdict else {
                    continue;
                };
                if checked.item.skip_check.iter().any(|skip| skip == "quota")
                    || checked.item.register == batch::Register::None
                {
                    continue;
                }
                let planned = ready.planned.as_ref();
                match left.checked_sub(planned.map_or(1, Planned::images)) {
                    Some(rest) => left = rest,
                    None => {
                        checked.verdict = Verdict::Refused(
                            Failure::new(
                                Class::Refused,
                                format!(
                                    "image quota: {used} of {most} used, and the disks before this one need the rest (IMG.0015)"
                                ),
                            )
                            .hint("delete images, ask for a larger quota, or set skip_check: [quota]"),
                        );
                    }
                }
            }
        }
        Ok(())
    }
}

/// Whether the image service has anything to do with these disks.
pub(crate) fn registers_any(checked: &[Checked]) -> bool {
    checked
        .iter()
        .any(|checked| checked.item.register != batch::Register::None)
}

/// The failure of every disk, when the network or the keys are what fails.
fn same_for_all(checked: &mut Vec<Checked>) -> Option<Failure> {
    let all = !checked.is_empty()
        && checked.iter().all(|checked| match &checked.verdict {
            Verdict::Refused(failure) => matches!(failure.class(), Class::Cloud | Class::Io),
            _ => false,
        });
    if !all {
        return None;
    }
    let first = checked.drain(..).next()?;
    match first.verdict {
        Verdict::Refused(failure) => Some(failure),
        _ => None,
    }
}
