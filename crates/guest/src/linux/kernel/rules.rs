//! Rules about kernels and what their initramfs brings.

mod known_bad;

use super::{Driver, Kernel};
use crate::known::Known;
use crate::linux::boot::rules::boot;
use crate::linux::version;
use crate::text::printable;
use crate::volume::{Content, FileSystem, Stack};
use crate::{Facts, Judgement, Remedy, Rule, Seen, Severity, Source};

/// The oldest kernel that can be a guest of KVM.
const OLDEST: &[u64] = &[2, 6, 25];

/// Virtio into the initramfs.
const VIRTIO: Remedy = Remedy {
    red_hat: &[
        "echo 'add_drivers+=\" virtio virtio_ring virtio_pci virtio_blk virtio_scsi virtio_net \"' \
         > /etc/dracut.conf.d/50-virtio.conf",
        "dracut -f --kver {version}",
        "lsinitrd /boot/initramfs-{version}.img | grep virtio",
    ],
    debian: &[
        "printf '%s\\n' virtio_pci virtio_blk virtio_scsi virtio_net \
         >> /etc/initramfs-tools/modules",
        "update-initramfs -u -k all",
        "lsinitramfs /boot/initrd.img-{version} | grep virtio",
    ],
    suse: &[
        "echo 'add_drivers+=\" virtio virtio_ring virtio_pci virtio_blk virtio_scsi virtio_net \"' \
         > /etc/dracut.conf.d/50-virtio.conf",
        "dracut -f --regenerate-all",
        "lsinitrd /boot/initrd-{version} | grep virtio",
    ],
    any: &[],
};
/// The initramfs anew, with what the root needs.
const ANEW: Remedy = Remedy {
    red_hat: &["dracut -f --regenerate-all"],
    debian: &["update-initramfs -u -k all"],
    suse: &["dracut -f --regenerate-all"],
    any: &[],
};
/// A kernel that fits.
const ANOTHER: Remedy = Remedy {
    red_hat: &["yum install kernel"],
    debian: &["apt install linux-image-amd64 || apt install linux-generic"],
    suse: &["zypper install kernel-default"],
    any: &[],
};
/// A newer kernel.
const NEWER: Remedy = Remedy {
    red_hat: &["yum update kernel"],
    debian: &["apt update && apt full-upgrade"],
    suse: &["zypper update kernel-default"],
    any: &[],
};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "linux-no-kernel",
        severity: Severity::WillNotBoot,
        source: Source::Vendor,
        cite: "Huawei Cloud, Image Management Service, constraints of image files",
        text: "There is no kernel, or none that a boot entry starts.",
        remedy: ANOTHER,
        check: none,
    },
    Rule {
        id: "linux-xen-only-kernel",
        severity: Severity::WillNotBoot,
        source: Source::Peer,
        cite: "virt-v2v(1)",
        text: "The kernel runs below Xen only. The cloud's machine is KVM.",
        remedy: ANOTHER,
        check: xen_only,
    },
    Rule {
        id: "linux-kernel-too-old",
        severity: Severity::WillNotBoot,
        source: Source::Vendor,
        cite: "Huawei Cloud, Image Management Service, 安装原生的KVM驱动",
        text: "The kernel is older than 2.6.25, which the cloud asks for.",
        remedy: NEWER,
        check: too_old,
    },
    Rule {
        id: "linux-virtio-missing",
        severity: Severity::WillNotBoot,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0000001120952155",
        text: "The kernel has no driver for the cloud's disks: virtio_blk or virtio_pci is neither \
               built in nor installed as a module.",
        remedy: ANOTHER,
        check: missing,
    },
    Rule {
        id: "linux-virtio-initramfs",
        severity: Severity::WillNotBoot,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0000001120952155; systemd/mkosi#56",
        text: "The drivers for the cloud's disks are modules, and the initramfs does not bring \
               them. It was built for the machine that it was built on; in the cloud the root is \
               never found.",
        remedy: VIRTIO,
        check: initramfs,
    },
    Rule {
        id: "linux-virtio-scsi",
        severity: Severity::Advice,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0000001120952155",
        text: "virtio_scsi is not at hand when the system starts. Some flavors, and system disks of \
               type SCSI, need it.",
        remedy: VIRTIO,
        check: scsi,
    },
    Rule {
        id: "linux-virtio-net",
        severity: Severity::NoNetwork,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0000001120952155",
        text: "The driver for the cloud's network, virtio_net, is missing or kept from being loaded.",
        remedy: VIRTIO,
        check: net,
    },
    Rule {
        id: "linux-initramfs-root-stack",
        severity: Severity::WillNotBoot,
        source: Source::Peer,
        cite: "dracut(8), initramfs-tools(7)",
        text: "The initramfs does not bring what the root lies on.",
        remedy: ANEW,
        check: stack,
    },
    Rule {
        id: "linux-initramfs-net-rules",
        severity: Severity::NoNetwork,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0069904570",
        text: "The initramfs holds udev rules that bind network cards to their old addresses, even \
               after they were removed from /etc.",
        remedy: Remedy {
            red_hat: &[
                "rm -f /etc/udev/rules.d/*persistent*net*",
                "dracut -f --regenerate-all",
            ],
            debian: &[
                "rm -f /etc/udev/rules.d/*persistent*net*",
                "update-initramfs -u -k all",
            ],
            suse: &[
                "rm -f /etc/udev/rules.d/*persistent*net*",
                "dracut -f --regenerate-all",
            ],
            any: &["rm -f /etc/udev/rules.d/*persistent*net*"],
        },
        check: net_rules,
    },
    Rule {
        id: "linux-xen-drivers",
        severity: Severity::Advice,
        source: Source::Vendor,
        cite: "Huawei Cloud, Image Management Service, 安装原生的XEN和KVM驱动",
        text: "The drivers for Xen's disks and network, xen-blkfront and xen-netfront, are not at \
               hand when the system starts.",
        remedy: Remedy {
            red_hat: &[
                "echo 'add_drivers+=\" xen-blkfront xen-netfront \"' \
                 > /etc/dracut.conf.d/51-xen.conf",
                "dracut -f --regenerate-all",
            ],
            debian: &[
                "printf '%s\\n' xen-blkfront xen-netfront >> /etc/initramfs-tools/modules",
                "update-initramfs -u -k all",
            ],
            suse: &[
                "echo 'add_drivers+=\" xen-blkfront xen-netfront \"' \
                 > /etc/dracut.conf.d/51-xen.conf",
                "dracut -f --regenerate-all",
            ],
            any: &[],
        },
        check: xen_drivers,
    },
    Rule {
        id: "linux-kernel-known-bad",
        severity: Severity::Advice,
        source: Source::Vendor,
        cite: "Huawei Cloud, Image Management Service, 已知问题",
        text: "The kernel has a fault that the cloud's documents warn of.",
        remedy: NEWER,
        check: known_bad::check,
    },
];

/// The kernel that starts; the rule is unknown without one.
fn kernel<'a>(facts: &'a Facts, judgement: &mut Judgement) -> Option<&'a Kernel> {
    let boot = boot(facts)?;
    let kernels = judgement.known(&boot.kernels)?;
    judgement.known(&boot.entries)?;
    let kernel = boot.kernel();
    // Without any kernel there is a rule that says so.
    if kernel.is_none() && !kernels.is_empty() {
        judgement.unknown("which kernel starts is not known");
    }
    let version = kernel.and_then(|kernel| kernel.version.as_deref());
    judgement.value("version", version.unwrap_or("$(uname -r)"));
    kernel
}

fn none(facts: &Facts, judgement: &mut Judgement) {
    let Some(boot) = boot(facts) else {
        return;
    };
    let Some(kernels) = judgement.known(&boot.kernels) else {
        return;
    };
    if kernels.is_empty() {
        judgement.found(Severity::WillNotBoot, Seen::at("/boot"));
        return;
    }
    let Some(entries) = judgement.known(&boot.entries) else {
        return;
    };
    let starts = |file: &crate::linux::boot::BootFile| file.path.is_some();
    let started = entries
        .iter()
        .any(|entry| entry.kernel.as_ref().is_some_and(starts));
    match entries.first() {
        None => judgement.unknown("no boot menu was found that can be read"),
        Some(first) if !started => {
            judgement.found(Severity::WillNotBoot, Seen::at(&first.path));
        }
        Some(_) => {}
    }
}

fn xen_only(facts: &Facts, judgement: &mut Judgement) {
    let Some(boot) = boot(facts) else {
        return;
    };
    let Some(kernels) = judgement.known(&boot.kernels) else {
        return;
    };
    let all = !kernels.is_empty() && kernels.iter().all(Kernel::is_for_xen_only);
    if all {
        for kernel in kernels {
            judgement.found(Severity::WillNotBoot, Seen::at(&kernel.path));
        }
    } else if let Some(kernel) = boot.kernel()
        && kernel.is_for_xen_only()
        && boot.entry().is_some_and(|entry| entry.hypervisor.is_none())
    {
        judgement.note("Another kernel is installed; make it the default one.");
        judgement.found(Severity::WillNotBoot, Seen::at(&kernel.path));
    }
}

fn too_old(facts: &Facts, judgement: &mut Judgement) {
    let Some(kernel) = kernel(facts, judgement) else {
        return;
    };
    let Some(version) = &kernel.version else {
        judgement.unknown(format!(
            "the version of {} is not known",
            printable(&kernel.path)
        ));
        return;
    };
    let numbers = version::numbers(version);
    if !numbers.is_empty() && numbers.as_slice() < OLDEST {
        judgement.found(Severity::WillNotBoot, Seen::at(&kernel.path).with(version));
    }
}

/// Whether a driver is there when the root is looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AtHand {
    Yes,
    /// It is installed, and the initramfs does not bring it.
    Installed,
    /// It is nowhere.
    Nowhere,
}

fn at_hand(kernel: &Kernel, name: &str) -> Known<AtHand> {
    let driver = kernel.driver(name);
    if driver == Ok(Driver::BuiltIn) || kernel.brings(name) == Ok(true) {
        return Ok(AtHand::Yes);
    }
    let driver = driver?;
    kernel.brings(name)?;
    Ok(match driver {
        Driver::Module => AtHand::Installed,
        Driver::BuiltIn => AtHand::Yes,
        Driver::Missing => AtHand::Nowhere,
    })
}

/// The modules among `names` that are as `wanted`. What could not be told makes the rule unknown.
fn those<'a>(
    kernel: &Kernel,
    names: &[&'a str],
    wanted: &[AtHand],
    judgement: &mut Judgement,
) -> Vec<&'a str> {
    let is_wanted = |name: &&&str| match at_hand(kernel, name) {
        Ok(found) => wanted.contains(&found),
        Err(reason) => {
            judgement.unknown(reason);
            false
        }
    };
    names.iter().filter(is_wanted).copied().collect()
}

fn missing(facts: &Facts, judgement: &mut Judgement) {
    let Some(kernel) = kernel(facts, judgement) else {
        return;
    };
    let names = ["virtio_blk", "virtio_pci"];
    let missing = names.iter().filter(|name| match kernel.driver(name) {
        Ok(driver) => driver == Driver::Missing && kernel.brings(name) != Ok(true),
        Err(reason) => {
            if kernel.brings(name) != Ok(true) {
                judgement.unknown(reason);
            }
            false
        }
    });
    let missing: Vec<&str> = missing.copied().collect();
    if !missing.is_empty() {
        let dir = match &kernel.version {
            Some(version) => Seen::at(format!("/lib/modules/{version}")),
            None => Seen::at(&kernel.path),
        };
        judgement.found(Severity::WillNotBoot, dir.with(missing.join(", ")));
    }
}

/// The initramfs of `kernel`, or the kernel that has none.
fn place(kernel: &Kernel) -> Seen {
    Seen::at(kernel.initramfs.as_ref().unwrap_or(&kernel.path))
}

fn initramfs(facts: &Facts, judgement: &mut Judgement) {
    let Some(kernel) = kernel(facts, judgement) else {
        return;
    };
    let names = ["virtio_blk", "virtio_pci", "virtio_ring", "virtio"];
    let missing = those(kernel, &names, &[AtHand::Installed], judgement);
    if missing.is_empty() {
        return;
    }
    let text = format!("without {}", missing.join(", "));
    judgement.found(Severity::WillNotBoot, place(kernel).with(text));
    let version = kernel.version.as_deref().unwrap_or_default();
    let spare = kernel.spare.as_ref().filter(|(_, inside)| {
        missing
            .iter()
            .all(|name| inside.module(version, name) == Ok(true))
    });
    let others = boot(facts).and_then(|boot| boot.kernels.as_ref().ok());
    let helps = |other: &&Kernel| {
        let here = |name: &&str| at_hand(other, name) == Ok(AtHand::Yes);
        other.path != kernel.path && names.iter().all(here)
    };
    let other = others.into_iter().flatten().find(helps);
    if let Some((path, _)) = spare {
        judgement.note(format!(
            "{} has them; another boot entry starts it.",
            printable(path)
        ));
    } else if let Some(other) = other {
        judgement.note(format!("That of {} has them.", printable(&other.path)));
    }
}

fn scsi(facts: &Facts, judgement: &mut Judgement) {
    let Some(kernel) = kernel(facts, judgement) else {
        return;
    };
    let absent = [AtHand::Installed, AtHand::Nowhere];
    if !those(kernel, &["virtio_scsi"], &absent, judgement).is_empty() {
        judgement.found(Severity::Advice, place(kernel).with("without virtio_scsi"));
    }
}

fn net(facts: &Facts, judgement: &mut Judgement) {
    const NAME: &str = "virtio_net";
    let Some(boot) = boot(facts) else {
        return;
    };
    for seen in judgement.known(&boot.blocked).into_iter().flatten() {
        judgement.found(Severity::NoNetwork, seen.clone());
    }
    let blocks = |name: &str| {
        let line = boot.command_line();
        line.is_some_and(|line| {
            line.values(name).any(|value| {
                value
                    .split(|&byte| byte == b',')
                    .any(|module| module == NAME.as_bytes())
            })
        })
    };
    if let Some(entry) = boot.entry()
        && (blocks("modprobe.blacklist") || blocks("module_blacklist"))
    {
        judgement.found(Severity::NoNetwork, entry.seen());
    }
    let Some(kernel) = kernel(facts, judgement) else {
        return;
    };
    match kernel.driver(NAME) {
        Ok(Driver::Missing) if kernel.brings(NAME) != Ok(true) => {
            let version = kernel.version.as_deref().unwrap_or_default();
            let seen = Seen::at(format!("/lib/modules/{version}")).with(NAME);
            judgement.found(Severity::NoNetwork, seen);
        }
        Ok(_) => {}
        Err(reason) => judgement.unknown(reason),
    }
}

/// What a root needs: modules, and programs of which one is enough.
struct Need {
    module: &'static str,
    programs: &'static [&'static str],
}

fn needs(facts: &Facts) -> Vec<Need> {
    let mut needs = Vec::new();
    let mut need = |module, programs| needs.push(Need { module, programs });
    let Some(volume) = facts.root.and_then(|root| facts.volumes.get(root)) else {
        return needs;
    };
    match &volume.stack {
        Stack::Plain => {}
        Stack::Logical { .. } => need("dm_mod", &["lvm", "lvm.static", "vgchange"]),
        Stack::Array { level, .. } => need(
            match level {
                0 => "raid0",
                1 => "raid1",
                10 => "raid10",
                4..=6 => "raid456",
                _ => "linear",
            },
            &["mdadm"],
        ),
    }
    let root = boot(facts).and_then(|boot| boot.command_line()?.value("root"));
    if root.is_some_and(|root| root.starts_with(b"/dev/mapper/mpath")) {
        need("dm_multipath", &["multipath", "multipathd"]);
    }
    match volume.content {
        Content::FileSystem(FileSystem::Xfs) => need("xfs", &[]),
        Content::FileSystem(FileSystem::Btrfs) => need("btrfs", &[]),
        _ => {}
    }
    needs
}

fn stack(facts: &Facts, judgement: &mut Judgement) {
    let Some(kernel) = kernel(facts, judgement) else {
        return;
    };
    let mut missing: Vec<&str> = Vec::new();
    for Need { module, programs } in needs(facts) {
        let absent = [AtHand::Installed, AtHand::Nowhere];
        missing.extend(those(kernel, &[module], &absent, judgement));
        let inside = match &kernel.inside {
            Some(Ok(inside)) => inside,
            _ => continue,
        };
        match inside.program(programs) {
            Ok(false) => missing.extend(programs.first()),
            Ok(true) => {}
            Err(reason) => judgement.unknown(reason),
        }
    }
    let volume = facts.root.and_then(|root| facts.volumes.get(root));
    if volume.is_some_and(|volume| volume.content == Content::FileSystem(FileSystem::Ext)) {
        missing.extend(ext(kernel, judgement));
    }
    if !missing.is_empty() {
        let text = format!("without {}", missing.join(", "));
        judgement.found(Severity::WillNotBoot, place(kernel).with(text));
    }
}

/// The module for ext file systems, when it is a module and not brought. Old kernels have one for
/// each version of them.
fn ext(kernel: &Kernel, judgement: &mut Judgement) -> Option<&'static str> {
    let mut found = None;
    for name in ["ext4", "ext3"] {
        match at_hand(kernel, name) {
            Ok(AtHand::Yes) => return None,
            Ok(AtHand::Installed) => found = found.or(Some(name)),
            Ok(AtHand::Nowhere) => {}
            Err(reason) => {
                judgement.unknown(reason);
                return None;
            }
        }
    }
    found
}

fn net_rules(facts: &Facts, judgement: &mut Judgement) {
    let Some(kernel) = kernel(facts, judgement) else {
        return;
    };
    let Some(inside) = kernel
        .inside
        .as_ref()
        .and_then(|inside| judgement.known(inside))
    else {
        return;
    };
    for path in inside.files.keys() {
        let name = path.strip_prefix(b"etc/udev/rules.d/".as_slice());
        let has = |word: &[u8]| {
            name.is_some_and(|name| name.windows(word.len()).any(|part| part == word))
        };
        if has(b"persistent") && has(b"net") {
            judgement.found(Severity::NoNetwork, place(kernel).with(path));
        }
    }
    if let Some(reason) = &inside.unread {
        judgement.unknown(reason.clone());
    }
}

fn xen_drivers(facts: &Facts, judgement: &mut Judgement) {
    if !facts.wanted.xen {
        return;
    }
    let Some(kernel) = kernel(facts, judgement) else {
        return;
    };
    let names = ["xen_blkfront", "xen_netfront"];
    let absent = [AtHand::Installed, AtHand::Nowhere];
    let missing = those(kernel, &names, &absent, judgement);
    if !missing.is_empty() {
        let text = format!("without {}", missing.join(", "));
        judgement.found(Severity::Advice, place(kernel).with(text));
    }
}

#[cfg(test)]
mod tests;
