//! Whatever became of a journal, the bucket and the disk: the next run makes the right object, or
//! says why not.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::common::importing::{Import, Line, MIB, PART, is_right};
use crate::common::{self, DEBIAN_TREE_DIGEST, Run, json_of, run, testdata};
use journal::{Found, Journal, Record, StateDir, Target};

/// Offsets where records end, read with nothing but the documented form of a frame.
fn record_ends(journal: &[u8]) -> Vec<usize> {
    let mut at = journal.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let mut ends = vec![0, at];
    while at < journal.len() {
        let len = u32::from_le_bytes(journal[at + 4..at + 8].try_into().unwrap());
        at += 9 + usize::try_from(len).unwrap();
        ends.push(at);
    }
    ends
}

/// The machine lost power, and with it the end of the journal, up to any record, while the cloud
/// kept everything.
#[test]
fn a_journal_that_lost_its_end_to_a_power_failure_leads_to_the_right_object_or_a_refusal() {
    let mut import = Import::of_noise(0);
    import.source = testdata("debian-tree.qcow2");
    // Interrupted when everything is stored and nothing is joined yet.
    let ims = Line::to(&import.cloud.variable("IMGFERRY_IMS_ENDPOINT"), 2048);
    let mut child = import
        .command()
        .env("IMGFERRY_IMS_ENDPOINT", ims.url())
        .spawn()
        .unwrap();
    common::wait_until(|| import.state_dir().exists() && import.status()["job_id"].is_string());
    child.kill().unwrap();
    child.wait().unwrap();
    let path = import.journal();
    let whole = fs::read(&path).unwrap();
    let ends = record_ends(&whole);
    assert!(ends.len() > 8, "{ends:?}");
    let object = import.cloud.object_path("images", "a.zvhd2");
    let stored = fs::read(&object).unwrap();
    for (number, end) in ends.iter().enumerate() {
        for cut in [*end, (*end + 7).min(whole.len())] {
            // As the cloud was: once with the object, once without.
            for there in [true, false] {
                let manifest = object.with_extension("zvhd2.imgferry.json");
                let _ = fs::remove_file(&manifest);
                match there {
                    true => fs::write(&object, &stored).unwrap(),
                    false => fs::remove_file(&object).unwrap(),
                }
                fs::write(&path, &whole[..cut]).unwrap();
                let again =
                    run(import
                        .command()
                        .args(["--register", "none", "--skip-check", "name-free"]));
                let what = format!("record {number}, cut at {cut}, object {there}");
                match again.code {
                    Some(0) => assert_eq!(json_of(&again)["digest"], DEBIAN_TREE_DIGEST, "{what}"),
                    // Nobody knows whose object that is.
                    Some(2) => {
                        assert!(there, "{what}: {}", again.stderr);
                        assert!(again.stderr.contains("already exists"), "{}", again.stderr);
                    }
                    code => panic!("{what}: {code:?} {}", again.stderr),
                }
                is_the_disk(&import, &object, &what);
                let _ = fs::remove_file(&path);
            }
            fs::write(&object, &stored).unwrap();
        }
    }
}

#[track_caller]
fn is_the_disk(import: &Import, object: &Path, what: &str) {
    let same = run(import
        .cloud
        .command()
        .arg("digest")
        .arg(object)
        .arg("--json"));
    same.success();
    assert_eq!(json_of(&same)["digest"], DEBIAN_TREE_DIGEST, "{what}");
}

/// Parts behind a gap are neither read nor sent again: to the byte.
#[test]
fn parts_behind_a_gap_are_kept() {
    const DISK: u64 = 80 * MIB;
    const LOST: u32 = 2;
    let import = Import::of_noise(DISK / MIB);
    let stopped = import.interrupt(6, "INT");
    assert_eq!(stopped.code, Some(130), "{}", stopped.stderr);
    let before = import.line.sent_in_the_end();
    // The server loses the second part, and those behind it stay.
    let mut stored = parts_of(&import);
    fs::remove_file(stored.remove(&LOST).unwrap().1).unwrap();
    let known = blocks_that_are_kept(&import, LOST);
    let done = import.go_on();
    let on_the_line = import.line.sent() - before;
    let json = is_right(&done);
    let number = |value: &serde_json::Value| value.as_u64().unwrap();
    let uploaded = &json["uploaded"];
    // Not sent is what the server has. Sent is the rest of the object: the lost part, further gaps
    // if parts arrived out of order, and what comes behind the last one.
    let kept: u64 = stored.values().map(|(len, _)| len).sum();
    assert_eq!(number(&uploaded["kept_bytes"]), kept);
    let missing = number(&uploaded["size"]) - kept;
    assert_eq!(number(&uploaded["sent_bytes"]), missing);
    // Read is the whole of each block of which a byte is missing. At both ends of a gap that is one
    // which lies partly in a part that is kept, so more is read than is missing.
    assert_eq!(number(&json["read_bytes"]), DISK - known * BLOCK);
    // On the line there are also the heads of requests (of each part, and some twenty others), the
    // list of parts, and the manifest; of half a KiB to two KiB each.
    let requests = DISK / PART + 1 + 20;
    let beside = on_the_line - missing;
    assert!(beside < requests * 2048, "{beside} bytes beside parts");
}

/// Guest bytes of a block. Noise is stored in a few bytes more.
const BLOCK: u64 = 2 * MIB;

/// Length and file of each part that the server has.
fn parts_of(import: &Import) -> BTreeMap<u32, (u64, PathBuf)> {
    let files = fs::read_dir(&import.cloud.upload_dirs()[0]).unwrap();
    files
        .filter_map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let (number, rest) = name.strip_prefix("part-")?.split_once('-')?;
            // The bytes of a part that lies in its place in the object are elsewhere, and its
            // length is in the name.
            let len = match rest.split_once('+') {
                Some((_, len)) => len.parse().unwrap(),
                None => entry.metadata().unwrap().len(),
            };
            Some((number.parse().unwrap(), (len, entry.path())))
        })
        .collect()
}

/// How many blocks need not be read again when the server has lost the part `lost`, worked out from
/// the places of blocks and parts that the journal has.
fn blocks_that_are_kept(import: &Import, lost: u32) -> u64 {
    let (mut journal, found) = Journal::open(&import.journal()).unwrap();
    let Found::Import(state, _) = found else {
        panic!("{found:?}");
    };
    let is_kept = |at: u64| {
        let number = u32::try_from(at / PART).unwrap() + 1;
        // A shorter one is the last, and counts when it is known that the stream ends there.
        let counts = |part: &journal::Part| part.size == PART || state.sent.is_some();
        number != lost && state.parts.get(&number).is_some_and(counts)
    };
    let mut kept = 0;
    journal
        .blocks(|block| {
            // A block is smaller than a part, so it lies in two of them at most.
            let last = block.offset + u64::from(block.len) - 1;
            kept += u64::from(is_kept(block.offset) && is_kept(last));
            true
        })
        .unwrap();
    kept
}

/// Runs the import until two parts are stored, kills it, and changes what its journal says.
fn left_behind(change: impl FnOnce(&mut journal::Begun)) -> Import {
    let import = Import::of_noise(40);
    import.interrupt(2, "KILL");
    let path = import.journal();
    let (mut journal, found) = Journal::open(&path).unwrap();
    let Found::Import(state, _) = found else {
        panic!("{found:?}");
    };
    let mut begun = state.begun.clone();
    change(&mut begun);
    journal.begin(begun).unwrap();
    let id = state.upload.unwrap();
    journal.record(&Record::Upload { id }).unwrap();
    for part in state.parts.into_values() {
        journal.part(part).unwrap();
    }
    journal.sync().unwrap();
    import
}

#[track_caller]
fn begins_anew(import: &Import, again: &Run, why: &str) {
    let json = is_right(again);
    assert_eq!(json["uploaded"]["kept_bytes"], 0);
    assert!(again.stderr.contains(why), "{}", again.stderr);
    assert!(again.stderr.contains("was aborted"), "{}", again.stderr);
    assert_eq!(import.cloud.uploads(), 0);
}

#[test]
fn a_version_that_makes_other_bytes_begins_anew_and_says_why() {
    let import = left_behind(|begun| {
        begun.tool = "0.0.9".into();
        begun.encoder = "zvhd2-1 zstd-10001".into();
    });
    begins_anew(
        &import,
        &import.go_on(),
        "imgferry 0.0.9 encoded it differently (zvhd2-1 zstd-10001) than this version",
    );
}

#[test]
fn another_plan_begins_anew_and_says_why() {
    let import = left_behind(|begun| begun.plan.level = Some(7));
    begins_anew(
        &import,
        &import.go_on(),
        "its plan was different: raw of 41943040 bytes as zvhd2, level 7, now zvhd2, level 1",
    );
}

#[test]
fn a_compressed_disk_goes_on_after_a_kill_unless_its_file_has_changed() {
    let mut import = Import::of_noise(48);
    let raw = import.source.clone();
    let pack = |level: &str| {
        let mut gzip = Command::new("gzip");
        let packed = gzip.args(["-k", "-f", level]).arg(&raw).status();
        assert!(packed.unwrap().success());
    };
    pack("-1");
    import.source.set_extension("raw.gz");
    import.interrupt(2, "KILL");
    assert_eq!(import.status()["stage"], "uploading");
    let done = import.go_on();
    let json = is_right(&done);
    assert!(done.stderr.contains("already stored"), "{}", done.stderr);
    assert_ne!(json["uploaded"]["kept_bytes"], 0);

    // Another disk in the file of that name.
    let child = import.named("b").spawn().unwrap();
    common::wait_until(|| import.confirmed_parts() >= 2);
    common::signal(&child, "KILL");
    child.wait_with_output().unwrap();
    let mut disk = fs::read(&raw).unwrap();
    disk[1 << 20] ^= 1;
    fs::write(&raw, disk).unwrap();
    pack("-2");
    let done = run(&mut import.named("b"));
    assert_eq!(is_right(&done)["uploaded"]["kept_bytes"], 0);
    let why = "the source has changed";
    assert!(done.stderr.contains(why), "{}", done.stderr);
}

/// What is asked for twice ends at once; what is stored is gone on with all the same.
#[test]
fn a_second_signal_ends_at_once_and_the_next_run_goes_on() {
    // So slow that parts on their way take much longer than their five seconds.
    let import = Import::with_rate(64, MIB);
    let child = import.start();
    common::wait_until(|| import.line.sent() > 3 * MIB);
    common::signal(&child, "INT");
    // Signals within a second are the same request.
    std::thread::sleep(Duration::from_millis(1300));
    common::signal(&child, "INT");
    let ended: Run = child.wait_with_output().unwrap().into();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    // A run that waits for its parts ends with a report. This one had no time to write it.
    assert!(ended.stdout.is_empty(), "{:?}", ended.stdout);
    assert_eq!(import.status()["stage"], "uploading");
    assert_eq!(import.status()["damaged"], false);
    assert_eq!(import.cloud.uploads(), 1);
}

/// A file may not grow beyond some KiB, as on a disk that is full; works without rights.
fn without_room(command: &Command, kib: u32) -> Run {
    let mut limited = Command::new("sh");
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    limited
        .args(["-c", "ulimit -f \"$0\"; exec \"$@\""])
        .arg((2 * kib).to_string())
        .arg(command.get_program())
        .args(command.get_args());
    run(&mut limited)
}

#[test]
fn a_conversion_without_room_is_a_clear_error_and_leaves_nothing_half() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("noise.raw");
    fs::write(&source, common::noise(12 << 20)).unwrap();
    for (format, name) in [("zvhd2", "out.zvhd2"), ("raw", "out.raw")] {
        let mut convert = common::command();
        convert
            .arg("convert")
            .arg(&source)
            .arg(dir.path().join(name))
            .args(["--to", format]);
        let full = without_room(&convert, 4 << 10);
        assert_eq!(full.code, Some(4), "{format}: {}", full.stderr);
        assert!(full.stderr.contains(name), "{}", full.stderr);
        assert!(full.stderr.contains("larger files"), "{}", full.stderr);
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }
}

/// An import that is done is done, also when its journal cannot say so any more.
#[test]
fn a_journal_that_cannot_be_ended_does_not_make_a_failure_of_a_success() {
    let mut import = Import::of_noise(0);
    import.source = testdata("debian-tree.qcow2");
    let dir = StateDir::resolve(Some(&import.state_dir()), |_| None).unwrap();
    let journal = dir.path_of(&Target {
        endpoint: &import.line.url(),
        bucket: "images",
        key: "a.zvhd2",
    });
    // What is kept of it has no place.
    fs::create_dir_all(journal.with_extension("done").join("in the way")).unwrap();
    let done = import.go_on();
    let json = is_right(&done);
    assert_eq!(json["digest"], DEBIAN_TREE_DIGEST);
    assert!(
        done.stderr
            .contains("warning: the import is finished, but its journal"),
        "{}",
        done.stderr
    );
    assert_eq!(import.status()["stage"], "done");
}
