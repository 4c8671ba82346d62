//! Servers that run for a test, and disks that are opened from them.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use diskimg::{DiskImage, Format, OpenOptions};
use nbd::{ClientOptions, NbdSource, NbdUri};
use testkit::measure::HANG;

/// Four kinds of content, in stretches of whole blocks of a file system.
pub(crate) fn content() -> testkit::content::Content {
    testkit::content::Content::new(7, 9 << 20, 4096, 512 << 10)
}

/// A program that is ended with the test.
pub(crate) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A directory with a server's socket in it.
pub(crate) struct Served {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) child: Option<Running>,
}

impl Served {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            child: None,
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("sock")
    }

    pub(crate) fn uri(&self, export: &str) -> String {
        format!("nbd+unix:///{export}?socket={}", self.socket().display())
    }

    /// Runs `program` until it listens.
    pub(crate) fn run<S: AsRef<OsStr>>(
        &mut self,
        program: &str,
        args: impl IntoIterator<Item = S>,
    ) {
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

    /// Runs nbdkit with its socket here.
    pub(crate) fn nbdkit(&mut self, args: &[&str]) {
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

/// Patience for tests: short waits between tries.
pub(crate) fn options() -> ClientOptions {
    ClientOptions {
        pause: Duration::from_millis(20),
        ..ClientOptions::default()
    }
}

pub(crate) fn open(uri: &str, options: ClientOptions) -> diskimg::Result<NbdSource> {
    NbdSource::open(uri.parse::<NbdUri>().unwrap(), options)
}

/// The raw disk in `source`.
pub(crate) fn disk(source: NbdSource) -> Box<dyn DiskImage> {
    let raw = OpenOptions::of(Some(Format::Raw));
    diskimg::open_source(Arc::new(source), &raw, &[])
        .unwrap()
        .image
}

/// An error with all its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Our server with `image`, at a socket in `dir`, while `work` runs.
pub(crate) fn serving<T>(
    image: &dyn DiskImage,
    path: &Path,
    options: &nbd::ServeOptions,
    work: impl FnOnce(&NbdUri) -> T,
) -> T {
    let listener = nbd::Listener::unix(path).unwrap();
    let uri = listener.uri(&options.name).unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let stop: nbd::Stop = {
        let over = Arc::clone(&over);
        Arc::new(move || over.load(Ordering::Acquire))
    };
    thread::scope(|scope| {
        let server = scope.spawn(|| nbd::serve(image, &listener, options, &stop, &|_| {}));
        // Also when `work` fails, or the test would wait for the server.
        let _ends = OnDrop(&over);
        let result = work(&uri);
        over.store(true, Ordering::Release);
        server.join().unwrap().unwrap();
        result
    })
}

struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}
