//! Batches of whole machines: packages, and folders that a configuration describes.

use std::fs;
use std::path::Path;

use testkit::ova::Machine;

use crate::common::fleet::{Fleet, World, report_of, states};
use crate::common::{DEBIAN, DEBIAN_TREE_DIGEST, json_of, noise, run, testdata};

const DISK: usize = 1 << 20;

/// A machine with two disks: the real disk, and one of noise.
fn package(path: &Path) {
    let system = fs::read(testdata("debian-tree.qcow2")).unwrap();
    let machine = Machine {
        firmware: Some("efi"),
        ..Machine::new(
            "app server",
            &[("system.qcow2", 2 << 30), ("data.img", DISK as u64)],
        )
    };
    fs::write(path, machine.archive(&[&system, &noise(DISK)])).unwrap();
}

/// A machine as VMware keeps it: its configuration, and two disks in two files each.
fn folder(dir: &Path) {
    fs::create_dir(dir).unwrap();
    for (number, name) in ["web", "web_1"].into_iter().enumerate() {
        let text = format!(
            "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n\
             createType=\"monolithicFlat\"\nRW 2048 FLAT \"{name}-flat.vmdk\" 0\n"
        );
        fs::write(dir.join(format!("{name}.vmdk")), text).unwrap();
        let bytes = noise(DISK + 512 * (number + 1));
        let mut bytes = bytes[512 * (number + 1)..].to_vec();
        bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
        fs::write(dir.join(format!("{name}-flat.vmdk")), bytes).unwrap();
    }
    let text = "displayName = \"web 01\"\n\
        sata0:1.present = \"TRUE\"\nsata0:1.deviceType = \"cdrom-image\"\n\
        sata0:1.fileName = \"web.vmdk\"\n\
        scsi0:1.present = \"TRUE\"\nscsi0:1.fileName = \"web_1.vmdk\"\n\
        scsi0:0.present = \"TRUE\"\nscsi0:0.fileName = \"web.vmdk\"\n";
    fs::write(dir.join("web.vmx"), text).unwrap();
}

fn digest(world: &World, path: &Path, more: &[&str]) -> String {
    let run = run(world
        .command()
        .args(["digest", "--json"])
        .arg(path)
        .args(more));
    json_of(run.success())["digest"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// A fleet without disks of its own.
fn fleet(text: &str) -> Fleet {
    let fleet = Fleet::raw(0, 1);
    fs::write(&fleet.manifest, text).unwrap();
    fleet
}

#[test]
fn machines_that_are_found_become_all_of_their_images() {
    let world = World::new();
    let fleet = fleet("");
    let dir = fleet.dir.path();
    package(&dir.join("server.ova"));
    folder(&dir.join("web"));
    let init = run(world
        .command()
        .args(["batch", "init", "--bucket", "images", "--force", "-o"])
        .arg(&fleet.manifest)
        .arg(dir));
    init.success();
    let text = fs::read_to_string(&fleet.manifest).unwrap();
    assert!(text.contains("name: \"app server\"\n"), "{text}");
    assert!(text.contains("data.img is imported with it"), "{text}");
    assert_eq!(text.matches("source: ").count(), 3, "{text}");
    let os = format!("os_version: {DEBIAN}");
    fs::write(&fleet.manifest, text.replace("os_version: TODO", &os)).unwrap();

    let plan = run(world.batch("plan", &fleet, "state").arg("--json"));
    let plan = json_of(plan.success());
    assert_eq!(plan["quota"]["wanted"], 4, "{plan}");
    let ended = run(world.batch("run", &fleet, "state").arg("--json"));
    let report = report_of(ended.success());
    assert_eq!(states(&report)["active"], 3, "{report}");
    let package = &report["items"][0];
    assert_eq!(
        package["data_image_ids"].as_array().unwrap().len(),
        1,
        "{package}"
    );
    let active = world.active();
    let (ova, web) = (dir.join("server.ova"), dir.join("web"));
    for (name, digest) in [
        ("app server", DEBIAN_TREE_DIGEST.to_owned()),
        (
            "app server-data1",
            digest(&world, &ova, &["--disk", "data.img"]),
        ),
        ("web 01", digest(&world, &web.join("web.vmdk"), &[])),
        ("web 01-data1", digest(&world, &web.join("web_1.vmdk"), &[])),
    ] {
        assert_eq!(active.get(name), Some(&digest), "{name}: {active:?}");
    }
    assert_eq!(active.len(), 4);
    let again = run(world.batch("run", &fleet, "state").arg("--json"));
    assert_eq!(states(&report_of(again.success()))["skipped"], 3);
}

#[test]
fn a_package_in_a_manifest_is_imported_like_one_that_is_given_to_import() {
    let world = World::new();
    let fleet = fleet(&format!(
        "defaults: {{bucket: images}}\nimages:\n  - {{source: server.ova, name: whole, os_version: \
         {DEBIAN}}}\n  - {{source: server.ova, name: logs, type: DataImage, disk: 2}}\n"
    ));
    package(&fleet.dir.path().join("server.ova"));
    let ended = run(world.batch("run", &fleet, "state").arg("--json"));
    let report = report_of(ended.success());
    assert_eq!(states(&report)["active"], 2, "{report}");
    let active = world.active();
    assert_eq!(active["whole"], DEBIAN_TREE_DIGEST);
    assert_eq!(active["logs"], active["whole-data1"]);
    let id = report["items"][0]["image_id"].as_str().unwrap();
    let shown = run(world.command().args(["image", "show", id, "--json"]));
    assert_eq!(json_of(shown.success())["hw_firmware_type"], "uefi");
}

#[test]
fn which_disk_of_a_package_is_meant_is_asked_for_by_key() {
    let world = World::new();
    let fleet =
        fleet("images: [{source: server.ova, bucket: images, type: DataImage, register: quick}]");
    package(&fleet.dir.path().join("server.ova"));
    let plan = run(world.batch("plan", &fleet, "state").arg("--json"));
    assert_eq!(plan.code, Some(2), "{}", plan.stderr);
    let item = &json_of(&plan)["items"][0];
    let hint = item["hint"].as_str().unwrap();
    assert!(
        hint.contains("disk: \"system.qcow2\", or disk: \"data.img\""),
        "{item}"
    );
}
