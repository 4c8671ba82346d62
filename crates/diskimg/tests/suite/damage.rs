//! Damaged images: an error or right data, in bounded time, and never a panic.

use std::time::Duration;

use diskimg::{DiskImage, ExtentKind};
use proptest::prelude::*;
use tempfile::NamedTempFile;

use crate::craft::{Crafted, mixed};
use crate::witness::Imago;
use crate::{assert_same, extents, open_bytes, read, read_all};
use testkit::measure::cpu_time;

/// Most processor time that a damaged image may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Largest disk that is read to the end.
const READ_LIMIT: u64 = 4 << 20;

/// Reads everything that can be read, in several ways that must agree. Returns each sector, where
/// it could be read; `None` when the image is refused.
fn survey(bytes: &[u8]) -> Option<Vec<Option<Vec<u8>>>> {
    let start = cpu_time();
    let image = open_bytes(bytes).ok()?;
    let size = image.virtual_size().min(READ_LIMIT);
    let sectors: Vec<_> = (0..size / 512)
        .map(|index| read(&image, index * 512, 512).ok())
        .collect();
    for (index, sector) in sectors.iter().enumerate() {
        // Read again, the same comes out.
        assert_eq!(
            read(&image, index as u64 * 512, 512).ok().as_ref(),
            sector.as_ref()
        );
    }
    if size == image.virtual_size() {
        // A large read succeeds if every part of it does, and with the same bytes.
        match read(&image, 0, size as usize) {
            Ok(whole) => {
                for (sector, expected) in sectors.iter().zip(whole.chunks(512)) {
                    assert_eq!(sector.as_deref(), Some(expected));
                }
            }
            Err(_) => assert!(sectors.iter().any(Option::is_none)),
        }
    }
    let gaps = |found: Vec<diskimg::Extent>| {
        for extent in found.iter().filter(|e| e.kind != ExtentKind::Data) {
            let first = extent.start.0.div_ceil(512) as usize;
            let end = (extent.end().0 / 512) as usize;
            for sector in sectors.iter().take(end).skip(first) {
                assert!(sector.as_ref().is_some_and(|s| s.iter().all(|b| *b == 0)));
            }
        }
    };
    extents(&image).map(gaps).ok();
    assert!(
        (cpu_time() - start) < PATIENCE,
        "{:?}",
        (cpu_time() - start)
    );
    Some(sectors)
}

/// Where both read something, it must be the same.
fn assert_right(found: &[Option<Vec<u8>>], guest: &[u8], what: &str) {
    for (index, sector) in found.iter().enumerate() {
        let Some(sector) = sector else { continue };
        // Beyond the old end there is nothing stored.
        let mut expected = guest.get(index * 512..).unwrap_or_default().to_vec();
        expected.resize(512.max(expected.len()), 0);
        assert_same(sector, &expected[..512], &format!("{what}, sector {index}"));
    }
}

/// Fields of the header: name, offset, length in bytes.
const FIELDS: &[(&str, usize, usize)] = &[
    ("magic", 0, 4),
    ("version", 4, 4),
    ("backing_file_offset", 8, 8),
    ("backing_file_size", 16, 4),
    ("cluster_bits", 20, 4),
    ("size", 24, 8),
    ("crypt_method", 32, 4),
    ("l1_size", 36, 4),
    ("l1_table_offset", 40, 8),
    ("refcount_table_offset", 48, 8),
    ("refcount_table_clusters", 56, 4),
    ("nb_snapshots", 60, 4),
    ("snapshots_offset", 64, 8),
    ("incompatible_features", 72, 8),
    ("compatible_features", 80, 8),
    ("autoclear_features", 88, 8),
    ("refcount_order", 96, 4),
    ("header_length", 100, 4),
    ("compression_type", 104, 1),
    ("extension_type", 112, 4),
    ("extension_length", 116, 4),
];

fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Values that a field of `len` bytes, now `value`, is damaged to.
fn damages(value: u64, len: usize, file_len: usize) -> impl Iterator<Item = Vec<u8>> {
    let file_len = file_len as u64;
    [
        0,
        1,
        u64::MAX,
        u64::MAX >> 1,
        1 << 31,
        value.wrapping_add(1),
        value.wrapping_sub(1),
        value << 1,
        file_len,
        file_len.next_multiple_of(4096),
        file_len.next_multiple_of(4096) | 1 << 63,
        file_len - 1,
    ]
    .into_iter()
    .chain((0..len * 8).map(move |bit| value ^ 1 << bit))
    .map(move |damaged| damaged.to_be_bytes()[8 - len..].to_vec())
}

#[test]
fn every_damaged_header_field_gives_an_error_or_right_data() {
    let images = [
        mixed(2, 9, false),
        mixed(3, 9, false),
        mixed(3, 9, true),
        mixed(3, 12, false),
    ];
    let mut accepted = 0;
    for image in images {
        let version = image.bytes[7];
        for &(name, at, len) in FIELDS {
            if version == 2 && at >= 72 {
                continue;
            }
            let value = number(&image.bytes[at..at + len]);
            for damage in damages(value, len, image.bytes.len()) {
                let bytes = image.with(at, &damage);
                let Some(found) = survey(&bytes) else {
                    continue;
                };
                accepted += 1;
                // With another cluster size, or another L1 table, or read by the rules of another
                // version, it is another disk: there is nothing in the file that says otherwise.
                if !["cluster_bits", "l1_table_offset"].contains(&name) {
                    let mut guest = image.guest.clone();
                    if name == "size" {
                        guest.truncate(number(&damage) as usize);
                    }
                    assert_right(&found, &guest, &format!("{name} = {damage:02x?}"));
                }
            }
        }
    }
    assert!(accepted > 100, "fields that do not matter do no harm");
}

/// Holds what we read of a damaged image against imago: where we read something, it must read the
/// same. `stricter`: imago may refuse to.
fn assert_like_imago(bytes: &[u8], found: &[Option<Vec<u8>>], stricter: bool, what: &str) {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let imago = Imago::open(file.path()).unwrap_or_else(|| panic!("{what}: imago refuses it"));
    for (index, sector) in found.iter().enumerate() {
        let Some(sector) = sector else { continue };
        let theirs = match imago.read(index as u64 * 512, 512) {
            Ok(theirs) => theirs,
            Err(_) if stricter => continue,
            Err(e) => panic!("{what}: imago cannot read sector {index}: {e}"),
        };
        assert_same(sector, &theirs, &format!("{what}, sector {index}"));
    }
}

#[test]
fn every_damaged_table_entry_gives_an_error_or_what_the_entry_says() {
    for image in [mixed(3, 9, false), mixed(2, 9, false)] {
        let l1 = (0..image.l1_entries).map(|index| image.l1 + index * 8);
        // One entry of each kind, at both ends of a table.
        let l2 = [0, 2, 3, 4, 5, 6, 7, 63, 64, 69];
        let l2 = l2.iter().filter_map(|index| image.l2_entries[*index]);
        for at in l1.chain(l2) {
            let value = number(&image.bytes[at..at + 8]);
            for damage in damages(value, 8, image.bytes.len()) {
                let bytes = image.with(at, &damage);
                let Some(found) = survey(&bytes) else {
                    continue;
                };
                let what = format!("entry at {at:#x} = {damage:02x?}");
                // The copied flag on a compressed cluster, which old QEMU wrote, says nothing.
                let copied = damage[0] & 0xc0 == 0xc0;
                // imago refuses a table for one broken entry, and we only its cluster.
                let stricter = copied || found.iter().any(Option::is_none);
                assert_like_imago(&bytes, &found, stricter, &what);
            }
        }
    }
}

#[test]
fn truncated_images_give_an_error_or_right_data_never_zeros() {
    for zstd in [false, true] {
        let image = mixed(3, 9, zstd);
        let mut rng = fastrand::Rng::with_seed(5);
        let stored = image.stored.iter().flatten().copied();
        let lengths = (0..150)
            .map(|_| rng.usize(..image.bytes.len()))
            .chain(stored.flat_map(|at| [at - 1, at, at + 1]))
            .chain([0, 1, 71, 72, 103, 104, 111, 112, 511, 512, 513]);
        let mut partly = 0;
        for len in lengths {
            let mut bytes = image.bytes.clone();
            bytes.truncate(len);
            let Some(found) = survey(&bytes) else {
                continue;
            };
            partly += 1;
            assert_right(&found, &image.guest, &format!("cut to {len} bytes"));
            let all = open_bytes(&bytes).and_then(|image| read_all(&image, 1 << 20));
            assert!(all.is_err(), "cut to {len} bytes, the disk is whole");
        }
        assert!(partly > 20, "what is there can be read");
    }
}

#[test]
fn plain_clusters_past_the_end_are_errors_for_extents_too() {
    let image = mixed(3, 12, false);
    let plain = image.stored[6].unwrap();
    let mut bytes = image.bytes.clone();
    bytes.truncate(plain + 100);
    let opened = open_bytes(&bytes).unwrap();
    assert!(extents(&opened).is_err());
}

fn mutant(image: &Crafted, changes: &[(usize, u8)]) -> Vec<u8> {
    let mut bytes = image.bytes.clone();
    for (at, value) in changes {
        let at = at % bytes.len();
        bytes[at] = *value;
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_damage_anywhere_never_panics_and_reads_alike_twice(
        version in 2_u32..=3,
        zstd: bool,
        changes in prop::collection::vec((0_usize..60_000, any::<u8>()), 1..12),
    ) {
        survey(&mutant(&mixed(version, 9, zstd && version == 3), &changes));
    }

    #[test]
    fn random_damage_of_header_and_tables_never_panics_and_reads_alike_twice(
        changes in prop::collection::vec((0_usize..2048, any::<u8>()), 1..4),
        zstd: bool,
    ) {
        survey(&mutant(&mixed(3, 9, zstd), &changes));
    }
}

#[test]
fn bytes_that_are_no_image_are_refused() {
    for bytes in [
        &b""[..],
        b"QFI\xfb",
        b"QFI\xfb\0\0\0\x03",
        &[0; 4096],
        &[0xff; 4096],
    ] {
        assert!(open_bytes(bytes).is_err(), "{bytes:02x?}");
    }
}
