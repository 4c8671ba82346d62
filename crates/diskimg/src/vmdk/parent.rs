//! The parent of a snapshot: what the descriptor calls it, and whether a file that was found is it.

use std::path::Path;

use super::descriptor::{DESCRIPTOR, Parent};
use crate::chain::{NamedPath, Role, Wanted};
use crate::error::{Error, Result};
use crate::text::shown;

const MERGE_HINT: &str = "make one disk of it where it was made: vmkfstools -i DISK.vmdk -d thin \
     whole.vmdk, or vmware-vdiskmanager -r DISK.vmdk -t 0 whole.vmdk";

impl Parent {
    pub(super) fn wanted(&self) -> Wanted {
        Wanted {
            role: Role::Snapshot,
            name: self.hint.clone(),
            // A parent is a VMDK, or the snapshot could not have been made.
            format: None,
            paths: paths(&self.hint),
            whole_hint: MERGE_HINT,
        }
    }

    /// Checks that the disk at `path`, whose `CID` and size are given, is the one that a snapshot
    /// of `size` bytes was made of.
    ///
    /// # Errors
    /// `Corrupt` when it is another one, or was written to since.
    pub(super) fn check(
        &self,
        size: u64,
        path: &Path,
        parent_cid: Option<u32>,
        parent_size: u64,
    ) -> Result<()> {
        if parent_cid != Some(self.cid) {
            let found = match parent_cid {
                Some(cid) => format!("the CID {cid:08x}"),
                None => "no CID".to_owned(),
            };
            return Err(Error::corrupt(
                DESCRIPTOR,
                0,
                format!(
                    "the snapshot was made of a disk with the CID {:08x}, but {} has {found}: it \
                     is another disk, or was written to since",
                    self.cid,
                    shown(path)
                ),
            ));
        }
        if parent_size != size {
            return Err(Error::corrupt(
                DESCRIPTOR,
                0,
                format!(
                    "the snapshot has {size} bytes, its parent {} has {parent_size}",
                    shown(path)
                ),
            ));
        }
        Ok(())
    }
}

/// Where the parent may be: relative to the snapshot, or on the machine that wrote it.
fn paths(hint: &str) -> Vec<NamedPath> {
    let windows = hint.contains('\\') || hint.chars().nth(1) == Some(':');
    match windows {
        true => vec![NamedPath::of_windows(hint)],
        false => NamedPath::of_qemu(Path::new(hint)),
    }
}
