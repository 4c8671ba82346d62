//! One disk of a batch, as `imgferry import` would be told of it.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::problem::Problem;

/// How hard blocks are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// At this zstd level.
    Fixed(i32),
    /// As the line leaves time for.
    Auto,
}

impl Level {
    /// The word for [`Level::Auto`].
    pub const AUTO: &'static str = "auto";

    /// The level `number`, if there is one.
    pub(crate) fn of(number: i64) -> Option<Self> {
        i32::try_from(number).ok().map(Self::Fixed)
    }
}

/// A number, or `"auto"`.
impl Serialize for Level {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Fixed(level) => serializer.serialize_i32(*level),
            Self::Auto => serializer.serialize_str(Self::AUTO),
        }
    }
}

/// Generates the text form of an enum: what manifests and JSON say.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$doc])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// Every word, in the order in which they are told.
            pub const WORDS: &'static [&'static str] = &[$($word,)+];

            /// The word for it.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            /// What `word` stands for, in any case.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                $(if word.eq_ignore_ascii_case($word) {
                    return Some(Self::$variant);
                })+
                None
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }
    };
}

words! {
    /// What a disk is in its server.
    Role {
        /// The disk that the server starts from.
        System = "system",
        /// Any other disk.
        Data = "data",
    }
}

words! {
    /// What the image is for, `--type`.
    Kind {
        /// System disk of an elastic cloud server.
        Ecs = "ECS",
        /// System disk of a bare metal server.
        Bms = "BMS",
        /// Data disk.
        DataImage = "DataImage",
    }
}

words! {
    /// Operating system family, `--os-type`.
    OsFamily {
        /// Linux.
        Linux = "Linux",
        /// Windows.
        Windows = "Windows",
    }
}

words! {
    /// Processor architecture, `--architecture`.
    Architecture {
        /// 64 bit, Intel and AMD.
        X86 = "x86",
        /// 64 bit, ARM.
        Arm = "arm",
    }
}

words! {
    /// How the image boots, `--firmware`.
    Firmware {
        /// By its boot sector.
        Bios = "bios",
        /// By an EFI system partition.
        Uefi = "uefi",
    }
}

words! {
    /// Format of the object, `--to`.
    Target {
        /// Compressed blocks with an index.
        Zvhd2 = "zvhd2",
        /// The disk's bytes, with a bitmap file beside them.
        Raw = "raw",
    }
}

words! {
    /// Way to register, `--register`.
    Register {
        /// Quick import of what imgferry reads, common import of the rest.
        Auto = "auto",
        /// Converted, and taken by the service as it is.
        Quick = "quick",
        /// Uploaded as it is, and converted by the service.
        Common = "common",
        /// As common, in two OpenStack-style steps.
        Glance = "glance",
        /// Not at all.
        None = "none",
    }
}

words! {
    /// What to do when the image or the object exists, `--if-exists`.
    IfExists {
        /// Use it if it is proven to hold this disk, fail otherwise.
        Adopt = "adopt",
        /// Fail.
        Fail = "fail",
        /// Leave it, and do not import the disk.
        Skip = "skip",
        /// Replace the object, rename the image.
        Replace = "replace",
    }
}

words! {
    /// Whether holes are believed, `--holes`.
    Holes {
        /// Holes are skipped.
        Trust = "trust",
        /// Holes are read too.
        Verify = "verify",
    }
}

words! {
    /// What the sector bitmaps of a dynamic VHD are worth, `--vhd-bitmap`.
    VhdBitmap {
        /// Sectors that are marked as never written are zeros.
        Honor = "honor",
        /// They are what is stored.
        Ignore = "ignore",
    }
}

/// One disk that becomes one image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    /// Unique in the batch and the same in every run: by default the image's name.
    pub id: String,
    /// The server that the disk belongs to, or what the manifest says belongs together.
    pub group: Option<String>,
    /// What the disk is in its server.
    pub role: Role,
    /// Where the disk image is, from the directory of the manifest. Machines may have it at
    /// different places, so it is no part of the digest.
    #[serde(skip)]
    pub source: PathBuf,
    /// The source as the manifest says it, after expansion.
    pub source_text: String,
    /// Format of the source; told by content without it.
    pub format: Option<String>,
    /// The disk of a package that is imported alone, by its file or its number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<String>,
    /// Whether a package is read without checking its own manifest.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ignore_manifest: bool,
    /// Internal snapshot to read.
    pub snapshot: Option<String>,
    /// Where files that the image names may be opened, from the directory of the manifest.
    #[serde(skip)]
    pub allow_backing: Option<PathBuf>,
    /// The directory as the manifest says it.
    pub allow_backing_text: Option<String>,
    /// Format of a backing file whose format the image does not declare.
    pub backing_format: Option<String>,
    /// Name of the new image.
    pub name: String,
    /// Bucket to upload to.
    pub bucket: String,
    /// Object key; [`Item::object_key`] when there is none.
    pub key: Option<String>,
    /// Operating system as the service names it.
    pub os_version: Option<String>,
    /// Operating system family.
    pub os_type: Option<OsFamily>,
    /// What the image is for.
    pub kind: Kind,
    /// Smallest disk in GiB; by the virtual size without it.
    pub min_disk: Option<u32>,
    /// Text shown with the image.
    pub description: Option<String>,
    /// Tags, in the order of the manifest.
    pub tags: Vec<(String, String)>,
    /// Processor architecture.
    pub architecture: Option<Architecture>,
    /// How the image boots.
    pub firmware: Option<Firmware>,
    /// Enterprise project of the image.
    pub enterprise_project_id: Option<String>,
    /// Format of the object.
    pub to: Target,
    /// zstd level; the program's own default without it.
    pub level: Option<Level>,
    /// Whether holes are believed.
    pub holes: Holes,
    /// Leave out what the disk's file systems call free.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub discard_free: bool,
    /// Leave out swap space too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub discard_swap: bool,
    /// What the sector bitmaps of a dynamic VHD are worth; `honor` without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vhd_bitmap: Option<VhdBitmap>,
    /// Way to register.
    pub register: Register,
    /// Let the service prepare the system; common import only.
    pub prepare: bool,
    /// Key that encrypts the image; common import only.
    pub cmk_id: Option<String>,
    /// What to do when the image or the object exists.
    pub if_exists: IfExists,
    /// The object that it is based on: its key, or the id of its image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// Whether it is the disk of a running server, of which generations are uploaded until the
    /// cutover.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub warm: bool,
    /// Checks that may refuse without consequence.
    pub skip_check: Vec<String>,
    /// Line of the manifest that the item comes from.
    #[serde(skip)]
    pub line: usize,
    /// Why the source cannot be read on this machine, if so. A disk that is done needs it no more.
    #[serde(skip)]
    pub unreadable: Option<Problem>,
}

impl Item {
    /// The object's key: the one that is given, or the one that `import` makes of the name.
    #[must_use]
    pub fn object_key(&self) -> String {
        self.key
            .clone()
            .unwrap_or_else(|| default_key(&self.name, self.to))
    }
}

/// The name as a key: the service takes no spaces in keys, and names have no slashes.
#[must_use]
pub fn default_key(name: &str, to: Target) -> String {
    let stem: String = name
        .chars()
        .map(|c| match c {
            c if c.is_alphanumeric() || matches!(c, '-' | '.' | '_') => c,
            _ => '-',
        })
        .collect();
    format!("{stem}.{to}")
}

/// What the batch as a whole may use. What is not said is the runner's to choose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Disks converted at the same time.
    pub converts: Option<usize>,
    /// Disks uploaded at the same time.
    pub uploads: Option<usize>,
    /// Jobs of the image service at the same time.
    pub jobs: Option<usize>,
    /// Memory of all buffers and caches together, in bytes.
    pub memory: Option<u64>,
    /// Bytes per second of all uploads together.
    pub limit_rate: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_in_any_case_and_told_in_one() {
        assert_eq!(Kind::from_word("dataimage"), Some(Kind::DataImage));
        assert_eq!(Kind::DataImage.to_string(), "DataImage");
        assert_eq!(Kind::from_word("VM"), None);
        assert_eq!(
            serde_json::to_string(&Register::Quick).unwrap(),
            "\"quick\""
        );
    }

    #[test]
    fn a_name_with_spaces_makes_a_key_without() {
        assert_eq!(
            default_key("web server 01", Target::Zvhd2),
            "web-server-01.zvhd2"
        );
        assert_eq!(default_key("a/b", Target::Raw), "a-b.raw");
    }
}
