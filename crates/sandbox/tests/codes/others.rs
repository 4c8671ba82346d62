//! Images that the project does not own.

use ims::{Change, ImageId, ImageQuery, ImageStatus, PatchForm, Reply, SchemaOf};
use net::http::Method;
use serde_json::{Value, json};

use crate::{ACTION, Cloud, MEMBERS, fast, file};

const PUBLIC: &str = "sandbox-image-public";
const SHARED: &str = "sandbox-image-shared";

#[tokio::test]
async fn images_of_others_are_refused_with_the_codes_for_it() {
    let cloud = Cloud::start(|_| {}).await;
    let to = json!({"bucket_url": "images:new.zvhd2", "is_quick_export": true});
    let share = |id: &str| json!({"images": [id], "projects": ["p"]});
    let rename = json!([{"op": "replace", "path": "/name", "value": "mine"}]);
    let copy = json!({"name": "copy"});
    let encrypted = format!("{SHARED}-encrypted");
    let post = Method::POST;
    for (code, method, path, body) in [
        (
            "IMG.0047",
            Method::PATCH,
            format!("v2/cloudimages/{PUBLIC}"),
            &rename,
        ),
        (
            "IMG.0071",
            post.clone(),
            format!("v1/cloudimages/{SHARED}/file"),
            &to,
        ),
        (
            "IMG.0077",
            post.clone(),
            format!("v1/cloudimages/{PUBLIC}/file"),
            &to,
        ),
        ("IMG.0089", post.clone(), MEMBERS.into(), &share(PUBLIC)),
        (
            "IMG.0092",
            Method::DELETE,
            format!("v2/images/{SHARED}"),
            &Value::Null,
        ),
        (
            "IMG.0094",
            Method::DELETE,
            format!("v2/images/{PUBLIC}"),
            &Value::Null,
        ),
        (
            "IMG.0105",
            post.clone(),
            format!("v1/cloudimages/{PUBLIC}/copy"),
            &copy,
        ),
        ("IMG.0106", post.clone(), MEMBERS.into(), &share(SHARED)),
        (
            "IMG.0196",
            post.clone(),
            format!("v1/cloudimages/{SHARED}/copy"),
            &copy,
        ),
        (
            "IMG.0197",
            post.clone(),
            format!("v1/cloudimages/{encrypted}/copy"),
            &copy,
        ),
    ] {
        let (status, answer) = cloud.send(method, &path, body).await;
        assert_eq!(
            (status, &answer["error"]["code"]),
            (400, &json!(code)),
            "{path}: {answer}"
        );
    }
    assert!(cloud.sandbox.images().is_empty());
}

#[tokio::test]
async fn an_image_of_others_is_listed_and_copied_once_it_is_accepted() {
    let cloud = Cloud::start(|_| {}).await;
    let client = cloud.client();
    let ids = async |query: &ImageQuery| -> Vec<String> {
        let images = client.list_images(query, 10).await.unwrap();
        images.iter().map(|image| image.id.to_string()).collect()
    };
    let shared = ImageQuery {
        image_type: Some("shared".into()),
        ..ImageQuery::default()
    };
    let pending = ImageQuery {
        member_status: Some("pending".into()),
        visibility: Some("shared".into()),
        ..shared.clone()
    };
    let public = ImageQuery {
        image_type: Some("gold".into()),
        ..ImageQuery::default()
    };
    assert_eq!(ids(&public).await, [PUBLIC]);
    assert_eq!(ids(&shared).await, [""; 0]);
    assert_eq!(ids(&pending).await.len(), 2);
    let id: ImageId = SHARED.parse().unwrap();
    let job = client
        .reply_to_shared(std::slice::from_ref(&id), Reply::Accepted)
        .await
        .unwrap();
    client
        .wait(&job, &fast(), |_| {}, std::future::pending())
        .await
        .unwrap();
    assert_eq!(ids(&shared).await, [SHARED]);
    let job = client.copy_image(&id, "mine", None, None).await.unwrap();
    let copy = client
        .wait(&job, &fast(), |_| {}, std::future::pending())
        .await
        .unwrap();
    let copy = client.image(&copy).await.unwrap().unwrap();
    assert_eq!(copy.status, ImageStatus::Active);
    assert_eq!(copy.field("__imagetype").as_deref(), Some("private"));
}

#[tokio::test]
async fn members_are_added_asked_for_and_removed_one_by_one() {
    let cloud = Cloud::start(|_| {}).await;
    cloud.put_vector("tiny", "tiny.zvhd2");
    let id: ImageId = cloud.image(ACTION, &file(json!({}))).await.parse().unwrap();
    let client = cloud.client();
    let added = client.add_member(&id, "theirs").await.unwrap();
    assert_eq!(added.status.as_deref(), Some("pending"));
    assert_eq!(added.schema.as_deref(), Some("/v2/schemas/member"));
    client
        .set_member_status(&id, "theirs", Reply::Accepted)
        .await
        .unwrap();
    let member = client.image_member(&id, "theirs").await.unwrap();
    assert_eq!(member.status.as_deref(), Some("accepted"));
    assert_eq!(client.image_members(&id).await.unwrap(), [member]);
    client.remove_member(&id, "theirs").await.unwrap();
    let gone = client.image_member(&id, "theirs").await.unwrap_err();
    assert_eq!(gone.kind(), ims::ErrorKind::NotFound);
    let odd = client.remove_member(&id, "a/b").await.unwrap_err();
    assert_eq!(odd.kind(), ims::ErrorKind::Invalid);
}

#[tokio::test]
async fn tags_that_are_words_and_tags_as_texts_are_set_and_listed() {
    let cloud = Cloud::start(|_| {}).await;
    cloud.put_vector("tiny", "tiny.zvhd2");
    let id: ImageId = cloud.image(ACTION, &file(json!({}))).await.parse().unwrap();
    let client = cloud.client();
    client.add_tag_word(&id, "word").await.unwrap();
    client.put_tag_text(&id, "env.prod").await.unwrap();
    let texts = async |limit, page| {
        client
            .tag_texts(&ImageQuery::default(), limit, page)
            .await
            .unwrap()
    };
    assert_eq!(texts(5, 1).await, ["env.prod", "word"]);
    assert_eq!(texts(1, 2).await, ["word"]);
    let untagged = ims::TagQuery {
        without_any_tag: true,
        ..Default::default()
    };
    assert_eq!(
        client.count_images_by_tags(&untagged).await.unwrap(),
        Some(0)
    );
    client.remove_tag_word(&id, "word").await.unwrap();
    let gone = client.remove_tag_word(&id, "word").await.unwrap_err();
    assert_eq!(gone.code(), Some("IMG.0121"));
    let image = client.image_native(&id).await.unwrap();
    assert_eq!(image.raw()["tags"], json!(["env.prod"]));
    assert_eq!(
        client
            .list_images_native(&ImageQuery::default(), 10)
            .await
            .unwrap()[0]
            .id,
        id
    );
    let change = [Change::replace("name", "renamed")];
    let renamed = client
        .update_image_native(&id, &change, PatchForm::V2_1)
        .await
        .unwrap();
    assert_eq!(renamed.name.as_deref(), Some("renamed"));
}

#[tokio::test]
async fn a_small_file_is_sent_to_the_service_itself() {
    let cloud = Cloud::start(|_| {}).await;
    let client = cloud.client();
    let metadata = ims::ImageMetadata {
        name: "small".into(),
        ..Default::default()
    };
    let queued = client.create_metadata(&metadata).await.unwrap();
    let bytes = std::fs::read(testkit::vectors::vector("tiny").unwrap().path()).unwrap();
    let size = bytes.len() as u64;
    client.upload_file(&queued.id, bytes.into()).await.unwrap();
    let image = loop {
        let image = client.image(&queued.id).await.unwrap().unwrap();
        if !matches!(image.status, ImageStatus::Queued | ImageStatus::Saving) {
            break image;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert_eq!(image.status, ImageStatus::Active);
    assert_eq!(image.size, Some(size));
    let again = client.upload_file(&queued.id, vec![1].into()).await;
    assert_eq!(again.unwrap_err().code(), Some("IMG.0046"));
}

#[tokio::test]
async fn versions_and_schemas_are_told_to_everybody() {
    let cloud = Cloud::start(|_| {}).await;
    let client = cloud.client();
    let versions = client.versions().await.unwrap();
    assert_eq!(versions[0].id, "v2.2");
    assert_eq!(versions[0].status.as_deref(), Some("CURRENT"));
    let href = versions[0].links[0].href.as_deref().unwrap();
    assert!(href.ends_with("/v2/"), "{href}");
    assert_eq!(client.version("v2.0").await.unwrap()[0].id, "v2.0");
    let none = client.version("v9").await.unwrap_err();
    assert_eq!(none.kind(), ims::ErrorKind::NotFound);
    for (of, name) in [
        (SchemaOf::Image, "image"),
        (SchemaOf::Images, "images"),
        (SchemaOf::Member, "member"),
        (SchemaOf::Members, "members"),
    ] {
        let schema = client.schema(of).await.unwrap();
        assert_eq!(schema.name.as_deref(), Some(name));
    }
    let schema = client.schema(SchemaOf::Member).await.unwrap();
    let status = schema
        .properties
        .iter()
        .find(|p| p.name == "status")
        .unwrap();
    assert_eq!(status.values, ["pending", "accepted", "rejected"]);
}
