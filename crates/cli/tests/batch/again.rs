//! Batches that run again: with the books of the first run, and without.

use std::fs;

use crate::common::fleet::{Fleet, World, report_of, states};
use crate::common::{json_of, run};

/// Whatever is registered how: disks that are converted, and files that are uploaded unchanged.
#[test]
fn a_batch_without_its_books_finds_everything_imported() {
    let world = World::new();
    let fleet = Fleet::raw(4, 1);
    let text = fs::read_to_string(&fleet.manifest).unwrap();
    let last = format!("  - name: {}\n", fleet.disks[3].name);
    let common = format!("{last}    register: common\n");
    fs::write(&fleet.manifest, text.replace(&last, &common)).unwrap();
    run(world.batch("run", &fleet, "state").arg("--json")).success();
    let (images, completed) = (world.active(), world.completed());
    assert_eq!(images, fleet.digests());
    fs::remove_dir_all(world.dir.path().join("state")).unwrap();

    let plan = run(world.batch("plan", &fleet, "state").arg("--json"));
    let plan = json_of(plan.success());
    assert_eq!(plan["quota"]["wanted"], 0, "{plan}");
    for item in plan["items"].as_array().unwrap() {
        assert_eq!(item["action"], "adopt", "{item}");
    }
    let again = run(world.batch("run", &fleet, "state").arg("--json"));
    let report = report_of(again.success());
    assert_eq!(states(&report)["skipped"], 4, "{report}");
    for item in report["items"].as_array().unwrap() {
        let image = item["image_id"].as_str().unwrap();
        let cause = format!("already imported: image {image} is active, created from this disk");
        assert_eq!(item["cause"], cause.as_str());
        assert_eq!(item["sent_bytes"], 0);
    }
    assert_eq!(world.completed(), completed);
    assert_eq!(world.active(), images);
}

#[test]
fn a_manifest_says_what_to_do_when_an_image_exists() {
    let world = World::new();
    let fleet = Fleet::raw(3, 1);
    for disk in &fleet.disks {
        world.import(&disk.file, &disk.name);
    }
    let text = fs::read_to_string(&fleet.manifest).unwrap();
    let mut text = text;
    for (disk, rule) in fleet.disks.iter().zip(["fail", "skip", "replace"]) {
        let name = format!("  - name: {}\n", disk.name);
        text = text.replace(&name, &format!("{name}    if_exists: {rule}\n"));
    }
    fs::write(&fleet.manifest, text).unwrap();
    let ended = run(world.batch("run", &fleet, "state").arg("--json"));
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    let report = report_of(&ended);
    let told: Vec<_> = report["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["state"].as_str().unwrap())
        .collect();
    assert_eq!(told, ["refused", "skipped", "active"], "{report}");
    let skipped = report["items"][1]["cause"].as_str().unwrap();
    assert!(skipped.contains("it was not compared"), "{skipped}");
    assert_eq!(world.images().len(), 4);
}
