//! Imports that are taken and their images, and those that are refused at once.

use convert::{CancelToken, PlanOptions, Target, VoidMonitor};
use net::http::Method;
use sandbox::ImageType;
use serde_json::{Value, json};
use testkit::vectors;

use crate::cloud::{Cloud, good, with, without};

pub(crate) const TINY: &str = "v1:409097c79f0b289de4a3d60a0de1cec8670c1d750fe86caf550113e674b179b0";
const EMPTY: &str = "v1:b1d1eb5e438cc99a066a4e917a844248b00ad4b5bc3f02824682f7fc69889bf7";
const SPARSE_130G: &str = "v1:0bc60325c0838d569da5906162721f572ba1fca8f8611e38bbb1840c9d3b3ce4";

#[tokio::test]
async fn imports_that_break_a_rule_get_its_documented_code() {
    let cloud = Cloud::start().await;
    cloud.put_vector("tiny", "disk.zvhd2");
    let tags = |tags: Value| with("tags", tags);
    let objects = |tags: Value| with("image_tags", tags);
    let many: Vec<_> = (0..11).map(|i| format!("k{i}.v")).collect();
    let mut both = tags(json!(["a.b"]));
    both["image_tags"] = json!([{"key": "c", "value": "d"}]);
    let mut data = with("type", "DataImage");
    data["min_disk"] = json!(2049);
    let mut data_os = with("type", "DataImage");
    data_os["os_type"] = json!("Plan9");
    for (body, code) in [
        (json!([]), "IMG.0001"),
        (with("name", 7), "IMG.0001"),
        (with("tags", "a.b"), "IMG.0001"),
        (with("name", "x".repeat(129)), "IMG.0002"),
        (with("name", " demo"), "IMG.0003"),
        (with("name", "de/mo"), "IMG.0003"),
        (with("description", "x".repeat(1025)), "IMG.0004"),
        (without("name"), "IMG.0013"),
        (with("name", ""), "IMG.0013"),
        (without("image_url"), "IMG.0017"),
        (with("image_url", "images.disk.zvhd2"), "IMG.0017"),
        (with("image_url", "images:"), "IMG.0017"),
        (with("type", "Toaster"), "IMG.0024"),
        (with("description", "a <b>"), "IMG.0054"),
        (without("min_disk"), "IMG.0055"),
        (with("min_disk", 0), "IMG.0055"),
        (with("min_disk", 1025), "IMG.0055"),
        (with("min_disk", "40"), "IMG.0055"),
        (with("min_disk", 40.5), "IMG.0055"),
        (data, "IMG.0055"),
        (with("os_version", " x"), "IMG.0056"),
        (with("image_url", "images:none.zvhd2"), "IMG.0057"),
        (with("image_url", "images:../../keys.json"), "IMG.0057"),
        (with("image_url", ":disk.zvhd2"), "IMG.0068"),
        (with("image_url", "nothing:disk.zvhd2"), "IMG.0069"),
        (with("image_url", "No_Bucket:disk.zvhd2"), "IMG.0109"),
        (tags(json!(["nodot"])), "IMG.0115"),
        (tags(json!([".v"])), "IMG.0115"),
        (tags(json!(["a b.c"])), "IMG.0115"),
        (tags(json!([format!("{}.v", "k".repeat(37))])), "IMG.0115"),
        (tags(json!([format!("k.{}", "v".repeat(44))])), "IMG.0115"),
        (tags(json!(["a.b", "a.c"])), "IMG.0115"),
        (objects(json!([{"key": "a=b", "value": ""}])), "IMG.0115"),
        (objects(json!([{"key": "a"}])), "IMG.0115"),
        (both, "IMG.0115"),
        (tags(json!(many)), "IMG.0116"),
        (data_os, "IMG.0122"),
        (with("hw_firmware_type", "coreboot"), "IMG.0141"),
        (without("os_version"), "IMG.0159"),
        (with("image_url", "images:my disk.zvhd2"), "IMG.0175"),
        (with("architecture", "vax"), "IMG.0212"),
    ] {
        let (status, answer) = cloud.import(&body).await;
        assert_eq!(status, 400, "{body}");
        assert_eq!(answer["error"]["code"], code, "{body}");
        assert!(!answer["error"]["message"].as_str().unwrap().is_empty());
    }
    for (body, code) in [("", "IMG.0007"), (" \n", "IMG.0007"), ("{", "IMG.0001")] {
        let (status, answer) = cloud.import_text(body.to_owned()).await;
        assert_eq!((status, &answer["error"]["code"]), (400, &json!(code)));
    }
    assert!(cloud.sandbox.images().is_empty());
}

#[tokio::test]
async fn empty_objects_and_other_storage_classes_are_refused() {
    let cloud = Cloud::start().await;
    cloud.put("empty", b"");
    std::fs::write(cloud.object_path("cold-bucket", "disk"), b"x").unwrap();
    for (url, reason) in [
        ("images:empty", "it is empty"),
        (
            "cold-bucket:disk",
            "the storage class of the bucket is GLACIER",
        ),
    ] {
        let (_, answer) = cloud.import(&with("image_url", url)).await;
        assert_eq!(answer["error"]["code"], "IMG.0057");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains(reason), "{message}");
    }
}

#[tokio::test]
async fn good_images_become_active_with_the_digest_of_their_content() {
    let cloud = Cloud::start().await;
    for (vector, digest, min_disk) in [
        ("tiny", TINY, 1),
        ("tiny-zlib", TINY, 1),
        ("empty", EMPTY, 1),
        ("sparse-130g", SPARSE_130G, 131),
    ] {
        cloud.put_vector(vector, "disk.zvhd2");
        let mut body = with("name", vector);
        body["min_disk"] = json!(min_disk);
        body["image_tags"] = json!([{"key": "made by", "value": "test"}]);
        let job = cloud.import_and_wait(&body).await;
        assert_eq!(job["status"], "SUCCESS", "{job}");
        assert_eq!(job["job_type"], "imsImportImageJob");
        assert_eq!(
            (&job["error_code"], &job["fail_reason"]),
            (&Value::Null, &Value::Null)
        );
        assert_eq!(job["entities"]["process_percent"], 1.0);
        assert_eq!(job["entities"]["results"][0]["status"], "success");
        let id = job["entities"]["image_id"].as_str().unwrap();

        let (_, listed) = cloud.get(&format!("v2/cloudimages?id={id}")).await;
        assert_eq!(listed["images"].as_array().unwrap().len(), 1);
        let image = &listed["images"][0];
        assert_eq!(image["name"], vector);
        assert_eq!(image["status"], "active");
        assert_eq!(image["min_disk"], min_disk);
        assert_eq!(image["__imgferry_content_digest"], digest);
        assert_eq!(image["__os_version"], "CentOS 7.0 64bit");
        assert_eq!(image["hw_firmware_type"], "bios");
        assert_eq!(image["virtual_env_type"], "FusionCompute");
        assert_eq!(image["tags"], json!(["made by.test"]));
        let file = vectors::vector(vector).unwrap();
        let object_size = std::fs::metadata(file.path()).unwrap().len();
        assert_eq!(image["__image_size"], object_size.to_string());

        let images = cloud.sandbox.images();
        let record = images.iter().find(|image| image.id == id).unwrap();
        assert_eq!(record.content_digest.as_deref(), Some(digest));
        assert_eq!(record.virtual_size, Some(file.virtual_size));
        assert_eq!(record.object_size, object_size);
    }
    let tmp = std::fs::read_dir(cloud.dir.path().join("sandbox/tmp")).unwrap();
    assert_eq!(tmp.count(), 0);
}

/// The content digest of a real disk, and the disk as ZVHD2.
pub(crate) fn debian_tree() -> (String, Vec<u8>) {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../testdata/debian-tree.qcow2"
    );
    let disk = convert::open(path.as_ref(), None).unwrap().image;
    let disk = disk.as_ref();
    let cancel = CancelToken::new();
    let digest = convert::digest(disk, 2, &VoidMonitor, &cancel).unwrap();
    let plan = convert::plan(disk, Target::Zvhd2, &PlanOptions::default()).unwrap();
    let identity = zvhd2::Identity {
        uuid: [7; 16],
        timestamp: 0,
    };
    let mut bytes = Vec::new();
    convert::to_zvhd2(disk, &plan, identity, &mut bytes, &VoidMonitor, &cancel).unwrap();
    (digest.to_string(), bytes)
}

#[tokio::test]
async fn the_digest_of_an_image_is_that_of_the_disk_it_was_converted_from() {
    let cloud = Cloud::start().await;
    let (digest, bytes) = debian_tree();
    cloud.put("disk.zvhd2", bytes);
    let job = cloud.import_and_wait(&good()).await;
    assert_eq!(job["status"], "SUCCESS", "{job}");
    let images = cloud.sandbox.images();
    assert_eq!(images[0].content_digest, Some(digest));
}

#[tokio::test]
async fn data_images_and_arm_images_have_their_own_attributes() {
    let cloud = Cloud::start().await;
    cloud.put_vector("tiny", "disk.zvhd2");
    let mut data = without("os_version");
    data["type"] = json!("DataImage");
    let job = cloud.import_and_wait(&data).await;
    assert_eq!(job["job_type"], "imsImportDataImageJob");
    let mut arm = with("architecture", "arm");
    arm["name"] = json!("arm");
    cloud.import_and_wait(&arm).await;
    let images = cloud.sandbox.images();
    assert_eq!(images[0].image_type, ImageType::DataImage);
    assert_eq!(images[0].os_version, None);
    assert_eq!(images[1].hw_firmware_type, "uefi");
    let (_, listed) = cloud.get("v2/cloudimages?name=demo").await;
    assert_eq!(listed["images"][0]["virtual_env_type"], "DataImage");
}

#[tokio::test]
async fn names_are_unique_among_images_that_did_not_fail() {
    let cloud = Cloud::start().await;
    cloud.put("disk.zvhd2", b"no disk");
    let job = cloud.import_and_wait(&good()).await;
    assert_eq!(job["status"], "FAIL");
    cloud.put_vector("tiny", "disk.zvhd2");
    let job = cloud.import_and_wait(&good()).await;
    assert_eq!(job["status"], "SUCCESS");
    let (status, answer) = cloud.import(&good()).await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (400, &json!("IMG.0009"))
    );
}

#[tokio::test]
async fn the_quota_counts_and_deleting_makes_room() {
    let cloud = Cloud::start_with(|options| options.image_quota = 1).await;
    cloud.put_vector("tiny", "disk.zvhd2");
    let job = cloud.import_and_wait(&good()).await;
    let (_, quota) = cloud.get("v1/cloudimages/quota").await;
    assert_eq!(quota["quotas"]["resources"][0]["used"], 1);
    let (_, answer) = cloud.import(&with("name", "second")).await;
    assert_eq!(answer["error"]["code"], "IMG.0015");
    let id = job["entities"]["image_id"].as_str().unwrap();
    let path = format!("v2/images/{id}");
    let delete = || cloud.send(Method::DELETE, &path, &cloud.token, String::new());
    assert_eq!(delete().await.0, 204);
    assert_eq!(delete().await.0, 404);
    assert_eq!(cloud.import(&with("name", "second")).await.0, 200);
}
