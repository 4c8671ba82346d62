//! `imgferry batch plan`: what a run would do, how much it is, and how long it may take.

use std::fmt;

use diskimg::printable;
use diskimg::text::shown;
use diskimg::units::human;
use serde::Serialize;

use super::check::{Checked, Verdict, registers_any};
use super::estimate::{self, Estimate};
use super::setup::Setup;
use crate::args::BatchCommonArgs;
use crate::commands::session::table;
use crate::console::{Console, Level, Listener, Moved};
use crate::exit::{Exit, Failure, Outcome};
use crate::interrupt::Interrupt;
use ::import::Action;

/// The plan of a batch.
#[derive(Debug, Serialize)]
pub(super) struct BatchPlan {
    manifest: String,
    manifest_digest: String,
    region: String,
    items: Vec<Line>,
    totals: Totals,
    memory: Memory,
    converts: usize,
    uploads: usize,
    jobs: usize,
    /// Worker threads of each disk that is converted.
    threads: usize,
    /// Bytes per second, if they are limited.
    limit_rate: Option<u64>,
    quota: Option<Quota>,
    estimate: Option<Estimate>,
}

/// One disk.
#[derive(Debug, Serialize)]
struct Line {
    id: String,
    group: Option<String>,
    source: String,
    name: String,
    bucket: String,
    key: String,
    format: Option<String>,
    virtual_size: Option<u64>,
    data_bytes: Option<u64>,
    min_disk: Option<u32>,
    /// What would happen: `upload`, `upload-as-is`, `adopt`, `resume`, `register`, `attach`, `skip`
    /// or `refuse`.
    action: &'static str,
    why: Option<String>,
    hint: Option<String>,
    /// Bytes of memory that it runs in.
    memory: Option<u64>,
    warnings: Vec<String>,
}

#[derive(Debug, Default, Serialize)]
struct Totals {
    items: usize,
    to_do: usize,
    skipped: usize,
    refused: usize,
    virtual_bytes: u64,
    /// Bytes that are read.
    data_bytes: u64,
    /// Bytes that are sent at most.
    worst_case_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Memory {
    /// The bound for everything.
    budget: u64,
    /// Of that the program and the batch's own tables.
    fixed: u64,
    /// What a disk gets that could use more.
    share: u64,
    /// What the largest needs.
    largest: u64,
}

/// Images of the account.
#[derive(Debug, Serialize)]
struct Quota {
    used: u64,
    quota: u64,
    /// Images that would be made.
    wanted: u64,
}

pub(super) const fn action(action: Action) -> &'static str {
    match action {
        Action::Upload => "upload",
        Action::UploadAsIs => "upload-as-is",
        Action::Adopt => "adopt",
        Action::Resume => "resume",
        Action::Register => "register",
        Action::Attach => "attach",
    }
}

/// Lines of disks that are looked at: their warnings stand in the plan.
struct Silent;

impl Listener for Silent {
    fn line(&self, _: usize, _: Level, _: &str) {}
    fn moved(&self, _: usize, _: Moved) {}
}

static SILENT: Silent = Silent;

/// The console of a disk that is looked at.
pub(super) fn silent(console: Console) -> impl Fn(usize) -> Console {
    move |item| console.of_item(item, &SILENT)
}

pub(super) async fn run(
    setup: &Setup,
    common: &BatchCommonArgs,
    console: Console,
    interrupt: &Interrupt,
) -> Outcome {
    console.notice(format_args!(
        "{} disks of {} are looked at",
        setup.items.len(),
        shown(&setup.manifest.path)
    ));
    let checked = setup.check(common, silent(console), interrupt).await?;
    let plan = BatchPlan::new(setup, &checked, interrupt).await?;
    console.result(&plan, &plan)?;
    match plan.totals.refused {
        0 => Ok(()),
        refused => Err(Failure::new(
            Exit::Refused,
            format!(
                "{refused} of {} disks would be refused; batch run would import the others",
                plan.totals.items
            ),
        )
        .told()),
    }
}

impl BatchPlan {
    pub(super) async fn new(
        setup: &Setup,
        checked: &[Checked],
        interrupt: &Interrupt,
    ) -> Outcome<Self> {
        let mut totals = Totals {
            items: checked.len(),
            ..Totals::default()
        };
        let (mut largest, mut wanted) = (0, 0_u64);
        let items = checked
            .iter()
            .map(|checked| {
                let line = Line::of(checked);
                match &checked.verdict {
                    Verdict::Done(_) => totals.skipped += 1,
                    Verdict::Refused(_) => totals.refused += 1,
                    Verdict::Ready(ready) => {
                        totals.to_do += 1;
                        if let Some(planned) = &ready.planned {
                            let add = |sum: &mut u64, more| *sum = sum.saturating_add(more);
                            add(
                                &mut totals.virtual_bytes,
                                planned.plan.as_ref().map_or(0, |plan| plan.virtual_size),
                            );
                            add(&mut totals.data_bytes, planned.data_bytes());
                            add(
                                &mut totals.worst_case_bytes,
                                planned
                                    .worst_case_bytes()
                                    .saturating_sub(planned.stored_bytes),
                            );
                            largest = largest.max(planned.memory);
                            if planned.action != Action::Attach
                                && checked.item.register != ::batch::Register::None
                            {
                                wanted = wanted.saturating_add(1);
                            }
                        }
                    }
                }
                line
            })
            .collect();
        let quotas = match registers_any(checked) {
            true => setup.session.images().quotas().await.unwrap_or_default(),
            false => Vec::new(),
        };
        let quota = quotas
            .iter()
            .find(|quota| quota.kind == "image")
            .and_then(|quota| {
                Some(Quota {
                    used: quota.used?,
                    quota: quota.quota?,
                    wanted,
                })
            });
        let estimate = estimate::estimate(setup, checked, interrupt).await?;
        Ok(Self {
            manifest: setup.manifest.path.display().to_string(),
            manifest_digest: setup.manifest.digest.clone(),
            region: setup.session.cloud().region.clone(),
            items,
            totals,
            memory: Memory {
                budget: setup.budget.total,
                fixed: setup.budget.fixed,
                share: setup.budget.share,
                largest,
            },
            converts: setup.width.converts,
            uploads: setup.width.uploads,
            jobs: setup.width.jobs,
            threads: setup.width.threads,
            limit_rate: setup.rate_limit.map(std::num::NonZero::get),
            quota,
            estimate,
        })
    }
}

impl Line {
    fn of(checked: &Checked) -> Self {
        let item = &checked.item;
        let mut line = Self {
            id: item.id.clone(),
            group: item.group.clone(),
            source: item.source.display().to_string(),
            name: item.name.clone(),
            bucket: item.bucket.clone(),
            key: item.object_key(),
            format: None,
            virtual_size: None,
            data_bytes: None,
            min_disk: None,
            action: "refuse",
            why: None,
            hint: None,
            memory: None,
            warnings: Vec::new(),
        };
        match &checked.verdict {
            Verdict::Ready(ready) => {
                let Some(planned) = &ready.planned else {
                    line.action = "upload";
                    return line;
                };
                line.action = action(planned.action);
                line.format = planned.format();
                line.virtual_size = planned.plan.as_ref().map(|plan| plan.virtual_size);
                line.data_bytes = Some(planned.data_bytes());
                line.min_disk = Some(planned.min_disk);
                line.memory = Some(planned.memory);
                line.warnings.clone_from(&planned.warnings);
                line.why = why(planned.action, planned.stored_bytes);
            }
            Verdict::Done(done) => {
                line.action = "skip";
                line.format.clone_from(&done.format);
                line.virtual_size = done.virtual_size;
                line.why = Some(match &done.image_id {
                    Some(image) => format!("done by an earlier run: image {image}"),
                    None => "done by an earlier run".to_owned(),
                });
            }
            Verdict::Refused(failure) => {
                line.why = Some(failure.line());
                line.hint = failure.hints().first().map(crate::hints::text);
                line.warnings = failure.notes().to_vec();
            }
        }
        line
    }
}

/// What there is to say of an action beside its name.
fn why(action: Action, stored: u64) -> Option<String> {
    match action {
        Action::Upload => None,
        Action::UploadAsIs => Some("the service converts it".into()),
        Action::Adopt => {
            Some("an object is there: taken if it holds the same disk, refused otherwise".into())
        }
        Action::Resume => Some(format!("{} are stored by an earlier run", human(stored))),
        Action::Register => Some("an earlier run has uploaded it".into()),
        Action::Attach => Some("an earlier run has begun to register it".into()),
    }
}

impl fmt::Display for BatchPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = |bytes: Option<u64>| bytes.map_or_else(|| "-".to_owned(), human);
        let mut rows = vec![
            ["DISK", "FORMAT", "SIZE", "DATA", "ACTION", ""]
                .map(str::to_owned)
                .to_vec(),
        ];
        rows.extend(self.items.iter().map(|line| {
            vec![
                line.id.clone(),
                line.format.clone().unwrap_or_else(|| "-".to_owned()),
                size(line.virtual_size),
                size(line.data_bytes),
                line.action.to_owned(),
                line.why.clone().unwrap_or_default(),
            ]
        }));
        writeln!(f, "{}", table(&rows))?;
        for line in &self.items {
            for warning in &line.warnings {
                writeln!(f, "{}: {warning}", printable(&line.id))?;
            }
            if let Some(hint) = &line.hint {
                writeln!(f, "{}: hint: {hint}", printable(&line.id))?;
            }
        }
        let totals = &self.totals;
        writeln!(
            f,
            "\ntotal   {} disks: {} to import, {} done before, {} refused; {} of data on {}, at most {} to send",
            totals.items,
            totals.to_do,
            totals.skipped,
            totals.refused,
            human(totals.data_bytes),
            human(totals.virtual_bytes),
            human(totals.worst_case_bytes)
        )?;
        let s = |number: usize| if number == 1 { "" } else { "s" };
        writeln!(
            f,
            "work    {} disk{} converted at the same time with {} thread{} each, {} uploaded, {} job{}",
            self.converts,
            s(self.converts),
            self.threads,
            s(self.threads),
            self.uploads,
            self.jobs,
            s(self.jobs)
        )?;
        writeln!(
            f,
            "memory  at most {}: program {}, a disk {} and up to {} where it needs more",
            human(self.memory.budget),
            human(self.memory.fixed),
            human(self.memory.share),
            human(self.memory.budget.saturating_sub(self.memory.fixed)),
        )?;
        match &self.quota {
            Some(quota) => writeln!(
                f,
                "quota   {} of {} images are used, {} would be made",
                quota.used, quota.quota, quota.wanted
            )?,
            None => writeln!(f, "quota   not told by the cloud")?,
        }
        match &self.estimate {
            Some(estimate) => write!(f, "time    {estimate}"),
            None => write!(f, "time    nothing is to be converted"),
        }
    }
}
