//! A VMDK: its parts, opened, and what is read by them.

use std::ops::Range;
use std::sync::Arc;

use super::descriptor::Descriptor;
use super::disk::Disk;
use super::mapping::{Packed, Walk};
use super::parts::Parts;
use super::tables::Tables;
use crate::chain::{Below, Context, Referred, Shared};
use crate::details::Details;
use crate::error::Result;
use crate::format::Format;
use crate::layer::{Layer, Mapped, Piece, Run, Unpack, read_at};
use crate::limits::MAX_VMDK_DESCRIPTOR_BYTES;
use crate::report::first_error;
use crate::source::ReadAt;
use crate::stored::StoredMap;
use crate::text::printable;
use crate::units::GuestOffset;
use crate::unpack::Unpacker;

/// A VMDK.
pub struct VmdkImage {
    layer: Layer,
    parts: Parts,
    tables: Tables,
    create_type: String,
    cid: Option<u32>,
    /// What it shares with the other files of its chain.
    shared: Arc<Shared>,
    /// Whether it accounts for what they share.
    first: bool,
    warnings: Vec<String>,
}

impl VmdkImage {
    /// Opens `source` as VMDK: reads and checks descriptor, headers and grain directories.
    ///
    /// # Errors
    /// `Unsupported` for disks that are refused by name, and for disks of several files; `Limit`,
    /// `Corrupt`, `Truncated` or `Io` by cause.
    pub fn open(source: Arc<dyn ReadAt>) -> Result<Self> {
        Self::open_with(source, &Context::default())
    }

    /// [`Self::open`] with options. Files that hold the disk's own bytes are opened when they are
    /// beside the file that the user named, and called after it; others by the policy.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(source: Arc<dyn ReadAt>, context: &Context) -> Result<Self> {
        let mut disk = first_error(|report| Disk::read(source.as_ref(), report))?;
        let mut warnings = std::mem::take(&mut disk.descriptor.warnings);
        let size = disk.descriptor.size();
        let below = open_parent(&disk.descriptor, size, context, &mut warnings)?;
        let parts = first_error(|report| disk.parts(&source, context, report))?;
        warnings.extend(parts.warnings.iter().cloned());
        let stored = Arc::new(StoredMap::new(&parts.data, context));
        let (mut largest, mut count, mut bytes) = (0, 0, 0_u64);
        for (_, _, sparse) in parts.sparse() {
            let len = sparse.shape.table_len();
            largest = len.max(largest);
            count += sparse.stored_tables();
            bytes = bytes.saturating_add(len.saturating_mul(sparse.stored_tables()));
        }
        context.steps().allow_for(parts.data.as_ref(), bytes);
        let data = Arc::clone(&parts.data);
        Ok(Self {
            layer: Layer::new((size, size), data, stored, below, context),
            tables: Tables::new(largest, count, context),
            parts,
            create_type: disk.descriptor.create_type,
            cid: disk.descriptor.cid,
            shared: Arc::clone(context.shared()),
            first: context.is_first(),
            warnings,
        })
    }

    fn walk(&self, at: u64, end: u64) -> Walk<'_> {
        Walk::new(&self.parts, &self.tables, &self.layer.stored, at, end)
    }
}

/// What lies below the disk of `descriptor`: its parent, if it has one and that may be opened.
fn open_parent(
    descriptor: &Descriptor,
    size: u64,
    context: &Context,
    warnings: &mut Vec<String>,
) -> Result<Below> {
    let Some(parent) = &descriptor.parent else {
        return Ok(Below::Nothing);
    };
    let wanted = parent.wanted();
    let found = match context.refer(&wanted)? {
        Referred::Unopened => return Ok(Below::Unopened(wanted.reference())),
        Referred::Found(found) => found,
    };
    warnings.extend(found.moved.clone());
    let image = VmdkImage::open_with(Arc::clone(&found.source), &found.context)
        .map_err(|error| wanted.unopenable(error.in_file(&found.path())))?;
    parent.check(size, &found.path(), image.cid, image.layer.virtual_size)?;
    Ok(found.below(&wanted, Box::new(image)))
}

impl Mapped for VmdkImage {
    type Packed = Packed;

    fn layer(&self) -> &Layer {
        &self.layer
    }

    fn runs(&self, at: u64, end: u64) -> impl Iterator<Item = Result<Run<Packed>>> {
        self.walk(at, end)
    }

    fn pieces(&self, at: u64, end: u64, _: u64) -> impl Iterator<Item = Result<Piece<Packed>>> {
        self.walk(at, end).map(|run| run.map(Piece::Run))
    }

    fn read(&self, at: GuestOffset, buf: &mut [u8]) -> Result<()> {
        let mut unpacking = Unpacking {
            image: self,
            unpacker: None,
        };
        read_at(self, at, buf, &mut unpacking)
    }

    fn describe(&self) -> Details {
        let grain = self
            .parts
            .sparse()
            .map(|(_, _, sparse)| sparse.shape.grain_size());
        let compressed = self.parts.list.iter().any(|part| part.packing.is_some());
        let mut details = Details {
            variant: Some(printable(&self.create_type)),
            cluster_size: grain.max(),
            compression: compressed.then(|| "zlib".to_owned()),
            refers_to: self.parts.references.clone(),
            warnings: self.warnings.clone(),
            ..Details::new(Format::Vmdk)
        };
        details.warnings.extend(self.parts.data.note());
        details
    }

    fn memory(&self, readers: u64) -> u64 {
        let working = self.tables.memory_bound(readers);
        // The first file accounts for what all of them share.
        let working = match self.first {
            true => working
                .saturating_add(self.shared.unpackers.memory_bound(readers))
                // The descriptor is read before anything else is allocated.
                .max(self.layer.opening_bytes())
                .max(3 * MAX_VMDK_DESCRIPTOR_BYTES),
            false => working,
        };
        working
            .saturating_add(self.parts.memory())
            .saturating_add(self.layer.stored.memory())
    }
}

/// Unpacks for one read.
struct Unpacking<'a> {
    image: &'a VmdkImage,
    /// With the number of the extent that it is for.
    unpacker: Option<(usize, Unpacker)>,
}

impl Unpack<Packed> for Unpacking<'_> {
    fn unpack(&mut self, buf: &mut [u8], packed: Packed, target: Range<usize>) -> Result<()> {
        let Packed {
            part,
            stored,
            frame,
            skip,
        } = packed;
        if self.unpacker.as_ref().is_some_and(|(of, _)| *of != part) {
            self.finish(buf)?;
        }
        let Some(found) = self.image.parts.list.get(part) else {
            return Ok(());
        };
        let Some(packing) = found.packing else {
            return Ok(());
        };
        let (_, unpacker) = self
            .unpacker
            .get_or_insert_with(|| (part, self.image.shared.unpackers.take(packing)));
        unpacker
            .push(
                found.source.as_ref(),
                buf,
                stored,
                Some(frame),
                skip,
                target,
            )
            .map_err(|error| found.name(error))
    }

    fn finish(&mut self, buf: &mut [u8]) -> Result<()> {
        if let Some((part, mut unpacker)) = self.unpacker.take()
            && let Some(found) = self.image.parts.list.get(part)
        {
            unpacker
                .flush(found.source.as_ref(), buf)
                .map_err(|error| found.name(error))?;
            self.image.shared.unpackers.put(unpacker);
        }
        Ok(())
    }
}
