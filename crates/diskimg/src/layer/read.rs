//! Filling a buffer, run by run.

use std::convert::Infallible;
use std::ops::Range;

use super::map::{Mapped, Place};
use crate::error::{Error, Result};
use crate::extent::check_range;
use crate::source::ReadAt;
use crate::units::{FileOffset, GuestOffset};

/// What fills in runs that are stored in a form of the format's own.
pub(crate) trait Unpack<P> {
    /// Fills `target`, a part of the whole buffer, from `packed`, now or later.
    ///
    /// # Errors
    /// Those of the format.
    fn unpack(&mut self, buf: &mut [u8], packed: P, target: Range<usize>) -> Result<()>;

    /// Fills in what is left to do, and gives back what the files of a chain share: the next bytes
    /// come from the image below, or there are no more.
    ///
    /// # Errors
    /// Those of the format.
    fn finish(&mut self, buf: &mut [u8]) -> Result<()>;
}

/// For formats that have no form of their own.
struct Plain;

impl Unpack<Infallible> for Plain {
    fn unpack(&mut self, _: &mut [u8], never: Infallible, _: Range<usize>) -> Result<()> {
        match never {}
    }

    fn finish(&mut self, _: &mut [u8]) -> Result<()> {
        Ok(())
    }
}

/// [`crate::DiskImage::read_at`] of a mapped disk.
pub(crate) fn read_at<M: Mapped>(
    disk: &M,
    at: GuestOffset,
    buf: &mut [u8],
    unpack: &mut impl Unpack<M::Packed>,
) -> Result<()> {
    let layer = disk.layer();
    check_range(at, buf.len() as u64, layer.virtual_size)?;
    let declared = layer.declared_size.saturating_sub(at.0);
    let (buf, padding) = buf.split_at_mut(index(declared).min(buf.len()));
    padding.fill(0);
    let end = at.0 + buf.len() as u64;
    let mut plain = PlainRead::default();
    for run in disk.runs(at.0, end) {
        let run = run?;
        let target = index(run.start - at.0)..index(run.start - at.0 + run.len);
        match run.place {
            Place::Below => {
                if layer.below.is_image() {
                    unpack.finish(buf)?;
                }
                if let Some(target) = buf.get_mut(target) {
                    layer.below.read(run.start, target)?;
                }
            }
            Place::Zeros => {
                if let Some(target) = buf.get_mut(target) {
                    target.fill(0);
                }
            }
            Place::Elsewhere => {
                return Err(Error::unsupported(format!(
                    "guest offset {:#x} is in a file that was not opened",
                    run.start
                )));
            }
            Place::Stored(host) => {
                if !plain.join(host, &target) {
                    plain.finish(layer.data.as_ref(), buf)?;
                    plain = PlainRead { host, target };
                }
            }
            Place::Packed(packed) => unpack.unpack(buf, packed, target)?,
        }
    }
    unpack.finish(buf)?;
    plain.finish(layer.data.as_ref(), buf)
}

/// [`read_at`] for formats that have no form of their own.
pub(crate) fn read_plain<M: Mapped<Packed = Infallible>>(
    disk: &M,
    at: GuestOffset,
    buf: &mut [u8],
) -> Result<()> {
    read_at(disk, at, buf, &mut Plain)
}

/// A positioned read that is still growing.
#[derive(Default)]
struct PlainRead {
    host: FileOffset,
    target: Range<usize>,
}

impl PlainRead {
    /// Takes in what follows it both in the file and in the buffer.
    fn join(&mut self, host: FileOffset, target: &Range<usize>) -> bool {
        let follows = self.target.end == target.start
            && self.host.checked_add(self.target.len() as u64) == Some(host);
        if follows {
            self.target.end = target.end;
        }
        follows
    }

    fn finish(&self, source: &dyn ReadAt, buf: &mut [u8]) -> Result<()> {
        match buf.get_mut(self.target.clone()) {
            Some(target) if !target.is_empty() => source.read_exact_at(self.host, target),
            _ => Ok(()),
        }
    }
}

/// An offset inside a buffer, which is less than `usize::MAX`.
fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}
