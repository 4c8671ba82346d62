//! A registration that may have happened ends with the service's own word only, whatever answers in
//! between: one image comes of it, the same command ends well, and no advice costs the image that
//! is good.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::common::importing::{Import, is_right};
use crate::common::{Run, json_of, run, signal, wait_until};
use serde_json::Value;
use testkit::faults::{Fault, Proxy, Seen};
use tokio::runtime::Runtime;

const IMAGES: &str = "IMGFERRY_IMS_ENDPOINT";

/// An import, and a proxy in front of the image service.
struct Faulty {
    import: Import,
    proxy: Proxy,
    way: &'static str,
    _runtime: Runtime,
}

impl Faulty {
    fn new(way: &'static str) -> Self {
        let import = Import::of_noise(2);
        let server = import.cloud.variable(IMAGES);
        let server = server.trim_start_matches("http://").trim_end_matches('/');
        let server: SocketAddr = server.parse().unwrap();
        let runtime = Runtime::new().unwrap();
        let proxy = runtime.block_on(Proxy::start(server)).unwrap();
        Self {
            import,
            proxy,
            way,
            _runtime: runtime,
        }
    }

    fn command(&self) -> Command {
        let mut command = self.import.command();
        command.args(["--register", self.way]);
        command.env(IMAGES, self.proxy.url());
        command
    }

    fn run(&self) -> Run {
        let done = run(&mut self.command());
        // Whoever followed such advice would delete the image that is good.
        assert!(!done.stderr.contains("delete"), "{}", done.stderr);
        done
    }

    /// Names and states of all images, as the service has them.
    fn images(&self) -> Vec<(String, String)> {
        let listed = run(self
            .import
            .cloud
            .command()
            .args(["image", "list", "--json"]));
        let listed = json_of(listed.success());
        let text = |image: &Value, name: &str| image[name].as_str().unwrap().to_owned();
        let images = listed["images"].as_array().unwrap().iter();
        images
            .map(|image| (text(image, "name"), text(image, "status")))
            .collect()
    }

    /// Files in the state directory that end so.
    fn files(&self, extension: &str) -> Vec<PathBuf> {
        let files = fs::read_dir(self.import.state_dir()).unwrap();
        let files = files.map(|file| file.unwrap().path());
        files
            .filter(|path| path.extension().is_some_and(|found| found == extension))
            .collect()
    }

    /// Whether everything is as it should be in the end.
    #[track_caller]
    fn is_done(&self, done: &Run, what: &str) -> Value {
        let json = is_right(done);
        let one = [("a".to_owned(), "active".to_owned())];
        assert_eq!(self.images(), one, "{what}");
        assert_eq!(self.files("journal"), Vec::<PathBuf>::new(), "{what}");
        json
    }
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

/// A question for a job.
fn asks(seen: &Seen) -> bool {
    seen.path().contains("/jobs/") || seen.path().contains("/cloudimages/job/")
}

#[test]
fn a_request_that_was_carried_out_is_not_undone_by_whoever_answers_it() {
    for fault in [
        // A gateway is busy, and the client's next attempt finds the name taken.
        Fault::PageAfter(503),
        // A proxy repeats the request, and the second answer is that the name is taken.
        Fault::Twice,
        Fault::PageAfter(200),
        Fault::PageAfter(403),
        Fault::PageAfter(404),
        Fault::ResetAfter,
        Fault::LostAnswer,
    ] {
        let faulty = Faulty::new("quick");
        faulty.proxy.once(begins, fault.clone());
        let done = faulty.run();
        faulty.is_done(&done, &format!("{fault:?}"));
    }
}

#[test]
fn the_other_ways_to_register_look_for_their_image_as_well() {
    for way in ["common", "glance"] {
        for fault in [Fault::PageAfter(503), Fault::Twice, Fault::ResetAfter] {
            let faulty = Faulty::new(way);
            faulty.proxy.times(2, begins, fault.clone());
            let what = format!("{way} {fault:?}");
            let done = faulty.run();
            done.success();
            assert_eq!(json_of(&done)["status"], "active", "{what}");
            let one = [("a".to_owned(), "active".to_owned())];
            assert_eq!(faulty.images(), one, "{what}");
            assert_eq!(faulty.files("journal"), Vec::<PathBuf>::new(), "{what}");
        }
    }
}

#[test]
fn a_job_that_nobody_tells_of_is_asked_for_again_and_then_its_image_is() {
    for (times, fault) in [
        (2, Fault::SignInPage(404)),
        (4, Fault::answer(404, "IMG.0023")),
        (u32::MAX, Fault::answer(404, "IMG.0023")),
        (1, Fault::answer(403, "IMG.0147")),
        (u32::MAX, Fault::answer(403, "IMG.0147")),
        (2, Fault::SignInPage(200)),
    ] {
        let faulty = Faulty::new("quick");
        faulty.proxy.times(times, asks, fault.clone());
        let done = faulty.run();
        faulty.is_done(&done, &format!("{times} x {fault:?}"));
    }
}

#[test]
fn a_job_of_which_nothing_is_known_may_go_on() {
    let faulty = Faulty::new("quick");
    faulty.proxy.always(asks, Fault::answer(403, "IMG.0147"));
    let mut sent = false;
    // From the registration on, the list is no list either.
    faulty.proxy.script(move |seen| {
        sent |= begins(seen);
        let lists = seen.method == "GET" && seen.path() == "/v2/cloudimages";
        (sent && lists).then_some(Fault::SignInPage(200))
    });
    let lost = faulty.run();
    assert_eq!(lost.code, Some(3), "{}", lost.stderr);
    let told = "its state is unknown; it may still be running";
    assert!(lost.stderr.contains(told), "{}", lost.stderr);
    assert!(!lost.stderr.contains("it has ended"), "{}", lost.stderr);
    assert!(!lost.stderr.contains("another name"), "{}", lost.stderr);
    assert_eq!(faulty.import.status()["stage"], "registered");
    faulty.proxy.heal();
    faulty.is_done(&faulty.run(), "healed");
}

/// Another image gets the name between the check and the request.
#[test]
fn an_image_of_somebody_else_is_neither_adopted_nor_in_the_way_of_another_name() {
    let faulty = Faulty::new("quick");
    let mut command = faulty.import.named("b");
    command.args(["--register", "none"]);
    run(&mut command).success();
    let register = |name: &str, key: &str| {
        let mut command = faulty.import.named(name);
        command.args(["--key", key]);
        command
    };
    // The list does not show it yet when it is asked for before the upload.
    faulty.proxy.once(
        |seen| seen.target.contains("name=a"),
        Fault::answer(403, "IMG.0147"),
    );
    run(&mut register("a", "b.zvhd2")).success();
    let refused = faulty.run();
    assert_eq!(refused.code, Some(3), "{}", refused.stderr);
    assert!(refused.stderr.contains("IMG.0009"), "{}", refused.stderr);
    assert!(
        refused
            .stderr
            .contains("another name with --name NEW --key a.zvhd2"),
        "{}",
        refused.stderr
    );
    // One piece of advice, and not two that contradict each other.
    assert!(
        !refused.stderr.contains("to resume, run: "),
        "{}",
        refused.stderr
    );
    // What is uploaded is of use under another name.
    let renamed = run(&mut register("c", "a.zvhd2"));
    renamed.success();
    assert_eq!(json_of(&renamed)["uploaded"]["sent_bytes"], 0);
    assert_eq!(faulty.images().len(), 2);
}

#[test]
fn an_image_of_the_object_that_this_one_replaced_is_not_adopted() {
    let faulty = Faulty::new("quick");
    faulty.is_done(&faulty.run(), "first");
    let mut disk = fs::read(&faulty.import.source).unwrap();
    disk[4096] ^= 1;
    fs::write(&faulty.import.source, disk).unwrap();
    // The clocks of storage and image service may differ by five seconds.
    std::thread::sleep(Duration::from_secs(7));
    for key in ["a.zvhd2", "a.zvhd2.imgferry.json"] {
        fs::remove_file(faulty.import.cloud.object_path("images", key)).unwrap();
    }
    let mut command = faulty.command();
    let refused = run(command.args(["--skip-check", "name-free"]));
    assert_eq!(refused.code, Some(3), "{}", refused.stderr);
    assert!(refused.stderr.contains("IMG.0009"), "{}", refused.stderr);
}

/// Without a journal that says that this import asked for it, an image has to be newer.
#[test]
fn an_image_of_an_object_that_was_replaced_a_moment_later_is_not_adopted() {
    let faulty = Faulty::new("quick");
    faulty.is_done(&faulty.run(), "first");
    let mut disk = fs::read(&faulty.import.source).unwrap();
    disk[4096] ^= 1;
    fs::write(&faulty.import.source, disk).unwrap();
    // Both times are told in seconds.
    std::thread::sleep(Duration::from_millis(1100));
    let mut replace = faulty.import.named("a");
    replace.args(["--register", "none", "--if-exists", "replace"]);
    run(&mut replace).success();
    fs::remove_dir_all(faulty.import.state_dir()).unwrap();
    let refused = faulty.run();
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    let told = "it was created before the object";
    assert!(refused.stderr.contains(told), "{}", refused.stderr);
}

#[test]
fn an_image_that_was_renamed_by_a_run_that_was_killed_is_still_mentioned() {
    let faulty = Faulty::new("quick");
    let old = faulty.is_done(&faulty.run(), "first")["image_id"].clone();
    let mut disk = fs::read(&faulty.import.source).unwrap();
    disk[4096] ^= 1;
    fs::write(&faulty.import.source, disk).unwrap();
    faulty.proxy.once(begins, Fault::StallAfter);
    let replace = || {
        let mut command = faulty.command();
        command.args(["--if-exists", "replace"]);
        command
    };
    let mut child = replace().spawn().unwrap();
    wait_until(|| {
        let images = faulty.images();
        images.len() == 2 && images.iter().all(|(_, status)| status == "active")
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let done = run(&mut replace());
    let renamed = &is_right(&done)["renamed"];
    assert_eq!(renamed[0]["image_id"], old, "{renamed}");
    assert!(renamed[1].is_null(), "{renamed}");
    let told = "gave up its name to an earlier run; it is kept as";
    assert!(done.stderr.contains(told), "{}", done.stderr);
}

#[test]
fn a_journal_that_says_done_answers_the_same_command_with_the_image() {
    let faulty = Faulty::new("quick");
    let first = faulty.is_done(&faulty.run(), "first");
    let end = faulty.files("done").remove(0);
    // Killed between the last note and the end of the journal; killed behind that; and without the
    // object.
    for (journal, object) in [(true, true), (false, true), (true, false), (false, false)] {
        if journal {
            fs::copy(&end, end.with_extension("journal")).unwrap();
        }
        if !object {
            let _ = fs::remove_file(faulty.import.cloud.object_path("images", "a.zvhd2"));
        }
        let again = faulty.run();
        let what = format!("journal {journal}, object {object}");
        let json = faulty.is_done(&again, &what);
        let id = json["image_id"].as_str().unwrap();
        assert_eq!(json["result"], "already-imported", "{what}: {id}");
        for name in [
            "image_id",
            "digest",
            "image_digest",
            "job_id",
            "min_disk",
            "key",
        ] {
            assert_eq!(json[name], first[name], "{what}: {name}");
        }
        assert_eq!(json["uploaded"]["etag"], first["uploaded"]["etag"]);
        assert!(end.exists());
    }
}

#[test]
fn an_image_that_is_gone_is_made_anew_whatever_the_journal_says() {
    let faulty = Faulty::new("quick");
    let mut before = faulty.is_done(&faulty.run(), "first")["image_id"].clone();
    for journal in [true, false] {
        let end = faulty.files("done").remove(0);
        if journal {
            fs::rename(&end, end.with_extension("journal")).unwrap();
        }
        let id = before.as_str().unwrap().to_owned();
        let mut delete = faulty.import.cloud.command();
        run(delete.args(["image", "delete", &id, "--yes"])).success();
        let again = faulty.is_done(&faulty.run(), "again");
        assert_ne!(again["image_id"], before);
        before = again["image_id"].clone();
    }
}

#[test]
fn other_commands_that_end_with_a_journal_that_says_done_end_well_too() {
    for way in ["common", "glance", "none"] {
        let faulty = Faulty::new(way);
        let first = faulty.run();
        first.success();
        let end = faulty.files("done").remove(0);
        fs::rename(&end, end.with_extension("journal")).unwrap();
        let again = faulty.run();
        again.success();
        let (first, again) = (json_of(&first), json_of(&again));
        assert_eq!(again["image_id"], first["image_id"], "{way}");
        assert_eq!(again["uploaded"]["sent_bytes"], 0, "{way}");
        assert_eq!(faulty.files("journal"), Vec::<PathBuf>::new(), "{way}");
    }
    let faulty = Faulty::new("quick");
    let upload = || {
        let mut command = faulty.import.cloud.command();
        command.arg("upload").arg(&faulty.import.source);
        command.args(["obs://images/plain", "--json", "--state-dir"]);
        run(command.arg(faulty.import.state_dir()))
    };
    upload().success();
    let end = faulty.files("done").remove(0);
    fs::rename(&end, end.with_extension("journal")).unwrap();
    assert_eq!(json_of(upload().success())["sent_bytes"], 0);
}

/// Container engines kill after thirty seconds or less.
#[test]
fn who_is_told_to_stop_while_the_registration_is_on_its_way_stops_soon_and_adopts_later() {
    let faulty = Faulty::new("quick");
    faulty.proxy.once(begins, Fault::StallAfter);
    let child = faulty.command().spawn().unwrap();
    let active = [("a".to_owned(), "active".to_owned())];
    wait_until(|| faulty.images() == active);
    let asked = Instant::now();
    signal(&child, "TERM");
    let stopped: Run = child.wait_with_output().unwrap().into();
    // The answer gets five seconds, of the sixty that it would have.
    assert!(asked.elapsed() < Duration::from_secs(30));
    assert_eq!(stopped.code, Some(130), "{}", stopped.stderr);
    let told = "whether it created an image is not known yet";
    assert!(stopped.stderr.contains(told), "{}", stopped.stderr);
    assert_eq!(faulty.import.status()["stage"], "registering");
    let done = faulty.run();
    faulty.is_done(&done, "adopted");
    let told = "is already registered; following it";
    assert!(done.stderr.contains(told), "{}", done.stderr);
    let passed = faulty.proxy.passed();
    assert_eq!(passed.iter().filter(|one| begins(&one.seen)).count(), 1);
}

#[test]
fn a_sign_in_page_in_the_place_of_the_services_is_told_as_one() {
    let faulty = Faulty::new("quick");
    for status in [200, 302, 403, 404] {
        faulty.proxy.always(|_| true, Fault::SignInPage(status));
        let stopped = faulty.run();
        assert_eq!(stopped.code, Some(4), "{status}: {}", stopped.stderr);
        for told in [
            "a sign-in page of this network",
            "HTTPS_PROXY",
            "--ims-endpoint",
        ] {
            assert!(
                stopped.stderr.contains(told),
                "{status}: {}",
                stopped.stderr
            );
        }
        faulty.proxy.heal();
    }
    let mut by_password = faulty.command();
    for name in ["HW_ACCESS_KEY", "HW_SECRET_KEY", "HW_PROJECT_ID"] {
        by_password.env_remove(name);
    }
    faulty.proxy.always(|_| true, Fault::SignInPage(200));
    let stopped = run(by_password.env("IMGFERRY_IAM_ENDPOINT", faulty.proxy.url()));
    assert_eq!(stopped.code, Some(4), "{}", stopped.stderr);
    let told = "is not one of the identity service";
    assert!(stopped.stderr.contains(told), "{}", stopped.stderr);
    faulty.proxy.heal();
    faulty.is_done(&faulty.run(), "healed");
}

#[test]
fn a_service_that_cannot_be_reached_is_told_with_what_to_check() {
    let faulty = Faulty::new("quick");
    let nobody = "http://127.0.0.1:9/";
    let stopped = run(faulty.command().env(IMAGES, nobody));
    assert_eq!(stopped.code, Some(4), "{}", stopped.stderr);
    let told = "hint: check --iam-endpoint, --ims-endpoint";
    assert!(stopped.stderr.contains(told), "{}", stopped.stderr);
    // Nothing was noted, so nothing waits.
    assert_eq!(faulty.files("journal"), Vec::<PathBuf>::new());
}

#[test]
fn an_upload_that_is_refused_before_it_begins_leaves_no_journal_that_waits() {
    let faulty = Faulty::new("quick");
    let mut upload = faulty.import.cloud.command();
    upload.arg("upload").arg(&faulty.import.source);
    upload.args(["obs://images/plain", "--memory", "1MiB", "--state-dir"]);
    let refused = run(upload.arg(faulty.import.state_dir()));
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert_eq!(faulty.files("journal"), Vec::<PathBuf>::new());
}

#[test]
fn parts_of_an_upload_that_no_journal_knows_any_more_are_told_of() {
    let import = Import::of_noise(48);
    import.interrupt(2, "KILL");
    let journal = import.journal();
    let listed = run(import
        .cloud
        .command()
        .args(["uploads", "list", "images", "--json"]));
    let id = json_of(listed.success())["uploads"][0]["upload_id"].clone();
    let abort = format!(
        "imgferry uploads abort images --id {}",
        id.as_str().unwrap()
    );
    fs::remove_file(journal).unwrap();
    let done = import.go_on();
    is_right(&done);
    assert!(done.stderr.contains(&abort), "{}", done.stderr);
    // It may be somebody else's.
    assert_eq!(import.cloud.uploads(), 1);
}
