//! The history of a migration: what each of its generations came to, for listings. The bucket says
//! which generations there are; this is about how long they took.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use diskimg::source::{open_regular, open_regular_with};
use serde::{Deserialize, Serialize};

use crate::dir::{HISTORY, StateDir, Target};
use crate::error::{Error, Result};

/// Longest file that is read, in bytes.
const MAX_LEN: u64 = 1 << 20;
/// Generations that are kept.
const KEPT: usize = 200;

/// What a migration has come to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// Where the bucket is.
    pub endpoint: String,
    /// The bucket.
    pub bucket: String,
    /// Key of the object that the image is made of in the end.
    pub key: String,
    /// Name of the image.
    pub name: String,
    /// The disk, as it was named.
    pub source: String,
    /// The command line of the last run.
    pub command: Vec<String>,
    /// The directory that it was given in.
    pub directory: String,
    /// The generations, in their order.
    pub generations: Vec<Generation>,
}

/// What one run of a migration has made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// Its number; `None` for the object that the image is made of.
    pub number: Option<u32>,
    /// The generation that it was made of; `None` when the whole disk was sent.
    pub base: Option<u32>,
    /// When the run began, in seconds since 1970.
    pub started: u64,
    /// How long it took, the registration left out, in milliseconds.
    pub milliseconds: u64,
    /// Guest bytes of the blocks that had changed; all that hold data when the whole disk was sent.
    pub changed_bytes: u64,
    /// Bytes that were sent.
    pub sent_bytes: u64,
    /// Bytes that the server copied.
    pub copied_bytes: u64,
    /// Bytes of the object.
    pub size: u64,
}

impl History {
    /// Adds a generation, in the place of one with its number.
    pub fn add(&mut self, generation: Generation) {
        self.generations
            .retain(|known| known.number != generation.number);
        self.generations.push(generation);
        let extra = self.generations.len().saturating_sub(KEPT);
        self.generations.drain(..extra);
    }

    /// How long the cutover may take without its registration, in milliseconds: as long as the last
    /// run that was based on another one. `None` before there was one, and when it is over.
    #[must_use]
    pub fn cutover(&self) -> Option<u64> {
        let last = self.generations.last()?;
        last.number?;
        let deltas = self.generations.iter().rev();
        let mut deltas = deltas.filter(|generation| generation.base.is_some());
        deltas.next().map(|generation| generation.milliseconds)
    }
}

impl StateDir {
    /// The history of the migration to `target`; `None` when there is none that can be read.
    #[must_use]
    pub fn history(&self, target: &Target<'_>) -> Option<History> {
        read(&self.history_path(target)).ok()
    }

    /// All histories, with their files; those that cannot be read are left out.
    ///
    /// # Errors
    /// When the directory cannot be read. One that is not there holds nothing.
    pub fn histories(&self) -> Result<Vec<(PathBuf, History)>> {
        let files = self.files(&[HISTORY])?;
        let read = |(path, _): (PathBuf, _)| Some((path.clone(), read(&path).ok()?));
        let mut histories: Vec<_> = files.into_iter().filter_map(read).collect();
        histories.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(histories)
    }

    /// Writes `history` in the place of an older one.
    ///
    /// # Errors
    /// `Io`.
    pub fn put_history(&self, target: &Target<'_>, history: &History) -> Result<()> {
        let path = self.history_path(target);
        let temporary = path.with_extension("warm.tmp");
        let write = || {
            let bytes = serde_json::to_vec_pretty(history)?;
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            let mut file = open_regular_with(&temporary, &mut options)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)
        };
        write().map_err(|source| Error::io(&path, "writing", source))
    }
}

fn read(path: &Path) -> std::io::Result<History> {
    let mut bytes = Vec::new();
    open_regular(path)?.take(MAX_LEN).read_to_end(&mut bytes)?;
    Ok(serde_json::from_slice(&bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generation(number: Option<u32>, base: Option<u32>) -> Generation {
        Generation {
            number,
            base,
            started: 5,
            milliseconds: 1000 * u64::from(number.unwrap_or(99)),
            changed_bytes: 6,
            sent_bytes: 7,
            copied_bytes: 8,
            size: 9,
        }
    }

    #[test]
    fn the_cutover_takes_as_long_as_the_last_delta_until_it_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let dir = StateDir::resolve(Some(dir.path()), |_| None).unwrap();
        let target = Target {
            endpoint: "https://obs",
            bucket: "images",
            key: "web.zvhd2",
        };
        assert_eq!(dir.history(&target), None);
        let mut history = History {
            endpoint: "https://obs".into(),
            bucket: "images".into(),
            key: "web.zvhd2".into(),
            name: "web".into(),
            source: "/disk".into(),
            command: vec!["imgferry".into()],
            directory: "/".into(),
            generations: Vec::new(),
        };
        history.add(generation(Some(1), None));
        assert_eq!(history.cutover(), None);
        history.add(generation(Some(2), Some(1)));
        // The whole disk was sent again: that says nothing of a delta.
        history.add(generation(Some(3), None));
        assert_eq!(history.cutover(), Some(2000));
        dir.put_history(&target, &history).unwrap();
        assert_eq!(dir.history(&target).as_ref(), Some(&history));
        history.add(generation(Some(3), Some(2)));
        assert_eq!(history.generations.len(), 3);
        history.add(generation(None, Some(3)));
        assert_eq!(history.cutover(), None);
        dir.put_history(&target, &history).unwrap();
        assert_eq!(dir.histories().unwrap()[0].1, history);
        for number in 4..400 {
            history.add(generation(Some(number), None));
        }
        assert_eq!(history.generations.len(), KEPT);
    }
}
