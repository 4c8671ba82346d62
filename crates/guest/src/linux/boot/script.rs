//! The words of a GRUB script. Nothing of it is run: both branches of an `if` count.

use std::collections::BTreeMap;

/// Bytes of all words together: variables could multiply themselves.
const MAX_WORDS: usize = 8 << 20;

/// Variables, by name.
pub(super) type Variables = BTreeMap<Vec<u8>, Vec<u8>>;

/// One command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Statement {
    /// From 1.
    pub(super) line: u32,
    pub(super) words: Vec<Vec<u8>>,
    /// What ends it.
    pub(super) end: End,
}

/// What ends a statement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum End {
    /// The end of the line, `;` or the end of the script.
    #[default]
    Plain,
    /// `{`: what follows belongs to it.
    Opens,
    /// `}`: it is the last one of what was opened.
    Closes,
}

/// The statements of a script.
pub(super) struct Script<'a> {
    rest: &'a [u8],
    line: u32,
    /// Bytes that words may still take.
    left: usize,
}

impl<'a> Script<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self {
            rest: text,
            line: 1,
            left: MAX_WORDS,
        }
    }

    fn take(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        if byte == b'\n' {
            self.line = self.line.saturating_add(1);
        }
        Some(byte)
    }

    /// The next statement that has words or ends something, with variables put in.
    pub(super) fn next(&mut self, variables: &Variables) -> Option<Statement> {
        let mut statement = Statement {
            line: self.line,
            ..Statement::default()
        };
        while let Some(&byte) = self.rest.first() {
            match byte {
                b'\n' | b';' => {
                    self.take();
                    if !statement.words.is_empty() {
                        return Some(statement);
                    }
                    statement.line = self.line;
                }
                byte if byte.is_ascii_whitespace() => {
                    self.take();
                }
                b'#' => {
                    while self.rest.first().is_some_and(|&byte| byte != b'\n') {
                        self.take();
                    }
                }
                b'{' | b'}' if self.stands_alone() => {
                    self.take();
                    statement.end = if byte == b'{' {
                        End::Opens
                    } else {
                        End::Closes
                    };
                    return Some(statement);
                }
                _ => self.word(variables, &mut statement.words),
            }
            if self.left == 0 {
                return None;
            }
        }
        (!statement.words.is_empty()).then_some(statement)
    }

    /// Whether the next byte is a word by itself.
    fn stands_alone(&self) -> bool {
        self.rest
            .get(1)
            .is_none_or(|next| next.is_ascii_whitespace() || *next == b';')
    }

    /// Reads a word. The value of a variable outside of quotes can make several of it, or none.
    fn word(&mut self, variables: &Variables, words: &mut Vec<Vec<u8>>) {
        let mut word = Vec::new();
        let mut quoted = false;
        let mut quote = None;
        while let Some(&byte) = self.rest.first() {
            match (byte, quote) {
                (b'\'', None) | (b'"', None) => {
                    quote = Some(byte);
                    quoted = true;
                }
                (byte, Some(mark)) if byte == mark => quote = None,
                (b'\\', None | Some(b'"')) => {
                    self.take();
                    match self.rest.first() {
                        Some(b'\n') | None => {}
                        Some(&next) => word.push(next),
                    }
                }
                (b'$', None | Some(b'"')) => {
                    let value = self.variable(variables);
                    self.left = self.left.saturating_sub(value.len());
                    let mut parts = value.split(|byte| byte.is_ascii_whitespace());
                    if quote.is_some() {
                        word.extend(value);
                    } else if let Some(first) = parts.next() {
                        word.extend(first);
                        for part in parts {
                            push(&mut word, false, words);
                            word.extend(part);
                        }
                    }
                    continue;
                }
                (b';' | b'\n', None) => break,
                (byte, None) if byte.is_ascii_whitespace() => break,
                (byte, _) => word.push(byte),
            }
            self.take();
            self.left = self.left.saturating_sub(1);
            if self.left == 0 {
                break;
            }
        }
        push(&mut word, quoted, words);
    }

    /// The value of the variable whose `$` comes next.
    fn variable<'v>(&mut self, variables: &'v Variables) -> &'v [u8] {
        self.take();
        let braces = self.rest.first() == Some(&b'{');
        if braces {
            self.take();
        }
        let len = self
            .rest
            .iter()
            .take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_')
            .count();
        let (name, rest) = self.rest.split_at_checked(len).unwrap_or((self.rest, b""));
        self.rest = rest;
        if braces && self.rest.first() == Some(&b'}') {
            self.take();
        }
        variables.get(name).map(Vec::as_slice).unwrap_or_default()
    }
}

/// Ends `word`. Only quotes make an empty word.
fn push(word: &mut Vec<u8>, quoted: bool, words: &mut Vec<Vec<u8>>) {
    if quoted || !word.is_empty() {
        words.push(std::mem::take(word));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str, variables: &Variables) -> Vec<(u32, Vec<String>, End)> {
        let mut script = Script::new(text.as_bytes());
        std::iter::from_fn(|| script.next(variables))
            .map(|statement| {
                let words = statement.words.into_iter();
                let words = words.map(|word| String::from_utf8(word).unwrap());
                (statement.line, words.collect(), statement.end)
            })
            .collect()
    }

    #[test]
    fn statements_have_words_places_and_ends() {
        let variables = BTreeMap::from([
            (b"opts".to_vec(), b" ro  quiet ".to_vec()),
            (b"a".to_vec(), b"x y".to_vec()),
        ]);
        let text = "# c\nset default=\"${a}\"\n\nmenuentry 'A \"b\"' --id \"i\\\"d\" {\n\
                    \tlinux /v root=1 $opts last$none # c\n}\nif [ x ]; then\n echo \"\"; fi";
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        assert_eq!(
            all(text, &variables),
            [
                (2, words(&["set", "default=x y"]), End::Plain),
                (
                    4,
                    words(&["menuentry", "A \"b\"", "--id", "i\"d"]),
                    End::Opens
                ),
                (
                    5,
                    words(&["linux", "/v", "root=1", "ro", "quiet", "last"]),
                    End::Plain
                ),
                (6, words(&[]), End::Closes),
                (7, words(&["if", "[", "x", "]"]), End::Plain),
                (7, words(&["then"]), End::Plain),
                (8, words(&["echo", ""]), End::Plain),
                (8, words(&["fi"]), End::Plain),
            ]
        );
    }

    #[test]
    fn a_script_of_nothing_but_variables_ends() {
        let variables = BTreeMap::from([(b"a".to_vec(), vec![b'x'; 1 << 20])]);
        let text = "echo $a$a$a$a\n".repeat(1000);
        assert!(all(&text, &variables).len() < 10);
    }
}
