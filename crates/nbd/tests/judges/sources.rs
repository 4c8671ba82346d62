//! qemu-nbd and nbdkit as sources.

use std::process::Command;

use diskimg::{DiskImageExt as _, ErrorKind, ExtentKind, FileOffset, GuestOffset, ReadAt as _};
use nbd::ClientOptions;
use testkit::{conformance, missing, qemu};

use super::programs::{Served, chain, content, disk, open, options};

/// Bytes of the disk that are read as holes.
fn holes(image: &dyn diskimg::DiskImage) -> u64 {
    let extents = image.all_extents().map(Result::unwrap);
    let holes = extents.filter(|extent| extent.kind != ExtentKind::Data);
    holes.map(|extent| extent.len).sum()
}

#[test]
fn a_disk_of_qemu_nbd_is_the_disk_whatever_it_allows() {
    if missing("qemu-nbd") || missing("qemu-img") {
        return;
    }
    let content = content();
    for (shared, format) in [("1", "raw"), ("4", "raw"), ("1", "qcow2"), ("0", "qcow2")] {
        let mut served = Served::new();
        let raw = served.dir.path().join("disk.raw");
        content.write_sparse(&raw).unwrap();
        let file = served.dir.path().join("disk");
        let converted = Command::new("qemu-img")
            .args(["convert", "-f", "raw", "-O", format])
            .args([&raw, &file])
            .status()
            .unwrap();
        assert!(converted.success());
        served.qemu_nbd(shared, format, "a b", &file);
        let source = open(&served.uri("a%20b"), options()).unwrap();
        assert!(source.tells_holes(), "{format}");
        let image = disk(source);
        conformance(image.as_ref(), &content.bytes);
        assert!(holes(image.as_ref()) > 1 << 20, "{format}: holes are told");
    }
}

#[test]
fn a_disk_of_nbdkit_is_the_disk_through_every_filter() {
    if missing("nbdkit") {
        return;
    }
    let content = content();
    // Arguments of the filter, and whether holes are told.
    let cases: [(&[&str], bool); 9] = [
        (&["file"], true),
        (&["--filter=delay", "file", "rdelay=3ms"], true),
        (&["--filter=noextents", "file"], false),
        (&["--filter=exitlast", "file"], true),
        (&["--filter=noparallel", "file"], true),
        (
            &["--filter=multi-conn", "file", "multi-conn-mode=disable"],
            true,
        ),
        (
            &[
                "--filter=blocksize-policy",
                "file",
                "blocksize-minimum=4k",
                "blocksize-preferred=64k",
                "blocksize-maximum=96k",
                "blocksize-error-policy=error",
            ],
            true,
        ),
        (
            &[
                "--filter=error",
                "file",
                "error-pread=EIO",
                "error-pread-rate=3%",
            ],
            true,
        ),
        (&["--no-sr", "file"], false),
    ];
    for (args, tells) in cases {
        let mut served = Served::new();
        let raw = served.dir.path().join("disk.raw");
        content.write_sparse(&raw).unwrap();
        let mut all = args.to_vec();
        let file = raw.to_str().unwrap().to_owned();
        all.push(&file);
        served.nbdkit(&all);
        let options = ClientOptions {
            retries: 12,
            ..options()
        };
        let source = open(&served.uri(""), options).unwrap();
        let image = disk(source);
        conformance(image.as_ref(), &content.bytes);
        assert_eq!(holes(image.as_ref()) > 0, tells, "{args:?}");
    }
}

#[test]
fn a_bitmap_of_qemu_nbd_marks_what_qemu_img_says() {
    if missing("qemu-nbd") || qemu::missing() {
        return;
    }
    let mut served = Served::new();
    let path = served.dir.path().join("disk.qcow2");
    let name = path.to_str().unwrap().to_owned();
    qemu::img(["create", "-q", "-f", "qcow2", &name, "5G"]);
    qemu::img(["bitmap", "--add", "-g", "512", &name, "b 0"]);
    let alternating: Vec<String> = (0..500)
        .map(|n| format!("write -z {} 512", 3 * n * 512))
        .collect();
    let mut writes: Vec<&str> = alternating.iter().map(String::as_str).collect();
    writes.extend([
        "write -z 1G 1G",
        "write -z 2G 1G",
        "write -z 5368708608 512",
    ]);
    qemu::io(&path, "qcow2", &writes);
    served.qemu_nbd_of_changes("b 0", &path);
    let asking = |bitmap: &str| ClientOptions {
        bitmap: Some(bitmap.to_owned()),
        ..options()
    };
    let source = open(&served.uri(""), asking("b 0")).unwrap();
    let ours = source.changes("b 0", 512).unwrap();
    assert_eq!(ours.ranges(), served.changes("b 0"));
    assert_eq!(ours.marked_bytes(), (2 << 30) + 501 * 512);
    // Both contexts are answered together.
    assert!(source.tells_holes());
    assert!(holes(disk(source).as_ref()) > 4 << 30);

    let source = open(&served.uri(""), asking("b1")).unwrap();
    let error = disk(source).changes("b1", 512).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfRange);
    assert!(chain(&error).contains("but [\"b 0\"]"), "{error}");
    let unasked = open(&served.uri(""), options()).unwrap();
    unasked.changes("b 0", 512).unwrap_err();
}

#[test]
fn large_and_sparse_disks_cost_what_they_store() {
    if missing("nbdkit") {
        return;
    }
    for (args, size, stored) in [
        (["memory", "8T"], 8_u64 << 40, 0..1),
        // Another disk each time: a tenth of it is data on average.
        (["sparse-random", "size=1G"], 1 << 30, 1 << 20..512 << 20),
        (["pattern", "64M"], 64 << 20, 64 << 20..(64 << 20) + 1),
    ] {
        let mut served = Served::new();
        served.nbdkit(&args);
        let image = disk(open(&served.uri(""), options()).unwrap());
        assert_eq!(image.virtual_size(), size, "{args:?}");
        let data = size - holes(image.as_ref());
        assert!(stored.contains(&data), "{args:?}: {data} bytes are data");
    }
    let mut served = Served::new();
    served.nbdkit(&["data", "size=1G", r#"data=@0x20000000 "deep" 1"#]);
    let image = disk(open(&served.uri(""), options()).unwrap());
    let mut found = [0; 6];
    image.read_at(GuestOffset(0x1fff_ffff), &mut found).unwrap();
    assert_eq!(&found, b"\0deep\x01");
}

#[test]
fn an_error_of_the_server_is_named_after_so_many_tries() {
    if missing("nbdkit") {
        return;
    }
    for (error, words) in [
        (
            "EIO",
            "gave up after 2 more tries: the server answers a request at offset 0x0 with EIO",
        ),
        (
            "EINVAL",
            "the server answers a request at offset 0x0 with EINVAL",
        ),
    ] {
        let mut served = Served::new();
        let pread = format!("error-pread={error}");
        served.nbdkit(&[
            "--filter=error",
            "memory",
            "1M",
            &pread,
            "error-pread-rate=100%",
        ]);
        let options = ClientOptions {
            retries: 2,
            ..options()
        };
        let source = open(&served.uri(""), options).unwrap();
        let error = source
            .read_exact_at(FileOffset(0), &mut [0; 512])
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(chain(&error).contains(words), "{}", chain(&error));
    }
}

#[test]
fn a_server_that_is_started_again_is_read_on_and_another_disk_is_refused() {
    if missing("nbdkit") {
        return;
    }
    let mut served = Served::new();
    served.nbdkit(&["pattern", "4M"]);
    let source = open(&served.uri(""), options()).unwrap();
    let mut before = vec![0; 4 << 20];
    source.read_exact_at(FileOffset(0), &mut before).unwrap();
    served.child = None;
    served.nbdkit(&["pattern", "4M"]);
    let mut after = vec![0; 4 << 20];
    source.read_exact_at(FileOffset(0), &mut after).unwrap();
    assert!(before == after, "the disk is the same");
    served.child = None;
    served.nbdkit(&["pattern", "5M"]);
    let error = source.read_exact_at(FileOffset(0), &mut after).unwrap_err();
    assert!(
        chain(&error).contains("the export was another one"),
        "{}",
        chain(&error)
    );
    served.child = None;
    let error = source.read_exact_at(FileOffset(0), &mut after).unwrap_err();
    assert!(
        chain(&error).contains("gave up after 6 more tries"),
        "{}",
        chain(&error)
    );
}

#[test]
fn what_the_server_refuses_is_said() {
    if missing("qemu-nbd") || missing("qemu-img") {
        return;
    }
    let mut served = Served::new();
    let raw = served.dir.path().join("disk.raw");
    content().write_sparse(&raw).unwrap();
    served.qemu_nbd("1", "raw", "disk", &raw);
    let error = open(&served.uri("other"), options()).err().unwrap();
    assert!(
        chain(&error).contains("there is no export of this name"),
        "{}",
        chain(&error)
    );
    assert!(
        chain(&error).contains("nbd+unix:///other?socket="),
        "{}",
        chain(&error)
    );
    let tls = served.uri("disk").replace("nbd+unix", "nbds+unix") + "&tls-hostname=localhost";
    let error = open(&tls, options()).err().unwrap();
    assert!(
        chain(&error).contains("refuses to encrypt"),
        "{}",
        chain(&error)
    );
}
