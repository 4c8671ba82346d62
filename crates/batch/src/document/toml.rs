//! TOML, from the parser's document, which keeps places.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::build::Builder;
use super::{Key, Node, Notation, Place, Value};
use crate::problem::Problem;

pub(super) fn parse(text: &str, problems: &mut Vec<Problem>) -> Option<Node> {
    let lines = Lines::of(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let at = error.span().map_or(0, |span| span.start);
        problems.push(Notation::Toml.broken(lines.place(at), error.message()));
    }
    let mut reader = Reader {
        builder: Builder::new(problems),
        lines,
    };
    // When it stops, it has said why.
    let _ = reader.table(Place { line: 1, column: 1 }, table.get_ref());
    reader.builder.finish()
}

struct Reader<'a, 'p> {
    builder: Builder<'p>,
    lines: Lines<'a>,
}

impl Reader<'_, '_> {
    fn table(&mut self, at: Place, table: &DeTable<'_>) -> Option<()> {
        let mut entries: Vec<_> = table.iter().collect();
        // As they stand in the file, not by name.
        entries.sort_by_key(|(key, _)| key.span().start);
        self.builder.begin(at, Value::Table(Vec::new()))?;
        for (key, value) in entries {
            self.builder.key(Key {
                at: self.lines.place(key.span().start),
                text: key.get_ref().to_string(),
            });
            self.value(value)?;
        }
        self.builder.end()
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>) -> Option<()> {
        let at = self.lines.place(value.span().start);
        let value = match value.get_ref() {
            DeValue::Table(table) => return self.table(at, table),
            DeValue::Array(values) => {
                self.builder.begin(at, Value::List(Vec::new()))?;
                for value in values {
                    self.value(value)?;
                }
                return self.builder.end();
            }
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
                let problem = at.problem("", "found a date, and no key takes one");
                let problems = &mut self.builder.problems;
                problems.push(problem.hint("put text in quotes"));
                Value::Refused
            }
        };
        self.builder.add(at, value)
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
