//! The rules, each with its document: what they check of an import, and the message for a
//! violation.

use super::catalog::{self, Rule};
use super::limits::{
    DiskLimits, MAX_COMMON_FILE, MAX_DESCRIPTION, MAX_KEY, MAX_NAME, MAX_TAG_KEY, MAX_TAG_VALUE,
    MAX_TAGS, MAX_VIRTUAL_SIZE, is_bucket_name, is_plain, min_disk_gib,
};
use super::violation::{CommonFile, Violation};
use crate::import::{Architecture, Firmware, ImageKind, QuickImport};

/// Collects the violations.
pub(super) struct Rules<'a>(pub(super) &'a mut Vec<Violation>);

impl Rules<'_> {
    fn broken(
        &mut self,
        rule: &'static Rule,
        field: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.0.push(Violation {
            rule,
            field,
            code: rule.code,
            message: message.into(),
            hint: hint.into(),
        });
    }

    /// Reference, "Image Attributes": 1 to 128 characters, letters, digits, `-`, `.`, `_` and
    /// space, no space at the ends. It says "uppercase and lowercase letters"; newer consoles take
    /// Chinese ones too, so letters beyond ASCII are a warning.
    pub(super) fn name(&mut self, name: &str) {
        const FIELD: &str = "name";
        let length = name.chars().count();
        if length == 0 {
            self.broken(
                &catalog::NAME_GIVEN,
                FIELD,
                "the image name is empty",
                "give a name",
            );
        }
        if length > MAX_NAME {
            self.broken(
                &catalog::NAME_LENGTH,
                FIELD,
                format!("the image name has {length} characters, at most {MAX_NAME} are accepted"),
                "shorten the name",
            );
        }
        if name.starts_with(' ') || name.ends_with(' ') {
            self.broken(
                &catalog::NAME_SPACES,
                FIELD,
                "the image name starts or ends with a space",
                "remove the space",
            );
        }
        let fits = |c: char| is_plain(c) || c == ' ' || (!c.is_ascii() && c.is_alphanumeric());
        if let Some(bad) = name.chars().find(|c| !fits(*c)) {
            self.broken(
                &catalog::NAME_CHARACTERS,
                FIELD,
                format!("the image name has the character {bad:?}"),
                "use letters, digits, '-', '.', '_' and spaces",
            );
        }
    }

    /// Reference, `IMG.0068` and `IMG.0109` (bucket), `IMG.0017` (form), `IMG.0175` (spaces); the
    /// bucket's form from the Object Storage Service API Reference, "Creating a Bucket".
    pub(super) fn image_url(&mut self, import: &QuickImport) {
        let bucket = import.image_url.bucket.as_str();
        let key = import.image_url.key.as_str();
        if bucket.is_empty() {
            self.broken(
                &catalog::BUCKET_GIVEN,
                "image_url.bucket",
                "the bucket's name is empty",
                "name the bucket",
            );
        } else if !is_bucket_name(bucket) {
            self.broken(
                &catalog::BUCKET_NAME,
                "image_url.bucket",
                format!("invalid bucket name {bucket:?}"),
                "buckets have 3 to 63 lower-case letters, digits, '-' and '.'",
            );
        }
        const KEY: &str = "image_url.key";
        if key.is_empty() {
            self.broken(
                &catalog::KEY_GIVEN,
                KEY,
                "the key is empty",
                "name the object",
            );
        }
        if key.len() > MAX_KEY {
            self.broken(
                &catalog::KEY_LENGTH,
                KEY,
                format!(
                    "the key has {} bytes, at most {MAX_KEY} are accepted",
                    key.len()
                ),
                "shorten the key",
            );
        }
        if key.chars().any(|c| c.is_whitespace() || c.is_control()) {
            self.broken(
                &catalog::KEY_SPACES,
                KEY,
                format!("the key {key:?} has spaces or control characters"),
                "choose a key without spaces, in folders too",
            );
        }
    }

    /// Reference, "Importing an Image File Quickly": 1 to 1024, for data disks 1 to 2048 in newer
    /// releases; `IMG.0055`.
    pub(super) fn min_disk(&mut self, import: &QuickImport, limits: &DiskLimits) {
        let (what, range) = match import.kind {
            ImageKind::DataImage => ("data", &limits.data),
            ImageKind::Ecs | ImageKind::Bms => ("system", &limits.system),
        };
        if !range.contains(&import.min_disk) {
            let (least, most) = (range.start(), range.end());
            self.broken(
                &catalog::MIN_DISK_RANGE,
                "min_disk",
                format!(
                    "the minimum disk is {} GiB, {what} images have {least} to {most}",
                    import.min_disk
                ),
                format!("choose a minimum disk of {least} to {most} GiB"),
            );
        }
    }

    /// User guide, "Quickly Importing an Image File": 1 TB.
    pub(super) fn quick_size(&mut self, virtual_size: u64) {
        if virtual_size > MAX_VIRTUAL_SIZE {
            self.broken(
                &catalog::VIRTUAL_SIZE,
                "virtual_size",
                format!(
                    "the disk has {virtual_size} bytes, quick import takes at most \
                         {MAX_VIRTUAL_SIZE} (1 TiB)"
                ),
                "shrink the disk first, for example with qemu-img resize --shrink",
            );
        }
    }

    /// Reference, `IMG.0059` (128 GB, of the file) and `IMG.0166` (installation media name their
    /// system).
    pub(super) fn file(&mut self, import: &QuickImport, file: &CommonFile) {
        if file.size > MAX_COMMON_FILE {
            self.broken(
                &catalog::FILE_SIZE,
                "file",
                format!(
                    "the file has {} bytes, the service converts files of up to {MAX_COMMON_FILE} \
                     (128 GiB)",
                    file.size
                ),
                "register by quick import, which takes disks of up to 1 TiB",
            );
        }
        let named = import
            .os_version
            .as_deref()
            .is_some_and(|os| !os.trim().is_empty());
        if file.iso && !named {
            self.broken(
                &catalog::ISO_OS_VERSION,
                "os_version",
                "an installation medium must name its operating system",
                "name it in the service's words, for example 'CentOS 7.0 64bit'",
            );
        }
    }

    /// Reference: `min_disk` must hold the disk in the file.
    pub(super) fn holds(&mut self, import: &QuickImport, virtual_size: u64) {
        let needed = min_disk_gib(virtual_size);
        if u64::from(import.min_disk) < needed {
            self.broken(
                &catalog::MIN_DISK_HOLDS,
                "min_disk",
                format!(
                    "the minimum disk is {} GiB, the disk of {virtual_size} bytes needs {needed}",
                    import.min_disk
                ),
                format!("choose a minimum disk of at least {needed} GiB"),
            );
        }
    }

    /// Reference, "Importing an Image File Quickly", the two tables of fields; `IMG.0159`. ARM
    /// boots by UEFI only: the note at `architecture` there.
    pub(super) fn kind(&mut self, import: &QuickImport) {
        if import.kind == ImageKind::DataImage {
            let mut only_system = |field: &'static str, set: bool| {
                if set {
                    self.broken(
                        &catalog::DATA_FIELDS,
                        field,
                        format!("a data image has no {field}"),
                        format!("leave {field} out, or import a system image"),
                    );
                }
            };
            only_system("os_version", import.os_version.is_some());
            only_system("architecture", import.architecture.is_some());
            only_system("firmware", import.firmware.is_some());
            only_system("license_type", import.license_type.is_some());
            return;
        }
        if import
            .os_version
            .as_deref()
            .is_none_or(|os| os.trim().is_empty())
        {
            self.broken(
                &catalog::OS_VERSION_GIVEN,
                "os_version",
                "a system image must name its operating system",
                "name it in the service's words, for example 'CentOS 7.0 64bit'",
            );
        }
        if import.os_type.is_some() {
            self.broken(
                &catalog::OS_TYPE_ABSENT,
                "os_type",
                "a system image has no os_type: it follows from os_version",
                "leave os_type out, or import a data image",
            );
        }
        if import.architecture == Some(Architecture::Arm) && import.firmware == Some(Firmware::Bios)
        {
            self.broken(
                &catalog::ARM_FIRMWARE,
                "firmware",
                "the firmware is bios, ARM boots by uefi only",
                "choose uefi, or leave the firmware out",
            );
        }
    }

    /// Reference: at most 1024 characters, no carriage returns and angle brackets. It also says
    /// "only letters and digits" above examples with spaces and dots; that is no rule here.
    pub(super) fn description(&mut self, description: Option<&str>) {
        const FIELD: &str = "description";
        let Some(text) = description else { return };
        let length = text.chars().count();
        if length > MAX_DESCRIPTION {
            self.broken(
                &catalog::DESCRIPTION_LENGTH,
                FIELD,
                format!(
                    "the description has {length} characters, at most {MAX_DESCRIPTION} are \
                         accepted"
                ),
                "shorten the description",
            );
        }
        if let Some(bad) = text.chars().find(|c| matches!(c, '\r' | '\n' | '<' | '>')) {
            self.broken(
                &catalog::DESCRIPTION_CHARACTERS,
                FIELD,
                format!("the description has the character {bad:?}"),
                "write one line without < and >",
            );
        }
    }

    /// Reference, "Image Tag Data Formats": unique keys of 1 to 36, values of 0 to 43 characters,
    /// without `= * < > \ , | /` and without spaces at the ends; "Adding or Deleting Tags in
    /// Batches": at most 10. `IMG.0115`, `IMG.0116`.
    pub(super) fn tags(&mut self, tags: &[(String, String)]) {
        const FIELD: &str = "tags";
        if tags.len() > MAX_TAGS {
            self.broken(
                &catalog::TAG_COUNT,
                FIELD,
                format!(
                    "there are {} tags, at most {MAX_TAGS} are accepted",
                    tags.len()
                ),
                "leave some tags out",
            );
        }
        for (number, (key, value)) in tags.iter().enumerate() {
            let mut part = |what: &str, text: &str, least: usize, most: usize| {
                let length = text.chars().count();
                if !(least..=most).contains(&length) {
                    self.broken(
                        &catalog::TAG_LENGTH,
                        FIELD,
                        format!(
                            "the {what} of tag {key:?} has {length} characters, expected \
                                 {least} to {most}"
                        ),
                        format!("choose a {what} of {least} to {most} characters"),
                    );
                }
                let ends = text.starts_with(' ') || text.ends_with(' ');
                if ends || text.contains(['=', '*', '<', '>', '\\', ',', '|', '/']) {
                    self.broken(
                        &catalog::TAG_CHARACTERS,
                        FIELD,
                        format!(
                            "the {what} {text:?} of a tag has one of = * < > \\ , | / or a \
                                 space at an end"
                        ),
                        "use other characters",
                    );
                }
            };
            part("key", key, 1, MAX_TAG_KEY);
            part("value", value, 0, MAX_TAG_VALUE);
            if tags.iter().take(number).any(|(other, _)| other == key) {
                self.broken(
                    &catalog::TAG_ONCE,
                    FIELD,
                    format!("the tag {key:?} is given twice"),
                    "give each tag once",
                );
            }
        }
    }

    /// The same: texts `key.value` have A to Z, a to z, 0 to 9, `-`, `_` and Chinese characters. A
    /// dot would end the key.
    pub(super) fn tag_texts(&mut self, tags: &[(String, String)]) {
        let fits = |c: char| {
            c.is_ascii_alphanumeric()
                || matches!(c, '-' | '_')
                || ('\u{4e00}'..='\u{9fff}').contains(&c)
        };
        for (key, value) in tags {
            if let Some(bad) = key.chars().chain(value.chars()).find(|c| !fits(*c)) {
                self.broken(
                    &catalog::TAG_TEXT,
                    "tags",
                    format!("the tag {key:?} has the character {bad:?}, and is sent as text"),
                    "send tags as keys and values, or use letters, digits, '-' and '_'",
                );
            }
        }
    }
}
