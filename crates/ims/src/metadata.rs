//! Images in two steps, as OpenStack does it: metadata first, then the file.
//!
//! Source: Image Management Service API Reference, "Creating Image Metadata (Native OpenStack API)"
//! and "Registering an Image".

use net::http::Method;
use serde::Serialize;
use serde_json::json;

use crate::call::Call;
use crate::client::Client;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ImageId, JobId};
use crate::images::ImageDetail;
use crate::import::ImageUrl;

/// An image without a file (POST /v2/images). Only what is set is sent; the service assumes `bare`,
/// `zvhd2` and private.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ImageMetadata {
    /// Name; without one no server can be made of it.
    pub name: String,
    /// Operating system; the service assumes some Linux.
    #[serde(rename = "__os_version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// `bare`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_format: Option<String>,
    /// Format of the file: `zvhd2`, `vhd`, `raw`, `iso` or `qcow2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_format: Option<String>,
    /// Smallest disk, in GiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_disk: Option<u32>,
    /// Least memory, in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_ram: Option<u32>,
    /// Tags as `key=value`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// `private`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visibility: Option<String>,
    /// Whether it cannot be deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protected: Option<bool>,
}

impl Client {
    /// Makes an image without a file; it is queued until [`Client::register_file`] gives it one.
    ///
    /// # Errors
    /// `Ambiguous` when it may have been made; otherwise what the service said, or `BadAnswer`.
    pub async fn create_metadata(&self, metadata: &ImageMetadata) -> Result<ImageDetail> {
        const DOING: &str = "creating the image's metadata";
        let call = Call::with(self, DOING, Method::POST, "/v2/images".into(), metadata)?.once();
        let answer = self.fetch(&call).await?;
        ImageDetail::parse(&answer).ok_or_else(|| {
            Error::new(
                ErrorKind::BadAnswer,
                format!("the answer to {DOING} names no image"),
            )
        })
    }

    /// Starts giving the queued image `id` its file (PUT /v1/cloudimages/{id}/upload). One image
    /// takes one file, so a repetition does no harm.
    ///
    /// ```no_run
    /// # use ims::{Client, ImageId, ImageMetadata, ImageUrl};
    /// # async fn example(
    /// #     client: &Client, metadata: &ImageMetadata, id: &ImageId, file: &ImageUrl,
    /// # ) -> ims::Result<()> {
    /// let image = client.create_metadata(metadata).await?;
    /// println!("{image:?}");
    /// let job = client.register_file(id, file).await?;
    /// println!("job {job}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `NotFound` when the cloud lacks the call; otherwise what the service said.
    pub async fn register_file(&self, id: &ImageId, file: &ImageUrl) -> Result<JobId> {
        let body = json!({"image_url": file});
        let path = format!("/v1/cloudimages/{id}/upload");
        let call = Call::with(self, "registering the file", Method::PUT, path, &body)?.once();
        self.start(&call, || format!("look at image {id} before trying again"))
            .await
    }
}
