use crate::Severity::{Advice, Degraded, WillNotBoot};
use crate::tree::memory::MemoryTree;
use crate::windows::testing::{Sample, control, store};
use diskimg::partitions::Scheme;
use testkit::guest::hive::{Data, HiveBuilder};

const FILES: &str = "windows-boot-files";

fn uefi(boot: MemoryTree) -> Sample {
    let mut sample = Sample::sound();
    sample.table.scheme = Scheme::Gpt;
    sample.boot = Some(boot);
    sample
}

#[test]
fn boot_files_are_missing_where_a_bios_looks() {
    let mut sample = Sample::sound();
    sample.boot = Some(MemoryTree::without_case().file("/bootmgr", ""));
    sample.has(FILES, WillNotBoot, "/Boot/BCD", "partition 1");
    let mut sample = Sample::sound();
    sample.table.entries[0].bootable = false;
    sample.has(FILES, WillNotBoot, "/bootmgr", "active");
    // The files are there, on a partition that is not the active one.
    let mut sample = Sample::sound();
    sample.table.entries[0].bootable = false;
    sample.table.entries[1].bootable = true;
    sample.has(FILES, WillNotBoot, "/bootmgr", "partition 2");
}

#[test]
fn boot_files_are_missing_where_uefi_looks() {
    let manager = "/EFI/Microsoft/Boot/bootmgfw.efi";
    let stored = "/EFI/Microsoft/Boot/BCD";
    let whole = || {
        MemoryTree::without_case()
            .file(manager, "")
            .file(stored, store().build())
    };
    assert_eq!(uefi(whole()).finding(FILES), None);
    uefi(MemoryTree::without_case()).has(FILES, WillNotBoot, manager, "missing");
    let empty = whole().file(stored, HiveBuilder::new().key("Objects").build());
    uefi(empty).has(FILES, WillNotBoot, stored, "empty");
}

#[test]
fn the_wanted_firmware_decides_which_files_are_asked_for() {
    let mut sample = Sample::sound();
    sample.wanted.firmware = Some("uefi".into());
    sample.has(FILES, WillNotBoot, "bootmgfw.efi", "missing");
}

#[test]
fn boot_files_are_unknown_when_they_could_be_on_a_volume_that_was_not_opened() {
    let mut sample = Sample::sound();
    sample.boot = None;
    sample.volumes[0].closed = Some("its index is damaged".into());
    let (findings, unknown) = sample.judge(FILES);
    assert!(findings.is_empty());
    assert!(unknown.unwrap().reason.contains("its index is damaged"));
    let broken = MemoryTree::without_case()
        .file("/bootmgr", "")
        .broken("/Boot/BCD");
    let mut sample = Sample::sound();
    sample.boot = Some(broken);
    assert!(sample.judge(FILES).1.is_some());
}

#[test]
fn dynamic_disks_and_gaps_in_the_table_are_found() {
    let mut sample = Sample::sound();
    sample.table.entries[1].type_id = "0x42".into();
    sample.has("windows-dynamic-disk", WillNotBoot, "partition 2", "0x42");
    let mut sample = uefi(MemoryTree::without_case());
    sample.table.entries.remove(0);
    sample.has("windows-gpt-gap", Degraded, "partition 2", "entry 1");
}

#[test]
fn a_file_that_windows_would_wake_from_is_told_from_an_emptied_one() {
    let id = "windows-hibernated";
    for head in ["hibr", "HIBR", "wake", "WAKE", "RSTR"] {
        let file = format!("{head} and more");
        let sample = Sample::sound().drive(|drive| drive.file("/hiberfil.sys", file));
        sample.has(id, WillNotBoot, "/hiberfil.sys", head);
    }
    let sample = Sample::sound().drive(|drive| drive.file("/hiberfil.sys", "hi"));
    assert_eq!(sample.finding(id), None);
    let sample = Sample::sound().drive(|drive| drive.broken("/hiberfil.sys"));
    assert!(sample.judge(id).1.is_some());
}

#[test]
fn fast_startup_and_dirty_volumes_are_found() {
    let path = control(r"Control\Session Manager\Power");
    let sample =
        Sample::sound().system(|hive| hive.value(&path, "HiberbootEnabled", Data::number(1)));
    sample.has(
        "windows-fast-startup",
        Advice,
        r"Session Manager\Power",
        "= 1",
    );
    let mut sample = Sample::sound();
    sample.volumes[1].health.dirty = Some("its flag says so".into());
    sample.has("windows-ntfs-dirty", Degraded, "partition 2", "flag");
}
