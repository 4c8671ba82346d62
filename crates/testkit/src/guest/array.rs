//! Members of MD arrays.

#![allow(clippy::indexing_slicing, reason = "test helper")]

/// What a superblock begins with.
pub(super) const MAGIC: u32 = 0xa92b_4efc;
/// Bytes in front of a member's data.
pub const DATA: usize = 8192;

/// A member of a mirror of two disks, whose superblock (version 1.2) stands in front of `content`.
#[must_use]
pub fn mirror(content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; DATA];
    let mut put = |at: usize, part: &[u8]| bytes[4096 + at..][..part.len()].copy_from_slice(part);
    put(0, &MAGIC.to_le_bytes());
    put(4, &1_u32.to_le_bytes());
    put(16, &(0..16).collect::<Vec<u8>>());
    put(72, &1_i32.to_le_bytes());
    put(92, &2_u32.to_le_bytes());
    put(128, &(DATA as u64 / 512).to_le_bytes());
    put(136, &(content.len() as u64 / 512).to_le_bytes());
    put(144, &8_u64.to_le_bytes());
    put(220, &2_u32.to_le_bytes());
    seal(&mut bytes);
    bytes.extend(content);
    bytes
}

/// Makes the checksum of the superblock at 4096 right.
pub fn seal(member: &mut [u8]) {
    let Some(block) = member.get_mut(4096..8192) else {
        return;
    };
    block[216..220].fill(0);
    let word =
        |at: usize| u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
    let roles = (word(220) as usize).min(1920);
    let sum: u64 = (0..64).map(|index| u64::from(word(index * 4))).sum();
    let sum = (0..roles / 2).fold(sum, |sum, index| sum + u64::from(word(256 + index * 4)));
    let sum = match roles % 2 {
        0 => sum,
        _ => sum + u64::from(word(256 + roles / 2 * 4) & 0xffff),
    };
    let folded = (sum & 0xffff_ffff) + (sum >> 32);
    block[216..220].copy_from_slice(&folded.to_le_bytes()[..4]);
}
