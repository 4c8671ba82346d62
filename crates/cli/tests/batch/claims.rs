//! Workers that share a batch through the bucket alone, and die.

use std::net::SocketAddr;
use std::process::Child;
use std::thread;
use std::time::Duration;

use crate::common::fleet::{Fleet, World, pause, report_of, states};
use crate::common::{self, Run, run, wait_until};
use sandbox::ImageStatus;
use sandbox::faults::Faults;
use testkit::faults::{Fault, Op, Proxy, Seen};

/// Four workers, each with a state directory of its own as on machines of their own; two are
/// killed.
fn four_workers_of_which_two_die(faults: Faults, seed: u64, way: &str) {
    let world = World::with(faults);
    let fleet = Fleet::raw(10, 1);
    world.proxy.script(|seen| {
        (seen.op == Op::UploadPart).then(|| Fault::Slow(Duration::from_millis(400)))
    });
    let start = |number: usize| -> Child {
        world
            .batch("run", &fleet, &format!("state-{number}"))
            .args(["--json", "--claim", "--lease", "4s", "--converts", "1"])
            .spawn()
            .unwrap()
    };
    let mut workers: Vec<Child> = (0..4).map(start).collect();
    let mut random = seed;
    wait_until(|| world.proxy.count(Op::UploadPart) >= 2);
    for victim in [1, 0] {
        thread::sleep(pause(&mut random, 50, 800));
        let _ = workers[victim].kill();
        workers[victim].wait().unwrap();
    }
    let runs: Vec<Run> = workers
        .into_iter()
        .skip(2)
        .map(|worker| worker.wait_with_output().unwrap().into())
        .collect();
    let mut done = 0;
    for run in &runs {
        run.success();
        assert!(run.stderr.contains(way), "{}", run.stderr);
        let found = states(&report_of(run));
        let mine = found.get("active").copied().unwrap_or_default()
            + found.get("adopted").copied().unwrap_or_default();
        done += mine;
        assert_eq!(
            mine + found.get("skipped").copied().unwrap_or_default(),
            10,
            "{found:?}"
        );
    }
    // Each disk has one image, with its content, and those that live did each at most once.
    assert_eq!(world.active(), fleet.digests());
    assert_eq!(world.images().len(), 10);
    assert!(done <= 10, "{done}");
    // A worker that comes later finds nothing to do.
    let late = run(world
        .batch("run", &fleet, "state-late")
        .args(["--json", "--claim", "--lease", "4s"]));
    assert_eq!(states(&report_of(late.success()))["skipped"], 10);
    // What the dead have left, clean throws away.
    run(world
        .batch("clean", &fleet, "state-late")
        .args(["--json", "--yes", "--claims"]))
    .success();
    assert!(world.objects(".imgferry/claims/").is_empty());
    assert_eq!(world.open_uploads(), 0);
}

#[test]
fn each_disk_is_done_once_by_claims_that_are_stored_only_if_there_is_none() {
    four_workers_of_which_two_die(
        Faults::default(),
        0x9e37_79b9,
        "stores a claim only if none exists",
    );
}

#[test]
fn each_disk_is_done_once_where_the_server_ignores_the_condition() {
    four_workers_of_which_two_die(
        Faults {
            ignore_conditions: true,
            ..Faults::default()
        },
        0x51_7c_c1_b7,
        "the lowest wins",
    );
}

#[test]
fn a_worker_that_was_frozen_finds_its_claim_lost_and_registers_nothing() {
    let world = World::new();
    let fleet = Fleet::raw(3, 1);
    world.proxy.script(|seen| {
        (seen.op == Op::UploadPart).then(|| Fault::Slow(Duration::from_millis(1500)))
    });
    let start = |state: &str| -> Child {
        world
            .batch("run", &fleet, state)
            .args(["--json", "--claim", "--lease", "2s", "--converts", "1"])
            .spawn()
            .unwrap()
    };
    let frozen = start("frozen");
    wait_until(|| world.proxy.count(Op::UploadPart) >= 1);
    common::signal(&frozen, "STOP");
    let other: Run = start("other").wait_with_output().unwrap().into();
    common::signal(&frozen, "CONT");
    let frozen: Run = frozen.wait_with_output().unwrap().into();
    // The one that went on did everything, also what the frozen one had begun.
    let found = states(&report_of(other.success()));
    assert_eq!(found.get("active"), Some(&3), "{found:?}\n{}", other.stderr);
    let found = states(&report_of(frozen.success()));
    assert_eq!(
        found.get("skipped"),
        Some(&3),
        "{found:?}\n{}",
        frozen.stderr
    );
    assert!(
        frozen.stderr.contains("the claim expired"),
        "{}",
        frozen.stderr
    );
    assert_eq!(world.active(), fleet.digests());
    assert_eq!(world.images().len(), 3);
    assert_eq!(world.open_uploads(), 0);
}

#[test]
fn a_worker_that_renews_its_claim_keeps_a_disk_that_takes_longer_than_a_lease() {
    let world = World::new();
    let fleet = Fleet::raw(1, 1);
    world
        .proxy
        .script(|seen| (seen.op == Op::UploadPart).then(|| Fault::Slow(Duration::from_secs(7))));
    let start = |state: &str| -> Child {
        world
            .batch("run", &fleet, state)
            .args(["--json", "--claim", "--lease", "2s"])
            .spawn()
            .unwrap()
    };
    let first = start("first");
    wait_until(|| world.proxy.count(Op::UploadPart) >= 1);
    let second: Run = start("second").wait_with_output().unwrap().into();
    let first: Run = first.wait_with_output().unwrap().into();
    assert_eq!(states(&report_of(first.success())).get("active"), Some(&1));
    assert_eq!(
        states(&report_of(second.success())).get("skipped"),
        Some(&1)
    );
    assert_eq!(world.proxy.count(Op::CreateUpload), 1);
    assert_eq!(world.proxy.count(Op::AbortUpload), 0);
    assert_eq!(world.active(), fleet.digests());
}

/// A machine that slept wakes up with a clock that says that all is well.
#[test]
fn a_worker_whose_disk_was_taken_over_says_so_and_registers_nothing_under_that_claim() {
    let world = World::new();
    let fleet = Fleet::raw(1, 1);
    // Of the disk, not of the claim that is put beside it.
    world.proxy.script(|seen| {
        let slow = seen.op == Op::UploadPart && !seen.path().contains("claims");
        slow.then(|| Fault::Slow(Duration::from_secs(10)))
    });
    let worker = world
        .batch("run", &fleet, "state")
        .args(["--json", "--claim", "--lease", "8s"])
        .spawn()
        .unwrap();
    wait_until(|| world.proxy.count(Op::UploadPart) >= 1);
    let claims = world.objects(".imgferry/claims/");
    let own = claims.iter().find(|key| key.ends_with("/g00000001"));
    let other = own.unwrap().replace("/g00000001", "/g00000002");
    let claim = world.dir.path().join("claim");
    let text = r#"{"version":1,"item":"x","worker":"w-other","lease_seconds":2,"beat":3}"#;
    std::fs::write(&claim, text).unwrap();
    run(world
        .command()
        .arg("upload")
        .arg(&claim)
        .arg(format!("obs://images/{other}"))
        .arg("--state-dir")
        .arg(world.dir.path().join("other")))
    .success();
    let ended: Run = worker.wait_with_output().unwrap().into();
    let told = "worker w-other has taken over the disk; will retry";
    assert!(ended.stderr.contains(told), "{}", ended.stderr);
    // The other one never renews its claim, so the disk is this worker's once more.
    assert_eq!(states(&report_of(ended.success())).get("active"), Some(&1));
    assert_eq!(world.images().len(), 1);
    assert_eq!(world.active(), fleet.digests());
}

/// A call that begins a registration.
fn begins(seen: &Seen) -> bool {
    let path = seen.path();
    match seen.method.as_str() {
        "POST" => path.ends_with("/cloudimages/action") || path.ends_with("/v2/images"),
        "PUT" => path.ends_with("/upload"),
        _ => false,
    }
}

/// A worker dies when the service has done what its `nth` call asked for, and before it hears so.
/// Whoever takes the disk over is on another machine and has no journal of it: the image itself
/// must tell whose it is.
fn a_worker_dies_before_the_answer_to(way: &str, nth: u32) {
    let world = World::new();
    let fleet = Fleet::raw(1, 1);
    let text = std::fs::read_to_string(&fleet.manifest).unwrap();
    // System images: the two-step form makes no other ones.
    let text = text.replace("  type: DataImage\n", &format!("  register: {way}\n"));
    std::fs::write(&fleet.manifest, text).unwrap();
    let ims = world.sandbox.as_ref().unwrap().ims_endpoint();
    let server = SocketAddr::new(
        ims.host_str().unwrap().parse().unwrap(),
        ims.port().unwrap(),
    );
    let proxy = world.runtime.block_on(Proxy::start(server)).unwrap();
    let mut seen_so_far = 0;
    proxy.script(move |seen| {
        seen_so_far += u32::from(begins(seen));
        (begins(seen) && seen_so_far == nth).then_some(Fault::StallAfter)
    });
    let start = |state: &str| -> Child {
        world
            .batch("run", &fleet, state)
            .args(["--json", "--claim", "--lease", "4s"])
            .env("IMGFERRY_IMS_ENDPOINT", proxy.url())
            .spawn()
            .unwrap()
    };
    let mut first = start("first");
    let state = match (way, nth) {
        ("glance", 1) => ImageStatus::Queued,
        _ => ImageStatus::Active,
    };
    wait_until(|| matches!(&world.images()[..], [image] if image.status == state));
    first.kill().unwrap();
    first.wait().unwrap();
    let what = format!("{way}, call {nth}");
    let other: Run = start("other").wait_with_output().unwrap().into();
    let report = report_of(other.success());
    let item = &report["items"][0];
    match item["state"].as_str() {
        Some("active" | "adopted") => {}
        // An image that is active is proven to be of this disk.
        Some("skipped") => {
            let cause = item["cause"].as_str().unwrap();
            assert!(cause.starts_with("already imported"), "{what}: {report}");
        }
        _ => panic!("{what}: {report}"),
    }
    // Its journal says so too.
    let status = run(world
        .command()
        .args(["status", "--json", "--state-dir"])
        .arg(world.dir.path().join("other")));
    let status = common::json_of(status.success());
    assert_eq!(status["imports"][0]["stage"], "done", "{status}");
    assert_eq!(world.active(), fleet.digests(), "{what}");
    assert_eq!(world.images().len(), 1, "{what}");
    let passed = proxy.passed();
    let asked = passed.iter().filter(|passed| begins(&passed.seen)).count();
    assert_eq!(asked, if way == "glance" { 2 } else { 1 }, "{what}");
    assert_eq!(world.open_uploads(), 0, "{what}");
    if state == ImageStatus::Active {
        // What the image is made of is not sent again.
        assert_eq!(world.completed(), 1, "{what}");
    }
}

#[test]
fn a_common_import_whose_worker_died_before_the_answer_is_made_once() {
    a_worker_dies_before_the_answer_to("common", 1);
}

#[test]
fn an_import_in_two_steps_whose_worker_died_before_either_answer_is_made_once() {
    a_worker_dies_before_the_answer_to("glance", 1);
    a_worker_dies_before_the_answer_to("glance", 2);
}

/// A worker dies when the bitmap is stored beside the raw disk, and before the image is registered.
/// What it has begun may be replaced by whoever takes the disk over, on another machine and without
/// its journal.
#[test]
fn a_raw_disk_whose_worker_died_between_the_bitmap_and_the_registration_is_taken_over() {
    let world = World::new();
    let fleet = Fleet::raw(1, 1);
    let text = std::fs::read_to_string(&fleet.manifest).unwrap();
    let text = text.replace("  type: DataImage\n", "  type: DataImage\n  to: raw\n");
    std::fs::write(&fleet.manifest, text).unwrap();
    world.proxy.once(
        |seen| seen.op == Op::PutObject && seen.path().ends_with(".mf"),
        Fault::StallAfter,
    );
    let start = |state: &str| -> Child {
        world
            .batch("run", &fleet, state)
            .args(["--json", "--claim", "--lease", "3s"])
            .spawn()
            .unwrap()
    };
    let mut first = start("first");
    let stored = || world.objects("").iter().any(|key| key.ends_with(".mf"));
    wait_until(stored);
    first.kill().unwrap();
    first.wait().unwrap();
    let other: Run = start("other").wait_with_output().unwrap().into();
    let found = states(&report_of(other.success()));
    assert_eq!(found.get("active"), Some(&1), "{found:?}");
    assert_eq!(world.active(), fleet.digests());
    assert_eq!(world.images().len(), 1);
}
