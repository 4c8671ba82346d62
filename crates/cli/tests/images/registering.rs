//! The ways in which a file becomes an image.

use std::time::Duration;

use sandbox::{Options, Sandbox};
use serde_json::Value;

use crate::common::cloud::Cloud;
use crate::common::{self, json_of, run};
use crate::{ferry, refused, told};

/// A raw file as a user has it, with something in it.
fn raw_disk(dir: &std::path::Path, name: &str) -> std::path::PathBuf {
    let path = dir.join(name);
    let mut bytes = vec![0; 8 << 20];
    bytes[1 << 20..2 << 20].copy_from_slice(&common::noise(1 << 20));
    // Where a BIOS begins.
    bytes[..3].copy_from_slice(b"\xeb\x63\x90");
    std::fs::write(&path, bytes).unwrap();
    path
}

#[track_caller]
fn import_of(cloud: &Cloud, disk: &std::path::Path, options: &[&str]) -> Value {
    let mut command = cloud.command();
    command
        .arg("import")
        .arg(disk)
        .args(["--bucket", "images", "--json"]);
    let run = run(command.args(options));
    run.success();
    json_of(&run)
}

#[test]
fn a_common_import_uploads_the_file_as_it_is() {
    let cloud = Cloud::start(&["images"]);
    let dir = tempfile::tempdir().unwrap();
    let disk = raw_disk(dir.path(), "disk.raw");
    let digest = told(&cloud, &["digest", disk.to_str().unwrap()])["digest"].clone();
    let made = import_of(
        &cloud,
        &disk,
        &["--name", "a", "--register", "common", "--firmware", "uefi"],
    );
    assert_eq!(made["status"], "active");
    assert_eq!(made["key"], "a.raw");
    assert_eq!(made["image_digest"], digest);
    assert_eq!(made["firmware"], "uefi");
    let stored = std::fs::read(cloud.object_path("images", "a.raw")).unwrap();
    assert_eq!(stored, std::fs::read(&disk).unwrap());
    let data = import_of(
        &cloud,
        &disk,
        &["--name", "d", "--register", "common", "--type", "DataImage"],
    );
    assert_eq!(data["status"], "active");
    let secret = import_of(&cloud, &disk, &["--name", "s", "--cmk-id", "sandbox-key"]);
    assert_eq!(secret["register"], "common");
    let shown = told(
        &cloud,
        &["image", "show", secret["image_id"].as_str().unwrap()],
    );
    assert_eq!(shown["__system__cmkid"], "sandbox-key");
    // What was converted on the way out of a raw image is ZVHD2 with the same content.
    let out = dir.path().join("out.raw");
    let id = made["image_id"].as_str().unwrap();
    let export = told(
        &cloud,
        &["export", id, out.to_str().unwrap(), "--bucket", "images"],
    );
    assert_eq!(export["digest"], digest);
}

#[test]
fn two_steps_make_the_same_image_with_the_firmware_set_afterwards() {
    let cloud = Cloud::start(&["images"]);
    let dir = tempfile::tempdir().unwrap();
    let disk = raw_disk(dir.path(), "disk.raw");
    let digest = told(&cloud, &["digest", disk.to_str().unwrap()])["digest"].clone();
    // The metadata has no field for the firmware, so it is changed when the image is active.
    let made = import_of(
        &cloud,
        &disk,
        &["--name", "g", "--register", "glance", "--firmware", "uefi"],
    );
    assert_eq!(made["image_digest"], digest);
    assert_eq!(made["firmware"], "uefi");
}

#[test]
fn the_way_is_chosen_by_what_the_file_is_and_said() {
    let cloud = Cloud::start(&["images"]);
    let dir = tempfile::tempdir().unwrap();
    let mut iso = vec![0_u8; 1 << 20];
    iso[0x8001..0x8006].copy_from_slice(b"CD001");
    let disk = dir.path().join("cd.iso");
    std::fs::write(&disk, iso).unwrap();
    let made = import_of(
        &cloud,
        &disk,
        &["--name", "cd", "--os-version", common::DEBIAN],
    );
    assert_eq!(made["register"], "common");
    let shown = told(
        &cloud,
        &["image", "show", made["image_id"].as_str().unwrap()],
    );
    assert_eq!(shown["virtual_env_type"], "IsoImage");
    let mut command = cloud.command();
    command
        .arg("import")
        .arg(&disk)
        .args(["--bucket", "images", "--name", "cd2"]);
    let refused = run(&mut command);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("--os-version"),
        "{}",
        refused.stderr
    );
    // What imgferry reads is converted; without registering only the object is left.
    let raw = raw_disk(dir.path(), "disk.raw");
    let quick = import_of(
        &cloud,
        &raw,
        &["--name", "q", "--os-version", common::DEBIAN],
    );
    assert_eq!(quick["key"], "q.zvhd2");
    assert_eq!(quick["register"], "quick");
    let none = [
        "--name",
        "n",
        "--os-version",
        common::DEBIAN,
        "--register",
        "none",
    ];
    let none = import_of(&cloud, &raw, &none);
    assert_eq!(none["key"], "n.zvhd2");
    assert_eq!(none["register"], "none");
    assert_eq!(
        told(&cloud, &["image", "list", "--name", "n"])["images"],
        Value::Array(vec![])
    );
}

#[test]
fn each_import_says_which_way_it_goes_and_why() {
    let cloud = Cloud::start(&["images"]);
    let dir = tempfile::tempdir().unwrap();
    let disk = raw_disk(dir.path(), "disk.raw");
    let dry = |options: &[&str]| {
        let mut command = cloud.command();
        command
            .arg("import")
            .arg(&disk)
            .args(["--bucket", "images"]);
        command.args(["--name", "a", "--os-version", common::DEBIAN]);
        run(command.args(["--dry-run"]).args(options))
    };
    for (options, method, way, why) in [
        (
            &[][..],
            "quick",
            "converted and registered by quick import",
            "imgferry reads the disk",
        ),
        (
            &["--register", "quick"],
            "quick",
            "converted and registered by quick import",
            "asked for",
        ),
        (
            &["--cmk-id", "sandbox-key"],
            "common",
            "uploaded unchanged and registered by common import",
            "neither encrypts",
        ),
        (
            &["--register", "glance"],
            "glance",
            "uploaded unchanged and registered in two steps",
            "asked for",
        ),
    ] {
        let text = dry(options);
        text.success();
        let will = format!("will be {way}: ");
        assert!(text.stderr.contains(&will), "{}", text.stderr);
        let would = text.text();
        assert!(would.contains(&format!("--register {method}: ")), "{would}");
        for said in [&text.stderr, &would] {
            assert!(said.contains(why), "{said}");
        }
        // Nothing will be done with what is refused.
        let refused = dry(&[options, &["--min-disk", "1", "--tag", "=x"]].concat());
        assert_eq!(refused.code, Some(2), "{}", refused.stderr);
        assert!(!refused.stderr.contains("will be"), "{}", refused.stderr);
        let told = json_of(dry(&[options, &["--json", "--quiet"]].concat()).success());
        assert_eq!(told["register"], method);
        let reason = told["register_reason"].as_str().unwrap();
        assert!(reason.contains(why), "{reason}");
    }
}

#[test]
fn data_disks_are_registered_together_with_their_system() {
    let cloud = Cloud::start(&["images"]);
    let dir = tempfile::tempdir().unwrap();
    let system = raw_disk(dir.path(), "system.raw");
    let data = raw_disk(dir.path(), "data.img");
    let data = data.to_str().unwrap();
    let made = import_of(
        &cloud,
        &system,
        &[
            "--name",
            "web",
            "--data-disk",
            data,
            "--data-disk",
            data,
            "--tag",
            "env=prod",
        ],
    );
    assert_eq!(made["register"], "common");
    assert_eq!(made["status"], "active");
    let images = made["data_images"].as_array().unwrap();
    assert_eq!(images.len(), 2);
    for (image, number) in images.iter().zip(1..) {
        assert_eq!(image["name"], format!("web-data{number}"));
        let shown = told(
            &cloud,
            &["image", "show", image["image_id"].as_str().unwrap()],
        );
        assert_eq!(shown["status"], "active");
        assert_eq!(shown["virtual_env_type"], "DataImage");
    }
    let mut objects = cloud.objects("images");
    objects.sort();
    assert_eq!(objects, ["web-data1.img", "web-data2.img", "web.raw"]);
    let tagged = told(&cloud, &["image", "list", "--tag", "env=prod"]);
    assert_eq!(tagged["images"].as_array().unwrap().len(), 3);

    // Names and keys of all are looked at before anything is sent.
    let path = system.to_str().unwrap();
    let again = |name: &str, options: &[&str], says: &str| {
        let mut args = vec!["import", path, "--bucket", "images", "--name", name];
        args.extend([
            "--key",
            "web.raw",
            "--if-exists",
            "fail",
            "--data-disk",
            data,
        ]);
        args.extend(options);
        refused(&cloud, &args, 2, says);
    };
    again("web", &["--dry-run"], "web-data1");
    let more = [
        "--data-disk",
        data,
        "--data-disk",
        data,
        "--data-disk",
        data,
    ];
    again("web2", &more, "IMG.0194");
    again(
        "web2",
        &["--cmk-id", "sandbox-key"],
        "the key would encrypt the system image and not its data disks",
    );
    again(
        "web2",
        &["--register", "none"],
        "data disks are for imports",
    );
    assert_eq!(cloud.objects("images").len(), 3);
}

#[test]
fn a_wait_that_ends_early_leaves_the_job_and_says_how_to_follow_it() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sandbox = runtime.block_on(async {
        let mut options = Options::new(dir.path().join("sandbox"));
        options.buckets = vec!["images".to_owned()];
        // However late the first look is, the job is not done.
        options.faults.job_delay = Duration::from_secs(5);
        Sandbox::start(options).await.unwrap()
    });
    let ferry = |args: &[&str]| {
        let mut command = common::command();
        command.env("XDG_STATE_HOME", dir.path().join("state"));
        command.env("IMGFERRY_PATH_STYLE", "true");
        run(command.envs(sandbox.environment()).args(args))
    };
    let disk = raw_disk(dir.path(), "disk.raw");
    for method in ["quick", "common"] {
        let import = ["import", disk.to_str().unwrap(), "--bucket", "images"];
        let named = ["--name", method, "--os-version", common::DEBIAN];
        let waits = ["--register", method, "--timeout", "0", "--json"];
        let run = ferry(&[&import[..], &named, &waits].concat());
        assert_eq!(run.code, Some(3), "{}", run.stderr);
        assert!(run.stderr.contains("within 0 s"), "{}", run.stderr);
        let told = json_of(&run);
        let job = told["job_id"].as_str().unwrap();
        ferry(&["job", "wait", job]).success();
    }
    runtime.block_on(sandbox.shutdown());
}

#[test]
fn data_disks_are_converted_and_imported_quickly_with_their_system() {
    let cloud = Cloud::start(&["images"]);
    let dir = tempfile::tempdir().unwrap();
    let system = raw_disk(dir.path(), "system.raw");
    let data = raw_disk(dir.path(), "data.img");
    let (system_path, data_path) = (system.to_str().unwrap(), data.to_str().unwrap());
    let options = [
        "--register",
        "quick",
        "--name",
        "web",
        "--os-version",
        common::DEBIAN,
        "--data-disk",
        data_path,
        "--data-disk",
        data_path,
    ];
    let dry = ["import", system_path, "--bucket", "images", "--dry-run"];
    let text = ferry(&cloud, &[&dry[..], &options].concat())
        .success()
        .text();
    assert!(text.contains("would convert"), "{text}");
    assert!(text.contains("images:web-data2.zvhd2"), "{text}");

    // The size of a system with data disks is that of its file.
    let small = common::testdata("debian-tree.qcow2");
    let planned = import_of(&cloud, &small, &[&options[..], &["--dry-run"]].concat());
    let file = std::fs::metadata(&small).unwrap().len();
    assert_eq!(planned["size"], file);

    let import = ["import", system_path, "--bucket", "images", "--json"];
    let run = ferry(&cloud, &[&import[..], &options].concat());
    run.success();
    let said = run.stderr.matches("registering image").count();
    assert_eq!(said, 1, "{}", run.stderr);
    let made = json_of(&run);
    assert_eq!(made["register"], "quick");
    assert_eq!(made["status"], "active");
    let digest = |path: &str| told(&cloud, &["digest", path])["digest"].clone();
    assert_eq!(made["digest"], digest(system_path));
    assert_eq!(made["image_digest"], made["digest"]);
    let images = made["data_images"].as_array().unwrap();
    assert_eq!(images.len(), 2);
    for image in images {
        let id = image["image_id"].as_str().unwrap();
        let shown = told(&cloud, &["image", "show", id]);
        assert_eq!(shown["status"], "active");
        assert_eq!(shown["virtual_env_type"], "DataImage");
        assert_eq!(shown["__imgferry_content_digest"], digest(data_path));
    }
    let mut objects = cloud.objects("images");
    objects.sort();
    let expected = ["web-data1.zvhd2", "web-data2.zvhd2", "web.zvhd2"];
    assert_eq!(objects, expected);
    for object in expected {
        // One call took all three, by quick import: nothing else refuses what is not ZVHD2.
        assert!(cloud.object("images", object).len() < 2 << 20, "{object}");
    }

    // Advice is about what was not done already.
    let raw = [&dry[..4], &options, &["--to", "raw"]].concat();
    let raw = refused(&cloud, &raw, 2, "import the data disks alone");
    assert!(!raw.stderr.contains("--register quick"), "{}", raw.stderr);

    // What quick import must be told is asked for before anything is sent.
    let unnamed = [
        "--register",
        "quick",
        "--name",
        "b",
        "--data-disk",
        data_path,
    ];
    let args = [&dry[..4], &unnamed].concat();
    refused(&cloud, &args, 2, "IMG.0159");
    let key = [&args[..], &["--cmk-id", "sandbox-key"]].concat();
    refused(
        &cloud,
        &key,
        2,
        "encryption and preparation are for the common import",
    );
    assert_eq!(cloud.objects("images").len(), 3);
}

#[test]
fn the_system_that_the_service_finds_counts_and_no_fault_of_it_fails_the_job() {
    let cloud = Cloud::start(&["images"]);
    // It would not boot, and the given name is another system's.
    let disk = common::testdata("guest/centos7-lvm.qcow2");
    let wrong = ["--os-version", common::DEBIAN];
    let given = [&["--name", "c", "--register", "common"][..], &wrong].concat();
    let shown = |made: &Value| {
        let id = made["image_id"].as_str().unwrap();
        told(&cloud, &["image", "show", id])["__os_version"].clone()
    };
    let made = import_of(&cloud, &disk, &given);
    assert_eq!(made["status"], "active");
    assert_eq!(shown(&made), "CentOS 7.9 64bit");
    // Quick import takes a disk as it is.
    let made = import_of(&cloud, &disk, &[&["--name", "q"][..], &wrong].concat());
    assert_eq!(made["status"], "active");
    assert_eq!(shown(&made), common::DEBIAN);
}
