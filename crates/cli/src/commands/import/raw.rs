//! The other quick import format: a raw object, with its bitmap file beside it.
//!
//! ```text
//!  check names, bitmap ─▶ parts in any order │ zeros copied by the server ─▶ complete ─▶ bitmap ─▶ register
//! ```

mod command;
mod transfer;

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use ::convert::bitmap::{MAX_FILE_BYTES, ZVHD2_SECTION};
use ::convert::{Plan, PlanOptions, SinkMemory, Target, count_parts};
use bytes::Bytes;
use diskimg::source::open_regular;
use diskimg::text::shown;
use diskimg::units::human;
use diskimg::{DiskImage, Format};
use ims::QuickImport;
use obs::{Client as Storage, ErrorKind};

pub(super) use self::transfer::{RawTransferred, transfer};
use super::resuming::Ours;
use super::upload::BUSY;
use crate::args::{Concurrency, ImportArgs, TargetFormat};
use crate::commands::bitmap::{CAUTION, names};
use crate::commands::typed;
use crate::exit::{Exit, Failure, Outcome};
use cloud::from_obs;

/// What only an import of a raw object needs.
#[derive(Debug)]
pub(super) struct RawJob {
    /// The disk's file.
    source: PathBuf,
    bitmap: BitmapSource,
    /// Key of the bitmap object.
    pub(super) bitmap_key: String,
}

#[cfg(test)]
impl RawJob {
    pub(super) fn with_own_bitmap() -> Self {
        Self {
            source: PathBuf::new(),
            bitmap: BitmapSource::Own,
            bitmap_key: String::new(),
        }
    }
}

/// Where the bitmap file comes from.
#[derive(Debug)]
enum BitmapSource {
    /// Made on the way, in the layout that is known.
    Own,
    /// A file of the user's, read already.
    Ready(Bytes),
    /// A program of the user's.
    Command(command::BitmapCommand),
}

/// What the options and the disk allow, or what is wrong with them, all of it.
pub(super) fn prepare(
    args: &ImportArgs,
    request: &QuickImport,
    format: Format,
    problems: &mut Vec<String>,
) -> Option<RawJob> {
    let options = &args.raw;
    if options.to != TargetFormat::Raw {
        for (given, option) in [
            (options.bitmap.is_some(), "--bitmap"),
            (options.bitmap_command.is_some(), "--bitmap-command"),
        ] {
            if given {
                problems.push(format!(
                    "{option} belongs to --to raw; zvhd2 needs no bitmap file"
                ));
            }
        }
        return None;
    }
    let key = &request.image_url.key;
    let bitmap_key = names::bitmap_key(key);
    if bitmap_key.is_none() {
        problems.push(format!(
            "the key {key} does not end in NAME.raw, and its bitmap would have no name of its own; \
             choose another one (--key)"
        ));
    }
    let bitmap = match (&options.bitmap, &options.bitmap_command) {
        (Some(file), _) => ready(args, key, file).map(BitmapSource::Ready),
        (None, Some(words)) => command(args, format, words).map(BitmapSource::Command),
        (None, None) => Ok(BitmapSource::Own),
    };
    match (bitmap, bitmap_key) {
        (Ok(bitmap), Some(bitmap_key)) => Some(RawJob {
            source: args.disk.clone(),
            bitmap,
            bitmap_key,
        }),
        (bitmap, _) => {
            problems.extend(bitmap.err());
            None
        }
    }
}

/// A file that the service converts by itself is neither cut into parts nor read, so nothing that
/// is for that may be asked for.
pub(super) fn refuse_as_it_is(args: &ImportArgs) -> Outcome {
    let options = &args.raw;
    let asked = options.to == TargetFormat::Raw
        || options.bitmap.is_some()
        || options.bitmap_command.is_some();
    if !asked {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Refused,
        "--to raw and bitmap files are for quick import, and this file would go to the service as it is",
    )
    .hint("pass --register quick, or leave them out"))
}

/// A bitmap file that is there, called as it must be.
fn ready(args: &ImportArgs, key: &str, file: &Path) -> Result<Bytes, String> {
    let stems = [names::stem(&args.disk), names::stem(Path::new(key))];
    names::check_among(&stems, file).map_err(|failure| failure.message().to_owned())?;
    read_bitmap(file)
}

/// The bytes of a bitmap file of any layout.
fn read_bitmap(file: &Path) -> Result<Bytes, String> {
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

fn command(
    args: &ImportArgs,
    format: Format,
    words: &str,
) -> Result<command::BitmapCommand, String> {
    let command = command::BitmapCommand::parse(words)?;
    let is_file = fs::metadata(&args.disk).is_ok_and(|metadata| metadata.is_file());
    if format != Format::Raw || !is_file {
        return Err(format!(
            "--bitmap-command needs a raw file on disk, and {} is {}; make one first: imgferry convert {} DISK.raw",
            shown(&args.disk),
            if is_file {
                format.to_string()
            } else {
                "no regular file".into()
            },
            typed(&args.disk, "IMAGE")
        ));
    }
    Ok(command)
}

/// Plans the run so that the image, the parts that are built and sent, and the zeros fit the budget
/// together; says what will travel.
pub(super) fn plan(
    image: &dyn DiskImage,
    job: &RawJob,
    concurrency: Concurrency,
    mut options: PlanOptions,
) -> Outcome<Plan> {
    let len = image.virtual_size();
    options.upload_memory = SinkMemory::default();
    let bitmap = match &job.bitmap {
        BitmapSource::Ready(bytes) => bytes.len() as u64,
        // The bits, and the bytes of the file.
        BitmapSource::Own => ZVHD2_SECTION.file_len(len).saturating_mul(2),
        // Read when the parts are gone.
        BitmapSource::Command(_) => 0,
    };
    options.reserved_memory = options.reserved_memory.saturating_add(bitmap);
    let alone = ::convert::plan(image, Target::Raw, &options)?;
    let least = obs::raw_memory(len, 0);
    // Each thread builds one while the line is busy with others.
    let parts = alone.threads.saturating_add(concurrency.most());
    let useful = obs::raw_memory(len, u64::try_from(parts).unwrap_or(u64::MAX));
    options.upload_memory = SinkMemory {
        least,
        enough: BUSY.clamp(least, useful),
        most: useful,
    };
    let mut plan = ::convert::plan(image, Target::Raw, &options)?;
    let part_size = obs::raw_part_size(len);
    let count = count_parts(image, part_size)?;
    let most = count
        .data_parts
        .saturating_add(2)
        .min(count.parts.saturating_add(1))
        .saturating_mul(part_size);
    plan.notes.push(format!(
        "{} parts of {}; at most {} are sent, the server copies the other parts from one of zeros",
        count.parts,
        human(part_size),
        human(most)
    ));
    plan.notes.push(match &job.bitmap {
        BitmapSource::Own => CAUTION.to_owned(),
        BitmapSource::Ready(bytes) => {
            format!(
                "the bitmap file of {} bytes is uploaded as it is",
                bytes.len()
            )
        }
        BitmapSource::Command(command) => format!("the bitmap is made by: {command}"),
    });
    Ok(plan)
}

/// A bitmap object that exists is not replaced unless the user says so.
pub(super) async fn check_bitmap_key(
    args: &ImportArgs,
    storage: &Storage,
    bucket: &str,
    job: &RawJob,
    ours: &Ours,
) -> Outcome {
    let key = &job.bitmap_key;
    match storage.object(bucket, key).await {
        // An earlier run or an earlier owner of this import has stored it.
        Ok(Some(_)) if ours.object.is_some() || ours.before.uploaded => Ok(()),
        Ok(Some(_)) if !args.force => Err(Failure::new(
            Exit::Refused,
            format!("object {bucket}:{key} exists already"),
        )
        .hint("pass --force to replace it, or another key with --key")),
        Ok(_) => Ok(()),
        // Said of the object itself already.
        Err(error) if error.kind() == ErrorKind::AccessDenied => Ok(()),
        Err(error) => Err(from_obs(&error)),
    }
}
