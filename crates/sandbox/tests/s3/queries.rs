//! Sub-resources, and how the time of a signature is told.

use crate::support::*;
use crate::wire::Wire;

#[tokio::test]
async fn a_signature_may_tell_its_time_in_the_date_header() {
    let (_dir, sandbox) = start().await;
    let mut put = Wire::new("PUT", "/images/a", b"hello");
    put.dated = true;
    let (status, body) = put.send(&sandbox).await;
    assert_eq!(status, 200, "{body}");
}

#[tokio::test]
async fn a_sub_resource_that_the_sandbox_does_not_have_changes_nothing() {
    let (_dir, sandbox) = start().await;
    let client = client(&sandbox);
    put(&client, KEY, b"hello".to_vec()).await;
    let at_object = format!("/images/{KEY}");
    for name in [
        "metadata",
        "truncate",
        "modify",
        "rename",
        "append",
        "acl",
        "tagging",
        "restore",
        "storageinfo",
        "quota",
        "apiversion",
        "storageClass",
        "versions",
        "website",
    ] {
        for path in [at_object.as_str(), "/images"] {
            for method in ["GET", "HEAD", "PUT", "POST", "DELETE"] {
                let target = format!("{path}?{name}=");
                let ask = Wire::new(method, &target, b"").header("x-amz-meta-z", "1");
                let (status, body) = ask.send(&sandbox).await;
                assert_eq!(status, 501, "{method} {target}: {body}");
                if method != "HEAD" {
                    assert!(body.contains("<Code>NotImplemented</Code>"), "{body}");
                }
            }
        }
    }
    assert_eq!(object(&client).await, b"hello");
}

#[tokio::test]
async fn a_bucket_that_is_made_again_stays_as_it_is() {
    let (_dir, sandbox) = start().await;
    let client = client(&sandbox);
    put(&client, KEY, b"hello".to_vec()).await;
    client.create_bucket().bucket(BUCKET).send().await.unwrap();
    client
        .create_bucket()
        .bucket("another")
        .send()
        .await
        .unwrap();
    assert_eq!(object(&client).await, b"hello");
    let buckets = client.list_buckets().send().await.unwrap();
    let names: Vec<_> = buckets
        .buckets()
        .iter()
        .map(|b| b.name().unwrap())
        .collect();
    assert_eq!(names, ["another", BUCKET]);
}
