//! Every key of a manifest: one table, by which manifests are read and the schema is written.

use crate::item::{
    Architecture, Firmware, Holes, IfExists, Kind, OsFamily, Register, Role, Target, VhdBitmap,
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
    /// The name or number of a disk of a package.
    Member,
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
pub(crate) const FORMATS: &[&str] = &[
    "raw", "qcow2", "vhd", "vhdx", "vmdk", "vdi", "zvhd", "zvhd2",
];

/// The keys of a disk.
pub(crate) const ITEM: &[Spec] = &[
    spec(
        "source",
        Form::Text,
        "Path of the disk image or package, relative to the manifest; in images it may be a pattern such as disks/*.qcow2",
    ),
    spec(
        "id",
        Form::Text,
        "Identifies the item in reports, claims and reruns; by default the image's name. Unique in the batch",
    ),
    spec(
        "name",
        Form::Text,
        "Name of the new image; by default the file's name without its extension. Unique in the batch",
    ),
    spec(
        "bucket",
        Form::Text,
        "Bucket to upload to; the image service requires it in the same region",
    ),
    spec(
        "key",
        Form::Text,
        "Object key; by default the name with .zvhd2 or .raw",
    ),
    spec(
        "group",
        Form::Text,
        "Group of the disk: a group has one system disk, and its disks stay with one worker",
    ),
    spec(
        "role",
        Form::Words(Role::WORDS),
        "Role of the disk in its group; by default system, or data for the type DataImage",
    ),
    spec(
        "os_version",
        Form::Text,
        "Operating system as the service names it; imgferry os-versions lists the names. Not inherited by data disks",
    ),
    spec(
        "os_type",
        Form::Words(OsFamily::WORDS),
        "Operating system family of a data image",
    ),
    spec(
        "type",
        Form::Words(Kind::WORDS),
        "Type of the image; by default ECS, or DataImage for data disks",
    ),
    spec(
        "min_disk",
        Form::Integer {
            least: 1,
            most: u32::MAX as i64,
        },
        "Smallest disk, in GiB, that a server needs for the image; by default from the virtual size. Not inherited by data disks",
    ),
    spec("description", Form::Text, "Description of the image"),
    spec(
        "tags",
        Form::Table,
        "Tags of the image, key: value; added to those of defaults",
    ),
    spec(
        "architecture",
        Form::Words(Architecture::WORDS),
        "Processor architecture",
    ),
    spec(
        "firmware",
        Form::Words(Firmware::WORDS),
        "Boot mode of the image. Not inherited by data disks",
    ),
    spec(
        "enterprise_project_id",
        Form::Text,
        "Enterprise project of the image",
    ),
    spec(
        "format",
        Form::Words(FORMATS),
        "Format of the source; by default detected from the content",
    ),
    spec(
        "disk",
        Form::Member,
        "The disk of a package (OVA archive or OVF descriptor) to import alone, given by its file or its number; by default the system disk together with its data disks",
    ),
    spec(
        "ignore_manifest",
        Form::Switch,
        "Read a package without checking the digests in its own manifest",
    ),
    spec(
        "snapshot",
        Form::Text,
        "Internal snapshot to read, given by id or name",
    ),
    spec(
        "allow_backing",
        Form::Text,
        "Directory, relative to the manifest, in which files that the image refers to may be opened",
    ),
    spec(
        "backing_format",
        Form::Words(FORMATS),
        "Format of backing files whose format the image does not declare",
    ),
    spec(
        "to",
        Form::Words(Target::WORDS),
        "Format of the object; by default zvhd2",
    ),
    spec(
        "level",
        Form::Level,
        "zstd level, or auto: raises the level while the network is the bottleneck and lowers it while compression is",
    ),
    spec(
        "holes",
        Form::Words(Holes::WORDS),
        "Whether to trust reported holes; by default trust",
    ),
    spec(
        "discard_free",
        Form::Switch,
        "Leave out the space that the disk's file systems call free",
    ),
    spec(
        "discard_swap",
        Form::Switch,
        "Leave out swap space too, with discard_free",
    ),
    spec(
        "vhd_bitmap",
        Form::Words(VhdBitmap::WORDS),
        "How to read sectors of a dynamic VHD that are stored but marked as never written: as zeros (honor, the default) or as stored (ignore)",
    ),
    spec(
        "register",
        Form::Words(Register::WORDS),
        "How to register the image; by default auto",
    ),
    spec(
        "prepare",
        Form::Switch,
        "Let the service prepare the system (common import only). Not inherited by data disks",
    ),
    spec(
        "cmk_id",
        Form::Text,
        "Id of the key that encrypts the image (common import only)",
    ),
    spec(
        "if_exists",
        Form::Words(IfExists::WORDS),
        "What to do when the image or the object exists: use it if it is proven to hold this disk (adopt, the default), fail, skip the disk, or replace the object and rename the image",
    ),
    spec(
        "base",
        Form::Text,
        "Object of an earlier import of this disk, as a key in the same bucket or as the id of its image: only what has changed since is sent",
    ),
    spec(
        "warm",
        Form::Switch,
        "Upload the disk of a running server in generations, each of what has changed since the one before, until batch run --cutover makes the image",
    ),
    spec("skip_check", Form::Texts, "Checks whose failure is ignored"),
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
        "Image service jobs at the same time",
    ),
    spec(
        "memory",
        Form::Size,
        "Memory limit of all buffers and caches together, such as 2GiB",
    ),
    spec(
        "limit_rate",
        Form::Rate,
        "Limit of all uploads together in bytes per second, such as 50M",
    ),
];

/// The keys at the top.
pub(crate) const TOP: &[&str] = &["version", "vars", "defaults", "limits", "images", "servers"];

/// Keys that stand only with the disk they are about.
pub(crate) const NOT_IN_DEFAULTS: &[&str] =
    &["source", "id", "group", "role", "disk", "snapshot", "base"];
/// Keys that a server does not say for its disks.
pub(crate) const NOT_IN_SERVER: &[&str] = &[
    "source", "id", "group", "role", "disk", "snapshot", "key", "base",
];
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
