//! The rule of names: a raw image and its bitmap differ in the extension only.

use cloud::{Class, Failure, Result};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use diskimg::text::shown;

/// Extension of bitmap files.
const EXTENSION: &str = "mf";

/// Where the bitmap of `raw` is unless told: beside it.
pub fn beside(raw: &Path) -> Result<PathBuf> {
    let mf = raw.with_extension(EXTENSION);
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

/// Refuses a bitmap file that is not called like the raw file.
pub fn check(raw: &Path, mf: &Path) -> Result {
    check_among(&[stem(raw)], mf)
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
