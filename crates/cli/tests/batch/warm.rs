//! Batches of running servers: generations until the cutover.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use testkit::faults::{Fault, Op};

use crate::common::fleet::{Fleet, World, report_of, states};
use crate::common::{json_of, run};

#[test]
fn disks_of_running_servers_are_uploaded_in_generations_until_the_cutover() {
    let world = World::new();
    let fleet = Fleet::raw(2, 16);
    let text = fs::read_to_string(&fleet.manifest).unwrap();
    let warm = text.replace("  level: 1\n", "  level: 1\n  warm: true\n");
    fs::write(&fleet.manifest, warm).unwrap();
    for number in 1..=3 {
        let done = run(world.batch("run", &fleet, "state").arg("--json"));
        let report = report_of(done.success());
        assert_eq!(report["exit"], 0);
        assert_eq!(states(&report)["uploaded"], 2, "{report}");
        let cause = format!("generation {number} uploaded");
        for item in report["items"].as_array().unwrap() {
            assert_eq!(item["cause"], cause.as_str());
        }
        assert!(world.active().is_empty());
        // Somebody writes to a disk between the runs.
        let mut disk = fs::read(&fleet.disks[0].file).unwrap();
        disk[(5 + number) << 20] ^= 1;
        fs::write(&fleet.disks[0].file, disk).unwrap();
    }
    let status = run(world.batch("status", &fleet, "state").arg("--json"));
    let status = json_of(status.success());
    assert_eq!(status["items"][0]["cause"], "generation 3 uploaded");
    let claimed = run(world.batch("run", &fleet, "state").arg("--claim"));
    assert_eq!(claimed.code, Some(2), "{}", claimed.stderr);
    assert!(
        claimed.stderr.contains("a share of the disks"),
        "{}",
        claimed.stderr
    );

    let planned = run(world
        .batch("plan", &fleet, "state")
        .args(["--cutover", "--json"]));
    assert_eq!(json_of(planned.success())["quota"]["wanted"], 2);
    let cutover = || {
        run(world
            .batch("run", &fleet, "state")
            .args(["--cutover", "--json"]))
    };
    let report = report_of(cutover().success());
    assert_eq!(states(&report)["active"], 2, "{report}");
    assert_eq!(world.active().len(), 2);
    assert_eq!(world.active()["disk-01"], fleet.disks[1].digest);
    assert_eq!(
        world
            .objects("disk-01")
            .iter()
            .filter(|key| key.ends_with(".zvhd2"))
            .count(),
        2
    );
    // It is over.
    let report = report_of(cutover().success());
    assert_eq!(states(&report)["skipped"], 2, "{report}");
    let report = report_of(run(world.batch("run", &fleet, "state").arg("--json")).success());
    assert_eq!(states(&report)["skipped"], 2, "{report}");
}

#[test]
fn a_manifest_names_the_base_of_a_disk() {
    let world = World::new();
    let fleet = Fleet::raw(1, 32);
    run(world.batch("run", &fleet, "state").arg("--json")).success();
    let mut disk = fs::read(&fleet.disks[0].file).unwrap();
    disk[20 << 20] ^= 1;
    fs::write(&fleet.disks[0].file, disk).unwrap();
    let text = fs::read_to_string(&fleet.manifest).unwrap();
    let next = text.replace("name: disk-00", "base: disk-00.zvhd2\n    name: next");
    fs::write(&fleet.manifest, next).unwrap();
    let before = world.part_bytes();
    let report = report_of(run(world.batch("run", &fleet, "state").arg("--json")).success());
    assert_eq!(states(&report)["active"], 1, "{report}");
    assert!(world.part_bytes() - before < 20 << 20);
}

#[test]
fn nothing_is_removed_for_a_generation_that_nothing_can_be_based_on() {
    let world = World::new();
    let fleet = Fleet::raw(1, 16);
    let text = fs::read_to_string(&fleet.manifest).unwrap();
    let warm = text.replace("  level: 1\n", "  level: 1\n  warm: true\n");
    fs::write(&fleet.manifest, warm).unwrap();
    let go = |number: u8| {
        let mut disk = fs::read(&fleet.disks[0].file).unwrap();
        disk[usize::from(number) << 20] ^= 1;
        fs::write(&fleet.disks[0].file, disk).unwrap();
        let done = run(world.batch("run", &fleet, "state").arg("--json"));
        done.success();
        let keys = world.objects("disk-00").into_iter();
        let objects = keys.filter(|key| key.ends_with(".zvhd2"));
        objects.map(|key| key[9..13].to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(go(1), ["0001"]);
    // The tables of the next two cannot be stored.
    let refuses = Arc::new(AtomicBool::new(true));
    let refused = Arc::clone(&refuses);
    world.proxy.script(move |seen| {
        let is_table = seen.op == Op::PutObject && seen.target.contains(".blocks");
        (is_table && refused.load(Ordering::Relaxed)).then(|| Fault::Answer {
            status: 403,
            code: "AccessDenied",
            headers: Vec::new(),
        })
    });
    assert_eq!(go(2), ["0001", "0002"]);
    assert_eq!(go(3), ["0001", "0002", "0003"]);
    // The next one is based on the first, and what is of no use goes.
    refuses.store(false, Ordering::Relaxed);
    assert_eq!(go(4), ["0001", "0004"]);
}
