//! Machines from their packages: all disks by one command, resumed after a kill, verified by the
//! manifest.

use std::fs;
use std::path::Path;

use diskimg::text::shown;
use testkit::faults::Fault;
use testkit::ova::{Machine, Tar, manifest};

use crate::common::importing::{Import, MIB, is_right};
use crate::common::{DEBIAN_TREE_DIGEST, json_of, noise, run, testdata, wait_until};
use crate::whole::{IMAGES, before_images, images, run_until_stored};

/// A machine whose system disk is the real disk and whose data disk is noise, in a package.
fn server() -> Import {
    let mut import = Import::of_noise(48);
    let noise = fs::read(&import.source).unwrap();
    let system = fs::read(testdata("debian-tree.qcow2")).unwrap();
    let machine = Machine {
        firmware: Some("efi"),
        ..Machine::new(
            "server",
            &[("system.qcow2", 2 << 30), ("data.img", 48 * MIB)],
        )
    };
    import.source = import.dir.path().join("server.ova");
    fs::write(&import.source, machine.archive(&[&system, &noise])).unwrap();
    import
}

fn digest(import: &Import, member: &str) -> String {
    let path = &import.source;
    let run = run(import
        .cloud
        .command()
        .args(["digest", "--json", "--disk", member])
        .arg(path));
    run.success();
    json_of(&run)["digest"].as_str().unwrap().to_owned()
}

#[test]
fn a_machine_that_is_killed_in_the_middle_becomes_all_of_its_images() {
    let import = server();
    let stopped = import.interrupt(2, "KILL");
    assert_eq!(stopped.code, None);
    let done = import.go_on();
    let json = is_right(&done);
    assert_eq!(json["digest"], DEBIAN_TREE_DIGEST);
    assert_eq!(json["firmware"], "uefi", "the package says so");
    assert!(
        done.stderr.contains("already stored"),
        "it resumes: {}",
        done.stderr
    );
    let data = json["data_images"].as_array().unwrap();
    assert_eq!(data.len(), 1);
    let id = data[0]["image_id"].as_str().unwrap();
    let shown = run(import.cloud.command().args(["image", "show", id, "--json"]));
    shown.success();
    let shown = json_of(&shown);
    assert_eq!(shown["status"], "active");
    assert_eq!(shown["virtual_env_type"], "DataImage");
    assert_eq!(
        shown["__imgferry_content_digest"],
        digest(&import, "data.img")
    );
    assert_eq!(digest(&import, "1"), DEBIAN_TREE_DIGEST);
    assert_eq!(import.cloud.uploads(), 0);
}

#[test]
fn one_disk_of_a_machine_is_imported_alone() {
    let import = server();
    let mut command = import.command();
    command.args(["--disk", "system.qcow2"]);
    let json = is_right(&run(&mut command));
    assert_eq!(json["digest"], DEBIAN_TREE_DIGEST);
    assert!(json["data_images"].is_null());
    assert_eq!(import.cloud.objects("images"), ["a.zvhd2"]);
    let convert = run(import
        .cloud
        .command()
        .args(["convert"])
        .arg(&import.source)
        .arg(import.dir.path().join("x.zvhd2")));
    assert_eq!(convert.code, Some(2));
    assert!(
        convert.stderr.contains("--disk data.img"),
        "{}",
        convert.stderr
    );
}

#[test]
fn the_object_of_one_disk_is_not_registered_for_another_disk_of_the_machine() {
    let import = server();
    let disk = |name: &str| {
        let mut command = import.command();
        command.args(["--disk", name]);
        command
    };
    run_until_stored(&import, &mut disk("data.img"));
    let refused = run(&mut disk("system.qcow2"));
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    for told in [
        "it was of another disk of the same file: \"data.img\", now \"system.qcow2\"",
        "images:a.zvhd2 already exists",
    ] {
        assert!(refused.stderr.contains(told), "{}", refused.stderr);
    }
    assert!(images(&import).is_empty());
    let replaced = run(disk("system.qcow2").args(["--if-exists", "replace"]));
    assert_eq!(is_right(&replaced)["digest"], DEBIAN_TREE_DIGEST);
}

/// The process is killed while the service makes the image of the system alone.
#[test]
fn a_system_disk_that_was_registered_alone_does_not_stand_in_for_the_machine() {
    let import = server();
    let (proxy, _runtime) = before_images(&import);
    proxy.always(|seen| seen.path().contains("/jobs/"), Fault::Stall);
    let mut alone = import.command();
    alone.args(["--disk", "system.qcow2"]);
    let mut child = alone.env(IMAGES, proxy.url()).spawn().unwrap();
    wait_until(|| import.state_dir().exists() && import.status()["job_id"].is_string());
    wait_until(|| images(&import) == [("a".to_owned(), "active".to_owned())]);
    child.kill().unwrap();
    child.wait().unwrap();
    let refused = import.go_on();
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    for told in ["it had 0 data disks, and has 1", "already has the name"] {
        assert!(refused.stderr.contains(told), "{}", refused.stderr);
    }
    let replaced = run(import.command().args(["--if-exists", "replace"]));
    let json = is_right(&replaced);
    assert_eq!(json["data_images"][0]["status"], "active", "{json}");
}

#[test]
fn a_package_of_several_disks_is_no_data_disk() {
    let mut import = server();
    let package = import.source.clone();
    import.source = testdata("debian-tree.qcow2");
    let mut command = import.command();
    command.args(["--register", "quick", "--data-disk"]);
    let refused = run(command.arg(&package));
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    let told = format!(
        "imgferry convert {} disk.zvhd2 --disk system.qcow2, or --disk data.img",
        package.display()
    );
    assert!(refused.stderr.contains(&told), "{}", refused.stderr);
}

/// A package whose manifest has another digest of the disk.
fn damaged(path: &Path) {
    let disk = fs::read(testdata("debian-tree.qcow2")).unwrap();
    let machine = Machine::new("vm", &[("d.qcow2", 2 << 30)]);
    let descriptor = machine.descriptor();
    let listed = manifest(&[("vm.ovf", descriptor.as_bytes()), ("d.qcow2", b"other")]);
    let tar = Tar::new()
        .file("vm.ovf", descriptor.as_bytes())
        .file("vm.mf", listed.as_bytes())
        .file("d.qcow2", &disk);
    fs::write(path, tar.end()).unwrap();
}

#[test]
fn a_disk_that_is_not_what_the_manifest_says_becomes_nothing() {
    let mut import = Import::of_noise(1);
    import.source = import.dir.path().join("vm.ova");
    damaged(&import.source);
    let failed = run(&mut import.command());
    assert_eq!(failed.code, Some(5), "{}", failed.stderr);
    assert!(failed.stderr.contains("d.qcow2"), "{}", failed.stderr);
    assert!(import.cloud.objects("images").is_empty());
    assert_eq!(import.cloud.uploads(), 0);
    assert_eq!(import.confirmed_parts(), 0);
    assert!(import.status().is_null(), "{}", import.status());

    // What was uploaded without a look at the manifest counts only for who ignores it.
    let mut command = import.command();
    run_until_stored(&import, command.arg("--ignore-manifest"));
    let failed = run(&mut import.command());
    assert_eq!(failed.code, Some(5), "{}", failed.stderr);
    let told = "it did not check the manifest of the package";
    assert!(failed.stderr.contains(told), "{}", failed.stderr);
    assert!(images(&import).is_empty());

    let target = import.dir.path().join("x.zvhd2");
    let convert = |more: &[&str]| {
        let mut command = import.cloud.command();
        command.arg("convert").args(more).arg(&import.source);
        run(command.arg(&target))
    };
    let failed = convert(&[]);
    assert_eq!(failed.code, Some(5), "{}", failed.stderr);
    assert!(!target.exists(), "{}", shown(&target));
    convert(&["--ignore-manifest"]).success();
    assert!(target.exists());
}

#[test]
fn a_disk_that_its_package_compresses_becomes_an_active_image() {
    let mut import = Import::of_noise(1);
    import.source = testdata("ova/gz.ova");
    let done = import.go_on();
    let json = is_right(&done);
    assert_eq!(
        json["digest"],
        "v1:7c978fa3d9887924696740d27d907e62b430496e39df79dbacbb81444b7479e5"
    );
}

/// A disk that cannot be decoded is what a damaged download looks like.
#[test]
fn damage_that_stops_the_reader_is_told_by_the_manifest() {
    let mut import = Import::of_noise(0);
    import.source = import.dir.path().join("vm.ova");
    let disk = fs::read(testdata("debian-tree.qcow2")).unwrap();
    let machine = Machine::new("vm", &[("d.qcow2", 2 << 30)]);
    let whole = machine.archive(&[&disk]);
    let start = whole
        .windows(4)
        .position(|four| four == b"QFI\xfb")
        .unwrap();
    // A table that says where guest bytes are; and guest bytes, which are compressed.
    for at in [0x4_0000, 0x5_0000] {
        let mut damaged = whole.clone();
        damaged[start + at..start + at + 512].fill(0xff);
        fs::write(&import.source, damaged).unwrap();
        let target = import.dir.path().join("x.zvhd2");
        let mut convert = import.cloud.command();
        convert.arg("convert").arg(&import.source).arg(&target);
        let mut digest = import.cloud.command();
        digest.arg("digest").arg(&import.source);
        for command in [&mut convert, &mut digest, &mut import.command()] {
            let failed = run(command);
            assert_eq!(failed.code, Some(5), "{at:#x}: {}", failed.stderr);
            let told = "the disk \"d.qcow2\" is not what it was";
            assert!(failed.stderr.contains(told), "{}", failed.stderr);
            // What was found first is a note.
            assert!(failed.stderr.lines().count() > 2, "{}", failed.stderr);
        }
        assert!(!target.exists());
        assert_eq!(import.cloud.uploads(), 0);
    }
}

/// The same machine in a directory: its descriptor with the disks beside it.
fn in_a_folder(machine: &Machine, contents: &[&[u8]]) -> Import {
    let mut import = Import::of_noise(0);
    import.source = import.dir.path().join(format!("{}.ovf", machine.name));
    fs::write(&import.source, machine.descriptor()).unwrap();
    for ((name, _), content) in machine.disks.iter().zip(contents) {
        fs::write(import.dir.path().join(name), content).unwrap();
    }
    import
}

#[test]
fn a_disk_beside_its_descriptor_goes_on_after_a_kill() {
    let machine = Machine::new("vm", &[("vm-disk1.img", 48 * MIB)]);
    let import = in_a_folder(&machine, &[&noise(48 << 20)]);
    import.interrupt(2, "KILL");
    let done = import.go_on();
    is_right(&done);
    assert!(done.stderr.contains("already stored"), "{}", done.stderr);
}

#[test]
fn a_disk_beside_its_descriptor_that_was_replaced_is_not_taken_for_the_imported_one() {
    let machine = Machine::new("vm", &[("vm-disk1.img", 2 * MIB)]);
    let import = in_a_folder(&machine, &[&noise(2 << 20)]);
    is_right(&import.go_on());
    assert_eq!(is_right(&import.go_on())["result"], "already-imported");
    let mut other = noise(2 << 20);
    other[1 << 20] ^= 1;
    fs::write(import.dir.path().join("vm-disk1.img"), other).unwrap();
    let refused = import.go_on();
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    let told = "holds another disk";
    assert!(refused.stderr.contains(told), "{}", refused.stderr);
}
