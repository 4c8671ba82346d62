//! VHDX, the format of Hyper-V since 2012: fixed and dynamic disks.
//!
//! ```text
//! headers ──▶ log, replayed in memory ──▶ regions ──▶ metadata ──▶ BAT by slices ──▶ runs
//!                                                                                     │
//!            extent_at: what is where ◀───────────────────────────────────────────────┤
//!            read_at: stored runs read, the rest filled with zeros ◀──────────────────┘
//! ```
//!
//! Refused by name: differencing disks (the parent's paths are shown, never opened), and regions and
//! metadata items that the file needs and that are not known. What the file promises past its end is
//! an error, not zeros. The source is never written, so a log that has to be replayed is replayed
//! over it, not into it.

mod bat;
mod check;
mod header;
mod layout;
mod log;
mod metadata;
mod overlay;
mod parent;
mod region;

use std::sync::Arc;

use self::bat::{BlockTable, Place};
use self::header::Header;
use self::metadata::Metadata;
use self::region::Regions;
use crate::chain::Context;
use crate::error::Result;
use crate::image::{Details, DiskImage, Extent, ExtentKind, check_range, clip_extent};
use crate::open::Driver;
use crate::probe::Format;
use crate::source::ReadAt;
use crate::stored::StoredStretch;
use crate::units::GuestOffset;

/// VHDX, whatever its version: other versions are refused by number.
pub const DRIVER: Driver = Driver {
    format: Format::Vhdx,
    claims: |probe| probe.starts_with(0, &layout::FILE_SIGNATURE),
    open: |source, context| Ok(Box::new(VhdxImage::open_with(source, context)?)),
    check: check::check,
};

/// Most runs that one call of `extent_at` joins: bounds the slices of the BAT it reads.
const MAX_JOINED_RUNS: usize = 64;

/// A VHDX image.
pub struct VhdxImage {
    /// The file, with its log replayed.
    source: Arc<dyn ReadAt>,
    table: BlockTable,
    metadata: Metadata,
    creator: Option<String>,
    warnings: Vec<String>,
    /// Bytes that the replayed log holds.
    overlay_bytes: u64,
    stored: StoredStretch,
}

impl VhdxImage {
    /// Opens `source` as VHDX: reads headers, log, region tables and metadata.
    ///
    /// # Errors
    /// `Unsupported` for differencing disks and other things that are refused by name, `Limit`,
    /// `Corrupt`, `Truncated` or `Io` by cause.
    pub fn open(source: Arc<dyn ReadAt>) -> Result<Self> {
        Self::open_with(source, &Context::default())
    }

    /// [`Self::open`] with options.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(source: Arc<dyn ReadAt>, context: &Context) -> Result<Self> {
        let _ = context;
        let header = Header::read(source.as_ref())?;
        let mut warnings = header.warnings.clone();
        let (source, overlay_bytes): (Arc<dyn ReadAt>, u64) = match log::replay(&source, &header)? {
            None => (source, 0),
            Some((overlay, entries)) => {
                warnings.push(format!(
                    "the disk was not shut down cleanly: its log is replayed in memory ({entries} entries); the file is not changed"
                ));
                let bytes = overlay.memory();
                (Arc::new(overlay), bytes)
            }
        };
        let regions = Regions::read(source.as_ref(), &header.log, &mut warnings)?;
        let metadata = Metadata::read(source.as_ref(), &regions.metadata)?;
        Ok(Self {
            source,
            table: BlockTable::new(regions, &metadata)?,
            metadata,
            creator: header.creator,
            warnings,
            overlay_bytes,
            stored: StoredStretch::default(),
        })
    }

    /// What a run of `len` bytes at `place` is, and for how many bytes.
    fn kind(&self, place: Place, len: u64) -> Result<(ExtentKind, u64)> {
        match place {
            Place::Nowhere => Ok((ExtentKind::Hole, len)),
            Place::Zeros => Ok((ExtentKind::Zero, len)),
            Place::Stored(host) => self.stored.kind(self.source.as_ref(), host, len),
        }
    }
}

/// An offset inside a buffer, which is less than `usize::MAX`.
fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

impl DiskImage for VhdxImage {
    fn virtual_size(&self) -> u64 {
        self.metadata.disk_size
    }

    fn extent_at(&self, at: GuestOffset, limit: u64) -> Result<Extent> {
        let limit = clip_extent(at, limit, self.metadata.disk_size)?;
        let mut runs = self
            .table
            .walk(self.source.as_ref(), at.0, at.0 + limit)
            .take(MAX_JOINED_RUNS);
        let (mut kind, mut len, mut joined) = (ExtentKind::Hole, limit, at.0 + limit);
        if let Some(first) = runs.next() {
            let first = first?;
            (kind, len) = self.kind(first.place, first.len)?;
            joined = first.start + first.len;
        }
        // What cannot be told ends the extent; whoever asks for it gets the error.
        while at.0 + len == joined
            && let Some(Ok(run)) = runs.next()
            && let Ok((next, more)) = self.kind(run.place, run.len)
            && next == kind
        {
            len += more;
            joined += run.len;
        }
        Ok(Extent {
            start: at,
            len,
            kind,
        })
    }

    fn read_at(&self, at: GuestOffset, buf: &mut [u8]) -> Result<()> {
        check_range(at, buf.len() as u64, self.metadata.disk_size)?;
        let end = at.0 + buf.len() as u64;
        for run in self.table.walk(self.source.as_ref(), at.0, end) {
            let run = run?;
            let target = index(run.start - at.0)..index(run.start - at.0 + run.len);
            let Some(target) = buf.get_mut(target) else {
                continue;
            };
            match run.place {
                Place::Nowhere | Place::Zeros => target.fill(0),
                Place::Stored(host) => self.source.read_exact_at(host, target)?,
            }
        }
        Ok(())
    }

    fn details(&self) -> Details {
        let variant = if self.metadata.fixed {
            "fixed"
        } else {
            "dynamic"
        };
        Details {
            variant: Some(variant.to_owned()),
            creator: self.creator.clone(),
            cluster_size: Some(self.metadata.block_size),
            dirty: Some(self.overlay_bytes > 0),
            warnings: self.warnings.clone(),
            ..Details::new(Format::Vhdx)
        }
    }

    fn memory_bound(&self, readers: usize) -> u64 {
        self.table
            .memory_bound(readers as u64)
            .saturating_add(self.overlay_bytes)
    }
}
