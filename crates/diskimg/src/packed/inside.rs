//! What a stream holds: nothing but a raw disk is read from one.

use super::container::Container;
use crate::driver::Driver;
use crate::error::{Error, ErrorKind, Result};
use crate::format::Format;
use crate::hint::Hint;
use crate::limits::MAX_VIRTUAL_SIZE;
use crate::probe::Probe;
use crate::select::{recognise, recognised_as};
use crate::units::human;

/// Refuses by name what is no raw disk, and was decoded from a stream of `packing`.
///
/// # Errors
/// `Unsupported`.
pub(crate) fn refuse_other_than_raw(
    probe: &Probe,
    drivers: &[Driver],
    packing: Container,
) -> Result<()> {
    let name = match recognise(probe, drivers) {
        Ok(found) if found.format == Format::Raw => return Ok(()),
        Ok(found) => Some(found.format.name()),
        Err(_) => recognised_as(probe, drivers),
    };
    let (packing, command) = (packing.name(), packing.command());
    let what = name.unwrap_or("text, or something that is no disk");
    Err(Error::unsupported(format!(
        "the content of the {packing} stream is {what}; of compressed disks only raw ones are read"
    ))
    .with_hint(format!("unpack it first: {command} < IMAGE > disk.img")))
}

/// Refuses the size of a disk that was announced and that no disk has.
///
/// # Errors
/// `Unsupported`, `Limit`.
pub(crate) fn check_size(size: u64) -> Result<()> {
    if size == 0 {
        return Err(Error::unsupported("a disk of 0 bytes was announced"));
    }
    if size > MAX_VIRTUAL_SIZE {
        return Err(Error::new(
            ErrorKind::Limit,
            format!(
                "a disk of {size} bytes ({}) was announced, at most {} are read",
                human(size),
                human(MAX_VIRTUAL_SIZE)
            ),
        ));
    }
    Ok(())
}

/// The size of a disk that is `told` by the user, by what it is packed in, or by both.
///
/// # Errors
/// `Unsupported` when they differ, or it is none that a disk has.
pub(crate) fn agreed_size(told: Option<u64>, found: Option<u64>) -> Result<Option<u64>> {
    if let (Some(told), Some(found)) = (told, found)
        && told != found
    {
        return Err(Error::unsupported(format!(
            "the disk inside has {found} bytes, {told} were announced"
        ))
        .with_hint(Hint::CorrectSize));
    }
    let size = told.or(found);
    size.map_or(Ok(()), check_size)?;
    Ok(size)
}
