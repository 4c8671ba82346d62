#![expect(
    clippy::cast_possible_truncation,
    reason = "test data are far smaller than any of these types"
)]

use std::rc::Rc;

use diskimg::partitions::{BootMode, Partition, PartitionTable, Scheme};

use super::*;
use crate::Budget;

/// A disk of 64 sectors that begins with `code`; sector 2 holds the core of GRUB.
fn disk(code: &[u8]) -> Rc<Media> {
    let mut bytes = vec![0; 64 * 512];
    bytes[..code.len()].copy_from_slice(code);
    bytes[2 * 512] = 0x52;
    bytes[4 * 512] = 0x53;
    bytes[8 * 512 + 510..9 * 512].copy_from_slice(&[0x55, 0xaa]);
    let size = bytes.len() as u64;
    let source = move |at: u64, buf: &mut [u8]| {
        buf.copy_from_slice(&bytes[at as usize..][..buf.len()]);
        Ok(())
    };
    Rc::new(Media::new(Box::new(source), size, &Budget::default()))
}

/// A table with partitions of two sectors: first sector, type, active.
fn table(scheme: Scheme, partitions: &[(u64, &str, bool)]) -> PartitionTable {
    let partition = |(number, (start, kind, bootable)): (u32, &(u64, &str, bool))| Partition {
        number,
        start: start * 512,
        size: 1024,
        kind: "",
        type_id: (*kind).into(),
        label: None,
        uuid: None,
        bootable: *bootable,
        attributes: 0,
        content: None,
    };
    PartitionTable {
        scheme,
        sector_size: 512,
        id: None,
        entries: (1..).zip(partitions).map(partition).collect(),
        content: None,
        boot: BootMode::Unknown,
        boot_reason: String::new(),
        warnings: Vec::new(),
        least_size: 0,
        boot_code: true,
    }
}

fn grub(core: u64) -> Vec<u8> {
    let mut code = vec![0; 440];
    code[..3].copy_from_slice(b"\xeb\x63\x90");
    code[0x5c..0x64].copy_from_slice(&core.to_le_bytes());
    code[0x180..0x185].copy_from_slice(b"GRUB ");
    code
}

const WINDOWS: &[u8] = b"\x33\xc0\x8e\xd0\xbc\x00\x7c\x8e\xc0";

/// The rules that are broken on a disk with this code and table, for a server with a BIOS.
fn broken(code: &[u8], table: PartitionTable) -> Vec<&'static str> {
    let mut facts = Facts {
        bios: Some(collect(&disk(code), &table)),
        table: Some(table),
        ..Facts::default()
    };
    facts.wanted.firmware = Some("bios".into());
    let broken = |rule: &&Rule| {
        let (findings, unknown) = rule.judge(&facts);
        assert_eq!(unknown, None);
        !findings.is_empty()
    };
    RULES.iter().filter(broken).map(|rule| rule.id).collect()
}

#[test]
fn grub_finds_its_core_or_not() {
    let mbr = || table(Scheme::Mbr, &[(8, "0x83", true)]);
    let gpt = |start| {
        table(
            Scheme::Gpt,
            &[(start, BIOS_BOOT, false), (8, "linux", false)],
        )
    };
    assert!(broken(&grub(2), mbr()).is_empty());
    assert!(broken(&grub(2), gpt(2)).is_empty());
    for (core, table) in [(3, mbr()), (64, mbr()), (u64::MAX, mbr()), (2, gpt(4))] {
        assert_eq!(broken(&grub(core), table), ["boot-grub-core"], "{core}");
    }
}

#[test]
fn a_core_that_begins_otherwise_is_undecided() {
    let table = table(Scheme::Mbr, &[(8, "0x83", true)]);
    let mut facts = Facts {
        bios: Some(collect(&disk(&grub(4)), &table)),
        table: Some(table),
        ..Facts::default()
    };
    facts.wanted.firmware = Some("bios".into());
    let (findings, unknown) = RULES[1].judge(&facts);
    assert!(findings.is_empty());
    assert!(unknown.unwrap().reason.contains("0x53"));
}

#[test]
fn generic_code_starts_the_one_active_partition() {
    let mbr = |partitions: &[_]| table(Scheme::Mbr, partitions);
    assert!(broken(WINDOWS, mbr(&[(8, "0x07", true), (12, "0x07", false)])).is_empty());
    for partitions in [
        vec![(8, "0x07", true), (12, "0x07", true)],
        vec![(8, "0x07", false)],
        vec![(12, "0x07", true)],
        vec![(80, "0x07", true)],
    ] {
        assert_eq!(
            broken(WINDOWS, mbr(&partitions)),
            ["boot-mbr-code"],
            "{partitions:?}"
        );
    }
}

#[test]
fn a_first_sector_without_code_starts_nothing() {
    let mbr = table(Scheme::Mbr, &[(8, "0x83", true)]);
    assert_eq!(broken(&[], mbr), ["boot-mbr-code"]);
    // Nothing says which firmware the disk is for.
    let gpt = table(Scheme::Gpt, &[(8, "linux", false)]);
    let facts = |failed: Option<String>| Facts {
        bios: Some(collect(&disk(&[]), &gpt)),
        efi: Some(crate::start::efi::Efi {
            failed,
            ..Default::default()
        }),
        table: Some(gpt.clone()),
        ..Facts::default()
    };
    let findings = |facts: &Facts| RULES[0].judge(facts).0.len();
    assert_eq!(findings(&facts(None)), 1);
    assert_eq!(findings(&facts(Some("damaged".to_owned()))), 0);
}

#[test]
fn freebsd_starts_from_a_partition_of_its_own() {
    let table = || table(Scheme::Gpt, &[(8, FREEBSD_BOOT, false)]);
    assert!(broken(b"\xfc\xe8", table()).is_empty());
    let bios = collect(&disk(b"\xfc\xe8"), &table()).unwrap();
    assert!(bios.starts(&table()) && bios.is_meant(&table()));
}

#[test]
fn a_disk_for_uefi_is_not_held_against_these_rules() {
    // Windows writes its code onto GPT disks, too.
    let gpt = || table(Scheme::Gpt, &[(8, ESP, false)]);
    assert!(broken(WINDOWS, gpt()).is_empty());
    assert!(broken(&[], gpt()).is_empty());
    let bios = collect(&disk(WINDOWS), &gpt()).unwrap();
    assert!(!bios.starts(&gpt()));
}
