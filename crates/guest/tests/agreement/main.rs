//! The readers of file systems, judged by programs that share no code with them.
//!
//! A tree of files is put onto each file system by that file system's own tools. Every path of it
//! is read by our readers, and everything (names, kinds, sizes, modes, links, SHA-256 of contents)
//! must equal the tree. Then another program takes the files out again (`debugfs`, `btrfs
//! restore`, `mcopy`, `ntfs-3g` or `ntfscat`, a mount of XFS), and those must equal it, too.
//!
//! The tree is a small one made by hand. `IMGFERRY_GUEST_TREE=DIR` names another:
//! `debootstrap --variant=minbase --include=linux-image-cloud-amd64 bookworm DIR; umount DIR/proc`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests abort the test where a fact does not hold"
)]

mod listing;
mod tree;

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use diskimg::{Format, OpenOptions, open};
use guest::{Budget, Wanted, inspect};
use tempfile::TempDir;
use testkit::guest::proto;
use testkit::missing;

use crate::listing::{Listing, NO_MODES, counts, of_directory, of_image, same};
use crate::tree::Takes;

/// The last name of a path.
fn name(path: &Path) -> &[u8] {
    path.file_name().unwrap_or_default().as_bytes()
}

/// All permission bits.
const MODES: u32 = 0o7777;

/// Says something to whoever runs the tests. Not println!: the test harness would keep it.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Runs a program; what it prints, unless it fails.
fn output<S: AsRef<OsStr>>(program: &str, arguments: &[S]) -> Result<Vec<u8>, String> {
    let mut command = Command::new(program);
    // In another locale mtools replace letters that are not ASCII.
    command
        .args(arguments)
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null());
    let done = command
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    match done.status.success() {
        true => Ok(done.stdout),
        false => Err(format!(
            "{program}: {}",
            String::from_utf8_lossy(&done.stderr)
        )),
    }
}

fn run<S: AsRef<OsStr>>(program: &str, arguments: &[S]) {
    output(program, arguments).unwrap();
}

/// A directory for one file system, with the tree that goes onto it.
struct Place {
    place: TempDir,
    tree: PathBuf,
    listing: Listing,
}

impl Place {
    /// The part of the tree that `takes` takes; all of it without.
    fn new(takes: Option<Takes>) -> Self {
        let place = tempfile::tempdir().unwrap();
        let whole = std::env::var_os("IMGFERRY_GUEST_TREE").map(PathBuf::from);
        let whole = whole.unwrap_or_else(|| {
            let made = place.path().join("whole");
            fs::create_dir(&made).unwrap();
            tree::write(&made);
            made
        });
        tree::assert_unmounted(&whole);
        let tree = match takes {
            None => whole,
            Some(takes) => {
                let staged = place.path().join("staged");
                let left_out = tree::staged(&whole, &staged, takes);
                say(&format!(
                    "{left_out} names are left out, which it cannot hold"
                ));
                staged
            }
        };
        let listing = of_directory(&tree);
        assert!(listing.len() > 500);
        Self {
            place,
            tree,
            listing,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn tree(&self) -> &str {
        self.tree.to_str().unwrap()
    }

    /// A file of zeros for the file system, `more` MiB longer than twice the tree's files.
    fn image(&self, more: u64) -> String {
        let bytes: u64 = self
            .listing
            .values()
            .map(|(is, _)| match is {
                listing::Is::File(size, _) => size.next_multiple_of(4096) + 4096,
                _ => 4096,
            })
            .sum();
        let file = fs::File::create(self.path("image")).unwrap();
        file.set_len((2 * bytes).next_multiple_of(1 << 20) + (more << 20))
            .unwrap();
        self.text("image")
    }

    /// Our readers, and the other program's files below `out`, agree with the tree.
    fn judge(&self, name: &str, modes: u32, extra: &[&str], out: Option<&Path>) {
        let started = Instant::now();
        let found = of_image(&self.path("image"));
        same(
            &format!("{name}, our reader"),
            &found,
            &self.listing,
            modes,
            extra,
        );
        let took = started.elapsed();
        if let Some(out) = out {
            let theirs = of_directory(out);
            // Other programs leave out what is neither a file, nor a directory, nor a link.
            let mut found = found;
            found.retain(|_, (is, _)| *is != listing::Is::Other);
            same(
                &format!("{name}, the other program"),
                &theirs,
                &found,
                NO_MODES,
                extra,
            );
        }
        let other = out.map_or("no other program", |_| "another program agrees");
        say(&format!(
            "{name}: {} agree in {took:.1?}; {other}",
            counts(&self.listing)
        ));
    }

    /// What an inspection says of the system is what its files say.
    fn judge_facts(&self) {
        let image = open(
            &self.path("image"),
            &OpenOptions::of(Some(Format::Raw)),
            &[],
        )
        .unwrap();
        let report = inspect(&*image.image, Wanted::default(), &Budget::default());
        let os = report.os.unwrap();
        let version = fs::read_to_string(self.tree.join("etc/debian_version")).unwrap();
        assert_eq!(
            (os.id.as_str(), os.version.as_deref()),
            ("debian", Some(version.trim()))
        );
        let mut kernels: Vec<_> = report
            .kernels
            .into_iter()
            .filter_map(|one| one.version)
            .collect();
        kernels.sort();
        let mut expected: Vec<String> = fs::read_dir(self.tree.join("boot"))
            .unwrap()
            .filter_map(|entry| {
                let name = entry.unwrap().file_name().into_string().unwrap();
                name.strip_prefix("vmlinuz-").map(str::to_owned)
            })
            .collect();
        expected.sort();
        assert_eq!(kernels, expected);
    }
}

fn ext(kind: &str, options: &[&str], takes: Option<Takes>) {
    if missing("mke2fs") || missing("debugfs") {
        return;
    }
    let place = Place::new(takes);
    let image = place.image(64);
    let mut arguments = vec!["-q", "-F", "-t", kind, "-d", place.tree()];
    arguments.extend(options);
    arguments.push(&image);
    run("mke2fs", &arguments);
    fs::create_dir(place.path("out")).unwrap();
    let request = format!("rdump / {}", place.text("out"));
    run("debugfs", &["-R", &request, &image]);
    place.judge(
        &format!("{kind} {}", options.join(" ")),
        MODES,
        &["/lost+found"],
        Some(&place.path("out")),
    );
    place.judge_facts();
}

#[test]
fn ext4_as_debugfs_reads_it() {
    ext("ext4", &[], None);
}

#[test]
fn ext4_without_checksums_and_with_small_blocks_as_debugfs_reads_it() {
    ext("ext4", &["-b", "1024", "-O", "^metadata_csum,^64bit"], None);
}

#[test]
fn ext3_as_debugfs_reads_it() {
    // The reader refuses files whose holes are so large that a block of their map is missing.
    ext("ext3", &[], Some(|path| name(path) != b"sparse"));
}

/// XFS with these metadata options.
fn xfs(metadata: &str) {
    if missing("mkfs.xfs") {
        return;
    }
    // A protofile has no blanks in names, comments behind colons, no devices and no sticky bits;
    // xfsprogs 6.1 write long links from it that Linux takes for damaged.
    let place = Place::new(Some(|path| {
        let link = fs::read_link(path).is_ok_and(|target| target.as_os_str().len() > 300);
        let name = name(path);
        !link && !name.starts_with(b":") && !name.iter().any(u8::is_ascii_whitespace)
    }));
    let image = place.image(400);
    let description = place.text("description");
    proto::write(&place.tree, Path::new(&description));
    let options = ["-q", "-f", "-m", metadata, "-p", &description, &image];
    run("mkfs.xfs", &options);
    let out = place.path("out");
    fs::create_dir(&out).unwrap();
    let mounted = output(
        "mount",
        &["-o", "ro,loop,norecovery", &image, &place.text("out")],
    );
    if let Err(reason) = &mounted {
        say(&format!("skipped: XFS cannot be mounted here: {reason}"));
    }
    let _unmount = mounted.is_ok().then(|| Unmount(place.text("out")));
    place.judge(
        &format!("XFS {metadata}"),
        MODES & !0o1000,
        &[],
        mounted.is_ok().then_some(&out),
    );
    place.judge_facts();
}

#[test]
fn xfs_as_linux_reads_it() {
    xfs("crc=1");
}

#[test]
fn xfs_of_version_4_as_linux_reads_it_if_it_still_does() {
    xfs("crc=0");
}

/// Unmounts a directory.
struct Unmount(String);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = output("umount", &[&self.0]);
    }
}

#[test]
fn btrfs_as_its_tools_restore_it() {
    if missing("mkfs.btrfs") || missing("btrfs") {
        return;
    }
    let place = Place::new(None);
    let image = place.image(256);
    run("mkfs.btrfs", &["-q", "--rootdir", place.tree(), &image]);
    let out = place.path("out");
    fs::create_dir(&out).unwrap();
    run("btrfs", &["restore", "-S", &image, &place.text("out")]);
    place.judge("Btrfs", MODES, &[], Some(&out));
    place.judge_facts();
}

/// Plain files and directories whose names Windows has, too.
fn windows_takes(path: &Path) -> bool {
    let name = name(path);
    let plain = fs::symlink_metadata(path).is_ok_and(|about| about.is_dir() || about.is_file());
    let odd = name
        .iter()
        .any(|byte| b":*?\"<>|\\".contains(byte) || *byte < 32);
    let end = name.last().is_some_and(|last| b" .".contains(last));
    plain && !odd && !end
}

#[test]
fn fat_as_mtools_read_it() {
    if missing("mkfs.vfat") || missing("mcopy") {
        return;
    }
    // mtools take minutes for a directory of a thousand long names.
    let place = Place::new(Some(|path| {
        let many = path
            .parent()
            .is_some_and(|parent| parent.ends_with("srv/many"));
        windows_takes(path) && !(many && name(path).len() > 32)
    }));
    let image = place.image(80);
    run("mkfs.vfat", &["-F", "32", &image]);
    for entry in fs::read_dir(&place.tree).unwrap() {
        let path = entry.unwrap().path();
        run(
            "mcopy",
            &["-s", "-Q", "-i", &image, path.to_str().unwrap(), "::/"],
        );
    }
    let out = place.path("out");
    fs::create_dir(&out).unwrap();
    run(
        "mcopy",
        &["-s", "-n", "-Q", "-i", &image, "::/", &place.text("out")],
    );
    place.judge("FAT32", NO_MODES, &[], Some(&out));
}

#[test]
fn ntfs_as_ntfscat_reads_it() {
    if missing("mkntfs") || missing("ntfscp") || missing("ntfscat") {
        return;
    }
    let place = Place::new(Some(windows_takes));
    let image = place.image(80);
    run("mkntfs", &["-q", "-F", "-f", &image]);
    fs::create_dir(place.path("mnt")).unwrap();
    let mounted = output("ntfs-3g", &[&image, &place.text("mnt")]);
    let files: Vec<&Vec<u8>> = place
        .listing
        .iter()
        .filter(|(_, (is, _))| matches!(is, listing::Is::File(..)))
        .map(|(path, _)| path)
        .collect();
    match mounted {
        Ok(_) => {
            let unmount = Unmount(place.text("mnt"));
            run("cp", &["-r", &format!("{}/.", place.tree()), &unmount.0]);
            run("sync", &["-f", &unmount.0]);
            drop(unmount);
            // FUSE writes the rest when the last one has gone.
            while output("ntfsinfo", &["-m", &image]).is_err() {}
            place.judge(
                "NTFS",
                NO_MODES,
                &["/$", "/System Volume Information"],
                None,
            );
        }
        Err(reason) => {
            say(&format!("skipped: NTFS cannot be mounted here: {reason}"));
            return;
        }
    }
    // A sample: each file is a process.
    for path in files.iter().step_by(files.len().div_ceil(60)) {
        let path = str::from_utf8(path).unwrap();
        let theirs = output("ntfscat", &[&image, path]).unwrap();
        let source = fs::read(place.tree.join(&path[1..])).unwrap();
        assert!(theirs == source, "{path}");
    }
}
