//! Archives one behind the other, each of them packed in its own way.

use std::cell::Cell;
use std::io::{self, Read};

use lzma_rust2::{LzmaReader, XzReader};

use super::content::Initramfs;
use super::source::Source;
use super::{archive, lz4, lzop};
use crate::budget::MAX_INITRAMFS_UNPACKED;

/// Memory that an xz or lzma stream may ask for.
const MAX_LZMA_MEMORY_KIB: u32 = 130 << 10;
/// The widest window of a zstd stream, as a power of two.
const MAX_ZSTD_WINDOW_LOG: u32 = 27;

/// How many bytes may still be unpacked, of all archives of a disk.
#[derive(Debug)]
pub(crate) struct Allowance(pub(super) Cell<u64>);

impl Default for Allowance {
    fn default() -> Self {
        Self(Cell::new(MAX_INITRAMFS_UNPACKED))
    }
}

/// What a segment begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    None,
    Gzip,
    Bzip2,
    Xz,
    Lzma,
    Lz4,
    Lzop,
    Zstd,
}

const MAGIC: &[(&[u8], Packing)] = &[
    (b"070701", Packing::None),
    (b"070702", Packing::None),
    (b"\x1f\x8b", Packing::Gzip),
    (b"BZh", Packing::Bzip2),
    (b"\xfd7zXZ\0", Packing::Xz),
    (b"\x5d\0\0", Packing::Lzma),
    (b"\x02\x21\x4c\x18", Packing::Lz4),
    (b"\x89LZO\0\r", Packing::Lzop),
    (b"\x28\xb5\x2f\xfd", Packing::Zstd),
];

/// The longest of them.
const MAGIC_LEN: usize = 6;

/// Goes through all segments of `input`.
pub(super) fn read(
    input: impl Read,
    allowance: &Allowance,
    found: &mut Initramfs,
) -> io::Result<()> {
    let mut input = Source::new(input);
    loop {
        input.skip_zeros()?;
        let magic = input.ahead(MAGIC_LEN)?;
        if magic.is_empty() {
            return Ok(());
        }
        match packing(magic)? {
            Packing::None => archive::walk(&mut input, found)?,
            packed => {
                let inner = Allowed {
                    inner: unpacked(packed, &mut input)?,
                    allowance,
                };
                archives(Source::new(inner), found)?;
            }
        }
    }
}

/// The archives in a packed segment, up to its end.
fn archives(mut input: Source<impl Read>, found: &mut Initramfs) -> io::Result<()> {
    loop {
        input.skip_zeros()?;
        let magic = input.ahead(MAGIC_LEN)?;
        if magic.is_empty() {
            return Ok(());
        }
        if packing(magic)? != Packing::None {
            return Err(io::Error::other("it is packed twice"));
        }
        archive::walk(&mut input, found)?;
    }
}

fn packing(magic: &[u8]) -> io::Result<Packing> {
    MAGIC
        .iter()
        .find(|(bytes, _)| magic.starts_with(bytes))
        .map(|(_, packing)| *packing)
        .ok_or_else(|| {
            let shown: Vec<String> = magic.iter().map(|byte| format!("{byte:02x}")).collect();
            io::Error::other(format!(
                "a part of it begins with {}, which is no archive that is read",
                shown.join(" ")
            ))
        })
}

/// The bytes of the one stream that begins here. No decoder takes bytes behind its end.
fn unpacked<'a, R: Read>(
    packing: Packing,
    input: &'a mut Source<R>,
) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match packing {
        Packing::None => Box::new(input),
        Packing::Gzip => Box::new(flate2::bufread::GzDecoder::new(input)),
        Packing::Bzip2 => Box::new(bzip2::bufread::BzDecoder::new(input)),
        Packing::Xz => Box::new(XzReader::new_mem_limit(input, false, MAX_LZMA_MEMORY_KIB)),
        Packing::Lzma => Box::new(LzmaReader::new_mem_limit(input, MAX_LZMA_MEMORY_KIB, None)?),
        Packing::Lz4 => Box::new(lz4::Legacy::new(input)),
        Packing::Lzop => Box::new(lzop::Lzop::new(input)?),
        Packing::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(input)?.single_frame();
            decoder.window_log_max(MAX_ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
    })
}

/// Unpacked bytes, as long as the allowance lasts.
struct Allowed<'a, R> {
    inner: R,
    allowance: &'a Allowance,
}

impl<R: Read> Read for Allowed<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buf)?;
        let left = self.allowance.0.get().checked_sub(read as u64);
        self.allowance.0.set(left.unwrap_or(0));
        match left {
            Some(_) => Ok(read),
            None => Err(io::Error::other("it unpacks to more than is allowed")),
        }
    }
}
