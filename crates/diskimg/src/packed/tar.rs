//! A tar archive with nothing but `disk.raw` in it, as Google's cloud exports disks: GNU's old form,
//! sparse or not, read front to back.

use std::io::{self, Read};
use std::sync::Arc;

use super::archive::refusal;
use super::errors::{UNPACK, ended_early, invalid, refused};
use super::member::{BLOCK, DISK, Member, number};
use crate::limits::{MAX_TAR_STRETCHES, MAX_VIRTUAL_SIZE};

/// Most blocks that continue the map of a sparse member: full ones hold 21 stretches each.
const MAX_MAP_BLOCKS: usize = MAX_TAR_STRETCHES / 21 + 1;
/// Most zeros behind the member. Writers fill up their last record, of 10 KiB or at most some MiB.
const MAX_TAIL: u64 = 16 << 20;

/// Offsets and lengths of fields of a sparse member, in bytes.
mod field {
    use std::ops::Range;

    pub(super) const KIND: usize = 156;
    /// First of 4 stretches.
    pub(super) const STRETCHES: Range<usize> = 386..482;
    pub(super) const MORE: usize = 482;
    pub(super) const REAL_SIZE: Range<usize> = 483..495;
    /// In the blocks behind the header: 21 stretches.
    pub(super) const MORE_STRETCHES: Range<usize> = 0..504;
    pub(super) const STILL_MORE: usize = 504;
}

/// A piece of the disk that is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) start: u64,
    pub(crate) len: u64,
}

impl Stretch {
    /// Where it ends. It lies on a disk.
    pub(crate) fn end(&self) -> u64 {
        self.start.saturating_add(self.len)
    }
}

/// The disk in an archive.
pub(super) struct DiskTar {
    input: Box<dyn Read + Send>,
    /// Size of the disk.
    size: u64,
    /// Offset of the next byte.
    at: u64,
    /// What is stored.
    stretches: Arc<[Stretch]>,
    /// How many of them were read.
    read: usize,
    /// Bytes that fill up the last block of the member.
    padding: u64,
}

impl DiskTar {
    /// Of the archive that begins with `header`, which `input` is behind.
    ///
    /// # Errors
    /// Those of reading; `InvalidData` when the archive holds something else.
    pub(super) fn begin(header: &[u8; BLOCK], mut input: Box<dyn Read + Send>) -> io::Result<Self> {
        let part = |range| header.get(range).unwrap_or_default();
        let member = Member::of(header);
        if member.plain_name() != DISK {
            return Err(refusal(&member, &mut input));
        }
        let stored = member.size.ok_or_else(bad_number)?;
        let (size, stretches) = match header.get(field::KIND) {
            Some(b'0' | 0) => (
                stored,
                vec![Stretch {
                    start: 0,
                    len: stored,
                }],
            ),
            Some(b'S') => {
                let size = number(part(field::REAL_SIZE)).ok_or_else(bad_number)?;
                (size, sparse(header, &mut input)?)
            }
            _ => {
                let what = format!("an archive in which {DISK} is no file");
                return Err(refused(what, UNPACK));
            }
        };
        check(&stretches, stored, size)?;
        Ok(Self {
            input,
            size,
            at: 0,
            stretches: stretches.into(),
            read: 0,
            padding: stored.next_multiple_of(BLOCK as u64) - stored,
        })
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// What of it is stored; everything else is zero.
    pub(super) fn stretches(&self) -> &Arc<[Stretch]> {
        &self.stretches
    }

    /// Behind the member nothing but zeros may follow.
    fn end(&mut self) -> io::Result<()> {
        let mut rest = [0; 8 << 10];
        while self.padding > 0 {
            let most = usize::try_from(self.padding).unwrap_or(BLOCK);
            let target = rest.get_mut(..most).unwrap_or_default();
            match self.input.read(target)? {
                0 => return Err(ended_early()),
                len => self.padding -= len as u64,
            }
        }
        let mut zeros = 0;
        loop {
            match self.input.read(&mut rest)? {
                0 => return Ok(()),
                _ if zeros > MAX_TAIL => {
                    return Err(invalid(format!(
                        "more than {MAX_TAIL} zeros follow {DISK} in its archive"
                    )));
                }
                len if crate::zero::is_zero(rest.get(..len).unwrap_or_default()) => {
                    zeros += len as u64;
                }
                _ => {
                    let what = format!("an archive of more than {DISK}; {DISK}, alone, is read");
                    return Err(refused(what, UNPACK));
                }
            }
        }
    }
}

impl Read for DiskTar {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        while (self.stretches.get(self.read)).is_some_and(|next| next.end() <= self.at) {
            self.read += 1;
        }
        let stored = self.stretches.get(self.read);
        let gap = stored.map_or(self.size, |next| next.start.max(self.at)) - self.at;
        if gap > 0 {
            let len = usize::try_from(gap).unwrap_or(usize::MAX).min(buf.len());
            buf.get_mut(..len).unwrap_or_default().fill(0);
            self.at += len as u64;
            return Ok(len);
        }
        let Some(stored) = stored else {
            self.end()?;
            return Ok(0);
        };
        let most = usize::try_from(stored.end() - self.at).unwrap_or(usize::MAX);
        let len = most.min(buf.len());
        let len = self.input.read(buf.get_mut(..len).unwrap_or_default())?;
        if len == 0 {
            return Err(ended_early());
        }
        self.at += len as u64;
        Ok(len)
    }
}

/// The stretches of a sparse member.
fn sparse(header: &[u8; BLOCK], input: &mut impl Read) -> io::Result<Vec<Stretch>> {
    let mut stretches = Vec::new();
    let mut block = *header;
    let (mut range, mut more) = (field::STRETCHES, field::MORE);
    for _ in 0..=MAX_MAP_BLOCKS {
        for entry in block.get(range).unwrap_or_default().chunks_exact(24) {
            let (start, len) = entry.split_at(12);
            // The last one of several programs is empty, and so are unused ones.
            if entry.iter().all(|byte| *byte == 0) {
                continue;
            }
            stretches.push(Stretch {
                start: number(start).ok_or_else(bad_number)?,
                len: number(len).ok_or_else(bad_number)?,
            });
        }
        if block.get(more).is_none_or(|byte| *byte == 0) {
            return Ok(stretches);
        }
        input.read_exact(&mut block)?;
        (range, more) = (field::MORE_STRETCHES, field::STILL_MORE);
    }
    Err(invalid(format!(
        "{DISK} is stored in more than {MAX_TAR_STRETCHES} pieces"
    )))
}

/// Checks that stretches of `stored` bytes follow one another on a disk of `size` bytes.
fn check(stretches: &[Stretch], stored: u64, size: u64) -> io::Result<()> {
    if size > MAX_VIRTUAL_SIZE {
        return Err(invalid(format!("{DISK} has {size} bytes")));
    }
    let (mut at, mut sum) = (0_u64, 0_u64);
    for stretch in stretches {
        let end = stretch.start.checked_add(stretch.len);
        let Some(end) = end.filter(|end| stretch.start >= at && *end <= size) else {
            return Err(invalid(format!(
                "the pieces of {DISK} are not in order, or leave its {size} bytes"
            )));
        };
        at = end;
        sum = sum.saturating_add(stretch.len);
    }
    if sum != stored {
        return Err(invalid(format!(
            "{DISK} is stored in {stored} bytes, its pieces have {sum}"
        )));
    }
    Ok(())
}

fn bad_number() -> io::Error {
    invalid(format!("a number in the header of {DISK} makes no sense"))
}

#[cfg(test)]
mod tests {
    use super::super::member::header;
    use super::*;

    const SIZE: std::ops::Range<usize> = 124..136;
    const CHECKSUM: std::ops::Range<usize> = 148..156;
    const MAGIC: std::ops::Range<usize> = 257..262;

    fn block(kind: u8, more: bool) -> [u8; BLOCK] {
        let mut header = [0; BLOCK];
        header[..8].copy_from_slice(DISK.as_bytes());
        header[SIZE].copy_from_slice(b"00000000000\0");
        header[field::KIND] = kind;
        header[MAGIC].copy_from_slice(b"ustar");
        header[field::MORE] = u8::from(more);
        header[field::REAL_SIZE].copy_from_slice(b"00000001000\0");
        header[CHECKSUM].fill(b' ');
        let sum: u64 = header.iter().copied().map(u64::from).sum();
        header[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        header
    }

    fn begin(block: &[u8; BLOCK], input: impl Read + Send + 'static) -> io::Result<DiskTar> {
        DiskTar::begin(header(block).unwrap(), Box::new(input))
    }

    #[test]
    fn a_map_that_does_not_end_is_given_up() {
        // Every byte is 1, also the one that says that the map continues.
        let error = begin(&block(b'S', true), io::repeat(1)).err().unwrap();
        assert!(error.to_string().contains("makes no sense"), "{error}");
        let mut empty = [0; BLOCK];
        empty[field::STILL_MORE] = 1;
        struct Again([u8; BLOCK]);
        impl Read for Again {
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                self.0.as_slice().read(buf)
            }
        }
        let error = begin(&block(b'S', true), Again(empty)).err().unwrap();
        assert!(error.to_string().contains("pieces"), "{error}");
    }

    #[test]
    fn zeros_behind_the_disk_have_an_end() {
        let read = |zeros| {
            let mut disk = begin(&block(b'0', false), io::repeat(0).take(zeros)).unwrap();
            disk.read(&mut [0; 1])
        };
        assert_eq!(read(MAX_TAIL).unwrap(), 0);
        let error = read(MAX_TAIL * 4).unwrap_err();
        assert!(error.to_string().contains("zeros follow"), "{error}");
    }

    #[test]
    fn a_disk_whose_first_sector_has_the_sum_of_a_header_is_no_archive() {
        let mut sector = block(b'0', false);
        assert!(header(&sector).is_some());
        sector[MAGIC].copy_from_slice(b"USTAR");
        sector[CHECKSUM].fill(b' ');
        let sum: u64 = sector.iter().copied().map(u64::from).sum();
        sector[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        assert!(header(&sector).is_none());
    }
}
