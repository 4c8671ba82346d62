//! Types of partitions by name.

/// Names of MBR types. Source: util-linux' `sfdisk --list-types`, cut to what disks of virtual
/// machines have.
const MBR: &[(u8, &str)] = &[
    (0x01, "FAT12"),
    (0x04, "FAT16 (small)"),
    (0x05, "Extended"),
    (0x06, "FAT16"),
    (0x07, "NTFS or exFAT"),
    (0x0b, "FAT32"),
    (0x0c, "FAT32 (LBA)"),
    (0x0e, "FAT16 (LBA)"),
    (0x0f, "Extended (LBA)"),
    (0x11, "Hidden FAT12"),
    (0x12, "OEM diagnostics"),
    (0x14, "Hidden FAT16 (small)"),
    (0x16, "Hidden FAT16"),
    (0x17, "Hidden NTFS or exFAT"),
    (0x1b, "Hidden FAT32"),
    (0x1c, "Hidden FAT32 (LBA)"),
    (0x27, "Windows recovery"),
    (0x42, "Windows dynamic disk"),
    (0x63, "GNU HURD"),
    (0x82, "Linux swap"),
    (0x83, "Linux"),
    (0x85, "Linux extended"),
    (0x8e, "Linux LVM"),
    (0xa5, "FreeBSD"),
    (0xa6, "OpenBSD"),
    (0xa8, "Apple UFS"),
    (0xa9, "NetBSD"),
    (0xaf, "Apple HFS or HFS+"),
    (0xbe, "Solaris boot"),
    (0xbf, "Solaris"),
    (0xee, "GPT protective"),
    (0xef, "EFI System"),
    (0xfb, "VMware VMFS"),
    (0xfc, "VMware swap"),
    (0xfd, "Linux RAID"),
];

const ESP: &str = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
const BIOS_BOOT: &str = "21686148-6449-6e6f-744e-656564454649";

/// Names of GPT types. Sources: UEFI Specification, section 5.3.3; systemd's Discoverable
/// Partitions Specification; util-linux' `sfdisk --list-types`.
const GPT: &[(&str, &str)] = &[
    (ESP, "EFI System"),
    (BIOS_BOOT, "BIOS boot"),
    ("024dee41-33e7-11d3-9d69-0008c781f39f", "MBR scheme"),
    ("0fc63daf-8483-4772-8e79-3d69d8477de4", "Linux"),
    (
        "4f68bce3-e8cd-4db1-96e7-fbcaf984b709",
        "Linux root (x86-64)",
    ),
    ("44479540-f297-41b2-9af7-d131d5f0458a", "Linux root (x86)"),
    ("b921b045-1df0-41c3-af44-4c6f280d3fae", "Linux root (ARM64)"),
    (
        "8484680c-9521-48c6-9c11-b0720656f69e",
        "Linux /usr (x86-64)",
    ),
    ("933ac7e1-2eb4-4f13-b844-0e14e2aef915", "Linux home"),
    ("3b8f8425-20e0-4f3b-907f-1a25a76f98e8", "Linux server data"),
    (
        "4d21b016-b534-45c2-a9fb-5c16e091fd2d",
        "Linux variable data",
    ),
    (
        "bc13c2ff-59e6-4262-a352-b275fd6f7172",
        "Linux extended boot",
    ),
    ("0657fd6d-a4ab-43c4-84e5-0933c84b4f4f", "Linux swap"),
    ("e6d6d379-f507-44c2-a23c-238f2a3df928", "Linux LVM"),
    ("a19d880f-05fc-4d3b-a006-743f0f84911e", "Linux RAID"),
    ("8da63339-0007-60c0-c436-083ac8230908", "Linux reserved"),
    ("ca7d7ccb-63ed-4c53-861c-1742536059cc", "Linux LUKS"),
    ("e3c9e316-0b5c-4db8-817d-f92df00215ae", "Microsoft Reserved"),
    (
        "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7",
        "Microsoft basic data",
    ),
    ("de94bba4-06d1-4d40-a16a-bfd50179d6ac", "Windows recovery"),
    (
        "5808c8aa-7e8f-42e0-85d2-e1e90434cfb3",
        "Windows LDM metadata",
    ),
    ("af9b60a0-1431-4f62-bc68-3311714a69ad", "Windows LDM data"),
    (
        "e75caf8f-f680-4cee-afa3-b001e56efc2d",
        "Windows Storage Spaces",
    ),
    ("83bd6b9d-7f41-11dc-be0b-001560b84f0f", "FreeBSD boot"),
    ("516e7cb4-6ecf-11d6-8ff8-00022d09712b", "FreeBSD data"),
    ("516e7cb5-6ecf-11d6-8ff8-00022d09712b", "FreeBSD swap"),
    ("516e7cb6-6ecf-11d6-8ff8-00022d09712b", "FreeBSD UFS"),
    ("516e7cba-6ecf-11d6-8ff8-00022d09712b", "FreeBSD ZFS"),
    (
        "6a898cc3-1dd2-11b2-99a6-080020736631",
        "Solaris /usr or ZFS",
    ),
    ("48465300-0000-11aa-aa11-00306543ecac", "Apple HFS+"),
    ("7c3457ef-0000-11aa-aa11-00306543ecac", "Apple APFS"),
    ("aa31e02a-400f-11db-9590-000c2911d1b8", "VMware VMFS"),
    ("9d275380-40ad-11db-bf97-000c2911d1b8", "VMware diagnostics"),
];

const UNKNOWN: &str = "unknown";

/// The name of an MBR type.
pub(super) fn mbr_name(kind: u8) -> &'static str {
    MBR.iter()
        .find(|(known, _)| *known == kind)
        .map_or(UNKNOWN, |(_, name)| name)
}

/// The name of a GPT type, given as [`guid`] writes it.
pub(super) fn gpt_name(guid: &str) -> &'static str {
    GPT.iter()
        .find(|(known, _)| *known == guid)
        .map_or(UNKNOWN, |(_, name)| name)
}

/// An MBR type as shown.
pub(super) fn mbr_id(kind: u8) -> String {
    format!("{kind:#04x}")
}

/// Whether the type is that of an EFI system partition.
pub(super) fn is_esp(type_id: &str) -> bool {
    type_id == ESP || type_id == "0xef"
}

/// Whether the type is that of the place for GRUB on a GPT disk.
pub(super) fn is_bios_boot(type_id: &str) -> bool {
    type_id == BIOS_BOOT
}

/// Whether the type is that of a partition that holds logical ones.
pub(super) fn is_extended(type_id: &str) -> bool {
    matches!(type_id, "0x05" | "0x0f" | "0x85")
}

/// A GUID as it is written: its first three fields are stored little-endian.
pub(super) fn guid(bytes: [u8; 16]) -> String {
    const ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    let mut text = String::with_capacity(36);
    for (position, index) in ORDER.into_iter().enumerate() {
        if matches!(position, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let byte = bytes.get(index).copied().unwrap_or_default();
        for digit in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(u32::from(digit), 16));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guids_are_written_as_the_uefi_specification_does() {
        let stored = b"\x28\x73\x2a\xc1\x1f\xf8\xd2\x11\xba\x4b\x00\xa0\xc9\x3e\xc9\x3b";
        assert_eq!(guid(*stored), ESP);
        // The bytes of this one spell a sentence.
        assert_eq!(guid(*b"Hah!IdontNeedEFI"), BIOS_BOOT);
        assert_eq!(gpt_name(BIOS_BOOT), "BIOS boot");
    }

    #[test]
    fn no_type_is_listed_twice() {
        for (at, (kind, _)) in MBR.iter().enumerate() {
            assert!(MBR[..at].iter().all(|(other, _)| other < kind), "{kind:#x}");
        }
        for (at, (guid, _)) in GPT.iter().enumerate() {
            assert!(GPT[..at].iter().all(|(other, _)| other != guid), "{guid}");
            assert_eq!(guid.len(), 36);
            assert_eq!(*guid, guid.to_lowercase());
        }
    }
}
