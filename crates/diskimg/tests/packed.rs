//! Raw disks that are compressed: what real programs pack is read back, and nothing else is.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests"
)]

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use diskimg::{
    DiskImage, DiskImageExt, Error, ErrorKind, ExtentKind, Format, GuestOffset, Hint, MemorySource,
    OpenOptions, Opened, PipeImage, PipeOptions, ReadAt, Result, Stop, check_source, open,
    open_pipe, open_source, pipe,
};
use tempfile::TempDir;
use testkit::content::Content;

/// Each way to compress, with the program that does it.
const PACKERS: [(&str, &str); 8] = [
    ("gz", "gzip -c"),
    ("xz", "xz -c -0"),
    ("xz", "xz -c -0 --check=sha256 --block-size=300KiB"),
    ("zst", "zstd -qc"),
    ("zst", "zstd -qc --long=27 -1"),
    ("bz2", "bzip2 -c -1"),
    ("lz4", "lz4 -qc"),
    ("lz4", "lz4 -qc -BD -BX --content-size -B4"),
];

/// Five blocks and a bit.
fn disk() -> Vec<u8> {
    Content::new(5, (5 * pipe::BLOCK_BYTES) as usize + 1536, 512, 1 << 20).bytes
}

fn options(size: Option<u64>) -> PipeOptions {
    PipeOptions {
        name: "the pipe".into(),
        size,
        format: None,
        readers: 1,
        stop: Stop::never(),
    }
}

/// What `command` makes of `bytes`; nothing when it is not installed.
fn pack(command: &str, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut words = command.split(' ');
    let program = words.next().unwrap();
    if testkit::missing(program) {
        return None;
    }
    let mut child = Command::new(program)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let bytes = bytes.to_vec();
    let writer = thread::spawn(move || stdin.write_all(&bytes));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "{command}");
    Some(output.stdout)
}

fn from_pipe(bytes: &[u8], size: Option<u64>) -> Result<PipeImage> {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let bytes = bytes.to_vec();
    thread::spawn(move || {
        for piece in bytes.chunks(7777) {
            if writer.write_all(piece).is_err() {
                return;
            }
        }
    });
    open_pipe(File::from(OwnedFd::from(reader)), options(size), &[])
}

fn from_file(bytes: &[u8], size: Option<u64>) -> Result<Opened> {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a disk.gz");
    std::fs::write(&path, bytes).unwrap();
    let options = OpenOptions {
        packed_size: size,
        ..OpenOptions::default()
    };
    open(&path, &options, &[])
}

/// All blocks, in order.
fn read_all(image: &dyn DiskImage) -> Result<Vec<u8>> {
    let mut bytes = vec![0xa5; image.virtual_size() as usize];
    for (index, block) in bytes.chunks_mut(pipe::BLOCK_BYTES as usize).enumerate() {
        image.read_at(GuestOffset(index as u64 * pipe::BLOCK_BYTES), block)?;
    }
    Ok(bytes)
}

/// An image that was opened in one of the two ways.
trait Image {
    fn image(&self) -> &dyn DiskImage;
}

impl Image for PipeImage {
    fn image(&self) -> &dyn DiskImage {
        self
    }
}

impl Image for Opened {
    fn image(&self) -> &dyn DiskImage {
        self.image.as_ref()
    }
}

#[track_caller]
fn assert_disk(image: Result<impl Image>, disk: &[u8], what: &str) {
    let image = image.unwrap_or_else(|error| panic!("{what}: {error}"));
    let found = read_all(image.image()).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(found == disk, "{what}: other bytes");
}

/// The error of opening or of reading.
fn error_of(image: Result<impl Image>) -> Error {
    match image.and_then(|image| read_all(image.image())) {
        Ok(_) => panic!("this was read"),
        Err(error) => error,
    }
}

#[test]
fn what_programs_compress_is_read_from_pipes_and_files() {
    let disk = disk();
    let size = Some(disk.len() as u64);
    for (_, command) in PACKERS {
        let Some(packed) = pack(command, &disk) else {
            continue;
        };
        let image = from_pipe(&packed, size).unwrap();
        let details = image.details();
        assert!(details.streamed);
        assert!(command.starts_with(&details.compression.unwrap()[..2]));
        assert_disk(Ok(image), &disk, command);
        // A file can be counted.
        assert_disk(from_file(&packed, None), &disk, command);
    }
}

#[test]
fn several_members_are_one_disk_and_zeros_behind_them_are_none_of_it() {
    let disk = disk();
    let size = Some(disk.len() as u64);
    for (_, command) in PACKERS {
        let (first, second) = disk.split_at(3_000_007);
        let (Some(first), Some(second)) = (pack(command, first), pack(command, second)) else {
            continue;
        };
        let both = [first, second].concat();
        assert_disk(from_pipe(&both, size), &disk, command);
        let padded = [&both[..], &[0; 4096]].concat();
        assert_disk(from_pipe(&padded, size), &disk, command);
        let rubbish = [&both[..], b"rubbish"].concat();
        let error = error_of(from_pipe(&rubbish, size));
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{command}: {error}");
        assert!(error.to_string().contains("follow its end"), "{error}");
    }
}

#[test]
fn a_stream_that_ends_early_or_is_damaged_is_never_a_shorter_disk() {
    let disk = disk();
    let size = Some(disk.len() as u64);
    for (_, command) in PACKERS {
        let Some(packed) = pack(command, &disk) else {
            continue;
        };
        for cut in [1, 4, 5, 8, 9, 40, packed.len() / 2, packed.len() - 40] {
            let error = error_of(from_pipe(&packed[..packed.len() - cut], size));
            let early = error.to_string().contains("early") || error.to_string().contains("ended");
            assert!(early, "{command}: {cut} bytes less: {error}");
            // Nor does counting take it for whole.
            let short = from_file(&packed[..packed.len() - cut], None);
            assert!(short.is_err(), "{command}: {cut} bytes less were counted");
        }
        let mut damaged = packed.clone();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 0x10;
        let error = error_of(from_pipe(&damaged, size));
        let kinds = [ErrorKind::Corrupt, ErrorKind::Truncated];
        assert!(kinds.contains(&error.kind()), "{command}: {error}");
    }
}

#[test]
fn the_size_is_needed_on_a_pipe_and_held_against_what_comes() {
    let disk = disk();
    let len = disk.len() as u64;
    let packed = pack("gzip -c", &disk).unwrap();
    let error = error_of(from_pipe(&packed, None));
    assert!(error.hint() == Some(&Hint::GiveSize), "{error}");
    for (size, said) in [(len - 512, "continues"), (len + 512, "ended after")] {
        let error = error_of(from_pipe(&packed, Some(size)));
        assert!(error.to_string().contains(said), "{error}");
        let error = error_of(from_file(&packed, Some(size)));
        assert!(error.to_string().contains(said), "{error}");
    }
    // zstd tells it, when it knew it.
    let dir = TempDir::new().unwrap();
    let raw = dir.path().join("disk.raw");
    std::fs::write(&raw, &disk).unwrap();
    let command = format!("zstd -qc {}", raw.display());
    let Some(packed) = pack(&command, b"") else {
        return;
    };
    assert_disk(from_pipe(&packed, None), &disk, "zstd tells the size");
    let error = error_of(from_pipe(&packed, Some(len + 512)));
    assert!(error.to_string().contains("ended after"), "{error}");
    // Its first frame speaks of itself only.
    let twice = [packed.as_slice(), &packed].concat();
    let both = [disk.as_slice(), &disk].concat();
    let error = error_of(from_pipe(&twice, None));
    assert!(error.hint() == Some(&Hint::CorrectSize), "{error}");
    assert_disk(from_pipe(&twice, Some(2 * len)), &both, "the size is given");
    let image = from_file(&twice, Some(2 * len));
    assert_disk(image, &both, "the size is given");
}

#[test]
fn a_bomb_ends_at_the_announced_size() {
    let packed = pack("gzip -c -9", &vec![0; 64 << 20]).unwrap();
    let error = error_of(from_pipe(&packed, Some(4 << 20)));
    assert!(error.to_string().contains("continues after"), "{error}");
}

#[test]
fn what_is_no_raw_disk_inside_is_refused_by_name() {
    let mut qcow2 = vec![0; 1 << 20];
    qcow2[..4].copy_from_slice(b"QFI\xfb");
    qcow2[7] = 3;
    let mut vdi = vec![0; 1 << 20];
    vdi[0x40..0x44].copy_from_slice(&[0x7f, 0x10, 0xda, 0xbe]);
    let mut iso = vec![0; 1 << 20];
    iso[0x8001..0x8006].copy_from_slice(b"CD001");
    let text = b"this is a script\n".repeat(1000);
    let nested = pack("gzip -c", &disk()).unwrap();
    for (content, name) in [
        (&qcow2, "is qcow2"),
        (&vdi, "is vdi"),
        (&iso, "is ISO 9660"),
        (&nested, "is gzip"),
        (&text, "is text"),
    ] {
        let Some(packed) = pack("xz -c", content) else {
            return;
        };
        let errors = [
            error_of(from_pipe(&packed, Some(content.len() as u64))),
            error_of(from_pipe(&packed, None)),
            error_of(from_file(&packed, None)),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
            assert!(error.to_string().contains(name), "{error}");
            assert!(
                error.hint().unwrap().to_string().contains("xz -dc <"),
                "{error}"
            );
        }
    }
}

#[test]
fn windows_and_dictionaries_have_caps() {
    let disk = disk();
    let size = Some(disk.len() as u64);
    // What the header asks for counts, not what is used of it.
    for command in [
        "zstd -qc --ultra --long=28",
        "xz -c --lzma2=preset=0,dict=128MiB",
    ] {
        if let Some(packed) = pack(command, &disk) {
            let error = error_of(from_pipe(&packed, size));
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{command}: {error}");
        }
    }
}

#[test]
fn raw_that_is_named_is_not_decoded() {
    let packed = pack("gzip -c", &disk()).unwrap();
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("disk.raw");
    std::fs::write(&path, &packed).unwrap();
    let named = open(&path, &OpenOptions::of(Some(Format::Raw)), &[]).unwrap();
    assert_eq!(named.image.details().compression, None);
    let len = packed.len().next_multiple_of(512);
    assert_eq!(named.image.virtual_size(), len as u64);
}

/// What `tar` makes of a file `name` with `content`.
fn tarred(flags: &[&str], files: &[(&str, &Content)]) -> Option<Vec<u8>> {
    let dir = TempDir::new().unwrap();
    let mut tar = Command::new("tar");
    tar.args(flags).args(["-cz", "-C"]).arg(dir.path());
    for (name, content) in files {
        content.write_sparse(&dir.path().join(name)).unwrap();
        tar.arg(name);
    }
    if testkit::missing("tar") {
        return None;
    }
    let output = tar.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    Some(output.stdout)
}

#[test]
fn the_disk_of_a_cloud_export_is_read_from_its_archive() {
    // Many holes, so that the map needs blocks of its own.
    let content = Content::new(9, 9 << 20, 4096, 64 << 10);
    for flags in [
        &["--format=oldgnu", "-S"][..],
        &["--format=oldgnu"],
        &["--format=gnu", "-S"],
    ] {
        let Some(packed) = tarred(flags, &[("disk.raw", &content)]) else {
            return;
        };
        let what = format!("{flags:?}");
        assert_disk(from_pipe(&packed, None), &content.bytes, &what);
        assert_disk(from_file(&packed, None), &content.bytes, &what);
        let error = error_of(from_pipe(&packed, Some(1 << 20)));
        assert!(
            error.to_string().contains("1048576 were announced"),
            "{error}"
        );
        for len in [packed.len() / 2, packed.len() - 9] {
            assert!(
                from_pipe(&packed[..len], None)
                    .and_then(|i| read_all(i.image()))
                    .is_err()
            );
        }
    }
}

#[test]
fn other_archives_are_refused_with_the_command_that_unpacks_them() {
    let content = Content::new(9, 1 << 20, 4096, 64 << 10);
    let flags = &["--format=oldgnu"][..];
    for (files, said) in [
        (&["web.vmdk"][..], "begins with \"web.vmdk\""),
        (&["disk.raw", "more"], "more than disk.raw"),
        (&["Vagrantfile", "metadata.json", "box.img"], "Vagrant box"),
        (&["box.ovf", "box-disk1.vmdk"], "Vagrant box"),
        (&["box.img"], "Vagrant box"),
    ] {
        let files: Vec<_> = files.iter().map(|name| (*name, &content)).collect();
        let Some(packed) = tarred(flags, &files) else {
            return;
        };
        let error = error_of(from_pipe(&packed, None));
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.to_string().contains(said), "{error}");
        assert!(
            error.hint().unwrap().to_string().contains("tar -xf"),
            "{error}"
        );
    }
}

#[test]
fn an_export_of_xenserver_is_named_with_the_command_that_helps() {
    let dir = TempDir::new().unwrap();
    std::fs::create_dir(dir.path().join("Ref:5")).unwrap();
    for name in ["ova.xml", "Ref:5/00000000"] {
        std::fs::write(dir.path().join(name), [1; 3000]).unwrap();
    }
    let line = "cd \"$0\" && tar --format=ustar -czf - ova.xml Ref:5/00000000";
    let packed = Command::new("sh")
        .args(["-c", line])
        .arg(dir.path())
        .output();
    let packed = packed.unwrap().stdout;
    for error in [
        error_of(from_pipe(&packed, None)),
        error_of(from_file(&packed, None)),
    ] {
        assert!(error.to_string().contains("XVA"), "{error}");
        let hint = error.hint().unwrap().to_string();
        assert!(hint.contains("xe vdi-export"), "{hint}");
    }
}

#[test]
fn bytes_by_chance_are_refused_and_never_hang() {
    let disk = disk();
    for (_, command) in PACKERS {
        let Some(packed) = pack(command, &disk[..200_000]) else {
            continue;
        };
        for seed in 0..60 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut bytes = packed.clone();
            for _ in 0..rng.usize(1..4) {
                // Mostly where the headers are.
                let at = match rng.bool() {
                    true => rng.usize(..40),
                    false => rng.usize(..bytes.len()),
                };
                bytes[at] = rng.u8(..);
            }
            if let Ok(image) = from_pipe(&bytes, Some(200_000)) {
                let read = read_all(image.image());
                assert!(read.is_err() || read.unwrap().len() == 200_192);
            }
        }
    }
}

#[test]
fn a_compressed_file_is_read_in_any_order_and_again() {
    let disk = disk();
    let packed = pack("gzip -c", &disk).unwrap();
    let opened = from_file(&packed, None).unwrap();
    assert_eq!(opened.file_len, packed.len() as u64);
    let details = opened.image.details();
    assert_eq!(details.compression.as_deref(), Some("gzip"));
    assert!(details.streamed);
    for at in [disk.len() - 512, 0, 4 << 20, 1 << 20, disk.len() - 512] {
        let mut sector = [0; 512];
        opened
            .image
            .read_at(GuestOffset(at as u64), &mut sector)
            .unwrap();
        assert!(sector == disk[at..at + 512], "{at:#x}");
    }
    assert_disk(Ok(opened), &disk, "again");
}

#[test]
fn what_an_archive_says_is_a_hole_is_one() {
    let content = Content::new(9, 9 << 20, 4096, 64 << 10);
    let Some(packed) = tarred(&["--format=oldgnu", "-S"], &[("disk.raw", &content)]) else {
        return;
    };
    let image = from_file(&packed, None).unwrap().image;
    let extents: Vec<_> = image.all_extents().map(Result::unwrap).collect();
    assert!(extents.iter().any(|extent| extent.kind == ExtentKind::Hole));
    for extent in extents {
        let (start, end) = (extent.start.0 as usize, extent.end().0 as usize);
        let zero = content.bytes[start..end].iter().all(|byte| *byte == 0);
        assert!(zero || extent.kind == ExtentKind::Data, "{extent:?}");
    }
    assert!(image.memory_bound(1) < 256 << 20);
}

#[test]
fn counting_ends_on_request() {
    let packed = pack("gzip -c -9", &vec![0; 64 << 20]).unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let stop = {
        let asked = Arc::clone(&asked);
        Stop::when(move || asked.fetch_add(1, Ordering::SeqCst) >= 5)
    };
    let options = OpenOptions {
        stop,
        ..OpenOptions::default()
    };
    let source = Arc::new(MemorySource(packed));
    let error = open_source(source, &options, &[]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
    assert_eq!(asked.load(Ordering::SeqCst), 6);
}

#[test]
fn a_check_decodes_all_of_a_file_whatever_it_says_of_its_size() {
    let disk = disk();
    let dir = TempDir::new().unwrap();
    let raw = dir.path().join("disk.raw");
    std::fs::write(&raw, &disk).unwrap();
    let Some(packed) = pack(&format!("zstd -qc {}", raw.display()), b"") else {
        return;
    };
    let checked = |bytes: &[u8]| {
        let source: Arc<dyn ReadAt> = Arc::new(MemorySource(bytes.to_vec()));
        check_source(&source, &OpenOptions::default(), &[], &|| false).unwrap()
    };
    assert!(checked(&packed).is_sound());
    let report = checked(&packed[..packed.len() - 40]);
    assert_eq!((report.errors, report.format), (1, Format::Raw));
    assert!(report.findings[0].message.contains("early"), "{report:?}");
    let mut damaged = packed.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0x10;
    assert_eq!(checked(&damaged).errors, 1);
}

#[test]
fn the_footer_of_another_format_at_the_end_is_seen_when_the_end_is_there() {
    let mut disk = disk();
    let footer = disk.len() - 512;
    disk[footer..footer + 8].copy_from_slice(b"conectix");
    let packed = pack("gzip -c", &disk).unwrap();
    for size in [None, Some(disk.len() as u64)] {
        let error = error_of(from_file(&packed, size));
        assert!(error.to_string().contains("is vhd"), "{error}");
    }
}
