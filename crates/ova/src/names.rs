//! Names of files in a package: which may be referred to, and which are noise.

use std::borrow::Cow;

use diskimg::text::printable;
use diskimg::{Error, Result};

/// Refuses a name that could mean anything but a file of the package. `by` says what gives it.
///
/// # Errors
/// `Unsupported` for URLs, paths that are absolute or lead up, and names with control characters.
pub(crate) fn check(name: &str, by: &str) -> Result<()> {
    let wrong = |why: &str| {
        Err(Error::unsupported(format!(
            "{by} names \"{}\", which {why}; only files of the package are read",
            printable(name)
        )))
    };
    let scheme = name.split_once(':').filter(|(scheme, _)| {
        scheme.len() > 1
            && scheme
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    });
    if scheme
        .is_some_and(|(scheme, rest)| rest.starts_with("//") || scheme.eq_ignore_ascii_case("file"))
    {
        return wrong("is a URL");
    }
    if name.starts_with('/') {
        return wrong("is an absolute path");
    }
    if name.contains('\\') {
        return wrong("has a backslash");
    }
    if name.chars().any(char::is_control) {
        return wrong("has control characters");
    }
    for component in name.split('/') {
        match component {
            "" => return wrong("has an empty component"),
            "." | ".." => return wrong("leads to another directory"),
            _ => {}
        }
    }
    Ok(())
}

/// `name` with its escapes such as `%20` replaced; `None` when it has none, or the result is no
/// text.
pub(crate) fn decoded(name: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    let mut changed = false;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|_| *first == b'%');
        let value = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match value {
            Some(value) => {
                bytes.push(value);
                changed = true;
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).ok().filter(|_| changed)
}

/// Whether a member is noise of the program that made the archive, such as resource forks of macOS.
pub(crate) fn is_noise(name: &[u8]) -> bool {
    let last = name.rsplit(|byte| *byte == b'/').next().unwrap_or(name);
    last.starts_with(b"._")
        || last == b".DS_Store"
        || name.starts_with(b"PaxHeader/")
        || name.windows(11).any(|part| part == b"/PaxHeader/")
}

/// Whether a name ends in `ending`, whatever its case.
pub(crate) fn ends_with(name: &[u8], ending: &str) -> bool {
    name.len()
        .checked_sub(ending.len())
        .and_then(|start| name.get(start..))
        .is_some_and(|end| end.eq_ignore_ascii_case(ending.as_bytes()))
}

/// The name of the directory that `name` is in, with a slash at its end; empty for none.
pub(crate) fn directory(name: &str) -> &str {
    match name.rfind('/') {
        Some(slash) => name.get(..=slash).unwrap_or_default(),
        None => "",
    }
}

/// A name without its directory and its extension.
pub(crate) fn stem(name: &str) -> &str {
    let last = name.rsplit('/').next().unwrap_or(name);
    last.rsplit_once('.').map_or(last, |(stem, _)| stem)
}

/// A text of the package, as it can be printed.
pub(crate) fn text(bytes: &[u8]) -> String {
    let text: Cow<'_, str> = String::from_utf8_lossy(bytes);
    printable(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_inside_the_package_pass() {
        for good in [
            "a.vmdk",
            "my disk.vmdk",
            "dir/a.vmdk",
            "Ünïcode",
            "a:b",
            "100%.vmdk",
        ] {
            check(good, "the descriptor").unwrap();
        }
        for bad in [
            "",
            "/etc/passwd",
            "../a",
            "a/../b",
            "a//b",
            "./a",
            "a/",
            "a\\b",
            "a\0b",
            "a\u{1b}[2J",
            "http://host/a",
            "file:a",
            "FILE:///etc/passwd",
        ] {
            assert!(check(bad, "the descriptor").is_err(), "{bad:?}");
        }
    }

    #[test]
    fn escapes_are_decoded_once() {
        assert_eq!(decoded("my%20disk").as_deref(), Some("my disk"));
        assert_eq!(decoded("a%2525").as_deref(), Some("a%25"));
        assert_eq!(decoded("%2e%2E%2fa").as_deref(), Some("../a"));
        assert_eq!(decoded("100%"), None);
        assert_eq!(decoded("%+1"), None);
        assert_eq!(decoded("%ff"), None);
    }
}
