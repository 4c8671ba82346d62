//! The whole disk in sums: how much of it is data, without listing every extent.
//!
//! A cluster of 32 subclusters or a block with a bitmap of its sectors may be thousands of extents.
//! Who only adds them up gets their sum instead.

use crate::error::{Error, ErrorKind, Result};
use crate::image::{DiskImage, Extent, ExtentKind};
use crate::units::GuestOffset;
use crate::work::{Watch, Window};

/// A stretch of the disk, and how many bytes of it are of which kind. Never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// First byte.
    pub start: GuestOffset,
    /// Bytes of [`ExtentKind::Data`].
    pub data: u64,
    /// Bytes of [`ExtentKind::Zero`].
    pub zero: u64,
    /// Bytes of [`ExtentKind::Hole`].
    pub hole: u64,
    /// Bytes of [`ExtentKind::Elsewhere`].
    pub elsewhere: u64,
}

impl Tally {
    /// A stretch of no bytes yet.
    #[must_use]
    pub const fn new(start: GuestOffset) -> Self {
        Self {
            start,
            data: 0,
            zero: 0,
            hole: 0,
            elsewhere: 0,
        }
    }

    /// The sum of one extent.
    #[must_use]
    pub fn of(extent: &Extent) -> Self {
        let mut tally = Self::new(extent.start);
        tally.add(extent.kind, extent.len);
        tally
    }

    /// Adds `len` bytes of `kind`.
    pub fn add(&mut self, kind: ExtentKind, len: u64) {
        let sum = match kind {
            ExtentKind::Data => &mut self.data,
            ExtentKind::Zero => &mut self.zero,
            ExtentKind::Hole => &mut self.hole,
            ExtentKind::Elsewhere => &mut self.elsewhere,
        };
        *sum = sum.saturating_add(len);
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.data
            .saturating_add(self.zero)
            .saturating_add(self.hole)
            .saturating_add(self.elsewhere)
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// First byte after it.
    #[must_use]
    pub fn end(&self) -> GuestOffset {
        GuestOffset(self.start.0.saturating_add(self.len()))
    }

    /// The kind of all of its bytes, when they are of one kind.
    #[must_use]
    pub fn kind(&self) -> Option<ExtentKind> {
        let parts = [
            (ExtentKind::Data, self.data),
            (ExtentKind::Zero, self.zero),
            (ExtentKind::Hole, self.hole),
            (ExtentKind::Elsewhere, self.elsewhere),
        ];
        let mut kinds = parts.iter().filter(|(_, len)| *len > 0);
        match (kinds.next(), kinds.next()) {
            (Some((kind, _)), None) => Some(*kind),
            _ => None,
        }
    }
}

/// Most tallies that a walk asks for at a time.
const BATCH: usize = 1024;

/// Iterator of [`crate::DiskImageExt::tallies`].
pub struct Tallies<'a, T: DiskImage + ?Sized> {
    image: &'a T,
    unit: u64,
    /// Where the batch ends.
    at: GuestOffset,
    batch: Vec<Tally>,
    taken: usize,
    window: Window,
    watch: Watch,
}

impl<'a, T: DiskImage + ?Sized> Tallies<'a, T> {
    pub(crate) fn new(image: &'a T, unit: u64) -> Self {
        Self {
            image,
            unit,
            at: GuestOffset(0),
            batch: Vec::new(),
            taken: 0,
            window: Window::new(),
            watch: Watch::new(image),
        }
    }

    /// Asks for more.
    fn ask(&mut self, end: GuestOffset) -> Result<()> {
        self.batch.clear();
        self.taken = 0;
        let start = self.at;
        let limit = self.window.end(start, end);
        self.image
            .tallies_from(start, limit, self.unit, BATCH, &mut self.batch)?;
        for tally in &self.batch {
            let left = limit.0.saturating_sub(self.at.0);
            if tally.start != self.at || !(1..=left).contains(&tally.len()) {
                return Err(Error::new(
                    ErrorKind::Corrupt,
                    format!(
                        "at most {left} bytes at guest offset {} were to be summed up, the answer is {} bytes at {}",
                        self.at,
                        tally.len(),
                        tally.start
                    ),
                ));
            }
            self.at = tally.end();
        }
        if self.at == start {
            // A walk that ended here would leave out the rest of the disk.
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("nothing was summed up at guest offset {start}"),
            ));
        }
        self.window.passed(self.at.0 - start.0);
        self.watch.check(self.image, self.at)
    }
}

impl<T: DiskImage + ?Sized> Iterator for Tallies<'_, T> {
    type Item = Result<Tally>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(tally) = self.batch.get(self.taken) {
            self.taken += 1;
            return Some(Ok(*tally));
        }
        let end = GuestOffset(self.image.virtual_size());
        if self.at >= end {
            return None;
        }
        if let Err(error) = self.ask(end) {
            // A failed walk is over.
            self.batch.clear();
            self.at = end;
            return Some(Err(error));
        }
        self.taken = 1;
        self.batch.first().map(|tally| Ok(*tally))
    }
}
