//! Every key of a manifest: one table, by which manifests are read and the schema is written.

use crate::item::{
    Architecture, Firmware, Holes, Kind, OsFamily, Register, Role, Target, VhdBitmap,
};

/// What a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Text.
    Text,
    /// One of these words, in any case.
    Words(&'static [&'static str]),
    /// A whole number.
    Integer { least: i64, most: i64 },
    /// true or false.
    Switch,
    /// A table of texts.
    Table,
    /// A list of texts.
    Texts,
    /// Bytes: a whole number, or text such as 2GiB.
    Size,
    /// Bytes per second, as a size.
    Rate,
    /// A zstd level, or `auto`.
    Level,
}

/// A key, and what it is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spec {
    pub(crate) key: &'static str,
    pub(crate) form: Form,
    pub(crate) help: &'static str,
}

const fn spec(key: &'static str, form: Form, help: &'static str) -> Spec {
    Spec { key, form, help }
}

/// The formats of sources.
pub(crate) const FORMATS: &[&str] = &["raw", "qcow2", "vhd", "vhdx", "zvhd", "zvhd2"];

/// The keys of a disk.
pub(crate) const ITEM: &[Spec] = &[
    spec(
        "source",
        Form::Text,
        "The disk image, from the directory of the manifest; in images it may be a pattern such as disks/*.qcow2",
    ),
    spec(
        "id",
        Form::Text,
        "What the item is called in reports, claims and reruns; by default the image's name. Unique in the batch",
    ),
    spec(
        "name",
        Form::Text,
        "Name of the new image; by default the file's name without its extension. Unique in the batch",
    ),
    spec(
        "bucket",
        Form::Text,
        "Bucket to upload to; the image service wants it in the same region",
    ),
    spec(
        "key",
        Form::Text,
        "Object key; by default the name with .zvhd2 or .raw",
    ),
    spec(
        "group",
        Form::Text,
        "What the disk belongs to: a group has one system disk, and its disks stay with one worker",
    ),
    spec(
        "role",
        Form::Words(Role::WORDS),
        "What the disk is in its group; by default system, and data for the type DataImage",
    ),
    spec(
        "os_version",
        Form::Text,
        "Operating system as the service names it; imgferry os-versions lists them. Not passed on to data disks",
    ),
    spec(
        "os_type",
        Form::Words(OsFamily::WORDS),
        "Operating system family of a data image",
    ),
    spec(
        "type",
        Form::Words(Kind::WORDS),
        "What the image is for; by default ECS, and DataImage for data disks",
    ),
    spec(
        "min_disk",
        Form::Integer {
            least: 1,
            most: u32::MAX as i64,
        },
        "Smallest disk in GiB a server needs for the image; by default from the virtual size. Not passed on to data disks",
    ),
    spec("description", Form::Text, "Text shown with the image"),
    spec(
        "tags",
        Form::Table,
        "Tags of the image, key: value; those of defaults are added to",
    ),
    spec(
        "architecture",
        Form::Words(Architecture::WORDS),
        "Processor architecture",
    ),
    spec(
        "firmware",
        Form::Words(Firmware::WORDS),
        "How the image boots. Not passed on to data disks",
    ),
    spec(
        "enterprise_project_id",
        Form::Text,
        "Enterprise project of the image",
    ),
    spec(
        "format",
        Form::Words(FORMATS),
        "Format of the source; by default told by content",
    ),
    spec(
        "snapshot",
        Form::Text,
        "Internal snapshot to read, by its id or name",
    ),
    spec(
        "allow_backing",
        Form::Text,
        "Directory in which files that the image names may be opened, from the directory of the manifest",
    ),
    spec(
        "backing_format",
        Form::Words(FORMATS),
        "Format of a backing file whose format the image does not declare",
    ),
    spec(
        "to",
        Form::Words(Target::WORDS),
        "Format of the object; by default zvhd2",
    ),
    spec(
        "level",
        Form::Level,
        "zstd level, or auto: higher while the line is the limit, lower while compression is",
    ),
    spec(
        "holes",
        Form::Words(Holes::WORDS),
        "Whether what is said to be a hole is believed; by default trust",
    ),
    spec(
        "vhd_bitmap",
        Form::Words(VhdBitmap::WORDS),
        "What sectors of a dynamic VHD are that it stores and marks as never written: zeros (honor, the default) or what is stored (ignore)",
    ),
    spec(
        "register",
        Form::Words(Register::WORDS),
        "Way to register; by default auto",
    ),
    spec(
        "prepare",
        Form::Switch,
        "Let the service prepare the system (common import only). Not passed on to data disks",
    ),
    spec(
        "cmk_id",
        Form::Text,
        "Key that encrypts the image (common import only)",
    ),
    spec(
        "force",
        Form::Switch,
        "Replace an object that exists and holds something else",
    ),
    spec(
        "skip_check",
        Form::Texts,
        "Checks that may refuse without consequence",
    ),
];

/// The keys that say what the whole batch may use.
pub(crate) const LIMITS: &[Spec] = &[
    spec(
        "converts",
        Form::Integer {
            least: 1,
            most: 1024,
        },
        "Disks converted at the same time",
    ),
    spec(
        "uploads",
        Form::Integer {
            least: 1,
            most: 1024,
        },
        "Disks uploaded at the same time",
    ),
    spec(
        "jobs",
        Form::Integer {
            least: 1,
            most: 1024,
        },
        "Jobs of the image service at the same time",
    ),
    spec(
        "memory",
        Form::Size,
        "Memory of all buffers and caches together, such as 2GiB",
    ),
    spec(
        "limit_rate",
        Form::Rate,
        "Bytes per second of all uploads together, such as 50M",
    ),
];

/// The keys at the top.
pub(crate) const TOP: &[&str] = &["version", "vars", "defaults", "limits", "images", "servers"];

/// Keys that stand only with the disk they are about.
pub(crate) const NOT_IN_DEFAULTS: &[&str] = &["source", "id", "group", "role", "snapshot"];
/// Keys that a server does not say for its disks.
pub(crate) const NOT_IN_SERVER: &[&str] = &["source", "id", "group", "role", "snapshot", "key"];
/// Keys that a server's disk does not say: the server does.
pub(crate) const NOT_IN_DISK: &[&str] = &["group", "role"];
/// Keys that a server has beside those of its disks.
pub(crate) const SERVER: &[&str] = &["system", "data"];
/// Keys that are about system disks: a data disk has them only of its own.
pub(crate) const NOT_FOR_DATA: &[&str] = &["os_version", "min_disk", "firmware", "type", "prepare"];

/// The keys of a disk without `left_out`.
pub(crate) fn item_without(left_out: &[&str]) -> Vec<&'static Spec> {
    ITEM.iter()
        .filter(|spec| !left_out.contains(&spec.key))
        .collect()
}

/// Whether a name looks like that of a secret.
pub(crate) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    [
        "secret",
        "password",
        "passwd",
        "token",
        "access_key",
        "credential",
    ]
    .iter()
    .any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_those_that_are_read() {
        assert_eq!(FORMATS, diskimg::Format::ALL.map(diskimg::Format::name));
    }

    #[test]
    fn lists_of_keys_name_keys() {
        for list in [NOT_IN_DEFAULTS, NOT_IN_SERVER, NOT_IN_DISK, NOT_FOR_DATA] {
            for key in list {
                assert!(ITEM.iter().any(|spec| spec.key == *key), "{key}");
            }
        }
    }
}
