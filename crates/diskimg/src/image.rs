//! The trait every disk image is read through, and what lies where on it.

use std::ops::Range;

use serde::Serialize;

use crate::error::{Error, ErrorKind, Result};
use crate::probe::Format;
use crate::survey::{Tallies, Tally};
use crate::units::{GuestOffset, fits};
use crate::work::{Watch, Window, Work};

/// What a stretch of the virtual disk is, as far as the metadata says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ExtentKind {
    /// Bytes are stored; they may still all be zero.
    Data,
    /// The image says that the guest reads zeros here.
    Zero,
    /// Nothing is stored here; the guest reads zeros.
    Hole,
    /// Stored in another file that was not opened, see [`crate::BackingPolicy::Describe`]; reading
    /// it fails.
    Elsewhere,
}

/// A stretch of the virtual disk of one kind. Never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First byte.
    pub start: GuestOffset,
    /// Length in bytes, at least 1.
    pub len: u64,
    /// What it holds.
    pub kind: ExtentKind,
}

impl Extent {
    /// First byte after the extent.
    #[must_use]
    #[inline]
    pub fn end(&self) -> GuestOffset {
        GuestOffset(self.start.0.saturating_add(self.len))
    }
}

/// What an image says of itself, for people and for `inspect`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Details {
    /// The format it was opened as.
    pub format: Format,
    /// Sub-type or version, such as `version 3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// The program that wrote it, when the format says so; escaped, so that it can be printed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creator: Option<String>,
    /// Unit of allocation in bytes: cluster (qcow2) or block.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_size: Option<u64>,
    /// Name of the compression that stored units may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<String>,
    /// How the content is encrypted, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption: Option<String>,
    /// Whether whoever wrote the file closed it: `true` when a log is waiting to be replayed or
    /// reference counts were left to be mended. `None` where the format keeps no record of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dirty: Option<bool>,
    /// Internal snapshots, in the file's order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub snapshots: Vec<SnapshotInfo>,
    /// Bitmaps of what changed, in the file's order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bitmaps: Vec<BitmapInfo>,
    /// Other files that the disk needs, nearest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refers_to: Vec<Reference>,
    /// Things the user should know before trusting the content.
    pub warnings: Vec<String>,
}

impl Details {
    /// Details with nothing but the format.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self {
            format,
            variant: None,
            creator: None,
            cluster_size: None,
            compression: None,
            encryption: None,
            dirty: None,
            snapshots: Vec::new(),
            bitmaps: Vec::new(),
            refers_to: Vec::new(),
            warnings: Vec::new(),
        }
    }
}

/// An internal snapshot. Texts are escaped by [`printable`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SnapshotInfo {
    /// Unique in the file.
    pub id: String,
    /// What people call it; need not be unique.
    pub name: String,
    /// When it was taken, in seconds since 1970, UTC.
    pub created: u64,
    /// Bytes of the machine's memory and devices that are stored with it; 0: the disk alone.
    pub vm_state_bytes: u64,
    /// Size of the disk at that time in bytes, when the file says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtual_size: Option<u64>,
}

/// A bitmap of what changed on the disk since it was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BitmapInfo {
    /// Its name, escaped by [`printable`].
    pub name: String,
    /// Bytes of the disk that one bit stands for.
    pub granularity: u64,
    /// Whether it was not saved properly, and so says nothing.
    pub in_use: bool,
}

/// Another file that an image names and needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reference {
    /// What it is to the image: `backing file`, `parent` or `data file`.
    pub role: &'static str,
    /// Its name as the image gives it, escaped by [`printable`].
    pub name: String,
    /// Its format as the image gives it, escaped by [`printable`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
}

/// Most characters of a text from a file that are shown.
const SHOWN_CHARS: usize = 1023;

/// A text from a file so that it can be printed anywhere: control characters and those that turn
/// the direction of writing are escaped, and what is longer than any name is cut.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut shown = String::new();
    for char in text.chars().take(SHOWN_CHARS) {
        match char {
            // These do no harm, and escaped they could not be typed.
            '\'' | '"' | '\\' => shown.push(char),
            char => shown.extend(char.escape_debug()),
        }
    }
    if text.chars().nth(SHOWN_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

/// A read-only virtual disk that many threads read at once.
///
/// Implementations keep no seek position and change nothing: two threads that read the same range
/// get the same bytes. Memory beyond the caller's buffers stays under [`DiskImage::memory_bound`].
pub trait DiskImage: Send + Sync {
    /// Size the guest sees in bytes; a multiple of 512.
    fn virtual_size(&self) -> u64;

    /// What begins at `at`, for at most `limit` bytes: one extent that starts exactly at `at`,
    /// holds at least one byte, and ends inside the disk. Metadata only, no guest data is read.
    /// Neighbours of one kind may come in pieces; [`DiskImageExt::extents`] joins them.
    ///
    /// # Errors
    /// `OutOfRange` when `at` is not on the disk or `limit` is 0; otherwise what the metadata
    /// deserves.
    fn extent_at(&self, at: GuestOffset, limit: u64) -> Result<Extent>;

    /// The extents from `at` on that end at `end` at the latest: appends at least one and at most
    /// `most` to `found`, each at the end of the one before and of another kind. For walks: a
    /// format that keeps its place between two of them makes each cost a fraction.
    ///
    /// # Errors
    /// As [`Self::extent_at`], when not even the first can be told. Nothing is appended then.
    fn extents_from(
        &self,
        at: GuestOffset,
        end: GuestOffset,
        most: usize,
        found: &mut Vec<Extent>,
    ) -> Result<()> {
        let _ = most;
        found.push(self.extent_at(at, end.0.saturating_sub(at.0))?);
        Ok(())
    }

    /// What [`Self::extents_from`] says, in sums: appends at least one and at most `most` tallies,
    /// each at the end of the one before. A tally of more than one kind lies inside one unit of
    /// `unit` bytes of the disk, a power of two. For walks that need no more than sums: a format
    /// that counts bits makes them far cheaper.
    ///
    /// # Errors
    /// As [`Self::extents_from`].
    fn tallies_from(
        &self,
        at: GuestOffset,
        end: GuestOffset,
        unit: u64,
        most: usize,
        found: &mut Vec<Tally>,
    ) -> Result<()> {
        let _ = unit;
        let mut extents = Vec::new();
        self.extents_from(at, end, most, &mut extents)?;
        found.extend(extents.iter().map(Tally::of));
        Ok(())
    }

    /// The work of finding out what lies where: done so far, and allowed for one walk over the
    /// whole disk.
    fn work(&self) -> Work {
        Work::UNLIMITED
    }

    /// Fills `buf` with the disk's bytes from `at`. Either all of it is right, or an error says why
    /// not.
    ///
    /// # Errors
    /// `OutOfRange` when the range leaves the disk, `Truncated`, `Corrupt` or `Io` by cause.
    fn read_at(&self, at: GuestOffset, buf: &mut [u8]) -> Result<()>;

    /// What the image says of itself.
    fn details(&self) -> Details;

    /// Looks for contradictions that only content shows, of which [`Self::details`] warns from then
    /// on. Reads stored bytes that are on no disk, and none that are; asks `cancelled` now and
    /// then, and ends early when the answer is yes.
    ///
    /// # Errors
    /// As [`Self::read_at`].
    fn audit(&self, cancelled: &dyn Fn() -> bool) -> Result<()> {
        let _ = cancelled;
        Ok(())
    }

    /// Most memory in bytes that the opened image ever holds with `readers` threads reading from
    /// it: tables, caches and scratch buffers.
    fn memory_bound(&self, readers: usize) -> u64 {
        let _ = readers;
        0
    }
}

/// Conveniences on every [`DiskImage`].
pub trait DiskImageExt: DiskImage {
    /// The extents of `range`, in order and without gaps, neighbours of one kind joined. Lazy: cost
    /// follows what is consumed. After an error the walk ends.
    fn extents(&self, range: Range<GuestOffset>) -> Extents<'_, Self> {
        Extents {
            image: self,
            at: range.start,
            end: range.end,
            batch: Vec::new(),
            taken: 0,
            asked: 0,
            pending: None,
            failed: None,
            window: Window::new(),
            watch: None,
        }
    }

    /// The extents of the whole disk. Ends with an error of kind `Limit` when they are far more
    /// than the files could describe honestly: see [`Self::work`]. Nothing else should use the
    /// image meanwhile, or its work counts too.
    fn all_extents(&self) -> Extents<'_, Self> {
        Extents {
            watch: Some(Watch::new(self)),
            ..self.extents(GuestOffset(0)..GuestOffset(self.virtual_size()))
        }
    }

    /// The whole disk in sums: see [`Self::tallies_from`] for `unit`. Limited as
    /// [`Self::all_extents`].
    fn tallies(&self, unit: u64) -> Tallies<'_, Self> {
        Tallies::new(self, unit)
    }
}

impl<T: DiskImage + ?Sized> DiskImageExt for T {}

/// Most extents that a walk asks for at a time.
const MAX_BATCH: usize = 1024;

/// Iterator of [`DiskImageExt::extents`].
pub struct Extents<'a, T: DiskImage + ?Sized> {
    image: &'a T,
    /// Where the batch ends.
    at: GuestOffset,
    end: GuestOffset,
    /// What was asked for last, and how much of it was looked at.
    batch: Vec<Extent>,
    taken: usize,
    /// How many were asked for last.
    asked: usize,
    pending: Option<Extent>,
    failed: Option<Error>,
    window: Window,
    /// Of a walk over the whole disk.
    watch: Option<Watch>,
}

impl<T: DiskImage + ?Sized> Extents<'_, T> {
    /// Asks for more: one at first, because many walks end there.
    fn ask(&mut self) -> Result<()> {
        self.batch.clear();
        self.taken = 0;
        self.asked = (self.asked * 8).clamp(1, MAX_BATCH);
        let start = self.at;
        let end = self.window.end(start, self.end);
        self.image
            .extents_from(start, end, self.asked, &mut self.batch)?;
        if self.batch.is_empty() {
            // A walk that ended here would leave out the rest of the disk without a word.
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("no extent was told at guest offset {}", self.at),
            ));
        }
        for extent in &self.batch {
            check_answer(extent, self.at, end.0.saturating_sub(self.at.0))?;
            self.at = extent.end();
        }
        self.window.passed(self.at.0 - start.0);
        match &self.watch {
            Some(watch) => watch.check(self.image, self.at),
            None => Ok(()),
        }
    }

    /// Whether there is another extent in the batch, after asking for a new one if need be; never
    /// again after a failure.
    fn has_more(&mut self) -> bool {
        if self.taken < self.batch.len() {
            return true;
        }
        if self.at >= self.end || self.failed.is_some() {
            return false;
        }
        if let Err(error) = self.ask() {
            self.failed = Some(error);
            self.batch.clear();
        }
        !self.batch.is_empty()
    }
}

impl<T: DiskImage + ?Sized> Iterator for Extents<'_, T> {
    type Item = Result<Extent>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.has_more() {
            // Field by field: moving whole ones about in options costs several times as much.
            let Some(&Extent { start, len, kind }) = self.batch.get(self.taken) else {
                break;
            };
            match &mut self.pending {
                // Only the last one of a batch may go on in the next batch.
                None if self.taken + 1 < self.batch.len() => {
                    self.taken += 1;
                    return Some(Ok(Extent { start, len, kind }));
                }
                None => self.pending = Some(Extent { start, len, kind }),
                Some(pending) if pending.kind == kind => pending.len += len,
                Some(_) => return self.pending.take().map(Ok),
            }
            self.taken += 1;
        }
        if let Some(done) = self.pending.take() {
            return Some(Ok(done));
        }
        self.at = self.end;
        self.failed.take().map(Err)
    }
}

/// Holds `extent` against what [`DiskImage::extent_at`] promises for at most `limit` bytes at `at`:
/// a walk must get on.
///
/// # Errors
/// `Corrupt`.
pub fn check_answer(extent: &Extent, at: GuestOffset, limit: u64) -> Result<()> {
    if extent.start == at && (1..=limit).contains(&extent.len) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Corrupt,
        format!(
            "an extent at guest offset {at} with at most {limit} bytes was asked for, the answer is {} bytes at {}",
            extent.len, extent.start
        ),
    ))
}

/// Refuses a range that is not wholly on a disk of `virtual_size` bytes.
///
/// # Errors
/// `OutOfRange`.
pub fn check_range(at: GuestOffset, len: u64, virtual_size: u64) -> Result<()> {
    if fits(at.0, len, virtual_size) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::OutOfRange,
        format!("{len} bytes at guest offset {at} are not on a disk of {virtual_size} bytes"),
    ))
}

/// Clips the question of [`DiskImage::extent_at`] to the disk: the number of bytes to answer for.
///
/// # Errors
/// `OutOfRange` when nothing is left.
pub fn clip_extent(at: GuestOffset, limit: u64, virtual_size: u64) -> Result<u64> {
    match virtual_size.checked_sub(at.0) {
        Some(left) if left > 0 && limit > 0 => Ok(left.min(limit)),
        _ => {
            check_range(at, limit.max(1), virtual_size)?;
            Err(Error::new(
                ErrorKind::OutOfRange,
                "an extent of 0 bytes was asked for",
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Knows its first half, and then says what it is told to say.
    struct Half(Option<Extent>);

    impl DiskImage for Half {
        fn virtual_size(&self) -> u64 {
            2048
        }

        fn extent_at(&self, at: GuestOffset, _: u64) -> Result<Extent> {
            Ok(Extent {
                start: at,
                len: 1024,
                kind: ExtentKind::Data,
            })
        }

        fn extents_from(
            &self,
            at: GuestOffset,
            _: GuestOffset,
            _: usize,
            found: &mut Vec<Extent>,
        ) -> Result<()> {
            match at.0 {
                0 => found.push(self.extent_at(at, 1024)?),
                _ => found.extend(self.0),
            }
            Ok(())
        }

        fn read_at(&self, _: GuestOffset, _: &mut [u8]) -> Result<()> {
            Ok(())
        }

        fn details(&self) -> Details {
            Details::new(Format::Raw)
        }

        fn memory_bound(&self, _: usize) -> u64 {
            0
        }
    }

    #[test]
    fn a_walk_that_is_told_nothing_or_nonsense_ends_with_an_error_and_not_as_if_the_disk_did() {
        let extent = |start, len| {
            let start = GuestOffset(start);
            let kind = ExtentKind::Zero;
            Some(Extent { start, len, kind })
        };
        for told in [None, extent(1024, 0), extent(1024, 2048), extent(0, 1024)] {
            let image = Half(told);
            let mut walk = image.all_extents();
            assert_eq!(walk.next().unwrap().unwrap().len, 1024, "{told:?}");
            let error = walk.next().unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{told:?}");
            assert!(walk.next().is_none());
        }
    }

    #[test]
    fn printable_texts_steer_no_terminal_and_have_an_end() {
        assert_eq!(printable(r#"C:\vm\"a 'b' ü.vhd"#), r#"C:\vm\"a 'b' ü.vhd"#);
        assert_eq!(
            printable("a\u{1b}[2J\n\u{202e}b"),
            "a\\u{1b}[2J\\n\\u{202e}b"
        );
        let long = printable(&"x".repeat(5000));
        assert_eq!(long.chars().count(), SHOWN_CHARS + 1);
        assert!(long.ends_with('…'));
    }
}
