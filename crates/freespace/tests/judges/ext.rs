//! ext2, ext3 and ext4, by mke2fs, debugfs, dumpe2fs and e2fsck.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use testkit::missing;

use crate::common::{Lab, changed, discard, joined, kept, look, run, same_trees, text};

/// Kinds of file systems: arguments of mke2fs, and MiB.
const KINDS: &[(&str, usize)] = &[
    ("-t ext4 -b 4096", 48),
    ("-t ext4 -b 1024", 40),
    ("-t ext4 -b 4096 -O ^metadata_csum,uninit_bg -g 2048", 48),
    ("-t ext4 -b 4096 -O bigalloc -C 65536", 80),
    ("-t ext4 -b 1024 -O bigalloc -C 16384", 64),
    ("-t ext4 -b 4096 -O ^flex_bg", 150),
    ("-t ext4 -b 1024 -O meta_bg,^resize_inode -g 1024", 40),
    ("-t ext4 -O ^64bit,^metadata_csum,^uninit_bg", 40),
    (
        "-t ext4 -O sparse_super2,metadata_csum_seed,casefold,mmp",
        40,
    ),
    (
        "-t ext4 -E nodiscard,packed_meta_blocks=1,lazy_itable_init=1",
        80,
    ),
    ("-t ext3", 40),
    ("-t ext2 -b 1024 -O ^sparse_super,^resize_inode", 40),
];

fn make(lab: &Lab, options: &str, size: usize) -> PathBuf {
    let disk = lab.used_disk("disk.raw", size << 20);
    let tree = lab.tree(1);
    let mut arguments: Vec<&str> = "-q -F -E nodiscard".split(' ').collect();
    arguments.extend(options.split(' '));
    arguments.extend(["-d", text(&tree), text(&disk)]);
    run("mke2fs", &arguments);
    // Deleted files leave holes between others.
    for number in [3, 7, 8, 20] {
        let name = format!("rm \"/directory 2/below/file-{number}\"");
        run("debugfs", &["-w", "-R", &name, text(&disk)]);
        fs::remove_file(tree.join(format!("directory 2/below/file-{number}"))).unwrap();
    }
    disk
}

/// The free ranges by dumpe2fs.
fn free_by_judge(disk: &Path) -> Vec<Range<u64>> {
    let report = run("dumpe2fs", &[text(disk)]);
    let number = |name: &str| -> u64 {
        let line = report.lines().find(|line| line.starts_with(name)).unwrap();
        line.split(':').nth(1).unwrap().trim().parse().unwrap()
    };
    let block = number("Block size:");
    // Of a cluster, its first block is listed.
    let unit = match report.contains("Cluster size:") {
        true => number("Cluster size:"),
        false => block,
    };
    let lists = report
        .lines()
        .filter_map(|line| line.strip_prefix("  Free blocks: "));
    let ranges = lists
        .flat_map(|list| list.split(", "))
        .filter(|it| !it.is_empty());
    joined(ranges.map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let [first, last] = [first, last].map(|number| number.trim().parse::<u64>().unwrap());
        first * block..last * block + unit
    }))
}

#[test]
fn what_dumpe2fs_calls_free_is_discarded_and_every_file_stays() {
    if missing("mke2fs") || missing("debugfs") {
        return;
    }
    for (options, size) in KINDS {
        let lab = Lab::new();
        let disk = make(&lab, options, *size);
        let found = look(&disk);
        assert_eq!(found.volumes.len(), 1, "{options}");
        assert_eq!(found.volumes[0].kept, None, "{options}");
        assert_eq!(found.map.ranges(), free_by_judge(&disk), "{options}");
        assert!(
            found.free_bytes > (*size as u64) << 18,
            "{options}: {found:?}"
        );
        // mke2fs punches a few holes.
        let holes = found.free_bytes - found.stored_bytes;
        assert!(holes < 1 << 20, "{options}: {holes}");
        for poison in [false, true] {
            let after = lab.path("after.raw");
            discard(&disk, &found, &after, poison);
            run("e2fsck", &["-fn", text(&after)]);
            let copy = lab.path(if poison { "poisoned" } else { "copy" });
            fs::create_dir(&copy).unwrap();
            run(
                "debugfs",
                &["-R", &format!("rdump / {}", text(&copy)), text(&after)],
            );
            fs::remove_dir_all(copy.join("lost+found")).unwrap();
            same_trees(&lab.path("tree"), &copy);
        }
    }
}

#[test]
fn a_file_system_that_is_not_clean_or_not_known_is_copied_whole() {
    if missing("mke2fs") || missing("debugfs") {
        return;
    }
    let lab = Lab::new();
    let disk = make(&lab, "-t ext4 -O ^metadata_csum", 32);
    for (request, reason) in [
        ("set_super_value feature_incompat 0x2c6", "journal holds"),
        ("set_super_value state 0", "not unmounted"),
        ("set_super_value state 3", "errors"),
        ("set_super_value error_count 5", "error count is 5"),
        ("set_super_value last_orphan 12", "to be deleted"),
        ("set_super_value feature_incompat 0x102c2", "descriptor"),
        (
            "set_super_value feature_incompat 0x802c2",
            "incompatible features that are not known: 0x80000",
        ),
        (
            "set_super_value feature_ro_compat 0x4047b",
            "read-only compatible features",
        ),
        (
            "set_super_value feature_compat 0x8003c",
            "compatible features",
        ),
        (
            "set_super_value blocks_count 99999",
            "more than its volume has",
        ),
        (
            "set_super_value free_blocks_count 12",
            "its superblock says that 12 blocks are free",
        ),
    ] {
        let copy = changed(&disk, |_| {});
        run("debugfs", &["-w", "-R", request, text(&copy)]);
        if reason != "descriptor" {
            let found = kept(&look(&copy));
            assert!(found.contains(reason), "{request}: {found}");
        }
    }
}

#[test]
fn a_journal_with_something_in_it_is_seen_although_no_flag_says_so() {
    if missing("mke2fs") || missing("debugfs") {
        return;
    }
    let lab = Lab::new();
    for options in ["-t ext4 -b 4096", "-t ext3 -b 4096"] {
        let disk = make(&lab, options, 64);
        fs::remove_dir_all(lab.path("tree")).unwrap();
        let block: usize = run("debugfs", &["-R", "bmap <8> 0", text(&disk)])
            .trim()
            .parse()
            .unwrap();
        let found = kept(&look(&changed(&disk, |bytes| {
            bytes[block * 4096 + 0x1f] = 1
        })));
        assert!(found.contains("journal holds changes"), "{found}");
        let found = kept(&look(&changed(&disk, |bytes| bytes[block * 4096] = 0)));
        assert!(found.contains("journal is damaged"), "{found}");
    }
}

#[test]
fn every_flipped_bit_of_a_bitmap_or_a_descriptor_is_detected() {
    if missing("mke2fs") || missing("debugfs") {
        return;
    }
    for options in [
        "-b 4096 -t ext4",
        "-b 4096 -t ext3",
        "-b 4096 -t ext4 -O ^metadata_csum,uninit_bg",
    ] {
        let lab = Lab::new();
        let disk = make(&lab, options, 40);
        let report = run("dumpe2fs", &[text(&disk)]);
        let places: Vec<usize> = report
            .lines()
            .filter_map(|line| line.trim().strip_prefix("Block bitmap at "))
            .map(|rest| rest.split([' ', ',']).next().unwrap().parse().unwrap())
            .collect();
        let mut random = fastrand::Rng::with_seed(3);
        let [first, ..] = places[..] else {
            panic!("{report}")
        };
        // Bits behind the last of its 10,240 blocks have no meaning.
        for _ in 0..12 {
            let (at, bit) = (first * 4096 + random.usize(..1280), random.u8(..8));
            let found = look(&changed(&disk, |bytes| bytes[at] ^= 1 << bit));
            let reason = kept(&found);
            assert!(
                reason.contains("group 0"),
                "{options} {at:#x} {bit}: {reason}"
            );
        }
        // Counts, places and flags of the first descriptor; the unused rest has no checksum here.
        for at in (4096..4096 + 0x14)
            .filter(|_| !options.contains("ext3"))
            .step_by(3)
        {
            kept(&look(&changed(&disk, |bytes| bytes[at] ^= 4)));
        }
    }
}

#[test]
fn a_bitmap_that_is_another_ones_is_detected_by_its_metadata() {
    if missing("mke2fs") || missing("debugfs") {
        return;
    }
    let lab = Lab::new();
    // No checksums, and the same count: as many bits set as cleared.
    let disk = make(&lab, "-t ext2 -b 1024", 40);
    let report = run("dumpe2fs", &[text(&disk)]);
    let line = report
        .lines()
        .find(|line| line.trim().starts_with("Block bitmap at "))
        .unwrap();
    let number = line.trim()["Block bitmap at ".len()..]
        .split(' ')
        .next()
        .unwrap();
    let place = number.parse::<usize>().unwrap() * 1024;
    let found = kept(&look(&changed(&disk, |bytes| {
        bytes[place] &= !1;
        let free = (0..8192).find(|bit| bytes[place + bit / 8] >> (bit % 8) & 1 == 0 && *bit > 0);
        let free = free.unwrap();
        bytes[place + free / 8] |= 1 << (free % 8);
    })));
    assert!(found.contains("metadata is free"), "{found}");
}

#[test]
fn a_large_disk_costs_no_more_than_its_bitmaps() {
    if missing("mke2fs") || missing("debugfs") {
        return;
    }
    let lab = Lab::new();
    let disk = lab.path("disk.raw");
    let options = "-q -F -t ext4 -b 4096 -E nodiscard,lazy_itable_init=1,lazy_journal_init=1";
    let mut arguments: Vec<&str> = options.split(' ').collect();
    arguments.extend([text(&disk), "1T"]);
    run("mke2fs", &arguments);
    let commands = lab.path("commands");
    // A tenth of the disk, in 13 files with holes between them.
    let mut lines = String::new();
    for file in 0..13 {
        lines += &format!("write /dev/null file-{file}\nfallocate file-{file} 0 2097151\n");
    }
    fs::write(&commands, lines + "rm file-3\nrm file-8\n").unwrap();
    run("debugfs", &["-w", "-f", text(&commands), text(&disk)]);
    let image = crate::common::open(&disk);
    let options = freespace::Options::default();
    let begun = testkit::measure::cpu_time();
    let found = freespace::find(&image, options, &|| false);
    let time = testkit::measure::cpu_time() - begun;
    assert_eq!(found.map.ranges(), free_by_judge(&disk));
    // Bitmaps of 32 MiB, descriptors of 512 KiB, and where volumes begin.
    assert!(found.bytes_read < 34 << 20, "{}", found.bytes_read);
    assert!(found.map.memory() < 8 << 20, "{}", found.map.memory());
    println!("{} read, {time:?} of processor time", found.bytes_read);
}
