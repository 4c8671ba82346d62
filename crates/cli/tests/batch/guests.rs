//! What plans and reports of a batch say of the systems on the disks.

use std::fs;

use serde_json::{Value, json};

use crate::common::fleet::{World, report_of};
use crate::common::{json_of, run, testdata};

/// Three disks: a system that is ready, one that will not boot, and one that is imported as data.
const DISKS: [(&str, &str, &str); 3] = [
    ("ready", "debian12-ready.qcow2", "ECS"),
    ("old", "centos7-lvm.qcow2", "ECS"),
    ("data", "centos7-lvm.qcow2", "DataImage"),
];

fn check(guest: &Value, told: &str) {
    assert_eq!(guest["verdict"], told, "{guest}");
    for finding in guest["findings"].as_array().unwrap() {
        let keys: Vec<&String> = finding.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["id", "severity"]);
    }
}

#[test]
fn each_disk_is_told_to_be_ready_or_what_is_wrong_with_its_system() {
    let world = World::new();
    let manifest = world.dir.path().join("batch.json");
    let images = DISKS.map(|(name, file, kind)| {
        let source = testdata(&format!("guest/{file}"));
        json!({"source": source, "name": name, "type": kind})
    });
    let batch = json!({"defaults": {"bucket": "images"}, "images": images});
    fs::write(&manifest, batch.to_string()).unwrap();
    let batch = |what: &str| {
        let mut command = world.command();
        command.env_remove("IMGFERRY_GUEST_CHECK");
        command.args(["batch", what]).arg(&manifest);
        command
            .arg("--state-dir")
            .arg(world.dir.path().join("state"));
        command
    };

    let text = run(&mut batch("plan"));
    assert_eq!(text.code, Some(2), "{}", text.stderr);
    let text = text.text();
    let line = |id: &str| text.lines().find(|line| line.starts_with(id)).unwrap();
    assert!(line("ready ").contains("  ready"), "{text}");
    assert!(
        line("old ").contains(" problems: will not boot, "),
        "{text}"
    );
    assert!(line("data ").contains("  -  "), "{text}");

    let plan = json_of(&run(batch("plan").arg("--json")));
    check(&plan["items"][0]["guest"], "ready");
    check(&plan["items"][1]["guest"], "problems");
    assert_eq!(
        plan["items"][1]["guest"]["findings"][0]["severity"],
        "will-not-boot"
    );
    assert_eq!(plan["items"][2]["guest"], Value::Null);
    // What is refused is told like what is taken.
    assert_eq!(plan["items"][1]["format"], "qcow2");
    assert_eq!(plan["items"][1]["virtual_size"], 512 << 20);

    let page = world.dir.path().join("report.html");
    let ended = run(batch("run").arg("--json").arg("--report").arg(&page));
    let report = report_of(&ended);
    let items = report["items"].as_array().unwrap();
    let states: Vec<&Value> = items.iter().map(|item| &item["state"]).collect();
    assert_eq!(states, ["active", "refused", "active"], "{}", ended.stderr);
    for (item, planned) in items.iter().zip(plan["items"].as_array().unwrap()) {
        for what in ["guest", "format", "virtual_size"] {
            assert_eq!(item[what], planned[what], "{what}");
        }
    }
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains("<h2>Systems</h2>") && page.contains("dracut"));
    // Neither the cause nor a warning repeats what stands there.
    assert_eq!(page.matches("the initramfs does not bring them").count(), 1);
    let cause = &items[1]["cause"];
    assert!(
        cause
            .as_str()
            .unwrap()
            .starts_with("the system on the disk breaks linux-"),
        "{cause}"
    );
    let told = items[1]["warnings"].to_string();
    assert!(told.contains("the initramfs does not bring them"), "{told}");
}
