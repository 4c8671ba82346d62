//! A journal says what happened, and nothing else, whatever was done to its file.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use journal::Ending;
use journal::registration::Known;
use journal::{
    Begun, Block, Completed, Error, Found, Journal, Part, PlanRecord, Record, SourceIdentity,
    Stage, StateDir, Target,
};

const TARGET: Target<'_> = Target {
    endpoint: "https://obs.example",
    bucket: "images",
    key: "disks/web 01.zvhd2",
};

fn begun() -> Begun {
    Begun {
        tool: "0.1.0".into(),
        encoder: "zvhd2-1 zstd-10507".into(),
        endpoint: TARGET.endpoint.into(),
        bucket: TARGET.bucket.into(),
        key: TARGET.key.into(),
        name: "web 01".into(),
        source: SourceIdentity {
            path: "/disks/web.qcow2".into(),
            size: 1 << 30,
            modified: 1_700_000_000,
            modified_nanos: 5,
            inode: 77,
            header: "ab".repeat(32),
            status_changed: Some((1_700_000_000, 6)),
            block_device: false,
            export: false,
        },
        plan: PlanRecord {
            discarded: None,
            source_format: "qcow2".into(),
            snapshot: None,
            member: None,
            target: "zvhd2".into(),
            virtual_size: 1 << 30,
            worst_case_bytes: 1 << 30,
            level: Some(9),
            auto_level: false,
        },
        uuid: "00".repeat(16),
        timestamp: 5,
        started: 1_700_000_001,
        command: vec!["imgferry".into(), "import".into()],
        directory: "/disks".into(),
        other_files: None,
        verified: false,
        data_disks: 0,
    }
}

fn block(number: u32) -> Block {
    Block {
        number,
        offset: 4096 + u64::from(number) * 8192,
        len: 8192,
        crc: number.wrapping_mul(0x9e37_79b9),
        hash: [u8::try_from(number % 256).unwrap(); 32],
        level: None,
    }
}

fn part(number: u32) -> Part {
    Part {
        number,
        size: 8 << 20,
        md5: [u8::try_from(number).unwrap(); 16],
        etag: (number == 2).then(|| "not-an-md5".to_owned()),
    }
}

/// A small journal of an import up to its job, and the offsets where its records end.
fn small(path: &Path) -> Vec<u64> {
    let (mut journal, found) = Journal::open(path).unwrap();
    assert!(matches!(found, Found::Nothing));
    let mut ends = Vec::new();
    let mut end = || ends.push(fs::metadata(path).unwrap().len());
    journal.begin(begun()).unwrap();
    end();
    journal.record(&Record::Upload { id: "u1".into() }).unwrap();
    end();
    for number in 0..3 {
        journal.block(block(number)).unwrap();
    }
    journal.sync().unwrap();
    end();
    journal.part(part(1)).unwrap();
    end();
    journal.part(part(2)).unwrap();
    end();
    for record in [
        Record::Sent {
            size: 28_672,
            digest: "v1:00".into(),
        },
        Record::Completed(Completed {
            size: 28_672,
            etag: "x-2".into(),
            etag_verified: true,
            parts: 2,
        }),
        Record::Registering {
            service: "https://ims.example".into(),
            name: "web 01".into(),
            at: Some(1_700_000_009),
        },
        Record::Job { id: "job-1".into() },
    ] {
        journal.record(&record).unwrap();
        end();
    }
    ends
}

/// What counts of a journal's state, as text: states that differ have different texts.
fn told(path: &Path) -> (String, Option<Ending>) {
    match Journal::peek(path).unwrap() {
        Found::Nothing => ("nothing".into(), None),
        Found::Unreadable { .. } => ("unreadable".into(), None),
        Found::Import(state, ending) => (format!("{state:?}"), Some(ending)),
    }
}

#[test]
fn what_was_written_is_what_the_next_run_finds() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.journal");
    small(&path);
    let (mut journal, found) = Journal::open(&path).unwrap();
    let Found::Import(state, Ending::Clean) = found else {
        panic!("{found:?}");
    };
    assert_eq!(state.begun, begun());
    assert_eq!(state.stage(), Stage::Registered);
    assert_eq!(state.upload.as_deref(), Some("u1"));
    assert_eq!(
        state.parts.values().cloned().collect::<Vec<_>>(),
        [part(1), part(2)]
    );
    assert_eq!(state.blocks, 3);
    assert_eq!(state.sent, Some((28_672, "v1:00".to_owned())));
    assert_eq!(state.completed.unwrap().etag, "x-2");
    assert_eq!(state.job.as_deref(), Some("job-1"));
    let mut blocks = Vec::new();
    journal
        .blocks(|block| {
            blocks.push(*block);
            true
        })
        .unwrap();
    assert_eq!(blocks, [block(0), block(1), block(2)]);
}

#[test]
fn a_job_that_failed_is_started_again_and_one_that_goes_on_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.journal");
    small(&path);
    let (mut journal, _) = Journal::open(&path).unwrap();
    journal.record(&Record::Declined).unwrap();
    drop(journal);
    let Found::Import(state, _) = Journal::peek(&path).unwrap() else {
        panic!("no state");
    };
    assert_eq!(state.stage(), Stage::Uploaded);
    assert_eq!(state.job, None);
    // Whoever said no may have made an image all the same.
    assert_eq!(known(&state), Known::Perhaps);
}

fn known(state: &journal::State) -> Known {
    state.registration("https://ims.example", "web 01")
}

#[test]
fn a_journal_tells_what_is_known_of_the_registration_and_of_no_other_image() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.journal");
    small(&path);
    let state = || match Journal::peek(&path).unwrap() {
        Found::Import(state, _) => state,
        found => panic!("{found:?}"),
    };
    let note = |record: Record| {
        let (mut journal, _) = Journal::open(&path).unwrap();
        journal.record(&record).unwrap();
    };
    let asked = |at| Record::Registering {
        service: "https://ims.example".into(),
        name: "web 01".into(),
        at: Some(at),
    };
    assert_eq!(known(&state()), Known::Job);
    let of = |service, name| state().registration(service, name);
    assert_eq!(of("https://ims.example", "web 02"), Known::Nothing);
    assert_eq!(of("https://ims.elsewhere", "web 01"), Known::Nothing);
    // Asked for again: the first request may have made it.
    note(asked(1_700_000_050));
    assert_eq!(known(&state()), Known::Sent);
    assert_eq!(state().asked_at, Some(1_700_000_009));
    note(Record::Active {
        image: Some("i".into()),
    });
    assert_eq!(known(&state()), Known::Done);
    assert_eq!(of("https://ims.example", "web 02"), Known::Nothing);
    // That image was gone, so none of its time counts.
    note(asked(1_700_000_100));
    assert_eq!(known(&state()), Known::Sent);
    assert_eq!(state().asked_at, Some(1_700_000_100));
    // Nobody waited for the image.
    note(Record::Job { id: "job-2".into() });
    note(Record::Active { image: None });
    assert_eq!(known(&state()), Known::Job);
}

#[test]
fn a_complete_object_without_a_note_of_a_request_may_be_registered_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.journal");
    let ends = small(&path);
    // The last two notes were lost with the power.
    let end = ends[ends.len() - 3];
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..usize::try_from(end).unwrap()]).unwrap();
    let Found::Import(state, _) = Journal::peek(&path).unwrap() else {
        panic!("no state");
    };
    assert_eq!(state.stage(), Stage::Uploaded);
    assert_eq!(known(&state), Known::Perhaps);
}

#[test]
fn a_journal_in_which_nothing_was_noted_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.journal");
    let (journal, _) = Journal::open(&path).unwrap();
    assert!(path.exists());
    drop(journal);
    assert!(!path.exists());
    let (mut journal, _) = Journal::open(&path).unwrap();
    journal.begin(begun()).unwrap();
    journal.discard().unwrap();
    drop(journal);
    assert!(!path.exists());
    // One that cannot be read is not thrown away by looking at it.
    fs::write(&path, "damaged").unwrap();
    drop(Journal::open(&path).unwrap());
    assert!(path.exists());
}

#[test]
fn a_journal_cut_off_at_any_byte_is_read_up_to_its_last_whole_record() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.journal");
    let ends = small(&path);
    let whole = fs::read(&path).unwrap();
    let cut = dir.path().join("cut.journal");
    // What each whole prefix says.
    let prefixes: Vec<(u64, String)> = ends
        .iter()
        .map(|end| {
            fs::write(&cut, &whole[..usize::try_from(*end).unwrap()]).unwrap();
            let (text, ending) = told(&cut);
            assert_eq!(ending, Some(Ending::Clean), "at {end}");
            (*end, text)
        })
        .collect();
    for len in 0..whole.len() {
        fs::write(&cut, &whole[..len]).unwrap();
        let (text, ending) = told(&cut);
        let before = prefixes.iter().rfind(|(end, _)| *end <= len as u64);
        match before {
            None => assert_eq!(text, "nothing", "cut at {len}"),
            Some((end, expected)) => {
                assert_eq!(&text, expected, "cut at {len}");
                let torn = (*end < len as u64).then_some(Ending::Torn { at: *end });
                assert_eq!(ending, Some(torn.unwrap_or(Ending::Clean)), "cut at {len}");
            }
        }
    }
}

#[test]
fn a_journal_damaged_at_any_byte_is_noticed_and_what_stands_before_it_counts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.journal");
    let ends = small(&path);
    let whole = fs::read(&path).unwrap();
    let bad = dir.path().join("bad.journal");
    for at in 0..whole.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= change;
            fs::write(&bad, &bytes).unwrap();
            let (text, ending) = told(&bad);
            let record = ends.iter().filter(|end| **end <= at as u64).count();
            if record == 0 {
                assert!(text == "unreadable" || text == "nothing", "{at}: {text}");
                continue;
            }
            let start = ends[record - 1];
            assert!(
                ending == Some(Ending::Damaged { at: start })
                    || ending == Some(Ending::Torn { at: start }),
                "byte {at} changed: {ending:?}, the record begins at {start}"
            );
        }
    }
}

#[test]
fn records_that_are_missing_or_swapped_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.journal");
    let ends = small(&path);
    let whole = fs::read(&path).unwrap();
    let at = |index: usize| usize::try_from(ends[index]).unwrap();
    // The records of the two parts.
    let (first, second) = (&whole[at(2)..at(3)], &whole[at(3)..at(4)]);
    let missing = [&whole[..at(2)], second, &whole[at(4)..]].concat();
    let swapped = [&whole[..at(2)], second, first, &whole[at(4)..]].concat();
    for bytes in [missing, swapped] {
        fs::write(&path, bytes).unwrap();
        let Found::Import(state, ending) = Journal::peek(&path).unwrap() else {
            panic!("no state");
        };
        assert_eq!(ending, Ending::Damaged { at: ends[2] });
        assert!(state.parts.is_empty());
    }
}

#[test]
fn writing_goes_on_behind_the_last_good_record() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.journal");
    let ends = small(&path);
    let mut bytes = fs::read(&path).unwrap();
    // Torn inside the record of part 2.
    bytes.truncate(usize::try_from(ends[4]).unwrap() - 3);
    fs::write(&path, &bytes).unwrap();
    let (mut journal, found) = Journal::open(&path).unwrap();
    assert!(matches!(found, Found::Import(_, Ending::Torn { .. })));
    journal.part(part(3)).unwrap();
    journal.record(&Record::Job { id: "j".into() }).unwrap();
    drop(journal);
    let Found::Import(state, Ending::Clean) = Journal::peek(&path).unwrap() else {
        panic!("not clean");
    };
    assert_eq!(state.parts.keys().copied().collect::<Vec<_>>(), [1, 3]);
}

#[test]
fn blocks_that_do_not_follow_each_other_are_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.journal");
    let (mut journal, _) = Journal::open(&path).unwrap();
    journal.begin(begun()).unwrap();
    journal.block(block(5)).unwrap();
    journal.sync().unwrap();
    journal.block(block(5)).unwrap();
    journal.sync().unwrap();
    let Found::Import(state, ending) = Journal::peek(&path).unwrap() else {
        panic!("no state");
    };
    assert!(matches!(ending, Ending::Damaged { .. }));
    assert_eq!(state.blocks, 1);
}

#[test]
fn two_runs_never_share_a_journal() {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::resolve(Some(dir.path()), |_| None).unwrap();
    let (journal, _) = state.open(&TARGET).unwrap();
    let error = state.open(&TARGET).unwrap_err();
    assert!(matches!(error, Error::InUse { .. }), "{error}");
    // Another object is another journal.
    let other = Target {
        key: "other",
        ..TARGET
    };
    state.open(&other).unwrap();
    assert!(state.list().unwrap().iter().any(|listed| listed.in_use));
    drop(journal);
    state.open(&TARGET).unwrap();
}

#[test]
fn nobody_else_can_read_a_journal() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("state/imgferry");
    let state = StateDir::resolve(Some(&place), |_| None).unwrap();
    let (journal, _) = state.open(&TARGET).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(journal.path()), 0o600);
    assert_eq!(mode(&place), 0o700);
}

#[test]
fn journals_are_kept_where_the_system_wants_state() {
    let resolve = |given: Option<&Path>, variables: &[(&str, &str)]| {
        StateDir::resolve(given, |name| {
            let found = variables.iter().find(|(variable, _)| *variable == name)?;
            Some(found.1.into())
        })
    };
    let home = ("HOME", "/home/u");
    let path = |dir: StateDir| dir.path().to_str().unwrap().to_owned();
    assert_eq!(
        path(resolve(None, &[home]).unwrap()),
        "/home/u/.local/state/imgferry"
    );
    assert_eq!(
        path(resolve(None, &[home, ("XDG_STATE_HOME", "/s")]).unwrap()),
        "/s/imgferry"
    );
    assert_eq!(
        path(resolve(None, &[home, ("XDG_STATE_HOME", "relative")]).unwrap()),
        "/home/u/.local/state/imgferry"
    );
    assert_eq!(
        path(resolve(Some(Path::new("/given")), &[home]).unwrap()),
        "/given"
    );
    assert!(matches!(resolve(None, &[]), Err(Error::NoPlace)));
}

#[test]
fn an_import_that_is_done_is_kept_in_short_and_pruned_with_time() {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::resolve(Some(dir.path()), |_| None).unwrap();
    let path = state.path_of(&TARGET);
    small(&path);
    assert_eq!(state.uploads().unwrap(), []);
    let (mut journal, _) = state.open(&TARGET).unwrap();
    journal
        .record(&Record::Active {
            image: Some("image-1".into()),
        })
        .unwrap();
    journal.finish().unwrap();
    let listed = state.list().unwrap();
    assert_eq!(listed.len(), 1);
    let Found::Import(kept, Ending::Clean) = &listed[0].found else {
        panic!("{listed:?}");
    };
    assert_eq!(kept.stage(), Stage::Done);
    assert_eq!(kept.active, Some(Some("image-1".to_owned())));
    assert!(kept.parts.is_empty());
    // The next import of the same object begins with nothing.
    let (_, found) = state.open(&TARGET).unwrap();
    assert!(matches!(found, Found::Nothing));
    state.prune(SystemTime::now());
    assert_eq!(state.list().unwrap().len(), 1);
    assert!(Journal::kept(&path).is_some());
    state.prune(SystemTime::now() + Duration::from_secs(40 * 86_400));
    assert_eq!(state.list().unwrap().len(), 0);
    assert!(Journal::kept(&path).is_none());
}

#[test]
fn an_upload_that_can_go_on_is_known_by_its_id() {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::resolve(Some(dir.path()), |_| None).unwrap();
    let (mut journal, _) = state.open(&TARGET).unwrap();
    journal.begin(begun()).unwrap();
    journal.record(&Record::Upload { id: "u1".into() }).unwrap();
    let known = state.uploads().unwrap();
    assert_eq!(
        known,
        [(
            TARGET.bucket.to_owned(),
            TARGET.key.to_owned(),
            "u1".to_owned()
        )]
    );
}

#[test]
fn a_source_that_changed_is_told_by_what_changed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    fs::write(&path, vec![7; 200_000]).unwrap();
    let before = SourceIdentity::of(&path).unwrap();
    assert_eq!(before.difference(&SourceIdentity::of(&path).unwrap()), None);
    let changed = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        before
            .difference(&SourceIdentity::of(&path).unwrap())
            .unwrap()
    };
    assert!(changed(&[7; 199_999]).contains("199999"));
    let mut header = vec![7; 200_000];
    header[0] = 8;
    assert!(changed(&header).contains("first or last"));
    let mut middle = vec![7; 200_000];
    middle[100_000] = 8;
    assert!(changed(&middle).contains("modified"));
}

#[test]
fn the_level_of_each_block_is_kept_where_each_has_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.journal");
    let (mut journal, _) = Journal::open(&path).unwrap();
    let mut auto = begun();
    auto.plan.level = None;
    auto.plan.auto_level = true;
    journal.begin(auto.clone()).unwrap();
    let levels = [Some(1), Some(6), Some(-7), Some(19), None];
    let written: Vec<_> = (0..700_u32)
        .map(|number| Block {
            level: levels[number as usize % levels.len()],
            ..block(number)
        })
        .collect();
    for block in &written {
        journal.block(*block).unwrap();
    }
    journal.sync().unwrap();
    drop(journal);
    let (mut journal, found) = Journal::open(&path).unwrap();
    let Found::Import(state, Ending::Clean) = found else {
        panic!("{found:?}");
    };
    assert_eq!(state.begun, auto);
    assert_eq!(state.last_block, written.last().copied());
    let mut read = Vec::new();
    journal
        .blocks(|block| {
            read.push(*block);
            true
        })
        .unwrap();
    assert_eq!(read, written);
}

/// Tasks may still have something to note when an import is thrown away.
#[test]
fn a_journal_that_was_discarded_takes_no_more_records() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.journal");
    let (mut journal, _) = Journal::open(&path).unwrap();
    journal.begin(begun()).unwrap();
    journal.discard().unwrap();
    journal.block(block(0)).unwrap();
    journal.part(part(1)).unwrap();
    journal.sync().unwrap();
    drop(journal);
    assert!(!path.exists());
}

/// A plan and blocks as versions without `--level auto` wrote them.
#[test]
fn journals_of_before_blocks_had_levels_are_read() {
    let plan: PlanRecord = serde_json::from_str(
        r#"{"source_format":"raw","snapshot":null,"target":"zvhd2","virtual_size":1,"worst_case_bytes":1,"level":9}"#,
    )
    .unwrap();
    assert_eq!((plan.level, plan.auto_level), (Some(9), false));
    // And what has one level for all is still written in that form.
    assert!(!serde_json::to_string(&plan).unwrap().contains("auto"));
    let (kind, payload) = Record::Blocks(vec![block(1), block(2)]).encode().unwrap();
    assert_eq!((kind, payload.len()), (3, 2 * 52));
    let read = Record::decode(3, &payload);
    assert_eq!(read, Some(Record::Blocks(vec![block(1), block(2)])));
}
