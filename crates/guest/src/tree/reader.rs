//! A slice as the readers of file systems want it.

use crate::media::Slice;

/// Hands the bytes of a slice to a reader from another crate.
pub(super) struct Reader(pub(super) Slice);

impl ext4_view::Ext4Read for Reader {
    fn read(
        &mut self,
        at: u64,
        buf: &mut [u8],
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.0.read_at(at, buf)?)
    }
}

impl lamxfs::BlockRead for Reader {
    type Error = String;

    fn read_at(&mut self, at: u64, buf: &mut [u8]) -> Result<(), String> {
        self.0.read_at(at, buf)
    }
}

impl lambutter::BlockRead for Reader {
    type Error = String;

    fn read_at(&mut self, at: u64, buf: &mut [u8]) -> Result<(), String> {
        self.0.read_at(at, buf)
    }
}
