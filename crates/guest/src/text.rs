//! Bytes of the guest as text that a terminal can show.

/// Characters of a shown text.
const MAX_SHOWN: usize = 200;

/// `bytes` without control characters; what is not UTF-8 is shown as replacement characters.
pub(crate) fn printable(bytes: impl AsRef<[u8]>) -> String {
    diskimg::printable(&String::from_utf8_lossy(bytes.as_ref()))
}

/// `bytes` without control characters, at most [`MAX_SHOWN`] characters of them.
pub(crate) fn shown(bytes: &[u8]) -> String {
    // No character has more than four bytes, and none is printed as less than one.
    let head = bytes.get(..MAX_SHOWN * 4 + 4).unwrap_or(bytes);
    cut(&printable(head))
}

/// `text`, at most [`MAX_SHOWN`] characters of it.
pub(crate) fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
