//! The same work by `qemu-img`, in turns with this program as it is started from a shell.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use diskimg::Format;
use serde::Serialize;
use tokio::process::Command;

use super::stats::Spread;
use super::work::remove;
use crate::args::BenchArgs;
use crate::exit::{Exit, Failure, Outcome};
use crate::interrupt::{Interrupt, interrupted};

/// What both programs do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Task {
    /// A raw file.
    Raw,
    /// A compressed one: ZVHD2, or qcow2 with zstd.
    Compressed,
}

impl Task {
    pub(super) const ALL: [Self; 2] = [Self::Raw, Self::Compressed];

    /// For people.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Raw => "to raw",
            Self::Compressed => "to ZVHD2 / qcow2 with zstd",
        }
    }
}

/// What one program came to.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Side {
    /// As it was called, with SRC and OUT for the files.
    pub(super) command: String,
    /// Until the program ended.
    pub(super) seconds: Spread,
    /// Until the disk had the output: the same, and the flush of the file.
    pub(super) seconds_flushed: Spread,
    /// Bytes that the output takes on its disk.
    pub(super) output_bytes_on_disk: u64,
}

/// Both programs.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Comparison {
    pub(super) task: Task,
    pub(super) imgferry: Side,
    pub(super) qemu_img: Side,
    /// Seconds of qemu-img to those of imgferry, both flushed: above 1 imgferry is faster.
    pub(super) speedup: f64,
}

/// Everything that was compared.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Against {
    pub(super) program: &'static str,
    pub(super) version: String,
    pub(super) comparisons: Vec<Comparison>,
}

/// Both programs, ready to be run.
pub(super) struct Peer {
    version: String,
    ours: PathBuf,
    image: PathBuf,
    /// Options by which this program opens the image.
    options: Vec<OsString>,
    format: &'static str,
    dir: PathBuf,
}

/// One run.
struct Timed {
    ended: f64,
    flushed: f64,
    output: u64,
}

impl Peer {
    /// Looks for qemu-img, before anything else is done.
    pub(super) async fn version(args: &BenchArgs) -> Outcome<String> {
        if args.source.snapshot.is_some() {
            return Err(Failure::new(
                Exit::Refused,
                "--against reads the active disk, --snapshot another one",
            )
            .hint("leave one of them out"));
        }
        let found = Command::new("qemu-img")
            .arg("--version")
            .stdin(Stdio::null())
            .output()
            .await;
        let output = found.map_err(|e| {
            let failure =
                Failure::from_error(Exit::Refused, &e).context("qemu-img cannot be started");
            failure.hint("install it (qemu-utils, qemu-img), or leave --against out")
        })?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.lines().next().unwrap_or("qemu-img").trim().to_owned())
    }

    pub(super) fn new(
        args: &BenchArgs,
        version: String,
        (image, format): (&Path, Format),
        dir: &Path,
    ) -> Outcome<Self> {
        let format = match format {
            Format::Raw => "raw",
            Format::Qcow2 => "qcow2",
            Format::Vhd => "vpc",
            Format::Vhdx => "vhdx",
            _ => {
                return Err(Failure::new(
                    Exit::Refused,
                    format!("qemu-img does not read {format}"),
                )
                .hint("leave --against out"));
            }
        };
        let failed = |e: &io::Error| {
            Failure::from_error(Exit::Io, e).context("this program's own file is not known")
        };
        let mut options = Vec::new();
        let mut option = |name: &str, value: &OsStr| {
            options.push(OsString::from(name));
            options.push(value.to_owned());
        };
        if let Some(format) = args.source.format {
            option("--format", format.to_string().as_ref());
        }
        if let Some(dir) = &args.source.backing.allow_backing {
            option("--allow-backing", dir.as_os_str());
        }
        if let Some(format) = args.source.backing.backing_format {
            option("--backing-format", format.to_string().as_ref());
        }
        Ok(Self {
            version,
            ours: std::env::current_exe().map_err(|e| failed(&e))?,
            // As a path from the root it cannot be taken for an address or an option.
            image: std::path::absolute(image).map_err(|e| failed(&e))?,
            options,
            format,
            dir: dir.to_owned(),
        })
    }

    /// How often the step of [`Peer::compare`] is called.
    pub(super) fn steps(repeat: u32) -> u64 {
        1 + 2 * Task::ALL.len() as u64 * u64::from(repeat)
    }

    /// Runs both programs in turns; `step` is told of each run.
    pub(super) async fn compare(
        self,
        repeat: u32,
        interrupt: &Interrupt,
        mut step: impl FnMut(&str),
    ) -> Outcome<Against> {
        step("warming the page cache");
        self.theirs(Task::Raw, interrupt).await?;
        let mut comparisons = Vec::new();
        for task in Task::ALL {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for _ in 0..repeat {
                step(&format!("imgferry {}", task.title()));
                ours.push(self.ours(task, interrupt).await?);
                step(&format!("qemu-img {}", task.title()));
                theirs.push(self.theirs(task, interrupt).await?);
            }
            let both =
                side(self.our_command(task), &ours).zip(side(self.their_command(task), &theirs));
            if let Some((imgferry, qemu_img)) = both {
                let speedup =
                    qemu_img.seconds_flushed.median / imgferry.seconds_flushed.median.max(1e-9);
                comparisons.push(Comparison {
                    task,
                    imgferry,
                    qemu_img,
                    speedup,
                });
            }
        }
        Ok(Against {
            program: "qemu-img",
            version: self.version,
            comparisons,
        })
    }

    fn our_arguments(task: Task) -> &'static [&'static str] {
        // The flush is timed apart, for both in the same way.
        match task {
            Task::Raw => &["convert", "--quiet", "--no-sync", "--to", "raw"],
            Task::Compressed => &["convert", "--quiet", "--no-sync", "--to", "zvhd2"],
        }
    }

    fn their_arguments(task: Task) -> &'static [&'static str] {
        match task {
            Task::Raw => &["convert", "-O", "raw", "-W", "-m", "16"],
            Task::Compressed => &[
                "convert",
                "-c",
                "-O",
                "qcow2",
                "-o",
                "compression_type=zstd",
            ],
        }
    }

    fn our_command(&self, task: Task) -> String {
        let options: Vec<_> = self
            .options
            .iter()
            .map(|o| o.to_string_lossy().into_owned())
            .collect();
        let words: Vec<&str> = Self::our_arguments(task)
            .iter()
            .copied()
            .chain(options.iter().map(String::as_str))
            .collect();
        format!("imgferry {} SRC OUT", words.join(" "))
    }

    fn their_command(&self, task: Task) -> String {
        format!(
            "qemu-img {} -f {} SRC OUT",
            Self::their_arguments(task).join(" "),
            self.format
        )
    }

    async fn ours(&self, task: Task, interrupt: &Interrupt) -> Outcome<Timed> {
        let mut command = Command::new(&self.ours);
        command.args(Self::our_arguments(task)).args(&self.options);
        self.run(command, interrupt).await
    }

    async fn theirs(&self, task: Task, interrupt: &Interrupt) -> Outcome<Timed> {
        let mut command = Command::new("qemu-img");
        command
            .args(Self::their_arguments(task))
            .args(["-f", self.format]);
        self.run(command, interrupt).await
    }

    /// Runs `command` with the image and an output, which is removed.
    async fn run(&self, mut command: Command, interrupt: &Interrupt) -> Outcome<Timed> {
        let name = command
            .as_std()
            .get_program()
            .to_string_lossy()
            .into_owned();
        let failed = |e: &io::Error| {
            Failure::from_error(Exit::Io, e).context(format!("{name} cannot be measured"))
        };
        let out = self.dir.join("compared");
        command.arg(&self.image).arg(&out);
        let started = Instant::now();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| failed(&e))?;
        let stderr = child.stderr.take();
        let said = async {
            let mut text = Vec::new();
            if let Some(mut stderr) = stderr {
                // What a program says is read to its end, so that it never waits; its head is
                // shown.
                let _ = tokio::io::AsyncReadExt::read_to_end(&mut stderr, &mut text).await;
            }
            text
        };
        let ended = tokio::select! {
            biased;
            () = interrupt.asked() => None,
            (status, said) = async { tokio::join!(child.wait(), said) } => Some((status, said)),
        };
        let Some((status, said)) = ended else {
            // Waited for, so that it writes nothing after the directory is gone.
            let _ = child.kill().await;
            return Err(interrupted());
        };
        let status = status.map_err(|e| failed(&e))?;
        let seconds = started.elapsed().as_secs_f64();
        if !status.success() {
            let said = String::from_utf8_lossy(&said);
            return Err(Failure::new(
                Exit::Io,
                format!("{name} ended with {status}: {}", first_lines(&said)),
            ));
        }
        let output = tokio::task::block_in_place(|| {
            let file = File::open(&out)?;
            file.sync_all()?;
            Ok(file.metadata()?.blocks().saturating_mul(512))
        })
        .map_err(|e| failed(&e))?;
        let flushed = started.elapsed().as_secs_f64();
        remove(&out)?;
        Ok(Timed {
            ended: seconds,
            flushed,
            output,
        })
    }
}

/// What another program said, short and without anything that steers a terminal.
fn first_lines(text: &str) -> String {
    let text: String = text.chars().take(400).collect();
    text.lines()
        .map(diskimg::printable)
        .collect::<Vec<_>>()
        .join("; ")
}

fn side(command: String, runs: &[Timed]) -> Option<Side> {
    let of = |value: fn(&Timed) -> f64| Spread::of(&runs.iter().map(value).collect::<Vec<_>>());
    Some(Side {
        command,
        seconds: of(|run| run.ended)?,
        seconds_flushed: of(|run| run.flushed)?,
        output_bytes_on_disk: runs.last()?.output,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_says_is_short_and_harmless() {
        assert_eq!(first_lines("a\u{1b}[2J\nb\n"), "a\\u{1b}[2J; b");
        assert!(first_lines(&"x".repeat(10_000)).len() <= 400);
    }
}
