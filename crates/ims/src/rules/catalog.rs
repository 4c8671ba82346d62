//! The rules as data: what each says, where it stands, and the code that the service answers with.

/// A rule of the service.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// Stable name.
    pub id: &'static str,
    /// What it says.
    pub text: &'static str,
    /// The code of the service's refusal, where one is documented.
    pub code: Option<&'static str>,
    /// The document it stands in.
    pub source: &'static str,
    /// How strict it is held here.
    pub level: Level,
}

/// What happens when a rule is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Refused.
    Refused,
    /// Refused, unless the user says that it does not apply: the service's answer may be older than
    /// its rules.
    Skippable,
    /// Told: some regions or releases refuse it.
    Warned,
}

const QUICK: &str = "IMS API Reference, Importing an Image File Quickly";
const ATTRIBUTES: &str = "IMS API Reference, Image Attributes";
const CODES: &str = "IMS API Reference, Error Codes";
const TAGS: &str = "IMS API Reference, Image Tag Data Formats";
const CREATE: &str = "IMS API Reference, Creating an Image (releases since 2022)";
const GUIDE: &str = "IMS User Guide, Quickly Importing an Image File";
const OBS_PUT: &str = "OBS API Reference, Uploading Objects - PUT";
const OBS_BUCKET: &str = "OBS API Reference, Creating a Bucket";
const DISK: &str = "imgferry's own: a machine would not start";
const BUCKETS: &str = "IMS User Guide, Uploading an Image File";

macro_rules! rules {
    ($($name:ident = $level:ident $id:literal, $code:expr, $source:expr, $text:literal;)*) => {
        $(pub(crate) static $name: Rule = Rule {
            id: $id,
            text: $text,
            code: $code,
            source: $source,
            level: Level::$level,
        };)*
        /// All rules, in the order in which they are checked.
        pub static RULES: &[&Rule] = &[$(&$name),*];
    };
}

rules! {
    NAME_GIVEN = Refused "name-given", Some("IMG.0003"), ATTRIBUTES, "an image has a name";
    NAME_LENGTH = Refused "name-length", Some("IMG.0002"), ATTRIBUTES,
        "a name has at most 128 characters";
    NAME_SPACES = Refused "name-spaces", Some("IMG.0003"), ATTRIBUTES,
        "a name has no space at its ends";
    NAME_CHARACTERS = Refused "name-characters", Some("IMG.0003"), ATTRIBUTES,
        "a name has letters, digits, '-', '.', '_' and spaces";
    NAME_LETTERS = Warned "name-letters", Some("IMG.0003"), ATTRIBUTES,
        "letters of a name are those from A to Z";
    NAME_FREE = Skippable "name-free", Some("IMG.0009"), CODES,
        "no private image has the name already";
    BUCKET_GIVEN = Refused "bucket-given", Some("IMG.0068"), CODES, "the bucket is named";
    BUCKET_NAME = Refused "bucket-name", Some("IMG.0109"), OBS_BUCKET,
        "a bucket has 3 to 63 lower-case letters, digits, '-' and '.'";
    BUCKET_REGION = Refused "bucket-region", Some("IMG.0058"), CODES,
        "the bucket is in the region of the image";
    BUCKET_CLASS = Refused "bucket-class", Some("IMG.0057"), BUCKETS,
        "bucket and object have storage class Standard";
    BUCKET_PLAIN = Refused "bucket-plain", Some("IMG.0069"), BUCKETS,
        "the bucket is no parallel file system";
    KEY_GIVEN = Refused "key-given", Some("IMG.0017"), CODES, "the object has a key";
    KEY_LENGTH = Refused "key-length", Some("IMG.0074"), OBS_PUT, "a key has at most 1024 bytes";
    KEY_SPACES = Refused "key-spaces", Some("IMG.0175"), CODES,
        "folders and files have no white space";
    KEY_FILE_NAME = Warned "key-file-name", Some("IMG.0074"), CODES,
        "the file name has at most 128 letters, digits, '-', '.' and '_'";
    MIN_DISK_RANGE = Refused "min-disk-range", Some("IMG.0055"), QUICK,
        "the minimum disk is in the range of the cloud: 1 to 1024 GiB, data images up to 2048 \
         where newer releases hold";
    MIN_DISK_USUAL = Warned "min-disk-usual", Some("IMG.0055"), CREATE,
        "a system disk has at least 10 (Linux), 20 (Windows) or 40 GiB";
    VIRTUAL_SIZE = Refused "virtual-size", Some("IMG.0059"), GUIDE, "the disk has at most 1 TiB";
    FILE_SIZE = Refused "file-size", Some("IMG.0059"), CODES,
        "a file that the service converts has at most 128 GiB";
    MIN_DISK_HOLDS = Refused "min-disk-holds", Some("IMG.0055"), QUICK,
        "the minimum disk holds the virtual disk";
    DATA_FIELDS = Refused "data-fields", None, QUICK,
        "a data image has no operating system, architecture, firmware or licence";
    OS_VERSION_GIVEN = Refused "os-version-given", Some("IMG.0159"), QUICK,
        "a system image names its operating system";
    ISO_OS_VERSION = Refused "iso-os-version", Some("IMG.0166"), CODES,
        "an installation medium names its operating system";
    OS_VERSION_KNOWN = Skippable "os-version-known", Some("IMG.0056"), "IMS API Reference, Querying the Image OS Versions",
        "the region has a name for the operating system";
    OS_VERSION_FITS = Skippable "os-version-fits", None, "IMS API Reference, Querying the Image OS Versions",
        "the region has the operating system for the architecture and firmware";
    OS_TYPE_ABSENT = Refused "os-type-absent", None, QUICK, "a system image has no os_type";
    ARM_FIRMWARE = Refused "arm-firmware", Some("IMG.0141"), QUICK, "ARM boots by UEFI only";
    BOOT_MODE = Skippable "boot-mode", None, "IMS User Guide, boot mode of an image",
        "the firmware is the one that the disk's partition table is made for";
    DISK_WHOLE = Skippable "disk-whole", None, DISK,
        "the disk is as long as its partition table says";
    SECTOR_SIZE = Skippable "sector-size", None, DISK,
        "the partition table counts in sectors of 512 bytes, as volumes do";
    DISK_CONTENT = Skippable "disk-content", None, DISK,
        "a system disk has a partition table, a file system or boot code";
    LICENCE_WINDOWS = Warned "licence-windows", None, CREATE, "a licence counts for Windows only";
    DESCRIPTION_LENGTH = Refused "description-length", Some("IMG.0004"), QUICK,
        "a description has at most 1024 characters";
    DESCRIPTION_CHARACTERS = Refused "description-characters", Some("IMG.0054"), QUICK,
        "a description has no line breaks, '<' or '>'";
    TAG_COUNT = Refused "tag-count", Some("IMG.0116"), "IMS API Reference, Adding or Deleting Tags in Batches",
        "an image has at most 10 tags";
    TAG_LENGTH = Refused "tag-length", Some("IMG.0115"), TAGS,
        "a tag's key has 1 to 36 and its value 0 to 43 characters";
    TAG_CHARACTERS = Refused "tag-characters", Some("IMG.0115"), TAGS,
        "a tag has none of = * < > \\ , | / and no space at its ends";
    TAG_TEXT = Refused "tag-text", Some("IMG.0115"), TAGS,
        "a tag that is sent as text has letters, digits, '-' and '_' only";
    TAG_ONCE = Refused "tag-once", Some("IMG.0115"), TAGS, "each tag is given once";
    QUOTA = Skippable "quota", Some("IMG.0015"), "IMS API Reference, Querying the Image Quota",
        "the quota of images is not used up";
}

/// The rule with this id.
#[must_use]
pub fn rule(id: &str) -> Option<&'static Rule> {
    RULES.iter().copied().find(|rule| rule.id == id)
}

/// Ids of the rules that a user may skip.
pub fn skippable() -> impl Iterator<Item = &'static str> {
    RULES
        .iter()
        .filter(|rule| rule.level == Level::Skippable)
        .map(|rule| rule.id)
}
