//! The report as one HTML page.

use maud::{Markup, html};

use super::write::{duration, moment, rate, short};
use super::{by_need, chart, end, gantt, system, systems, worked};
use crate::outcome::{BatchReport, ItemOutcome, ItemState};

/// The report as an HTML page, which needs no other file.
#[must_use]
pub fn html(report: &BatchReport) -> String {
    let (class, verdict) = verdict(report);
    let body = html! {
        (head(report, class, &verdict))
        main {
            (summary(report))
            (states(report))
            (troubles(report))
            (systems::draw(report))
            (warnings(report))
            @if let Some(curves) = chart::draw(report) {
                section { h2 { "Throughput" } div class="wide" { (curves) } }
            }
            @if let Some(rows) = gantt::draw(report) {
                section { h2 { "Timeline" } (rows) }
            }
            (table(report))
        }
        footer {
            "imgferry " (report.machine.version) " · manifest digest " (report.manifest_digest)
            " · sizes are in units of 1024"
        }
    };
    // The script sorts the table by a column. The page is complete without it.
    page::document(
        &format!("{verdict}: {}", report.manifest),
        include_str!("page.css"),
        Some(include_str!("page.js")),
        &body,
    )
}

fn head(report: &BatchReport, class: &str, verdict: &str) -> Markup {
    let machine = &report.machine;
    let facts = [
        ("on", &machine.host),
        ("worker", &machine.worker),
        ("region", &machine.region),
    ];
    html! {
        header {
            p class="kicker" { "imgferry batch" }
            h1 { (report.manifest) " " span class={ "pill " (class) } { (verdict) } }
            p class="sub" {
                (moment(report.started))
                @for (name, value) in facts {
                    @if let Some(value) = value { " · " (name) " " (value) }
                }
            }
        }
    }
}

/// A class and a word or two for how it ended.
fn verdict(report: &BatchReport) -> (&'static str, String) {
    let count = |states: &[ItemState]| {
        let counts = states.iter().map(|state| report.totals.count(*state));
        counts.fold(0_usize, usize::saturating_add)
    };
    let bad = count(&[ItemState::Failed, ItemState::Refused]);
    let open = count(&[ItemState::Cancelled, ItemState::Running, ItemState::Waiting]);
    match (bad, open, report.ended) {
        (_, _, None) => ("open", "running".to_owned()),
        (0, 0, _) => ("good", "all done".to_owned()),
        (0, open, _) => ("open", format!("{open} not done")),
        (bad, 0, _) => ("bad", format!("{bad} need attention")),
        (bad, open, _) => ("bad", format!("{bad} need attention, {open} not done")),
    }
}

fn summary(report: &BatchReport) -> Markup {
    let (totals, machine) = (&report.totals, &report.machine);
    let took = end(report).saturating_sub(report.started);
    let done = report.items.iter().filter(|item| item.state.is_done());
    let cores = format!("{} cores", machine.cores);
    let sent_rate = rate(totals.sent_bytes, took);
    let mut cards = vec![
        (
            format!("{} / {}", done.count(), totals.items),
            "items done",
            format!("exit code {}", report.exit),
        ),
        (
            duration(took),
            "wall time",
            match machine.cpu_seconds {
                Some(seconds) => format!("{seconds:.0} s of CPU, {cores}"),
                None => cores,
            },
        ),
        (
            short(totals.virtual_bytes),
            "of disks",
            format!("{} read", short(totals.read_bytes)),
        ),
        (
            short(totals.sent_bytes),
            "sent",
            match totals.kept_bytes {
                0 => sent_rate,
                kept => format!("{sent_rate}, {} not sent again", short(kept)),
            },
        ),
    ];
    if let Some(peak) = machine.peak_memory {
        let bound = format!("bound {}", short(machine.memory_bound));
        cards.push((short(peak), "peak memory", bound));
    }
    cards.push((
        totals.retries.to_string(),
        "requests retried",
        String::new(),
    ));
    html! {
        section class="cards" {
            @for (value, label, note) in cards {
                div class="card" { b { (value) } span { (label) } small { (note) } }
            }
        }
    }
}

/// One bar of all states.
fn states(report: &BatchReport) -> Markup {
    let all = report.totals.items.max(1) as f64;
    let mut end = 0.0;
    let states: Vec<_> = ItemState::ALL
        .into_iter()
        .rev()
        .map(|state| (state, report.totals.count(state)))
        .filter(|(_, count)| *count > 0)
        .map(|(state, count)| {
            let start = end;
            end += count as f64 / all * 1000.0;
            (state, count, start, end - start)
        })
        .collect();
    let bar = html! {
        @for (state, count, start, width) in &states {
            rect class={ "state " (state.word()) } y="0" height="14"
                x=(format_args!("{start:.2}")) width=(format_args!("{width:.2}")) {
                title { (count) " " (state.word()) }
            }
        }
    };
    html! {
        section {
            svg xmlns="http://www.w3.org/2000/svg" class="states" viewBox="0 0 1000 14"
                preserveAspectRatio="none" role="img" aria-label="Items by state" { (bar) }
            p class="legend" {
                @for (state, count, ..) in &states {
                    span class={ "key state " (state.word()) } {}
                    (count) " " (state.word()) " "
                }
            }
        }
    }
}

fn troubles(report: &BatchReport) -> Markup {
    let mut needy = by_need(report);
    needy.retain(|item| item.state.is_failure() || item.state == ItemState::Cancelled);
    html! {
        @if !needy.is_empty() {
            section {
                h2 { "Needs attention" }
                @for item in needy { (trouble(item)) }
            }
        }
    }
}

fn trouble(item: &ItemOutcome) -> Markup {
    let state = item.state.word();
    html! {
        article class={ "trouble " (state) } {
            h3 {
                (item.name) " " span class={ "tag " (state) } { (state) }
                small { "exit code " (item.exit) }
            }
            p class="source" { (item.source) }
            p { (item.cause.as_deref().unwrap_or("no cause was reported")) }
            @if let Some(hint) = &item.hint { p class="hint" { (hint) } }
            @if let Some(job) = &item.job_id { p class="source" { "job " (job) } }
        }
        "\n"
    }
}

fn warnings(report: &BatchReport) -> Markup {
    // What is wrong with systems is told already.
    let is_news = |item: &ItemOutcome, warning: &str| {
        let guest = item.guest.as_ref();
        !guest.is_some_and(|guest| guest.has_told(warning))
    };
    let all = report.items.iter().flat_map(|item| {
        let warnings = item.warnings.iter();
        let news = warnings.filter(|warning| is_news(item, warning));
        news.map(|warning| (&item.name, warning))
    });
    let all: Vec<_> = all.collect();
    html! {
        @if !all.is_empty() {
            section {
                h2 { "Warnings" }
                ul class="warnings" {
                    @for (name, warning) in all { li { b { (name) } " " (warning) } "\n" }
                }
            }
        }
    }
}

fn table(report: &BatchReport) -> Markup {
    let heads = [
        ("State", "text"),
        ("Name", "text"),
        ("Server", "text"),
        ("Source", "text"),
        ("System", "text"),
        ("Disk", "number"),
        ("Sent", "number"),
        ("Time", "number"),
        ("Image", "text"),
        ("Digest", "text"),
    ];
    html! {
        section {
            h2 { "Items" }
            div class="wide" {
                table {
                    thead {
                        tr {
                            @for (name, kind) in heads {
                                th class=(kind) scope="col" tabindex="0" { (name) }
                            }
                        }
                    }
                    tbody {
                        @for (rank, item) in by_need(report).into_iter().enumerate() {
                            (row(rank, item))
                        }
                    }
                }
            }
        }
    }
}

fn row(rank: usize, item: &ItemOutcome) -> Markup {
    let state = item.state.word();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let time = worked(item);
    let digest = text(&item.digest);
    let number = |value: Option<u64>, shown: fn(u64) -> String| {
        html! { td class="number" data-by=[value] { (value.map(shown).unwrap_or_default()) } }
    };
    html! {
        tr {
            td data-by=(format_args!("{rank:06}")) { span class={ "tag " (state) } { (state) } }
            td title={ "obs://" (item.bucket) "/" (item.key) } { (item.name) }
            td { (text(&item.group)) }
            td class="source" { (item.source) " " small { (text(&item.format)) } }
            td data-by=(systems::rank(item)) { (system(item)) }
            (number(item.virtual_size, short))
            (number(Some(item.sent_bytes), short))
            (number(time, duration))
            td class="id" { (item.image_ids()) }
            // Enough of a digest to tell two apart.
            td class="id" title=(digest) { (page::shortened(&digest, 16)) }
        }
        "\n"
    }
}
