//! What others' uploads are known to get wrong: one test for each promise not to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use convert::PartSink;
use convert::parts::Filled;
use net::credentials::Keys;
use net::retry::Policy;
use obs::{Config, EarlierUpload, ErrorKind, Layout, PartRecord, Resumption, UploadOptions};
use testkit::faults::{Fault, Op, Seen};

use super::fake::content;
use super::proxied::{BUCKET, Cloud, KEY, Renewed, SMALL, impatient};
use super::wild::{Journal, run};

const LEN: usize = 1_000_000;

fn parts_sent(cloud: &Cloud) -> Vec<u32> {
    let mut sent: Vec<u32> = cloud
        .proxy
        .passed()
        .iter()
        .filter(|passed| passed.seen.op == Op::UploadPart)
        .filter_map(|passed| passed.seen.part)
        .collect();
    sent.sort_unstable();
    sent
}

/// Promise: an upload that dies at nine tenths does not begin again at nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_dies_at_nine_tenths_goes_on_from_there() {
    let mut cloud = Cloud::start().await;
    let bytes = content(LEN);
    let last = |seen: &Seen| seen.is_part(10);
    cloud.proxy.always(last, Fault::answer(403, "AccessDenied"));
    let mut journal = Journal::default();
    run(&cloud, &bytes, &mut journal).await.unwrap_err();
    cloud.renew_proxy().await;
    let uploaded = run(&cloud, &bytes, &mut journal).await.unwrap();
    assert!(cloud.stored(KEY).unwrap() == bytes);
    cloud.proxy.settled().await;
    // The one that failed, and those that were on their way then: three are sent at the same time.
    let again = parts_sent(&cloud);
    assert!(again.ends_with(&[10]) && again.len() <= 3, "{again:?}");
    assert!(uploaded.kept_bytes >= 700_000, "{uploaded:?}");
}

/// Promise: what is noted here counts only as far as the server says the same, and an upload that
/// is gone is no reason to believe in anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notes_that_the_server_does_not_confirm_are_not_believed() {
    let cloud = Cloud::start().await;
    let bytes = content(LEN);
    let mut journal = Journal::default();
    cloud.proxy.always(
        |seen| seen.op == Op::CompleteUpload,
        Fault::answer(403, "AccessDenied"),
    );
    run(&cloud, &bytes, &mut journal).await.unwrap_err();
    cloud.proxy.heal();
    cloud.proxy.settled().await;
    assert_eq!(parts_sent(&cloud).len(), 10);
    cloud.proxy.forget();
    // Part 3 was noted with another MD5 than what is stored, part 12 was never made.
    {
        let mut parts = journal.parts.0.lock().unwrap();
        parts.get_mut(&3).unwrap().md5 = [7; 16];
        let invented = PartRecord {
            number: 12,
            ..parts[&5].clone()
        };
        parts.insert(12, invented);
    }
    // Part 5 was stored again by somebody else.
    let id = journal.id.clone().unwrap();
    let options = UploadOptions {
        memory: 5 * (100 << 10),
        expected_max: LEN as u64,
        layout: Layout::Unordered {
            part_size: 100 << 10,
        },
        ..UploadOptions::default()
    };
    let strange = EarlierUpload {
        upload_id: &id,
        known: &[],
        whole: None,
    };
    let strange = cloud.client.resume_upload(BUCKET, KEY, &strange, &options);
    let Resumption::GoesOn(strange) = strange.await.unwrap() else {
        panic!("the upload is gone");
    };
    let (sink, mut upload) = (strange.sink.into_unordered().unwrap(), strange.upload);
    let sink = tokio::task::spawn_blocking(move || {
        sink.part(5, 100 << 10, &mut |buffer| {
            buffer.fill(9);
            Ok(Filled::Data)
        })
        .unwrap();
        sink
    });
    let sink = sink.await.unwrap();
    while cloud.proxy.count(Op::UploadPart) == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    upload.pause(testkit::measure::HANG).await;
    drop(sink);
    cloud.proxy.settled().await;
    cloud.proxy.forget();
    journal.sent = None;
    run(&cloud, &bytes, &mut journal).await.unwrap();
    cloud.proxy.settled().await;
    assert!(cloud.stored(KEY).unwrap() == bytes);
    // Part 3 is made again and has the server's MD5.
    assert_eq!(parts_sent(&cloud), [5]);

    // The upload is gone, and the object is not what all of these parts would make.
    let known: Vec<_> = journal.parts.0.lock().unwrap().values().cloned().collect();
    let options = UploadOptions {
        expected_max: LEN as u64,
        layout: SMALL,
        ..UploadOptions::default()
    };
    let earlier = EarlierUpload {
        upload_id: &id,
        known: &known,
        whole: Some(LEN as u64),
    };
    let other = cloud.client.resume_upload(BUCKET, KEY, &earlier, &options);
    let gone = other.await.unwrap();
    assert!(matches!(gone, Resumption::Gone), "{gone:?}");
}

/// Promise: nothing hangs for ever, and retries do not multiply because there is one layer of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_never_answers_ends_the_run_after_the_attempts_of_one_layer() {
    for op in [Op::CreateUpload, Op::UploadPart, Op::CompleteUpload] {
        let cloud = Cloud::with(|config, key| {
            let config = impatient(config, key);
            Config {
                retry: Policy {
                    max_attempts: 3,
                    ..config.retry
                },
                ..config
            }
        })
        .await;
        cloud.proxy.always(move |seen| seen.op == op, Fault::Stall);
        let started = Instant::now();
        let error = cloud.upload(&content(50_000)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Network, "{op:?}: {error}");
        assert_eq!(cloud.proxy.count(op), 3, "{op:?}");
        assert!(started.elapsed() < testkit::measure::HANG, "{op:?}");
    }
}

/// Promise: what cannot pass is not tried again, whichever request it is, and says what to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_that_stays_is_asked_for_once_whatever_is_refused() {
    for op in [Op::CreateUpload, Op::UploadPart, Op::CompleteUpload] {
        for (status, code) in [
            (403, "AccessDenied"),
            (403, "InvalidAccessKeyId"),
            (403, "SignatureDoesNotMatch"),
            (404, "NoSuchBucket"),
            (307, "TemporaryRedirect"),
        ] {
            let cloud = Cloud::start().await;
            let fault = Fault::answer(status, code);
            cloud.proxy.always(move |seen| seen.op == op, fault);
            let error = cloud.upload(&content(50_000)).await.unwrap_err();
            assert_eq!(cloud.proxy.count(op), 1, "{op:?} {code}");
            assert!(error.hint().is_some(), "{op:?} {code}: {error}");
        }
    }
}

/// Promise: a large upload takes the memory that it was given, however slow the line is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_hold_the_memory_that_they_were_given_and_no_more_on_a_slow_line() {
    let cloud = Cloud::start().await;
    let slow = Fault::Slow(Duration::from_millis(30));
    cloud.proxy.always(|seen| seen.op == Op::UploadPart, slow);
    let options = UploadOptions {
        // One part more than are sent at the same time.
        memory: 4 * (100 << 10),
        expected_max: LEN as u64,
        max_in_flight: 32,
        layout: SMALL,
        ..UploadOptions::default()
    };
    let begun = cloud.client.start_upload(BUCKET, KEY, &options).await;
    let (sink, mut upload) = begun.unwrap();
    let written = super::wild::write(sink, content(LEN));
    let (written, completed) = tokio::join!(written, upload.complete());
    written.unwrap();
    completed.unwrap();
    let most = cloud.proxy.passed().iter().map(|p| p.seen.in_flight).max();
    assert!(most <= Some(4), "{most:?} parts of 100 KiB in 400 KiB");
    assert!(cloud.stored(KEY).unwrap() == content(LEN));
}

/// Promise: nobody has to find out how many parts a server bears: one that turns away the fourth
/// gets three, and the upload does not fail of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_bears_three_parts_is_not_sent_four_for_long() {
    let cloud = Cloud::with(|config, _| Config {
        retry: Policy {
            max_attempts: 6,
            base_delay: Duration::from_millis(20),
            max_delay: Duration::from_millis(200),
            ..config.retry
        },
        ..config
    })
    .await;
    cloud.proxy.script(|seen| {
        if seen.op != Op::UploadPart {
            return None;
        }
        Some(if seen.in_flight > 3 {
            Fault::slow_down()
        } else {
            Fault::Slow(Duration::from_millis(20))
        })
    });
    let bytes = content(4_000_000);
    let uploaded = cloud.upload_adaptive(&bytes, 32).await.unwrap();
    assert!(cloud.stored(KEY).unwrap() == bytes);
    assert!(uploaded.retries < 20, "{} of 40 parts", uploaded.retries);
}

/// Promise: temporary keys that end at any moment of an upload are read again, and nothing else
/// happens.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_end_before_any_request_are_read_again() {
    let fetched = Arc::<AtomicU32>::default();
    let cloud = Cloud::with(|config, key| {
        let source = Renewed {
            key,
            fetched: Arc::clone(&fetched),
            good_from: 0,
        };
        Config {
            keys: Keys::renewed(source),
            ..config
        }
    })
    .await;
    let bytes = content(LEN);
    let mut journal = Journal::default();
    for op in [Op::CreateUpload, Op::UploadPart, Op::CompleteUpload] {
        cloud
            .proxy
            .once(move |seen| seen.op == op, Fault::expired_token());
    }
    // Ends the first run before its end, so that the second one lists the parts.
    let refused = Fault::answer(403, "AccessDenied");
    cloud.proxy.once(|seen| seen.is_part(7), refused);
    run(&cloud, &bytes, &mut journal).await.unwrap_err();
    for op in [Op::ListParts, Op::HeadObject] {
        cloud
            .proxy
            .once(move |seen| seen.op == op, Fault::expired_token());
    }
    let uploaded = run(&cloud, &bytes, &mut journal).await.unwrap();
    assert!(cloud.stored(KEY).unwrap() == bytes);
    assert!(uploaded.kept_bytes > 0);
    assert_eq!(fetched.load(Ordering::Relaxed), 1 + 5);
}
