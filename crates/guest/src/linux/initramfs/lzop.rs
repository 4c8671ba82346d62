//! The frame of lzop: a header, then blocks behind their lengths.

use std::io::{self, Read};

use super::lzo;
use super::source::Source;

const MAGIC_LEN: u64 = 9;
/// The longest block, as kernels take it.
const MAX_BLOCK: usize = 256 << 10;
/// Releases whose headers have more fields.
const WITH_LEVEL: u16 = 0x0940;
/// Flags: checksums of blocks unpacked and packed, more fields, a filter.
const ADLER_UNPACKED: u32 = 0x1;
const ADLER_PACKED: u32 = 0x2;
const EXTRA: u32 = 0x40;
const CRC_UNPACKED: u32 = 0x100;
const CRC_PACKED: u32 = 0x200;
const FILTER: u32 = 0x800;

/// What a frame unpacks to. It ends at the block of length 0.
pub(super) struct Lzop<'a, R> {
    input: &'a mut Source<R>,
    flags: u32,
    block: Vec<u8>,
    /// What was given out of the block.
    at: usize,
    ended: bool,
}

impl<'a, R: Read> Lzop<'a, R> {
    /// Reads the header.
    pub(super) fn new(input: &'a mut Source<R>) -> io::Result<Self> {
        input.skip(MAGIC_LEN)?;
        let version = short(input)?;
        let is_new = version >= WITH_LEVEL;
        // Versions of the library and of what is needed, the method, the level.
        input.skip(if is_new { 6 } else { 3 })?;
        let flags = word(input)?;
        if flags & (EXTRA | FILTER) != 0 {
            return Err(io::Error::other("its header has fields that are not read"));
        }
        // The file's mode and time, its name, the checksum.
        input.skip(if is_new { 12 } else { 8 })?;
        let mut length = [0];
        input.read_exact(&mut length)?;
        input.skip(u64::from(length[0]) + 4)?;
        Ok(Self {
            input,
            flags,
            block: Vec::new(),
            at: 0,
            ended: false,
        })
    }

    /// Unpacks the next block; `false` behind the last one.
    fn advance(&mut self) -> io::Result<bool> {
        if self.ended {
            return Ok(false);
        }
        let length = size(word(self.input)?)?;
        if length == 0 {
            self.ended = true;
            return Ok(false);
        }
        let packed = size(word(self.input)?)?;
        let sums = |all: u32| u64::from((self.flags & all).count_ones()) * 4;
        let mut skip = sums(ADLER_UNPACKED | CRC_UNPACKED);
        // What does not get shorter is stored as it is.
        if packed < length {
            skip += sums(ADLER_PACKED | CRC_PACKED);
        }
        self.input.skip(skip)?;
        let mut bytes = Vec::new();
        let input = self.input.by_ref();
        input.take(packed as u64).read_to_end(&mut bytes)?;
        if bytes.len() < packed {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.block = match packed < length {
            true => lzo::unpack(&bytes, length)?,
            false => bytes,
        };
        self.at = 0;
        Ok(true)
    }
}

fn short(input: &mut impl Read) -> io::Result<u16> {
    let mut bytes = [0; 2];
    input.read_exact(&mut bytes)?;
    Ok(u16::from_be_bytes(bytes))
}

fn word(input: &mut impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    input.read_exact(&mut bytes)?;
    Ok(u32::from_be_bytes(bytes))
}

/// The length of a block.
fn size(length: u32) -> io::Result<usize> {
    let size = usize::try_from(length).unwrap_or(usize::MAX);
    match size <= MAX_BLOCK {
        true => Ok(size),
        false => Err(io::Error::other(format!(
            "a block has {length} bytes; at most {MAX_BLOCK} are read"
        ))),
    }
}

impl<R: Read> Read for Lzop<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.at >= self.block.len() {
            if !self.advance()? {
                return Ok(0);
            }
        }
        let mut rest = self.block.get(self.at..).unwrap_or_default();
        let read = rest.read(buf)?;
        self.at += read;
        Ok(read)
    }
}
