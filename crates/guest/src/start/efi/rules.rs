//! Rules about what UEFI starts.

use super::{Efi, Search};
use crate::volume::Volume;
use crate::{Facts, Judgement, Remedy, Rule, Seen, Severity, Source};

/// Loaders that a finding names.
const MAX_SEEN: usize = 8;

/// Name of the loader that firmware for `arch` looks for, without its end.
fn fallback_name(arch: Option<&str>) -> Option<&'static str> {
    Some(match arch? {
        "x86_64" => "bootx64.efi",
        "aarch64" => "bootaa64.efi",
        "i386" => "bootia32.efi",
        _ => return None,
    })
}

/// Rules about what UEFI starts.
pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "boot-efi-no-fallback",
        severity: Severity::WillNotBoot,
        source: Source::Peer,
        cite: "vmware/packer-examples-for-vsphere#964",
        text: "A new server's firmware has no boot entries, so it looks for EFI/BOOT/BOOTX64.EFI \
               (BOOTAA64.EFI on ARM) and finds none.",
        remedy: Remedy {
            red_hat: &["dnf reinstall shim-x64 grub2-efi-x64"],
            debian: &["grub-install --target=x86_64-efi --force-extra-removable"],
            suse: &["shim-install --removable"],
            ..Remedy::NONE
        },
        check: no_fallback,
    },
    Rule {
        id: "boot-efi-fallback-broken",
        severity: Severity::WillNotBoot,
        source: Source::Peer,
        cite: "rhboot/shim#101",
        text: "The loader that a new server's firmware starts is shim, and neither GRUB nor shim's \
               list of loaders is beside it.",
        remedy: Remedy {
            red_hat: &["dnf reinstall shim-x64 grub2-efi-x64"],
            debian: &["grub-install --target=x86_64-efi --force-extra-removable"],
            suse: &["shim-install --removable"],
            ..Remedy::NONE
        },
        check: fallback_broken,
    },
    Rule {
        id: "boot-efi-config-lost",
        severity: Severity::WillNotBoot,
        source: Source::Peer,
        cite: "bootinfoscript",
        text: "GRUB on the EFI system partition looks for its configuration on a file system that \
               is not on this disk.",
        remedy: Remedy {
            red_hat: &["dnf reinstall shim-x64 grub2-efi-x64"],
            debian: &["grub-install", "update-grub"],
            suse: &["update-bootloader --reinit"],
            ..Remedy::NONE
        },
        check: config_lost,
    },
    Rule {
        id: "boot-secure-boot",
        severity: Severity::Advice,
        source: Source::Peer,
        cite: "kubev2v/forklift#24",
        text: "The guest has keys or modules of its own for Secure Boot, and enrolled keys do not \
               travel with the disk. Turn Secure Boot off at the target.",
        remedy: Remedy::NONE,
        check: secure_boot,
    },
];

/// The UEFI side of the disk, when the server will have UEFI.
fn judged<'a>(facts: &'a Facts, judgement: &mut Judgement) -> Option<&'a Efi> {
    let efi = facts.efi.as_ref()?;
    if facts.firmware() != Some("uefi") || facts.wanted.data_disk {
        return None;
    }
    if let Some(reason) = &efi.failed {
        judgement.unknown(reason.clone());
        return None;
    }
    Some(efi)
}

fn no_fallback(facts: &Facts, judgement: &mut Judgement) {
    let Some(efi) = judged(facts, judgement) else {
        return;
    };
    let arch = facts.os.as_ref().and_then(|os| os.arch.as_deref());
    let wanted = fallback_name(arch);
    let mut fallbacks = efi.partitions.iter().flat_map(|esp| &esp.fallbacks);
    if fallbacks.any(|found| wanted.is_none_or(|wanted| found.file.name == wanted)) {
        return;
    }
    let files = efi.partitions.iter().flat_map(|esp| &esp.files);
    for file in files.filter(|file| file.is_of_vendor()).take(MAX_SEEN) {
        judgement.found(Severity::WillNotBoot, Seen::at(&file.path));
    }
}

fn fallback_broken(facts: &Facts, judgement: &mut Judgement) {
    let Some(efi) = judged(facts, judgement) else {
        return;
    };
    for esp in &efi.partitions {
        let beside = |names: &[&str]| {
            let mut files = esp.files.iter().filter(|file| file.directory == "boot");
            files.any(|file| names.contains(&file.name.as_str()))
        };
        for fallback in &esp.fallbacks {
            let (grub, chooser): (&str, &[&str]) = match fallback.file.name.as_str() {
                "bootx64.efi" => ("grubx64.efi", &["fbx64.efi", "fallback.efi"]),
                "bootaa64.efi" => ("grubaa64.efi", &["fbaa64.efi", "fallback.efi"]),
                "bootia32.efi" => ("grubia32.efi", &["fbia32.efi", "fallback.efi"]),
                _ => continue,
            };
            let Some(true) = judgement.known(&fallback.shim) else {
                continue;
            };
            let next = beside(&[grub]) || (beside(chooser) && esp.has_list);
            if !next {
                judgement.found(Severity::WillNotBoot, Seen::at(&fallback.file.path));
            }
        }
    }
}

fn config_lost(facts: &Facts, judgement: &mut Judgement) {
    let Some(efi) = judged(facts, judgement) else {
        return;
    };
    // The file system may be inside of what could not be opened.
    let hidden = facts.volumes.iter().find_map(Volume::hides_names);
    let resolves = |search: &Search| {
        let is = |uuid: &String| uuid.eq_ignore_ascii_case(&search.uuid);
        let mut volumes = facts.volumes.iter();
        volumes.any(|volume| volume.uuid.as_ref().is_some_and(is))
    };
    let mut searches = efi.partitions.iter().flat_map(|esp| &esp.searches);
    // Of several loaders one may be left over from an earlier system.
    let severity = match searches.any(|search| search.as_ref().is_ok_and(resolves)) {
        true => Severity::Advice,
        false => Severity::WillNotBoot,
    };
    for search in efi.partitions.iter().flat_map(|esp| &esp.searches) {
        let Some(search) = judgement.known(search) else {
            continue;
        };
        if resolves(search) {
            continue;
        }
        match &hidden {
            Some(reason) => judgement.unknown(reason.clone()),
            None => judgement.found(severity, search.seen.clone()),
        }
    }
}

fn secure_boot(facts: &Facts, judgement: &mut Judgement) {
    let Some(efi) = judged(facts, judgement) else {
        return;
    };
    let mut files = efi.partitions.iter().flat_map(|esp| &esp.files);
    if let Some(seen) = efi.own_keys.clone()
        && files.any(|file| file.name.starts_with("shim"))
    {
        judgement.found(Severity::Advice, seen);
    }
}
