//! What becomes of files that images name: refused, described, or read when they lie where the user
//! allows it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests"
)]

#[allow(dead_code, reason = "shared with the suite")]
#[path = "../suite/craft.rs"]
mod craft;
mod layers;
mod policy;

use std::path::Path;

use diskimg::{BackingPolicy, Error, ErrorKind, OpenOptions, Opened, Result};
use testkit::qemu;

/// Opens `path` as what its content says; files that it names are opened inside `dir`.
fn open_inside(path: &Path, dir: &Path) -> Result<Opened> {
    diskimg::open(path, &inside(dir), &[])
}

fn inside(dir: &Path) -> OpenOptions {
    OpenOptions {
        backing: BackingPolicy::Inside(dir.to_owned()),
        ..OpenOptions::default()
    }
}

/// The error of something that must fail.
#[track_caller]
fn refused<T>(result: Result<T>) -> Error {
    match result {
        Ok(_) => panic!("this was accepted"),
        Err(error) => error,
    }
}

/// The error and its causes in one text.
fn text(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[track_caller]
fn assert_error(error: &Error, kind: ErrorKind, words: &[&str]) {
    let text = text(error);
    assert_eq!(error.kind(), kind, "{text}");
    for word in words {
        assert!(text.contains(word), "{text:?} lacks {word:?}");
    }
}

/// Makes `path` with QEMU: a qcow2 image over `backing`, a name and a format.
fn overlay(path: &Path, backing: (&str, &str), options: &[&str], size: Option<&str>) {
    let path = path.to_str().unwrap();
    let mut args = vec![
        "create", "-q", "-u", "-f", "qcow2", "-b", backing.0, "-F", backing.1,
    ];
    for option in options {
        args.extend(["-o", option]);
    }
    args.push(path);
    args.extend(size);
    qemu::img(args);
}

/// A qcow2 image without a backing file.
fn plain(path: &Path, size: &str) {
    qemu::img(["create", "-q", "-f", "qcow2", path.to_str().unwrap(), size]);
}
