//! Heads of kernel images.

use std::io::Read;

use crate::linux::pe;
use crate::linux::program::elf_machine;
use crate::text::printable;
use crate::tree::Result;
use crate::view::{File, View};

/// Bytes that tell the format.
const HEAD: usize = 1024;
/// The longest version.
const MAX_VERSION: usize = 256;

/// What an image says of itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) version: Option<String>,
    pub(super) machine: Option<&'static str>,
    /// It has its command line and initramfs inside.
    pub(super) unified: bool,
}

/// Reads the head of the image at `path`.
pub(super) fn read(view: &View, path: &[u8]) -> Result<Image> {
    let Some(file) = view.open(path)? else {
        return Ok(Image::default());
    };
    let mut head = vec![0; HEAD];
    let mut read = 0;
    while read < HEAD {
        let rest = head.get_mut(read..).unwrap_or_default();
        match file.read_at(read as u64, rest)? {
            0 => break,
            more => read += more,
        }
    }
    head.truncate(read);
    let unpacked;
    // ARM's images are often packed as a whole.
    let head = if head.starts_with(b"\x1f\x8b") {
        let mut bytes = Vec::new();
        // A damaged image tells nothing.
        let _ = flate2::read::GzDecoder::new(head.as_slice())
            .take(HEAD as u64)
            .read_to_end(&mut bytes);
        unpacked = bytes;
        unpacked.as_slice()
    } else {
        head.as_slice()
    };
    if head.get(0x202..0x206) == Some(b"HdrS") {
        return x86(&file, head);
    }
    if head.starts_with(b"MZ") && pe::section(&file, ".linux")?.is_some() {
        let version = pe::text(&file, ".uname")?.filter(|text| !text.is_empty());
        return Ok(Image {
            version: version.map(printable),
            machine: pe_machine(&file)?,
            unified: true,
        });
    }
    let machine = if head.get(0x38..0x3c) == Some(b"ARM\x64") {
        Some("aarch64")
    } else if head.starts_with(b"MZ") {
        pe_machine(&file)?
    } else {
        elf_machine(head)
    };
    Ok(Image {
        machine,
        ..Image::default()
    })
}

/// A bzImage: the first word of its text is the version.
fn x86(file: &File, head: &[u8]) -> Result<Image> {
    let short = |at: usize| match head.get(at..at + 2) {
        Some([low, high]) => u16::from_le_bytes([*low, *high]),
        _ => 0,
    };
    let mut version = None;
    let text = short(0x20e);
    if text != 0 {
        let mut bytes = [0; MAX_VERSION];
        let read = file.read_at(u64::from(text) + 0x200, &mut bytes)?;
        let bytes = bytes.get(..read).unwrap_or_default();
        version = bytes
            .split(|byte| *byte == 0 || byte.is_ascii_whitespace())
            .next()
            .filter(|word| !word.is_empty() && word.len() < MAX_VERSION)
            .map(printable);
    }
    // Since protocol 2.12 a flag says that it can be entered in 64 bits. Without the flag it says
    // nothing that could be relied on.
    let wide = short(0x206) >= 0x20c && short(0x236) & 1 == 1;
    Ok(Image {
        version,
        machine: wide.then_some("x86_64"),
        unified: false,
    })
}

/// The machine in the head of a program for UEFI.
fn pe_machine(file: &File) -> Result<Option<&'static str>> {
    let mut word = [0; 4];
    file.read_at(0x3c, &mut word)?;
    let mut head = [0; 6];
    file.read_at(u64::from(u32::from_le_bytes(word)), &mut head)?;
    Ok(match head {
        [b'P', b'E', 0, 0, low, high] => match u16::from_le_bytes([low, high]) {
            0x8664 => Some("x86_64"),
            0xaa64 => Some("aarch64"),
            0x014c => Some("i386"),
            0x5064 => Some("riscv64"),
            0x6264 => Some("loongarch"),
            _ => None,
        },
        _ => None,
    })
}
