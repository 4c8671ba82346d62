//! The bitmap of a raw object: the file that tells the service where the disk holds data.

mod command;
pub(crate) mod names;

use cloud::{Class, Failure, ImportHint, Problem, Result};
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use ::convert::bitmap::MAX_FILE_BYTES;
use ::convert::holes::Misreported;
use ::convert::{ReadHoles, Target};
use bytes::Bytes;
use diskimg::source::open_regular;
use diskimg::text::{is_descriptor, shell_path, shown};
use diskimg::units::human;
use diskimg::{DiskImage, Format};

pub(super) use self::command::BitmapCommand;
use super::disk::SourceDisk;
use super::observe::Observer;
use super::spec::{BitmapSpec, ImportSpec};

/// What is known, and what is not, of the layout that is written.
pub const CAUTION: &str = "the bitmap has the layout zvhd2-section; that the service accepts \
     it is not confirmed. ZVHD2 needs no bitmap and is the recommended way";

/// What only an import of a raw object needs.
#[derive(Debug)]
pub(super) struct RawJob {
    /// The disk's file.
    pub(super) source: PathBuf,
    pub(super) bitmap: BitmapSource,
    /// Key of the bitmap object.
    pub(super) bitmap_key: String,
}

/// Where the bitmap file comes from.
#[derive(Debug)]
pub(super) enum BitmapSource {
    /// Made on the way, in the layout that is known.
    Own,
    /// A file of the user's, read already.
    Ready(Bytes),
    /// A program of the user's.
    Command(BitmapCommand),
}

/// What a raw object needs, by what was asked for and what the disk is; adds everything that is
/// wrong to `problems`.
pub(super) fn prepare(
    spec: &ImportSpec,
    key: &str,
    format: Format,
    problems: &mut Vec<Problem>,
) -> Option<RawJob> {
    if spec.target != Target::Raw {
        if spec.bitmap != BitmapSpec::Own {
            problems.push(Problem::new(
                "a bitmap file belongs to a raw object; ZVHD2 needs none",
                ImportHint::MakeRaw,
            ));
        }
        return None;
    }
    let bitmap_key = names::bitmap_key(key);
    if bitmap_key.is_none() {
        problems.push(Problem::new(
            format!(
                "the key {key} does not end in NAME.raw, and its bitmap would have no name of its \
                 own"
            ),
            ImportHint::Correct {
                how: "choose another one".to_owned(),
                field: "image_url.key",
            },
        ));
    }
    let bitmap = match &spec.bitmap {
        BitmapSpec::File(file) => ready(&spec.disk.path, key, file).map(BitmapSource::Ready),
        BitmapSpec::Command(words) => command(&spec.disk, format, words).map(BitmapSource::Command),
        BitmapSpec::Own => Ok(BitmapSource::Own),
    };
    match (bitmap, bitmap_key) {
        (Ok(bitmap), Some(bitmap_key)) => Some(RawJob {
            source: spec.disk.path.clone(),
            bitmap,
            bitmap_key,
        }),
        (bitmap, _) => {
            problems.extend(bitmap.err().map(Problem::from));
            None
        }
    }
}

/// A file that the service converts is neither cut into parts nor read, and systems with data disks
/// are converted to ZVHD2: options for raw objects are rejected.
pub(super) fn refuse_raw(spec: &ImportSpec, converts: bool) -> Result {
    if spec.target != Target::Raw && spec.bitmap == BitmapSpec::Own {
        return Ok(());
    }
    Err(match converts {
        true => Failure::new(
            Class::Refused,
            "raw objects and bitmap files are for a disk that is imported alone; a system with data \
             disks is converted to ZVHD2",
        )
        .hint(ImportHint::LeaveRawOut),
        false => Failure::new(
            Class::Refused,
            "raw objects and bitmap files are for quick import, and this file would be uploaded \
             unchanged",
        )
        .hint(ImportHint::UseQuickImport),
    })
}

/// A bitmap file that is there, called as it must be.
fn ready(disk: &Path, key: &str, file: &Path) -> Result<Bytes, String> {
    let stems = [names::stem(disk), names::stem(Path::new(key))];
    names::check_among(&stems, file).map_err(|failure| failure.message().to_owned())?;
    read_bitmap(file)
}

/// The bytes of a bitmap file of any layout.
pub(super) fn read_bitmap(file: &Path) -> Result<Bytes, String> {
    let wrong = |what: String| format!("the bitmap file {} {what}", shown(&file));
    let unreadable = |error: std::io::Error| wrong(format!("cannot be read: {error}"));
    let mut bytes = Vec::new();
    // One byte more than is taken, so that a longer file is seen to be one.
    open_regular(file)
        .and_then(|file| {
            file.take(MAX_FILE_BYTES.saturating_add(1))
                .read_to_end(&mut bytes)
        })
        .map_err(unreadable)?;
    match bytes.len() as u64 {
        0 => Err(wrong("is empty".into())),
        1..=MAX_FILE_BYTES => Ok(bytes.into()),
        _ => Err(wrong(format!(
            "has more than the {} that a bitmap can have",
            human(MAX_FILE_BYTES)
        ))),
    }
}

fn command(disk: &SourceDisk, format: Format, words: &str) -> Result<BitmapCommand, String> {
    let command = BitmapCommand::parse(words)?;
    let is_alone = disk.member.is_none();
    let disk = &disk.path;
    let is_file = is_alone && fs::metadata(disk).is_ok_and(|metadata| metadata.is_file());
    if format != Format::Raw || !is_file {
        let word = match shell_path(disk) {
            Some(word) if !is_descriptor(disk) => word,
            _ => "IMAGE".to_owned(),
        };
        return Err(format!(
            "the bitmap command needs a raw file on disk, and {} is {}; make one first: \
             imgferry convert {word} DISK.raw",
            shown(&disk),
            if is_file {
                format.to_string()
            } else if is_alone {
                "no regular file".into()
            } else {
                "a package".into()
            },
        ));
    }
    Ok(command)
}

/// `image` as it is to be read: with `verify`, holes are read too.
pub fn with_holes(
    image: Box<dyn DiskImage>,
    verify: bool,
) -> (Box<dyn DiskImage>, Option<Misreported>) {
    if !verify {
        return (image, None);
    }
    let (image, misreported) = ReadHoles::new(image);
    (Box::new(image), Some(misreported))
}

/// Warns when skipping holes would have lost data.
pub fn warn_of_holes(misreported: Option<&Misreported>, observer: &dyn Observer) {
    let bytes = misreported.map_or(0, Misreported::bytes);
    if bytes > 0 {
        observer.warn(format_args!(
            "{} were reported as holes and hold data: holes of this disk must always be verified",
            human(bytes)
        ));
    }
}
