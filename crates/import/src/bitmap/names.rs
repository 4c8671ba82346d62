//! The rule of names: a raw image and its bitmap differ in the extension only.

use cloud::{Class, Failure, Result};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use diskimg::text::shown;

/// Extension of bitmap files.
const EXTENSION: &str = "mf";

/// Endings of compressed files, and of archives in them.
const PACKED: [&str; 6] = ["gz", "xz", "zst", "bz2", "lz4", "tar"];

/// Where the bitmap of `raw` is unless told: beside it.
pub fn beside(raw: &Path) -> Result<PathBuf> {
    let mf = unpacked(raw).with_extension(EXTENSION);
    if mf != raw {
        return Ok(mf);
    }
    Err(Failure::new(
        Class::Refused,
        format!(
            "{} is called like a bitmap file, expected a raw file",
            shown(&raw)
        ),
    )
    .hint("imgferry bitmap --show prints what a bitmap file says"))
}

/// What a compressed raw file is called when it is unpacked.
fn unpacked(raw: &Path) -> PathBuf {
    let mut path = raw.to_owned();
    let is_packed = |path: &Path| {
        let ending = path.extension().unwrap_or_default();
        PACKED
            .iter()
            .any(|known| ending.eq_ignore_ascii_case(known))
    };
    while is_packed(&path) {
        path.set_extension("");
    }
    path
}

/// Refuses a bitmap file that is not called like the raw file, or that would be taken for the
/// manifest of a package.
pub fn check(raw: &Path, mf: &Path) -> Result {
    check_among(&[stem(&unpacked(raw))], mf)?;
    refuse_manifest(mf)
}

/// Refuses a bitmap file beside an OVF descriptor that is called like its manifest: whether there is
/// one or not, programs would hold the machine against it.
fn refuse_manifest(mf: &Path) -> Result {
    let mut descriptors = ["ovf", "OVF"]
        .map(|ending| mf.with_extension(ending))
        .into_iter();
    let Some(descriptor) = descriptors.find(|path| path.symlink_metadata().is_ok()) else {
        return Ok(());
    };
    Err(Failure::new(
        Class::Refused,
        format!(
            "{} is the name of the manifest of {}",
            shown(&mf),
            shown(&descriptor)
        ),
    )
    .hint("give the raw file another name, or write it into another directory"))
}

/// Refuses a bitmap file whose base name is none of `stems`.
pub(crate) fn check_among(stems: &[&OsStr], mf: &Path) -> Result {
    if is_bitmap(mf) && stems.contains(&stem(mf)) {
        return Ok(());
    }
    let expected: Vec<_> = stems
        .iter()
        .map(|stem| format!("{}.{EXTENSION}", shown(&stem)))
        .collect();
    Err(Failure::new(
        Class::Refused,
        format!(
            "the bitmap file is called {}, expected {}: it has the base name of its raw file",
            shown(&mf.file_name().unwrap_or_default()),
            expected.join(" or ")
        ),
    ))
}

/// The key of the bitmap that belongs to the raw object `key`, whose name must end in `.raw`.
pub(crate) fn bitmap_key(key: &str) -> Option<String> {
    let stem = key.strip_suffix(".raw")?;
    let name = stem.rsplit('/').next().unwrap_or_default();
    (!name.is_empty()).then(|| format!("{stem}.{EXTENSION}"))
}

/// The base name of a path: its last part without the extension.
pub(crate) fn stem(path: &Path) -> &OsStr {
    path.file_stem().unwrap_or_default()
}

fn is_bitmap(mf: &Path) -> bool {
    mf.extension() == Some(OsStr::new(EXTENSION))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bitmap_has_the_base_name_of_its_disk() {
        let is = |raw: &str, mf: &str| check(Path::new(raw), Path::new(mf)).is_ok();
        assert!(is("/a/disk.raw", "/b/disk.mf"));
        assert!(is("web.01.raw", "web.01.mf"));
        for packed in ["disk.raw.gz", "disk.raw.tar.GZ", "disk.img.xz"] {
            assert!(is(packed, "disk.mf"), "{packed}");
            assert_eq!(beside(Path::new(packed)).unwrap(), Path::new("disk.mf"));
        }
        for other in [
            "disk2.mf",
            "disk.MF",
            "disk",
            "disk.raw",
            "disk.raw.mf",
            ".mf",
        ] {
            assert!(!is("disk.raw", other), "{other}");
        }
    }

    #[test]
    fn a_bitmap_never_has_the_name_of_a_manifest() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        assert!(check(&at("web.raw"), &at("web.mf")).is_ok());
        std::fs::write(at("web.ovf"), "").unwrap();
        assert!(check(&at("web.raw"), &at("web.mf")).is_err());
        assert!(check(&at("other.raw"), &at("other.mf")).is_ok());
    }

    #[test]
    fn a_raw_object_and_its_bitmap_lie_in_one_folder() {
        assert_eq!(
            bitmap_key("a/b/web.01.raw").as_deref(),
            Some("a/b/web.01.mf")
        );
        for key in ["disk.img", "a/.raw", ".raw", "disk.RAW", ""] {
            assert_eq!(bitmap_key(key), None, "{key}");
        }
    }
}
