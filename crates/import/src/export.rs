//! Disks that NBD servers export, where a file is named.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::convert::CancelToken;
use cloud::{Class, Failure, Result};
use diskimg::{BackingPolicy, OpenOptions, Opened, ReadAt};
use nbd::{ClientOptions, NbdSource, NbdUri};

/// What is told of every export.
pub(crate) const NOBODY_KNOWS: &str = "a server does not tell whether somebody writes to the disk \
    that it exports: shut the machine down, or export a snapshot";

/// Whether `path` is the URI of an export.
#[must_use]
pub fn is_export(path: &Path) -> bool {
    NbdUri::claims(path.as_os_str())
}

/// `path` in messages, journals and JSON: of a URI without what could be secret.
#[must_use]
pub fn public_name(path: &Path) -> PathBuf {
    match is_export(path) {
        false => path.to_owned(),
        true => match uri_of(path.as_os_str()) {
            Ok(uri) => PathBuf::from(uri.to_string()),
            Err(_) => PathBuf::from("the NBD URI"),
        },
    }
}

fn uri_of(text: &OsStr) -> Result<NbdUri, String> {
    text.to_str().ok_or("it is not UTF-8")?.parse()
}

/// Opens the export that the URI in `path` names. `tls_ca` is the file of the certificates that may
/// sign that of the server.
pub(crate) fn open_export(
    path: &Path,
    tls_ca: Option<&Path>,
    options: &OpenOptions,
    cancel: &CancelToken,
) -> Result<Opened> {
    if matches!(options.backing, BackingPolicy::Inside(_)) {
        return Err(Failure::new(
            Class::Refused,
            "backing files need an image with a path: an export has no directory",
        )
        .hint("let the server export the disk with its backing files, as qemu-nbd does"));
    }
    let opened = ::convert::open_source_with(connect(path, tls_ca, options, cancel)?, options);
    Ok(opened.map_err(|error| error.in_file(&public_name(path)))?)
}

/// The bytes of that export.
pub(crate) fn connect(
    path: &Path,
    tls_ca: Option<&Path>,
    options: &OpenOptions,
    cancel: &CancelToken,
) -> Result<Arc<dyn ReadAt>> {
    let uri = uri_of(path.as_os_str()).map_err(|wrong| {
        Failure::new(
            Class::Refused,
            format!("the URI of the export cannot be used: {wrong}"),
        )
    })?;
    let cancel = cancel.clone();
    let client = ClientOptions {
        tls_ca: tls_ca.map(Path::to_owned),
        bitmap: options.bitmap.clone(),
        stop: Arc::new(move || cancel.is_cancelled()),
        ..ClientOptions::default()
    };
    Ok(Arc::new(NbdSource::open(uri, client)?))
}
