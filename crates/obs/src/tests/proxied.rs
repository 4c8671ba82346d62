//! Uploads to the sandbox through a proxy that goes wrong: the server checks signatures and keeps what it got.

use net::retry::Policy;
use sandbox::{Options, Sandbox};
use tempfile::TempDir;
use testkit::faults::{Fault, Op, Proxy, Seen, mix};

use super::fake::{config, content};
use crate::parts::{Schedule, Tier};
use crate::{Client, Config, Error, ErrorKind, UploadOptions, Uploaded};

pub(super) const BUCKET: &str = "images";
pub(super) const KEY: &str = "disks/a disk.zvhd2";
const PART: u64 = 100 << 10;

/// The smallest parts that the server takes.
pub(super) const SMALL: Schedule = Schedule::new(&[Tier {
    parts: 100,
    size: PART,
}]);

pub(super) struct Cloud {
    _sandbox: Sandbox,
    pub(super) proxy: Proxy,
    pub(super) client: Client,
    dir: TempDir,
}

impl Cloud {
    pub(super) async fn start() -> Self {
        Self::with(|config| config).await
    }

    /// With another configuration of the client.
    pub(super) async fn with(adjust: impl FnOnce(Config) -> Config) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut options = Options::new(dir.path());
        options.buckets = vec![BUCKET.to_owned()];
        let sandbox = Sandbox::start(options).await.unwrap();
        let server = sandbox.obs_endpoint().socket_addrs(|| None).unwrap()[0];
        let proxy = Proxy::start(server).await.unwrap();
        let config = Config {
            region: sandbox.region().to_owned(),
            access_key: sandbox.access_key().clone(),
            ..config(&proxy.url())
        };
        let client = Client::new(adjust(config)).unwrap();
        Self {
            _sandbox: sandbox,
            proxy,
            client,
            dir,
        }
    }

    /// What the server has stored, as its file.
    pub(super) fn stored(&self, key: &str) -> Option<Vec<u8>> {
        std::fs::read(self.dir.path().join("obs").join(BUCKET).join(key)).ok()
    }

    pub(super) async fn upload(&self, bytes: &[u8]) -> Result<Uploaded, Error> {
        let options = UploadOptions {
            memory: 4 * PART,
            expected_max: bytes.len() as u64,
            ..UploadOptions::default()
        };
        let (mut sink, mut upload) = self.client.start_with(BUCKET, KEY, &options, SMALL).await?;
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
    let cloud = Cloud::with(|config| Config {
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
        assert!(error.hint().unwrap().contains(hint), "{:?}", error.hint());
        let sent = cloud.proxy.passed();
        assert_eq!(sent.iter().filter(|p| p.seen.is_part(2)).count(), 1);
    }
}
