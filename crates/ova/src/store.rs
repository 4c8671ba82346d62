//! Where a package's files are: members of an archive, or files beside the descriptor.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use diskimg::text::{printable, shell_path};
use diskimg::{
    BackingPolicy, Error, ErrorKind, FileSource, Hint, ReadAt, Result, Window, member_path,
    open_beside, open_inside,
};

use crate::limits::MAX_MEMBERS;
use crate::names;
use crate::tar::{Entry, Index, Kind, shown_name};

/// The files of a package.
pub(crate) enum Store {
    Archive(Archive),
    Folder(Folder),
}

impl Store {
    /// The file `name`; `None` when there is none.
    ///
    /// # Errors
    /// `Unsupported` when it may not be read, or is no plain file; `Ambiguous` when there are two;
    /// `Io`.
    pub(crate) fn find(&self, name: &str) -> Result<Option<Arc<dyn ReadAt>>> {
        match self {
            Self::Archive(archive) => archive.find(name),
            Self::Folder(folder) => folder.find(name),
        }
    }

    /// Whether there is a file `name`; it is not opened.
    pub(crate) fn has(&self, name: &str) -> bool {
        match self {
            Self::Archive(archive) => archive.called(name).next().is_some(),
            Self::Folder(folder) => folder.dir.join(name).symlink_metadata().is_ok(),
        }
    }

    /// The numbers of the files that are called `name`, a dot, and nine digits, in ascending order.
    ///
    /// # Errors
    /// `Io`, and `Limit` when there are too many files.
    pub(crate) fn chunks(&self, name: &str) -> Result<Vec<u64>> {
        let number = |found: &[u8]| {
            let digits = found.strip_prefix(name.as_bytes())?.strip_prefix(b".")?;
            let digits = std::str::from_utf8(digits).ok()?;
            let is_number = digits.len() == 9 && digits.bytes().all(|c| c.is_ascii_digit());
            digits.parse::<u64>().ok().filter(|_| is_number)
        };
        let mut numbers: Vec<u64> = match self {
            Self::Archive(archive) => {
                let names = archive.index.entries.iter().map(|entry| &entry.name);
                names.filter_map(|found| number(found)).collect()
            }
            Self::Folder(folder) => {
                let names = folder.names()?;
                names.iter().filter_map(|found| number(found)).collect()
            }
        };
        numbers.sort_unstable();
        Ok(numbers)
    }
}

/// A tar archive that is read in place.
pub(crate) struct Archive {
    source: Arc<dyn ReadAt>,
    path: PathBuf,
    pub(crate) index: Index,
    /// Places in the index, in the order of the names.
    by_name: Vec<usize>,
}

impl Archive {
    pub(crate) fn new(source: Arc<dyn ReadAt>, path: &Path, index: Index) -> Self {
        let mut by_name: Vec<usize> = (0..index.entries.len()).collect();
        by_name.sort_by_key(|place| index.entries.get(*place).map(|entry| &entry.name));
        Self {
            source,
            path: path.to_owned(),
            index,
            by_name,
        }
    }

    /// The members that are called `name`.
    fn called<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Entry> {
        let entry = |place: &usize| self.index.entries.get(*place);
        let is_before =
            |place: &usize| entry(place).is_some_and(|it| it.name.as_slice() < name.as_bytes());
        let start = self.by_name.partition_point(is_before);
        let from = self.by_name.get(start..).unwrap_or_default();
        let entries = from
            .iter()
            .filter_map(move |place| self.index.entries.get(*place));
        entries.take_while(move |entry| entry.name == name.as_bytes())
    }

    fn find(&self, name: &str) -> Result<Option<Arc<dyn ReadAt>>> {
        let mut called = self.called(name);
        match (called.next(), called.next()) {
            (None, _) => Ok(None),
            (Some(entry), None) => self.open(entry).map(Some),
            (Some(_), Some(_)) => Err(Error::new(
                ErrorKind::Ambiguous,
                format!("the archive has two members \"{}\"", printable(name)),
            )),
        }
    }

    /// The bytes of a member.
    pub(crate) fn open(&self, entry: &Entry) -> Result<Arc<dyn ReadAt>> {
        if entry.kind != Kind::File {
            let error = Error::unsupported(format!(
                "member {} is {}, and files are read",
                shown_name(&entry.name),
                entry.kind.name()
            ));
            return Err(match entry.kind {
                Kind::Sparse => error.with_hint(
                    "unpack the archive, and pack it again without --sparse: \
                     tar -xf IMAGE && tar -cf packed.ova FILES",
                ),
                _ => error.with_hint("unpack the archive, and pack the files themselves"),
            });
        }
        let window = Window::new(Arc::clone(&self.source), entry.at, entry.len)?;
        let name = names::text(&entry.name);
        Ok(Arc::new(window.called(member_path(&self.path, &name))))
    }
}

/// A directory with a descriptor and the files beside it.
pub(crate) struct Folder {
    descriptor: Arc<dyn ReadAt>,
    dir: PathBuf,
    /// The descriptor's name without its ending: other files are called after it.
    stem: String,
    policy: BackingPolicy,
}

impl Folder {
    /// Of the descriptor in `descriptor`, which is at `path`.
    pub(crate) fn new(
        descriptor: Arc<dyn ReadAt>,
        path: &Path,
        stem: &str,
        policy: BackingPolicy,
    ) -> Self {
        let dir = match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        Self {
            descriptor,
            dir: dir.to_owned(),
            stem: stem.to_owned(),
            policy,
        }
    }

    /// Whether only the package's own files are called so: a descriptor cannot reach others in a
    /// directory of many.
    fn is_own(&self, name: &str) -> bool {
        let rest = name.strip_prefix(&self.stem);
        rest.is_some_and(|rest| rest.starts_with(['-', '_', '.'])) && !name.contains('/')
    }

    fn find(&self, name: &str) -> Result<Option<Arc<dyn ReadAt>>> {
        let found = match &self.policy {
            _ if self.is_own(name) => open_beside(self.descriptor.as_ref(), name)?,
            BackingPolicy::Inside(dir) => open_inside(dir, &self.dir.join(name))?,
            _ => {
                return Err(Error::unsupported(format!(
                    "the descriptor names \"{}\", which is not called after it: files beside it \
                     that are called \"{}-…\" or \"{}_…\" are opened",
                    printable(name),
                    printable(&self.stem),
                    printable(&self.stem)
                ))
                .with_hint(Hint::AllowBacking {
                    dir: shell_path(&self.dir),
                    or: None,
                }));
            }
        };
        Ok(found.map(|source: FileSource| -> Arc<dyn ReadAt> { Arc::new(source) }))
    }

    fn names(&self) -> Result<Vec<Vec<u8>>> {
        let failed = |e| Error::io("cannot be listed", e).in_file(&self.dir);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.dir).map_err(failed)? {
            if names.len() >= MAX_MEMBERS {
                return Err(Error::new(
                    ErrorKind::Limit,
                    format!("the directory has more than {MAX_MEMBERS} files"),
                )
                .in_file(&self.dir));
            }
            names.push(entry.map_err(failed)?.file_name().into_encoded_bytes());
        }
        Ok(names)
    }
}
