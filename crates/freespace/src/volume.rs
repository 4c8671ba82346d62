//! A volume's bytes, read within a budget and through a small cache.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;

use diskimg::{DiskImage, GuestOffset};

/// Bytes of a cached block.
const BLOCK: u64 = 64 << 10;
/// Cached blocks, 1 MiB of them.
const BLOCKS: usize = 16;
/// Longest read in bytes.
const LONGEST: u64 = 1 << 20;
/// Bytes read of one disk. Ours: the bitmaps of 32 TiB in blocks of 4 KiB.
const MOST_READ: u64 = 1 << 30;

/// A disk that is read within a budget of bytes. Time is none of it, so that the same disk gives
/// the same answer on every machine.
pub(crate) struct Disk<'a> {
    image: &'a dyn DiskImage,
    cancelled: &'a dyn Fn() -> bool,
    read: Cell<u64>,
    cache: RefCell<VecDeque<(u64, Rc<[u8]>)>>,
}

impl<'a> Disk<'a> {
    pub(crate) fn new(image: &'a dyn DiskImage, cancelled: &'a dyn Fn() -> bool) -> Self {
        Self {
            image,
            cancelled,
            read: Cell::new(0),
            cache: RefCell::default(),
        }
    }

    pub(crate) fn size(&self) -> u64 {
        self.image.virtual_size()
    }

    pub(crate) fn image(&self) -> &'a dyn DiskImage {
        self.image
    }

    pub(crate) fn bytes_read(&self) -> u64 {
        self.read.get()
    }

    /// Fills `buf` with the disk's bytes from `at`.
    ///
    /// # Errors
    /// The range leaves the disk, cannot be read, or the budget is used up.
    pub(crate) fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<(), String> {
        let end = at.checked_add(buf.len() as u64);
        if end.is_none_or(|end| end > self.size()) {
            return Err(format!(
                "{} bytes at {at:#x} are not on the disk",
                buf.len()
            ));
        }
        if buf.len() as u64 >= BLOCK / 4 {
            return self.load(at, buf);
        }
        let (mut at, mut rest) = (at, buf);
        while !rest.is_empty() {
            let block = self.block(at / BLOCK)?;
            let from = usize::try_from(at % BLOCK).unwrap_or(usize::MAX);
            let found = block.get(from..).unwrap_or_default();
            let length = found.len().min(rest.len());
            if length == 0 {
                return Err(format!("nothing is stored at {at:#x}"));
            }
            let (filled, after) = rest.split_at_mut(length);
            filled.copy_from_slice(found.get(..length).unwrap_or_default());
            (at, rest) = (at + length as u64, after);
        }
        Ok(())
    }

    fn block(&self, number: u64) -> Result<Rc<[u8]>, String> {
        let cached = self.cache.borrow();
        if let Some((_, block)) = cached.iter().find(|(cached, _)| *cached == number) {
            return Ok(Rc::clone(block));
        }
        drop(cached);
        let at = number * BLOCK;
        let length = BLOCK.min(self.size().saturating_sub(at));
        let mut block = vec![0; usize::try_from(length).unwrap_or_default()];
        self.load(at, &mut block)?;
        let block: Rc<[u8]> = block.into();
        let mut cache = self.cache.borrow_mut();
        cache.truncate(BLOCKS - 1);
        cache.push_front((number, Rc::clone(&block)));
        Ok(block)
    }

    fn load(&self, at: u64, buf: &mut [u8]) -> Result<(), String> {
        if (self.cancelled)() {
            return Err("it was interrupted".into());
        }
        let read = self.read.get().saturating_add(buf.len() as u64);
        if read > MOST_READ {
            return Err(format!(
                "finding the free space takes more than {MOST_READ} bytes of the disk, which is \
                 the limit"
            ));
        }
        self.read.set(read);
        let read = self.image.read_at(GuestOffset(at), buf);
        read.map_err(|error| error.to_string())
    }
}

/// A volume: stretches of a disk, one after the other.
#[derive(Clone, Copy)]
pub(crate) struct Volume<'a> {
    disk: &'a Disk<'a>,
    pieces: &'a [Range<u64>],
}

impl<'a> Volume<'a> {
    pub(crate) fn new(disk: &'a Disk<'a>, pieces: &'a [Range<u64>]) -> Self {
        Self { disk, pieces }
    }

    pub(crate) fn size(&self) -> u64 {
        let lengths = self.pieces.iter().map(|it| it.end.saturating_sub(it.start));
        lengths.fold(0, u64::saturating_add)
    }

    /// The `length` bytes from `at`.
    ///
    /// # Errors
    /// Those of reading; the range leaves the volume.
    pub(crate) fn read(&self, at: u64, length: u64) -> Result<Vec<u8>, String> {
        let end = at.checked_add(length).filter(|end| *end <= self.size());
        let (Some(end), true) = (end, length <= LONGEST) else {
            return Err(format!(
                "{length} bytes at {at:#x} are not in the volume of {} bytes",
                self.size()
            ));
        };
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        let mut rest = bytes.as_mut_slice();
        for place in self.places(at..end) {
            let here = place.end.saturating_sub(place.start);
            let here = usize::try_from(here).unwrap_or(rest.len()).min(rest.len());
            let (piece, behind) = rest.split_at_mut(here);
            self.disk.read_at(place.start, piece)?;
            rest = behind;
        }
        Ok(bytes)
    }

    /// Where the bytes of `range` lie on the disk.
    pub(crate) fn places(&self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
        let mut before = 0_u64;
        self.pieces.iter().filter_map(move |piece| {
            let first = before;
            before = before.saturating_add(piece.end.saturating_sub(piece.start));
            let start = range.start.max(first);
            let end = range.end.min(before);
            (start < end).then(|| piece.start + (start - first)..piece.start + (end - first))
        })
    }
}

/// What is free of a file system, in offsets of its volume.
#[derive(Debug)]
pub(crate) struct Free {
    /// Bytes of the file system.
    pub(crate) size: u64,
    /// Bytes that it calls free.
    pub(crate) free: u64,
    /// Its free ranges, in ascending order, without the shortest.
    pub(crate) ranges: Vec<Range<u64>>,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use diskimg::{MemorySource, RawImage};

    use super::*;

    #[test]
    fn a_volume_of_several_pieces_reads_as_one() {
        let bytes: Vec<u8> = (0..200_u8).cycle().take(1024).collect();
        let image = RawImage::open(Arc::new(MemorySource(bytes))).unwrap();
        let never = || false;
        let disk = Disk::new(&image, &never);
        let pieces = [100..103, 10..12, 50..60];
        let volume = Volume::new(&disk, &pieces);
        assert_eq!(volume.size(), 15);
        assert_eq!(volume.read(2, 5).unwrap(), [102, 10, 11, 50, 51]);
        let places: Vec<_> = volume.places(1..6).collect();
        assert_eq!(places, [101..103, 10..12, 50..51]);
        assert!(volume.read(14, 2).is_err());
    }

    #[test]
    fn a_budget_that_is_used_up_and_an_interruption_end_every_read() {
        let image = RawImage::open(Arc::new(MemorySource(vec![7; 1 << 20]))).unwrap();
        let (never, always) = (|| false, || true);
        let disk = Disk::new(&image, &never);
        disk.read.set(MOST_READ - BLOCK);
        assert!(disk.read_at(0, &mut [0]).is_ok());
        assert!(disk.read_at(1, &mut [0]).is_ok());
        let reason = disk.read_at(BLOCK, &mut [0]).unwrap_err();
        assert!(reason.contains("the limit"), "{reason}");
        let disk = Disk::new(&image, &always);
        assert!(disk.read_at(0, &mut [0]).is_err());
    }
}
