//! Every layout reads as the disk that it was made of.

use diskimg::{BackingPolicy, DiskImageExt as _, ErrorKind, ExtentKind};
use testkit::conformance;
use testkit::vmdk::{Craft, cowd, descriptor, sesparse};

use crate::{Dir, disk, open, open_with, read_all, refused};

/// A disk that ends inside a grain.
const SECTORS: usize = 8 * 300 + 5;

#[test]
fn every_layout_of_a_single_file_reads_as_its_disk() {
    let disk = disk(SECTORS, 1);
    let sparse = Craft::sparse(&disk);
    let stream = Craft::stream(&disk);
    for craft in [
        sparse.clone(),
        Craft {
            grain: 1,
            ..sparse.clone()
        },
        Craft {
            grain: 128,
            entries: 512,
            copy: false,
            ..sparse.clone()
        },
        Craft {
            backwards: true,
            ..sparse.clone()
        },
        stream.clone(),
        Craft {
            footer: false,
            copy: true,
            ..stream.clone()
        },
        Craft {
            grain: 128,
            backwards: true,
            ..stream.clone()
        },
        Craft {
            grain: 1,
            entries: 256,
            ..stream
        },
    ] {
        let image = open(&craft.make().bytes).unwrap();
        conformance(&image, &disk);
    }
    let mut zeroed = disk;
    zeroed[8 * 512 * 3..8 * 512 * 5].fill(0);
    let craft = Craft {
        zeros: vec![3, 4],
        ..Craft::sparse(&zeroed)
    };
    let image = open(&craft.make().bytes).unwrap();
    conformance(&image, &zeroed);
    let mut kinds = image.all_extents().map(|extent| extent.unwrap().kind);
    assert!(kinds.any(|kind| kind == ExtentKind::Zero));
}

#[test]
fn the_last_grain_may_be_cut_off_behind_the_end_of_the_disk() {
    let disk = disk(SECTORS, 2);
    let mut bytes = Craft::sparse(&disk).make().bytes;
    bytes.truncate(bytes.len() - 3 * 512);
    assert!(read_all(&open(&bytes).unwrap()).unwrap() == disk);
    bytes.truncate(bytes.len() - 512);
    let error = refused(open(&bytes).and_then(|image| read_all(&image)));
    assert!(error.contains("past the end"), "{error}");
}

#[test]
fn a_stream_may_be_followed_by_zeros_and_by_nothing_else() {
    let disk = disk(64, 3);
    let sound = Craft::stream(&disk).make().bytes;
    for padding in [512, 512 * 100, 100] {
        let mut bytes = sound.clone();
        bytes.resize(sound.len() + padding, 0);
        assert!(
            read_all(&open(&bytes).unwrap()).unwrap() == disk,
            "{padding}"
        );
    }
    let mut long = sound.clone();
    long.resize(sound.len() + (65 << 10), 0);
    let mut odd = sound.clone();
    odd.extend([1; 512]);
    for bytes in [
        long,
        odd,
        sound[..sound.len() - 512].to_vec(),
        sound[..2048].to_vec(),
    ] {
        let error = refused(open(&bytes));
        assert!(error.contains("truncated"), "{error}");
    }
}

#[test]
fn extents_of_every_kind_make_one_disk() {
    let disk = disk(400, 4);
    let part = |from: usize, to: usize| &disk[from * 512..to * 512];
    let dir = Dir::new();
    let mut expected = disk.clone();
    expected[100 * 512..140 * 512].fill(0);
    let mut flat = vec![9; 7 * 512];
    flat.extend(part(0, 50));
    flat.extend(part(140, 200));
    dir.write("web-f001.vmdk", &flat);
    let sparse = Craft {
        descriptor: String::new(),
        ..Craft::sparse(part(50, 100))
    };
    dir.write("web-s001.vmdk", sparse.make().bytes);
    let stream = Craft {
        descriptor: String::new(),
        ..Craft::stream(part(200, 330))
    };
    dir.write("web-s002.vmdk", stream.make().bytes);
    let stream = Craft {
        descriptor: String::new(),
        grain: 16,
        ..Craft::stream(part(330, 400))
    };
    dir.write("web-s003.vmdk", stream.make().bytes);
    let text = descriptor(
        "custom",
        &[
            "RW 50 FLAT \"web-f001.vmdk\" 7",
            "RW 50 SPARSE \"web-s001.vmdk\"",
            "RDONLY 40 ZERO",
            "RDONLY 60 FLAT \"web-f001.vmdk\" 57",
            "NOACCESS 0 ZERO",
            "RW 130 SPARSE \"web-s002.vmdk\"",
            "RW 70 SPARSE \"web-s003.vmdk\"",
        ],
        1,
        None,
    );
    let path = dir.write("web.vmdk", text);
    let opened = open_with(&path, BackingPolicy::Refuse).unwrap();
    conformance(opened.image.as_ref(), &expected);
    assert_eq!(opened.files.len(), 4);
    let details = opened.image.details();
    let names: Vec<_> = details
        .refers_to
        .iter()
        .map(|file| file.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "web-f001.vmdk",
            "web-s001.vmdk",
            "web-s002.vmdk",
            "web-s003.vmdk"
        ]
    );
    assert_eq!(details.refers_to[0].role, "extent");
    assert_eq!(details.refers_to[0].bytes, Some(flat.len() as u64));
}

#[test]
fn what_esx_writes_reads_as_its_disk() {
    let disk = disk(8 * 700, 5);
    let dir = Dir::new();
    let numbers: Vec<usize> = (0..disk.len() / 512).collect();
    dir.write("a-delta.vmdk", cowd(&disk, &numbers));
    let grains: Vec<usize> = (0..700).filter(|number| number % 3 != 1).collect();
    let zeros: Vec<usize> = (0..700).filter(|number| number % 6 == 1).collect();
    dir.write("b-sesparse.vmdk", sesparse(&disk, &grains, &zeros));
    let mut thinned = disk.clone();
    for number in (1..700).step_by(3) {
        thinned[number * 4096..(number + 1) * 4096].fill(0);
    }
    for (name, kind, line, expected) in [
        (
            "a.vmdk",
            "vmfsSparse",
            "RW 5600 VMFSSPARSE \"a-delta.vmdk\"",
            &disk,
        ),
        (
            "b.vmdk",
            "seSparse",
            "RW 5600 SESPARSE \"b-sesparse.vmdk\"",
            &thinned,
        ),
    ] {
        let path = dir.write(name, descriptor(kind, &[line], 1, None));
        let opened = open_with(&path, BackingPolicy::Refuse).unwrap();
        conformance(opened.image.as_ref(), expected);
    }
}

#[test]
fn a_sesparse_disk_whose_tables_lie_beyond_every_file_is_refused() {
    let dir = Dir::new();
    let disk = disk(8 * 700, 7);
    let mut bytes = sesparse(&disk, &[1], &[]);
    let field = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let directory = usize::try_from(field(128)).unwrap() * 512;
    // Sectors: as many as a file of 2^64 bytes cannot have, and room for many tables.
    bytes[144..152].copy_from_slice(&((1_u64 << 55) - 1).to_le_bytes());
    bytes[152..160].copy_from_slice(&(1_u64 << 40).to_le_bytes());
    bytes[directory..directory + 8].copy_from_slice(&(0x1000_0000_u64 << 32 | 5).to_le_bytes());
    dir.write("b-sesparse.vmdk", bytes);
    let line = "RW 5600 SESPARSE \"b-sesparse.vmdk\"";
    let path = dir.write("b.vmdk", descriptor("seSparse", &[line], 1, None));
    let error = open_with(&path, BackingPolicy::Refuse).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Truncated, "{error}");
}

#[test]
fn an_extent_of_zeros_opens_no_file_whatever_it_names() {
    let dir = Dir::new();
    dir.write("a-flat.vmdk", [7; 512]);
    let lines = ["RW 1 FLAT \"a-flat.vmdk\" 0", "RW 1 ZERO \"a-none.vmdk\""];
    let path = dir.write("a.vmdk", descriptor("monolithicFlat", &lines, 1, None));
    let opened = open_with(&path, BackingPolicy::Refuse).unwrap();
    conformance(opened.image.as_ref(), &[[7; 512], [0; 512]].concat());
}

#[test]
fn a_disk_may_have_more_files_than_are_open_at_once() {
    let dir = Dir::new();
    let disk = disk(300 * 2, 6);
    let lines: Vec<String> = (0..300)
        .map(|number| {
            let name = format!("big-f{:03}.vmdk", number + 1);
            dir.write(&name, &disk[number * 1024..(number + 1) * 1024]);
            format!("RW 2 FLAT \"{name}\" 0")
        })
        .collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let path = dir.write(
        "big.vmdk",
        descriptor("twoGbMaxExtentFlat", &lines, 1, None),
    );
    let opened = open_with(&path, BackingPolicy::Refuse).unwrap();
    assert!(read_all(opened.image.as_ref()).unwrap() == disk);
    let root = dir.0.path().canonicalize().unwrap();
    let open_files = std::fs::read_dir("/proc/self/fd").unwrap();
    let ours = open_files
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter(|file| file.starts_with(&root))
        .count();
    assert!(ours <= 66, "{ours} files are open");
    // A file that takes the place of one that was closed is another one.
    let other = dir.write("other", [7; 1024]);
    std::fs::rename(other, dir.at("big-f001.vmdk")).unwrap();
    let error = refused(read_all(opened.image.as_ref()));
    assert!(error.contains("replaced"), "{error}");
}
