//! The charts of the page, each from the report.

use super::advice::Setting;
use super::chart::{Anchor, Scale, Svg};
use super::figures::{Figure, Stage, find};
use super::peer::Against;
use super::report::{Report, megabytes, output_share};
use super::stats::Spread;

/// Width of every chart in its own units; pages scale it.
const WIDTH: f64 = 520.0;
/// Height of a row of bars.
const ROW: f64 = 24.0;
/// Room for names before bars.
const NAMES: f64 = 152.0;
/// Room for figures behind bars.
const VALUES: f64 = 58.0;

/// A bar with its name.
struct Bar {
    name: String,
    spread: Spread,
    class: &'static str,
}

/// Bars across, one below the other.
fn bars(
    title: &str,
    bars: &[Bar],
    scale: Scale,
    (unit, tick): (&str, fn(f64) -> String),
    value: fn(f64) -> String,
) -> String {
    let height = bars.len() as f64 * ROW + 44.0;
    let mut svg = Svg::new(WIDTH, height, title);
    let bottom = bars.len() as f64 * ROW + 8.0;
    for mark in scale.marks() {
        let x = scale.at(mark);
        svg.line((x, 4.0), (x, bottom), "grid");
        svg.text((x, bottom + 15.0), Anchor::Middle, "tick", tick(mark));
    }
    svg.text(
        (scale.at(f64::MAX), bottom + 31.0),
        Anchor::End,
        "tick",
        unit,
    );
    for (index, bar) in bars.iter().enumerate() {
        let y = 8.0 + index as f64 * ROW;
        let middle = y + ROW / 2.0 - 2.0;
        let (start, end) = (scale.at(0.0), scale.at(bar.spread.median));
        svg.text((NAMES - 8.0, middle + 4.0), Anchor::End, "label", &bar.name);
        svg.rect((start, y), ((end - start).max(1.0), ROW - 6.0), bar.class);
        let (low, high) = (scale.at(bar.spread.min), scale.at(bar.spread.max));
        if high - low > 1.0 {
            svg.whisker((low, middle), (high, middle));
        }
        let behind = high.max(end) + 7.0;
        svg.text(
            (behind, middle + 4.0),
            Anchor::Start,
            "value",
            value(bar.spread.median),
        );
    }
    svg.finish()
}

fn bar(figure: &Figure, class: &'static str) -> Bar {
    let name = match figure.level {
        Some(level) => format!("{}, level {level}", short(figure.stage)),
        None => short(figure.stage).to_owned(),
    };
    Bar {
        name,
        spread: figure.bytes_per_second,
        class,
    }
}

/// Names that fit before a bar.
fn short(stage: Stage) -> &'static str {
    match stage {
        Stage::Convert => "convert",
        Stage::Import => "import",
        Stage::Read => "read",
        other => other.title(),
    }
}

/// The rate of each stage, with all cores where it uses them.
pub(super) fn stages(report: &Report) -> String {
    let cores = report.machine.cores;
    let shown = report.figures.iter().filter(|figure| match figure.stage {
        Stage::Read | Stage::ZeroDetect | Stage::Compress | Stage::Sha256 | Stage::Md5 => {
            figure.threads == cores.max(1)
        }
        Stage::Convert => figure.threads == report.settings.default_threads,
        Stage::Write | Stage::Upload | Stage::Transfer | Stage::Import => true,
    });
    let all: Vec<Bar> = shown
        .map(|figure| {
            let whole = matches!(
                figure.stage,
                Stage::Convert | Stage::Import | Stage::Transfer
            );
            bar(figure, if whole { "second" } else { "first" })
        })
        .collect();
    let lowest = all
        .iter()
        .map(|bar| bar.spread.min)
        .fold(f64::INFINITY, f64::min);
    let highest = all.iter().map(|bar| bar.spread.max).fold(0.0, f64::max);
    // Stages differ by a factor of a thousand.
    let scale = Scale::logarithmic(lowest, highest, NAMES, WIDTH - VALUES);
    bars(
        "Rate of each stage",
        &all,
        scale,
        ("MB/s, logarithmic", |mark| plain(mark / 1e6)),
        megabytes,
    )
}

/// What each limit allows, against what was measured.
pub(super) fn limits(setting: &Setting) -> String {
    let of = |rate: f64| Spread::of(&[rate]);
    let mut all: Vec<Bar> = setting
        .limits
        .iter()
        .filter_map(|limit| {
            let name = limit.limit.title().to_owned();
            let spread = of(limit.bytes_per_second)?;
            let class = match limit.limit == setting.bottleneck {
                true => "alarm",
                false => "first",
            };
            Some(Bar {
                name,
                spread,
                class,
            })
        })
        .collect();
    all.extend(setting.measured_bytes_per_second.and_then(|measured| {
        Some(Bar {
            name: "measured".to_owned(),
            spread: of(measured)?,
            class: "second",
        })
    }));
    let highest = all.iter().map(|bar| bar.spread.max).fold(0.0, f64::max);
    // Ends with the bars, not with the next mark: what is much higher needs no room.
    let scale = Scale::linear(highest / 1e6, NAMES, WIDTH - VALUES);
    for bar in &mut all {
        bar.spread = in_megabytes(&bar.spread);
    }
    bars(
        "What each limit allows",
        &all,
        scale,
        ("MB/s of the disk", plain),
        whole,
    )
}

fn in_megabytes(spread: &Spread) -> Spread {
    Spread {
        median: spread.median / 1e6,
        min: spread.min / 1e6,
        max: spread.max / 1e6,
        mad: spread.mad / 1e6,
        runs: spread.runs,
    }
}

fn whole(value: f64) -> String {
    megabytes(value * 1e6)
}

/// A mark on an axis: marks are round already.
fn plain(mark: f64) -> String {
    match (mark - mark.round()).abs() < 1e-6 {
        true => format!("{:.0}", mark.abs().round()),
        false => format!("{mark:.2}").trim_end_matches('0').to_owned(),
    }
}

fn seconds(value: f64) -> String {
    match value {
        value if value < 10.0 => format!("{value:.2} s"),
        value => format!("{value:.1} s"),
    }
}

/// Edges of the charts with two axes.
const LEFT: f64 = 58.0;
const RIGHT: f64 = WIDTH - 18.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 250.0;

/// Axes with a grid and names.
fn axes(svg: &mut Svg, x: (Scale, &str, fn(f64) -> String), y: (Scale, &str)) {
    for mark in y.0.marks() {
        let at = y.0.at(mark);
        svg.line((LEFT, at), (RIGHT, at), "grid");
        svg.text((LEFT - 7.0, at + 4.0), Anchor::End, "tick", plain(mark));
    }
    for mark in x.0.marks() {
        let at = x.0.at(mark);
        svg.line((at, BOTTOM), (at, BOTTOM + 4.0), "axis");
        svg.text((at, BOTTOM + 18.0), Anchor::Middle, "tick", (x.2)(mark));
    }
    svg.line((LEFT, BOTTOM), (RIGHT, BOTTOM), "axis");
    svg.text((RIGHT, BOTTOM + 36.0), Anchor::End, "tick", x.1);
    svg.text((4.0, TOP - 14.0), Anchor::Start, "tick", y.1);
}

/// A point of a line, with its spread.
struct Point {
    x: f64,
    spread: Spread,
    name: String,
}

fn series(svg: &mut Svg, points: &[Point], (x, y): (Scale, Scale), class: &str) {
    let at: Vec<_> = points
        .iter()
        .map(|point| (x.at(point.x), y.at(point.spread.median)))
        .collect();
    svg.polyline(&at, &format!("path {class}"));
    for (point, at) in points.iter().zip(at) {
        svg.whisker(
            (at.0, y.at(point.spread.min)),
            (at.0, y.at(point.spread.max)),
        );
        svg.dot(at, 4.0, class);
        svg.text(
            (at.0 + 8.0, at.1 - 7.0),
            Anchor::Start,
            "value",
            &point.name,
        );
    }
}

fn highest<'a>(points: impl Iterator<Item = &'a Point>) -> f64 {
    points.map(|point| point.spread.max).fold(0.0, f64::max)
}

/// Speed against size, by level; nothing without levels.
pub(super) fn levels(report: &Report) -> Option<String> {
    let cores = report.machine.cores.max(1);
    let mut alone = Vec::new();
    let mut whole_way = Vec::new();
    for level in &report.settings.levels {
        let Some(figure) = find(&report.figures, Stage::Compress, cores, Some(*level)) else {
            continue;
        };
        let share = output_share(figure)? * 100.0;
        let point = |figure: &Figure, name: String| Point {
            x: share,
            spread: in_megabytes(&figure.bytes_per_second),
            name,
        };
        alone.push(point(figure, level.to_string()));
        let threads = report.settings.default_threads;
        if let Some(figure) = find(&report.figures, Stage::Convert, threads, Some(*level)) {
            whole_way.push(point(figure, String::new()));
        }
    }
    let low = alone.iter().map(|p| p.x).reduce(f64::min)?;
    let high = alone.iter().map(|p| p.x).reduce(f64::max)?;
    let x = Scale::between(low, high, LEFT + 12.0, RIGHT - 24.0);
    let y = Scale::linear(highest(alone.iter().chain(&whole_way)), BOTTOM, TOP);
    let mut svg = Svg::new(WIDTH, BOTTOM + 42.0, "Speed and size by level");
    axes(
        &mut svg,
        (x, "output, % of the data", |v| format!("{v:.0} %")),
        (y, "MB/s"),
    );
    series(&mut svg, &whole_way, (x, y), "second");
    series(&mut svg, &alone, (x, y), "first");
    let entries = [("first", "zstd alone"), ("second", "whole conversion")];
    svg.legend((LEFT + 60.0, TOP - 14.0), &entries);
    Some(svg.finish())
}

/// Rate by number of threads, against as many times one thread; nothing with fewer than two.
pub(super) fn threads(report: &Report) -> Option<String> {
    let level = report.settings.measured_level;
    let mut figures: Vec<&Figure> = report
        .of(Stage::Convert)
        .filter(|figure| figure.level == Some(level))
        .collect();
    figures.sort_by_key(|figure| figure.threads);
    let points: Vec<Point> = figures
        .iter()
        .map(|figure| Point {
            x: figure.threads as f64,
            spread: in_megabytes(&figure.bytes_per_second),
            name: String::new(),
        })
        .collect();
    let (first, last) = (points.first()?, points.last()?);
    if points.len() < 2 {
        return None;
    }
    let x = Scale::counting(last.x, LEFT, RIGHT - 12.0);
    // Cores end where twice the threads are no more.
    let per_thread = first.spread.median / first.x;
    let ideal_end = last.x.min(report.machine.cores as f64).max(first.x);
    let ideal = [(0.0, 0.0), (ideal_end, per_thread * ideal_end)];
    let top = highest(points.iter()).max(per_thread * ideal_end);
    let y = Scale::linear(top, BOTTOM, TOP);
    let mut svg = Svg::new(WIDTH, BOTTOM + 42.0, "Rate by number of threads");
    axes(&mut svg, (x, "worker threads", plain), (y, "MB/s"));
    svg.polyline(&ideal.map(|(n, rate)| (x.at(n), y.at(rate))), "path ideal");
    series(&mut svg, &points, (x, y), "second");
    let entries = [
        ("second", "converting"),
        ("ideal", "as many times one thread"),
    ];
    svg.legend((LEFT + 60.0, TOP - 14.0), &entries);
    Some(svg.finish())
}

/// Seconds of both programs.
pub(super) fn against(against: &Against) -> String {
    let all: Vec<Bar> = against
        .comparisons
        .iter()
        .flat_map(|comparison| {
            let task = match comparison.task {
                super::peer::Task::Raw => "to raw",
                super::peer::Task::Compressed => "compressed",
            };
            let (ours, theirs) = (&comparison.imgferry, &comparison.qemu_img);
            [
                (format!("imgferry, {task}"), ours.seconds_flushed, "second"),
                (format!("qemu-img, {task}"), theirs.seconds_flushed, "first"),
            ]
        })
        .map(|(name, spread, class)| Bar {
            name,
            spread,
            class,
        })
        .collect();
    let highest = all.iter().map(|bar| bar.spread.max).fold(0.0, f64::max);
    let scale = Scale::linear(highest, NAMES, WIDTH - VALUES);
    bars(
        "Seconds of both programs",
        &all,
        scale,
        ("seconds, less is better", plain),
        seconds,
    )
}
