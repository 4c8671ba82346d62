//! What UEFI starts: loaders on the EFI system partition.

pub(crate) mod rules;

use std::rc::Rc;

use diskimg::partitions::PartitionTable;

use crate::Seen;
use crate::budget::MAX_FILE;
use crate::known::Known;
use crate::tree::{Kind, Tree};
use crate::view::View;
use crate::volume::{Content, FileSystem, Volume};

/// Types of EFI system partitions.
const ESP: [&str; 2] = ["c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "0xef"];
/// Bytes of a loader that are searched for the name of the next one.
const MAX_LOADER: u64 = 8 << 20;

/// A file on an EFI system partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EfiFile {
    /// Directory below `EFI`, in lower case.
    pub(crate) directory: String,
    /// In lower case.
    pub(crate) name: String,
    /// Path in the guest, or on its partition when the guest does not mount it.
    pub(crate) path: String,
}

/// The loader that UEFI starts when it knows no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fallback {
    pub(crate) file: EfiFile,
    /// It is shim, which starts another loader beside it.
    pub(crate) shim: Known<bool>,
}

/// A script of GRUB that looks for a file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Search {
    pub(crate) seen: Seen,
    pub(crate) uuid: String,
}

/// One EFI system partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Esp {
    /// Every file in a directory of `EFI`.
    pub(crate) files: Vec<EfiFile>,
    /// Loaders in `EFI/BOOT` by the names that firmware looks for.
    pub(crate) fallbacks: Vec<Fallback>,
    /// Microsoft's loader is there.
    pub(crate) microsoft: bool,
    /// An `EFI/*/BOOT*.CSV` tells shim's fallback what to start.
    pub(crate) has_list: bool,
    /// Scripts that look for file systems, or why they could not be read.
    pub(crate) searches: Vec<Known<Search>>,
}

/// What UEFI finds on the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Efi {
    pub(crate) partitions: Vec<Esp>,
    /// Why an EFI system partition could not be looked into.
    pub(crate) failed: Option<String>,
    /// Keys that a machine's owner enrolled, or modules that need them.
    pub(crate) own_keys: Option<Seen>,
}

/// Looks at the EFI system partitions. `view` is the system that is started, if any was found.
pub(crate) fn collect(
    view: Option<&View>,
    volumes: &[Volume],
    trees: &[Option<Rc<dyn Tree>>],
    table: Option<&PartitionTable>,
) -> Efi {
    let mut efi = Efi::default();
    for (index, (volume, tree)) in volumes.iter().zip(trees).enumerate() {
        let entries = table.map_or(&[][..], |table| &table.entries);
        let is_esp = entries.iter().any(|entry| {
            Some(entry.number) == volume.partition && ESP.contains(&entry.type_id.as_str())
        });
        let fat = volume.content == Content::FileSystem(FileSystem::Fat);
        let Some(tree) = tree.as_ref().filter(|_| fat) else {
            if is_esp && let Some(reason) = &volume.closed {
                efi.failed.get_or_insert_with(|| reason.clone());
            }
            continue;
        };
        let mounted = view.and_then(|view| view.mount_point(index));
        let prefix = match mounted {
            Some(at) => crate::text::printable(at),
            None => format!("{}:", volume.name()),
        };
        match esp(tree, &prefix) {
            Ok(found) if is_esp || found.microsoft || !found.files.is_empty() => {
                efi.partitions.push(found)
            }
            Ok(_) => {}
            Err(reason) => {
                efi.failed.get_or_insert(reason);
            }
        }
    }
    efi.own_keys = view.and_then(own_keys);
    efi
}

fn esp(tree: &Rc<dyn Tree>, prefix: &str) -> Known<Esp> {
    let mut esp = Esp::default();
    if !matches!(tree.stat(b"/EFI")?, Some(stat) if stat.kind == Kind::Directory) {
        return Ok(esp);
    }
    let bootmgr = tree.stat(b"/EFI/Microsoft/Boot/bootmgfw.efi")?;
    esp.microsoft = bootmgr.is_some_and(|stat| stat.kind == Kind::File);
    let name_of = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
    let view = View::new(Rc::clone(tree), 0);
    for directory in view.list("/EFI")? {
        if directory.kind != Kind::Directory {
            continue;
        }
        let directory = name_of(&directory.name);
        for file in view.list(format!("/EFI/{directory}"))? {
            if file.kind != Kind::File {
                continue;
            }
            let file = name_of(&file.name);
            let inner = format!("/EFI/{directory}/{file}");
            let found = EfiFile {
                directory: directory.to_ascii_lowercase(),
                name: file.to_ascii_lowercase(),
                path: crate::text::printable(format!("{prefix}{inner}")),
            };
            if found.name == "grub.cfg" {
                esp.searches.extend(searches(tree, &inner, &found.path));
            }
            if found.name.starts_with("boot") && found.name.ends_with(".csv") {
                esp.has_list = true;
            }
            esp.files.push(found);
        }
    }
    let fallbacks = esp.files.iter().filter(|file| file.is_fallback()).cloned();
    esp.fallbacks = fallbacks
        .collect::<Vec<_>>()
        .into_iter()
        .map(|file| Fallback {
            shim: is_shim(tree, &file, &esp.files),
            file,
        })
        .collect();
    Ok(esp)
}

impl EfiFile {
    fn is_fallback(&self) -> bool {
        const NAMES: [&str; 6] = [
            "bootx64.efi",
            "bootaa64.efi",
            "bootia32.efi",
            "bootarm.efi",
            "bootriscv64.efi",
            "bootloongarch64.efi",
        ];
        self.directory == "boot" && NAMES.contains(&self.name.as_str())
    }

    /// A boot loader in a directory of its vendor's, which firmware starts by an entry.
    fn is_of_vendor(&self) -> bool {
        self.directory != "boot"
            && self.name.ends_with(".efi")
            && !self.name.starts_with("mm")
            && !self.name.starts_with("fb")
    }

    /// The path without the place of the partition.
    fn inner(&self) -> String {
        format!("/EFI/{}/{}", self.directory, self.name)
    }
}

/// Whether `file` is shim: it names the loader that it starts, or is a copy of a file called shim.
fn is_shim(tree: &Rc<dyn Tree>, file: &EfiFile, files: &[EfiFile]) -> Known<bool> {
    let content = content(tree, &file.inner())?;
    let names: Vec<u8> = "grubx64.efi"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let arm: Vec<u8> = "grubaa64.efi"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let holds = |wanted: &[u8]| content.windows(wanted.len()).any(|window| window == wanted);
    if holds(&names) || holds(&arm) {
        return Ok(true);
    }
    for shim in files.iter().filter(|file| file.name.starts_with("shim")) {
        if self::content(tree, &shim.inner())? == content {
            return Ok(true);
        }
    }
    Ok(false)
}

fn content(tree: &Rc<dyn Tree>, path: &str) -> Known<Vec<u8>> {
    Ok(View::new(Rc::clone(tree), 0)
        .read(path, MAX_LOADER)?
        .unwrap_or_default())
}

/// The file systems that the script at `inner` looks for by their UUIDs.
fn searches(tree: &Rc<dyn Tree>, inner: &str, path: &str) -> Vec<Known<Search>> {
    let script = match View::new(Rc::clone(tree), 0).read(inner, MAX_FILE) {
        Ok(script) => script.unwrap_or_default(),
        Err(error) => return vec![Err(error.into())],
    };
    let lines = script.split(|byte| *byte == b'\n');
    // What is in a menu entry runs only if it is chosen: it may be for another disk.
    let mut depth = 0_i64;
    (1..)
        .zip(lines)
        .filter_map(|(number, line)| {
            let text = String::from_utf8_lossy(line);
            let braces = |wanted: char| text.chars().filter(|found| *found == wanted).count();
            let inside = depth > 0;
            let change = |count: usize| i64::try_from(count).unwrap_or_default();
            depth = depth
                .saturating_add(change(braces('{')))
                .saturating_sub(change(braces('}')))
                .max(0);
            if inside {
                return None;
            }
            let mut words = text.split_whitespace();
            let by_uuid = match words.next()? {
                "search.fs_uuid" => true,
                "search" => text.contains("--fs-uuid") || text.split(' ').any(|word| word == "-u"),
                _ => false,
            };
            let mut after_hint = false;
            let uuid = words
                .find(|word| {
                    let is_value = std::mem::take(&mut after_hint);
                    after_hint = word.starts_with("--hint") && !word.contains('=');
                    !is_value && !word.starts_with('-')
                })
                .filter(|_| by_uuid)?;
            let uuid = uuid.trim_matches(['"', '\'']);
            // A variable is filled in by the rest of the script.
            (!uuid.contains('$')).then(|| {
                Ok(Search {
                    seen: Seen::line(path, number, line.trim_ascii()),
                    uuid: uuid.to_owned(),
                })
            })
        })
        .collect()
}

/// What shows that the system needs keys which only this machine's firmware has.
fn own_keys(view: &View) -> Option<Seen> {
    for path in ["/var/lib/shim-signed/mok", "/var/lib/dkms"] {
        let entries = view.list(path).unwrap_or_default();
        if entries.iter().any(|entry| entry.name != b"mok.pub") {
            return Some(Seen::at(path));
        }
    }
    None
}

impl Efi {
    /// Whether UEFI finds a loader, by an entry of its own or by the fallback.
    pub(crate) fn has_loader(&self) -> bool {
        self.partitions.iter().any(|esp| {
            let mut files = esp.files.iter();
            esp.microsoft || files.any(|file| file.name.ends_with(".efi"))
        })
    }

    /// Whether UEFI of a new machine, which has no entries, starts something.
    pub(crate) fn starts(&self) -> bool {
        self.partitions.iter().any(|esp| !esp.fallbacks.is_empty())
    }
}

#[cfg(test)]
mod tests;
