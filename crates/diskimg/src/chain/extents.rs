//! Opening the files that hold parts of a disk, by the policy.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::beside::Beside;
use super::context::Context;
use super::handles::{Handles, Pooled};
use super::inside::Inside;
use super::names::candidates;
use super::wanted::Wanted;
use crate::error::{Error, Result};
use crate::hint::Hint;
use crate::options::BackingPolicy;
use crate::source::{FileSource, ReadAt};

/// The files that hold parts of one disk.
pub(crate) struct ExtentFiles<'a> {
    context: &'a Context,
    handles: Arc<Handles>,
    /// Where they are opened without permission: beside a file that the user named.
    beside: Option<Arc<Beside>>,
    /// Files that were opened, by name: several parts may be in one.
    known: HashMap<Vec<u8>, Option<Arc<dyn ReadAt>>>,
    /// What the user should know of them.
    pub(crate) warnings: Vec<String>,
}

impl<'a> ExtentFiles<'a> {
    /// Those of the disk whose descriptor is in `source`.
    pub(crate) fn of(context: &'a Context, source: &dyn ReadAt) -> Self {
        let sealed = *context.policy() == BackingPolicy::Sealed;
        let beside = match context.is_first() && context.disguise().is_none() && !sealed {
            true => Beside::of(source).map(Arc::new),
            false => None,
        };
        Self {
            context,
            handles: Arc::clone(&context.shared().handles),
            beside,
            known: HashMap::new(),
            warnings: Vec::new(),
        }
    }

    /// The file `wanted`, which the descriptor calls `name`; `None` when it may not be opened, and
    /// the disk is only described.
    ///
    /// # Errors
    /// `Unsupported` when it may not be opened; `Corrupt` when it is the descriptor; `Io`.
    pub(crate) fn open(&mut self, wanted: &Wanted, name: &[u8]) -> Result<Option<Arc<dyn ReadAt>>> {
        if let Some(known) = self.known.get(name) {
            return Ok(known.clone());
        }
        let found = self.find(wanted, name)?;
        if let Some(file) = &found {
            if self.context.is_in_chain(file.as_ref()) {
                return Err(Error::corrupt(
                    "descriptor",
                    0,
                    format!(
                        "the disk has {}, which is the file that names it",
                        wanted.describe()
                    ),
                ));
            }
            self.context.note_file(file.as_ref());
        }
        self.known.insert(name.to_vec(), found.clone());
        Ok(found)
    }

    fn find(&mut self, wanted: &Wanted, name: &[u8]) -> Result<Option<Arc<dyn ReadAt>>> {
        let describes = *self.context.policy() == BackingPolicy::Describe;
        let why = match &self.beside {
            None => "only files beside a descriptor that is named itself are".to_owned(),
            Some(beside) => match beside.refuses(name) {
                Some(why) => why,
                None => match beside.open(name)? {
                    Some(Ok(file)) => return Ok(Some(self.beside_file(beside, file, name))),
                    Some(Err(why)) => why,
                    None if describes => {
                        self.warnings.push(format!(
                            "the disk has {}, which is missing",
                            wanted.describe()
                        ));
                        return Ok(None);
                    }
                    None => return Err(missing(wanted)),
                },
            },
        };
        match self.context.policy() {
            BackingPolicy::Describe => Ok(None),
            BackingPolicy::Sealed => Err(wanted.sealed()),
            BackingPolicy::Refuse => Err(self.refusal(wanted, &why)),
            BackingPolicy::Inside(dir) => self.inside(wanted, dir),
        }
    }

    fn beside_file(&self, beside: &Arc<Beside>, file: FileSource, name: &[u8]) -> Arc<dyn ReadAt> {
        let (beside, name) = (Arc::clone(beside), name.to_vec());
        let reopen = move || match beside.open(&name)? {
            Some(Ok(file)) => Ok(file),
            _ => Err(Error::io(
                "cannot be opened again",
                std::io::ErrorKind::NotFound.into(),
            )),
        };
        Arc::new(Pooled::new(&self.handles, file, Box::new(reopen)))
    }

    /// Looks in `dir`, which the user allowed.
    fn inside(&self, wanted: &Wanted, dir: &Path) -> Result<Option<Arc<dyn ReadAt>>> {
        if let Some(disguise) = self.context.disguise() {
            return Err(disguise.refusal(&wanted.describe()));
        }
        let inside = Arc::new(Inside::new(dir)?);
        let namer = self.context.namer();
        let mut refused = None;
        for named in &wanted.paths {
            for path in candidates(named, namer, inside.dir()) {
                let path: PathBuf = path?;
                match inside.open(&path) {
                    Ok(Some(file)) => {
                        let inside = Arc::clone(&inside);
                        let reopen = move || {
                            inside.open(&path)?.ok_or_else(|| {
                                Error::io(
                                    "cannot be opened again",
                                    std::io::ErrorKind::NotFound.into(),
                                )
                                .in_file(&path)
                            })
                        };
                        let file = Pooled::new(&self.handles, file, Box::new(reopen));
                        return Ok(Some(Arc::new(file)));
                    }
                    Ok(None) => {}
                    Err(error) => {
                        refused.get_or_insert(error);
                    }
                }
            }
        }
        Err(match refused {
            Some(error) => wanted.unopenable(error),
            None => missing(wanted),
        })
    }

    fn refusal(&self, wanted: &Wanted, why: &str) -> Error {
        let error = Error::unsupported(format!(
            "the disk has {}, which is not opened: {why}",
            wanted.describe()
        ));
        // A command that opens what a hostile file names is no advice.
        let plain = !wanted.name.contains(['/', '\\', ':']);
        match self.context.dir_for(wanted).filter(|_| plain) {
            Some(dir) => error.with_hint(Hint::AllowBacking {
                dir: Some(dir),
                or: None,
            }),
            None => error.with_hint(
                "copy the files of the disk into one directory, and let the descriptor name them \
                 without a path",
            ),
        }
    }
}

fn missing(wanted: &Wanted) -> Error {
    Error::io(
        format!("the disk has {}, which is missing", wanted.describe()),
        std::io::ErrorKind::NotFound.into(),
    )
    .with_hint(
        "copy all files of the disk into the directory of the descriptor, under the names that \
         it gives",
    )
}
