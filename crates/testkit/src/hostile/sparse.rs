//! Files that are mostly holes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use diskimg::{Error, FileOffset, ReadAt, Result, SourceExtent};

/// A file that is mostly zeros, as formats that spread over megabytes need it. In bytes: the length
/// (4 bytes), then pieces, each as sector number (4 bytes), length (2 bytes) and that many bytes;
/// little-endian. What is cut off or lies past the end is left out.
#[derive(Clone, Debug, Default)]
pub struct Sparse {
    pub(super) len: u64,
    /// Pages of [`PAGE`] bytes.
    pub(super) pages: BTreeMap<u64, Vec<u8>>,
}

pub(super) const PAGE: u64 = 4096;
/// Longest sparse file in bytes.
const LONGEST: u64 = 1 << 30;

impl Sparse {
    /// The file that `bytes` describe.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        let mut file = Self::default();
        let Some((len, mut rest)) = bytes.split_first_chunk() else {
            return file;
        };
        file.len = u64::from(u32::from_le_bytes(*len)).min(LONGEST);
        while let Some((head, after)) = rest.split_first_chunk::<6>() {
            let at = u64::from(u32::from_le_bytes([head[0], head[1], head[2], head[3]])) * 512;
            let len = usize::from(u16::from_le_bytes([head[4], head[5]])).min(after.len());
            let (piece, after) = after.split_at(len);
            file.write(at, piece);
            rest = after;
        }
        file
    }

    /// The description of `file`.
    #[must_use]
    pub fn describe(file: &[u8]) -> Vec<u8> {
        let mut bytes = (file.len() as u32).to_le_bytes().to_vec();
        let mut pieces: Vec<(usize, Vec<u8>)> = Vec::new();
        for (sector, content) in file.chunks(512).enumerate() {
            let used = content.iter().rposition(|byte| *byte != 0).map(|at| at + 1);
            let Some(used) = used else { continue };
            match pieces.last_mut() {
                // Goes on where the last one ended, unless that ended in zeros.
                Some((start, piece))
                    if (*start * 512 + piece.len()) == sector * 512 && piece.len() < 60_000 =>
                {
                    piece.extend(&content[..used]);
                }
                _ => pieces.push((sector, content[..used].to_vec())),
            }
        }
        for (sector, piece) in pieces {
            bytes.extend((sector as u32).to_le_bytes());
            bytes.extend((piece.len() as u16).to_le_bytes());
            bytes.extend(piece);
        }
        bytes
    }

    /// The file, made `len` bytes long; what is new is a hole.
    #[must_use]
    pub fn grown(&self, len: u64) -> Self {
        Self {
            len: len.max(self.len),
            ..self.clone()
        }
    }

    /// Overwrites what is at `at`, as far as it is in the file.
    pub fn write(&mut self, at: u64, bytes: &[u8]) {
        let mut at = at;
        let mut rest = &bytes[..(bytes.len() as u64).min(self.len.saturating_sub(at)) as usize];
        while !rest.is_empty() {
            let within = (at % PAGE) as usize;
            let (piece, after) = rest.split_at(rest.len().min(PAGE as usize - within));
            let page = self.pages.entry(at / PAGE);
            let page = page.or_insert_with(|| vec![0; PAGE as usize]);
            page[within..within + piece.len()].copy_from_slice(piece);
            at += piece.len() as u64;
            rest = after;
        }
    }

    /// `len` bytes from `at` on; zeros past the end.
    #[must_use]
    pub fn bytes(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.fill(at, &mut bytes);
        bytes
    }

    /// First byte and length of each stretch that is not all zeros, in pages.
    pub fn stretches(&self) -> impl Iterator<Item = (u64, u64)> {
        self.pages
            .iter()
            .filter(|(_, page)| page.iter().any(|byte| *byte != 0))
            .map(|(page, _)| (page * PAGE, PAGE))
    }

    pub(super) fn fill(&self, at: u64, buf: &mut [u8]) {
        buf.fill(0);
        let end = at + buf.len() as u64;
        for (page, content) in self.pages.range(at / PAGE..end.div_ceil(PAGE)) {
            let start = (page * PAGE).max(at);
            let stop = ((page + 1) * PAGE).min(end);
            let from = (start - page * PAGE) as usize..(stop - page * PAGE) as usize;
            buf[(start - at) as usize..(stop - at) as usize].copy_from_slice(&content[from]);
        }
    }

    /// Computes the CRC-32C of `len` bytes at `at`, whose bytes 4 to 8 hold it.
    pub(super) fn seal(&mut self, at: u64, len: usize) {
        let mut structure = self.bytes(at, len);
        structure[4..8].fill(0);
        let crc = crc32c::crc32c(&structure);
        self.write(at + 4, &crc.to_le_bytes());
    }
}

impl ReadAt for Sparse {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, at: FileOffset, buf: &mut [u8]) -> Result<()> {
        let end = at.0.checked_add(buf.len() as u64);
        if end.is_none_or(|end| end > self.len) {
            return Err(Error::truncated("file", at.0, "the file ends before"));
        }
        self.fill(at.0, buf);
        Ok(())
    }

    /// Pages that were never written are holes.
    fn extent_at(&self, at: FileOffset, limit: u64) -> Result<SourceExtent> {
        let page = at.0 / PAGE;
        let pages = self.pages.range(page..).map(|(page, _)| *page);
        let data = pages
            .clone()
            .zip(page..)
            .take_while(|(a, b)| a == b)
            .count() as u64;
        let next = match data {
            0 => pages.clone().next().unwrap_or(u64::MAX / PAGE),
            data => page + data,
        };
        let len = (next * PAGE - at.0).min(limit);
        Ok(match data {
            0 => SourceExtent::Hole(len),
            _ => SourceExtent::Data(len),
        })
    }

    fn stored_len(&self) -> u64 {
        self.pages.len() as u64 * PAGE
    }
}

/// A file, and how often it was read or asked for holes.
pub(super) struct Metered {
    pub(super) file: Sparse,
    pub(super) uses: AtomicU64,
}

impl ReadAt for Metered {
    fn len(&self) -> u64 {
        self.file.len()
    }

    fn read_exact_at(&self, at: FileOffset, buf: &mut [u8]) -> Result<()> {
        self.uses.fetch_add(1, Ordering::Relaxed);
        self.file.read_exact_at(at, buf)
    }

    fn extent_at(&self, at: FileOffset, limit: u64) -> Result<SourceExtent> {
        self.uses.fetch_add(1, Ordering::Relaxed);
        self.file.extent_at(at, limit)
    }

    fn stored_len(&self) -> u64 {
        self.file.stored_len()
    }
}
