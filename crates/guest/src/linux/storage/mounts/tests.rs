use super::*;
use crate::linux::testing::{facts, judged, on, volume};
use crate::tree::memory::MemoryTree;
use crate::volume::Stack;

/// A disk with a root, `UUID=1`, and swap space, `UUID=2`.
fn mounting(lines: &str) -> Facts {
    let fstab = format!("UUID=1 / ext4 defaults 0 1\n{lines}");
    let mut facts = facts(MemoryTree::new().file("/etc/fstab", fstab));
    facts.volumes = vec![
        volume(Stack::Plain, Content::FileSystem(FileSystem::Ext), "1"),
        volume(Stack::Plain, Content::Swap { hibernated: false }, "2"),
    ];
    facts
}

fn judge(id: &str, lines: &str) -> Option<Severity> {
    let (severity, unknown) = judged(RULES, id, &mounting(lines));
    assert!(!unknown, "{lines}");
    severity
}

#[test]
fn names_of_devices_matter_by_what_is_mounted() {
    let by_name = |lines| judge("linux-fstab-by-name", lines);
    assert_eq!(
        by_name("/dev/sda2 /data ext4\n"),
        Some(Severity::WillNotBoot)
    );
    assert_eq!(
        by_name("/dev/sda2 /data ext4 nofail\n"),
        Some(Severity::Degraded)
    );
    assert_eq!(
        by_name("/dev/sda2 /var ext4 nofail\n"),
        Some(Severity::WillNotBoot)
    );
    assert_eq!(
        by_name("/dev/disk/by-path/x /data ext4\n"),
        Some(Severity::WillNotBoot)
    );
    assert_eq!(by_name("/dev/vda2 /data ext4\n"), Some(Severity::Advice));
    assert_eq!(by_name("/dev/sda2 /data ext4 noauto\n"), None);
    assert_eq!(
        by_name("tmpfs /tmp tmpfs\n/dev/sr0 /cd iso9660 noauto\n"),
        None
    );
}

#[test]
fn what_is_on_no_volume_of_the_disk_is_elsewhere() {
    let elsewhere = |lines| judge("linux-fstab-other-disk", lines);
    assert_eq!(elsewhere("UUID=9 /data xfs\n"), Some(Severity::WillNotBoot));
    assert_eq!(
        elsewhere("LABEL=x /data xfs nofail\n"),
        Some(Severity::Degraded)
    );
    assert_eq!(
        elsewhere("/dev/vg/data /data xfs\n"),
        Some(Severity::WillNotBoot)
    );
    assert_eq!(
        elsewhere("/dev/vdb /data xfs\n"),
        Some(Severity::WillNotBoot)
    );
    assert_eq!(
        elsewhere("/dev/md0 /data xfs\n"),
        Some(Severity::WillNotBoot)
    );
    assert_eq!(
        elsewhere("UUID=9 /data xfs noauto\n"),
        Some(Severity::Degraded)
    );
    assert_eq!(elsewhere("/dev/sr0 /cd iso9660 noauto\n"), None);
    assert_eq!(elsewhere("UUID=9 /data xfs _netdev\n"), None);
    assert_eq!(elsewhere("UUID=9 none swap\n"), None);
    assert_eq!(elsewhere("/data /srv none bind\n"), None);
}

#[test]
fn what_may_be_inside_of_a_closed_volume_is_unknown() {
    let mut facts = mounting("UUID=9 /data xfs\n");
    let encrypted = volume(Stack::Plain, Content::Encrypted("LUKS"), "3");
    facts.volumes.push(encrypted);
    let judged = judged(RULES, "linux-fstab-other-disk", &facts);
    assert_eq!(judged, (None, true));
}

#[test]
fn an_empty_partition_hides_nothing() {
    let mut facts = mounting("UUID=9 /data xfs\n");
    let mut empty = volume(Stack::Plain, Content::Empty, "3");
    empty.uuid = None;
    facts.volumes.push(empty);
    let judged = judged(RULES, "linux-fstab-other-disk", &facts);
    assert_eq!(judged, (Some(Severity::WillNotBoot), false));
}

#[test]
fn a_serial_number_that_many_file_systems_have_tells_none_of_them() {
    let mut facts = mounting("UUID=6E31-0001 /boot/efi vfat\n");
    let fat = Content::FileSystem(FileSystem::Fat);
    facts
        .volumes
        .push(volume(Stack::Plain, fat.clone(), "1234-ABCD"));
    let id = "linux-fstab-other-disk";
    assert_eq!(judged(RULES, id, &facts), (None, true));
    facts.volumes.pop();
    facts.volumes.push(volume(Stack::Plain, fat, "1111-2222"));
    let found = (Some(Severity::WillNotBoot), false);
    assert_eq!(judged(RULES, id, &facts), found);
}

#[test]
fn the_command_comments_out_the_lines_that_were_found() {
    let facts = mounting("UUID=8 /a xfs\nUUID=1 /b ext4\nUUID=9 /c xfs\n");
    let rule = RULES
        .iter()
        .find(|rule| rule.id == "linux-fstab-other-disk");
    let (findings, _) = rule.unwrap().judge(&facts);
    assert_eq!(findings[0].fix, ["sed -i '2s/^/#/;4s/^/#/' /etc/fstab"]);
}

#[test]
fn the_command_puts_the_uuid_where_the_name_was() {
    let fix = |lines: &str| {
        let mut facts = mounting(lines);
        facts.volumes[1].partition = Some(2);
        let rule = RULES.iter().find(|rule| rule.id == "linux-fstab-by-name");
        rule.unwrap().judge(&facts).0[0].fix.clone()
    };
    let edit = "sed -i '2s/^[^[:space:]]*/UUID=2/' /etc/fstab";
    let known = "/dev/sda2 /a xfs\n/dev/disk/by-id/x /b xfs\n";
    assert_eq!(fix(known), ["blkid", edit, "findmnt --verify"]);
    let unknown = "/dev/disk/by-id/x /b xfs\n";
    assert_eq!(fix(unknown), ["blkid", "findmnt --verify"]);
}

#[test]
fn network_mounts_and_swap_may_be_missing_when_the_line_says_so() {
    let network = |lines| judge("linux-fstab-network", lines);
    assert_eq!(network("server:/x /x nfs\n"), Some(Severity::Degraded));
    assert_eq!(network("server:/x /x nfs nofail\n"), None);
    assert_eq!(network("server:/x /x nfs x-systemd.automount\n"), None);
    let swap = |lines| judge("linux-swap-other-disk", lines);
    assert_eq!(swap("/dev/sda2 none swap\n"), Some(Severity::Degraded));
    assert_eq!(swap("UUID=9 none swap\n"), Some(Severity::Degraded));
    assert_eq!(swap("UUID=2 none swap\n/swap.img none swap\n"), None);
}

#[test]
fn a_table_without_root_or_with_a_wrong_type_is_broken() {
    let broken = |lines| judge("linux-fstab-broken", lines);
    assert_eq!(broken(""), None);
    assert_eq!(
        broken("nonsense\n"),
        Some(Severity::Degraded),
        "after the root"
    );
    assert_eq!(broken("UUID=1 /data xfs\n"), Some(Severity::WillNotBoot));
    assert_eq!(broken("UUID=1 /data ext3\nUUID=2 /x auto\n"), None);
    let mut rootless = facts(MemoryTree::new().file("/etc/fstab", "UUID=1 /data ext4\n"));
    assert_eq!(
        judged(RULES, "linux-fstab-broken", &rootless),
        (None, false)
    );
    rootless.linux_boot = Some(on("root=UUID=1 ro"));
    assert_eq!(
        judged(RULES, "linux-fstab-broken", &rootless),
        (Some(Severity::WillNotBoot), false)
    );
    let mut without = facts(MemoryTree::new());
    without.linux_boot = Some(on("root=UUID=1 ro"));
    assert_eq!(
        judged(RULES, "linux-fstab-broken", &without),
        (Some(Severity::WillNotBoot), false),
        "no table at all"
    );
    rootless.linux_boot = Some(on("root=UUID=1 rw"));
    assert_eq!(
        judged(RULES, "linux-fstab-broken", &rootless),
        (None, false)
    );
}

#[test]
fn passphrases_stop_the_start_and_keys_do_not() {
    let crypttab = |line: &str| {
        let facts = facts(MemoryTree::new().file("/etc/crypttab", line));
        judged(RULES, "linux-crypttab", &facts).0
    };
    assert_eq!(
        crypttab("data UUID=9 none luks\n"),
        Some(Severity::WillNotBoot)
    );
    assert_eq!(
        crypttab("data UUID=9 none luks,nofail\n"),
        Some(Severity::Degraded)
    );
    assert_eq!(
        crypttab("data UUID=9 /etc/key luks\n"),
        Some(Severity::Degraded)
    );
    assert_eq!(crypttab("data UUID=9 none luks,noauto\n"), None);
}

#[test]
fn a_hibernated_system_is_found_and_files_that_cannot_be_read_are_unknown() {
    let mut facts = facts(MemoryTree::new().broken("/etc/fstab"));
    facts.volumes = vec![volume(
        Stack::Plain,
        Content::Swap { hibernated: true },
        "2",
    )];
    assert_eq!(
        judged(RULES, "linux-hibernated", &facts),
        (Some(Severity::Degraded), false)
    );
    assert_eq!(judged(RULES, "linux-fstab-by-name", &facts), (None, true));
}
