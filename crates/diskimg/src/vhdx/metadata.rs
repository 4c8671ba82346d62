//! The metadata region: block size, size of the disk, sector sizes.

use std::ops::Range;

use zerocopy::FromBytes;
use zerocopy::little_endian::{U32, U64};

use super::layout::{
    BLOCK_SIZES, FileParameters, Guid, MAX_DISK_SIZE, MAX_METADATA_ITEM_LEN, MAX_TABLE_ENTRIES,
    METADATA_SIGNATURE, METADATA_TABLE_LEN, MetadataEntry, MetadataTableHeader, file_flags, item,
    metadata_flags,
};
use crate::error::{Error, ErrorKind, Result};
use crate::hint::CHECK_VHDX;
use crate::source::ReadAt;
use crate::units::{FileOffset, SECTOR, fits};

const TABLE: &str = "VHDX metadata table";

/// Names of the items that are known, for messages.
const KNOWN: [(Guid, &str); 6] = [
    (item::FILE_PARAMETERS, "file parameters"),
    (item::DISK_SIZE, "virtual disk size"),
    (item::DISK_ID, "virtual disk ID"),
    (item::LOGICAL_SECTOR_SIZE, "logical sector size"),
    (item::PHYSICAL_SECTOR_SIZE, "physical sector size"),
    (item::PARENT_LOCATOR, "parent locator"),
];

/// What the metadata says of the disk, checked.
pub(super) struct Metadata {
    /// Bytes of the disk in a block: a power of two from 1 MiB to 256 MiB.
    pub(super) block_size: u64,
    /// Whether all blocks are stored. Means nothing in a differencing disk.
    pub(super) fixed: bool,
    /// Whether the disk has a parent.
    pub(super) differencing: bool,
    /// Where in the file the parent locator is; inside it.
    pub(super) locator: Option<Range<u64>>,
    /// Size of the disk in bytes: a multiple of the sector size, at most 64 TiB.
    pub(super) disk_size: u64,
    /// 512 or 4096.
    pub(super) logical_sector_size: u64,
}

impl Metadata {
    /// Reads the items that are needed from `region`, which lies inside the file.
    ///
    /// # Errors
    /// `Unsupported` for required items that are not known, `Corrupt` when an
    /// item is missing or breaks a rule, `Limit` for disks beyond 64 TiB.
    pub(super) fn read(source: &dyn ReadAt, region: &Range<u64>) -> Result<Self> {
        let items = Items::read(source, region)?;
        let (at, parameters) = items.value::<FileParameters>(source, item::FILE_PARAMETERS)?;
        let flags = parameters.flags.get();
        let unknown = flags & !(file_flags::LEAVE_ALLOCATED | file_flags::HAS_PARENT);
        if unknown != 0 {
            return Err(Error::unsupported(format!(
                "flags {unknown:#x} are set, which imgferry does not know"
            ))
            .at("VHDX file parameters", at));
        }
        let block_size = u64::from(parameters.block_size.get());
        if !BLOCK_SIZES.contains(&block_size) || !block_size.is_power_of_two() {
            return Err(Error::corrupt(
                "VHDX file parameters",
                at,
                format!(
                    "found a block size of {block_size} bytes, expected a power of two from 1 MiB \
                     to 256 MiB"
                ),
            ));
        }
        let logical_sector_size = items.sector_size(source, item::LOGICAL_SECTOR_SIZE)?;
        items.sector_size(source, item::PHYSICAL_SECTOR_SIZE)?;
        items.value::<[u8; 16]>(source, item::DISK_ID)?;
        let (at, disk_size) = items.value::<U64>(source, item::DISK_SIZE)?;
        let disk_size = disk_size.get();
        check_disk_size(at, disk_size, logical_sector_size)?;
        Ok(Self {
            block_size,
            fixed: flags & file_flags::LEAVE_ALLOCATED != 0,
            differencing: flags & file_flags::HAS_PARENT != 0,
            locator: items.find(item::PARENT_LOCATOR).cloned(),
            disk_size,
            logical_sector_size,
        })
    }
}

fn check_disk_size(at: u64, disk_size: u64, sector_size: u64) -> Result<()> {
    const STRUCTURE: &str = "VHDX virtual disk size";
    if disk_size > MAX_DISK_SIZE {
        return Err(Error::new(
            ErrorKind::Limit,
            format!("found {disk_size} bytes, the format allows 64 TiB at most"),
        )
        .at(STRUCTURE, at));
    }
    if disk_size == 0 || !disk_size.is_multiple_of(sector_size) {
        return Err(Error::corrupt(
            STRUCTURE,
            at,
            format!("found {disk_size} bytes, expected a multiple of {sector_size} that is not 0"),
        ));
    }
    Ok(())
}

/// The items of the format, by GUID, with their place in the file.
struct Items {
    found: Vec<(Guid, Range<u64>)>,
    table: u64,
}

impl Items {
    fn read(source: &dyn ReadAt, region: &Range<u64>) -> Result<Self> {
        let table = region.start;
        let corrupt = |message: String| Error::corrupt(TABLE, table, message).with_hint(CHECK_VHDX);
        let mut bytes = vec![0; usize::try_from(METADATA_TABLE_LEN).unwrap_or_default()];
        source.read_exact_at(FileOffset(table), &mut bytes)?;
        let (header, rest) = MetadataTableHeader::ref_from_prefix(&bytes)
            .map_err(|_| corrupt("it is too short".to_owned()))?;
        if header.signature != METADATA_SIGNATURE {
            return Err(corrupt(format!(
                "found \"{}\", expected \"metadata\"",
                header.signature.escape_ascii()
            )));
        }
        let count = header.entry_count.get();
        if u32::from(count) > MAX_TABLE_ENTRIES {
            return Err(corrupt(format!(
                "found {count} entries, at most {MAX_TABLE_ENTRIES} fit"
            )));
        }
        let (entries, _) = <[MetadataEntry]>::ref_from_prefix_with_elems(rest, usize::from(count))
            .map_err(|_| corrupt(format!("{count} entries do not fit")))?;
        let mut found: Vec<(Guid, Range<u64>)> = Vec::new();
        for entry in entries {
            let flags = entry.flags.get();
            let name = KNOWN
                .iter()
                .find(|(guid, _)| *guid == entry.item && flags & metadata_flags::USER == 0);
            let Some((guid, name)) = name else {
                if flags & metadata_flags::REQUIRED != 0 {
                    return Err(Error::unsupported(format!(
                        "the file needs metadata item {}, which imgferry does not know",
                        entry.item
                    ))
                    .at(TABLE, table));
                }
                continue;
            };
            if found.iter().any(|(other, _)| other == guid) {
                return Err(corrupt(format!("the item {name} is there twice")));
            }
            let (offset, len) = (u64::from(entry.offset.get()), u64::from(entry.length.get()));
            let region_len = region.end - region.start;
            if offset < METADATA_TABLE_LEN
                || len > MAX_METADATA_ITEM_LEN
                || !fits(offset, len, region_len)
            {
                return Err(corrupt(format!(
                    "found the item {name} of {len:#x} bytes at {offset:#x} of the region, \
                     expected at most 1 MiB between {METADATA_TABLE_LEN:#x} and {region_len:#x}"
                )));
            }
            // Inside the region, which lies inside the file.
            let start = table + offset;
            found.push((*guid, start..start + len));
        }
        Ok(Self { found, table })
    }

    /// Where the item `guid` is.
    fn find(&self, guid: Guid) -> Option<&Range<u64>> {
        self.found
            .iter()
            .find_map(|(found, range)| (*found == guid).then_some(range))
    }

    /// The item `guid`, which must be there and have the length of a `T`, and its file offset.
    fn value<T: FromBytes>(&self, source: &dyn ReadAt, guid: Guid) -> Result<(u64, T)> {
        let name = KNOWN
            .iter()
            .find_map(|(known, name)| (*known == guid).then_some(*name))
            .unwrap_or_default();
        let corrupt =
            |message: String| Error::corrupt(TABLE, self.table, message).with_hint(CHECK_VHDX);
        let range = self
            .find(guid)
            .ok_or_else(|| corrupt(format!("the item {name} is missing")))?;
        let len = range.end - range.start;
        let mut bytes = [0; 16];
        let expected = size_of::<T>();
        let value = match bytes.get_mut(..expected) {
            Some(value) if len == expected as u64 => value,
            _ => {
                return Err(corrupt(format!(
                    "the item {name} has {len} bytes, expected {expected}"
                )));
            }
        };
        source.read_exact_at(FileOffset(range.start), value)?;
        let value = T::read_from_bytes(value)
            .map_err(|_| corrupt(format!("the item {name} cannot be read")))?;
        Ok((range.start, value))
    }

    fn sector_size(&self, source: &dyn ReadAt, guid: Guid) -> Result<u64> {
        let (at, size) = self.value::<U32>(source, guid)?;
        let size = u64::from(size.get());
        if size == SECTOR || size == 4096 {
            return Ok(size);
        }
        Err(Error::corrupt(
            "VHDX sector size",
            at,
            format!("found {size} bytes, expected 512 or 4096"),
        ))
    }
}
