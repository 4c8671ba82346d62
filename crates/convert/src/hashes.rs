//! SHA-256 of blocks, several at the same time.
//!
//! Each round of SHA-256 waits for the one before. The rounds of other hashes fill these waits: on
//! processors with instructions for SHA-256 four hashes together take half as long as one after the
//! other, on those without, vectors hold a word of each.

use sha2::{Digest, Sha256};

/// SHA-256 of one block.
pub type BlockHash = [u8; 32];

/// Hashes that are computed at the same time.
pub(crate) const AT_ONCE: usize = 4;

/// SHA-256 of `block`.
pub(crate) fn hash(block: &[u8]) -> BlockHash {
    Sha256::digest(block).into()
}

/// SHA-256 of each of `blocks`, in their order; `None` of `None`.
pub fn hash_all<'a>(blocks: impl IntoIterator<Item = Option<&'a [u8]>>) -> Vec<Option<BlockHash>> {
    let blocks: Vec<Option<&[u8]>> = blocks.into_iter().collect();
    let held: Vec<&[u8]> = blocks.iter().copied().flatten().collect();
    let mut hashes = Vec::with_capacity(held.len());
    for together in held.chunks(AT_ONCE) {
        let mut found = [[0; 32]; AT_ONCE];
        match *together {
            [alone] => found[0] = hash(alone),
            // Four at once take as long as two or three one after the other.
            [a, b] => tape_sha256::hash_many(&[a, b, a, b], &mut found),
            [a, b, c] => tape_sha256::hash_many(&[a, b, c, c], &mut found),
            _ => tape_sha256::hash_many(together, &mut found),
        }
        hashes.extend(found.into_iter().take(together.len()));
    }
    let mut hashes = hashes.into_iter();
    let of = blocks.iter().map(|block| block.and_then(|_| hashes.next()));
    of.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_together_are_those_of_sha256_in_their_order() {
        for len in [0, 1, 55, 56, 63, 64, 65, 4096, 2 << 20] {
            for count in 0..=9 {
                let blocks: Vec<Vec<u8>> = (0..count)
                    .map(|block| (0..=250 - block).cycle().take(len).collect())
                    .collect();
                let given: Vec<Option<&[u8]>> = blocks
                    .iter()
                    .enumerate()
                    .map(|(at, block)| (at % 3 != 1).then_some(block.as_slice()))
                    .collect();
                let expected: Vec<Option<BlockHash>> =
                    given.iter().map(|block| block.map(hash)).collect();
                assert_eq!(hash_all(given), expected, "{count} of {len} bytes");
            }
        }
    }
}
