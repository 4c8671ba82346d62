//! Hints about a disk of a manifest: what is an option of `import` is a key there.

use ::convert::Hint as Convert;
use cloud::{Hint, ImportHint as Import};
use diskimg::Hint as Disk;

/// What the user can do, in keys of the manifest; in other words where no key is meant.
pub(crate) fn text(hint: &Hint) -> String {
    let keyed = match hint {
        Hint::Disk(hint) | Hint::Convert(Convert::Disk(hint)) => disk(hint),
        Hint::Import(hint) => import(hint).map(str::to_owned),
        _ => None,
    };
    keyed.unwrap_or_else(|| super::text(hint))
}

fn disk(hint: &Disk) -> Option<String> {
    let more = |or: &Option<String>| {
        or.as_ref()
            .map_or_else(String::new, |or| format!("; or {or}"))
    };
    Some(match hint {
        Disk::NameFormat(formats) => {
            let formats: Vec<_> = formats.iter().map(|f| format!("format: {f}")).collect();
            format!("if you trust the file, set {}", formats.join(" or "))
        }
        Disk::OpenAsRaw => "if it really is a disk, set format: raw".to_owned(),
        Disk::OpenAsRawOr(advice) => {
            format!("{advice}; if it is a disk all the same, set format: raw")
        }
        Disk::NameBackingFormat => "if you know it, set backing_format: FORMAT".to_owned(),
        Disk::AllowBacking { dir, or } => {
            let dir = dir.as_deref();
            let dir = dir.unwrap_or("DIR, where DIR is the directory that it is in");
            let or = more(or);
            format!("if you trust the image, set allow_backing: {dir}{or}")
        }
        Disk::NameBackingDir { or } => {
            let or = more(or);
            format!("name the directory that it is in: set allow_backing: DIR{or}")
        }
        _ => return None,
    })
}

fn import(hint: &Import) -> Option<&'static str> {
    Some(match hint {
        Import::ReplaceObject => "set if_exists: replace to replace it, or give it another key",
        Import::UseQuickImport => "set register: quick, which converts the disk",
        Import::UseQuickImportUnencrypted => {
            "set register: quick, which converts the disk, and omit cmk_id"
        }
        Import::UseCommonImport => "set register: common, or omit these keys",
        Import::LeaveRawOut => "omit to: raw",
        Import::RenameForKey(_) => "choose another name; the object is not uploaded again",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_told_of_keys() {
        for (hint, expected) in [
            (
                Hint::Disk(Disk::OpenAsRaw),
                "if it really is a disk, set format: raw",
            ),
            (
                Hint::Convert(Convert::Disk(Disk::NameBackingFormat)),
                "if you know it, set backing_format: FORMAT",
            ),
            (
                Hint::Import(Import::ReplaceObject),
                "set if_exists: replace to replace it, or give it another key",
            ),
            // What is no setting of a disk keeps its words.
            (Hint::NameSandboxDir, "name its directory: --sandbox=DIR"),
        ] {
            assert_eq!(text(&hint), expected);
        }
    }
}
