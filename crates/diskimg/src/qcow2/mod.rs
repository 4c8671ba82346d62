//! qcow2.
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::image::DiskImage;
use crate::open::Driver;
use crate::probe::Format;
use crate::source::ReadAt;

/// qcow2.
pub const DRIVER: Driver = Driver {
    format: Format::Qcow2,
    claims: |probe| {
        probe.starts_with(0, b"QFI\xfb\0\0\0\x02") || probe.starts_with(0, b"QFI\xfb\0\0\0\x03")
    },
    open: |_: Arc<dyn ReadAt>| -> Result<Box<dyn DiskImage>> { Err(Error::unsupported("qcow2")) },
};
