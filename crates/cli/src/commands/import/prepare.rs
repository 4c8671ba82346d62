//! Everything that is decided before the cloud is asked: the disk is opened and planned, and held
//! against the rules.

use std::sync::Arc;

use ::convert::holes::Misreported;
use ::convert::{Plan, PlanOptions};
use diskimg::partitions;
use diskimg::{DiskImage, Format};
use ims::QuickImport;

use super::method::Chosen;
use super::raw::{self, RawJob};
use super::{checks, request, upload};
use crate::args::{ImportArgs, RegisterBy, TargetFormat};
use crate::commands::bitmap::with_holes;
use crate::commands::input::{self, Reading, warn_of_more};
use crate::commands::watch::Watch;
use crate::console::Console;
use crate::exit::Outcome;
use crate::interrupt::Interrupt;

/// What is imported, decided and checked.
pub(super) struct Job {
    pub(super) chosen: Chosen,
    pub(super) image: Arc<dyn DiskImage>,
    pub(super) plan: Plan,
    pub(super) request: QuickImport,
    pub(super) warnings: Vec<String>,
    /// What the user was told of the disk already.
    pub(super) told: Vec<String>,
    /// What only a raw object needs.
    pub(super) raw: Option<RawJob>,
    pub(super) misreported: Option<Misreported>,
    /// To be asked before what was read is put in place.
    pub(super) watch: Watch,
}

/// A disk that is open, and the request that it is registered with.
pub(super) struct Opened {
    pub(super) image: Box<dyn DiskImage>,
    pub(super) request: QuickImport,
    pub(super) warnings: Vec<String>,
    /// What the user was told of the disk already.
    pub(super) told: Vec<String>,
    pub(super) raw: Option<RawJob>,
    pub(super) misreported: Option<Misreported>,
    pub(super) watch: Watch,
}

impl Opened {
    pub(super) fn plan(&self, args: &ImportArgs, memory: PlanOptions) -> Outcome<Plan> {
        let image = self.image.as_ref();
        match &self.raw {
            None => upload::plan(image, args.pace.concurrency, memory),
            Some(raw) => raw::plan(image, raw, args.pace.concurrency, memory),
        }
    }
}

/// Everything that can be decided and refused without the network.
pub(super) fn prepare(
    args: &ImportArgs,
    chosen: Chosen,
    provider: Option<ims::Cloud>,
    missing: &[String],
    memory: PlanOptions,
    console: Console,
    interrupt: &Interrupt,
) -> Outcome<Job> {
    let opened = open(args, provider, missing, console, interrupt)?;
    let plan = opened.plan(args, memory)?;
    let mut told = opened.told;
    let more = warn_of_more(opened.image.as_ref(), &args.disk, &told, console);
    told.extend(more);
    Ok(Job {
        chosen,
        plan,
        told,
        warnings: opened.warnings,
        image: Arc::from(opened.image),
        request: opened.request,
        raw: opened.raw,
        misreported: opened.misreported,
        watch: opened.watch,
    })
}

/// Opens the disk, and holds it and the request against the rules.
pub(super) fn open(
    args: &ImportArgs,
    provider: Option<ims::Cloud>,
    missing: &[String],
    console: Console,
    interrupt: &Interrupt,
) -> Outcome<Opened> {
    let reading = Reading {
        size: args.pipe.size,
        threads: args.work.threads.threads,
        console,
        cancel: interrupt.token(),
        force_share: args.source.share.force_share,
    };
    let input::Input {
        opened,
        is_pipe,
        warnings: told,
        watch,
    } = input::open(&args.disk, &args.source.options(), reading)?;
    let virtual_size = opened.image.virtual_size();
    let request = request::build(args, virtual_size);
    let mut findings = match args.registering.register {
        RegisterBy::None => checks::unregistered(&request),
        _ => checks::local(&request, virtual_size, provider),
    };
    // Of a pipe only the beginning is there yet.
    let table = match is_pipe {
        true => partitions::read_front(opened.image.as_ref()),
        false => partitions::read(opened.image.as_ref()),
    };
    checks::disk(table, virtual_size, &request, args, &mut findings);
    checks::key(&request, made(args.raw.to), &mut findings);
    let checks::Findings {
        mut problems,
        warnings,
    } = findings;
    let raw = raw::prepare(args, &request, opened.format, &mut problems);
    if is_pipe && raw.is_some() {
        problems.push(
            "--to raw sends parts in any order, and a pipe is read front to back; leave --to out, or save the disk to a file first"
                .to_owned(),
        );
    }
    problems.extend(missing.iter().cloned());
    if !problems.is_empty() {
        return Err(cloud::rejected(problems));
    }
    let (image, misreported) = with_holes(opened.image, args.raw.holes.holes);
    Ok(Opened {
        image,
        request,
        warnings,
        told,
        raw,
        misreported,
        watch,
    })
}

/// The format of the object.
const fn made(to: TargetFormat) -> Format {
    match to {
        TargetFormat::Zvhd2 => Format::Zvhd2,
        TargetFormat::Raw => Format::Raw,
    }
}

/// Runs work that waits for the disk without keeping other imports from going on.
pub(super) fn blocking<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}
