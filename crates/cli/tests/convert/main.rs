//! The commands on local images, run as a user runs them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod backing;
#[path = "../common/mod.rs"]
mod common;
mod free;
mod matrix;
mod packed;
mod pipes;
mod snapshots;
mod sources;

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use common::{DEBIAN_TREE_DIGEST, imgferry, json_of, os_str, testdata};

#[test]
fn the_real_disk_has_its_known_digest_in_every_format() {
    let dir = tempfile::tempdir().unwrap();
    let source = testdata("debian-tree.qcow2");
    let [zvhd2, raw, back] = ["a.zvhd2", "a.raw", "b.raw"].map(|name| dir.path().join(name));
    let steps = [(&source, &zvhd2), (&source, &raw), (&zvhd2, &back)];
    for (from, to) in steps {
        let run = imgferry(&["convert".as_ref(), os_str(from), os_str(to)]);
        run.success();
    }
    for image in [&source, &zvhd2, &raw, &back] {
        let run = imgferry(&["digest".as_ref(), os_str(image), "--json".as_ref()]);
        assert_eq!(
            json_of(&run)["digest"],
            DEBIAN_TREE_DIGEST,
            "{}",
            image.display()
        );
    }
    // Sparse: 2 GiB long, and only the data on disk.
    let metadata = fs::metadata(&raw).unwrap();
    assert_eq!(metadata.len(), 2 << 30);
    assert!(std::os::unix::fs::MetadataExt::blocks(&metadata) * 512 < 100 << 20);
    imgferry(&["verify".as_ref(), os_str(&source), os_str(&back)]).success();
}

#[test]
fn qemu_img_reads_the_same_bytes() {
    if testkit::qemu::missing() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let source = testdata("debian-tree.qcow2");
    let [ours, theirs] = ["ours.raw", "theirs.raw"].map(|name| dir.path().join(name));
    imgferry(&["convert".as_ref(), os_str(&source), os_str(&ours)]).success();
    let status = std::process::Command::new("qemu-img")
        .args(["convert", "-O", "raw"])
        .args([&source, &theirs])
        .status()
        .unwrap();
    assert!(status.success());
    let status = std::process::Command::new("cmp")
        .args([&ours, &theirs])
        .status()
        .unwrap();
    assert!(status.success(), "our raw differs from that of qemu-img");
}

/// Writes a dynamic VHD of 8 MiB with two blocks at `path`, and the bytes that it stores at
/// `whole`. The first block's sector bitmap is `bitmap`, the other one's marks everything.
fn write_vhd(path: &Path, whole: &Path, bitmap: [u8; 512]) {
    const BLOCK: usize = 2 << 20;
    let seal = |structure: &mut [u8], at: usize| {
        let sum: u32 = structure.iter().map(|byte| u32::from(*byte)).sum();
        structure[at..at + 4].copy_from_slice(&(!sum).to_be_bytes());
    };
    let mut footer = vec![0; 512];
    footer[..16].copy_from_slice(b"conectix\0\0\0\x02\0\x01\0\0");
    footer[16..24].copy_from_slice(&512_u64.to_be_bytes());
    footer[28..32].copy_from_slice(b"win ");
    footer[48..56].copy_from_slice(&(4 * BLOCK as u64).to_be_bytes());
    footer[56..60].copy_from_slice(&[0, 240, 4, 17]);
    footer[63] = 3;
    seal(&mut footer, 64);
    let mut header = vec![0; 1024];
    header[..8].copy_from_slice(b"cxsparse");
    header[16..24].copy_from_slice(&1536_u64.to_be_bytes());
    header[25] = 1;
    header[31] = 4;
    header[32..36].copy_from_slice(&(2_u32 << 20).to_be_bytes());
    seal(&mut header, 36);
    let mut table = vec![0xff; 512];
    table[..4].copy_from_slice(&4_u32.to_be_bytes());
    table[8..12].copy_from_slice(&(4 + 4097_u32).to_be_bytes());
    let content = common::noise(BLOCK);
    let blocks = [&bitmap[..], &content, &[0xff; 512], &content].concat();
    fs::write(
        path,
        [&footer[..], &header, &table, &blocks, &footer].concat(),
    )
    .unwrap();
    let gap = vec![0; BLOCK];
    fs::write(whole, [&content[..], &gap, &content, &gap].concat()).unwrap();
}

#[test]
fn what_the_sector_bitmaps_of_a_vhd_leave_out_is_told_and_every_command_reads_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let [vhd, whole, raw] = ["a.vhd", "whole.raw", "out.raw"].map(|name| dir.path().join(name));
    let digest = |image: &Path, options: &[&str]| {
        let mut args = vec!["digest".as_ref(), os_str(image), "--json".as_ref()];
        args.extend(options.iter().map(OsStr::new));
        json_of(imgferry(&args).success())["digest"].clone()
    };
    let ignore = ["--vhd-bitmap", "ignore"];
    let mut partial = [0xff; 512];
    partial[0] = 0b1111_1001;
    for (bitmap, word) in [
        (partial, "2 stored sectors hold bytes"),
        ([0; 512], "1 stored block"),
    ] {
        write_vhd(&vhd, &whole, bitmap);
        let run = imgferry(&[
            "convert".as_ref(),
            os_str(&vhd),
            os_str(&raw),
            "--force".as_ref(),
        ]);
        run.success();
        let warned = run
            .stderr
            .lines()
            .filter(|line| line.starts_with("warning:"));
        let warned: Vec<_> = warned.collect();
        assert_eq!(warned.len(), 1, "{}", run.stderr);
        assert!(warned[0].contains(word), "{}", run.stderr);
        let checked = imgferry(&["inspect".as_ref(), "--check".as_ref(), os_str(&vhd)]).text();
        assert!(checked.contains(word), "{checked}");
        assert_eq!(digest(&vhd, &[]), digest(&raw, &[]));
        assert_eq!(digest(&vhd, &ignore), digest(&whole, &[]));
        let same = [os_str(&vhd), os_str(&whole)];
        let [option, value] = ignore.map(OsStr::new);
        imgferry(&["verify".as_ref(), same[0], same[1], option, value]).success();
    }
}

#[test]
fn a_raw_disk_whose_last_sector_makes_it_another_disk_is_refused_with_both_names() {
    let dir = tempfile::tempdir().unwrap();
    let [vhd, whole, out] = ["a.raw", "whole.raw", "out.raw"].map(|name| dir.path().join(name));
    write_vhd(&vhd, &whole, [0xff; 512]);
    let mut bytes = fs::read(&vhd).unwrap();
    bytes[..512].fill(0);
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    fs::write(&vhd, &bytes).unwrap();
    for args in [
        vec!["inspect".as_ref(), os_str(&vhd)],
        vec!["inspect".as_ref(), "--check".as_ref(), os_str(&vhd)],
        vec!["digest".as_ref(), os_str(&vhd)],
        vec!["verify".as_ref(), os_str(&vhd), os_str(&whole)],
        vec!["convert".as_ref(), os_str(&vhd), os_str(&out)],
    ] {
        let run = imgferry(&args);
        assert_eq!(run.code, Some(2), "{}", run.stderr);
        let claims = "vhd and a disk with a boot sector";
        assert!(run.stderr.contains(claims), "{}", run.stderr);
        let hint = "--format raw or --format vhd";
        assert!(run.stderr.contains(hint), "{}", run.stderr);
    }
    let format = ["--format".as_ref(), "raw".as_ref()];
    let args = ["convert".as_ref(), os_str(&vhd), os_str(&out)];
    imgferry(&[&args[..], &format].concat()).success();
    assert!(fs::read(&out).unwrap() == bytes);
}

#[test]
fn a_difference_is_exit_code_5_and_names_the_first_block() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b] = ["a.raw", "b.raw"].map(|name| dir.path().join(name));
    let mut bytes = vec![0_u8; 8 << 20];
    bytes[0] = 0xeb;
    fs::write(&a, &bytes).unwrap();
    bytes[(5 << 20) + 7] = 1;
    fs::write(&b, &bytes).unwrap();
    let run = imgferry(&["verify".as_ref(), os_str(&a), os_str(&b), "--json".as_ref()]);
    assert_eq!(run.code, Some(5), "{}", run.stderr);
    let json = json_of(&run);
    assert_eq!(json["comparison"]["first_difference"]["block"], 2);
    assert_eq!(
        json["comparison"]["first_difference"]["offset"],
        (5 << 20) + 7
    );
    assert!(run.stderr.contains("0x500007"), "{}", run.stderr);
}

#[test]
fn an_existing_file_is_not_replaced_without_force() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.zvhd2");
    fs::write(&out, "precious").unwrap();
    let source = testdata("debian-tree.qcow2");
    let run = imgferry(&["convert".as_ref(), os_str(&source), os_str(&out)]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(run.stderr.contains("--force"), "{}", run.stderr);
    assert_eq!(fs::read(&out).unwrap(), b"precious");
    imgferry(&[
        "convert".as_ref(),
        os_str(&source),
        os_str(&out),
        "--force".as_ref(),
    ])
    .success();
    assert!(fs::metadata(&out).unwrap().len() > 1 << 20);
    // The source is never the target, whatever is forced.
    let run = imgferry(&[
        "convert".as_ref(),
        os_str(&out),
        os_str(&out),
        "--force".as_ref(),
    ]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
}

#[test]
fn a_stream_to_standard_output_is_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let source = testdata("debian-tree.qcow2");
    let run = imgferry(&["convert".as_ref(), os_str(&source), "-".as_ref()]);
    run.success();
    let out = dir.path().join("piped.zvhd2");
    fs::write(&out, &run.stdout).unwrap();
    let run = imgferry(&["digest".as_ref(), os_str(&out), "--json".as_ref()]);
    assert_eq!(json_of(&run)["digest"], DEBIAN_TREE_DIGEST);
}

#[test]
fn inspect_tells_sizes_and_min_disk() {
    let source = testdata("debian-tree.qcow2");
    let run = imgferry(&["inspect".as_ref(), os_str(&source), "--json".as_ref()]);
    run.success();
    let json = json_of(&run);
    assert_eq!(json["format"], "qcow2");
    assert_eq!(json["virtual_size"], 2_u64 << 30);
    assert_eq!(json["min_disk"], 2);
    assert_eq!(json["quick_import"]["possible"], true);
    let sum: u64 = ["data_bytes", "zero_bytes", "hole_bytes"]
        .iter()
        .map(|name| json[*name].as_u64().unwrap())
        .sum();
    assert_eq!(sum, 2 << 30);
    let run = imgferry(&["inspect".as_ref(), os_str(&source)]);
    assert!(run.text().contains("qcow2 (version 3)"), "{}", run.text());
}

#[test]
fn what_is_no_disk_is_refused_with_exit_code_2_and_a_hint() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("notes.txt");
    fs::write(&text, "this is not a disk\n").unwrap();
    for command in ["inspect", "digest"] {
        let run = imgferry(&[command.as_ref(), os_str(&text)]);
        assert_eq!(run.code, Some(2), "{}", run.stderr);
        assert!(
            run.stderr.contains("notes.txt") && run.stderr.contains("--format raw"),
            "{}",
            run.stderr
        );
        assert!(run.stdout.is_empty());
    }
    let missing = dir.path().join("missing.qcow2");
    let run = imgferry(&["inspect".as_ref(), os_str(&missing), "--json".as_ref()]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert_eq!(json_of(&run)["error"]["exit_code"], 2);
}

#[test]
fn an_interrupted_conversion_leaves_no_file_and_ends_with_130() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("big.raw");
    // Noise, so that the conversion takes long enough to be interrupted.
    fs::write(&source, common::noise(64 << 20)).unwrap();
    let out = dir.path().join("out.zvhd2");
    let mut child = common::command()
        .args(["convert", "--level", "19", "--threads", "1"])
        .args([&source, &out])
        .stderr(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    common::wait_until(|| fs::read_dir(dir.path()).unwrap().count() > 1);
    common::signal(&child, "INT");
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(130));
    let left: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(left, ["big.raw"]);
}

#[test]
fn auto_is_the_default_level_where_no_line_says_more_and_that_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.zvhd2");
    let source = testdata("debian-tree.qcow2");
    let run = imgferry(&[
        "convert".as_ref(),
        "--level".as_ref(),
        "auto".as_ref(),
        "--json".as_ref(),
        os_str(&source),
        os_str(&out),
    ]);
    run.success();
    let json = json_of(&run);
    assert_eq!(json["plan"]["level"], 1);
    let note = json["plan"]["notes"][0].as_str().unwrap();
    assert!(note.contains("follows the line of an upload"), "{note}");
    let levels = json["report"]["levels"].as_array().unwrap();
    assert_eq!(levels.len(), 1);
    assert_eq!(levels[0]["level"], 1);
}

#[test]
fn a_path_that_is_no_text_is_no_obstacle() {
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join(std::ffi::OsStr::from_bytes(b"x\xff.qcow2"));
    fs::copy(testdata("debian-tree.qcow2"), &source).unwrap();
    for command in ["inspect", "digest"] {
        let run = imgferry(&[command.as_ref(), os_str(&source), "--json".as_ref()]);
        run.success();
        json_of(&run);
    }
    let out = dir.path().join(std::ffi::OsStr::from_bytes(b"y\xfe.zvhd2"));
    let run = imgferry(&[
        "convert".as_ref(),
        os_str(&source),
        os_str(&out),
        "--json".as_ref(),
    ]);
    run.success();
    assert_eq!(json_of(&run)["report"]["digest"], DEBIAN_TREE_DIGEST);
}

#[test]
fn with_json_a_wrong_command_line_is_one_object_too() {
    for arguments in [
        &["--json", "bogus"][..],
        &["digest", "--json", "--threads", "0", "x"],
    ] {
        let run: common::Run = common::command().args(arguments).output().unwrap().into();
        assert_eq!(run.code, Some(2));
        assert_eq!(json_of(&run)["error"]["exit_code"], 2);
    }
    let run: common::Run = common::command().arg("--version").output().unwrap().into();
    run.success();
}

#[test]
fn a_target_that_cannot_be_is_refused_input() {
    let source = testdata("debian-tree.qcow2");
    let run = imgferry(&[
        "convert".as_ref(),
        os_str(&source),
        "/nonexistent/dir/x.raw".as_ref(),
    ]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
}

#[test]
fn a_target_that_is_not_waited_for_holds_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let source = testdata("debian-tree.qcow2");
    let target = dir.path().join("a.raw");
    let options = ["convert".as_ref(), "--no-sync".as_ref()];
    imgferry(&[&options[..], &[os_str(&source), os_str(&target)]].concat()).success();
    imgferry(&["verify".as_ref(), os_str(&source), os_str(&target)]).success();
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing but the target: {left:?}");
}
