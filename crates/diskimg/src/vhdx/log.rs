//! The log: finds what has to be replayed, and replays it in memory.
//!
//! The log is a ring of 4 KiB sectors. An entry is valid when its checksum is right and it carries
//! the GUID of the header; entries that follow each other with sequence numbers one apart are a
//! sequence. A sequence counts when it holds the entry that its last one names as its tail, and of
//! those the one with the highest sequence number is the active one. It is replayed from that tail
//! on.

use std::ops::Range;
use std::sync::Arc;

use zerocopy::{FromBytes, IntoBytes};

use super::header::Header;
use super::layout::{
    DATA_DESCRIPTOR, DATA_SECTOR, Guid, HEADER_SECTION_LEN, LOG_ENTRY_SIGNATURE, LOG_SECTOR,
    LogDataSector, LogDescriptor, LogEntryHeader, REGION_TABLE_OFFSETS, ZERO_DESCRIPTOR,
};
use super::overlay::Overlay;
use crate::chain::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::hint::CHECK_VHDX;
use crate::limits::MAX_VHDX_LOG_BYTES;
use crate::source::ReadAt;
use crate::units::FileOffset;

const LOG: &str = "VHDX log";
const ENTRY: &str = "VHDX log entry";

/// How many times its own length of a log is put through the checksum. Valid entries do not
/// overlap, and are read three times at most; a log made to be slow is full of entries that
/// do.
const CHECKSUM_PASSES: u64 = 16;

type Sector = [u8; LOG_SECTOR];

/// The file as it is once its log is replayed, and the number of entries that were; `None` when the
/// log is empty.
///
/// # Errors
/// `Corrupt` when no valid sequence is found or it breaks a rule, `Truncated` when the file is
/// shorter than it was when the log was written, `Limit` when the log is too long.
pub(super) fn replay(
    source: &Arc<dyn ReadAt>,
    header: &Header,
    context: &Context,
) -> Result<Option<(Overlay, usize)>> {
    let Some(guid) = header.log_guid else {
        return Ok(None);
    };
    let log = Log::read(source.as_ref(), header.log.clone(), guid, context)?;
    let sequence = log.active_sequence()?;
    let file_len = source.len();
    let mut len = file_len;
    for entry in &sequence {
        if entry.flushed_len > file_len {
            return Err(Error::truncated(
                ENTRY,
                log.file_offset(entry.start),
                format!(
                    "the file had {} bytes when this was written, it has {file_len}",
                    entry.flushed_len
                ),
            ));
        }
        len = len.max(entry.last_len);
    }
    let sectors = sequence.iter().map(|entry| entry.sectors).sum();
    let mut overlay = Overlay::new(Arc::clone(source), len, sectors);
    for entry in &sequence {
        log.apply(entry, &mut overlay)?;
    }
    // Many small stretches of zeros take more than their descriptors.
    let more = overlay.memory().saturating_sub(log.bytes.len() as u64);
    context.keep(LOG, log.range.start, more)?;
    Ok(Some((overlay, sequence.len())))
}

/// A valid entry. Places are sector numbers in the ring.
struct Entry {
    start: usize,
    sectors: usize,
    tail: usize,
    sequence_number: u64,
    descriptors: usize,
    /// Length of the file in bytes when the entry was written.
    flushed_len: u64,
    /// Length that the file has to have at least, in bytes.
    last_len: u64,
}

struct Log {
    bytes: Vec<u8>,
    range: Range<u64>,
    guid: Guid,
}

impl Log {
    fn read(source: &dyn ReadAt, range: Range<u64>, guid: Guid, context: &Context) -> Result<Self> {
        let len = range.end - range.start;
        if len > MAX_VHDX_LOG_BYTES {
            return Err(Error::new(
                ErrorKind::Limit,
                format!("found {len} bytes to replay, at most {MAX_VHDX_LOG_BYTES} are"),
            )
            .at(LOG, range.start)
            .with_hint(CHECK_VHDX));
        }
        // What is kept are the sectors of its entries, of which it consists at most.
        context.keep(LOG, range.start, len)?;
        context.takes_for_a_moment(len);
        let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
        source.read_exact_at(FileOffset(range.start), &mut bytes)?;
        Ok(Self { bytes, range, guid })
    }

    /// The ring.
    fn sectors(&self) -> &[Sector] {
        self.bytes.as_chunks().0
    }

    /// Sector `index` of the ring, which continues at its beginning.
    fn sector(&self, index: usize) -> Option<&Sector> {
        let sectors = self.sectors();
        sectors.get(index.checked_rem(sectors.len())?)
    }

    /// Where sector `index` is in the file.
    fn file_offset(&self, index: usize) -> u64 {
        self.range.start + index as u64 * LOG_SECTOR as u64
    }

    /// The entries that have to be replayed, in order.
    fn active_sequence(&self) -> Result<Vec<Entry>> {
        let count = self.sectors().len();
        let mut budget = (self.bytes.len() as u64).saturating_mul(CHECKSUM_PASSES);
        let mut active: Option<Vec<Entry>> = None;
        let mut tail = 0;
        while tail < count {
            let mut sequence = self.sequence(tail, &mut budget)?;
            let Some(last) = sequence.last() else {
                tail += 1;
                continue;
            };
            // No later start of the same sequence would have the tail either.
            tail += sequence.iter().map(|entry| entry.sectors).sum::<usize>();
            let number = last.sequence_number;
            let first = sequence.iter().position(|entry| entry.start == last.tail);
            let best = active.as_ref().and_then(|best| best.last());
            if let Some(first) = first
                && best.is_none_or(|best| best.sequence_number < number)
            {
                active = Some(sequence.split_off(first));
            }
        }
        active.ok_or_else(|| {
            Error::corrupt(
                LOG,
                self.range.start,
                format!(
                    "the header says that entries of {} have to be replayed, and there is no \
                     valid sequence of them",
                    self.guid
                ),
            )
            .with_hint(CHECK_VHDX)
        })
    }

    /// The valid entries that follow each other from sector `start` on, once round the ring at
    /// most.
    fn sequence(&self, start: usize, budget: &mut u64) -> Result<Vec<Entry>> {
        let count = self.sectors().len();
        let mut sequence: Vec<Entry> = Vec::new();
        let mut taken = 0;
        while taken < count {
            let number = sequence
                .last()
                .map(|entry| entry.sequence_number.checked_add(1));
            let at = (start + taken) % count;
            let Some(entry) = self.entry(at, number, budget)? else {
                break;
            };
            taken += entry.sectors;
            if taken > count {
                break;
            }
            sequence.push(entry);
        }
        Ok(sequence)
    }

    /// The entry at sector `start`, when it is valid; `number` is the sequence number that it has
    /// to have, if there was one before it.
    fn entry(
        &self,
        start: usize,
        number: Option<Option<u64>>,
        budget: &mut u64,
    ) -> Result<Option<Entry>> {
        let header = self
            .sector(start)
            .and_then(|sector| LogEntryHeader::ref_from_prefix(sector).ok());
        let Some((header, _)) = header else {
            return Ok(None);
        };
        let sequence_number = header.sequence_number.get();
        let to_usize = |value: u32| usize::try_from(value).unwrap_or(usize::MAX);
        let (len, tail) = (
            to_usize(header.entry_length.get()),
            to_usize(header.tail.get()),
        );
        if header.signature != LOG_ENTRY_SIGNATURE
            || header.log_guid != self.guid
            || sequence_number == 0
            || number.is_some_and(|number| number != Some(sequence_number))
            || len == 0
            || len > self.bytes.len()
            || !len.is_multiple_of(LOG_SECTOR)
            || tail >= self.bytes.len()
            || !tail.is_multiple_of(LOG_SECTOR)
        {
            return Ok(None);
        }
        *budget = budget.checked_sub(len as u64).ok_or_else(|| {
            Error::corrupt(LOG, self.range.start, "its entries overlap each other")
                .with_hint(CHECK_VHDX)
        })?;
        let sectors = len / LOG_SECTOR;
        if self.checksum(start, sectors) != header.checksum.get() {
            return Ok(None);
        }
        Ok(Some(Entry {
            start,
            sectors,
            tail: tail / LOG_SECTOR,
            sequence_number,
            descriptors: to_usize(header.descriptor_count.get()),
            flushed_len: header.flushed_file_offset.get(),
            last_len: header.last_file_offset.get(),
        }))
    }

    /// CRC-32C of an entry, whose own field for it is taken as zero.
    fn checksum(&self, start: usize, sectors: usize) -> u32 {
        let first = self
            .sector(start)
            .map_or(0, |sector| super::layout::checksum(sector));
        (start + 1..start + sectors)
            .filter_map(|index| self.sector(index))
            .fold(first, |crc, sector| crc32c::crc32c_append(crc, sector))
    }

    /// Puts what `entry` describes over the file.
    fn apply(&self, entry: &Entry, overlay: &mut Overlay) -> Result<()> {
        const HEADER: usize = size_of::<LogEntryHeader>();
        const DESCRIPTOR: usize = size_of::<LogDescriptor>();
        let corrupt = |message: String| {
            Error::corrupt(ENTRY, self.file_offset(entry.start), message).with_hint(CHECK_VHDX)
        };
        let described = entry
            .descriptors
            .checked_mul(DESCRIPTOR)
            .and_then(|len| len.checked_add(HEADER))
            .map(|len| len.div_ceil(LOG_SECTOR))
            .filter(|sectors| *sectors <= entry.sectors)
            .ok_or_else(|| {
                corrupt(format!(
                    "found {} descriptors, they do not fit in {} bytes",
                    entry.descriptors,
                    entry.sectors * LOG_SECTOR
                ))
            })?;
        let mut data = described;
        for index in 0..entry.descriptors {
            let at = HEADER + index * DESCRIPTOR;
            let descriptor = self
                .sector(entry.start + at / LOG_SECTOR)
                .and_then(|sector| sector.get(at % LOG_SECTOR..))
                .and_then(|rest| LogDescriptor::ref_from_prefix(rest).ok());
            let Some((descriptor, _)) = descriptor else {
                return Err(corrupt(format!("descriptor {index} is missing")));
            };
            if descriptor.sequence_number.get() != entry.sequence_number {
                return Err(corrupt(format!(
                    "found sequence number {} in descriptor {index}, expected {}",
                    descriptor.sequence_number, entry.sequence_number
                )));
            }
            match descriptor.signature {
                DATA_DESCRIPTOR => {
                    let range = self
                        .target(descriptor, LOG_SECTOR as u64, overlay.len())
                        .map_err(|broken| corrupt(format!("descriptor {index}: {broken}")))?;
                    if data >= entry.sectors {
                        return Err(corrupt(format!("descriptor {index} has no data sector")));
                    }
                    let sector = self
                        .data(entry, data, descriptor)
                        .map_err(|broken| corrupt(format!("descriptor {index}: {broken}")))?;
                    overlay.put(range.start, sector);
                    data += 1;
                }
                ZERO_DESCRIPTOR => {
                    let len = u64::from_le_bytes(descriptor.leading);
                    let range = self
                        .target(descriptor, len, overlay.len())
                        .map_err(|broken| corrupt(format!("descriptor {index}: {broken}")))?;
                    overlay.clear(range.start, range.end);
                }
                found => {
                    return Err(corrupt(format!(
                        "found \"{}\" at descriptor {index}, expected \"desc\" or \"zero\"",
                        found.escape_ascii()
                    )));
                }
            }
        }
        if data != entry.sectors {
            return Err(corrupt(format!(
                "found {} sectors, its descriptors describe {data}",
                entry.sectors
            )));
        }
        Ok(())
    }

    /// Where `len` bytes of `descriptor` belong, or what is wrong with the place.
    fn target(
        &self,
        descriptor: &LogDescriptor,
        len: u64,
        file_len: u64,
    ) -> std::result::Result<Range<u64>, String> {
        let start = descriptor.file_offset.get();
        let unit = LOG_SECTOR as u64;
        let broken = if !start.is_multiple_of(unit) || !len.is_multiple_of(unit) {
            "both have to be multiples of 4 KiB".to_owned()
        } else if start < first_loggable() {
            "the headers are never logged".to_owned()
        } else {
            match start.checked_add(len).filter(|end| *end <= file_len) {
                None => format!("the file ends at {file_len:#x}"),
                Some(end) if start < self.range.end && end > self.range.start => {
                    "this is in the log itself".to_owned()
                }
                Some(end) => return Ok(start..end),
            }
        };
        Err(format!("found {len:#x} bytes for {start:#x}: {broken}"))
    }

    /// The sector that `descriptor` and the entry's sector `index` make together.
    fn data(
        &self,
        entry: &Entry,
        index: usize,
        descriptor: &LogDescriptor,
    ) -> std::result::Result<Sector, String> {
        let stored = self
            .sector(entry.start + index)
            .and_then(|sector| LogDataSector::ref_from_bytes(sector).ok())
            .ok_or("its data sector is missing")?;
        if stored.signature != DATA_SECTOR {
            return Err(format!(
                "found \"{}\", expected \"data\"",
                stored.signature.escape_ascii()
            ));
        }
        let number =
            u64::from(stored.sequence_high.get()) << 32 | u64::from(stored.sequence_low.get());
        if number != entry.sequence_number {
            return Err(format!(
                "found sequence number {number} in its data sector, expected {}",
                entry.sequence_number
            ));
        }
        let mut sector = [0; LOG_SECTOR];
        // The three parts take 8, 4084 and 4 bytes.
        let parts = [
            descriptor.leading.as_bytes(),
            &stored.data,
            &descriptor.trailing,
        ];
        for (to, from) in sector.iter_mut().zip(parts.into_iter().flatten()) {
            *to = *from;
        }
        Ok(sector)
    }
}

/// First byte of the file that a log may write.
fn first_loggable() -> u64 {
    REGION_TABLE_OFFSETS
        .into_iter()
        .min()
        .unwrap_or(HEADER_SECTION_LEN)
}
