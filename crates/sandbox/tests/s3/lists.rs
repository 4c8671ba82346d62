//! Listings: what they show of objects, pages, keys that XML cannot carry, objects that go away
//! meanwhile.

use crate::support::*;
use crate::wire::Wire;

const LISTS: [&str; 2] = ["/images", "/images?list-type=2"];

async fn get(sandbox: &Sandbox, target: &str) -> String {
    let (status, body) = Wire::new("GET", target, b"").send(sandbox).await;
    assert_eq!(status, 200, "{body}");
    body
}

#[tokio::test]
async fn lists_show_the_etag_that_head_shows_and_the_storage_class() {
    let (_dir, sandbox) = start().await;
    let client = client(&sandbox);
    put(&client, "a", b"hello".to_vec()).await;
    let id = begin(&client).await;
    let part = upload(&client, &id, 1, bytes(1, 1000)).await;
    complete(&client, &id, &[part]).await.unwrap();
    let cold = client.put_object().bucket(BUCKET).key("z");
    cold.storage_class(StorageClass::Glacier)
        .send()
        .await
        .unwrap();

    let listed = client.list_objects().bucket(BUCKET).send().await.unwrap();
    let listed2 = client.list_objects_v2().bucket(BUCKET);
    let listed2 = listed2.send().await.unwrap();
    assert_eq!(listed.contents(), listed2.contents());
    assert_eq!(listed2.key_count(), Some(3));
    let classes: Vec<_> = listed
        .contents()
        .iter()
        .map(|o| o.storage_class())
        .collect();
    let classes: Vec<_> = classes.into_iter().map(|c| c.unwrap().as_str()).collect();
    assert_eq!(classes, ["STANDARD", "STANDARD", "GLACIER"]);
    for object in listed.contents() {
        let head = client.head_object().bucket(BUCKET);
        let head = head.key(object.key().unwrap()).send().await.unwrap();
        assert_eq!(object.e_tag(), head.e_tag());
        assert_eq!(object.size(), head.content_length());
        let modified = object.last_modified().unwrap().secs();
        assert_eq!(modified, head.last_modified().unwrap().secs());
    }
    assert!(listed.contents()[1].e_tag().unwrap().ends_with("-1\""));
}

#[tokio::test]
async fn pages_go_on_behind_their_last_entry_with_and_without_a_delimiter() {
    let (_dir, sandbox) = start().await;
    let client = client(&sandbox);
    for key in ["a", "b/1", "b/2", "b-", "c/d/1", "e", "äö/x"] {
        put(&client, key, Vec::new()).await;
    }
    let all = ["a", "b-", "b/1", "b/2", "c/d/1", "e", "äö/x"];
    let short = ["a", "b-", "b/", "c/", "e", "äö/"];
    for (delimiter, expected) in [(None, &all[..]), (Some("/"), &short[..])] {
        for size in 1..=8 {
            let mut seen = Vec::new();
            let mut marker = None;
            loop {
                let list = client.list_objects().bucket(BUCKET).max_keys(size);
                let list = list.set_delimiter(delimiter.map(str::to_owned));
                let page = list.set_marker(marker).send().await.unwrap();
                let objects = page.contents().iter().map(|o| o.key().unwrap());
                let prefixes = page.common_prefixes().iter().map(|p| p.prefix().unwrap());
                let mut entries: Vec<_> = objects.chain(prefixes).map(str::to_owned).collect();
                assert!(entries.len() <= size as usize);
                entries.sort();
                seen.extend(entries);
                marker = page.next_marker().map(str::to_owned);
                assert_eq!(page.is_truncated(), Some(marker.is_some()));
                if marker.is_none() {
                    break;
                }
            }
            assert_eq!(seen, expected, "{delimiter:?} {size}");

            let mut seen = Vec::new();
            let mut token = None;
            loop {
                let list = client.list_objects_v2().bucket(BUCKET).max_keys(size);
                let list = list.set_delimiter(delimiter.map(str::to_owned));
                let page = list.set_continuation_token(token).send().await.unwrap();
                seen.extend(page.contents().iter().map(|o| o.key().unwrap().to_owned()));
                let prefixes = page.common_prefixes().iter();
                seen.extend(prefixes.map(|p| p.prefix().unwrap().to_owned()));
                token = page.next_continuation_token().map(str::to_owned);
                if token.is_none() {
                    break;
                }
            }
            seen.sort();
            assert_eq!(seen, expected, "{delimiter:?} {size}, version 2");
        }
    }
    let list = client.list_objects().bucket(BUCKET).delimiter("ö");
    let page = list.send().await.unwrap();
    assert_eq!(page.common_prefixes()[0].prefix(), Some("äö"));
    let list = client.list_objects_v2().bucket(BUCKET).start_after("c/d");
    assert_eq!(list.send().await.unwrap().contents().len(), 3);
    let list = client.list_objects().bucket(BUCKET).prefix("b/");
    let list = list.delimiter("/").send().await.unwrap();
    assert_eq!(list.contents().len(), 2);
    let none = client.list_objects().bucket(BUCKET).max_keys(0);
    assert_eq!(none.send().await.unwrap().is_truncated(), Some(false));
    let missing = client.list_objects().bucket("nothing").send().await;
    assert_eq!(code(&missing.unwrap_err()), "NoSuchBucket");
}

#[tokio::test]
async fn keys_with_control_characters_can_be_read_in_every_answer() {
    let (_dir, sandbox) = start().await;
    let client = client(&sandbox);
    let key = "\u{1b}[31mx\u{1}\u{ffff}";
    let encoded = "%1B%5B31mx%01%EF%BF%BF";
    put(&client, key, b"x".to_vec()).await;
    let create = client.create_multipart_upload().bucket(BUCKET).key(key);
    let id = create.send().await.unwrap().upload_id.unwrap();
    begin(&client).await;

    let parts = format!("/images/{encoded}?uploadId={id}");
    let echo = format!("/images?prefix={encoded}&delimiter=%02&marker=%03");
    let uploads = format!("/images?prefix={encoded}&uploads");
    for target in [
        LISTS[0],
        LISTS[1],
        "/images?uploads",
        &parts,
        &echo,
        &uploads,
    ] {
        let body = get(&sandbox, target).await;
        assert!(body.contains("&#x1B;"), "{body}");
        let raw = |c: char| c.is_control() || c == '\u{ffff}';
        assert!(!body.contains(raw), "{target}: {body:?}");
    }
    let listed = client.list_multipart_uploads().bucket(BUCKET);
    let listed = listed.send().await.unwrap();
    let keys: Vec<_> = listed.uploads().iter().map(|u| u.key().unwrap()).collect();
    assert_eq!(keys, [key, KEY]);

    let keys = [key, "a//\u{1}"].map(|key| format!("<Object><Key>{key}</Key></Object>"));
    let body = format!("<Delete>{}</Delete>", keys.concat());
    let md5 = base64_md5(body.as_bytes());
    let delete = Wire::new("POST", "/images?delete", body.as_bytes()).header("content-md5", md5);
    let (status, body) = delete.send(&sandbox).await;
    assert_eq!(status, 200, "{body}");
    assert!(
        body.contains("<Key>&#x1B;[31mx&#x1;&#xFFFF;</Key>"),
        "{body}"
    );
    assert!(body.contains("<Key>a//&#x1;</Key>"), "{body}");
}

#[tokio::test]
async fn keys_are_percent_encoded_for_who_asks_for_it() {
    let (_dir, sandbox) = start().await;
    let client = client(&sandbox);
    let key = "p q/\u{1b}+ä";
    put(&client, key, Vec::new()).await;
    let create = client.create_multipart_upload().bucket(BUCKET).key(key);
    create.send().await.unwrap();
    for target in [
        "/images?encoding-type=url&prefix=p%20",
        "/images?encoding-type=url&list-type=2&prefix=p%20",
        "/images?encoding-type=url&uploads&prefix=p%20",
    ] {
        let body = get(&sandbox, target).await;
        assert!(body.contains("<Key>p%20q/%1B%2B%C3%A4</Key>"), "{body}");
        assert!(body.contains("<Prefix>p%20</Prefix>"), "{body}");
        assert!(body.contains("<EncodingType>url</EncodingType>"), "{body}");
    }
    let body = get(&sandbox, "/images?encoding-type=url&delimiter=%2F").await;
    assert!(body.contains("<Prefix>p%20q/</Prefix>"), "{body}");
    let wrong = Wire::new("GET", "/images?encoding-type=base64", b"");
    let (status, body) = wrong.send(&sandbox).await;
    assert_eq!(status, 400, "{body}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_answered_while_objects_are_deleted() {
    let (_dir, sandbox) = start().await;
    let client = client(&sandbox);
    let keys: Vec<_> = (0..100).map(|n| format!("d{n}/e/f")).collect();
    for key in &keys {
        put(&client, key, b"x".to_vec()).await;
    }
    let deleting = {
        let client = client.clone();
        tokio::spawn(async move {
            for key in &keys {
                let delete = client.delete_object().bucket(BUCKET).key(key);
                delete.send().await.unwrap();
            }
        })
    };
    while !deleting.is_finished() {
        let list = client.list_objects().bucket(BUCKET).delimiter("/");
        list.send().await.unwrap();
        let list = client.list_objects_v2().bucket(BUCKET);
        list.send().await.unwrap();
    }
    deleting.await.unwrap();
    let list = client.list_objects().bucket(BUCKET).send().await.unwrap();
    assert!(list.contents().is_empty());
}
