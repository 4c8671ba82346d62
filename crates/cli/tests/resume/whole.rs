//! Imports of whole files, and of systems with their data disks: they go on like all others, and
//! one call registers each of them once.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use testkit::faults::{Fault, Proxy, Seen};
use tokio::runtime::Runtime;

use crate::common::importing::{Import, MIB, PART};
use crate::common::{self, Run, json_of, run, signal, wait_until};

pub(crate) const IMAGES: &str = "IMGFERRY_IMS_ENDPOINT";

/// The import of the disk by `way`.
pub(crate) fn by(import: &Import, way: &str) -> Command {
    let mut command = import.command();
    command.args(["--register", way]);
    command
}

/// A proxy in front of the image service.
pub(crate) fn before_images(import: &Import) -> (Proxy, Runtime) {
    let server = import.cloud.variable(IMAGES);
    let server = server.trim_start_matches("http://").trim_end_matches('/');
    let server: SocketAddr = server.parse().unwrap();
    let runtime = Runtime::new().unwrap();
    let proxy = runtime.block_on(Proxy::start(server)).unwrap();
    (proxy, runtime)
}

/// What the file holds by a command of its own.
fn digest(import: &Import, file: &Path) -> Value {
    let told = run(import.cloud.command().arg("digest").arg(file).arg("--json"));
    json_of(told.success())["digest"].clone()
}

/// Names and states of all images.
pub(crate) fn images(import: &Import) -> Vec<(String, String)> {
    let listed = run(import.cloud.command().args(["image", "list", "--json"]));
    let listed = json_of(listed.success());
    let text = |image: &Value, name: &str| image[name].as_str().unwrap().to_owned();
    let images = listed["images"].as_array().unwrap().iter();
    images
        .map(|image| (text(image, "name"), text(image, "status")))
        .collect()
}

/// Whether the import is done: one image of the disk, and nothing is left to do.
#[track_caller]
pub(crate) fn is_done(import: &Import, done: &Run) -> Value {
    done.success();
    let json = json_of(done);
    assert_eq!(json["status"], "active", "{json}");
    assert_eq!(json["image_digest"], digest(import, &import.source));
    let one = [("a".to_owned(), "active".to_owned())];
    assert_eq!(images(import), one);
    assert_eq!(import.status()["stage"], "done");
    assert_eq!(import.cloud.uploads(), 0);
    json
}

pub(crate) fn number(json: &Value, name: &str) -> u64 {
    json["uploaded"][name].as_u64().unwrap()
}

/// Ends the run with a signal when two parts are known to be stored.
fn interrupt(import: &Import, way: &str, with: &str) -> Run {
    let child = by(import, way).spawn().unwrap();
    wait_until(|| import.confirmed_parts() >= 2);
    signal(&child, with);
    child.wait_with_output().unwrap().into()
}

/// Runs `command` until everything is stored and the service refuses to register it.
#[track_caller]
pub(crate) fn run_until_stored(import: &Import, command: &mut Command) {
    let (proxy, _runtime) = before_images(import);
    proxy.always(begins, Fault::answer(400, "IMG.0144"));
    let refused = run(command.env(IMAGES, proxy.url()));
    assert_eq!(refused.code, Some(3), "{}", refused.stderr);
}

#[test]
fn a_whole_file_goes_on_where_it_was_interrupted() {
    for (way, with) in [("common", "INT"), ("glance", "KILL")] {
        let import = Import::of_noise(48);
        let stopped = interrupt(&import, way, with);
        let status = import.status();
        assert_eq!(status["stage"], "uploading", "{status}");
        assert_eq!(status["name"], "a");
        let command = status["command"].as_str().unwrap();
        assert!(command.contains(&format!("--register {way}")), "{command}");
        if with == "INT" {
            assert_eq!(stopped.code, Some(130), "{}", stopped.stderr);
            let told = format!("to resume, run: {command}");
            assert!(stopped.stderr.contains(&told), "{}", stopped.stderr);
        }
        let json = is_done(&import, &run(&mut by(&import, way)));
        // The server had two parts, whether or not there was time to note both.
        assert!(number(&json, "kept_bytes") >= 2 * PART, "{json}");
        let moved = number(&json, "kept_bytes") + number(&json, "sent_bytes");
        assert_eq!(moved, 48 * MIB);
        let stored = import.cloud.object("images", "a.raw");
        assert!(stored == fs::read(&import.source).unwrap());
        // Done is done: the same command finds the image that it has made.
        let again = is_done(&import, &run(&mut by(&import, way)));
        assert_eq!(again["image_id"], json["image_id"]);
    }
}

/// Also while it is registered: there is one image in the end, and it is that of the file.
#[test]
fn a_whole_file_that_is_killed_at_any_moment_becomes_one_image() {
    const KILLS: u32 = 4;
    let mut seed = 0x9e37_79b9_u64;
    for way in ["common", "glance"] {
        let import = Import::of_noise(12);
        let mut killed = 0;
        while killed < KILLS {
            let mut child = by(&import, way).spawn().unwrap();
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            thread::sleep(Duration::from_millis(seed % 1000));
            if child.try_wait().unwrap().is_some() {
                let ended: Run = child.wait_with_output().unwrap().into();
                ended.success();
                break;
            }
            child.kill().unwrap();
            child.wait().unwrap();
            killed += 1;
            // Its last word was said before.
            if import.state_dir().exists() && import.status()["stage"] == "done" {
                break;
            }
        }
        if import.status()["stage"] != "done" {
            run(&mut by(&import, way)).success();
        }
        let one = [("a".to_owned(), "active".to_owned())];
        assert_eq!(images(&import), one, "{way}, {killed} kills");
        let stored = import.cloud.object("images", "a.raw");
        assert!(stored == fs::read(&import.source).unwrap());
        // An upload that was begun, and whose id nobody was there to note, stays; it holds nothing.
        assert_eq!(import.parts(), 0);
    }
}

#[test]
fn restart_begins_a_whole_file_anew_and_throws_the_old_upload_away() {
    let import = Import::of_noise(40);
    interrupt(&import, "common", "KILL");
    let done = run(by(&import, "common").arg("--restart"));
    assert_eq!(number(&is_done(&import, &done), "kept_bytes"), 0);
    assert!(done.stderr.contains("was aborted"), "{}", done.stderr);
}

/// A call that begins a registration.
fn begins(seen: &Seen) -> bool {
    let path = seen.path();
    match seen.method.as_str() {
        "POST" => path.ends_with("/action") || path.ends_with("/v2/images"),
        "PUT" => path.ends_with("/upload"),
        _ => false,
    }
}

/// Each of the calls is refused once: by the common import there is one, in two steps two.
#[test]
fn a_whole_file_whose_registration_was_refused_is_registered_without_another_upload() {
    for (way, nth, stage) in [
        ("common", 1, "uploaded"),
        ("glance", 1, "uploaded"),
        // The image is there, and waits for its file.
        ("glance", 2, "registering"),
    ] {
        let import = Import::of_noise(2);
        let (proxy, _runtime) = before_images(&import);
        let mut seen_so_far = 0;
        proxy.script(move |seen| {
            seen_so_far += u32::from(begins(seen));
            let refused = begins(seen) && seen_so_far == nth;
            refused.then(|| Fault::answer(400, "IMG.0144"))
        });
        let refused = run(by(&import, way).env(IMAGES, proxy.url()));
        assert_eq!(refused.code, Some(3), "{}", refused.stderr);
        let told = "to resume, run: ";
        assert!(refused.stderr.contains(told), "{}", refused.stderr);
        assert_eq!(import.status()["stage"], stage, "{way} {nth}");
        let sent = import.line.sent();
        let json = is_done(&import, &run(by(&import, way).env(IMAGES, proxy.url())));
        assert_eq!(number(&json, "sent_bytes"), 0);
        assert!(import.line.sent() - sent < MIB / 4, "{way} {nth}");
    }
}

/// The file is in the bucket, and its image is still to come: an upload must not end what is noted
/// of that.
#[test]
fn an_upload_of_the_same_file_does_not_end_an_import_that_waits_for_its_registration() {
    let import = Import::of_noise(2);
    let (proxy, _runtime) = before_images(&import);
    proxy.always(begins, Fault::answer(400, "IMG.0144"));
    let refused = run(by(&import, "common").env(IMAGES, proxy.url()));
    assert_eq!(refused.code, Some(3), "{}", refused.stderr);
    let mut upload = import.cloud.command();
    upload.arg("upload").arg(&import.source);
    upload.args(["obs://images/a.raw", "--state-dir"]);
    upload.arg(import.state_dir());
    let other = run(upload.env("IMGFERRY_OBS_ENDPOINT", import.line.url()));
    assert_eq!(other.code, Some(2), "{}", other.stderr);
    let told = "it was started by another command: ";
    assert!(other.stderr.contains(told), "{}", other.stderr);
    is_done(&import, &run(&mut by(&import, "common")));
}

/// The process dies when the service has done what a call asked for, and its answer is on the way.
#[test]
fn a_whole_file_whose_run_died_before_the_answer_is_registered_once() {
    for (way, nth) in [("common", 1), ("glance", 1), ("glance", 2)] {
        let import = Import::of_noise(2);
        let (proxy, _runtime) = before_images(&import);
        let mut seen_so_far = 0;
        proxy.script(move |seen| {
            seen_so_far += u32::from(begins(seen));
            (begins(seen) && seen_so_far == nth).then_some(Fault::StallAfter)
        });
        let mut child = by(&import, way).env(IMAGES, proxy.url()).spawn().unwrap();
        // In two steps, the image is there after the first one.
        let state = match (way, nth) {
            ("glance", 1) => "queued",
            _ => "active",
        };
        wait_until(|| images(&import) == [("a".to_owned(), state.to_owned())]);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(import.status()["stage"], "registering");
        proxy.heal();
        let done = run(by(&import, way).env(IMAGES, proxy.url()));
        let json = is_done(&import, &done);
        assert_eq!(number(&json, "sent_bytes"), 0);
        let told = "is already registered; following it";
        assert!(done.stderr.contains(told), "{}", done.stderr);
        let passed = proxy.passed();
        let asked = passed.iter().filter(|passed| begins(&passed.seen)).count();
        assert_eq!(asked, if way == "glance" { 2 } else { 1 }, "{way} {nth}");
    }
}

#[test]
fn a_job_of_a_whole_file_that_was_started_is_gone_on_with_and_not_started_twice() {
    let import = Import::of_noise(2);
    let (proxy, _runtime) = before_images(&import);
    // Nobody tells what becomes of the job.
    proxy.always(|seen| seen.path().contains("/jobs/"), Fault::Stall);
    let mut child = by(&import, "common")
        .env(IMAGES, proxy.url())
        .spawn()
        .unwrap();
    let known = || import.state_dir().exists() && import.status()["job_id"].is_string();
    wait_until(known);
    let job = import.status()["job_id"].clone();
    assert_eq!(import.status()["stage"], "registered");
    child.kill().unwrap();
    child.wait().unwrap();
    proxy.heal();
    let done = run(by(&import, "common").env(IMAGES, proxy.url()));
    assert_eq!(is_done(&import, &done)["job_id"], job);
    let told = "was started by an earlier run; following it";
    assert!(done.stderr.contains(told), "{}", done.stderr);
}

/// The image of the failed job is in the list, and has its name no more.
#[test]
fn a_job_that_failed_is_started_again_by_the_same_command() {
    let mut import = Import::of_noise(0);
    import.source = import.dir.path().join("disk.qed");
    fs::write(&import.source, [b"QED\0", &[0; 1 << 20][..]].concat()).unwrap();
    let command = || {
        let mut command = import.command();
        command.args(["--min-disk", "40"]);
        run(&mut command)
    };
    let mut jobs = Vec::new();
    for sent_at_most in [2 * MIB, MIB / 4] {
        let before = import.line.sent();
        let failed = command();
        assert_eq!(failed.code, Some(3), "{}", failed.stderr);
        assert!(failed.stderr.contains("IMG.0057"), "{}", failed.stderr);
        assert!(import.line.sent() - before < sent_at_most);
        jobs.push(json_of(&failed)["job_id"].as_str().unwrap().to_owned());
    }
    assert_ne!(jobs[0], jobs[1]);
}

/// The data disk's object is complete when the run ends, and the system's is not.
#[test]
fn a_system_with_its_data_disk_goes_on_where_it_was_interrupted() {
    for (way, with, key) in [
        ("quick", "KILL", "a-data1.zvhd2"),
        ("common", "INT", "a-data1.raw"),
    ] {
        let import = Import::of_noise(40);
        let data = import.dir.path().join("data.raw");
        fs::write(&data, common::noise(3 << 20)).unwrap();
        let command = || {
            let mut command = by(&import, way);
            command.arg("--data-disk").arg(&data);
            command
        };
        let child = command().spawn().unwrap();
        wait_until(|| import.cloud.objects("images") == [key] && import.confirmed_parts() >= 2);
        signal(&child, with);
        let stopped: Run = child.wait_with_output().unwrap().into();
        let mut listed = all_known(&import);
        assert_eq!(
            listed.pop(),
            Some((key.into(), "a-data1".into(), "uploaded".into()))
        );
        let (_, name, stage) = listed.pop().unwrap();
        assert_eq!((name.as_str(), stage.as_str()), ("a", "uploading"));
        if with == "INT" {
            let told = "to resume, run: ";
            assert!(stopped.stderr.contains(told), "{}", stopped.stderr);
        }
        let object = import.cloud.object_path("images", key);
        let stored = || fs::metadata(&object).unwrap().modified().unwrap();
        let before = stored();
        let done = run(&mut command());
        done.success();
        let json = json_of(&done);
        // Neither what is stored of the system is sent again, nor the data disk.
        assert!(number(&json, "kept_bytes") >= PART, "{json}");
        assert_eq!(stored(), before);
        assert_eq!(json["image_digest"], digest(&import, &import.source));
        let id = json["data_images"][0]["image_id"].as_str().unwrap();
        let shown = run(import.cloud.command().args(["image", "show", id, "--json"]));
        let shown = json_of(shown.success());
        assert_eq!(shown["__imgferry_content_digest"], digest(&import, &data));
        let mut made = images(&import);
        made.sort();
        let active = |name: &str| (name.to_owned(), "active".to_owned());
        assert_eq!(made, [active("a"), active("a-data1")]);
        let ended = all_known(&import);
        assert!(
            ended.iter().all(|(_, _, stage)| stage == "done"),
            "{ended:?}"
        );
        assert_eq!(import.cloud.uploads(), 0);
    }
}

/// Key, name and stage of everything that `imgferry status` lists, by name.
fn all_known(import: &Import) -> Vec<(String, String, String)> {
    let status = run(import
        .cloud
        .command()
        .args(["status", "--json", "--state-dir"])
        .arg(import.state_dir()));
    let status = json_of(status.success());
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap().to_owned();
    let mut known: Vec<_> = status["imports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            (
                text(entry, "key"),
                text(entry, "name"),
                text(entry, "stage"),
            )
        })
        .collect();
    known.sort_by(|one, other| one.1.cmp(&other.1));
    known
}

/// One call registers both: when its answer is lost, both images are found.
#[test]
fn a_system_and_its_data_disk_are_registered_once_when_the_answer_was_lost() {
    let import = Import::of_noise(2);
    let data = import.dir.path().join("data.raw");
    fs::write(&data, common::noise(3 << 20)).unwrap();
    let (proxy, _runtime) = before_images(&import);
    proxy.once(begins, Fault::ResetAfter);
    let command = || {
        let mut command = by(&import, "quick");
        command.arg("--data-disk").arg(&data);
        command.env(IMAGES, proxy.url());
        command
    };
    let done = run(&mut command());
    done.success();
    let json = json_of(&done);
    assert_eq!(json["image_digest"], digest(&import, &import.source));
    assert_eq!(json["data_images"][0]["status"], "active");
    assert_eq!(images(&import).len(), 2);
    let passed = proxy.passed();
    assert_eq!(passed.iter().filter(|one| begins(&one.seen)).count(), 1);
}
