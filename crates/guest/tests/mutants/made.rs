//! Small disks, hives and archives that are damaged, and that fuzz targets begin with.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use diskimg::ReadAt as _;
use testkit::guest::archive::archive;
use testkit::guest::hive::{Data, HiveBuilder, Lists};
use testkit::guest::lvm::Layout;
use testkit::guest::repaired;
use testkit::guest::table::{ESP, Partition};
use testkit::guest::{array, lvm, table};
use testkit::hostile::{Sparse, assert_seed};

/// What the fuzz target `target` found, and the names that it was given.
pub(crate) fn found(target: &str) -> Vec<(String, Sparse)> {
    let regressions = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/regressions");
    let entries = std::fs::read_dir(regressions.join(target)).unwrap();
    entries
        .map(|entry| entry.unwrap().path())
        .filter_map(|path| {
            let bytes = std::fs::read(&path).unwrap();
            let (flags, rest) = bytes.split_first()?;
            let disk = Sparse::parse(rest);
            let disk = match flags & 1 {
                1 => repaired(disk),
                _ => disk,
            };
            Some((path.display().to_string(), disk))
        })
        .collect()
}

fn folder(target: &str) -> PathBuf {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
    seeds.join(target)
}

/// The small file systems of fuzz target `target`.
pub(crate) fn seeds(target: &str) -> Vec<Sparse> {
    let mut paths: Vec<_> = std::fs::read_dir(folder(target))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| Sparse::parse(&std::fs::read(path).unwrap()[1..]))
        .collect()
}

/// A FAT16 with zeros behind it, and `head` in front of it.
fn behind(head: &[u8]) -> Sparse {
    let fat = &seeds("guest-fat")[1];
    let mut disk = Sparse::default().grown(head.len() as u64 + fat.len() + (1 << 20));
    disk.write(0, head);
    for (at, len) in fat.stretches() {
        disk.write(head.len() as u64 + at, &fat.bytes(at, len as usize));
    }
    disk
}

const UUID: &str = "kqmJ2a10011001100110011001abcdef";
const EXTENT: usize = 64 << 10;
const VOLUMES: &[lvm::Logical] = &[("lv-root", &[(32, 0), (16, 32)]), ("swap", &[(2, 50)])];
const PLAIN: Layout = Layout {
    size: 4 << 20,
    data: 64 << 10,
    area: 60 << 10,
    text: 512,
};

/// Physical volumes whose text stands at the beginning of its area, and wraps at its end.
pub(crate) fn lvm() -> [Sparse; 2] {
    let wraps = Layout {
        text: (60 << 10) - 512,
        ..PLAIN
    };
    [PLAIN, wraps].map(|layout| {
        let text = lvm::text("vg-sys", UUID, layout, EXTENT, VOLUMES);
        behind(&lvm::head(UUID, layout, &text))
    })
}

/// Half of a mirror.
pub(crate) fn array() -> Sparse {
    let member = array::mirror(&vec![0; 3 << 20]);
    behind(&member[..array::DATA])
}

fn part(kind: [u8; 16], start: u64, sectors: u64) -> Partition {
    Partition {
        kind,
        start,
        sectors,
    }
}

pub(crate) fn gpt() -> Sparse {
    let mut whole = vec![0; 5 << 20];
    let parts = [
        part(ESP, 2048, 6144),
        part(ESP, 64, 512),
        part(ESP, 1000, 9),
    ];
    table::gpt(&mut whole, &parts);
    behind(&whole[..1 << 20])
}

/// A primary partition, and logical ones in a chain.
pub(crate) fn mbr() -> Sparse {
    let part = |kind: u8, start, sectors| part([kind; 16], start, sectors);
    let mut head = vec![0; 1 << 20];
    let parts = [part(0xef, 2048, 6144), part(5, 64, 1900)];
    table::mbr(&mut head, 7, Some(0), &parts);
    for (at, next) in [(64, 600), (664, 1200), (1264, 0)] {
        let links = [part(0x83, 16, 512), part(5, next, 600)];
        let links = &links[..1 + usize::from(next > 0)];
        table::mbr(&mut head[at * 512..], 0, None, links);
    }
    behind(&head)
}

/// Hives with each kind of list.
pub(crate) fn hives() -> [Vec<u8>; 3] {
    [Lists::Lh, Lists::Li, Lists::Ri].map(|lists| {
        let mut builder = HiveBuilder::new();
        builder.lists = lists;
        let service = r"ControlSet001\Services\viostor";
        (0..9)
            .fold(builder, |builder, number| {
                let path = format!(r"ControlSet001\Services\service{number}");
                builder.value(&path, "Start", Data::number(number))
            })
            .value("Select", "Current", Data::number(1))
            .value(service, "Größe", Data::text("groß"))
            .value(service, "Filters", Data::texts(&["partmgr", "x"]))
            // Three segments, most of which is never looked at.
            .value("ZLarge", "", Data::bytes(&[7; 40_000]))
            .build()
    })
}

/// Early microcode, and what comes behind it.
pub(crate) fn archives() -> (Vec<u8>, Vec<u8>) {
    let early = archive(&[("kernel/x86/microcode/GenuineIntel.bin", "code")]);
    let drivers = "usr/lib/modules/6.1.0/kernel/drivers";
    let main = archive(&[
        (&format!("{drivers}/block/virtio_blk.ko.xz"), "x"),
        (&format!("{drivers}/net/virtio_net.ko"), ""),
        ("etc/lvm/lvm.conf", "devices { filter = [] }"),
        ("./etc/udev/rules.d/70-persistent-net.rules", "r"),
        ("usr/sbin/lvm", "x"),
    ]);
    (early, main)
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let level = flate2::Compression::fast();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn lz4(bytes: &[u8]) -> Vec<u8> {
    let packed = lz4_flex::block::compress(bytes);
    let length = (packed.len() as u32).to_le_bytes();
    [b"\x02\x21\x4c\x18".as_slice(), &length, &packed].concat()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// The seeds that need no tools. Packed ones are left out: packers change.
#[test]
fn seeds_of_guests_are_what_the_makers_make() {
    let [plain, wrapped] = lvm();
    for (name, disk) in [
        ("lvm", plain),
        ("lvm-wrapped", wrapped),
        ("array", array()),
        ("gpt", gpt()),
        ("mbr", mbr()),
    ] {
        let bytes = disk.bytes(0, usize::try_from(disk.len()).unwrap());
        assert_seed(&folder("guest-volumes").join(name), &bytes);
    }
    let [lh, li, ri] = hives();
    let (early, main) = archives();
    let text = lvm::text("vg-sys", UUID, PLAIN, EXTENT, VOLUMES);
    for (target, name, content) in [
        ("guest-hive", "lh", lh),
        ("guest-hive", "li", li),
        ("guest-hive", "ri", ri),
        ("guest-initramfs", "plain", [early, main].concat()),
        ("guest-lvm-text", "group", text),
    ] {
        let path = folder(target).join(name);
        if std::env::var_os("UPDATE_SEEDS").is_some() {
            std::fs::write(&path, &content).unwrap();
        }
        let stored = std::fs::read(&path).unwrap();
        assert!(stored == content, "{}", path.display());
    }
}
