//! `imgferry bench`, as a user runs it. What it measures is not looked at: only that it does, tells
//! it in the documented form, and leaves nothing behind.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

#[path = "../common/mod.rs"]
mod common;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use common::cloud::Cloud;
use common::{Run, command, json_of, noise, run, signal, wait_until};
use serde_json::Value;
use testkit::qemu;

/// Little of everything.
const LITTLE: [&str; 8] = [
    "--size",
    "4MiB",
    "--repeat",
    "1",
    "--levels",
    "1",
    "--threads",
    "1",
];

/// The bench with output in `dir`.
fn bench(mut command: Command, dir: &Path) -> Command {
    command.arg("bench").arg("--dir").arg(dir).args(LITTLE);
    command
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A raw disk of 6 MiB with data and a hole.
fn disk(path: &Path) -> Vec<u8> {
    let bytes = noise(3 << 20);
    fs::write(path, &bytes).unwrap();
    fs::File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_len(6 << 20)
        .unwrap();
    fs::read(path).unwrap()
}

#[track_caller]
fn assert_spread(spread: &Value) {
    for name in ["median", "min", "max", "mad"] {
        assert!(
            spread[name].as_f64().is_some_and(|n| n >= 0.0),
            "{name} of {spread}"
        );
    }
    assert_eq!(spread["runs"], 1);
}

#[test]
fn an_image_is_measured_in_every_stage_told_in_the_documented_form_and_left_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    // Whoever names an image must not be able to write into the page.
    let image = dir.path().join("<script>alert(1)<⁄script>&\"'.raw");
    let content = disk(&image);
    let page = dir.path().join("page.html");
    let before = fs::metadata(&image).unwrap().modified().unwrap();
    let done = run(bench(command(), dir.path())
        .arg(&image)
        .arg("--html")
        .arg(&page)
        .arg("--json"));
    done.success();

    assert!(fs::read(&image).unwrap() == content);
    assert_eq!(fs::metadata(&image).unwrap().modified().unwrap(), before);
    assert_eq!(names(dir.path()).len(), 2, "{:?}", names(dir.path()));

    let json = json_of(&done);
    assert_eq!(json["version"], 1);
    assert!(json["machine"]["cores"].as_u64().unwrap() >= 1);
    assert_eq!(json["source"]["format"], "raw");
    assert_eq!(json["source"]["virtual_size_bytes"], 6 << 20);
    assert_eq!(json["source"]["measured_bytes"], 4 << 20);
    assert_eq!(json["settings"]["repeat"], 1);
    for stage in [
        "read",
        "zero-detect",
        "sha256",
        "md5",
        "compress",
        "write",
        "convert",
        "upload",
        "import",
    ] {
        let figures = json["figures"].as_array().unwrap();
        let figure = figures.iter().find(|figure| figure["stage"] == stage);
        let figure = figure.unwrap_or_else(|| panic!("{stage} is missing: {json}"));
        for name in ["seconds", "cpu_seconds", "bytes_per_second"] {
            assert_spread(&figure[name]);
        }
        assert!(figure["bytes"].as_u64().unwrap() > 0, "{stage}");
    }
    let advice = &json["advice"];
    assert_eq!(advice["convert"]["level"], 1);
    assert!(["read", "cpu", "write"].contains(&advice["convert"]["bottleneck"].as_str().unwrap()));
    assert_eq!(advice["lines"].as_array().unwrap().len(), 3);
    assert!(advice["threads"]["recommended"].as_u64().unwrap() >= 1);

    is_self_contained(&fs::read_to_string(&page).unwrap());
}

/// Well-formed, and nothing in it makes a browser ask for anything or run anything.
fn is_self_contained(page: &str) {
    let options = roxmltree::ParsingOptions {
        allow_dtd: true,
        ..roxmltree::ParsingOptions::default()
    };
    let document = roxmltree::Document::parse_with_options(page, options).unwrap();
    let mut charts = 0;
    for node in document.descendants().filter(roxmltree::Node::is_element) {
        let name = node.tag_name().name();
        assert!(
            ![
                "script", "link", "img", "image", "iframe", "object", "a", "use"
            ]
            .contains(&name),
            "{name}"
        );
        charts += usize::from(name == "svg");
        for attribute in node.attributes() {
            let name = attribute.name();
            assert!(
                !["src", "href", "style"].contains(&name) && !name.starts_with("on"),
                "{name}"
            );
        }
    }
    assert!(charts >= 3, "{charts} charts");
    assert!(!page.contains("url(") && !page.contains("@import"));
    assert!(page.contains("prefers-color-scheme: dark"));
    assert!(
        page.contains("&lt;script&gt;alert(1)"),
        "the image is named"
    );
}

#[test]
fn without_an_image_a_disk_is_generated_and_the_table_fits_a_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let done = run(&mut bench(command(), dir.path()));
    done.success();
    let text = done.text();
    for line in text.lines().filter(|line| !line.starts_with("machine")) {
        assert!(line.chars().count() <= 100, "{line}");
    }
    for part in [
        "generated",
        "compress",
        "convert to ZVHD2",
        "limit ",
        "use ",
        "--level 1",
    ] {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
    assert_eq!(names(dir.path()), [""; 0]);
}

#[test]
fn what_cannot_be_measured_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let page = dir.path().join("page.html");
    fs::write(&page, "mine").unwrap();
    let empty = dir.path().join("empty.raw");
    fs::File::create(&empty).unwrap().set_len(1 << 20).unwrap();
    let before = names(dir.path());
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let missing = text(&dir.path().join("missing"));
    for (options, told) in [
        (vec!["--levels", "20"], "20"),
        (vec!["--levels", "1,x"], "x"),
        (vec!["--threads", "1,0"], "at least one thread"),
        (vec!["--repeat", "0"], "0"),
        (vec!["--size", "1MiB"], "4 MiB"),
        (vec!["--upload", "bucket/key"], "obs://"),
        (vec!["--upload", "obs://images/x", "--sandbox"], "--sandbox"),
        (vec!["--against", "cp"], "qemu-img"),
        (vec!["--force"], "--html"),
        (vec!["--html", &text(&page)], "--force"),
        (vec!["--dir", &missing], "--dir"),
        (vec![&missing], "missing"),
        (vec![&text(&empty)], "no data"),
        (vec!["-"], "standard input"),
        (vec!["--size", "900000TiB"], "--size"),
    ] {
        let mut refused = command();
        refused.arg("bench");
        if !options.contains(&"--dir") {
            refused.arg("--dir").arg(dir.path());
        }
        let refused = run(refused.args(&options));
        assert_eq!(refused.code, Some(2), "{options:?}: {}", refused.stderr);
        assert!(
            refused.stderr.contains(told),
            "{options:?}: {}",
            refused.stderr
        );
    }
    assert_eq!(names(dir.path()), before);
    assert_eq!(fs::read_to_string(&page).unwrap(), "mine");
}

#[test]
fn a_bench_that_is_interrupted_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let page = dir.path().join("page.html");
    let child = command()
        .args(["bench", "--repeat", "40", "--size", "64MiB", "--dir"])
        .arg(dir.path())
        .arg("--html")
        .arg(&page)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The sandbox starts when measuring begins.
    wait_until(|| {
        names(dir.path()).iter().any(|name| {
            name.starts_with(".imgferry-bench-") && dir.path().join(name).join("sandbox").exists()
        })
    });
    signal(&child, "INT");
    let stopped: Run = child.wait_with_output().unwrap().into();
    assert_eq!(stopped.code, Some(130), "{}", stopped.stderr);
    assert_eq!(names(dir.path()), [""; 0]);
}

#[test]
fn an_image_that_changes_while_it_is_measured_has_no_result() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("disk.raw");
    disk(&image);
    let child = command()
        .args([
            "bench", "--json", "--repeat", "10", "--size", "4MiB", "--dir",
        ])
        .arg(dir.path())
        .arg(&image)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The sandbox starts when the image is open, and before the first round.
    wait_until(|| {
        names(dir.path()).iter().any(|name| {
            name.starts_with(".imgferry-bench-") && dir.path().join(name).join("sandbox").exists()
        })
    });
    let mut file = fs::File::options().append(true).open(&image).unwrap();
    file.write_all(&[1; 512]).unwrap();
    drop(file);
    let ended: Run = child.wait_with_output().unwrap().into();
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("disk.raw changed while it was read"),
        "{}",
        ended.stderr
    );
    assert_eq!(names(dir.path()), ["disk.raw"]);
}

#[test]
fn what_is_uploaded_is_deleted_and_what_is_there_is_not_touched() {
    let cloud = Cloud::start(&["images"]);
    let dir = tempfile::tempdir().unwrap();
    let done =
        run(bench(cloud.command(), dir.path()).args(["--upload", "obs://images/mine", "--json"]));
    done.success();
    let json = json_of(&done);
    assert_eq!(json["settings"]["upload"], "obs://images/mine");
    assert!(
        ["cpu", "read", "network"]
            .contains(&json["advice"]["import"]["bottleneck"].as_str().unwrap())
    );
    assert!(
        json["advice"]["import"]["measured_bytes_per_second"]
            .as_f64()
            .unwrap()
            > 0.0
    );
    assert_eq!(cloud.objects("images"), [""; 0]);
    assert_eq!(cloud.uploads(), 0);

    let file = dir.path().join("theirs");
    fs::write(&file, "theirs").unwrap();
    run(cloud
        .command()
        .arg("upload")
        .arg(&file)
        .arg("obs://images/theirs"))
    .success();
    let refused = run(bench(cloud.command(), dir.path()).args(["--upload", "obs://images/theirs"]));
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("--upload obs://images"),
        "{}",
        refused.stderr
    );
    assert_eq!(cloud.object("images", "theirs"), b"theirs");
    let missing = run(bench(cloud.command(), dir.path()).args(["--upload", "obs://nowhere"]));
    assert_ne!(missing.code, Some(0));
    assert!(
        !missing.stderr.contains("measuring with"),
        "{}",
        missing.stderr
    );
}

#[test]
fn an_upload_that_is_interrupted_leaves_nothing_in_the_bucket() {
    let cloud = Cloud::start(&["images"]);
    let dir = tempfile::tempdir().unwrap();
    let child = bench(cloud.command(), dir.path())
        .args(["--upload", "obs://images", "--limit-rate", "64K"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until(|| cloud.uploads() > 0);
    signal(&child, "INT");
    let stopped: Run = child.wait_with_output().unwrap().into();
    assert_eq!(stopped.code, Some(130), "{}", stopped.stderr);
    assert_eq!(cloud.objects("images"), [""; 0]);
    assert_eq!(cloud.uploads(), 0);
    assert_eq!(names(dir.path()), [""; 0]);
}

#[test]
fn qemu_img_does_the_same_work_in_turns() {
    if qemu::missing() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("disk.raw");
    disk(&image);
    let done =
        run(bench(command(), dir.path())
            .arg(&image)
            .args(["--against", "qemu-img", "--json"]));
    done.success();
    let against = &json_of(&done)["against"];
    assert_eq!(against["program"], "qemu-img");
    assert!(against["version"].as_str().unwrap().starts_with("qemu-img"));
    let comparisons = against["comparisons"].as_array().unwrap();
    assert_eq!(comparisons.len(), 2);
    for comparison in comparisons {
        for program in ["imgferry", "qemu_img"] {
            assert_spread(&comparison[program]["seconds"]);
            assert_spread(&comparison[program]["seconds_flushed"]);
            assert!(
                comparison[program]["output_bytes_on_disk"]
                    .as_u64()
                    .unwrap()
                    > 2 << 20
            );
            assert!(
                comparison[program]["command"]
                    .as_str()
                    .unwrap()
                    .ends_with("SRC OUT")
            );
        }
        assert!(comparison["speedup"].as_f64().unwrap() > 0.0);
    }
    assert_eq!(names(dir.path()), ["disk.raw"]);
}
