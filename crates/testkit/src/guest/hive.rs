//! Writes registry hives.

#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "test helper: the hives of tests are small"
)]

use std::collections::BTreeMap;

/// Bytes of a value that one cell holds; longer ones are cut into segments.
const SEGMENT: usize = 16_344;

/// A value's type and data.
#[derive(Clone, Debug)]
pub struct Data(u32, Vec<u8>);

impl Data {
    /// A 32-bit number.
    #[must_use]
    pub fn number(number: u32) -> Self {
        Self(4, number.to_le_bytes().to_vec())
    }

    /// A text.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self(1, wide(text))
    }

    /// A list of texts.
    #[must_use]
    pub fn texts(texts: &[&str]) -> Self {
        let mut data: Vec<u8> = texts.iter().flat_map(|text| wide(text)).collect();
        data.extend([0, 0]);
        Self(7, data)
    }

    /// Bytes.
    #[must_use]
    pub fn bytes(bytes: &[u8]) -> Self {
        Self(3, bytes.to_vec())
    }
}

/// UTF-16 with an end mark.
fn wide(text: &str) -> Vec<u8> {
    let units = text.encode_utf16().chain([0]);
    units.flat_map(u16::to_le_bytes).collect()
}

#[derive(Debug, Default)]
struct Node {
    subkeys: BTreeMap<String, Node>,
    values: Vec<(String, Data)>,
}

/// A hive in the making.
#[derive(Debug, Default)]
pub struct HiveBuilder {
    root: Node,
    dirty: bool,
    /// How lists of keys are stored.
    pub lists: Lists,
}

/// How the keys below a key are listed.
#[derive(Clone, Copy, Debug, Default)]
pub enum Lists {
    /// Offsets with hashes.
    #[default]
    Lh,
    /// Offsets alone.
    Li,
    /// Lists of two keys each, in one `ri`.
    Ri,
}

impl HiveBuilder {
    /// A hive with a root alone.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With value `name` in the key at `path`, which is made; another value of that name goes.
    #[must_use]
    pub fn value(mut self, path: &str, name: &str, data: Data) -> Self {
        let values = &mut self.node(path).values;
        values.retain(|(known, _)| known != name);
        values.push((name.to_owned(), data));
        self
    }

    /// Without the key at `path`.
    #[must_use]
    pub fn without(mut self, path: &str) -> Self {
        match path.rsplit_once('\\') {
            Some((parent, name)) => self.node(parent).subkeys.remove(name),
            None => self.root.subkeys.remove(path),
        };
        self
    }

    /// Without value `name` of the key at `path`.
    #[must_use]
    pub fn without_value(mut self, path: &str, name: &str) -> Self {
        self.node(path).values.retain(|(known, _)| known != name);
        self
    }

    /// With a key at `path`.
    #[must_use]
    pub fn key(mut self, path: &str) -> Self {
        self.node(path);
        self
    }

    /// As Windows leaves it when it is cut off.
    #[must_use]
    pub fn dirty(mut self) -> Self {
        self.dirty = true;
        self
    }

    fn node(&mut self, path: &str) -> &mut Node {
        path.split('\\').fold(&mut self.root, |node, name| {
            node.subkeys.entry(name.to_owned()).or_default()
        })
    }

    /// The hive's bytes.
    #[must_use]
    pub fn build(&self) -> Vec<u8> {
        let mut cells = vec![0; 32];
        cells[..4].copy_from_slice(b"hbin");
        let root = self.write(&mut cells, "ROOT", &self.root);
        cells.resize(cells.len().next_multiple_of(4096), 0);
        let mut base = vec![0; 4096];
        base[..4].copy_from_slice(b"regf");
        put(&mut base, 4, 7);
        put(&mut base, 8, if self.dirty { 6 } else { 7 });
        put(&mut base, 20, 1);
        put(&mut base, 24, 5);
        put(&mut base, 36, root);
        put(&mut base, 40, cells.len() as u32);
        let sum = checksum(&base);
        put(&mut base, 508, sum);
        base.extend(cells);
        base
    }

    fn write(&self, cells: &mut Vec<u8>, name: &str, node: &Node) -> u32 {
        let keys: Vec<u32> = node
            .subkeys
            .iter()
            .map(|(name, node)| self.write(cells, name, node))
            .collect();
        let values: Vec<u32> = node
            .values
            .iter()
            .map(|(name, data)| write_value(cells, name, data))
            .collect();
        let list = match self.lists {
            _ if keys.is_empty() => u32::MAX,
            Lists::Lh => cell(cells, &list(b"lh", &keys, 8)),
            Lists::Li => cell(cells, &list(b"li", &keys, 4)),
            Lists::Ri => {
                let lists: Vec<u32> = keys
                    .chunks(2)
                    .map(|keys| cell(cells, &list(b"lf", keys, 8)))
                    .collect();
                cell(cells, &list(b"ri", &lists, 4))
            }
        };
        let value_list = match values.as_slice() {
            [] => u32::MAX,
            values => {
                let bytes: Vec<u8> = values.iter().flat_map(|at| at.to_le_bytes()).collect();
                cell(cells, &bytes)
            }
        };
        let mut body = vec![0; 76];
        body[..2].copy_from_slice(b"nk");
        put(&mut body, 20, keys.len() as u32);
        put(&mut body, 28, list);
        put(&mut body, 36, values.len() as u32);
        put(&mut body, 40, value_list);
        let (latin, name) = stored_name(name);
        body[2] = if latin { 0x20 } else { 0 };
        body[72..74].copy_from_slice(&(name.len() as u16).to_le_bytes());
        body.extend(name);
        cell(cells, &body)
    }
}

fn write_value(cells: &mut Vec<u8>, name: &str, Data(kind, data): &Data) -> u32 {
    let (latin, name) = stored_name(name);
    let mut body = vec![0; 20];
    body[..2].copy_from_slice(b"vk");
    body[2..4].copy_from_slice(&(name.len() as u16).to_le_bytes());
    put(&mut body, 4, data.len() as u32);
    if data.len() <= 4 {
        body[7] = 0x80;
        body[8..8 + data.len()].copy_from_slice(data);
    } else if data.len() <= SEGMENT {
        let at = cell(cells, data);
        put(&mut body, 8, at);
    } else {
        let pieces: Vec<u8> = data
            .chunks(SEGMENT)
            .map(|piece| cell(cells, piece))
            .flat_map(u32::to_le_bytes)
            .collect();
        let mut segments = b"db".to_vec();
        segments.extend((pieces.len() as u16 / 4).to_le_bytes());
        segments.extend(cell(cells, &pieces).to_le_bytes());
        let at = cell(cells, &segments);
        put(&mut body, 8, at);
    }
    put(&mut body, 12, *kind);
    body[16] = u8::from(latin);
    body.extend(name);
    cell(cells, &body)
}

/// Whether the name is Latin-1, and its bytes.
fn stored_name(name: &str) -> (bool, Vec<u8>) {
    if name.is_ascii() {
        return (true, name.as_bytes().to_vec());
    }
    (
        false,
        name.encode_utf16().flat_map(u16::to_le_bytes).collect(),
    )
}

fn list(kind: &[u8; 2], entries: &[u32], step: usize) -> Vec<u8> {
    let mut body = kind.to_vec();
    body.extend((entries.len() as u16).to_le_bytes());
    for entry in entries {
        body.extend(entry.to_le_bytes());
        body.resize(body.len() + step - 4, 0);
    }
    body
}

fn cell(cells: &mut Vec<u8>, body: &[u8]) -> u32 {
    let at = cells.len();
    let size = (body.len() + 4).next_multiple_of(8);
    cells.extend((-(size as i32)).to_le_bytes());
    cells.extend(body);
    cells.resize(at + size, 0);
    at as u32
}

/// The XOR of the first 127 words; 0 and all ones are never stored.
fn checksum(base: &[u8]) -> u32 {
    let words = base[..508].chunks(4);
    let sum = words.fold(0, |sum, word| {
        sum ^ u32::from_le_bytes([word[0], word[1], word[2], word[3]])
    });
    match sum {
        0 => 1,
        u32::MAX => u32::MAX - 1,
        sum => sum,
    }
}

fn put(bytes: &mut [u8], at: usize, number: u32) {
    bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
}
