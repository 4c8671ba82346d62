//! Partition tables: written by the `gpt` crate and by hand, whole and damaged.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests"
)]

use std::io::Cursor;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use diskimg::RawImage;
use diskimg::partitions::{BootMode, PartitionTable, Scheme, read, read_front};
use diskimg::{FileSource, MemorySource};
use gpt::disk::LogicalBlockSize;
use gpt::mbr::ProtectiveMBR;
use gpt::partition_types::{self, Type};

const MIB: usize = 1 << 20;

fn image(disk: &[u8]) -> RawImage {
    RawImage::open(Arc::new(MemorySource(disk.to_vec()))).unwrap()
}

fn table(disk: &[u8]) -> PartitionTable {
    read(&image(disk)).unwrap()
}

/// Number, start, size, type and label of each partition.
fn rows(table: &PartitionTable) -> Vec<(u32, u64, u64, &str, &str)> {
    let row = |entry: &diskimg::partitions::Partition| {
        (entry.number, entry.start, entry.size, entry.kind)
    };
    table
        .entries
        .iter()
        .map(|entry| {
            let (number, start, size, kind) = row(entry);
            (
                number,
                start,
                size,
                kind,
                entry.label.as_deref().unwrap_or(""),
            )
        })
        .collect()
}

/// A disk of `len` bytes with a GPT that the `gpt` crate wrote.
fn gpt_disk(len: usize, sector: usize, partitions: &[(&str, u64, Type)]) -> Vec<u8> {
    let mut disk = vec![0; len];
    let block = match sector {
        512 => LogicalBlockSize::Lb512,
        _ => LogicalBlockSize::Lb4096,
    };
    ProtectiveMBR::with_lb_size(u32::try_from(len / sector - 1).unwrap())
        .overwrite_lba0(&mut Cursor::new(&mut disk[..]))
        .unwrap();
    let mut written = gpt::GptConfig::new()
        .writable(true)
        .logical_block_size(block)
        .create_from_device(Cursor::new(&mut disk[..]), None)
        .unwrap();
    for (name, size, kind) in partitions {
        written
            .add_partition(name, *size, kind.clone(), 0, None)
            .unwrap();
    }
    written.write().unwrap();
    disk
}

/// Writes an entry of the record at `record`.
fn put(disk: &mut [u8], record: usize, index: usize, entry: (u8, u8, u32, u32)) {
    let (status, kind, start, count) = entry;
    let at = record + 446 + index * 16;
    disk[at] = status;
    disk[at + 4] = kind;
    disk[at + 8..at + 12].copy_from_slice(&start.to_le_bytes());
    disk[at + 12..at + 16].copy_from_slice(&count.to_le_bytes());
    disk[record + 510..record + 512].copy_from_slice(&[0x55, 0xaa]);
}

fn put_ext4(disk: &mut [u8], at: usize, label: &str) {
    disk[at + 1080..at + 1082].copy_from_slice(&[0x53, 0xef]);
    // Incompatible feature "extents".
    disk[at + 1120..at + 1124].copy_from_slice(&0x40_u32.to_le_bytes());
    disk[at + 1144..at + 1144 + label.len()].copy_from_slice(label.as_bytes());
}

fn cloud_image() -> Vec<u8> {
    gpt_disk(
        64 * MIB,
        512,
        &[
            ("bios", MIB as u64, partition_types::BIOS),
            ("esp \u{202e}\u{1b}[2J", 8 << 20, partition_types::EFI),
            ("root", 16 << 20, partition_types::LINUX_FS),
            ("lvm", 16 << 20, partition_types::LINUX_LVM),
        ],
    )
}

#[test]
fn a_gpt_lists_type_place_and_label_of_each_partition() {
    let mut disk = cloud_image();
    let before = table(&disk);
    let root = before.entries[2].start as usize;
    put_ext4(&mut disk, root, "cloudimg-root");
    let esp = before.entries[1].start as usize;
    disk[esp + 82..esp + 90].copy_from_slice(b"FAT32   ");
    disk[esp + 510..esp + 512].copy_from_slice(&[0x55, 0xaa]);
    let lvm = before.entries[3].start as usize;
    disk[lvm + 512..lvm + 520].copy_from_slice(b"LABELONE");
    disk[lvm + 536..lvm + 544].copy_from_slice(b"LVM2 001");
    let table = table(&disk);
    assert_eq!((table.scheme, table.sector_size), (Scheme::Gpt, 512));
    let rows = rows(&table);
    assert_eq!(rows[0].3, "BIOS boot");
    // A label cannot steer the terminal.
    assert_eq!(rows[1].4, "esp \\u{202e}\\u{1b}[2J");
    assert_eq!((rows[1].2, rows[1].3), (8 << 20, "EFI System"));
    assert_eq!(
        (rows[2].2, rows[2].3, rows[2].4),
        (16 << 20, "Linux", "root")
    );
    assert_eq!(rows[3].3, "Linux LVM");
    let contents: Vec<_> = table
        .entries
        .iter()
        .map(|entry| entry.content.as_ref().map(|content| content.kind))
        .collect();
    assert_eq!(
        contents,
        [
            None,
            Some("FAT32"),
            Some("ext4"),
            Some("LVM2 physical volume")
        ]
    );
    let label = table.entries[2].content.as_ref().unwrap().label.as_deref();
    assert_eq!(label, Some("cloudimg-root"));
    assert_eq!(table.warnings, Vec::<String>::new());
}

#[test]
fn a_gpt_of_4096_byte_sectors_is_read() {
    let partitions = [("esp", 8 << 20, partition_types::EFI)];
    let disk = gpt_disk(64 * MIB, 4096, &partitions);
    let table = table(&disk);
    assert_eq!((table.scheme, table.sector_size), (Scheme::Gpt, 4096));
    assert_eq!(table.entries[0].size, 8 << 20);
    assert_eq!(table.entries[0].start % 4096, 0);
    assert_eq!(table.warnings, Vec::<String>::new());
    let written = gpt::GptConfig::new()
        .logical_block_size(LogicalBlockSize::Lb4096)
        .open_from_device(Cursor::new(disk))
        .unwrap();
    let uuid = written.partitions()[&1].part_guid.to_string();
    assert_eq!(table.entries[0].uuid.as_deref(), Some(uuid.as_str()));
}

#[test]
fn the_backup_counts_when_the_primary_gpt_is_damaged() {
    let disk = cloud_image();
    let whole = table(&disk);
    // Header, its checksum, the entries; the whole of it.
    for damage in [520..521, 600..601, 1024..1025, 512..17408] {
        let mut broken = disk.clone();
        broken[damage.clone()]
            .iter_mut()
            .for_each(|byte| *byte ^= 0x5a);
        let found = table(&broken);
        assert_eq!(found.entries, whole.entries, "{damage:?}");
        assert_eq!(found.boot, BootMode::Both);
        let said = found.warnings.join("\n");
        assert!(
            said.contains("primary GPT is damaged"),
            "{damage:?}: {said}"
        );
    }
}

#[test]
fn a_damaged_backup_and_a_resized_disk_are_warnings() {
    let mut disk = cloud_image();
    let last = disk.len() - 512;
    disk[last + 20] ^= 1;
    let said = table(&disk).warnings.join("\n");
    assert!(
        said.contains("backup of the GPT is damaged: its checksum"),
        "{said}"
    );

    let mut grown = cloud_image();
    grown.resize(80 * MIB, 0);
    let found = table(&grown);
    assert_eq!(found.entries.len(), 4);
    let said = found.warnings.join("\n");
    assert!(said.contains("resized after it was partitioned"), "{said}");
    assert!(!said.contains("damaged"), "{said}");

    let shrunk = &cloud_image()[..20 * MIB];
    let said = table(shrunk).warnings.join("\n");
    assert!(said.contains("partition 3 ends at"), "{said}");
}

#[test]
fn both_gpts_damaged_is_a_warning_and_no_error() {
    let mut disk = cloud_image();
    disk[600] ^= 1;
    let last = disk.len() - 512;
    disk[last + 60] ^= 1;
    let found = table(&disk);
    assert_eq!(found.scheme, Scheme::Gpt);
    assert!(found.entries.is_empty());
    assert!(found.warnings[0].contains("the GPT is damaged"));
}

#[test]
fn numbers_of_a_gpt_are_held_against_the_disk_before_anything_is_read() {
    // Offsets in the header: length, entries' place, their count, their length.
    let fields = [(12, 4), (72, 8), (80, 4), (84, 4), (32, 8), (24, 8)];
    for (field, len) in fields {
        for value in [0, 1, 127, 1 << 20, u64::from(u32::MAX), u64::MAX] {
            let mut disk = cloud_image();
            let at = 512 + field;
            disk[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
            // A right checksum, so that the number itself is looked at.
            let header_len = u32::from_le_bytes(disk[524..528].try_into().unwrap()) as usize;
            disk[528..532].fill(0);
            let covered = 512 + header_len.min(512);
            let crc = libdeflater::crc32(&disk[512..covered]);
            disk[528..532].copy_from_slice(&crc.to_le_bytes());
            let found = table(&disk);
            assert_eq!(found.entries.len(), 4, "field {field} = {value:#x}");
        }
    }
}

/// A GPT whose first `broken` entries end before they begin.
fn with_broken_entries(broken: usize) -> Vec<u8> {
    let mut disk = cloud_image();
    let entries = 1024..1024 + 128 * 128;
    disk[entries.clone()].fill(0);
    for entry in 0..broken {
        let at = 1024 + entry * 128;
        disk[at] = 1;
        disk[at + 32..at + 40].copy_from_slice(&9_u64.to_le_bytes());
    }
    let crc = libdeflater::crc32(&disk[entries]);
    disk[512 + 88..512 + 92].copy_from_slice(&crc.to_le_bytes());
    disk[528..532].fill(0);
    let crc = libdeflater::crc32(&disk[512..512 + 92]);
    disk[528..532].copy_from_slice(&crc.to_le_bytes());
    disk
}

#[test]
fn at_most_32_warnings_are_given_and_the_last_one_says_that_there_are_more() {
    for (broken, given) in [(1, 1), (31, 31), (32, 32), (33, 32), (128, 32)] {
        let found = table(&with_broken_entries(broken));
        assert_eq!(found.scheme, Scheme::Gpt);
        assert_eq!(found.warnings.len(), given, "{broken} broken entries");
        let last = found.warnings.last().unwrap();
        assert_eq!(last.contains("more is wrong"), broken > 31, "{last}");
        assert!(found.warnings[0].contains("partition 1 begins at sector 9"));
    }
    // An MBR, most of whose logical partitions lie on each other.
    let mut disk = vec![0; 8 * MIB];
    put(&mut disk, 0, 0, (0, 0x05, 2048, 8192));
    for record in 0..100_u32 {
        let at = (2048 + record as usize) * 512;
        put(&mut disk, at, 0, (0, 0x83, 1, 50));
        put(&mut disk, at, 1, (0, 0x05, record + 1, 1));
    }
    let found = table(&disk);
    assert_eq!((found.entries.len(), found.warnings.len()), (101, 32));
    assert!(found.warnings[31].contains("the first 31 warnings are shown"));
}

#[test]
fn an_mbr_lists_primary_and_logical_partitions() {
    let mut disk = vec![0; 64 * MIB];
    disk[440..444].copy_from_slice(&0xcafe_0001_u32.to_le_bytes());
    put(&mut disk, 0, 0, (0x80, 0x83, 2048, 8192));
    put(&mut disk, 0, 1, (0, 0x07, 10240, 2048));
    put(&mut disk, 0, 2, (0, 0x0f, 20480, 40960));
    // Two logical partitions; the second record is counted from the extended partition's start.
    put(&mut disk, 20480 * 512, 0, (0, 0x82, 2048, 4096));
    put(&mut disk, 20480 * 512, 1, (0, 0x05, 8192, 8192));
    put(&mut disk, 28672 * 512, 0, (0, 0x8e, 2048, 4096));
    let found = table(&disk);
    assert_eq!((found.scheme, found.sector_size), (Scheme::Mbr, 512));
    assert_eq!(found.id.as_deref(), Some("0xcafe0001"));
    assert_eq!(
        rows(&found),
        [
            (1, 2048 * 512, 8192 * 512, "Linux", ""),
            (2, 10240 * 512, 2048 * 512, "NTFS or exFAT", ""),
            (3, 20480 * 512, 40960 * 512, "Extended (LBA)", ""),
            (5, 22528 * 512, 4096 * 512, "Linux swap", ""),
            (6, 30720 * 512, 4096 * 512, "Linux LVM", ""),
        ]
    );
    assert_eq!(found.warnings, Vec::<String>::new());
    assert_eq!(found.boot, BootMode::Bios);
    assert_eq!(found.boot_reason, "partition 1 is active");
    let uuids: Vec<_> = found
        .entries
        .iter()
        .map(|entry| entry.uuid.as_deref().unwrap())
        .collect();
    let numbers = ["01", "02", "03", "05", "06"];
    assert_eq!(uuids, numbers.map(|number| format!("cafe0001-{number}")));
}

#[test]
fn an_mbr_of_4096_byte_sectors_is_told_by_what_its_partitions_hold() {
    let mut disk = vec![0; 64 * MIB];
    put(&mut disk, 0, 0, (0, 0x83, 256, 1024));
    put_ext4(&mut disk, 256 * 4096, "data");
    let found = table(&disk);
    assert_eq!(found.sector_size, 4096);
    assert_eq!(found.entries[0].start, MIB as u64);
}

#[test]
fn a_disk_that_ends_before_its_second_sector_has_no_gpt_and_no_damaged_one() {
    for size in [512, 1024, 4096, 16_384] {
        for kind in [0x83, 0xee] {
            let mut disk = vec![0; size];
            disk[..3].copy_from_slice(&[0xfa, 0x31, 0xc0]);
            put(&mut disk, 0, 0, (0x80, kind, 1, 1));
            let found = table(&disk);
            // From two sectors on one that is said to be there is missing.
            let (scheme, boot) = match kind {
                0xee if size > 512 => (Scheme::Gpt, BootMode::Unknown),
                _ => (Scheme::Mbr, BootMode::Bios),
            };
            assert_eq!(
                (found.scheme, found.boot),
                (scheme, boot),
                "{size} {kind:#x}"
            );
            assert!(
                found
                    .warnings
                    .iter()
                    .all(|w| scheme == Scheme::Gpt || !w.contains("GPT"))
            );
        }
        let found = table(&vec![7; size]);
        assert_eq!(
            (found.scheme, found.warnings.len()),
            (Scheme::None, 0),
            "{size}"
        );
    }
}

#[test]
fn chains_of_logical_partitions_have_an_end() {
    let said = |chain: &[(usize, u32)]| {
        let mut disk = vec![0; 8 * MIB];
        put(&mut disk, 0, 0, (0, 0x05, 2048, 8192));
        for (record, next) in chain {
            put(&mut disk, record * 512, 0, (0, 0x83, 1, 1));
            put(&mut disk, record * 512, 1, (0, 0x05, *next, 10));
        }
        table(&disk).warnings.join("\n")
    };
    assert!(said(&[(2048, 0)]).contains("comes back to sector 2048"));
    assert!(said(&[(2048, 10), (2058, 20), (2068, 10)]).contains("comes back to sector 2058"));
    assert!(said(&[(2048, u32::MAX)]).contains("leaves the disk"));
    assert!(said(&[(2048, 100)]).contains("sector 2148 holds no record"));

    // As many records as fit, each in its own sector.
    let mut disk = vec![0; 8 * MIB];
    put(&mut disk, 0, 0, (0, 0x05, 2048, 8192));
    for record in 0..4000_u32 {
        let at = (2048 + record as usize) * 512;
        put(&mut disk, at, 0, (0, 0x83, 1, 1));
        put(&mut disk, at, 1, (0, 0x05, record + 1, 1));
    }
    let found = table(&disk);
    assert_eq!(found.entries.len(), 1 + 256);
    assert!(found.warnings.join("\n").contains("more than 256"));
}

#[test]
fn overlapping_partitions_and_those_past_the_end_are_warnings() {
    let mut disk = vec![0; 8 * MIB];
    put(&mut disk, 0, 0, (0, 0x83, 2048, 4096));
    put(&mut disk, 0, 1, (0, 0x83, 4096, 1024));
    put(&mut disk, 0, 2, (0, 0x83, 8192, u32::MAX));
    let found = table(&disk);
    assert_eq!(found.entries.len(), 3);
    let said = found.warnings.join("\n");
    assert!(
        said.contains("partition 2 begins at 0x200000, before the end of partition 1"),
        "{said}"
    );
    assert!(
        said.contains("partition 3 ends at 0x200003ffe00, the disk ends at 0x800000"),
        "{said}"
    );
}

#[test]
fn boot_modes_follow_from_what_firmware_looks_for() {
    let mode = |disk: &[u8]| table(disk).boot;
    let gpt = |kinds: &[Type]| {
        let list: Vec<_> = kinds
            .iter()
            .map(|kind| ("p", MIB as u64, kind.clone()))
            .collect();
        gpt_disk(16 * MIB, 512, &list)
    };
    use partition_types::{BIOS, EFI, LINUX_FS};
    assert_eq!(mode(&gpt(&[EFI, LINUX_FS])), BootMode::Uefi);
    assert_eq!(mode(&gpt(&[BIOS, LINUX_FS])), BootMode::Bios);
    assert_eq!(mode(&gpt(&[BIOS, EFI])), BootMode::Both);
    assert_eq!(mode(&gpt(&[LINUX_FS])), BootMode::Unknown);

    let mut data = vec![0; 8 * MIB];
    put(&mut data, 0, 0, (0, 0x83, 2048, 4096));
    assert_eq!(mode(&data), BootMode::Unknown);
    let mut with_code = data.clone();
    with_code[0] = 0xeb;
    assert_eq!(mode(&with_code), BootMode::Bios);
    let mut with_esp = with_code;
    put(&mut with_esp, 0, 1, (0, 0xef, 8192, 2048));
    assert_eq!(mode(&with_esp), BootMode::Uefi);

    assert_eq!(mode(&vec![0; MIB]), BootMode::Unknown);
    assert_eq!(mode(&[0; 512]), BootMode::Unknown);
    assert_eq!(BootMode::Both.firmware(), Some("uefi"));
}

#[test]
fn a_file_system_on_the_whole_disk_is_no_partition_table() {
    let mut ext4 = vec![0; 2 * MIB];
    put_ext4(&mut ext4, 0, "data");
    let found = table(&ext4);
    assert_eq!(found.scheme, Scheme::Superfloppy);
    assert_eq!(found.content.unwrap().kind, "ext4");

    // A FAT boot sector has the signature of an MBR, and text where the entries would be.
    let mut fat = vec![0; 2 * MIB];
    fat[54..62].copy_from_slice(b"FAT16   ");
    fat[43..54].copy_from_slice(b"DATA       ");
    fat[446..510].fill(b'x');
    fat[510..512].copy_from_slice(&[0x55, 0xaa]);
    let found = table(&fat);
    assert_eq!(found.scheme, Scheme::Superfloppy);
    let content = found.content.unwrap();
    assert_eq!(
        (content.kind, content.label.as_deref()),
        ("FAT16", Some("DATA"))
    );

    let mut xfs = vec![0; 2 * MIB];
    xfs[..4].copy_from_slice(b"XFSB");
    assert_eq!(table(&xfs).content.unwrap().kind, "XFS");
    assert_eq!(table(&vec![7; MIB]).scheme, Scheme::None);
}

#[test]
fn file_systems_of_mke2fs_are_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.img");
    for kind in ["ext2", "ext3", "ext4"] {
        std::fs::write(&path, vec![0; 8 * MIB]).unwrap();
        if !mke2fs(&path, kind) {
            eprintln!("skipped: there is no mke2fs");
            return;
        }
        let image = RawImage::open(Arc::new(FileSource::open(&path).unwrap())).unwrap();
        let content = read(&image).unwrap().content.unwrap();
        assert_eq!(
            (content.kind, content.label.as_deref()),
            (kind, Some("mark"))
        );
    }
}

fn mke2fs(path: &Path, kind: &str) -> bool {
    ["mke2fs", "/usr/sbin/mke2fs"].into_iter().any(|program| {
        Command::new(program)
            .args(["-q", "-F", "-L", "mark", "-t", kind])
            .arg(path)
            .status()
            .is_ok_and(|status| status.success())
    })
}

#[test]
fn no_first_sectors_make_the_reader_fail() {
    let mut rng = fastrand::Rng::with_seed(7);
    let whole = cloud_image();
    for round in 0..300 {
        let mut disk = whole[..MIB].to_vec();
        for _ in 0..rng.usize(1..40) {
            let at = match round % 3 {
                0 => rng.usize(440..512),
                1 => rng.usize(512..604),
                _ => rng.usize(1024..1536),
            };
            disk[at] = rng.u8(..);
        }
        if round % 2 == 0 {
            // Entries of an MBR rather than one that guards a GPT.
            for entry in 0..4 {
                disk[446 + entry * 16] &= 0x80;
                disk[450 + entry * 16] = *rng.choice(&[0x05, 0x0f, 0x83, 0xef]).unwrap();
            }
        }
        let found = table(&disk);
        assert!(found.warnings.len() <= 32);
    }
}

#[test]
fn a_disk_that_was_cut_off_is_shorter_than_its_table_says() {
    let gpt = gpt_disk(
        64 * MIB,
        512,
        &[("root", 16 * MIB as u64, partition_types::LINUX_FS)],
    );
    assert_eq!(table(&gpt).size_problem(gpt.len() as u64), None);
    // What is missing is the backup alone.
    let cut = &gpt[..48 * MIB];
    for table in [table(cut), read_front(&image(cut)).unwrap()] {
        let problem = table.size_problem(cut.len() as u64).unwrap();
        assert!(problem.contains("67108864"), "{problem}");
    }
    let said = table(cut).warnings.join("\n");
    assert!(said.contains("cut off"), "{said}");
    let mut mbr = vec![0; MIB];
    put(&mut mbr, 0, 0, (0x80, 0x83, 2048, 4096));
    let problem = table(&mbr).size_problem(mbr.len() as u64);
    assert!(problem.unwrap().contains("3145728"));
}

#[test]
fn sectors_of_4096_bytes_are_a_problem_on_volumes_of_512() {
    let list = [("esp", MIB as u64, partition_types::EFI)];
    assert_eq!(
        table(&gpt_disk(16 * MIB, 512, &list)).sector_problem(),
        None
    );
    let problem = table(&gpt_disk(16 * MIB, 4096, &list)).sector_problem();
    assert!(problem.unwrap().contains("4096"));
}

#[test]
fn what_has_neither_table_nor_file_system_nor_boot_code_is_blank() {
    let blank = |disk: &[u8]| table(disk).is_blank();
    assert!(blank(&vec![0; MIB]));
    let mut data = vec![7; MIB];
    assert!(blank(&data));
    data[510..512].copy_from_slice(&[0x55, 0xaa]);
    assert!(!blank(&data), "a boot sector");
    assert!(!blank(
        &[b"\xeb\x63\x90".as_slice(), &vec![0; MIB]].concat()
    ));
    for (at, mark) in [
        (0, b"hsqs".as_slice()),
        (0x1_0034, b"ReIsEr2Fs"),
        (0x1_055c, b"\x19\x01\x54\x19"),
        (1024, b"\x10\x20\xf5\xf2"),
    ] {
        let mut disk = vec![0; MIB];
        disk[at..at + mark.len()].copy_from_slice(mark);
        assert!(!blank(&disk), "{mark:x?}");
        assert_eq!(table(&disk).scheme, Scheme::Superfloppy);
    }
}
