//! What is enough to mend a broken rule without starting the guest.

use serde::Serialize;

/// What mends a broken rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MendedBy {
    /// Its user, in the guest.
    User,
    /// Also a tool that changes the guest's files on the disk and runs the guest's own programs.
    Tool,
    /// Also an edit of a few bytes of the disk on its way.
    Edit,
}

/// Rules that an edit mends: it turns lines about other disks and other network cards into
/// comments, or copies a loader on a FAT.
const EDIT: &[&str] = &[
    "boot-efi-fallback-broken",
    "boot-efi-no-fallback",
    "boot-resume",
    "linux-fstab-network",
    "linux-fstab-other-disk",
    "linux-lvm-devices-file",
    "linux-net-mac",
    "linux-net-udev-rules",
    "linux-swap-other-disk",
];

/// Rules that a tool mends.
const TOOL: &[&str] = &[
    "boot-efi-config-lost",
    "boot-entry-broken",
    "boot-grub-core",
    "boot-mbr-code",
    "boot-no-serial-console",
    "boot-root-by-name",
    "boot-root-unresolved",
    "boot-timeout",
    "linux-agents-identity",
    "linux-clock",
    "linux-clone-identity",
    "linux-cloud-init-datasource",
    "linux-cloud-init-disabled",
    "linux-cloud-init-missing",
    "linux-cloud-init-old",
    "linux-cloud-init-state",
    "linux-foreign-agent",
    "linux-fstab-broken",
    "linux-fstab-by-name",
    "linux-growpart",
    "linux-initramfs-net-rules",
    "linux-initramfs-root-stack",
    "linux-logs",
    "linux-lvm-filter",
    "linux-md-conf",
    "linux-multipath",
    "linux-net-lease",
    "linux-net-name",
    "linux-net-none",
    "linux-net-static",
    "linux-net-zeroconf",
    "linux-no-kernel",
    "linux-no-login",
    "linux-nologin",
    "linux-password-expired",
    "linux-pv-driver",
    "linux-qemu-ga",
    "linux-root-password",
    "linux-sshd",
    "linux-sshd-config",
    "linux-sshd-hostkeys",
    "linux-virtio-initramfs",
    "linux-virtio-net",
    "linux-virtio-scsi",
    "linux-vmware-tools",
    "linux-xen-drivers",
    "linux-xorg",
    "windows-cloudbase-init",
    "windows-fast-startup",
    "windows-foreign-tools",
    "windows-pagefile",
    "windows-rdp",
    "windows-rtc",
    "windows-san-policy",
    "windows-storage-filter",
    "windows-virtio-block",
    "windows-virtio-block-binding",
    "windows-virtio-block-start",
    "windows-virtio-net",
    "windows-virtio-scsi",
];

/// What mends the rule `id`.
pub(crate) fn mended_by(id: &str) -> MendedBy {
    if EDIT.contains(&id) {
        MendedBy::Edit
    } else if TOOL.contains(&id) {
        MendedBy::Tool
    } else {
        MendedBy::User
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_in_the_lists_is_that_of_a_rule_and_stands_there_once() {
        let mut listed: Vec<&str> = EDIT.iter().chain(TOOL).copied().collect();
        for id in &listed {
            assert!(crate::rules().any(|rule| rule.id == *id), "{id}");
        }
        let all = listed.len();
        listed.sort_unstable();
        listed.dedup();
        assert_eq!(listed.len(), all);
    }
}
