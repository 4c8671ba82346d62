//! How the system starts: boot entries, kernels and what their initramfs brings.

use super::command_line::CommandLine;
use super::kernel::Kernel;
use crate::Seen;
use crate::known::Known;

/// A file that a boot entry names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BootFile {
    /// As it is written.
    pub(crate) written: Vec<u8>,
    /// Line of the configuration, from 1.
    pub(crate) line: u32,
    /// Its path in the guest, or `None` when it is not on the disk.
    pub(crate) path: Option<Vec<u8>>,
}

/// One entry of a boot loader's menu.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) title: Vec<u8>,
    /// The file that has it: a configuration, or a unified kernel image.
    pub(crate) path: Vec<u8>,
    /// Line of the command line, from 1; 0 in a unified kernel image.
    pub(crate) line: u32,
    /// Text of this line.
    pub(crate) text: Vec<u8>,
    /// `None`: it starts something else, another system or the firmware's setup.
    pub(crate) kernel: Option<BootFile>,
    pub(crate) initrds: Vec<BootFile>,
    pub(crate) command_line: CommandLine,
}

/// How long a boot loader waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Timeout {
    /// `None`: for ever.
    pub(crate) seconds: Option<u64>,
    pub(crate) seen: Seen,
}

/// How the system starts.
#[derive(Debug)]
pub(crate) struct LinuxBoot {
    /// In the order of the menu.
    pub(crate) entries: Known<Vec<Entry>>,
    /// Index of the entry that starts by itself.
    pub(crate) default: Option<usize>,
    pub(crate) timeout: Option<Timeout>,
    pub(crate) kernels: Known<Vec<Kernel>>,
    /// Index of the kernel of the default entry.
    pub(crate) default_kernel: Option<usize>,
}

impl Entry {
    /// The line with the command line.
    pub(crate) fn seen(&self) -> Seen {
        match self.line {
            0 => Seen::at(&self.path),
            line => Seen::line(&self.path, line, &self.text),
        }
    }
}

impl LinuxBoot {
    /// The entry that starts by itself.
    pub(crate) fn entry(&self) -> Option<&Entry> {
        self.entries.as_ref().ok()?.get(self.default?)
    }

    /// Its command line.
    pub(crate) fn command_line(&self) -> Option<&CommandLine> {
        self.entry().map(|entry| &entry.command_line)
    }

    /// The kernel that it starts.
    pub(crate) fn kernel(&self) -> Option<&Kernel> {
        self.kernels.as_ref().ok()?.get(self.default_kernel?)
    }
}
