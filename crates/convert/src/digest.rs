//! The content digest: one number for what the guest would see, whatever file holds the disk.
//!
//! SHA-256 of `imgferry-content-v1\n`, the virtual size as u64 little-endian, and then, for each
//! block of 2 MiB that is not all zero, ascending, its number as u64 little-endian and the SHA-256
//! of its bytes. The last block is padded with zeros. So zeros cost nothing, however the image
//! stores them, and blocks are hashed in parallel.

use std::fmt;
use std::str::FromStr;

use diskimg::DiskImage;
use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::blocks::{DataBlocks, GroupBuffer, group_of, range_of};
use crate::cancel::CancelToken;
use crate::error::Result;
use crate::hashes::BlockHash;
use crate::monitor::{Counter, Monitor};
use crate::ordered::{self, Width};
use crate::tally::Tally;

/// Digest of a disk's content. Written as `v1:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentDigest([u8; 32]);

/// The version before the digits.
const PREFIX: &str = "v1:";

impl ContentDigest {
    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", hex::encode(self.0))
    }
}

impl fmt::Debug for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for ContentDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for ContentDigest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut bytes = [0; 32];
        text.strip_prefix(PREFIX)
            .filter(|digits| !digits.bytes().any(|b| b.is_ascii_uppercase()))
            .and_then(|digits| hex::decode_to_slice(digits, &mut bytes).ok())
            .map(|()| Self(bytes))
            .ok_or_else(|| {
                format!("invalid content digest {text:?}: expected {PREFIX} and 64 hex digits")
            })
    }
}

/// Adds up a digest from the hashes of the blocks.
#[derive(Clone)]
pub(crate) struct DigestBuilder(Sha256);

impl DigestBuilder {
    pub(crate) fn new(virtual_size: u64) -> Self {
        let mut sum = Sha256::new();
        sum.update(b"imgferry-content-v1\n");
        sum.update(virtual_size.to_le_bytes());
        Self(sum)
    }

    /// Adds a block that is not all zero. Blocks come in ascending order.
    pub(crate) fn block(&mut self, number: u64, hash: &BlockHash) {
        self.0.update(number.to_le_bytes());
        self.0.update(hash);
    }

    pub(crate) fn finish(self) -> ContentDigest {
        ContentDigest(self.0.finalize().into())
    }
}

/// Computes the content digest of `image` with `threads` threads.
///
/// Holds 8 MiB for each of up to 8 threads, 2 MiB for each of very many, besides what the image
/// holds. Zero blocks are not hashed, and holes are not read.
///
/// # Errors
/// Those of the image; `Cancelled`; `WorkerPanicked`.
pub fn digest(
    image: &dyn DiskImage,
    threads: usize,
    monitor: &dyn Monitor,
    cancel: &CancelToken,
) -> Result<ContentDigest> {
    let pass = pass(image, threads, monitor, cancel, |_, _| (), |()| ())?;
    Ok(pass.digest)
}

/// What a pass over an image adds up.
pub(crate) struct Pass {
    pub(crate) digest: ContentDigest,
    /// Bytes read as guest data.
    pub(crate) read_bytes: u64,
    /// Bytes never read, because the metadata says that they are zero.
    pub(crate) skipped_bytes: u64,
    /// Bytes read in blocks that turned out to be all zero.
    pub(crate) zero_bytes: u64,
}

/// Reads and hashes the data of `image` with `threads` threads, which call `look` on every block
/// that is not all zero; `take` gets the results in order.
///
/// # Errors
/// Those of the image; `Cancelled`; `WorkerPanicked`.
pub(crate) fn pass<T: Send>(
    image: &dyn DiskImage,
    threads: usize,
    monitor: &dyn Monitor,
    cancel: &CancelToken,
    look: impl Fn(u64, &[u8]) -> T + Sync,
    mut take: impl FnMut(T),
) -> Result<Pass> {
    let virtual_size = image.virtual_size();
    let mut blocks = DataBlocks::new(image, cancel);
    let mut sum = DigestBuilder::new(virtual_size);
    let mut tally = Tally::new(virtual_size, monitor);
    let group = group_of(threads);
    ordered::run(
        Width::for_hashes(threads),
        cancel,
        || blocks.next_group(group),
        || Ok(GroupBuffer::new(group)),
        |buffer, group| {
            let found = buffer.read(image, group)?.map(|(block, content)| {
                let start = range_of(block.number, virtual_size).start;
                let hash = block.hash.map(|hash| (hash, look(start, content)));
                (block, hash)
            });
            Ok(found.collect::<Vec<_>>())
        },
        |group| {
            for (block, found) in group {
                tally.block(range_of(block.number, virtual_size), block.read);
                let Some((hash, seen)) = found else {
                    tally.zero(block.read);
                    continue;
                };
                monitor.count(Counter::DataBlocks, 1);
                sum.block(block.number, &hash);
                take(seen);
            }
            Ok(())
        },
    )?;
    tally.finish();
    Ok(Pass {
        digest: sum.finish(),
        read_bytes: tally.read_bytes(),
        skipped_bytes: tally.skipped_bytes(),
        zero_bytes: tally.zero_bytes(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_reads_back_as_it_is_written() {
        let digest = DigestBuilder::new(512).finish();
        let text = digest.to_string();
        assert_eq!(text.len(), 3 + 64);
        assert_eq!(text.parse(), Ok(digest));
        assert_eq!(
            serde_json::to_string(&digest).unwrap(),
            format!("\"{text}\"")
        );
    }

    #[test]
    fn what_is_no_digest_is_refused() {
        let good = DigestBuilder::new(512).finish().to_string();
        for bad in [
            "",
            "v1:",
            &good[3..],
            &good[..good.len() - 1],
            &format!("{good}0"),
            &good.replace("v1", "v2"),
            &good.to_uppercase(),
            &format!("{}G", &good[..good.len() - 1]),
        ] {
            assert!(bad.parse::<ContentDigest>().is_err(), "{bad:?}");
        }
    }
}
