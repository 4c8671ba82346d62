//! What was found, volume by volume.

use std::fmt;
use std::sync::Arc;

use diskimg::units::human;
use serde::Serialize;

use crate::map::FreeMap;

/// The free space of a disk.
#[derive(Clone, Debug, Default, Serialize)]
pub struct FreeSpace {
    /// Everything that may be left out.
    #[serde(skip)]
    pub map: Arc<FreeMap>,
    /// SHA-256 of the places of all that: equal for two disks of which the same may be left out.
    pub map_sha256: String,
    /// Bytes that may be left out.
    pub free_bytes: u64,
    /// Of these, bytes that the image stores: what would be read without reason.
    pub stored_bytes: u64,
    /// What is free where.
    pub volumes: Vec<VolumeSpace>,
    /// Why nothing is known of the whole disk, if that is so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undone: Option<String>,
    /// Bytes of the disk that were read to find out.
    pub bytes_read: u64,
}

/// The free space of one volume.
#[derive(Clone, Debug, Serialize)]
pub struct VolumeSpace {
    /// The volume, as reports name it.
    pub name: String,
    /// What it holds, such as `ext4`.
    pub kind: &'static str,
    /// Bytes of the file system, or of the volume.
    pub size: u64,
    /// Bytes that it calls free.
    pub free: u64,
    /// Of these, bytes that may be left out; short stretches are kept.
    pub discardable: u64,
    /// Of these, bytes that the image stores.
    pub stored: u64,
    /// Why it is copied whole, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<String>,
}

impl FreeSpace {
    pub(crate) fn undone(reason: impl Into<String>) -> Self {
        Self {
            map_sha256: FreeMap::default().hash(),
            undone: Some(reason.into()),
            ..Self::default()
        }
    }
}

/// Bytes in free space that nobody needs to hear of.
const LITTLE: u64 = 16 << 20;

impl FreeSpace {
    /// Whether the image stores so much in free space that it is worth a word.
    #[must_use]
    pub fn is_worth_it(&self) -> bool {
        self.stored_bytes >= LITTLE
    }

    /// What to do about it.
    #[must_use]
    pub fn advice(&self) -> String {
        format!(
            "without free space up to {} that the image stores need not be copied",
            human(self.stored_bytes)
        )
    }
}

impl fmt::Display for VolumeSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}: ", self.kind, self.name)?;
        match &self.kept {
            Some(reason) => write!(f, "copied whole, because {reason}"),
            None => write!(
                f,
                "{} used, {} free, of which the image stores {}",
                human(self.size.saturating_sub(self.free)),
                human(self.free),
                human(self.stored)
            ),
        }
    }
}
