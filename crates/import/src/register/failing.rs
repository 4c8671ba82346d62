//! Why there is no image, and what to do about it: never to delete one, and no two things that
//! contradict each other.

use cloud::{Class, Failure, ImportHint, from_ims, stopped};
use std::ffi::OsStr;

use diskimg::text::shell_word;
use ims::{ErrorKind, ImageId};
use journal::registration::End;

use super::Run;

impl Run<'_> {
    /// Why there is no image, and what to do about it.
    pub(crate) fn failure(self, end: End) -> Failure {
        let entry = self.asking.attach.entry;
        let name = &self.asking.request.name;
        let told = match (end, &self.error) {
            (End::Stopped, _) => stopped(),
            (End::NameTaken, _) => {
                let id = self.image.as_ref().map_or("another", ImageId::as_str);
                let url = &self.asking.request.image_url;
                // The default key follows the name, and another key is another upload.
                let key = shell_word(OsStr::new(&url.key)).unwrap_or_else(|| "KEY".to_owned());
                // There is nothing to resume.
                return Failure::new(
                    Class::Cloud,
                    format!(
                        "image {id} has the name {name:?} (IMG.0009), and was not created from the object {url} by this import"
                    ),
                )
                .hint(ImportHint::RenameForKey(key));
            }
            (End::Unknown, Some(error)) if error.code() == Some("IMG.0009") => Failure::new(
                Class::Cloud,
                format!("an image has the name {name:?} and is not listed yet"),
            ),
            // Its hint is to look, and that was done.
            (End::Unknown, Some(error))
                if error.kind() == ErrorKind::Ambiguous && !error.is_foreign() =>
            {
                Failure::from_error(Class::Cloud, error)
            }
            (End::Failed, Some(error)) if error.kind() != ErrorKind::JobFailed => self.not_active(),
            (End::Unknown | End::Failed, None) => self.not_active(),
            (_, Some(error)) => from_ims(error),
            (_, None) => Failure::new(Class::Cloud, "the image could not be registered"),
        };
        let failure = match (&self.job, end) {
            (Some(job_id), _) => told
                .note(format!(
                    "the import job is {job_id}; {}",
                    self.job_state(end)
                ))
                .data("job_id", &job_id.as_str()),
            (None, End::Unknown | End::Stopped) => told.note(
                "the registration may have been sent; whether it created an image is not known yet",
            ),
            (None, _) => told,
        };
        let failure = match &self.image {
            Some(id) => failure
                .note(format!("the image is {id}"))
                .data("image_id", &id.as_str()),
            None => failure,
        };
        match (entry.notes(), end) {
            (None, End::Unknown | End::Stopped) => {
                failure.hint(ImportHint::FindImage(name.clone()))
            }
            _ => entry.goes_on(failure),
        }
    }

    /// An image that is not what it should be by now.
    fn not_active(&self) -> Failure {
        let text = match (&self.image, &self.detail) {
            (Some(id), Some(detail)) => {
                format!("image {id} is {}, expected active", detail.status.as_str())
            }
            (Some(id), None) => format!("image {id} is not listed, expected active"),
            (None, _) => format!(
                "no image named {:?} is listed yet",
                self.asking.request.name
            ),
        };
        Failure::new(Class::Cloud, text)
    }

    /// What is known of the job. Only the service's own word ends it.
    fn job_state(&self, end: End) -> &'static str {
        let kind = self.error.as_ref().map(ims::Error::kind);
        match (end, kind) {
            (End::Failed, _) => "it has ended",
            (End::Stopped, _) | (_, Some(ErrorKind::JobTimeout)) => {
                "it continues in the cloud; the image will appear when it finishes"
            }
            _ => "its state is unknown; it may still be running",
        }
    }
}
