//! What users know other programs for, and what this one promises instead: one test each, run as a
//! user runs it. Those that need no process are in the crate `obs`.

use std::net::SocketAddr;
use std::process::Command;

use crate::common::importing::{Import, MIB, PART, is_right};
use crate::common::{self, Run, json_of, run};
use testkit::faults::{Fault, Op, Proxy};
use tokio::runtime::Runtime;

/// The proxy in front of a service of the sandbox; its runtime goes with it.
struct Faulty {
    proxy: Proxy,
    _runtime: Runtime,
}

impl Faulty {
    fn before(endpoint: &str) -> Self {
        let address: SocketAddr = endpoint
            .trim_start_matches("http://")
            .trim_end_matches('/')
            .parse()
            .unwrap();
        let runtime = Runtime::new().unwrap();
        let proxy = runtime.block_on(Proxy::start(address)).unwrap();
        Self {
            proxy,
            _runtime: runtime,
        }
    }

    fn storage(import: &Import) -> Self {
        Self::before(&import.cloud.variable("IMGFERRY_OBS_ENDPOINT"))
    }

    fn images(import: &Import) -> Self {
        Self::before(&import.cloud.variable("IMGFERRY_IMS_ENDPOINT"))
    }
}

/// Runs `command` with `variable` set to the proxy's address.
fn through(proxy: &Proxy, variable: &str, mut command: Command) -> Run {
    run(command.env(variable, proxy.url()))
}

const STORAGE: &str = "IMGFERRY_OBS_ENDPOINT";
const IMAGES: &str = "IMGFERRY_IMS_ENDPOINT";

/// Promise: an upload that dies near its end goes on there with the same command, without any
/// option.
#[test]
fn an_import_that_dies_near_its_end_goes_on_with_the_same_command() {
    let import = Import::of_noise(80);
    let Faulty { proxy, _runtime } = Faulty::storage(&import);
    proxy.always(|seen| seen.is_part(10), Fault::answer(403, "AccessDenied"));
    let died = through(&proxy, STORAGE, import.command());
    assert_eq!(died.code, Some(3), "{}", died.stderr);
    assert!(died.stderr.contains("to resume, run: "), "{}", died.stderr);
    proxy.heal();
    proxy.forget();
    let done = through(&proxy, STORAGE, import.command());
    let json = is_right(&done);
    // What was on its way when it died, and what was never sent.
    let sent = proxy.part_bytes();
    assert!(sent <= 6 * PART, "{sent} bytes sent again");
    assert!(json["uploaded"]["kept_bytes"].as_u64().unwrap() >= 5 * PART);
}

/// Promise: whoever waits is told what for. Each retry names the part, the attempt, the cause and
/// the server's id of the request. (That a line appears while nothing moves is a test of the
/// program's progress.)
#[test]
fn each_retry_is_told_with_part_attempt_cause_and_request_id() {
    let import = Import::of_noise(20);
    let Faulty { proxy, _runtime } = Faulty::storage(&import);
    proxy.times(2, |seen| seen.is_part(2), Fault::slow_down());
    proxy.once(|seen| seen.op == Op::CompleteUpload, Fault::ResetBefore);
    let mut command = import.command();
    // Also when only errors are wanted: what takes long must say why.
    command.arg("--quiet");
    let done = through(&proxy, STORAGE, command);
    is_right(&done);
    for told in [
        "part 2 of images/a.zvhd2: attempt 1 of 6 failed, next in ",
        "part 2 of images/a.zvhd2: attempt 2 of 6 failed, next in ",
        "503 SlowDown",
        "(request id FAULT-",
        "completing images/a.zvhd2: attempt 1 of 6 failed, next in ",
    ] {
        assert!(done.stderr.contains(told), "{told}: {}", done.stderr);
    }
}

/// Promise: an import of a disk that is larger than its memory stays inside the bound that its plan
/// printed, on a line that is much slower than the disk.
#[test]
fn a_large_import_over_a_slow_line_stays_inside_its_memory_bound() {
    let import = Import::with_rate(160, 24 * MIB);
    let mut command = import.command();
    command.args(["--memory", "96MiB"]);
    let done = run(&mut command);
    let json = is_right(&done);
    let [peak, bound] = ["peak_memory", "memory_bound"].map(|name| json[name].as_u64().unwrap());
    // The bound counts the program as it was built (`convert::PROGRAM_MEMORY`), so nothing is
    // allowed beside it.
    assert!(peak <= bound, "{peak} of {bound}");
    assert!(bound <= 96 * MIB, "{bound}");
}

/// Promise: what something between here and the storage answers in its place is never taken for an
/// answer of the storage, whatever was asked for: no object "exists", no part is stored. It is
/// asked once, and what is stored is gone on with.
#[test]
fn a_sign_in_page_in_the_place_of_the_storage_is_told_as_one() {
    let import = Import::of_noise(20);
    let Faulty { proxy, _runtime } = Faulty::storage(&import);
    for (op, status) in [
        (Op::HeadBucket, 200),
        (Op::HeadObject, 200),
        (Op::HeadObject, 302),
        (Op::CreateUpload, 200),
        (Op::UploadPart, 200),
        (Op::UploadPart, 302),
        (Op::CompleteUpload, 200),
    ] {
        proxy.forget();
        proxy.always(move |seen| seen.op == op, Fault::SignInPage(status));
        let stopped = through(&proxy, STORAGE, import.command());
        let what = format!("{op:?} {status}: {}", stopped.stderr);
        assert_eq!(stopped.code, Some(4), "{what}");
        for told in ["a sign-in page of this network", "HTTPS_PROXY"] {
            assert!(stopped.stderr.contains(told), "{what}");
        }
        assert!(!stopped.stderr.contains("already exists"), "{what}");
        assert!(!stopped.stderr.contains("attempt 1 of"), "{what}");
        proxy.heal();
    }
    is_right(&through(&proxy, STORAGE, import.command()));
}

/// Promise: parts that were left behind are neither invisible nor thrown away by mistake. The id is
/// printed, the listing says which uploads can go on, and only who names them aborts those.
#[test]
fn an_upload_that_was_left_behind_is_named_listed_and_kept_until_somebody_means_it() {
    let import = Import::of_noise(64);
    let stopped = import.interrupt(2, "INT");
    assert_eq!(stopped.code, Some(130), "{}", stopped.stderr);
    let id = json_of(&stopped)["upload_id"].as_str().unwrap().to_owned();
    assert!(
        stopped
            .stderr
            .contains(&format!("imgferry uploads abort images --id {id}")),
        "{}",
        stopped.stderr
    );
    let uploads = |args: &[&str]| {
        let mut command = import.cloud.command();
        command.arg("uploads").args(args).arg("--json");
        let done = run(command.arg("--state-dir").arg(import.state_dir()));
        done.success();
        json_of(&done)
    };
    let listed = uploads(&["list", "images"]);
    assert_eq!(listed["uploads"][0]["upload_id"], id);
    assert_eq!(listed["uploads"][0]["resumable"], true);
    let young = uploads(&["abort", "images", "--older-than", "7d", "--resumable"]);
    assert_eq!(young["aborted"].as_array().unwrap().len(), 0);
    let kept = uploads(&["abort", "images", "--all"]);
    assert_eq!(kept["kept"][0]["upload_id"], id);
    assert_eq!(import.cloud.uploads(), 1);
    uploads(&["abort", "images", "--all", "--resumable"]);
    assert_eq!(import.cloud.uploads(), 0);
    // What was aborted is begun anew, and that is told.
    let done = import.go_on();
    is_right(&done);
    assert!(
        done.stderr.contains("the server no longer knows upload"),
        "{}",
        done.stderr
    );
}

/// Promise: an upload whose last answer was lost is done, and is not done again. Here the process
/// dies before it can look at the object itself.
#[test]
fn an_import_that_died_while_it_completed_is_found_complete() {
    let import = Import::of_noise(20);
    let Faulty { proxy, _runtime } = Faulty::storage(&import);
    proxy.once(|seen| seen.op == Op::CompleteUpload, Fault::StallAfter);
    let mut child = import.command().env(STORAGE, proxy.url()).spawn().unwrap();
    common::wait_until(|| import.cloud.objects("images") == ["a.zvhd2"]);
    child.kill().unwrap();
    child.wait().unwrap();
    proxy.forget();
    let done = through(&proxy, STORAGE, import.command());
    let json = is_right(&done);
    assert_eq!(proxy.part_bytes(), 0);
    assert_eq!(json["uploaded"]["sent_bytes"], 0);
    assert!(
        done.stderr
            .contains("had already completed, but its answer was lost"),
        "{}",
        done.stderr
    );
}

/// Promise: a registration that failed is tried again without another upload.
#[test]
fn a_registration_that_failed_goes_on_without_another_upload() {
    let import = Import::of_noise(12);
    let Faulty { proxy, _runtime } = Faulty::images(&import);
    let register = |seen: &testkit::faults::Seen| seen.target.contains("quickimport");
    proxy.always(register, Fault::answer(400, "IMG.0144"));
    let failed = through(&proxy, IMAGES, import.command());
    assert_eq!(failed.code, Some(3), "{}", failed.stderr);
    assert!(
        failed.stderr.contains("to resume, run: "),
        "{}",
        failed.stderr
    );
    assert_eq!(import.status()["stage"], "uploaded");
    proxy.heal();
    let sent = import.line.sent();
    let done = through(&proxy, IMAGES, import.command());
    let json = is_right(&done);
    assert_eq!(json["uploaded"]["sent_bytes"], 0);
    assert!(import.line.sent() - sent < MIB);
}

/// Promise: a registration whose answer was lost is not sent a second time.
#[test]
fn a_registration_whose_answer_was_lost_is_not_sent_twice() {
    let import = Import::of_noise(12);
    let Faulty { proxy, _runtime } = Faulty::images(&import);
    let register = |seen: &testkit::faults::Seen| seen.target.contains("quickimport");
    proxy.once(register, Fault::ResetAfter);
    let done = through(&proxy, IMAGES, import.command());
    is_right(&done);
    assert!(
        done.stderr.contains("is already registered; following it"),
        "{}",
        done.stderr
    );
    let sent = proxy.passed();
    let sent = sent.iter().filter(|passed| register(&passed.seen));
    assert_eq!(sent.count(), 1);
}
