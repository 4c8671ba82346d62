//! Swap, what is encrypted, and what is known by a mark alone.

use super::super::field::le64;
use super::super::slice::Slice;
use super::{Found, label, uuid};
use crate::volume::Content;

/// Sizes of memory pages; swap has its mark at the end of the first one.
const PAGES: [u64; 5] = [4096, 8192, 16384, 32768, 65536];
/// Marks of swap that holds a sleeping system.
const ASLEEP: [&[u8]; 4] = [b"S1SUSPEND", b"S2SUSPEND", b"ULSUSPEND", b"LINHIB0001"];

/// Marks at their offsets, of what is recognised and not read.
const MARKS: &[(u64, &[u8], &str)] = &[
    (0, b"hsqs", "SquashFS"),
    (0, b"\x0d\x0d\xd0\xc1", "VMFS"),
    (3, b"EXFAT   ", "exFAT"),
    (3, b"ReFS\0\0\0\0", "ReFS"),
    (32, b"NXSB", "APFS"),
    (1024, b"\xe2\xe1\xf5\xe0", "EROFS"),
    (1024, b"\x10\x20\xf5\xf2", "F2FS"),
    (1024, b"H+\0\x04", "HFS+"),
    (1024, b"HX\0\x05", "HFS+"),
    (
        4096 + 24,
        b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81",
        "bcache",
    ),
    (9564, b"\x54\x19\x01\x00", "UFS1"),
    (32_768, b"JFS1", "JFS"),
    (32_769, b"CD001", "ISO 9660"),
    (65_536 + 52, b"ReIsEr", "ReiserFS"),
    (65_536 + 1372, b"\x19\x01\x54\x19", "UFS2"),
];

/// Where ZFS keeps its uberblocks, of 1 KiB or more each.
const UBERBLOCKS: (u64, usize) = (128 << 10, 128 << 10);
const UBERBLOCK: u64 = 0x00ba_b10c;

/// What is encrypted.
pub(super) fn encrypted(head: &[u8]) -> Option<Found> {
    if head.starts_with(b"LUKS\xba\xbe") {
        let text = head.get(168..208).and_then(label);
        return Some(Found {
            uuid: text.map(|text| String::from_utf8_lossy(&text).into_owned()),
            ..Found::new(Content::Encrypted("LUKS"))
        });
    }
    let bitlocker = head.get(3..11) == Some(b"-FVE-FS-");
    bitlocker.then(|| Found::new(Content::Encrypted("BitLocker")))
}

/// Swap space.
pub(super) fn swap(slice: &Slice) -> Result<Option<Found>, String> {
    for page in PAGES {
        let mark = slice.head(page - 10, 10)?;
        let hibernated = ASLEEP.iter().any(|asleep| mark.starts_with(asleep));
        if mark == b"SWAPSPACE2" || hibernated {
            let head = slice.head(1024, 64)?;
            return Ok(Some(Found {
                uuid: head.get(12..28).and_then(uuid),
                label: head.get(28..44).and_then(label),
                ..Found::new(Content::Swap { hibernated })
            }));
        }
    }
    Ok(None)
}

/// What has a mark at a certain place.
pub(super) fn other(slice: &Slice, head: &[u8]) -> Result<Option<Found>, String> {
    for (at, mark, name) in MARKS {
        let near = usize::try_from(*at).ok().and_then(|at| head.get(at..));
        let is = match near {
            Some(rest) if rest.len() >= mark.len() => rest.starts_with(mark),
            _ => slice.head(*at, mark.len())? == *mark,
        };
        if is {
            return Ok(Some(Found::new(Content::Other(name))));
        }
    }
    let (at, length) = UBERBLOCKS;
    let zfs = slice
        .head(at, length)?
        .chunks(1024)
        .map(|block| le64(block, 0))
        .any(|mark| mark == UBERBLOCK || mark.swap_bytes() == UBERBLOCK);
    Ok(zfs.then(|| Found::new(Content::Other("ZFS"))))
}
