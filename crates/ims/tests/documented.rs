//! Every documented request of images, tags, members and exports, field by field.
//!
//! Source of the bodies: the example requests of the Image Management Service API Reference (2023-01-20) and of
//! "Creating an Image" (2024-12-20), kept as data in `documented/requests.json`. Not there: calls that are marked
//! as abandoned, and the upload of bytes through the service (the object storage takes them).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

mod common;

use std::collections::BTreeMap;

use common::signing;
use ims::create::{
    DataFile, DataFileImport, DataVolume, FileImport, ServerImage, SystemKind, VolumeImage,
    WholeImage, WholeSource,
};
use ims::metadata::ImageMetadata;
use ims::sharing::Reply as Answer;
use ims::tagging::{Match, TagQuery, TagValues};
use ims::{ApiVersion, Change, Client, ExportFormat, ImageId, ImageQuery, ImageUrl, Tag, Tags};
use serde_json::{Value, json};
use testkit::http::{Reply, Server};

const IMAGE: &str = "33ad552d-1149-471c-8190-ff6776174a00";
const SHARED: [&str; 2] = [
    "d164b5df-1bc3-4c3f-893e-3e471fd16e64",
    "0b680482-aaaa-4045-b14c-9a8c7dfe9c70",
];
const SERVER_ID: &str = "877a2cda-ba63-4e1e-b95f-e67e48b6129a";
const VOLUME_ID: &str = "c5dfbd0c-bf0a-4798-a453-61dc6b54aa30";

/// What is documented: by name, method, target (`{project}` for the project) and body.
fn documented() -> BTreeMap<String, Value> {
    serde_json::from_str(include_str!("documented/requests.json")).unwrap()
}

fn image(id: &str) -> ImageId {
    id.parse().unwrap()
}

fn texts() -> Option<Tags> {
    Some(Tags::Texts(
        ["aaa.111", "bbb.333", "ccc.444"].map(String::from).to_vec(),
    ))
}

fn pairs() -> Option<Tags> {
    Some(Tags::Pairs(vec![
        Tag::new("key2", "value2"),
        Tag::new("key1", "value1"),
    ]))
}

fn url(text: &str) -> ImageUrl {
    let (bucket, key) = text.split_once(':').unwrap();
    ImageUrl {
        bucket: bucket.into(),
        key: key.into(),
    }
}

fn server(tags: Option<Tags>) -> ServerImage {
    ServerImage {
        name: "ims_test".into(),
        description: Some("Create a system disk image from an ECS".into()),
        instance_id: SERVER_ID.into(),
        data_images: vec![],
        min_ram: None,
        max_ram: None,
        enterprise_project_id: None,
        tags,
    }
}

fn file(tags: Option<Tags>) -> FileImport {
    FileImport {
        description: Some("Create an image from a file in an OBS bucket".into()),
        os_version: Some("CentOS 7.0 64bit".into()),
        tags,
        ..FileImport::new("ims_test_file", url("ims-image:centos70.qcow2"), 40)
    }
}

fn volume(tags: Option<Tags>) -> VolumeImage {
    VolumeImage {
        name: "ims_test".into(),
        description: Some("Create a system disk image from a data disk".into()),
        volume_id: SERVER_ID.into(),
        kind: Some(SystemKind::Ecs),
        os_version: "CentOS 7.0 64bit".into(),
        min_ram: None,
        max_ram: None,
        enterprise_project_id: None,
        tags,
    }
}

fn data_volume(tags: Option<Tags>) -> DataVolume {
    DataVolume {
        name: "ims_data_image_test".into(),
        volume_id: VOLUME_ID.into(),
        description: Some("Create a data disk image from the data disk of an ECS".into()),
        tags,
    }
}

fn whole(source: WholeSource, name: &str, description: &str, tags: Option<Tags>) -> WholeImage {
    WholeImage {
        name: name.into(),
        description: Some(description.into()),
        source,
        min_ram: None,
        max_ram: None,
        enterprise_project_id: None,
        tags,
    }
}

fn values(key: &str, value: &str) -> Vec<TagValues> {
    vec![TagValues {
        key: key.into(),
        values: vec![value.into()],
    }]
}

fn tag_query() -> TagQuery {
    TagQuery {
        matches: vec![Match {
            key: "resource_name".into(),
            value: "test100".into(),
        }],
        tags: values("key3", "valueXX"),
        tags_any: values("key0", "valueXX"),
        not_tags: values("key9", "value9"),
        not_tags_any: values("key7", "value7"),
    }
}

/// Makes the call `name` as its example does.
async fn call(client: &Client, name: &str) -> ims::Result<()> {
    let whole_server = || WholeSource::Server(SERVER_ID.into());
    let backup = || WholeSource::Backup("9b27efab-4a17-4c06-bfa2-3e0cf021d3c3".into());
    let of_server = "creating an image from an ECS";
    let of_backup = "Creating a full-ECS image from a CSBS backup";
    let tagged = image("67e17426-359e-49fb-aa12-0bd1756ec240");
    let three = [
        Tag::new("key1", "value1"),
        Tag::new("key2", "value2"),
        Tag::new("key3", ""),
    ];
    let shared = SHARED.map(image);
    let projects = [
        "9c61004714024f9586705d090530f9fa".to_owned(),
        "edc89b490d7d4392898e19b2deb34797".to_owned(),
    ];
    match name {
        "server, tags" => client.image_server(&server(texts())).await.map(drop),
        "server, image_tags" => client.image_server(&server(pairs())).await.map(drop),
        "file, tags" => client.import_file(&file(texts())).await.map(drop),
        "file, image_tags" => client.import_file(&file(pairs())).await.map(drop),
        "volume, tags" => client.image_volume(&volume(texts())).await.map(drop),
        "volume, image_tags" => client.image_volume(&volume(pairs())).await.map(drop),
        "data volume, tags" => client
            .image_data_volumes(&[data_volume(texts())])
            .await
            .map(drop),
        "data volume, image_tags" => client
            .image_data_volumes(&[data_volume(pairs())])
            .await
            .map(drop),
        "whole server, tags" => {
            let whole = whole(whole_server(), "instance_whole_image", of_server, texts());
            client.image_whole_server(&whole).await.map(drop)
        }
        "whole server, image_tags" => {
            let whole = whole(whole_server(), "instance_whole_image", of_server, pairs());
            client.image_whole_server(&whole).await.map(drop)
        }
        "backup, tags" => {
            let whole = whole(backup(), "backup_whole_image", of_backup, texts());
            client.image_whole_server(&whole).await.map(drop)
        }
        "backup, image_tags" => {
            let whole = whole(backup(), "backup_whole_image", of_backup, pairs());
            client.image_whole_server(&whole).await.map(drop)
        }
        "register" => {
            let id = image("4ca46bf1-5c61-48ff-b4f3-0ad4e5e3ba86");
            let file = url("bucketname:Centos6.5-disk1.vmdk");
            client.register_file(&id, &file).await.map(drop)
        }
        "metadata" => {
            let metadata = ImageMetadata {
                name: "test".into(),
                os_version: Some("Ubuntu 14.04 server 64bit".into()),
                container_format: Some("bare".into()),
                disk_format: Some("vhd".into()),
                min_disk: Some(100),
                min_ram: Some(1024),
                tags: vec!["test=testvalue".into(), "image=imagevalue".into()],
                visibility: Some("private".into()),
                protected: Some(false),
            };
            client.create_metadata(&metadata).await.map(drop)
        }
        "change" => {
            let change = [Change::replace("name", "ims_test")];
            client.update_image(&image(IMAGE), &change).await.map(drop)
        }
        "change, native" => {
            let change = [Change::replace("name", "test01")];
            client
                .update_image_native(&image(IMAGE), &change)
                .await
                .map(drop)
        }
        "delete" => {
            let id = image("4ca46bf1-5c61-48ff-b4f3-0ad4e5e3ba90");
            client.delete_image(&id, true).await
        }
        "export" => {
            let to = url("ims-image:centos7_5.qcow2");
            client
                .export_image(&image(SHARED[0]), &to, ExportFormat::Qcow2)
                .await
                .map(drop)
        }
        "copy" => {
            let id = image("465076de-dc36-4aec-80f5-ef9d8009428f");
            let key = Some("bd66288c-9081-460a-8227-4cbd0c814cb4");
            client
                .copy_image(&id, "ims_encrypted_copy3", Some("test copy"), key)
                .await
                .map(drop)
        }
        "tag, old call" => {
            let id = image("67437ebd-2563-46e0-887e-ad1923977fa1");
            client.put_tag(&id, &Tag::new("key1", "value1")).await
        }
        "tag" => {
            let tag = Tag::new("key1", "value1");
            client.set_image_tag(&tagged, &tag).await
        }
        "tags, create" => client.set_image_tags(&tagged, &three).await,
        "tags, delete" => client.remove_image_tags(&tagged, &three).await,
        "untag" => client.remove_image_tag(&tagged, "key1").await,
        "tags of an image" => client.image_tags(&tagged).await.map(drop),
        "all tags" => client.all_tags().await.map(drop),
        "by tags, count" => client.count_images_by_tags(&tag_query()).await.map(drop),
        "by tags, filter" => client.images_by_tags(&tag_query(), 0, 1).await.map(drop),
        "share" => client.share_images(&shared, &projects).await.map(drop),
        "unshare" => client.unshare_images(&shared, &projects).await.map(drop),
        "accept" => client
            .reply_to_shared(&shared, Answer::Accepted)
            .await
            .map(drop),
        "members" => client.image_members(&shared[0]).await.map(drop),
        "quota" => client.quotas().await.map(drop),
        "detail, native" => client.image_native(&image(IMAGE)).await.map(drop),
        other => panic!("no call for the example {other:?}"),
    }
}

#[tokio::test]
async fn every_documented_request_is_reproduced_field_by_field() {
    for (name, example) in documented() {
        let cloud = Server::start().await.unwrap();
        cloud.push(Reply::json(
            200,
            &json!({"job_id": "8a12fc664fb4daa3014fb4e581380005", "id": IMAGE, "status": "active"})
                .to_string(),
        ));
        call(&signing(&cloud), &name).await.unwrap();
        let request = cloud.requests().remove(0);
        let line = format!("{} {}", request.method, request.target);
        let expected = example["line"]
            .as_str()
            .unwrap()
            .replace("{project}", common::PROJECT);
        assert_eq!(line, expected, "{name}");
        if let Some(kind) = example.get("content_type") {
            assert_eq!(request.header("content-type"), kind.as_str(), "{name}");
        }
        let body = match request.body.is_empty() {
            true => Value::Null,
            false => serde_json::from_slice(&request.body).unwrap(),
        };
        let mut expected = example["body"].clone();
        // The client's own project stands for the example's.
        if expected.get("project_id").is_some() {
            expected["project_id"] = common::PROJECT.into();
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
