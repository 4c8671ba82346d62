//! The bitmaps that an image carries: listed by name. What they say is for backup programs; nothing
//! in them is needed for reading the disk.

use zerocopy::FromBytes;

use super::layout::{BITMAP_IN_USE, BitmapHead, BitmapsExtension};
use crate::details::BitmapInfo;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{MAX_BITMAP_DIRECTORY_BYTES, MAX_LISTED};
use crate::source::ReadAt;
use crate::text::printable;
use crate::units::{FileOffset, fits, human, round_up};

const DIRECTORY: &str = "bitmap directory";

/// The first [`MAX_LISTED`] bitmaps of the directory at `place`. What is wrong with it becomes a
/// warning.
pub(super) fn list(
    source: &dyn ReadAt,
    place: &BitmapsExtension,
    warnings: &mut Vec<String>,
) -> Vec<BitmapInfo> {
    let mut listed = Vec::new();
    if let Err(error) = read(source, place, &mut listed) {
        warnings.push(format!("not all bitmaps can be listed: {error}"));
    } else if listed.len() < place.count.get() as usize {
        warnings.push(format!(
            "{MAX_LISTED} of {} bitmaps are listed",
            place.count.get()
        ));
    }
    listed
}

/// Reads entry by entry. Each step goes at least 24 bytes on inside the directory.
fn read(source: &dyn ReadAt, place: &BitmapsExtension, listed: &mut Vec<BitmapInfo>) -> Result<()> {
    const HEAD: u64 = size_of::<BitmapHead>() as u64;
    let (start, size) = (place.directory_offset.get(), place.directory_size.get());
    if size > MAX_BITMAP_DIRECTORY_BYTES {
        return Err(Error::new(
            ErrorKind::Limit,
            format!(
                "it is {size} bytes long, at most {} are read",
                human(MAX_BITMAP_DIRECTORY_BYTES)
            ),
        )
        .at(DIRECTORY, start));
    }
    if !fits(start, size, source.len()) {
        return Err(Error::truncated(
            DIRECTORY,
            start,
            format!(
                "{size} bytes were expected here, the file ends at {:#x}",
                source.len()
            ),
        ));
    }
    let end = start + size;
    let mut at = start;
    for _ in 0..(place.count.get() as usize).min(MAX_LISTED) {
        let short = || Error::corrupt(DIRECTORY, at, "its entry is longer than the directory");
        let get = |at: u64, len: u64| {
            if !fits(at, len, end) {
                return Err(short());
            }
            let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
            source.read_exact_at(FileOffset(at), &mut bytes)?;
            Ok(bytes)
        };
        let head = BitmapHead::read_from_bytes(&get(at, HEAD)?).map_err(|_| short())?;
        let extra = u64::from(head.extra_size.get());
        let name_at = at
            .checked_add(HEAD)
            .and_then(|at| at.checked_add(extra))
            .ok_or_else(short)?;
        let name_len = u64::from(head.name_size.get());
        let name = get(name_at, name_len)?;
        let granularity = 1_u64
            .checked_shl(u32::from(head.granularity_bits))
            .ok_or_else(|| {
                Error::corrupt(
                    DIRECTORY,
                    at,
                    format!(
                        "granularity_bits is {}, at most 63 are allowed",
                        head.granularity_bits
                    ),
                )
            })?;
        listed.push(BitmapInfo {
            name: printable(&String::from_utf8_lossy(&name)),
            granularity,
            in_use: head.flags.get() & BITMAP_IN_USE != 0,
        });
        at = round_up(name_at + name_len, 8).ok_or_else(short)?;
    }
    Ok(())
}
