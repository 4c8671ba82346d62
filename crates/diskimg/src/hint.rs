//! What a user can do about an error, as data. `Display` gives it in general words; a program with
//! an option for it says that instead.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::format::Format;
use crate::units::human;

/// A qcow2 image has damaged metadata.
pub(crate) const CHECK_QCOW2: &str = "list the damage with: qemu-img check IMAGE";

/// A qcow2 image needs other files.
pub(crate) const FLATTEN_QCOW2: &str =
    "make one plain image first: qemu-img convert -O qcow2 IMAGE flat.qcow2";

/// A VHDX file has damaged metadata.
pub(crate) const CHECK_VHDX: &str =
    "try to repair a copy of the file: qemu-img check -r all COPY.vhdx";

/// What the user can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// Advice that holds for every program. `IMAGE` stands for the file until its path is known.
    Text(String),
    /// Several formats are possible: name the right one, if the file is trusted.
    NameFormat(Vec<Format>),
    /// The file is not recognised as a disk: open it as raw if it is one.
    OpenAsRaw,
    /// Advice for what the file is taken for; open it as raw if it is a disk all the same.
    OpenAsRawOr(String),
    /// The format of the backing file is not recorded: name it.
    NameBackingFormat,
    /// Another file is needed: allow it to be opened, if the image is trusted.
    AllowBacking {
        /// The directory that it is in, ready for a shell, when that is known.
        dir: Option<String>,
        /// What helps otherwise.
        or: Option<String>,
    },
    /// Another file is not where the image says: name the directory that it is in.
    NameBackingDir {
        /// What helps otherwise.
        or: Option<String>,
    },
    /// The file is the configuration of a machine: open the disks that it names, ready for a shell,
    /// the one that boots first.
    GiveDisks(Vec<String>),
    /// The size of the disk is not known before its end: give it.
    GiveSize,
    /// The disk does not have the size that was given: give the right one.
    CorrectSize,
    /// The disk ended early: find out why, or give this size in bytes.
    EndedAt(u64),
    /// The file is damaged: let the check list the damage.
    ListDamage {
        /// What repairs it.
        or: String,
    },
}

impl Hint {
    /// The advice for other programs in it, where `IMAGE` may stand for the file.
    pub(crate) fn advice_mut(&mut self) -> Option<&mut String> {
        match self {
            Self::Text(text)
            | Self::OpenAsRawOr(text)
            | Self::AllowBacking { or: Some(text), .. }
            | Self::NameBackingDir { or: Some(text) }
            | Self::ListDamage { or: text } => Some(text),
            Self::NameFormat(_)
            | Self::OpenAsRaw
            | Self::NameBackingFormat
            | Self::AllowBacking { or: None, .. }
            | Self::NameBackingDir { or: None }
            | Self::GiveDisks(_)
            | Self::GiveSize
            | Self::CorrectSize
            | Self::EndedAt(_) => None,
        }
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::NameFormat(formats) => {
                let names: Vec<_> = formats.iter().map(|format| format.name()).collect();
                write!(
                    f,
                    "if you trust the file, open it as what it is: {}",
                    names.join(" or ")
                )
            }
            Self::OpenAsRaw => f.write_str("if it really is a disk, open it as raw"),
            Self::OpenAsRawOr(text) => {
                write!(f, "{text}; open it as raw if it is a disk all the same")
            }
            Self::NameBackingFormat => f.write_str("if you know the format, name it"),
            Self::AllowBacking { dir, or } => {
                let dir = dir.as_deref().unwrap_or("the directory that it is in");
                write!(f, "if you trust the image, allow it to open files in {dir}")?;
                or.iter().try_for_each(|or| write!(f, "; or {or}"))
            }
            Self::NameBackingDir { or } => {
                f.write_str("allow the directory that it is in")?;
                or.iter().try_for_each(|or| write!(f, "; or {or}"))
            }
            Self::GiveDisks(disks) if disks.is_empty() => f.write_str("open its disks instead"),
            Self::GiveDisks(disks) => write!(f, "open its disks instead: {}", disks.join(" ")),
            Self::GiveSize => f.write_str("give the exact size of the disk in bytes"),
            Self::CorrectSize => f.write_str("correct the size of the disk"),
            Self::EndedAt(size) => write!(
                f,
                "check whether the program that writes the disk has failed; if the disk is \
                 complete, its size is {size} bytes ({})",
                human(*size)
            ),
            Self::ListDamage { or } => write!(f, "check the image for damage; {or}"),
        }
    }
}

impl Serialize for Hint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl From<String> for Hint {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Hint {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}
