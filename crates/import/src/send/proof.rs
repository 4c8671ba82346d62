//! Before an import is resumed: is the disk still the one that the interrupted run read?
//!
//! | what is known of the source | what is read again |
//! |---|---|
//! | a file whose times, ctime among them, have not moved | a sample of what is stored |
//! | a block device, a file whose ctime moved, a journal without ctime | everything that is stored |
//!
//! If a block differs, the import starts over, so that no image mixes two states of a disk.

use cloud::{Result, StopToken, from_journal};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use ::convert::{
    BlockHash, BlockRecord, CancelToken, ContentDigest, Plan, Rereading, Target, reread_sample,
};
use diskimg::units::human;
use diskimg::{DiskImage, partitions};
use journal::{Block, Part, Sameness, Stage, State};

use super::reading::{PartReader, on_thread};
use crate::ledger::{Entry, Notes};
use crate::observe::Observer;

/// Blocks that a sample takes by chance.
const BY_CHANCE: usize = 16;
/// Blocks that a sample takes of those that were confirmed last.
const LAST: usize = 4;
/// Partitions whose first block a sample takes: file systems have their superblock there.
const PARTITIONS: usize = 32;
/// Parts of a file that a sample takes by chance.
const PARTS_BY_CHANCE: usize = 4;
/// Blocks that are held at a time while everything is read.
const HELD: usize = 512;
/// Bytes of a block.
const BLOCK: u64 = zvhd2::BLOCK_SIZE as u64;

/// How much is read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    Sample,
    /// Why nothing less will do.
    Everything(&'static str),
}

/// What the proof needs besides the journal.
#[derive(Clone, Copy)]
pub(crate) struct Proving<'a> {
    pub(crate) observer: &'a dyn Observer,
    pub(crate) stop: &'a StopToken,
}

impl Proving<'_> {
    /// Proves that `image` is what the interrupted run read, or lets the import start over.
    pub(crate) async fn disk(
        self,
        image: &Arc<dyn DiskImage>,
        plan: &Plan,
        entry: &mut Entry,
    ) -> Result {
        let Some((state, extent)) = to_prove(entry) else {
            return Ok(());
        };
        let digest = state.sent.as_ref().map(|(_, digest)| digest.parse());
        let reader = DiskReader {
            image: Arc::clone(image),
            threads: plan.threads,
            cancel: self.stop.token().clone(),
        };
        // A raw import makes every part again and compares it with the server's, until its object
        // is complete.
        let differing = match (plan.target, extent, entry.notes()) {
            (Target::Raw, Extent::Everything(why), _) if state.completed.is_some() => {
                let Some(Ok(digest)) = digest else {
                    return self.anew(entry, "the journal has no digest to compare it with");
                };
                self.tell(entry, why, plan.virtual_size);
                on_thread(self.stop, move || reader.differs_from(digest)).await?
            }
            (Target::Raw, ..) | (_, _, None) => return Ok(()),
            (Target::Zvhd2, Extent::Sample, Some(notes)) => {
                let (notes, state) = (notes.clone(), state.clone());
                on_thread(self.stop, move || reader.sample(&notes, &state)).await?
            }
            (Target::Zvhd2, Extent::Everything(why), Some(notes)) => {
                let noted = state
                    .last_block
                    .map_or(0, |last| u64::from(last.number) + 1);
                let known = noted.saturating_mul(BLOCK).min(plan.virtual_size);
                self.tell(entry, why, known);
                let (notes, whole) = (notes.clone(), digest.is_some());
                on_thread(self.stop, move || reader.everything(&notes, whole)).await?
            }
        };
        match differing {
            None => Ok(()),
            Some(what) => self.anew(entry, &what),
        }
    }

    /// Proves that the file at `path` is what the interrupted run sent, or lets the upload start
    /// over.
    pub(crate) async fn file(self, path: &Path, entry: &mut Entry) -> Result {
        let Some((state, extent)) = to_prove(entry) else {
            return Ok(());
        };
        let mut parts = places(&state.parts);
        match extent {
            Extent::Everything(why) => {
                let bytes = parts.iter().map(|(_, part)| part.size).sum();
                self.tell(entry, why, bytes);
            }
            Extent::Sample => {
                let last = parts.pop();
                fastrand::shuffle(&mut parts);
                parts.truncate(PARTS_BY_CHANCE);
                parts.extend(last);
            }
        }
        let (path, cancel) = (path.to_owned(), self.stop.token().clone());
        let differing = on_thread(self.stop, move || parts_differ(&path, &parts, cancel)).await?;
        match differing {
            None => Ok(()),
            Some(what) => self.anew(entry, &what),
        }
    }

    fn tell(self, entry: &Entry, why: &str, bytes: u64) {
        let path = entry.source_path().unwrap_or_default();
        self.observer.notice(format_args!(
            "{path}: {why}; reading the stored {} again to compare them before anything is sent",
            human(bytes)
        ));
    }

    fn anew(self, entry: &mut Entry, what: &str) -> Result {
        let path = entry.source_path().unwrap_or_default();
        self.observer.warn(format_args!(
            "{path} has changed since the interrupted run: {what}; starting over, so that the image does not mix two states of the disk"
        ));
        entry.forget();
        Ok(())
    }
}

/// What an interrupted run has stored and how it must be proven; `None` where nothing depends on
/// that.
fn to_prove(entry: &Entry) -> Option<(State, Extent)> {
    let state = entry.state()?;
    // An upload that is made of copies notes no parts, until its object is complete.
    let has_nothing = state.parts.is_empty() && state.completed.is_none();
    // From the registration on the object decides, and there may be an image of it already.
    if has_nothing || state.stage() >= Stage::Registering {
        return None;
    }
    let extent = match entry.sameness()? {
        Sameness::Same => Extent::Sample,
        Sameness::Unproven(why) => Extent::Everything(why),
        // The entry has not taken it up.
        Sameness::Changed(_) => return None,
    };
    Some((state.clone(), extent))
}

/// Parts with the offsets at which they begin.
fn places(parts: &BTreeMap<u32, Part>) -> Vec<(u64, Part)> {
    let schedule = obs::parts::STANDARD;
    let places = parts
        .values()
        .filter_map(|part| Some((schedule.start(part.number)?, part.clone())));
    places.collect()
}

/// Reads a disk again.
struct DiskReader {
    image: Arc<dyn DiskImage>,
    threads: usize,
    cancel: CancelToken,
}

impl DiskReader {
    fn differs_from(self, digest: ContentDigest) -> Result<Option<String>> {
        let image = self.image.as_ref();
        let now = ::convert::digest(image, self.threads, &::convert::VoidMonitor, &self.cancel)?;
        Ok((now != digest).then(|| format!("its content digest was {digest}, and is {now}")))
    }

    /// Everything that was noted; `whole` when that is the whole disk.
    fn everything(self, notes: &Notes, whole: bool) -> Result<Option<String>> {
        let mut reading = Rereading::new(self.image.as_ref(), self.threads, &self.cancel);
        let mut held = Vec::with_capacity(HELD);
        let mut read = Ok(None);
        notes
            .lock()
            .blocks(|block| {
                held.push(record(block));
                if held.len() == HELD {
                    read = reading.blocks(&held);
                    held.clear();
                }
                matches!(read, Ok(None))
            })
            .map_err(|error| from_journal(&error))?;
        if let Some(number) = read? {
            return Ok(Some(differs(number)));
        }
        let mut differing = reading.blocks(&held)?;
        if whole && differing.is_none() {
            differing = reading.rest()?;
        }
        Ok(differing.map(differs))
    }

    /// Some blocks by chance, the last that were confirmed, and those where file systems begin.
    fn sample(self, notes: &Notes, state: &State) -> Result<Option<String>> {
        let image = self.image.as_ref();
        let starts = match partitions::read(image) {
            Ok(table) => table.entries,
            // What cannot be read now fails when the import is resumed.
            Err(_) => Vec::new(),
        };
        let starts = starts
            .iter()
            .take(PARTITIONS)
            .map(|entry| entry.start / BLOCK);
        let mut sample = Sample {
            wanted: std::iter::once(0).chain(starts).collect(),
            found: BTreeMap::new(),
            by_chance: Vec::new(),
            last: Vec::new(),
            seen: 0,
        };
        let stored = state.parts.last_key_value();
        let end =
            stored.and_then(|(number, _)| obs::parts::STANDARD.start(number.saturating_add(1)));
        let end = end.unwrap_or(u64::MAX);
        notes
            .lock()
            .blocks(|block| {
                sample.add(block, end);
                true
            })
            .map_err(|error| from_journal(&error))?;
        let known = state.last_block.map(|last| u64::from(last.number));
        let expected = sample.expected(known, state.sent.is_some());
        let differing = reread_sample(image, self.threads, &expected, &self.cancel)?;
        Ok(differing.map(differs))
    }
}

fn differs(number: u64) -> String {
    format!(
        "block {number} (2 MiB at guest offset {:#x}) has changed",
        number.saturating_mul(BLOCK)
    )
}

fn record(block: &Block) -> BlockRecord {
    BlockRecord {
        number: block.number,
        offset: block.offset,
        len: block.len,
        crc: block.crc,
        hash: block.hash,
        level: block.level.map(i32::from),
    }
}

/// Blocks that are read again, of those that were noted.
struct Sample {
    /// Numbers of blocks that are read in any case.
    wanted: Vec<u64>,
    found: BTreeMap<u64, BlockHash>,
    by_chance: Vec<(u64, BlockHash)>,
    last: Vec<(u64, BlockHash)>,
    seen: usize,
}

impl Sample {
    /// Takes a noted block in. Blocks whose bytes are stored end before `end`.
    fn add(&mut self, block: &Block, end: u64) {
        let entry = (u64::from(block.number), block.hash);
        if self.wanted.contains(&entry.0) {
            self.found.insert(entry.0, entry.1);
        }
        // Each block has the same chance to be in the sample when the last one was seen.
        self.seen = self.seen.saturating_add(1);
        if self.by_chance.len() < BY_CHANCE {
            self.by_chance.push(entry);
        } else if let Some(place) = self.by_chance.get_mut(fastrand::usize(..self.seen)) {
            *place = entry;
        }
        if block.offset.saturating_add(u64::from(block.len)) <= end {
            if self.last.len() == LAST {
                self.last.remove(0);
            }
            self.last.push(entry);
        }
    }

    /// What is to be read, up to block `known` or, if `whole`, to the end of the disk.
    fn expected(self, known: Option<u64>, whole: bool) -> BTreeMap<u64, Option<BlockHash>> {
        let is_known = |number: &u64| whole || known.is_some_and(|known| *number <= known);
        let Self { wanted, found, .. } = self;
        let wanted = wanted.into_iter().filter(is_known);
        let wanted = wanted.map(|number| (number, found.get(&number).copied()));
        let noted = self.by_chance.into_iter().chain(self.last);
        let noted = noted.map(|(number, hash)| (number, Some(hash)));
        wanted.chain(noted).collect()
    }
}

/// The first of `parts` that the file at `path` does not hold any more.
fn parts_differ(path: &Path, parts: &[(u64, Part)], cancel: CancelToken) -> Result<Option<String>> {
    let mut reader = PartReader::open(path, cancel)?;
    for (start, part) in parts {
        if reader.md5(*start, part.size)? != part.md5 {
            return Ok(Some(format!(
                "part {} ({} bytes at byte {start}) has changed",
                part.number, part.size
            )));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use md5::{Digest as _, Md5};

    fn block(number: u32) -> Block {
        Block {
            number,
            offset: u64::from(number) * 100,
            len: 100,
            crc: 0,
            hash: [u8::try_from(number % 251).unwrap(); 32],
            level: None,
        }
    }

    #[test]
    fn a_sample_has_superblocks_the_last_blocks_and_some_by_chance() {
        let mut sample = Sample {
            wanted: vec![0, 7, 3000, 8000],
            found: BTreeMap::new(),
            by_chance: Vec::new(),
            last: Vec::new(),
            seen: 0,
        };
        for number in (0..5000).filter(|number| *number != 7) {
            sample.add(&block(number), 490_050);
        }
        let expected = sample.expected(Some(4999), false);
        assert_eq!(expected[&0], Some([0; 32]));
        assert_eq!(expected[&7], None, "it was zero, and must be");
        assert!(expected[&3000].is_some());
        assert!(!expected.contains_key(&8000), "nothing is known of it");
        for number in 4896..4900 {
            assert!(expected[&number].is_some(), "the last that are stored");
        }
        assert!(expected.len() > 4 + LAST, "{}", expected.len());
        assert!(expected.len() <= 4 + LAST + BY_CHANCE);
    }

    #[test]
    fn a_part_that_changed_in_the_middle_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.iso");
        let content: Vec<u8> = (0..=250).cycle().take((9 << 20) + 5).collect();
        std::fs::write(&path, &content).unwrap();
        let of = |number: u32, range: std::ops::Range<usize>| Part {
            number,
            size: range.len() as u64,
            md5: Md5::digest(&content[range]).into(),
            etag: Some("not-an-md5".into()),
        };
        let parts = BTreeMap::from([(1, of(1, 0..8 << 20)), (2, of(2, 8 << 20..content.len()))]);
        let cancel = CancelToken::new();
        let found = || parts_differ(&path, &places(&parts), cancel.clone()).unwrap();
        assert_eq!(found(), None);
        let mut changed = content.clone();
        changed[(8 << 20) + 7] ^= 1;
        std::fs::write(&path, &changed).unwrap();
        assert!(found().unwrap().starts_with("part 2 "));
        std::fs::write(&path, &content[..content.len() - 1]).unwrap();
        assert!(found().is_some(), "it is shorter");
    }
}
