//! YAML, from the parser's events: a place for every key and value.

use std::borrow::Cow;
use std::collections::HashMap;

use granit_parser::{Event, Marker, Parser, ScalarStyle, Tag};

use super::{Key, MAX_DEPTH, MAX_NODES, Node, Notation, Place, Value, too_deep, too_many, twice};
use crate::problem::Problem;

/// A list or table that is being read.
enum Open {
    List(Place, Vec<Node>),
    Table {
        at: Place,
        entries: Vec<(Key, Node)>,
        seen: HashMap<String, Place>,
        key: Option<Key>,
    },
}

pub(super) fn parse(text: &str, notation: Notation, problems: &mut Vec<Problem>) -> Option<Node> {
    let options = granit_parser::options! {
        disallow_directives: true,
        emit_comments: false,
        emit_unresolved_aliases: true,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    let mut reader = Reader {
        open: Vec::new(),
        root: None,
        nodes: 0,
        problems,
    };
    let mut documents = 0_usize;
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                let at = place(*error.marker());
                reader.problems.push(notation.broken(at, &error.info()));
                break;
            }
        };
        let at = place(span.start);
        match event {
            Event::DocumentStart(..) => {
                documents = documents.saturating_add(1);
                if documents > 1 {
                    let what = "a second document begins here; a manifest is one";
                    reader.problems.push(at.problem("", what));
                    break;
                }
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                let what = "aliases (*name) are not read";
                reader
                    .problems
                    .push(at.problem("", what).hint("use defaults: or vars:"));
                reader.add(at, Value::Refused);
            }
            Event::Scalar(text, style, _, tag) => {
                reader.refuse(tag, at);
                let value = match style {
                    ScalarStyle::Plain => plain(&text),
                    _ => Value::Text(text.into_owned()),
                };
                reader.scalar(at, value, style);
            }
            Event::SequenceStart(_, _, tag) => {
                reader.refuse(tag, at);
                reader.open.push(Open::List(at, Vec::new()));
            }
            Event::MappingStart(_, _, tag) => {
                reader.refuse(tag, at);
                reader.open.push(Open::Table {
                    at,
                    entries: Vec::new(),
                    seen: HashMap::new(),
                    key: None,
                });
            }
            Event::SequenceEnd | Event::MappingEnd => reader.close(),
            _ => {}
        }
        if reader.nodes > MAX_NODES {
            reader.problems.push(too_many(at));
            break;
        }
        if reader.open.len() > MAX_DEPTH {
            reader.problems.push(too_deep(at));
            break;
        }
    }
    // What an error left open is looked at too: more can be wrong with it.
    while !reader.open.is_empty() {
        reader.close();
    }
    reader.root
}

struct Reader<'a> {
    open: Vec<Open>,
    root: Option<Node>,
    nodes: usize,
    problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    fn refuse(&mut self, tag: Option<Cow<'_, Tag>>, at: Place) {
        if tag.is_some() {
            let what = "tags (!name) are not read";
            self.problems.push(at.problem("", what));
        }
    }

    fn scalar(&mut self, at: Place, value: Value, style: ScalarStyle) {
        if let Some(Open::Table {
            key: key @ None, ..
        }) = self.open.last_mut()
        {
            let text = match value {
                Value::Text(text) | Value::Number(text) => text,
                Value::Integer(number) => number.to_string(),
                Value::Bool(value) => value.to_string(),
                _ => String::new(),
            };
            if text == "<<" && style == ScalarStyle::Plain {
                let what = "merge keys (<<) are not read";
                self.problems
                    .push(at.problem("", what).hint("use defaults: or vars:"));
            }
            *key = Some(Key { at, text });
            return;
        }
        self.add(at, value);
    }

    fn add(&mut self, at: Place, value: Value) {
        self.nodes = self.nodes.saturating_add(1);
        let node = Node { at, value };
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List(_, nodes)) => nodes.push(node),
            Some(Open::Table {
                entries, seen, key, ..
            }) => match key.take() {
                // A list, a table or an alias where a key stands.
                None => {
                    let what = format!("{} stands where a key is expected", node.value.kind());
                    self.problems.push(at.problem("", what));
                    *key = Some(Key {
                        at,
                        text: String::new(),
                    });
                }
                Some(key) => {
                    if let Some(before) = seen.insert(key.text.clone(), key.at) {
                        self.problems.push(twice(&key, before));
                    } else {
                        entries.push((key, node));
                    }
                }
            },
        }
    }

    fn close(&mut self) {
        match self.open.pop() {
            None => {}
            Some(Open::List(at, nodes)) => self.add(at, Value::List(nodes)),
            Some(Open::Table { at, entries, .. }) => self.add(at, Value::Table(entries)),
        }
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
    fn deep_nesting_ends_early() {
        let (_, problems) = read(&"[".repeat(100_000));
        assert_eq!(problems.len(), 1, "{problems:?}");
        let (_, problems) = read(&"- ".repeat(100_000));
        assert_eq!(problems.len(), 1, "{problems:?}");
    }
}
