//! The file's identifier and its two headers: which one counts, and where the log is.

use std::ops::Range;

use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::layout::{
    self, ALIGNMENT, FILE_SIGNATURE, FileIdentifier, Guid, HEADER_OFFSETS, HEADER_SECTION_LEN,
    HEADER_SIGNATURE, LOG_VERSION, VERSION,
};
use crate::error::{Error, Result};
use crate::hint::CHECK_VHDX;
use crate::source::ReadAt;
use crate::units::{FileOffset, fits};

const HEADER: &str = "VHDX header";

/// The header that counts, checked.
pub(super) struct Header {
    /// The program that wrote the file, escaped; `None` when it left no name.
    pub(super) creator: Option<String>,
    /// By which differencing disks know its content.
    pub(super) data_write_guid: Guid,
    /// Whose log entries have to be replayed; `None` when the log is empty.
    pub(super) log_guid: Option<Guid>,
    /// Where the log is; inside the file, apart from the header section.
    pub(super) log: Range<u64>,
    pub(super) warnings: Vec<String>,
}

impl Header {
    /// Reads the identifier and both headers of `source`.
    ///
    /// # Errors
    /// `Corrupt` when there is no identifier, no valid header, or no way to tell which one counts;
    /// `Unsupported` for other versions; `Truncated` when the file is shorter than its header
    /// section.
    pub(super) fn read(source: &dyn ReadAt) -> Result<Self> {
        let mut identifier = FileIdentifier::new_zeroed();
        source.read_exact_at(FileOffset(0), identifier.as_mut_bytes())?;
        if identifier.signature != FILE_SIGNATURE {
            return Err(Error::corrupt(
                "VHDX file identifier",
                0,
                format!(
                    "found \"{}\", expected \"vhdxfile\"",
                    identifier.signature.escape_ascii()
                ),
            ));
        }
        if source.len() < HEADER_SECTION_LEN {
            return Err(Error::truncated(
                "VHDX header section",
                0,
                format!(
                    "it takes {HEADER_SECTION_LEN:#x} bytes, the file ends at {:#x}",
                    source.len()
                ),
            ));
        }
        let mut warnings = Vec::new();
        let (at, current) = current(source, &mut warnings)?;
        check_version(at, &current)?;
        Ok(Self {
            creator: creator(&identifier),
            data_write_guid: current.data_write_guid,
            log_guid: (current.log_guid != Guid::ZERO).then_some(current.log_guid),
            log: log_range(at, &current, source.len())?,
            warnings,
        })
    }
}

/// The header that counts, and its file offset.
fn current(source: &dyn ReadAt, warnings: &mut Vec<String>) -> Result<(u64, Box<layout::Header>)> {
    let [one, two] = HEADER_OFFSETS;
    match (read_one(source, one)?, read_one(source, two)?) {
        (Ok(first), Ok(second)) => {
            let numbers = (first.sequence_number.get(), second.sequence_number.get());
            if numbers.0 == numbers.1 && first != second {
                return Err(Error::corrupt(
                    HEADER,
                    one,
                    format!(
                        "both headers have the sequence number {}, and they differ",
                        numbers.0
                    ),
                )
                .with_hint(CHECK_VHDX));
            }
            Ok(if numbers.0 >= numbers.1 {
                (one, first)
            } else {
                (two, second)
            })
        }
        (Ok(first), Err(broken)) => {
            warnings.push(damaged(two, &broken));
            Ok((one, first))
        }
        (Err(broken), Ok(second)) => {
            warnings.push(damaged(one, &broken));
            Ok((two, second))
        }
        (Err(first), Err(second)) => Err(Error::corrupt(
            HEADER,
            one,
            format!("{first}; the other one, at {two:#x}: {second}"),
        )
        .with_hint(CHECK_VHDX)),
    }
}

fn damaged(at: u64, broken: &str) -> String {
    format!("the header at offset {at:#x} is damaged: {broken}; the other one is used")
}

/// The header at `at`, or what makes it invalid.
fn read_one(
    source: &dyn ReadAt,
    at: u64,
) -> Result<std::result::Result<Box<layout::Header>, String>> {
    let mut bytes = vec![0; size_of::<layout::Header>()];
    source.read_exact_at(FileOffset(at), &mut bytes)?;
    let Ok(header) = layout::Header::read_from_bytes(&bytes) else {
        return Ok(Err("it is too short".to_owned()));
    };
    if header.signature != HEADER_SIGNATURE {
        return Ok(Err(format!(
            "found \"{}\", expected \"head\"",
            header.signature.escape_ascii()
        )));
    }
    let (stored, computed) = (header.checksum.get(), layout::checksum(&bytes));
    Ok(if stored == computed {
        Ok(Box::new(header))
    } else {
        Err(format!(
            "found checksum {stored:#010x}, expected {computed:#010x}"
        ))
    })
}

fn check_version(at: u64, header: &layout::Header) -> Result<()> {
    let version = header.version.get();
    if version != VERSION {
        return Err(Error::unsupported(format!(
            "this is VHDX version {version}; version {VERSION} is read"
        ))
        .at(HEADER, at));
    }
    let version = header.log_version.get();
    if version != LOG_VERSION && header.log_guid != Guid::ZERO {
        return Err(Error::unsupported(format!(
            "the file has a log of version {version} to replay; version {LOG_VERSION} is read"
        ))
        .at(HEADER, at)
        .with_hint("open and shut it with Hyper-V first: Mount-VHD, Dismount-VHD"));
    }
    Ok(())
}

fn log_range(at: u64, header: &layout::Header, file_len: u64) -> Result<Range<u64>> {
    let (start, len) = (header.log_offset.get(), u64::from(header.log_length.get()));
    let dirty = header.log_guid != Guid::ZERO;
    if len == 0 && !dirty {
        return Ok(0..0);
    }
    let broken = if !start.is_multiple_of(ALIGNMENT) || !len.is_multiple_of(ALIGNMENT) || len == 0 {
        "both have to be multiples of 1 MiB"
    } else if start < HEADER_SECTION_LEN {
        "it lies in the header section"
    } else if !fits(start, len, file_len) {
        return Err(Error::truncated(
            "VHDX log",
            start,
            format!("{len} bytes expected here, the file ends at {file_len:#x}"),
        ));
    } else {
        return Ok(start..start + len);
    };
    Err(Error::corrupt(
        HEADER,
        at,
        format!("found a log of {len:#x} bytes at {start:#x}: {broken}"),
    )
    .with_hint(CHECK_VHDX))
}

fn creator(identifier: &FileIdentifier) -> Option<String> {
    let units = identifier.creator.iter().map(|unit| unit.get());
    let name: String = char::decode_utf16(units.take_while(|unit| *unit != 0))
        .map(|char| char.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect();
    (!name.is_empty()).then(|| name.escape_debug().to_string())
}
