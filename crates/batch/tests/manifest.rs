//! Manifests as people write them, right and wrong.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::fs;
use std::path::{Path, PathBuf};

use batch::{Item, Kind, Manifest, Problem, Role, Target};
use tempfile::TempDir;

/// A directory with these files and the manifest.
fn dir(files: &[&str], name: &str, text: &str) -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    for file in files {
        let path = dir.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "disk").unwrap();
    }
    let path = dir.path().join(name);
    fs::write(&path, text).unwrap();
    (dir, path)
}

fn read(files: &[&str], text: &str) -> Result<Manifest, Vec<Problem>> {
    let (_dir, path) = dir(files, "batch.yaml", text);
    read_all(&path)
}

/// The manifest at `path`, whose sources must be there.
fn read_all(path: &Path) -> Result<Manifest, Vec<Problem>> {
    let manifest = Manifest::read(path)?;
    let unreadable = manifest.items.iter();
    let unreadable = unreadable.filter_map(|item| item.unreadable.clone());
    let unreadable: Vec<_> = unreadable.collect();
    match unreadable.is_empty() {
        true => Ok(manifest),
        false => Err(unreadable),
    }
}

fn problems(files: &[&str], text: &str) -> Vec<String> {
    let problems = read(files, text).unwrap_err();
    problems.iter().map(ToString::to_string).collect()
}

/// The problems, one a line, without the places of this machine.
fn told(files: &[&str], text: &str) -> String {
    let (dir, path) = dir(files, "batch.yaml", text);
    let problems = read_all(&path).unwrap_err();
    let told: Vec<_> = problems.iter().map(ToString::to_string).collect();
    told.join("\n")
        .replace(&dir.path().display().to_string(), "DIR")
}

fn names(items: &[Item]) -> Vec<&str> {
    items.iter().map(|item| item.name.as_str()).collect()
}

const FULL: &str = r#"
version: 1
vars:
  site: par1
  size: 40
defaults:
  bucket: my-images
  os_version: CentOS 7.9 64bit
  min_disk: ${size}
  tags: {env: prod, site: "${site}"}
  key: disks/${name}.zvhd2
limits: {converts: 2, uploads: 4, jobs: 10, memory: 2GiB, limit_rate: 50M/s}
images:
  - source: disks/web*.qcow2
    name: ${site}-${stem}
    tags: {env: test}
  - source: disks/extra.raw
    type: dataimage
    os_type: linux
    level: 3
    if_exists: replace
    skip_check: [boot_mode]
servers:
  - name: db01
    description: the database
    system: disks/db01.vhdx
    data:
      - disks/db01-a.vhdx
      - {source: disks/db01-b.vhdx, name: db01-logs, min_disk: 100}
"#;

const FULL_FILES: &[&str] = &[
    "disks/web01.qcow2",
    "disks/web02.qcow2",
    "disks/other.qcow2",
    "disks/extra.raw",
    "disks/db01.vhdx",
    "disks/db01-a.vhdx",
    "disks/db01-b.vhdx",
];

#[test]
fn a_manifest_has_defaults_variables_patterns_and_servers() {
    let manifest = read(FULL_FILES, FULL).unwrap();
    assert_eq!(
        names(&manifest.items),
        [
            "par1-web01",
            "par1-web02",
            "extra",
            "db01",
            "db01-data1",
            "db01-logs"
        ]
    );
    let web = &manifest.items[0];
    assert_eq!(web.source_text, "disks/web01.qcow2");
    assert!(web.source.is_absolute() && web.source.ends_with("disks/web01.qcow2"));
    assert_eq!(web.bucket, "my-images");
    assert_eq!(web.object_key(), "disks/par1-web01.zvhd2");
    assert_eq!(web.min_disk, Some(40));
    assert_eq!(web.os_version.as_deref(), Some("CentOS 7.9 64bit"));
    let tags: Vec<_> = web
        .tags
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect();
    assert_eq!(tags, [("env", "test"), ("site", "par1")]);
    assert_eq!(
        (web.role, web.kind, web.to),
        (Role::System, Kind::Ecs, Target::Zvhd2)
    );
    let extra = &manifest.items[2];
    assert_eq!((extra.role, extra.kind), (Role::Data, Kind::DataImage));
    assert_eq!(
        (extra.level, extra.if_exists),
        (Some(batch::Level::Fixed(3)), batch::IfExists::Replace)
    );
    assert_eq!(extra.skip_check, ["boot_mode"]);
    // What is about system disks is not passed on to data disks.
    assert_eq!((&extra.os_version, extra.min_disk), (&None, None));
    for item in &manifest.items[3..] {
        assert_eq!(item.group.as_deref(), Some("db01"));
        assert_eq!(item.description.as_deref(), Some("the database"));
    }
    assert_eq!(manifest.items[3].role, Role::System);
    assert_eq!(manifest.items[4].kind, Kind::DataImage);
    assert_eq!(manifest.items[5].min_disk, Some(100));
    let limits = manifest.limits;
    assert_eq!(
        (limits.converts, limits.uploads, limits.jobs),
        (Some(2), Some(4), Some(10))
    );
    assert_eq!(
        (limits.memory, limits.limit_rate),
        (Some(2 << 30), Some(50 << 20))
    );
}

#[test]
fn yaml_toml_and_json_mean_the_same_and_have_one_digest() {
    let yaml = "defaults: {bucket: b}\nimages:\n  - source: a.raw\n    min_disk: 40\n  - {source: c.raw, tags: {x: y}}\nservers:\n  - {name: s, system: d.raw, data: [e.raw]}\n";
    let toml = "# a comment\n[limits]\nconverts = 1\n[defaults]\nbucket = \"b\"\n[[images]]\nmin_disk = 40\nsource = \"a.raw\"\n[[images]]\nsource = \"c.raw\"\ntags = {x = \"y\"}\n[[servers]]\nname = \"s\"\nsystem = \"d.raw\"\ndata = [\"e.raw\"]\n";
    let json = r#"{"images": [{"source": "a.raw", "min_disk": 40}, {"source": "c.raw", "tags": {"x": "y"}}],
        "servers": [{"name": "s", "system": {"source": "d.raw"}, "data": [{"source": "e.raw"}]}], "defaults": {"bucket": "b"}}"#;
    let digest = |name: &str, text: &str| {
        let (_dir, path) = dir(&["a.raw", "c.raw", "d.raw", "e.raw"], name, text);
        let manifest = Manifest::read(&path).unwrap();
        assert_eq!(names(&manifest.items), ["a", "c", "s", "s-data1"]);
        manifest.digest
    };
    let first = digest("batch.yaml", yaml);
    assert_eq!(first.len(), 64);
    assert_eq!(first, digest("batch.toml", toml));
    assert_eq!(first, digest("batch.json", json));
    assert_ne!(first, digest("batch.yml", &yaml.replace("40", "41")));
}

#[test]
fn a_manifest_that_cannot_be_parsed_is_named_after_its_notation() {
    for (name, text, says) in [
        ("batch.json", "{\"images\": [}", "not valid JSON: "),
        ("batch.yaml", "images: [a.raw,", "not valid YAML: "),
        ("batch.toml", "images = [\"a.raw\"", "not valid TOML: "),
    ] {
        let (_dir, path) = dir(&[], name, text);
        let problems = Manifest::read(&path).unwrap_err();
        let named = |problem: &Problem| problem.what.starts_with(says) && problem.line == Some(1);
        assert!(problems.iter().any(named), "{name}: {problems:?}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_not_named_by_the_problem() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("missing.yaml");
    let problems = Manifest::read(&path).unwrap_err();
    assert!(
        problems[0].what.starts_with("cannot be read: "),
        "{problems:?}"
    );
    assert!(!problems[0].to_string().contains("missing.yaml"));
}

#[test]
fn all_errors_are_told_at_once_with_their_lines() {
    let text = r#"
defaults:
  buckett: b
images:
  - source: missing.raw
    name: one
    min_disk: forty
  - source: a.raw
    name: one
    firmware: efi
    secret_key: abcdef
  - name: nothing
  - source: a.raw
    name: ${sitte}
  - source: a*.raw
    name: fixed
vars: {site: x}
servers:
  - name: s
    data: [a.raw]
"#;
    let told = told(&["a.raw", "a2.raw"], text);
    assert_eq!(
        told,
        r#"line 3, column 3: defaults: unknown key "buckett", did you mean "bucket"?
line 5, column 5: images[0]: there is no bucket, and none for 3 more (say bucket: here or in defaults:)
line 5, column 13: images[0].source: DIR/missing.raw cannot be read: No such file or directory (os error 2)
line 7, column 15: images[0].min_disk: found text, expected a whole number from 1
line 8, column 5: images[1]: name "one" is taken on line 5 already
line 10, column 15: images[1].firmware: found "efi", expected one of bios, uefi, did you mean "uefi"?
line 11, column 5: images[1]: unknown key "secret_key": a manifest holds no secrets (credentials come from the environment or the configuration file: imgferry config check)
line 12, column 5: images[2]: there is no source: which disk image is it?
line 14, column 11: images[3].name: there is no variable "sitte", did you mean "site"?
line 16, column 11: images[4].name: the source is a pattern, and every file would get this name: expected ${stem} or ${n} in it
line 19, column 5: servers[0]: the server has no system disk (add system:, or list its data disks under images: with type: DataImage)"#
    );
    assert!(
        !told.contains("abcdef"),
        "a value at a wrong key may be a secret"
    );
}

#[test]
fn toml_errors_have_lines_too() {
    let (_dir, path) = dir(
        &["a.raw"],
        "batch.toml",
        "[defaults]\nbucket = 7\n[[images]]\nsource = \"a.raw\"\nmin_disk = 0\n[[images]]\nsource = \"b.raw\"\n",
    );
    let problems = Manifest::read(&path).unwrap_err();
    let lines: Vec<_> = problems.iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [Some(2), Some(4), Some(5), Some(7)], "{problems:?}");
    assert_eq!(problems[0].path.as_deref(), Some("defaults.bucket"));
}

#[test]
fn text_that_looks_like_a_number_wants_quotes() {
    let told = told(
        &["a.raw"],
        "images: [{source: a.raw, bucket: b, name: 2024}]",
    );
    assert!(
        told.contains("found a number, expected text in quotes"),
        "{told}"
    );
    let manifest = read(
        &["a.raw"],
        "images: [{source: a.raw, bucket: b, name: '2024'}]",
    )
    .unwrap();
    assert_eq!(manifest.items[0].name, "2024");
}

#[test]
fn what_belongs_together_is_checked_together() {
    let told = told(
        &["a.raw", "b.raw", "c.raw", "d.raw"],
        r"
defaults: {bucket: b}
images:
  - {source: a.raw, group: g, name: n1, key: same}
  - {source: b.raw, group: g, name: n2, key: same}
  - {source: c.raw, group: h, type: DataImage}
  - {source: d.raw, role: data, type: ECS, id: c}
",
    );
    assert_eq!(
        told,
        r#"line 5, column 6: images[1]: key obs://b/same is taken on line 4 already
line 5, column 6: images[1]: group "g" has 2 system disks (say role: data for the others, or give each server its own group)
line 6, column 6: images[2]: group "h" has no system disk (leave group out for data disks that belong to no server)
line 7, column 6: images[3]: id "c" is taken on line 6 already
line 7, column 39: images[3].type: a data disk has the type DataImage, this one has ECS"#
    );
}

#[test]
fn null_takes_back_what_defaults_say() {
    let manifest = read(
        &["a.raw"],
        "defaults: {bucket: b, os_version: X, tags: {a: b}}\nimages: [{source: a.raw, os_version: null, tags: null}]",
    )
    .unwrap();
    assert_eq!(manifest.items[0].os_version, None);
    assert_eq!(manifest.items[0].tags, []);
}

#[test]
fn null_is_no_source_and_no_name_of_a_server() {
    let told = told(
        &["a.raw"],
        "images: [{source: null, bucket: b}]\nservers: [{name: null, system: a.raw, bucket: b}]",
    );
    assert!(told.contains("images[0]: there is no source"), "{told}");
    assert!(
        told.contains("servers[0]: the server has no name"),
        "{told}"
    );
}

#[test]
fn placeholders_are_refused_until_they_are_filled_in() {
    let told = told(
        &["a.raw"],
        "images: [{source: a.raw, bucket: b, os_version: TODO}]",
    );
    assert!(
        told.contains("this is a placeholder (imgferry os-versions"),
        "{told}"
    );
}

#[test]
fn the_environment_is_never_read() {
    let told = told(
        &["a.raw"],
        "images: [{source: a.raw, bucket: b, name: 'x-${env.HOME}'}]",
    );
    assert!(told.contains("the environment is not read"), "{told}");
    let told = self::told(
        &["a.raw"],
        "vars: {db_password: x}\nimages: [{source: a.raw, bucket: b}]",
    );
    assert!(told.contains("a manifest holds no secrets"), "{told}");
}

#[test]
fn sources_are_files_of_this_machine() {
    for (source, what) in [
        ("'-'", "does not read standard input"),
        ("~/a.raw", "only a shell replaces"),
        ("obs://b/k", "is an address"),
        ("''", "empty"),
        (".", "is a directory"),
        ("none*.raw", "no file matches"),
        ("'a[.raw'", "this is no pattern"),
        ("'**/a.raw'", "** is not read"),
    ] {
        let told = told(
            &["a.raw"],
            &format!("images: [{{source: {source}, bucket: b}}]"),
        );
        assert!(told.contains(what), "{source}: {told}");
    }
}

#[test]
fn an_address_is_refused_without_its_password() {
    for source in [
        "https://me:hunter2@host/web.qcow2",
        "https://host/web*.raw?sig=hunter2",
        "s3://me:[hunter2]@b/k",
    ] {
        let images = "images: [{source: 'SOURCE', bucket: b}, {source: 'SOURCE', bucket: b}]";
        let servers = "servers: [{name: s, bucket: b, system: 'SOURCE', data: [a.raw]}]";
        for (text, count) in [(images, 2), (servers, 1)] {
            let told = told(&["a.raw"], &text.replace("SOURCE", source));
            assert_eq!(told.matches("is an address").count(), count, "{told}");
            assert_eq!(told.lines().count(), count, "{told}");
            assert!(!told.contains("hunter2"), "{told}");
        }
    }
}

#[test]
fn the_key_that_was_replaced_says_by_which() {
    let told = told(
        &["a.raw"],
        "images: [{source: a.raw, bucket: b, force: true}]",
    );
    assert!(told.contains("set if_exists: replace"), "{told}");
}

#[test]
fn a_list_in_the_place_of_a_key_is_one_problem() {
    let told = told(
        &["a.raw"],
        "images: [{source: a.raw, bucket: b}]\n? [x]\n: 1\n",
    );
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(
        told.contains("a list stands where a key is expected"),
        "{told}"
    );
}

#[test]
fn a_file_that_is_called_like_a_pattern_is_a_file() {
    let manifest = read(
        &["disk[1].raw", "disk1.raw"],
        "images: [{source: 'disk[1].raw', bucket: b}]",
    );
    assert_eq!(names(&manifest.unwrap().items), ["disk[1]"]);
}

#[test]
fn patterns_find_files_in_order_and_no_hidden_ones() {
    let files = [
        "d/b.raw",
        "d/a.raw",
        "d/.hidden.raw",
        "d/sub/c.raw",
        "d/x.txt",
    ];
    let text = "images: [{source: 'd/*.raw', bucket: b, name: 'disk-${n}', description: '${stem} of $${x}'}]";
    let manifest = read(&files, text).unwrap();
    assert_eq!(names(&manifest.items), ["disk-1", "disk-2"]);
    assert_eq!(manifest.items[0].source_text, "d/a.raw");
    assert_eq!(manifest.items[0].description.as_deref(), Some("a of ${x}"));
    assert_eq!(manifest.items[0].line, 1);
}

#[test]
fn a_manifest_can_be_read_when_its_sources_are_gone() {
    let text = "images: [{source: a.raw, bucket: b}]";
    let (_dir, path) = dir(&[], "batch.yaml", text);
    let manifest = Manifest::read(&path).unwrap();
    assert_eq!(names(&manifest.items), ["a"]);
    let problem = manifest.items[0].unreadable.as_ref().unwrap().to_string();
    assert!(
        problem.starts_with("line 1, column 19: images[0].source: "),
        "{problem}"
    );
    // Beside other problems it is one of them.
    let told = told(&[], &text.replace("bucket", "buckett"));
    assert!(told.contains("a.raw cannot be read"), "{told}");
}

#[test]
fn hostile_manifests_end_early_and_quietly() {
    let mut deep = String::new();
    for _ in 0..200_000 {
        deep.push('[');
    }
    assert!(!problems(&[], &deep).is_empty());
    let many = format!("images: [{}]", "{source: a.raw, bucket: b},".repeat(12_000));
    let told = problems(&["a.raw"], &many);
    assert!(told.len() <= 101, "{}", told.len());
    assert!(
        told.last().unwrap().contains("more problems"),
        "{:?}",
        told.last()
    );
    let (_dir, path) = dir(&[], "batch.yaml", "");
    fs::write(&path, vec![b'#'; 9 << 20]).unwrap();
    assert!(
        Manifest::read(&path).unwrap_err()[0]
            .what
            .contains("more than")
    );
    fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(Manifest::read(&path).unwrap_err()[0].what.contains("UTF-8"));
    fs::write(&path, "a: &a [x]\nb: [*a, *a]\n").unwrap();
    assert!(
        Manifest::read(&path).unwrap_err()[0]
            .what
            .contains("unknown key")
    );
    for text in [
        "",
        "images: []",
        "images: 7",
        "- a",
        "version: 2\nimages: []",
        "\u{0}",
        "a: \"\\x\"",
    ] {
        let _ = fs::write(&path, text);
        assert!(Manifest::read(&path).is_err(), "{text:?}");
    }
    assert!(
        Manifest::read(Path::new("/nonexistent/batch.yaml")).unwrap_err()[0]
            .hint
            .is_some()
    );
}

#[test]
fn control_characters_are_refused() {
    let told = told(
        &["a.raw"],
        "images: [{source: a.raw, bucket: b, name: \"a\\u001b[31m\"}]",
    );
    assert!(told.contains("control character"), "{told}");
}

#[test]
fn a_level_is_a_number_or_auto_and_may_come_from_a_variable() {
    let level = |value: &str| {
        let text = format!(
            "version: 1\nvars: {{how: auto, number: \"3\"}}\ndefaults: {{bucket: my-images, type: DataImage}}\n\
             images:\n  - source: a.raw\n    level: {value}\n"
        );
        let (_dir, path) = dir(&["a.raw"], "batch.yaml", &text);
        match Manifest::read(&path) {
            Ok(manifest) => Ok(serde_json::to_value(&manifest.items[0]).unwrap()["level"].clone()),
            Err(problems) => Err(format!("{problems:?}")),
        }
    };
    for (value, expected) in [
        ("auto", serde_json::json!("auto")),
        ("AUTO", serde_json::json!("auto")),
        ("\"${how}\"", serde_json::json!("auto")),
        ("-7", serde_json::json!(-7)),
        ("\"${number}\"", serde_json::json!(3)),
    ] {
        assert_eq!(level(value), Ok(expected), "{value}");
    }
    for value in ["20", "-8", "high", "\"${number}0\"", "true"] {
        let told = level(value).unwrap_err();
        assert!(told.contains("-7 to 19"), "{value}: {told}");
    }
}
