//! Imports whose image or object exists already: adopted, rejected, skipped or replaced.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;

use crate::common::cloud::Cloud;
use crate::common::{DEBIAN, Run, json_of, noise, run};

const MIB: usize = 1 << 20;
const OBJECT: &str = "a.zvhd2";

/// A cloud, and a disk that becomes its image `a`.
struct Exists {
    cloud: Cloud,
    dir: TempDir,
}

impl Exists {
    fn new() -> Self {
        let exists = Self {
            cloud: Cloud::start(&["images"]),
            dir: tempfile::tempdir().unwrap(),
        };
        exists.write("a.raw", 5 * MIB);
        exists
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A disk of noise that a BIOS can start.
    fn write(&self, name: &str, len: usize) {
        let mut bytes = noise(len);
        bytes[..3].copy_from_slice(b"\xeb\x63\x90");
        fs::write(self.path(name), bytes).unwrap();
    }

    fn change(&self) {
        let mut bytes = fs::read(self.path("a.raw")).unwrap();
        bytes[4 * MIB] ^= 1;
        fs::write(self.path("a.raw"), bytes).unwrap();
    }

    fn import(&self, options: &[&str]) -> Run {
        let mut command = self.cloud.command();
        command.arg("import").arg(self.path("a.raw"));
        command.args(["--name", "a", "--bucket", "images", "--json"]);
        run(command.args(options))
    }

    fn system(&self, options: &[&str]) -> Run {
        self.import(&[&["--os-version", DEBIAN], options].concat())
    }

    /// Forgets what this machine knows of earlier imports.
    fn forget(&self) {
        fs::remove_dir_all(self.cloud.state()).unwrap();
    }

    /// Ids and names of all images.
    fn images(&self) -> Vec<(String, String)> {
        let listed = run(self.cloud.command().args(["image", "list", "--json"]));
        let listed = json_of(listed.success());
        let text = |image: &Value, name: &str| image[name].as_str().unwrap().to_owned();
        let mut images: Vec<_> = listed["images"]
            .as_array()
            .unwrap()
            .iter()
            .map(|image| (text(image, "id"), text(image, "name")))
            .collect();
        images.sort_by(|a, b| a.1.cmp(&b.1));
        images
    }

    fn modified(&self, key: &str) -> std::time::SystemTime {
        let path = self.cloud.object_path("images", key);
        fs::metadata(path).unwrap().modified().unwrap()
    }
}

fn id(run: &Run) -> String {
    let json = json_of(run.success());
    json["image_id"].as_str().unwrap().to_owned()
}

#[track_caller]
fn already_imported(again: &Run, image: &str) -> Value {
    let json = json_of(again.success());
    assert_eq!(json["result"], "already-imported", "{json}");
    assert_eq!(json["image_id"], image);
    assert_eq!(json["status"], "active");
    json
}

#[track_caller]
fn rejected(run: &Run, says: &[&str]) {
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    for text in says {
        assert!(run.stderr.contains(text), "{text}: {}", run.stderr);
    }
}

#[test]
fn a_disk_whose_image_exists_is_already_imported_without_a_journal() {
    let exists = Exists::new();
    let first = exists.system(&[]);
    let image = id(&first);
    assert_eq!(json_of(&first)["result"], "imported");
    let stored = exists.modified(OBJECT);
    exists.forget();
    let dry = exists.system(&["--dry-run"]);
    let planned = json_of(dry.success());
    assert_eq!(planned["action"], "adopt");
    assert_eq!(planned["image_id"], image.as_str());
    assert_eq!(planned["if_exists"], "adopt");
    let json = already_imported(&exists.system(&[]), &image);
    assert_eq!(json["digest"], json_of(&first)["digest"]);
    assert_eq!(json["uploaded"]["sent_bytes"], 0);
    assert!(json["read_bytes"].as_u64().unwrap() > 0, "{json}");
    // From there on the journal knows, and nothing is read.
    let json = already_imported(&exists.system(&[]), &image);
    assert_eq!(json["read_bytes"], 0);
    // Without waiting, too.
    exists.forget();
    already_imported(&exists.system(&["--no-wait"]), &image);
    assert_eq!(exists.images().len(), 1);
    assert_eq!(exists.modified(OBJECT), stored);
    assert_eq!(exists.cloud.uploads(), 0);

    exists.forget();
    let mut command = exists.cloud.command();
    command.arg("import").arg(exists.path("a.raw"));
    command.args(["--name", "a", "--bucket", "images", "--os-version", DEBIAN]);
    let told = run(&mut command);
    told.success();
    let expected = format!("already imported: image {image} is active, created from this disk\n");
    let stdout = String::from_utf8(told.stdout).unwrap();
    assert!(stdout.starts_with(&expected), "{stdout}");
}

#[test]
fn every_kind_of_import_finds_its_image_again() {
    let exists = Exists::new();
    exists.write("data.raw", 3 * MIB);
    let data = exists.path("data.raw");
    let data = ["--data-disk", data.to_str().unwrap()];
    let system = ["--os-version", DEBIAN];
    for (number, options) in [
        &["--type", "DataImage", "--to", "raw"][..],
        &[&system[..], &["--register", "common"]].concat(),
        &[&system[..], &["--register", "glance"]].concat(),
        &[&system[..], &data].concat(),
        &[&system[..], &data, &["--register", "quick"]].concat(),
    ]
    .iter()
    .enumerate()
    {
        let (name, key) = (format!("n{number}"), format!("k{number}.raw"));
        let named = ["--name", &name, "--key", &key];
        let import = || {
            let mut command = exists.cloud.command();
            command.arg("import").arg(exists.path("a.raw"));
            command.args(["--bucket", "images", "--json"]).args(named);
            run(command.args(*options))
        };
        let image = id(&import());
        let images = exists.images();
        let stored = exists.modified(&key);
        exists.forget();
        let json = already_imported(&import(), &image);
        assert_eq!(json["reused"], true, "{options:?}");
        assert_eq!(exists.modified(&key), stored, "{options:?}");
        assert_eq!(exists.images(), images, "{options:?}");
        for data in json["data_images"].as_array().into_iter().flatten() {
            assert_eq!(data["status"], "active", "{json}");
        }
    }
}

#[test]
fn an_image_that_is_not_proven_to_be_of_the_disk_is_rejected_with_what_differs() {
    let exists = Exists::new();
    let image = id(&exists.system(&[]));
    exists.forget();
    let name = format!("image {image} already has the name \"a\"");
    let hints = [
        "IMG.0009",
        "--if-exists skip",
        "--if-exists replace",
        "--name",
    ];

    // Made of another object.
    let other = exists.system(&["--key", "b.zvhd2"]);
    let origin = "it was created from images:a.zvhd2, not from images:b.zvhd2";
    rejected(&other, &[&[name.as_str(), origin], &hints[..]].concat());

    // No record, and that of another object.
    let manifest = exists.cloud.object_path("images", "a.zvhd2.imgferry.json");
    let record = fs::read(&manifest).unwrap();
    fs::remove_file(&manifest).unwrap();
    let nothing = "no manifest next to it says what it holds";
    rejected(&exists.system(&[]), &[&name, nothing, "2 problems"]);
    let text = String::from_utf8(record.clone()).unwrap();
    let size = fs::metadata(exists.cloud.object_path("images", OBJECT)).unwrap();
    let wrong = text.replace(&size.len().to_string(), "17");
    fs::write(&manifest, wrong).unwrap();
    rejected(&exists.system(&[]), &[&name, "describes another object"]);
    fs::write(&manifest, &record).unwrap();

    // Another disk: of the same size, and of another one.
    let before = fs::read(exists.path("a.raw")).unwrap();
    exists.change();
    let differs = exists.system(&[]);
    rejected(
        &differs,
        &["its content digest is v1:", "that of the source v1:"],
    );
    exists.write("a.raw", 6 * MIB);
    let larger = ["it holds a disk of 5242880 bytes, this disk has 6291456"];
    rejected(&exists.system(&[]), &larger);
    fs::write(exists.path("a.raw"), before).unwrap();

    // An object that is gone.
    let object = exists.cloud.object_path("images", OBJECT);
    fs::rename(&object, exists.path("kept")).unwrap();
    rejected(&exists.system(&[]), &[&name, "is gone or was replaced"]);
    assert_eq!(exists.images(), [(image, "a".to_owned())]);
    assert_eq!(exists.cloud.uploads(), 0);
}

#[test]
fn fail_rejects_what_exists_even_if_it_is_of_this_disk() {
    let exists = Exists::new();
    let image = id(&exists.system(&["--if-exists", "fail"]));
    // With the journal of the first run, and without.
    for _ in 0..2 {
        let name = format!("image {image} already has the name");
        let object = "object images:a.zvhd2 already exists";
        let again = exists.system(&["--if-exists", "fail"]);
        rejected(
            &again,
            &["2 problems", &name, object, "--if-exists replace"],
        );
        exists.forget();
    }
    let stored = exists.import(&["--register", "none", "--if-exists", "fail"]);
    rejected(&stored, &["already exists"]);
    already_imported(&exists.system(&[]), &image);
}

#[test]
fn skip_leaves_what_exists_and_compares_nothing() {
    let exists = Exists::new();
    let skip = ["--if-exists", "skip"];
    let image = id(&exists.system(&skip));
    exists.change();
    let dry = json_of(
        exists
            .system(&[&skip[..], &["--dry-run"]].concat())
            .success(),
    )
    .clone();
    assert_eq!(dry["action"], "skip");
    assert_eq!(dry["image_id"], image.as_str());
    let skipped = exists.system(&[&skip[..], &["--key", "other.zvhd2"]].concat());
    let json = json_of(skipped.success());
    assert_eq!(json["result"], "skipped", "{json}");
    assert_eq!(json["image_id"], image.as_str());
    assert!(json["uploaded"].is_null(), "{json}");
    assert_eq!(exists.cloud.objects("images"), [OBJECT]);

    // Without a registration the object is what exists.
    let none = exists.import(&[&skip[..], &["--register", "none"]].concat());
    let json = json_of(none.success());
    assert_eq!(json["result"], "skipped", "{json}");
    // Where no image has the name, an object that holds another disk is not replaced.
    let other = ["--name", "b", "--key", OBJECT];
    let mut command = exists.cloud.command();
    command.arg("import").arg(exists.path("a.raw"));
    command.args(["--bucket", "images", "--os-version", DEBIAN]);
    let refused = run(command.args(skip).args(other));
    rejected(&refused, &["holds another disk"]);
}

#[test]
fn replace_renames_the_image_and_keeps_it() {
    let exists = Exists::new();
    let replace = ["--if-exists", "replace"];
    let first = id(&exists.system(&replace));
    exists.change();
    let dry = exists.system(&[&replace[..], &["--dry-run"]].concat());
    dry.success();
    assert!(dry.stderr.contains("would be renamed"), "{}", dry.stderr);
    let second = exists.system(&replace);
    let json = json_of(second.success());
    assert_eq!(json["result"], "imported");
    let kept = format!("a-replaced-{}", &first[..8]);
    assert_eq!(json["renamed"][0]["image_id"], first.as_str());
    assert_eq!(json["renamed"][0]["name"], kept.as_str());
    let second = id(&second);
    assert_ne!(first, second);
    let images = [(second, "a".to_owned()), (first, kept)];
    assert_eq!(exists.images(), images);
}

#[test]
fn a_replacement_that_is_rejected_leaves_the_image_its_name() {
    let exists = Exists::new();
    let image = id(&exists.system(&[]));
    let replace = ["--if-exists", "replace", "--description", "a <b>"];
    rejected(&exists.system(&replace), &["--description"]);
    assert_eq!(exists.images(), [(image, "a".to_owned())]);
}
