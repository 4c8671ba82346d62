//! Imports without free space.

use crate::common::cloud::Cloud;
use crate::common::importing::{Import, is_right};
use crate::common::{command, free, json_of, run};

#[test]
fn what_is_free_is_not_sent_and_the_outcome_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("disk.raw");
    if free::disk(dir.path(), &source).is_none() {
        return;
    }
    let cloud = Cloud::start(&["images"]);
    let import = |name: &str, more: &[&str]| {
        let mut command = cloud.command();
        command.arg("import").arg(&source).args(more);
        command.args(["--name", name, "--bucket", "images", "--type", "DataImage"]);
        run(command.arg("--json"))
    };
    let whole = import("whole", &[]);
    let all = is_right(&whole)["uploaded"]["size"].as_u64().unwrap();
    let free = import("free", &["--discard-free"]);
    let outcome = is_right(&free);
    let left_out = outcome["discarded"]["stored_bytes"].as_u64().unwrap();
    let sent = outcome["uploaded"]["size"].as_u64().unwrap();
    assert!(left_out > 30 << 20, "{outcome:#}");
    assert!(
        sent + left_out <= all + (1 << 20),
        "{sent} of {all}, {left_out} left out"
    );
    assert_ne!(outcome["digest"], json_of(&whole)["digest"]);
    let verify = |more: &[&str], key: &str| {
        let mut command = cloud.command();
        command.arg("verify").arg(&source).args(more);
        run(command.arg(format!("obs://images/{key}"))).code
    };
    assert_eq!(verify(&["--discard-free"], "free.zvhd2"), Some(0));
    assert_eq!(verify(&["--discard-free"], "whole.zvhd2"), Some(0));
    assert_eq!(verify(&[], "free.zvhd2"), Some(5));
    // The object of an import that sent everything does not hold this disk.
    let other = import("whole", &["--discard-free", "--if-exists", "adopt"]);
    assert_ne!(other.code, Some(0), "{}", other.stderr);
}

#[test]
fn an_import_that_left_out_other_free_space_starts_over() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = free::disk(dir.path(), &dir.path().join("disk.raw")) else {
        return;
    };
    let import = Import::of(&disk, 6 << 20);
    import.interrupt(2, "INT");
    let again = run(import.command().arg("--discard-free"));
    assert!(
        again.stderr.contains("it left out other free space"),
        "{}",
        again.stderr
    );
    let outcome = is_right(&again);
    assert!(outcome["discarded"]["stored_bytes"].as_u64().unwrap() > 30 << 20);
}

#[test]
fn a_file_that_is_uploaded_as_it_is_keeps_its_free_space() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = command();
    let disk = crate::common::testdata("debian-tree.qcow2");
    command
        .arg("import")
        .arg(disk)
        .args(["--register", "common", "--discard-free"]);
    command.args(["--name", "a", "--bucket", "images"]);
    let refused = run(command.arg(format!("--sandbox={}", dir.path().display())));
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("free space cannot be left out"),
        "{}",
        refused.stderr
    );
}
