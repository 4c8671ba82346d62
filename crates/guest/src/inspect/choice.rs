//! Whether a disk with a Linux and a Windows starts the Windows by itself.

use std::rc::Rc;

use crate::Facts;
use crate::linux::identify::Root;
use crate::start::bios::Code;
use crate::tree::Tree;
use crate::view::View;
use crate::volume::{Content, FileSystem};

/// Microsoft's boot manager, and the loader that firmware without entries starts.
const MICROSOFT: &str = "/EFI/Microsoft/Boot/bootmgfw.efi";
const FALLBACKS: [&str; 2] = ["/EFI/BOOT/BOOTX64.EFI", "/EFI/BOOT/BOOTAA64.EFI"];
/// Bytes of a loader that are compared.
const MAX_LOADER: u64 = 8 << 20;

/// Whether the firmware starts Windows, or the menu of `root`, the Linux that would start else.
pub(super) fn starts_windows(facts: &Facts, trees: &[Option<Rc<dyn Tree>>], root: &Root) -> bool {
    let firmware = facts.wanted.firmware.as_deref();
    let by_firmware = match firmware {
        Some("bios") => by_bios(facts),
        Some(_) => by_uefi(facts, trees),
        None => by_bios(facts).or_else(|| by_uefi(facts, trees)),
    };
    by_firmware == Some(true)
        || root
            .starts_another(&facts.volumes, firmware)
            .is_some_and(|title| title.to_ascii_lowercase().contains("windows"))
}

/// Whether the code in the first sector starts a partition of Windows; `None` when it starts none.
fn by_bios(facts: &Facts) -> Option<bool> {
    let bios = facts.bios.as_ref()?.as_ref().ok()?;
    match (&bios.code, bios.active.as_slice()) {
        (Code::None, _) | (Code::Generic, []) => None,
        (Code::Generic, active) => {
            let ntfs = Content::FileSystem(FileSystem::Ntfs);
            let mut volumes = facts.volumes.iter();
            Some(volumes.any(|volume| {
                let number = volume.partition.as_ref();
                volume.content == ntfs && number.is_some_and(|number| active.contains(number))
            }))
        }
        (Code::Grub(core), _) => core.problem.is_none().then_some(false),
        (Code::Other, _) => Some(false),
    }
}

/// Whether the loader that new firmware starts is Microsoft's; `None` without such a loader.
fn by_uefi(facts: &Facts, trees: &[Option<Rc<dyn Tree>>]) -> Option<bool> {
    let fat = Content::FileSystem(FileSystem::Fat);
    let volumes = facts.volumes.iter().zip(trees);
    let esps = volumes.filter(|(volume, _)| volume.content == fat);
    let mut found = None;
    for tree in esps.filter_map(|(_, tree)| tree.as_ref()) {
        let view = View::new(Rc::clone(tree), 0);
        let read = |path: &str| view.read(path, MAX_LOADER).ok().flatten();
        let fallback = FALLBACKS.iter().find_map(|path| read(path));
        if let Some(fallback) = fallback {
            let same = read(MICROSOFT).is_some_and(|manager| manager == fallback);
            found = Some(found.unwrap_or(false) || same);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::identify::identify;
    use crate::linux::testing::volume;
    use crate::start::bios::Bios;
    use crate::tree::memory::MemoryTree;
    use crate::volume::Stack;

    /// A disk with Windows on partition 1, a Linux on 2 whose menu is `menu`, and an EFI system
    /// partition 3, whose files are `esp`; a BIOS finds `code`.
    fn starts(code: Code, menu: &str, esp: MemoryTree) -> bool {
        let kinds = [FileSystem::Ntfs, FileSystem::Ext, FileSystem::Fat];
        let volumes = (1..).zip(kinds).map(|(number, kind)| {
            let mut volume = volume(Stack::Plain, Content::FileSystem(kind), "");
            volume.partition = Some(number);
            volume
        });
        let root = MemoryTree::new()
            .directory("/bin")
            .file("/etc/hosts", "")
            .file("/vmlinuz-1", "")
            .file("/boot/grub/grub.cfg", menu);
        let trees: Vec<Option<Rc<dyn Tree>>> = vec![None, Some(Rc::new(root)), Some(Rc::new(esp))];
        let facts = Facts {
            volumes: volumes.collect(),
            bios: Some(Ok(Bios {
                code,
                active: vec![1],
                active_starts: true,
            })),
            ..Facts::default()
        };
        let roots = identify(&facts.volumes, &trees).roots;
        starts_windows(&facts, &trees, &roots[0])
    }

    #[test]
    fn windows_is_started_by_the_firmware_or_by_the_menus_default() {
        const LINUX: &str = "menuentry Debian {\nlinux /vmlinuz-1\n}\n";
        const OTHER: &str = "menuentry 'Windows 10 (on /dev/sda1)' {\nchainloader +1\n}\n";
        let esp = || MemoryTree::without_case().file(MICROSOFT, "ms");
        assert!(starts(Code::Generic, LINUX, esp()));
        assert!(!starts(Code::Other, LINUX, esp()));
        assert!(starts(Code::Other, OTHER, esp()));
        assert!(!starts(Code::Other, &format!("{LINUX}{OTHER}"), esp()));
        assert!(
            !starts(Code::None, LINUX, esp()),
            "nothing starts by itself"
        );
        let own = esp().file("/EFI/Boot/bootx64.efi", "ms");
        assert!(starts(Code::None, LINUX, own));
        let grub = esp().file("/EFI/Boot/bootx64.efi", "grub");
        assert!(!starts(Code::None, LINUX, grub));
    }
}
