//! TOML, from the parser's document, which keeps places.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Key, MAX_DEPTH, MAX_NODES, Node, Notation, Place, Value, too_deep, too_many};
use crate::problem::Problem;

pub(super) fn parse(text: &str, problems: &mut Vec<Problem>) -> Option<Node> {
    let mut reader = Reader {
        lines: Lines::of(text),
        nodes: 0,
        problems,
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let at = error.span().map_or(0, |span| span.start);
        let at = reader.lines.place(at);
        let problem = Notation::Toml.broken(at, error.message());
        reader.problems.push(problem);
    }
    let value = reader.table(table.get_ref(), 0);
    Some(Node {
        at: Place { line: 1, column: 1 },
        value,
    })
}

struct Reader<'a, 'p> {
    lines: Lines<'a>,
    nodes: usize,
    problems: &'p mut Vec<Problem>,
}

impl Reader<'_, '_> {
    fn table(&mut self, table: &DeTable<'_>, depth: usize) -> Value {
        let mut entries: Vec<_> = table.iter().collect();
        // As they stand in the file, not by name.
        entries.sort_by_key(|(key, _)| key.span().start);
        Value::Table(
            entries
                .into_iter()
                .map(|(key, value)| {
                    let key = Key {
                        at: self.place(key.span()),
                        text: key.get_ref().to_string(),
                    };
                    (key, self.node(value, depth))
                })
                .collect(),
        )
    }

    fn node(&mut self, value: &Spanned<DeValue<'_>>, depth: usize) -> Node {
        let at = self.place(value.span());
        let value = self.value(value.get_ref(), at, depth.saturating_add(1));
        Node { at, value }
    }

    fn value(&mut self, value: &DeValue<'_>, at: Place, depth: usize) -> Value {
        self.nodes = self.nodes.saturating_add(1);
        if depth > MAX_DEPTH {
            self.problems.push(too_deep(at));
            return Value::Refused;
        }
        if self.nodes == MAX_NODES.saturating_add(1) {
            self.problems.push(too_many(at));
        }
        if self.nodes > MAX_NODES {
            return Value::Refused;
        }
        match value {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Boolean(value) => Value::Bool(*value),
            DeValue::Integer(number) => {
                match i64::from_str_radix(number.as_str(), number.radix()) {
                    Ok(number) => Value::Integer(number),
                    Err(_) => Value::Number(number.as_str().to_owned()),
                }
            }
            DeValue::Float(number) => Value::Number(number.as_str().to_owned()),
            DeValue::Datetime(_) => {
                let what = "found a date, and no key takes one";
                self.problems
                    .push(at.problem("", what).hint("put text in quotes"));
                Value::Refused
            }
            DeValue::Array(values) => {
                Value::List(values.iter().map(|value| self.node(value, depth)).collect())
            }
            DeValue::Table(table) => self.table(table, depth),
        }
    }

    fn place(&self, span: Range<usize>) -> Place {
        self.lines.place(span.start)
    }
}

/// Where lines begin.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let starts = std::iter::once(0)
            .chain(breaks.map(|(at, _)| at.saturating_add(1)))
            .collect();
        Self { text, starts }
    }

    /// The place of a byte.
    fn place(&self, at: usize) -> Place {
        let line = self.starts.partition_point(|start| *start <= at);
        let start = line
            .checked_sub(1)
            .and_then(|line| self.starts.get(line))
            .copied()
            .unwrap_or_default();
        let before = self
            .text
            .get(start..at)
            .map_or(0, |text| text.chars().count());
        Place {
            line: line.max(1),
            column: before.saturating_add(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_know_their_places() {
        let mut problems = Vec::new();
        let text = "z = 1\n[[images]]\nsource = \"é\"\nmin_disk = 40\n";
        let Some(Node {
            value: Value::Table(entries),
            ..
        }) = parse(text, &mut problems)
        else {
            panic!("no table");
        };
        assert_eq!(problems, []);
        assert_eq!(entries[0].0.text, "z");
        let Value::List(images) = &entries[1].1.value else {
            panic!("no list");
        };
        let Value::Table(image) = &images[0].value else {
            panic!("no table");
        };
        assert_eq!(image[1].0.at, Place { line: 4, column: 1 });
        assert_eq!(image[1].1.at.line, 4);
        assert!(matches!(image[1].1.value, Value::Integer(40)));
    }

    #[test]
    fn several_errors_are_told_at_once() {
        let mut problems = Vec::new();
        parse("a = \nb = 1\nb = 2\nc = [\n", &mut problems);
        assert!(problems.len() >= 2, "{problems:?}");
        assert!(problems.iter().all(|problem| problem.line.is_some()));
    }
}
