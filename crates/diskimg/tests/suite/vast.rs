//! Images far larger than any file, which need no disk.

use diskimg::{FileOffset, ReadAt, Result};

use crate::craft::{Craft, put};

/// The file of an image that is far larger than its file is allowed to be on disk: a header, and
/// tables and data that follow a rule.
pub(crate) struct Vast {
    header: Vec<u8>,
    len: u64,
    /// L1 table entries, by index.
    l1: fn(u64) -> u64,
}

const L1_AT: u64 = 1 << 21;

impl Vast {
    pub(crate) fn new(cluster_bits: u32, size: u64, len: u64, l1: fn(u64) -> u64) -> Self {
        let mut header = Craft::new(3, cluster_bits, Vec::new()).build().bytes;
        let covered = (1_u64 << cluster_bits) * (1 << (cluster_bits - 3));
        put(&mut header, 24, &size.to_be_bytes());
        put(
            &mut header,
            36,
            &(size.div_ceil(covered) as u32).to_be_bytes(),
        );
        put(&mut header, 40, &L1_AT.to_be_bytes());
        header.resize(512, 0);
        Self { header, len, l1 }
    }
}

impl ReadAt for Vast {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, at: FileOffset, buf: &mut [u8]) -> Result<()> {
        buf.fill(0);
        if at.0 == 0 {
            let len = buf.len().min(self.header.len());
            buf[..len].copy_from_slice(&self.header[..len]);
        } else if at.0 == L1_AT {
            for (entry, index) in buf.chunks_exact_mut(8).zip(0..) {
                entry.copy_from_slice(&(self.l1)(index).to_be_bytes());
            }
        }
        Ok(())
    }
}
