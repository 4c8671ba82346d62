//! Opening the user's files without waiting for pipes.

use std::fmt;
use std::fs::{self, File, FileType, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use crate::error::Error;

/// Opens the regular file at `path` for reading. Never waits, as opening a pipe does.
///
/// # Errors
/// `InvalidInput` when it is something else; those of opening it.
pub fn open_regular(path: &Path) -> io::Result<File> {
    open_regular_with(path, OpenOptions::new().read(true))
}

/// Opens the regular file at `path` as `options` say, or makes it. Never waits, as opening a pipe
/// does.
///
/// # Errors
/// `InvalidInput` when something else is there; those of opening it.
pub fn open_regular_with(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    open_checked(path, options, is_regular, "a regular file")
}

/// Opens the regular file or block device at `path` for reading. Never waits, as opening a pipe
/// does.
///
/// # Errors
/// `InvalidInput` when it is something else; those of opening it.
pub fn open_disk(path: &Path) -> io::Result<File> {
    open_checked(path, OpenOptions::new().read(true), is_disk, DISK)
}

fn is_regular(kind: FileType) -> bool {
    kind.is_file()
}

const DISK: &str = "a regular file or a block device";

/// Whether a disk image can be in a file of this type.
#[must_use]
pub fn is_disk(kind: FileType) -> bool {
    kind.is_file() || kind.is_block_device()
}

fn open_checked(
    path: &Path,
    options: &mut OpenOptions,
    is_right: fn(FileType) -> bool,
    expected: &'static str,
) -> io::Result<File> {
    let check = |kind: FileType| match is_right(kind) {
        true => Ok(()),
        false => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            OtherType(kind, expected),
        )),
    };
    // Asked before opening, because opening some devices does something to them.
    match fs::metadata(path) {
        Ok(metadata) => check(metadata.file_type())?,
        // It may be made.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // In case a pipe takes the file's place meanwhile. Regular files and block devices do not care.
    let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = options.custom_flags(nonblocking).open(path)?;
    check(file.metadata()?.file_type())?;
    Ok(file)
}

/// Something that is not a file of the expected type: what it is, and what was expected.
#[derive(Debug)]
pub(super) struct OtherType(FileType, &'static str);

impl OtherType {
    pub(super) fn than_a_disk(kind: FileType) -> Self {
        Self(kind, DISK)
    }

    pub(super) fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    /// As the error of opening an image.
    pub(super) fn refused(&self) -> Error {
        let error = Error::unsupported(format!(
            "this is {}; disk images are regular files and block devices",
            type_name(self.0)
        ));
        if self.0.is_fifo() {
            error.with_hint("save it to a file first, or give - where the command takes it")
        } else {
            error
        }
    }
}

impl fmt::Display for OtherType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this is {}, expected {}", type_name(self.0), self.1)
    }
}

impl std::error::Error for OtherType {}

/// What people call a file of this type.
#[must_use]
pub fn type_name(kind: FileType) -> &'static str {
    if kind.is_file() {
        "a regular file"
    } else if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_char_device() {
        "a character device"
    } else if kind.is_block_device() {
        "a block device"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "something else"
    }
}
