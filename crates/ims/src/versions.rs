//! Which releases of the API a cloud has, and how it describes its objects.
//!
//! Source: Image Management Service API Reference, "API Version Query" and "Image Schema", of
//! chapter "Native OpenStack APIs".

use serde::Serialize;
use serde_json::Value;

use crate::call::Call;
use crate::client::Client;
use crate::endpoint::Service;
use crate::error::{Error, ErrorKind, Result};
use crate::id::is_id;
use crate::value;

/// What these calls answer with: "multiple choices".
const CHOICES: u16 = 300;

/// A release of the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Version {
    /// Such as `v2.2`.
    pub id: String,
    /// `CURRENT`, `SUPPORTED` or `DEPRECATED`.
    pub status: Option<String>,
    /// Where it is.
    pub links: Vec<Link>,
}

/// An address, and what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Link {
    /// Address, or a name in braces that stands for one.
    pub href: Option<String>,
    /// Such as `self`.
    pub rel: Option<String>,
}

/// Whose description is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaOf {
    /// An image.
    Image,
    /// A list of images.
    Images,
    /// A project that an image is shared with.
    Member,
    /// A list of those.
    Members,
}

/// How the service describes an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Schema {
    /// Name.
    pub name: Option<String>,
    /// Attributes, the known fields of each read out.
    pub properties: Vec<Property>,
    /// Addresses.
    pub links: Vec<Link>,
    raw: Value,
}

impl Schema {
    /// The whole answer.
    #[must_use]
    pub fn raw(&self) -> &Value {
        &self.raw
    }
}

/// An attribute of a [`Schema`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Property {
    /// Name.
    pub name: String,
    /// Type, such as `string`; the first of several.
    pub kind: Option<String>,
    /// What it is, in the service's words.
    pub description: Option<String>,
    /// The values that it may have, where they are listed.
    pub values: Vec<String>,
    /// Whether only the service sets it.
    pub read_only: bool,
}

impl Client {
    /// The releases that the image service has (GET /).
    ///
    /// ```no_run
    /// # async fn example(client: &ims::Client) -> ims::Result<()> {
    /// for version in client.versions().await? {
    ///     println!("{version:?}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// What the service said, or `BadAnswer`.
    pub async fn versions(&self) -> Result<Vec<Version>> {
        self.versions_at("/".to_owned()).await
    }

    /// One release (GET /{version}), such as `v2`.
    ///
    /// # Errors
    /// `Invalid` for a text that is no version; `NotFound` where the cloud lacks it; otherwise what
    /// the service said.
    pub async fn version(&self, version: &str) -> Result<Vec<Version>> {
        if !is_id(version) {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("invalid version {version:?}: expected a version such as v2"),
            ));
        }
        self.versions_at(format!("/{version}")).await
    }

    async fn versions_at(&self, path: String) -> Result<Vec<Version>> {
        const DOING: &str = "asking for the versions";
        let call = Call {
            also: Some(CHOICES),
            ..Call::get(self, DOING, Service::Ims, path)
        };
        let answer = self.fetch(&call).await?;
        let known = answer.get("versions").is_some_and(Value::is_array);
        // One version is a list in the reference, and an object in OpenStack.
        let found = match answer.get("version") {
            Some(one) if !known => std::slice::from_ref(one),
            _ if known => value::list(&answer, "versions"),
            _ => {
                return Err(Error::new(
                    ErrorKind::BadAnswer,
                    format!("the answer to {DOING} has none"),
                )
                .with_hint("check the address of the service"));
            }
        };
        Ok(found
            .iter()
            .filter_map(|version| {
                Some(Version {
                    id: value::text(version, "id")?,
                    status: value::text(version, "status"),
                    links: links(version),
                })
            })
            .collect())
    }

    /// How the service describes an object (GET /v2/schemas/image and its kin).
    ///
    /// # Errors
    /// What the service said, or `BadAnswer`.
    pub async fn schema(&self, of: SchemaOf) -> Result<Schema> {
        const DOING: &str = "asking for the schema";
        let name = match of {
            SchemaOf::Image => "image",
            SchemaOf::Images => "images",
            SchemaOf::Member => "member",
            SchemaOf::Members => "members",
        };
        let call = Call::get(self, DOING, Service::Ims, format!("/v2/schemas/{name}"));
        let raw = self.fetch(&call).await?;
        let Some(properties) = raw.get("properties").and_then(Value::as_object) else {
            return Err(Error::new(
                ErrorKind::BadAnswer,
                format!("the answer to {DOING} has no properties"),
            ));
        };
        Ok(Schema {
            name: value::text(&raw, "name"),
            properties: properties.iter().map(property).collect(),
            links: links(&raw),
            raw,
        })
    }
}

fn links(of: &Value) -> Vec<Link> {
    value::list(of, "links")
        .iter()
        .map(|link| Link {
            href: value::text(link, "href"),
            rel: value::text(link, "rel"),
        })
        .collect()
}

fn property((name, told): (&String, &Value)) -> Property {
    let texts = |field| {
        let texts = value::list(told, field).iter();
        texts.filter_map(|text| text.as_str().map(str::to_owned))
    };
    Property {
        name: name.clone(),
        kind: value::text(told, "type").or_else(|| texts("type").next()),
        description: value::text(told, "description"),
        values: texts("enum").collect(),
        read_only: value::truth(told, "readOnly").unwrap_or(false),
    }
}
