//! One module per command.

pub(crate) mod batch;
pub(crate) mod bench;
pub(crate) mod bitmap;
pub(crate) mod config;
pub(crate) mod convert;
pub(crate) mod digest;
pub(crate) mod export;
pub(crate) mod image;
pub(crate) mod import;
pub(crate) mod inspect;
pub(crate) mod job;
pub(crate) mod lists;
pub(crate) mod sandbox;
pub(crate) mod serve;
pub(crate) mod status;
mod storage;
mod table;
pub(crate) mod upload;
pub(crate) mod uploads;
pub(crate) mod verify;

use std::path::Path;

use ::convert::Target;
use diskimg::Extension;
use diskimg::Format;
use diskimg::text::{is_descriptor, shell_path, shown};

use cloud::{Class, Failure, Result};

/// `path` as it can be pasted into a command; `otherwise`, a word that stands for it, when it
/// cannot.
pub(crate) fn typed(path: &Path, otherwise: &str) -> String {
    match shell_path(path) {
        Some(word) if !is_descriptor(path) => word,
        _ => otherwise.to_owned(),
    }
}

/// The format that the name of the file at `path` asks for; `None` when it does not say. `anyway`
/// is what helps whoever means the name.
///
/// # Errors
/// When it is the name of a format that is not written.
pub(crate) fn target_by_name(path: &Path, anyway: &str) -> Result<Option<Target>> {
    let name = match Extension::of(path) {
        None => return Ok(None),
        Some(Extension::AnyDisk | Extension::Format(Format::Raw)) => return Ok(Some(Target::Raw)),
        Some(Extension::Format(Format::Zvhd2)) => return Ok(Some(Target::Zvhd2)),
        Some(Extension::Format(format)) => format.name(),
        Some(Extension::Other(name)) => name,
    };
    Err(Failure::new(
        Class::Refused,
        format!(
            "{}: the name stands for {name}, which imgferry does not write; it writes ZVHD2 and raw",
            shown(path)
        ),
    )
    .hint(format!("call the file .zvhd2 or .raw{anyway}")))
}
