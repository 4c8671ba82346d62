//! What a format is to the rest of the crate: how it is recognised, opened and checked.

use std::sync::Arc;

use crate::chain::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::format::Format;
use crate::image::DiskImage;
use crate::limits::MAX_VIRTUAL_SIZE;
use crate::probe::Probe;
use crate::report::CheckReport;
use crate::source::ReadAt;
use crate::units::human;
use crate::walk::DiskImageExt;

/// A format that [`crate::open()`] can try.
///
/// A format of another crate joins by being passed to [`crate::open()`], so that crates depend one
/// way.
#[derive(Clone, Copy)]
pub struct Driver {
    /// The format.
    pub format: Format,
    /// Whether a file's content claims to be of this format.
    pub claims: fn(&Probe) -> bool,
    /// Whether a file that it claims begins with the disk's own first bytes, as a disk with nothing
    /// but a footer behind it does.
    pub begins_with_disk: fn(&Probe) -> bool,
    /// Opens it.
    pub open: OpenFn,
    /// Checks a file against all rules of the format.
    pub check: CheckFn,
}

/// What opens an image of one format from its bytes.
pub type OpenFn = fn(Arc<dyn ReadAt>, &Context) -> Result<Box<dyn DiskImage>>;

/// What checks a file of one format: adds what it finds to the report. It asks `cancelled` again
/// and again, and ends early when the answer is yes.
pub type CheckFn = fn(
    source: &Arc<dyn ReadAt>,
    report: &mut CheckReport,
    cancelled: &dyn Fn() -> bool,
) -> Result<()>;

impl Driver {
    /// Opens one file, the one that the user named or one below it.
    ///
    /// # Errors
    /// Those of the format; `Limit` when the disk is too large.
    pub(crate) fn open_image(
        &self,
        source: Arc<dyn ReadAt>,
        context: &Context,
    ) -> Result<Box<dyn DiskImage>> {
        let image = (self.open)(source, context)?;
        let size = image.virtual_size();
        if size > MAX_VIRTUAL_SIZE {
            return Err(Error::new(
                ErrorKind::Limit,
                format!(
                    "virtual size is {size} bytes ({}), at most {} are read",
                    human(size),
                    human(MAX_VIRTUAL_SIZE)
                ),
            ));
        }
        Ok(image)
    }
}

/// Checks by opening the image and walking all its extents, for formats whose reader reads all
/// metadata anyway: ends at the first broken rule.
///
/// # Errors
/// Those of the device.
pub fn check_by_extents(
    opened: Result<impl DiskImage>,
    report: &mut CheckReport,
    cancelled: &dyn Fn() -> bool,
) -> Result<()> {
    let image = match opened {
        Ok(image) => image,
        Err(error) => return report.refused(error),
    };
    for extent in image.all_extents() {
        if cancelled() {
            report.cancelled = true;
            break;
        }
        if let Err(error) = extent {
            return report.refused(error);
        }
    }
    Ok(())
}
