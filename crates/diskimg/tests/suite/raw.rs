//! Raw disks.

use std::sync::Arc;

use diskimg::RawImage;
use diskimg::{DiskImage, ErrorKind, ExtentKind, Format, MemorySource, OpenOptions};
use tempfile::NamedTempFile;
use testkit::content::{Content, Kind};

use crate::sources::Recorded;
use crate::{assert_gaps_are_zero, assert_same, extents, read, read_all, refused, total};

const RAW: OpenOptions = OpenOptions::of(Some(Format::Raw));

#[test]
fn holes_of_the_file_are_holes_of_the_disk() {
    let content = Content::new(9, 4 << 20, 64 << 10, 512 << 10);
    let file = NamedTempFile::new().unwrap();
    content.write_sparse(file.path()).unwrap();
    let opened = diskimg::open(file.path(), &RAW, &[]).unwrap();
    let image = opened.image.as_ref();
    assert_same(&read_all(image, 300_000).unwrap(), &content.bytes, "disk");
    let found = extents(image).unwrap();
    assert_gaps_are_zero(&found, &content.bytes);
    let written: u64 = content
        .stretches
        .iter()
        .filter(|stretch| stretch.kind != Kind::Hole)
        .map(|stretch| stretch.len)
        .sum();
    let data = total(&found, ExtentKind::Data);
    assert!(data >= written);
    // Where the file system knows holes at all, it knows these: they are 64 KiB and more.
    if opened.bytes_on_disk < opened.file_len {
        assert_eq!(data, written);
    }
}

#[test]
fn holes_are_never_read_if_only_data_is_asked_for() {
    let mut source = Recorded::new(&[7; 64 << 10]);
    source.holes = vec![4096..20_000, 40_000..50_000];
    let image = RawImage::open(Arc::new(source.clone())).unwrap();
    for extent in extents(&image).unwrap() {
        if extent.kind == ExtentKind::Data {
            read(&image, extent.start.0, extent.len as usize).unwrap();
        }
    }
    assert_eq!(source.take(), [0..4096, 20_000..40_000, 50_000..64 << 10]);
}

#[test]
fn an_odd_length_is_filled_up_with_zeros_and_warned_about() {
    for len in [1, 511, 513, 70_001] {
        let content = vec![0x77; len];
        let image = RawImage::open(Arc::new(MemorySource(content.clone()))).unwrap();
        let size = len.next_multiple_of(512);
        assert_eq!(image.virtual_size(), size as u64);
        let mut expected = content;
        expected.resize(size, 0);
        assert_same(&read_all(&image, 1 << 20).unwrap(), &expected, "whole");
        assert_same(&read_all(&image, 100).unwrap(), &expected, "in parts");
        let found = extents(&image).unwrap();
        assert_eq!(total(&found, ExtentKind::Data), len as u64);
        assert!(image.details().warnings[0].contains(&len.to_string()));
    }
}

#[test]
fn ranges_outside_the_disk_are_refused() {
    let image = RawImage::open(Arc::new(MemorySource(vec![1; 1024]))).unwrap();
    for (at, len) in [(1024, 1), (1000, 25), (u64::MAX, 2)] {
        let error = refused(read(&image, at, len));
        assert_eq!(error.kind(), ErrorKind::OutOfRange);
    }
}

#[test]
fn an_empty_file_is_no_disk() {
    let file = NamedTempFile::new().unwrap();
    for options in [RAW, OpenOptions::default()] {
        let error = refused(diskimg::open(file.path(), &options, &[]));
        assert_eq!(error.kind(), ErrorKind::Truncated);
        assert!(error.to_string().contains("empty"));
    }
}

#[test]
fn a_check_tells_an_odd_length_and_content_that_is_another_format() {
    let check = |bytes: Vec<u8>| {
        let source: Arc<dyn diskimg::ReadAt> = Arc::new(MemorySource(bytes));
        let report = diskimg::check_source(&source, &RAW, &[], &|| false).unwrap();
        let found = report.findings.iter();
        let found: Vec<_> = found.map(|f| (f.rule, f.offset.unwrap())).collect();
        (report.errors, report.is_sound(), found)
    };
    assert_eq!(check(vec![0; 1024]), (0, true, vec![]));
    assert_eq!(check(vec![0; 1000]), (0, true, vec![("length", 1000)]));
    assert_eq!(check(vec![]), (1, false, vec![("empty", 0)]));
    for mark in [&b"QFI\xfb\0\0\0\x03"[..], b"vhdxfile", b"KDMV"] {
        let mut bytes = vec![0; 4096];
        bytes[..mark.len()].copy_from_slice(mark);
        assert_eq!(check(bytes), (0, true, vec![("recognised", 0)]));
    }
}
