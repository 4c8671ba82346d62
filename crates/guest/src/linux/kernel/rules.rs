//! Rules about kernels and what their initramfs brings.

mod drivers;
mod known_bad;
mod stack;
mod subject;

use self::subject::kernel;
use super::Kernel;
use crate::linux::boot::rules::boot;
use crate::linux::version;
use crate::text::printable;
use crate::{Facts, Judgement, Remedy, Rule, Seen, Severity, Source};

/// The oldest kernel that can be a guest of KVM.
const OLDEST: &[u64] = &[2, 6, 25];

/// Virtio into the initramfs of releases before dracut was as it is.
const OLD_VIRTIO: &[&str] = &[
    "mkinitrd -f --with=virtio_pci --with=virtio_blk --with=virtio_scsi --with=virtio_net \\
     {initramfs} {version}",
];
/// SUSE's list of modules for the initramfs.
const OLD_VIRTIO_SUSE: &[&str] = &[
    "sed -i 's/^INITRD_MODULES=\"/&virtio_pci virtio_blk virtio_scsi virtio_net /' \\
     /etc/sysconfig/kernel",
    "mkinitrd",
];
const OLD_ANEW: &[&str] = &["mkinitrd -f {initramfs} {version}"];
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
    old_red_hat: OLD_VIRTIO,
    old_suse: OLD_VIRTIO_SUSE,
    ..Remedy::NONE
};
/// The initramfs anew, with what the root needs.
const ANEW: Remedy = Remedy {
    red_hat: &["dracut -f --regenerate-all"],
    debian: &["update-initramfs -u -k all"],
    suse: &["dracut -f --regenerate-all"],
    old_red_hat: OLD_ANEW,
    old_suse: &["mkinitrd"],
    ..Remedy::NONE
};
/// A kernel that fits.
const ANOTHER: Remedy = Remedy {
    red_hat: &["yum install kernel"],
    debian: &["apt install linux-image-amd64 || apt install linux-generic"],
    suse: &["zypper install kernel-default"],
    ..Remedy::NONE
};
/// A newer kernel.
const NEWER: Remedy = Remedy {
    red_hat: &["yum update kernel"],
    debian: &["apt update && apt full-upgrade"],
    suse: &["zypper update kernel-default"],
    ..Remedy::NONE
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
        check: drivers::missing,
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
        check: drivers::initramfs,
    },
    Rule {
        id: "linux-virtio-scsi",
        severity: Severity::Advice,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0000001120952155",
        text: "virtio_scsi is not at hand when the system starts. Some flavors, and system disks \
               of type SCSI, need it.",
        remedy: VIRTIO,
        check: drivers::scsi,
    },
    Rule {
        id: "linux-virtio-net",
        severity: Severity::NoNetwork,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0000001120952155",
        text: "The driver for the cloud's network, virtio_net, is missing or kept from being \
               loaded.",
        remedy: VIRTIO,
        check: drivers::net,
    },
    Rule {
        id: "linux-initramfs-root-stack",
        severity: Severity::WillNotBoot,
        source: Source::Peer,
        cite: "dracut(8), initramfs-tools(7)",
        text: "The initramfs does not bring what the root lies on.",
        remedy: ANEW,
        check: stack::stack,
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
            linux: &["rm -f /etc/udev/rules.d/*persistent*net*"],
            old_red_hat: &[
                "rm -f /etc/udev/rules.d/*persistent*net*",
                "mkinitrd -f {initramfs} {version}",
            ],
            old_suse: &["rm -f /etc/udev/rules.d/*persistent*net*", "mkinitrd"],
            ..Remedy::NONE
        },
        check: stack::net_rules,
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
            old_red_hat: &[
                "mkinitrd -f --with=xen-blkfront --with=xen-netfront {initramfs} {version}",
            ],
            old_suse: &[
                "sed -i 's/^INITRD_MODULES=\"/&xen-blkfront xen-netfront /' /etc/sysconfig/kernel",
                "mkinitrd",
            ],
            ..Remedy::NONE
        },
        check: drivers::xen_drivers,
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

#[cfg(test)]
mod tests;
