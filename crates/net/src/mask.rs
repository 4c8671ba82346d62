//! Secrets in what servers say: an error may repeat the request, with its headers and its body.
//!
//! Everything that a server says passes through [`mask`] before a person sees it.

use std::collections::HashSet;
use std::ops::Range;

use crate::secret::{ExposeSecret, SecretString};

/// What a mask looks like.
const MASK: &str = "***";

/// Secrets shorter than this are not looked for: masking each "a" would leave nothing to read. The
/// services accept no password this short.
const MIN_SECRET: usize = 4;

/// So many characters of a secret in a row are masked even where the rest is missing: servers cut
/// what they repeat.
const TELLING: usize = 12;

/// Replaces each of `secrets` in `text`, and every piece of a long one, also as JSON, XML and
/// addresses spell it and with line breaks inside; and the signatures of requests. What is longer
/// than [`MOST`] is cut.
#[must_use]
pub fn mask(text: &str, secrets: &[SecretString]) -> String {
    let text = beginning(text);
    let mut hidden = signatures(text);
    let secrets = || {
        let exposed = secrets.iter().map(|secret| secret.expose_secret());
        exposed.filter(|secret| secret.chars().count() >= MIN_SECRET)
    };
    let letters = Letters::of(plain(text));
    for secret in secrets() {
        letters.hide(secret, &mut hidden);
        letters.hide(&crate::sign::encode(secret), &mut hidden);
    }
    for marks in SPELLINGS {
        let letters = Letters::of(decoded(text, marks));
        for secret in secrets() {
            let close: String = secret.split_whitespace().collect();
            letters.hide(&close, &mut hidden);
        }
    }
    cover(text, hidden)
}

/// The part of `text` that is examined.
fn beginning(text: &str) -> &str {
    let mut end = text.len().min(MOST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// Longest text, in bytes. Nobody shows more of what a server says.
pub const MOST: usize = 64 << 10;

/// What begins a spelling: of an address, of JSON, of XML; and of all of them, one inside the
/// other.
const SPELLINGS: [&str; 4] = ["%", "\\", "&", "%\\&"];

/// A character, and where it stands in the text.
struct Letter {
    value: char,
    place: Range<usize>,
}

fn plain(text: &str) -> Vec<Letter> {
    text.char_indices()
        .map(|(at, value)| Letter {
            value,
            place: at..at + value.len_utf8(),
        })
        .collect()
}

/// The characters that are meant where the text spells them otherwise, beginning with one of
/// `marks`. White space is left out.
fn decoded(text: &str, marks: &str) -> Vec<Letter> {
    let mut letters = Vec::new();
    let mut at = 0;
    while let Some(value) = text.get(at..).and_then(|rest| rest.chars().next()) {
        let rest = text.get(at..).unwrap_or_default();
        let spelled = marks.contains(value).then(|| spelled(rest)).flatten();
        let (value, len) = spelled.unwrap_or((value, value.len_utf8()));
        if !value.is_whitespace() {
            letters.push(Letter {
                value,
                place: at..at + len,
            });
        }
        at += len;
    }
    letters
}

/// The character that `text` begins with in the spelling of an address, JSON or XML, and the
/// spelling's length.
fn spelled(text: &str) -> Option<(char, usize)> {
    let code = |digits: &str, radix| char::from_u32(u32::from_str_radix(digits, radix).ok()?);
    match text.as_bytes().first()? {
        b'%' => Some((code(text.get(1..3)?, 16).filter(char::is_ascii)?, 3)),
        b'\\' => match text.get(1..)?.chars().next()? {
            'u' => Some((code(text.get(2..6)?, 16)?, 6)),
            'n' | 'r' | 't' => Some((' ', 2)),
            c @ ('"' | '\\' | '/' | '\'') => Some((c, 2)),
            _ => None,
        },
        b'&' => {
            let end = text.bytes().take(10).position(|byte| byte == b';')?;
            let value = match text.get(1..end)? {
                "amp" => '&',
                "lt" => '<',
                "gt" => '>',
                "quot" => '"',
                "apos" => '\'',
                name => match name.strip_prefix("#x").or_else(|| name.strip_prefix("#X")) {
                    Some(digits) => code(digits, 16)?,
                    None => code(name.strip_prefix('#')?, 10)?,
                },
            };
            Some((value, end + 1))
        }
        _ => None,
    }
}

/// A text as it is read.
struct Letters {
    values: Vec<char>,
    places: Vec<Range<usize>>,
}

impl Letters {
    fn of(letters: Vec<Letter>) -> Self {
        let (values, places) = letters
            .into_iter()
            .map(|letter| (letter.value, letter.place))
            .unzip();
        Self { values, places }
    }

    /// Notes where pieces of `secret` stand.
    fn hide(&self, secret: &str, hidden: &mut Vec<Range<usize>>) {
        let secret: Vec<char> = secret.chars().collect();
        if secret.len() < MIN_SECRET {
            return;
        }
        // What is too short to be told apart from other text must be there as a whole.
        let piece = secret.len().min(TELLING);
        let pieces: HashSet<&[char]> = secret.windows(piece).collect();
        for (values, places) in self.values.windows(piece).zip(self.places.windows(piece)) {
            if pieces.contains(values)
                && let (Some(first), Some(last)) = (places.first(), places.last())
            {
                hidden.push(first.start..last.end);
            }
        }
    }
}

/// Where the signatures of requests stand: what follows the word, whatever is between them.
fn signatures(text: &str) -> Vec<Range<usize>> {
    const WORD: &str = "signature";
    /// Signatures are 32 bytes in hexadecimal or 20 in base64.
    const LEAST: usize = 24;
    // ASCII lower case keeps every byte offset.
    let lower = text.to_ascii_lowercase();
    let is_between = |byte: u8| byte.is_ascii_whitespace() || b"=:\"'>%".contains(&byte);
    let is_inside = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=%".contains(&byte);
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(next) = lower.get(at..).and_then(|rest| rest.find(WORD)) {
        let behind = at + next + WORD.len();
        let count = |from: usize, wanted: &dyn Fn(u8) -> bool| {
            let rest = lower.as_bytes().get(from..).unwrap_or_default();
            rest.iter().take_while(|byte| wanted(**byte)).count()
        };
        let start = behind + count(behind, &is_between);
        let end = start + count(start, &is_inside);
        if end - start >= LEAST {
            found.push(start..end);
        }
        at = behind;
    }
    found
}

/// `text` with one mask for each stretch of `hidden`.
fn cover(text: &str, mut hidden: Vec<Range<usize>>) -> String {
    hidden.sort_by_key(|place| (place.start, place.end));
    let mut covered = String::with_capacity(text.len());
    let mut at = 0;
    let mut is_open = false;
    for place in hidden {
        if place.end <= at && is_open {
            continue;
        }
        let start = place.start.max(at);
        let between = text.get(at..start).unwrap_or_default();
        // Line breaks inside a secret belong to it.
        if !is_open || !between.trim().is_empty() {
            covered.push_str(between);
            covered.push_str(MASK);
        }
        is_open = true;
        at = place.end.max(at);
    }
    covered.push_str(text.get(at..).unwrap_or_default());
    covered
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC";

    #[test]
    fn secrets_are_masked_in_every_spelling_and_when_they_are_cut() {
        let secrets: Vec<SecretString> = vec!["pass\"wo\\rd & more".into(), TOKEN.into()];
        for (said, shown) in [
            (r#"["pass\"wo\\rd & more"]"#, r#"["***"]"#),
            ("GET /?p=pass%22wo%5Crd%20%26%20more", "GET /?p=***"),
            ("p: pass&quot;wo\\rd &#38; more!", "p: ***!"),
            ("pass\"wo\\rd & more", "***"),
            ("token MIIEvQIBADANBgkqhkiG9w0BAQEFAASC!", "token ***!"),
            (
                "token MIIEvQIBADANBgkq... is too long",
                "token ***... is too long",
            ),
            // The beginning is cut off, or the middle is left.
            ("...DANBgkqhkiG9w0BAQEFAASC", "...***"),
            ("token ANBgkqhkiG9w0", "token ***"),
            ("\u{1b}MIIEvQIBADAN", "\u{1b}***"),
            ("MIIEvQIBADANMIIEvQIBADANBgkq", "***"),
            ("MIIEvQIBADAN\n  Bgkqhki\r\nG9w0BAQEFAASC end", "*** end"),
            (
                "MIIEvQIB is too short to tell",
                "MIIEvQIB is too short to tell",
            ),
            ("", ""),
        ] {
            assert_eq!(mask(said, &secrets), shown, "{said}");
        }
    }

    #[test]
    fn short_secrets_are_masked_as_a_whole_and_very_short_ones_not_at_all() {
        let secrets: Vec<SecretString> = vec!["hunter2".into(), "a".into(), "".into()];
        assert_eq!(mask("a hunter2, a hunter", &secrets), "a ***, a hunter");
    }

    #[test]
    fn a_secret_that_contains_escapes_itself_is_found_as_it_is() {
        let secrets: Vec<SecretString> = vec!["50%41&amp;x".into()];
        assert_eq!(mask("p=50%41&amp;x.", &secrets), "p=***.");
        assert_eq!(mask("p=50%2541%26amp%3Bx.", &secrets), "p=***.");
    }

    #[test]
    fn signatures_of_requests_are_masked() {
        let hex = "0f".repeat(32);
        for (said, shown) in [
            (
                format!("AWS4-HMAC-SHA256 Credential=AK/a, SignedHeaders=host, Signature={hex}"),
                "AWS4-HMAC-SHA256 Credential=AK/a, SignedHeaders=host, Signature=***",
            ),
            (
                format!("\"signature\": \"{hex}\""),
                "\"signature\": \"***\"",
            ),
            (
                format!("X-Amz-Signature%3D{hex}&a"),
                "X-Amz-Signature%***&a",
            ),
            (
                "the signature is wrong: SignatureDoesNotMatch".to_owned(),
                "the signature is wrong: SignatureDoesNotMatch",
            ),
        ] {
            assert_eq!(mask(&said, &[]), shown, "{said}");
        }
    }

    #[test]
    fn hostile_texts_take_no_time() {
        let secrets: Vec<SecretString> = vec![TOKEN.into()];
        let text = "MIIEvQIBADA&#%\\uü".repeat(20_000);
        let masked = mask(&text, &secrets);
        assert!(text.starts_with(&masked) && masked.len() >= MOST - 1);
        assert_eq!(mask(&TOKEN.repeat(1_000), &secrets), "***");
    }
}
