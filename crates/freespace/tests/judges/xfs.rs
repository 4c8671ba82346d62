//! XFS, by mkfs.xfs, xfs_db and xfs_repair.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use testkit::missing;

use crate::common::{Lab, changed, discard, joined, kept, look, run, text};

/// Kinds of file systems: arguments of mkfs.xfs, and MiB.
const KINDS: &[(&str, usize)] = &[
    ("-m crc=1", 48),
    ("-m crc=1,rmapbt=1,reflink=1 -d agcount=3", 48),
    ("-m crc=1,finobt=0 -b size=1024", 48),
    ("-m crc=0", 48),
    ("-m crc=1 -s size=4096 -d agcount=2", 48),
];

/// A prototype file: the tree of files, as mkfs.xfs reads it.
fn prototype(lab: &Lab, tree: &Path) -> PathBuf {
    let mut lines = String::from("/dev/null\n0 0\nd--755 0 0\n");
    for (index, directory) in fs::read_dir(tree).unwrap().enumerate() {
        lines += &format!(" d{index} d--755 0 0\n");
        for file in fs::read_dir(directory.unwrap().path().join("below")).unwrap() {
            let file = file.unwrap();
            // Names in prototypes have no blanks, and paths neither.
            let plain = lab.path(&format!("plain-{index}-{}", file.file_name().display()));
            fs::copy(file.path(), &plain).unwrap();
            let name = file.file_name();
            lines += &format!("  {} ---644 0 0 {}\n", name.display(), text(&plain));
        }
        lines += " $\n";
    }
    lines += "$\n";
    let path = lab.path("prototype");
    fs::write(&path, lines).unwrap();
    path
}

fn make(lab: &Lab, options: &str, size: usize) -> PathBuf {
    let disk = lab.used_disk("disk.raw", size << 20);
    let tree = lab.tree(2);
    let prototype = prototype(lab, &tree);
    let mut arguments = vec!["-q", "-K", "--unsupported", "-f", "-p", text(&prototype)];
    arguments.extend(options.split(' '));
    arguments.push(text(&disk));
    run("mkfs.xfs", &arguments);
    disk
}

/// The free ranges by xfs_db.
fn free_by_judge(disk: &Path) -> Vec<Range<u64>> {
    let field = |name: &str| -> u64 {
        let printed = run(
            "xfs_db",
            &["-r", "-c", "sb 0", "-c", &format!("p {name}"), text(disk)],
        );
        printed.split('=').nth(1).unwrap().trim().parse().unwrap()
    };
    let (block, group) = (field("blocksize"), field("agblocks"));
    let mut found = Vec::new();
    for number in 0..field("agcount") {
        let request = format!("freesp -d -a {number}");
        for line in run("xfs_db", &["-r", "-c", &request, text(disk)]).lines() {
            let numbers: Vec<u64> = line
                .split_whitespace()
                .map_while(|it| it.parse().ok())
                .collect();
            if let [number, start, count] = numbers[..] {
                let first = (number * group + start) * block;
                found.push(first..first + count * block);
            }
        }
    }
    found.sort_by_key(|range| range.start);
    joined(found)
}

#[test]
fn what_xfs_db_calls_free_is_discarded_and_nothing_is_wrong_after_that() {
    if missing("mkfs.xfs") || missing("xfs_db") {
        return;
    }
    for (options, size) in KINDS {
        let lab = Lab::new();
        let disk = make(&lab, options, *size);
        let found = look(&disk);
        assert_eq!(found.volumes.len(), 1, "{options}");
        assert_eq!(found.volumes[0].kept, None, "{options}");
        // Blocks of the free list are free for xfs_db, and kept here: whole ranges are compared
        // where there is no difference, and otherwise ours lie in theirs.
        let theirs = free_by_judge(&disk);
        for range in found.map.ranges() {
            let holds = |their: &Range<u64>| their.start <= range.start && range.end <= their.end;
            assert!(
                theirs.iter().any(holds),
                "{options}: {range:x?} of {theirs:x?}"
            );
        }
        let sum =
            |ranges: &[Range<u64>]| -> u64 { ranges.iter().map(|it| it.end - it.start).sum() };
        assert!(
            sum(&theirs) - sum(found.map.ranges()) < 1 << 20,
            "{options}"
        );
        assert!(
            found.free_bytes > (*size as u64) << 18,
            "{options}: {found:?}"
        );
        let after = lab.path("after.raw");
        discard(&disk, &found, &after, true);
        run("xfs_repair", &["-n", "-f", text(&after)]);
        // Every file through another reader.
        assert_eq!(files(&after), files(&disk), "{options}");
    }
}

/// Names and contents of all files.
fn files(disk: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let image = std::sync::Arc::new(crate::common::open(disk));
    let mut found = Vec::new();
    let budget = guest::Budget::default();
    guest::survey::walk(image, &budget, 100_000, &mut |met| match met {
        guest::survey::Met::Node(node) => {
            let mut bytes = Vec::new();
            if node.kind == guest::survey::Kind::File {
                bytes = vec![0; usize::try_from(node.size).unwrap()];
                let mut at = 0;
                while at < bytes.len() {
                    at += node.read_at(at as u64, &mut bytes[at..]).unwrap();
                }
            }
            found.push((node.path.to_vec(), bytes));
        }
        guest::survey::Met::Volume(_, closed) => assert_eq!(closed, None),
        guest::survey::Met::Failed(path, reason) => panic!("{path:?}: {reason}"),
    })
    .unwrap();
    assert!(found.len() > 90, "{}", found.len());
    found
}

/// Sets a field of the header of group 0, with the right checksum.
fn set(disk: &Path, field: &str, value: &str) -> PathBuf {
    let copy = changed(disk, |_| {});
    let write = format!("write -d {field} {value}");
    run("xfs_db", &["-x", "-c", "agf 0", "-c", &write, text(&copy)]);
    copy
}

#[test]
fn what_contradicts_itself_is_copied_whole() {
    if missing("mkfs.xfs") || missing("xfs_db") {
        return;
    }
    let lab = Lab::new();
    for options in ["-m crc=1", "-m crc=0"] {
        let disk = make(&lab, options, 48);
        fs::remove_dir_all(lab.path("tree")).unwrap();
        for (field, value) in [("freeblks", "77"), ("longest", "5"), ("flcount", "3")] {
            let reason = kept(&look(&set(&disk, field, value)));
            let known = ["disagree", "groups say", "damaged", "free list"];
            assert!(
                known.iter().any(|it| reason.contains(it)),
                "{field}: {reason}"
            );
        }
        // Any bit of the leaf of the tree by place.
        let request = ["-r", "-c", "agf 0", "-c", "p bnoroot", text(&disk)];
        let printed = run("xfs_db", &request);
        let root: usize = printed.split('=').nth(1).unwrap().trim().parse().unwrap();
        let header = if options == "-m crc=1" { 56 } else { 16 };
        for at in header..header + 8 {
            let copy = changed(&disk, |bytes| bytes[root * 4096 + at] ^= 0x10);
            kept(&look(&copy));
        }
        for (field, value) in [("features_incompat", "0x80000000"), ("inprogress", "1")] {
            let write = format!("write -d {field} {value}");
            let copy = changed(&disk, |_| {});
            run("xfs_db", &["-x", "-c", "sb 0", "-c", &write, text(&copy)]);
            if options == "-m crc=1" || field == "inprogress" {
                kept(&look(&copy));
            }
        }
    }
}
