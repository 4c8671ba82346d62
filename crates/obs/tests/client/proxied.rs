//! Uploads to the sandbox through a proxy that goes wrong: the server checks signatures and keeps
//! what it got.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use net::credentials::{Fetching, KeySource, Keys, Lease};
use net::retry::Policy;
use net::secret::AccessKey;
use obs::parts::{Schedule, Tier};
use obs::{Client, Config, Error, ErrorKind, Layout, Limits, UploadOptions, Uploaded};
use sandbox::{Options, Sandbox};
use tempfile::TempDir;
use testkit::faults::{Fault, Op, Proxy, Seen, mix};

use super::fake::{config, content};

pub(super) const BUCKET: &str = "images";
pub(super) const KEY: &str = "disks/a disk.zvhd2";
const PART: u64 = 100 << 10;

/// The smallest parts that the server takes.
pub(super) const SMALL: Layout = Layout::Stream(Schedule::new(&[Tier {
    parts: 100,
    size: PART,
}]));

pub(super) struct Cloud {
    sandbox: Sandbox,
    config: Config,
    pub(super) proxy: Proxy,
    pub(super) client: Client,
    dir: TempDir,
}

impl Cloud {
    pub(super) async fn start() -> Self {
        Self::with(|config, _| config).await
    }

    /// With another configuration of the client.
    pub(super) async fn with(adjust: impl FnOnce(Config, AccessKey) -> Config) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut options = Options::new(dir.path());
        options.buckets = vec![BUCKET.to_owned()];
        let sandbox = Sandbox::start(options).await.unwrap();
        let server = sandbox.obs_endpoint().socket_addrs(|| None).unwrap()[0];
        let proxy = Proxy::start(server).await.unwrap();
        let config = Config {
            region: sandbox.region().to_owned(),
            keys: sandbox.access_key().clone().into(),
            ..config(&proxy.url())
        };
        let config = adjust(config, sandbox.access_key().clone());
        let client = Client::new(config.clone()).unwrap();
        Self {
            sandbox,
            config,
            proxy,
            client,
            dir,
        }
    }

    /// A new proxy without rules, and a client of it: what it sees was sent from now on. Requests
    /// of the client before may still be on their way to the old one, however slow the machine is.
    pub(super) async fn renew_proxy(&mut self) {
        let server = self.sandbox.obs_endpoint().socket_addrs(|| None).unwrap()[0];
        self.proxy = Proxy::start(server).await.unwrap();
        self.config.endpoint = self.proxy.url().parse().unwrap();
        self.client = Client::new(self.config.clone()).unwrap();
    }

    /// Where the server keeps the objects of the bucket.
    pub(super) fn bucket_dir(&self) -> std::path::PathBuf {
        self.dir.path().join("obs").join(BUCKET)
    }

    /// What the server has stored, as its file.
    pub(super) fn stored(&self, key: &str) -> Option<Vec<u8>> {
        std::fs::read(self.path_of(key)).ok()
    }

    /// Stores a small object as it is.
    pub(super) async fn put(&self, key: &str, bytes: &[u8]) {
        let put = self
            .client
            .put_object(BUCKET, key, bytes.to_vec().into(), "text/plain");
        put.await.unwrap();
    }

    /// The object's file.
    pub(super) fn path_of(&self, key: &str) -> PathBuf {
        self.dir.path().join("obs").join(BUCKET).join(key)
    }

    pub(super) async fn upload(&self, bytes: &[u8]) -> Result<Uploaded, Error> {
        self.upload_with(bytes, UploadOptions::default()).await
    }

    /// Finds out how many parts at the same time pay, up to `most`.
    pub(super) async fn upload_adaptive(
        &self,
        bytes: &[u8],
        most: usize,
    ) -> Result<Uploaded, Error> {
        let options = UploadOptions {
            max_in_flight: most,
            adaptive: true,
            ..UploadOptions::default()
        };
        self.upload_with(bytes, options).await
    }

    async fn upload_with(&self, bytes: &[u8], options: UploadOptions) -> Result<Uploaded, Error> {
        let options = UploadOptions {
            memory: (options.max_in_flight as u64 + 2) * PART,
            expected_max: bytes.len() as u64,
            layout: SMALL,
            ..options
        };
        let (mut sink, mut upload) = self.client.start_upload(BUCKET, KEY, &options).await?;
        let bytes = bytes.to_vec();
        let written = tokio::task::spawn_blocking(move || {
            use convert::Sink;
            sink.write(&bytes)
                .map_err(|error| error.downcast_ref::<Error>().unwrap().clone())?;
            sink.close()
        })
        .await
        .unwrap();
        let completed = upload.complete().await;
        written.and(completed)
    }
}

fn part_two(seen: &Seen) -> bool {
    seen.is_part(2)
}

/// Uploads with one fault, and expects the object to be right.
async fn gets_over(wanted: fn(&Seen) -> bool, fault: Fault, retries: u64) {
    let cloud = Cloud::start().await;
    cloud.proxy.once(wanted, fault.clone());
    let bytes = content(450_000);
    let uploaded = cloud.upload(&bytes).await;
    let uploaded = uploaded.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
    assert_eq!(uploaded.retries, retries, "{fault:?}");
    assert!(cloud.stored(KEY).unwrap() == bytes, "{fault:?}");
    let faults = cloud.proxy.passed();
    assert!(
        faults.iter().any(|p| p.fault.as_ref() == Some(&fault)),
        "{fault:?} never happened"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_faults_the_proxy_changes_nothing() {
    let cloud = Cloud::start().await;
    let bytes = content(450_000);
    let uploaded = cloud.upload(&bytes).await.unwrap();
    assert_eq!(
        (uploaded.size, uploaded.parts, uploaded.retries),
        (450_000, 5, 0)
    );
    assert!(cloud.stored(KEY).unwrap() == bytes);
    assert_eq!(cloud.proxy.part_bytes(), 450_000);
    assert_eq!(cloud.proxy.count(Op::UploadPart), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fault_of_a_part_that_passes_costs_one_retry() {
    for fault in [
        Fault::internal_error(),
        Fault::slow_down(),
        Fault::too_many(),
        Fault::answer(502, ""),
        Fault::answer(504, ""),
        Fault::answer(408, "RequestTimeout"),
        Fault::answer(409, "OperationAborted"),
        Fault::ResetBefore,
        Fault::ResetInBody,
        Fault::ResetAfter,
        Fault::TruncatedAnswer,
        Fault::WrongEtag,
        Fault::LostAnswer,
        Fault::DamagedBody,
        Fault::error_in_200(),
    ] {
        gets_over(part_two, fault, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fault_of_completing_that_passes_ends_with_the_object() {
    for fault in [
        Fault::internal_error(),
        Fault::slow_down(),
        Fault::ResetBefore,
        Fault::ResetInBody,
        Fault::ResetAfter,
        Fault::TruncatedAnswer,
        Fault::LostAnswer,
        Fault::error_in_200(),
    ] {
        gets_over(|seen| seen.op == Op::CompleteUpload, fault, 0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_mixes_of_faults_end_with_the_right_object_or_a_clear_error() {
    let runs: u64 = std::env::var("IMGFERRY_FAULT_RUNS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(200);
    let cloud = Cloud::with(|config, _| Config {
        retry: Policy {
            max_attempts: 5,
            ..config.retry
        },
        ..config
    })
    .await;
    let bytes = content(450_000);
    let mut retries = 0;
    for seed in 0..runs {
        cloud.proxy.heal();
        cloud.proxy.forget();
        cloud.proxy.script(mix(seed, 35, 3));
        let uploaded = cloud.upload(&bytes).await;
        let uploaded = uploaded.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert!(cloud.stored(KEY).unwrap() == bytes, "seed {seed}");
        retries += uploaded.retries;
    }
    assert!(retries > runs / 2, "{retries} retries prove nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_are_sent_once_and_say_what_to_do() {
    for (fault, kind, hint) in [
        (
            Fault::redirect(),
            ErrorKind::WrongRegion,
            "images.obs.elsewhere-1.example.com",
        ),
        (
            Fault::answer(403, "AccessDenied"),
            ErrorKind::AccessDenied,
            "PutObject",
        ),
        (
            Fault::answer(403, "SignatureDoesNotMatch"),
            ErrorKind::Auth,
            "HW_SECRET_KEY",
        ),
        (
            Fault::answer(403, "InvalidAccessKeyId"),
            ErrorKind::Auth,
            "HW_ACCESS_KEY",
        ),
        (
            Fault::answer(404, "NoSuchBucket"),
            ErrorKind::NotFound,
            "region",
        ),
    ] {
        let cloud = Cloud::start().await;
        cloud.proxy.always(part_two, fault.clone());
        let error = cloud.upload(&content(250_000)).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{fault:?}: {error}");
        assert!(
            error.hint().unwrap().to_string().contains(hint),
            "{:?}",
            error.hint()
        );
        let sent = cloud.proxy.passed();
        assert_eq!(sent.iter().filter(|p| p.seen.is_part(2)).count(), 1);
    }
}

/// Limits that a test can wait for.
pub(super) fn impatient(config: Config, _: AccessKey) -> Config {
    Config {
        limits: Limits {
            stall: Duration::from_millis(300),
            request: Duration::from_millis(500),
            complete: Duration::from_millis(500),
            slowest: (1 << 30).try_into().unwrap(),
            ..config.limits
        },
        ..config
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_of_which_nothing_moves_is_given_up_and_sent_again() {
    for fault in [
        Fault::StallInBody,
        Fault::Stall,
        Fault::StallAfter,
        Fault::StallInAnswer,
    ] {
        let cloud = Cloud::with(impatient).await;
        cloud.proxy.once(part_two, fault.clone());
        let bytes = content(450_000);
        let started = Instant::now();
        let uploaded = cloud.upload(&bytes).await.unwrap();
        assert_eq!(uploaded.retries, 1, "{fault:?}");
        assert!(cloud.stored(KEY).unwrap() == bytes);
        // Long before the time limit of a whole attempt.
        assert!(started.elapsed() < testkit::measure::HANG, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stall_of_any_other_request_ends_with_its_time_limit() {
    for fault in [Fault::Stall, Fault::StallAfter, Fault::StallInAnswer] {
        for op in [Op::CreateUpload, Op::CompleteUpload, Op::HeadObject] {
            let cloud = Cloud::with(impatient).await;
            cloud.proxy.once(move |seen| seen.op == op, fault.clone());
            let bytes = content(150_000);
            let uploaded = cloud.upload(&bytes).await;
            uploaded.unwrap_or_else(|error| panic!("{fault:?} {op:?}: {error}"));
            assert!(cloud.stored(KEY).unwrap() == bytes);
        }
    }
}

/// Hands out a key that the server does not know, and then the right one.
#[derive(Debug)]
pub(super) struct Renewed {
    pub(super) key: AccessKey,
    pub(super) fetched: Arc<AtomicU32>,
    pub(super) good_from: u32,
}

impl KeySource for Renewed {
    fn fetch(&self) -> Fetching<'_> {
        Box::pin(async {
            let number = self.fetched.fetch_add(1, Ordering::Relaxed);
            let mut key = self.key.clone();
            if number < self.good_from {
                key.id = format!("OLD{number}");
            }
            Ok(Lease {
                key,
                expires_at: None,
            })
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_end_during_an_upload_are_read_again_and_the_part_is_sent_again() {
    let fetched = Arc::<AtomicU32>::default();
    let cloud = Cloud::with(|config, key| {
        let source = Renewed {
            key,
            fetched: Arc::clone(&fetched),
            good_from: 1,
        };
        Config {
            keys: Keys::renewed(source),
            ..config
        }
    })
    .await;
    // The very first key is unknown to the server; later the service calls a good one ended.
    cloud.proxy.once(part_two, Fault::expired_token());
    let bytes = content(450_000);
    let uploaded = cloud.upload(&bytes).await.unwrap();
    assert!(cloud.stored(KEY).unwrap() == bytes);
    assert_eq!(uploaded.retries, 1);
    assert_eq!(fetched.load(Ordering::Relaxed), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_cannot_be_renewed_fail_at_once_when_they_end() {
    let cloud = Cloud::start().await;
    cloud.proxy.always(part_two, Fault::expired_token());
    let error = cloud.upload(&content(250_000)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth);
    assert!(
        error
            .hint()
            .unwrap()
            .to_string()
            .contains("HW_SECURITY_TOKEN")
    );
    let sent = cloud.proxy.passed();
    assert_eq!(sent.iter().filter(|p| p.seen.is_part(2)).count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_off_is_corrected_by_the_servers() {
    let cloud = Cloud::start().await;
    let skewed = Fault::clock_skew().header("Date", "Sun, 22 Nov 2026 01:30:45 GMT");
    cloud.proxy.once(|seen| seen.op == Op::CreateUpload, skewed);
    // The proxy's date is nonsense to the server behind it, which refuses what is signed with it
    // and tells the right one.
    cloud.upload(&content(1000)).await.unwrap();
    let sent = cloud.proxy.passed();
    let date = sent[1].seen.header("x-amz-date").unwrap();
    assert!(date.starts_with("20261122T01"), "{date}");
    let right = sent[2].seen.header("x-amz-date").unwrap();
    assert!(!right.starts_with("20261122T01"), "{right}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_limit_is_kept_by_all_parts_together() {
    let cloud = Cloud::with(|config, _| Config {
        rate_limit: 400_000.try_into().ok(),
        ..config
    })
    .await;
    let bytes = content(450_000);
    let started = Instant::now();
    cloud.upload(&bytes).await.unwrap();
    let took = started.elapsed().as_secs_f64();
    assert!(took > 1.0, "450 kB at 400 kB/s took {took} s");
    assert!(cloud.stored(KEY).unwrap() == bytes);
}
