//! A source that somebody writes to, and signals that somebody ignores.

use std::fs::{self, OpenOptions};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::common::{Run, command, noise, run, send};
use tempfile::TempDir;

fn disk(mib: usize) -> (TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("live.raw");
    fs::write(&path, noise(mib << 20)).unwrap();
    (dir, path)
}

/// Runs `command` while another writer changes one byte of `file` again and again.
fn while_written(file: &Path, command: &mut Command) -> Run {
    let stop = AtomicBool::new(false);
    let written = OpenOptions::new().write(true).open(file).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in (1..=u8::MAX).cycle() {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                written.write_all_at(&[number], 300_000).unwrap();
                thread::sleep(Duration::from_millis(1));
                if number == u8::MAX {
                    written.sync_data().unwrap();
                }
            }
        });
        let ended = run(command);
        stop.store(true, Ordering::Relaxed);
        ended
    })
}

#[track_caller]
fn is_told(ended: &Run, file: &Path) {
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    for expected in [
        file.to_str().unwrap(),
        "changed while it was read",
        "snapshot",
    ] {
        assert!(ended.stderr.contains(expected), "{}", ended.stderr);
    }
}

#[test]
fn a_disk_that_is_written_meanwhile_becomes_no_output() {
    let (dir, live) = disk(24);
    for args in [
        &["convert", "LIVE", "out.raw"][..],
        &["convert", "LIVE", "out.zvhd2"],
        &["convert", "LIVE", "both.raw", "--bitmap"],
        &["digest", "LIVE"],
        &["bitmap", "LIVE", "live.mf"],
        &["verify", "LIVE", "LIVE"],
    ] {
        let mut command = command();
        command.current_dir(dir.path());
        for arg in args {
            match *arg {
                "LIVE" => command.arg(&live),
                other => command.arg(other),
            };
        }
        let ended = while_written(&live, &mut command);
        // Two readings of a disk that changes may also differ.
        if args[0] != "verify" || ended.code != Some(5) {
            is_told(&ended, &live);
        }
        assert!(ended.stdout.is_empty(), "{args:?}: {}", ended.text());
    }
    let names: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["live.raw"]);
}

#[test]
fn a_disk_on_standard_input_is_watched_too() {
    let (_dir, live) = disk(24);
    let file = fs::File::open(&live).unwrap();
    let ended = while_written(&live, command().args(["digest", "-"]).stdin(file));
    is_told(&ended, &live);
}

#[test]
fn a_backing_file_that_is_written_meanwhile_is_told() {
    if testkit::qemu::missing() {
        return;
    }
    let (dir, live) = disk(24);
    let top = dir.path().join("top.qcow2");
    let backed = ["create", "-q", "-f", "qcow2", "-b", "live.raw", "-F", "raw"];
    testkit::qemu::img(backed.into_iter().chain([top.to_str().unwrap()]));
    let out = dir.path().join("out.zvhd2");
    let mut command = command();
    command.arg("convert").arg(&top).arg(&out);
    command.arg("--allow-backing").arg(dir.path());
    is_told(&while_written(&live, &mut command), &live);
    assert!(!out.exists());
}

/// The lock of a QEMU that writes is one on a byte of the file.
#[test]
fn a_disk_that_qemu_has_open_for_writing_is_refused_unless_told_otherwise() {
    use rustix::fs::{FlockOperation, fcntl_lock};
    let (dir, live) = disk(1);
    let qemu = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&live)
        .unwrap();
    let out = dir.path().join("out.raw");
    let convert = || {
        let mut command = command();
        command.arg("convert").arg(&live).arg(&out);
        command
    };
    fcntl_lock(&qemu, FlockOperation::LockShared).unwrap();
    let refused = run(&mut convert());
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    for expected in ["is in use", "QEMU", "--force-share", "snapshot"] {
        assert!(refused.stderr.contains(expected), "{}", refused.stderr);
    }
    assert!(!out.exists());
    run(convert().arg("--force-share")).success();
    fs::remove_file(&out).unwrap();
    fcntl_lock(&qemu, FlockOperation::Unlock).unwrap();
    run(&mut convert()).success();
}

/// Starts a conversion that waits for its reader, with `signals` ignored as by `nohup`.
fn ignoring(signals: &str, live: &Path) -> std::process::Child {
    let imgferry = command();
    // A shell cannot listen to what was ignored when it started; `env` can make it.
    let mut shell = Command::new("env");
    shell.args(["--default-signal=HUP,INT", "sh"]);
    for (name, value) in imgferry.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
        .arg("-c")
        .arg(format!("trap '' {signals}; exec \"$0\" \"$@\""))
        .arg(imgferry.get_program())
        .arg("convert")
        .arg(live)
        .arg("-")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn signals_that_were_ignored_at_the_start_stay_ignored() {
    let (_dir, live) = disk(24);
    let mut child = ignoring("HUP INT", &live);
    // Its handlers are there, and it waits: much more is to come than a pipe holds.
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 4096]).unwrap();
    send(&child, "HUP");
    send(&child, "INT");
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).unwrap();
    let ended: Run = child.wait_with_output().unwrap().into();
    ended.success();
    assert!(rest.len() > 20 << 20);

    let mut child = ignoring("INT", &live);
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 4096]).unwrap();
    send(&child, "HUP");
    std::io::copy(&mut stdout, &mut std::io::sink()).unwrap();
    let ended: Run = child.wait_with_output().unwrap().into();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
}
