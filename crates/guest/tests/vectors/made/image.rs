//! File systems, made by their own tools.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;
use testkit::guest::proto;

use super::tree::Tree;

pub(super) const MIB: u64 = 1 << 20;

/// A directory in which one disk is made.
pub(crate) struct Workshop(TempDir);

/// Runs a program, quietly.
///
/// # Panics
/// When it fails; says what it printed.
pub(super) fn run(command: &mut Command) {
    let Output { status, stderr, .. } = command.stdin(Stdio::null()).output().unwrap();
    let reason = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{command:?}: {reason}");
}

fn command<const N: usize>(program: &str, arguments: [&str; N], last: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).arg(last);
    command
}

impl Workshop {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A tree without files.
    pub(super) fn tree(&self, name: &str) -> Tree {
        let top = self.path(name);
        fs::create_dir(&top).unwrap();
        Tree(top)
    }

    /// A file of `size` zeros.
    pub(super) fn zeros(&self, name: &str, size: u64) -> PathBuf {
        let path = self.path(name);
        File::create(&path).unwrap().set_len(size).unwrap();
        path
    }

    pub(super) fn ext4(
        &self,
        name: &str,
        size: u64,
        tree: &Tree,
        uuid: &str,
        features: &str,
    ) -> PathBuf {
        let image = self.zeros(name, size);
        let quiet = ["-q", "-F", "-t", "ext4", "-U", uuid, "-O", features, "-d"];
        let mut command = command("mke2fs", quiet, &tree.0);
        run(command.args(["-E", "root_owner=0:0"]).arg(&image));
        image
    }

    pub(super) fn xfs(
        &self,
        name: &str,
        size: u64,
        tree: &Tree,
        uuid: &str,
        features: &str,
    ) -> PathBuf {
        let image = self.zeros(name, size);
        let description = self.path("description");
        proto::write(&tree.0, &description);
        let features = format!("uuid={uuid},{features}");
        let mut command = command(
            "mkfs.xfs",
            ["-q", "-f", "-m", &features, "-p"],
            &description,
        );
        run(command.arg(&image));
        image
    }

    /// A FAT32 with the files of `tree`.
    pub(super) fn fat(&self, name: &str, size: u64, tree: &Tree, id: &str) -> PathBuf {
        let image = self.zeros(name, size);
        run(&mut command(
            "mkfs.vfat",
            ["-F", "32", "-i", id, "-n", "ESP"],
            &image,
        ));
        for entry in fs::read_dir(&tree.0).unwrap() {
            let path = entry.unwrap().path();
            run(command("mcopy", ["-s", "-Q", "-i"], &image).args([&*path, Path::new("::/")]));
        }
        image
    }

    /// An NTFS with the files of `tree`, if this machine can mount one.
    pub(super) fn ntfs(&self, name: &str, size: u64, tree: &Tree, label: &str) -> Option<PathBuf> {
        let image = self.zeros(name, size);
        run(&mut command(
            "mkntfs",
            ["-q", "-F", "-f", "-L", label],
            &image,
        ));
        let place = self.path("mnt");
        fs::create_dir_all(&place).unwrap();
        let mount = command("ntfs-3g", [], &image).arg(&place).output().unwrap();
        if !mount.status.success() {
            let reason = String::from_utf8_lossy(&mount.stderr).into_owned();
            testkit::skipped(format_args!("NTFS cannot be mounted here: {reason}"));
            return None;
        }
        let copied = command("cp", ["-r"], &tree.0.join("."))
            .arg(&place)
            .status();
        run(&mut command("umount", [], &place));
        assert!(copied.unwrap().success());
        // FUSE writes the rest when the last one has gone.
        while !command("ntfsinfo", ["-m"], &image)
            .output()
            .unwrap()
            .status
            .success()
        {}
        Some(image)
    }
}
