//! What a volume holds, by its superblock: kind, UUID, label, and the state it was left in.

mod btrfs;
mod ext;
mod fat;
mod marks;
mod ntfs;
mod xfs;

use super::slice::Slice;
use crate::volume::{Content, Health};

/// What was found on a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) content: Content,
    /// As `blkid` prints it.
    pub(crate) uuid: Option<String>,
    pub(crate) label: Option<Vec<u8>>,
    pub(crate) health: Health,
    /// Bytes that are free, where the superblock says so.
    pub(crate) free: Option<u64>,
}

impl Found {
    pub(super) fn new(content: Content) -> Self {
        Self {
            content,
            uuid: None,
            label: None,
            health: Health::default(),
            free: None,
        }
    }
}

/// Bytes at the beginning of a volume that every recognition looks at.
const HEAD: usize = 8192;
/// Bytes at the beginning of a volume that are zero if nothing is on it. All marks lie in them.
const BEGINNING: usize = 256 << 10;

/// What is on `slice`. Physical volumes and array members are not told from unknown content here.
///
/// # Errors
/// Those of reading.
pub(crate) fn recognise(slice: &Slice) -> Result<Found, String> {
    let head = slice.head(0, HEAD)?;
    // Encrypted volumes first: BitLocker leaves the shape of a FAT boot sector.
    if let Some(found) = marks::encrypted(&head) {
        return Ok(found);
    }
    if let Some(found) = xfs::recognise(slice, &head)? {
        return Ok(found);
    }
    if let Some(found) = ntfs::recognise(slice, &head)? {
        return Ok(found);
    }
    // Before swap, whose mark outlives the making of an ext file system.
    if let Some(found) = ext::recognise(slice, &head) {
        return Ok(found);
    }
    if let Some(found) = marks::swap(slice)? {
        return Ok(found);
    }
    if let Some(found) = btrfs::recognise(slice)? {
        return Ok(found);
    }
    if let Some(found) = fat::recognise(slice, &head)? {
        return Ok(found);
    }
    if let Some(found) = marks::other(slice, &head)? {
        return Ok(found);
    }
    let beginning = slice.head(0, BEGINNING)?;
    let empty = beginning.iter().all(|byte| *byte == 0);
    Ok(Found::new(match empty {
        true => Content::Empty,
        false => Content::Unknown,
    }))
}

/// The name of something that is recognised by its mark alone and not read, if `slice` has one: a
/// file system beside it may be what was there before.
///
/// # Errors
/// Those of reading.
pub(crate) fn other_mark(slice: &Slice) -> Result<Option<&'static str>, String> {
    let head = slice.head(0, HEAD)?;
    Ok(
        match marks::other(slice, &head)?.map(|found| found.content) {
            Some(Content::Other(name)) => Some(name),
            _ => None,
        },
    )
}

/// The longest claimed length that is more than the volume has.
fn longer(slice: &Slice, claimed: u64) -> Option<u64> {
    (claimed > slice.size()).then_some(claimed)
}

/// Bytes as a UUID is written.
fn uuid(bytes: &[u8]) -> Option<String> {
    let bytes: &[u8; 16] = bytes.first_chunk()?;
    if *bytes == [0; 16] {
        return None;
    }
    let mut text = String::with_capacity(36);
    for (position, byte) in bytes.iter().enumerate() {
        if matches!(position, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    Some(text)
}

/// A label up to its first zero; none when it is empty.
fn label(bytes: &[u8]) -> Option<Vec<u8>> {
    let label = bytes.split(|byte| *byte == 0).next()?;
    (!label.is_empty()).then(|| label.to_vec())
}

#[cfg(test)]
mod tests {
    use super::super::slice::tests::disk;
    use super::*;
    use crate::volume::FileSystem;

    /// A volume of `size` bytes with these bytes at these offsets.
    fn volume(size: usize, parts: &[(usize, &[u8])]) -> Found {
        let mut bytes = vec![0; size];
        for (at, part) in parts {
            bytes[*at..at + part.len()].copy_from_slice(part);
        }
        recognise(&Slice::new(&disk(bytes), 0, size as u64)).unwrap()
    }

    #[test]
    fn marks_of_what_is_not_opened_are_known() {
        for (at, mark, content) in [
            (0, b"LUKS\xba\xbe".as_slice(), Content::Encrypted("LUKS")),
            (3, b"-FVE-FS-", Content::Encrypted("BitLocker")),
            (66_908, &[0x19, 0x01, 0x54, 0x19], Content::Other("UFS2")),
            (
                131_072,
                &[0x0c, 0xb1, 0xba, 0, 0, 0, 0, 0],
                Content::Other("ZFS"),
            ),
            (0, b"hsqs", Content::Other("SquashFS")),
            (0, b"", Content::Empty),
            (200_000, b"text", Content::Unknown),
        ] {
            assert_eq!(volume(512 << 10, &[(at, mark)]).content, content);
        }
    }

    #[test]
    fn a_mark_that_was_left_behind_does_not_hide_a_file_system() {
        let both = volume(64 << 10, &[(4086, b"SWAPSPACE2"), (1080, &[0x53, 0xef])]);
        assert_eq!(both.content, Content::FileSystem(FileSystem::Ext));
    }

    #[test]
    fn swap_says_whether_a_system_sleeps_in_it() {
        let swap = volume(
            64 << 10,
            &[(4086, b"SWAPSPACE2"), (1036, &[0x11; 16]), (1052, b"swap")],
        );
        assert_eq!(swap.content, Content::Swap { hibernated: false });
        assert_eq!(
            swap.uuid.as_deref(),
            Some("11111111-1111-1111-1111-111111111111")
        );
        assert_eq!(swap.label.as_deref(), Some(b"swap".as_slice()));
        for mark in [b"S1SUSPEND\0", b"LINHIB0001"] {
            let asleep = volume(64 << 10, &[(4086, mark)]);
            assert_eq!(asleep.content, Content::Swap { hibernated: true });
        }
    }

    fn ext(state: u16, incompatible: u32, blocks: u32, errors: u32) -> Found {
        volume(
            64 << 10,
            &[
                (1080, &[0x53, 0xef]),
                (1024 + 4, &blocks.to_le_bytes()),
                (1024 + 12, &10_u32.to_le_bytes()),
                (1024 + 58, &state.to_le_bytes()),
                (1024 + 96, &incompatible.to_le_bytes()),
                (1024 + 104, &[0x22; 16]),
                (1024 + 120, b"root"),
                (1024 + 0x194, &errors.to_le_bytes()),
            ],
        )
    }

    #[test]
    fn ext_tells_how_it_was_left() {
        let clean = ext(1, 0, 64, 0);
        assert_eq!(clean.content, Content::FileSystem(FileSystem::Ext));
        assert_eq!(clean.label.as_deref(), Some(b"root".as_slice()));
        assert_eq!(clean.free, Some(10 << 10));
        assert_eq!(clean.health, Health::default());
        assert!(ext(1, 4, 64, 0).health.dirty.is_some());
        assert!(ext(0, 0, 64, 0).health.dirty.is_some());
        assert!(ext(3, 0, 64, 0).health.errors.is_some());
        assert!(ext(1, 0, 64, 7).health.errors.unwrap().contains('7'));
        assert_eq!(ext(1, 0, 65, 0).health.longer, Some(65 << 10));
    }

    fn fat(second: u32, state: u8) -> Found {
        volume(
            128 << 10,
            &[
                (11, &512_u16.to_le_bytes()),
                (13, &[1]),
                (14, &32_u16.to_le_bytes()),
                (16, &[2]),
                (32, &200_u32.to_le_bytes()),
                (36, &1_u32.to_le_bytes()),
                (65, &[state]),
                (67, &0x6e31_0001_u32.to_le_bytes()),
                (71, b"ESP        FAT32   "),
                (510, &[0x55, 0xaa]),
                (32 * 512 + 4, &second.to_le_bytes()),
            ],
        )
    }

    #[test]
    fn fat_tells_how_it_was_left() {
        let clean = fat(0x0fff_ffff, 0);
        assert_eq!(clean.content, Content::FileSystem(FileSystem::Fat));
        assert_eq!(clean.uuid.as_deref(), Some("6E31-0001"));
        assert_eq!(clean.label.as_deref(), Some(b"ESP".as_slice()));
        assert_eq!(clean.health, Health::default());
        assert!(fat(0x07ff_ffff, 0).health.dirty.is_some());
        assert!(fat(0x0fff_ffff, 1).health.dirty.is_some());
        assert!(fat(0x0bff_ffff, 0).health.errors.is_some());
    }

    #[test]
    fn btrfs_tells_its_devices_and_a_log_to_be_replayed() {
        let found = |log: u64, devices: u64| {
            volume(
                128 << 10,
                &[
                    (65_536 + 32, &[0x33; 16]),
                    (65_536 + 64, b"_BHRfS_M"),
                    (65_536 + 96, &log.to_le_bytes()),
                    (65_536 + 136, &devices.to_le_bytes()),
                    (65_536 + 209, &(256_u64 << 10).to_le_bytes()),
                    (65_536 + 299, b"data"),
                ],
            )
        };
        let one = found(0, 1);
        assert_eq!(one.content, Content::FileSystem(FileSystem::Btrfs));
        assert_eq!(one.label.as_deref(), Some(b"data".as_slice()));
        assert_eq!(
            (one.health.devices, one.health.longer),
            (None, Some(256 << 10))
        );
        assert!(one.health.dirty.is_none());
        let two = found(4096, 2);
        assert_eq!(two.health.devices, Some(2));
        assert!(two.health.dirty.is_some());
    }
}
