//! Damage, word by word and by chance: an error or the right disk, and never slow.

use diskimg::Format;
use testkit::damage::{spliced, words};
use testkit::hostile::{Effort, Sparse, hold, seed};
use testkit::vmdk::{Craft, descriptor};

use crate::disk;

/// A small disk in each layout.
fn crafts() -> Vec<Vec<u8>> {
    let disk = disk(8 * 20 + 3, 1);
    let sparse = Craft::sparse(&disk);
    let zeros = Craft {
        zeros: vec![5, 6],
        copy: false,
        ..sparse.clone()
    };
    let stream = Craft {
        footer: false,
        ..Craft::stream(&disk)
    };
    [sparse, zeros, stream, Craft::stream(&disk)]
        .iter()
        .map(|craft| craft.make().bytes)
        .collect()
}

#[test]
fn every_word_of_every_structure_may_be_anything() {
    for bytes in crafts() {
        // The header, and from the end of the descriptor on the beginning of what a page holds.
        let cases = words(Format::Vmdk, &seed(&bytes), &[], |page| {
            0..if page.starts_with(b"KDMV") { 80 } else { 48 }
        });
        assert!(cases > 100, "{cases}");
    }
}

#[test]
fn halves_of_two_disks_are_no_disk_that_hurts() {
    let all = crafts();
    for head in &all {
        for tail in &all {
            spliced(Format::Vmdk, &seed(head), &seed(tail), &[]);
        }
    }
}

#[test]
fn chance_finds_nothing() {
    let mut rng = fastrand::Rng::with_seed(7);
    for bytes in crafts() {
        for _ in 0..60 {
            let mut damaged = bytes.clone();
            for _ in 0..rng.usize(1..6) {
                let at = rng.usize(..damaged.len());
                damaged[at] = rng.u8(..);
            }
            damaged.truncate(rng.usize(damaged.len() / 2..=damaged.len()));
            hold(
                Format::Vmdk,
                Sparse::parse(&seed(&damaged)[1..]),
                &[],
                Effort::QUICK,
            );
        }
    }
}

#[test]
fn directories_that_promise_the_largest_disk_take_no_time() {
    let disk = disk(64, 2);
    let made = Craft {
        copy: false,
        grain: 1,
        ..Craft::sparse(&disk)
    }
    .make();
    let mut bytes = made.bytes.clone();
    // 1 TiB in tables of 64 KiB, all of which lie in a hole, one behind the other.
    let tables = 1 << 20;
    bytes[12..20].copy_from_slice(&(128_u64 * tables).to_le_bytes());
    let text = testkit::vmdk::embedded("monolithicSparse", 128 * tables as usize);
    bytes[512..2048].fill(0);
    bytes[512..512 + text.len()].copy_from_slice(text.as_bytes());
    let end = (bytes.len() / 512) as u64;
    bytes[56..64].copy_from_slice(&end.to_le_bytes());
    let first = end as u32 + tables as u32 * 4 / 512;
    for table in 0..tables as u32 {
        bytes.extend((first + table).to_le_bytes());
    }
    let len = bytes.len() as u64 + tables * 512;
    let file = Sparse::parse(&seed(&bytes)[1..]).grown(len);
    hold(Format::Vmdk, file, &[], Effort::QUICK);
}

#[test]
fn descriptors_of_any_length_and_content_are_refused_at_once() {
    let line = "RW 1 FLAT \"x-f001.vmdk\" 0";
    let many = vec![line; 5000];
    let long = format!("RW 1 FLAT \"{}\" 0", "a".repeat(1 << 19));
    let texts = [
        descriptor("custom", &many, 1, None),
        descriptor("custom", &[&long], 1, None),
        descriptor(&"x".repeat(1 << 19), &[line], 1, None),
        format!("createType=\"custom\"\n{}", "x\n".repeat(400_000)),
        format!("createType=\"custom\"\n{}", "\u{1b}[2J\n".repeat(1000)),
        format!("createType=\"custom\"\n{}", "#".repeat(2 << 20)),
    ];
    for text in texts {
        let file = Sparse::parse(&seed(text.as_bytes())[1..]);
        hold(Format::Vmdk, file, &[], Effort::QUICK);
    }
}
