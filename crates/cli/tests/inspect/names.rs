//! File names that other people chose: no name steers a terminal, and every command in a hint can
//! be pasted, whatever the file is called.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::common::{self, DEBIAN, Run, command, run};
use diskimg::text::is_unsafe;
use tempfile::TempDir;
use testkit::qemu;

/// Names without an extension.
const NASTY: [&[u8]; 11] = [
    b"disk",
    b"two words",
    b"it's \"quoted\" $HOME `id` \\",
    b"-rf",
    b"vm:1",
    b"a,b=c",
    b"IMAGE",
    b"title \x1b]0;t\x07 and color \x1b[31m",
    b"two\nerror: lines",
    b"not utf-8 \xff",
    "turned \u{202e}round \u{9b}31m \u{7f}".as_bytes(),
];

fn names(extension: &str) -> impl Iterator<Item = OsString> {
    NASTY
        .into_iter()
        .map(move |name| OsString::from_vec([name, b".", extension.as_bytes()].concat()))
}

/// The binary, started in `dir`.
fn in_dir(dir: &Path, arguments: &[&OsStr]) -> Run {
    run(command().current_dir(dir).args(arguments))
}

/// Runs `script` as somebody would who pasted it into a terminal in `dir`.
fn paste(dir: &Path, script: &str) -> Output {
    let imgferry = Path::new(env!("CARGO_BIN_EXE_imgferry"));
    let path = std::env::var("PATH").unwrap();
    Command::new("sh")
        .args(["-c", script])
        .current_dir(dir)
        .env(
            "PATH",
            format!("{}:{path}", imgferry.parent().unwrap().display()),
        )
        .output()
        .unwrap()
}

/// The command in the hints of `told` that begins with `start`, up to `end`.
#[track_caller]
fn hinted<'a>(told: &'a Run, start: &str, end: &str) -> &'a str {
    let hints = told
        .stderr
        .lines()
        .filter(|line| line.starts_with("hint: "));
    let found = hints
        .filter_map(|hint| hint.find(start).and_then(|at| hint.get(at..)))
        .next()
        .unwrap_or_else(|| panic!("no {start:?} in {}", told.stderr));
    match end {
        "" => found,
        end => found.split(end).next().unwrap(),
    }
}

/// The beginning of a qcow2 image, compressed with gzip.
const GZIP: &[u8] =
    b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\x0b\x74\xf3\xfc\xcd\xc0\xc0\xc0\xcc\x30\
    \x0a\x46\xc1\x28\x18\x71\x00\x00\x58\x15\x8e\x7f\x00\x04\x00\x00";

#[test]
fn what_a_hint_says_of_an_archive_works_for_every_name() {
    for name in names("gz") {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join(&name), GZIP).unwrap();
        let told = in_dir(
            dir.path(),
            &["convert".as_ref(), "--".as_ref(), &name, "out.raw".as_ref()],
        );
        assert_eq!(told.code, Some(2), "{}", told.stderr);
        let script = hinted(&told, "gunzip", "");
        let pasted = paste(dir.path(), script);
        assert!(pasted.status.success(), "{script}: {pasted:?}");
        let unpacked = fs::read(dir.path().join("disk.img")).unwrap();
        assert!(unpacked.starts_with(b"QFI\xfb"));

        // For tar a colon is another machine.
        fs::write(dir.path().join("file"), b"x").unwrap();
        let packed = paste(dir.path(), "tar -cf packed.tar file && rm file");
        assert!(packed.status.success(), "{packed:?}");
        fs::rename(dir.path().join("packed.tar"), dir.path().join(&name)).unwrap();
        let told = in_dir(dir.path(), &["digest".as_ref(), "--".as_ref(), &name]);
        let script = hinted(&told, "tar", "");
        let pasted = paste(dir.path(), script);
        assert!(pasted.status.success(), "{script}: {pasted:?}");
        assert!(dir.path().join("file").exists(), "{script}");
    }
}

/// A qcow2 of 1 MiB whose first cluster is where `entry` says.
fn qcow2(entry: u64) -> Vec<u8> {
    const CLUSTER: usize = 1 << 16;
    let mut file = vec![0; 4 * CLUSTER];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"QFI\xfb\0\0\0\x02");
    put(20, &16_u32.to_be_bytes());
    put(24, &(1_u64 << 20).to_be_bytes());
    put(36, &1_u32.to_be_bytes());
    put(40, &(CLUSTER as u64).to_be_bytes());
    put(48, &(2 * CLUSTER as u64).to_be_bytes());
    put(56, &1_u32.to_be_bytes());
    put(CLUSTER, &((1 << 63) | (3 * CLUSTER as u64)).to_be_bytes());
    put(3 * CLUSTER, &entry.to_be_bytes());
    file
}

#[test]
fn what_a_hint_says_to_imgferry_works_for_every_name() {
    for name in names("qcow2") {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join(&name), qcow2(0)).unwrap();
        let told = in_dir(dir.path(), &["bitmap".as_ref(), "--".as_ref(), &name]);
        assert_eq!(told.code, Some(2), "{}", told.stderr);
        let script = hinted(&told, "imgferry convert", " makes both");
        let script = script.replace("DISK.raw", "disk.raw");
        let pasted = paste(dir.path(), &script);
        assert!(pasted.status.success(), "{script}: {pasted:?}");

        let told = in_dir(
            dir.path(),
            &[
                "convert".as_ref(),
                "--to".as_ref(),
                "raw".as_ref(),
                "--".as_ref(),
                &name,
                "/dev/stdout".as_ref(),
            ],
        );
        fs::remove_file(dir.path().join("disk.raw")).unwrap();
        let script = hinted(&told, "imgferry convert", "; or");
        let pasted = paste(dir.path(), script);
        assert!(pasted.status.success(), "{script}: {pasted:?}");

        fs::write(dir.path().join(&name), qcow2(0x8000_00ff_0000_0000)).unwrap();
        let told = in_dir(dir.path(), &["inspect".as_ref(), "--".as_ref(), &name]);
        let script = hinted(&told, "imgferry inspect --check", "");
        let pasted = paste(dir.path(), script);
        // It found the file, and what is wrong with it.
        let found = String::from_utf8_lossy(&pasted.stdout).into_owned();
        assert!(found.contains("error"), "{script}: {pasted:?}");
    }
}

#[test]
fn what_a_hint_says_to_qemu_works_for_every_name() {
    if qemu::missing() {
        return;
    }
    for name in names("qed") {
        let dir = TempDir::new().unwrap();
        let made = dir.path().join("made.qed");
        qemu::img(["create", "-q", "-f", "qed", made.to_str().unwrap(), "1M"]);
        fs::rename(made, dir.path().join(&name)).unwrap();
        let told = in_dir(
            dir.path(),
            &["convert".as_ref(), "--".as_ref(), &name, "out.raw".as_ref()],
        );
        let script = hinted(&told, "qemu-img convert", "");
        let pasted = paste(dir.path(), script);
        assert!(pasted.status.success(), "{script}: {pasted:?}");
        assert!(dir.path().join("disk.qcow2").exists(), "{script}");
    }
    // An option's value ends at a comma. Encrypting takes a while.
    for name in ["a,b=c.qcow2", "vm:1 it's.qcow2"].map(OsString::from) {
        let dir = TempDir::new().unwrap();
        let made = dir.path().join("made.qcow2");
        fs::write(dir.path().join("PASSPHRASE_FILE"), "secret").unwrap();
        let secret = format!(
            "secret,id=key,file={}/PASSPHRASE_FILE",
            dir.path().display()
        );
        qemu::img([
            "create",
            "-q",
            "-f",
            "qcow2",
            "--object",
            &secret,
            "-o",
            "encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10",
            made.to_str().unwrap(),
            "1M",
        ]);
        fs::rename(made, dir.path().join(&name)).unwrap();
        let told = in_dir(dir.path(), &["digest".as_ref(), "--".as_ref(), &name]);
        let script = hinted(&told, "qemu-img convert", "");
        let pasted = paste(dir.path(), script);
        assert!(pasted.status.success(), "{script}: {pasted:?}");
    }
}

/// What was written holds nothing that steers a terminal, and no name that passes for a line.
#[track_caller]
fn is_harmless(run: &Run, what: &str) {
    let out = run.text();
    for text in [&out, &run.stderr] {
        let bad = text
            .chars()
            .find(|c| is_unsafe(*c) && !matches!(c, '\n' | '\t'));
        assert_eq!(bad, None, "{what}: {text:?}");
        // JSON escapes a line feed by itself.
        let forged = text.lines().any(|line| line.starts_with("error: lines"));
        assert!(!forged, "{what}: {text}");
    }
}

struct Disks {
    dir: TempDir,
    name: OsString,
    other: OsString,
}

impl Disks {
    fn named(name: OsString) -> Self {
        let dir = TempDir::new().unwrap();
        let mut other = OsString::from("other ");
        other.push(&name);
        let disk = common::noise(1 << 20);
        fs::write(dir.path().join(&name), &disk).unwrap();
        fs::create_dir(dir.path().join("images")).unwrap();
        fs::write(dir.path().join("images").join(&name), &disk).unwrap();
        Self { dir, name, other }
    }

    #[track_caller]
    fn run(&self, arguments: &[&str]) {
        for json in [false, true] {
            let placed = arguments.iter().map(|argument| match *argument {
                "NAME" => Path::new(".").join(&self.name).into_os_string(),
                "OTHER" => Path::new(".").join(&self.other).into_os_string(),
                "MISSING" => OsStr::from_bytes(b"no\x1b[31m\xc2\x9b.raw").to_owned(),
                argument => argument.into(),
            });
            let mut command = command();
            command.current_dir(self.dir.path()).args(placed);
            if json {
                command.arg("--json");
            }
            command.env("XDG_STATE_HOME", self.dir.path().join("state"));
            is_harmless(&run(&mut command), &format!("{arguments:?}"));
        }
    }
}

#[test]
fn no_name_steers_the_terminal() {
    let import = [
        "import",
        "NAME",
        "--name",
        "n",
        "--bucket",
        "b-1",
        "--os-version",
        DEBIAN,
    ];
    let steering = names("raw").filter(|name| name.to_string_lossy().contains(is_unsafe));
    for name in steering {
        let disks = Disks::named(name);
        disks.run(&["inspect", "NAME"]);
        disks.run(&["inspect", "--check", "NAME"]);
        disks.run(&["inspect", "NAME", "--map", "OTHER"]);
        disks.run(&["digest", "NAME"]);
        disks.run(&["convert", "NAME", "OTHER"]);
        disks.run(&["convert", "NAME", "OTHER"]);
        disks.run(&["convert", "NAME", "NAME", "--force"]);
        disks.run(&["convert", "--format", "qcow2", "NAME", "OTHER"]);
        disks.run(&["verify", "NAME", "OTHER"]);
        disks.run(&["verify", "NAME", "MISSING"]);
        disks.run(&["bitmap", "NAME"]);
        disks.run(&["bitmap", "--show", "NAME"]);
        disks.run(&["inspect", "MISSING"]);
        disks.run(&["batch", "init", "images", "--bucket", "b-1"]);
        let manifest = "version: 1\ndefaults: {bucket: b-1, type: DataImage}\nimages: [{source: 'images/*'}]\n";
        fs::write(disks.dir.path().join("m.yaml"), manifest).unwrap();
        disks.run(&["batch", "plan", "m.yaml", "--sandbox"]);
        disks.run(&["batch", "run", "m.yaml", "--sandbox=cloud"]);
        disks.run(&["batch", "status", "m.yaml"]);
        disks.run(&["batch", "plan", "NAME", "--sandbox"]);
        disks.run(&["batch", "plan", "MISSING", "--sandbox"]);
        disks.run(&["config", "path", "--config", "NAME"]);
        disks.run(&["quota", "--config", "NAME"]);
        disks.run(&["no", "MISSING"]);
        disks.run(&["upload", "NAME", "obs://b-1/k", "--sandbox"]);
        disks.run(&["upload", "MISSING", "obs://b-1/k", "--sandbox"]);
        disks.run(&[&import[..], &["--sandbox", "--dry-run"]].concat());
        disks.run(&[&import[..], &["--sandbox=cloud"]].concat());
        disks.run(&["status"]);
        disks.run(&["status", "--state-dir", "MISSING"]);
    }
}

#[test]
fn a_path_in_a_message_stays_in_its_line() {
    let dir = TempDir::new().unwrap();
    let name: PathBuf = "a\nb.raw".into();
    let told = in_dir(dir.path(), &["digest".as_ref(), name.as_os_str()]);
    assert!(told.stderr.contains("a\\nb.raw"), "{}", told.stderr);
}
