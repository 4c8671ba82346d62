//! Images of servers, volumes and backups.

use net::http::Method;
use serde_json::{Value, json};

use crate::{ACTION, Cloud, MEMBERS, WHOLE};

#[tokio::test]
async fn each_server_volume_and_backup_that_cannot_be_imaged_is_refused_with_its_code() {
    let cloud = Cloud::start(|_| {}).await;
    let of = |id: &str| json!({"name": "n", "instance_id": format!("sandbox-server-{id}")});
    let volume = |id: &str, more: &str| json!({"name": "n", "volume_id": format!("sandbox-volume-{id}"), "os_version": "x", "type": more});
    let volumes = |ids: &[&str]| {
        let image = |id: &&str| json!({"name": id, "volume_id": format!("sandbox-volume-{id}")});
        json!({"data_images": ids.iter().map(image).collect::<Vec<_>>()})
    };
    let mut with_data = json!({"name": "n", "instance_id": "sandbox-server"});
    with_data["data_images"] = volumes(&["elsewhere"])["data_images"].clone();
    let backup = |id: &str| json!({"name": "n", "backup_id": format!("sandbox-backup-{id}")});
    let cases = [
        ("IMG.0006", ACTION, of("damaged")),
        ("IMG.0008", ACTION, of("running")),
        ("IMG.0010", ACTION, of("busy")),
        ("IMG.0010", WHOLE, of("busy")),
        ("IMG.0063", ACTION, of("flavor")),
        ("IMG.0110", ACTION, of("detaching")),
        ("IMG.0111", ACTION, of("large")),
        ("IMG.0119", ACTION, of("diskless")),
        ("IMG.0126", WHOLE, of("failed")),
        ("IMG.0136", WHOLE, of("backing-up")),
        ("IMG.0153", ACTION, of("dss")),
        ("IMG.0164", ACTION, of("spot")),
        ("IMG.0022", ACTION, volume("failed", "ECS")),
        ("IMG.0117", ACTION, volume("1", "IsoImage")),
        ("IMG.0120", ACTION, volume("none", "ECS")),
        ("IMG.0140", ACTION, volumes(&["1", "elsewhere"])),
        ("IMG.0140", ACTION, with_data),
        ("IMG.0132", WHOLE, backup("creating")),
        ("IMG.0133", WHOLE, backup("forbidden")),
        ("IMG.0195", WHOLE, backup("without-os")),
        ("IMG.0198", WHOLE, backup("of-a-volume")),
    ];
    for (code, path, body) in cases {
        let (status, answer) = cloud.send(Method::POST, path, &body).await;
        assert_eq!(status, 400, "{code} {body}: {answer}");
        assert_eq!(answer["error"]["code"], code, "{body}: {answer}");
    }
    assert!(cloud.sandbox.images().is_empty());
}

#[tokio::test]
async fn a_server_becomes_an_image_with_its_data_disks() {
    let cloud = Cloud::start(|_| {}).await;
    let body = json!({
        "name": "system", "instance_id": "sandbox-server", "description": "of a server",
        "data_images": [
            {"name": "data-1", "volume_id": "sandbox-volume-1"},
            {"name": "data-2", "volume_id": "sandbox-volume-2", "tags": ["a.b"]},
        ],
    });
    let job = cloud.job(ACTION, &body).await;
    assert_eq!(job["status"], "SUCCESS", "{job}");
    let body = json!({"name": "of a volume", "volume_id": "sandbox-volume-1", "os_version": "CentOS 7.0 64bit"});
    cloud.image(ACTION, &body).await;
    let body = json!({"data_images": [{"name": "data-3", "volume_id": "sandbox-volume-1"}]});
    cloud.image(ACTION, &body).await;
    let images = cloud.sandbox.images();
    let digest = |name: &str| {
        let image = images.iter().find(|image| image.name == name).unwrap();
        assert_eq!(image.virtual_size, Some(64 << 20));
        image.content_digest.clone().unwrap()
    };
    assert_eq!(digest("data-1"), digest("data-3"), "the same disk");
    assert_eq!(digest("data-1"), digest("of a volume"));
    assert_ne!(digest("data-1"), digest("data-2"));
    assert_ne!(digest("data-1"), digest("system"));
    assert_eq!(images.len(), 5);
}

#[tokio::test]
async fn images_of_whole_servers_cannot_be_shared_copied_or_exported() {
    let cloud = Cloud::start(|_| {}).await;
    let server = json!({"name": "server", "instance_id": "sandbox-server-running"});
    let server = cloud.image(WHOLE, &server).await;
    let backup = json!({"name": "backup", "backup_id": "sandbox-backup"});
    let from_backup = cloud.image(WHOLE, &backup).await;
    let named =
        json!({"name": "named", "backup_id": "sandbox-backup-without-os", "os_version": "x"});
    cloud.image(WHOLE, &named).await;
    let charged = json!({"name": "charged", "instance_id": "sandbox-server-charged"});
    let charged = cloud.image(ACTION, &charged).await;
    let export = |id: &str| format!("v1/cloudimages/{id}/file");
    let to = json!({"bucket_url": "images:new.zvhd2", "is_quick_export": true});
    let again = json!({"name": "again", "backup_id": "sandbox-backup"});
    let copy = json!({"name": "copy"});
    let share = json!({"images": [server], "projects": ["p"]});
    for (code, path, body) in [
        ("IMG.0079", export(&charged), &to),
        ("IMG.0080", export(&from_backup), &to),
        ("IMG.0128", export(&server), &to),
        ("IMG.0130", format!("v1/cloudimages/{server}/copy"), &copy),
        ("IMG.0134", WHOLE.to_owned(), &again),
        ("IMG.0135", MEMBERS.to_owned(), &share),
    ] {
        let (status, answer) = cloud.send(Method::POST, &path, body).await;
        assert_eq!(
            (status, &answer["error"]["code"]),
            (400, &json!(code)),
            "{answer}"
        );
    }
    let (_, image) = cloud
        .send(Method::GET, &format!("v2/images/{server}"), &Value::Null)
        .await;
    assert_eq!(image["__whole_image"], true);
}
