//! The journal of one object of an import: what an interrupted run has left, and what the next one
//! will find.
//!
//! ```text
//!  Entry::open ── locks the journal, decides whether to resume or to start over, and why
//!     │ send ── begins or resumes; blocks and parts are recorded, then sent, completed
//!     │ register ── registering, job (or declined)
//!     └─ finish ── done
//! ```

use cloud::{Class, Failure, Result, Session, from_journal, from_obs};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use ::convert::{Level, Plan};
use journal::{
    Begun, Completed, Found, Journal, PlanRecord, Record, Sameness, SourceIdentity, State,
    StateDir, Target,
};
use obs::{Client, Uploaded};

use super::begin::{begun, begun_of_file, command_line, identify, identity, parse_hex, source};
use super::notes::Notes;
use crate::observe::Observer;
use crate::spec::{IfExists, ImportSpec, JournalSpec};
use crate::stdin::is_standard_input;
use crate::watch::{self, Watch};

/// One import and its journal.
pub(crate) struct Entry {
    /// None where nothing survives this process: a sandbox in a temporary directory.
    pub(super) notes: Option<Notes>,
    pub(super) dir: Option<StateDir>,
    /// What an earlier run has done, while that still counts.
    pub(super) state: Option<Box<State>>,
    /// Whether `state` is what was kept of an import that is done: its journal is gone.
    pub(super) ended: bool,
    /// Whether an import that is done counts. Otherwise its image and object are like any others.
    pub(super) done_counts: bool,
    /// What was kept of an upload that is done.
    pub(super) kept: Option<Box<State>>,
    /// Address of the image service.
    pub(super) service: String,
    /// An upload of an earlier run that is of no use any more.
    pub(super) stale: Option<String>,
    /// None for a disk on a pipe, which is gone when it was read.
    pub(super) source: Option<SourceIdentity>,
    /// Why the disk cannot be read again.
    pub(super) once: Option<&'static str>,
    /// Whether the disk builds on files that its image names.
    pub(super) layered: bool,
    /// All files of the disk, as they were when it was opened.
    pub(super) watch: Watch,
    pub(super) begun: Begun,
}

const STREAMED: &str =
    "what came from standard input cannot be read again, so the import begins anew next time";

/// What becomes one object.
#[derive(Clone, Copy)]
pub(crate) struct Input<'a> {
    /// The file, or the first of several.
    pub(crate) file: &'a Path,
    /// Name of the image.
    pub(crate) name: &'a str,
    /// All files of the disk, as they were when it was opened.
    pub(crate) watch: &'a Watch,
    /// How many data disks are registered together with it.
    pub(crate) data_disks: usize,
    pub(crate) how: How<'a>,
}

/// What is sent of a file.
#[derive(Clone, Copy)]
pub(crate) enum How<'a> {
    /// Its bytes.
    AsItIs,
    /// The disk inside.
    Converted {
        plan: &'a Plan,
        /// What is read, if not its active disk.
        part: Option<&'a str>,
        /// The disk of a package.
        member: Option<&'a str>,
        /// Hash of the map of free space that is left out.
        discarded: Option<&'a str>,
        /// Whether the disk builds on files that its image names.
        layered: bool,
    },
}

impl Entry {
    /// Opens the journal of one object of an import, and decides whether to resume.
    pub(crate) fn open(
        spec: &ImportSpec,
        session: &Session,
        object: (&str, &str),
        input: Input<'_>,
        observer: &dyn Observer,
    ) -> Result<Self> {
        let entry = Self::of(spec, session, object, input)?;
        match entry.state_dir(spec)? {
            Some(dir) => entry.keep(dir, spec.restart, observer),
            None => Ok(entry),
        }
    }

    /// The same without a journal to write to: what would be resumed. Nothing is created or locked.
    pub(crate) fn peek(
        spec: &ImportSpec,
        session: &Session,
        object: (&str, &str),
        input: Input<'_>,
        observer: &dyn Observer,
    ) -> Result<Self> {
        let mut entry = Self::of(spec, session, object, input)?;
        if let Some(dir) = entry.state_dir(spec)? {
            let path = dir.path_of(&entry.target());
            if path.exists() {
                let found = Journal::peek(&path).map_err(|error| from_journal(&error))?;
                entry.take_up(spec.restart, found, &path, observer);
            }
        }
        Ok(entry)
    }

    /// Where its journal is; `None` when there is nothing to go on with: a disk that can be read
    /// once has to come from its beginning again.
    fn state_dir(&self, spec: &ImportSpec) -> Result<Option<StateDir>> {
        match self.once {
            Some(_) => Ok(None),
            None => state_dir(spec),
        }
    }

    fn of(
        spec: &ImportSpec,
        session: &Session,
        object: (&str, &str),
        input: Input<'_>,
    ) -> Result<Self> {
        let journal = spec.journal.as_ref();
        let endpoint = session.endpoint();
        let service = match session.is_local() {
            // Its port is another one in each run.
            true => endpoint.clone(),
            false => session.cloud().ims.to_string(),
        };
        let done_counts = matches!(spec.if_exists, IfExists::Adopt | IfExists::Skip);
        let How::Converted {
            plan,
            part,
            member,
            discarded,
            layered,
        } = input.how
        else {
            let source = identify(input.file)?;
            let begun = Begun {
                name: input.name.to_owned(),
                data_disks: input.data_disks as u64,
                ..begun_of_file(endpoint, object, &source, journal)
            };
            return Ok(Self {
                service,
                done_counts,
                watch: input.watch.clone(),
                ..Self::new(begun, Some(source))
            });
        };
        let stdin = is_standard_input(input.file);
        let source = match input.watch.export() {
            Some(export) => Some(export.clone()),
            None => source(input.file)?,
        };
        let named = (input.name, part);
        let mut begun = begun(named, endpoint, object, plan, source.as_ref(), journal);
        begun.plan.member = member.map(str::to_owned);
        begun.plan.discarded = discarded.map(str::to_owned);
        begun.data_disks = input.data_disks as u64;
        begun.verified = input.watch.verifies();
        begun.other_files = input.watch.others().filter(|_| layered);
        Ok(Self {
            once: stdin.then_some(STREAMED),
            layered,
            service,
            done_counts,
            watch: input.watch.clone(),
            ..Self::new(begun, source)
        })
    }

    /// For `file`, which is uploaded as it is into `key` of `bucket` at `endpoint`.
    /// Without a journal nothing outlives this process; `restart` discards what an interrupted run
    /// has stored.
    pub(crate) fn of_file(
        file: &Path,
        (endpoint, bucket, key): (String, &str, &str),
        journal: Option<&JournalSpec>,
        restart: bool,
        observer: &dyn Observer,
    ) -> Result<Self> {
        let source = identify(file)?;
        let begun = begun_of_file(endpoint, (bucket, key), &source, journal);
        let entry = Self::new(begun, Some(source));
        match journal {
            Some(journal) => entry.keep(resolve(journal.dir.as_deref())?, restart, observer),
            None => Ok(entry),
        }
    }

    fn new(begun: Begun, source: Option<SourceIdentity>) -> Self {
        Self {
            notes: None,
            dir: None,
            state: None,
            ended: false,
            done_counts: true,
            kept: None,
            service: String::new(),
            stale: None,
            source,
            once: None,
            layered: false,
            watch: Watch::default(),
            begun,
        }
    }

    /// Opens the journal, and takes up what it says.
    fn keep(mut self, dir: StateDir, restart: bool, observer: &dyn Observer) -> Result<Self> {
        let (journal, found) = dir
            .open(&self.target())
            .map_err(|error| from_journal(&error))?;
        self.take_up(restart, found, journal.path(), observer);
        self.notes = Some(Notes(Arc::new(Mutex::new(journal))));
        self.dir = Some(dir);
        Ok(self)
    }

    pub(super) fn target(&self) -> Target<'_> {
        Target {
            endpoint: &self.begun.endpoint,
            bucket: &self.begun.bucket,
            key: &self.begun.key,
        }
    }

    /// The upload of an earlier run that is of no use any more, until [`Entry::begin`] throws it
    /// away.
    pub(crate) fn stale(&self) -> Option<&str> {
        self.stale.as_deref()
    }

    /// What an earlier run has done.
    pub(crate) fn state(&self) -> Option<&State> {
        self.state.as_deref()
    }

    /// Uuid and time of the stream.
    pub(crate) fn identity(&self) -> zvhd2::Identity {
        let begun = self
            .state
            .as_ref()
            .map_or(&self.begun, |state| &state.begun);
        let mut uuid = [0; 16];
        match parse_hex(&begun.uuid, &mut uuid) {
            true => zvhd2::Identity {
                uuid,
                timestamp: begun.timestamp,
            },
            false => identity(),
        }
    }

    /// Why this import could not go on if it were interrupted, when somebody may expect it to.
    pub(crate) fn why_not_again(&self) -> Option<&'static str> {
        self.once
    }

    pub(crate) fn notes(&self) -> Option<&Notes> {
        self.notes.as_ref()
    }

    /// Forgets what an earlier run has done.
    pub(crate) fn forget(&mut self) {
        self.ended = false;
        if let Some(state) = self.state.take() {
            self.stale = state.upload.filter(|_| state.completed.is_none());
        }
    }

    /// The object was stored then, by another import.
    pub(crate) fn date_back(&mut self, stored: Option<i64>) {
        let stored = stored.and_then(|stored| u64::try_from(stored).ok());
        self.begun.started = stored.unwrap_or_default();
    }

    /// Starts over: aborts the upload of an earlier run, and forgets its records.
    pub(crate) async fn begin(&mut self, storage: &Client, observer: &dyn Observer) -> Result {
        self.state = None;
        self.ended = false;
        self.kept = None;
        if let Some(id) = self.stale.take() {
            let (bucket, key) = (&self.begun.bucket, &self.begun.key);
            match storage.abort_upload(bucket, key, &id).await {
                Ok(()) => observer.notice(format_args!(
                    "the earlier upload {id} of {bucket}/{key} was aborted"
                )),
                Err(error) => observer.warn(format_args!(
                    "the earlier upload {id} of {bucket}/{key} could not be aborted; its parts are still charged: {}",
                    from_obs(&error)
                )),
            }
        }
        self.tell_left_behind(storage, observer).await;
        if let Some(notes) = &self.notes {
            let begun = self.begun.clone();
            notes.lock().begin(begun).map_err(|e| from_journal(&e))?;
        }
        Ok(())
    }

    /// Nothing is left that could be gone on with: the journal says nothing, and goes with this
    /// process.
    pub(crate) fn discard(&self) {
        if let Some(notes) = &self.notes {
            // One that cannot be emptied waits for a command that begins anew.
            let _ = notes.lock().discard();
        }
    }

    /// Writes `record`, to stay.
    pub(crate) fn record(&self, record: &Record) -> Result {
        match &self.notes {
            Some(notes) => notes.lock().record(record).map_err(|e| from_journal(&e)),
            None => Ok(()),
        }
    }

    /// Writes that the object is there.
    pub(crate) fn completed(&self, uploaded: &Uploaded) -> Result {
        self.record(&Record::Completed(Completed {
            size: uploaded.size,
            etag: uploaded.etag.clone(),
            etag_verified: uploaded.etag_verified,
            parts: uploaded.parts,
        }))
    }

    /// What looking at the source tells of the one that the interrupted run read.
    pub(crate) fn sameness(&self) -> Option<Sameness> {
        let then = &self.state.as_ref()?.begun.source;
        Some(then.compare(self.source.as_ref()?))
    }

    /// The source, for messages.
    pub(crate) fn source_path(&self) -> Option<&str> {
        self.source.as_ref().map(|source| source.path.as_str())
    }

    /// Whether the source has changed, so that going on would be in vain.
    pub(crate) fn source_changed(&self) -> bool {
        // One that cannot be looked at may come back as it was.
        matches!(self.check_source(), Err(failure) if failure.class() == Class::Refused)
    }

    /// All files of the source, as they were when it was opened.
    pub(crate) fn watch(&self) -> &Watch {
        &self.watch
    }

    /// Refuses a source that has changed since the run began: what was read of it is no one disk.
    pub(crate) fn check_source(&self) -> Result {
        match &self.source {
            // The source is one of the files that are watched.
            _ if !self.watch.is_empty() => self.watch.same_files(),
            Some(source) => watch::check(Path::new(&source.path), source),
            None => Ok(()),
        }
    }

    /// The same, and refuses a disk of a package that is not what the manifest says. Waits until
    /// all of it was looked at.
    pub(crate) fn verify_source(&self) -> Result {
        // Other tasks go on meanwhile.
        tokio::task::block_in_place(|| self.watch.unchanged())?;
        self.check_source()
    }

    /// Says in `failure` how to resume, if this import has a journal.
    pub(crate) fn goes_on(&self, failure: Failure) -> Failure {
        let Some(notes) = &self.notes else {
            return failure;
        };
        let journal = notes.lock().path().display().to_string();
        let command = command_line(&self.begun.command);
        failure
            .data("journal", &journal)
            .data("command", &command)
            .hint(if self.layered {
                // Once the object is complete nothing of the disk is read again.
                format!(
                    "unless the upload was complete, the same command starts over, because the disk is based on other files: {command}"
                )
            } else {
                format!("to resume, run: {command}")
            })
    }

    /// The import is done. That its journal cannot say so is no failure of the import: the next run
    /// of the same command finds out.
    pub(crate) fn finish(&mut self, image: Option<&str>, observer: &dyn Observer) {
        if self.ended || self.kept.is_some() {
            // What was kept of it says so already.
            self.notes = None;
            return;
        }
        let told = self.record(&Record::Active {
            image: image.map(str::to_owned),
        });
        let ended = told.and_then(|()| match self.notes.take() {
            Some(notes) => notes.lock().finish().map_err(|e| from_journal(&e)),
            None => Ok(()),
        });
        if let Err(failure) = ended {
            observer.warn(format_args!(
                "the import is finished, but its journal could not be closed: {}",
                failure.line()
            ));
        }
        if let Some(dir) = &self.dir {
            dir.prune(SystemTime::now());
        }
    }
}

pub(super) fn level(plan: &PlanRecord) -> String {
    level_of(plan).map_or_else(String::new, |level| format!(", level {level}"))
}

/// The level that a journal says.
pub fn level_of(plan: &PlanRecord) -> Option<Level> {
    match plan.auto_level {
        true => Some(Level::Auto),
        false => plan.level.map(Level::Fixed),
    }
}

/// Where journals are; `None` for an import that cannot be resumed.
pub(crate) fn state_dir(spec: &ImportSpec) -> Result<Option<StateDir>> {
    match &spec.journal {
        // The same command would find another standard input.
        Some(journal) if !is_standard_input(&spec.disk.path) => {
            resolve(journal.dir.as_deref()).map(Some)
        }
        _ => Ok(None),
    }
}

/// The upload that the journal of an import here could resume.
pub fn upload_of(spec: &ImportSpec, session: &Session, key: &str) -> Option<String> {
    journal_of(spec, session, key)?.upload
}

/// Whether an import here has begun to make the object `key`, and not finished.
pub(crate) fn is_unfinished(spec: &ImportSpec, session: &Session, key: &str) -> bool {
    let state = journal_of(spec, session, key);
    state.is_some_and(|state| state.upload.is_some() && state.active.is_none())
}

/// What the journal of an import here says.
fn journal_of(spec: &ImportSpec, session: &Session, key: &str) -> Option<Box<State>> {
    let dir = state_dir(spec).ok()??;
    let endpoint = session.endpoint();
    let target = Target {
        endpoint: &endpoint,
        bucket: &spec.bucket,
        key,
    };
    match Journal::peek(&dir.path_of(&target)).ok()? {
        Found::Import(state, _) => Some(state),
        Found::Nothing | Found::Unreadable { .. } => None,
    }
}

fn resolve(dir: Option<&Path>) -> Result<StateDir> {
    StateDir::resolve(dir, |name| std::env::var_os(name)).map_err(|error| from_journal(&error))
}
