use std::fs;
use std::path::Path;

use diskimg::Stop;
use diskimg::partitions::BootMode;
use tempfile::TempDir;

use super::*;
use crate::manifest::Manifest;

fn go_on() -> Stop {
    Stop::never()
}

fn stopped() -> Stop {
    Stop::when(|| true)
}

fn disk(path: &str) -> Disk {
    Disk {
        path: path.into(),
        format: Format::Qcow2,
        virtual_size: 40 << 30,
        bytes_on_disk: 1 << 30,
        boot: Some(BootMode::Bios),
        firmware: None,
        system: None,
        compression: None,
        builds_on: Vec::new(),
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
    let found = find(&[tree.path().to_owned()], &go_on()).unwrap();
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
    assert!(find(&[dir.path().join("none")], &go_on()).is_err());
    assert!(
        find(&[dir.path().to_owned()], &go_on())
            .unwrap()
            .disks
            .is_empty()
    );
    write_disk(&dir.path().join("a.raw"), 1 << 20);
    let ended = find(&[dir.path().to_owned()], &stopped());
    assert!(matches!(ended, Err(Error::Cancelled)));
}

#[test]
fn a_file_that_is_named_is_told_about_whatever_it_is() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("README");
    fs::write(&path, "text").unwrap();
    let found = find(&[path], &go_on()).unwrap();
    assert_eq!(found.refused.len(), 1);
}

/// A machine's configuration, its disk in two files, and its second disk.
fn vmx(dir: &Path, snapshot: bool) {
    fs::create_dir_all(dir).unwrap();
    let flat = |name: &str, more: &str| {
        let text = format!(
            "# Disk DescriptorFile\nversion=1\nCID=fffffffe\n{more}RW 2048 FLAT \"{name}-flat.vmdk\" 0\n"
        );
        fs::write(dir.join(format!("{name}.vmdk")), text).unwrap();
        write_disk(&dir.join(format!("{name}-flat.vmdk")), 1 << 20);
    };
    let whole = "parentCID=ffffffff\ncreateType=\"monolithicFlat\"\n";
    flat("web", whole);
    flat("logs", whole);
    fs::write(dir.join("web.nvram"), [0; 64]).unwrap();
    let system = if snapshot {
        "web-000001.vmdk"
    } else {
        "web.vmdk"
    };
    if snapshot {
        let text = "# Disk DescriptorFile\nversion=1\nCID=00000001\nparentCID=fffffffe\n\
            createType=\"twoGbMaxExtentSparse\"\nparentFileNameHint=\"web.vmdk\"\n\
            RW 2048 SPARSE \"web-000001-s001.vmdk\"\n";
        fs::write(dir.join(system), text).unwrap();
    }
    let text = format!(
        "displayName = \"web 01\"\nguestOS = \"ubuntu-64\"\nfirmware = \"efi\"\n\
         scsi0:1.present = \"TRUE\"\nscsi0:1.fileName = \"logs.vmdk\"\n\
         scsi0:0.present = \"TRUE\"\nscsi0:0.fileName = \"{system}\"\n\
         ide1:0.present = \"TRUE\"\nide1:0.deviceType = \"cdrom-image\"\n\
         ide1:0.fileName = \"cd.iso\"\n"
    );
    fs::write(dir.join("web.vmx"), text).unwrap();
}

fn manifest_of(dir: &Path) -> (Draft, String) {
    let root = dir.canonicalize().unwrap();
    let draft = Draft::of(find(std::slice::from_ref(&root), &go_on()).unwrap());
    let settings = Settings {
        dir: &root,
        bucket: Some("images"),
        notation: Notation::Yaml,
    };
    let text = draft.manifest(&settings);
    (draft, text)
}

#[test]
fn the_disks_that_a_configuration_names_are_one_server() {
    let dir = TempDir::new().unwrap();
    vmx(&dir.path().join("vm"), false);
    write_disk(&dir.path().join("vm/old.raw"), 1 << 20);
    let (draft, text) = manifest_of(dir.path());
    let [server] = draft.servers.as_slice() else {
        panic!("{draft:#?}");
    };
    assert_eq!(server.name, "web 01");
    assert!(server.system.path.ends_with("vm/web.vmdk"));
    assert_eq!(server.data.len(), 1);
    assert!(server.data[0].disk.path.ends_with("vm/logs.vmdk"));
    assert_eq!(draft.images.len(), 1, "{draft:#?}");
    assert!(draft.refused.is_empty(), "{draft:#?}");
    assert!(text.contains("firmware: uefi\n"), "{text}");
    assert!(text.contains("\"ubuntu-64\"; look for Ubuntu"), "{text}");
    let path = dir.path().join("batch.yaml");
    fs::write(&path, text.replace("TODO", "Debian")).unwrap();
    let items = Manifest::read(&path).unwrap().items;
    let names: Vec<_> = items.iter().map(|item| item.name.as_str()).collect();
    assert_eq!(names, ["old", "web 01", "web 01-data1"]);
}

#[test]
fn a_snapshot_of_a_machine_needs_permission_for_what_it_builds_on() {
    let dir = TempDir::new().unwrap();
    vmx(dir.path(), true);
    let (draft, text) = manifest_of(dir.path());
    assert!(
        draft.images.is_empty() && draft.refused.is_empty(),
        "{draft:#?}"
    );
    let system = &draft.servers[0].system;
    assert!(system.path.ends_with("web-000001.vmdk"));
    assert_eq!(system.builds_on, ["web.vmdk"]);
    assert_eq!(draft.snapshots().count(), 1);
    assert!(text.contains("allow_backing: TODO\n"), "{text}");
    assert!(text.contains("builds on web.vmdk"), "{text}");
    let path = dir.path().join("batch.yaml");
    fs::write(
        &path,
        text.replace("os_version: TODO", "os_version: Debian"),
    )
    .unwrap();
    let problems = Manifest::read(&path).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert!(
        problems[0]
            .hint
            .as_deref()
            .unwrap()
            .contains("the directory")
    );
}

#[test]
fn a_machine_that_lacks_a_disk_is_refused_whole() {
    for (lacking, reason) in [
        (
            "scsi0:2.fileName = \"../x.vmdk\"\n",
            "is no disk image beside it",
        ),
        ("scsi0:2.fileName = \"gone.vmdk\"\n", "it is not there"),
        ("scsi0:2.fileName = \"link.vmdk\"\n", "no regular file"),
    ] {
        let dir = TempDir::new().unwrap();
        vmx(dir.path(), false);
        std::os::unix::fs::symlink("web.vmdk", dir.path().join("link.vmdk")).unwrap();
        let path = dir.path().join("web.vmx");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text + lacking).unwrap();
        let (draft, _) = manifest_of(dir.path());
        assert!(
            draft.servers.is_empty() && draft.images.is_empty(),
            "{draft:#?}"
        );
        let [refused] = draft.refused.as_slice() else {
            panic!("{draft:#?}");
        };
        assert!(refused.path.ends_with("web.vmx"));
        assert!(refused.reason.contains(reason), "{}", refused.reason);
    }
}

#[test]
fn two_machines_do_not_share_a_disk() {
    let dir = TempDir::new().unwrap();
    vmx(dir.path(), false);
    fs::copy(dir.path().join("web.vmx"), dir.path().join("zcopy.vmx")).unwrap();
    let (draft, _) = manifest_of(dir.path());
    assert_eq!(
        (draft.servers.len(), draft.refused.len()),
        (1, 1),
        "{draft:#?}"
    );
    assert!(draft.refused[0].reason.contains("another machine"));
}

#[test]
fn compressed_raw_disks_are_found_by_their_names() {
    let dir = TempDir::new().unwrap();
    write_disk(&dir.path().join("disk"), 1 << 20);
    let bytes = fs::read(dir.path().join("disk")).unwrap();
    fs::remove_file(dir.path().join("disk")).unwrap();
    let packed = zstd(&bytes);
    fs::write(dir.path().join("web01.raw.zst"), &packed).unwrap();
    fs::write(dir.path().join("notes.zst"), &packed).unwrap();
    fs::write(dir.path().join("text.img.zst"), zstd(b"no disk\n")).unwrap();
    let (draft, text) = manifest_of(dir.path());
    let [image] = draft.images.as_slice() else {
        panic!("{draft:#?}");
    };
    assert_eq!(
        (image.name.as_str(), image.disk.virtual_size),
        ("web01", 1 << 20)
    );
    assert!(
        text.contains("raw compressed with zstd, 1 MiB virtual"),
        "{text}"
    );
    assert_eq!(
        (draft.refused.len(), draft.passed_over),
        (1, 1),
        "{draft:#?}"
    );
    assert!(draft.refused[0].path.ends_with("text.img.zst"));
}

/// A zstd frame that does not tell its size.
fn zstd(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
