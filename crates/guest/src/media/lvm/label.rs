//! Labels of physical volumes, and the text in their metadata areas.

use super::super::field::{le32, le64};
use super::super::slice::Slice;
use crate::budget::MAX_LVM_TEXT;

const SECTOR: usize = 512;
/// Sectors that can hold the label.
const LABEL_SECTORS: usize = 4;
/// Start value of every checksum.
const CRC_START: u32 = 0xf597_a6cf;
const AREA_MAGIC: &[u8] = b" LVM2 x[5A%r0N*>";
/// Most areas of one physical volume that are looked at; there are at most two.
const MAX_AREAS: usize = 8;

/// A physical volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PhysicalVolume {
    /// 32 characters.
    pub(crate) uuid: String,
    /// First byte on the disk.
    pub(crate) base: u64,
    pub(crate) size: u64,
    /// The text of its newest metadata, if it has any.
    pub(crate) text: Option<Vec<u8>>,
    /// Why its metadata could not be read.
    pub(crate) broken: Option<String>,
}

/// The physical volume that `slice` is.
///
/// # Errors
/// Those of reading the label. What is wrong with the metadata is in [`PhysicalVolume::broken`].
pub(crate) fn physical_volume(slice: &Slice) -> Result<Option<PhysicalVolume>, String> {
    let Some(base) = slice.base() else {
        return Ok(None);
    };
    let head = slice.head(0, SECTOR * LABEL_SECTORS)?;
    let Some(label) = (0_u64..).zip(head.chunks_exact(SECTOR)).find_map(label) else {
        return Ok(None);
    };
    let header = usize::try_from(le32(label, 20)).unwrap_or(SECTOR);
    let header = label.get(header..).unwrap_or_default();
    let Some(uuid) = header.get(..32) else {
        return Ok(None);
    };
    let mut volume = PhysicalVolume {
        uuid: String::from_utf8_lossy(uuid).into_owned(),
        base,
        size: slice.size(),
        text: None,
        broken: None,
    };
    // Data areas, then metadata areas; each list ends with zeros.
    let mut lists = header
        .get(40..)
        .unwrap_or_default()
        .chunks_exact(16)
        .map(|area| (le64(area, 0), le64(area, 8)));
    let areas: Vec<(u64, u64)> = {
        lists
            .by_ref()
            .take_while(|area| *area != (0, 0))
            .for_each(drop);
        lists
            .take_while(|area| *area != (0, 0))
            .take(MAX_AREAS)
            .collect()
    };
    for (offset, size) in areas {
        match area_text(slice, offset, size) {
            Ok(Some(text)) => {
                volume.text = Some(text);
                break;
            }
            Ok(None) => {}
            Err(reason) => volume.broken = Some(reason),
        }
    }
    if volume.text.is_some() {
        volume.broken = None;
    }
    Ok(Some(volume))
}

/// The sector, when it is a label that knows where it is.
fn label((number, sector): (u64, &[u8])) -> Option<&[u8]> {
    let is = sector.starts_with(b"LABELONE")
        && sector.get(24..32) == Some(b"LVM2 001")
        && le64(sector, 8) == number
        && le32(sector, 16) == crc(sector.get(20..)?);
    is.then_some(sector)
}

/// The committed text of the metadata area at `area`; none when the area is empty or ignored.
fn area_text(slice: &Slice, area: u64, size: u64) -> Result<Option<Vec<u8>>, String> {
    let header = slice.head(area, SECTOR)?;
    let sound = header.get(4..20) == Some(AREA_MAGIC)
        && le32(&header, 20) == 1
        && le64(&header, 24) == area
        && le64(&header, 32) == size
        && le32(&header, 0) == crc(header.get(4..).unwrap_or_default());
    if !sound {
        return Err(format!("the LVM metadata area at {area:#x} is damaged"));
    }
    let (offset, length) = (le64(&header, 40), le64(&header, 48));
    let (checksum, flags) = (le32(&header, 56), le32(&header, 60));
    if offset == 0 || flags & 1 != 0 {
        return Ok(None);
    }
    let ring = size.saturating_sub(SECTOR as u64);
    if offset < SECTOR as u64 || offset >= size || length > ring {
        return Err(format!(
            "the LVM metadata of {length} bytes at {offset:#x} is not in its area of {size} bytes"
        ));
    }
    if length > MAX_LVM_TEXT {
        return Err(format!(
            "the LVM metadata has {length} bytes; at most {MAX_LVM_TEXT} are read"
        ));
    }
    let mut text = vec![0; usize::try_from(length).unwrap_or_default()];
    let first = usize::try_from(size - offset).unwrap_or(usize::MAX);
    let first = first.min(text.len());
    let (front, wrapped) = text.split_at_mut(first);
    let at = area
        .checked_add(offset)
        .ok_or("the LVM metadata is nowhere")?;
    slice.read_at(at, front)?;
    if !wrapped.is_empty() {
        slice.read_at(area + SECTOR as u64, wrapped)?;
    }
    if crc(&text) != checksum {
        return Err("the checksum of the LVM metadata is wrong".into());
    }
    Ok(Some(text))
}

/// CRC-32 as LVM has it: another start value, and no inversion at the end.
fn crc(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(!CRC_START);
    hasher.update(bytes);
    !hasher.finalize()
}

#[cfg(test)]
pub(super) mod tests {
    use testkit::guest::lvm::{AREA, Layout, head};

    use super::super::super::slice::tests::disk;
    use super::*;

    const SIZE: usize = 8192;

    /// A physical volume of 64 KiB with `text` at `at` in its metadata area.
    pub(in super::super) fn volume(uuid: &str, text: &[u8], at: usize) -> Vec<u8> {
        let layout = Layout {
            size: 64 << 10,
            data: 16 << 10,
            area: SIZE,
            text: at,
        };
        let mut bytes = head(uuid, layout, text);
        bytes.resize(64 << 10, 0);
        bytes
    }

    fn read(bytes: Vec<u8>) -> PhysicalVolume {
        let media = disk(bytes);
        let slice = Slice::new(&media, 0, media.size());
        physical_volume(&slice).unwrap().unwrap()
    }

    const UUID: &str = "kqmJ2a10011001100110011001abcdef";

    #[test]
    fn the_checksum_is_the_one_lvm_uses() {
        assert_eq!(crc(b"123456789"), 0x4991_cf02);
    }

    #[test]
    fn the_text_is_found_where_it_stands_and_where_it_wraps() {
        for at in [512, 5120, SIZE - 3] {
            let volume = read(volume(UUID, b"metadata\0", at));
            assert_eq!(volume.uuid, UUID);
            assert_eq!(volume.text.as_deref(), Some(&b"metadata\0"[..]), "{at}");
        }
    }

    #[test]
    fn damaged_metadata_is_named_and_a_damaged_label_is_none() {
        let mut bytes = volume(UUID, b"metadata\0", 512);
        bytes[AREA + 512] ^= 1;
        assert!(read(bytes.clone()).broken.unwrap().contains("checksum"));
        bytes[AREA + 8] ^= 1;
        assert!(read(bytes.clone()).broken.unwrap().contains("damaged"));
        bytes[600] ^= 1;
        let media = disk(bytes);
        let slice = Slice::new(&media, 0, media.size());
        assert_eq!(physical_volume(&slice).unwrap(), None);
    }

    #[test]
    fn an_area_that_is_ignored_or_empty_has_no_text() {
        let volume = read(volume(UUID, b"", 0));
        assert_eq!((volume.text, volume.broken), (None, None));
    }
}
