//! Texts of servers: found in their documents, and made fit to be shown.

/// Longest text of a server that is passed on, in characters.
const MAX_TEXT: usize = 300;
/// How far into a document an element is searched for, in bytes.
pub(crate) const MAX_SCAN: usize = 16 << 10;

/// What stands in the first element `name` of `body`.
pub(crate) fn element<'a>(body: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = body.split_once(&format!("<{name}>"))?;
    Some(rest.split_once(&format!("</{name}>"))?.0)
}

/// An identifier of the server's, without what does not belong in one.
pub(crate) fn clean_code(text: &str) -> String {
    text.chars()
        .filter(|c| c.is_ascii_alphanumeric() || "-_.:+/=".contains(*c))
        .take(64)
        .collect()
}

/// A sentence of the server's, in one line and without control characters.
pub(crate) fn clean_text(text: &str) -> String {
    let mut words = text.split(|c: char| c.is_whitespace() || c.is_control());
    let mut clean = String::new();
    for word in words.by_ref().filter(|word| !word.is_empty()) {
        if !clean.is_empty() {
            clean.push(' ');
        }
        clean.push_str(word);
    }
    let clean: String = clean.chars().take(MAX_TEXT).collect();
    clean.trim_end_matches('.').to_owned()
}
