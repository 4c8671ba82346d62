//! What stands around an upload: reading back, lists of open uploads, manifests, and the pace.

use std::num::NonZeroUsize;
use std::time::Duration;

use diskimg::ReadAt;
use diskimg::units::FileOffset;
use obs::{Chunking, ErrorKind, Manifest, ObjectInfo, ObjectSource, UploadOptions};
use testkit::faults::{Fault, Op, mix};

use super::fake::content;
use super::proxied::{BUCKET, Cloud, KEY, SMALL, impatient};

const FOUR: Chunking = Chunking::whole(NonZeroUsize::new(4).unwrap());

/// Reads from a plain thread, as those who use it do.
async fn read(source: ObjectSource, at: u64, len: usize) -> Result<Vec<u8>, String> {
    tokio::task::spawn_blocking(move || {
        let mut buf = vec![0; len];
        let read = source.read_exact_at(FileOffset(at), &mut buf);
        read.map(|()| buf).map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            format!("{error}: {}", cause.unwrap_or_default())
        })
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_is_read_back_in_ranges_whatever_goes_wrong_on_the_way() {
    let cloud = Cloud::start().await;
    let bytes = content(4_500_000);
    cloud.upload(&bytes).await.unwrap();
    let get = |seen: &testkit::faults::Seen| seen.op == Op::GetObject;
    for fault in [
        Fault::ResetBefore,
        Fault::ResetAfter,
        Fault::TruncatedAnswer,
        Fault::internal_error(),
        Fault::slow_down(),
        Fault::too_many(),
    ] {
        cloud.proxy.once(get, fault.clone());
        let source = cloud.client.open_object(BUCKET, KEY, FOUR).await.unwrap();
        assert_eq!(source.len(), 4_500_000);
        // Across the border of two chunks.
        let found = read(source, 4_000_000, 400_000).await;
        let found = found.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert!(found == bytes[4_000_000..4_400_000], "{fault:?}");
    }
    let source = cloud.client.open_object(BUCKET, KEY, FOUR).await.unwrap();
    let beyond = read(source, 4_400_000, 100_001).await.unwrap_err();
    assert!(beyond.contains("the object has 4500000"), "{beyond}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_stops_in_the_middle_is_asked_for_again() {
    let cloud = Cloud::with(impatient).await;
    let bytes = content(400_000);
    cloud.upload(&bytes).await.unwrap();
    cloud
        .proxy
        .once(|seen| seen.op == Op::GetObject, Fault::StallInAnswer);
    let source = cloud.client.open_object(BUCKET, KEY, FOUR).await.unwrap();
    assert!(read(source, 0, 400_000).await.unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_is_replaced_while_it_is_read_is_an_error() {
    let cloud = Cloud::start().await;
    cloud.upload(&content(300_000)).await.unwrap();
    let source = cloud.client.open_object(BUCKET, KEY, FOUR).await.unwrap();
    cloud.upload(&vec![7; 300_000]).await.unwrap();
    let error = read(source, 0, 10).await.unwrap_err();
    assert!(
        error.contains("the object was replaced during the read"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_chunk_is_fetched_once_for_many_small_reads() {
    let cloud = Cloud::start().await;
    let bytes = content(300_000);
    cloud.upload(&bytes).await.unwrap();
    let source = cloud.client.open_object(BUCKET, KEY, FOUR).await.unwrap();
    let read = tokio::task::spawn_blocking(move || {
        let mut read = Vec::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| source.read_exact_at(FileOffset(5), &mut [0; 9]).unwrap());
            }
        });
        for at in (0..300_000).step_by(1000) {
            let mut buf = [0; 1000];
            source.read_exact_at(FileOffset(at), &mut buf).unwrap();
            read.extend(buf);
        }
        read
    });
    assert!(read.await.unwrap() == bytes);
    assert_eq!(cloud.proxy.count(Op::GetObject), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn looking_here_and_there_fetches_little_and_ends_at_a_number_of_requests() {
    let cloud = Cloud::start().await;
    let bytes = content(3_000_000);
    cloud.upload(&bytes).await.unwrap();
    let open = || {
        cloud
            .client
            .open_object(BUCKET, KEY, Chunking::SCATTERED.within(2))
    };
    let (twice, thrice) = (open().await.unwrap(), open().await.unwrap());
    // Across the border of two chunks.
    let found = read(twice, 1_000_000, 100_000).await.unwrap();
    assert!(found == bytes[1_000_000..1_100_000]);
    assert_eq!(cloud.proxy.count(Op::GetObject), 2);
    let refused = read(thrice, 0, 3_000_000).await.unwrap_err();
    assert!(refused.contains("more than 2 requests"), "{refused}");
    assert_eq!(cloud.proxy.count(Op::GetObject), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_is_not_there_cannot_be_opened() {
    let cloud = Cloud::start().await;
    let error = cloud
        .client
        .open_object(BUCKET, "none", FOUR)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_pages_of_open_uploads_are_listed() {
    let cloud = Cloud::start().await;
    let options = UploadOptions {
        expected_max: 10,
        layout: SMALL,
        ..UploadOptions::default()
    };
    let mut started = Vec::new();
    // More than one page, several of one key among them.
    for number in 0..230 {
        let key = format!("disks/{}", number / 3);
        let (_, upload) = cloud
            .client
            .start_upload(BUCKET, &key, &options)
            .await
            .unwrap();
        started.push((key, upload.upload_id().to_owned()));
    }
    cloud
        .client
        .start_upload(BUCKET, "else", &options)
        .await
        .unwrap();
    cloud.proxy.script(mix(3, 30, 2));
    let listed = cloud
        .client
        .list_uploads(BUCKET, Some("disks/"))
        .await
        .unwrap();
    assert!(listed.iter().all(|upload| upload.initiated.is_some()));
    let mut listed: Vec<_> = listed.into_iter().map(|u| (u.key, u.upload_id)).collect();
    listed.sort();
    started.sort();
    assert_eq!(listed, started);
    assert_eq!(
        cloud.client.list_uploads(BUCKET, None).await.unwrap().len(),
        231
    );
    let (key, id) = &started[0];
    cloud.client.abort_upload(BUCKET, key, id).await.unwrap();
    assert_eq!(
        cloud.client.list_uploads(BUCKET, None).await.unwrap().len(),
        230
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_describes_its_object_and_no_other() {
    let cloud = Cloud::start().await;
    assert_eq!(cloud.client.manifest(BUCKET, KEY).await.unwrap(), None);
    let uploaded = cloud.upload(&content(300_000)).await.unwrap();
    let object = (uploaded.size, uploaded.etag.clone());
    let manifest = Manifest::new("zvhd2", "v1:00".into(), 10 << 20, 3, object);
    cloud.proxy.script(mix(5, 40, 2));
    cloud
        .client
        .put_manifest(BUCKET, KEY, &manifest)
        .await
        .unwrap();
    let read = cloud.client.manifest(BUCKET, KEY).await.unwrap().unwrap();
    assert!(read.stored.is_some());
    assert_eq!(
        Manifest {
            stored: None,
            ..read.clone()
        },
        manifest
    );
    assert_eq!(read.blocks, 5);
    let object = cloud.client.object(BUCKET, KEY).await.unwrap().unwrap();
    assert!(read.describes(&object));
    cloud.upload(&vec![1; 300_000]).await.unwrap();
    let other: ObjectInfo = cloud.client.object(BUCKET, KEY).await.unwrap().unwrap();
    assert!(!read.describes(&other));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_that_nobody_can_read_counts_as_none() {
    let cloud = Cloud::start().await;
    for text in ["{", "[]", r#"{"version":2}"#, &"x".repeat(70_000)] {
        let path = cloud.path_of(&Manifest::key_of(KEY));
        cloud.put(&Manifest::key_of(KEY), text.as_bytes()).await;
        assert!(path.exists());
        assert_eq!(
            cloud.client.manifest(BUCKET, KEY).await.unwrap(),
            None,
            "{text:.9}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_server_is_sent_fewer_parts_at_the_same_time() {
    let cloud = Cloud::start().await;
    cloud.proxy.script(|seen| {
        let number = seen.part.unwrap_or(0);
        let busy = seen.op == Op::UploadPart && seen.attempt == 1 && (1..=4).contains(&number);
        Some(if busy {
            Fault::slow_down()
        } else {
            Fault::Slow(Duration::from_millis(20))
        })
    });
    let bytes = content(1_500_000);
    let uploaded = cloud.upload_adaptive(&bytes, 8).await.unwrap();
    assert_eq!(uploaded.retries, 4);
    assert!(cloud.stored(KEY).unwrap() == bytes);
    let later = cloud.proxy.passed().into_iter().map(|passed| passed.seen);
    let mut at_once: Vec<_> = later
        .filter(|seen| seen.op == Op::UploadPart && seen.part > Some(6))
        .map(|seen| seen.in_flight)
        .collect();
    at_once.sort_unstable();
    // Four at the beginning; two after the cut, and three when some time has passed. The proxy sees
    // the end of a request late, so that now and then one more is counted.
    assert!(at_once[at_once.len() / 2] <= 3, "{at_once:?}");
}
