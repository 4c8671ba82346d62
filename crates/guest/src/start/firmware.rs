//! Which firmware starts the disk, and whether it is the one that is asked for.

use crate::{Facts, Judgement, Remedy, Rule, Seen, Severity, Source};

use super::bios::{Bios, Code};

/// What makes a machine's firmware.
const BIOS: &str = "bios";
const UEFI: &str = "uefi";

impl Facts {
    /// The firmware of the server: the one that is asked for, else the one that an import
    /// asks for. `None` when the disk suits none.
    pub(crate) fn firmware(&self) -> Option<&str> {
        if let Some(wanted) = &self.wanted.firmware {
            return Some(wanted);
        }
        let efi = self.efi.as_ref();
        let is = |yes: bool, name: &'static str| yes.then_some(name);
        is(self.is_arm(), UEFI)
            // What the cloud takes unless it is told.
            .or_else(|| is(self.bios_starts(), BIOS))
            .or_else(|| is(efi.is_some_and(|efi| efi.starts()), UEFI))
            .or_else(|| is(efi.is_some_and(|efi| efi.has_loader()), UEFI))
            .or_else(|| is(self.bios_is_meant(), BIOS))
    }

    /// Every firmware that the disk is made for and that finds a boot loader.
    pub(crate) fn firmwares(&self) -> Vec<&'static str> {
        let mut firmwares = Vec::new();
        // ARM machines have UEFI only.
        if self.bios_starts() && !self.is_arm() {
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

    /// The disk is made for a BIOS, whether or not one starts it.
    fn bios_is_meant(&self) -> bool {
        let table = self.table.as_ref();
        let meant = |bios: &Bios| table.is_some_and(|table| bios.is_meant(table));
        self.known_bios().is_some_and(meant)
    }

    /// The disk has something for a BIOS, whether or not it is whole.
    fn bios_has_code(&self) -> bool {
        let code = |bios: &Bios| bios.code != Code::None;
        self.bios_is_meant() && self.known_bios().is_some_and(code)
    }
}

/// Rules about the firmware.
pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "boot-none",
        severity: Severity::WillNotBoot,
        source: Source::Vendor,
        cite: "Image Management Service API, constraints of image files",
        text: "There is neither a boot loader for UEFI on the disk nor anything that a BIOS \
               starts.",
        remedy: super::bios::REINSTALL,
        check: none,
    },
    Rule {
        id: "boot-firmware-mismatch",
        severity: Severity::WillNotBoot,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0161870891, 0290353431",
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
    // ARM machines have UEFI only.
    let bios = facts.bios_has_code() && !facts.is_arm();
    if known && !facts.wanted.data_disk && !efi.has_loader() && !bios {
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
        BIOS => (UEFI, efi.has_loader() && !facts.bios_has_code()),
        _ => (BIOS, facts.bios_has_code() && !efi.has_loader()),
    };
    if found {
        let text = format!("{wanted} is asked for; the disk starts with {only}");
        judgement.found(Severity::WillNotBoot, Seen::at("whole disk").with(text));
        judgement.note(format!("Ask for {only}."));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Os;
    use crate::start::efi::{Efi, EfiFile, Esp, Fallback};
    use diskimg::partitions::{BootMode, Partition, PartitionTable, Scheme};

    /// A disk with an active partition, code in its first sector or none, and a loader for UEFI, as
    /// the fallback or not.
    fn facts(code: Code, loader: bool, fallback: bool) -> Facts {
        let file = |directory: &str| EfiFile {
            directory: directory.into(),
            name: "bootx64.efi".into(),
            path: String::new(),
        };
        let fallback = fallback.then(|| Fallback {
            file: file("boot"),
            shim: Ok(false),
        });
        let esp = Esp {
            files: if loader {
                vec![file("debian")]
            } else {
                Vec::new()
            },
            fallbacks: fallback.into_iter().collect(),
            ..Esp::default()
        };
        let partition = Partition {
            number: 1,
            start: 1 << 20,
            size: 1 << 20,
            kind: "",
            type_id: "0x83".into(),
            label: None,
            uuid: None,
            bootable: true,
            attributes: 0,
            content: None,
        };
        Facts {
            bios: Some(Ok(Bios {
                code,
                active: vec![1],
                active_starts: true,
            })),
            efi: Some(Efi {
                partitions: vec![esp],
                ..Efi::default()
            }),
            table: Some(PartitionTable {
                scheme: Scheme::Mbr,
                sector_size: 512,
                id: None,
                entries: vec![partition],
                content: None,
                boot: BootMode::Unknown,
                boot_reason: String::new(),
                warnings: Vec::new(),
                least_size: 0,
                boot_code: true,
            }),
            ..Facts::default()
        }
    }

    fn broken(facts: &Facts) -> Vec<&'static str> {
        let broken = |rule: &&Rule| !rule.judge(facts).0.is_empty();
        RULES.iter().filter(broken).map(|rule| rule.id).collect()
    }

    #[test]
    fn the_firmware_is_the_one_that_an_import_asks_for() {
        for (code, loader, fallback, firmware, all) in [
            (
                Code::Generic,
                true,
                true,
                Some("bios"),
                vec!["bios", "uefi"],
            ),
            (
                Code::Generic,
                true,
                false,
                Some("bios"),
                vec!["bios", "uefi"],
            ),
            (Code::None, true, true, Some("uefi"), vec!["uefi"]),
            (Code::None, true, false, Some("uefi"), vec!["uefi"]),
            (Code::None, false, false, Some("bios"), vec![]),
        ] {
            let mut facts = facts(code, loader, fallback);
            assert_eq!((facts.firmware(), facts.firmwares()), (firmware, all));
            facts.os = Some(Os {
                arch: Some("aarch64".into()),
                ..Os::default()
            });
            assert_eq!(facts.firmware(), Some("uefi"));
            assert!(!facts.firmwares().contains(&"bios"));
        }
    }

    #[test]
    fn a_disk_without_any_loader_does_not_boot_unless_it_holds_data() {
        let mut facts = facts(Code::None, false, false);
        assert_eq!(broken(&facts), ["boot-none"]);
        facts.wanted.data_disk = true;
        assert!(broken(&facts).is_empty());
        if let Some(efi) = &mut facts.efi {
            efi.failed = Some("damaged".into());
        }
        facts.wanted.data_disk = false;
        assert!(broken(&facts).is_empty());
        assert!(RULES[0].judge(&facts).1.is_some());
    }

    #[test]
    fn what_a_bios_starts_is_no_loader_for_arm() {
        let mut facts = facts(Code::Generic, false, false);
        assert!(broken(&facts).is_empty());
        facts.os = Some(Os {
            arch: Some("aarch64".into()),
            ..Os::default()
        });
        assert_eq!(broken(&facts), ["boot-none"]);
    }

    #[test]
    fn the_firmware_that_is_asked_for_has_to_suit_the_disk() {
        for (code, loader, wanted, is_broken) in [
            (Code::Generic, false, "uefi", true),
            (Code::Generic, true, "uefi", false),
            (Code::None, true, "bios", true),
            (Code::Generic, true, "bios", false),
        ] {
            let mut facts = facts(code, loader, false);
            facts.wanted.firmware = Some(wanted.into());
            assert_eq!(!broken(&facts).is_empty(), is_broken, "{wanted}");
        }
    }
}
