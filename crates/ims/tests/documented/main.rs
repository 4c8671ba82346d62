//! Every documented request of IAM and of the image service, reproduced field by field.
//!
//! The requests are kept as data in `requests.json`: name, where the example stands, line
//! (`{project}` for the client's project), body, and `more`, the query that this client adds.
//! Places: `2023 5.1.3` is a section of the Image Management Service API Reference of 2023-01-20,
//! `2024` the page "Creating an Image" of 2024-12-20, `en` and `zh` earlier editions of that page,
//! `start` the page "Creating an Image Using an External Image File".
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

#[path = "../common/mod.rs"]
mod common;

mod calls;

use std::collections::{BTreeMap, BTreeSet};

use common::{PROJECT, fresh_token, is_sign_in, signing};
use ims::{
    ApiVersion, Client, Credentials, DataFile, DataFileImport, ExportFormat, FileImport, SystemKind,
};
use serde::Deserialize;
use serde_json::{Value, json};
use testkit::http::{Reply, Server};

use calls::{IMAGE, file, image, pairs, url};

/// How many requests each place shows. Left out: 6.1.7 to 6.1.9, which are marked as abandoned.
const PLACES: &[(&str, usize)] = &[
    ("2023 3.1", 1),
    ("2023 4", 1),
    ("2023 5.1.1", 6),
    ("2023 5.1.2", 1),
    ("2023 5.1.3", 4),
    ("2023 5.1.4", 4),
    ("2023 5.1.5", 4),
    ("2023 5.1.6", 1),
    ("2023 5.1.7", 2),
    ("2023 5.2.1", 2),
    ("2023 5.2.2", 1),
    ("2023 5.2.3", 2),
    ("2023 5.2.4", 2),
    ("2023 5.2.5", 1),
    ("2023 5.2.6", 1),
    ("2023 5.2.7", 1),
    ("2023 5.2.8", 1),
    ("2023 5.3.1", 1),
    ("2023 5.3.2", 1),
    ("2023 5.3.3", 1),
    ("2023 5.4.1", 1),
    ("2023 5.5.1", 1),
    ("2023 5.6.1", 1),
    ("2023 6.1.1", 6),
    ("2023 6.1.2", 1),
    ("2023 6.1.3", 2),
    ("2023 6.1.4", 1),
    ("2023 6.1.5", 1),
    ("2023 6.1.6", 1),
    ("2023 6.2.1", 1),
    ("2023 6.2.2", 1),
    ("2023 6.3.1", 1),
    ("2023 6.3.2", 1),
    ("2023 6.3.3", 1),
    ("2023 6.3.4", 1),
    ("2023 6.4.1", 1),
    ("2023 6.4.2", 1),
    ("2023 6.4.3", 1),
    ("2023 6.4.4", 1),
    ("2023 6.4.5", 1),
    ("2023 6.5.1", 1),
    ("2023 6.5.2", 1),
    ("2023 7.1", 2),
    ("2023 9.4", 1),
    ("2024", 8),
    ("en", 6),
    ("start", 1),
    ("zh", 6),
];

/// A documented request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Example {
    /// Places that show it.
    at: Vec<String>,
    /// Method and target.
    line: String,
    #[serde(default)]
    body: Value,
    content_type: Option<String>,
    /// Query that the client adds.
    #[serde(default)]
    more: BTreeMap<String, String>,
}

fn documented() -> BTreeMap<String, Example> {
    serde_json::from_str(include_str!("requests.json")).unwrap()
}

#[test]
fn every_place_with_examples_has_all_of_them_here() {
    let mut found = BTreeMap::<String, usize>::new();
    for place in documented().into_values().flat_map(|example| example.at) {
        *found.entry(place).or_default() += 1;
    }
    let expected: BTreeMap<_, _> = PLACES
        .iter()
        .map(|(place, count)| ((*place).to_owned(), *count))
        .collect();
    assert_eq!(found, expected);
}

/// Method, path, and query in any order: the signature sorts it.
fn parts(line: &str) -> (String, BTreeSet<(String, String)>) {
    let (path, query) = line.split_once('?').unwrap_or((line, ""));
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pair = |text: &str| {
        let (name, value) = text.split_once('=').unwrap();
        (name.to_owned(), value.to_owned())
    };
    (path.to_owned(), pairs.map(pair).collect())
}

/// A cloud that answers whatever is asked.
async fn cloud() -> Server {
    let cloud = Server::start().await.unwrap();
    cloud.route(|request| {
        let body = json!({
            "job_id": "8a12fc664fb4daa3014fb4e581380005", "id": IMAGE, "status": "active",
            "images": [], "versions": [], "properties": {},
            "projects": [{"id": PROJECT, "name": "eu-west-0"}],
        });
        Some(match is_sign_in(request) {
            true => fresh_token("a token"),
            false => Reply::json(200, &body.to_string()),
        })
    });
    cloud
}

/// A client that has yet to sign in, or to look up its project.
fn fresh(cloud: &Server, name: &str) -> Client {
    if name == "projects" {
        let credentials = Credentials::AccessKey(common::access_key());
        return Client::new(common::options(cloud, credentials)).unwrap();
    }
    let credentials = Credentials::Password {
        user: "username".into(),
        password: "*****".into(),
        domain: "domainname".into(),
    };
    let mut options = common::options(cloud, credentials);
    options.region = "xxxxxxxxxxxxxxxxxxxxx".into();
    Client::new(options).unwrap()
}

#[tokio::test]
async fn every_documented_request_is_reproduced_field_by_field() {
    let cloud = cloud().await;
    let client = signing(&cloud);
    for (name, example) in documented() {
        let before = cloud.requests().len();
        let client = match name.as_str() {
            "sign in" | "projects" => fresh(&cloud, &name),
            _ => client.clone(),
        };
        calls::call(&client, &name)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let request = cloud.requests().remove(before);
        let line = format!("{} {}", request.method, request.target);
        let (path, query) = parts(&line);
        let (expected_path, mut expected_query) =
            parts(&example.line.replace("{project}", PROJECT));
        expected_query.extend(example.more);
        assert_eq!((path, query), (expected_path, expected_query), "{name}");
        if let Some(kind) = example.content_type {
            assert_eq!(
                request.header("content-type"),
                Some(kind.as_str()),
                "{name}"
            );
        }
        if name == "upload" {
            assert_eq!(request.body, calls::FILE);
            continue;
        }
        let body = match request.body.is_empty() {
            true => Value::Null,
            false => serde_json::from_slice(&request.body).unwrap(),
        };
        let mut expected = example.body;
        // The client's own project stands for the example's.
        if expected.get("project_id").is_some() {
            expected["project_id"] = PROJECT.into();
        }
        assert_eq!(body, expected, "{name}");
    }
}

#[tokio::test]
async fn the_newer_api_has_the_same_bodies_at_other_addresses() {
    let mut expected = vec![
        "/v2.1/cloudimages/action".to_owned(),
        "/v2.1/cloudimages/dataimages/action".to_owned(),
        format!("/v2.1/cloudimages/{IMAGE}/copy"),
        format!("/v2.1/cloudimages/{IMAGE}/file"),
        "/v2.1/cloudimages/quickimport/action".to_owned(),
    ];
    let cloud = Server::start().await.unwrap();
    cloud.route(|_| Some(common::started()));
    let mut options = common::options(&cloud, ims::Credentials::AccessKey(common::access_key()));
    options.project_id = Some(common::PROJECT.into());
    options.api_version = ApiVersion::V2_1;
    let client = Client::new(options).unwrap();
    client.import_file(&file(None)).await.unwrap();
    let data = DataFileImport {
        name: "data".into(),
        image_url: url("b:data.qcow2"),
        min_disk: 40,
        os_type: None,
        description: None,
        cmk_id: None,
        enterprise_project_id: None,
        tags: None,
    };
    client.import_data_file(&data).await.unwrap();
    let id = image(IMAGE);
    client.copy_image(&id, "n", None, None).await.unwrap();
    let to = url("b:k");
    client
        .export_image(&id, &to, ExportFormat::Quick)
        .await
        .unwrap();
    client.quick_import(&common::import()).await.unwrap();
    let sent = cloud.requests();
    expected.reverse();
    for request in &sent {
        assert_eq!(request.target, expected.pop().unwrap());
    }
    assert_eq!(
        serde_json::from_slice::<Value>(&sent[3].body).unwrap(),
        json!({"bucket_url": "b:k", "is_quick_export": true}),
        "a quick export names no format"
    );
}

#[tokio::test]
async fn a_file_with_data_disks_names_each_with_its_own_fields() {
    let cloud = Server::start().await.unwrap();
    cloud.push(common::started());
    let import = FileImport {
        kind: Some(SystemKind::IsoImage),
        is_config: Some(true),
        cmk_id: Some("key".into()),
        is_quick_import: Some(true),
        data_images: vec![DataFile {
            name: None,
            description: None,
            image_url: url("b:data.zvhd2"),
            min_disk: 100,
            is_quick_import: Some(true),
            tags: pairs(),
        }],
        ..file(None)
    };
    signing(&cloud).import_file(&import).await.unwrap();
    let body: Value = serde_json::from_slice(&cloud.requests()[0].body).unwrap();
    assert_eq!(body["type"], "IsoImage");
    assert_eq!(body["is_config"], true);
    assert_eq!(body["cmk_id"], "key");
    assert_eq!(
        body["data_images"],
        json!([{"image_url": "b:data.zvhd2", "min_disk": 100, "is_quick_import": true,
            "image_tags": [{"key": "key2", "value": "value2"}, {"key": "key1", "value": "value1"}]}])
    );
}
