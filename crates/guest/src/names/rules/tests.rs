use crate::Severity::{Advice, Degraded};
use crate::{Evidence, Facts, Finding, Os, Severity, Unknown, Wanted};

fn facts(id: &str, version: &str, wanted: Wanted) -> Facts {
    let windows = id == "windows";
    Facts {
        wanted,
        os: Some(Os {
            kind: if windows { "Windows" } else { "Linux" }.into(),
            id: id.into(),
            version: Some(version.into()),
            edition: windows.then(|| "Standard".into()),
            arch: Some("x86_64".into()),
            evidence: vec![Evidence {
                path: "/etc/os-release".into(),
                key: "ID".into(),
                value: id.into(),
            }],
            ..Os::default()
        }),
        ..Facts::default()
    }
}

fn judge(id: &str, facts: &Facts) -> (Vec<Finding>, Option<Unknown>) {
    let rule = crate::rules().find(|rule| rule.id == id).unwrap();
    rule.judge(facts)
}

fn severities(id: &str, facts: &Facts) -> Vec<Severity> {
    let (findings, unknown) = judge(id, facts);
    assert_eq!(unknown, None, "{id}");
    findings.iter().map(|finding| finding.severity).collect()
}

fn given(name: &str) -> Wanted {
    Wanted {
        os_version: Some(name.into()),
        ..Wanted::default()
    }
}

#[test]
fn a_system_that_only_other_fits_is_unsupported() {
    let id = "cloud-os-unsupported";
    let alpine = facts("alpine", "3.19", Wanted::default());
    let (findings, _) = judge(id, &alpine);
    assert_eq!(findings[0].severity, Advice);
    assert!(findings[0].why.contains("\"Other Linux(64 bit)\""));
    assert_eq!(
        severities(id, &facts("centos", "7.9", Wanted::default())),
        []
    );
    // The region's list decides, not the documents.
    let region = Wanted {
        os_versions: vec!["Debian GNU/Linux 12.0.0 64bit".into()],
        ..Wanted::default()
    };
    assert_eq!(severities(id, &facts("centos", "7.9", region)), [Advice]);
}

#[test]
fn a_given_name_must_mean_the_same_family_and_major_version() {
    let id = "cloud-os-version-differs";
    for (name, expected) in [
        ("CentOS 7.6 64bit", vec![]),
        ("CentOS 8.0 64bit", vec![Degraded]),
        ("Ubuntu 22.04 server 64bit", vec![Degraded]),
        ("Other Linux(64 bit)", vec![]),
        ("Other_Windows (64_bit)", vec![Degraded]),
    ] {
        let facts = facts("centos", "7.9", given(name));
        assert_eq!(severities(id, &facts), expected, "{name}");
    }
    let (findings, _) = judge(id, &facts("centos", "7.9", given("CentOS 8.0 64bit")));
    assert!(findings[0].why.contains("\"CentOS 7.9 64bit\""));
    let alpine = facts("alpine", "3.19", given("CentOS 7.9 64bit"));
    assert_eq!(severities(id, &alpine), [Degraded]);
    let odd = facts("centos", "7.9", given("My own Linux"));
    assert!(judge(id, &odd).1.is_some());
}

#[test]
fn of_a_data_disk_only_its_system_is_mentioned() {
    let data = Wanted {
        data_disk: true,
        ..given("Ubuntu 22.04 server 64bit")
    };
    let facts = facts("alpine", "3.19", data);
    assert_eq!(severities("cloud-data-disk", &facts), [Advice]);
    assert_eq!(severities("cloud-os-unsupported", &facts), []);
    assert_eq!(severities("cloud-os-version-differs", &facts), []);
}

#[test]
fn a_name_that_the_region_does_not_offer_for_uefi_is_found() {
    let id = "boot-firmware-os";
    let offer = |names: &[&str], uefi: &[&str]| Wanted {
        firmware: Some("uefi".into()),
        os_versions: names.iter().copied().map(str::to_owned).collect(),
        uefi_os_versions: uefi.iter().copied().map(str::to_owned).collect(),
        ..Wanted::default()
    };
    let (small, large) = ("openSUSE 15.5 64bit", "OpenSUSE 15.5 64bit");
    let with = |wanted| facts("opensuse-leap", "15.5", wanted);
    // Of two spellings the one for UEFI is chosen.
    assert_eq!(severities(id, &with(offer(&[small, large], &[large]))), []);
    assert_eq!(severities(id, &with(offer(&[small], &[large]))), [Degraded]);
    assert_eq!(severities(id, &with(Wanted::default())), []);
    assert!(judge(id, &with(offer(&[small], &[]))).1.is_some());
}

#[test]
fn the_firmware_that_the_disk_needs_counts_when_none_is_given() {
    let region = Wanted {
        os_versions: vec!["openSUSE 15.5 64bit".into()],
        uefi_os_versions: vec!["OpenSUSE 15.5 64bit".into()],
        ..Wanted::default()
    };
    let mut facts = facts("opensuse-leap", "15.5", region);
    assert_eq!(severities("boot-firmware-os", &facts), []);
    // ARM machines have UEFI only.
    facts.os.as_mut().unwrap().arch = Some("aarch64".into());
    assert_eq!(severities("boot-firmware-os", &facts), [Degraded]);
}

#[test]
fn a_release_of_windows_without_a_name_is_found() {
    let id = "windows-version";
    assert_eq!(
        severities(id, &facts("windows", "2025", Wanted::default())),
        [Advice]
    );
    assert_eq!(
        severities(id, &facts("windows", "2019", Wanted::default())),
        []
    );
    assert_eq!(
        severities(id, &facts("alpine", "3.19", Wanted::default())),
        []
    );
}
