//! The bitmaps that an image carries: listed by name, and one of them found, which says what has
//! changed. Nothing in them is needed for reading the disk.

use zerocopy::FromBytes;

use super::header::Header;
use super::layout::{
    BITMAP_GRANULARITY, BITMAP_OF_CHANGES, BitmapHead, BitmapsExtension, bitmap as flag,
};
use super::marks::{Bits, Marked};
use crate::changes::Changes;
use crate::details::BitmapInfo;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{
    MAX_BITMAP_DIRECTORY_BYTES, MAX_BITMAPS, MAX_COUNTED_BITMAP_BYTES, MAX_LISTED,
};
use crate::report::{Report, first_error};
use crate::source::ReadAt;
use crate::text::printable;
use crate::units::{FileOffset, fits, human, round_up};

const WHOLE_DISK: &str = "read the whole disk instead";

pub(super) const DIRECTORY: &str = "bitmap directory";

/// The first [`MAX_LISTED`] bitmaps of the image, and what they mark, if that is to be counted.
/// What is wrong with them becomes a warning.
pub(super) fn list(
    source: &dyn ReadAt,
    header: &Header,
    counted: bool,
    warnings: &mut Vec<String>,
) -> Vec<BitmapInfo> {
    let mut listed = Vec::new();
    let Some(place) = &header.bitmaps else {
        if counted && header.stale_bitmaps {
            warnings.push(format!("{STALE}; they are not listed"));
        }
        return listed;
    };
    let mut budget = if counted { MAX_COUNTED_BITMAP_BYTES } else { 0 };
    let read = walk(source, place, MAX_LISTED, |mut bitmap| {
        if counted && bitmap.usable().is_ok() {
            match count(source, header, &bitmap, &mut budget) {
                Ok(bytes) => bitmap.info.marked_bytes = Some(bytes),
                Err(error) => warnings.push(format!(
                    "what the bitmap {:?} marks cannot be counted: {error}",
                    bitmap.info.name
                )),
            }
        }
        listed.push(bitmap.info);
        Ok(())
    });
    if let Err(error) = read {
        warnings.push(format!("not all bitmaps can be listed: {error}"));
    } else if listed.len() < place.count.get() as usize {
        warnings.push(format!(
            "{MAX_LISTED} of {} bitmaps are listed",
            place.count.get()
        ));
    }
    listed
}

const STALE: &str = "the image has bitmaps that are out of date: a program that does not know them \
    has written to it";

/// Bytes of the disk that `bitmap` marks.
fn count(source: &dyn ReadAt, header: &Header, bitmap: &Bitmap, budget: &mut u64) -> Result<u64> {
    let mut bytes = 0_u64;
    Marked::of(source, header).each(&bitmap.bits, budget, &mut |range| {
        bytes = bytes.saturating_add(range.end - range.start);
    })?;
    Ok(bytes)
}

/// What the bitmap called `name` says has changed, in units of `unit` bytes.
///
/// # Errors
/// `OutOfRange` when there is no such bitmap, or it may have missed changes; those of reading it.
pub(super) fn changes(
    source: &dyn ReadAt,
    header: &Header,
    name: &str,
    unit: u64,
) -> Result<Changes> {
    let wrong = |why: String| Error::new(ErrorKind::OutOfRange, why).with_hint(WHOLE_DISK);
    let missing = |among: &str| wrong(format!("the image has no bitmap {name:?}{among}"));
    let Some(place) = &header.bitmaps else {
        return Err(match header.stale_bitmaps {
            true => wrong(STALE.to_owned()),
            false => missing(", nor any other"),
        });
    };
    let (mut found, mut others) = (Vec::new(), Vec::new());
    walk(source, place, MAX_BITMAPS as usize, |bitmap| {
        if bitmap.name == name.as_bytes() {
            found.push(bitmap);
        } else if others.len() < NAMED {
            others.push(format!("{:?}", bitmap.info.name));
        }
        Ok(())
    })?;
    let bitmap = match found.as_slice() {
        [bitmap] => bitmap,
        [] => return Err(missing(&format!("; it has {}", others.join(", ")))),
        many => {
            return Err(wrong(format!("{} bitmaps are called {name:?}", many.len())));
        }
    };
    bitmap
        .usable()
        .map_err(|why| wrong(format!("the bitmap {name:?} {why}")))?;
    let mut changes = Changes::none(unit);
    let mut budget = u64::MAX;
    Marked::of(source, header).each(&bitmap.bits, &mut budget, &mut |range| changes.add(range))?;
    Ok(changes)
}

/// Names of bitmaps that an error lists.
const NAMED: usize = 10;

/// Tells the first bitmaps of the directory at `place`, at most `most`.
fn walk(
    source: &dyn ReadAt,
    place: &BitmapsExtension,
    most: usize,
    mut tell: impl FnMut(Bitmap) -> Result<()>,
) -> Result<()> {
    let mut directory = first_error(|report| Directory::open(source, place, report))?;
    for _ in 0..(place.count.get() as usize).min(most) {
        tell(first_error(|report| directory.step(report))?)?;
    }
    Ok(())
}

/// A bitmap as the directory has it.
pub(super) struct Bitmap {
    pub(super) info: BitmapInfo,
    /// Its name as the image has it.
    name: Vec<u8>,
    pub(super) bits: Bits,
    kind: u8,
    granularity_bits: u8,
    flags: u32,
    has_extra: bool,
}

impl Bitmap {
    /// Whether it says what has changed; why not, if not.
    fn usable(&self) -> Result<(), String> {
        if self.kind != BITMAP_OF_CHANGES {
            return Err(format!(
                "has type {}, expected {BITMAP_OF_CHANGES} (changes)",
                self.kind
            ));
        }
        if !BITMAP_GRANULARITY.contains(&self.granularity_bits) {
            return Err(format!(
                "has granularity_bits {}, expected {} to {}",
                self.granularity_bits,
                BITMAP_GRANULARITY.start(),
                BITMAP_GRANULARITY.end()
            ));
        }
        let unknown = self.flags & !flag::KNOWN;
        if unknown != 0 {
            return Err(format!("has the unknown flags {unknown:#x}"));
        }
        if self.has_extra && self.flags & flag::EXTRA_COMPATIBLE == 0 {
            return Err("has extra data that are not known and must not be ignored".to_owned());
        }
        if self.info.in_use {
            return Err(
                "is in use: a program has it in memory, or ended without saving it".to_owned(),
            );
        }
        if !self.info.recording {
            return Err("is disabled: it may have missed changes".to_owned());
        }
        Ok(())
    }
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
                in_use: head.flags.get() & flag::IN_USE != 0,
                recording: head.flags.get() & flag::AUTO != 0,
                marked_bytes: None,
            },
            name,
            bits: Bits {
                granularity,
                table: (head.table_offset.get(), head.table_size.get()),
            },
            kind: head.kind,
            granularity_bits: bits,
            flags: head.flags.get(),
            has_extra: head.extra_size.get() > 0,
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
