//! What is registered: the data of a quick import.

use std::fmt;

use serde::Serialize;

/// An object in a bucket, written `bucket:key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageUrl {
    /// Bucket; in the image's region, storage class Standard.
    pub bucket: String,
    /// Key.
    pub key: String,
}

impl fmt::Display for ImageUrl {
    /// With a colon, as all examples have it; one table of the reference prints a dot.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.bucket, self.key)
    }
}

impl Serialize for ImageUrl {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What an image is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ImageKind {
    /// System disk of a virtual machine.
    #[default]
    Ecs,
    /// System disk of a bare metal server.
    Bms,
    /// A data disk.
    DataImage,
}

/// Operating system family of a data disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum OsType {
    /// Linux.
    Linux,
    /// Windows.
    Windows,
}

/// Processor architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// x86.
    X86,
    /// ARM; boots by UEFI only.
    Arm,
}

/// How a system disk boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Firmware {
    /// BIOS.
    Bios,
    /// UEFI.
    Uefi,
}

/// Who brings the licence of a Windows system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LicenseType {
    /// The platform.
    Platform,
    /// The user.
    Byol,
}

/// A quick import: an object in ZVHD2 format becomes a system or data image.
///
/// Source: Image Management Service API Reference, "Importing an Image File Quickly"; the fields
/// that it lacks (firmware, licence, enterprise project) from the newer reference of the same call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuickImport {
    /// Name of the image.
    pub name: String,
    /// The uploaded object.
    pub image_url: ImageUrl,
    /// Smallest disk that a server needs, in GiB.
    pub min_disk: u32,
    /// Operating system in the service's words. System images must have it, data images must not.
    pub os_version: Option<String>,
    /// Operating system family. Data images only; the service assumes Linux.
    pub os_type: Option<OsType>,
    /// What the image is for.
    pub kind: ImageKind,
    /// Free text.
    pub description: Option<String>,
    /// Tags, as keys and values.
    pub tags: Vec<(String, String)>,
    /// Architecture. System images only; the service assumes x86.
    pub architecture: Option<Architecture>,
    /// Firmware. System images only.
    pub firmware: Option<Firmware>,
    /// Enterprise project that the image belongs to.
    pub enterprise_project_id: Option<String>,
    /// Licence. System images with Windows only.
    pub license_type: Option<LicenseType>,
    /// How the request is written.
    pub form: QuickForm,
}

/// How a quick import is written where the reference leaves a choice. The default is what every
/// region takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuickForm {
    /// Tags as texts `key.value` (`tags`) and not as objects (`image_tags`): the service takes one
    /// of the two. A text cannot have a dot in its key.
    pub tags_as_text: bool,
    /// `type` also where it is the one that the service assumes, `ECS`.
    pub default_type: bool,
}

impl QuickImport {
    /// An import with nothing but what every image needs.
    #[must_use]
    pub fn new(name: impl Into<String>, image_url: ImageUrl, min_disk: u32) -> Self {
        Self {
            name: name.into(),
            image_url,
            min_disk,
            os_version: None,
            os_type: None,
            kind: ImageKind::default(),
            description: None,
            tags: Vec::new(),
            architecture: None,
            firmware: None,
            enterprise_project_id: None,
            license_type: None,
            form: QuickForm::default(),
        }
    }
}
