//! What a quick import must ask for, checked as far as the request alone tells.
//!
//! Source: IMS API reference, "Importing an Image File Quickly", "Image Attributes", "Image Tag
//! Data Formats" and "Error Codes".

use serde_json::{Map, Value};

use super::error::ApiError;
use super::versions;
use crate::images::{ImageType, More, Tag};

const MAX_NAME: usize = 128;
const MAX_DESCRIPTION: usize = 1024;
pub(super) const MAX_TAGS: usize = 10;
const MAX_TAG_KEY: usize = 36;
const MAX_TAG_VALUE: usize = 43;
/// Largest `min_disk` of a system image, in GiB.
const MAX_SYSTEM_DISK: u64 = 1024;
/// Largest `min_disk` of a data image, in GiB.
const MAX_DATA_DISK: u64 = 2048;

/// A quick import whose fields keep the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ImportRequest {
    pub(super) name: String,
    pub(super) image_type: ImageType,
    pub(super) bucket: String,
    pub(super) key: String,
    /// GiB.
    pub(super) min_disk: u64,
    pub(super) os_version: Option<String>,
    pub(super) os_type: String,
    pub(super) architecture: String,
    pub(super) hw_firmware_type: String,
    pub(super) description: String,
    pub(super) tags: Vec<Tag>,
}

impl ImportRequest {
    /// Reads the fields of a quick import. Fields that are not documented are ignored, as the cloud
    /// does.
    ///
    /// # Errors
    /// The documented code of the first rule that is broken.
    pub(super) fn read(fields: &Fields) -> Result<Self, ApiError> {
        let image_type = image_type(fields.text("type")?)?;
        let (bucket, key) = location(fields.text("image_url")?)?;
        let architecture = architecture(fields.text("architecture")?)?;
        let firmware = firmware(fields.text("hw_firmware_type")?, &architecture)?;
        let os_version = os_version(fields.text("os_version")?, image_type)?;
        Ok(Self {
            name: name(fields.text("name")?)?,
            description: description(fields.text("description")?)?,
            min_disk: min_disk(fields.0.get("min_disk"), image_type)?,
            os_type: os_type(fields.text("os_type")?, os_version.as_deref())?,
            tags: tags(fields)?,
            image_type,
            bucket,
            key,
            os_version,
            architecture,
            hw_firmware_type: firmware,
        })
    }
}

/// The fields of the body.
pub(super) struct Fields(pub(super) Map<String, Value>);

impl Fields {
    /// The object in the body.
    pub(super) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        if body.trim_ascii().is_empty() {
            return Err(ApiError::ims("IMG.0007", "The request body is empty."));
        }
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            _ => Err(bad_format("the body is not a JSON object")),
        }
    }

    /// A text; `None` when it is absent or null.
    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, ApiError> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(bad_format(format_args!("{name} is not a string"))),
        }
    }

    pub(super) fn list(&self, name: &str) -> Result<Option<&[Value]>, ApiError> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items)),
            Some(_) => Err(bad_format(format_args!("{name} is not an array"))),
        }
    }
}

pub(super) fn bad_format(what: impl std::fmt::Display) -> ApiError {
    ApiError::ims(
        "IMG.0001",
        format!("The request message format is invalid: {what}."),
    )
}

/// Notes the enterprise project that an image is to belong to; the sandbox knows none and takes
/// any.
pub(super) fn belongs(fields: &Fields, more: &mut More) -> Result<(), ApiError> {
    const FIELD: &str = "enterprise_project_id";
    if let Some(id) = fields.text(FIELD)? {
        more.properties.insert(FIELD.to_owned(), id.to_owned());
    }
    Ok(())
}

fn image_type(given: Option<&str>) -> Result<ImageType, ApiError> {
    match given {
        None | Some("ECS") => Ok(ImageType::Ecs),
        Some("BMS") => Ok(ImageType::Bms),
        Some("DataImage") => Ok(ImageType::DataImage),
        Some(other) => Err(ApiError::ims(
            "IMG.0024",
            format!("The image type {other:?} in the request is not ECS, BMS or DataImage."),
        )),
    }
}

pub(super) fn name(given: Option<&str>) -> Result<String, ApiError> {
    let name = given
        .filter(|name| !name.is_empty())
        .ok_or_else(|| ApiError::ims("IMG.0013", "The image name is not specified."))?;
    if name.chars().count() > MAX_NAME {
        return Err(ApiError::ims(
            "IMG.0002",
            "The image name contains more than 128 characters.",
        ));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._ ".contains(c);
    if name.trim() != name || !name.chars().all(allowed) {
        return Err(ApiError::ims(
            "IMG.0003",
            "The image name format is invalid: letters, digits, '-', '.', '_' and inner spaces.",
        ));
    }
    Ok(name.to_owned())
}

pub(super) fn description(given: Option<&str>) -> Result<String, ApiError> {
    let text = given.unwrap_or_default();
    if text.chars().count() > MAX_DESCRIPTION {
        return Err(ApiError::ims(
            "IMG.0004",
            "The description contains more than 1024 characters.",
        ));
    }
    if text.contains(['<', '>', '\r', '\n']) {
        return Err(ApiError::ims(
            "IMG.0054",
            "The image description format is invalid: no line breaks and no '<' or '>'.",
        ));
    }
    Ok(text.to_owned())
}

pub(super) fn min_disk(given: Option<&Value>, image_type: ImageType) -> Result<u64, ApiError> {
    let max = match image_type {
        ImageType::Ecs | ImageType::Bms | ImageType::IsoImage => MAX_SYSTEM_DISK,
        ImageType::DataImage => MAX_DATA_DISK,
    };
    given
        .and_then(Value::as_u64)
        .filter(|gib| (1..=max).contains(gib))
        .ok_or_else(|| {
            ApiError::ims(
                "IMG.0055",
                format!("The memory or disk size is invalid: min_disk must be 1 to {max}."),
            )
        })
}

fn os_version(given: Option<&str>, image_type: ImageType) -> Result<Option<String>, ApiError> {
    match (image_type, given) {
        (ImageType::DataImage, _) => Ok(None),
        (_, None | Some("")) => Err(ApiError::ims(
            "IMG.0159",
            "os_version must be specified for a quick import.",
        )),
        (_, Some(version)) if !versions::is_known(version) => {
            Err(ApiError::ims("IMG.0056", "Invalid OS version."))
        }
        (_, Some(version)) => Ok(Some(version.to_owned())),
    }
}

pub(super) fn os_type(given: Option<&str>, os_version: Option<&str>) -> Result<String, ApiError> {
    match given {
        Some(os_type @ ("Linux" | "Windows")) => Ok(os_type.to_owned()),
        Some(other) => Err(ApiError::ims(
            "IMG.0122",
            format!("The OS type {other:?} is not Linux or Windows."),
        )),
        None if os_version.is_some_and(|version| version.contains("Windows")) => {
            Ok("Windows".to_owned())
        }
        None => Ok("Linux".to_owned()),
    }
}

pub(super) fn architecture(given: Option<&str>) -> Result<String, ApiError> {
    match given {
        None => Ok("x86".to_owned()),
        Some(architecture @ ("x86" | "arm")) => Ok(architecture.to_owned()),
        Some(_) => Err(ApiError::ims(
            "IMG.0212",
            "The value of architecture must be x86 or arm.",
        )),
    }
}

/// Arm machines boot by UEFI, whatever was asked for.
pub(super) fn firmware(given: Option<&str>, architecture: &str) -> Result<String, ApiError> {
    match given {
        None | Some("bios" | "uefi") if architecture == "arm" => Ok("uefi".to_owned()),
        None => Ok("bios".to_owned()),
        Some(firmware @ ("bios" | "uefi")) => Ok(firmware.to_owned()),
        Some(_) => Err(ApiError::ims(
            "IMG.0141",
            "The value of hw_firmware_type is not uefi or bios.",
        )),
    }
}

/// Bucket and key of `bucket:key`.
pub(super) fn location(given: Option<&str>) -> Result<(String, String), ApiError> {
    let invalid = || {
        ApiError::ims(
            "IMG.0017",
            "The URL format is incorrect: image_url must be BUCKET:KEY.",
        )
    };
    let (bucket, key) = given
        .and_then(|url| url.split_once(':'))
        .ok_or_else(invalid)?;
    if bucket.is_empty() {
        return Err(ApiError::ims(
            "IMG.0068",
            "The specified bucket name is empty.",
        ));
    }
    if !s3s::path::check_bucket_name(bucket) {
        return Err(ApiError::ims(
            "IMG.0109",
            "The bucket name contains invalid characters.",
        ));
    }
    if key.is_empty() {
        return Err(invalid());
    }
    if key.contains(' ') {
        return Err(ApiError::ims(
            "IMG.0175",
            "The folder name and image file name cannot contain spaces.",
        ));
    }
    Ok((bucket.to_owned(), key.to_owned()))
}

/// The tags of `tags` (`key.value`) or `image_tags` (objects), of which one may be given.
pub(super) fn tags(fields: &Fields) -> Result<Vec<Tag>, ApiError> {
    let invalid =
        |why: &str| ApiError::ims("IMG.0115", format!("The image tag is invalid: {why}."));
    let (items, plain) = match (fields.list("tags")?, fields.list("image_tags")?) {
        (Some([_, ..]), Some([_, ..])) => {
            return Err(invalid("set either tags or image_tags"));
        }
        (Some(items @ [_, ..]), _) => (items, true),
        (_, Some(items)) => (items, false),
        (_, None) => return Ok(Vec::new()),
    };
    if items.len() > MAX_TAGS {
        return Err(ApiError::ims(
            "IMG.0116",
            "The number of image tags exceeds the quota of 10.",
        ));
    }
    let mut tags = Vec::<Tag>::with_capacity(items.len());
    for item in items {
        let read = if plain { plain_tag } else { object_tag };
        let tag = read(item).ok_or_else(|| invalid(&item.to_string()))?;
        if tags.iter().any(|other| other.key == tag.key) {
            return Err(invalid(&format!("{:?} is given twice", tag.key)));
        }
        tags.push(tag);
    }
    Ok(tags)
}

/// `key.value`: letters, digits, `-`, `_` and Chinese characters.
pub(super) fn plain_tag(item: &Value) -> Option<Tag> {
    let allowed = |c: char| {
        c.is_ascii_alphanumeric() || "-_".contains(c) || ('\u{4e00}'..='\u{9fff}').contains(&c)
    };
    let (key, value) = item.as_str()?.split_once('.')?;
    let valid = key.chars().chain(value.chars()).all(allowed);
    tag(key, value).filter(|_| valid)
}

/// `{"key": "...", "value": "..."}`.
pub(super) fn object_tag(item: &Value) -> Option<Tag> {
    let key = item.get("key")?.as_str()?;
    let value = item.get("value")?.as_str()?;
    let valid = |text: &str| text.trim() == text && !text.contains(|c| "=*<>\\,|/".contains(c));
    tag(key, value).filter(|_| valid(key) && valid(value))
}

fn tag(key: &str, value: &str) -> Option<Tag> {
    let key_len = key.chars().count();
    let fits = (1..=MAX_TAG_KEY).contains(&key_len) && value.chars().count() <= MAX_TAG_VALUE;
    fits.then(|| Tag {
        key: key.to_owned(),
        value: value.to_owned(),
    })
}
