//! One cpio archive in the format `newc`.

use std::io::{self, Read};

use super::content::Initramfs;
use super::source::Source;
use crate::budget::MAX_FILE;

const HEADER: usize = 110;
const MAX_NAME: u32 = 4096;
const KIND: u32 = 0o170_000;
const DIRECTORY: u32 = 0o040_000;

/// Numbers of a header, by their places.
const MODE: usize = 1;
const FILE_SIZE: usize = 6;
const NAME_SIZE: usize = 11;

/// Goes through the archive that begins here, up to its end mark.
pub(super) fn walk(input: &mut Source<impl Read>, found: &mut Initramfs) -> io::Result<()> {
    loop {
        let mut header = [0; HEADER];
        input.read_exact(&mut header)?;
        if !header.starts_with(b"070701") && !header.starts_with(b"070702") {
            return Err(broken("an entry of its archive does not begin with 07070"));
        }
        let name_size = field(&header, NAME_SIZE)?;
        if !(1..=MAX_NAME).contains(&name_size) {
            return Err(broken("a name in its archive is empty or too long"));
        }
        let mut name = Vec::new();
        input
            .by_ref()
            .take(u64::from(name_size))
            .read_to_end(&mut name)?;
        if name.pop() != Some(0) || name.len() as u64 + 1 != u64::from(name_size) {
            return Err(broken("a name in its archive is cut off"));
        }
        input.skip(padding(HEADER as u64 + u64::from(name_size)))?;
        let size = u64::from(field(&header, FILE_SIZE)?);
        if name == b"TRAILER!!!" {
            return input.skip(size);
        }
        let directory = field(&header, MODE)? & KIND == DIRECTORY;
        let mut content = None;
        if !directory && size <= MAX_FILE && found.keeps(&name) {
            let mut bytes = Vec::new();
            input.by_ref().take(size).read_to_end(&mut bytes)?;
            if bytes.len() as u64 != size {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            content = Some(bytes);
        } else {
            input.skip(size)?;
        }
        input.skip(padding(size))?;
        if !directory {
            found.add(&name, content).map_err(io::Error::other)?;
        }
    }
}

/// Bytes up to the next multiple of four.
fn padding(len: u64) -> u64 {
    (4 - len % 4) % 4
}

/// Number `index` of a header: eight hexadecimal digits.
fn field(header: &[u8; HEADER], index: usize) -> io::Result<u32> {
    let at = 6 + index * 8;
    header
        .get(at..at + 8)
        .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .and_then(|digits| u32::from_str_radix(digits, 16).ok())
        .ok_or_else(|| broken("a number in its archive is not hexadecimal"))
}

fn broken(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}
