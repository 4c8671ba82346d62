//! The rounds: every stage once in each.

use std::path::Path;
use std::sync::Arc;

use cloud::{Failure, Result, StopToken};
use convert::plan::MAX_THREADS;
use convert::{CancelToken, Target, encoding_threads, plan};

use import::{Concurrency, plan_stream};

use crate::advice::{Level, Rates};
use crate::figures::{Figure, Key, Run, Runs, Stage, find};
use crate::machine::cores;
use crate::options::{Event, Observer, Options};
use crate::source::Input;
use crate::upload::{self, Local, Place, UPLOAD_MEMORY};
use crate::view::{BLOCK, View};
use crate::work::{self, SAMPLE_BYTES, Sample};

/// Runs that lie further apart than this share of their median deserve a warning.
const NOISY: f64 = 0.25;

/// The results of the rounds.
pub(crate) struct Measured {
    pub(crate) figures: Vec<Figure>,
    pub(crate) levels: Vec<i32>,
    pub(crate) level: i32,
    pub(crate) threads: Vec<usize>,
    pub(crate) data_share: f64,
    /// What advice follows from; `None` when all blocks were zero.
    pub(crate) rates: Option<Rates>,
    /// Rate of converting into the user's bucket.
    pub(crate) transfer: Option<f64>,
    pub(crate) warnings: Vec<String>,
}

/// What is measured in each round.
pub(crate) struct Rounds<'a> {
    repeat: u32,
    view: &'a Arc<View>,
    dir: &'a Path,
    stop: &'a StopToken,
    levels: Vec<i32>,
    /// The level that threads, uploads and imports are measured at.
    level: i32,
    threads: Vec<usize>,
    cores: usize,
    concurrency: Concurrency,
    observer: Observer<'a>,
}

impl<'a> Rounds<'a> {
    pub(crate) fn new(
        options: &Options,
        input: &'a Input,
        dir: &'a Path,
        stop: &'a StopToken,
        observer: Observer<'a>,
    ) -> Self {
        let mut levels = options.levels.clone();
        levels.sort_unstable();
        levels.dedup();
        let default = zvhd2::DEFAULT_LEVEL;
        let level = levels
            .iter()
            .copied()
            .min_by_key(|level| level.abs_diff(default))
            .unwrap_or(default);
        let cores = cores();
        let mut threads = match options.threads.is_empty() {
            true => usual_threads(cores),
            false => options.threads.clone(),
        };
        threads.sort_unstable();
        threads.dedup();
        Self {
            repeat: options.repeat,
            view: &input.view,
            dir,
            stop,
            observer,
            levels,
            level,
            threads,
            cores,
            concurrency: options.concurrency,
        }
    }

    /// Most memory in bytes that is held at any time.
    pub(crate) fn memory_bound(&self) -> Result<u64> {
        let mut most = 0;
        for (level, threads) in self.conversions() {
            let options = work::plan_options(threads, level);
            let plan = plan(self.view.as_ref(), Target::Zvhd2, &options)?;
            most = most.max(plan.memory.total());
        }
        let options = upload::plan_options(encoding_threads(), self.level);
        let import = plan_stream(self.view.as_ref(), self.concurrency, options)?;
        let upload = UPLOAD_MEMORY.saturating_add(import.memory.reserved);
        let most = most.max(import.memory.total()).max(upload);
        Ok(most.saturating_add(SAMPLE_BYTES))
    }

    /// Levels with the default threads, and threads with the default level.
    fn conversions(&self) -> Vec<(i32, usize)> {
        let default = encoding_threads();
        let mut all: Vec<_> = self.levels.iter().map(|level| (*level, default)).collect();
        let more = self.threads.iter().filter(|threads| **threads != default);
        all.extend(more.map(|threads| (self.level, *threads)));
        all
    }

    /// One thread, and all cores.
    fn widths(&self) -> Vec<usize> {
        match self.cores {
            0 | 1 => vec![1],
            cores => vec![1, cores],
        }
    }

    /// How many [`Event::Step`] there will be.
    pub(crate) fn steps(&self, uploads: bool) -> u64 {
        let widths = self.widths().len();
        let once =
            (4 + self.levels.len()) * widths + self.conversions().len() + 3 + usize::from(uploads);
        once as u64 * u64::from(self.repeat)
    }

    pub(crate) async fn run(self, local: &mut Local, upload: Option<&Place>) -> Result<Measured> {
        let cancel = self.stop.token();
        let sample = tokio::task::block_in_place(|| Sample::take(self.view, cancel))?;
        let mut runs = Runs::default();
        let mut warnings = Vec::new();
        let imports = local.takes(self.view);
        if !imports {
            warnings.push(
                "quick import does not accept a disk of this size; importing was not measured"
                    .to_owned(),
            );
        }
        let mut stored_blocks = 0;
        for round in 1..=self.repeat {
            (self.observer)(Event::Round(round));
            tokio::task::block_in_place(|| {
                self.stages(&sample, &mut runs, cancel)?;
                stored_blocks = self.convert(&mut runs, &mut warnings, cancel)?;
                Ok::<_, Failure>(())
            })?;
            self.cloud(local, upload, imports, &mut runs).await?;
        }
        let figures = runs.figures();
        let data_share =
            (stored_blocks * BLOCK) as f64 / (self.view.blocks().len() as u64 * BLOCK) as f64;
        warnings.extend(noise(&figures));
        let network = upload.and_then(|_| {
            let found = find(&figures, Stage::Upload, 1, None)?;
            Some(found.bytes_per_second.median)
        });
        let transfer = find(
            &figures,
            Stage::Transfer,
            encoding_threads(),
            Some(self.level),
        );
        Ok(Measured {
            rates: self.rates(&figures, data_share, network),
            transfer: transfer.map(|figure| figure.bytes_per_second.median),
            figures,
            levels: self.levels,
            level: self.level,
            threads: self.threads,
            data_share,
            warnings,
        })
    }

    /// The stages by themselves.
    fn stages(&self, sample: &Sample, runs: &mut Runs, cancel: &CancelToken) -> Result {
        for threads in self.widths() {
            let mut add = |stage: Stage, level, run: &dyn Fn() -> Result<Run>| -> Result {
                self.show(stage.title());
                let key = Key {
                    stage,
                    threads,
                    level,
                };
                runs.add(key, run()?);
                Ok(())
            };
            add(Stage::Read, None, &|| {
                work::read(self.view, threads, cancel)
            })?;
            add(Stage::ZeroDetect, None, &|| {
                work::zero_detect(sample, threads, cancel)
            })?;
            add(Stage::Sha256, None, &|| {
                work::SHA256.measure(sample, threads, cancel)
            })?;
            add(Stage::Md5, None, &|| {
                work::MD5.measure(sample, threads, cancel)
            })?;
            for level in &self.levels {
                add(Stage::Compress, Some(*level), &|| {
                    work::compress(sample, *level, threads, cancel)
                })?;
            }
        }
        self.show(Stage::Write.title());
        let key = Key {
            stage: Stage::Write,
            threads: 1,
            level: None,
        };
        runs.add(
            key,
            work::write(self.dir, write_len(self.measured_bytes()), cancel)?,
        );
        Ok(())
    }

    fn show(&self, what: &str) {
        (self.observer)(Event::Step(what));
    }

    fn measured_bytes(&self) -> u64 {
        self.view.blocks().len() as u64 * BLOCK
    }

    /// Conversions to a file; how many blocks were not zero.
    fn convert(
        &self,
        runs: &mut Runs,
        warnings: &mut Vec<String>,
        cancel: &CancelToken,
    ) -> Result<u64> {
        let mut stored = 0;
        for (level, threads) in self.conversions() {
            self.show(Stage::Convert.title());
            let (run, plan, report) = work::convert(self.view, self.dir, level, threads, cancel)?;
            stored = report.stored_blocks;
            // Fewer threads than the figure names.
            for note in plan.notes {
                if !warnings.contains(&note) {
                    warnings.push(note);
                }
            }
            let key = Key {
                stage: Stage::Convert,
                threads,
                level: Some(level),
            };
            runs.add(key, run);
        }
        Ok(stored)
    }

    /// What uses a network, or the sandbox.
    async fn cloud(
        &self,
        local: &mut Local,
        upload: Option<&Place>,
        imports: bool,
        runs: &mut Runs,
    ) -> Result {
        let threads = encoding_threads();
        let key = |stage| Key {
            stage,
            threads,
            level: Some(self.level),
        };
        self.show(Stage::Upload.title());
        let place = upload.unwrap_or(&local.place);
        let run = place
            .upload(upload_len(self.measured_bytes()), self.stop)
            .await?;
        let alone = Key {
            stage: Stage::Upload,
            threads: 1,
            level: None,
        };
        runs.add(alone, run);
        if let Some(place) = upload {
            self.show(Stage::Transfer.title());
            let run = place
                .transfer(self.view, self.level, threads, self.stop)
                .await?;
            runs.add(key(Stage::Transfer), run);
        }
        self.show(Stage::Import.title());
        if imports {
            let run = local
                .import(self.view, self.level, threads, self.stop)
                .await?;
            runs.add(key(Stage::Import), run);
        }
        Ok(())
    }

    /// What advice follows from.
    fn rates(&self, figures: &[Figure], data_share: f64, network: Option<f64>) -> Option<Rates> {
        let all = self.cores.max(1);
        let rate = |stage| Some(find(figures, stage, all, None)?.bytes_per_second.median);
        let read = find(figures, Stage::Read, all, None)?;
        // Processor seconds of all cores for a byte; a clock that stands still means none.
        let read_cpu = read.bytes as f64 * all as f64 / read.cpu_seconds.median.max(1e-6);
        let convert = |threads, level| {
            let found = find(figures, Stage::Convert, threads, Some(level))?;
            Some(found.bytes_per_second.median)
        };
        let levels: Vec<Level> = self
            .levels
            .iter()
            .filter_map(|level| {
                let found = find(figures, Stage::Compress, all, Some(*level))?;
                Some(Level {
                    level: *level,
                    compress: found.bytes_per_second.median,
                    ratio: found.output_share()?,
                    convert: convert(encoding_threads(), *level)?,
                })
            })
            .collect();
        let mut threads = self.threads.clone();
        threads.push(encoding_threads());
        threads.sort_unstable();
        threads.dedup();
        Some(Rates {
            read: read.bytes_per_second.median,
            read_cpu,
            zero_detect: rate(Stage::ZeroDetect)?,
            sha256: rate(Stage::Sha256)?,
            md5: rate(Stage::Md5)?,
            write: find(figures, Stage::Write, 1, None)?
                .bytes_per_second
                .median,
            network,
            data_share,
            levels,
            threads: threads
                .into_iter()
                .filter_map(|threads| Some((threads, convert(threads, self.level)?)))
                .collect(),
            default_threads: encoding_threads(),
        })
    }
}

/// Most bytes that are written or uploaded alone, whatever the size of the disk.
const MOST_WRITTEN: u64 = 1 << 30;

/// Bytes that the write stage writes, for a disk of `measured` bytes.
pub(crate) fn write_len(measured: u64) -> u64 {
    (measured / 2).clamp(BLOCK, MOST_WRITTEN)
}

/// Bytes that the upload stage uploads.
pub(crate) fn upload_len(measured: u64) -> u64 {
    (measured / 4).clamp(BLOCK, MOST_WRITTEN)
}

/// Powers of two up to the cores, all cores, and one more.
fn usual_threads(cores: usize) -> Vec<usize> {
    let mut threads: Vec<usize> = (0..usize::BITS)
        .map(|bit| 1 << bit)
        .take_while(|threads| *threads < cores)
        .collect();
    threads.extend([cores, cores.saturating_add(1)]);
    threads.retain(|threads| *threads <= MAX_THREADS);
    threads
}

/// A warning when runs lie far apart.
fn noise(figures: &[Figure]) -> Option<String> {
    let worst = figures.iter().max_by(|a, b| {
        a.bytes_per_second
            .width()
            .total_cmp(&b.bytes_per_second.width())
    })?;
    let width = worst.bytes_per_second.width();
    (width > NOISY).then(|| {
        format!(
            "runs lie up to {:.0} % apart ({}): something else uses the machine or its host; measure \
             more data, or more often",
            width * 100.0,
            worst.stage.title()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_measured_up_to_the_cores_and_one_more() {
        assert_eq!(usual_threads(1), [1, 2]);
        assert_eq!(usual_threads(2), [1, 2, 3]);
        assert_eq!(usual_threads(6), [1, 2, 4, 6, 7]);
        assert_eq!(usual_threads(64), [1, 2, 4, 8, 16, 32, 64, 65]);
        // More is refused.
        assert_eq!(usual_threads(MAX_THREADS).last(), Some(&MAX_THREADS));
        assert_eq!(usual_threads(5000).last(), Some(&MAX_THREADS));
    }

    #[test]
    fn what_is_written_follows_the_size_within_bounds() {
        assert_eq!(write_len(BLOCK), BLOCK);
        assert_eq!(write_len(512 << 20), 256 << 20);
        assert_eq!(upload_len(512 << 20), 128 << 20);
        assert_eq!(write_len(u64::MAX), MOST_WRITTEN);
    }
}
