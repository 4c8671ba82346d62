//! Uploads of real size against the sandbox's S3 server, which checks signatures and keeps the
//! rules of OBS.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests"
)]

use std::time::Duration;

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use convert::Sink;
use net::retry::Policy;
use net::secret::{AccessKey, ExposeSecret};
use obs::{Client, Config, Error, ErrorKind, Found, MultipartSink, Trial, UploadOptions};
use sandbox::faults::Faults;
use sandbox::{Options, Sandbox};
use tempfile::TempDir;

const BUCKET: &str = "images";
const KEY: &str = "disks/a disk.zvhd2";
const MIB: usize = 1 << 20;

struct Cloud {
    sandbox: Sandbox,
    client: Client,
    _dir: TempDir,
}

async fn cloud(faults: Faults) -> Cloud {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::new(dir.path());
    options.buckets = vec![BUCKET.to_owned()];
    options
        .storage_classes
        .insert("cold-images".to_owned(), "GLACIER".to_owned());
    options.faults = faults;
    let sandbox = Sandbox::start(options).await.unwrap();
    let client = Client::new(config(&sandbox)).unwrap();
    Cloud {
        sandbox,
        client,
        _dir: dir,
    }
}

fn config(sandbox: &Sandbox) -> Config {
    Config {
        path_style: true,
        retry: Policy {
            max_attempts: 4,
            base_delay: Duration::from_millis(5),
            max_delay: Duration::from_millis(20),
            budget: Duration::from_secs(60),
        },
        ..Config::new(
            sandbox.obs_endpoint().clone(),
            sandbox.region(),
            sandbox.access_key().clone(),
        )
    }
}

/// A client of its own, to look at what ours left.
fn witness(sandbox: &Sandbox) -> aws_sdk_s3::Client {
    let AccessKey { id, secret, .. } = sandbox.access_key().clone();
    aws_sdk_s3::Client::from_conf(
        aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .endpoint_url(sandbox.obs_endpoint().as_str())
            .region(Region::new(sandbox.region().to_owned()))
            .credentials_provider(Credentials::new(
                id,
                secret.expose_secret(),
                None,
                None,
                "test",
            ))
            .force_path_style(true)
            .build(),
    )
}

async fn stored(sandbox: &Sandbox) -> Vec<u8> {
    let request = witness(sandbox).get_object().bucket(BUCKET).key(KEY);
    let answer = request.send().await.unwrap();
    answer.body.collect().await.unwrap().to_vec()
}

async fn open_uploads(sandbox: &Sandbox) -> usize {
    let request = witness(sandbox).list_multipart_uploads().bucket(BUCKET);
    request.send().await.unwrap().uploads().len()
}

fn content(len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| (i % 251) as u8 ^ (i / 65_521) as u8)
        .collect()
}

fn options(len: usize) -> UploadOptions {
    UploadOptions {
        memory: UploadOptions::least_memory(len as u64),
        expected_max: len as u64,
        ..UploadOptions::default()
    }
}

async fn write(mut sink: MultipartSink, bytes: Vec<u8>) -> Result<(), Error> {
    tokio::task::spawn_blocking(move || {
        for slice in bytes.chunks(2 * MIB) {
            sink.write(slice)
                .map_err(|error| error.downcast_ref::<Error>().unwrap().clone())?;
        }
        sink.close()
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_of_no_one_and_several_parts_arrive_unchanged() {
    let cloud = cloud(Faults::default()).await;
    for len in [0, 1, 8 * MIB, 8 * MIB + 1, 20 * MIB + 12_345] {
        let (sink, mut upload) = cloud
            .client
            .start_upload(BUCKET, KEY, &options(len))
            .await
            .unwrap();
        write(sink, content(len)).await.unwrap();
        let uploaded = upload.complete().await.unwrap();
        assert_eq!(uploaded.size, len as u64);
        assert_eq!(uploaded.parts as usize, len.div_ceil(8 * MIB).max(1));
        assert!(uploaded.etag_verified);
        assert!(stored(&cloud.sandbox).await == content(len), "{len}");

        let object = cloud.client.object(BUCKET, KEY).await.unwrap().unwrap();
        assert_eq!(object.size, len as u64);
        assert_eq!(object.etag.as_deref(), Some(uploaded.etag.as_str()));
    }
    assert_eq!(open_uploads(&cloud.sandbox).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn busy_server_and_lost_answer_do_not_stop_an_upload() {
    let cloud = cloud(Faults {
        upload_part_unavailable: vec![1, 3],
        complete_answer_lost: vec![1],
        ..Faults::default()
    })
    .await;
    let len = 20 * MIB;
    let (sink, mut upload) = cloud
        .client
        .start_upload(BUCKET, KEY, &options(len))
        .await
        .unwrap();
    write(sink, content(len)).await.unwrap();
    let uploaded = upload.complete().await.unwrap();
    assert_eq!(uploaded.retries, 2);
    assert!(stored(&cloud.sandbox).await == content(len));
    assert_eq!(open_uploads(&cloud.sandbox).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aborted_upload_leaves_nothing() {
    let cloud = cloud(Faults::default()).await;
    let len = 30 * MIB;
    let (mut sink, mut upload) = cloud
        .client
        .start_upload(BUCKET, KEY, &options(len))
        .await
        .unwrap();
    let sink = tokio::task::spawn_blocking(move || {
        sink.write(&content(25 * MIB)).unwrap();
        sink
    })
    .await
    .unwrap();
    assert_eq!(open_uploads(&cloud.sandbox).await, 1);
    upload.abort().await.unwrap();
    assert_eq!(open_uploads(&cloud.sandbox).await, 0);
    assert_eq!(cloud.client.object(BUCKET, KEY).await.unwrap(), None);
    assert_eq!(sink.close().unwrap_err().kind(), ErrorKind::Cancelled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn buckets_are_told_apart() {
    let cloud = cloud(Faults::default()).await;
    let info = cloud.client.bucket(BUCKET).await.unwrap();
    assert!(
        info.storage_class
            .is_none_or(|class| class.eq_ignore_ascii_case("STANDARD"))
    );
    let cold = cloud.client.bucket("cold-images").await.unwrap();
    assert!(
        cold.storage_class
            .is_some_and(|class| !class.eq_ignore_ascii_case("STANDARD"))
    );
    let error = cloud.client.bucket("no-such-bucket").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);

    let error = cloud
        .client
        .start_upload("no-such-bucket", KEY, &options(10))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some("NoSuchBucket"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_secret_key_is_an_authentication_error_with_a_hint() {
    let cloud = cloud(Faults::default()).await;
    let mut wrong = config(&cloud.sandbox);
    let mut key = cloud.sandbox.access_key().clone();
    key.secret = "not-the-secret".into();
    wrong.keys = key.into();
    let error = Client::new(wrong)
        .unwrap()
        .start_upload(BUCKET, KEY, &options(10))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth, "{error}");
    assert!(error.hint().unwrap().to_string().contains("HW_SECRET_KEY"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trial_finds_everything_as_expected_and_leaves_nothing() {
    let cloud = cloud(Faults::default()).await;
    let client = &cloud.client;
    let mut trial = Trial::new(client, BUCKET, ".check".into());
    let mut steps = trial.run().await;
    steps.push(trial.clean_up().await);
    for step in &steps {
        assert!(matches!(step.found, Found::AsExpected(_)), "{step:?}");
    }
    assert_eq!(steps.len(), 8);
    assert!(client.list_objects(BUCKET, "").await.unwrap().is_empty());
    assert!(client.list_uploads(BUCKET, None).await.unwrap().is_empty());
}
