//! A document as it stands: values with their places, whatever the notation.

mod build;
mod toml;
mod yaml;

use std::path::Path;

use crate::problem::Problem;

/// Deepest nesting of lists and tables. Ours: a manifest needs five.
const MAX_DEPTH: usize = 32;
/// Most values in a document. Ours: 10,000 images with thirty keys each.
const MAX_NODES: usize = 400_000;

/// The notation of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notation {
    /// YAML 1.2.
    Yaml,
    /// JSON, which is read as the part of YAML that it is.
    Json,
    /// TOML 1.1.
    Toml,
}

/// Line and column, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl Place {
    /// A problem here.
    pub(crate) fn problem(self, path: &str, what: impl Into<String>) -> Problem {
        let problem = Problem::new(what).at(self.line, self.column);
        match path {
            "" => problem,
            path => problem.about(path),
        }
    }
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) at: Place,
    pub(crate) value: Value,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    /// Any other number, as it is written.
    Number(String),
    Text(String),
    List(Vec<Node>),
    /// In the order in which they stand; keys are unique.
    Table(Vec<(Key, Node)>),
    /// Something that was refused already.
    Refused,
}

#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) at: Place,
    pub(crate) text: String,
}

impl Notation {
    /// That of the file at `path`, by its extension.
    pub(crate) fn of(path: &Path) -> Self {
        let is = |extension: &str| {
            let found = path.extension();
            found.is_some_and(|found| found.eq_ignore_ascii_case(extension))
        };
        match (is("toml"), is("json")) {
            (true, _) => Self::Toml,
            (_, true) => Self::Json,
            _ => Self::Yaml,
        }
    }

    /// Its name.
    const fn name(self) -> &'static str {
        match self {
            Self::Yaml => "YAML",
            Self::Json => "JSON",
            Self::Toml => "TOML",
        }
    }

    /// The problem of a text that is not written in it.
    fn broken(self, at: Place, why: &str) -> Problem {
        at.problem("", format!("not valid {}: {why}", self.name()))
    }
}

impl Value {
    /// What it is, in messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "true or false",
            Self::Integer(_) | Self::Number(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Refused => "something that is refused",
        }
    }
}

/// Reads `text`. What is wrong goes to `problems`; what could be read is returned all the same.
pub(crate) fn parse(text: &str, notation: Notation, problems: &mut Vec<Problem>) -> Option<Node> {
    match notation {
        Notation::Yaml | Notation::Json => yaml::parse(text, notation, problems),
        Notation::Toml => toml::parse(text, problems),
    }
}
