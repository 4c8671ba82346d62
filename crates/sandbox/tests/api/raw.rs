//! Raw disks with their bitmaps.

use convert::{CancelToken, VoidMonitor};

use crate::cloud::{Cloud, with};

/// A raw disk of 40 MiB with data at both ends, as an object; the bitmap that it must have.
fn put_raw_disk(cloud: &Cloud) -> Vec<u8> {
    use std::os::unix::fs::FileExt as _;
    let size = 40 << 20;
    let disk = std::fs::File::create(cloud.object_path("images", "disk.raw")).unwrap();
    disk.set_len(size).unwrap();
    disk.write_all_at(b"begin", 7).unwrap();
    disk.write_all_at(b"end", size - 3).unwrap();
    let mut bitmap = vec![0; 4096];
    // Blocks 0 and 19.
    (bitmap[0], bitmap[2]) = (1, 8);
    bitmap
}

#[tokio::test]
async fn a_raw_disk_with_its_bitmap_becomes_active_with_its_digest() {
    let cloud = Cloud::start().await;
    let bitmap = put_raw_disk(&cloud);
    cloud.put("disk.mf", bitmap);
    let body = with("image_url", "images:disk.raw");
    let job = cloud.import_and_wait(&body).await;
    assert_eq!(job["status"], "SUCCESS", "{job}");
    let (_, listed) = cloud.get("v2/cloudimages?name=demo").await;
    let image = &listed["images"][0];
    assert_eq!(image["disk_format"], "raw");
    let path = cloud.object_path("images", "disk.raw");
    let opened = convert::open(&path, Some(diskimg::Format::Raw)).unwrap();
    let cancel = CancelToken::new();
    let digest = convert::digest(opened.image.as_ref(), 2, &VoidMonitor, &cancel).unwrap();
    assert_eq!(image["__imgferry_content_digest"], digest.to_string());
}

#[tokio::test]
async fn a_raw_disk_without_its_bitmap_is_refused() {
    let cloud = Cloud::start().await;
    let bitmap = put_raw_disk(&cloud);
    // Beside it, but with another base name; and empty.
    cloud.put("other.mf", bitmap);
    for empty in [false, true] {
        if empty {
            cloud.put("disk.mf", b"");
        }
        let (status, answer) = cloud.import(&with("image_url", "images:disk.raw")).await;
        assert_eq!(status, 400, "{answer}");
        assert!(answer.to_string().contains("IMG.0158"), "{answer}");
    }
}

#[tokio::test]
async fn a_bitmap_that_does_not_match_its_disk_fails_the_job() {
    let cloud = Cloud::start().await;
    let good = put_raw_disk(&cloud);
    let mut missing = good.clone();
    missing[0] = 0;
    let mut extra = good.clone();
    extra[100] = 1;
    for (name, bitmap, says) in [
        ("missing", missing, "not marked and hold data: 1"),
        ("extra", extra, "marked and hold none: 1"),
        ("long", good.repeat(2), "it has 8192 bytes, expected 4096"),
        ("foreign", b"<manifest/>".to_vec(), "zvhd2-section"),
    ] {
        cloud.put("disk.mf", bitmap);
        let mut body = with("image_url", "images:disk.raw");
        body["name"] = name.into();
        let job = cloud.import_and_wait(&body).await;
        assert_eq!(job["error_code"], "IMG.0158", "{name}");
        let reason = job["fail_reason"].as_str().unwrap();
        assert!(reason.contains(says), "{name}: {reason}");
    }
}
