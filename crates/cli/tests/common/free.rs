//! A disk with free space that holds old data.

use std::fs;
use std::path::Path;
use std::process::Command;

use testkit::guest::table::{Partition, mbr};

use super::noise;

const MIB: usize = 1 << 20;
/// Where the file system lies, and where the swap space.
pub const EXT4: std::ops::Range<usize> = MIB..41 * MIB;
pub const SWAP: std::ops::Range<usize> = 44 * MIB..52 * MIB;
const SIZE: usize = 60 * MIB;

/// Bytes of the only file, `file`.
pub const FILE: usize = 6 * MIB;

fn run(program: &str, arguments: &[&str]) {
    let path = "/usr/sbin:/usr/bin:/sbin:/bin";
    let mut command = Command::new(program);
    let done = command.args(arguments).env("PATH", path).output().unwrap();
    assert!(done.status.success(), "{program}: {done:?}");
}

/// Writes a disk of noise to `path`: an MBR, an ext4 with one file, a gap, swap space, a gap. `None`
/// where the programs are missing that make it.
pub fn disk(dir: &Path, path: &Path) -> Option<Vec<u8>> {
    if testkit::missing("mke2fs") || testkit::missing("mkswap") {
        return None;
    }
    let mut disk = noise(SIZE);
    disk[..MIB].fill(0);
    let partition = |kind, range: std::ops::Range<usize>| Partition {
        kind: [kind; 16],
        start: range.start as u64 / 512,
        sectors: range.len() as u64 / 512,
    };
    let partitions = [partition(0x83, EXT4), partition(0x82, SWAP)];
    mbr(&mut disk, 7, Some(0), &partitions);
    let tree = dir.join("tree");
    fs::create_dir_all(&tree).unwrap();
    fs::write(tree.join("file"), noise(FILE)).unwrap();
    let part = dir.join("part");
    let name = part.to_str().unwrap();
    fs::write(&part, &disk[EXT4]).unwrap();
    let options = "-q -F -t ext4 -b 4096 -E nodiscard -d";
    let mut arguments: Vec<&str> = options.split(' ').collect();
    arguments.extend([tree.to_str().unwrap(), name]);
    run("mke2fs", &arguments);
    disk[EXT4].copy_from_slice(&fs::read(&part).unwrap());
    fs::write(&part, &disk[SWAP]).unwrap();
    run("mkswap", &[name]);
    disk[SWAP].copy_from_slice(&fs::read(&part).unwrap());
    fs::write(path, &disk).unwrap();
    Some(disk)
}

/// Asserts that `after` is the disk `before` without its free space: the file system has no errors
/// and its file, and what does not belong to it is there.
pub fn is_whole(dir: &Path, before: &[u8], after: &[u8]) {
    assert_eq!(before.len(), after.len());
    assert!(
        before[..MIB] == after[..MIB],
        "in front of the first partition"
    );
    assert!(
        before[SIZE - MIB..] == after[SIZE - MIB..],
        "the end of the disk"
    );
    assert!(
        before[SWAP][..4096] == after[SWAP][..4096],
        "the header of the swap space"
    );
    let part = dir.join("after");
    fs::write(&part, &after[EXT4]).unwrap();
    let part = part.to_str().unwrap();
    run("e2fsck", &["-fn", part]);
    let copy = dir.join("copy");
    run(
        "debugfs",
        &["-R", &format!("dump /file {}", copy.display()), part],
    );
    assert!(fs::read(copy).unwrap() == noise(FILE), "the file");
}
