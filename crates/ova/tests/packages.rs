//! Packages as programs write them, as others write them, and as they should not be.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test helper: a failed assertion fails the test"
)]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use diskimg::{BackingPolicy, ErrorKind, FileOffset, MemorySource, OpenOptions, Result};
use ova::{Algorithm, Architecture, Firmware, Package, Role};
use testkit::ova::{Machine, Tar, base256, header, manifest, octal, sealed};

const DISK: &[u8] = b"the bytes of a disk";

fn of(bytes: Vec<u8>) -> Result<Option<Package>> {
    Package::of(Arc::new(MemorySource(bytes)), Path::new("vm.ova"))
}

fn open(bytes: Vec<u8>) -> Package {
    of(bytes).unwrap().unwrap()
}

fn refused(bytes: Vec<u8>) -> String {
    let error = of(bytes).unwrap_err();
    let hint = error.hint().map(ToString::to_string);
    format!("{error} {}", hint.unwrap_or_default())
}

fn content(package: &Package, place: usize) -> Vec<u8> {
    let source = package.disks()[place]
        .source(&diskimg::Stop::never())
        .unwrap();
    let mut bytes = vec![0; usize::try_from(source.len()).unwrap()];
    source.read_exact_at(FileOffset(0), &mut bytes).unwrap();
    bytes
}

fn vm(disk: &str) -> Machine {
    Machine::new("vm", &[(disk, 20)])
}

/// Descriptor and one disk, without a manifest.
fn plain(descriptor: &str) -> Vec<u8> {
    Tar::new()
        .file("vm.ovf", descriptor.as_bytes())
        .file("d.vmdk", DISK)
        .end()
}

fn verified(package: &Package) -> Result<()> {
    let manifest = package.manifest()?.unwrap();
    for disk in package.disks() {
        manifest.of(disk).unwrap().run(&|| false)?;
    }
    Ok(())
}

fn shipped(name: &str) -> Package {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/ova");
    Package::open(&path.join(name), &BackingPolicy::Refuse)
        .unwrap()
        .unwrap()
}

#[test]
fn an_archive_is_read_in_place() {
    let machine = Machine {
        firmware: Some("efi"),
        ..Machine::new("vm", &[("a.vmdk", 20), ("b.vmdk", 30)])
    };
    let package = open(machine.archive(&[DISK, b"another"]));
    assert_eq!(content(&package, 0), DISK);
    assert_eq!(content(&package, 1), b"another");
    let disk = &package.disks()[1];
    assert_eq!((disk.place.as_str(), disk.capacity), ("SCSI 0:1", Some(30)));
    let roles: Vec<_> = package.members().iter().map(|member| member.role).collect();
    assert_eq!(
        roles,
        [Role::Descriptor, Role::Manifest, Role::Disk, Role::Disk]
    );
    let hints = package.hints();
    assert_eq!(hints.name.as_deref(), Some("vm"));
    assert_eq!(hints.firmware, Some(Firmware::Uefi));
    assert_eq!(hints.os, ["ubuntu64Guest"]);
    assert!(package.warnings().is_empty(), "{:?}", package.warnings());
    verified(&package).unwrap();
    assert_eq!(package.find("b.vmdk").unwrap().member, "b.vmdk");
    assert_eq!(package.find("2").unwrap().member, "b.vmdk");
    assert!(package.find("0").is_none() && package.find("3").is_none());
}

#[test]
fn packages_of_other_programs_are_read() {
    let vmware = shipped("open-vmdk.ova");
    assert_eq!(vmware.disks()[0].member, "ovm20-disk1.vmdk");
    assert_eq!(vmware.hints().firmware, Some(Firmware::Uefi));
    assert_eq!(vmware.hints().os[0], "other4xLinux64Guest");
    let algorithms = vmware.manifest().unwrap().unwrap().algorithms();
    assert_eq!(algorithms, [Algorithm::Sha512]);
    verified(&vmware).unwrap();

    let virtualbox = shipped("virtualbox.ova");
    assert_eq!(virtualbox.disks()[0].member, "ubuntu.2.0-disk1.vmdk");
    assert_eq!(virtualbox.disks()[0].capacity, Some(8 << 30));
    assert_eq!(virtualbox.disks()[0].place, "SATA 0:0");
    assert_eq!(virtualbox.hints().os[0], "Ubuntu_64");
    assert_eq!(virtualbox.hints().name.as_deref(), Some("ubuntu"));
    verified(&virtualbox).unwrap();

    let gzip = shipped("gz.ova");
    assert!(gzip.disks()[0].compressed);
    assert_eq!(gzip.disks()[0].size(), 31_462);
    assert_eq!(
        gzip.disks()[0]
            .source(&diskimg::Stop::never())
            .unwrap()
            .len(),
        105_472
    );
    assert!(gzip.manifest().unwrap().is_none());

    verified(&shipped("web.ova")).unwrap();
}

/// GNU tar writes the archive in each of its formats.
#[test]
fn all_formats_of_tar_are_read() {
    if testkit::missing("tar") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let long = format!("{}.vmdk", "x".repeat(180));
    let name = "a disk.vmdk";
    let machine = Machine::new("vm", &[(name, 20), (&long, 20)]);
    std::fs::write(dir.path().join("vm.ovf"), machine.descriptor()).unwrap();
    std::fs::write(dir.path().join(name), DISK).unwrap();
    std::fs::write(dir.path().join(&long), b"long").unwrap();
    for format in ["gnu", "posix"] {
        let path = dir.path().join(format!("{format}.ova"));
        let made = Command::new("tar")
            .current_dir(&dir)
            .args(["--format", format, "-cf"])
            .args([path.to_str().unwrap(), "./vm.ovf", name, &long])
            .status();
        assert!(made.unwrap().success());
        let package = Package::open(&path, &BackingPolicy::Refuse).unwrap();
        let package = package.unwrap();
        assert_eq!(content(&package, 0), DISK, "{format}");
        assert_eq!(content(&package, 1), b"long", "{format}");
    }
}

#[test]
fn sizes_beyond_eight_gigabytes_are_read_in_both_ways() {
    // The content is shorter than they say, so the error tells what was understood.
    let huge = 9 << 30;
    let descriptor = vm("d.vmdk").descriptor();
    let base = Tar::new().file("vm.ovf", descriptor.as_bytes()).member(
        "d.vmdk",
        b'0',
        &base256(huge),
        DISK,
    );
    assert!(refused(base.end()).contains("9663676416 bytes"));
    let pax = Tar::new()
        .file("vm.ovf", descriptor.as_bytes())
        .pax(&[("size", "9663676416")])
        .member("d.vmdk", b'0', &octal(0), DISK);
    assert!(refused(pax.end()).contains("9663676416 bytes"));
    let small = Tar::new()
        .file("vm.ovf", descriptor.as_bytes())
        .pax(&[("size", "19"), ("path", "d.vmdk")])
        .member("cut-name", b'0', &octal(0), DISK);
    assert_eq!(content(&open(small.end()), 0), DISK);
    for size in [
        [0xff; 12],
        *b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        let tar = Tar::new()
            .file("vm.ovf", descriptor.as_bytes())
            .member("d.vmdk", b'0', &size, DISK);
        assert!(refused(tar.end()).contains("negative"));
    }
    let global = Tar::new().member("g", b'g', &octal(11), b"11 size=10\n");
    assert!(refused(global.end()).contains("all members"));
}

#[test]
fn headers_are_checked() {
    let descriptor = vm("d.vmdk").descriptor();
    let start = || Tar::new().file("vm.ovf", descriptor.as_bytes());
    let mut wrong = header("d.vmdk", b'0', &octal(0));
    wrong[0] ^= 1;
    assert!(refused(start().block(&wrong).end()).contains("checksum"));
    let mut old = header("d.vmdk", b'0', &octal(0));
    old[257..265].fill(0);
    assert!(refused(start().block(&sealed(old)).end()).contains("ustar"));
    let cut = start().file("d.vmdk", DISK).cut();
    let package = open(cut.clone());
    assert!(package.warnings()[0].contains("end mark"), "{package:?}");
    assert!(refused(cut[..cut.len() - 600].to_vec()).contains("beyond the end"));
    // Writers of old added signed bytes.
    let mut signed = header("\u{e9}.txt", b'0', &octal(0));
    let sum: i64 = signed
        .iter()
        .enumerate()
        .map(|(at, byte)| match at {
            148..156 => 32,
            _ => i64::from(i8::from_ne_bytes([*byte])),
        })
        .sum();
    signed[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    open(start().block(&signed).file("d.vmdk", DISK).end());
}

#[test]
fn disks_must_be_plain_files_of_the_package() {
    let descriptor = vm("d.vmdk").descriptor();
    let of_kind = |kind: u8| {
        Tar::new()
            .file("vm.ovf", descriptor.as_bytes())
            .member("d.vmdk", kind, &octal(0), b"")
            .end()
    };
    assert!(refused(of_kind(b'S')).contains("sparse"));
    assert!(refused(of_kind(b'1')).contains("a link"));
    assert!(refused(of_kind(b'2')).contains("a link"));
    assert!(refused(of_kind(b'5')).contains("a directory"));
    assert!(refused(of_kind(b'3')).contains("type '3'"));
    let pax = Tar::new()
        .file("vm.ovf", descriptor.as_bytes())
        .pax(&[("GNU.sparse.major", "1"), ("GNU.sparse.name", "d.vmdk")])
        .file("d.vmdk", DISK);
    assert!(refused(pax.end()).contains("sparse"));
    // The path that GNU tar makes up for such a member.
    let named = Tar::new()
        .file("vm.ovf", descriptor.as_bytes())
        .pax(&[("GNU.sparse.major", "1"), ("GNU.sparse.name", "d.vmdk")])
        .file("./GNUSparseFile.7/d.vmdk", DISK);
    assert!(refused(named.end()).contains("is a sparse file"));
    let twice = Tar::new()
        .file("vm.ovf", descriptor.as_bytes())
        .file("d.vmdk", DISK)
        .file("./d.vmdk", b"other");
    assert!(refused(twice.end()).contains("two members"));
    let missing = Tar::new().file("vm.ovf", descriptor.as_bytes());
    assert!(refused(missing.end()).contains("not in the package"));
    let two = Tar::new()
        .file("vm.ovf", descriptor.as_bytes())
        .file("b.OVF", b"");
    assert!(refused(two.end()).contains("two descriptors"));
}

#[test]
fn archives_of_other_programs_are_refused_by_name_with_the_command_that_helps() {
    let vagrant = |disk: &str| {
        let start = Tar::new().file("./metadata.json", b"{}");
        start.file(disk, DISK).file("./Vagrantfile", b"").end()
    };
    for disk in ["./box.img", "disk001.vmdk"] {
        let said = refused(vagrant(disk));
        assert!(said.contains("Vagrant box"), "{said}");
        assert!(said.contains("tar -xf"), "{said}");
    }
    // With a descriptor it is a package.
    let start = Tar::new().file("./box.ovf", vm("d.vmdk").descriptor().as_bytes());
    let with_ovf = start.file("./d.vmdk", DISK).file("./metadata.json", b"{}");
    assert_eq!(content(&open(with_ovf.end()), 0), DISK);
    let xva = Tar::new().file("ova.xml", b"<value/>");
    let xva = (0..12_000).fold(xva, |tar, number| {
        tar.file(&format!("Ref:7/{number:08}"), b"")
    });
    let said = refused(xva.end());
    assert!(
        said.contains("XVA") && said.contains("xe vdi-export"),
        "{said}"
    );
    let other = Tar::new().file("metadata.json", b"{}").end();
    let other = Package::of(Arc::new(MemorySource(other)), Path::new("a.tar"));
    assert!(other.unwrap().is_none());
}

#[test]
fn what_begins_like_a_disk_that_boots_is_no_package() {
    let boots = |right: bool| {
        let mut first = header("vm.ovf", b'0', &octal(0));
        first[510..].copy_from_slice(&[0x55, 0xaa]);
        first[148..156].fill(b' ');
        let sum: u32 = first.iter().map(|byte| u32::from(*byte)).sum();
        let sum = if right { sum } else { 1 };
        first[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        Tar::new().block(&first).file("d.vmdk", DISK).end()
    };
    for right in [true, false] {
        assert!(of(boots(right)).unwrap().is_none(), "{right}");
    }
    // It is refused by name, and read as a disk by whoever says that it is one.
    for right in [true, false] {
        let source = Arc::new(MemorySource(boots(right)));
        let error = diskimg::open_source(source, &OpenOptions::default(), &[]).unwrap_err();
        assert!(error.to_string().contains("tar (or OVA)"), "{error}");
    }
}

#[test]
fn names_have_a_cap_together() {
    let name = "n".repeat(60_000);
    let mut tar = Tar::new();
    for _ in 0..200 {
        tar = tar.pax(&[("path", &name)]).file("short", b"");
    }
    let said = refused(tar.end());
    assert!(said.contains("names of the archive's members"), "{said}");
}

#[test]
fn names_lead_nowhere() {
    for name in [
        "../../etc/passwd",
        "/etc/passwd",
        "http://host/d",
        "a\\b",
        "%2e%2e%2fd",
    ] {
        let said = refused(plain(&vm(name).descriptor()));
        assert!(said.contains("only files of the package"), "{name}: {said}");
    }
    let listed = Tar::new()
        .file("vm.ovf", vm("d.vmdk").descriptor().as_bytes())
        .file("vm.mf", manifest(&[("../x", DISK)]).as_bytes())
        .file("d.vmdk", DISK)
        .file("../x", DISK);
    let error = open(listed.end()).manifest().unwrap_err();
    assert!(error.to_string().contains("only files"), "{error}");
}

#[test]
fn names_may_be_escaped_and_in_a_directory() {
    let escaped = vm("my%20disk.vmdk").descriptor();
    let tar = Tar::new()
        .file("dir/", b"")
        .file("dir/vm.ovf", escaped.as_bytes())
        .file("dir/my disk.vmdk", DISK)
        .file("dir/._vm.ovf", b"noise")
        .file("dir/readme.txt", b"text");
    let package = open(tar.end());
    assert_eq!(content(&package, 0), DISK);
    let told = package.warnings().join("\n");
    assert!(
        told.contains("readme.txt") && !told.contains("._vm"),
        "{told}"
    );
}

#[test]
fn chunks_are_one_disk() {
    let descriptor = vm("d.vmdk").descriptor().replace(
        "ovf:id=\"file0\"",
        "ovf:id=\"file0\" ovf:chunkSize=\"8\" ovf:size=\"19\"",
    );
    let chunk =
        |tar: Tar, (number, bytes): (u32, &[u8])| tar.file(&format!("d.vmdk.{number:09}"), bytes);
    let tar = |chunks: &[(u32, &'static [u8])]| {
        let start = Tar::new().file("vm.ovf", descriptor.as_bytes());
        chunks.iter().copied().fold(start, chunk).end()
    };
    let whole = [(0, &DISK[..8]), (1, &DISK[8..16]), (2, &DISK[16..])];
    assert_eq!(content(&open(tar(&whole)), 0), DISK);
    assert!(refused(tar(&whole[..2])).contains("16 bytes together"));
    assert!(refused(tar(&[whole[0], (2, b"abc")])).contains("go from 1 to 2"));
    assert!(refused(tar(&[(0, b"short"), whole[1]])).contains("number 0 has 5"));
    // What the manifest lists is verified, although it does not list all.
    let own = [("vm.ovf", descriptor.as_bytes())];
    for (listed, matches) in [(&DISK[..8], true), (b"damaged!".as_slice(), false)] {
        let of_first = own.into_iter().chain([("d.vmdk.000000000", listed)]);
        let listed = manifest(&of_first.collect::<Vec<_>>());
        let start = Tar::new()
            .file("vm.ovf", descriptor.as_bytes())
            .file("vm.mf", listed.as_bytes());
        let package = open(whole.into_iter().fold(start, chunk).end());
        assert_eq!(verified(&package).is_ok(), matches);
        let manifest = package.manifest().unwrap().unwrap();
        let unlisted = manifest.unlisted(&package.disks()[0]);
        assert_eq!(unlisted, ["d.vmdk.000000001", "d.vmdk.000000002"]);
    }
    // Without the attribute nobody knows what they are.
    let descriptor = vm("d.vmdk").descriptor();
    let tar = Tar::new()
        .file("vm.ovf", descriptor.as_bytes())
        .file("d.vmdk.000000000", DISK);
    assert!(refused(tar.end()).contains("snapshots"));
}

#[test]
fn a_manifest_that_does_not_match_says_which_file() {
    let machine = vm("d.vmdk");
    let descriptor = machine.descriptor();
    let with = |listed: &str, descriptor: &str| {
        let tar = Tar::new()
            .file("vm.ovf", descriptor.as_bytes())
            .file("d.vmdk", DISK)
            .file("vm.mf", listed.as_bytes());
        open(tar.end())
    };
    let own = ("vm.ovf", descriptor.as_bytes());
    let damaged = with(&manifest(&[own, ("d.vmdk", b"other")]), &descriptor);
    let error = verified(&damaged).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    assert!(error.to_string().contains("d.vmdk"), "{error}");
    let edited = with(
        &manifest(&[own, ("d.vmdk", DISK)]),
        &descriptor.replace("ubuntu", "debian"),
    );
    let error = edited.manifest().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    assert!(error.to_string().contains("edited by hand"), "{error}");
    let incomplete = with(&manifest(&[own]), &descriptor);
    let found = incomplete.manifest().unwrap().unwrap();
    assert!(found.of(&incomplete.disks()[0]).is_none());
    let gone = with(&manifest(&[own, ("e.vmdk", DISK)]), &descriptor);
    let error = gone.manifest().unwrap_err();
    assert!(error.to_string().contains("e.vmdk"), "{error}");
}

#[test]
fn machines_that_cannot_be_imported_are_refused_by_name() {
    let descriptor = vm("d.vmdk").descriptor();
    let said = |from: &str, to: &str| {
        assert!(descriptor.contains(from), "{from}");
        refused(plain(&descriptor.replace(from, to)))
    };
    assert!(said("<Envelope", "<!DOCTYPE a [<!ENTITY b 'c'>]><Envelope").contains("DTD"));
    assert!(said("ovf:diskId", "ovf:parentRef=\"x\" ovf:diskId").contains("delta"));
    assert!(
        said(
            "ovf:id=\"file0\"",
            "ovf:id=\"file0\" ovf:compression=\"bzip2\""
        )
        .contains("bzip2")
    );
    assert!(said("ovf:/disk/disk0", "/dev/sda").contains("/dev/sda"));
    assert!(said("ovf:/disk/disk0", "ovf:/disk/disk7").contains("disk7"));
    assert!(said("ovf:fileRef=\"file0\"", "").contains("no disk with content"));
    assert!(said("envelope/1", "envelope/3").contains("no OVF envelope"));
    let two = descriptor.replace("</Envelope>", "<VirtualSystem ovf:id='second'/></Envelope>");
    let told = refused(plain(&two));
    assert!(
        told.contains("2 machines") && told.contains("second"),
        "{told}"
    );
    let shared = Machine::new("vm", &[("d.vmdk", 20), ("d.vmdk", 20)]);
    assert!(refused(plain(&shared.descriptor())).contains("used twice"));
    let spelled = Machine::new("vm", &[("d.vmdk", 20), ("d%2evmdk", 20)]);
    assert!(refused(plain(&spelled.descriptor())).contains("used twice"));
    let encrypted = descriptor.replace(
        "</VirtualSystem>",
        "<x:EncryptedData xmlns:x='http://www.w3.org/2001/04/xmlenc#'/></VirtualSystem>",
    );
    assert!(refused(plain(&encrypted)).contains("encrypted"));
}

#[test]
fn the_boot_order_names_the_system_disk() {
    let machine = Machine::new("vm", &[("a.vmdk", 20), ("b.vmdk", 20)]);
    let descriptor = machine.descriptor();
    let tar = |descriptor: &str| {
        let tar = Tar::new().file("vm.ovf", descriptor.as_bytes());
        open(tar.file("a.vmdk", b"a").file("b.vmdk", b"b").end())
    };
    assert_eq!(tar(&descriptor).system(), 0);
    let named = descriptor.replace(
        "</VirtualSystem>",
        "<vmw:BootOrderSection vmw:instanceId='11' vmw:type='disk'/></VirtualSystem>",
    );
    assert_eq!(tar(&named).system(), 1);
}

#[test]
fn words_for_arm_are_known() {
    let machine = Machine {
        os: "arm-ubuntu-64",
        ..vm("d.vmdk")
    };
    let package = open(plain(&machine.descriptor()));
    assert_eq!(package.hints().architecture, Some(Architecture::Arm));
}

#[test]
fn other_archives_are_not_taken_for_packages() {
    let bytes = Tar::new().file("disk.raw", DISK).end();
    let source = Arc::new(MemorySource(bytes));
    let found = Package::of(source, Path::new("disk.tar")).unwrap();
    assert!(found.is_none());
    let found = Package::of(Arc::new(MemorySource(DISK.to_vec())), Path::new("a.ova"));
    assert!(found.unwrap().is_none());
}

/// Root reads what the owner of a descriptor cannot.
#[test]
fn a_file_of_another_owner_is_not_opened_beside_a_descriptor() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vm.ovf");
    let disk = dir.path().join("vm-disk1.vmdk");
    std::fs::write(&path, vm("vm-disk1.vmdk").descriptor()).unwrap();
    std::fs::write(&disk, DISK).unwrap();
    if std::os::unix::fs::chown(&disk, Some(1234), None).is_err() {
        eprintln!("skipped: only root can give files away");
        return;
    }
    let error = Package::open(&path, &BackingPolicy::Refuse).unwrap_err();
    assert!(error.to_string().contains("somebody else"), "{error}");
    std::os::unix::fs::chown(&path, Some(1234), None).unwrap();
    let package = Package::open(&path, &BackingPolicy::Refuse).unwrap();
    assert_eq!(content(&package.unwrap(), 0), DISK);
}

#[test]
fn a_folder_has_files_called_after_the_descriptor() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vm.ovf");
    let write = |name: &str, content: &[u8]| std::fs::write(dir.path().join(name), content);
    let machine = vm("vm-disk1.vmdk");
    write("vm.ovf", machine.descriptor().as_bytes()).unwrap();
    write("vm-disk1.vmdk", DISK).unwrap();
    let listed = [
        ("vm.ovf", machine.descriptor().into_bytes()),
        ("vm-disk1.vmdk", DISK.to_vec()),
    ];
    let listed: Vec<_> = listed
        .iter()
        .map(|(name, c)| (*name, c.as_slice()))
        .collect();
    write("vm.mf", manifest(&listed).as_bytes()).unwrap();
    let package = Package::open(&path, &BackingPolicy::Refuse)
        .unwrap()
        .unwrap();
    assert_eq!(content(&package, 0), DISK);
    verified(&package).unwrap();
    // A disk that is a descriptor itself opens nothing beside it.
    let options = package.options(&OpenOptions::default());
    assert_eq!(options.backing, BackingPolicy::Sealed);

    // Names of others need permission, and links are not followed.
    write("other.vmdk", DISK).unwrap();
    write("vm.ovf", vm("other.vmdk").descriptor().as_bytes()).unwrap();
    let error = Package::open(&path, &BackingPolicy::Refuse).unwrap_err();
    assert!(error.to_string().contains("not called after it"), "{error}");
    let inside = BackingPolicy::Inside(dir.path().to_owned());
    let package = Package::open(&path, &inside).unwrap().unwrap();
    assert_eq!(content(&package, 0), DISK);
    // That is about the package's files; what they name no manifest lists.
    let allowed = OpenOptions {
        backing: inside,
        ..OpenOptions::default()
    };
    assert_eq!(package.options(&allowed).backing, BackingPolicy::Sealed);
    std::fs::remove_file(dir.path().join("vm-disk1.vmdk")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("vm-disk1.vmdk")).unwrap();
    write("vm.ovf", machine.descriptor().as_bytes()).unwrap();
    let error = Package::open(&path, &BackingPolicy::Refuse).unwrap_err();
    assert!(error.to_string().contains("no regular file"), "{error}");
}
