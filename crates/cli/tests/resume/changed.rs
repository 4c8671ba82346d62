//! The source changes between two runs, and its size and modification time do not tell: no image
//! may be a mix.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use journal::{Begun, Found, Journal, Record, SourceIdentity};
use serde_json::Value;

use crate::common::importing::{Import, MIB, PART, is_right};
use crate::common::{self, Run, json_of, run};
use crate::whole::{self, images, run_until_stored};

/// Writes into each part of the file at `path`, and sets its modification time back: which parts
/// were noted before a kill depends on the moment.
fn write_unseen(path: &Path) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    let before = file.metadata().unwrap().modified().unwrap();
    for part in 0..file.metadata().unwrap().len() / PART {
        let at = part * PART + 2 * MIB;
        file.write_all_at(&[7; 4096], at).unwrap();
    }
    file.set_modified(before).unwrap();
}

/// Changes how the journal of an interrupted import begins, and nothing else of it.
fn change_journal(import: &Import, change: impl FnOnce(&mut Begun)) {
    let (mut journal, found) = Journal::open(&import.journal()).unwrap();
    let Found::Import(state, _) = found else {
        panic!("{found:?}");
    };
    let mut blocks = Vec::new();
    journal
        .blocks(|block| {
            blocks.push(*block);
            true
        })
        .unwrap();
    let mut begun = state.begun.clone();
    change(&mut begun);
    journal.begin(begun).unwrap();
    let id = state.upload.unwrap();
    journal.record(&Record::Upload { id }).unwrap();
    for block in blocks {
        journal.block(block).unwrap();
    }
    for part in state.parts.into_values() {
        journal.part(part).unwrap();
    }
    journal.sync().unwrap();
}

/// As if nothing of the file but its content had changed.
fn forge_identity(import: &Import) {
    change_journal(import, |begun| {
        begun.source = SourceIdentity::of(&import.source).unwrap();
    });
}

#[track_caller]
fn began_anew(import: &Import, done: &Run, why: &str) {
    let json = is_right(done);
    assert_eq!(json["uploaded"]["kept_bytes"], 0);
    assert!(done.stderr.contains(why), "{}", done.stderr);
    let now = run(import
        .cloud
        .command()
        .arg("digest")
        .arg(&import.source)
        .arg("--json"));
    assert_eq!(json_of(&now)["digest"], json["digest"]);
    assert_eq!(import.cloud.uploads(), 0);
}

#[track_caller]
fn went_on(done: &Run) -> Value {
    let json = is_right(done);
    let kept = json["uploaded"]["kept_bytes"].as_u64().unwrap();
    assert!(kept >= 2 * PART, "{json}");
    json
}

#[test]
fn a_disk_that_was_written_with_its_time_set_back_begins_anew() {
    let import = Import::of_noise(48);
    import.interrupt(2, "KILL");
    write_unseen(&import.source);
    began_anew(&import, &import.go_on(), "block 1 ");
}

#[test]
fn a_disk_whose_ctime_alone_moved_is_read_again_and_goes_on() {
    let import = Import::of_noise(48);
    import.interrupt(2, "KILL");
    fs::hard_link(&import.source, import.dir.path().join("link.raw")).unwrap();
    let done = import.go_on();
    went_on(&done);
    assert!(
        done.stderr.contains("again to compare them"),
        "{}",
        done.stderr
    );
}

#[test]
fn a_journal_without_ctime_is_proven_by_reading() {
    let import = Import::of_noise(48);
    import.interrupt(2, "KILL");
    change_journal(&import, |begun| begun.source.status_changed = None);
    let done = import.go_on();
    went_on(&done);
    assert!(done.stderr.contains("was not recorded"), "{}", done.stderr);
}

#[test]
fn a_block_device_is_read_again_whatever_its_times_say() {
    let device = |import: &Import| {
        change_journal(import, |begun| {
            begun.source = SourceIdentity {
                block_device: true,
                ..SourceIdentity::of(&import.source).unwrap()
            };
        });
    };
    let import = Import::of_noise(48);
    import.interrupt(2, "KILL");
    device(&import);
    let done = import.go_on();
    went_on(&done);
    assert!(done.stderr.contains("block device"), "{}", done.stderr);

    let import = Import::of_noise(48);
    import.interrupt(2, "KILL");
    write_unseen(&import.source);
    device(&import);
    began_anew(&import, &import.go_on(), "block 1 ");
}

#[test]
fn a_sample_catches_another_disk_behind_the_same_identity() {
    let import = Import::of_noise(48);
    import.interrupt(2, "KILL");
    let mut other = common::noise(48 << 20);
    // What makes it a disk stays: its boot sector.
    other[4096..].iter_mut().for_each(|byte| *byte ^= 1);
    fs::write(&import.source, other).unwrap();
    forge_identity(&import);
    began_anew(&import, &import.go_on(), "has changed; starting over");
}

#[test]
fn a_disk_that_grew_begins_anew() {
    let import = Import::of_noise(48);
    import.interrupt(2, "KILL");
    let file = fs::OpenOptions::new()
        .write(true)
        .open(&import.source)
        .unwrap();
    file.set_len(50 << 20).unwrap();
    began_anew(&import, &import.go_on(), "the source has changed");
}

#[test]
fn another_file_of_the_same_name_and_time_begins_anew() {
    let import = Import::of_noise(48);
    import.interrupt(2, "KILL");
    let before = fs::metadata(&import.source).unwrap().modified().unwrap();
    let other = import.dir.path().join("other.raw");
    fs::copy(&import.source, &other).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&other).unwrap();
    file.write_all_at(&[7; 4096], 2 * MIB).unwrap();
    file.set_modified(before).unwrap();
    fs::rename(&other, &import.source).unwrap();
    began_anew(&import, &import.go_on(), "the source has changed");
}

#[test]
fn a_whole_file_that_was_written_with_its_time_set_back_begins_anew() {
    let import = Import::of_noise(48);
    let child = whole::by(&import, "common").spawn().unwrap();
    common::wait_until(|| import.parts() >= 2);
    // Parts that nobody has noted are made again in any case.
    common::wait_until(|| import.status()["confirmed_bytes"].as_u64() > Some(0));
    common::signal(&child, "KILL");
    child.wait_with_output().unwrap();
    write_unseen(&import.source);
    let done = run(&mut whole::by(&import, "common"));
    let json = whole::is_done(&import, &done);
    assert_eq!(whole::number(&json, "kept_bytes"), 0);
    let told = "has changed; starting over";
    assert!(done.stderr.contains(told), "{}", done.stderr);
}

#[test]
fn an_import_to_raw_sends_what_was_written_meanwhile() {
    let import = Import::of_noise(48);
    let command = || {
        let mut command = import.command();
        command.args(["--to", "raw"]);
        command
    };
    let child = command().spawn().unwrap();
    common::wait_until(|| import.parts() >= 2);
    common::signal(&child, "KILL");
    child.wait_with_output().unwrap();
    write_unseen(&import.source);
    run(&mut command()).success();
    let stored = import.cloud.object("images", "a.raw");
    assert!(stored == fs::read(&import.source).unwrap());
}

/// A disk in two files, of which the one that is named only describes the other.
fn in_two_files() -> (Import, PathBuf) {
    let mut import = Import::of_noise(12);
    let flat = import.dir.path().join("disk-flat.vmdk");
    fs::rename(&import.source, &flat).unwrap();
    import.source = import.dir.path().join("disk.vmdk");
    let sectors = 12 * MIB / 512;
    let extent = format!("RW {sectors} FLAT \"disk-flat.vmdk\" 0");
    let descriptor = testkit::vmdk::descriptor("monolithicFlat", &[&extent], 1, None);
    fs::write(&import.source, descriptor).unwrap();
    (import, flat)
}

#[test]
fn a_finished_import_does_not_answer_for_a_disk_of_which_another_file_has_changed() {
    let (import, flat) = in_two_files();
    is_right(&import.go_on());
    let again = import.go_on();
    assert_eq!(is_right(&again)["result"], "already-imported");
    assert!(!again.stderr.contains("compare"), "{}", again.stderr);
    write_unseen(&flat);
    let refused = import.go_on();
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    let told = "holds another disk";
    assert!(refused.stderr.contains(told), "{}", refused.stderr);
}

#[test]
fn an_object_is_not_registered_for_a_disk_of_which_another_file_has_changed() {
    let (import, flat) = in_two_files();
    run_until_stored(&import, &mut import.command());
    let written = fs::metadata(import.cloud.object_path("images", "a.zvhd2")).unwrap();
    run_until_stored(&import, &mut import.command());
    let still = fs::metadata(import.cloud.object_path("images", "a.zvhd2")).unwrap();
    assert_eq!(still.modified().unwrap(), written.modified().unwrap());
    write_unseen(&flat);
    let refused = import.go_on();
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    for told in ["the disk is based on other files", "holds another disk"] {
        assert!(refused.stderr.contains(told), "{}", refused.stderr);
    }
    assert!(images(&import).is_empty());
}

#[test]
fn the_object_of_a_delta_is_not_registered_for_a_disk_that_was_written_unseen() {
    let import = Import::of_noise(48);
    is_right(&import.go_on());
    let based = || {
        let mut command = import.named("b");
        command.args(["--base", "a.zvhd2"]);
        command
    };
    run_until_stored(&import, &mut based());
    write_unseen(&import.source);
    let done = run(&mut based());
    began_anew(&import, &done, "has changed since the interrupted run");
    // And it goes on where nothing has changed.
    run_until_stored(&import, import.named("c").args(["--base", "b.zvhd2"]));
    fs::hard_link(&import.source, import.dir.path().join("link.raw")).unwrap();
    let done = run(import.named("c").args(["--base", "b.zvhd2"]));
    assert_eq!(is_right(&done)["uploaded"]["sent_bytes"], 0);
    let told = "again to compare them";
    assert!(done.stderr.contains(told), "{}", done.stderr);
}
