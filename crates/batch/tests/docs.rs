//! What docs/batch.md and deploy/ show is what works.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use batch::Manifest;
use serde_json::Value;

fn root(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(root(name)).unwrap()
}

/// The blocks of `text` in this language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    text.split(&format!("```{language}\n"))
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect()
}

#[test]
fn the_manifests_in_the_docs_are_read() {
    let docs = text("docs/batch.md");
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("disks")).unwrap();
    for file in [
        "web01.qcow2",
        "app1.vhdx",
        "app2.vhdx",
        "shared.raw",
        "db01.vhdx",
        "db01-data1.vhdx",
        "db01-data2.vhdx",
    ] {
        fs::write(dir.path().join("disks").join(file), "disk").unwrap();
    }
    let mut counts = Vec::new();
    for (language, file) in [("yaml", "batch.yaml"), ("toml", "batch.toml")] {
        for block in blocks(&docs, language) {
            let path = dir.path().join(file);
            fs::write(&path, block).unwrap();
            let manifest = Manifest::read(&path).unwrap_or_else(|problems| panic!("{problems:#?}"));
            assert!(manifest.items.iter().all(|item| item.unreadable.is_none()));
            counts.push(manifest.items.len());
        }
    }
    assert_eq!(counts, [7, 1, 3]);
}

#[test]
fn every_key_of_the_schema_is_documented_and_none_else() {
    let docs = text("docs/batch.md");
    let schema: Value = serde_json::from_str(&text("docs/batch.schema.json")).unwrap();
    let keys = |part: &Value| -> Vec<String> {
        part["properties"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect()
    };
    let mut expected = keys(&schema["$defs"]["image"]);
    expected.extend(keys(&schema["$defs"]["limits"]));
    expected.sort();
    let from = docs.find("### Keys of a disk").unwrap();
    let to = docs.find("### What identifies").unwrap();
    let mut found: Vec<_> = docs[from..to]
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .map(str::to_owned)
        .collect();
    found.sort();
    assert_eq!(found, expected);
}

#[test]
fn the_manifest_of_the_configmap_is_read() {
    let map: Value = serde_saphyr::from_str(&text("deploy/kubernetes/configmap.yaml")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("batch.yaml");
    fs::write(&path, map["data"]["batch.yaml"].as_str().unwrap()).unwrap();
    let manifest = Manifest::read(&path).unwrap_or_else(|e| panic!("{e:#?}"));
    assert_eq!(manifest.items.len(), 4);
}

#[test]
fn pods_have_no_rights_and_the_memory_that_imgferry_is_told_of() {
    for job in ["job-claim", "job-shard"] {
        let job: Value =
            serde_saphyr::from_str(&text(&format!("deploy/kubernetes/{job}.yaml"))).unwrap();
        let spec = &job["spec"];
        let pod = &spec["template"]["spec"];
        let container = &pod["containers"][0];
        assert_eq!(spec["completionMode"], "Indexed");
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["automountServiceAccountToken"], false);
        let security = &container["securityContext"];
        assert_eq!(security["allowPrivilegeEscalation"], false);
        assert_eq!(security["readOnlyRootFilesystem"], true);
        assert_eq!(security["capabilities"]["drop"][0], "ALL");
        let args: Vec<_> = container["args"].as_array().unwrap().iter().collect();
        assert!(args.contains(&&Value::from("--memory=1GiB")), "{args:?}");
        assert_eq!(container["resources"]["limits"]["memory"], "1536Mi");
        let shards = format!("--shard=$(JOB_COMPLETION_INDEX)+1/{}", spec["completions"]);
        assert_ne!(
            args.contains(&&Value::from("--claim")),
            args.contains(&&Value::from(shards)),
            "{args:?}"
        );
        // Each volume that is mounted is there, under the name that is mounted.
        let volumes: Vec<_> = pod["volumes"].as_array().unwrap().iter().collect();
        for mount in container["volumeMounts"].as_array().unwrap() {
            assert!(volumes.iter().any(|volume| volume["name"] == mount["name"]));
        }
    }
}

/// Runs the Slurm script with programs in place of imgferry and scontrol, which write down what
/// they were told. Their names and arguments, and the exit code.
fn slurm(imgferry: &str, task: &[(&str, &str)], signal: bool) -> (String, Option<i32>) {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let program = |name: &str, body: &str| {
        let path = dir.path().join(name);
        let head = format!(
            "#!/usr/bin/env bash\necho {name} \"$@\" >> '{}'\n",
            log.display()
        );
        fs::write(&path, head + body).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    program("imgferry", imgferry);
    program("scontrol", "");
    let path = std::env::var("PATH").unwrap();
    let mut command = Command::new("bash");
    command
        .arg(root("deploy/slurm/imgferry-batch.sh"))
        .args(["fleet.yaml", "--report", "r.html"])
        .env_remove("SLURM_MEM_PER_NODE")
        .env_remove("SLURM_CPUS_PER_TASK")
        .env_remove("IMGFERRY_SHARDS")
        .env("PATH", format!("{}:{path}", dir.path().display()))
        .env("SLURM_ARRAY_JOB_ID", "77")
        .envs(task.iter().copied());
    let mut child = command.spawn().unwrap();
    if signal {
        let begun = Instant::now();
        while !fs::read_to_string(&log).is_ok_and(|text| text.contains("ready")) {
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "it did not begin"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        let id = child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &id])
                .status()
                .unwrap()
                .success()
        );
    }
    let code = child.wait().unwrap().code();
    let told = fs::read_to_string(&log).unwrap_or_default();
    (told.replace("ready\n", ""), code)
}

const TASK: &[(&str, &str)] = &[
    ("SLURM_ARRAY_TASK_ID", "3"),
    ("SLURM_CPUS_PER_TASK", "4"),
    ("SLURM_MEM_PER_NODE", "2048"),
];

#[test]
fn a_slurm_task_takes_what_slurm_grants_and_its_share() {
    let (told, code) = slurm("exit 3", TASK, false);
    assert_eq!(
        told,
        "imgferry batch run fleet.yaml --claim --threads 4 --memory 1536MiB \
         --report-json imgferry-77_3.json --report r.html\n"
    );
    assert_eq!(code, Some(3));
    // Any part of the array that is submitted again has the same shares.
    let fixed = [("SLURM_ARRAY_TASK_ID", "7"), ("IMGFERRY_SHARDS", "8")];
    let (told, code) = slurm("exit 0", &fixed, false);
    assert_eq!(
        told,
        "imgferry batch run fleet.yaml --shard 7/8 --report-json imgferry-77_7.json \
         --report r.html\n"
    );
    assert_eq!(code, Some(0));
}

#[test]
fn a_slurm_task_that_is_interrupted_is_queued_again() {
    let log = "\"$(dirname \"$0\")\"/log";
    let worker = format!(
        "trap 'sleep 0.2; exit 130' TERM\necho ready >> {log}\nfor i in $(seq 600); do sleep 0.1; done\n"
    );
    let (told, code) = slurm(&worker, TASK, true);
    assert!(told.ends_with("scontrol requeue 77_3\n"), "{told}");
    assert_eq!(code, Some(130));
    // One that had ended its work when the signal came is not.
    let worker = worker.replace("exit 130", "exit 0");
    let (told, code) = slurm(&worker, TASK, true);
    assert!(!told.contains("scontrol"), "{told}");
    assert_eq!(code, Some(0));
}
