//! Disks that come through standard input, run as a user runs them.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::common::cloud::Cloud;
use crate::common::{
    self, DEBIAN_TREE_DIGEST, Run, imgferry, json_of, noise, os_str, run, signal, testdata,
};
use tempfile::TempDir;

const MIB: usize = 1 << 20;

/// Blocks of data, of zeros and of both; the length is a multiple of neither block nor MiB.
fn disk() -> Vec<u8> {
    let mut disk = vec![0; 21 * MIB + 512 * 7];
    disk[..5 * MIB].copy_from_slice(&noise(5 * MIB));
    disk[8 * MIB + 3..][..4 * MIB].copy_from_slice(&noise(4 * MIB));
    let len = disk.len();
    disk[len - 700..].copy_from_slice(&noise(700));
    // No boot code, no table, no text.
    disk[..512].fill(0);
    disk
}

fn start(mut command: Command) -> Child {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Runs `command` with `bytes` coming through a pipe, in odd pieces.
fn piped(command: Command, bytes: &[u8]) -> Run {
    let mut child = start(command);
    let mut stdin = child.stdin.take().unwrap();
    let bytes = bytes.to_vec();
    let writer = thread::spawn(move || {
        for piece in bytes.chunks(77_777) {
            // Whoever refuses closes the pipe.
            if stdin.write_all(piece).is_err() {
                return;
            }
        }
    });
    let run = child.wait_with_output().unwrap().into();
    writer.join().unwrap();
    run
}

fn with(args: &[&str]) -> Command {
    let mut command = common::command();
    command.args(args);
    command
}

/// The digest that the file at `path` has when it is read as a file.
fn digest(path: &Path) -> String {
    let run = imgferry(&["digest".as_ref(), os_str(path), "--json".as_ref()]);
    json_of(run.success())["digest"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn files_in(dir: &TempDir) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.path()).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_pipe_gives_the_same_disk_as_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = disk();
    let size = bytes.len().to_string();
    let source = dir.path().join("source.raw");
    fs::write(&source, &bytes).unwrap();
    let expected = digest(&source);
    for threads in ["1", "5"] {
        for name in ["out.zvhd2", "out.raw"] {
            let out = dir.path().join(name);
            let out_text = out.to_str().unwrap();
            let args = [
                "convert",
                "-",
                out_text,
                "--format",
                "raw",
                "--size",
                &size,
                "--force",
                "--threads",
                threads,
                "--json",
            ];
            let run = piped(with(&args), &bytes);
            assert_eq!(
                json_of(run.success())["report"]["digest"],
                expected.as_str()
            );
            assert_eq!(digest(&out), expected);
        }
        assert_eq!(fs::read(dir.path().join("out.raw")).unwrap(), bytes);
        // The format need not be said.
        let args = [
            "digest",
            "-",
            "--size",
            &size,
            "--threads",
            threads,
            "--json",
        ];
        let run = piped(with(&args), &bytes);
        assert_eq!(json_of(run.success())["digest"], expected.as_str());
        let mut verify = with(&["verify", "-", "--size", &size, "--threads", threads]);
        verify.arg(&source);
        piped(verify, &bytes).success();
    }
}

#[test]
fn a_raw_disk_from_a_pipe_can_have_its_bitmap_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = disk();
    let out = dir.path().join("out.raw");
    let mut command = with(&["convert", "-", "--size", &bytes.len().to_string()]);
    command.arg(&out).args(["--bitmap", "--holes", "verify"]);
    piped(command, &bytes).success();
    assert!(fs::read(&out).unwrap() == bytes);
    imgferry(&["bitmap".as_ref(), os_str(&out), "--check".as_ref()]).success();
}

#[test]
fn a_difference_behind_a_pipe_is_exit_code_5() {
    let dir = tempfile::tempdir().unwrap();
    let mut bytes = disk();
    let source = dir.path().join("source.raw");
    fs::write(&source, &bytes).unwrap();
    bytes[9 * MIB] ^= 1;
    let mut verify = with(&["verify"]);
    verify
        .arg(&source)
        .args(["-", "--size", &bytes.len().to_string()]);
    let run = piped(verify, &bytes);
    assert_eq!(run.code, Some(5), "{}", run.stderr);
    assert!(run.stderr.contains("block is 4"), "{}", run.stderr);
}

#[test]
fn a_whole_pipeline_needs_no_file() {
    let bytes = disk();
    let size = bytes.len().to_string();
    let run = piped(with(&["convert", "-", "-", "--size", &size]), &bytes);
    run.success();
    let dir = tempfile::tempdir().unwrap();
    let [source, out] = ["source.raw", "out.zvhd2"].map(|name| dir.path().join(name));
    fs::write(&source, &bytes).unwrap();
    fs::write(&out, &run.stdout).unwrap();
    imgferry(&["verify".as_ref(), os_str(&source), os_str(&out)]).success();
}

#[test]
fn a_pipe_that_ends_early_leaves_nothing_and_names_both_lengths() {
    let bytes = noise(5 * MIB);
    // In the first block, at a block's end, and by one byte.
    for len in [1000, 4 * MIB, 5 * MIB - 1] {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out.zvhd2");
        let out_text = out.to_str().unwrap();
        let run = piped(
            with(&[
                "convert", "-", out_text, "--format", "raw", "--size", "5MiB",
            ]),
            &bytes[..len],
        );
        assert_eq!(run.code, Some(2), "{}", run.stderr);
        let said = format!("ended after {len} bytes, 5242880 were announced");
        assert!(run.stderr.contains(&said), "{}", run.stderr);
        assert!(run.stderr.contains("standard input"), "{}", run.stderr);
        assert!(
            run.stderr.contains(&format!("--size {len}")),
            "{}",
            run.stderr
        );
        assert_eq!(files_in(&dir), [] as [PathBuf; 0]);
    }
}

#[test]
fn a_pipe_that_goes_on_leaves_nothing() {
    let bytes = noise(5 * MIB);
    for size in [1024, 2 * MIB, 5 * MIB - 1] {
        for name in ["out.zvhd2", "out.raw"] {
            let dir = tempfile::tempdir().unwrap();
            let out = dir.path().join(name);
            let out_text = out.to_str().unwrap();
            let size = size.to_string();
            let args = ["convert", "-", out_text, "--format", "raw", "--size", &size];
            let run = piped(with(&args), &bytes);
            assert_eq!(run.code, Some(2), "{}", run.stderr);
            let said = format!("continues after the {size} bytes");
            assert!(run.stderr.contains(&said), "{}", run.stderr);
            assert_eq!(files_in(&dir), [] as [PathBuf; 0]);
        }
    }
}

#[test]
fn a_length_that_is_no_multiple_of_512_is_filled_up() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = &disk()[..9 * MIB + 100];
    let out = dir.path().join("out.raw");
    let size = bytes.len().to_string();
    let run = piped(
        with(&["convert", "-", out.to_str().unwrap(), "--size", &size]),
        bytes,
    );
    run.success();
    assert!(
        run.stderr.contains("not a multiple of 512"),
        "{}",
        run.stderr
    );
    let written = fs::read(&out).unwrap();
    assert_eq!(written.len(), 9 * MIB + 512);
    assert_eq!(&written[..bytes.len()], bytes);
    assert!(written[bytes.len()..].iter().all(|byte| *byte == 0));
}

#[test]
fn without_a_size_the_refusal_says_what_to_type() {
    for command in [
        &["convert", "-", "/nonexistent/a.zvhd2"][..],
        &["digest", "-"],
    ] {
        let run = piped(with(command), &disk());
        assert_eq!(run.code, Some(2), "{}", run.stderr);
        assert!(
            run.stderr.contains("hint: pass its size in bytes: --size"),
            "{}",
            run.stderr
        );
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("disk.raw");
    fs::write(&file, disk()).unwrap();
    let run = imgferry(&[
        "digest".as_ref(),
        os_str(&file),
        "--size".as_ref(),
        "1".as_ref(),
    ]);
    assert_eq!(run.code, Some(2));
    assert!(
        run.stderr.contains("a size is given only for disks"),
        "{}",
        run.stderr
    );
}

#[test]
fn other_formats_on_a_pipe_are_refused_by_name() {
    let qcow2 = fs::read(testdata("debian-tree.qcow2")).unwrap();
    let vmdk = fs::read(testdata("vmdk/workstation-stream.vmdk")).unwrap();
    let mut foreign = vec![0; 3 * MIB];
    foreign[..4].copy_from_slice(b"QED\0");
    for (bytes, name) in [
        (&qcow2[..], "qcow2 cannot be read from a pipe"),
        (&vmdk, "vmdk cannot be read from a pipe"),
        (&foreign, "this is QED"),
    ] {
        let size = bytes.len().to_string();
        for size in [&["--size", &size][..], &[]] {
            let mut command = with(&["digest", "-"]);
            command.args(size);
            let run = piped(command, bytes);
            assert_eq!(run.code, Some(2), "{}", run.stderr);
            assert!(run.stderr.contains(name), "{}", run.stderr);
        }
    }
    let run = piped(with(&["digest", "-", "--format", "vhdx"]), &qcow2);
    assert!(run.stderr.contains("vhdx cannot be read"), "{}", run.stderr);
    assert!(run.stderr.contains("cat > disk.vhdx"), "{}", run.stderr);
}

/// A fixed VHD is a raw disk up to its footer, which comes last.
#[test]
fn a_fixed_vhd_on_a_pipe_is_not_taken_for_a_raw_disk() {
    if testkit::qemu::missing() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (raw, vhd, out) = (
        dir.path().join("disk.raw"),
        dir.path().join("disk.vhd"),
        dir.path().join("out.zvhd2"),
    );
    fs::write(&raw, &disk()[..8 * MIB]).unwrap();
    let status = Command::new("qemu-img")
        .args([
            "convert",
            "-O",
            "vpc",
            "-o",
            "subformat=fixed,force_size=on",
        ])
        .args([&raw, &vhd])
        .status()
        .unwrap();
    assert!(status.success());
    let bytes = fs::read(&vhd).unwrap();
    let size = bytes.len().to_string();
    let convert = |more: &[&str]| {
        let mut command = with(&["convert", "-", out.to_str().unwrap(), "--size", &size]);
        command.args(more);
        piped(command, &bytes)
    };
    let run = convert(&[]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(run.stderr.contains("vhd cannot be read"), "{}", run.stderr);
    assert!(!out.exists());
    // Who says that it is raw gets it as it is.
    convert(&["--format", "raw"]).success();
}

#[test]
fn options_that_need_a_file_are_refused_for_standard_input() {
    for (args, said) in [
        (
            &["digest", "-", "--size", "1MiB", "--snapshot", "a"][..],
            "snapshots are part of qcow2 files",
        ),
        (
            &["digest", "-", "--size", "1MiB", "--allow-backing", "/"],
            "backing files need an image with a path",
        ),
        (&["inspect", "-"], "standard input is no file"),
        (&["bitmap", "-"], "standard input is no file"),
        (&["inspect", "--check", "-"], "standard input is no file"),
        (&["verify", "-", "-"], "one of the images only"),
        (
            &[
                "import",
                "-",
                "--size",
                "4KiB",
                "--name",
                "n",
                "--bucket",
                "b",
                "--to",
                "raw",
                "--type",
                "DataImage",
                "--os-type",
                "Linux",
                "--sandbox",
            ],
            "is read front to back",
        ),
        (
            &[
                "import",
                "-",
                "--name",
                "n",
                "--bucket",
                "b",
                "--register",
                "common",
                "--sandbox",
            ],
            "cannot come from standard input",
        ),
    ] {
        let run = piped(with(args), &[0; 4096]);
        assert_eq!(run.code, Some(2), "{args:?}: {}", run.stderr);
        assert!(run.stderr.contains(said), "{args:?}: {}", run.stderr);
    }
}

#[test]
fn a_file_that_is_redirected_is_read_in_any_format() {
    let dir = tempfile::tempdir().unwrap();
    let file = || Stdio::from(File::open(testdata("debian-tree.qcow2")).unwrap());
    let found = run(with(&["digest", "-", "--json"]).stdin(file()));
    let found = json_of(found.success());
    assert_eq!(found["digest"], DEBIAN_TREE_DIGEST);
    assert_eq!(found["format"], "qcow2");
    let out = dir.path().join("out.zvhd2");
    run(with(&["convert", "-"]).arg(&out).stdin(file())).success();
    assert_eq!(digest(&out), DEBIAN_TREE_DIGEST);
    // A size that is given all the same must be right.
    run(with(&["digest", "-", "--size", "2GiB"]).stdin(file())).success();
    let wrong = run(with(&["digest", "-", "--size", "1GiB"]).stdin(file()));
    assert_eq!(wrong.code, Some(2));
    assert!(
        wrong.stderr.contains("has a disk of 2147483648"),
        "{}",
        wrong.stderr
    );
}

#[test]
fn a_redirected_file_is_never_overwritten_nor_read_from_its_middle() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk.raw");
    fs::write(&path, disk()).unwrap();
    let file = File::open(&path).unwrap();
    let onto_itself = run(with(&["convert", "--force", "-"]).arg(&path).stdin(file));
    assert_eq!(onto_itself.code, Some(2), "{}", onto_itself.stderr);
    assert!(
        onto_itself.stderr.contains("is the source image itself"),
        "{}",
        onto_itself.stderr
    );
    assert_eq!(fs::read(&path).unwrap(), disk());
    let mut file = File::open(&path).unwrap();
    file.read_exact(&mut [0; 100]).unwrap();
    let middle = run(with(&["digest", "-"]).stdin(file));
    assert_eq!(middle.code, Some(2), "{}", middle.stderr);
    assert!(
        middle.stderr.contains("100 bytes have been read"),
        "{}",
        middle.stderr
    );
}

/// Sends the signal when `bytes` have been written into the pipe, which stays open; the run must
/// end soon.
fn interrupted(command: Command, bytes: &[u8]) -> Run {
    let mut child = start(command);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(bytes).unwrap();
    // All but what fits into the pipe has been read; now it waits for more.
    thread::sleep(Duration::from_millis(500));
    assert_eq!(child.try_wait().unwrap(), None, "it did not wait");
    signal(&child, "INT");
    // The pipe stays open: a run that went on waiting for it would hang here.
    let run = child.wait_with_output().unwrap().into();
    drop(stdin);
    run
}

#[test]
fn a_stalled_pipe_can_be_interrupted() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.zvhd2");
    // While it is told what comes, in the middle, and before the pipe has ended.
    for len in [100, 5 * MIB, 9 * MIB] {
        let args = [
            "convert",
            "-",
            out.to_str().unwrap(),
            "--format",
            "raw",
            "--size",
            "9MiB",
        ];
        let run = interrupted(with(&args), &noise(len));
        assert_eq!(run.code, Some(130), "{}", run.stderr);
        assert!(run.stderr.contains("stopped on request"), "{}", run.stderr);
        assert_eq!(files_in(&dir), [] as [PathBuf; 0]);
    }
}

fn import(cloud: &Cloud, size: usize) -> Command {
    let mut command = cloud.command();
    command
        .args(["import", "-", "--size", &size.to_string()])
        .args([
            "--name",
            "piped",
            "--bucket",
            "images",
            "--type",
            "DataImage",
            "--os-type",
            "Linux",
        ]);
    command
}

#[test]
fn an_import_from_a_pipe_becomes_an_active_image() {
    let dir = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(&["images"]);
    let bytes = disk();
    let source = dir.path().join("source.raw");
    fs::write(&source, &bytes).unwrap();
    let mut command = import(&cloud, bytes.len());
    command.arg("--json");
    let run = piped(command, &bytes);
    let imported = json_of(run.success());
    assert_eq!(imported["status"], "active");
    assert_eq!(imported["digest"], digest(&source).as_str());
    assert_eq!(imported["image_digest"], imported["digest"]);
    let object = cloud.object_path("images", "piped.zvhd2");
    assert_eq!(digest(&object), digest(&source));
}

#[test]
fn an_import_from_a_pipe_that_fails_is_aborted_and_says_why_it_cannot_go_on() {
    let cloud = Cloud::start(&["images"]);
    let bytes = noise(24 * MIB);
    let short = piped(import(&cloud, bytes.len()), &bytes[..20 * MIB]);
    let long = piped(import(&cloud, 20 * MIB), &bytes);
    let stopped = interrupted(import(&cloud, bytes.len()), &bytes[..20 * MIB]);
    for (run, code, said) in [
        (short, 2, "ended after 20971520 bytes"),
        (long, 2, "continues after the 20971520 bytes"),
        (stopped, 130, "stopped on request"),
    ] {
        assert_eq!(run.code, Some(code), "{}", run.stderr);
        for said in [
            said,
            "was aborted; nothing of it is left",
            "cannot be read again",
        ] {
            assert!(run.stderr.contains(said), "{said}: {}", run.stderr);
        }
        assert_eq!(cloud.objects("images"), [] as [String; 0]);
        assert_eq!(cloud.uploads(), 0);
    }
}

/// The reader takes `first` bytes and stops; what it gets after an interruption, and how the run
/// ended.
fn interrupted_reader(args: &[&str], first: usize) -> (usize, Option<i32>, String) {
    let mut child = start(with(args));
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut vec![0; first]).unwrap();
    // Now the pipe is full, and a write waits.
    thread::sleep(Duration::from_millis(500));
    assert_eq!(child.try_wait().unwrap(), None, "it did not wait");
    signal(&child, "INT");
    thread::sleep(Duration::from_millis(500));
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).unwrap();
    let run: Run = child.wait_with_output().unwrap().into();
    (rest.len(), run.code, run.stderr)
}

#[test]
fn a_slow_reader_of_standard_output_is_sent_little_after_an_interruption() {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk.raw");
    // So many blocks that workers take them by four.
    let mut content = noise(80 * MIB);
    content[..512].fill(0);
    fs::write(&disk, content).unwrap();
    let args = ["convert", disk.to_str().unwrap(), "-", "--threads", "2"];
    let (rest, code, stderr) = interrupted_reader(&args, MIB);
    assert_eq!(code, Some(130), "{stderr}");
    assert!(stderr.contains("stopped on request"), "{stderr}");
    // What is in the pipe, and what was being written.
    assert!(rest <= MIB / 2, "{rest} bytes");
}

#[test]
fn standard_output_that_takes_nothing_is_named() {
    let disk = testdata("debian-tree.qcow2");
    let args = ["convert", disk.to_str().unwrap(), "-"];
    let mut command = with(&args);
    command.stdout(File::options().write(true).open("/dev/full").unwrap());
    let run: Run = command.output().unwrap().into();
    assert_eq!(run.code, Some(4), "{}", run.stderr);
    let told = "standard output cannot be written";
    assert!(run.stderr.contains(told), "{}", run.stderr);
    assert!(run.stderr.contains("No space left"), "{}", run.stderr);
}

#[test]
fn a_pipe_is_read_by_any_number_of_threads() {
    for threads in ["2", "3", "4", "7"] {
        let mut zeros = Command::new("head")
            .args(["-c", "384M", "/dev/zero"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let args = [
            "convert",
            "-q",
            "--threads",
            threads,
            "-",
            "-",
            "--size",
            "384MiB",
        ];
        let mut command = with(&args);
        command.stdin(zeros.stdout.take().unwrap());
        let run: Run = command.output().unwrap().into();
        assert_eq!(run.code, Some(0), "{threads} threads: {}", run.stderr);
        zeros.wait().unwrap();
    }
}
