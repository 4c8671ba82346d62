//! Commands to copy.

use maud::{Markup, html};

/// A part of what is to be done.
enum Part {
    /// Lines to type.
    Commands(Vec<String>),
    /// What no command does.
    Prose(String),
}

/// Lines to type, together where they follow each other: one click selects them all. Comments among
/// them are told in between, so that they are not copied.
pub fn commands(lines: impl IntoIterator<Item = String>) -> Markup {
    let mut parts: Vec<Part> = Vec::new();
    for line in lines {
        match (line.strip_prefix("# "), parts.last_mut()) {
            (Some(prose), _) => parts.push(Part::Prose(prose.to_owned())),
            (None, Some(Part::Commands(commands))) => commands.push(line),
            (None, _) => parts.push(Part::Commands(vec![line])),
        }
    }
    html! {
        @for part in parts {
            @match part {
                Part::Prose(text) => p { (text) },
                Part::Commands(lines) => pre class="commands" {
                    @for line in lines { (line) "\n" }
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_stand_between_the_commands_and_are_not_copied() {
        let lines = ["a", "b", "# then <c>:", "d"].map(str::to_owned);
        assert_eq!(
            commands(lines).into_string(),
            "<pre class=\"commands\">a\nb\n</pre><p>then &lt;c&gt;:</p>\
             <pre class=\"commands\">d\n</pre>"
        );
        assert_eq!(commands([]).into_string(), "");
    }
}
