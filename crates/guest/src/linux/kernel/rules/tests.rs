use super::*;
use crate::Os;
use crate::linux::boot::{BootFile, Entry, LinuxBoot};
use crate::linux::command_line::CommandLine;
use crate::linux::initramfs::Initramfs;
use crate::linux::kernel::Driver;
use crate::volume::Volume;
use crate::volume::{Content, FileSystem, Stack};

const ALL: &[&str] = &[
    "virtio",
    "virtio_ring",
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "virtio_scsi",
];

fn inside(modules: &[&str], programs: &[&str]) -> Initramfs {
    let names = modules
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    let mut inside = Initramfs::default();
    inside.modules = [(b"6.1".to_vec(), names)].into();
    inside.programs = programs
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    inside
}

/// Kernel 6.1 with all drivers as modules, and an initramfs that brings `modules`.
fn kernel_with(modules: &[&str], programs: &[&str]) -> Kernel {
    Kernel {
        path: b"/boot/vmlinuz-6.1".to_vec(),
        version: Some("6.1".to_owned()),
        machine: Some("x86_64"),
        drivers: ALL.iter().map(|name| (*name, Ok(Driver::Module))).collect(),
        initramfs: Some(b"/boot/initrd.img-6.1".to_vec()),
        inside: Some(Ok(inside(modules, programs))),
        spare: None,
    }
}

fn facts(kernel: Kernel) -> Facts {
    let entry = Entry {
        path: b"/boot/grub/grub.cfg".to_vec(),
        line: 4,
        kernel: Some(BootFile {
            written: b"/vmlinuz-6.1".to_vec(),
            line: 4,
            path: Some(kernel.path.clone()),
        }),
        ..Entry::default()
    };
    Facts {
        os: Some(Os {
            id: "debian".to_owned(),
            ..Os::default()
        }),
        linux_boot: Some(LinuxBoot {
            entries: Ok(vec![entry]),
            default: Some(0),
            timeout: None,
            kernels: Ok(vec![kernel]),
            default_kernel: Some(0),
            resume: Ok(Vec::new()),
            blocked: Ok(Vec::new()),
        }),
        ..Facts::default()
    }
}

fn with_root(kernel: Kernel, stack: Stack, kind: FileSystem) -> Facts {
    let root = Volume {
        partition: Some(1),
        stack,
        size: 1 << 30,
        content: Content::FileSystem(kind),
        uuid: None,
        label: None,
        partuuid: None,
        partlabel: None,
        part_type: None,
        priority: 0,
        health: Default::default(),
        closed: None,
    };
    Facts {
        volumes: vec![root],
        root: Some(0),
        ..facts(kernel)
    }
}

/// Severities and texts of a rule's findings, or why it is unknown.
fn judged(facts: &Facts, id: &str) -> Result<Vec<(Severity, String)>, String> {
    let rule = RULES.iter().find(|rule| rule.id == id).unwrap();
    let (findings, unknown) = rule.judge(facts);
    match unknown {
        Some(unknown) => Err(unknown.reason),
        None => Ok(findings
            .into_iter()
            .flat_map(|finding| {
                let severity = finding.severity;
                let text = |seen: Seen| (severity, seen.text.unwrap_or(seen.path));
                finding.seen.into_iter().map(text).collect::<Vec<_>>()
            })
            .collect()),
    }
}

fn found(severity: Severity, text: &str) -> Result<Vec<(Severity, String)>, String> {
    Ok(vec![(severity, text.to_owned())])
}

const NOT: Severity = Severity::WillNotBoot;

#[test]
fn drivers_that_are_modules_must_be_in_the_initramfs() {
    let id = "linux-virtio-initramfs";
    assert_eq!(judged(&facts(kernel_with(ALL, &[])), id), Ok(vec![]));
    let some = kernel_with(&["virtio", "virtio_ring", "virtio_net"], &[]);
    assert_eq!(
        judged(&facts(some), id),
        found(NOT, "without virtio_blk, virtio_pci")
    );
    let mut built_in = kernel_with(&[], &[]);
    for name in ["virtio", "virtio_ring", "virtio_pci", "virtio_blk"] {
        built_in.drivers.insert(name, Ok(Driver::BuiltIn));
    }
    assert_eq!(judged(&facts(built_in), id), Ok(vec![]));
    let mut alone = kernel_with(&[], &[]);
    alone.initramfs = None;
    alone.inside = None;
    let facts_alone = facts(alone);
    assert!(
        judged(&facts_alone, id).unwrap()[0]
            .1
            .starts_with("without virtio_blk")
    );
    let rule = RULES.iter().find(|rule| rule.id == id).unwrap();
    let finding = &rule.judge(&facts_alone).0[0];
    assert_eq!(finding.seen[0].path, "/boot/vmlinuz-6.1");
    assert!(
        finding
            .fix
            .contains(&"lsinitramfs /boot/initrd.img-6.1 | grep virtio".to_owned())
    );
}

#[test]
fn an_initramfs_that_cannot_be_read_leaves_the_rules_unknown() {
    let mut kernel = kernel_with(&[], &[]);
    kernel.inside = Some(Err("lzop is not read".to_owned()));
    let facts = facts(kernel);
    for id in [
        "linux-virtio-initramfs",
        "linux-virtio-scsi",
        "linux-initramfs-net-rules",
    ] {
        assert_eq!(
            judged(&facts, id),
            Err("lzop is not read".to_owned()),
            "{id}"
        );
    }
}

#[test]
fn another_kernel_whose_initramfs_has_the_drivers_is_named() {
    let mut facts = facts(kernel_with(&[], &[]));
    let rescue = Kernel {
        path: b"/boot/vmlinuz-0-rescue".to_vec(),
        ..kernel_with(ALL, &[])
    };
    facts
        .linux_boot
        .as_mut()
        .unwrap()
        .kernels
        .as_mut()
        .unwrap()
        .push(rescue);
    let rule = RULES
        .iter()
        .find(|rule| rule.id == "linux-virtio-initramfs")
        .unwrap();
    let (findings, _) = rule.judge(&facts);
    assert!(
        findings[0]
            .why
            .ends_with("That of /boot/vmlinuz-0-rescue has them.")
    );
}

#[test]
fn a_kernel_without_the_drivers_does_not_boot_and_an_unknown_one_is_not_judged() {
    let id = "linux-virtio-missing";
    let mut kernel = kernel_with(&[], &[]);
    kernel.drivers.insert("virtio_blk", Ok(Driver::Missing));
    kernel.drivers.insert("virtio_net", Ok(Driver::Missing));
    let facts_of = facts(kernel);
    assert_eq!(judged(&facts_of, id), found(NOT, "virtio_blk"));
    assert_eq!(
        judged(&facts_of, "linux-virtio-net"),
        found(Severity::NoNetwork, "virtio_net")
    );
    let mut kernel = kernel_with(&[], &[]);
    kernel
        .drivers
        .insert("virtio_blk", Err("no list".to_owned()));
    assert_eq!(judged(&facts(kernel), id), Err("no list".to_owned()));
    let mut brought = kernel_with(ALL, &[]);
    brought
        .drivers
        .insert("virtio_blk", Err("no list".to_owned()));
    assert_eq!(judged(&facts(brought), id), Ok(vec![]));
}

#[test]
fn a_network_driver_that_is_kept_away_is_found() {
    let id = "linux-virtio-net";
    let mut blocked = facts(kernel_with(ALL, &[]));
    assert_eq!(judged(&blocked, id), Ok(vec![]));
    let seen = Seen::line("/etc/modprobe.d/a.conf", 1, "blacklist virtio_net");
    blocked.linux_boot.as_mut().unwrap().blocked = Ok(vec![seen]);
    let expected = found(Severity::NoNetwork, "blacklist virtio_net");
    assert_eq!(judged(&blocked, id), expected);
    let mut by_line = facts(kernel_with(ALL, &[]));
    let entry = &mut by_line
        .linux_boot
        .as_mut()
        .unwrap()
        .entries
        .as_mut()
        .unwrap()[0];
    entry.command_line = CommandLine::parse(b"modprobe.blacklist=floppy,virtio_net");
    assert_eq!(judged(&by_line, id).unwrap().len(), 1);
}

#[test]
fn the_initramfs_must_bring_what_the_root_lies_on() {
    let id = "linux-initramfs-root-stack";
    let logical = || Stack::Logical {
        group: "vg".to_owned(),
        name: "root".to_owned(),
        missing: Vec::new(),
    };
    let with = |modules: &[&str], programs: &[&str]| {
        let mut kernel = kernel_with(modules, programs);
        for name in ["dm_mod", "xfs", "raid1", "ext4"] {
            kernel.drivers.insert(name, Ok(Driver::Module));
        }
        kernel.drivers.insert("btrfs", Ok(Driver::Missing));
        kernel.drivers.insert("ext3", Ok(Driver::Missing));
        kernel
    };
    let complete = with_root(
        with(&["dm_mod", "xfs"], &["lvm"]),
        logical(),
        FileSystem::Xfs,
    );
    assert_eq!(judged(&complete, id), Ok(vec![]));
    let toolless = with_root(with(&["dm_mod"], &[]), logical(), FileSystem::Xfs);
    assert_eq!(judged(&toolless, id), found(NOT, "without lvm, xfs"));
    let array = Stack::Array {
        uuid: String::new(),
        level: 1,
        missing: 0,
    };
    let array = with_root(with(&[], &["mdadm"]), array, FileSystem::Btrfs);
    assert_eq!(judged(&array, id), found(NOT, "without raid1, btrfs"));
    let plain = |modules: &[&str]| with_root(with(modules, &[]), Stack::Plain, FileSystem::Ext);
    assert_eq!(judged(&plain(&["ext4"]), id), Ok(vec![]));
    assert_eq!(judged(&plain(&[]), id), found(NOT, "without ext4"));
}

#[test]
fn ext4_that_is_neither_a_module_nor_listed_is_not_called_missing() {
    let mut kernel = kernel_with(&[], &[]);
    kernel.drivers.insert("ext4", Ok(Driver::Missing));
    kernel.drivers.insert("ext3", Ok(Driver::Missing));
    let facts = with_root(kernel, Stack::Plain, FileSystem::Ext);
    assert_eq!(judged(&facts, "linux-initramfs-root-stack"), Ok(vec![]));
}

#[test]
fn old_udev_rules_in_the_initramfs_are_found() {
    let mut kernel = kernel_with(ALL, &[]);
    let mut with_rules = inside(ALL, &[]);
    let rule = "# PCI\nATTR{address}==\"00:50:56:aa:bb:cc\", NAME=\"eth0\"\n";
    for (name, content) in [
        ("70-persistent-net.rules", rule),
        ("60-persistent-storage.rules", rule),
        ("71-persistent-net.rules", "# A=B was removed\n"),
        ("75-persistent-net-generator.rules", "/dev/null"),
    ] {
        let path = format!("etc/udev/rules.d/{name}").into_bytes();
        with_rules.files.insert(path, content.into());
    }
    kernel.inside = Some(Ok(with_rules));
    assert_eq!(
        judged(&facts(kernel), "linux-initramfs-net-rules"),
        found(
            Severity::NoNetwork,
            "etc/udev/rules.d/70-persistent-net.rules"
        )
    );
}

#[test]
fn kernels_must_be_there_start_and_be_new_enough() {
    let mut old = kernel_with(ALL, &[]);
    old.version = Some("2.6.18-398.el5".to_owned());
    assert_eq!(
        judged(&facts(old), "linux-kernel-too-old"),
        found(NOT, "2.6.18-398.el5")
    );
    let mut new = kernel_with(ALL, &[]);
    new.version = Some("2.6.32-754.el6.x86_64".to_owned());
    assert_eq!(judged(&facts(new), "linux-kernel-too-old"), Ok(vec![]));

    let mut empty = facts(kernel_with(ALL, &[]));
    empty.linux_boot.as_mut().unwrap().kernels = Ok(Vec::new());
    assert_eq!(judged(&empty, "linux-no-kernel"), found(NOT, "/boot"));
    let mut unstarted = facts(kernel_with(ALL, &[]));
    assert_eq!(judged(&unstarted, "linux-no-kernel"), Ok(vec![]));
    let entries = unstarted
        .linux_boot
        .as_mut()
        .unwrap()
        .entries
        .as_mut()
        .unwrap();
    entries[0].kernel.as_mut().unwrap().path = None;
    assert_eq!(
        judged(&unstarted, "linux-no-kernel"),
        found(NOT, "/boot/grub/grub.cfg")
    );
    unstarted.linux_boot.as_mut().unwrap().entries = Ok(Vec::new());
    assert!(judged(&unstarted, "linux-no-kernel").is_err());

    let mut xen = kernel_with(ALL, &[]);
    xen.path = b"/boot/vmlinuz-2.6.32xen".to_vec();
    let expected = found(NOT, "/boot/vmlinuz-2.6.32xen");
    assert_eq!(judged(&facts(xen), "linux-xen-only-kernel"), expected);
    assert_eq!(
        judged(&facts(kernel_with(ALL, &[])), "linux-xen-only-kernel"),
        Ok(vec![])
    );
}

#[test]
fn xens_drivers_matter_only_where_xen_is_wanted_and_data_disks_are_not_judged() {
    let mut kernel = kernel_with(ALL, &[]);
    for name in ["xen_blkfront", "xen_netfront"] {
        kernel.drivers.insert(name, Ok(Driver::Module));
    }
    let mut facts = facts(kernel);
    assert_eq!(judged(&facts, "linux-xen-drivers"), Ok(vec![]));
    facts.wanted.xen = true;
    assert_eq!(
        judged(&facts, "linux-xen-drivers"),
        found(Severity::Advice, "without xen_blkfront, xen_netfront")
    );
    facts.wanted.data_disk = true;
    assert_eq!(judged(&facts, "linux-xen-drivers"), Ok(vec![]));
}

#[test]
fn a_version_that_is_no_plain_word_does_not_reach_commands() {
    for (version, shown) in [
        ("6.1.0-18-amd64", "dracut -f --kver 6.1.0-18-amd64"),
        ("6.1;rm", "dracut -f --kver $(uname -r)"),
        ("$(reboot)", "dracut -f --kver $(uname -r)"),
        ("-h", "dracut -f --kver $(uname -r)"),
    ] {
        let mut kernel = kernel_with(&[], &[]);
        kernel.version = Some(version.to_owned());
        let mut facts = facts(kernel);
        facts.os.as_mut().unwrap().id = "rhel".to_owned();
        let id = "linux-virtio-initramfs";
        let rule = RULES.iter().find(|rule| rule.id == id).unwrap();
        let (findings, _) = rule.judge(&facts);
        assert_eq!(findings[0].fix[1], shown, "{version}");
    }
}
