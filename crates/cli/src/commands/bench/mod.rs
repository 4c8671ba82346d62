//! `imgferry bench`: what this machine, its disks and its line can do, and which settings suit
//! them.
//!
//! ```text
//!  view ──▶ work ──▶ ┐
//!  (image)  cloud ─▶ ├─ figures ──▶ advice ──▶ report: table, JSON
//!           peer ──▶ ┘  (stats)     (a rule)   html:   page with charts
//! ```
//!
//! Everything is measured once in each round, so that what else the machine does meets all stages
//! alike.

mod advice;
mod cloud;
mod figures;
mod html;
mod machine;
mod peer;
mod plots;
mod report;
mod rounds;
mod source;
mod stats;
mod view;
mod work;

use std::path::{Path, PathBuf};
use std::time::Instant;

use ::convert::{OutputFile, Sink as _, encoding_threads};

use self::cloud::{Local, Place};
use self::peer::Peer as QemuImg;
use self::report::{Report, Settings};
use self::rounds::{Rounds, Steps};
use self::source::Input;
use self::view::BLOCK;
use crate::args::{BenchArgs, Peer};
use crate::commands::bitmap::overwrite;
use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome};
use crate::interrupt::Interrupt;
use ::import::peak_memory;

/// Version of the JSON form.
const VERSION: u32 = 1;
/// What is written and uploaded by itself is no more than this, however large `--size` is.
const MOST_WRITTEN: u64 = 1 << 30;

pub(crate) async fn run(args: &BenchArgs, console: Console, interrupt: &Interrupt) -> Outcome {
    let dir = args.dir.clone().unwrap_or_else(|| PathBuf::from("."));
    // What can be refused is refused before a minute is spent on measuring.
    let page = match &args.html {
        Some(path) => Some(page_at(path, args)?),
        None => None,
    };
    let version = match args.against {
        Some(Peer::QemuImg) => Some(QemuImg::version(args).await?),
        None => None,
    };
    let upload = Place::open(args, interrupt).await?;
    let temporary = source::temporary(&dir)?;
    let bench = Bench {
        args,
        dir: temporary.path(),
        console,
        interrupt,
    };
    let measured = bench.measure(version, upload).await;
    // The first error is the one to see.
    let report = match (measured, temporary.close()) {
        (Ok(report), Ok(())) => report,
        (Ok(_), Err(e)) => {
            return Err(Failure::from_error(Exit::Io, &e)
                .context("what was written for measuring cannot be removed"));
        }
        (Err(failure), Ok(())) => return Err(failure),
        (Err(failure), Err(e)) => {
            return Err(failure.note(format!(
                "what was written for measuring cannot be removed: {e}"
            )));
        }
    };
    for warning in &report.warnings {
        console.warn(warning);
    }
    if let Some(page) = page {
        write_page(page, &report).map_err(|failure| failure.data("bench", &report))?;
    }
    console.result(&report, &report)
}

/// Begins the page; it appears when it is complete.
fn page_at(path: &Path, args: &BenchArgs) -> Outcome<OutputFile> {
    let overwrite = overwrite(args.force);
    Ok(match &args.image {
        Some(image) => OutputFile::create_from(image, path, overwrite)?,
        None => OutputFile::create(path, overwrite)?,
    })
}

fn write_page(mut page: OutputFile, report: &Report) -> Outcome {
    page.write(html::page(report).as_bytes())
        .map_err(::convert::Error::Sink)?;
    Ok(page.commit()?)
}

/// One run of the command.
struct Bench<'a> {
    args: &'a BenchArgs,
    /// Everything that is written is in here.
    dir: &'a Path,
    console: Console,
    interrupt: &'a Interrupt,
}

impl Bench<'_> {
    async fn measure(&self, version: Option<String>, upload: Option<Place>) -> Outcome<Report> {
        let started = Instant::now();
        let (args, cancel) = (self.args, self.interrupt.token());
        let compares = version.is_some();
        if args.image.is_none() {
            source::require_space(self.dir, needed(args.size, args.size, true, compares))?;
            self.console.notice("generating a disk");
        }
        let input =
            tokio::task::block_in_place(|| source::open(args, self.dir, self.console, cancel))?;
        if args.image.is_some() {
            let source = &input.source;
            let needed = needed(source.measured_bytes, source.data_bytes, false, compares);
            source::require_space(self.dir, needed)?;
        }
        let peer = match version {
            Some(version) => {
                let image = (input.path.as_path(), input.source.format);
                Some(QemuImg::new(args, version, image, self.dir)?)
            }
            None => None,
        };
        let rounds = Rounds::new(args, &input, self.dir, self.interrupt);
        self.console.notice(format_args!(
            "measuring with {} in {} rounds; memory at most {}",
            diskimg::units::human(input.source.measured_bytes),
            args.repeat,
            diskimg::units::human(rounds.memory_bound()?)
        ));
        let local = Local::start(args, self.dir).await?;
        let mut count = rounds.steps(upload.is_some());
        if peer.is_some() {
            count += QemuImg::steps(args.repeat);
        }
        let mut steps = Steps::new(self.console, count);
        let measured = self.all(rounds, local, upload, &mut steps).await?;
        let against = match peer {
            Some(peer) => {
                self.console.notice("comparing with qemu-img");
                Some(
                    peer.compare(args.repeat, self.interrupt, |what| steps.show(what))
                        .await?,
                )
            }
            None => None,
        };
        drop(steps);
        input.watch.unchanged()?;
        self.report(&input, measured, against, started)
    }

    /// All rounds; the sandbox is stopped however they end.
    async fn all(
        &self,
        rounds: Rounds<'_>,
        mut local: Local,
        upload: Option<Place>,
        steps: &mut Steps,
    ) -> Outcome<rounds::Measured> {
        let ended = rounds.run(&mut local, upload.as_ref(), steps).await;
        match (ended, local.stop().await) {
            (Ok(measured), Ok(())) => Ok(measured),
            (Ok(_), Err(failure)) | (Err(failure), Ok(())) => Err(failure),
            (Err(failure), Err(later)) => Err(failure.note(later.to_string())),
        }
    }

    fn report(
        &self,
        input: &Input,
        measured: rounds::Measured,
        against: Option<peer::Against>,
        started: Instant,
    ) -> Outcome<Report> {
        let args = self.args;
        let mut warnings = measured.warnings;
        if against.is_some() && !input.source.whole {
            warnings.push(
                "the comparison with qemu-img is of the whole image, everything else of a part of it"
                    .to_owned(),
            );
        }
        if input.source.in_page_cache {
            warnings.push(
                "the image is in the page cache: reading it was not held up by its disk".to_owned(),
            );
        }
        Ok(Report {
            version: VERSION,
            machine: machine::Machine::this(self.dir, args.image.as_deref()),
            source: input.source.clone(),
            settings: Settings {
                repeat: args.repeat,
                levels: measured.levels,
                threads: measured.threads,
                measured_level: measured.level,
                size_bytes: args.size,
                upload: args.upload.as_ref().map(ToString::to_string),
                default_level: zvhd2::DEFAULT_LEVEL,
                default_threads: encoding_threads(),
            },
            advice: measured
                .rates
                .as_ref()
                .and_then(advice::advise)
                .map(|mut advice| {
                    let import = advice.import.as_mut();
                    if let Some(import) = import.filter(|import| import.level == measured.level) {
                        import.measured_bytes_per_second = measured.transfer;
                    }
                    advice
                }),
            figures: measured.figures,
            data_share: measured.data_share,
            against,
            warnings,
            peak_memory_bytes: peak_memory(),
            elapsed_seconds: started.elapsed().as_secs_f64(),
        })
    }
}

/// Bytes that the stage of writing writes, when `measured` are measured with.
fn write_len(measured: u64) -> u64 {
    (measured / 2).clamp(BLOCK, MOST_WRITTEN)
}

/// Bytes that the stage of uploading uploads.
fn upload_len(measured: u64) -> u64 {
    (measured / 4).clamp(BLOCK, MOST_WRITTEN)
}

/// Most bytes that are on disk at any time.
fn needed(measured: u64, data: u64, generated: bool, compares: bool) -> u64 {
    // Nothing compresses, and the sandbox has parts and the object they are joined to.
    let object = measured.saturating_add(measured / 64);
    let stage = [
        write_len(measured),
        object.saturating_mul(2),
        upload_len(measured).saturating_mul(2),
        if compares { data } else { 0 },
    ];
    let disk = if generated { measured } else { 0 };
    stage
        .into_iter()
        .max()
        .unwrap_or(0)
        .saturating_add(disk)
        .saturating_add(16 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_space_covers_the_largest_stage_and_the_generated_disk() {
        let gib = 1 << 30;
        assert!(needed(gib, gib, true, false) >= 3 * gib);
        assert!(needed(gib, gib, false, false) < needed(gib, gib, true, false));
        // The whole image is converted for a comparison.
        assert!(needed(gib, 100 * gib, false, true) >= 100 * gib);
        assert!(needed(gib, 100 * gib, false, false) < 4 * gib);
        assert_eq!(needed(u64::MAX, u64::MAX, true, true), u64::MAX);
    }

    #[test]
    fn what_is_written_follows_the_size_within_bounds() {
        assert_eq!(write_len(BLOCK), BLOCK);
        assert_eq!(write_len(512 << 20), 256 << 20);
        assert_eq!(upload_len(512 << 20), 128 << 20);
        assert_eq!(write_len(u64::MAX), MOST_WRITTEN);
    }
}
