//! What a partition table says.

use serde::Serialize;

use crate::units::SECTOR;

/// Most warnings about a table; when there are more, the last one says so.
const MAX_WARNINGS: usize = 32;

/// How the disk is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// Master boot record: four entries, with chains of logical partitions.
    Mbr,
    /// GUID partition table.
    Gpt,
    /// No table: one file system on the whole disk.
    Superfloppy,
    /// Nothing that is known.
    None,
}

impl Scheme {
    /// The name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mbr => "MBR",
            Self::Gpt => "GPT",
            Self::Superfloppy => "no table, one file system",
            Self::None => "none",
        }
    }
}

/// What a stretch of the disk begins with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Content {
    /// File system, or what else it is, such as `ext4` or `LVM2 physical volume`.
    pub kind: &'static str,
    /// Its label, escaped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Partition {
    /// Number, as operating systems count: logical partitions from 5 on.
    pub number: u32,
    /// First byte on the disk.
    pub start: u64,
    /// Length in bytes.
    pub size: u64,
    /// What it is for, by its type; `unknown` for types without a name here.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The type as stored: `0x83`, or a GUID.
    pub type_id: String,
    /// Name in the table, escaped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// By which systems find it, as `blkid` prints its PARTUUID.
    #[serde(skip)]
    pub uuid: Option<String>,
    /// MBR: marked as active. GPT: marked as bootable by the BIOS.
    pub bootable: bool,
    /// GPT: all attribute bits.
    #[serde(skip)]
    pub attributes: u64,
    /// What it begins with, when that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
}

/// How the disk boots, as far as its table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BootMode {
    /// There is an EFI system partition.
    Uefi,
    /// There is a partition or code that only a BIOS starts.
    Bios,
    /// Both of them, as cloud images of distributions have them.
    Both,
    /// Neither.
    Unknown,
}

impl BootMode {
    /// The firmware to ask the cloud for: `uefi` or `bios`; `None` when nothing is known.
    #[must_use]
    pub const fn firmware(self) -> Option<&'static str> {
        match self {
            Self::Uefi | Self::Both => Some("uefi"),
            Self::Bios => Some("bios"),
            Self::Unknown => None,
        }
    }

    /// The name for people and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uefi => "uefi",
            Self::Bios => "bios",
            Self::Both => "both",
            Self::Unknown => "unknown",
        }
    }
}

/// What [`super::read`] found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartitionTable {
    /// How the disk is divided.
    pub scheme: Scheme,
    /// Bytes in a sector, by which the table counts: 512 or 4096.
    pub sector_size: u64,
    /// Identifier of the disk: 32 bits in hexadecimal, or a GUID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The partitions, in the order of the table.
    pub entries: Vec<Partition>,
    /// What the whole disk begins with, when it has no table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
    /// How it boots.
    pub boot: BootMode,
    /// What makes that so.
    pub boot_reason: String,
    /// What is wrong with the table. `inspect` shows it with the other warnings.
    #[serde(skip)]
    pub warnings: Vec<String>,
    /// Bytes that the disk has by its table: to the end of the last partition, or of a GPT's
    /// backup.
    #[serde(skip)]
    pub least_size: u64,
    /// Whether the first sector begins with code, whatever else is on the disk.
    #[serde(skip)]
    pub boot_code: bool,
}

impl PartitionTable {
    pub(super) fn new(scheme: Scheme, sector_size: u64) -> Self {
        Self {
            scheme,
            sector_size,
            id: None,
            entries: Vec::new(),
            content: None,
            boot: BootMode::Unknown,
            boot_reason: String::new(),
            warnings: Vec::new(),
            least_size: 0,
            boot_code: false,
        }
    }

    /// Whether there is nothing that a machine could start or read: no table, no file system, no
    /// boot code.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.scheme == Scheme::None && !self.boot_code
    }

    /// What is wrong with the table on a volume whose sectors have 512 bytes, if anything.
    #[must_use]
    pub fn sector_problem(&self) -> Option<String> {
        (self.sector_size != SECTOR).then(|| {
            format!(
                "the partition table counts in sectors of {} bytes; on a volume with sectors of \
                 {SECTOR} bytes firmware and system find no partitions",
                self.sector_size
            )
        })
    }

    /// What is wrong with a disk of `size` bytes that has this table, if it is too short for it.
    #[must_use]
    pub fn size_problem(&self, size: u64) -> Option<String> {
        (self.least_size > size).then(|| {
            format!(
                "by its partition table the disk has at least {} bytes, the image has {size}; it \
                 was cut off",
                self.least_size
            )
        })
    }

    pub(super) fn warn(&mut self, text: impl Into<String>) {
        const SHOWN: usize = MAX_WARNINGS - 1;
        match self.warnings.len() {
            0..SHOWN => self.warnings.push(text.into()),
            SHOWN => self.warnings.push(format!(
                "more is wrong with the partition table; the first {SHOWN} warnings are shown"
            )),
            _ => {}
        }
    }
}
