//! What a file is: a whole disk, a descriptor of one, or only a part.

use std::sync::Arc;

use super::descriptor::{DESCRIPTOR, Descriptor, begins_as_descriptor, read_text};
use super::hosted::Hosted;
use super::layout::{COWD_MAGIC, HOSTED_MAGIC, SESPARSE_MAGIC};
use super::lines::shown;
use super::parts::{Builder, Parts};
use crate::chain::{Context, descriptor_of};
use crate::error::{Error, Result};
use crate::report::Report;
use crate::source::ReadAt;
use crate::text::shell_path;
use crate::units::FileOffset;

/// Bytes by which a descriptor is told from other text.
const HEAD_BYTES: u64 = 4 << 10;

/// A disk as its descriptor gives it; nothing else is read yet.
pub(super) struct Disk {
    pub(super) descriptor: Descriptor,
    /// The header, when the disk is in the file with its descriptor.
    hosted: Option<Hosted>,
}

impl Disk {
    /// Reads the descriptor in `source`, and refuses disks that are not read.
    ///
    /// # Errors
    /// `Unsupported` for those and for files that are only a part of a disk; those of `report` and
    /// of reading.
    pub(super) fn read(source: &dyn ReadAt, report: &mut dyn Report) -> Result<Option<Self>> {
        let mut head = vec![0; usize::try_from(source.len().min(HEAD_BYTES)).unwrap_or_default()];
        source.read_exact_at(FileOffset(0), &mut head)?;
        let disk = match head.as_slice() {
            head if head.starts_with(&HOSTED_MAGIC) => Self::embedded(source, report)?,
            head if head.starts_with(&COWD_MAGIC) => return Err(part(source, "COWD")),
            head if head.starts_with(&SESPARSE_MAGIC) => return Err(part(source, "seSparse")),
            head if begins_as_descriptor(head) => {
                let descriptor = Descriptor::read(source)?;
                descriptor.refuse_unread()?;
                Some(Self {
                    descriptor,
                    hosted: None,
                })
            }
            head => {
                return Err(Error::corrupt(
                    DESCRIPTOR,
                    0,
                    format!(
                        "the file begins with \"{}\", which is neither a descriptor nor a sparse \
                         extent",
                        shown(head.get(..16).unwrap_or(head))
                    ),
                ));
            }
        };
        Ok(disk)
    }

    fn embedded(source: &dyn ReadAt, report: &mut dyn Report) -> Result<Option<Self>> {
        let Some(hosted) = Hosted::read(source, report)? else {
            return Ok(None);
        };
        let Some(place) = hosted.descriptor(source.len(), report)? else {
            return Err(part(source, "a sparse extent without a descriptor"));
        };
        let text = read_text(source, place.start, place.end - place.start)?;
        // QEMU leaves room for a descriptor in every part of a disk.
        if text.first().is_none_or(|byte| *byte == 0) {
            return Err(part(source, "a sparse extent without a descriptor"));
        }
        // What follows the first NUL is padding, whatever it holds: writers grow and shrink it.
        let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
        let descriptor = Descriptor::parse(text, place.start)?;
        descriptor.refuse_unread()?;
        descriptor.refuse_others_embedded()?;
        Ok(Some(Self {
            descriptor,
            hosted: Some(hosted),
        }))
    }

    /// Finds the disk's parts. `source` is the file that it was read from.
    ///
    /// # Errors
    /// By the policy in `context`; those of `report` and of reading.
    pub(super) fn parts(
        &mut self,
        source: &Arc<dyn ReadAt>,
        context: &Context,
        report: &mut dyn Report,
    ) -> Result<Option<Parts>> {
        let builder = Builder::new(&self.descriptor, context, report);
        match self.hosted.take() {
            Some(hosted) => builder.embedded(source, hosted),
            None => builder.beside(source.as_ref()),
        }
    }
}

/// The refusal of a file that is only a part of a disk.
fn part(source: &dyn ReadAt, what: &str) -> Error {
    let descriptor = source.path().and_then(descriptor_of);
    let descriptor = descriptor.and_then(|path| shell_path(&path));
    Error::unsupported(format!(
        "this is only a part of a VMDK ({what}); the disk is what its descriptor puts together"
    ))
    .with_hint(match descriptor {
        Some(path) => format!("give its descriptor: {path}"),
        None => "give its descriptor, the small text file beside it: NAME.vmdk".to_owned(),
    })
}
