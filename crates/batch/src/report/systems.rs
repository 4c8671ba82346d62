//! What is wrong with the systems on the disks, and the commands that mend them.

use diskimg::printable;
use guest::Severity;
use maud::{Markup, html};

use super::system;
use crate::outcome::{BatchReport, ItemOutcome};
use crate::readiness::{GuestFinding, Readiness, Verdict};

/// Most disks that are listed: the table has the verdict of all.
const MAX_DISKS: usize = 500;

/// The disks on whose systems something was found, the worst first; no section if there are none.
pub(super) fn draw(report: &BatchReport) -> Markup {
    let items = report.items.iter();
    let mut found: Vec<(&ItemOutcome, &Readiness)> = items
        .filter_map(|item| Some((item, item.guest.as_ref()?)))
        .filter(|(_, guest)| !guest.findings.is_empty())
        .collect();
    found.sort_by_key(|(item, _)| rank(item));
    html! {
        @if !found.is_empty() {
            section {
                h2 { "Systems" }
                @if found.len() > MAX_DISKS {
                    p class="note" { "The worst " (MAX_DISKS) " of " (found.len()) " are listed." }
                }
                @for (item, guest) in found.into_iter().take(MAX_DISKS) { (disk(item, guest)) }
            }
        }
    }
}

/// How bad it is, worst first, after it those that were not checked, and those that are ready.
pub(super) fn rank(item: &ItemOutcome) -> usize {
    let severities = Severity::ALL.len();
    let Some(guest) = &item.guest else {
        return severities.saturating_add(2);
    };
    match (guest.verdict, guest.worst()) {
        (Verdict::Problems, Some(worst)) => {
            let place = Severity::ALL.iter().position(|one| *one == worst);
            place.unwrap_or(severities)
        }
        (Verdict::Problems | Verdict::NotChecked, _) => severities,
        (Verdict::Ready, _) => severities.saturating_add(1),
    }
}

fn disk(item: &ItemOutcome, guest: &Readiness) -> Markup {
    // What is only advice is folded up.
    let open = (guest.verdict == Verdict::Problems).then_some("open");
    html! {
        details class="system" open=[open] {
            summary { b { (item.name) } " " (system(item)) }
            p class="source" { (item.source) }
            @for finding in &guest.findings { (one(finding)) }
        }
        "\n"
    }
}

fn one(finding: &GuestFinding) -> Markup {
    let class = match finding.severity {
        Severity::WillNotBoot => "bad",
        Severity::NoNetwork | Severity::NoLogin | Severity::Degraded => "open",
        Severity::Advice => "calm",
    };
    html! {
        p { span class={ "tag " (class) } { (finding.severity.name()) } " " b { (finding.id) } " "
            (finding.why) }
        (page::commands(finding.fix.iter().map(|line| printable(line))))
    }
}
