//! The one way in: opens any image, and says what it found.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::chain::{BackingPolicy, Context};
use crate::check::CheckFn;
use crate::error::{Error, ErrorKind, Result};
use crate::extension::contradiction;
use crate::image::{Details, DiskImage, Extent};
use crate::limits::MAX_VIRTUAL_SIZE;
use crate::probe::{Foreign, Format, Probe, refuse_polyglot};
use crate::source::{FileSource, ReadAt};
use crate::survey::Tally;
use crate::units::{GuestOffset, human};
use crate::work::Work;
use crate::{qcow2, raw, vhd, vhdx};

/// How to open an image.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// The format, when the user named it. `None`: told by content.
    pub format: Option<Format>,
    /// Name or id of an internal snapshot to read instead of the active disk.
    pub snapshot: Option<String>,
    /// What happens with other files that the image names.
    pub backing: BackingPolicy,
    /// Format of backing files whose format is not declared. `None`: they are refused.
    pub backing_format: Option<Format>,
    /// Whether only metadata are wanted: an encrypted image opens too, and reading it fails.
    /// `false`: it is refused.
    pub metadata_only: bool,
    /// Whether all sectors of a dynamic VHD's stored blocks are read, also those that its sector
    /// bitmaps mark as never written. Without effect on differencing disks, in which the bitmaps
    /// tell child and parent apart.
    pub ignore_vhd_bitmaps: bool,
}

impl OpenOptions {
    /// The defaults, for an image of `format`, or of what its content says.
    #[must_use]
    pub const fn of(format: Option<Format>) -> Self {
        Self {
            format,
            snapshot: None,
            backing: BackingPolicy::Refuse,
            backing_format: None,
            metadata_only: false,
            ignore_vhd_bitmaps: false,
        }
    }
}

/// A format that [`open`] can try: how to recognise it and how to open it.
///
/// Formats of other crates join by being passed to [`open`], so that crates depend one way.
#[derive(Clone, Copy)]
pub struct Driver {
    /// The format.
    pub format: Format,
    /// Whether a file's content claims to be of this format.
    pub claims: fn(&Probe) -> bool,
    /// Opens it.
    pub open: OpenFn,
    /// Holds a file against all rules of the format.
    pub check: CheckFn,
}

/// What opens an image of one format from its bytes.
pub type OpenFn = fn(Arc<dyn ReadAt>, &Context) -> Result<Box<dyn DiskImage>>;

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
/// the file, and is refused for text and for content that looks like a known format.
///
/// # Errors
/// `Ambiguous` when the format cannot be told safely, `Unsupported` for formats that are recognised
/// and not read, otherwise what opening that format says. All name the path.
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
    let driver = choose(source.as_ref(), options, more)?;
    if options.snapshot.is_some() && driver.format != Format::Qcow2 {
        return Err(Error::unsupported(format!(
            "a snapshot was asked for, but this is {}: only qcow2 images hold snapshots",
            driver.format
        )));
    }
    let disguise = Disguise::of(source.as_ref(), options, driver.format);
    let context = Context::of(options, source.as_ref(), more).with_disguise(disguise.clone());
    let image = open_as(&driver, Arc::clone(&source), &context)?;
    // Who names the format knows better than the name.
    let warning = match (&disguise, options.format, source.path()) {
        (None, None, Some(path)) => contradiction(path, driver.format),
        _ => None,
    };
    Ok(Opened {
        format: driver.format,
        file_len: source.len(),
        bytes_on_disk: source.len(),
        files: context.shared().files(),
        image: Box::new(Named {
            image,
            source,
            disguise,
            warning,
        }),
    })
}

/// Opens one file, the one that the user named or one below it, as the format of `driver`.
///
/// # Errors
/// Those of the driver; `Limit` when the disk is too large.
pub(crate) fn open_as(
    driver: &Driver,
    source: Arc<dyn ReadAt>,
    context: &Context,
) -> Result<Box<dyn DiskImage>> {
    let image = (driver.open)(source, context)?;
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

/// `image` with errors that name the file in `source`, from which it was opened.
pub(crate) fn named(image: Box<dyn DiskImage>, source: &Arc<dyn ReadAt>) -> Box<dyn DiskImage> {
    Box::new(Named {
        image,
        source: Arc::clone(source),
        disguise: None,
        warning: None,
    })
}

/// A file whose name says that it is a raw disk and whose content says that it is an image. The
/// guest of a raw disk can do that by writing an image's header into its first sector.
#[derive(Clone, Debug)]
pub(crate) struct Disguise {
    extension: String,
    format: Format,
}

impl Disguise {
    /// Extensions of raw disks.
    const RAW: [&'static str; 5] = ["raw", "img", "dd", "hdd", "bin"];

    /// `None` when name and content agree, when the name says nothing, or when the user named the
    /// format.
    pub(crate) fn of(source: &dyn ReadAt, options: &OpenOptions, format: Format) -> Option<Self> {
        if options.format.is_some() || format == Format::Raw {
            return None;
        }
        let extension = source.path()?.extension()?.to_str()?.to_ascii_lowercase();
        Self::RAW
            .contains(&extension.as_str())
            .then_some(Self { extension, format })
    }

    /// For people who see the image's warnings.
    pub(crate) fn warning(&self) -> String {
        let Self { extension, format } = self;
        format!(
            "the name ends in .{extension}, as that of a raw disk, but the content is {format} and is read as {format}; \
             if the guest of a raw disk wrote it, pass --format raw"
        )
    }

    /// The refusal of opening a file that such an image names: `named` describes it.
    pub(crate) fn refusal(&self, named: &str) -> Error {
        let Self { extension, format } = self;
        Error::new(
            ErrorKind::Ambiguous,
            format!(
                "the name ends in .{extension}, as that of a raw disk, but the content is {format} and has {named}; \
                 the guest of a raw disk could have written that to read another file"
            ),
        )
        .with_hint(format!(
            "say which it is: --format raw or --format {format}"
        ))
    }
}

/// The driver for the format that the user named, or that the content has.
///
/// # Errors
/// `Ambiguous` when the format cannot be told safely, `Unsupported` when it is not read.
pub(crate) fn choose(
    source: &dyn ReadAt,
    options: &OpenOptions,
    more: &[Driver],
) -> Result<Driver> {
    let drivers = known(more);
    match options.format {
        Some(Format::Raw) => Ok(raw::DRIVER),
        Some(format) => drivers
            .iter()
            .find(|driver| driver.format == format)
            .copied()
            .ok_or_else(|| Error::unsupported(format!("format {format} is not read here"))),
        None => detect(source, &drivers),
    }
}

/// The drivers of this crate and `more`; raw is what remains.
pub(crate) fn known(more: &[Driver]) -> Vec<Driver> {
    [qcow2::DRIVER, vhd::DRIVER, vhdx::DRIVER]
        .into_iter()
        .chain(more.iter().copied())
        .collect()
}

/// The driver whose format the content has.
fn detect(source: &dyn ReadAt, drivers: &[Driver]) -> Result<Driver> {
    if source.is_empty() {
        return Err(Error::new(ErrorKind::Truncated, "the file is empty"));
    }
    recognise(&Probe::read(source)?, drivers)
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
        .with_hint(format.advice));
    }
    if probe.is_text() {
        return Err(
            Error::new(ErrorKind::Ambiguous, "this is text, not a disk image")
                .with_hint("if it really is a disk, say so: --format raw"),
        );
    }
    Ok(raw::DRIVER)
}

/// What the file begins with, when that is a raw disk's beginning and a format claims the file all
/// the same: programs that look at the disk and programs that look for the format would read
/// different disks.
///
/// No program puts a boot sector or a partition table into an image's header. A claim by the end of
/// the file is worth even less: whoever is root in the guest of a raw disk writes its last sectors.
/// A fixed VHD alone is the disk that it begins with, whoever reads it, up to the footer.
fn disk_in_front(probe: &Probe, ours: &[&Driver], foreign: &[&Foreign]) -> Option<&'static str> {
    let front = probe.without_tail();
    if ours.iter().any(|driver| (driver.claims)(&front)) {
        return probe.partitioned();
    }
    let foreign_front: Vec<_> = front.foreign().map(|format| format.name).collect();
    let by_end = |format: &&Foreign| !foreign_front.contains(&format.name);
    let ours = ours
        .iter()
        .any(|driver| driver.format != Format::Vhd || !vhd::is_fixed(probe));
    if !ours && !foreign.iter().any(by_end) {
        return None;
    }
    probe.partitioned().or_else(|| probe.file_system())
}

/// An image whose errors name the file it was opened from.
struct Named {
    image: Box<dyn DiskImage>,
    source: Arc<dyn ReadAt>,
    disguise: Option<Disguise>,
    /// What its name gets wrong.
    warning: Option<String>,
}

impl Named {
    fn name<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| match self.source.path() {
            Some(path) => error.in_file(path),
            None => error,
        })
    }
}

// A method that is added to the trait must not be answered by its default here.
#[deny(clippy::missing_trait_methods)]
impl DiskImage for Named {
    fn virtual_size(&self) -> u64 {
        self.image.virtual_size()
    }

    fn extent_at(&self, at: GuestOffset, limit: u64) -> Result<Extent> {
        self.name(self.image.extent_at(at, limit))
    }

    fn extents_from(
        &self,
        at: GuestOffset,
        end: GuestOffset,
        most: usize,
        found: &mut Vec<Extent>,
    ) -> Result<()> {
        self.name(self.image.extents_from(at, end, most, found))
    }

    fn tallies_from(
        &self,
        at: GuestOffset,
        end: GuestOffset,
        unit: u64,
        most: usize,
        found: &mut Vec<Tally>,
    ) -> Result<()> {
        self.name(self.image.tallies_from(at, end, unit, most, found))
    }

    fn work(&self) -> Work {
        self.image.work()
    }

    fn read_at(&self, at: GuestOffset, buf: &mut [u8]) -> Result<()> {
        self.name(self.image.read_at(at, buf))
    }

    fn details(&self) -> Details {
        let mut details = self.image.details();
        let warnings = self.disguise.as_ref().map(Disguise::warning);
        details.warnings.extend(warnings);
        details.warnings.extend(self.source.note());
        details.warnings.extend(self.warning.clone());
        details
    }

    fn memory_bound(&self, readers: usize) -> u64 {
        self.image.memory_bound(readers)
    }

    fn audit(&self, cancelled: &dyn Fn() -> bool) -> Result<()> {
        self.name(self.image.audit(cancelled))
    }
}
