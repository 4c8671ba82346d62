//! Damaged files: refused, or read right; never a crash, a hang or other bytes than the file's.

use std::sync::Arc;
use std::time::Duration;

use diskimg::{DiskImage, MemorySource, VdiImage};
use testkit::hostile::{Effort, survey};
use testkit::measure::cpu_time;

use crate::craft::{Block, Craft, MAP, Made};
use crate::{open, read_all};

fn disk() -> Made {
    let blocks = [Block::Noise, Block::Absent, Block::Zeros, Block::Noise];
    Craft {
        disk_size: 4 * 4096 - 512,
        ..Craft::new(4096, &blocks)
    }
    .make()
}

fn examine(bytes: &[u8]) {
    let opened = VdiImage::open(Arc::new(MemorySource(bytes.to_vec())));
    survey(
        opened.map(|image| Box::new(image) as Box<dyn DiskImage>),
        Effort::THOROUGH,
    );
}

#[test]
fn every_field_set_to_every_awkward_value_is_refused_or_read_right() {
    let made = disk();
    let file_len = made.bytes.len() as u32;
    for at in (0x40..0x54).chain(0x154..MAP + 16).step_by(4) {
        let stored = u32::from_le_bytes(made.bytes[at..at + 4].try_into().unwrap());
        for value in [
            0,
            1,
            u32::MAX,
            u32::MAX - 1,
            u32::MAX - 2,
            u32::MAX / 2,
            stored.wrapping_add(1),
            stored.wrapping_sub(1),
            stored << 1,
            stored >> 1,
            file_len,
            file_len - 1,
        ] {
            let mut bytes = made.bytes.clone();
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
            let started = cpu_time();
            examine(&bytes);
            let took = cpu_time() - started;
            assert!(
                took < Duration::from_secs(2),
                "{at:#x} {value:#x}: {took:?}"
            );
        }
    }
}

#[test]
fn files_cut_off_anywhere_are_refused_or_whole() {
    let made = disk();
    // The last sector of the last block is not on the disk.
    let needed = made.bytes.len() - 512;
    for len in (0..made.bytes.len())
        .step_by(97)
        .chain([needed - 1, needed])
    {
        let bytes = &made.bytes[..len];
        match open(bytes) {
            Ok(image) => {
                assert!(len >= needed, "{len}");
                assert!(read_all(&image, 4096).unwrap() == made.guest);
            }
            Err(_) => assert!(len < needed, "{len}"),
        }
        examine(bytes);
    }
}

#[test]
fn bytes_by_chance_behind_a_header_are_refused_or_consistent() {
    let made = disk();
    for seed in 0..2000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut bytes = made.bytes.clone();
        for _ in 0..rng.usize(1..6) {
            let at = rng.usize(0x40..MAP + 16);
            bytes[at] = rng.u8(..);
        }
        examine(&bytes);
    }
}
