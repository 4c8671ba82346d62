//! One tar header: 512 bytes.

use diskimg::{Error, Result};

/// Bytes of a header, and the unit that contents are padded to.
pub(crate) const BLOCK: u64 = 512;

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    /// A file with holes left out, so that its bytes here are not those of the file.
    Sparse,
    Link,
    Directory,
    /// Something else, by its type byte.
    Other(u8),
}

impl Kind {
    /// Whether bytes follow the header.
    pub(super) const fn has_content(self) -> bool {
        match self {
            Self::Link | Self::Directory => false,
            Self::Other(kind) => !matches!(kind, b'3' | b'4' | b'6'),
            Self::File | Self::Sparse => true,
        }
    }

    /// For people.
    pub(crate) fn name(self) -> String {
        match self {
            Self::File => "a file".to_owned(),
            Self::Sparse => "a sparse file".to_owned(),
            Self::Link => "a link".to_owned(),
            Self::Directory => "a directory".to_owned(),
            Self::Other(kind) => format!("a member of type {:?}", char::from(kind)),
        }
    }
}

/// A header whose checksum is right.
pub(super) struct Header<'a> {
    bytes: &'a [u8; 512],
    at: u64,
}

/// Whether the bytes that a file begins with have the mark of a tar header.
pub(super) fn has_magic(head: &[u8]) -> bool {
    matches!(head.get(257..265), Some(b"ustar\x0000" | b"ustar  \0"))
}

impl<'a> Header<'a> {
    /// # Errors
    /// `Corrupt` when it is no header.
    pub(super) fn read(bytes: &'a [u8; 512], at: u64) -> Result<Self> {
        let header = Self { bytes, at };
        if !has_magic(bytes) {
            return Err(header.wrong("it has no \"ustar\" mark".to_owned()));
        }
        header.check_sum()?;
        Ok(header)
    }

    fn field(&self, start: usize, len: usize) -> &'a [u8] {
        self.bytes.get(start..start + len).unwrap_or_default()
    }

    fn wrong(&self, message: String) -> Error {
        Error::corrupt("tar header", self.at, message)
    }

    /// The sum of all bytes, those of the field itself counted as blanks. Old writers added signed
    /// bytes.
    fn check_sum(&self) -> Result<()> {
        let stored = self.number(148, 8, "checksum")?;
        let (mut unsigned, mut signed) = (0_i64, 0_i64);
        for (place, byte) in self.bytes.iter().enumerate() {
            let byte = if (148..156).contains(&place) {
                b' '
            } else {
                *byte
            };
            unsigned += i64::from(byte);
            signed += i64::from(i8::from_ne_bytes([byte]));
        }
        let stored = i64::try_from(stored).unwrap_or(i64::MAX);
        if stored == unsigned || stored == signed {
            return Ok(());
        }
        Err(self.wrong(format!("its checksum is {stored}, computed {unsigned}")))
    }

    /// A number in octal digits, or in base 256 when the first bit is set.
    fn number(&self, start: usize, len: usize, what: &str) -> Result<u64> {
        let field = self.field(start, len);
        let Some((first, rest)) = field.split_first() else {
            return Ok(0);
        };
        if first & 0x80 != 0 {
            let mut value = u64::from(first & 0x7f);
            let negative = *first == 0xff;
            for byte in rest {
                // Below 2^55, so that eight more bits fit into 2^63.
                if negative || value >= 1 << 55 {
                    return Err(self.wrong(format!("its {what} is negative or beyond 2^63")));
                }
                value = value << 8 | u64::from(*byte);
            }
            return Ok(value);
        }
        let text = field
            .split(|byte| *byte == 0)
            .next()
            .unwrap_or_default()
            .trim_ascii();
        let mut value: u64 = 0;
        for byte in text {
            if !(b'0'..=b'7').contains(byte) {
                return Err(self.wrong(format!("its {what} is not an octal number")));
            }
            // Eleven digits at most.
            value = value << 3 | u64::from(byte - b'0');
        }
        Ok(value)
    }

    /// Bytes of the content.
    pub(super) fn size(&self) -> Result<u64> {
        self.number(124, 12, "size")
    }

    pub(super) fn name(&self) -> Vec<u8> {
        let text = |start, len| {
            self.field(start, len)
                .split(|byte| *byte == 0)
                .next()
                .unwrap_or_default()
        };
        let name = text(0, 100);
        let prefix = match self.field(257, 6) {
            b"ustar\0" => text(345, 155),
            _ => b"",
        };
        match prefix {
            b"" => name.to_vec(),
            prefix => [prefix, b"/", name].concat(),
        }
    }

    /// The byte that says what it is.
    pub(super) fn type_byte(&self) -> u8 {
        self.bytes.get(156).copied().unwrap_or_default()
    }

    /// What the member is, when the header is no extended one.
    pub(super) fn kind(&self) -> Kind {
        match self.type_byte() {
            b'0' | 0 | b'7' => Kind::File,
            b'S' => Kind::Sparse,
            b'1' | b'2' => Kind::Link,
            b'5' => Kind::Directory,
            other => Kind::Other(other),
        }
    }

    /// Whether another block of a GNU sparse map follows.
    pub(super) fn sparse_map_goes_on(&self) -> bool {
        self.bytes.get(482).is_some_and(|byte| *byte != 0)
    }
}
