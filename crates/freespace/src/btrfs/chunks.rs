//! Chunks: which logical addresses are where on the device.

use std::ops::Range;

use guest::field::{le16, le64};

use super::superblock::Superblock;

/// Bytes of a key, of a chunk, and of each of its stripes.
const KEY: usize = 17;
const HEAD: usize = 48;
const STRIPE: usize = 32;
/// Kinds of content, and "stored twice on one device".
const KINDS: u64 = 0x7;
const TWICE: u64 = 0x20;

/// A chunk: consecutive logical addresses.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    pub(super) start: u64,
    pub(super) length: u64,
    /// Where its copies begin on the device.
    pub(super) places: Vec<u64>,
}

/// Chunks, by their addresses.
pub(super) struct Chunks(Vec<Chunk>);

impl Chunks {
    /// Those that the superblock lists.
    pub(super) fn of_system(superblock: &Superblock) -> Result<Self, String> {
        let mut found = Vec::new();
        let mut rest = superblock.system.as_slice();
        while !rest.is_empty() {
            let (key, after) = rest.split_at_checked(KEY).ok_or("a chunk is cut off")?;
            let length = HEAD + usize::from(le16(after, 44)) * STRIPE;
            let (item, after) = after.split_at_checked(length).ok_or("a chunk is cut off")?;
            found.push(chunk(le64(key, 9), item, superblock)?);
            rest = after;
        }
        Self::sorted(found)
    }

    /// Those of the items that the tree of chunks has: their addresses and bytes.
    pub(super) fn of_items(
        items: &[(u64, Vec<u8>)],
        superblock: &Superblock,
    ) -> Result<Self, String> {
        let found = items
            .iter()
            .map(|(start, item)| chunk(*start, item, superblock));
        let all = Self::sorted(found.collect::<Result<_, _>>()?)?;
        let length = |chunk: &Chunk| chunk.length.saturating_mul(chunk.places.len() as u64);
        let taken: u64 = all.0.iter().map(length).fold(0, u64::saturating_add);
        match taken == superblock.device_used {
            true => Ok(all),
            false => Err(format!(
                "its chunks take {taken} bytes, its device says {}",
                superblock.device_used
            )),
        }
    }

    fn sorted(mut chunks: Vec<Chunk>) -> Result<Self, String> {
        chunks.sort_unstable_by_key(|chunk| chunk.start);
        let apart = chunks
            .windows(2)
            .all(|pair| matches!(pair, [a, b] if a.start + a.length <= b.start));
        match apart {
            true => Ok(Self(chunks)),
            false => Err("its chunks overlap".into()),
        }
    }

    pub(super) fn all(&self) -> &[Chunk] {
        &self.0
    }

    /// The chunk that holds an address.
    pub(super) fn at(&self, address: u64) -> Option<&Chunk> {
        let after = self.0.partition_point(|chunk| chunk.start <= address);
        let chunk = self.0.get(after.checked_sub(1)?)?;
        (address < chunk.start + chunk.length).then_some(chunk)
    }

    /// What of a device of so many bytes is in no chunk.
    pub(super) fn unallocated(&self, bytes: u64) -> Result<Vec<Range<u64>>, String> {
        let places = self.0.iter().flat_map(|chunk| {
            let length = chunk.length;
            chunk
                .places
                .iter()
                .map(move |place| *place..place.saturating_add(length))
        });
        let mut taken: Vec<Range<u64>> = places.collect();
        taken.sort_unstable_by_key(|range| range.start);
        let mut free = Vec::new();
        let mut next = 0;
        taken.push(bytes..bytes);
        for range in taken {
            if range.start < next || range.end > bytes {
                return Err("its chunks overlap on the device, or leave it".into());
            }
            free.push(next..range.start);
            next = range.end;
        }
        free.retain(|range| range.start < range.end);
        Ok(free)
    }
}

fn chunk(start: u64, item: &[u8], superblock: &Superblock) -> Result<Chunk, String> {
    let (length, kind) = (le64(item, 0), le64(item, 24));
    let count = usize::from(le16(item, 44));
    let copies = if kind & TWICE == 0 { 1 } else { 2 };
    if kind & !(KINDS | TWICE) != 0 || count != copies {
        return Err("it has chunks that are striped, or on several devices".into());
    }
    let mut places = Vec::new();
    for index in 0..count {
        let stripe = item.get(HEAD + index * STRIPE..).unwrap_or_default();
        if stripe.len() < STRIPE || le64(stripe, 0) != superblock.device {
            return Err("it has chunks on another device".into());
        }
        places.push(le64(stripe, 8));
    }
    let ends = places
        .iter()
        .chain([&start])
        .all(|place| place.checked_add(length).is_some());
    match ends && length > 0 {
        true => Ok(Chunk {
            start,
            length,
            places,
        }),
        false => Err("it has a chunk without an end".into()),
    }
}
