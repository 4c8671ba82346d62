//! Files that the vendor's own driver wrote.
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

use std::collections::BTreeMap;

use common::{BLOCK, IDENTITY, check, digest, encode, open, open_v1, read_all};
use diskimg::{DiskImage, DiskImageExt, ExtentKind, Format, GuestOffset, OpenOptions, Severity};
use testkit::vectors::{Vector, directory, load, vector};
use zvhd2::{BLOCK_SIZE, DRIVERS};

fn opened(vector: &Vector) -> Box<dyn DiskImage> {
    let options = OpenOptions::default();
    let opened = diskimg::open(&vector.path(), &options, &DRIVERS).unwrap();
    assert_eq!(opened.format.name(), vector.format);
    opened.image
}

#[test]
fn every_file_in_the_directory_is_a_vector_that_is_tested() {
    let mut files: Vec<_> = std::fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "vectors.json")
        .collect();
    let mut known: Vec<_> = load().unwrap().into_values().map(|v| v.file).collect();
    files.sort();
    known.sort();
    assert_eq!(files, known);
}

#[test]
fn small_vectors_decode_to_their_exact_content() {
    let mut tested = 0;
    for (name, vector) in load().unwrap() {
        if vector.virtual_size > 2 << 30 {
            continue;
        }
        tested += 1;
        let image = opened(&vector);
        assert_eq!(image.virtual_size(), vector.virtual_size, "{name}");
        let mut expected = vec![0; 1 << 20];
        let mut found = vec![0xaa; 1 << 20];
        let mut at = 0;
        while at < vector.virtual_size {
            let len = (vector.virtual_size - at).min(1 << 20) as usize;
            vector.read_at(at, &mut expected[..len]);
            image.read_at(GuestOffset(at), &mut found[..len]).unwrap();
            assert!(
                found[..len] == expected[..len],
                "{name}: differs in the MiB at {at:#x}"
            );
            at += len as u64;
        }
    }
    assert_eq!(tested, 4);
}

#[test]
fn large_vector_decodes_by_its_extents_without_reading_holes() {
    let vector = vector("sparse-130g").unwrap();
    let image = opened(&vector);
    assert_eq!(image.virtual_size(), vector.virtual_size);
    let mut data = Vec::new();
    for extent in image.all_extents() {
        let extent = extent.unwrap();
        if extent.kind == ExtentKind::Data {
            let mut found = vec![0xaa; extent.len as usize];
            let mut expected = found.clone();
            image.read_at(extent.start, &mut found).unwrap();
            vector.read_at(extent.start.0, &mut expected);
            assert!(found == expected, "{extent:?}");
            data.push(extent.start.0..extent.end().0);
        }
    }
    // Everything that is not zero lies in one of them.
    for filled in &vector.extents {
        let covered = data.iter().any(|extent| {
            extent.contains(&filled.offset) && filled.offset + filled.length <= extent.end
        });
        assert!(covered, "{filled:?}");
    }
    let blocks: u64 = data.iter().map(|e| (e.end - e.start).div_ceil(BLOCK)).sum();
    assert_eq!(blocks, 8);
}

#[test]
fn digests_are_the_published_ones() {
    let tiny = "v1:409097c79f0b289de4a3d60a0de1cec8670c1d750fe86caf550113e674b179b0";
    let expected = BTreeMap::from([
        ("tiny", tiny),
        ("tiny-zlib", tiny),
        ("tiny-v1", tiny),
        (
            "empty",
            "v1:b1d1eb5e438cc99a066a4e917a844248b00ad4b5bc3f02824682f7fc69889bf7",
        ),
        (
            "sparse-130g",
            "v1:0bc60325c0838d569da5906162721f572ba1fca8f8611e38bbb1840c9d3b3ce4",
        ),
    ]);
    let vectors = load().unwrap();
    assert_eq!(vectors.len(), expected.len());
    for (name, vector) in vectors {
        assert_eq!(
            digest(opened(&vector).as_ref()),
            expected[name.as_str()],
            "{name}"
        );
    }
}

#[test]
fn checker_finds_no_error_in_the_vendors_files_and_names_their_habits() {
    for (name, vector) in load().unwrap() {
        if vector.format != "zvhd2" {
            continue;
        }
        let report = check(std::fs::read(vector.path()).unwrap());
        assert!(report.is_sound(), "{name}: {report:#?}");
        assert_eq!(
            opened(&vector).virtual_size(),
            vector.virtual_size,
            "{name}"
        );
        let mut rules: Vec<_> = report.findings.iter().map(|v| v.rule).collect();
        rules.sort_unstable();
        rules.dedup();
        let expected: &[_] = match name.as_str() {
            "tiny" => &["block-padding", "content-checksum", "footer-copy-checksum"],
            "tiny-zlib" => &["block-padding", "footer-copy-checksum"],
            "sparse-130g" => &["content-checksum", "footer-copy-checksum"],
            _ => &[],
        };
        assert_eq!(rules, expected, "{name}");
        let warned = report
            .findings
            .iter()
            .all(|v| v.severity == Severity::Warning);
        assert!(warned && !report.cut);
        assert_eq!(report.warnings, report.findings.len() as u64);
    }
}

/// Same content, same file: all that may differ from the vendor's is identity, payloads, where they
/// push the tables, and the copy's checksum, which the vendor leaves stale.
#[test]
fn encoder_writes_the_structure_that_the_vendor_writes() {
    const PAGE: usize = 4096;
    let vector = vector("tiny").unwrap();
    let theirs = std::fs::read(vector.path()).unwrap();
    let blocks = (0..3)
        .map(|number| {
            let mut content = vec![0; BLOCK_SIZE];
            vector.read_at(u64::from(number) * BLOCK, &mut content);
            (number, content)
        })
        .collect();
    let ours = encode(vector.virtual_size, &blocks, 3);
    // uuid, timestamp and what the checksum makes of them; lbas, too, in the last footer.
    let without = |page: &[u8], fields: &[std::ops::Range<usize>]| {
        let mut page = page.to_vec();
        for field in fields {
            page[field.clone()].fill(0);
        }
        page
    };
    let identity = [24..28, 64..84];
    let last = [24..28, 64..84, 96..112];
    let tables = |file: &[u8]| {
        let lba = |at: usize| {
            let field = file[file.len() - PAGE..][at..at + 8].try_into().unwrap();
            u64::from_le_bytes(field) as usize
        };
        (lba(96), lba(104))
    };
    let ((our_index, our_bitmap), (their_index, their_bitmap)) = (tables(&ours), tables(&theirs));
    let pairs = [
        ("first footer", 0, 0, &identity[..]),
        (
            "footer copy",
            our_index - PAGE,
            their_index - PAGE,
            &identity[..],
        ),
        (
            "last footer",
            ours.len() - PAGE,
            theirs.len() - PAGE,
            &last[..],
        ),
        ("bitmap", our_bitmap, their_bitmap, &[]),
    ];
    for (name, ours_at, theirs_at, fields) in pairs {
        let our = without(&ours[ours_at..ours_at + PAGE], fields);
        let their = without(&theirs[theirs_at..theirs_at + PAGE], fields);
        assert!(our == their, "{name}");
    }
    assert_eq!(our_bitmap - our_index, their_bitmap - their_index);
    assert_eq!(ours.len() - our_bitmap, theirs.len() - their_bitmap);
    // Numbers of the index, and its zeros, agree; offsets and lengths follow from the payloads.
    for entry in 0..32768 {
        let number = |file: &[u8], index: usize| file[index + entry * 16 + 8..][..4].to_vec();
        assert_eq!(number(&ours, our_index), number(&theirs, their_index));
    }
    assert_eq!(
        ours[our_index + 48..our_bitmap],
        theirs[their_index + 48..their_bitmap]
    );
    // Block headers differ in nothing but the payload's length.
    let header = |file: &[u8], index: usize, entry: usize| {
        let at = u64::from_le_bytes(file[index + entry * 16..][..8].try_into().unwrap()) as usize;
        without(&file[at..at + 48], std::slice::from_ref(&(12..16)))
    };
    for entry in 0..3 {
        assert_eq!(
            header(&ours, our_index, entry),
            header(&theirs, their_index, entry)
        );
    }
    assert_eq!(ours[68..84], IDENTITY.uuid);
    assert_eq!(ours[24..28], IDENTITY.timestamp.to_le_bytes());
}

#[test]
fn small_unaligned_reads_agree_with_the_whole() {
    for name in ["tiny", "tiny-zlib", "tiny-v1"] {
        let image = opened(&vector(name).unwrap());
        let whole = read_all(image.as_ref(), BLOCK_SIZE).unwrap();
        for step in [65_537, 1 << 20, 3 << 20, whole.len()] {
            assert!(
                read_all(image.as_ref(), step).unwrap() == whole,
                "{name} {step}"
            );
        }
    }
}

#[test]
fn version_1_can_be_read_backwards_and_by_many_threads() {
    let vector = vector("tiny-v1").unwrap();
    let image = open_v1(std::fs::read(vector.path()).unwrap()).unwrap();
    let block = |number: u64| {
        let start = number * BLOCK;
        let len = (vector.virtual_size - start).min(BLOCK) as usize;
        let mut found = vec![0xaa; len];
        let mut expected = vec![0; len];
        image.read_at(GuestOffset(start), &mut found).unwrap();
        vector.read_at(start, &mut expected);
        assert!(found == expected, "block {number}");
    };
    for number in [2, 1, 0, 2, 0] {
        block(number);
    }
    std::thread::scope(|scope| {
        for thread in 0..6 {
            scope.spawn(move || block(thread % 3));
        }
    });
}

#[test]
fn details_name_version_and_compression() {
    for (name, variant, compression, format) in [
        ("tiny", "version 2", "zstd", Format::Zvhd2),
        ("tiny-zlib", "version 2", "zlib", Format::Zvhd2),
        ("tiny-v1", "version 1", "zlib", Format::Zvhd),
    ] {
        let details = opened(&vector(name).unwrap()).details();
        assert_eq!(details.variant.as_deref(), Some(variant));
        assert_eq!(details.compression.as_deref(), Some(compression));
        assert_eq!(details.format, format);
        assert_eq!(details.cluster_size, Some(BLOCK));
    }
}

#[test]
fn either_version_passed_off_as_the_other_is_refused() {
    let v1 = std::fs::read(vector("tiny-v1").unwrap().path()).unwrap();
    let v2 = std::fs::read(vector("tiny").unwrap().path()).unwrap();
    let error = open(v1.clone()).unwrap_err().to_string();
    assert!(error.contains("version 1"), "{error}");
    assert!(open_v1(v2).is_err());
    assert_eq!(check(v1).findings[0].rule, "cookie");
}
