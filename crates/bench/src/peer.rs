//! The same work by `qemu-img`, in turns with this program, both started as from a shell.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use cloud::{Class, Failure, Hint, Result, StopToken, stopped};
use diskimg::Format;
use serde::Serialize;
use tokio::process::Command;

use crate::stats::Spread;
use crate::work::remove;

/// What both programs do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// A raw file.
    Raw,
    /// A compressed one: ZVHD2, or qcow2 with zstd.
    Compressed,
}

impl Task {
    /// Every task.
    pub const ALL: [Self; 2] = [Self::Raw, Self::Compressed];

    /// For people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Raw => "to raw",
            Self::Compressed => "to ZVHD2 / qcow2 with zstd",
        }
    }
}

/// The results of one program.
#[derive(Clone, Debug, Serialize)]
pub struct Side {
    /// How it was called, with SRC and OUT for the files.
    pub command: String,
    /// Until the program ended.
    pub seconds: Spread,
    /// Until the output was on the disk: the same, and the flush of the file.
    pub seconds_flushed: Spread,
    /// Bytes that the output takes on its disk.
    pub output_bytes_on_disk: u64,
}

/// Both programs.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// What both did.
    pub task: Task,
    /// This program.
    pub imgferry: Side,
    /// The other one.
    pub qemu_img: Side,
    /// Seconds of qemu-img divided by those of imgferry, both flushed: above 1, imgferry is faster.
    pub speedup: f64,
}

/// Everything that was compared.
#[derive(Clone, Debug, Serialize)]
pub struct Against {
    /// The other program.
    pub program: &'static str,
    /// What it says its version is.
    pub version: String,
    /// Task by task.
    pub comparisons: Vec<Comparison>,
}

/// How to call this program, for a comparison with another one.
#[derive(Clone, Debug)]
pub struct Ours {
    /// Its file.
    pub program: PathBuf,
    /// Arguments that convert to a raw file. The image, the output follow.
    pub raw: Vec<OsString>,
    /// Arguments that convert to ZVHD2, without a flush: it is timed apart, for both programs in
    /// the same way.
    pub compressed: Vec<OsString>,
}

/// `qemu-img`, as it was found on this machine.
#[derive(Clone, Debug)]
pub struct QemuImg {
    version: String,
    ours: Ours,
}

impl QemuImg {
    /// Looks for it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn find(ours: Ours) -> Result<Self> {
        let found = Command::new("qemu-img")
            .arg("--version")
            .stdin(Stdio::null())
            .output()
            .await;
        let output = found.map_err(|e| {
            Failure::from_error(Class::Refused, &e)
                .context("starting qemu-img failed")
                .hint(Hint::InstallQemuImg)
        })?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version = text.lines().next().unwrap_or("qemu-img").trim().to_owned();
        Ok(Self { version, ours })
    }

    /// Prepares to convert the image at `path`, with output in `dir`.
    pub(crate) fn with(self, path: &Path, format: Format, dir: &Path) -> Result<Peer> {
        let format = match format {
            Format::Raw => "raw",
            Format::Qcow2 => "qcow2",
            Format::Vhd => "vpc",
            Format::Vhdx => "vhdx",
            Format::Vdi => "vdi",
            Format::Vmdk => "vmdk",
            _ => {
                let message = format!("qemu-img does not read {format}");
                return Err(Failure::new(Class::Refused, message).hint(Hint::CompareNothing));
            }
        };
        Ok(Peer {
            version: self.version,
            ours: self.ours,
            // As a path from the root it cannot be taken for an address or an option.
            image: std::path::absolute(path).map_err(|e| {
                Failure::from_error(Class::Io, &e).context("the working directory is unknown")
            })?,
            format,
            dir: dir.to_owned(),
        })
    }
}

/// Both programs and the image.
pub(crate) struct Peer {
    version: String,
    ours: Ours,
    image: PathBuf,
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
    /// How often the step of [`Peer::compare`] is called.
    pub(crate) fn steps(repeat: u32) -> u64 {
        1 + 2 * Task::ALL.len() as u64 * u64::from(repeat)
    }

    /// Runs both programs in turns; calls `step` before each run.
    pub(crate) async fn compare(
        self,
        repeat: u32,
        stop: &StopToken,
        mut step: impl FnMut(&str),
    ) -> Result<Against> {
        step("warming the page cache");
        self.theirs(Task::Raw, stop).await?;
        let mut comparisons = Vec::new();
        for task in Task::ALL {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for _ in 0..repeat {
                step(&format!("imgferry {}", task.title()));
                ours.push(self.ours(task, stop).await?);
                step(&format!("qemu-img {}", task.title()));
                theirs.push(self.theirs(task, stop).await?);
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

    fn our_arguments(&self, task: Task) -> &[OsString] {
        match task {
            Task::Raw => &self.ours.raw,
            Task::Compressed => &self.ours.compressed,
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
        let words = self
            .our_arguments(task)
            .iter()
            .map(|word| word.to_string_lossy());
        format!("imgferry {} SRC OUT", words.collect::<Vec<_>>().join(" "))
    }

    fn their_command(&self, task: Task) -> String {
        format!(
            "qemu-img {} -f {} SRC OUT",
            Self::their_arguments(task).join(" "),
            self.format
        )
    }

    async fn ours(&self, task: Task, stop: &StopToken) -> Result<Timed> {
        let mut command = Command::new(&self.ours.program);
        command.args(self.our_arguments(task));
        self.run(command, stop).await
    }

    async fn theirs(&self, task: Task, stop: &StopToken) -> Result<Timed> {
        let mut command = Command::new("qemu-img");
        command
            .args(Self::their_arguments(task))
            .args(["-f", self.format]);
        self.run(command, stop).await
    }

    /// Runs `command` with the image and an output, which is removed.
    async fn run(&self, mut command: Command, stop: &StopToken) -> Result<Timed> {
        let name = command
            .as_std()
            .get_program()
            .to_string_lossy()
            .into_owned();
        let failed = |e: &io::Error| {
            Failure::from_error(Class::Io, e).context(format!("measuring {name} failed"))
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
                // Read to the end, so that the program never waits; the head is shown.
                let _ = tokio::io::AsyncReadExt::read_to_end(&mut stderr, &mut text).await;
            }
            text
        };
        let ended = tokio::select! {
            biased;
            () = stop.asked() => None,
            (status, said) = async { tokio::join!(child.wait(), said) } => Some((status, said)),
        };
        let Some((status, said)) = ended else {
            // Wait for it, so that it writes nothing after the directory is gone.
            let _ = child.kill().await;
            return Err(stopped());
        };
        let status = status.map_err(|e| failed(&e))?;
        let seconds = started.elapsed().as_secs_f64();
        if !status.success() {
            let said = String::from_utf8_lossy(&said);
            return Err(Failure::new(
                Class::Io,
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

/// The output of another program, shortened, without anything that controls a terminal.
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
    fn output_of_a_program_is_short_and_harmless() {
        assert_eq!(first_lines("a\u{1b}[2J\nb\n"), "a\\u{1b}[2J; b");
        assert!(first_lines(&"x".repeat(10_000)).len() <= 400);
    }
}
