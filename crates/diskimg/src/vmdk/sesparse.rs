//! The headers of a seSparse extent, checked.

use zerocopy::FromBytes;

use super::entries::Form;
use super::header::bytes;
use super::layout::{
    ESX_TABLE_BITS, SE_GRAIN_SIZE, SE_TABLE_SIZE, SE_VERSION, SE_VOLATILE_MAGIC, SESPARSE_MAGIC,
    SeHeader, SeVolatile,
};
use super::shape::{Place, Shape};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::MAX_VIRTUAL_SIZE;
use crate::report::Report;
use crate::source::ReadAt;
use crate::units::{FileOffset, SECTOR, human};

const HEADER: &str = "seSparse header";
const VOLATILE: &str = "volatile header";
const HEADER_LEN: u64 = 512;

/// A seSparse extent: its shape, and how many tables it has room for.
pub(super) struct SeSparse {
    pub(super) shape: Shape,
    pub(super) tables: u64,
}

/// Reads the headers of `source`, of a disk that has a `parent` or none.
///
/// # Errors
/// Those of `report` and of reading.
pub(super) fn read(
    source: &dyn ReadAt,
    parent: bool,
    report: &mut dyn Report,
) -> Result<Option<SeSparse>> {
    let broken = |message: String| Error::corrupt(HEADER, 0, message);
    if source.len() < HEADER_LEN {
        report.broken("truncated", &|| {
            Error::truncated(
                HEADER,
                0,
                format!(
                    "the file is truncated: expected {HEADER_LEN} bytes, it ends at {:#x}",
                    source.len()
                ),
            )
        })?;
        return Ok(None);
    }
    let mut head = [0; 512];
    source.read_exact_at(FileOffset(0), &mut head)?;
    let Ok(header) = SeHeader::read_from_bytes(&head) else {
        return Ok(None);
    };
    if !is_known(&header, report)? {
        return Ok(None);
    }
    volatile(source, &header, report)?;
    let (tables, grains) = (header.tables_offset.get(), header.grains_offset.get());
    let (Some(tables), Some(grains)) = (tables.checked_mul(SECTOR), grains.checked_mul(SECTOR))
    else {
        report.broken("past-end", &|| {
            broken(format!(
                "its tables are at sector {tables} and its grains at sector {grains}, past any \
                 file's end"
            ))
        })?;
        return Ok(None);
    };
    let capacity = header.capacity.get();
    let shape = Shape {
        form: Form::SeSparse {
            tables,
            grains,
            parent,
        },
        capacity: capacity * SECTOR,
        grain_bits: (SE_GRAIN_SIZE * SECTOR).trailing_zeros(),
        table_bits: ESX_TABLE_BITS,
        directory: Place::of_sector(header.directory_offset.get()),
        copy: None,
        reserved: vec![("the header", 0..HEADER_LEN)],
    };
    let room = header.directory_size.get().saturating_mul(SECTOR / 8);
    if room < shape.tables() {
        report.broken("directory-size", &|| {
            broken(format!(
                "its grain directory has {room} entries, a disk of {capacity} sectors needs {}",
                shape.tables()
            ))
        })?;
    }
    Ok(Some(SeSparse {
        tables: header.tables_size.get() / SE_TABLE_SIZE,
        shape,
    }))
}

/// Whether the header has the version and the sizes that are read.
fn is_known(header: &SeHeader, report: &mut dyn Report) -> Result<bool> {
    let version = header.version.get();
    if header.magic != SESPARSE_MAGIC || version != SE_VERSION {
        report.broken("version", &|| {
            Error::unsupported(format!(
                "it has version {version:#x}, expected {SE_VERSION:#x}"
            ))
            .at(HEADER, 0)
        })?;
        return Ok(false);
    }
    let (grain, table) = (header.grain_size.get(), header.table_size.get());
    if (grain, table) != (SE_GRAIN_SIZE, SE_TABLE_SIZE) {
        report.broken("grain-size", &|| {
            Error::unsupported(format!(
                "a grain has {grain} sectors and a table {table}, expected {SE_GRAIN_SIZE} and \
                 {SE_TABLE_SIZE}"
            ))
            .at(HEADER, 0)
        })?;
        return Ok(false);
    }
    let reserved = header.reserved.iter().any(|word| word.get() != 0);
    let padding = header.padding.iter().any(|byte| *byte != 0);
    if header.flags.get() != 0 || reserved || padding {
        report.broken("flags", &|| {
            Error::unsupported("it has bits set that are not known").at(HEADER, 0)
        })?;
    }
    let capacity = header.capacity.get();
    if capacity == 0 || capacity > MAX_VIRTUAL_SIZE / SECTOR {
        report.broken("capacity", &|| {
            Error::new(
                ErrorKind::Limit,
                format!(
                    "its capacity is {capacity} sectors, expected 1 or more, and at most {}",
                    human(MAX_VIRTUAL_SIZE)
                ),
            )
            .at(HEADER, 0)
        })?;
        return Ok(false);
    }
    Ok(true)
}

/// Checks that nothing is left to replay.
fn volatile(source: &dyn ReadAt, header: &SeHeader, report: &mut dyn Report) -> Result<()> {
    let place = bytes(header.volatile_offset.get(), header.volatile_size.get())
        .filter(|place| place.end <= source.len() && place.end - place.start == SECTOR);
    let Some(place) = place else {
        return report.broken("past-end", &|| {
            Error::corrupt(
                HEADER,
                0,
                format!(
                    "its volatile header has {} sectors from sector {} on, expected 1 inside the \
                     file",
                    header.volatile_size, header.volatile_offset
                ),
            )
        });
    };
    let mut bytes = [0; 32];
    source.read_exact_at(FileOffset(place.start), &mut bytes)?;
    let Ok(found) = SeVolatile::read_from_bytes(&bytes) else {
        return Ok(());
    };
    if found.magic.get() != SE_VOLATILE_MAGIC {
        report.broken("magic", &|| {
            Error::corrupt(
                VOLATILE,
                place.start,
                format!(
                    "it begins with {:#x}, expected {SE_VOLATILE_MAGIC:#x}",
                    found.magic
                ),
            )
        })?;
    }
    if found.replay.get() != 0 {
        report.broken("journal", &|| {
            Error::unsupported(
                "the journal was not replayed: it holds changes that are not in the tables",
            )
            .at(VOLATILE, place.start)
            .with_hint("open and close the disk once on the ESX host, and copy it again")
        })?;
    }
    Ok(())
}
