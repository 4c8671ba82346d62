use std::rc::Rc;

use super::*;
use crate::tree::memory::MemoryTree;

fn of(files: &[(&str, &str)]) -> Option<Os> {
    let tree = files
        .iter()
        .fold(MemoryTree::new(), |tree, (path, content)| {
            tree.file(path, content)
        });
    read(&View::new(Rc::new(tree), 0)).unwrap()
}

#[track_caller]
fn is(files: &[(&str, &str)], id: &str, version: &str) {
    let os = of(files).unwrap();
    assert_eq!((os.id.as_str(), os.version.as_deref()), (id, Some(version)));
    assert!(!os.evidence.is_empty());
}

const OS: &str = "/etc/os-release";

#[test]
fn versions_are_as_exact_as_the_files() {
    is(
        &[
            (OS, "ID=debian\nVERSION_ID=\"12\""),
            ("/etc/debian_version", "12.5\n"),
        ],
        "debian",
        "12.5",
    );
    is(
        &[
            (OS, "ID=debian\nVERSION_ID=\"13\""),
            ("/etc/debian_version", "trixie/sid\n"),
        ],
        "debian",
        "13",
    );
    is(
        &[(
            OS,
            "ID=ubuntu\nVERSION_ID=\"22.04\"\nVERSION=\"22.04.4 LTS (Jammy Jellyfish)\"",
        )],
        "ubuntu",
        "22.04.4",
    );
    is(
        &[
            (OS, "ID=ubuntu\nVERSION_ID=\"14.04\""),
            (
                "/etc/lsb-release",
                "DISTRIB_DESCRIPTION=\"Ubuntu 14.04.6 LTS\"",
            ),
        ],
        "ubuntu",
        "14.04.6",
    );
    is(
        &[
            (OS, "ID=\"centos\"\nVERSION_ID=\"7\""),
            (
                "/etc/centos-release",
                "CentOS Linux release 7.9.2009 (Core)",
            ),
        ],
        "centos",
        "7.9",
    );
    is(
        &[
            (
                OS,
                "ID=\"centos\"\nVERSION_ID=\"9\"\nNAME=\"CentOS Stream\"",
            ),
            ("/etc/centos-release", "CentOS Stream release 9"),
        ],
        "centos",
        "9",
    );
    is(&[(OS, "ID=\"rhel\"\nVERSION_ID=\"8.7\"")], "rhel", "8.7");
    is(
        &[(
            OS,
            "ID=\"euleros\"\nVERSION_ID=\"2.0\"\nVERSION=\"2.0 (SP9x86_64)\"",
        )],
        "euleros",
        "2.9",
    );
    is(
        &[(
            OS,
            "ID=\"openEuler\"\nVERSION_ID=\"22.03\"\nVERSION=\"22.03 (LTS-SP1)\"",
        )],
        "openEuler",
        "22.03 SP1",
    );
    is(
        &[(
            OS,
            "ID=\"kylin\"\nVERSION_ID=\"V10\"\nVERSION=\"V10 (Lance)\"",
        )],
        "kylin",
        "V10 SP3",
    );
}

#[test]
fn a_service_pack_of_euleros_may_stand_in_its_own_file_alone() {
    let os = (OS, "ID=euleros\nVERSION_ID=\"2.0\"\nVERSION=\"2.0\"");
    let own = ("/etc/euleros-release", "EulerOS release 2.0 (SP9x86_64)\n");
    is(&[os, own], "euleros", "2.9");
    is(&[os], "euleros", "2.0");
}

#[test]
fn systems_without_os_release_are_told_by_their_own_files() {
    let redhat = "/etc/redhat-release";
    for (path, line, id, version) in [
        (
            "/etc/centos-release",
            "CentOS release 6.10 (Final)",
            "centos",
            "6.10",
        ),
        (
            redhat,
            "Red Hat Enterprise Linux Server release 6.10 (Santiago)",
            "rhel",
            "6.10",
        ),
        (
            redhat,
            "Red Hat Enterprise Linux AS release 4 (Nahant Update 8)",
            "rhel",
            "4.8",
        ),
        (redhat, "CentOS release 5.11 (Final)", "centos", "5.11"),
        (
            "/etc/SuSE-release",
            "SUSE Linux Enterprise Server 11 (x86_64)\nVERSION = 11\nPATCHLEVEL = 4",
            "sles",
            "11.4",
        ),
        (
            "/etc/euleros-release",
            "EulerOS release 2.0 (SP9x86_64)",
            "euleros",
            "2.9",
        ),
        ("/etc/alpine-release", "3.19.1", "alpine", "3.19.1"),
        ("/etc/debian_version", "6.0.10", "debian", "6.0.10"),
    ] {
        is(&[(path, line)], id, version);
    }
    is(
        &[
            ("/etc/oracle-release", "Oracle Linux Server release 6.9"),
            (
                redhat,
                "Red Hat Enterprise Linux Server release 6.9 (Santiago)",
            ),
        ],
        "ol",
        "6.9",
    );
    assert_eq!(of(&[("/etc/hosts", "")]), None);
}

#[test]
fn a_version_of_the_files_that_contradicts_os_release_is_not_taken() {
    is(
        &[
            (OS, "ID=debian\nVERSION_ID=12"),
            ("/etc/debian_version", "11.3"),
        ],
        "debian",
        "12",
    );
}

#[test]
fn values_lose_quotes_and_escapes_and_the_last_one_counts() {
    let os = of(&[(
        OS,
        "# x\nID=a\nID=b\nPRETTY_NAME=\"A \\\"B\\\" \\$1\u{1b}[2J\" # c\nVERSION_ID='1 2'",
    )])
    .unwrap();
    assert_eq!(os.id, "b");
    assert_eq!(os.version.as_deref(), Some("1 2"));
    let name = os.name.unwrap();
    assert!(
        name.starts_with("A \"B\" $1") && !name.contains('\u{1b}'),
        "{name}"
    );
}

#[test]
fn packages_and_appliances_are_told() {
    let desktop = of(&[
        (OS, "ID=kylin\nVERSION_ID=V10"),
        ("/var/lib/dpkg/status", ""),
    ])
    .unwrap();
    let family = |os: Os| {
        let os = Some(os);
        let facts = crate::Facts {
            os,
            ..crate::Facts::default()
        };
        facts.family()
    };
    assert_eq!(family(desktop), crate::Family::Debian);
    let server = of(&[(OS, "ID=kylin\nVERSION_ID=V10")]).unwrap();
    assert_eq!(family(server), crate::Family::RedHat);
    let proxmox = of(&[(OS, "ID=debian\nVERSION_ID=12"), ("/etc/pve/x", "")]).unwrap();
    assert_eq!(proxmox.evidence.last().unwrap().value, "Proxmox VE");
    let uos = of(&[
        (OS, "ID=uos\nVERSION_ID=20"),
        (
            "/etc/os-version",
            "[Version]\nMajorVersion=20\nMinorVersion=1050\n",
        ),
    ]);
    assert_eq!(uos.unwrap().version.as_deref(), Some("20 1050"));
}
