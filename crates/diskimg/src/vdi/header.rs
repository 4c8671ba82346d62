//! The header, checked and turned into plain numbers.

use zerocopy::FromZeros;
use zerocopy::IntoBytes;

use super::layout::{
    self, BLOCK_SIZES, ENTRY_SIZE, HEADER_SIZES, HEADER_START, SIGNATURE, SIGNATURE_OFFSET, Uuid,
    VERSION, disk_type,
};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{MAX_VDI_BLOCKS, MAX_VIRTUAL_SIZE};
use crate::report::Report;
use crate::source::ReadAt;
use crate::text::printable;
use crate::units::{FileOffset, SECTOR, fits, human};

pub(super) const HEADER: &str = "VDI header";
pub(super) const MAP: &str = "VDI block map";

/// How the disk's bytes are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Dynamic,
    Fixed,
    Differencing,
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Dynamic => "dynamic",
            Self::Fixed => "fixed",
            Self::Differencing => "differencing",
        }
    }
}

/// What the header says.
#[derive(Clone, Debug)]
pub(super) struct Header {
    pub(super) kind: Kind,
    /// What the text in front of the signature calls the program, escaped.
    pub(super) creator: Option<String>,
    /// Size of the disk in bytes, in whole sectors.
    pub(super) disk_size: u64,
    /// Bytes of the disk in a block.
    pub(super) block_size: u64,
    /// Bytes in front of each block that are not on the disk.
    pub(super) extra: u64,
    /// Entries of the block map that the disk has, all of them in the file.
    pub(super) blocks: u64,
    /// How many of them are stored, as the header has it.
    pub(super) allocated: u64,
    /// File offset of the block map.
    pub(super) map_offset: u64,
    /// File offset of the first block.
    pub(super) data_offset: u64,
    pub(super) parent: Uuid,
    /// What the user should know.
    pub(super) warnings: Vec<String>,
}

/// Sizes of disk and blocks, checked.
struct Sizes {
    disk: u64,
    block: u64,
    extra: u64,
    /// Blocks of the disk.
    blocks: u64,
}

impl Header {
    /// Reads and checks the header of `source`; `None` when nothing can be read by it.
    ///
    /// # Errors
    /// `Corrupt`, `Truncated`, `Unsupported` and `Limit` through `report`; those of reading.
    pub(super) fn read(source: &dyn ReadAt, report: &mut impl Report) -> Result<Option<Self>> {
        let mut stored = layout::Header::new_zeroed();
        let needed = size_of::<layout::Header>() as u64;
        if source.len() < needed {
            let len = source.len();
            report.broken("past-end", &|| {
                let message = format!("the file has {len} bytes, the header takes {needed}");
                Error::truncated(HEADER, 0, message)
            })?;
            return Ok(None);
        }
        source.read_exact_at(FileOffset(0), stored.as_mut_bytes())?;
        if !is_known(&stored, report)? {
            return Ok(None);
        }
        let Some(kind) = kind(&stored, report)? else {
            return Ok(None);
        };
        let mut warnings = Vec::new();
        let Some(sizes) = sizes(&stored, &mut warnings, report)? else {
            return Ok(None);
        };
        let Some(blocks) = map(&stored, sizes.blocks, source.len(), report)? else {
            return Ok(None);
        };
        identity(&stored, kind, report)?;
        Ok(Some(Self {
            kind,
            creator: creator(&stored.text),
            disk_size: sizes.disk,
            block_size: sizes.block,
            extra: sizes.extra,
            blocks,
            allocated: stored.allocated.get().into(),
            map_offset: stored.map_offset.get().into(),
            data_offset: stored.data_offset.get().into(),
            parent: stored.parent_uuid,
            warnings,
        }))
    }

    /// Bytes from one block of the file to the next one.
    pub(super) fn stride(&self) -> u64 {
        self.block_size + self.extra
    }
}

/// Whether signature and version are those that are read.
fn is_known(stored: &layout::Header, report: &mut impl Report) -> Result<bool> {
    if stored.signature != SIGNATURE {
        report.broken("magic", &|| {
            let found = stored.signature.map(|byte| format!("{byte:02x}")).concat();
            let expected = SIGNATURE.map(|byte| format!("{byte:02x}")).concat();
            let message = format!("found signature {found}, expected {expected}");
            Error::corrupt(HEADER, SIGNATURE_OFFSET as u64, message)
        })?;
        return Ok(false);
    }
    let version = stored.version.get();
    if version != VERSION {
        report.broken("version", &|| {
            let (major, minor) = (version >> 16, version & 0xffff);
            Error::unsupported(format!(
                "this is VDI version {major}.{minor}; version 1.1 is read"
            ))
            .at(HEADER, 0)
        })?;
        return Ok(false);
    }
    let size = stored.header_size.get();
    if !HEADER_SIZES.contains(&size) {
        report.broken("header-length", &|| {
            let (least, most) = HEADER_SIZES.into_inner();
            let message = format!("the header has {size} bytes, expected {least} to {most}");
            Error::corrupt(HEADER, HEADER_START, message)
        })?;
        return Ok(false);
    }
    Ok(true)
}

fn kind(stored: &layout::Header, report: &mut impl Report) -> Result<Option<Kind>> {
    Ok(Some(match stored.disk_type.get() {
        disk_type::DYNAMIC => Kind::Dynamic,
        disk_type::FIXED => Kind::Fixed,
        disk_type::DIFFERENCING => Kind::Differencing,
        other => {
            let name = match other {
                disk_type::UNDO => " (undo)",
                _ => "",
            };
            report.broken("disk-type", &|| {
                Error::unsupported(format!(
                    "the disk type is {other}{name}; dynamic (1) and fixed (2) disks are read"
                ))
                .at(HEADER, 0)
            })?;
            return Ok(None);
        }
    }))
}

fn sizes(
    stored: &layout::Header,
    warnings: &mut Vec<String>,
    report: &mut impl Report,
) -> Result<Option<Sizes>> {
    let corrupt = |message: String| Error::corrupt(HEADER, 0, message);
    let declared = stored.disk_size.get();
    let disk = declared / SECTOR * SECTOR;
    if disk == 0 || disk > MAX_VIRTUAL_SIZE {
        report.broken("limit", &|| size_error(declared).at(HEADER, 0))?;
        return Ok(None);
    }
    if disk != declared {
        warnings.push(format!(
            "the virtual size of {declared} bytes is no multiple of 512; the last {} bytes are \
             not part of the disk, as in VirtualBox",
            declared - disk
        ));
    }
    let sector = stored.sector_size.get();
    if sector != 0 && u64::from(sector) != SECTOR {
        report.broken("sector-size", &|| {
            Error::unsupported(format!("sectors have {sector} bytes, expected 512")).at(HEADER, 0)
        })?;
    }
    let block = u64::from(stored.block_size.get());
    if !block.is_power_of_two() || !BLOCK_SIZES.contains(&block) {
        report.broken("block-size", &|| {
            let (least, most) = BLOCK_SIZES.into_inner();
            corrupt(format!(
                "the block size is {block} bytes, expected a power of two from {least} to {most}"
            ))
        })?;
        return Ok(None);
    }
    let extra = u64::from(stored.block_extra.get());
    if extra != 0 && (!extra.is_power_of_two() || extra > block) {
        report.broken("block-size", &|| {
            corrupt(format!(
                "{extra} bytes stand in front of each block, expected none or a power of two up \
                 to {block}"
            ))
        })?;
        return Ok(None);
    }
    let blocks = declared.div_ceil(block);
    if blocks > MAX_VDI_BLOCKS {
        report.broken("limit", &|| {
            let message = format!(
                "the disk has {blocks} blocks of {block} bytes, at most {MAX_VDI_BLOCKS} blocks \
                 are read"
            );
            Error::new(ErrorKind::Limit, message).at(HEADER, 0)
        })?;
        return Ok(None);
    }
    Ok(Some(Sizes {
        disk,
        block,
        extra,
        blocks,
    }))
}

/// Why a disk of `declared` bytes is not read.
fn size_error(declared: u64) -> Error {
    if declared < SECTOR {
        return Error::unsupported(format!(
            "the virtual disk is empty (size {declared}, less than a sector)"
        ));
    }
    let (found, most) = (human(declared), human(MAX_VIRTUAL_SIZE));
    Error::new(
        ErrorKind::Limit,
        format!("virtual size is {declared} bytes ({found}), at most {most} are read"),
    )
}

/// Checks that the map of a disk of `needed` blocks lies between header and data, and in the file;
/// the number of its entries that can be read, `None` when it cannot be.
fn map(
    stored: &layout::Header,
    needed: u64,
    file_len: u64,
    report: &mut impl Report,
) -> Result<Option<u64>> {
    let found = u64::from(stored.blocks.get());
    let counted = || {
        let message = format!("the block map has {found} entries, the disk needs {needed}");
        Error::corrupt(HEADER, 0, message)
    };
    if found < needed {
        report.broken("table-size", &counted)?;
    } else if found > needed {
        report.forgiven("table-size", &counted);
    }
    let allocated = stored.allocated.get();
    if u64::from(allocated) > found {
        report.broken("allocated", &|| {
            let message = format!("{allocated} blocks are said to be stored, of {found}");
            Error::corrupt(HEADER, 0, message)
        })?;
    }
    let (at, data) = (stored.map_offset.get(), stored.data_offset.get());
    let (start, len) = (u64::from(at), found * ENTRY_SIZE);
    let header_end = HEADER_START + u64::from(stored.header_size.get());
    if start < header_end {
        report.broken("overlap", &|| {
            let message = format!("it begins in the header, which ends at {header_end:#x}");
            Error::corrupt(MAP, start, message)
        })?;
    }
    if !fits(start, len, u64::from(data)) {
        report.broken("overlap", &|| {
            let message = format!("it has {len} bytes, but the blocks begin at {data:#x}");
            Error::corrupt(MAP, start, message)
        })?;
    }
    if !fits(start, len, file_len) {
        report.broken("past-end", &|| {
            let message = format!("it has {len} bytes, the file ends at {file_len:#x}");
            Error::truncated(MAP, start, message)
        })?;
        return Ok(None);
    }
    Ok(Some(found.min(needed)))
}

/// Checks by which UUIDs the disk and its parent are known.
fn identity(stored: &layout::Header, kind: Kind, report: &mut impl Report) -> Result<()> {
    let (parent, state) = (stored.parent_uuid, stored.parent_modification_uuid);
    let has_parent = !parent.is_zero() || !state.is_zero();
    if kind != Kind::Differencing && has_parent {
        report.broken("parent", &|| {
            let message = format!(
                "the disk is {}, but names a parent, {parent} in state {state}",
                kind.name()
            );
            Error::corrupt(HEADER, 0, message)
        })?;
    }
    if kind == Kind::Differencing && parent.is_zero() {
        report.broken("parent", &|| {
            Error::corrupt(
                HEADER,
                0,
                "this is a differencing disk, but names no parent",
            )
        })?;
    }
    if stored.uuid.is_zero() || stored.modification_uuid.is_zero() {
        report.forgiven("uuid", &|| {
            Error::corrupt(
                HEADER,
                0,
                "the disk has no UUID; VirtualBox does not open it",
            )
        });
    }
    Ok(())
}

/// The name between `<<<` and `>>>`, or all of the text.
fn creator(text: &[u8; 64]) -> Option<String> {
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = String::from_utf8_lossy(text);
    let name = text
        .trim()
        .trim_start_matches("<<<")
        .trim_end_matches(">>>")
        .trim();
    (!name.is_empty()).then(|| printable(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_creator_is_what_stands_between_the_brackets() {
        let of = |text: &str| {
            let mut stored = [0; 64];
            stored[..text.len()].copy_from_slice(text.as_bytes());
            creator(&stored)
        };
        let known = "<<< Oracle VM VirtualBox Disk Image >>>\n";
        assert_eq!(of(known).unwrap(), "Oracle VM VirtualBox Disk Image");
        assert_eq!(of("a\u{1b}[2Jb").unwrap(), printable("a\u{1b}[2Jb"));
        assert_eq!(of(""), None);
        assert_eq!(of("<<< >>>\n"), None);
    }
}
