//! Parts that lie in their places in what becomes the object.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::CompletedPart;
use tempfile::TempDir;

use crate::support::*;

const UNIT: usize = 600 * KIB;

fn body_of(dir: &TempDir, id: &str) -> PathBuf {
    dir.path().join("sandbox/uploads").join(id).join("body")
}

fn path_of(dir: &TempDir) -> PathBuf {
    dir.path().join("sandbox/obs").join(BUCKET).join(KEY)
}

/// A part that the server refuses when it has stored it: its MD5 is another one.
async fn refused(client: &Client, id: &str, number: i32, body: Vec<u8>) {
    let part = client.upload_part().bucket(BUCKET).key(KEY).upload_id(id);
    let sent = part
        .part_number(number)
        .content_md5("AAAAAAAAAAAAAAAAAAAAAA==")
        .body(ByteStream::from(body))
        .send()
        .await;
    assert_eq!(code(&sent.unwrap_err()), "BadDigest");
}

#[tokio::test]
async fn parts_of_one_size_become_the_object_without_being_copied() {
    let (dir, sandbox) = start().await;
    let client = client(&sandbox);
    let id = begin(&client).await;
    let bodies: Vec<Vec<u8>> = (1..=9)
        .map(|number| bytes(number, if number == 9 { 77 } else { UNIT }))
        .collect();
    let mut parts = Vec::new();
    for number in [3, 1, 2, 9, 8, 7, 4, 6, 5] {
        let body = bodies[number as usize - 1].clone();
        parts.push(upload(&client, &id, number, body).await);
    }
    parts.sort_by_key(CompletedPart::part_number);
    let inode = fs::metadata(body_of(&dir, &id)).unwrap().ino();
    complete(&client, &id, &parts).await.unwrap();
    assert_eq!(object(&client).await, bodies.concat());
    let object = fs::metadata(path_of(&dir)).unwrap();
    assert_eq!((object.ino(), object.nlink()), (inode, 1));
    let left = fs::read_dir(dir.path().join("sandbox/tmp")).unwrap();
    assert_eq!(left.count(), 0);
}

#[tokio::test]
async fn a_completion_that_is_refused_leaves_every_part_as_it_was() {
    let (dir, sandbox) = start().await;
    let client = client(&sandbox);
    let id = begin(&client).await;
    let mut parts = Vec::new();
    for number in 1..=4 {
        parts.push(upload(&client, &id, number, bytes(number as u8, UNIT)).await);
    }
    // Larger than its place: in a file of its own.
    parts.push(upload(&client, &id, 5, bytes(5, UNIT + 1)).await);
    // The key is a directory as long as this object is there.
    put(&client, &format!("{KEY}/below"), b"x".to_vec()).await;
    assert_eq!(
        complete(&client, &id, &parts).await,
        Err("InvalidArgument".to_owned())
    );
    let listed = client.list_parts().bucket(BUCKET).key(KEY).upload_id(&id);
    assert_eq!(listed.send().await.unwrap().parts().len(), 5);
    let below = client.delete_object().bucket(BUCKET);
    below.key(format!("{KEY}/below")).send().await.unwrap();
    let _ = fs::remove_dir(path_of(&dir));
    complete(&client, &id, &parts).await.unwrap();
    let expected: Vec<u8> = (1..=5)
        .flat_map(|number| bytes(number, UNIT + usize::from(number == 5)))
        .collect();
    assert!(object(&client).await == expected);
}

/// One part of a random upload.
struct Random {
    number: i32,
    body: Vec<u8>,
}

fn content(seed: u8, len: usize) -> Vec<u8> {
    let mut body = bytes(seed, len);
    // Zeros are left out when they are stored.
    if seed.is_multiple_of(3) {
        let end = len - len / 16;
        body[len / 16..end].fill(0);
    }
    body
}

/// Parts that mostly have one size, in any order, some sent again with other content, some refused
/// before or after, some never listed, over a restart: the object is always what was listed.
#[tokio::test]
async fn whatever_happens_to_the_parts_the_object_is_what_was_confirmed_last() {
    for seed in 0..40 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut chance = |of: u32| rng.u32(0..of) == 0;
        let dir = tempfile::tempdir().unwrap();
        let mut sandbox = sandbox::Sandbox::start(options(&dir)).await.unwrap();
        let mut client = self::client(&sandbox);
        let id = begin(&client).await;
        let mut order: Vec<i32> = (1..=6).collect();
        if chance(2) {
            order.reverse();
        }
        if chance(2) {
            order.swap(0, 3);
        }
        let mut sent: Vec<(Random, CompletedPart)> = Vec::new();
        for number in order {
            let times = if chance(4) { 2 } else { 1 };
            for time in 0..times {
                let len = match number {
                    6 => 999,
                    _ if chance(8) => UNIT + KIB,
                    _ if chance(8) => UNIT - KIB,
                    _ => UNIT,
                };
                let body = content((number * 2 + time) as u8, len);
                if chance(6) {
                    refused(&client, &id, number, content(200, len)).await;
                }
                let part = upload(&client, &id, number, body.clone()).await;
                if chance(6) {
                    refused(&client, &id, number, content(201, len)).await;
                }
                sent.retain(|(known, _)| known.number != number);
                sent.push((Random { number, body }, part));
            }
            if chance(20) {
                sandbox.shutdown().await;
                sandbox = sandbox::Sandbox::start(options(&dir)).await.unwrap();
                client = self::client(&sandbox);
            }
        }
        sent.sort_by_key(|(part, _)| part.number);
        if chance(3) {
            sent.remove(2);
        }
        let (parts, listed): (Vec<_>, Vec<_>) = sent.into_iter().unzip();
        if chance(2) {
            let mut wrong = listed.clone();
            wrong.swap(0, 1);
            complete(&client, &id, &wrong).await.unwrap_err();
        }
        complete(&client, &id, &listed).await.unwrap();
        let expected: Vec<u8> = parts.into_iter().flat_map(|part| part.body).collect();
        assert!(object(&client).await == expected, "seed {seed}");
    }
}
