//! From a document to items: tables are read, defaults and variables put in, patterns expanded, and
//! everything held against everything else.

mod check;
mod disk;
mod files;

use std::collections::{BTreeMap, HashSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use diskimg::source::open_regular;
use sha2::{Digest as _, Sha256};

use crate::document::{self, Node, Notation, Place, Value};
use crate::fields::{Field, Fields, Raw, unknown};
use crate::item::{Item, Limits};
use crate::keys::{self, Spec};
use crate::manifest::Manifest;
use crate::problem::Problem;
use crate::vars::Vars;

/// Largest manifest in bytes. Ours: 10,000 images at 800 bytes each.
const MAX_BYTES: u64 = 8 << 20;
/// Most items of a batch, also by patterns. Ours.
pub(crate) const MAX_ITEMS: usize = 10_000;
/// Most problems that are told. Nobody reads more.
const MAX_PROBLEMS: usize = 100;

pub(crate) fn read(path: &Path) -> Result<Manifest, Vec<Problem>> {
    let text = load(path).map_err(|problem| vec![problem])?;
    // Of the absolute path: a runner may change its directory.
    let dir = std::path::absolute(path)
        .ok()
        .and_then(|path| path.parent().map(Path::to_owned))
        .unwrap_or_default();
    let mut problems = Vec::new();
    let (items, limits) = expand(&text, Notation::of(path), &dir, &mut problems);
    if !problems.is_empty() {
        problems.extend(items.into_iter().filter_map(|item| item.unreadable));
        return Err(in_order(problems));
    }
    Ok(Manifest {
        path: path.to_owned(),
        digest: digest(&items),
        limits,
        items,
    })
}

/// By line, each once, and not more than anybody reads.
fn in_order(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by_key(|problem| {
        (
            problem.line.unwrap_or(usize::MAX),
            problem.column.unwrap_or(usize::MAX),
        )
    });
    // Defaults are looked at once for every image.
    problems.dedup_by(|a, b| (a.line, a.column, &a.what) == (b.line, b.column, &b.what));
    let more = problems.len().saturating_sub(MAX_PROBLEMS);
    if more > 0 {
        problems.truncate(MAX_PROBLEMS);
        problems.push(Problem::new(format!("and {more} more problems")));
    }
    problems
}

fn load(path: &Path) -> Result<String, Problem> {
    let failed = |error: std::io::Error| {
        let problem = Problem::new(format!("cannot be read: {error}"));
        match error.kind() {
            std::io::ErrorKind::NotFound => problem
                .hint("write one from the images you have: imgferry batch init DIR -o batch.yaml"),
            _ => problem,
        }
    };
    let file = open_regular(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_BYTES {
        let what = format!("has more than {MAX_BYTES} bytes, which no manifest needs");
        return Err(Problem::new(what));
    }
    String::from_utf8(bytes).map_err(|_| Problem::new("is not text in UTF-8"))
}

/// The digest of what is to be done; limits and places of files are no part of it.
fn digest(items: &[Item]) -> String {
    let mut hash = Sha256::new();
    for item in items {
        // A struct of texts and numbers always has a JSON form.
        hash.update(serde_json::to_vec(item).unwrap_or_default());
        hash.update(b"\n");
    }
    hex::encode(hash.finalize())
}

/// What is known while items are made.
struct Context<'a> {
    dir: &'a Path,
    vars: Vars,
    defaults: Fields,
    items: Vec<Item>,
    /// Place and path of each item, by its index.
    places: Vec<(Place, String)>,
    /// Images without a bucket: the first, and how many more.
    without_bucket: Option<(Place, String, usize)>,
    /// Servers without a system disk, which was told.
    without_system: HashSet<String>,
    /// Whether there are more items than a batch may have; told once.
    is_full: bool,
    problems: &'a mut Vec<Problem>,
}

fn expand(
    text: &str,
    notation: Notation,
    dir: &Path,
    problems: &mut Vec<Problem>,
) -> (Vec<Item>, Limits) {
    let root = document::parse(text, notation, problems);
    let mut limits = Limits::default();
    let start = Place { line: 1, column: 1 };
    let Some(Node {
        value: Value::Table(entries),
        ..
    }) = root
    else {
        if problems.is_empty() {
            let what = "a manifest is a table with images: or servers:";
            let hint = "docs/batch.md shows one; imgferry batch init DIR writes one";
            problems.push(start.problem("", what).hint(hint));
        }
        return (Vec::new(), limits);
    };
    let mut tables: BTreeMap<&'static str, Node> = BTreeMap::new();
    for (key, node) in entries {
        match keys::TOP.iter().find(|known| **known == key.text) {
            Some(known) => {
                tables.insert(known, node);
            }
            None => problems.push(unknown(&key, "", keys::TOP.iter().copied())),
        }
    }
    if let Some(version) = tables.get("version")
        && !matches!(version.value, Value::Integer(1))
    {
        let what = "this imgferry reads manifests of version 1";
        problems.push(version.at.problem("version", what));
    }
    let vars = tables
        .get("vars")
        .map(|node| Vars::read(node, problems))
        .unwrap_or_default();
    let mut defaults = Fields::new("defaults", start);
    if let Some(node) = tables.get("defaults") {
        let specs = keys::item_without(keys::NOT_IN_DEFAULTS);
        defaults = fields("defaults", node, &specs, &[], problems);
    }
    let mut context = Context {
        dir,
        vars,
        defaults,
        items: Vec::new(),
        places: Vec::new(),
        without_bucket: None,
        without_system: HashSet::new(),
        is_full: false,
        problems,
    };
    if let Some(node) = tables.get("limits") {
        limits = context.limits(node);
    }
    if let Some(node) = tables.get("images") {
        context.images(node);
    }
    if let Some(node) = tables.get("servers") {
        context.servers(node);
    }
    if context.items.is_empty() && context.problems.is_empty() {
        let what = "there are no disks under images: or servers:, so there is nothing to do";
        context.problems.push(start.problem("", what));
    }
    context.check_all();
    (context.items, limits)
}

/// The entries of a table whose keys are `specs`; those named in `others` are read by the caller.
fn fields(
    path: &str,
    node: &Node,
    specs: &[&'static Spec],
    others: &[&str],
    problems: &mut Vec<Problem>,
) -> Fields {
    let mut fields = Fields::new(path, node.at);
    match &node.value {
        Value::Table(entries) => {
            if let Some((first, _)) = entries.first() {
                fields.at = first.at;
            }
            for (key, value) in entries {
                if others.contains(&key.text.as_str()) {
                    continue;
                }
                if !fields.read(specs, key, value, problems) {
                    let known = specs.iter().map(|spec| spec.key);
                    let known = known.chain(others.iter().copied());
                    let problem = unknown(key, path, known);
                    let is_elsewhere = keys::ITEM.iter().any(|spec| spec.key == key.text);
                    problems.push(match is_elsewhere {
                        true => key
                            .at
                            .problem(path, format!("{:?} cannot stand here", key.text))
                            .hint("it belongs to the disk that it is about"),
                        false => problem,
                    });
                }
            }
        }
        Value::Null | Value::Refused => {}
        other => {
            let what = format!("found {}, expected a table", other.kind());
            problems.push(node.at.problem(path, what));
        }
    }
    fields
}

/// The nodes of a list; a single table or text counts as a list of one.
fn list<'a>(path: &str, node: &'a Node, problems: &mut Vec<Problem>) -> &'a [Node] {
    match &node.value {
        Value::List(nodes) => nodes,
        Value::Null | Value::Refused => &[],
        other => {
            let what = format!("found {}, expected a list", other.kind());
            problems.push(node.at.problem(path, what));
            &[]
        }
    }
}

impl Context<'_> {
    fn limits(&mut self, node: &Node) -> Limits {
        let specs: Vec<&'static Spec> = keys::LIMITS.iter().collect();
        let fields = fields("limits", node, &specs, &[], self.problems);
        let mut number = |key: &str| -> Option<u64> {
            let Field { at, raw } = fields.get(key)?;
            let number = match raw {
                Raw::Integer(number) => Ok(*number),
                Raw::Text(text) => {
                    let spec = keys::LIMITS.iter().find(|spec| spec.key == key)?;
                    self.vars
                        .substitute(text, &BTreeMap::new())
                        .map_err(|(what, _)| what)
                        .and_then(|text| crate::fields::integer(spec.form, &text))
                }
                _ => return None,
            };
            match number {
                Ok(number) => u64::try_from(number).ok(),
                Err(what) => {
                    let path = format!("limits.{key}");
                    self.problems.push(at.problem(&path, what));
                    None
                }
            }
        };
        let count = |number: Option<u64>| number.and_then(|number| usize::try_from(number).ok());
        Limits {
            converts: count(number("converts")),
            uploads: count(number("uploads")),
            jobs: count(number("jobs")),
            memory: number("memory"),
            limit_rate: number("limit_rate"),
        }
    }

    /// The path of a file that the manifest names.
    fn resolve(&self, text: &str) -> PathBuf {
        self.dir.join(text)
    }
}
