//! What the service would refuse, found before a byte is uploaded.
//!
//! Each rule names its document. "Reference" is the Image Management Service API Reference; where
//! its releases differ, the laxest one is a violation and a stricter one a warning: no rule here
//! forbids what a region may accept.

mod broken;
mod catalog;
mod limits;

pub use catalog::{Level, RULES, Rule, rule, skippable};
pub use limits::DiskLimits;

use self::broken::Rules;
use crate::clouds::Cloud;
use crate::import::{ImageKind, QuickImport};

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

/// A broken rule: the service would refuse the import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule that is broken.
    pub rule: &'static Rule,
    /// The field, by its name in [`QuickImport`]; `virtual_size` for the disk itself.
    pub field: &'static str,
    /// The code that the service answers with, where it is documented.
    pub code: Option<&'static str>,
    /// Found and expected.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// Something that some regions or releases refuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The rule that some hold.
    pub rule: &'static Rule,
    /// The field, as in [`Violation::field`].
    pub field: &'static str,
    /// What may go wrong.
    pub message: String,
}

/// A file that the service converts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommonFile {
    /// Bytes of the file.
    pub size: u64,
    /// Bytes of the disk inside, where they are known.
    pub virtual_size: Option<u64>,
    /// Whether it is an installation medium.
    pub iso: bool,
}

/// The smallest disk that holds `virtual_size` bytes, in GiB, at least 1. Compared is the size that
/// the guest sees, not the file's: 2,147,991,552 bytes, a "2 GB" disk rounded up by old geometry,
/// need 3.
#[must_use]
pub fn min_disk_gib(virtual_size: u64) -> u64 {
    virtual_size.div_ceil(GIB).max(1)
}

impl QuickImport {
    /// All broken rules for a disk of `virtual_size` bytes, whatever the cloud.
    #[must_use]
    pub fn violations(&self, virtual_size: u64) -> Vec<Violation> {
        self.violations_on(virtual_size, None)
    }

    /// All broken rules for a disk of `virtual_size` bytes on a cloud.
    #[must_use]
    pub fn violations_on(&self, virtual_size: u64, cloud: Option<Cloud>) -> Vec<Violation> {
        let mut list = self.field_violations_on(cloud);
        let mut rules = Rules(&mut list);
        rules.quick_size(virtual_size);
        rules.holds(self, virtual_size);
        list
    }

    /// All broken rules for a file that is uploaded as it is and converted by the service: the
    /// common import, and the form in two steps. The service finds the operating system itself,
    /// except on installation media.
    #[must_use]
    pub fn common_violations_on(&self, file: &CommonFile, cloud: Option<Cloud>) -> Vec<Violation> {
        let mut list = self.field_violations_on(cloud);
        list.retain(|violation| {
            let quick_only = [&catalog::OS_VERSION_GIVEN, &catalog::OS_TYPE_ABSENT];
            !quick_only.contains(&violation.rule)
        });
        let mut rules = Rules(&mut list);
        rules.file(self, file);
        if let Some(size) = file.virtual_size {
            rules.holds(self, size);
        }
        list
    }

    /// The broken rules that need no disk, whatever the cloud.
    #[must_use]
    pub fn field_violations(&self) -> Vec<Violation> {
        self.field_violations_on(None)
    }

    fn field_violations_on(&self, cloud: Option<Cloud>) -> Vec<Violation> {
        let mut list = Vec::new();
        let mut rules = Rules(&mut list);
        rules.name(&self.name);
        rules.image_url(self);
        rules.min_disk(self, &DiskLimits::of(cloud));
        rules.kind(self);
        rules.description(self.description.as_deref());
        rules.tags(&self.tags);
        if self.form.tags_as_text {
            rules.tag_texts(&self.tags);
        }
        list
    }

    /// What some regions or releases may refuse, whatever the cloud.
    #[must_use]
    pub fn warnings(&self) -> Vec<Warning> {
        self.warnings_on(None)
    }

    /// What some regions or releases of a cloud may refuse.
    #[must_use]
    pub fn warnings_on(&self, cloud: Option<Cloud>) -> Vec<Warning> {
        let mut list = Vec::new();
        let mut warn = |rule, field, message: String| {
            list.push(Warning {
                rule,
                field,
                message,
            });
        };
        if self
            .name
            .chars()
            .any(|c| !c.is_ascii() && c.is_alphanumeric())
        {
            warn(
                &catalog::NAME_LETTERS,
                "name",
                "the name has letters beyond A to Z, which not every region accepts".into(),
            );
        }
        // Source: codes IMG.0074 and IMG.0075, which do not say which files they mean.
        let file = self.image_url.key.rsplit('/').next().unwrap_or_default();
        if file.chars().count() > MAX_NAME || !file.chars().all(is_plain) {
            warn(
                &catalog::KEY_FILE_NAME,
                "image_url.key",
                format!(
                    "the file name {file:?} is longer than {MAX_NAME} characters or has others than letters, digits, '-', '.' and '_', which the service may refuse (IMG.0074, IMG.0075)"
                ),
            );
        }
        if self.kind != ImageKind::DataImage {
            let windows = self.os_version.as_deref().is_some_and(is_windows);
            let limits = DiskLimits::of(cloud);
            let floor = if windows {
                limits.usual_windows
            } else {
                limits.usual_linux
            };
            if self.min_disk < floor {
                warn(
                    &catalog::MIN_DISK_USUAL,
                    "min_disk",
                    format!(
                        "the minimum disk is {} GiB; some regions and releases want at least {floor} for system disks",
                        self.min_disk
                    ),
                );
            }
        }
        if self.license_type.is_some() && !self.os_version.as_deref().is_some_and(is_windows) {
            warn(
                &catalog::LICENCE_WINDOWS,
                "license_type",
                "a licence type counts for Windows only".into(),
            );
        }
        list
    }
}

/// All names of Windows versions in the reference begin so, `Other Windows(64 bit)` apart.
fn is_windows(os_version: &str) -> bool {
    os_version.starts_with("Windows") || os_version.starts_with("Other Windows")
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_')
}
