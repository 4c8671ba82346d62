//! One object's way into the bucket, and what an earlier run has left of it: the same for streams,
//! files and raw disks.

use cloud::{Class, Failure, Hint, ImportHint, Result, StopToken, from_obs, stopped};
use std::sync::Arc;
use std::time::Duration;

use journal::Record;
use obs::{
    Client, EarlierUpload, MultipartSink, PartLog, Resumed, Resumption, Upload, UploadOptions,
    Uploaded,
};

use tokio::task::JoinHandle;

use crate::ledger::Entry;
use crate::observe::Observer;

/// How long what is on its way may take to arrive when the run is stopped.
pub(crate) const GRACE: Duration = Duration::from_secs(5);

/// The way of one object into the bucket.
#[derive(Clone, Copy)]
pub(crate) struct Route<'a> {
    pub(crate) client: &'a Client,
    pub(crate) bucket: &'a str,
    pub(crate) key: &'a str,
    pub(crate) observer: &'a dyn Observer,
    pub(crate) stop: &'a StopToken,
}

/// What an earlier run has left to do.
pub(crate) enum Left {
    Something(Box<Resumed>),
    Nothing(Uploaded),
}

/// Who is told of confirmed parts: the journal, if there is one.
pub(crate) fn log(entry: &Entry) -> Arc<dyn PartLog> {
    match entry.notes() {
        Some(notes) => Arc::new(notes.clone()),
        None => Arc::new(obs::VoidPartLog),
    }
}

impl Route<'_> {
    /// The object of an earlier run, if that has completed it and it is still there.
    pub(crate) async fn done_before(&self, entry: &mut Entry) -> Result<Option<Uploaded>> {
        let Some(completed) = entry.state().and_then(|state| state.completed.clone()) else {
            return Ok(None);
        };
        let found = self
            .stop
            .unless_asked(self.client.object(self.bucket, self.key))
            .await?
            .map_err(|error| from_obs(&error))?;
        let same = found.is_some_and(|found| found.may_be(completed.size, &completed.etag));
        if !same {
            self.observer.notice(format_args!(
                "the object {}/{} of the earlier run is missing or was replaced; uploading it again",
                self.bucket, self.key
            ));
            entry.forget();
            return Ok(None);
        }
        Ok(entry.noted_object())
    }

    /// The upload of an earlier run, and the length of its stream if all of it was sent.
    pub(crate) fn left_behind(entry: &Entry) -> Option<(String, Option<u64>)> {
        let state = entry.state()?;
        let whole = state.sent.as_ref().map(|(size, _)| *size);
        Some((state.upload.clone()?, whole))
    }

    /// Goes on with the upload of an earlier run, if there is one that can.
    pub(crate) async fn go_on(
        &self,
        entry: &mut Entry,
        options: &UploadOptions,
    ) -> Result<Option<Left>> {
        let Some((id, whole)) = Self::left_behind(entry) else {
            return Ok(None);
        };
        let parts = entry.parts();
        let earlier = EarlierUpload {
            upload_id: &id,
            known: &parts,
            whole,
        };
        let resuming = self
            .client
            .resume_upload(self.bucket, self.key, &earlier, options);
        let resumption = self
            .stop
            .unless_asked(resuming)
            .await?
            .map_err(|error| entry.goes_on(from_obs(&error)))?;
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
                entry.forget();
                None
            }
        })
    }

    fn tell_kept(&self, id: &str, bytes: u64, parts: u32) {
        self.observer.notice(format_args!(
            "resuming upload {id} of {}/{}: {} in {parts} parts already stored",
            self.bucket,
            self.key,
            diskimg::units::human(bytes),
        ));
    }

    fn tell_completed(&self, id: &str) {
        self.observer.notice(format_args!(
            "upload {id} had already completed, but its answer was lost; the object {}/{} is intact",
            self.bucket, self.key
        ));
    }

    fn tell_gone(&self, id: &str) {
        self.observer.notice(format_args!(
            "the server no longer knows upload {id} of {}/{}; starting over",
            self.bucket, self.key
        ));
    }

    /// Begins an upload.
    pub(crate) async fn begin(
        &self,
        entry: &mut Entry,
        options: &UploadOptions,
    ) -> Result<(MultipartSink, Upload)> {
        entry.begin(self.client, self.observer).await?;
        let place = (self.bucket, self.key);
        let (sink, mut upload) = start_upload(self.client, place, options, self.stop)
            .await
            // No upload is known: there is nothing to resume.
            .inspect_err(|_| entry.discard())?;
        let id = upload.upload_id().to_owned();
        self.observer.notice(format_args!(
            "upload {id} of {}/{} was started",
            self.bucket, self.key
        ));
        // An id that nobody remembers would never be aborted.
        match entry.record(&Record::Upload { id }) {
            Ok(()) => Ok((sink, upload)),
            Err(failure) => Err(abort(&mut upload, failure).await),
        }
    }

    /// Waits for a conversion, unless it is asked to stop.
    pub(super) async fn running<T>(&self, converting: JoinHandle<Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            // The encoder may be waiting for a part to be sent: stopping the upload wakes it.
            () = self.stop.asked() => Err(stopped()),
            converted = converting => converted.unwrap_or_else(|e| {
                Err(Failure::from_error(Class::Io, &e).context("the conversion crashed"))
            }),
        }
    }

    /// Waits for the last parts, and joins them. `digest` is what the journal says of the content.
    pub(crate) async fn complete(
        &self,
        entry: &Entry,
        upload: &mut Upload,
        digest: String,
    ) -> Result<Uploaded> {
        let size = self
            .stop
            .unless_asked(upload.sent())
            .await?
            .map_err(|error| from_obs(&error))?;
        entry.verify_source()?;
        self.observer.may_complete().await?;
        // Before the parts are joined: only who knows all of them can tell afterwards whose object
        // it is.
        entry.record(&Record::Sent { size, digest })?;
        self.stop
            .unless_asked(upload.complete())
            .await?
            .map_err(|error| from_obs(&error))
    }
}

/// Begins an upload. When the user asks to stop meanwhile, its answer is still waited for: dropped,
/// it would leave an upload behind whose id nobody knows. So this may succeed after that; the next
/// step notices.
pub async fn start_upload(
    client: &Client,
    (bucket, key): (&str, &str),
    options: &UploadOptions,
    stop: &StopToken,
) -> Result<(MultipartSink, Upload)> {
    let mut starting = std::pin::pin!(client.start_upload(bucket, key, options));
    let begun = tokio::select! {
        begun = &mut starting => begun,
        () = stop.asked() => tokio::time::timeout(GRACE, starting).await.map_err(|_| {
            stopped()
                .note("an empty upload may have been started; its id is unknown")
                .hint(ImportHint::ListUploads(bucket.to_owned()))
        })?,
    };
    begun.map_err(|error| from_obs(&error))
}

/// Whether another run would end in the same way: what is stored is wrong, or is of a source that
/// has changed.
fn is_in_vain(failure: &Failure, upload: &Upload, entry: &Entry) -> bool {
    failure.class() == Class::Mismatch
        || (failure.class() == Class::Refused && upload.failure().is_none())
        || entry.source_changed()
}

/// Ends the run because of `failure`. What is stored stays, if another run can use it.
pub(crate) async fn suspend(upload: &mut Upload, entry: &Entry, failure: Failure) -> Failure {
    if entry.notes().is_none() || is_in_vain(&failure, upload, entry) {
        let failure = give_up(upload, entry, failure).await;
        return match entry.why_not_again() {
            Some(why) => failure.note(why),
            None => failure,
        };
    }
    upload.pause(GRACE).await;
    let failure = first(upload, failure);
    let failure = kept(upload, entry, failure);
    match upload.helper() {
        Some(key) => failure.note(format!("so is the object of zeros, {key}")),
        None => failure,
    }
}

/// Ends the upload because of `failure`: no other run can use it, and once it is gone there is
/// nothing for a journal to say.
pub(super) async fn give_up(upload: &mut Upload, entry: &Entry, failure: Failure) -> Failure {
    let (failure, gone) = throw_away(upload, failure).await;
    if gone {
        entry.discard();
    }
    failure
}

/// Says in `failure` that the upload is kept, and how to go on.
fn kept(upload: &Upload, entry: &Entry, mut failure: Failure) -> Failure {
    if let Some(notes) = entry.notes()
        && let Err(error) = notes.lock().sync()
    {
        failure = failure.note(format!("the journal may miss the last steps: {error}"));
    }
    let (id, bucket, key) = (upload.upload_id(), upload.bucket(), upload.key());
    let failure = failure
        .data("upload_id", &id)
        .data("key", &key)
        .note(format!(
            "upload {id} of {bucket}/{key} is kept; its parts are charged until it is completed or aborted: \
             imgferry uploads abort {bucket} --id {id}"
        ));
    entry.goes_on(failure)
}

/// What stopped the upload is the cause; that the sink then took no more is its consequence.
fn first(upload: &Upload, failure: Failure) -> Failure {
    match (failure.class(), upload.failure()) {
        (Class::Interrupted, _) | (_, None) => failure,
        (_, Some(first)) => from_obs(first),
    }
}

/// Aborts `upload` because of `failure`, and says what became of it.
pub async fn abort(upload: &mut Upload, failure: Failure) -> Failure {
    throw_away(upload, failure).await.0
}

/// The same, and whether nothing of it is left.
async fn throw_away(upload: &mut Upload, failure: Failure) -> (Failure, bool) {
    let failure = first(upload, failure);
    let (id, bucket, key) = (
        upload.upload_id().to_owned(),
        upload.bucket().to_owned(),
        upload.key().to_owned(),
    );
    let failure = failure.data("upload_id", &id).data("key", &key);
    let aborted = upload.abort().await;
    let gone = aborted.is_ok();
    let failure = match aborted {
        Ok(()) => failure.note(format!(
            "upload {id} of {bucket}/{key} was aborted; nothing of it is left in the bucket"
        )),
        Err(error) if error.kind() == obs::ErrorKind::Refused => failure.note(format!(
            "the parts of {bucket}/{key} had already been joined; the object stays in the bucket"
        )),
        Err(error) => {
            let failure = failure.note(format!(
                "upload {id} of {bucket}/{key} could not be aborted: {error}; what is left of it \
                 may still be charged"
            ));
            let failure = error
                .notes()
                .iter()
                .fold(failure, |failure, note| failure.note(note.to_string()));
            failure.hint(Hint::AbortUpload { bucket, id })
        }
    };
    (failure, gone)
}
