//! A new object from an old one: the same bytes as a full run, and few of them sent.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::type_complexity,
    missing_docs,
    reason = "tests"
)]

use std::sync::Arc;

use convert::delta::{
    BlockTable, Blocks, Delta, DeltaPlan, Described, PartRules, TableEntries, delta_zvhd2, find,
};
use convert::{
    BlockRecord, CancelToken, Level, Plan, PlanOptions, Recorder, Sink, SinkError, Target,
    VoidMonitor, VoidRecorder, plan, resume_zvhd2, to_zvhd2,
};
use diskimg::{Changes, DiskImage, MemorySource, OpenOptions, open_source};
use proptest::prelude::*;

const BLOCK: usize = 2 << 20;
const IDENTITY: zvhd2::Identity = zvhd2::Identity {
    uuid: [7; 16],
    timestamp: 99,
};

/// Parts small enough that a few blocks show every case.
const RULES: PartRules = PartRules {
    least: 40 << 10,
    largest_copy: 200 << 10,
    sent: 64 << 10,
    most: 1000,
};

fn image(bytes: Vec<u8>) -> Box<dyn DiskImage> {
    let options = OpenOptions::of(Some(diskimg::Format::Raw));
    let source = Arc::new(MemorySource(bytes));
    open_source(source, &options, &[]).unwrap().image
}

fn planned(image: &dyn DiskImage, level: i32) -> Plan {
    let options = PlanOptions {
        level: Level::Fixed(level),
        threads: Some(2),
        ..PlanOptions::default()
    };
    plan(image, Target::Zvhd2, &options).unwrap()
}

/// Notes all blocks, each with its level.
#[derive(Default)]
struct Notes {
    level: i32,
    blocks: Vec<BlockRecord>,
}

impl Recorder for Notes {
    fn block(&mut self, block: &BlockRecord) -> Result<(), SinkError> {
        self.blocks.push(BlockRecord {
            level: block.level.or(Some(self.level)),
            crc: 0,
            ..*block
        });
        Ok(())
    }
}

/// A full run: the object, and its table.
fn full(image: &dyn DiskImage, level: i32) -> (Vec<u8>, BlockTable) {
    let mut notes = Notes {
        level,
        ..Notes::default()
    };
    let mut object = Vec::new();
    let start = convert::Checkpoint::start(image.virtual_size(), IDENTITY).unwrap();
    let plan = planned(image, level);
    let report = resume_zvhd2(
        image,
        &plan,
        start,
        &mut object,
        &mut notes,
        &VoidMonitor,
        &CancelToken::new(),
    )
    .unwrap();
    let table = table(&object, image, notes);
    assert_eq!(table.digest(), report.digest);
    (object, table)
}

fn table(object: &[u8], image: &dyn DiskImage, notes: Notes) -> BlockTable {
    let table = BlockTable {
        object_size: object.len() as u64,
        object_etag: "etag".into(),
        encoder: "encoder".into(),
        virtual_size: image.virtual_size(),
        blocks: notes.blocks,
    };
    let of = Described {
        object_size: table.object_size,
        object_etag: table.object_etag.clone(),
        encoder: table.encoder.clone(),
        virtual_size: table.virtual_size,
        digest: table.digest(),
    };
    let mut entries = TableEntries::default();
    table
        .blocks
        .iter()
        .for_each(|block| entries.push(block, None));
    let read = BlockTable::decode(&entries.encode(&of).unwrap()).unwrap();
    assert_eq!(read, table);
    read
}

/// A server that joins what it is sent and what it copies from `base`.
struct Server<'a> {
    base: &'a [u8],
    object: Vec<u8>,
    /// Bytes that were sent, by stretch; a copy ends one.
    sent: Vec<u64>,
}

impl<'a> Server<'a> {
    fn new(base: &'a [u8]) -> Self {
        Self {
            base,
            object: Vec::new(),
            sent: vec![0],
        }
    }
}

impl Sink for Server<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        self.object.extend_from_slice(bytes);
        *self.sent.last_mut().unwrap() += bytes.len() as u64;
        Ok(())
    }

    fn copy(&mut self, offset: u64, len: u64) -> Result<(), SinkError> {
        let range = usize::try_from(offset).unwrap()..usize::try_from(offset + len).unwrap();
        assert!(len >= RULES.least, "a copy of {len} bytes");
        let before = *self.sent.last().unwrap();
        assert!(before == 0 || before >= RULES.least, "{before} bytes sent");
        self.object.extend_from_slice(&self.base[range]);
        self.sent.push(0);
        Ok(())
    }
}

/// A delta run: what the server has then, and the table. `None` when nothing would be copied.
fn delta<'a>(
    image: &dyn DiskImage,
    (base, table_of_base): (&'a [u8], &BlockTable),
    level: i32,
    disk: &Blocks,
) -> Option<(Server<'a>, BlockTable, DeltaPlan)> {
    let delta = DeltaPlan::new(disk, table_of_base, &RULES)?;
    let mut server = Server::new(base);
    let mut notes = Notes::default();
    let report = delta_zvhd2(
        image,
        &planned(image, level),
        Delta {
            base: table_of_base,
            disk,
            plan: &delta,
            may_move: false,
        },
        IDENTITY,
        &mut server,
        &mut notes,
        &VoidMonitor,
        &CancelToken::new(),
    )
    .unwrap();
    assert_eq!(report.digest, disk.digest());
    assert!(report.copied_bytes <= delta.copied_bytes);
    assert_eq!(report.written_bytes, server.sent.iter().sum::<u64>());
    assert_eq!(
        report.kept_bytes + report.read_bytes + report.skipped_bytes,
        image.virtual_size()
    );
    let table = table(&server.object, image, notes);
    Some((server, table, delta))
}

fn found(image: &dyn DiskImage, base: &BlockTable, changed: Option<&Changes>) -> Blocks {
    find(image, (base, changed), 2, &VoidMonitor, &CancelToken::new()).unwrap()
}

/// A block that shrinks to about `kib` KiB; of zeros for 0.
fn fill(block: &mut [u8], kib: usize, seed: u64) {
    let mut state = seed | 1;
    block.fill(0);
    for byte in block.iter_mut().take(kib << 10) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *byte = state.to_le_bytes()[0];
    }
}

fn disk(blocks: &[(usize, u64)]) -> Vec<u8> {
    let mut bytes = vec![0; blocks.len() * BLOCK - 512];
    for (block, (kib, seed)) in bytes.chunks_mut(BLOCK).zip(blocks) {
        fill(block, *kib, *seed);
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_object_is_that_of_a_full_run_and_little_is_sent(
        blocks in prop::collection::vec((0_usize..24, 1_u64..1000), 1..40),
        changes in prop::collection::vec((0_usize..40, 0_usize..24, 1000_u64..2000), 0..6),
    ) {
        let old = image(disk(&blocks));
        let mut now = blocks.clone();
        for (at, kib, seed) in changes {
            let at = at % now.len();
            now[at] = (kib, seed);
        }
        let new = image(disk(&now));
        let (base, table) = full(old.as_ref(), 1);
        let (whole, whole_table) = full(new.as_ref(), 1);
        let disk = found(new.as_ref(), &table, None);
        let Some((server, delta_table, plan)) = delta(new.as_ref(), (&base, &table), 1, &disk)
        else {
            return Ok(());
        };
        prop_assert!(server.object == whole);
        prop_assert_eq!(&delta_table, &whole_table);
        // Changed blocks, and one part for each stretch of them; head and tail are one, too.
        let is_changed = |block: &&BlockRecord| !table.blocks.iter().any(|old| {
            (old.number, old.hash) == (block.number, block.hash)
        });
        let changed: Vec<_> = whole_table.blocks.iter().filter(is_changed).collect();
        let bytes: u64 = changed.iter().map(|block| u64::from(block.len)).sum();
        let gaps = server.sent.len() as u64;
        let ends = 4096 + whole.len() as u64 - whole_table.blocks.last().map_or(4096, |last| {
            last.offset + u64::from(last.len)
        });
        let sent: u64 = server.sent.iter().sum();
        let longest = table.blocks.iter().map(|b| u64::from(b.len)).max().unwrap_or_default();
        prop_assert!(sent <= bytes + ends + gaps * (2 * RULES.least + longest));
        prop_assert_eq!(changed.len() as u64, plan.changed_blocks);
    }

    #[test]
    fn what_is_told_of_changes_is_read_and_nothing_else(
        blocks in prop::collection::vec((0_usize..24, 1_u64..1000), 8..30),
        changes in prop::collection::vec((0_usize..30, 0_usize..24, 1000_u64..2000), 0..4),
    ) {
        let old = image(disk(&blocks));
        let mut now = blocks.clone();
        let mut numbers: Vec<usize> = Vec::new();
        for (at, kib, seed) in changes {
            let at = at % now.len();
            now[at] = (kib, seed);
            numbers.push(at);
        }
        numbers.sort_unstable();
        numbers.dedup();
        let mut changed = Changes::none(4096);
        for number in &numbers {
            let start = (number * BLOCK) as u64;
            changed.add(start + 4096..start + 8192);
        }
        let new = image(disk(&now));
        let (_, table) = full(old.as_ref(), 1);
        let all = found(new.as_ref(), &table, None);
        let some = found(new.as_ref(), &table, Some(&changed));
        prop_assert_eq!(all.digest(), some.digest());
        prop_assert!(some.read_bytes <= (numbers.len() * BLOCK) as u64);
    }
}

#[test]
fn unchanged_blocks_keep_the_level_they_had() {
    let mut blocks = vec![(20, 1), (20, 2), (20, 3), (20, 4), (20, 5), (20, 6)];
    let old = image(disk(&blocks));
    let (base, table) = full(old.as_ref(), 6);
    blocks[5] = (20, 77);
    let new = image(disk(&blocks));
    let disk = found(new.as_ref(), &table, None);
    let (_, made, _) = delta(new.as_ref(), (&base, &table), 1, &disk).unwrap();
    let levels: Vec<_> = made.blocks.iter().map(|block| block.level).collect();
    assert_eq!(levels, [6, 6, 6, 6, 6, 1].map(Some));
}

#[test]
fn another_size_and_too_many_parts_are_no_delta() {
    let old = image(disk(&[(20, 1); 30]));
    let (_, table) = full(old.as_ref(), 1);
    let new = image(disk(&[(20, 1); 31]));
    let larger = found(new.as_ref(), &table, None);
    assert_eq!(DeltaPlan::new(&larger, &table, &RULES), None);
    let same = found(old.as_ref(), &table, None);
    let few = |most| DeltaPlan::new(&same, &table, &PartRules { most, ..RULES });
    assert!(few(1000).is_some());
    assert_eq!(few(1), None);
    let told = Changes::none(4096);
    find(
        new.as_ref(),
        (&table, Some(&told)),
        1,
        &VoidMonitor,
        &CancelToken::new(),
    )
    .unwrap_err();
}

#[test]
fn a_disk_that_changes_between_the_two_readings_is_refused_unless_it_may() {
    let blocks = vec![(20, 1); 12];
    let old = image(disk(&blocks));
    let (base, table) = full(old.as_ref(), 1);
    let mut then = blocks.clone();
    then[11] = (20, 50);
    let disk_then = found(image(disk(&then)).as_ref(), &table, None);
    let plan = DeltaPlan::new(&disk_then, &table, &RULES).unwrap();
    // Another content, none at all, a longer one; and of a block beside it that was unchanged.
    for (place, now) in [(11, (20, 60)), (11, (0, 0)), (11, (400, 60)), (10, (0, 0))] {
        let mut changed = then.clone();
        changed[place] = now;
        let later = image(disk(&changed));
        let run = |may_move| {
            let mut server = Server::new(&base);
            let report = delta_zvhd2(
                later.as_ref(),
                &planned(later.as_ref(), 1),
                Delta {
                    base: &table,
                    disk: &disk_then,
                    plan: &plan,
                    may_move,
                },
                IDENTITY,
                &mut server,
                &mut VoidRecorder,
                &VoidMonitor,
                &CancelToken::new(),
            );
            (report, server.object)
        };
        if place == 11 {
            let error = run(false).0.unwrap_err().to_string();
            assert!(error.contains("block 11 is not what it was"), "{error}");
        }
        let (report, object) = run(true);
        let held = convert::digest(
            image_of(object).as_ref(),
            1,
            &VoidMonitor,
            &CancelToken::new(),
        );
        // What the report says is what the object holds, whichever reading that was.
        assert_eq!(report.unwrap().digest, held.unwrap(), "{place}: {now:?}");
    }
}

/// The disk in an object.
fn image_of(object: Vec<u8>) -> Box<dyn DiskImage> {
    let options = OpenOptions::of(Some(diskimg::Format::Zvhd2));
    let source = Arc::new(MemorySource(object));
    convert::open_source_with(source, &options).unwrap().image
}

#[test]
fn a_sink_without_an_object_copies_nothing() {
    let image = image(disk(&[(20, 1); 12]));
    let mut object = Vec::new();
    let plan = planned(image.as_ref(), 1);
    let cancel = CancelToken::new();
    to_zvhd2(
        image.as_ref(),
        &plan,
        IDENTITY,
        &mut object,
        &VoidMonitor,
        &cancel,
    )
    .unwrap();
    Sink::copy(&mut object, 0, 10).unwrap_err();
}
