//! Which files a descriptor may lead to.

use std::fs;
use std::os::unix::fs::symlink;

use diskimg::{BackingPolicy, DiskImageExt as _, ErrorKind, ExtentKind, Format, Hint, OpenOptions};
use testkit::vmdk::{Craft, descriptor};

use crate::{Dir, disk, open_with, read_all, refused};

fn flat(dir: &Dir, name: &str, extent: &str) -> std::path::PathBuf {
    let line = format!("RW 8 FLAT \"{extent}\" 0");
    dir.write(name, descriptor("monolithicFlat", &[&line], 1, None))
}

#[test]
fn a_disk_that_is_called_after_its_descriptor_opens_without_an_option() {
    let dir = Dir::new();
    let disk = disk(8, 1);
    dir.write("web-flat.vmdk", &disk);
    let path = flat(&dir, "web.vmdk", "web-flat.vmdk");
    let opened = open_with(&path, BackingPolicy::Refuse).unwrap();
    assert!(read_all(opened.image.as_ref()).unwrap() == disk);
    assert_eq!(opened.files, [dir.at("web-flat.vmdk")]);
}

#[test]
fn a_renamed_set_is_refused_with_both_names_and_opened_when_that_is_allowed() {
    let dir = Dir::new();
    let disk = disk(8, 2);
    dir.write("web-flat.vmdk", &disk);
    let path = flat(&dir, "web2.vmdk", "web-flat.vmdk");
    let error = open_with(&path, BackingPolicy::Refuse).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let text = error.to_string();
    assert!(
        text.contains("web2.vmdk") && text.contains("web-flat.vmdk"),
        "{text}"
    );
    assert!(matches!(
        error.hint(),
        Some(Hint::AllowBacking { dir: Some(_), .. })
    ));
    let opened = open_with(&path, dir.inside()).unwrap();
    assert!(read_all(opened.image.as_ref()).unwrap() == disk);
    // Described, it is named and not opened.
    let opened = open_with(&path, BackingPolicy::Describe).unwrap();
    assert!(opened.files.is_empty());
    assert_eq!(opened.image.details().refers_to[0].bytes, None);
    let kinds: Vec<_> = opened
        .image
        .all_extents()
        .map(|e| e.unwrap().kind)
        .collect();
    assert_eq!(kinds, [ExtentKind::Elsewhere]);
    assert!(refused(read_all(opened.image.as_ref())).contains("not opened"));
}

#[test]
fn names_that_lead_elsewhere_are_refused_and_no_command_opens_them() {
    let dir = Dir::new();
    fs::create_dir(dir.at("sub")).unwrap();
    dir.write("sub/web-flat.vmdk", [1; 4096]);
    for name in [
        "/etc/passwd",
        "../web-flat.vmdk",
        "sub/web-flat.vmdk",
        "nbd://host/web-flat.vmdk",
        "json:{}",
        "[datastore1] web/web-flat.vmdk",
        "C:\\web-flat.vmdk",
        "\\\\host\\web-flat.vmdk",
    ] {
        let path = flat(&dir, "web.vmdk", name);
        let error = open_with(&path, BackingPolicy::Refuse).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.to_string().contains("not opened"), "{error}");
        let hint = error.hint().unwrap().to_string();
        assert!(
            !hint.contains("qemu-img") && !hint.contains("/etc"),
            "{hint}"
        );
    }
    // Allowed, what lies in the directory is opened, and nothing else.
    let path = flat(&dir, "web.vmdk", "sub/web-flat.vmdk");
    assert!(open_with(&path, dir.inside()).is_ok());
    let path = flat(&dir, "web.vmdk", "/etc/passwd");
    let error = refused(open_with(&path, dir.inside()));
    assert!(error.contains("outside"), "{error}");
}

#[test]
fn links_and_other_things_in_the_place_of_a_part_are_refused() {
    let dir = Dir::new();
    dir.write("other", [1; 4096]);
    symlink(dir.at("other"), dir.at("web-flat.vmdk")).unwrap();
    let path = flat(&dir, "web.vmdk", "web-flat.vmdk");
    let error = refused(open_with(&path, BackingPolicy::Refuse));
    assert!(error.contains("link"), "{error}");
    // A link inside the directory may be followed when that is allowed.
    assert!(open_with(&path, dir.inside()).is_ok());
    fs::remove_file(dir.at("web-flat.vmdk")).unwrap();
    let error = refused(open_with(&path, BackingPolicy::Refuse));
    assert!(error.contains("missing"), "{error}");
    fs::hard_link(&path, dir.at("web-flat.vmdk")).unwrap();
    let error = refused(open_with(&path, BackingPolicy::Refuse));
    assert!(error.contains("the file that names it"), "{error}");
}

#[test]
fn a_descriptor_that_is_called_like_a_raw_disk_opens_nothing() {
    let dir = Dir::new();
    dir.write("web-flat.vmdk", [1; 4096]);
    let path = flat(&dir, "web.raw", "web-flat.vmdk");
    for backing in [BackingPolicy::Refuse, dir.inside()] {
        refused(open_with(&path, backing));
    }
}

#[test]
fn a_file_is_one_extent_unless_its_bytes_are_stored_as_they_are() {
    let dir = Dir::new();
    let disk = disk(8, 3);
    let part = Craft {
        descriptor: String::new(),
        ..Craft::sparse(&disk)
    };
    dir.write("web-s001.vmdk", part.make().bytes);
    let lines = [
        "RW 8 SPARSE \"web-s001.vmdk\"",
        "RW 1 FLAT \"web-s001.vmdk\" 0",
    ];
    let path = dir.write("web.vmdk", descriptor("custom", &lines, 1, None));
    let error = refused(open_with(&path, BackingPolicy::Refuse));
    assert!(error.contains("same file"), "{error}");
    let path = dir.write(
        "web.vmdk",
        descriptor("custom", &[lines[0], lines[0]], 1, None),
    );
    let error = refused(open_with(&path, BackingPolicy::Refuse));
    assert!(error.contains("same file"), "{error}");
}

#[test]
fn parts_given_alone_are_refused_with_the_name_of_their_descriptor() {
    let dir = Dir::new();
    let disk = disk(8, 4);
    let part = Craft {
        descriptor: String::new(),
        ..Craft::sparse(&disk)
    };
    let numbers = [0, 1];
    for (name, bytes) in [
        ("web-s001.vmdk", part.make().bytes),
        ("web-delta.vmdk", testkit::vmdk::cowd(&disk, &numbers)),
        (
            "web-sesparse.vmdk",
            testkit::vmdk::sesparse(&disk, &[0], &[]),
        ),
        ("web-flat.vmdk", disk.clone()),
        ("web-f001.vmdk", disk.clone()),
    ] {
        let path = dir.write(name, bytes);
        let error = open_with(&path, BackingPolicy::Refuse).err().unwrap();
        assert!(error.to_string().contains("only a part"), "{name}: {error}");
        let hint = error.hint().unwrap().to_string();
        assert!(hint.contains("/web.vmdk"), "{name}: {hint}");
    }
    let raw = OpenOptions::of(Some(Format::Raw));
    assert!(diskimg::open(&dir.at("web-flat.vmdk"), &raw, &[]).is_ok());
    let path = dir.write("web-ctk.vmdk", [1; 4096]);
    let error = refused(open_with(&path, BackingPolicy::Refuse));
    assert!(error.contains("ctk"), "{error}");
}

#[test]
fn names_in_other_encodings_matter_only_where_they_are_opened() {
    let dir = Dir::new();
    dir.write("web-flat.vmdk", [1; 4096]);
    let text = descriptor(
        "monolithicFlat",
        &["RW 8 FLAT \"web-flat.vmdk\" 0"],
        1,
        None,
    );
    let mut bytes = text.clone().into_bytes();
    bytes.extend(b"encoding=\"GBK\"\nddb.comment = \"\xc4\xe3\xba\xc3\"\n");
    let path = dir.write("web.vmdk", &bytes);
    assert!(open_with(&path, BackingPolicy::Refuse).is_ok());
    let bytes = text.replace("web-flat", "w\u{eb}b-flat").into_bytes();
    dir.write("w\u{eb}b-flat.vmdk", [1; 4096]);
    let path = dir.write("w\u{eb}b.vmdk", &bytes);
    assert!(open_with(&path, BackingPolicy::Refuse).is_ok());
    let mut other = bytes.clone();
    other.extend(b"encoding=\"windows-1252\"\n");
    let path = dir.write("w\u{eb}b.vmdk", &other);
    assert!(refused(open_with(&path, BackingPolicy::Refuse)).contains("UTF-8"));
}
