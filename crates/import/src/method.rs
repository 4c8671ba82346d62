//! How the image is registered, and why.

use cloud::{Class, Failure, ImportHint, Result};
use std::path::Path;

use ::convert::Target;
use diskimg::FileSource;
use diskimg::Probe;
use ims::ImageKind;

use super::export::is_export;
use super::observe::Silent;
use super::spec::{ImportSpec, Register, data_key, key_for};
use super::stdin::is_standard_input;

/// What registers the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// Nothing: only the object is made.
    Nothing,
    Quick,
    Common,
    Glance,
}

impl By {
    /// The name used on the command line and in JSON.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "none",
            Self::Quick => "quick",
            Self::Common => "common",
            Self::Glance => "glance",
        }
    }
}

/// What was chosen, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Method {
    pub(super) by: By,
    /// What the file holds, as far as it matters for a file that is uploaded as it is.
    pub(super) found: Found,
    pub(super) why: &'static str,
}

impl Method {
    /// Whether the disk is converted here. Otherwise the file is uploaded as it is.
    pub(super) const fn converts(self) -> bool {
        matches!(self.by, By::Nothing | By::Quick)
    }

    /// Chooses by what was asked for and what the file is.
    pub(super) fn choose(spec: &ImportSpec) -> Result<Self> {
        let method = by_options(spec)?;
        let from_file = !method.converts() || !spec.data_disks.is_empty();
        let is_file = !is_standard_input(&spec.disk.path) && !is_export(&spec.disk.path);
        if from_file && !is_file {
            return Err(Failure::new(
                Class::Refused,
                "a file that is uploaded as it is, or together with data disks, cannot come from \
                 standard input or a server",
            )
            .hint(ImportHint::NameFile));
        }
        Ok(method)
    }
}

fn by_options(spec: &ImportSpec) -> Result<Method> {
    let found = match is_standard_input(&spec.disk.path) || is_export(&spec.disk.path) {
        // The conversion reads it, and nothing else.
        true => Found::Other,
        false => Found::of(&spec.disk.path),
    };
    // A format that was named is read as that.
    let found = match spec.open.format {
        Some(_) => Found::Other,
        None => found,
    };
    let method = |by, why| Method { by, found, why };
    let beside = !spec.data_disks.is_empty();
    let only_common = spec.cmk_id.is_some() || spec.prepare || beside;
    let converted = |by| Method {
        found: Found::Other,
        ..method(by, ASKED)
    };
    match spec.register {
        Register::Quick if beside && spec.cmk_id.is_none() && !spec.prepare => {
            Ok(converted(By::Quick))
        }
        Register::Quick | Register::None if only_common => Err(Failure::new(
            Class::Refused,
            "encryption and preparation are for the common import, and data disks are for imports \
             that are registered",
        )
        .hint(ImportHint::UseCommonImport)),
        Register::Glance if only_common || spec.kind == ImageKind::DataImage => Err(Failure::new(
            Class::Refused,
            "an import in two steps (glance) supports neither encryption nor preparation nor data disks",
        )
        .hint(ImportHint::UseCommonImport)),
        Register::Quick => Ok(converted(By::Quick)),
        Register::None => Ok(converted(By::Nothing)),
        Register::Common => Ok(method(By::Common, ASKED)),
        Register::Glance => Ok(method(By::Glance, ASKED)),
        Register::Auto if !beside && only_common => Ok(method(
            By::Common,
            "quick import neither encrypts nor prepares the system",
        )),
        Register::Auto
            if beside && spec.disk.member.is_some() && !spec.prepare && spec.cmk_id.is_none() =>
        {
            Ok(method(
                By::Quick,
                "the disks of a package are converted, and registered together",
            ))
        }
        Register::Auto if only_common => Ok(method(
            By::Common,
            "data disks are registered together with their system by the common import",
        )),
        Register::Auto if found == Found::Iso => Ok(method(
            By::Common,
            "an installation medium goes by the common import, as IsoImage",
        )),
        Register::Auto if found == Found::Foreign => Ok(method(
            By::Common,
            "the service reads this format, imgferry does not",
        )),
        Register::Auto => Ok(method(
            By::Quick,
            "imgferry reads the disk, and quick import takes disks of up to 1 TiB",
        )),
    }
}

/// Key of the object that an import makes.
pub fn object_key(spec: &ImportSpec) -> String {
    let key = spec.key_or_default();
    match Method::choose(spec) {
        Ok(method) if !method.converts() && spec.key.is_none() => {
            key_for(&key, "", &spec.disk.path)
        }
        _ => key,
    }
}

/// Keys of all objects that an import makes: of a package, those of its data disks too.
pub fn object_keys(spec: &ImportSpec) -> Vec<String> {
    let machine = spec.clone().of_machine(&Silent);
    // What is wrong with it is reported by whoever imports it.
    let spec = machine.as_ref().unwrap_or(spec);
    let system = object_key(spec);
    let converts = Method::choose(spec).is_ok_and(Method::converts);
    let data = (1_u32..).zip(&spec.data_disks);
    let mut keys: Vec<String> = data
        .map(|(number, disk)| data_key(&system, number, &disk.path, converts))
        .collect();
    keys.push(system);
    keys
}

/// Whether an import finds its object again by the manifest next to it. A raw object is useless
/// without its bitmap, and no manifest describes that.
pub fn finds_by_manifest(spec: &ImportSpec) -> bool {
    let converts = Method::choose(spec).is_ok_and(|method| method.converts());
    converts && spec.data_disks.is_empty() && spec.target == Target::Zvhd2
}

/// Nothing was left to choose.
const ASKED: &str = "asked for";

/// Formats that imgferry does not read and the service takes.
const OF_SERVICE: [&str; 2] = ["QED", "QCOW version 1"];

/// What a file begins with, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// ISO 9660 (ECMA-119, 8.1), in a file that is named so: a disk may hold the same bytes.
    Iso,
    /// QED or QCOW version 1, which the service takes.
    Foreign,
    Other,
}

impl Found {
    /// A file that cannot be read is rejected when it is opened.
    fn of(path: &Path) -> Self {
        let probe = FileSource::open(path).and_then(|source| Probe::read(&source));
        let Ok(probe) = probe else {
            return Self::Other;
        };
        let named_iso = path
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("iso"));
        if named_iso && probe.starts_with(0x8001, b"CD001") {
            return Self::Iso;
        }
        match probe
            .foreign()
            .any(|found| OF_SERVICE.contains(&found.name))
        {
            true => Self::Foreign,
            false => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, at: usize, magic: &[u8]) -> Found {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        let mut bytes = vec![0; 0x9000];
        bytes[at..at + magic.len()].copy_from_slice(magic);
        std::fs::write(&path, bytes).unwrap();
        Found::of(&path)
    }

    #[test]
    fn formats_that_only_the_service_reads_are_told_by_their_content() {
        assert_eq!(found("cd.iso", 0x8001, b"CD001"), Found::Iso);
        assert_eq!(found("disk.raw", 0x8001, b"CD001"), Found::Other);
        assert_eq!(found("a.iso", 0, b"x"), Found::Other);
        assert_eq!(found("a", 0, b"KDMV"), Found::Other);
        assert_eq!(found("a", 0x40, &[0x7f, 0x10, 0xda, 0xbe]), Found::Other);
        assert_eq!(found("a", 0, b"QED\0"), Found::Foreign);
        assert_eq!(found("a", 0, b"QFI\xfb\0\0\0\x01"), Found::Foreign);
        assert_eq!(found("a", 0, b"QFI\xfb\0\0\0\x03"), Found::Other);
    }
}
