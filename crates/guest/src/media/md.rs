//! Software RAID of Linux (MD): which arrays have members on this disk.

use super::field::{le16, le32, le64};
use super::slice::Slice;

/// Mark of every superblock.
const MAGIC: u32 = 0xa92b_4efc;
/// Roles from here on are spare or faulty.
const FIRST_NO_ROLE: u16 = 0xfff0;

/// A member of an array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// As mdadm prints it.
    pub(crate) uuid: String,
    /// 0, 1, 4, 5, 6, 10; -1 for linear.
    pub(crate) level: i32,
    /// Disks of the whole array.
    pub(crate) disks: u32,
    /// It holds data, and is neither spare nor faulty.
    pub(crate) active: bool,
    /// First byte of its data.
    pub(crate) data: u64,
    /// Bytes of its data.
    pub(crate) size: u64,
}

/// An array.
pub(crate) struct Array {
    pub(crate) uuid: String,
    pub(crate) level: i32,
    pub(crate) missing: u32,
    /// Indexes of the members in the list.
    pub(crate) members: Vec<usize>,
}

/// The member that `slice` is.
///
/// # Errors
/// Those of reading.
pub(crate) fn member(slice: &Slice) -> Result<Option<Member>, String> {
    let size = slice.size();
    let sectors = size / 512;
    // Versions 1.2, 1.1 and 1.0.
    let ends = sectors.checked_sub(16).map(|place| (place & !7) * 512);
    for place in [Some(4096), Some(0), ends].into_iter().flatten() {
        let block = slice.head(place, 4096)?;
        if le32(&block, 0) == MAGIC && le32(&block, 4) == 1 && le64(&block, 144) == place / 512 {
            return Ok(Some(version_1(&block, size)));
        }
    }
    let Some(place) = (size & !0xffff).checked_sub(0x1_0000) else {
        return Ok(None);
    };
    let block = slice.head(place, 4096)?;
    let old = le32(&block, 0) == MAGIC && le32(&block, 4) == 0 && le32(&block, 8) == 90;
    Ok(old.then(|| version_0(&block, place)))
}

fn version_1(block: &[u8], size: u64) -> Member {
    let uuid = block.get(16..32).unwrap_or_default();
    let words: Vec<String> = uuid.chunks(4).map(hex).collect();
    let number = usize::try_from(le32(block, 160)).unwrap_or(usize::MAX);
    let role = number
        .checked_mul(2)
        .and_then(|at| at.checked_add(256))
        .filter(|at| *at < block.len());
    let data = le64(block, 128).saturating_mul(512);
    Member {
        uuid: words.join(":"),
        level: le32(block, 72).cast_signed(),
        disks: le32(block, 92),
        active: role.is_some_and(|at| le16(block, at) < FIRST_NO_ROLE),
        data,
        size: le64(block, 136)
            .saturating_mul(512)
            .min(size.saturating_sub(data)),
    }
}

fn version_0(block: &[u8], place: u64) -> Member {
    let words = [20, 52, 56, 60].map(|at| format!("{:08x}", le32(block, at)));
    Member {
        uuid: words.join(":"),
        level: le32(block, 28).cast_signed(),
        disks: le32(block, 40),
        active: true,
        data: 0,
        size: u64::from(le32(block, 32)).saturating_mul(1024).min(place),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The arrays that `members` belong to.
pub(crate) fn arrays(members: &[Member]) -> Vec<Array> {
    let mut arrays: Vec<Array> = Vec::new();
    for (index, member) in members
        .iter()
        .enumerate()
        .filter(|(_, member)| member.active)
    {
        match arrays.iter_mut().find(|array| array.uuid == member.uuid) {
            Some(array) => {
                array.missing = array.missing.saturating_sub(1);
                array.members.push(index);
            }
            None => arrays.push(Array {
                uuid: member.uuid.clone(),
                level: member.level,
                missing: member.disks.saturating_sub(1),
                members: vec![index],
            }),
        }
    }
    arrays
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::cast_possible_truncation,
        reason = "test data are far smaller than any of these types"
    )]

    use super::super::slice::tests::disk;
    use super::*;

    fn superblock(place: u64, role: u16) -> Vec<u8> {
        let mut block = vec![0; 4096];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &MAGIC.to_le_bytes());
        put(4, &1_u32.to_le_bytes());
        put(16, &(0..16).collect::<Vec<u8>>());
        put(72, &1_i32.to_le_bytes());
        put(92, &2_u32.to_le_bytes());
        put(128, &16_u64.to_le_bytes());
        put(136, &100_u64.to_le_bytes());
        put(144, &(place / 512).to_le_bytes());
        put(160, &1_u32.to_le_bytes());
        put(256 + 2, &role.to_le_bytes());
        block
    }

    fn at(place: u64, block: &[u8]) -> Option<Member> {
        let mut bytes = vec![0; 128 << 10];
        bytes[place as usize..][..4096].copy_from_slice(block);
        member(&Slice::new(&disk(bytes), 0, 128 << 10)).unwrap()
    }

    #[test]
    fn a_mirror_is_found_wherever_its_superblock_stands() {
        for place in [0, 4096, (128 << 10) - 8192] {
            let member = at(place, &superblock(place, 0)).unwrap();
            assert_eq!(member.uuid, "00010203:04050607:08090a0b:0c0d0e0f");
            let data = (member.level, member.disks, member.data, member.size);
            assert_eq!(data, (1, 2, 8192, 51_200), "{place}");
            let [array] = &arrays(&[member])[..] else {
                panic!("one array")
            };
            assert_eq!(array.missing, 1);
        }
        assert_eq!(at(4096, &superblock(0, 0)), None);
    }

    #[test]
    fn two_members_on_one_disk_are_one_array_and_a_spare_is_none() {
        let active = at(4096, &superblock(4096, 0)).unwrap();
        let spare = at(4096, &superblock(4096, 0xffff)).unwrap();
        let arrays = arrays(&[active.clone(), spare, active]);
        assert_eq!(arrays.len(), 1);
        assert_eq!(
            (arrays[0].missing, &arrays[0].members[..]),
            (0, &[0, 2][..])
        );
    }

    #[test]
    fn the_old_superblock_stands_in_the_last_full_64_kib() {
        let mut block = vec![0; 4096];
        for (at, word) in [
            (0, MAGIC),
            (8, 90),
            (20, 0xaabb_ccdd),
            (28, 1),
            (32, 64),
            (40, 2),
        ] {
            block[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        let member = at(64 << 10, &block).unwrap();
        assert_eq!(member.uuid, "aabbccdd:00000000:00000000:00000000");
        assert_eq!((member.data, member.size, member.disks), (0, 64 << 10, 2));
    }
}
