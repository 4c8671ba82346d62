//! What was measured: one figure for each stage, number of threads and level.

use std::time::Duration;

use serde::Serialize;

use crate::stats::Spread;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// The image, block by block, through the reader that conversions use.
    Read,
    /// The check whether a block in memory is all zero.
    ZeroDetect,
    /// zstd of blocks in memory.
    Compress,
    /// The hash of the content digest.
    Sha256,
    /// The hash of the parts of an upload.
    Md5,
    /// A new file, front to back, until the disk has it.
    Write,
    /// An object of bytes that do not compress.
    Upload,
    /// The image to an object of the user's bucket.
    Transfer,
    /// The image to a ZVHD2 file that the disk has.
    Convert,
    /// The image to an active image of the sandbox.
    Import,
}

impl Stage {
    /// For people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Read => "read the image",
            Self::ZeroDetect => "detect zeros",
            Self::Compress => "compress",
            Self::Sha256 => "SHA-256",
            Self::Md5 => "MD5",
            Self::Write => "write and flush",
            Self::Upload => "upload",
            Self::Transfer => "convert and upload",
            Self::Convert => "convert to ZVHD2",
            Self::Import => "import (sandbox)",
        }
    }
}

/// One run of a stage.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// Bytes that were worked on.
    pub(crate) bytes: u64,
    /// Bytes of output, where that differs.
    pub(crate) output: Option<u64>,
    pub(crate) elapsed: Duration,
    /// Processor time of the whole process meanwhile.
    pub(crate) cpu: Duration,
}

/// Which figure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) stage: Stage,
    pub(crate) threads: usize,
    pub(crate) level: Option<i32>,
}

/// The results of the runs of one stage.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// What was measured.
    pub stage: Stage,
    /// Worker threads.
    pub threads: usize,
    /// zstd level, where one is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<i32>,
    /// Bytes that each run worked on: of the disk, or of the object for an upload.
    pub bytes: u64,
    /// Bytes of output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_bytes: Option<u64>,
    /// Time of a run.
    pub seconds: Spread,
    /// Processor time of a run, of all threads.
    pub cpu_seconds: Spread,
    /// Rate.
    pub bytes_per_second: Spread,
}

/// Collects runs, in the order in which stages were first seen.
#[derive(Debug, Default)]
pub(crate) struct Runs(Vec<(Key, Vec<Run>)>);

impl Runs {
    pub(crate) fn add(&mut self, key: Key, run: Run) {
        match self.0.iter_mut().find(|(known, _)| *known == key) {
            Some((_, runs)) => runs.push(run),
            None => self.0.push((key, vec![run])),
        }
    }

    /// The figures. A stage that handled nothing has none.
    pub(crate) fn figures(&self) -> Vec<Figure> {
        self.0
            .iter()
            .filter_map(|(key, runs)| figure(*key, runs))
            .collect()
    }
}

fn figure(key: Key, runs: &[Run]) -> Option<Figure> {
    let of = |value: &dyn Fn(&Run) -> f64| Spread::of(&runs.iter().map(value).collect::<Vec<_>>());
    let first = runs.first().filter(|run| run.bytes > 0)?;
    Some(Figure {
        stage: key.stage,
        threads: key.threads,
        level: key.level,
        bytes: first.bytes,
        output_bytes: first.output,
        seconds: of(&|run| run.elapsed.as_secs_f64())?,
        cpu_seconds: of(&|run| run.cpu.as_secs_f64())?,
        bytes_per_second: of(&|run| run.bytes as f64 / run.elapsed.as_secs_f64().max(1e-9))?,
    })
}

impl Figure {
    /// Output as a share of the input, where there is output.
    #[must_use]
    pub fn output_share(&self) -> Option<f64> {
        Some(self.output_bytes? as f64 / self.bytes as f64)
    }
}

/// The figure of `stage` with `threads` and `level`.
#[must_use]
pub fn find(
    figures: &[Figure],
    stage: Stage,
    threads: usize,
    level: Option<i32>,
) -> Option<&Figure> {
    figures
        .iter()
        .find(|f| (f.stage, f.threads, f.level) == (stage, threads, level))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(bytes: u64, seconds: f64) -> Run {
        Run {
            bytes,
            output: None,
            elapsed: Duration::from_secs_f64(seconds),
            cpu: Duration::ZERO,
        }
    }

    #[test]
    fn runs_of_one_stage_become_one_figure_with_its_rate() {
        let key = |threads| Key {
            stage: Stage::Read,
            threads,
            level: None,
        };
        let mut runs = Runs::default();
        for seconds in [2.0, 1.0, 4.0] {
            runs.add(key(1), run(1000, seconds));
            runs.add(key(2), run(1000, seconds / 2.0));
        }
        runs.add(key(3), run(0, 1.0));
        let figures = runs.figures();
        assert_eq!(figures.len(), 2, "nothing read is no figure");
        let one = find(&figures, Stage::Read, 1, None).unwrap();
        assert_eq!(one.bytes_per_second.median, 500.0);
        assert_eq!((one.seconds.min, one.seconds.max), (1.0, 4.0));
        let two = find(&figures, Stage::Read, 2, None).unwrap();
        assert_eq!(two.bytes_per_second.median, 1000.0);
        assert!(find(&figures, Stage::Read, 2, Some(1)).is_none());
    }
}
