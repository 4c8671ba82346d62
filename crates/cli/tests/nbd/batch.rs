//! Exports in a batch.

use std::fs;

use testkit::exports::Served;
use testkit::missing;

use crate::SECRET;
use crate::common::cloud::Cloud;
use crate::common::{self, DEBIAN};

#[test]
fn exports_are_imported_beside_files_and_their_names_come_from_them() {
    if missing("nbdkit") {
        return;
    }
    let cloud = Cloud::start(&["images"]);
    let mut served = Served::new();
    let raw = served.dir.path().join("web01.raw");
    fs::write(&raw, common::noise(3 << 20)).unwrap();
    served.nbdkit(&["file", raw.to_str().unwrap()]);
    let manifest = served.dir.path().join("fleet.yaml");
    let uri = served.uri(&format!("web02%3Fsession_id%3D{SECRET}"));
    let text = format!(
        "version: 1\ndefaults:\n  bucket: images\n  os_version: {DEBIAN}\nimages:\n  - source: \
         web01.raw\n  - source: {uri}\n"
    );
    fs::write(&manifest, text).unwrap();
    let run = |command: &str| {
        let mut batch = cloud.command();
        batch.args(["batch", command, "--json"]).arg(&manifest);
        common::run(&mut batch)
    };
    let done = run("run");
    let text = done.success().text();
    assert!(text.contains("web02") && !text.contains(SECRET), "{text}");
    assert!(!done.stderr.contains(SECRET), "{}", done.stderr);
    let objects = cloud.objects("images");
    for key in ["web01.zvhd2", "web02.zvhd2"] {
        assert!(objects.iter().any(|object| object == key), "{objects:?}");
    }
    let again = run("run");
    let text = again.success().text();
    assert!(
        text.contains("a server does not tell when the disk"),
        "{text}"
    );

    fs::write(&manifest, "version: 1\nimages:\n  - source: nbd://h:x/a\n").unwrap();
    let wrong = run("run");
    assert_eq!(wrong.code, Some(2));
    assert!(
        wrong.stderr.contains("the port is no number"),
        "{}",
        wrong.stderr
    );
}
