//! `imgferry convert`: a local image to ZVHD2 or raw.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use ::convert::bitmap::{Figures, ZVHD2_SECTION};
use ::convert::{
    CancelToken, Level, Monitor, OutputFile, Overwrite, Plan, PlanOptions, Report, Sink, SinkError,
    SinkMemory, Target, to_raw_with_bitmap,
};
use diskimg::DiskImage;
use diskimg::text::{other_than, shown};
use diskimg::units::human;
use freespace::FreeSpace;
use serde_json::json;

use super::{bitmap, target_by_name, typed};
use crate::args::{ConvertArgs, HolesMode, TargetFormat, WorkArgs};
use crate::console::Console;
use crate::progress::Progress;
use ::import::{
    CAUTION, Reading, Watch, bitmap_beside, check_bitmap_name, identity, open_input, public_name,
    warn_of_holes, warn_of_more, with_holes, without_free,
};
use cloud::{Class, Failure, Result};

pub(crate) fn run(args: &ConvertArgs, console: Console, cancel: &CancelToken) -> Result {
    let to_stdout = args.dst.as_os_str() == "-";
    let target = target(args, to_stdout, console)?;
    if to_stdout {
        refuse_stdout(target, args, console)?;
    }
    if args.bitmap && target != Target::Raw {
        return Err(Failure::new(
            Class::Refused,
            format!("--bitmap belongs to raw, the target is {target}, which needs no bitmap file"),
        )
        .hint("pass --to raw, or leave --bitmap out"));
    }
    let reading = Reading {
        size: args.pipe.size,
        threads: args.work.threads.threads,
        observer: &console,
        cancel,
        force_share: args.source.share.force_share,
        ignore_manifest: args.package.ignore_manifest,
    };
    let disk = args.package.disk(&args.src);
    let input = open_input(&disk, &args.source.options(), reading)?;
    let watch = input.watch;
    let (image, misreported) =
        with_holes(input.opened.image, args.holes.holes == HolesMode::Verify);
    let wanted = args.free.options();
    let (image, discarded) = without_free(image, &disk.name(), wanted, &console, cancel)?;
    let image = image.as_ref();
    let plan = plan(image, target, &args.work).map_err(|error| watch.cause(error))?;
    warn_of_more(image, &disk.name(), &input.warnings, &console);
    console.notice(&plan);
    watch.verify()?;
    let progress = Progress::new(console, "converting", image.virtual_size(), false);
    let converting = Converting {
        args,
        image,
        plan: &plan,
        watch: &watch,
        monitor: progress.as_ref(),
        cancel,
    };
    let (report, bitmap) = match to_stdout {
        true => (converting.to_stdout()?, None),
        false => converting.to_file(target)?,
    };
    progress.finish();
    warn_of_holes(misreported.as_ref(), &console);
    if to_stdout {
        console.notice(summary(&report));
        return Ok(());
    }
    show(args, &plan, &report, (bitmap, discarded), console)
}

/// A bitmap file that was written.
type BitmapWritten = (PathBuf, Figures);

/// A conversion that is about to begin.
struct Converting<'a> {
    args: &'a ConvertArgs,
    image: &'a dyn DiskImage,
    plan: &'a Plan,
    watch: &'a Watch,
    monitor: &'a dyn Monitor,
    cancel: &'a CancelToken,
}

impl Converting<'_> {
    fn to_zvhd2(&self, sink: &mut dyn Sink) -> Result<Report, ::convert::Error> {
        let (monitor, cancel) = (self.monitor, self.cancel);
        ::convert::to_zvhd2(self.image, self.plan, identity(), sink, monitor, cancel)
    }

    fn to_stdout(&self) -> Result<Report> {
        let mut sink = Stdout(io::stdout(), self.cancel.clone());
        let report = self.to_zvhd2(&mut sink);
        let report = report.map_err(|error| match error {
            ::convert::Error::Sink(error) => unwritten(error, self.args),
            error => self.watch.cause(error),
        })?;
        sink.0
            .flush()
            .map_err(|error| unwritten(error.into(), self.args))?;
        self.watch.unchanged()?;
        Ok(report)
    }

    fn to_file(&self, target: Target) -> Result<(Report, Option<BitmapWritten>)> {
        let args = self.args;
        let overwrite = bitmap::overwrite(args.force);
        let sources = self.watch.sources();
        let mut file = OutputFile::create_from(&sources, &args.dst, overwrite)?;
        if args.no_sync {
            file = file.without_sync();
        }
        let beside = match args.bitmap {
            true => Some(bitmap_file(args, &sources, overwrite)?),
            false => None,
        };
        // When everything is read, what is data and needs space shows only then.
        if args.holes.holes == HolesMode::Trust {
            file.require_space(self.plan.least_output_bytes())?;
        }
        if let (Target::Raw, Some(beside)) = (target, beside) {
            let (report, bitmap) = self.to_raw_with_bitmap(file, beside)?;
            return Ok((report, Some(bitmap)));
        }
        let (image, plan) = (self.image, self.plan);
        let report = match target {
            Target::Zvhd2 => self.to_zvhd2(&mut file),
            Target::Raw => ::convert::to_raw(image, plan, &file, self.monitor, self.cancel),
        };
        let report = report.map_err(|error| self.watch.cause(error))?;
        self.watch.unchanged()?;
        file.commit()?;
        Ok((report, None))
    }

    fn to_raw_with_bitmap(
        &self,
        file: OutputFile,
        beside: OutputFile,
    ) -> Result<(Report, BitmapWritten)> {
        let (image, monitor, cancel) = (self.image, self.monitor, self.cancel);
        let written = to_raw_with_bitmap(image, self.plan, &file, ZVHD2_SECTION, monitor, cancel);
        let (report, found) = written.map_err(|error| self.watch.cause(error))?;
        let path = beside.target().to_owned();
        self.watch.unchanged()?;
        file.commit()?;
        // Last: a bitmap that is there belongs to a disk that is there.
        bitmap::commit(beside, &found).map_err(|failure| {
            failure.note(format!(
                "{} is complete; imgferry bitmap makes its bitmap file again",
                shown(&self.args.dst)
            ))
        })?;
        Ok((report, (path, found.figures())))
    }
}

/// Shows the files that were written.
fn show(
    args: &ConvertArgs,
    plan: &Plan,
    report: &Report,
    (bitmap, discarded): (Option<BitmapWritten>, Option<FreeSpace>),
    console: Console,
) -> Result {
    let mut text = summary(report);
    let mut data =
        json!({ "path": args.dst.display().to_string(), "plan": plan, "report": report });
    if let (Some(discarded), Some(data)) = (&discarded, data.as_object_mut()) {
        data.insert("discarded".into(), json!(discarded));
    }
    if let Some((path, figures)) = bitmap {
        text.push_str(&format!(
            "\nbitmap {}, {} blocks marked",
            shown(&path),
            figures.marked
        ));
        console.notice(CAUTION);
        if let Some(data) = data.as_object_mut() {
            data.insert(
                "bitmap".into(),
                json!({ "path": path.display().to_string(), "figures": figures }),
            );
        }
    }
    console.result(format_args!("{}\n{text}", shown(&args.dst)), &data)
}

/// Begins the bitmap file beside the raw file.
fn bitmap_file(args: &ConvertArgs, sources: &[&Path], overwrite: Overwrite) -> Result<OutputFile> {
    let path = bitmap_beside(&args.dst)?;
    check_bitmap_name(&args.dst, &path)?;
    let file = OutputFile::create_from(sources, &path, overwrite)?;
    Ok(if args.no_sync {
        file.without_sync()
    } else {
        file
    })
}

/// The target format: as given, else by the name of the target, else ZVHD2.
fn target(args: &ConvertArgs, to_stdout: bool, console: Console) -> Result<Target> {
    match args.to {
        Some(TargetFormat::Raw) => return Ok(Target::Raw),
        Some(TargetFormat::Zvhd2) => return Ok(Target::Zvhd2),
        None if to_stdout => return Ok(Target::Zvhd2),
        None => {}
    }
    let anyway = "; or say what to write into a file of this name: --to zvhd2 or --to raw";
    let by_name = target_by_name(&args.dst, anyway)?;
    if by_name.is_none() {
        console.warn(format_args!(
            "{}: the name does not say which format to write; ZVHD2 is written (--to zvhd2 or --to raw says it)",
            shown(&args.dst)
        ));
    }
    Ok(by_name.unwrap_or(Target::Zvhd2))
}

fn refuse_stdout(target: Target, args: &ConvertArgs, console: Console) -> Result {
    let refused = |message| Err(Failure::new(Class::Refused, message));
    if console.json {
        return refused("--json and an image cannot both go to standard output");
    }
    if target == Target::Raw {
        let source = typed(&public_name(&args.src), "IMAGE");
        return Err(Failure::new(
            Class::Refused,
            "raw goes to a file: its workers write at many places at once",
        )
        .hint(format!(
            "write a file first: imgferry convert {source} {}; or stream ZVHD2: imgferry convert {source} - --to zvhd2 | …",
            other_than(&args.src, "disk.raw")
        )));
    }
    if io::stdout().is_terminal() {
        return refused("an image is not written to a terminal");
    }
    Ok(())
}

/// Plans without an upload: nothing tells there how much time a line leaves.
fn plan(image: &dyn DiskImage, target: Target, args: &WorkArgs) -> Result<Plan, ::convert::Error> {
    let mut options = options(args);
    let by_line = options.level == Level::Auto && target == Target::Zvhd2;
    if by_line {
        options.level = Level::default();
    }
    if target == Target::Zvhd2 {
        options.upload_memory = SinkMemory::fixed(OutputFile::MEMORY);
    }
    let mut plan = ::convert::plan(image, target, &options)?;
    if by_line {
        plan.notes.push(format!(
            "--level auto follows the line of an upload, as in imgferry import; here it is level {}",
            options.level
        ));
    }
    Ok(plan)
}

pub(crate) fn options(args: &WorkArgs) -> PlanOptions {
    PlanOptions {
        threads: args.threads.threads,
        level: args.level,
        memory: args.memory,
        ..PlanOptions::default()
    }
}

/// What was done, in figures.
pub(crate) fn summary(report: &Report) -> String {
    let seconds = report.elapsed.as_secs_f64();
    format!(
        "digest {}\nread {}, skipped {} without reading, found {} of zeros\nwrote {} in {seconds:.1} s",
        report.digest,
        human(report.read_bytes),
        human(report.skipped_bytes),
        human(report.zero_bytes),
        human(report.written_bytes),
    )
}

/// The failure of writing to standard output.
fn unwritten(error: SinkError, args: &ConvertArgs) -> Failure {
    let cause = error.downcast_ref::<io::Error>();
    let nobody_reads = cause.is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe);
    let failure =
        Failure::from(::convert::Error::Sink(error)).context("standard output cannot be written");
    match nobody_reads {
        true => failure.hint(format!(
            "the program that reads the pipe ended before the image did: see what it says, or write to a file and not to - with: imgferry convert {} {}",
            typed(&public_name(&args.src), "IMAGE"),
            other_than(&args.src, "disk.zvhd2")
        )),
        false => failure,
    }
}

/// Standard output as a sink.
struct Stdout(io::Stdout, CancelToken);

/// Bytes that a slow reader takes, at most, before an interruption is seen.
const STDOUT_PIECE: usize = 256 << 10;

impl Sink for Stdout {
    fn write(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        let mut out = self.0.lock();
        for piece in bytes.chunks(STDOUT_PIECE) {
            if self.1.is_cancelled() {
                return Err(Box::new(::convert::Error::Cancelled));
            }
            out.write_all(piece)?;
        }
        Ok(())
    }
}
