//! YAML, from the parser's events: a place for every key and value.

use std::borrow::Cow;

use granit_parser::{Event, Marker, Parser, ScalarStyle, Tag};

use super::build::Builder;
use super::{Key, MAX_DEPTH, Node, Notation, Place, Value};
use crate::problem::Problem;

pub(super) fn parse(text: &str, notation: Notation, problems: &mut Vec<Problem>) -> Option<Node> {
    let options = granit_parser::options! {
        disallow_directives: true,
        emit_comments: false,
        emit_unresolved_aliases: true,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    let mut reader = Reader {
        builder: Builder::new(problems),
        documents: 0,
    };
    for event in Parser::new_from_str_with_options(text, options) {
        let read = match event {
            Ok((event, span)) => reader.event(event, place(span.start)),
            Err(error) => {
                let at = place(*error.marker());
                reader.refuse(notation.broken(at, &error.info()));
                None
            }
        };
        if read.is_none() {
            break;
        }
    }
    reader.builder.finish()
}

struct Reader<'a> {
    builder: Builder<'a>,
    documents: usize,
}

impl Reader<'_> {
    /// Puts one event into the document; `None` when nothing more is read.
    fn event(&mut self, event: Event<'_>, at: Place) -> Option<()> {
        match event {
            Event::DocumentStart(..) => {
                self.documents = self.documents.saturating_add(1);
                if self.documents > 1 {
                    let what = "a second document begins here; a manifest is one";
                    self.refuse(at.problem("", what));
                    return None;
                }
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                let problem = at.problem("", "aliases (*name) are not read");
                self.refuse(problem.hint("use defaults: or vars:"));
                return self.builder.add(at, Value::Refused);
            }
            Event::Scalar(text, style, _, tag) => {
                self.refuse_tag(tag, at);
                return self.scalar(at, text.into_owned(), style == ScalarStyle::Plain);
            }
            Event::SequenceStart(_, _, tag) => {
                self.refuse_tag(tag, at);
                return self.builder.begin(at, Value::List(Vec::new()));
            }
            Event::MappingStart(_, _, tag) => {
                self.refuse_tag(tag, at);
                return self.builder.begin(at, Value::Table(Vec::new()));
            }
            Event::SequenceEnd | Event::MappingEnd => return self.builder.end(),
            _ => {}
        }
        Some(())
    }

    fn refuse(&mut self, problem: Problem) {
        self.builder.problems.push(problem);
    }

    fn refuse_tag(&mut self, tag: Option<Cow<'_, Tag>>, at: Place) {
        if tag.is_some() {
            self.refuse(at.problem("", "tags (!name) are not read"));
        }
    }

    fn scalar(&mut self, at: Place, text: String, is_plain: bool) -> Option<()> {
        if !self.builder.wants_key() {
            let value = match is_plain {
                true => plain(&text),
                false => Value::Text(text),
            };
            return self.builder.add(at, value);
        }
        if text == "<<" && is_plain {
            let problem = at.problem("", "merge keys (<<) are not read");
            self.refuse(problem.hint("use defaults: or vars:"));
        }
        self.builder.key(Key { at, text });
        Some(())
    }
}

fn place(marker: Marker) -> Place {
    Place {
        line: marker.line(),
        column: marker.col().saturating_add(1),
    }
}

/// A plain scalar by YAML's core schema.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return match text.parse() {
            // 007 is as likely to be text: it would lose its zeros.
            Ok(number) if digits == "0" || !digits.starts_with('0') => Value::Integer(number),
            _ => Value::Number(text.to_owned()),
        };
    }
    let is_number = match digits.get(..2) {
        Some("0x" | "0o") => digits
            .chars()
            .skip(2)
            .all(|character| character.is_ascii_hexdigit()),
        _ => {
            matches!(digits, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN")
                || (digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
                    && digits.bytes().any(|byte| byte.is_ascii_digit())
                    && text.parse::<f64>().is_ok())
        }
    };
    match is_number {
        true => Value::Number(text.to_owned()),
        false => Value::Text(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Option<Node>, Vec<Problem>) {
        let mut problems = Vec::new();
        let node = parse(text, Notation::Yaml, &mut problems);
        (node, problems)
    }

    #[test]
    fn keys_and_values_know_their_places() {
        let (node, problems) = read("a: 1\nlist:\n  - x: true\n    y: 'no'\n");
        assert_eq!(problems, []);
        let Some(Node {
            value: Value::Table(entries),
            ..
        }) = node
        else {
            panic!("no table");
        };
        assert_eq!(entries[1].0.at, Place { line: 2, column: 1 });
        let Value::List(nodes) = &entries[1].1.value else {
            panic!("no list");
        };
        let Value::Table(inner) = &nodes[0].value else {
            panic!("no table");
        };
        assert_eq!(inner[1].1.at, Place { line: 4, column: 8 });
        assert!(matches!(inner[0].1.value, Value::Bool(true)));
    }

    #[test]
    fn plain_scalars_follow_the_core_schema() {
        assert!(matches!(plain("12"), Value::Integer(12)));
        assert!(matches!(plain("-3"), Value::Integer(-3)));
        assert!(matches!(plain("007"), Value::Number(_)));
        assert!(matches!(plain("1.5"), Value::Number(_)));
        assert!(matches!(plain("1e3"), Value::Number(_)));
        assert!(matches!(plain("0x1f"), Value::Number(_)));
        assert!(matches!(plain("no"), Value::Text(_)));
        assert!(matches!(plain("infinity"), Value::Text(_)));
        assert!(matches!(plain("1.2.3"), Value::Text(_)));
        assert!(matches!(plain("~"), Value::Null));
    }

    #[test]
    fn what_is_not_read_is_refused_with_its_line() {
        for (text, line) in [
            ("a: &x 1\nb: *x\n", 2),
            ("a: *unknown\n", 1),
            ("a: 1\na: 2\n", 2),
            ("a: !tag 1\n", 1),
            ("a: 1\n---\nb: 1\n", 2),
            ("%YAML 1.1\n---\na: 1\n", 1),
            ("b:\n  <<: {c: 1}\n", 2),
            ("a: [1, 2\n", 1),
            ("? [a]\n: 1\n", 1),
        ] {
            let (_, problems) = read(text);
            assert!(!problems.is_empty(), "{text:?}");
            assert!(problems[0].line >= Some(line), "{text:?}: {problems:?}");
        }
    }

    #[test]
    fn what_stands_where_a_key_is_expected_is_refused_once() {
        for text in [
            "? [a]\n: 1\n",
            "? [a]\n: {b: 1, c: [2]}\nd: 1\n",
            "? {a: 1}\n: 1\n? {a: 1}\n",
            "a: &x 1\n*x : 2\n",
        ] {
            let (node, problems) = read(text);
            let expected = text.matches('?').count().max(1);
            assert_eq!(problems.len(), expected, "{text:?}: {problems:?}");
            let Some(Value::Table(entries)) = node.map(|node| node.value) else {
                panic!("no table: {text:?}");
            };
            assert!(
                entries.iter().all(|(key, _)| !key.text.is_empty()),
                "{text:?}"
            );
        }
    }

    #[test]
    fn deep_nesting_ends_early() {
        let (_, problems) = read(&"[".repeat(100_000));
        assert_eq!(problems.len(), 1, "{problems:?}");
        let (_, problems) = read(&"- ".repeat(100_000));
        assert_eq!(problems.len(), 1, "{problems:?}");
    }
}
