//! What an initramfs brings: the names of its modules and programs, and its configuration.
//!
//! ```text
//! file ─▶ segments (archives one behind the other, packed or not) ─▶ archive (cpio) ─▶ content
//! ```

mod archive;
mod content;
mod lz4;
mod lzo;
mod lzop;
mod segments;
mod source;

use std::io::Read;

pub(crate) use content::{Initramfs, module_name};
pub(crate) use segments::Allowance;

use crate::budget::MAX_INITRAMFS;
use crate::known::Known;
use crate::linux::pe;
use crate::text::printable;
use crate::view::View;

/// What the files at `paths` bring together, as a boot loader joins them. A file can be a unified
/// kernel image, which has its initramfs inside.
pub(crate) fn read(view: &View, paths: &[Vec<u8>], allowance: &Allowance) -> Known<Initramfs> {
    let mut found = Initramfs::default();
    for path in paths {
        let shown = printable(path);
        let Some(mut file) = view.open(path)? else {
            return Err(format!("{shown} is not a regular file"));
        };
        let inside = pe::section(&file, ".initrd")?;
        let size = inside.map_or(file.size, |section| section.len);
        if size > MAX_INITRAMFS {
            return Err(format!(
                "{shown} has an initramfs of {size} bytes; at most {MAX_INITRAMFS} are read"
            ));
        }
        file.seek(inside.map_or(0, |section| section.at));
        unpack(&mut found, file.take(size), allowance)
            .map_err(|reason| format!("{shown}: {reason}"))?;
    }
    Ok(found)
}

/// Adds what `input` brings. What follows the first archive may be damaged: the kernel uses what it
/// has unpacked until then.
fn unpack(found: &mut Initramfs, input: impl Read, allowance: &Allowance) -> Known<()> {
    let before = found.names;
    match segments::read(input, allowance, found) {
        Ok(()) => Ok(()),
        Err(error) if found.names == before => Err(error.to_string()),
        Err(error) => {
            found.unread.get_or_insert_with(|| error.to_string());
            Ok(())
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
