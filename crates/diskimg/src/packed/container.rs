//! The kinds of compressed streams, by what they begin with.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use crate::limits::{MAX_XZ_MEMORY_KIB, MAX_ZSTD_WINDOW_LOG};

/// Bytes of the beginning by which a stream is recognised, and which may tell its size.
pub(crate) const HEAD_BYTES: usize = 32;

/// How a stream is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// RFC 1952.
    Gzip,
    /// XZ, with LZMA2.
    Xz,
    /// Zstandard.
    Zstd,
    /// bzip2.
    Bzip2,
    /// Frames of LZ4.
    Lz4,
}

impl Container {
    /// The one that a stream which begins with `head` has.
    #[must_use]
    pub fn of(head: &[u8]) -> Option<Self> {
        const MARKS: [(Container, &[u8]); 6] = [
            (Container::Gzip, &[0x1f, 0x8b]),
            (Container::Xz, b"\xfd7zXZ\0"),
            (Container::Zstd, &[0x28, 0xb5, 0x2f, 0xfd]),
            // A frame to skip, with which pzstd begins.
            (Container::Zstd, &[0x50, 0x2a, 0x4d, 0x18]),
            (Container::Bzip2, b"BZh"),
            (Container::Lz4, &[0x04, 0x22, 0x4d, 0x18]),
        ];
        let found = MARKS.iter().find(|(_, mark)| head.starts_with(mark));
        found.map(|(packing, _)| *packing)
    }

    /// The one that the content of `file` has.
    ///
    /// # Errors
    /// Those of reading it.
    pub fn of_file(file: &File) -> io::Result<Option<Self>> {
        let mut head = [0; HEAD_BYTES];
        let got = file.read_at(&mut head, 0)?;
        Ok(Self::of(head.get(..got).unwrap_or_default()))
    }

    /// What it is called.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Lz4 => "lz4",
        }
    }

    /// The command that unpacks standard input.
    pub(crate) const fn command(self) -> &'static str {
        match self {
            Self::Gzip => "gunzip -c",
            Self::Xz => "xz -dc",
            Self::Zstd => "zstd -dc",
            Self::Bzip2 => "bzip2 -dc",
            Self::Lz4 => "lz4 -dc",
        }
    }

    /// Most memory that decoding takes, in bytes.
    pub(crate) fn memory(self) -> u64 {
        match self {
            Self::Gzip => 512 << 10,
            Self::Xz => u64::from(MAX_XZ_MEMORY_KIB) << 10,
            Self::Zstd => (1 << MAX_ZSTD_WINDOW_LOG) + (1 << 20),
            // Blocks of 900 kB, and of 4 MiB.
            Self::Bzip2 => 5 << 20,
            Self::Lz4 => 14 << 20,
        }
    }

    /// Whether another member can begin with `byte`.
    pub(super) const fn may_begin_with(self, byte: u8) -> bool {
        match self {
            Self::Gzip => byte == 0x1f,
            Self::Xz => byte == 0xfd,
            Self::Zstd => byte == 0x28 || byte & 0xf0 == 0x50,
            Self::Bzip2 => byte == b'B',
            Self::Lz4 => byte == 0x04,
        }
    }
}
