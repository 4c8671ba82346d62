//! Requests that break a rule each.

use std::time::Duration;

use net::http::Method;
use sandbox::faults::Faults;
use serde_json::{Value, json};

use crate::{ACTION, Cloud, DATA, MEMBERS, QUICK, WHOLE, file};

#[tokio::test]
async fn each_documented_code_is_provoked_by_the_request_that_breaks_its_rule() {
    let cloud = Cloud::start(|_| {}).await;
    cloud.put_vector("tiny", "tiny.zvhd2");
    cloud.put_vector("sparse-130g", "big.zvhd2");
    let mut iso = vec![0_u8; 64 << 10];
    iso[0x8001..0x8006].copy_from_slice(b"CD001");
    cloud.put("cd.iso", iso);
    let quick = |name: &str, key: &str, min_disk: u64| json!({"name": name, "image_url": format!("images:{key}"), "os_version": "CentOS 7.0 64bit", "min_disk": min_disk});
    let id = cloud.image(QUICK, &quick("known", "tiny.zvhd2", 40)).await;
    let other = cloud.image(QUICK, &quick("other", "tiny.zvhd2", 40)).await;
    let big = cloud.image(QUICK, &quick("big", "big.zvhd2", 200)).await;
    let secret = cloud
        .image(
            ACTION,
            &file(json!({"name": "secret", "cmk_id": "sandbox-key"})),
        )
        .await;
    let cd = cloud
        .image(ACTION, &file(json!({"name": "cd", "image_url": "images:cd.iso", "type": "IsoImage", "os_version": "x"})))
        .await;
    let (_, queued) = cloud
        .send(Method::POST, "v2/images", &json!({"name": "queued"}))
        .await;
    let queued = queued["id"].as_str().unwrap();
    let project = cloud.sandbox.project_id();

    let image = |id: &str| format!("v2/cloudimages/{id}");
    let native = |id: &str| format!("v2/images/{id}");
    let export = |id: &str| format!("v1/cloudimages/{id}/file");
    let copy = |id: &str| format!("v1/cloudimages/{id}/copy");
    let tags = |id: &str| format!("v2/{project}/images/{id}/tags/action");
    let change =
        |path: &str, value: Value| json!([{"op": "replace", "path": path, "value": value}]);
    let to = |url: &str| json!({"bucket_url": url, "file_format": "qcow2"});
    let data = |urls: &[&str]| {
        let images: Vec<_> = urls
            .iter()
            .map(|url| json!({"image_url": url, "min_disk": 40}))
            .collect();
        file(json!({"data_images": images}))
    };
    let many: Vec<_> = (0..11)
        .map(|n| json!({"key": format!("k{n}"), "value": ""}))
        .collect();
    let crowd: Vec<_> = (0..257).map(|n| format!("project-{n}")).collect();
    let post = Method::POST;
    let long = "x".repeat(129);
    let protect = change("/protected", json!(true));
    assert_eq!(
        cloud.send(Method::PATCH, &image(&other), &protect).await.0,
        200
    );

    let cases: Vec<(&str, Method, String, Value)> = vec![
        (
            "IMG.0001",
            Method::PATCH,
            image(&id),
            json!({"op": "replace"}),
        ),
        (
            "IMG.0001",
            Method::PATCH,
            image(&id),
            json!([{"op": "move", "path": "/name"}]),
        ),
        (
            "IMG.0001",
            post.clone(),
            export(&id),
            json!({"bucket_url": "images:new.zvhd2", "file_format": "qcow2", "is_quick_export": true}),
        ),
        (
            "IMG.0002",
            Method::PATCH,
            image(&id),
            change("/name", json!(long)),
        ),
        (
            "IMG.0003",
            Method::PATCH,
            image(&id),
            change("/name", json!(" x")),
        ),
        (
            "IMG.0005",
            post.clone(),
            ACTION.into(),
            json!({"name": "n", "instance_id": "i"}),
        ),
        (
            "IMG.0005",
            post.clone(),
            WHOLE.into(),
            json!({"name": "n", "instance_id": "i"}),
        ),
        ("IMG.0007", Method::PATCH, image(&id), Value::Null),
        (
            "IMG.0009",
            Method::PATCH,
            image(&id),
            change("/name", json!("other")),
        ),
        (
            "IMG.0009",
            post.clone(),
            copy(&id),
            json!({"name": "other"}),
        ),
        (
            "IMG.0012",
            post.clone(),
            ACTION.into(),
            json!({"name": "n", "instance_id": ""}),
        ),
        ("IMG.0013", post.clone(), copy(&id), json!({"name": ""})),
        (
            "IMG.0017",
            post.clone(),
            ACTION.into(),
            json!({"name": "n"}),
        ),
        (
            "IMG.0019",
            post.clone(),
            WHOLE.into(),
            json!({"name": "n", "backup_id": ""}),
        ),
        (
            "IMG.0023",
            Method::GET,
            "v1/cloudimages/job/none".into(),
            Value::Null,
        ),
        (
            "IMG.0024",
            post.clone(),
            ACTION.into(),
            file(json!({"type": "Toaster"})),
        ),
        (
            "IMG.0027",
            Method::PUT,
            "v1/cloudimages/none/upload".into(),
            json!({"image_url": "images:tiny.zvhd2"}),
        ),
        ("IMG.0028", Method::DELETE, native(&other), Value::Null),
        (
            "IMG.0035",
            Method::PATCH,
            image(&id),
            change("/status", json!("active")),
        ),
        (
            "IMG.0041",
            post.clone(),
            MEMBERS.into(),
            json!({"images": [id], "projects": []}),
        ),
        (
            "IMG.0046",
            Method::PATCH,
            image(queued),
            change("/name", json!("n")),
        ),
        (
            "IMG.0046",
            Method::PUT,
            format!("v1/cloudimages/{id}/upload"),
            json!({"image_url": "images:tiny.zvhd2"}),
        ),
        (
            "IMG.0054",
            Method::PATCH,
            image(&id),
            change("/__description", json!("<b>")),
        ),
        (
            "IMG.0055",
            Method::PATCH,
            image(&id),
            change("/min_disk", json!(99_999)),
        ),
        (
            "IMG.0056",
            post.clone(),
            ACTION.into(),
            json!({"name": "n", "volume_id": "v"}),
        ),
        (
            "IMG.0057",
            post.clone(),
            DATA.into(),
            file(json!({"image_url": "images:none.raw"})),
        ),
        (
            "IMG.0066",
            Method::PUT,
            "v1/cloudimages/tags".into(),
            json!({"tag": "a.b"}),
        ),
        (
            "IMG.0067",
            Method::GET,
            format!("v2/wrong/images/{id}/tags"),
            Value::Null,
        ),
        (
            "IMG.0067",
            Method::PUT,
            MEMBERS.into(),
            json!({"images": [id], "status": "accepted"}),
        ),
        (
            "IMG.0069",
            post.clone(),
            export(&id),
            to("nowhere:new.qcow2"),
        ),
        (
            "IMG.0070",
            post.clone(),
            export(&id),
            to("images:tiny.zvhd2"),
        ),
        (
            "IMG.0072",
            post.clone(),
            export(&id),
            json!({"bucket_url": "images:new", "file_format": "floppy"}),
        ),
        (
            "IMG.0072",
            post.clone(),
            "v2/images".into(),
            json!({"name": "n", "disk_format": "floppy"}),
        ),
        ("IMG.0073", post.clone(), export(&id), to("images:")),
        (
            "IMG.0074",
            post.clone(),
            ACTION.into(),
            file(json!({"image_url": format!("images:{long}")})),
        ),
        (
            "IMG.0075",
            post.clone(),
            ACTION.into(),
            file(json!({"image_url": "images:a&b"})),
        ),
        (
            "IMG.0076",
            post.clone(),
            MEMBERS.into(),
            json!({"images": [id], "projects": [project]}),
        ),
        (
            "IMG.0086",
            Method::PUT,
            MEMBERS.into(),
            json!({"images": [id], "project_id": "p", "status": "accepted"}),
        ),
        (
            "IMG.0088",
            post.clone(),
            MEMBERS.into(),
            json!({"images": [id], "projects": crowd}),
        ),
        (
            "IMG.0095",
            post.clone(),
            copy(&id),
            json!({"name": "n", "cmk_id": "none"}),
        ),
        (
            "IMG.0096",
            post.clone(),
            copy(&secret),
            json!({"name": "n", "cmk_id": "sandbox-key"}),
        ),
        (
            "IMG.0097",
            post.clone(),
            copy(&id),
            json!({"name": "n", "cmk_id": "sandbox-key-disabled"}),
        ),
        (
            "IMG.0098",
            post.clone(),
            MEMBERS.into(),
            json!({"images": [secret], "projects": ["p"]}),
        ),
        (
            "IMG.0099",
            post.clone(),
            copy(&id),
            json!({"name": "n", "cmk_id": "sandbox-key-forbidden"}),
        ),
        (
            "IMG.0108",
            post.clone(),
            MEMBERS.into(),
            json!({"images": [id], "projects": ["sandbox-project-unknown"]}),
        ),
        (
            "IMG.0115",
            Method::PUT,
            format!("v2/images/{id}/tags/a=b"),
            Value::Null,
        ),
        (
            "IMG.0115",
            post.clone(),
            tags(&id),
            json!({"action": "create", "tags": [{"key": "a=b", "value": ""}]}),
        ),
        (
            "IMG.0116",
            post.clone(),
            tags(&id),
            json!({"action": "create", "tags": many}),
        ),
        (
            "IMG.0118",
            post.clone(),
            ACTION.into(),
            file(json!({"type": "BMS", "cmk_id": "sandbox-key"})),
        ),
        (
            "IMG.0120",
            post.clone(),
            ACTION.into(),
            json!({"name": "n", "volume_id": "v", "os_version": "x"}),
        ),
        (
            "IMG.0120",
            post.clone(),
            ACTION.into(),
            json!({"data_images": [{"name": "n", "volume_id": "v"}]}),
        ),
        (
            "IMG.0121",
            Method::DELETE,
            format!("v2/{project}/images/{id}/tags/none"),
            Value::Null,
        ),
        (
            "IMG.0121",
            Method::GET,
            format!("v2/images/{id}/members/nobody"),
            Value::Null,
        ),
        (
            "IMG.0122",
            post.clone(),
            ACTION.into(),
            file(json!({"os_type": "BeOS"})),
        ),
        (
            "IMG.0123",
            post.clone(),
            ACTION.into(),
            data(&["images:tiny.zvhd2"]),
        ),
        (
            "IMG.0127",
            post.clone(),
            WHOLE.into(),
            json!({"name": "n", "backup_id": "b"}),
        ),
        (
            "IMG.0141",
            Method::PATCH,
            image(&id),
            change("/hw_firmware_type", json!("coreboot")),
        ),
        ("IMG.0144", Method::GET, native("none"), Value::Null),
        ("IMG.0144", Method::DELETE, native("none"), Value::Null),
        (
            "IMG.0159",
            post.clone(),
            ACTION.into(),
            file(json!({"is_quick_import": true})),
        ),
        (
            "IMG.0160",
            post.clone(),
            export(&big),
            to("images:new.qcow2"),
        ),
        (
            "IMG.0166",
            post.clone(),
            ACTION.into(),
            file(json!({"image_url": "images:cd.iso", "type": "IsoImage"})),
        ),
        (
            "IMG.0167",
            post.clone(),
            export(&cd),
            to("images:new.qcow2"),
        ),
        ("IMG.0167", post.clone(), copy(&cd), json!({"name": "n"})),
        (
            "IMG.0175",
            post.clone(),
            ACTION.into(),
            file(json!({"image_url": "images:a b"})),
        ),
        (
            "IMG.0194",
            post.clone(),
            ACTION.into(),
            data(&["images:1", "images:2", "images:3", "images:4"]),
        ),
        (
            "IMG.0177",
            post.clone(),
            format!("v2/images/{id}/members"),
            json!({"member": "sandbox-project-elsewhere"}),
        ),
        (
            "IMG.0212",
            post.clone(),
            ACTION.into(),
            file(json!({"architecture": "sparc"})),
        ),
    ];
    let before = cloud.sandbox.images();
    for (code, method, path, body) in cases {
        let (status, answer) = cloud.send(method.clone(), &path, &body).await;
        assert!(matches!(status, 400 | 404), "{code}: {status} {answer}");
        assert_eq!(
            answer["error"]["code"], code,
            "{method} {path} {body}: {answer}"
        );
    }
    let names = |images: Vec<sandbox::ImageRecord>| -> Vec<_> {
        images
            .into_iter()
            .map(|image| (image.name, image.more))
            .collect()
    };
    assert_eq!(
        names(before),
        names(cloud.sandbox.images()),
        "a refusal changes nothing"
    );
}

#[tokio::test]
async fn files_that_are_too_large_or_in_another_region_are_refused() {
    let far = |options: &mut sandbox::Options| {
        options.bucket_regions = [("far-away".to_owned(), "elsewhere-1".to_owned())].into();
    };
    let cloud = Cloud::start(far).await;
    cloud.put("large.raw", b"");
    let path = cloud.dir.path().join("sandbox/obs/images/large.raw");
    let large = std::fs::File::options().write(true).open(path).unwrap();
    // Holes only: it takes no room.
    large.set_len((128 << 30) + 1).unwrap();
    let body = |url: &str| file(json!({"image_url": url}));
    for (url, code) in [
        ("images:large.raw", "IMG.0059"),
        ("far-away:disk.raw", "IMG.0058"),
    ] {
        for path in [ACTION, DATA] {
            let (status, answer) = cloud.send(Method::POST, path, &body(url)).await;
            assert_eq!((status, &answer["error"]["code"]), (400, &json!(code)));
        }
    }
}

#[tokio::test]
async fn who_may_only_look_changes_nothing() {
    let cloud = Cloud::start(|options| options.faults.may_only_look = true).await;
    cloud.put_vector("tiny", "tiny.zvhd2");
    let project = cloud.sandbox.project_id();
    let (status, _) = cloud
        .send(Method::GET, "v2/cloudimages", &Value::Null)
        .await;
    assert_eq!(status, 200);
    let find = format!("v2/{project}/images/resource_instances/action");
    let body = json!({"action": "count"});
    assert_eq!(cloud.send(Method::POST, &find, &body).await.0, 200);
    for (method, path) in [
        (Method::POST, ACTION),
        (Method::DELETE, "v2/images/sandbox-image-public"),
    ] {
        let (status, answer) = cloud.send(method, path, &file(json!({}))).await;
        assert_eq!(
            (status, &answer["error"]["code"]),
            (403, &json!("IMG.0026"))
        );
    }
    assert!(cloud.sandbox.images().is_empty());
}

#[tokio::test]
async fn an_image_is_exported_once_at_a_time() {
    let cloud = Cloud::start(|options| {
        options.faults = Faults {
            job_delay: Duration::from_millis(300),
            ..Faults::default()
        };
    })
    .await;
    cloud.put_vector("tiny", "tiny.zvhd2");
    let id = cloud.image(ACTION, &file(json!({}))).await;
    let path = format!("v1/cloudimages/{id}/file");
    let to = |key: &str| json!({"bucket_url": format!("images:{key}"), "is_quick_export": true});
    let (status, first) = cloud.send(Method::POST, &path, &to("one.zvhd2")).await;
    assert_eq!(status, 200, "{first}");
    let (_, answer) = cloud.send(Method::POST, &path, &to("two.zvhd2")).await;
    assert_eq!(answer["error"]["code"], "IMG.0148");
    cloud.ended(first["job_id"].as_str().unwrap()).await;
    let (status, answer) = cloud.send(Method::POST, &path, &to("two.zvhd2")).await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test]
async fn a_refused_data_disk_leaves_nothing_of_its_system() {
    let cloud = Cloud::start(|_| {}).await;
    cloud.put_vector("tiny", "tiny.zvhd2");
    cloud.put_vector("tiny", "data.zvhd2");
    let known = cloud.image(ACTION, &file(json!({"name": "known"}))).await;
    let data =
        |name: &str| json!([{"name": name, "image_url": "images:data.zvhd2", "min_disk": 40}]);
    for body in [
        json!({"name": "fresh", "data_images": data("known")}),
        json!({"name": "known", "data_images": data("fresh")}),
        json!({"name": "fresh", "data_images": data("fresh")}),
    ] {
        let (_, answer) = cloud.send(Method::POST, ACTION, &file(body)).await;
        assert_eq!(answer["error"]["code"], "IMG.0009");
    }
    let images = cloud.sandbox.images();
    assert_eq!(images.len(), 1);
    assert_eq!(images[0].id, known);
}
