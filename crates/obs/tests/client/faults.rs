//! Servers that fail, lie, or lose their answers.

use std::time::Duration;

use convert::Sink;
use obs::{Client, Config, Error, ErrorKind, Limits};
use testkit::http::{Recorded, Reply};

use super::fake::{Fake, Op, SECRET, TOKEN, config, content, error, options};
use super::lifecycle::{begin, upload};

/// Answers the first requests of one kind with `replies`, and everything else as it should be.
async fn first(wanted: fn(Op) -> bool, replies: Vec<Reply>) -> Fake {
    let mut replies = replies.into_iter();
    Fake::with(move |store, request| {
        let scripted = wanted(Op::of(request)).then(|| replies.next()).flatten();
        scripted.unwrap_or_else(|| store.handle(request))
    })
    .await
}

fn is_part(op: Op) -> bool {
    matches!(op, Op::Part(_))
}

fn is_complete(op: Op) -> bool {
    op == Op::Complete
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn part_is_sent_again_after_a_failure_that_may_pass() {
    let mut one = vec![
        error(503, "SlowDown"),
        Reply::Reset,
        error(400, "BadDigest"),
    ]
    .into_iter();
    let mut two = vec![
        error(500, "InternalError"),
        Reply::status(200).header("ETag", "\"00000000000000000000000000000000\""),
    ]
    .into_iter();
    let fake = Fake::with(move |store, request| {
        let scripted = match Op::of(request) {
            Op::Part(1) => one.next(),
            Op::Part(2) => two.next(),
            _ => None,
        };
        scripted.unwrap_or_else(|| store.handle(request))
    })
    .await;
    let uploaded = upload(&fake, 9500).await.unwrap();
    assert!(fake.object("key").unwrap() == content(9500));
    assert_eq!(uploaded.retries, 5);
    assert_eq!(uploaded.sent_bytes, 9500 + 5 * 1000);
    assert_eq!(fake.count(is_part), 7 + 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn part_whose_etag_stays_wrong_is_an_integrity_error() {
    let fake = Fake::with(|store, request| match Op::of(request) {
        Op::Part(2) => {
            // Until the storage has shown with another part that it reports MD5s, nobody knows.
            let other = format!("\"{}\"", "0".repeat(32));
            Reply::status(200)
                .header("ETag", &other)
                .after(Duration::from_millis(50))
        }
        _ => store.handle(request),
    })
    .await;
    let error = upload(&fake, 2500).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Integrity);
    let text = error.to_string();
    assert!(
        text.starts_with(
            "sending part 2 of bucket/key: the server confirmed the part with ETag \
                          \"00000000000000000000000000000000\", expected \""
        ),
        "{text}"
    );
    assert_eq!(fake.count(|op| op == Op::Part(2)), 4);
    assert_eq!(fake.count(is_complete), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn part_that_keeps_failing_fails_after_the_last_attempt() {
    let fake = Fake::with(|store, request| match Op::of(request) {
        Op::Part(_) => error(503, "SlowDown"),
        _ => store.handle(request),
    })
    .await;
    let error = upload(&fake, 500).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Server);
    assert_eq!(error.code(), Some("SlowDown"));
    assert_eq!(error.status(), Some(503));
    assert_eq!(
        error.to_string(),
        "sending part 1 of bucket/key: the server answered 503 SlowDown: as scripted (request id \
         REQ-1)"
    );
    assert_eq!(fake.count(is_part), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn denied_access_fails_at_once_and_everywhere_with_the_same_error() {
    let fake = Fake::with(|store, request| match Op::of(request) {
        Op::Part(_) => error(403, "AccessDenied"),
        _ => store.handle(request),
    })
    .await;
    let (mut sink, mut upload) = begin(&fake, &options(59_000)).await;
    let (sink_error, sink) = tokio::task::spawn_blocking(move || {
        // The writer is told while it writes, or while it waits for memory.
        (sink.write(&content(59_000)).unwrap_err(), sink)
    })
    .await
    .unwrap();
    let sink_error = sink_error.downcast_ref::<Error>().unwrap();
    assert_eq!(sink_error.kind(), ErrorKind::AccessDenied);
    assert_eq!(sink_error.code(), Some("AccessDenied"));
    assert!(
        sink_error
            .hint()
            .unwrap()
            .to_string()
            .contains("obs:object:PutObject")
    );
    assert_eq!(sink.close().unwrap_err().kind(), ErrorKind::AccessDenied);
    let error = upload.complete().await.unwrap_err();
    assert_eq!(error.to_string(), sink_error.to_string());
    assert_eq!(upload.failure().unwrap().to_string(), error.to_string());
    // Three were under way when the first was refused; none was tried again.
    assert!(fake.count(is_part) <= 3);

    upload.abort().await.unwrap();
    assert_eq!(fake.open_uploads(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_answer_to_completing_is_found_out() {
    for lost in [
        Reply::Reset,
        error(500, "InternalError"),
        Reply::text(200, ""),
    ] {
        let mut lost = Some(lost);
        let fake = Fake::with(move |store, request| {
            let reply = store.handle(request);
            match Op::of(request) {
                Op::Complete => lost.take().unwrap_or(reply),
                _ => reply,
            }
        })
        .await;
        let uploaded = upload(&fake, 4000).await.unwrap();
        assert_eq!(uploaded.size, 4000);
        assert!(uploaded.etag.ends_with("-4"), "{}", uploaded.etag);
        assert_eq!(fake.count(is_complete), 1, "HEAD answered the question");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn object_that_appears_late_is_found_when_the_upload_is_gone() {
    let mut heads = 0;
    let mut lost = Some(Reply::Reset);
    let fake = Fake::with(move |store, request| {
        let op = Op::of(request);
        let reply = store.handle(request);
        match op {
            Op::Complete => lost.take().unwrap_or(reply),
            Op::Head => {
                heads += 1;
                if heads == 1 {
                    Reply::status(404)
                } else {
                    reply
                }
            }
            _ => reply,
        }
    })
    .await;
    let uploaded = upload(&fake, 4000).await.unwrap();
    assert_eq!(uploaded.size, 4000);
    // The second one was told NoSuchUpload.
    assert_eq!(fake.count(is_complete), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn completing_that_had_no_effect_is_tried_again() {
    let replies = vec![
        error(503, "ServiceUnavailable"),
        // Status 200 with an error in the body is an error.
        error(200, "InternalError"),
        Reply::text(200, "<CompleteMultipartUploadResult/>"),
    ];
    let fake = first(is_complete, replies).await;
    upload(&fake, 4000).await.unwrap();
    assert_eq!(fake.count(is_complete), 4);
    assert!(fake.object("key").unwrap() == content(4000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn completing_under_status_200_with_an_error_is_no_success() {
    let fake = first(is_complete, vec![error(200, "AccessDenied")]).await;
    let error = upload(&fake, 10).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AccessDenied);
    assert_eq!(fake.count(is_complete), 1);
    assert!(fake.object("key").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upload_that_vanished_is_an_error_even_if_an_older_object_has_the_key() {
    let fake = Fake::with(|store, request| {
        if Op::of(request) == Op::Complete && !store.objects.is_empty() {
            store.uploads.clear();
        }
        store.handle(request)
    })
    .await;
    upload(&fake, 700).await.unwrap();
    let error = upload(&fake, 800).await.unwrap_err();
    assert_eq!(error.code(), Some("NoSuchUpload"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn object_that_differs_from_what_was_sent_is_an_integrity_error() {
    fn shorter(content: &mut Vec<u8>, _: &mut String) {
        content.pop();
    }
    fn other_etag(_: &mut Vec<u8>, etag: &mut String) {
        *etag = format!("{}-1", "0".repeat(32));
    }
    let changes: [fn(&mut Vec<u8>, &mut String); 2] = [shorter, other_etag];
    for change in changes {
        let fake = Fake::with(move |store, request| {
            let reply = store.handle(request);
            if Op::of(request) == Op::Complete {
                for (content, etag) in store.objects.values_mut() {
                    change(content, etag);
                }
            }
            reply
        })
        .await;
        let (mut sink, mut upload) = begin(&fake, &options(1000)).await;
        sink.write(&content(1000)).unwrap();
        sink.close().unwrap();
        let error = upload.complete().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Integrity, "{error}");
        assert!(
            error
                .to_string()
                .starts_with("verifying bucket/key: the object has ")
        );
        assert!(
            error
                .hint()
                .unwrap()
                .to_string()
                .contains("do not use the object")
        );
        // There is nothing to abort, and that must not be called a clean end.
        let error = upload.abort().await.unwrap_err();
        assert!(
            error.to_string().contains("bucket/key is in the bucket"),
            "{error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interrupted_completing_that_took_effect_is_not_called_aborted() {
    let fake = Fake::with(|store, request| {
        let reply = store.handle(request);
        match Op::of(request) {
            Op::Complete => reply.after(Duration::from_secs(5)),
            _ => reply,
        }
    })
    .await;
    let (mut sink, mut upload) = begin(&fake, &options(1000)).await;
    sink.write(&content(1000)).unwrap();
    sink.close().unwrap();
    let wait = Duration::from_millis(300);
    assert!(tokio::time::timeout(wait, upload.complete()).await.is_err());
    assert!(upload.abort().await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etags_of_an_encrypting_server_are_not_held_against_md5() {
    fn encrypted(reply: Reply) -> Reply {
        let Reply::Answer(mut answer) = reply else {
            return reply;
        };
        for (name, value) in &mut answer.headers {
            if name == "ETag" {
                *value = format!("\"{}\"", "e".repeat(32));
            }
        }
        Reply::Answer(answer).header("x-amz-server-side-encryption", "aws:kms")
    }
    let fake = Fake::with(|store, request| {
        let reply = store.handle(request);
        match Op::of(request) {
            Op::Part(_) => encrypted(reply),
            // Where even the list tells MD5s, those count.
            Op::List => error(403, "AccessDenied"),
            _ => reply,
        }
    })
    .await;
    let uploaded = upload(&fake, 2500).await.unwrap();
    assert!(!uploaded.etag_verified);
    assert_eq!(uploaded.size, 2500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answer_without_end_is_not_taken_into_memory() {
    let fake = Fake::with(|store, request| match Op::of(request) {
        Op::Create => Reply::text(200, &format!("<A>{}</A>", "x".repeat(2 << 20))),
        _ => store.handle(request),
    })
    .await;
    let error = fake
        .client
        .start_upload("bucket", "key", &options(10))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Server);
    assert!(
        error.to_string().contains("length limit exceeded"),
        "{error}"
    );
}

#[tokio::test]
async fn server_that_never_answers_is_given_up_and_asked_again() {
    let fake = Fake::with(|_, _| Reply::Stall).await;
    let client = Client::new(Config {
        limits: Limits {
            request: Duration::from_millis(50),
            ..Limits::default()
        },
        ..config(&fake.server.url())
    })
    .unwrap();
    let error = client.bucket("bucket").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network);
    assert_eq!(
        error.to_string(),
        "bucket bucket: no answer within the time limit"
    );
    assert_eq!(fake.server.requests().len(), 4);
}

#[tokio::test]
async fn nobody_listening_is_a_network_error_after_all_attempts() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let client = Client::new(config(&format!("http://{address}"))).unwrap();
    let error = client.bucket("bucket").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network);
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_that_may_only_write_relies_on_the_etag_of_completing() {
    let forbidden = || {
        Fake::with(|store, request| match Op::of(request) {
            Op::Head => Reply::status(403),
            _ => store.handle(request),
        })
    };
    let uploaded = upload(&forbidden().await, 1000).await.unwrap();
    assert_eq!(uploaded.size, 1000);
    assert!(uploaded.etag.ends_with("-1"), "{}", uploaded.etag);

    // Without that ETag there is no proof, and so no success.
    let fake = Fake::with(|store, request| match Op::of(request) {
        Op::Head => Reply::status(403),
        Op::Complete => Reply::text(
            200,
            "<CompleteMultipartUploadResult><ETag>\"0\"</ETag></CompleteMultipartUploadResult>",
        ),
        _ => store.handle(request),
    })
    .await;
    let error = upload(&fake, 1000).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AccessDenied, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_abort_is_reported() {
    let fake = first(|op| op == Op::Abort, vec![error(403, "AccessDenied")]).await;
    let (_sink, mut upload) = begin(&fake, &options(10)).await;
    let error = upload.abort().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AccessDenied);
    assert!(
        error
            .to_string()
            .starts_with("aborting upload upload-1 of bucket/key: ")
    );
    upload.abort().await.unwrap();
    assert_eq!(fake.open_uploads(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_appear_in_no_error_and_no_debug_text() {
    let replies = |request: &Recorded| {
        // A server that repeats what it was sent.
        let headers = format!("{:?}", request.headers);
        Reply::text(
            403,
            &format!(
                "<Error><Code>SignatureDoesNotMatch</Code><Message>no</Message><StringToSign>{headers}</StringToSign></Error>"
            ),
        )
    };
    let fake = Fake::with(move |_, request| replies(request)).await;
    let error = fake
        .client
        .start_upload("bucket", "key", &options(10))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth);
    let text = format!(
        "{error} {error:?} {:?} {:?} {:?}",
        error.hint(),
        fake.client,
        config("http://127.0.0.1:1")
    );
    for secret in [SECRET, TOKEN, "Signature="] {
        assert!(!text.contains(secret), "{text}");
    }
}
