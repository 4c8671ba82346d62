//! What an import would do, found out without changing anything.

use ::convert::{Plan, PlanOptions};
use diskimg::units::human;
use journal::Stage;
use obs::UploadOptions;
use serde::Serialize;

use super::common;
use super::method::{self, Method};
use super::prepare::{blocking, open};
use super::resuming::{Input, Ours, Session};
use super::shared::Shared;
use super::{checks, raw};
use crate::args::ImportArgs;
use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome};
use crate::interrupt::Interrupt;

/// What would happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Action {
    /// Converted, uploaded and registered.
    Upload,
    /// Uploaded as it is; the service converts it.
    UploadAsIs,
    /// Compared with an object that is there, which is taken when it holds the same disk.
    Adopt,
    /// An upload that was interrupted goes on.
    Resume,
    /// The object is complete: only registered.
    Register,
    /// The registration was begun: followed, and not begun again.
    Attach,
}

/// An import that nothing speaks against.
#[derive(Debug)]
pub(crate) struct Examined {
    pub(crate) action: Action,
    /// Format of the source; `None` where only the service reads it.
    pub(crate) format: Option<String>,
    pub(crate) virtual_size: Option<u64>,
    /// Bytes that are read.
    pub(crate) data_bytes: u64,
    /// Bytes that are sent at most.
    pub(crate) worst_case_bytes: u64,
    /// Bytes that an earlier run has stored.
    pub(crate) stored_bytes: u64,
    /// Memory that it runs in.
    pub(crate) memory: u64,
    /// Of that what it needs when everything is read.
    pub(crate) tail_memory: u64,
    /// Smallest disk, in GiB.
    pub(crate) min_disk: u32,
    /// How it is converted, if it is.
    pub(crate) plan: Option<Plan>,
    pub(crate) warnings: Vec<String>,
}

/// Opens, plans in the first of `budgets` that suffices, and asks the cloud.
pub(crate) async fn examine(
    args: &ImportArgs,
    shared: Shared<'_>,
    budgets: &[u64],
    options: impl Fn(u64) -> PlanOptions,
    console: Console,
    interrupt: &Interrupt,
) -> Outcome<Examined> {
    match method::choose(args)? {
        Method::AsItIs(way) => {
            raw::refuse_as_it_is(args)?;
            let mut examined = common::examine(args, way, shared, console, interrupt).await?;
            let least = UploadOptions::least_memory(examined.worst_case_bytes);
            let fits = budgets.iter().copied().find(|budget| *budget >= least);
            examined.memory = fits.ok_or_else(|| {
                let most = budgets.last().copied().unwrap_or_default();
                Failure::new(
                    Exit::Refused,
                    format!(
                        "parts of a file of {} need {}, disks may have {} of --memory",
                        human(examined.worst_case_bytes),
                        human(least),
                        human(most)
                    ),
                )
                .hint("pass a larger --memory")
            })?;
            examined.tail_memory = examined.memory;
            Ok(examined)
        }
        Method::Converted(_) => converted(args, shared, budgets, options, console, interrupt).await,
    }
}

/// Why a disk fits into no budget. What to pass is more than what the disk needs: the program takes
/// its part.
fn too_little(refused: Option<Failure>) -> Failure {
    let refused =
        refused.unwrap_or_else(|| Failure::new(Exit::Refused, "there is no memory for it"));
    match refused.class() {
        Exit::Refused => Failure::new(Exit::Refused, refused.line()).hint(
            "pass a larger --memory; disks get what the program and the batch's tables leave of it",
        ),
        _ => refused,
    }
}

async fn converted(
    args: &ImportArgs,
    shared: Shared<'_>,
    budgets: &[u64],
    options: impl Fn(u64) -> PlanOptions,
    console: Console,
    interrupt: &Interrupt,
) -> Outcome<Examined> {
    let (opened, plan) = blocking(|| {
        let opened = open(
            args,
            shared.session.cloud().provider,
            &[],
            console,
            interrupt,
        )?;
        let mut refused = None;
        for budget in budgets {
            match opened.plan(args, options(*budget)) {
                Ok(plan) => return Ok((opened, plan)),
                Err(failure) => refused = Some(failure),
            }
        }
        Err(too_little(refused))
    })?;
    let target = &opened.request.image_url;
    let object = (target.bucket.as_str(), target.key.as_str());
    let input = Input::disk(args, &plan, opened.image.as_ref());
    let session = Session::peek(args, shared.session.cloud(), object, input, console)?;
    let ours = Ours {
        disk: opened.raw.is_none().then_some(plan.virtual_size),
        before: shared.before,
        ..session.ours()
    };
    let mut warnings = [opened.told, opened.warnings].concat();
    let checked = interrupt
        .unless_asked(checks::remote(
            args,
            shared,
            (&opened.request, &[]),
            &ours,
            &mut warnings,
        ))
        .await??;
    if let Some(raw) = &opened.raw {
        interrupt
            .unless_asked(raw::check_bitmap_key(
                args,
                &checked.storage,
                &target.bucket,
                raw,
                &ours,
            ))
            .await??;
    }
    let state = session.state();
    let action = match state.map(journal::State::stage) {
        _ if checked.existing.is_some() => Action::Adopt,
        Some(Stage::Registering | Stage::Registered | Stage::Done) => Action::Attach,
        Some(Stage::Sent | Stage::Uploaded) => Action::Register,
        Some(Stage::Uploading) if opened.raw.is_none() => Action::Resume,
        _ => Action::Upload,
    };
    Ok(Examined {
        action,
        format: Some(plan.source_format.to_string()),
        virtual_size: Some(plan.virtual_size),
        data_bytes: plan.data_bytes,
        worst_case_bytes: plan.worst_case_bytes,
        stored_bytes: state.map_or(0, journal::State::confirmed_bytes),
        memory: plan.memory.total(),
        tail_memory: plan.memory.sink,
        min_disk: opened.request.min_disk,
        plan: Some(plan),
        warnings,
    })
}
