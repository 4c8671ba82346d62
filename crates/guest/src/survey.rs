//! Everything that the readers can reach, for those who judge the readers: tests and fuzz targets.
//!
//! Nothing here looks for a system or asks a rule.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use diskimg::{DiskImage, GuestOffset, partitions};

use crate::Budget;
use crate::linux::initramfs;
use crate::media::Media;
use crate::mount;
pub use crate::tree::Kind;
use crate::tree::guarded::PANIC;
use crate::tree::{Entry, Stat, Tree, TreeError};
use crate::view::View;
use crate::windows::hive::{Hive, Key};

/// Directories in each other that are walked.
const MAX_DEPTH: usize = 64;

/// What a walk comes across.
pub enum Met<'a> {
    /// A volume: its name, and why its file system could not be opened.
    Volume(&'a str, Option<&'a str>),
    /// A file system's file, directory or link.
    Node(Node<'a>),
    /// What could not be read.
    Failed(&'a [u8], String),
}

/// A file, directory or link.
pub struct Node<'a> {
    /// Name of its volume.
    pub volume: &'a str,
    /// Path from the top of the file system.
    pub path: &'a [u8],
    /// What it is.
    pub kind: Kind,
    /// Bytes.
    pub size: u64,
    /// Permission bits, 0 where the file system has none.
    pub mode: u32,
    tree: &'a dyn Tree,
}

impl Node<'_> {
    /// Reads at most `buf.len()` bytes of a file from `at`; 0 at its end.
    ///
    /// # Errors
    /// The file cannot be read there.
    pub fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<usize, String> {
        self.tree.read_at(self.path, at, buf).map_err(reason)
    }

    /// The text of a link.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn link(&self) -> Result<Vec<u8>, String> {
        self.tree.read_link(self.path).map_err(reason)
    }
}

fn reason(TreeError(reason): TreeError) -> String {
    reason
}

/// Goes through all volumes of `image`, and through at most `most` nodes of each file system and
/// of each subvolume. Returns the bytes read.
///
/// # Errors
/// The partitions cannot be read.
pub fn walk(
    image: Arc<dyn DiskImage>,
    budget: &Budget,
    most: usize,
    visit: &mut dyn FnMut(Met<'_>),
) -> Result<u64, String> {
    let table = partitions::read(&*image).map_err(|error| error.to_string())?;
    let size = image.virtual_size();
    let source = move |at: u64, buf: &mut [u8]| {
        let read = image.read_at(GuestOffset(at), buf);
        read.map_err(|error| error.to_string())
    };
    let media = Rc::new(Media::new(Box::new(source), size, budget));
    let mounted = mount::mount(&media, &table);
    media.opened();
    for (volume, tree) in mounted.volumes.iter().zip(&mounted.trees) {
        let name = volume.name();
        visit(Met::Volume(&name, volume.closed.as_deref()));
        let Some(tree) = tree else { continue };
        walk_tree(&**tree, &name, most, visit);
        match tree.subvolumes() {
            Err(error) => visit(Met::Failed(b"/", reason(error))),
            Ok(subvolumes) => {
                for subvolume in subvolumes.iter().filter(|subvolume| !subvolume.default) {
                    match tree.subvolume(subvolume.id) {
                        Ok(tree) => walk_tree(&*tree, &name, most, visit),
                        Err(error) => visit(Met::Failed(&subvolume.path, reason(error))),
                    }
                }
            }
        }
    }
    Ok(media.bytes_read())
}

fn walk_tree(tree: &dyn Tree, volume: &str, most: usize, visit: &mut dyn FnMut(Met<'_>)) {
    let mut left = most;
    let mut open: VecDeque<(Vec<u8>, usize)> = VecDeque::from([(b"/".to_vec(), 0)]);
    while let Some((directory, depth)) = open.pop_front() {
        let entries = match tree.list(&directory) {
            Ok(entries) => entries,
            Err(error) => {
                visit(Met::Failed(&directory, reason(error)));
                continue;
            }
        };
        for Entry { name, .. } in entries {
            let Some(less) = left.checked_sub(1) else {
                return;
            };
            left = less;
            let mut path = directory.clone();
            if path.last() != Some(&b'/') {
                path.push(b'/');
            }
            path.extend(name);
            let Stat { kind, size, mode } = match tree.stat(&path) {
                Ok(Some(stat)) => stat,
                Ok(None) => {
                    visit(Met::Failed(&path, "a name without a file".into()));
                    continue;
                }
                Err(error) => {
                    visit(Met::Failed(&path, reason(error)));
                    continue;
                }
            };
            visit(Met::Node(Node {
                volume,
                path: &path,
                kind,
                size,
                mode,
                tree,
            }));
            if kind == Kind::Directory && depth < MAX_DEPTH {
                open.push_back((path, depth + 1));
            }
        }
    }
}

/// What [`look`] came across.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Files, directories and links.
    pub nodes: usize,
    /// What could not be opened, listed or read.
    pub failed: usize,
    /// Of these, where a reader panicked.
    pub panics: usize,
    /// Bytes read from the image.
    pub read: u64,
}

impl Tally {
    fn add(&mut self, reason: &str) {
        self.failed += 1;
        self.panics += usize::from(reason == PANIC);
    }
}

/// Reads both ends of the first `most` files of each file system of `image`, and all links on the
/// way. For damaged disks: whatever fails is counted.
pub fn look(image: Arc<dyn DiskImage>, budget: &Budget, most: usize) -> Tally {
    let mut tally = Tally::default();
    let mut buf = [0; 4096];
    let read = walk(image, budget, most, &mut |met| match met {
        Met::Volume(_, None) => {}
        Met::Volume(_, Some(reason)) => tally.add(reason),
        Met::Failed(_, reason) => tally.add(&reason),
        Met::Node(node) => {
            tally.nodes += 1;
            match node.kind {
                Kind::File => {
                    for at in [0, node.size.saturating_sub(100)] {
                        if let Err(reason) = node.read_at(at, &mut buf) {
                            tally.add(&reason);
                        }
                    }
                }
                Kind::Link => {
                    if let Err(reason) = node.link() {
                        tally.add(&reason);
                    }
                }
                Kind::Directory | Kind::Other => {}
            }
        }
    });
    tally.read = read.unwrap_or_default();
    tally
}

/// Opens the registry hive `bytes` and goes through at most `most` of its keys; how many keys and
/// values were read.
///
/// # Errors
/// It is no hive.
pub fn hive(bytes: Vec<u8>, most: usize) -> Result<usize, String> {
    let view = View::new(Rc::new(One(bytes)), 0);
    let file = view.open("/file")?.ok_or("there is no file")?;
    let hive = Hive::open(file)?;
    let mut count = 0;
    let mut open: VecDeque<Key> = VecDeque::from([hive.root()?]);
    while let Some(key) = open.pop_front() {
        count += 1 + key.values().map_or(0, |values| values.len());
        if count > most {
            break;
        }
        if let Ok(keys) = key.keys() {
            open.extend(keys);
            open.truncate(most);
        }
    }
    // The way that collectors go.
    for path in [r"Select", r"ControlSet001\Services\viostor", r"A\B\C"] {
        if let Ok(Some(key)) = hive.key(path) {
            count += usize::from(matches!(key.number("Current"), Ok(Some(_))));
        }
    }
    Ok(count)
}

/// Unpacks the initramfs `bytes`; how many modules, programs and files it brings.
///
/// # Errors
/// Nothing of it can be read.
pub fn initramfs(bytes: Vec<u8>) -> Result<usize, String> {
    let view = View::new(Rc::new(One(bytes)), 0);
    let found = initramfs::read(
        &view,
        &[b"/file".to_vec()],
        &initramfs::Allowance::default(),
    )?;
    let modules: usize = found.modules.values().map(|names| names.len()).sum();
    Ok(modules + found.programs.len() + found.files.len())
}

/// A tree with one file in it, `/file`.
struct One(Vec<u8>);

impl Tree for One {
    fn stat(&self, path: &[u8]) -> Result<Option<Stat>, TreeError> {
        let (kind, size) = match path {
            b"/" => (Kind::Directory, 0),
            b"/file" => (Kind::File, self.0.len() as u64),
            _ => return Ok(None),
        };
        let mode = 0o755;
        Ok(Some(Stat { kind, size, mode }))
    }

    fn read_at(&self, _path: &[u8], at: u64, buf: &mut [u8]) -> Result<usize, TreeError> {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let rest = self.0.get(at..).unwrap_or_default();
        let read = rest.len().min(buf.len());
        for (to, from) in buf.iter_mut().zip(rest) {
            *to = *from;
        }
        Ok(read)
    }

    fn list(&self, _path: &[u8]) -> Result<Vec<Entry>, TreeError> {
        let name = b"file".to_vec();
        let kind = Kind::File;
        Ok(vec![Entry { name, kind }])
    }

    fn read_link(&self, _path: &[u8]) -> Result<Vec<u8>, TreeError> {
        Err(TreeError("there is no link".into()))
    }
}
