//! Tags of images that exist.
//!
//! Source: Image Management Service API Reference, "Image Tagging".

use net::http::Method;
use serde::Serialize;
use serde_json::{Value, json};

use crate::call::Call;
use crate::client::Client;
use crate::endpoint::Service;
use crate::error::Result;
use crate::id::{ImageId, is_id};
use crate::manage::ImageQuery;
use crate::tag::Tag;
use crate::value;

/// A key and some values, in queries and in the list of all tags.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TagValues {
    /// Key.
    pub key: String,
    /// Values; none in a query stands for any.
    pub values: Vec<String>,
}

/// Which images are looked for by their tags. Empty lists ask for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TagQuery {
    /// Name that is part of the image's, or its id.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub matches: Vec<Match>,
    /// All of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<TagValues>,
    /// Any of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags_any: Vec<TagValues>,
    /// Not all of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_tags: Vec<TagValues>,
    /// None of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_tags_any: Vec<TagValues>,
    /// Images without any tag; the service ignores the other lists of tags then.
    #[serde(skip_serializing_if = "is_false")]
    pub without_any_tag: bool,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
fn is_false(truth: &bool) -> bool {
    !truth
}

/// A condition beside tags: `resource_name` or `resource_id`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Match {
    /// Field.
    pub key: String,
    /// Value.
    pub value: String,
}

/// An image found by its tags.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TaggedImage {
    /// Id.
    pub id: Option<String>,
    /// Name.
    pub name: Option<String>,
    /// State.
    pub status: Option<String>,
    /// Tags.
    pub tags: Vec<Tag>,
}

impl Client {
    /// The tags of an image (GET /v2/{project}/images/{id}/tags).
    ///
    /// # Errors
    /// What the service said.
    pub async fn image_tags(&self, id: &ImageId) -> Result<Vec<Tag>> {
        let path = format!("{}/{id}/tags", self.tagged_images().await?);
        let call = Call::get(self, "asking for the image's tags", Service::Ims, path);
        Ok(tags(&self.fetch(&call).await?))
    }

    /// All tags that images of the project have (GET /v2/{project}/images/tags).
    ///
    /// # Errors
    /// What the service said.
    pub async fn all_tags(&self) -> Result<Vec<TagValues>> {
        let path = format!("{}/tags", self.tagged_images().await?);
        let call = Call::get(self, "asking for all tags", Service::Ims, path);
        let answer = self.fetch(&call).await?;
        Ok(value::list(&answer, "tags")
            .iter()
            .filter_map(|tag| {
                Some(TagValues {
                    key: value::text(tag, "key")?,
                    values: value::list(tag, "values")
                        .iter()
                        .filter_map(|value| value.as_str().map(str::to_owned))
                        .collect(),
                })
            })
            .collect())
    }

    /// Sets one tag (POST /v2/{project}/images/{id}/tags).
    ///
    /// # Errors
    /// What the service said.
    pub async fn set_image_tag(&self, id: &ImageId, tag: &Tag) -> Result<()> {
        let path = format!("{}/{id}/tags", self.tagged_images().await?);
        let body = json!({"tag": tag});
        let call = Call::with(self, "tagging the image", Method::POST, path, &body)?;
        self.execute(&call).await
    }

    /// Sets one tag by the older call (PUT /v1/cloudimages/tags).
    ///
    /// # Errors
    /// What the service said.
    pub async fn put_tag(&self, id: &ImageId, tag: &Tag) -> Result<()> {
        let body = json!({"image_id": id.as_str(), "image_tag": tag});
        let path = "/v1/cloudimages/tags".into();
        let call = Call::with(self, "tagging the image", Method::PUT, path, &body)?;
        self.execute(&call).await
    }

    /// The same with a tag in the form `key.value`, for old regions.
    ///
    /// # Errors
    /// What the service said.
    pub async fn put_tag_text(&self, id: &ImageId, tag: &str) -> Result<()> {
        let body = json!({"image_id": id.as_str(), "tag": tag});
        let path = "/v1/cloudimages/tags".into();
        let call = Call::with(self, "tagging the image", Method::PUT, path, &body)?;
        self.execute(&call).await
    }

    /// Tags of the images that `query` describes, as texts: `key.value`, in newer regions
    /// `key=value` (GET /v1/cloudimages/tags). Pages are counted from 1.
    ///
    /// # Errors
    /// What the service said.
    pub async fn tag_texts(
        &self,
        query: &ImageQuery,
        limit: u32,
        page: u32,
    ) -> Result<Vec<String>> {
        let (limit, page) = (limit.to_string(), page.to_string());
        let mut pairs = query.pairs();
        pairs.extend([("limit", limit.as_str()), ("page", page.as_str())]);
        let path = "/v1/cloudimages/tags".into();
        let call = Call::get(self, "asking for tags", Service::Ims, path).query(&pairs);
        let answer = self.fetch(&call).await?;
        let texts = value::list(&answer, "tags").iter();
        Ok(texts
            .filter_map(|text| text.as_str().map(str::to_owned))
            .collect())
    }

    /// Sets tags; one whose key the image has already gets the new value (POST
    /// /v2/{project}/images/{id}/tags/action, create).
    ///
    /// ```no_run
    /// # async fn example(client: &ims::Client, id: &ims::ImageId) -> ims::Result<()> {
    /// let tags = [ims::Tag {
    ///     key: "team".into(),
    ///     value: "web".into(),
    /// }];
    /// client.set_image_tags(id, &tags).await?;
    /// println!("{:?}", client.image_tags(id).await?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// What the service said.
    pub async fn set_image_tags(&self, id: &ImageId, tags: &[Tag]) -> Result<()> {
        self.change_tags("tagging the image", id, tags, "create")
            .await
    }

    /// Takes tags away; that the image lacks one is fine (the same call, delete).
    ///
    /// # Errors
    /// What the service said.
    pub async fn remove_image_tags(&self, id: &ImageId, tags: &[Tag]) -> Result<()> {
        self.change_tags("untagging the image", id, tags, "delete")
            .await
    }

    /// Takes one tag away (DELETE /v2/{project}/images/{id}/tags/{key}; keys that fit no path go by
    /// the other call).
    ///
    /// # Errors
    /// What the service said; `NotFound` when the image lacks the tag.
    pub async fn remove_image_tag(&self, id: &ImageId, key: &str) -> Result<()> {
        if !is_id(key) {
            return self.remove_image_tags(id, &[Tag::new(key, "")]).await;
        }
        let path = format!("{}/{id}/tags/{key}", self.tagged_images().await?);
        self.execute_empty("untagging the image", Method::DELETE, path)
            .await
    }

    /// Images by tags, from `offset` on, and how many there are in all (POST
    /// /v2/{project}/images/resource_instances/action, filter).
    ///
    /// # Errors
    /// What the service said.
    pub async fn images_by_tags(
        &self,
        query: &TagQuery,
        offset: u32,
        limit: u32,
    ) -> Result<(Vec<TaggedImage>, Option<u64>)> {
        let page = Some((limit.to_string(), offset.to_string()));
        let answer = self.by_tags("filter", query, page).await?;
        let found = value::list(&answer, "resources").iter().map(|image| {
            let detail = image.get("resource_detail");
            TaggedImage {
                id: value::text(image, "resource_id"),
                name: value::text(image, "resource_name"),
                status: detail.and_then(|detail| value::text(detail, "status")),
                tags: tags(image),
            }
        });
        Ok((found.collect(), value::integer(&answer, "total_count")))
    }

    /// How many images have such tags (the same call, count).
    ///
    /// # Errors
    /// What the service said.
    pub async fn count_images_by_tags(&self, query: &TagQuery) -> Result<Option<u64>> {
        let answer = self.by_tags("count", query, None).await?;
        Ok(value::integer(&answer, "total_count"))
    }

    async fn by_tags(
        &self,
        action: &str,
        query: &TagQuery,
        page: Option<(String, String)>,
    ) -> Result<Value> {
        #[derive(Serialize)]
        struct Body<'a> {
            action: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            limit: Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            offset: Option<String>,
            #[serde(flatten)]
            query: &'a TagQuery,
        }
        let (limit, offset) = page.unzip();
        let body = Body {
            action,
            limit,
            offset,
            query,
        };
        let path = format!("{}/resource_instances/action", self.tagged_images().await?);
        let call = Call::with(self, "looking for images by tag", Method::POST, path, &body)?;
        self.fetch(&call).await
    }

    async fn change_tags(
        &self,
        doing: &'static str,
        id: &ImageId,
        tags: &[Tag],
        action: &str,
    ) -> Result<()> {
        let path = format!("{}/{id}/tags/action", self.tagged_images().await?);
        let body = json!({"action": action, "tags": tags});
        let call = Call::with(self, doing, Method::POST, path, &body)?;
        self.execute(&call).await
    }

    async fn tagged_images(&self) -> Result<String> {
        Ok(format!("/v2/{}/images", self.project_id().await?))
    }
}

fn tags(answer: &Value) -> Vec<Tag> {
    value::list(answer, "tags")
        .iter()
        .filter_map(|tag| {
            let key = value::text(tag, "key")?;
            Some(Tag::new(key, value::text(tag, "value").unwrap_or_default()))
        })
        .collect()
}
