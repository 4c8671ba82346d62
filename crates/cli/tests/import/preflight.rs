//! What is refused before the first byte is uploaded, and why.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::cloud::Cloud;
use crate::common::{self, DEBIAN, Run, json_of, run, testdata};

fn import(cloud: &Cloud, disk: &Path, options: &[&str]) -> Run {
    run(cloud
        .command()
        .arg("import")
        .arg(disk)
        .args(["--bucket", "images"])
        .args(options))
}

/// A disk of 8 MiB whose partition table has one partition of a type.
fn disk(dir: &Path, name: &str, kind: u8, active: bool) -> PathBuf {
    let mut bytes = vec![0_u8; 8 << 20];
    let entry = &mut bytes[446..462];
    entry[0] = if active { 0x80 } else { 0 };
    entry[4] = kind;
    entry[8..12].copy_from_slice(&2048_u32.to_le_bytes());
    entry[12..16].copy_from_slice(&4096_u32.to_le_bytes());
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    let path = dir.join(name);
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn an_operating_system_that_the_region_does_not_know_is_refused_with_the_nearest_names() {
    let cloud = Cloud::start(&["images"]);
    let real = testdata("debian-tree.qcow2");
    let refused = import(&cloud, &real, &["--name", "a", "--os-version", "debian 12"]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    for expected in [DEBIAN, "IMG.0056", "--skip-check os-version-known"] {
        assert!(refused.stderr.contains(expected), "{}", refused.stderr);
    }
    // The service has the last word.
    let skipped = [
        "--name",
        "a",
        "--os-version",
        "debian 12",
        "--skip-check",
        "os-version-known",
    ];
    let dry = import(&cloud, &real, &[&skipped[..], &["--dry-run"]].concat());
    dry.success();
    assert!(dry.stderr.contains("is skipped"), "{}", dry.stderr);
    let wet = import(&cloud, &real, &skipped);
    assert_eq!(wet.code, Some(3), "{}", wet.stderr);
    assert!(wet.stderr.contains("IMG.0056"), "{}", wet.stderr);
}

#[test]
fn an_operating_system_that_the_region_does_not_have_for_the_machine_is_refused() {
    let cloud = Cloud::start(&["images"]);
    let dir = tempfile::tempdir().unwrap();
    let path = disk(dir.path(), "disk.raw", 0xEF, false);
    let windows = ["--os-version", "Windows 10 64bit", "--dry-run"];
    let small = ["--os-version", "CentOS 7.0 32bit", "--dry-run"];
    let with = |options: &[&str], more: &[&str]| {
        import(&cloud, &path, &[&["--name", "a"], options, more].concat())
    };
    for (options, machine, tag) in [
        (&windows, &["--architecture", "arm"], "arm"),
        (&small, &["--firmware", "uefi"], "uefi,x86"),
    ] {
        let run = with(options, machine);
        assert_eq!(run.code, Some(2), "{}", run.stderr);
        let typed = format!("imgferry os-versions --tag {tag}");
        assert!(run.stderr.contains(&typed), "{}", run.stderr);
        let skipped = [&machine[..], &["--skip-check", "os-version-fits"]].concat();
        with(options, &skipped).success();
    }
    with(&windows, &["--firmware", "uefi"]).success();
}

#[test]
fn everything_that_the_cloud_knows_against_it_is_told_at_once() {
    let cloud = Cloud::start(&["images"]);
    let real = testdata("debian-tree.qcow2");
    import(&cloud, &real, &["--name", "a", "--os-version", DEBIAN]).success();
    // Without it nobody knows that the object holds this disk.
    std::fs::remove_file(cloud.object_path("images", "a.zvhd2.imgferry.json")).unwrap();
    let refused = import(
        &cloud,
        &real,
        &["--name", "a", "--os-version", "CentOS 7.99"],
    );
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    for expected in [
        "3 problems found",
        "IMG.0009",
        "IMG.0056",
        "CentOS 7.9 64bit",
        "--if-exists replace",
    ] {
        assert!(
            refused.stderr.contains(expected),
            "{expected}: {}",
            refused.stderr
        );
    }
    assert_eq!(cloud.objects("images"), ["a.zvhd2"]);
    assert_eq!(cloud.uploads(), 0);
}

#[test]
fn a_firmware_that_cannot_start_the_disk_is_refused_or_warned_of() {
    let cloud = Cloud::start(&["images"]);
    let dir = tempfile::tempdir().unwrap();
    let uefi = disk(dir.path(), "uefi.raw", 0xef, false);
    let bios = disk(dir.path(), "bios.raw", 0x83, true);
    let check = |disk: &Path, options: &[&str]| {
        let common = ["--name", "a", "--os-version", DEBIAN, "--dry-run"];
        import(&cloud, disk, &[&common[..], options].concat())
    };
    let refused = check(&uefi, &["--firmware", "bios"]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("--firmware uefi"),
        "{}",
        refused.stderr
    );
    let assumed = check(&uefi, &[]);
    assumed.success();
    assert!(
        assumed.stderr.contains("unless the firmware uefi"),
        "{}",
        assumed.stderr
    );
    let right = check(&uefi, &["--firmware", "uefi", "--json"]);
    right.success();
    let warnings = json_of(&right)["warnings"].to_string();
    assert!(!warnings.contains("firmware"), "{warnings}");

    for options in [["--firmware", "uefi"], ["--architecture", "arm"]] {
        let refused = check(&bios, &options);
        assert_eq!(refused.code, Some(2), "{}", refused.stderr);
        let mut skipped = options.to_vec();
        skipped.extend(["--skip-check", "boot-mode"]);
        check(&bios, &skipped).success();
    }
    check(&bios, &["--firmware", "bios"]).success();
}

#[test]
fn the_limits_are_those_of_the_cloud() {
    let dir = tempfile::tempdir().unwrap();
    let data = disk(dir.path(), "data.raw", 0x83, false);
    let refused = |cloud: &str| {
        let run = run(common::command()
            .args(["import"])
            .arg(&data)
            .args(["--bucket", "images", "--name", "a", "--type", "DataImage"])
            .args(["--region", "r-1", "--cloud", cloud, "--min-disk", "2000"])
            // Nobody listens there: what is refused is refused without asking.
            .args(["--iam-endpoint", "http://127.0.0.1:9"])
            .args(["--key", "a b"])
            .env("HW_ACCESS_KEY", "a")
            .env("HW_SECRET_KEY", "b"));
        assert_eq!(run.code, Some(2), "{}", run.stderr);
        run.stderr
    };
    assert!(refused("flexible-engine").contains("1 to 1024"));
    assert!(!refused("otc").contains("--min-disk"));
}

#[test]
fn the_firmware_is_held_against_files_that_are_uploaded_as_they_are_too() {
    let cloud = Cloud::start(&["images"]);
    let dir = tempfile::tempdir().unwrap();
    let uefi = disk(dir.path(), "uefi.raw", 0xef, false);
    for method in ["common", "glance"] {
        let check = |firmware: &str| {
            let options = ["--name", "a", "--register", method, "--dry-run"];
            let firmware = ["--firmware", firmware];
            import(&cloud, &uefi, &[&options[..], &firmware].concat())
        };
        let refused = check("bios");
        assert_eq!(refused.code, Some(2), "{}", refused.stderr);
        assert!(refused.stderr.contains("EFI"), "{}", refused.stderr);
        check("uefi").success();
    }
}

#[test]
fn each_way_to_register_has_its_own_limit_of_size() {
    let cloud = Cloud::start(&["images"]);
    let dir = tempfile::tempdir().unwrap();
    let sparse = |name: &str, size: u64| {
        let path = dir.path().join(name);
        fs::File::create(&path).unwrap().set_len(size).unwrap();
        path
    };
    let check = |disk: &Path, method: &str| {
        let options = ["--name", "a", "--type", "DataImage", "--format"];
        let format = match disk.extension().is_some_and(|ext| ext == "qcow2") {
            true => "qcow2",
            false => "raw",
        };
        let method = ["--register", method, "--dry-run"];
        import(&cloud, disk, &[&options[..], &[format], &method].concat())
    };
    // The file counts for the one, the disk inside for the other.
    let file = sparse("file.raw", (128 << 30) + 512);
    check(&file, "quick").success();
    let refused = check(&file, "common");
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    for expected in ["IMG.0059", "137438953984 bytes", "--register quick"] {
        assert!(refused.stderr.contains(expected), "{}", refused.stderr);
    }
    let large = dir.path().join("large.qcow2");
    let made = std::process::Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2"])
        .arg(&large)
        .arg("1536G")
        .status();
    assert!(made.unwrap().success());
    let refused = check(&large, "quick");
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("1 TiB"), "{}", refused.stderr);
    check(&large, "common").success();
}

#[test]
fn a_file_that_is_only_part_of_a_disk_is_not_uploaded_as_it_is() {
    let cloud = Cloud::start(&["images"]);
    let dir = tempfile::tempdir().unwrap();
    disk(dir.path(), "base.raw", 0x83, true);
    let layer = dir.path().join("layer.qcow2");
    let made = std::process::Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b", "base.raw"])
        .arg(&layer)
        .status();
    assert!(made.unwrap().success());
    let options = ["--name", "a", "--register", "common", "--dry-run"];
    let refused = import(
        &cloud,
        &layer,
        &[&options[..], &["--min-disk", "1"]].concat(),
    );
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    let inside = ["--allow-backing", dir.path().to_str().unwrap()];
    let refused = import(&cloud, &layer, &[&options[..], &inside].concat());
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("--register quick"),
        "{}",
        refused.stderr
    );
}
