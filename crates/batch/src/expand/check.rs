//! What makes an item refused by itself, and what only beside the others.

use std::collections::HashMap;

use super::Context;
use crate::document::Place;
use crate::fields::Fields;
use crate::item::{Item, Kind, Role};

/// Longest id in characters: that of an image's name.
const MAX_ID: usize = 128;

impl Context<'_> {
    /// What is wrong with the item itself, as far as this can be told without the image service's
    /// rules.
    pub(super) fn check_item(&mut self, item: &Item, own: &Fields) {
        let place = |key: &str| {
            let field = own.get(key).or_else(|| self.defaults.get(key));
            field.map_or(own.at, |field| field.at)
        };
        let mut found = Vec::new();
        let texts = [
            ("name", Some(&item.name)),
            ("id", Some(&item.id).filter(|id| **id != item.name)),
            ("bucket", Some(&item.bucket)),
            ("key", item.key.as_ref()),
            ("os_version", item.os_version.as_ref()),
            ("description", item.description.as_ref()),
            ("group", item.group.as_ref()),
            ("disk", item.disk.as_ref()),
            ("snapshot", item.snapshot.as_ref()),
            ("allow_backing", item.allow_backing_text.as_ref()),
            ("enterprise_project_id", item.enterprise_project_id.as_ref()),
            ("cmk_id", item.cmk_id.as_ref()),
        ];
        for (key, text) in texts {
            let Some(text) = text else { continue };
            if text == "TODO" || text.starts_with("TODO:") {
                let hint = match key {
                    "os_version" => "imgferry os-versions lists the names that the region knows",
                    "allow_backing" => {
                        "if you trust the image, name the directory of the files that it builds on"
                    }
                    _ => "put the real value in",
                };
                let what = "this is a placeholder".to_owned();
                found.push((key, what, Some(hint)));
            }
            if text
                .chars()
                .any(|c| c.is_control() && !(key == "description" && c == '\n'))
            {
                found.push((key, "there is a control character in it".to_owned(), None));
            }
        }
        for (key, text) in [("name", &item.name), ("id", &item.id)] {
            if text.trim().is_empty() && (key == "name" || item.id != item.name) {
                found.push((key, "it is empty".to_owned(), None));
            }
        }
        if item.id.chars().count() > MAX_ID {
            found.push(("id", format!("it has more than {MAX_ID} characters"), None));
        }
        if item.role == Role::Data && item.kind != Kind::DataImage {
            found.push((
                "type",
                format!(
                    "a data disk has the type DataImage, this one has {}",
                    item.kind
                ),
                None,
            ));
        }
        if item.role == Role::System && item.kind == Kind::DataImage && item.group.is_some() {
            let what = "the system disk of a group has the type DataImage";
            found.push(("type", what.to_owned(), Some("say role: data")));
        }
        if item.backing_format.is_some() && item.allow_backing_text.is_none() {
            let what = "backing_format needs allow_backing";
            found.push(("backing_format", what.to_owned(), None));
        }
        for (key, what, hint) in found {
            let path = format!("{}.{key}", own.path);
            let problem = place(key).problem(&path, what);
            self.problems.push(match hint {
                Some(hint) => problem.hint(hint),
                None => problem,
            });
        }
    }

    /// What is wrong between items.
    pub(super) fn check_all(&mut self) {
        if let Some((at, path, count)) = self.without_bucket.take() {
            let what = match count {
                1 => "there is no bucket".to_owned(),
                count => format!(
                    "there is no bucket, and none for {} more",
                    count.saturating_sub(1)
                ),
            };
            let hint = "say bucket: here or in defaults:";
            self.problems.push(at.problem(&path, what).hint(hint));
        }
        let names = self.items.iter().map(|item| item.name.clone()).collect();
        self.refuse_twice("name", names, |name| format!("{name:?}"));
        let ids = self.items.iter().map(|item| item.id.clone()).collect();
        self.refuse_twice("id", ids, |id| format!("{id:?}"));
        let keys = self
            .items
            .iter()
            .map(|item| format!("obs://{}/{}", item.bucket, item.object_key()))
            .collect();
        self.refuse_twice("key", keys, ToOwned::to_owned);
        self.check_groups();
    }

    fn refuse_twice(&mut self, key: &str, values: Vec<String>, show: fn(&str) -> String) {
        let mut seen: HashMap<&str, (Place, usize)> = HashMap::new();
        for (index, value) in values.iter().enumerate() {
            let (Some((at, path)), Some(item)) = (self.places.get(index), self.items.get(index))
            else {
                continue;
            };
            match seen.get(value.as_str()) {
                None => {
                    seen.insert(value, (*at, index));
                }
                Some((before, first)) => {
                    let first = self.items.get(*first);
                    // Told as a name already.
                    let told = first.is_some_and(|first| {
                        let follows = match key {
                            "id" => true,
                            "key" => item.key.is_none(),
                            _ => false,
                        };
                        follows && first.name == item.name
                    });
                    if told {
                        continue;
                    }
                    let what = match before.line == at.line {
                        true => format!(
                            "{key} {} is that of {:?} too",
                            show(value),
                            first.map(|first| &first.source_text).unwrap_or(value)
                        ),
                        false => format!(
                            "{key} {} is taken on line {} already",
                            show(value),
                            before.line
                        ),
                    };
                    let problem = at.problem(path, what);
                    self.problems.push(problem);
                }
            }
        }
    }

    fn check_groups(&mut self) {
        struct Group {
            first: usize,
            systems: Vec<usize>,
        }
        let mut groups: HashMap<&str, Group> = HashMap::new();
        for (index, item) in self.items.iter().enumerate() {
            let Some(group) = item.group.as_deref() else {
                continue;
            };
            let group = groups.entry(group).or_insert_with(|| Group {
                first: index,
                systems: Vec::new(),
            });
            if item.role == Role::System {
                group.systems.push(index);
            }
        }
        let mut problems = Vec::new();
        for (name, group) in groups {
            let (index, what, hint) = match group.systems.as_slice() {
                [] if self.without_system.contains(name) => continue,
                [] => (
                    group.first,
                    format!("group {name:?} has no system disk"),
                    "leave group out for data disks that belong to no server",
                ),
                [_] => continue,
                [_, second, ..] => (
                    *second,
                    format!("group {name:?} has {} system disks", group.systems.len()),
                    "say role: data for the others, or give each server its own group",
                ),
            };
            if let Some((at, path)) = self.places.get(index) {
                problems.push(at.problem(path, what).hint(hint));
            }
        }
        self.problems.append(&mut problems);
    }
}
