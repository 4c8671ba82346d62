//! Where journals are, and what they are called.

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::file::{Found, Journal};

/// Extension of the journal of an import that is not done.
const JOURNAL: &str = "journal";
/// Extension of what is kept of one that is.
const DONE: &str = "done";

/// Extension of the history of a migration.
pub(crate) const HISTORY: &str = "warm";

/// How long the end of an import is kept, and of how many.
const KEPT_FOR: Duration = Duration::from_secs(30 * 86_400);
const KEPT: usize = 50;

/// What an import writes: one journal for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// Where the bucket is.
    pub endpoint: &'a str,
    /// The bucket.
    pub bucket: &'a str,
    /// The object's key.
    pub key: &'a str,
}

impl Target<'_> {
    /// Name of its journal, without an extension: for people the beginning of bucket and key, and
    /// for the rest a hash of everything.
    fn stem(&self) -> String {
        let mut hash = Sha256::new();
        for part in [self.endpoint, self.bucket, self.key] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        let readable: String = format!("{}-{}", self.bucket, self.key)
            .chars()
            .take(60)
            .map(|c| match c {
                'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' => c,
                _ => '-',
            })
            .collect();
        let digits = hex::encode(hash.finalize());
        format!("{readable}-{}", digits.get(..16).unwrap_or(&digits))
    }
}

/// The directory of journals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDir(PathBuf);

/// A journal in a listing.
#[derive(Debug)]
pub struct Listed {
    /// Its file.
    pub path: PathBuf,
    /// What it says.
    pub found: Found,
    /// Whether a process is at work on it.
    pub in_use: bool,
    /// When something was written last.
    pub modified: SystemTime,
}

impl StateDir {
    /// The directory `given`, or `imgferry` in `XDG_STATE_HOME` or in `~/.local/state`. `env` reads
    /// variables. Nothing is made yet.
    ///
    /// # Errors
    /// [`Error::NoPlace`] when none of these is set.
    pub fn resolve(given: Option<&Path>, env: impl Fn(&str) -> Option<OsString>) -> Result<Self> {
        let set = |name| {
            env(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        if let Some(given) = given {
            return Ok(Self(given.to_owned()));
        }
        // A relative one is to be ignored, as its specification says.
        let state = set("XDG_STATE_HOME")
            .filter(|path| path.is_absolute())
            .or_else(|| set("HOME").map(|home| home.join(".local/state")))
            .ok_or(Error::NoPlace)?;
        Ok(Self(state.join("imgferry")))
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Opens and locks the journal of `target`; makes the directory (mode 0700) when there is none.
    ///
    /// # Errors
    /// Those of [`Journal::open`].
    pub fn open(&self, target: &Target<'_>) -> Result<(Journal, Found)> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0)
            .map_err(|source| Error::io(&self.0, "making its directory", source))?;
        Journal::open(&self.path_of(target))
    }

    /// Where the journal of `target` is, if there is one.
    #[must_use]
    pub fn path_of(&self, target: &Target<'_>) -> PathBuf {
        self.0.join(format!("{}.{JOURNAL}", target.stem()))
    }

    /// Where the history of the migration to `target` is, if there is one.
    pub(crate) fn history_path(&self, target: &Target<'_>) -> PathBuf {
        self.0.join(format!("{}.{HISTORY}", target.stem()))
    }

    /// Every journal, and what is kept of those that are done; the latest first. Those that cannot
    /// be read are left out.
    ///
    /// # Errors
    /// When the directory cannot be read. One that is not there holds nothing.
    pub fn list(&self) -> Result<Vec<Listed>> {
        let mut listed: Vec<Listed> = self
            .files(&[JOURNAL, DONE])?
            .into_iter()
            .filter_map(|(path, modified)| {
                let found = Journal::peek(&path).ok()?;
                let in_use = Journal::in_use(&path);
                Some(Listed {
                    path,
                    found,
                    in_use,
                    modified,
                })
            })
            .collect();
        listed.sort_by_key(|listed| std::cmp::Reverse(listed.modified));
        Ok(listed)
    }

    /// Files with one of these `extensions`, and when each was written last.
    pub(crate) fn files(&self, extensions: &[&str]) -> Result<Vec<(PathBuf, SystemTime)>> {
        let failed = |source| Error::io(&self.0, "reading its directory", source);
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut files = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            let ours = path
                .extension()
                .is_some_and(|found| extensions.iter().any(|extension| found == *extension));
            let modified = fs::metadata(&path).and_then(|metadata| metadata.modified());
            if let (true, Ok(modified)) = (ours, modified) {
                files.push((path, modified));
            }
        }
        Ok(files)
    }

    /// Removes what is kept of imports that were done long ago, or that are more than a listing
    /// needs; and histories of migrations that nobody has gone on with for as long. Best effort.
    pub fn prune(&self, now: SystemTime) {
        let (Ok(mut files), Ok(histories)) = (self.files(&[DONE]), self.files(&[HISTORY])) else {
            return;
        };
        files.sort_by_key(|(_, modified)| std::cmp::Reverse(*modified));
        let extra = files.split_off(files.len().min(KEPT));
        for (path, _) in &extra {
            // The next run tries again.
            let _ = fs::remove_file(path);
        }
        for (path, modified) in files.iter().chain(&histories) {
            let old = now
                .duration_since(*modified)
                .is_ok_and(|age| age > KEPT_FOR);
            if old {
                // The next run tries again.
                let _ = fs::remove_file(path);
            }
        }
    }

    /// The ids of uploads that journals here could go on with, by bucket and key.
    ///
    /// # Errors
    /// As for [`StateDir::list`].
    pub fn uploads(&self) -> Result<Vec<(String, String, String)>> {
        let known = self.list()?.into_iter().filter_map(|listed| {
            let Found::Import(state, _) = listed.found else {
                return None;
            };
            if state.completed.is_some() {
                return None;
            }
            let id = state.upload?;
            Some((state.begun.bucket, state.begun.key, id))
        });
        Ok(known.collect())
    }
}
