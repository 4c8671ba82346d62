//! Registering an image, and asking what became of it.

use net::http::Method;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::call::Call;
use crate::client::Client;
use crate::endpoint::Service;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ImageId, JobId};
use crate::import::QuickImport;
use crate::{value, wire};

/// State of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageStatus {
    /// Known, without content.
    Queued,
    /// Content is being taken over.
    Saving,
    /// Ready.
    Active,
    /// Failed.
    Killed,
    /// Gone.
    Deleted,
    /// Something newer than this program, or missing.
    Other(String),
}

impl ImageStatus {
    fn parse(text: &str) -> Self {
        match text.to_ascii_lowercase().as_str() {
            "queued" => Self::Queued,
            "saving" => Self::Saving,
            "active" => Self::Active,
            "killed" => Self::Killed,
            "deleted" => Self::Deleted,
            _ => Self::Other(text.to_owned()),
        }
    }

    /// The service's word for it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Queued => "queued",
            Self::Saving => "saving",
            Self::Active => "active",
            Self::Killed => "killed",
            Self::Deleted => "deleted",
            Self::Other(text) => text,
        }
    }
}

/// An image as the service lists it. Everything but the id may be missing.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageDetail {
    /// Id.
    pub id: ImageId,
    /// Name.
    pub name: Option<String>,
    /// State.
    pub status: ImageStatus,
    /// Smallest disk in GiB.
    pub min_disk: Option<u64>,
    /// Size of the image in the service's storage, in bytes.
    pub size: Option<u64>,
    /// Operating system.
    pub os_version: Option<String>,
    /// Operating system family.
    pub os_type: Option<String>,
    /// `FusionCompute` (ECS), `Ironic` (BMS) or `DataImage`.
    pub virtual_env_type: Option<String>,
    /// `bios` or `uefi`.
    pub firmware: Option<String>,
    /// Whether servers can start before the whole image is copied.
    pub lazy_loading: Option<bool>,
    /// Where the image came from.
    pub data_origin: Option<String>,
    /// When it became active.
    pub active_at: Option<String>,
    /// When it was made, in seconds since 1970 by the service's clock.
    pub created_at: Option<i64>,
    raw: Value,
}

impl ImageDetail {
    /// Any field of the answer as text, also those that this crate does not know.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<String> {
        value::text(&self.raw, name)
    }

    /// Whether nothing will become of it any more: its job failed, or it was deleted.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        matches!(self.status, ImageStatus::Killed | ImageStatus::Deleted)
    }

    /// The images of an answer that lists some.
    pub(crate) fn list(doing: &str, answer: &Value) -> Result<Vec<Self>> {
        if !answer.get("images").is_some_and(Value::is_array) {
            return Err(Error::new(
                ErrorKind::BadAnswer,
                format!("the answer to {doing} has no list of images"),
            ));
        }
        let images = value::list(answer, "images").iter();
        Ok(images.filter_map(Self::parse).collect())
    }

    /// The whole answer.
    #[must_use]
    pub fn raw(&self) -> &Value {
        &self.raw
    }

    pub(crate) fn parse(raw: &Value) -> Option<Self> {
        let text = |name| value::text(raw, name);
        Some(Self {
            id: text("id")?.parse().ok()?,
            name: text("name"),
            status: ImageStatus::parse(&text("status").unwrap_or_default()),
            min_disk: value::integer(raw, "min_disk"),
            size: value::integer(raw, "__image_size"),
            os_version: text("__os_version"),
            os_type: text("__os_type"),
            virtual_env_type: text("virtual_env_type"),
            firmware: text("hw_firmware_type"),
            lazy_loading: value::truth(raw, "__lazyloading"),
            data_origin: text("__data_origin"),
            active_at: text("active_at"),
            created_at: text("created_at")
                .and_then(|text| OffsetDateTime::parse(&text, &Rfc3339).ok())
                .map(OffsetDateTime::unix_timestamp),
            raw: raw.clone(),
        })
    }
}

impl Client {
    /// Starts the import of an uploaded object (POST /v2/cloudimages/quickimport/action). Two of
    /// these make two images, so it is repeated only when the service surely did not begin: no
    /// connection, 429, 503, or flow control (`IMG.0060`).
    ///
    /// # Errors
    /// `Invalid` when a rule of [`crate::rules`] is broken, and nothing was sent; `Ambiguous` when
    /// the import may have begun; otherwise what the service said.
    pub async fn quick_import(&self, import: &QuickImport) -> Result<JobId> {
        const DOING: &str = "registering the image";
        if let Some(violation) = import.field_violations().first() {
            return Err(Error::new(ErrorKind::Invalid, violation.message.clone())
                .with_code(violation.code.map(str::to_owned))
                .with_hint(violation.hint.clone()));
        }
        let path = self.versioned("/cloudimages/quickimport/action");
        let body = wire::quick_import(import);
        self.create(DOING, path, &body, &import.name).await
    }

    /// Whether the caller has the right to import images: an import that names neither a file nor
    /// an image is sent, which makes nothing, and is refused for what it lacks where the caller has
    /// the right, and with 403 where not.
    ///
    /// # Errors
    /// What the service said, if that tells neither.
    pub async fn may_import(&self) -> Result<bool> {
        let path = self.versioned("/cloudimages/quickimport/action");
        let nothing = serde_json::Map::new();
        let call = Call::with(self, "asking for rights", Method::POST, path, &nothing)?;
        match self.execute(&call).await {
            Err(error) if error.status() == Some(403) => Ok(false),
            Err(error)
                if error.status() == Some(400)
                    && error.code().is_some_and(|code| code.starts_with("IMG.")) =>
            {
                Ok(error.code() != Some("IMG.0026"))
            }
            Err(error) => Err(error),
            Ok(()) => Err(Error::new(
                ErrorKind::BadAnswer,
                "the service took an import of nothing",
            )),
        }
    }

    /// The image with this id, or `None` (GET /v2/cloudimages?id=).
    ///
    /// # Errors
    /// What the service said, or `BadAnswer`.
    pub async fn image(&self, id: &ImageId) -> Result<Option<ImageDetail>> {
        let listed = self
            .images("looking up the image", ("id", id.as_str()))
            .await?;
        // A server that ignores the filter lists others too.
        Ok(listed.into_iter().find(|image| image.id == *id))
    }

    /// A private image with this name, or `None` (GET /v2/cloudimages?name=). One that has failed
    /// gives its name up, so another of the same name comes before it. Also a cheap proof that the
    /// service takes the credentials and the project.
    ///
    /// ```no_run
    /// # async fn example(client: &ims::Client) -> ims::Result<()> {
    /// if let Some(image) = client.image_named("web01").await? {
    ///     println!("{image:?}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// What the service said, or `BadAnswer`.
    pub async fn image_named(&self, name: &str) -> Result<Option<ImageDetail>> {
        let named = self.images_named(name).await?;
        Ok(named.into_iter().min_by_key(ImageDetail::has_failed))
    }

    /// All private images with this name, failed ones among them.
    ///
    /// # Errors
    /// What the service said, or `BadAnswer`.
    pub async fn images_named(&self, name: &str) -> Result<Vec<ImageDetail>> {
        let listed = self
            .images("looking for an image of this name", ("name", name))
            .await?;
        // The service compares names as a whole; public images may have any.
        let named = listed.into_iter().filter(|image| {
            image.name.as_deref() == Some(name)
                && image
                    .field("__imagetype")
                    .is_none_or(|kind| kind == "private")
        });
        Ok(named.collect())
    }

    async fn images(&self, doing: &'static str, filter: (&str, &str)) -> Result<Vec<ImageDetail>> {
        let query = [filter];
        let call = Call::get(self, doing, Service::Ims, "/v2/cloudimages".into()).query(&query);
        ImageDetail::list(doing, &self.fetch(&call).await?)
    }
}
