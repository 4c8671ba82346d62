//! Entries of boot loaders.

use crate::Seen;
use crate::linux::command_line::CommandLine;

/// Files of an initramfs that one entry names.
pub(super) const MAX_INITRDS: usize = 16;

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
    /// Xen, when it starts the kernel.
    pub(crate) hypervisor: Option<BootFile>,
    pub(crate) command_line: CommandLine,
}

/// How long a boot loader waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Timeout {
    /// `None`: for ever.
    pub(crate) seconds: Option<u64>,
    pub(crate) seen: Seen,
}

/// The entries of a boot loader.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Menu {
    /// In the order in which they are shown.
    pub(crate) entries: Vec<Entry>,
    /// Index of the entry that starts by itself.
    pub(crate) default: Option<usize>,
    pub(crate) timeout: Option<Timeout>,
}

impl Entry {
    /// Its initramfs: the last file, but for the processor's microcode.
    pub(crate) fn initramfs(&self) -> Option<&[u8]> {
        self.initrds
            .iter()
            .rev()
            .filter_map(|file| file.path.as_deref())
            .find(|path| !path.windows(5).any(|part| part == b"ucode"))
    }

    /// Whether it starts the image at `path`.
    pub(crate) fn starts(&self, path: &[u8]) -> bool {
        let kernel = self
            .kernel
            .as_ref()
            .and_then(|kernel| kernel.path.as_deref());
        kernel == Some(path)
    }

    /// The line with the command line.
    pub(crate) fn seen(&self) -> Seen {
        match self.line {
            0 => Seen::at(&self.path),
            line => Seen::line(&self.path, line, &self.text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_on_command_lines_are_not_shown() {
        let entry = Entry {
            line: 1,
            text: b"linux /v root=UUID=1 rd.iscsi.password=hunter2 netroot=iscsi:a:b@h quiet"
                .to_vec(),
            ..Entry::default()
        };
        let text = entry.seen().text.unwrap();
        assert_eq!(
            text,
            "linux /v root=UUID=1 rd.iscsi.password=… netroot=… quiet"
        );
    }
}
