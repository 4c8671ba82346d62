//! What the service would refuse, found before a byte is uploaded.
//!
//! Each rule names its document. "Reference" is the Image Management Service API Reference; where
//! its releases differ, the laxest one is a violation and a stricter one a warning: no rule here
//! forbids what a region may accept.

mod broken;
mod catalog;
mod limits;
mod violation;

pub use catalog::{Level, RULES, Rule, rule, skippable};
pub use limits::{
    DiskLimits, MAX_COMMON_FILE, MAX_DATA_DISKS, MAX_DESCRIPTION, MAX_KEY, MAX_NAME, MAX_TAG_KEY,
    MAX_TAG_VALUE, MAX_TAGS, MAX_VIRTUAL_SIZE, is_bucket_name, min_disk_gib,
};
pub use violation::{CommonFile, Violation, Warning};

use self::broken::Rules;
use self::limits::is_plain;
use crate::clouds::Cloud;
use crate::import::{ImageKind, QuickImport};

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
                    "the file name {file:?} is longer than {MAX_NAME} characters or has others \
                     than letters, digits, '-', '.' and '_', which the service may refuse \
                     (IMG.0074, IMG.0075)"
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
                        "the minimum disk is {} GiB; some regions and releases want at least \
                         {floor} for system disks",
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
