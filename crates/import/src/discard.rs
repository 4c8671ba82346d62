//! Disks without their free space.

use std::path::Path;
use std::sync::Arc;

use ::convert::CancelToken;
use cloud::{Class, Failure, Result};
use diskimg::DiskImage;
use diskimg::text::shown;
use diskimg::units::human;
use freespace::{Discarded, FreeSpace, Options};

use crate::observe::Observer;

/// `image` without what its file systems call free, and what that is; told are what is left out and
/// what is copied whole, and why.
///
/// # Errors
/// `Refused` for a disk that can be read front to back only; `Stopped` as asked.
pub fn without_free(
    image: Box<dyn DiskImage>,
    name: &Path,
    options: Option<Options>,
    observer: &dyn Observer,
    cancel: &CancelToken,
) -> Result<(Box<dyn DiskImage>, Option<FreeSpace>)> {
    let Some(options) = options else {
        return Ok((image, None));
    };
    let details = image.details();
    if details.streamed || details.format == diskimg::Format::Zvhd {
        let message = format!(
            "{}: free space can be left out of disks that are read at any place, and this one is \
             read front to back",
            shown(&name)
        );
        return Err(Failure::new(Class::Refused, message)
            .hint("save the disk to a file first, or keep its free space"));
    }
    let found = freespace::find(image.as_ref(), options, &|| cancel.is_cancelled());
    if cancel.is_cancelled() {
        return Err(::convert::Error::Cancelled.into());
    }
    tell(&found, name, observer);
    let map = Arc::clone(&found.map);
    Ok((Box::new(Discarded::new(image, map)), Some(found)))
}

fn tell(found: &FreeSpace, name: &Path, observer: &dyn Observer) {
    let name = shown(&name);
    if let Some(reason) = &found.undone {
        observer.warn(format_args!("{name}: the disk is copied whole: {reason}"));
        return;
    }
    for volume in &found.volumes {
        match volume.kept {
            Some(_) => observer.warn(format_args!("{name}: {volume}")),
            None => observer.notice(format_args!("{name}: {volume}")),
        }
    }
    observer.notice(format_args!(
        "{name}: {} of free space are left out, of which the image stores {}",
        human(found.free_bytes),
        human(found.stored_bytes)
    ));
}
