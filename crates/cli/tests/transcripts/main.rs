//! What people see. Each `.console` file of this directory is a session in a terminal: a line that
//! begins with `$` is a command for the shell, and what follows is what it prints, on both outputs,
//! with its exit code unless that is 0.
//!
//! `SNAPSHOTS=overwrite cargo test -p imgferry --test transcripts` writes the files anew; read the
//! difference before committing it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

#[path = "../common/mod.rs"]
mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;
use snapbox::{Assert, Data, Redactions};
use tempfile::TempDir;

use crate::common::testdata;

/// What differs from run to run, and what stands for it.
const VARIABLE: [(&str, &str); 8] = [
    (
        "[TIME]",
        r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?( UTC)?",
    ),
    ("[ID]", r"\b[0-9a-f]{32}(-\d+)?\b"),
    ("[KEY]", r"\b[0-9A-F]{20}\b"),
    ("[RATE]", r"\b\d+(\.\d+)? [KMG]i?B/s\b"),
    ("[SECONDS]", r"\b\d+(\.\d+)? ?s\b"),
    ("[SIZE]", r"\b\d+(\.\d+)? [KMG]iB (on disk|used)\b"),
    ("[PID]", r"\bprocess \d+\b"),
    ("[PORT]", r"127\.0\.0\.1:\d+"),
];

/// A command with what it printed.
fn run(command: &str, dir: &Path) -> String {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_imgferry"));
    let path = format!(
        "{}:{}",
        program.parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    let output = Command::new("sh")
        .args(["-c", &format!("exec 2>&1; {command}")])
        .current_dir(dir)
        .env_clear()
        .env("PATH", path)
        .env("HOME", dir)
        .env("COLUMNS", "100")
        .env("IMGFERRY_GUEST_CHECK", "off")
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    // How often a job is asked about depends on the machine.
    let lines = printed.lines().filter(|line| !line.starts_with("job: "));
    let mut text: String = lines.map(|line| format!("{line}\n")).collect();
    match output.status.code() {
        Some(0) => {}
        Some(code) => text.push_str(&format!("[exit code {code}]\n")),
        None => panic!("{command}: {}", output.status),
    }
    format!("$ {command}\n{text}")
}

/// Runs the commands of `name`, and compares all that they print.
fn replay(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/transcripts")
        .join(name)
        .with_extension("console");
    let text = fs::read_to_string(&path).unwrap();
    let dir = TempDir::new().unwrap();
    symlink(
        testdata("").canonicalize().unwrap(),
        dir.path().join("testdata"),
    )
    .unwrap();
    let commands = text.lines().filter_map(|line| line.strip_prefix("$ "));
    let shown: Vec<_> = commands.map(|command| run(command, dir.path())).collect();
    assert!(!shown.is_empty(), "{name}: no command");

    let mut redactions = Redactions::new();
    let place = dir.path().canonicalize().unwrap();
    redactions
        .insert("[DIR]", place.to_str().unwrap().to_owned())
        .unwrap();
    for (placeholder, pattern) in VARIABLE {
        redactions
            .insert(placeholder, Regex::new(pattern).unwrap())
            .unwrap();
    }
    Assert::new()
        .action_env("SNAPSHOTS")
        .normalize_paths(false)
        .redact_with(redactions)
        .eq(shown.join("\n"), Data::read_from(&path, None));
}

/// The `Commands:` of a help text.
fn commands(help: &str) -> impl Iterator<Item = &str> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = listed.take_while(|line| !line.is_empty());
    names.filter_map(|line| {
        line.strip_prefix("  ")?
            .split(' ')
            .next()
            .filter(|name| !name.is_empty())
    })
}

/// Every command of the program, with those below it.
fn all_commands(above: &str, dir: &Path, found: &mut Vec<String>) {
    let help = run(&format!("{above} --help"), dir);
    for name in commands(&help).filter(|name| *name != "help") {
        let command = format!("{above} {name}");
        all_commands(&command, dir, found);
        found.push(command);
    }
}

#[test]
fn every_command_has_its_help_in_the_transcript() {
    let dir = TempDir::new().unwrap();
    let mut found = Vec::new();
    all_commands("imgferry", dir.path(), &mut found);
    assert!(found.len() > 30, "{found:?}");
    let text = include_str!("help.console");
    for command in found {
        assert!(text.contains(&format!("$ {command} --help\n")), "{command}");
    }
}

#[test]
fn help() {
    replay("help");
}

#[test]
fn local_files() {
    replay("local-files");
}

#[test]
fn rejections() {
    replay("rejections");
}
