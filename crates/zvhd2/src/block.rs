//! Data blocks: header, compressed payload, padding, trailer.

use std::io::Cursor;

use diskimg::units::KIB;
use diskimg::{Error, ErrorKind, Result};
use zerocopy::IntoBytes;
use zerocopy::little_endian::U32;
use zstd::zstd_safe::{CCtx, CParameter, get_error_name};

use crate::layout::{
    BLOCK_HEADER, BLOCK_MAGIC, BLOCK_SIZE, BLOCK_TRAILER, MAX_LEVEL, MIN_LEVEL, WRITTEN_BLOCK_SIZE,
    WireBlockHeader, max_padded_len, padded_len,
};

/// What zstd may need at most for one block: `ZSTD_COMPRESSBOUND` of sizes above 128 KiB.
const MAX_FRAME: usize = BLOCK_SIZE + (BLOCK_SIZE >> 8);

/// Longest encoded block in bytes, header, padding and trailer included.
pub const MAX_ENCODED_BLOCK: usize =
    (BLOCK_HEADER + MAX_FRAME + BLOCK_TRAILER.len()).next_multiple_of(4096);

// What is written can be read.
const _: () = assert!(MAX_ENCODED_BLOCK as u64 <= max_padded_len(WRITTEN_BLOCK_SIZE));

/// Upper bound in bytes of the memory that a [`BlockEncoder`] holds at `level`.
///
/// Measured with the linked zstd for blocks of [`BLOCK_SIZE`], and rounded up; it follows from the
/// level, what this crate sets for it, and the input size alone. Levels out of range count as the
/// nearest one.
#[must_use]
pub fn encoder_memory(level: i32) -> u64 {
    let kib = match level {
        // zstd reads 0 as its default, 3.
        0 | 3 => 1344,
        ..=1 => 640,
        2 => 832,
        4 => 2624,
        5 | 6 => 3136,
        7 | 8 => 5696,
        9 => 10_816,
        10..=12 => 21_120,
        13..=15 => 33_408,
        16.. => 34_304,
    };
    kib * KIB
}

/// Longest block within a frame, in bytes, up to level [`LAST_UNSPLIT`]. zstd looks for better
/// borders of its blocks where they have the full 128 KiB: at level 1 for a fiftieth of the time
/// and a three-hundredth of the size, at levels 3 and 4 for a sixteenth of the time and a hundredth
/// of the size.
const UNSPLIT: u32 = 124 << 10;
/// The last level at which that time is worth more than that size. At higher ones the share of the
/// time is small.
const LAST_UNSPLIT: i32 = 4;

/// The window at levels of zstd's fastest match finder, as the power of 2: a whole block. Its own,
/// of 512 KiB, saves no memory, because content and output are in memory anyway, finds less, and
/// was not faster where it was measured. Other levels have a whole block anyway.
const WINDOW: u32 = BLOCK_SIZE.ilog2();
/// The last level of that match finder.
const LAST_FASTEST: i32 = 2;

/// What decides the bytes of an encoded block besides its content and the level: how this crate
/// writes blocks, and which zstd compresses them. Two that are equal make the same bytes.
#[must_use]
pub fn encoder_version() -> String {
    /// To be raised when this crate writes other bytes.
    const REVISION: u32 = 3;
    format!(
        "zvhd2-{REVISION} zstd-{}",
        zstd::zstd_safe::version_number()
    )
}

/// Compresses guest blocks, one after the other, with a zstd context that it keeps.
///
/// One per worker thread. Frames carry their content size and a content checksum.
pub struct BlockEncoder {
    context: CCtx<'static>,
    level: i32,
}

impl std::fmt::Debug for BlockEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockEncoder").finish_non_exhaustive()
    }
}

impl BlockEncoder {
    /// An encoder for zstd level [`MIN_LEVEL`] to [`MAX_LEVEL`].
    ///
    /// # Errors
    /// `Limit` for other levels, `Io` when the context cannot be made.
    pub fn new(level: i32) -> Result<Self> {
        check_level(level)?;
        let mut context = CCtx::try_create().ok_or_else(|| {
            Error::io(
                "a compression context cannot be made",
                std::io::ErrorKind::OutOfMemory.into(),
            )
        })?;
        for parameter in [
            CParameter::ChecksumFlag(true),
            CParameter::ContentSizeFlag(true),
        ] {
            context.set_parameter(parameter).map_err(zstd_failed)?;
        }
        apply(&mut context, level)?;
        Ok(Self { context, level })
    }

    /// Encodes the blocks from here on at `level`. The bytes are those of an encoder that never had
    /// another one.
    ///
    /// # Errors
    /// `Limit` for levels that [`BlockEncoder::new`] refuses, `Io` when zstd fails.
    pub fn set_level(&mut self, level: i32) -> Result<()> {
        if level != self.level {
            check_level(level)?;
            apply(&mut self.context, level)?;
            self.level = level;
        }
        Ok(())
    }

    /// Encodes guest block `number` into `out`, which is cleared first; otherwise as
    /// [`BlockEncoder::append`].
    ///
    /// # Errors
    /// Those of [`BlockEncoder::append`].
    pub fn encode(&mut self, number: u32, content: &[u8], out: &mut Vec<u8>) -> Result<()> {
        out.clear();
        self.append(number, content, out)?;
        Ok(())
    }

    /// Encodes guest block `number` behind what `out` holds: header, frame, zero padding, trailer;
    /// a multiple of 4096 bytes, at most [`MAX_ENCODED_BLOCK`]. Returns how many. `content` is
    /// exactly [`BLOCK_SIZE`] bytes; the disk's last block is padded with zeros by the caller.
    /// After an error, what stands behind the old end of `out` is nothing.
    ///
    /// # Errors
    /// `OutOfRange` when `content` has another length, `Io` when zstd fails.
    pub fn append(&mut self, number: u32, content: &[u8], out: &mut Vec<u8>) -> Result<usize> {
        if content.len() != BLOCK_SIZE {
            return Err(Error::new(
                ErrorKind::OutOfRange,
                format!(
                    "block {number} has {} bytes to encode, expected {BLOCK_SIZE}",
                    content.len()
                ),
            ));
        }
        let start = out.len();
        out.reserve(MAX_ENCODED_BLOCK);
        // The header is written when the frame's length is known.
        out.resize(start + BLOCK_HEADER, 0);
        let mut frame = Cursor::new(&mut *out);
        frame.set_position((start + BLOCK_HEADER) as u64);
        let written = self
            .context
            .compress2(&mut frame, content)
            .map_err(zstd_failed)?;
        let too_long = || Error::new(ErrorKind::Limit, "compressed block is too long");
        let size = u32::try_from(written).map_err(|_| too_long())?;
        let padded = usize::try_from(padded_len(size)).map_err(|_| too_long())?;
        let header = WireBlockHeader {
            magic: *BLOCK_MAGIC,
            size: U32::new(size),
            number: U32::new(number),
            reserved: [0; 28],
        };
        out.resize(start + padded - BLOCK_TRAILER.len(), 0);
        out.extend_from_slice(BLOCK_TRAILER);
        for (to, from) in out.iter_mut().skip(start).zip(header.as_bytes()) {
            *to = *from;
        }
        Ok(padded)
    }
}

fn check_level(level: i32) -> Result<()> {
    if (MIN_LEVEL..=MAX_LEVEL).contains(&level) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Limit,
        format!("compression level is {level}, expected {MIN_LEVEL} to {MAX_LEVEL}"),
    ))
}

/// Sets `context` to everything that follows from `level`.
fn apply(context: &mut CCtx<'_>, level: i32) -> Result<()> {
    // zstd reads level 0 as its default, 3, and 0 as its own choice otherwise.
    let unsplit = level <= LAST_UNSPLIT;
    let fastest = level != 0 && level <= LAST_FASTEST;
    for parameter in [
        CParameter::CompressionLevel(level),
        CParameter::MaxBlockSize(if unsplit { UNSPLIT } else { 0 }),
        CParameter::WindowLog(if fastest { WINDOW } else { 0 }),
    ] {
        context.set_parameter(parameter).map_err(zstd_failed)?;
    }
    Ok(())
}

/// An error code of zstd as an error.
fn zstd_failed(code: usize) -> Error {
    Error::io("zstd failed", std::io::Error::other(get_error_name(code)))
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "tests"
)]
mod tests {
    use super::*;

    #[test]
    fn worst_case_is_what_zstd_says() {
        assert_eq!(zstd::zstd_safe::compress_bound(BLOCK_SIZE), MAX_FRAME);
    }

    #[test]
    fn an_encoder_holds_no_more_than_is_told_for_its_level() {
        let content: Vec<u8> = (0..BLOCK_SIZE)
            .map(|at| (at.wrapping_mul(2_654_435_761) >> 11) as u8)
            .collect();
        let mut out = Vec::new();
        for level in MIN_LEVEL..=MAX_LEVEL {
            let mut encoder = BlockEncoder::new(level).unwrap();
            encoder.encode(0, &content, &mut out).unwrap();
            let held = encoder.context.sizeof() as u64;
            assert!(held <= encoder_memory(level), "level {level}: {held}");
        }
    }
}
