//! Extended headers of POSIX: records `LENGTH KEY=VALUE`, each with a line feed at its end.

use diskimg::{Error, Result};

/// What extended headers say of the next member.
#[derive(Debug, Default)]
pub(super) struct Extended {
    pub(super) path: Option<Vec<u8>>,
    /// The name of a sparse file, whose path is one that the writer has made up.
    pub(super) sparse_name: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) sparse: bool,
}

impl Extended {
    /// Adds the records in `bytes`, which are at `at` in the archive.
    ///
    /// # Errors
    /// `Corrupt` when a record does not fit or cannot be understood.
    pub(super) fn add(&mut self, mut bytes: &[u8], at: u64) -> Result<()> {
        // Writers pad the last block.
        while bytes.first().is_some_and(|byte| *byte != 0) {
            let (key, value, rest) = record(bytes)
                .ok_or_else(|| wrong(at, "a record is not LENGTH KEY=VALUE".to_owned()))?;
            match key {
                b"path" => self.path = Some(value.to_vec()),
                b"size" => {
                    let size = number(value).filter(|size| *size < 1 << 63);
                    let size = size
                        .ok_or_else(|| wrong(at, "the record of the size has none".to_owned()))?;
                    self.size = Some(size);
                }
                b"GNU.sparse.name" => {
                    self.sparse = true;
                    self.sparse_name = Some(value.to_vec());
                }
                key if key.starts_with(b"GNU.sparse.") => self.sparse = true,
                _ => {}
            }
            bytes = rest;
        }
        Ok(())
    }

    /// Refuses records for all members that would change where they are or what they are called.
    pub(super) fn refuse_global(&self, at: u64) -> Result<()> {
        match (&self.path, self.size, self.sparse) {
            (None, None, false) => Ok(()),
            _ => Err(wrong(
                at,
                "a header for all members sets their path or size".to_owned(),
            )),
        }
    }
}

fn wrong(at: u64, message: String) -> Error {
    Error::corrupt("extended tar header", at, message)
}

/// Key, value, and what follows of the first record.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let blank = bytes.iter().take(20).position(|byte| *byte == b' ')?;
    let len = usize::try_from(number(bytes.get(..blank)?)?).ok()?;
    let (record, rest) = bytes.split_at_checked(len)?;
    let record = record.get(blank.checked_add(1)?..)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    let (key, value) = record.split_at_checked(equals)?;
    Some((key, value.get(1..)?, rest))
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Extended> {
        let mut extended = Extended::default();
        extended.add(bytes, 0).map(|()| extended)
    }

    #[test]
    fn records_say_path_and_size() {
        let extended = read(b"14 path=a b.x\n19 size=8589934592\n").unwrap();
        assert_eq!(extended.path.as_deref(), Some(b"a b.x".as_slice()));
        assert_eq!(extended.size, Some(8 << 30));
        assert!(read(b"22 GNU.sparse.major=1\n").unwrap().sparse);
        assert_eq!(read(b"17 mtime=12.5000\n\0\0").unwrap().size, None);
    }

    #[test]
    fn records_that_do_not_fit_are_refused() {
        for bad in [
            b"99 path=a\n".as_slice(),
            b"5 path=a\n",
            b"0 path=a\n",
            b"path=a\n",
            b"10 path=abc",
            b"11 size=-1x\n",
            b"99999999999999999999999 path=a\n",
            b"24 size=9223372036854775808\n",
        ] {
            assert!(read(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }
}
