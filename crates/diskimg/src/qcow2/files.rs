//! The other files of an image: the one below it, and the one that holds its clusters.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::header::BackingFile;
use crate::chain::{Below, Context, NamedPath, Referred, Role, Unopened, Wanted};
use crate::error::{Error, Result};
use crate::hint::FLATTEN_QCOW2;
use crate::source::ReadAt;

/// What lies below an image that names `backing`, if anything. What the user should know of it is
/// added to `warnings`.
///
/// # Errors
/// By the policy in `context`, and those of opening the file.
pub(super) fn open_backing(
    backing: Option<&BackingFile>,
    context: &Context,
    warnings: &mut Vec<String>,
) -> Result<Below> {
    let Some(backing) = backing else {
        return Ok(Below::Nothing);
    };
    let wanted = wanted(Role::Backing, &backing.name, backing.format.as_deref());
    match context.refer(&wanted)? {
        Referred::Unopened => Ok(Below::Unopened(wanted.reference())),
        Referred::Found(found) => {
            warnings.extend(found.moved.clone());
            context.open_declared(&wanted, found)
        }
    }
}

/// The external data file that the image calls `name`. What the user should know of it is added to
/// `warnings`.
///
/// # Errors
/// By the policy in `context`; `Corrupt` when the image does not name it.
pub(super) fn open_data(
    name: Option<&[u8]>,
    context: &Context,
    warnings: &mut Vec<String>,
) -> Result<(Arc<dyn ReadAt>, Wanted)> {
    let wanted = wanted(Role::Data, name.unwrap_or_default(), Some(b"raw"));
    let source: Arc<dyn ReadAt> = match context.refer(&wanted)? {
        Referred::Unopened => Arc::new(Unopened(wanted.reference())),
        Referred::Found(found) => {
            warnings.extend(found.moved);
            found.source
        }
    };
    Ok((source, wanted))
}

fn wanted(role: Role, name: &[u8], format: Option<&[u8]>) -> Wanted {
    let path = PathBuf::from(OsString::from_vec(name.to_vec()));
    Wanted {
        role,
        name: String::from_utf8_lossy(name).into_owned(),
        format: format.map(|format| String::from_utf8_lossy(format).into_owned()),
        paths: if name.is_empty() {
            Vec::new()
        } else {
            NamedPath::of_qemu(&path)
        },
        whole_hint: FLATTEN_QCOW2,
    }
}

/// Compares a cluster's place in an external data file with where the guest sees it: there both
/// have to be the same.
pub(super) fn check_place(guest: u64, host: u64) -> Result<()> {
    if guest == host {
        return Ok(());
    }
    Err(Error::corrupt(
        "data cluster",
        host,
        format!(
            "guest offset {guest:#x} is stored here, in an external data file; expected to be at \
             {guest:#x} there, too"
        ),
    ))
}
