//! Images in OpenStack's form: also those that the service's own list leaves out, and tags that are
//! words.
//!
//! Source: Image Management Service API Reference, chapter "Native OpenStack APIs". Calls that it
//! marks as abandoned (`/v1`, `/v1.1`) are not here.

use net::http::{Bytes, Method};
use net::sign::MAX_SIGNED_BODY;
use serde_json::{Map, Value};

use crate::auth::Credentials;
use crate::call::Call;
use crate::client::Client;
use crate::endpoint::Service;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ImageId, is_id};
use crate::images::ImageDetail;
use crate::manage::{Change, ImageQuery, named};

/// Largest file that the service takes from a request: 2 GB. Source: Reference, "Uploading an
/// Image".
pub const MAX_UPLOAD: usize = 2 << 30;

/// Longest tag in this form, in characters. Source: Reference, "Image Tag Data Formats".
pub const MAX_WORD_TAG: usize = 255;

/// In which of the two forms changes are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PatchForm {
    /// `{"op": "replace", "path": "/name", "value": ...}`.
    #[default]
    V2_1,
    /// `{"replace": "/name", "value": ...}`, for old clouds.
    V2_0,
}

impl Client {
    /// Images in OpenStack's form (GET /v2/images), newest first, page by page, at most `limit`.
    ///
    /// # Errors
    /// What the service said, or `BadAnswer`.
    pub async fn list_images_native(
        &self,
        query: &ImageQuery,
        limit: usize,
    ) -> Result<Vec<ImageDetail>> {
        self.pages("listing images", "/v2/images", query, limit)
            .await
    }

    /// An image in OpenStack's form (GET /v2/images/{id}): also those that the other list leaves
    /// out.
    ///
    /// ```no_run
    /// # async fn example(client: &ims::Client, id: &ims::ImageId) -> ims::Result<()> {
    /// println!("{:?}", client.image_native(id).await?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `NotFound` when there is none; otherwise what the service said, or `BadAnswer`.
    pub async fn image_native(&self, id: &ImageId) -> Result<ImageDetail> {
        const DOING: &str = "looking up the image";
        let call = Call::get(self, DOING, Service::Ims, format!("/v2/images/{id}"));
        named(DOING, &self.fetch(&call).await?)
    }

    /// [`Client::update_image`] in OpenStack's form (PATCH /v2/images/{id}), for clouds that lack
    /// the other: attributes of one's own, name and description only.
    ///
    /// # Errors
    /// What the service said.
    pub async fn update_image_native(
        &self,
        id: &ImageId,
        changes: &[Change],
        form: PatchForm,
    ) -> Result<ImageDetail> {
        const DOING: &str = "changing the image";
        let path = format!("/v2/images/{id}");
        let method = Method::PATCH;
        let call = match form {
            PatchForm::V2_1 => Call {
                content_type: "application/openstack-images-v2.1-json-patch",
                ..Call::with(self, DOING, method, path, &changes)?
            },
            PatchForm::V2_0 => Call {
                content_type: "application/openstack-images-v2.0-json-patch",
                ..Call::with(self, DOING, method, path, &old_form(changes))?
            },
        };
        named(DOING, &self.fetch(&call).await?)
    }

    /// Sends the bytes of a queued image's file (PUT /v2/images/{id}/file), which becomes active
    /// afterwards. For files that are small: at most 12 MiB where requests are signed and 2 GiB
    /// with a token, in one request that cannot be taken up again. All others go into a bucket, and
    /// from there by [`Client::register_file`].
    ///
    /// # Errors
    /// `Invalid` when the file is too large, and nothing was sent; otherwise what the service said.
    pub async fn upload_file(&self, id: &ImageId, file: Bytes) -> Result<()> {
        let signed = matches!(
            self.0.options.credentials,
            Credentials::AccessKey(_) | Credentials::Keys(_)
        );
        let most = if signed { MAX_SIGNED_BODY } else { MAX_UPLOAD };
        if file.len() > most {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!(
                    "the file has {} bytes, {} of at most {most} can be sent to the image service \
                     itself",
                    file.len(),
                    if signed { "signed files" } else { "files" }
                ),
            )
            .with_hint("upload it into a bucket, and register it from there"));
        }
        let path = format!("/v2/images/{id}/file");
        let call = Call {
            method: Method::PUT,
            body: Some(file),
            content_type: "application/octet-stream",
            ..Call::get(self, "uploading the file", Service::Ims, path)
        };
        self.execute(&call).await
    }

    /// Gives the image a tag that is one word (PUT /v2/images/{id}/tags/{tag}).
    ///
    /// # Errors
    /// `Invalid` for a word that fits no path; otherwise what the service said.
    pub async fn add_tag_word(&self, id: &ImageId, tag: &str) -> Result<()> {
        let path = word_path(id, tag)?;
        self.execute_empty("tagging the image", Method::PUT, path)
            .await
    }

    /// Takes a tag that is one word away (DELETE /v2/images/{id}/tags/{tag}).
    ///
    /// # Errors
    /// `Invalid` for a word that fits no path; `NotFound` when the image lacks it; otherwise what
    /// the service said.
    pub async fn remove_tag_word(&self, id: &ImageId, tag: &str) -> Result<()> {
        let path = word_path(id, tag)?;
        self.execute_empty("untagging the image", Method::DELETE, path)
            .await
    }
}

/// Words with other characters would be decoded differently by different gateways.
fn word_path(id: &ImageId, tag: &str) -> Result<String> {
    if is_id(tag) {
        return Ok(format!("/v2/images/{id}/tags/{tag}"));
    }
    Err(Error::new(
        ErrorKind::Invalid,
        format!("invalid one-word tag {tag:?}: expected letters, digits, '-', '_' and '.'"),
    )
    .with_hint("tags of key and value are set by the other calls"))
}

fn old_form(changes: &[Change]) -> Vec<Value> {
    changes
        .iter()
        .map(|change| {
            let mut fields = Map::new();
            fields.insert(change.op.to_owned(), change.path.clone().into());
            if let Some(value) = &change.value {
                fields.insert("value".to_owned(), value.clone());
            }
            Value::Object(fields)
        })
        .collect()
}
