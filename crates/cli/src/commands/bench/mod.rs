//! `imgferry bench`: its options, and its report as text, JSON and a page.

mod html;
mod text;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ::bench::{Bench, Event, Image, Options, Ours, Place, QemuImg, Report};
use ::convert::{OutputFile, Sink as _};
use ::import::{Reading, SourceDisk, open_input, refuse_standard_input};
use cloud::{Class, Failure, ProcessEnvironment, Result, Session, SessionOptions, StopToken};
use diskimg::text::shown;
use diskimg::units::human;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::args::{BenchArgs, Peer, SourceArgs};
use crate::commands::bitmap::overwrite;
use crate::console::Console;

pub(crate) async fn run(args: &BenchArgs, console: Console, stop: &StopToken) -> Result {
    // What can be refused is refused before a minute is spent on measuring.
    let page = match &args.html {
        Some(path) => Some(page_at(path, args)?),
        None => None,
    };
    let against = match args.against {
        Some(Peer::QemuImg) => Some(QemuImg::find(ours(&args.source)?).await?),
        None => None,
    };
    let options = options(args);
    let upload = place(args, &options, stop).await?;
    let image = match &args.image {
        Some(path) => Some(tokio::task::block_in_place(|| {
            image(path, args, console, stop)
        })?),
        None => None,
    };
    let progress = Progress::new(console, args.repeat);
    let bench = Bench {
        options: &options,
        image,
        upload,
        against,
        observer: &|event| progress.show(event),
        stop,
    };
    let measured = bench.run().await;
    drop(progress);
    let report = measured?;
    for warning in &report.warnings {
        console.warn(warning);
    }
    if let Some(page) = page {
        write_page(page, &report).map_err(|failure| failure.data("bench", &report))?;
    }
    console.result(text::Text(&report), &report)
}

fn options(args: &BenchArgs) -> Options {
    let sandbox = args.cloud.sandbox.as_ref();
    Options {
        levels: args.levels.clone(),
        threads: args.threads.clone(),
        repeat: args.repeat,
        size: args.size,
        dir: args.dir.clone().unwrap_or_else(|| PathBuf::from(".")),
        sandbox: sandbox.and_then(Option::clone),
        concurrency: args.pace.concurrency,
        rate_limit: args.pace.limit_rate,
    }
}

fn image(path: &Path, args: &BenchArgs, console: Console, stop: &StopToken) -> Result<Image> {
    refuse_standard_input(path)?;
    let reading = Reading {
        size: None,
        threads: None,
        observer: &console,
        cancel: stop.token(),
        force_share: args.source.share.force_share,
        ignore_manifest: true,
    };
    let disk = SourceDisk::in_package(path, args.disk.clone());
    let input = open_input(&disk, &args.source.options(), reading)?;
    if args.against.is_some() && (input.is_packaged || input.opened.image.details().streamed) {
        return Err(Failure::new(
            Class::Refused,
            format!(
                "{}: qemu-img reads neither packages nor compressed disks",
                shown(&disk.name())
            ),
        )
        .hint("leave --against out, or unpack the disk first"));
    }
    let watch = input.watch;
    Ok(Image {
        path: path.to_owned(),
        opened: input.opened,
        unchanged: Box::new(move || watch.unchanged()),
    })
}

/// The bucket that the user names.
async fn place(args: &BenchArgs, options: &Options, stop: &StopToken) -> Result<Option<Place>> {
    let Some(target) = &args.upload else {
        return Ok(None);
    };
    let cloud =
        cloud::resolve(&args.cloud.options(), &ProcessEnvironment).map_err(cloud::rejected)?;
    let needs = SessionOptions {
        rate_limit: options.rate_limit,
        ..SessionOptions::default()
    };
    let session = Session::connect(cloud, needs)?;
    let target = (target.bucket.as_str(), target.key.as_str());
    Place::open(&session, target, options.concurrency, stop)
        .await
        .map(Some)
}

/// How this program converts the same image.
fn ours(source: &SourceArgs) -> Result<Ours> {
    if source.snapshot.is_some() {
        return Err(Failure::new(
            Class::Refused,
            "--against reads the active disk, --snapshot another one",
        )
        .hint("leave one of them out"));
    }
    let mut options = Vec::new();
    let mut option = |name: &str, value: &OsStr| {
        options.push(OsString::from(name));
        options.push(value.to_owned());
    };
    if let Some(format) = source.format {
        option("--format", format.to_string().as_ref());
    }
    if let Some(dir) = &source.backing.allow_backing {
        option("--allow-backing", dir.as_os_str());
    }
    if let Some(format) = source.backing.backing_format {
        option("--backing-format", format.to_string().as_ref());
    }
    let convert_to = |format: &str| {
        let words = ["convert", "--quiet", "--no-sync", "--to", format];
        words
            .into_iter()
            .map(OsString::from)
            .chain(options.iter().cloned())
            .collect()
    };
    Ok(Ours {
        program: std::env::current_exe().map_err(|e| {
            Failure::from_error(Class::Io, &e).context("the path of this program is unknown")
        })?,
        raw: convert_to("raw"),
        compressed: convert_to("zvhd2"),
    })
}

/// Begins the page; it appears when it is complete.
fn page_at(path: &Path, args: &BenchArgs) -> Result<OutputFile> {
    let overwrite = overwrite(args.force);
    Ok(match &args.image {
        Some(image) => OutputFile::create_from(&[image], path, overwrite)?,
        None => OutputFile::create(path, overwrite)?,
    })
}

fn write_page(mut page: OutputFile, report: &Report) -> Result {
    page.write(html::page(report).as_bytes())
        .map_err(::convert::Error::Sink)?;
    Ok(page.commit()?)
}

/// How far the bench is: a bar on a terminal, a line for each round elsewhere.
struct Progress {
    console: Console,
    rounds: u32,
    bar: Mutex<Option<ProgressBar>>,
}

impl Progress {
    fn new(console: Console, rounds: u32) -> Self {
        Self {
            console,
            rounds,
            bar: Mutex::new(None),
        }
    }

    fn show(&self, event: Event<'_>) {
        let Ok(mut bar) = self.bar.lock() else { return };
        match event {
            Event::Generating => self.console.notice("generating a disk"),
            Event::Measuring {
                bytes,
                rounds,
                memory,
                steps,
            } => {
                self.console.notice(format_args!(
                    "measuring with {} in {rounds} rounds; memory at most {}",
                    human(bytes),
                    human(memory)
                ));
                *bar = self.console.bars().then(|| new_bar(steps));
            }
            Event::Round(round) if bar.is_none() => {
                self.console
                    .notice(format_args!("round {round} of {}", self.rounds));
            }
            Event::Round(_) => {}
            Event::Step(what) => {
                if let Some(bar) = &*bar {
                    bar.set_message(what.to_owned());
                    bar.inc(1);
                }
            }
            Event::Comparing => self.console.notice("comparing with qemu-img"),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Ok(Some(bar)) = self.bar.get_mut() {
            bar.finish_and_clear();
        }
    }
}

const BAR: &str = "[{bar:32}] {pos} of {len}  {elapsed}  {msg}";

fn new_bar(steps: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template(BAR);
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style.progress_chars("=> "));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bars_template_is_valid() {
        assert!(ProgressStyle::with_template(BAR).is_ok());
    }
}
