//! The manifest: digests of the package's files.

use std::collections::BTreeSet;

use diskimg::units::FileOffset;
use diskimg::{Error, ErrorKind, ReadAt, Result};
use serde::Serialize;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};

use crate::names;

/// How a digest was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Algorithm {
    /// Enough against accidents, not against malice.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl std::fmt::Display for Algorithm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
            Self::Sha384 => "SHA384",
            Self::Sha512 => "SHA512",
        })
    }
}

impl Algorithm {
    fn named(name: &str) -> Option<Self> {
        let name = name.trim().to_ascii_uppercase();
        Some(match name.as_str() {
            "SHA1" | "SHA-1" => Self::Sha1,
            "SHA256" | "SHA2-256" | "SHA-256" => Self::Sha256,
            "SHA384" | "SHA2-384" | "SHA-384" => Self::Sha384,
            "SHA512" | "SHA2-512" | "SHA-512" => Self::Sha512,
            _ => return None,
        })
    }

    const fn bytes(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    fn hasher(self) -> Hasher {
        match self {
            Self::Sha1 => Hasher::Sha1(Sha1::new()),
            Self::Sha256 => Hasher::Sha256(Sha256::new()),
            Self::Sha384 => Hasher::Sha384(Sha384::new()),
            Self::Sha512 => Hasher::Sha512(Sha512::new()),
        }
    }
}

/// A digest that is being made.
enum Hasher {
    Sha1(Sha1),
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
}

impl Hasher {
    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha1(hasher) => hasher.update(bytes),
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha384(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    fn finish(self) -> Vec<u8> {
        match self {
            Self::Sha1(hasher) => hasher.finalize().to_vec(),
            Self::Sha256(hasher) => hasher.finalize().to_vec(),
            Self::Sha384(hasher) => hasher.finalize().to_vec(),
            Self::Sha512(hasher) => hasher.finalize().to_vec(),
        }
    }
}

/// What a manifest says of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) algorithm: Algorithm,
    pub(crate) name: String,
    digest: Vec<u8>,
}

/// A manifest.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines(Vec<Line>);

impl Lines {
    /// Reads the manifest that the package calls `own_name`. What it says of itself and of the
    /// certificate beside it is left out: both are written after it.
    ///
    /// # Errors
    /// `Unsupported` for a line of another kind.
    pub(crate) fn parse(bytes: &[u8], own_name: &str) -> Result<Self> {
        let own = own_name.rsplit('/').next().unwrap_or(own_name);
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let mut lines = Vec::new();
        for (number, line) in (1_u64..).zip(bytes.split(|byte| *byte == b'\n')) {
            let line = line.trim_ascii();
            if line.is_empty() {
                continue;
            }
            let parsed = std::str::from_utf8(line).ok().and_then(parse_line);
            let line = parsed.ok_or_else(|| {
                Error::unsupported(format!(
                    "manifest line {number} is \"{}\", expected ALGORITHM(FILE)= DIGEST with SHA1, \
                     SHA256, SHA384 or SHA512 and a digest of its length",
                    names::text(line.get(..80).unwrap_or(line))
                ))
            })?;
            let itself = line.name == own;
            if !itself && !names::ends_with(line.name.as_bytes(), ".cert") {
                lines.push(line);
            }
        }
        Ok(Self(lines))
    }

    /// The names that it lists, each once.
    pub(crate) fn names(&self) -> BTreeSet<&str> {
        self.0.iter().map(|line| line.name.as_str()).collect()
    }

    /// The ways in which its digests were made, each once.
    pub(crate) fn algorithms(&self) -> Vec<Algorithm> {
        let all: BTreeSet<_> = self.0.iter().map(|line| line.algorithm).collect();
        all.into_iter().collect()
    }

    /// What it says of the file `name`.
    pub(crate) fn of(&self, name: &str) -> Vec<Line> {
        let lines = self.0.iter().filter(|line| line.name == name);
        lines.cloned().collect()
    }
}

/// `ALGORITHM(NAME)= DIGEST`, with blanks anywhere around the marks.
fn parse_line(line: &str) -> Option<Line> {
    let (algorithm, rest) = line.split_once('(')?;
    // A name may have parentheses itself, a digest has none.
    let (name, digest) = rest.rsplit_once(')')?;
    let digest = digest.trim().strip_prefix('=')?.trim();
    let algorithm = Algorithm::named(algorithm)?;
    let name = name.trim();
    let name = name.strip_prefix("./").unwrap_or(name);
    let digest = from_hex(digest).filter(|digest| digest.len() == algorithm.bytes())?;
    Some(Line {
        algorithm,
        name: name.to_owned(),
        digest,
    })
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) || digits.len() > 128 {
        return None;
    }
    let value = |digit: u8| char::from(digit).to_digit(16);
    digits
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => u8::try_from(value(*high)? << 4 | value(*low)?).ok(),
            _ => None,
        })
        .collect()
}

/// How much is read at a time, in bytes.
const PIECE: usize = 1 << 20;

/// Whether the bytes of `source` have all digests of `lines`. Asks `cancelled` again and again.
///
/// # Errors
/// `Cancelled`; those of reading.
pub(crate) fn holds(
    source: &dyn ReadAt,
    lines: &[Line],
    cancelled: &dyn Fn() -> bool,
) -> Result<bool> {
    let mut algorithms: Vec<Algorithm> = lines.iter().map(|line| line.algorithm).collect();
    algorithms.sort_unstable();
    algorithms.dedup();
    let mut hashers: Vec<_> = algorithms
        .into_iter()
        .map(|algorithm| (algorithm, algorithm.hasher()))
        .collect();
    let len = source.len();
    let mut piece = vec![0; usize::try_from(len).unwrap_or(PIECE).min(PIECE)];
    let mut at = 0;
    while at < len {
        if cancelled() {
            return Err(Error::new(ErrorKind::Cancelled, "stopped"));
        }
        let here = usize::try_from(len - at).unwrap_or(PIECE).min(piece.len());
        let bytes = piece.get_mut(..here).unwrap_or_default();
        source.read_exact_at(FileOffset(at), bytes)?;
        for (_, hasher) in &mut hashers {
            hasher.update(bytes);
        }
        at += here as u64;
    }
    let made: Vec<_> = hashers
        .into_iter()
        .map(|(algorithm, hasher)| (algorithm, hasher.finish()))
        .collect();
    Ok(lines.iter().all(|line| {
        made.iter()
            .any(|(algorithm, digest)| *algorithm == line.algorithm && *digest == line.digest)
    }))
}

#[cfg(test)]
mod tests {
    use diskimg::MemorySource;

    use super::*;

    const EMPTY_SHA1: &str = "da39a3ee5e6b4b0d3255bfef95601890afd80709";

    fn parse(text: &str) -> Result<Lines> {
        Lines::parse(text.as_bytes(), "vm.mf")
    }

    #[test]
    fn lines_are_read_in_all_spellings() {
        for line in [
            format!("SHA1(a b.vmdk)= {EMPTY_SHA1}"),
            format!("SHA1 (a b.vmdk) = {EMPTY_SHA1}\r\n"),
            format!("sha1( ./a b.vmdk )={}", EMPTY_SHA1.to_uppercase()),
        ] {
            let lines = parse(&line).unwrap();
            assert_eq!(lines.names().into_iter().collect::<Vec<_>>(), ["a b.vmdk"]);
            let source = MemorySource(Vec::new());
            assert!(holds(&source, &lines.of("a b.vmdk"), &|| false).unwrap());
            let source = MemorySource(vec![0]);
            assert!(!holds(&source, &lines.of("a b.vmdk"), &|| false).unwrap());
        }
        let sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let lines = parse(&format!("SHA2-256(d (1).vmdk)= {sha256}")).unwrap();
        assert_eq!(lines.of("d (1).vmdk").len(), 1);
    }

    #[test]
    fn what_it_says_of_itself_is_left_out() {
        let text = format!("SHA1(vm.mf)= {EMPTY_SHA1}\nSHA1(vm.cert)= {EMPTY_SHA1}\n");
        assert!(parse(&text).unwrap().names().is_empty());
    }

    #[test]
    fn other_lines_are_refused_by_number() {
        for bad in [
            "MD5(a)= d41d8cd98f00b204e9800998ecf8427e",
            "SHA256(a)= da39a3ee5e6b4b0d3255bfef95601890afd80709",
            "SHA1(a) da39a3ee5e6b4b0d3255bfef95601890afd80709",
            "SHA1(a)= xx39a3ee5e6b4b0d3255bfef95601890afd80709",
            "hello",
        ] {
            let error = parse(&format!("\n{bad}\n")).unwrap_err();
            assert!(error.to_string().contains("manifest line 2"), "{error}");
        }
    }
}
