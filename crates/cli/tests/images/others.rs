//! Servers, and images of others, which every sandbox has.

use serde_json::{Value, json};

use crate::common::cloud::Cloud;
use crate::{ferry, refused, told, with_image};

const SHARED: &str = "sandbox-image-shared";

fn ids(listed: &Value) -> Vec<&str> {
    let images = listed["images"].as_array().unwrap().iter();
    images.map(|image| image["id"].as_str().unwrap()).collect()
}

#[test]
fn a_list_of_no_images_is_refused() {
    let cloud = Cloud::start(&[]);
    refused(&cloud, &["image", "list", "--limit", "0"], 2, "--limit");
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

/// Runs `imgferry image delete ID` on a terminal, and types `answer`; the exit code, and what stood
/// there.
fn delete_on_a_terminal(cloud: &Cloud, id: &str, answer: &str) -> (i32, String) {
    use std::fs::File;
    use std::io::{Read as _, Write as _};

    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let terminal = File::options()
        .read(true)
        .write(true)
        .open(name.to_str().unwrap())
        .unwrap();
    let mut child = cloud
        .command()
        .args(["image", "delete", id])
        .stdin(terminal.try_clone().unwrap())
        .stderr(terminal.try_clone().unwrap())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut master = File::from(master);
    let mut shown = Vec::new();
    let mut typed = false;
    let mut piece = [0; 256];
    drop(terminal);
    // It ends with an error when the last of those that hold the terminal is gone.
    while let Ok(read) = master.read(&mut piece) {
        if read == 0 {
            break;
        }
        shown.extend_from_slice(&piece[..read]);
        if !typed && shown.windows(5).any(|window| window == b"[y/N]") {
            master.write_all(answer.as_bytes()).unwrap();
            typed = true;
        }
    }
    let code = child.wait().unwrap().code().unwrap();
    (code, String::from_utf8_lossy(&shown).into_owned())
}

#[test]
fn deleting_asks_on_a_terminal_and_does_what_is_answered() {
    let (cloud, id) = with_image("asked for");
    for answer in ["n\n", "\n", "nonsense\n"] {
        let (code, shown) = delete_on_a_terminal(&cloud, &id, answer);
        assert_eq!(code, 2, "{shown}");
        assert!(shown.contains("asked for"), "the image is named: {shown}");
        assert!(shown.contains("nothing was deleted"), "{shown}");
    }
    assert_eq!(ids(&told(&cloud, &["image", "list"])), [id.as_str()]);
    let (code, shown) = delete_on_a_terminal(&cloud, &id, "y\n");
    assert_eq!(code, 0, "{shown}");
    assert_eq!(ids(&told(&cloud, &["image", "list"])), [""; 0]);
}
