//! Disks that NBD servers export, as sources of every command; and disks that imgferry exports.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod batch;
#[path = "../common/mod.rs"]
mod common;
mod serve;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use common::importing::{Import, MIB, is_right};
use common::{DEBIAN_TREE_DIGEST, imgferry, json_of, os_str, run, testdata};
use testkit::exports::Served;
use testkit::missing;

/// What is hidden: the number of a session, as XenServer puts it into the names of exports.
const SECRET: &str = "OpaqueRef:5ec2e7";

/// The real disk, exported by qemu-nbd for one client; and its URI.
fn debian() -> Option<(Served, String)> {
    if missing("qemu-nbd") {
        return None;
    }
    let mut served = Served::new();
    let export = format!("/vdi?session_id={SECRET}");
    served.qemu_nbd("1", "qcow2", &export, &testdata("debian-tree.qcow2"));
    let uri = served.uri(&format!("%2Fvdi%3Fsession_id%3D{SECRET}"));
    Some((served, uri))
}

#[test]
fn an_export_is_inspected_digested_converted_and_verified_as_the_file_is() {
    let Some((served, uri)) = debian() else {
        return;
    };
    let told = |run: &common::Run| {
        assert!(!run.text().contains(SECRET), "{}", run.text());
        assert!(!run.stderr.contains(SECRET), "{}", run.stderr);
    };
    let digest = imgferry(&["digest", "--json", &uri].map(OsStr::new));
    let json = json_of(digest.success());
    told(&digest);
    assert_eq!(json["digest"], DEBIAN_TREE_DIGEST);
    assert_eq!(json["format"], "raw");
    let path = json["path"].as_str().unwrap();
    assert!(path.starts_with("nbd+unix:////vdi%3F***?socket="), "{path}");
    let warns = "a server does not tell whether somebody writes to the disk";
    assert!(digest.stderr.contains(warns), "{}", digest.stderr);

    let inspected = imgferry(&["inspect", "--json", &uri].map(OsStr::new));
    let json = json_of(inspected.success());
    told(&inspected);
    assert_eq!(json["partitions"]["scheme"], "gpt");
    assert_eq!(json["quick_import"]["possible"], true);
    assert!(json["hole_bytes"].as_u64() > Some(1 << 30), "{json}");
    let checked = imgferry(&["inspect", "--check", &uri].map(OsStr::new));
    told(checked.success());

    let zvhd2 = served.dir.path().join("disk.zvhd2");
    let converted = imgferry(&["convert".as_ref(), uri.as_ref(), os_str(&zvhd2)]);
    told(converted.success());
    let verified = imgferry(&["verify".as_ref(), uri.as_ref(), os_str(&zvhd2)]);
    assert!(
        verified.text().contains("same content"),
        "{}",
        verified.stderr
    );
    told(verified.success());
}

#[test]
fn what_is_wrong_with_an_export_is_said_without_its_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("none");
    let uri = format!("nbd+unix:///a%3F{SECRET}?socket={}", socket.display());
    let tls = format!("nbds://localhost:1/a%3F{SECRET}");
    let wrong = format!("nbd://user:{SECRET}@host/a");
    let pem = dir.path().join("none.pem");
    let pem = pem.to_str().unwrap();
    for (args, words) in [
        (vec!["digest", &uri], "no connection to"),
        (
            vec!["digest", "--tls-ca", pem, &tls],
            "none.pem: the certificates cannot be opened",
        ),
        (
            vec!["digest", &wrong],
            "the URI of the export cannot be used: it has a user name",
        ),
        (
            vec!["digest", "--size", "1GiB", &uri],
            "a size is given only for disks that are compressed",
        ),
        (
            vec!["digest", "--disk", "1", &uri],
            "not from standard input or a server",
        ),
        (
            vec!["digest", "--allow-backing", "/", &uri],
            "an export has no directory",
        ),
        (vec!["bitmap", &uri, "none.mf"], "a file is needed here"),
    ] {
        let run = imgferry(&args.iter().map(OsStr::new).collect::<Vec<_>>());
        assert!(matches!(run.code, Some(2 | 4)), "{args:?}: {}", run.stderr);
        let text = format!("{}{}", run.text(), run.stderr);
        assert!(text.contains(words), "{args:?}: {text}");
        assert!(!text.contains(SECRET), "{args:?}: {text}");
    }
}

/// How slow a server is that must not be done before it is ended.
const SLOW: [&str; 2] = ["--filter=delay", "rdelay=300ms"];

/// A disk of noise that nbdkit exports with these options, and its import.
fn exported(mib: u64, options: &[&str]) -> Option<(Import, Served, PathBuf)> {
    if missing("nbdkit") {
        return None;
    }
    let mut import = Import::of_noise(mib);
    let mut served = Served::new();
    let file = import.source.clone();
    let mut args = options.to_vec();
    args.insert(options.len().min(1), "file");
    args.push(file.to_str().unwrap());
    served.nbdkit(&args);
    import.source = PathBuf::from(served.uri(&format!("web%3F{SECRET}")));
    Some((import, served, file))
}

#[test]
fn an_import_from_a_server_goes_on_after_a_kill_and_its_journal_has_no_secrets() {
    let Some((import, _served, _)) = exported(64, &[]) else {
        return;
    };
    import.interrupt(2, "KILL");
    let journal = fs::read(import.journal()).unwrap();
    let has = |text: &str| journal.windows(text.len()).any(|it| it == text.as_bytes());
    assert!(has("web%3F***") && !has(SECRET));
    let sent = import.line.sent_in_the_end();
    let done = import.go_on();
    is_right(&done);
    assert!(!done.stderr.contains(SECRET), "{}", done.stderr);
    let again = import.line.sent_in_the_end() - sent;
    assert!(again < 64 * MIB, "{again} bytes were sent again");
}

#[test]
fn an_import_from_a_server_with_another_disk_begins_anew_and_says_why() {
    let Some((import, served, file)) = exported(32, &[]) else {
        return;
    };
    import.interrupt(1, "KILL");
    let mut bytes = fs::read(&file).unwrap();
    bytes[4096] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let done = import.go_on();
    is_right(&done);
    assert!(
        done.stderr
            .contains("the source has changed: its first or last bytes differ"),
        "{}",
        done.stderr
    );
    drop(served);
}

#[test]
fn a_server_that_ends_in_the_middle_of_an_import_fails_it_and_it_goes_on_with_the_next() {
    let Some((import, mut served, file)) = exported(64, &SLOW) else {
        return;
    };
    let child = import.start();
    common::wait_until(|| import.confirmed_parts() >= 1);
    served.child = None;
    let failed: common::Run = child.wait_with_output().unwrap().into();
    assert_eq!(failed.code, Some(4), "{}", failed.stderr);
    assert!(
        failed.stderr.contains("gave up after 6 more tries"),
        "{}",
        failed.stderr
    );
    served.nbdkit(&["file", file.to_str().unwrap()]);
    is_right(&import.go_on());
}

#[test]
fn what_only_files_can_be_is_not_an_export() {
    let Some((import, _served, _)) = exported(1, &[]) else {
        return;
    };
    let mut command = import.command();
    let run = run(command.args(["--register", "common"]));
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(
        run.stderr
            .contains("cannot come from standard input or a server"),
        "{}",
        run.stderr
    );
    let plain = Path::new("nbd:disk");
    let run = imgferry(&["digest".as_ref(), os_str(plain)]);
    assert!(
        run.stderr.contains("nbd:disk: cannot be opened"),
        "{}",
        run.stderr
    );
}
