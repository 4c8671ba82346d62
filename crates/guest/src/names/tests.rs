use super::*;
use crate::Evidence;

fn linux(id: &str, version: &str) -> Os {
    Os {
        kind: "Linux".into(),
        id: id.into(),
        version: Some(version.into()),
        arch: Some("x86_64".into()),
        ..Os::default()
    }
}

fn windows(version: &str, edition: &str) -> Os {
    Os {
        kind: "Windows".into(),
        edition: Some(edition.into()),
        ..linux("windows", version)
    }
}

fn names() -> Vec<&'static str> {
    documented().map(|(name, _)| name).collect()
}

fn chosen(os: &Os) -> (String, How) {
    let choice = choose(os, &names(), &[]).unwrap();
    (choice.value, choice.how)
}

#[test]
fn every_documented_name_is_understood() {
    let mut count = 0;
    for (name, _) in documented() {
        assert!(Meaning::of_name(name).is_some(), "{name}");
        count += 1;
    }
    assert_eq!(count, 347);
}

#[test]
fn the_exact_name_is_taken_where_the_list_has_it() {
    for (os, text) in [
        (linux("centos", "7.9"), "CentOS 7.9 64bit"),
        (linux("centos", "7.9.2009"), "CentOS 7.9 64bit"),
        (linux("centos", "6.10"), "CentOS 6.10 64bit"),
        (linux("rocky", "9.2"), "Rocky Linux 9.2 64bit"),
        (linux("ol", "8.4"), "Oracle Linux Server release 8.4 64bit"),
        (
            linux("sles", "15.5"),
            "Novell SUSE Linux Enterprise Server 15 SP5 64bit",
        ),
        (
            linux("sles", "15 SP5"),
            "Novell SUSE Linux Enterprise Server 15 SP5 64bit",
        ),
        (linux("sles", "12"), "SUSE Linux Enterprise Server 12 64bit"),
        (linux("opensuse-leap", "15.5"), "openSUSE 15.5 64bit"),
        (linux("euleros", "2.0 (SP9)"), "EulerOS 2.9 64bit"),
        (linux("euleros", "2.0 (SP9x86_64)"), "EulerOS 2.9 64bit"),
        (linux("euleros", "2.9"), "EulerOS 2.9 64bit"),
        (
            linux("openEuler", "22.03 (LTS-SP1)"),
            "openEuler 22.03 SP1 64bit",
        ),
        (linux("openEuler", "22.03"), "openEuler 22.03 64bit"),
        (linux("debian", "10.13"), "Debian GNU/Linux 10.13.0 64bit"),
        (linux("fedora", "39"), "Fedora 39 64bit"),
        (
            linux("neokylin", "V7Update5"),
            "NeoKylin Linux Advanced Server release 7.0 U5 64bit",
        ),
        (
            windows("2019", "Standard"),
            "Windows Server 2019 Standard 64bit",
        ),
        (
            windows("2012 R2", "Essentials"),
            "Windows Server 2012 Essentials R2 64bit",
        ),
        (
            windows("2008 R2", "WEB"),
            "Windows Server 2008 R2 WEB 64bit",
        ),
        (
            windows("2012", "Standard"),
            "Windows Server 2012 Standard 64bit",
        ),
        (windows("11", "Professional"), "Windows 11 64bit"),
        (windows("10", "Education"), "Windows 10 64bit"),
        (windows("10", "IoTEnterpriseS"), "Windows 10 64bit"),
        (windows("7", "Professional"), "Windows 7 Professional 64bit"),
    ] {
        assert_eq!(chosen(&os), (text.to_owned(), How::Exact), "{os:?}");
    }
}

#[test]
fn the_highest_minor_below_is_nearest_and_then_the_lowest_above() {
    for (os, text) in [
        (linux("debian", "12.5"), "Debian GNU/Linux 12.0.0 64bit"),
        (linux("ubuntu", "22.04.4"), "Ubuntu 22.04 Server 64bit"),
        (linux("ubuntu", "16.04.7"), "Ubuntu 16.04.6 Server 64bit"),
        (linux("ubuntu", "16.04.1"), "Ubuntu 16.04 server 64bit"),
        (linux("euleros", "2.6"), "EulerOS 2.5 64bit"),
        (linux("debian", "8.0"), "Debian GNU/Linux 8.1.0 64bit"),
        (linux("rhel", "8.10"), "Red Hat Enterprise Linux 8.7 64bit"),
        (
            linux("sles", "15.7"),
            "SUSE Linux Enterprise Server 15 SP6 64bit",
        ),
    ] {
        assert_eq!(chosen(&os), (text.to_owned(), How::Nearest), "{os:?}");
    }
    let only_major = ["Rocky Linux 8 64bit"];
    let choice = choose(&linux("rocky", "8.4"), &only_major, &[]).unwrap();
    assert_eq!(choice.how, How::Nearest);
}

#[test]
fn another_major_version_or_family_is_never_taken() {
    for os in [
        linux("centos", "5.11"),
        linux("ubuntu", "22.10"),
        linux("alpine", "3.19.1"),
        linux("arch", "rolling"),
        linux("sled", "15.5"),
        linux("linuxmint", "21"),
        linux("opensuse-tumbleweed", "20240101"),
        windows("2025", "Standard"),
        windows("2019", "Essentials"),
        windows("2022", "Turbine"),
        windows("7", "Ultimate"),
    ] {
        assert_eq!(chosen(&os).1, How::Other, "{os:?}");
    }
    assert_eq!(chosen(&linux("alpine", "3.19")).0, "Other Linux(64 bit)");
    let i386 = Os {
        arch: Some("i386".into()),
        ..linux("debian", "12.5")
    };
    assert_eq!(chosen(&i386).0, "Other_Linux (32_bit)");
    assert_eq!(
        chosen(&windows("2025", "Standard")).0,
        "Other_Windows (64_bit)"
    );
}

#[test]
fn of_a_system_without_minor_version_the_newest_name_is_nearest() {
    let mut stream = linux("centos", "9");
    stream.evidence.push(Evidence {
        path: "/etc/os-release".into(),
        key: "NAME".into(),
        value: "CentOS Stream".into(),
    });
    assert_eq!(
        chosen(&stream),
        ("CentOS Stream 9.6 64bit".into(), How::Nearest)
    );
    assert_eq!(
        chosen(&linux("debian", "10")),
        ("Debian GNU/Linux 10 64bit".into(), How::Exact)
    );
    assert_eq!(
        chosen(&linux("centos", "8")),
        ("CentOS 8.5 64bit".into(), How::Nearest)
    );
}

#[test]
fn of_two_spellings_the_preferred_one_is_taken() {
    let names = ["openSUSE 15.5 64bit", "OpenSUSE 15.5 64bit"];
    let os = linux("opensuse-leap", "15.5");
    let value = |preferred: &[&str]| choose(&os, &names, preferred).unwrap().value;
    assert_eq!(value(&[]), names[0]);
    assert_eq!(value(&[names[1]]), names[1]);
    // Preference does not outweigh the version.
    let names = ["CentOS 7.6 64bit", "CentOS 7.9 64bit"];
    let choice = choose(&linux("centos", "7.9"), &names, &names[..1]).unwrap();
    assert_eq!(choice.value, names[1]);
}

#[test]
fn names_for_arm_are_for_arm_and_where_there_are_none_all_are() {
    let arm = Os {
        arch: Some("aarch64".into()),
        ..linux("openEuler", "22.03")
    };
    let names = ["openEuler 22.03 64bit", "openEuler 22.03 64bit with ARM"];
    let value = |os: &Os, names: &[&str]| choose(os, names, &[]).map(|choice| choice.value);
    assert_eq!(value(&arm, &names).as_deref(), Some(names[1]));
    assert_eq!(value(&arm, &names[..1]).as_deref(), Some(names[0]));
    assert_eq!(value(&linux("openEuler", "22.03"), &names[1..]), None);
    let power = Os {
        arch: Some("ppc64".into()),
        ..linux("centos", "7.9")
    };
    assert_eq!(choose(&power, &super::tests::names(), &[]), None);
}

#[test]
fn names_that_are_not_understood_are_never_chosen() {
    for name in [
        "CentOS 7.9 64bit with Docker",
        "Windows Server 2019 Standard Datacenter 64bit",
        "CentOS 7.9 8.1 64bit",
        "",
        "64bit",
    ] {
        assert_eq!(Meaning::of_name(name), None, "{name}");
    }
}

#[test]
fn the_wanted_texts_of_the_rules_are_exact_once_they_are_in_the_list() {
    for (os, text) in [
        (linux("debian", "12.5"), "Debian GNU/Linux 12.5.0 64bit"),
        (linux("ubuntu", "22.04.4"), "Ubuntu 22.04.4 server 64bit"),
        (
            linux("hce", "2.0"),
            "Huawei Cloud EulerOS 2.0 Standard 64 bit",
        ),
        (linux("almalinux", "9.8"), "Alma 9.8 64bit"),
        (
            linux("kylin", "V10 SP3"),
            "Kylin Linux Advanced Server V10 SP3 64bit",
        ),
    ] {
        let names = [names(), vec![text]].concat();
        let choice = choose(&os, &names, &[]).unwrap();
        assert_eq!((choice.value.as_str(), choice.how), (text, How::Exact));
    }
}
