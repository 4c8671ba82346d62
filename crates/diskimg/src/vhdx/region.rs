//! The region table and its copy: where BAT and metadata are.

use std::ops::Range;

use zerocopy::FromBytes;

use super::layout::{
    self, ALIGNMENT, Guid, HEADER_SECTION_LEN, MAX_TABLE_ENTRIES, REGION_REQUIRED,
    REGION_SIGNATURE, REGION_TABLE_LEN, REGION_TABLE_OFFSETS, RegionEntry, RegionTableHeader,
    region,
};
use crate::error::{Error, Result};
use crate::hint::CHECK_VHDX;
use crate::source::ReadAt;
use crate::units::{FileOffset, fits};

const TABLE: &str = "VHDX region table";

/// Where the regions of a file are.
pub(super) struct Regions {
    /// Block allocation table; inside the file.
    pub(super) bat: Range<u64>,
    /// Metadata; inside the file.
    pub(super) metadata: Range<u64>,
    /// All that is not payload, header section and log included, in order and apart from each
    /// other.
    pub(super) occupied: Vec<Range<u64>>,
}

impl Regions {
    /// Reads the first valid region table of `source`.
    ///
    /// # Errors
    /// `Corrupt` when both tables are damaged or the regions break a rule, `Unsupported` for
    /// required regions that are not known, `Truncated` when one lies past the file's end.
    pub(super) fn read(
        source: &dyn ReadAt,
        log: &Range<u64>,
        warnings: &mut Vec<String>,
    ) -> Result<Self> {
        let [one, two] = REGION_TABLE_OFFSETS;
        let (at, bytes) = match (read_one(source, one)?, read_one(source, two)?) {
            (Ok(first), Ok(second)) => {
                if first != second {
                    warnings.push(format!(
                        "the region tables at offsets {one:#x} and {two:#x} are intact and \
                         differ; the first one is used, and programs that use the other one may \
                         see another disk"
                    ));
                }
                (one, first)
            }
            (Ok(first), Err(broken)) => {
                warnings.push(damaged(two, &broken));
                (one, first)
            }
            (Err(broken), Ok(second)) => {
                warnings.push(damaged(one, &broken));
                (two, second)
            }
            (Err(first), Err(second)) => {
                return Err(Error::corrupt(
                    TABLE,
                    one,
                    format!("{first}; the copy, at {two:#x}: {second}"),
                )
                .with_hint(CHECK_VHDX));
            }
        };
        Self::parse(at, &bytes, log, source.len())
    }

    fn parse(at: u64, bytes: &[u8], log: &Range<u64>, file_len: u64) -> Result<Self> {
        let corrupt = |message: String| Error::corrupt(TABLE, at, message).with_hint(CHECK_VHDX);
        let (header, rest) = RegionTableHeader::ref_from_prefix(bytes)
            .map_err(|_| corrupt("it is too short".to_owned()))?;
        let count = header.entry_count.get();
        if count > MAX_TABLE_ENTRIES {
            return Err(corrupt(format!(
                "found {count} entries, at most {MAX_TABLE_ENTRIES} fit"
            )));
        }
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let (entries, _) = <[RegionEntry]>::ref_from_prefix_with_elems(rest, count)
            .map_err(|_| corrupt(format!("{count} entries do not fit")))?;
        let mut occupied = vec![0..HEADER_SECTION_LEN, log.clone()];
        let (mut bat, mut metadata) = (None, None);
        for entry in entries {
            let range = entry_range(entry).map_err(corrupt)?;
            let known = match entry.guid {
                region::BAT => Some(&mut bat),
                region::METADATA => Some(&mut metadata),
                _ => None,
            };
            match known {
                Some(known) if known.is_some() => {
                    return Err(corrupt(format!("region {} is there twice", entry.guid)));
                }
                Some(known) => *known = Some(range.clone()),
                None if entry.flags.get() & REGION_REQUIRED != 0 => {
                    return Err(Error::unsupported(format!(
                        "the file needs region {}, which imgferry does not know",
                        entry.guid
                    ))
                    .at(TABLE, at));
                }
                None => {}
            }
            occupied.push(range);
        }
        let found = |range: Option<Range<u64>>, guid: Guid, name: &'static str| {
            let range =
                range.ok_or_else(|| corrupt(format!("the {name} region {guid} is missing")))?;
            if range.is_empty() {
                return Err(corrupt(format!("the {name} region is empty")));
            }
            if !fits(range.start, range.end - range.start, file_len) {
                return Err(Error::truncated(
                    name,
                    range.start,
                    format!(
                        "{} bytes expected here, the file ends at {file_len:#x}",
                        range.end - range.start
                    ),
                ));
            }
            Ok(range)
        };
        let regions = Self {
            bat: found(bat, region::BAT, "VHDX BAT")?,
            metadata: found(metadata, region::METADATA, "VHDX metadata")?,
            occupied: sorted(occupied).map_err(corrupt)?,
        };
        Ok(regions)
    }
}

fn damaged(at: u64, broken: &str) -> String {
    format!("the region table at offset {at:#x} is damaged: {broken}; the other one is used")
}

/// The bytes of the table at `at`, or what makes it invalid.
fn read_one(source: &dyn ReadAt, at: u64) -> Result<std::result::Result<Vec<u8>, String>> {
    let mut bytes = vec![0; usize::try_from(REGION_TABLE_LEN).unwrap_or_default()];
    source.read_exact_at(FileOffset(at), &mut bytes)?;
    let Ok((header, _)) = RegionTableHeader::ref_from_prefix(&bytes) else {
        return Ok(Err("it is too short".to_owned()));
    };
    if header.signature != REGION_SIGNATURE {
        return Ok(Err(format!(
            "found \"{}\", expected \"regi\"",
            header.signature.escape_ascii()
        )));
    }
    let (stored, computed) = (header.checksum.get(), layout::checksum(&bytes));
    if stored != computed {
        return Ok(Err(format!(
            "found checksum {stored:#010x}, expected {computed:#010x}"
        )));
    }
    Ok(Ok(bytes))
}

fn entry_range(entry: &RegionEntry) -> std::result::Result<Range<u64>, String> {
    let (start, len) = (entry.offset.get(), u64::from(entry.length.get()));
    let broken = if !start.is_multiple_of(ALIGNMENT) || !len.is_multiple_of(ALIGNMENT) {
        "both have to be multiples of 1 MiB"
    } else if start < HEADER_SECTION_LEN {
        "it lies in the header section"
    } else if let Some(end) = start.checked_add(len) {
        return Ok(start..end);
    } else {
        "it ends past 2^64"
    };
    Err(format!(
        "found region {} of {len:#x} bytes at {start:#x}: {broken}",
        entry.guid
    ))
}

/// `ranges` in order, without empty ones; refused when two of them overlap.
fn sorted(mut ranges: Vec<Range<u64>>) -> std::result::Result<Vec<Range<u64>>, String> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_by_key(|range| range.start);
    for pair in ranges.windows(2) {
        if let [a, b] = pair
            && b.start < a.end
        {
            return Err(format!(
                "what lies at {:#x} to {:#x} overlaps what lies at {:#x} to {:#x}",
                a.start, a.end, b.start, b.end
            ));
        }
    }
    Ok(ranges)
}
