//! From the first byte to the object, and every way to end before.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use convert::monitor::CountingMonitor;
use convert::{Counter, Sink};
use obs::parts::{Schedule, Tier};
use obs::{Error, ErrorKind, Layout, MultipartSink, Upload, UploadOptions, Uploaded};
use testkit::http::Reply;

use super::fake::{Fake, Op, content, options};

/// Writes `bytes` in slices of `slice` from a plain thread, and closes.
pub(super) async fn write_all(
    mut sink: MultipartSink,
    bytes: Vec<u8>,
    slice: usize,
) -> Result<(), Error> {
    tokio::task::spawn_blocking(move || {
        for slice in bytes.chunks(slice) {
            sink.write(slice)
                .map_err(|error| error.downcast_ref::<Error>().unwrap().clone())?;
        }
        sink.close()
    })
    .await
    .unwrap()
}

pub(super) async fn begin(fake: &Fake, options: &UploadOptions) -> (MultipartSink, Upload) {
    fake.client
        .start_upload("bucket", "key", options)
        .await
        .unwrap()
}

/// A whole upload of `len` bytes.
pub(super) async fn upload(fake: &Fake, len: usize) -> Result<Uploaded, Error> {
    let (sink, mut upload) = begin(fake, &options(len as u64)).await;
    let written = write_all(sink, content(len), 700).await;
    let uploaded = upload.complete().await?;
    written.unwrap();
    Ok(uploaded)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_of_every_length_arrive_unchanged() {
    let fake = Fake::start().await;
    for len in [0, 1, 999, 1000, 1001, 3000, 3001, 8999, 9000, 9001, 30_000] {
        for slice in [1_usize.max(len), 333, 1000] {
            let monitor = Arc::new(CountingMonitor::default());
            let options = UploadOptions {
                monitor: Arc::<CountingMonitor>::clone(&monitor),
                ..options(40_000)
            };
            let (sink, mut upload) = begin(&fake, &options).await;
            write_all(sink, content(len), slice).await.unwrap();
            let uploaded = upload.complete().await.unwrap();

            assert!(fake.object("key").unwrap() == content(len), "{len} {slice}");
            assert_eq!(uploaded.size, len as u64);
            assert_eq!(uploaded.sent_bytes, len as u64);
            assert_eq!(uploaded.retries, 0);
            assert!(uploaded.etag_verified);
            assert!(uploaded.etag.ends_with(&format!("-{}", uploaded.parts)));
            assert_eq!(monitor.get(Counter::UploadedBytes), len as u64);
        }
    }
    assert_eq!(fake.open_uploads(), 0);
}

#[tokio::test]
async fn parts_follow_the_schedule_and_the_last_is_the_rest() {
    let fake = Fake::start().await;
    upload(&fake, 14_500).await.unwrap();
    let mut sizes: Vec<(u32, usize)> = fake
        .server
        .requests()
        .iter()
        .filter_map(|request| match Op::of(request) {
            Op::Part(number) => Some((number, request.body.len())),
            _ => None,
        })
        .collect();
    sizes.sort_unstable();
    let expected = [1000, 1000, 1000, 2000, 2000, 2000, 5000, 500];
    assert_eq!(sizes, (1..).zip(expected).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_that_are_confirmed_out_of_order_are_joined_in_order() {
    let fake = Fake::with(|store, request| {
        let reply = store.handle(request);
        match Op::of(request) {
            Op::Part(1) => reply.after(Duration::from_millis(100)),
            _ => reply,
        }
    })
    .await;
    upload(&fake, 5000).await.unwrap();
    assert!(fake.object("key").unwrap() == content(5000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stalled_server_stops_the_writer_within_the_memory_budget() {
    let fake = Fake::with(|store, request| match Op::of(request) {
        Op::Part(_) => Reply::Stall,
        _ => store.handle(request),
    })
    .await;
    let options = UploadOptions {
        memory: 12_000,
        max_in_flight: 2,
        ..options(50_000)
    };
    let (mut sink, mut upload) = begin(&fake, &options).await;
    let written = Arc::new(AtomicUsize::new(0));
    let writer = thread::spawn({
        let written = Arc::clone(&written);
        move || {
            for slice in content(50_000).chunks(100) {
                sink.write(slice)?;
                written.fetch_add(slice.len(), Ordering::SeqCst);
            }
            Ok::<_, convert::SinkError>(())
        }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    // 3 × 1000 + 3 × 2000 fit; the seventh part, of 5000 bytes, does not.
    assert_eq!(written.load(Ordering::SeqCst), 9000);
    assert!(!writer.is_finished());
    assert!(
        fake.count(|op| matches!(op, Op::Part(_))) <= 2,
        "max_in_flight"
    );

    upload.abort().await.unwrap();
    let error = writer.join().unwrap().unwrap_err();
    let error = error.downcast_ref::<Error>().unwrap();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert_eq!(error.to_string(), "the upload was aborted");
    assert!(upload.failure().is_none(), "stopped, not failed");
    assert_eq!(fake.open_uploads(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_server_slows_the_writer_and_everything_arrives() {
    let fake = Fake::with(|store, request| {
        let reply = store.handle(request);
        match Op::of(request) {
            Op::Part(_) => reply.after(Duration::from_millis(40)),
            _ => reply,
        }
    })
    .await;
    let options = UploadOptions {
        memory: 10_000,
        max_in_flight: 1,
        ..options(40_000)
    };
    let (sink, mut upload) = begin(&fake, &options).await;
    let begun = Instant::now();
    write_all(sink, content(40_000), 999).await.unwrap();
    // 13 parts one after the other; when the writer is done, two at most are still to be sent.
    assert!(begun.elapsed() >= Duration::from_millis(40 * 10));
    upload.complete().await.unwrap();
    assert!(fake.object("key").unwrap() == content(40_000));
}

/// Promise: what dies near its end has most of it behind it. The last part is hashed long before
/// the eight in front of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_go_off_in_their_order_however_many_are_hashed_at_the_same_time() {
    const PART: u64 = 2 << 20;
    let fake = Fake::start().await;
    let bytes = vec![7; (8 << 21) + 100];
    let options = UploadOptions {
        memory: 40 * PART,
        max_in_flight: 1,
        layout: Layout::Stream(Schedule::uniform(Tier {
            parts: 20,
            size: PART,
        })),
        ..options(bytes.len() as u64)
    };
    let begun = fake.client.start_upload("bucket", "key", &options);
    let (sink, mut upload) = begun.await.unwrap();
    write_all(sink, bytes, 1 << 20).await.unwrap();
    upload.complete().await.unwrap();
    let requests = fake.server.requests();
    let sent = requests.iter().filter_map(|request| match Op::of(request) {
        Op::Part(number) => Some(number),
        _ => None,
    });
    let sent: Vec<_> = sent.collect();
    assert_eq!(sent, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stream_that_is_given_up_is_never_completed() {
    let fake = Fake::start().await;
    let (mut sink, mut upload) = begin(&fake, &options(5000)).await;
    sink.write(&content(4999)).unwrap();
    drop(sink);
    let error = upload.complete().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert_eq!(error.to_string(), "the stream was dropped before its end");
    assert!(upload.failure().is_none(), "the reason is the writer's");
    upload.abort().await.unwrap();
    assert_eq!(fake.count(|op| op == Op::Complete), 0);
    assert_eq!(fake.open_uploads(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_the_upload_wakes_the_writer() {
    let fake = Fake::with(|store, request| match Op::of(request) {
        Op::Part(_) => Reply::Stall,
        _ => store.handle(request),
    })
    .await;
    let (sink, upload) = begin(&fake, &options(59_000)).await;
    let writing = tokio::spawn(write_all(sink, content(59_000), 1000));
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(upload);
    let error = writing.await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "the upload was dropped");
    assert_eq!(fake.open_uploads(), 1, "dropping sends nothing");
}

#[test]
fn writer_does_not_wait_for_a_runtime_that_is_gone() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (mut sink, _upload, _fake) = runtime.block_on(async {
        let fake = Fake::with(|store, request| match Op::of(request) {
            Op::Part(_) => Reply::Stall,
            _ => store.handle(request),
        })
        .await;
        let (sink, upload) = begin(&fake, &options(59_000)).await;
        (sink, upload, fake)
    });
    let writer = thread::spawn(move || sink.write(&content(59_000)).unwrap_err().to_string());
    thread::sleep(Duration::from_millis(100));
    runtime.shutdown_background();
    assert_eq!(
        writer.join().unwrap(),
        "the tasks that send parts were stopped"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stream_longer_than_announced_fails_the_upload() {
    let fake = Fake::start().await;
    let (sink, mut upload) = begin(&fake, &options(2500)).await;
    let error = write_all(sink, content(2501), 2501).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert_eq!(
        error.to_string(),
        "the stream is longer than the announced 2500 bytes"
    );
    assert_eq!(
        upload.complete().await.unwrap_err().to_string(),
        error.to_string()
    );
    upload.abort().await.unwrap();
    assert_eq!(fake.open_uploads(), 0);
}

#[tokio::test]
async fn too_little_memory_is_refused_before_anything_is_sent() {
    let fake = Fake::start().await;
    let options = UploadOptions {
        memory: 100 << 20,
        ..UploadOptions::default()
    };
    let error = fake
        .client
        .start_upload("bucket", "key", &options)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    let text = error.to_string();
    assert!(
        text.starts_with("100.0 MiB for parts, expected at least 320.0 MiB"),
        "{text}"
    );
    assert!(matches!(error.hint(), Some(obs::Hint::GiveMemory(_))));
    assert!(fake.server.requests().is_empty());
}

#[tokio::test]
async fn aborting_twice_or_after_completing_does_no_harm() {
    let fake = Fake::start().await;
    let (sink, mut upload) = begin(&fake, &options(10)).await;
    write_all(sink, content(10), 10).await.unwrap();
    upload.complete().await.unwrap();
    upload.abort().await.unwrap();
    assert_eq!(fake.count(|op| op == Op::Abort), 0);
    assert!(fake.object("key").is_some());

    let (_sink, mut upload) = begin(&fake, &options(10)).await;
    upload.abort().await.unwrap();
    upload.abort().await.unwrap();
    assert_eq!(fake.open_uploads(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn completing_can_be_interrupted_and_resumed() {
    let mut first = true;
    let fake = Fake::with(move |store, request| {
        let reply = store.handle(request);
        match Op::of(request) {
            Op::Part(_) => reply.after(Duration::from_millis(150)),
            // Done, and the answer comes after the client has gone.
            Op::Complete if std::mem::take(&mut first) => reply.after(Duration::from_millis(500)),
            _ => reply,
        }
    })
    .await;
    let (sink, mut upload) = begin(&fake, &options(3000)).await;
    write_all(sink, content(3000), 3000).await.unwrap();
    let mut interrupted = 0;
    let uploaded = loop {
        match tokio::time::timeout(Duration::from_millis(100), upload.complete()).await {
            Ok(uploaded) => break uploaded.unwrap(),
            Err(_) => interrupted += 1,
        }
        assert!(interrupted < 20);
    };
    assert!(interrupted >= 2);
    assert_eq!(uploaded.size, 3000);
}
