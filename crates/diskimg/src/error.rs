//! One error type for every reader: a stable kind to match, and the place where it went wrong.
//!
//! Messages say what was found and what was expected, and never repeat the source, because the
//! caller prints the whole chain once. A hint is a separate sentence that the user can act on.

use std::error::Error as StdError;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use crate::hint::Hint;
use crate::text::{is_descriptor, shell_path, shown, with_free_outputs};

/// What readers return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, for callers that decide by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operating system refused an operation.
    Io,
    /// The file breaks a rule of its format.
    Corrupt,
    /// The file ends before something it promises.
    Truncated,
    /// The format has this feature, and imgferry does not read it.
    Unsupported,
    /// Which format the file has cannot be determined safely.
    Ambiguous,
    /// A number is beyond a cap of [`crate::limits`].
    Limit,
    /// The caller asked for something outside the disk.
    OutOfRange,
    /// The caller asked to stop.
    Cancelled,
    /// The bytes are not those that a checksum beside them was made of.
    Mismatch,
}

/// An error with its place: path, structure, offset.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    message: String,
    path: Option<PathBuf>,
    structure: Option<&'static str>,
    offset: Option<u64>,
    hint: Option<Hint>,
    source: Option<Box<dyn StdError + Send + Sync + 'static>>,
}

impl Error {
    /// An error of `kind`; `message` gives found and expected.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            path: None,
            structure: None,
            offset: None,
            hint: None,
            source: None,
        }))
    }

    /// A broken rule in `structure`, which lies at byte `offset` of the file.
    pub fn corrupt(structure: &'static str, offset: u64, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, message).at(structure, offset)
    }

    /// Something the file promises in `structure` lies past the file's end.
    pub fn truncated(structure: &'static str, offset: u64, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Truncated, message).at(structure, offset)
    }

    /// A feature that is refused by name.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    /// An operating system error; `message` says what was being done.
    pub fn io(message: impl Into<String>, source: io::Error) -> Self {
        Self::new(ErrorKind::Io, message).caused_by(source)
    }

    /// Names the structure and its byte offset in the file.
    #[must_use]
    pub fn at(mut self, structure: &'static str, offset: u64) -> Self {
        self.0.structure = Some(structure);
        self.0.offset = Some(offset);
        self
    }

    /// Names the file, unless a deeper layer already did; in the hint too, where `IMAGE` stands for
    /// it.
    #[must_use]
    pub fn in_file(mut self, path: &Path) -> Self {
        if self.0.path.is_none() {
            if let Some(hint) = self.0.hint.as_mut().and_then(Hint::advice_mut) {
                *hint = with_free_outputs(hint, path);
                if hint.contains(IMAGE)
                    && !is_descriptor(path)
                    && let Some(filled) = fill_in(hint, path)
                {
                    *hint = filled;
                }
            }
            self.0.path = Some(path.to_owned());
        }
        self
    }

    /// Names the member of the archive at `path`, unless a deeper layer already named a file. A
    /// hint that holds a command works on the file that unpacking makes.
    #[must_use]
    pub fn in_member(mut self, path: &Path, member: &str) -> Self {
        if self.0.path.is_some() {
            return self;
        }
        if let Some(hint) = self.0.hint.as_mut().and_then(Hint::advice_mut)
            && hint.contains(IMAGE)
        {
            let unpacked = Path::new(member);
            if let (Some(archive), Some(word), Some(filled)) = (
                shell_path(path),
                shell_path(unpacked),
                fill_in(hint, unpacked),
            ) {
                *hint = format!("unpack it first: tar -xf {archive} {word}; then {filled}");
            }
        }
        self.0.path = Some(member_path(path, member));
        self
    }

    /// Adds what the user can do.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<Hint>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The stable kind.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&Hint> {
        self.0.hint.as_ref()
    }

    /// What was found and expected, without place and cause.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The broken structure, when there is one.
    #[must_use]
    pub fn structure(&self) -> Option<&'static str> {
        self.0.structure
    }

    /// The file offset of the broken structure, when there is one.
    #[must_use]
    pub fn offset(&self) -> Option<u64> {
        self.0.offset
    }
}

/// The member of the archive at `path`, in messages.
#[must_use]
pub fn member_path(path: &Path, member: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(":");
    name.push(member);
    PathBuf::from(name)
}

/// What stands for the file's path in a hint. Behind a `=` it is the value of one of QEMU's
/// options.
const IMAGE: &str = "IMAGE";

/// `hint` with `path` in it, as it can be pasted; `None` when no shell would take the path.
fn fill_in(hint: &str, path: &Path) -> Option<String> {
    let word = shell_path(path)?;
    let option = OsString::from_vec(doubled_commas(path.as_os_str().as_bytes()));
    let option = shell_path(Path::new(&option))?;
    // In one pass: a path may say IMAGE itself.
    let mut pieces = hint.split(IMAGE);
    let mut filled = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        filled.push_str(if filled.ends_with('=') {
            &option
        } else {
            &word
        });
        filled.push_str(piece);
    }
    Some(filled)
}

/// A comma ends the value of an option of QEMU's, unless it is written twice.
fn doubled_commas(bytes: &[u8]) -> Vec<u8> {
    let mut doubled = Vec::with_capacity(bytes.len());
    for byte in bytes {
        doubled.push(*byte);
        if *byte == b',' {
            doubled.push(b',');
        }
    }
    doubled
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &self.0;
        if let Some(path) = &inner.path {
            write!(f, "{}: ", shown(path))?;
        }
        match (inner.structure, inner.offset) {
            (Some(structure), Some(offset)) => write!(f, "{structure} at offset {offset:#x}: ")?,
            (Some(structure), None) => write!(f, "{structure}: ")?,
            _ => {}
        }
        f.write_str(&inner.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0
            .source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_names_file_structure_and_offset() {
        let error = Error::corrupt("L1 table", 0x3_0000, "found 3 entries, expected 4")
            .in_file(Path::new("a.qcow2"))
            .in_file(Path::new("outer.qcow2"));
        assert_eq!(
            error.to_string(),
            "a.qcow2: L1 table at offset 0x30000: found 3 entries, expected 4"
        );
    }

    #[test]
    fn a_hint_names_the_file_so_that_it_can_be_typed() {
        let hint = |path: &str| {
            let error = Error::unsupported("gzip").with_hint("gunzip -c IMAGE > disk.img");
            let error = error.in_file(Path::new(path)).in_file(Path::new("outer"));
            error.hint().unwrap().to_string()
        };
        assert_eq!(hint("/vm/a-1.gz"), "gunzip -c /vm/a-1.gz > disk.img");
        assert_eq!(hint("a b's.gz"), r"gunzip -c 'a b'\''s.gz' > disk.img");
        assert_eq!(hint("-rf"), "gunzip -c ./-rf > disk.img");
        assert_eq!(hint("-r f"), "gunzip -c './-r f' > disk.img");
        assert_eq!(hint("vm:1.gz"), "gunzip -c ./vm:1.gz > disk.img");
        assert_eq!(hint("a,b"), "gunzip -c a,b > disk.img");
        assert_eq!(
            hint("a\u{1b}[2J"),
            r#"gunzip -c "$(printf 'a\033\1332J')" > disk.img"#
        );
        for left in ["a\n", "", "/dev/stdin", "/dev/fd/63", "/proc/self/fd/0"] {
            assert_eq!(hint(left), "gunzip -c IMAGE > disk.img");
        }
    }

    #[test]
    fn a_hint_writes_no_file_that_it_reads() {
        let error = Error::unsupported("gzip").with_hint("gunzip -c < IMAGE > disk.img");
        let error = error.in_file(Path::new("/vm/disk.img"));
        let expected = "gunzip -c < /vm/disk.img > new-disk.img";
        assert_eq!(error.hint(), Some(&expected.into()));
        // The name of a program stays.
        let error = Error::unsupported("gzip").with_hint("gunzip -c < IMAGE > disk.img");
        let error = error.in_file(Path::new("gunzip"));
        assert_eq!(error.hint(), Some(&"gunzip -c < gunzip > disk.img".into()));
    }

    #[test]
    fn a_comma_in_an_option_of_qemu_is_doubled() {
        let error = Error::unsupported("encrypted").with_hint("--opts file.filename=IMAGE,x=y");
        let error = error.in_file(Path::new("a,b IMAGE"));
        let expected = "--opts file.filename='a,,b IMAGE',x=y";
        assert_eq!(error.hint(), Some(&expected.into()));
    }
}
