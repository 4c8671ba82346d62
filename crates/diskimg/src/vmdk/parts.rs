//! The parts of a disk: where each extent is, and in which file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::descriptor::Descriptor;
use super::directory::Sparse;
use super::files::Files;
use super::hosted::Hosted;
use super::lines::{Line, Storage, shown as shown_line};
use super::shape::Shape;
use super::{cowd, sesparse};
use crate::chain::{Context, ExtentFiles, NamedPath, Role, Wanted};
use crate::details::{Reference, first_warnings};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::MAX_VMDK_TABLES;
use crate::report::Report;
use crate::source::{Joined, MemorySource, ReadAt};
use crate::text::{printable, shown};
use crate::units::{SECTOR, fits};
use crate::unpack::{Compression, Packing};

/// A part of the disk.
pub(super) struct Part {
    /// First byte of it on the disk, and how many there are.
    pub(super) start: u64,
    pub(super) len: u64,
    pub(super) content: Content,
    /// Its file, and where that begins in [`Parts::data`].
    pub(super) source: Arc<dyn ReadAt>,
    pub(super) base: u64,
    /// The file's path, when it is not the one that the image is called after.
    path: Option<PathBuf>,
    /// How its grains are unpacked.
    pub(super) packing: Option<Packing>,
}

/// How the bytes of a part are stored.
pub(super) enum Content {
    /// Nowhere: zeros.
    Zeros,
    /// In a file that was not opened.
    Elsewhere,
    /// As they are, from this offset of the file on.
    Flat { offset: u64 },
    /// In grains.
    Sparse(Box<Sparse>),
}

impl Part {
    /// `error` with the name of the part's file.
    pub(super) fn name(&self, error: Error) -> Error {
        match &self.path {
            Some(path) => error.in_file(path),
            None => error,
        }
    }

    /// The name of the part's file, when it is not the one that the image is called after.
    pub(super) fn file_name(&self) -> Option<String> {
        let name = self.path.as_ref()?.file_name()?;
        Some(shown(Path::new(name)).to_string())
    }
}

/// The parts of a disk, in order and without gaps.
pub(super) struct Parts {
    pub(super) list: Vec<Part>,
    /// The files that hold them, end to end.
    pub(super) data: Arc<dyn ReadAt>,
    pub(super) references: Vec<Reference>,
    pub(super) warnings: Vec<String>,
}

impl Parts {
    /// The part that has the byte at `at` of the disk, and its number.
    ///
    /// # Errors
    /// `OutOfRange` when there is none.
    pub(super) fn at(&self, at: u64) -> Result<(usize, &Part)> {
        let behind = self.list.partition_point(|part| part.start <= at);
        let index = behind.wrapping_sub(1);
        self.list
            .get(index)
            .filter(|part| at - part.start < part.len)
            .map(|part| (index, part))
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::OutOfRange,
                    format!("no extent has guest offset {at:#x}"),
                )
            })
    }

    /// The sparse parts.
    pub(super) fn sparse(&self) -> impl Iterator<Item = (usize, &Part, &Sparse)> {
        (0..)
            .zip(&self.list)
            .filter_map(|(index, part)| match &part.content {
                Content::Sparse(sparse) => Some((index, part, &**sparse)),
                _ => None,
            })
    }

    /// Bytes of the directories.
    pub(super) fn memory(&self) -> u64 {
        let sparse = self.sparse().map(|(_, _, sparse)| sparse.memory());
        (self.list.capacity() * size_of::<Part>()) as u64 + sparse.sum::<u64>()
    }
}

/// Puts parts together.
pub(super) struct Builder<'a> {
    descriptor: &'a Descriptor,
    context: &'a Context,
    report: &'a mut dyn Report,
    /// Tables that the disk may still have.
    tables: u64,
    list: Vec<Part>,
    warnings: Vec<String>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(
        descriptor: &'a Descriptor,
        context: &'a Context,
        report: &'a mut dyn Report,
    ) -> Self {
        Self {
            descriptor,
            context,
            report,
            tables: MAX_VMDK_TABLES,
            list: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// The one part of a disk that is in the file with its descriptor, `source`, whose header is
    /// `hosted`.
    ///
    /// # Errors
    /// Those of the report, and of reading.
    pub(super) fn embedded(
        mut self,
        source: &Arc<dyn ReadAt>,
        hosted: Hosted,
    ) -> Result<Option<Parts>> {
        let Some(line) = self.descriptor.extents().next() else {
            return Ok(None);
        };
        let Some(content) = self.hosted(source.as_ref(), hosted, line)? else {
            return Ok(None);
        };
        self.push(content, line, source, 0, None);
        Ok(Some(self.finish(Arc::clone(source), Vec::new())))
    }

    /// The parts of a disk whose descriptor is `source`, in the files that it names.
    ///
    /// # Errors
    /// By the policy; those of the report, and of reading.
    pub(super) fn beside(mut self, source: &dyn ReadAt) -> Result<Option<Parts>> {
        let mut files = ExtentFiles::of(self.context, source);
        let mut used = Files::default();
        let mut references: Vec<Reference> = Vec::new();
        let descriptor = self.descriptor;
        for line in descriptor.extents() {
            let (Some(storage), Some(name)) = (line.storage, &line.name) else {
                self.push(Content::Zeros, line, &nothing(), 0, None);
                continue;
            };
            let wanted = self.wanted(storage, name)?;
            let reference = wanted.reference();
            let known = references
                .iter()
                .any(|known| known.name == reference.name && known.format == reference.format);
            let file = files.open(&wanted, name)?;
            if !known {
                references.push(Reference {
                    bytes: file.as_ref().map(|file| file.len()),
                    ..reference
                });
            }
            let Some(file) = file else {
                self.push(Content::Elsewhere, line, &nothing(), 0, None);
                continue;
            };
            let path = file.path().map(Path::to_owned);
            let named = |error: Error| match &path {
                Some(path) => error.in_file(path),
                None => error,
            };
            let base = used
                .place(&file, line, storage)
                .map_err(|error| wanted.unopenable(error))?;
            let content = self.content(&file, line, storage).map_err(named)?;
            let Some(content) = content else {
                return Ok(None);
            };
            self.push(content, line, &file, base, path);
        }
        self.warnings.append(&mut files.warnings);
        self.warnings.extend(used.excesses());
        let joined = Joined::new(used.list, source.path().map(Path::to_owned))?;
        Ok(Some(self.finish(Arc::new(joined), references)))
    }

    fn wanted(&self, storage: Storage, name: &[u8]) -> Result<Wanted> {
        let text = std::str::from_utf8(name).ok();
        let readable = text.filter(|text| self.descriptor.utf8 || text.is_ascii());
        let Some(text) = readable else {
            return Err(Error::unsupported(format!(
                "the name of an extent, \"{}\", is not in UTF-8",
                shown_line(name)
            ))
            .with_hint("rename the file, and write its new name into a copy of the descriptor"));
        };
        Ok(Wanted {
            role: Role::Extent,
            name: text.to_owned(),
            format: Some(storage.name().to_owned()),
            paths: NamedPath::of_qemu(Path::new(text)),
            whole_hint: "",
        })
    }

    /// How the bytes of `line` are stored in `file`.
    fn content(
        &mut self,
        file: &Arc<dyn ReadAt>,
        line: &Line,
        storage: Storage,
    ) -> Result<Option<Content>> {
        let shape = match storage {
            Storage::Zero => return Ok(Some(Content::Zeros)),
            Storage::Flat | Storage::Vmfs => return self.flat(file.len(), line),
            Storage::Sparse => {
                return match Hosted::read(file.as_ref(), self.report)? {
                    Some(hosted) => self.hosted(file.as_ref(), hosted, line),
                    None => Ok(None),
                };
            }
            Storage::VmfsSparse => {
                cowd::read(file.as_ref(), &mut self.warnings, self.report)?.map(|shape| (shape, 0))
            }
            Storage::SeSparse => {
                let parent = self.descriptor.parent.is_some();
                sesparse::read(file.as_ref(), parent, self.report)?
                    .map(|found| (found.shape, found.tables))
            }
        };
        match shape {
            Some((shape, tables)) => self.sparse(file.as_ref(), shape, tables, line),
            None => Ok(None),
        }
    }

    fn flat(&mut self, file_len: u64, line: &Line) -> Result<Option<Content>> {
        let place = line
            .offset
            .checked_mul(SECTOR)
            .filter(|offset| fits(*offset, line.sectors * SECTOR, file_len));
        if place.is_none() {
            self.report.broken("past-end", &|| {
                Error::truncated(
                    "extent",
                    0,
                    format!(
                        "the file is truncated: it has {file_len} bytes, the disk has {} sectors \
                         of it from sector {} on",
                        line.sectors, line.offset
                    ),
                )
            })?;
        }
        Ok(place.map(|offset| Content::Flat { offset }))
    }

    fn hosted(
        &mut self,
        source: &dyn ReadAt,
        mut hosted: Hosted,
        line: &Line,
    ) -> Result<Option<Content>> {
        self.warnings.append(&mut hosted.warnings);
        if self.descriptor.is("streamOptimized") != hosted.is_compressed() && self.list.is_empty() {
            let kind = match hosted.is_compressed() {
                true => "compressed",
                false => "not compressed",
            };
            self.warnings.push(format!(
                "the disk is of the type {}, but its grains are {kind}, and are read so",
                printable(&self.descriptor.create_type)
            ));
        }
        match hosted.shape(source, self.report)? {
            Some(shape) => self.sparse(source, shape, 0, line),
            None => Ok(None),
        }
    }

    /// The grains of `shape`, as far as `line` needs them.
    fn sparse(
        &mut self,
        source: &dyn ReadAt,
        shape: Shape,
        se_tables: u64,
        line: &Line,
    ) -> Result<Option<Content>> {
        let len = line.sectors * SECTOR;
        let excess = shape.capacity.checked_sub(len);
        if excess.is_none_or(|excess| excess >= shape.grain_size()) {
            self.report.broken("capacity", &|| {
                Error::corrupt(
                    "header",
                    0,
                    format!(
                        "its capacity is {} sectors, the descriptor gives the extent {}",
                        shape.capacity / SECTOR,
                        line.sectors
                    ),
                )
            })?;
            return Ok(None);
        }
        let sparse = Sparse::load(
            source,
            shape,
            se_tables,
            &mut self.tables,
            self.context,
            self.report,
        )?;
        Ok(sparse.map(|sparse| Content::Sparse(Box::new(sparse))))
    }

    fn push(
        &mut self,
        content: Content,
        line: &Line,
        source: &Arc<dyn ReadAt>,
        base: u64,
        path: Option<PathBuf>,
    ) {
        let packing = match &content {
            Content::Sparse(sparse) if sparse.shape.form.is_compressed() => {
                let grain = usize::try_from(sparse.shape.grain_size()).unwrap_or_default();
                let pool = &self.context.shared().unpackers;
                Some(pool.join(Compression::Framed, grain, sparse.file_len))
            }
            _ => None,
        };
        let start = self.list.last().map_or(0, |part| part.start + part.len);
        self.list.push(Part {
            start,
            // The sum was held against the largest disk.
            len: line.sectors * SECTOR,
            content,
            source: Arc::clone(source),
            base,
            path,
            packing,
        });
    }

    fn finish(self, data: Arc<dyn ReadAt>, references: Vec<Reference>) -> Parts {
        Parts {
            list: self.list,
            data,
            references,
            warnings: first_warnings(self.warnings),
        }
    }
}

fn nothing() -> Arc<dyn ReadAt> {
    Arc::new(MemorySource::default())
}
