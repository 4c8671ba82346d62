//! Storages that are not quite like S3: what they do is taken for what it is.

use obs::{ErrorKind, Found, ObjectInfo, Trial, UploadOptions};
use testkit::http::{Answer, Recorded, Reply};

use super::fake::{Fake, Op, SECRET, TOKEN, content, error, options, xml};
use super::lifecycle::{begin, upload, write_all};

/// The answer with other ETags, in headers and documents.
fn with_etags(reply: Reply, change: impl Fn(&str) -> Option<String>) -> Reply {
    let Reply::Answer(mut answer) = reply else {
        return reply;
    };
    let headers = std::mem::take(&mut answer.headers);
    answer.headers = headers
        .into_iter()
        .filter_map(|(name, value)| match name.as_str() {
            "ETag" => Some((name, change(&value)?)),
            _ => Some((name, value)),
        })
        .collect();
    let text = String::from_utf8(answer.body.clone()).unwrap();
    let mut pieces = text.split("<ETag>");
    let mut changed = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (etag, rest) = piece.split_once("</ETag>").unwrap();
        match change(etag) {
            Some(etag) => changed.push_str(&format!("<ETag>{etag}</ETag>{rest}")),
            None => changed.push_str(rest),
        }
    }
    answer.body = changed.into_bytes();
    Reply::Answer(answer)
}

/// What becomes of an ETag.
type Change = fn(&str) -> Option<String>;

/// A storage whose ETags are all changed like this.
async fn storage(change: Change) -> Fake {
    Fake::with(move |store, request| {
        let date = "Thu, 01 Jan 2026 00:00:00 GMT";
        with_etags(store.handle(request), change).header("Last-Modified", date)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etags_of_any_kind_or_none_are_taken_and_each_part_is_sent_once() {
    let weak = |etag: &str| Some(format!("W/{etag}"));
    let opaque = |etag: &str| Some(format!("\"v1.{}\"", etag.len()));
    let other = |etag: &str| Some(etag.chars().rev().collect());
    let empty = |_: &str| Some(String::new());
    let none = |_: &str| None;
    let changes: [(&str, Change, bool); 5] = [
        ("weak", weak, true),
        ("opaque", opaque, false),
        ("empty", empty, false),
        ("none", none, false),
        ("another hash", other, false),
    ];
    for (name, change, verified) in changes {
        let fake = storage(change).await;
        let options = UploadOptions {
            max_in_flight: 1,
            ..options(2500)
        };
        let (sink, mut upload) = begin(&fake, &options).await;
        let written = write_all(sink, content(2500), 700).await;
        let uploaded = upload.complete().await.unwrap();
        written.unwrap();
        assert!(fake.object("key").unwrap() == content(2500), "{name}");
        assert_eq!(uploaded.etag_verified, verified, "{name}");
        let sent = fake.count(|op| matches!(op, Op::Part(_)));
        // That it is no MD5 shows when the same is answered twice.
        let repeated = usize::from(name == "another hash");
        assert_eq!(sent, 3 + repeated, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_etag_in_the_answer_to_completing_leaves_it_to_head() {
    let fake = Fake::with(|store, request| {
        let reply = store.handle(request);
        match Op::of(request) {
            Op::Complete => with_etags(reply, |_| Some(String::new())),
            _ => reply,
        }
    })
    .await;
    let uploaded = upload(&fake, 2500).await.unwrap();
    assert!(uploaded.etag_verified && uploaded.etag.ends_with("-3"));
    assert_eq!(fake.count(|op| op == Op::Complete), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_that_is_confirmed_and_not_stored_is_found_before_completing() {
    let fake = Fake::with(|store, request| match Op::of(request) {
        // Somebody else's 200, without an ETag.
        Op::Part(2) => Reply::status(200),
        _ => store.handle(request),
    })
    .await;
    let error = upload(&fake, 2500).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Integrity);
    let text = error.to_string();
    assert!(text.contains("the server confirmed part 2"), "{text}");
    assert_eq!(fake.count(|op| op == Op::Complete), 0);
}

/// Everything is `text/html`, and nothing has an id of a request.
fn framework(reply: Reply) -> Reply {
    match reply {
        Reply::Answer(answer) => {
            let mut headers = answer.headers;
            headers.retain(|(name, _)| !name.eq_ignore_ascii_case("content-type"));
            let answer = Answer { headers, ..answer };
            Reply::Answer(answer).header("Content-Type", "text/html; charset=utf-8")
        }
        other => other,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storage_on_a_web_framework_is_no_sign_in_page() {
    let fake = Fake::with(|store, request| framework(store.handle(request))).await;
    assert_eq!(fake.client.object("bucket", "key").await.unwrap(), None);
    let uploaded = upload(&fake, 2500).await.unwrap();
    assert!(uploaded.etag_verified);
    let found = fake.client.object("bucket", "key").await.unwrap().unwrap();
    assert_eq!(found.size, 2500);
    let fake = Fake::with(|_, _| framework(error(404, "NoSuchUpload"))).await;
    let missing = fake.client.list_parts("bucket", "key", "id").await;
    assert_eq!(missing.unwrap_err().code(), Some("NoSuchUpload"));
}

fn part(number: u32) -> String {
    format!("<Part><PartNumber>{number}</PartNumber><ETag>\"e\"</ETag><Size>5</Size></Part>")
}

#[tokio::test]
async fn parts_are_listed_whatever_the_root_is_called_and_in_any_order() {
    for root in ["ListPartsResult", "ListPartsResponse", "ns:Parts"] {
        let fake = Fake::with(move |_, request: &Recorded| {
            let (more, parts) = match request.target.contains("part-number-marker=4") {
                false => (
                    "<IsTruncated>true</IsTruncated><NextPartNumberMarker>4</NextPartNumberMarker>",
                    [4, 1, 3],
                ),
                true => ("<IsTruncated>false</IsTruncated>", [9, 7, 5]),
            };
            let parts: String = parts.into_iter().map(part).collect();
            xml(format!(
                "<?xml version=\"1.0\"?><{root} xmlns=\"a\">{more}{parts}</{root}>"
            ))
        })
        .await;
        let listed = fake.client.list_parts("bucket", "key", "id").await.unwrap();
        let numbers: Vec<u32> = listed.iter().map(|part| part.number).collect();
        assert_eq!(numbers, [1, 3, 4, 5, 7, 9], "{root}");
    }
}

#[tokio::test]
async fn a_document_that_cannot_be_understood_is_asked_for_once_and_shown() {
    let fake = Fake::with(|_, _| xml("<Strange><Thing/></Strange>".into())).await;
    let error = fake
        .client
        .list_parts("bucket", "key", "id")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Server);
    let text = error.to_string();
    for told in [
        "cannot be understood",
        "ListPartsResult",
        "<Strange><Thing/>",
    ] {
        assert!(text.contains(told), "{text}");
    }
    assert_eq!(fake.server.requests().len(), 1);
}

#[tokio::test]
async fn keys_with_control_characters_are_listed_however_the_server_writes_them() {
    for (encoding, key) in [
        ("<EncodingType>url</EncodingType>", "%1B%5B31m+x"),
        ("", "&#x1B;[31m x"),
        ("", "\u{1b}[31m x"),
    ] {
        let fake = Fake::with(move |_, _| {
            xml(format!(
                "<ListMultipartUploadsResult>{encoding}<IsTruncated>false</IsTruncated>\
                 <Upload><Key>{key}</Key><UploadId>1</UploadId></Upload>\
                 <Upload><Key>mine</Key><UploadId>2</UploadId></Upload></ListMultipartUploadsResult>"
            ))
        })
        .await;
        let listed = fake.client.list_uploads("bucket", None).await.unwrap();
        let keys: Vec<&str> = listed.iter().map(|upload| upload.key.as_str()).collect();
        assert_eq!(keys, ["\u{1b}[31m x", "mine"]);
    }
}

#[tokio::test]
async fn keys_of_open_uploads_are_right_where_the_server_encodes_them_and_does_not_say_so() {
    let fake = Fake::with(|_, request| {
        let key = match request.target.contains("encoding-type") {
            true => "left%20behind",
            false => "left behind",
        };
        xml(format!(
            "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>\
             <Upload><Key>{key}</Key><UploadId>1</UploadId></Upload></ListMultipartUploadsResult>"
        ))
    })
    .await;
    let listed = fake.client.list_uploads("bucket", None).await.unwrap();
    assert_eq!(
        listed.first().map(|upload| upload.key.as_str()),
        Some("left behind")
    );
}

#[tokio::test]
async fn a_length_that_head_does_not_tell_is_asked_for_with_a_range() {
    let fake = Fake::with(|_, request| match request.method.as_str() {
        "HEAD" => Reply::status(200).header("ETag", "\"e\"").without_length(),
        _ => Reply::text(206, "x").header("Content-Range", "bytes 0-0/4711"),
    })
    .await;
    let found = fake.client.object("bucket", "key").await.unwrap();
    assert_eq!(found.map(|found| found.size), Some(4711));
}

#[tokio::test]
async fn a_bucket_of_another_region_is_told_with_its_region() {
    let malformed = "<Error><Code>AuthorizationHeaderMalformed</Code><Message>no</Message><Region>eu-de</Region></Error>";
    for reply in [
        Reply::status(400).header("x-amz-bucket-region", "eu-de"),
        Reply::status(301).header("x-amz-bucket-region", "eu-de"),
        Reply::text(400, malformed),
    ] {
        let fake = Fake::with(move |_, _| reply.clone()).await;
        let asked = match fake.client.bucket("bucket").await {
            Err(error) if error.kind() == ErrorKind::WrongRegion => Err(error),
            // A HEAD has no document.
            _ => fake
                .client
                .list_parts("bucket", "key", "id")
                .await
                .map(drop),
        };
        let error = asked.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WrongRegion, "{error}");
        assert!(
            error.hint().unwrap().to_string().contains("eu-de"),
            "{:?}",
            error.hint()
        );
    }
    // The client's own region says nothing.
    let same = Reply::status(400).header("x-amz-bucket-region", "region-1");
    let fake = Fake::with(move |_, _| same.clone()).await;
    let error = fake.client.bucket("bucket").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected);
}

/// Every way in which a server can repeat what it was sent, cut as it likes.
#[tokio::test]
async fn what_a_server_repeats_of_the_request_is_masked() {
    const SAYS: &str = "unexpected header x-amz-security-token";
    for (status, cut) in [
        (400, TOKEN.len()),
        (503, TOKEN.len()),
        (400, TOKEN.len() - 1),
    ] {
        let told = TOKEN.get(..cut).unwrap();
        for reply in [
            Reply::text(
                status,
                &format!(
                    "<Error><Code>Invalid{told}</Code><Message>{SAYS}: {told} \
                          {SECRET}</Message></Error>"
                ),
            )
            .header("x-amz-request-id", told),
            Reply::status(307).header("Location", &format!("http://{told}.example.com/")),
            xml(format!("<A>{told} {SECRET}</A>")),
        ] {
            let fake = Fake::with(move |_, _| reply.clone()).await;
            let error = fake
                .client
                .list_parts("bucket", "key", "id")
                .await
                .unwrap_err();
            let text = format!(
                "{error} {error:?} {:?} {:?}",
                error.code(),
                error.request_id()
            );
            assert!(!text.contains(told) && !text.contains(SECRET), "{text}");
        }
    }
}

#[test]
fn an_object_is_the_same_if_nothing_that_was_reported_differs() {
    let object = |etag: Option<&str>| ObjectInfo {
        size: 5,
        etag: etag.map(str::to_owned),
        weak_etag: false,
        modified: None,
        storage_class: None,
        encrypted: false,
    };
    assert!(object(Some("AB")).may_be(5, "ab"));
    assert!(object(None).may_be(5, "ab") && object(Some("ab")).may_be(5, ""));
    assert!(!object(Some("ab")).may_be(5, "cd") && !object(None).may_be(6, ""));
}

/// What the steps of a trial came to, by name.
async fn tried(fake: &Fake) -> Vec<(&'static str, Found)> {
    let mut trial = Trial::new(&fake.client, "bucket", "check".into());
    let mut steps = trial.run().await;
    steps.push(trial.clean_up().await);
    steps
        .into_iter()
        .map(|step| (step.name, step.found))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trial_that_cannot_begin_skips_the_rest_and_cleans_up() {
    let fake = Fake::with(|store, request| match Op::of(request) {
        Op::Part(_) => error(403, "AccessDenied"),
        // Objects are deleted, and open uploads cannot be listed.
        Op::Abort if !request.target.contains("uploadId=") => Reply::status(204),
        Op::List if !request.target.contains("uploadId=") => error(403, "AccessDenied"),
        _ => store.handle(request),
    })
    .await;
    let steps = tried(&fake).await;
    for (name, found) in &steps {
        match *name {
            "upload" => assert!(matches!(found, Found::Failed(_)), "{found:?}"),
            "clean-up" => {}
            _ => assert!(
                matches!(found, Found::Skipped("upload")),
                "{name}: {found:?}"
            ),
        }
    }
    assert_eq!(fake.open_uploads(), 0);
}
