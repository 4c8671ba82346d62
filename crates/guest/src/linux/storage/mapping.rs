//! Rules about LVM, multipath, arrays and growing.

#[cfg(test)]
mod tests;

use super::Storage;
use super::lvm::{KnownDevice, known_devices};
use super::place::{is_multipath, mapping};
use crate::linux::source::{Source as File, files};
use crate::linux::units::State;
use crate::linux::version::numbers;
use crate::volume::{Content, Stack, Volume};
use crate::{Facts, Judgement, Remedy, Rule, Seen, Severity, Source};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "linux-lvm-root",
        severity: Severity::Advice,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0030713198",
        text: "The root is on LVM, where the cloud cannot inject files: passwords and keys reach the \
               server by cloud-init or not at all.",
        remedy: Remedy::NONE,
        check: lvm_root,
    },
    Rule {
        id: "linux-lvm-devices-file",
        severity: Severity::WillNotBoot,
        source: Source::Peer,
        cite: "lvmdevices(8)",
        text: "LVM looks only at devices in its devices file, and the file knows this disk by an \
               identity that the old hypervisor gave it. In the cloud LVM does not find the volume \
               group.",
        remedy: Remedy {
            red_hat: &[
                "mv /etc/lvm/devices/system.devices /etc/lvm/devices/system.devices.old",
                "dracut -f --regenerate-all",
            ],
            suse: &[
                "mv /etc/lvm/devices/system.devices /etc/lvm/devices/system.devices.old",
                "dracut -f --regenerate-all",
            ],
            debian: &[
                "mv /etc/lvm/devices/system.devices /etc/lvm/devices/system.devices.old",
                "update-initramfs -u -k all",
            ],
            linux: &["mv /etc/lvm/devices/system.devices /etc/lvm/devices/system.devices.old"],
            ..Remedy::NONE
        },
        check: devices_file,
    },
    Rule {
        id: "linux-lvm-filter",
        severity: Severity::WillNotBoot,
        source: Source::Peer,
        cite: "lvm.conf(5)",
        text: "A filter in LVM's configuration accepts no name that the disk has in the cloud, so LVM \
               does not find the volume group.",
        remedy: Remedy {
            red_hat: &["sed -i '{lines}' {file}", "dracut -f --regenerate-all"],
            debian: &["sed -i '{lines}' {file}", "update-initramfs -u -k all"],
            suse: &["sed -i '{lines}' {file}", "dracut -f"],
            linux: &["sed -i '{lines}' {file}"],
            ..Remedy::NONE
        },
        check: filter,
    },
    Rule {
        id: "linux-multipath",
        severity: Severity::Degraded,
        source: Source::Peer,
        cite: "multipath.conf(5)",
        text: "The guest reaches its disk by multipath. The cloud's disk has one path and another \
               identity, so the mapping may not appear.",
        remedy: Remedy {
            red_hat: &[
                "mpathconf --disable",
                "rm -f /etc/multipath/wwids",
                "dracut -f --omit multipath",
            ],
            debian: &["apt purge multipath-tools-boot"],
            suse: &["systemctl disable multipathd", "dracut -f"],
            ..Remedy::NONE
        },
        check: multipath,
    },
    Rule {
        id: "linux-md-conf",
        severity: Severity::Advice,
        source: Source::Peer,
        cite: "mdadm.conf(5)",
        text: "mdadm's configuration names devices that have other names in the cloud. UUIDs work \
               everywhere: the lines that the first command prints have them.",
        remedy: Remedy {
            linux: &["mdadm --detail --scan", "vi {files}"],
            ..Remedy::NONE
        },
        check: arrays,
    },
    Rule {
        id: "linux-growpart",
        severity: Severity::Advice,
        source: Source::Peer,
        cite: "Alibaba Cloud, image check items",
        text: "Nothing enlarges the root when a server gets a larger system disk.",
        remedy: Remedy {
            red_hat: &["yum install cloud-utils-growpart"],
            debian: &["apt install cloud-guest-utils"],
            suse: &["zypper install growpart"],
            ..Remedy::NONE
        },
        check: growpart,
    },
];

fn storage(facts: &Facts) -> Option<&Storage> {
    facts.configured().map(|config| &config.storage)
}

/// The volume with the root, when it is a logical one, and its group.
fn root_group(facts: &Facts) -> Option<(&Volume, &str)> {
    let root = facts.volumes.get(facts.root?)?;
    match &root.stack {
        Stack::Logical { group, .. } => Some((root, group)),
        Stack::Plain | Stack::Array { .. } => None,
    }
}

fn lvm_root(facts: &Facts, judgement: &mut Judgement) {
    if let Some((root, _)) = root_group(facts).filter(|_| facts.configured().is_some()) {
        judgement.found(Severity::Advice, Seen::at(root.name()));
    }
}

fn devices_file(facts: &Facts, judgement: &mut Judgement) {
    let Some(lvm) = storage(facts).and_then(|storage| judgement.known(&storage.lvm)) else {
        return;
    };
    if !lvm.uses_devices.unwrap_or_else(|| uses_devices_file(facts)) {
        return;
    }
    let packed = packed_devices(facts);
    for device in lvm.devices.iter().chain(&packed) {
        let travels =
            !["sys_wwid", "sys_serial", "mpath_uuid", "devname"].contains(&device.id_type.as_str());
        if travels {
            continue;
        }
        let severity = match group_of(device, facts) {
            Some(is_root) if !is_root => Severity::Degraded,
            _ if root_group(facts).is_some() => Severity::WillNotBoot,
            _ => Severity::Degraded,
        };
        judgement.found(severity, device.seen.clone());
    }
}

/// The devices file in the initramfs of the kernel that starts by itself.
fn packed_devices(facts: &Facts) -> Vec<KnownDevice> {
    let boot = facts.linux_boot.as_ref();
    let Some(kernel) = boot.and_then(|boot| boot.kernel()) else {
        return Vec::new();
    };
    let (Some(path), Some(Ok(inside))) = (&kernel.initramfs, &kernel.inside) else {
        return Vec::new();
    };
    let name = b"etc/lvm/devices/system.devices".as_slice();
    let Some(content) = inside.files.get(name) else {
        return Vec::new();
    };
    let path = [path.as_slice(), b": ", name].concat();
    known_devices(&File::new(path, content.clone()))
}

/// Whether the physical volume of `device` is of the root's group; `None` when it is not known.
fn group_of(device: &KnownDevice, facts: &Facts) -> Option<bool> {
    let root = root_group(facts).map(|(_, group)| group);
    facts.volumes.iter().find_map(|volume| {
        let Content::PhysicalVolume(Some(group)) = &volume.content else {
            return None;
        };
        let uuid = volume.uuid.as_deref()?.replace('-', "");
        (uuid == device.volume).then_some(Some(group.as_str()) == root)
    })
}

/// Whether LVM of this system uses a devices file when its configuration does not say.
fn uses_devices_file(facts: &Facts) -> bool {
    let Some(os) = &facts.os else {
        return false;
    };
    let since = match os.id.to_ascii_lowercase().as_str() {
        "rhel" | "centos" | "rocky" | "almalinux" | "ol" => 9,
        "fedora" => 35,
        _ => return false,
    };
    os.version
        .as_deref()
        .and_then(|version| numbers(version).first().copied())
        .is_some_and(|major| major >= since)
}

fn filter(facts: &Facts, judgement: &mut Judgement) {
    let Some((_, group)) = root_group(facts) else {
        return;
    };
    let Some(lvm) = storage(facts).and_then(|storage| judgement.known(&storage.lvm)) else {
        return;
    };
    let is_needed = |volume: &&Volume| matches!(&volume.content, Content::PhysicalVolume(Some(of)) if of == group);
    let devices: Vec<Vec<String>> = facts
        .volumes
        .iter()
        .filter(is_needed)
        .map(names_of)
        .collect();
    let mut lines = Vec::new();
    let mut file: Option<&Seen> = None;
    for filter in &lvm.filters {
        let verdict: Result<Vec<bool>, String> =
            devices.iter().map(|names| filter.accepts(names)).collect();
        match judgement.derived(verdict) {
            Some(accepted) if accepted.contains(&false) => {
                judgement.found(Severity::WillNotBoot, filter.seen.clone());
                let first = *file.get_or_insert(&filter.seen);
                if let (true, Some(line)) = (first.path == filter.seen.path, filter.seen.line) {
                    lines.push(format!("{line},{}s/^/#/", filter.end));
                }
            }
            _ => {}
        }
    }
    judgement.value("lines", lines.join(";"));
    judgement.value("file", files(file));
}

/// The names that a physical volume has in the cloud.
fn names_of(volume: &Volume) -> Vec<String> {
    let by = |kind: &str, name: &str| format!("/dev/disk/{kind}/{name}");
    let mut names = match &volume.stack {
        Stack::Plain => {
            let number = volume.partition.map(|number| number.to_string());
            vec![format!("/dev/vda{}", number.unwrap_or_default())]
        }
        // An array is assembled under one of these.
        Stack::Array { uuid, .. } => {
            let id = by("by-id", &format!("md-uuid-{uuid}"));
            vec!["/dev/md0".to_owned(), "/dev/md127".to_owned(), id]
        }
        Stack::Logical { group, name, .. } => vec![format!("/dev/{group}/{name}")],
    };
    // The name that udev makes of the physical volume's own UUID.
    let uuid = volume.uuid.iter();
    names.extend(uuid.map(|id| by("by-id", &format!("lvm-pv-uuid-{id}"))));
    let partition = volume.partuuid.iter();
    names.extend(partition.map(|id| by("by-partuuid", id)));
    let label = volume.partlabel.iter();
    names.extend(label.map(|label| by("by-partlabel", label)));
    names
}

fn multipath(facts: &Facts, judgement: &mut Judgement) {
    let Some(config) = facts.configured() else {
        return;
    };
    let boot = facts.linux_boot.as_ref().and_then(|boot| boot.entry());
    if let Some(entry) = boot {
        let root = entry.command_line.value("root").and_then(mapping);
        if root.is_some_and(is_multipath) {
            judgement.found(Severity::Degraded, entry.seen());
        }
    }
    if let Some(Some(table)) = judgement.known(&config.storage.fstab) {
        for entry in &table.entries {
            if mapping(&entry.spec).is_some_and(is_multipath) {
                judgement.found(Severity::Degraded, entry.seen());
            }
        }
    }
    for wwid in judgement.known(&config.storage.wwids).into_iter().flatten() {
        judgement.found(Severity::Degraded, wwid.clone());
    }
    let Some(units) = judgement.known(&config.units) else {
        return;
    };
    if units.state("multipathd") == State::Enabled {
        // Some distributions enable it without setting it up, Ubuntu's servers even with a file.
        let is_ubuntu = facts.os.as_ref().is_some_and(|os| os.id == "ubuntu");
        let severity = match judgement.known(&config.storage.multipath) {
            Some(Some(_)) if !is_ubuntu => Severity::Degraded,
            _ => Severity::Advice,
        };
        if let Some(seen) = units.seen(&["multipathd"]) {
            judgement.found(severity, seen);
        }
    }
}

fn arrays(facts: &Facts, judgement: &mut Judgement) {
    let Some(lines) = storage(facts).and_then(|storage| judgement.known(&storage.arrays)) else {
        return;
    };
    judgement.value("files", files(lines));
    for line in lines {
        judgement.found(Severity::Advice, line.clone());
    }
}

fn growpart(facts: &Facts, judgement: &mut Judgement) {
    let Some(grower) = storage(facts).and_then(|storage| judgement.known(&storage.grower)) else {
        return;
    };
    let grows_itself = facts
        .os
        .as_ref()
        .is_some_and(|os| ["flatcar", "coreos"].contains(&os.id.as_str()));
    if grower.is_none() && !grows_itself {
        judgement.found(
            Severity::Advice,
            Seen::at("/usr/bin/growpart").with("missing"),
        );
    }
}
