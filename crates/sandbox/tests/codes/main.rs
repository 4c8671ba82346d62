//! Every error code that a client can bring about, brought about. Those of quick imports are in
//! `../api`.
//!
//! `testdata/ims/codes.json` has the whole table of codes: for each the test that provokes it, or
//! why none can.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::time::{Duration, Instant};

use ims::{Client, ClientOptions, Credentials, Endpoints, ImageUrl, QuickImport, WaitOptions};
use net::http::Method;
use net::secret::ExposeSecret as _;
use sandbox::faults::Faults;
use sandbox::{Options, Sandbox};
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::vectors;

mod cases;
mod others;
mod servers;

struct Cloud {
    dir: TempDir,
    sandbox: Sandbox,
    http: reqwest::Client,
    token: String,
}

impl Cloud {
    async fn start(change: impl FnOnce(&mut Options)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut options = Options::new(dir.path().join("sandbox"));
        options.buckets = vec!["images".to_owned()];
        change(&mut options);
        let sandbox = Sandbox::start(options).await.unwrap();
        let http = reqwest::Client::new();
        let login = json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": {
                "name": sandbox.user(),
                "password": sandbox.password().expose_secret(),
                "domain": {"name": sandbox.domain()},
            }}},
            "scope": {"project": {"name": sandbox.region()}},
        }});
        let url = sandbox.iam_endpoint().join("v3/auth/tokens").unwrap();
        let answer = http.post(url).body(login.to_string()).send().await.unwrap();
        let token = answer.headers()["x-subject-token"]
            .to_str()
            .unwrap()
            .to_owned();
        Self {
            dir,
            sandbox,
            http,
            token,
        }
    }

    async fn send(&self, method: Method, path: &str, body: &Value) -> (u16, Value) {
        let url = self.sandbox.ims_endpoint().join(path).unwrap();
        let body = match body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        let request = self.http.request(method, url);
        let request = request.header("X-Auth-Token", &self.token).body(body);
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    fn put(&self, key: &str, bytes: impl AsRef<[u8]>) {
        let path = self.dir.path().join("sandbox/obs/images").join(key);
        std::fs::write(path, bytes).unwrap();
    }

    fn put_vector(&self, name: &str, key: &str) {
        self.put(
            key,
            std::fs::read(vectors::vector(name).unwrap().path()).unwrap(),
        );
    }

    fn client(&self) -> Client {
        let endpoints = Endpoints {
            iam: self.sandbox.iam_endpoint().clone(),
            ims: self.sandbox.ims_endpoint().clone(),
        };
        let key = Credentials::AccessKey(self.sandbox.access_key().clone());
        let mut options = ClientOptions::new(endpoints, self.sandbox.region(), key);
        options.project_id = Some(self.sandbox.project_id().to_owned());
        Client::new(options).unwrap()
    }

    /// Starts a job and waits for its end.
    async fn job(&self, path: &str, body: &Value) -> Value {
        let (status, answer) = self.send(Method::POST, path, body).await;
        assert_eq!(status, 200, "{answer}");
        self.ended(answer["job_id"].as_str().unwrap()).await
    }

    /// The job at its end.
    async fn ended(&self, job: &str) -> Value {
        loop {
            let (_, job) = self
                .send(
                    Method::GET,
                    &format!("v1/cloudimages/job/{job}"),
                    &Value::Null,
                )
                .await;
            if !matches!(job["status"].as_str().unwrap(), "INIT" | "RUNNING") {
                return job;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The image of a job that succeeds.
    async fn image(&self, path: &str, body: &Value) -> String {
        let job = self.job(path, body).await;
        assert_eq!(job["status"], "SUCCESS", "{job}");
        job["entities"]["image_id"].as_str().unwrap().to_owned()
    }
}

const QUICK: &str = "v2/cloudimages/quickimport/action";
const ACTION: &str = "v2/cloudimages/action";
const DATA: &str = "v1/cloudimages/dataimages/action";
const WHOLE: &str = "v1/cloudimages/wholeimages/action";
const MEMBERS: &str = "v1/cloudimages/members";

/// The table of error codes, and codes that newer releases added.
#[derive(serde::Deserialize)]
struct Codes {
    table: std::collections::BTreeMap<String, String>,
    newer: std::collections::BTreeMap<String, String>,
}

#[test]
fn each_code_of_the_table_has_a_test_or_a_reason_why_it_has_none() {
    let codes: Codes =
        serde_json::from_str(include_str!("../../../../testdata/ims/codes.json")).unwrap();
    assert_eq!(codes.table.len(), 166, "the table of 2023-01-20");
    let sources = [
        ("api/identity", include_str!("../api/identity.rs")),
        ("api/imports", include_str!("../api/imports.rs")),
        ("api/jobs", include_str!("../api/jobs.rs")),
        ("api/raw", include_str!("../api/raw.rs")),
        ("main", include_str!("main.rs")),
        ("cases", include_str!("cases.rs")),
        ("servers", include_str!("servers.rs")),
        ("others", include_str!("others.rs")),
    ];
    let mut provoked = 0;
    for (code, found) in codes.table.iter().chain(&codes.newer) {
        let Some(test) = found.strip_prefix("test: ") else {
            let reason = found.strip_prefix("none: ").unwrap();
            assert!(reason.len() > 15, "{code}: {reason:?} is no reason");
            continue;
        };
        let (file, name) = test.split_once("::").unwrap();
        let source = sources.iter().find(|(known, _)| *known == file).unwrap().1;
        let (_, body) = source
            .split_once(&format!("fn {name}("))
            .unwrap_or_else(|| panic!("{code}: there is no test {test}"));
        let body = body.split_once("\n}\n").unwrap().0;
        assert!(body.contains(code), "{test} has nothing of {code}");
        provoked += 1;
    }
    // Nothing that a test provokes is missing from the table.
    for (file, source) in sources {
        for (at, _) in source.match_indices("\"IMG.") {
            let code = source.get(at + 1..at + 9).unwrap_or_default();
            if !code.ends_with(|c: char| c.is_ascii_digit()) {
                continue;
            }
            let known = codes.table.get(code).or_else(|| codes.newer.get(code));
            assert!(
                known.is_some_and(|found| found.starts_with("test: ")),
                "{file}: {code}"
            );
        }
    }
    assert!(provoked > 100, "{provoked}");
}

fn file(changes: Value) -> Value {
    let mut body = json!({"name": "new", "image_url": "images:tiny.zvhd2", "min_disk": 40});
    for (name, value) in changes.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

#[tokio::test]
async fn a_shared_image_is_accepted_or_rejected_by_the_project() {
    let cloud = Cloud::start(|_| {}).await;
    cloud.put_vector("tiny", "tiny.zvhd2");
    let id = cloud.image(ACTION, &file(json!({}))).await;
    let share = json!({"images": [id], "projects": ["theirs"]});
    cloud.job(MEMBERS, &share).await;
    let client = cloud.client();
    let image: ims::ImageId = id.parse().unwrap();
    let members = async || {
        let members = client.image_members(&image).await.unwrap();
        members[0].status.clone().unwrap()
    };
    assert_eq!(members().await, "pending");
    for reply in ["accepted", "rejected"] {
        let body = json!({"images": [id], "project_id": "theirs", "status": reply});
        let (status, answer) = cloud.send(Method::PUT, MEMBERS, &body).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(members().await, reply);
    }
}

#[tokio::test]
async fn an_image_that_is_being_made_cannot_be_deleted() {
    let cloud = Cloud::start(|options| {
        options.faults = Faults {
            job_delay: Duration::from_secs(60),
            ..Faults::default()
        };
    })
    .await;
    cloud.put_vector("tiny", "tiny.zvhd2");
    let (_, job) = cloud.send(Method::POST, ACTION, &file(json!({}))).await;
    let path = format!("v1/cloudimages/job/{}", job["job_id"].as_str().unwrap());
    let (_, job) = cloud.send(Method::GET, &path, &Value::Null).await;
    let image = job["entities"]["image_id"].as_str().unwrap();
    let path = format!("v2/images/{image}");
    let (_, answer) = cloud.send(Method::DELETE, &path, &Value::Null).await;
    assert_eq!(answer["error"]["code"], "IMG.0090");
}

#[tokio::test]
async fn a_common_import_takes_any_format_and_its_data_disks() {
    let cloud = Cloud::start(|_| {}).await;
    cloud.put("system.raw", disk(1));
    cloud.put("data.raw", disk(2));
    let body = file(json!({
        "image_url": "images:system.raw",
        "data_images": [{"name": "data", "image_url": "images:data.raw", "min_disk": 1}],
    }));
    let job = cloud.job(ACTION, &body).await;
    assert_eq!(job["status"], "SUCCESS", "{job}");
    assert_eq!(job["entities"]["sub_jobs_result"][0]["status"], "SUCCESS");
    let images = cloud.sandbox.images();
    assert_eq!(images.len(), 2);
    assert!(
        images
            .iter()
            .all(|image| image.virtual_size == Some(1 << 20))
    );
    // A part that fails fails the whole, and says why.
    cloud.put_vector("sparse-130g", "bad.zvhd2");
    let body = file(json!({
        "name": "again",
        "image_url": "images:system.raw",
        "data_images": [{"name": "bad", "image_url": "images:bad.zvhd2", "min_disk": 1}],
    }));
    let job = cloud.job(ACTION, &body).await;
    assert_eq!(job["status"], "FAIL", "{job}");
    assert_eq!(
        job["entities"]["sub_jobs_result"][0]["error_code"],
        "IMG.0055"
    );
}

#[tokio::test]
async fn an_image_made_in_two_steps_becomes_active_with_its_file() {
    let cloud = Cloud::start(|_| {}).await;
    cloud.put("disk.raw", disk(1));
    let metadata = ims::ImageMetadata {
        name: "two steps".into(),
        min_disk: Some(10),
        ..Default::default()
    };
    let client = cloud.client();
    let image = client.create_metadata(&metadata).await.unwrap();
    assert_eq!(image.status, ims::ImageStatus::Queued);
    let url = ImageUrl {
        bucket: "images".into(),
        key: "disk.raw".into(),
    };
    let job = client.register_file(&image.id, &url).await.unwrap();
    let made = client
        .wait(&job, &fast(), |_| {}, std::future::pending())
        .await
        .unwrap();
    assert_eq!(made, image.id);
    let image = client.image(&made).await.unwrap().unwrap();
    assert_eq!(image.status, ims::ImageStatus::Active);
}

/// A raw disk that is not taken for text.
fn disk(seed: u8) -> Vec<u8> {
    let mut bytes = vec![0; 1 << 20];
    bytes[4096..8192].fill(0x80 | seed);
    bytes
}

fn fast() -> WaitOptions {
    WaitOptions {
        first: Duration::from_millis(50),
        max: Duration::from_millis(500),
        timeout: Duration::from_secs(60),
        max_failures: 3,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_imports_at_once_get_through_flow_control() {
    let cloud = Cloud::start(|options| options.faults.busy_above = Some(5)).await;
    cloud.put_vector("tiny", "tiny.zvhd2");
    let client = cloud.client();
    let started = Instant::now();
    let imports: Vec<_> = (0..50)
        .map(|number| {
            let client = client.clone();
            tokio::spawn(async move {
                let url = ImageUrl {
                    bucket: "images".into(),
                    key: "tiny.zvhd2".into(),
                };
                let mut import = QuickImport::new(format!("image-{number}"), url, 40);
                import.os_version = Some("CentOS 7.0 64bit".into());
                let job = client.quick_import(&import).await.unwrap();
                client
                    .wait(&job, &fast(), |_| {}, std::future::pending())
                    .await
                    .unwrap()
            })
        })
        .collect();
    let mut made = std::collections::BTreeSet::new();
    for import in imports {
        made.insert(import.await.unwrap().to_string());
    }
    assert_eq!(made.len(), 50);
    assert!(
        cloud.sandbox.refused_by_flow_control() > 0,
        "nothing was refused"
    );
    assert!(started.elapsed() < testkit::measure::HANG);
}
