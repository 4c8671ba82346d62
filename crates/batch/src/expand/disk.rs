//! One entry of a manifest to its items.

mod layers;

use std::path::{Path, PathBuf};

use self::layers::{BuiltIn, Layers};
use super::{Context, MAX_ITEMS, fields, list};
use crate::document::{Node, Value};
use crate::fields::{Field, Fields, Raw};
use crate::item::{Holes, IfExists, Item, Kind, Register, Role, Target, VhdBitmap};
use crate::keys;

/// What stands around a disk.
struct Surroundings<'a> {
    /// The server's own keys.
    server: Option<&'a Fields>,
    /// The server's name.
    group: Option<String>,
    role: Option<Role>,
    default_name: Option<String>,
}

/// One file of an entry.
struct Source {
    text: String,
    path: PathBuf,
    /// From 1.
    number: usize,
}

impl Context<'_> {
    pub(super) fn images(&mut self, node: &Node) {
        for (index, node) in list("images", node, self.problems).iter().enumerate() {
            let path = format!("images[{index}]");
            let own = self.disk_fields(&path, node, keys::ITEM.iter().collect());
            let around = Surroundings {
                server: None,
                group: None,
                role: None,
                default_name: None,
            };
            self.disk(&own, &around);
        }
    }

    pub(super) fn servers(&mut self, node: &Node) {
        for (index, node) in list("servers", node, self.problems).iter().enumerate() {
            let path = format!("servers[{index}]");
            self.server(&path, node);
        }
    }

    fn server(&mut self, path: &str, node: &Node) {
        let specs = keys::item_without(keys::NOT_IN_SERVER);
        let server = fields(path, node, &specs, keys::SERVER, self.problems);
        let Value::Table(entries) = &node.value else {
            return;
        };
        let part = |name: &str| {
            entries
                .iter()
                .find(|(key, _)| key.text == name)
                .map(|(_, node)| node)
        };
        let name = self.own_text(&server, "name", &BuiltIn::new());
        if !server.says("name") {
            let what = "the server has no name";
            self.problems.push(server.at.problem(path, what));
        }
        // Disks of a server without a name are looked at all the same.
        let name = name.unwrap_or_else(|| path.to_owned());
        let specs = keys::item_without(keys::NOT_IN_DISK);
        match part("system") {
            None => {
                let what = "the server has no system disk";
                let hint = "add system:, or list its data disks under images: with type: DataImage";
                self.problems.push(server.at.problem(path, what).hint(hint));
                self.without_system.insert(name.clone());
            }
            Some(node) => {
                let own = self.disk_fields(&format!("{path}.system"), node, specs.clone());
                let around = Surroundings {
                    server: Some(&server),
                    group: Some(name.clone()),
                    role: Some(Role::System),
                    default_name: Some(name.clone()),
                };
                self.disk(&own, &around);
            }
        }
        let Some(data) = part("data") else {
            return;
        };
        let data_path = format!("{path}.data");
        for (index, node) in list(&data_path, data, self.problems).iter().enumerate() {
            let own = self.disk_fields(&format!("{data_path}[{index}]"), node, specs.clone());
            let number = index.saturating_add(1);
            let around = Surroundings {
                server: Some(&server),
                group: Some(name.clone()),
                role: Some(Role::Data),
                default_name: Some(format!("{name}-data{number}")),
            };
            self.disk(&own, &around);
        }
    }

    /// The keys of a disk; a text alone is its source.
    fn disk_fields(&mut self, path: &str, node: &Node, specs: Vec<&'static keys::Spec>) -> Fields {
        if let Value::Text(text) = &node.value {
            let mut own = Fields::new(path, node.at);
            own.put_text("source", node.at, text.clone());
            return own;
        }
        fields(path, node, &specs, &[], self.problems)
    }

    fn disk(&mut self, own: &Fields, around: &Surroundings<'_>) {
        let mut built_in = BuiltIn::new();
        if let Some(group) = &around.group {
            built_in.insert("server", group.clone());
        }
        if !own.says("source") {
            let what = "there is no source: which disk image is it?";
            self.problems.push(own.at.problem(&own.path, what));
            return;
        }
        let Some(text) = self.own_text(own, "source", &built_in) else {
            return;
        };
        let at = own.get("source").map_or(own.at, |field| field.at);
        let path = format!("{}.source", own.path);
        let is_pattern = self.is_pattern(&text);
        if is_pattern && around.server.is_some() {
            let what = "a server's disk is one file, and this is a pattern";
            self.problems.push(at.problem(&path, what));
            return;
        }
        let sources = match is_pattern {
            true => {
                if !self.names_vary(own) {
                    return;
                }
                let mut number = 0_usize;
                self.matching(&text, at, &path)
                    .into_iter()
                    .map(|(text, path)| {
                        number = number.saturating_add(1);
                        Source { text, path, number }
                    })
                    .collect()
            }
            false => {
                self.check_source(&text, at, &path);
                let path = self.resolve(&text);
                vec![Source {
                    text,
                    path,
                    number: 1,
                }]
            }
        };
        for source in sources {
            if self.items.len() >= MAX_ITEMS {
                if !self.is_full {
                    self.is_full = true;
                    let what = format!("more than {MAX_ITEMS} items");
                    let hint = "cut the batch into several manifests";
                    self.problems.push(at.problem(&own.path, what).hint(hint));
                }
                return;
            }
            self.item(own, around, source, built_in.clone());
        }
    }

    /// Whether what a pattern finds does not all get one name.
    fn names_vary(&mut self, own: &Fields) -> bool {
        let mut vary = true;
        for (key, varying) in [
            ("name", ["${stem}", "${n}"].as_slice()),
            ("key", &["${stem}", "${n}", "${name}"]),
            ("id", &["${stem}", "${n}", "${name}"]),
        ] {
            let Some(Field {
                at,
                raw: Raw::Text(text),
            }) = own.get(key)
            else {
                continue;
            };
            if !varying.iter().any(|variable| text.contains(variable)) {
                let path = format!("{}.{key}", own.path);
                let what = format!(
                    "the source is a pattern, and every file would get this {key}: expected {} in it",
                    varying.join(" or ")
                );
                self.problems.push(at.problem(&path, what));
                vary = false;
            }
        }
        vary
    }

    fn item(
        &mut self,
        own: &Fields,
        around: &Surroundings<'_>,
        source: Source,
        mut built_in: BuiltIn,
    ) {
        let stem = Path::new(&source.text)
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        built_in.insert("stem", stem.clone());
        built_in.insert("n", source.number.to_string());
        let own_kind = self
            .own_text(own, "type", &built_in)
            .and_then(|text| Kind::from_word(&text));
        let own_role = self
            .own_text(own, "role", &built_in)
            .and_then(|text| Role::from_word(&text));
        let role = around.role.or(own_role).unwrap_or(match own_kind {
            Some(Kind::DataImage) => Role::Data,
            _ => Role::System,
        });
        // A clone, because looking values up tells problems.
        let defaults = self.defaults.clone();
        let mut outer = Vec::new();
        outer.extend(around.server);
        outer.push(&defaults);
        let mut layers = Layers {
            context: self,
            own,
            outer: &outer,
            role,
            built_in,
        };
        // The server's name is not that of each of its images.
        let name = layers
            .named()
            .or_else(|| around.default_name.clone())
            .unwrap_or(stem);
        layers.built_in.insert("name", name.clone());
        let id = layers.own_text("id").unwrap_or_else(|| name.clone());
        let group = around.group.clone().or_else(|| layers.own_text("group"));
        let allow_backing_text = layers.text("allow_backing");
        let bucket = layers.text("bucket");
        let kind = match role {
            Role::Data => own_kind.unwrap_or(Kind::DataImage),
            Role::System => layers.word("type", Kind::from_word).unwrap_or(Kind::Ecs),
        };
        let item = Item {
            id,
            group,
            role,
            source: source.path,
            source_text: source.text,
            format: layers.text("format").map(|text| text.to_ascii_lowercase()),
            snapshot: layers.own_text("snapshot"),
            allow_backing: None,
            allow_backing_text: None,
            backing_format: layers
                .text("backing_format")
                .map(|text| text.to_ascii_lowercase()),
            name,
            bucket: bucket.clone().unwrap_or_default(),
            key: layers.text("key"),
            os_version: layers.text("os_version"),
            os_type: layers.word("os_type", crate::item::OsFamily::from_word),
            kind,
            min_disk: layers
                .integer("min_disk")
                .and_then(|number| u32::try_from(number).ok()),
            description: layers.text("description"),
            tags: layers.tags(),
            architecture: layers.word("architecture", crate::item::Architecture::from_word),
            firmware: layers.word("firmware", crate::item::Firmware::from_word),
            enterprise_project_id: layers.text("enterprise_project_id"),
            to: layers
                .word("to", Target::from_word)
                .unwrap_or(Target::Zvhd2),
            level: layers.level("level"),
            holes: layers
                .word("holes", Holes::from_word)
                .unwrap_or(Holes::Trust),
            vhd_bitmap: layers.word("vhd_bitmap", VhdBitmap::from_word),
            register: layers
                .word("register", Register::from_word)
                .unwrap_or(Register::Auto),
            prepare: layers.switch("prepare"),
            cmk_id: layers.text("cmk_id"),
            if_exists: layers
                .word("if_exists", IfExists::from_word)
                .unwrap_or(IfExists::Adopt),
            skip_check: layers.texts("skip_check"),
            line: own.at.line,
        };
        let item = Item {
            allow_backing: allow_backing_text.as_deref().map(|text| self.resolve(text)),
            allow_backing_text,
            ..item
        };
        if bucket.is_none() {
            let place = own.at;
            let first = self
                .without_bucket
                .get_or_insert_with(|| (place, own.path.clone(), 0));
            first.2 = first.2.saturating_add(1);
        }
        self.check_item(&item, own);
        self.places.push((own.at, own.path.clone()));
        self.items.push(item);
    }
}
