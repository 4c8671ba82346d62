//! XFS, with a look at the end of its log.

use super::super::field::{be32, be64};
use super::super::slice::Slice;
use super::{Found, label, longer, uuid};
use crate::volume::{Content, FileSystem, Health};

const SECTOR: u64 = 512;
/// Mark of a record in the log.
const RECORD: u32 = 0xfeed_babe;
/// Sectors of the longest record, with its headers.
const MAX_RECORD: u64 = 520;
/// Flag of the operation that says "unmounted".
const UNMOUNT: u8 = 0x20;

pub(super) fn recognise(slice: &Slice, head: &[u8]) -> Result<Option<Found>, String> {
    if !head.starts_with(b"XFSB") {
        return Ok(None);
    }
    let block = u64::from(be32(head, 4));
    let errors = head.get(126).is_some_and(|in_progress| *in_progress != 0);
    let dirty = match log(slice, head) {
        Some(log) => !log.was_unmounted()?,
        None => false,
    };
    Ok(Some(Found {
        uuid: head.get(32..48).and_then(uuid),
        label: head.get(108..120).and_then(label),
        health: Health {
            dirty: dirty.then(|| "its log holds changes that are not in place yet".to_owned()),
            journal: dirty.then_some(false),
            errors: errors.then(|| "it is marked as being made".to_owned()),
            longer: longer(slice, be64(head, 8).saturating_mul(block)),
            devices: None,
        },
        free: Some(be64(head, 144).saturating_mul(block)),
        ..Found::new(Content::FileSystem(FileSystem::Xfs))
    }))
}

/// The log, when it lies inside of the file system.
fn log<'a>(slice: &'a Slice, head: &[u8]) -> Option<Log<'a>> {
    let block = u64::from(be32(head, 4));
    let start = be64(head, 48);
    let group_bits = u32::from(*head.get(124)?);
    let group = start.checked_shr(group_bits)?;
    let within = start ^ group.checked_shl(group_bits)?;
    let first = group
        .checked_mul(u64::from(be32(head, 84)))?
        .checked_add(within)?
        .checked_mul(block)?;
    let sectors = u64::from(be32(head, 96)).checked_mul(block)? / SECTOR;
    let end = first.checked_add(sectors.checked_mul(SECTOR)?)?;
    (start != 0 && sectors > 0 && end <= slice.size()).then_some(Log {
        slice,
        first,
        sectors,
    })
}

/// A ring of sectors, each of which carries the number of the round in which it was written.
struct Log<'a> {
    slice: &'a Slice,
    first: u64,
    sectors: u64,
}

impl Log<'_> {
    fn sector(&self, number: u64) -> Result<Vec<u8>, String> {
        self.slice.head(self.first + number * SECTOR, 512)
    }

    fn round(&self, number: u64) -> Result<u32, String> {
        let sector = self.sector(number)?;
        Ok(match be32(&sector, 0) {
            RECORD => be32(&sector, 4),
            round => round,
        })
    }

    /// Whether the last thing that was written says that the file system was unmounted.
    fn was_unmounted(&self) -> Result<bool, String> {
        let first = self.round(0)?;
        if first == 0 {
            // Never written to.
            return Ok(true);
        }
        // The first sector that was written in an earlier round, or never.
        let (mut low, mut high) = (0, self.sectors);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            match self.round(middle)? == first {
                true => low = middle,
                false => high = middle,
            }
        }
        let end = high;
        // Backwards to the header of the last record, which may stand at the end of the ring.
        for back in 1..=MAX_RECORD.min(self.sectors) {
            let at = (end + self.sectors - back) % self.sectors;
            let header = self.sector(at)?;
            if be32(&header, 0) == RECORD {
                return self.is_unmount(at, &header, end);
            }
        }
        Ok(false)
    }

    fn is_unmount(&self, at: u64, header: &[u8], end: u64) -> Result<bool, String> {
        const EXTENDED: u32 = 2;
        const WORDS_OF_ONE_HEADER: u64 = 32 << 10;
        let headers = match be32(header, 8) & EXTENDED {
            0 => 1,
            _ => u64::from(be32(header, 320))
                .div_ceil(WORDS_OF_ONE_HEADER)
                .max(1),
        };
        let length = u64::from(be32(header, 12)).div_ceil(SECTOR);
        let after = at.saturating_add(headers).saturating_add(length);
        if after % self.sectors != end % self.sectors || be32(header, 40) != 1 {
            return Ok(false);
        }
        let operation = self.sector((at + headers) % self.sectors)?;
        Ok(operation.get(9).is_some_and(|flags| flags & UNMOUNT != 0))
    }
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::cast_possible_truncation,
        reason = "test data are far smaller than any of these types"
    )]

    use super::super::super::slice::tests::disk;
    use super::*;

    const SECTORS: u64 = 64;

    /// Whether a log says "unmounted" whose `round` ends with a record before sector `head`.
    fn ring(head: u64, round: u32, before: u32, operation: u8) -> bool {
        let mut bytes = vec![0; (SECTORS * SECTOR) as usize];
        let mut put = |at: u64, offset: usize, data: &[u8]| {
            let at = (at * SECTOR) as usize + offset;
            bytes[at..at + data.len()].copy_from_slice(data);
        };
        for sector in 0..SECTORS {
            let written = if sector < head { round } else { before };
            put(sector, 0, &written.to_be_bytes());
        }
        let header = (head + SECTORS - 2) % SECTORS;
        put(header, 0, &RECORD.to_be_bytes());
        put(
            header,
            4,
            &if header < head { round } else { before }.to_be_bytes(),
        );
        put(header, 12, &512_u32.to_be_bytes());
        put(header, 40, &1_u32.to_be_bytes());
        put((header + 1) % SECTORS, 9, &[operation]);
        let media = disk(bytes);
        let slice = Slice::new(&media, 0, SECTORS * SECTOR);
        let log = Log {
            slice: &slice,
            first: 0,
            sectors: SECTORS,
        };
        log.was_unmounted().unwrap()
    }

    #[test]
    fn the_last_record_says_whether_it_was_unmounted() {
        for head in [1, 2, 7, 33, SECTORS] {
            assert!(ring(head, 7, 6, UNMOUNT), "{head}");
            assert!(!ring(head, 7, 6, 0), "{head}");
        }
        assert!(ring(9, 1, 0, UNMOUNT) && !ring(9, 1, 0, 0));
    }
}
