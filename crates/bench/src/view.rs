//! The part of an image to measure with: all of it, or blocks from all over it.

use diskimg::units::MIB;
use diskimg::{Details, DiskImage, DiskImageExt as _, Extent, ExtentKind, GuestOffset, Result};

use convert::CancelToken;

use cloud::stopped;

/// Unit of work, in bytes.
pub(crate) const BLOCK: u64 = 2 * MIB;
const _: () = assert!(BLOCK == zvhd2::BLOCK_SIZE as u64);

/// Stretches of a part: few enough that reading it is sequential, many enough that it resembles the
/// whole.
const STRETCHES: u64 = 16;

/// An image of which only some blocks are visible; everything else reads as a hole.
pub(crate) struct View {
    image: Box<dyn DiskImage>,
    /// Numbers of the visible blocks, ascending. All of them hold data.
    blocks: Vec<u64>,
    /// Blocks of the image that hold data.
    total: u64,
}

impl View {
    /// Shows at most `limit` bytes of `image`, in blocks that hold data. Reads metadata only, twice.
    pub(crate) fn new(
        image: Box<dyn DiskImage>,
        limit: u64,
        cancel: &CancelToken,
    ) -> cloud::Result<Self> {
        let mut total = 0;
        for_blocks(image.as_ref(), cancel, |_| total += 1)?;
        let wanted = (limit / BLOCK).max(1);
        let mut blocks = Vec::new();
        let mut index = 0;
        for_blocks(image.as_ref(), cancel, |number| {
            if is_visible(index, total, wanted) {
                blocks.push(number);
            }
            index += 1;
        })?;
        Ok(Self {
            image,
            blocks,
            total,
        })
    }

    pub(crate) fn blocks(&self) -> &[u64] {
        &self.blocks
    }

    /// Whether everything that holds data is visible.
    pub(crate) fn is_whole(&self) -> bool {
        self.blocks.len() as u64 == self.total
    }

    /// Bytes of the blocks that hold data, visible or not.
    pub(crate) fn data_bytes(&self) -> u64 {
        self.total.saturating_mul(BLOCK).min(self.virtual_size())
    }

    /// Fills `block`, of 2 MiB, with block `number`, and returns how many bytes were read.
    pub(crate) fn read_block(&self, number: u64, block: &mut [u8]) -> Result<u64> {
        let start = number.saturating_mul(BLOCK);
        let end = start.saturating_add(BLOCK).min(self.virtual_size());
        let (mut rest, mut read) = (block, 0);
        for extent in self.image.extents(GuestOffset(start)..GuestOffset(end)) {
            let extent = extent?;
            let len = usize::try_from(extent.len).unwrap_or(usize::MAX);
            let (part, behind) = rest.split_at_mut(len.min(rest.len()));
            rest = behind;
            match extent.kind {
                ExtentKind::Data | ExtentKind::Elsewhere => {
                    self.image.read_at(extent.start, part)?;
                    read += extent.len;
                }
                ExtentKind::Zero | ExtentKind::Hole => part.fill(0),
            }
        }
        rest.fill(0);
        Ok(read)
    }
}

/// Whether the block with this index, of `total`, is one of about `wanted`, in stretches.
fn is_visible(index: u64, total: u64, wanted: u64) -> bool {
    if total <= wanted {
        return true;
    }
    let stretches = STRETCHES.min(wanted);
    let stride = total.div_ceil(stretches);
    index % stride < wanted / stretches
}

/// Calls `found` with the number of each block that holds data, ascending.
fn for_blocks(
    image: &dyn DiskImage,
    cancel: &CancelToken,
    mut found: impl FnMut(u64),
) -> cloud::Result {
    let mut next = 0;
    for tally in image.tallies(BLOCK) {
        if cancel.is_cancelled() {
            return Err(stopped());
        }
        let tally = tally?;
        if tally.data > 0 || tally.elsewhere > 0 {
            let end = tally.end().0.div_ceil(BLOCK);
            for number in next.max(tally.start.0 / BLOCK)..end {
                found(number);
            }
            next = end;
        }
    }
    Ok(())
}

impl DiskImage for View {
    fn virtual_size(&self) -> u64 {
        self.image.virtual_size()
    }

    fn extent_at(&self, at: GuestOffset, limit: u64) -> Result<Extent> {
        let number = at.0 / BLOCK;
        let here = self.blocks.partition_point(|seen| *seen < number);
        let next = self.blocks.get(here).copied();
        if next == Some(number) {
            // The walk joins neighbours.
            let to_end = (number + 1).saturating_mul(BLOCK).saturating_sub(at.0);
            return self.image.extent_at(at, limit.min(to_end));
        }
        let limit = diskimg::clip_extent(at, limit, self.virtual_size())?;
        let to_next = next.map_or(u64::MAX, |next| next.saturating_mul(BLOCK) - at.0);
        Ok(Extent {
            start: at,
            len: limit.min(to_next),
            kind: ExtentKind::Hole,
        })
    }

    fn read_at(&self, at: GuestOffset, buf: &mut [u8]) -> Result<()> {
        self.image.read_at(at, buf)
    }

    fn details(&self) -> Details {
        self.image.details()
    }

    fn memory_bound(&self, readers: usize) -> u64 {
        let list = (self.blocks.capacity() * size_of::<u64>()) as u64;
        self.image.memory_bound(readers).saturating_add(list)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use convert::sample::{Content, SampleDisk};
    use diskimg::RawImage;

    use super::*;

    fn view(blocks: u64, limit: u64) -> View {
        let disk = SampleDisk::new(Content::OsLike, 1, blocks * BLOCK);
        let image = Box::new(RawImage::open(Arc::new(disk)).unwrap());
        View::new(image, limit, &CancelToken::new()).unwrap()
    }

    fn data_blocks(view: &View) -> Vec<u64> {
        let mut seen = Vec::new();
        for_blocks(view, &CancelToken::new(), |number| seen.push(number)).unwrap();
        seen
    }

    #[test]
    fn a_small_disk_is_visible_as_a_whole() {
        let view = view(32, 26 * BLOCK);
        assert!(view.is_whole());
        // Of sixteen blocks three are holes.
        assert_eq!(view.blocks().len(), 26);
        assert_eq!(data_blocks(&view), view.blocks());
    }

    #[test]
    fn stretches_from_all_over_a_large_disk_are_visible() {
        let view = view(3200, 100 * BLOCK);
        assert!(!view.is_whole());
        assert_eq!(view.data_bytes(), 2600 * BLOCK);
        let seen = view.blocks();
        assert!((80..=100).contains(&seen.len()), "{}", seen.len());
        assert!(seen[0] < 10 && seen[seen.len() - 1] > 2900, "{seen:?}");
        assert_eq!(data_blocks(&view), seen, "the rest are holes");
        let plan = convert::plan(
            &view,
            convert::Target::Zvhd2,
            &convert::PlanOptions::default(),
        )
        .unwrap();
        assert_eq!(plan.data_blocks, seen.len() as u64);
    }

    #[test]
    fn fewer_blocks_than_stretches_can_be_asked_for() {
        let view = view(3200, 2 * BLOCK);
        assert_eq!(view.blocks().len(), 2);
    }

    #[test]
    fn blocks_are_read_as_the_image_has_them() {
        let view = view(16, 16 * BLOCK);
        let mut block = vec![1; zvhd2::BLOCK_SIZE];
        assert_eq!(view.read_block(2, &mut block).unwrap(), BLOCK);
        let mut expected = vec![0; zvhd2::BLOCK_SIZE];
        convert::sample::fill_block(Content::OsLike, 1, 2, &mut expected);
        assert!(block == expected);
        assert_eq!(view.read_block(15, &mut block).unwrap(), 0);
        assert!(block.iter().all(|byte| *byte == 0), "a hole");
    }
}
