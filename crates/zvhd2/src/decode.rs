//! From a data block's bytes to guest bytes.

use diskimg::units::FileOffset;
use diskimg::{Error, ReadAt, Result};
use flate2::{Decompress, FlushDecompress, Status};
use zstd::zstd_safe::{DCtx, get_error_name};

use crate::finding::Broken;
use crate::footer::Compression;
use crate::layout::{BLOCK_HEADER, BLOCK_MAGIC, BLOCK_TRAILER, PAGE, padded_len};
use crate::scan::header_of;
use crate::tables::StoredBlock;

/// What one decoder holds beside the block it reads, in bytes: a zstd context, which takes no
/// window for one-shot decoding, and an inflate state with its 32 KiB window.
pub(crate) const CODEC_BYTES: u64 = 256 << 10;

/// The parts of a whole data block.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    /// Bytes 20 to 48 of the header.
    pub(crate) reserved: &'a [u8],
    pub(crate) payload: &'a [u8],
    /// Between payload and trailer.
    pub(crate) padding: &'a [u8],
}

/// Takes a data block apart. `raw` is all of it, `block` what the index says of it.
pub(crate) fn unpack<'a>(
    raw: &'a [u8],
    block: &StoredBlock,
) -> std::result::Result<Parts<'a>, Broken> {
    let broken =
        |rule, message: String| Err(Broken::corrupt(rule, "data block", block.offset, message));
    let Some(header) = header_of(raw).filter(|header| header.magic == *BLOCK_MAGIC) else {
        return broken("block-header", "no data block begins here".to_owned());
    };
    let (size, number) = (header.size.get(), header.number.get());
    if number != block.number {
        return broken(
            "block-number",
            format!(
                "header names block {number}, the index has block {}",
                block.number
            ),
        );
    }
    if size == 0 || padded_len(size) > u64::from(block.len) {
        return broken(
            "block-size",
            format!("payload size is {size}, the block has {} bytes", block.len),
        );
    }
    let Some((body, trailer)) = raw.split_last_chunk::<{ BLOCK_TRAILER.len() }>() else {
        return broken("block-header", "no data block begins here".to_owned());
    };
    if trailer != BLOCK_TRAILER {
        return broken(
            "block-trailer",
            format!("block {number} ends with {trailer:02x?}"),
        );
    }
    let split = usize::try_from(size)
        .ok()
        .and_then(|size| body.get(BLOCK_HEADER..)?.split_at_checked(size));
    match split {
        Some((payload, padding)) => Ok(Parts {
            reserved: &header.reserved,
            payload,
            padding,
        }),
        None => broken("block-size", format!("payload size is {size}")),
    }
}

/// Reads and decodes data blocks; keeps its buffers and contexts.
pub(crate) struct BlockDecoder {
    zstd: DCtx<'static>,
    zlib: Decompress,
    raw: Vec<u8>,
}

impl BlockDecoder {
    pub(crate) fn new() -> Result<Self> {
        let zstd = DCtx::try_create().ok_or_else(|| {
            Error::io(
                "a decompression context cannot be made",
                std::io::ErrorKind::OutOfMemory.into(),
            )
        })?;
        Ok(Self {
            zstd,
            zlib: Decompress::new(true),
            raw: Vec::new(),
        })
    }

    /// The bytes of `block`, whose length was checked against the file and the caps.
    pub(crate) fn read(&mut self, source: &dyn ReadAt, block: &StoredBlock) -> Result<&[u8]> {
        read_raw(&mut self.raw, source, block)?;
        Ok(&self.raw)
    }

    /// Decodes the block that [`BlockDecoder::read`] read last into `out`, which has the length of
    /// a guest block. After an error `out` holds anything.
    pub(crate) fn decode(
        &mut self,
        block: &StoredBlock,
        compression: Compression,
        out: &mut [u8],
    ) -> std::result::Result<(), Broken> {
        let payload = unpack(&self.raw, block)?.payload;
        let failed =
            |message: String| Broken::corrupt("payload", "data block", block.offset, message);
        match compression {
            Compression::Zstd => match self.zstd.decompress(out, payload) {
                Ok(len) if len == out.len() => Ok(()),
                Ok(len) => Err(failed(wrong_len(block, len, out.len()))),
                Err(code) => Err(failed(format!(
                    "block {} cannot be decoded by zstd: {}",
                    block.number,
                    get_error_name(code)
                ))),
            },
            Compression::Zlib => {
                self.zlib.reset(true);
                match inflate_exact(&mut self.zlib, payload, out) {
                    Ok(_) => Ok(()),
                    Err(problem) => Err(failed(format!("block {}: {problem}", block.number))),
                }
            }
        }
    }
}

/// Reads all of `block` into `raw`.
pub(crate) fn read_raw(raw: &mut Vec<u8>, source: &dyn ReadAt, block: &StoredBlock) -> Result<()> {
    let len = usize::try_from(block.len).unwrap_or_default();
    // Exactly, because what a reader holds is promised.
    raw.reserve_exact(len.saturating_sub(raw.len()));
    raw.resize(len, 0);
    source.read_exact_at(FileOffset(block.offset), raw)
}

fn wrong_len(block: &StoredBlock, found: usize, expected: usize) -> String {
    format!(
        "block {} decodes to {found} bytes, expected {expected}",
        block.number
    )
}

/// Whether a zlib stream continues after a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Flushed, as the format wants it.
    Open,
    /// Ended by a final block and a right Adler-32.
    Finished,
}

/// Inflates all of `payload` with `state`, which must yield exactly `out`.
pub(crate) fn inflate_exact(
    state: &mut Decompress,
    payload: &[u8],
    out: &mut [u8],
) -> std::result::Result<Stream, String> {
    let (in_before, out_before) = (state.total_in(), state.total_out());
    let expected = out.len();
    // Room for the one byte too many.
    let mut surplus = [0_u8; 1];
    let mut end = Stream::Open;
    loop {
        let used = to_len(state.total_in() - in_before);
        let made = to_len(state.total_out() - out_before);
        if made > expected {
            return Err(format!("zlib yields more than {expected} bytes"));
        }
        let input = payload.get(used..).unwrap_or_default();
        let target = match out.get_mut(made..) {
            Some(target) if !target.is_empty() => target,
            _ => &mut surplus,
        };
        let status = state
            .decompress(input, target, FlushDecompress::None)
            .map_err(|e| format!("zlib data is damaged after {made} bytes: {e}"))?;
        if status == Status::StreamEnd {
            end = Stream::Finished;
            break;
        }
        let (used_now, made_now) = (
            to_len(state.total_in() - in_before),
            to_len(state.total_out() - out_before),
        );
        if (used_now, made_now) == (used, made) {
            break;
        }
    }
    let used = to_len(state.total_in() - in_before);
    let made = to_len(state.total_out() - out_before);
    if made != expected {
        return Err(format!("zlib yields {made} bytes, expected {expected}"));
    }
    if used != payload.len() {
        return Err(format!(
            "{} bytes are left over after the zlib data",
            payload.len() - used
        ));
    }
    Ok(end)
}

/// A count within a buffer.
fn to_len(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// Whether a zstd frame carries a content checksum: bit 2 of the byte after the magic number
/// (RFC 8878, section 3.1.1.1.1).
pub(crate) fn has_content_checksum(frame: &[u8]) -> bool {
    frame.get(4).is_some_and(|descriptor| descriptor & 4 != 0)
}

/// Whether a block is longer than its payload needs.
pub(crate) fn is_overlong(block: &StoredBlock, payload: &[u8]) -> bool {
    let size = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    u64::from(block.len) >= padded_len(size).saturating_add(PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zstd_context_leaves_room_for_inflate_in_what_a_decoder_is_said_to_hold() {
        let content = vec![7; 2 << 20];
        let frame = zstd::bulk::compress(&content, 1).unwrap();
        let mut decoder = BlockDecoder::new().unwrap();
        let mut out = vec![0; content.len()];
        decoder.zstd.decompress(&mut out[..], &frame).unwrap();
        assert!(decoder.zstd.sizeof() as u64 + (64 << 10) <= CODEC_BYTES);
    }
}
