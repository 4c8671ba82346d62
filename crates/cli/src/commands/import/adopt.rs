//! What an earlier run has registered, before anything else is asked: neither its object nor a free
//! name is needed for it.

use std::time::Instant;

use super::attach::Attach;
use super::call::Call;
use super::patience_of;
use super::prepare::Job;
use super::register::Asking;
use super::report::{Facts, Imported, Stages};
use super::resuming::Session;
use super::shared::{Shared, Step};
use super::upload::as_noted;
use crate::args::ImportArgs;
use crate::console::Console;
use crate::exit::Outcome;
use crate::interrupt::Interrupt;

/// An import whose journal may know of a registration.
pub(super) struct Early<'a> {
    pub(super) args: &'a ImportArgs,
    pub(super) job: &'a Job,
    pub(super) shared: Shared<'a>,
    pub(super) session: &'a mut Session,
    pub(super) console: Console,
    pub(super) interrupt: &'a Interrupt,
}

/// What came of it.
pub(super) enum Adopted {
    /// The journal knows of none.
    NotLooked,
    /// There is no image of the object.
    Nothing,
    /// There is one.
    Done(Box<Imported>),
}

impl Early<'_> {
    /// Follows what an earlier run has registered.
    pub(super) async fn adopt(self, warnings: &mut Vec<String>) -> Outcome<Adopted> {
        let Self { args, job, .. } = self;
        let known = self.session.known();
        let Some(uploaded) = self.session.noted_object() else {
            return Ok(Adopted::NotLooked);
        };
        if !known.may_have_an_image() {
            return Ok(Adopted::NotLooked);
        }
        let registering = Instant::now();
        let attach = Attach {
            session: self.session,
            before: self.shared.before,
        };
        let asking = Asking {
            client: self.shared.session.images(),
            storage: self.shared.storage,
            request: &job.request,
            call: &Call::Quick,
            attach: &attach,
            patience: &patience_of(args, self.shared.session.cloud()),
            waits: !args.no_wait,
            looked: false,
            console: self.console,
            interrupt: self.interrupt,
        };
        let Some(registered) = asking.adopt().await? else {
            self.session.image_is_gone();
            return Ok(Adopted::Nothing);
        };
        self.shared.steps.at(Step::Register);
        let facts = Facts {
            args,
            chosen: job.chosen,
            request: &job.request,
            plan: &job.plan,
        };
        let transferred = as_noted(self.session, &job.plan, uploaded)?;
        Ok(Adopted::Done(Box::new(Imported {
            stages: Stages {
                register_seconds: Stages::seconds(registering.elapsed()),
                ..Stages::default()
            },
            warnings: std::mem::take(warnings),
            ..facts.imported(transferred, registered)
        })))
    }
}
