//! Whole disks, held against what must be found on them.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests abort the test where a fact does not hold"
)]

mod made;

use std::path::{Path, PathBuf};

use diskimg::{OpenOptions, open};
use guest::{Budget, Report, Wanted, inspect};
use serde_json::Value;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/guest")
}

fn expected() -> Value {
    serde_json::from_slice(&std::fs::read(folder().join("expected.json")).unwrap()).unwrap()
}

fn report(path: &Path) -> Report {
    let opened = open(path, &OpenOptions::of(None), &[]).unwrap();
    let wanted = Wanted {
        // A day after the passwords on the disks were set.
        now: 19_701 * 86_400,
        ..Wanted::default()
    };
    inspect(&*opened.image, wanted, &Budget::default())
}

/// Whether a place that was seen is the one that is wanted.
fn matches(seen: &Value, wanted: &Value) -> bool {
    seen["path"] == wanted["path"]
        && (wanted["line"].is_null() || seen["line"] == wanted["line"])
        && wanted["text"].as_str().is_none_or(|text| {
            let seen = seen["text"].as_str().unwrap_or_default();
            seen.contains(text)
        })
}

fn texts(value: &Value) -> Vec<&str> {
    let list = value.as_array().map_or(&[][..], Vec::as_slice);
    list.iter().filter_map(Value::as_str).collect()
}

/// What is wrong with the findings, by what `disk` expects.
fn wrong_findings(findings: &[Value], disk: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    for must in disk["must"].as_array().unwrap() {
        let same = |finding: &&Value| {
            finding["id"] == must["id"] && finding["severity"] == must["severity"]
        };
        let Some(found) = findings.iter().find(same) else {
            wrong.push(format!("missing: {must}"));
            continue;
        };
        let seen = found["seen"].as_array().unwrap();
        for wanted in must["seen"].as_array().unwrap() {
            if !seen.iter().any(|seen| matches(seen, wanted)) {
                wrong.push(format!("{}: {wanted} is not in {seen:?}", must["id"]));
            }
        }
    }
    let must_not = texts(&disk["must_not"]);
    for finding in findings {
        let id = finding["id"].as_str().unwrap();
        let any = format!("*{}", finding["severity"].as_str().unwrap());
        if must_not.contains(&id) || must_not.contains(&any.as_str()) {
            wrong.push(format!("must not be found: {finding}"));
        }
    }
    wrong
}

/// What is wrong with `report`, by what `disk` expects.
fn wrong(report: &Report, disk: &Value) -> Vec<String> {
    let json = serde_json::to_value(report).unwrap();
    let mut wrong = wrong_findings(json["findings"].as_array().unwrap(), disk);
    let complete = texts(&disk["must_not"]).contains(&"inspect-incomplete");
    for unknown in report.unknown.iter().filter(|_| complete) {
        if unknown.id == "inspect-incomplete" {
            wrong.push(format!("incomplete: {}", unknown.reason));
        }
    }
    for (key, wanted) in disk["os"].as_object().unwrap() {
        if json["os"][key] != *wanted {
            wrong.push(format!("os.{key}: {}, expected {wanted}", json["os"][key]));
        }
    }
    if json["firmware"] != disk["firmware"] {
        wrong.push(format!("firmware: {}", json["firmware"]));
    }
    let named = json["os_version"]["value"].as_str().unwrap_or_default();
    let nearest = disk["os_version"]["nearest"].as_str().unwrap();
    if !named.eq_ignore_ascii_case(nearest) {
        wrong.push(format!("os_version: {named}, expected {nearest}"));
    }
    wrong
}

fn check(name: &str) {
    check_image(name, &folder().join(format!("{name}.qcow2")));
}

/// Holds what is found in the image at `path` against what disk `name` expects.
fn check_image(name: &str, path: &Path) {
    let report = report(path);
    let wrong = wrong(&report, &expected()["disks"][name]);
    let unknown: Vec<String> = report
        .unknown
        .iter()
        .map(|unknown| format!("{}: {}", unknown.id, unknown.reason))
        .collect();
    let (wrong, unknown) = (wrong.join("\n"), unknown.join("\n"));
    assert!(wrong.is_empty(), "{name}:\n{wrong}\nunknown:\n{unknown}");
    // A few megabytes tell everything.
    assert!(
        report.cost.bytes_read < 64 << 20,
        "{}",
        report.cost.bytes_read
    );
}

#[test]
fn a_debian_that_is_ready_has_nothing_to_complain_about() {
    check("debian12-ready");
}

#[test]
fn a_centos_6_that_was_cut_off_is_read_without_its_journal() {
    check("centos6-dirty");
}

#[test]
fn a_centos_7_on_lvm_lacks_drivers_and_names_devices() {
    check("centos7-lvm");
}

#[test]
fn an_ubuntu_is_bound_to_its_network_card_and_has_no_fallback_loader() {
    check("ubuntu2204-netplan");
}

#[test]
fn an_opensuse_is_read_in_its_default_subvolume() {
    check("opensuse155-btrfs");
}

#[test]
fn a_rocky_is_bound_to_its_old_disk_by_lvm() {
    check("rocky9-bls");
}

#[test]
fn a_windows_server_has_no_drivers_and_sleeps() {
    check("windows2019");
}

#[test]
fn every_disk_with_expectations_has_a_test() {
    let tests = include_str!("main.rs");
    for name in expected()["disks"].as_object().unwrap().keys() {
        assert!(tests.contains(&format!("check(\"{name}\")")), "{name}");
    }
}
