//! Proving that a disk still holds what an earlier run read of it, by reading it again.
//!
//! A resumed stream is made of blocks that were read then and blocks that are read now. If
//! somebody wrote to the disk in between, the result is a mix of two states, and its digest is that
//! of the mix.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use diskimg::DiskImage;

use crate::blocks::{DataBlocks, Group, GroupBuffer, group_of, range_of};
use crate::cancel::CancelToken;
use crate::error::{Error, Result};
use crate::hashes::BlockHash;
use crate::ordered::{self, Width};
use crate::resume::BlockRecord;

/// No block differs.
const NONE: u64 = u64::MAX;

/// Reads a disk again, from its beginning on.
pub struct Rereading<'a> {
    image: &'a dyn DiskImage,
    threads: usize,
    cancel: &'a CancelToken,
    /// Up to where the disk is known to be the same, in guest bytes.
    at: u64,
}

impl std::fmt::Debug for Rereading<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rereading")
            .field("threads", &self.threads)
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

impl<'a> Rereading<'a> {
    /// Of `image`, with `threads` threads. Holds as much memory as [`crate::digest()`].
    #[must_use]
    pub fn new(image: &'a dyn DiskImage, threads: usize, cancel: &'a CancelToken) -> Self {
        Self {
            image,
            threads,
            cancel,
            at: 0,
        }
    }

    /// Reads on up to the last block of `noted`, which follow those that were given before. What
    /// was not noted must be zero. Returns the first block that differs.
    ///
    /// # Errors
    /// Those of the image; `Cancelled`; `WorkerPanicked`.
    pub fn blocks(&mut self, noted: &[BlockRecord]) -> Result<Option<u64>> {
        let Some(last) = noted.last() else {
            return Ok(None);
        };
        let end = range_of(u64::from(last.number), self.image.virtual_size()).end;
        self.up_to(end, noted)
    }

    /// Reads the rest of the disk, which must be zero. Returns the first block that is not.
    ///
    /// # Errors
    /// As [`Rereading::blocks`].
    pub fn rest(&mut self) -> Result<Option<u64>> {
        self.up_to(self.image.virtual_size(), &[])
    }

    fn up_to(&mut self, end: u64, noted: &[BlockRecord]) -> Result<Option<u64>> {
        let expected: BTreeMap<u64, BlockHash> = noted
            .iter()
            .map(|block| (u64::from(block.number), block.hash))
            .collect();
        let size = self.image.virtual_size();
        let mut data = DataBlocks::new(self.image, self.cancel).behind(self.at);
        let mut next_data = move || -> Result<Option<u64>> {
            let next = data.next()?;
            Ok(next.filter(|number| range_of(*number, size).start < end))
        };
        let mut noted = expected.keys().copied();
        let (mut of_data, mut of_noted) = (next_data()?, noted.next());
        // Both ascend: what holds data now, and what did then.
        let numbers = || -> Result<Option<u64>> {
            let next = match (of_data, of_noted) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            if next.is_some() && of_data == next {
                of_data = next_data()?;
            }
            if next.is_some() && of_noted == next {
                of_noted = noted.next();
            }
            Ok(next)
        };
        let differing = compare(self.image, self.threads, self.cancel, numbers, |number| {
            expected.get(&number).copied()
        })?;
        self.at = end;
        Ok(differing)
    }
}

/// Reads the blocks in `expected`, each with its hash or none if it is all zero. Returns the first
/// that differs.
///
/// # Errors
/// Those of the image; `Cancelled`; `WorkerPanicked`.
pub fn reread_sample(
    image: &dyn DiskImage,
    threads: usize,
    expected: &BTreeMap<u64, Option<BlockHash>>,
    cancel: &CancelToken,
) -> Result<Option<u64>> {
    let size = image.virtual_size();
    let mut numbers = expected
        .keys()
        .copied()
        .filter(|number| !range_of(*number, size).is_empty());
    compare(
        image,
        threads,
        cancel,
        || Ok(numbers.next()),
        |number| expected.get(&number).copied().flatten(),
    )
}

/// Reads the blocks that `next` yields, ascending, and compares their hashes with `expected`.
fn compare(
    image: &dyn DiskImage,
    threads: usize,
    cancel: &CancelToken,
    mut next: impl FnMut() -> Result<Option<u64>> + Send,
    expected: impl Fn(u64) -> Option<BlockHash>,
) -> Result<Option<u64>> {
    let group = group_of(threads);
    let differing = AtomicU64::new(NONE);
    let ran = ordered::run(
        Width::for_hashes(threads),
        cancel,
        || Group::gather(group, &mut next),
        || Ok(GroupBuffer::new(group)),
        |buffer, group| {
            let found = buffer.read(image, group)?.map(|(block, _)| block);
            Ok(found.collect::<Vec<_>>())
        },
        |group| {
            for block in group {
                if block.hash != expected(block.number) {
                    differing.store(block.number, Ordering::Relaxed);
                    // The first difference is all that is asked for.
                    return Err(Error::Cancelled);
                }
            }
            Ok(())
        },
    );
    match differing.into_inner() {
        NONE => ran.map(|()| None),
        number => Ok(Some(number)),
    }
}

#[cfg(test)]
mod tests {
    use diskimg::{Details, Extent, ExtentKind, Format, GuestOffset};

    use super::*;
    use crate::blocks::{BLOCK_BYTES, BLOCK_LEN};
    use crate::hashes::hash;

    /// A disk in memory, all of which is data.
    struct Disk(Vec<u8>);

    impl DiskImage for Disk {
        fn virtual_size(&self) -> u64 {
            self.0.len() as u64
        }

        fn extent_at(&self, at: GuestOffset, limit: u64) -> diskimg::Result<Extent> {
            Ok(Extent {
                start: at,
                len: limit,
                kind: ExtentKind::Data,
            })
        }

        fn read_at(&self, at: GuestOffset, buf: &mut [u8]) -> diskimg::Result<()> {
            let at = usize::try_from(at.0).unwrap();
            buf.copy_from_slice(&self.0[at..at + buf.len()]);
            Ok(())
        }

        fn details(&self) -> Details {
            Details::new(Format::Raw)
        }

        fn memory_bound(&self, _: usize) -> u64 {
            0
        }
    }

    /// Six blocks, of which the second and the last are zero, and what a run notes of them.
    fn disk() -> (Disk, Vec<BlockRecord>) {
        let mut bytes = vec![0; 6 * BLOCK_LEN];
        let mut noted = Vec::new();
        for number in [0, 2, 3, 4_u32] {
            let at = number as usize * BLOCK_LEN;
            bytes[at + 7] = u8::try_from(number).unwrap() + 1;
            noted.push(BlockRecord {
                number,
                offset: 0,
                len: 0,
                crc: 0,
                hash: hash(&bytes[at..at + BLOCK_LEN]),
                level: None,
            });
        }
        (Disk(bytes), noted)
    }

    /// What is found when the disk was changed by `change`, in pieces of `piece` blocks.
    fn reread(change: impl FnOnce(&mut Vec<u8>), piece: usize) -> Option<u64> {
        let (mut disk, noted) = disk();
        change(&mut disk.0);
        let cancel = CancelToken::new();
        let mut reading = Rereading::new(&disk, 2, &cancel);
        for piece in noted.chunks(piece) {
            let found = reading.blocks(piece).unwrap();
            if found.is_some() {
                return found;
            }
        }
        reading.rest().unwrap()
    }

    #[test]
    fn the_same_disk_is_proven_in_pieces_of_any_length() {
        for piece in 1..5 {
            assert_eq!(reread(|_| {}, piece), None, "{piece}");
        }
    }

    #[test]
    fn one_byte_that_changed_is_found_wherever_it_is() {
        for block in 0..6_u64 {
            for piece in 1..5 {
                let at = usize::try_from(block * BLOCK_BYTES).unwrap() + BLOCK_LEN - 1;
                assert_eq!(reread(|disk| disk[at] ^= 1, piece), Some(block), "{piece}");
            }
        }
    }

    #[test]
    fn a_block_that_was_data_and_is_zero_differs() {
        let zeroed = |disk: &mut Vec<u8>| disk[2 * BLOCK_LEN..3 * BLOCK_LEN].fill(0);
        assert_eq!(reread(zeroed, 4), Some(2));
    }

    #[test]
    fn a_sample_finds_what_it_reads_and_nothing_else() {
        let (mut disk, noted) = disk();
        disk.0[3 * BLOCK_LEN] ^= 1;
        let cancel = CancelToken::new();
        let of = |numbers: &[u64]| {
            let expected = numbers.iter().map(|number| {
                let noted = noted
                    .iter()
                    .find(|block| u64::from(block.number) == *number);
                (*number, noted.map(|block| block.hash))
            });
            reread_sample(&disk, 2, &expected.collect(), &cancel).unwrap()
        };
        assert_eq!(of(&[0, 1, 2, 4, 5, 99]), None);
        assert_eq!(of(&[0, 3, 4]), Some(3));
    }

    #[test]
    fn a_run_that_is_cancelled_proves_nothing() {
        let (disk, noted) = disk();
        let cancel = CancelToken::new();
        cancel.cancel();
        let found = Rereading::new(&disk, 2, &cancel).blocks(&noted);
        assert!(matches!(found, Err(Error::Cancelled)), "{found:?}");
    }
}
