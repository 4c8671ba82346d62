//! Files with holes, copied and hashed at the cost of what they hold.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::ops::Range;

use diskimg::holes::{Holes, Stretch};
use md5::{Digest as _, Md5};

/// Zeros that are hashed for a hole, a piece at a time.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// The next stretch of `range` that `file` stores.
fn next_stored(holes: &Holes, file: &File, range: Range<u64>) -> io::Result<Option<Range<u64>>> {
    // What is asked is bounded by the file's own end, at which an answer makes sense.
    let len = file.metadata()?.len();
    let mut at = range.start;
    while at < range.end.min(len) {
        match holes.at(file, at, len)? {
            Stretch::Data(end) => return Ok(Some(at..end.min(range.end))),
            Stretch::Hole(end) => at = end,
            Stretch::HoleToTheEnd => return Ok(None),
            Stretch::Unknown => return Ok(Some(at..range.end)),
        }
    }
    Ok(None)
}

/// Copies `range` of `from` to `at` in `to`, whose length is set already: holes stay holes.
pub(crate) fn copy(from: &File, range: Range<u64>, to: &File, at: u64) -> io::Result<()> {
    let (mut source, mut target) = (from, to);
    let mut rest = range.clone();
    let holes = Holes::default();
    while let Some(stored) = next_stored(&holes, from, rest.clone())? {
        source.seek(SeekFrom::Start(stored.start))?;
        target.seek(SeekFrom::Start(
            at.saturating_add(stored.start.saturating_sub(range.start)),
        ))?;
        let len = stored.end.saturating_sub(stored.start);
        // File to file: the kernel copies, and shares the blocks where it can.
        let copied = io::copy(&mut source.take(len), &mut target)?;
        if copied != len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        rest.start = stored.end;
    }
    Ok(())
}

/// MD5 of `range` of `file`.
pub(crate) fn md5(file: &File, range: Range<u64>) -> io::Result<[u8; 16]> {
    let mut hash = Md5::new();
    let mut source = file;
    let mut at = range.start;
    let holes = Holes::default();
    while at < range.end {
        let stored = next_stored(&holes, file, at..range.end)?.unwrap_or(range.end..range.end);
        while at < stored.start {
            let zeros = to_len(stored.start - at).min(ZEROS.len());
            hash.update(ZEROS.get(..zeros).unwrap_or_default());
            at = at.saturating_add(zeros as u64);
        }
        source.seek(SeekFrom::Start(stored.start))?;
        let len = stored.end.saturating_sub(stored.start);
        if io::copy(&mut source.take(len), &mut Hashing(&mut hash))? != len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        at = stored.end;
    }
    Ok(hash.finalize().into())
}

fn to_len(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// A hash that is written to.
struct Hashing<'a>(&'a mut Md5);

impl io::Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt as _, MetadataExt as _};

    use super::*;

    #[test]
    fn a_copy_has_the_bytes_and_the_holes_of_its_source() {
        let from = tempfile::tempfile().unwrap();
        from.set_len(64 << 20).unwrap();
        from.write_all_at(b"one", 5000).unwrap();
        from.write_all_at(b"two", 40 << 20).unwrap();
        let to = tempfile::tempfile().unwrap();
        to.set_len(50 << 20).unwrap();
        let range = 4000..(45 << 20);
        copy(&from, range.clone(), &to, 7000).unwrap();
        assert!(to.metadata().unwrap().blocks() * 512 < 1 << 20);
        let read = |file: &File, start: u64| {
            let mut bytes = vec![0; to_len(range.end - range.start)];
            file.read_exact_at(&mut bytes, start).unwrap();
            bytes
        };
        let expected = read(&from, 4000);
        assert!(read(&to, 7000) == expected);
        let hash: [u8; 16] = Md5::digest(&expected).into();
        assert_eq!(md5(&from, range.clone()).unwrap(), hash);
        assert_eq!(md5(&to, 7000..7000 + expected.len() as u64).unwrap(), hash);
    }
}
