//! QEMU's tools, as makers of images and as the oracle for what is in them.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "test helper: a wrong call fails the test"
)]

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use crate::programs::skipped;

/// Whether `qemu-img` and `qemu-io` are installed. Tests that need them return early without, after
/// saying so: see [`missing`].
#[must_use]
pub fn available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| {
        ["qemu-img", "qemu-io"].into_iter().all(|tool| {
            Command::new(tool)
                .arg("--version")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
        })
    })
}

/// Whether a test has to be skipped for want of QEMU's tools; says so when it has to.
#[must_use]
pub fn missing() -> bool {
    if !available() {
        skipped("qemu-img is not installed");
    }
    !available()
}

/// Version of the installed `qemu-img`: major and minor number.
///
/// # Panics
/// When it is not installed or does not tell.
#[must_use]
pub fn version() -> (u32, u32) {
    let text = img(["--version"]);
    let number = text.split_ascii_whitespace().nth(2).unwrap_or_default();
    let mut parts = number.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor),
        _ => panic!("qemu-img tells no version: {text}"),
    }
}

/// Whether `what` has to be skipped because QEMU is older than version `major`.`minor`; says so
/// when it has to.
#[must_use]
pub fn older_than((major, minor): (u32, u32), what: &str) -> bool {
    let found = version();
    let older = found < (major, minor);
    if older {
        skipped(format_args!(
            "{what}: QEMU is {}.{}, {major}.{minor} is needed",
            found.0, found.1
        ));
    }
    older
}

/// Whether the installed QEMU makes LUKS headers reliably; says so when it does not. Older ones
/// time the passphrase's hashing by the whole process and give up ("Unable to get accurate CPU
/// usage") when the measure is off.
#[must_use]
pub fn makes_luks() -> bool {
    !older_than((9, 2), "LUKS")
}

/// Runs `qemu-img` with `args`, and returns what it printed.
///
/// # Panics
/// When it fails, with what it said.
pub fn img<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> String {
    succeed("qemu-img", run("qemu-img", args))
}

/// Runs `qemu-io` with `commands` on the image at `path`, and returns what it printed.
///
/// # Panics
/// When it, or one of the commands, fails.
pub fn io(path: &Path, format: &str, commands: &[&str]) -> String {
    let mut args = vec!["-f".as_ref(), format.as_ref()];
    for command in commands {
        args.extend([OsStr::new("-c"), OsStr::new(command)]);
    }
    args.push(path.as_os_str());
    succeed("qemu-io", run("qemu-io", args))
}

/// The disk in the image at `path`, byte for byte, as `qemu-img convert -O raw` writes it.
///
/// # Panics
/// When `qemu-img` fails or there is no room for a temporary file.
#[must_use]
pub fn content(path: &Path) -> Vec<u8> {
    let raw = tempfile::NamedTempFile::new().expect("a temporary file can be made");
    img([
        "convert".as_ref(),
        "-O".as_ref(),
        "raw".as_ref(),
        path.as_os_str(),
        raw.path().as_os_str(),
    ]);
    std::fs::read(raw.path()).expect("the converted disk can be read")
}

fn run<S: AsRef<OsStr>>(tool: &str, args: impl IntoIterator<Item = S>) -> Output {
    Command::new(tool)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|e| panic!("{tool} cannot be started: {e}"))
}

fn succeed(tool: &str, output: Output) -> String {
    assert!(
        output.status.success(),
        "{tool} failed: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
