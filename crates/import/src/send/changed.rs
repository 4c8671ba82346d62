//! What has changed since the base was made, by a bitmap that somebody keeps: held against the base
//! before anything is believed.

use std::collections::BTreeMap;

use ::convert::delta::BlockTable;
use ::convert::parts::PART_UNIT as BLOCK;
use ::convert::{CancelToken, reread_sample};
use cloud::{Class, Failure, ImportHint, Result};
use diskimg::units::human;
use diskimg::{Changes, DiskImage};
use serde::Serialize;

/// Blocks outside the bitmap that are read and compared with the base, beside the first.
const SAMPLE: usize = 16;

/// What has changed, as a bitmap says.
#[derive(Debug)]
pub(super) struct Changed {
    bitmap: String,
    /// Key of the object since which.
    base: String,
    /// Bytes of the disk.
    size: u64,
    pub(super) changes: Changes,
}

/// The bitmap that an import with a base has believed.
#[derive(Clone, Debug, Serialize)]
pub struct ChangedBy {
    /// Its name.
    pub bitmap: String,
    /// Key of the object that everything outside the bitmap is taken to be as in.
    pub base: String,
    /// Bytes that it marks.
    pub marked_bytes: u64,
    /// Bytes of the disk that were read for it; in a plan, that would be read at most.
    pub read_bytes: u64,
}

impl ChangedBy {
    /// What is believed, in words.
    #[must_use]
    pub fn trusted(&self) -> String {
        format!(
            "every byte outside the bitmap {:?} is taken to be as in {}; the digest is of what was \
             read and of what its table says",
            self.bitmap, self.base
        )
    }
}

impl Changed {
    /// Believes `bitmap` about what has changed on the disk since the object `base` was made, whose
    /// blocks are in `table`, if a sample of what it does not mark is as it was.
    ///
    /// # Errors
    /// `Refused` when there is no such bitmap, it may have missed changes, or the sample differs.
    pub(super) fn find(
        image: &dyn DiskImage,
        bitmap: &str,
        (base, table): (&str, &BlockTable),
        cancel: &CancelToken,
    ) -> Result<Self> {
        let changes = image.changes(bitmap, BLOCK)?;
        let sample = sample(table, &changes);
        if let Some(number) = reread_sample(image, 1, &sample, cancel)? {
            let message = format!(
                "the bitmap {bitmap:?} does not tell what has changed since {base} was made: block \
                 {number}, which it does not mark, is another one now"
            );
            return Err(Failure::new(Class::Refused, message).hint(ImportHint::ReadWholeDisk));
        }
        Ok(Self {
            bitmap: bitmap.to_owned(),
            base: base.to_owned(),
            size: table.virtual_size,
            changes,
        })
    }

    /// The same for people and programs; `read` bytes were read for it, or would be.
    pub(super) fn by(&self, read: Option<u64>) -> ChangedBy {
        ChangedBy {
            bitmap: self.bitmap.clone(),
            base: self.base.clone(),
            marked_bytes: self.changes.marked_bytes(),
            read_bytes: read.unwrap_or_else(|| self.changes.bytes(self.size)),
        }
    }

    /// What is said before the disk is read.
    pub(super) fn said(&self) -> String {
        let by = self.by(None);
        format!(
            "{}; at most {} of {} are read to find what has changed",
            by.trusted(),
            human(by.read_bytes),
            human(self.size)
        )
    }
}

/// Blocks that `changes` do not touch, with their hashes: the first of the disk, and some by chance
/// of those that hold data.
fn sample(table: &BlockTable, changes: &Changes) -> BTreeMap<u64, Option<[u8; 32]>> {
    let untouched = |number: &u64| {
        let start = number.saturating_mul(BLOCK);
        !changes.touches(&(start..start.saturating_add(BLOCK)))
    };
    let held = table.blocks.iter().map(|block| u64::from(block.number));
    let mut numbers: Vec<u64> = held.filter(untouched).collect();
    fastrand::shuffle(&mut numbers);
    numbers.truncate(SAMPLE);
    numbers.extend(Some(0).filter(untouched));
    let hash = |number: u64| {
        let found = table
            .blocks
            .binary_search_by_key(&number, |block| u64::from(block.number));
        let block = found.ok().and_then(|index| table.blocks.get(index));
        block.map(|block| block.hash)
    };
    let sample = numbers.into_iter();
    sample.map(|number| (number, hash(number))).collect()
}

#[cfg(test)]
mod tests {
    use ::convert::BlockRecord;

    use super::*;

    #[test]
    fn the_sample_is_of_the_first_block_and_of_data_outside_the_bitmap() {
        let block = |number: u32| BlockRecord {
            number,
            offset: 0,
            len: 4096,
            crc: 0,
            hash: [u8::try_from(number).unwrap(); 32],
            level: Some(1),
        };
        let table = BlockTable {
            object_size: 0,
            object_etag: String::new(),
            encoder: String::new(),
            virtual_size: 200 * BLOCK,
            blocks: (10..30).map(block).collect(),
        };
        let mut changes = Changes::none(BLOCK);
        changes.add(12 * BLOCK..14 * BLOCK + 1);
        let found = sample(&table, &changes);
        assert_eq!(found.len(), SAMPLE + 1);
        assert_eq!(found.get(&0), Some(&None));
        for (number, hash) in found.into_iter().skip(1) {
            assert!((10..12).contains(&number) || (15..30).contains(&number));
            assert_eq!(hash, Some([u8::try_from(number).unwrap(); 32]));
        }
        changes = Changes::none(BLOCK);
        changes.add(0..40 * BLOCK);
        assert!(sample(&table, &changes).is_empty());
    }
}
