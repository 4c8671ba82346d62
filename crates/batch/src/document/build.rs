//! Makes a document of what a parser finds, in the order of the text, and keeps it within limits.

use std::collections::HashMap;

use super::{Key, MAX_DEPTH, MAX_NODES, Node, Place, Value};
use crate::problem::Problem;

/// A document that is being read. Whatever returns `None` is done with it.
pub(super) struct Builder<'a> {
    /// The lists and tables that have begun, and what comes next in each table.
    open: Vec<(Node, Next)>,
    root: Option<Node>,
    nodes: usize,
    pub(super) problems: &'a mut Vec<Problem>,
}

/// What comes next in a table.
enum Next {
    Key,
    ValueOf(Key),
    /// The value of a key that was refused, which is dropped.
    Dropped,
}

impl<'a> Builder<'a> {
    pub(super) fn new(problems: &'a mut Vec<Problem>) -> Self {
        Self {
            open: Vec::new(),
            root: None,
            nodes: 0,
            problems,
        }
    }

    /// Whether a key comes next.
    pub(super) fn wants_key(&self) -> bool {
        let open = self.open.last();
        open.is_some_and(|(node, next)| matches!((&node.value, next), (Value::Table(_), Next::Key)))
    }

    /// A key of the table that has begun.
    pub(super) fn key(&mut self, found: Key) {
        if let Some((_, next)) = self.open.last_mut() {
            *next = Next::ValueOf(found);
        }
    }

    /// An empty list or table begins.
    pub(super) fn begin(&mut self, at: Place, value: Value) -> Option<()> {
        self.open.push((Node { at, value }, Next::Key));
        if self.open.len() <= MAX_DEPTH {
            return Some(());
        }
        let what = format!(
            "lists and tables are nested more than {MAX_DEPTH} deep, which no manifest needs"
        );
        self.problems.push(at.problem("", what));
        None
    }

    /// The list or table ends that began last.
    pub(super) fn end(&mut self) -> Option<()> {
        let (mut node, _) = self.open.pop()?;
        if let Value::Table(entries) = &mut node.value {
            let mut lines = HashMap::new();
            entries.retain(|(Key { at, text }, _)| {
                let line = *lines.entry(text.clone()).or_insert(*at);
                if line != *at {
                    let line = line.line;
                    let what =
                        format!("{text:?} stands here again; it stands on line {line} already");
                    self.problems.push(at.problem("", what));
                }
                line == *at
            });
        }
        self.add(node.at, node.value)
    }

    /// A value that is whole.
    pub(super) fn add(&mut self, at: Place, value: Value) -> Option<()> {
        self.nodes = self.nodes.saturating_add(1);
        if self.nodes > MAX_NODES {
            let what = format!("more than {MAX_NODES} values");
            self.problems.push(at.problem("", what));
            return None;
        }
        let node = Node { at, value };
        match self.open.last_mut() {
            Some((
                Node {
                    value: Value::Table(entries),
                    ..
                },
                next,
            )) => match std::mem::replace(next, Next::Key) {
                Next::ValueOf(key) => entries.push((key, node)),
                Next::Dropped => {}
                // A list, a table or an alias where a key stands.
                Next::Key => {
                    if !matches!(node.value, Value::Refused) {
                        let what = format!("{} stands where a key is expected", node.value.kind());
                        self.problems.push(at.problem("", what));
                    }
                    *next = Next::Dropped;
                }
            },
            Some((
                Node {
                    value: Value::List(nodes),
                    ..
                },
                _,
            )) => nodes.push(node),
            _ => self.root = Some(node),
        }
        Some(())
    }

    /// The document. What an error left open is part of it: more can be wrong with it.
    pub(super) fn finish(mut self) -> Option<Node> {
        while self.nodes <= MAX_NODES && self.end().is_some() {}
        self.root
    }
}
