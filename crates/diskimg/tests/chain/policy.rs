//! What may be opened because an image names it: nothing, unless the user allows a directory, and
//! then nothing outside of it.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use diskimg::limits::MAX_CHAIN_FILES;
use diskimg::{ErrorKind, Format, Hint, OpenOptions};
use tempfile::TempDir;
use testkit::qemu;

use crate::{assert_error, inside, open_inside, overlay, plain, refused, text};

/// An image over `name` in a directory of its own, which is allowed, and that directory.
fn image_over(name: &str) -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let top = dir.path().join("top.qcow2");
    overlay(&top, (name, "raw"), &[], Some("1M"));
    (dir, top)
}

#[test]
fn without_the_option_a_backing_file_is_named_and_the_option_too() {
    if qemu::missing() {
        return;
    }
    let (dir, top) = image_over("base.raw");
    std::fs::write(dir.path().join("base.raw"), [1; 512]).unwrap();
    let error = refused(diskimg::open(&top, &OpenOptions::default(), &[]));
    assert_error(
        &error,
        ErrorKind::Unsupported,
        &["a backing file, \"base.raw\" (raw)", "does not open"],
    );
    let expected = format!("files in {}", dir.path().display());
    assert!(
        error.hint().unwrap().to_string().contains(&expected),
        "{:?}",
        error.hint()
    );
    // Doing what the hint says works.
    open_inside(&top, dir.path()).unwrap();
}

#[test]
fn paths_that_lead_out_of_the_directory_are_refused_however_they_do_it() {
    if qemu::missing() {
        return;
    }
    let outside = TempDir::new().unwrap();
    let secret = outside.path().join("secret");
    std::fs::write(&secret, vec![0x55; 1 << 20]).unwrap();
    let up = {
        let name = outside.path().file_name().unwrap().to_str().unwrap();
        format!("../{name}/secret")
    };
    let absolute = secret.to_str().unwrap();
    for name in [
        absolute,
        &up,
        "link",
        "linked-dir/secret",
        "chain-of-links",
        "sub/../link",
    ] {
        let (dir, top) = image_over(name);
        symlink(&secret, dir.path().join("link")).unwrap();
        symlink(outside.path(), dir.path().join("linked-dir")).unwrap();
        symlink("link", dir.path().join("chain-of-links")).unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        let error = refused(open_inside(&top, dir.path()));
        assert_error(&error, ErrorKind::Unsupported, &["outside", "allowed"]);
        // None of its content, which a directory of a random name cannot hold by chance.
        assert!(!text(&error).contains(&"\u{55}".repeat(16)));
        // It is the directory that is refused, not the way to it.
        if !name.starts_with("..") {
            let both = Path::new("/");
            open_inside(&top, both).unwrap();
        }
    }
}

#[test]
fn links_and_ways_up_that_stay_inside_are_followed() {
    if qemu::missing() {
        return;
    }
    let root = TempDir::new().unwrap();
    let sub = root.path().join("sub");
    std::fs::create_dir(&sub).unwrap();
    std::fs::write(root.path().join("base.raw"), vec![3; 1 << 20]).unwrap();
    symlink("../base.raw", sub.join("link")).unwrap();
    for name in ["../base.raw", "link", "./../sub/link"] {
        let top = sub.join("top.qcow2");
        overlay(&top, (name, "raw"), &[], Some("1M"));
        let opened = open_inside(&top, root.path()).unwrap();
        testkit::conformance(opened.image.as_ref(), &vec![3; 1 << 20]);
        // A name is resolved from the file that gives it, not from where the program runs.
        assert_error(
            &refused(open_inside(&top, &sub)),
            ErrorKind::Unsupported,
            &["outside"],
        );
    }
}

#[test]
fn only_regular_files_are_opened() {
    if qemu::missing() {
        return;
    }
    let (dir, top) = image_over("it");
    let it = dir.path().join("it");
    // Whoever opens a pipe to read waits for a writer: this test would not end.
    let status = std::process::Command::new("mkfifo").arg(&it).status();
    assert!(status.unwrap().success());
    let error = refused(open_inside(&top, dir.path()));
    assert_error(&error, ErrorKind::Unsupported, &["no regular file"]);
    std::fs::remove_file(&it).unwrap();
    std::fs::create_dir(&it).unwrap();
    let error = refused(open_inside(&top, dir.path()));
    assert_error(&error, ErrorKind::Unsupported, &["no regular file"]);
    for device in ["/dev/zero", "/dev/null", "/dev/tty"] {
        let (_dir, top) = image_over(device);
        let error = refused(open_inside(&top, Path::new("/dev")));
        assert_error(&error, ErrorKind::Unsupported, &["no regular file"]);
    }
}

#[test]
fn names_that_no_file_can_have_are_refused_and_are_no_failure_of_the_disk() {
    let dir = TempDir::new().unwrap();
    let top = dir.path().join("top.qcow2");
    symlink("round", dir.path().join("round")).unwrap();
    let image = crate::craft::mixed(3, 12, false).bytes;
    for name in ["base.raw\0x", &"a".repeat(1000), "round"] {
        std::fs::write(&top, crate::craft::over(image.clone(), name)).unwrap();
        let error = refused(open_inside(&top, dir.path()));
        assert_error(
            &error,
            ErrorKind::Unsupported,
            &["a backing file", "no file can have that name"],
        );
        assert!(
            error
                .hint()
                .is_some_and(|hint| hint.to_string().contains("qemu-img rebase"))
        );
    }
}

#[test]
fn an_image_that_is_called_like_a_raw_disk_opens_no_file_until_the_user_says_what_it_is() {
    let dir = TempDir::new().unwrap();
    let image = crate::craft::mixed(3, 12, false).bytes;
    std::fs::write(dir.path().join("neighbour.raw"), &image).unwrap();
    let top = dir.path().join("data.img");
    std::fs::write(&top, crate::craft::over(image, "neighbour.raw")).unwrap();
    let mut options = inside(dir.path());
    let open = |options: &OpenOptions| diskimg::open(&top, options, &[]);
    for options in [&options, &OpenOptions::default()] {
        let error = refused(open(options));
        assert_error(
            &error,
            ErrorKind::Ambiguous,
            &["the name ends in .img", "neighbour.raw"],
        );
        let hint = error.hint().unwrap().to_string();
        assert!(hint.ends_with("raw or qcow2"), "{hint}");
    }
    options.format = Some(Format::Qcow2);
    open(&options).unwrap();
    options.format = Some(Format::Raw);
    open(&options).unwrap();
    // To be described it opens none.
    let described = OpenOptions {
        backing: diskimg::BackingPolicy::Describe,
        ..OpenOptions::default()
    };
    let details = open(&described).unwrap().image.details();
    assert_eq!(details.refers_to[0].name, "neighbour.raw");
    assert!(
        details.warnings[0].contains("read as raw"),
        "{:?}",
        details.warnings
    );
}

#[test]
fn loops_are_refused_by_the_file_and_not_by_its_name() {
    if qemu::missing() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let [a, b] = ["a.qcow2", "b.qcow2"].map(|name| dir.path().join(name));
    overlay(&a, ("./a.qcow2", "qcow2"), &[], Some("1M"));
    assert_error(
        &refused(open_inside(&a, dir.path())),
        ErrorKind::Corrupt,
        &["a loop"],
    );
    overlay(&a, ("b.qcow2", "qcow2"), &[], Some("1M"));
    overlay(&b, ("a.qcow2", "qcow2"), &[], Some("1M"));
    assert_error(
        &refused(open_inside(&a, dir.path())),
        ErrorKind::Corrupt,
        &["a loop"],
    );
    // The same file by another name.
    std::fs::hard_link(&a, dir.path().join("c.qcow2")).unwrap();
    overlay(&b, ("c.qcow2", "qcow2"), &[], Some("1M"));
    assert_error(
        &refused(open_inside(&a, dir.path())),
        ErrorKind::Corrupt,
        &["a loop"],
    );
}

#[test]
fn what_files_below_others_keep_has_a_cap_for_all_of_them_together() {
    if qemu::missing() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name);
    // 32 MiB of L1 table each, all of it a hole of the file: the cap is 64 MiB.
    let small = ["cluster_size=512"];
    let base = path("base.qcow2");
    let options = ["create", "-q", "-f", "qcow2", "-o", "cluster_size=512"];
    qemu::img(options.into_iter().chain([base.to_str().unwrap(), "128G"]));
    let over = |top: &str, below: &str, size| {
        overlay(&path(top), (below, "qcow2"), &small, Some(size));
    };
    over("middle.qcow2", "base.qcow2", "128G");
    over("top.qcow2", "middle.qcow2", "1M");
    open_inside(&path("top.qcow2"), dir.path()).unwrap();
    // What one more file keeps, 256 bytes, is too much.
    over("upper.qcow2", "middle.qcow2", "1M");
    over("top.qcow2", "upper.qcow2", "1M");
    let error = refused(open_inside(&path("top.qcow2"), dir.path()));
    assert_error(
        &error,
        ErrorKind::Limit,
        &["upper.qcow2", "L1 table", "64 MiB in memory together"],
    );
    assert!(
        error
            .hint()
            .unwrap()
            .to_string()
            .contains("qemu-img convert")
    );
}

#[test]
fn chains_longer_than_the_cap_are_refused() {
    if qemu::missing() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let path = |index: usize| dir.path().join(format!("{index}.qcow2"));
    // They differ in nothing but the backing file's name, which is patched in.
    plain(&path(0), "1M");
    overlay(&path(1), ("00.qcow2", "qcow2"), &[], Some("1M"));
    let template = std::fs::read(path(1)).unwrap();
    let at = template.windows(8).position(|w| w == b"00.qcow2").unwrap();
    for index in 1..=MAX_CHAIN_FILES {
        let mut bytes = template.clone();
        bytes[at..at + 8].copy_from_slice(format!("{:02}.qcow2", index - 1).as_bytes());
        std::fs::write(dir.path().join(format!("{index:02}.qcow2")), bytes).unwrap();
    }
    std::fs::rename(path(0), dir.path().join("00.qcow2")).unwrap();
    let top = |index: usize| dir.path().join(format!("{index:02}.qcow2"));
    let longest = open_inside(&top(MAX_CHAIN_FILES - 1), dir.path()).unwrap();
    testkit::conformance(longest.image.as_ref(), &vec![0; 1 << 20]);
    let error = refused(open_inside(&top(MAX_CHAIN_FILES), dir.path()));
    assert_error(&error, ErrorKind::Limit, &["build on each other"]);
}

#[test]
fn a_backing_file_of_undeclared_format_is_never_guessed() {
    if qemu::missing() {
        return;
    }
    let dir = TempDir::new().unwrap();
    plain(&dir.path().join("base.qcow2"), "1M");
    let top = dir.path().join("top.qcow2");
    overlay(&top, ("base.qcow2", "qcow2"), &[], Some("1M"));
    // The extension with the format, made into one that nobody knows.
    let mut bytes = std::fs::read(&top).unwrap();
    let at = bytes
        .windows(4)
        .position(|w| w == [0xe2, 0x79, 0x2a, 0xca])
        .unwrap();
    bytes[at] = 0x11;
    std::fs::write(&top, bytes).unwrap();
    let error = refused(open_inside(&top, dir.path()));
    assert_error(
        &error,
        ErrorKind::Unsupported,
        &["base.qcow2", "never guessed"],
    );
    assert_eq!(error.hint(), Some(&Hint::NameBackingFormat));
    let options = OpenOptions {
        backing_format: Some(Format::Qcow2),
        ..inside(dir.path())
    };
    let opened = diskimg::open(&top, &options, &[]).unwrap();
    testkit::conformance(opened.image.as_ref(), &vec![0; 1 << 20]);
}

#[test]
fn formats_that_are_not_read_and_files_that_are_not_what_they_are_declared_are_refused() {
    if qemu::missing() {
        return;
    }
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("base"), [0; 4096]).unwrap();
    let top = dir.path().join("top.qcow2");
    overlay(&top, ("base", "qed"), &[], Some("1M"));
    let error = refused(open_inside(&top, dir.path()));
    assert_error(&error, ErrorKind::Unsupported, &["(qed)", "does not read"]);
    overlay(&top, ("base", "qcow2"), &[], Some("1M"));
    let error = refused(open_inside(&top, dir.path()));
    assert_error(&error, ErrorKind::Corrupt, &["top.qcow2", "/base", "QFI"]);
}

#[test]
fn protocols_are_refused_by_name() {
    if qemu::missing() {
        return;
    }
    for name in [
        "json:{\"driver\":\"file\",\"filename\":\"/etc/passwd\"}",
        "nbd://localhost/x",
        "http://169.254.169.254/latest",
        "file:base.raw",
    ] {
        let (dir, top) = image_over("x".repeat(name.len()).as_str());
        let mut bytes = std::fs::read(&top).unwrap();
        let at = bytes
            .windows(name.len())
            .position(|w| w.iter().all(|byte| *byte == b'x'))
            .unwrap();
        bytes[at..at + name.len()].copy_from_slice(name.as_bytes());
        std::fs::write(&top, bytes).unwrap();
        let protocol = name.split(':').next().unwrap();
        let error = refused(open_inside(&top, dir.path()));
        assert_error(&error, ErrorKind::Unsupported, &["protocol", protocol]);
    }
}

#[test]
fn a_file_that_is_not_there_is_said_to_be_looked_for() {
    if qemu::missing() {
        return;
    }
    let (dir, top) = image_over("gone.raw");
    let error = refused(open_inside(&top, dir.path()));
    assert_error(&error, ErrorKind::Io, &["gone.raw", "looked for"]);
    let error = refused(open_inside(&top, &dir.path().join("no-such-directory")));
    assert_error(&error, ErrorKind::Io, &["the allowed directory"]);
}

#[test]
fn a_base_that_was_copied_from_another_machine_is_found_by_its_name_and_told() {
    if qemu::missing() {
        return;
    }
    let (dir, top) = image_over("/nonexistent/instances/_base/base.img");
    let base = dir.path().join("base.img");
    std::fs::write(&base, vec![7; 1 << 20]).unwrap();
    let opened = open_inside(&top, dir.path()).unwrap();
    let warnings = opened.image.details().warnings.join("\n");
    let found = base.canonicalize().unwrap();
    for expected in [
        "/nonexistent/instances/_base/base.img",
        found.to_str().unwrap(),
    ] {
        assert!(warnings.contains(expected), "{warnings}");
    }
    let mut byte = [0];
    opened
        .image
        .read_at(diskimg::GuestOffset(0), &mut byte)
        .unwrap();
    assert_eq!(byte, [7]);
    std::fs::remove_file(&base).unwrap();
    let error = refused(open_inside(&top, dir.path()));
    let hint = error.hint().unwrap().to_string();
    assert!(
        hint.contains("qemu-img rebase -u -b FILE -F raw COPY"),
        "{hint}"
    );
}

/// The path says which file is meant, and another one of the same name is not.
#[test]
fn a_base_that_is_where_the_image_says_is_not_replaced_by_one_of_its_name() {
    if qemu::missing() {
        return;
    }
    let outside = TempDir::new().unwrap();
    let there = outside.path().join("base.img");
    std::fs::write(&there, vec![1; 1 << 20]).unwrap();
    let (dir, top) = image_over(there.to_str().unwrap());
    std::fs::write(dir.path().join("base.img"), vec![2; 1 << 20]).unwrap();
    let error = refused(open_inside(&top, dir.path()));
    assert_error(&error, ErrorKind::Unsupported, &["outside"]);
}
