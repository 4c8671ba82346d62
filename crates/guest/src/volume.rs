//! Volumes: what a partition, a logical volume or an array holds, and how guests name it.

mod device;

use std::fmt;

use serde::Serialize;

pub(crate) use device::{Device, find};

use crate::text::printable;

/// File systems that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FileSystem {
    /// ext2, ext3 or ext4.
    Ext,
    /// XFS.
    Xfs,
    /// Btrfs.
    Btrfs,
    /// NTFS.
    Ntfs,
    /// FAT12, FAT16 or FAT32.
    Fat,
}

/// What a volume holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Content {
    /// A file system.
    FileSystem(FileSystem),
    /// Swap space; a hibernated system is stored in it or not.
    Swap {
        /// A hibernated system is stored in it.
        hibernated: bool,
    },
    /// A physical volume of LVM, with its group's name where its metadata could be read.
    PhysicalVolume(Option<String>),
    /// A member of an MD array.
    ArrayMember,
    /// Encrypted; the name of the method.
    Encrypted(&'static str),
    /// Something that is recognised and not read; its name.
    Other(&'static str),
    /// Nothing: its beginning is zero.
    Empty,
    /// Nothing known.
    Unknown,
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FileSystem(FileSystem::Ext) => "ext2, ext3 or ext4",
            Self::FileSystem(FileSystem::Xfs) => "XFS",
            Self::FileSystem(FileSystem::Btrfs) => "Btrfs",
            Self::FileSystem(FileSystem::Ntfs) => "NTFS",
            Self::FileSystem(FileSystem::Fat) => "FAT",
            Self::Swap { hibernated: false } => "swap",
            Self::Swap { hibernated: true } => "swap with a hibernated system",
            Self::PhysicalVolume(None) => "LVM",
            Self::PhysicalVolume(Some(group)) => {
                return write!(f, "LVM, group {}", printable(group));
            }
            Self::ArrayMember => "member of an array",
            Self::Encrypted(method) => return write!(f, "encrypted by {method}"),
            Self::Other(name) => name,
            Self::Empty => "nothing",
            Self::Unknown => "not known",
        })
    }
}

/// The state in which a file system was left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Health {
    /// It was not unmounted: how it shows.
    pub(crate) dirty: Option<String>,
    /// Changes are in its journal alone; whether they were applied for the inspection.
    pub(crate) journal: Option<bool>,
    /// Errors are recorded in it: how it shows.
    pub(crate) errors: Option<String>,
    /// Bytes it claims, when they are more than its volume has.
    pub(crate) longer: Option<u64>,
    /// Devices that it needs, when they are more than one.
    pub(crate) devices: Option<u64>,
}

/// What a volume lies on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stack {
    /// The whole disk or a partition.
    Plain,
    /// A logical volume; `missing` names the physical volumes that are not on this disk.
    Logical {
        group: String,
        name: String,
        missing: Vec<String>,
    },
    /// An MD array of `level`, of which `missing` members are not on this disk.
    Array {
        uuid: String,
        level: i32,
        missing: u32,
    },
}

/// Bytes of the smallest volume that something unknown with a name would be in.
const LEAST_NAMED: u64 = 32 << 20;

/// One volume.
#[derive(Clone, Debug)]
pub(crate) struct Volume {
    /// Number of the partition it is or lies on, when it lies on one.
    pub(crate) partition: Option<u32>,
    pub(crate) stack: Stack,
    /// Bytes.
    pub(crate) size: u64,
    pub(crate) content: Content,
    /// Of the content, as `blkid` prints it.
    pub(crate) uuid: Option<String>,
    pub(crate) label: Option<Vec<u8>>,
    /// Of the partition, lower case: a GUID, or `signature-number` on an MBR.
    pub(crate) partuuid: Option<String>,
    pub(crate) partlabel: Option<String>,
    /// Type of the partition, as in the table: a GUID in lower case, or `0x83`.
    pub(crate) part_type: Option<String>,
    /// Which of several partitions of one kind is started first, the highest; Flatcar's bits of a
    /// GPT.
    pub(crate) priority: u8,
    pub(crate) health: Health,
    /// Why the file system could not be opened.
    pub(crate) closed: Option<String>,
}

impl Volume {
    /// A volume of which nothing is known but where it lies.
    pub(crate) fn new(partition: Option<u32>, stack: Stack) -> Self {
        Self {
            partition,
            stack,
            size: 0,
            content: Content::Unknown,
            uuid: None,
            label: None,
            partuuid: None,
            partlabel: None,
            part_type: None,
            priority: 0,
            health: Health::default(),
            closed: None,
        }
    }

    /// Why names may be in it that cannot be read: a UUID, a label, a volume of a group.
    pub(crate) fn hides_names(&self) -> Option<String> {
        let name = self.name();
        match &self.content {
            Content::Encrypted(method) => Some(format!("{name} is encrypted by {method}")),
            Content::PhysicalVolume(None) => {
                let reason = self.closed.as_deref();
                let reason = reason.unwrap_or("its metadata cannot be read");
                Some(format!("{name}: {reason}"))
            }
            Content::Other(what) => Some(format!("{name} holds {what}, which is not read")),
            // Room for boot loaders has no name.
            Content::Unknown if self.size >= LEAST_NAMED && self.uuid.is_none() => {
                let reason = self
                    .closed
                    .as_deref()
                    .unwrap_or("what it holds is not known");
                Some(format!("{name}: {reason}"))
            }
            _ if self.uuid.is_none() => {
                let reason = self.closed.as_deref()?;
                Some(format!("{name}: {reason}"))
            }
            _ => None,
        }
    }

    /// As reports name it.
    pub(crate) fn name(&self) -> String {
        match (&self.stack, self.partition) {
            (Stack::Logical { group, name, .. }, _) => printable(format!("/dev/{group}/{name}")),
            (Stack::Array { uuid, .. }, _) => format!("array {uuid}"),
            (Stack::Plain, Some(number)) => format!("partition {number}"),
            (Stack::Plain, None) => "whole disk".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_read_may_hold_the_name_that_is_looked_for() {
        let volume = |content: Content, size: u64| Volume {
            content,
            size,
            ..Volume::new(Some(4), Stack::Plain)
        };
        let reason = volume(Content::Other("ReiserFS"), 1 << 30).hides_names();
        assert_eq!(
            reason.as_deref(),
            Some("partition 4 holds ReiserFS, which is not read")
        );
        assert!(volume(Content::Unknown, 1 << 30).hides_names().is_some());
        assert!(
            volume(Content::Encrypted("LUKS"), 1 << 30)
                .hides_names()
                .is_some()
        );
        // The partition for a BIOS' boot loader.
        assert!(volume(Content::Unknown, 1 << 20).hides_names().is_none());
        let swap = Content::Swap { hibernated: false };
        assert!(volume(swap, 1 << 30).hides_names().is_none());
    }
}
