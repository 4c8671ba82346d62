//! What is in a tree of files: of a directory of this machine, and of a file system in an image.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use diskimg::{Format, OpenOptions, open};
use guest::Budget;
use guest::survey::{self, Kind, Met, Node};
use sha2::{Digest, Sha256};

/// What a path is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Is {
    /// Its bytes and their SHA-256.
    File(u64, [u8; 32]),
    Directory,
    Link(Vec<u8>),
    Other,
}

/// What every path is, and its permission bits where it has some.
pub(crate) type Listing = BTreeMap<Vec<u8>, (Is, u32)>;

/// Bytes that are read at once; not a divisor of blocks, on purpose.
const PIECE: usize = 100_000;

/// What is below `top`.
pub(crate) fn of_directory(top: &Path) -> Listing {
    let mut found = Listing::new();
    let mut open = vec![top.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let about = fs::symlink_metadata(&path).unwrap();
            let is = if about.is_dir() {
                open.push(path.clone());
                Is::Directory
            } else if about.is_symlink() {
                Is::Link(
                    fs::read_link(&path)
                        .unwrap()
                        .as_os_str()
                        .as_bytes()
                        .to_vec(),
                )
            } else if about.is_file() {
                let mut file = File::open(&path).unwrap();
                let mut hash = Sha256::new();
                let mut buf = vec![0; 1 << 20];
                loop {
                    match file.read(&mut buf).unwrap() {
                        0 => break,
                        read => hash.update(&buf[..read]),
                    }
                }
                Is::File(about.len(), hash.finalize().into())
            } else {
                Is::Other
            };
            let mode = match is {
                Is::Link(_) => 0,
                _ => about.permissions().mode() & 0o7777,
            };
            let below = path.strip_prefix(top).unwrap().as_os_str().as_bytes();
            found.insert([b"/", below].concat(), (is, mode));
        }
    }
    found
}

/// What is on the file system in the image at `path`, by the readers that are judged.
///
/// # Panics
/// When anything of it cannot be read.
pub(crate) fn of_image(path: &Path) -> Listing {
    let image = open(path, &OpenOptions::of(Some(Format::Raw)), &[]).unwrap();
    let budget = Budget {
        read: u64::MAX,
        metadata: u64::MAX,
        time: std::time::Duration::from_secs(3600),
    };
    let mut found = Listing::new();
    let walked = survey::walk(
        Arc::from(image.image),
        &budget,
        usize::MAX,
        &mut |met| match met {
            Met::Volume(name, closed) => assert_eq!(closed, None, "{name}"),
            Met::Failed(path, reason) => panic!("{}: {reason}", path.escape_ascii()),
            Met::Node(node) => {
                let twice = found.insert(node.path.to_vec(), is(&node));
                assert!(twice.is_none(), "{} twice", node.path.escape_ascii());
            }
        },
    );
    walked.unwrap();
    found
}

fn is(node: &Node) -> (Is, u32) {
    let is = match node.kind {
        Kind::Directory => Is::Directory,
        Kind::Other => Is::Other,
        Kind::Link => return (Is::Link(node.link().unwrap()), 0),
        Kind::File => {
            let mut hash = Sha256::new();
            let mut buf = vec![0; PIECE];
            let mut at = 0;
            loop {
                match node.read_at(at, &mut buf) {
                    Ok(0) => break,
                    Ok(read) => {
                        hash.update(&buf[..read]);
                        at += read as u64;
                    }
                    Err(reason) => panic!("{}: {reason}", node.path.escape_ascii()),
                }
            }
            assert_eq!(at, node.size, "{}", node.path.escape_ascii());
            Is::File(node.size, hash.finalize().into())
        }
    };
    (is, node.mode)
}

/// Which permission bits the two sides of a comparison both have.
pub(crate) const NO_MODES: u32 = 0;

/// Holds `found` against `expected`, beside paths that begin with one of `extra`.
///
/// # Panics
/// When they differ; says where.
pub(crate) fn same(what: &str, found: &Listing, expected: &Listing, modes: u32, extra: &[&str]) {
    let paths: BTreeSet<_> = found.keys().chain(expected.keys()).collect();
    let mut wrong = Vec::new();
    for path in paths {
        if extra.iter().any(|extra| path.starts_with(extra.as_bytes())) {
            continue;
        }
        let masked = |listing: &Listing| {
            let (is, mode) = listing.get(path)?;
            Some((is.clone(), mode & modes))
        };
        let (found, expected) = (masked(found), masked(expected));
        if found != expected {
            wrong.push(format!(
                "{}: {found:?}, expected {expected:?}",
                path.escape_ascii()
            ));
        }
    }
    let shown = wrong
        .iter()
        .take(20)
        .map(String::as_str)
        .collect::<Vec<_>>();
    assert!(
        wrong.is_empty(),
        "{what}: {} differ\n{}",
        wrong.len(),
        shown.join("\n")
    );
}

/// How many files, links and directories.
pub(crate) fn counts(listing: &Listing) -> String {
    let mut counts = [0; 4];
    for (is, _) in listing.values() {
        counts[match is {
            Is::File(..) => 0,
            Is::Link(_) => 1,
            Is::Directory => 2,
            Is::Other => 3,
        }] += 1;
    }
    let [files, links, directories, others] = counts;
    format!("{files} files, {links} links, {directories} directories, {others} others")
}
