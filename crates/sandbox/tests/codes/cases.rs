//! Requests that break a rule each.

use std::time::Duration;

use net::http::Method;
use sandbox::faults::Faults;
use serde_json::{Value, json};

use crate::{ACTION, Cloud, DATA, MEMBERS, QUICK, WHOLE, file};

/// The code of a refusal, and the request that it answers.
type Case = (&'static str, Method, String, Value);

fn post(code: &'static str, path: impl Into<String>, body: Value) -> Case {
    (code, Method::POST, path.into(), body)
}

fn put(code: &'static str, path: impl Into<String>, body: Value) -> Case {
    (code, Method::PUT, path.into(), body)
}

fn patch(code: &'static str, path: impl Into<String>, body: Value) -> Case {
    (code, Method::PATCH, path.into(), body)
}

fn get(code: &'static str, path: impl Into<String>, body: Value) -> Case {
    (code, Method::GET, path.into(), body)
}

fn delete(code: &'static str, path: impl Into<String>, body: Value) -> Case {
    (code, Method::DELETE, path.into(), body)
}

fn image(id: &str) -> String {
    format!("v2/cloudimages/{id}")
}

fn change(path: &str, value: Value) -> Value {
    json!([{"op": "replace", "path": path, "value": value}])
}

/// Images that are there, by what is special about each.
struct Known {
    id: String,
    /// Protected.
    other: String,
    /// Of 130 GiB.
    big: String,
    /// Encrypted.
    secret: String,
    /// Of a CD.
    cd: String,
    /// Without a file.
    queued: String,
    project: String,
}

impl Known {
    async fn make(cloud: &Cloud) -> Self {
        cloud.put_vector("tiny", "tiny.zvhd2");
        cloud.put_vector("sparse-130g", "big.zvhd2");
        let mut iso = vec![0_u8; 64 << 10];
        iso[0x8001..0x8006].copy_from_slice(b"CD001");
        cloud.put("cd.iso", iso);
        let quick = |name: &str, key: &str, min_disk: u64| json!({"name": name, "image_url": format!("images:{key}"), "os_version": "CentOS 7.0 64bit", "min_disk": min_disk});
        let secret = file(json!({"name": "secret", "cmk_id": "sandbox-key"}));
        let cd = file(
            json!({"name": "cd", "image_url": "images:cd.iso", "type": "IsoImage", "os_version": "x"}),
        );
        let queued = json!({"name": "queued"});
        let (_, queued) = cloud.send(Method::POST, "v2/images", &queued).await;
        let known = Self {
            id: cloud.image(QUICK, &quick("known", "tiny.zvhd2", 40)).await,
            other: cloud.image(QUICK, &quick("other", "tiny.zvhd2", 40)).await,
            big: cloud.image(QUICK, &quick("big", "big.zvhd2", 200)).await,
            secret: cloud.image(ACTION, &secret).await,
            cd: cloud.image(ACTION, &cd).await,
            queued: queued["id"].as_str().unwrap().to_owned(),
            project: cloud.sandbox.project_id().to_owned(),
        };
        let protect = change("/protected", json!(true));
        let path = image(&known.other);
        let (status, _) = cloud.send(Method::PATCH, &path, &protect).await;
        assert_eq!(status, 200);
        known
    }
}

#[tokio::test]
async fn each_documented_code_is_provoked_by_the_request_that_breaks_its_rule() {
    let cloud = Cloud::start(|_| {}).await;
    let known = Known::make(&cloud).await;
    let before = cloud.sandbox.images();
    let all = [changing, creating, copying, sharing_and_tagging];
    for (code, method, path, body) in all.iter().flat_map(|cases| cases(&known)) {
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

/// Changes, deletions and queries of images that are there.
fn changing(known: &Known) -> Vec<Case> {
    let id = &known.id;
    let long = "x".repeat(129);
    let native = |id: &str| format!("v2/images/{id}");
    vec![
        patch("IMG.0001", image(&known.id), json!({"op": "replace"})),
        patch(
            "IMG.0001",
            image(&known.id),
            json!([{"op": "move", "path": "/name"}]),
        ),
        patch("IMG.0002", image(&known.id), change("/name", json!(long))),
        patch("IMG.0003", image(&known.id), change("/name", json!(" x"))),
        patch("IMG.0007", image(&known.id), Value::Null),
        patch(
            "IMG.0009",
            image(&known.id),
            change("/name", json!("other")),
        ),
        get("IMG.0023", "v1/cloudimages/job/none", Value::Null),
        put(
            "IMG.0027",
            "v1/cloudimages/none/upload",
            json!({"image_url": "images:tiny.zvhd2"}),
        ),
        delete("IMG.0028", native(&known.other), Value::Null),
        patch(
            "IMG.0035",
            image(&known.id),
            change("/status", json!("active")),
        ),
        patch(
            "IMG.0046",
            image(&known.queued),
            change("/name", json!("n")),
        ),
        put(
            "IMG.0046",
            format!("v1/cloudimages/{id}/upload"),
            json!({"image_url": "images:tiny.zvhd2"}),
        ),
        patch(
            "IMG.0054",
            image(&known.id),
            change("/__description", json!("<b>")),
        ),
        patch(
            "IMG.0055",
            image(&known.id),
            change("/min_disk", json!(99_999)),
        ),
        patch(
            "IMG.0141",
            image(&known.id),
            change("/hw_firmware_type", json!("coreboot")),
        ),
        get("IMG.0144", native("none"), Value::Null),
        delete("IMG.0144", native("none"), Value::Null),
    ]
}

/// Images that cannot be made.
fn creating(_: &Known) -> Vec<Case> {
    let long = "x".repeat(129);
    let data = |urls: &[&str]| {
        let image = |url: &&str| json!({"image_url": url, "min_disk": 40});
        file(json!({"data_images": urls.iter().map(image).collect::<Vec<_>>()}))
    };
    vec![
        post("IMG.0005", ACTION, json!({"name": "n", "instance_id": "i"})),
        post("IMG.0005", WHOLE, json!({"name": "n", "instance_id": "i"})),
        post("IMG.0012", ACTION, json!({"name": "n", "instance_id": ""})),
        post("IMG.0017", ACTION, json!({"name": "n"})),
        post("IMG.0019", WHOLE, json!({"name": "n", "backup_id": ""})),
        post("IMG.0024", ACTION, file(json!({"type": "Toaster"}))),
        post("IMG.0056", ACTION, json!({"name": "n", "volume_id": "v"})),
        post(
            "IMG.0057",
            DATA,
            file(json!({"image_url": "images:none.raw"})),
        ),
        post(
            "IMG.0072",
            "v2/images",
            json!({"name": "n", "disk_format": "floppy"}),
        ),
        post(
            "IMG.0074",
            ACTION,
            file(json!({"image_url": format!("images:{long}")})),
        ),
        post("IMG.0075", ACTION, file(json!({"image_url": "images:a&b"}))),
        post(
            "IMG.0118",
            ACTION,
            file(json!({"type": "BMS", "cmk_id": "sandbox-key"})),
        ),
        post(
            "IMG.0120",
            ACTION,
            json!({"name": "n", "volume_id": "v", "os_version": "x"}),
        ),
        post(
            "IMG.0120",
            ACTION,
            json!({"data_images": [{"name": "n", "volume_id": "v"}]}),
        ),
        post("IMG.0122", ACTION, file(json!({"os_type": "BeOS"}))),
        post("IMG.0123", ACTION, data(&["images:tiny.zvhd2"])),
        post("IMG.0127", WHOLE, json!({"name": "n", "backup_id": "b"})),
        post("IMG.0159", ACTION, file(json!({"is_quick_import": true}))),
        post(
            "IMG.0166",
            ACTION,
            file(json!({"image_url": "images:cd.iso", "type": "IsoImage"})),
        ),
        post("IMG.0175", ACTION, file(json!({"image_url": "images:a b"}))),
        post(
            "IMG.0194",
            ACTION,
            data(&["images:1", "images:2", "images:3", "images:4"]),
        ),
        post("IMG.0212", ACTION, file(json!({"architecture": "sparc"}))),
    ]
}

/// Exports and copies.
fn copying(known: &Known) -> Vec<Case> {
    let export = |id: &str| format!("v1/cloudimages/{id}/file");
    let copy = |id: &str| format!("v1/cloudimages/{id}/copy");
    let to = |url: &str| json!({"bucket_url": url, "file_format": "qcow2"});
    vec![
        post(
            "IMG.0001",
            export(&known.id),
            json!({"bucket_url": "images:new.zvhd2", "file_format": "qcow2", "is_quick_export": true}),
        ),
        post("IMG.0009", copy(&known.id), json!({"name": "other"})),
        post("IMG.0013", copy(&known.id), json!({"name": ""})),
        post("IMG.0069", export(&known.id), to("nowhere:new.qcow2")),
        post("IMG.0070", export(&known.id), to("images:tiny.zvhd2")),
        post(
            "IMG.0072",
            export(&known.id),
            json!({"bucket_url": "images:new", "file_format": "floppy"}),
        ),
        post("IMG.0073", export(&known.id), to("images:")),
        post(
            "IMG.0095",
            copy(&known.id),
            json!({"name": "n", "cmk_id": "none"}),
        ),
        post(
            "IMG.0096",
            copy(&known.secret),
            json!({"name": "n", "cmk_id": "sandbox-key"}),
        ),
        post(
            "IMG.0097",
            copy(&known.id),
            json!({"name": "n", "cmk_id": "sandbox-key-disabled"}),
        ),
        post(
            "IMG.0099",
            copy(&known.id),
            json!({"name": "n", "cmk_id": "sandbox-key-forbidden"}),
        ),
        post("IMG.0160", export(&known.big), to("images:new.qcow2")),
        post("IMG.0167", export(&known.cd), to("images:new.qcow2")),
        post("IMG.0167", copy(&known.cd), json!({"name": "n"})),
    ]
}

/// Members and tags.
fn sharing_and_tagging(known: &Known) -> Vec<Case> {
    let id = &known.id;
    let project = &known.project;
    let crowd: Vec<_> = (0..257).map(|n| format!("project-{n}")).collect();
    let many: Vec<_> = (0..11)
        .map(|n| json!({"key": format!("k{n}"), "value": ""}))
        .collect();
    let tags = |id: &str| format!("v2/{project}/images/{id}/tags/action");
    vec![
        post(
            "IMG.0041",
            MEMBERS,
            json!({"images": [known.id], "projects": []}),
        ),
        put("IMG.0066", "v1/cloudimages/tags", json!({"tag": "a.b"})),
        get(
            "IMG.0067",
            format!("v2/wrong/images/{id}/tags"),
            Value::Null,
        ),
        put(
            "IMG.0067",
            MEMBERS,
            json!({"images": [known.id], "status": "accepted"}),
        ),
        post(
            "IMG.0076",
            MEMBERS,
            json!({"images": [known.id], "projects": [project]}),
        ),
        put(
            "IMG.0086",
            MEMBERS,
            json!({"images": [known.id], "project_id": "p", "status": "accepted"}),
        ),
        post(
            "IMG.0088",
            MEMBERS,
            json!({"images": [known.id], "projects": crowd}),
        ),
        post(
            "IMG.0098",
            MEMBERS,
            json!({"images": [known.secret], "projects": ["p"]}),
        ),
        post(
            "IMG.0108",
            MEMBERS,
            json!({"images": [known.id], "projects": ["sandbox-project-unknown"]}),
        ),
        put("IMG.0115", format!("v2/images/{id}/tags/a=b"), Value::Null),
        post(
            "IMG.0115",
            tags(&known.id),
            json!({"action": "create", "tags": [{"key": "a=b", "value": ""}]}),
        ),
        post(
            "IMG.0116",
            tags(&known.id),
            json!({"action": "create", "tags": many}),
        ),
        delete(
            "IMG.0121",
            format!("v2/{project}/images/{id}/tags/none"),
            Value::Null,
        ),
        get(
            "IMG.0121",
            format!("v2/images/{id}/members/nobody"),
            Value::Null,
        ),
        post(
            "IMG.0177",
            format!("v2/images/{id}/members"),
            json!({"member": "sandbox-project-elsewhere"}),
        ),
    ]
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
