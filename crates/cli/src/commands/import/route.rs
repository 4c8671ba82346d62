//! One object's way into the bucket, and what an earlier run has left of it: the same for streams,
//! files and raw disks.

use std::sync::Arc;

use journal::Record;
use obs::{
    Client, EarlierUpload, MultipartSink, PartLog, Resumed, Resumption, Upload, UploadOptions,
    Uploaded,
};

use super::resuming::Session;
use super::shared::Steps;
use crate::commands::storage::{self, GRACE};
use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome};
use crate::interrupt::Interrupt;
use cloud::from_obs;

/// Which object, and through whom.
#[derive(Clone, Copy)]
pub(crate) struct Route<'a> {
    pub(crate) client: &'a Client,
    pub(crate) bucket: &'a str,
    pub(crate) key: &'a str,
    pub(crate) console: Console,
    pub(crate) interrupt: &'a Interrupt,
    pub(crate) steps: &'a dyn Steps,
}

/// What an earlier run has left to do.
pub(super) enum Left {
    Something(Box<Resumed>),
    Nothing(Uploaded),
}

/// Who is told of confirmed parts: the journal, if there is one.
pub(super) fn log(session: &Session) -> Arc<dyn PartLog> {
    match session.notes() {
        Some(notes) => Arc::new(notes.clone()),
        None => Arc::new(obs::VoidPartLog),
    }
}

impl Route<'_> {
    /// The object of an earlier run, if that has completed it and it is still there.
    pub(super) async fn done_before(&self, session: &mut Session) -> Outcome<Option<Uploaded>> {
        let Some(completed) = session.state().and_then(|state| state.completed.clone()) else {
            return Ok(None);
        };
        let found = self
            .interrupt
            .unless_asked(self.client.object(self.bucket, self.key))
            .await?
            .map_err(|error| from_obs(&error))?;
        let same = found.is_some_and(|found| found.may_be(completed.size, &completed.etag));
        if !same {
            self.console.notice(format_args!(
                "the object {}/{} of the earlier run is gone or another one; it is uploaded anew",
                self.bucket, self.key
            ));
            session.forget();
            return Ok(None);
        }
        Ok(session.noted_object())
    }

    /// The upload of an earlier run, and the length of its stream if all of it was sent.
    pub(super) fn left_behind(session: &Session) -> Option<(String, Option<u64>)> {
        let state = session.state()?;
        let whole = state.sent.as_ref().map(|(size, _)| *size);
        Some((state.upload.clone()?, whole))
    }

    /// Goes on with the upload of an earlier run, if there is one that can.
    pub(super) async fn go_on(
        &self,
        session: &mut Session,
        options: &UploadOptions,
    ) -> Outcome<Option<Left>> {
        let Some((id, whole)) = Self::left_behind(session) else {
            return Ok(None);
        };
        let parts = session.parts();
        let earlier = EarlierUpload {
            upload_id: &id,
            known: &parts,
            whole,
        };
        let resuming = self
            .client
            .resume_upload(self.bucket, self.key, &earlier, options);
        let resumption = self
            .interrupt
            .unless_asked(resuming)
            .await?
            .map_err(|error| session.goes_on(from_obs(&error)))?;
        Ok(match resumption {
            Resumption::GoesOn(resumed) => {
                self.tell_kept(&id, resumed.kept_bytes, resumed.kept_parts);
                Some(Left::Something(resumed))
            }
            Resumption::Completed(uploaded) => {
                self.tell_completed(&id);
                Some(Left::Nothing(uploaded))
            }
            Resumption::Gone => {
                self.tell_gone(&id);
                session.forget();
                None
            }
        })
    }

    pub(super) fn tell_kept(&self, id: &str, bytes: u64, parts: u32) {
        self.console.notice(format_args!(
            "going on with upload {id} of {}/{}: {} in {parts} parts are stored",
            self.bucket,
            self.key,
            diskimg::units::human(bytes),
        ));
    }

    pub(super) fn tell_completed(&self, id: &str) {
        self.console.notice(format_args!(
            "upload {id} was completed before, although nobody was told; the object {}/{} is right",
            self.bucket, self.key
        ));
    }

    pub(super) fn tell_gone(&self, id: &str) {
        self.console.notice(format_args!(
            "upload {id} of {}/{} is not known to the server any more; it begins anew",
            self.bucket, self.key
        ));
    }

    /// Begins an upload.
    pub(super) async fn begin(
        &self,
        session: &mut Session,
        options: &UploadOptions,
    ) -> Outcome<(MultipartSink, Upload)> {
        session.begin(self.client, self.console).await?;
        let place = (self.bucket, self.key);
        let (sink, mut upload) = storage::start_upload(self.client, place, options, self.interrupt)
            .await
            .inspect_err(|failure| not_begun(session, failure))?;
        let id = upload.upload_id().to_owned();
        self.console.notice(format_args!(
            "upload {id} of {}/{} has begun",
            self.bucket, self.key
        ));
        // An id that nobody remembers would never be aborted.
        match session.record(&Record::Upload { id }) {
            Ok(()) => Ok((sink, upload)),
            Err(failure) => Err(abort(&mut upload, failure).await),
        }
    }

    /// Waits for the last parts, and joins them. `digest` is what the journal says of the content.
    pub(super) async fn complete(
        &self,
        session: &Session,
        upload: &mut Upload,
        digest: String,
    ) -> Outcome<Uploaded> {
        let size = self
            .interrupt
            .unless_asked(upload.sent())
            .await?
            .map_err(|error| from_obs(&error))?;
        session.check_source()?;
        self.steps.may_complete().await?;
        // Before the parts are joined: only who knows all of them can tell afterwards whose object
        // it is.
        session.record(&Record::Sent { size, digest })?;
        self.interrupt
            .unless_asked(upload.complete())
            .await?
            .map_err(|error| from_obs(&error))
    }
}

/// An upload that was refused before it began leaves nothing to go on with.
pub(super) fn not_begun(session: &Session, failure: &Failure) {
    if failure.class() == Exit::Refused {
        session.discard();
    }
}

/// Whether another run would end in the same way: what is stored is wrong, or is of a source that
/// has changed.
pub(super) fn is_in_vain(failure: &Failure, upload: &Upload, session: &Session) -> bool {
    failure.class() == Exit::Mismatch
        || (failure.class() == Exit::Refused && upload.failure().is_none())
        || session.source_changed()
}

/// Ends the run because of `failure`. What is stored stays, if another run can use it.
pub(super) async fn suspend(upload: &mut Upload, session: &Session, failure: Failure) -> Failure {
    if session.notes().is_none() || is_in_vain(&failure, upload, session) {
        let failure = abort(upload, failure).await;
        return match session.why_not_again() {
            Some(why) => failure.note(why),
            None => failure,
        };
    }
    upload.pause(GRACE).await;
    let failure = first(upload, failure);
    kept(upload, session, failure)
}

/// Says in `failure` that the upload is kept, and how to go on.
pub(super) fn kept(upload: &Upload, session: &Session, mut failure: Failure) -> Failure {
    if let Some(notes) = session.notes()
        && let Err(error) = notes.lock().sync()
    {
        failure = failure.note(format!("what was done last may be unknown later: {error}"));
    }
    let (id, bucket, key) = (upload.upload_id(), upload.bucket(), upload.key());
    let failure = failure
        .data("upload_id", &id)
        .data("key", &key)
        .note(format!(
            "upload {id} of {bucket}/{key} is kept; its parts cost money until it is completed or thrown away: \
             imgferry uploads abort {bucket} --id {id}"
        ));
    session.goes_on(failure)
}

/// What stopped the upload is the cause; that the sink then took no more is its consequence.
pub(super) fn first(upload: &Upload, failure: Failure) -> Failure {
    match (failure.class(), upload.failure()) {
        (Exit::Interrupted, _) | (_, None) => failure,
        (_, Some(first)) => from_obs(first),
    }
}

/// Aborts `upload` because of `failure`, and says what became of it.
pub(crate) async fn abort(upload: &mut Upload, failure: Failure) -> Failure {
    let failure = first(upload, failure);
    let (id, bucket, key) = (
        upload.upload_id().to_owned(),
        upload.bucket().to_owned(),
        upload.key().to_owned(),
    );
    let failure = failure.data("upload_id", &id).data("key", &key);
    match upload.abort().await {
        Ok(()) => failure.note(format!(
            "upload {id} of {bucket}/{key} was aborted; nothing is left in the bucket"
        )),
        Err(error) if error.kind() == obs::ErrorKind::Refused => failure.note(format!(
            "the parts of {bucket}/{key} were joined already: the object stays in the bucket"
        )),
        Err(error) => failure
            .note(format!(
                "upload {id} of {bucket}/{key} could not be aborted: {error}; its parts may still be stored, and cost money"
            ))
            .hint(format!("imgferry uploads abort {bucket} --id {id}")),
    }
}
