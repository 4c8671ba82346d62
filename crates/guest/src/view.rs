//! The guest's paths: links are followed and mounts are crossed as the guest itself would.

use std::io::{self, Read};
use std::rc::Rc;

use crate::budget::{MAX_ENTRIES, MAX_LINKS, MAX_PATH};
use crate::tree::{Entry, Kind, Result, Stat, Tree, TreeError};

/// A file system at a place of the guest.
#[derive(Clone)]
struct Mount {
    /// Absolute, without a trailing slash; empty for the root.
    at: Vec<u8>,
    tree: Rc<dyn Tree>,
    /// Index of the volume it is on.
    volume: usize,
}

/// What the guest sees below `/`.
#[derive(Clone)]
pub(crate) struct View {
    /// The root first, then in the order of mounting.
    mounts: Vec<Mount>,
}

/// A path without links, and the tree that has it.
struct Place<'a> {
    mount: &'a Mount,
    /// Path in the tree, beginning with `/`.
    inner: Vec<u8>,
    /// Path in the guest.
    path: Vec<u8>,
}

impl View {
    /// A guest with one file system.
    pub(crate) fn new(root: Rc<dyn Tree>, volume: usize) -> Self {
        let at = Vec::new();
        let root = Mount {
            at,
            tree: root,
            volume,
        };
        Self { mounts: vec![root] }
    }

    /// With another file system at `at`, an absolute path.
    pub(crate) fn mount(&mut self, at: &[u8], tree: Rc<dyn Tree>, volume: usize) {
        let at = at.strip_suffix(b"/").unwrap_or(at).to_vec();
        self.mounts.push(Mount { at, tree, volume });
    }

    /// What is mounted where, the root as an empty path: indexes of volumes.
    pub(crate) fn mounted(&self) -> impl Iterator<Item = (&[u8], usize)> {
        self.mounts
            .iter()
            .map(|mount| (mount.at.as_slice(), mount.volume))
    }

    /// Where the volume is mounted that has this index.
    pub(crate) fn mount_point(&self, volume: usize) -> Option<&[u8]> {
        let mut mounted = self.mounted();
        mounted.find_map(|(at, mounted)| (mounted == volume).then_some(at))
    }

    /// What is at `path`, links followed; `None` when nothing is there or a link leads nowhere.
    pub(crate) fn stat(&self, path: impl AsRef<[u8]>) -> Result<Option<Stat>> {
        Ok(self.find(path.as_ref(), true)?.map(|(_, stat)| stat))
    }

    /// What is at `path`; a link there is not followed.
    pub(crate) fn link_stat(&self, path: impl AsRef<[u8]>) -> Result<Option<Stat>> {
        Ok(self.find(path.as_ref(), false)?.map(|(_, stat)| stat))
    }

    /// Whether anything is at `path`, links followed.
    pub(crate) fn exists(&self, path: impl AsRef<[u8]>) -> Result<bool> {
        Ok(self.stat(path)?.is_some())
    }

    /// The path that `path` leads to, without links, and the volume it is on.
    pub(crate) fn real(&self, path: impl AsRef<[u8]>) -> Result<Option<(Vec<u8>, usize)>> {
        Ok(self
            .find(path.as_ref(), true)?
            .map(|(place, _)| (place.path, place.mount.volume)))
    }

    /// The text of the link at `path`; `None` when there is no link.
    pub(crate) fn read_link(&self, path: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>> {
        match self.find(path.as_ref(), false)? {
            Some((place, stat)) if stat.kind == Kind::Link => {
                place.mount.tree.read_link(&place.inner).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The content of the regular file at `path`, or `None` when there is none.
    ///
    /// # Errors
    /// The file cannot be read or is longer than `cap` bytes.
    pub(crate) fn read(&self, path: impl AsRef<[u8]>, cap: u64) -> Result<Option<Vec<u8>>> {
        let path = path.as_ref();
        let Some(mut file) = self.open(path)? else {
            return Ok(None);
        };
        if file.size > cap {
            let shown = crate::text::printable(path);
            return Err(TreeError(format!(
                "{shown} has {} bytes; at most {cap} are read",
                file.size
            )));
        }
        let mut content = Vec::new();
        file.by_ref()
            .take(cap)
            .read_to_end(&mut content)
            .map_err(|error| TreeError(error.to_string()))?;
        Ok(Some(content))
    }

    /// The regular file at `path` for reading piece by piece, or `None` when there is none.
    pub(crate) fn open(&self, path: impl AsRef<[u8]>) -> Result<Option<File>> {
        Ok(match self.find(path.as_ref(), true)? {
            Some((place, stat)) if stat.kind == Kind::File => Some(File {
                tree: Rc::clone(&place.mount.tree),
                path: place.inner,
                at: 0,
                size: stat.size,
            }),
            _ => None,
        })
    }

    /// The names in the directory at `path`, sorted; empty when there is no directory.
    ///
    /// # Errors
    /// It cannot be read, or has more names than are looked at: what is not seen may matter.
    pub(crate) fn list(&self, path: impl AsRef<[u8]>) -> Result<Vec<Entry>> {
        let Some((place, stat)) = self.find(path.as_ref(), true)? else {
            return Ok(Vec::new());
        };
        if stat.kind != Kind::Directory {
            return Ok(Vec::new());
        }
        if place.mount.tree.stat(&place.inner)?.is_none() {
            return Ok(Vec::new());
        }
        let mut entries = place.mount.tree.list(&place.inner)?;
        if entries.len() > MAX_ENTRIES {
            let shown = crate::text::printable(&place.path);
            return Err(TreeError(format!(
                "{shown} has more than {MAX_ENTRIES} entries"
            )));
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Free bytes of the root file system.
    pub(crate) fn free(&self) -> Option<u64> {
        self.mounts.first()?.tree.free()
    }

    /// Walks `path` from the root, link by link.
    fn find(&self, path: &[u8], follow_last: bool) -> Result<Option<(Place<'_>, Stat)>> {
        let mut rest = components(path);
        rest.reverse();
        let mut done: Vec<Vec<u8>> = Vec::new();
        let mut links = 0;
        let mut last = self.look(&done)?;
        while let Some(name) = rest.pop() {
            if name == b".." {
                done.pop();
                last = self.look(&done)?;
                continue;
            }
            done.push(name);
            let Some((place, stat)) = self.look(&done)? else {
                return Ok(None);
            };
            if !rest.is_empty() && matches!(stat.kind, Kind::File | Kind::Other) {
                return Ok(None);
            }
            if stat.kind != Kind::Link || (rest.is_empty() && !follow_last) {
                last = Some((place, stat));
                continue;
            }
            links += 1;
            let target = place.mount.tree.read_link(&place.inner)?;
            let length: usize = rest.iter().map(|name| name.len() + 1).sum();
            if links > MAX_LINKS || target.len() + length > MAX_PATH {
                let shown = crate::text::printable(path);
                return Err(TreeError(format!("{shown} leads through too many links")));
            }
            if target.first() == Some(&b'/') {
                done.clear();
            } else {
                done.pop();
            }
            rest.extend(components(&target).into_iter().rev());
            last = self.look(&done)?;
        }
        Ok(last)
    }

    /// What is at these components, none of which is a link but perhaps the last.
    fn look(&self, components: &[Vec<u8>]) -> Result<Option<(Place<'_>, Stat)>> {
        let path: Vec<u8> = components
            .iter()
            .flat_map(|name| [b"/".as_slice(), name].concat())
            .collect();
        let below = |at: &[u8]| match path.strip_prefix(at) {
            Some(rest) => rest.is_empty() || rest.first() == Some(&b'/'),
            None => false,
        };
        // The innermost one, and of two at one place the later one.
        let Some(mount) = self
            .mounts
            .iter()
            .filter(|mount| below(&mount.at))
            .max_by_key(|mount| mount.at.len())
        else {
            return Ok(None);
        };
        let inner = match path.get(mount.at.len()..) {
            None | Some([]) => b"/".to_vec(),
            Some(rest) => rest.to_vec(),
        };
        let stat = match mount.tree.stat(&inner)? {
            Some(stat) => stat,
            None if self.leads_to_mount(&path) => Stat {
                kind: Kind::Directory,
                size: 0,
                mode: 0o755,
            },
            None => return Ok(None),
        };
        Ok(Some((Place { mount, inner, path }, stat)))
    }

    /// Whether something is mounted below `path`: whoever mounts it makes the directories.
    fn leads_to_mount(&self, path: &[u8]) -> bool {
        self.mounts.iter().any(|mount| {
            let rest = mount.at.strip_prefix(path);
            rest.is_some_and(|rest| rest.first() == Some(&b'/'))
        })
    }
}

/// The names of `path`; empty ones and `.` say nothing.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|&byte| byte == b'/')
        .filter(|name| !name.is_empty() && *name != b".")
        .map(<[u8]>::to_vec)
        .collect()
}

/// A file of the guest, read from front to back or at places.
pub(crate) struct File {
    tree: Rc<dyn Tree>,
    path: Vec<u8>,
    at: u64,
    /// Bytes, as the file system says.
    pub(crate) size: u64,
}

impl File {
    /// Reads from `at` next.
    pub(crate) fn seek(&mut self, at: u64) {
        self.at = at;
    }

    /// Reads at most `buf.len()` bytes from `at`.
    pub(crate) fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<usize> {
        self.tree.read_at(&self.path, at, buf)
    }
}

impl Read for File {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self
            .read_at(self.at, buf)
            .map_err(|TreeError(reason)| io::Error::other(reason))?;
        self.at = self.at.saturating_add(read as u64);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::memory::MemoryTree;

    fn view(tree: MemoryTree) -> View {
        View::new(Rc::new(tree), 0)
    }

    #[test]
    fn links_lead_through_the_guest_and_not_above_its_root() {
        let view = view(
            MemoryTree::new()
                .file("/usr/lib/os-release", "ID=x")
                .link("/etc/os-release", "../usr/lib/os-release")
                .link("/etc/absolute", "/usr/lib/os-release")
                .link("/etc/above", "../../../../usr/lib/os-release")
                .link("/lib", "usr/lib"),
        );
        for path in [
            "/etc/os-release",
            "/etc/absolute",
            "/etc/above",
            "/lib/os-release",
            "//usr/./lib/../lib/os-release",
        ] {
            let read = view.read(path, 64).unwrap();
            assert_eq!(read.as_deref(), Some(b"ID=x".as_slice()), "{path}");
        }
        let (real, _) = view.real("/lib/os-release").unwrap().unwrap();
        assert_eq!(real, b"/usr/lib/os-release");
    }

    #[test]
    fn a_loop_of_links_ends_with_an_error() {
        let view = view(MemoryTree::new().link("/a", "/b").link("/b", "a"));
        assert!(view.stat("/a").is_err());
        assert!(view.link_stat("/a").unwrap().is_some());
    }

    #[test]
    fn what_a_mount_covers_is_not_seen_and_links_cross_it() {
        let root = MemoryTree::new()
            .file("/boot/old", "old")
            .link("/etc/grub.cfg", "../boot/grub/grub.cfg");
        let mut view = view(root);
        let boot = MemoryTree::new()
            .file("/grub/grub.cfg", "set")
            .link("/up", "../etc");
        view.mount(b"/boot", Rc::new(boot), 3);
        assert!(!view.exists("/boot/old").unwrap());
        assert_eq!(view.read("/etc/grub.cfg", 9).unwrap().unwrap(), b"set");
        assert_eq!(view.real("/etc/grub.cfg").unwrap().unwrap().1, 3);
        assert!(view.exists("/boot/up/grub.cfg").unwrap());
    }

    #[test]
    fn directories_on_the_way_to_a_mount_need_not_exist() {
        let mut view = view(MemoryTree::new());
        let tree = MemoryTree::new().directory("/EFI");
        view.mount(b"/boot/efi", Rc::new(tree), 1);
        assert!(view.exists("/boot/efi/EFI").unwrap());
        assert!(!view.exists("/boot/grub").unwrap());
        assert_eq!(view.list("/boot").unwrap(), []);
    }

    #[test]
    fn a_directory_with_more_entries_than_are_looked_at_is_an_error() {
        let with = |count: usize| {
            let names = (0..count).map(|number| format!("/d/{number}"));
            view(names.fold(MemoryTree::new(), |tree, name| tree.file(&name, "")))
        };
        assert_eq!(with(MAX_ENTRIES).list("/d").unwrap().len(), MAX_ENTRIES);
        let error = with(MAX_ENTRIES + 1).list("/d").unwrap_err();
        assert_eq!(error.0, "/d has more than 4096 entries");
    }

    #[test]
    fn a_file_longer_than_the_cap_is_not_read_and_a_directory_is_no_file() {
        let view = view(MemoryTree::new().file("/etc/long", [0; 100]));
        assert!(view.read("/etc/long", 99).is_err());
        assert_eq!(view.read("/etc/long", 100).unwrap().unwrap().len(), 100);
        assert_eq!(view.read("/etc", 100).unwrap(), None);
        assert_eq!(view.read("/nothing", 100).unwrap(), None);
    }
}
