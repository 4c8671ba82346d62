//! What is known of an image, as one HTML page: what the table says, the map of the disk, and the
//! system with the commands that mend it.

use diskimg::printable;
use diskimg::units::human;
use guest::{Finding, Held, Report, Severity};
use maud::{Markup, html};

use crate::Inspection;

impl Inspection {
    /// One HTML file that needs no other.
    #[must_use]
    pub fn page(&self) -> String {
        let body = html! {
            main {
                header {
                    p class="quiet" { "imgferry inspect" }
                    h1 { (self.path) }
                }
                @if let Some(report) = &self.guest { (system(report)) (volumes(&report.volumes)) }
                section { h2 { "Image" } (rows(&self.rows())) }
                section { h2 { "Map" } (self.embedded()) }
            }
        };
        let title = format!("imgferry inspect: {}", self.path);
        ::page::document(&title, include_str!("page.css"), None, &body)
    }
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
    html! {
        section {
            h2 { "System" }
            @if report.os.is_none() {
                // A disk of data breaks most rules.
                p { (report.no_system()) }
            } @else {
                p { (report.summary()) }
                (rows(&report.rows()))
                @for found in &report.findings { (finding(found)) }
                @for (reason, rules) in report.undecided() {
                    p { span class="tag" { "undecided" } " " b { (rules.join(", ")) } " " (reason) }
                }
            }
        }
    }
}

/// Partitions, and the volumes on them.
fn volumes(volumes: &[Held]) -> Markup {
    html! {
        @if !volumes.is_empty() {
            section {
                h2 { "Volumes" }
                table {
                    @for held in volumes {
                        tr {
                            th { (held.volume) }
                            td { (human(held.size)) }
                            td { (held.closed.as_ref().unwrap_or(&held.content)) }
                            td { (held.label.as_deref().unwrap_or_default()) }
                            td class="quiet" { (held.uuid.as_deref().unwrap_or_default()) }
                        }
                        "\n"
                    }
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
    let (places, more) = finding.places();
    html! {
        article {
            h3 { span class=(class) { (finding.severity.name()) } " " (finding.id) }
            p { (finding.why) }
            @for seen in places { p class="quiet" { (seen) } }
            @if more > 0 { p class="quiet" { (more) " more" } }
            (::page::commands(finding.fix.iter().map(|line| printable(line))))
        }
        "\n"
    }
}

#[cfg(test)]
mod tests {
    use guest::{Os, Seen, Source};

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
            mended_by: guest::MendedBy::User,
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
        let page = ::page::document("", "", None, &system(&report));
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
