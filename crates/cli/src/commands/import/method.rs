//! Which way the image is registered, and why.

use std::path::Path;

use diskimg::FileSource;
use diskimg::Probe;

use super::common::Way;
use crate::args::{ImageType, ImportArgs, RegisterBy};
use crate::commands::input::is_standard_input;
use crate::exit::{Exit, Failure, Outcome};

/// The way that was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// Converted to ZVHD2 on the way; registered by quick import, or not at all.
    Converted(Chosen),
    /// Without a journal: uploaded as it is, for the service to convert, or converted together with
    /// its data disks.
    AsItIs(Way),
}

/// What was chosen, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    /// As `--register` names it.
    pub(super) register: &'static str,
    pub(super) why: &'static str,
}

/// Chooses by what was asked for and what the file is.
pub(super) fn choose(args: &ImportArgs) -> Outcome<Method> {
    let method = by_options(args)?;
    if matches!(method, Method::AsItIs(_)) && is_standard_input(&args.disk) {
        return Err(Failure::new(
            Exit::Refused,
            "a file that is uploaded as it is, or together with data disks, cannot come from standard input",
        )
        .hint("name the file instead of -"));
    }
    Ok(method)
}

fn by_options(args: &ImportArgs) -> Outcome<Method> {
    let options = &args.registering;
    let found = match is_standard_input(&args.disk) {
        // It is read once, by whoever converts it.
        true => Found::Other,
        false => Found::of(&args.disk),
    };
    let given = args.source.format.is_some();
    let as_it_is = |glance, why| {
        Method::AsItIs(Way {
            iso: found == Found::Iso && !given,
            foreign: found == Found::Foreign && !given,
            glance,
            quick: false,
            why,
        })
    };
    let converted = |register, why| Method::Converted(Chosen { register, why });
    let beside = !options.data_disks.is_empty();
    let only_common = options.cmk_id.is_some() || options.prepare || beside;
    match options.register {
        RegisterBy::Quick if beside && options.cmk_id.is_none() && !options.prepare => {
            Ok(Method::AsItIs(Way {
                iso: false,
                foreign: false,
                glance: false,
                quick: true,
                why: ASKED,
            }))
        }
        RegisterBy::Quick | RegisterBy::None if only_common => Err(Failure::new(
            Exit::Refused,
            "--cmk-id and --prepare are for the common import, and --data-disk is for imports that are registered",
        )
        .hint("pass --register common, or leave them out; import data disks on their own with --type DataImage")),
        RegisterBy::Glance if only_common || args.kind == ImageType::DataImage => {
            Err(Failure::new(
                Exit::Refused,
                "--register glance knows no encryption, no preparation and no data disks",
            )
            .hint("pass --register common"))
        }
        RegisterBy::Quick => Ok(converted("quick", ASKED)),
        RegisterBy::None => Ok(converted("none", ASKED)),
        RegisterBy::Common => Ok(as_it_is(false, ASKED)),
        RegisterBy::Glance => Ok(as_it_is(true, ASKED)),
        RegisterBy::Auto if !beside && only_common => Ok(as_it_is(
            false,
            "quick import neither encrypts nor prepares the system",
        )),
        RegisterBy::Auto if only_common => Ok(as_it_is(
            false,
            "data disks are registered together with their system by the common import",
        )),
        RegisterBy::Auto if found == Found::Iso && !given => Ok(as_it_is(
            false,
            "an installation medium goes by the common import, as IsoImage",
        )),
        RegisterBy::Auto if found == Found::Foreign && !given => Ok(as_it_is(
            false,
            "the service reads this format, imgferry does not",
        )),
        RegisterBy::Auto => Ok(converted(
            "quick",
            "imgferry reads the disk, and quick import takes disks of up to 1 TiB",
        )),
    }
}

/// Nothing was left to choose.
const ASKED: &str = "asked for";

/// Formats that imgferry does not read and the service takes.
const OF_SERVICE: [&str; 4] = ["VMDK", "VDI", "QED", "QCOW version 1"];

/// What a file begins with, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// ISO 9660 (ECMA-119, 8.1), in a file that is named so: a disk may hold the same bytes.
    Iso,
    /// VMDK, VDI, QED or QCOW version 1, which the service takes.
    Foreign,
    Other,
}

impl Found {
    /// What cannot be read is for whoever opens it to tell.
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
        assert_eq!(found("a", 0, b"KDMV"), Found::Foreign);
        assert_eq!(found("a", 0x40, &[0x7f, 0x10, 0xda, 0xbe]), Found::Foreign);
        assert_eq!(found("a", 0, b"QED\0"), Found::Foreign);
        assert_eq!(found("a", 0, b"QFI\xfb\0\0\0\x01"), Found::Foreign);
        assert_eq!(found("a", 0, b"QFI\xfb\0\0\0\x03"), Found::Other);
    }
}
