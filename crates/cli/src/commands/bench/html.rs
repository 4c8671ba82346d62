//! The page: everything in one file that needs nothing else.

use std::fmt::Write as _;

use diskimg::units::human;

use super::advice::{Advice, Setting};
use super::plots;
use super::report::{HEADS, Report, advice, bits, machine, megabytes, percent, rows, source};
use crate::commands::markup::{escaped, escaped_whole};

const STYLE: &str = include_str!("page.css");

/// The page for `report`. Well-formed XML, so that it can be checked like that.
pub(super) fn page(report: &Report) -> String {
    let mut page = String::from(
        "<!DOCTYPE html>\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\">\n<head>\n<meta charset=\"utf-8\"/>\n",
    );
    page.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n");
    // Nothing is fetched, whatever a name in here says.
    page.push_str("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>\n");
    let _ = write!(
        page,
        "<title>imgferry bench</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n"
    );
    head(&mut page, report);
    if let Some(found) = &report.advice {
        verdict(&mut page, found);
    }
    charts(&mut page, report);
    figures(&mut page, report);
    compared(&mut page, report);
    facts(&mut page, report);
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

fn head(page: &mut String, report: &Report) {
    let _ = write!(
        page,
        "<header>\n<h1>imgferry bench</h1>\n<p>{}</p>\n<p class=\"quiet\">{}</p>\n</header>\n",
        escaped_whole(&source(&report.source)),
        escaped_whole(&machine(&report.machine)),
    );
    for warning in &report.warnings {
        let _ = writeln!(page, "<p class=\"warning\">{}</p>", escaped_whole(warning));
    }
}

/// A figure that is seen first.
fn card(page: &mut String, title: &str, value: &str, detail: &str) {
    let _ = writeln!(
        page,
        "<div class=\"card\"><h2>{}</h2><p class=\"big\">{}</p><p class=\"quiet\">{}</p></div>",
        escaped(title),
        escaped(value),
        escaped(detail)
    );
}

fn verdict(page: &mut String, found: &Advice) {
    let convert = &found.convert;
    page.push_str("<section class=\"cards\">\n");
    let measured = convert
        .measured_bytes_per_second
        .unwrap_or(convert.expected_bytes_per_second);
    card(
        page,
        "Converting",
        &format!("{} MB/s", megabytes(measured)),
        &format!("of the disk, at level {}", convert.level),
    );
    card(
        page,
        "Limited by",
        convert.bottleneck.title(),
        &explained(convert),
    );
    let threads = match found.threads.default_is_as_good {
        true => format!("and the default of {} threads", found.threads.default),
        false => format!("and --threads {}", found.threads.recommended),
    };
    card(page, "Use", &format!("--level {}", convert.level), &threads);
    match &found.import {
        Some(import) => card(
            page,
            "Importing over this line",
            &format!("--level {}", import.level),
            &format!(
                "{} MB/s of the disk, limited by {}",
                megabytes(import.expected_bytes_per_second),
                import.bottleneck.title()
            ),
        ),
        None => {
            let slow = found.lines.first();
            if let Some(line) = slow {
                card(
                    page,
                    &format!("Importing over {}", bits(line.line_bits_per_second)),
                    &format!("--level {}", line.setting.level),
                    &format!(
                        "computed: {} MB/s, limited by {}",
                        megabytes(line.setting.expected_bytes_per_second),
                        line.setting.bottleneck.title()
                    ),
                );
            }
        }
    }
    page.push_str("</section>\n");
}

fn explained(setting: &Setting) -> String {
    match setting.measured_bytes_per_second {
        Some(measured) => format!(
            "{} of what it allows was reached",
            percent(measured / setting.expected_bytes_per_second)
        ),
        None => format!("at {} MB/s", megabytes(setting.expected_bytes_per_second)),
    }
}

fn charts(page: &mut String, report: &Report) {
    page.push_str("<section class=\"charts\">\n");
    let mut figure = |title: &str, note: &str, svg: &str| {
        let _ = write!(
            page,
            "<figure>\n<figcaption><h2>{title}</h2><p class=\"quiet\">{note}</p></figcaption>\n{svg}</figure>\n"
        );
    };
    figure(
        "Rate of each stage",
        "All cores where the stage uses them. Bars are medians, whiskers the lowest and highest run.",
        &plots::stages(report),
    );
    if let Some(found) = &report.advice {
        figure(
            "What each limit allows",
            "Rates at the recommended level if nothing else held it up. The lowest is the bottleneck.",
            &plots::limits(&found.convert),
        );
    }
    if let Some(svg) = plots::levels(report) {
        figure(
            "Speed and size by level",
            "Each point is a zstd level. Left is smaller, up is faster.",
            &svg,
        );
    }
    if let Some(svg) = plots::threads(report) {
        figure(
            "Rate by number of threads",
            "Whole conversions. The dashed line ends at the number of cores.",
            &svg,
        );
    }
    if let Some(found) = &report.against {
        figure(
            "Against qemu-img",
            "Until the disk has the output, in turns, from the page cache.",
            &plots::against(found),
        );
    }
    page.push_str("</section>\n");
}

/// A table in a box that scrolls by itself on narrow screens.
fn table(page: &mut String, title: &str, heads: &[&str], rows: &[Vec<String>]) {
    let _ = write!(
        page,
        "<section>\n<h2>{title}</h2>\n<div class=\"scroll\"><table>\n<thead><tr>"
    );
    for head in heads {
        let _ = write!(page, "<th>{}</th>", escaped(head));
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    for row in rows {
        page.push_str("<tr>");
        for cell in row {
            let _ = write!(page, "<td>{}</td>", escaped(cell));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody>\n</table></div>\n</section>\n");
}

fn figures(page: &mut String, report: &Report) {
    if let Some(found) = &report.advice {
        let lines: Vec<String> = advice(found)
            .iter()
            .map(|line| escaped_whole(line))
            .collect();
        let _ = write!(
            page,
            "<section>\n<h2>Recommendation</h2>\n<div class=\"scroll\"><pre>{}</pre></div>\n</section>\n",
            lines.join("\n")
        );
    }
    table(page, "All figures", &HEADS, &rows(report));
}

fn compared(page: &mut String, report: &Report) {
    let Some(found) = &report.against else {
        return;
    };
    let mut all = Vec::new();
    for comparison in &found.comparisons {
        for (name, side) in [
            ("imgferry", &comparison.imgferry),
            ("qemu-img", &comparison.qemu_img),
        ] {
            all.push(vec![
                name.to_owned(),
                side.command.clone(),
                format!("{:.2}", side.seconds.median),
                format!("{:.2}", side.seconds_flushed.median),
                format!(
                    "{:.2} to {:.2}",
                    side.seconds_flushed.min, side.seconds_flushed.max
                ),
                human(side.output_bytes_on_disk),
            ]);
        }
    }
    let heads = [
        "program",
        "command",
        "seconds",
        "flushed",
        "lowest to highest",
        "output",
    ];
    table(
        page,
        &format!("Against {}", escaped(&found.version)),
        &heads,
        &all,
    );
}

fn facts(page: &mut String, report: &Report) {
    let machine = &report.machine;
    let settings = &report.settings;
    let list = |numbers: Vec<String>| numbers.join(", ");
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
            Some(
                settings
                    .upload
                    .clone()
                    .unwrap_or_else(|| "a sandbox on this machine".into()),
            ),
        ),
        ("Rounds", Some(settings.repeat.to_string())),
        (
            "Levels",
            Some(list(
                settings.levels.iter().map(ToString::to_string).collect(),
            )),
        ),
        (
            "Threads",
            Some(list(
                settings.threads.iter().map(ToString::to_string).collect(),
            )),
        ),
        ("Most memory held", report.peak_memory_bytes.map(human)),
        (
            "Measured in",
            Some(format!("{:.0} s", report.elapsed_seconds)),
        ),
    ];
    page.push_str("<section>\n<h2>Machine and settings</h2>\n<dl>\n");
    for (name, value) in facts {
        if let Some(value) = value {
            let _ = writeln!(
                page,
                "<div><dt>{name}</dt><dd>{}</dd></div>",
                escaped(&value)
            );
        }
    }
    page.push_str("</dl>\n</section>\n");
}
