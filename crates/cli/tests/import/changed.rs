//! An import that believes a bitmap about what has changed since its base.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::Value;
use testkit::exports::Served;
use testkit::{missing, qemu};

use crate::common::cloud::Cloud;
use crate::common::importing::is_right;
use crate::common::{self, Run, json_of, run};

const MIB: u64 = 1 << 20;

/// A disk of 64 MiB in a qcow2 image, which was imported as `a.zvhd2`; the bitmap `b0` was begun
/// before that.
struct Watched {
    cloud: Cloud,
    served: Served,
    image: PathBuf,
}

impl Watched {
    /// `None` where QEMU's tools are missing.
    fn new() -> Option<Self> {
        if qemu::missing() || missing("qemu-nbd") {
            return None;
        }
        let served = Served::new();
        let raw = served.dir.path().join("disk.raw");
        let image = served.dir.path().join("disk.qcow2");
        fs::write(&raw, common::noise(64 << 20)).unwrap();
        let this = Self {
            cloud: Cloud::start(&["images"]),
            served,
            image,
        };
        let (raw, name) = (raw.to_str().unwrap(), this.name());
        qemu::img(["convert", "-f", "raw", "-O", "qcow2", raw, name]);
        this.bitmap("--add", "b0");
        is_right(&this.import(name, "a", &[]));
        Some(this)
    }

    fn name(&self) -> &str {
        self.image.to_str().unwrap()
    }

    fn bitmap(&self, what: &str, bitmap: &str) {
        qemu::img(["bitmap", what, self.name(), bitmap]);
    }

    fn write(&self, commands: &[&str]) {
        qemu::io(&self.image, "qcow2", commands);
    }

    fn import(&self, disk: &str, name: &str, options: &[&str]) -> Run {
        let mut command = self.cloud.command();
        command.args(["import", disk, "--name", name, "--bucket", "images"]);
        command
            .args(["--type", "DataImage", "--json"])
            .args(options);
        run(&mut command)
    }

    fn changed(&self, disk: &str, name: &str, more: &[&str]) -> Run {
        let options = ["--base", "a.zvhd2", "--changed-by", "bitmap:b0"];
        self.import(disk, name, &[&options, more].concat())
    }

    /// Whether the object of the import `name` holds the disk as it is now, all of it.
    #[track_caller]
    fn verify(&self, name: &str) {
        let mut command = self.cloud.command();
        command.args(["verify", self.name()]);
        command.arg(format!("obs://images/{name}.zvhd2"));
        run(&mut command).success();
    }

    #[track_caller]
    fn refuses(&self, disk: &str, words: &str) {
        let refused = self.changed(disk, "b", &[]);
        assert_eq!(refused.code, Some(2), "{}", refused.stderr);
        assert!(refused.stderr.contains(words), "{}", refused.stderr);
        assert!(refused.stderr.contains("hint: "), "{}", refused.stderr);
        assert_eq!(self.cloud.objects("images"), ["a.zvhd2"]);
        assert_eq!(self.cloud.uploads(), 0);
    }
}

const WRITES: [&str; 3] = ["write -P 7 20M 1M", "write -z 30M 2M", "write -P 8 63M 64k"];

/// What it has to say of blocks that hold `marked` bytes of changes, and of those that it read.
#[track_caller]
fn believes(run: &Run, marked: u64, read: u64) {
    let json = is_right(run);
    let by = &json["changed_by"];
    assert_eq!(by["bitmap"], "b0", "{json}");
    assert_eq!(by["base"], "a.zvhd2");
    assert_eq!(by["marked_bytes"].as_u64(), Some(marked), "{json}");
    assert_eq!(by["read_bytes"].as_u64(), Some(read), "{json}");
    assert!(json["uploaded"]["copied_bytes"].as_u64() > Some(20 * MIB));
    let trusts = "every byte outside the bitmap \"b0\" is taken to be as in a.zvhd2";
    assert!(run.stderr.contains(trusts), "{}", run.stderr);
}

#[test]
fn only_what_a_bitmap_marks_is_read_and_the_object_is_whole() {
    let Some(mut watched) = Watched::new() else {
        return;
    };
    watched.write(&WRITES);
    let name = watched.name().to_owned();
    // A block of changes in each of three; of the zeros nothing is read.
    let (marked, read) = (3 * MIB + (64 << 10), 4 * MIB);
    let planned = watched.changed(&name, "b", &["--dry-run"]);
    let by = &json_of(planned.success())["base"]["changed_by"];
    assert_eq!(by["marked_bytes"].as_u64(), Some(marked));
    assert_eq!(by["read_bytes"].as_u64(), Some(6 * MIB));
    believes(&watched.changed(&name, "b", &[]), marked, read);
    watched.verify("b");

    // The same from a server that exports it; then from one through which it is written.
    watched.served.qemu_nbd_of_changes("b0", &watched.image);
    let uri = watched.served.uri("");
    believes(&watched.changed(&uri, "c", &[]), marked, read);
    watched.verify("c");
}

#[test]
fn a_disk_that_is_written_through_its_server_is_imported_from_there() {
    let Some(mut watched) = Watched::new() else {
        return;
    };
    let socket = watched.served.socket();
    let args = ["-t", "-e", "8", "-f", "qcow2", "-B", "b0", "-k"];
    let mut args = args.map(str::to_owned).to_vec();
    args.push(socket.to_str().unwrap().to_owned());
    args.push(watched.name().to_owned());
    watched.served.run("qemu-nbd", args);
    let uri = watched.served.uri("");
    qemu::io(uri.as_ref(), "raw", &WRITES);
    let (marked, read) = (3 * MIB + (64 << 10), 4 * MIB);
    believes(&watched.changed(&uri, "b", &[]), marked, read);
    // The bitmap goes on; it is never cleared, so the first base is one for every later import.
    qemu::io(uri.as_ref(), "raw", &["write -P 9 40M 1"]);
    let third = watched.changed(&uri, "c", &[]);
    believes(&third, marked + (64 << 10), read + 2 * MIB);
    watched.served.child = None;
    watched.verify("c");
}

/// Serves `image` as `disk`, to be written, and as `snap` what it was when the server was started,
/// with the changes in `b0`.
fn storage_daemon(served: &mut Served, image: &Path) {
    let scratch = served.dir.path().join("scratch.qcow2");
    qemu::img([
        "create",
        "-q",
        "-f",
        "qcow2",
        scratch.to_str().unwrap(),
        "64M",
    ]);
    let mut args = Vec::new();
    for (file, node) in [(image, "disk"), (&scratch, "scratch")] {
        let file = file.display();
        args.push(format!(
            "--blockdev=driver=file,node-name={node}-file,filename={file}"
        ));
        args.push(format!(
            "--blockdev=driver=qcow2,node-name={node},file={node}-file"
        ));
    }
    let socket = served.socket();
    args.extend([
        "--blockdev=driver=copy-before-write,node-name=cbw,file=disk,target=scratch".to_owned(),
        "--blockdev=driver=snapshot-access,node-name=access,file=cbw,read-only=on".to_owned(),
        format!(
            "--nbd-server=addr.type=unix,addr.path={},max-connections=16",
            socket.display()
        ),
        "--export=type=nbd,id=w,node-name=cbw,name=disk,writable=on".to_owned(),
        "--export=type=nbd,id=r,node-name=access,name=snap,bitmaps.0.node=disk,bitmaps.0.name=b0"
            .to_owned(),
    ]);
    served.run("qemu-storage-daemon", args);
}

#[test]
fn a_disk_is_imported_as_it_was_at_a_moment_while_it_is_written() {
    if missing("qemu-storage-daemon") {
        return;
    }
    let Some(mut watched) = Watched::new() else {
        return;
    };
    watched.write(&WRITES);
    let then = watched.served.dir.path().join("then.raw");
    let name = watched.name().to_owned();
    qemu::img(["convert", "-O", "raw", &name, then.to_str().unwrap()]);
    storage_daemon(&mut watched.served, &watched.image);
    let (disk, snap) = (watched.served.uri("disk"), watched.served.uri("snap"));
    // Before the import, so that some of what it reads has changed for certain; and during it.
    qemu::io(
        disk.as_ref(),
        "raw",
        &["write -P 9 0 1M", "write -P 9 20M 64k"],
    );
    let over = AtomicBool::new(false);
    let run = thread::scope(|scope| {
        scope.spawn(|| {
            for place in (0..).map(|count| count * 7919 % (65_536 - 64)) {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let write = format!("write -P 9 {place}k 64k");
                qemu::io(disk.as_ref(), "raw", &[&write]);
            }
        });
        let run = watched.changed(&snap, "b", &[]);
        over.store(true, Ordering::Relaxed);
        run
    });
    let json = is_right(&run);
    // What was written meanwhile is marked, too, and read as it was.
    assert!(
        json["changed_by"]["read_bytes"].as_u64() >= Some(6 * MIB),
        "{json}"
    );
    let mut verify = watched.cloud.command();
    verify.arg("verify").arg(&then).arg("obs://images/b.zvhd2");
    common::run(&mut verify).success();
}

#[test]
fn a_bitmap_that_cannot_tell_what_has_changed_since_the_base_is_refused() {
    let Some(mut watched) = Watched::new() else {
        return;
    };
    let name = watched.name().to_owned();
    let alone = watched.import(&name, "b", &["--changed-by", "bitmap:b0"]);
    assert_eq!(alone.code, Some(2), "{}", alone.stderr);
    watched.bitmap("--disable", "b0");
    watched.refuses(
        &name,
        "the bitmap \"b0\" is disabled: it may have missed changes",
    );
    watched.bitmap("--remove", "b0");
    watched.refuses(&name, "the image has no bitmap \"b0\", nor any other");
    watched.bitmap("--add", "b1");
    watched.refuses(&name, "the image has no bitmap \"b0\"; it has \"b1\"");
    watched.served.qemu_nbd_of_changes("b1", &watched.image);
    let uri = watched.served.uri("");
    watched.refuses(&uri, "does not export the bitmap \"b0\", but [\"b1\"]");
    watched.served.child = None;
    let raw = watched.served.dir.path().join("disk.raw");
    watched.refuses(raw.to_str().unwrap(), "bitmaps of changes are kept by");

    // A bitmap that was begun after the disk had changed: what it does not mark is not as it was.
    watched.write(&["write -P 3 0 64M"]);
    watched.bitmap("--add", "b0");
    watched.refuses(&name, "which it does not mark, is another one now");
    watched.bitmap("--clear", "b0");
    let size = qemu::img(["resize", "-q", &name, "80M"]);
    assert_eq!(size, "");
    watched.refuses(&name, "it holds a disk of 67108864 bytes");
    let json = is_right(&watched.import(&name, "c", &[]));
    assert_eq!(json["changed_by"], Value::Null);
}
