//! Formats that are recognised so that they are never taken for a raw disk.

use crate::hint::Hint;

/// A format that imgferry does not read.
#[derive(Debug)]
pub struct Foreign {
    /// What it is called.
    pub name: &'static str,
    /// What the user can do, with a command where there is one. `IMAGE` stands for the path, which
    /// [`crate::Error::in_file`] puts there.
    pub advice: &'static str,
    marks: &'static [Mark],
}

/// Where a format's mark stands.
#[derive(Debug)]
enum Mark {
    Head(usize, &'static [u8]),
    Tail(usize, &'static [u8]),
    /// Properties, dictionary and length that make sense together.
    Lzma,
    /// A header whose checksum is right.
    Tar,
}

/// Formats that a disk without partitions may have from its first byte on.
const WHOLE_DISKS: [&str; 5] = [
    "SquashFS",
    "cramfs",
    "LUKS",
    "ISO 9660 (a CD or DVD)",
    "UDF (a CD or DVD)",
];

impl Foreign {
    /// What the user can do.
    pub(crate) fn hint(&self) -> Hint {
        match WHOLE_DISKS.contains(&self.name) {
            true => Hint::OpenAsRawOr(self.advice.to_owned()),
            false => Hint::Text(self.advice.to_owned()),
        }
    }

    /// Whether a file that begins with `head` and ends with `tail` has a mark of the format.
    pub(super) fn claims(&self, head: &[u8], tail: &[u8]) -> bool {
        self.marks.iter().any(|mark| match *mark {
            Mark::Head(offset, magic) => starts_with(head, offset, magic),
            Mark::Tail(from_end, magic) => ends_with(tail, from_end, magic),
            Mark::Lzma => is_lzma(head),
            Mark::Tar => is_tar(head),
        })
    }
}

/// Whether `magic` is `offset` bytes into `head`.
pub(super) fn starts_with(head: &[u8], offset: usize, magic: &[u8]) -> bool {
    head.get(offset..)
        .is_some_and(|rest| rest.starts_with(magic))
}

/// Whether `magic` is `from_end` bytes before the end of `tail`.
pub(super) fn ends_with(tail: &[u8], from_end: usize, magic: &[u8]) -> bool {
    tail.len()
        .checked_sub(from_end)
        .and_then(|at| tail.get(at..))
        .is_some_and(|rest| rest.starts_with(magic))
}

/// Whether a file begins as `lzma` and `xz --format=lzma` write it. The format has no magic number:
/// the properties are those of every preset, the dictionary has 2^n or 3 * 2^n bytes, and the
/// length is unknown or one that a file can have.
fn is_lzma(head: &[u8]) -> bool {
    const LONGEST: u64 = 1 << 48;
    let Some((0x5d, rest)) = head.split_first() else {
        return false;
    };
    let Some((dictionary, rest)) = rest.split_first_chunk() else {
        return false;
    };
    let Some(length) = rest.first_chunk() else {
        return false;
    };
    let (dictionary, length) = (u32::from_le_bytes(*dictionary), u64::from_le_bytes(*length));
    let usual =
        dictionary.is_power_of_two() || dictionary % 3 == 0 && (dictionary / 3).is_power_of_two();
    dictionary >= 4096 && usual && (length == u64::MAX || (1..LONGEST).contains(&length))
}

/// Whether a file begins with the header of a tar member, with or without the `ustar` of newer
/// ones: its checksum is the sum of all its bytes, with spaces in place of the checksum.
fn is_tar(head: &[u8]) -> bool {
    const CHECKSUM: std::ops::Range<usize> = 148..156;
    let Some(header) = head.first_chunk::<512>() else {
        return false;
    };
    let stored = header.get(CHECKSUM).unwrap_or_default();
    let digits: Vec<u8> = stored
        .iter()
        .copied()
        .filter(|byte| !matches!(byte, b' ' | 0))
        .collect();
    let stored = std::str::from_utf8(&digits)
        .ok()
        .and_then(|digits| u32::from_str_radix(digits, 8).ok());
    let sum: u32 = header
        .iter()
        .enumerate()
        .map(|(at, byte)| match CHECKSUM.contains(&at) {
            true => u32::from(b' '),
            false => u32::from(*byte),
        })
        .sum();
    header.first() != Some(&0) && stored == Some(sum)
}

const CONVERT: &str = "convert it first: qemu-img convert -O qcow2 IMAGE disk.qcow2";

/// Marks as the formats' own documents give them.
pub(super) static FOREIGN: &[Foreign] = &[
    Foreign {
        name: "QED",
        advice: CONVERT,
        marks: &[Mark::Head(0, b"QED\0")],
    },
    Foreign {
        name: "QCOW version 1",
        advice: CONVERT,
        marks: &[Mark::Head(0, b"QFI\xfb\0\0\0\x01")],
    },
    Foreign {
        name: "Parallels",
        advice: CONVERT,
        marks: &[
            Mark::Head(0, b"WithoutFreeSpace"),
            Mark::Head(0, b"WithouFreSpacExt"),
        ],
    },
    Foreign {
        name: "DMG",
        advice: CONVERT,
        marks: &[Mark::Tail(512, b"koly")],
    },
    Foreign {
        name: "an Apple sparse image",
        advice: "convert it on a Mac first: hdiutil convert IMAGE -format UDTO -o disk",
        marks: &[Mark::Head(0, b"sprs\0\0\0"), Mark::Head(0, b"sba1")],
    },
    Foreign {
        name: "Bochs",
        advice: CONVERT,
        marks: &[Mark::Head(0, b"Bochs Virtual HD Image")],
    },
    Foreign {
        name: "EWF (EnCase)",
        advice: "export it as a raw disk first: ewfexport -f raw -t disk IMAGE",
        marks: &[
            Mark::Head(0, b"EVF\x09\x0d\x0a\xff\0"),
            Mark::Head(0, b"EVF2\x0d\x0a\x81\0"),
        ],
    },
    Foreign {
        name: "a Proxmox backup (VMA)",
        advice: "unpack it first, on a Proxmox host: vma extract IMAGE disks",
        marks: &[Mark::Head(0, b"VMA\0")],
    },
    Foreign {
        name: "an Android sparse image",
        advice: "unpack it first: simg2img IMAGE disk.raw",
        marks: &[Mark::Head(0, &[0x3a, 0xff, 0x26, 0xed])],
    },
    Foreign {
        name: "a partition saved by partclone",
        advice: "it holds one partition and no disk; restore the whole disk with Clonezilla, or \
            the partition alone: partclone.restore -s IMAGE -o /dev/PARTITION",
        marks: &[Mark::Head(0, b"partclone-image")],
    },
    Foreign {
        name: "a partition saved by ntfsclone",
        advice: "it holds one partition and no disk; restore it into a partition: ntfsclone \
            --restore-image --overwrite /dev/PARTITION IMAGE",
        marks: &[Mark::Head(0, b"\0ntfsclone-image")],
    },
    Foreign {
        name: "a partition saved by Partimage",
        advice: "it holds one partition and no disk; restore it into a partition: partimage \
            restore /dev/PARTITION IMAGE",
        marks: &[Mark::Head(0, b"PaRtImAgE-VoLuMe")],
    },
    Foreign {
        name: "a Windows image file (WIM or ESD)",
        advice: "it holds files and no disk; apply it to a disk that is partitioned: \
            wimlib-imagex apply IMAGE 1 /dev/PARTITION",
        marks: &[Mark::Head(0, b"MSWIM\0\0\0"), Mark::Head(0, b"WLPWM\0\0\0")],
    },
    Foreign {
        name: "SquashFS",
        advice: "it holds files and no disk; unpack it into a file system: unsquashfs -d files \
            IMAGE",
        marks: &[Mark::Head(0, b"hsqs"), Mark::Head(0, b"sqsh")],
    },
    Foreign {
        name: "cramfs",
        advice: "it holds files and no disk; copy them into a file system",
        marks: &[Mark::Head(0, &[0x45, 0x3d, 0xcd, 0x28])],
    },
    Foreign {
        name: "LUKS",
        advice: "the cloud cannot boot an encrypted disk: decrypt it first, and give \
            /dev/mapper/plain: cryptsetup open --readonly IMAGE plain; a disk that only holds \
            data can stay encrypted",
        marks: &[Mark::Head(0, b"LUKS\xba\xbe")],
    },
    Foreign {
        name: "ISO 9660 (a CD or DVD)",
        advice: "a CD image is no disk; called NAME.iso it is registered as installation medium \
            by: imgferry import IMAGE",
        marks: &[Mark::Head(0x8001, b"CD001")],
    },
    Foreign {
        name: "UDF (a CD or DVD)",
        advice: "a DVD image is no disk; its files can be unpacked: 7z x IMAGE",
        marks: &[
            Mark::Head(0x8001, b"BEA01"),
            Mark::Head(0x8001, b"NSR02"),
            Mark::Head(0x8001, b"NSR03"),
        ],
    },
    // From standard input, programs that unpack ask for no extension.
    Foreign {
        name: "gzip",
        advice: "unpack it first, imgferry reads the disk inside: gunzip -c < IMAGE > disk.img",
        marks: &[Mark::Head(0, &[0x1f, 0x8b])],
    },
    Foreign {
        name: "compress (.Z)",
        advice: "unpack it first, imgferry reads the disk inside: gunzip -c < IMAGE > disk.img",
        marks: &[Mark::Head(0, &[0x1f, 0x9d])],
    },
    Foreign {
        name: "xz",
        advice: "unpack it first, imgferry reads the disk inside: xz -dc < IMAGE > disk.img",
        marks: &[Mark::Head(0, b"\xfd7zXZ\0")],
    },
    Foreign {
        name: "lzma",
        advice: "unpack it first, imgferry reads the disk inside: xz -dc --format=lzma < IMAGE > \
            disk.img",
        marks: &[Mark::Lzma],
    },
    Foreign {
        name: "bzip2",
        advice: "unpack it first, imgferry reads the disk inside: bzip2 -dc < IMAGE > disk.img",
        marks: &[Mark::Head(0, b"BZh")],
    },
    Foreign {
        name: "zstd",
        advice: "unpack it first, imgferry reads the disk inside: zstd -dc < IMAGE > disk.img",
        marks: &[
            Mark::Head(0, &[0x28, 0xb5, 0x2f, 0xfd]),
            // A frame to skip, with which pzstd begins.
            Mark::Head(0, &[0x50, 0x2a, 0x4d, 0x18]),
        ],
    },
    Foreign {
        name: "lz4",
        advice: "unpack it first, imgferry reads the disk inside: lz4 -dc < IMAGE > disk.img",
        marks: &[
            Mark::Head(0, &[0x04, 0x22, 0x4d, 0x18]),
            Mark::Head(0, &[0x02, 0x21, 0x4c, 0x18]),
        ],
    },
    Foreign {
        name: "lzop",
        advice: "unpack it first, imgferry reads the disk inside: lzop -dc < IMAGE > disk.img",
        marks: &[Mark::Head(0, b"\x89LZO\0\r\n\x1a\n")],
    },
    Foreign {
        name: "lzip",
        advice: "unpack it first, imgferry reads the disk inside: lzip -dc < IMAGE > disk.img",
        marks: &[Mark::Head(0, b"LZIP")],
    },
    Foreign {
        name: "lrzip",
        advice: "unpack it first, imgferry reads the disk inside: lrzip -d -o disk.img IMAGE",
        marks: &[Mark::Head(0, b"LRZI")],
    },
    Foreign {
        name: "zip",
        advice: "unpack it first, imgferry reads the disk inside: unzip IMAGE",
        marks: &[
            Mark::Head(0, b"PK\x03\x04"),
            Mark::Head(0, b"PK\x05\x06"),
            Mark::Head(0, b"PK\x07\x08"),
        ],
    },
    Foreign {
        name: "7z",
        advice: "unpack it first, imgferry reads the disk inside: 7z x IMAGE",
        marks: &[Mark::Head(0, b"7z\xbc\xaf\x27\x1c")],
    },
    Foreign {
        name: "RAR",
        advice: "unpack it first, imgferry reads the disk inside: unrar x IMAGE",
        marks: &[Mark::Head(0, b"Rar!\x1a\x07")],
    },
    Foreign {
        name: "a cabinet file",
        advice: "unpack it first, imgferry reads the disk inside: cabextract IMAGE",
        marks: &[Mark::Head(0, b"MSCF\0\0\0\0")],
    },
    Foreign {
        name: "cpio",
        advice: "unpack it first, imgferry reads the disk inside: cpio -idm < IMAGE",
        marks: &[
            Mark::Head(0, b"070701"),
            Mark::Head(0, b"070702"),
            Mark::Head(0, b"070707"),
        ],
    },
    Foreign {
        name: "tar (or OVA)",
        advice: "unpack it first, imgferry reads the disk inside: tar -xf IMAGE",
        marks: &[Mark::Head(257, b"ustar"), Mark::Tar],
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Probe;
    use crate::source::MemorySource;

    fn probe(bytes: &[u8]) -> Probe {
        Probe::read(&MemorySource(bytes.to_vec())).unwrap()
    }

    /// The header of a member in the form before POSIX.
    fn old_tar() -> Vec<u8> {
        let mut header = vec![0; 512];
        header[..7].copy_from_slice(b"ova.xml");
        header[100..107].copy_from_slice(b"0000644");
        header[124..135].copy_from_slice(b"00000606500");
        header[156] = b'0';
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum::<u32>() + 8 * 32;
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        header
    }

    const LZMA: &[u8] = b"\x5d\0\0\x80\0\xff\xff\xff\xff\xff\xff\xff\xff\0";

    #[test]
    fn an_encrypted_disk_of_data_may_stay_encrypted() {
        let luks = FOREIGN.iter().find(|format| format.name == "LUKS").unwrap();
        let expected = "can stay encrypted; open it as raw if it is a disk all the same";
        assert!(luks.hint().to_string().ends_with(expected));
    }

    #[test]
    fn formats_of_whole_disks_are_known_ones() {
        for name in WHOLE_DISKS {
            assert!(FOREIGN.iter().any(|format| format.name == name), "{name}");
        }
    }

    #[test]
    fn every_foreign_mark_is_found_where_it_stands() {
        for format in FOREIGN {
            for mark in format.marks {
                let mut bytes = vec![0_u8; 64 << 10];
                let end = bytes.len();
                let (at, magic) = match *mark {
                    Mark::Head(at, magic) => (at, magic.to_vec()),
                    Mark::Tail(from_end, magic) => (end - from_end, magic.to_vec()),
                    Mark::Lzma => (0, LZMA.to_vec()),
                    Mark::Tar => (0, old_tar()),
                };
                bytes[at..at + magic.len()].copy_from_slice(&magic);
                let found: Vec<_> = probe(&bytes).foreign().map(|f| f.name).collect();
                assert_eq!(found, [format.name]);
            }
        }
        assert_eq!(probe(&[0; 40_000]).foreign().count(), 0);
        assert_eq!(probe(b"").foreign().count(), 0);
    }

    #[test]
    fn what_only_resembles_a_format_without_a_magic_number_is_left() {
        let mut tar = old_tar();
        tar[0] ^= 1;
        let mut dictionary = LZMA.to_vec();
        dictionary[2] = 1;
        let mut length = LZMA.to_vec();
        length[12] = 0x7f;
        for bytes in [tar, dictionary, length, b"\x5d\0\0\x80".to_vec()] {
            assert_eq!(probe(&bytes).foreign().count(), 0, "{bytes:x?}");
        }
    }
}
