//! The types of disks: which are read, and why the others are not.

use super::descriptor::{DESCRIPTOR, Descriptor};
use super::lines::Storage;
use crate::error::{Error, Result};
use crate::text::printable;

/// Types whose data is in one file with the descriptor.
const EMBEDDED: [&str; 2] = ["monolithicSparse", "streamOptimized"];
/// Types with a descriptor of its own, whose data is in other files.
const BESIDE: [&str; 13] = [
    "monolithicFlat",
    "twoGbMaxExtentSparse",
    "2GbMaxExtentSparse",
    "twoGbMaxExtentFlat",
    "2GbMaxExtentFlat",
    "vmfs",
    "vmfsThin",
    "vmfsThick",
    "vmfsPreallocated",
    "vmfsEagerZeroedThick",
    "vmfsSparse",
    "seSparse",
    "vmfsSeSparse",
];
/// A mixture.
const CUSTOM: &str = "custom";
/// Types whose data is on a LUN of a storage array.
const RAW_MAPS: [&str; 5] = [
    "vmfsRaw",
    "vmfsRDM",
    "vmfsRawDeviceMap",
    "vmfsRDMP",
    "vmfsPassthroughRawDeviceMap",
];
/// Types whose data is on disks of the host.
const DEVICES: [&str; 2] = ["fullDevice", "partitionedDevice"];

/// Characters of an unknown type that a message shows.
const SHOWN_CHARS: usize = 60;

impl Descriptor {
    /// Whether `name` is the type of the disk.
    pub(super) fn is(&self, name: &str) -> bool {
        self.create_type.eq_ignore_ascii_case(name)
    }

    fn is_one_of(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.is(name))
    }

    /// Refuses disks that are not read: by their type, and by what else their descriptor says.
    ///
    /// # Errors
    /// `Unsupported`; `Corrupt` when there is no disk.
    pub(super) fn refuse_unread(&self) -> Result<()> {
        if self.is_one_of(&RAW_MAPS) {
            return Err(raw_map(&self.create_type));
        }
        if self.is_one_of(&DEVICES) {
            return Err(Error::unsupported(format!(
                "it is a {} disk: its data is on a disk of the machine that it was made on, not \
                 in these files",
                self.create_type
            ))
            .with_hint("copy that disk there into a raw file, and give this file"));
        }
        if self.is("vsanSparse") {
            return Err(vsan());
        }
        if !self.is_one_of(&EMBEDDED) && !self.is_one_of(&BESIDE) && !self.is(CUSTOM) {
            let start: String = self.create_type.chars().take(SHOWN_CHARS).collect();
            return Err(Error::unsupported(format!(
                "the disk is of the type \"{}\", which imgferry does not know; it reads {}, {} \
                 and {CUSTOM}",
                printable(&start),
                EMBEDDED.join(", "),
                BESIDE.join(", ")
            )));
        }
        if self.native_snapshot {
            return Err(Error::unsupported(
                "it is a native snapshot: its data is in a snapshot of the storage array, not in \
                 these files",
            )
            .with_hint(CLONE_HINT));
        }
        if let Some(key) = &self.encrypted {
            return Err(Error::unsupported(format!(
                "the disk is encrypted: its descriptor has the key {key}"
            ))
            .with_hint("decrypt it where it was made, and give the new files"));
        }
        self.refuse_lines()
    }

    fn refuse_lines(&self) -> Result<()> {
        for line in &self.lines {
            match (line.storage, line.type_name.as_str()) {
                (None, "VMFSRDM" | "VMFSRAW") => return Err(raw_map(&line.type_name)),
                (None, "VSANSPARSE") => return Err(vsan()),
                (None, name) => {
                    return Err(Error::unsupported(format!(
                        "an extent is of the type \"{name}\"; FLAT, VMFS, ZERO, SPARSE, \
                         VMFSSPARSE and SESPARSE are read"
                    )));
                }
                (Some(_), _) => {}
            }
            if line.no_access && line.sectors > 0 {
                return Err(Error::unsupported(format!(
                    "an extent of {} sectors is NOACCESS: nobody may read that part of the disk",
                    line.sectors
                )));
            }
            let mixed = [Storage::Flat, Storage::Sparse, Storage::Zero];
            if self.is(CUSTOM) && !line.storage.is_some_and(|found| mixed.contains(&found)) {
                return Err(Error::unsupported(format!(
                    "an extent of a custom disk is {}; FLAT, SPARSE and ZERO are read",
                    line.type_name
                )));
            }
        }
        if self.extents().next().is_none() {
            return Err(Error::corrupt(
                DESCRIPTOR,
                0,
                "it has no extents: the disk has no size",
            ));
        }
        Ok(())
    }

    /// Refuses a descriptor inside a sparse extent that is not of that file alone.
    ///
    /// # Errors
    /// `Unsupported`.
    pub(super) fn refuse_others_embedded(&self) -> Result<()> {
        let mut extents = self.extents();
        let only = match (extents.next(), extents.next()) {
            (Some(line), None) => line.storage == Some(Storage::Sparse),
            _ => false,
        };
        if only && self.is_one_of(&EMBEDDED) {
            return Ok(());
        }
        Err(Error::unsupported(format!(
            "the descriptor inside the file is of the type {}, with {} extents; in a file that \
             holds its disk there is one SPARSE extent, of the type {}",
            printable(&self.create_type),
            self.extents().count(),
            EMBEDDED.join(" or ")
        )))
    }
}

const CLONE_HINT: &str = "clone it to a plain disk on the ESX host, and give the new descriptor: \
     vmkfstools -i DISK.vmdk -d thin plain.vmdk";

fn raw_map(name: &str) -> Error {
    Error::unsupported(format!(
        "it is a raw device map ({}): the data is on a LUN, not in these files",
        printable(name)
    ))
    .with_hint(CLONE_HINT)
}

fn vsan() -> Error {
    Error::unsupported("it is a vsanSparse disk: its data is in objects of a vSAN")
        .with_hint(CLONE_HINT)
}
