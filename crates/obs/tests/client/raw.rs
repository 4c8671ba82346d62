//! Raw uploads through a proxy that goes wrong: zeros are copied where that works, and sent where
//! not.

use std::sync::Arc;
use std::time::Duration;

use convert::parts::{Filled, PART_UNIT};
use convert::{PartSink, SinkError};
use obs::{
    EarlierUpload, Error, ErrorKind, Layout, PartLog, PartRecord, Resumption, ServerCopies,
    UnorderedSink, Upload, UploadOptions, Uploaded,
};
use testkit::faults::{Fault, Op, mix};

use super::proxied::{BUCKET, Cloud};

const KEY: &str = "disks/a disk.raw";
const PART: u64 = PART_UNIT;
const TAIL: u64 = 4608;

/// The parts of a disk: `None` for one that the metadata calls zero, else the byte that it is full
/// of. A part of byte 0 is found to be zero by reading.
const DISK: [Option<u8>; 8] = [Some(1), None, None, Some(0), Some(2), None, Some(3), None];

fn len_of(number: usize, disk: &[Option<u8>]) -> u64 {
    if number == disk.len() { TAIL } else { PART }
}

fn content(disk: &[Option<u8>]) -> Vec<u8> {
    let parts = disk.iter().enumerate();
    parts
        .flat_map(|(index, part)| {
            vec![part.unwrap_or(0); usize::try_from(len_of(index + 1, disk)).unwrap()]
        })
        .collect()
}

/// Hands all parts over, the last first.
fn feed(sink: &UnorderedSink, disk: &[Option<u8>]) -> Result<(), SinkError> {
    for number in (1..=disk.len()).rev() {
        let (id, len) = (u32::try_from(number).unwrap(), len_of(number, disk));
        match disk[number - 1] {
            None => sink.zeros(id, len)?,
            Some(byte) => sink.part(id, len, &mut |buffer| {
                assert!(buffer.iter().all(|byte| *byte == 0));
                buffer.fill(byte);
                Ok(if byte == 0 {
                    Filled::Zeros
                } else {
                    Filled::Data
                })
            })?,
        }
    }
    Ok(())
}

fn options(len: u64) -> UploadOptions {
    UploadOptions {
        memory: PART * 4,
        max_in_flight: 3,
        expected_max: len,
        layout: Layout::Unordered { part_size: PART },
        ..UploadOptions::default()
    }
}

async fn begin(cloud: &Cloud, options: &UploadOptions) -> Result<(UnorderedSink, Upload), Error> {
    let (sink, upload) = cloud.client.start_upload(BUCKET, KEY, options).await?;
    Ok((sink.into_unordered()?, upload))
}

async fn upload(cloud: &Cloud, disk: &'static [Option<u8>]) -> Result<Uploaded, Error> {
    let len = PART * (disk.len() as u64 - 1) + TAIL;
    let (sink, mut upload) = begin(cloud, &options(len)).await?;
    let fed = tokio::task::spawn_blocking(move || {
        feed(&sink, disk).map_err(|error| *error.downcast::<Error>().unwrap())?;
        sink.close()
    });
    let fed = fed.await.unwrap();
    let completed = match fed {
        Ok(()) => upload.complete().await,
        Err(error) => Err(error),
    };
    if completed.is_err() {
        upload.abort().await.unwrap();
    }
    completed
}

fn copies(uploaded: &Uploaded) -> &ServerCopies {
    uploaded.copies.as_ref().unwrap()
}

/// Objects in the bucket beside the one that is uploaded.
fn helpers(cloud: &Cloud) -> usize {
    let dir = std::fs::read_dir(cloud.bucket_dir().join("disks"));
    let names = dir
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().file_name());
    names
        .filter(|name| name.to_string_lossy().contains(".zeros-"))
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_part_of_zeros_is_sent_and_all_others_are_copied() {
    let cloud = Cloud::start().await;
    let uploaded = upload(&cloud, &DISK).await.unwrap();
    assert!(cloud.stored(KEY).unwrap() == content(&DISK));
    assert!(uploaded.etag_verified);
    assert_eq!(copies(&uploaded).copied_parts, 5);
    assert_eq!(copies(&uploaded).copied_bytes, 4 * PART + TAIL);
    assert_eq!(uploaded.sent_bytes, 3 * PART + PART);
    assert_eq!(
        (
            copies(&uploaded).zero_parts_sent,
            &copies(&uploaded).copies_refused
        ),
        (0, &None)
    );
    assert_eq!(cloud.proxy.count(Op::PutObject), 1);
    assert_eq!(cloud.proxy.count(Op::UploadPart), 3);
    assert_eq!(copies(&uploaded).left_behind, None);
    assert_eq!(helpers(&cloud), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_without_zeros_has_no_helper_object() {
    let cloud = Cloud::start().await;
    const FULL: [Option<u8>; 3] = [Some(1), Some(2), Some(3)];
    let uploaded = upload(&cloud, &FULL).await.unwrap();
    assert!(cloud.stored(KEY).unwrap() == content(&FULL));
    assert_eq!(cloud.proxy.count(Op::PutObject), 0);
    assert_eq!(cloud.proxy.count(Op::DeleteObject), 0);
    assert_eq!(uploaded.sent_bytes, 2 * PART + TAIL);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_refuses_copies_is_sent_the_zeros() {
    for (status, code) in [
        (501, "NotImplemented"),
        (403, "AccessDenied"),
        (405, "MethodNotAllowed"),
        (400, "InvalidRequest"),
        (404, "NoSuchKey"),
    ] {
        let cloud = Cloud::start().await;
        let refusal = Fault::answer(status, code);
        cloud.proxy.always(|seen| seen.op == Op::CopyPart, refusal);
        let uploaded = upload(&cloud, &DISK).await.unwrap();
        assert!(cloud.stored(KEY).unwrap() == content(&DISK), "{code}");
        assert_eq!(
            (
                copies(&uploaded).copied_parts,
                copies(&uploaded).zero_parts_sent
            ),
            (0, 5),
            "{code}"
        );
        assert!(
            copies(&uploaded)
                .copies_refused
                .as_ref()
                .unwrap()
                .contains(code)
        );
        // Those that were under way together, and none after that.
        assert!(cloud.proxy.count(Op::CopyPart) <= 3, "{code}");
        assert_eq!(helpers(&cloud), 0, "{code}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_200_without_an_etag_is_a_failure_that_is_tried_again() {
    for fault in [
        Fault::answer(200, ""),
        Fault::error_in_200(),
        Fault::TruncatedAnswer,
        Fault::WrongEtag,
        Fault::slow_down(),
        Fault::ResetAfter,
    ] {
        let cloud = Cloud::start().await;
        cloud
            .proxy
            .once(|seen| seen.op == Op::CopyPart, fault.clone());
        let uploaded = upload(&cloud, &DISK).await.unwrap();
        assert!(cloud.stored(KEY).unwrap() == content(&DISK), "{fault:?}");
        assert_eq!(
            (
                copies(&uploaded).copied_parts,
                copies(&uploaded).zero_parts_sent
            ),
            (5, 0),
            "{fault:?}"
        );
        assert_eq!(cloud.proxy.count(Op::CopyPart), 6, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_never_confirms_a_copy_is_sent_the_zeros() {
    let cloud = Cloud::start().await;
    cloud
        .proxy
        .always(|seen| seen.op == Op::CopyPart, Fault::answer(200, ""));
    let uploaded = upload(&cloud, &DISK).await.unwrap();
    assert!(cloud.stored(KEY).unwrap() == content(&DISK));
    assert_eq!(copies(&uploaded).zero_parts_sent, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_helper_object_that_is_not_taken_is_done_without() {
    let cloud = Cloud::start().await;
    let refusal = Fault::answer(403, "AccessDenied");
    cloud.proxy.always(|seen| seen.op == Op::PutObject, refusal);
    let uploaded = upload(&cloud, &DISK).await.unwrap();
    assert!(cloud.stored(KEY).unwrap() == content(&DISK));
    assert_eq!(copies(&uploaded).zero_parts_sent, 5);
    assert_eq!(cloud.proxy.count(Op::CopyPart), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_helper_object_is_deleted_after_a_failure_too() {
    let cloud = Cloud::start().await;
    let refusal = Fault::answer(403, "AccessDenied");
    // Part 1 is handed over last, when the helper is there.
    let last = |seen: &testkit::faults::Seen| seen.op == Op::UploadPart && seen.part == Some(1);
    cloud.proxy.always(last, refusal);
    let error = upload(&cloud, &DISK).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AccessDenied);
    assert_eq!(cloud.proxy.count(Op::PutObject), 1);
    assert_eq!(cloud.proxy.count(Op::AbortUpload), 1);
    assert_eq!(helpers(&cloud), 0);
    assert_eq!(cloud.stored(KEY), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_helper_object_that_cannot_be_deleted_is_named_and_no_failure() {
    let cloud = Cloud::start().await;
    let refusal = Fault::answer(403, "AccessDenied");
    cloud
        .proxy
        .always(|seen| seen.op == Op::DeleteObject, refusal);
    let uploaded = upload(&cloud, &DISK).await.unwrap();
    assert!(cloud.stored(KEY).unwrap() == content(&DISK));
    assert!(
        copies(&uploaded)
            .left_behind
            .as_ref()
            .unwrap()
            .contains("a disk.raw.zeros-")
    );
    assert_eq!(helpers(&cloud), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_with_parts_missing_is_never_completed() {
    let cloud = Cloud::start().await;
    let (sink, mut upload) = begin(&cloud, &options(3 * PART)).await.unwrap();
    sink.zeros(1, PART).unwrap();
    sink.zeros(3, PART).unwrap();
    assert!(
        sink.close()
            .unwrap_err()
            .to_string()
            .contains("2 of 3 parts were made")
    );
    assert!(upload.complete().await.is_err());
    upload.abort().await.unwrap();
    assert_eq!(cloud.proxy.count(Op::CompleteUpload), 0);
    assert_eq!(helpers(&cloud), 0);
}

#[tokio::test]
async fn a_stream_takes_no_parts_out_of_order() {
    let cloud = Cloud::start().await;
    let stream = UploadOptions {
        layout: super::proxied::SMALL,
        ..options(10)
    };
    let (sink, mut upload) = cloud
        .client
        .start_upload(BUCKET, KEY, &stream)
        .await
        .unwrap();
    assert_eq!(
        sink.into_unordered().unwrap_err().kind(),
        ErrorKind::Refused
    );
    assert!(upload.complete().await.is_err());
    assert_eq!(upload.helper(), None);
    upload.abort().await.unwrap();
}

/// What a journal would hold.
#[derive(Default)]
struct Notes(std::sync::Mutex<std::collections::BTreeMap<u32, PartRecord>>);

impl PartLog for Notes {
    fn confirmed(&self, part: &PartRecord) -> Result<(), SinkError> {
        self.0.lock().unwrap().insert(part.number, part.clone());
        Ok(())
    }
}

const LEN: u64 = PART * (DISK.len() as u64 - 1) + TAIL;

fn noting() -> (UploadOptions, Arc<Notes>) {
    let notes = Arc::<Notes>::default();
    let options = UploadOptions {
        log: Arc::<Notes>::clone(&notes),
        ..options(LEN)
    };
    (options, notes)
}

/// Hands all parts over and waits for what comes of it.
async fn feed_all(sink: UnorderedSink) -> Result<(), String> {
    let fed = tokio::task::spawn_blocking(move || {
        feed(&sink, &DISK).map_err(|error| error.to_string())?;
        sink.close().map_err(|error| error.to_string())
    });
    fed.await.unwrap()
}

/// An upload that was stopped by a refusal of part 5; its id, and what was noted: parts 6, 7 and 8,
/// and zeros that overtook part 5 while it was hashed.
async fn stopped(cloud: &Cloud) -> (String, Vec<PartRecord>) {
    let (options, notes) = noting();
    let refusal = Fault::answer(403, "AccessDenied");
    let fifth = |seen: &testkit::faults::Seen| seen.op == Op::UploadPart && seen.part == Some(5);
    cloud.proxy.always(fifth, refusal);
    // In turn, so that it is known what is there.
    let options = UploadOptions {
        max_in_flight: 1,
        ..options
    };
    let (sink, mut upload) = begin(cloud, &options).await.unwrap();
    let _ = feed_all(sink).await;
    let error = upload.sent().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AccessDenied);
    upload.pause(Duration::from_millis(100)).await;
    cloud.proxy.heal();
    let known: Vec<_> = notes.0.lock().unwrap().values().cloned().collect();
    let numbers: Vec<_> = known.iter().map(|part| part.number).collect();
    assert!(numbers.ends_with(&[6, 7, 8]), "{numbers:?}");
    (upload.upload_id().to_owned(), known)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_raw_upload_goes_on_and_neither_sends_nor_copies_what_is_there() {
    let mut cloud = Cloud::start().await;
    let (id, known) = stopped(&cloud).await;
    assert_eq!(helpers(&cloud), 1);
    cloud.renew_proxy().await;
    let (options, notes) = noting();
    let earlier = EarlierUpload {
        upload_id: &id,
        known: &known,
        whole: None,
    };
    let resuming = cloud.client.resume_upload(BUCKET, KEY, &earlier, &options);
    let Resumption::GoesOn(resumed) = resuming.await.unwrap() else {
        panic!("gone");
    };
    let stored_bytes = PART * (known.len() as u64 - 1) + TAIL;
    assert_eq!(
        (resumed.kept_parts as usize, resumed.kept_bytes),
        (known.len(), stored_bytes)
    );
    let mut upload = resumed.upload;
    feed_all(resumed.sink.into_unordered().unwrap())
        .await
        .unwrap();
    let uploaded = upload.complete().await.unwrap();
    assert!(cloud.stored(KEY).unwrap() == content(&DISK));
    // Parts 1 and 5 hold data; the others are zeros, from the helper that was there.
    assert_eq!(cloud.proxy.count(Op::UploadPart), 2);
    let rest = DISK.len() - 2 - known.len();
    assert_eq!(cloud.proxy.count(Op::CopyPart) as usize, rest);
    assert_eq!(cloud.proxy.count(Op::PutObject), 0);
    assert_eq!(uploaded.sent_bytes, 2 * PART);
    assert_eq!(uploaded.kept_bytes, stored_bytes);
    assert_eq!(helpers(&cloud), 0);
    assert_eq!(notes.0.lock().unwrap().len(), DISK.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_raw_upload_whose_last_answer_was_lost_is_recognised() {
    let cloud = Cloud::start().await;
    let (options, notes) = noting();
    let (sink, mut upload) = begin(&cloud, &options).await.unwrap();
    feed_all(sink).await.unwrap();
    let first = upload.complete().await.unwrap();
    let id = upload.upload_id().to_owned();
    let known: Vec<_> = notes.0.lock().unwrap().values().cloned().collect();
    for (whole, there) in [(Some(LEN), true), (None, false), (Some(LEN - 1), false)] {
        let earlier = EarlierUpload {
            upload_id: &id,
            known: &known,
            whole,
        };
        let resuming = cloud.client.resume_upload(BUCKET, KEY, &earlier, &options);
        match (resuming.await.unwrap(), there) {
            (Resumption::Completed(found), true) => assert_eq!(found.etag, first.etag),
            (Resumption::Gone, false) => {}
            (other, _) => panic!("{whole:?}: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_mixes_of_faults_end_with_the_right_raw_object() {
    let cloud = Cloud::start().await;
    for seed in 0..15 {
        cloud.proxy.heal();
        cloud.proxy.forget();
        cloud.proxy.script(mix(seed, 30, 2));
        let uploaded = upload(&cloud, &DISK).await;
        uploaded.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert!(cloud.stored(KEY).unwrap() == content(&DISK), "seed {seed}");
    }
    assert_eq!(helpers(&cloud), 0);
}
