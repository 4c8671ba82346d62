//! `imgferry inspect`: what an image is, from its metadata and partition table; a picture or a page
//! of it; a check of the file against the rules of its format; a look into the installed system.

mod check;
mod guest;
mod package;

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ::convert::{CancelToken, OutputFile, Overwrite, Sink};
use ::guest::Budget;
use diskimg::text::shown;
use diskimg::{BackingPolicy, OpenOptions, Opened};
use inspection::Inspection;
use obs::{Chunking, ObjectSource};

use super::{storage, typed};
use crate::args::{InspectArgs, Place};
use crate::console::Console;
use ::import::{Chosen, SourceDisk, open_disk, open_package, refuse_standard_input, stopping};
use cloud::{Class, Failure, Result, StopToken};

/// Chunks of an object that are kept in memory while its format is checked.
const CHECKED_CHUNKS: NonZeroUsize = NonZeroUsize::new(4).unwrap();

/// How long the look into the system of an object may take: a slow line needs a minute for the 90 MB
/// that a Debian takes.
const OVER_A_NETWORK: Duration = Duration::from_secs(120);

pub(crate) async fn run(args: InspectArgs, console: Console, stop: &StopToken) -> Result {
    // The parser asks for an image unless it is the rules that are wanted.
    let Some(place) = args.image.clone().filter(|_| !args.rules) else {
        return guest::rules(console);
    };
    let args = Arc::new(args);
    let all = Arc::clone(&args);
    // A check may read all of the file.
    let chunking = match args.check {
        true => Chunking::whole(CHECKED_CHUNKS),
        false => Chunking::SCATTERED,
    };
    let image = place.clone();
    let work = move |[object]: storage::Objects<1>, cancel: &CancelToken| match (image, object) {
        (Place::File(path), _) => inspect_file(&all, &path, console, cancel),
        (Place::Object(_), Some(object)) => inspect_object(&all, object, console, cancel),
        (Place::Object(url), None) => Err(storage::not_opened(&url)),
    };
    storage::reading(&args.cloud, [&place], chunking, stop, work).await
}

fn inspect_file(args: &InspectArgs, path: &Path, console: Console, cancel: &CancelToken) -> Result {
    refuse_standard_input(path)?;
    let options = options(args, cancel);
    let disk = args.package.disk(path);
    let package = open_package(&disk, &options)?;
    // One disk of several must be named; without a picture, a page or a check the machine is shown.
    if let Some(package) = &package
        && disk.member.is_none()
        && args.output().is_none()
        && !args.check
        && !args.guest
    {
        return package::run(package, &options, console, cancel);
    }
    let chosen =
        package.map(|package| Chosen::of(&package, disk.member.as_deref(), &options, true));
    let mut chosen = chosen.transpose()?;
    if args.check {
        return check::file(&disk, args, chosen.as_ref(), console, cancel);
    }
    // Warnings are part of the result here, so they are not told apart from it.
    let open = || match &mut chosen {
        Some(chosen) => Ok(chosen.open()?),
        None => open_disk(&disk, &options, cancel),
    };
    show(
        args,
        &disk,
        &[path],
        Budget::default(),
        open,
        console,
        cancel,
    )
}

fn inspect_object(
    args: &InspectArgs,
    object: Arc<ObjectSource>,
    console: Console,
    cancel: &CancelToken,
) -> Result {
    for (is_given, option) in [
        (args.package.member.is_some(), "--disk"),
        (
            args.source.backing.allow_backing.is_some(),
            "--allow-backing",
        ),
    ] {
        if is_given {
            return Err(Failure::new(
                Class::Refused,
                format!(
                    "{option} is for files, {} is an object",
                    shown(&object.name())
                ),
            )
            .hint("download the object and its files, then inspect the file"));
        }
    }
    if args.check {
        return check::object(object, args, console, cancel);
    }
    let disk = SourceDisk::in_package(object.name(), None);
    let open = || storage::open_image(Arc::clone(&object), &options(args, cancel));
    let budget = Budget {
        time: OVER_A_NETWORK,
        ..Budget::default()
    };
    show(args, &disk, &[], budget, open, console, cancel)
}

fn options(args: &InspectArgs, cancel: &CancelToken) -> OpenOptions {
    let mut options = stopping(&args.source.options(), cancel);
    options.metadata_only = !args.guest;
    if args.source.backing.allow_backing.is_none() && !args.guest {
        options.backing = BackingPolicy::Describe;
    }
    options
}

/// Shows the disk that `open` opens; its bytes are in `files`. Looking into its system costs `budget`
/// at most.
fn show(
    args: &InspectArgs,
    disk: &SourceDisk,
    files: &[&Path],
    budget: Budget,
    open: impl FnOnce() -> Result<Opened>,
    console: Console,
    cancel: &CancelToken,
) -> Result {
    let output = args.output();
    let to_stdout = output == Some(Path::new("-"));
    if to_stdout && (console.json || args.guest) {
        return Err(two_results(args, console));
    }
    // What cannot be written is refused before the disk is walked.
    let file = match output {
        Some(path) if !to_stdout => {
            let overwrite = match args.force {
                true => Overwrite::Replace,
                false => Overwrite::Refuse,
            };
            Some(OutputFile::create_from(files, path, overwrite)?)
        }
        _ => None,
    };
    let opened = open()?;
    let name = disk.name();
    let inspection = Inspection::of(&name, &opened, cancel);
    let mut inspection = inspection.map_err(|error| damaged(error, &name))?;
    if !args.no_guest && args.map.is_none() {
        inspection.look_into_guest(&opened, &budget);
        // Of an object every bitmap would be fetched.
        if !files.is_empty() {
            inspection.look_for_free_space(&opened, cancel);
        }
    }
    let drawn = || match args.html {
        Some(_) => inspection.page(),
        None => inspection.picture(),
    };
    if to_stdout {
        return console.raw(drawn().as_bytes());
    }
    if let Some(mut file) = file {
        let target = shown(file.target()).to_string();
        file.write(drawn().as_bytes())
            .map_err(::convert::Error::Sink)?;
        file.commit()?;
        console.notice(format_args!("written: {target}"));
    }
    guest::show(&inspection, args.guest, console)
}

/// The failure of walking a damaged image, which says how to see all of the damage.
fn damaged(error: ::convert::Error, path: &Path) -> Failure {
    use diskimg::ErrorKind::{Corrupt, Truncated};
    let is_damage = matches!(&error, ::convert::Error::Source(error)
        if matches!(error.kind(), Corrupt | Truncated));
    let failure = Failure::from(error);
    match is_damage {
        true => failure.hint(format!(
            "list everything that is wrong with it: imgferry inspect --check {}",
            typed(path, "IMAGE")
        )),
        false => failure,
    }
}

/// The failure for a picture or a page on standard output, and another result beside it.
fn two_results(args: &InspectArgs, console: Console) -> Failure {
    let other = if console.json { "--json" } else { "--guest" };
    let (option, hint) = match args.html {
        Some(_) => ("--html", "write the page to a file: --html disk.html"),
        None => ("--map", "write the picture to a file: --map disk.svg"),
    };
    Failure::new(
        Class::Refused,
        format!("{other} and {option} - both want standard output"),
    )
    .hint(hint)
}
