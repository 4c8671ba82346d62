//! The package's files against its manifest.

use std::sync::Arc;

use diskimg::text::printable;
use diskimg::units::FileOffset;
use diskimg::{Error, ErrorKind, ReadAt, Result};

use crate::disks::Disk;
use crate::limits::MAX_MANIFEST_BYTES;
use crate::manifest::{Algorithm, Line, Lines, holds};
use crate::names;
use crate::package::Package;

/// A manifest that was read, and that the descriptor agrees with.
#[derive(Clone, Debug)]
pub struct Manifest {
    lines: Lines,
    /// The directory of the descriptor, which names in the manifest are relative to.
    folder: String,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// The digests of one disk's files, to be held against their bytes.
#[derive(Clone)]
pub struct Verification {
    /// The files with what the manifest says of each.
    files: Vec<(String, Arc<dyn ReadAt>, Vec<Line>)>,
}

impl std::fmt::Debug for Verification {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.files.iter().map(|(name, ..)| name);
        f.debug_list().entries(names).finish()
    }
}

impl Package {
    /// Reads the manifest, and checks the descriptor by it; `None` when there is no manifest.
    ///
    /// # Errors
    /// `Mismatch` when the descriptor is another one; `Unsupported` when the manifest cannot be
    /// understood; `Truncated` when a file that it lists is missing. All name the package.
    pub fn manifest(&self) -> Result<Option<Manifest>> {
        let Some(name) = &self.manifest else {
            return Ok(None);
        };
        let manifest = self.read_manifest(name);
        manifest.map(Some).map_err(|e| e.in_file(self.path()))
    }

    fn read_manifest(&self, name: &str) -> Result<Manifest> {
        let missing = |name: &str| {
            Error::new(
                ErrorKind::Truncated,
                format!("manifest: \"{}\" is not in the package", printable(name)),
            )
        };
        let source = self.store.find(name)?.ok_or_else(|| missing(name))?;
        if source.len() > MAX_MANIFEST_BYTES {
            return Err(Error::new(
                ErrorKind::Limit,
                format!(
                    "the manifest has {} bytes, at most {MAX_MANIFEST_BYTES} are read",
                    source.len()
                ),
            ));
        }
        let mut bytes = vec![0; usize::try_from(source.len()).unwrap_or_default()];
        source.read_exact_at(FileOffset(0), &mut bytes)?;
        let lines = Lines::parse(&bytes, name)?;
        let folder = names::directory(&self.descriptor);
        for listed in lines.names() {
            names::check(listed, "the manifest")?;
            if !self.store.has(&format!("{folder}{listed}")) {
                return Err(missing(listed));
            }
        }
        let own = self.descriptor.strip_prefix(folder).unwrap_or_default();
        let digests = lines.of(own);
        let mut warnings = Vec::new();
        if digests.is_empty() {
            warnings.push(format!(
                "the manifest has no digest of the descriptor, \"{}\"",
                printable(own)
            ));
        }
        if !holds(self.descriptor_bytes.as_ref(), &digests, &|| false)? {
            return Err(Error::new(
                ErrorKind::Mismatch,
                format!(
                    "manifest: the descriptor \"{}\" is not what it was (edited by hand?)",
                    printable(own)
                ),
            ));
        }
        Ok(Manifest {
            lines,
            folder: folder.to_owned(),
            warnings,
        })
    }
}

impl Manifest {
    /// The ways in which its digests were made.
    #[must_use]
    pub fn algorithms(&self) -> Vec<Algorithm> {
        self.lines.algorithms()
    }

    /// What it says of the files of `disk`; `None` when it says nothing of any.
    #[must_use]
    pub fn of(&self, disk: &Disk) -> Option<Verification> {
        let files = disk.parts().map(|part| {
            let lines = self.of_file(&part.name);
            (part.name.clone(), Arc::clone(&part.bytes), lines)
        });
        let files: Vec<_> = files.filter(|(.., lines)| !lines.is_empty()).collect();
        (!files.is_empty()).then_some(Verification { files })
    }

    /// The files of `disk` of which it says nothing.
    #[must_use]
    pub fn unlisted<'a>(&self, disk: &'a Disk) -> Vec<&'a str> {
        let names = disk.parts().map(|part| part.name.as_str());
        names.filter(|name| self.of_file(name).is_empty()).collect()
    }

    fn of_file(&self, name: &str) -> Vec<Line> {
        self.lines
            .of(name.strip_prefix(&self.folder).unwrap_or(name))
    }
}

impl Verification {
    /// Reads the files front to back. Asks `cancelled` again and again.
    ///
    /// # Errors
    /// `Mismatch` when one is not what it was; `Cancelled`; those of reading.
    pub fn run(&self, cancelled: &dyn Fn() -> bool) -> Result<()> {
        for (name, bytes, lines) in &self.files {
            if !holds(bytes.as_ref(), lines, cancelled)? {
                let error = Error::new(
                    ErrorKind::Mismatch,
                    format!(
                        "manifest: the disk \"{}\" is not what it was (damaged download?)",
                        printable(name)
                    ),
                );
                return Err(match bytes.path() {
                    Some(path) => error.in_file(path),
                    None => error,
                });
            }
        }
        Ok(())
    }
}
