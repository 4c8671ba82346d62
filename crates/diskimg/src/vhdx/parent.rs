//! Names what a differencing disk builds on. Nothing here opens a file.

use std::ops::Range;

use zerocopy::FromBytes;

use super::layout::{MAX_METADATA_ITEM_LEN, ParentLocatorEntry, ParentLocatorHeader};
use crate::error::{Error, ErrorKind};
use crate::source::ReadAt;
use crate::units::FileOffset;

const MERGE_HINT: &str =
    "merge it with its parent first: Convert-VHD (Hyper-V) or qemu-img convert -O qcow2";

/// Most paths of the parent that a message shows. Ours: the format knows three.
const SHOWN_PATHS: usize = 4;
/// Most characters of each that it shows.
const SHOWN_CHARS: usize = 200;

/// The refusal of a disk with a parent, whose locator is at `locator`.
pub(super) fn refuse(source: &dyn ReadAt, locator: Option<&Range<u64>>) -> Error {
    let paths = match locator.map(|range| read(source, range)) {
        None => Vec::new(),
        Some(Ok(bytes)) => paths(&bytes),
        Some(Err(error)) if error.kind() == ErrorKind::Io => return error,
        Some(Err(_)) => Vec::new(),
    };
    let parent = if paths.is_empty() {
        "another disk, which it does not name".to_owned()
    } else {
        format!(
            "its parent, which imgferry does not open ({})",
            paths.join(", ")
        )
    };
    Error::unsupported(format!(
        "this is a differencing disk: it holds only what differs from {parent}"
    ))
    .with_hint(MERGE_HINT)
}

fn read(source: &dyn ReadAt, range: &Range<u64>) -> Result<Vec<u8>, Error> {
    let len = (range.end - range.start).min(MAX_METADATA_ITEM_LEN);
    let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
    source.read_exact_at(FileOffset(range.start), &mut bytes)?;
    Ok(bytes)
}

/// `key "value"` of the locator's entries that are paths, escaped and cut.
fn paths(locator: &[u8]) -> Vec<String> {
    let Ok((header, rest)) = ParentLocatorHeader::ref_from_prefix(locator) else {
        return Vec::new();
    };
    let entries = rest.chunks_exact(size_of::<ParentLocatorEntry>());
    entries
        .take(usize::from(header.count.get()))
        .filter_map(|entry| ParentLocatorEntry::ref_from_bytes(entry).ok())
        .filter_map(|entry| {
            let key = text(locator, entry.key_offset.get(), entry.key_length.get())?;
            let value = text(locator, entry.value_offset.get(), entry.value_length.get())?;
            key.contains("path")
                .then(|| format!("{} {value:?}", key.escape_debug()))
        })
        .take(SHOWN_PATHS)
        .collect()
}

/// UTF-16 text inside the locator, cut to [`SHOWN_CHARS`].
fn text(locator: &[u8], offset: u32, len: u16) -> Option<String> {
    let start = usize::try_from(offset).ok()?;
    let stored = locator.get(start..start.checked_add(usize::from(len))?)?;
    let (units, _) = stored.as_chunks::<2>();
    let mut chars = char::decode_utf16(units.iter().map(|unit| u16::from_le_bytes(*unit)))
        .map(|char| char.unwrap_or(char::REPLACEMENT_CHARACTER));
    let mut shown: String = chars.by_ref().take(SHOWN_CHARS).collect();
    if chars.next().is_some() {
        shown.push('…');
    }
    Some(shown)
}
