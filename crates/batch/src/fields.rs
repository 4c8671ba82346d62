//! The keys of one table of a manifest, each of the form that it must have.

use std::collections::BTreeMap;

use crate::document::{Key, Node, Place, Value};
use crate::item::Level;
use crate::keys::{Form, Spec, is_secret};
use crate::problem::Problem;
use crate::size::parse_size;
use nearest::did_you_mean;

/// A value of the right form, or a text with variables that becomes one.
#[derive(Clone, Debug)]
pub(crate) enum Raw {
    /// `null`: what defaults say does not count.
    Unset,
    Text(String),
    Integer(i64),
    Switch(bool),
    Table(Vec<(Key, String)>),
    Texts(Vec<String>),
}

#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) at: Place,
    pub(crate) raw: Raw,
}

/// The keys that stand in a table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields {
    /// What the table is, such as `images[3]`.
    pub(crate) path: String,
    pub(crate) at: Place,
    map: BTreeMap<&'static str, Field>,
}

impl Fields {
    pub(crate) fn new(path: impl Into<String>, at: Place) -> Self {
        Self {
            path: path.into(),
            at,
            map: BTreeMap::new(),
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Field> {
        self.map.get(key)
    }

    /// Whether the key has a value here.
    pub(crate) fn says(&self, key: &str) -> bool {
        let field = self.map.get(key);
        field.is_some_and(|field| !matches!(field.raw, Raw::Unset))
    }

    pub(crate) fn put_text(&mut self, key: &'static str, at: Place, text: String) {
        let raw = Raw::Text(text);
        self.map.insert(key, Field { at, raw });
    }

    /// Reads the entry, if its key is one of `specs`. Whether it is.
    pub(crate) fn read(
        &mut self,
        specs: &[&'static Spec],
        key: &Key,
        node: &Node,
        problems: &mut Vec<Problem>,
    ) -> bool {
        let Some(spec) = specs.iter().find(|spec| spec.key == key.text) else {
            return false;
        };
        let path = format!("{}.{}", self.path, spec.key);
        if let Some(raw) = raw(spec.form, node, &path, problems) {
            self.map.insert(spec.key, Field { at: node.at, raw });
        }
        true
    }
}

/// A key that nobody knows. Its value is never quoted: it may be a secret at the wrong place.
pub(crate) fn unknown<'a>(
    key: &Key,
    path: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Problem {
    if is_secret(&key.text) {
        return key
            .at
            .problem(path, format!("unknown key {:?}: a manifest holds no secrets", key.text))
            .hint("credentials come from the environment or the configuration file: imgferry config check");
    }
    let near = did_you_mean(&key.text, known);
    if key.text == "force" {
        let what = "\"force\" is no key of a manifest any more";
        return key.at.problem(path, what).hint("set if_exists: replace");
    }
    key.at
        .problem(path, format!("unknown key {:?}{near}", key.text))
}

/// The value, if it has the form. A text with variables may become any scalar.
fn raw(form: Form, node: &Node, path: &str, problems: &mut Vec<Problem>) -> Option<Raw> {
    let has_variable = matches!(&node.value, Value::Text(text) if text.contains("${"));
    let found = node.value.kind();
    let mut wrong = |at: Place, what: String| {
        problems.push(at.problem(path, what));
        None
    };
    match (form, &node.value) {
        (_, Value::Refused) => None,
        (_, Value::Null) => Some(Raw::Unset),
        (
            Form::Text | Form::Member | Form::Words(_) | Form::Size | Form::Rate,
            Value::Text(text),
        ) => {
            if has_variable {
                return Some(Raw::Text(text.clone()));
            }
            match form {
                Form::Words(words) => match word(words, text) {
                    Ok(_) => Some(Raw::Text(text.clone())),
                    Err(what) => wrong(node.at, what),
                },
                Form::Size | Form::Rate => match size(form, text) {
                    Ok(bytes) => Some(Raw::Integer(bytes)),
                    Err(what) => wrong(node.at, what),
                },
                _ => Some(Raw::Text(text.clone())),
            }
        }
        (Form::Integer { .. } | Form::Switch | Form::Level, Value::Text(text)) if has_variable => {
            Some(Raw::Text(text.clone()))
        }
        (Form::Level, Value::Text(text)) if text.eq_ignore_ascii_case(Level::AUTO) => {
            Some(Raw::Text(text.clone()))
        }
        (Form::Level, Value::Integer(number)) => match in_range(*number, LEVELS) {
            Ok(number) => Some(Raw::Integer(number)),
            Err(what) => wrong(node.at, what),
        },
        (Form::Integer { .. }, Value::Integer(number)) => match in_range(*number, form) {
            Ok(number) => Some(Raw::Integer(number)),
            Err(what) => wrong(node.at, what),
        },
        (Form::Size | Form::Rate, Value::Integer(number)) if *number > 0 => {
            Some(Raw::Integer(*number))
        }
        (Form::Member, Value::Integer(number)) if *number > 0 => {
            Some(Raw::Text(number.to_string()))
        }
        (Form::Switch, Value::Bool(value)) => Some(Raw::Switch(*value)),
        (Form::Table, Value::Table(entries)) => {
            let mut table = Vec::new();
            for (key, value) in entries {
                match &value.value {
                    Value::Text(text) => table.push((key.clone(), text.clone())),
                    Value::Refused => {}
                    other => {
                        wrong(
                            value.at,
                            format!("{} is {}, expected text in quotes", key.text, other.kind()),
                        );
                    }
                }
            }
            Some(Raw::Table(table))
        }
        (Form::Texts, Value::List(nodes)) => {
            let mut texts = Vec::new();
            for node in nodes {
                match &node.value {
                    Value::Text(text) => texts.push(text.clone()),
                    Value::Refused => {}
                    other => {
                        wrong(
                            node.at,
                            format!("found {} in the list, expected text", other.kind()),
                        );
                    }
                }
            }
            Some(Raw::Texts(texts))
        }
        (form, _) => wrong(
            node.at,
            format!("found {found}, expected {}", expected(form)),
        ),
    }
}

fn expected(form: Form) -> String {
    match form {
        Form::Text => "text in quotes".to_owned(),
        Form::Words(words) => format!("one of {}", words.join(", ")),
        Form::Integer { least, most } if most < i64::from(u32::MAX) => {
            format!("a whole number from {least} to {most}")
        }
        Form::Integer { least, .. } => format!("a whole number from {least}"),
        Form::Switch => "true or false".to_owned(),
        Form::Table => "a table of texts, such as {env: prod}".to_owned(),
        Form::Texts => "a list of texts".to_owned(),
        Form::Member => "the name of a file in quotes, or a whole number from 1".to_owned(),
        Form::Size => "a size, such as 512MiB or 2G".to_owned(),
        Form::Rate => "a rate, such as 50M (bytes per second)".to_owned(),
        Form::Level => format!("{}, or {}", Level::AUTO, expected(LEVELS)),
    }
}

/// The numbers that are levels.
const LEVELS: Form = Form::Integer {
    least: zvhd2::MIN_LEVEL as i64,
    most: zvhd2::MAX_LEVEL as i64,
};

/// The level in a text.
pub(crate) fn level(text: &str) -> Result<Level, String> {
    let text = text.trim();
    if text.eq_ignore_ascii_case(Level::AUTO) {
        return Ok(Level::Auto);
    }
    let wrong = || format!("found {text:?}, expected {}", expected(Form::Level));
    let number = text.parse().map_err(|_| wrong())?;
    in_range(number, LEVELS).and_then(|number| Level::of(number).ok_or_else(wrong))
}

/// The word as it is told, of whatever case.
pub(crate) fn word(words: &'static [&'static str], text: &str) -> Result<&'static str, String> {
    words
        .iter()
        .find(|word| word.eq_ignore_ascii_case(text))
        .copied()
        .ok_or_else(|| {
            let near = did_you_mean(text, words.iter().copied());
            format!("found {text:?}, expected one of {}{near}", words.join(", "))
        })
}

/// The number in a text that had variables.
pub(crate) fn integer(form: Form, text: &str) -> Result<i64, String> {
    let Form::Integer { .. } = form else {
        return size(form, text);
    };
    let number = text
        .trim()
        .parse()
        .map_err(|_| format!("found {text:?}, expected {}", expected(form)))?;
    in_range(number, form)
}

/// true or false in a text that had variables.
pub(crate) fn switch(text: &str) -> Result<bool, String> {
    text.trim()
        .parse()
        .map_err(|_| format!("found {text:?}, expected true or false"))
}

/// `number`, if `form` takes it.
fn in_range(number: i64, form: Form) -> Result<i64, String> {
    if matches!(form, Form::Integer { least, most } if (least..=most).contains(&number)) {
        return Ok(number);
    }
    Err(format!("found {number}, expected {}", expected(form)))
}

fn size(form: Form, text: &str) -> Result<i64, String> {
    let text = match form {
        Form::Rate => text.trim().strip_suffix("/s").unwrap_or(text),
        _ => text,
    };
    parse_size(text)
        .and_then(|bytes| i64::try_from(bytes).ok())
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| format!("found {text:?}, expected {}", expected(form)))
}
