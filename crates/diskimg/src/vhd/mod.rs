//! VHD, the format of Virtual PC, Hyper-V before 2012, Azure and XenServer: fixed and dynamic disks.
//!
//! ```text
//! footer, or its copy ──▶ Footer (checked) ──▶ Map: fixed, or BAT and sector bitmaps ──▶ runs
//!                                                                                         │
//!            extent_at: what is where ◀───────────────────────────────────────────────────┤
//!            read_at: stored runs read, the rest filled with zeros ◀──────────────────────┘
//! ```
//!
//! Refused by name: differencing disks (the parent's name is shown, never opened). What the file
//! promises past its end is an error, not zeros.

mod check;
mod dynamic;
mod footer;
mod layout;
mod mapping;

use std::sync::Arc;

use self::dynamic::BlockTable;
use self::footer::{Footer, Kind};
use self::mapping::{Map, Place};
use crate::chain::Context;
use crate::error::Result;
use crate::image::{Details, DiskImage, Extent, ExtentKind, check_range, clip_extent};
use crate::open::Driver;
use crate::probe::Format;
use crate::source::ReadAt;
use crate::stored::StoredStretch;
use crate::units::GuestOffset;

/// VHD. A fixed disk is told from a raw one by its footer alone.
pub const DRIVER: Driver = Driver {
    format: Format::Vhd,
    claims: |probe| {
        [layout::FOOTER_LEN, layout::OLD_FOOTER_LEN]
            .into_iter()
            .filter_map(|len| usize::try_from(len).ok())
            .any(|len| probe.ends_with(len, &layout::FOOTER_COOKIE))
            || probe.starts_with(0, &layout::FOOTER_COOKIE)
    },
    open: |source, context| Ok(Box::new(VhdImage::open_with(source, context)?)),
    check: check::check,
};

/// Most runs that one call of `extent_at` joins: bounds the bitmaps it reads.
const MAX_JOINED_RUNS: usize = 64;

/// A VHD image.
pub struct VhdImage {
    source: Arc<dyn ReadAt>,
    map: Map,
    /// Virtual size in bytes as the footer gives it.
    declared_size: u64,
    /// [`Self::declared_size`] rounded up to a multiple of 512.
    virtual_size: u64,
    creator: String,
    warnings: Vec<String>,
    stored: StoredStretch,
}

impl VhdImage {
    /// Opens `source` as VHD: reads and checks the footer, and of a dynamic disk header and BAT.
    ///
    /// # Errors
    /// `Unsupported` for differencing disks and other things that are refused by name, `Ambiguous`
    /// when footer and copy contradict each other, `Limit`, `Corrupt`, `Truncated` or `Io` by cause.
    pub fn open(source: Arc<dyn ReadAt>) -> Result<Self> {
        Self::open_with(source, &Context::default())
    }

    /// [`Self::open`] with options.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(source: Arc<dyn ReadAt>, context: &Context) -> Result<Self> {
        let _ = context;
        let mut footer = Footer::read(source.as_ref())?;
        if footer.kind == Kind::Differencing {
            return Err(dynamic::refuse_differencing(source.as_ref(), &footer));
        }
        let (declared_size, virtual_size) = footer.size()?;
        let map = if footer.kind == Kind::Fixed {
            footer.check_fixed(declared_size)?;
            Map::Fixed
        } else {
            let table = BlockTable::load(source.as_ref(), &footer, declared_size)?;
            Map::dynamic(table)
        };
        Ok(Self {
            source,
            map,
            declared_size,
            virtual_size,
            creator: footer.creator,
            warnings: footer.warnings,
            stored: StoredStretch::default(),
        })
    }

    /// What a run of `len` bytes at `place` is, and for how many bytes.
    fn kind(&self, place: Place, len: u64) -> Result<(ExtentKind, u64)> {
        match place {
            Place::Nowhere => Ok((ExtentKind::Hole, len)),
            Place::Unwritten => Ok((ExtentKind::Zero, len)),
            Place::Stored(host) => self.stored.kind(self.source.as_ref(), host, len),
        }
    }
}

/// An offset inside a buffer, which is less than `usize::MAX`.
fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

impl DiskImage for VhdImage {
    fn virtual_size(&self) -> u64 {
        self.virtual_size
    }

    fn extent_at(&self, at: GuestOffset, limit: u64) -> Result<Extent> {
        let limit = clip_extent(at, limit, self.virtual_size)?;
        let end = (at.0 + limit).min(self.declared_size);
        let mut runs = self
            .map
            .walk(self.source.as_ref(), at.0, end)
            .take(MAX_JOINED_RUNS);
        // Past the declared size there is only the rest of the last sector.
        let Some(first) = runs.next() else {
            return Ok(Extent {
                start: at,
                len: limit,
                kind: ExtentKind::Hole,
            });
        };
        let first = first?;
        let (kind, mut len) = self.kind(first.place, first.len)?;
        let mut joined = first.start + first.len;
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
        check_range(at, buf.len() as u64, self.virtual_size)?;
        let declared = self.declared_size.saturating_sub(at.0);
        let (buf, padding) = buf.split_at_mut(index(declared).min(buf.len()));
        padding.fill(0);
        let end = at.0 + buf.len() as u64;
        for run in self.map.walk(self.source.as_ref(), at.0, end) {
            let run = run?;
            let target = index(run.start - at.0)..index(run.start - at.0 + run.len);
            let Some(target) = buf.get_mut(target) else {
                continue;
            };
            match run.place {
                Place::Nowhere | Place::Unwritten => target.fill(0),
                Place::Stored(host) => self.source.read_exact_at(host, target)?,
            }
        }
        Ok(())
    }

    fn details(&self) -> Details {
        let block_size = self.map.block_size();
        let variant = match block_size {
            None => "fixed",
            Some(_) => "dynamic",
        };
        Details {
            variant: Some(variant.to_owned()),
            creator: Some(self.creator.clone()),
            cluster_size: block_size,
            warnings: self.warnings.clone(),
            ..Details::new(Format::Vhd)
        }
    }

    fn memory_bound(&self, readers: usize) -> u64 {
        self.map.memory_bound(readers as u64)
    }
}
