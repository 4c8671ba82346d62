//! What the extension of a file name promises. Content decides what a file is; a name that says
//! something else is a mistake that somebody should hear of.

use std::path::Path;

use crate::format::Format;

/// What an extension stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// A format that imgferry reads.
    Format(Format),
    /// A raw disk for most programs, but any format in practice: `.img`, and the like.
    AnyDisk,
    /// A format that imgferry neither reads nor writes, by its name.
    Other(&'static str),
}

impl Extension {
    /// What the last extension of `path` stands for, in whatever case. `None` when it has none, or
    /// one that says nothing here.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        Some(match extension.as_str() {
            "raw" | "dd" => Self::Format(Format::Raw),
            "img" | "image" | "hdd" | "bin" | "dsk" => Self::AnyDisk,
            "qcow2" | "qcow" => Self::Format(Format::Qcow2),
            "vhd" | "vpc" | "avhd" => Self::Format(Format::Vhd),
            "vhdx" | "avhdx" => Self::Format(Format::Vhdx),
            "vdi" => Self::Format(Format::Vdi),
            "zvhd" => Self::Format(Format::Zvhd),
            "zvhd2" => Self::Format(Format::Zvhd2),
            "vmdk" => Self::Format(Format::Vmdk),
            "qed" => Self::Other("QED"),
            "hds" => Self::Other("Parallels"),
            "vhds" => Self::Other("a VHD set"),
            "dmg" | "sparseimage" => Self::Other("an Apple disk image"),
            "e01" | "ex01" => Self::Other("EWF"),
            "iso" | "udf" => Self::Other("a CD or DVD"),
            "wim" | "esd" | "swm" => Self::Other("a Windows image file"),
            "ova" | "ovf" => Self::Other("an OVF package"),
            "xva" => Self::Other("a XenServer export"),
            "vma" => Self::Other("a Proxmox backup"),
            "squashfs" | "sqfs" | "sfs" => Self::Other("SquashFS"),
            "mf" => Self::Other("a bitmap file"),
            "gz" | "tgz" | "z" | "xz" | "txz" | "bz2" | "tbz" | "tbz2" | "zst" | "zstd"
            | "tzst" | "lz4" | "lzma" | "lzo" | "lzop" | "lz" | "lrz" | "br" | "zip" | "7z"
            | "rar" | "tar" | "cpio" | "cab" => Self::Other("an archive or compressed file"),
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Format(format) => format.name(),
            Self::AnyDisk => "a disk image",
            Self::Other(name) => name,
        }
    }
}

/// A warning when the name of the file at `path` promises another format than `found`.
#[must_use]
pub fn contradiction(path: &Path, found: Format) -> Option<String> {
    let promised = Extension::of(path)?;
    if matches!(promised, Extension::AnyDisk) || promised == Extension::Format(found) {
        return None;
    }
    let extension = path.extension()?.to_str()?;
    Some(format!(
        "the extension .{extension} stands for {}, the content is {found}{}",
        promised.name(),
        match found {
            // What nothing recognises.
            Format::Raw =>
                " or a format that imgferry does not know; make sure that the file is whole",
            _ => "",
        }
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_another_format_is_told() {
        let told = |name: &str, found| contradiction(Path::new(name), found);
        for (name, found) in [
            ("a.qcow2", Format::Qcow2),
            ("a.QCOW2", Format::Qcow2),
            ("a.img", Format::Qcow2),
            ("a.raw", Format::Raw),
            ("a.bin", Format::Raw),
            ("a.avhdx", Format::Vhdx),
            ("a.bak", Format::Raw),
            ("a", Format::Vhd),
            (".vmdk", Format::Raw),
        ] {
            assert_eq!(told(name, found), None, "{name}");
        }
        for (name, found, expected) in [
            ("a.VMDK", Format::Raw, ".VMDK stands for vmdk"),
            ("a.raw", Format::Qcow2, "the content is qcow2"),
            ("a.vhd", Format::Raw, ".vhd stands for vhd"),
            ("a.vhd", Format::Vhdx, "the content is vhdx"),
            ("a.raw.gz", Format::Raw, "compressed"),
            ("a.wim", Format::Raw, "Windows image"),
        ] {
            let warning = told(name, found).unwrap();
            assert!(warning.contains(expected), "{warning}");
        }
    }
}
