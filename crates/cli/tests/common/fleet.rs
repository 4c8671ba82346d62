//! Fleets of small disks, a cloud for them, and `imgferry batch` on both.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use convert::CancelToken;
use convert::monitor::VoidMonitor;
use sandbox::faults::Faults;
use sandbox::{ImageRecord, ImageStatus, Options, Sandbox};
use serde_json::Value;
use tempfile::TempDir;
use testkit::faults::{Op, Proxy};
use testkit::qemu;
use tokio::runtime::Runtime;

use crate::common::{self, Run, run};

const MIB: usize = 1 << 20;

/// A cloud in this process, behind a proxy that goes wrong on order and counts.
pub struct World {
    pub runtime: Runtime,
    pub sandbox: Option<Sandbox>,
    pub proxy: Proxy,
    pub dir: TempDir,
    environment: Vec<(String, String)>,
}

impl World {
    pub fn new() -> Self {
        Self::with(Faults::default())
    }

    pub fn with(faults: Faults) -> Self {
        Self::with_quota(faults, 1000)
    }

    pub fn with_quota(faults: Faults, image_quota: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let runtime = Runtime::new().unwrap();
        let (sandbox, proxy) = runtime.block_on(async {
            let mut options = Options::new(dir.path().join("cloud"));
            options.buckets = vec!["images".into()];
            options.image_quota = image_quota;
            options.faults = faults;
            let sandbox = Sandbox::start(options).await.unwrap();
            let url = sandbox.obs_endpoint();
            let server = SocketAddr::new(
                url.host_str().unwrap().parse().unwrap(),
                url.port().unwrap(),
            );
            (sandbox, Proxy::start(server).await.unwrap())
        });
        let mut environment = sandbox.environment();
        environment.retain(|(name, _)| name != "IMGFERRY_OBS_ENDPOINT");
        environment.push(("IMGFERRY_OBS_ENDPOINT".into(), proxy.url()));
        environment.push(("IMGFERRY_PATH_STYLE".into(), "true".into()));
        Self {
            runtime,
            sandbox: Some(sandbox),
            proxy,
            dir,
            environment,
        }
    }

    /// The binary, in this cloud.
    pub fn command(&self) -> Command {
        let mut command = common::command();
        command
            .envs(self.environment.iter().cloned())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// `imgferry batch WHAT` of the fleet's manifest, with a state directory of this name.
    pub fn batch(&self, what: &str, fleet: &Fleet, state: &str) -> Command {
        let mut command = self.command();
        command.args(["batch", what]).arg(&fleet.manifest);
        command.arg("--state-dir").arg(self.dir.path().join(state));
        command
    }

    /// Imports one disk that belongs to nobody's batch.
    pub fn import(&self, disk: &Path, name: &str) {
        run(self
            .command()
            .arg("import")
            .arg(disk)
            .args(["--name", name, "--bucket", "images", "--type", "DataImage"])
            .args(["--key", &format!("elsewhere/{name}")])
            .arg("--state-dir")
            .arg(self.dir.path().join("elsewhere")))
        .success();
    }

    /// Every image of the cloud.
    pub fn images(&self) -> Vec<ImageRecord> {
        self.sandbox.as_ref().unwrap().images()
    }

    /// The images that are active: digest of what the service decoded, by name. No name comes
    /// twice.
    #[track_caller]
    pub fn active(&self) -> HashMap<String, String> {
        let mut active = HashMap::new();
        for image in self.images() {
            if image.status == ImageStatus::Active {
                let digest = image.content_digest.unwrap_or_default();
                let before = active.insert(image.name.clone(), digest);
                assert!(before.is_none(), "{} was registered twice", image.name);
            }
        }
        active
    }

    /// Bytes of parts that were sent.
    pub fn part_bytes(&self) -> u64 {
        self.proxy.part_bytes()
    }

    /// How many uploads were completed.
    pub fn completed(&self) -> u32 {
        self.proxy.count(Op::CompleteUpload)
    }

    /// Keys of the objects in the bucket, below a prefix.
    pub fn objects(&self, prefix: &str) -> Vec<String> {
        let root = self.dir.path().join("cloud/obs/images");
        let mut found = Vec::new();
        walk(&root, &root, &mut found);
        found.retain(|key| key.starts_with(prefix));
        found.sort();
        found
    }

    /// Uploads that are neither complete nor aborted.
    pub fn open_uploads(&self) -> usize {
        fs::read_dir(self.dir.path().join("cloud/uploads")).map_or(0, Iterator::count)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(sandbox) = self.sandbox.take() {
            self.runtime.block_on(sandbox.shutdown());
        }
    }
}

fn walk(root: &Path, dir: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => walk(root, &path, found),
            false => found.push(
                path.strip_prefix(root)
                    .unwrap()
                    .to_string_lossy()
                    .into_owned(),
            ),
        }
    }
}

/// Disks in files, and their manifest.
pub struct Fleet {
    pub dir: TempDir,
    pub manifest: PathBuf,
    /// Of each disk: its name, its file, and its content digest.
    pub disks: Vec<Disk>,
}

#[derive(Clone, Debug)]
pub struct Disk {
    pub name: String,
    pub file: PathBuf,
    /// Content digest of the raw disk that the file was made of.
    pub digest: String,
}

/// The formats that disks are made in, as `qemu-img` names them.
const FORMATS: [&str; 4] = ["raw", "qcow2", "vpc", "vhdx"];

impl Fleet {
    /// `count` disks of noise, `mib` MiB each, in mixed formats; raw ones only where `qemu-img` is
    /// missing.
    pub fn mixed(count: usize, mib: usize) -> Self {
        Self::new(count, mib, true)
    }

    pub fn raw(count: usize, mib: usize) -> Self {
        Self::new(count, mib, false)
    }

    fn new(count: usize, mib: usize, mixed: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut disks = Vec::new();
        let noise = common::noise(mib * MIB + count * 4096);
        for number in 0..count {
            let name = format!("disk-{number:02}");
            let raw = dir.path().join(format!("{name}.raw"));
            // Each disk is another one.
            let mut bytes = noise[number * 4096..number * 4096 + mib * MIB].to_vec();
            // Some are imported as systems.
            bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
            fs::write(&raw, bytes).unwrap();
            let digest = digest(&raw);
            let format = FORMATS[number % FORMATS.len()];
            let file = if mixed && number % 5 == 4 {
                let file = dir.path().join(format!("{name}.zvhd2"));
                run(common::command().arg("convert").arg(&raw).arg(&file)).success();
                fs::remove_file(&raw).unwrap();
                file
            } else if mixed && format != "raw" && qemu::available() {
                let file = dir.path().join(format!("{name}.{format}"));
                let mut args = vec!["convert".into(), "-f".into(), "raw".into()];
                args.extend(["-O".into(), format.into()]);
                if format == "vpc" {
                    // The size stays as it is, instead of what a disk geometry can say.
                    args.extend(["-o".into(), "force_size=on".into()]);
                }
                args.extend([raw.clone().into_os_string(), file.clone().into_os_string()]);
                qemu::img(args);
                fs::remove_file(&raw).unwrap();
                file
            } else {
                raw
            };
            disks.push(Disk { name, file, digest });
        }
        let manifest = dir.path().join("fleet.yaml");
        let fleet = Self {
            dir,
            manifest,
            disks,
        };
        fleet.write("");
        fleet
    }

    /// Writes the manifest, with `more` lines of its own at its beginning.
    pub fn write(&self, more: &str) {
        let mut text = String::from("version: 1\n");
        text.push_str(more);
        text.push_str("defaults:\n  bucket: images\n  type: DataImage\n  level: 1\nimages:\n");
        for disk in &self.disks {
            let file = disk.file.file_name().unwrap().to_string_lossy();
            writeln!(text, "  - name: {}\n    source: {file}", disk.name).unwrap();
        }
        fs::write(&self.manifest, text).unwrap();
    }

    /// Content digests by name.
    pub fn digests(&self) -> HashMap<String, String> {
        let of = |disk: &Disk| (disk.name.clone(), disk.digest.clone());
        self.disks.iter().map(of).collect()
    }
}

/// The digest of the raw disk in a file.
fn digest(file: &Path) -> String {
    let opened = convert::open(file, None).unwrap();
    convert::digest(
        opened.image.as_ref(),
        1,
        &VoidMonitor,
        &CancelToken::default(),
    )
    .unwrap()
    .to_string()
}

/// The report at the end of a run with `--json`: the last line.
#[track_caller]
pub fn report_of(run: &Run) -> Value {
    let text = run.text();
    let last = text.lines().last().unwrap_or_default();
    let event: Value = serde_json::from_str(last)
        .unwrap_or_else(|e| panic!("{e}\nstdout: {text}\nstderr: {}", run.stderr));
    assert_eq!(event["event"], "report", "{last}");
    event["report"].clone()
}

/// How many items of a report are in each state.
pub fn states(report: &Value) -> HashMap<String, usize> {
    let mut states = HashMap::new();
    for item in report["items"].as_array().unwrap() {
        *states
            .entry(item["state"].as_str().unwrap().to_owned())
            .or_default() += 1;
    }
    states
}

/// How long a random pause takes, from `from` to `to` milliseconds.
pub fn pause(random: &mut u64, from: u64, to: u64) -> Duration {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    Duration::from_millis(from + *random % (to - from))
}
