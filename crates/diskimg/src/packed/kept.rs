//! Blocks that came out of a stream and may still be asked for.

use std::collections::VecDeque;

/// A block of what came out.
pub(super) struct Block {
    number: u64,
    pub(super) bytes: Vec<u8>,
    /// Whether somebody has read its end.
    done: bool,
}

/// The blocks that are kept, ascending. When there is no room, one that somebody has read goes:
/// threads that read front to back together find what others passed on the way. Of those the
/// newest goes, whose memory the processor's caches have.
pub(super) struct Kept {
    blocks: VecDeque<Block>,
    most: usize,
}

impl Kept {
    /// Keeps at most `most` blocks.
    pub(super) fn new(most: usize) -> Self {
        Self {
            blocks: VecDeque::new(),
            most,
        }
    }

    /// Memory for one more block: that of one that goes, when there is no room.
    pub(super) fn room(&mut self) -> Vec<u8> {
        if self.blocks.len() < self.most {
            return Vec::new();
        }
        // The newest ones are likely to be read again.
        let old = self.most - self.most / 8;
        let done = self.blocks.iter().take(old).rposition(|block| block.done);
        let block = self.blocks.remove(done.unwrap_or_default());
        let mut bytes = block.map(|block| block.bytes).unwrap_or_default();
        bytes.clear();
        bytes
    }

    /// Keeps block `number`, which follows those that came before; it may go if it is `done`.
    pub(super) fn push(&mut self, number: u64, bytes: Vec<u8>, done: bool) {
        let block = Block {
            number,
            bytes,
            done,
        };
        self.blocks.push_back(block);
    }

    /// Block `number`, if it is kept. What is read of it ends at byte `end`, if not behind it.
    pub(super) fn get(&mut self, number: u64, end: u64) -> Option<&[u8]> {
        let place = self.blocks.binary_search_by_key(&number, |it| it.number);
        let block = self.blocks.get_mut(place.ok()?)?;
        block.done |= end >= block.bytes.len() as u64;
        Some(&block.bytes)
    }

    /// The last bytes that came, at most `most`.
    pub(super) fn tail(&self, most: usize) -> Vec<u8> {
        let mut last = self.blocks.iter().rev().take(2).collect::<Vec<_>>();
        last.reverse();
        let bytes: Vec<u8> = last.iter().flat_map(|it| &it.bytes).copied().collect();
        let start = bytes.len().saturating_sub(most);
        bytes.get(start..).unwrap_or_default().to_vec()
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_goes_before_what_others_passed() {
        let mut kept = Kept::new(8);
        for number in 0..8 {
            assert!(kept.room().is_empty());
            kept.push(number, vec![number as u8; 10], false);
        }
        // A part of a block is no reason to let it go.
        assert_eq!(kept.get(2, 9).unwrap(), [2; 10]);
        assert_eq!(kept.get(3, 10).unwrap(), [3; 10]);
        assert_eq!(kept.get(7, 10).unwrap(), [7; 10]);
        for (number, gone) in [(8, 3), (9, 7), (10, 0)] {
            assert!(kept.get(gone, 0).is_some());
            assert!(kept.room().capacity() >= 10);
            kept.push(number, vec![number as u8; 10], false);
            assert!(kept.get(gone, 0).is_none(), "{gone}");
        }
        assert_eq!(
            kept.tail(12),
            [9, 9, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10]
        );
    }
}
