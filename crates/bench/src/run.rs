//! One run, from the disk to the report.

use std::path::{Path, PathBuf};
use std::time::Instant;

use cloud::{Class, Failure, Result, StopToken};
use convert::encoding_threads;
use diskimg::{OpenOptions, Opened};
use import::peak_memory;

use crate::advice::{Advice, advise};
use crate::machine::Machine;
use crate::options::{Event, Image, Observer, Options};
use crate::peer::{Against, Peer, QemuImg};
use crate::report::{Report, Settings};
use crate::rounds::{Measured, Rounds, upload_len, write_len};
use crate::source::{self, Input};
use crate::upload::{Local, Place};

/// Version of the JSON form.
const VERSION: u32 = 1;

/// What a run works with, besides its options.
pub struct Bench<'a> {
    /// What to measure.
    pub options: &'a Options,
    /// The image to measure with; `None` for a generated disk.
    pub image: Option<Image>,
    /// Where the upload stage uploads to; `None` for the sandbox on this machine.
    pub upload: Option<Place>,
    /// A program to compare with.
    pub against: Option<QemuImg>,
    /// Hears how far it is.
    pub observer: Observer<'a>,
    /// Asks it to stop.
    pub stop: &'a StopToken,
}

impl Bench<'_> {
    /// Measures. What is written is removed at the end, however it ends.
    ///
    /// # Errors
    /// When the disk cannot be read or changes, output cannot be written, the cloud fails, or a stop
    /// was requested.
    pub async fn run(self) -> Result<Report> {
        let temporary = source::temporary(&self.options.dir)?;
        let measured = self.measure(temporary.path()).await;
        let leftover = "removing the temporary directory failed";
        // The first error counts.
        match (measured, temporary.close()) {
            (ended, Ok(())) => ended,
            (Ok(_), Err(e)) => Err(Failure::from_error(Class::Io, &e).context(leftover)),
            (Err(failure), Err(e)) => Err(failure.note(format!("{leftover}: {e}"))),
        }
    }

    async fn measure(mut self, dir: &Path) -> Result<Report> {
        let started = Instant::now();
        let (options, observer) = (self.options, self.observer);
        let compares = self.against.is_some();
        let (image, unchanged) = match self.image.take() {
            Some(image) => (Some((image.path, image.opened)), Some(image.unchanged)),
            None => (None, None),
        };
        let given = image.is_some();
        let input = tokio::task::block_in_place(|| self.input(image, dir))?;
        if given {
            let source = &input.source;
            let needed = needed(source.measured_bytes, source.data_bytes, false, compares);
            source::require_space(dir, needed)?;
        }
        let peer = match self.against.take() {
            Some(found) => Some(found.with(&input.path, input.source.format, dir)?),
            None => None,
        };
        let rounds = Rounds::new(options, &input, dir, self.stop, observer);
        observer(Event::Measuring {
            bytes: input.source.measured_bytes,
            rounds: options.repeat,
            memory: rounds.memory_bound()?,
            steps: rounds.steps(self.upload.is_some())
                + peer.as_ref().map_or(0, |_| Peer::steps(options.repeat)),
        });
        let measured = self.rounds(rounds, dir).await?;
        let against = match peer {
            Some(peer) => {
                observer(Event::Comparing);
                let step = |what: &str| observer(Event::Step(what));
                Some(peer.compare(options.repeat, self.stop, step).await?)
            }
            None => None,
        };
        if let Some(unchanged) = unchanged {
            unchanged()?;
        }
        Ok(self.report(dir, input, measured, against, started))
    }

    fn input(&self, image: Option<(PathBuf, Opened)>, dir: &Path) -> Result<Input> {
        let (options, cancel) = (self.options, self.stop.token());
        let given = image.is_some();
        let (path, opened) = match image {
            Some(image) => image,
            None => {
                let size = options.size;
                source::require_space(dir, needed(size, size, true, self.against.is_some()))?;
                (self.observer)(Event::Generating);
                let path = source::generate(dir, size, cancel)?;
                let opened = convert::open_with(&path, &OpenOptions::default())?;
                (path, opened)
            }
        };
        let in_page_cache = diskimg::source::is_in_page_cache(&path).unwrap_or(false);
        Input::new(path, opened, (options.size, given, in_page_cache), cancel)
    }

    /// All rounds. The sandbox is stopped however they end.
    async fn rounds(&self, rounds: Rounds<'_>, dir: &Path) -> Result<Measured> {
        let mut local = Local::start(self.options, dir).await?;
        let ended = rounds.run(&mut local, self.upload.as_ref()).await;
        local.stop(ended).await
    }

    fn report(
        &self,
        dir: &Path,
        input: Input,
        measured: Measured,
        against: Option<Against>,
        started: Instant,
    ) -> Report {
        let options = self.options;
        let mut warnings = measured.warnings;
        if against.is_some() && !input.source.whole {
            warnings.push(
                "the comparison with qemu-img is of the whole image, everything else of a part of \
                 it"
                .to_owned(),
            );
        }
        if input.source.in_page_cache {
            warnings.push(
                "the image is in the page cache: reading it did not wait for its disk".to_owned(),
            );
        }
        let with_import = |mut advice: Advice| {
            let import = advice.import.as_mut();
            if let Some(import) = import.filter(|import| import.level == measured.level) {
                import.measured_bytes_per_second = measured.transfer;
            }
            advice
        };
        Report {
            version: VERSION,
            machine: Machine::this(
                dir,
                input.source.path.is_some().then_some(input.path.as_path()),
            ),
            source: input.source,
            settings: Settings {
                repeat: options.repeat,
                levels: measured.levels,
                threads: measured.threads,
                measured_level: measured.level,
                size_bytes: options.size,
                upload: self.upload.as_ref().map(|place| place.asked().to_owned()),
                default_level: zvhd2::DEFAULT_LEVEL,
                default_threads: encoding_threads(),
            },
            advice: measured.rates.as_ref().and_then(advise).map(with_import),
            figures: measured.figures,
            data_share: measured.data_share,
            against,
            warnings,
            peak_memory_bytes: peak_memory(),
            elapsed_seconds: started.elapsed().as_secs_f64(),
        }
    }
}

/// Most bytes that are on disk at any time.
fn needed(measured: u64, data: u64, generated: bool, compares: bool) -> u64 {
    // If nothing compresses. The sandbox stores parts and the object that they become.
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
}
