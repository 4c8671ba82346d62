//! `imgferry serve`.

use std::ffi::OsStr;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use testkit::{missing, qemu};

use crate::common::cloud::Cloud;
use crate::common::{self, DEBIAN_TREE_DIGEST, Run, imgferry, json_of, os_str, testdata};

/// A server of ours, and what it said of itself.
struct Serving {
    child: Child,
    said: serde_json::Value,
}

impl Serving {
    #[expect(clippy::zombie_processes, reason = "stop() waits for it")]
    fn start(command: &mut Command) -> Self {
        let mut child = command
            .arg("--json")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut text = Vec::new();
        let mut stdout = child.stdout.take().unwrap();
        loop {
            let mut byte = [0];
            if stdout.read(&mut byte).unwrap() == 0 {
                let run: Run = child.wait_with_output().unwrap().into();
                panic!("it does not serve: {}", run.stderr);
            }
            text.extend(byte);
            if let Ok(said) = serde_json::from_slice(&text) {
                return Self { child, said };
            }
        }
    }

    fn uri(&self) -> &str {
        self.said["uri"].as_str().unwrap()
    }

    fn stop(self) {
        common::signal(&self.child, "INT");
        let run: Run = self.child.wait_with_output().unwrap().into();
        run.success();
    }
}

fn serve(disk: impl AsRef<OsStr>, options: &[&str]) -> Command {
    let mut command = common::command();
    command.arg("serve").arg(disk).args(options);
    command
}

fn digest(uri: &str) -> serde_json::Value {
    let run = imgferry(&["digest", "--json", uri].map(OsStr::new));
    json_of(run.success())["digest"].clone()
}

fn zvhd2(dir: &Path) -> std::path::PathBuf {
    let path = dir.join("disk.zvhd2");
    let source = testdata("debian-tree.qcow2");
    imgferry(&["convert".as_ref(), os_str(&source), os_str(&path)]).success();
    path
}

#[test]
fn a_zvhd2_file_is_a_disk_for_programs_that_do_not_know_it() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("disk.sock");
    let path = socket.to_str().unwrap();
    let serving = Serving::start(&mut serve(zvhd2(dir.path()), &["--socket", path]));
    assert_eq!(serving.said["format"], "zvhd2");
    assert_eq!(serving.said["virtual_size"], 2_u64 << 30);
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(digest(serving.uri()), DEBIAN_TREE_DIGEST);
    if !qemu::missing() {
        let qcow2 = dir.path().join("copy.qcow2");
        let text = qcow2.to_str().unwrap();
        qemu::img(["convert", "-f", "raw", "-O", "qcow2", serving.uri(), text]);
        assert_eq!(digest(text), DEBIAN_TREE_DIGEST);
    }
    serving.stop();
    assert!(!socket.exists(), "the socket is gone");
}

#[test]
fn objects_and_exports_are_served_at_an_address() {
    let cloud = Cloud::start(&["images"]);
    let dir = tempfile::tempdir().unwrap();
    let upload = common::run(cloud.command().args([
        "upload",
        zvhd2(dir.path()).to_str().unwrap(),
        "obs://images/a.zvhd2",
    ]));
    upload.success();
    let mut command = cloud.command();
    command.args([
        "serve",
        "obs://images/a.zvhd2",
        "--listen",
        "127.0.0.1:0",
        "--export",
        "a b",
    ]);
    let object = Serving::start(&mut command);
    assert!(object.uri().ends_with("/a%20b"), "{}", object.uri());
    assert_eq!(digest(object.uri()), DEBIAN_TREE_DIGEST);
    let export = Serving::start(&mut serve(object.uri(), &["--listen", "[::1]:0"]));
    assert!(export.uri().starts_with("nbd://[::1]:"), "{}", export.uri());
    assert_eq!(digest(export.uri()), DEBIAN_TREE_DIGEST);
    let taken = export
        .uri()
        .trim_start_matches("nbd://")
        .trim_end_matches('/')
        .to_owned();
    let refused = common::run(&mut serve(
        testdata("debian-tree.qcow2"),
        &["--listen", &taken],
    ));
    assert_eq!(refused.code, Some(4), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("cannot listen there"),
        "{}",
        refused.stderr
    );
    export.stop();
    object.stop();
}

#[test]
fn what_is_read_once_is_not_served_and_what_is_there_is_not_replaced() {
    if missing("gzip") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let raw = dir.path().join("disk.raw");
    std::fs::write(&raw, common::noise(1 << 20)).unwrap();
    let in_the_way = common::run(&mut serve(&raw, &["--socket", raw.to_str().unwrap()]));
    assert_eq!(in_the_way.code, Some(4), "{}", in_the_way.stderr);
    assert!(
        in_the_way.stderr.contains("choose another name"),
        "{}",
        in_the_way.stderr
    );
    let packed = Command::new("gzip").arg("-k").arg(&raw).status();
    assert!(packed.unwrap().success());
    let once = common::run(&mut serve(dir.path().join("disk.raw.gz"), &[]));
    assert_eq!(once.code, Some(2), "{}", once.stderr);
    assert!(
        once.stderr.contains("read front to back"),
        "{}",
        once.stderr
    );
}
