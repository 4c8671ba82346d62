//! Every error code that a client can bring about by looking after images, brought about. Those of quick imports are
//! in `api.rs`.
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
        let job = answer["job_id"].as_str().unwrap();
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

fn file(changes: Value) -> Value {
    let mut body = json!({"name": "new", "image_url": "images:tiny.zvhd2", "min_disk": 40});
    for (name, value) in changes.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

#[tokio::test]
async fn each_documented_code_is_provoked_by_the_request_that_breaks_its_rule() {
    let cloud = Cloud::start(|_| {}).await;
    cloud.put_vector("tiny", "tiny.zvhd2");
    cloud.put_vector("sparse-130g", "big.zvhd2");
    let mut iso = vec![0_u8; 64 << 10];
    iso[0x8001..0x8006].copy_from_slice(b"CD001");
    cloud.put("cd.iso", iso);
    let quick = |name: &str, key: &str, min_disk: u64| json!({"name": name, "image_url": format!("images:{key}"), "os_version": "CentOS 7.0 64bit", "min_disk": min_disk});
    let id = cloud.image(QUICK, &quick("known", "tiny.zvhd2", 40)).await;
    let other = cloud.image(QUICK, &quick("other", "tiny.zvhd2", 40)).await;
    let big = cloud.image(QUICK, &quick("big", "big.zvhd2", 200)).await;
    let secret = cloud
        .image(
            ACTION,
            &file(json!({"name": "secret", "cmk_id": "sandbox-key"})),
        )
        .await;
    let cd = cloud
        .image(ACTION, &file(json!({"name": "cd", "image_url": "images:cd.iso", "type": "IsoImage", "os_version": "x"})))
        .await;
    let (_, queued) = cloud
        .send(Method::POST, "v2/images", &json!({"name": "queued"}))
        .await;
    let queued = queued["id"].as_str().unwrap();
    let project = cloud.sandbox.project_id();

    let image = |id: &str| format!("v2/cloudimages/{id}");
    let native = |id: &str| format!("v2/images/{id}");
    let export = |id: &str| format!("v1/cloudimages/{id}/file");
    let copy = |id: &str| format!("v1/cloudimages/{id}/copy");
    let tags = |id: &str| format!("v2/{project}/images/{id}/tags/action");
    let change =
        |path: &str, value: Value| json!([{"op": "replace", "path": path, "value": value}]);
    let to = |url: &str| json!({"bucket_url": url, "file_format": "qcow2"});
    let data = |urls: &[&str]| {
        let images: Vec<_> = urls
            .iter()
            .map(|url| json!({"image_url": url, "min_disk": 40}))
            .collect();
        file(json!({"data_images": images}))
    };
    let many: Vec<_> = (0..11)
        .map(|n| json!({"key": format!("k{n}"), "value": ""}))
        .collect();
    let crowd: Vec<_> = (0..257).map(|n| format!("project-{n}")).collect();
    let post = Method::POST;
    let long = "x".repeat(129);
    let protect = change("/protected", json!(true));
    assert_eq!(
        cloud.send(Method::PATCH, &image(&other), &protect).await.0,
        200
    );

    let cases: Vec<(&str, Method, String, Value)> = vec![
        (
            "IMG.0001",
            Method::PATCH,
            image(&id),
            json!({"op": "replace"}),
        ),
        (
            "IMG.0001",
            Method::PATCH,
            image(&id),
            json!([{"op": "move", "path": "/name"}]),
        ),
        (
            "IMG.0001",
            post.clone(),
            export(&id),
            json!({"bucket_url": "images:new.zvhd2", "file_format": "qcow2", "is_quick_export": true}),
        ),
        (
            "IMG.0002",
            Method::PATCH,
            image(&id),
            change("/name", json!(long)),
        ),
        (
            "IMG.0003",
            Method::PATCH,
            image(&id),
            change("/name", json!(" x")),
        ),
        (
            "IMG.0005",
            post.clone(),
            ACTION.into(),
            json!({"name": "n", "instance_id": "i"}),
        ),
        (
            "IMG.0005",
            post.clone(),
            WHOLE.into(),
            json!({"name": "n", "instance_id": "i"}),
        ),
        ("IMG.0007", Method::PATCH, image(&id), Value::Null),
        (
            "IMG.0009",
            Method::PATCH,
            image(&id),
            change("/name", json!("other")),
        ),
        (
            "IMG.0009",
            post.clone(),
            copy(&id),
            json!({"name": "other"}),
        ),
        (
            "IMG.0012",
            post.clone(),
            ACTION.into(),
            json!({"name": "n", "instance_id": ""}),
        ),
        ("IMG.0013", post.clone(), copy(&id), json!({"name": ""})),
        (
            "IMG.0017",
            post.clone(),
            ACTION.into(),
            json!({"name": "n"}),
        ),
        (
            "IMG.0019",
            post.clone(),
            WHOLE.into(),
            json!({"name": "n", "backup_id": ""}),
        ),
        (
            "IMG.0023",
            Method::GET,
            "v1/cloudimages/job/none".into(),
            Value::Null,
        ),
        (
            "IMG.0024",
            post.clone(),
            ACTION.into(),
            file(json!({"type": "Toaster"})),
        ),
        (
            "IMG.0027",
            Method::PUT,
            "v1/cloudimages/none/upload".into(),
            json!({"image_url": "images:tiny.zvhd2"}),
        ),
        ("IMG.0028", Method::DELETE, native(&other), Value::Null),
        (
            "IMG.0035",
            Method::PATCH,
            image(&id),
            change("/status", json!("active")),
        ),
        (
            "IMG.0046",
            Method::PATCH,
            image(queued),
            change("/name", json!("n")),
        ),
        (
            "IMG.0046",
            Method::PUT,
            format!("v1/cloudimages/{id}/upload"),
            json!({"image_url": "images:tiny.zvhd2"}),
        ),
        (
            "IMG.0054",
            Method::PATCH,
            image(&id),
            change("/__description", json!("<b>")),
        ),
        (
            "IMG.0055",
            Method::PATCH,
            image(&id),
            change("/min_disk", json!(99_999)),
        ),
        (
            "IMG.0056",
            post.clone(),
            ACTION.into(),
            json!({"name": "n", "volume_id": "v"}),
        ),
        (
            "IMG.0057",
            post.clone(),
            DATA.into(),
            file(json!({"image_url": "images:none.raw"})),
        ),
        (
            "IMG.0066",
            Method::PUT,
            "v1/cloudimages/tags".into(),
            json!({"tag": "a.b"}),
        ),
        (
            "IMG.0067",
            Method::GET,
            format!("v2/wrong/images/{id}/tags"),
            Value::Null,
        ),
        (
            "IMG.0067",
            Method::PUT,
            MEMBERS.into(),
            json!({"images": [id], "status": "accepted"}),
        ),
        (
            "IMG.0069",
            post.clone(),
            export(&id),
            to("nowhere:new.qcow2"),
        ),
        (
            "IMG.0070",
            post.clone(),
            export(&id),
            to("images:tiny.zvhd2"),
        ),
        (
            "IMG.0072",
            post.clone(),
            export(&id),
            json!({"bucket_url": "images:new", "file_format": "floppy"}),
        ),
        (
            "IMG.0072",
            post.clone(),
            "v2/images".into(),
            json!({"name": "n", "disk_format": "floppy"}),
        ),
        ("IMG.0073", post.clone(), export(&id), to("images:")),
        (
            "IMG.0074",
            post.clone(),
            ACTION.into(),
            file(json!({"image_url": format!("images:{long}")})),
        ),
        (
            "IMG.0075",
            post.clone(),
            ACTION.into(),
            file(json!({"image_url": "images:a&b"})),
        ),
        (
            "IMG.0076",
            post.clone(),
            MEMBERS.into(),
            json!({"images": [id], "projects": [project]}),
        ),
        (
            "IMG.0086",
            Method::PUT,
            MEMBERS.into(),
            json!({"images": [id], "project_id": "p", "status": "accepted"}),
        ),
        (
            "IMG.0088",
            post.clone(),
            MEMBERS.into(),
            json!({"images": [id], "projects": crowd}),
        ),
        (
            "IMG.0095",
            post.clone(),
            copy(&id),
            json!({"name": "n", "cmk_id": "none"}),
        ),
        (
            "IMG.0096",
            post.clone(),
            copy(&secret),
            json!({"name": "n", "cmk_id": "sandbox-key"}),
        ),
        (
            "IMG.0097",
            post.clone(),
            copy(&id),
            json!({"name": "n", "cmk_id": "sandbox-key-disabled"}),
        ),
        (
            "IMG.0098",
            post.clone(),
            MEMBERS.into(),
            json!({"images": [secret], "projects": ["p"]}),
        ),
        (
            "IMG.0115",
            post.clone(),
            tags(&id),
            json!({"action": "create", "tags": [{"key": "a=b", "value": ""}]}),
        ),
        (
            "IMG.0116",
            post.clone(),
            tags(&id),
            json!({"action": "create", "tags": many}),
        ),
        (
            "IMG.0118",
            post.clone(),
            ACTION.into(),
            file(json!({"type": "BMS", "cmk_id": "sandbox-key"})),
        ),
        (
            "IMG.0120",
            post.clone(),
            ACTION.into(),
            json!({"name": "n", "volume_id": "v", "os_version": "x"}),
        ),
        (
            "IMG.0120",
            post.clone(),
            ACTION.into(),
            json!({"data_images": [{"name": "n", "volume_id": "v"}]}),
        ),
        (
            "IMG.0121",
            Method::DELETE,
            format!("v2/{project}/images/{id}/tags/none"),
            Value::Null,
        ),
        (
            "IMG.0122",
            post.clone(),
            ACTION.into(),
            file(json!({"os_type": "BeOS"})),
        ),
        (
            "IMG.0123",
            post.clone(),
            ACTION.into(),
            data(&["images:tiny.zvhd2"]),
        ),
        (
            "IMG.0127",
            post.clone(),
            WHOLE.into(),
            json!({"name": "n", "backup_id": "b"}),
        ),
        (
            "IMG.0141",
            Method::PATCH,
            image(&id),
            change("/hw_firmware_type", json!("coreboot")),
        ),
        ("IMG.0144", Method::GET, native("none"), Value::Null),
        ("IMG.0144", Method::DELETE, native("none"), Value::Null),
        (
            "IMG.0159",
            post.clone(),
            ACTION.into(),
            file(json!({"is_quick_import": true})),
        ),
        (
            "IMG.0160",
            post.clone(),
            export(&big),
            to("images:new.qcow2"),
        ),
        (
            "IMG.0166",
            post.clone(),
            ACTION.into(),
            file(json!({"image_url": "images:cd.iso", "type": "IsoImage"})),
        ),
        (
            "IMG.0167",
            post.clone(),
            export(&cd),
            to("images:new.qcow2"),
        ),
        ("IMG.0167", post.clone(), copy(&cd), json!({"name": "n"})),
        (
            "IMG.0175",
            post.clone(),
            ACTION.into(),
            file(json!({"image_url": "images:a b"})),
        ),
        (
            "IMG.0194",
            post.clone(),
            ACTION.into(),
            data(&["images:1", "images:2", "images:3", "images:4"]),
        ),
        (
            "IMG.0212",
            post.clone(),
            ACTION.into(),
            file(json!({"architecture": "sparc"})),
        ),
    ];
    let before = cloud.sandbox.images();
    for (code, method, path, body) in cases {
        let (status, answer) = cloud.send(method.clone(), &path, &body).await;
        assert!(matches!(status, 400 | 404), "{code}: {status} {answer}");
        assert_eq!(
            answer["error"]["code"], code,
            "{method} {path} {body}: {answer}"
        );
    }
    let names = |images: Vec<sandbox::ImageRecord>| -> Vec<_> {
        images
            .into_iter()
            .map(|image| (image.name, image.more))
            .collect()
    };
    assert_eq!(
        names(before),
        names(cloud.sandbox.images()),
        "a refusal changes nothing"
    );
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
    let metadata = ims::metadata::ImageMetadata {
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
    assert!(started.elapsed() < Duration::from_secs(60));
}
