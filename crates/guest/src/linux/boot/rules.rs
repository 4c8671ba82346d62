//! Rules about boot entries and command lines.

use super::entry::{BootFile, Entry};
use crate::linux::boot::LinuxBoot;
use crate::linux::source::files;
use crate::volume::{Device, Stack, Volume, find};
use crate::{Facts, Judgement, Remedy, Rule, Seen, Severity, Source};

/// Longer waits are worth a word.
const PATIENCE: u64 = 10;

const ENTRY: Remedy = Remedy {
    red_hat: &["grub2-mkconfig -o /boot/grub2/grub.cfg"],
    old_red_hat: &["vi {menu}"],
    debian: &["update-grub"],
    suse: &["grub2-mkconfig -o /boot/grub2/grub.cfg"],
    old_suse: &["vi {menu}"],
    linux: &["vi {menu}"],
    ..Remedy::NONE
};
const OLD_ROOT: &[&str] = &["sed -i 's|root=[^ ]*|root=UUID={root}|' {menu}"];
const ROOT_BY_UUID: Remedy = Remedy {
    red_hat: &[
        "sed -i 's/^GRUB_DISABLE_UUID=.*//; s/ *root=[^ \"]*//' /etc/default/grub",
        "grub2-mkconfig -o /boot/grub2/grub.cfg",
        "grubby --update-kernel=ALL --args=root=UUID=$(findmnt -no UUID /)",
    ],
    old_red_hat: OLD_ROOT,
    debian: &[
        "sed -i 's/^GRUB_DISABLE_LINUX_UUID=.*//' /etc/default/grub",
        "update-grub",
    ],
    suse: &[
        "sed -i 's/^GRUB_DISABLE_LINUX_UUID=.*//; s/ *root=[^ \"]*//' /etc/default/grub",
        "grub2-mkconfig -o /boot/grub2/grub.cfg",
    ],
    old_suse: OLD_ROOT,
    linux: OLD_ROOT,
    ..Remedy::NONE
};
const OLD_RESUME: &[&str] = &["sed -i 's/ resume=[^ ]*//' {menu}"];
const OLD_CONSOLE: &[&str] =
    &["sed -i '/^[[:space:]]*kernel /s/$/ console=tty0 console={console}/' {menu}"];
const OLD_TIMEOUT: &[&str] = &["sed -i 's/^timeout.*/timeout 5/' {menu}"];

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "boot-entry-broken",
        severity: Severity::WillNotBoot,
        source: Source::Peer,
        cite: "GRUB manual, Configuration; Boot Loader Specification",
        text: "A boot entry names a kernel or an initramfs that is not on the disk.",
        remedy: ENTRY,
        check: broken,
    },
    Rule {
        id: "boot-root-by-name",
        severity: Severity::WillNotBoot,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0086020895 and 0034220644",
        text: "The kernel is told its root by a device name. The cloud's machine gives the disk \
               another name, and the old one's serial number does not travel.",
        remedy: ROOT_BY_UUID,
        check: by_name,
    },
    Rule {
        id: "boot-root-unresolved",
        severity: Severity::WillNotBoot,
        source: Source::Peer,
        cite: "harvester/harvester#6466",
        text: "The kernel is told to wait for a volume that is not on this disk.",
        remedy: ROOT_BY_UUID,
        check: unresolved,
    },
    Rule {
        id: "boot-resume",
        severity: Severity::Degraded,
        source: Source::Peer,
        cite: "initramfs-tools(7), dracut.cmdline(7)",
        text: "The system is to resume from a volume that is not here. Each start waits 30 to 90 \
               seconds for it.",
        remedy: Remedy {
            red_hat: &["grubby --update-kernel=ALL --remove-args=resume"],
            debian: &[
                "echo RESUME=none > /etc/initramfs-tools/conf.d/resume",
                "update-initramfs -u",
            ],
            suse: &[
                "sed -i 's/ *resume=[^ \"]*//' /etc/default/grub",
                "grub2-mkconfig -o /boot/grub2/grub.cfg",
            ],
            old_red_hat: OLD_RESUME,
            old_suse: OLD_RESUME,
            linux: OLD_RESUME,
            ..Remedy::NONE
        },
        check: resume,
    },
    Rule {
        id: "boot-no-serial-console",
        severity: Severity::Advice,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0057450886",
        text: "The kernel does not write to the serial console, so the console log that the cloud \
               shows stays empty.",
        remedy: Remedy {
            red_hat: &["grubby --update-kernel=ALL --args='console=tty0 console={console}'"],
            debian: &[
                "sed -i 's/^GRUB_CMDLINE_LINUX=\"/&console=tty0 console={console} /' \
                 /etc/default/grub",
                "update-grub",
            ],
            suse: &[
                "sed -i 's/^GRUB_CMDLINE_LINUX=\"/&console=tty0 console={console} /' \
                 /etc/default/grub",
                "grub2-mkconfig -o /boot/grub2/grub.cfg",
            ],
            old_red_hat: OLD_CONSOLE,
            old_suse: OLD_CONSOLE,
            linux: &["vi {menu}"],
            ..Remedy::NONE
        },
        check: console,
    },
    Rule {
        id: "boot-timeout",
        severity: Severity::Advice,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0117142739",
        text: "The boot loader waits for more than ten seconds at each start.",
        remedy: Remedy {
            red_hat: &[
                "sed -i 's/^GRUB_TIMEOUT=.*/GRUB_TIMEOUT=5/' /etc/default/grub",
                "grub2-mkconfig -o /boot/grub2/grub.cfg",
            ],
            debian: &[
                "sed -i 's/^GRUB_TIMEOUT=.*/GRUB_TIMEOUT=5/' /etc/default/grub",
                "update-grub",
            ],
            suse: &[
                "sed -i 's/^GRUB_TIMEOUT=.*/GRUB_TIMEOUT=5/' /etc/default/grub",
                "grub2-mkconfig -o /boot/grub2/grub.cfg",
            ],
            old_red_hat: OLD_TIMEOUT,
            old_suse: OLD_TIMEOUT,
            linux: &["vi {menu}"],
            ..Remedy::NONE
        },
        check: timeout,
    },
];

/// How the Linux starts that is imported, if it is one.
pub(crate) fn boot(facts: &Facts) -> Option<&LinuxBoot> {
    facts
        .linux_boot
        .as_ref()
        .filter(|_| !facts.wanted.data_disk)
}

/// The default entry; the rule is unknown without one.
fn entry<'a>(facts: &'a Facts, judgement: &mut Judgement) -> Option<&'a Entry> {
    let boot = boot(facts)?;
    let entries = judgement.known(&boot.entries)?;
    let entry = boot.entry();
    if entries.is_empty() {
        judgement.unknown("no boot menu was found that can be read");
    } else if entry.is_none() {
        judgement.unknown("which boot entry starts by itself is not known");
    }
    if let Some(entry) = entry {
        let root = facts.root.and_then(|root| facts.volumes.get(root));
        let uuid = root.and_then(|root| root.uuid.as_deref());
        judgement.word("root", uuid.unwrap_or_default(), "UUID-OF-ROOT");
        judgement.value("menu", files([&entry.seen()]));
    }
    entry
}

fn broken(facts: &Facts, judgement: &mut Judgement) {
    let Some(boot) = boot(facts) else {
        return;
    };
    let entries = judgement.known(&boot.entries).map(Vec::as_slice);
    for (index, entry) in entries.unwrap_or_default().iter().enumerate() {
        let severity = if boot.default == Some(index) {
            Severity::WillNotBoot
        } else {
            Severity::Advice
        };
        let named = entry.kernel.iter().chain(&entry.initrds);
        for file in named
            .chain(&entry.hypervisor)
            .filter(|file| file.path.is_none())
        {
            judgement.value("menu", files([&entry.seen()]));
            judgement.found(severity, missing(entry, file));
        }
    }
}

fn missing(entry: &Entry, file: &BootFile) -> Seen {
    Seen::line(&entry.path, file.line, &file.written)
}

fn by_name(facts: &Facts, judgement: &mut Judgement) {
    let Some(entry) = entry(facts, judgement) else {
        return;
    };
    let root = entry.command_line.value("root").unwrap_or_default();
    match Device::parse(root) {
        Device::Name { driver, .. } if driver == "vd" => {
            judgement
                .note("Its name fits servers whose system disk is on virtio-blk, and no others.");
            judgement.found(Severity::Advice, entry.seen());
        }
        Device::Name { .. } | Device::Hardware => {
            judgement.found(Severity::WillNotBoot, entry.seen());
        }
        _ => {}
    }
}

/// What is known of a device.
enum Presence {
    Here,
    Gone,
    /// It may be where nothing could be read, for this reason.
    Hidden(String),
}

/// Whether the volume that `device` means is on this disk; of names by drivers it always is.
fn presence(device: &Device, volumes: &[Volume]) -> Presence {
    match device {
        Device::Uuid(_)
        | Device::Label(_)
        | Device::PartUuid(_)
        | Device::PartLabel(_)
        | Device::Logical { .. }
            if find(device, volumes).is_none() => {}
        _ => return Presence::Here,
    }
    let by_partition = matches!(device, Device::PartUuid(_) | Device::PartLabel(_));
    let hidden = match by_partition {
        true => None,
        false => volumes.iter().find_map(Volume::hides_names),
    };
    hidden.map_or(Presence::Gone, Presence::Hidden)
}

fn unresolved(facts: &Facts, judgement: &mut Judgement) {
    let Some(entry) = entry(facts, judgement) else {
        return;
    };
    let line = &entry.command_line;
    let mut devices: Vec<Device> = ["root", "mount.usr"]
        .iter()
        .filter_map(|name| line.value(name))
        .map(Device::parse)
        .collect();
    devices.extend(line.values("rd.lvm.lv").filter_map(|value| {
        let text = String::from_utf8_lossy(value);
        let (group, name) = text.split_once('/')?;
        Some(Device::Logical {
            group: group.to_owned(),
            name: name.to_owned(),
        })
    }));
    for device in &devices {
        match presence(device, &facts.volumes) {
            Presence::Here => {}
            Presence::Gone => judgement.found(Severity::WillNotBoot, entry.seen()),
            Presence::Hidden(reason) => judgement.unknown(reason),
        }
    }
    let arrays = line.values("rd.md.uuid").map(hex);
    let others = line.values("rd.luks.uuid").map(|value| {
        let value = value.strip_prefix(b"luks-").unwrap_or(value);
        hex(value)
    });
    for wanted in arrays.chain(others) {
        let here = facts.volumes.iter().any(|volume| {
            let array = match &volume.stack {
                Stack::Array { uuid, .. } => Some(uuid),
                _ => None,
            };
            let ids = volume.uuid.iter().chain(array);
            // The beginning of a LUKS UUID is enough for dracut.
            !wanted.is_empty()
                && ids
                    .into_iter()
                    .any(|id| hex(id.as_bytes()).starts_with(&wanted))
        });
        if !here {
            judgement.found(Severity::WillNotBoot, entry.seen());
        }
    }
}

/// The digits of a UUID, which different tools group differently.
fn hex(text: &[u8]) -> Vec<u8> {
    text.iter()
        .filter(|byte| byte.is_ascii_hexdigit())
        .map(u8::to_ascii_lowercase)
        .collect()
}

fn resume(facts: &Facts, judgement: &mut Judgement) {
    let Some(entry) = entry(facts, judgement) else {
        return;
    };
    if entry.command_line.has("noresume") {
        return;
    }
    let mut wanted = Vec::new();
    if let Some(value) = entry.command_line.value("resume") {
        wanted.push((Device::parse(value), entry.seen()));
    }
    if let Some(set) = boot(facts).and_then(|boot| judgement.known(&boot.resume)) {
        wanted.extend(set.iter().cloned());
    }
    for (device, seen) in wanted {
        let gone = match &device {
            Device::Name { driver, .. } => {
                driver != "vd" || find(&device, &facts.volumes).is_none()
            }
            Device::Hardware => true,
            device => match presence(device, &facts.volumes) {
                Presence::Here => false,
                Presence::Gone => true,
                Presence::Hidden(reason) => {
                    judgement.unknown(reason);
                    false
                }
            },
        };
        if gone {
            judgement.found(Severity::Degraded, seen);
        }
    }
}

fn console(facts: &Facts, judgement: &mut Judgement) {
    let Some(entry) = entry(facts, judgement) else {
        return;
    };
    let arm = facts.os.as_ref().and_then(|os| os.arch.as_deref()) == Some("aarch64");
    let wanted = if arm { "ttyAMA0" } else { "ttyS0" };
    let written = entry.command_line.values("console").any(|value| {
        let name = value.split(|&byte| byte == b',').next();
        name == Some(wanted.as_bytes())
    });
    if !written {
        judgement.value("console", wanted);
        judgement.found(Severity::Advice, entry.seen());
    }
}

fn timeout(facts: &Facts, judgement: &mut Judgement) {
    let Some(timeout) = boot(facts).and_then(|boot| boot.timeout.as_ref()) else {
        return;
    };
    judgement.value("menu", files([&timeout.seen]));
    match timeout.seconds {
        Some(seconds) if seconds <= PATIENCE => {}
        Some(_) => judgement.found(Severity::Advice, timeout.seen.clone()),
        None => {
            judgement.note("It waits until a key is pressed.");
            judgement.found(Severity::Advice, timeout.seen.clone());
        }
    }
}

#[cfg(test)]
mod tests;
