//! The report as a page.

use ::bench::{Advice, Report, Setting, against, charts, facts, megabytes, table};
use maud::{Markup, html};

use super::text::{HEADS, advice, bits, machine, percent, rows, source};

/// The page for `report`: one file that needs no other.
pub(super) fn page(report: &Report) -> String {
    let body = html! {
        main {
            header {
                h1 { "imgferry bench" }
                p { (source(&report.source)) }
                p class="quiet" { (machine(&report.machine)) }
            }
            @for warning in &report.warnings { p class="warning" { (warning) } }
            @if let Some(found) = &report.advice { (cards(found)) }
            (charts(report))
            @if let Some(found) = &report.advice {
                section {
                    h2 { "Recommendation" }
                    div class="scroll" { pre { (advice(found).join("\n")) } }
                }
            }
            (table("All figures", &HEADS, &rows(report)))
            @if let Some(found) = &report.against { (against(found)) }
            (facts(report))
        }
    };
    page::document("imgferry bench", include_str!("page.css"), None, &body)
}

/// The figures that are seen first.
fn cards(found: &Advice) -> Markup {
    let convert = &found.convert;
    let expected = convert.expected_bytes_per_second;
    let measured = convert.measured_bytes_per_second.unwrap_or(expected);
    let mut cards = vec![
        (
            "Converting".to_owned(),
            format!("{} MB/s", megabytes(measured)),
            format!("of the disk, at level {}", convert.level),
        ),
        (
            "Limited by".to_owned(),
            convert.bottleneck.title().to_owned(),
            match convert.measured_bytes_per_second {
                Some(measured) => format!("reached {} of it", percent(measured / expected)),
                None => format!("at {} MB/s", megabytes(expected)),
            },
        ),
        (
            "Use".to_owned(),
            format!("--level {}", convert.level),
            match found.threads.default_is_as_good {
                true => format!("and the default of {} threads", found.threads.default),
                false => format!("and --threads {}", found.threads.recommended),
            },
        ),
    ];
    let over = |line: String, computed: &str, setting: &Setting| {
        let rate = megabytes(setting.expected_bytes_per_second);
        (
            format!("Importing over {line}"),
            format!("--level {}", setting.level),
            format!(
                "{computed}{rate} MB/s of the disk, limited by {}",
                setting.bottleneck.title()
            ),
        )
    };
    if let Some(import) = &found.import {
        cards.push(over("this line".to_owned(), "", import));
    } else if let Some(line) = found.lines.first() {
        cards.push(over(
            bits(line.line_bits_per_second),
            "computed: ",
            &line.setting,
        ));
    }
    html! {
        section class="cards" {
            @for (title, value, detail) in cards {
                div class="card" { h2 { (title) } p class="big" { (value) } p class="quiet" { (detail) } }
            }
        }
    }
}
