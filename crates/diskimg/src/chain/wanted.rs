//! A file that an image names, and what is said of it.

use std::path::Path;

use super::names::NamedPath;
use crate::details::Reference;
use crate::error::Error;
use crate::format::Format;
use crate::hint::Hint;
use crate::source::ReadAt;
use crate::text::{printable, shown};

/// What a file is to the image that names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It holds what a qcow2 image does not.
    Backing,
    /// It holds what a differencing disk does not.
    Parent,
    /// It holds what a snapshot (VMDK) does not. Its identifier is a number that many programs
    /// leave as it is.
    Snapshot,
    /// It holds a qcow2 image's clusters.
    Data,
    /// It holds a part of the disk.
    Extent,
}

/// A file that an image names.
pub(crate) struct Wanted {
    pub(crate) role: Role,
    /// Its name as the image gives it; empty when there is none.
    pub(crate) name: String,
    /// Its format as the image gives it.
    pub(crate) format: Option<String>,
    /// Where it may be, in the order in which to look.
    pub(crate) paths: Vec<NamedPath>,
    /// How to make one image of it all where it was made.
    pub(crate) whole_hint: &'static str,
}

impl Wanted {
    /// For [`crate::Details`].
    pub(crate) fn reference(&self) -> Reference {
        Reference {
            role: match self.role {
                Role::Backing => "backing file",
                Role::Parent | Role::Snapshot => "parent",
                Role::Extent => "extent",
                Role::Data => "data file",
            },
            name: printable(&self.name),
            format: self.format.as_deref().map(printable),
            bytes: None,
        }
    }

    /// Such as `a backing file, "base.qcow2" (qcow2)`; can be printed anywhere.
    pub(crate) fn describe(&self) -> String {
        let role = match self.role {
            Role::Backing => "a backing file",
            Role::Parent | Role::Snapshot => "a parent",
            Role::Extent => "an extent",
            Role::Data => "an external data file",
        };
        let name = match self.name.as_str() {
            "" => ", which it does not name".to_owned(),
            name => format!(", \"{}\"", cut(name)),
        };
        match &self.format {
            Some(format) => format!("{role}{name} ({})", cut(format)),
            None => format!("{role}{name}"),
        }
    }

    /// The warning that it was found at `source`.
    pub(super) fn moved_to(&self, source: &dyn ReadAt) -> String {
        format!(
            "the image has {}; there is no such file, and one of the same name is read instead: {}",
            self.describe(),
            shown(source.path().unwrap_or(Path::new("")))
        )
    }

    /// What to do when it is not there.
    pub(super) fn missing_hint(&self) -> Hint {
        let declared = || self.format.as_deref().and_then(format_named);
        let or = match self.role {
            Role::Backing => Some(format!(
                "if it has another name now, put that into a copy of the image: \
                 qemu-img rebase -u -b FILE -F {} COPY",
                declared().map_or("FORMAT", qemu_name)
            )),
            Role::Parent | Role::Snapshot | Role::Data | Role::Extent => None,
        };
        Hint::NameBackingDir { or }
    }

    /// The refusal of an image that is a member of an archive.
    pub(super) fn sealed(&self) -> Error {
        Error::unsupported(format!(
            "the image is inside a package and has {}; a disk of a package is in the files that the \
             package lists, and nothing else is opened",
            self.describe()
        ))
        .with_hint("check the names, and give the image itself instead of the package; unpack an archive \
             first")
    }

    /// `error`, which is about the file, as an error of the image that names it.
    pub(crate) fn unopenable(&self, error: Error) -> Error {
        let hint = error.hint().cloned();
        let outer = Error::new(
            error.kind(),
            format!("the image has {}, which cannot be opened", self.describe()),
        )
        .caused_by(error);
        match hint {
            Some(hint) => outer.with_hint(hint),
            None => outer,
        }
    }
}

/// Characters of a name that a message shows.
const SHOWN_CHARS: usize = 200;

fn cut(name: &str) -> String {
    let mut start: String = name.chars().take(SHOWN_CHARS).collect();
    if start.len() < name.len() {
        start.push('…');
    }
    printable(&start)
}

/// The format that programs of QEMU's family call `name`.
pub(super) fn format_named(name: &str) -> Option<Format> {
    match name {
        "raw" => Some(Format::Raw),
        "qcow2" => Some(Format::Qcow2),
        "vpc" => Some(Format::Vhd),
        "vhdx" => Some(Format::Vhdx),
        "vmdk" => Some(Format::Vmdk),
        "vdi" => Some(Format::Vdi),
        _ => None,
    }
}

/// What programs of QEMU's family call `format`.
const fn qemu_name(format: Format) -> &'static str {
    match format {
        Format::Vhd => "vpc",
        format => format.name(),
    }
}
