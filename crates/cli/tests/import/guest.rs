//! The system on the disk: what it is registered as, and what keeps it from being imported.

use crate::common::cloud::Cloud;
use crate::common::{Run, json_of, run, testdata};

fn import(cloud: &Cloud, disk: &str, options: &[&str]) -> Run {
    run(cloud
        .command()
        .env_remove("IMGFERRY_GUEST_CHECK")
        .arg("import")
        .arg(testdata(disk))
        .args(["--name", "web01", "--bucket", "images", "--json"])
        .args(options))
}

#[test]
fn a_system_that_is_ready_needs_no_name_of_its_own() {
    let cloud = Cloud::start(&["images"]);
    let done = import(&cloud, "guest/debian12-ready.qcow2", &[]);
    done.success();
    let json = json_of(&done);
    assert_eq!(json["status"], "active");
    assert_eq!(json["guest"]["os"]["id"], "debian");
    let id = json["image_id"].as_str().unwrap();
    let shown = run(cloud.command().args(["image", "show", id, "--json"]));
    let image = json_of(&shown);
    assert_eq!(image["__os_version"], "Debian GNU/Linux 12.0.0 64bit");
    assert!(done.stderr.contains("nearest name"), "{}", done.stderr);
}

#[test]
fn a_system_that_will_not_boot_is_rejected_before_anything_is_sent() {
    let cloud = Cloud::start(&["images"]);
    let rejected = import(&cloud, "guest/centos7-lvm.qcow2", &[]);
    assert_eq!(rejected.code, Some(2), "{}", rejected.stderr);
    for expected in [
        "linux-virtio-initramfs",
        "linux-fstab-by-name",
        "/etc/fstab line 2",
        "dracut",
        "--allow linux-virtio-initramfs",
    ] {
        assert!(
            rejected.stderr.contains(expected),
            "{expected}: {}",
            rejected.stderr
        );
    }
    assert_eq!(cloud.objects("images"), [] as [String; 0]);
    let all = [
        "linux-virtio-initramfs",
        "linux-fstab-by-name",
        "linux-fstab-other-disk",
    ];
    let allow: Vec<&str> = all.iter().flat_map(|rule| ["--allow", rule]).collect();
    let allowed = import(
        &cloud,
        "guest/centos7-lvm.qcow2",
        &[&allow[..], &["--dry-run"]].concat(),
    );
    allowed.success();
    assert!(
        allowed.stderr.contains("it is allowed"),
        "{}",
        allowed.stderr
    );
    let warned = import(
        &cloud,
        "guest/centos7-lvm.qcow2",
        &["--guest-check", "warn"],
    );
    warned.success();
    assert_eq!(json_of(&warned)["status"], "active");
    assert!(
        warned.stderr.contains("linux-fstab-other-disk"),
        "{}",
        warned.stderr
    );
}

#[test]
fn what_is_strict_rejects_also_a_system_without_a_network() {
    let cloud = Cloud::start(&["images"]);
    let disk = "guest/centos6-dirty.qcow2";
    let printed = import(&cloud, disk, &["--dry-run"]);
    printed.success();
    assert!(
        printed.stderr.contains("linux-net-mac"),
        "{}",
        printed.stderr
    );
    let strict = import(&cloud, disk, &["--dry-run", "--guest-check", "strict"]);
    assert_eq!(strict.code, Some(2), "{}", strict.stderr);
    assert!(
        strict.stderr.contains("--allow linux-net-mac"),
        "{}",
        strict.stderr
    );
}

#[test]
fn a_disk_that_boots_by_uefi_alone_becomes_an_image_for_it() {
    let cloud = Cloud::start(&["images"]);
    let done = import(&cloud, "guest/rocky9-bls.qcow2", &["--guest-check", "warn"]);
    done.success();
    assert_eq!(json_of(&done)["firmware"], "uefi");
}

#[test]
fn a_data_disk_is_not_held_against_rules_of_systems() {
    let cloud = Cloud::start(&["images"]);
    let data = import(&cloud, "guest/centos7-lvm.qcow2", &["--type", "DataImage"]);
    data.success();
    assert!(!data.stderr.contains("linux-"), "{}", data.stderr);
    assert!(data.stderr.contains("cloud-data-disk"), "{}", data.stderr);
}
