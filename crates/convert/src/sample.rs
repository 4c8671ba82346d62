//! Generated disks for measuring: the same bytes everywhere, and like those that operating systems
//! leave.
//!
//! A block of 2 MiB depends on the kind of content, the seed and its number alone, so blocks can be
//! made in any order and by many threads. [`Content::OsLike`] was set so that zstd makes about as
//! little of its data as of a tar of `/usr`: 0.39 at level 1, 0.36 at level 3.

use std::ops::Range;
use std::sync::OnceLock;

use diskimg::units::fits;
use diskimg::{Error, FileOffset, ReadAt, Result, SourceExtent};

use crate::blocks::{BLOCK_BYTES, BLOCK_LEN};

/// What a generated disk is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// [`Content::OsData`] on ten blocks of sixteen, written zeros on three, holes on three.
    OsLike,
    /// Programs, texts and compressed files of 4 to 256 KiB.
    OsData,
    /// Words and numbers.
    Text,
    /// What looks like machine code and its tables.
    Binary,
    /// Bytes that do not compress.
    Random,
    /// Written zeros.
    Zero,
}

/// Blocks after which the pattern of [`Content::OsLike`] repeats.
const PERIOD: u64 = 16;
/// Which of them hold data; zeros follow.
const DATA: Range<u64> = 0..10;
/// Which of them are holes.
const HOLES: Range<u64> = 13..PERIOD;

impl Content {
    /// Whether block `number` is a hole.
    #[must_use]
    pub const fn is_hole(self, number: u64) -> bool {
        matches!(self, Self::OsLike) && number % PERIOD >= HOLES.start
    }

    /// Whether block `number` is all zero, a hole or not.
    #[must_use]
    pub const fn is_zero(self, number: u64) -> bool {
        match self {
            Self::OsLike => number % PERIOD >= DATA.end,
            Self::Zero => true,
            _ => false,
        }
    }
}

/// Fills `block`, of 2 MiB or less, with block `number`. A shorter one is the beginning of the
/// whole.
pub fn fill_block(content: Content, seed: u64, number: u64, block: &mut [u8]) {
    if content.is_zero(number) {
        block.fill(0);
        return;
    }
    let mut random = Random::new(seed, number);
    let mut rest = block;
    while !rest.is_empty() {
        // Files are small mostly, and large now and then: 4 to 256 KiB.
        let r = random.next();
        let len = 4096_usize << ((r >> 8) & 3) << ((r >> 16) & 3);
        let (file, behind) = rest.split_at_mut(len.min(rest.len()));
        rest = behind;
        match content {
            Content::Text => text(&mut random, file),
            Content::Binary => binary(&mut random, file),
            Content::Random => random.fill(file),
            _ => match r % 32 {
                0..=8 => text(&mut random, file),
                9..=26 => binary(&mut random, file),
                27 => random.fill(file),
                _ => file.fill(0),
            },
        }
    }
}

/// Xorshift, 64 bits: fast, and the same everywhere.
struct Random(u64);

impl Random {
    /// A stream of its own for each block.
    const fn new(seed: u64, number: u64) -> Self {
        let mixed = (seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
            .wrapping_add(0x2545_f491_4f6c_dd1d)
            .wrapping_mul(0xbf58_476d_1ce4_e5b9);
        Self((mixed ^ (mixed >> 31)) | 1)
    }

    const fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // The low bits of the state itself are weak.
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d).rotate_left(23)
    }

    /// A number below `end`, which is at most 65536; small ones more often than large ones.
    fn skewed(&mut self, end: u64) -> usize {
        let r = self.next();
        let (a, b) = (r & 0xffff, (r >> 16) & 0xffff);
        small((a * b * end) >> 32)
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        let (words, rest) = bytes.as_chunks_mut::<8>();
        for word in words {
            *word = self.next().to_le_bytes();
        }
        for (to, from) in rest.iter_mut().zip(self.next().to_le_bytes()) {
            *to = from;
        }
    }
}

/// A number below some thousands or millions, which fits everywhere.
fn small(number: u64) -> usize {
    usize::try_from(number).unwrap_or_default()
}

/// Writes as much of `piece` as fits to the beginning of `to`, and returns what is left of `to`.
fn put<'a>(to: &'a mut [u8], piece: &[u8]) -> &'a mut [u8] {
    let len = piece.len().min(to.len());
    let (here, behind) = to.split_at_mut(len);
    here.copy_from_slice(piece.get(..len).unwrap_or_default());
    behind
}

/// Distinct words; the frequent ones are short.
const WORDS: u64 = 6000;

/// Words of syllables, each with a space behind it.
fn words() -> &'static [Vec<u8>] {
    static MADE: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    MADE.get_or_init(|| {
        let mut random = Random::new(0x00c0_ffee, 0);
        (1..=WORDS)
            .map(|rank| {
                let mut word = Vec::new();
                for _ in 0..=rank.ilog2() / 4 {
                    let [consonant, vowel, ending, ..] = random.next().to_le_bytes();
                    word.push(b'a' + consonant % 26);
                    word.push(
                        [b'a', b'e', b'i', b'o', b'u']
                            .into_iter()
                            .nth(usize::from(vowel % 5))
                            .unwrap_or(b'e'),
                    );
                    if ending % 3 == 0 {
                        word.push(b'a' + ending % 26);
                    }
                }
                word.push(b' ');
                word
            })
            .collect()
    })
}

/// Sentences with numbers and line ends, like sources, documents and logs.
fn text(random: &mut Random, mut to: &mut [u8]) {
    let words = words();
    // Every file has words of its own that it uses again.
    let own = random.next() % 4000;
    while !to.is_empty() {
        let r = random.next();
        to = match r % 32 {
            0 => put(to, b".\n    "),
            1 => put(to, format!("{} = {:x};\n", r >> 50, r >> 40).as_bytes()),
            2 => put(to, b"(\"/usr/lib/"),
            n => {
                let index = match n {
                    3..=14 => small(own) + random.skewed(200),
                    _ => random.skewed(WORDS),
                };
                put(to, words.get(index).map_or(b" ", Vec::as_slice))
            }
        };
    }
}

/// Bytes that phrases of a program are taken from.
const PHRASES: usize = 16 << 10;

/// Phrases met before, new bytes, and short runs of zeros, like programs and their tables.
fn binary(random: &mut Random, mut to: &mut [u8]) {
    let mut phrases = vec![0; PHRASES.min(to.len())];
    let (words, _) = phrases.as_chunks_mut::<8>();
    for word in words {
        // Six bits of each byte vary.
        *word = (random.next() & 0x3f3f_3f3f_3f3f_3f3f).to_le_bytes();
    }
    while !to.is_empty() {
        let r = random.next();
        to = match r % 32 {
            0..=3 => put(
                to,
                ZEROS.get(..small(2 + (r >> 8) % 30)).unwrap_or_default(),
            ),
            4..=15 => {
                let fresh = (r >> 16).to_le_bytes();
                put(to, fresh.get(..small(2 + (r >> 8) % 4)).unwrap_or_default())
            }
            _ => {
                let from = random.skewed(PHRASES as u64 - 64);
                let len = small(6 + (r >> 8) % 32);
                put(to, phrases.get(from..from + len).unwrap_or(&[0x48, 0x8b]))
            }
        };
    }
}

const ZEROS: [u8; 32] = [0; 32];

/// A generated disk that is stored nowhere: its bytes are made when they are read.
#[derive(Clone, Copy, Debug)]
pub struct SampleDisk {
    content: Content,
    seed: u64,
    len: u64,
}

impl SampleDisk {
    /// A disk of `len` bytes; a longer one of the same seed begins with the same bytes.
    #[must_use]
    pub const fn new(content: Content, seed: u64, len: u64) -> Self {
        Self { content, seed, len }
    }
}

impl ReadAt for SampleDisk {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, at: FileOffset, buf: &mut [u8]) -> Result<()> {
        if !fits(at.0, buf.len() as u64, self.len) {
            return Err(Error::truncated(
                "generated disk",
                at.0,
                format!(
                    "{} bytes were expected here, the disk ends at {:#x}",
                    buf.len(),
                    self.len
                ),
            ));
        }
        let (mut at, mut rest) = (at.0, buf);
        while !rest.is_empty() {
            let number = at / BLOCK_BYTES;
            let skip = small(at % BLOCK_BYTES);
            let (part, behind) = rest.split_at_mut((BLOCK_LEN - skip).min(rest.len()));
            if skip == 0 {
                fill_block(self.content, self.seed, number, part);
            } else {
                let mut block = vec![0; skip + part.len()];
                fill_block(self.content, self.seed, number, &mut block);
                put(part, block.get(skip..).unwrap_or_default());
            }
            at = at.saturating_add(part.len() as u64);
            rest = behind;
        }
        Ok(())
    }

    fn extent_at(&self, at: FileOffset, limit: u64) -> Result<SourceExtent> {
        let hole = self.content.is_hole(at.0 / BLOCK_BYTES);
        let end = at.0.saturating_add(limit).min(self.len);
        let mut to = at.0;
        // A pattern repeats: further than this nothing is learnt, and the next question goes on.
        for _ in 0..PERIOD {
            let number = to / BLOCK_BYTES;
            if to >= end || self.content.is_hole(number) != hole {
                break;
            }
            to = (number + 1).saturating_mul(BLOCK_BYTES).min(end);
        }
        let len = to.saturating_sub(at.0).max(1);
        Ok(match hole {
            true => SourceExtent::Hole(len),
            false => SourceExtent::Data(len),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use diskimg::RawImage;
    use diskimg::zero::is_zero;
    use diskimg::{DiskImageExt as _, ExtentKind};

    use super::*;

    /// Bytes of 8 MiB of data at zstd level 1, to those before.
    fn ratio(content: Content, level: i32) -> f64 {
        let mut encoder = zvhd2::BlockEncoder::new(level).unwrap();
        let (mut block, mut out) = (vec![0; BLOCK_LEN], Vec::new());
        let total: usize = (0..4)
            .map(|number| {
                fill_block(content, 1, number, &mut block);
                encoder.encode(0, &block, &mut out).unwrap();
                out.len()
            })
            .sum();
        total as f64 / (4 * BLOCK_LEN) as f64
    }

    #[test]
    fn data_is_worth_compressing_as_operating_systems_are() {
        let (fast, small) = (ratio(Content::OsData, 1), ratio(Content::OsData, 3));
        assert!((0.34..0.44).contains(&fast), "{fast}");
        assert!((1.03..1.15).contains(&(fast / small)), "{fast} {small}");
        assert!(ratio(Content::Random, 1) > 1.0);
    }

    #[test]
    fn the_bytes_are_the_same_everywhere_and_for_ever() {
        // Changing the generator changes what recorded figures were measured with.
        let mut block = vec![0; BLOCK_LEN];
        let sums = [
            Content::OsData,
            Content::Text,
            Content::Binary,
            Content::Random,
        ]
        .map(|content| {
            fill_block(content, 1, 5, &mut block);
            crc32fast::hash(&block)
        });
        assert_eq!(
            sums,
            [2_739_368_887, 1_929_936_827, 4_089_408_462, 3_006_657_082]
        );
    }

    #[test]
    fn any_range_of_a_disk_is_what_its_blocks_are() {
        let len = 33 * BLOCK_BYTES + 512;
        let disk = RawImage::open(Arc::new(SampleDisk::new(Content::OsLike, 7, len))).unwrap();
        let disk: &dyn diskimg::DiskImage = &disk;
        let mut kinds = Vec::new();
        for extent in disk.all_extents() {
            let extent = extent.unwrap();
            kinds.push((extent.kind, extent.len / BLOCK_BYTES));
        }
        assert_eq!(
            kinds,
            [
                (ExtentKind::Data, 13),
                (ExtentKind::Hole, 3),
                (ExtentKind::Data, 13),
                (ExtentKind::Hole, 3),
                (ExtentKind::Data, 1),
            ]
        );
        let mut across = vec![0; 2 * BLOCK_LEN];
        let at = 9 * BLOCK_BYTES - 4096;
        disk.read_at(diskimg::GuestOffset(at), &mut across).unwrap();
        let mut block = vec![0; BLOCK_LEN];
        fill_block(Content::OsLike, 7, 8, &mut block);
        assert_eq!(across[..4096], block[BLOCK_LEN - 4096..]);
        fill_block(Content::OsLike, 7, 9, &mut block);
        assert_eq!(across[4096..4096 + BLOCK_LEN], block[..]);
        assert!(!is_zero(&block));
        assert!(is_zero(&across[4096 + BLOCK_LEN..]), "block 10 is zeros");
    }

    #[test]
    fn a_read_past_the_end_is_refused() {
        let disk = SampleDisk::new(Content::Random, 1, 1024);
        let mut buf = [0; 16];
        assert!(disk.read_exact_at(FileOffset(1020), &mut buf).is_err());
    }
}
