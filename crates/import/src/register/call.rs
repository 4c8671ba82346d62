//! The calls that start a registration: one of these, or two for the two-step form.

use ims::create::{DataFileImport, FileImport};
use ims::metadata::ImageMetadata;
use ims::{Client, Error, ErrorKind, ImageDetail, JobId, QuickImport};
use journal::registration::Event;

/// What registers an object.
#[derive(Debug)]
pub(crate) enum Call {
    /// Quick import of the request that is registered.
    Quick,
    /// The common import, of a system and perhaps its data disks.
    File(Box<FileImport>),
    /// The common import of a data disk.
    Data(Box<DataFileImport>),
    /// An image without a file, and then its file.
    TwoSteps(Box<ImageMetadata>),
}

/// What a call has made.
#[derive(Debug)]
pub(crate) enum Made {
    /// A job.
    Job(JobId),
    /// An image that waits for its file.
    Image(Box<ImageDetail>),
}

impl Call {
    /// Asks for the image of `request`.
    pub(crate) async fn send(&self, client: &Client, request: &QuickImport) -> Result<Made, Error> {
        let started = match self {
            Self::Quick => client.quick_import(request).await,
            Self::File(import) => client.import_file(import).await,
            Self::Data(import) => client.import_data_file(import).await,
            Self::TwoSteps(metadata) => {
                let image = client.create_metadata(metadata).await?;
                return Ok(Made::Image(Box::new(image)));
            }
        };
        started.map(Made::Job)
    }
}

/// What a failed call means for the registration.
pub(crate) fn event_of(error: &Error) -> Event {
    if error.was_not_sent() {
        return Event::NotSent;
    }
    match (error.code(), error.kind()) {
        (Some("IMG.0009"), _) => Event::NameTaken,
        // The service's own word that it takes no more work now.
        (Some("IMG.0060"), _) => Event::Refused,
        (_, ErrorKind::Refused | ErrorKind::NotFound | ErrorKind::Credentials) => Event::Refused,
        // A gateway that answers 503 may have passed the request on before.
        _ => Event::Unclear,
    }
}
