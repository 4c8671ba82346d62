//! The migration of a running server: generations of its disk, and the cutover.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::importing::{Import, is_right};
use crate::common::{self, Run, json_of, run};

const MIB: usize = 1 << 20;

/// The disk of a server that goes on running.
struct Server {
    import: Import,
    disk: Vec<u8>,
}

impl Server {
    fn new(mib: u64) -> Self {
        Self::with_rate(mib, 1 << 40)
    }

    fn with_rate(mib: u64, rate: u64) -> Self {
        let import = Import::with_rate(mib, rate);
        let disk = fs::read(&import.source).unwrap();
        Self { import, disk }
    }

    /// Writes `text` into the disk at `at`.
    fn write(&mut self, at: usize, text: &str) {
        self.disk[at..at + text.len()].copy_from_slice(text.as_bytes());
        fs::write(&self.import.source, &self.disk).unwrap();
    }

    fn command(&self, options: &[&str]) -> std::process::Command {
        let mut command = self.import.named("web");
        command.args(options);
        command
    }

    fn run(&self, options: &[&str]) -> Run {
        run(&mut self.command(options))
    }

    /// Makes a generation.
    #[track_caller]
    fn warm(&self) -> Value {
        let done = self.run(&["--warm"]);
        done.success();
        let json = json_of(&done);
        assert_eq!(json["result"], "stored");
        assert_eq!(json["image_id"], Value::Null);
        json
    }

    /// Ends the migration: the object holds the disk.
    #[track_caller]
    fn cut_over(&self) -> Value {
        let json = is_right(&self.run(&["--cutover"]));
        assert_eq!(json["key"], "web.zvhd2");
        let object = self.import.cloud.object_path("images", "web.zvhd2");
        let mut verify = self.import.cloud.command();
        run(verify.arg("verify").arg(&self.import.source).arg(object)).success();
        json
    }

    /// Runs, and writes to the end of the disk when parts are being sent.
    fn written_to_during(&mut self, option: &str) -> Run {
        let mut child = self.command(&[option]).spawn().unwrap();
        let mut ended = || child.try_wait().unwrap().is_some();
        common::wait_until(|| self.import.parts() > 0 || ended());
        let byte = self.disk.last().unwrap().wrapping_add(1);
        self.disk[40 * MIB..].fill(byte);
        fs::write(&self.import.source, &self.disk).unwrap();
        Run::from(child.wait_with_output().unwrap())
    }

    fn keys(&self) -> Vec<String> {
        let mut keys = self.import.cloud.objects("images");
        keys.sort();
        keys
    }

    /// A file of a generation.
    fn file(&self, number: u32, ending: &str) -> PathBuf {
        let key = format!("web.g{number:04}.zvhd2{ending}");
        self.import.cloud.object_path("images", &key)
    }

    fn migration(&self) -> Value {
        let mut status = self.import.cloud.command();
        status.args(["status", "--json", "--state-dir"]);
        let status = run(status.arg(self.import.state_dir()));
        json_of(status.success())["migrations"][0].clone()
    }
}

fn copied(json: &Value) -> u64 {
    json["uploaded"]["copied_bytes"].as_u64().unwrap_or(0)
}

#[test]
fn generations_send_what_has_changed_and_the_cutover_makes_the_image() {
    let mut server = Server::new(48);
    let first = server.warm();
    assert_eq!(first["warm"]["number"], 1);
    assert_eq!(first["warm"]["base"], Value::Null);
    assert_eq!(server.migration()["cutover_seconds"], Value::Null);
    server.write(20 * MIB + 5, "a change!");
    let second = server.warm();
    assert_eq!(
        (&second["warm"]["number"], &second["warm"]["base"]),
        (&2.into(), &1.into())
    );
    assert_eq!(second["warm"]["changed_bytes"], 2 * MIB as u64);
    assert!(copied(&second) > 28 * MIB as u64, "{second}");
    server.write(33 * MIB, "another");
    let third = server.warm();
    assert_eq!(
        third["warm"]["removed"],
        serde_json::json!(["web.g0001.zvhd2"])
    );
    assert_eq!(server.keys(), ["web.g0002.zvhd2", "web.g0003.zvhd2"]);
    assert!(!server.file(1, ".blocks").exists());
    assert!(!server.file(1, ".imgferry.json").exists());
    let migration = server.migration();
    assert_eq!(migration["generations"].as_array().unwrap().len(), 3);
    assert!(migration["cutover_seconds"].as_f64().unwrap() > 0.0);
    assert_eq!(migration["generations"][2]["changed_bytes"], 2 * MIB as u64);

    server.write(5 * MIB, "the last words");
    let last = server.cut_over();
    assert!(copied(&last) > 28 * MIB as u64, "{last}");
    assert_eq!(last["warm"]["base"], 3);
    // The object is the newest, and one generation is kept beside it.
    assert_eq!(server.keys(), ["web.g0003.zvhd2", "web.zvhd2"]);
    assert_eq!(server.migration()["cutover_seconds"], Value::Null);
    // A full import makes the same object.
    let mut full = server.import.named("full");
    is_right(&run(full.args(["--key", "full.zvhd2"])));
    // But for UUID and time, which stand in the footers: one at each end, one before the tables.
    const TABLES: usize = (512 << 10) + 3 * 4096;
    let of = |key: &str| {
        let object = server.import.cloud.object("images", key);
        let tables = object.len() - TABLES;
        let rest = object[tables + 4096..object.len() - 4096].to_vec();
        (object[4096..tables].to_vec(), rest)
    };
    assert!(of("web.zvhd2") == of("full.zvhd2"));
    let over = server.run(&["--warm"]);
    assert_eq!(over.code, Some(2), "{}", over.stderr);
    assert!(
        over.stderr.contains("the migration is over"),
        "{}",
        over.stderr
    );
}

#[test]
fn a_generation_that_is_not_what_it_was_is_never_the_base() {
    let mut server = Server::new(32);
    server.warm();
    server.write(9 * MIB, "two");
    server.warm();
    let object = fs::read(server.file(2, "")).unwrap();
    let table = fs::read(server.file(2, ".blocks")).unwrap();
    let manifest = fs::read(server.file(2, ".imgferry.json")).unwrap();
    let first = fs::read(server.file(1, "")).unwrap();
    let mut damaged = object.clone();
    damaged[4096..].reverse();
    let mut torn = table.clone();
    torn.truncate(table.len() / 2);
    let cases = [
        ("replaced", &first[..], &table[..], &manifest[..]),
        ("truncated", &object[..object.len() / 2], &table, &manifest),
        ("damaged", &damaged, &table, &manifest),
        ("a table that is cut off", &object, &torn, &manifest),
        ("no manifest", &object, &table, b"{}"),
    ];
    for (what, object, table, manifest) in cases {
        fs::write(server.file(2, ""), object).unwrap();
        fs::write(server.file(2, ".blocks"), table).unwrap();
        fs::write(server.file(2, ".imgferry.json"), manifest).unwrap();
        let planned = server.run(&["--warm", "--dry-run"]);
        assert_eq!(
            json_of(planned.success())["base"]["key"],
            "web.g0001.zvhd2",
            "{what}"
        );
        assert!(
            planned.stderr.contains("cannot be the base"),
            "{what}: {}",
            planned.stderr
        );
    }
    // The table is missing, and then the whole generation.
    fs::remove_file(server.file(2, ".blocks")).unwrap();
    server.write(15 * MIB, "three");
    let third = server.warm();
    assert_eq!(third["warm"]["base"], 1);
    fs::remove_file(server.file(3, "")).unwrap();
    fs::remove_file(server.file(1, "")).ok();
    let last = server.cut_over();
    assert_eq!(last["warm"]["base"], Value::Null);
    assert!(!last["warnings"].to_string().contains("base"), "{last}");
}

#[test]
fn only_old_generations_that_are_ours_are_removed() {
    let mut server = Server::new(16);
    server.warm();
    // What others have named so, or have put in the place of a generation.
    for key in [
        "web.g0000.zvhd2",
        "web.gold.zvhd2",
        "web.g0002.zvhd2.txt",
        "web2.g0001.zvhd2",
    ] {
        let path = server.import.cloud.object_path("images", key);
        fs::write(path, "a file").unwrap();
    }
    let others = server.keys().len() - 1;
    for number in 2..=4 {
        server.write(number * MIB, "next");
        let done = server.run(&["--warm", "--keep", "3"]);
        done.success();
        assert_eq!(server.keys().len() - others, number.min(3));
    }
    let manifest = server.file(3, ".imgferry.json");
    fs::remove_file(&manifest).unwrap();
    let done = server.run(&["--warm", "--keep", "1"]);
    assert_eq!(
        json_of(done.success())["warm"]["removed"],
        serde_json::json!(["web.g0004.zvhd2", "web.g0002.zvhd2"])
    );
    assert!(
        done.stderr
            .contains("web.g0003.zvhd2 looks like an old generation"),
        "{}",
        done.stderr
    );
    assert!(server.file(3, "").exists());
    assert_eq!(server.keys().len() - others, 2);
    is_right(&server.run(&["--cutover", "--keep", "1"]));
    assert!(!server.file(5, "").exists());
    assert_eq!(server.keys().len(), others + 2);
}

#[test]
fn a_disk_may_change_while_a_generation_is_read_but_not_at_the_cutover() {
    let mut server = Server::with_rate(48, 16 << 20);
    let first = server.written_to_during("--warm");
    assert_eq!(json_of(first.success())["warm"]["number"], 1);
    server.disk[MIB..20 * MIB].reverse();
    fs::write(&server.import.source, &server.disk).unwrap();
    let second = server.written_to_during("--warm");
    assert_eq!(json_of(second.success())["warm"]["base"], 1);
    server.disk[MIB..20 * MIB].reverse();
    fs::write(&server.import.source, &server.disk).unwrap();
    let refused = server.written_to_during("--cutover");
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("changed while it was read"),
        "{}",
        refused.stderr
    );
    server.cut_over();
}

#[test]
fn what_would_end_the_cutover_ends_the_first_run() {
    let server = Server::new(16);
    let refused = |options: &[&str], why: &str| {
        let refused = server.run(options);
        assert_eq!(refused.code, Some(2), "{}", refused.stderr);
        assert!(refused.stderr.contains(why), "{}", refused.stderr);
        assert!(server.keys().is_empty());
    };
    refused(&["--warm", "--base", "x.zvhd2"], "leave --base out");
    refused(&["--warm", "--to", "raw"], "leave --to raw out");
    refused(&["--cutover", "--to", "raw"], "leave --to raw out");
    refused(&["--warm", "--register", "common"], "--register quick");
    refused(&["--warm", "--data-disk", "x.raw"], "a single disk");
    refused(&["--warm", "--sandbox"], "still there in the next run");
    refused(&["--warm", "--sandbox"], "leave --sandbox out");
    refused(
        &["--warm", "--keep", "0"],
        "expected a number of at least 1",
    );
    refused(&["--keep", "3"], "required arguments were not provided");
    is_right(&server.run(&["--key", "other/web.zvhd2"]));
    let taken = server.run(&["--warm"]);
    assert_eq!(taken.code, Some(2), "{}", taken.stderr);
    assert!(
        taken.stderr.contains("already has the name"),
        "{}",
        taken.stderr
    );
    assert_eq!(server.keys(), ["other"]);
}

/// How often runs are killed in each generation.
fn kills() -> u64 {
    let wanted = std::env::var("IMGFERRY_TEST_KILLS");
    wanted.map_or(2, |text| text.parse().unwrap())
}

#[test]
fn a_migration_that_is_killed_at_any_moment_goes_on() {
    let mut server = Server::with_rate(48, 96 << 20);
    let mut seed: u64 = std::env::var("IMGFERRY_TEST_SEED").map_or(0x5eed, |s| s.parse().unwrap());
    let mut killed = 0;
    for generation in 0..4 {
        let options: &[&str] = if generation == 3 {
            &["--cutover"]
        } else {
            &["--warm"]
        };
        for _ in 0..kills() {
            seed = (seed ^ 0x9e37_79b9_u64)
                .wrapping_mul(0x2545_f491_4f6c_dd1d)
                .rotate_left(17);
            let (time, bytes) = match seed % 4 {
                0 => (Duration::from_millis((seed >> 8) % 900), u64::MAX),
                _ => (Duration::from_secs(20), (seed >> 8) % (52 << 20)),
            };
            let mut child = server.command(options).spawn().unwrap();
            let (begun, before) = (Instant::now(), server.import.line.sent());
            let ended = loop {
                let ended = child.try_wait().unwrap().is_some();
                let sent = server.import.line.sent() - before;
                if ended || begun.elapsed() > time || sent > bytes {
                    break ended;
                }
                thread::sleep(Duration::from_millis(2));
            };
            if !ended {
                child.kill().unwrap();
                killed += 1;
            }
            let code = child.wait().unwrap().code();
            assert!(!ended || code == Some(0), "seed {seed}");
            if seed.is_multiple_of(3) && generation < 3 {
                server.write((seed % 40) as usize * MIB, "meanwhile");
            }
        }
        if generation == 3 {
            server.cut_over();
        } else {
            server.warm();
            server.write((7 + 11 * generation) * MIB, "a change");
        }
    }
    eprintln!("{killed} kills");
    assert_eq!(server.import.cloud.uploads(), 0);
    assert!(server.keys().len() <= 2, "{:?}", server.keys());
    let state = fs::read_dir(server.import.state_dir()).unwrap();
    let left: Vec<_> = state
        .map(|file| file.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "journal")
        })
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
