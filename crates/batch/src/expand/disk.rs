//! One entry of a manifest to its items.

mod layers;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use self::layers::{BuiltIn, Layers};
use super::{Context, MAX_ITEMS, fields, list};
use crate::document::{Node, Value};
use crate::fields::{Field, Fields, Raw};
use crate::item::{
    Architecture, Firmware, Holes, IfExists, Item, Kind, OsFamily, Register, Role, Target,
    VhdBitmap,
};
use crate::keys;
use crate::problem::Problem;
use nbd::NbdUri;

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
    /// Why it cannot be read, if so.
    unreadable: Option<Problem>,
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
                let before = self.items.len();
                self.disk(&own, &around);
                if self.items.len() == before {
                    // What is wrong with it was told.
                    self.without_system.insert(name.clone());
                }
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
        let export = match NbdUri::claims(OsStr::new(&text)).then(|| text.parse::<NbdUri>()) {
            Some(Err(wrong)) => {
                let what = format!("the source is an NBD URI that cannot be used: {wrong}");
                self.problems.push(at.problem(&path, what));
                return;
            }
            Some(Ok(uri)) => Some(uri),
            None => None,
        };
        if export.is_none() && text.contains("://") {
            // It is never quoted: addresses hold passwords and signatures.
            let what = "the source is an address, expected a file or an NBD URI (nbd://…)";
            self.problems.push(at.problem(&path, what));
            return;
        }
        let is_pattern = export.is_none() && self.is_pattern(&text);
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
                        Source {
                            text,
                            path,
                            number,
                            unreadable: None,
                        }
                    })
                    .collect()
            }
            false => {
                let unreadable = match export {
                    Some(_) => None,
                    None => self.check_source(&text, at, &path),
                };
                // Whether a server answers shows when the disk is opened.
                let (path, text) = match export {
                    Some(uri) => (PathBuf::from(text), uri.to_string()),
                    None => (self.resolve(&text), text),
                };
                vec![Source {
                    text,
                    path,
                    number: 1,
                    unreadable,
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
        let stem = stem_of(&source.text);
        built_in.insert("stem", stem.clone());
        built_in.insert("n", source.number.to_string());
        let (kind, role) = self.kind_and_role(own, around, &built_in);
        // A clone, because looking values up tells problems.
        let defaults = self.defaults.clone();
        let outer: Vec<&Fields> = around.server.into_iter().chain([&defaults]).collect();
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
        let mut item = layers.item(source, name, kind);
        item.group = around.group.clone().or(item.group);
        let allow_backing = item.allow_backing_text.as_deref();
        item.allow_backing = allow_backing.map(|text| self.resolve(text));
        if item.bucket.is_empty() {
            let first = self
                .without_bucket
                .get_or_insert_with(|| (own.at, own.path.clone(), 0));
            first.2 = first.2.saturating_add(1);
        }
        self.check_item(&item, own);
        self.places.push((own.at, own.path.clone()));
        self.items.push(item);
    }

    /// The type that the disk itself gives, and what it is in its server.
    fn kind_and_role(
        &mut self,
        own: &Fields,
        around: &Surroundings<'_>,
        built_in: &BuiltIn,
    ) -> (Option<Kind>, Role) {
        let kind = self.own_text(own, "type", built_in);
        let kind = kind.and_then(|text| Kind::from_word(&text));
        let role = self.own_text(own, "role", built_in);
        let role = role.and_then(|text| Role::from_word(&text));
        let by_kind = match kind {
            Some(Kind::DataImage) => Role::Data,
            _ => Role::System,
        };
        (kind, around.role.or(role).unwrap_or(by_kind))
    }
}

/// What a source is called, without directories and extension.
fn stem_of(text: &str) -> String {
    let export = match NbdUri::claims(OsStr::new(text)) {
        true => text.parse::<NbdUri>().ok(),
        false => None,
    };
    let name = match &export {
        // What follows a question mark is a session.
        Some(uri) => uri.export.split('?').next().unwrap_or_default(),
        None => text,
    };
    let stem = Path::new(name).file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

impl Layers<'_, '_, '_> {
    /// The disk at `source`. `own_kind` is the type that it gives itself.
    fn item(&mut self, source: Source, name: String, own_kind: Option<Kind>) -> Item {
        let lower = |text: String| text.to_ascii_lowercase();
        Item {
            id: self.own_text("id").unwrap_or_else(|| name.clone()),
            group: self.own_text("group"),
            role: self.role,
            source: source.path,
            source_text: source.text,
            format: self.text("format").map(lower),
            disk: self.own_text("disk"),
            ignore_manifest: self.switch("ignore_manifest"),
            snapshot: self.own_text("snapshot"),
            allow_backing: None,
            allow_backing_text: self.text("allow_backing"),
            backing_format: self.text("backing_format").map(lower),
            name,
            bucket: self.text("bucket").unwrap_or_default(),
            key: self.text("key"),
            os_version: self.text("os_version"),
            os_type: self.word("os_type", OsFamily::from_word),
            kind: match self.role {
                Role::Data => own_kind.unwrap_or(Kind::DataImage),
                Role::System => self.word("type", Kind::from_word).unwrap_or(Kind::Ecs),
            },
            min_disk: self
                .integer("min_disk")
                .and_then(|number| u32::try_from(number).ok()),
            description: self.text("description"),
            tags: self.tags(),
            architecture: self.word("architecture", Architecture::from_word),
            firmware: self.word("firmware", Firmware::from_word),
            enterprise_project_id: self.text("enterprise_project_id"),
            to: self.word("to", Target::from_word).unwrap_or(Target::Zvhd2),
            level: self.level("level"),
            holes: self.word("holes", Holes::from_word).unwrap_or(Holes::Trust),
            discard_free: self.switch("discard_free"),
            discard_swap: self.switch("discard_swap"),
            vhd_bitmap: self.word("vhd_bitmap", VhdBitmap::from_word),
            register: self
                .word("register", Register::from_word)
                .unwrap_or(Register::Auto),
            prepare: self.switch("prepare"),
            cmk_id: self.text("cmk_id"),
            if_exists: self
                .word("if_exists", IfExists::from_word)
                .unwrap_or(IfExists::Adopt),
            base: self.own_text("base"),
            warm: self.switch("warm"),
            skip_check: self.texts("skip_check"),
            line: self.own.at.line,
            unreadable: source.unreadable,
        }
    }
}
