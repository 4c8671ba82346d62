//! NTFS, on the parsers of the crate `ntfs-core`; streams are put together and read here.

mod stream;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use ntfs_core::attribute::{Attribute, parse_attributes};
use ntfs_core::boot::BootSector;
use ntfs_core::index::{IndexEntry, IndexRoot, parse_index_buffer};
use ntfs_core::record::{MftRecordHeader, apply_fixup};
use stream::{Stream, shown};

use super::{Entry, Kind, Result, Stat, Tree, TreeError};
use crate::budget::{MAX_ENTRIES_SEEN, MAX_LISTED};
use crate::media::{Slice, le32};

/// Numbers of records.
const BITMAP: u64 = 6;
const ROOT: u64 = 5;
/// First number of a record that is no metadata of the file system's.
const FIRST_OF_USERS: u64 = 16;
/// Types of attributes.
const ATTRIBUTE_LIST: u32 = 0x20;
const DATA: u32 = 0x80;
const INDEX_ROOT: u32 = 0x90;
const INDEX_ALLOCATION: u32 = 0xa0;
const REPARSE_POINT: u32 = 0xc0;
/// The index of names in a directory.
const NAMES: Option<&str> = Some("$I30");
/// A file whose content is compressed by the Windows overlay filter.
const WOF: u32 = 0x8000_0017;

/// Bytes of the longest list of attributes.
const MAX_LIST: u64 = 256 << 10;
/// Records that the attributes of one file are spread over.
const MAX_RECORDS: usize = 1024;
/// Bytes of the index of one directory.
const MAX_INDEX: u64 = 64 << 20;
/// Bytes of the largest bitmap of clusters that is counted.
const MAX_BITMAP: u64 = 32 << 20;
/// Directories that are remembered.
const MAX_KNOWN: usize = 256;

/// A record of the file table, whole and mended.
type Record = Rc<[u8]>;

/// A name in a directory.
struct Name {
    name: String,
    record: u64,
    directory: bool,
    /// A junction or another name that leads elsewhere.
    elsewhere: bool,
    /// A short name beside a long one.
    short: bool,
}

/// An NTFS.
pub(crate) struct Ntfs {
    slice: Slice,
    boot: BootSector,
    /// The file table.
    table: Stream,
    directories: RefCell<HashMap<u64, Rc<[Name]>>>,
    /// The file that was read last.
    open: RefCell<Option<(u64, Rc<Stream>)>>,
}

impl Ntfs {
    /// Opens the file system on `slice`.
    ///
    /// # Errors
    /// It is damaged.
    pub(crate) fn open(slice: &Slice) -> std::result::Result<Self, String> {
        let head = slice.head(0, 512)?;
        let boot = BootSector::parse(&head).map_err(shown)?;
        let place = boot.mft_lcn.checked_mul(boot.cluster_size());
        let place = place.ok_or("the file table is nowhere")?;
        let length = usize::try_from(boot.mft_record_size).unwrap_or_default();
        let first = mended(&boot, slice.head(place, length)?)?;
        let attributes = attributes(&first)?;
        let pieces = pieces(&first, &attributes, DATA, None);
        let table = Stream::of(&boot, &pieces)?.ok_or("the file table has no content")?;
        let mut ntfs = Self {
            slice: slice.clone(),
            boot,
            table,
            directories: RefCell::default(),
            open: RefCell::new(None),
        };
        // The rest of the table's own stretches, which the first ones lead to.
        let pieces = ntfs.pieces(0, DATA, None)?;
        if let Some(table) = Stream::of(&ntfs.boot, &pieces)? {
            ntfs.table = table;
        }
        Ok(ntfs)
    }

    fn record(&self, number: u64) -> std::result::Result<Record, String> {
        let at = number.checked_mul(self.boot.mft_record_size);
        let at = at.ok_or("a record has too high a number")?;
        let length = usize::try_from(self.boot.mft_record_size).unwrap_or_default();
        let mut bytes = vec![0; length];
        if self.table.read_at(&self.slice, at, &mut bytes)? < length {
            return Err(format!("record {number} is not in the file table"));
        }
        mended(&self.boot, bytes)
    }

    /// The attributes of `kind` called `name` of the file with record `number`, with the records
    /// that they are in.
    fn pieces(
        &self,
        number: u64,
        kind: u32,
        name: Option<&str>,
    ) -> std::result::Result<Vec<(Record, Attribute)>, String> {
        let base = self.record(number)?;
        let own = attributes(&base)?;
        let mut found = pieces(&base, &own, kind, name);
        let list = pieces(&base, &own, ATTRIBUTE_LIST, None);
        if let Some(list) = Stream::of(&self.boot, &list)? {
            let list = list.whole(&self.slice, MAX_LIST)?;
            let mut others: Vec<u64> = ntfs_core::attribute_list::parse(&list)
                .map_err(shown)?
                .into_iter()
                .filter(|entry| entry.type_code == kind && entry.name.as_deref() == name)
                .map(|entry| entry.base_reference.record_number)
                .filter(|other| *other != number)
                .collect();
            others.sort_unstable();
            others.dedup();
            if others.len() > MAX_RECORDS {
                return Err(format!("the file is in more than {MAX_RECORDS} pieces"));
            }
            for other in others {
                let record = self.record(other)?;
                let attributes = attributes(&record)?;
                found.extend(pieces(&record, &attributes, kind, name));
            }
        }
        Ok(found)
    }

    fn stream(
        &self,
        number: u64,
        kind: u32,
        name: Option<&str>,
    ) -> std::result::Result<Option<Stream>, String> {
        Stream::of(&self.boot, &self.pieces(number, kind, name)?)
    }

    /// The names in the directory with record `number`.
    fn names(&self, number: u64) -> std::result::Result<Rc<[Name]>, String> {
        if let Some(known) = self.directories.borrow().get(&number) {
            return Ok(Rc::clone(known));
        }
        let root = self.stream(number, INDEX_ROOT, NAMES)?;
        let root = root.ok_or("a directory has no index")?;
        let root = root.whole(&self.slice, MAX_INDEX)?;
        let root = IndexRoot::parse(&root).map_err(shown)?;
        let mut names: Vec<Name> = root.entries.iter().filter_map(name_of).collect();
        let blocks = match root.is_large {
            true => self.stream(number, INDEX_ALLOCATION, NAMES)?,
            false => None,
        };
        if let Some(blocks) = blocks {
            let blocks = blocks.whole(&self.slice, MAX_INDEX)?;
            let length = usize::try_from(self.boot.index_record_size).unwrap_or(4096);
            for block in blocks
                .chunks_exact(length)
                .filter(|block| block.starts_with(b"INDX"))
            {
                let sector = usize::from(self.boot.bytes_per_sector);
                let entries = parse_index_buffer(&mut block.to_vec(), length, sector);
                names.extend(entries.map_err(shown)?.iter().filter_map(name_of));
                if names.len() > MAX_ENTRIES_SEEN {
                    return Err("the directory is too large".into());
                }
            }
        }
        let names: Rc<[Name]> = names.into();
        let mut known = self.directories.borrow_mut();
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(number, Rc::clone(&names));
        Ok(names)
    }

    /// The record of what is at `path`, and its kind.
    fn find(&self, path: &[u8]) -> std::result::Result<Option<(u64, Kind)>, String> {
        let mut here = (ROOT, Kind::Directory);
        for part in path
            .split(|byte| *byte == b'/')
            .filter(|part| !part.is_empty())
        {
            if here.1 != Kind::Directory {
                return Ok(None);
            }
            let part = String::from_utf8_lossy(part);
            let names = self.names(here.0)?;
            let Some(found) = names.iter().find(|known| same(&known.name, &part)) else {
                return Ok(None);
            };
            here = (found.record, found.kind());
        }
        Ok(Some(here))
    }

    /// The content of the file with record `number`.
    fn content(&self, number: u64) -> std::result::Result<Rc<Stream>, String> {
        match &*self.open.borrow() {
            Some((known, stream)) if *known == number => return Ok(Rc::clone(stream)),
            _ => {}
        }
        let stream = self.stream(number, DATA, None)?.unwrap_or_default();
        let stream = Rc::new(stream);
        self.open.replace(Some((number, Rc::clone(&stream))));
        Ok(stream)
    }

    fn check_plain(&self, number: u64) -> std::result::Result<(), String> {
        let Some(point) = self.stream(number, REPARSE_POINT, None)? else {
            return Ok(());
        };
        let mut tag = [0; 4];
        point.read_at(&self.slice, 0, &mut tag)?;
        match le32(&tag, 0) {
            WOF => Err("its content is compressed by Windows (CompactOS)".into()),
            _ => Ok(()),
        }
    }
}

impl Tree for Ntfs {
    fn stat(&self, path: &[u8]) -> Result<Option<Stat>> {
        let found = self
            .find(path)
            .map_err(|error| super::failed(path, &error))?;
        let Some((record, kind)) = found else {
            return Ok(None);
        };
        let size = match kind {
            Kind::File => {
                let content = self.content(record);
                content.map_err(|error| super::failed(path, &error))?.size()
            }
            _ => 0,
        };
        Ok(Some(Stat {
            kind,
            size,
            mode: 0,
        }))
    }

    fn read_at(&self, path: &[u8], at: u64, buf: &mut [u8]) -> Result<usize> {
        let mut read = || match self.find(path)? {
            Some((record, Kind::File)) => {
                let known = matches!(&*self.open.borrow(), Some((known, _)) if *known == record);
                if !known || at == 0 {
                    self.check_plain(record)?;
                }
                self.content(record)?.read_at(&self.slice, at, buf)
            }
            _ => Err("there is no such file".to_owned()),
        };
        read().map_err(|error| super::failed(path, &error))
    }

    fn list(&self, path: &[u8]) -> Result<Vec<Entry>> {
        let names = || match self.find(path)? {
            Some((record, Kind::Directory)) => self.names(record),
            _ => Err("there is no such directory".to_owned()),
        };
        Ok(names()
            .map_err(|error| super::failed(path, &error))?
            .iter()
            .filter(|name| !name.short && name.record >= FIRST_OF_USERS)
            .take(MAX_LISTED)
            .map(|name| Entry {
                name: name.name.clone().into_bytes(),
                kind: name.kind(),
            })
            .collect())
    }

    fn read_link(&self, path: &[u8]) -> Result<Vec<u8>> {
        Err(TreeError(format!(
            "{}: links of NTFS are not read",
            crate::text::printable(path)
        )))
    }

    fn ignores_case(&self) -> bool {
        true
    }

    fn free(&self) -> Option<u64> {
        let bitmap = self.stream(BITMAP, DATA, None).ok()??;
        let bitmap = bitmap.whole(&self.slice, MAX_BITMAP).ok()?;
        let free: u64 = bitmap
            .iter()
            .map(|byte| u64::from(byte.count_zeros()))
            .sum();
        free.checked_mul(self.boot.cluster_size())
    }
}

impl Name {
    fn kind(&self) -> Kind {
        match (self.directory, self.elsewhere) {
            (true, true) => Kind::Other,
            (true, false) => Kind::Directory,
            (false, _) => Kind::File,
        }
    }
}

fn name_of(entry: &IndexEntry) -> Option<Name> {
    /// Bits of a name's attributes.
    const DIRECTORY: u32 = 0x1000_0000;
    const REPARSE: u32 = 0x400;
    /// The name space of short names alone.
    const DOS: u8 = 2;
    let name = entry.file_name.as_ref()?;
    Some(Name {
        name: name.name.clone(),
        record: entry.file_reference.record_number,
        directory: name.flags & DIRECTORY != 0,
        elsewhere: name.flags & REPARSE != 0,
        short: name.namespace == DOS,
    })
}

/// Whether two names are equal without regard to case.
fn same(known: &str, wanted: &str) -> bool {
    known.eq_ignore_ascii_case(wanted)
        || (!known.is_ascii() && known.to_uppercase() == wanted.to_uppercase())
}

fn mended(boot: &BootSector, mut record: Vec<u8>) -> std::result::Result<Record, String> {
    apply_fixup(&mut record, usize::from(boot.bytes_per_sector).min(512)).map_err(shown)?;
    Ok(record.into())
}

fn attributes(record: &[u8]) -> std::result::Result<Vec<Attribute>, String> {
    let header = MftRecordHeader::parse(record).map_err(shown)?;
    parse_attributes(record, usize::from(header.first_attribute_offset)).map_err(shown)
}

fn pieces(
    record: &Record,
    attributes: &[Attribute],
    kind: u32,
    name: Option<&str>,
) -> Vec<(Record, Attribute)> {
    attributes
        .iter()
        .filter(|attribute| attribute.type_code == kind && attribute.name.as_deref() == name)
        .map(|attribute| (Rc::clone(record), attribute.clone()))
        .collect()
}

#[cfg(test)]
mod tests;
