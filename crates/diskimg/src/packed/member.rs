//! The header of a member of a tar archive: 512 bytes.

/// Unit of an archive in bytes.
pub(super) const BLOCK: usize = 512;
/// The name that the disk of a cloud export has.
pub(super) const DISK: &str = "disk.raw";
const MAGIC: &[u8] = b"ustar";

/// Offsets of fields, in bytes.
mod field {
    use std::ops::Range;

    pub(super) const NAME: Range<usize> = 0..100;
    pub(super) const SIZE: Range<usize> = 124..136;
    pub(super) const CHECKSUM: Range<usize> = 148..156;
    /// The same in GNU's old form and in POSIX's.
    pub(super) const MAGIC: Range<usize> = 257..262;
}

/// The first block of `bytes`, when it is a member's header with the mark and a right checksum.
pub(super) fn header(bytes: &[u8]) -> Option<&[u8; BLOCK]> {
    let header = bytes.first_chunk::<BLOCK>()?;
    let sum: u64 = header
        .iter()
        .enumerate()
        .map(|(at, byte)| match field::CHECKSUM.contains(&at) {
            true => u64::from(b' '),
            false => u64::from(*byte),
        })
        .sum();
    let stored = number(header.get(field::CHECKSUM)?)?;
    let magic = header.get(field::MAGIC)? == MAGIC;
    (magic && header.first() != Some(&0) && stored == sum).then_some(header)
}

/// Octal digits between spaces and zeros, or a big-endian number behind a first bit that is set.
pub(super) fn number(field: &[u8]) -> Option<u64> {
    if let Some((first, rest)) = field.split_first()
        && first & 0x80 != 0
    {
        return rest
            .iter()
            .try_fold(u64::from(first & 0x7f), |value, byte| {
                value.checked_mul(256)?.checked_add(u64::from(*byte))
            });
    }
    let text = std::str::from_utf8(field).ok()?;
    let digits = text.trim_matches([' ', '\0']);
    match digits {
        "" => Some(0),
        _ => u64::from_str_radix(digits, 8).ok(),
    }
}

/// What a header says of its member.
pub(super) struct Member {
    pub(super) name: String,
    /// Bytes that are stored of it, when that makes sense.
    pub(super) size: Option<u64>,
}

impl Member {
    pub(super) fn of(header: &[u8; BLOCK]) -> Self {
        let part = |range| header.get(range).unwrap_or_default();
        let name = part(field::NAME).split(|byte| *byte == 0).next();
        Self {
            name: String::from_utf8_lossy(name.unwrap_or_default()).into_owned(),
            size: number(part(field::SIZE)),
        }
    }

    /// The name, if it lies where the archive is unpacked.
    pub(super) fn plain_name(&self) -> &str {
        self.name.strip_prefix("./").unwrap_or(&self.name)
    }
}
