//! The values of one item, from the innermost table that has them.

use std::collections::BTreeMap;

use crate::document::Place;
use crate::expand::Context;
use crate::fields::{Field, Fields, Raw, integer, level, switch, word};
use crate::item::{Level, Role};
use crate::keys::{self, Form};

/// Names that are known while an item is made.
pub(super) type BuiltIn = BTreeMap<&'static str, String>;

/// Where the values of one item are looked for: its own, its server's, the defaults.
pub(super) struct Layers<'c, 'p, 'f> {
    pub(super) context: &'c mut Context<'p>,
    pub(super) own: &'f Fields,
    pub(super) outer: &'f [&'f Fields],
    pub(super) role: Role,
    pub(super) built_in: BuiltIn,
}

impl<'f> Layers<'_, '_, 'f> {
    /// The value that counts, and the table that it stands in.
    pub(super) fn find(&self, key: &str) -> Option<(&'f Fields, &'f Field)> {
        let of_its_own = self.role == Role::Data && keys::NOT_FOR_DATA.contains(&key);
        let outer = self.outer.iter().copied().filter(|_| !of_its_own);
        let found = std::iter::once(self.own)
            .chain(outer)
            .find_map(|fields| Some((fields, fields.get(key)?)));
        found.filter(|(_, field)| !matches!(field.raw, Raw::Unset))
    }

    pub(super) fn own_text(&mut self, key: &str) -> Option<String> {
        self.context.own_text(self.own, key, &self.built_in)
    }

    /// The name that the disk or the defaults give; the server's is not its disks'.
    pub(super) fn named(&mut self) -> Option<String> {
        let defaults = self.outer.last().copied();
        let fields = std::iter::once(self.own)
            .chain(defaults)
            .find(|fields| fields.get("name").is_some())?;
        self.context.own_text(fields, "name", &self.built_in)
    }

    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        let (fields, _) = self.find(key)?;
        self.context.own_text(fields, key, &self.built_in)
    }

    pub(super) fn word<T>(&mut self, key: &'static str, of: fn(&str) -> Option<T>) -> Option<T> {
        let (fields, field) = self.find(key)?;
        let text = self.context.own_text(fields, key, &self.built_in)?;
        // Only a word with variables was not looked at before.
        if let Some(Form::Words(words)) = form(key)
            && let Err(what) = word(words, &text)
        {
            self.wrong(fields, field, key, what);
        }
        of(&text)
    }

    pub(super) fn integer(&mut self, key: &'static str) -> Option<i64> {
        let (fields, field) = self.find(key)?;
        match &field.raw {
            Raw::Integer(number) => Some(*number),
            Raw::Text(_) => {
                let text = self.context.own_text(fields, key, &self.built_in)?;
                let number = integer(form(key)?, &text);
                number
                    .map_err(|what| self.wrong(fields, field, key, what))
                    .ok()
            }
            _ => None,
        }
    }

    pub(super) fn level(&mut self, key: &'static str) -> Option<Level> {
        let (fields, field) = self.find(key)?;
        match &field.raw {
            Raw::Integer(number) => Level::of(*number),
            Raw::Text(_) => {
                let text = self.context.own_text(fields, key, &self.built_in)?;
                level(&text)
                    .map_err(|what| self.wrong(fields, field, key, what))
                    .ok()
            }
            _ => None,
        }
    }

    pub(super) fn switch(&mut self, key: &'static str) -> bool {
        let Some((fields, field)) = self.find(key) else {
            return false;
        };
        match &field.raw {
            Raw::Switch(value) => *value,
            Raw::Text(_) => {
                let text = self.context.own_text(fields, key, &self.built_in);
                text.and_then(|text| {
                    switch(&text)
                        .map_err(|what| self.wrong(fields, field, key, what))
                        .ok()
                })
                .unwrap_or_default()
            }
            _ => false,
        }
    }

    pub(super) fn texts(&mut self, key: &'static str) -> Vec<String> {
        let Some((fields, field)) = self.find(key) else {
            return Vec::new();
        };
        let Raw::Texts(texts) = &field.raw else {
            return Vec::new();
        };
        let path = format!("{}.{key}", fields.path);
        texts
            .iter()
            .filter_map(|text| self.context.put_in(text, field.at, &path, &self.built_in))
            .collect()
    }

    /// The tags of all layers; a nearer one counts more.
    pub(super) fn tags(&mut self) -> Vec<(String, String)> {
        let mut tags: Vec<(String, String)> = Vec::new();
        let layers = self.outer.iter().rev().copied().chain([self.own]);
        for fields in layers {
            let Some(field) = fields.get("tags") else {
                continue;
            };
            let path = format!("{}.tags", fields.path);
            match &field.raw {
                Raw::Unset => tags.clear(),
                Raw::Table(entries) => {
                    for (key, text) in entries {
                        let Some(value) = self.context.put_in(text, key.at, &path, &self.built_in)
                        else {
                            continue;
                        };
                        match tags.iter_mut().find(|(known, _)| *known == key.text) {
                            Some((_, known)) => *known = value,
                            None => tags.push((key.text.clone(), value)),
                        }
                    }
                }
                _ => {}
            }
        }
        tags
    }

    pub(super) fn wrong(&mut self, fields: &Fields, field: &Field, key: &str, what: String) {
        let path = format!("{}.{key}", fields.path);
        self.context.problems.push(field.at.problem(&path, what));
    }
}

fn form(key: &str) -> Option<Form> {
    let spec = keys::ITEM.iter().find(|spec| spec.key == key)?;
    Some(spec.form)
}

impl Context<'_> {
    /// A text of `fields` with its variables.
    pub(super) fn own_text(
        &mut self,
        fields: &Fields,
        key: &str,
        built_in: &BuiltIn,
    ) -> Option<String> {
        let field = fields.get(key)?;
        let Raw::Text(text) = &field.raw else {
            return None;
        };
        let path = format!("{}.{key}", fields.path);
        self.put_in(text, field.at, &path, built_in)
    }

    pub(super) fn put_in(
        &mut self,
        text: &str,
        at: Place,
        path: &str,
        built_in: &BuiltIn,
    ) -> Option<String> {
        match self.vars.substitute(text, built_in) {
            Ok(text) => Some(text),
            Err((what, hint)) => {
                let problem = at.problem(path, what);
                self.problems.push(match hint {
                    Some(hint) => problem.hint(hint),
                    None => problem,
                });
                None
            }
        }
    }
}
