//! The parent of a differencing disk: what the parent locator calls it, and whether a file that was
//! found is it.

use std::ops::Range;
use std::path::Path;

use zerocopy::FromBytes;

use super::layout::{
    Guid, MAX_METADATA_ITEM_LEN, ParentLocatorEntry, ParentLocatorHeader, VHDX_PARENT_LOCATOR,
};
use super::metadata::Metadata;
use crate::chain::{Context, NamedPath, Role, Wanted};
use crate::error::{Error, ErrorKind, Result};
use crate::source::ReadAt;
use crate::text::shown;
use crate::units::FileOffset;

const LOCATOR: &str = "VHDX parent locator";

const MERGE_HINT: &str = "merge it with its parent first, in Hyper-V: Convert-VHD -Path DISK \
    -DestinationPath whole.vhdx";

/// Keys under which the locator has paths, in the order in which the format wants them tried.
const PATHS: [&str; 3] = ["relative_path", "volume_path", "absolute_win32_path"];
/// Keys under which it has what the parent's header must hold; one of them has to be right.
const LINKAGES: [&str; 2] = ["parent_linkage", "parent_linkage2"];
/// Longest key that is read, in bytes. Ours: twice what the longest known one needs.
const MAX_KEY_BYTES: u16 = 80;

/// The entries that are known.
#[derive(Default)]
pub(super) struct Locator {
    /// File offset; 0 when there is none.
    at: u64,
    /// In the order of [`PATHS`].
    paths: Vec<String>,
    linkages: Vec<String>,
}

impl Locator {
    /// The locator of the differencing disk in `source`.
    ///
    /// # Errors
    /// `Corrupt` when it is damaged and the parent may be opened; `Unsupported` for locators of
    /// other types; those of reading.
    pub(super) fn read(
        source: &dyn ReadAt,
        metadata: &Metadata,
        context: &Context,
    ) -> Result<Self> {
        let refused = context.policy().opens_nothing();
        match read(source, metadata.locator.as_ref()) {
            // Refused anyway; the name is all that the locator is needed for.
            Err(error) if refused && error.kind() != ErrorKind::Io => Ok(Self::default()),
            result => result,
        }
    }

    pub(super) fn wanted(&self) -> Wanted {
        Wanted {
            role: Role::Parent,
            name: self.paths.first().cloned().unwrap_or_default(),
            // By the type of the locator it is a VHDX.
            format: None,
            paths: self
                .paths
                .iter()
                .map(|path| NamedPath::of_windows(path))
                .collect(),
            whole_hint: MERGE_HINT,
        }
    }

    /// Checks that the parent at `path` is the disk that the differencing disk with `metadata` was
    /// made on, unchanged.
    ///
    /// # Errors
    /// `Corrupt` when it is not.
    pub(super) fn check(
        &self,
        metadata: &Metadata,
        parent_guid: Guid,
        parent: &Metadata,
        path: &Path,
    ) -> Result<()> {
        self.check_linkage(parent_guid, path)?;
        let (ours, theirs) = (metadata.logical_sector_size, parent.logical_sector_size);
        if ours == theirs {
            return Ok(());
        }
        Err(Error::corrupt(
            "VHDX sector size",
            self.at,
            format!(
                "sectors have {ours} bytes here and {theirs} in the parent, {}; \
                 expected the same size in both",
                shown(path)
            ),
        ))
    }

    /// Checks what the parent's header has, which changes when the parent's content does, against
    /// what it had when the differencing disk was made.
    fn check_linkage(&self, found: Guid, path: &Path) -> Result<()> {
        let expected = format!("{{{found}}}");
        if self
            .linkages
            .iter()
            .any(|linkage| linkage.eq_ignore_ascii_case(&expected))
        {
            return Ok(());
        }
        let linkages: Vec<_> = self
            .linkages
            .iter()
            .map(|linkage| crate::text::printable(linkage))
            .collect();
        Err(Error::corrupt(
            LOCATOR,
            self.at,
            format!(
                "the disk was made on a parent with data write GUID {}, but {} has {expected}: it \
                 is another disk, or it was written to since",
                linkages.join(" or "),
                shown(path)
            ),
        ))
    }
}

fn read(source: &dyn ReadAt, range: Option<&Range<u64>>) -> Result<Locator> {
    let Some(range) = range else {
        return Err(Error::new(
            ErrorKind::Corrupt,
            "this is a differencing disk, but it has no parent locator",
        ));
    };
    let len = (range.end - range.start).min(MAX_METADATA_ITEM_LEN);
    let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
    source.read_exact_at(FileOffset(range.start), &mut bytes)?;
    let corrupt = |message: &str| Error::corrupt(LOCATOR, range.start, message);
    let (header, entries) =
        ParentLocatorHeader::ref_from_prefix(&bytes).map_err(|_| corrupt("it is too short"))?;
    if header.kind != VHDX_PARENT_LOCATOR {
        return Err(Error::unsupported(format!(
            "the parent is located by type {}; {VHDX_PARENT_LOCATOR}, a VHDX file, is read",
            header.kind
        ))
        .at(LOCATOR, range.start));
    }
    let entries: Vec<_> = entries
        .chunks_exact(size_of::<ParentLocatorEntry>())
        .take(usize::from(header.count.get()))
        .filter_map(|entry| ParentLocatorEntry::ref_from_bytes(entry).ok())
        .collect();
    let value = |key: &&str| {
        let entry = entries.iter().find(|entry| {
            entry.key_length.get() <= MAX_KEY_BYTES
                && text(&bytes, entry.key_offset.get(), entry.key_length.get()).as_deref()
                    == Some(*key)
        })?;
        text(&bytes, entry.value_offset.get(), entry.value_length.get())
            .filter(|value| !value.is_empty())
    };
    let locator = Locator {
        at: range.start,
        paths: PATHS.iter().filter_map(value).collect(),
        linkages: LINKAGES.iter().filter_map(value).collect(),
    };
    if locator.linkages.is_empty() {
        return Err(corrupt("it has no parent_linkage"));
    }
    if locator.paths.is_empty() {
        return Err(corrupt("it has no path of the parent"));
    }
    Ok(locator)
}

/// UTF-16 text inside the locator.
fn text(locator: &[u8], offset: u32, len: u16) -> Option<String> {
    let start = usize::try_from(offset).ok()?;
    let stored = locator.get(start..start.checked_add(usize::from(len))?)?;
    let (units, _) = stored.as_chunks::<2>();
    Some(
        char::decode_utf16(units.iter().map(|unit| u16::from_le_bytes(*unit)))
            .map(|char| char.unwrap_or(char::REPLACEMENT_CHARACTER))
            .collect(),
    )
}
