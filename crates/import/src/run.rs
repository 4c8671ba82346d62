//! The flow of an import: prepare, adopt, check, send, register.

use cloud::{Failure, Problem, Result, StopToken};
use std::sync::Arc;
use std::time::Instant;

use ::convert::PlanOptions;
use ims::{ImageUrl, WaitOptions};
use journal::registration::Known;
use obs::Client as Storage;

use super::ledger::Ledger;
use super::method::{By, Method};
use super::observe::{Before, Context, Observer, Step};
use super::os_name::name_os;
use super::outcome::{Outcome, Stages, peak_memory};
use super::piece::{self, Form, Pieces};
use super::preflight::{Checked, preflight, to_skip};
use super::register::{
    Asking, Attach, Call, Registered, Renamed, choose_call, free_name, made_before, made_beside,
    renamed_before,
};
use super::send::{Existing, Sending, Sent, noted};
use super::spec::{IfExists, ImportSpec};
use super::warm::{self, Migration};
use diskimg::text::shown;

/// An import whose files are open, planned and checked. Nothing was sent, and nothing was asked of
/// the cloud.
pub struct Prepared {
    /// With what a package says.
    pub(super) spec: ImportSpec,
    pub(super) pieces: Pieces,
    started: Instant,
}

/// Everything that can be decided and rejected without the network; what is `missing` of the
/// cloud's settings is reported together with it.
pub fn prepare(
    spec: &ImportSpec,
    provider: Option<ims::Cloud>,
    missing: &[Problem],
    observing: (&dyn Observer, &StopToken),
) -> Result<Prepared> {
    let budgets = std::slice::from_ref(&spec.work);
    let prepared = prepare_within(spec, provider, missing, budgets, observing)?;
    say_chosen(&prepared.spec, prepared.pieces.method, observing.0);
    Ok(prepared)
}

pub(super) fn prepare_within(
    spec: &ImportSpec,
    provider: Option<ims::Cloud>,
    missing: &[Problem],
    budgets: &[PlanOptions],
    observing: (&dyn Observer, &StopToken),
) -> Result<Prepared> {
    let started = Instant::now();
    let spec = spec.clone().of_machine(observing.0)?;
    let method = Method::choose(&spec)?;
    warm::check(&spec, method)?;
    let pieces = piece::prepare(&spec, method, provider, missing, budgets, observing)?;
    Ok(Prepared {
        spec,
        pieces,
        started,
    })
}

/// Imports.
pub async fn run(spec: &ImportSpec, cx: Context<'_>) -> Result<Outcome> {
    cx.observer.at(Step::Check);
    // Opening waits for the disk; other tasks must not.
    let prepared = tokio::task::block_in_place(|| {
        prepare(
            spec,
            cx.session.cloud().provider,
            &[],
            (cx.observer, cx.stop),
        )
    })?;
    // Many imports may run at the same time: their state lives on the heap.
    Box::pin(prepared.run(cx)).await
}

fn say_chosen(spec: &ImportSpec, method: Method, observer: &dyn Observer) {
    observer.notice(format_args!(
        "{} will be {} and {}: {}",
        shown(&spec.disk.name()),
        match (method.converts(), spec.data_disks.is_empty()) {
            (true, true) => "converted",
            (true, false) => "converted with its data disks",
            (false, _) => "uploaded unchanged",
        },
        match method.by {
            _ if spec.is_generation() => "not registered before the cutover",
            By::Quick => "registered by quick import",
            By::Common => "registered by common import",
            By::Glance => "registered in two steps",
            By::Nothing => "not registered",
        },
        method.why
    ));
}

impl Prepared {
    /// Adds what only the cloud's settings say.
    pub(super) fn complete(&mut self, cx: Context<'_>) {
        let enterprise = &mut self.pieces.system.request.enterprise_project_id;
        *enterprise = enterprise
            .take()
            .or_else(|| cx.session.cloud().enterprise_project_id.clone());
    }

    /// The free space of the system's disk, if it is to be copied and can be told. Reads as much
    /// as the metadata of its file systems.
    #[must_use]
    pub fn free_space(&self, stop: &StopToken) -> Option<freespace::FreeSpace> {
        let disk = self.pieces.system.form.disk();
        let disk = disk.filter(|disk| disk.discarded.is_none())?;
        let cancelled = || stop.token().is_cancelled();
        let options = freespace::Options::default();
        Some(freespace::find(disk.image.as_ref(), options, &cancelled))
    }

    /// Imports.
    pub async fn run(mut self, cx: Context<'_>) -> Result<Outcome> {
        self.complete(cx);
        let migration = Migration::begin(&mut self.spec, &mut self.pieces, cx).await?;
        let spec = self.spec.clone();
        let mut outcome = self.import(migration.as_ref(), cx).await?;
        if let Some(migration) = migration {
            migration.end(&spec, cx, &mut outcome).await;
        }
        Ok(outcome)
    }

    async fn import(self, migration: Option<&Migration>, cx: Context<'_>) -> Result<Outcome> {
        let Self {
            spec,
            pieces,
            started,
        } = self;
        let mut ledger = Ledger::open(&spec, cx, &pieces)?;
        let warnings = [pieces.told.as_slice(), &pieces.warnings].concat();
        let mut outcome = Outcome::new(&spec, &pieces, warnings);
        outcome.renamed = renamed_before(&ledger.system);
        for Renamed { image_id, name } in &outcome.renamed {
            cx.observer.notice(format_args!(
                "image {image_id} gave up its name to an earlier run; it is kept as {name:?}"
            ));
        }
        let mut flow = Flow {
            spec: &spec,
            cx,
            outcome,
            pieces,
            call: None,
            looked: false,
        };
        if flow.skip(&ledger).await? || flow.adopt(&mut ledger).await? {
            return Ok(flow.outcome);
        }
        let Checked {
            storage,
            existing,
            made,
            base,
            ..
        } = flow.check(&ledger).await?;
        if flow.registered_before(&storage, &mut ledger).await? {
            return Ok(flow.outcome);
        }
        let (earlier_generation, base) = match migration {
            Some(migration) => migration.base(&flow.pieces, cx).await?.unzip(),
            None => (None, base),
        };
        flow.outcome.stages.check_seconds = Stages::seconds(started.elapsed());
        let earlier = ledger
            .system
            .state()
            .and_then(|state| state.completed.clone());
        let sending = Sending {
            spec: &spec,
            cx,
            storage: &storage,
            base,
            generation_of: migration.and_then(Migration::generation_of),
        };
        let sent = flow.send(sending, existing, &mut ledger).await?;
        if let (Some(migration), Some(sent)) = (migration, sent.last()) {
            flow.outcome.warm = Some(migration.made(earlier_generation, sent));
        }
        // Nobody can have registered an object that this run has stored. Of a file that is uploaded
        // as it is, an image may exist that waits for its file.
        let is_new = sent.last().is_some_and(|sent| {
            let uploaded = &sent.uploaded;
            sent.content.is_some()
                && !sent.reused
                && earlier.is_none_or(|earlier| {
                    (earlier.size, &earlier.etag) != (uploaded.size, &uploaded.etag)
                })
        });
        let before = Before {
            registered: (cx.before.registered || made) && !is_new,
            ..cx.before
        };
        flow.register(&storage, &sent, before, &mut ledger).await?;
        Ok(flow.outcome)
    }
}

/// One run of an import.
struct Flow<'a> {
    spec: &'a ImportSpec,
    cx: Context<'a>,
    pieces: Pieces,
    outcome: Outcome,
    /// What registers the pieces, once it was chosen.
    call: Option<Arc<Call>>,
    /// Whether an image that an earlier run has registered was looked for, and there is none.
    looked: bool,
}

impl Flow<'_> {
    /// Ends the import because of what exists, if it is to be skipped then.
    async fn skip(&mut self, ledger: &Ledger) -> Result<bool> {
        let ours = ledger.system.ours();
        let looking = to_skip(self.spec, self.cx, &self.pieces, &ours);
        let Some(skipped) = self.cx.stop.unless_asked(looking).await?? else {
            return Ok(false);
        };
        self.outcome.set_skipped(skipped);
        self.outcome.peak_memory = peak_memory();
        Ok(true)
    }

    /// Follows what an earlier run has registered, before anything else is asked: neither its
    /// objects nor a free name are needed for it. Says whether that was all.
    async fn adopt(&mut self, ledger: &mut Ledger) -> Result<bool> {
        if !self.spec.registers() || !ledger.system.known().may_have_an_image() {
            return Ok(false);
        }
        let mut sent = Vec::new();
        for (piece, entry) in self.pieces.all().zip(ledger.all()) {
            match noted(piece, entry)? {
                Some(earlier) => sent.push(earlier),
                None => return Ok(false),
            }
        }
        let registering = Instant::now();
        let call = self.call().await?;
        let attach = Attach {
            entry: &ledger.system,
            before: self.cx.before,
        };
        let patience = self.patience();
        let asking = self.asking(self.cx.storage, &call, &attach, &patience);
        let Some(registered) = asking.adopt().await? else {
            ledger.system.image_is_gone();
            self.looked = true;
            return Ok(false);
        };
        self.cx.observer.at(Step::Register);
        self.outcome.set_sent(&sent);
        self.outcome.stages.register_seconds = Stages::seconds(registering.elapsed());
        self.finish(&registered, &sent, ledger).await?;
        Ok(true)
    }

    /// Asks the cloud whether everything can work.
    async fn check(&mut self, ledger: &Ledger) -> Result<Checked> {
        let ours = ledger.ours(self.cx.before);
        let mut warnings = Vec::new();
        name_os(self.spec, self.cx, &mut self.pieces).await;
        let checking = preflight(self.spec, self.cx, &self.pieces, &ours, &mut warnings);
        let checked = self.cx.stop.unless_asked(checking).await??;
        for warning in self.pieces.warnings.iter().chain(&warnings) {
            self.cx.observer.warn(format_args!("{warning}"));
        }
        self.outcome.warnings.append(&mut warnings);
        self.call().await?;
        Ok(checked)
    }

    /// What registers the pieces.
    async fn call(&mut self) -> Result<Arc<Call>> {
        if let Some(call) = &self.call {
            return Ok(Arc::clone(call));
        }
        let (method, call) = choose_call(self.spec, self.cx, &self.pieces).await?;
        self.outcome.set_method(method);
        let call = Arc::new(call);
        self.call = Some(Arc::clone(&call));
        Ok(call)
    }

    /// Whether another worker has registered the image of a file that is uploaded as it is: no
    /// manifest helps to find its object again. A journal that has come as far as the registration
    /// knows more.
    async fn registered_before(&mut self, storage: &Storage, ledger: &mut Ledger) -> Result<bool> {
        let system = &self.pieces.system;
        if !self.cx.before.registered
            || !matches!(system.form, Form::Bytes(_))
            || !self.pieces.data.is_empty()
            || matches!(
                ledger.system.known(),
                Known::Sent | Known::Job | Known::Done
            )
        {
            return Ok(false);
        }
        let Some(made) = made_before(self.spec, self.cx, storage, system).await? else {
            return Ok(false);
        };
        self.outcome.set_image(&made);
        self.outcome.reused = true;
        if let Some(id) = self.outcome.image_id.clone() {
            ledger.finish_unused(storage, &id, self.cx).await?;
        }
        Ok(true)
    }

    /// Sends one piece after the other, the system's last.
    async fn send(
        &mut self,
        sending: Sending<'_>,
        existing: Vec<Option<Existing>>,
        ledger: &mut Ledger,
    ) -> Result<Vec<Sent>> {
        for disk in self.pieces.all().filter_map(|piece| piece.form.disk()) {
            self.cx.observer.notice(format_args!("{}", disk.plan));
        }
        let (mut complete, mut warnings) = (Vec::new(), Vec::new());
        let pieces = self.pieces.all_mut().zip(ledger.all_mut());
        for ((piece, entry), existing) in pieces.zip(existing) {
            let sent = sending
                .send(piece, existing, entry, &mut warnings)
                .await
                .map_err(|failure| stay(failure, complete.iter().map(|(url, _)| url)))?;
            complete.push((piece.request.image_url.clone(), sent));
        }
        self.outcome.warnings.append(&mut warnings);
        let sent: Vec<Sent> = complete.into_iter().map(|(_, sent)| sent).collect();
        self.outcome.set_sent(&sent);
        Ok(sent)
    }

    /// Registers everything by one call, unless nothing is to be registered, and follows its job.
    async fn register(
        &mut self,
        storage: &Storage,
        sent: &[Sent],
        before: Before,
        ledger: &mut Ledger,
    ) -> Result {
        if !self.spec.registers() {
            ledger.finish(None, self.cx);
            self.outcome.peak_memory = peak_memory();
            return Ok(());
        }
        let observer = self.cx.observer;
        observer.at(Step::Register);
        observer
            .may_register()
            .await
            .map_err(|failure| ledger.system.goes_on(self.all_stay(failure)))?;
        for (piece, sent) in self.pieces.all().zip(sent) {
            observer.notice(format_args!(
                "{} is complete: {} bytes, ETag {}",
                piece.request.image_url, sent.uploaded.size, sent.uploaded.etag
            ));
        }
        observer.notice(format_args!("registering image {:?}", self.spec.name));
        let registering = Instant::now();
        let call = self.call().await?;
        let attach = Attach {
            entry: &ledger.system,
            before,
        };
        if self.spec.if_exists == IfExists::Replace {
            for piece in self.pieces.all() {
                let freeing = free_name(self.cx, storage, &piece.request, &call, &attach);
                let freed = freeing.await;
                let freed =
                    freed.map_err(|failure| ledger.system.goes_on(self.all_stay(failure)))?;
                for renamed in freed {
                    if !self.outcome.renamed.contains(&renamed) {
                        self.outcome.renamed.push(renamed);
                    }
                }
            }
        }
        let patience = self.patience();
        let asking = self.asking(Some(storage), &call, &attach, &patience);
        let registered = asking.register().await;
        let registered = registered.map_err(|failure| self.all_stay(failure))?;
        self.outcome.stages.register_seconds = Stages::seconds(registering.elapsed());
        self.finish(&registered, sent, ledger).await
    }

    fn patience(&self) -> WaitOptions {
        WaitOptions {
            timeout: self.spec.timeout,
            ..self.cx.session.cloud().patience()
        }
    }

    fn asking<'b>(
        &'b self,
        storage: Option<&'b Storage>,
        call: &'b Call,
        attach: &'b Attach<'b>,
        patience: &'b WaitOptions,
    ) -> Asking<'b> {
        Asking {
            client: self.cx.session.images(),
            storage,
            request: &self.pieces.system.request,
            call,
            attach,
            patience,
            waits: self.spec.wait,
            looked: self.looked,
            observer: self.cx.observer,
            stop: self.cx.stop,
        }
    }

    /// Checks the images, waits for those of data disks that were registered with the system, and
    /// ends the journals.
    async fn finish(
        &mut self,
        registered: &Registered,
        sent: &[Sent],
        ledger: &mut Ledger,
    ) -> Result {
        self.outcome.set_image(registered);
        self.outcome.peak_memory = peak_memory();
        if registered.image_id.is_some() {
            let digest = sent.last().and_then(Sent::digest);
            self.outcome.check_image(registered, digest.as_ref())?;
            // Nobody knows the job that makes them, so they are waited for like their system.
            let making = registered.job_id.is_none();
            let making = making.then(|| Instant::now() + self.spec.timeout);
            for (index, (piece, sent)) in self.pieces.data.iter().zip(sent).enumerate() {
                let made = made_beside(self.cx, &piece.request, making).await;
                let made = made.map_err(|failure| {
                    ledger.system.goes_on(failure.data("import", &self.outcome))
                })?;
                self.outcome.check_image(&made, sent.digest().as_ref())?;
                if let Some(image) = self.outcome.data_images.get_mut(index) {
                    image.image_id = made.image_id.as_ref().map(ToString::to_string);
                    image.status = made.status;
                }
            }
        }
        ledger.finish(self.outcome.image_id.as_deref(), self.cx);
        Ok(())
    }

    /// Adds that the objects are not deleted.
    fn all_stay(&self, failure: Failure) -> Failure {
        let renamed = self
            .outcome
            .renamed
            .iter()
            .fold(failure, |failure, renamed| {
                failure.note(format!(
                    "image {} was renamed to {:?} and is kept",
                    renamed.image_id, renamed.name
                ))
            });
        let objects = self.pieces.all().map(|piece| &piece.request.image_url);
        stay(renamed, objects)
    }
}

/// Adds that objects are not deleted.
fn stay<'a>(failure: Failure, objects: impl Iterator<Item = &'a ImageUrl>) -> Failure {
    objects.fold(failure, |failure, object| {
        failure.note(format!(
            "the object {object} is complete and stays in the bucket"
        ))
    })
}
