//! An import that is based on the object of an earlier one.

use std::fs;
use std::path::PathBuf;

use sandbox::faults::Faults;
use sandbox::{Options, Sandbox};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::cloud::Cloud;
use crate::common::importing::is_right;
use crate::common::{self, Run, command, json_of, run};

const MIB: usize = 1 << 20;

/// A disk that was imported as `a.zvhd2`.
struct Based {
    cloud: Cloud,
    dir: TempDir,
    disk: Vec<u8>,
}

impl Based {
    fn new() -> Self {
        let this = Self {
            cloud: Cloud::start(&["images"]),
            dir: tempfile::tempdir().unwrap(),
            disk: common::noise(48 * MIB),
        };
        this.write(&this.disk);
        let first = this.import("a", &[]);
        assert_eq!(is_right(&first)["uploaded"]["copied_bytes"], Value::Null);
        this
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("disk.raw")
    }

    fn write(&self, disk: &[u8]) {
        fs::write(self.path(), disk).unwrap();
    }

    fn import(&self, name: &str, options: &[&str]) -> Run {
        let mut command = self.cloud.command();
        command.arg("import").arg(self.path()).args(options);
        command.args(["--name", name, "--bucket", "images", "--type", "DataImage"]);
        run(command.arg("--json"))
    }

    fn next(&self, name: &str) -> Run {
        self.import(name, &["--base", "a.zvhd2"])
    }

    /// A file beside the first object.
    fn beside(&self, ending: &str) -> PathBuf {
        self.cloud
            .object_path("images", &format!("a.zvhd2{ending}"))
    }

    #[track_caller]
    fn refuses(&self, why: &str) {
        let refused = self.next("b");
        assert_eq!(refused.code, Some(2), "{}", refused.stderr);
        assert!(refused.stderr.contains(why), "{}", refused.stderr);
        assert!(
            refused.stderr.contains("leave --base out"),
            "{}",
            refused.stderr
        );
        assert_eq!(self.cloud.objects("images"), ["a.zvhd2"]);
        assert_eq!(self.cloud.uploads(), 0);
    }
}

#[test]
fn only_what_has_changed_is_sent_and_the_object_is_whole() {
    let mut based = Based::new();
    let at = 20 * MIB + 5;
    based.disk[at..at + 9].copy_from_slice(b"a change!");
    based.write(&based.disk);
    let next = based.next("b");
    let json = is_right(&next);
    let (sent, copied) = (
        json["uploaded"]["sent_bytes"].as_u64().unwrap(),
        json["uploaded"]["copied_bytes"].as_u64().unwrap(),
    );
    // A part in front, one around the change, and the tables.
    assert!(sent < 20 * MIB as u64, "{sent}");
    assert!(copied > 28 * MIB as u64, "{copied}");
    assert!(json["uploaded"]["etag_verified"].as_bool().unwrap());
    let verified = run(based
        .cloud
        .command()
        .arg("verify")
        .arg(based.path())
        .arg("obs://images/b.zvhd2"));
    verified.success();
    // The next generation is based on this one.
    let third = based.import("c", &["--base", "b.zvhd2"]);
    let json = is_right(&third);
    assert!(json["uploaded"]["copied_bytes"].as_u64().unwrap() > 36 * MIB as u64);
    assert_eq!(json["digest"], json_of(&next)["digest"]);
}

#[test]
fn the_object_of_an_image_can_be_the_base() {
    let based = Based::new();
    let image = json_of(&based.import("other", &["--key", "x/y.zvhd2"]));
    let id = image["image_id"].as_str().unwrap();
    let json = is_right(&based.import("b", &["--base", id])).clone();
    assert!(json["uploaded"]["copied_bytes"].as_u64().unwrap() > 40 * MIB as u64);
    let nobody = "00000000-0000-4000-8000-000000000000";
    let none = based.import("c", &["--base", nobody]);
    assert_eq!(none.code, Some(2), "{}", none.stderr);
    assert!(
        none.stderr.contains("there is no such image"),
        "{}",
        none.stderr
    );
    // What became of the object is found out as of any other.
    fs::remove_file(based.cloud.object_path("images", "x/y.zvhd2.blocks")).unwrap();
    let none = based.import("c", &["--base", id]);
    assert_eq!(none.code, Some(2), "{}", none.stderr);
    assert!(
        none.stderr.contains("no table of its blocks"),
        "{}",
        none.stderr
    );
}

#[test]
fn a_dry_run_says_what_would_be_copied_from() {
    let based = Based::new();
    let planned = based.import("b", &["--base", "a.zvhd2", "--dry-run"]);
    let base = &json_of(planned.success())["base"];
    assert_eq!(
        (&base["key"], &base["blocks"]),
        (&"a.zvhd2".into(), &24.into())
    );
    assert!(base["size"].as_u64().unwrap() > 48 * MIB as u64);
    assert_eq!(based.cloud.objects("images"), ["a.zvhd2"]);
}

#[test]
fn smaller_parts_send_less_where_the_storage_takes_them() {
    let mut based = Based::new();
    based.disk[20 * MIB] ^= 1;
    based.write(&based.disk);
    let options = ["--base", "a.zvhd2", "--min-part", "100KiB"];
    let json = is_right(&based.import("b", &options));
    // The head with the first block, the block with the change, and the tables.
    let sent = json["uploaded"]["sent_bytes"].as_u64().unwrap();
    assert!(sent < 5 * MIB as u64, "{sent}");
    let refused = based.import("c", &["--base", "a.zvhd2", "--min-part", "99KiB"]);
    assert_eq!(refused.code, Some(2));
    let why = "expected a size from 100KiB to 5MiB";
    assert!(refused.stderr.contains(why), "{}", refused.stderr);
}

#[test]
fn a_resumed_import_can_be_a_base_too() {
    let importing = common::importing::Import::of_noise(64);
    importing.interrupt(2, "KILL");
    is_right(&importing.go_on());
    let mut next = importing.named("b");
    let json = is_right(&run(next.args(["--base", "a.zvhd2"])));
    assert!(json["uploaded"]["copied_bytes"].as_u64().unwrap() > 40 * MIB as u64);
}

#[test]
fn a_delta_that_is_killed_is_made_again() {
    let importing = common::importing::Import::with_rate(64, 64 << 20);
    is_right(&importing.go_on());
    let mut disk = fs::read(&importing.source).unwrap();
    disk[..40 * MIB].reverse();
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    fs::write(&importing.source, disk).unwrap();
    let command = || {
        let mut command = importing.named("b");
        command.args(["--base", "a.zvhd2"]);
        command
    };
    let child = command().spawn().unwrap();
    // Then the journal knows the upload.
    common::wait_until(|| importing.parts() > 0);
    common::send(&child, "KILL");
    child.wait_with_output().unwrap();
    let json = is_right(&run(&mut command()));
    assert!(json["uploaded"]["copied_bytes"].as_u64().unwrap() > 0);
    assert_eq!(importing.cloud.uploads(), 0);
}

#[test]
fn a_raw_import_with_a_base_goes_on_after_a_kill() {
    let importing = common::importing::Import::with_rate(64, 16 << 20);
    let import = |name: &str, more: &[&str]| {
        let mut command = importing.cloud.command();
        command.arg("import").arg(&importing.source).args(more);
        command.args(["--to", "raw", "--name", name, "--bucket", "images"]);
        command.args(["--type", "DataImage", "--json", "--state-dir"]);
        command.arg(importing.state_dir());
        command.env("IMGFERRY_OBS_ENDPOINT", importing.line.url());
        command
    };
    is_right(&run(&mut import("a", &[])));
    let mut disk = fs::read(&importing.source).unwrap();
    disk[..40 * MIB].reverse();
    fs::write(&importing.source, &disk).unwrap();
    let next = || import("b", &["--base", "a.raw"]);
    let child = next().spawn().unwrap();
    common::wait_until(|| importing.parts() > 0);
    common::send(&child, "KILL");
    child.wait_with_output().unwrap();
    let done = run(&mut next());
    let json = is_right(&done);
    assert!(done.stderr.contains("resuming upload"), "{}", done.stderr);
    assert!(json["uploaded"]["copied_bytes"].as_u64().unwrap() >= 16 * MIB as u64);
    assert!(importing.cloud.object("images", "b.raw") == disk);
    assert_eq!(importing.cloud.uploads(), 0);
}

#[test]
fn a_delta_that_fails_leaves_nothing_to_resume() {
    let importing = common::importing::Import::with_rate(64, 64 << 20);
    is_right(&importing.go_on());
    let mut disk = fs::read(&importing.source).unwrap();
    disk[MIB..40 * MIB].reverse();
    fs::write(&importing.source, &disk).unwrap();
    importing.line.set_rate(8 << 20);
    let mut command = importing.named("b");
    command.args(["--base", "a.zvhd2"]);
    let child = command.spawn().unwrap();
    common::wait_until(|| importing.parts() > 0);
    // Somebody writes to the disk.
    fs::write(&importing.source, &disk).unwrap();
    let ended = Run::from(child.wait_with_output().unwrap());
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("was aborted"), "{}", ended.stderr);
    assert_eq!(importing.cloud.uploads(), 0);
    let journals = fs::read_dir(importing.state_dir()).unwrap();
    let mut names = journals.map(|file| file.unwrap().path());
    assert!(names.all(|name| name.extension().unwrap() == "done"));
}

#[test]
fn what_is_no_base_is_refused_before_anything_is_sent() {
    let based = Based::new();
    let missing = based.import("b", &["--base", "missing.zvhd2"]);
    assert_eq!(missing.code, Some(2), "{}", missing.stderr);
    assert!(
        missing.stderr.contains("no such object"),
        "{}",
        missing.stderr
    );
    let itself = based.import("b", &["--base", "b.zvhd2", "--key", "b.zvhd2"]);
    assert_eq!(itself.code, Some(2), "{}", itself.stderr);
    assert!(itself.stderr.contains("--key"), "{}", itself.stderr);
    let raw = based.import("b", &["--base", "a.zvhd2", "--to", "raw"]);
    assert_eq!(raw.code, Some(2), "{}", raw.stderr);

    based.write(&based.disk[..40 * MIB]);
    based.refuses("it holds a disk of 50331648 bytes, this one has 41943040");
    based.write(&based.disk);

    let table = fs::read(based.beside(".blocks")).unwrap();
    let mut damaged = table.clone();
    *damaged.last_mut().unwrap() ^= 1;
    fs::write(based.beside(".blocks"), damaged).unwrap();
    based.refuses("its SHA-256 does not match");
    fs::remove_file(based.beside(".blocks")).unwrap();
    based.refuses("no table of its blocks");
    fs::write(based.beside(".blocks"), &table).unwrap();

    let manifest = fs::read_to_string(based.beside(".imgferry.json")).unwrap();
    let other = manifest.replace("\"v1:", "\"v1:00");
    fs::write(based.beside(".imgferry.json"), other).unwrap();
    based.refuses("different content digests");
    fs::remove_file(based.beside(".imgferry.json")).unwrap();
    based.refuses("no manifest");
    fs::write(based.beside(".imgferry.json"), manifest).unwrap();

    // The object of another disk, with the table of this one.
    based.write(
        &common::noise(48 * MIB)
            .into_iter()
            .rev()
            .collect::<Vec<_>>(),
    );
    let options = ["--key", "a.zvhd2", "--if-exists", "replace"];
    is_right(&based.import("other", &options));
    fs::write(based.beside(".blocks"), &table).unwrap();
    based.refuses("of another object");
}

#[test]
fn a_server_that_copies_no_parts_is_sent_the_whole_disk() {
    let faults = Faults {
        refuse_copies: true,
        ..Faults::default()
    };
    whole_after_all(faults, &[]);
}

#[test]
fn a_server_that_refuses_small_parts_is_sent_the_whole_disk() {
    let faults = Faults {
        min_part: 5 << 20,
        ..Faults::default()
    };
    whole_after_all(faults, &["--min-part", "100KiB"]);
}

/// A changed disk is imported with a base and `options` by a server with `faults`.
fn whole_after_all(faults: Faults, more: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk.raw");
    let content = common::noise(32 * MIB);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sandbox = runtime.block_on(async {
        let mut options = Options::new(dir.path().join("cloud"));
        options.buckets = vec!["images".into()];
        options.faults = faults;
        Sandbox::start(options).await.unwrap()
    });
    let import = |name: &str, options: &[&str]| {
        let mut command = command();
        command
            .envs(sandbox.environment())
            .env("IMGFERRY_PATH_STYLE", "true")
            .arg("import")
            .arg(&disk)
            .args(["--name", name, "--bucket", "images", "--type", "DataImage"])
            .args(options);
        run(command.arg("--json"))
    };
    let changed = {
        let mut changed = content.clone();
        changed[16 * MIB] ^= 1;
        changed
    };
    for format in ["zvhd2", "raw"] {
        fs::write(&disk, &content).unwrap();
        let (first, base) = (format!("a-{format}"), format!("a-{format}.{format}"));
        is_right(&import(&first, &["--to", format]));
        fs::write(&disk, &changed).unwrap();
        let second = format!("b-{format}");
        let options = ["--to", format, "--base", &base];
        let whole = import(&second, &[&options, more].concat());
        let json = is_right(&whole);
        if format == "raw" && !more.is_empty() {
            // Its parts are never small.
            assert_eq!(json["uploaded"]["copied_bytes"], 24 * MIB);
            continue;
        }
        assert!(json["uploaded"]["sent_bytes"].as_u64().unwrap() > 30 * MIB as u64);
        assert!(
            whole
                .stderr
                .contains(&format!("does not join copies of {base}")),
            "{}",
            whole.stderr
        );
    }
    runtime.block_on(sandbox.shutdown());
}
