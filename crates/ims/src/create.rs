//! The other ways to make an image: from a file by the common import, from servers, volumes and
//! backups.
//!
//! Source: Image Management Service API Reference, "Creating an Image", "Creating a Full-ECS
//! Image", and the newer release of the first (2024-12-20), which adds volumes, data images of a
//! file and architectures; "Creating a Data Disk Image Using an External Image File" of the newer
//! reference.

use net::http::Method;
use serde::Serialize;

use crate::call::Call;
use crate::client::Client;
use crate::error::{ErrorKind, Result};
use crate::id::JobId;
use crate::import::{Architecture, Firmware, ImageUrl, LicenseType};
use crate::tag::Tags;

/// What a system image of a file or volume is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum SystemKind {
    /// Virtual machine.
    #[serde(rename = "ECS")]
    Ecs,
    /// Physical machine.
    #[serde(rename = "BMS")]
    Bms,
    /// Installation medium; needs an operating system's name.
    IsoImage,
}

/// Operating system family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum OsFamily {
    /// Linux.
    Linux,
    /// Windows.
    Windows,
    /// Neither.
    Other,
}

/// An image of an uploaded file in any format that the service reads, at most 128 GB: the common
/// import. The service looks inside, and what it finds there wins over `os_version`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileImport {
    /// Name of the image.
    pub name: String,
    /// The uploaded object.
    pub image_url: ImageUrl,
    /// Smallest disk that a server needs, in GiB.
    pub min_disk: u32,
    /// Operating system in the service's words; ISO files and quick imports need it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Operating system family.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_type: Option<OsFamily>,
    /// What the image is for; the service assumes a virtual machine.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<SystemKind>,
    /// Free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether the service is to prepare the system (drivers, boot by UUID).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_config: Option<bool>,
    /// Whether the system counts as prepared already. Only examples of old releases have it; no
    /// table explains it, and newer releases took it away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_config_init: Option<bool>,
    /// Key that encrypts the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmk_id: Option<String>,
    /// Least memory of a server, in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_ram: Option<u32>,
    /// Most memory of a server, in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_ram: Option<u32>,
    /// Quick import instead: ZVHD2 and RAW only, taken as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_quick_import: Option<bool>,
    /// Architecture; the service assumes x86.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architecture: Option<Architecture>,
    /// Firmware. Regions of 2023 do not know it here.
    #[serde(rename = "hw_firmware_type", skip_serializing_if = "Option::is_none")]
    pub firmware: Option<Firmware>,
    /// Licence, for Windows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub license_type: Option<LicenseType>,
    /// Enterprise project that the image belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enterprise_project_id: Option<String>,
    /// Data disks that belong to it, at most three; each becomes an image.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub data_images: Vec<DataFile>,
    /// Tags.
    #[serde(flatten)]
    pub tags: Option<Tags>,
}

impl FileImport {
    /// An import with nothing but what every image needs.
    #[must_use]
    pub fn new(name: impl Into<String>, image_url: ImageUrl, min_disk: u32) -> Self {
        Self {
            name: name.into(),
            image_url,
            min_disk,
            os_version: None,
            os_type: None,
            kind: None,
            description: None,
            is_config: None,
            is_config_init: None,
            cmk_id: None,
            min_ram: None,
            max_ram: None,
            is_quick_import: None,
            architecture: None,
            firmware: None,
            license_type: None,
            enterprise_project_id: None,
            data_images: Vec::new(),
            tags: None,
        }
    }
}

/// A data disk beside the system disk of a [`FileImport`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DataFile {
    /// Name of its image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The uploaded object.
    pub image_url: ImageUrl,
    /// Smallest disk, in GiB.
    pub min_disk: u32,
    /// Quick import: ZVHD2 and RAW only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_quick_import: Option<bool>,
    /// Tags.
    #[serde(flatten)]
    pub tags: Option<Tags>,
}

/// A data image of an uploaded file in any format (POST /v1/cloudimages/dataimages/action, which
/// not every cloud has).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DataFileImport {
    /// Name of the image.
    pub name: String,
    /// The uploaded object.
    pub image_url: ImageUrl,
    /// Smallest disk, in GiB.
    pub min_disk: u32,
    /// Operating system family; the service assumes Linux.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_type: Option<OsFamily>,
    /// Free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Key that encrypts the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmk_id: Option<String>,
    /// Enterprise project that the image belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enterprise_project_id: Option<String>,
    /// Tags.
    #[serde(flatten)]
    pub tags: Option<Tags>,
}

/// A data disk of a server that becomes a data image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DataVolume {
    /// Name of the image.
    pub name: String,
    /// Id of the disk.
    pub volume_id: String,
    /// Free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Tags.
    #[serde(flatten)]
    pub tags: Option<Tags>,
}

/// A system image of a stopped server, with images of its data disks if wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServerImage {
    /// Name of the image.
    pub name: String,
    /// Free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Id of the server.
    pub instance_id: String,
    /// Data disks of the server.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub data_images: Vec<DataVolume>,
    /// Least memory of a server, in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_ram: Option<u32>,
    /// Most memory of a server, in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_ram: Option<u32>,
    /// Enterprise project that the image belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enterprise_project_id: Option<String>,
    /// Tags.
    #[serde(flatten)]
    pub tags: Option<Tags>,
}

/// A system image of a data disk that holds a system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VolumeImage {
    /// Name of the image.
    pub name: String,
    /// Free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Id of the disk.
    pub volume_id: String,
    /// What the image is for; the service assumes a virtual machine.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<SystemKind>,
    /// Operating system in the service's words; one that the service finds on the disk wins.
    pub os_version: String,
    /// Least memory of a server, in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_ram: Option<u32>,
    /// Most memory of a server, in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_ram: Option<u32>,
    /// Enterprise project that the image belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enterprise_project_id: Option<String>,
    /// Tags.
    #[serde(flatten)]
    pub tags: Option<Tags>,
}

/// What a full-ECS image is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum WholeSource {
    /// A server, by id.
    #[serde(rename = "instance_id")]
    Server(String),
    /// A backup of a server, by id.
    #[serde(rename = "backup_id")]
    Backup(String),
}

/// An image of a server with all its disks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WholeImage {
    /// Name of the image.
    pub name: String,
    /// Free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Server or backup.
    #[serde(flatten)]
    pub source: WholeSource,
    /// Least memory of a server, in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_ram: Option<u32>,
    /// Most memory of a server, in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_ram: Option<u32>,
    /// Enterprise project that the image belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enterprise_project_id: Option<String>,
    /// Tags.
    #[serde(flatten)]
    pub tags: Option<Tags>,
}

#[derive(Serialize)]
struct DataVolumes<'a> {
    data_images: &'a [DataVolume],
}

impl Client {
    /// Starts a common import (POST /v2/cloudimages/action). Not repeated when it may have begun.
    ///
    /// ```no_run
    /// # async fn example(client: &ims::Client) -> ims::Result<()> {
    /// let object = ims::ImageUrl {
    ///     bucket: "my-images".into(),
    ///     key: "web01.qcow2".into(),
    /// };
    /// let mut import = ims::FileImport::new("web01", object, 10);
    /// import.os_version = Some("Ubuntu 24.04 server 64bit".into());
    /// let job = client.import_file(&import).await?;
    /// println!("job {job}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `Ambiguous` when the import may have begun; otherwise what the service said.
    pub async fn import_file(&self, import: &FileImport) -> Result<JobId> {
        let path = self.versioned("/cloudimages/action");
        self.create("importing the file", path, import, &import.name)
            .await
    }

    /// Starts the import of a data disk (POST /v1/cloudimages/dataimages/action).
    ///
    /// # Errors
    /// `NotFound` in clouds that lack the call; otherwise as [`Client::import_file`].
    pub async fn import_data_file(&self, import: &DataFileImport) -> Result<JobId> {
        let path = self.versioned_or("/v1", "/cloudimages/dataimages/action");
        self.create("importing the data disk", path, import, &import.name)
            .await
    }

    /// Whether the cloud has the call of [`Client::import_data_file`]; the one of the 2023
    /// reference has not. A request that names nothing is sent, which makes nothing.
    ///
    /// # Errors
    /// What the service said, if that tells neither.
    pub async fn takes_data_files(&self) -> Result<bool> {
        let path = self.versioned_or("/v1", "/cloudimages/dataimages/action");
        let nothing = serde_json::Map::new();
        let call = Call::with(self, "asking for a call", Method::POST, path, &nothing)?;
        match self.execute(&call).await {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) if error.kind() == ErrorKind::Refused => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Starts making an image of a server (POST /v2/cloudimages/action).
    ///
    /// # Errors
    /// As [`Client::import_file`].
    pub async fn image_server(&self, image: &ServerImage) -> Result<JobId> {
        let path = self.versioned("/cloudimages/action");
        self.create("making an image of the server", path, image, &image.name)
            .await
    }

    /// Starts making a system image of a data disk (POST /v2/cloudimages/action).
    ///
    /// # Errors
    /// As [`Client::import_file`].
    pub async fn image_volume(&self, image: &VolumeImage) -> Result<JobId> {
        let path = self.versioned("/cloudimages/action");
        self.create("making an image of the volume", path, image, &image.name)
            .await
    }

    /// Starts making data images of data disks, which must belong to one server (POST
    /// /v2/cloudimages/action).
    ///
    /// # Errors
    /// As [`Client::import_file`].
    pub async fn image_data_volumes(&self, volumes: &[DataVolume]) -> Result<JobId> {
        let path = self.versioned("/cloudimages/action");
        let name = volumes.first().map_or("", |volume| volume.name.as_str());
        let body = DataVolumes {
            data_images: volumes,
        };
        self.create("making images of the volumes", path, &body, name)
            .await
    }

    /// Starts making a full-ECS image (POST /v1/cloudimages/wholeimages/action).
    ///
    /// # Errors
    /// As [`Client::import_file`].
    pub async fn image_whole_server(&self, image: &WholeImage) -> Result<JobId> {
        let path = "/v1/cloudimages/wholeimages/action".to_owned();
        self.create(
            "making a full image of the server",
            path,
            image,
            &image.name,
        )
        .await
    }

    /// A call that makes an image named `name`. Made twice it makes two.
    pub(crate) async fn create(
        &self,
        doing: &'static str,
        path: String,
        body: &impl Serialize,
        name: &str,
    ) -> Result<JobId> {
        let call = Call::with(self, doing, Method::POST, path, body)?.once();
        let look = || {
            format!(
                "look for an image named {name:?} in the console, or with GET \
                 /v2/cloudimages?name=, before trying again"
            )
        };
        let mut rounds = self.0.options.flow_control_rounds;
        loop {
            match self.start(&call, look).await {
                Err(error) if error.code() == Some(FLOW_CONTROL) && rounds > 0 => {
                    rounds = rounds.saturating_sub(1);
                    tracing::warn!("{doing}: too many imports run at once, waiting for others");
                }
                other => return other,
            }
        }
    }
}

/// Code of a service that takes no more jobs now.
const FLOW_CONTROL: &str = "IMG.0060";
