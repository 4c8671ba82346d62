//! Raw disks in parts: every byte in its place, zeros told apart, nothing read that is not stored.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{BLOCK, Fill as Stretch, MIB, TestDisk, any_disk, cases, plan};
use convert::bitmap::ZVHD2_SECTION;
use convert::delta::{BlockTable, Described, RAW};
use convert::parts::{Fill, Filled, Parted, Shape};
use convert::{
    CancelToken, Error, PartSink, SinkError, Target, VoidMonitor, count_parts, scan, to_parts,
};
use proptest::prelude::*;

/// Length and content; `None` for zeros.
type Part = (u64, Option<Vec<u8>>);

/// Keeps the parts.
#[derive(Default)]
struct Kept {
    parts: Mutex<BTreeMap<u32, Part>>,
    filled: AtomicU64,
    unchanged: Mutex<BTreeSet<u32>>,
    refuse: Option<u32>,
}

impl Kept {
    fn keep(&self, number: u32, len: u64, data: Option<Vec<u8>>) -> Result<(), SinkError> {
        if self.refuse == Some(number) {
            return Err("the sink is full".into());
        }
        let before = self.parts.lock().unwrap().insert(number, (len, data));
        assert!(before.is_none(), "part {number} came twice");
        Ok(())
    }

    fn content(&self) -> Vec<u8> {
        let parts = self.parts.lock().unwrap();
        assert!(parts.keys().copied().eq(1..=parts.len() as u32));
        parts
            .values()
            .flat_map(|(len, data)| data.clone().unwrap_or_else(|| vec![0; *len as usize]))
            .collect()
    }
}

impl PartSink for Kept {
    fn zeros(&self, number: u32, len: u64) -> Result<(), SinkError> {
        self.keep(number, len, None)
    }

    fn part(&self, number: u32, len: u64, fill: &mut Fill<'_>) -> convert::Result<()> {
        self.filled.fetch_add(1, Ordering::Relaxed);
        let mut buffer = vec![0; len as usize];
        let data = match fill(&mut buffer)? {
            Filled::Zeros => None,
            Filled::Data => Some(buffer),
            Filled::Unchanged => {
                self.unchanged.lock().unwrap().insert(number);
                Some(buffer)
            }
        };
        self.keep(number, len, data).map_err(Error::Sink)
    }
}

fn shape(part_size: u64) -> Shape<'static> {
    Shape {
        part_size,
        layout: ZVHD2_SECTION,
        base: None,
    }
}

proptest! {
    #![proptest_config(cases(32))]

    #[test]
    fn parts_are_the_disk_and_carry_its_digest_and_bitmap(
        stretches in any_disk(),
        threads in 1..4_usize,
        blocks in 1..4_u64,
    ) {
        let disk = TestDisk::new(&stretches);
        let sink = Kept::default();
        let cancel = CancelToken::new();
        let shape = shape(blocks * BLOCK);
        let plan = plan(&disk, Target::Raw, threads);
        let Parted { report, bitmap, .. } =
            to_parts(&disk, &plan, &shape, &sink, &VoidMonitor, &cancel).unwrap();
        prop_assert!(sink.content() == disk.all());
        prop_assert_eq!(report.digest, common::digest(&disk));
        prop_assert_eq!(report.read_bytes, disk.stored());
        let scanned = scan(&disk, ZVHD2_SECTION, 1, &VoidMonitor, &cancel).unwrap();
        prop_assert!(bitmap.compare(&scanned.bitmap).is_exact());
        // Zeros are told apart, whether the metadata says so or reading shows it.
        for (number, (_, data)) in sink.parts.lock().unwrap().iter() {
            if let Some(data) = data {
                prop_assert!(data.iter().any(|byte| *byte != 0), "part {}", number);
            }
        }
        let count = count_parts(&disk, blocks * BLOCK).unwrap();
        prop_assert_eq!(count.data_parts, sink.filled.into_inner());
        prop_assert_eq!(count.parts, sink.parts.lock().unwrap().len() as u64);
    }
}

/// The table of the raw object of `disk`.
fn table_of(disk: &TestDisk) -> BlockTable {
    let plan = plan(disk, Target::Raw, 2);
    let (sink, cancel) = (Kept::default(), CancelToken::new());
    let parted = to_parts(disk, &plan, &shape(BLOCK), &sink, &VoidMonitor, &cancel).unwrap();
    let size = parted.report.virtual_size;
    let of = Described {
        object_size: size,
        object_etag: "etag".into(),
        encoder: RAW.into(),
        virtual_size: size,
        digest: parted.report.digest,
    };
    BlockTable::decode(&parted.table.encode(&of).unwrap()).unwrap()
}

proptest! {
    #![proptest_config(cases(32))]

    #[test]
    fn parts_are_unchanged_if_all_of_their_blocks_are(
        stretches in any_disk(),
        others in any_disk(),
        blocks in 1..4_u64,
    ) {
        let (disk, other) = (TestDisk::new(&stretches), TestDisk::new(&others));
        for base in [&disk, &other] {
            let table = table_of(base);
            let shape = Shape { base: Some(&table), ..shape(blocks * BLOCK) };
            let sink = Kept::default();
            let plan = plan(&disk, Target::Raw, 2);
            to_parts(&disk, &plan, &shape, &sink, &VoidMonitor, &CancelToken::new()).unwrap();
            let (new, old) = (disk.all(), base.all());
            let size = usize::try_from(blocks * BLOCK).unwrap();
            let found = sink.unchanged.into_inner().unwrap();
            for (number, part) in (1..).zip(new.chunks(size)) {
                let start = (number as usize - 1) * size;
                // A last block that is as long as it was or is filled up with zeros is the same.
                let mut before = old.get(start..).unwrap_or_default().to_vec();
                before.resize(size, 0);
                let mut now = part.to_vec();
                now.resize(size, 0);
                let is_same = now == before && part.iter().any(|byte| *byte != 0);
                prop_assert_eq!(found.contains(&number), is_same, "part {}", number);
            }
        }
    }
}

#[test]
fn a_sink_that_refuses_and_a_disk_that_breaks_end_the_run_with_their_error() {
    let run = |disk: &TestDisk, sink: &Kept| {
        let plan = plan(disk, Target::Raw, 2);
        let cancel = CancelToken::new();
        to_parts(disk, &plan, &shape(BLOCK), sink, &VoidMonitor, &cancel).unwrap_err()
    };
    let full = Kept {
        refuse: Some(3),
        ..Kept::default()
    };
    let error = run(&TestDisk::random(20), &full);
    assert_eq!(error.to_string(), "the sink is full");
    let error = run(&TestDisk::random(20).failing_at_block(4), &Kept::default());
    assert!(error.to_string().contains("on purpose"), "{error}");
}

#[test]
fn part_sizes_that_would_cut_a_block_are_refused() {
    let disk = TestDisk::new(&[(MIB, Stretch::Text)]);
    for size in [0, 512, MIB, 3 * MIB] {
        assert!(count_parts(&disk, size).is_err(), "{size}");
    }
}
