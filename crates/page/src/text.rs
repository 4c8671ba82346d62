//! Text from outside: names, paths, errors.

use std::fmt::Write as _;

/// `text`, cut after `most` characters; an ellipsis marks the cut.
#[must_use]
pub fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((end, _)) => text.get(..end).unwrap_or_default().to_owned() + "…",
    }
}

/// `markup` with every character that markup cannot hold, or that controls a terminal or the
/// direction of the text around it, written as `\u{…}`.
pub(crate) fn harmless(markup: &str) -> String {
    let mut harmless = String::with_capacity(markup.len());
    for char in markup.chars() {
        match char {
            '\n' => harmless.push(char),
            '\u{200e}'
            | '\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
            | '\u{fffe}'
            | '\u{ffff}' => escape(&mut harmless, char),
            char if char.is_control() => escape(&mut harmless, char),
            char => harmless.push(char),
        }
    }
    harmless
}

fn escape(text: &mut String, char: char) {
    // Writing to a string does not fail.
    let _ = write!(text, "{}", char.escape_unicode());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_control_anything_become_visible() {
        assert_eq!(
            harmless("a\n\u{1b}[m\u{0}\u{202e}\u{ffff}é"),
            "a\n\\u{1b}[m\\u{0}\\u{202e}\\u{ffff}é"
        );
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(shortened("ééé", 3), "ééé");
        assert_eq!(shortened("éééé", 3), "ééé…");
        assert_eq!(shortened("", 0), "");
    }
}
