//! Multipart uploads: parts, listings, completing.

use crate::support::*;

#[tokio::test]
async fn multipart_upload_becomes_the_object_with_the_multipart_etag() {
    let (dir, sandbox) = start().await;
    let client = client(&sandbox);
    let id = begin(&client).await;
    assert_eq!(id.len(), 32);
    let bodies = [bytes(1, 300 * KIB), bytes(2, 200 * KIB), bytes(3, 5)];
    // Out of order, and with gaps between the numbers.
    let third = upload(&client, &id, 9, bodies[2].clone()).await;
    let first = upload(&client, &id, 2, bodies[0].clone()).await;
    let second = upload(&client, &id, 5, bodies[1].clone()).await;
    assert_eq!(
        first.e_tag(),
        Some(format!("\"{}\"", md5_hex(&bodies[0])).as_str())
    );
    let head = client.head_object().bucket(BUCKET).key(KEY).send().await;
    assert!(head.is_err(), "an unfinished upload must not be an object");

    let etag = complete(&client, &id, &[first, second, third]).await;
    let digests: Vec<u8> = bodies.iter().flat_map(Md5::digest).collect();
    let expected = format!("\"{}-3\"", md5_hex(&digests));
    assert_eq!(etag.as_deref(), Ok(expected.as_str()));

    let head = client.head_object().bucket(BUCKET).key(KEY).send().await;
    let head = head.unwrap();
    assert_eq!(head.e_tag(), Some(expected.as_str()));
    assert_eq!(head.content_length(), Some((500 * KIB + 5) as i64));
    assert_eq!(head.storage_class(), Some(&StorageClass::Standard));
    assert_eq!(object(&client).await, bodies.concat());
    // The import opens the object by its path.
    let path = dir.path().join("sandbox/obs").join(BUCKET).join(KEY);
    assert_eq!(std::fs::read(path).unwrap(), bodies.concat());
    let left = std::fs::read_dir(dir.path().join("sandbox/uploads")).unwrap();
    assert_eq!(left.count(), 0, "parts of a completed upload must go");
}

#[tokio::test]
async fn parts_are_listed_by_number_in_pages_with_size_and_etag() {
    let (_dir, sandbox) = start().await;
    let client = client(&sandbox);
    let id = begin(&client).await;
    for number in [7, 1, 10_000, 3, 2] {
        upload(&client, &id, number, bytes(number as u8, number as usize)).await;
    }
    // The same number again: the last one counts.
    upload(&client, &id, 3, bytes(33, 33)).await;

    let mut seen = Vec::new();
    let mut marker = None;
    let mut pages = 0;
    loop {
        let page = client
            .list_parts()
            .bucket(BUCKET)
            .key(KEY)
            .upload_id(&id)
            .max_parts(2)
            .set_part_number_marker(marker)
            .send()
            .await
            .unwrap();
        pages += 1;
        for part in page.parts() {
            assert!(part.last_modified().is_some());
            let etag = part.e_tag().unwrap().trim_matches('"').to_owned();
            seen.push((part.part_number().unwrap(), part.size().unwrap(), etag));
        }
        if page.is_truncated() != Some(true) {
            break;
        }
        marker = page.next_part_number_marker().map(str::to_owned);
    }
    assert_eq!(pages, 3);
    let expected: Vec<_> = [
        (1, bytes(1, 1)),
        (2, bytes(2, 2)),
        (3, bytes(33, 33)),
        (7, bytes(7, 7)),
        (10_000, bytes(16, 10_000)),
    ]
    .into_iter()
    .map(|(number, body)| (number, body.len() as i64, md5_hex(&body)))
    .collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn aborted_and_completed_uploads_are_unknown() {
    let (dir, sandbox) = start().await;
    let client = client(&sandbox);
    let list = |id: String| client.list_parts().bucket(BUCKET).key(KEY).upload_id(id);

    let id = begin(&client).await;
    upload(&client, &id, 1, bytes(1, 10)).await;
    let abort = client.abort_multipart_upload().bucket(BUCKET).key(KEY);
    abort.clone().upload_id(&id).send().await.unwrap();
    let error = list(id.clone()).send().await.unwrap_err();
    assert_eq!(code(&error), "NoSuchUpload");
    let error = abort.upload_id(&id).send().await.unwrap_err();
    assert_eq!(code(&error), "NoSuchUpload");
    let error = client
        .upload_part()
        .bucket(BUCKET)
        .key(KEY)
        .upload_id(&id)
        .part_number(1)
        .body(ByteStream::from_static(b"x"))
        .send()
        .await
        .unwrap_err();
    assert_eq!(code(&error), "NoSuchUpload");
    for place in ["uploads", "tmp"] {
        let left = std::fs::read_dir(dir.path().join("sandbox").join(place)).unwrap();
        assert_eq!(left.count(), 0, "{place} must be empty after abort");
    }

    let id = begin(&client).await;
    let part = upload(&client, &id, 1, bytes(1, 10)).await;
    complete(&client, &id, &[part]).await.unwrap();
    let error = list(id).send().await.unwrap_err();
    assert_eq!(code(&error), "NoSuchUpload");
    for hostile in ["../../keys.json", "", &"0".repeat(32), &"x".repeat(9000)] {
        let answer = list(hostile.to_owned()).send().await;
        assert!(answer.is_err(), "{hostile:.40}");
    }
}

#[tokio::test]
async fn complete_refuses_wrong_order_wrong_etag_missing_and_small_parts() {
    let (_dir, sandbox) = start().await;
    let client = client(&sandbox);
    let id = begin(&client).await;
    let small = upload(&client, &id, 1, bytes(1, 100 * KIB - 1)).await;
    let big = upload(&client, &id, 2, bytes(2, 100 * KIB)).await;
    let last = upload(&client, &id, 3, bytes(3, 1)).await;
    let part = |number: i32, etag: &str| {
        CompletedPart::builder()
            .part_number(number)
            .e_tag(etag)
            .build()
    };
    let wrong = part(2, small.e_tag().unwrap());
    let missing = part(4, last.e_tag().unwrap());
    for (parts, expected) in [
        (vec![last.clone(), big.clone()], "InvalidPartOrder"),
        (vec![big.clone(), big.clone()], "InvalidPartOrder"),
        (vec![wrong, last.clone()], "InvalidPart"),
        (vec![big.clone(), missing], "InvalidPart"),
        (
            vec![small.clone(), big.clone(), last.clone()],
            "EntityTooSmall",
        ),
    ] {
        let refused = complete(&client, &id, &parts).await.unwrap_err();
        assert_eq!(refused, expected);
    }
    // None of this has hurt the upload; what is not listed is dropped.
    complete(&client, &id, &[big, last]).await.unwrap();
    assert_eq!(
        object(&client).await,
        [bytes(2, 100 * KIB), bytes(3, 1)].concat()
    );
}

#[tokio::test]
async fn unfinished_uploads_are_listed_by_key_in_pages() {
    let (_dir, sandbox) = start().await;
    let client = client(&sandbox);
    for key in ["b", "a/2", "a/1", "c"] {
        let create = client.create_multipart_upload().bucket(BUCKET).key(key);
        create.send().await.unwrap();
    }
    let list = client
        .list_multipart_uploads()
        .bucket(BUCKET)
        .max_uploads(3);
    let first = list.clone().send().await.unwrap();
    let keys = |uploads: &[aws_sdk_s3::types::MultipartUpload]| -> Vec<String> {
        uploads
            .iter()
            .map(|u| u.key().unwrap().to_owned())
            .collect()
    };
    assert_eq!(keys(first.uploads()), ["a/1", "a/2", "b"]);
    assert_eq!(first.is_truncated(), Some(true));
    let second = list
        .clone()
        .set_key_marker(first.next_key_marker)
        .set_upload_id_marker(first.next_upload_id_marker)
        .send()
        .await
        .unwrap();
    assert_eq!(keys(second.uploads()), ["c"]);
    let some = list.prefix("a/").send().await.unwrap();
    assert_eq!(keys(some.uploads()), ["a/1", "a/2"]);
}

#[tokio::test]
async fn numbers_out_of_range_are_refused() {
    let (_dir, sandbox) = start().await;
    let client = client(&sandbox);
    let id = begin(&client).await;
    for number in [0, -1, 10_001, i32::MIN] {
        let part = client.upload_part().bucket(BUCKET).key(KEY).upload_id(&id);
        let part = part.part_number(number).body(ByteStream::from_static(b"x"));
        assert_eq!(code(&part.send().await.unwrap_err()), "InvalidArgument");
    }
    let list = client.list_parts().bucket(BUCKET).key(KEY).upload_id(&id);
    let refused = list.clone().max_parts(-1).send().await.unwrap_err();
    assert_eq!(code(&refused), "InvalidArgument");
    let none = list.max_parts(0).part_number_marker("-5").send().await;
    assert!(none.unwrap().parts().is_empty());
    let list = client.list_multipart_uploads().bucket(BUCKET);
    let refused = list.max_uploads(-1).send().await.unwrap_err();
    assert_eq!(code(&refused), "InvalidArgument");
    let objects = client.list_objects_v2().bucket(BUCKET).max_keys(-1);
    let _ = objects.send().await;
    client.head_bucket().bucket(BUCKET).send().await.unwrap();
}

#[tokio::test]
async fn of_two_completes_at_a_time_one_makes_the_object() {
    let (_dir, sandbox) = start().await;
    let client = client(&sandbox);
    let id = begin(&client).await;
    let parts = futures::future::join_all(
        (1..=8).map(|number| upload(&client, &id, number, bytes(number as u8, 200 * KIB))),
    )
    .await;
    let (one, two) = tokio::join!(
        complete(&client, &id, &parts),
        complete(&client, &id, &parts)
    );
    let mut outcomes = [one.is_ok(), two.is_ok()];
    outcomes.sort_unstable();
    assert_eq!(outcomes, [false, true]);
    let expected: Vec<u8> = (1..=8)
        .flat_map(|number| bytes(number, 200 * KIB))
        .collect();
    assert_eq!(object(&client).await, expected);
}

#[tokio::test]
async fn restart_keeps_keys_objects_and_uploads() {
    let dir = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::start(options(&dir)).await.unwrap();
    let before = client(&sandbox);
    let put = before.put_object().bucket(BUCKET).key("kept");
    put.body(ByteStream::from_static(b"kept"))
        .send()
        .await
        .unwrap();
    let id = begin(&before).await;
    let first = upload(&before, &id, 1, bytes(1, 100 * KIB)).await;
    let key = sandbox.access_key().clone();

    let busy = Sandbox::start(options(&dir)).await;
    assert!(matches!(busy, Err(sandbox::Error::InUse { .. })));
    sandbox.shutdown().await;

    let sandbox = Sandbox::start(options(&dir)).await.unwrap();
    assert_eq!(sandbox.access_key().id, key.id);
    let after = client_with(
        &sandbox,
        &key.id,
        key.secret.expose_secret(),
        sandbox.region(),
    );
    let kept = after.get_object().bucket(BUCKET).key("kept").send().await;
    let kept = kept.unwrap().body.collect().await.unwrap();
    assert_eq!(kept.into_bytes(), "kept");
    let second = upload(&after, &id, 2, bytes(2, 9)).await;
    complete(&after, &id, &[first, second]).await.unwrap();
    assert_eq!(
        object(&after).await,
        [bytes(1, 100 * KIB), bytes(2, 9)].concat()
    );
}

#[tokio::test]
async fn ordered_faults_happen_once_each() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(&dir);
    options.faults = Faults {
        upload_part_unavailable: vec![1],
        complete_answer_lost: vec![1],
        ..Faults::default()
    };
    let sandbox = Sandbox::start(options).await.unwrap();
    let client = client(&sandbox);
    let id = begin(&client).await;
    let part = client.upload_part().bucket(BUCKET).key(KEY).upload_id(&id);
    let part = part.part_number(1).body(ByteStream::from_static(b"x"));
    let refused = part.send().await.unwrap_err();
    assert_eq!(code(&refused), "SlowDown");
    assert_eq!(refused.raw_response().unwrap().status().as_u16(), 503);
    let part = upload(&client, &id, 1, b"x".to_vec()).await;
    let lost = complete(&client, &id, std::slice::from_ref(&part)).await;
    assert_eq!(lost, Err("InternalError".to_owned()));
    assert_eq!(object(&client).await, b"x");
    let again = complete(&client, &id, &[part]).await;
    assert_eq!(again, Err("NoSuchUpload".to_owned()));
}
