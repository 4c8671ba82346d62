//! Page files, and the drives they are on.

use std::collections::BTreeMap;

use super::disk::Disk;
use super::registry::{CONTROL, Registry};
use crate::known::Known;
use crate::{Facts, Judgement, Remedy, Rule, Seen, Severity, Source};

const MEMORY: &str = r"Control\Session Manager\Memory Management";

/// A page file that is named with a drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pagefile {
    /// As in the registry.
    pub(crate) entry: String,
    /// The drive is on this disk; `None` when that is not known.
    pub(crate) here: Option<bool>,
}

/// The page files of a Windows on drive `own`.
pub(super) fn collect(registry: &Registry, disk: &Disk, own: Option<char>) -> Known<Vec<Pagefile>> {
    let files = registry.control_texts(MEMORY, "PagingFiles")?;
    let drives = drives(registry)?;
    let on_disk = |drive: char| match drives.get(&drive) {
        _ if own.is_some_and(|own| own.eq_ignore_ascii_case(&drive)) => Some(true),
        Some(place) => is_here(place, disk),
        None => Some(false),
    };
    Ok(files
        .into_iter()
        .filter_map(|file| {
            // "?" is whatever drive Windows is on.
            let (drive, _) = file.split_once(":\\")?;
            let drive = drive.chars().next()?.to_ascii_uppercase();
            drive.is_ascii_alphabetic().then(|| Pagefile {
                here: on_disk(drive),
                entry: file,
            })
        })
        .collect())
}

/// The letters of drives, and where these are.
fn drives(registry: &Registry) -> Known<BTreeMap<char, Vec<u8>>> {
    let Some(key) = registry.system("MountedDevices")? else {
        return Ok(BTreeMap::new());
    };
    let values = key.values()?.into_iter();
    Ok(values
        .filter_map(|(name, value)| {
            let letter = name.strip_prefix(r"\DosDevices\")?.chars().next()?;
            Some((letter.to_ascii_uppercase(), value.data))
        })
        .collect())
}

/// Whether the volume at `place` is on this disk; `None` where `place` does not tell.
fn is_here(place: &[u8], disk: &Disk) -> Option<bool> {
    if let Some(id) = place.strip_prefix(b"DMIO:ID:") {
        let id = guid(id.try_into().ok()?);
        let volumes = disk.volumes.iter();
        return Some(
            volumes
                .filter_map(|it| it.partuuid.as_ref())
                .any(|it| *it == id),
        );
    }
    // The signature of a disk and the first byte of a partition.
    let (signature, start) = place.split_first_chunk()?;
    let start = u64::from_le_bytes(start.try_into().ok()?);
    let table = disk.table?;
    let signature = format!("{:#010x}", u32::from_le_bytes(*signature));
    let on_disk = table.id.as_ref() == Some(&signature);
    Some(on_disk && table.entries.iter().any(|entry| entry.start == start))
}

/// A GUID as it is printed; its first three fields are stored back to front.
fn guid(bytes: [u8; 16]) -> String {
    const ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    let mut text = String::new();
    for (count, at) in ORDER.into_iter().enumerate() {
        if matches!(count, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let byte = bytes.get(at).copied().unwrap_or_default();
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

pub(crate) const RULES: &[Rule] = &[Rule {
    id: "windows-pagefile",
    severity: Severity::Degraded,
    source: Source::Peer,
    cite: "virt-v2v, convert/convert_windows",
    text: "A page file is on a drive that is not on this disk.",
    remedy: Remedy {
        windows: &["wmic computersystem set AutomaticManagedPagefile=True"],
        ..Remedy::NONE
    },
    check: pagefile,
}];

fn pagefile(facts: &Facts, judgement: &mut Judgement) {
    let files = facts.windows.as_ref();
    let files = files.and_then(|it| judgement.known(&it.pagefiles));
    for Pagefile { entry, here } in files.into_iter().flatten() {
        match here {
            Some(true) => {}
            Some(false) => {
                let seen = Seen::at(format!(r"{CONTROL}\{MEMORY}")).with(entry);
                judgement.found(Severity::Degraded, seen);
            }
            None => judgement.unknown(format!(
                "it is not known which volume is the drive of {entry:?}"
            )),
        }
    }
}

#[cfg(test)]
mod tests;
