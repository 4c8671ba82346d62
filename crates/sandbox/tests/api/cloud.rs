//! A sandbox with a bucket, and a client with a token.

use std::path::PathBuf;
use std::time::Duration;

use net::http::{Method, Request};
use net::secret::{AccessKey, ExposeSecret as _};
use sandbox::{Options, Sandbox};
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::vectors;
use time::OffsetDateTime;

/// A sandbox with a bucket, and a client with a token.
pub(crate) struct Cloud {
    pub(crate) dir: TempDir,
    pub(crate) sandbox: Sandbox,
    pub(crate) http: reqwest::Client,
    pub(crate) token: String,
}

/// Status, and the JSON body.
pub(crate) type Answer = (u16, Value);

impl Cloud {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Options)) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), change).await
    }

    pub(crate) async fn start_in(dir: TempDir, change: impl FnOnce(&mut Options)) -> Self {
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
    pub(crate) async fn restart(self, change: impl FnOnce(&mut Options)) -> Self {
        self.sandbox.shutdown().await;
        Self::start_in(self.dir, change).await
    }

    pub(crate) fn login_body(&self) -> Value {
        json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": {
                "name": self.sandbox.user(),
                "password": self.sandbox.password().expose_secret(),
                "domain": {"name": self.sandbox.domain()},
            }}},
            "scope": {"project": {"name": self.sandbox.region()}},
        }})
    }

    pub(crate) async fn post_plain(&self, path: &str, body: String) -> reqwest::Response {
        let url = self.sandbox.iam_endpoint().join(path).unwrap();
        self.http.post(url).body(body).send().await.unwrap()
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        token: &str,
        body: String,
    ) -> Answer {
        let url = self.sandbox.ims_endpoint().join(path).unwrap();
        let request = self.http.request(method, url).header("X-Auth-Token", token);
        answer(request.body(body).send().await.unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &self.token, String::new())
            .await
    }

    pub(crate) async fn import(&self, body: &Value) -> Answer {
        self.import_text(body.to_string()).await
    }

    pub(crate) async fn import_text(&self, body: String) -> Answer {
        let path = "v2/cloudimages/quickimport/action";
        self.send(Method::POST, path, &self.token, body).await
    }

    /// Signs with `key` as a client does, changes the request, and sends it.
    pub(crate) async fn signed(
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
    pub(crate) async fn head_bucket(&self, key: &AccessKey) -> bool {
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

    pub(crate) fn object_path(&self, bucket: &str, key: &str) -> PathBuf {
        self.dir.path().join("sandbox/obs").join(bucket).join(key)
    }

    pub(crate) fn put(&self, key: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.object_path("images", key), bytes).unwrap();
    }

    /// Stores a file of the test data as an object.
    pub(crate) fn put_vector(&self, name: &str, key: &str) {
        let file = vectors::vector(name).unwrap().path();
        self.put(key, std::fs::read(file).unwrap());
    }

    /// Waits until the job has ended; what it says then.
    pub(crate) async fn wait(&self, job_id: &str) -> Value {
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
    pub(crate) async fn import_and_wait(&self, body: &Value) -> Value {
        let (status, answer) = self.import(body).await;
        assert_eq!(status, 200, "{answer}");
        self.wait(answer["job_id"].as_str().unwrap()).await
    }
}

pub(crate) async fn answer(response: reqwest::Response) -> Answer {
    assert_eq!(response.headers()["x-request-id"].len(), 32);
    let status = response.status().as_u16();
    let body = response.text().await.unwrap();
    let json = serde_json::from_str(&body).unwrap_or(Value::String(body));
    (status, json)
}

/// An import that keeps all rules.
pub(crate) fn good() -> Value {
    json!({
        "name": "demo",
        "image_url": "images:disk.zvhd2",
        "os_version": "CentOS 7.0 64bit",
        "min_disk": 40,
    })
}

pub(crate) fn with(field: &str, value: impl Into<Value>) -> Value {
    let mut body = good();
    body[field] = value.into();
    body
}

pub(crate) fn without(field: &str) -> Value {
    let mut body = good();
    body.as_object_mut().unwrap().remove(field);
    body
}
