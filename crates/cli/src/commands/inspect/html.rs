//! What is known of an image, as one HTML page: what the table says, the map of the disk, and the
//! system with the commands that mend it.

use ::guest::{Finding, Report, Severity};
use diskimg::{DiskMap, printable};
use maud::{Markup, html};

use super::facts::Inspection;
use super::{guest, svg, table};

/// The page for `inspection`: one file that needs no other.
pub(super) fn page(map: &DiskMap, inspection: &Inspection) -> String {
    let body = html! {
        main {
            header {
                p class="quiet" { "imgferry inspect" }
                h1 { (inspection.path) }
            }
            @if let Some(report) = &inspection.guest { (system(report)) }
            section { h2 { "Image" } (rows(&table::rows(inspection))) }
            section { h2 { "Map" } (svg::embedded(map, inspection)) }
        }
    };
    let title = format!("imgferry inspect: {}", inspection.path);
    page::document(&title, include_str!("html.css"), None, &body)
}

/// Names in the first column, values in the second.
fn rows(rows: &[(&'static str, String)]) -> Markup {
    html! {
        table {
            @for (name, value) in rows { tr { th { (name) } td { (value) } } "\n" }
        }
    }
}

fn system(report: &Report) -> Markup {
    let undecided = guest::undecided(report);
    html! {
        section {
            h2 { "System" }
            @if report.os.is_none() {
                // A disk of data breaks most rules.
                p { (guest::nothing(report)) }
            } @else {
                p { (guest::summary(report)) }
                (rows(&guest::facts(report)))
                @for found in &report.findings { (finding(found)) }
                @for (reason, rules) in undecided {
                    p { span class="tag" { "undecided" } " " b { (rules.join(", ")) } " " (reason) }
                }
            }
        }
    }
}

fn finding(finding: &Finding) -> Markup {
    let class = match finding.severity {
        Severity::WillNotBoot => "tag bad",
        Severity::NoNetwork | Severity::NoLogin | Severity::Degraded => "tag warn",
        Severity::Advice => "tag",
    };
    let more = finding.seen.len().saturating_sub(guest::MAX_SEEN);
    html! {
        article {
            h3 { span class=(class) { (finding.severity.name()) } " " (finding.id) }
            p { (finding.why) }
            @for seen in finding.seen.iter().take(guest::MAX_SEEN) {
                p class="quiet" { (guest::place(seen)) }
            }
            @if more > 0 { p class="quiet" { (more) " more" } }
            @if !finding.fix.is_empty() {
                // One click selects them all.
                pre class="commands" {
                    @for command in &finding.fix { (printable(command)) "\n" }
                }
            }
        }
        "\n"
    }
}

#[cfg(test)]
mod tests {
    use ::guest::{Os, Seen, Source};

    use super::*;

    #[test]
    fn texts_of_the_guest_stay_text() {
        let evil = "\"><script>alert(1)</script><!--\n\u{202e}".to_owned();
        let finding = |severity, fix: &str| Finding {
            id: "linux-fstab-by-name",
            severity,
            source: Source::Vendor,
            seen: vec![Seen {
                path: evil.clone(),
                line: Some(1),
                text: Some(evil.clone()),
            }],
            why: evil.clone(),
            fix: vec![fix.to_owned()],
        };
        let report = Report {
            // As os-release has it.
            os: Some(Os {
                name: Some(evil.clone()),
                version: Some(evil.clone()),
                ..Os::default()
            }),
            findings: vec![
                finding(Severity::WillNotBoot, "true\nfalse"),
                finding(Severity::Advice, &evil),
            ],
            ..Report::default()
        };
        let page = page::document("", "", None, &system(&report));
        let document = roxmltree::Document::parse_with_options(
            &page,
            roxmltree::ParsingOptions {
                allow_dtd: true,
                ..roxmltree::ParsingOptions::default()
            },
        );
        let document = document.unwrap();
        let all = |tag: &'static str| {
            let nodes = document.descendants();
            nodes.filter(move |node| node.has_tag_name(tag))
        };
        assert_eq!(all("script").count(), 0);
        assert!(!page.contains('\u{202e}'));
        let name = all("td").next().unwrap().text().unwrap();
        assert!(name.contains("<script>alert(1)</script>"), "{name}");
        // What breaks a line in a command would look like two commands.
        let commands = all("pre").next().unwrap().text().unwrap();
        assert_eq!(commands, "true\\nfalse\n");
    }
}
