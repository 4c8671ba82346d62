//! What reading promises of cost and shape, on images made by hand.

use std::ops::Range;
use std::time::Duration;

use diskimg::{DiskImage, DiskImageExt, ErrorKind, Extent, ExtentKind, GuestOffset};
use testkit::measure::cpu_time;

use crate::craft::{Cluster, Craft, mixed, noise, put};
use crate::sources::Recorded;
use crate::vast::Vast;
use crate::{assert_gaps_are_zero, assert_same, extents, open_bytes, open_source, read, read_all};
use crate::{refused, total};

#[test]
fn every_kind_of_cluster_reads_right_at_any_offset_and_length() {
    for version in [2, 3] {
        for (bits, zstd) in [(9, false), (9, true), (12, false), (12, true)] {
            if version == 2 && zstd {
                continue;
            }
            let image = mixed(version, bits, zstd);
            let opened = open_bytes(&image.bytes).unwrap();
            assert_gaps_are_zero(&extents(&opened).unwrap(), &image.guest);
            let mut rng = fastrand::Rng::with_seed(11);
            for _ in 0..500 {
                let at = rng.usize(..image.guest.len());
                let len = rng.usize(..=(image.guest.len() - at).min(40_000));
                let found = read(&opened, at as u64, len).unwrap();
                assert_same(&found, &image.guest[at..at + len], "random range");
            }
        }
    }
}

#[test]
fn extents_say_what_each_cluster_is() {
    let image = mixed(3, 9, false);
    let opened = open_bytes(&image.bytes).unwrap();
    let found: Vec<_> = extents(&opened)
        .unwrap()
        .iter()
        .take(5)
        .map(|extent| (extent.start.0 / 512, extent.len / 512, extent.kind))
        .collect();
    // Two plain and two compressed; a zero cluster without and one with offset; and so on.
    assert_eq!(
        found,
        [
            (0, 4, ExtentKind::Data),
            (4, 2, ExtentKind::Zero),
            (6, 1, ExtentKind::Data),
            (7, 1, ExtentKind::Hole),
            (8, 1, ExtentKind::Data),
        ]
    );
    let joined = opened.extent_at(GuestOffset(0), u64::MAX).unwrap();
    assert_eq!(joined.len, 4 * 512, "one answer, not one for each cluster");
    let inside = opened.extent_at(GuestOffset(700), 100).unwrap();
    assert_eq!((inside.start.0, inside.len), (700, 100));
}

#[test]
fn ranges_outside_the_disk_are_refused() {
    let image = mixed(3, 9, false);
    let opened = open_bytes(&image.bytes).unwrap();
    let size = opened.virtual_size();
    for (at, len) in [(size, 1), (size - 1, 2), (u64::MAX, 1)] {
        let error = refused(read(&opened, at, len));
        assert_eq!(error.kind(), ErrorKind::OutOfRange);
    }
    assert!(read(&opened, size, 0).unwrap().is_empty());
    for (at, limit) in [(size, 1), (u64::MAX, u64::MAX), (0, 0)] {
        let error = refused(opened.extent_at(GuestOffset(at), limit));
        assert_eq!(error.kind(), ErrorKind::OutOfRange);
    }
}

#[test]
fn holes_and_zero_clusters_are_never_read() {
    let image = mixed(3, 12, false);
    let source = Recorded::new(&image.bytes);
    let opened = open_source(source.clone()).unwrap();
    let found = extents(&opened).unwrap();
    let tables = source.take();
    for extent in found
        .iter()
        .filter(|extent| extent.kind != ExtentKind::Data)
    {
        read(&opened, extent.start.0, extent.len as usize).unwrap();
    }
    assert_eq!(source.take(), [], "reading zeros reads nothing");
    let first = image.stored.iter().flatten().min().unwrap();
    let touched = |reads: &[Range<u64>]| reads.iter().any(|read| read.end > *first as u64);
    assert!(!touched(&tables), "extents read no guest data");

    let mut bytes = 0;
    for extent in found
        .iter()
        .filter(|extent| extent.kind == ExtentKind::Data)
    {
        read(&opened, extent.start.0, extent.len as usize).unwrap();
    }
    for read in source.take() {
        bytes += read.end - read.start;
    }
    // Compressed clusters are read in whole sectors, neighbours of which overlap.
    let stored = (image.bytes.len() - first) as u64;
    assert!(bytes <= stored + 21 * 512, "{bytes} bytes read of {stored}");
}

#[test]
fn clusters_that_follow_one_another_are_one_read() {
    // Across the end of an L2 table, too: 64 clusters of 512 bytes are one table.
    let clusters = (0..256)
        .map(|index| Cluster::Plain(noise(9, index)))
        .collect();
    let image = Craft::new(3, 9, clusters).build();
    let source = Recorded::new(&image.bytes);
    let opened = open_source(source.clone()).unwrap();
    extents(&opened).unwrap();
    source.take();
    let found = read(&opened, 100, image.guest.len() - 200).unwrap();
    assert_same(&found, &image.guest[100..image.guest.len() - 100], "all");
    assert_eq!(source.take().len(), 1);
}

#[test]
fn clusters_that_were_never_written_are_holes_of_the_file() {
    let clusters = (0..32).map(|_| Cluster::Plain(vec![0; 4096])).collect();
    let image = Craft::new(3, 12, clusters).build();
    let host = image.stored[0].unwrap() as u64;
    let mut source = Recorded::new(&image.bytes);
    source.holes = vec![
        host + 4096..host + 3 * 4096,
        host + 5 * 4096 + 100..u64::MAX,
    ];
    let opened = open_source(source).unwrap();
    let found: Vec<_> = extents(&opened)
        .unwrap()
        .iter()
        .map(|extent| (extent.start.0, extent.kind))
        .collect();
    assert_eq!(
        found,
        [
            (0, ExtentKind::Data),
            (4096, ExtentKind::Hole),
            (3 * 4096, ExtentKind::Data),
            (5 * 4096 + 100, ExtentKind::Hole),
        ]
    );
}

#[test]
fn data_behind_a_hole_of_the_file_is_not_joined_across_it() {
    let clusters = vec![
        Cluster::Plain(vec![0; 4096]),
        Cluster::Plain(vec![0; 4096]),
        Cluster::Packed(noise(12, 1)),
    ];
    let image = Craft::new(3, 12, clusters).build();
    let host = image.stored[0].unwrap() as u64;
    let mut source = Recorded::new(&image.bytes);
    source.holes = std::iter::once(host + 4096..host + 8192).collect();
    let opened = open_source(source).unwrap();
    let found: Vec<_> = extents(&opened)
        .unwrap()
        .iter()
        .map(|extent| (extent.len, extent.kind))
        .collect();
    assert_eq!(
        found,
        [
            (4096, ExtentKind::Data),
            (4096, ExtentKind::Hole),
            (4096, ExtentKind::Data),
        ]
    );
}

#[test]
fn a_size_that_is_no_multiple_of_512_is_filled_up_with_zeros() {
    // The stored cluster goes on behind the declared size; the guest must not see it.
    for what in [Cluster::Plain(noise(12, 1)), Cluster::Packed(noise(12, 1))] {
        let mut image = Craft::new(3, 12, vec![Cluster::Hole, what]).build();
        put(&mut image.bytes, 24, &5000_u64.to_be_bytes());
        let opened = open_bytes(&image.bytes).unwrap();
        assert_eq!(opened.virtual_size(), 5120);
        let mut expected = image.guest[..5000].to_vec();
        expected.resize(5120, 0);
        assert_same(&read_all(&opened, 5120).unwrap(), &expected, "whole");
        assert_same(&read_all(&opened, 999).unwrap(), &expected, "in parts");
        let found = extents(&opened).unwrap();
        assert_eq!(found.last().unwrap().start.0, 5000);
        assert_eq!(found.last().unwrap().kind, ExtentKind::Hole);
        assert!(opened.details().warnings[0].contains("5000"));
    }
}

#[test]
fn a_last_cluster_that_is_cut_behind_the_end_of_the_disk_is_whole() {
    let clusters = vec![Cluster::Plain(noise(12, 1)), Cluster::Plain(noise(12, 2))];
    let mut craft = Craft::new(3, 12, clusters);
    craft.size = Some(4096 + 512);
    let mut image = craft.build();
    image.bytes.truncate(image.stored[1].unwrap() + 512);
    let opened = open_bytes(&image.bytes).unwrap();
    assert_same(&read_all(&opened, 1 << 20).unwrap(), &image.guest, "disk");
    assert_eq!(total(&extents(&opened).unwrap(), ExtentKind::Data), 4608);

    image.bytes.pop();
    let opened = open_bytes(&image.bytes).unwrap();
    let error = refused(read_all(&opened, 1 << 20));
    assert_eq!(error.kind(), ErrorKind::Truncated);
    refused(extents(&opened));
}

/// Processor time: many times what a walk takes, and a small part of what steps of one cluster
/// would.
const PATIENCE: Duration = Duration::from_secs(1);

/// All extents of a disk, which may be far too large to read.
fn walk(image: &dyn DiskImage) -> Vec<Extent> {
    image.all_extents().map(|extent| extent.unwrap()).collect()
}

#[test]
fn an_empty_disk_of_64_tib_is_walked_in_no_time() {
    let opened = open_source(Vast::new(16, 64 << 40, 1 << 30, |_| 0)).unwrap();
    let start = cpu_time();
    let found = walk(&opened);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].len, found[0].kind), (64 << 40, ExtentKind::Hole));
    let question = opened.extent_at(GuestOffset(12345), 2 << 20).unwrap();
    assert_eq!(question.len, 2 << 20);
    let took = cpu_time() - start;
    assert!(took < PATIENCE, "{took:?}");
}

#[test]
fn the_cost_of_tiny_clusters_follows_the_tables_that_are_there() {
    // 128 GiB of 512-byte clusters: 4 Mi L1 entries, of which one in 65536 has a table.
    let l1 = |index: u64| match index % 65_536 {
        0 => ((64 << 20) + (index / 65_536) * 512) | (1 << 63),
        _ => 0,
    };
    let opened = open_source(Vast::new(9, 128 << 30, 1 << 30, l1)).unwrap();
    let start = cpu_time();
    let found = walk(&opened);
    assert_eq!(found.len(), 1, "the tables are empty");
    let took = cpu_time() - start;
    assert!(took < PATIENCE, "{took:?}");
}
