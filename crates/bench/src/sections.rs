//! Sections of a report's page that hold for every program.

use diskimg::units::human;
use maud::{Markup, html};
use page::shortened;

use crate::charts::{against_chart, levels_chart, limits_chart, stages_chart, threads_chart};
use crate::peer::Against;
use crate::report::Report;

/// Most characters of a text from outside.
const MAX_TEXT: usize = 100;

/// All charts of the report, each with what it shows.
pub fn charts(report: &Report) -> Markup {
    let found = report.advice.as_ref();
    let charts = [
        (
            "Rate of each stage",
            "All cores where the stage uses them. Bars are medians, whiskers the lowest and highest run.",
            Some(stages_chart(report)),
        ),
        (
            "What each limit allows",
            "Rates at the recommended level if nothing else limited them. The lowest is the bottleneck.",
            found.map(|found| limits_chart(&found.convert)),
        ),
        (
            "Speed and size by level",
            "Each point is a zstd level. Left is smaller, up is faster.",
            levels_chart(report),
        ),
        (
            "Rate by number of threads",
            "Whole conversions. The dashed line ends at the number of cores.",
            threads_chart(report),
        ),
        (
            "Against qemu-img",
            "Until the output is on the disk, in turns, from the page cache.",
            report.against.as_ref().map(against_chart),
        ),
    ];
    html! {
        section class="charts" {
            @for (title, note, chart) in charts {
                @if let Some(chart) = chart {
                    figure {
                        figcaption { h2 { (title) } p class="quiet" { (note) } }
                        (chart)
                    }
                }
            }
        }
    }
}

/// The machine and the settings.
pub fn facts(report: &Report) -> Markup {
    let (machine, settings) = (&report.machine, &report.settings);
    let list = |numbers: &[String]| Some(numbers.join(", "));
    let levels: Vec<_> = settings.levels.iter().map(ToString::to_string).collect();
    let threads: Vec<_> = settings.threads.iter().map(ToString::to_string).collect();
    let sandbox = || "a sandbox on this machine".to_owned();
    let facts = [
        ("Processor", machine.cpu.clone()),
        ("Cores", Some(machine.cores.to_string())),
        ("Memory", machine.memory_bytes.map(human)),
        ("System", machine.os.clone()),
        ("Kernel", machine.kernel.clone()),
        ("Architecture", Some(machine.architecture.to_owned())),
        (
            "File system of the output",
            machine.output_file_system.clone(),
        ),
        (
            "File system of the image",
            machine.image_file_system.clone(),
        ),
        ("imgferry", Some(machine.imgferry_version.to_owned())),
        ("Encoder", Some(machine.encoder_version.clone())),
        (
            "Compared with",
            report.against.as_ref().map(|found| found.version.clone()),
        ),
        (
            "Uploaded to",
            Some(settings.upload.clone().unwrap_or_else(sandbox)),
        ),
        ("Rounds", Some(settings.repeat.to_string())),
        ("Levels", list(&levels)),
        ("Threads", list(&threads)),
        ("Peak memory", report.peak_memory_bytes.map(human)),
        (
            "Measured in",
            Some(format!("{:.0} s", report.elapsed_seconds)),
        ),
    ];
    html! {
        section {
            h2 { "Machine and settings" }
            dl {
                @for (name, value) in facts {
                    @if let Some(value) = value {
                        div { dt { (name) } dd { (shortened(&value, MAX_TEXT)) } }
                    }
                }
            }
        }
    }
}

/// A table in a box that scrolls by itself on narrow screens.
pub fn table(title: &str, heads: &[&str], rows: &[Vec<String>]) -> Markup {
    html! {
        section {
            h2 { (title) }
            div class="scroll" {
                table {
                    thead { tr { @for head in heads { th { (head) } } } }
                    tbody {
                        @for row in rows {
                            tr { @for cell in row { td { (shortened(cell, MAX_TEXT)) } } }
                        }
                    }
                }
            }
        }
    }
}

/// What both programs took, run by run.
pub fn against(found: &Against) -> Markup {
    let sides = found.comparisons.iter().flat_map(|comparison| {
        [
            ("imgferry", &comparison.imgferry),
            ("qemu-img", &comparison.qemu_img),
        ]
    });
    let rows: Vec<_> = sides
        .map(|(name, side)| {
            let flushed = &side.seconds_flushed;
            vec![
                name.to_owned(),
                side.command.clone(),
                format!("{:.2}", side.seconds.median),
                format!("{:.2}", flushed.median),
                format!("{:.2} to {:.2}", flushed.min, flushed.max),
                human(side.output_bytes_on_disk),
            ]
        })
        .collect();
    let heads = [
        "program",
        "command",
        "seconds",
        "flushed",
        "lowest to highest",
        "output",
    ];
    table(
        &format!("Against {}", shortened(&found.version, MAX_TEXT)),
        &heads,
        &rows,
    )
}
