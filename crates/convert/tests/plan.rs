//! What a plan says, and what it refuses.
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

use common::{BLOCK, Fill, MIB, TestDisk, any_disk};
use convert::{Error, Hint, Level, Plan, PlanOptions, SinkMemory, Target};
use diskimg::units::GIB;
use proptest::prelude::*;

fn options(threads: usize, memory: u64) -> PlanOptions {
    PlanOptions {
        threads: Some(threads),
        memory: Some(memory),
        ..PlanOptions::default()
    }
}

fn plan(disk: &TestDisk, options: &PlanOptions) -> Result<Plan, Error> {
    convert::plan(disk, Target::Zvhd2, options)
}

proptest! {
    #![proptest_config(common::cases(64))]

    #[test]
    fn data_is_counted_as_the_extents_say(parts in any_disk()) {
        let disk = TestDisk::new(&parts);
        let plan = plan(&disk, &PlanOptions::default()).unwrap();
        let mut at = 0;
        let mut blocks = std::collections::BTreeSet::new();
        for (len, fill) in parts {
            if !matches!(fill, Fill::Hole | Fill::Zero) {
                blocks.extend(at / BLOCK..(at + len).div_ceil(BLOCK));
            }
            at += len;
        }
        prop_assert_eq!(plan.data_bytes, disk.stored());
        prop_assert_eq!(plan.data_blocks, blocks.len() as u64);
        prop_assert_eq!(plan.total_blocks, at.div_ceil(BLOCK));
    }

    #[test]
    fn the_output_is_never_longer_than_planned(parts in any_disk()) {
        let disk = TestDisk::new(&parts);
        let plan = plan(&disk, &PlanOptions::default()).unwrap();
        let (file, _) = common::zvhd2(&disk, &plan);
        prop_assert!(file.len() as u64 <= plan.worst_case_bytes);
        prop_assert!(file.len() as u64 >= plan.least_output_bytes());
    }

    #[test]
    fn every_plan_fits_its_budget_or_is_refused(
        threads in 1..64_usize,
        budget in 0..1000_u64,
        image in 0..100_u64,
        least in 0..100_u64,
        enough in 0..100_u64,
        more in 0..100_u64,
        reserved in 0..100_u64,
        program in 0..100_u64,
        (level, auto) in (-7..=19_i32, any::<bool>()),
    ) {
        let mut disk = TestDisk::random(100);
        disk.memory = image * MIB;
        let options = PlanOptions {
            threads: Some(threads),
            memory: Some(budget * MIB),
            upload_memory: SinkMemory {
                least: least.min(enough) * MIB,
                enough: enough * MIB,
                most: (enough + more) * MIB,
            },
            reserved_memory: reserved * MIB,
            program_memory: program * MIB,
            level: if auto { Level::Auto } else { Level::Fixed(level) },
        };
        match plan(&disk, &options) {
            Ok(plan) => {
                prop_assert!(plan.memory.total() <= budget * MIB);
                prop_assert!((1..=threads).contains(&plan.threads));
                prop_assert!(plan.window > plan.threads);
                let lowered = plan.threads < threads || plan.window < full_window(plan.threads);
                prop_assert_eq!(lowered, !plan.notes.is_empty(), "{:?}", plan.notes);
                // Nothing that the sink could use is left over.
                let SinkMemory { least, most, .. } = options.upload_memory;
                prop_assert!((least..=most).contains(&plan.memory.sink));
                prop_assert!(plan.memory.sink == most || plan.memory.total() == budget * MIB);
                // What a note names lifts what it tells of.
                for note in &plan.notes {
                    let (_, named) = note.rsplit_once("need").unwrap();
                    let named = named.trim_start_matches("s").trim();
                    let named: u64 = named.strip_suffix(" MiB").unwrap().parse().unwrap();
                    prop_assert!(named > budget);
                    let lifted = PlanOptions { memory: Some(named * MIB), ..options.clone() };
                    let lifted = self::plan(&disk, &lifted).unwrap();
                    if note.contains("threads fit") {
                        prop_assert_eq!(lifted.threads, threads);
                    } else {
                        prop_assert!(lifted.window >= full_window(plan.threads), "{}", note);
                    }
                }
            }
            Err(error) => {
                // The hint names the smallest budget that works.
                let Some(Hint::GiveMemory(named)) = error.hint() else {
                    panic!("{error}");
                };
                let named = named.div_ceil(MIB);
                prop_assert!(named > budget);
                let enough = |memory| PlanOptions { memory: Some(memory), ..options.clone() };
                let plan = plan(&disk, &enough(named * MIB)).unwrap();
                prop_assert_eq!(plan.threads, 1);
                prop_assert!(self::plan(&disk, &enough((named - 1) * MIB)).is_err());
            }
        }
    }
}

/// The window of a disk of 100 blocks when memory does not matter: four blocks for each thread; two
/// groups more than threads; groups so small that each thread gets four.
fn full_window(threads: usize) -> usize {
    let group = [4, 2, 1]
        .into_iter()
        .find(|group| 4 * threads * group <= 100);
    (4 * threads).max((threads + 2) * group.unwrap_or(1))
}

#[test]
fn workers_that_compress_are_as_many_as_cores_and_others_one_more() {
    let disk = TestDisk::random(4096);
    let cores = std::thread::available_parallelism().unwrap().get();
    for level in [-5, 1, 3, 9] {
        let options = PlanOptions {
            level: Level::Fixed(level),
            memory: Some(64 * GIB),
            ..PlanOptions::default()
        };
        let compressing = plan(&disk, &options).unwrap();
        assert_eq!(compressing.threads, cores.min(1024), "level {level}");
        let raw = convert::plan(&disk, Target::Raw, &options).unwrap();
        assert_eq!(raw.threads, (cores + 1).min(1024));
    }
}

#[test]
fn threads_go_only_after_window_and_groups_have_shrunk() {
    let disk = TestDisk::random(100);
    let found = |memory| {
        let plan = plan(&disk, &options(4, memory)).unwrap();
        (plan.threads, plan.group, plan.window)
    };
    let full = plan(&disk, &options(4, GIB)).unwrap();
    assert_eq!((full.threads, full.group, full.window), (4, 4, 24));
    assert_eq!(found(full.memory.total() - 1), (4, 4, 23));
    let encoded = full.memory.window / 24;
    let narrow = full.memory.total() - 4 * encoded;
    assert_eq!(found(narrow), (4, 4, 20));
    assert_eq!(found(narrow - 1), (4, 2, 16));
    // Of each worker one block, and a window of five.
    let least = full.memory.total() - 4 * 3 * BLOCK - 19 * encoded;
    let tight = plan(&disk, &options(4, least)).unwrap();
    assert_eq!((tight.threads, tight.group, tight.window), (4, 1, 5));
    let fewer = plan(&disk, &options(4, least - 1)).unwrap();
    assert_eq!(fewer.threads, 3);
    assert!(
        fewer.notes[0].contains("3 of 4 threads"),
        "{:?}",
        fewer.notes
    );
}

#[test]
fn a_small_disk_gets_no_idle_threads() {
    let disk = TestDisk::new(&[(3 * BLOCK, Fill::Text), (GIB, Fill::Hole)]);
    assert_eq!(plan(&disk, &options(8, GIB)).unwrap().threads, 3);
    let empty = TestDisk::new(&[(GIB, Fill::Hole)]);
    assert_eq!(plan(&empty, &options(8, GIB)).unwrap().threads, 1);
}

#[test]
fn options_out_of_range_are_refused_with_the_range() {
    let disk = TestDisk::random(1);
    for threads in [0, 1025] {
        let error = plan(&disk, &options(threads, GIB)).unwrap_err();
        assert!(error.to_string().contains("1 to 1024"), "{error}");
    }
    for level in [-8, 20] {
        let options = PlanOptions {
            level: Level::Fixed(level),
            ..PlanOptions::default()
        };
        let error = plan(&disk, &options).unwrap_err();
        assert!(error.to_string().contains("-7 to 19"), "{error}");
        // Raw has no level to be wrong.
        convert::plan(&disk, Target::Raw, &options).unwrap();
    }
}

#[test]
fn a_disk_of_many_tebibytes_is_planned_by_its_extents() {
    let disk = TestDisk::new(&[
        (MIB, Fill::Text),
        (20 << 40, Fill::Hole),
        (5 * MIB, Fill::Random(0)),
        (7 << 40, Fill::Zero),
    ]);
    let plan = plan(&disk, &PlanOptions::default()).unwrap();
    assert_eq!((plan.data_bytes, plan.data_blocks), (6 * MIB, 4));
    assert!(plan.worst_case_bytes < 20 * MIB, "{plan}");
    assert!(disk.reads.lock().unwrap().is_empty());
}

#[test]
fn a_plan_reads_well_and_serializes() {
    let disk = TestDisk::new(&[(5 * MIB, Fill::Text), (GIB - 5 * MIB, Fill::Hole)]);
    let mut options = options(2, GIB);
    options.upload_memory = SinkMemory::fixed(64 * MIB);
    let plan = plan(&disk, &options).unwrap();
    let text = plan.to_string();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines[0],
        "source  raw, virtual size 1 GiB, 5 MiB of data in 3 of 512 blocks"
    );
    assert!(lines[1].starts_with("target  zvhd2, at most 6.5"), "{text}");
    assert_eq!(
        lines[2],
        "work    2 threads, zstd level 1, window of 8 blocks"
    );
    assert!(lines[3].contains(" of 1 GiB: workers "), "{text}");
    assert!(lines[3].contains(", sink 64 MiB, "), "{text}");

    let json = serde_json::to_value(&plan).unwrap();
    assert_eq!(json["target"], "zvhd2");
    assert_eq!(json["source_format"], "raw");
    assert_eq!(json["memory"]["sink"], 64 * MIB);
    assert_eq!(json["data_blocks"], 3);

    let raw = convert::plan(&disk, Target::Raw, &options).unwrap();
    assert_eq!((raw.level, raw.memory.window), (None, 0));
    assert!(
        raw.to_string()
            .contains("target  raw, 1 GiB long, at most 5 MiB on disk")
    );
    assert_eq!(raw.least_output_bytes(), 5 * MIB);
}

#[test]
fn a_plan_of_auto_counts_the_contexts_of_its_highest_level_for_every_worker() {
    let disk = TestDisk::random(100);
    let at = |level| {
        let options = PlanOptions {
            level,
            ..options(3, GIB)
        };
        plan(&disk, &options).unwrap()
    };
    let (auto, one) = (at(Level::Auto), at(Level::Fixed(1)));
    let highest = convert::AUTO_LEVELS.map(Level::Fixed).map(at);
    let most = highest.iter().map(|plan| plan.memory.workers).max();
    assert_eq!(Some(auto.memory.workers), most);
    assert!(auto.memory.workers > one.memory.workers);
    // And the blocks that are made again, each at its own level.
    assert!(auto.memory.index > one.memory.index);
    assert!(
        auto.to_string()
            .contains("zstd level auto (1 to 6), window of")
    );
    let json = serde_json::to_value(&auto).unwrap();
    assert_eq!(json["level"], "auto");
    assert_eq!(serde_json::to_value(&one).unwrap()["level"], 1);
}
