//! Standard input, where a file is named.

use std::fs::{self, FileType};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// Standard input, as a file is named.
const DEVICE: &str = "/dev/stdin";

/// Whether `path` stands for standard input.
#[must_use]
pub fn is_standard_input(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// The path of the file that standard input is, if it is one.
pub(crate) fn redirected_file() -> Option<&'static Path> {
    let device = Path::new(DEVICE);
    let kind = fs::metadata(device).ok()?.file_type();
    (!is_stream(kind)).then_some(device)
}

/// Whether bytes come out of it one after the other.
pub(crate) fn is_stream(kind: FileType) -> bool {
    kind.is_fifo() || kind.is_socket() || kind.is_char_device()
}
