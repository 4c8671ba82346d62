//! The seeds of the fuzz target are the images that they are said to be.

use std::path::PathBuf;
use std::sync::Arc;

use diskimg::{BackingPolicy, MemorySource, OpenOptions};
use testkit::hostile::assert_seed;

use crate::craft::{Block, Craft};
use crate::open;
use crate::parents::{ID, differencing, utf16};

fn seed(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/seeds/vhd")
        .join(name)
}

#[test]
fn the_seeds_of_vhd_are_whole_images() {
    let block = |value: u8| {
        let mut block = vec![0; 4096];
        block[..300].fill(value);
        block
    };
    let written = [true, false, true, true, false, false, false, true].to_vec();
    let blocks = vec![
        Block::Full(block(1)),
        Block::Hole,
        Block::Partial(block(2), written),
        Block::Full(block(3)),
    ];
    let craft = Craft::new(4096, blocks);
    let backwards = Craft {
        backwards: true,
        size: 4 * 4096 - 700,
        ..craft.clone()
    };
    for (name, bytes) in [
        ("dynamic", craft.dynamic().bytes),
        ("backwards", backwards.dynamic().bytes),
        ("fixed", craft.fixed(&block(9).repeat(4))),
    ] {
        open(&bytes).unwrap();
        assert_seed(&seed(name), &bytes);
    }
    let bytes = differencing(&craft.dynamic(), ID, &[(b"W2ru", utf16(".\\base.vhd"))]);
    let options = OpenOptions {
        backing: BackingPolicy::Describe,
        ..OpenOptions::default()
    };
    let source = Arc::new(MemorySource(bytes.clone()));
    let opened = diskimg::open_source(source, &options, &[]).unwrap();
    assert_eq!(opened.image.details().refers_to[0].name, ".\\base.vhd");
    assert_seed(&seed("differencing"), &bytes);
}
