//! Text from outside in XML and HTML.

/// Most characters of a text from outside.
const MAX_TEXT: usize = 100;

/// Text for an element or a quoted attribute, cut where no name ends; XML has no way to write
/// control characters.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len().min(MAX_TEXT));
    for char in text.chars().take(MAX_TEXT) {
        push(&mut escaped, char);
    }
    if text.chars().nth(MAX_TEXT).is_some() {
        escaped.push('…');
    }
    escaped
}

/// [`escaped`] without an end, for sentences of our own that hold texts from outside.
pub(super) fn escaped_whole(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    text.chars().for_each(|char| push(&mut escaped, char));
    escaped
}

fn push(escaped: &mut String, char: char) {
    match char {
        '&' => escaped.push_str("&amp;"),
        '<' => escaped.push_str("&lt;"),
        '>' => escaped.push_str("&gt;"),
        '"' => escaped.push_str("&quot;"),
        '\'' => escaped.push_str("&apos;"),
        // They turn the direction of what stands around them.
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            escaped.push(char::REPLACEMENT_CHARACTER);
        }
        '\u{fffe}' | '\u{ffff}' => escaped.push(char::REPLACEMENT_CHARACTER),
        char if char.is_control() => escaped.push(char::REPLACEMENT_CHARACTER),
        char => escaped.push(char),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_is_markup_or_steers_anything() {
        assert_eq!(
            escaped("<a href='x' b=\"y\">&\u{1b}\n\u{202e}\u{ffff}"),
            "&lt;a href=&apos;x&apos; b=&quot;y&quot;&gt;&amp;\u{fffd}\u{fffd}\u{fffd}\u{fffd}"
        );
        let long = "é".repeat(MAX_TEXT + 1);
        assert_eq!(escaped(&long).chars().count(), MAX_TEXT + 1);
        assert!(escaped(&long).ends_with('…'));
        assert_eq!(escaped_whole(&long), long);
    }
}
