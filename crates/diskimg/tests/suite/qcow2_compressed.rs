//! Compressed clusters: exactly one cluster each, or an error.

use std::io::Write;

use diskimg::{DiskImage, ErrorKind, GuestOffset};

use crate::craft::{Cluster, Craft, Crafted, deflate, noise, text};
use crate::sources::Recorded;
use crate::{assert_same, open_bytes, open_source, read, read_all, refused};

const BITS: u32 = 12;

/// An image of one compressed cluster that holds these stored bytes.
fn stored(zstd: bool, stored: Vec<u8>, content: &[u8]) -> Crafted {
    let cluster = Cluster::Stored {
        stored,
        content: content.to_vec(),
    };
    Craft {
        zstd,
        ..Craft::new(3, BITS, vec![cluster])
    }
    .build()
}

fn frame(content: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(content, 1).unwrap()
}

#[track_caller]
fn assert_reads(image: &Crafted) {
    let opened = open_bytes(&image.bytes).unwrap();
    assert_same(&read_all(&opened, 4096).unwrap(), &image.guest, "whole");
    assert_same(&read_all(&opened, 512).unwrap(), &image.guest, "in parts");
}

#[track_caller]
fn assert_fails(image: &Crafted, kind: ErrorKind, words: &str) {
    let opened = open_bytes(&image.bytes).unwrap();
    for len in [4096, 512] {
        let error = refused(read(&opened, 0, len));
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

/// `bytes` and enough behind them that the file does not end inside the last sector.
fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

#[test]
fn a_cluster_may_hold_several_zstd_frames_and_padding() {
    let content = text(BITS, 1);
    let (front, back) = content.split_at(1000);
    // A skippable frame of 3 bytes, and an empty one, between them.
    let skipped = [0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 9, 9, 9];
    let frames = [frame(front), skipped.to_vec(), frame(b""), frame(back)].concat();
    assert_reads(&stored(true, frames.clone(), &content));
    assert_reads(&stored(true, padded(frames.clone()), &content));
    assert_reads(&stored(true, [frames, vec![0xff; 600]].concat(), &content));
}

#[test]
fn a_frame_with_a_huge_window_and_no_size_is_read_without_allocating_the_window() {
    let content = noise(BITS, 2);
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_contentsize(false).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.window_log(27).unwrap();
    // Flushed in between, so that the window cannot be shrunk to the content.
    encoder.write_all(&content[..100]).unwrap();
    encoder.flush().unwrap();
    encoder.write_all(&content[100..]).unwrap();
    let frame = encoder.finish().unwrap();
    assert_eq!(frame[4] & 0x20, 0, "the frame is a streamed one");
    assert_reads(&stored(true, frame, &content));
}

#[test]
fn content_that_is_not_exactly_a_cluster_is_corrupt() {
    let content = text(BITS, 3);
    let long = [&content[..], b"x"].concat();
    let short = &content[1..];
    for (zstd, packed, words) in [
        (false, deflate(&long), "more than a cluster"),
        (false, deflate(short), "unpacks to 4095 bytes"),
        (true, frame(&long), "damaged"),
        (true, frame(short), "damaged"),
        (true, [frame(short), frame(b"xx")].concat(), "damaged"),
    ] {
        let image = stored(zstd, padded(packed), &content);
        assert_fails(&image, ErrorKind::Corrupt, words);
    }
}

#[test]
fn damaged_streams_are_corrupt() {
    let content = noise(BITS, 4);
    let mut checked = zstd::bulk::Compressor::new(1).unwrap();
    checked.include_checksum(true).unwrap();
    let mut frame = checked.compress(&content).unwrap();
    assert_reads(&stored(true, padded(frame.clone()), &content));
    frame[2000] ^= 1;
    assert_fails(
        &stored(true, padded(frame), &content),
        ErrorKind::Corrupt,
        "damaged",
    );

    let garbage = vec![0xff; 1024];
    assert_fails(
        &stored(false, garbage.clone(), &content),
        ErrorKind::Corrupt,
        "damaged",
    );
    assert_fails(
        &stored(true, garbage, &content),
        ErrorKind::Corrupt,
        "damaged",
    );
}

#[test]
fn the_last_sector_need_not_be_filled_up_but_the_stream_must_be_whole() {
    for zstd in [false, true] {
        let content = noise(BITS, 5);
        let packed = if zstd {
            frame(&content)
        } else {
            deflate(&content)
        };
        let image = stored(zstd, packed, &content);
        assert_reads(&image);
        for missing in [1, 2, 100, 3000] {
            let mut cut = image.clone();
            cut.bytes.truncate(image.bytes.len() - missing);
            assert_fails(&cut, ErrorKind::Truncated, "the file ends at");
        }
        let mut gone = image.clone();
        gone.bytes.truncate(image.stored[0].unwrap());
        assert_fails(&gone, ErrorKind::Truncated, "the file ends at");
    }
}

#[test]
fn neighbours_are_read_together() {
    for zstd in [false, true] {
        let clusters = (0..64)
            .map(|index| Cluster::Packed(text(16, index)))
            .collect();
        let craft = Craft {
            zstd,
            ..Craft::new(3, 16, clusters)
        };
        let image = craft.build();
        let source = Recorded::new(&image.bytes);
        let opened = open_source(source.clone()).unwrap();
        read(&opened, 0, 1).unwrap();
        source.take();
        let found = read(&opened, 0, image.guest.len()).unwrap();
        assert_same(&found, &image.guest, "all");
        assert_eq!(source.take().len(), 1, "one read for 64 clusters");
    }
}

#[test]
fn small_reads_of_one_cluster_unpack_it_once() {
    let clusters = vec![Cluster::Packed(text(21, 0)), Cluster::Packed(text(21, 1))];
    let image = Craft::new(3, 21, clusters).build();
    let source = Recorded::new(&image.bytes);
    let opened = open_source(source.clone()).unwrap();
    read(&opened, 0, 1).unwrap();
    source.take();
    for at in (0..2 << 20).step_by(64 << 10) {
        let mut piece = [0; 4096];
        opened.read_at(GuestOffset(at), &mut piece).unwrap();
        assert_eq!(piece[..], image.guest[at as usize..at as usize + 4096]);
    }
    assert_eq!(source.take(), []);
    // Another cluster takes its place, and is not mistaken for it.
    let at = 2 << 20;
    assert_eq!(
        read(&opened, at, 4096).unwrap(),
        image.guest[at as usize..][..4096]
    );
    assert_eq!(read(&opened, 0, 4096).unwrap(), image.guest[..4096]);
}

#[test]
fn incompressible_and_scattered_clusters_are_read_in_any_order() {
    // A deflate stream may be longer than its cluster; neighbours in the guest need not be
    // neighbours in the file.
    let mut clusters = Vec::new();
    for index in 0..40 {
        clusters.push(match index % 4 {
            0 => Cluster::Packed(noise(9, index)),
            1 => Cluster::Packed(text(9, index)),
            2 => Cluster::Plain(noise(9, index)),
            _ => Cluster::Packed(vec![0; 512]),
        });
    }
    let mut image = Craft::new(3, 9, clusters).build();
    // Swap the first and the last compressed cluster.
    let (first, last) = (image.l2_entries[0].unwrap(), image.l2_entries[39].unwrap());
    for byte in 0..8 {
        image.bytes.swap(first + byte, last + byte);
    }
    let (front, back) = image.guest.split_at_mut(39 * 512);
    front[..512].swap_with_slice(back);
    let opened = open_bytes(&image.bytes).unwrap();
    for piece in [512, 700, 4096, 1 << 20] {
        assert_same(
            &read_all(&opened, piece).unwrap(),
            &image.guest,
            "in any order",
        );
    }
}
