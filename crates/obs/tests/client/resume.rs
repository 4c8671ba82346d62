//! Uploads that go on after a run that ended anywhere.
#![allow(
    clippy::single_range_in_vec_init,
    reason = "a list of ranges that happens to have one"
)]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use convert::{Sink, SinkError};
use md5::{Digest, Md5};
use obs::{
    EarlierUpload, Error, ErrorKind, PartLog, PartRecord, Resumed, Resumption, UploadOptions,
    Uploaded,
};
use testkit::http::Reply;

use super::fake::{Fake, Op, content, error, options, xml};
use super::lifecycle::{begin, write_all};

/// What a journal would hold.
#[derive(Default)]
struct Notes(Mutex<Vec<PartRecord>>);

impl PartLog for Notes {
    fn confirmed(&self, part: &PartRecord) -> Result<(), SinkError> {
        self.0.lock().unwrap().push(part.clone());
        Ok(())
    }
}

impl Notes {
    fn sorted(&self) -> Vec<PartRecord> {
        let mut parts = self.0.lock().unwrap().clone();
        parts.sort_by_key(|part| part.number);
        parts
    }
}

fn noting(expected_max: u64) -> (UploadOptions, Arc<Notes>) {
    let notes = Arc::<Notes>::default();
    let options = UploadOptions {
        log: Arc::<Notes>::clone(&notes),
        ..options(expected_max)
    };
    (options, notes)
}

const LEN: usize = 14_500;

/// An upload of which every part is stored and noted, and that nobody has completed; its id.
async fn all_sent(fake: &Fake) -> (String, Vec<PartRecord>) {
    let (options, notes) = noting(LEN as u64);
    let (sink, mut upload) = begin(fake, &options).await;
    write_all(sink, content(LEN), 700).await.unwrap();
    upload.sent().await.unwrap();
    (upload.upload_id().to_owned(), notes.sorted())
}

/// The server loses these parts.
fn lose(fake: &Fake, id: &str, numbers: &[u32]) {
    let mut store = fake.store.lock().unwrap();
    let parts = store.uploads.get_mut(id).unwrap();
    parts.retain(|number, _| !numbers.contains(number));
}

async fn resume(
    fake: &Fake,
    id: &str,
    known: &[PartRecord],
    whole: Option<u64>,
) -> Result<Resumption, Error> {
    let earlier = EarlierUpload {
        upload_id: id,
        known,
        whole,
    };
    fake.client
        .resume_upload("bucket", "key", &earlier, &options(LEN as u64))
        .await
}

async fn resumed(fake: &Fake, id: &str, known: &[PartRecord], whole: Option<u64>) -> Resumed {
    match resume(fake, id, known, whole).await.unwrap() {
        Resumption::GoesOn(resumed) => *resumed,
        other => panic!("{other:?}"),
    }
}

/// Sends the stream again, up to the object.
async fn go_on(resumed: Resumed) -> Result<Uploaded, Error> {
    let Resumed {
        sink, mut upload, ..
    } = resumed;
    let written = write_all(sink, content(LEN), 700).await;
    let completed = upload.complete().await;
    written.and(completed)
}

/// Parts that arrived since the first `before` requests.
fn parts_since(fake: &Fake, before: usize) -> BTreeSet<u32> {
    let requests = fake.server.requests();
    requests[before..]
        .iter()
        .filter_map(|request| match Op::of(request) {
            Op::Part(number) => Some(number),
            _ => None,
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_parts_that_the_server_lacks_are_sent_again() {
    let fake = Fake::start().await;
    for lost in [
        &[][..],
        &[1],
        &[3, 4],
        &[8],
        &[2, 6, 8],
        &[1, 2, 3, 4, 5, 6, 7, 8],
    ] {
        let (id, known) = all_sent(&fake).await;
        assert_eq!(known.len(), 8);
        lose(&fake, &id, lost);
        let before = fake.server.requests().len();
        let resumed = resumed(&fake, &id, &known, Some(LEN as u64)).await;
        assert_eq!(resumed.kept_parts as usize, 8 - lost.len());
        let missing: u64 = resumed
            .missing
            .iter()
            .map(|range| range.end.min(LEN as u64) - range.start)
            .sum();
        assert_eq!(missing, LEN as u64 - resumed.kept_bytes, "{lost:?}");
        let uploaded = go_on(resumed).await.unwrap();
        assert!(fake.object("key").unwrap() == content(LEN), "{lost:?}");
        assert_eq!(parts_since(&fake, before), lost.iter().copied().collect());
        assert_eq!(uploaded.sent_bytes + uploaded.kept_bytes, LEN as u64);
        assert_eq!(uploaded.parts, 8);
        assert!(uploaded.etag_verified);
    }
    assert_eq!(fake.open_uploads(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_has_can_be_passed_over_and_nothing_else() {
    let fake = Fake::start().await;
    let (id, known) = all_sent(&fake).await;
    lose(&fake, &id, &[2]);
    let Resumed {
        mut sink,
        mut upload,
        missing,
        ..
    } = resumed(&fake, &id, &known, Some(LEN as u64)).await;
    assert_eq!(missing, [1000..2000]);
    tokio::task::spawn_blocking(move || {
        sink.skip(1000).unwrap();
        sink.write(&content(2000)[1000..]).unwrap();
        // In pieces that end inside of parts.
        sink.skip(4321).unwrap();
        sink.skip(LEN as u64 - 2000 - 4321).unwrap();
        sink.close().unwrap();
    })
    .await
    .unwrap();
    upload.complete().await.unwrap();
    assert!(fake.object("key").unwrap() == content(LEN));

    let (id, known) = all_sent(&fake).await;
    lose(&fake, &id, &[2]);
    let mut resumed = resumed(&fake, &id, &known, Some(LEN as u64)).await;
    let skipped = tokio::task::spawn_blocking(move || resumed.sink.skip(1001)).await;
    assert!(skipped.unwrap().unwrap_err().to_string().contains("part 2"));
}

/// While nobody knows what the ETags are, a damaged part looks like one of a storage whose ETags
/// are no MD5s.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_that_turns_out_to_be_damaged_is_not_joined_and_is_sent_again() {
    for can_list in [true, false] {
        let damaged = vec![7; 1000];
        let etag = format!("\"{}\"", hex::encode(Md5::digest(&damaged)));
        let sent = AtomicUsize::new(0);
        let may_list = Arc::new(AtomicBool::new(can_list));
        let fake = Fake::with({
            let may_list = Arc::clone(&may_list);
            move |store, request| match Op::of(request) {
                Op::Part(1) if sent.fetch_add(1, Ordering::Relaxed) < 2 => {
                    for upload in store.uploads.values_mut() {
                        upload.insert(1, damaged.clone());
                    }
                    Reply::status(200).header("ETag", &etag)
                }
                Op::List if !may_list.load(Ordering::Relaxed) => error(403, "AccessDenied"),
                _ => store.handle(request),
            }
        })
        .await;
        let (options, notes) = noting(LEN as u64);
        let options = UploadOptions {
            max_in_flight: 1,
            ..options
        };
        let (sink, mut upload) = begin(&fake, &options).await;
        write_all(sink, content(LEN), 700).await.unwrap();
        let error = upload.complete().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Integrity, "{error}");
        assert!(error.to_string().contains("part 1 with ETag"), "{error}");
        assert_eq!(fake.count(|op| op == Op::Complete), 0);
        may_list.store(true, Ordering::Relaxed);
        let before = fake.server.requests().len();
        let id = upload.upload_id().to_owned();
        let resumed = resumed(&fake, &id, &notes.sorted(), Some(LEN as u64)).await;
        assert_eq!(resumed.missing, [0..1000]);
        go_on(resumed).await.unwrap();
        assert_eq!(parts_since(&fake, before), [1].into());
        assert!(fake.object("key").unwrap() == content(LEN));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_whose_etag_is_not_what_was_noted_is_sent_again() {
    let fake = Fake::start().await;
    let (id, known) = all_sent(&fake).await;
    // Same length, other content: as if somebody else had sent to this upload.
    fake.store
        .lock()
        .unwrap()
        .uploads
        .get_mut(&id)
        .unwrap()
        .insert(3, vec![7; 1000]);
    let before = fake.server.requests().len();
    let resumed = resumed(&fake, &id, &known, Some(LEN as u64)).await;
    assert_eq!(resumed.missing, [2000..3000]);
    go_on(resumed).await.unwrap();
    assert_eq!(parts_since(&fake, before), [3].into());
    assert!(fake.object("key").unwrap() == content(LEN));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_that_arrived_and_was_not_noted_is_made_again_and_not_sent_again() {
    let fake = Fake::start().await;
    let (id, mut known) = all_sent(&fake).await;
    known.retain(|part| part.number != 5 && part.number < 7);
    let before = fake.server.requests().len();
    let resumed = resumed(&fake, &id, &known, None).await;
    assert_eq!(resumed.missing, [5000..7000, 9000..u64::MAX]);
    let uploaded = go_on(resumed).await.unwrap();
    assert_eq!((uploaded.sent_bytes, uploaded.kept_bytes), (0, LEN as u64));
    assert_eq!(parts_since(&fake, before), BTreeSet::new());
    assert!(fake.object("key").unwrap() == content(LEN));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_to_completing_is_recognised_by_the_next_run() {
    // Ceph says the second when the parts of an upload are listed after it was completed.
    for code in ["NoSuchUpload", "NoSuchKey"] {
        a_lost_answer_is_recognised(code).await;
    }
}

async fn a_lost_answer_is_recognised(code: &'static str) {
    let fake = Fake::with(
        move |store, request| match (Op::of(request), store.handle(request)) {
            (Op::List, Reply::Answer(answer)) if answer.status == 404 => error(404, code),
            (_, reply) => reply,
        },
    )
    .await;
    let (id, known) = all_sent(&fake).await;
    let before = resumed(&fake, &id, &known, Some(LEN as u64)).await;
    let first = go_on(before).await.unwrap();
    match resume(&fake, &id, &known, Some(LEN as u64)).await.unwrap() {
        Resumption::Completed(uploaded) => {
            assert_eq!((uploaded.size, uploaded.etag), (first.size, first.etag));
        }
        other => panic!("{other:?}"),
    }
    // Without all parts nobody can say whose object that is, nor when it is another one.
    let some = &known[..7];
    for (known, whole) in [(some, Some(LEN as u64)), (&known[..], None)] {
        let gone = resume(&fake, &id, known, whole).await.unwrap();
        assert!(matches!(gone, Resumption::Gone), "{gone:?}");
    }
    let path = "/bucket/key".to_owned();
    let other = (content(LEN), "0123-8".to_owned());
    fake.store.lock().unwrap().objects.insert(path, other);
    let gone = resume(&fake, &id, &known, Some(LEN as u64)).await.unwrap();
    assert!(matches!(gone, Resumption::Gone), "{gone:?}");
}

#[tokio::test]
async fn a_listing_that_does_not_get_on_ends_with_an_error() {
    for part in [
        "",
        "<Part><PartNumber>1</PartNumber><ETag>x</ETag><Size>5</Size></Part>",
    ] {
        let fake = Fake::with(move |_, _| {
            xml(format!(
                "<ListPartsResult><IsTruncated>true</IsTruncated>{part}</ListPartsResult>"
            ))
        })
        .await;
        let error = fake
            .client
            .list_parts("bucket", "key", "id")
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Server, "{error}");
        assert!(fake.server.requests().len() <= 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_longer_or_shorter_than_before_is_not_completed() {
    let fake = Fake::start().await;
    let (id, known) = all_sent(&fake).await;
    for len in [LEN - 1, LEN + 1] {
        let options = options(LEN as u64 + 10);
        let earlier = EarlierUpload {
            upload_id: &id,
            known: &known,
            whole: Some(LEN as u64),
        };
        let resumption = fake
            .client
            .resume_upload("bucket", "key", &earlier, &options)
            .await
            .unwrap();
        let Resumption::GoesOn(resumed) = resumption else {
            panic!("{resumption:?}");
        };
        let mut upload = resumed.upload;
        write_all(resumed.sink, content(len), 700)
            .await
            .unwrap_err();
        let error = upload.complete().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    }
    assert!(fake.object("key").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_upload_keeps_what_arrives_in_time_and_does_not_wait_for_more() {
    let fake = Fake::with(|store, request| {
        let reply = store.handle(request);
        match Op::of(request) {
            Op::Part(1) => reply.after(Duration::from_millis(300)),
            Op::Part(2) => Reply::Stall,
            _ => reply,
        }
    })
    .await;
    let (options, notes) = noting(LEN as u64);
    let (mut sink, mut upload) = begin(&fake, &options).await;
    tokio::task::spawn_blocking(move || {
        sink.write(&content(2500)).unwrap();
        // Given up on purpose, as a conversion that is stopped does.
        std::mem::forget(sink);
    })
    .await
    .unwrap();
    // They wait for others for a while before they are hashed and sent.
    while fake.count(|op| matches!(op, Op::Part(_))) < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Part 2 never arrives: a pause that waited for it would hang.
    tokio::time::timeout(
        testkit::measure::HANG,
        upload.pause(Duration::from_millis(900)),
    )
    .await
    .unwrap();
    let numbers: Vec<_> = notes.sorted().iter().map(|part| part.number).collect();
    assert_eq!(numbers, [1]);
    assert_eq!(fake.open_uploads(), 1);
    assert_eq!(fake.count(|op| op == Op::Abort), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notes_that_cannot_be_written_fail_the_upload_with_their_own_error() {
    struct Full;
    impl PartLog for Full {
        fn confirmed(&self, _: &PartRecord) -> Result<(), SinkError> {
            Err("no room for notes".into())
        }
    }
    let fake = Fake::start().await;
    let options = UploadOptions {
        log: Arc::new(Full),
        ..options(LEN as u64)
    };
    let (sink, mut upload) = begin(&fake, &options).await;
    let _ = write_all(sink, content(LEN), 700).await;
    let error = upload.complete().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Local);
    assert_eq!(error.to_string(), "no room for notes");
    assert!(fake.object("key").is_none());
}
