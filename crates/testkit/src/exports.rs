//! Servers of NBD that other people wrote, each with a socket of its own.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "test helper: a wrong call fails the test"
)]

use std::ffi::OsStr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::measure::HANG;
use crate::qemu;

/// A program that is ended with the test.
#[derive(Debug)]
pub struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A directory with a server's socket in it.
#[derive(Debug)]
pub struct Served {
    /// The directory.
    pub dir: tempfile::TempDir,
    /// The server, when it is a program.
    pub child: Option<Running>,
}

impl Default for Served {
    fn default() -> Self {
        Self::new()
    }
}

impl Served {
    /// Without a server yet.
    ///
    /// # Panics
    /// When there is no room for it.
    #[must_use]
    pub fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            child: None,
        }
    }

    /// Where the server listens.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("sock")
    }

    /// The URI of an export.
    #[must_use]
    pub fn uri(&self, export: &str) -> String {
        format!("nbd+unix:///{export}?socket={}", self.socket().display())
    }

    /// Runs `program` until it listens.
    ///
    /// # Panics
    /// When it does not.
    pub fn run<S: AsRef<OsStr>>(&mut self, program: &str, args: impl IntoIterator<Item = S>) {
        let _ = std::fs::remove_file(self.socket());
        let child = Command::new(program)
            .args(args)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(Running(child));
        let begun = Instant::now();
        while !listens(&self.socket()) {
            let running = &mut self.child.as_mut().unwrap().0;
            let ended = running.try_wait().unwrap();
            assert!(ended.is_none(), "{program} has ended: {ended:?}");
            assert!(begun.elapsed() < HANG, "{program} does not listen");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs qemu-nbd for `shared` clients, read-only, with its socket here.
    ///
    /// # Panics
    /// As [`Self::run`].
    pub fn qemu_nbd(&mut self, shared: &str, format: &str, export: &str, file: &Path) {
        let socket = self.socket();
        let socket = socket.as_os_str();
        let mut args: Vec<&OsStr> = ["-r", "-t", "-e", shared, "-f", format, "-x", export, "-k"]
            .map(OsStr::new)
            .to_vec();
        args.extend([socket, file.as_os_str()]);
        self.run("qemu-nbd", args);
    }

    /// Runs qemu-nbd, read-only, for the qcow2 image `file` and the changes in its `bitmap`.
    ///
    /// # Panics
    /// As [`Self::run`].
    pub fn qemu_nbd_of_changes(&mut self, bitmap: &str, file: &Path) {
        let socket = self.socket();
        let mut args: Vec<&OsStr> = ["-r", "-t", "-e", "8", "-f", "qcow2", "-B", bitmap, "-k"]
            .map(OsStr::new)
            .to_vec();
        args.extend([socket.as_os_str(), file.as_os_str()]);
        self.run("qemu-nbd", args);
    }

    /// The bytes of the disk that `bitmap` marks, as `qemu-img map` sees them through the server.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn changes(&self, bitmap: &str) -> Vec<Range<u64>> {
        let socket = self.socket();
        let options = format!(
            "driver=nbd,server.type=unix,server.path={},x-dirty-bitmap=qemu:dirty-bitmap:{bitmap}",
            socket.display()
        );
        let said = qemu::img(["map", "--output=json", "--image-opts", &options]);
        let mut found: Vec<Range<u64>> = Vec::new();
        for line in said.lines().filter(|line| line.contains("\"data\": false")) {
            let number = |key: &str| -> u64 {
                let rest = line.split_once(key).unwrap().1;
                let digits = rest.trim_start_matches(['"', ':', ' ']);
                let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap();
                digits.split_at(end).0.parse().unwrap()
            };
            let start = number("start");
            let end = start + number("length");
            match found.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => found.push(start..end),
            }
        }
        found
    }

    /// Runs nbdkit with its socket here.
    ///
    /// # Panics
    /// As [`Self::run`].
    pub fn nbdkit(&mut self, args: &[&str]) {
        let socket = self.socket();
        let mut all = vec!["-f", "-U", socket.to_str().unwrap()];
        all.extend(args);
        self.run("nbdkit", all);
    }
}

/// Whether a server listens on the socket: asked of the kernel, because some servers end with their
/// first client.
fn listens(socket: &Path) -> bool {
    let sockets = std::fs::read_to_string("/proc/net/unix").unwrap();
    let mut lines = sockets.lines();
    // Number, references, protocol, flags (here: accepts connections), …, path.
    lines.any(|line| line.contains(" 00010000 ") && line.ends_with(socket.to_str().unwrap()))
}
