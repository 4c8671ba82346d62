//! The one way in: opens any image, and says what it found.
//!
//! This is where the formats are registered. No other file of the crate knows them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::chain::{Context, Opener};
use crate::disguise::Disguise;
use crate::driver::Driver;
use crate::error::{Error, Result};
use crate::extension::contradiction;
use crate::format::Format;
use crate::image::DiskImage;
use crate::named::Named;
use crate::options::OpenOptions;
use crate::packed::{Counted, unpacked};
use crate::pipe::{PipeImage, PipeOptions};
use crate::select::{choose, named};
use crate::source::{FileSource, ReadAt};
use crate::{qcow2, raw, vdi, vhd, vhdx, vmdk};

/// The drivers of this crate and `more`. Raw claims nothing: it is what remains.
pub(crate) fn drivers(more: &[Driver]) -> Arc<[Driver]> {
    let ours = [
        qcow2::DRIVER,
        vhd::DRIVER,
        vhdx::DRIVER,
        vmdk::DRIVER,
        vdi::DRIVER,
        raw::DRIVER,
    ];
    ours.into_iter().chain(more.iter().copied()).collect()
}

/// What opens the files that an image names.
fn opener(drivers: Arc<[Driver]>) -> Opener {
    Arc::new(move |format, source, context| named(format, &drivers)?.open_image(source, context))
}

/// An opened image.
pub struct Opened {
    /// The format it was opened as.
    pub format: Format,
    /// The disk.
    pub image: Box<dyn DiskImage>,
    /// Length of the image file in bytes.
    pub file_len: u64,
    /// Bytes the file system has allocated for the file.
    pub bytes_on_disk: u64,
    /// Other files that were opened because the image names them, by path.
    pub files: Vec<PathBuf>,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened")
            .field("format", &self.format)
            .field("virtual_size", &self.image.virtual_size())
            .finish_non_exhaustive()
    }
}

/// Opens the image at `path`, read-only, with this crate's formats and those of `more`.
///
/// Without [`OpenOptions::format`] the content decides. Raw is what remains when nothing claims
/// the file, and is refused for text and for content that looks like a known format. A compressed
/// file is opened as the raw disk that it holds; where nothing tells the size of that, it is decoded
/// once to count.
///
/// # Errors
/// `Ambiguous` when the format cannot be determined safely, `Unsupported` for formats that are
/// recognised and not read, otherwise the errors of that format. All name the path.
pub fn open(path: &Path, options: &OpenOptions, more: &[Driver]) -> Result<Opened> {
    let source = FileSource::open(path)?;
    let bytes_on_disk = source.bytes_on_disk()?;
    let mut opened = open_source(Arc::new(source), options, more).map_err(|e| e.in_file(path))?;
    opened.bytes_on_disk = bytes_on_disk;
    Ok(opened)
}

/// [`open`] on any source of bytes.
///
/// # Errors
/// As [`open`].
pub fn open_source(
    source: Arc<dyn ReadAt>,
    options: &OpenOptions,
    more: &[Driver],
) -> Result<Opened> {
    let drivers = drivers(more);
    let file_len = source.len();
    let (source, driver) = chosen(source, options, &drivers, Counted::WhereNeeded)?;
    if options.snapshot.is_some() && driver.format != Format::Qcow2 {
        return Err(Error::unsupported(format!(
            "a snapshot was requested, but this is {}: only qcow2 images hold snapshots",
            driver.format
        )));
    }
    let disguise = Disguise::of(source.as_ref(), options, driver.format);
    let context =
        Context::of(options, source.as_ref(), opener(drivers)).with_disguise(disguise.clone());
    let image = driver.open_image(Arc::clone(&source), &context)?;
    // A user who names the format knows better than the file's name.
    let path = source.path().filter(|_| source.packing().is_none());
    let warning = match (&disguise, options.format, path) {
        (None, None, Some(path)) => contradiction(path, driver.format),
        _ => None,
    };
    Ok(Opened {
        format: driver.format,
        file_len,
        bytes_on_disk: file_len,
        files: context.shared().files(),
        image: Box::new(Named {
            disguise,
            warning,
            ..Named::new(image, &source)
        }),
    })
}

/// What to read: `source`, or the raw disk that it holds compressed; and the driver for that.
///
/// # Errors
/// Those of telling formats apart and of decoding.
pub(crate) fn chosen(
    source: Arc<dyn ReadAt>,
    options: &OpenOptions,
    drivers: &Arc<[Driver]>,
    counted: Counted,
) -> Result<(Arc<dyn ReadAt>, Driver)> {
    match unpacked(&source, options, drivers, counted)? {
        // What it begins with was looked at, and its end will be when it is there.
        Some(disk) => Ok((Arc::new(disk), named(Format::Raw, drivers)?)),
        None => {
            let driver = choose(source.as_ref(), options, drivers)?;
            Ok((source, driver))
        }
    }
}

/// Begins to read the raw disk that comes out of `pipe`; waits for its first block. Formats of this
/// crate and of `more` are recognised, and refused.
///
/// # Errors
/// `Unsupported` when it is no raw disk, or its size was not given; `Truncated` when it is empty or
/// ends early, `Corrupt` when it does not end; `Limit`, `Io`, `Cancelled`. All name the pipe.
pub fn open_pipe(pipe: File, options: PipeOptions, more: &[Driver]) -> Result<PipeImage> {
    PipeImage::open(pipe, options, drivers(more))
}
