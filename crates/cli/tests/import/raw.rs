//! Imports of raw objects, run as a user runs them.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::cloud::Cloud;
use crate::common::{self, DEBIAN_TREE_DIGEST, Run, command, json_of, noise, run, testdata};
use serde_json::Value;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// `imgferry import --to raw` of `disk` as a data disk.
fn import(cloud: &Cloud, disk: &Path, name: &str) -> Command {
    let mut command = cloud.command();
    command.arg("import").arg(disk).args([
        "--to",
        "raw",
        "--bucket",
        "images",
        "--type",
        "DataImage",
        "--json",
        "--name",
        name,
    ]);
    command
}

fn digest_of(path: &Path) -> Value {
    let run = run(command()
        .args(["digest", "--format", "raw", "--json"])
        .arg(path));
    run.success();
    json_of(&run)["digest"].clone()
}

fn number(json: &Value) -> u64 {
    json.as_u64().unwrap()
}

#[track_caller]
fn stays_in_its_memory_bound(json: &Value) {
    let (peak, bound) = (number(&json["peak_memory"]), number(&json["memory_bound"]));
    assert!(peak <= bound, "{peak} of {bound}");
}

/// A sparse raw disk of `size` bytes with noise at the offsets.
fn sparse(dir: &Path, size: u64, data: &[(u64, usize)]) -> PathBuf {
    let path = dir.join("disk.raw");
    let disk = fs::File::create(&path).unwrap();
    disk.set_len(size).unwrap();
    for (at, len) in data {
        disk.write_all_at(&noise(*len), *at).unwrap();
    }
    path
}

#[test]
fn a_raw_object_takes_what_is_unchanged_from_an_earlier_one() {
    let cloud = Cloud::start(&["images"]);
    let dir = tempfile::tempdir().unwrap();
    let mib = |count: u64| usize::try_from(count * MIB).unwrap();
    // Parts have 8 MiB: the first three hold data, then the sixth and the seventh, and the last.
    let data = [(0, mib(20)), (40 * MIB, mib(16)), (64 * MIB, 512)];
    let path = sparse(dir.path(), 64 * MIB + 1024, &data);
    let based = |name: &str, base: &str| {
        let run = run(import(&cloud, &path, name).args(["--base", base]));
        json_of(run.success())
    };
    run(&mut import(&cloud, &path, "a")).success();
    let disk = fs::OpenOptions::new().write(true).open(&path).unwrap();
    disk.write_all_at(b"a change", 21 * MIB).unwrap();
    disk.write_all_at(b"a change", 44 * MIB).unwrap();
    let next = based("b", "a.raw");
    assert_eq!(number(&next["uploaded"]["copied_bytes"]), 24 * MIB + 1024);
    // Two parts, and zeros.
    assert_eq!(number(&next["uploaded"]["sent_bytes"]), 24 * MIB);
    stays_in_its_memory_bound(&next);
    let whole = run(&mut import(&cloud, &path, "c"));
    assert_eq!(json_of(whole.success())["digest"], next["digest"]);
    assert!(cloud.object("images", "b.raw") == fs::read(&path).unwrap());
    assert_eq!(
        cloud.object("images", "b.mf"),
        cloud.object("images", "c.mf")
    );

    // The next one is based on that.
    let third = based("d", "b.raw");
    assert_eq!(number(&third["uploaded"]["copied_bytes"]), 40 * MIB + 1024);
    assert_eq!(number(&third["uploaded"]["sent_bytes"]), 8 * MIB);
    assert!(cloud.object("images", "d.raw") == fs::read(&path).unwrap());

    let mut other = cloud.command();
    other
        .arg("import")
        .arg(&path)
        .args(["--name", "e", "--bucket", "images"]);
    other.args(["--type", "DataImage", "--base", "b.raw"]);
    let refused = run(&mut other);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    let words = "its format is raw, that of the new object zvhd2";
    assert!(refused.stderr.contains(words), "{}", refused.stderr);
    let bitmap = ["--base", "b.raw", "--changed-by", "bitmap:b0"];
    let refused = run(import(&cloud, &path, "e").args(bitmap));
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("all of the disk is read"),
        "{}",
        refused.stderr
    );
}

#[test]
fn the_digest_is_the_same_in_the_source_the_raw_file_the_raw_object_and_the_active_image() {
    let cloud = Cloud::start(&["images"]);
    let source = testdata("debian-tree.qcow2");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("disk.raw");
    run(command().args(["convert"]).arg(&source).arg(&file)).success();
    assert_eq!(digest_of(&file), DEBIAN_TREE_DIGEST);

    let run = run(&mut import(&cloud, &source, "web 01"));
    run.success();
    let json = json_of(&run);
    assert_eq!(json["status"], "active");
    assert_eq!(json["digest"], DEBIAN_TREE_DIGEST);
    assert_eq!(json["image_digest"], DEBIAN_TREE_DIGEST);
    assert_eq!(
        digest_of(&cloud.object_path("images", "web-01.raw")),
        DEBIAN_TREE_DIGEST
    );
    // Nothing but the two objects is left: no helper, no upload.
    let mut objects = cloud.objects("images");
    objects.sort();
    assert_eq!(objects, ["web-01.mf", "web-01.raw"]);
    assert_eq!(cloud.uploads(), 0);
    assert_eq!(json["raw"]["bitmap_key"], "web-01.mf");
    assert_eq!(json["uploaded"]["size"], 2 * GIB);
    assert!(number(&json["raw"]["upload"]["copied_bytes"]) > GIB);
    stays_in_its_memory_bound(&json);
    // What is not known is said.
    assert!(
        run.stderr.contains("layout zvhd2-section"),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains("not confirmed"), "{}", run.stderr);
    assert!(run.stderr.contains("recommended"), "{}", run.stderr);
}

#[test]
fn bytes_sent_are_the_data_rounded_up_to_parts_and_two_parts_at_most() {
    let cloud = Cloud::start(&["images"]);
    let dir = tempfile::tempdir().unwrap();
    // 20 GiB with 40 MiB of data in three places, and 12 MiB of stored zeros.
    let len = usize::try_from(20 * MIB).unwrap();
    let data = [(3 * MIB, len), (7 * GIB, len), (20 * GIB - 512, 512)];
    let disk = sparse(dir.path(), 20 * GIB, &data);
    let stored_zeros = vec![0; usize::try_from(12 * MIB).unwrap()];
    let file = fs::File::options().write(true).open(&disk).unwrap();
    file.write_all_at(&stored_zeros, 11 * GIB).unwrap();

    let run = run(&mut import(&cloud, &disk, "sparse"));
    run.success();
    let json = json_of(&run);
    let upload = &json["raw"]["upload"];
    let part = number(&upload["part_size"]);
    let touched: std::collections::BTreeSet<_> = data
        .iter()
        .flat_map(|(at, len)| at / part..=(at + *len as u64 - 1) / part)
        .collect();
    let sent = number(&upload["sent_bytes"]);
    assert!(sent <= (touched.len() as u64 + 2) * part, "{sent}");
    // Every other part was copied; the last one, which is shorter, holds data.
    let parts = (20 * GIB).div_ceil(part);
    assert_eq!(
        number(&upload["copied_bytes"]),
        (parts - touched.len() as u64) * part
    );
    assert_eq!(json["image_digest"], digest_of(&disk));
    stays_in_its_memory_bound(&json);
    // The server holds the zeros, and they take no room there either.
    let object = fs::metadata(cloud.object_path("images", "sparse.raw")).unwrap();
    assert_eq!(object.len(), 20 * GIB);
    assert!(object.blocks() * 512 < 200 * MIB);
}

#[test]
fn vhd_and_vhdx_go_to_raw_objects_without_a_raw_file() {
    if testkit::qemu::missing() {
        return;
    }
    let cloud = Cloud::start(&["images"]);
    let dir = tempfile::tempdir().unwrap();
    for (format, options) in [("vpc", "force_size=on"), ("vhdx", "subformat=dynamic")] {
        let disk = dir.path().join(format!("disk.{format}"));
        let source = testdata("debian-tree.qcow2");
        let arguments = ["convert", "-O", format, "-o", options].map(Path::new);
        testkit::qemu::img(arguments.into_iter().chain([source.as_path(), &disk]));
        let run = run(&mut import(&cloud, &disk, format));
        run.success();
        let json = json_of(&run);
        assert_eq!(json["image_digest"], DEBIAN_TREE_DIGEST, "{format}");
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            if format == "vpc" { 1 } else { 2 }
        );
    }
}

#[test]
fn a_ready_bitmap_is_checked_for_its_name_and_uploaded_as_it_is() {
    let cloud = Cloud::start(&["images"]);
    let dir = tempfile::tempdir().unwrap();
    let disk = sparse(dir.path(), 3 * MIB, &[(0, 5000)]);
    let mf = dir.path().join("disk.mf");
    run(command().arg("bitmap").arg(&disk)).success();
    let bytes = fs::read(&mf).unwrap();

    let other = dir.path().join("other.mf");
    fs::copy(&mf, &other).unwrap();
    let refused = run(import(&cloud, &disk, "a").arg("--bitmap").arg(&other));
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("expected disk.mf or a.mf"),
        "{}",
        refused.stderr
    );
    let missing = run(import(&cloud, &disk, "a")
        .arg("--bitmap")
        .arg(dir.path().join("a.mf")));
    assert_eq!(missing.code, Some(2), "{}", missing.stderr);
    assert_eq!(cloud.objects("images").len() + cloud.uploads(), 0);

    run(import(&cloud, &disk, "a").arg("--bitmap").arg(&mf)).success();
    assert!(fs::read(cloud.object_path("images", "a.mf")).unwrap() == bytes);
}

#[test]
fn a_bitmap_that_does_not_match_the_disk_is_refused_by_the_service() {
    let cloud = Cloud::start(&["images"]);
    let dir = tempfile::tempdir().unwrap();
    let disk = sparse(dir.path(), 3 * MIB, &[(0, 5000)]);
    let mf = dir.path().join("disk.mf");
    fs::write(&mf, vec![0; 4096]).unwrap();
    let failed = run(import(&cloud, &disk, "a").arg("--bitmap").arg(&mf));
    assert_eq!(failed.code, Some(3), "{}", failed.stderr);
    assert!(failed.stderr.contains("IMG.0158"), "{}", failed.stderr);
}

fn with_command(cloud: &Cloud, disk: &Path, words: &str) -> Run {
    run(import(cloud, disk, "by-command").args(["--bitmap-command", words]))
}

#[test]
fn a_bitmap_command_runs_without_a_shell_and_without_our_secrets() {
    let cloud = Cloud::start(&["images"]);
    let dir = tempfile::tempdir().unwrap();
    let disk = sparse(dir.path(), 3 * MIB, &[(0, 5000)]);
    let exe = env!("CARGO_BIN_EXE_imgferry");
    // A program of the user's; quotes and $ are its own business.
    let script = format!(
        "test -z \"$HW_SECRET_KEY\" || exit 9; echo chatter; exec {exe} bitmap \"$0\" \"$1\""
    );
    let words = format!("sh -c '{script}' {{raw}} {{mf}}");
    let done = with_command(&cloud, &disk, &words);
    done.success();
    let json = json_of(&done);
    assert_eq!(json["status"], "active");
    assert!(done.stderr.contains("chatter"), "{}", done.stderr);
    let mut objects = cloud.objects("images");
    objects.sort();
    assert_eq!(objects, ["by-command.mf", "by-command.raw"]);
    // The disk's folder is as it was.
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_bitmap_command_that_fails_or_makes_nothing_stops_before_the_upload() {
    let cloud = Cloud::start(&["images"]);
    let dir = tempfile::tempdir().unwrap();
    let disk = sparse(dir.path(), 3 * MIB, &[(0, 5000)]);
    for (words, says) in [
        ("false {raw} {mf}", "ended with exit status: 1"),
        ("true {raw} {mf}", "made no file"),
        ("/no/such/program {raw} {mf}", "cannot be run"),
        (
            "sh -c 'echo x >>\"$0\"; echo x >\"$1\"' {raw} {mf}",
            "changed while",
        ),
        ("true {raw}", "no {mf}"),
    ] {
        let failed = with_command(&cloud, &disk, words);
        assert_eq!(failed.code, Some(2), "{words}: {}", failed.stderr);
        assert!(failed.stderr.contains(says), "{words}: {}", failed.stderr);
        assert_eq!(
            cloud.objects("images").len() + cloud.uploads(),
            0,
            "{words}"
        );
    }
}

#[test]
fn a_bitmap_command_needs_a_raw_file_and_the_hint_says_how_to_get_one() {
    let cloud = Cloud::start(&["images"]);
    let refused = with_command(&cloud, &testdata("debian-tree.qcow2"), "true {raw} {mf}");
    assert_eq!(refused.code, Some(2));
    assert!(
        refused.stderr.contains("imgferry convert"),
        "{}",
        refused.stderr
    );
}

#[test]
fn what_belongs_to_raw_only_or_breaks_its_names_is_refused_before_the_upload() {
    let cloud = Cloud::start(&["images"]);
    let source = testdata("debian-tree.qcow2");
    let refused = run(import(&cloud, &source, "a").args(["--key", "folder/a.img"]));
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("NAME.raw"), "{}", refused.stderr);
    let refused = run(cloud.import().args(["--name", "a", "--bitmap", "a.mf"]));
    assert_eq!(refused.code, Some(2));
    assert!(
        refused.stderr.contains("belongs to a raw object") && refused.stderr.contains("--to raw"),
        "{}",
        refused.stderr
    );
    assert_eq!(cloud.objects("images").len() + cloud.uploads(), 0);
}

#[test]
fn objects_that_exist_are_replaced_only_when_that_is_asked_for() {
    let cloud = Cloud::start(&["images"]);
    let dir = tempfile::tempdir().unwrap();
    let disk = sparse(dir.path(), 3 * MIB, &[(0, 5000)]);
    fs::write(cloud.object_path("images", "folder-a.mf"), b"old").unwrap();
    let key = ["--key", "folder-a.raw"];
    let refused = run(import(&cloud, &disk, "a").args(key));
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("folder-a.mf already exists"),
        "{}",
        refused.stderr
    );
    run(import(&cloud, &disk, "a")
        .args(key)
        .args(["--if-exists", "replace"]))
    .success();
}

#[test]
fn a_dry_run_tells_the_layout_and_what_would_be_sent() {
    let cloud = Cloud::start(&["images"]);
    let dir = tempfile::tempdir().unwrap();
    let disk = sparse(dir.path(), 100 * GIB, &[(5 * GIB, 5000)]);
    let dry = run(import(&cloud, &disk, "a").arg("--dry-run"));
    dry.success();
    let json = json_of(&dry);
    let notes = json["plan"]["notes"].to_string();
    assert!(
        notes.contains("8534 parts of 12 MiB; at most 36 MiB are sent"),
        "{notes}"
    );
    assert!(notes.contains("zvhd2-section"), "{notes}");
    assert_eq!(cloud.objects("images").len() + cloud.uploads(), 0);
}

/// Zeros first, so that the helper object is there early, and data that takes a while.
fn slow_disk(dir: &Path) -> PathBuf {
    let len = usize::try_from(200 * MIB).unwrap();
    sparse(dir, GIB, &[(100 * MIB, len)])
}

/// Starts `import`, and signals it when the object of zeros and a part are there.
fn stopped_by(cloud: &Cloud, mut import: Command, with: &str) -> Run {
    let child = import
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    common::wait_until(|| zeros(cloud) == 1 && cloud.upload_parts() > 0);
    common::signal(&child, with);
    child.wait_with_output().unwrap().into()
}

/// Objects of zeros in the bucket.
fn zeros(cloud: &Cloud) -> usize {
    let objects = cloud.objects("images");
    objects.iter().filter(|key| key.contains(".zeros-")).count()
}

/// Whether interrupted or killed, the same command sends what is missing, and no zeros a second
/// time.
#[test]
fn a_raw_import_that_was_interrupted_goes_on_with_the_same_command() {
    for with in ["INT", "KILL"] {
        let cloud = Cloud::start(&["images"]);
        let dir = tempfile::tempdir().unwrap();
        let disk = slow_disk(dir.path());
        let mut slowly = import(&cloud, &disk, "a");
        slowly.args(["--limit-rate", "30M"]);
        let stopped = stopped_by(&cloud, slowly, with);
        if with == "INT" {
            assert_eq!(stopped.code, Some(130), "{}", stopped.stderr);
            let kept = "so is the object of zeros, a.raw.zeros-";
            assert!(stopped.stderr.contains(kept), "{}", stopped.stderr);
            let hint = "to resume, run: ";
            assert!(stopped.stderr.contains(hint), "{}", stopped.stderr);
        }
        assert_eq!((zeros(&cloud), cloud.uploads()), (1, 1));
        let again = run(&mut import(&cloud, &disk, "a"));
        again.success();
        let json = json_of(&again);
        assert_eq!(json["image_digest"], json["digest"]);
        assert_eq!(json["image_digest"], digest_of(&disk));
        let upload = &json["raw"]["upload"];
        assert!(number(&upload["kept_bytes"]) >= 8 * MIB, "{upload}");
        assert!(number(&upload["sent_bytes"]) <= 208 * MIB, "{upload}");
        let told = "resuming upload";
        assert!(again.stderr.contains(told), "{}", again.stderr);
        let mut objects = cloud.objects("images");
        objects.sort();
        assert_eq!(objects, ["a.mf", "a.raw"]);
        assert_eq!(cloud.uploads(), 0);
    }
}

#[test]
fn a_raw_import_that_begins_anew_throws_the_old_upload_and_its_zeros_away() {
    let cloud = Cloud::start(&["images"]);
    let dir = tempfile::tempdir().unwrap();
    let disk = slow_disk(dir.path());
    stopped_by(&cloud, import(&cloud, &disk, "a"), "KILL");
    assert_eq!((zeros(&cloud), cloud.uploads()), (1, 1));
    let again = run(import(&cloud, &disk, "a").arg("--restart"));
    again.success();
    assert_eq!(json_of(&again)["raw"]["upload"]["kept_bytes"], 0);
    assert_eq!((zeros(&cloud), cloud.uploads()), (0, 0));
}

#[test]
fn aborting_the_upload_of_a_raw_import_takes_its_zeros_with_it() {
    let cloud = Cloud::start(&["images"]);
    let dir = tempfile::tempdir().unwrap();
    let disk = slow_disk(dir.path());
    stopped_by(&cloud, import(&cloud, &disk, "a"), "KILL");
    assert_eq!((zeros(&cloud), cloud.uploads()), (1, 1));
    let abort = ["uploads", "abort", "images", "--all", "--resumable"];
    run(cloud.command().args(abort)).success();
    assert_eq!((zeros(&cloud), cloud.uploads()), (0, 0));
}

#[test]
fn a_registration_that_failed_goes_on_without_another_upload() {
    let cloud = Cloud::start(&["images"]);
    let dir = tempfile::tempdir().unwrap();
    let disk = sparse(dir.path(), 30 * MIB, &[(0, 5000)]);
    // The object is complete, and then the bitmap in the bucket is made to lie.
    let lie = dir.path().join("disk.mf");
    fs::write(&lie, vec![0; 4096]).unwrap();
    let failed = run(import(&cloud, &disk, "a").arg("--bitmap").arg(&lie));
    assert_eq!(failed.code, Some(3), "{}", failed.stderr);
    run(command().args(["bitmap", "--force"]).arg(&disk)).success();
    fs::copy(&lie, cloud.object_path("images", "a.mf")).unwrap();
    // The image that failed keeps its name.
    let again = run(import(&cloud, &disk, "b")
        .args(["--key", "a.raw", "--bitmap"])
        .arg(&lie));
    again.success();
    let json = json_of(&again);
    assert_eq!(json["status"], "active");
    assert_eq!(json["uploaded"]["sent_bytes"], 0);
}
