//! Which way the image is registered, and why.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::args::{ImageType, ImportArgs, RegisterBy};
use crate::exit::{Exit, Failure, Outcome};

/// Most bytes of a file that the common import takes: 128 GiB. Source: Image Management Service User Guide,
/// "External Image File Formats and Supported OSs"; IMG.0059.
pub(super) const MAX_COMMON: u64 = 128 << 30;

/// The way that was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// Converted to ZVHD2 on the way; registered by quick import, or not at all.
    Converted,
    /// Uploaded as it is; the service converts it.
    AsItIs {
        /// An installation medium.
        iso: bool,
        /// In two steps, metadata first.
        glance: bool,
        /// What speaks for it.
        why: &'static str,
    },
}

/// Chooses by what was asked for and what the file is.
pub(super) fn choose(args: &ImportArgs) -> Outcome<Method> {
    let options = &args.registering;
    let found = Found::of(&args.disk);
    let iso = found == Found::Iso && args.source.format.is_none();
    let as_it_is = |glance, why| Method::AsItIs { iso, glance, why };
    let only_common = options.cmk_id.is_some() || options.prepare;
    match options.register {
        RegisterBy::Quick | RegisterBy::None if only_common => Err(Failure::new(
            Exit::Refused,
            "--cmk-id and --prepare are for the common import",
        )
        .hint("pass --register common, or leave them out")),
        RegisterBy::Glance if only_common || args.kind == ImageType::DataImage => {
            Err(Failure::new(
                Exit::Refused,
                "--register glance knows no encryption, no preparation and no data disks",
            )
            .hint("pass --register common"))
        }
        RegisterBy::Quick | RegisterBy::None => Ok(Method::Converted),
        RegisterBy::Common => Ok(as_it_is(false, "asked for")),
        RegisterBy::Glance => Ok(as_it_is(true, "asked for")),
        RegisterBy::Auto if only_common => Ok(as_it_is(
            false,
            "quick import neither encrypts nor prepares the system",
        )),
        RegisterBy::Auto if iso => Ok(as_it_is(
            false,
            "an installation medium goes by the common import, as IsoImage",
        )),
        RegisterBy::Auto => match found {
            Found::Foreign if ::convert::open(&args.disk, args.source.format).is_err() => Ok(
                as_it_is(false, "the service reads this format, imgferry does not"),
            ),
            _ => Ok(Method::Converted),
        },
    }
}

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
    fn of(path: &Path) -> Self {
        let Ok(file) = File::open(path) else {
            return Self::Other;
        };
        let has = |at: u64, magic: &[u8]| {
            let mut bytes = vec![0; magic.len()];
            file.read_exact_at(&mut bytes, at).is_ok() && bytes == magic
        };
        let named_iso = path
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("iso"));
        if named_iso && has(0x8001, b"CD001") {
            return Self::Iso;
        }
        let foreign = has(0, b"KDMV")
            || has(0, b"# Disk DescriptorFile")
            || has(0x40, &[0x7f, 0x10, 0xda, 0xbe])
            || has(0, b"QED\0")
            || has(0, b"QFI\xfb\0\0\0\x01");
        if foreign { Self::Foreign } else { Self::Other }
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
