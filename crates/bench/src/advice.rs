//! What follows from the figures: the limit, and the settings to use. `docs/benchmarking.md` states
//! the rule. It is arithmetic, and knows nothing of how the figures were measured.

use serde::Serialize;

/// What a conversion waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Limit {
    /// The disk that the image is on, or its reader.
    Read,
    /// The processor: compression and hashes.
    Cpu,
    /// The disk that the output goes to.
    Write,
    /// The line to the object storage.
    Network,
}

impl Limit {
    /// For people, as a subject.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Read => "reading the image",
            Self::Cpu => "the processor",
            Self::Write => "writing the output",
            Self::Network => "the network",
        }
    }
}

/// Rates in bytes per second that the advice follows from. All cores together where it is about the
/// processor.
#[derive(Clone, Debug)]
pub(crate) struct Rates {
    /// Reading the image.
    pub(crate) read: f64,
    /// The rate of reading if the processor were its only limit.
    pub(crate) read_cpu: f64,
    pub(crate) zero_detect: f64,
    pub(crate) sha256: f64,
    pub(crate) md5: f64,
    pub(crate) write: f64,
    /// Uploading, when it went to a bucket elsewhere.
    pub(crate) network: Option<f64>,
    /// Share of what is read that is not zero: 0 to 1.
    pub(crate) data_share: f64,
    /// At least one.
    pub(crate) levels: Vec<Level>,
    /// Converting by number of threads, at one level.
    pub(crate) threads: Vec<(usize, f64)>,
    pub(crate) default_threads: usize,
}

/// One compression level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Level {
    pub(crate) level: i32,
    /// Compressing.
    pub(crate) compress: f64,
    /// Bytes of output for one byte of input.
    pub(crate) ratio: f64,
    /// Converting the whole image to a file.
    pub(crate) convert: f64,
}

/// Settings for one use of the program, and what limits it then.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Setting {
    /// zstd level.
    pub level: i32,
    /// The lowest of the limits.
    pub bottleneck: Limit,
    /// Bytes of output for one byte of the disk's data.
    pub output_ratio: f64,
    /// Rate of the limit: nothing is faster.
    pub expected_bytes_per_second: f64,
    /// The rate that was measured at this level, if one was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured_bytes_per_second: Option<f64>,
    /// Rate of each limit.
    pub limits: Vec<LimitRate>,
    /// Share of the processor's time, by work.
    pub cpu_shares: CpuShares,
}

/// The rate if this were the only limit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LimitRate {
    /// Which limit.
    pub limit: Limit,
    /// Its rate.
    pub bytes_per_second: f64,
}

/// What the processor's time is spent on; the sum is 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CpuShares {
    /// zstd.
    pub compress: f64,
    /// The content digest.
    pub sha256: f64,
    /// The hashes of parts.
    pub md5: f64,
    /// The image reader.
    pub read: f64,
    /// The check for zeros.
    pub zero_detect: f64,
}

/// The level for a line of this speed. Computed, not measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    /// Its speed.
    pub line_bits_per_second: u64,
    /// What to use.
    #[serde(flatten)]
    pub setting: Setting,
}

/// The number of threads.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Threads {
    /// The fewest that are as fast as the fastest number.
    pub recommended: usize,
    /// Whether the default is that number, or as good.
    pub default_is_as_good: bool,
    /// What is used unless a number is given.
    pub default: usize,
}

/// Everything that is advised.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Advice {
    /// Converting to a file here.
    pub convert: Setting,
    /// Importing over the line that was measured, when one was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub import: Option<Setting>,
    /// Importing over other lines, when none was measured.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<Line>,
    /// How many threads.
    pub threads: Threads,
}

/// A level whose output is this many times that of the reference level, or more, is not advised.
const MOST_OUTPUT: f64 = 1.10;
/// The reference level, or the measured one next to it.
const REFERENCE: i32 = 3;
/// Rates that reach this share of the best one are as good.
const AS_FAST: f64 = 0.95;
/// The same for threads, which cost only memory.
const THREADS_AS_FAST: f64 = 0.97;
/// Lines that are computed for, in bits per second.
const LINES: [u64; 3] = [100_000_000, 1_000_000_000, 10_000_000_000];

/// Follows the rule. `None` without levels or threads.
pub(crate) fn advise(rates: &Rates) -> Option<Advice> {
    let convert = choose(rates, |level| level.convert)?;
    let mut convert = setting(rates, convert, Sink::File);
    convert.measured_bytes_per_second = rates
        .levels
        .iter()
        .find(|level| level.level == convert.level)
        .map(|level| level.convert);
    let over = |network: f64| {
        let sink = Sink::Line(network);
        let best = choose(rates, |level| {
            setting(rates, level, sink).expected_bytes_per_second
        })?;
        Some(setting(rates, best, sink))
    };
    let lines = match rates.network {
        Some(_) => Vec::new(),
        None => LINES
            .into_iter()
            .filter_map(|bits| {
                Some(Line {
                    line_bits_per_second: bits,
                    setting: over(bits as f64 / 8.0)?,
                })
            })
            .collect(),
    };
    Some(Advice {
        convert,
        import: rates.network.and_then(over),
        lines,
        threads: threads(rates)?,
    })
}

/// Where output goes.
#[derive(Clone, Copy)]
enum Sink {
    File,
    Line(f64),
}

/// Of the levels whose output is not too large and that are as fast as the fastest, the one with the
/// smallest output.
fn choose(rates: &Rates, rate: impl Fn(&Level) -> f64) -> Option<&Level> {
    let reference = rates
        .levels
        .iter()
        .min_by_key(|level| (level.level.abs_diff(REFERENCE), level.level < REFERENCE))?;
    let allowed: Vec<&Level> = rates
        .levels
        .iter()
        .filter(|level| level.ratio <= reference.ratio * MOST_OUTPUT)
        .collect();
    let fastest = allowed.iter().map(|level| rate(level)).fold(0.0, f64::max);
    allowed
        .into_iter()
        .filter(|level| rate(level) >= fastest * AS_FAST)
        .min_by(|a, b| a.ratio.total_cmp(&b.ratio).then(a.level.cmp(&b.level)))
}

/// What limits `level` when the output goes into `sink`.
fn setting(rates: &Rates, level: &Level, sink: Sink) -> Setting {
    let data = rates.data_share;
    // Bytes of output for one byte that is read.
    let output = data * level.ratio;
    // Seconds of all cores for one byte that is read.
    let seconds = CpuShares {
        compress: data / level.compress,
        sha256: data / rates.sha256,
        md5: match sink {
            Sink::File => 0.0,
            Sink::Line(_) => output / rates.md5,
        },
        read: 1.0 / rates.read_cpu,
        zero_detect: (1.0 - data) / rates.zero_detect,
    };
    let total =
        seconds.compress + seconds.sha256 + seconds.md5 + seconds.read + seconds.zero_detect;
    let (limit, rate) = match sink {
        Sink::File => (Limit::Write, rates.write),
        Sink::Line(rate) => (Limit::Network, rate),
    };
    let limits: Vec<LimitRate> = [
        (Limit::Read, rates.read),
        (Limit::Cpu, 1.0 / total),
        (limit, rate / output),
    ]
    .into_iter()
    // Without output, or without work, there is no such limit.
    .filter(|(_, rate)| rate.is_finite())
    .map(|(limit, bytes_per_second)| LimitRate {
        limit,
        bytes_per_second,
    })
    .collect();
    let lowest = limits
        .iter()
        .min_by(|a, b| a.bytes_per_second.total_cmp(&b.bytes_per_second));
    let share = |seconds: f64| if total > 0.0 { seconds / total } else { 0.0 };
    Setting {
        level: level.level,
        bottleneck: lowest.map_or(Limit::Read, |lowest| lowest.limit),
        output_ratio: level.ratio,
        expected_bytes_per_second: lowest.map_or(rates.read, |lowest| lowest.bytes_per_second),
        measured_bytes_per_second: None,
        cpu_shares: CpuShares {
            compress: share(seconds.compress),
            sha256: share(seconds.sha256),
            md5: share(seconds.md5),
            read: share(seconds.read),
            zero_detect: share(seconds.zero_detect),
        },
        limits,
    }
}

/// The fewest threads that are as fast as the fastest number.
fn threads(rates: &Rates) -> Option<Threads> {
    let fastest = rates
        .threads
        .iter()
        .map(|(_, rate)| *rate)
        .fold(0.0, f64::max);
    let as_fast = |rate: f64| rate >= fastest * THREADS_AS_FAST;
    let (recommended, _) = rates
        .threads
        .iter()
        .filter(|(_, rate)| as_fast(*rate))
        .min_by_key(|(threads, _)| *threads)?;
    let default = rates.default_threads;
    Some(Threads {
        recommended: *recommended,
        default_is_as_good: *recommended == default
            || rates
                .threads
                .iter()
                .any(|(threads, rate)| *threads == default && as_fast(*rate)),
        default,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: f64 = 1e6;

    /// A machine of two cores with a fast disk, as docs/performance.md measures it.
    fn machine() -> Rates {
        let level = |level, compress, ratio, convert| Level {
            level,
            compress: compress * MB,
            ratio,
            convert: convert * MB,
        };
        Rates {
            read: 2200.0 * MB,
            read_cpu: 12_000.0 * MB,
            zero_detect: 50_000.0 * MB,
            sha256: 3600.0 * MB,
            md5: 1300.0 * MB,
            write: 900.0 * MB,
            network: None,
            data_share: 0.8,
            levels: vec![
                level(-5, 1650.0, 0.52, 1150.0),
                level(-1, 1190.0, 0.43, 1000.0),
                level(1, 1060.0, 0.39, 950.0),
                level(3, 660.0, 0.36, 650.0),
                level(6, 300.0, 0.35, 320.0),
            ],
            threads: vec![(1, 480.0 * MB), (2, 930.0 * MB), (3, 950.0 * MB)],
            default_threads: 2,
        }
    }

    #[test]
    fn the_processor_is_the_limit_of_a_fast_disk_and_level_1_is_advised() {
        let advice = advise(&machine()).unwrap();
        let convert = advice.convert;
        assert_eq!((convert.level, convert.bottleneck), (1, Limit::Cpu));
        assert_eq!(convert.measured_bytes_per_second, Some(950.0 * MB));
        // 0.8/1060 + 0.8/3600 + 1/12000 + 0.2/50000 s for a MB.
        let expected = convert.expected_bytes_per_second / MB;
        assert!((938.0..940.0).contains(&expected), "{expected}");
        let shares = convert.cpu_shares;
        assert!(shares.compress > 0.7 && shares.md5 == 0.0);
        let total = shares.compress + shares.sha256 + shares.read + shares.zero_detect;
        assert!((total - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_faster_level_is_not_advised_when_its_output_is_more_than_a_tenth_larger() {
        let mut rates = machine();
        assert_eq!(advise(&rates).unwrap().convert.level, 1, "not -5 or -1");
        rates.levels[1].ratio = 0.39;
        assert_eq!(
            advise(&rates).unwrap().convert.level,
            -1,
            "as small now, and faster"
        );
    }

    #[test]
    fn of_levels_that_are_as_fast_the_smallest_output_is_advised() {
        let mut rates = machine();
        // A slow disk: everything runs at its rate.
        rates.read = 100.0 * MB;
        rates
            .levels
            .iter_mut()
            .for_each(|level| level.convert = 99.0 * MB);
        let convert = advise(&rates).unwrap().convert;
        assert_eq!((convert.level, convert.bottleneck), (6, Limit::Read));
        assert_eq!(convert.expected_bytes_per_second, 100.0 * MB);
    }

    #[test]
    fn a_slow_target_disk_is_named_as_the_limit() {
        let mut rates = machine();
        rates.write = 50.0 * MB;
        let convert = advise(&rates).unwrap().convert;
        assert_eq!(convert.bottleneck, Limit::Write);
        // 50 MB/s of output are 50 / (0.8 · 0.39) of the disk.
        let expected = convert.expected_bytes_per_second / MB;
        assert!((160.0..160.5).contains(&expected), "{expected}");
    }

    #[test]
    fn a_slow_line_makes_a_higher_level_pay_and_a_fast_one_does_not() {
        let mut rates = machine();
        rates.network = Some(12.5 * MB);
        let advice = advise(&rates).unwrap();
        assert!(advice.lines.is_empty(), "the line was measured");
        let import = advice.import.unwrap();
        assert_eq!((import.level, import.bottleneck), (6, Limit::Network));
        rates.network = Some(1250.0 * MB);
        let import = advise(&rates).unwrap().import.unwrap();
        assert_eq!((import.level, import.bottleneck), (1, Limit::Cpu));
        assert!(import.cpu_shares.md5 > 0.0, "parts are hashed too");
        assert_eq!(
            advise(&rates).unwrap().convert.level,
            1,
            "files are not sent"
        );
    }

    #[test]
    fn without_a_measured_line_the_usual_ones_are_computed() {
        let advice = advise(&machine()).unwrap();
        assert_eq!(advice.import, None);
        let levels: Vec<_> = advice
            .lines
            .iter()
            .map(|line| {
                (
                    line.line_bits_per_second,
                    line.setting.level,
                    line.setting.bottleneck,
                )
            })
            .collect();
        assert_eq!(
            levels,
            [
                (100_000_000, 6, Limit::Network),
                (1_000_000_000, 3, Limit::Network),
                (10_000_000_000, 1, Limit::Cpu),
            ]
        );
    }

    #[test]
    fn the_fewest_threads_that_are_as_fast_are_advised() {
        let threads = advise(&machine()).unwrap().threads;
        assert_eq!(threads.recommended, 2);
        assert!(threads.default_is_as_good);
        let mut rates = machine();
        rates.default_threads = 3;
        let threads = advise(&rates).unwrap().threads;
        assert_eq!((threads.recommended, threads.default_is_as_good), (2, true));
        rates.threads.push((16, 1200.0 * MB));
        let threads = advise(&rates).unwrap().threads;
        assert_eq!(
            (threads.recommended, threads.default_is_as_good),
            (16, false)
        );
    }

    #[test]
    fn the_reference_is_the_level_nearest_to_3() {
        let mut rates = machine();
        rates.levels.retain(|level| level.level < 3);
        // Now 1 is the reference, and -1 may be a tenth larger than it: 0.429.
        rates.levels[1].ratio = 0.425;
        rates.levels[1].convert = 1010.0 * MB;
        assert_eq!(advise(&rates).unwrap().convert.level, -1);
        rates.levels.retain(|level| level.level == -5);
        assert_eq!(advise(&rates).unwrap().convert.level, -5, "what there is");
        rates.levels.clear();
        assert_eq!(advise(&rates), None);
    }

    #[test]
    fn a_disk_of_zeros_is_limited_by_reading_it() {
        let mut rates = machine();
        rates.data_share = 0.0;
        let convert = advise(&rates).unwrap().convert;
        assert_eq!(convert.bottleneck, Limit::Read);
        assert!(
            convert
                .limits
                .iter()
                .all(|limit| limit.limit != Limit::Write)
        );
    }
}
