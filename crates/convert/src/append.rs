//! Appending to a file past the page cache: what is written once and not read again has no business
//! there. Pages need not be found, filled, sent to the disk and given back, the user's cache keeps
//! what it has, and the flush at the end finds nothing left to do.
//!
//! Such writes (`O_DIRECT`) must begin at a multiple of the disk's block in the file and in memory,
//! and be as long. What is like that, and [`LONG`], is written as it is; anything else is gathered,
//! and written [`GATHERED`] at a time.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

/// Bytes of a write: many blocks of the disk are under way at once.
const GATHERED: usize = 4 << 20;
/// Bytes that are worth a write of their own, so that a copy of them is saved. With less, a disk
/// that is slow to answer would get too little at a time.
const LONG: usize = GATHERED / 2;
/// Bytes that an [`Appender`] holds.
pub(crate) const MEMORY: u64 = (GATHERED + ALIGN) as u64;
/// What writes past the page cache begin and end at, in bytes. Blocks of disks are 512 or 4096
/// bytes; a file system that wants more refuses, and gets its writes through the page cache.
pub(crate) const ALIGN: usize = 4096;

/// How far behind the beginning of `buffer` a multiple of [`ALIGN`] is: less than that.
pub(crate) fn to_aligned(buffer: &[u8]) -> usize {
    match buffer.as_ptr().align_offset(ALIGN) {
        start if start < ALIGN => start,
        // The address cannot be known to the type system only: then nothing is aligned, and is
        // refused or copied.
        _ => 0,
    }
}

/// The end of a file that grows.
#[derive(Debug)]
pub(crate) struct Appender {
    /// Holds an aligned stretch of [`GATHERED`] bytes, which begins at `start`.
    buffer: Vec<u8>,
    start: usize,
    filled: usize,
    /// Where the gathered bytes belong.
    position: u64,
}

impl Appender {
    /// Appends to `file`, which is empty, if its file system takes writes past the page cache.
    pub(crate) fn new(file: &File) -> Option<Self> {
        set_direct(file, true).ok()?;
        let buffer = vec![0; GATHERED + ALIGN];
        let start = to_aligned(&buffer);
        Some(Self {
            buffer,
            start,
            filled: 0,
            position: 0,
        })
    }

    /// Appends `bytes` to `file`.
    ///
    /// # Errors
    /// Those of the writes.
    pub(crate) fn append(&mut self, file: &File, mut bytes: &[u8]) -> io::Result<()> {
        let aligned = |len: usize| len.is_multiple_of(ALIGN);
        if bytes.len() >= LONG
            && aligned(bytes.len())
            && aligned(self.filled)
            && bytes.as_ptr().align_offset(ALIGN) == 0
        {
            self.flush(file)?;
            write_at(file, self.position, bytes)?;
            self.position += bytes.len() as u64;
            return Ok(());
        }
        while !bytes.is_empty() {
            let from = self.start + self.filled;
            let (now, later) = bytes.split_at(bytes.len().min(GATHERED - self.filled));
            let room = self.buffer.get_mut(from..from + now.len());
            room.ok_or(io::ErrorKind::OutOfMemory)?.copy_from_slice(now);
            self.filled += now.len();
            bytes = later;
            if self.filled == GATHERED {
                self.flush(file)?;
            }
        }
        Ok(())
    }

    /// Writes what is gathered. If that is not a multiple of [`ALIGN`], as at the end of a file, all
    /// further writes go through the page cache.
    ///
    /// # Errors
    /// Those of the write.
    pub(crate) fn flush(&mut self, file: &File) -> io::Result<()> {
        if self.filled == 0 {
            return Ok(());
        }
        let gathered = self.buffer.get(self.start..self.start + self.filled);
        write_at(
            file,
            self.position,
            gathered.ok_or(io::ErrorKind::OutOfMemory)?,
        )?;
        self.position += self.filled as u64;
        self.filled = 0;
        Ok(())
    }
}

/// Writes `bytes` at `position`, past the page cache if that can be.
fn write_at(file: &File, position: u64, bytes: &[u8]) -> io::Result<()> {
    let written = match bytes.len().is_multiple_of(ALIGN) {
        true => file.write_all_at(bytes, position),
        false => Err(io::ErrorKind::InvalidInput.into()),
    };
    match written {
        // The end of a file need not be aligned, and not every file system that takes the flag
        // takes the writes.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            set_direct(file, false)?;
            file.write_all_at(bytes, position)
        }
        other => other,
    }
}

fn set_direct(file: &File, direct: bool) -> io::Result<()> {
    let mut flags = fcntl_getfl(file)?;
    flags.set(OFlags::DIRECT, direct);
    Ok(fcntl_setfl(file, flags)?)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek};

    use super::*;

    /// In the target directory, which is on a disk; temporary files may be in memory.
    fn file_on_a_disk() -> File {
        let program = std::env::current_exe().unwrap();
        tempfile::tempfile_in(program.parent().unwrap()).unwrap()
    }

    #[test]
    fn what_is_appended_is_in_the_file_whatever_the_pieces() {
        for piece in [1000, ALIGN, 3 * ALIGN, GATHERED - 1, GATHERED, GATHERED + 1] {
            let mut file = file_on_a_disk();
            let Some(mut end) = Appender::new(&file) else {
                eprintln!("this file system takes no writes past the page cache");
                return;
            };
            let content: Vec<u8> = (0..=250).cycle().take(2 * GATHERED + 12_345).collect();
            for piece in content.chunks(piece) {
                end.append(&file, piece).unwrap();
            }
            end.flush(&file).unwrap();
            let mut found = Vec::new();
            file.rewind().unwrap();
            file.read_to_end(&mut found).unwrap();
            assert!(found == content, "pieces of {piece}");
        }
    }

    #[test]
    fn long_aligned_pieces_are_written_as_they_are_between_others() {
        let mut file = file_on_a_disk();
        let Some(mut end) = Appender::new(&file) else {
            eprintln!("this file system takes no writes past the page cache");
            return;
        };
        let source: Vec<u8> = (0..=250).cycle().take(3 * LONG + ALIGN).collect();
        let start = to_aligned(&source);
        let aligned = &source[start..start + 3 * LONG];
        // Bytes, and whether some are gathered after them.
        let pieces = [
            (&aligned[..ALIGN], true),
            (&aligned[..LONG], false),
            (aligned, false),
            (&aligned[..LONG - ALIGN], true),
            (&aligned[512..512 + LONG], true),
            (&aligned[ALIGN..ALIGN + LONG], false),
            (&aligned[..1000], true),
            (&aligned[..2 * LONG], true),
            (&aligned[..LONG - 1000], true),
        ];
        let mut expected = Vec::new();
        for (turn, (piece, gathered)) in pieces.into_iter().enumerate() {
            end.append(&file, piece).unwrap();
            expected.extend_from_slice(piece);
            assert_eq!(end.filled > 0, gathered, "piece {turn}");
        }
        end.flush(&file).unwrap();
        set_direct(&file, false).unwrap();
        let mut found = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut found).unwrap();
        assert!(found == expected);
    }

    #[test]
    fn a_long_write_that_is_refused_goes_through_the_page_cache() {
        let file = file_on_a_disk();
        let Some(mut end) = Appender::new(&file) else {
            eprintln!("skipped: this file system takes no O_DIRECT");
            return;
        };
        let source: Vec<u8> = (0..=250).cycle().take(LONG + ALIGN).collect();
        let start = to_aligned(&source);
        let aligned = &source[start..start + LONG];
        // No disk's block begins here.
        end.position = 100;
        end.append(&file, aligned).unwrap();
        end.append(&file, aligned).unwrap();
        assert!(!fcntl_getfl(&file).unwrap().contains(OFlags::DIRECT));
        let mut found = vec![0; 2 * LONG];
        file.read_exact_at(&mut found, 100).unwrap();
        assert!(found == [aligned, aligned].concat());
    }

    #[test]
    fn a_write_that_the_file_system_wants_otherwise_goes_through_the_page_cache() {
        let file = file_on_a_disk();
        let Some(mut end) = Appender::new(&file) else {
            eprintln!("skipped: this file system takes no O_DIRECT");
            return;
        };
        // Nothing here is aligned any more: the write is refused, and made again.
        end.start += 1;
        end.append(&file, &vec![7; GATHERED]).unwrap();
        end.append(&file, &vec![8; GATHERED]).unwrap();
        assert!(!fcntl_getfl(&file).unwrap().contains(OFlags::DIRECT));
        let mut found = vec![0; 2 * GATHERED];
        file.read_exact_at(&mut found, 0).unwrap();
        assert!(found[..GATHERED].iter().all(|byte| *byte == 7));
        assert!(found[GATHERED..].iter().all(|byte| *byte == 8));
    }
}
