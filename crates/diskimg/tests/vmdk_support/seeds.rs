//! The seeds of the fuzz target are the images that they are said to be.

use std::path::PathBuf;

use testkit::hostile::assert_seed;
use testkit::vmdk::{Craft, descriptor};

use crate::{open, read_all};

fn seed(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/seeds/vmdk")
        .join(name)
}

#[test]
fn the_seeds_of_vmdk_are_whole_images() {
    // Little content: what matters is what leads to it.
    let mut disk = vec![0; (8 * 6 + 3) * 512];
    for grain in [0, 1, 3, 6] {
        disk[grain * 4096 + 5] = 1 + grain as u8;
    }
    let zeros = Craft {
        zeros: vec![1],
        copy: false,
        ..Craft::sparse(&disk)
    };
    // The grain that is said to be zeros is not the disk's any more.
    let mut zeroed = disk.clone();
    zeroed[8 * 512..16 * 512].fill(0);
    for (name, craft, expected) in [
        ("sparse", Craft::sparse(&disk), &disk),
        ("zeros", zeros, &zeroed),
        ("stream", Craft::stream(&disk), &disk),
        (
            "front",
            Craft {
                footer: false,
                copy: true,
                ..Craft::stream(&disk)
            },
            &disk,
        ),
    ] {
        let made = craft.make();
        assert!(
            read_all(&open(&made.bytes).unwrap()).unwrap() == *expected,
            "{name}"
        );
        assert_seed(&seed(name), &made.bytes);
    }
    let lines = [
        "RW 8 FLAT \"a-flat.vmdk\" 0",
        "RW 8 SESPARSE \"a-sesparse.vmdk\"",
        "RW 4 ZERO",
    ];
    let text = descriptor("custom", &lines, 7, Some((8, "/vmfs/volumes/x/b.vmdk")));
    assert_seed(&seed("descriptor"), text.as_bytes());
}
