//! Answers are read whatever else stands in them: unknown fields, unknown words, other types.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

mod common;

use std::sync::{Arc, Mutex};

use common::{IMAGE, JOB, PROJECT, signing};
use ims::{Client, ErrorKind, ImageDetail, ImageId, ImageQuery, JobId, SchemaOf, TagQuery};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};
use testkit::http::{Reply, Server};

/// A kind of answer, as the Image Management Service API Reference shows it.
fn documented() -> Vec<(&'static str, Value)> {
    let image = json!({
        "id": IMAGE, "name": "ims_test", "status": "active", "visibility": "private", "min_disk": 40, "min_ram": 0,
        "__image_size": "449261568", "__os_version": "Ubuntu 14.04 server 64bit", "__os_type": "Linux",
        "virtual_env_type": "FusionCompute", "hw_firmware_type": "bios", "__lazyloading": "true",
        "tags": ["a.b"], "protected": false, "virtual_size": 0, "__data_origin": null,
    });
    let member = json!({
        "status": "accepted", "created_at": "2016-09-01T02:05:14Z", "updated_at": "2016-09-01T02:37:11Z",
        "image_id": IMAGE, "member_id": PROJECT, "schema": "/v2/schemas/member",
    });
    let version = json!({
        "status": "SUPPORTED", "id": "v2.0",
        "links": [{"href": "https://image.example.com/v2/", "rel": "self"}],
    });
    vec![
        ("list", json!({"images": [image]})),
        (
            "native list",
            json!({"first": "/v2/images", "schema": "/v2/schemas/images", "images": [image]}),
        ),
        ("image", image),
        (
            "members",
            json!({"members": [member], "schema": "/v2/schemas/members"}),
        ),
        ("member", member),
        (
            "tags",
            json!({"tags": [{"value": "value0", "key": "key0"}, {"value": "", "key": "key1"}]}),
        ),
        (
            "all tags",
            json!({"tags": [{"values": ["value9", ""], "key": "key9"}]}),
        ),
        ("texts", json!({"tags": ["jjj.11111", "test"]})),
        (
            "by tags",
            json!({"total_count": 36, "resources": [{
                "resource_id": IMAGE, "resource_name": "test10002", "resource_detail": {"status": "active"},
                "tags": [{"value": "value4", "key": "key4"}],
            }]}),
        ),
        (
            "quota",
            json!({"quotas": {"resources": [
                {"type": "image", "used": 0, "quota": 20, "min": 1, "max": 1000},
            ]}}),
        ),
        (
            "systems",
            json!([{"platform": "CentOS", "version_list": [{
                "os_version_key": "CentOS 7.0 64bit", "os_version": "CentOS 7.0 64bit", "os_bit": "64",
                "os_type": "Linux", "platform": "CentOS",
            }]}]),
        ),
        (
            "job",
            json!({
                "status": "SUCCESS", "job_id": JOB, "job_type": "createImageByInstance",
                "begin_time": "04-Jun-2015 18:11:06:586", "end_time": "", "error_code": null, "fail_reason": null,
                "entities": {
                    "image_id": IMAGE, "image_name": "a", "process_percent": 0.20, "current_task": "CreateImageByInstanceTask",
                    "results": [{"image_id": IMAGE, "project_id": PROJECT, "status": "success"}],
                    "sub_jobs_result": [{"status": "SUCCESS", "job_id": "sub", "entities": {"image_id": IMAGE}}],
                },
            }),
        ),
        ("versions", json!({"versions": [version]})),
        (
            "schema",
            json!({
                "name": "member", "links": [{"href": "{schema}", "rel": "describedby"}],
                "properties": {"status": {"enum": ["pending", "accepted"], "type": "string", "description": "State"}},
            }),
        ),
    ]
}

/// What is read of an image.
fn image(image: &ImageDetail) -> String {
    format!(
        "{} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
        image.id,
        image.name,
        image.status,
        image.min_disk,
        image.size,
        image.os_version,
        image.os_type,
        image.virtual_env_type,
        image.firmware,
        image.lazy_loading,
    )
}

/// Makes the call that gets such an answer; all that is read of it.
async fn read(client: &Client, name: &str) -> ims::Result<String> {
    let id: ImageId = IMAGE.parse().unwrap();
    let job: JobId = JOB.parse().unwrap();
    let all = ImageQuery::default();
    let images = |images: Vec<ImageDetail>| images.iter().map(image).collect::<String>();
    Ok(match name {
        "list" => images(client.list_images(&all, 5).await?),
        "native list" => images(client.list_images_native(&all, 5).await?),
        "image" => image(&client.image_native(&id).await?),
        "members" => format!("{:?}", client.image_members(&id).await?),
        "member" => format!("{:?}", client.image_member(&id, PROJECT).await?),
        "tags" => format!("{:?}", client.image_tags(&id).await?),
        "all tags" => format!("{:?}", client.all_tags().await?),
        "texts" => format!("{:?}", client.tag_texts(&all, 5, 1).await?),
        "by tags" => format!(
            "{:?}",
            client.images_by_tags(&TagQuery::default(), 0, 5).await?
        ),
        "quota" => format!("{:?}", client.quotas().await?),
        "systems" => format!("{:?}", client.os_versions(None).await?),
        "job" => format!("{:?}", client.job(&job).await?),
        "versions" => format!("{:?}", client.versions().await?),
        "schema" => {
            let schema = client.schema(SchemaOf::Member).await?;
            format!(
                "{:?} {:?} {:?}",
                schema.name, schema.properties, schema.links
            )
        }
        other => panic!("no call for {other:?}"),
    })
}

/// A client whose cloud answers with what is put into the other half, in status 300 where that is
/// documented.
async fn answering() -> (Server, Client, Arc<Mutex<Value>>) {
    let cloud = Server::start().await.unwrap();
    let answer = Arc::new(Mutex::new(Value::Null));
    let said = Arc::clone(&answer);
    cloud.route(move |request| {
        let status = if request.path() == "/" { 300 } else { 200 };
        Some(Reply::json(status, &said.lock().unwrap().to_string()))
    });
    let client = signing(&cloud);
    (cloud, client, answer)
}

#[tokio::test]
async fn every_documented_answer_is_read() {
    let (_cloud, client, answer) = answering().await;
    for (name, value) in documented() {
        *answer.lock().unwrap() = value.clone();
        let read = read(&client, name).await.unwrap();
        // What tells that it was read, and not only taken.
        let telling = match name {
            "list" | "native list" | "image" => "449261568",
            "members" | "member" => "accepted",
            "tags" => "value0",
            "all tags" => "value9",
            "texts" => "jjj.11111",
            "by tags" => "Some(36)",
            "quota" => "max: Some(1000)",
            "systems" => "CentOS 7.0 64bit",
            "job" => "CreateImageByInstanceTask",
            "versions" => "https://image.example.com/v2/",
            _ => "pending",
        };
        assert!(read.contains(telling), "{name}: {read}");
    }
    // OpenStack's own form of one version.
    *answer.lock().unwrap() = json!({"version": {"id": "v2.9", "status": "CURRENT"}});
    assert_eq!(client.versions().await.unwrap()[0].id, "v2.9");
}

/// Any JSON, not large.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e300..1e300).prop_map(Value::from),
        "[ -~é\u{0}-\u{1f}]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            proptest::collection::vec(("[a-z_]{1,8}", inner), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// Puts an unknown field into every object; those whose names are data, not fields, are left alone.
fn with_unknown(value: &Value, extra: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(|item| with_unknown(item, extra)).collect(),
        Value::Object(fields) => {
            let mut noisy: Map<String, Value> = fields
                .iter()
                .map(|(name, inner)| match name.as_str() {
                    "properties" => (name.clone(), inner.clone()),
                    _ => (name.clone(), with_unknown(inner, extra)),
                })
                .collect();
            noisy.insert("new_in_2030".to_owned(), extra.clone());
            Value::Object(noisy)
        }
        other => other.clone(),
    }
}

/// Replaces the words of states and kinds.
fn with_words(value: &Value, word: &str) -> Value {
    match value {
        Value::Array(items) => items.iter().map(|item| with_words(item, word)).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, inner)| match name.as_str() {
                "status" | "virtual_env_type" | "hw_firmware_type" | "__os_type" | "os_type"
                | "visibility" | "type" | "job_type" | "rel" => (name.clone(), word.into()),
                _ => (name.clone(), with_words(inner, word)),
            })
            .collect(),
        other => other.clone(),
    }
}

/// Replaces the value at the place with this number, counted depth first.
fn with_damage(value: &Value, place: &mut usize, by: &Value) -> Value {
    if *place == 0 {
        *place = usize::MAX;
        return by.clone();
    }
    *place -= 1;
    match value {
        Value::Array(items) => items
            .iter()
            .map(|item| with_damage(item, place, by))
            .collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, inner)| (name.clone(), with_damage(inner, place, by)))
            .collect(),
        other => other.clone(),
    }
}

/// `IMGFERRY_CASES` runs more of them.
fn cases() -> u32 {
    let more = std::env::var("IMGFERRY_CASES").ok();
    more.and_then(|more| more.parse().ok()).unwrap_or(24)
}

/// Runs `test` on every kind of answer, with `cases` different things each.
fn on_every_answer<S: Strategy>(
    strategy: S,
    test: impl Fn(&tokio::runtime::Runtime, &Client, &Mutex<Value>, &str, &Value, S::Value),
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (_cloud, client, answer) = runtime.block_on(answering());
    let documented = documented();
    let config = Config {
        cases: cases() * u32::try_from(documented.len()).unwrap(),
        failure_persistence: None,
        ..Config::default()
    };
    let which = 0..documented.len();
    TestRunner::new(config)
        .run(&(which, strategy), |(which, change)| {
            let (name, value) = &documented[which];
            test(&runtime, &client, &answer, name, value, change);
            Ok(())
        })
        .unwrap();
}

#[test]
fn unknown_fields_change_nothing_of_what_is_read() {
    on_every_answer(anything(), |runtime, client, answer, name, value, extra| {
        *answer.lock().unwrap() = value.clone();
        let plain = runtime.block_on(read(client, name)).unwrap();
        *answer.lock().unwrap() = with_unknown(value, &extra);
        let noisy = runtime.block_on(read(client, name)).unwrap();
        assert_eq!(plain, noisy, "{name}");
    });
}

#[test]
fn unknown_words_for_states_and_kinds_are_read() {
    let word = "[A-Za-z][A-Za-z _-]{0,10}";
    on_every_answer(word, |runtime, client, answer, name, value, word| {
        *answer.lock().unwrap() = with_words(value, &word);
        runtime
            .block_on(read(client, name))
            .unwrap_or_else(|error| panic!("{name}, {word:?}: {error}"));
    });
}

#[test]
fn damaged_answers_are_read_or_refused_and_never_more() {
    let damage = (0_usize..40, anything());
    on_every_answer(
        damage,
        |runtime, client, answer, name, value, (place, by)| {
            *answer.lock().unwrap() = with_damage(value, &mut { place }, &by);
            match runtime.block_on(read(client, name)) {
                Ok(_) => {}
                Err(error) => assert_eq!(error.kind(), ErrorKind::BadAnswer, "{name}: {error}"),
            }
        },
    );
}

#[tokio::test]
async fn files_too_large_for_a_request_are_refused_before_it() {
    let cloud = Server::start().await.unwrap();
    let id: ImageId = IMAGE.parse().unwrap();
    let file = vec![0; (12 << 20) + 1];
    let error = signing(&cloud)
        .upload_file(&id, file.into())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.hint().unwrap().contains("bucket"), "{error}");
    assert!(cloud.requests().is_empty());
}

#[tokio::test]
async fn words_that_fit_no_path_are_refused_before_anything_is_sent() {
    let cloud = Server::start().await.unwrap();
    let client = signing(&cloud);
    let id: ImageId = IMAGE.parse().unwrap();
    for word in ["", "a/b", "..", "a b", "a?b", "é"] {
        let tag = client.add_tag_word(&id, word).await.unwrap_err();
        let member = client.image_member(&id, word).await.unwrap_err();
        let version = client.version(word).await.unwrap_err();
        for error in [tag, member, version] {
            assert_eq!(error.kind(), ErrorKind::Invalid, "{word:?}");
        }
    }
    assert!(cloud.requests().is_empty());
}

fn page(ids: &[String]) -> Reply {
    let images: Vec<_> = ids.iter().map(|id| json!({"id": id})).collect();
    Reply::json(200, &json!({"images": images}).to_string())
}

#[tokio::test]
async fn lists_are_read_page_by_page_to_the_limit() {
    let ids: Vec<String> = (0..250).map(|n| format!("image-{n}")).collect();
    let cloud = Server::start().await.unwrap();
    cloud.push(page(&ids[..100]));
    cloud.push(page(&ids[100..200]));
    cloud.push(page(&ids[200..]));
    let query = ImageQuery {
        image_type: Some("private".into()),
        ..ImageQuery::default()
    };
    let images = signing(&cloud).list_images(&query, 1000).await.unwrap();
    assert_eq!(images.len(), 250);
    let sent = cloud.requests();
    assert_eq!(
        sent[2].target,
        "/v2/cloudimages?__imagetype=private&limit=100&marker=image-199"
    );
}

#[tokio::test]
async fn a_list_that_repeats_itself_ends() {
    let ids: Vec<String> = (0..100).map(|n| format!("image-{n}")).collect();
    let cloud = Server::start().await.unwrap();
    cloud.route(move |_| Some(page(&ids)));
    let all = ImageQuery::default();
    let images = signing(&cloud).list_images(&all, 1000).await.unwrap();
    assert_eq!((images.len(), cloud.requests().len()), (100, 2));
}
