use super::testing::{Sample, program};
use testkit::guest::hive::Data;

const VERSION: &str = r"Microsoft\Windows NT\CurrentVersion";

#[test]
fn nothing_is_found_and_nothing_is_unknown_of_a_sound_server() {
    let facts = Sample::sound().facts();
    for rule in crate::rules().filter(|rule| rule.id.starts_with("windows-")) {
        assert_eq!(rule.judge(&facts), (vec![], None), "{}", rule.id);
    }
}

#[test]
fn the_system_is_told_by_its_build_its_edition_and_its_kernel() {
    let os = Sample::sound().facts().os.unwrap();
    assert_eq!(os.kind, "Windows");
    assert_eq!(os.version.as_deref(), Some("2019"));
    assert_eq!(os.edition.as_deref(), Some("Standard"));
    assert_eq!(os.arch.as_deref(), Some("x86_64"));
    assert_eq!(os.build, Some(17763));
    let client = Sample::sound()
        .software(|hive| {
            hive.value(VERSION, "InstallationType", Data::text("Client"))
                .value(VERSION, "EditionID", Data::text("Professional"))
                .value(VERSION, "ProductName", Data::text("Windows 10 Pro"))
                .value(VERSION, "CurrentBuildNumber", Data::text("22631"))
        })
        .drive(|drive| drive.file("/Windows/System32/ntoskrnl.exe", program(0x14c)));
    let os = client.facts().os.unwrap();
    assert_eq!(os.version.as_deref(), Some("11"));
    assert_eq!(os.edition.as_deref(), Some("Professional"));
    assert_eq!(os.arch.as_deref(), Some("i386"));
}

#[test]
fn the_registry_tells_the_processor_where_the_kernel_is_packed() {
    let sample = Sample::sound()
        .system(|hive| {
            hive.value(
                &super::testing::control(r"Control\Session Manager\Environment"),
                "PROCESSOR_ARCHITECTURE",
                Data::text("ARM64"),
            )
        })
        .drive(|drive| {
            drive
                .file("/Windows/System32/ntoskrnl.exe", [0; 256])
                .file("/Windows/System32/cmd.exe", "")
        });
    assert_eq!(sample.facts().os.unwrap().arch.as_deref(), Some("aarch64"));
}

#[test]
fn rules_are_unknown_when_their_hive_cannot_be_read() {
    let mut facts = Sample::sound().facts();
    let broken = Sample::sound()
        .system(|hive| hive.without("Select"))
        .facts();
    facts.windows = broken.windows;
    for id in [
        "windows-virtio-block",
        "windows-virtio-net",
        "windows-storage-filter",
        "windows-san-policy",
        "windows-rdp",
        "windows-fast-startup",
    ] {
        let rule = crate::rules().find(|rule| rule.id == id).unwrap();
        let (findings, unknown) = rule.judge(&facts);
        assert!(findings.is_empty() && unknown.is_some(), "{id}");
    }
}
