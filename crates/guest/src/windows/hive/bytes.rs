//! Numbers and texts in the bytes of a hive.

pub(super) fn utf16(bytes: &[u8]) -> String {
    let units: Vec<u16> = bytes.chunks_exact(2).map(|unit| u16_at(unit, 0)).collect();
    String::from_utf16_lossy(&units)
}

/// A length that fits into memory on every machine.
pub(super) fn length(size: u32) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX)
}

pub(super) fn byte_at(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or_default()
}

/// The number at `at`; the callers have read enough.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([byte_at(bytes, at), byte_at(bytes, at + 1)])
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}
