//! Choosing the format of a file, by what the user says or by its content.

use std::path::Path;

use crate::chain::descriptor_of;
use crate::driver::Driver;
use crate::error::{Error, ErrorKind, Result};
use crate::format::Format;
use crate::hint::Hint;
use crate::machine;
use crate::options::OpenOptions;
use crate::probe::{Foreign, Probe};
use crate::source::ReadAt;
use crate::text::shell_path;

/// The driver for the format that the user named, or that the content has.
///
/// # Errors
/// `Ambiguous` when the format cannot be determined safely, `Unsupported` when it is not read.
pub(crate) fn choose(
    source: &dyn ReadAt,
    options: &OpenOptions,
    drivers: &[Driver],
) -> Result<Driver> {
    match options.format {
        Some(format) => named(format, drivers),
        None => detect(source, drivers),
    }
}

/// The driver for `format`.
///
/// # Errors
/// `Unsupported` when there is none.
pub(crate) fn named(format: Format, drivers: &[Driver]) -> Result<Driver> {
    drivers
        .iter()
        .find(|driver| driver.format == format)
        .copied()
        .ok_or_else(|| Error::unsupported(format!("format {format} is not read here")))
}

/// The driver for the format that the content has.
fn detect(source: &dyn ReadAt, drivers: &[Driver]) -> Result<Driver> {
    if source.is_empty() {
        return Err(Error::new(ErrorKind::Truncated, "the file is empty"));
    }
    let probe = Probe::read(source)?;
    if probe.is_text()
        && let Some(error) = machine::refusal(source)
    {
        return Err(error);
    }
    let driver = recognise(&probe, drivers)?;
    match source.path().filter(|_| driver.format == Format::Raw) {
        Some(path) => refuse_part(path).map(|()| driver),
        None => Ok(driver),
    }
}

/// Refuses to guess that the file at `path` is a raw disk when its name is that of a part of a VMDK
/// or of what VMware keeps beside one.
///
/// # Errors
/// `Ambiguous`.
fn refuse_part(path: &Path) -> Result<()> {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    if name.to_ascii_lowercase().ends_with(b"-ctk.vmdk") {
        return Err(Error::new(
            ErrorKind::Ambiguous,
            "by its name this is a ctk file: it says which parts of a disk have changed, and is \
             no disk",
        ));
    }
    let Some(descriptor) = descriptor_of(path) else {
        return Ok(());
    };
    let error = Error::new(
        ErrorKind::Ambiguous,
        "by its name this is only a part of a VMDK; the disk is what its descriptor puts together",
    );
    Err(match shell_path(&descriptor) {
        Some(descriptor) => error.with_hint(Hint::OpenAsRawOr(format!(
            "give its descriptor: {descriptor}"
        ))),
        None => error,
    })
}

/// The driver whose format a file with these ends has.
///
/// # Errors
/// `Ambiguous`, `Unsupported`.
pub(crate) fn recognise(probe: &Probe, drivers: &[Driver]) -> Result<Driver> {
    let ours: Vec<_> = drivers.iter().filter(|d| (d.claims)(probe)).collect();
    let foreign: Vec<_> = probe.foreign().collect();
    let formats: Vec<_> = ours.iter().map(|driver| driver.format).collect();
    let mut claims: Vec<_> = formats
        .iter()
        .map(|format| format.name())
        .chain(foreign.iter().map(|format| format.name))
        .collect();
    claims.extend(disk_in_front(probe, &ours, &foreign));
    refuse_polyglot(&claims, &formats)?;
    if let Some(driver) = ours.first() {
        return Ok(**driver);
    }
    if let Some(format) = foreign.first() {
        return Err(Error::unsupported(format!(
            "this is {}, which imgferry does not read",
            format.name
        ))
        .with_hint(format.hint()));
    }
    if probe.is_text() {
        return Err(
            Error::new(ErrorKind::Ambiguous, "this is text, not a disk image")
                .with_hint(Hint::OpenAsRaw),
        );
    }
    // Nothing claims it.
    named(Format::Raw, drivers)
}

/// What the file begins with, when that is a raw disk's beginning and a format claims the file all
/// the same: programs that look at the disk and programs that look for the format would read
/// different disks.
///
/// No program puts a boot sector or a partition table into an image's header. A claim by the end of
/// the file is worth even less: root in the guest of a raw disk writes its last sectors.
/// A fixed VHD alone is the disk that it begins with, to any reader, up to the footer.
fn disk_in_front(probe: &Probe, ours: &[&Driver], foreign: &[&Foreign]) -> Option<&'static str> {
    let front = probe.without_tail();
    if ours.iter().any(|driver| (driver.claims)(&front)) {
        return probe.partitioned();
    }
    let foreign_front: Vec<_> = front.foreign().map(|format| format.name).collect();
    let by_end = |format: &&Foreign| !foreign_front.contains(&format.name);
    let ours = ours.iter().any(|driver| !(driver.begins_with_disk)(probe));
    if !ours && !foreign.iter().any(by_end) {
        return None;
    }
    probe.partitioned().or_else(|| probe.file_system())
}

/// The first format besides raw that claims a file with these ends.
pub(crate) fn recognised_as(probe: &Probe, drivers: &[Driver]) -> Option<&'static str> {
    drivers
        .iter()
        .find(|driver| (driver.claims)(probe))
        .map(|driver| driver.format.name())
        .or_else(|| probe.foreign().next().map(|format| format.name))
}

/// Refuses a file that more than one of `claims` recognise; `formats` are those of them that
/// imgferry reads.
///
/// # Errors
/// `Ambiguous`: what one program checks would not be what another one reads.
fn refuse_polyglot(claims: &[&str], formats: &[Format]) -> Result<()> {
    if claims.len() < 2 {
        return Ok(());
    }
    let formats = formats.iter().filter(|format| **format != Format::Raw);
    let possible = [Format::Raw].iter().chain(formats).copied().collect();
    Err(Error::new(
        ErrorKind::Ambiguous,
        format!(
            "more than one format claims this file: {}",
            claims.join(" and ")
        ),
    )
    .with_hint(Hint::NameFormat(possible)))
}
