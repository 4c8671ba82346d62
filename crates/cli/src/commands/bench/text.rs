//! The report as text for a terminal.

use std::fmt;

use ::bench::{
    Advice, Against, CpuShares, Limit, Machine, Report, Setting, Source, Spread, megabytes,
};
use diskimg::units::human;

use crate::commands::table::table;

/// A report as text.
pub(super) struct Text<'a>(pub(super) &'a Report);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.0;
        writeln!(f, "machine  {}", machine(&report.machine))?;
        writeln!(f, "disk     {}", source(&report.source))?;
        if let Some(file_system) = &report.machine.output_file_system {
            writeln!(f, "output   to {file_system}")?;
        }
        writeln!(f, "\n{}\n", figures(report))?;
        if let Some(against) = &report.against {
            writeln!(f, "{}\n", compared(against))?;
        }
        let lines = report.advice.as_ref().map(advice).unwrap_or_default();
        f.write_str(&lines.join("\n"))
    }
}

/// The machine in one line.
pub(super) fn machine(machine: &Machine) -> String {
    let cores = match machine.cores {
        1 => "1 core".to_owned(),
        cores => format!("{cores} cores"),
    };
    [
        machine.cpu.clone(),
        Some(cores),
        machine.memory_bytes.map(human),
        machine.os.clone(),
        machine
            .kernel
            .as_ref()
            .map(|kernel| format!("kernel {kernel}")),
    ]
    .into_iter()
    .flatten()
    .collect::<Vec<_>>()
    .join(", ")
}

/// The disk in one line.
pub(super) fn source(source: &Source) -> String {
    let name = match &source.path {
        Some(path) => format!("{path} ({})", source.format),
        None => "generated, like an operating system's (raw)".to_owned(),
    };
    let part = match source.whole {
        false => format!(
            ", measured with {} from all over it",
            human(source.measured_bytes)
        ),
        true => String::new(),
    };
    let cached = match source.in_page_cache {
        true => "; in the page cache",
        false => "",
    };
    format!(
        "{name}, {} virtual, {} of data{part}{cached}",
        human(source.virtual_size_bytes),
        human(source.data_bytes)
    )
}

/// A share as percent.
pub(super) fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// All figures in rows: stage, threads, level, median, min, max, output.
pub(super) fn rows(report: &Report) -> Vec<Vec<String>> {
    report
        .figures
        .iter()
        .map(|figure| {
            let Spread {
                median, min, max, ..
            } = figure.bytes_per_second;
            vec![
                figure.stage.title().to_owned(),
                figure.threads.to_string(),
                figure
                    .level
                    .map(|level| level.to_string())
                    .unwrap_or_default(),
                megabytes(median),
                megabytes(min),
                megabytes(max),
                figure
                    .output_share()
                    .map(|share| format!("{:.1} %", share * 100.0))
                    .unwrap_or_default(),
            ]
        })
        .collect()
}

/// Heads of [`rows`].
pub(super) const HEADS: [&str; 7] = [
    "stage", "threads", "level", "MB/s", "lowest", "highest", "output",
];

fn figures(report: &Report) -> String {
    let mut all = vec![HEADS.map(str::to_owned).to_vec()];
    all.extend(rows(report));
    right_aligned(all, 1)
}

/// A table whose columns from `first` on are numbers.
fn right_aligned(mut rows: Vec<Vec<String>>, first: usize) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    for column in first..columns {
        let width = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0);
        for cell in rows.iter_mut().filter_map(|row| row.get_mut(column)) {
            *cell = format!("{cell:>width$}");
        }
    }
    table(&rows)
}

fn compared(against: &Against) -> String {
    let mut rows = vec![
        [
            "seconds",
            "imgferry",
            "qemu-img",
            "faster by",
            "flushed:",
            "imgferry",
            "qemu-img",
            "faster by",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for comparison in &against.comparisons {
        let (ours, theirs) = (&comparison.imgferry, &comparison.qemu_img);
        let ratio = theirs.seconds.median / ours.seconds.median.max(1e-9);
        rows.push(vec![
            comparison.task.title().to_owned(),
            format!("{:.2}", ours.seconds.median),
            format!("{:.2}", theirs.seconds.median),
            format!("{ratio:.2}"),
            String::new(),
            format!("{:.2}", ours.seconds_flushed.median),
            format!("{:.2}", theirs.seconds_flushed.median),
            format!("{:.2}", comparison.speedup),
        ]);
    }
    format!("against {}\n{}", against.version, right_aligned(rows, 1))
}

/// The advice in sentences.
pub(super) fn advice(advice: &Advice) -> Vec<String> {
    let mut lines = limit("converting to a file", &advice.convert);
    if let Some(import) = &advice.import {
        lines.extend(limit("importing over this line", import));
    }
    lines.push(String::new());
    lines.push(format!(
        "use      {} to convert to a file here",
        options(&advice.convert)
    ));
    if let Some(import) = &advice.import {
        lines.push(format!(
            "         {} to import over this line",
            options(import)
        ));
    }
    for line in &advice.lines {
        lines.push(format!(
            "         {} to import over {} (computed: {} MB/s, limited by {})",
            options(&line.setting),
            bits(line.line_bits_per_second),
            megabytes(line.setting.expected_bytes_per_second),
            line.setting.bottleneck.title(),
        ));
    }
    let line_counts = |import: &Setting| import.bottleneck == Limit::Network;
    if !advice.lines.is_empty() || advice.import.as_ref().is_some_and(line_counts) {
        lines.push("         --level auto to import over a line whose speed varies".to_owned());
    }
    let threads = &advice.threads;
    lines.push(match threads.default_is_as_good {
        true => format!(
            "         the default number of threads, {}",
            threads.default
        ),
        false => format!(
            "         --threads {} (the default is {})",
            threads.recommended, threads.default
        ),
    });
    lines
}

fn options(setting: &Setting) -> String {
    format!("--level {}", setting.level)
}

/// The speed of a line, as it is sold.
pub(super) fn bits(per_second: u64) -> String {
    match per_second / 1_000_000 {
        mega if mega >= 1000 => format!("{} Gbit/s", mega / 1000),
        mega => format!("{mega} Mbit/s"),
    }
}

/// What limits it, and how close to that it came.
fn limit(doing: &str, setting: &Setting) -> Vec<String> {
    let mut lines = vec![format!(
        "limit    {doing} at level {}: {}, at {} MB/s of the disk",
        setting.level,
        setting.bottleneck.title(),
        megabytes(setting.expected_bytes_per_second)
    )];
    if let Some(measured) = setting.measured_bytes_per_second {
        lines.push(format!(
            "         measured {} MB/s, {} of that",
            megabytes(measured),
            percent(measured / setting.expected_bytes_per_second)
        ));
    }
    if setting.bottleneck == Limit::Cpu {
        lines.push(format!("         {}", shares(&setting.cpu_shares)));
    }
    lines
}

/// What the processor does, the most first, without shares below a hundredth.
fn shares(shares: &CpuShares) -> String {
    let mut parts = [
        ("compression", shares.compress),
        ("SHA-256", shares.sha256),
        ("MD5", shares.md5),
        ("reading", shares.read),
        ("zero detection", shares.zero_detect),
    ];
    parts.sort_by(|a, b| b.1.total_cmp(&a.1));
    parts
        .iter()
        .filter(|(_, share)| *share >= 0.01)
        .map(|(name, share)| format!("{name} {}", percent(*share)))
        .collect::<Vec<_>>()
        .join(", ")
}
