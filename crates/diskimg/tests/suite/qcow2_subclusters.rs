//! Extended L2 entries: clusters of which each 32nd part is stored, zero or neither.

use diskimg::{ErrorKind, ExtentKind, GuestOffset, OpenOptions};
use tempfile::TempDir;
use testkit::qemu;

use crate::craft::{deflate, noise, put};
use crate::{assert_gaps_are_zero, assert_same, extents, open_bytes, read, read_all, refused};

const CLUSTER_BITS: u32 = 14;
const CLUSTER: usize = 1 << CLUSTER_BITS;
const SUBCLUSTER: usize = CLUSTER / 32;
const L2: usize = 2 * CLUSTER;
/// Where the clusters' content begins.
const DATA: usize = 3 * CLUSTER;
const COPIED: u64 = 1 << 63;

/// An image with extended entries: `entries` map the first clusters, and whatever offset they name
/// is stored from [`DATA`] on.
fn image(entries: &[(u64, u64)], stored: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; DATA];
    put(&mut bytes, 0, b"QFI\xfb\0\0\0\x03");
    put(&mut bytes, 20, &CLUSTER_BITS.to_be_bytes());
    put(
        &mut bytes,
        24,
        &((entries.len() * CLUSTER) as u64).to_be_bytes(),
    );
    put(&mut bytes, 36, &1_u32.to_be_bytes());
    put(&mut bytes, 40, &(CLUSTER as u64).to_be_bytes());
    put(&mut bytes, 72, &(1_u64 << 4).to_be_bytes());
    put(&mut bytes, 96, &4_u32.to_be_bytes());
    put(&mut bytes, 100, &112_u32.to_be_bytes());
    put(&mut bytes, CLUSTER, &(L2 as u64 | COPIED).to_be_bytes());
    for (index, (entry, bitmap)) in entries.iter().enumerate() {
        put(&mut bytes, L2 + index * 16, &entry.to_be_bytes());
        put(&mut bytes, L2 + index * 16 + 8, &bitmap.to_be_bytes());
    }
    bytes.extend(stored);
    bytes
}

const STORED: u64 = DATA as u64 | COPIED;

/// An image with a cluster of each kind, and what the guest reads from it.
pub(crate) fn sample() -> (Vec<u8>, Vec<u8>) {
    let mut content = vec![0; CLUSTER];
    content[..600].fill(7);
    let mut guest = vec![0; 4 * CLUSTER];
    guest[..SUBCLUSTER].fill(7);
    guest[2 * CLUSTER..3 * CLUSTER].fill(5);
    let packed = deflate(&vec![5; CLUSTER]);
    let compressed = 1 << 62 | (DATA + CLUSTER) as u64;
    let bytes = image(
        &[
            (STORED, 0xf0_0000_0001),
            (0, 0xffff_ffff << 32),
            (compressed, 0),
            (0, 0),
        ],
        &[content, packed].concat(),
    );
    (bytes, guest)
}

#[test]
fn each_subcluster_is_stored_zero_or_nowhere() {
    let content = noise(CLUSTER_BITS, 1);
    // Subclusters 0, 5 and 31 are stored, 1 to 3 and 30 are zero.
    let (stored, zero) = (1 | 1 << 5 | 1 << 31, 0b1110_u64 | 1 << 30);
    let bytes = image(&[(STORED, zero << 32 | stored)], &content);
    let image = open_bytes(&bytes).unwrap();
    let mut expected = vec![0; CLUSTER];
    for index in [0, 5, 31] {
        let range = index * SUBCLUSTER..(index + 1) * SUBCLUSTER;
        expected[range.clone()].copy_from_slice(&content[range]);
    }
    for piece in [CLUSTER, SUBCLUSTER, 512, 300] {
        assert_same(&read_all(&image, piece).unwrap(), &expected, "pieces");
    }
    let found: Vec<_> = extents(&image)
        .unwrap()
        .iter()
        .map(|extent| (extent.kind, extent.len as usize / SUBCLUSTER))
        .collect();
    use ExtentKind::{Data, Hole, Zero};
    assert_eq!(
        found,
        [
            (Data, 1),
            (Zero, 3),
            (Hole, 1),
            (Data, 1),
            (Hole, 24),
            (Zero, 1),
            (Data, 1)
        ]
    );
}

#[test]
fn runs_go_on_over_subclusters_and_clusters() {
    // The end of one cluster and the whole of the next lie side by side.
    let content = [noise(CLUSTER_BITS, 2), noise(CLUSTER_BITS, 3)].concat();
    let upper = 0xffff_0000;
    let second = (DATA + CLUSTER) as u64 | COPIED;
    let bytes = image(&[(STORED, upper), (second, 0xffff_ffff)], &content);
    let image = open_bytes(&bytes).unwrap();
    let found = extents(&image).unwrap();
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[1].start.0 as usize, CLUSTER / 2);
    let half = CLUSTER / 2;
    assert_same(
        &read(&image, half as u64, CLUSTER + half).unwrap(),
        &content[half..],
        "the stored part",
    );
}

#[test]
fn zero_subclusters_need_no_offset() {
    let image = open_bytes(&image(
        &[(0, 0xffff_ffff << 32), (0, 0xff << 32), (0, 0)],
        b"",
    ))
    .unwrap();
    let kinds: Vec<_> = extents(&image)
        .unwrap()
        .iter()
        .map(|extent| (extent.kind, extent.len as usize))
        .collect();
    let zero = CLUSTER + 8 * SUBCLUSTER;
    assert_eq!(
        kinds,
        [
            (ExtentKind::Zero, zero),
            (ExtentKind::Hole, 3 * CLUSTER - zero)
        ]
    );
}

#[test]
fn subclusters_that_contradict_themselves_are_corrupt() {
    let content = noise(CLUSTER_BITS, 4);
    for (entry, bitmap, words) in [
        (STORED, 1 << 33 | 1 << 1, "both allocated and zero"),
        (STORED, u64::MAX, "both allocated and zero"),
        (0, 1 << 7, "has no offset"),
        (0, 1 << 40 | 1, "has no offset"),
        (COPIED, 0, "has no offset"),
        (STORED | 1, 0xffff_ffff, "reserved bits 0x1"),
        (1 << 62 | DATA as u64, 1 << 32, "is compressed"),
        (1 << 62 | DATA as u64, 0xffff_ffff, "is compressed"),
    ] {
        let bytes = image(&[(entry, bitmap), (0, 0)], &content);
        let opened = open_bytes(&bytes).unwrap();
        let error = refused(read(&opened, 0, 512));
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(error.offset(), Some(L2 as u64));
        refused(diskimg::DiskImage::extent_at(
            &opened,
            GuestOffset(512),
            512,
        ));
        // The other cluster is as good as before.
        assert_eq!(read(&opened, CLUSTER as u64, 512).unwrap(), [0; 512]);
    }
}

#[test]
fn compressed_clusters_have_no_subclusters() {
    let content: Vec<u8> = b"compress me "
        .iter()
        .copied()
        .cycle()
        .take(CLUSTER)
        .collect();
    let packed = deflate(&content);
    let entry = 1 << 62 | DATA as u64;
    let bytes = image(&[(0, 0), (entry, 0)], &packed);
    let image = open_bytes(&bytes).unwrap();
    assert_same(
        &read(&image, CLUSTER as u64, CLUSTER).unwrap(),
        &content,
        "whole",
    );
    assert_same(
        &read(&image, CLUSTER as u64 + 1000, 2000).unwrap(),
        &content[1000..3000],
        "a part",
    );
}

#[test]
fn stored_subclusters_past_the_end_are_errors_and_others_are_not() {
    let content = noise(CLUSTER_BITS, 5);
    // The file ends behind subcluster 3 of the cluster.
    let bytes = image(&[(STORED, 1 << 9 | 0b1111)], &content[..4 * SUBCLUSTER]);
    let image = open_bytes(&bytes).unwrap();
    let head = read(&image, 0, 5 * SUBCLUSTER).unwrap();
    assert_same(
        &head[..4 * SUBCLUSTER],
        &content[..4 * SUBCLUSTER],
        "stored",
    );
    let error = refused(read(&image, 9 * SUBCLUSTER as u64, 1));
    assert_eq!(error.kind(), ErrorKind::Truncated);
    refused(image_extents(&image));
}

fn image_extents(image: &dyn diskimg::DiskImage) -> diskimg::Result<()> {
    use diskimg::DiskImageExt;
    image.all_extents().try_for_each(|extent| extent.map(drop))
}

#[test]
fn subclusters_below_a_sector_are_refused() {
    let mut bytes = image(&[(0, 0)], b"");
    put(&mut bytes, 20, &13_u32.to_be_bytes());
    let error = refused(open_bytes(&bytes));
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(
        error
            .to_string()
            .contains("cluster_bits is 13, at least 14"),
        "{error}"
    );
}

#[test]
fn every_damaged_bitmap_gives_an_error_or_what_it_says() {
    let content = noise(CLUSTER_BITS, 6);
    let good = 0xf0f0_u64 << 32 | 0x0f0f;
    for bit in 0..64 {
        let bitmap = good ^ 1 << bit;
        let (stored, zero) = (bitmap & 0xffff_ffff, bitmap >> 32);
        let bytes = image(&[(STORED, bitmap)], &content);
        let image = open_bytes(&bytes).unwrap();
        for index in 0..32 {
            let sector = read(&image, (index * SUBCLUSTER) as u64, SUBCLUSTER);
            if stored & zero != 0 {
                refused(sector);
                continue;
            }
            let range = index * SUBCLUSTER..(index + 1) * SUBCLUSTER;
            let expected = match stored >> index & 1 {
                0 => vec![0; SUBCLUSTER],
                _ => content[range].to_vec(),
            };
            assert_same(&sector.unwrap(), &expected, &format!("bit {bit}"));
        }
    }
}

/// What `qemu-io` does to an image: writes, zeros and discards of all sizes, some compressed.
fn random_commands(seed: u64, cluster: usize, size: usize) -> Vec<String> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let part = cluster / 32;
    // QEMU compresses only into clusters that hold nothing yet.
    let compressed = (0..size / cluster)
        .step_by(3)
        .map(|index| format!("write -c -P {} {} {cluster}", index + 1, index * cluster));
    let others = (0..80).map(|_| {
        let len = rng.usize(1..=64) * part;
        let at = rng.usize(..size / part) * part;
        let len = len.min(size - at);
        match rng.u8(..5) {
            0 => format!("write -z {at} {len}"),
            1 => format!("discard {at} {len}"),
            2 => format!(
                "write -P {} {} {}",
                rng.u8(1..),
                at + 512.min(part - 512),
                512
            ),
            _ => format!("write -P {} {at} {len}", rng.u8(1..)),
        }
    });
    compressed.chain(others).collect()
}

#[test]
fn images_with_subclusters_of_every_size_read_as_qemu_reads_them() {
    if qemu::missing() {
        return;
    }
    let dir = TempDir::new().unwrap();
    for bits in [14_u32, 15, 16, 18, 21] {
        for compression in ["zlib", "zstd"] {
            let path = dir.path().join(format!("{bits}-{compression}.qcow2"));
            let cluster = 1_usize << bits;
            let size = cluster * 12;
            let options =
                format!("extended_l2=on,cluster_size={cluster},compression_type={compression}");
            let size_text = size.to_string();
            qemu::img([
                "create",
                "-f",
                "qcow2",
                "-o",
                &options,
                path.to_str().unwrap(),
                &size_text,
            ]);
            let commands = random_commands(u64::from(bits), cluster, size);
            let commands: Vec<_> = commands.iter().map(String::as_str).collect();
            qemu::io(&path, "qcow2", &commands);

            let opened = diskimg::open(&path, &OpenOptions::default(), &[]).unwrap();
            let image = opened.image.as_ref();
            let expected = qemu::content(&path);
            for piece in [2 << 20, 24_064] {
                assert_same(&read_all(image, piece).unwrap(), &expected, &options);
            }
            assert_gaps_are_zero(&extents(image).unwrap(), &expected);
            assert_kinds_as_qemu_says(&path, &options);
        }
    }
}

/// Asserts that metadata say the same as `qemu-img map`, subcluster by subcluster.
#[track_caller]
fn assert_kinds_as_qemu_says(path: &std::path::Path, what: &str) {
    let map = qemu::img(["map", "--output=json", path.to_str().unwrap()]);
    let map: serde_json::Value = serde_json::from_str(&map).unwrap();
    // From memory, so that holes of the file system do not matter.
    let image = open_bytes(&std::fs::read(path).unwrap()).unwrap();
    let mut theirs: Vec<(ExtentKind, u64)> = Vec::new();
    for entry in map.as_array().unwrap() {
        let flag = |name: &str| entry[name].as_bool().unwrap();
        let kind = match (flag("zero"), flag("present")) {
            (false, _) => ExtentKind::Data,
            (true, true) => ExtentKind::Zero,
            (true, false) => ExtentKind::Hole,
        };
        let len = entry["length"].as_u64().unwrap();
        match theirs.last_mut() {
            Some((last, total)) if *last == kind => *total += len,
            _ => theirs.push((kind, len)),
        }
    }
    let ours: Vec<_> = extents(&image)
        .unwrap()
        .iter()
        .map(|extent| (extent.kind, extent.len))
        .collect();
    assert_eq!(ours, theirs, "{what}");
}

#[test]
fn preallocated_subclusters_read_as_qemu_reads_them() {
    if qemu::missing() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("disk.qcow2");
    for mode in ["metadata", "falloc"] {
        qemu::img([
            "create",
            "-f",
            "qcow2",
            "-o",
            &format!("extended_l2=on,preallocation={mode}"),
            path.to_str().unwrap(),
            "4M",
        ]);
        qemu::io(&path, "qcow2", &["write -P 9 70k 10k"]);
        let opened = diskimg::open(&path, &OpenOptions::default(), &[]).unwrap();
        let read = read_all(opened.image.as_ref(), 1 << 20).unwrap();
        assert_same(&read, &qemu::content(&path), mode);
        let data: u64 = extents(opened.image.as_ref())
            .unwrap()
            .iter()
            .filter(|extent| extent.kind == ExtentKind::Data)
            .map(|extent| extent.len)
            .sum();
        assert_eq!(data, 10 << 10, "{mode}");
        std::fs::remove_file(&path).unwrap();
    }
}
