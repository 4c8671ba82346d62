//! An import that was interrupted goes on when the same command is given again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod changed;
#[path = "../common/mod.rs"]
mod common;
mod faults;
mod journals;
mod packages;
mod registration;
mod whole;

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use common::importing::{IN_FLIGHT, Import, Line, MIB, PART, is_right};
use common::{Run, json_of, run};

/// Kills so many imports of one disk, at random moments; each is begun again.
fn kills() -> u64 {
    let wanted = std::env::var("IMGFERRY_TEST_KILLS");
    wanted.map_or(5, |text| text.parse().unwrap())
}

/// What is sent in all is the object, and for each kill the parts that were on their way.
#[test]
fn an_import_that_is_killed_at_any_moment_goes_on_and_sends_little_twice() {
    let import = Import::of_noise(120);
    let mut seed = std::env::var("IMGFERRY_TEST_SEED").map_or(0x5eed, |s| s.parse().unwrap());
    let (mut killed, mut objects, mut size) = (0, 0, 0);
    while killed < kills() {
        let name = format!("k{objects}");
        let command = || {
            let mut command = import.named(&name);
            command.args(["--concurrency", &IN_FLIGHT.to_string()]);
            command
        };
        // Until it is done, or has been killed often enough.
        let done = loop {
            if killed == kills() {
                break Some(run(&mut command()));
            }
            let mut child = command().spawn().unwrap();
            seed = (seed ^ 0x9e37_79b9_u64)
                .wrapping_mul(0x2545_f491_4f6c_dd1d)
                .rotate_left(17);
            // After some time, or more often after some bytes: a busy machine must not put all
            // moments before the first.
            let (time, bytes) = match seed % 4 {
                0 => (Duration::from_millis((seed >> 8) % 400), u64::MAX),
                _ => (
                    Duration::from_secs(20),
                    (seed >> 8) % (2 * IN_FLIGHT * PART),
                ),
            };
            let (begun, before) = (Instant::now(), import.line.sent());
            let ended = loop {
                let ended = child.try_wait().unwrap().is_some();
                if ended || begun.elapsed() > time || import.line.sent() - before > bytes {
                    break ended;
                }
                thread::sleep(Duration::from_millis(2));
            };
            if ended {
                // Its last word was said before its time came.
                break Some(Run::from(child.wait_with_output().unwrap()));
            }
            child.kill().unwrap();
            child.wait().unwrap();
            killed += 1;
            // The last kill may have come after everything was done.
            if import.state_dir().exists() {
                let last = import.status();
                if last["stage"] == "done" && last["name"] == name {
                    break None;
                }
            }
        };
        if let Some(done) = done {
            is_right(&done);
        }
        let object = import.cloud.object_path("images", &format!("{name}.zvhd2"));
        size += fs::metadata(&object).unwrap().len();
        run(import
            .cloud
            .command()
            .arg("verify")
            .arg(&import.source)
            .arg(&object))
        .success();
        objects += 1;
    }
    // Requests have heads, and other requests are made.
    let heads = MIB * (killed + objects);
    let most = size + killed * IN_FLIGHT * PART + heads;
    let sent = import.line.sent();
    assert!(
        sent <= most,
        "{sent} bytes sent, {most} allowed: {size} and {killed} kills"
    );
    eprintln!(
        "{killed} kills: {sent} bytes sent of {objects} objects of {size} together, {most} allowed"
    );
    assert_eq!(import.cloud.uploads(), 0);
    assert_eq!(import.status()["stage"], "done");
}

#[test]
fn what_is_stored_is_neither_read_nor_sent_again() {
    let import = Import::of_noise(96);
    let stopped = import.interrupt(6, "KILL");
    assert_eq!(stopped.code, None);
    let status = import.status();
    assert_eq!(status["stage"], "uploading");
    let noted = status["confirmed_bytes"].as_u64().unwrap();
    assert!(noted >= 2 * PART, "{status}");
    let done = import.go_on();
    let json = is_right(&done);
    let uploaded = &json["uploaded"];
    let get = |value: &serde_json::Value| value.as_u64().unwrap();
    assert_eq!(
        get(&uploaded["sent_bytes"]) + get(&uploaded["kept_bytes"]),
        get(&uploaded["size"])
    );
    assert!(get(&uploaded["kept_bytes"]) >= noted);
    // Noise does not shrink: what is not read is about what is not sent.
    let read = get(&json["read_bytes"]);
    assert!(
        read + noted <= 96 * MIB + 2 * PART,
        "{read} read, {noted} were noted"
    );
    assert_eq!(read + get(&json["kept_bytes"]), 96 * MIB);
    assert!(done.stderr.contains("resuming upload"), "{}", done.stderr);
}

#[test]
fn a_stopped_import_ends_within_seconds_and_prints_the_command_that_goes_on() {
    for signal in ["INT", "TERM"] {
        // So slow that parts on their way cannot arrive in time.
        let import = Import::with_rate(64, MIB);
        let child = import.start();
        common::wait_until(|| import.line.sent() > 3 * MIB);
        common::signal(&child, signal);
        let stopped: Run = child.wait_with_output().unwrap().into();
        // The whole upload takes more than a minute; only a few parts can have arrived.
        assert!(import.line.sent() < 32 * MIB, "{}", import.line.sent());
        assert_eq!(stopped.code, Some(130), "{}", stopped.stderr);
        let json = json_of(&stopped);
        let command = json["command"].as_str().unwrap();
        assert!(command.contains(" import ") && command.contains("--name a"));
        assert_eq!(import.status()["command"], command);
        assert_eq!(import.status()["upload_id"], json["upload_id"]);
    }
}

#[test]
fn the_printed_command_goes_on_when_it_is_pasted_into_a_shell() {
    let import = Import::of_noise(64);
    let stopped = import.interrupt(2, "INT");
    assert_eq!(stopped.code, Some(130), "{}", stopped.stderr);
    let json = json_of(&stopped);
    let mut shell = Command::new("sh");
    let pasted = import.command();
    for (name, value) in pasted.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let done = run(shell.arg("-c").arg(json["command"].as_str().unwrap()));
    let done = is_right(&done);
    assert!(done["uploaded"]["kept_bytes"].as_u64().unwrap() > 0);
}

#[test]
fn a_journal_that_is_cut_or_damaged_costs_time_and_nothing_else() {
    let import = Import::of_noise(64);
    import.interrupt(4, "KILL");
    let journal = import.journal();
    let whole = fs::read(&journal).unwrap();
    // Torn in the last record; damaged in the middle; no word of it readable.
    for (name, bytes) in [
        ("torn", whole[..whole.len() - 3].to_vec()),
        ("damaged", {
            let mut bytes = whole.clone();
            let at = whole.len() * 2 / 3;
            bytes[at] ^= 0x10;
            bytes
        }),
        ("unreadable", vec![b'x'; whole.len()]),
    ] {
        fs::write(&journal, bytes).unwrap();
        // Ends before anything is sent: the bucket is wrong from now on.
        let run = run(import
            .command()
            .arg("--restart")
            .env("HW_SECRET_KEY", "wrong"));
        assert_ne!(run.code, Some(0), "{name}");
        let told = match name {
            "torn" => "ends inside a record",
            _ => "is damaged",
        };
        assert!(run.stderr.contains(told), "{name}: {}", run.stderr);
    }
    let mut bytes = whole.clone();
    let at = whole.len() * 2 / 3;
    bytes[at] ^= 0x10;
    fs::write(&journal, bytes).unwrap();
    is_right(&import.go_on());
}

#[test]
fn a_source_that_has_changed_begins_anew_and_says_why() {
    let import = Import::of_noise(48);
    import.interrupt(2, "KILL");
    let mut noise = common::noise(48 << 20);
    noise[20 << 20] ^= 1;
    fs::write(&import.source, noise).unwrap();
    let done = import.go_on();
    let json = is_right(&done);
    assert_eq!(json["uploaded"]["kept_bytes"], 0);
    assert!(
        done.stderr.contains("the source has changed"),
        "{}",
        done.stderr
    );
    assert!(done.stderr.contains("was aborted"), "{}", done.stderr);
    assert_eq!(import.cloud.uploads(), 0);
}

#[test]
fn a_disk_that_builds_on_other_files_begins_anew_so_that_no_two_states_are_mixed() {
    if testkit::qemu::missing() {
        return;
    }
    let mut import = Import::of_noise(48);
    let base = import.source.clone();
    import.source = import.dir.path().join("top.qcow2");
    let top = import.source.to_str().unwrap();
    testkit::qemu::img([
        "create",
        "-q",
        "-f",
        "qcow2",
        "-b",
        "noise.raw",
        "-F",
        "raw",
        top,
    ]);
    let command = |import: &Import| {
        let mut command = import.command();
        command.arg("--allow-backing").arg(import.dir.path());
        command
    };
    let child = command(&import).spawn().unwrap();
    common::wait_until(|| import.parts() >= 2);
    common::signal(&child, "KILL");
    child.wait_with_output().unwrap();
    let mut noise = common::noise(48 << 20);
    noise[1 << 20] ^= 1;
    fs::write(&base, noise).unwrap();
    let done = run(&mut command(&import));
    let json = is_right(&done);
    assert_eq!(json["uploaded"]["kept_bytes"], 0);
    let told = "the disk is based on other files";
    assert!(done.stderr.contains(told), "{}", done.stderr);
    assert_eq!(import.cloud.uploads(), 0);
}

#[test]
fn restart_begins_anew_and_throws_the_old_upload_away() {
    let import = Import::of_noise(48);
    import.interrupt(2, "KILL");
    let done = run(import.command().arg("--restart"));
    let json = is_right(&done);
    assert_eq!(json["uploaded"]["kept_bytes"], 0);
    assert_eq!(import.cloud.uploads(), 0);
}

#[test]
fn an_upload_that_the_server_has_forgotten_begins_anew_and_says_why() {
    let import = Import::of_noise(48);
    import.interrupt(2, "KILL");
    // The server may still be writing what it got of a part.
    common::wait_until(|| {
        let dirs = import.cloud.upload_dirs();
        dirs.iter().all(|dir| fs::remove_dir_all(dir).is_ok())
    });
    let done = import.go_on();
    is_right(&done);
    assert!(
        done.stderr.contains("the server no longer knows upload"),
        "{}",
        done.stderr
    );
}

#[test]
fn two_imports_of_the_same_object_do_not_run_at_once() {
    let import = Import::of_noise(48);
    let child = import.start();
    common::wait_until(|| import.parts() > 0);
    let second = import.go_on();
    assert_eq!(second.code, Some(2), "{}", second.stderr);
    assert!(
        second.stderr.contains("another imgferry is at work"),
        "{}",
        second.stderr
    );
    let first: Run = child.wait_with_output().unwrap().into();
    is_right(&first);
}

#[test]
fn no_secret_gets_into_a_journal() {
    let import = Import::of_noise(32);
    import.interrupt(1, "KILL");
    let secrets = ["HW_SECRET_KEY", "HW_ACCESS_KEY", "HW_USER_PASSWORD"];
    let text = String::from_utf8_lossy(&fs::read(import.journal()).unwrap()).into_owned();
    assert!(text.contains("noise.raw"));
    for name in secrets {
        assert!(!text.contains(&import.cloud.variable(name)), "{name}");
    }
}

#[test]
fn a_disk_without_room_for_the_journal_is_a_clear_error_and_the_next_run_goes_on() {
    let import = Import::of_noise(48);
    let command = import.command();
    let mut limited = Command::new("sh");
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            limited.env(name, value);
        }
    }
    // One or two KiB: the first records fit, and those of the parts do not.
    limited
        .args(["-c", "trap '' XFSZ; ulimit -f 3; exec \"$@\"", "sh"])
        .arg(command.get_program())
        .args(command.get_args());
    let full = run(&mut limited);
    assert_eq!(full.code, Some(4), "{}", full.stderr);
    assert!(full.stderr.contains("the journal"), "{}", full.stderr);
    assert!(full.stderr.contains("make room"), "{}", full.stderr);
    let done = import.go_on();
    is_right(&done);
    assert_eq!(import.cloud.uploads(), 0);
}

#[test]
fn a_source_that_is_cut_off_while_it_is_read_is_a_clear_error() {
    let import = Import::with_rate(64, 4 * MIB);
    let child = import.start();
    common::wait_until(|| import.parts() > 0 || import.line.sent() > MIB);
    let source = fs::OpenOptions::new()
        .write(true)
        .open(&import.source)
        .unwrap();
    source.set_len(8 << 20).unwrap();
    let cut: Run = child.wait_with_output().unwrap().into();
    assert!(
        matches!(cut.code, Some(2 | 4)),
        "{:?} {}",
        cut.code,
        cut.stderr
    );
    assert!(cut.stderr.contains("noise.raw"), "{}", cut.stderr);
    // Going on with half of another disk would be in vain.
    assert!(cut.stderr.contains("was aborted"), "{}", cut.stderr);
    assert_eq!(import.cloud.uploads(), 0);
    assert_eq!(import.cloud.objects("images"), Vec::<String>::new());
}

#[test]
fn an_import_job_that_was_started_is_gone_on_with_and_not_started_twice() {
    let import = Import::of_noise(8);
    // The image service is far away, so that there is time to kill the run while the job is
    // followed.
    let ims = Line::to(&import.cloud.variable("IMGFERRY_IMS_ENDPOINT"), 2048);
    let child = import
        .command()
        .env("IMGFERRY_IMS_ENDPOINT", ims.url())
        .spawn()
        .unwrap();
    // The job's id is in the journal as soon as it is known.
    common::wait_until(|| {
        let state = import.state_dir();
        state.exists() && import.status()["job_id"].is_string()
    });
    let status = import.status();
    common::signal(&child, "KILL");
    let first: Run = child.wait_with_output().unwrap().into();
    assert_eq!(first.code, None, "{}", first.stderr);
    let done = run(import.command().env("IMGFERRY_IMS_ENDPOINT", ims.url()));
    let json = is_right(&done);
    assert_eq!(json["job_id"], status["job_id"]);
    assert!(done.stderr.contains("following it"), "{}", done.stderr);
}

/// Text of words that come again, of which every level makes something else.
fn text(len: usize) -> Vec<u8> {
    let noise = common::noise(8 * 4096 + len / 2);
    let (words, mut choices) = noise.split_at(8 * 4096);
    let mut text = Vec::with_capacity(len + 16);
    while text.len() < len {
        let (choice, rest) = choices.split_at(2);
        choices = rest;
        let word = usize::from(u16::from_le_bytes([choice[0], choice[1]]));
        // Few words come often.
        let word = word * word / 65_536 / 16 * 8;
        text.extend(&words[word..word + 3 + word / 8 % 6]);
        text.push(b' ');
    }
    text.truncate(len);
    // The end of a boot sector, without which no system image is imported.
    text[510..512].copy_from_slice(&[0x55, 0xaa]);
    text
}

/// The levels of the blocks that a journal has noted.
fn levels(journal: &std::path::Path) -> Vec<i8> {
    let (mut journal, _) = journal::Journal::open(journal).unwrap();
    let mut levels = Vec::new();
    let note = |block: &journal::Block| {
        levels.push(block.level.unwrap());
        true
    };
    journal.blocks(note).unwrap();
    levels
}

/// The level of the last block that the journal of a running import has noted.
fn last_level(journal: &std::path::Path) -> Option<i8> {
    match journal::Journal::peek(journal).unwrap() {
        journal::Found::Import(state, _) => state.last_block?.level,
        _ => None,
    }
}

/// Promise: with `--level auto` each block goes on at the level that it was begun at, whatever
/// level the next ones get.
#[test]
fn an_import_whose_levels_rise_with_a_slow_line_goes_on_after_a_kill_and_sends_no_part_again() {
    const SIZE: u64 = 320 * MIB;
    let repeats = usize::try_from(SIZE / (4 * MIB)).unwrap();
    let mut import = Import::of(&text(4 << 20).repeat(repeats), 4 * MIB);
    import.level = "auto";
    let command = || {
        let mut command = import.command();
        command.args(["--threads", "2", "--memory", "88MiB", "--concurrency", "2"]);
        command
    };
    let mut child = command().spawn().unwrap();
    // Until blocks of a higher level are on their way.
    common::wait_until(|| import.parts() >= 4);
    let start = Instant::now();
    while last_level(&import.journal()) <= Some(1) {
        assert!(child.try_wait().unwrap().is_none(), "it was done before");
        assert!(start.elapsed() < Duration::from_secs(150), "no level rises");
        thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let noted = levels(&import.journal());
    assert_eq!(noted.first(), Some(&1), "{noted:?}");
    // How far it rises depends on what else the machine does.
    assert!(noted.last() > Some(&1), "{noted:?}");
    let status = import.status();
    assert_eq!(
        (&status["stage"], &status["level"]),
        (&"uploading".into(), &"auto".into())
    );
    let confirmed = status["confirmed_bytes"].as_u64().unwrap();
    assert!(confirmed >= 2 * PART, "{status}");
    let before = import.line.sent();

    // The line is fast now, so that new blocks get the lowest level.
    import.line.set_rate(u64::MAX);
    let done = run(&mut command());
    let json = is_right(&done);
    assert!(done.stderr.contains("resuming upload"), "{}", done.stderr);
    let get = |value: &serde_json::Value| value.as_u64().unwrap();
    let uploaded = &json["uploaded"];
    let (sent, size) = (get(&uploaded["sent_bytes"]), get(&uploaded["size"]));
    assert!(get(&uploaded["kept_bytes"]) >= confirmed);
    assert_eq!(sent + get(&uploaded["kept_bytes"]), size);
    // Each part travelled once, but for those that the kill stopped on their way.
    let all = import.line.sent();
    assert!(
        all <= size + IN_FLIGHT * PART + 2 * MIB,
        "{all} of {size}, {before} before"
    );
    run(import
        .cloud
        .command()
        .arg("verify")
        .arg(&import.source)
        .arg(import.cloud.object_path("images", "a.zvhd2")))
    .success();

    // It is told what was used, and that it was auto.
    assert_eq!(json["level"], "auto");
    let told = json["levels"].as_array().unwrap();
    let blocks: u64 = told.iter().map(|entry| get(&entry["blocks"])).sum();
    assert_eq!(blocks, SIZE / (2 * MIB));
    let risen = told.iter().filter(|entry| entry["level"] != 1);
    let risen: u64 = risen.map(|entry| get(&entry["blocks"])).sum();
    let noted = noted.iter().filter(|level| **level > 1).count() as u64;
    assert!((noted..blocks).contains(&risen), "{told:?}");
    let manifest = import.cloud.object("images", "a.zvhd2.imgferry.json");
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["level"], "auto");
}
