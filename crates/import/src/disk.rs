//! Where a disk is: in a file of its own, or in a package of a virtual machine.

use std::fmt;
use std::path::{Path, PathBuf};

use diskimg::{CheckReport, OpenOptions, Opened, ReadAt, member_path};
use ova::{Disk, Package, Verification};

use super::export::{is_export, public_name};
use super::stdin::is_standard_input;
use cloud::{Class, Failure, Hint, Result};
use std::sync::Arc;

/// Where a disk is: a path, or the URI of an export of an NBD server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceDisk {
    /// The disk image, or the package that it is in; `-` is standard input.
    pub path: PathBuf,
    /// The disk of the package: its file as the package calls it, or its number from 1 on. `None`
    /// for the only one, and for an image that is in no package.
    pub member: Option<String>,
    /// The file of the certificates that may sign that of the server that exports the disk.
    pub tls_ca: Option<PathBuf>,
}

impl SourceDisk {
    /// A disk of the package at `path`.
    #[must_use]
    pub fn in_package(path: impl Into<PathBuf>, member: Option<String>) -> Self {
        Self {
            path: path.into(),
            member,
            tls_ca: None,
        }
    }

    /// What it is called in messages.
    #[must_use]
    pub fn name(&self) -> PathBuf {
        match &self.member {
            Some(member) => member_path(&self.path, member),
            None => public_name(&self.path),
        }
    }
}

impl<P: Into<PathBuf>> From<P> for SourceDisk {
    fn from(path: P) -> Self {
        Self::in_package(path, None)
    }
}

impl fmt::Display for SourceDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name().display().fmt(f)
    }
}

/// The package at `path`, if that is one. With a format that the user named, the file is read as
/// that, unless a disk of the package is asked for.
///
/// # Errors
/// When a disk of a package is asked for, and there is none; those of the package.
pub fn open_package(disk: &SourceDisk, options: &OpenOptions) -> Result<Option<Package>> {
    let asked = disk.member.is_some();
    if is_standard_input(&disk.path)
        || is_export(&disk.path)
        || (options.format.is_some() && !asked)
    {
        return match asked {
            true => Err(Failure::new(
                Class::Refused,
                "a disk of a package is read from a file, not from standard input or a server",
            )
            .hint("save the package to a file first, and name that")),
            false => Ok(None),
        };
    }
    let package = Package::open(&disk.path, &options.backing)?;
    if package.is_none() && asked {
        return Err(Failure::new(
            Class::Refused,
            format!(
                "{}: a disk of a package was named, and this is no package (OVA archive or OVF \
                 descriptor)",
                diskimg::text::shown(&disk.path)
            ),
        ));
    }
    Ok(package)
}

/// A disk of a package.
pub struct Chosen {
    /// Its name, for messages.
    pub name: PathBuf,
    /// How it is opened.
    pub options: OpenOptions,
    /// What the manifest says of it.
    pub verification: Option<Verification>,
    /// What the user should know, of the package too.
    pub warnings: Vec<String>,
    disk: Disk,
    package: PathBuf,
}

impl Chosen {
    /// The disk of `package` that `member` names, or its only one. The descriptor and the manifest
    /// are checked first, unless the manifest is to be ignored.
    ///
    /// # Errors
    /// When there are several and none was named, or not the one that was; when the manifest says
    /// something else.
    pub fn of(
        package: &Package,
        member: Option<&str>,
        options: &OpenOptions,
        ignore_manifest: bool,
    ) -> Result<Self> {
        let disk = choose(package, member)?;
        let mut warnings = package.warnings().to_vec();
        let verification = match ignore_manifest {
            true => None,
            false => verification(package, disk, &mut warnings)?,
        };
        Ok(Self {
            name: member_path(package.path(), &disk.member),
            options: package.options(options),
            verification,
            warnings,
            disk: disk.clone(),
            package: package.path().to_owned(),
        })
    }

    /// The file that it begins in: one of the package, or that.
    #[must_use]
    pub fn file(&self) -> &Path {
        self.disk.files().next().unwrap_or(&self.package)
    }

    /// Opens it as an image of its own.
    ///
    /// # Errors
    /// Those of the image.
    pub fn open(&mut self) -> diskimg::Result<Opened> {
        let opened = ::convert::open_source_with(self.source()?, &self.options);
        let mut opened = opened.map_err(|error| self.in_package(error))?;
        let others = self.disk.files().skip(1);
        opened.files.extend(others.map(Path::to_owned));
        let size = opened.image.virtual_size();
        if let Some(capacity) = self.disk.capacity.filter(|capacity| *capacity != size) {
            self.warnings.push(format!(
                "the disk has {size} bytes, the descriptor says {capacity}; the disk counts"
            ));
        }
        Ok(opened)
    }

    /// Checks it against the rules of its format.
    ///
    /// # Errors
    /// Those of telling the format apart and of reading.
    pub fn check(&self, cancelled: &dyn Fn() -> bool) -> Result<CheckReport> {
        let (source, options) = (self.source()?, &self.options);
        let report = diskimg::check_source(&source, options, &zvhd2::DRIVERS, cancelled);
        Ok(report.map_err(|error| self.in_package(error))?)
    }

    /// Its bytes, decoded if the package compresses them.
    fn source(&self) -> diskimg::Result<Arc<dyn ReadAt>> {
        let source = self.disk.source(&self.options.stop);
        source.map_err(|error| error.in_file(&self.package))
    }

    fn in_package(&self, error: diskimg::Error) -> diskimg::Error {
        error.in_member(&self.package, &self.disk.member)
    }
}

/// The disk that `member` names, or the only one.
pub(crate) fn choose<'a>(package: &'a Package, member: Option<&str>) -> Result<&'a Disk> {
    let path = diskimg::text::shown(package.path());
    let message = match (member, package.disks()) {
        (None, [only]) => return Ok(only),
        (None, disks) => format!("{path} has {} disks", disks.len()),
        (Some(name), _) => match package.find(name) {
            Some(disk) => return Ok(disk),
            None => format!("{path} has no disk \"{}\"", diskimg::printable(name)),
        },
    };
    Err(Failure::new(Class::Refused, message).hint(choices(package)))
}

/// The disks that can be named.
pub(crate) fn choices(package: &Package) -> Hint {
    let members = package.disks().iter().map(|disk| disk.member.clone());
    Hint::ChooseDisk(members.collect())
}

/// What the manifest says of a disk.
fn verification(
    package: &Package,
    disk: &Disk,
    warnings: &mut Vec<String>,
) -> Result<Option<Verification>> {
    let manifest = package
        .manifest()
        .map_err(|error| Failure::from(error).hint(Hint::IgnoreManifest))?;
    let Some(manifest) = manifest else {
        return Ok(None);
    };
    warnings.extend(manifest.warnings.iter().cloned());
    let found = manifest.of(disk);
    match (&found, manifest.unlisted(disk).as_slice()) {
        (None, _) => warnings
            .push("the manifest has no digest of this disk, so it is not verified".to_owned()),
        (Some(_), []) => {}
        (Some(_), [first, more @ ..]) => warnings.push(format!(
            "the manifest has no digest of \"{}\"{}, so that part of the disk is not verified",
            diskimg::printable(first),
            match more.len() {
                0 => String::new(),
                count => format!(" and {count} other files of this disk"),
            }
        )),
    }
    Ok(found)
}
