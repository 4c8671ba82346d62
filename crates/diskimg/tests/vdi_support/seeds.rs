//! The seeds of the fuzz target are the images that they are said to be.

use std::path::PathBuf;
use std::sync::Arc;

use diskimg::{BackingPolicy, MemorySource, OpenOptions, open_source};
use testkit::hostile::assert_seed;

use crate::craft::{Block, Craft, DIFFERENCING, FIXED};

fn seed(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/seeds/vdi")
        .join(name)
}

#[test]
fn the_seeds_of_vdi_are_whole_images() {
    let blocks = [Block::Noise, Block::Zeros, Block::Absent, Block::Noise];
    let dynamic = Craft::new(4096, &blocks);
    let extra = Craft {
        extra: 512,
        backwards: true,
        disk_size: 4 * 8192 - 700,
        ..Craft::new(8192, &blocks)
    };
    let fixed = Craft {
        kind: FIXED,
        ..Craft::new(1 << 20, &[Block::Noise; 2])
    };
    let differencing = Craft {
        kind: DIFFERENCING,
        parent: [7; 16],
        ..dynamic.clone()
    };
    for (name, craft) in [
        ("dynamic", dynamic),
        ("extra-bytes-backwards", extra),
        ("fixed", fixed),
        ("differencing", differencing),
    ] {
        let mut made = craft.make();
        // Mostly zeros: a description of the file stays small.
        let stride = craft.block_size + craft.extra;
        for block in made.bytes[made.data..].chunks_mut(stride) {
            block[craft.extra + 100..].fill(0);
        }
        let options = OpenOptions {
            backing: BackingPolicy::Describe,
            ..OpenOptions::default()
        };
        let source = Arc::new(MemorySource(made.bytes.clone()));
        let opened = open_source(source, &options, &[]).unwrap();
        let details = opened.image.details();
        let expected = name == "differencing";
        assert_eq!(!details.refers_to.is_empty(), expected, "{name}");
        assert_seed(&seed(name), &made.bytes);
    }
}
