use super::*;
use crate::linux::boot::LinuxBoot;
use crate::linux::boot::tests::volume;
use crate::linux::identify::System;
use crate::linux::kernel::Kernel;
use crate::volume::Content;
use crate::volume::FileSystem;

fn os(id: &str, version: &str, arch: &str) -> Os {
    Os {
        id: id.to_owned(),
        version: Some(version.to_owned()),
        arch: Some(arch.to_owned()),
        ..Os::default()
    }
}

/// A Linux with a kernel for `machine`.
fn facts(os: Os, machine: Option<&'static str>) -> Facts {
    let kernel = Kernel {
        path: b"/boot/vmlinuz".to_vec(),
        machine,
        ..Kernel::default()
    };
    Facts {
        os: Some(os),
        linux_boot: Some(LinuxBoot {
            entries: Ok(Vec::new()),
            default: None,
            timeout: None,
            kernels: Ok(vec![kernel]),
            default_kernel: Some(0),
            resume: Ok(Vec::new()),
            blocked: Ok(Vec::new()),
        }),
        ..Facts::default()
    }
}

fn judged(facts: &Facts, id: &str) -> Result<Vec<Seen>, String> {
    let rule = RULES.iter().find(|rule| rule.id == id).unwrap();
    let (findings, unknown) = rule.judge(facts);
    match unknown {
        Some(unknown) => Err(unknown.reason),
        None => Ok(findings
            .into_iter()
            .flat_map(|finding| finding.seen)
            .collect()),
    }
}

fn count(facts: &Facts, id: &str) -> usize {
    judged(facts, id).unwrap().len()
}

#[test]
fn a_system_disk_must_have_a_system_unless_it_may_be_hidden() {
    let id = "inspect-no-os";
    let mut facts = Facts {
        volumes: vec![volume(1, "a", FileSystem::Ext)],
        ..Facts::default()
    };
    assert_eq!(count(&facts, id), 1);
    facts.wanted.data_disk = true;
    assert_eq!(count(&facts, id), 0);
    facts.wanted.data_disk = false;
    facts.volumes[0].content = Content::Encrypted("LUKS");
    assert_eq!(
        judged(&facts, id),
        Err("partition 1 is encrypted by LUKS".to_owned())
    );
    facts.volumes.clear();
    facts.incomplete.push("partition 2 is damaged".to_owned());
    assert_eq!(judged(&facts, id), Err("partition 2 is damaged".to_owned()));
    facts.os = Some(Os::default());
    assert_eq!(count(&facts, id), 0);
}

#[test]
fn only_different_systems_are_several() {
    let system = |volume, id: &str, machine: &str| System {
        volume,
        id: id.to_owned(),
        version: None,
        machine_id: (!machine.is_empty()).then(|| machine.as_bytes().to_vec()),
    };
    let id = "disk-multi-os";
    let mut facts = Facts {
        volumes: vec![
            volume(1, "a", FileSystem::Ext),
            volume(2, "b", FileSystem::Ext),
        ],
        ..Facts::default()
    };
    for (systems, found) in [
        (vec![system(0, "debian", "1")], 0),
        (vec![system(0, "debian", "1"), system(1, "debian", "1")], 0),
        (vec![system(0, "debian", "1"), system(1, "debian", "2")], 2),
        (vec![system(0, "debian", ""), system(1, "debian", "2")], 0),
        (vec![system(0, "debian", ""), system(1, "windows", "")], 2),
    ] {
        facts.systems = systems;
        assert_eq!(count(&facts, id), found);
    }
    let seen = judged(&facts, id).unwrap();
    assert_eq!(seen[1], Seen::at("partition 2").with("windows"));
}

#[test]
fn the_kernel_decides_which_machine_it_needs() {
    let id = "arch-mismatch";
    let wanting = |wanted: Option<&str>, os_arch: &str, machine| {
        let mut facts = facts(os("x", "1", os_arch), machine);
        facts.wanted.architecture = wanted.map(str::to_owned);
        count(&facts, id)
    };
    assert_eq!(wanting(None, "x86_64", Some("x86_64")), 0);
    assert_eq!(wanting(Some("x86"), "x86_64", Some("x86_64")), 0);
    assert_eq!(wanting(Some("x86"), "x86_64", Some("i386")), 0);
    assert_eq!(wanting(Some("arm"), "x86_64", Some("x86_64")), 1);
    assert_eq!(wanting(Some("x86"), "aarch64", None), 1);
    assert_eq!(wanting(None, "ppc64", None), 1);
    assert_eq!(wanting(None, "s390", Some("s390")), 1);
}

#[test]
fn a_kernel_of_32_bits_is_degraded_and_one_of_64_below_old_programs_is_not() {
    assert_eq!(
        count(&facts(os("x", "1", "i386"), Some("i386")), "arch-32bit"),
        1
    );
    assert_eq!(
        count(&facts(os("x", "1", "i386"), Some("x86_64")), "arch-32bit"),
        0
    );
    assert_eq!(count(&facts(os("x", "1", "x86_64"), None), "arch-32bit"), 0);
}

#[test]
fn new_releases_of_the_red_hat_family_need_newer_processors() {
    for (id, version, arch, found) in [
        ("rocky", "9.2", "x86_64", 1),
        ("rhel", "10.0", "x86_64", 1),
        ("rocky", "8.9", "x86_64", 0),
        ("rocky", "9.2", "aarch64", 0),
        ("debian", "10", "x86_64", 0),
    ] {
        let facts = facts(os(id, version, arch), None);
        assert_eq!(count(&facts, "cpu-level"), found, "{id} {version} {arch}");
    }
}
