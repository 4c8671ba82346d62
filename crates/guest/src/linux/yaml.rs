//! YAML as a tree with lines, as netplan and cloud-init write it. Bounded: little depth, and aliases
//! stay what they are.

use granit_parser::{Event, Parser};

/// Nesting of lists and mappings.
const MAX_DEPTH: usize = 32;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// Line where it begins, from 1.
    pub(crate) line: u32,
    pub(crate) value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Scalar(String),
    List(Vec<Node>),
    /// Keys with their lines.
    Map(Vec<(String, u32, Node)>),
    /// `*name`: the same as another value, which is not looked up.
    Alias,
}

impl Node {
    /// The value of `key` and the line of the key; of several the last one.
    pub(crate) fn entry(&self, key: &str) -> Option<(u32, &Self)> {
        let Value::Map(entries) = &self.value else {
            return None;
        };
        entries
            .iter()
            .rev()
            .find(|(name, ..)| name == key)
            .map(|(_, line, node)| (*line, node))
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|(_, node)| node)
    }

    pub(crate) fn entries(&self) -> &[(String, u32, Self)] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    pub(crate) fn items(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// An error when some of the value stands elsewhere.
    pub(crate) fn whole(&self) -> Result<(), String> {
        match &self.value {
            Value::Scalar(_) => Ok(()),
            Value::List(items) => items.iter().try_for_each(Self::whole),
            Value::Map(entries) => entries.iter().try_for_each(|(_, _, node)| node.whole()),
            Value::Alias => Err(format!("line {}: aliases (*name) are not read", self.line)),
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(text) => Some(text),
            _ => None,
        }
    }
}

/// What is being read, from the outside to the inside.
struct Open {
    node: Node,
    key: Option<(String, u32)>,
}

/// The first document of `text`; `None` when it is empty.
pub(crate) fn parse(text: &[u8]) -> Result<Option<Node>, String> {
    let text = std::str::from_utf8(text).map_err(|error| error.to_string())?;
    let options = granit_parser::options! {
        emit_comments: false,
        emit_unresolved_aliases: true,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    let mut open: Vec<Open> = Vec::new();
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) =
            event.map_err(|error| format!("line {}: {}", error.marker().line(), error.info()))?;
        let line = u32::try_from(span.start.line()).unwrap_or(u32::MAX);
        let value = match event {
            Event::Scalar(text, ..) => Value::Scalar(text.into_owned()),
            Event::SequenceStart(..) => {
                begin(&mut open, line, Value::List(Vec::new()))?;
                continue;
            }
            Event::MappingStart(..) => {
                begin(&mut open, line, Value::Map(Vec::new()))?;
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open { node, .. }) => match add(&mut open, node)? {
                    Some(whole) => return Ok(Some(whole)),
                    None => continue,
                },
                None => continue,
            },
            Event::Alias(_) | Event::UnresolvedAlias(_) => Value::Alias,
            _ => continue,
        };
        if let Some(whole) = add(&mut open, Node { line, value })? {
            return Ok(Some(whole));
        }
    }
    Ok(None)
}

fn begin(open: &mut Vec<Open>, line: u32, value: Value) -> Result<(), String> {
    if open.len() == MAX_DEPTH {
        return Err(format!("line {line}: more than {MAX_DEPTH} levels"));
    }
    let node = Node { line, value };
    open.push(Open { node, key: None });
    Ok(())
}

/// Puts `node` where it belongs; gives it back when it is the whole document.
fn add(open: &mut [Open], node: Node) -> Result<Option<Node>, String> {
    let Some(Open { node: outer, key }) = open.last_mut() else {
        return Ok(Some(node));
    };
    match (&mut outer.value, key.take()) {
        (Value::List(items), _) => items.push(node),
        (Value::Map(entries), Some((name, line))) => entries.push((name, line, node)),
        (Value::Map(_), None) => match node.value {
            Value::Scalar(text) => *key = Some((text, node.line)),
            _ => return Err(format!("line {}: a key is not text", node.line)),
        },
        (Value::Scalar(_) | Value::Alias, _) => {}
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_items_know_their_lines() {
        let text = b"# first\nnetwork:\n  ethernets:\n    a:\n      match: {name: 'e*'}\n      addresses:\n        - 192.0.2.1/24\n";
        let node = parse(text).unwrap().unwrap();
        let a = node.get("network").unwrap().get("ethernets").unwrap();
        let (line, a) = a.entry("a").unwrap();
        assert_eq!(line, 4);
        assert_eq!(
            a.get("match").unwrap().get("name").unwrap().text(),
            Some("e*")
        );
        let (line, addresses) = a.entry("addresses").unwrap();
        assert_eq!((line, addresses.items()[0].line), (6, 7));
        assert_eq!(parse(b"# nothing\n").unwrap(), None);
        assert_eq!(
            parse(b"---\na: 1\n...\n").unwrap().unwrap().entries().len(),
            1
        );
    }

    #[test]
    fn aliases_concern_only_the_values_that_they_stand_in() {
        let node = parse(b"a: &x 1\nb: [*x]\n").unwrap().unwrap();
        assert_eq!(node.get("a").unwrap().whole(), Ok(()));
        let error = node.get("b").unwrap().whole().unwrap_err();
        assert!(error.contains("line 2"), "{error}");
        assert!(parse(b"a: &x 1\n? *x\n: 2\n").is_err(), "as a key");
    }

    #[test]
    fn depth_and_nonsense_are_refused() {
        assert!(parse(&[b'['; 100]).is_err());
        assert!(parse("- ".repeat(100).as_bytes()).is_err());
        assert!(parse(b"a: [1\nb: }").is_err());
        assert!(parse(b"\xff: 1").is_err());
        assert!(parse(b"? [a]\n: b\n").is_err());
    }
}
