//! Sharing images with other projects of the region.
//!
//! Source: Image Management Service API Reference, "Image Sharing", and its native OpenStack form.

use net::http::Method;
use serde::Serialize;
use serde_json::{Value, json};

use crate::call::{Call, Service};
use crate::client::Client;
use crate::error::Result;
use crate::id::{ImageId, JobId};
use crate::value;

/// What a project says to an image that is shared with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It is listed, and servers can be made of it.
    Accepted,
    /// It is not listed.
    Rejected,
}

impl Reply {
    /// The service's word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
        }
    }
}

/// A project that an image is shared with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Member {
    /// The project.
    pub member_id: Option<String>,
    /// The image.
    pub image_id: Option<String>,
    /// `pending`, `accepted` or `rejected`.
    pub status: Option<String>,
    /// When it was shared.
    pub created_at: Option<String>,
    /// When that last changed.
    pub updated_at: Option<String>,
}

#[derive(Serialize)]
struct Members<'a> {
    images: Vec<&'a str>,
    projects: &'a [String],
}

impl Client {
    /// Starts sharing `images` with `projects` (POST /v1/cloudimages/members).
    ///
    /// # Errors
    /// What the service said.
    pub async fn share_images(&self, images: &[ImageId], projects: &[String]) -> Result<JobId> {
        self.members("sharing the images", Method::POST, images, projects)
            .await
    }

    /// Starts to stop sharing (DELETE /v1/cloudimages/members).
    ///
    /// # Errors
    /// What the service said.
    pub async fn unshare_images(&self, images: &[ImageId], projects: &[String]) -> Result<JobId> {
        let doing = "stopping to share the images";
        self.members(doing, Method::DELETE, images, projects).await
    }

    /// Starts accepting or rejecting images that are shared with this project (PUT /v1/cloudimages/members).
    ///
    /// # Errors
    /// What the service said.
    pub async fn reply_to_shared(&self, images: &[ImageId], reply: Reply) -> Result<JobId> {
        let body = json!({
            "images": ids(images),
            "project_id": self.project_id().await?,
            "status": reply.as_str(),
        });
        let doing = "answering to shared images";
        let call = Call::with(self, doing, Method::PUT, MEMBERS.into(), &body)?;
        self.start(&call, again).await
    }

    async fn members(
        &self,
        doing: &'static str,
        method: Method,
        images: &[ImageId],
        projects: &[String],
    ) -> Result<JobId> {
        let images = ids(images);
        let body = Members { images, projects };
        let call = Call::with(self, doing, method, MEMBERS.into(), &body)?;
        self.start(&call, again).await
    }

    /// The projects that an image is shared with (GET /v2/images/{id}/members).
    ///
    /// # Errors
    /// What the service said.
    pub async fn image_members(&self, id: &ImageId) -> Result<Vec<Member>> {
        let path = format!("/v2/images/{id}/members");
        let call = Call::get(
            self,
            "asking whom the image is shared with",
            Service::Ims,
            path,
        );
        let answer = self.ask(&call).await?;
        Ok(value::list(&answer, "members").iter().map(member).collect())
    }
}

const MEMBERS: &str = "/v1/cloudimages/members";

/// Sharing twice is sharing once.
fn again() -> String {
    "the same command may be given again".to_owned()
}

fn ids(images: &[ImageId]) -> Vec<&str> {
    images.iter().map(ImageId::as_str).collect()
}

fn member(value: &Value) -> Member {
    let text = |name| value::text(value, name);
    Member {
        member_id: text("member_id"),
        image_id: text("image_id"),
        status: text("status"),
        created_at: text("created_at"),
        updated_at: text("updated_at"),
    }
}
