//! The disk that a command reads: a file by its path, an export of a server, or what standard input
//! is.

use cloud::{Class, Failure, Hint, ImportHint, Result};
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::convert::{CancelToken, default_threads};
use diskimg::text::shown;
use diskimg::units::{SECTOR, round_up};
use diskimg::{
    BackingPolicy, CheckReport, DiskImage, FileSource, OpenOptions, Opened, PipeOptions, ReadAt,
    Stop,
};

use super::disk::{Chosen, SourceDisk, open_package};
use super::export::{NOBODY_KNOWS, connect, is_export, open_export};
use super::observe::Observer;
use super::stdin::{is_standard_input, is_stream};
use super::watch::Watch;

/// Standard input in messages.
const NAME: &str = "standard input";

/// How to read it.
#[derive(Clone, Copy)]
pub struct Reading<'a> {
    /// Size of a disk on a pipe, as it was given.
    pub size: Option<u64>,
    /// Threads that were asked for.
    pub threads: Option<usize>,
    /// Receives warnings.
    pub observer: &'a dyn Observer,
    /// Stops reading.
    pub cancel: &'a CancelToken,
    /// Whether to read what another process writes to.
    pub force_share: bool,
    /// Whether a package is read without checking its manifest.
    pub ignore_manifest: bool,
}

/// An opened disk.
pub struct Input {
    /// The image.
    pub opened: Opened,
    /// The file that it begins in. It was named, or is in the directory of the package that was.
    pub file: PathBuf,
    /// Whether it is in a package: its bytes are no file that could be uploaded as it is.
    pub is_packaged: bool,
    /// What the user was told of it.
    pub warnings: Vec<String>,
    /// To be asked when everything was read.
    pub watch: Watch,
}

/// Opens an image, and tells its warnings.
pub fn open_input(disk: &SourceDisk, options: &OpenOptions, reading: Reading<'_>) -> Result<Input> {
    let input = open_input_silently(disk, options, reading)?;
    let name = match is_standard_input(&disk.path) {
        true => PathBuf::from(NAME),
        false => disk.name(),
    };
    tell(&input.warnings, &name, reading.observer);
    Ok(input)
}

/// Opens an image; its warnings are for the caller to tell.
fn open_input_silently(
    disk: &SourceDisk,
    options: &OpenOptions,
    reading: Reading<'_>,
) -> Result<Input> {
    let options = &OpenOptions {
        packed_size: reading.size,
        ..stopping(options, reading.cancel)
    };
    let mut input = if let Some(package) = open_package(disk, options)? {
        let member = disk.member.as_deref();
        let mut chosen = Chosen::of(&package, member, options, reading.ignore_manifest)?;
        let watch = Watch::verifying(&package, chosen.verification.take(), reading.cancel);
        let opened = chosen.open().map_err(|error| watch.cause(error))?;
        refuse_size(reading.size, &opened)?;
        Input {
            opened,
            file: chosen.file().to_owned(),
            is_packaged: true,
            warnings: chosen.warnings,
            watch,
        }
    } else if is_standard_input(&disk.path) {
        open_standard_input(&disk.path, options, reading)?
    } else if is_export(&disk.path) {
        // Before anything is asked for.
        if reading.size.is_some() {
            return Err(needless_size());
        }
        Input {
            warnings: vec![NOBODY_KNOWS.to_owned()],
            ..whole(
                open_export(&disk.path, disk.tls_ca.as_deref(), options, reading.cancel)?,
                &disk.path,
            )
        }
    } else {
        let opened = ::convert::open_with(&disk.path, options)?;
        refuse_size(reading.size, &opened)?;
        whole(opened, &disk.path)
    };
    input
        .watch
        .begin_with(&input.file, &input.opened, reading.force_share)?;
    if !reading.force_share {
        input.warnings.extend(input.watch.left_locks());
    }
    let more = warnings_of(&input.opened, reading.cancel);
    let more = more.map_err(|error| input.watch.cause(error))?;
    input.warnings.extend(more);
    Ok(input)
}

/// `options` for opening images until `cancel` says to stop.
#[must_use]
pub fn stopping(options: &OpenOptions, cancel: &CancelToken) -> OpenOptions {
    let cancel = cancel.clone();
    OpenOptions {
        stop: Stop::when(move || cancel.is_cancelled()),
        ..options.clone()
    }
}

/// Opens a disk to look at it: its warnings are for the caller to tell, and no manifest is checked.
pub fn open_disk(disk: &SourceDisk, options: &OpenOptions, cancel: &CancelToken) -> Result<Opened> {
    let options = &stopping(options, cancel);
    if let Some(package) = open_package(disk, options)? {
        return Ok(Chosen::of(&package, disk.member.as_deref(), options, true)?.open()?);
    }
    match is_export(&disk.path) {
        true => open_export(&disk.path, disk.tls_ca.as_deref(), options, cancel),
        false => Ok(::convert::open_with(&disk.path, options)?),
    }
}

/// Checks a disk that is in no package against the rules of its format.
pub fn check_disk(
    disk: &SourceDisk,
    options: &OpenOptions,
    cancel: &CancelToken,
) -> Result<CheckReport> {
    let options = &stopping(options, cancel);
    let cancelled = || cancel.is_cancelled();
    let report = match is_export(&disk.path) {
        true => {
            let source = connect(&disk.path, disk.tls_ca.as_deref(), options, cancel)?;
            diskimg::check_source(&source, options, &zvhd2::DRIVERS, &cancelled)
        }
        false => diskimg::check(&disk.path, options, &zvhd2::DRIVERS, &cancelled),
    };
    Ok(report?)
}

/// Opens an image that must be a file, and tells its warnings.
pub fn open_named(
    path: &Path,
    options: &OpenOptions,
    observer: &dyn Observer,
    cancel: &CancelToken,
) -> Result<Opened> {
    refuse_standard_input(path)?;
    if is_export(path) {
        return Err(refused(
            "a file is needed here, not an export of a server",
            "copy the disk to a file first: imgferry convert URI disk.zvhd2",
        ));
    }
    let opened = ::convert::open_with(path, &stopping(options, cancel))?;
    warn_of_image(&opened, path, observer, cancel)?;
    Ok(opened)
}

/// Tells the warnings of an image, also those for which stored bytes have to be read.
pub fn warn_of_image(
    opened: &Opened,
    name: &Path,
    observer: &dyn Observer,
    cancel: &CancelToken,
) -> Result<Vec<String>> {
    let warnings = warnings_of(opened, cancel)?;
    tell(&warnings, name, observer);
    Ok(warnings)
}

fn warnings_of(opened: &Opened, cancel: &CancelToken) -> ::convert::Result<Vec<String>> {
    opened.image.audit(&|| cancel.is_cancelled())?;
    if cancel.is_cancelled() {
        return Err(::convert::Error::Cancelled);
    }
    Ok(opened.image.details().warnings)
}

fn tell(warnings: &[String], name: &Path, observer: &dyn Observer) {
    for warning in warnings {
        observer.warn(format_args!("{}: {warning}", shown(&name)));
    }
}

/// Tells what has shown of an image while it was looked through, after it was told `known`.
pub fn warn_of_more(
    image: &dyn DiskImage,
    name: &Path,
    known: &[String],
    observer: &dyn Observer,
) -> Vec<String> {
    let mut warnings = image.details().warnings;
    warnings.retain(|warning| !known.contains(warning));
    tell(&warnings, name, observer);
    warnings
}

fn open_standard_input(path: &Path, options: &OpenOptions, reading: Reading<'_>) -> Result<Input> {
    if !matches!(options.backing, BackingPolicy::Refuse) {
        return Err(refused(
            "backing files need an image with a path: standard input has no directory",
            ImportHint::NameFile,
        ));
    }
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return Err(refused(
            "standard input is a terminal, a disk is expected",
            "redirect a file, or use a pipe",
        ));
    }
    let failed =
        |e: io::Error| Failure::from_error(Class::Io, &e).context("standard input cannot be read");
    let file = File::from(stdin.as_fd().try_clone_to_owned().map_err(failed)?);
    let kind = file.metadata().map_err(failed)?.file_type();
    if is_stream(kind) {
        Ok(whole(open_pipe(file, options, reading)?, path))
    } else {
        open_file(file, path, options, reading.size)
    }
}

fn open_pipe(file: File, options: &OpenOptions, reading: Reading<'_>) -> Result<Opened> {
    if options.snapshot.is_some() {
        return Err(refused(
            "snapshots are part of qcow2 files: a pipe is read as a raw disk",
            "save the image to a file first",
        ));
    }
    let image = ::convert::open_pipe(
        file,
        PipeOptions {
            name: NAME.into(),
            size: reading.size,
            format: options.format,
            readers: reading.threads.unwrap_or_else(default_threads),
            stop: options.stop.clone(),
        },
    )?;
    Ok(Opened {
        format: diskimg::Format::Raw,
        file_len: image.virtual_size(),
        image: Box::new(image),
        bytes_on_disk: 0,
        files: Vec::new(),
    })
}

/// A disk that is in no package.
fn whole(opened: Opened, file: &Path) -> Input {
    Input {
        opened,
        file: file.to_owned(),
        is_packaged: false,
        warnings: Vec::new(),
        watch: Watch::default(),
    }
}

/// A file or device that is redirected is as good as one that is named.
fn open_file(
    mut file: File,
    path: &Path,
    options: &OpenOptions,
    size: Option<u64>,
) -> Result<Input> {
    let at = io::Seek::stream_position(&mut file).unwrap_or_default();
    if at > 0 {
        return Err(refused(
            format!("standard input is a file of which {at} bytes have been read already"),
            ImportHint::NameFile,
        ));
    }
    let source = FileSource::new(file, Path::new(NAME))?;
    let len = source.len();
    let opened = ::convert::open_source_with(Arc::new(source), options)?;
    let found = opened.image.virtual_size();
    if let Some(size) = size
        && round_up(size, SECTOR) != Some(found)
    {
        return Err(refused(
            format!(
                "the size given is {size} bytes, the {} image on standard input ({len} bytes) has a \
                 disk of {found}",
                opened.format
            ),
            ImportHint::LeaveSizeOut,
        ));
    }
    Ok(whole(opened, path))
}

/// Refuses a size for a disk that tells its own.
fn refuse_size(size: Option<u64>, opened: &Opened) -> Result {
    match size {
        Some(_) if !opened.image.details().streamed => Err(needless_size()),
        _ => Ok(()),
    }
}

fn needless_size() -> Failure {
    refused(
        "a size is given only for disks that are compressed or come through standard input",
        ImportHint::LeaveSizeOut,
    )
}

/// Refuses - where a file is needed.
pub fn refuse_standard_input(path: &Path) -> Result {
    if !is_standard_input(path) {
        return Ok(());
    }
    Err(refused(
        "standard input is no file that can be examined",
        ImportHint::NameFile,
    ))
}

fn refused(message: impl Into<String>, hint: impl Into<Hint>) -> Failure {
    Failure::new(Class::Refused, message).hint(hint)
}
