//! Compressed raw disks, as files and through pipes, run as a user runs them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::common::cloud::Cloud;
use crate::common::{self, imgferry, json_of, noise, os_str, run};
use tempfile::TempDir;

const MIB: usize = 1 << 20;

/// A disk of 9 MiB and a sector, with holes.
fn disk(dir: &TempDir) -> PathBuf {
    let mut disk = vec![0; 9 * MIB + 512];
    disk[MIB..3 * MIB].copy_from_slice(&noise(2 * MIB));
    let len = disk.len();
    disk[len - 700..].copy_from_slice(&noise(700));
    let path = dir.path().join("disk.raw");
    fs::write(&path, disk).unwrap();
    path
}

/// Runs `line` in `dir`; `false` when its program is missing.
fn sh(dir: &Path, line: &str) -> bool {
    let program = line.split(' ').next().unwrap();
    if testkit::missing(program) {
        return false;
    }
    let mut shell = Command::new("sh");
    let status = shell.args(["-c", line]).current_dir(dir).status().unwrap();
    assert!(status.success(), "{line}");
    true
}

fn digest(path: &Path) -> String {
    let run = imgferry(&["digest".as_ref(), os_str(path), "--json".as_ref()]);
    let digest = &json_of(run.success())["digest"];
    digest.as_str().unwrap().to_owned()
}

const PACKERS: [(&str, &str, &str); 6] = [
    ("gz", "gzip", "gzip -k disk.raw"),
    ("xz", "xz", "xz -k -0 disk.raw"),
    ("zst", "zstd", "zstd -qk disk.raw"),
    ("bz2", "bzip2", "bzip2 -k disk.raw"),
    ("lz4", "lz4", "lz4 -qk disk.raw disk.raw.lz4"),
    (
        "tar.gz",
        "gzip",
        "tar --format=oldgnu -S -czf disk.raw.tar.gz disk.raw",
    ),
];

#[test]
fn a_compressed_disk_is_read_like_the_disk() {
    let dir = TempDir::new().unwrap();
    let raw = disk(&dir);
    let expected = digest(&raw);
    let size = fs::metadata(&raw).unwrap().len();
    for (extension, name, line) in PACKERS {
        if !sh(dir.path(), line) {
            continue;
        }
        let packed = dir.path().join(format!("disk.raw.{extension}"));
        assert_eq!(digest(&packed), expected, "{line}");
        let zvhd2 = dir.path().join(format!("{extension}.zvhd2"));
        imgferry(&["convert".as_ref(), os_str(&packed), os_str(&zvhd2)]).success();
        assert_eq!(digest(&zvhd2), expected, "{line}");
        imgferry(&["verify".as_ref(), os_str(&packed), os_str(&raw)]).success();
        let told = imgferry(&["inspect".as_ref(), "--json".as_ref(), os_str(&packed)]);
        let told = json_of(told.success());
        assert_eq!(told["format"], "raw", "{line}");
        assert_eq!(told["compression"], name, "{line}");
        assert_eq!(told["streamed"], true, "{line}");
        assert_eq!(told["virtual_size"], size, "{line}");
        assert_eq!(told["warnings"].as_array().unwrap().len(), 0, "{told}");
        let checked = imgferry(&["inspect".as_ref(), "--check".as_ref(), os_str(&packed)]);
        let text = &checked.success().text();
        assert!(text.contains("0 errors"), "{text}");
        let map = ["inspect", "--map", "-"].map(AsRef::as_ref);
        let map = imgferry(&[&map[..], &[os_str(&packed)]].concat());
        assert!(map.success().text().contains("<svg"));
        let bitmap = ["bitmap", "--json", "--force"].map(AsRef::as_ref);
        let bitmap = imgferry(&[&bitmap[..], &[os_str(&packed)]].concat());
        assert_eq!(json_of(bitmap.success())["scan"]["digest"], *expected);
        assert!(dir.path().join("disk.mf").exists(), "{line}");

        // The same through a pipe, and redirected.
        let mut command = common::command();
        command.args(["digest", "-", "--json", "--size", &size.to_string()]);
        command.stdin(File::open(&packed).unwrap());
        let redirected = run(&mut command);
        assert_eq!(json_of(redirected.success())["digest"], *expected);
        let mut cat = Command::new("cat")
            .arg(&packed)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        command.stdin(cat.stdout.take().unwrap());
        let piped = run(&mut command);
        assert_eq!(json_of(piped.success())["digest"], *expected);
        cat.wait().unwrap();
    }
}

#[test]
fn a_damaged_compressed_disk_leaves_no_output() {
    let dir = TempDir::new().unwrap();
    disk(&dir);
    if !sh(dir.path(), "gzip disk.raw") {
        return;
    }
    let packed = dir.path().join("disk.raw.gz");
    let mut bytes = fs::read(&packed).unwrap();
    bytes.truncate(bytes.len() - 6);
    fs::write(&packed, &bytes).unwrap();
    let out = dir.path().join("out.zvhd2");
    let size = (9 * MIB + 512).to_string();
    for more in [&[][..], &["--size", &size]] {
        let mut command = common::command();
        command.args(["convert".as_ref(), os_str(&packed), os_str(&out)]);
        let told = run(command.args(more));
        assert_eq!(told.code, Some(2), "{}", told.stderr);
        assert!(told.stderr.contains("ends early"), "{}", told.stderr);
        assert!(!out.exists());
    }
}

#[test]
fn a_compressed_disk_becomes_an_active_image() {
    let dir = TempDir::new().unwrap();
    let raw = disk(&dir);
    let expected = digest(&raw);
    if !sh(dir.path(), "xz -k -0 disk.raw") {
        return;
    }
    let cloud = Cloud::start(&["images"]);
    let mut command = cloud.command();
    command.arg("import").arg(dir.path().join("disk.raw.xz"));
    command.args(["--name", "packed", "--bucket", "images", "--json"]);
    command.args(["--type", "DataImage", "--os-type", "Linux"]);
    let imported = json_of(run(&mut command).success());
    assert_eq!(imported["status"], "active");
    assert_eq!(imported["digest"], expected.as_str());
    assert_eq!(imported["image_digest"], imported["digest"]);
}

#[test]
fn a_check_finds_what_is_wrong_with_a_compressed_disk() {
    let dir = TempDir::new().unwrap();
    disk(&dir);
    if !sh(dir.path(), "gzip disk.raw") {
        return;
    }
    let packed = dir.path().join("disk.raw.gz");
    let mut bytes = fs::read(&packed).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&packed, &bytes).unwrap();
    let told = imgferry(&["inspect".as_ref(), "--check".as_ref(), os_str(&packed)]);
    assert_eq!(told.code, Some(2), "{}", told.stderr);
    assert!(told.text().contains("gzip stream"), "{}", told.text());
}

#[test]
fn a_compressed_disk_is_measured() {
    let dir = TempDir::new().unwrap();
    disk(&dir);
    if !sh(dir.path(), "gzip disk.raw") {
        return;
    }
    let packed = dir.path().join("disk.raw.gz");
    let bench = |more: &[&str]| {
        let mut command = common::command();
        command.args(["bench", "--json", "--repeat", "2", "--levels", "1"]);
        command.args(["--threads", "2", "--dir"]).arg(dir.path());
        run(command.arg(&packed).args(more))
    };
    let told = json_of(bench(&[]).success());
    assert_eq!(told["source"]["virtual_size_bytes"], 9 * MIB + 512);
    let refused = bench(&["--against", "qemu-img"]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
}
