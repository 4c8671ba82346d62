//! What a rejected import leaves behind on this machine: nothing.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use testkit::faults::{Fault, Op, Proxy, Seen};
use tokio::runtime::Runtime;

use crate::common::importing::Import;
use crate::common::{DEBIAN, Run, run};

const STORAGE: &str = "IMGFERRY_OBS_ENDPOINT";

/// Files in the directory of journals.
fn left(import: &Import) -> Vec<String> {
    let files = fs::read_dir(import.state_dir()).into_iter().flatten();
    files
        .map(|file| file.unwrap().file_name().to_string_lossy().into_owned())
        .collect()
}

/// The import of the disk as `a`, with defaults for what `options` leave out.
fn import_with(import: &Import, options: &[&str]) -> Command {
    let mut command = import.cloud.command();
    command.arg("import").arg(&import.source).args(options);
    for default in [
        ["--name", "a"],
        ["--bucket", "images"],
        ["--os-version", DEBIAN],
    ] {
        if !options.contains(&default[0]) {
            command.args(default);
        }
    }
    command.arg("--state-dir").arg(import.state_dir());
    command
}

#[track_caller]
fn leaves_nothing(import: &Import, rejected: &Run, says: &str) {
    assert!(
        matches!(rejected.code, Some(2..=4)),
        "{says}: {:?} {}",
        rejected.code,
        rejected.stderr
    );
    assert!(
        rejected.stderr.contains(says),
        "{says}: {}",
        rejected.stderr
    );
    assert!(left(import).is_empty(), "{says}: {:?}", left(import));
    assert_eq!(import.cloud.uploads(), 0, "{says}");
}

#[test]
fn an_import_that_is_rejected_by_a_check_leaves_no_journal() {
    let import = Import::of_noise(2);
    // Its journal is in another directory.
    let mut taken = import.cloud.command();
    taken.arg("import").arg(&import.source);
    taken.args([
        "--name",
        "taken",
        "--bucket",
        "images",
        "--os-version",
        DEBIAN,
    ]);
    run(&mut taken).success();
    for (options, says) in [
        (
            &["--region", "nowhere-1", "--cloud", "huawei"][..],
            "nowhere-1",
        ),
        (&["--bucket", "no-such-bucket"], "no bucket"),
        (&["--os-version", "CentOS 7.99"], "IMG.0056"),
        (&["--tag", "=x"], "--tag"),
        (&["--memory", "20M"], "--memory"),
        (&["--name", "taken", "--key", "b.zvhd2"], "IMG.0009"),
        (
            &["--key", "taken.zvhd2", "--if-exists", "fail"],
            "already exists",
        ),
    ] {
        let mut command = import_with(&import, options);
        if says == "nowhere-1" {
            for address in ["IAM", "IMS", "OBS"] {
                command.env_remove(format!("IMGFERRY_{address}_ENDPOINT"));
            }
        }
        leaves_nothing(&import, &run(&mut command), says);
    }
    // Another disk of the same size, one that is none, and one that is not there.
    let mut disk = fs::read(&import.source).unwrap();
    disk[1 << 20] ^= 1;
    fs::write(&import.source, disk).unwrap();
    let key = ["--key", "taken.zvhd2"];
    let differs = run(&mut import_with(&import, &key));
    leaves_nothing(&import, &differs, "holds another disk");
    fs::write(&import.source, "QFI\u{fb}").unwrap();
    leaves_nothing(&import, &run(&mut import_with(&import, &[])), "noise.raw");
    fs::remove_file(&import.source).unwrap();
    leaves_nothing(&import, &run(&mut import_with(&import, &[])), "noise.raw");
}

#[test]
fn an_import_whose_upload_does_not_begin_leaves_no_journal() {
    let import = Import::of_noise(2);
    let address: SocketAddr = import
        .cloud
        .variable(STORAGE)
        .trim_start_matches("http://")
        .trim_end_matches('/')
        .parse()
        .unwrap();
    let runtime = Runtime::new().unwrap();
    let proxy = runtime.block_on(Proxy::start(address)).unwrap();
    for code in ["AccessDenied", "InvalidRequest"] {
        let begins = |seen: &Seen| seen.op == Op::CreateUpload;
        proxy.always(begins, Fault::answer(403, code));
        let rejected = run(import.command().env(STORAGE, proxy.url()));
        leaves_nothing(&import, &rejected, code);
        proxy.heal();
    }
    // There is no room for the journal.
    let script = "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\"";
    let command = import.command();
    let mut shell = Command::new("bash");
    shell.arg("-c").arg(script).arg(command.get_program());
    shell.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let full = run(&mut shell);
    leaves_nothing(&import, &full, "journal");
    run(&mut import.command()).success();
}

#[test]
fn a_disk_in_several_files_is_not_uploaded_as_one_of_them() {
    let mut import = Import::of_noise(2);
    fs::rename(&import.source, import.dir.path().join("disk-flat.vmdk")).unwrap();
    import.source = import.dir.path().join("disk.vmdk");
    let extent = "RW 4096 FLAT \"disk-flat.vmdk\" 0";
    let descriptor = testkit::vmdk::descriptor("monolithicFlat", &[extent], 1, None);
    fs::write(&import.source, descriptor).unwrap();
    for way in ["common", "glance"] {
        let rejected = run(&mut import_with(&import, &["--register", way]));
        leaves_nothing(&import, &rejected, "the disk is in 2 files");
        let told = "--register quick";
        assert!(rejected.stderr.contains(told), "{}", rejected.stderr);
    }
}
