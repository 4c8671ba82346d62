//! The bitmaps that an image carries: listed by name. What they say is for backup programs; nothing
//! in them is needed for reading the disk.

use zerocopy::FromBytes;

use super::layout::{BITMAP_IN_USE, BitmapHead, BitmapsExtension};
use crate::details::BitmapInfo;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{MAX_BITMAP_DIRECTORY_BYTES, MAX_LISTED};
use crate::report::{Report, first_error};
use crate::source::ReadAt;
use crate::text::printable;
use crate::units::{FileOffset, fits, human, round_up};

pub(super) const DIRECTORY: &str = "bitmap directory";

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

fn read(source: &dyn ReadAt, place: &BitmapsExtension, listed: &mut Vec<BitmapInfo>) -> Result<()> {
    let mut directory = first_error(|report| Directory::open(source, place, report))?;
    for _ in 0..(place.count.get() as usize).min(MAX_LISTED) {
        let bitmap = first_error(|report| directory.step(report))?;
        listed.push(bitmap.info);
    }
    Ok(())
}

/// A bitmap as the directory has it.
pub(super) struct Bitmap {
    info: BitmapInfo,
    /// Where its table is, by offset and number of entries. Not checked.
    pub(super) table: (u64, u32),
}

/// The directory, entry by entry. Each step goes at least 24 bytes on inside it.
pub(super) struct Directory<'a> {
    source: &'a dyn ReadAt,
    at: u64,
    end: u64,
}

impl<'a> Directory<'a> {
    /// The directory at `place`; `None` when it cannot be read.
    ///
    /// # Errors
    /// Those of `report`.
    pub(super) fn open(
        source: &'a dyn ReadAt,
        place: &BitmapsExtension,
        report: &mut impl Report,
    ) -> Result<Option<Self>> {
        let (start, size) = (place.directory_offset.get(), place.directory_size.get());
        if size > MAX_BITMAP_DIRECTORY_BYTES {
            report.broken("limit", &|| {
                Error::new(
                    ErrorKind::Limit,
                    format!(
                        "it is {size} bytes long, at most {} are read",
                        human(MAX_BITMAP_DIRECTORY_BYTES)
                    ),
                )
                .at(DIRECTORY, start)
            })?;
            return Ok(None);
        }
        let file_len = source.len();
        if !fits(start, size, file_len) {
            report.broken("past-end", &|| {
                Error::truncated(
                    DIRECTORY,
                    start,
                    format!("expected {size} bytes here, the file ends at {file_len:#x}"),
                )
            })?;
            return Ok(None);
        }
        Ok(Some(Self {
            source,
            at: start,
            end: start + size,
        }))
    }

    /// `len` bytes at `at`; `None` when the directory ends before.
    fn get(&self, at: u64, len: u64) -> Result<Option<Vec<u8>>> {
        if !fits(at, len, self.end) {
            return Ok(None);
        }
        let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
        self.source.read_exact_at(FileOffset(at), &mut bytes)?;
        Ok(Some(bytes))
    }

    /// The next entry; `None` when it cannot be read, nor what follows it.
    ///
    /// # Errors
    /// Those of reading and of `report`.
    pub(super) fn step(&mut self, report: &mut impl Report) -> Result<Option<Bitmap>> {
        let entry = self.at;
        let Some((head, name, next)) = self.entry()? else {
            report.broken("past-end", &|| {
                Error::corrupt(DIRECTORY, entry, "its entry is longer than the directory")
            })?;
            return Ok(None);
        };
        // Readers need its name only; what fills the last entry up may be missing for them.
        if next > self.end && report.examines_all() {
            report.broken("past-end", &|| {
                Error::corrupt(
                    DIRECTORY,
                    entry,
                    format!(
                        "its entry ends at {next:#x}, the directory at {:#x}",
                        self.end
                    ),
                )
            })?;
            return Ok(None);
        }
        let bits = head.granularity_bits;
        let Some(granularity) = 1_u64.checked_shl(bits.into()) else {
            report.broken("granularity", &|| {
                Error::corrupt(
                    DIRECTORY,
                    entry,
                    format!("granularity_bits is {bits}, at most 63 are allowed"),
                )
            })?;
            return Ok(None);
        };
        self.at = next;
        Ok(Some(Bitmap {
            info: BitmapInfo {
                name: printable(&String::from_utf8_lossy(&name)),
                granularity,
                in_use: head.flags.get() & BITMAP_IN_USE != 0,
            },
            table: (head.table_offset.get(), head.table_size.get()),
        }))
    }

    /// The entry at [`Self::at`], its name, and where the next one begins; `None` when the
    /// directory ends before.
    fn entry(&self) -> Result<Option<(BitmapHead, Vec<u8>, u64)>> {
        const HEAD: u64 = size_of::<BitmapHead>() as u64;
        let Some(head) = self.get(self.at, HEAD)? else {
            return Ok(None);
        };
        let Ok(head) = BitmapHead::read_from_bytes(&head) else {
            return Ok(None);
        };
        // Inside the directory.
        let name_at = (self.at + HEAD).checked_add(head.extra_size.get().into());
        let name_len = u64::from(head.name_size.get());
        let Some(name_at) = name_at else {
            return Ok(None);
        };
        let Some(name) = self.get(name_at, name_len)? else {
            return Ok(None);
        };
        Ok(round_up(name_at + name_len, 8).map(|next| (head, name, next)))
    }
}
