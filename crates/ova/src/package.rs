//! A package, opened: its files, its machine and the machine's disks.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use diskimg::text::printable;
use diskimg::units::FileOffset;
use diskimg::{BackingPolicy, Error, ErrorKind, FileSource, OpenOptions, ReadAt, Result};
use serde::Serialize;

use crate::descriptor::Descriptor;
use crate::disks::{self, Disk};
use crate::hints::Hints;
use crate::limits::{MAX_DESCRIPTOR_BYTES, MAX_WARNINGS};
use crate::names;
use crate::store::{Archive, Folder, Store};
use crate::tar::{Index, Kind, is_tar};

/// A virtual machine as it was exported: an OVA archive, or an OVF descriptor with files beside it.
pub struct Package {
    path: PathBuf,
    pub(crate) store: Store,
    /// Name of the descriptor.
    pub(crate) descriptor: String,
    pub(crate) descriptor_bytes: Arc<dyn ReadAt>,
    /// Name of the manifest.
    pub(crate) manifest: Option<String>,
    certificate: Option<String>,
    members: Vec<Member>,
    disks: Vec<Disk>,
    system: usize,
    hints: Hints,
    warnings: Vec<String>,
}

/// A file of a package.
#[derive(Clone, Debug, Serialize)]
pub struct Member {
    /// Its name, as it can be printed.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// What it is to the package.
    pub role: Role,
}

/// What a file is to the package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The descriptor.
    Descriptor,
    /// The manifest.
    Manifest,
    /// The certificate of a signature.
    Certificate,
    /// A disk of the machine, or a part of one.
    Disk,
    /// Nothing that is imported.
    Other,
}

impl std::fmt::Debug for Package {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Package")
            .field("path", &self.path)
            .field("disks", &self.disks)
            .finish_non_exhaustive()
    }
}

impl Package {
    /// Opens the package at `path`; `None` when there is something else. Beside a descriptor, files
    /// that are not called after it are opened only as `policy` allows.
    ///
    /// # Errors
    /// Those of a package that is damaged, hostile, or not read. All name the path.
    pub fn open(path: &Path, policy: &BackingPolicy) -> Result<Option<Self>> {
        let source: Arc<dyn ReadAt> = Arc::new(FileSource::open(path)?);
        let opened = match ends_in(path, ".ovf") {
            true => Self::beside(&source, path, policy).map(Some),
            false => Self::of(source, path),
        };
        opened.map_err(|error| error.in_file(path))
    }

    /// The archive in `source`, called `path` in messages; `None` when it is something else.
    ///
    /// # Errors
    /// Those of a package that is damaged, hostile, or not read.
    pub fn of(source: Arc<dyn ReadAt>, path: &Path) -> Result<Option<Self>> {
        if !is_tar(source.as_ref())? {
            return Ok(None);
        }
        let mut index = Index::default();
        let filled = index.fill(source.as_ref());
        let has_descriptor = index.entries.iter().any(|entry| is_descriptor(&entry.name));
        if !has_descriptor && let Some(error) = foreign(&index) {
            return Err(error);
        }
        match filled {
            // Another archive, which others refuse by name.
            _ if !has_descriptor && !ends_in(path, ".ova") => return Ok(None),
            Err(error) => return Err(error),
            Ok(()) => {}
        }
        let mut warnings = std::mem::take(&mut index.warnings);
        let (name, entry) = only_descriptor(&index)?;
        let entry = entry.clone();
        let archive = Archive::new(source, path, index);
        // Refuses one of two that have the same name.
        let store = Store::Archive(archive);
        let bytes = store.find(&name)?.ok_or_else(|| missing(&name))?;
        let text = read_text(bytes.as_ref(), entry.len)?;
        let descriptor = Descriptor::parse(&text, &mut warnings)?;
        Self::with(path, store, (name, bytes), descriptor, warnings).map(Some)
    }

    /// The package of the descriptor in `source`.
    fn beside(source: &Arc<dyn ReadAt>, path: &Path, policy: &BackingPolicy) -> Result<Self> {
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(name) = name.map(str::to_owned) else {
            return Err(Error::unsupported("its name is no UTF-8 text"));
        };
        let text = read_text(source.as_ref(), source.len())?;
        let mut warnings = Vec::new();
        let descriptor = Descriptor::parse(&text, &mut warnings)?;
        let bytes = Arc::clone(source);
        let folder = Folder::new(Arc::clone(&bytes), path, names::stem(&name), policy.clone());
        Self::with(
            path,
            Store::Folder(folder),
            (name, bytes),
            descriptor,
            warnings,
        )
    }

    fn with(
        path: &Path,
        store: Store,
        (name, bytes): (String, Arc<dyn ReadAt>),
        descriptor: Descriptor,
        mut warnings: Vec<String>,
    ) -> Result<Self> {
        let folder = names::directory(&name);
        let machine = disks::resolve(&descriptor, &store, folder, &mut warnings)?;
        let manifest = companion(&store, &name, ".mf", &mut warnings);
        let certificate = companion(&store, &name, ".cert", &mut warnings);
        if descriptor.hints.secure_boot {
            warnings.push(
                "the machine starts signed systems only (secure boot); its keys are not in the \
                 package"
                    .to_owned(),
            );
        }
        let mut package = Self {
            path: path.to_owned(),
            store,
            descriptor: name,
            descriptor_bytes: bytes,
            manifest,
            certificate,
            members: Vec::new(),
            disks: machine.disks,
            system: machine.system,
            hints: descriptor.hints,
            warnings,
        };
        package.list_members();
        package.warnings.truncate(MAX_WARNINGS);
        Ok(package)
    }

    /// Lists the files, and warns of those that nothing refers to.
    fn list_members(&mut self) {
        let Store::Archive(archive) = &self.store else {
            let disks = self.disks.iter().flat_map(Disk::parts);
            let mut members = vec![Member {
                name: printable(&self.descriptor),
                size: self.descriptor_bytes.len(),
                role: Role::Descriptor,
            }];
            members.extend(disks.map(|part| Member {
                name: printable(&part.name),
                size: part.bytes.len(),
                role: Role::Disk,
            }));
            self.members = members;
            return;
        };
        let role = |name: &[u8]| {
            let is = |other: Option<&str>| other.is_some_and(|other| other.as_bytes() == name);
            let mut parts = self.disks.iter().flat_map(Disk::parts);
            if is(Some(&self.descriptor)) {
                Role::Descriptor
            } else if is(self.manifest.as_deref()) {
                Role::Manifest
            } else if is(self.certificate.as_deref()) {
                Role::Certificate
            } else if parts.any(|part| is(Some(&part.name))) {
                Role::Disk
            } else {
                Role::Other
            }
        };
        let mut members = Vec::new();
        for entry in &archive.index.entries {
            if entry.kind == Kind::Directory || names::is_noise(&entry.name) {
                continue;
            }
            let member = Member {
                name: names::text(&entry.name),
                size: entry.len,
                role: role(&entry.name),
            };
            if member.role == Role::Other && self.warnings.len() < MAX_WARNINGS {
                self.warnings.push(format!(
                    "the machine uses no member \"{}\"; it is not imported",
                    member.name
                ));
            }
            members.push(member);
        }
        self.members = members;
    }

    /// The file that was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The machine's disks, in the order in which it sees them.
    #[must_use]
    pub fn disks(&self) -> &[Disk] {
        &self.disks
    }

    /// Place of the disk that the machine starts from, as far as the descriptor tells: the first,
    /// unless another one is named.
    #[must_use]
    pub const fn system(&self) -> usize {
        self.system
    }

    /// The files of the package.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// What the descriptor tells of the machine.
    #[must_use]
    pub const fn hints(&self) -> &Hints {
        &self.hints
    }

    /// Name of the certificate of a signature, which nobody checks.
    #[must_use]
    pub fn certificate(&self) -> Option<&str> {
        self.certificate.as_deref()
    }

    /// What the user should know.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The files that it is made of.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = vec![self.path.clone()];
        if !self.is_archive() {
            let companions = [&self.manifest, &self.certificate].into_iter().flatten();
            files.extend(companions.map(|name| self.path.with_file_name(name)));
            let disks = self.disks.iter().flat_map(Disk::files);
            files.extend(disks.map(Path::to_owned));
        }
        files
    }

    /// The disk of this member, or of this number from 1 on.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Disk> {
        let by_name = self.disks.iter().find(|disk| disk.member == name);
        by_name.or_else(|| {
            let number: usize = name.parse().ok()?;
            self.disks.get(number.checked_sub(1)?)
        })
    }

    /// `options` for a disk of this package, which refers to no other file, whatever the user
    /// allows: an archive has no directory, and no manifest lists what a disk names.
    #[must_use]
    pub fn options(&self, options: &OpenOptions) -> OpenOptions {
        let mut options = options.clone();
        if options.backing != BackingPolicy::Describe {
            options.backing = BackingPolicy::Sealed;
        }
        options
    }

    /// Whether it is an archive, whose members are no files.
    #[must_use]
    pub const fn is_archive(&self) -> bool {
        matches!(self.store, Store::Archive(_))
    }
}

fn ends_in(path: &Path, ending: &str) -> bool {
    names::ends_with(path.as_os_str().as_encoded_bytes(), ending)
}

/// Whether a member is a descriptor: at the top, or in a directory there.
fn is_descriptor(name: &[u8]) -> bool {
    let depth = name.iter().filter(|byte| **byte == b'/').count();
    names::ends_with(name, ".ovf") && depth <= 1 && !names::is_noise(name)
}

fn only_descriptor(index: &Index) -> Result<(String, &crate::tar::Entry)> {
    let mut found = index
        .entries
        .iter()
        .filter(|entry| is_descriptor(&entry.name));
    let first = found
        .next()
        .ok_or_else(|| Error::unsupported("this is a tar archive without a descriptor (.ovf)"))?;
    if let Some(second) = found.next() {
        return Err(Error::new(
            ErrorKind::Ambiguous,
            format!(
                "the archive has two descriptors, \"{}\" and \"{}\", and one is expected",
                names::text(&first.name),
                names::text(&second.name)
            ),
        ));
    }
    let name = std::str::from_utf8(&first.name)
        .map_err(|_| Error::unsupported("the name of the descriptor is no UTF-8 text"))?;
    names::check(name, "the archive")?;
    Ok((name.to_owned(), first))
}

/// The refusal of an archive without a descriptor that another program has made of a machine.
fn foreign(index: &Index) -> Option<Error> {
    let has = |name: &str| index.entries.iter().any(|it| it.name == name.as_bytes());
    let names = || index.entries.iter().map(|entry| entry.name.as_slice());
    if has("ova.xml") && names().any(|name| name.starts_with(b"Ref:")) {
        let error = Error::unsupported(
            "this is an export of XenServer or XCP-ng (XVA), which imgferry does not read",
        );
        return Some(error.with_hint(
            "export each disk on the host as VHD, which imgferry reads: xe vdi-export uuid=UUID \
             format=vhd filename=disk.vhd",
        ));
    }
    let is_disk = |name: &&[u8]| *name == b"box.img" || names::ends_with(name, ".vmdk");
    let disk = names().find(is_disk)?;
    if !has("metadata.json") && !has("Vagrantfile") {
        return None;
    }
    let error = Error::unsupported(format!(
        "this is a Vagrant box, which imgferry does not read; it reads its disk, \"{}\"",
        names::text(disk)
    ));
    Some(error.with_hint("unpack it first: tar -xf IMAGE"))
}

fn missing(name: &str) -> Error {
    Error::new(
        ErrorKind::Truncated,
        format!("the package has no file \"{}\"", printable(name)),
    )
}

/// The descriptor's text.
fn read_text(source: &dyn ReadAt, len: u64) -> Result<String> {
    if len > MAX_DESCRIPTOR_BYTES {
        return Err(Error::new(
            ErrorKind::Limit,
            format!("the descriptor has {len} bytes, at most {MAX_DESCRIPTOR_BYTES} are read"),
        ));
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
    source.read_exact_at(FileOffset(0), &mut bytes)?;
    let text = match bytes.strip_prefix(b"\xef\xbb\xbf") {
        Some(rest) => rest.to_vec(),
        None => bytes,
    };
    String::from_utf8(text).map_err(|e| {
        Error::unsupported("the descriptor is no UTF-8 text").caused_by(e.utf8_error())
    })
}

/// The manifest or certificate: the file that is called like the descriptor, or in an archive the
/// only one with this ending.
fn companion(
    store: &Store,
    descriptor: &str,
    ending: &str,
    warnings: &mut Vec<String>,
) -> Option<String> {
    let folder = names::directory(descriptor);
    let own = format!("{folder}{}{ending}", names::stem(descriptor));
    if store.has(&own) {
        return Some(own);
    }
    let Store::Archive(archive) = store else {
        return None;
    };
    let mut found = archive.index.entries.iter().filter(|entry| {
        names::ends_with(&entry.name, ending)
            && entry.name.starts_with(folder.as_bytes())
            && !names::is_noise(&entry.name)
    });
    let only = found.next()?;
    if found.next().is_some() {
        warnings.push(format!(
            "the archive has several files that end in {ending}, and none is called like the \
             descriptor; all are ignored"
        ));
        return None;
    }
    std::str::from_utf8(&only.name).ok().map(str::to_owned)
}
