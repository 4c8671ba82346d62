//! What a sandbox has without anybody having put it there: servers, volumes, backups, keys,
//! projects, and images of others.
//!
//! There is one of each kind that a documented refusal is about, so that a client can meet it. The
//! names say what is the matter; `docs/sandbox.md` lists them.

use std::time::SystemTime;

use crate::images::{ImageRecord, ImageStatus, ImageType, More};

/// A refusal: code and message of the table of error codes.
pub(crate) type Refusal = (&'static str, &'static str);

/// A server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) id: &'static str,
    /// Whether its system is of an image that costs money.
    pub(crate) charged: bool,
    /// Why no system image can be made of it.
    pub(crate) refuses_system: Option<Refusal>,
    /// Why no full-ECS image can be made of it.
    pub(crate) refuses_whole: Option<Refusal>,
}

const fn server(
    id: &'static str,
    refuses_system: Option<Refusal>,
    refuses_whole: Option<Refusal>,
) -> Server {
    Server {
        id,
        charged: false,
        refuses_system,
        refuses_whole,
    }
}

const NO_SYSTEM_DISK: Refusal = ("IMG.0119", "The VM does not have a system disk.");
const SPOT: Refusal = (
    "IMG.0164",
    "Failed to create an image because the spot ECS is being reclaimed.",
);
const DSS: Refusal = (
    "IMG.0153",
    "DESS or DSS disks cannot be used to create images.",
);
const FLAVOR: Refusal = ("IMG.0063", "The VM type does not support image creation.");
const TASKS: Refusal = (
    "IMG.0010",
    "The ECS cannot be used to create an image because it has in-progress tasks.",
);

const SERVERS: &[Server] = &[
    server("sandbox-server", None, None),
    Server {
        charged: true,
        ..server("sandbox-server-charged", None, None)
    },
    server(
        "sandbox-server-running",
        Some((
            "IMG.0008",
            "The ECS cannot be used to create images because it is not in stopped state.",
        )),
        None,
    ),
    server("sandbox-server-busy", Some(TASKS), Some(TASKS)),
    server(
        "sandbox-server-failed",
        Some((
            "IMG.0008",
            "The ECS cannot be used to create images because it is not in stopped state.",
        )),
        Some((
            "IMG.0126",
            "The VM in the current stage cannot be used to create a full-ECS image.",
        )),
    ),
    server(
        "sandbox-server-backing-up",
        None,
        Some((
            "IMG.0136",
            "Failed to create a full-ECS image because the ECS is being backed up.",
        )),
    ),
    server(
        "sandbox-server-diskless",
        Some(NO_SYSTEM_DISK),
        Some(NO_SYSTEM_DISK),
    ),
    server("sandbox-server-spot", Some(SPOT), Some(SPOT)),
    server("sandbox-server-dss", Some(DSS), Some(DSS)),
    server("sandbox-server-flavor", Some(FLAVOR), Some(FLAVOR)),
    server(
        "sandbox-server-large",
        Some((
            "IMG.0111",
            "The size of the system disk exceeds the maximum allowed.",
        )),
        None,
    ),
    server(
        "sandbox-server-damaged",
        Some((
            "IMG.0006",
            "The ECS system disk cannot be used to create an image.",
        )),
        None,
    ),
    server(
        "sandbox-server-detaching",
        Some((
            "IMG.0110",
            "The system disk is unavailable and cannot be used to create images.",
        )),
        None,
    ),
];

/// The server with this id.
pub(crate) fn find_server(id: &str) -> Option<&'static Server> {
    SERVERS.iter().find(|server| server.id == id)
}

/// A disk.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Volume {
    pub(crate) id: &'static str,
    /// The server that it is attached to.
    pub(crate) server: &'static str,
    pub(crate) refuses: Option<Refusal>,
}

const VOLUMES: &[Volume] = &[
    Volume {
        id: "sandbox-volume-1",
        server: "sandbox-server",
        refuses: None,
    },
    Volume {
        id: "sandbox-volume-2",
        server: "sandbox-server",
        refuses: None,
    },
    Volume {
        id: "sandbox-volume-elsewhere",
        server: "sandbox-server-running",
        refuses: None,
    },
    Volume {
        id: "sandbox-volume-failed",
        server: "sandbox-server",
        refuses: Some((
            "IMG.0022",
            "The disk in the current state cannot be used to create images.",
        )),
    },
];

/// The volume with this id.
pub(crate) fn find_volume(id: &str) -> Option<&'static Volume> {
    VOLUMES.iter().find(|volume| volume.id == id)
}

/// A backup of a server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Backup {
    pub(crate) id: &'static str,
    /// It tells no operating system, so the request must.
    pub(crate) needs_os: bool,
    pub(crate) refuses: Option<Refusal>,
}

const fn backup(id: &'static str, refuses: Option<Refusal>) -> Backup {
    Backup {
        id,
        needs_os: false,
        refuses,
    }
}

const BACKUPS: &[Backup] = &[
    backup("sandbox-backup", None),
    Backup {
        needs_os: true,
        ..backup("sandbox-backup-without-os", None)
    },
    backup(
        "sandbox-backup-creating",
        Some((
            "IMG.0132",
            "The CSBS backup in the current state cannot be used to create a full-ECS image.",
        )),
    ),
    backup(
        "sandbox-backup-forbidden",
        Some(("IMG.0133", "You are not allowed to access the CSBS backup.")),
    ),
    backup(
        "sandbox-backup-of-a-volume",
        Some((
            "IMG.0198",
            "Backup ID does not match the backup type or does not exist.",
        )),
    ),
];

/// The backup with this id.
pub(crate) fn find_backup(id: &str) -> Option<&'static Backup> {
    BACKUPS.iter().find(|backup| backup.id == id)
}

/// The key that encrypts; nothing is really encrypted.
pub(crate) const KEY: &str = "sandbox-key";

/// Why the key `id` cannot be used for a new image.
pub(crate) fn key_refusal(id: &str) -> Option<Refusal> {
    match id {
        KEY => None,
        "sandbox-key-disabled" => Some(("IMG.0097", "The key is not enabled.")),
        "sandbox-key-forbidden" => Some((
            "IMG.0099",
            "You do not have the permission to access the key.",
        )),
        _ => Some(("IMG.0095", "The KMS key does not exist.")),
    }
}

/// Why nothing can be shared with the project `id`. All others exist.
pub(crate) fn project_refusal(id: &str) -> Option<Refusal> {
    match id {
        "" => Some(("IMG.0041", "The authorized account is empty.")),
        "sandbox-project-unknown" => Some((
            "IMG.0108",
            "The tenant ID was not found in the current region.",
        )),
        "sandbox-project-elsewhere" => Some((
            "IMG.0177",
            "The source and target tenants reside in different regions.",
        )),
        _ => None,
    }
}

/// The cloud, as owner of its images.
pub(crate) const CLOUD: &str = "sandbox-cloud";
/// A project that shares images with the sandbox's own.
pub(crate) const OTHERS: &str = "sandbox-project-others";

/// Images that the sandbox's project does not own, or whose key is lost: id, owner, key.
const IMAGES: &[(&str, &str, Option<&str>)] = &[
    ("sandbox-image-public", CLOUD, None),
    ("sandbox-image-shared", OTHERS, None),
    ("sandbox-image-shared-encrypted", OTHERS, Some(KEY)),
];

/// The images of others.
pub(crate) fn images() -> Vec<ImageRecord> {
    IMAGES
        .iter()
        .map(|(id, owner, key)| ImageRecord {
            id: (*id).to_owned(),
            name: (*id).to_owned(),
            status: ImageStatus::Active,
            image_type: ImageType::Ecs,
            bucket: String::new(),
            key: String::new(),
            object_size: 1 << 20,
            disk_format: "zvhd2".to_owned(),
            virtual_size: Some(1 << 30),
            content_digest: None,
            min_disk: 40,
            os_version: Some("Debian GNU/Linux 12.0.0 64bit".to_owned()),
            os_type: "Linux".to_owned(),
            architecture: "x86".to_owned(),
            hw_firmware_type: "bios".to_owned(),
            description: String::new(),
            tags: Vec::new(),
            created_at: SystemTime::UNIX_EPOCH,
            updated_at: SystemTime::UNIX_EPOCH,
            more: More {
                owner: Some((*owner).to_owned()),
                cmk_id: key.map(str::to_owned),
                ..More::default()
            },
        })
        .collect()
}

/// The disk of a server or volume: 64 MiB, of which the first holds what nobody else has.
pub(crate) fn disk(id: &str) -> (Vec<u8>, u64) {
    use sha2::{Digest as _, Sha256};
    let mut bytes = Vec::with_capacity(1 << 20);
    let mut block = Sha256::digest(id);
    while bytes.len() < 1 << 20 {
        bytes.extend_from_slice(&block);
        block = Sha256::digest(block);
    }
    // Nothing that a probe takes for text, or for another format.
    if let Some(first) = bytes.first_mut() {
        *first = 0xEB;
    }
    (bytes, 64 << 20)
}
