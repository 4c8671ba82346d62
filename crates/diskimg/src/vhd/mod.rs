//! VHD, the format of Virtual PC, Hyper-V before 2012, Azure and XenServer: fixed, dynamic and
//! differencing disks.
//!
//! ```text
//! footer, or its copy ──▶ Footer (checked) ──▶ Map: fixed, or BAT and sector bitmaps ──▶ runs
//!                                                                                         │
//!            extent_at: what is where ◀───────────────────────────────────────────────────┤
//!            read_at: stored runs read, the rest filled with zeros ◀──────────────────────┘
//! ```
//!
//! What a differencing disk does not hold comes from its parent, which is opened by the policy in
//! the [`Context`] and held against the identifier that the disk was made on. What the file
//! promises past its end is an error, not zeros.

mod check;
mod dynamic;
mod footer;
mod layout;
mod mapping;
mod parent;

use std::convert::Infallible;
use std::sync::Arc;

use self::dynamic::BlockTable;
use self::footer::{Footer, Kind};
use self::mapping::Map;
use crate::chain::{Below, Context, Opening};
use crate::error::Result;
use crate::image::{Details, DiskImage, Extent};
use crate::layer::{self, Mapped, Piece, Run};
use crate::open::Driver;
use crate::probe::{Format, Probe};
use crate::source::ReadAt;
use crate::stored::StoredMap;
use crate::survey::Tally;
use crate::units::GuestOffset;
use crate::work::{Steps, Work};

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

/// Whether the footer at the file's end, checked by nobody yet, is that of a fixed disk: the file
/// begins with the disk as it is.
pub(crate) fn is_fixed(probe: &Probe) -> bool {
    [layout::FOOTER_LEN, layout::OLD_FOOTER_LEN]
        .into_iter()
        .filter_map(|len| usize::try_from(len).ok())
        .filter(|len| probe.ends_with(*len, &layout::FOOTER_COOKIE))
        .any(|len| {
            let kind = layout::disk_type::FIXED.to_be_bytes();
            probe.ends_with(len - std::mem::offset_of!(layout::Footer, disk_type), &kind)
        })
}

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
    /// What of the file is a hole.
    stored: Arc<StoredMap>,
    steps: Steps,
    unique_id: [u8; 16],
    /// The parent of a differencing disk.
    below: Below,
    opening: Opening,
}

impl VhdImage {
    /// Opens `source` as VHD: reads and checks the footer, and of a dynamic disk header and BAT.
    ///
    /// # Errors
    /// `Unsupported` for differencing disks and other things that are refused by name, `Ambiguous`
    /// when footer and copy contradict each other, `Limit`, `Corrupt`, `Truncated` or `Io` by
    /// cause.
    pub fn open(source: Arc<dyn ReadAt>) -> Result<Self> {
        Self::open_with(source, &Context::default())
    }

    /// [`Self::open`] with options.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(source: Arc<dyn ReadAt>, context: &Context) -> Result<Self> {
        let mut footer = Footer::read(source.as_ref())?;
        let below = match footer.kind {
            Kind::Differencing => parent::open(source.as_ref(), &footer, context)?,
            Kind::Fixed | Kind::Dynamic => Below::Nothing,
        };
        let (declared_size, virtual_size) = footer.size()?;
        let stored = Arc::new(StoredMap::new(&source, context));
        let map = if footer.kind == Kind::Fixed {
            footer.check_fixed(declared_size)?;
            Map::Fixed
        } else {
            let table = BlockTable::load(source.as_ref(), &footer, declared_size, context)?;
            context
                .steps()
                .allow_for(source.as_ref(), table.metadata_bytes());
            let differencing = footer.kind == Kind::Differencing;
            Map::blocks(table, differencing, Arc::clone(&stored), context)
        };
        Ok(Self {
            source,
            map,
            declared_size,
            virtual_size,
            creator: footer.creator,
            warnings: footer.warnings,
            stored,
            steps: context.steps().clone(),
            unique_id: footer.unique_id,
            below,
            opening: Opening::of(context),
        })
    }
}

impl Mapped for VhdImage {
    type Packed = Infallible;

    fn declared_size(&self) -> u64 {
        self.declared_size
    }

    fn virtual_size(&self) -> u64 {
        self.virtual_size
    }

    fn data(&self) -> &dyn ReadAt {
        self.source.as_ref()
    }

    fn stored(&self) -> &StoredMap {
        &self.stored
    }

    fn steps(&self) -> &Steps {
        &self.steps
    }

    fn below(&self) -> &Below {
        &self.below
    }

    fn runs(&self, at: u64, end: u64) -> impl Iterator<Item = Result<Run>> {
        self.map.walk(self.source.as_ref(), at, end)
    }

    fn pieces(&self, at: u64, end: u64, unit: u64) -> impl Iterator<Item = Result<Piece>> {
        self.map.walk_in_sums(self.source.as_ref(), at, end, unit)
    }
}

impl DiskImage for VhdImage {
    fn virtual_size(&self) -> u64 {
        self.virtual_size
    }

    fn extent_at(&self, at: GuestOffset, limit: u64) -> Result<Extent> {
        layer::extent_at(self, at, limit)
    }

    fn extents_from(
        &self,
        at: GuestOffset,
        end: GuestOffset,
        most: usize,
        found: &mut Vec<Extent>,
    ) -> Result<()> {
        layer::extents_from(self, at, end, most, found)
    }

    fn tallies_from(
        &self,
        at: GuestOffset,
        end: GuestOffset,
        unit: u64,
        most: usize,
        found: &mut Vec<Tally>,
    ) -> Result<()> {
        layer::tallies_from(self, at, end, unit, most, found)
    }

    fn work(&self) -> Work {
        self.steps.work()
    }

    fn read_at(&self, at: GuestOffset, buf: &mut [u8]) -> Result<()> {
        layer::read_plain(self, at, buf)
    }

    fn details(&self) -> Details {
        let block_size = self.map.block_size();
        let variant = match (block_size, &self.below) {
            (None, _) => "fixed",
            (Some(_), Below::Nothing) => "dynamic",
            (Some(_), _) => "differencing",
        };
        let mut details = Details {
            variant: Some(variant.to_owned()),
            creator: Some(self.creator.clone()),
            cluster_size: block_size,
            warnings: self.warnings.clone(),
            ..Details::new(Format::Vhd)
        };
        let doubts = self.map.doubts().into_iter();
        details.warnings.extend(doubts.map(|(_, text)| text));
        self.below.describe(&mut details);
        details
    }

    fn audit(&self, cancelled: &dyn Fn() -> bool) -> Result<()> {
        let source = self.source.as_ref();
        let size = self.declared_size;
        self.map.audit(source, &self.stored, size, cancelled)?;
        self.below.audit(cancelled)
    }

    fn memory_bound(&self, readers: usize) -> u64 {
        let (kept, working) = self.map.memory_bound(readers as u64);
        kept.saturating_add(working.max(self.opening.bytes()))
            .saturating_add(self.stored.memory())
            .saturating_add(self.below.memory_bound(readers))
    }
}
