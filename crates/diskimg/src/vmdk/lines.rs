//! The extent lines of a descriptor.

use crate::text::printable;

/// How the bytes of an extent are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Storage {
    /// As they are, in a file.
    Flat,
    /// As they are, in a file that ESX wrote.
    Vmfs,
    /// In grains, as hosted products write them.
    Sparse,
    /// In grains, as ESX wrote them (COWD).
    VmfsSparse,
    /// In grains, as newer ESX writes them.
    SeSparse,
    /// Nowhere: zeros.
    Zero,
}

impl Storage {
    const ALL: [(&'static str, Self); 6] = [
        ("FLAT", Self::Flat),
        ("VMFS", Self::Vmfs),
        ("SPARSE", Self::Sparse),
        ("VMFSSPARSE", Self::VmfsSparse),
        ("SESPARSE", Self::SeSparse),
        ("ZERO", Self::Zero),
    ];

    pub(super) fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, storage)| *storage == self)
            .map_or("", |(name, _)| name)
    }
}

/// An extent as a descriptor gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) sectors: u64,
    /// `None` for a type that is not read, whose name is [`Self::type_name`].
    pub(super) storage: Option<Storage>,
    /// The type as it stands there, cut.
    pub(super) type_name: String,
    /// Whether nobody may read the extent.
    pub(super) no_access: bool,
    /// Its file, as bytes of whatever encoding.
    pub(super) name: Option<Vec<u8>>,
    /// Where it begins in its file, in sectors.
    pub(super) offset: u64,
}

/// What is wrong with a line.
#[derive(Debug)]
pub(super) struct LineEnd(pub(super) &'static str);

/// The extent that `line` describes; `None` when it begins with no access word.
///
/// # Errors
/// What is wrong with a line that does.
pub(super) fn words(line: &[u8]) -> Result<Option<Line>, LineEnd> {
    let (access, rest) = word(line);
    let access = ["RW", "RDONLY", "NOACCESS"]
        .into_iter()
        .find(|known| access.eq_ignore_ascii_case(known.as_bytes()));
    let Some(access) = access else {
        return Ok(None);
    };
    let (sectors, rest) = word(rest);
    let sectors = number(sectors).ok_or(LineEnd("expected a number of sectors"))?;
    let (type_name, rest) = word(rest);
    if type_name.is_empty() {
        return Err(LineEnd("expected the type of the extent"));
    }
    let storage = Storage::ALL
        .into_iter()
        .find(|(name, _)| type_name.eq_ignore_ascii_case(name.as_bytes()))
        .map(|(_, storage)| storage);
    let mut found = Line {
        sectors,
        storage,
        type_name: shown(type_name),
        no_access: access == "NOACCESS",
        name: None,
        offset: 0,
    };
    let rest = rest.trim_ascii_start();
    if let Some(name) = rest.strip_prefix(b"\"") {
        let end = name.iter().position(|byte| *byte == b'"');
        let end = end.ok_or(LineEnd("the name has no closing quote"))?;
        let (name, rest) = name.split_at(end);
        if !name.is_empty() {
            found.name = Some(name.to_vec());
        }
        let (offset, _) = word(rest.get(1..).unwrap_or_default());
        if !offset.is_empty() {
            found.offset = number(offset).ok_or(LineEnd("expected an offset in sectors"))?;
        }
    } else if !rest.is_empty() {
        return Err(LineEnd("expected a name in quotes"));
    }
    match found.storage {
        // Zeros are in no file, whatever the line names.
        Some(Storage::Zero) => found.name = None,
        None => {}
        Some(_) if sectors == 0 => {}
        Some(_) if found.name.is_none() => return Err(LineEnd("the extent has no name")),
        Some(Storage::Flat) => {}
        Some(_) if found.offset != 0 => {
            return Err(LineEnd("only a FLAT extent can begin inside its file"));
        }
        Some(_) => {}
    }
    Ok(Some(found))
}

/// The first word of `text` and what follows it.
fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let text = text.trim_ascii_start();
    let end = text
        .iter()
        .position(u8::is_ascii_whitespace)
        .unwrap_or(text.len());
    text.split_at(end)
}

fn number(word: &[u8]) -> Option<u64> {
    let digits = !word.is_empty() && word.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(word)
        .ok()
        .filter(|_| digits)?
        .parse()
        .ok()
}

/// Characters of a line that a message shows.
const SHOWN_CHARS: usize = 100;

pub(super) fn shown(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let start: String = text.chars().take(SHOWN_CHARS).collect();
    let more = if start.len() < text.len() { "…" } else { "" };
    printable(&start) + more
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_three_to_seven_values() {
        let line = |text: &str| words(text.as_bytes()).unwrap().unwrap();
        let flat = line("RW 63 FLAT \"a b.vmdk\" 10 1a2b-uuid /dev/x");
        assert_eq!(flat.storage, Some(Storage::Flat));
        assert_eq!((flat.sectors, flat.offset), (63, 10));
        assert_eq!(flat.name.as_deref(), Some(&b"a b.vmdk"[..]));
        assert_eq!(line("rdonly 5 zero").storage, Some(Storage::Zero));
        assert_eq!(line("RW 5 ZERO \"\"").name, None);
        assert!(line("NOACCESS 0 ZERO").no_access);
        assert_eq!(line("RW 5 VMFSRDM \"x\"").storage, None);
        assert_eq!(
            line("RW\t5   SESPARSE\t\"x\"").storage,
            Some(Storage::SeSparse)
        );
        assert_eq!(words(b"RWX 5 FLAT").unwrap(), None);
        assert_eq!(words(b"wronly 5 FLAT").unwrap(), None);
    }

    #[test]
    fn what_begins_as_an_extent_and_is_none_is_refused() {
        for text in [
            "RW",
            "RW x FLAT \"a\"",
            "RW -5 FLAT \"a\"",
            "RW 5",
            "RW 5 FLAT",
            "RW 5 FLAT a.vmdk",
            "RW 5 FLAT \"a",
            "RW 5 FLAT \"a\" x",
            "RW 5 SPARSE \"a\" 7",
            "RW 5 VMFS \"a\" 7",
        ] {
            assert!(words(text.as_bytes()).is_err(), "{text}");
        }
    }
}
