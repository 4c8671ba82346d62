//! Images that exist: lists, changes, deleting, copies, exports.
//!
//! Source: Image Management Service API Reference, "Querying Images", "Updating Image Information",
//! "Deleting an Image", "Replicating an Image Within a Region", "Exporting an Image", "Querying the
//! Image Quota"; the names of operating systems from the newer reference.

use std::collections::HashSet;

use net::http::Method;
use serde::Serialize;
use serde_json::{Value, json};

use crate::call::Call;
use crate::client::Client;
use crate::endpoint::Service;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ImageId, JobId};
use crate::images::ImageDetail;
use crate::import::ImageUrl;
use crate::value;

/// Images of a page when the caller names no number. The service's own default is 500, or 25 in the
/// other list.
const PAGE: u32 = 100;

/// Most pages that are asked for: a server whose markers lead nowhere ends.
const MAX_PAGES: u32 = 1000;

/// Which images are listed. What is not set is not asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageQuery {
    /// Exact name.
    pub name: Option<String>,
    /// `active`, `queued`, `saving` or `killed`.
    pub status: Option<String>,
    /// `gold` (public), `private` or `shared`.
    pub image_type: Option<String>,
    /// `public`, `private` or `shared`.
    pub visibility: Option<String>,
    /// For shared images: `accepted`, `rejected` or `pending`.
    pub member_status: Option<String>,
    /// `Linux`, `Windows` or `Other`.
    pub os_type: Option<String>,
    /// Platform, such as `Debian`.
    pub platform: Option<String>,
    /// `FusionCompute`, `Ironic`, `DataImage` or `IsoImage`.
    pub virtual_env_type: Option<String>,
    /// Tag, as `key.value` or `key=value`.
    pub tag: Option<String>,
    /// Images with this attribute and value, for those that have no field here.
    pub other: Vec<(String, String)>,
}

impl ImageQuery {
    pub(crate) fn pairs(&self) -> Vec<(&str, &str)> {
        let named = [
            ("name", &self.name),
            ("status", &self.status),
            ("__imagetype", &self.image_type),
            ("visibility", &self.visibility),
            ("member_status", &self.member_status),
            ("__os_type", &self.os_type),
            ("__platform", &self.platform),
            ("virtual_env_type", &self.virtual_env_type),
            ("tag", &self.tag),
        ];
        let named = named
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.as_deref()?)));
        let other = self
            .other
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        named.chain(other).collect()
    }
}

/// One change of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    pub(crate) op: &'static str,
    pub(crate) path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<Value>,
}

impl Change {
    /// Gives the attribute `name`, which the image has, another value.
    #[must_use]
    pub fn replace(name: &str, value: impl Into<Value>) -> Self {
        Self {
            op: "replace",
            path: format!("/{name}"),
            value: Some(value.into()),
        }
    }

    /// Gives the image an attribute that it may not have yet.
    #[must_use]
    pub fn add(name: &str, value: impl Into<Value>) -> Self {
        Self {
            op: "add",
            ..Self::replace(name, value)
        }
    }

    /// Takes an attribute away.
    #[must_use]
    pub fn remove(name: &str) -> Self {
        Self {
            op: "remove",
            path: format!("/{name}"),
            value: None,
        }
    }
}

/// What an export writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// The service's own format (ZVHD2), at any size and without conversion.
    Quick,
    /// QCOW2; images up to 128 GB, as all that follow.
    Qcow2,
    /// VHD.
    Vhd,
    /// ZVHD.
    Zvhd,
    /// VMDK.
    Vmdk,
}

impl ExportFormat {
    /// The service's word for it; none for its own format, which must not be named.
    const fn word(self) -> Option<&'static str> {
        match self {
            Self::Quick => None,
            Self::Qcow2 => Some("qcow2"),
            Self::Vhd => Some("vhd"),
            Self::Zvhd => Some("zvhd"),
            Self::Vmdk => Some("vmdk"),
        }
    }
}

impl Client {
    /// Images, newest first, page by page (GET /v2/cloudimages), at most `limit`.
    ///
    /// ```no_run
    /// # async fn example(client: &ims::Client) -> ims::Result<()> {
    /// let query = ims::ImageQuery {
    ///     visibility: Some("private".into()),
    ///     ..ims::ImageQuery::default()
    /// };
    /// for image in client.list_images(&query, 100).await? {
    ///     println!("{image:?}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// What the service said, or `BadAnswer`.
    pub async fn list_images(&self, query: &ImageQuery, limit: usize) -> Result<Vec<ImageDetail>> {
        self.pages("listing images", "/v2/cloudimages", query, limit)
            .await
    }

    /// The pages of either list.
    pub(crate) async fn pages(
        &self,
        doing: &'static str,
        path: &str,
        query: &ImageQuery,
        limit: usize,
    ) -> Result<Vec<ImageDetail>> {
        let mut images: Vec<ImageDetail> = Vec::new();
        let mut known = HashSet::new();
        for _ in 0..MAX_PAGES {
            let left = limit.saturating_sub(images.len());
            let page = u32::try_from(left).unwrap_or(PAGE).min(PAGE);
            if page == 0 {
                break;
            }
            let size = page.to_string();
            let marker = images.last().map(|image| image.id.to_string());
            let mut pairs = query.pairs();
            pairs.push(("limit", &size));
            pairs.extend(marker.as_deref().map(|marker| ("marker", marker)));
            let call = Call::get(self, doing, Service::Ims, path.to_owned()).query(&pairs);
            let found = ImageDetail::list(doing, &self.fetch(&call).await?)?;
            let full = found.len() >= usize::try_from(page).unwrap_or(usize::MAX);
            let before = images.len();
            for image in found {
                // A server that ignores the marker would repeat its first page for ever.
                if images.len() < limit && known.insert(image.id.clone()) {
                    images.push(image);
                }
            }
            if !full || images.len() == before {
                break;
            }
        }
        Ok(images)
    }

    /// Changes an active image (PATCH /v2/cloudimages/{id}); the image as it is then.
    ///
    /// # Errors
    /// What the service said.
    pub async fn update_image(&self, id: &ImageId, changes: &[Change]) -> Result<ImageDetail> {
        const DOING: &str = "changing the image";
        let path = format!("/v2/cloudimages/{id}");
        let call = Call::with(self, DOING, Method::PATCH, path, &changes)?;
        named(DOING, &self.fetch(&call).await?)
    }

    /// Deletes an image (DELETE /v2/images/{id}), with the backups of a full-ECS image when
    /// `backups` says so. The service answers before the image is gone.
    ///
    /// # Errors
    /// What the service said; `NotFound` when there is none.
    pub async fn delete_image(&self, id: &ImageId, backups: bool) -> Result<()> {
        const DOING: &str = "deleting the image";
        let path = format!("/v2/images/{id}");
        let call = if backups {
            Call::with(
                self,
                DOING,
                Method::DELETE,
                path,
                &json!({"delete_backup": true}),
            )?
        } else {
            Call {
                method: Method::DELETE,
                ..Call::get(self, DOING, Service::Ims, path)
            }
        };
        self.execute(&call).await
    }

    /// Starts copying an image inside the region (POST /v1/cloudimages/{id}/copy).
    ///
    /// # Errors
    /// `Ambiguous` when it may have begun; otherwise what the service said.
    pub async fn copy_image(
        &self,
        id: &ImageId,
        name: &str,
        description: Option<&str>,
        cmk_id: Option<&str>,
    ) -> Result<JobId> {
        #[derive(Serialize)]
        struct Body<'a> {
            name: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            description: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            cmk_id: Option<&'a str>,
        }
        let body = Body {
            name,
            description,
            cmk_id,
        };
        let path = self.versioned_or("/v1", &format!("/cloudimages/{id}/copy"));
        self.create("copying the image", path, &body, name).await
    }

    /// Starts writing an image into a bucket (POST /v1/cloudimages/{id}/file).
    ///
    /// # Errors
    /// `Ambiguous` when it may have begun; otherwise what the service said.
    pub async fn export_image(
        &self,
        id: &ImageId,
        to: &ImageUrl,
        format: ExportFormat,
    ) -> Result<JobId> {
        let quick = format == ExportFormat::Quick;
        self.export_image_as(id, to, format, quick.then_some(true))
            .await
    }

    /// The same, where `is_quick_export` is given as it is to be sent. The reference says that no
    /// format may stand beside `true`; `false` is what the service assumes.
    ///
    /// # Errors
    /// As [`Client::export_image`].
    pub async fn export_image_as(
        &self,
        id: &ImageId,
        to: &ImageUrl,
        format: ExportFormat,
        is_quick_export: Option<bool>,
    ) -> Result<JobId> {
        #[derive(Serialize)]
        struct Body<'a> {
            bucket_url: &'a ImageUrl,
            #[serde(skip_serializing_if = "Option::is_none")]
            file_format: Option<&'static str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            is_quick_export: Option<bool>,
        }
        let body = Body {
            bucket_url: to,
            file_format: format.word(),
            is_quick_export,
        };
        let path = self.versioned_or("/v1", &format!("/cloudimages/{id}/file"));
        let call = Call::with(self, "exporting the image", Method::POST, path, &body)?.once();
        self.start(&call, || format!("look for {to} before trying again"))
            .await
    }
}

/// The image that an answer shows.
pub(crate) fn named(doing: &str, answer: &Value) -> Result<ImageDetail> {
    // One release wraps it.
    let image = answer.get("image").unwrap_or(answer);
    ImageDetail::parse(image).ok_or_else(|| {
        Error::new(
            ErrorKind::BadAnswer,
            format!("the answer to {doing} shows no image"),
        )
    })
}

/// A quota.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Quota {
    /// What it counts, such as `image`.
    pub kind: String,
    /// How many there are.
    pub used: Option<u64>,
    /// How many there may be.
    pub quota: Option<u64>,
    /// Smallest number that the quota can be set to.
    pub min: Option<u64>,
    /// Largest number that the quota can be set to.
    pub max: Option<u64>,
}

/// An operating system that the service has a name for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OsVersion {
    /// Platform, such as `Debian`.
    pub platform: String,
    /// The name to register with, such as `Debian GNU/Linux 12.0.0 64bit`.
    pub os_version: String,
    /// Family.
    pub os_type: Option<String>,
    /// 32 or 64.
    pub os_bit: Option<String>,
}

impl Client {
    /// Quotas of the project (GET /v1/cloudimages/quota).
    ///
    /// # Errors
    /// What the service said.
    pub async fn quotas(&self) -> Result<Vec<Quota>> {
        let path = "/v1/cloudimages/quota".into();
        let call = Call::get(self, "asking for the quota", Service::Ims, path);
        let answer = self.fetch(&call).await?;
        let quotas = answer.get("quotas").unwrap_or(&answer);
        Ok(value::list(quotas, "resources")
            .iter()
            .map(|quota| Quota {
                kind: value::text(quota, "type").unwrap_or_default(),
                used: value::integer(quota, "used"),
                quota: value::integer(quota, "quota"),
                min: value::integer(quota, "min"),
                max: value::integer(quota, "max"),
            })
            .collect())
    }

    /// The operating systems that the region has names for (GET /v1/cloudimages/os_version); `tag`
    /// such as `uefi`, `arm` or `x86` keeps those that fit.
    ///
    /// # Errors
    /// What the service said.
    pub async fn os_versions(&self, tag: Option<&str>) -> Result<Vec<OsVersion>> {
        let query: Vec<_> = tag.into_iter().map(|tag| ("tag", tag)).collect();
        let path = "/v1/cloudimages/os_version".into();
        let call = Call::get(self, "listing operating systems", Service::Ims, path).query(&query);
        let answer = self.fetch(&call).await?;
        let platforms = answer.as_array().map_or(&[][..], Vec::as_slice);
        Ok(platforms
            .iter()
            .flat_map(|group| {
                let platform = value::text(group, "platform");
                value::list(group, "version_list").iter().filter_map(
                    move |version| -> Option<OsVersion> {
                        Some(OsVersion {
                            os_version: value::text(version, "os_version")
                                .or_else(|| value::text(version, "os_version_key"))?,
                            platform: value::text(version, "platform")
                                .or_else(|| platform.clone())
                                .unwrap_or_default(),
                            os_type: value::text(version, "os_type"),
                            os_bit: value::text(version, "os_bit"),
                        })
                    },
                )
            })
            .collect())
    }
}
