//! `imgferry inspect`: what it tells, draws and checks, run as a user runs it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod bitmap;
#[path = "../common/mod.rs"]
mod common;
mod files;
mod guest;
mod names;
mod objects;

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use common::{Run, imgferry, json_of, os_str, testdata};
use testkit::qemu;

fn inspect(options: &[&str], image: &Path) -> Run {
    let mut args = vec![OsStr::new("inspect")];
    args.extend(options.iter().map(OsStr::new));
    args.push(os_str(image));
    imgferry(&args)
}

#[test]
fn partitions_boot_mode_and_ways_into_the_cloud_are_told() {
    let source = testdata("debian-tree.qcow2");
    let json = json_of(inspect(&["--json"], &source).success());
    let table = &json["partitions"];
    assert_eq!(table["scheme"], "gpt");
    assert_eq!(table["boot"], "uefi");
    let esp = &table["entries"][0];
    assert_eq!(
        (
            esp["number"].as_u64(),
            esp["start"].as_u64(),
            esp["size"].as_u64()
        ),
        (Some(1), Some(1 << 20), Some(64 << 20))
    );
    assert_eq!(esp["type"], "EFI System");
    assert_eq!(esp["content"]["kind"], "FAT32");
    assert_eq!(table["entries"][1]["content"]["kind"], "ext4");
    assert_eq!(json["quick_import"]["possible"], true);
    assert_eq!(json["quick_import"]["as_it_is"]["possible"], false);
    assert_eq!(json["common_import"]["possible"], true);

    let text = inspect(&[], &source).text();
    for line in [
        "boot mode     uefi: partition 1 is an EFI System partition",
        "quick import  after conversion, yes: ",
        "              as it is, no: quick import takes ZVHD2 and RAW, this is qcow2",
        "common import yes: ",
    ] {
        assert!(text.contains(line), "{text}");
    }
}

#[test]
fn the_names_of_all_json_fields_stay() {
    let json = json_of(inspect(&["--json"], &testdata("debian-tree.qcow2")).success());
    let names: Vec<_> = json
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    for name in [
        "path",
        "format",
        "variant",
        "cluster_size",
        "compression",
        "warnings",
        "virtual_size",
        "min_disk",
        "file_size",
        "bytes_on_disk",
        "data_bytes",
        "zero_bytes",
        "hole_bytes",
        "elsewhere_bytes",
        "partitions",
        "quick_import",
        "common_import",
    ] {
        assert!(names.contains(&name), "{name} is missing: {names:?}");
    }
    let table = json["partitions"].as_object().unwrap();
    for name in [
        "scheme",
        "sector_size",
        "id",
        "entries",
        "boot",
        "boot_reason",
    ] {
        assert!(table.contains_key(name), "{name}");
    }
    let entry = table["entries"][1].as_object().unwrap();
    for name in [
        "number", "start", "size", "type", "type_id", "label", "bootable", "content",
    ] {
        assert!(entry.contains_key(name), "{name}");
    }
}

#[test]
fn a_disk_of_64_tib_takes_seconds() {
    let dir = tempfile::tempdir().unwrap();
    let raw = dir.path().join("vast.raw");
    // Larger files are beyond what ext4 takes.
    fs::File::create(&raw).unwrap().set_len(15 << 40).unwrap();
    let mut images = vec![raw];
    if !qemu::missing() {
        for (format, options) in [("qcow2", "cluster_size=2M"), ("vhdx", "block_size=32M")] {
            let path = dir.path().join(format!("vast.{format}"));
            let text = path.to_str().unwrap();
            qemu::img(["create", "-q", "-f", format, "-o", options, text, "64T"]);
            images.push(path);
        }
    }
    for image in &images {
        let started = Instant::now();
        let json = json_of(inspect(&["--json"], image).success());
        assert!(
            started.elapsed() < testkit::measure::HANG,
            "{}",
            image.display()
        );
        assert_eq!(json["quick_import"]["possible"], false);
        assert!(json["virtual_size"].as_u64().unwrap() >= 15 << 40);
        let map = dir.path().join("map.svg");
        inspect(&["--force", "--map", map.to_str().unwrap()], image).success();
        assert!(fs::metadata(&map).unwrap().len() < 1 << 20);
    }
}

#[test]
fn the_map_is_a_well_formed_picture_with_data_and_partitions() {
    let dir = tempfile::tempdir().unwrap();
    // A name that would end an element, and break the line of a terminal.
    let image = dir.path().join("a<b>&\"'\n\u{1b}.qcow2");
    fs::copy(testdata("debian-tree.qcow2"), &image).unwrap();
    let map = dir.path().join("disk.svg");
    let option = map.to_str().unwrap();
    let run = inspect(&["--map", option], &image);
    run.success();
    assert!(run.text().contains("boot mode"), "the table is still told");
    let svg = fs::read_to_string(&map).unwrap();
    let document = roxmltree::Document::parse(&svg).unwrap();
    let root = document.root_element();
    assert_eq!(root.tag_name().name(), "svg");
    assert_eq!(
        root.tag_name().namespace(),
        Some("http://www.w3.org/2000/svg")
    );
    let texts: Vec<_> = document
        .descendants()
        .filter(|node| node.has_tag_name(("http://www.w3.org/2000/svg", "text")))
        .filter_map(|node| node.text())
        .collect();
    let title = texts[0];
    assert!(title.contains("a<b>&\"'\\n\\u{1b}.qcow2"), "{title}");
    for wanted in ["data 15.87 MiB", "EFI System", "Linux, 1.93 GiB at 65 MiB"] {
        assert!(
            texts.iter().any(|text| text.contains(wanted)),
            "{wanted}: {texts:?}"
        );
    }
    // 2 GiB in boxes of 1 MiB, of which some hold data.
    let boxes = document
        .descendants()
        .filter(|node| node.has_tag_name(("http://www.w3.org/2000/svg", "g")));
    assert_eq!(boxes.count(), 2048);

    let again = inspect(&["--map", option], &image);
    assert_eq!(again.code, Some(2), "an existing file is kept");
    inspect(&["--force", "--map", option], &image).success();
    assert_eq!(fs::read_to_string(&map).unwrap(), svg);
    let left = fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(left, 2, "no temporary file is left");
}

#[test]
fn the_map_goes_to_standard_output_alone() {
    let source = testdata("debian-tree.qcow2");
    let run = inspect(&["--map", "-"], &source);
    run.success();
    roxmltree::Document::parse(&run.text()).unwrap();
    let run = inspect(&["--map", "-", "--json"], &source);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("--map disk.svg"), "{}", run.stderr);
}

#[test]
fn a_failed_run_leaves_no_map() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("notes.txt");
    fs::write(&text, "this is not a disk\n").unwrap();
    let map = dir.path().join("disk.svg");
    let run = inspect(&["--map", map.to_str().unwrap()], &text);
    assert_eq!(run.code, Some(2));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_check_of_a_whole_image_ends_with_0() {
    let source = testdata("debian-tree.qcow2");
    let run = inspect(&["--check"], &source);
    run.success();
    assert!(
        run.text().contains("0 errors, 0 warnings"),
        "{}",
        run.text()
    );
    let json = json_of(inspect(&["--check", "--json"], &source).success());
    assert_eq!(json["sound"], true);
    assert_eq!(json["format"], "qcow2");
}

#[test]
fn a_check_lists_all_damage_with_offsets_and_ends_with_2() {
    let dir = tempfile::tempdir().unwrap();
    let mut bytes = fs::read(testdata("debian-tree.qcow2")).unwrap();
    let number =
        |bytes: &[u8], at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
    let l1 = usize::try_from(number(&bytes, 40)).unwrap();
    let l2 = usize::try_from(number(&bytes, l1) & 0x00ff_ffff_ffff_fe00).unwrap();
    // A reserved bit in both tables: the reader stops at the first of them.
    bytes[l1 + 7] |= 1;
    bytes[l2 + 8..l2 + 16].copy_from_slice(&(1_u64 << 40 | 1 << 63).to_be_bytes());
    let image = dir.path().join("damaged.qcow2");
    fs::write(&image, &bytes).unwrap();
    assert_eq!(inspect(&[], &image).code, Some(2));

    let run = inspect(&["--check"], &image);
    assert_eq!(run.code, Some(2));
    for (structure, at) in [("L1 entry", l1), ("L2 entry", l2 + 8)] {
        let line = format!("error   {structure} at offset {at:#x}: ");
        assert!(run.text().contains(&line), "{}", run.text());
    }
    let json = json_of(&inspect(&["--check", "--json"], &image));
    assert_eq!(json["error"]["exit_code"], 2);
    assert_eq!(json["check"]["sound"], false);
    let findings = json["check"]["findings"].as_array().unwrap();
    assert!(findings.iter().any(|finding| {
        finding["rule"] == "past-end" && finding["offset"].as_u64() == Some(l2 as u64 + 8)
    }));
}

#[test]
fn zvhd2_files_are_checked_by_their_own_rules() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk.zvhd2");
    let source = testdata("debian-tree.qcow2");
    imgferry(&["convert".as_ref(), os_str(&source), os_str(&path)]).success();
    inspect(&["--check"], &path).success();
    let json = json_of(inspect(&["--json"], &path).success());
    assert_eq!(json["quick_import"]["as_it_is"]["possible"], true);
    let mut bytes = fs::read(&path).unwrap();
    bytes[4096 + 300] ^= 0xff;
    fs::write(&path, bytes).unwrap();
    let run = inspect(&["--check"], &path);
    assert_eq!(run.code, Some(2), "{}", run.text());
    assert!(
        run.text().contains("data block at offset"),
        "{}",
        run.text()
    );
}

#[test]
fn an_encrypted_image_is_described_and_the_way_to_decrypt_it_can_be_typed() {
    if qemu::missing() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret.qcow2");
    for (format, name) in [("luks,encrypt.iter-time=10", "LUKS"), ("aes", "AES")] {
        if name == "LUKS" && !qemu::makes_luks() {
            continue;
        }
        qemu::img([
            "create",
            "-q",
            "-f",
            "qcow2",
            "--object",
            "secret,id=s,data=abc123",
            "-o",
            &format!("encrypt.key-secret=s,encrypt.format={format}"),
            path.to_str().unwrap(),
            "8M",
        ]);
        let run = inspect(&["--json"], &path);
        let json = json_of(run.success());
        assert_eq!(json["format"], "qcow2");
        assert_eq!(json["variant"], "version 3");
        assert_eq!(json["virtual_size"], 8 << 20);
        assert_eq!(json["cluster_size"], 64 << 10);
        assert_eq!(json["encryption"], name);
        assert_eq!(json["partitions"], serde_json::Value::Null);
        for import in ["quick_import", "common_import"] {
            assert_eq!(json[import]["possible"], false);
            let reason = json[import]["reason"].as_str().unwrap();
            assert!(reason.contains("encrypted"), "{reason}");
        }
        let warnings = json["warnings"].as_array().unwrap();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        let (_, command) = warnings[0].as_str().unwrap().split_once("first: ").unwrap();
        fs::write(dir.path().join("PASSPHRASE_FILE"), "abc123").unwrap();
        let command = command.replace("IMAGE", "secret.qcow2");
        let decrypted = std::process::Command::new("sh")
            .args(["-c", &command])
            .current_dir(dir.path())
            .status();
        assert!(decrypted.unwrap().success(), "{command}");
        inspect(&["--json"], &dir.path().join("plain.qcow2")).success();

        let text = inspect(&[], &path).text();
        assert!(text.contains(&format!("encryption    {name}")), "{text}");
        // A check needs no key, and everything that reads refuses.
        inspect(&["--check"], &path).success();
        let target = dir.path().join("disk.raw");
        let run = imgferry(&["convert".as_ref(), os_str(&path), os_str(&target)]);
        assert_eq!(run.code, Some(2));
        assert!(run.stderr.contains(name), "{}", run.stderr);
        assert!(!target.exists());
    }
}

#[test]
fn other_files_that_an_image_names_are_listed_and_not_opened() {
    if qemu::missing() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base.qcow2");
    let top = dir.path().join("top.qcow2");
    qemu::img(["create", "-q", "-f", "qcow2", base.to_str().unwrap(), "16M"]);
    qemu::img([
        "create",
        "-q",
        "-f",
        "qcow2",
        "-F",
        "qcow2",
        "-b",
        "base.qcow2",
        top.to_str().unwrap(),
    ]);
    qemu::io(&top, "qcow2", &["write -P 7 1M 2M", "write -z 4M 1M"]);
    let with = ["--json", "--allow-backing", dir.path().to_str().unwrap()];
    let bytes = |json: &serde_json::Value| {
        ["data", "zero", "hole", "elsewhere"]
            .map(|kind| json[format!("{kind}_bytes")].as_u64().unwrap() >> 20)
    };
    let json = json_of(inspect(&with, &top).success());
    assert_eq!(bytes(&json), [2, 1, 13, 0]);

    fs::remove_file(base).unwrap();
    let json = json_of(inspect(&["--json"], &top).success());
    assert_eq!(bytes(&json), [2, 1, 0, 13]);
    assert_eq!(json["refers_to"][0]["role"], "backing file");
    assert_eq!(json["refers_to"][0]["name"], "base.qcow2");
    assert_eq!(json["refers_to"][0]["format"], "qcow2");
    assert_eq!(json["common_import"]["possible"], false);
    let text = inspect(&[], &top).text();
    assert!(
        text.contains("other files   13 MiB are not in this file"),
        "{text}"
    );
    let run = inspect(&["--map", "-"], &top);
    assert!(run.success().text().contains("in other files 13 MiB"));
}

#[test]
fn a_disk_that_needs_a_parent_nobody_looks_for_is_not_called_importable() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("snapshot.vdi");
    let unpacked = Command::new("gzip")
        .arg("-dc")
        .arg(testdata("vdi/no-vdi-diff.vdi.gz"))
        .output();
    fs::write(&image, unpacked.unwrap().stdout).unwrap();
    let json = json_of(inspect(&["--json"], &image).success());
    for import in ["quick_import", "common_import"] {
        assert_eq!(json[import]["possible"], false, "{import}: {json}");
    }
    let reason = json["quick_import"]["reason"].as_str().unwrap();
    assert!(reason.contains("without its parent"), "{reason}");
}
