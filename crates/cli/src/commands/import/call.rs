//! The calls that start a registration: one of these, or two for the two-step form.

use ims::create::{DataFileImport, FileImport};
use ims::metadata::ImageMetadata;
use ims::{Client, Error, ErrorKind, ImageDetail, ImageId, JobId, QuickImport};

use super::attach::waits_for_file;

/// What registers an object.
#[derive(Debug)]
pub(super) enum Call {
    /// Quick import of the request that is registered.
    Quick,
    /// The common import, of a system and perhaps its data disks.
    File(Box<FileImport>),
    /// The common import of a data disk.
    Data(Box<DataFileImport>),
    /// An image without a file, and then its file.
    TwoSteps(Box<ImageMetadata>),
}

/// A registration that did not begin, as far as is known.
#[derive(Debug)]
pub(super) struct NotBegun {
    pub(super) error: Error,
    /// What may have been made all the same.
    pub(super) left: Left,
}

/// What a call that failed may have left.
#[derive(Debug)]
pub(super) enum Left {
    /// Nothing, surely.
    Nothing,
    /// Nobody knows.
    Unknown,
    /// This image, which has no file yet.
    Image(ImageId),
}

impl NotBegun {
    fn of(error: Error) -> Self {
        let left = match error.kind() {
            // An answer that names nothing was one to a request that may have been carried out.
            ErrorKind::Ambiguous | ErrorKind::BadAnswer => Left::Unknown,
            _ => Left::Nothing,
        };
        Self { error, left }
    }
}

impl Call {
    /// Starts the job that makes the image of `request`.
    pub(super) async fn send(
        &self,
        client: &Client,
        request: &QuickImport,
    ) -> Result<JobId, NotBegun> {
        let started = match self {
            Self::Quick => client.quick_import(request).await,
            Self::File(import) => client.import_file(import).await,
            Self::Data(import) => client.import_data_file(import).await,
            Self::TwoSteps(metadata) => {
                let image = client.create_metadata(metadata).await;
                let image = image.map_err(NotBegun::of)?;
                return give_file(client, &image.id, request).await;
            }
        };
        started.map_err(NotBegun::of)
    }

    /// Whether `image`, which an earlier run made by the first of two calls, waits for the second.
    pub(super) fn is_half_done(&self, image: &ImageDetail, request: &QuickImport) -> bool {
        matches!(self, Self::TwoSteps(_)) && waits_for_file(image, request)
    }
}

/// Starts giving `image` the object of `request`. One image takes one file, so asking twice makes nothing twice.
pub(super) async fn give_file(
    client: &Client,
    image: &ImageId,
    request: &QuickImport,
) -> Result<JobId, NotBegun> {
    let started = client.register_file(image, &request.image_url).await;
    started.map_err(|error| NotBegun {
        error,
        left: Left::Image(image.clone()),
    })
}
