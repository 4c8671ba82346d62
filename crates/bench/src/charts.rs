//! Charts of a report.

use maud::Markup;
use page::{Axis, Bar, Ink, Plot, Point, Series, Spread, Style};

use crate::advice::Setting;
use crate::figures::{Figure, Stage, find};
use crate::peer::{Against, Task};
use crate::report::Report;
use crate::stats;

const MB: f64 = 1e6;

/// For charts: values divided by a `scale`.
fn spread(of: &stats::Spread, scale: f64) -> Spread {
    [of.min, of.median, of.max].map(|value| value / scale)
}

/// Bytes per second as MB/s, in three significant digits.
pub fn megabytes(bytes_per_second: f64) -> String {
    let rate = bytes_per_second / 1e6;
    match rate {
        rate if rate < 10.0 => format!("{rate:.2}"),
        rate if rate < 100.0 => format!("{rate:.1}"),
        rate => format!("{rate:.0}"),
    }
}

/// A bar of bytes per second.
fn rate(name: String, rate: &stats::Spread, ink: Ink) -> Bar {
    Bar {
        name,
        spread: spread(rate, MB),
        value: megabytes(rate.median),
        ink,
    }
}

/// The rate of each stage, with all cores where it uses them.
pub(crate) fn stages_chart(report: &Report) -> Markup {
    let cores = report.machine.cores.max(1);
    let shown = report.figures.iter().filter(|figure| match figure.stage {
        Stage::Read | Stage::ZeroDetect | Stage::Compress | Stage::Sha256 | Stage::Md5 => {
            figure.threads == cores
        }
        Stage::Convert => figure.threads == report.settings.default_threads,
        Stage::Write | Stage::Upload | Stage::Transfer | Stage::Import => true,
    });
    let bars: Vec<Bar> = shown
        .map(|figure| {
            // Names that fit before a bar, and a colour for stages that do everything.
            let (name, ink) = match figure.stage {
                Stage::Convert => ("convert", Ink::Second),
                Stage::Import => ("import", Ink::Second),
                Stage::Transfer => (figure.stage.title(), Ink::Second),
                Stage::Read => ("read", Ink::First),
                stage => (stage.title(), Ink::First),
            };
            let name = match figure.level {
                Some(level) => format!("{name}, level {level}"),
                None => name.to_owned(),
            };
            rate(name, &figure.bytes_per_second, ink)
        })
        .collect();
    // Stages differ by a factor of a thousand.
    page::bars(
        "Rate of each stage",
        "MB/s, logarithmic",
        Axis::Logarithmic,
        &bars,
    )
}

/// The rate that each limit allows, and the measured one.
pub(crate) fn limits_chart(setting: &Setting) -> Markup {
    let limits = setting.limits.iter().map(|limit| {
        let ink = match limit.limit == setting.bottleneck {
            true => Ink::Alarm,
            false => Ink::First,
        };
        (limit.limit.title(), limit.bytes_per_second, ink)
    });
    let measured = setting.measured_bytes_per_second;
    let measured = measured.map(|measured| ("measured", measured, Ink::Second));
    let bars: Vec<Bar> = limits
        .chain(measured)
        .filter_map(|(name, value, ink)| {
            Some(rate(name.to_owned(), &stats::Spread::of(&[value])?, ink))
        })
        .collect();
    page::bars(
        "What each limit allows",
        "MB/s of the disk",
        Axis::Linear,
        &bars,
    )
}

fn point(x: f64, figure: &Figure, name: String) -> Point {
    Point {
        x,
        spread: spread(&figure.bytes_per_second, MB),
        name,
    }
}

/// Speed against size, by level; `None` without levels.
pub(crate) fn levels_chart(report: &Report) -> Option<Markup> {
    let cores = report.machine.cores.max(1);
    let mut alone = Vec::new();
    let mut whole = Vec::new();
    for level in &report.settings.levels {
        let Some(figure) = find(&report.figures, Stage::Compress, cores, Some(*level)) else {
            continue;
        };
        let share = figure.output_share()? * 100.0;
        alone.push(point(share, figure, level.to_string()));
        let threads = report.settings.default_threads;
        if let Some(figure) = find(&report.figures, Stage::Convert, threads, Some(*level)) {
            whole.push(point(share, figure, String::new()));
        }
    }
    let low = alone.iter().map(|point| point.x).reduce(f64::min)?;
    let high = alone.iter().map(|point| point.x).reduce(f64::max)?;
    let line = |name, ink, points| Series {
        name,
        ink,
        style: Style::Points,
        points,
    };
    Some(page::lines(&Plot {
        title: "Speed and size by level",
        wide: false,
        x: (low - 1.0..high + 1.0, "output, % of the data"),
        unit: "MB/s",
        series: &[
            line("whole conversion", Ink::Second, whole),
            line("zstd alone", Ink::First, alone),
        ],
        notes: &[],
    }))
}

/// Rate by number of threads, beside that many times one thread; `None` with fewer than two
/// numbers.
pub(crate) fn threads_chart(report: &Report) -> Option<Markup> {
    let level = report.settings.measured_level;
    let mut figures: Vec<&Figure> = report
        .of(Stage::Convert)
        .filter(|figure| figure.level == Some(level))
        .collect();
    figures.sort_by_key(|figure| figure.threads);
    let ([first, .., last], cores) = (figures.as_slice(), report.machine.cores) else {
        return None;
    };
    let of_one = first.bytes_per_second.median / first.threads as f64 / MB;
    let ideal = |threads: usize| Point {
        x: threads as f64,
        spread: [of_one * threads as f64; 3],
        name: String::new(),
    };
    // More threads than cores are no faster.
    let most = last.threads.min(cores).max(first.threads);
    let measured = figures
        .iter()
        .map(|figure| point(figure.threads as f64, figure, String::new()));
    Some(page::lines(&Plot {
        title: "Rate by number of threads",
        wide: false,
        x: (0.0..last.threads as f64, "worker threads"),
        unit: "MB/s",
        series: &[
            Series {
                name: "that many times one thread",
                ink: Ink::Quiet,
                style: Style::Dashed,
                points: vec![ideal(0), ideal(most)],
            },
            Series {
                name: "converting",
                ink: Ink::Second,
                style: Style::Points,
                points: measured.collect(),
            },
        ],
        notes: &[],
    }))
}

/// Seconds of both programs.
pub(crate) fn against_chart(against: &Against) -> Markup {
    let bars: Vec<Bar> = against
        .comparisons
        .iter()
        .flat_map(|comparison| {
            let task = match comparison.task {
                Task::Raw => "to raw",
                Task::Compressed => "compressed",
            };
            let (ours, theirs) = (&comparison.imgferry, &comparison.qemu_img);
            [
                (format!("imgferry, {task}"), ours, Ink::Second),
                (format!("qemu-img, {task}"), theirs, Ink::First),
            ]
        })
        .map(|(name, side, ink)| Bar {
            name,
            spread: spread(&side.seconds_flushed, 1.0),
            value: match side.seconds_flushed.median {
                seconds if seconds < 10.0 => format!("{seconds:.2} s"),
                seconds => format!("{seconds:.1} s"),
            },
            ink,
        })
        .collect();
    page::bars(
        "Seconds of both programs",
        "seconds, less is better",
        Axis::Linear,
        &bars,
    )
}
