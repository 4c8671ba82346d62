//! IAM and IMS, asked over HTTP with tokens and with signatures.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests"
)]

use std::path::PathBuf;
use std::time::Duration;

use convert::{CancelToken, PlanOptions, Target, VoidMonitor};
use net::http::{Method, Request};
use net::secret::{AccessKey, ExposeSecret as _};
use sandbox::faults::Faults;
use sandbox::{ImageStatus, ImageType, Options, Sandbox};
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::vectors;
use time::OffsetDateTime;

const TINY: &str = "v1:409097c79f0b289de4a3d60a0de1cec8670c1d750fe86caf550113e674b179b0";
const EMPTY: &str = "v1:b1d1eb5e438cc99a066a4e917a844248b00ad4b5bc3f02824682f7fc69889bf7";
const SPARSE_130G: &str = "v1:0bc60325c0838d569da5906162721f572ba1fca8f8611e38bbb1840c9d3b3ce4";

/// A sandbox with a bucket, and a client with a token.
struct Cloud {
    dir: TempDir,
    sandbox: Sandbox,
    http: reqwest::Client,
    token: String,
}

/// Status, and the JSON body.
type Answer = (u16, Value);

impl Cloud {
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    async fn start_with(change: impl FnOnce(&mut Options)) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), change).await
    }

    async fn start_in(dir: TempDir, change: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options::new(dir.path().join("sandbox"));
        options.buckets = vec!["images".to_owned()];
        options
            .storage_classes
            .insert("cold-bucket".to_owned(), "GLACIER".to_owned());
        change(&mut options);
        let sandbox = Sandbox::start(options).await.unwrap();
        let mut cloud = Self {
            dir,
            sandbox,
            http: reqwest::Client::new(),
            token: String::new(),
        };
        let login = cloud.login_body();
        let answer = cloud.post_plain("v3/auth/tokens", login.to_string()).await;
        assert_eq!(answer.status(), 201);
        let token = answer.headers()["x-subject-token"].to_str().unwrap();
        token.clone_into(&mut cloud.token);
        cloud
    }

    /// Stops the sandbox and starts it again in the same directory.
    async fn restart(self, change: impl FnOnce(&mut Options)) -> Self {
        self.sandbox.shutdown().await;
        Self::start_in(self.dir, change).await
    }

    fn login_body(&self) -> Value {
        json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": {
                "name": self.sandbox.user(),
                "password": self.sandbox.password().expose_secret(),
                "domain": {"name": self.sandbox.domain()},
            }}},
            "scope": {"project": {"name": self.sandbox.region()}},
        }})
    }

    async fn post_plain(&self, path: &str, body: String) -> reqwest::Response {
        let url = self.sandbox.iam_endpoint().join(path).unwrap();
        self.http.post(url).body(body).send().await.unwrap()
    }

    async fn send(&self, method: Method, path: &str, token: &str, body: String) -> Answer {
        let url = self.sandbox.ims_endpoint().join(path).unwrap();
        let request = self.http.request(method, url).header("X-Auth-Token", token);
        answer(request.body(body).send().await.unwrap()).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &self.token, String::new())
            .await
    }

    async fn import(&self, body: &Value) -> Answer {
        self.import_text(body.to_string()).await
    }

    async fn import_text(&self, body: String) -> Answer {
        let path = "v2/cloudimages/quickimport/action";
        self.send(Method::POST, path, &self.token, body).await
    }

    /// Signs with `key` as a client does, changes the request, and sends it.
    async fn signed(
        &self,
        key: &AccessKey,
        path: &str,
        tamper: impl FnOnce(&mut Request),
    ) -> Answer {
        let url = self.sandbox.iam_endpoint().join(path).unwrap();
        let mut request = Request::new(Method::GET, url);
        net::sign::sign(&mut request, key, OffsetDateTime::now_utc()).unwrap();
        tamper(&mut request);
        let sent = self
            .http
            .request(request.method, request.url)
            .headers(request.headers)
            .body(request.body);
        answer(sent.send().await.unwrap()).await
    }

    /// Whether OBS takes the key.
    async fn head_bucket(&self, key: &AccessKey) -> bool {
        let session = key.session_token.as_ref();
        let session = session.map(|token| token.expose_secret().to_owned());
        let secret = key.secret.expose_secret();
        let credentials =
            aws_sdk_s3::config::Credentials::new(&key.id, secret, session, None, "test");
        let config = aws_sdk_s3::Config::builder()
            .behavior_version_latest()
            .region(aws_sdk_s3::config::Region::new("sandbox-1"))
            .endpoint_url(self.sandbox.obs_endpoint().as_str())
            .credentials_provider(credentials)
            .force_path_style(true)
            .build();
        let client = aws_sdk_s3::Client::from_conf(config);
        client.head_bucket().bucket("images").send().await.is_ok()
    }

    fn object_path(&self, bucket: &str, key: &str) -> PathBuf {
        self.dir.path().join("sandbox/obs").join(bucket).join(key)
    }

    fn put(&self, key: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.object_path("images", key), bytes).unwrap();
    }

    /// Stores a file of the test data as an object.
    fn put_vector(&self, name: &str, key: &str) {
        let file = vectors::vector(name).unwrap().path();
        self.put(key, std::fs::read(file).unwrap());
    }

    /// Waits until the job has ended; what it says then.
    async fn wait(&self, job_id: &str) -> Value {
        let project = self.sandbox.project_id();
        for _ in 0..600 {
            let (status, job) = self.get(&format!("v1/{project}/jobs/{job_id}")).await;
            assert_eq!(status, 200, "{job}");
            let percent = job["entities"]["process_percent"].as_f64().unwrap();
            assert!((0.0..=1.0).contains(&percent));
            match job["status"].as_str().unwrap() {
                "INIT" | "RUNNING" => assert_eq!(job["end_time"], ""),
                _ => return job,
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("job {job_id} does not end");
    }

    /// Imports and waits.
    async fn import_and_wait(&self, body: &Value) -> Value {
        let (status, answer) = self.import(body).await;
        assert_eq!(status, 200, "{answer}");
        self.wait(answer["job_id"].as_str().unwrap()).await
    }
}

async fn answer(response: reqwest::Response) -> Answer {
    assert_eq!(response.headers()["x-request-id"].len(), 32);
    let status = response.status().as_u16();
    let body = response.text().await.unwrap();
    let json = serde_json::from_str(&body).unwrap_or(Value::String(body));
    (status, json)
}

/// An import that keeps all rules.
fn good() -> Value {
    json!({
        "name": "demo",
        "image_url": "images:disk.zvhd2",
        "os_version": "CentOS 7.0 64bit",
        "min_disk": 40,
    })
}

fn with(field: &str, value: impl Into<Value>) -> Value {
    let mut body = good();
    body[field] = value.into();
    body
}

fn without(field: &str) -> Value {
    let mut body = good();
    body.as_object_mut().unwrap().remove(field);
    body
}

#[tokio::test]
async fn tokens_are_for_the_right_password_and_last_a_day() {
    let cloud = Cloud::start().await;
    let login = cloud.login_body();
    let answer = cloud.post_plain("v3/auth/tokens", login.to_string()).await;
    let (_, body) = self::answer(answer).await;
    assert_eq!(body["token"]["project"]["id"], cloud.sandbox.project_id());
    let parse = |name: &str| {
        let text = body["token"][name].as_str().unwrap();
        let format = time::format_description::well_known::Rfc3339;
        OffsetDateTime::parse(text, &format).unwrap()
    };
    assert_eq!((parse("expires_at") - parse("issued_at")).whole_hours(), 24);

    for (field, value) in [
        ("/auth/identity/password/user/password", "wrong"),
        ("/auth/identity/password/user/name", "nobody"),
        ("/auth/identity/password/user/domain/name", "elsewhere"),
        ("/auth/scope/project/name", "elsewhere-1"),
    ] {
        let mut wrong = login.clone();
        *wrong.pointer_mut(field).unwrap() = value.into();
        let refused = cloud.post_plain("v3/auth/tokens", wrong.to_string()).await;
        let (status, body) = self::answer(refused).await;
        assert_eq!(status, 401, "{field}");
        assert_eq!(body["error"]["code"], 401);
        assert_eq!(body["error"]["title"], "Unauthorized");
    }
    let refused = cloud.post_plain("v3/auth/tokens", "{".to_owned()).await;
    assert_eq!(refused.status(), 400);
}

#[tokio::test]
async fn tokens_end_and_unknown_ones_are_refused() {
    let cloud = Cloud::start_with(|options| options.token_lifetime = Duration::ZERO).await;
    for token in [cloud.token.as_str(), "unknown", ""] {
        let path = "v3/projects";
        let (status, body) = cloud.send(Method::GET, path, token, String::new()).await;
        assert_eq!(status, 401);
        assert_eq!(body["error_code"], "APIGW.0301");
        assert!(
            body["error_msg"]
                .as_str()
                .unwrap()
                .contains("decrypt token fail")
        );
        assert_eq!(body["request_id"].as_str().unwrap().len(), 32);
    }
}

#[tokio::test]
async fn a_token_without_a_project_cannot_import() {
    let cloud = Cloud::start().await;
    let mut login = cloud.login_body();
    login["auth"].as_object_mut().unwrap().remove("scope");
    let answer = cloud.post_plain("v3/auth/tokens", login.to_string()).await;
    let token = answer.headers()["x-subject-token"].to_str().unwrap();
    let get = |path: &'static str| cloud.send(Method::GET, path, token, String::new());
    assert_eq!(get("v3/projects").await.0, 200);
    let (status, body) = get("v2/cloudimages").await;
    assert_eq!((status, &body["error"]["code"]), (400, &json!("IMG.0030")));
}

#[tokio::test]
async fn the_project_is_found_by_the_name_of_its_region() {
    let cloud = Cloud::start().await;
    let (_, found) = cloud.get("v3/projects?name=sandbox-1").await;
    assert_eq!(found["projects"][0]["id"], cloud.sandbox.project_id());
    assert_eq!(found["projects"].as_array().unwrap().len(), 1);
    let (_, none) = cloud.get("v3/projects?name=elsewhere").await;
    assert_eq!(none["projects"], json!([]));
    let (_, domains) = cloud.get("v3/auth/domains").await;
    assert_eq!(domains["domains"][0]["name"], cloud.sandbox.domain());
}

#[tokio::test]
async fn signatures_are_checked() {
    let cloud = Cloud::start().await;
    let key = cloud.sandbox.access_key().clone();
    let path = "v3/projects?name=sandbox-1";
    let (status, body) = cloud.signed(&key, path, |_| {}).await;
    assert_eq!(status, 200, "{body}");

    let wrong = AccessKey {
        secret: "wrong".into(),
        ..key.clone()
    };
    let unknown = AccessKey {
        id: "NOBODY".to_owned(),
        ..key.clone()
    };
    let session = AccessKey {
        session_token: Some("made-up".into()),
        ..key.clone()
    };
    for (key, expected) in [
        (
            &wrong,
            "verify aksk signature fail,canonicalRequest:GET|/v3/projects/|name=sandbox-1|host:",
        ),
        (&unknown, "Get secretKey failed"),
        (&session, "verify security token fail"),
    ] {
        let (status, body) = cloud.signed(key, path, |_| {}).await;
        assert_eq!(status, 401);
        assert_eq!(body["error_code"], "APIGW.0301");
        let message = body["error_msg"].as_str().unwrap();
        assert!(message.contains(expected), "{message}");
        assert!(!message.contains(key.secret.expose_secret()));
    }
    let tampered = |request: &mut Request| request.url.set_query(Some("name=other"));
    assert_eq!(cloud.signed(&key, path, tampered).await.0, 401);
    let tampered = |request: &mut Request| request.body = "{}".into();
    assert_eq!(cloud.signed(&key, path, tampered).await.0, 401);
    let foreign = |request: &mut Request| {
        let project = "0".repeat(32).parse().unwrap();
        request.headers.insert("x-project-id", project);
    };
    assert_eq!(cloud.signed(&key, path, foreign).await.0, 401);
    let unsigned = |request: &mut Request| request.headers.clear();
    let (status, body) = cloud.signed(&key, path, unsigned).await;
    assert_eq!((status, &body["error_code"]), (401, &json!("APIGW.0301")));
}

#[tokio::test]
async fn temporary_keys_work_only_with_their_session_token() {
    let cloud = Cloud::start().await;
    let ask = |seconds: u64| {
        json!({"auth": {"identity": {
            "methods": ["token"],
            "token": {"duration_seconds": seconds},
        }}})
    };
    let path = "v3.0/OS-CREDENTIAL/securitytokens";
    let send = |seconds| cloud.send(Method::POST, path, &cloud.token, ask(seconds).to_string());
    let (status, body) = send(900).await;
    assert_eq!(status, 201, "{body}");
    assert_eq!(send(899).await.0, 400);
    let text = |name: &str| body["credential"][name].as_str().unwrap().to_owned();
    let key = AccessKey {
        id: text("access"),
        secret: text("secret").into(),
        session_token: Some(text("securitytoken").into()),
    };
    assert_eq!(cloud.signed(&key, "v3/projects", |_| {}).await.0, 200);
    assert!(cloud.head_bucket(&key).await);
    let alone = AccessKey {
        session_token: None,
        ..key
    };
    assert_eq!(cloud.signed(&alone, "v3/projects", |_| {}).await.0, 401);
    assert!(!cloud.head_bucket(&alone).await);
}

#[tokio::test]
async fn imports_that_break_a_rule_get_its_documented_code() {
    let cloud = Cloud::start().await;
    cloud.put_vector("tiny", "disk.zvhd2");
    let tags = |tags: Value| with("tags", tags);
    let objects = |tags: Value| with("image_tags", tags);
    let many: Vec<_> = (0..11).map(|i| format!("k{i}.v")).collect();
    let mut both = tags(json!(["a.b"]));
    both["image_tags"] = json!([{"key": "c", "value": "d"}]);
    let mut data = with("type", "DataImage");
    data["min_disk"] = json!(2049);
    let mut data_os = with("type", "DataImage");
    data_os["os_type"] = json!("Plan9");
    for (body, code) in [
        (json!([]), "IMG.0001"),
        (with("name", 7), "IMG.0001"),
        (with("tags", "a.b"), "IMG.0001"),
        (with("name", "x".repeat(129)), "IMG.0002"),
        (with("name", " demo"), "IMG.0003"),
        (with("name", "de/mo"), "IMG.0003"),
        (with("description", "x".repeat(1025)), "IMG.0004"),
        (without("name"), "IMG.0013"),
        (with("name", ""), "IMG.0013"),
        (without("image_url"), "IMG.0017"),
        (with("image_url", "images.disk.zvhd2"), "IMG.0017"),
        (with("image_url", "images:"), "IMG.0017"),
        (with("type", "Toaster"), "IMG.0024"),
        (with("description", "a <b>"), "IMG.0054"),
        (without("min_disk"), "IMG.0055"),
        (with("min_disk", 0), "IMG.0055"),
        (with("min_disk", 1025), "IMG.0055"),
        (with("min_disk", "40"), "IMG.0055"),
        (with("min_disk", 40.5), "IMG.0055"),
        (data, "IMG.0055"),
        (with("os_version", " x"), "IMG.0056"),
        (with("image_url", "images:none.zvhd2"), "IMG.0057"),
        (with("image_url", "images:../../keys.json"), "IMG.0057"),
        (with("image_url", ":disk.zvhd2"), "IMG.0068"),
        (with("image_url", "nothing:disk.zvhd2"), "IMG.0069"),
        (with("image_url", "No_Bucket:disk.zvhd2"), "IMG.0109"),
        (tags(json!(["nodot"])), "IMG.0115"),
        (tags(json!([".v"])), "IMG.0115"),
        (tags(json!(["a b.c"])), "IMG.0115"),
        (tags(json!([format!("{}.v", "k".repeat(37))])), "IMG.0115"),
        (tags(json!([format!("k.{}", "v".repeat(44))])), "IMG.0115"),
        (tags(json!(["a.b", "a.c"])), "IMG.0115"),
        (objects(json!([{"key": "a=b", "value": ""}])), "IMG.0115"),
        (objects(json!([{"key": "a"}])), "IMG.0115"),
        (both, "IMG.0115"),
        (tags(json!(many)), "IMG.0116"),
        (data_os, "IMG.0122"),
        (with("hw_firmware_type", "coreboot"), "IMG.0141"),
        (without("os_version"), "IMG.0159"),
        (with("image_url", "images:my disk.zvhd2"), "IMG.0175"),
        (with("architecture", "vax"), "IMG.0212"),
    ] {
        let (status, answer) = cloud.import(&body).await;
        assert_eq!(status, 400, "{body}");
        assert_eq!(answer["error"]["code"], code, "{body}");
        assert!(!answer["error"]["message"].as_str().unwrap().is_empty());
    }
    for (body, code) in [("", "IMG.0007"), (" \n", "IMG.0007"), ("{", "IMG.0001")] {
        let (status, answer) = cloud.import_text(body.to_owned()).await;
        assert_eq!((status, &answer["error"]["code"]), (400, &json!(code)));
    }
    assert!(cloud.sandbox.images().is_empty());
}

#[tokio::test]
async fn empty_objects_and_other_storage_classes_are_refused() {
    let cloud = Cloud::start().await;
    cloud.put("empty", b"");
    std::fs::write(cloud.object_path("cold-bucket", "disk"), b"x").unwrap();
    for (url, reason) in [
        ("images:empty", "it is empty"),
        (
            "cold-bucket:disk",
            "the storage class of the bucket is GLACIER",
        ),
    ] {
        let (_, answer) = cloud.import(&with("image_url", url)).await;
        assert_eq!(answer["error"]["code"], "IMG.0057");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains(reason), "{message}");
    }
}

#[tokio::test]
async fn good_images_become_active_with_the_digest_of_their_content() {
    let cloud = Cloud::start().await;
    for (vector, digest, min_disk) in [
        ("tiny", TINY, 1),
        ("tiny-zlib", TINY, 1),
        ("empty", EMPTY, 1),
        ("sparse-130g", SPARSE_130G, 131),
    ] {
        cloud.put_vector(vector, "disk.zvhd2");
        let mut body = with("name", vector);
        body["min_disk"] = json!(min_disk);
        body["image_tags"] = json!([{"key": "made by", "value": "test"}]);
        let job = cloud.import_and_wait(&body).await;
        assert_eq!(job["status"], "SUCCESS", "{job}");
        assert_eq!(job["job_type"], "imsImportImageJob");
        assert_eq!(
            (&job["error_code"], &job["fail_reason"]),
            (&Value::Null, &Value::Null)
        );
        assert_eq!(job["entities"]["process_percent"], 1.0);
        assert_eq!(job["entities"]["results"][0]["status"], "success");
        let id = job["entities"]["image_id"].as_str().unwrap();

        let (_, listed) = cloud.get(&format!("v2/cloudimages?id={id}")).await;
        assert_eq!(listed["images"].as_array().unwrap().len(), 1);
        let image = &listed["images"][0];
        assert_eq!(image["name"], vector);
        assert_eq!(image["status"], "active");
        assert_eq!(image["min_disk"], min_disk);
        assert_eq!(image["__imgferry_content_digest"], digest);
        assert_eq!(image["__os_version"], "CentOS 7.0 64bit");
        assert_eq!(image["hw_firmware_type"], "bios");
        assert_eq!(image["virtual_env_type"], "FusionCompute");
        assert_eq!(image["tags"], json!(["made by.test"]));
        let file = vectors::vector(vector).unwrap();
        let object_size = std::fs::metadata(file.path()).unwrap().len();
        assert_eq!(image["__image_size"], object_size.to_string());

        let images = cloud.sandbox.images();
        let record = images.iter().find(|image| image.id == id).unwrap();
        assert_eq!(record.content_digest.as_deref(), Some(digest));
        assert_eq!(record.virtual_size, Some(file.virtual_size));
        assert_eq!(record.object_size, object_size);
    }
    let tmp = std::fs::read_dir(cloud.dir.path().join("sandbox/tmp")).unwrap();
    assert_eq!(tmp.count(), 0);
}

/// The content digest of a real disk, and the disk as ZVHD2.
fn debian_tree() -> (String, Vec<u8>) {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../testdata/debian-tree.qcow2"
    );
    let disk = convert::open(path.as_ref(), None).unwrap().image;
    let disk = disk.as_ref();
    let cancel = CancelToken::new();
    let digest = convert::digest(disk, 2, &VoidMonitor, &cancel).unwrap();
    let plan = convert::plan(disk, Target::Zvhd2, &PlanOptions::default()).unwrap();
    let identity = zvhd2::Identity {
        uuid: [7; 16],
        timestamp: 0,
    };
    let mut bytes = Vec::new();
    convert::to_zvhd2(disk, &plan, identity, &mut bytes, &VoidMonitor, &cancel).unwrap();
    (digest.to_string(), bytes)
}

#[tokio::test]
async fn the_digest_of_an_image_is_that_of_the_disk_it_was_converted_from() {
    let cloud = Cloud::start().await;
    let (digest, bytes) = debian_tree();
    cloud.put("disk.zvhd2", bytes);
    let job = cloud.import_and_wait(&good()).await;
    assert_eq!(job["status"], "SUCCESS", "{job}");
    let images = cloud.sandbox.images();
    assert_eq!(images[0].content_digest, Some(digest));
}

#[tokio::test]
async fn data_images_and_arm_images_have_their_own_attributes() {
    let cloud = Cloud::start().await;
    cloud.put_vector("tiny", "disk.zvhd2");
    let mut data = without("os_version");
    data["type"] = json!("DataImage");
    let job = cloud.import_and_wait(&data).await;
    assert_eq!(job["job_type"], "imsImportDataImageJob");
    let mut arm = with("architecture", "arm");
    arm["name"] = json!("arm");
    cloud.import_and_wait(&arm).await;
    let images = cloud.sandbox.images();
    assert_eq!(images[0].image_type, ImageType::DataImage);
    assert_eq!(images[0].os_version, None);
    assert_eq!(images[1].hw_firmware_type, "uefi");
    let (_, listed) = cloud.get("v2/cloudimages?name=demo").await;
    assert_eq!(listed["images"][0]["virtual_env_type"], "DataImage");
}

#[tokio::test]
async fn damaged_and_foreign_files_fail_the_job_with_the_reason() {
    let cloud = Cloud::start().await;
    let read = |name: &str| std::fs::read(vectors::vector(name).unwrap().path()).unwrap();
    let good = read("tiny");
    // The length in the header of the first data block.
    let mut header = good.clone();
    header[4096 + 13] ^= 0x40;
    // In the middle of a compressed frame, whose checksum tells.
    let mut flipped = debian_tree().1;
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x40;
    let mut cut = good.clone();
    cut.truncate(good.len() - 4096);
    for (name, bytes, code, says) in [
        ("header", header, "IMG.1075", "at byte 4096 ("),
        ("flipped", flipped, "IMG.1075", "data block"),
        ("cut", cut, "IMG.1075", "truncated"),
        ("version1", read("tiny-v1"), "IMG.0158", "neither ZVHD2"),
        (
            "text",
            b"no disk\n".repeat(999),
            "IMG.0158",
            "neither ZVHD2",
        ),
    ] {
        cloud.put("disk.zvhd2", bytes);
        let job = cloud.import_and_wait(&with("name", name)).await;
        assert_eq!(job["status"], "FAIL", "{name}");
        assert_eq!(job["error_code"], code);
        let reason = job["fail_reason"].as_str().unwrap();
        assert!(reason.contains(says), "{name}: {reason}");
        let place = cloud.dir.path().to_str().unwrap();
        assert!(!reason.contains(place), "{reason}");
        assert_ne!(job["end_time"], "");
        let (_, listed) = cloud.get(&format!("v2/cloudimages?name={name}")).await;
        assert_eq!(listed["images"][0]["status"], "killed");
        let digest = &listed["images"][0]["__imgferry_content_digest"];
        assert_eq!(digest, &Value::Null);
    }
}

#[tokio::test]
async fn an_object_that_is_deleted_before_its_job_fails_the_job() {
    let delay = |options: &mut Options| options.faults.job_delay = Duration::from_millis(300);
    let cloud = Cloud::start_with(delay).await;
    cloud.put_vector("tiny", "disk.zvhd2");
    let (_, answer) = cloud.import(&good()).await;
    std::fs::remove_file(cloud.object_path("images", "disk.zvhd2")).unwrap();
    let job = cloud.wait(answer["job_id"].as_str().unwrap()).await;
    assert_eq!(
        (&job["status"], &job["error_code"]),
        (&json!("FAIL"), &json!("IMG.0057"))
    );
    let reason = job["fail_reason"].as_str().unwrap();
    assert!(reason.contains("images:disk.zvhd2"), "{reason}");
}

#[tokio::test]
async fn a_disk_larger_than_min_disk_fails_the_job() {
    let cloud = Cloud::start().await;
    // Some MiB more than 130 GiB.
    cloud.put_vector("sparse-130g", "disk.zvhd2");
    let job = cloud.import_and_wait(&with("min_disk", 130)).await;
    assert_eq!(job["status"], "FAIL");
    assert_eq!(job["error_code"], "IMG.0055");
    let reason = job["fail_reason"].as_str().unwrap();
    assert!(reason.contains("min_disk (130 GiB)"), "{reason}");
}

#[tokio::test]
async fn names_are_unique_among_images_that_did_not_fail() {
    let cloud = Cloud::start().await;
    cloud.put("disk.zvhd2", b"no disk");
    let job = cloud.import_and_wait(&good()).await;
    assert_eq!(job["status"], "FAIL");
    cloud.put_vector("tiny", "disk.zvhd2");
    let job = cloud.import_and_wait(&good()).await;
    assert_eq!(job["status"], "SUCCESS");
    let (status, answer) = cloud.import(&good()).await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (400, &json!("IMG.0009"))
    );
}

#[tokio::test]
async fn the_quota_counts_and_deleting_makes_room() {
    let cloud = Cloud::start_with(|options| options.image_quota = 1).await;
    cloud.put_vector("tiny", "disk.zvhd2");
    let job = cloud.import_and_wait(&good()).await;
    let (_, quota) = cloud.get("v1/cloudimages/quota").await;
    assert_eq!(quota["quotas"]["resources"][0]["used"], 1);
    let (_, answer) = cloud.import(&with("name", "second")).await;
    assert_eq!(answer["error"]["code"], "IMG.0015");
    let id = job["entities"]["image_id"].as_str().unwrap();
    let path = format!("v2/images/{id}");
    let delete = || cloud.send(Method::DELETE, &path, &cloud.token, String::new());
    assert_eq!(delete().await.0, 204);
    assert_eq!(delete().await.0, 404);
    assert_eq!(cloud.import(&with("name", "second")).await.0, 200);
}

#[tokio::test]
async fn images_survive_a_restart_and_unfinished_jobs_are_done_again() {
    let cloud = Cloud::start().await;
    cloud.put_vector("tiny", "disk.zvhd2");
    cloud.import_and_wait(&good()).await;
    let cloud = cloud
        .restart(|options| options.faults.job_delay = Duration::from_secs(3600))
        .await;
    let (_, answer) = cloud.import(&with("name", "second")).await;
    let job_id = answer["job_id"].as_str().unwrap().to_owned();
    let (_, job) = cloud.get(&format!("v1/cloudimages/job/{job_id}")).await;
    assert_eq!(job["status"], "INIT");
    assert_eq!(cloud.sandbox.images()[1].status, ImageStatus::Queued);

    let cloud = cloud.restart(|_| {}).await;
    let job = cloud.wait(&job_id).await;
    assert_eq!(job["status"], "SUCCESS");
    let digests: Vec<_> = cloud
        .sandbox
        .images()
        .into_iter()
        .map(|image| image.content_digest.unwrap())
        .collect();
    assert_eq!(digests, [TINY, TINY]);
}

#[tokio::test]
async fn ordered_faults_refuse_imports_and_fail_jobs() {
    let cloud = Cloud::start_with(|options| {
        options.faults = Faults {
            flow_control: 2,
            fail_jobs: Some("no backend".to_owned()),
            ..Faults::default()
        };
    })
    .await;
    cloud.put_vector("tiny", "disk.zvhd2");
    for _ in 0..2 {
        let (status, answer) = cloud.import(&good()).await;
        assert_eq!(
            (status, &answer["error"]["code"]),
            (400, &json!("IMG.0060"))
        );
    }
    let job = cloud.import_and_wait(&good()).await;
    assert_eq!(job["status"], "FAIL");
    assert_eq!(job["fail_reason"], "no backend");
}

#[tokio::test]
async fn what_does_not_exist_is_404_and_large_bodies_are_refused() {
    let cloud = Cloud::start().await;
    let (status, body) = cloud.get("v9/nothing").await;
    assert_eq!((status, &body["error_code"]), (404, &json!("APIGW.0101")));
    let project = cloud.sandbox.project_id();
    assert_eq!(cloud.get(&format!("v1/{project}/jobs/none")).await.0, 404);
    assert_eq!(cloud.get("v1/cloudimages/job/none").await.0, 404);
    let (status, body) = cloud.get("v1/elsewhere/jobs/none").await;
    assert_eq!((status, &body["error"]["code"]), (400, &json!("IMG.0067")));
    assert_eq!(cloud.import_text(" ".repeat(2 << 20)).await.0, 413);
    // Nested deeper than a parser's stack should follow.
    let (status, _) = cloud.import_text("[".repeat(500_000)).await;
    assert_eq!(status, 400);
    let (_, versions) = cloud.get("v1/cloudimages/os_version").await;
    assert!(!versions.as_array().unwrap().is_empty());
}

#[tokio::test]
async fn the_environment_holds_what_a_client_needs() {
    let cloud = Cloud::start().await;
    let names: Vec<_> = cloud
        .sandbox
        .environment()
        .into_iter()
        .map(|(name, value)| {
            assert!(!value.is_empty());
            name
        })
        .collect();
    assert_eq!(
        names,
        [
            "HW_ACCESS_KEY",
            "HW_SECRET_KEY",
            "HW_REGION_NAME",
            "HW_PROJECT_ID",
            "IMGFERRY_OBS_ENDPOINT",
            "IMGFERRY_IAM_ENDPOINT",
            "IMGFERRY_IMS_ENDPOINT",
        ]
    );
}

/// A raw disk of 40 MiB with data at both ends, as an object; the bitmap that it must have.
fn put_raw_disk(cloud: &Cloud) -> Vec<u8> {
    use std::os::unix::fs::FileExt as _;
    let size = 40 << 20;
    let disk = std::fs::File::create(cloud.object_path("images", "disk.raw")).unwrap();
    disk.set_len(size).unwrap();
    disk.write_all_at(b"begin", 7).unwrap();
    disk.write_all_at(b"end", size - 3).unwrap();
    let mut bitmap = vec![0; 4096];
    // Blocks 0 and 19.
    (bitmap[0], bitmap[2]) = (1, 8);
    bitmap
}

#[tokio::test]
async fn a_raw_disk_with_its_bitmap_becomes_active_with_its_digest() {
    let cloud = Cloud::start().await;
    let bitmap = put_raw_disk(&cloud);
    cloud.put("disk.mf", bitmap);
    let body = with("image_url", "images:disk.raw");
    let job = cloud.import_and_wait(&body).await;
    assert_eq!(job["status"], "SUCCESS", "{job}");
    let (_, listed) = cloud.get("v2/cloudimages?name=demo").await;
    let image = &listed["images"][0];
    assert_eq!(image["disk_format"], "raw");
    let path = cloud.object_path("images", "disk.raw");
    let opened = convert::open(&path, Some(diskimg::Format::Raw)).unwrap();
    let cancel = CancelToken::new();
    let digest = convert::digest(opened.image.as_ref(), 2, &VoidMonitor, &cancel).unwrap();
    assert_eq!(image["__imgferry_content_digest"], digest.to_string());
}

#[tokio::test]
async fn a_raw_disk_without_its_bitmap_is_refused() {
    let cloud = Cloud::start().await;
    let bitmap = put_raw_disk(&cloud);
    // Beside it, but with another base name; and empty.
    cloud.put("other.mf", bitmap);
    for empty in [false, true] {
        if empty {
            cloud.put("disk.mf", b"");
        }
        let (status, answer) = cloud.import(&with("image_url", "images:disk.raw")).await;
        assert_eq!(status, 400, "{answer}");
        assert!(answer.to_string().contains("IMG.0158"), "{answer}");
    }
}

#[tokio::test]
async fn a_bitmap_that_does_not_match_its_disk_fails_the_job() {
    let cloud = Cloud::start().await;
    let good = put_raw_disk(&cloud);
    let mut missing = good.clone();
    missing[0] = 0;
    let mut extra = good.clone();
    extra[100] = 1;
    for (name, bitmap, says) in [
        ("missing", missing, "not marked and hold data: 1"),
        ("extra", extra, "marked and hold none: 1"),
        ("long", good.repeat(2), "it has 8192 bytes, expected 4096"),
        ("foreign", b"<manifest/>".to_vec(), "zvhd2-section"),
    ] {
        cloud.put("disk.mf", bitmap);
        let mut body = with("image_url", "images:disk.raw");
        body["name"] = name.into();
        let job = cloud.import_and_wait(&body).await;
        assert_eq!(job["error_code"], "IMG.0158", "{name}");
        let reason = job["fail_reason"].as_str().unwrap();
        assert!(reason.contains(says), "{name}: {reason}");
    }
}
