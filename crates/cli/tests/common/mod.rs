//! Running the built binary.

#![allow(dead_code, reason = "each test binary uses some of these")]

pub mod cloud;
pub mod fleet;
pub mod free;
pub mod importing;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

/// Content digest of `testdata/debian-tree.qcow2`, computed by another program.
pub const DEBIAN_TREE_DIGEST: &str =
    "v1:30541ea70cba88766e6bd5932c3192d4cf5fdea4249209ec9663d2edb3767e97";

/// What the real disk holds, in the service's words.
pub const DEBIAN: &str = "Debian GNU/Linux 12.0.0 64bit";

/// A file of `testdata/`.
pub fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../testdata")
        .join(name)
}

pub fn os_str(path: &Path) -> &OsStr {
    path.as_os_str()
}

/// The binary, without anything from the caller's environment that it reads.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_imgferry"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["HW_", "IMGFERRY_", "OS_"]
            .iter()
            .any(|prefix| text.starts_with(prefix))
        {
            command.env_remove(&name);
        }
    }
    // Nor a configuration file of the caller's.
    command.env("XDG_CONFIG_HOME", "/nonexistent");
    // Most disks of tests hold no system; what is found on those that do is tested by itself.
    command.env("IMGFERRY_GUEST_CHECK", "off");
    // Journals of a test are nobody else's.
    let state = format!(
        "{}/state-{}",
        env!("CARGO_TARGET_TMPDIR"),
        std::process::id()
    );
    command.env("XDG_STATE_HOME", state);
    command
}

/// A finished run.
pub struct Run {
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

/// Runs `command` to its end.
#[track_caller]
pub fn run(command: &mut Command) -> Run {
    command.output().unwrap().into()
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Run {
    #[track_caller]
    pub fn success(&self) -> &Self {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

pub fn imgferry(args: &[&OsStr]) -> Run {
    command().args(args).output().unwrap().into()
}

/// Standard output as the one JSON object it must be.
#[track_caller]
pub fn json_of(run: &Run) -> serde_json::Value {
    serde_json::from_slice(&run.stdout)
        .unwrap_or_else(|e| panic!("{e}\nstdout: {}\nstderr: {}", run.text(), run.stderr))
}

/// Asks `child` to stop by the signal of this name; by SIGTERM where the tests themselves were
/// started with that signal ignored (`nohup`, `cmd &` in a script), because the program leaves it
/// ignored then.
pub fn signal(child: &Child, name: &str) {
    let number = match name {
        "HUP" => 1,
        "INT" => 2,
        _ => return send(child, name),
    };
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    match ignored.is_some_and(|mask| mask & 1 << (number - 1) != 0) {
        true => send(child, "TERM"),
        false => send(child, name),
    }
}

/// Sends the signal of this name, whatever is ignored.
pub fn send(child: &Child, name: &str) {
    let status = Command::new("kill")
        .args([&format!("-{name}"), &child.id().to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}

#[track_caller]
pub fn wait_until(mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(60), "waited in vain");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Bytes that no compressor makes smaller, and that pass for a disk: the first sector ends as one
/// that a BIOS starts.
pub fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(len);
    if let Some(end) = bytes.get_mut(510..512) {
        end.copy_from_slice(&[0x55, 0xaa]);
    }
    bytes
}
