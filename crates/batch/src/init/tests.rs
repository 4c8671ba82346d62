use std::fs;
use std::path::Path;

use diskimg::partitions::BootMode;
use tempfile::TempDir;

use super::*;
use crate::manifest::Manifest;

fn disk(path: &str) -> Disk {
    Disk {
        path: path.into(),
        format: Format::Qcow2,
        virtual_size: 40 << 30,
        bytes_on_disk: 1 << 30,
        boot: Some(BootMode::Bios),
        warnings: Vec::new(),
    }
}

/// `server: system + data, …; images`.
fn grouped(paths: &[&str]) -> String {
    let found = Found {
        disks: paths.iter().map(|path| disk(path)).collect(),
        ..Found::default()
    };
    let draft = Draft::of(found);
    let stem = |disk: &Disk| disk.path.file_stem().unwrap().to_str().unwrap().to_owned();
    let servers = draft.servers.iter().map(|server| {
        let data: Vec<_> = server.data.iter().map(|data| stem(&data.disk)).collect();
        format!(
            "{}: {} + {}",
            server.name,
            stem(&server.system),
            data.join(" ")
        )
    });
    let images = draft.images.iter().map(|image| image.name.clone());
    servers.chain(images).collect::<Vec<_>>().join("; ")
}

#[test]
fn disks_of_a_server_are_grouped_only_when_their_names_say_so() {
    for (paths, expected) in [
        (
            &["/d/web01.vmdk", "/d/web01_1.vhdx"][..],
            "web01: web01 + web01_1",
        ),
        (
            &["/d/web01-disk1.q", "/d/web01-disk2.q"],
            "web01: web01-disk1 + web01-disk2",
        ),
        (
            &["/d/web01-data1.q", "/d/web01.q"],
            "web01: web01 + web01-data1",
        ),
        (
            &["/d/db-vda.q", "/d/db-vdb.q", "/d/db-vdc.q"],
            "db: db-vda + db-vdb db-vdc",
        ),
        // Three servers, not three disks of one.
        (
            &["/d/web-1.q", "/d/web-2.q", "/d/web-3.q"],
            "web-1; web-2; web-3",
        ),
        (&["/d/web01.q", "/d/web02.q"], "web01; web02"),
        // The system disk is not here.
        (
            &["/d/web01-data1.q", "/d/web01-data2.q"],
            "web01-data1; web01-data2",
        ),
        (&["/d/web01-disk1.q"], "web01-disk1"),
        // Not in one directory.
        (&["/a/web01.q", "/b/web01-data1.q"], "web01; web01-data1"),
        (
            &["/a/web01.q", "/b/web01.q", "/c/x/b/web01.q"],
            "web01; b-web01; web01-2",
        ),
        (&["/d/a.q", "/d/a_1.q", "/d/a_1_1.q"], "a: a + a_1; a_1_1"),
    ] {
        assert_eq!(grouped(paths), expected, "{paths:?}");
    }
}

/// A raw disk with a boot sector that has code.
fn write_disk(path: &Path, len: u64) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut sector = vec![0_u8; 512];
    sector[..4].copy_from_slice(&[0xeb, 0x3c, 0x90, 0x01]);
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    fs::write(path, &sector).unwrap();
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(len).unwrap();
}

fn tree() -> TempDir {
    let dir = TempDir::new().unwrap();
    for name in [
        "disks/web01.raw",
        "disks/web01-data1.raw",
        "disks/web 02: \"$HOME\" é\u{85}[1].img",
        "disks/yes.raw",
        "more/web01.raw",
    ] {
        write_disk(&dir.path().join(name), 3 << 20);
    }
    fs::write(dir.path().join("disks/README"), "text").unwrap();
    fs::write(dir.path().join("disks/notes.bin"), [1, 2, 3]).unwrap();
    fs::write(dir.path().join("disks/broken.qcow2"), b"QFI\xfb\0\0\0\x03").unwrap();
    fs::write(dir.path().join("disks/old.vmdk"), b"KDMV\x01\0\0\0").unwrap();
    // A part of a disk whose descriptor is there.
    fs::write(dir.path().join("disks/old-flat.vmdk"), [1; 4096]).unwrap();
    fs::write(dir.path().join("disks/old-s001.vmdk"), b"KDMV\x01\0\0\0").unwrap();
    write_disk(&dir.path().join("disks/.hidden.raw"), 1 << 20);
    std::os::unix::fs::symlink("/", dir.path().join("disks/root")).unwrap();
    std::os::unix::fs::symlink("web01.raw", dir.path().join("disks/link.raw")).unwrap();
    dir
}

#[test]
fn a_written_manifest_is_refused_for_its_placeholders_only_and_then_read() {
    let tree = tree();
    let root = tree.path().canonicalize().unwrap();
    let found = find(&[tree.path().to_owned()], &|| false).unwrap();
    assert_eq!(found.disks.len(), 5, "{found:#?}");
    assert_eq!(found.refused.len(), 2, "{found:#?}");
    let draft = Draft::of(found);
    let mut digests = Vec::new();
    for (notation, file) in [
        (Notation::Yaml, "batch.yaml"),
        (Notation::Toml, "batch.toml"),
    ] {
        let settings = Settings {
            dir: &root,
            bucket: None,
            notation,
        };
        let text = draft.manifest(&settings);
        let path = root.join(file);
        fs::write(&path, &text).unwrap();
        let problems = Manifest::read(&path).unwrap_err();
        for problem in &problems {
            assert_eq!(problem.what, "this is a placeholder", "{problem}\n{text}");
        }
        // The bucket, and the system of each disk but the data disk.
        assert_eq!(problems.len(), 5, "{problems:#?}\n{text}");
        fs::write(&path, text.replace("TODO", "Debian")).unwrap();
        let manifest = Manifest::read(&path).unwrap();
        let items = manifest.items.iter();
        let names: Vec<_> = items.clone().map(|item| item.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "web 02- --HOME- é--1-",
                "yes",
                "more-web01",
                "web01",
                "web01-data1"
            ]
        );
        assert!(items.clone().all(|item| item.source.is_file()));
        assert!(items.clone().all(|item| item.min_disk == Some(1)));
        assert!(text.contains("disks/broken.qcow2: "), "{text}");
        assert!(text.contains("disks/old.vmdk: "), "{text}");
        digests.push(manifest.digest);
    }
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn a_bucket_that_is_known_is_no_placeholder() {
    let found = Found {
        disks: vec![disk("/d/a.qcow2")],
        ..Found::default()
    };
    let settings = Settings {
        dir: Path::new("/d"),
        bucket: Some("my-images"),
        notation: Notation::Yaml,
    };
    let text = Draft::of(found).manifest(&settings);
    assert!(text.contains("bucket: my-images\n"), "{text}");
    assert!(text.contains("firmware: bios\n"), "{text}");
    assert!(text.contains("source: a.qcow2\n"), "{text}");
}

#[test]
fn nothing_is_found_where_nothing_is_and_that_is_told() {
    let dir = TempDir::new().unwrap();
    assert!(find(&[dir.path().join("none")], &|| false).is_err());
    assert!(
        find(&[dir.path().to_owned()], &|| false)
            .unwrap()
            .disks
            .is_empty()
    );
    write_disk(&dir.path().join("a.raw"), 1 << 20);
    let stopped = find(&[dir.path().to_owned()], &|| true);
    assert!(matches!(stopped, Err(Error::Cancelled)));
}

#[test]
fn a_file_that_is_named_is_told_about_whatever_it_is() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("README");
    fs::write(&path, "text").unwrap();
    let found = find(&[path], &|| false).unwrap();
    assert_eq!(found.refused.len(), 1);
}
