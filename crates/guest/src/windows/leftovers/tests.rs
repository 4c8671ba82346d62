use super::*;
use crate::Severity::{Advice, Degraded};
use crate::windows::testing::{Sample, control, program};
use testkit::guest::hive::Data;

const VERSION: &str = r"Microsoft\Windows NT\CurrentVersion";

fn software_key(path: &str) -> Sample {
    Sample::sound().software(|hive| hive.key(path))
}

#[test]
fn a_restart_that_is_due_is_found_in_three_places() {
    let id = "windows-updates-pending";
    for path in REBOOT_KEYS {
        software_key(path).has(id, Degraded, path, "");
    }
    let sample = Sample::sound().system(|hive| {
        hive.value(
            &control(SESSION_MANAGER),
            "PendingFileRenameOperations",
            Data::texts(&[r"\??\C:\old.dll"]),
        )
    });
    sample.has(id, Degraded, "PendingFileRenameOperations", "");
}

#[test]
fn policies_count_when_one_was_applied() {
    let id = "windows-group-policy";
    assert_eq!(software_key(POLICY_HISTORY).finding(id), None);
    software_key(&format!(r"{POLICY_HISTORY}\{{35378EAC}}")).has(id, Advice, "History", "");
    software_key(DEVICE_RESTRICTIONS).has(id, Advice, "Restrictions", "");
}

#[test]
fn tools_of_other_platforms_are_named() {
    let path = control(r"Services\vmtools");
    let sample = Sample::sound().system(|hive| hive.key(&path));
    sample.has("windows-foreign-tools", Degraded, "VMTools", "VMware Tools");
}

#[test]
fn licences_and_widths_are_judged() {
    let value = |name: &'static str, text: &'static str| {
        Sample::sound().software(|hive| hive.value(VERSION, name, Data::text(text)))
    };
    let id = "windows-evaluation";
    value("EditionID", "ServerStandardEval").has(id, Advice, "EditionID", "Eval");
    value("EditionID", "ServerDatacenterEvalCor").has(id, Advice, "EditionID", "Eval");
    let (findings, _) = value("ProductId", "55041-OEM-8992671-00437").judge("windows-oem");
    assert!(!format!("{findings:?}").contains("8992671"));
    assert_eq!(findings.len(), 1);
    let narrow =
        Sample::sound().drive(|drive| drive.file("/Windows/System32/ntoskrnl.exe", program(0x14c)));
    narrow.has("windows-32bit", Degraded, "ntoskrnl.exe", "i386");
}

#[test]
fn the_clock_and_the_version_of_the_tools_are_judged() {
    let path = control(TIME_ZONE);
    let sample = Sample::sound().system(|hive| hive.without(&path));
    sample.has("windows-rtc", Advice, "TimeZoneInformation", "not 1");
    let id = "windows-driver-leak";
    let version = |text: &'static str| Sample::sound().drive(|drive| drive.file(UVP_VERSION, text));
    version("2.4.12\r\n").has(id, Advice, UVP_VERSION, "2.4.12");
    assert_eq!(version("2.5.0").finding(id), None);
    assert!(version("new").judge(id).1.is_some());
}

#[test]
fn quick_import_of_windows_is_named_for_huawei_cloud_only() {
    let mut sample = Sample::sound();
    sample.wanted.huawei_cloud = true;
    sample.has("windows-quick-import", Degraded, "Windows Server 2019", "");
}

#[test]
fn a_hive_that_was_not_flushed_leaves_the_rule_undecided() {
    let sample = Sample::sound().system(|hive| hive.dirty());
    let (findings, unknown) = sample.judge("windows-registry-dirty");
    assert!(findings.is_empty());
    assert!(unknown.unwrap().reason.contains("config/SYSTEM"));
}
