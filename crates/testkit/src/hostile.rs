//! Files that nobody should write: how bytes by chance become files that a reader takes seriously,
//! and what must hold for whatever it makes of them. Shared by the fuzz targets and by the tests
//! that replay what they found.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "test helper: a failed assertion fails the test"
)]

mod seals;
mod sparse;

use std::cell::Cell;
use std::panic::catch_unwind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use diskimg::limits::MAX_VIRTUAL_SIZE;
use diskimg::{
    BackingPolicy, DiskImage, DiskImageExt, Driver, Error, ErrorKind, Extent, ExtentKind, Format,
    GuestOffset, OpenOptions, ReadAt, Result, Tally, check_source, open_source, partitions,
};

use self::sparse::Metered;
pub use self::sparse::Sparse;
use crate::measure::cpu_time;

/// How closely a disk is examined.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Most extents that are checked, front to back.
    extents: usize,
    /// Most places at which the disk is read.
    places: usize,
    /// Bytes of a read.
    read: u64,
}

impl Effort {
    /// For a file that is looked at once.
    pub const THOROUGH: Self = Self {
        extents: 4096,
        places: 24,
        read: 48 << 10,
    };
    /// For one of millions: formats with blocks of megabytes unpack or map a whole block for each
    /// read.
    pub const QUICK: Self = Self {
        extents: 256,
        places: 6,
        read: 6 << 10,
    };
}

/// Most memory that an opened image may say it takes, in bytes, with two readers.
const MEMORY: u64 = 256 << 20;
/// Most steps of a walk over the disk of a small file: a fraction of what an image of any size may
/// take.
const STEPS: u64 = 4 << 20;
/// Most reads of a small file, and questions about its holes, together.
const READS: u64 = 400_000;
/// Most processor time that a small file may take.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Looks at everything that an image says and holds it against itself: sizes, extents and reads
/// agree, the same question has the same answer, and all of it ends.
///
/// # Panics
/// When something does not hold.
pub fn survey(opened: Result<Box<dyn DiskImage>>, effort: Effort) {
    let started = cpu_time();
    let image = match opened {
        Ok(image) => image,
        Err(error) => return check_error(&error),
    };
    let size = image.virtual_size();
    assert!(size > 0 && size.is_multiple_of(512), "a size of {size}");
    assert!(size <= MAX_VIRTUAL_SIZE, "a size of {size}");
    let bound = image.memory_bound(2);
    assert!(bound <= MEMORY, "{bound} bytes of memory");
    let details = image.details();
    assert!(details.warnings.iter().all(|warning| is_printable(warning)));
    if details.encryption.is_some() {
        let error = image.read_at(GuestOffset(0), &mut [0; 512]).err();
        assert_eq!(error.map(|e| e.kind()), Some(ErrorKind::Unsupported));
    }

    match partitions::read(image.as_ref()) {
        Ok(table) => check_partitions(&table),
        Err(error) => check_error(&error),
    }
    let mut places = vec![0, size - 512, size / 2 / 512 * 512];
    // Neighbours of one kind joined.
    let mut told: Vec<Extent> = Vec::new();
    let mut at = 0;
    for round in 0..effort.extents {
        if at == size {
            break;
        }
        let extent = match image.extent_at(GuestOffset(at), size - at) {
            Ok(extent) => extent,
            Err(error) => {
                check_error(&error);
                let again = image.extent_at(GuestOffset(at), size - at);
                assert!(again.is_err(), "an error at {at:#x} went away");
                break;
            }
        };
        assert_eq!(
            extent.start.0, at,
            "an extent begins where it was asked for"
        );
        assert!(extent.len > 0 && extent.len <= size - at, "{extent:?}");
        if round < effort.places {
            places.push(at);
            places.push(extent.end().0 - 1);
            match extent.kind {
                ExtentKind::Zero | ExtentKind::Hole if details.encryption.is_none() => {
                    reads_as_zeros(image.as_ref(), at, extent.len, effort);
                }
                ExtentKind::Elsewhere => {
                    let read = image.read_at(GuestOffset(at), &mut [0; 1]);
                    assert!(read.is_err(), "what is elsewhere was read at {at:#x}");
                }
                _ => {}
            }
        }
        at = extent.end().0;
        match told.last_mut() {
            Some(last) if last.kind == extent.kind => last.len += extent.len,
            _ => told.push(extent),
        }
    }
    walks_alike(image.as_ref(), &told, at);
    sums_alike(image.as_ref(), &told, at);
    places.sort_unstable();
    places.dedup();
    for place in places.into_iter().take(effort.places) {
        reads_alike(image.as_ref(), place, size, effort);
    }
    let error = image.read_at(GuestOffset(size - 1), &mut [0; 2]).err();
    assert_eq!(error.map(|e| e.kind()), Some(ErrorKind::OutOfRange));
    let took = cpu_time().saturating_sub(started);
    assert!(took < PATIENCE, "{took:?}");
}

/// A walk over all extents says what single questions said, `told`, as far as these went: up to
/// `end`.
fn walks_alike(image: &dyn DiskImage, told: &[Extent], end: u64) {
    let mut walk = image.all_extents();
    for expected in told {
        let found = walk
            .next()
            .map(|found| found.map_err(|error| error.to_string()));
        let Some(Ok(found)) = found else {
            panic!("a walk has {found:?} where {expected:?} was told");
        };
        // The last one may go on where the questions ended.
        let same = (found.start, found.kind) == (expected.start, expected.kind)
            && (found.len == expected.len || (expected.end().0 == end && found.len > expected.len));
        assert!(same, "a walk has {found:?} where {expected:?} was told");
    }
    if end == image.virtual_size() {
        assert!(walk.next().is_none(), "a walk goes on past the end");
    }
}

/// Sums say what single questions said, and take few steps: a small file has few tables, however it
/// is damaged.
fn sums_alike(image: &dyn DiskImage, told: &[Extent], end: u64) {
    let size = image.virtual_size();
    let mut expected = Tally::new(GuestOffset(0));
    told.iter()
        .for_each(|extent| expected.add(extent.kind, extent.len));
    for unit in [64 << 10, 2 << 20] {
        let before = image.work().done;
        let (mut found, mut at) = (Tally::new(GuestOffset(0)), 0);
        for tally in image.tallies(unit) {
            let tally = match tally {
                Ok(tally) => tally,
                Err(error) => {
                    check_error(&error);
                    assert!(at <= end || end < size, "sums fail at {at:#x}: {error}");
                    break;
                }
            };
            let (start, last) = (tally.start.0 / unit, (tally.end().0 - 1) / unit);
            assert_eq!(tally.start.0, at, "a tally begins where the last one ended");
            assert!(tally.kind().is_some() || start == last, "{tally:?}");
            at = tally.end().0;
            found.add(ExtentKind::Data, tally.data);
            found.add(ExtentKind::Zero, tally.zero);
            found.add(ExtentKind::Hole, tally.hole);
            found.add(ExtentKind::Elsewhere, tally.elsewhere);
        }
        if end == size {
            assert_eq!(found, expected, "sums in units of {unit} bytes");
        }
        let steps = image.work().done - before;
        assert!(
            steps < STEPS,
            "{steps} steps to sum up {at} of {size} bytes"
        );
    }
}

/// What the metadata call zero or a hole can be read, and is zeros, at both ends.
fn reads_as_zeros(image: &dyn DiskImage, at: u64, len: u64, effort: Effort) {
    let part = len.min(effort.read);
    for at in [at, at + len - part] {
        let mut found = vec![0xa5; part as usize];
        let read = image.read_at(GuestOffset(at), &mut found);
        assert!(read.is_ok(), "{part} zeros at {at:#x}: {read:?}");
        assert!(
            diskimg::zero::is_zero(&found),
            "{part} bytes at {at:#x} are no zeros"
        );
    }
}

/// A read has one result: again, in two halves, and byte by byte at its start.
fn reads_alike(image: &dyn DiskImage, at: u64, size: u64, effort: Effort) {
    let len = effort.read.min(size - at) as usize;
    let read = |from: usize, len: usize| {
        let mut found = vec![0xa5; len];
        image
            .read_at(GuestOffset(at + from as u64), &mut found)
            .map(|()| found)
    };
    let whole = read(0, len);
    let again = read(0, len);
    let half = len / 2 + len / 2 % 2;
    let halves = (read(0, half), read(half, len - half));
    match (&whole, &again, &halves) {
        (Ok(whole), Ok(again), (Ok(first), Ok(second))) => {
            assert!(whole == again, "read again at {at:#x}");
            assert!(whole[..half] == first[..], "first half at {at:#x}");
            assert!(whole[half..] == second[..], "second half at {at:#x}");
        }
        (Err(error), Err(_), _) => {
            check_error(error);
            assert!(
                halves.0.is_err() || halves.1.is_err(),
                "{len} bytes at {at:#x} are an error, both halves are not: {error}"
            );
        }
        _ => panic!("{len} bytes at {at:#x} have no one result"),
    }
}

/// What a guest wrote at its disk's beginning: bounded, and nothing that steers a terminal.
fn check_partitions(table: &partitions::PartitionTable) {
    assert!(table.entries.len() <= 8192 && table.warnings.len() <= 32);
    let labels = table.entries.iter().flat_map(|entry| {
        let content = entry
            .content
            .as_ref()
            .and_then(|content| content.label.as_ref());
        [entry.label.as_ref(), content].into_iter().flatten()
    });
    let texts = labels.chain(&table.warnings).chain([&table.boot_reason]);
    texts.for_each(|text| assert!(is_printable(text), "{text:?}"));
}

/// An error says something, and nothing that steers a terminal.
fn check_error(error: &Error) {
    let text = error.to_string();
    assert!(!text.is_empty());
    assert!(is_printable(&text), "{text:?}");
    assert!(
        error
            .hint()
            .is_none_or(|hint| is_printable(&hint.to_string()))
    );
    assert!(text.len() < 20_000, "{} bytes of message", text.len());
}

fn is_printable(text: &str) -> bool {
    text.chars().all(|char| !char.is_control())
}

/// Turns the input of a fuzz target into a file: a [`Sparse`] file after one byte of flags, of
/// which bit 0 makes those checksums right without which `format` looks at nothing else.
#[must_use]
pub fn file(format: Format, input: &[u8]) -> Sparse {
    let Some((flags, rest)) = input.split_first() else {
        return Sparse::default();
    };
    let file = Sparse::parse(rest);
    if flags & 1 == 0 {
        return file;
    }
    sealed(format, file)
}

/// `file` with those checksums right without which `format` looks at nothing else.
#[must_use]
pub fn sealed(format: Format, mut file: Sparse) -> Sparse {
    match format {
        Format::Vhd => seals::vhd(&mut file),
        Format::Vhdx => seals::vhdx(&mut file),
        Format::Zvhd | Format::Zvhd2 => seals::zvhd(&mut file),
        Format::Raw => seals::gpt(&mut file),
        _ => {}
    }
    file
}

/// The input of a fuzz target that becomes `file`, with all checksums made right.
#[must_use]
pub fn seed(file: &[u8]) -> Vec<u8> {
    [&[1], &Sparse::describe(file)[..]].concat()
}

/// What a fuzz target does with its input: [`hold`] for the file that it describes.
///
/// # Panics
/// When something does not hold.
pub fn fuzz(format: Format, input: &[u8], more: &[Driver]) {
    hold(format, file(format, input), more, Effort::QUICK);
}

/// Opens `file` as `format`, or, if that is raw, as what its content says, with the formats of
/// `more`; surveys the disk and a snapshot; checks the file. What is refused is opened to be
/// described, if it can be.
///
/// # Panics
/// When something does not hold.
pub fn hold(format: Format, file: Sparse, more: &[Driver], effort: Effort) {
    let metered = Arc::new(Metered {
        file,
        uses: AtomicU64::new(0),
    });
    let source: Arc<dyn ReadAt> = Arc::<Metered>::clone(&metered);
    let mut options = OpenOptions::of((format != Format::Raw).then_some(format));
    let open = |options: &OpenOptions| {
        open_source(Arc::clone(&source), options, more).map(|opened| opened.image)
    };
    let mut opened = open(&options);
    let mut damaged = false;
    if let Err(error) = &opened {
        check_error(error);
        damaged = matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Truncated);
        // What is refused may still be described: encrypted images, and those that need other
        // files.
        options.backing = BackingPolicy::Describe;
        options.metadata_only = true;
        opened = open(&options);
    }
    survey(opened, effort);
    let started = cpu_time();
    let questions = Cell::new(0);
    // A checker that is told to stop has to stop; until then it may ask so often.
    let cancelled = || {
        questions.set(questions.get() + 1);
        questions.get() > 50_000
    };
    match check_source(&source, &options, more, &cancelled) {
        Ok(report) => {
            let messages = report.findings.iter().map(|finding| &finding.message);
            messages.for_each(|message| assert!(is_printable(message), "{message:?}"));
            let told = report.errors > 0 || report.cancelled || !damaged;
            assert!(
                told,
                "the check finds no error in a file that does not open"
            );
        }
        Err(error) => check_error(&error),
    }
    if format == Format::Qcow2 {
        options.snapshot = Some("1".to_owned());
        survey(open(&options), effort);
    }
    let took = cpu_time().saturating_sub(started);
    assert!(took < PATIENCE, "{took:?}");
    let uses = metered.uses.load(Ordering::Relaxed);
    assert!(uses < READS, "{uses} reads of the file");
}

/// Does with [`Effort::THOROUGH`] what [`fuzz`] does, on every file in `directories` (seeds, and
/// what was found before), and returns how many there are.
///
/// # Panics
/// When something does not hold, or a directory cannot be read.
pub fn replay(format: Format, directories: &[&Path], more: &[Driver]) -> usize {
    let mut count = 0;
    for directory in directories {
        let entries = std::fs::read_dir(directory)
            .unwrap_or_else(|e| panic!("{} cannot be listed: {e}", directory.display()));
        for entry in entries {
            let path = entry.map(|entry| entry.path());
            let path = path.unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
            // What keeps an empty directory in the repository.
            if path.file_name().is_some_and(|name| name == ".gitkeep") {
                continue;
            }
            let input = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            let outcome =
                catch_unwind(|| hold(format, self::file(format, &input), more, Effort::THOROUGH));
            assert!(outcome.is_ok(), "{} as {format}", path.display());
            count += 1;
        }
    }
    count
}

/// Holds the seed file at `path` against `file`, whose description it must be; with `UPDATE_SEEDS`
/// set in the environment, writes it instead.
///
/// # Panics
/// When they differ.
pub fn assert_seed(path: &Path, file: &[u8]) {
    let seed = seed(file);
    let described = Sparse::parse(&seed[1..]);
    assert_eq!(described.len, file.len() as u64);
    assert!(described.bytes(0, file.len()) == file, "the description");
    if std::env::var_os("UPDATE_SEEDS").is_some() {
        let written = std::fs::write(path, &seed);
        written.unwrap_or_else(|e| panic!("{} cannot be written: {e}", path.display()));
    }
    let stored = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert!(
        stored == seed,
        "{} is another file; UPDATE_SEEDS=1 writes it anew",
        path.display()
    );
}

#[cfg(test)]
mod tests {
    use diskimg::FileOffset;

    use super::*;

    #[test]
    fn a_sparse_file_is_what_was_described() {
        let mut file = vec![0; 3 << 16];
        file[5] = 1;
        file[4096..4200].fill(7);
        file[(2 << 16) - 1] = 9;
        file[(3 << 16) - 1] = 3;
        let described = Sparse::describe(&file);
        assert!(described.len() < 2000);
        let sparse = Sparse::parse(&described);
        assert_eq!(sparse.len(), 3 << 16);
        assert_eq!(Sparse::describe(&file), described);
        let mut read = vec![1; file.len()];
        sparse.read_exact_at(FileOffset(0), &mut read).unwrap();
        assert!(read == file);
        assert!(sparse.read_exact_at(FileOffset(1), &mut read).is_err());
    }
}
