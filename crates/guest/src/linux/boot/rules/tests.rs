use super::*;
use crate::Content;
use crate::linux::boot::Timeout;
use crate::linux::boot::tests::volume;
use crate::linux::command_line::CommandLine;
use crate::volume::FileSystem;

/// A guest whose default entry has `line`; its root is on partition 1 with the UUID `here`.
fn facts(line: &str) -> Facts {
    let logical = Volume {
        stack: Stack::Logical {
            group: "vg".to_owned(),
            name: "root".to_owned(),
            missing: Vec::new(),
        },
        ..volume(2, "lv", FileSystem::Xfs)
    };
    let entry = Entry {
        path: b"/boot/grub/grub.cfg".to_vec(),
        line: 7,
        text: line.as_bytes().to_vec(),
        kernel: Some(BootFile {
            written: b"/vmlinuz".to_vec(),
            line: 7,
            path: Some(b"/boot/vmlinuz".to_vec()),
        }),
        command_line: CommandLine::parse(line.as_bytes()),
        ..Entry::default()
    };
    Facts {
        volumes: vec![volume(1, "here", FileSystem::Ext), logical],
        linux_boot: Some(LinuxBoot {
            entries: Ok(vec![entry]),
            default: Some(0),
            timeout: None,
            kernels: Ok(Vec::new()),
            default_kernel: None,
            resume: Ok(Vec::new()),
            blocked: Ok(Vec::new()),
        }),
        ..Facts::default()
    }
}

/// The severities of a rule's findings, or why it is unknown.
fn judged(facts: &Facts, id: &str) -> Result<Vec<Severity>, String> {
    let rule = RULES.iter().find(|rule| rule.id == id).unwrap();
    let (findings, unknown) = rule.judge(facts);
    match unknown {
        Some(unknown) => Err(unknown.reason),
        None => Ok(findings.iter().map(|finding| finding.severity).collect()),
    }
}

const NOT: Severity = Severity::WillNotBoot;

#[test]
fn names_of_the_old_machine_do_not_travel() {
    for (root, severities) in [
        ("/dev/sda1", vec![NOT]),
        ("/dev/hda2", vec![NOT]),
        ("/dev/xvda1", vec![NOT]),
        ("/dev/nvme0n1p1", vec![NOT]),
        ("/dev/cciss/c0d0p1", vec![NOT]),
        (
            "/dev/disk/by-path/pci-0000:00:10.0-scsi-0:0:0:0-part1",
            vec![NOT],
        ),
        ("/dev/disk/by-id/scsi-36000c29-part1", vec![NOT]),
        ("/dev/vda1", vec![Severity::Advice]),
        ("UUID=here", vec![]),
        ("/dev/disk/by-uuid/here", vec![]),
        ("/dev/mapper/vg-root", vec![]),
        ("LABEL=x", vec![]),
    ] {
        let facts = facts(&format!("root={root} ro"));
        assert_eq!(
            judged(&facts, "boot-root-by-name"),
            Ok(severities),
            "{root}"
        );
    }
}

#[test]
fn volumes_that_the_kernel_waits_for_must_be_on_this_disk() {
    for (line, severities) in [
        ("root=UUID=here", vec![]),
        ("root=UUID=HERE", vec![]),
        ("root=UUID=gone", vec![NOT]),
        ("root=LABEL=gone", vec![NOT]),
        ("root=PARTUUID=gone", vec![NOT]),
        ("root=/dev/mapper/vg-root rd.lvm.lv=vg/root", vec![]),
        (
            "root=/dev/mapper/vg-root rd.lvm.lv=vg/root rd.lvm.lv=vg/swap",
            vec![NOT],
        ),
        ("root=/dev/old/root", vec![NOT]),
        (
            "root=UUID=here rd.md.uuid=00000000:11111111:22222222:33333333",
            vec![NOT],
        ),
        ("root=UUID=here rd.luks.uuid=luks-0f0ae4b1", vec![NOT]),
        ("root=/dev/sda1", vec![]),
        ("ro", vec![]),
    ] {
        assert_eq!(
            judged(&facts(line), "boot-root-unresolved"),
            Ok(severities),
            "{line}"
        );
    }
    let mut encrypted = facts("root=UUID=inner rd.luks.uuid=luks-aa");
    encrypted.volumes[0].uuid = Some("aa-bb".to_owned());
    encrypted.volumes[0].content = Content::Encrypted("LUKS");
    let reason = judged(&encrypted, "boot-root-unresolved").unwrap_err();
    assert_eq!(reason, "partition 1 is encrypted by LUKS");
    let mut group = facts("root=/dev/other/root");
    group.volumes[0].content = Content::PhysicalVolume(None);
    assert!(judged(&group, "boot-root-unresolved").is_err());
}

#[test]
fn a_volume_to_resume_from_that_is_gone_is_waited_for() {
    let degraded = || vec![Severity::Degraded];
    for (line, severities) in [
        ("resume=UUID=gone", degraded()),
        ("resume=UUID=gone noresume", vec![]),
        ("resume=UUID=here", vec![]),
        ("resume=/dev/sda2", degraded()),
        ("resume=/dev/vda1", vec![]),
        ("resume=/dev/vda9", degraded()),
        ("resume=/dev/disk/by-id/ata-x-part2", degraded()),
        ("resume=/dev/mapper/vg-swap", degraded()),
        ("quiet", vec![]),
    ] {
        assert_eq!(
            judged(&facts(line), "boot-resume"),
            Ok(severities),
            "{line}"
        );
    }
    let mut set = facts("quiet");
    let path = "/etc/initramfs-tools/conf.d/resume";
    let seen = Seen::line(path, 1, "RESUME=UUID=gone");
    let boot = set.linux_boot.as_mut().unwrap();
    boot.resume = Ok(vec![(Device::Uuid("gone".to_owned()), seen)]);
    assert_eq!(judged(&set, "boot-resume"), Ok(degraded()));
    set.linux_boot.as_mut().unwrap().resume = Err("unreadable".to_owned());
    assert_eq!(judged(&set, "boot-resume"), Err("unreadable".to_owned()));
}

#[test]
fn the_serial_console_of_the_processor_must_be_on_the_command_line() {
    let id = "boot-no-serial-console";
    let advice = Ok(vec![Severity::Advice]);
    assert_eq!(
        judged(&facts("console=tty0 console=ttyS0,115200n8"), id),
        Ok(vec![])
    );
    assert_eq!(judged(&facts("console=tty0"), id), advice);
    let mut arm = facts("console=ttyS0");
    arm.os = Some(crate::Os {
        arch: Some("aarch64".to_owned()),
        ..crate::Os::default()
    });
    assert_eq!(judged(&arm, id), advice);
}

#[test]
fn files_that_are_missing_matter_most_in_the_default_entry() {
    let id = "boot-entry-broken";
    let mut facts = facts("quiet");
    assert_eq!(judged(&facts, id), Ok(vec![]));
    let entries = facts.linux_boot.as_mut().unwrap().entries.as_mut().unwrap();
    let mut other = entries[0].clone();
    other.initrds.push(BootFile::default());
    entries.push(other);
    assert_eq!(judged(&facts, id), Ok(vec![Severity::Advice]));
    facts.linux_boot.as_mut().unwrap().default = Some(1);
    assert_eq!(judged(&facts, id), Ok(vec![NOT]));
}

#[test]
fn long_waits_of_the_boot_loader_are_told() {
    let id = "boot-timeout";
    let mut facts = facts("quiet");
    assert_eq!(judged(&facts, id), Ok(vec![]));
    for (seconds, severities) in [
        (Some(10), vec![]),
        (Some(11), vec![Severity::Advice]),
        (None, vec![Severity::Advice]),
    ] {
        facts.linux_boot.as_mut().unwrap().timeout = Some(Timeout {
            seconds,
            seen: Seen::at("/boot/grub/grub.cfg"),
        });
        assert_eq!(judged(&facts, id), Ok(severities), "{seconds:?}");
    }
}

#[test]
fn without_a_menu_the_rules_about_it_are_unknown_and_a_data_disk_is_not_judged() {
    let ids = [
        "boot-root-by-name",
        "boot-root-unresolved",
        "boot-resume",
        "boot-no-serial-console",
    ];
    let mut facts = facts("root=/dev/sda1");
    for entries in [Ok(Vec::new()), Err("/boot cannot be read".to_owned())] {
        facts.linux_boot.as_mut().unwrap().entries = entries;
        for id in ids {
            assert!(judged(&facts, id).is_err(), "{id}");
        }
    }
    facts.wanted.data_disk = true;
    for id in ids {
        assert_eq!(judged(&facts, id), Ok(vec![]), "{id}");
    }
}
