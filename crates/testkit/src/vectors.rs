//! The guest content behind the vendor-made ZVHD and ZVHD2 files in `testdata/zvhd2`.
//!
//! `vectors.json` describes each disk by its extents; what it does not name is zero. Bytes are
//! computed for any range, so that a disk of 130 GiB can be compared without being held.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};

/// Length of one cell of the fill `sha256`, in bytes; cells lie on multiples of it.
const CELL: u64 = 32;

/// A file of the vendor's, and what the guest sees through it.
#[derive(Clone, Debug, Deserialize)]
pub struct Vector {
    /// Name of the file in [`directory`].
    pub file: String,
    /// `zvhd` or `zvhd2`.
    pub format: String,
    /// `zlib` or `zstd`.
    pub compression: String,
    /// Guest size in bytes.
    pub virtual_size: u64,
    /// SHA-256 of the whole guest disk, in hex; not given for large disks.
    pub raw_sha256: Option<String>,
    /// What is not zero; ascending, without overlaps.
    pub extents: Vec<FilledExtent>,
}

/// A stretch of the guest disk that holds data.
#[derive(Clone, Debug, Deserialize)]
pub struct FilledExtent {
    /// First byte.
    pub offset: u64,
    /// Length in bytes.
    pub length: u64,
    /// What fills it.
    pub fill: Fill,
    /// Varies the fill.
    pub tag: String,
}

/// How an extent is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fill {
    /// Cell k of the disk is SHA-256 of `TAG:k`, k in decimal.
    Sha256,
    /// `TAG` and a newline, over and over from guest offset 0 on.
    Text,
}

impl Vector {
    /// The file's path.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        directory().join(&self.file)
    }

    /// Fills `buf` with what the guest reads from `at`; beyond the disk's end, zeros.
    pub fn read_at(&self, at: u64, buf: &mut [u8]) {
        buf.fill(0);
        let end = at.saturating_add(buf.len() as u64);
        for extent in &self.extents {
            let first = extent.offset.max(at);
            let last = extent.offset.saturating_add(extent.length).min(end);
            if first >= last {
                continue;
            }
            let here = to_len(first - at)..to_len(last - at);
            if let Some(part) = buf.get_mut(here) {
                extent.fill_from(first, part);
            }
        }
    }
}

impl FilledExtent {
    fn fill_from(&self, at: u64, buf: &mut [u8]) {
        match self.fill {
            Fill::Sha256 => {
                let mut at = at;
                let mut rest = buf;
                while !rest.is_empty() {
                    let cell = Sha256::digest(format!("{}:{}", self.tag, at / CELL));
                    let bytes = cell.iter().skip(to_len(at % CELL));
                    let mut done = 0;
                    for (to, from) in rest.iter_mut().zip(bytes) {
                        *to = *from;
                        done += 1;
                    }
                    at = at.saturating_add(done);
                    rest = rest.get_mut(to_len(done)..).unwrap_or_default();
                }
            }
            Fill::Text => {
                let line = format!("{}\n", self.tag);
                let phase = to_len(at % line.len() as u64);
                for (to, from) in buf.iter_mut().zip(line.bytes().cycle().skip(phase)) {
                    *to = from;
                }
            }
        }
    }
}

/// Where the files are.
#[must_use]
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/zvhd2")
}

/// All vectors by name, in the order of their names.
///
/// # Errors
/// When `vectors.json` is missing or is not what it should be.
pub fn load() -> io::Result<std::collections::BTreeMap<String, Vector>> {
    let text = std::fs::read(directory().join("vectors.json"))?;
    Ok(serde_json::from_slice(&text)?)
}

/// The vector called `name`.
///
/// # Errors
/// As [`load`], and when there is no such vector.
pub fn vector(name: &str) -> io::Result<Vector> {
    load()?
        .remove(name)
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no vector {name:?}")))
}

/// A length within a buffer.
fn to_len(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_hashes_to_what_the_vectors_state() {
        for (name, vector) in load().unwrap() {
            let Some(expected) = &vector.raw_sha256 else {
                continue;
            };
            let mut hash = Sha256::new();
            let mut buf = vec![0; 1 << 20];
            let mut at = 0;
            while at < vector.virtual_size {
                let len = to_len((vector.virtual_size - at).min(1 << 20));
                vector.read_at(at, &mut buf[..len]);
                hash.update(&buf[..len]);
                at += len as u64;
            }
            assert_eq!(&hex::encode(hash.finalize()), expected, "{name}");
        }
    }

    #[test]
    fn ranges_agree_with_the_whole() {
        let vector = vector("tiny").unwrap();
        let mut whole = vec![0; to_len(vector.virtual_size)];
        vector.read_at(0, &mut whole);
        for (at, len) in [
            (0, 1),
            (1, 33),
            (31, 5000),
            (2_097_270, 99),
            (5_244_300, 116),
        ] {
            let mut part = vec![0xaa; len];
            vector.read_at(at as u64, &mut part);
            assert_eq!(part, whole[at..at + len], "{at} {len}");
        }
    }
}
