//! Programs for UEFI: their sections.

use crate::budget::MAX_RELEASE;
use crate::tree::Result;
use crate::view::File;

/// Sections that are looked at.
const MAX_SECTIONS: u16 = 96;
const SECTION: usize = 40;

/// Where a section of a program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) at: u64,
    pub(crate) len: u64,
}

/// The section `name` of a program for UEFI.
pub(crate) fn section(file: &File, name: &str) -> Result<Option<Section>> {
    let mut word = [0; 4];
    if file.read_at(0x3c, &mut word)? < word.len() {
        return Ok(None);
    }
    let header = u64::from(u32::from_le_bytes(word));
    let mut head = [0; 24];
    if file.read_at(header, &mut head)? < head.len() || !head.starts_with(b"PE\0\0") {
        return Ok(None);
    }
    let short = |at: usize| match head.get(at..at + 2) {
        Some([low, high]) => u16::from_le_bytes([*low, *high]),
        _ => 0,
    };
    let count = short(6).min(MAX_SECTIONS);
    let table = header + 24 + u64::from(short(20));
    let mut sections = vec![0; usize::from(count) * SECTION];
    let read = file.read_at(table, &mut sections)?;
    sections.truncate(read);
    for section in sections.chunks_exact(SECTION) {
        let is = section
            .get(..8)
            .is_some_and(|bytes| bytes.strip_prefix(name.as_bytes()).is_some_and(all_zero));
        if is {
            let number = |at: usize| {
                let bytes = section.get(at..at + 4).and_then(<[u8]>::first_chunk);
                bytes.map_or(0, |bytes| u64::from(u32::from_le_bytes(*bytes)))
            };
            // What is used of the section, and what is stored of it.
            let len = number(8).min(number(16));
            return Ok(Some(Section {
                at: number(20),
                len,
            }));
        }
    }
    Ok(None)
}

fn all_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// The text in section `name`, without zeros and blanks at its ends.
pub(crate) fn text(file: &File, name: &str) -> Result<Option<Vec<u8>>> {
    let Some(section) = section(file, name)? else {
        return Ok(None);
    };
    let len = usize::try_from(section.len.min(MAX_RELEASE)).unwrap_or(0);
    let mut text = vec![0; len];
    let read = file.read_at(section.at, &mut text)?;
    text.truncate(read);
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(read);
    text.truncate(end);
    Ok(Some(text.trim_ascii().to_vec()))
}
