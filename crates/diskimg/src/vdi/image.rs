//! A VDI image: its header and its map, opened, and what is read by them.

use std::convert::Infallible;
use std::sync::Arc;

use super::header::{Header, Kind};
use super::map::BlockMap;
use crate::chain::{Below, Context};
use crate::details::{Details, Reference};
use crate::error::{Error, Result};
use crate::format::Format;
use crate::layer::{Layer, Mapped, Piece, Run, read_plain};
use crate::options::BackingPolicy;
use crate::report::first_error;
use crate::source::ReadAt;
use crate::stored::StoredMap;
use crate::units::GuestOffset;

/// A VDI image.
pub struct VdiImage {
    layer: Layer,
    map: BlockMap,
}

impl VdiImage {
    /// Opens `source` as VDI: reads and checks the header and the block map.
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
        let header = first_error(|report| Header::read(source.as_ref(), report))?;
        let below = below(&header, context)?;
        let sizes = (header.disk_size, header.disk_size);
        let stored = Arc::new(StoredMap::new(&source, context));
        let map = BlockMap::new(source.as_ref(), header, &stored, context)?;
        Ok(Self {
            layer: Layer::new(sizes, source, stored, below, context),
            map,
        })
    }
}

/// What lies below the disk with `header`.
///
/// # Errors
/// `Unsupported` for a differencing disk that is not only to be described.
fn below(header: &Header, context: &Context) -> Result<Below> {
    if header.kind != Kind::Differencing {
        return Ok(Below::Nothing);
    }
    if *context.policy() == BackingPolicy::Describe {
        return Ok(Below::Unopened(Reference {
            role: "parent",
            name: header.parent.to_string(),
            format: None,
            bytes: None,
        }));
    }
    Err(Error::unsupported(format!(
        "this is a differencing disk, a snapshot of VirtualBox: it needs its parent, the disk with \
         UUID {}, and imgferry does not look for files by UUID",
        header.parent
    ))
    .with_hint(
        "merge it with its parents where the virtual machine is registered: \
         VBoxManage clonemedium disk IMAGE whole.vdi",
    ))
}

impl Mapped for VdiImage {
    type Packed = Infallible;

    fn layer(&self) -> &Layer {
        &self.layer
    }

    fn runs(&self, at: u64, end: u64) -> impl Iterator<Item = Result<Run>> {
        self.map.walk(self.layer.data.as_ref(), at, end)
    }

    fn pieces(&self, at: u64, end: u64, _: u64) -> impl Iterator<Item = Result<Piece>> {
        self.runs(at, end).map(|run| run.map(Piece::Run))
    }

    fn read(&self, at: GuestOffset, buf: &mut [u8]) -> Result<()> {
        read_plain(self, at, buf)
    }

    fn describe(&self) -> Details {
        let header = self.map.header();
        let mut warnings = header.warnings.clone();
        warnings.extend(miscounted(header, self.map.stored()));
        Details {
            variant: Some(header.kind.name().to_owned()),
            creator: header.creator.clone(),
            cluster_size: Some(header.block_size),
            warnings,
            ..Details::new(Format::Vdi)
        }
    }

    fn memory(&self, readers: u64) -> u64 {
        self.map
            .memory_bound(readers)
            .max(self.layer.opening_bytes())
            .saturating_add(self.layer.stored.memory())
    }
}

/// The warning that the map has another number of `stored` blocks than the header says.
pub(super) fn miscounted(header: &Header, stored: u64) -> Option<String> {
    let counted = header.allocated;
    (stored != counted).then(|| {
        format!(
            "{stored} blocks are stored, the header counts {counted}: the program that wrote the \
             file may not have closed it"
        )
    })
}
