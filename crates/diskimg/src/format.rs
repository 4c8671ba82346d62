//! The formats that imgferry reads, by name.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// A disk image format that imgferry reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Format {
    /// The disk's bytes as they are: a file or a block device.
    Raw,
    /// QEMU copy-on-write, versions 2 and 3.
    Qcow2,
    /// Virtual PC's and Hyper-V's VHD: fixed and dynamic disks.
    Vhd,
    /// Hyper-V's VHDX: fixed and dynamic disks.
    Vhdx,
    /// VMware's VMDK: disks of one file and of several.
    Vmdk,
    /// VirtualBox's VDI: dynamic and fixed disks.
    Vdi,
    /// Huawei's streamable VHD, version 1: one compressed stream.
    Zvhd,
    /// Huawei's streamable VHD, version 2: blocks with an index.
    Zvhd2,
}

impl Format {
    /// Every format, in the order in which help texts list them.
    pub const ALL: [Self; 8] = [
        Self::Raw,
        Self::Qcow2,
        Self::Vhd,
        Self::Vhdx,
        Self::Vmdk,
        Self::Vdi,
        Self::Zvhd,
        Self::Zvhd2,
    ];

    /// The name used on the command line and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vhd => "vhd",
            Self::Vhdx => "vhdx",
            Self::Vmdk => "vmdk",
            Self::Vdi => "vdi",
            Self::Zvhd => "zvhd",
            Self::Zvhd2 => "zvhd2",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|format| format.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| {
                let names = Self::ALL.map(Self::name).join(", ");
                format!("{text:?} is not a format that imgferry reads; it reads {names}")
            })
    }
}
