//! nbdinfo, nbdcopy and qemu-img as clients of our server.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use diskimg::{DiskImage, Format, OpenOptions};
use nbd::ServeOptions;
use testkit::missing;

use super::programs::{content, serving};

fn opened(path: &Path) -> Box<dyn DiskImage> {
    let source = diskimg::FileSource::open(path).unwrap();
    let raw = OpenOptions::of(Some(Format::Raw));
    diskimg::open_source(Arc::new(source), &raw, &[])
        .unwrap()
        .image
}

/// What `program` prints.
fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs `work` with a directory and the URI of our server for a disk of known content.
fn with_server(name: &str, work: impl FnOnce(&Path, &str)) {
    let dir = tempfile::tempdir().unwrap();
    let raw = dir.path().join("disk.raw");
    content().write_sparse(&raw).unwrap();
    let options = ServeOptions {
        name: name.to_owned(),
        ..ServeOptions::default()
    };
    serving(
        opened(&raw).as_ref(),
        &dir.path().join("sock"),
        &options,
        |uri| {
            work(dir.path(), &uri.to_string());
        },
    );
}

#[test]
fn nbdinfo_finds_what_a_read_only_export_has() {
    if missing("nbdinfo") {
        return;
    }
    with_server("disk", |_, uri| {
        let info = run("nbdinfo", &["--json", uri]);
        for words in [
            r#""export-size": 9437184"#,
            r#""is_read_only": true"#,
            r#""can_multi_conn": true"#,
            r#""can_df": true"#,
            r#""base:allocation""#,
            r#""block_size_minimum": 1"#,
            r#""structured": true"#,
        ] {
            assert!(info.contains(words), "{words}: {info}");
        }
        let map = run("nbdinfo", &["--map", "--totals", uri]);
        assert!(map.contains("hole,zero") && map.contains("data"), "{map}");
        let list = run("nbdinfo", &["--list", "--json", uri]);
        assert!(list.contains(r#""export-name": "disk""#), "{list}");
    });
}

#[test]
fn nbdcopy_and_qemu_img_copy_the_disk() {
    if missing("nbdcopy") || missing("qemu-img") {
        return;
    }
    let expected = content().bytes;
    with_server("", |dir, uri| {
        let copy = dir.join("copy.raw");
        let copy = copy.to_str().unwrap();
        run("nbdcopy", &[uri, copy]);
        assert!(std::fs::read(copy).unwrap() == expected, "nbdcopy");
        // Without structured replies and extents, as old clients do.
        run("nbdcopy", &["--synchronous", "--no-extents", uri, copy]);
        assert!(
            std::fs::read(copy).unwrap() == expected,
            "nbdcopy --synchronous"
        );
        let qcow2 = dir.join("copy.qcow2");
        let qcow2 = qcow2.to_str().unwrap();
        run(
            "qemu-img",
            &["convert", "-f", "raw", "-O", "qcow2", uri, qcow2],
        );
        let raw = dir.join("disk.raw");
        run("qemu-img", &["compare", qcow2, raw.to_str().unwrap()]);
        run(
            "qemu-img",
            &["compare", "-f", "raw", uri, raw.to_str().unwrap()],
        );
    });
}

#[test]
fn writing_is_refused_and_the_disk_stays_as_it_is() {
    if missing("qemu-io") {
        return;
    }
    with_server("", |dir, uri| {
        let raw = dir.join("disk.raw");
        let before = std::fs::read(&raw).unwrap();
        let output = Command::new("qemu-io")
            .args(["-f", "raw", "-c", "write 0 64k", "-c", "discard 0 64k", uri])
            .output()
            .unwrap();
        assert!(!output.status.success(), "{output:?}");
        assert!(std::fs::read(&raw).unwrap() == before);
    });
}
