//! Registry hives, read in place: a key is found by its path, and nothing walks the whole hive.
//!
//! A hive is a base block of 4096 bytes and cells behind it. Offsets count from the end of the base
//! block. Changes that Windows has not flushed from its logs are not seen; [`Hive::flushed`] says
//! whether there may be some.

mod bytes;
mod pages;
mod value;

use std::cell::Cell;

use self::bytes::{byte_at, length, u16_at, u32_at, utf16};
use self::pages::Pages;
pub(crate) use self::value::Value;
use crate::budget::MAX_HIVE;
use crate::known::Known;
use crate::view::File;

/// Bytes in front of the cells.
const BASE: u64 = 4096;
/// Cells that are read of one hive before it is given up.
const MAX_CELLS: u32 = 2_000_000;
/// Names in a path.
const MAX_DEPTH: usize = 16;
/// Subkeys of one key, and values of one key.
const MAX_COUNT: usize = 65_536;
/// Bytes of a name: 255 characters of two bytes.
const MAX_NAME: usize = 510;
/// Bytes of one value.
const MAX_DATA: u32 = 1 << 20;
/// Bytes of a value that one cell holds; longer ones are cut into segments.
const SEGMENT: u32 = 16_344;
/// Offset that means none.
const NONE: u32 = u32::MAX;

/// An opened hive.
pub(crate) struct Hive {
    pages: Pages,
    /// Bytes of cells.
    size: u32,
    root: u32,
    /// Values may be cut into segments.
    segments: bool,
    /// No change waits in a log.
    pub(crate) flushed: bool,
    cells_left: Cell<u32>,
}

/// A key.
pub(crate) struct Key<'h> {
    hive: &'h Hive,
    subkeys: u32,
    values: (u32, u32),
    /// As stored.
    pub(crate) name: String,
}

/// The contents of a cell, not yet read.
#[derive(Clone, Copy)]
struct Body {
    at: u32,
    size: u32,
}

impl Hive {
    /// Opens the hive in `file`.
    pub(crate) fn open(file: File) -> Known<Self> {
        if file.size > MAX_HIVE {
            return Err(format!(
                "the hive has {} bytes; at most {MAX_HIVE} are read",
                file.size
            ));
        }
        let pages = Pages::new(file);
        let base = pages.read(0, 512)?;
        if !base.starts_with(b"regf") {
            return Err("the hive does not begin with \"regf\"".into());
        }
        let (major, minor) = (u32_at(&base, 20), u32_at(&base, 24));
        if major != 1 || !(3..=6).contains(&minor) {
            return Err(format!(
                "the hive has version {major}.{minor}; versions 1.3 to 1.6 are read"
            ));
        }
        Ok(Self {
            size: u32_at(&base, 40),
            root: u32_at(&base, 36),
            segments: minor >= 4,
            flushed: u32_at(&base, 4) == u32_at(&base, 8) && checksum(&base) == u32_at(&base, 508),
            cells_left: Cell::new(MAX_CELLS),
            pages,
        })
    }

    /// The key at `path` from the root, or `None`. Names are separated by `\`.
    pub(crate) fn key(&self, path: &str) -> Known<Option<Key<'_>>> {
        self.root()?.key(path)
    }

    /// The key that holds all others.
    pub(crate) fn root(&self) -> Known<Key<'_>> {
        self.key_at(self.root)
    }

    fn key_at(&self, at: u32) -> Known<Key<'_>> {
        let body = self.cell(at)?;
        let head = self.bytes(body, 0, 76)?;
        if !head.starts_with(b"nk") {
            return Err(format!("there is no key at {at:#x} of the hive"));
        }
        let length = usize::from(u16_at(&head, 72));
        Ok(Key {
            hive: self,
            subkeys: match u32_at(&head, 20) {
                0 => NONE,
                _ => u32_at(&head, 28),
            },
            values: (u32_at(&head, 36), u32_at(&head, 40)),
            name: self.name(body, 76, length, u16_at(&head, 2) & 0x20 != 0)?,
        })
    }

    fn name(&self, body: Body, at: u32, length: usize, latin: bool) -> Known<String> {
        if length > MAX_NAME {
            return Err(format!(
                "a name in the hive has {length} bytes; at most {MAX_NAME} are possible"
            ));
        }
        let bytes = self.bytes(body, at, length)?;
        Ok(if latin {
            bytes.iter().copied().map(char::from).collect()
        } else {
            utf16(&bytes)
        })
    }

    /// The offsets in the list of keys at `at`.
    fn offsets(&self, at: u32) -> Known<Vec<u32>> {
        let (kind, entries) = self.list(at)?;
        if kind != *b"ri" {
            return Ok(entries);
        }
        let mut all = Vec::new();
        for at in entries {
            let (kind, entries) = self.list(at)?;
            if kind == *b"ri" {
                return Err("a list of lists of keys lies in another one".into());
            }
            if all.len() + entries.len() > MAX_COUNT {
                return Err(format!("a key has more than {MAX_COUNT} subkeys"));
            }
            all.extend(entries);
        }
        Ok(all)
    }

    fn list(&self, at: u32) -> Known<([u8; 2], Vec<u32>)> {
        let body = self.cell(at)?;
        let head = self.bytes(body, 0, 4)?;
        let count = usize::from(u16_at(&head, 2));
        let kind = [byte_at(&head, 0), byte_at(&head, 1)];
        let step = match &kind {
            b"lf" | b"lh" => 8,
            b"li" | b"ri" => 4,
            _ => return Err(format!("there is no list of keys at {at:#x} of the hive")),
        };
        let bytes = self.bytes(body, 4, count * step)?;
        Ok((
            kind,
            bytes
                .chunks_exact(step)
                .map(|entry| u32_at(entry, 0))
                .collect(),
        ))
    }

    /// The data of the value whose record begins with `head`.
    fn value(&self, head: &[u8]) -> Known<Value> {
        let (size, at) = (u32_at(head, 4), u32_at(head, 8));
        let kind = u32_at(head, 12);
        if let Some(size) = size.checked_sub(1 << 31) {
            let size = usize::try_from(size.min(4)).unwrap_or(4);
            let data = at.to_le_bytes().into_iter().take(size).collect();
            return Ok(Value::new(kind, data));
        }
        if size > MAX_DATA {
            return Err(format!(
                "a value in the hive has {size} bytes; at most {MAX_DATA} are read"
            ));
        }
        let data = if size == 0 {
            Vec::new()
        } else if size > SEGMENT && self.segments {
            self.joined(at, size)?
        } else {
            self.bytes(self.cell(at)?, 0, length(size))?
        };
        Ok(Value::new(kind, data))
    }

    /// The data of a value that is cut into segments.
    fn joined(&self, at: u32, size: u32) -> Known<Vec<u8>> {
        let body = self.cell(at)?;
        let head = self.bytes(body, 0, 8)?;
        if !head.starts_with(b"db") {
            return Err(format!("there are no segments at {at:#x} of the hive"));
        }
        let count = size.div_ceil(SEGMENT);
        if u32::from(u16_at(&head, 2)) != count {
            return Err(format!(
                "a value of {size} bytes does not have {count} segments"
            ));
        }
        let list = self.bytes(self.cell(u32_at(&head, 4))?, 0, length(count) * 4)?;
        let mut data = Vec::new();
        for entry in list.chunks_exact(4) {
            let rest = length(size).saturating_sub(data.len());
            let body = self.cell(u32_at(entry, 0))?;
            data.extend(self.bytes(body, 0, rest.min(length(SEGMENT)))?);
        }
        Ok(data)
    }

    /// The cell at `at`, which must be in use.
    fn cell(&self, at: u32) -> Known<Body> {
        let left = self.cells_left.get().checked_sub(1);
        let left = left.ok_or_else(|| format!("more than {MAX_CELLS} cells would be read"))?;
        self.cells_left.set(left);
        let whole = Body { at, size: 4 };
        let head = self.bytes(whole, 0, 4)?;
        let size = u32_at(&head, 0).cast_signed();
        let used = size < 0 && size.unsigned_abs() >= 8;
        let end = at.checked_add(size.unsigned_abs());
        if !used || end.is_none_or(|end| end > self.size) {
            return Err(format!("the cell at {at:#x} of the hive is broken"));
        }
        Ok(Body {
            at: at.saturating_add(4),
            size: size.unsigned_abs() - 4,
        })
    }

    /// `length` bytes of a cell, from `from` on.
    fn bytes(&self, body: Body, from: u32, length: usize) -> Known<Vec<u8>> {
        let outside = || format!("the cell at {:#x} of the hive is too short", body.at);
        let count = u32::try_from(length).map_err(|_| outside())?;
        let end = from.checked_add(count).ok_or_else(outside)?;
        let last = u64::from(body.at) + u64::from(end);
        if end > body.size || last > u64::from(self.size) {
            return Err(outside());
        }
        self.pages
            .read(BASE + u64::from(body.at) + u64::from(from), length)
    }
}

impl<'h> Key<'h> {
    /// The key at `path` below this one, or `None`.
    pub(crate) fn key(self, path: &str) -> Known<Option<Key<'h>>> {
        let mut key = self;
        for (depth, name) in path.split('\\').enumerate() {
            if depth >= MAX_DEPTH {
                return Err(format!(
                    "a key deeper than {MAX_DEPTH} levels is not looked for"
                ));
            }
            let Some(next) = key.subkey(name)? else {
                return Ok(None);
            };
            key = next;
        }
        Ok(Some(key))
    }

    fn subkey(&self, name: &str) -> Known<Option<Key<'h>>> {
        for at in self.offsets()? {
            let key = self.hive.key_at(at)?;
            if equal(&key.name, name) {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    /// The keys below this one.
    pub(crate) fn keys(&self) -> Known<Vec<Key<'h>>> {
        let hive = self.hive;
        let offsets = self.offsets()?;
        offsets.into_iter().map(|at| hive.key_at(at)).collect()
    }

    fn offsets(&self) -> Known<Vec<u32>> {
        match self.subkeys {
            NONE => Ok(Vec::new()),
            list => self.hive.offsets(list),
        }
    }

    /// The values, with their names; the default one has an empty name.
    pub(crate) fn values(&self) -> Known<Vec<(String, Value)>> {
        let mut values = Vec::new();
        self.each_value(|name, head| {
            values.push((name, self.hive.value(head)?));
            Ok(false)
        })?;
        Ok(values)
    }

    /// The value `name`, or `None`.
    pub(crate) fn value(&self, name: &str) -> Known<Option<Value>> {
        let mut found = None;
        self.each_value(|known, head| {
            if equal(&known, name) {
                found = Some(self.hive.value(head)?);
            }
            Ok(found.is_some())
        })?;
        Ok(found)
    }

    /// Calls `take` with the name and the record of each value until it returns true.
    fn each_value(&self, mut take: impl FnMut(String, &[u8]) -> Known<bool>) -> Known<()> {
        let (count, list) = self.values;
        if count == 0 || list == NONE {
            return Ok(());
        }
        let count = length(count);
        if count > MAX_COUNT {
            return Err(format!(
                "a key has {count} values; at most {MAX_COUNT} are read"
            ));
        }
        let hive = self.hive;
        let list = hive.bytes(hive.cell(list)?, 0, count * 4)?;
        for entry in list.chunks_exact(4) {
            let at = u32_at(entry, 0);
            let body = hive.cell(at)?;
            let head = hive.bytes(body, 0, 20)?;
            if !head.starts_with(b"vk") {
                return Err(format!("there is no value at {at:#x} of the hive"));
            }
            let size = usize::from(u16_at(&head, 2));
            let name = hive.name(body, 20, size, u16_at(&head, 16) & 1 != 0)?;
            if take(name, &head)? {
                break;
            }
        }
        Ok(())
    }

    /// The number in value `name`, or `None` when there is no such number.
    pub(crate) fn number(&self, name: &str) -> Known<Option<u32>> {
        Ok(self.value(name)?.and_then(|value| value.number()))
    }

    /// The text in value `name`, or `None` when there is no such text.
    pub(crate) fn text(&self, name: &str) -> Known<Option<String>> {
        Ok(self.value(name)?.and_then(|value| value.text()))
    }

    /// The texts in value `name`; none when there is no such value.
    pub(crate) fn texts(&self, name: &str) -> Known<Vec<String>> {
        Ok(self
            .value(name)?
            .map(|value| value.texts())
            .unwrap_or_default())
    }
}

/// The checksum of a base block: 0 and all ones are never stored.
fn checksum(base: &[u8]) -> u32 {
    let words = base.chunks_exact(4).take(127);
    match words.fold(0, |sum, word| sum ^ u32_at(word, 0)) {
        0 => 1,
        u32::MAX => u32::MAX - 1,
        sum => sum,
    }
}

/// Whether two names mean the same key; ours are ASCII.
fn equal(stored: &str, ours: &str) -> bool {
    stored.eq_ignore_ascii_case(ours)
}

#[cfg(test)]
mod tests;
