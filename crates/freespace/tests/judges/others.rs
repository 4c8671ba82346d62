//! FAT, NTFS, Btrfs and LVM, by the programs that make and check them.

use std::fs;
use std::path::{Path, PathBuf};

use freespace::Options;
use testkit::missing;

use crate::common::{Lab, changed, discard, kept, look, look_with, run, same_trees, text};

#[test]
fn fat_keeps_its_files_and_fsck_finds_nothing() {
    if missing("mkfs.fat") || missing("mcopy") {
        return;
    }
    for (options, size) in [("-F 32 -s 1", 64), ("-F 32 -s 1 -f 1", 64), ("-F 16", 40)] {
        let lab = Lab::new();
        let disk = lab.used_disk("disk.raw", size << 20);
        let tree = lab.tree(3);
        let mut arguments: Vec<&str> = options.split(' ').collect();
        arguments.push(text(&disk));
        run("mkfs.fat", &arguments);
        let from: Vec<String> = list(&tree);
        let mut arguments = vec!["-s", "-i", text(&disk)];
        arguments.extend(from.iter().map(String::as_str));
        arguments.push("::/");
        run("mcopy", &arguments);
        run("mdel", &["-i", text(&disk), "::/directory 1/below/file-5"]);
        fs::remove_file(tree.join("directory 1/below/file-5")).unwrap();
        let found = look(&disk);
        assert_eq!(found.volumes[0].kept, None, "{options}");
        assert!(
            found.free_bytes > (size as u64) << 18,
            "{options}: {found:?}"
        );
        // As many clusters as mtools counts.
        let info = run("mdir", &["-i", text(&disk), "::/"]);
        let line = info.lines().rfind(|line| line.contains("bytes free"));
        let free: String = line.unwrap().chars().filter(char::is_ascii_digit).collect();
        assert_eq!(
            found.volumes[0].free,
            free.parse::<u64>().unwrap(),
            "{options}"
        );
        for poison in [false, true] {
            let after = lab.path("after.raw");
            discard(&disk, &found, &after, poison);
            run("fsck.fat", &["-n", text(&after)]);
            let copy = lab.path(if poison { "poisoned" } else { "copy" });
            fs::create_dir(&copy).unwrap();
            run("mcopy", &["-s", "-i", text(&after), "::/*", text(&copy)]);
            same_trees(&tree, &copy);
        }
        if options.contains("-f 1") {
            continue;
        }
        let head = fs::read(&disk).unwrap();
        let reserved = usize::from(u16::from_le_bytes([head[14], head[15]])) * 512;
        let (entry, state) = if options.contains("32") {
            (4, 65)
        } else {
            (2, 37)
        };
        for (what, place, byte, reason) in [
            ("state", state, 1, "not unmounted"),
            (
                "mark",
                reserved + 2 * entry - 1,
                if entry == 4 { 0x0c } else { 0xc0 },
                "errors",
            ),
            ("chain", reserved + 3 * entry, 0xff, "differ"),
        ] {
            let copy = changed(&disk, |bytes| {
                bytes[place] ^= byte;
                if what == "mark" {
                    // In both tables.
                    let length = match entry {
                        4 => u32::from_le_bytes(head[36..40].try_into().unwrap()),
                        _ => u16::from_le_bytes([head[22], head[23]]).into(),
                    };
                    bytes[place + length as usize * 512] ^= byte;
                }
            });
            let found = kept(&look(&copy));
            assert!(found.contains(reason), "{options} {what}: {found}");
        }
    }
}

/// The entries of a directory.
fn list(tree: &Path) -> Vec<String> {
    let entries = fs::read_dir(tree).unwrap();
    entries
        .map(|entry| text(&entry.unwrap().path()).to_owned())
        .collect()
}

fn ntfs(lab: &Lab, options: &[&str]) -> (PathBuf, Vec<(String, PathBuf)>) {
    let disk = lab.used_disk("disk.raw", 48 << 20);
    let mut arguments = vec!["-Q", "-F", "-q", "-p", "0", "-H", "0", "-S", "0"];
    arguments.extend(options);
    arguments.push(text(&disk));
    run("mkntfs", &arguments);
    let mut files = Vec::new();
    for directory in list(&lab.tree(4)) {
        for file in list(&Path::new(&directory).join("below")) {
            let name = format!("file-{}", files.len());
            run("ntfscp", &["-f", text(&disk), &file, &name]);
            files.push((name, PathBuf::from(file)));
        }
    }
    (disk, files)
}

#[test]
fn ntfs_keeps_its_files_and_ntfsfix_finds_nothing() {
    if missing("mkntfs") || missing("ntfscp") {
        return;
    }
    for options in [&[][..], &["-c", "65536"], &["-c", "1024", "-s", "512"]] {
        let lab = Lab::new();
        let (disk, files) = ntfs(&lab, options);
        let found = look(&disk);
        assert_eq!(found.undone, None, "{options:?}");
        assert_eq!(found.volumes[0].kept, None, "{options:?}");
        assert!(found.free_bytes > 16 << 20, "{options:?}: {found:?}");
        let info = run("ntfsinfo", &["-m", "-f", text(&disk)]);
        let number = |name: &str| -> u64 {
            let line = info
                .lines()
                .find(|line| line.trim().starts_with(name))
                .unwrap();
            let rest = line.split(':').nth(1).unwrap().trim();
            rest.split(' ').next().unwrap().parse().unwrap()
        };
        let free = number("Free Clusters") * number("Cluster Size");
        assert_eq!(found.volumes[0].free, free, "{options:?}");
        for poison in [false, true] {
            let after = lab.path("after.raw");
            discard(&disk, &found, &after, poison);
            run("ntfsfix", &["-n", text(&after)]);
            for (name, file) in &files {
                let copy = lab.path("copy");
                let mut cat = std::process::Command::new("ntfscat");
                cat.args(["-f", text(&after), name]);
                let done = cat.env("PATH", "/usr/sbin:/usr/bin:/bin").output().unwrap();
                fs::write(&copy, &done.stdout).unwrap();
                assert!(fs::read(file).unwrap() == done.stdout, "{options:?} {name}");
            }
        }
    }
}

#[test]
fn ntfs_that_is_dirty_or_asleep_is_copied_whole() {
    if missing("mkntfs") || missing("ntfscp") {
        return;
    }
    let lab = Lab::new();
    let (disk, _) = ntfs(&lab, &[]);
    // The volume's record: its mark is in the value of $VOLUME_INFORMATION.
    let bytes = fs::read(&disk).unwrap();
    let table = u64::from_le_bytes(bytes[48..56].try_into().unwrap()) as usize * 4096;
    let information = (table + 3 * 1024..table + 4 * 1024)
        .find(|at| bytes[*at..].starts_with(&[0x70, 0, 0, 0]))
        .unwrap();
    let value = information + usize::from(bytes[information + 20]);
    let reason = kept(&look(&changed(&disk, |bytes| bytes[value + 10] |= 1)));
    assert!(reason.contains("not unmounted"), "{reason}");
    let reason = kept(&look(&changed(&disk, |bytes| bytes[value + 10] |= 4)));
    assert!(reason.contains("to be checked"), "{reason}");
    for (content, asleep) in [(b"HIBR", true), (b"hibr", true), (&[0; 4], false)] {
        let file = lab.path("hiberfil");
        let mut bytes = vec![0; 20_000];
        bytes[..4].copy_from_slice(content);
        fs::write(&file, bytes).unwrap();
        let copy = changed(&disk, |_| {});
        run("ntfscp", &["-f", text(&copy), text(&file), "hiberfil.sys"]);
        let found = look(&copy);
        assert_eq!(found.map.is_empty(), asleep, "{content:?} {found:?}");
        if asleep {
            assert!(kept(&found).contains("sleeps"), "{found:?}");
        }
    }
    // The bitmap says that the file table is free.
    let place = find_bitmap(&bytes, table);
    let reason = kept(&look(&changed(&disk, |bytes| bytes[place] &= !0x20)));
    assert!(reason.contains("metadata is free"), "{reason}");
}

/// Where the bitmap lies, by the first run of its record.
fn find_bitmap(bytes: &[u8], table: usize) -> usize {
    let record = table + 6 * 1024;
    let data = (record..record + 1024)
        .find(|at| bytes[*at..].starts_with(&[0x80, 0, 0, 0]) && bytes[*at + 8] == 1)
        .unwrap();
    let run = data + usize::from(bytes[data + 32]);
    let (length, offset) = (usize::from(bytes[run] & 15), usize::from(bytes[run] >> 4));
    let mut place = [0; 8];
    place[..offset].copy_from_slice(&bytes[run + 1 + length..][..offset]);
    usize::from_le_bytes(place) * 4096
}

#[test]
fn btrfs_keeps_its_files_and_btrfs_check_finds_nothing() {
    if missing("mkfs.btrfs") || missing("btrfs") {
        return;
    }
    for options in ["-m dup -d single", "-m single -d single", "-n 4096 -m dup"] {
        let lab = Lab::new();
        let disk = lab.used_disk("disk.raw", 160 << 20);
        let tree = lab.tree(5);
        let mut arguments = vec!["-q", "-K", "-f", "--rootdir", text(&tree)];
        arguments.extend(options.split(' '));
        arguments.push(text(&disk));
        run("mkfs.btrfs", &arguments);
        let found = look(&disk);
        assert_eq!(found.volumes[0].kept, None, "{options}");
        assert!(found.free_bytes > 80 << 20, "{options}: {found:?}");
        let after = lab.path("after.raw");
        discard(&disk, &found, &after, true);
        run("btrfs", &["check", "--check-data-csum", text(&after)]);
        let copy = lab.path("copy");
        fs::create_dir(&copy).unwrap();
        run("btrfs", &["restore", text(&after), text(&copy)]);
        same_trees(&tree, &copy);
        // Any byte of the superblock, and of the blocks of trees.
        for at in [65_536 + 120, 65_536 + 80, 65_536 + 180] {
            kept(&look(&changed(&disk, |bytes| bytes[at] ^= 1)));
        }
    }
}

#[test]
fn swap_space_is_free_but_for_its_header_when_it_is_asked_for() {
    if missing("mkswap") {
        return;
    }
    let lab = Lab::new();
    let disk = lab.used_disk("disk.raw", 8 << 20);
    run("mkswap", &[text(&disk)]);
    assert!(kept(&look(&disk)).contains("not asked for"));
    let options = Options { swap: true };
    let found = look_with(&disk, options);
    let places = found.map.ranges().iter().map(|it| (it.start, it.end));
    assert!(places.eq([(128 << 10, 8 << 20)]), "{found:?}");
    let asleep = changed(&disk, |bytes| {
        bytes[4086..4096].copy_from_slice(b"S1SUSPEND\0")
    });
    let found = look_with(&asleep, options);
    assert!(kept(&found).contains("sleeps"), "{found:?}");
}
