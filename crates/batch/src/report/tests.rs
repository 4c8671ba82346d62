use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use roxmltree::{Document, ParsingOptions};
use sha2::{Digest as _, Sha256};

use guest::Severity;

use super::*;
use crate::outcome::{ItemState, Machine, Stage, StageSpan, ThroughputSample, Totals};
use crate::readiness::{GuestFinding, Readiness, Verdict};

const START: UnixMillis = 1_795_532_645_000;

/// A report of a run with `count` items, of which every twentieth failed.
fn report(count: u64) -> BatchReport {
    let mut report = BatchReport {
        manifest: "fleet/batch.yaml".into(),
        manifest_digest: "0123456789abcdef".repeat(4),
        started: START,
        exit: 3,
        machine: Machine {
            version: "0.1.0".into(),
            host: Some("build-7".into()),
            cores: 8,
            memory_bound: 2 << 30,
            peak_memory: Some(1 << 30),
            cpu_seconds: Some(812.4),
            region: Some("eu-west-0".into()),
            worker: None,
        },
        ..BatchReport::default()
    };
    let mut last = START;
    for number in 0..count {
        let name = format!("par1-web{number:02}");
        let from = START + number / 4 * 21_000 + number % 4 * 2_500;
        let took = 14_000 + number * 7919 % 9_000;
        let mut spans = vec![
            (Stage::Queue, START, from),
            (Stage::Check, from, from + 900),
        ];
        let mut item = ItemOutcome {
            id: name.clone(),
            group: (number % 3 > 0).then(|| format!("web{}", number / 3)),
            source: format!("disks/{name}.qcow2"),
            format: Some("qcow2".into()),
            bucket: "my-images".into(),
            key: format!("disks/{name}.zvhd2"),
            name,
            ..ItemOutcome::default()
        };
        if number % 20 == 7 {
            item.state = if number % 40 == 7 {
                ItemState::Failed
            } else {
                ItemState::Refused
            };
            item.cause =
                Some("the L2 table at 0x30000 lies past the file's end, of 65536 bytes".into());
            item.hint = Some(format!("imgferry inspect --check {}", item.source));
            item.exit = 2;
        } else {
            item.state = if number % 11 == 5 {
                ItemState::Adopted
            } else {
                ItemState::Active
            };
            item.virtual_size = Some(40 << 30);
            item.read_bytes = (2 << 30) + number * 77_000_000;
            item.sent_bytes = (1 << 30) + number * 30_000_000;
            item.digest = Some("deadbeef".repeat(8));
            item.image_id = Some(format!("4ca46bf1-5c61-48ff-b4f3-{number:012}"));
            let end = from + 900 + took;
            spans.push((Stage::Transfer, from + 900, end));
            spans.push((Stage::Complete, end, end + 1_200));
            spans.push((Stage::Register, end + 1_200, end + 14_000));
            last = last.max(end + 14_000);
        }
        item.timeline = spans
            .into_iter()
            .map(|(stage, start, end)| StageSpan {
                stage,
                start,
                end: Some(end),
            })
            .collect();
        report.items.push(item);
    }
    report.ended = Some(last);
    let seconds = (last - START) / 1000;
    let (mut converted, mut sent) = (0, 0);
    for second in 0..=seconds {
        report.samples.push(ThroughputSample {
            at: START + second * 1000,
            converted_bytes: converted,
            sent_bytes: sent,
        });
        let wave = 60 + second * 37 % 50;
        converted += wave * 6_000_000;
        sent += wave * 2_300_000;
    }
    report.totals = Totals::of(&report.items);
    report
}

/// Names, causes and hints as an attacker would choose them.
fn hostile() -> BatchReport {
    let mut report = report(3);
    let evil = "\"><script>alert(1)</script>&amp;'\u{202e}\u{1b}[31m\u{0}\n]]>--><!--".to_owned();
    report.manifest = evil.clone();
    report.manifest_digest = evil.clone();
    report.machine.host = Some(evil.clone());
    report.machine.version = evil.clone();
    report.machine.worker = Some(evil.clone());
    report.machine.region = Some(evil.clone());
    for item in &mut report.items {
        item.id = evil.clone();
        item.name = evil.clone();
        item.group = Some(evil.clone());
        item.source = evil.clone();
        item.format = Some(evil.clone());
        item.cause = Some(evil.clone());
        item.hint = Some(evil.clone());
        item.image_id = Some(evil.clone());
        item.data_image_ids = vec![evil.clone()];
        item.job_id = Some(evil.clone());
        item.bucket = evil.clone();
        item.key = evil.clone();
        item.digest = Some(evil.clone());
        item.warnings = vec![evil.clone()];
        item.worker = Some(evil.clone());
        item.state = ItemState::Failed;
        item.guest = Some(Readiness {
            verdict: Verdict::Problems,
            findings: vec![GuestFinding {
                id: evil.clone(),
                severity: Severity::NoLogin,
                why: evil.clone(),
                fix: vec![evil.clone()],
            }],
            undecided: vec![evil.clone()],
        });
    }
    report.totals = Totals::of(&report.items);
    report
}

fn parsed(page: &str) -> Document<'_> {
    let options = ParsingOptions {
        allow_dtd: true,
        ..ParsingOptions::default()
    };
    Document::parse_with_options(page, options).unwrap()
}

#[test]
fn the_page_is_well_formed_and_needs_nothing_else() {
    for count in [0, 1, 3, 60] {
        let page = html(&report(count));
        let document = parsed(&page);
        for node in document.descendants().filter(roxmltree::Node::is_element) {
            for attribute in ["src", "href", "onclick", "style"] {
                assert_eq!(node.attribute(attribute), None, "{:?}", node.tag_name());
            }
        }
        assert!(!page.contains("url("), "the style sheet loads something");
        let rows = document
            .descendants()
            .filter(|node| node.has_tag_name("tbody"))
            .flat_map(|body| body.children())
            .filter(|node| node.has_tag_name("tr"));
        assert_eq!(rows.count() as u64, count);
    }
}

#[test]
fn the_pages_policy_names_the_script_and_the_style_that_stand_in_it() {
    let page = html(&report(3));
    let document = parsed(&page);
    for tag in ["script", "style"] {
        let mut nodes = document.descendants().filter(|node| node.has_tag_name(tag));
        let text = nodes.next().unwrap().text().unwrap();
        assert!(nodes.next().is_none(), "one {tag}");
        let digest = STANDARD.encode(Sha256::digest(text));
        assert!(
            page.contains(&format!("{tag}-src 'sha256-{digest}'")),
            "{tag}"
        );
    }
}

#[test]
fn the_images_of_data_disks_are_told_with_that_of_their_system() {
    let mut report = report(1);
    let item = &mut report.items[0];
    item.image_id = Some("system-id".into());
    item.data_image_ids = vec!["data-id-1".into(), "data-id-2".into()];
    let ids = "system-id data-id-1 data-id-2";
    assert!(html(&report).contains(ids));
    assert!(text(&report).contains(ids));
}

#[test]
fn hostile_names_stay_text() {
    let report = hostile();
    let page = html(&report);
    let document = parsed(&page);
    let scripts = document
        .descendants()
        .filter(|node| node.has_tag_name("script"));
    assert_eq!(scripts.count(), 1);
    for c in ['\u{202e}', '\u{1b}', '\u{0}'] {
        assert!(!page.contains(c));
        assert!(!text(&report).contains(c));
    }
    // Each line of the text is one that imgferry began.
    assert!(text(&report).lines().all(|line| !line.starts_with("]]>")));
}

#[test]
fn failures_come_first_with_their_cause_and_hint() {
    let report = report(60);
    let page = html(&report);
    let trouble = page.find("Needs attention").unwrap();
    assert!(trouble < page.find("<h2>Timeline").unwrap());
    assert!(page.contains("the L2 table at 0x30000 lies past the file's end"));
    assert!(page.contains("3 need attention"));
    let text = text(&report);
    let (before, table) = text.split_once("STATE").unwrap();
    assert!(before.contains("hint: imgferry inspect --check disks/par1-web07.qcow2"));
    assert!(table.lines().nth(1).unwrap().starts_with("failed"));
    assert!(
        before
            .starts_with("fleet/batch.yaml: 60 items: 53 active, 4 adopted, 1 refused, 2 failed\n"),
        "{before}"
    );
}

/// A system with findings of these severities, each with a command.
fn system_with(severities: &[Severity]) -> Readiness {
    let finding = |severity: &Severity| GuestFinding {
        id: format!("rule-{}", severity.name().replace(' ', "-")),
        severity: *severity,
        why: "The driver is missing.".into(),
        fix: vec![format!("mend '{}'", severity.name())],
    };
    Readiness {
        verdict: match severities.iter().any(|one| *one < Severity::Advice) {
            true => Verdict::Problems,
            false => Verdict::Ready,
        },
        findings: severities.iter().map(finding).collect(),
        undecided: Vec::new(),
    }
}

#[test]
fn systems_are_listed_worst_first_with_the_commands_that_mend_them() {
    let mut report = report(5);
    report.items[0].guest = Some(system_with(&[Severity::Advice]));
    report.items[1].guest = Some(system_with(&[Severity::NoNetwork, Severity::Degraded]));
    report.items[2].guest = Some(system_with(&[Severity::WillNotBoot]));
    report.items[3].guest = Some(Readiness::default());
    let page = html(&report);
    let document = parsed(&page);
    let of = |tag: &'static str| {
        let nodes = document
            .descendants()
            .filter(move |node| node.has_tag_name(tag));
        nodes.map(|node| {
            let texts = node.descendants().filter(roxmltree::Node::is_text);
            texts.filter_map(|node| node.text()).collect::<String>()
        })
    };
    let listed: Vec<String> = of("summary").collect();
    assert_eq!(
        listed,
        [
            "par1-web02 1 problem: will not boot",
            "par1-web01 2 problems: no network, degraded",
            "par1-web00 ready",
        ]
    );
    let commands: Vec<String> = of("pre").collect();
    assert_eq!(commands[1], "mend 'no network'\n");
    let cells: Vec<String> = of("td").collect();
    for told in ["ready", "1 problem: will not boot", "not checked"] {
        assert!(cells.iter().any(|cell| cell == told), "{told}");
    }
    let text = text(&report);
    let line = text
        .lines()
        .find(|line| line.contains("par1-web01 "))
        .unwrap();
    assert!(
        line.contains("  2 problems: no network, degraded  4ca46bf1"),
        "{line}"
    );
}

#[test]
fn the_report_comes_back_from_json() {
    let mut report = report(5);
    report.items[0].guest = Some(Readiness {
        undecided: vec!["linux-fstab-by-name".into()],
        ..Readiness::default()
    });
    let back: BatchReport = serde_json::from_str(&json(&report).unwrap()).unwrap();
    assert_eq!(back, report);
    // A newer or older program may have other keys.
    let bare: BatchReport = serde_json::from_str(r#"{"items": [{"id": "a"}], "new": 1}"#).unwrap();
    assert_eq!(bare.items[0].state, ItemState::Waiting);
}

#[test]
fn a_page_of_ten_thousand_items_is_bounded_and_quick() {
    let mut report = report(10_000);
    for item in &mut report.items {
        item.guest = Some(system_with(&Severity::ALL));
    }
    let page = html(&report);
    assert!(page.contains("The worst 500 of 10000 are listed."));
    assert!(page.len() < 10 << 20, "{} bytes", page.len());
    assert!(page.contains("500 of 10000 items are drawn"));
}

#[test]
fn odd_times_are_drawn_all_the_same() {
    let mut report = report(3);
    report.items[0].timeline[0].end = None;
    report.items[1].timeline[0].start = u64::MAX;
    report.items[2].timeline[0].end = Some(0);
    report.samples.push(ThroughputSample {
        at: 0,
        converted_bytes: u64::MAX,
        sent_bytes: 0,
    });
    report.ended = None;
    for page in [html(&report), {
        report.started = u64::MAX;
        html(&report)
    }] {
        assert!(!page.contains("NaN") && !page.contains("inf\""));
        parsed(&page);
    }
}
