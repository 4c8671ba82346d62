//! The seeds of the fuzz targets are the images that they are said to be.

use std::path::PathBuf;

use diskimg::{ErrorKind, Format};
use testkit::hostile::assert_seed;

use crate::craft::{Cluster, Craft, noise, put, text};
use crate::qcow2_snapshots::{of, with_table};
use crate::{open_bytes, qcow2_subclusters};

fn seed(format: Format, name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/seeds")
        .join(format.name())
        .join(name)
}

fn clusters(version: u32) -> Vec<Cluster> {
    vec![
        Cluster::Plain(noise(9, 1)),
        Cluster::Plain(text(9, 2)),
        Cluster::Packed(text(9, 3)),
        Cluster::Packed(text(9, 4)),
        Cluster::Hole,
        if version >= 3 {
            Cluster::Zero
        } else {
            Cluster::Hole
        },
        if version >= 3 {
            Cluster::ZeroAllocated
        } else {
            Cluster::Hole
        },
        Cluster::Plain(noise(9, 5)),
    ]
}

#[test]
fn the_seeds_of_qcow2_are_whole_images() {
    let plain = Craft::new(3, 9, clusters(3)).build();
    let zstd = Craft {
        zstd: true,
        ..Craft::new(3, 9, clusters(3))
    };
    // Two L2 tables, and a size that ends inside a sector.
    let mut long = clusters(2);
    long.resize(70, Cluster::Hole);
    let long = Craft {
        size: Some(70 * 512 - 100),
        ..Craft::new(2, 9, long)
    };
    let snapshots = [
        of(&plain, "1", "before", &[0, 2048]),
        of(&plain, "2", "after", &[77, 1024, 0]),
    ];
    let images = [
        ("version-3", plain.bytes.clone()),
        ("zstd", zstd.build().bytes),
        ("version-2", long.build().bytes),
        ("snapshots", with_table(&plain, &snapshots).0),
        ("subclusters", qcow2_subclusters::sample().0),
    ];
    for (name, bytes) in images {
        open_bytes(&bytes).unwrap();
        assert_seed(&seed(Format::Qcow2, name), &bytes);
    }
    let encrypted = plain.with(32, &2_u32.to_be_bytes());
    assert_eq!(
        open_bytes(&encrypted).err().map(|error| error.kind()),
        Some(ErrorKind::Unsupported)
    );
    assert_seed(&seed(Format::Qcow2, "encrypted"), &encrypted);
}

#[test]
fn the_seeds_of_raw_are_disks_of_every_kind() {
    let mut mbr = vec![0; 8192];
    put(
        &mut mbr,
        446,
        &[0x80, 0, 2, 0, 0x83, 0, 8, 0, 1, 0, 0, 0, 8],
    );
    put(&mut mbr, 510, &[0x55, 0xaa]);
    let mut gpt = vec![0; 64 << 10];
    put(&mut gpt, 446 + 4, &[0xee]);
    put(&mut gpt, 510, &[0x55, 0xaa]);
    put(&mut gpt, 512, b"EFI PART\0\0\x01\0\x5c\0\0\0");
    let mut iso = vec![0; 40 << 10];
    put(&mut iso, 0x8001, b"CD001");
    // qcow2 at the front, VHD at the end.
    let mut polyglot = Craft::new(3, 9, clusters(3)).build().bytes;
    polyglot.resize(polyglot.len().next_multiple_of(512), 0);
    polyglot.extend(b"conectix");
    polyglot.resize(polyglot.len() + 504, 0);
    for (name, bytes) in [
        ("mbr", mbr),
        ("gpt", gpt),
        ("iso", iso),
        ("polyglot", polyglot),
        ("text", b"# Disk DescriptorFile\nversion=1\n".to_vec()),
    ] {
        assert_seed(&seed(Format::Raw, name), &bytes);
    }
}
