//! The descriptor: the text that says what the disk is made of.
//!
//! It is read line by line, in any order and without regard to comments, as the programs that write
//! it agree on little else.

use super::lines::{Line, LineEnd, shown, words};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{MAX_VIRTUAL_SIZE, MAX_VMDK_DESCRIPTOR_BYTES, MAX_VMDK_EXTENTS};
use crate::source::ReadAt;
use crate::text::printable;
use crate::units::{FileOffset, SECTOR, human};

pub(super) const DESCRIPTOR: &str = "descriptor";

/// Most lines of a descriptor. Ours: four times the extents that a disk may have.
const MAX_LINES: usize = 4096;
/// Most lines that make no sense and are named.
const MAX_ODD_LINES: usize = 8;

/// `parentCID` of a disk without a parent.
const NO_PARENT: u32 = u32::MAX;

/// What a descriptor says.
#[derive(Debug, Default)]
pub(super) struct Descriptor {
    /// `createType`, as it stands there.
    pub(super) create_type: String,
    /// `CID`: changes with the first write after the disk was opened.
    pub(super) cid: Option<u32>,
    /// `CID` of the parent, when there is one, and its path as the file gives it.
    pub(super) parent: Option<Parent>,
    /// Whether the names are in UTF-8.
    pub(super) utf8: bool,
    pub(super) lines: Vec<Line>,
    pub(super) native_snapshot: bool,
    /// A line that only encrypted disks have.
    pub(super) encrypted: Option<String>,
    pub(super) warnings: Vec<String>,
}

/// What a descriptor says of its parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parent {
    pub(super) cid: u32,
    pub(super) hint: String,
}

/// Keys that may stand in a descriptor once.
#[derive(Default)]
struct Header {
    create_type: Option<String>,
    cid: Option<u32>,
    parent_cid: Option<u32>,
    parent_hint: Option<String>,
}

/// Whether `head`, the beginning of a file, is that of a descriptor, whatever follows the text:
/// QEMU takes a file for one by its first line that is no comment, others by the type of disk that
/// it gives.
pub(super) fn begins_as_descriptor(head: &[u8]) -> bool {
    const FIRST_LINE: &[u8] = b"# Disk DescriptorFile";
    const TYPE: &[u8] = b"createType=\"";
    const VERSION: &[u8] = b"version=";
    let is_text = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t' | b'\n' | b'\r' | 0x80..);
    let len = head.iter().take_while(|byte| is_text(byte)).count();
    let text = head.get(..len).unwrap_or_default();
    let first = text
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .find(|line| !line.is_empty() && !line.starts_with(b"#"));
    text.starts_with(FIRST_LINE)
        || first
            .and_then(|line| line.get(..VERSION.len()))
            .is_some_and(|start| start.eq_ignore_ascii_case(VERSION))
        || text
            .windows(TYPE.len())
            .any(|part| part.eq_ignore_ascii_case(TYPE))
}

impl Descriptor {
    /// Reads the descriptor that is `source`.
    ///
    /// # Errors
    /// `Limit` for a long one; those of [`Self::parse`] and of reading.
    pub(super) fn read(source: &dyn ReadAt) -> Result<Self> {
        let text = read_text(source, 0, source.len())?;
        Self::parse(&text, 0)
    }

    /// The descriptor `text`, filled up with NUL bytes, which begins at `at` of its file.
    ///
    /// # Errors
    /// `Corrupt`, `Unsupported` or `Limit` by cause.
    pub(super) fn parse(text: &[u8], at: u64) -> Result<Self> {
        let broken = |message: String| Error::corrupt(DESCRIPTOR, at, message);
        let end = text.iter().position(|byte| *byte == 0);
        let (text, padding) = text.split_at(end.unwrap_or(text.len()));
        if padding.iter().any(|byte| *byte != 0) {
            return Err(broken(format!(
                "there is a NUL byte at offset {:#x}, and more text behind it",
                at + text.len() as u64
            )));
        }
        let mut found = Self {
            utf8: true,
            ..Self::default()
        };
        let (mut header, mut odd) = (Header::default(), 0);
        for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
            if number >= MAX_LINES {
                return Err(Error::new(
                    ErrorKind::Limit,
                    format!("it has more than {MAX_LINES} lines"),
                )
                .at(DESCRIPTOR, at));
            }
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            match words(line) {
                Ok(Some(extent)) => found.add(extent, at)?,
                Err(LineEnd(problem)) => {
                    return Err(broken(format!(
                        "line {}, \"{}\": {problem}",
                        number + 1,
                        shown(line)
                    )));
                }
                Ok(None) => match line.iter().position(|byte| *byte == b'=') {
                    Some(equals) => {
                        let (key, value) = line.split_at(equals);
                        found
                            .set(&mut header, &text_of(key).to_ascii_lowercase(), value)
                            .map_err(|problem| broken(format!("line {}: {problem}", number + 1)))?;
                    }
                    None => {
                        odd += 1;
                        if odd <= MAX_ODD_LINES {
                            found.warnings.push(format!(
                                "line {} of the descriptor is not understood: \"{}\"",
                                number + 1,
                                shown(line)
                            ));
                        }
                    }
                },
            }
        }
        found.finish(header, at)?;
        Ok(found)
    }

    fn add(&mut self, line: Line, at: u64) -> Result<()> {
        if self.lines.len() >= MAX_VMDK_EXTENTS {
            return Err(Error::new(
                ErrorKind::Limit,
                format!("it has more than {MAX_VMDK_EXTENTS} extents"),
            )
            .at(DESCRIPTOR, at));
        }
        self.lines.push(line);
        Ok(())
    }

    /// Notes `key`, in lower case, whose value is behind the `=` of `value`.
    fn set(&mut self, header: &mut Header, key: &str, value: &[u8]) -> Result<(), String> {
        let value = text_of(value.get(1..).unwrap_or_default());
        let value = value.trim_matches('"').trim();
        match key.trim() {
            "version" if !matches!(value, "1" | "2" | "3") => Err(format!(
                "the descriptor has version {}, expected 1, 2 or 3",
                printable(value)
            )),
            "encoding" => {
                self.utf8 = value.eq_ignore_ascii_case("utf-8");
                Ok(())
            }
            "createtype" => once(&mut header.create_type, key, value.to_owned()),
            "parentfilenamehint" => once(&mut header.parent_hint, key, value.to_owned()),
            "cid" => once(&mut header.cid, key, hex(value)?),
            "parentcid" => once(&mut header.parent_cid, key, hex(value)?),
            "isnativesnapshot" => {
                self.native_snapshot |= value.eq_ignore_ascii_case("yes");
                Ok(())
            }
            key => {
                let filter = key == "ddb.iofilters" && value.contains("vmwarevmcrypt");
                if key.starts_with("encryption.") || key.contains("crypto") || filter {
                    self.encrypted.get_or_insert_with(|| printable(key));
                }
                Ok(())
            }
        }
    }

    fn finish(&mut self, header: Header, at: u64) -> Result<()> {
        let broken = |message: &str| Error::corrupt(DESCRIPTOR, at, message);
        self.create_type = header
            .create_type
            .ok_or_else(|| broken("it does not say of which type the disk is (createType)"))?;
        self.cid = header.cid;
        let parent_cid = header.parent_cid.filter(|cid| *cid != NO_PARENT);
        self.parent = match (parent_cid, header.parent_hint) {
            (None, None) => None,
            (Some(cid), Some(hint)) if !hint.is_empty() => Some(Parent { cid, hint }),
            (Some(_), _) => {
                return Err(broken(
                    "it has the parentCID of a snapshot, and does not name its parent",
                ));
            }
            (None, Some(hint)) if hint.is_empty() => None,
            (None, Some(_)) => {
                return Err(broken("it names a parent, and has no parentCID of one"));
            }
        };
        let sectors = self
            .lines
            .iter()
            .try_fold(0_u64, |sum, line| sum.checked_add(line.sectors))
            .filter(|sectors| *sectors <= MAX_VIRTUAL_SIZE / SECTOR);
        if sectors.is_none() {
            return Err(Error::new(
                ErrorKind::Limit,
                format!(
                    "its extents make a disk of more than {}",
                    human(MAX_VIRTUAL_SIZE)
                ),
            )
            .at(DESCRIPTOR, at));
        }
        Ok(())
    }

    /// Size of the disk in bytes; its sum was held against the largest disk.
    pub(super) fn size(&self) -> u64 {
        self.lines.iter().map(|line| line.sectors * SECTOR).sum()
    }

    /// The extents that have a size.
    pub(super) fn extents(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|line| line.sectors > 0)
    }
}

/// The `len` bytes from `at` on of the file, which are within it, as far as a descriptor may be
/// long.
///
/// # Errors
/// `Limit` when it is longer; those of reading.
pub(super) fn read_text(source: &dyn ReadAt, at: u64, len: u64) -> Result<Vec<u8>> {
    if len > MAX_VMDK_DESCRIPTOR_BYTES {
        return Err(Error::new(
            ErrorKind::Limit,
            format!(
                "it has {len} bytes, at most {} are read",
                human(MAX_VMDK_DESCRIPTOR_BYTES)
            ),
        )
        .at(DESCRIPTOR, at));
    }
    let mut text = vec![0; usize::try_from(len).unwrap_or_default()];
    source.read_exact_at(FileOffset(at), &mut text)?;
    Ok(text)
}

fn once<T>(known: &mut Option<T>, key: &str, value: T) -> Result<(), String> {
    match known.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!(
            "{key} is given twice, and programs differ in which one they take"
        )),
    }
}

fn hex(value: &str) -> Result<u32, String> {
    let digits = value.bytes().all(|byte| byte.is_ascii_hexdigit());
    u32::from_str_radix(value, 16)
        .ok()
        .filter(|_| digits)
        .ok_or_else(|| {
            format!(
                "\"{}\" is no hexadecimal number of 32 bits",
                printable(value)
            )
        })
}

/// What is not UTF-8 matters to nobody but in names, which are bytes.
fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Descriptor> {
        Descriptor::parse(text.as_bytes(), 0)
    }

    #[test]
    fn order_case_blanks_and_line_ends_do_not_matter() {
        let found = parse(
            "ddb.x = 1 \r\nRW 4 flat \"a b-flat.vmdk\" 0 \r\n PARENTCID=FFFFFFFF\r\n\
             cid = 1B2c3d4e\r\n#createType=x\r\nCreateType = monolithicFlat\r\nversion=3 \r\n",
        )
        .unwrap();
        assert_eq!(found.create_type, "monolithicFlat");
        assert_eq!((found.cid, &found.parent), (Some(0x1b2c_3d4e), &None));
        assert_eq!(found.lines[0].name.as_deref(), Some(&b"a b-flat.vmdk"[..]));
        assert!(found.warnings.is_empty());
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for (text, word) in [
            ("CID=1\n", "createType"),
            ("createType=\"custom\"\ncreatetype=\"vmfs\"\n", "twice"),
            ("createType=x\nCID=1\nCID=1\n", "twice"),
            ("createType=x\nCID=xyz\n", "hexadecimal"),
            ("createType=x\nCID=+1\n", "hexadecimal"),
            ("createType=x\nversion=4\n", "version 4"),
            (
                "createType=x\nparentCID=12345678\n",
                "does not name its parent",
            ),
            ("createType=x\nparentFileNameHint=\"a\"\n", "no parentCID"),
            ("createType=x\n\0more", "NUL"),
            ("createType=x\nRW 5\n", "RW 5"),
            ("createType=x\nRW 99999999999999999999 ZERO\n", "RW"),
            (
                "createType=x\nRW 99999999999999 ZERO\nRW 99999999999999 ZERO\n",
                "more than 64 TiB",
            ),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text:?}: {error}");
        }
        assert!(parse("createType=x\nhello\n").unwrap().warnings[0].contains("hello"));
    }

    #[test]
    fn encryption_is_seen_by_its_keys_and_not_by_other_text() {
        let sound = "# crypto\ncreateType=x\nddb.comment = \"crypto\"\n";
        assert_eq!(parse(sound).unwrap().encrypted, None);
        for line in [
            "encryption.keySafe = \"x\"",
            "ddb.iofilters = \"vmwarevmcrypt\"",
            "ddb.crypto.id = 5",
        ] {
            let found = parse(&format!("createType=x\n{line}\n")).unwrap();
            assert!(found.encrypted.is_some(), "{line}");
        }
    }
}
