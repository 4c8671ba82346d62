//! The bounds of an import, each with its source, and ranges that differ between clouds.

use std::ops::RangeInclusive;

use crate::clouds::Cloud;

/// Largest virtual disk that quick import takes: 1 TiB. Source: Image Management Service User
/// Guide, "Quickly Importing an Image File" ("not larger than 1 TB").
pub const MAX_VIRTUAL_SIZE: u64 = 1 << 40;

/// Largest file that an import takes which the service converts itself: 128 GB. Source: Reference,
/// `IMG.0059`, and Image Management Service User Guide, "Image Formats" (VMDK, VHD, QCOW2, RAW,
/// VHDX, QED, VDI, QCOW, ZVHD2, ZVHD and ISO). Both say "image file"; some pages mean the disk.
pub const MAX_COMMON_FILE: u64 = 128 << 30;

/// Most data images beside a system image. Source: Reference, "Creating an Image", `data_images`,
/// and `IMG.0194`.
pub const MAX_DATA_DISKS: usize = 3;

/// Longest image name in characters. Source: Reference, "Image Attributes", and `IMG.0002`.
pub const MAX_NAME: usize = 128;

/// Longest description in characters. Source: Reference, "Importing an Image File Quickly", and
/// `IMG.0004`.
pub const MAX_DESCRIPTION: usize = 1024;

/// Most tags of an image. Source: Reference, "Adding or Deleting Tags in Batches".
pub const MAX_TAGS: usize = 10;

/// Longest tag key in characters. Source: Reference, "Image Tag Data Formats".
pub const MAX_TAG_KEY: usize = 36;

/// Longest tag value in characters. Source: the same.
pub const MAX_TAG_VALUE: usize = 43;

/// Longest object key in bytes. Source: Object Storage Service API Reference, "Uploading Objects -
/// PUT".
pub const MAX_KEY: usize = 1024;

const GIB: u64 = 1 << 30;

/// The smallest disk that holds `virtual_size` bytes, in GiB, at least 1. Compared is the size that
/// the guest sees, not the file's: 2,147,991,552 bytes, a "2 GB" disk rounded up by old geometry,
/// need 3.
#[must_use]
pub fn min_disk_gib(virtual_size: u64) -> u64 {
    virtual_size.div_ceil(GIB).max(1)
}

/// Whether `name` has the form of a bucket's name: the rule `bucket-name`.
#[must_use]
pub fn is_bucket_name(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    (3..=63).contains(&name.len()) && name.bytes().all(fits)
}

pub(super) fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_')
}

/// Ranges of the minimum disk, in GiB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskLimits {
    /// Of system images.
    pub system: RangeInclusive<u32>,
    /// Of data images.
    pub data: RangeInclusive<u32>,
    /// Least usual for Linux; below, some releases refuse.
    pub usual_linux: u32,
    /// The same for Windows.
    pub usual_windows: u32,
}

impl DiskLimits {
    /// The ranges of a cloud; the widest that any has, where it is not known.
    ///
    /// Sources: the reference of eu-west-0 (2023: 1 to 1024 for both, no least), the one of Open
    /// Telekom Cloud (2026: 1 to 1024, data 1 to 2048), Huawei Cloud's (2024: at least 10 for Linux
    /// and 20 for Windows; its console and other releases: 40).
    #[must_use]
    pub const fn of(cloud: Option<Cloud>) -> Self {
        let (data, usual_linux, usual_windows) = match cloud {
            Some(Cloud::FlexibleEngine) => (1024, 1, 1),
            Some(Cloud::Otc | Cloud::OtcSwiss) => (2048, 1, 1),
            Some(Cloud::Huawei | Cloud::HuaweiEu) => (2048, 40, 40),
            Some(Cloud::SberCloud) | None => (2048, 10, 20),
        };
        Self {
            system: 1..=1024,
            data: 1..=data,
            usual_linux,
            usual_windows,
        }
    }
}
