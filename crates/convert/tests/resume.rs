//! A stream that was interrupted anywhere goes on to the same bytes, and costs only what is
//! missing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::single_range_in_vec_init,
    missing_docs,
    reason = "tests"
)]

mod common;

use std::io::Write;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use common::{BLOCK, Fill, IDENTITY, TestDisk, any_disk, plan, zvhd2};
use convert::{
    Backlog, BlockRecord, CancelToken, Checkpoint, Error, Hint, Level, Levels, Plan, PlanOptions,
    Recorder, Report, Sink, SinkError, Target, VoidMonitor, VoidRecorder,
};
use proptest::prelude::*;

#[derive(Default)]
struct Notes(Vec<BlockRecord>);

impl Recorder for Notes {
    fn block(&mut self, block: &BlockRecord) -> Result<(), SinkError> {
        self.0.push(*block);
        Ok(())
    }
}

/// Holds a stream of which parts are missing: takes those, and drops what it has.
struct Holey {
    bytes: Vec<u8>,
    missing: Vec<Range<u64>>,
    at: u64,
    filled: u64,
}

impl Holey {
    fn lacks(&self, at: u64) -> bool {
        self.missing.iter().any(|range| range.contains(&at))
    }
}

impl Sink for Holey {
    fn write(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        // Ranges begin and end at multiples of 512, as parts do at theirs.
        for piece in bytes.chunks(512) {
            let start = usize::try_from(self.at).unwrap();
            if self.lacks(self.at) {
                let end = start + piece.len();
                if self.bytes.len() < end {
                    self.bytes.resize(end, 0xee);
                }
                self.bytes[start..end].copy_from_slice(piece);
                self.filled += piece.len() as u64;
            }
            self.at += piece.len() as u64;
        }
        Ok(())
    }

    fn skip(&mut self, len: u64) -> Result<(), SinkError> {
        let range = self.at..self.at + len;
        for missing in &self.missing {
            assert!(
                missing.end <= range.start || missing.start >= range.end,
                "{range:?} is passed over, {missing:?} is missing"
            );
        }
        self.at += len;
        Ok(())
    }
}

/// The whole stream, and what was noted on the way.
fn first_run(disk: &TestDisk) -> (Vec<u8>, Vec<BlockRecord>) {
    let mut bytes = Vec::new();
    let mut notes = Notes::default();
    let start = Checkpoint::start(common::size(disk), IDENTITY).unwrap();
    convert::resume_zvhd2(
        disk,
        &plan(disk, Target::Zvhd2, 2),
        start,
        &mut bytes,
        &mut notes,
        &VoidMonitor,
        &CancelToken::new(),
    )
    .unwrap();
    assert_eq!(bytes, zvhd2(disk, &plan(disk, Target::Zvhd2, 1)).0);
    (bytes, notes.0)
}

/// Goes on with a stream of which `missing` is missing and `known` was noted.
fn go_on(
    disk: &TestDisk,
    whole: &[u8],
    missing: Vec<Range<u64>>,
    known: &[BlockRecord],
    complete: bool,
    threads: usize,
) -> Result<(Holey, Vec<BlockRecord>, Report), Error> {
    let plan = plan(disk, Target::Zvhd2, threads);
    go_on_as(&plan, disk, whole, missing, known, complete)
}

/// The same by any plan.
fn go_on_as(
    plan: &Plan,
    disk: &TestDisk,
    whole: &[u8],
    missing: Vec<Range<u64>>,
    known: &[BlockRecord],
    complete: bool,
) -> Result<(Holey, Vec<BlockRecord>, Report), Error> {
    let mut bytes = whole.to_vec();
    for range in &missing {
        let end = usize::try_from(range.end)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        let start = usize::try_from(range.start).unwrap().min(end);
        bytes[start..end].fill(0xee);
    }
    let mut from = Checkpoint::new(common::size(disk), IDENTITY, missing.clone())?;
    for block in known {
        from.block(block)?;
    }
    if complete {
        from.complete();
    }
    let mut sink = Holey {
        bytes,
        missing,
        at: 0,
        filled: 0,
    };
    let mut notes = Notes::default();
    let report = convert::resume_zvhd2(
        disk,
        plan,
        from,
        &mut sink,
        &mut notes,
        &VoidMonitor,
        &CancelToken::new(),
    )?;
    Ok((sink, notes.0, report))
}

proptest! {
    #![proptest_config(common::cases(48))]

    #[test]
    fn an_interrupted_stream_goes_on_to_the_same_bytes_and_digest(
        parts in any_disk(),
        noted in 0.0..=1.0_f64,
        cuts in prop::collection::vec(0.0..=1.0_f64, 0..6),
        threads in 1..4_usize,
        group in 1..=4_usize,
    ) {
        let disk = TestDisk::new(&parts);
        let (whole, notes) = first_run(&disk);
        // Whatever the groups of the first run were.
        let mut plan = plan(&disk, Target::Zvhd2, threads);
        (plan.group, plan.window) = (group, (threads + 1) * group);
        let known = &notes[..(notes.len() as f64 * noted) as usize];
        // Everything that was not noted is missing, and some of what was.
        let known_end = known.last().map_or(0, |block| block.offset + u64::from(block.len));
        let mut cuts: Vec<u64> = cuts
            .into_iter()
            .map(|at| (known_end as f64 * at) as u64 / 512 * 512)
            .collect();
        cuts.sort_unstable();
        let mut missing: Vec<_> = cuts
            .as_chunks::<2>()
            .0
            .iter()
            .map(|[start, end]| *start..*end)
            .filter(|range| !range.is_empty())
            .collect();
        missing.push(known_end..u64::MAX);
        let (sink, new, report) =
            go_on_as(&plan, &disk, &whole, missing, known, false).unwrap();
        prop_assert!(sink.bytes == whole);
        prop_assert_eq!(report.digest, common::digest(&disk));
        prop_assert_eq!(new, &notes[known.len()..]);
        let all = report.read_bytes + report.skipped_bytes + report.kept_bytes;
        prop_assert_eq!(all, report.virtual_size);
    }
}

#[test]
fn blocks_that_are_stored_are_neither_read_nor_encoded_again() {
    let disk = TestDisk::new(&[
        (20 * BLOCK, Fill::Random(1)),
        (8 * BLOCK, Fill::Zeros),
        (20 * BLOCK, Fill::Random(2)),
    ]);
    let (whole, notes) = first_run(&disk);
    assert_eq!(notes.len(), 40);
    let known = &notes[..30];
    // A gap of one block in the middle of two, and everything from block 29 of the stream on.
    let gap = notes[10].offset + 4096..notes[11].offset + 4096;
    let missing = vec![gap, notes[29].offset..u64::MAX];
    disk.bytes_read.store(0, Ordering::Relaxed);
    let (sink, new, report) = go_on(&disk, &whole, missing, known, false, 2).unwrap();
    assert!(sink.bytes == whole);
    assert_eq!(new.len(), 10);
    // Blocks 10, 11 and 29 again, and 10 new ones: neither the rest nor the zeros before it.
    assert_eq!(disk.bytes_read.load(Ordering::Relaxed), 13 * BLOCK);
    assert_eq!(report.read_bytes, 13 * BLOCK);
    assert_eq!(report.kept_bytes, (48 - 13) * BLOCK);
}

#[test]
fn a_stream_that_is_stored_as_a_whole_is_not_read_at_all() {
    let disk = TestDisk::new(&[(3 * BLOCK, Fill::Text), (BLOCK, Fill::Zeros)]);
    let (whole, notes) = first_run(&disk);
    disk.bytes_read.store(0, Ordering::Relaxed);
    let (sink, new, report) = go_on(&disk, &whole, Vec::new(), &notes, true, 2).unwrap();
    assert_eq!((sink.filled, new.len()), (0, 0));
    assert_eq!(sink.at, whole.len() as u64);
    assert_eq!(disk.bytes_read.load(Ordering::Relaxed), 0);
    assert_eq!(report.digest, common::digest(&disk));
}

#[test]
fn who_notes_nothing_goes_on_to_the_same_bytes_too() {
    let disk = TestDisk::random(5);
    let (whole, notes) = first_run(&disk);
    let missing = vec![notes[1].offset + 4096..notes[2].offset];
    let mut from = Checkpoint::new(common::size(&disk), IDENTITY, missing.clone()).unwrap();
    for block in &notes {
        from.block(block).unwrap();
    }
    from.complete();
    let mut bytes = whole.clone();
    bytes[usize::try_from(missing[0].start).unwrap()] ^= 1;
    let mut sink = Holey {
        bytes,
        missing,
        at: 0,
        filled: 0,
    };
    convert::resume_zvhd2(
        &disk,
        &plan(&disk, Target::Zvhd2, 2),
        from,
        &mut sink,
        &mut VoidRecorder,
        &VoidMonitor,
        &CancelToken::new(),
    )
    .unwrap();
    assert!(sink.bytes == whole);
}

#[test]
fn a_block_that_has_changed_since_is_refused() {
    let disk = TestDisk::random(4);
    let (whole, notes) = first_run(&disk);
    for changed in [
        TestDisk::new(&[(4 * BLOCK, Fill::Random(9))]),
        TestDisk::new(&[(4 * BLOCK, Fill::Zeros)]),
    ] {
        let missing = vec![notes[3].offset + 4096..u64::MAX];
        let error = go_on(&changed, &whole, missing, &notes, false, 2)
            .err()
            .unwrap();
        assert!(error.to_string().contains("block 3"), "{error}");
        assert!(error.hint() == Some(Hint::StartOver));
    }
}

#[test]
fn notes_of_another_stream_are_refused() {
    let disk = TestDisk::random(4);
    let (_, notes) = first_run(&disk);
    let mut from = Checkpoint::new(common::size(&disk), IDENTITY, Vec::new()).unwrap();
    from.block(&notes[0]).unwrap();
    let error = from.block(&notes[2]).unwrap_err();
    assert!(error.to_string().contains("offset"), "{error}");
    let beyond = BlockRecord {
        number: 4,
        offset: notes[1].offset,
        ..notes[0]
    };
    assert!(from.block(&beyond).is_err());
}

#[test]
fn a_recorder_that_fails_ends_the_run_with_its_error() {
    struct Full;
    impl Recorder for Full {
        fn block(&mut self, _: &BlockRecord) -> Result<(), SinkError> {
            Err("no room for notes".into())
        }
    }
    let disk = TestDisk::random(4);
    let mut bytes = Vec::new();
    let error = convert::resume_zvhd2(
        &disk,
        &plan(&disk, Target::Zvhd2, 2),
        Checkpoint::start(common::size(&disk), IDENTITY).unwrap(),
        &mut bytes,
        &mut Full,
        &VoidMonitor,
        &CancelToken::new(),
    )
    .unwrap_err();
    assert_eq!(error.to_string(), "no room for notes");
}

/// A line that is always behind: the level rises. Every write seems to have waited longer than the
/// one before.
#[derive(Default)]
struct Slow {
    bytes: Vec<u8>,
    waited: Duration,
    last: Option<Instant>,
}

impl Sink for Slow {
    fn write(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        // Much longer than workers need for a group of blocks, however busy the machine is; a
        // window of them is a round of the controller.
        let needed = self.last.map_or(Duration::ZERO, |last| last.elapsed());
        let group = Duration::from_millis(160).max(needed * 4);
        std::thread::sleep(group);
        self.waited += group;
        self.bytes.extend_from_slice(bytes);
        self.last = Some(Instant::now());
        Ok(())
    }

    fn backlog(&self) -> Option<Backlog> {
        Some(Backlog {
            capacity: 64 << 20,
            held: 64 << 20,
            waited: self.waited,
        })
    }
}

fn auto(disk: &TestDisk) -> Plan {
    let options = PlanOptions {
        threads: Some(2),
        level: Level::Auto,
        ..PlanOptions::default()
    };
    convert::plan(disk, Target::Zvhd2, &options).unwrap()
}

/// A disk, and its stream over a line so slow that the level rises on the way.
fn first_run_over_a_slow_line() -> (TestDisk, Vec<u8>, Vec<BlockRecord>, Report) {
    let disk = TestDisk::new(&[(80 * BLOCK, Fill::Text)]);
    let (mut sink, mut notes) = (Slow::default(), Notes::default());
    let report = convert::resume_zvhd2(
        &disk,
        &auto(&disk),
        Checkpoint::start(common::size(&disk), IDENTITY).unwrap(),
        &mut sink,
        &mut notes,
        &VoidMonitor,
        &CancelToken::new(),
    )
    .unwrap();
    (disk, sink.bytes, notes.0, report)
}

/// The content of the ZVHD2 file `bytes`.
fn digest_of(bytes: &[u8]) -> convert::ContentDigest {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    let opened = convert::open(file.path(), None).unwrap();
    common::digest(opened.image.as_ref())
}

fn counted(notes: &[BlockRecord]) -> Levels {
    let mut levels = Levels::default();
    for note in notes {
        levels.add(note.level.unwrap(), 1);
    }
    levels
}

#[test]
fn a_stream_of_many_levels_goes_on_to_the_same_bytes_whatever_the_line_is_then() {
    let (disk, whole, notes, report) = first_run_over_a_slow_line();
    assert!(report.levels.iter().count() > 1, "{}", report.levels);
    assert_eq!(report.levels, counted(&notes));
    // What is compressed at many levels is read like anything else.
    assert_eq!(digest_of(&whole), report.digest);

    // A block of the first level is missing, and one of the last; the line is fast now.
    let last = notes.len() - 1;
    assert_ne!(notes[0].level, notes[last].level);
    let missing = vec![
        notes[0].offset + 4096..notes[0].offset + 8192,
        notes[last].offset..u64::MAX,
    ];
    let (sink, new, again) = go_on_as(&auto(&disk), &disk, &whole, missing, &notes, true).unwrap();
    assert!(sink.bytes == whole, "other bytes");
    assert!(new.is_empty());
    assert_eq!(again.digest, report.digest);
    assert_eq!(again.levels, report.levels);

    // Nothing is known of the last blocks: they get the level of this run, and the disk is the
    // same.
    let known = &notes[..last - 3];
    let missing = vec![known.last().unwrap().offset..u64::MAX];
    let (sink, new, again) = go_on_as(&auto(&disk), &disk, &whole, missing, known, false).unwrap();
    assert!(new.iter().all(|note| note.level == Some(1)), "{new:?}");
    let mut expected = counted(known);
    expected.add(1, new.len() as u64);
    assert_eq!(again.levels, expected);
    assert_eq!(again.digest, report.digest);
    let end = usize::try_from(sink.at).unwrap();
    assert_eq!(digest_of(&sink.bytes[..end]), report.digest);
}

#[test]
fn blocks_whose_level_is_not_known_are_not_guessed_at() {
    let disk = TestDisk::random(4);
    let (whole, fixed) = first_run(&disk);
    let missing = || vec![fixed[1].offset..u64::MAX];
    let refused = |plan: &Plan, level| {
        let mut notes = fixed.clone();
        notes[1].level = level;
        let error = go_on_as(plan, &disk, &whole, missing(), &notes, true);
        error.err().unwrap().to_string()
    };
    assert!(refused(&auto(&disk), Some(1)).contains("noted as none"));
    // Beyond what memory was planned for.
    assert!(refused(&auto(&disk), Some(19)).contains("noted as"));
    let one = plan(&disk, Target::Zvhd2, 2);
    assert!(refused(&one, Some(6)).contains("noted as 6, and the stream's is 1"));
}

#[test]
fn a_sink_that_never_waits_gets_the_lowest_level() {
    let disk = TestDisk::new(&[(20 * BLOCK, Fill::Text)]);
    let (file, report) = zvhd2(&disk, &auto(&disk));
    assert_eq!(report.levels.to_string(), "20 blocks at level 1");
    assert!(file == zvhd2(&disk, &plan(&disk, Target::Zvhd2, 2)).0);
}
