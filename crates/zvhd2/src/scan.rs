//! Data blocks found by their headers, from front to back: without index, in files that have none
//! or that end too early.

use diskimg::units::{FileOffset, fits};
use diskimg::{ErrorKind, ReadAt, Result};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::finding::Broken as BrokenRule;
use crate::layout::{
    BLOCK_MAGIC, BLOCK_TRAILER, DATA_START, MAX_BLOCK_SIZE, MAX_STORED_BLOCKS, WireBlockHeader,
    max_padded_len, padded_len,
};
use crate::tables::StoredBlock;

/// What stands where a data block could begin.
#[derive(Debug)]
pub(crate) enum Next {
    /// A block with its header and trailer in place.
    Block(StoredBlock),
    /// Something else.
    Other,
    /// The beginning of a block that is not whole, or not right.
    Broken(BrokenRule),
}

/// Walks the data blocks of a file; reads headers and trailers only.
pub(crate) struct Scan<'a> {
    source: &'a dyn ReadAt,
    /// Where the next block begins.
    pub(crate) at: u64,
    last: Option<u32>,
    /// Blocks found.
    pub(crate) count: u64,
}

impl<'a> Scan<'a> {
    /// A walk from the first block on.
    pub(crate) fn new(source: &'a dyn ReadAt) -> Self {
        Self {
            source,
            at: DATA_START,
            last: None,
            count: 0,
        }
    }

    /// The next block. Anything else than a block ends the walk.
    pub(crate) fn next(&mut self) -> Result<Next> {
        let at = self.at;
        let broken = |rule, message: String| {
            Ok(Next::Broken(BrokenRule::corrupt(
                rule,
                "data block",
                at,
                message,
            )))
        };
        let past_end = |len: u64| {
            let finding = BrokenRule::corrupt(
                "file-end",
                "data block",
                at,
                format!(
                    "{len} bytes from here on pass the file's end at {:#x}",
                    self.source.len()
                ),
            );
            Ok(Next::Broken(finding.of_kind(ErrorKind::Truncated)))
        };
        let mut header = WireBlockHeader::new_zeroed();
        let header_len = size_of::<WireBlockHeader>() as u64;
        if !fits(at, header_len, self.source.len()) {
            return past_end(header_len);
        }
        self.source
            .read_exact_at(FileOffset(at), header.as_mut_bytes())?;
        if header.magic != *BLOCK_MAGIC {
            return Ok(Next::Other);
        }
        let (size, number) = (header.size.get(), header.number.get());
        let len = padded_len(size);
        if size == 0 || len > max_padded_len(MAX_BLOCK_SIZE) {
            return broken("block-header", format!("payload size is {size}"));
        }
        if let Some(last) = self.last.filter(|last| *last >= number) {
            return broken(
                "block-order",
                format!("block {number} comes after block {last}"),
            );
        }
        if !fits(at, len, self.source.len()) {
            return past_end(len);
        }
        let mut trailer = [0; BLOCK_TRAILER.len()];
        let end = at.saturating_add(len);
        let trailer_at = end.saturating_sub(trailer.len() as u64);
        self.source
            .read_exact_at(FileOffset(trailer_at), &mut trailer)?;
        if trailer != *BLOCK_TRAILER {
            return broken("block-trailer", format!("block ends with {trailer:02x?}"));
        }
        if self.count >= MAX_STORED_BLOCKS {
            let message = format!("more than {MAX_STORED_BLOCKS} blocks are not read");
            let finding = BrokenRule::corrupt("stored-count", "data block", at, message);
            return Ok(Next::Broken(finding.of_kind(ErrorKind::Limit)));
        }
        let Ok(len) = u32::try_from(len) else {
            return broken("block-header", format!("payload size is {size}"));
        };
        self.count += 1;
        self.last = Some(number);
        self.at = end;
        Ok(Next::Block(StoredBlock {
            offset: at,
            number,
            len,
        }))
    }

    /// Walks to the end: how many blocks are whole, for messages about truncated files.
    pub(crate) fn whole_blocks(mut self) -> Result<String> {
        while let Next::Block(_) = self.next()? {}
        Ok(format!(
            "{} data blocks are whole, up to offset {:#x}",
            self.count, self.at
        ))
    }
}

/// The header of the block that `raw` holds, when it is long enough for one.
pub(crate) fn header_of(raw: &[u8]) -> Option<&WireBlockHeader> {
    WireBlockHeader::ref_from_prefix(raw)
        .ok()
        .map(|(header, _)| header)
}
