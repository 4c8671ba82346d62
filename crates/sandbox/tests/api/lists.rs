//! Lists of images: filters, order, pages; and the calls that only the official SDK makes.

use net::http::Method;
use serde_json::{Value, json};

use crate::cloud::{Cloud, good};

/// Makes an image without a file; its id.
async fn image(cloud: &Cloud, name: &str, os_version: Option<&str>) -> String {
    let body = json!({
        "name": name,
        "__os_version": os_version,
        "container_format": "bare",
        "disk_format": "zvhd2",
        "min_disk": 40,
        "visibility": "private",
    });
    let answer = cloud
        .send(Method::POST, "v2/images", &cloud.token, body.to_string())
        .await;
    assert_eq!(answer.0, 201, "{}", answer.1);
    answer.1["id"].as_str().unwrap().to_owned()
}

async fn three() -> (Cloud, Vec<String>) {
    let cloud = Cloud::start().await;
    let mut ids = Vec::new();
    for (name, os_version) in [
        ("b", Some("CentOS 7.0 64bit")),
        ("c", Some("Debian GNU/Linux 12.0.0 64bit")),
        ("a", None),
    ] {
        ids.push(image(&cloud, name, os_version).await);
    }
    (cloud, ids)
}

fn names(list: &Value) -> Vec<&str> {
    let images = list["images"].as_array().unwrap().iter();
    images
        .map(|image| image["name"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn lists_are_in_the_order_that_is_asked_for() {
    let (cloud, _) = three().await;
    for (order, expected) in [
        ("", ["a", "c", "b"]),
        ("&sort_dir=asc", ["b", "c", "a"]),
        ("&sort_key=name", ["c", "b", "a"]),
        ("&sort_key=name&sort_dir=asc", ["a", "b", "c"]),
        ("&sort_key=created_at&sort_dir=desc", ["a", "c", "b"]),
        ("&sort_key=size&sort_dir=asc", ["a", "c", "b"]),
    ] {
        for call in ["v2/cloudimages", "v2/images"] {
            let path = format!("{call}?__imagetype=private{order}");
            let (_, list) = cloud.get(&path).await;
            assert_eq!(names(&list), expected, "{path}");
        }
    }
    for wrong in ["sort_key=tags", "sort_dir=up", "limit=x", "marker=nobody"] {
        let (status, answer) = cloud.get(&format!("v2/cloudimages?{wrong}")).await;
        assert_eq!(
            (status, &answer["error"]["code"]),
            (400, &json!("IMG.0001")),
            "{wrong}"
        );
    }
}

#[tokio::test]
async fn lists_are_filtered_by_what_the_documents_name() {
    let (cloud, ids) = three().await;
    let by_id = format!("id={}", ids[1]);
    for (filter, expected) in [
        ("created_at=gte:2020-01-01T00:00:00Z", &["a", "c", "b"][..]),
        ("created_at=lt:2020-01-01%2000:00:00", &[]),
        ("updated_at=gt:2020-01-01T00:00:00Z", &["a", "c", "b"]),
        ("updated_at=eq:2020-01-01T00:00:00Z", &[]),
        ("__platform=CentOS", &["b"]),
        ("__platform=Debian", &["c"]),
        ("__platform=Other", &["a"]),
        ("architecture=x86", &["a", "c", "b"]),
        ("architecture=arm", &[]),
        ("enterprise_project_id=all_granted_eps", &["a", "c", "b"]),
        ("enterprise_project_id=0", &["a", "c", "b"]),
        ("enterprise_project_id=7", &[]),
        ("protected=False&min_disk=40&min_ram=0", &["a", "c", "b"]),
        ("protected=true", &[]),
        (
            "__whole_image=false&__os_bit=64&disk_format=zvhd2",
            &["a", "c", "b"],
        ),
        (
            "virtual_env_type=FusionCompute&status=queued",
            &["a", "c", "b"],
        ),
        ("virtual_environment_type=DataImage", &[]),
        ("__support_kvm=true", &[]),
        (&by_id, &["c"]),
        ("name=c&__platform=CentOS", &[]),
    ] {
        let path = format!("v2/cloudimages?__imagetype=private&{filter}");
        let (_, list) = cloud.get(&path).await;
        assert_eq!(names(&list), expected, "{filter}");
    }
    let (status, _) = cloud
        .get("v2/cloudimages?created_at=later:2020-01-01T00:00:00Z")
        .await;
    assert_eq!(status, 400);
    let (_, list) = cloud
        .get("v2/cloudimages?__imagetype=gold&__platform=Debian")
        .await;
    assert_eq!(names(&list), ["sandbox-image-public"]);
}

#[tokio::test]
async fn the_native_list_links_its_pages() {
    let (cloud, _) = three().await;
    let mut path = "v2/images?__imagetype=private&limit=2".to_owned();
    let mut seen = Vec::new();
    for page in 0..2 {
        let (_, list) = cloud.get(&path).await;
        assert_eq!(list["schema"], "/v2/schemas/images");
        assert_eq!(list["first"], "/v2/images?__imagetype=private&limit=2");
        seen.extend(names(&list).into_iter().map(str::to_owned));
        match list.get("next") {
            Some(next) if page == 0 => path = next.as_str().unwrap()[1..].to_owned(),
            next => assert_eq!(next, None),
        }
    }
    assert_eq!(seen, ["a", "c", "b"]);
    let (_, list) = cloud
        .get("v2/cloudimages?__imagetype=private&limit=1")
        .await;
    assert_eq!(list, json!({"images": list["images"]}), "no links");
}

#[tokio::test]
async fn tags_are_listed_of_the_images_that_the_query_selects() {
    let (cloud, ids) = three().await;
    let project = cloud.sandbox.project_id();
    for (id, key) in [(&ids[0], "k"), (&ids[1], "other")] {
        let path = format!("v2/{project}/images/{id}/tags");
        let body = json!({"tag": {"key": key, "value": "v"}}).to_string();
        let answer = cloud.send(Method::POST, &path, &cloud.token, body).await;
        assert_eq!(answer.0, 204);
    }
    for (query, expected) in [
        ("", json!(["k.v", "other.v"])),
        ("?limit=1&page=2", json!(["other.v"])),
        ("?name=b", json!(["k.v"])),
        ("?__platform=Debian", json!(["other.v"])),
        ("?created_at=lt:2020-01-01T00:00:00Z", json!([])),
    ] {
        let (_, answer) = cloud.get(&format!("v1/cloudimages/tags{query}")).await;
        assert_eq!(answer, json!({"tags": expected}), "{query}");
    }
    let path = format!("v1/{project}/cloudimages/{}/tags/delete", ids[0]);
    let body = json!({"tags": [{"key": "k", "value": "v"}, {"key": "none"}]}).to_string();
    let answer = cloud.send(Method::DELETE, &path, &cloud.token, body).await;
    assert_eq!(answer.0, 204, "{}", answer.1);
    let (_, answer) = cloud.get("v1/cloudimages/tags?name=b").await;
    assert_eq!(answer, json!({"tags": []}));
}

#[tokio::test]
async fn an_image_is_shared_with_accounts_and_its_members_are_listed_in_pages() {
    let cloud = Cloud::start().await;
    let id = active(&cloud).await;
    let project = cloud.sandbox.project_id().to_owned();
    let members = format!("v1/{project}/cloudimages/{id}/members");
    let send = async |method, body: Value| {
        let path = "v1/cloudimages/members";
        cloud
            .send(method, path, &cloud.token, body.to_string())
            .await
    };
    let both = json!({"images": [id], "projects": ["p1"], "domains": ["d1"]});
    let (status, answer) = send(Method::POST, both).await;
    assert_eq!(status, 200, "{answer}");
    let (_, page) = cloud.get(&format!("{members}?limit=1")).await;
    assert_eq!(
        page["page_info"],
        json!({"current_count": 1, "next_marker": "d1"})
    );
    assert_eq!(page["members"][0]["member_type"], "domain");
    let (_, page) = cloud.get(&format!("{members}?limit=1&marker=d1")).await;
    assert_eq!(
        page["page_info"],
        json!({"current_count": 1, "next_marker": null})
    );
    assert_eq!(page["members"][0]["member_id"], "p1");
    let (_, one) = cloud.get(&format!("{members}/p1")).await;
    assert_eq!(
        (&one["member_type"], &one["status"], &one["image_id"]),
        (&json!("project"), &json!("pending"), &json!(id))
    );
    assert_eq!(cloud.get(&format!("{members}/p2")).await.0, 404);
    let (status, _) = send(Method::DELETE, json!({"images": [id], "domains": ["d1"]})).await;
    assert_eq!(status, 200);
    let (_, page) = cloud.get(&members).await;
    assert_eq!(page["members"].as_array().unwrap().len(), 1);
    for (wrong, code) in [
        (json!({"images": [id], "projects": []}), "IMG.0041"),
        (json!({"images": [id]}), "IMG.0001"),
        (
            json!({"images": [id], "organizations": ["urn:o"]}),
            "IMG.0001",
        ),
    ] {
        let (_, answer) = send(Method::POST, wrong).await;
        assert_eq!(answer["error"]["code"], code);
    }
}

#[tokio::test]
async fn a_copy_to_another_region_is_made_and_not_shown_here() {
    let cloud = Cloud::start().await;
    let id = active(&cloud).await;
    let path = format!("v1/cloudimages/{id}/cross_region_copy");
    let send = async |body: &Value| {
        cloud
            .send(Method::POST, &path, &cloud.token, body.to_string())
            .await
    };
    let good = json!({"name": "demo", "region": "r2", "project_name": "r2", "agency_name": "ims"});
    for (field, value, code) in [
        ("region", "", "IMG.0001"),
        ("agency_name", "", "IMG.0001"),
        ("project_name", "", "IMG.0104"),
        ("region", cloud.sandbox.region(), "IMG.0105"),
        ("name", " x", "IMG.0003"),
    ] {
        let mut wrong = good.clone();
        wrong[field] = value.into();
        let (status, answer) = send(&wrong).await;
        assert_eq!(
            (status, &answer["error"]["code"]),
            (400, &json!(code)),
            "{field}"
        );
    }
    let (status, answer) = send(&good).await;
    assert_eq!(status, 200, "{answer}");
    let job = cloud.wait(answer["job_id"].as_str().unwrap()).await;
    assert_eq!(job["status"], "SUCCESS", "{job}");
    let copy = job["entities"]["image_id"].as_str().unwrap();
    let (_, list) = cloud.get("v2/cloudimages?name=demo").await;
    assert_eq!(
        names(&list).len(),
        1,
        "the name is free in the other region"
    );
    assert_eq!(cloud.get(&format!("v2/images/{copy}")).await.0, 404);
    let images = cloud.sandbox.images();
    let copy = images.iter().find(|image| image.id == copy).unwrap();
    let original = images.iter().find(|image| image.id == id).unwrap();
    assert_eq!(copy.more.region.as_deref(), Some("r2"));
    assert_eq!(copy.content_digest, original.content_digest);
}

#[tokio::test]
async fn tokens_have_a_catalog_unless_it_is_not_asked_for() {
    let cloud = Cloud::start().await;
    let catalog = async |path: &str, body: Value| {
        let answer = cloud.post_plain(path, body.to_string()).await;
        let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        answer["token"]["catalog"].as_array().unwrap().clone()
    };
    let found = catalog("v3/auth/tokens", cloud.login_body()).await;
    let url = |kind: &str| {
        let service = found
            .iter()
            .find(|service| service["type"] == kind)
            .unwrap();
        assert_eq!(service["endpoints"][0]["region"], cloud.sandbox.region());
        service["endpoints"][0]["url"].as_str().unwrap().to_owned()
    };
    let is = |url: String, endpoint: &str| assert_eq!(format!("{url}/"), endpoint);
    is(url("image"), cloud.sandbox.ims_endpoint().as_str());
    is(url("object"), cloud.sandbox.obs_endpoint().as_str());
    assert!(url("identity").ends_with("/v3"));
    let found = catalog("v3/auth/tokens?nocatalog=true", cloud.login_body()).await;
    assert!(found.is_empty());
    let mut unscoped = cloud.login_body();
    unscoped["auth"].as_object_mut().unwrap().remove("scope");
    assert!(catalog("v3/auth/tokens", unscoped).await.is_empty());
}

/// An active image; its id.
async fn active(cloud: &Cloud) -> String {
    cloud.put_vector("tiny", "disk.zvhd2");
    let job = cloud.import_and_wait(&good()).await;
    job["entities"]["image_id"].as_str().unwrap().to_owned()
}
