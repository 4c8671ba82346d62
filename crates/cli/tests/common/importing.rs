//! A disk on its way into a bucket, over a line that can be slow, and that can be interrupted.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use journal::{Found, Journal};
use tempfile::TempDir;

use crate::common::cloud::Cloud;
use crate::common::{self, DEBIAN, Run, json_of, run};

pub const MIB: u64 = 1 << 20;
/// Parts of this size, so many at a time where it is asked for: what a kill may cost.
pub const PART: u64 = 8 * MIB;
pub const IN_FLIGHT: u64 = 4;

/// Counts what goes from a client to a server, at most so many bytes a second.
pub struct Line {
    port: u16,
    up: Arc<AtomicU64>,
    rate: Arc<AtomicU64>,
}

impl Line {
    pub fn to(server: &str, bytes_per_second: u64) -> Self {
        let server = server
            .trim_start_matches("http://")
            .trim_end_matches('/')
            .to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let up = Arc::<AtomicU64>::default();
        let rate = Arc::new(AtomicU64::new(bytes_per_second));
        let (counter, limit) = (Arc::clone(&up), Arc::clone(&rate));
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), server.clone());
                let (counter, limit) = (Arc::clone(&counter), Arc::clone(&limit));
                thread::spawn(move || {
                    let Ok(server) = TcpStream::connect(server) else {
                        return;
                    };
                    let (from, to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                    let no_limit = AtomicU64::new(u64::MAX);
                    thread::spawn(move || pass(from, to, &AtomicU64::new(0), &no_limit));
                    pass(client, server, &counter, &limit);
                });
            }
        });
        Self { port, up, rate }
    }

    /// Lets so many bytes a second pass from here on.
    pub fn set_rate(&self, bytes_per_second: u64) {
        self.rate.store(bytes_per_second, Ordering::SeqCst);
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn sent(&self) -> u64 {
        self.up.load(Ordering::SeqCst)
    }

    /// The same, once nothing moves any more: what a client has left in its sockets arrives after
    /// its end.
    pub fn sent_in_the_end(&self) -> u64 {
        let mut before = self.sent();
        loop {
            thread::sleep(Duration::from_millis(200));
            match self.sent() {
                now if now == before => return now,
                now => before = now,
            }
        }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, counter: &AtomicU64, limit: &AtomicU64) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(len) = from.read(&mut buffer) {
        counter.fetch_add(len as u64, Ordering::SeqCst);
        if len == 0 || to.write_all(&buffer[..len]).is_err() {
            break;
        }
        let bytes_per_second = limit.load(Ordering::SeqCst);
        if bytes_per_second < u64::MAX {
            thread::sleep(Duration::from_secs_f64(
                len as f64 / bytes_per_second as f64,
            ));
        }
    }
    let _ = to.shutdown(Shutdown::Write);
    let _ = from.shutdown(Shutdown::Read);
}

/// A cloud, a disk, and a command that imports it.
pub struct Import {
    pub cloud: Cloud,
    pub dir: TempDir,
    pub line: Line,
    pub source: PathBuf,
    pub level: &'static str,
}

impl Import {
    /// A disk of noise, of so many MiB, over a line of 32 MiB a second for each connection.
    pub fn of_noise(mib: u64) -> Self {
        Self::with_rate(mib, 32 * MIB)
    }

    pub fn with_rate(mib: u64, rate: u64) -> Self {
        Self::of(&common::noise(usize::try_from(mib * MIB).unwrap()), rate)
    }

    pub fn of(content: &[u8], rate: u64) -> Self {
        let cloud = Cloud::start(&["images"]);
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("noise.raw");
        fs::write(&source, content).unwrap();
        let line = Line::to(&cloud.variable("IMGFERRY_OBS_ENDPOINT"), rate);
        Self {
            cloud,
            dir,
            line,
            source,
            level: "1",
        }
    }

    pub fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub fn command(&self) -> Command {
        self.named("a")
    }

    /// The command that imports the disk as the image `name`, into the object `name`.zvhd2.
    pub fn named(&self, name: &str) -> Command {
        let mut command = self.cloud.command();
        command
            .arg("import")
            .arg(&self.source)
            .args(["--name", name, "--bucket", "images"])
            .args(["--os-version", DEBIAN])
            .args(["--level", self.level, "--json", "--state-dir"])
            .arg(self.state_dir())
            .env("IMGFERRY_OBS_ENDPOINT", self.line.url())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub fn start(&self) -> Child {
        self.command().spawn().unwrap()
    }

    pub fn go_on(&self) -> Run {
        run(&mut self.command())
    }

    /// What `imgferry status` says of the one import.
    pub fn status(&self) -> serde_json::Value {
        let run = run(self
            .cloud
            .command()
            .args(["status", "--json", "--state-dir"])
            .arg(self.state_dir()));
        run.success();
        json_of(&run)["imports"][0].clone()
    }

    /// The one journal.
    pub fn journal(&self) -> PathBuf {
        let mut files = fs::read_dir(self.state_dir()).unwrap();
        files
            .find_map(|entry| {
                let path = entry.unwrap().path();
                (path.extension()? == "journal").then_some(path)
            })
            .unwrap()
    }

    /// Runs until at least `parts` parts are known to be stored, and ends the run with `signal`.
    pub fn interrupt(&self, parts: usize, signal: &str) -> Run {
        let child = self.start();
        common::wait_until(|| self.confirmed_parts() >= parts);
        common::signal(&child, signal);
        child.wait_with_output().unwrap().into()
    }

    /// Parts of one object that the journals know to be stored: a server has a part before its
    /// client knows.
    pub fn confirmed_parts(&self) -> usize {
        let files = fs::read_dir(self.state_dir()).into_iter().flatten();
        let parts = files.map(|file| match Journal::peek(&file.unwrap().path()) {
            Ok(Found::Import(state, _)) => state.parts.len(),
            _ => 0,
        });
        parts.max().unwrap_or(0)
    }

    /// Parts that the server has.
    pub fn parts(&self) -> usize {
        self.cloud.upload_parts()
    }
}

#[track_caller]
pub fn is_right(done: &Run) -> serde_json::Value {
    done.success();
    let json = json_of(done);
    assert_eq!(json["status"], "active");
    assert_eq!(json["image_digest"], json["digest"]);
    json
}
