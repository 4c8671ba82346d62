//! Raw uploads through a proxy that goes wrong: zeros are copied where that works, and sent where not.

use convert::parts::{Filled, PART_UNIT};
use convert::{PartSink, SinkError};
use testkit::faults::{Fault, Op};

use super::proxied::{BUCKET, Cloud};
use crate::{Error, ErrorKind, RawSink, RawUploaded, UploadOptions};

const KEY: &str = "disks/a disk.raw";
const PART: u64 = PART_UNIT;
const TAIL: u64 = 4608;

/// The parts of a disk: `None` for one that the metadata calls zero, else the byte that it is full of.
/// A part of byte 0 is found to be zero by reading.
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
fn feed(sink: &RawSink, disk: &[Option<u8>]) -> Result<(), SinkError> {
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

async fn upload(cloud: &Cloud, disk: &'static [Option<u8>]) -> Result<RawUploaded, Error> {
    let len = PART * (disk.len() as u64 - 1) + TAIL;
    let options = UploadOptions {
        memory: PART * 4,
        max_in_flight: 3,
        ..UploadOptions::default()
    };
    let begun = cloud
        .client
        .start_raw_with(BUCKET, KEY, (len, PART), &options);
    let (sink, mut upload) = begun.await?;
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
    assert!(uploaded.object.etag_verified);
    assert_eq!(uploaded.copied_parts, 5);
    assert_eq!(uploaded.copied_bytes, 4 * PART + TAIL);
    assert_eq!(uploaded.object.sent_bytes, 3 * PART + PART);
    assert_eq!(
        (uploaded.zero_parts_sent, uploaded.copies_refused),
        (0, None)
    );
    assert_eq!(cloud.proxy.count(Op::PutObject), 1);
    assert_eq!(cloud.proxy.count(Op::UploadPart), 3);
    assert_eq!(uploaded.left_behind, None);
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
    assert_eq!(uploaded.object.sent_bytes, 2 * PART + TAIL);
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
            (uploaded.copied_parts, uploaded.zero_parts_sent),
            (0, 5),
            "{code}"
        );
        assert!(uploaded.copies_refused.unwrap().contains(code));
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
            (uploaded.copied_parts, uploaded.zero_parts_sent),
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
    assert_eq!(uploaded.zero_parts_sent, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_helper_object_that_is_not_taken_is_done_without() {
    let cloud = Cloud::start().await;
    let refusal = Fault::answer(403, "AccessDenied");
    cloud.proxy.always(|seen| seen.op == Op::PutObject, refusal);
    let uploaded = upload(&cloud, &DISK).await.unwrap();
    assert!(cloud.stored(KEY).unwrap() == content(&DISK));
    assert_eq!(uploaded.zero_parts_sent, 5);
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
    assert!(uploaded.left_behind.unwrap().contains("a disk.raw.zeros-"));
    assert_eq!(helpers(&cloud), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_with_parts_missing_is_never_completed() {
    let cloud = Cloud::start().await;
    let options = UploadOptions {
        memory: PART * 4,
        ..UploadOptions::default()
    };
    let len = 3 * PART;
    let begun = cloud
        .client
        .start_raw_with(BUCKET, KEY, (len, PART), &options);
    let (sink, mut upload) = begun.await.unwrap();
    sink.zeros(1, PART).unwrap();
    sink.zeros(3, PART).unwrap();
    assert!(
        sink.close()
            .unwrap_err()
            .to_string()
            .contains("2 parts were made")
    );
    assert!(upload.complete().await.is_err());
    upload.abort().await.unwrap();
    assert_eq!(cloud.proxy.count(Op::CompleteUpload), 0);
    assert_eq!(helpers(&cloud), 0);
}
