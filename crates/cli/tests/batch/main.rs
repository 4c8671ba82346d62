//! `imgferry batch`: what a manifest lists becomes images, whatever happens on the way.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod again;
mod claims;
#[path = "../common/mod.rs"]
mod common;
mod guests;
mod init;
mod machines;
mod pace;
mod warm;

use std::collections::HashSet;
use std::fs;
use std::process::Child;
use std::thread;

use common::fleet::{Fleet, World, pause, report_of, states};
use common::{Run, json_of, run, signal, wait_until};
use sandbox::faults::Faults;
use testkit::faults::{Fault, Op, mix};

const MIB: u64 = 1 << 20;

/// Sixty disks, of which three are broken and two have names that are taken.
#[test]
fn sixty_disks_with_five_that_cannot_be_end_as_fifty_five_images_and_five_causes() {
    let world = World::new();
    let fleet = Fleet::mixed(60, 1);
    // Neither an image nor sectors, a table that lies outside, a footer that is damaged.
    fs::write(&fleet.disks[7].file, b"").unwrap();
    let mut lying = vec![0; 65536];
    lying[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
    lying[20..24].copy_from_slice(&16_u32.to_be_bytes());
    lying[24..32].copy_from_slice(&(1_u64 << 30).to_be_bytes());
    lying[36..40].copy_from_slice(&2_u32.to_be_bytes());
    lying[40..48].copy_from_slice(&(1_u64 << 40).to_be_bytes());
    fs::write(&fleet.disks[21].file, lying).unwrap();
    let zvhd2 = fs::read(&fleet.disks[34].file).unwrap();
    fs::write(&fleet.disks[34].file, &zvhd2[..zvhd2.len() - 512]).unwrap();
    let broken = [7, 21, 34];
    // Others have these names already.
    let taken = [40, 41];
    for number in taken {
        world.import(&fleet.disks[0].file, &fleet.disks[number].name);
    }
    world.proxy.script(mix(7, 5, 2));

    let reports = world.dir.path();
    let run = run(world
        .batch("run", &fleet, "state")
        .arg("--json")
        .arg("--report")
        .arg(reports.join("r.html"))
        .arg("--report-json")
        .arg(reports.join("r.json")));
    assert_eq!(run.code, Some(3), "{}", run.stderr);
    let report = report_of(&run);
    let found = states(&report);
    assert_eq!(
        (found["active"], found["refused"]),
        (55, 5),
        "{found:?}\n{}",
        run.stderr
    );

    let mut expected = fleet.digests();
    for number in broken.into_iter().chain(taken) {
        let name = &fleet.disks[number].name;
        expected.remove(name);
        let item = &report["items"][number];
        assert_eq!(item["id"], name.as_str());
        let cause = item["cause"].as_str().unwrap_or_default();
        assert!(!cause.is_empty(), "{item}");
        let told = format!("{name}: refused: ");
        assert!(run.stderr.contains(&told), "{}", run.stderr);
        if taken.contains(&number) {
            assert!(cause.contains("has the name"), "{cause}");
        }
    }
    let mut active = world.active();
    for number in taken {
        active.remove(&fleet.disks[number].name);
    }
    assert_eq!(active, expected);
    for item in report["items"].as_array().unwrap() {
        if item["state"] == "active" {
            assert_eq!(
                item["digest"],
                expected[item["id"].as_str().unwrap()].as_str()
            );
        }
    }
    // Every way to read the report.
    let page = fs::read_to_string(reports.join("r.html")).unwrap();
    assert!(page.contains("disk-07") && page.contains("</html>"));
    let written: serde_json::Value =
        serde_json::from_slice(&fs::read(reports.join("r.json")).unwrap()).unwrap();
    assert_eq!(states(&written), found);
    // Memory stays in the one budget.
    let machine = &report["machine"];
    let (peak, bound) = (
        machine["peak_memory"].as_u64(),
        machine["memory_bound"].as_u64(),
    );
    assert!(peak.unwrap() <= bound.unwrap(), "{machine}");
    // Uploads of which the answer was lost with their id are empty, and the batch's to throw away.
    world.proxy.heal();
    self::run(world.batch("clean", &fleet, "state").arg("--yes")).success();
    assert_eq!(world.open_uploads(), 0);
}

/// What is on standard output of a run with `--json`.
#[test]
fn events_are_one_json_object_a_line_and_the_report_is_the_last() {
    let world = World::new();
    let fleet = Fleet::raw(3, 1);
    let run = run(world.batch("run", &fleet, "state").arg("--json"));
    run.success();
    let text = run.text();
    let events: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let names: HashSet<&str> = events
        .iter()
        .map(|e| e["event"].as_str().unwrap())
        .collect();
    for name in ["plan", "began", "stage", "ended", "report"] {
        assert!(names.contains(name), "{name}: {names:?}");
    }
    let ended = events.iter().filter(|event| event["event"] == "ended");
    assert_eq!(ended.count(), 3);
    assert_eq!(report_of(&run)["exit"], 0);
}

#[test]
fn a_plan_opens_everything_tells_all_refusals_and_changes_nothing() {
    let world = World::new();
    let fleet = Fleet::mixed(8, 2);
    fs::write(&fleet.disks[3].file, b"").unwrap();
    fs::write(&fleet.disks[5].file, b"").unwrap();
    let planned = run(world.batch("plan", &fleet, "state").arg("--json"));
    assert_eq!(planned.code, Some(2), "{}", planned.stderr);
    let plan = json_of(&planned);
    assert_eq!(plan["totals"]["refused"], 2, "{plan}");
    assert_eq!(plan["totals"]["to_do"], 6);
    let refused: Vec<&str> = plan["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|item| item["action"] == "refuse")
        .map(|item| item["id"].as_str().unwrap())
        .collect();
    assert_eq!(refused, ["disk-03", "disk-05"]);
    // The noise of the disk that was measured can be seen in the figures.
    let estimate = &plan["estimate"];
    assert!(estimate["ratio"].as_f64().unwrap() > 0.9, "{estimate}");
    assert!(estimate["bytes_per_second"].as_u64().unwrap() > 0);
    assert_eq!(plan["quota"]["wanted"], 6);
    assert!(
        plan["memory"]["budget"].as_u64().unwrap() >= plan["memory"]["largest"].as_u64().unwrap()
    );
    assert!(world.images().is_empty() && world.objects("").is_empty());
    assert_eq!(world.open_uploads(), 0);
    assert!(
        !world.dir.path().join("state").exists(),
        "a plan writes no journal"
    );

    // As text, and as run --dry-run.
    let text = run(world.batch("run", &fleet, "state").arg("--dry-run"));
    assert_eq!(text.code, Some(2));
    assert!(text.text().contains("DISK"), "{}", text.text());
    assert!(text.text().contains("memory  at most"), "{}", text.text());
}

#[test]
fn a_rerun_does_only_what_is_left() {
    let world = World::new();
    let fleet = Fleet::raw(6, 1);
    let good = fs::read(&fleet.disks[2].file).unwrap();
    fs::write(&fleet.disks[2].file, b"").unwrap();
    let first = run(world.batch("run", &fleet, "state").arg("--json"));
    assert_eq!(first.code, Some(3), "{}", first.stderr);
    let sent = world.part_bytes();

    fs::write(&fleet.disks[2].file, good).unwrap();
    let second = run(world.batch("run", &fleet, "state").arg("--json"));
    second.success();
    let found = states(&report_of(&second));
    assert_eq!((found["skipped"], found["active"]), (5, 1), "{found:?}");
    assert_eq!(world.active(), fleet.digests());
    // One disk of noise, and not six.
    let more = world.part_bytes() - sent;
    assert!((MIB..2 * MIB).contains(&more), "{more}");

    let third = run(world.batch("run", &fleet, "state").arg("--json"));
    third.success();
    assert_eq!(states(&report_of(&third))["skipped"], 6);
    assert_eq!(world.part_bytes(), sent + more);

    // A source that is another one now is for the user to decide about.
    fs::write(&fleet.disks[0].file, vec![7; 1 << 20]).unwrap();
    let changed = run(world.batch("run", &fleet, "state").arg("--json"));
    assert_eq!(changed.code, Some(3), "{}", changed.stderr);
    let item = &report_of(&changed)["items"][0];
    assert!(
        item["cause"].as_str().unwrap().contains("changed since"),
        "{item}"
    );
    assert!(
        item["hint"].as_str().unwrap().contains("--redo disk-00"),
        "{item}"
    );
}

#[test]
fn an_object_that_holds_the_same_disk_is_adopted() {
    let world = World::new();
    let fleet = Fleet::raw(2, 1);
    // Uploaded before, and registered by nobody.
    run(world
        .command()
        .arg("import")
        .arg(&fleet.disks[0].file)
        .args([
            "--name",
            "disk-00",
            "--bucket",
            "images",
            "--type",
            "DataImage",
        ])
        .args(["--register", "none", "--state-dir"])
        .arg(world.dir.path().join("other")))
    .success();
    let plan = json_of(&run(world.batch("plan", &fleet, "state").arg("--json")));
    assert_eq!(plan["items"][0]["action"], "adopt");
    assert_eq!(plan["items"][1]["action"], "upload");
    let sent = world.part_bytes();
    let ran = run(world.batch("run", &fleet, "state").arg("--json"));
    let found = states(&report_of(ran.success()));
    assert_eq!((found["adopted"], found["active"]), (1, 1), "{found:?}");
    assert!(world.part_bytes() - sent < 2 * MIB);
    assert_eq!(world.active(), fleet.digests());
}

#[test]
fn fail_fast_stops_everything_and_says_so() {
    let world = World::new();
    let fleet = Fleet::raw(8, 1);
    // What only a run finds out: the service takes no object.
    world.proxy.always(
        |seen| seen.op == Op::CreateUpload && seen.path().contains("disk-01"),
        Fault::answer(403, "AccessDenied"),
    );
    let run =
        run(world
            .batch("run", &fleet, "state")
            .args(["--json", "--fail-fast", "--converts", "1"]));
    assert_eq!(run.code, Some(3), "{}", run.stderr);
    let report = report_of(&run);
    let found = states(&report);
    assert_eq!(found["failed"], 1, "{found:?}");
    assert!(found["waiting"] >= 5, "{found:?}");
    world.proxy.heal();
    let again = self::run(world.batch("run", &fleet, "state").arg("--json"));
    again.success();
    assert_eq!(world.active(), fleet.digests());
}

#[test]
fn an_interrupt_leaves_a_state_that_goes_on() {
    let world = World::new();
    let fleet = Fleet::raw(6, 2);
    // One disk gets through; the others have parts on their way for longer than anybody waits.
    let parts = std::sync::atomic::AtomicUsize::new(0);
    world.proxy.script(move |seen| {
        let is_part = seen.op == Op::UploadPart;
        let later = is_part && parts.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 0;
        later.then_some(Fault::Slow(testkit::measure::HANG))
    });
    let child = world
        .batch("run", &fleet, "state")
        .args(["--json", "--converts", "2"])
        .spawn()
        .unwrap();
    wait_until(|| world.completed() >= 1);
    signal(&child, "INT");
    let stopped: Run = child.wait_with_output().unwrap().into();
    assert_eq!(stopped.code, Some(130), "{}", stopped.stderr);
    assert!(
        stopped.stderr.contains("to resume, run: "),
        "{}",
        stopped.stderr
    );
    assert_eq!(report_of(&stopped)["exit"], 130);
    world.proxy.heal();
    let again = run(world.batch("run", &fleet, "state").arg("--json"));
    again.success();
    assert_eq!(world.active(), fleet.digests());
}

/// The wire may have sent what no journal could note: parts in flight.
#[test]
fn a_batch_that_is_killed_five_times_ends_without_sending_or_registering_anything_twice() {
    let world = World::new();
    let fleet = Fleet::mixed(24, 1);
    world.proxy.script(|seen| {
        (seen.op == Op::UploadPart).then(|| Fault::Slow(std::time::Duration::from_millis(300)))
    });
    let mut random = 0x1234_5678_9abc_def1;
    let mut kills = 0;
    while kills < 5 {
        let mut child = world
            .batch("run", &fleet, "state")
            .args(["--json", "--converts", "2", "--concurrency", "2"])
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // In the middle of it: something of this run is on its way.
        let before = world.proxy.count(Op::UploadPart);
        wait_until(|| {
            world.proxy.count(Op::UploadPart) > before || child.try_wait().unwrap().is_some()
        });
        thread::sleep(pause(&mut random, 0, 700));
        if child.try_wait().unwrap().is_none() {
            kills += 1;
        } else {
            assert!(kills >= 3, "the batch was faster than the kills: {kills}");
            kills = 5;
        }
        signal_if_there(&mut child);
        child.wait().unwrap();
    }
    let last = run(world.batch("run", &fleet, "state").arg("--json"));
    last.success();
    assert_eq!(world.active(), fleet.digests());
    assert_eq!(
        world.images().len(),
        24,
        "an image for each disk, and no other"
    );
    assert_eq!(world.open_uploads(), 0);
    // Each part of about 1 MiB once, and for each kill at most the parts in flight of the disks at
    // work.
    let whole = 24 * (MIB + 64 * 1024);
    let in_flight = 5 * 4 * 2 * MIB;
    let sent = world.part_bytes();
    assert!(sent <= whole + in_flight, "{sent} > {whole} + {in_flight}");
}

fn signal_if_there(child: &mut Child) {
    let _ = child.kill();
}

#[test]
fn shards_part_the_manifest_and_each_disk_has_one_worker() {
    let world = World::new();
    let fleet = Fleet::raw(7, 1);
    let mut seen = Vec::new();
    for shard in 1..=3 {
        let run = run(world.batch("run", &fleet, "state").args([
            "--json",
            "--shard",
            &format!("{shard}/3"),
        ]));
        run.success();
        for item in report_of(&run)["items"].as_array().unwrap() {
            assert_eq!(item["state"], "active", "{item}");
            seen.push(item["id"].as_str().unwrap().to_owned());
        }
    }
    seen.sort();
    let expected: Vec<String> = fleet.disks.iter().map(|disk| disk.name.clone()).collect();
    assert_eq!(seen, expected);
    assert_eq!(world.active(), fleet.digests());
}

#[test]
fn a_worker_whose_disks_are_refused_has_finished_its_share() {
    let world = World::new();
    let fleet = Fleet::raw(3, 1);
    std::fs::write(&fleet.disks[1].file, b"conectix, and no disk").unwrap();
    for share in [["--shard", "1/1"], ["--claim", "--lease=4s"]] {
        let run = run(world
            .batch("run", &fleet, share[0])
            .arg("--json")
            .args(share));
        assert_eq!(states(&report_of(run.success()))["refused"], 1);
        assert!(
            run.stderr.contains("1 of 3 disks were refused"),
            "{}",
            run.stderr
        );
    }
    // A batch of one machine has failed then.
    let alone = run(world.batch("run", &fleet, "alone").arg("--json"));
    assert_eq!(alone.code, Some(3), "{}", alone.stderr);
}

#[test]
fn status_says_how_far_a_batch_is_while_it_runs_and_after() {
    let world = World::new();
    let fleet = Fleet::raw(4, 1);
    let status = |world: &World| {
        let mut command = world.command();
        command.args(["batch", "status"]).arg(&fleet.manifest);
        command
            .arg("--state-dir")
            .arg(world.dir.path().join("state"));
        json_of(run(command.arg("--json")).success())
    };
    assert_eq!(status(&world)["running"], false);
    assert_eq!(status(&world)["left"], 4);
    world.proxy.script(|seen| {
        (seen.op == Op::UploadPart).then(|| Fault::Slow(std::time::Duration::from_millis(700)))
    });
    let child = world
        .batch("run", &fleet, "state")
        .args(["--json", "--converts", "1"])
        .spawn()
        .unwrap();
    wait_until(|| status(&world)["done"].as_u64() >= Some(1));
    let during = status(&world);
    assert_eq!(during["running"], true, "{during}");
    // Another one must not do the same at the same time.
    let second = run(world.batch("run", &fleet, "state").arg("--json"));
    assert_eq!(second.code, Some(2), "{}", second.stderr);
    assert!(
        second.stderr.contains("is running this batch"),
        "{}",
        second.stderr
    );
    Run::from(child.wait_with_output().unwrap()).success();
    let after = status(&world);
    assert_eq!(
        (after["done"].as_u64(), after["exit"].as_u64()),
        (Some(4), Some(0)),
        "{after}"
    );
}

#[test]
fn clean_deletes_what_an_abandoned_batch_left_and_nothing_else() {
    let world = World::new();
    let fleet = Fleet::raw(3, 1);
    world.proxy.script(|seen| {
        (seen.op == Op::UploadPart && !seen.path().contains("disk-00"))
            .then_some(Fault::StallInBody)
    });
    let mut child = world
        .batch("run", &fleet, "state")
        .args(["--json", "--converts", "2"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    wait_until(|| !world.active().is_empty() && world.open_uploads() >= 1);
    child.kill().unwrap();
    child.wait().unwrap();
    world.proxy.heal();
    let open = world.open_uploads();
    assert!(open >= 1);
    let shown = run(world.batch("clean", &fleet, "state").arg("--json"));
    assert_eq!(shown.code, Some(2), "{}", shown.stderr);
    assert!(shown.stderr.contains("--yes"), "{}", shown.stderr);
    assert_eq!(world.open_uploads(), open);
    let cleaned = run(world
        .batch("clean", &fleet, "state")
        .args(["--json", "--yes"]));
    let told = json_of(cleaned.success());
    assert_eq!(told["uploads"].as_array().unwrap().len(), open);
    assert_eq!(world.open_uploads(), 0);
    // What is done stays done, and the rest can be done anew.
    assert_eq!(world.active().len(), 1);
    let again = run(world.batch("run", &fleet, "state").arg("--json"));
    let found = states(&report_of(again.success()));
    // Killed before or after it was noted that the first one is done.
    let kept = found.get("skipped").or(found.get("adopted"));
    assert_eq!(kept, Some(&1), "{found:?}");
    assert_eq!(world.active(), fleet.digests());
}

#[test]
fn everything_wrong_with_a_manifest_is_told_with_its_lines() {
    let world = World::new();
    let fleet = Fleet::raw(1, 1);
    fs::write(
        &fleet.manifest,
        "version: 1\nimages:\n  - name: a\n    source: nothing.raw\n  - name: b\n    sorce: disk-00.raw\n",
    )
    .unwrap();
    let run = run(world.batch("run", &fleet, "state").arg("--json"));
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    let problems = json_of(&run)["problems"].clone();
    assert!(problems.as_array().unwrap().len() >= 2, "{problems}");
    assert!(run.stderr.contains("line 4"), "{}", run.stderr);
    assert!(run.stderr.contains("line 6"), "{}", run.stderr);
}

#[test]
fn a_budget_that_holds_one_disk_at_a_time_still_does_all() {
    let world = World::new();
    let fleet = Fleet::mixed(5, 4);
    let run = run(world.batch("run", &fleet, "state").args([
        "--json",
        "--memory",
        "112MiB",
        "--converts",
        "4",
    ]));
    run.success();
    let machine = report_of(&run)["machine"].clone();
    assert_eq!(machine["memory_bound"], 112 << 20);
    assert!(
        machine["peak_memory"].as_u64().unwrap() <= 112 << 20,
        "{machine}"
    );
    assert_eq!(world.active(), fleet.digests());
}

#[test]
fn disks_beyond_the_quota_are_refused_in_the_manifests_order() {
    let world = World::with_quota(Faults::default(), 2);
    let fleet = Fleet::raw(4, 1);
    let plan = json_of(&run(world.batch("plan", &fleet, "state").arg("--json")));
    let actions: Vec<&str> = plan["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["action"].as_str().unwrap())
        .collect();
    assert_eq!(actions, ["upload", "upload", "refuse", "refuse"]);
    let ran = run(world.batch("run", &fleet, "state").arg("--json"));
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    let found = states(&report_of(&ran));
    assert_eq!((found["active"], found["refused"]), (2, 2), "{found:?}");
}

#[test]
fn a_batch_in_a_sandbox_needs_no_account_and_stays_in_its_memory() {
    let fleet = Fleet::mixed(4, 4);
    let report = fleet.dir.path().join("report.json");
    let ran = run(common::command()
        .args(["batch", "run"])
        .arg(&fleet.manifest)
        .args(["--sandbox", "--memory", "512MiB", "--report-json"])
        .arg(&report));
    ran.success();
    assert!(ran.text().contains("disk-03"), "{}", ran.text());
    assert!(
        ran.stderr.contains("memory  at most 512 MiB"),
        "{}",
        ran.stderr
    );
    let report: serde_json::Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
    let machine = &report["machine"];
    assert!(
        machine["peak_memory"].as_u64().unwrap() <= 512 << 20,
        "{machine}"
    );
    let digests = fleet.digests();
    for item in report["items"].as_array().unwrap() {
        assert_eq!(item["state"], "active", "{item}");
        assert_eq!(
            item["digest"],
            digests[item["id"].as_str().unwrap()].as_str()
        );
    }
}

#[test]
fn a_disk_that_is_done_is_imported_again_when_that_is_asked_for() {
    let world = World::new();
    let fleet = Fleet::raw(2, 1);
    run(world.batch("run", &fleet, "state").arg("--json")).success();
    let id = world
        .images()
        .into_iter()
        .find(|image| image.name == "disk-01")
        .unwrap()
        .id;
    run(world.command().args(["image", "delete", &id, "--yes"])).success();
    let skipped = run(world.batch("run", &fleet, "state").arg("--json"));
    assert_eq!(states(&report_of(skipped.success()))["skipped"], 2);
    let again = run(world
        .batch("run", &fleet, "state")
        .args(["--json", "--redo", "disk-01"]));
    let found = states(&report_of(again.success()));
    // Its object is still there, and holds the disk.
    assert_eq!((found["skipped"], found["adopted"]), (1, 1), "{found:?}");
    assert_eq!(world.active(), fleet.digests());
    let wrong = run(world
        .batch("run", &fleet, "state")
        .args(["--redo", "disk-99"]));
    assert_eq!(wrong.code, Some(2), "{}", wrong.stderr);
}

#[test]
fn a_file_that_the_service_converts_goes_as_it_is_in_the_same_batch() {
    let world = World::new();
    let fleet = Fleet::raw(3, 1);
    let text = fs::read_to_string(&fleet.manifest).unwrap();
    let common = "source: disk-01.raw\n    register: common";
    fs::write(&fleet.manifest, text.replace("source: disk-01.raw", common)).unwrap();
    let plan = json_of(run(world.batch("plan", &fleet, "state").arg("--json")).success());
    assert_eq!(plan["items"][1]["action"], "upload-as-is", "{plan}");
    // As an import of its own calls it.
    assert_eq!(plan["items"][1]["key"], "disk-01.raw", "{plan}");
    assert_eq!(plan["items"][2]["key"], "disk-02.zvhd2", "{plan}");
    let ran = run(world.batch("run", &fleet, "state").arg("--json"));
    assert_eq!(states(&report_of(ran.success()))["active"], 3);
    assert_eq!(world.active(), fleet.digests());
    assert_eq!(world.objects("disk-01"), ["disk-01.raw"]);
    let again = run(world.batch("run", &fleet, "state").arg("--json"));
    assert_eq!(states(&report_of(again.success()))["skipped"], 3);
}
