//! Memory stays inside the bound that the plan states.
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

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use common::{BLOCK, IDENTITY, TestDisk, child, peak_memory};
use convert::{CancelToken, PlanOptions, Sink, SinkError, Target, VoidMonitor};
use diskimg::units::human;

/// Stands still for a while at its second write, so that the window fills up behind it.
struct Stalling(u32);

impl Sink for Stalling {
    fn write(&mut self, _: &[u8]) -> Result<(), SinkError> {
        self.0 += 1;
        if self.0 == 2 {
            std::thread::sleep(Duration::from_millis(500));
        }
        Ok(())
    }
}

#[test]
#[ignore = "run by memory_stays_inside_the_printed_bound as a child process"]
fn converting_child() {
    if !common::is_child() {
        return;
    }
    let value = |name| std::env::var(name).unwrap();
    let source = PathBuf::from(std::env::var_os("SOURCE").unwrap());
    let opened = convert::open(&source, None).unwrap();
    let image = opened.image.as_ref();
    let options = PlanOptions {
        threads: Some(value("THREADS").parse().unwrap()),
        level: value("LEVEL").parse().unwrap(),
        ..PlanOptions::default()
    };
    let plan = convert::plan(image, Target::Zvhd2, &options).unwrap();
    let before = peak_memory();
    let cancel = CancelToken::new();
    convert::to_zvhd2(
        image,
        &plan,
        IDENTITY,
        &mut Stalling(0),
        &VoidMonitor,
        &cancel,
    )
    .unwrap();
    let peak = peak_memory();
    let memory = plan.memory;
    println!(
        "{} before, {} at most, bound {}",
        human(before),
        human(peak),
        human(memory.total())
    );
    assert!(peak <= memory.total(), "{plan}");
    // What the run adds is inside the parts that are the run's own.
    assert!(peak - before <= memory.total() - memory.program, "{plan}");
    // And the bound is one that means something: the window really fills.
    assert!(peak - before >= memory.window / 2, "{plan}");
}

#[test]
fn memory_stays_inside_the_printed_bound() {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("disk.raw");
    let mut file = File::create(&source).unwrap();
    let content = TestDisk::random(24);
    for block in 0..24 {
        file.write_all(&content.content(block * BLOCK..(block + 1) * BLOCK))
            .unwrap();
    }
    for (threads, level) in [("1", "1"), ("4", "1"), ("2", "-7"), ("2", "9")] {
        let values = [
            ("SOURCE", source.as_os_str()),
            ("THREADS", threads.as_ref()),
            ("LEVEL", level.as_ref()),
        ];
        let output = child("converting_child", &values).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().find(|line| line.contains("bound"));
        println!(
            "{threads} threads, level {level}: {}",
            line.unwrap_or_default()
        );
        assert!(output.status.success(), "{output:?}");
    }
}
