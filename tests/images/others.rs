//! Servers, and images of others, which every sandbox has.

use serde_json::{Value, json};

use crate::cloud::Cloud;
use crate::{ferry, refused, told, with_image};

const SHARED: &str = "sandbox-image-shared";

fn ids(listed: &Value) -> Vec<&str> {
    let images = listed["images"].as_array().unwrap().iter();
    images.map(|image| image["id"].as_str().unwrap()).collect()
}

#[test]
fn an_image_that_others_share_is_accepted_listed_and_copied() {
    let cloud = Cloud::start(&["images"]);
    let list = |owner: &str| told(&cloud, &["image", "list", "--owner", owner]);
    assert_eq!(ids(&list("public")), ["sandbox-image-public"]);
    assert!(ids(&list("pending")).contains(&SHARED));
    assert_eq!(ids(&list("shared")), [""; 0]);
    let copy = ["image", "copy", SHARED, "--name", "mine"];
    let run = refused(&cloud, &copy, 3, "IMG.0196");
    assert!(
        run.stderr.contains("imgferry image accept ID"),
        "the hint can be typed: {}",
        run.stderr
    );
    told(&cloud, &["image", "accept", SHARED]);
    assert_eq!(ids(&list("shared")), [SHARED]);
    let copied = told(&cloud, &copy);
    let id = copied["image_id"].as_str().unwrap();
    assert_eq!(ids(&list("private")), [id]);
    told(&cloud, &["image", "accept", SHARED, "--reject"]);
    assert_eq!(ids(&list("shared")), [""; 0]);
    assert_eq!(ids(&list("rejected")), [SHARED]);
    refused(&cloud, &["image", "delete", SHARED, "--yes"], 3, "IMG.0092");
}

#[test]
fn members_and_tags_are_shown() {
    let (cloud, id) = with_image("shown");
    let text = |args: &[&str]| ferry(&cloud, args).success().text();
    assert!(text(&["image", "members", &id]).contains("with nobody"));
    assert!(text(&["image", "tags"]).contains("no tags"));
    told(&cloud, &["image", "share", &id, "--project", "theirs"]);
    told(&cloud, &["image", "tag", &id, "env=prod", "team=a"]);
    let members = told(&cloud, &["image", "members", &id]);
    assert_eq!(members["members"][0]["member_id"], "theirs");
    assert_eq!(members["members"][0]["status"], "pending");
    assert!(text(&["image", "members", &id]).contains("theirs"));
    assert_eq!(
        told(&cloud, &["image", "tags", &id])["tags"],
        json!([{"key": "env", "value": "prod"}, {"key": "team", "value": "a"}])
    );
    assert!(text(&["image", "tags"]).contains("env=prod"));
}

#[test]
fn images_are_made_of_servers_volumes_and_backups() {
    let cloud = Cloud::start(&["images"]);
    let create = |name: &str, source: &[&str]| {
        let args = [&["image", "create", "--name", name], source].concat();
        told(&cloud, &args)["image_id"].as_str().unwrap().to_owned()
    };
    let server = create(
        "system",
        &[
            "--server",
            "sandbox-server",
            "--with-volume",
            "sandbox-volume-1",
            "--min-ram",
            "2048",
        ],
    );
    let shown = told(&cloud, &["image", "show", &server]);
    assert_eq!(shown["min_ram"], 2048);
    let beside = told(&cloud, &["image", "list", "--name", "system-data1"]);
    assert_eq!(beside["images"][0]["virtual_env_type"], "DataImage");
    create(
        "volume",
        &[
            "--volume",
            "sandbox-volume-2",
            "--os-version",
            "CentOS 7.0 64bit",
        ],
    );
    create("data", &["--data-volume", "sandbox-volume-1"]);
    create("whole", &["--whole-server", "sandbox-server-running"]);
    let backup = create("backup", &["--backup", "sandbox-backup"]);
    let args = ["export", &backup, "disk.raw", "--bucket", "images"];
    refused(&cloud, &args, 3, "IMG.0080");
    let args = [
        "image",
        "create",
        "--name",
        "n",
        "--server",
        "sandbox-server-running",
    ];
    let run = refused(&cloud, &args, 3, "IMG.0008");
    assert!(
        run.stderr.contains("stop the server first"),
        "{}",
        run.stderr
    );
}
