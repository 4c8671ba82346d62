//! The report as one HTML page that needs nothing else: no script but its own, nothing from
//! elsewhere.
//!
//! The page is well-formed XML too, so that a test can read it. A policy in its head lets a browser
//! run the one script whose digest it names, so that even markup that slipped through could do
//! nothing.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::write::{duration, escaped, moment, rate, short};
use super::{by_need, chart, end, gantt, worked};
use crate::outcome::{BatchReport, ItemOutcome, ItemState, Stage};

const STYLE: &str = include_str!("page.css");
/// Sorts the table by a column; without it, the page is complete all the same. It has neither < nor
/// &.
const SCRIPT: &str = include_str!("page.js");

/// The report as an HTML page.
#[must_use]
pub fn html(report: &BatchReport) -> String {
    let mut page = String::new();
    head(&mut page, report);
    summary(&mut page, report);
    troubles(&mut page, report);
    let curves = chart::draw(report);
    if !curves.is_empty() {
        let _ = write!(
            page,
            "<section><h2>Throughput</h2>\n<p class=\"legend\"><span class=\"key converted\"></span>converted (bytes of disks) <span class=\"key sent\"></span>sent to the bucket</p>\n<div class=\"wide\">{curves}</div></section>\n"
        );
    }
    let rows = gantt::draw(report);
    if !rows.is_empty() {
        page.push_str("<section><h2>Timeline</h2>\n<p class=\"legend\">");
        for stage in Stage::ALL {
            let used = report
                .items
                .iter()
                .any(|item| item.timeline.iter().any(|span| span.stage == stage));
            if used {
                let _ = write!(page, "<span class=\"key {stage}\"></span>{stage} ");
            }
        }
        let _ = write!(page, "</p>\n<div class=\"wide\">{rows}</div></section>\n");
    }
    table(&mut page, report);
    foot(&mut page, report);
    page
}

fn head(page: &mut String, report: &BatchReport) {
    let title = escaped(&report.manifest);
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text.as_bytes()));
    let (style, script) = (hash(STYLE), hash(SCRIPT));
    let (class, verdict) = verdict(report);
    let _ = write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; base-uri 'none'; form-action 'none'\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <meta name=\"color-scheme\" content=\"light dark\"/>\n\
         <title>{verdict}: {title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
         <header><p class=\"kicker\">imgferry batch</p><h1>{title} <span class=\"pill {class}\">{verdict}</span></h1>\n<p class=\"sub\">{}",
        moment(report.started)
    );
    let machine = &report.machine;
    let mut facts = Vec::new();
    facts.extend(
        machine
            .host
            .as_deref()
            .map(|host| format!("on {}", escaped(host))),
    );
    let worker = machine.worker.as_deref();
    facts.extend(worker.map(|worker| format!("worker {}", escaped(worker))));
    let region = machine.region.as_deref();
    facts.extend(region.map(|region| format!("region {}", escaped(region))));
    for fact in facts {
        let _ = write!(page, " · {fact}");
    }
    page.push_str("</p></header>\n<main>\n");
}

/// A class and a word or two for how it ended.
fn verdict(report: &BatchReport) -> (&'static str, String) {
    let totals = &report.totals;
    let bad = totals
        .count(ItemState::Failed)
        .saturating_add(totals.count(ItemState::Refused));
    let open = [ItemState::Cancelled, ItemState::Running, ItemState::Waiting]
        .into_iter()
        .map(|state| totals.count(state))
        .fold(0_usize, usize::saturating_add);
    match (bad, open, report.ended) {
        (_, _, None) => ("open", "running".to_owned()),
        (0, 0, _) => ("good", "all done".to_owned()),
        (0, open, _) => ("open", format!("{open} not done")),
        (bad, 0, _) => ("bad", format!("{bad} need attention")),
        (bad, open, _) => ("bad", format!("{bad} need attention, {open} not done")),
    }
}

fn summary(page: &mut String, report: &BatchReport) {
    let totals = &report.totals;
    let took = end(report).saturating_sub(report.started);
    page.push_str("<section class=\"cards\">\n");
    let mut card = |value: &str, label: &str, note: &str| {
        let _ = writeln!(
            page,
            "<div class=\"card\"><b>{value}</b><span>{label}</span><small>{note}</small></div>"
        );
    };
    let done = report
        .items
        .iter()
        .filter(|item| item.state.is_done())
        .count();
    card(
        &format!("{done} / {}", totals.items),
        "items done",
        &format!("exit code {}", report.exit),
    );
    card(
        &duration(took),
        "wall time",
        &report
            .machine
            .cpu_seconds
            .map(|seconds| format!("{seconds:.0} s of CPU, {} cores", report.machine.cores))
            .unwrap_or_else(|| format!("{} cores", report.machine.cores)),
    );
    card(
        &short(totals.virtual_bytes),
        "of disks",
        &format!("{} read", short(totals.read_bytes)),
    );
    card(
        &short(totals.sent_bytes),
        "sent",
        &match totals.kept_bytes {
            0 => rate(totals.sent_bytes, took),
            kept => format!(
                "{}, {} not sent again",
                rate(totals.sent_bytes, took),
                short(kept)
            ),
        },
    );
    if let Some(peak) = report.machine.peak_memory {
        let bound = format!("bound {}", short(report.machine.memory_bound));
        card(&short(peak), "memory at most", &bound);
    }
    card(&totals.retries.to_string(), "requests repeated", "");
    page.push_str("</section>\n");
    states(page, report);
}

/// One bar of all states.
fn states(page: &mut String, report: &BatchReport) {
    let all = report.totals.items.max(1) as f64;
    page.push_str("<section><svg class=\"states\" viewBox=\"0 0 1000 14\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"Items by state\" xmlns=\"http://www.w3.org/2000/svg\">");
    let mut x = 0.0;
    let mut legend = String::new();
    for state in ItemState::ALL.into_iter().rev() {
        let count = report.totals.count(state);
        if count == 0 {
            continue;
        }
        let width = count as f64 / all * 1000.0;
        let _ = write!(
            page,
            "<rect class=\"state {state}\" x=\"{x:.2}\" y=\"0\" width=\"{width:.2}\" height=\"14\"><title>{count} {state}</title></rect>"
        );
        let _ = write!(
            legend,
            "<span class=\"key state {state}\"></span>{count} {state} "
        );
        x += width;
    }
    let _ = write!(page, "</svg>\n<p class=\"legend\">{legend}</p></section>\n");
}

fn troubles(page: &mut String, report: &BatchReport) {
    let needy: Vec<_> = by_need(report)
        .into_iter()
        .filter(|item| item.state.is_failure() || item.state == ItemState::Cancelled)
        .collect();
    if !needy.is_empty() {
        page.push_str("<section><h2>Needs attention</h2>\n");
        for item in needy {
            trouble(page, item);
        }
        page.push_str("</section>\n");
    }
    let warned: Vec<_> = report
        .items
        .iter()
        .filter(|item| !item.warnings.is_empty())
        .collect();
    if !warned.is_empty() {
        page.push_str("<section><h2>Warnings</h2>\n<ul class=\"warnings\">\n");
        for item in warned {
            for warning in &item.warnings {
                let _ = writeln!(
                    page,
                    "<li><b>{}</b> {}</li>",
                    escaped(&item.name),
                    escaped(warning)
                );
            }
        }
        page.push_str("</ul></section>\n");
    }
}

fn trouble(page: &mut String, item: &ItemOutcome) {
    let cause = item.cause.as_deref().unwrap_or("no cause was told");
    let _ = write!(
        page,
        "<article class=\"trouble {0}\"><h3>{1} <span class=\"tag {0}\">{0}</span><small>exit code {2}</small></h3>\n<p class=\"source\">{3}</p>\n<p>{4}</p>\n",
        item.state,
        escaped(&item.name),
        item.exit,
        escaped(&item.source),
        escaped(cause)
    );
    if let Some(hint) = &item.hint {
        let _ = writeln!(page, "<p class=\"hint\">{}</p>", escaped(hint));
    }
    if let Some(job) = &item.job_id {
        let _ = writeln!(page, "<p class=\"source\">job {}</p>", escaped(job));
    }
    page.push_str("</article>\n");
}

fn table(page: &mut String, report: &BatchReport) {
    page.push_str("<section><h2>Items</h2>\n<div class=\"wide\"><table>\n<thead><tr>");
    for (name, kind) in [
        ("State", "text"),
        ("Name", "text"),
        ("Server", "text"),
        ("Source", "text"),
        ("Disk", "number"),
        ("Sent", "number"),
        ("Time", "number"),
        ("Image", "text"),
        ("Digest", "text"),
    ] {
        let _ = write!(
            page,
            "<th class=\"{kind}\" scope=\"col\" tabindex=\"0\">{name}</th>"
        );
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    for (rank, item) in by_need(report).into_iter().enumerate() {
        row(page, rank, item);
    }
    page.push_str("</tbody></table></div></section>\n");
}

fn row(page: &mut String, rank: usize, item: &ItemOutcome) {
    let text = |text: Option<&str>| text.map(escaped).unwrap_or_default();
    let format = item.format.as_deref().unwrap_or_default();
    let size = item.virtual_size;
    let time = worked(item);
    let object = format!("obs://{}/{}", item.bucket, item.key);
    let _ = writeln!(
        page,
        "<tr><td data-by=\"{rank:06}\"><span class=\"tag {state}\">{state}</span></td><td title=\"{object}\">{name}</td><td>{group}</td><td class=\"source\">{source} <small>{format}</small></td>\
         <td class=\"number\" data-by=\"{}\">{}</td><td class=\"number\" data-by=\"{}\">{}</td><td class=\"number\" data-by=\"{}\">{}</td>\
         <td class=\"id\">{image}</td><td class=\"id\" title=\"{digest}\">{}</td></tr>",
        size.unwrap_or_default(),
        size.map(short).unwrap_or_default(),
        item.sent_bytes,
        short(item.sent_bytes),
        time.unwrap_or_default(),
        time.map(duration).unwrap_or_default(),
        digest_start(item),
        state = item.state,
        object = escaped(&object),
        name = escaped(&item.name),
        group = text(item.group.as_deref()),
        source = escaped(&item.source),
        format = escaped(format),
        image = text(item.image_id.as_deref()),
        digest = text(item.digest.as_deref()),
    );
}

/// Enough of a digest to tell two apart.
fn digest_start(item: &ItemOutcome) -> String {
    let digest = item.digest.as_deref().unwrap_or_default();
    let start: String = digest.chars().take(16).collect();
    match digest.len() > start.len() {
        true => format!("{}…", escaped(&start)),
        false => escaped(&start),
    }
}

fn foot(page: &mut String, report: &BatchReport) {
    let _ = write!(
        page,
        "</main>\n<footer>imgferry {} · manifest digest {} · sizes are in units of 1024</footer>\n<script>{SCRIPT}</script>\n</body>\n</html>\n",
        escaped(&report.machine.version),
        escaped(&report.manifest_digest)
    );
}
