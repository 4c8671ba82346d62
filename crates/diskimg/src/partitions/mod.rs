//! The partition table that a disk has, read through the image: MBR with logical partitions, GPT
//! with its backup, or a file system without any table; and the way of booting that it suggests.
//!
//! What a guest wrote is hostile as well: counts are held against caps, chains of logical
//! partitions have an end, and what is wrong with a table is a warning, because the guest may live
//! with it.

mod content;
mod gpt;
mod mbr;
mod types;

pub(crate) use self::content::kind_of;

use serde::Serialize;

use crate::error::Result;
use crate::image::DiskImage;
use crate::probe::Format;
use crate::units::{GuestOffset, SECTOR};

/// Most partitions whose content is looked at.
const MAX_EXAMINED: usize = 128;

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
    /// MBR: marked as active. GPT: marked as bootable by the BIOS.
    pub bootable: bool,
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

/// What [`read`] found.
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
    fn new(scheme: Scheme, sector_size: u64) -> Self {
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
                "the partition table counts in sectors of {} bytes; on a volume with sectors of {SECTOR} bytes \
                 firmware and system find no partitions",
                self.sector_size
            )
        })
    }

    /// What is wrong with a disk of `size` bytes that has this table, if it is too short for it.
    #[must_use]
    pub fn size_problem(&self, size: u64) -> Option<String> {
        (self.least_size > size).then(|| {
            format!(
                "by its partition table the disk has at least {} bytes, the image has {size}; it was cut off",
                self.least_size
            )
        })
    }

    fn warn(&mut self, text: impl Into<String>) {
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

/// Reads the partition table of `image`, and the first bytes of each partition. A few reads,
/// however large the disk is.
///
/// Of formats that can only be read front to back (ZVHD) just the beginning is looked at.
///
/// # Errors
/// Those of reading the image. What is wrong with the table is in [`PartitionTable::warnings`].
pub fn read(image: &dyn DiskImage) -> Result<PartitionTable> {
    look_at(image, image.details().format == Format::Zvhd)
}

fn look_at(image: &dyn DiskImage, front_only: bool) -> Result<PartitionTable> {
    let disk = Disk {
        image,
        size: image.virtual_size(),
        front_only,
    };
    let first = disk.sector()?;
    let table = match gpt::read(&disk, &first)? {
        Some(table) => Some(table),
        None => mbr::read(&disk, &first)?,
    };
    let mut table = match table {
        Some(table) => table,
        None => {
            let content = content::recognise(&disk, 0, disk.size)?;
            let scheme = match content {
                Some(_) => Scheme::Superfloppy,
                None => Scheme::None,
            };
            PartitionTable {
                content,
                ..PartitionTable::new(scheme, SECTOR)
            }
        }
    };
    if !disk.front_only {
        examine(&disk, &mut table)?;
    }
    check_places(&disk, &mut table);
    judge_boot(&first, &mut table);
    table.boot_code = mbr::has_boot_code(&first) || mbr::begins_with_jump(&first);
    Ok(table)
}

/// [`read`] of a disk of which only the beginning is there yet, such as one on a pipe.
///
/// # Errors
/// Those of [`read`].
pub fn read_front(image: &dyn DiskImage) -> Result<PartitionTable> {
    look_at(image, true)
}

/// The disk that is looked at.
struct Disk<'a> {
    image: &'a dyn DiskImage,
    size: u64,
    /// Whether only its beginning can be read fast.
    front_only: bool,
}

impl Disk<'_> {
    /// The first sector, filled up with zeros.
    fn sector(&self) -> Result<[u8; 512]> {
        let mut sector = [0; 512];
        self.fill(0, &mut sector)?;
        Ok(sector)
    }

    /// Fills `buf` from `at`; zeros past the end of the disk.
    fn fill(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        let left = self.size.saturating_sub(at);
        let left = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        let (on_disk, beyond) = buf.split_at_mut(left);
        beyond.fill(0);
        if on_disk.is_empty() {
            return Ok(());
        }
        self.image.read_at(GuestOffset(at), on_disk)
    }
}

/// Looks at what the partitions begin with.
fn examine(disk: &Disk<'_>, table: &mut PartitionTable) -> Result<()> {
    for entry in table.entries.iter_mut().take(MAX_EXAMINED) {
        if !types::is_extended(&entry.type_id) {
            entry.content = content::recognise(disk, entry.start, entry.size)?;
        }
    }
    Ok(())
}

/// Warns of partitions that are not on the disk or on each other.
fn check_places(disk: &Disk<'_>, table: &mut PartitionTable) {
    let mut warnings = Vec::new();
    let end_of = |entry: &Partition| entry.start.saturating_add(entry.size);
    for entry in &table.entries {
        table.least_size = table.least_size.max(end_of(entry));
        if end_of(entry) > disk.size {
            warnings.push(format!(
                "partition {} ends at {:#x}, the disk ends at {:#x}",
                entry.number,
                end_of(entry),
                disk.size
            ));
        }
    }
    let mut sorted: Vec<_> = table
        .entries
        .iter()
        .filter(|entry| !types::is_extended(&entry.type_id))
        .collect();
    sorted.sort_by_key(|entry| entry.start);
    let mut furthest: Option<&Partition> = None;
    for entry in sorted {
        match furthest {
            Some(before) if entry.start < end_of(before) => warnings.push(format!(
                "partition {} begins at {:#x}, before the end of partition {} at {:#x}",
                entry.number,
                entry.start,
                before.number,
                end_of(before)
            )),
            _ => {}
        }
        if furthest.is_none_or(|before| end_of(before) < end_of(entry)) {
            furthest = Some(entry);
        }
    }
    for warning in warnings {
        table.warn(warning);
    }
}

fn judge_boot(first: &[u8; 512], table: &mut PartitionTable) {
    let find = |what: fn(&Partition) -> bool| table.entries.iter().find(|entry| what(entry));
    let esp = find(|entry| types::is_esp(&entry.type_id))
        .map(|entry| format!("partition {} is an EFI System partition", entry.number));
    let bios = match table.scheme {
        Scheme::Gpt => find(|entry| types::is_bios_boot(&entry.type_id))
            .map(|entry| format!("partition {} is a BIOS boot partition", entry.number))
            .or_else(|| {
                find(|entry| entry.bootable)
                    .map(|entry| format!("partition {} is marked for the BIOS", entry.number))
            }),
        Scheme::Mbr => find(|entry| entry.bootable && !types::is_esp(&entry.type_id))
            .map(|entry| format!("partition {} is active", entry.number))
            .or_else(|| {
                // Disks with an EFI system partition have some code too, that says so.
                (esp.is_none() && mbr::has_boot_code(first))
                    .then(|| "the first sector holds boot code".to_owned())
            }),
        Scheme::Superfloppy | Scheme::None => None,
    };
    (table.boot, table.boot_reason) = match (esp, bios) {
        (Some(esp), Some(bios)) => (BootMode::Both, format!("{esp}, and {bios}")),
        (Some(esp), None) => (BootMode::Uefi, esp),
        (None, Some(bios)) => (BootMode::Bios, bios),
        (None, None) => (
            BootMode::Unknown,
            "there is neither an EFI System partition nor anything that a BIOS starts".to_owned(),
        ),
    };
}
