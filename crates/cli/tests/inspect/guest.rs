//! What `inspect` says of the installed system.

use std::ffi::OsStr;
use std::path::Path;

use serde_json::Value;

use crate::common::{imgferry, json_of, os_str, testdata};
use crate::inspect;

#[test]
fn a_disk_that_will_not_boot_is_refused_with_what_to_type() {
    let image = testdata("guest/centos7-lvm.qcow2");
    let run = inspect(&["--guest"], &image);
    assert_eq!(run.code, Some(2));
    let text = run.text();
    for part in [
        "system        CentOS Linux 7 (Core), version 7.9, x86_64\n",
        "root          centos 7.9 on /dev/vg-sys/lv-root\n",
        "os_version    CentOS 7.9 64bit (exact; a guess from public documents",
        "will not boot: linux-fstab-other-disk\n",
        "  seen: /etc/fstab:4: /dev/sdb1 /data xfs",
        "  fix:  sed -i '4s/^/#/' /etc/fstab\n",
        " rules: 3 will not boot, 3 no network, ",
    ] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    assert!(
        run.stderr
            .contains("3 rules are broken that keep servers from booting")
    );
    let run = inspect(&["--guest", "--json"], &image);
    let json = json_of(&run);
    assert_eq!(json["error"]["exit_code"], 2);
    assert_eq!(json["guest"]["os_version"]["list"], "documents");
    assert_eq!(json["guest"]["findings"][0]["severity"], "will-not-boot");
}

#[test]
fn a_disk_that_is_ready_is_told_beside_the_facts_of_the_image() {
    let image = testdata("guest/debian12-ready.qcow2");
    let json = json_of(inspect(&["--guest", "--json"], &image).success());
    assert_eq!(json["partitions"]["scheme"], "gpt");
    assert_eq!(json["guest"]["os"]["version"], "12.5");
    assert_eq!(json["guest"]["os_version"]["how"], "nearest");
    let json = json_of(inspect(&["--json", "--no-guest"], &image).success());
    assert!(json["guest"].is_null());
}

/// What is found of the system in the image at `path`, without what it cost.
fn system(path: &Path) -> Value {
    let mut json = json_of(inspect(&["--json"], path).success());
    let mut guest = json["guest"].take();
    guest["cost"].take();
    guest
}

#[test]
fn a_system_is_the_same_in_every_format() {
    if testkit::qemu::missing() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let other = dir.path().join("disk");
    let disks = std::fs::read_dir(testdata("guest")).unwrap();
    let disks = disks.map(|entry| entry.unwrap().path());
    let mut count = 0;
    for disk in disks.filter(|path| path.extension().is_some_and(|end| end == "qcow2")) {
        let expected = system(&disk);
        assert!(expected["os"].is_object(), "{}", disk.display());
        for (format, options) in [
            ("raw", ""),
            ("vpc", "force_size=on"),
            ("vhdx", ""),
            ("vmdk", ""),
            ("vmdk", "subformat=streamOptimized"),
        ] {
            let mut convert = vec!["convert", "-f", "qcow2", "-O", format];
            if !options.is_empty() {
                convert.extend(["-o", options]);
            }
            let files = [os_str(&disk), os_str(&other)];
            testkit::qemu::img(convert.into_iter().map(OsStr::new).chain(files));
            let shown = format!("{} as {format} {options}", disk.display());
            assert_eq!(system(&other), expected, "{shown}");
        }
        let ours = dir.path().join("disk.zvhd2");
        let convert = ["convert", "--force"].map(OsStr::new);
        let files = [os_str(&disk), os_str(&ours)];
        imgferry(&[convert, files].concat()).success();
        assert_eq!(system(&ours), expected, "{} as ZVHD2", disk.display());
        count += 1;
    }
    assert_eq!(count, 7);
}

#[test]
fn without_an_option_problems_are_listed_and_no_failure() {
    let image = testdata("guest/centos7-lvm.qcow2");
    let run = inspect(&[], &image);
    let text = run.success().text();
    assert!(
        text.contains("will not boot: linux-fstab-other-disk"),
        "{text}"
    );
    let json = json_of(inspect(&["--json"], &image).success());
    assert_eq!(json["guest"]["findings"][0]["severity"], "will-not-boot");
}

#[test]
fn the_rules_are_listed_without_a_disk() {
    let run = crate::common::imgferry(&["inspect".as_ref(), "--rules".as_ref()]);
    let text = run.success().text();
    assert!(
        text.contains("linux-virtio-initramfs (will not boot)\n"),
        "{text}"
    );
}

#[test]
fn a_picture_and_a_check_are_other_commands() {
    let image = testdata("guest/debian12-ready.qcow2");
    for other in [["--guest", "--check"], ["--guest", "--map=disk.svg"]] {
        assert_eq!(inspect(&other, &image).code, Some(2), "{other:?}");
    }
}

#[test]
fn the_page_has_the_facts_the_map_and_the_commands_worst_first() {
    let dir = tempfile::tempdir().unwrap();
    let image = testdata("guest/centos7-lvm.qcow2");
    let page = dir.path().join("disk.html");
    let option = page.to_str().unwrap();
    inspect(&["--html", option], &image).success();
    let written = std::fs::read_to_string(&page).unwrap();
    let document = roxmltree::Document::parse_with_options(
        &written,
        roxmltree::ParsingOptions {
            allow_dtd: true,
            ..roxmltree::ParsingOptions::default()
        },
    );
    let document = document.unwrap();
    let all = |tag: &'static str| {
        let nodes = document.descendants();
        nodes.filter(move |node| node.tag_name().name() == tag)
    };
    assert_eq!(all("svg").count(), 1);
    assert_eq!(all("script").count(), 0);
    for attribute in ["src", "href", "style", "onclick"] {
        let mut nodes = document.descendants();
        assert!(
            nodes.all(|node| node.attribute(attribute).is_none()),
            "{attribute}"
        );
    }
    let cells: Vec<_> = all("td").filter_map(|node| node.text()).collect();
    assert!(
        cells.contains(&"centos 7.9 on /dev/vg-sys/lv-root"),
        "{cells:?}"
    );
    let mut rows = all("tr");
    let swap = rows.find(|row| {
        let name = row.first_element_child();
        name.is_some_and(|name| name.text() == Some("/dev/vg-sys/swap"))
    });
    let swap: Vec<_> = swap
        .unwrap()
        .children()
        .filter_map(|cell| cell.text())
        .collect();
    assert_eq!(swap[1..3], ["32 MiB", "swap"], "{swap:?}");
    let findings: Vec<_> = all("h3")
        .filter_map(|node| node.first_element_child())
        .collect();
    assert_eq!(findings[0].text(), Some("will not boot"));
    let commands: Vec<_> = all("pre").filter_map(|node| node.text()).collect();
    assert!(
        commands.contains(&"sed -i '4s/^/#/' /etc/fstab\n"),
        "{commands:?}"
    );

    let again = inspect(&["--html", option], &image);
    assert_eq!(again.code, Some(2), "an existing file is kept");
    let strict = inspect(&["--force", "--guest", "--html", option], &image);
    assert_eq!(strict.code, Some(2));
    assert_eq!(std::fs::read_to_string(&page).unwrap(), written);
    let both = inspect(&["--guest", "--html", "-"], &image);
    assert!(both.stderr.contains("--html disk.html"), "{}", both.stderr);
    let piped = inspect(&["--html", "-"], &image);
    assert_eq!(piped.success().text(), written);
}
