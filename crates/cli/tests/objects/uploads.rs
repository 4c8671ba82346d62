//! `imgferry upload` and `imgferry uploads`, as a user runs them.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::cloud::Cloud;
use crate::common::{Run, json_of, noise, run, signal, wait_until};

fn upload(cloud: &Cloud) -> Command {
    let mut command = cloud.command();
    command.arg("upload");
    command
}

#[test]
fn any_file_is_uploaded_whole_and_verified() {
    let cloud = Cloud::start(&["images"]);
    let dir = tempfile::tempdir().unwrap();
    for (name, len) in [("empty", 0), ("small", 1000), ("parts", 20 << 20)] {
        let file = dir.path().join(name);
        let bytes = noise(len);
        fs::write(&file, &bytes).unwrap();
        let url = format!("obs://images/{name}");
        let done = run(upload(&cloud).arg(&file).arg(&url).arg("--json"));
        done.success();
        let json = json_of(&done);
        assert_eq!(json["size"], len);
        assert_eq!(json["etag_verified"], true);
        assert!(cloud.object("images", name) == bytes, "{name}");
    }
    assert_eq!(cloud.uploads(), 0);
}

#[test]
fn standard_input_of_unknown_length_is_uploaded() {
    let cloud = Cloud::start(&["images"]);
    let bytes = noise(9 << 20);
    let mut child = upload(&cloud)
        .args(["-", "obs://images/stream", "--concurrency", "2"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    for piece in bytes.chunks(100_000) {
        stdin.write_all(piece).unwrap();
    }
    drop(stdin);
    let done: Run = child.wait_with_output().unwrap().into();
    done.success();
    assert!(cloud.object("images", "stream") == bytes);
}

#[test]
fn an_object_that_exists_is_replaced_only_when_asked() {
    let cloud = Cloud::start(&["images"]);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a");
    fs::write(&file, "one").unwrap();
    run(upload(&cloud).arg(&file).arg("obs://images/a")).success();
    fs::write(&file, "two").unwrap();
    let refused = run(upload(&cloud).arg(&file).arg("obs://images/a"));
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("--force"), "{}", refused.stderr);
    assert_eq!(cloud.object("images", "a"), b"one");
    run(upload(&cloud)
        .arg(&file)
        .args(["obs://images/a", "--force"]))
    .success();
    assert_eq!(cloud.object("images", "a"), b"two");
}

/// Starts the upload of `file`, slowly, and sends `with` once two parts are known to be stored.
fn stopped_by(cloud: &Cloud, file: &Path, with: &str) -> Run {
    let child = upload(cloud)
        .arg(file)
        .args(["obs://images/a", "--limit-rate", "20M", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until(|| {
        let listed = json_of(&run(cloud.command().args(["status", "--json"])));
        listed["imports"][0]["confirmed_bytes"].as_u64() >= Some(2 * (8 << 20))
    });
    signal(&child, with);
    child.wait_with_output().unwrap().into()
}

/// Whether interrupted or killed, the same command sends the rest.
#[test]
fn an_upload_of_a_file_goes_on_with_the_same_command() {
    for with in ["INT", "KILL"] {
        let cloud = Cloud::start(&["images"]);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("noise");
        let bytes = noise((60 << 20) + 12_345);
        fs::write(&file, &bytes).unwrap();
        let ended = stopped_by(&cloud, &file, with);
        if with == "INT" {
            assert_eq!(ended.code, Some(130), "{}", ended.stderr);
            assert!(ended.stderr.contains("is kept"), "{}", ended.stderr);
            let hint = "to resume, run: ";
            assert!(ended.stderr.contains(hint), "{}", ended.stderr);
        }
        let listed = run(cloud.command().args(["status", "--json"]));
        let listed = &json_of(&listed)["imports"][0];
        assert_eq!(listed["stage"], "uploading");
        assert!(listed["command"].as_str().unwrap().contains(" upload "));
        let done = run(upload(&cloud).arg(&file).args(["obs://images/a", "--json"]));
        done.success();
        let json = json_of(&done);
        let number = |name: &str| json[name].as_u64().unwrap();
        assert!(number("kept_bytes") >= 2 * (8 << 20), "{json}");
        assert_eq!(
            number("kept_bytes") + number("sent_bytes"),
            bytes.len() as u64
        );
        assert!(cloud.object("images", "a") == bytes);
        assert_eq!(cloud.uploads(), 0);
        // Done is done: the next one would replace the object.
        let again = run(upload(&cloud).arg(&file).arg("obs://images/a"));
        assert_eq!(again.code, Some(2), "{}", again.stderr);
    }
}

#[test]
fn an_upload_of_a_file_that_changed_begins_anew_and_says_why() {
    let cloud = Cloud::start(&["images"]);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("noise");
    fs::write(&file, noise(60 << 20)).unwrap();
    stopped_by(&cloud, &file, "KILL");
    let mut bytes = noise(60 << 20);
    bytes[30 << 20] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let done = run(upload(&cloud).arg(&file).args(["obs://images/a", "--json"]));
    done.success();
    assert_eq!(json_of(&done)["kept_bytes"], 0);
    let why = "the source has changed: it was modified";
    assert!(done.stderr.contains(why), "{}", done.stderr);
    assert!(cloud.object("images", "a") == bytes);
    assert_eq!(cloud.uploads(), 0);
}

#[test]
fn an_upload_of_a_file_that_was_written_with_its_time_set_back_begins_anew() {
    use std::os::unix::fs::FileExt;
    let cloud = Cloud::start(&["images"]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("noise");
    fs::write(&path, noise(60 << 20)).unwrap();
    stopped_by(&cloud, &path, "KILL");
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let before = file.metadata().unwrap().modified().unwrap();
    // Into each part: which of them were noted before the kill depends on the moment.
    for part in 0..7 {
        let at = (part << 23) + (5 << 20);
        file.write_all_at(&[7; 4096], at).unwrap();
    }
    file.set_modified(before).unwrap();
    let done = run(upload(&cloud).arg(&path).args(["obs://images/a", "--json"]));
    done.success();
    assert_eq!(json_of(&done)["kept_bytes"], 0);
    assert!(cloud.object("images", "a") == fs::read(&path).unwrap());
    assert_eq!(cloud.uploads(), 0);
}

/// What came from a pipe cannot be read again, so nothing is kept.
#[test]
fn an_interrupted_upload_of_standard_input_leaves_nothing() {
    let cloud = Cloud::start(&["images"]);
    let mut child = upload(&cloud)
        .args(["-", "obs://images/a"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&noise(9 << 20)).unwrap();
    wait_until(|| cloud.uploads() > 0);
    signal(&child, "INT");
    let ended: Run = child.wait_with_output().unwrap().into();
    drop(stdin);
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("nothing of it is left"),
        "{}",
        ended.stderr
    );
    assert_eq!(cloud.uploads(), 0);
    assert!(cloud.objects("images").is_empty());
}

/// Leaves an open upload behind, as a process that was killed does.
fn leave_one_behind(cloud: &Cloud, key: &str) {
    let before = cloud.uploads();
    let mut child = upload(cloud)
        .args(["-", &format!("obs://images/{key}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_until(|| cloud.uploads() > before);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn uploads_that_were_left_behind_are_listed_and_aborted() {
    let cloud = Cloud::start(&["images"]);
    let uploads = |args: &[&str]| {
        let mut command = cloud.command();
        run(command.arg("uploads").args(args).arg("--json"))
    };
    assert_eq!(
        json_of(&uploads(&["list", "images"]))["uploads"]
            .as_array()
            .unwrap()
            .len(),
        0
    );
    for key in ["a/one", "a/two", "b"] {
        leave_one_behind(&cloud, key);
    }
    let listed = json_of(&uploads(&["list", "obs://images/a/"]));
    let rows = listed["uploads"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0]["resumable"], false);
    let id = rows[0]["upload_id"].as_str().unwrap();

    // Nothing is aborted that was not named.
    let vague = uploads(&["abort", "images"]);
    assert_eq!(vague.code, Some(2), "{}", vague.stderr);
    let young = json_of(&uploads(&["abort", "images", "--older-than", "1d"]));
    assert_eq!(young["aborted"].as_array().unwrap().len(), 0);
    let dry = json_of(&uploads(&["abort", "images", "--all", "--dry-run"]));
    assert_eq!(dry["aborted"].as_array().unwrap().len(), 3);
    assert_eq!(cloud.uploads(), 3);

    let wrong = uploads(&["abort", "images", "--id", "no-such-id"]);
    assert_eq!(wrong.code, Some(2), "{}", wrong.stderr);
    uploads(&["abort", "images", "--id", id]).success();
    assert_eq!(cloud.uploads(), 2);
    uploads(&["abort", "images", "--all"]).success();
    assert_eq!(cloud.uploads(), 0);
}
