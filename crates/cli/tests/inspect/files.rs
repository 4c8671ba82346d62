//! What a path leads to: pipes and devices, names of formats that are not written, and files that
//! are no disks.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{DEBIAN, Run, command, json_of, noise, run};
use tempfile::TempDir;

fn fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Runs `command`, which must end although nobody writes to the pipes that it is given.
#[track_caller]
fn ends(command: &mut Command) -> Run {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            panic!("{command:?} waits for a pipe");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.wait_with_output().unwrap().into()
}

#[test]
fn nothing_waits_for_a_pipe_in_the_place_of_a_file() {
    let dir = TempDir::new().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("ok.raw"), noise(1 << 20)).unwrap();
    fs::write(
        at("batch.yaml"),
        "version: 1\ndefaults: {bucket: b-1, type: DataImage}\nimages:\n  - {source: odd, name: n}\n",
    )
    .unwrap();
    // A bitmap is called like its disk.
    std::os::unix::fs::symlink("odd", at("ok.mf")).unwrap();
    let import = [
        "--sandbox",
        "--name",
        "n",
        "--bucket",
        "b-1",
        "--type",
        "DataImage",
    ];
    let cases: [(&[&str], &[&str]); 17] = [
        (&["inspect", "odd"], &[]),
        (&["inspect", "--check", "odd"], &[]),
        (&["convert", "odd", "out.raw"], &[]),
        (&["convert", "ok.raw", "odd", "--to", "raw", "--force"], &[]),
        (&["digest", "odd"], &[]),
        (&["verify", "ok.raw", "odd"], &[]),
        (&["bitmap", "odd"], &[]),
        (&["bitmap", "--show", "odd"], &[]),
        (&["import", "odd"], &import),
        (&["import", "odd", "--register", "common"], &import),
        (
            &["import", "ok.raw", "--to", "raw", "--bitmap", "ok.mf"],
            &import,
        ),
        (&["upload", "odd", "obs://b-1/k", "--sandbox"], &[]),
        (&["batch", "plan", "odd", "--sandbox"], &[]),
        (&["batch", "plan", "batch.yaml", "--sandbox"], &[]),
        (&["batch", "run", "batch.yaml", "--sandbox"], &[]),
        (
            &["batch", "run", "batch.yaml", "--sandbox", "--report", "odd"],
            &[],
        ),
        (&["quota", "--config", "odd"], &[]),
    ];
    for kind in ["pipe", "socket", "directory"] {
        let odd = at("odd");
        let mut listener = None;
        match kind {
            "pipe" => fifo(&odd),
            "socket" => listener = Some(UnixListener::bind(&odd).unwrap()),
            _ => fs::create_dir(&odd).unwrap(),
        }
        for (arguments, more) in &cases {
            let run = ends(
                command()
                    .current_dir(dir.path())
                    .args(*arguments)
                    .args(*more)
                    .env("HW_ACCESS_KEY", "a")
                    .env("HW_SECRET_KEY", "b")
                    .env("XDG_STATE_HOME", at("state")),
            );
            assert!(
                matches!(run.code, Some(2..=4)),
                "{kind} {arguments:?}: {}",
                run.stderr
            );
            assert!(
                run.stderr.contains(kind),
                "{kind} {arguments:?}: {}",
                run.stderr
            );
        }
        drop(listener);
        match kind {
            "directory" => fs::remove_dir(&odd).unwrap(),
            _ => fs::remove_file(&odd).unwrap(),
        }
    }
}

#[test]
fn a_pipe_in_the_state_directory_hides_nothing_and_stops_nothing() {
    let dir = TempDir::new().unwrap();
    let state = dir.path().join("imgferry");
    fs::create_dir(&state).unwrap();
    fifo(&state.join("x-zvhd2-0000000000000000.journal"));
    ends(command().arg("status").env("XDG_STATE_HOME", dir.path())).success();
}

/// `imgferry convert` of a disk to `target`.
fn convert(dir: &Path, target: &str, more: &[&str]) -> Run {
    run(command()
        .current_dir(dir)
        .args(["convert", "disk.raw", target])
        .args(more))
}

#[test]
fn a_name_of_a_format_that_is_not_written_is_rejected() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("disk.raw"), noise(1 << 20)).unwrap();
    for name in [
        "o.qcow2",
        "o.QCOW2",
        "o.vhd",
        "o.vhdx",
        "o.vmdk",
        "o.vdi",
        "o.iso",
        "o.raw.gz",
        "o.zvhd",
        "o.ova",
        "o.tar",
        "o.raw.zst",
        "o.wim",
    ] {
        let refused = convert(dir.path(), name, &[]);
        assert_eq!(refused.code, Some(2), "{name}: {}", refused.stderr);
        assert!(refused.stderr.contains("--to zvhd2"), "{}", refused.stderr);
        assert!(!dir.path().join(name).exists());
        // Who says it means it.
        convert(dir.path(), name, &["--to", "raw"]).success();
    }
    let magic = |name: &str| fs::read(dir.path().join(name)).unwrap()[..6].to_vec();
    let zvhd2 = {
        convert(dir.path(), "o.zvhd2", &[]).success();
        magic("o.zvhd2")
    };
    for name in ["o.dd", "o.hdd", "o.bin", "o.IMG", "o.v1.raw"] {
        convert(dir.path(), name, &[]).success();
        assert_eq!(magic(name), noise(512)[..6], "{name}");
    }
    for name in ["o", "o.bak"] {
        let told = convert(dir.path(), name, &[]);
        assert!(told.success().stderr.contains("warning"), "{}", told.stderr);
        assert_eq!(magic(name), zvhd2, "{name}");
    }
}

#[test]
fn standard_streams_have_names_too() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("disk.raw"), noise(1 << 20)).unwrap();
    let dash = convert(dir.path(), "-", &[]);
    for target in ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"] {
        for more in [&[][..], &["--force"]] {
            let written = convert(dir.path(), target, more);
            written.success();
            assert_eq!(written.stdout.len(), dash.stdout.len(), "{target}");
            assert_eq!(written.stdout[..6], dash.stdout[..6], "{target}");
        }
    }
    let raw = convert(dir.path(), "/dev/stdout", &["--to", "raw"]);
    assert_eq!(raw.code, Some(2));
    assert!(raw.stderr.contains("hint: write a file"), "{}", raw.stderr);
    let disk = fs::File::open(dir.path().join("disk.raw")).unwrap();
    run(command().args(["digest", "/dev/stdin"]).stdin(disk)).success();

    // What is no regular file is never taken for one that could go away.
    for target in ["/dev/null", "/dev/full", "/dev/fd/2"] {
        let refused = convert(dir.path(), target, &["--to", "raw", "--force"]);
        assert_eq!(refused.code, Some(2), "{target}: {}", refused.stderr);
        for never in ["remove", "pass --force"] {
            assert!(!refused.stderr.contains(never), "{}", refused.stderr);
        }
    }
    std::os::unix::fs::symlink("missing.raw", dir.path().join("link.raw")).unwrap();
    let dangling = convert(dir.path(), "link.raw", &[]);
    assert_eq!(dangling.code, Some(2));
    assert!(
        dangling.stderr.contains("leads to: ") && dangling.stderr.contains("missing.raw"),
        "{}",
        dangling.stderr
    );
}

/// `imgferry import FILE --dry-run` of `content` as a system disk.
fn plan(name: &str, content: &[u8], more: &[&str]) -> Run {
    let dir = TempDir::new().unwrap();
    let disk = dir.path().join(name);
    fs::write(&disk, content).unwrap();
    run(command()
        .arg("import")
        .arg(&disk)
        .args([
            "--sandbox",
            "--name",
            "demo",
            "--bucket",
            "demo",
            "--dry-run",
            "--json",
        ])
        .args(more))
}

#[test]
fn what_no_machine_starts_from_is_no_system_image() {
    let system = ["--os-version", DEBIAN];
    let blank = vec![0; 1 << 20];
    let refused = plan("a.raw", &blank, &system);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    let told = &refused.stderr;
    assert!(told.contains("--skip-check disk-content"), "{told}");
    for more in [["--skip-check", "disk-content"], ["--register", "none"]] {
        let planned = plan("a.raw", &blank, &[&system[..], &more].concat());
        let warnings = json_of(planned.success())["warnings"].to_string();
        assert!(warnings.contains("no boot code"), "{warnings}");
    }
    let data = plan("a.raw", &blank, &["--type", "DataImage"]);
    let warnings = json_of(data.success())["warnings"].to_string();
    assert!(!warnings.contains("boot"), "{warnings}");
    plan("a.raw", &noise(1 << 20), &system).success();

    let mut vma = noise(1 << 20);
    vma[..4].copy_from_slice(b"VMA\0");
    let refused = plan("backup.vma", &vma, &system);
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("vma extract"), "{}", refused.stderr);
}

#[test]
fn an_extension_of_another_format_is_warned_of() {
    let planned = plan("disk.vmdk", &noise(1 << 20), &["--os-version", DEBIAN]);
    let warnings = json_of(planned.success())["warnings"].to_string();
    assert!(warnings.contains(".vmdk stands for vmdk"), "{warnings}");
    let more = ["--os-version", DEBIAN, "--key", "web.qcow2"];
    let planned = plan("disk.raw", &noise(1 << 20), &more);
    let warnings = json_of(planned.success())["warnings"].to_string();
    assert!(warnings.contains("web.qcow2"), "{warnings}");
    let dir = TempDir::new().unwrap();
    let disk = dir.path().join("disk.wim");
    fs::write(&disk, noise(1 << 20)).unwrap();
    for more in [&["inspect"][..], &["digest"]] {
        let told = run(command().args(more).arg(&disk));
        let text = told.text() + &told.stderr;
        assert!(text.contains(".wim stands for"), "{text}");
    }
}

/// A disk with one partition in its MBR, which counts in sectors of `sector` bytes, and holds an
/// ext4.
fn partitioned(len: usize, sector: usize, sectors: u32) -> Vec<u8> {
    let mut disk = vec![0; len];
    let entry = &mut disk[446..462];
    (entry[0], entry[4]) = (0x80, 0x83);
    entry[8..12].copy_from_slice(&256_u32.to_le_bytes());
    entry[12..16].copy_from_slice(&sectors.to_le_bytes());
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk[256 * sector + 1024 + 56..][..2].copy_from_slice(&[0x53, 0xef]);
    disk
}

#[test]
fn a_table_that_no_volume_can_use_is_a_check_to_skip() {
    let whole = partitioned(4 << 20, 512, 1024);
    plan("a.raw", &whole, &["--os-version", DEBIAN]).success();
    for (disk, check, word) in [
        (partitioned(8 << 20, 4096, 1024), "sector-size", "4096"),
        (partitioned(1 << 20, 512, 1 << 20), "disk-whole", "cut off"),
    ] {
        let system = ["--os-version", DEBIAN];
        let refused = plan("a.raw", &disk, &system);
        assert_eq!(refused.code, Some(2), "{}", refused.stderr);
        assert!(refused.stderr.contains(word), "{}", refused.stderr);
        let option = format!("--skip-check {check}");
        assert!(refused.stderr.contains(&option), "{}", refused.stderr);
        let skipped = [&system[..], &["--skip-check", check]].concat();
        for more in [&skipped[..], &["--type", "DataImage"]] {
            let planned = plan("a.raw", &disk, more);
            let warnings = json_of(planned.success())["warnings"].to_string();
            assert!(warnings.contains(word), "{warnings}");
        }
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("a.raw");
        fs::write(&path, &disk).unwrap();
        let inspected = run(command().arg("inspect").arg(&path));
        assert!(inspected.text().contains(word), "{}", inspected.text());
        let manifest = dir.path().join("m.yaml");
        let text = format!(
            "version: 1\nimages:\n  - {{source: a.raw, bucket: b-1, os_version: '{DEBIAN}'}}\n"
        );
        fs::write(&manifest, text).unwrap();
        let planned = run(command()
            .args(["batch", "plan", "--sandbox"])
            .arg(&manifest));
        assert!(
            planned.text().contains(word),
            "{} {}",
            planned.text(),
            planned.stderr
        );
    }
}

#[test]
fn a_check_looks_at_the_whole_file_and_takes_no_snapshot() {
    let args = ["inspect", "--check", "--snapshot", "1", "disk.qcow2"];
    let run = run(command().args(args));
    assert_eq!(run.code, Some(2));
    let said = &run.stderr;
    assert!(
        said.contains("'--check' cannot be used with '--snapshot"),
        "{said}"
    );
}

#[test]
fn a_disk_of_several_files_is_given_by_its_descriptor() {
    let dir = TempDir::new().unwrap();
    let at = |name: &str| dir.path().join(name);
    let disk = noise(1 << 20);
    fs::write(at("disk.raw"), &disk).unwrap();
    fs::write(at("web-flat.vmdk"), &disk).unwrap();
    let line = "RW 2048 FLAT \"web-flat.vmdk\" 0";
    let text = testkit::vmdk::descriptor("monolithicFlat", &[line], 1, None);
    fs::write(at("web.vmdk"), text).unwrap();
    let of = |args: &[&str], name: &str| run(command().args(args).arg(at(name)));

    let shown = of(&["inspect"], "web.vmdk").text();
    assert!(
        shown.contains("extent web-flat.vmdk (FLAT, 1 MiB)"),
        "{shown}"
    );
    assert!(!shown.contains("--allow-backing"), "{shown}");
    let json = json_of(of(&["inspect", "--json"], "web.vmdk").success());
    assert_eq!(json["refers_to"][0]["bytes"], 1 << 20, "{json}");
    let digest = |name| json_of(of(&["digest", "--json"], name).success())["digest"].clone();
    assert_eq!(digest("web.vmdk"), digest("disk.raw"));

    // One that the service could read as well is still converted here.
    let json = json_of(
        run(command()
            .args(["import", "--sandbox", "--name", "demo", "--bucket", "demo"])
            .args(["--type", "DataImage", "--dry-run", "--json"])
            .arg(at("web.vmdk")))
        .success(),
    );
    assert_eq!(json["register"], "quick", "{json}");

    let refused = of(&["inspect"], "web-flat.vmdk");
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("web.vmdk"), "{}", refused.stderr);
    fs::write(at("web.vmx"), "scsi0:0.fileName = \"web.vmdk\"\n").unwrap();
    let refused = of(&["inspect"], "web.vmx");
    assert_eq!(refused.code, Some(2));
    let advice = format!("imgferry import {}", at("web.vmdk").display());
    assert!(refused.stderr.contains(&advice), "{}", refused.stderr);
}
