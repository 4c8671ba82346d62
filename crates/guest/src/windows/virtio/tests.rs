use super::*;
use crate::Severity::{Advice, NoNetwork, WillNotBoot};
use crate::tree::memory::MemoryTree;
use crate::windows::testing::{Sample, control};
use testkit::guest::hive::{Data, HiveBuilder};

fn start(hive: HiveBuilder, service: &str, start: u32) -> HiveBuilder {
    let path = control(&format!(r"Services\{service}"));
    hive.value(&path, "Start", Data::number(start))
}

/// Without the files of drivers.
fn no_files() -> MemoryTree {
    MemoryTree::without_case()
        .file("/Windows/System32/cmd.exe", "")
        .file("/Windows/System32/drivers/partmgr.sys", "")
}

#[test]
fn a_service_or_its_file_is_missing() {
    let block = "windows-virtio-block";
    let sample = Sample::sound().system(|hive| hive.without(&control(r"Services\viostor")));
    sample.has(block, WillNotBoot, r"Services\viostor", "missing");
    let sample = Sample::sound().drive(|_| no_files());
    sample.has(
        block,
        WillNotBoot,
        "/Windows/System32/drivers/viostor.sys",
        "missing",
    );
    let sample = Sample::sound().drive(|_| no_files());
    sample.has("windows-virtio-net", NoNetwork, "netkvm.sys", "missing");
    let sample = Sample::sound().system(|hive| hive.without(&control(r"Services\vioscsi")));
    sample.has(
        "windows-virtio-scsi",
        Advice,
        r"Services\vioscsi",
        "missing",
    );
}

#[test]
fn only_what_is_missing_is_named_when_there_is_no_driver_at_all() {
    for id in ["windows-virtio-block-start", "windows-virtio-block-binding"] {
        let sample = Sample::sound().system(|hive| hive.without(&control(r"Services\viostor")));
        assert_eq!(sample.finding(id), None, "{id}");
    }
}

#[test]
fn the_driver_is_not_started_at_boot() {
    let id = "windows-virtio-block-start";
    let sample = Sample::sound().system(|hive| start(hive, "viostor", 3));
    sample.has(id, WillNotBoot, r"Services\viostor", "Start = 3");
    let path = control(r"Services\viostor\StartOverride");
    let sample = Sample::sound().system(|hive| hive.value(&path, "0", Data::number(3)));
    sample.has(id, WillNotBoot, r"viostor\StartOverride", "0 = 3");
    // Of another hardware profile.
    let sample = Sample::sound().system(|hive| hive.value(&path, "1", Data::number(3)));
    assert_eq!(sample.finding(id), None);
    let sample = Sample::sound().system(|hive| start(hive, "netkvm", 4));
    sample.has(
        "windows-virtio-net",
        NoNetwork,
        r"Services\netkvm",
        "Start = 4",
    );
}

#[test]
fn commands_name_the_service_that_is_meant() {
    let sample = Sample::sound().system(|hive| start(hive, "viostor", 3));
    let (findings, _) = sample.judge("windows-virtio-block-start");
    assert!(findings[0].fix[0].contains(r"Services\viostor /v Start"));
}

#[test]
fn the_device_is_not_assigned_to_the_driver() {
    let id = "windows-virtio-block-binding";
    let unbound = |hive: HiveBuilder| hive.without("DriverDatabase");
    Sample::sound()
        .system(unbound)
        .has(id, WillNotBoot, "DEV_1001", "missing");
    // Windows 7 and Server 2008 R2 have no such database.
    let old = |hive: HiveBuilder| {
        hive.without_value(
            r"Microsoft\Windows NT\CurrentVersion",
            "CurrentMajorVersionNumber",
        )
        .value(
            r"Microsoft\Windows NT\CurrentVersion",
            "CurrentVersion",
            Data::text("6.1"),
        )
    };
    let sample = Sample::sound().software(old);
    sample.has(id, WillNotBoot, "CriticalDeviceDatabase", "missing");
    let path = control(r"Control\CriticalDeviceDatabase\pci#ven_1af4&dev_1001&subsys_00021af4");
    let bound = |hive: HiveBuilder| hive.value(&path, "Service", Data::text("viostor"));
    assert_eq!(
        Sample::sound().software(old).system(bound).finding(id),
        None
    );
}

#[test]
fn a_driver_with_another_name_counts_when_the_device_is_assigned_to_it() {
    let sample = Sample::sound()
        .system(|hive| {
            let package = r"DriverDatabase\DriverPackages\blk.inf_amd64_1\Configurations\install";
            let hive = hive
                .without(&control(r"Services\viostor"))
                .value(
                    r"DriverDatabase\DriverInfFiles\oem3.inf",
                    "",
                    Data::texts(&["blk.inf_amd64_1"]),
                )
                .value(package, "Service", Data::text("vendorblk"));
            start(hive, "vendorblk", 0)
        })
        .drive(|drive| drive.file("/windows/System32/drivers/vendorblk.sys", ""));
    let facts = sample.facts();
    for rule in RULES {
        assert_eq!(rule.judge(&facts), (vec![], None), "{}", rule.id);
    }
}

#[test]
fn identifiers_of_other_devices_are_not_taken_for_ours() {
    assert!(BLOCK.is("ven_1af4&dev_1001", ""));
    assert!(BLOCK.is("VEN_1AF4&DEV_1042&SUBSYS_1", ""));
    assert!(!BLOCK.is("VEN_1AF4&DEV_10010", ""));
    assert!(!BLOCK.is("VEN_1AF4&DEV_1000", ""));
    assert!(!BLOCK.is("VEN_8086&DEV_1001", ""));
}
