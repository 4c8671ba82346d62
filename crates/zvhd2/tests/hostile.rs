//! Files that nobody should write, as ZVHD and ZVHD2: the seeds of the fuzz targets, and what these
//! found.
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

use std::path::{Path, PathBuf};

use common::{Crafted, open, open_v1, zlib};
use diskimg::Format;
use testkit::hostile::{assert_seed, replay};
use zvhd2::{BLOCK_SIZE, DRIVERS};

fn fuzz(part: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz")
        .join(part)
}

#[test]
fn the_seeds_of_zvhd_and_zvhd2_are_whole_images() {
    let vendor = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/zvhd2");
        std::fs::read(path.join(name)).unwrap()
    };
    let mut content = vec![0; BLOCK_SIZE];
    content[..100].fill(7);
    let full_index = Crafted {
        block_size: BLOCK_SIZE as u32,
        virtual_size: 3 * BLOCK_SIZE as u64 + 1024,
        zstd: false,
        full_index: true,
        payloads: vec![(0, zlib(&content, false)), (2, zlib(&content, true))],
        padding: 0x77,
    };
    for (name, file) in [
        ("zstd", vendor("tiny.zvhd2")),
        ("zlib", vendor("tiny-zlib.zvhd2")),
        ("empty", vendor("empty.zvhd2")),
        ("full-index", full_index.build()),
    ] {
        open(file.clone()).unwrap();
        assert_seed(&fuzz("seeds/zvhd2").join(name), &file);
    }
    let file = vendor("tiny.zvhd");
    open_v1(file.clone()).unwrap();
    assert_seed(&fuzz("seeds/zvhd/tiny"), &file);
}

#[test]
fn seeds_and_what_fuzzing_found_hold_for_zvhd_and_zvhd2() {
    for format in [Format::Zvhd, Format::Zvhd2] {
        let directories = ["seeds", "regressions"].map(|part| fuzz(part).join(format.name()));
        let count = replay(
            format,
            &directories.each_ref().map(PathBuf::as_path),
            &DRIVERS,
        );
        assert!(count >= 1, "{format}");
    }
}

#[test]
fn zvhd2_images_conform() {
    let (file, guest) = common::small();
    testkit::conformance(&open(file).unwrap(), &guest);
    for full_index in [false, true] {
        let mut guest = vec![0; 3 * BLOCK_SIZE + 1024];
        let mut payloads = Vec::new();
        for number in [1_u32, 3] {
            let start = number as usize * BLOCK_SIZE;
            let end = (start + BLOCK_SIZE).min(guest.len());
            guest[start..end].copy_from_slice(&common::noise(number.into(), end - start));
            let mut content = guest[start..end].to_vec();
            content.resize(BLOCK_SIZE, 0);
            payloads.push((number, zlib(&content, false)));
        }
        let file = Crafted {
            block_size: BLOCK_SIZE as u32,
            virtual_size: guest.len() as u64,
            zstd: false,
            full_index,
            payloads,
            padding: 0,
        }
        .build();
        testkit::conformance(&open(file).unwrap(), &guest);
    }
}
