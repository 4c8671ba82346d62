//! The seeds of the fuzz target are the images that they are said to be.

use std::path::PathBuf;
use std::sync::Arc;

use diskimg::{BackingPolicy, MemorySource, OpenOptions};
use testkit::hostile::assert_seed;

use crate::craft::{
    BAT, Craft, Entry, FULLY_PRESENT, LOG_GUID, MIB, NOT_PRESENT, PAYLOAD, UNMAPPED, Write, ZERO,
    log, mark_dirty,
};
use crate::open;
use crate::parents::{self, LINKAGE, STATES, differencing};

fn seed(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/seeds/vhdx")
        .join(name)
}

/// A disk with a block in each state, whose content is mostly zeros.
fn clean(sector_size: u32) -> Vec<u8> {
    let craft = Craft {
        sector_size,
        ..Craft::new(&[FULLY_PRESENT, NOT_PRESENT, ZERO, UNMAPPED, FULLY_PRESENT])
    };
    let mut bytes = craft.make().bytes;
    for block in bytes[PAYLOAD..].chunks_mut(MIB) {
        block[100..].fill(0);
    }
    bytes
}

#[test]
fn the_seeds_of_vhdx_are_whole_images() {
    let mut dirty = clean(512);
    let mut sector = dirty[BAT..BAT + 4096].to_vec();
    sector[8] = ZERO as u8;
    let writes = vec![
        Write::Data(BAT as u64, sector),
        Write::Zeros(PAYLOAD as u64 + 4096, 8192),
    ];
    let first = Entry::new(3, 0, dirty.len(), writes);
    let second = Entry::new(4, 0, dirty.len(), vec![Write::Zeros(PAYLOAD as u64, 4096)]);
    let at = log(&mut dirty, 0, &first.bytes());
    log(&mut dirty, at, &second.bytes());
    mark_dirty(&mut dirty, LOG_GUID);
    for (name, bytes) in [
        ("clean", clean(512)),
        ("sectors-of-4096", clean(4096)),
        ("log", dirty),
    ] {
        open(&bytes).unwrap();
        assert_seed(&seed(name), &bytes);
    }
    let pairs = [
        ("parent_linkage", LINKAGE),
        ("relative_path", r".\base.vhdx"),
    ];
    let (mut bytes, _) = differencing(&parents::craft(512, &STATES), &pairs, &[]);
    for block in bytes[PAYLOAD..].chunks_mut(MIB).take(STATES.len()) {
        block[100..].fill(0);
    }
    let options = OpenOptions {
        backing: BackingPolicy::Describe,
        ..OpenOptions::default()
    };
    let source = Arc::new(MemorySource(bytes.clone()));
    let opened = diskimg::open_source(source, &options, &[]).unwrap();
    assert_eq!(opened.image.details().refers_to[0].name, r".\base.vhdx");
    assert_seed(&seed("differencing"), &bytes);
}
