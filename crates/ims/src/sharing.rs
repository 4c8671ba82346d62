//! Sharing images with other projects of the region.
//!
//! Source: Image Management Service API Reference, "Image Sharing", and its native OpenStack form.

use net::http::Method;
use serde::Serialize;
use serde_json::{Value, json};

use crate::call::Call;
use crate::client::Client;
use crate::endpoint::Service;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ImageId, JobId, is_id};
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
    /// Path of the schema.
    pub schema: Option<String>,
}

#[derive(Serialize)]
struct Members<'a> {
    images: Vec<&'a str>,
    projects: &'a [String],
}

impl Client {
    /// Starts sharing `images` with `projects` (POST /v1/cloudimages/members).
    ///
    /// ```no_run
    /// # async fn example(client: &ims::Client, id: &ims::ImageId) -> ims::Result<()> {
    /// let projects = ["0123456789abcdef0123456789abcdef".to_owned()];
    /// let job = client
    ///     .share_images(std::slice::from_ref(id), &projects)
    ///     .await?;
    /// println!("job {job}");
    /// # Ok(())
    /// # }
    /// ```
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

    /// Starts accepting or rejecting images that are shared with this project (PUT
    /// /v1/cloudimages/members).
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
        let answer = self.fetch(&call).await?;
        Ok(value::list(&answer, "members").iter().map(member).collect())
    }

    /// One project that an image is shared with (GET /v2/images/{id}/members/{project}).
    ///
    /// # Errors
    /// `Invalid` when `project` is no id; `NotFound` when it is not shared with it; otherwise what
    /// the service said.
    pub async fn image_member(&self, id: &ImageId, project: &str) -> Result<Member> {
        let doing = "asking whom the image is shared with";
        let call = Call::get(self, doing, Service::Ims, member_path(id, project)?);
        Ok(member(&self.fetch(&call).await?))
    }

    /// Shares one image with one project at once, without a job (POST /v2/images/{id}/members).
    ///
    /// # Errors
    /// What the service said.
    pub async fn add_member(&self, id: &ImageId, project: &str) -> Result<Member> {
        let doing = "sharing the image";
        let path = format!("/v2/images/{id}/members");
        let body = json!({"member": project});
        let call = Call::with(self, doing, Method::POST, path, &body)?;
        Ok(member(&self.fetch(&call).await?))
    }

    /// Accepts or rejects one image for `project` at once (PUT /v2/images/{id}/members/{project}).
    ///
    /// # Errors
    /// `Invalid` when `project` is no id; otherwise what the service said.
    pub async fn set_member_status(
        &self,
        id: &ImageId,
        project: &str,
        reply: Reply,
    ) -> Result<Member> {
        let doing = "answering to the shared image";
        let path = member_path(id, project)?;
        let body = json!({"status": reply.as_str()});
        let call = Call::with(self, doing, Method::PUT, path, &body)?;
        Ok(member(&self.fetch(&call).await?))
    }

    /// Stops sharing one image with one project at once (DELETE /v2/images/{id}/members/{project}).
    ///
    /// # Errors
    /// `Invalid` when `project` is no id; `NotFound` when it is not shared with it; otherwise what
    /// the service said.
    pub async fn remove_member(&self, id: &ImageId, project: &str) -> Result<()> {
        let path = member_path(id, project)?;
        self.execute_empty("stopping to share the image", Method::DELETE, path)
            .await
    }
}

fn member_path(id: &ImageId, project: &str) -> Result<String> {
    if is_id(project) {
        return Ok(format!("/v2/images/{id}/members/{project}"));
    }
    Err(Error::new(
        ErrorKind::Invalid,
        format!("invalid project id {project:?}: expected letters, digits and '-'"),
    ))
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
        schema: text("schema"),
    }
}
