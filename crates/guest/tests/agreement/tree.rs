//! The tree that is put onto file systems.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use fastrand::Rng;
use testkit::guest::archive::archive;
use testkit::guest::program;

pub(crate) const KERNEL: &str = "6.1.0-18-amd64";

/// Writes a small Debian to `top`: a merged `/usr`, a kernel, and files of every shape.
pub(crate) fn write(top: &Path) {
    let put = |path: &str, content: &[u8]| {
        let path = top.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    for directory in [
        "dev", "proc", "sys", "run", "tmp", "root", "usr/bin", "usr/sbin", "usr/lib",
    ] {
        fs::create_dir_all(top.join(directory)).unwrap();
    }
    for name in ["bin", "sbin", "lib"] {
        symlink(format!("usr/{name}"), top.join(name)).unwrap();
    }
    put(
        "usr/lib/os-release",
        b"PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nID=debian\n",
    );
    put("etc/debian_version", b"12.5\n");
    symlink("../usr/lib/os-release", top.join("etc/os-release")).unwrap();
    put("etc/hosts", b"127.0.0.1 localhost\n");
    put(
        "etc/fstab",
        b"# <file system> <mount point>\nLABEL=root / auto errors=remount-ro 0 1\n",
    );
    put("usr/bin/bash", &program::elf(0x3e));
    symlink("bash", top.join("usr/bin/sh")).unwrap();
    put(&format!("boot/vmlinuz-{KERNEL}"), &program::kernel(KERNEL));
    put(
        &format!("boot/config-{KERNEL}"),
        b"CONFIG_VIRTIO=y\nCONFIG_VIRTIO_BLK=y\n",
    );
    let module = format!("usr/lib/modules/{KERNEL}/kernel/drivers/block/virtio_blk.ko");
    put(
        &format!("boot/initrd.img-{KERNEL}"),
        &archive(&[(&module, "x")]),
    );
    put(&module, b"\x7fELF");
    shapes(top, &put);
    for (path, mode) in [
        ("etc/hosts", 0o600),
        ("usr/bin/bash", 0o4755),
        ("tmp", 0o1777),
    ] {
        fs::set_permissions(top.join(path), Permissions::from_mode(mode)).unwrap();
    }
}

/// Files of every length and shape that a file system stores in its own way.
fn shapes(top: &Path, put: &dyn Fn(&str, &[u8])) {
    let mut rng = Rng::with_seed(7);
    let mut bytes = |length: usize| {
        let mut bytes = vec![0; length];
        rng.fill(&mut bytes);
        bytes
    };
    for length in [
        0, 1, 59, 61, 511, 700, 1024, 2047, 4095, 4096, 4097, 65_537, 1_000_003,
    ] {
        put(&format!("srv/length/{length}"), &bytes(length));
    }
    put("srv/large", &bytes(9 << 20));
    for number in 0..900 {
        put(
            &format!("srv/many/a-name-of-some-length-{number}.service"),
            b"x",
        );
        put(&format!("srv/few/{}/{number}", number % 40), b"y");
    }
    let deep: Vec<String> = (0..30).map(|level| format!("level{level}")).collect();
    put(&format!("srv/{}/end", deep.join("/")), b"deep");
    put("srv/nämé with blanks.txt", b"text");
    put(&format!("srv/{}", "n".repeat(200)), b"long");
    symlink("x".repeat(59), top.join("srv/link59")).unwrap();
    symlink("y/".repeat(300), top.join("srv/link600")).unwrap();
    fs::hard_link(top.join("srv/length/4097"), top.join("srv/same")).unwrap();
    let sparse = File::create(top.join("srv/sparse")).unwrap();
    sparse.set_len(6 << 20).unwrap();
    for at in [0, 1_000_000, 5 << 20] {
        sparse.write_all_at(b"here", at).unwrap();
    }
}

/// Whether a file system takes what is at a path.
pub(crate) type Takes = fn(&Path) -> bool;

/// debootstrap leaves `/proc` mounted, whose files have no end.
///
/// # Panics
/// When something is mounted in `top`.
pub(crate) fn assert_unmounted(top: &Path) {
    let device = |path: &Path| fs::symlink_metadata(path).unwrap().dev();
    for entry in fs::read_dir(top).unwrap() {
        let path = entry.unwrap().path();
        let shown = path.display();
        assert_eq!(device(&path), device(top), "unmount {shown} first");
    }
}

/// Links the files of `from` that `takes` takes to `to`. Of names that differ in case alone it
/// keeps one. Returns how many it left out, with what is below them.
pub(crate) fn staged(from: &Path, to: &Path, takes: Takes) -> usize {
    let mut left_out = 0;
    fs::create_dir_all(to).unwrap();
    let mut known = BTreeSet::new();
    let mut entries: Vec<PathBuf> = fs::read_dir(from)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap();
        let about = fs::symlink_metadata(&path).unwrap();
        let folded = name.to_string_lossy().to_lowercase();
        if !takes(&path) || !known.insert(folded) {
            left_out += 1;
            continue;
        }
        if about.is_dir() {
            left_out += staged(&path, &to.join(name), takes);
        } else if about.is_symlink() {
            symlink(fs::read_link(&path).unwrap(), to.join(name)).unwrap();
        } else if about.is_file() && fs::hard_link(&path, to.join(name)).is_err() {
            fs::copy(&path, to.join(name)).unwrap();
        }
    }
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    left_out
}
