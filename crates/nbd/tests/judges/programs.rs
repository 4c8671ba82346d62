//! Disks that are opened from servers, and our server for a test.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use diskimg::{DiskImage, Format, OpenOptions};
use nbd::{ClientOptions, NbdSource, NbdUri};
pub(crate) use testkit::exports::Served;

/// Four kinds of content, in stretches of whole blocks of a file system.
pub(crate) fn content() -> testkit::content::Content {
    testkit::content::Content::new(7, 9 << 20, 4096, 512 << 10)
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
