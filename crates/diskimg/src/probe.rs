//! Telling formats apart by content, and naming what is recognised but not a disk imgferry reads.

mod foreign;

use foreign::FOREIGN;
pub use foreign::Foreign;

use crate::error::{Error, Result};
use crate::partitions::kind_of;
use crate::source::ReadAt;
use crate::units::FileOffset;

/// How much of the file's beginning is read. ISO 9660 has its mark furthest in, at 32 KiB.
const HEAD_BYTES: u64 = 36 << 10;
/// How much of the file's end is read: a VHD footer takes 512 bytes, a ZVHD2 footer 4096.
const TAIL_BYTES: u64 = 4 << 10;

/// The parts of a file by which its format is recognised.
#[derive(Debug)]
pub struct Probe {
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl Probe {
    /// How much of a file's beginning is read, in bytes.
    pub const HEAD_BYTES: u64 = HEAD_BYTES;

    /// Of the bytes that a file begins and ends with; more than is needed may be given.
    #[must_use]
    pub fn of(first: &[u8], last: &[u8]) -> Self {
        let head = usize::try_from(HEAD_BYTES).unwrap_or_default();
        let tail = usize::try_from(TAIL_BYTES).unwrap_or_default();
        Self {
            head: first.get(..head).unwrap_or(first).to_vec(),
            tail: last
                .len()
                .checked_sub(tail)
                .and_then(|start| last.get(start..))
                .unwrap_or(last)
                .to_vec(),
        }
    }

    /// Reads both ends of `source`.
    ///
    /// # Errors
    /// Those of reading.
    pub fn read(source: &dyn ReadAt) -> Result<Self> {
        let end = source.len();
        let read = |from: u64, len: u64| {
            let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
            source.read_exact_at(FileOffset(from), &mut bytes)?;
            Ok::<_, Error>(bytes)
        };
        let tail = end.min(TAIL_BYTES);
        Ok(Self {
            head: read(0, end.min(HEAD_BYTES))?,
            tail: read(end - tail, tail)?,
        })
    }

    /// Whether `magic` stands `offset` bytes into the file.
    #[must_use]
    pub fn starts_with(&self, offset: usize, magic: &[u8]) -> bool {
        foreign::starts_with(&self.head, offset, magic)
    }

    /// What the file begins with.
    pub(crate) fn head(&self) -> &[u8] {
        &self.head
    }

    /// Whether `magic` stands `from_end` bytes before the file's end.
    #[must_use]
    pub fn ends_with(&self, from_end: usize, magic: &[u8]) -> bool {
        foreign::ends_with(&self.tail, from_end, magic)
    }

    /// Whether the file begins as text: no control bytes but white space in its first 4 KiB, in
    /// whatever encoding; or UTF-16 with its mark. Each sector of a disk that holds code, tables or
    /// ciphertext has control bytes.
    #[must_use]
    pub fn is_text(&self) -> bool {
        const LOOKED_AT: usize = 4096;
        let start = self.head.get(..LOOKED_AT).unwrap_or(&self.head);
        let printable = |c: u16| c >= 0x20 && c != 0x7f || (0x09..=0x0d).contains(&c) && c != 0x0b;
        let (units, _) = start.as_chunks::<2>();
        match units.split_first() {
            Some(([0xff, 0xfe], rest)) => rest.iter().all(|c| printable(u16::from_le_bytes(*c))),
            Some(([0xfe, 0xff], rest)) => rest.iter().all(|c| printable(u16::from_be_bytes(*c))),
            _ => !start.is_empty() && start.iter().all(|byte| printable(u16::from(*byte))),
        }
    }

    /// What the beginning alone says.
    #[must_use]
    pub(crate) fn without_tail(&self) -> Self {
        Self {
            head: self.head.clone(),
            tail: Vec::new(),
        }
    }

    /// What the file begins with, when it begins as a disk that has partitions or boots.
    #[must_use]
    pub(crate) fn partitioned(&self) -> Option<&'static str> {
        const GPT: &[u8] = b"EFI PART";
        if self.starts_with(510, &[0x55, 0xaa]) {
            Some("a disk with a boot sector")
        } else if self.starts_with(512, GPT) || self.starts_with(4096, GPT) {
            Some("a disk with a GPT")
        } else {
            None
        }
    }

    /// What the file begins with, when that is a file system or a volume.
    #[must_use]
    pub(crate) fn file_system(&self) -> Option<&'static str> {
        kind_of(&self.head)
    }

    /// The formats that claim the file and that imgferry does not read.
    pub fn foreign(&self) -> impl Iterator<Item = &'static Foreign> {
        FOREIGN
            .iter()
            .filter(|format| format.claims(&self.head, &self.tail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::MemorySource;

    fn probe(bytes: &[u8]) -> Probe {
        Probe::read(&MemorySource(bytes.to_vec())).unwrap()
    }

    #[test]
    fn text_is_told_from_disks() {
        assert!(probe(b"#!/bin/sh\necho hello\n").is_text());
        assert!(probe("é".repeat(5000).as_bytes()).is_text());
        assert!(probe(&[b"x".as_slice(), "é".repeat(5000).as_bytes()].concat()).is_text());
        assert!(probe(b"caf\xe9 in Latin-1\n").is_text());
        assert!(probe(b"\xff\xfeh\0i\0\r\0\n\0").is_text());
        assert!(probe(b"\xfe\xff\0h\0i").is_text());
        assert!(!probe(b"\xff\xfe\0\0\x01\0").is_text());
        assert!(!probe(&[0; 512]).is_text());
        assert!(!probe(b"\xebc\x90\x10\x8e\xd0\xbc\0\xb0 GRUB").is_text());
        assert!(!probe(b"").is_text());
    }
}
