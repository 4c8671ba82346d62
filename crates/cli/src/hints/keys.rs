//! Hints about a disk of a manifest: what is an option of `import` is a key there.

use ::convert::Hint as Convert;
use cloud::{Hint, ImportHint as Import};
use diskimg::Hint as Disk;

/// What the user can do, in keys of the manifest; in other words where no key is meant.
pub(crate) fn text(hint: &Hint) -> String {
    let keyed = match hint {
        Hint::Disk(hint) | Hint::Convert(Convert::Disk(hint)) => disk(hint),
        Hint::Import(hint) => import(hint),
        Hint::OrSkipCheck(hint, check) => {
            Some(format!("{}; or set skip_check: [{check}]", text(hint)))
        }
        Hint::ChooseBucket(what) => Some(format!("set bucket to {what}")),
        Hint::ChooseDisk(disks) => {
            let disks: Vec<_> = disks.iter().map(|disk| format!("disk: {disk:?}")).collect();
            Some(format!("name one of its disks: {}", disks.join(", or ")))
        }
        Hint::IgnoreManifest => Some(
            "copy or download the package again; if you know why it differs, set \
             ignore_manifest: true"
                .to_owned(),
        ),
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
        Disk::GiveDisks(disks) => match disks.split_first() {
            None => "give its disks instead".to_owned(),
            Some((system, data)) => format!(
                "list its disks as a server: system: {system}, data: [{}]",
                data.join(", ")
            ),
        },
        _ => return None,
    })
}

fn import(hint: &Import) -> Option<String> {
    let words = match hint {
        Import::ReplaceObject => "set if_exists: replace to replace it, or give it another key",
        Import::UseQuickImport => "set register: quick, which converts the disk",
        Import::UseQuickImportUnencrypted => {
            "set register: quick, which converts the disk, and omit cmk_id"
        }
        Import::UseCommonImport => "set register: common, or omit these keys",
        Import::LeaveRawOut | Import::LeaveRawOrSave => "omit to: raw",
        Import::ImportDataDisksAlone => "import data disks alone with type: DataImage",
        Import::RenameForKey(_) => "choose another name; the object is not uploaded again",
        Import::Correct { how, field } => {
            let key = key_for(field).map(|key| format!(" ({key})"));
            return Some(format!("{how}{}", key.unwrap_or_default()));
        }
        Import::ImportAsDataImage => {
            "make sure that this is a disk; set type: DataImage if it only holds data"
        }
        Import::UseFirmware { firmware, or } => {
            let or = or.map_or_else(String::new, |or| format!(", or {or}"));
            return Some(format!("set firmware: {firmware}{or}"));
        }
        Import::WaitOrRename => "wait until it is active, or choose another name",
        Import::FreeName => {
            "set if_exists: skip to leave it as it is, if_exists: replace to rename it, or another \
             name"
        }
        Import::ChooseOsVersion(names) if !names.is_empty() => {
            return Some(format!("set os_version: {}", names.join(" or ")));
        }
        Import::MatchRegion => {
            "set bucket to one of the same region, or pass another region with --region"
        }
        Import::GiveMinDisk => "set min_disk to at least its size in GiB",
        _ => return None,
    };
    Some(words.to_owned())
}

/// The key that sets a field of the request.
fn key_for(field: &str) -> Option<&str> {
    match field {
        "image_url.bucket" => Some("bucket"),
        "image_url.key" => Some("key"),
        "file" => Some("register: quick"),
        "virtual_size" => None,
        field => Some(field),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No hint about a disk names an option of `import`, but those that `batch run` has too.
    #[test]
    fn no_hint_about_a_disk_names_an_option_of_import() {
        let hints = [
            Import::ImportAsDataImage,
            Import::UseFirmware {
                firmware: "uefi",
                or: None,
            },
            Import::WaitOrRename,
            Import::FreeName,
            Import::ChooseOsVersion(vec!["Debian".into()]),
            Import::ChooseOsVersion(Vec::new()),
            Import::GiveMinDisk,
            Import::LeaveRawOrSave,
            Import::ImportDataDisksAlone,
        ];
        for hint in hints {
            let told = text(&Hint::OrSkipCheck(Box::new(hint.into()), "quota"));
            assert!(!told.contains("--"), "{told}");
        }
        let told = text(&Hint::IgnoreManifest);
        assert!(
            told.contains("ignore_manifest: true") && !told.contains("--"),
            "{told}"
        );
    }

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
            (
                Hint::OrSkipCheck(Box::new(Import::FreeName.into()), "name-free"),
                "set if_exists: skip to leave it as it is, if_exists: replace to rename it, or \
                 another name; or set skip_check: [name-free]",
            ),
            (
                Hint::Import(Import::Correct {
                    how: "choose at least 2 GiB".into(),
                    field: "min_disk",
                }),
                "choose at least 2 GiB (min_disk)",
            ),
            (
                Hint::ChooseDisk(vec!["a.vmdk".into(), "b.vmdk".into()]),
                "name one of its disks: disk: \"a.vmdk\", or disk: \"b.vmdk\"",
            ),
            (
                Hint::RestartDisk {
                    id: "web01".into(),
                    replace: false,
                },
                "start over with this disk: run the batch again with --redo web01",
            ),
            // What is no setting of a disk keeps its words.
            (Hint::NameSandboxDir, "name its directory: --sandbox=DIR"),
        ] {
            assert_eq!(text(&hint), expected);
        }
    }
}
