//! Which firmware starts the disk, and whether it is the one that is asked for.

use crate::{Facts, Judgement, Remedy, Rule, Seen, Severity, Source};

use super::bios::{Bios, Code};

/// What makes a machine's firmware.
const BIOS: &str = "bios";
const UEFI: &str = "uefi";

impl Facts {
    /// The firmware of the server: the one that is asked for, else the one that the disk suits
    /// best. `None` when it suits none.
    pub(crate) fn firmware(&self) -> Option<&str> {
        if let Some(wanted) = &self.wanted.firmware {
            return Some(wanted);
        }
        let efi = self.efi.as_ref();
        let is = |yes: bool, name: &'static str| yes.then_some(name);
        is(self.is_arm() || efi.is_some_and(|efi| efi.starts()), UEFI)
            .or_else(|| is(self.bios_starts(), BIOS))
            .or_else(|| is(efi.is_some_and(|efi| efi.has_loader()), UEFI))
            .or_else(|| is(self.bios_is_meant(), BIOS))
    }

    /// Every firmware that the disk is made for and that finds a boot loader.
    pub(crate) fn firmwares(&self) -> Vec<&'static str> {
        let mut firmwares = Vec::new();
        if self.bios_starts() {
            firmwares.push(BIOS);
        }
        if self.efi.as_ref().is_some_and(|efi| efi.has_loader()) {
            firmwares.push(UEFI);
        }
        firmwares
    }

    fn is_arm(&self) -> bool {
        self.os.as_ref().and_then(|os| os.arch.as_deref()) == Some("aarch64")
    }

    fn known_bios(&self) -> Option<&Bios> {
        self.bios.as_ref()?.as_ref().ok()
    }

    fn bios_starts(&self) -> bool {
        let table = self.table.as_ref();
        let starts = |bios: &Bios| table.is_some_and(|table| bios.starts(table));
        self.known_bios().is_some_and(starts)
    }

    /// The disk has something for a BIOS, whether or not it is whole.
    fn bios_is_meant(&self) -> bool {
        let table = self.table.as_ref();
        let meant = |bios: &Bios| {
            bios.code != Code::None && table.is_some_and(|table| bios.is_meant(table))
        };
        self.known_bios().is_some_and(meant)
    }
}

/// Rules about the firmware.
pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "boot-none",
        severity: Severity::WillNotBoot,
        source: Source::Vendor,
        cite: "create-image: the file holds the system disk",
        text: "There is neither a boot loader for UEFI on the disk nor anything that a BIOS \
               starts.",
        remedy: Remedy {
            red_hat: &["grub2-install /dev/sda"],
            debian: &["grub-install /dev/sda", "update-grub"],
            suse: &["grub2-install /dev/sda", "update-bootloader --reinit"],
            any: &[],
        },
        check: none,
    },
    Rule {
        id: "boot-firmware-mismatch",
        severity: Severity::WillNotBoot,
        source: Source::Vendor,
        cite: "Open Telekom Cloud 0161870891, 0290353431",
        text: "The firmware that is asked for does not start this disk.",
        remedy: Remedy::NONE,
        check: mismatch,
    },
];

/// What UEFI finds is known.
fn efi_is_known(facts: &Facts, judgement: &mut Judgement) -> bool {
    match facts.efi.as_ref().and_then(|efi| efi.failed.as_ref()) {
        Some(reason) => {
            judgement.unknown(reason.clone());
            false
        }
        None => true,
    }
}

fn none(facts: &Facts, judgement: &mut Judgement) {
    let (Some(efi), Some(bios)) = (&facts.efi, &facts.bios) else {
        return;
    };
    let known = efi_is_known(facts, judgement) && judgement.known(bios).is_some();
    if known && !facts.wanted.data_disk && !efi.has_loader() && !facts.bios_is_meant() {
        judgement.found(Severity::WillNotBoot, Seen::at("whole disk"));
    }
}

fn mismatch(facts: &Facts, judgement: &mut Judgement) {
    let Some(wanted) = facts.wanted.firmware.as_deref() else {
        return;
    };
    let (Some(efi), Some(bios)) = (&facts.efi, &facts.bios) else {
        return;
    };
    if facts.wanted.data_disk {
        return;
    }
    if !efi_is_known(facts, judgement) || judgement.known(bios).is_none() {
        return;
    }
    let (only, found) = match wanted {
        BIOS if facts.is_arm() => (UEFI, true),
        BIOS => (UEFI, efi.has_loader() && !facts.bios_is_meant()),
        _ => (BIOS, facts.bios_is_meant() && !efi.has_loader()),
    };
    if found {
        let text = format!("{wanted} is asked for; the disk starts with {only}");
        judgement.found(Severity::WillNotBoot, Seen::at("whole disk").with(text));
        judgement.note(format!("Ask for {only}."));
    }
}
