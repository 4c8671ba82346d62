use super::*;
use crate::linux::testing::{enabled, facts, judged, on, volume};
use crate::tree::memory::MemoryTree;
use crate::volume::FileSystem;

/// A guest whose root is on the group `rl`, on a physical volume that is in the third partition.
fn on_lvm(tree: MemoryTree) -> Facts {
    let mut facts = facts(tree);
    let stack = Stack::Logical {
        group: "rl".into(),
        name: "root".into(),
        missing: Vec::new(),
    };
    let mut root = volume(stack, Content::FileSystem(FileSystem::Xfs), "1");
    root.partition = Some(3);
    let group = Content::PhysicalVolume(Some("rl".into()));
    let mut physical = volume(Stack::Plain, group, "abcdef-0000");
    physical.partition = Some(3);
    facts.volumes = vec![root, physical];
    facts.root = Some(0);
    facts
}

#[test]
fn a_devices_file_with_an_identity_of_the_old_disk_hides_the_root() {
    let with = |line: &str| MemoryTree::new().file("/etc/lvm/devices/system.devices", line);
    let judge = |facts: &Facts| judged(RULES, "linux-lvm-devices-file", facts).0;
    let wwid = "IDTYPE=sys_wwid IDNAME=naa.6 PVID=abcdef0000\n";
    assert_eq!(judge(&on_lvm(with(wwid))), Some(Severity::WillNotBoot));
    assert_eq!(
        judge(&facts(with(wwid))),
        Some(Severity::Degraded),
        "root elsewhere"
    );
    let unused = with(wwid).file("/etc/lvm/lvm.conf", "devices {\nuse_devicesfile = 0\n}\n");
    assert_eq!(judge(&on_lvm(unused)), None);
    let uuid = "IDTYPE=lvmlv_uuid IDNAME=x PVID=abcdef0000\n";
    assert_eq!(judge(&on_lvm(with(uuid))), None);
    let mut old = on_lvm(with(wwid));
    old.os.as_mut().unwrap().version = Some("8.8".into());
    assert_eq!(
        judge(&old),
        None,
        "release 8 does not use it unless it is told to"
    );
}

#[test]
fn a_filter_must_accept_the_name_that_the_disk_has_in_the_cloud() {
    let on_array = |filter: &str| {
        let conf = format!("devices {{\n filter = [ {filter} ]\n}}\n");
        let mut facts = on_lvm(MemoryTree::new().file("/etc/lvm/lvm.conf", conf));
        facts.volumes[1].stack = Stack::Array {
            uuid: "0:1:2:3".into(),
            level: 1,
            missing: 0,
        };
        judged(RULES, "linux-lvm-filter", &facts)
    };
    assert_eq!(on_array(r#""a|/dev/md.*|", "r|.*|""#), (None, false));
    let judge = |filter: &str| {
        let conf = format!("devices {{\n filter = [ {filter} ]\n}}\n");
        let facts = on_lvm(MemoryTree::new().file("/etc/lvm/lvm.conf", conf));
        judged(RULES, "linux-lvm-filter", &facts)
    };
    let broken = (Some(Severity::WillNotBoot), false);
    assert_eq!(judge(r#""a|^/dev/sda3$|", "r|.*|""#), broken);
    assert_eq!(judge(r#""a|^/dev/vda3$|", "r|.*|""#), (None, false));
    assert_eq!(judge(r#""r|^/dev/cdrom|""#), (None, false));
    assert_eq!(judge(r#""a|[|", "r|.*|""#), (None, true));
    let by_uuid = r#""a|^/dev/disk/by-id/lvm-pv-uuid-abcdef-0000$|", "r|.*|""#;
    assert_eq!(judge(by_uuid), (None, false));
    let of_another = r#""a|/dev/disk/by-id/lvm-pv-uuid-zzzzzz-0000|", "r|.*|""#;
    assert_eq!(judge(of_another), broken);
    let other_names = r#""a|^/dev/disk/by-id/scsi-36000c29|", "r|.*|""#;
    assert_eq!(judge(other_names), broken);
}

#[test]
fn multipath_is_found_by_its_root_its_names_and_its_service() {
    let judge = |facts: &Facts| judged(RULES, "linux-multipath", facts).0;
    assert_eq!(judge(&facts(MemoryTree::new())), None);
    let mut root = facts(MemoryTree::new());
    root.linux_boot = Some(on("root=/dev/mapper/mpatha2 ro"));
    assert_eq!(judge(&root), Some(Severity::Degraded));
    let wwids = MemoryTree::new().file("/etc/multipath/wwids", "/36000c29/\n");
    assert_eq!(judge(&facts(wwids)), Some(Severity::Degraded));
    let bare = facts(enabled(MemoryTree::new(), "multipathd"));
    assert_eq!(judge(&bare), Some(Severity::Advice));
    let conf = MemoryTree::new().file("/etc/multipath.conf", "");
    let mut service = facts(enabled(conf, "multipathd"));
    assert_eq!(judge(&service), Some(Severity::Degraded));
    service.os.as_mut().unwrap().id = "ubuntu".into();
    assert_eq!(judge(&service), Some(Severity::Advice));
}

#[test]
fn a_root_on_lvm_and_a_disk_that_does_not_grow_are_named() {
    let lvm = on_lvm(MemoryTree::new().file("/usr/bin/growpart", ""));
    assert_eq!(
        judged(RULES, "linux-lvm-root", &lvm).0,
        Some(Severity::Advice)
    );
    assert_eq!(judged(RULES, "linux-growpart", &lvm).0, None);
    let plain = facts(MemoryTree::new());
    assert_eq!(judged(RULES, "linux-lvm-root", &plain).0, None);
    assert_eq!(
        judged(RULES, "linux-growpart", &plain).0,
        Some(Severity::Advice)
    );
}

#[test]
fn every_physical_volume_of_the_root_must_be_accepted() {
    let conf = "filter = [ \"a|^/dev/vda3$|\", \"r|.*|\" ]\n";
    let mut facts = on_lvm(MemoryTree::new().file("/etc/lvm/lvm.conf", conf));
    let judge = |facts: &Facts| judged(RULES, "linux-lvm-filter", facts).0;
    assert_eq!(judge(&facts), None);
    let mut second = facts.volumes[1].clone();
    second.partition = Some(4);
    facts.volumes.push(second);
    assert_eq!(judge(&facts), Some(Severity::WillNotBoot));
}
