//! Finding out that a buffer is all zeros, at memory speed and without unsafe code.

/// Whether every byte of `bytes` is zero.
///
/// Folding 256 bytes at a time lets the compiler use the widest vectors it has, and still leaves
/// at the first chunk that holds something.
#[must_use]
pub fn is_zero(bytes: &[u8]) -> bool {
    const CHUNK: usize = 256;
    let (chunks, rest) = bytes.as_chunks::<CHUNK>();
    chunks
        .iter()
        .all(|chunk| chunk.iter().fold(0, |all, byte| all | byte) == 0)
        && rest.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_bit_anywhere_is_found() {
        for len in [0, 1, 255, 256, 257, 4096, 5000] {
            let mut bytes = vec![0_u8; len];
            assert!(is_zero(&bytes));
            for at in 0..len {
                bytes[at] = 0x80;
                assert!(!is_zero(&bytes), "byte {at} of {len}");
                bytes[at] = 0;
            }
        }
    }
}
