//! What the encoder writes, seen from outside.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests"
)]

use diskimg::ErrorKind;
use zvhd2::{
    BLOCK_SIZE, BlockEncoder, Encoder, Identity, MAX_ENCODED_BLOCK, MAX_LEVEL, MAX_STORED_BLOCKS,
    MIN_LEVEL, encoder_memory, worst_case_len,
};

const IDENTITY: Identity = Identity {
    uuid: [7; 16],
    timestamp: 848_627_102,
};

/// Bytes that no compressor shrinks.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    })
    .take(len)
    .collect()
}

#[test]
fn incompressible_blocks_stay_inside_the_stated_worst_case() {
    let content = noise(BLOCK_SIZE);
    let mut out = Vec::new();
    for level in [MIN_LEVEL, 1, 5] {
        let mut encoder = BlockEncoder::new(level).unwrap();
        encoder.encode(3, &content, &mut out).unwrap();
        assert!(out.len() > BLOCK_SIZE && out.len() <= MAX_ENCODED_BLOCK);
        assert!(out.len().is_multiple_of(4096));
    }
}

#[test]
fn context_memory_is_what_is_promised_at_every_level() {
    use zstd::zstd_safe::{CCtx, CParameter, compress_bound};
    let content = noise(BLOCK_SIZE);
    let mut out = vec![0; compress_bound(BLOCK_SIZE)];
    for level in MIN_LEVEL..=MAX_LEVEL {
        let mut context = CCtx::create();
        for parameter in [
            CParameter::CompressionLevel(level),
            CParameter::ChecksumFlag(true),
        ] {
            context.set_parameter(parameter).unwrap();
        }
        context.compress2(&mut out[..], &content).unwrap();
        let held = context.sizeof() as u64;
        let promised = encoder_memory(level);
        assert!(held <= promised, "level {level}: {held} > {promised}");
        assert!(promised < held * 5 / 4, "level {level}: far too much");
    }
}

#[test]
fn an_encoder_that_changes_its_level_makes_the_bytes_of_one_that_never_had_another() {
    let noise = noise(BLOCK_SIZE);
    // Repeats of many lengths, so that levels differ in what they find.
    let text: Vec<u8> = (0..BLOCK_SIZE)
        .map(|at| noise[(at * at / 977) % 4099].wrapping_add((at / 65_537) as u8))
        .collect();
    let contents = [text, noise];
    let fresh = |level, content: &[u8]| {
        let mut out = Vec::new();
        let mut encoder = BlockEncoder::new(level).unwrap();
        encoder.encode(7, content, &mut out).unwrap();
        out
    };
    let (mut changing, mut out) = (BlockEncoder::new(1).unwrap(), Vec::new());
    for (turn, level) in [1, 6, 3, 1, 3, 6, 1, 1, 6, 6, 9, 1, -3, 6]
        .into_iter()
        .enumerate()
    {
        changing.set_level(level).unwrap();
        for content in &contents {
            changing.encode(7, content, &mut out).unwrap();
            assert!(out == fresh(level, content), "turn {turn}, level {level}");
        }
    }
    assert_eq!(changing.set_level(20).unwrap_err().kind(), ErrorKind::Limit);
    changing.encode(7, &contents[0], &mut out).unwrap();
    assert!(out == fresh(6, &contents[0]));
}

#[test]
fn a_block_that_is_appended_is_the_same_and_leaves_what_is_before_it() {
    let noise = noise(BLOCK_SIZE);
    let mut alone = Vec::new();
    let mut encoder = BlockEncoder::new(1).unwrap();
    encoder.encode(7, &noise, &mut alone).unwrap();
    let mut out = b"before".to_vec();
    for _ in 0..2 {
        assert_eq!(encoder.append(7, &noise, &mut out).unwrap(), alone.len());
    }
    assert!(out == [b"before", &alone[..], &alone[..]].concat());
    // A block that is refused adds nothing.
    assert!(encoder.append(8, &noise[1..], &mut out).is_err());
    assert_eq!(out.len(), 6 + 2 * alone.len());
}

#[test]
fn a_context_that_changes_its_level_holds_no_more_than_the_highest_needs() {
    use zstd::zstd_safe::{CCtx, CParameter, compress_bound};
    let content = noise(BLOCK_SIZE);
    let mut out = vec![0; compress_bound(BLOCK_SIZE)];
    let mut context = CCtx::create();
    for level in [1, 3, 6, 1, 6, 3, 1, 3, 6] {
        context
            .set_parameter(CParameter::CompressionLevel(level))
            .unwrap();
        context.compress2(&mut out[..], &content).unwrap();
        assert!(context.sizeof() as u64 <= encoder_memory(6), "{level}");
    }
}

#[test]
fn levels_and_lengths_out_of_range_are_refused() {
    for level in [MIN_LEVEL - 1, MAX_LEVEL + 1, i32::MIN, i32::MAX] {
        assert_eq!(
            BlockEncoder::new(level).unwrap_err().kind(),
            ErrorKind::Limit
        );
    }
    let mut encoder = BlockEncoder::new(1).unwrap();
    for len in [0, 1, BLOCK_SIZE - 1, BLOCK_SIZE + 1] {
        let error = encoder.encode(0, &vec![1; len], &mut Vec::new());
        assert_eq!(error.unwrap_err().kind(), ErrorKind::OutOfRange);
    }
}

#[test]
fn impossible_disks_are_refused() {
    let kind = |size| Encoder::new(size, IDENTITY).unwrap_err().kind();
    assert_eq!(kind(0), ErrorKind::OutOfRange);
    assert_eq!(kind(513), ErrorKind::OutOfRange);
    assert_eq!(kind((64 << 40) + 512), ErrorKind::Limit);
    assert_eq!(kind(u64::MAX - 511), ErrorKind::Limit);
    assert!(Encoder::new(64 << 40, IDENTITY).is_ok());
}

#[test]
fn blocks_that_do_not_ascend_or_do_not_fit_are_refused_and_not_recorded() {
    let mut encoder = Encoder::new(8 * BLOCK_SIZE as u64, IDENTITY).unwrap();
    assert_eq!(encoder.push(2, 4096).unwrap(), 4096);
    let before = encoder.clone();
    for (number, len) in [
        (2, 4096),
        (1, 4096),
        (8, 4096),
        (u32::MAX, 4096),
        (3, 0),
        (3, 4095),
        (3, MAX_ENCODED_BLOCK + 4096),
        (3, usize::MAX & !4095),
    ] {
        assert!(encoder.push(number, len).is_err(), "{number} {len}");
        assert_eq!(encoder, before);
    }
    assert_eq!(encoder.push(3, 8192).unwrap(), 8192);
    assert_eq!(encoder.position(), 16384);
}

#[test]
fn tail_comes_in_small_chunks_and_ends_where_promised() {
    // Three index segments and 65 MiB of disk per bitmap byte: both parts need several chunks.
    let size = 40_u64 << 40;
    let mut encoder = Encoder::new(size, IDENTITY).unwrap();
    for number in 0..70_000_u32 {
        encoder.push(number * 290, 4096).unwrap();
    }
    let mut at = encoder.position();
    let mut chunks = 0;
    for chunk in encoder.tail() {
        assert!(!chunk.is_empty() && chunk.len() <= 1 << 20);
        at += chunk.len() as u64;
        chunks += 1;
    }
    assert_eq!(chunks, 1 + 2 + 3 + 1);
    assert_eq!(
        worst_case_len(size, 70_000) - at,
        70_000 * (MAX_ENCODED_BLOCK as u64 - 4096)
    );
    assert_eq!(worst_case_len(u64::MAX, u64::MAX), u64::MAX);
}

#[test]
fn one_block_more_than_the_cap_is_refused() {
    let mut encoder = Encoder::new(64 << 40, IDENTITY).unwrap();
    for number in 0..MAX_STORED_BLOCKS as u32 {
        encoder.push(number, 4096).unwrap();
    }
    let error = encoder.push(MAX_STORED_BLOCKS as u32, 4096).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
}
