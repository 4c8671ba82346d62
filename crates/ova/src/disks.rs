//! The machine's disks as files of the package.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use diskimg::source::Joined;
use diskimg::text::{printable, shell_word};
use diskimg::units::FileOffset;
use diskimg::{Decoded, Error, ErrorKind, ReadAt, Result, Stop};

use crate::descriptor::{Descriptor, DiskEntry, File};
use crate::hardware::{Drive, Host, drives};
use crate::limits::{MAX_CHUNKS, MAX_WARNINGS};
use crate::names;
use crate::store::Store;

/// A disk of the machine.
#[derive(Clone)]
pub struct Disk {
    /// The file that it is in, as the package calls it.
    pub member: String,
    /// What the descriptor says is its size. A hint only: the disk itself counts.
    pub capacity: Option<u64>,
    /// What the descriptor says is its format, as it can be printed. A hint only.
    pub format: Option<String>,
    /// Where it is attached, such as `SCSI 0:1`.
    pub place: String,
    /// What the descriptor calls it.
    pub name: String,
    /// Whether it is compressed with gzip as a whole.
    pub compressed: bool,
    parts: Vec<Part>,
}

/// A file that a disk, or a part of one, is in.
#[derive(Clone)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) bytes: Arc<dyn ReadAt>,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk")
            .field("member", &self.member)
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

impl Disk {
    /// The files that it is in.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter()
    }

    /// The files that it is in, in order; none in an archive, whose members are no files.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let files = self.parts.iter().filter(|part| part.bytes.id().is_some());
        files.filter_map(|part| part.bytes.path())
    }

    /// Bytes of its files.
    #[must_use]
    pub fn size(&self) -> u64 {
        let sizes = self.parts.iter().map(|part| part.bytes.len());
        sizes.fold(0, u64::saturating_add)
    }

    /// Its bytes: a disk image. A compressed disk is decoded once to count them, unless `stop` says
    /// otherwise.
    ///
    /// # Errors
    /// Of a compressed disk: `Corrupt`, `Truncated` when it is damaged, `Limit` when it unpacks to
    /// far more than the descriptor says, `Io`, `Cancelled`.
    pub fn source(&self, stop: &Stop) -> Result<Arc<dyn ReadAt>> {
        let stored: Arc<dyn ReadAt> = match self.parts.as_slice() {
            [part] => Arc::clone(&part.bytes),
            parts => {
                let path = parts.first().and_then(|part| part.bytes.path());
                let sources = parts.iter().map(|part| Arc::clone(&part.bytes)).collect();
                Arc::new(Joined::new(sources, path.map(Into::into))?)
            }
        };
        if !self.compressed {
            return Ok(stored);
        }
        match Decoded::open(stored, self.most_unpacked(), stop) {
            Ok(Some(decoded)) => Ok(Arc::new(decoded)),
            Ok(None) => Err(Error::corrupt(
                "gzip stream",
                0,
                "the descriptor says that the disk is compressed with gzip, and it does not begin \
                 like that",
            )),
            Err(error) => match shell_word(self.member.as_ref()) {
                Some(word) if error.kind() == ErrorKind::Limit => Err(error.with_hint(format!(
                    "if it really is that long, unpack it: tar -xOf IMAGE -- {word} | gunzip > \
                     unpacked.img"
                ))),
                _ => Err(error),
            },
        }
    }

    /// Most bytes that it may unpack to: those of the disk, and what a format adds to them.
    fn most_unpacked(&self) -> u64 {
        const ADDED: u64 = 64 << 20;
        match self.capacity {
            Some(capacity) => capacity.saturating_add(capacity / 16).saturating_add(ADDED),
            None => u64::MAX,
        }
    }
}

/// The disks of a machine, and the one that it starts from.
pub(crate) struct Machine {
    pub(crate) disks: Vec<Disk>,
    pub(crate) system: usize,
}

/// Finds the file of each disk.
///
/// # Errors
/// `Unsupported` when a disk is used twice, or its file must not be read; `Truncated` when it is
/// missing.
pub(crate) fn resolve(
    descriptor: &Descriptor,
    store: &Store,
    folder: &str,
    warnings: &mut Vec<String>,
) -> Result<Machine> {
    let resolver = Resolver {
        descriptor,
        store,
        folder,
    };
    let mut used_disks = HashSet::new();
    let mut used_files = HashSet::new();
    let (mut disks, mut system) = (Vec::new(), 0);
    for drive in drives(&descriptor.items, warnings)? {
        let (file, entry) = match &drive.host {
            Host::File(id) => (resolver.file(id)?, None),
            Host::Disk(id) => {
                let entry = resolver.entry(id)?;
                if !used_disks.insert(id.clone()) {
                    return Err(twice("disk", id));
                }
                let Some(file) = &entry.file else {
                    warnings.push(format!(
                        "disk \"{}\" begins empty and is not imported",
                        printable(id)
                    ));
                    continue;
                };
                (resolver.file(file)?, Some(entry))
            }
        };
        if descriptor.boot.as_deref() == Some(drive.instance.as_str()) && !drive.instance.is_empty()
        {
            system = disks.len();
        }
        let disk = resolver.disk(file, entry, &drive, warnings)?;
        // By the files themselves: a descriptor may spell one name in two ways.
        for part in &disk.parts {
            if !used_files.insert(part.name.clone()) {
                return Err(twice("file", &part.name));
            }
        }
        disks.push(disk);
    }
    for entry in &descriptor.disks {
        if !used_disks.contains(&entry.id) && warnings.len() < MAX_WARNINGS {
            warnings.push(format!(
                "the machine does not use disk \"{}\"; it is not imported",
                printable(&entry.id)
            ));
        }
    }
    if disks.is_empty() {
        return Err(Error::unsupported("the machine has no disk with content"));
    }
    Ok(Machine { disks, system })
}

fn twice(what: &str, name: &str) -> Error {
    Error::unsupported(format!(
        "the {what} \"{}\" is used twice, as disks of clusters are",
        printable(name)
    ))
}

struct Resolver<'a> {
    descriptor: &'a Descriptor,
    store: &'a Store,
    folder: &'a str,
}

impl<'a> Resolver<'a> {
    fn entry(&self, id: &str) -> Result<&'a DiskEntry> {
        let mut entries = self.descriptor.disks.iter().filter(|disk| disk.id == id);
        only(entries.next(), entries.next(), "disk", id)
    }

    fn file(&self, id: &str) -> Result<&'a File> {
        let mut files = self.descriptor.files.iter().filter(|file| file.id == id);
        only(files.next(), files.next(), "file", id)
    }

    fn disk(
        &self,
        file: &File,
        entry: Option<&DiskEntry>,
        drive: &Drive,
        warnings: &mut Vec<String>,
    ) -> Result<Disk> {
        let name = self.name_of(file)?;
        let parts = match file.chunk_size {
            None => vec![self.whole(&name)?],
            Some(size) => self.chunks(&name, size)?,
        };
        let mut disk = Disk {
            member: name,
            capacity: entry.and_then(|entry| entry.capacity),
            format: entry.and_then(|entry| entry.format.as_deref().map(printable)),
            place: drive.place.clone(),
            name: drive.name.clone(),
            compressed: file.gzip,
            parts,
        };
        let size = disk.size();
        if file.size.is_some_and(|told| told != size) {
            let told = file.size.unwrap_or_default();
            if file.chunk_size.is_some() {
                return Err(Error::new(
                    ErrorKind::Truncated,
                    format!(
                        "the chunks of \"{}\" have {size} bytes together, the descriptor says \
                         {told}",
                        printable(&disk.member)
                    ),
                ));
            }
            warnings.push(format!(
                "\"{}\" has {size} bytes, the descriptor says {told}",
                printable(&disk.member)
            ));
        }
        if !disk.compressed && begins_with_gzip(&disk)? {
            disk.compressed = true;
            warnings.push(format!(
                "\"{}\" is compressed with gzip, which the descriptor does not say",
                printable(&disk.member)
            ));
        }
        Ok(disk)
    }

    /// The name of the file that the descriptor refers to: as it stands there, or with its escapes
    /// decoded if there is no such file.
    fn name_of(&self, file: &File) -> Result<String> {
        let there = |name: &str| {
            let found = format!("{}{name}", self.folder);
            let chunk = format!("{found}.000000000");
            (self.store.has(&found) || self.store.has(&chunk)).then_some(found)
        };
        names::check(&file.href, "the descriptor")?;
        if let Some(found) = there(&file.href) {
            return Ok(found);
        }
        if let Some(decoded) = names::decoded(&file.href) {
            names::check(&decoded, "the descriptor")?;
            if let Some(found) = there(&decoded) {
                return Ok(found);
            }
        }
        Err(Error::new(
            ErrorKind::Truncated,
            format!(
                "the descriptor names the disk \"{}\", which is not in the package",
                printable(&file.href)
            ),
        )
        .with_hint("copy or download the package again, with all of its files"))
    }

    fn whole(&self, name: &str) -> Result<Part> {
        let Some(bytes) = self.store.find(name)? else {
            return Err(Error::new(
                ErrorKind::Ambiguous,
                format!(
                    "\"{}\" is not in the package, but numbered files of that name are: they may \
                     be parts of the disk, or snapshots of it",
                    printable(name)
                ),
            )
            .with_hint("export the machine again without snapshots"));
        };
        Ok(Part {
            name: name.to_owned(),
            bytes,
        })
    }

    /// The chunks of a file: all numbers from 0 on, each of `size` bytes but the last.
    fn chunks(&self, name: &str, size: u64) -> Result<Vec<Part>> {
        let wrong = |message: String| {
            Error::new(
                ErrorKind::Truncated,
                format!("the chunks of \"{}\" {message}", printable(name)),
            )
        };
        let numbers = self.store.chunks(name)?;
        let count = numbers.len() as u64;
        if count > MAX_CHUNKS {
            return Err(Error::new(
                ErrorKind::Limit,
                format!(
                    "\"{}\" is split into {count} files, at most {MAX_CHUNKS} are read",
                    printable(name)
                ),
            ));
        }
        let mut parts = Vec::new();
        for (expected, number) in (0..count).zip(numbers) {
            if number != expected {
                return Err(wrong(format!("go from {expected} to {number}")));
            }
            let part = self.whole(&format!("{name}.{number:09}"))?;
            let last = expected + 1 == count;
            let len = part.bytes.len();
            if len > size || (len < size && !last) || len == 0 {
                return Err(wrong(format!(
                    "have {size} bytes each, and number {number} has {len}"
                )));
            }
            parts.push(part);
        }
        match parts.is_empty() {
            true => Err(wrong("are missing".to_owned())),
            false => Ok(parts),
        }
    }
}

fn only<'a, T>(first: Option<&'a T>, second: Option<&'a T>, what: &str, id: &str) -> Result<&'a T> {
    match (first, second) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(Error::unsupported(format!(
            "the descriptor refers to the {what} \"{}\", and has none of that id",
            printable(id)
        ))),
        (Some(_), Some(_)) => Err(Error::new(
            ErrorKind::Ambiguous,
            format!(
                "the descriptor has two {what}s with the id \"{}\"",
                printable(id)
            ),
        )),
    }
}

fn begins_with_gzip(disk: &Disk) -> Result<bool> {
    let Some(part) = disk.parts.first().filter(|part| part.bytes.len() >= 2) else {
        return Ok(false);
    };
    let mut magic = [0; 2];
    part.bytes.read_exact_at(FileOffset(0), &mut magic)?;
    Ok(magic == [0x1f, 0x8b])
}
