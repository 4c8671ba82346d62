//! Images and jobs as they are remembered.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::keys::hex_id;

/// Where an image is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageStatus {
    /// Its job has not begun.
    Queued,
    /// Its job runs.
    Saving,
    /// It can be used.
    Active,
    /// Its job failed.
    Killed,
}

impl ImageStatus {
    /// The name that the API uses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Saving => "saving",
            Self::Active => "active",
            Self::Killed => "killed",
        }
    }
}

/// What an image is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImageType {
    /// System disk of a virtual machine.
    #[serde(rename = "ECS")]
    Ecs,
    /// System disk of a physical machine.
    #[serde(rename = "BMS")]
    Bms,
    /// Data disk.
    DataImage,
    /// Installation medium.
    IsoImage,
}

/// A label of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag {
    /// 1 to 36 characters.
    pub key: String,
    /// 0 to 43 characters.
    pub value: String,
}

/// An image that was registered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ImageRecord {
    /// UUID.
    pub id: String,
    /// Unique among images that are not killed.
    pub name: String,
    /// Where it is in its life.
    pub status: ImageStatus,
    /// What it is for.
    pub image_type: ImageType,
    /// Bucket of the object it was made of.
    pub bucket: String,
    /// Key of the object it was made of.
    pub key: String,
    /// Bytes of that object.
    pub object_size: u64,
    /// `zvhd2` or `raw`.
    #[serde(default = "zvhd2")]
    pub disk_format: String,
    /// Bytes of the disk inside; known once the image is active.
    pub virtual_size: Option<u64>,
    /// Content digest of the disk inside, as `imgferry digest` prints it; known once the image is
    /// active.
    pub content_digest: Option<String>,
    /// Least disk to make of it, in GiB.
    pub min_disk: u64,
    /// As registered; data images have none.
    pub os_version: Option<String>,
    /// `Linux`, `Windows` or `Other`.
    pub os_type: String,
    /// `x86` or `arm`.
    pub architecture: String,
    /// `bios` or `uefi`.
    pub hw_firmware_type: String,
    /// As registered.
    pub description: String,
    /// As registered.
    pub tags: Vec<Tag>,
    /// When it was registered.
    pub created_at: SystemTime,
    /// When its status last changed.
    pub updated_at: SystemTime,
    /// What was set beside these.
    #[serde(default)]
    pub more: More,
}

/// What an image has beside the fields that every import sets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct More {
    /// Whether it cannot be deleted.
    pub protected: bool,
    /// Least memory, in MiB.
    pub min_ram: u64,
    /// Key that it is encrypted with.
    pub cmk_id: Option<String>,
    /// Project or account, and status, of those that it is shared with.
    pub members: BTreeMap<String, String>,
    /// Those of the members that are accounts and not projects.
    #[serde(default)]
    pub domains: BTreeSet<String>,
    /// Region that it was copied to, if that is not the sandbox's.
    #[serde(default)]
    pub region: Option<String>,
    /// Attributes by name.
    pub properties: BTreeMap<String, String>,
    /// Project that owns it, if it is another.
    #[serde(default)]
    pub owner: Option<String>,
    /// Whether it is made of an image that costs money.
    #[serde(default)]
    pub charged: bool,
    /// Whether it is an image of all disks of a server.
    #[serde(default)]
    pub whole: bool,
    /// Backup that it was made of.
    #[serde(default)]
    pub backup_id: Option<String>,
    /// Server, volume or backup that it was made of, with its kind.
    #[serde(default)]
    pub origin: Option<String>,
}

/// What records of earlier versions mean.
fn zvhd2() -> String {
    "zvhd2".to_owned()
}

/// Where a job is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum JobStatus {
    Init,
    Running,
    Success,
    Fail,
}

/// A job that makes an image.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct JobRecord {
    pub(crate) id: String,
    pub(crate) image_id: String,
    pub(crate) image_name: String,
    pub(crate) status: JobStatus,
    pub(crate) begin: SystemTime,
    pub(crate) end: Option<SystemTime>,
    pub(crate) error_code: Option<String>,
    pub(crate) fail_reason: Option<String>,
    /// 0 to 1.
    pub(crate) progress: f64,
    /// What it does.
    #[serde(default)]
    pub(crate) work: Work,
    /// Jobs of the images that belong to its image.
    #[serde(default)]
    pub(crate) sub_jobs: Vec<String>,
}

/// What a job does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Work {
    /// Makes an image of a ZVHD2 or raw object.
    #[default]
    QuickImport,
    /// Makes an image of an object in any format.
    CommonImport,
    /// Makes an image of another.
    Copy {
        /// Id of the other.
        from: String,
    },
    /// Writes the image into a bucket.
    Export {
        /// Bucket.
        bucket: String,
        /// Key.
        key: String,
        /// Format; none for the service's own.
        format: Option<String>,
    },
    /// Makes an image of a disk of a server.
    OfDisk {
        /// What it is a disk of.
        id: String,
    },
    /// Makes an image of bytes that were sent to the service, and are there.
    Uploaded,
    /// Nothing that takes time: the results per image were known at once.
    Members {
        /// The images.
        images: Vec<String>,
    },
}

impl JobRecord {
    /// A job that has not begun.
    pub(crate) fn new(image: &ImageRecord, work: Work) -> Self {
        Self {
            id: hex_id(),
            image_id: image.id.clone(),
            image_name: image.name.clone(),
            status: JobStatus::Init,
            begin: SystemTime::now(),
            end: None,
            error_code: None,
            fail_reason: None,
            progress: 0.0,
            work,
            sub_jobs: Vec::new(),
        }
    }
}

/// Why a job failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JobFailure {
    pub(crate) code: &'static str,
    pub(crate) reason: String,
}

/// What a job found in the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Examined {
    pub(crate) virtual_size: u64,
    pub(crate) content_digest: String,
    /// The operating system on it, if the job looked for one and found it.
    pub(crate) system: Option<FoundSystem>,
}

/// An operating system that a job found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundSystem {
    /// As the region calls it.
    pub(crate) os_version: String,
    /// `Linux` or `Windows`.
    pub(crate) os_type: String,
}
