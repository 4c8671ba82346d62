//! What lies below a layer: where its bytes come from when its own file does not hold them.

use parking_lot::Mutex;

use crate::details::{Details, Reference, first_warnings};
use crate::error::{Error, Result};
use crate::extent::{Extent, ExtentKind};
use crate::image::DiskImage;
use crate::source::ReadAt;
use crate::units::{FileOffset, GuestOffset};

/// Most guest bytes that one question for an extent of a chain covers, where the caller sets no
/// bound. What is stored above may be cut into pieces by what is stored below and the other way
/// round; without a bound each of them would be walked again for each piece of the other one.
const STEP_BYTES: u64 = 64 << 20;

/// Most runs that one extent of a layer joins when nothing lies below it: bounds the tables it
/// reads.
const MAX_JOINED_RUNS: usize = 64;

/// What lies below a layer.
#[derive(Default)]
pub(crate) enum Below {
    /// Nothing: zeros.
    #[default]
    Nothing,
    /// A file that was not opened.
    Unopened(Reference),
    /// An image, of whatever size; beyond its end there are zeros.
    Image(Reference, Box<dyn DiskImage>, Answers),
}

/// What is known of the answers of an image below.
pub(crate) struct Answers {
    last: LastExtent,
    /// Most guest bytes that the layer above covers at once.
    step: u64,
}

/// The last extent that the image below returned: the layer above may have cut the same stretch
/// into many pieces.
#[derive(Default)]
struct LastExtent(Mutex<Option<Extent>>);

impl LastExtent {
    /// What begins at `at`, and for how many bytes, when that is known.
    fn at(&self, at: u64) -> Option<(ExtentKind, u64)> {
        let last = self.0.lock();
        let known = last.filter(|known| (known.start.0..known.end().0).contains(&at))?;
        Some((known.kind, known.end().0 - at))
    }

    fn keep(&self, extent: Extent) {
        *self.0.lock() = Some(extent);
    }
}

impl Below {
    /// The image `image`, which the one above calls `reference`. Is the latter `first` in its
    /// chain, its own answers have a bound.
    pub(super) fn image(reference: Reference, image: Box<dyn DiskImage>, first: bool) -> Self {
        let answers = Answers {
            last: LastExtent::default(),
            step: if first { STEP_BYTES } else { u64::MAX },
        };
        Self::Image(reference, image, answers)
    }

    /// What the `len` bytes from `start` on are, and for how many of them; at least 1 of 1 or more.
    ///
    /// # Errors
    /// Those of the image.
    pub(crate) fn kind(&self, start: u64, len: u64) -> Result<(ExtentKind, u64)> {
        let (image, last) = match self {
            Self::Nothing => return Ok((ExtentKind::Hole, len)),
            Self::Unopened(_) => return Ok((ExtentKind::Elsewhere, len)),
            Self::Image(_, image, Answers { last, .. }) => {
                if let Some((kind, known)) = last.at(start) {
                    return Ok((kind, known.min(len)));
                }
                (image, last)
            }
        };
        match image.virtual_size().checked_sub(start) {
            Some(held) if held > 0 => {
                // Further than asked, so that the answer serves the next questions too.
                let limit = len.max(STEP_BYTES).min(held);
                let extent = image.extent_at(GuestOffset(start), limit)?;
                last.keep(extent);
                Ok((extent.kind, extent.len.clamp(1, len)))
            }
            _ => Ok((ExtentKind::Hole, len)),
        }
    }

    /// Fills `buf` with what there is from `start` on.
    ///
    /// # Errors
    /// Those of the image; `Unsupported` when it was not opened.
    pub(crate) fn read(&self, start: u64, buf: &mut [u8]) -> Result<()> {
        let image = match self {
            Self::Nothing => {
                buf.fill(0);
                return Ok(());
            }
            Self::Unopened(reference) => return Err(unopened(reference, start)),
            Self::Image(_, image, _) => image,
        };
        let held = image.virtual_size().saturating_sub(start);
        let held = usize::try_from(held).unwrap_or(usize::MAX).min(buf.len());
        let (held, beyond) = buf.split_at_mut(held);
        beyond.fill(0);
        if held.is_empty() {
            return Ok(());
        }
        image.read_at(GuestOffset(start), held)
    }

    /// Whether there is an image below, with extents of its own.
    pub(crate) fn is_image(&self) -> bool {
        matches!(self, Self::Image(..))
    }

    /// Most guest bytes that one call for an extent covers.
    pub(crate) fn step(&self) -> u64 {
        match self {
            Self::Image(_, _, answers) => answers.step,
            _ => u64::MAX,
        }
    }

    /// Most runs that one extent joins. One above an image, whose own extents are joined: else the
    /// work for one extent would grow with a power of the number of layers.
    pub(crate) fn most_joined(&self) -> usize {
        match self {
            Self::Image(..) => 1,
            _ => MAX_JOINED_RUNS,
        }
    }

    /// Most bytes that it ever holds with `readers` threads.
    pub(crate) fn memory_bound(&self, readers: usize) -> u64 {
        match self {
            Self::Image(_, image, _) => image.memory_bound(readers),
            _ => 0,
        }
    }

    /// [`DiskImage::audit`] of the image.
    ///
    /// # Errors
    /// Those of the image.
    pub(crate) fn audit(&self, cancelled: &dyn Fn() -> bool) -> Result<()> {
        match self {
            Self::Image(_, image, _) => image.audit(cancelled),
            _ => Ok(()),
        }
    }

    /// Adds the files below, and what the user should know of them, to `details` of the layer.
    pub(crate) fn describe(&self, details: &mut Details) {
        match self {
            Self::Nothing => {}
            Self::Unopened(reference) => details.refers_to.push(reference.clone()),
            Self::Image(reference, image, _) => {
                let below = image.details();
                let warnings = below.warnings.into_iter();
                details.warnings.extend(warnings.map(|warning| {
                    format!("{} \"{}\": {warning}", reference.role, reference.name)
                }));
                details.warnings = first_warnings(std::mem::take(&mut details.warnings));
                details.refers_to.push(reference.clone());
                details.refers_to.extend(below.refers_to);
            }
        }
    }
}

/// The bytes of a file that was not opened: however many, and none of them can be read.
pub(crate) struct Unopened(pub(crate) Reference);

impl ReadAt for Unopened {
    fn len(&self) -> u64 {
        u64::MAX
    }

    fn read_exact_at(&self, at: FileOffset, _: &mut [u8]) -> Result<()> {
        Err(unopened(&self.0, at.0))
    }
}

/// The error of reading what a file holds that was not opened.
fn unopened(reference: &Reference, start: u64) -> Error {
    Error::unsupported(format!(
        "guest offset {start:#x} is in the {} \"{}\", which was not opened",
        reference.role, reference.name
    ))
}
