//! The parent of a differencing disk: what the header and its locators call it, and whether a file
//! that was found is it.

use std::path::{Path, PathBuf};

use zerocopy::IntoBytes;

use super::dynamic::read_header;
use super::footer::Footer;
use super::layout::{self, locator};
use crate::chain::{Context, NamedPath, Role, Wanted};
use crate::error::{Error, ErrorKind, Result};
use crate::report::first_error;
use crate::source::ReadAt;
use crate::text::shown;
use crate::units::{FileOffset, fits};

const HEADER: &str = "dynamic header";

const MERGE_HINT: &str =
    "merge it first, in Hyper-V: Convert-VHD -Path DISK -DestinationPath whole.vhd";

/// Longest path of a parent in bytes: Windows' own limit of 32767 characters.
const MAX_PATH_BYTES: u64 = 64 << 10;

/// The parent as a differencing disk names it.
pub(super) struct Named {
    pub(super) wanted: Wanted,
    /// Its identifier when the differencing disk was made.
    unique_id: [u8; 16],
    /// File offset of the header that has it.
    at: u64,
}

impl Named {
    /// What the differencing disk in `source` says of its parent.
    ///
    /// # Errors
    /// `Unsupported` when the parent may not be opened and the header cannot be read; those of
    /// reading the header.
    pub(super) fn read(source: &dyn ReadAt, footer: &Footer, context: &Context) -> Result<Self> {
        let header =
            first_error(|report| read_header(source, footer.data_offset, footer.data_end, report));
        let header = match header {
            Ok(header) => header,
            // Refused anyway; the name is all that the header is needed for.
            Err(error) if context.policy().opens_nothing() && error.kind() != ErrorKind::Io => {
                context.refer(&wanted(String::new(), Vec::new()))?;
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        let paths = paths(source, &header, footer.data_end)?;
        let mut name = header_name(&header);
        if name.is_empty()
            && let Some((first, _)) = paths.first()
        {
            name.clone_from(first);
        }
        let paths = paths.into_iter().map(|(_, path)| path).collect();
        Ok(Self {
            wanted: wanted(name, paths),
            unique_id: header.parent_unique_id,
            at: footer.data_offset,
        })
    }

    /// Checks that the disk at `path`, whose identifier is `found`, is the one that the
    /// differencing disk was made on.
    ///
    /// # Errors
    /// `Corrupt` when it is another one.
    pub(super) fn check(&self, found: &[u8; 16], path: &Path) -> Result<()> {
        if *found == self.unique_id {
            return Ok(());
        }
        Err(Error::corrupt(
            HEADER,
            self.at,
            format!(
                "the disk was made on the disk with identifier {}, but {} is {}",
                Identifier(&self.unique_id),
                shown(path),
                Identifier(found)
            ),
        ))
    }
}

fn wanted(name: String, paths: Vec<NamedPath>) -> Wanted {
    Wanted {
        role: Role::Parent,
        name,
        // A parent is a VHD, or the disk could not have been made.
        format: None,
        paths,
        whole_hint: MERGE_HINT,
    }
}

/// The name in the header, which is a path or only its last component.
fn header_name(header: &layout::DynamicHeader) -> String {
    let units = header.parent_name.iter().map(|unit| unit.get());
    char::decode_utf16(units.take_while(|unit| *unit != 0))
        .map(|char| char.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

/// What the locators and the header give, relative paths first.
fn paths(
    source: &dyn ReadAt,
    header: &layout::DynamicHeader,
    data_end: u64,
) -> Result<Vec<(String, NamedPath)>> {
    let mut found = Vec::new();
    for locator in &header.parent_locators {
        let len = u64::from(locator.data_length.get());
        let at = locator.data_offset.get();
        if len == 0 || len > MAX_PATH_BYTES || !fits(at, len, data_end) {
            continue;
        }
        let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
        source.read_exact_at(FileOffset(at), &mut bytes)?;
        let (rank, name, path) = match locator.code {
            locator::WINDOWS_RELATIVE => (0, utf16(&bytes), None),
            locator::OLD_WINDOWS_RELATIVE => (1, utf8(&bytes), None),
            locator::URL => {
                let name = utf8(&bytes);
                let Some(path) = NamedPath::of_url(&name) else {
                    continue;
                };
                (2, name, Some(path))
            }
            locator::WINDOWS_ABSOLUTE => (3, utf16(&bytes), None),
            locator::OLD_WINDOWS_ABSOLUTE => (4, utf8(&bytes), None),
            // An alias of the Finder names volume and file by numbers.
            _ => continue,
        };
        let path = path.unwrap_or_else(|| NamedPath::of_windows(&name));
        found.push((rank, name, path));
    }
    let name = header_name(header);
    if !name.is_empty() {
        let path = NamedPath::of_windows(&name);
        found.push((5, name, path));
    }
    found.retain(|(_, name, path)| !name.is_empty() && *path != NamedPath::Here(PathBuf::new()));
    found.sort_by_key(|(rank, ..)| *rank);
    Ok(found
        .into_iter()
        .map(|(_, name, path)| (name, path))
        .collect())
}

/// Text up to its first NUL. Programs disagree on the order of bytes; a path begins with a
/// character below 256.
fn utf16(bytes: &[u8]) -> String {
    let (pairs, _) = bytes.as_chunks::<2>();
    let big = matches!(pairs.first(), Some([0, low]) if *low != 0);
    let units = pairs.iter().map(|pair| {
        if big {
            u16::from_be_bytes(*pair)
        } else {
            u16::from_le_bytes(*pair)
        }
    });
    char::decode_utf16(units.take_while(|unit| *unit != 0))
        .map(|char| char.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

fn utf8(bytes: &[u8]) -> String {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

/// An identifier as hexadecimal digits.
struct Identifier<'a>(&'a [u8; 16]);

impl std::fmt::Display for Identifier<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0
            .as_bytes()
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
