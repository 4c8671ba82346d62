//! The header of an ESX sparse extent (COWD), checked.

use zerocopy::FromBytes;

use super::entries::Form;
use super::layout::{COWD_HEADER_LEN, COWD_MAGIC, COWD_UNCLEAN, CowdHeader, ESX_TABLE_BITS};
use super::shape::{Place, Shape};
use crate::error::{Error, Result};
use crate::report::Report;
use crate::source::ReadAt;
use crate::units::{FileOffset, SECTOR};

const HEADER: &str = "COWD header";

/// Largest grain in sectors. Ours: ESX writes 1.
const MAX_GRAIN: u32 = 2048;
/// Entries of a directory that share a sector.
const ENTRIES_PER_SECTOR: u64 = SECTOR / 4;

/// Reads the header of `source`. What the user should know is added to `warnings`.
///
/// # Errors
/// Those of `report` and of reading.
pub(super) fn read(
    source: &dyn ReadAt,
    warnings: &mut Vec<String>,
    report: &mut dyn Report,
) -> Result<Option<Shape>> {
    let broken = |message: String| Error::corrupt(HEADER, 0, message);
    if source.len() < COWD_HEADER_LEN {
        report.broken("truncated", &|| {
            Error::truncated(
                HEADER,
                0,
                format!(
                    "the file is truncated: expected {COWD_HEADER_LEN} bytes, it ends at {:#x}",
                    source.len()
                ),
            )
        })?;
        return Ok(None);
    }
    let mut bytes = [0; 32];
    source.read_exact_at(FileOffset(0), &mut bytes)?;
    let Ok(header) = CowdHeader::read_from_bytes(&bytes) else {
        return Ok(None);
    };
    if header.magic != COWD_MAGIC {
        report.broken("magic", &|| broken("the file has none".to_owned()))?;
        return Ok(None);
    }
    let (version, flags) = (header.version.get(), header.flags.get());
    if version != 1 || flags != 3 {
        report.broken("version", &|| {
            Error::unsupported(format!(
                "it has version {version} and flags {flags:#x}, expected version 1 and flags 0x3"
            ))
            .at(HEADER, 0)
        })?;
        return Ok(None);
    }
    let (capacity, grain) = (u64::from(header.capacity.get()), header.grain_size.get());
    if capacity == 0 || !grain.is_power_of_two() || grain > MAX_GRAIN {
        report.broken("grain-size", &|| {
            broken(format!(
                "its capacity is {capacity} sectors and a grain has {grain}, expected a power of \
                 two up to {MAX_GRAIN}"
            ))
        })?;
        return Ok(None);
    }
    let shape = Shape {
        form: Form::Cowd,
        capacity: capacity * SECTOR,
        grain_bits: grain.trailing_zeros() + SECTOR.trailing_zeros(),
        table_bits: ESX_TABLE_BITS,
        directory: Place::of_sector(header.directory_offset.get().into()),
        copy: None,
        reserved: vec![("the header", 0..COWD_HEADER_LEN)],
    };
    let (found, needed) = (u64::from(header.directory_entries.get()), shape.tables());
    if found < needed || found > needed.next_multiple_of(ENTRIES_PER_SECTOR) {
        report.broken("directory-size", &|| {
            broken(format!(
                "its grain directory has {found} entries, a disk of {capacity} sectors needs \
                 {needed}"
            ))
        })?;
    }
    notes(source, &header, warnings, report)?;
    Ok(Some(shape))
}

/// What the user should know of a file that can be read.
fn notes(
    source: &dyn ReadAt,
    header: &CowdHeader,
    warnings: &mut Vec<String>,
    report: &mut dyn Report,
) -> Result<()> {
    let mut note = |rule, text: String| {
        report.forgiven(rule, &|| Error::corrupt(HEADER, 0, text.clone()));
        warnings.push(text);
    };
    let free = u64::from(header.free_sector.get()) * SECTOR;
    if free > source.len() {
        note(
            "free-sector",
            format!(
                "its header says that {free} bytes are in use, and the file has {}",
                source.len()
            ),
        );
    }
    let mut unclean = [0; 4];
    source.read_exact_at(FileOffset(COWD_UNCLEAN), &mut unclean)?;
    if unclean != [0; 4] {
        note(
            "unclean",
            "the file was not closed: the machine was running or died, and the last writes may be \
             missing"
                .to_owned(),
        );
    }
    Ok(())
}
