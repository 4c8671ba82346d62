//! Partitions, and what is put into them.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use testkit::guest::table;

use super::image::{MIB, Workshop};

/// A disk in the making.
pub(super) struct Disk(File);

impl Disk {
    /// A disk of `size` bytes with the partitions that `script` describes, as sfdisk reads it.
    pub(super) fn new(workshop: &Workshop, size: u64, script: &str) -> Self {
        let path = workshop.zeros("disk", size);
        let mut command = Command::new("sfdisk");
        command.arg("-q").arg(&path).stdin(Stdio::piped());
        let mut sfdisk = command.spawn().unwrap();
        let mut input = sfdisk.stdin.take().unwrap();
        input.write_all(script.as_bytes()).unwrap();
        drop(input);
        assert!(sfdisk.wait().unwrap().success(), "{script}");
        let file = OpenOptions::new().read(true).write(true).open(path);
        Self(file.unwrap())
    }

    pub(super) fn write(&self, at: u64, bytes: &[u8]) {
        self.0.write_all_at(bytes, at).unwrap();
    }

    /// Boot code like GRUB's, which goes on in sector `core`.
    pub(super) fn grub(&self, core: u64) {
        let mut head = vec![0; 512 * (core as usize + 1)];
        self.0.read_exact_at(&mut head, 0).unwrap();
        table::grub(&mut head, core);
        self.write(0, &head);
    }

    /// Puts the image at `path` to byte `at`.
    pub(super) fn put(&self, path: &Path, at: u64) {
        self.put_part(path, 0, u64::MAX, at);
    }

    /// Puts at most `length` bytes of the image from `from` on to byte `at`; zeros are left out.
    pub(super) fn put_part(&self, path: &Path, from: u64, length: u64, at: u64) {
        let file = File::open(path).unwrap();
        let end = file
            .metadata()
            .unwrap()
            .len()
            .min(from.saturating_add(length));
        let zeros = vec![0; MIB as usize];
        let mut buf = zeros.clone();
        for from_here in (from..end).step_by(buf.len()) {
            let piece = (end - from_here).min(MIB) as usize;
            file.read_exact_at(&mut buf[..piece], from_here).unwrap();
            if buf[..piece] != zeros[..piece] {
                self.write(at + from_here - from, &buf[..piece]);
            }
        }
    }
}
