//! The journal of this import: what an interrupted run has left, and what the next one will find.
//!
//! ```text
//!  Session::open ── locks the journal, decides: go on, or begin anew and why
//!     │ upload::transfer ── begin or resume, blocks and parts noted on the way, sent, completed
//!     │ register ── registering, job (or declined)
//!     └─ finish ── done
//! ```

mod beginning;
mod earlier;
mod noted;
mod notes;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use ::convert::{Level, Plan};
use diskimg::DiskImage;
use journal::{
    Begun, Completed, Found, Journal, PlanRecord, Record, Sameness, SourceIdentity, State,
    StateDir, Target,
};
use obs::{Client, Uploaded};

use self::beginning::{begun, begun_of_file, identify, parse_hex, source};
pub(crate) use self::beginning::{command_line, endpoint, endpoint_of};
pub(crate) use self::noted::Ours;
pub(super) use self::notes::Notes;
use crate::args::ImportArgs;
use crate::commands::identity;
use crate::commands::input::is_standard_input;
use crate::commands::watch::{self, Watch};
use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome};
use cloud::Cloud;
use cloud::{from_journal, from_obs};

/// One import and its journal.
pub(crate) struct Session {
    /// None where nothing survives this process: a sandbox in a temporary directory.
    notes: Option<Notes>,
    dir: Option<StateDir>,
    /// What an earlier run has done, while that still counts.
    state: Option<Box<State>>,
    /// Whether `state` is what was kept of an import that is done: its journal is gone.
    ended: bool,
    /// What was kept of an upload that is done.
    kept: Option<Box<State>>,
    /// Address of the image service.
    service: String,
    /// An upload of an earlier run that is of no use any more.
    stale: Option<String>,
    /// None for a disk on a pipe, which is gone when it was read.
    source: Option<SourceIdentity>,
    /// Whether the disk came from standard input.
    streamed: bool,
    /// Whether the disk builds on files that its image names.
    layered: bool,
    /// All files of the disk, as they were when it was opened.
    watch: Watch,
    begun: Begun,
}

/// What becomes one object.
#[derive(Clone, Copy)]
pub(super) struct Input<'a> {
    /// The file.
    pub(super) file: &'a Path,
    /// Name of the image.
    pub(super) name: &'a str,
    pub(super) how: How<'a>,
}

/// What is sent of a file.
#[derive(Clone, Copy)]
pub(super) enum How<'a> {
    /// Its bytes.
    AsItIs,
    /// The disk inside.
    Converted {
        plan: &'a Plan,
        /// What is read, if not its active disk.
        snapshot: Option<&'a str>,
        /// Whether the disk builds on files that its image names.
        layered: bool,
    },
}

impl<'a> Input<'a> {
    /// The disk of an import that is converted.
    pub(super) fn disk(args: &'a ImportArgs, plan: &'a Plan, image: &dyn DiskImage) -> Self {
        Self {
            file: &args.disk,
            name: &args.name,
            how: How::Converted {
                plan,
                snapshot: args.source.part(),
                layered: !image.details().refers_to.is_empty(),
            },
        }
    }
}

impl Session {
    /// Opens the journal of one object of this import, and decides whether it goes on.
    pub(super) fn open(
        args: &ImportArgs,
        cloud: &Cloud,
        object: (&str, &str),
        input: Input<'_>,
        console: Console,
    ) -> Outcome<Self> {
        let session = Self::of(args, cloud, object, input)?;
        match state_dir(args)? {
            Some(dir) => session.keep(dir, args.restart, console),
            None => Ok(session),
        }
    }

    /// The same without a journal to write to: what would be gone on with. Nothing is made or
    /// locked.
    pub(super) fn peek(
        args: &ImportArgs,
        cloud: &Cloud,
        object: (&str, &str),
        input: Input<'_>,
        console: Console,
    ) -> Outcome<Self> {
        let mut session = Self::of(args, cloud, object, input)?;
        if let Some(dir) = state_dir(args)? {
            let path = dir.path_of(&session.target());
            if path.exists() {
                let found = Journal::peek(&path).map_err(|error| from_journal(&error))?;
                session.take_up(args.restart, found, &path, console);
            }
        }
        Ok(session)
    }

    fn of(
        args: &ImportArgs,
        cloud: &Cloud,
        object: (&str, &str),
        input: Input<'_>,
    ) -> Outcome<Self> {
        let endpoint = endpoint_of(&args.cloud, cloud);
        let service = match &args.cloud.sandbox {
            // Its port is another one in each run.
            Some(Some(_)) => endpoint.clone(),
            _ => cloud.ims.to_string(),
        };
        let How::Converted {
            plan,
            snapshot,
            layered,
        } = input.how
        else {
            let source = identify(input.file)?;
            let begun = Begun {
                name: input.name.to_owned(),
                ..begun_of_file(endpoint, object, &source)
            };
            return Ok(Self {
                service,
                ..Self::new(begun, Some(source))
            });
        };
        let source = source(input.file)?;
        let begun = begun(
            (input.name, snapshot),
            endpoint,
            object,
            plan,
            source.as_ref(),
        );
        Ok(Self {
            streamed: is_standard_input(input.file),
            layered,
            service,
            ..Self::new(begun, source)
        })
    }

    /// For `file`, which is uploaded as it is into `key` of `bucket`; with `journal` its directory,
    /// if one was given, and whether to begin anew. Without it nothing outlives this process.
    pub(crate) fn of_file(
        file: &Path,
        (endpoint, bucket, key): (String, &str, &str),
        journal: Option<(Option<&Path>, bool)>,
        console: Console,
    ) -> Outcome<Self> {
        let source = identify(file)?;
        let begun = begun_of_file(endpoint, (bucket, key), &source);
        let session = Self::new(begun, Some(source));
        match journal {
            Some((dir, restart)) => session.keep(resolve(dir)?, restart, console),
            None => Ok(session),
        }
    }

    fn new(begun: Begun, source: Option<SourceIdentity>) -> Self {
        Self {
            notes: None,
            dir: None,
            state: None,
            ended: false,
            kept: None,
            service: String::new(),
            stale: None,
            source,
            streamed: false,
            layered: false,
            watch: Watch::default(),
            begun,
        }
    }

    /// The same, of a disk whose files are watched.
    pub(super) fn watching(self, watch: Watch) -> Self {
        Self { watch, ..self }
    }

    /// Opens the journal, and takes up what it says.
    fn keep(mut self, dir: StateDir, restart: bool, console: Console) -> Outcome<Self> {
        let (journal, found) = dir
            .open(&self.target())
            .map_err(|error| from_journal(&error))?;
        self.take_up(restart, found, journal.path(), console);
        self.notes = Some(Notes(Arc::new(Mutex::new(journal))));
        self.dir = Some(dir);
        Ok(self)
    }

    fn target(&self) -> Target<'_> {
        Target {
            endpoint: &self.begun.endpoint,
            bucket: &self.begun.bucket,
            key: &self.begun.key,
        }
    }

    /// The upload of an earlier run that is of no use any more, until [`Session::begin`] throws it
    /// away.
    pub(super) fn stale(&self) -> Option<&str> {
        self.stale.as_deref()
    }

    /// What an earlier run has done.
    pub(super) fn state(&self) -> Option<&State> {
        self.state.as_deref()
    }

    /// Uuid and time of the stream.
    pub(super) fn identity(&self) -> zvhd2::Identity {
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
    pub(super) fn why_not_again(&self) -> Option<&'static str> {
        self.streamed.then_some(
            "what came from standard input cannot be read again, so the import begins anew next time",
        )
    }

    pub(super) fn notes(&self) -> Option<&Notes> {
        self.notes.as_ref()
    }

    /// Forgets what an earlier run has done.
    pub(super) fn forget(&mut self) {
        self.ended = false;
        if let Some(state) = self.state.take() {
            self.stale = state.upload.filter(|_| state.completed.is_none());
        }
    }

    /// Begins anew: throws away the upload of an earlier run, and what was noted of it.
    pub(super) async fn begin(&mut self, storage: &Client, console: Console) -> Outcome {
        self.state = None;
        self.ended = false;
        self.kept = None;
        if let Some(id) = self.stale.take() {
            let (bucket, key) = (&self.begun.bucket, &self.begun.key);
            match storage.abort_upload(bucket, key, &id).await {
                Ok(()) => console.notice(format_args!(
                    "the earlier upload {id} of {bucket}/{key} was thrown away"
                )),
                Err(error) => console.warn(format_args!(
                    "the earlier upload {id} of {bucket}/{key} could not be thrown away, its parts cost money: {}",
                    from_obs(&error)
                )),
            }
        }
        self.tell_left_behind(storage, console).await;
        if let Some(notes) = &self.notes {
            let begun = self.begun.clone();
            notes.lock().begin(begun).map_err(|e| from_journal(&e))?;
        }
        Ok(())
    }

    /// Nothing was begun: the journal says nothing, and goes with this process.
    pub(super) fn discard(&self) {
        if let Some(notes) = &self.notes {
            // One that cannot be emptied waits for a command that begins anew.
            let _ = notes.lock().discard();
        }
    }

    /// Writes `record`, to stay.
    pub(super) fn record(&self, record: &Record) -> Outcome {
        match &self.notes {
            Some(notes) => notes.lock().record(record).map_err(|e| from_journal(&e)),
            None => Ok(()),
        }
    }

    /// Writes that the object is there.
    pub(super) fn completed(&self, uploaded: &Uploaded) -> Outcome {
        self.record(&Record::Completed(Completed {
            size: uploaded.size,
            etag: uploaded.etag.clone(),
            etag_verified: uploaded.etag_verified,
            parts: uploaded.parts,
        }))
    }

    /// What looking at the source tells of the one that the interrupted run read.
    pub(super) fn sameness(&self) -> Option<Sameness> {
        let then = &self.state.as_ref()?.begun.source;
        Some(then.compare(self.source.as_ref()?))
    }

    /// The source, for messages.
    pub(super) fn source_path(&self) -> Option<&str> {
        self.source.as_ref().map(|source| source.path.as_str())
    }

    /// Whether the source has changed, so that going on would be in vain.
    pub(super) fn source_changed(&self) -> bool {
        // One that cannot be looked at may come back as it was.
        matches!(self.check_source(), Err(failure) if failure.class() == Exit::Refused)
    }

    /// Refuses a source that has changed since the run began: what was read of it is no one disk.
    pub(super) fn check_source(&self) -> Outcome {
        match &self.source {
            // The source is one of the files that are watched.
            _ if !self.watch.is_empty() => self.watch.unchanged(),
            Some(source) => watch::check(Path::new(&source.path), source),
            None => Ok(()),
        }
    }

    /// Says in `failure` how to go on, when a journal remembers this import.
    pub(super) fn goes_on(&self, failure: Failure) -> Failure {
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
                    "the same command begins the upload anew unless it was complete, because the disk builds on other files: {command}"
                )
            } else {
                format!("the same command goes on from there: {command}")
            })
    }

    /// The import is done. That its journal cannot say so is no failure of the import: the next run
    /// of the same command finds out.
    pub(crate) fn finish(&mut self, image: Option<&str>, console: Console) {
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
            console.warn(format_args!(
                "the import is done, but its journal cannot be ended: {}",
                failure.line()
            ));
        }
        if let Some(dir) = &self.dir {
            dir.prune(SystemTime::now());
        }
    }
}

fn level(plan: &PlanRecord) -> String {
    level_of(plan).map_or_else(String::new, |level| format!(", level {level}"))
}

/// The level that a journal says.
pub(crate) fn level_of(plan: &PlanRecord) -> Option<Level> {
    match plan.auto_level {
        true => Some(Level::Auto),
        false => plan.level.map(Level::Fixed),
    }
}

/// Where journals are; `None` for an import of which nothing is left that could go on.
fn state_dir(args: &ImportArgs) -> Outcome<Option<StateDir>> {
    // The same command would find another standard input.
    if matches!(args.cloud.sandbox, Some(None)) || is_standard_input(&args.disk) {
        return Ok(None);
    }
    resolve(args.state.state_dir.as_deref()).map(Some)
}

/// The upload that the journal of an import here could go on with.
pub(crate) fn upload_of(args: &ImportArgs, cloud: &Cloud, key: &str) -> Option<String> {
    let dir = state_dir(args).ok()??;
    let endpoint = endpoint_of(&args.cloud, cloud);
    let target = Target {
        endpoint: &endpoint,
        bucket: &args.bucket,
        key,
    };
    match Journal::peek(&dir.path_of(&target)).ok()? {
        Found::Import(state, _) => state.upload,
        Found::Nothing | Found::Unreadable { .. } => None,
    }
}

fn resolve(dir: Option<&Path>) -> Outcome<StateDir> {
    StateDir::resolve(dir, |name| std::env::var_os(name)).map_err(|error| from_journal(&error))
}
